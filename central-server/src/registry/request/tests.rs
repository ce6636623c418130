//! Pairs, approval, what happens at once, what is refused; and that a snapshot gives the same state as all events.

use host::clock::Clock;
use pki::issue::{Role, Template, self_signed};
use pki::key::{KeyKind, PrivateKey};

use super::*;
use crate::registry::{Registry, RegistryError};

fn member(code: &str) -> MemberId {
    MemberId::new("XX", "GOV", code)
}

fn server(owner: &str) -> ServerId {
    ServerId { owner: member(owner), code: "s1".into() }
}

fn auth_cert() -> Blob {
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    let template = Template {
        subject: &vec![(pki::name::COMMON_NAME, "s1".to_owned())],
        role: Role::Authentication,
        serial: &[1],
        not_before: UnixTime(0),
        not_after: UnixTime::from_secs(2_145_916_800),
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    Blob(self_signed(&template, &key).unwrap().der().to_vec())
}

/// A registry with two members and a server of the first, which offers the management services.
fn registry(folder: &std::path::Path) -> Registry {
    let registry = Registry::open(folder, Clock::fixed(UnixTime::from_secs(1_800_000_000))).unwrap();
    let commands = vec![
        Command::Initialise { instance: "XX".into(), address: "cs".into() },
        Command::AddMemberClass { code: "GOV".into(), description: "Government".into() },
        Command::AddMember { id: member("1"), name: "One".into() },
        Command::AddMember { id: member("2"), name: "Two".into() },
        Command::AddSubsystem { id: member("1").subsystem("mgmt"), name: None },
        Command::SetManagementProvider { provider: member("1").subsystem("mgmt") },
        Command::AddServer { id: server("1"), address: None },
        Command::AddServerClient { server: server("1"), client: member("1").subsystem("mgmt") },
    ];
    registry.execute_all("test", commands).unwrap();
    registry
}

fn asked(kind: RequestKind, origin: Origin) -> Submission {
    Submission { kind, origin, server: server("1"), comments: None, automatic: false, approved: false }
}

fn submit_to(registry: &Registry, submission: Submission) -> Result<u64, &'static str> {
    let command = Command::SubmitRequest(Box::new(submission));
    match registry.execute_for_state("test", command) {
        Ok(state) => Ok(state.numbers.request),
        Err(RegistryError::Refused(Refusal::Request(refusal))) => Err(refusal.code().1),
        Err(other) => panic!("{other}"),
    }
}

fn registration(client: ClientId, origin: Origin) -> Submission {
    asked(RequestKind::ClientRegistration { client, name: Some("Name".into()) }, origin)
}

#[test]
fn a_registration_that_both_sides_ask_for_approves_itself_when_the_server_asks_second() {
    for (first, second, expected) in [
        (Origin::Center, Origin::SecurityServer, Status::Approved),
        (Origin::SecurityServer, Origin::Center, Status::Submitted),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry(folder.path());
        let client = member("2").subsystem("new");
        assert_eq!(submit_to(&registry, registration(client.clone(), first)), Ok(1));
        assert_eq!(
            submit_to(&registry, registration(client.clone(), first)),
            Err("management_request_exists")
        );
        assert_eq!(submit_to(&registry, registration(client.clone(), second)), Ok(2));
        let state = registry.state();
        assert_eq!(
            [1, 2].map(|id| state.requests[&id].status),
            [Some(expected); 2],
            "one matter, one status"
        );
        assert_eq!(state.servers[&server("1")].clients.contains_key(&client), expected == Status::Approved);
        assert_eq!(state.knows(&client), expected == Status::Approved);
    }
}

#[test]
fn what_is_turned_down_is_declined_and_an_own_request_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let cases = [(Origin::SecurityServer, "a", Status::Declined), (Origin::Center, "b", Status::Revoked)];
    for (origin, code, expected) in cases {
        let id = submit_to(&registry, registration(member("2").subsystem(code), origin)).unwrap();
        registry.execute("test", Command::WithdrawRequest { id }).unwrap();
        assert_eq!(registry.state().requests[&id].status, Some(expected));
        let again = registry.execute("test", Command::WithdrawRequest { id }).unwrap_err();
        assert!(matches!(again, RegistryError::Refused(Refusal::Request(RequestRefusal::InvalidState))));
        let approval = registry.execute("test", Command::ApproveRequest { id }).unwrap_err();
        let refused = RequestRefusal::InvalidStateForApproval { id };
        assert!(matches!(approval, RegistryError::Refused(Refusal::Request(found)) if found == refused));
    }
    // The server that was turned down tidies up, and that is only recorded.
    let deletion = RequestKind::ClientDeletion { client: member("2").subsystem("a") };
    assert!(submit_to(&registry, asked(deletion, Origin::SecurityServer)).is_ok());
}

