//! The global configuration as the relay reads it: one immutable snapshot with constant-time lookups [PR-GCONF].
//!
//! | Module | Holds |
//! |---|---|
//! | this | [`GlobalConf`], its [`Builder`] and its lookups |
//! | [`verify`] | signed directories and hashes of parts |
//! | `instance` | [`Instance`]: the shared parameters of one instance behind hash indexes |
//! | `load` | [`load_directory`], [`load_files`]: the reference's folder layout |
//!
//! Built from verified documents only. An exchange takes one `Arc` of it and keeps it to its end. A snapshot knows no time: who
//! publishes it takes expired federated instances out ([`GlobalConf::without_expired`]), so that they vanish from every lookup;
//! when the main one has expired [`GlobalConf::check_valid`] says so. Authentication certificates are found by SHA-1 in instances
//! of version 2 and by SHA-256 in later ones, each instance by its own version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::fault::FaultCode;
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::shared_parameters::{ApprovedCa, ApprovedTsa, CostType, OcspInfo};
use proto::id::{ClientId, GlobalGroupId, ServerId};
use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::digest::DigestAlgorithm;
use crate::ocsp;
use crate::profile::Profile;

mod instance;
mod load;
#[cfg(test)]
mod tests;
pub mod verify;

pub use instance::Instance;
pub use load::{Files, load_directory, load_files};

/// How far ahead of our clock an OCSP answer may lie.
const OCSP_FUTURE_TOLERANCE: Duration = Duration::from_secs(300);
/// Seconds between OCSP fetches when the configuration does not say, and the least it may say.
const OCSP_FETCH_SECONDS: u64 = 1200;
const MIN_OCSP_FETCH_SECONDS: u64 = 60;

/// The snapshot.
#[derive(Clone, Debug)]
pub struct GlobalConf {
    main: Slot,
    /// By identifier, the main one not among them.
    federated: BTreeMap<String, Slot>,
    private: Option<Arc<PrivateParameters>>,
    private_expires: Option<UnixTime>,
    optional: OptionalParts,
    problems: Vec<String>,
    ca_certs: Vec<Certificate>,
    tsa_certs: Vec<Certificate>,
    generation: u64,
}

/// An instance and how long it holds; `None` is for ever.
#[derive(Clone, Debug)]
struct Slot {
    instance: Arc<Instance>,
    expires: Option<UnixTime>,
}

impl Slot {
    fn holds(&self, now: UnixTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// What the optional parts of the main instance say; `None` where a part is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalParts {
    /// Who may ask every server for its environment data.
    pub monitoring_client: Option<ClientId>,
    /// Seconds between OCSP fetches.
    pub ocsp_fetch_interval_seconds: Option<u64>,
    /// Whether nextUpdate is held against an OCSP answer.
    pub verify_next_update: Option<bool>,
}

/// Where a provider's security server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderServer {
    /// Its identifier.
    pub id: ServerId,
    /// Host name or address; empty when the configuration has none, and then it is nobody's provider.
    pub address: String,
    /// In maintenance, with the administrator's message.
    pub maintenance: Option<Option<String>>,
}

/// What is known of the CA that issued a certificate.
#[derive(Clone, Debug)]
pub struct CaInfo {
    /// The CA certificate.
    pub cert: Certificate,
    /// Its instance.
    pub instance: String,
    /// Certificate profile of the approved certification service.
    pub profile: Option<Profile>,
    /// Not a trust anchor for signatures.
    pub authentication_only: bool,
    /// Its responders.
    pub ocsp: Vec<OcspInfo>,
    /// Explicitly trusted responder certificates, parsed.
    pub responders: Vec<Certificate>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GlobalConfError {
    /// A file is missing or unreadable.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not parse.
    #[error("{path}: {reason}")]
    Malformed {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// The main instance lacks a part.
    #[error("the global configuration of {instance} has no {part}")]
    Missing {
        /// Main instance.
        instance: String,
        /// What it lacks.
        part: &'static str,
    },
    /// The main instance has expired.
    #[error("the global configuration expired at {0}")]
    Outdated(String),
}

impl GlobalConfError {
    /// What a peer or an administrator is told.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Io { .. } | Self::Malformed { .. } | Self::Missing { .. } => FaultCode::MalformedGlobalConf,
            Self::Outdated(_) => FaultCode::GlobalConfOutdated,
        }
    }
}

