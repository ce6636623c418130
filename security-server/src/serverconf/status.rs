//! How far the registration of a client is, and what the global configuration makes of it [UC-MEMBER, UC-SS].
//!
//! ```text
//!            register                        listed                     unregister
//! SAVED ----------------> REGISTRATION_IN_PROGRESS ----> REGISTERED ----------------> DELETION_IN_PROGRESS
//!   |        listed                                        ^  |  ^                        ^
//!   +------------------------------------------------------+  |  | listed                 | unregister
//!                                              not listed     v  |                        |
//!                                                        GLOBAL_ERROR                     |
//! REGISTERED --disable--> DISABLING_IN_PROGRESS --not listed--> DISABLED -----------------+
//!                                                     DISABLED --enable--> ENABLING_IN_PROGRESS --listed--> REGISTERED
//! ```
//!
//! What a request changes is recorded when it was sent; what the configuration changes follows from [`aligned`], a pure function over
//! both, and is recorded as well, so that an answer of the management API says what the relay does. Not here: sending requests.

use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use proto::id::{ClientId, ServerId};
use serde::{Deserialize, Serialize};

use super::event::{Event, MaintenanceWanted};
use super::state::State;

/// How far the registration of a client is; written as in the management API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientStatus {
    /// Only here.
    #[default]
    Saved,
    /// A registration request was sent.
    RegistrationInProgress,
    /// The global configuration lists it with this server.
    Registered,
    /// A deletion request was sent.
    DeletionInProgress,
    /// It was registered and is not listed any more.
    GlobalError,
    /// A request to disable it was sent.
    DisablingInProgress,
    /// Disabled, so not listed.
    Disabled,
    /// A request to enable it was sent.
    EnablingInProgress,
}

impl ClientStatus {
    /// What follows from being `listed` with this server, or not, in the global configuration.
    pub fn aligned(self, listed: bool) -> Self {
        match (self, listed) {
            (
                Self::Saved | Self::RegistrationInProgress | Self::GlobalError | Self::EnablingInProgress,
                true,
            ) => Self::Registered,
            (Self::Registered, false) => Self::GlobalError,
            (Self::DisablingInProgress, false) => Self::Disabled,
            (same, _) => same,
        }
    }
    /// A registration request may be sent.
    pub fn may_register(self) -> bool {
        self == Self::Saved
    }
    /// A deletion request may be sent.
    pub fn may_unregister(self) -> bool {
        matches!(self, Self::Registered | Self::RegistrationInProgress | Self::Disabled)
    }
    /// A request to disable it may be sent.
    pub fn may_disable(self) -> bool {
        self == Self::Registered
    }
    /// A request to enable it may be sent.
    pub fn may_enable(self) -> bool {
        self == Self::Disabled
    }
    /// It may be removed from this server.
    pub fn may_delete(self) -> bool {
        matches!(self, Self::Saved | Self::DeletionInProgress | Self::GlobalError)
    }
}

/// What `conf` says that `state` does not know yet: another owner of this server, its address and maintenance mode, statuses of clients,
/// names that were asked for.
///
/// `own_auth_certs` are the authentication certificates of this server: the configuration says with them who owns it now. Only a
/// client of this server becomes its owner.
pub fn aligned(state: &State, conf: &GlobalConf, own_auth_certs: &[Certificate]) -> Vec<Event> {
    let Some(server) = &state.server else { return Vec::new() };
    let mut events = Vec::new();
    let server = match new_owner(state, server, conf, own_auth_certs) {
        Some(changed) => {
            events.push(Event::OwnerChanged { owner: changed.owner.clone() });
            changed
        }
        None => server.clone(),
    };
    events.extend(shown(state, conf, &server));
    for (id, client) in &state.clients {
        let status = client.status.aligned(conf.is_client_of(id, &server));
        if status != client.status {
            events.push(Event::ClientStatusSet { client: id.clone(), status });
        }
    }
    let named = state.clients.iter().filter_map(|(id, client)| Some((id, client.pending_name.as_ref()?)));
    for (id, name) in named {
        if subsystem_name(conf, id) == Some(name.name.as_str()) {
            events.push(Event::SubsystemNameCleared { client: id.clone() });
        }
    }
    events
}

