//! What is generated: every version verifies, follows its schema and says the same; passes replace each other whole.

use std::path::Path;

use pki::globalconf::verify::{is_part, verify_directory};
use pki::globalconf::{Builder, GlobalConf, Instance};
use pki::issue::{Role, Template, self_signed};
use pki::key::{KeyKind, PrivateKey};
use proto::globalconf::anchor::Anchor;
use proto::globalconf::optional_parts as parts;
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::shared_parameters::{CostType, SharedParameters};
use proto::id::{ClientId, MemberId, ServerId};
use serde_json::Value;
use testkit::{tools, vectors};

use super::*;
use crate::offline::Offline;
use crate::registry::{Acme, CaSettings, Command};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const PIN: &str = "Secret1234";

fn cert(role: Role) -> Certificate {
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    let template = Template {
        subject: &vec![(pki::name::COMMON_NAME, format!("Test {role:?}"))],
        role,
        serial: &[1],
        not_before: UnixTime(0),
        not_after: UnixTime::from_secs(2_145_916_800),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    self_signed(&template, &key).unwrap()
}

fn member(code: &str) -> MemberId {
    MemberId::new("XX", "GOV", code)
}

fn server() -> ServerId {
    ServerId { owner: member("1"), code: "s1".into() }
}

/// One of everything.
fn commands(auth: &Certificate) -> Vec<Command> {
    let ca = cert(Role::Authority(1));
    let ca_id = crate::registry::state::id_of(ca.der());
    let acme = Acme {
        directory_url: "http://ca/acme".into(),
        authentication_profile: Some("5".into()),
        ..Acme::default()
    };
    let settings = CaSettings {
        profile: "FiVRKCertificateProfileInfoProvider".into(),
        default_csr_format: Some("DER".into()),
        acme: Some(acme),
        ..CaSettings::default()
    };
    let responder = Some(cert(Role::OcspResponder).der().to_vec());
    let tsa = cert(Role::Timestamping).der().to_vec();
    vec![
        Command::Initialise { instance: "XX".into(), address: "cs.example:8080".into() },
        Command::AddMemberClass { code: "GOV".into(), description: "Government & co".into() },
        Command::AddMember { id: member("1"), name: "One".into() },
        Command::AddSubsystem { id: member("1").subsystem("mgmt"), name: Some("Management".into()) },
        Command::AddMember { id: member("2"), name: "Two <2>".into() },
        Command::AddSubsystem { id: member("2").subsystem("land"), name: None },
        Command::AddSubsystem { id: member("2").subsystem("off"), name: None },
        Command::AddServer { id: server(), address: Some("s1.example".into()) },
        Command::AddAuthCert { server: server(), cert: auth.der().to_vec() },
        Command::AddServerClient { server: server(), client: member("2").subsystem("land") },
        Command::AddServerClient { server: server(), client: member("2").subsystem("off") },
        Command::EnableServerClient {
            server: server(),
            client: member("2").subsystem("off"),
            enabled: false,
        },
        Command::SetMaintenance { id: server(), mode: Some(Some("back soon".into())) },
        Command::AddGroup { code: "g".into(), description: "G".into() },
        Command::AddGroupMember { group: "g".into(), member: member("2").subsystem("land") },
        Command::AddCa { cert: ca.der().to_vec(), settings },
        Command::AddIntermediateCa { ca: ca_id.clone(), cert: cert(Role::Authority(0)).der().to_vec() },
        Command::AddOcspResponder {
            ca: ca_id,
            url: "http://ca/ocsp".into(),
            cert: responder,
            cost: CostType::Free,
        },
        Command::AddTsa { name: None, url: "http://tsa/".into(), cert: tsa, cost: CostType::Paid },
        Command::SetManagementProvider { provider: member("1").subsystem("mgmt") },
        Command::PublishPart {
            content_identifier: parts::NEXT_UPDATE.into(),
            file_name: parts::NEXT_UPDATE_FILE.into(),
            bytes: parts::write_next_update(false).unwrap(),
        },
    ]
}

/// A filled central server with its source, at a clock that stands.
struct Scene {
    _dir: tempfile::TempDir,
    offline: Offline,
    token: Arc<TokenSlot>,
    source: ConfigurationSource,
    public: PathBuf,
    anchors: PathBuf,
    clock: Clock,
    auth: Certificate,
}

impl Scene {
    fn new(kind: KeyKind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(NOW);
        let offline = Offline::open(dir.path(), clock.clone()).unwrap();
        let auth = cert(Role::Authentication);
        offline.execute_all("setup", commands(&auth)).unwrap();
        offline.ensure_signing_keys("setup", PIN, kind).unwrap();
        let token = Arc::new(TokenSlot::from(offline.token(PIN).unwrap()));
        let (public, anchors) = (offline.folder("public").unwrap(), offline.folder("anchors").unwrap());
        let source = Self::source(&offline, &token, &clock, 2);
        Self { _dir: dir, offline, token, source, public, anchors, clock, auth }
    }

    fn source(offline: &Offline, token: &Arc<TokenSlot>, clock: &Clock, minimum: u32) -> ConfigurationSource {
        ConfigurationSource::new(
            Arc::clone(offline.registry()),
            Arc::clone(token),
            clock.clone(),
            minimum,
            offline.folder("public").unwrap(),
            offline.folder("anchors").unwrap(),
        )
    }

    fn execute(&self, command: Command) {
        self.offline.registry().execute("test", command).unwrap();
    }

    fn anchor(&self, source: SourceKind) -> Anchor {
        let bytes = std::fs::read(self.anchors.join(format!("{}.xml", source.name()))).unwrap();
        Anchor::read(&bytes).unwrap()
    }

    /// A published directory, verified with the anchor, and its parts by name.
    fn read(&self, version: u32, source: SourceKind) -> (Directory, Vec<(String, Vec<u8>)>) {
        let bytes = std::fs::read(self.public.join(format!("V{version}")).join(source.directory())).unwrap();
        let certs = self.anchor(source).sources.remove(0).verification_certs;
        let directory = verify_directory(&bytes, &certs, self.clock.now()).unwrap().directory().clone();
        let mut files = Vec::new();
        for part in &directory.parts {
            let bytes = std::fs::read(self.public.join(part.location.trim_start_matches('/'))).unwrap();
            assert!(is_part(part, &bytes));
            files.push((part.location.rsplit('/').next().unwrap().to_owned(), bytes));
        }
        (directory, files)
    }

    fn conf(&self, version: u32) -> GlobalConf {
        let (_, files) = self.read(version, SourceKind::Internal);
        let instance = Instance::read(&files[0].1, version).unwrap();
        Builder::new("XX").instance(Arc::new(instance), None).build().unwrap()
    }

    fn stamps(&self) -> Vec<String> {
        let mut found: Vec<String> = std::fs::read_dir(self.public.join("V6"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| publication::is_stamp(name))
            .collect();
        found.sort();
        found
    }
}

#[test]
fn every_version_verifies_and_says_the_same() {
    let scene = Scene::new(KeyKind::Rsa(2048));
    scene.source.generate().unwrap();
    for version in 2..=6 {
        let (internal, files) = scene.read(version, SourceKind::Internal);
        assert_eq!(
            (internal.version, internal.expires),
            (Some(version), UnixTime::from_secs(NOW.as_secs() + 600))
        );
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["shared-params.xml", "private-params.xml", "nextupdate-params.xml"]);
        let (external, _) = scene.read(version, SourceKind::External);
        assert_eq!(external.parts, internal.parts[..1]);

        let conf = scene.conf(version);
        assert_eq!(conf.server_by_auth_cert(&scene.auth), Some(&server()), "version {version}");
        let land = ClientId { member: member("2"), subsystem: Some("land".into()) };
        assert_eq!(conf.providers(&land)[0].address, "s1.example");
        assert_eq!(conf.providers(&land)[0].maintenance.is_some(), version >= 5);
        assert!(conf.providers(&member("2").subsystem("off")).is_empty(), "disabled");
        assert!(conf.is_known(&member("2").subsystem("off")));
        let owners = conf.group_members(&proto::id::GlobalGroupId {
            instance: "XX".into(),
            code: crate::registry::state::OWNERS_GROUP.into(),
        });
        assert_eq!(owners, [member("1").client()]);
        assert_eq!((conf.tsa_certs().len(), conf.ca_certs().len(), conf.problems().count()), (1, 2, 0));

        let shared = SharedParameters::read(&files[0].1, version).unwrap();
        assert!(shared.write(version).unwrap() == files[0].1, "version {version}: one form of one document");
        let hash = &shared.servers[0].auth_cert_hashes[0];
        assert_eq!(
            *hash,
            if version == 2 { scene.auth.sha1().to_vec() } else { scene.auth.sha256().to_vec() }
        );
        let private = PrivateParameters::read(&files[1].1, version).unwrap();
        assert_eq!(private.auth_cert_reg_address, "https://cs.example:4001/managementservice/");
        assert_eq!(private.management_provider, member("1").subsystem("mgmt"));
        check_schemas(version, &files);
    }
    let anchor = scene.anchor(SourceKind::Internal);
    let urls: Vec<&str> = anchor.sources.iter().map(|source| source.url.as_str()).collect();
    assert_eq!(urls, ["http://cs.example:8080/internalconf"], "nobody speaks TLS at the port of plain HTTP");
    assert_eq!(anchor.generated_at, Some(NOW));
    let mut state = scene.offline.registry().state().as_ref().clone();
    for (address, both) in
        [("cs.example", true), ("2001:db8::1", true), ("[2001:db8::1]", true), ("[2001:db8::1]:80", false)]
    {
        state.address = address.into();
        let anchor = documents::anchor(&state, SourceKind::External).unwrap();
        let urls: Vec<&str> = anchor.sources.iter().map(|source| source.url.as_str()).collect();
        let expected = ["http", "https"].map(|scheme| format!("{scheme}://{address}/externalconf"));
        assert_eq!(urls, expected[..if both { 2 } else { 1 }], "{address}");
    }
    let status = scene.source.status();
    assert!(status.is_good(NOW) && status.last_error.is_none());
    assert!(!status.is_good(UnixTime::from_secs(NOW.as_secs() + 600)));
}

fn check_schemas(version: u32, files: &[(String, Vec<u8>)]) {
    let Some(schemas) = vectors::dir().map(|dir| dir.join("schemas/globalconf")) else {
        return tools::skip("validation against the schemas", "no vectors");
    };
    let of =
        [format!("v{version}/shared-parameters.xsd"), format!("v{}/private-parameters.xsd", version.min(3))];
    for ((name, bytes), schema) in files.iter().zip(of) {
        let Some(mut xmllint) = tools::tool("xmllint", "validation against the schemas") else { return };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let run = xmllint.args(["--noout", "--nonet", "--schema"]).arg(schemas.join(schema)).arg(file.path());
        let output = run.output().unwrap();
        assert!(output.status.success(), "V{version}/{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_pass_without_changes_signs_anew_and_a_change_gets_a_new_stamp() {
    let scene = Scene::new(KeyKind::P256);
    let after = |seconds: i64| scene.clock.set(UnixTime::from_secs(NOW.as_secs() + seconds));
    scene.source.generate().unwrap();
    let first = scene.stamps();
    assert_eq!(first.len(), 1);
    assert!(first[0].starts_with("20270115080000"), "{first:?}");
    after(60);
    scene.source.generate().unwrap();
    assert_eq!(scene.stamps(), first);
    let (directory, _) = scene.read(6, SourceKind::Internal);
    assert_eq!(directory.expires.as_secs(), NOW.as_secs() + 660);
    // What is refused is recorded, and changes nothing that is published.
    let there = Command::AddMember { id: member("2"), name: "Two".into() };
    let before = scene.offline.registry().state().revision;
    scene.offline.registry().execute("test", there).unwrap_err();
    assert_ne!(scene.offline.registry().state().revision, before);
    scene.source.generate().unwrap();
    assert_eq!(scene.stamps(), first);

    scene.execute(Command::AddMember { id: member("3"), name: "Three".into() });
    scene.source.generate().unwrap();
    let both = scene.stamps();
    assert_eq!(both.len(), 2);
    let (directory, _) = scene.read(6, SourceKind::Internal);
    assert!(directory.parts[0].location.contains(&both[1]));
    // A reader with the directory before finds its parts for ten minutes more.
    after(60 + 600);
    scene.source.generate().unwrap();
    assert_eq!(scene.stamps().len(), 2);
    after(60 + 601);
    scene.source.generate().unwrap();
    assert_eq!(scene.stamps(), both[1..]);
    // Two passes at one instant do not meet.
    for name in ["Four", "Five"] {
        scene.execute(Command::AddMember { id: member(name), name: name.into() });
        scene.source.generate().unwrap();
    }
    assert_eq!(scene.stamps().len(), 3);
    // After a start everything is generated anew; what was listed before it stays for its ten minutes.
    after(100_000);
    let restarted = Scene::source(&scene.offline, &scene.token, &scene.clock, 2);
    restarted.generate().unwrap();
    assert_eq!(scene.stamps().len(), 4);
    after(100_601);
    restarted.generate().unwrap();
    assert_eq!(scene.stamps().len(), 1);
}

/// A version that says the same as the one before it is that file, and the directories list it by the same hash.
#[test]
fn versions_with_the_same_text_are_one_file() {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::new(KeyKind::P256);
    let top = scene.offline.registry().state().cas[0].top.key();
    let plain = CaSettings {
        profile: "FiVRKCertificateProfileInfoProvider".into(),
        acme: None,
        ..CaSettings::default()
    };
    scene.execute(Command::ChangeCa { ca: top, settings: plain });
    scene.execute(Command::RenameSubsystem { id: member("1").subsystem("mgmt"), name: None });
    scene.execute(Command::SetMaintenance { id: server(), mode: None });
    scene.source.generate().unwrap();
    let files = (2..=6).map(|version| {
        let (directory, files) = scene.read(version, SourceKind::Internal);
        assert_eq!(SharedParameters::read(&files[0].1, version).unwrap().write(version).unwrap(), files[0].1);
        let path = scene.public.join(directory.parts[0].location.trim_start_matches('/'));
        std::fs::metadata(path).unwrap().ino()
    });
    let files: Vec<u64> = files.collect();
    assert_eq!((files[1], files[2]), (files[2], files[3]), "3 to 5");
    assert!(files[0] != files[1] && files[3] != files[4] && files[0] != files[4], "{files:?}");
}

#[test]
fn a_pass_that_fails_leaves_what_is_published() {
    let scene = Scene::new(KeyKind::P256);
    scene.source.generate().unwrap();
    let before = std::fs::read(scene.public.join("V6/internalconf")).unwrap();
    scene.token.get().unwrap().logout();
    scene.execute(Command::AddMember { id: member("3"), name: "Three".into() });
    let error = scene.source.generate().unwrap_err();
    assert!(matches!(error, GenerationError::Signing { error: SignerError::LoggedOut, .. }), "{error}");
    assert_eq!(std::fs::read(scene.public.join("V6/internalconf")).unwrap(), before);
    let status = scene.source.status();
    assert_eq!((status.failing_since, status.last_success), (Some(NOW), Some(NOW)));
    assert!(status.is_good(NOW), "what is published still holds");
    scene.token.get().unwrap().login(PIN, NOW).unwrap();
    scene.source.generate().unwrap();
    assert_eq!(scene.source.status().failing_since, None);

    let empty = tempfile::tempdir().unwrap();
    let offline = Offline::open(empty.path(), Clock::fixed(NOW)).unwrap();
    let token = Arc::new(TokenSlot::from(offline.token(PIN).unwrap()));
    let source = Scene::source(&offline, &token, &Clock::fixed(NOW), 2);
    assert!(matches!(source.generate(), Err(GenerationError::Incomplete(Incomplete::Instance))));
    offline
        .execute_all("t", vec![Command::Initialise { instance: "XX".into(), address: "cs".into() }])
        .unwrap();
    assert!(matches!(source.generate(), Err(GenerationError::Incomplete(Incomplete::ManagementProvider))));
}

#[test]
fn keys_change_as_the_rotation_of_the_reference_needs_it() {
    let scene = Scene::new(KeyKind::P256);
    scene.source.generate().unwrap();
    let certs = |version| {
        let (_, files) = scene.read(version, SourceKind::Internal);
        SharedParameters::read(&files[0].1, version).unwrap().sources
    };
    let old = scene.offline.registry().state().active_key(SourceKind::Internal).unwrap().key.clone();
    let registry = scene.offline.registry();
    let new =
        keys::add(registry, scene.token.get().unwrap(), "anna", SourceKind::Internal, KeyKind::P384, "new")
            .unwrap();
    scene.source.generate().unwrap();
    assert_eq!(certs(3)[0].internal_certs.len(), 2, "both are listed before the new one signs");
    assert_eq!(certs(6)[0].external_certs.len(), 1);
    assert_eq!(scene.anchor(SourceKind::Internal).sources[0].verification_certs.len(), 2);
    assert!(
        keys::add(registry, scene.token.get().unwrap(), "anna", SourceKind::Internal, KeyKind::P256, "third")
            .is_err(),
        "two at most"
    );
    assert_eq!(
        scene.token.get().unwrap().keys().len(),
        3,
        "the key that was not taken is gone from the token"
    );

    scene.execute(Command::ActivateSigningKey { key: new });
    assert!(keys::remove(registry, scene.token.get().unwrap(), "anna", "no such key").is_err());
    keys::remove(registry, scene.token.get().unwrap(), "anna", &old).unwrap();
    scene.source.generate().unwrap();
    assert_eq!(scene.anchor(SourceKind::Internal).sources[0].verification_certs.len(), 1);
    scene.read(6, SourceKind::Internal);
    assert_eq!(scene.token.get().unwrap().keys().len(), 2);
}

#[test]
fn versions_below_the_minimum_are_withdrawn() {
    let scene = Scene::new(KeyKind::P256);
    scene.source.generate().unwrap();
    let later = Scene::source(&scene.offline, &scene.token, &scene.clock, 4);
    later.generate().unwrap();
    let published = |version: u32| scene.public.join(format!("V{version}/internalconf")).exists();
    assert_eq!((2..=6).map(published).collect::<Vec<_>>(), [false, false, true, true, true]);
}

#[test]
fn trusted_anchors_and_parameters_reach_the_private_parameters() {
    let (ours, partner) = (Scene::new(KeyKind::P256), Scene::new(KeyKind::P256));
    let anchor = Anchor {
        instance: "YY".into(),
        ..{
            partner.source.generate().unwrap();
            partner.anchor(SourceKind::External)
        }
    };
    ours.execute(Command::AddTrustedAnchor { anchor: anchor.write().unwrap() });
    let url = "https://reg.example/managementservice/".to_owned();
    ours.execute(Command::SetParameter(crate::registry::Parameter::AuthCertRegUrl(Some(url.clone()))));
    let tls = cert(Role::Tls).der().to_vec();
    ours.execute(Command::SetParameter(crate::registry::Parameter::AuthCertRegCert(Some(tls.clone()))));
    ours.source.generate().unwrap();
    let (_, files) = ours.read(6, SourceKind::Internal);
    let private = PrivateParameters::read(&files[1].1, 6).unwrap();
    assert_eq!(private.federation_anchors, [anchor]);
    assert_eq!((private.auth_cert_reg_address, private.auth_cert_reg_cert), (url, Some(tls)));
    check_schemas(6, &files);
}

#[test]
fn addresses_lose_their_port() {
    let cases = [
        ("cs", "cs"),
        ("cs.example:8080", "cs.example"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
    ];
    for (address, host) in cases {
        assert_eq!(documents::host_of(address), host);
    }
}

#[test]
fn vectors_declarations_of_parts() {
    let Some((dir, expected)) = vectors::area("globalconf") else { return };
    let mut tally = vectors::Tally::new("globalconf (declarations of parts)");
    for file in expected["files"].as_array().unwrap() {
        let Some(name) = file["file"].as_str().filter(|name| name.starts_with("configuration-parts/")) else {
            continue;
        };
        let folder = dir.join(name).parent().map(Path::to_owned).unwrap();
        let expect = &file["expect"];
        match (optional_parts::read(&folder), expect["verdict"].as_str().unwrap()) {
            (Ok(found), "accept") => {
                let found = serde_json::to_value(found).unwrap();
                tally.equal(name, &found, &expect["parts"]);
            }
            (Err(error), "reject") => {
                let code = error.fault_code().text(proto::fault::Style::Snake);
                tally.equal(name, &Value::from(code), &expect["code"]);
            }
            (found, verdict) => tally.fail(name, format_args!("{found:?}, expected {verdict}")),
        }
    }
    tally.finish();
}

/// A hundred thousand members with their subsystems under `.ci/slow`, a hundredth of it in the usual run.
#[test]
fn a_large_instance_is_generated() {
    let members = tools::rounds(1_000, 100_000);
    let scene = Scene::new(KeyKind::P256);
    let mut commands = Vec::new();
    for number in 0..members {
        let id = member(&format!("1000{number}"));
        commands.push(Command::AddMember { id: id.clone(), name: format!("Municipality number {number}") });
        commands.push(Command::AddSubsystem { id: id.clone().subsystem("population-register"), name: None });
        commands.push(Command::AddSubsystem { id: id.subsystem("school-office"), name: None });
    }
    let took =
        |what: &str, began: std::time::Instant| eprintln!("{members} members, {what}: {:?}", began.elapsed());
    let began = std::time::Instant::now();
    scene.offline.execute_all("import", commands).unwrap();
    took("registered", began);
    let began = std::time::Instant::now();
    scene.source.generate().unwrap();
    took("generated", began);
    let began = std::time::Instant::now();
    scene.source.generate().unwrap();
    took("signed again", began);
    assert_eq!(scene.conf(6).clients("XX").len(), 3 * members + 5);
}

#[tokio::test]
async fn a_change_is_published_at_once_and_the_task_stops_when_told() {
    let scene = tokio::task::spawn_blocking(|| Scene::new(KeyKind::P256)).await.unwrap();
    scene.source.generate().unwrap();
    let before = scene.stamps();
    let source = Scene::source(&scene.offline, &scene.token, &scene.clock, 2);
    let shutdown = Shutdown::default();
    let task = tokio::spawn(Arc::new(source).run(Duration::from_secs(3600), shutdown.clone()));
    // The task subscribes when it first runs.
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.execute(Command::AddMember { id: member("3"), name: "Three".into() });
    let published = async {
        while scene.stamps() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), published).await.expect("long before the next interval");
    shutdown.stop();
    tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
}
