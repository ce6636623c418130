//! What this crate's tests share: a CA, a signer that holds what it is given.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::globalconf::{Builder, GlobalConf, Instance};
use pki::issue::{self, Role, Template};
use pki::key::{KeyKind, PrivateKey};
use pki::name::{COMMON_NAME, ORGANIZATION};
use pki::ocsp::Status;
use pki::ocsp::respond::{Answer, NamedBy, Responder, respond};
use proto::globalconf::shared_parameters::{
    ApprovedCa, CaInfo, GlobalGroup, Member, SecurityServer, SharedParameters, Source,
};
use proto::id::{ClientId, GlobalGroupId, MemberId, ServerId};
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
            key: Some(Arc::new(PrivateKey::from_pkcs8(&key.to_pkcs8()).unwrap())),
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
    async fn sign_late(
        &self,
        key: &KeyId,
        _purpose: Purpose,
        _algorithm: SignatureAlgorithm,
        _form: EcdsaForm,
        _message: signer::Message,
    ) -> Result<Vec<u8>, SignerError> {
        Err(SignerError::NoKey(key.clone()))
    }
    fn own_keys(&self) -> Arc<OwnKeys> {
        self.0.lock().unwrap().clone()
    }
}

/// The present configuration as the parts share it.
pub(crate) type Shared = Arc<ArcSwap<Option<Arc<GlobalConf>>>>;

pub(crate) fn shared(conf: GlobalConf) -> Shared {
    Arc::new(ArcSwap::from_pointee(Some(Arc::new(conf))))
}

/// Instance EE with [`ca`], these servers and the members that own them or are their clients, and one global group.
pub(crate) fn globalconf(servers: &[TestServer<'_>], group: &[&str]) -> GlobalConf {
    let mut parameters =
        SharedParameters { instance: "EE".into(), ocsp_freshness_seconds: 3600, ..Default::default() };
    parameters.approved_cas.push(ApprovedCa {
        name: "Test CA".into(),
        top: CaInfo { cert: ca().cert.der().to_vec(), ocsp: Vec::new() },
        profile: "ee.ria.xroad.common.certificateprofile.impl.BasicCertificateProfileInfoProvider".into(),
        ..Default::default()
    });
    let certs = vec![ca().cert.der().to_vec()];
    let address = "cs.test".to_owned();
    parameters.sources.push(Source { address, internal_certs: certs.clone(), external_certs: certs });
    let mut members: BTreeMap<MemberId, BTreeSet<String>> = BTreeMap::new();
    for server in servers {
        let id = ServerId::parse_short(server.id).unwrap();
        members.entry(id.owner.clone()).or_default();
        let clients: Vec<_> = server.clients.iter().map(|id| client(id)).collect();
        for client in &clients {
            members.entry(client.member.clone()).or_default().extend(client.subsystem.clone());
        }
        parameters.servers.push(SecurityServer {
            id,
            address: Some(server.address.into()),
            auth_cert_hashes: server.auth.iter().map(|cert| cert.sha256().to_vec()).collect(),
            clients,
            maintenance: server.maintenance.then_some(None),
        });
    }
    parameters.members = members
        .into_iter()
        .map(|(id, subsystems)| Member {
            name: id.code.clone(),
            id,
            class_description: "class".into(),
            subsystems: subsystems.into_iter().map(|code| (code, None)).collect(),
        })
        .collect();
    parameters.member_classes.push(("GOV".into(), "class".into()));
    parameters.groups.push(GlobalGroup {
        id: GlobalGroupId { instance: "EE".into(), code: "all".into() },
        description: "all".into(),
        members: group.iter().map(|id| client(id)).collect(),
    });
    let instance = Instance::new(parameters, 5).unwrap();
    Builder::new("EE").instance(Arc::new(instance), Some(NOW.plus(DAY))).build().unwrap()
}

/// A server of a test's configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct TestServer<'a> {
    pub(crate) id: &'a str,
    pub(crate) address: &'a str,
    pub(crate) auth: Option<&'a Certificate>,
    pub(crate) clients: &'a [&'a str],
    pub(crate) maintenance: bool,
}

pub(crate) fn client(short: &str) -> ClientId {
    ClientId::parse_short(short).unwrap()
}

/// An answer of the CA itself about `cert`.
pub(crate) fn ocsp(cert: &Certificate, status: Status, this_update: UnixTime) -> Bytes {
    let ca = ca();
    let answer = Answer::about(cert, &ca.cert, status, this_update, None).unwrap();
    let responder = Responder {
        cert: &ca.cert,
        key: &ca.key,
        named_by: NamedBy::Key,
        algorithm: ca.key.default_algorithm(),
    };
    respond(&[answer], responder, this_update).unwrap().into()
}
