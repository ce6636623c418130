//! Keys, certificates and OCSP answers of the two servers, good ones and bad ones.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::issue::{self, Role, Subject, Template};
use pki::key::{KeyKind, PrivateKey};
use pki::name::{COMMON_NAME, COUNTRY, ORGANIZATION};
use pki::ocsp::Status;
use pki::ocsp::respond::{Answer, NamedBy, Responder, respond};
use proto::id::MemberId;
use proto::time::UnixTime;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use signer::{AuthIdentity, KeyId, OwnKeys, Purpose, Signer, SignerError, SigningIdentity};

/// When everything takes place.
pub const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate with its key.
pub struct Pair {
    pub key: PrivateKey,
    pub cert: Certificate,
}

/// One CA with its OCSP responder.
pub struct Pki {
    pub ca: Pair,
    pub responder: Pair,
    /// When its OCSP answers are made.
    pub now: UnixTime,
}

static SERIAL: AtomicU32 = AtomicU32::new(1000);

fn template<T>(subject: &Subject, role: Role, until: UnixTime, make: impl FnOnce(&Template<'_>) -> T) -> T {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    make(&Template {
        subject,
        role,
        serial: &serial,
        not_before: NOW.minus(DAY * 400),
        not_after: until,
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    })
}

/// As the EJBCA profile reads it.
fn subject(member: &MemberId) -> Subject {
    vec![
        (COUNTRY, member.instance.clone()),
        (ORGANIZATION, member.class.clone()),
        (COMMON_NAME, member.code.clone()),
    ]
}

fn named(name: &str) -> Subject {
    vec![(ORGANIZATION, "Causeway Tests".to_owned()), (COMMON_NAME, name.to_owned())]
}

impl Pki {
    pub fn new(name: &str) -> Self {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let cert =
            template(&named(name), Role::Authority(1), NOW.plus(DAY * 1000), |t| issue::self_signed(t, &key))
                .unwrap();
        let ca = Pair { key, cert };
        let responder = issued(&ca, &named("OCSP"), Role::OcspResponder, NOW.plus(DAY * 365));
        Self { ca, responder, now: NOW }
    }
    pub fn signing(&self, member: &MemberId) -> Pair {
        issued(&self.ca, &subject(member), Role::Signing, NOW.plus(DAY * 365))
    }
    /// Ended yesterday.
    pub fn expired_signing(&self, member: &MemberId) -> Pair {
        issued(&self.ca, &subject(member), Role::Signing, NOW.minus(DAY))
    }
    pub fn auth(&self, name: &str) -> Pair {
        issued(&self.ca, &named(name), Role::Authentication, NOW.plus(DAY * 365))
    }
    /// An authentication certificate that `ca` issued for a key of this kind.
    pub fn auth_below(&self, ca: &Pair, name: &str, kind: KeyKind) -> Pair {
        issued_for(kind, ca, &named(name), Role::Authentication, NOW.plus(DAY * 365))
    }
    /// A CA below the root.
    pub fn intermediate(&self, name: &str) -> Pair {
        issued(&self.ca, &named(name), Role::Authority(0), NOW.plus(DAY * 365))
    }
    /// Of an information system.
    pub fn tls(&self, name: &str) -> Pair {
        issued(&self.ca, &named(name), Role::Tls, NOW.plus(DAY * 365))
    }
    pub fn ocsp(&self, cert: &Certificate, status: Status, at: UnixTime) -> Bytes {
        let answer = Answer::about(cert, &self.ca.cert, status, at, None).unwrap();
        let responder = Responder {
            cert: &self.responder.cert,
            key: &self.responder.key,
            named_by: NamedBy::Name,
            algorithm: self.responder.key.default_algorithm(),
        };
        respond(&[answer], responder, at).unwrap().into()
    }
    pub fn good(&self, cert: &Certificate) -> Bytes {
        self.ocsp(cert, Status::Good, self.now)
    }
}

fn issued(ca: &Pair, subject: &Subject, role: Role, until: UnixTime) -> Pair {
    issued_for(KeyKind::P256, ca, subject, role, until)
}

fn issued_for(kind: KeyKind, ca: &Pair, subject: &Subject, role: Role, until: UnixTime) -> Pair {
    let key = PrivateKey::generate(kind).unwrap();
    let cert =
        template(subject, role, until, |t| issue::issue(t, key.public_key(), &ca.cert, &ca.key)).unwrap();
    Pair { key, cert }
}

