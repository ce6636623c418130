//! What this server offers and to whom: clients, services, endpoints, access rights, local groups, TSAs.
//!
//! An event log in the tree `serverconf` of `state/` ([`event`], [`decide`], [`state`] applies, [`store`] records); the relay reads the immutable
//! [`ServerConf`] built from it, where a decision is two map lookups, one per global group with rights on the service, and a pattern
//! match ([`path`]). It is built anew when an event was recorded and when the global configuration changed, since that says
//! which clients are registered here ([`status`]). Deleting `state/` loses all of it: `causeway apply` fills it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use proto::id::{ClientId, GlobalGroupId, MemberId, ServerId, ServiceId, Subject};

pub mod decide;
pub mod event;
pub mod path;
pub mod state;
pub mod status;
pub mod store;
pub mod url;

pub use decide::Refusal;
use event::Endpoint;
use path::{Pattern, ServicePath};
use state::{ClientState, EndpointState, State};
use status::ClientStatus;
use url::ServiceUrl;

/// The notice of a disabled description that has none of its own.
pub const DEFAULT_NOTICE: &str = "The service is out of order";

/// How a client's information systems identify themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ConnectionType {
    /// HTTP or HTTPS, no certificate.
    #[serde(rename = "HTTP")]
    Http,
    /// HTTPS with a stored certificate.
    #[default]
    #[serde(rename = "HTTPS")]
    HttpsAuth,
    /// HTTPS, any certificate or none.
    #[serde(rename = "HTTPS_NO_AUTH")]
    HttpsNoAuth,
}

/// What kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ServiceKind {
    /// SOAP, from a WSDL.
    #[serde(rename = "WSDL")]
    Wsdl,
    /// REST with a base path.
    #[serde(rename = "REST")]
    Rest,
    /// REST with an OpenAPI 3 description.
    #[serde(rename = "OPENAPI3")]
    OpenApi3,
}

/// A service as the relay needs it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its identifier, version included.
    pub id: ServiceId,
    /// Its kind.
    pub kind: ServiceKind,
    /// Where the information system is.
    pub url: String,
    /// The same, parsed; `None` is `service_malformed_url`, which only data of another program can hold.
    pub target: Option<ServiceUrl>,
    /// Where its description is (WSDL, OpenAPI document), the base path for plain REST.
    pub description: String,
    /// Per read; zero is without limit.
    pub timeout: Duration,
    /// Compare the TLS certificate with those stored for the client.
    pub verify_tls: bool,
    /// Disabled, with the notice to give.
    pub disabled: Option<String>,
}

/// A client of this server.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its identifier.
    pub id: ClientId,
    /// How its information systems connect.
    pub connection: ConnectionType,
    /// TLS certificates of its information systems.
    pub certs: Vec<Certificate>,
    /// Registered (others may not take part in messages).
    pub registered: bool,
}

/// The snapshot.
#[derive(Debug)]
pub struct ServerConf {
    server: ServerId,
    tsas: Vec<(String, String)>,
    clients: HashMap<ClientId, Offer>,
}

/// A client with what it offers.
#[derive(Debug)]
struct Offer {
    client: Client,
    services: Vec<Arc<Service>>,
    /// By code, then index into `services`, one per version.
    by_code: HashMap<String, Vec<usize>>,
    rights: HashMap<String, Rights>,
}

/// Who may call what of one service code.
#[derive(Debug, Default)]
struct Rights {
    endpoints: Vec<Rule>,
    /// Members, subsystems and those in local groups: indexes into `endpoints`.
    by_client: HashMap<ClientId, Vec<usize>>,
    by_group: Vec<(GlobalGroupId, Vec<usize>)>,
}

#[derive(Debug)]
struct Rule {
    endpoint: Endpoint,
    pattern: Pattern,
}