/// Puts a snapshot together.
#[derive(Debug)]
pub struct Builder {
    main: String,
    instances: BTreeMap<String, Slot>,
    private: Option<Arc<PrivateParameters>>,
    private_expires: Option<UnixTime>,
    optional: OptionalParts,
    problems: Vec<String>,
}

impl Builder {
    /// For a server that belongs to `instance`.
    pub fn new(instance: &str) -> Self {
        Self {
            main: instance.to_owned(),
            instances: BTreeMap::new(),
            private: None,
            private_expires: None,
            optional: OptionalParts::default(),
            problems: Vec::new(),
        }
    }

    /// Shared parameters of the main or of a federated instance.
    #[must_use]
    pub fn instance(mut self, instance: Arc<Instance>, expires: Option<UnixTime>) -> Self {
        self.instances.insert(instance.name().to_owned(), Slot { instance, expires });
        self
    }

    /// Private parameters of the main instance.
    #[must_use]
    pub fn private(mut self, private: Arc<PrivateParameters>, expires: Option<UnixTime>) -> Self {
        self.private = Some(private);
        self.private_expires = expires;
        self
    }

    /// Optional parts of the main instance.
    #[must_use]
    pub fn optional(mut self, parts: OptionalParts) -> Self {
        self.optional = parts;
        self
    }

    /// Something that was left out, in words for the log.
    #[must_use]
    pub fn problem(mut self, problem: String) -> Self {
        self.problems.push(problem);
        self
    }

    /// The snapshot.
    ///
    /// # Errors
    /// The main instance is not there.
    pub fn build(mut self) -> Result<GlobalConf, GlobalConfError> {
        let Some(main) = self.instances.remove(&self.main) else {
            return Err(GlobalConfError::Missing { instance: self.main, part: "shared parameters" });
        };
        let mut conf = GlobalConf {
            main,
            federated: self.instances,
            private: self.private,
            private_expires: self.private_expires,
            optional: self.optional,
            problems: self.problems,
            ca_certs: Vec::new(),
            tsa_certs: Vec::new(),
            generation: 0,
        };
        conf.combine();
        Ok(conf)
    }
}

impl GlobalConf {
    /// What is made of all instances together.
    fn combine(&mut self) {
        let all: Vec<&Instance> = self.all().collect();
        let ca_certs = all.iter().flat_map(|i| &i.cas).map(|ca| ca.cert.clone()).collect();
        let tsa_certs = all.iter().flat_map(|i| i.tsa_certs.iter().cloned()).collect();
        self.generation = self.content_hash();
        self.ca_certs = ca_certs;
        self.tsa_certs = tsa_certs;
    }

    /// A hash of all content, without times of expiry: a configuration that was only renewed keeps its generation.
    fn content_hash(&self) -> u64 {
        let mut hasher = DigestAlgorithm::Sha256.hasher();
        for instance in self.all() {
            hasher.update(&instance.version().to_be_bytes());
            hasher.update(&instance.digest());
        }
        hasher.update(format!("{:?}{:?}", self.private, self.optional).as_bytes());
        let digest = hasher.finish().value;
        u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 value has 32 bytes"))
    }

    fn all(&self) -> impl Iterator<Item = &Instance> {
        std::iter::once(&self.main).chain(self.federated.values()).map(|slot| &*slot.instance)
    }

    fn find(&self, instance: &str) -> Option<&Slot> {
        if self.main.instance.name() == instance { Some(&self.main) } else { self.federated.get(instance) }
    }

    fn of(&self, instance: &str) -> Option<&Instance> {
        self.find(instance).map(|slot| &*slot.instance)
    }

