//! What the registry takes and refuses, what follows from what, and that it comes back after a restart as it was.

use pki::issue::{Role, Template, self_signed};
use pki::key::{KeyKind, PrivateKey};
use proto::globalconf::anchor::{Anchor, AnchorSource};
use proto::globalconf::shared_parameters::CostType;
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;

use super::event::Blob;
use super::state::{OWNERS_GROUP, id_of};
use super::*;

const AT: UnixTime = UnixTime::from_secs(1_800_000_000);

fn cert(role: Role) -> Vec<u8> {
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
    self_signed(&template, &key).unwrap().der().to_vec()
}

fn member(code: &str) -> MemberId {
    MemberId::new("XX", "GOV", code)
}

fn server(owner: &str, code: &str) -> ServerId {
    ServerId { owner: member(owner), code: code.into() }
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// An instance with two members, a server, a client and a group.
fn some() -> Vec<Command> {
    vec![
        Command::Initialise { instance: "XX".into(), address: "cs.example".into() },
        Command::AddMemberClass { code: "GOV".into(), description: "Government".into() },
        Command::AddMember { id: member("1"), name: "One".into() },
        Command::AddMember { id: member("2"), name: "Two".into() },
        Command::AddSubsystem { id: member("1").subsystem("a"), name: named("A") },
        Command::AddSubsystem { id: member("2").subsystem("mgmt"), name: None },
        Command::AddServer { id: server("1", "s1"), address: named("s1.example") },
        Command::AddServerClient { server: server("1", "s1"), client: member("1").subsystem("a") },
        Command::AddGroup { code: "g".into(), description: "G".into() },
        Command::AddGroupMember { group: "g".into(), member: member("1").subsystem("a") },
        Command::SetManagementProvider { provider: member("2").subsystem("mgmt") },
    ]
}

fn state_of(commands: Vec<Command>) -> State {
    let mut state = State::default();
    for event in decide_all(&state.clone(), commands, AT).unwrap().0 {
        state.apply(event, AT).unwrap();
    }
    state
}

#[test]
fn what_is_refused_and_why() {
    use Command::*;
    let state = state_of(some());
    let auth = cert(Role::Authentication);
    let provider = || member("2").subsystem("mgmt");
    let unnamed = Anchor {
        generated_at: None,
        instance: "X:X".into(),
        sources: vec![AnchorSource {
            url: "http://cs/externalconf".into(),
            verification_certs: vec![vec![1]],
        }],
    };
    let ca_settings = |profile: &str| CaSettings { profile: profile.into(), ..CaSettings::default() };
    let cases: Vec<(&str, Command, &str)> = vec![
        (
            "a second name",
            Initialise { instance: "YY".into(), address: "x".into() },
            "initialised already, as XX",
        ),
        ("an address that is a URL", SetAddress { address: "http://cs/".into() }, "a address is a host name"),
        ("a class twice", AddMemberClass { code: "GOV".into(), description: "x".into() }, "exists already"),
        (
            "a class with a slash",
            AddMemberClass { code: "A/B".into(), description: "x".into() },
            "none of : ; / \\ %",
        ),
        ("an empty code", AddMember { id: member(""), name: "x".into() }, "1 to 255 characters"),
        (
            "a code that is too long",
            AddMember { id: member(&"x".repeat(256)), name: "x".into() },
            "1 to 255 characters",
        ),
        (
            "a code with white space around it",
            AddMember { id: member(" 3"), name: "x".into() },
            "no white space around",
        ),
        (
            "a code with a control character",
            AddMember { id: member("a\u{7}b"), name: "x".into() },
            "control characters",
        ),
        (
            "a name with a line break",
            AddMember { id: member("3"), name: "a\nb".into() },
            "no control characters",
        ),
        (
            "an unknown class",
            AddMember { id: MemberId::new("XX", "COM", "3"), name: "x".into() },
            "member class COM does not exist",
        ),
        (
            "another instance",
            AddMember { id: MemberId::new("YY", "GOV", "3"), name: "x".into() },
            "YY is another instance",
        ),
        ("a member twice", AddMember { id: member("1"), name: "x".into() }, "exists already"),
        ("a class with members", RemoveMemberClass { code: "GOV".into() }, "it has members"),
        ("a member with servers", RemoveMember { id: member("1") }, "it owns security servers"),
        ("the provider's member", RemoveMember { id: member("2") }, "it offers the management services"),
        ("the provider", RemoveSubsystem { id: provider() }, "it offers the management services"),
        (
            "a subsystem of nobody",
            AddSubsystem { id: member("9").subsystem("a"), name: None },
            "does not exist",
        ),
        (
            "a member as subsystem",
            AddSubsystem { id: member("1").client(), name: None },
            "is not a subsystem",
        ),
        ("a subsystem twice", AddSubsystem { id: member("1").subsystem("a"), name: None }, "exists already"),
        ("a server twice", AddServer { id: server("1", "s1"), address: None }, "exists already"),
        ("a server of nobody", AddServer { id: server("9", "s"), address: None }, "does not exist"),
        (
            "a signing certificate for TLS",
            AddAuthCert { server: server("1", "s1"), cert: cert(Role::Signing) },
            "not for authentication",
        ),
        ("no certificate", AddAuthCert { server: server("1", "s1"), cert: vec![1, 2] }, "cannot be parsed"),
        (
            "a huge certificate",
            AddAuthCert { server: server("1", "s1"), cert: vec![0; 40_000] },
            "larger than 32768",
        ),
        (
            "the owner as client",
            AddServerClient { server: server("1", "s1"), client: member("1").client() },
            "exists already",
        ),
        (
            "a client twice",
            AddServerClient { server: server("1", "s1"), client: member("1").subsystem("a") },
            "exists already",
        ),
        (
            "an unknown client",
            AddServerClient { server: server("1", "s1"), client: member("1").subsystem("z") },
            "does not exist",
        ),
        ("the owners' group", RemoveGroup { code: OWNERS_GROUP.into() }, "every instance has it"),
        (
            "a guest among the owners",
            AddGroupMember { group: OWNERS_GROUP.into(), member: member("2").client() },
            "follow from the servers",
        ),
        (
            "an unknown group",
            AddGroupMember { group: "h".into(), member: member("2").client() },
            "does not exist",
        ),
        (
            "an unknown profile",
            AddCa { cert: cert(Role::Authority(1)), settings: ca_settings("a.b.C") },
            "certificate profile a.b.C",
        ),
        (
            "a responder of no CA",
            AddOcspResponder { ca: "00".into(), url: "http://x".into(), cert: None, cost: CostType::Free },
            "CA 00 does not exist",
        ),
        (
            "a TSA that is no URL",
            AddTsa { name: None, url: "tsa".into(), cert: auth.clone(), cost: CostType::Free },
            "starts with http",
        ),
        (
            "a member as provider",
            SetManagementProvider { provider: member("1").client() },
            "is not a subsystem",
        ),
        (
            "an anchor of an impossible instance",
            AddTrustedAnchor { anchor: unnamed.write().unwrap() },
            "a instance has",
        ),
        ("no anchor", AddTrustedAnchor { anchor: b"<a/>".to_vec() }, "root element"),
        (
            "a part with a reserved name",
            PublishPart {
                content_identifier: "X".into(),
                file_name: "shared-params.xml".into(),
                bytes: vec![],
            },
            "not one that every configuration has",
        ),
        (
            "a part that is a path",
            PublishPart { content_identifier: "X".into(), file_name: "../x".into(), bytes: vec![] },
            "letters, digits",
        ),
        (
            "a broken part",
            PublishPart {
                content_identifier: "MONITORING".into(),
                file_name: "m.xml".into(),
                bytes: b"<a/>".to_vec(),
            },
            "root element",
        ),
        (
            "stamps rarer than OCSP answers hold",
            SetParameter(Parameter::TimestampingInterval(3600)),
            "from 60 to 3599",
        ),
        ("OCSP answers that hold shorter than stamps", SetParameter(Parameter::OcspFreshness(60)), "from 61"),
        ("an expiry that is too short", SetParameter(Parameter::ConfExpireInterval(10)), "from 120"),
        ("an unknown key", ActivateSigningKey { key: "K".into() }, "does not exist"),
    ];
    for (name, command, expected) in cases {
        let refusal = decide(&state, command).expect_err(name).to_string();
        assert!(refusal.contains(expected), "{name}: {refusal}");
    }
    let first = decide(&State::default(), AddMemberClass { code: "GOV".into(), description: "x".into() });
    assert_eq!(first, Err(Refusal::NotInitialised));
}

#[test]
fn owners_of_servers_are_in_their_group() {
    let mut commands = some();
    let owners = |commands: Vec<Command>| state_of(commands).groups[OWNERS_GROUP].members.clone();
    assert_eq!(owners(commands.clone()), [member("1").client()].into());
    commands.push(Command::AddServer { id: server("1", "s2"), address: None });
    commands.push(Command::RemoveServer { id: server("1", "s1") });
    assert_eq!(owners(commands.clone()), [member("1").client()].into(), "still owns one");
    commands.push(Command::RemoveServer { id: server("1", "s2") });
    assert!(owners(commands).is_empty());
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let mut commands = some();
    commands.extend([
        Command::AddSubsystem { id: member("2").subsystem("b"), name: None },
        Command::AddServerClient { server: server("1", "s1"), client: member("2").subsystem("b") },
        Command::AddGroupMember { group: "g".into(), member: member("2").subsystem("b") },
        Command::RemoveServerClient { server: server("1", "s1"), client: member("2").subsystem("b") },
        Command::RemoveSubsystem { id: member("2").subsystem("b") },
        Command::AddMember { id: member("3"), name: "Three".into() },
        Command::AddSubsystem { id: member("3").subsystem("c"), name: None },
        Command::AddServerClient { server: server("1", "s1"), client: member("3").subsystem("c") },
        Command::AddServerClient { server: server("1", "s1"), client: member("3").client() },
        Command::AddGroupMember { group: "g".into(), member: member("3").client() },
        Command::RemoveMember { id: member("3") },
    ]);
    let (before, mut after) = (state_of(some()), state_of(commands));
    assert_ne!(before.revision, after.revision);
    (after.revision, after.content_revision) = (before.revision, before.content_revision);
    // Numbers are never given again.
    after.numbers = before.numbers;
    assert_eq!(before, after);
}

#[test]
fn signing_keys_are_two_at_most_and_one_is_active() {
    let add = |key: &str| Command::AddSigningKey {
        source: SourceKind::Internal,
        key: key.into(),
        cert: cert(Role::Configuration),
        label: "a label".into(),
    };
    let mut commands = some();
    commands.extend([add("A"), add("B")]);
    let state = state_of(commands.clone());
    assert_eq!(state.active_key(SourceKind::Internal).unwrap().key, "A");
    assert!(state.active_key(SourceKind::External).is_none());
    assert!(matches!(decide(&state, add("C")), Err(Refusal::TooManyKeys { limit: 2, .. })));
    assert!(matches!(decide(&state, add("A")), Err(Refusal::Exists { .. })));
    let remove = |key: &str| Command::RemoveSigningKey { key: key.into() };
    assert!(matches!(decide(&state, remove("A")), Err(Refusal::InUse { .. })));
    commands.extend([Command::ActivateSigningKey { key: "B".into() }, remove("A"), add("C")]);
    let state = state_of(commands);
    let keys: Vec<_> =
        state.keys_of(SourceKind::Internal).map(|key| (key.key.as_str(), key.active)).collect();
    assert_eq!(keys, [("B", true), ("C", false)]);
}

#[test]
fn trust_services_come_and_go() {
    let top = cert(Role::Authority(1));
    let below = cert(Role::Authority(0));
    let responder = cert(Role::OcspResponder);
    let settings =
        CaSettings { profile: "FiVRKCertificateProfileInfoProvider".into(), ..CaSettings::default() };
    let mut commands = some();
    commands.extend([
        Command::AddCa { cert: top.clone(), settings: settings.clone() },
        Command::AddIntermediateCa { ca: id_of(&top), cert: below.clone() },
        Command::AddOcspResponder {
            ca: id_of(&below),
            url: "http://ca/ocsp".into(),
            cert: Some(responder.clone()),
            cost: CostType::Free,
        },
        Command::AddTsa {
            name: None,
            url: "http://tsa/".into(),
            cert: cert(Role::Timestamping),
            cost: CostType::Paid,
        },
    ]);
    let state = state_of(commands.clone());
    let service = &state.cas[0];
    assert_eq!(service.settings.name, "Test Authority(1)");
    assert!(service.settings.profile.starts_with("ee.ria.xroad."));
    assert_eq!(service.intermediates[0].responders[0].cert, Some(Blob(responder)));
    assert_eq!(state.tsas[0].name, "Test Timestamping");
    let again = decide(&state, Command::AddCa { cert: below.clone(), settings }).unwrap();
    assert_eq!(again.len(), 1, "one certificate may stand for two services, each with its own number");
    commands.extend([
        Command::RemoveOcspResponder { ca: id_of(&below), url: "http://ca/ocsp".into() },
        Command::RemoveIntermediateCa { ca: id_of(&top), intermediate: id_of(&below) },
        Command::RemoveTsa { cert: id_of(&state.tsas[0].cert.0), url: "http://tsa/".into() },
        Command::RemoveCa { ca: id_of(&top) },
    ]);
    let state = state_of(commands);
    assert!(state.cas.is_empty() && state.tsas.is_empty());
}

#[test]
fn an_event_that_does_not_fit_is_an_error_and_not_a_panic() {
    let misfits = [
        Event::MemberRemoved { id: member("9") },
        Event::SubsystemAdded { id: member("9").subsystem("a"), name: None },
        Event::SubsystemAdded { id: member("1").client(), name: None },
        Event::AuthCertAdded { server: server("9", "s"), cert: Blob(vec![]) },
        Event::ServerClientEnabled { server: server("1", "s1"), client: member("9").client(), enabled: true },
        Event::GroupMemberAdded { group: "h".into(), member: member("1").client() },
        Event::OcspResponderRemoved { ca: "00".into(), url: "x".into() },
        Event::SigningKeyActivated { key: "K".into() },
        Event::PartWithdrawn { content_identifier: "X".into() },
    ];
    for event in misfits {
        assert_eq!(state_of(some()).apply(event.clone(), AT), Err(Inconsistent), "{event:?}");
    }
}

/// Stored for good: a change here is a change of what installations hold.
#[test]
fn events_are_stored_as_json_that_stays() {
    let cases = [
        (
            Event::MemberAdded { id: member("1"), name: "One".into() },
            r#"{"member-added":{"id":{"instance":"XX","class":"GOV","code":"1"},"name":"One"}}"#,
        ),
        (
            Event::AuthCertAdded { server: server("1", "s1"), cert: Blob(vec![1, 2, 3]) },
            r#"{"auth-cert-added":{"server":{"owner":{"instance":"XX","class":"GOV","code":"1"},"code":"s1"},"cert":"AQID"}}"#,
        ),
        (
            Event::MaintenanceSet { id: server("1", "s1"), on: true, message: None },
            r#"{"maintenance-set":{"id":{"owner":{"instance":"XX","class":"GOV","code":"1"},"code":"s1"},"on":true,"message":null}}"#,
        ),
        (
            Event::SigningKeyAdded {
                source: SourceKind::Internal,
                key: "K".into(),
                cert: Blob(vec![]),
                label: String::new(),
            },
            r#"{"signing-key-added":{"source":"internal","key":"K","cert":""}}"#,
        ),
        (Event::ConfExpireIntervalSet { seconds: 600 }, r#"{"conf-expire-interval-set":{"seconds":600}}"#),
    ];
    for (event, json) in cases {
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
        assert_eq!(serde_json::from_str::<Event>(json).unwrap(), event);
    }
}

#[test]
fn a_restart_finds_everything_and_refusals_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(AT);
    let registry = Registry::open(dir.path(), clock.clone()).unwrap();
    let mut changes = registry.changes();
    registry.execute_all("setup", some()).unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(*changes.borrow_and_update(), registry.state().revision);
    let part = Command::PublishPart {
        content_identifier: "NEXTUPDATE".into(),
        file_name: "nextupdate-params.xml".into(),
        bytes: proto::globalconf::optional_parts::write_next_update(false).unwrap(),
    };
    registry.execute("anna", part).unwrap();
    registry.execute("anna", Command::SetParameter(Parameter::ConfExpireInterval(300))).unwrap();

    let before = registry.state();
    let refused = registry.execute("ben", Command::RemoveMember { id: member("1") });
    assert!(matches!(refused, Err(RegistryError::Refused(Refusal::InUse { .. }))));
    let batch = vec![
        Command::AddMember { id: member("5"), name: "Five".into() },
        Command::AddMember { id: member("5"), name: "Five".into() },
    ];
    assert!(registry.execute_all("ben", batch).is_err(), "all of them or none");
    assert!(!registry.state().members.contains_key(&member("5")));
    assert_eq!(registry.state().revision, before.revision + 2, "both refusals");

    let after = registry.state();
    drop(registry);
    let registry = Registry::open(dir.path(), clock).unwrap();
    assert_eq!(registry.state(), after);
    let digest = &after.parts["NEXTUPDATE"].digest;
    assert!(registry.part(digest).unwrap().starts_with(b"<?xml"));
    fs::write(dir.path().join("parts").join(digest), b"other").unwrap();
    assert!(registry.part(digest).is_err(), "a damaged file is noticed");
    let recorded = registry.log.replay::<Event>().unwrap();
    let last = recorded.last().unwrap();
    assert!(matches!(&last.event, Event::Refused { asked, .. } if asked == "add a member"));
    assert_eq!((last.actor.as_str(), last.at), ("ben", AT));
}

/// The child's part of [`acknowledges_only_after_fdatasync`]: changes the registry, then acknowledges by writing to a file. By
/// itself it does nothing.
#[test]
fn child_that_changes_and_acknowledges() {
    use std::os::unix::fs::FileExt;
    let Some(dir) = std::env::var_os("CAUSEWAY_TEST_REGISTRY").map(PathBuf::from) else { return };
    let registry = Registry::open(&dir, Clock::fixed(AT)).unwrap();
    let acknowledgements = fs::File::create(dir.join("acknowledged")).unwrap();
    registry.execute_all("setup", some()).unwrap();
    // The store's own periodic sync is not to help.
    std::thread::sleep(std::time::Duration::from_millis(700));
    for number in 0..5_u64 {
        let name = format!("Member {number}");
        registry.execute("anna", Command::AddMember { id: member(&format!("1{number}")), name }).unwrap();
        acknowledgements.write_all_at(b"a", number).unwrap();
    }
}

/// Watches the system calls of a child: each acknowledgement comes after an fdatasync of the database and of its journal since the
/// acknowledgement before.
#[test]
fn acknowledges_only_after_fdatasync() {
    let name = "the order of acknowledgement and fdatasync";
    let Some(mut strace) = testkit::tools::tool("strace", name) else { return };
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let run = strace
        .args(["-f", "-y", "-e", "trace=fdatasync,pwrite64", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "registry::tests::child_that_changes_and_acknowledges"])
        .env("CAUSEWAY_TEST_REGISTRY", dir.path())
        .output()
        .unwrap();
    let text = fs::read_to_string(&trace).unwrap_or_default();
    if text.is_empty() {
        return testkit::tools::skip(name, &String::from_utf8_lossy(&run.stderr));
    }
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    let (mut database, mut journal, mut acknowledged) = (false, false, 0);
    let mut unfinished = std::collections::HashMap::new();
    for line in text.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default();
        let done = if line.contains("fdatasync resumed") {
            unfinished.remove(thread).unwrap_or_default()
        } else if line.contains("fdatasync(") && line.contains("<unfinished") {
            unfinished.insert(thread, line);
            continue;
        } else {
            line
        };
        if done.contains("fdatasync(") {
            database |= done.contains("/sled/db>");
            journal |= done.contains("/journal>");
        } else if done.contains("pwrite64(") && done.contains("/acknowledged>") {
            assert!(database && journal, "acknowledged before the sync: {line}");
            (database, journal, acknowledged) = (false, false, acknowledged + 1);
        }
    }
    assert_eq!(acknowledged, 5, "{text}");
}

#[test]
fn parts_that_nobody_publishes_any_more_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path(), Clock::fixed(UnixTime(0))).unwrap();
    let start = Command::Initialise { instance: "XX".into(), address: "cs.example".into() };
    registry.execute("anna", start).unwrap();
    let publish = |text: &str| {
        let bytes = format!("<a>{text}</a>").into_bytes();
        let (content_identifier, file_name) = ("X".into(), "x.xml".into());
        registry.execute("anna", Command::PublishPart { content_identifier, file_name, bytes }).unwrap();
        let digest = registry.state().parts["X"].digest.clone();
        assert_eq!(registry.part(&digest).unwrap(), format!("<a>{text}</a>").into_bytes());
        digest
    };
    let digests = ["1", "2", "3", "3"].map(publish);
    let mut kept: Vec<_> = fs::read_dir(dir.path().join(PARTS))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let mut expected = digests[1..3].to_vec();
    expected.sort();
    assert_eq!(kept, expected, "the present one, and the one before, which may just be being published");
}
