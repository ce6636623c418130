//! Everything the events say, and what each of them does to it. What the relay reads is built from it ([`super::ServerConf`]).
//!
//! [`State::apply`] replays what was decided and calls events of a client that is not there damage.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{ClientId, ServerId, Subject};

use super::event::{Endpoint, Event, ServiceSettings, Tsa};
use super::{ConnectionType, ServiceKind};

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
}

/// One client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientState {
    /// How its information systems identify themselves.
    pub connection: ConnectionType,
    /// Their TLS certificates, DER.
    pub tls_certs: BTreeSet<Vec<u8>>,
    /// Service descriptions by URL.
    pub descriptions: BTreeMap<String, Description>,
    /// Endpoints with their rights, by service code.
    pub endpoints: BTreeMap<String, BTreeMap<Endpoint, BTreeSet<Subject>>>,
    /// Local groups.
    pub groups: BTreeMap<String, Group>,
}

/// A service description: one WSDL, OpenAPI document or REST base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Of which kind.
    pub kind: ServiceKind,
    /// The notice, when it is disabled.
    pub disabled: Option<String>,
    /// By code and version.
    pub services: BTreeMap<(String, Option<String>), ServiceSettings>,
}

/// A local group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What it is for.
    pub description: String,
    /// Who is in it.
    pub members: BTreeSet<ClientId>,
}

impl ClientState {
    /// The description that holds a service.
    pub fn description_of(&self, code: &str, version: Option<&str>) -> Option<(&String, &Description)> {
        let key = (code.to_owned(), version.map(str::to_owned));
        self.descriptions.iter().find(|(_, description)| description.services.contains_key(&key))
    }
    fn has_code(&self, code: &str) -> bool {
        self.descriptions.values().any(|d| d.services.keys().any(|(c, _)| c == code))
    }
}

impl State {
    /// The state after all of `events`.
    ///
    /// # Errors
    /// Stored data is damaged.
    pub fn replay(events: impl IntoIterator<Item = Event>) -> Result<Self, Inconsistent> {
        let mut state = Self::default();
        for event in events {
            state.apply(event)?;
        }
        Ok(state)
    }

    /// Replays one event. Only the fit is checked: rules may have become stricter since it was decided.
    ///
    /// # Errors
    /// It does not fit; the state is of no use then.
    pub fn apply(&mut self, event: Event) -> Result<(), Inconsistent> {
        match event {
            Event::ServerNamed { id } => {
                self.clients.entry(id.owner.clone().client()).or_default();
                self.server = Some(id);
            }
            Event::TimestampingSet { tsas } => self.tsas = tsas,
            Event::ClientAdded { client, connection } => {
                self.clients.insert(client, ClientState { connection, ..ClientState::default() });
            }
            Event::ClientRemoved { client } => drop(self.clients.remove(&client)),
            Event::Refused { .. } => {}
            Event::ConnectionSet { ref client, .. }
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
                known.ok_or_else(|| Inconsistent(format!("{client} is no client")))?.apply(event);
            }
        }
        Ok(())
    }
}

impl ClientState {
    /// The part of [`State::apply`] below one client. Total: what is not there is made, or already gone.
    fn apply(&mut self, event: Event) {
        match event {
            Event::ConnectionSet { connection, .. } => self.connection = connection,
            Event::TlsCertAdded { der, .. } => drop(self.tls_certs.insert(der)),
            Event::TlsCertRemoved { der, .. } => drop(self.tls_certs.remove(&der)),
            Event::DescriptionAdded { url, kind, disabled, .. } => {
                self.descriptions.insert(url, Description { kind, disabled, services: BTreeMap::new() });
            }
            Event::DescriptionSwitched { url, disabled, .. } => {
                if let Some(description) = self.descriptions.get_mut(&url) {
                    description.disabled = disabled;
                }
            }
            Event::DescriptionRemoved { url, .. } => {
                self.descriptions.remove(&url);
                self.drop_orphaned_endpoints();
            }
            Event::ServiceAdded { description, code, version, settings, .. } => {
                self.endpoints.entry(code.clone()).or_default().entry(Endpoint::service_level()).or_default();
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
            Event::ServiceRemoved { code, version, .. } => {
                let key = (code, version);
                self.descriptions.values_mut().for_each(|d| drop(d.services.remove(&key)));
                self.drop_orphaned_endpoints();
            }
            Event::EndpointAdded { code, endpoint, .. } => {
                self.endpoints.entry(code).or_default().insert(endpoint, BTreeSet::new());
            }
            Event::EndpointRemoved { code, endpoint, .. } => {
                self.endpoints.entry(code).or_default().remove(&endpoint);
            }
            Event::RightGranted { code, endpoint, subject, .. } => {
                self.endpoints.entry(code).or_default().entry(endpoint).or_default().insert(subject);
            }
            Event::RightRevoked { code, endpoint, subject, .. } => {
                self.endpoints.entry(code).or_default().entry(endpoint).or_default().remove(&subject);
            }
            Event::GroupAdded { group, description, .. } => {
                self.groups.insert(group, Group { description, members: BTreeSet::new() });
            }
            Event::GroupRemoved { group, .. } => {
                self.groups.remove(&group);
                let subject = Subject::LocalGroup(group);
                let rights = self.endpoints.values_mut().flat_map(BTreeMap::values_mut);
                rights.for_each(|holders| holders.retain(|holder| *holder != subject));
            }
            Event::GroupMemberAdded { group, member, .. } => {
                self.groups.entry(group).or_default().members.insert(member);
            }
            Event::GroupMemberRemoved { group, member, .. } => {
                self.groups.entry(group).or_default().members.remove(&member);
            }
            Event::ServerNamed { .. }
            | Event::TimestampingSet { .. }
            | Event::ClientAdded { .. }
            | Event::ClientRemoved { .. }
            | Event::Refused { .. } => {}
        }
    }

    /// Rights live as long as a service of their code.
    fn drop_orphaned_endpoints(&mut self) {
        let mut endpoints = std::mem::take(&mut self.endpoints);
        endpoints.retain(|code, _| self.has_code(code));
        self.endpoints = endpoints;
    }
}
