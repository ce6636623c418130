//! The client against a source of our own making, the instance of the vectors, and sources that misbehave.

use std::sync::Arc;

use host::http::{Limits, Peer, RequestBody, ResponseBody, Transport, full, serve};
use http::{Request, Response, StatusCode};
use pki::algorithm::EcdsaForm;
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::issue::{Role, Template, self_signed};
use pki::key::{KeyKind, PrivateKey};
use proto::globalconf::anchor::AnchorSource;
use proto::globalconf::directory::{Directory, Part, Signature, envelope};
use proto::globalconf::shared_parameters::{SharedParameters, Source};
use proto::globalconf::{PRIVATE_PARAMETERS, SHARED_PARAMETERS, metadata::Metadata, optional_parts};
use proto::id::MemberId;
use testkit::vectors;
use tokio::net::TcpListener;

use super::*;
use crate::config::Federations;

const SHA512: DigestAlgorithm = DigestAlgorithm::Sha512;

/// A signing key with its certificate.
struct SigningKey {
    key: PrivateKey,
    cert: Certificate,
}

impl SigningKey {
    fn new(kind: KeyKind) -> Self {
        let key = PrivateKey::generate(kind).unwrap();
        let template = Template {
            subject: &vec![(pki::name::COMMON_NAME, "internalSigningKey".to_owned())],
            role: Role::Configuration,
            serial: &[1],
            not_before: UnixTime(0),
            not_after: UnixTime::from_secs(2_145_916_800),
            dns_names: &[],
            addresses: &[],
            ocsp_url: None,
        };
        let cert = self_signed(&template, &key).unwrap();
        Self { key, cert }
    }

    fn der(&self) -> Vec<u8> {
        self.cert.der().to_vec()
    }

    fn sign(&self, directory: &Directory) -> Vec<u8> {
        let signed = directory.signed_bytes("inner").unwrap();
        let algorithm = self.key.default_algorithm();
        let signature = Signature {
            algorithm_uri: algorithm.uri().to_owned(),
            cert_hash: SHA512.digest(self.cert.der()).value,
            cert_hash_algorithm_uri: SHA512.uri().to_owned(),
            value: self.key.sign(algorithm, EcdsaForm::Der, &signed).unwrap(),
        };
        envelope("outer", "inner", &signed, &signature)
    }
}

/// Status and body by path with query.
type Answers = HashMap<String, (u16, Vec<u8>)>;

/// What a source serves. Anything else is 404.
#[derive(Clone, Default)]
struct Served {
    files: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Served {
    async fn start() -> (Self, String) {
        let served = Self::default();
        let address = served.serve_over(Transport::Plain).await;
        (served, address)
    }

    /// Serves the same over `transport`, at an address of its own.
    async fn serve_over(&self, transport: Transport) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let this = self.clone();
        let handler = move |request: Request<RequestBody>, _: Arc<Peer>| {
            let answer = this.answer(request.uri().path_and_query().unwrap().as_str());
            async { answer }
        };
        tokio::spawn(serve(listener, transport, Limits::default(), Shutdown::default(), handler));
        address
    }

