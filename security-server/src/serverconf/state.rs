//! Everything the events say, and what each of them does to it. What the relay reads is built from it ([`super::ServerConf`]).
//!
//! [`State::apply`] replays what was decided and calls events of a client that is not there damage. Descriptions, endpoints and local
//! groups get numbers in the order of their events, one row for all, so that they are the same after every start.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{ClientId, ServerId, Subject};
use proto::time::UnixTime;

use super::event::{Endpoint, Event, MaintenanceWanted, PendingName, ServiceSettings, Tsa};
use super::status::ClientStatus;
use super::{ConnectionType, ServiceKind};

/// The time of events whose time nobody asks for.
pub const UNDATED: UnixTime = UnixTime::from_secs(0);

/// A stored event does not fit the state that the events before it made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored configuration is damaged: {0}")]
pub struct Inconsistent(pub String);

/// Everything the events say. What the relay reads is built from it ([`super::ServerConf`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Who this server is.
    pub server: Option<ServerId>,
    /// Timestamping services in order.
    pub tsas: Vec<Tsa>,
    /// Clients, the owner among them.
    pub clients: BTreeMap<ClientId, ClientState>,
    /// An address of the server that the global configuration does not show yet.
    pub pending_address: Option<String>,
    /// A maintenance mode that the global configuration does not show yet.
    pub pending_maintenance: Option<MaintenanceWanted>,
    /// The number given last.
    last_id: u64,
}

/// One client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientState {
    /// How far its registration is, as far as was recorded: [`super::status::aligned`] says what follows from the configuration.
    pub status: ClientStatus,
    /// A name that the global configuration does not show yet.
    pub pending_name: Option<PendingName>,
    /// How its information systems identify themselves.
    pub connection: ConnectionType,
    /// Their TLS certificates, DER.
    pub tls_certs: BTreeSet<Vec<u8>>,
    /// Service descriptions by URL.
    pub descriptions: BTreeMap<String, Description>,
    /// Endpoints with their rights, by service code.
    pub endpoints: BTreeMap<String, BTreeMap<Endpoint, EndpointState>>,
    /// Local groups.
    pub groups: BTreeMap<String, Group>,
}

/// A service description: one WSDL, OpenAPI document or REST base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its number.
    pub id: u64,
    /// Of which kind.
    pub kind: ServiceKind,
    /// The notice, when it is disabled.
    pub disabled: Option<String>,
    /// The notice given last, also when it is enabled.
    pub notice: Option<String>,
    /// When it was read or changed last.
    pub refreshed_at: UnixTime,
    /// By code and version.
    pub services: BTreeMap<(String, Option<String>), ServiceSettings>,
}

/// An endpoint of a service code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// Its number.
    pub id: u64,
    /// The description names it; so it does the service itself.
    pub generated: bool,
    /// Who may call it, and since when.
    pub rights: BTreeMap<Subject, UnixTime>,
}

/// A local group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: u64,
    /// What it is for.
    pub description: String,
    /// When it was made or described.
    pub updated_at: UnixTime,
    /// Who is in it, and since when.
    pub members: BTreeMap<ClientId, UnixTime>,
}

/// When an event happened, and the numbers it gives.
struct Recording<'a> {
    at: UnixTime,
    last_id: &'a mut u64,
}

impl Recording<'_> {
    fn next_id(&mut self) -> u64 {
        *self.last_id += 1;
        *self.last_id
    }
    fn endpoint(&mut self, generated: bool) -> EndpointState {
        EndpointState { id: self.next_id(), generated, rights: BTreeMap::new() }
    }
}

impl ClientState {
    /// The description that holds a service.
    pub fn description_of(&self, code: &str, version: Option<&str>) -> Option<(&String, &Description)> {
        let key = (code.to_owned(), version.map(str::to_owned));
        self.descriptions.iter().find(|(_, description)| description.services.contains_key(&key))
    }
    /// How many versions of a code there are.
    pub(super) fn versions_of(&self, code: &str) -> usize {
        let services = self.descriptions.values().flat_map(|d| d.services.keys());
        services.filter(|(c, _)| c == code).count()
    }
    /// A service of this code is there.
    pub fn has_code(&self, code: &str) -> bool {
        self.descriptions.values().any(|d| d.services.keys().any(|(c, _)| c == code))
    }
}

