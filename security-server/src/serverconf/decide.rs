//! Which changes the rules allow. Looks at nothing but the state and the proposed event.

use std::collections::BTreeMap;

use proto::id::{ClientId, MemberId, ServerId, Subject};
use proto::time::UnixTime;

use super::ServiceKind;
use super::event::{Endpoint, Event, MaintenanceWanted, ServiceSettings, endpoint_text};
use super::path::MAX_PATTERN_BYTES;
use super::state::{ClientState, EndpointState, Group, State};
use super::url::{MAX_URL_BYTES, ServiceUrl, UrlError};

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
    /// Only a member has no name of its own here.
    #[error("{0} is a member: only subsystems can be named")]
    NotASubsystem(ClientId),
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

impl State {
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
                if self.is_owner(client) { Err(Refusal::Owner(client.clone())) } else { Ok(()) }
            }
            E::OwnerChanged { owner } => self.decide_owner(owner),
            E::ConnectionSet { client, .. }
            | E::ClientStatusSet { client, .. }
            | E::SubsystemNameCleared { client } => self.client(client).map(drop),
            E::SubsystemNameSet { client, name } => {
                self.client(client)?;
                if client.subsystem.is_none() {
                    return Err(Refusal::NotASubsystem(client.clone()));
                }
                check_text("name of a subsystem", &name.name)
            }
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
            E::GroupDescribed { client, group, description } => {
                self.local_group(client, group)?;
                check_text("description of a local group", description)
            }
            E::GroupRemoved { client, group } => self.local_group(client, group).map(drop),
            E::GroupMemberAdded { client, group, member } => {
                let members = &self.local_group(client, group)?.members;
                absent(!members.contains_key(member), "member of the group", &member.to_string())?;
                bounded(members.len(), MAX_CLIENTS, "members of one local group")
            }
            E::GroupMemberRemoved { client, group, member } => {
                let found = self.local_group(client, group)?.members.contains_key(member);
                present(found, "member of the group", &member.to_string())
            }
            E::AddressAsked { address } => {
                check_text("address of the server", address.as_deref().unwrap_or_default())
            }
            E::MaintenanceAsked { wanted: Some(MaintenanceWanted::On { message: Some(message) }) } => {
                check_text("message", message)
            }
            E::MaintenanceAsked { .. } | E::Refused { .. } => Ok(()),
            E::DescriptionAdded { .. }
            | E::DescriptionSwitched { .. }
            | E::DescriptionMoved { .. }
            | E::DescriptionRefreshed { .. }
            | E::DescriptionRemoved { .. }
            | E::ServiceAdded { .. }
            | E::ServiceChanged { .. }
            | E::ServiceRenamed { .. }
            | E::ServiceRemoved { .. } => self.decide_service(event),
            E::EndpointAdded { .. }
            | E::EndpointAdopted { .. }
            | E::EndpointChanged { .. }
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

    fn decide_owner(&self, owner: &MemberId) -> Result<(), Refusal> {
        let server = self.server.as_ref().ok_or(Refusal::NotNamed)?;
        let client = owner.clone().client();
        if owner.instance != server.owner.instance {
            let instance = server.owner.instance.clone();
            return Err(Refusal::OtherInstance { client, instance });
        }
        self.client(&client).map(drop)
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
            E::DescriptionMoved { client, url, to } => {
                let descriptions = &self.client(client)?.descriptions;
                present(descriptions.contains_key(url), "service description", url)?;
                absent(!descriptions.contains_key(to), "service description", to)?;
                check_url(to).map(drop)
            }
            E::DescriptionRefreshed { client, url } | E::DescriptionRemoved { client, url } => {
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
            E::ServiceRenamed { client, code, version, to } => {
                self.service(client, code, version.as_deref())?;
                check_new_code(to, None)?;
                // Endpoints and rights belong to the code: all versions of one would have to follow.
                let known = self.client(client)?;
                if known.has_code(to) || known.versions_of(code) > 1 {
                    return Err(Refusal::CodeInUse(to.clone()));
                }
                Ok(())
            }
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
        check_new_code(code, version)?;
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
            E::EndpointAdded { client, code, endpoint, .. } => {
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
            E::EndpointAdopted { client, code, endpoint } => {
                let found = self.endpoints(client, code)?.contains_key(endpoint);
                present(found, "endpoint", &endpoint_text(endpoint))
            }
            E::EndpointChanged { client, code, endpoint, to } => {
                let endpoints = self.endpoints(client, code)?;
                present(endpoints.contains_key(endpoint), "endpoint", &endpoint_text(endpoint))?;
                absent(!endpoints.contains_key(to), "endpoint", &endpoint_text(to))?;
                if *endpoint == Endpoint::service_level() {
                    let rule = "the endpoint of the whole service cannot be changed".to_owned();
                    return Err(Refusal::Value { what: "endpoint", rule });
                }
                check_endpoint(to)
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
                absent(!holders.contains_key(subject), "access right", &subject.to_string())?;
                if let Subject::LocalGroup(group) = subject {
                    self.local_group(client, group)?;
                }
                bounded(holders.len(), MAX_CLIENTS, "subjects of one endpoint")
            }
            E::RightRevoked { client, code, endpoint, subject } => {
                let found = self.holders(client, code, endpoint)?.contains_key(subject);
                present(found, "access right", &subject.to_string())
            }
            _ => Ok(()),
        }
    }

    fn client(&self, id: &ClientId) -> Result<&ClientState, Refusal> {
        self.clients.get(id).ok_or_else(|| Refusal::UnknownClient(id.clone()))
    }
    fn local_group(&self, client: &ClientId, group: &str) -> Result<&Group, Refusal> {
        self.client(client)?.groups.get(group).ok_or_else(|| missing("local group", group))
    }
    fn service(&self, client: &ClientId, code: &str, version: Option<&str>) -> Result<(), Refusal> {
        present(self.client(client)?.description_of(code, version).is_some(), "service", code)
    }
    fn endpoints(
        &self,
        client: &ClientId,
        code: &str,
    ) -> Result<&BTreeMap<Endpoint, EndpointState>, Refusal> {
        self.client(client)?.endpoints.get(code).ok_or_else(|| missing("service", code))
    }
    fn holders(
        &self,
        client: &ClientId,
        code: &str,
        endpoint: &Endpoint,
    ) -> Result<&BTreeMap<Subject, UnixTime>, Refusal> {
        let endpoints = self.endpoints(client, code)?;
        endpoints
            .get(endpoint)
            .map(|endpoint| &endpoint.rights)
            .ok_or_else(|| missing("endpoint", &endpoint_text(endpoint)))
    }
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

/// As [`check_url`]; variables of an OpenAPI description may stay until an operator replaces them, and nothing is called until then.
fn check_service_url(url: &str) -> Result<(), Refusal> {
    let scheme =
        url.split("://").next().is_some_and(|s| matches!(s.to_ascii_lowercase().as_str(), "http" | "https"));
    if scheme && url.contains('{') && url.len() <= MAX_URL_BYTES {
        return Ok(());
    }
    check_url(url).map(drop)
}

fn check_new_code(code: &str, version: Option<&str>) -> Result<(), Refusal> {
    check_codes([code].into_iter().chain(version))?;
    if RESERVED_SERVICE_CODES.contains(&code) {
        return Err(Refusal::ReservedCode(code.to_owned()));
    }
    Ok(())
}

fn check_settings(settings: &ServiceSettings) -> Result<(), Refusal> {
    check_service_url(&settings.url)?;
    check_text("title", settings.title.as_deref().unwrap_or_default())?;
    if settings.timeout_seconds <= MAX_TIMEOUT_SECONDS {
        return Ok(());
    }
    Err(Refusal::Value { what: "timeout", rule: format!("at most {MAX_TIMEOUT_SECONDS} seconds") })
}

/// A text can be a code of an identifier: 1 to 255 characters that every written form of identifiers can carry.
pub fn is_code(text: &str) -> bool {
    let forbidden =
        |c: char| c.is_control() || matches!(c, '%' | ':' | ';' | '/' | '\\' | '\u{200b}' | '\u{feff}');
    (1..=255).contains(&text.chars().count()) && !text.contains(forbidden)
}

/// Characters that some written form of identifiers cannot carry.
fn check_codes<'a>(mut codes: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    match codes.find(|code| !is_code(code)) {
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

#[cfg(test)]
mod tests;
