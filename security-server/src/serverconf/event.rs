//! What may be changed in a server's own configuration: decided here, recorded by `store`, applied here.
//!
//! [`State::decide`] looks at nothing but the state and the proposed event; [`State::apply`] replays what was decided and calls events
//! of a client that is not there damage. Events are small (a certificate at most) and versioned by [`Stored`]: an old version is converted there.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{ClientId, ServerId, Subject};
use serde::{Deserialize, Serialize};

use super::path::MAX_PATTERN_BYTES;
use super::url::{ServiceUrl, UrlError};
use super::{ConnectionType, ServiceKind};

/// Service codes that every server answers itself.
pub const RESERVED_SERVICE_CODES: [&str; 8] = [
    "listClients",
    "listMethods",
    "allowedMethods",
    "getWsdl",
    "getOpenAPI",
    "getSecurityServerMetrics",
    "getSecurityServerOperationalData",
    "getSecurityServerHealthData",
];

/// Most clients of one server.
pub const MAX_CLIENTS: usize = 10_000;
/// Most TLS certificates of one client.
pub const MAX_TLS_CERTS: usize = 1_000;
/// Most service descriptions of one client, services of one description, endpoints of one service.
pub const MAX_PER_PARENT: usize = 2_000;
/// Longest notice or description, bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// Longest service timeout, seconds.
pub const MAX_TIMEOUT_SECONDS: u32 = 86_400;

/// An event as stored. A later version is added beside the first, and [`Stored::into_event`] converts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Stored {
    /// The first version.
    V1(Event),
}

impl Stored {
    /// The event in today's form.
    pub fn into_event(self) -> Event {
        match self {
            Self::V1(event) => event,
        }
    }
}

/// A method and path pattern of a service; `*` and `**` is the whole service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// An HTTP method in upper case, or `*`.
    pub method: String,
    /// A path pattern.
    pub path: String,
}

impl Endpoint {
    /// The endpoint that stands for the service as a whole.
    pub fn service_level() -> Self {
        Self { method: "*".into(), path: "**".into() }
    }
}

/// A timestamping service to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tsa {
    /// Its name in the global configuration.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// How a service is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// Where the information system is.
    pub url: String,
    /// Seconds; 0 is without limit.
    pub timeout_seconds: u32,
    /// Compare its TLS certificate with those stored for the client.
    pub verify_tls: bool,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named after what they hold")]