/// What was asked for the server itself and is there now.
fn shown(state: &State, conf: &GlobalConf, server: &ServerId) -> Vec<Event> {
    let Some(now) = conf.server(server) else { return Vec::new() };
    let mut events = Vec::new();
    if state.pending_address.as_ref() == Some(&now.address) {
        events.push(Event::AddressAsked { address: None });
    }
    let in_maintenance = match &state.pending_maintenance {
        Some(MaintenanceWanted::On { .. }) => now.maintenance.is_some(),
        Some(MaintenanceWanted::Off) => now.maintenance.is_none(),
        None => false,
    };
    if in_maintenance {
        events.push(Event::MaintenanceAsked { wanted: None });
    }
    events
}

/// The name of a subsystem in the configuration (version 5 on).
pub fn subsystem_name<'a>(conf: &'a GlobalConf, id: &ClientId) -> Option<&'a str> {
    id.subsystem.as_ref()?;
    conf.clients_with_names(&id.member.instance).find(|(client, ..)| client == id)?.2
}

fn new_owner(state: &State, server: &ServerId, conf: &GlobalConf, own: &[Certificate]) -> Option<ServerId> {
    let listed = own.iter().filter_map(|cert| conf.server_of(cert, &server.owner.instance));
    let mut changed = listed.filter(|id| id.code == server.code && id.owner != server.owner);
    changed.find(|id| state.clients.contains_key(&id.owner.clone().client())).cloned()
}

#[cfg(test)]
mod tests {
    use proto::id::MemberId;

    use super::ClientStatus as S;
    use super::*;
    use crate::serverconf::ConnectionType;
    use crate::serverconf::event::PendingName;
    use crate::testing::{TestServer, client, globalconf};

    #[test]
    fn the_configuration_moves_a_status_only_where_it_has_a_say() {
        let cases = [
            (S::Saved, S::Registered, S::Saved),
            (S::RegistrationInProgress, S::Registered, S::RegistrationInProgress),
            (S::Registered, S::Registered, S::GlobalError),
            (S::GlobalError, S::Registered, S::GlobalError),
            (S::DeletionInProgress, S::DeletionInProgress, S::DeletionInProgress),
            (S::DisablingInProgress, S::DisablingInProgress, S::Disabled),
            (S::Disabled, S::Disabled, S::Disabled),
            (S::EnablingInProgress, S::Registered, S::EnablingInProgress),
        ];
        for (before, listed, not_listed) in cases {
            assert_eq!(before.aligned(true), listed, "{before:?}, listed");
            assert_eq!(before.aligned(false), not_listed, "{before:?}, not listed");
        }
    }

    #[test]
    fn what_a_status_allows() {
        use S::*;
        let all = [
            Saved,
            RegistrationInProgress,
            Registered,
            DeletionInProgress,
            GlobalError,
            DisablingInProgress,
            Disabled,
            EnablingInProgress,
        ];
        let which = |may: fn(S) -> bool| all.into_iter().filter(|s| may(*s)).collect::<Vec<_>>();
        assert_eq!(which(S::may_register), [Saved]);
        assert_eq!(which(S::may_unregister), [RegistrationInProgress, Registered, Disabled]);
        assert_eq!(which(S::may_disable), [Registered]);
        assert_eq!(which(S::may_enable), [Disabled]);
        assert_eq!(which(S::may_delete), [Saved, DeletionInProgress, GlobalError]);
    }

    fn state(events: impl IntoIterator<Item = Event>) -> State {
        let id = ServerId { owner: MemberId::new("EE", "GOV", "1"), code: "ss1".into() };
        let added = |id: &str| Event::ClientAdded { client: client(id), connection: ConnectionType::Http };
        let first = [Event::ServerNamed { id }, added("EE/GOV/1/a"), added("EE/GOV/1/b"), added("EE/GOV/2")];
        State::replay(first.into_iter().chain(events)).unwrap()
    }

    /// After it was recorded there is nothing left to do.
    fn assert_settles(mut state: State, conf: &GlobalConf) -> State {
        for event in aligned(&state, conf, &[]) {
            state.decide(&event).unwrap();
            state.apply(crate::testing::NOW, event).unwrap();
        }
        assert_eq!(aligned(&state, conf, &[]), []);
        state
    }