impl ServerConf {
    /// The snapshot of `state` under the present global configuration, which says who is registered; without one nobody is.
    ///
    /// `None` when the server has no identity yet.
    pub fn build(state: &State, conf: Option<&GlobalConf>) -> Option<Self> {
        let server = state.server.clone()?;
        let clients = state.clients.iter().map(|(id, client)| {
            let listed = conf.is_some_and(|conf| conf.is_client_of(id, &server));
            let registered = client.status.aligned(listed) == ClientStatus::Registered;
            (id.clone(), Offer::build(id, client, registered))
        });
        Some(Self {
            clients: clients.collect(),
            tsas: state.tsas.iter().map(|tsa| (tsa.name.clone(), tsa.url.clone())).collect(),
            server,
        })
    }
    /// This server.
    pub fn server_id(&self) -> &ServerId {
        &self.server
    }
    /// A client by exact identifier.
    pub fn client(&self, id: &ClientId) -> Option<&Client> {
        self.clients.get(id).map(|offer| &offer.client)
    }
    /// All clients, in no order.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().map(|offer| &offer.client)
    }
    /// Members that have clients here.
    pub fn members(&self) -> Vec<MemberId> {
        let members: BTreeSet<_> = self.clients.keys().map(|client| &client.member).collect();
        members.into_iter().cloned().collect()
    }
    /// A service by exact identifier, version included.
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        let offer = self.clients.get(&id.client)?;
        let mut versions = offer.by_code.get(&id.code)?.iter().map(|index| &offer.services[*index]);
        versions.find(|service| service.id.version == id.version)
    }
    /// All services of a client, by code and version.
    pub fn services(&self, client: &ClientId) -> &[Arc<Service>] {
        self.clients.get(client).map_or(&[], |offer| &offer.services)
    }
    /// Methods and path patterns of a service, the service level (`*`, `**`) among them.
    pub fn endpoints(&self, service: &ServiceId) -> impl Iterator<Item = &Endpoint> {
        self.rights(service).into_iter().flat_map(|rights| rights.endpoints.iter().map(|rule| &rule.endpoint))
    }
    /// The endpoints of `service` that `client` may call, the service level never among them; `None` when it has no right at all.
    ///
    /// A right covers an endpoint when it covers every call of it: the same one, or a wider one.
    pub fn allowed_endpoints(
        &self,
        conf: &GlobalConf,
        client: &ClientId,
        service: &ServiceId,
    ) -> Option<Vec<&Endpoint>> {
        let rights = self.rights(service)?;
        let held: Vec<&Rule> = rights.of(conf, client).collect();
        let covered = |rule: &&Rule| held.iter().any(|right| right.covers_all_of(rule));
        let listed = rights.endpoints.iter().filter(|rule| !rule.is_service_level()).filter(covered);
        let endpoints: Vec<_> = listed.map(|rule| &rule.endpoint).collect();
        (!held.is_empty()).then_some(endpoints)
    }
    /// Whether `client` may call `service` with `method` on the raw (escaped) `path`. SOAP passes `None`: the service level.
    ///
    /// The path is split at `/`, each segment decoded once; dot segments, also those made by escapes, are refused for everybody. The
    /// version of the service plays no part.
    pub fn is_allowed(
        &self,
        conf: &GlobalConf,
        client: &ClientId,
        service: &ServiceId,
        endpoint: Option<(&str, &str)>,
    ) -> bool {
        let Some(rights) = self.rights(service) else { return false };
        let Some((method, raw_path)) = endpoint else {
            return rights.of(conf, client).any(Rule::is_service_level);
        };
        let Ok(path) = ServicePath::decode(raw_path) else { return false };
        rights.of(conf, client).any(|rule| rule.covers(method, &path))
    }
    /// TSAs to use: name and URL, in order.
    pub fn tsas(&self) -> &[(String, String)] {
        &self.tsas
    }

    fn rights(&self, service: &ServiceId) -> Option<&Rights> {
        self.clients.get(&service.client)?.rights.get(&service.code)
    }
}