pub enum Event {
    /// The server has its identity, for good; its owner becomes a client.
    ServerNamed { id: ServerId },
    /// The timestamping services, in order of use.
    TimestampingSet { tsas: Vec<Tsa> },
    /// A client is served.
    ClientAdded { client: ClientId, connection: ConnectionType },
    /// It no longer is; everything below it goes with it.
    ClientRemoved { client: ClientId },
    /// How its information systems identify themselves.
    ConnectionSet { client: ClientId, connection: ConnectionType },
    /// A TLS certificate (DER) of its information systems.
    TlsCertAdded {
        client: ClientId,
        #[serde(with = "base64_text")]
        der: Vec<u8>,
    },
    /// The certificate is not accepted any more.
    TlsCertRemoved {
        client: ClientId,
        #[serde(with = "base64_text")]
        der: Vec<u8>,
    },
    /// A description is added, disabled until [`Event::DescriptionSwitched`].
    DescriptionAdded { client: ClientId, url: String, kind: ServiceKind, disabled: Option<String> },
    /// Its services are enabled (`None`) or disabled with a notice.
    DescriptionSwitched { client: ClientId, url: String, disabled: Option<String> },
    /// It goes, with its services, their endpoints and rights.
    DescriptionRemoved { client: ClientId, url: String },
    /// A service, with its service-level endpoint.
    ServiceAdded {
        client: ClientId,
        description: String,
        code: String,
        version: Option<String>,
        settings: ServiceSettings,
    },
    /// How it is called.
    ServiceChanged { client: ClientId, code: String, version: Option<String>, settings: ServiceSettings },
    /// It goes; with the last version its endpoints and rights.
    ServiceRemoved { client: ClientId, code: String, version: Option<String> },
    /// An endpoint. Endpoints and rights belong to the code, whatever the version.
    EndpointAdded { client: ClientId, code: String, endpoint: Endpoint },
    /// It goes, with its rights.
    EndpointRemoved { client: ClientId, code: String, endpoint: Endpoint },
    /// A subject may call an endpoint.
    RightGranted { client: ClientId, code: String, endpoint: Endpoint, subject: Subject },
    /// It may no longer.
    RightRevoked { client: ClientId, code: String, endpoint: Endpoint, subject: Subject },
    /// A local group.
    GroupAdded { client: ClientId, group: String, description: String },
    /// It goes, with its rights.
    GroupRemoved { client: ClientId, group: String },
    /// A member of a local group.
    GroupMemberAdded { client: ClientId, group: String, member: ClientId },
    /// It leaves.
    GroupMemberRemoved { client: ClientId, group: String, member: ClientId },
    /// Somebody asked for a change that the rules refuse. Changes nothing.
    Refused { change: String, reason: String },
}

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The identity is for good.
    #[error("this server is {0} and stays it: use another data directory for another server")]
    AlreadyNamed(ServerId),
    /// Nothing works without an identity.
    #[error("the server has no identity yet: give it an owner and a code first")]
    NotNamed,
    /// Not a client here.
    #[error("{0} is no client of this server: add it first")]
    UnknownClient(ClientId),
    /// It is one already.
    #[error("{0} is a client of this server already")]
    ClientExists(ClientId),
    /// The owner stays.
    #[error("{0} owns this server and cannot be removed")]
    Owner(ClientId),
    /// Of another instance.
    #[error("{client} is of another instance than this server, which is of {instance}")]
    OtherInstance {
        /// Who.
        client: ClientId,
        /// The server's.
        instance: String,
    },
    /// Already there, or not there.
    #[error("{what} {name:?} {problem}")]
    Item {
        /// Kind of thing.
        what: &'static str,
        /// Which.
        name: String,
        /// `exists already` or `does not exist`.
        problem: &'static str,
    },
    /// Answered by the server itself.
    #[error("the service code {0} is reserved: every server answers it itself")]
    ReservedCode(String),
    /// A URL.
    #[error("{url:?}: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        reason: UrlError,
    },
    /// Other services of this code belong to another kind of description.
    #[error("the service code {0} is used by another description of this client")]
    CodeInUse(String),
    /// Too large, too long, malformed.
    #[error("{what}: {rule}")]
    Value {
        /// Which value.
        what: &'static str,
        /// The rule it breaks.
        rule: String,
    },
}

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

    /// Whether `event` may happen now.
    ///
    /// # Errors
    /// The rule it breaks, for the operator to read.
    pub fn decide(&self, event: &Event) -> Result<(), Refusal> {
        use Event as E;
        match event {
            E::ServerNamed { id } => match &self.server {
                None => check_codes(id.codes()),
                Some(server) => Err(Refusal::AlreadyNamed(server.clone())),
            },
            E::TimestampingSet { tsas } => tsas.iter().try_for_each(|tsa| check_url(&tsa.url).map(drop)),
            E::ClientAdded { client, .. } => self.decide_client(client),
            E::ClientRemoved { client } => {
                self.client(client)?;
                let owner = self.server.as_ref().map(|server| &server.owner);
                let is_owner = client.subsystem.is_none() && owner == Some(&client.member);
                if is_owner { Err(Refusal::Owner(client.clone())) } else { Ok(()) }
            }
            E::ConnectionSet { client, .. } => self.client(client).map(drop),
            E::TlsCertAdded { client, der } => {
                let certs = &self.client(client)?.tls_certs;
                absent(!certs.contains(der), "TLS certificate", &hex::encode(&der[..der.len().min(8)]))?;
                bounded(certs.len(), MAX_TLS_CERTS, "TLS certificates of one client")
            }
            E::TlsCertRemoved { client, der } => present(
                self.client(client)?.tls_certs.contains(der),
                "TLS certificate",
                &hex::encode(&der[..der.len().min(8)]),
            ),
            E::GroupAdded { client, group, description } => {
                let groups = &self.client(client)?.groups;
                absent(!groups.contains_key(group), "local group", group)?;
                check_codes([group.as_str()].into_iter())?;
                check_text("description of a local group", description)?;
                bounded(groups.len(), MAX_PER_PARENT, "local groups of one client")
            }
            E::GroupRemoved { client, group } => self.group(client, group).map(drop),
            E::GroupMemberAdded { client, group, member } => {
                let members = &self.group(client, group)?.members;
                absent(!members.contains(member), "member of the group", &member.to_string())?;
                bounded(members.len(), MAX_CLIENTS, "members of one local group")
            }
            E::GroupMemberRemoved { client, group, member } => {
                let found = self.group(client, group)?.members.contains(member);
                present(found, "member of the group", &member.to_string())
            }
            E::Refused { .. } => Ok(()),
            E::DescriptionAdded { .. }
            | E::DescriptionSwitched { .. }
            | E::DescriptionRemoved { .. }
            | E::ServiceAdded { .. }
            | E::ServiceChanged { .. }
            | E::ServiceRemoved { .. } => self.decide_service(event),
            E::EndpointAdded { .. }
            | E::EndpointRemoved { .. }
            | E::RightGranted { .. }
            | E::RightRevoked { .. } => self.decide_right(event),
        }
    }

    fn decide_client(&self, client: &ClientId) -> Result<(), Refusal> {
        let server = self.server.as_ref().ok_or(Refusal::NotNamed)?;
        if self.clients.contains_key(client) {
            return Err(Refusal::ClientExists(client.clone()));
        }
        if client.member.instance != server.owner.instance {
            let instance = server.owner.instance.clone();
            return Err(Refusal::OtherInstance { client: client.clone(), instance });
        }
        check_codes(client.codes())?;
        bounded(self.clients.len(), MAX_CLIENTS, "clients")
    }

    fn decide_service(&self, event: &Event) -> Result<(), Refusal> {
        use Event as E;
        match event {
            E::DescriptionAdded { client, url, disabled, .. } => {
                let descriptions = &self.client(client)?.descriptions;
                absent(!descriptions.contains_key(url), "service description", url)?;
                check_url(url)?;
                check_text("notice", disabled.as_deref().unwrap_or_default())?;
                bounded(descriptions.len(), MAX_PER_PARENT, "service descriptions of one client")
            }
            E::DescriptionSwitched { client, url, disabled } => {
                present(self.client(client)?.descriptions.contains_key(url), "service description", url)?;
                check_text("notice", disabled.as_deref().unwrap_or_default())
            }
            E::DescriptionRemoved { client, url } => {
                present(self.client(client)?.descriptions.contains_key(url), "service description", url)
            }
            E::ServiceAdded { client, description, code, version, settings } => {
                self.decide_new_service(client, description, code, version.as_deref(), settings)
            }
            E::ServiceChanged { client, code, version, settings } => {
                self.service(client, code, version.as_deref())?;
                check_settings(settings)
            }
            E::ServiceRemoved { client, code, version } => self.service(client, code, version.as_deref()),
            _ => Ok(()),
        }
    }

    fn decide_new_service(
        &self,
        client: &ClientId,
        url: &str,
        code: &str,
        version: Option<&str>,
        settings: &ServiceSettings,
    ) -> Result<(), Refusal> {
        let known = self.client(client)?;
        let description = known.descriptions.get(url).ok_or_else(|| missing("service description", url))?;
        check_codes([code].into_iter().chain(version))?;
        if RESERVED_SERVICE_CODES.contains(&code) {
            return Err(Refusal::ReservedCode(code.to_owned()));
        }
        let wsdl = description.kind == ServiceKind::Wsdl;
        if !wsdl && version.is_some() {
            let rule = "only services of a WSDL have versions".to_owned();
            return Err(Refusal::Value { what: "version", rule });
        }
        // Rights belong to a code, so one code may not stand for two things; versions of one WSDL service may differ in description.
        let clash = known.descriptions.values().any(|other| {
            let same_code = other.services.keys().any(|(c, v)| c == code && v.as_deref() == version);
            let other_kind =
                other.services.keys().any(|(c, _)| c == code) && !(wsdl && other.kind == ServiceKind::Wsdl);
            same_code || other_kind
        });
        if clash {
            return Err(Refusal::CodeInUse(code.to_owned()));
        }
        if !wsdl && !description.services.is_empty() {
            let rule = "a REST or OpenAPI description has one service".to_owned();
            return Err(Refusal::Value { what: "service", rule });
        }
        check_settings(settings)?;
        bounded(description.services.len(), MAX_PER_PARENT, "services of one description")
    }

    fn decide_right(&self, event: &Event) -> Result<(), Refusal> {
        use Event as E;
        match event {
            E::EndpointAdded { client, code, endpoint } => {
                let endpoints = self.endpoints(client, code)?;
                absent(!endpoints.contains_key(endpoint), "endpoint", &endpoint_text(endpoint))?;
                check_endpoint(endpoint)?;
                let rest = self
                    .client(client)?
                    .descriptions
                    .values()
                    .any(|d| d.kind != ServiceKind::Wsdl && d.services.keys().any(|(c, _)| c == code));
                if !rest {
                    let rule = "services of a WSDL have no endpoints: grant the service".to_owned();
                    return Err(Refusal::Value { what: "endpoint", rule });
                }
                bounded(endpoints.len(), MAX_PER_PARENT, "endpoints of one service")
            }
            E::EndpointRemoved { client, code, endpoint } => {
                let text = endpoint_text(endpoint);
                if *endpoint == Endpoint::service_level() {
                    let rule = "the endpoint of the whole service cannot be removed".to_owned();
                    return Err(Refusal::Value { what: "endpoint", rule });
                }
                present(self.endpoints(client, code)?.contains_key(endpoint), "endpoint", &text)
            }
            E::RightGranted { client, code, endpoint, subject } => {
                let holders = self.holders(client, code, endpoint)?;
                absent(!holders.contains(subject), "access right", &subject.to_string())?;
                if let Subject::LocalGroup(group) = subject {
                    self.group(client, group)?;
                }
                bounded(holders.len(), MAX_CLIENTS, "subjects of one endpoint")
            }
            E::RightRevoked { client, code, endpoint, subject } => {
                let found = self.holders(client, code, endpoint)?.contains(subject);
                present(found, "access right", &subject.to_string())
            }
            _ => Ok(()),
        }
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

    fn client(&self, id: &ClientId) -> Result<&ClientState, Refusal> {
        self.clients.get(id).ok_or_else(|| Refusal::UnknownClient(id.clone()))
    }
    fn group(&self, client: &ClientId, group: &str) -> Result<&Group, Refusal> {
        self.client(client)?.groups.get(group).ok_or_else(|| missing("local group", group))
    }
    fn service(&self, client: &ClientId, code: &str, version: Option<&str>) -> Result<(), Refusal> {
        present(self.client(client)?.description_of(code, version).is_some(), "service", code)
    }
    fn endpoints(
        &self,
        client: &ClientId,
        code: &str,
    ) -> Result<&BTreeMap<Endpoint, BTreeSet<Subject>>, Refusal> {
        self.client(client)?.endpoints.get(code).ok_or_else(|| missing("service", code))
    }
    fn holders(
        &self,
        client: &ClientId,
        code: &str,
        endpoint: &Endpoint,
    ) -> Result<&BTreeSet<Subject>, Refusal> {
        let endpoints = self.endpoints(client, code)?;
        endpoints.get(endpoint).ok_or_else(|| missing("endpoint", &endpoint_text(endpoint)))
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

/// `GET /persons/*`.
pub fn endpoint_text(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.method, endpoint.path)
}

fn missing(what: &'static str, name: &str) -> Refusal {
    Refusal::Item { what, name: name.to_owned(), problem: "does not exist" }
}

fn present(found: bool, what: &'static str, name: &str) -> Result<(), Refusal> {
    if found { Ok(()) } else { Err(missing(what, name)) }
}

fn absent(not_found: bool, what: &'static str, name: &str) -> Result<(), Refusal> {
    if not_found {
        return Ok(());
    }
    Err(Refusal::Item { what, name: name.to_owned(), problem: "exists already" })
}

fn bounded(present: usize, limit: usize, what: &'static str) -> Result<(), Refusal> {
    if present < limit {
        return Ok(());
    }
    Err(Refusal::Value { what, rule: format!("at most {limit}") })
}

fn check_text(what: &'static str, text: &str) -> Result<(), Refusal> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(Refusal::Value { what, rule: format!("at most {MAX_TEXT_BYTES} bytes") })
}

fn check_url(url: &str) -> Result<ServiceUrl, Refusal> {
    ServiceUrl::parse(url).map_err(|reason| Refusal::Url { url: url.to_owned(), reason })
}

fn check_settings(settings: &ServiceSettings) -> Result<(), Refusal> {
    check_url(&settings.url)?;
    if settings.timeout_seconds <= MAX_TIMEOUT_SECONDS {
        return Ok(());
    }
    Err(Refusal::Value { what: "timeout", rule: format!("at most {MAX_TIMEOUT_SECONDS} seconds") })
}

/// Characters that some written form of identifiers cannot carry [trust dossier §1.5].
fn check_codes<'a>(mut codes: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let forbidden =
        |c: char| c.is_control() || matches!(c, '%' | ':' | ';' | '/' | '\\' | '\u{200b}' | '\u{feff}');
    let bad = codes.find(|code| code.is_empty() || code.chars().count() > 255 || code.contains(forbidden));
    match bad {
        None => Ok(()),
        Some(code) => Err(Refusal::Value {
            what: "identifier",
            rule: format!(
                "{code:?} must have 1 to 255 characters, none of them % : ; / \\ or a control character"
            ),
        }),
    }
}

fn check_endpoint(endpoint: &Endpoint) -> Result<(), Refusal> {
    const METHODS: [&str; 9] = ["*", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"];
    if !METHODS.contains(&endpoint.method.as_str()) {
        let rule = format!("one of {}", METHODS.join(", "));
        return Err(Refusal::Value { what: "method of an endpoint", rule });
    }
    let path = &endpoint.path;
    if !(path.starts_with('/') || path == "**") || path.len() > MAX_PATTERN_BYTES {
        let rule = format!("starts with /, at most {MAX_PATTERN_BYTES} bytes");
        return Err(Refusal::Value { what: "path of an endpoint", rule });
    }
    Ok(())
}

/// DER inside JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(der: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(der))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