/// A signing certificate ready for use.
pub fn signing_identity(
    member: &MemberId,
    pair: &Pair,
    ocsp: Vec<Bytes>,
    now: UnixTime,
) -> Arc<SigningIdentity> {
    Arc::new(SigningIdentity {
        key: member.code.clone(),
        member: member.clone(),
        cert: pair.cert.clone(),
        intermediates: Vec::new(),
        ocsp,
        algorithm: pair.key.default_algorithm(),
        until: now.plus(DAY),
    })
}

/// A TLS identity.
pub fn auth_identity(pair: &Pair, ocsp: Vec<Bytes>, now: UnixTime) -> Arc<AuthIdentity> {
    auth_identity_of(pair, &[], ocsp, now)
}

/// The same with the certificates above it.
pub fn auth_identity_of(
    pair: &Pair,
    above: &[Certificate],
    ocsp: Vec<Bytes>,
    now: UnixTime,
) -> Arc<AuthIdentity> {
    let der = PrivateKeyDer::Pkcs8(pair.key.to_pkcs8().to_vec().into());
    let certs: Vec<Certificate> = std::iter::once(&pair.cert).chain(above).cloned().collect();
    let chain = certs.iter().map(|cert| CertificateDer::from(cert.der().to_vec())).collect();
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(AuthIdentity {
        chain: certs,
        ocsp,
        certified: Arc::new(CertifiedKey::from_der(chain, der, &provider).unwrap()),
        key: Some(Arc::new(PrivateKey::from_pkcs8(&pair.key.to_pkcs8()).unwrap())),
        until: now.plus(DAY),
    })
}

/// Holds keys in memory; can be logged out.
#[derive(Default)]
pub struct TestSigner {
    pub keys: Mutex<HashMap<KeyId, Arc<PrivateKey>>>,
    pub own: Mutex<Arc<OwnKeys>>,
    pub logged_out: AtomicBool,
    operations: AtomicUsize,
}

#[async_trait::async_trait]
impl Signer for TestSigner {
    async fn sign_late(
        &self,
        key: &KeyId,
        _purpose: Purpose,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: signer::Message,
    ) -> Result<Vec<u8>, SignerError> {
        if self.logged_out.load(Ordering::Relaxed) {
            return Err(SignerError::LoggedOut);
        }
        self.operations.fetch_add(1, Ordering::Relaxed);
        let found =
            self.keys.lock().unwrap().get(key).cloned().ok_or_else(|| SignerError::NoKey(key.clone()))?;
        found.sign(algorithm, form, &message()).map_err(|e| SignerError::Failed(e.to_string()))
    }
    fn own_keys(&self) -> Arc<OwnKeys> {
        self.own.lock().unwrap().clone()
    }
}

impl TestSigner {
    /// Private-key operations for messages so far.
    pub fn operations(&self) -> usize {
        self.operations.load(Ordering::Relaxed)
    }
    /// With one signing key and one authentication key.
    pub fn with(signing: Arc<SigningIdentity>, key: &PrivateKey, auth: Arc<AuthIdentity>) -> Arc<Self> {
        let ocsp_by_sha1 = auth
            .chain
            .iter()
            .zip(&auth.ocsp)
            .map(|(cert, ocsp)| {
                (cert.sha1().iter().map(|b| format!("{b:02x}")).collect::<String>(), ocsp.clone())
            })
            .collect();
        let signer = Self::default();
        let key = PrivateKey::from_pkcs8(&key.to_pkcs8()).unwrap();
        signer.keys.lock().unwrap().insert(signing.key.clone(), Arc::new(key));
        *signer.own.lock().unwrap() = Arc::new(OwnKeys {
            signing: HashMap::from([(signing.member.clone(), signing)]),
            auth: Some(auth),
            ocsp_by_sha1,
        });
        Arc::new(signer)
    }
    /// One more signing key.
    pub fn add(&self, signing: Arc<SigningIdentity>, key: &PrivateKey) {
        let key = PrivateKey::from_pkcs8(&key.to_pkcs8()).unwrap();
        self.keys.lock().unwrap().insert(signing.key.clone(), Arc::new(key));
        let mut own = self.own.lock().unwrap();
        let mut signing_keys = own.signing.clone();
        signing_keys.insert(signing.member.clone(), signing);
        let (auth, ocsp_by_sha1) = (own.auth.clone(), own.ocsp_by_sha1.clone());
        *own = Arc::new(OwnKeys { signing: signing_keys, auth, ocsp_by_sha1 });
    }
}

/// The same certificate and key once more.
pub fn copy(pair: &Pair) -> Pair {
    Pair { key: PrivateKey::from_pkcs8(&pair.key.to_pkcs8()).unwrap(), cert: pair.cert.clone() }
}