    fn answer(&self, path: &str) -> Response<ResponseBody> {
        self.asked.lock().unwrap().push(path.to_owned());
        let files = self.files.lock().unwrap();
        let (status, body) = files.get(path).cloned().unwrap_or((404, Vec::new()));
        let mut response = Response::new(full(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }

    fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.files.lock().unwrap().insert(path.to_owned(), (200, body.into()));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// A source with one key, what it publishes, and a client that has its anchor.
struct Scene {
    served: Served,
    address: String,
    key: SigningKey,
    shared: SharedParameters,
    private: PrivateParameters,
    optional: Vec<(&'static str, &'static str, Vec<u8>)>,
    dir: tempfile::TempDir,
    clock: Clock,
    federations: Federations,
}

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

impl Scene {
    async fn new() -> Self {
        let (served, address) = Served::start().await;
        let key = SigningKey::new(KeyKind::Rsa(2048));
        let member = MemberId::new("XX", "GOV", "1");
        let source = Source {
            address: address.clone(),
            internal_certs: vec![key.der()],
            external_certs: vec![key.der()],
        };
        let shared = SharedParameters {
            instance: "XX".into(),
            sources: vec![source],
            ocsp_freshness_seconds: 60,
            ..SharedParameters::default()
        };
        let private = PrivateParameters {
            instance: "XX".into(),
            federation_anchors: vec![],
            auth_cert_reg_address: "https://cs:4001/managementservice/".into(),
            auth_cert_reg_cert: None,
            management_provider: member.subsystem("mgmt"),
            timestamping_interval_seconds: 60,
        };
        let scene = Self {
            served,
            address,
            key,
            shared,
            private,
            optional: vec![],
            dir: tempfile::tempdir().unwrap(),
            clock: Clock::fixed(NOW),
            federations: Federations::None,
        };
        scene.write_anchor(&scene.anchor("internalconf"));
        scene
    }

    fn anchor(&self, directory: &str) -> Anchor {
        let url = format!("http://{}/{directory}", self.address);
        let source = AnchorSource { url, verification_certs: vec![self.key.der()] };
        Anchor { generated_at: None, instance: self.shared.instance.clone(), sources: vec![source] }
    }

    fn write_anchor(&self, anchor: &Anchor) {
        std::fs::write(self.dir.path().join("anchor.xml"), anchor.write().unwrap()).unwrap();
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("globalconf")
    }

    fn client(&self) -> ConfigurationClient {
        let settings = ConfigurationSettings {
            anchor_file: self.dir.path().join("anchor.xml"),
            interval: Duration::from_secs(60),
            federations: self.federations.clone(),
            age_tolerance: Duration::from_secs(300),
            connect: Duration::from_secs(1),
            total: Duration::from_secs(5),
        };
        let http = Client::new(settings.connect, settings.total, &[]);
        ConfigurationClient::new(settings, self.folder(), http, self.clock.clone())
    }

    /// What the source would publish now as `version`.
    fn directory(&self, version: u32, expires: UnixTime) -> (Directory, Vec<(String, Vec<u8>)>) {
        let mut contents = vec![
            (SHARED_PARAMETERS, "shared-params.xml", self.shared.write(version).unwrap()),
            (PRIVATE_PARAMETERS, "private-params.xml", self.private.write(version).unwrap()),
        ];
        contents.extend(self.optional.iter().cloned());
        let mut parts = Vec::new();
        let mut files = Vec::new();
        for (identifier, name, bytes) in contents {
            let location = format!("/V{version}/1/{name}");
            parts.push(Part {
                content_identifier: identifier.into(),
                instance: self.shared.instance.clone(),
                location: location.clone(),
                file_name: None,
                hash_algorithm_uri: SHA512.uri().into(),
                hash: SHA512.digest(&bytes).value,
            });
            files.push((location, bytes));
        }
        (Directory { expires, version: Some(version), parts }, files)
    }

    fn publish(&self, version: u32, expires: UnixTime) {
        let (directory, files) = self.directory(version, expires);
        self.publish_directory(&directory, files);
    }

    fn publish_directory(&self, directory: &Directory, files: Vec<(String, Vec<u8>)>) {
        for (path, bytes) in files {
            self.served.put(&path, bytes);
        }
        let version = directory.version.unwrap_or(2);
        self.served.put(&format!("/internalconf?version={version}"), self.key.sign(directory));
    }
}

fn in_seconds(seconds: u64) -> UnixTime {
    NOW.plus(Duration::from_secs(seconds))
}

fn current(client: &ConfigurationClient) -> Arc<GlobalConf> {
    client.published().load().as_ref().clone().expect("a configuration is published")
}

fn files_in(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn downloads_verifies_stores_and_publishes() {
    let mut scene = Scene::new().await;
    scene.optional.push((
        optional_parts::NEXT_UPDATE,
        optional_parts::NEXT_UPDATE_FILE,
        optional_parts::write_next_update(false).unwrap(),
    ));
    scene.optional.push(("OTHER", "other.bin", b"<x/>".to_vec()));
    scene.publish(6, in_seconds(600));
    let client = scene.client();
    assert!(client.published().load().is_none());
    client.run_once().await.unwrap();

    let conf = current(&client);
    assert_eq!((conf.instance(), conf.version(), conf.expires()), ("XX", 6, Some(in_seconds(600))));
    assert!(!conf.ocsp_rules().verify_next_update);
    assert_eq!(conf.private().unwrap().timestamping_interval_seconds, 60);
    let status = client.status();
    assert_eq!((status.last_success, status.last_error, status.version), (Some(NOW), None, Some(6)));
    let folder = scene.folder();
    assert_eq!(files_in(&folder), ["XX", "instance-identifier"]);
    assert_eq!(std::fs::read(folder.join("instance-identifier")).unwrap(), b"XX");
    let names = ["nextupdate-params.xml", "other.bin", "private-params.xml", "shared-params.xml"];
    let expected: Vec<String> =
        names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.metadata")]).collect();
    assert_eq!(files_in(&folder.join("XX")), expected);
    let metadata = std::fs::read(folder.join("XX/shared-params.xml.metadata")).unwrap();
    let metadata = Metadata::read(&metadata).unwrap();
    assert_eq!(metadata.content_identifier.as_deref(), Some("SHARED-PARAMETERS"));
    assert_eq!((metadata.version(), metadata.expiration_date), (Ok(6), Some(in_seconds(600))));
    assert_eq!(metadata.content_location.as_deref(), Some("/V6/1/shared-params.xml"));

    // Renewed without changes: parts are not fetched again, generation and parsed parameters stay, the expiry moves.
    scene.served.asked();
    scene.publish(6, in_seconds(660));
    client.run_once().await.unwrap();
    let asked = scene.served.asked();
    assert!(asked.iter().all(|path| path.starts_with("/internalconf")), "{asked:?}");
    let renewed = current(&client);
    assert_eq!((renewed.generation(), renewed.expires()), (conf.generation(), Some(in_seconds(660))));
    assert!(Arc::ptr_eq(renewed.shared("XX").unwrap().0, conf.shared("XX").unwrap().0));

    // A part that is no longer listed goes; a restarted client starts with what is stored.
    scene.optional.clear();
    scene.publish(6, in_seconds(720));
    client.run_once().await.unwrap();
    assert_eq!(files_in(&folder.join("XX")).len(), 4);
    let restarted = scene.client();
    assert_eq!(current(&restarted).generation(), current(&client).generation());
    assert!(current(&restarted).ocsp_rules().verify_next_update);
}

#[tokio::test]
async fn asks_for_the_highest_version_and_takes_404_for_no() {
    let scene = Scene::new().await;
    scene.publish(3, in_seconds(600));
    let client = scene.client();
    client.run_once().await.unwrap();
    assert_eq!(current(&client).version(), 3);
    let asked: Vec<String> = scene.served.asked().into_iter().filter(|path| path.contains('?')).collect();
    assert_eq!(asked, (3..=6).rev().map(|v| format!("/internalconf?version={v}")).collect::<Vec<_>>());
    // Any other status counts as present, and then the location fails.
    scene.served.files.lock().unwrap().insert("/internalconf?version=5".into(), (500, vec![]));
    let error = client.run_once().await.unwrap_err();
    assert!(matches!(error, DownloadError::Status { status: 500, .. }), "{error}");
    assert_eq!(current(&client).version(), 3);
}

/// What is signed counts, wherever it comes from: sources that are down are passed over, and a TLS certificate that nobody knows is
/// as good as any.
#[tokio::test]
async fn several_sources_and_sources_over_https() {
    let scene = Scene::new().await;
    scene.publish(6, in_seconds(600));
    let (key, cert) = crate::testing::ca().tls("cs");
    let certified = crate::testing::certified(&key, &cert);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let secure = scene.served.serve_over(Transport::tls(Arc::new(config))).await;
    let urls = [
        "http://127.0.0.1:1/internalconf".to_owned(),
        format!("https://{secure}/internalconf"),
        "http://".to_owned(),
    ];
    let sources =
        urls.iter().map(|url| AnchorSource { url: url.clone(), verification_certs: vec![scene.key.der()] });
    scene.write_anchor(&Anchor { sources: sources.collect(), ..scene.anchor("internalconf") });
    let client = scene.client();
    client.run_once().await.unwrap();
    assert_eq!(client.status().source, Some(urls[1].clone()));
    assert_eq!(current(&client).expires(), Some(in_seconds(600)));
}

/// Each case spoils one thing; the code is the reference's, nothing is stored and what was good stays.
#[tokio::test]
async fn what_is_refused_changes_nothing() {
    type Spoil = fn(&Scene, &mut Directory, &mut Vec<(String, Vec<u8>)>);
    let cases: &[(&str, &str, Spoil)] = &[
        ("expired", "global_conf_outdated", |_, d, _| d.expires = NOW),
        ("older than the stored one", "global_conf_outdated", |_, d, _| d.expires = in_seconds(299)),
        ("another hash", "global_conf_part_downloaded_file_integrity_failure", |_, _, f| f[0].1.push(b'\n')),
        ("a part that is not there", "global_conf_part_download_failure", |_, d, f| {
            d.parts[0].location = "/V6/1/elsewhere.xml".into();
            f.clear();
        }),
        ("SHA-1", "global_conf_part_downloaded_hash_failure", |_, d, f| {
            d.parts[0].hash_algorithm_uri = DigestAlgorithm::Sha1.uri().into();
            d.parts[0].hash = DigestAlgorithm::Sha1.digest(&f[0].1).value;
        }),
        ("no private parameters", "malformed_global_conf", |_, d, _| drop(d.parts.remove(1))),
        ("no shared parameters", "malformed_global_conf", |_, d, _| drop(d.parts.remove(0))),
        ("parameters that do not follow the schema", "malformed_global_conf", |_, d, f| {
            f[0].1 = b"<conf/>".to_vec();
            d.parts[0].hash = SHA512.digest(&f[0].1).value;
        }),
        ("parameters of another instance", "global_conf_part_invalid_instance_identifier", |scene, d, f| {
            let mut shared = scene.shared.clone();
            shared.instance = "YY".into();
            f[0].1 = shared.write(6).unwrap();
            d.parts[0].hash = SHA512.digest(&f[0].1).value;
        }),
        ("a file name that leaves the folder", "global_conf_header_field_wrong_value", |_, d, _| {
            d.parts.push(Part {
                content_identifier: "X".into(),
                location: "/a/..".into(),
                ..d.parts[0].clone()
            });
        }),
        ("a part under the name of another", "global_conf_header_field_wrong_value", |_, d, _| {
            d.parts.push(Part { content_identifier: "X".into(), ..d.parts[0].clone() });
        }),
        ("a version that nobody knows", "malformed_global_conf", |_, d, _| d.version = Some(7)),
    ];
    for (name, code, spoil) in cases {
        let scene = Scene::new().await;
        let client = scene.client();
        scene.publish(6, in_seconds(600));
        client.run_once().await.unwrap();
        let before = current(&client).generation();
        let stored = std::fs::read(scene.folder().join("XX/shared-params.xml.metadata")).unwrap();
        let names = files_in(&scene.folder().join("XX"));

        let mut changed = scene.shared.clone();
        changed.ocsp_freshness_seconds = 61;
        let changed = Scene { shared: changed, ..scene };
        let (mut directory, mut files) = changed.directory(6, in_seconds(660));
        spoil(&changed, &mut directory, &mut files);
        let document = changed.key.sign(&directory);
        changed.served.files.lock().unwrap().clear();
        for (path, bytes) in files {
            changed.served.put(&path, bytes);
        }
        changed.served.put("/internalconf?version=6", document);
        let error = client.run_once().await.unwrap_err();
        assert_eq!(error.fault_code().text(Style::Snake), *code, "{name}: {error}");
        assert_eq!(client.status().last_error.unwrap().code, *code, "{name}");
        assert_eq!(current(&client).generation(), before, "{name}");
        assert_eq!(
            std::fs::read(changed.folder().join("XX/shared-params.xml.metadata")).unwrap(),
            stored,
            "{name}"
        );
        assert_eq!(files_in(&changed.folder().join("XX")), names, "{name}");
    }
}

/// `None` when it is not there.
fn changed_at(file: &std::path::Path) -> Option<(i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(file).ok().map(|metadata| (metadata.ctime(), metadata.ctime_nsec()))
}

#[tokio::test]
async fn a_stored_file_that_somebody_changed_is_replaced_and_nothing_else_is() {
    let scene = Scene::new().await;
    let client = scene.client();
    scene.publish(6, in_seconds(600));
    client.run_once().await.unwrap();
    let conf = current(&client);
    let stored = scene.folder().join("XX/shared-params.xml");
    let good = std::fs::read(&stored).unwrap();
    // Of the same length, and others, and none.
    let changes: [&dyn Fn(); 3] = [
        &|| std::fs::write(&stored, good.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap(),
        &|| std::fs::write(&stored, b"<conf/>").unwrap(),
        &|| std::fs::remove_file(&stored).unwrap(),
    ];
    for change in changes {
        scene.served.asked();
        client.run_once().await.unwrap();
        assert!(scene.served.asked().iter().all(|path| path.starts_with("/internalconf")));
        // A file system's clock has ticks, and a change within one is not seen.
        let before = changed_at(&stored);
        change();
        while changed_at(&stored) == before {
            change();
        }
        client.run_once().await.unwrap();
        let parts: Vec<_> = scene.served.asked().into_iter().filter(|path| path.starts_with("/V6")).collect();
        assert_eq!(parts, ["/V6/1/shared-params.xml"]);
        assert_eq!(std::fs::read(&stored).unwrap(), good);
        assert!(Arc::ptr_eq(current(&client).shared("XX").unwrap().0, conf.shared("XX").unwrap().0));
    }
    // Written anew with what it had: another file, and still what is listed.
    std::fs::write(&stored, &good).unwrap();
    client.run_once().await.unwrap();
    assert!(scene.served.asked().iter().all(|path| path.starts_with("/internalconf")));
}

#[tokio::test]
async fn a_small_step_back_is_taken_and_a_lower_version_is_not() {
    let scene = Scene::new().await;
    let client = scene.client();
    scene.publish(6, in_seconds(600));
    client.run_once().await.unwrap();
    // Another node of the same central server may be a little behind.
    scene.publish(6, in_seconds(300));
    client.run_once().await.unwrap();
    assert_eq!(current(&client).expires(), Some(in_seconds(300)));
    scene.served.files.lock().unwrap().clear();
    scene.publish(5, in_seconds(900));
    let error = client.run_once().await.unwrap_err();
    assert!(matches!(error, DownloadError::LowerVersion { found: 5, stored: 6, .. }), "{error}");
}

#[tokio::test]
async fn signatures_of_other_keys_are_refused_and_every_algorithm_is_taken() {
    let mut scene = Scene::new().await;
    scene.publish(6, in_seconds(600));
    let right = std::mem::replace(&mut scene.key, SigningKey::new(KeyKind::P256));
    scene.publish(6, in_seconds(600));
    let client = scene.client();
    let error = client.run_once().await.unwrap_err();
    assert_eq!(error.fault_code().text(Style::Snake), "global_conf_missing_verification_cert");

    // The name of the right certificate over a signature by another key.
    let forged =
        SigningKey { key: std::mem::replace(&mut scene.key, right).key, cert: scene.key.cert.clone() };
    scene.served.put("/internalconf?version=6", forged.sign(&scene.directory(6, in_seconds(600)).0));
    let error = client.run_once().await.unwrap_err();
    assert_eq!(error.fault_code().text(Style::Snake), "global_conf_signature_verification_failure");

    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa(3072)] {
        scene.key = SigningKey::new(kind);
        scene.write_anchor(&scene.anchor("internalconf"));
        scene.publish(6, in_seconds(600));
        client.run_once().await.unwrap();
    }
}

#[tokio::test]
async fn a_new_signing_key_arrives_through_the_shared_parameters() {
    let mut scene = Scene::new().await;
    let client = scene.client();
    let next = SigningKey::new(KeyKind::P256);
    scene.shared.sources[0].internal_certs.push(next.der());
    scene.publish(6, in_seconds(600));
    client.run_once().await.unwrap();
    // The anchor does not know the new key; the stored parameters do, also after a restart and an expiry.
    scene.key = next;
    scene.publish(6, in_seconds(1000));
    client.run_once().await.unwrap();
    scene.clock.set(in_seconds(2000));
    scene.publish(6, in_seconds(3000));
    scene.client().run_once().await.unwrap();
}

#[tokio::test]
async fn an_anchor_that_is_missing_broken_or_foreign() {
    let scene = Scene::new().await;
    scene.publish(6, in_seconds(600));
    let client = scene.client();
    let code = |error: DownloadError| error.fault_code().text(Style::Snake);
    let file = scene.dir.path().join("anchor.xml");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(code(client.run_once().await.unwrap_err()), "anchor_file_not_found");
    std::fs::write(&file, "not XML").unwrap();
    assert_eq!(code(client.run_once().await.unwrap_err()), "malformed_anchor");
    scene.write_anchor(&scene.anchor("internalconf"));
    client.run_once().await.unwrap();
    scene.write_anchor(&Anchor { instance: "YY".into(), ..scene.anchor("internalconf") });
    let error = client.run_once().await.unwrap_err();
    assert!(matches!(error, DownloadError::OtherInstance { .. }), "{error}");
    let nobody =
        AnchorSource { url: "http://127.0.0.1:1/internalconf".into(), verification_certs: vec![vec![1]] };
    scene.write_anchor(&Anchor { sources: vec![nobody], ..scene.anchor("internalconf") });
    let lonely = Scene { dir: tempfile::tempdir().unwrap(), ..scene };
    lonely.write_anchor(&Anchor {
        sources: vec![AnchorSource {
            url: "http://127.0.0.1:1/internalconf".into(),
            verification_certs: vec![vec![1]],
        }],
        ..lonely.anchor("internalconf")
    });
    assert_eq!(code(lonely.client().run_once().await.unwrap_err()), "global_conf_get_version_failed");
}

#[tokio::test]
async fn federated_instances_come_and_go() {
    let mut scene = Scene::new().await;
    let other = {
        let mut other = Scene::new().await;
        other.shared.instance = "YY".into();
        other.private.instance = "YY".into();
        other
    };
    let (directory, files) = other.directory(4, in_seconds(300));
    other.publish_directory(&directory, files);
    let document = other.key.sign(&directory);
    other.served.put("/externalconf?version=4", document);
    scene.private.federation_anchors.push(other.anchor("externalconf"));
    scene.publish(6, in_seconds(600));

    scene.client().run_once().await.unwrap();
    assert!(!scene.folder().join("YY").exists(), "not allowed by default");

    scene.federations = Federations::Listed(vec!["ZZ".into(), "YY".into()]);
    let client = scene.client();
    client.run_once().await.unwrap();
    assert_eq!(current(&client).instances(), ["XX", "YY"]);
    assert_eq!(files_in(&scene.folder().join("YY")), ["shared-params.xml", "shared-params.xml.metadata"]);

    // Its source fails: what is stored stays until it expires, and the run succeeds all the same.
    other.served.files.lock().unwrap().clear();
    client.run_once().await.unwrap();
    assert_eq!(client.status().federated_errors["YY"].code, "global_conf_download_url_connection_failure");
    assert_eq!(current(&client).instances(), ["XX", "YY"]);
    scene.clock.set(in_seconds(300));
    client.run_once().await.unwrap();
    assert_eq!(current(&client).instances(), ["XX"]);
    assert!(scene.folder().join("YY").exists(), "still referenced, so still useful for finding its source");

    // No longer named: its folder goes.
    scene.private.federation_anchors.clear();
    scene.publish(6, in_seconds(900));
    client.run_once().await.unwrap();
    assert_eq!(files_in(&scene.folder()), ["XX", "instance-identifier"]);
}

#[tokio::test]
async fn runs_until_told_to_stop_and_retries_sooner_while_there_is_nothing() {
    let scene = Scene::new().await;
    let client = Arc::new(scene.client());
    let shutdown = Shutdown::default();
    let task = tokio::spawn({
        let (client, shutdown) = (client.clone(), shutdown.clone());
        async move { client.run(shutdown).await }
    });
    while client.status().last_error.is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.publish(6, in_seconds(600));
    let began = tokio::time::Instant::now();
    while client.published().load().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(59), "{:?}", began.elapsed());
    shutdown.stop();
    task.await.unwrap();
}

#[test]
fn references_resolve_as_rfc_3986_says() {
    let base = "http://cs:80/a/internalconf?version=6";
    let cases = [
        ("/V6/1/shared-params.xml", "http://cs:80/V6/1/shared-params.xml"),
        ("shared-params.xml", "http://cs:80/a/shared-params.xml"),
        ("../b/./c?x=/..", "http://cs:80/b/c?x=/.."),
        ("//other/c", "http://other/c"),
        ("https://other/c", "https://other/c"),
        ("/../../c", "http://cs:80/c"),
    ];
    for (reference, expected) in cases {
        assert_eq!(location::resolve(base, reference), expected, "{reference}");
    }
    assert_eq!(location::resolve("https://cs", "x"), "https://cs/x");
    assert!(location::has_version(base) && !location::has_version("http://cs/version=6?conversion=1"));
    assert_eq!(location::versioned("http://cs/i?a=b", 6), "http://cs/i?a=b&version=6");
}

#[test]
fn candidates_are_ordered_by_origin_and_scheme() {
    let source = |address: &str| Source {
        address: address.into(),
        internal_certs: vec![vec![1]],
        external_certs: vec![vec![2]],
    };
    let of_anchor = |url: &str| AnchorSource { url: url.into(), verification_certs: vec![vec![3]] };
    let anchor = Anchor {
        generated_at: None,
        instance: "XX".into(),
        sources: vec![of_anchor("http://c/internalconf"), of_anchor("https://c/internalconf")],
    };
    let sources = [source("a"), source("b")];
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let found = location::candidates(&anchor, &sources, None);
        let urls: Vec<&str> = found.iter().map(|location| location.url.as_str()).collect();
        assert!(urls[..2].iter().all(|url| url.starts_with("https://") && !url.contains("//c")), "{urls:?}");
        assert!(urls[2..4].iter().all(|url| url.starts_with("http://") && !url.contains("//c")), "{urls:?}");
        assert_eq!(urls[4..], ["https://c/internalconf", "http://c/internalconf"]);
        orders.insert(urls.join(" "));
    }
    assert!(orders.len() > 1, "they are shuffled");
    let found = location::candidates(&anchor, &sources, Some("http://b/internalconf"));
    assert_eq!((found[0].url.as_str(), found.len()), ("http://b/internalconf", 6));
}

#[test]
fn vectors_locations() {
    let Some((dir, expected)) = vectors::area("globalconf") else { return };
    let mut tally = vectors::Tally::new("globalconf (download locations)");
    let cases = expected["cases"].as_array().unwrap();
    let case = cases
        .iter()
        .find(|case| case["name"] == "further download locations from shared parameters")
        .unwrap();
    for row in case["rows"].as_array().unwrap() {
        let (folder, url) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
        let folder = if folder == "any" { "locations/V3" } else { folder };
        let version = folder.chars().last().unwrap().to_digit(10).unwrap();
        let xml = std::fs::read(dir.join(folder).join("EE/shared-params.xml")).unwrap();
        let sources = SharedParameters::read(&xml, version).unwrap().sources;
        let source = AnchorSource { url: url.into(), verification_certs: vec![] };
        let anchor = Anchor { generated_at: None, instance: "EE".into(), sources: vec![source] };
        let found = location::from_sources(&anchor, &sources);
        let urls: Vec<&str> = found.iter().map(|location| location.url.as_str()).collect();
        let wanted: Vec<&str> = row[2].as_array().unwrap().iter().map(|url| url.as_str().unwrap()).collect();
        tally.equal(row, urls, wanted);
        if let Some(count) = row[3].as_str().and_then(|text| text.split(' ').next()?.parse::<usize>().ok()) {
            tally.equal(row, found.iter().all(|location| location.certs.len() == count), true);
        }
    }
    tally.finish();
}

/// The instance of the vectors, served as it lies: its directories are good until 2035.
#[tokio::test]
async fn vectors_instance_is_downloaded() {
    let Some((dir, _)) = vectors::area("instance") else { return };
    let (served, address) = Served::start().await;
    let public = dir.join("public");
    for version in ["V4", "V6"] {
        for source in ["internalconf", "externalconf"] {
            let bytes = std::fs::read(public.join(version).join(source)).unwrap();
            served.put(&format!("/{source}?version={}", &version[1..]), bytes);
        }
        for entry in std::fs::read_dir(public.join(version)).unwrap() {
            let stamp = entry.unwrap().path();
            for name in ["shared-params.xml", "private-params.xml"] {
                if let Ok(bytes) = std::fs::read(stamp.join(name)) {
                    let below = stamp.strip_prefix(&public).unwrap().to_str().unwrap();
                    served.put(&format!("/{below}/{name}"), bytes);
                }
            }
        }
    }
    let scene = Scene { served, address, ..Scene::new().await };
    let anchor = std::fs::read(dir.join("configuration_anchor_CS_internal.xml")).unwrap();
    let mut anchor = Anchor::read(&anchor).unwrap();
    anchor
        .sources
        .iter_mut()
        .for_each(|source| source.url = format!("http://{}/internalconf", scene.address));
    scene.write_anchor(&anchor);
    let client = scene.client();
    client.run_once().await.unwrap();
    let conf = current(&client);
    assert_eq!((conf.instance(), conf.version()), ("DEV", 6));
    assert_eq!(conf.expires().unwrap().to_iso8601(), "2035-11-11T03:07:40Z");
    // Its external source names the hash of an earlier file.
    let shared = std::fs::read(scene.folder().join("DEV/shared-params.xml")).unwrap();
    let certs = SharedParameters::read(&shared, 6).unwrap().sources.remove(0).external_certs;
    let source =
        AnchorSource { url: format!("http://{}/externalconf", scene.address), verification_certs: certs };
    let external = Scene { dir: tempfile::tempdir().unwrap(), ..scene };
    external.write_anchor(&Anchor { sources: vec![source], ..anchor });
    let error = external.client().run_once().await.unwrap_err();
    assert_eq!(error.fault_code().text(Style::Snake), "global_conf_part_downloaded_file_integrity_failure");
}