impl State {
    /// The state after all of `events`, for those whose times do not matter.
    ///
    /// # Errors
    /// Stored data is damaged.
    pub fn replay(events: impl IntoIterator<Item = Event>) -> Result<Self, Inconsistent> {
        Self::replay_recorded(events.into_iter().map(|event| (UNDATED, event)))
    }

    /// The state after all of `events`, each with its time.
    ///
    /// # Errors
    /// Stored data is damaged.
    pub fn replay_recorded(
        events: impl IntoIterator<Item = (UnixTime, Event)>,
    ) -> Result<Self, Inconsistent> {
        let mut state = Self::default();
        for (at, event) in events {
            state.apply(at, event)?;
        }
        Ok(state)
    }

    /// The description with this number.
    pub fn description(&self, id: u64) -> Option<(&ClientId, &ClientState, &String, &Description)> {
        self.clients.iter().find_map(|(client, state)| {
            let (url, description) = state.descriptions.iter().find(|(_, d)| d.id == id)?;
            Some((client, state, url, description))
        })
    }

    /// The endpoint with this number: of which client and service code.
    pub fn endpoint(&self, id: u64) -> Option<(&ClientId, &String, &Endpoint, &EndpointState)> {
        self.clients.iter().find_map(|(client, state)| {
            state.endpoints.iter().find_map(|(code, all)| {
                let (endpoint, found) = all.iter().find(|(_, endpoint)| endpoint.id == id)?;
                Some((client, code, endpoint, found))
            })
        })
    }

    /// The local group with this number.
    pub fn group(&self, id: u64) -> Option<(&ClientId, &String, &Group)> {
        self.clients.iter().find_map(|(client, state)| {
            let (code, group) = state.groups.iter().find(|(_, group)| group.id == id)?;
            Some((client, code, group))
        })
    }

    /// `client` is the member that owns the server.
    pub fn is_owner(&self, client: &ClientId) -> bool {
        let owner = self.server.as_ref().map(|server| &server.owner);
        client.subsystem.is_none() && owner == Some(&client.member)
    }

    /// Replays one event. Only the fit is checked: rules may have become stricter since it was decided.
    ///
    /// # Errors
    /// It does not fit; the state is of no use then.
    pub fn apply(&mut self, at: UnixTime, event: Event) -> Result<(), Inconsistent> {
        match event {
            Event::ServerNamed { id } => {
                self.clients.entry(id.owner.clone().client()).or_default();
                self.server = Some(id);
            }
            Event::OwnerChanged { owner } => {
                let server = self.server.as_mut().ok_or_else(|| Inconsistent("no server".to_owned()))?;
                server.owner = owner;
            }
            Event::TimestampingSet { tsas } => self.tsas = tsas,
            Event::AddressAsked { address } => self.pending_address = address,
            Event::MaintenanceAsked { wanted } => self.pending_maintenance = wanted,
            Event::ClientAdded { client, connection } => {
                self.clients.insert(client, ClientState { connection, ..ClientState::default() });
            }
            Event::ClientRemoved { client } => drop(self.clients.remove(&client)),
            Event::Refused { .. } => {}
            Event::ConnectionSet { ref client, .. }
            | Event::ClientStatusSet { ref client, .. }
            | Event::SubsystemNameSet { ref client, .. }
            | Event::SubsystemNameCleared { ref client }
            | Event::DescriptionMoved { ref client, .. }
            | Event::DescriptionRefreshed { ref client, .. }
            | Event::ServiceRenamed { ref client, .. }
            | Event::EndpointAdopted { ref client, .. }
            | Event::EndpointChanged { ref client, .. }
            | Event::GroupDescribed { ref client, .. }
            | Event::TlsCertAdded { ref client, .. }
            | Event::TlsCertRemoved { ref client, .. }
            | Event::DescriptionAdded { ref client, .. }
            | Event::DescriptionSwitched { ref client, .. }
            | Event::DescriptionRemoved { ref client, .. }
            | Event::ServiceAdded { ref client, .. }
            | Event::ServiceChanged { ref client, .. }
            | Event::ServiceRemoved { ref client, .. }
            | Event::EndpointAdded { ref client, .. }
            | Event::EndpointRemoved { ref client, .. }
            | Event::RightGranted { ref client, .. }
            | Event::RightRevoked { ref client, .. }
            | Event::GroupAdded { ref client, .. }
            | Event::GroupRemoved { ref client, .. }
            | Event::GroupMemberAdded { ref client, .. }
            | Event::GroupMemberRemoved { ref client, .. } => {
                let known = self.clients.get_mut(client);
                let known = known.ok_or_else(|| Inconsistent(format!("{client} is no client")))?;
                known.apply(event, &mut Recording { at, last_id: &mut self.last_id });
            }
        }
        Ok(())
    }
}