impl Offer {
    fn build(id: &ClientId, state: &ClientState, registered: bool) -> Self {
        let mut services = Vec::new();
        for (url, description) in &state.descriptions {
            for ((code, version), settings) in &description.services {
                let notice = description.disabled.as_ref();
                services.push(Arc::new(Service {
                    id: ServiceId { client: id.clone(), code: code.clone(), version: version.clone() },
                    kind: description.kind,
                    url: settings.url.clone(),
                    target: ServiceUrl::parse(&settings.url).ok(),
                    description: url.clone(),
                    timeout: Duration::from_secs(settings.timeout_seconds.into()),
                    verify_tls: settings.verify_tls,
                    disabled: notice
                        .map(|n| if n.trim().is_empty() { DEFAULT_NOTICE.into() } else { n.clone() }),
                }));
            }
        }
        services.sort_by(|a, b| a.id.cmp(&b.id));
        let mut by_code: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, service) in services.iter().enumerate() {
            by_code.entry(service.id.code.clone()).or_default().push(index);
        }
        let rights =
            state.endpoints.iter().map(|(code, endpoints)| (code.clone(), Rights::build(endpoints, state)));
        let client = Client {
            id: id.clone(),
            connection: state.connection,
            // Only certificates that parsed were recorded.
            certs: state.tls_certs.iter().filter_map(|der| Certificate::parse(der).ok()).collect(),
            registered,
        };
        Self { client, by_code, rights: rights.collect(), services }
    }
}

impl Rights {
    fn build(endpoints: &BTreeMap<Endpoint, EndpointState>, state: &ClientState) -> Self {
        let mut rights = Self::default();
        let mut by_group: BTreeMap<&GlobalGroupId, Vec<usize>> = BTreeMap::new();
        for (index, (endpoint, rights_of)) in endpoints.iter().enumerate() {
            rights.endpoints.push(Rule { endpoint: endpoint.clone(), pattern: Pattern::new(&endpoint.path) });
            let mut clients = BTreeSet::new();
            for subject in rights_of.rights.keys() {
                match subject {
                    Subject::Client(client) => drop(clients.insert(client)),
                    Subject::GlobalGroup(group) => by_group.entry(group).or_default().push(index),
                    Subject::LocalGroup(code) => {
                        clients.extend(
                            state.groups.get(code).into_iter().flat_map(|group| group.members.keys()),
                        );
                    }
                }
            }
            for client in clients {
                rights.by_client.entry(client.clone()).or_default().push(index);
            }
        }
        rights.by_group = by_group.into_iter().map(|(group, rules)| (group.clone(), rules)).collect();
        rights
    }

    /// The rules that `client` may use: its own, then those of the global groups it is in.
    fn of<'a, 'b>(
        &'a self,
        conf: &'b GlobalConf,
        client: &'b ClientId,
    ) -> impl Iterator<Item = &'a Rule> + use<'a, 'b> {
        let own = self.by_client.get(client).into_iter().flatten();
        let groups = self.by_group.iter().filter(|(group, _)| conf.is_in_group(client, group));
        own.chain(groups.flat_map(|(_, rules)| rules)).map(|index| &self.endpoints[*index])
    }
}

impl Rule {
    /// Every call that `other` is for is one that this is for.
    fn covers_all_of(&self, other: &Self) -> bool {
        let of_method =
            self.endpoint.method == "*" || self.endpoint.method.eq_ignore_ascii_case(&other.endpoint.method);
        self.endpoint == other.endpoint || (of_method && self.pattern.covers(&other.pattern))
    }
    fn is_service_level(&self) -> bool {
        self.endpoint.method == "*" && self.pattern.covers_all()
    }
    fn covers(&self, method: &str, path: &ServicePath) -> bool {
        let of_method = self.endpoint.method == "*" || self.endpoint.method.eq_ignore_ascii_case(method);
        of_method && self.pattern.matches(path)
    }
}

#[cfg(test)]
mod tests;