    #[test]
    fn listed_clients_become_registered_and_are_an_error_when_they_vanish() {
        let listing = |clients: &'static [&'static str]| {
            globalconf(&[TestServer { id: "EE/GOV/1/ss1", address: "a", clients, ..Default::default() }], &[])
        };
        let state = assert_settles(state([]), &listing(&["EE/GOV/1/a"]));
        assert_eq!(state.clients[&client("EE/GOV/1/a")].status, S::Registered);
        assert_eq!(state.clients[&client("EE/GOV/1")].status, S::Registered, "the owner");
        assert_eq!(state.clients[&client("EE/GOV/1/b")].status, S::Saved);
        let state = assert_settles(state, &listing(&[]));
        assert_eq!(state.clients[&client("EE/GOV/1/a")].status, S::GlobalError);
        assert_eq!(state.clients[&client("EE/GOV/1")].status, S::Registered);
    }

    #[test]
    fn the_owner_changes_when_the_own_certificate_is_listed_for_another_client_of_ours() {
        let cert = &crate::testing::ca().cert;
        let conf = |id: &'static str| {
            let clients: &[&str] = &["EE/GOV/1", "EE/GOV/1/a"];
            globalconf(
                &[TestServer { id, address: "a", auth: Some(cert), clients, ..Default::default() }],
                &[],
            )
        };
        let own = std::slice::from_ref(cert);
        let owner = MemberId::new("EE", "GOV", "2");
        let events = aligned(&state([]), &conf("EE/GOV/2/ss1"), own);
        assert_eq!(events[0], Event::OwnerChanged { owner });
        let statuses =
            events.iter().filter(|e| matches!(e, Event::ClientStatusSet { status: S::Registered, .. }));
        assert_eq!(statuses.count(), 3, "the new owner, the old one, and its subsystem: {events:?}");
        for (other, name) in [("EE/GOV/3/ss1", "no client here"), ("EE/GOV/2/ss2", "another server's code")] {
            let events = aligned(&state([]), &conf(other), own);
            assert!(!events.iter().any(|e| matches!(e, Event::OwnerChanged { .. })), "{name}");
        }
        assert!(aligned(&state([]), &conf("EE/GOV/2/ss1"), &[]).is_empty(), "the certificate says it");
    }

    #[test]
    fn a_name_that_is_not_shown_stays_pending() {
        let name = PendingName { name: "School".into(), submitted: true };
        let state = state([Event::SubsystemNameSet { client: client("EE/GOV/1/a"), name: name.clone() }]);
        let server =
            TestServer { id: "EE/GOV/1/ss1", address: "a", clients: &["EE/GOV/1/a"], ..Default::default() };
        let state = assert_settles(state, &globalconf(&[server], &[]));
        assert_eq!(state.clients[&client("EE/GOV/1/a")].pending_name, Some(name));
    }

    #[test]
    fn an_address_and_a_maintenance_mode_wait_until_they_are_shown() {
        let at = |address: &'static str| {
            globalconf(&[TestServer { id: "EE/GOV/1/ss1", address, ..Default::default() }], &[])
        };
        let asked = [
            Event::AddressAsked { address: Some("new".into()) },
            Event::MaintenanceAsked { wanted: Some(MaintenanceWanted::On { message: None }) },
        ];
        let state = assert_settles(state(asked), &at("old"));
        assert_eq!(state.pending_address.as_deref(), Some("new"));
        let state = assert_settles(state, &at("new"));
        assert_eq!(state.pending_address, None);
        assert_eq!(state.pending_maintenance, Some(MaintenanceWanted::On { message: None }));
        let mut state = state;
        let off = Event::MaintenanceAsked { wanted: Some(MaintenanceWanted::Off) };
        state.apply(crate::testing::NOW, off).unwrap();
        assert_eq!(assert_settles(state, &at("new")).pending_maintenance, None, "it is off");
    }

    #[test]
    fn without_an_identity_there_is_nothing_to_align() {
        assert_eq!(aligned(&State::default(), &globalconf(&[], &[]), &[]), []);
    }
}
