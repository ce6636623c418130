//! A CA for this crate's tests: keys are P-256 for speed unless a test wants others.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::issue::{self, Role, Subject, Template};
use crate::key::{KeyKind, PrivateKey};
use crate::name::{COMMON_NAME, COUNTRY, ORGANIZATION};

/// When the tests take place.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A CA with its key.
pub(crate) struct TestCa {
    pub(crate) cert: Certificate,
    pub(crate) key: PrivateKey,
}

static SERIAL: AtomicU32 = AtomicU32::new(100);

fn subject(common_name: &str) -> Subject {
    vec![
        (COUNTRY, "FI".to_owned()),
        (ORGANIZATION, "Causeway Tests".to_owned()),
        (COMMON_NAME, common_name.to_owned()),
    ]
}

fn template<'a>(subject: &'a Subject, role: Role, serial: &'a [u8]) -> Template<'a> {
    Template {
        subject,
        role,
        serial,
        not_before: NOW.minus(DAY * 30),
        not_after: NOW.plus(DAY * 3650),
        dns_names: &[],
        addresses: &[],
        ocsp_url: Some("http://ocsp.test/"),
    }
}

/// An RSA key; made once, since that is slow.
pub(crate) fn rsa_key() -> PrivateKey {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let der = KEY.get_or_init(|| PrivateKey::generate(KeyKind::Rsa(2048)).unwrap().to_pkcs8().to_vec());
    PrivateKey::from_pkcs8(der).unwrap()
}

impl TestCa {
    pub(crate) fn root() -> Self {
        Self::named("Test Root CA", PrivateKey::generate(KeyKind::P256).unwrap())
    }
    pub(crate) fn named(common_name: &str, key: PrivateKey) -> Self {
        let subject = subject(common_name);
        let cert = issue::self_signed(&template(&subject, Role::Authority(2), &[1]), &key).unwrap();
        Self { cert, key }
    }
    pub(crate) fn intermediate(&self, common_name: &str, below: u8) -> Self {
        let (cert, key) = self.issue(common_name, Role::Authority(below));
        Self { cert, key }
    }
    pub(crate) fn issue(&self, common_name: &str, role: Role) -> (Certificate, PrivateKey) {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        (self.certify(&subject(common_name), role, &key, |_| {}), key)
    }
    /// With a chance to change the template.
    pub(crate) fn certify(
        &self,
        subject: &Subject,
        role: Role,
        key: &PrivateKey,
        change: impl FnOnce(&mut Template<'_>),
    ) -> Certificate {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut template = template(subject, role, &serial);
        change(&mut template);
        issue::issue(&template, key.public_key(), &self.cert, &self.key).unwrap()
    }
}

/// A folder of this test's own.
pub(crate) fn scratch(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("causeway-pki-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs the `openssl` program for `test` and gives all it says; `None` where there is none.
pub(crate) fn openssl(test: &str) -> Option<impl Fn(&[&str]) -> String> {
    testkit::tools::tool("openssl", test)?;
    Some(|arguments: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        let output = command.args(arguments).stdin(std::process::Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    })
}