impl ClientState {
    /// The part of [`State::apply`] below one client. Total: what is not there is made, or already gone.
    fn apply(&mut self, event: Event, now: &mut Recording<'_>) {
        match event {
            Event::ConnectionSet { connection, .. } => self.connection = connection,
            Event::ClientStatusSet { status, .. } => self.status = status,
            Event::SubsystemNameSet { name, .. } => self.pending_name = Some(name),
            Event::SubsystemNameCleared { .. } => self.pending_name = None,
            Event::TlsCertAdded { der, .. } => drop(self.tls_certs.insert(der)),
            Event::TlsCertRemoved { der, .. } => drop(self.tls_certs.remove(&der)),
            Event::DescriptionAdded { .. }
            | Event::DescriptionSwitched { .. }
            | Event::DescriptionMoved { .. }
            | Event::DescriptionRefreshed { .. }
            | Event::DescriptionRemoved { .. } => self.apply_description(event, now),
            Event::ServiceAdded { .. }
            | Event::ServiceChanged { .. }
            | Event::ServiceRenamed { .. }
            | Event::ServiceRemoved { .. } => self.apply_service(event, now),
            Event::EndpointAdded { .. }
            | Event::EndpointAdopted { .. }
            | Event::EndpointChanged { .. }
            | Event::EndpointRemoved { .. }
            | Event::RightGranted { .. }
            | Event::RightRevoked { .. } => self.apply_endpoint(event, now),
            Event::GroupAdded { .. }
            | Event::GroupDescribed { .. }
            | Event::GroupRemoved { .. }
            | Event::GroupMemberAdded { .. }
            | Event::GroupMemberRemoved { .. } => self.apply_group(event, now),
            Event::ServerNamed { .. }
            | Event::OwnerChanged { .. }
            | Event::TimestampingSet { .. }
            | Event::AddressAsked { .. }
            | Event::MaintenanceAsked { .. }
            | Event::ClientAdded { .. }
            | Event::ClientRemoved { .. }
            | Event::Refused { .. } => {}
        }
    }

    fn apply_description(&mut self, event: Event, now: &mut Recording<'_>) {
        match event {
            Event::DescriptionAdded { url, kind, disabled, .. } => {
                let (id, notice) = (now.next_id(), disabled.clone());
                let description = Description {
                    id,
                    kind,
                    disabled,
                    notice,
                    refreshed_at: now.at,
                    services: BTreeMap::new(),
                };
                self.descriptions.insert(url, description);
            }
            Event::DescriptionSwitched { url, disabled, .. } => {
                if let Some(description) = self.descriptions.get_mut(&url) {
                    description.notice = disabled.clone().or_else(|| description.notice.take());
                    description.disabled = disabled;
                }
            }
            Event::DescriptionMoved { url, to, .. } => {
                if let Some(description) = self.descriptions.remove(&url) {
                    self.descriptions.insert(to, description);
                }
            }
            Event::DescriptionRefreshed { url, .. } => {
                if let Some(description) = self.descriptions.get_mut(&url) {
                    description.refreshed_at = now.at;
                }
            }
            Event::DescriptionRemoved { url, .. } => {
                self.descriptions.remove(&url);
                self.drop_orphaned_endpoints();
            }
            _ => {}
        }
    }

