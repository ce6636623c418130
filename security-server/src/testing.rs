//! What this crate's tests share: a CA, a signer that holds what it is given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::issue::{self, Role, Template};
use pki::key::{KeyKind, PrivateKey};
use pki::name::{COMMON_NAME, ORGANIZATION};
use proto::time::UnixTime;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use signer::{AuthIdentity, KeyId, OwnKeys, Purpose, Signer, SignerError};

/// When the tests take place.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A CA with its key.
pub(crate) struct TestCa {
    pub(crate) cert: Certificate,
    key: PrivateKey,
}

static SERIAL: AtomicU32 = AtomicU32::new(1000);

/// One CA for all tests.
pub(crate) fn ca() -> &'static TestCa {
    static CA: OnceLock<TestCa> = OnceLock::new();
    CA.get_or_init(|| {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let cert = with_template("Test CA", Role::Authority(1), |template| {
            issue::self_signed(template, &key).unwrap()
        });
        TestCa { cert, key }
    })
}

fn with_template<T>(name: &str, role: Role, make: impl FnOnce(&Template<'_>) -> T) -> T {
    let subject = vec![(ORGANIZATION, "Causeway Tests".to_owned()), (COMMON_NAME, name.to_owned())];
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    make(&Template {
        subject: &subject,
        role,
        serial: &serial,
        not_before: NOW.minus(DAY * 30),
        not_after: NOW.plus(DAY * 365),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    })
}

impl TestCa {
    pub(crate) fn issue(&self, name: &str, role: Role) -> (PrivateKey, Certificate) {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let cert = with_template(name, role, |template| {
            issue::issue(template, key.public_key(), &self.cert, &self.key).unwrap()
        });
        (key, cert)
    }
    /// Of an information system.
    pub(crate) fn tls(&self, name: &str) -> (PrivateKey, Certificate) {
        self.issue(name, Role::Tls)
    }
    /// Of a security server.
    pub(crate) fn auth(&self, name: &str) -> AuthIdentity {
        let (key, cert) = self.issue(name, Role::Authentication);
        AuthIdentity {
            ocsp: Vec::new(),
            certified: Arc::new(certified(&key, &cert)),
            until: cert.not_after(),
            chain: vec![cert],
        }
    }
}

/// For rustls.
pub(crate) fn certified(key: &PrivateKey, cert: &Certificate) -> CertifiedKey {
    let der = PrivateKeyDer::Pkcs8(key.to_pkcs8().to_vec().into());
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(vec![CertificateDer::from(cert.der().to_vec())], der, &provider).unwrap()
}

/// Holds what it is given; signs nothing.
#[derive(Default)]
pub(crate) struct StillSigner(pub(crate) Mutex<Arc<OwnKeys>>);

impl StillSigner {
    pub(crate) fn with_auth(auth: AuthIdentity) -> Arc<Self> {
        let signer = Arc::new(Self::default());
        signer.set_auth(Some(auth));
        signer
    }
    pub(crate) fn set_auth(&self, auth: Option<AuthIdentity>) {
        let auth = auth.map(Arc::new);
        *self.0.lock().unwrap() = Arc::new(OwnKeys { auth, ..OwnKeys::default() });
    }
    pub(crate) fn set_ocsp(&self, ocsp_by_sha1: HashMap<String, Bytes>) {
        let auth = self.own_keys().auth.clone();
        *self.0.lock().unwrap() = Arc::new(OwnKeys { auth, ocsp_by_sha1, ..OwnKeys::default() });
    }
}

#[async_trait::async_trait]
impl Signer for StillSigner {
    async fn sign(
        &self,
        key: &KeyId,
        _purpose: Purpose,
        _algorithm: SignatureAlgorithm,
        _form: EcdsaForm,
        _message: Bytes,
    ) -> Result<Vec<u8>, SignerError> {
        Err(SignerError::NoKey(key.clone()))
    }
    fn own_keys(&self) -> Arc<OwnKeys> {
        self.0.lock().unwrap().clone()
    }
}
