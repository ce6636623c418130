//! A token with keys of a real CA, and the task that keeps its OCSP answers: what the relay gets to see, and when it goes away.

use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::http::Client;
use host::shutdown::Shutdown;
use pki::cert::Certificate;
use pki::globalconf::{Builder, GlobalConf, Instance};
use pki::key::{KeyKind, PrivateKey};
use proto::globalconf::shared_parameters::{
    ApprovedCa, CaInfo, Member, OcspInfo, SecurityServer, SharedParameters, Source,
};
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;
use sandbox::authority::{Authority, PROFILE};
use sandbox::ocsp_responder::{Behaviour, OcspResponder};
use signer::ocsp_fetcher::{self, Settings};
use signer::{OwnKeys, Signer, SoftwareSigner, TokenService};
use tokio::task::JoinHandle;

const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);
const PIN: &str = "1234";

struct Scene {
    dir: tempfile::TempDir,
    ca: Arc<Authority>,
    responder: OcspResponder,
    member: MemberId,
    server: ServerId,
    auth: Certificate,
    sign: Certificate,
}

/// The task, ended with the value.
struct Fetcher(Shutdown, JoinHandle<()>);

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.0.stop();
        self.1.abort();
    }
}

impl Scene {
    /// A CA, its responder, and a token with both kinds of keys, RSA and EC.
    async fn new() -> (Self, Arc<SoftwareSigner>) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::fixed(NOW);
        let ca = Authority::open(&dir.path().join("ca"), KeyKind::P256, "", NOW).expect("a new CA");
        let ca = Arc::new(ca);
        let address = "127.0.0.1:0".parse().expect("an address");
        let responder = OcspResponder::start(address, Arc::clone(&ca), clock).await.expect("a responder");
        let member = MemberId::new("DEMO", "MUN", "2001");
        let server = ServerId { owner: member.clone(), code: "ss".into() };
        let (auth_key, sign_key) = (key(KeyKind::Rsa(2048)), key(KeyKind::P256));
        let auth = ca.authentication(&server, "ss.test", &auth_key.spki(), NOW).expect("a certificate");
        let sign = ca.signing(&member, &server, &sign_key.spki(), NOW).expect("a certificate");
        let signer = SoftwareSigner::create(&dir.path().join("keys"), "test", PIN).expect("a new token");
        signer.import_pair("auth", auth_key, &auth, None).expect("imported");
        signer.import_pair("sign", sign_key, &sign, Some(member.clone())).expect("imported");
        (Self { dir, ca, responder, member, server, auth, sign }, Arc::new(signer))
    }

    fn reopened(&self) -> Arc<SoftwareSigner> {
        let signer = SoftwareSigner::open(&self.dir.path().join("keys")).expect("the token");
        signer.login(PIN, NOW).expect("the PIN");
        Arc::new(signer)
    }

    fn conf(&self) -> Arc<GlobalConf> {
        let ocsp = || vec![OcspInfo { url: self.responder.url(), ..OcspInfo::default() }];
        let ca = |cert: &Certificate| CaInfo { cert: cert.der().to_vec(), ocsp: ocsp() };
        let parameters = SharedParameters {
            instance: "DEMO".into(),
            sources: vec![Source::default()],
            approved_cas: vec![ApprovedCa {
                name: "CA".into(),
                top: ca(self.ca.root()),
                intermediates: vec![ca(self.ca.intermediate())],
                profile: PROFILE.class_name(),
                ..ApprovedCa::default()
            }],
            members: vec![Member {
                id: self.member.clone(),
                class_description: String::new(),
                name: "Rannala".into(),
                subsystems: vec![],
            }],
            servers: vec![SecurityServer {
                id: self.server.clone(),
                address: Some("ss".into()),
                auth_cert_hashes: vec![self.auth.sha256().to_vec()],
                clients: vec![],
                maintenance: None,
            }],
            ocsp_freshness_seconds: 3600,
            ..SharedParameters::default()
        };
        let instance = Instance::new(parameters, 6).expect("shared parameters");
        Arc::new(Builder::new("DEMO").instance(instance.into(), None).build().expect("a configuration"))
    }

    fn fetch(&self, signer: &Arc<SoftwareSigner>) -> Fetcher {
        self.fetch_within(signer, Duration::from_millis(300))
    }

    /// With a client that waits so long for an answer.
    fn fetch_within(&self, signer: &Arc<SoftwareSigner>, total: Duration) -> Fetcher {
        let (conf, server) = (self.conf(), self.server.clone());
        let shutdown = Shutdown::default();
        let task = ocsp_fetcher::run(
            signer.clone(),
            Box::new(move || (Some(Arc::clone(&conf)), Some(server.clone()))),
            Client::new(Duration::from_secs(1), total, &[]),
            Settings::default(),
            Clock::fixed(NOW),
            shutdown.clone(),
        );
        Fetcher(shutdown, tokio::spawn(task))
    }
}