    /// Own instance.
    pub fn instance(&self) -> &str {
        self.main.instance.name()
    }
    /// A number that differs for every snapshot with other content: part of trust cache keys.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Configuration version of the main instance.
    pub fn version(&self) -> u32 {
        self.main.instance.version()
    }
    /// When the main instance expires.
    pub fn expires(&self) -> Option<UnixTime> {
        [self.main.expires, self.private_expires].into_iter().flatten().min()
    }
    /// Main private and shared parameters are unexpired.
    ///
    /// # Errors
    /// [`GlobalConfError::Outdated`].
    pub fn check_valid(&self, now: UnixTime) -> Result<(), GlobalConfError> {
        match self.expires() {
            Some(expires) if expires <= now => Err(GlobalConfError::Outdated(expires.to_iso8601())),
            Some(_) | None => Ok(()),
        }
    }
    /// The same without federated instances that have expired; `None` when there are none.
    pub fn without_expired(&self, now: UnixTime) -> Option<Self> {
        if self.federated.values().all(|slot| slot.holds(now)) {
            return None;
        }
        let mut rest = self.clone();
        rest.federated.retain(|_, slot| slot.holds(now));
        rest.combine();
        Some(rest)
    }
    /// When the next federated instance expires.
    pub fn next_federated_expiry(&self) -> Option<UnixTime> {
        self.federated.values().filter_map(|slot| slot.expires).min()
    }
    /// This instance is known and unexpired.
    pub fn knows_instance(&self, instance: &str, now: UnixTime) -> bool {
        self.find(instance).is_some_and(|slot| slot.holds(now))
    }
    /// Identifiers of all instances, the own one first.
    pub fn instances(&self) -> Vec<&str> {
        self.all().map(Instance::name).collect()
    }
    /// What had to be left out when the documents were read, in words for the log.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().chain(self.all().flat_map(|instance| instance.problems())).map(String::as_str)
    }
    /// Servers (with an address) where exactly this client is owner or client.
    pub fn providers(&self, client: &ClientId) -> &[Arc<ProviderServer>] {
        self.of(&client.member.instance).map_or(&[], |instance| instance.providers(client))
    }
    /// A server by identifier.
    pub fn server(&self, id: &ServerId) -> Option<&ProviderServer> {
        self.of(&id.owner.instance)?.server(id)
    }
    /// Every server of an instance, in the order of the document.
    pub fn servers(&self, instance: &str) -> &[Arc<ProviderServer>] {
        self.of(instance).map_or(&[], Instance::servers)
    }
    /// The server an authentication certificate is registered for in `instance`. Another instance may have registered the same
    /// certificate for a server of its own, and has no say here.
    pub fn server_of(&self, cert: &Certificate, instance: &str) -> Option<&ServerId> {
        self.of(instance)?.server_by_auth_cert(cert)
    }
    /// The server an authentication certificate is registered for in any instance, the own one first: enough to be spoken to, and
    /// says nothing about a client, for which [`Self::server_of`] is asked.
    pub fn server_by_auth_cert(&self, cert: &Certificate) -> Option<&ServerId> {
        self.all().find_map(|instance| instance.server_by_auth_cert(cert))
    }
    /// The client is the owner or a client of that server.
    pub fn is_client_of(&self, client: &ClientId, server: &ServerId) -> bool {
        client.member.instance == server.owner.instance
            && self.of(&server.owner.instance).is_some_and(|instance| instance.is_client_of(client, server))
    }
    /// The member or subsystem is registered in its instance.
    pub fn is_known(&self, client: &ClientId) -> bool {
        self.of(&client.member.instance).is_some_and(|instance| instance.is_known(client))
    }
    /// The approved CA (top or intermediate) that issued `cert`, by issuer name, within `instance`.
    pub fn ca_for(&self, cert: &Certificate, instance: &str) -> Option<&Arc<CaInfo>> {
        self.of(instance)?.ca_for(cert)
    }
    /// All CA certificates, for CertificateRequest lists and responder look-up.
    pub fn ca_certs(&self) -> &[Certificate] {
        &self.ca_certs
    }
    /// Every CA of an instance, top and intermediate.
    pub fn cas(&self, instance: &str) -> &[Arc<CaInfo>] {
        self.of(instance).map_or(&[], |instance| &instance.cas)
    }
    /// CA certificates that are trust anchors for signatures.
    pub fn signature_anchors(&self) -> impl Iterator<Item = &Certificate> {
        self.all().flat_map(|i| &i.cas).filter(|ca| !ca.authentication_only).map(|ca| &ca.cert)
    }
    /// Explicitly trusted OCSP responder certificates.
    pub fn responder_certs(&self) -> impl Iterator<Item = &Certificate> {
        self.all().flat_map(|instance| &instance.cas).flat_map(|ca| &ca.responders)
    }
    /// Approved certification services of an instance as the configuration has them.
    pub fn approved_cas(&self, instance: &str) -> &[ApprovedCa] {
        self.of(instance).map_or(&[], |instance| &instance.approved_cas)
    }
    /// Member classes of an instance: code and description.
    pub fn member_classes(&self, instance: &str) -> &[(String, String)] {
        self.of(instance).map_or(&[], |instance| &instance.member_classes)
    }
    /// Exact membership in a global group.
    pub fn is_in_group(&self, client: &ClientId, group: &GlobalGroupId) -> bool {
        self.of(&group.instance).is_some_and(|instance| instance.is_in_group(client, &group.code))
    }
    /// All members of a group.
    pub fn group_members(&self, group: &GlobalGroupId) -> Vec<ClientId> {
        let group = self.of(&group.instance).and_then(|instance| instance.group(&group.code));
        group.map_or(Vec::new(), |(_, members)| members.collect())
    }
    /// Description of a group, if it exists.
    pub fn group_description(&self, group: &GlobalGroupId) -> Option<&str> {
        self.of(&group.instance)?.group(&group.code).map(|(description, _)| description)
    }
    /// Codes of the global groups of an instance, in no order.
    pub fn groups(&self, instance: &str) -> impl Iterator<Item = &str> {
        self.of(instance).into_iter().flat_map(Instance::group_codes)
    }
    /// Certificates that may sign timestamps, of all instances.
    pub fn tsa_certs(&self) -> &[Certificate] {
        &self.tsa_certs
    }
    /// Approved TSAs of the own instance.
    pub fn tsas(&self) -> &[ApprovedTsa] {
        &self.main.instance.tsas
    }
    /// Members and subsystems of an instance with the names of the members, for `listClients`.
    pub fn clients(&self, instance: &str) -> Vec<(ClientId, String)> {
        let all = self.of(instance).into_iter().flat_map(Instance::clients);
        all.map(|(id, name, _)| (id, name.to_owned())).collect()
    }
    /// As [`Self::clients`], with the names of subsystems that have one (version 5 on).
    pub fn clients_with_names(&self, instance: &str) -> impl Iterator<Item = (ClientId, &str, Option<&str>)> {
        self.of(instance).into_iter().flat_map(Instance::clients)
    }
    /// The shared parameters of an instance and when they expire, to be used in the next snapshot.
    pub fn shared(&self, instance: &str) -> Option<(&Arc<Instance>, Option<UnixTime>)> {
        self.find(instance).map(|slot| (&slot.instance, slot.expires))
    }
    /// Private parameters of the main instance.
    pub fn private(&self) -> Option<&PrivateParameters> {
        self.private.as_deref()
    }
    /// The optional parts of the main instance.
    pub fn optional_parts(&self) -> &OptionalParts {
        &self.optional
    }
    /// How strict to be with OCSP answers.
    pub fn ocsp_rules(&self) -> ocsp::Rules {
        ocsp::Rules {
            freshness: self.main.instance.ocsp_freshness,
            verify_next_update: self.optional.verify_next_update.unwrap_or(true),
            future_tolerance: Some(OCSP_FUTURE_TOLERANCE),
        }
    }
    /// Seconds between OCSP fetches: the optional part, else 1200, at least 60.
    pub fn ocsp_fetch_interval_seconds(&self) -> u64 {
        let seconds = self.optional.ocsp_fetch_interval_seconds.unwrap_or(OCSP_FETCH_SECONDS);
        seconds.max(MIN_OCSP_FETCH_SECONDS)
    }
}

/// Which services that cost something are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CostStrategy {
    /// All, in the order of the configuration.
    #[default]
    None,
    /// The free ones before the others.
    FreeFirst,
    /// The free ones and no others.
    OnlyFree,
}

impl CostStrategy {
    /// The services in the order in which to ask them.
    pub fn order<T>(self, services: &[T], cost: impl Fn(&T) -> CostType) -> Vec<&T> {
        let free = |service: &&T| cost(service) == CostType::Free;
        let mut ordered: Vec<&T> = services.iter().collect();
        match self {
            Self::None => {}
            Self::FreeFirst => ordered.sort_by_key(|service| !free(service)),
            Self::OnlyFree => ordered.retain(free),
        }
        ordered
    }
}