#[test]
fn a_certificate_brings_its_server_and_its_owner_and_a_deletion_takes_a_waiting_one_back() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let cert = auth_cert();
    let about = |kind| Submission { server: server("new"), ..asked(kind, Origin::SecurityServer) };
    let register = || {
        about(RequestKind::AuthCertRegistration { cert: cert.clone(), address: Some("new.example".into()) })
    };
    let delete = || about(RequestKind::AuthCertDeletion { cert: cert.clone() });
    assert_eq!(submit_to(&registry, delete()), Err("management_request_invalid_auth_certificate"));
    let first = submit_to(&registry, register()).unwrap();
    submit_to(&registry, delete()).unwrap();
    assert_eq!(registry.state().requests[&first].status, Some(Status::Revoked));
    let second = submit_to(&registry, register()).unwrap();
    registry.execute("test", Command::ApproveRequest { id: second }).unwrap();
    let state = registry.state();
    assert_eq!(state.members[&member("new")].name, "new", "named after its code until somebody knows better");
    assert_eq!(state.servers[&server("new")].address.as_deref(), Some("new.example"));
    assert!(state.groups[OWNERS_GROUP].members.contains(&member("new").client()));
    assert_eq!(submit_to(&registry, register()), Err("management_request_security_server_exists"));
    registry.execute("test", Command::DeleteServer { id: server("new") }).unwrap();
    let state = registry.state();
    assert!(!state.servers.contains_key(&server("new")));
    assert!(!state.groups[OWNERS_GROUP].members.contains(&member("new").client()));
    let last = &state.requests[&state.numbers.request];
    assert_eq!((last.kind.name(), last.origin), ("AUTH_CERT_DELETION_REQUEST", Origin::Center));
    assert_eq!(last.comments.as_deref(), Some("SERVER:XX/GOV/new/s1 deletion"));
}

#[test]
fn an_owner_change_swaps_the_roles_and_the_group_follows() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let change = || asked(RequestKind::OwnerChange { client: member("2").client() }, Origin::SecurityServer);
    assert_eq!(submit_to(&registry, change()), Err("management_request_owner_must_be_client"));
    let client = registration(member("2").client(), Origin::SecurityServer);
    submit_to(&registry, Submission { automatic: true, ..client }).unwrap();
    let id = submit_to(&registry, change()).unwrap();
    assert_eq!(submit_to(&registry, change()), Err("management_request_exists"));
    registry.execute("test", Command::ApproveRequest { id }).unwrap();
    let state = registry.state();
    assert!(!state.servers.contains_key(&server("1")));
    let clients: Vec<&ClientId> = state.servers[&server("2")].clients.keys().collect();
    assert_eq!(clients, [&member("1").client(), &member("1").subsystem("mgmt")]);
    let owners: Vec<&ClientId> = state.groups[OWNERS_GROUP].members.iter().collect();
    assert_eq!(owners, [&member("2").client()]);
}

#[test]
fn what_happens_at_once_and_what_is_refused() {
    use RequestKind::*;
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let provider = member("1").subsystem("mgmt");
    let unknown = member("2").subsystem("x");
    let sub = member("2").subsystem("a");
    let register = registration(sub.clone(), Origin::SecurityServer);
    submit_to(&registry, Submission { automatic: true, ..register }).unwrap();
    let rename = |client: &ClientId, name: &str| ClientRename { client: client.clone(), name: name.into() };
    let cases = [
        (ClientDisable { client: provider }, Some("mr_forbidden_disable_management_service_client")),
        (ClientDisable { client: unknown.clone() }, Some("management_request_server_client_not_found")),
        (ClientDisable { client: sub.clone() }, None),
        (ClientEnable { client: sub.clone() }, None),
        (rename(&sub, "New"), None),
        (rename(&sub, " "), Some("management_request_invalid_subsystem_name")),
        (rename(&member("1").client(), "x"), Some("management_request_only_subsystem_rename_allowed")),
        (AddressChange { address: "s1.example".into() }, None),
        (
            MaintenanceEnable { message: None },
            Some("mr_forbidden_enable_maintenance_mode_for_management_service"),
        ),
        (MaintenanceDisable, Some("management_request_server_not_in_maintenance_mode")),
        (ClientDeletion { client: unknown }, Some("management_request_client_registration_not_found")),
        (ClientDeletion { client: sub.clone() }, None),
        (
            ClientRegistration { client: member("1").client(), name: None },
            Some("management_request_cannot_register_owner"),
        ),
        (OwnerChange { client: sub.clone() }, Some("management_request_owner_must_be_member")),
        (OwnerChange { client: member("1").client() }, Some("management_request_client_already_owner")),
    ];
    for (kind, expected) in cases {
        let name = format!("{kind:?}");
        let found = submit_to(&registry, asked(kind, Origin::SecurityServer));
        assert_eq!(found.err(), expected, "{name}");
    }
    let state = registry.state();
    assert_eq!(state.servers[&server("1")].address.as_deref(), Some("s1.example"));
    assert_eq!(state.members[&member("2")].subsystems["a"].as_deref(), Some("New"));
    let address =
        state.requests.values().find(|request| matches!(request.kind, AddressChange { .. })).unwrap();
    assert_eq!((address.status, address.comments.as_deref()), (None, Some("Changing from ''.")));
}

#[test]
fn a_snapshot_gives_the_state_that_all_events_give_and_a_damaged_one_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let first = registry(folder.path());
    let members: Vec<Command> = (10..1_500)
        .map(|code| Command::AddMember { id: member(&code.to_string()), name: "M".into() })
        .chain([Command::SetMaintenance { id: server("1"), mode: Some(None) }])
        .collect();
    first.execute_all("test", members).unwrap();
    submit_to(&first, registration(member("2").subsystem("a"), Origin::Center)).unwrap();
    let expected = first.state();
    drop(first);
    let path = folder.path().join("registry.snapshot");
    assert!(path.exists(), "written after so many events");
    let reopen = || Registry::open(folder.path(), Clock::System).unwrap().state();
    assert_eq!(*reopen(), *expected);
    let good = std::fs::read(&path).unwrap();
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for bytes in [damaged, good[..middle].to_vec(), Vec::new()] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(*reopen(), *expected);
    }
}