fn key(kind: KeyKind) -> PrivateKey {
    PrivateKey::generate(kind).expect("a key")
}

/// Waits until the snapshot is as `wanted`.
async fn until(signer: &SoftwareSigner, what: &str, wanted: impl Fn(&OwnKeys) -> bool) -> Arc<OwnKeys> {
    for _ in 0..200 {
        let own = signer.own_keys();
        if wanted(&own) {
            return own;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never came: {what}");
}

fn complete(own: &OwnKeys) -> bool {
    own.auth.is_some() && own.signing.len() == 1 && own.ocsp_by_sha1.len() == 3
}

#[tokio::test]
async fn answers_are_fetched_kept_and_used_after_a_restart() {
    let (scene, signer) = Scene::new().await;
    // A responder that starts late costs no minute.
    scene.responder.behave(Behaviour::Unavailable);
    let fetcher = scene.fetch(&signer);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(signer.own_keys().auth.is_none() && signer.own_keys().signing.is_empty());
    scene.responder.behave(Behaviour::Answers);
    let own = until(&signer, "answers after the responder came up", complete).await;
    let auth = own.auth.as_ref().expect("complete");
    assert_eq!(auth.chain, [scene.auth.clone(), scene.ca.intermediate().clone()]);
    assert_eq!(own.signing[&scene.member].cert, scene.sign);
    drop((fetcher, signer));
    // Nobody answers now, and yet everything is there at once.
    scene.responder.behave(Behaviour::Silent);
    let signer = scene.reopened();
    let _fetcher = scene.fetch(&signer);
    until(&signer, "answers from the disk", complete).await;
}

#[tokio::test]
async fn a_revoked_certificate_goes_out_of_use() {
    let (scene, signer) = Scene::new().await;
    let fetcher = scene.fetch(&signer);
    until(&signer, "good answers", complete).await;
    drop(fetcher);
    scene.ca.revoke(&scene.sign, NOW).expect("revoked");
    let _fetcher = scene.fetch(&signer);
    let own = until(&signer, "the signing certificate goes", |own| own.signing.is_empty()).await;
    assert!(own.auth.is_some() && own.ocsp_by_sha1.len() == 2);
}

/// A certificate that is imported while the answer about another is late gets its own at once.
#[tokio::test]
async fn a_new_certificate_waits_for_no_stalled_answer() {
    let (scene, signer) = Scene::new().await;
    let _fetcher = scene.fetch_within(&signer, Duration::from_secs(600));
    until(&signer, "good answers", complete).await;
    let import = |name: &str| {
        let key = key(KeyKind::P256);
        let cert = scene.ca.signing(&scene.member, &scene.server, &key.spki(), NOW).expect("a certificate");
        signer.import_pair(name, key, &cert, Some(scene.member.clone())).expect("imported");
        TokenService::wake(signer.as_ref());
        hex::encode(cert.sha1())
    };
    scene.responder.behave(Behaviour::Silent);
    let asked = scene.responder.requests();
    let stalled = import("stalled");
    while scene.responder.requests() == asked {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.responder.behave(Behaviour::Answers);
    let other = import("other");
    let own = until(&signer, "the other's answer", |own| own.ocsp_by_sha1.contains_key(&other)).await;
    assert!(!own.ocsp_by_sha1.contains_key(&stalled));
}

/// Answers that peers would refuse are not kept.
#[tokio::test]
async fn stale_answers_are_not_kept() {
    let (scene, signer) = Scene::new().await;
    scene.responder.behave(Behaviour::Stale(Duration::from_secs(3601)));
    let _fetcher = scene.fetch(&signer);
    while scene.responder.requests() < 6 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(signer.own_keys().ocsp_by_sha1.is_empty());
    let kept = std::fs::read_dir(scene.dir.path().join("keys/ocsp")).expect("the folder");
    assert_eq!(kept.count(), 0);
}