    fn apply_service(&mut self, event: Event, now: &mut Recording<'_>) {
        match event {
            Event::ServiceAdded { description, code, version, settings, .. } => {
                let endpoints = self.endpoints.entry(code.clone()).or_default();
                endpoints.entry(Endpoint::service_level()).or_insert_with(|| now.endpoint(true));
                if let Some(description) = self.descriptions.get_mut(&description) {
                    description.services.insert((code, version), settings);
                }
            }
            Event::ServiceChanged { code, version, settings, .. } => {
                let key = (code, version);
                if let Some(old) = self.descriptions.values_mut().find_map(|d| d.services.get_mut(&key)) {
                    *old = settings;
                }
            }
            Event::ServiceRenamed { code, version, to, .. } => {
                let key = (code, version);
                for description in self.descriptions.values_mut() {
                    if let Some(settings) = description.services.remove(&key) {
                        description.services.insert((to.clone(), key.1.clone()), settings);
                    }
                }
                if let Some(endpoints) = self.endpoints.remove(&key.0) {
                    self.endpoints.insert(to, endpoints);
                }
            }
            Event::ServiceRemoved { code, version, .. } => {
                let key = (code, version);
                self.descriptions.values_mut().for_each(|d| drop(d.services.remove(&key)));
                self.drop_orphaned_endpoints();
            }
            _ => {}
        }
    }

    fn apply_endpoint(&mut self, event: Event, now: &mut Recording<'_>) {
        match event {
            Event::EndpointAdded { code, endpoint, generated, .. } => {
                self.endpoints.entry(code).or_default().insert(endpoint, now.endpoint(generated));
            }
            Event::EndpointAdopted { code, endpoint, .. } => {
                if let Some(state) = self.endpoints.entry(code).or_default().get_mut(&endpoint) {
                    state.generated = true;
                }
            }
            Event::EndpointChanged { code, endpoint, to, .. } => {
                let endpoints = self.endpoints.entry(code).or_default();
                if let Some(state) = endpoints.remove(&endpoint) {
                    endpoints.insert(to, state);
                }
            }
            Event::EndpointRemoved { code, endpoint, .. } => {
                self.endpoints.entry(code).or_default().remove(&endpoint);
            }
            Event::RightGranted { code, endpoint, subject, .. } => {
                let endpoints = self.endpoints.entry(code).or_default();
                let generated = endpoint == Endpoint::service_level();
                let state = endpoints.entry(endpoint).or_insert_with(|| now.endpoint(generated));
                state.rights.insert(subject, now.at);
            }
            Event::RightRevoked { code, endpoint, subject, .. } => {
                if let Some(state) = self.endpoints.entry(code).or_default().get_mut(&endpoint) {
                    state.rights.remove(&subject);
                }
            }
            _ => {}
        }
    }

    fn apply_group(&mut self, event: Event, now: &mut Recording<'_>) {
        match event {
            Event::GroupAdded { group, description, .. } => {
                let state =
                    Group { id: now.next_id(), description, updated_at: now.at, members: BTreeMap::new() };
                self.groups.insert(group, state);
            }
            Event::GroupDescribed { group, description, .. } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    (group.description, group.updated_at) = (description, now.at);
                }
            }
            Event::GroupRemoved { group, .. } => {
                self.groups.remove(&group);
                let subject = Subject::LocalGroup(group);
                let endpoints = self.endpoints.values_mut().flat_map(BTreeMap::values_mut);
                endpoints.for_each(|endpoint| endpoint.rights.retain(|holder, _| *holder != subject));
            }
            Event::GroupMemberAdded { group, member, .. } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.members.insert(member, now.at);
                }
            }
            Event::GroupMemberRemoved { group, member, .. } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.members.remove(&member);
                }
            }
            _ => {}
        }
    }

    /// Rights live as long as a service of their code.
    fn drop_orphaned_endpoints(&mut self) {
        let mut endpoints = std::mem::take(&mut self.endpoints);
        endpoints.retain(|code, _| self.has_code(code));
        self.endpoints = endpoints;
    }
}
