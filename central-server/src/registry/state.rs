//! What the registry holds: the sum of all events. Replaying them gives the same state again, always.
//!
//! [`State::apply`] is total: an event that does not fit what is there is [`Inconsistent`], never a panic, since stored data can be
//! damaged. It decides nothing; whether something may happen was decided before it was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::{ClientId, MemberId, ServerId};
use proto::time::UnixTime;

use serde::{Deserialize, Serialize};

use super::event::{Blob, CaProfile, CertId, Event, PublishedPart, Responder, SourceKind, Tsa};
use super::request::ManagementRequest;

/// Code of the group that every owner of a security server is in.
pub const OWNERS_GROUP: &str = "security-server-owners";

/// The state of one instance. What there may be many of is shared by copies: a change is applied to a copy whenever somebody is reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its name; `None` until it is initialised.
    pub instance: Option<String>,
    /// Host of this central server.
    pub address: String,
    /// System parameters.
    pub parameters: Parameters,
    /// Member classes: code and description.
    pub member_classes: BTreeMap<String, String>,
    /// Members.
    #[serde(with = "super::snapshot::shared_pairs")]
    pub members: BTreeMap<MemberId, Arc<Member>>,
    /// Security servers.
    #[serde(with = "super::snapshot::shared_pairs")]
    pub servers: BTreeMap<ServerId, Arc<Server>>,
    /// Global groups.
    #[serde(with = "super::snapshot::shared_values")]
    pub groups: BTreeMap<String, Arc<Group>>,
    /// Approved certification services, in the order of approval.
    pub cas: Vec<CertificationService>,
    /// Approved timestamping services, in the order of approval.
    pub tsas: Vec<Tsa>,
    /// The subsystem that offers the management services.
    pub management_provider: Option<ClientId>,
    /// Anchor files of trusted instances.
    pub trusted_anchors: BTreeMap<String, Blob>,
    /// Optional parts by content identifier.
    pub parts: BTreeMap<String, PublishedPart>,
    /// Configuration signing keys, in the order of their making.
    pub signing_keys: Vec<SigningKey>,
    /// When something changed that stands in the anchor of a source.
    pub anchors_changed_at: BTreeMap<SourceKind, UnixTime>,
    /// Management requests by number.
    pub requests: BTreeMap<u64, ManagementRequest>,
    /// Which numbers were given last.
    pub numbers: Numbers,
    /// How many events there were: differs between any two states of one registry.
    pub revision: u64,
    /// The revision in which something changed last that may be published.
    #[serde(default)]
    pub content_revision: u64,
}

/// The numbers that were given last, each of its kind. None is given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Top and intermediate CAs.
    pub ca: u64,
    /// OCSP responders.
    pub responder: u64,
    /// Timestamping services.
    pub tsa: u64,
    /// Authentication certificates.
    pub auth_cert: u64,
    /// Group members.
    pub group_member: u64,
    /// Management requests.
    pub request: u64,
}

/// System parameters with the reference's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// `ocspFreshnessSeconds`.
    pub ocsp_freshness_seconds: u64,
    /// `timeStampingIntervalSeconds`.
    pub timestamping_interval_seconds: u64,
    /// `confExpireIntervalSeconds`.
    pub conf_expire_interval_seconds: u64,
    /// `authCertRegUrl`.
    pub auth_cert_reg_url: Option<String>,
    /// TLS certificate to expect there.
    pub auth_cert_reg_cert: Option<Blob>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            ocsp_freshness_seconds: 3600,
            timestamping_interval_seconds: 60,
            conf_expire_interval_seconds: 600,
            auth_cert_reg_url: None,
            auth_cert_reg_cert: None,
        }
    }
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Code and name of each subsystem.
    pub subsystems: BTreeMap<String, Option<String>>,
}

/// A security server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Host for messages.
    pub address: Option<String>,
    /// Authentication certificates.
    pub auth_certs: BTreeMap<CertId, Blob>,
    /// Numbers of the authentication certificates.
    pub auth_cert_numbers: BTreeMap<CertId, u64>,
    /// Clients, and whether they take part.
    #[serde(with = "super::snapshot::pairs")]
    pub clients: BTreeMap<ClientId, bool>,
    /// In maintenance mode, with a message or without.
    #[serde(with = "super::snapshot::twice_optional")]
    pub maintenance: Option<Option<String>>,
    /// When it was registered.
    pub created_at: Option<UnixTime>,
    /// When its address, owner or mode changed last.
    pub updated_at: Option<UnixTime>,
}

/// A global group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What it is.
    pub description: String,
    /// Members and subsystems in it.
    pub members: BTreeSet<ClientId>,
    /// Since when, and under which number.
    #[serde(with = "super::snapshot::pairs")]
    pub joined: BTreeMap<ClientId, Joined>,
    /// When it was made.
    pub created_at: Option<UnixTime>,
    /// When its description changed last.
    pub updated_at: Option<UnixTime>,
}

/// Since when somebody is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its number.
    pub number: u64,
    /// Since when.
    pub at: UnixTime,
}

/// An approved certification service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificationService {
    /// What is said about it.
    pub settings: CaProfile,
    /// Its top CA.
    pub top: Ca,
    /// Its intermediates.
    pub intermediates: Vec<Ca>,
}

/// A CA certificate with its responders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ca {
    /// Its number.
    pub number: u64,
    /// What it is found by where there is no other of the same certificate.
    pub id: CertId,
    /// DER.
    pub cert: Blob,
    /// In the order in which they are asked.
    pub responders: Vec<Responder>,
}

/// A configuration signing key. The private half is in the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// What it signs.
    pub source: SourceKind,
    /// Its name in the token.
    pub key: String,
    /// Its certificate, DER.
    pub cert: Blob,
    /// It is the one that signs.
    pub active: bool,
    /// What people call it.
    pub label: String,
    /// When it was made.
    pub created_at: Option<UnixTime>,
}

/// A recorded event does not fit the events before it: the log is damaged, or was written by another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a recorded event does not fit those before it")]
pub struct Inconsistent;

/// SHA-256 in lower-case hex: how certificates and parts are found.
pub fn id_of(bytes: &[u8]) -> CertId {
    hex::encode(pki::digest::DigestAlgorithm::Sha256.digest(bytes).value)
}

impl State {
    /// Whether a member or subsystem is registered.
    pub fn knows(&self, client: &ClientId) -> bool {
        self.members.get(&client.member).is_some_and(|member| match &client.subsystem {
            Some(code) => member.subsystems.contains_key(code),
            None => true,
        })
    }

    /// The keys of a source, the active one among them.
    pub fn keys_of(&self, source: SourceKind) -> impl Iterator<Item = &SigningKey> {
        self.signing_keys.iter().filter(move |key| key.source == source)
    }

    /// The key that signs for a source.
    pub fn active_key(&self, source: SourceKind) -> Option<&SigningKey> {
        self.keys_of(source).find(|key| key.active)
    }

    /// A top or intermediate CA.
    pub fn ca(&self, id: &str) -> Option<&Ca> {
        self.cas
            .iter()
            .flat_map(|service| std::iter::once(&service.top).chain(&service.intermediates))
            .find(|ca| ca.is(id))
    }

    /// All top and intermediate CAs.
    pub fn all_cas(&self) -> impl Iterator<Item = &Ca> {
        self.cas.iter().flat_map(|service| std::iter::once(&service.top).chain(&service.intermediates))
    }

    /// An OCSP responder by its number.
    pub fn responder(&self, number: u64) -> Option<&Responder> {
        self.all_cas().flat_map(|ca| &ca.responders).find(|responder| responder.number == number)
    }

    fn ca_mut(&mut self, id: &str) -> Result<&mut Ca, Inconsistent> {
        let all = self.cas.iter_mut();
        all.flat_map(|service| std::iter::once(&mut service.top).chain(&mut service.intermediates))
            .find(|ca| ca.is(id))
            .ok_or(Inconsistent)
    }

    /// A certification service by its top CA.
    pub fn service(&self, top: &str) -> Option<&CertificationService> {
        self.cas.iter().find(|service| service.top.is(top))
    }

    fn service_mut(&mut self, top: &str) -> Result<&mut CertificationService, Inconsistent> {
        self.cas.iter_mut().find(|service| service.top.is(top)).ok_or(Inconsistent)
    }

    fn server_mut(&mut self, id: &ServerId) -> Result<&mut Server, Inconsistent> {
        self.servers.get_mut(id).map(Arc::make_mut).ok_or(Inconsistent)
    }

    fn group_mut(&mut self, code: &str) -> Result<&mut Group, Inconsistent> {
        self.groups.get_mut(code).map(Arc::make_mut).ok_or(Inconsistent)
    }

    /// Replays an event that was recorded at `at`.
    ///
    /// # Errors
    /// It does not fit. The state may then be half changed and is of no use.
    pub fn apply(&mut self, event: Event, at: UnixTime) -> Result<(), Inconsistent> {
        self.revision += 1;
        if event.may_be_published() {
            self.content_revision = self.revision;
        }
        match event {
            Event::Initialised { instance, address } => {
                self.instance = Some(instance);
                self.set_address(address, at);
            }
            Event::AddressSet { address } => self.set_address(address, at),
            Event::OcspFreshnessSet { seconds } => self.parameters.ocsp_freshness_seconds = seconds,
            Event::TimestampingIntervalSet { seconds } => {
                self.parameters.timestamping_interval_seconds = seconds;
            }
            Event::ConfExpireIntervalSet { seconds } => {
                self.parameters.conf_expire_interval_seconds = seconds
            }
            Event::AuthCertRegUrlSet { url } => self.parameters.auth_cert_reg_url = url,
            Event::AuthCertRegCertSet { cert } => self.parameters.auth_cert_reg_cert = cert,
            Event::MemberClassDescribed { code, description } => {
                self.member_classes.insert(code, description);
            }
            Event::MemberClassRemoved { code } => there(self.member_classes.remove(&code))?,
            Event::MemberAdded { id, name } => {
                self.members.insert(id, Arc::new(Member { name, ..Member::default() }));
            }
            Event::MemberRenamed { id, name } => self.member_mut(&id)?.name = name,
            Event::MemberRemoved { id } => self.remove_member(&id)?,
            Event::SubsystemAdded { id, name } | Event::SubsystemRenamed { id, name } => {
                let code = id.subsystem.ok_or(Inconsistent)?;
                self.member_mut(&id.member)?.subsystems.insert(code, name);
            }
            Event::SubsystemRemoved { id } => {
                let code = id.subsystem.as_ref().ok_or(Inconsistent)?;
                there(self.member_mut(&id.member)?.subsystems.remove(code))?;
                self.forget(&id);
            }
            Event::ServerAdded { .. }
            | Event::ServerAddressSet { .. }
            | Event::MaintenanceSet { .. }
            | Event::ServerRemoved { .. }
            | Event::AuthCertAdded { .. }
            | Event::AuthCertRemoved { .. }
            | Event::ServerClientAdded { .. }
            | Event::ServerClientEnabled { .. }
            | Event::ServerClientRemoved { .. }
            | Event::ServerOwnerChanged { .. } => self.apply_to_servers(event, at)?,
            Event::GroupDescribed { code, description } => {
                let group = Arc::make_mut(self.groups.entry(code).or_default());
                group.description = description;
                group.created_at.get_or_insert(at);
                group.updated_at = Some(at);
            }
            Event::GroupRemoved { code } => there(self.groups.remove(&code))?,
            Event::GroupMemberAdded { group, member } => {
                self.numbers.group_member += 1;
                let joined = Joined { number: self.numbers.group_member, at };
                let group = self.group_mut(&group)?;
                group.joined.insert(member.clone(), joined);
                group.members.insert(member);
            }
            Event::GroupMemberRemoved { group, member } => {
                let group = self.group_mut(&group)?;
                group.joined.remove(&member);
                group.members.remove(&member);
            }
            Event::ManagementProviderSet { provider } => self.management_provider = Some(provider),
            Event::TrustedAnchorAdded { instance, anchor } => {
                self.trusted_anchors.insert(instance, anchor);
            }
            Event::TrustedAnchorRemoved { instance } => there(self.trusted_anchors.remove(&instance))?,
            Event::PartPublished { part } => {
                let part = PublishedPart { published_at: Some(at), ..part };
                self.parts.insert(part.content_identifier.clone(), part);
            }
            Event::PartWithdrawn { content_identifier } => there(self.parts.remove(&content_identifier))?,
            Event::CaAdded { .. }
            | Event::CaChanged { .. }
            | Event::CaRemoved { .. }
            | Event::IntermediateCaAdded { .. }
            | Event::IntermediateCaRemoved { .. }
            | Event::OcspResponderAdded { .. }
            | Event::OcspResponderRemoved { .. }
            | Event::OcspResponderChanged { .. }
            | Event::OcspResponderDropped { .. }
            | Event::TsaAdded { .. }
            | Event::TsaChanged { .. }
            | Event::TsaDropped { .. }
            | Event::TsaRemoved { .. } => self.apply_to_trust_services(event)?,
            Event::SigningKeyAdded { .. }
            | Event::SigningKeyActivated { .. }
            | Event::SigningKeyRemoved { .. } => self.apply_to_signing_keys(event, at)?,
            Event::AnchorRecreated { source } => drop(self.anchors_changed_at.insert(source, at)),
            Event::RequestSubmitted { id, kind, origin, server, status, pair, comments } => {
                self.numbers.request = id;
                if let Some(other) = pair {
                    let other = self.requests.get_mut(&other).ok_or(Inconsistent)?;
                    (other.pair, other.status) = (Some(id), status);
                }
                let request =
                    ManagementRequest { id, kind, origin, server, status, pair, comments, created_at: at };
                self.requests.insert(id, request);
            }
            Event::RequestStatusSet { ids, status } => {
                for id in ids {
                    self.requests.get_mut(&id).ok_or(Inconsistent)?.status = Some(status);
                }
            }
            Event::Refused { .. } => {}
        }
        Ok(())
    }

    fn set_address(&mut self, address: String, at: UnixTime) {
        self.address = address;
        self.anchors_changed_at = SourceKind::ALL.map(|source| (source, at)).into();
    }

    fn member_mut(&mut self, id: &MemberId) -> Result<&mut Member, Inconsistent> {
        self.members.get_mut(id).map(Arc::make_mut).ok_or(Inconsistent)
    }

    fn remove_member(&mut self, id: &MemberId) -> Result<(), Inconsistent> {
        let member = self.members.remove(id).ok_or(Inconsistent)?;
        let subsystems = member.subsystems.keys().cloned().map(Some);
        for subsystem in std::iter::once(None).chain(subsystems) {
            self.forget(&ClientId { member: id.clone(), subsystem });
        }
        Ok(())
    }

    /// Takes a client off every server and out of every group.
    fn forget(&mut self, client: &ClientId) {
        for server in self.servers.values_mut().filter(|server| server.clients.contains_key(client)) {
            Arc::make_mut(server).clients.remove(client);
        }
        for group in self.groups.values_mut().filter(|group| group.members.contains(client)) {
            let group = Arc::make_mut(group);
            group.members.remove(client);
            group.joined.remove(client);
        }
    }

    fn apply_to_servers(&mut self, event: Event, at: UnixTime) -> Result<(), Inconsistent> {
        match event {
            Event::ServerAdded { id, address } => {
                let (created_at, updated_at) = (Some(at), Some(at));
                let server = Server { address, created_at, updated_at, ..Server::default() };
                self.servers.insert(id, Arc::new(server));
            }
            Event::ServerAddressSet { id, address } => {
                let server = self.server_mut(&id)?;
                (server.address, server.updated_at) = (address, Some(at));
            }
            Event::ServerOwnerChanged { server: id, owner } => {
                let mut moved = self.servers.remove(&id).ok_or(Inconsistent)?;
                let server = Arc::make_mut(&mut moved);
                server.clients.remove(&owner.clone().client());
                server.clients.insert(id.owner.client(), true);
                server.updated_at = Some(at);
                self.servers.insert(ServerId { owner, code: id.code }, moved);
            }
            Event::MaintenanceSet { id, on, message } => {
                let server = self.server_mut(&id)?;
                (server.maintenance, server.updated_at) = (on.then_some(message), Some(at));
            }
            Event::ServerRemoved { id } => there(self.servers.remove(&id))?,
            Event::AuthCertAdded { server, cert } => {
                self.numbers.auth_cert += 1;
                let number = self.numbers.auth_cert;
                let server = self.server_mut(&server)?;
                server.auth_cert_numbers.insert(id_of(&cert.0), number);
                server.auth_certs.insert(id_of(&cert.0), cert);
            }
            Event::AuthCertRemoved { server, cert } => {
                let server = self.server_mut(&server)?;
                server.auth_cert_numbers.remove(&cert);
                there(server.auth_certs.remove(&cert))?;
            }
            Event::ServerClientAdded { server, client } => {
                self.server_mut(&server)?.clients.insert(client, true);
            }
            Event::ServerClientEnabled { server, client, enabled } => {
                *self.server_mut(&server)?.clients.get_mut(&client).ok_or(Inconsistent)? = enabled;
            }
            Event::ServerClientRemoved { server, client } => {
                there(self.server_mut(&server)?.clients.remove(&client))?;
            }
            _ => return Err(Inconsistent),
        }
        Ok(())
    }

    fn apply_to_trust_services(&mut self, event: Event) -> Result<(), Inconsistent> {
        match event {
            Event::CaAdded { cert, settings } => {
                let top = self.new_ca(cert);
                self.cas.push(CertificationService { settings, top, intermediates: Vec::new() });
            }
            Event::CaChanged { ca, settings } => self.service_mut(&ca)?.settings = settings,
            Event::CaRemoved { ca } => remove(&mut self.cas, |service| service.top.is(&ca))?,
            Event::IntermediateCaAdded { ca, cert } => {
                let below = self.new_ca(cert);
                self.service_mut(&ca)?.intermediates.push(below);
            }
            Event::IntermediateCaRemoved { ca, intermediate } => {
                remove(&mut self.service_mut(&ca)?.intermediates, |below| below.is(&intermediate))?;
            }
            Event::OcspResponderAdded { ca, mut responder } => {
                self.numbers.responder += 1;
                responder.number = self.numbers.responder;
                self.ca_mut(&ca)?.responders.push(responder);
            }
            Event::OcspResponderChanged { responder } => {
                let place = self.responder_mut(responder.number).ok_or(Inconsistent)?;
                *place = responder;
            }
            Event::OcspResponderDropped { number } => {
                let holds = |ca: &Ca| ca.responders.iter().any(|responder| responder.number == number);
                let key = self.all_cas().find(|ca| holds(ca)).ok_or(Inconsistent)?.key();
                remove(&mut self.ca_mut(&key)?.responders, |responder| responder.number == number)?;
            }
            Event::OcspResponderRemoved { ca, url } => {
                remove(&mut self.ca_mut(&ca)?.responders, |responder| responder.url == url)?;
            }
            Event::TsaAdded { mut tsa } => {
                self.numbers.tsa += 1;
                tsa.number = self.numbers.tsa;
                self.tsas.push(tsa);
            }
            Event::TsaChanged { tsa } => {
                let place = self.tsas.iter_mut().find(|each| each.number == tsa.number);
                *place.ok_or(Inconsistent)? = tsa;
            }
            Event::TsaDropped { number } => remove(&mut self.tsas, |tsa| tsa.number == number)?,
            Event::TsaRemoved { cert, url } => {
                remove(&mut self.tsas, |tsa| tsa.url == url && id_of(&tsa.cert.0) == cert)?;
            }
            _ => return Err(Inconsistent),
        }
        Ok(())
    }

    fn new_ca(&mut self, cert: Blob) -> Ca {
        self.numbers.ca += 1;
        Ca { number: self.numbers.ca, id: id_of(&cert.0), cert, responders: Vec::new() }
    }

    fn responder_mut(&mut self, number: u64) -> Option<&mut Responder> {
        let all = self.cas.iter_mut();
        all.flat_map(|service| std::iter::once(&mut service.top).chain(&mut service.intermediates))
            .flat_map(|ca| &mut ca.responders)
            .find(|responder| responder.number == number)
    }

    /// A new or removed key changes the anchor of its source; another active one does not.
    fn apply_to_signing_keys(&mut self, event: Event, at: UnixTime) -> Result<(), Inconsistent> {
        match event {
            Event::SigningKeyAdded { source, key, cert, label } => {
                self.anchors_changed_at.insert(source, at);
                let created_at = Some(at);
                self.signing_keys.push(SigningKey { source, key, cert, active: false, label, created_at });
            }
            Event::SigningKeyActivated { key } => {
                let source = self.signing_keys.iter().find(|k| k.key == key).ok_or(Inconsistent)?.source;
                for each in self.signing_keys.iter_mut().filter(|each| each.source == source) {
                    each.active = each.key == key;
                }
            }
            Event::SigningKeyRemoved { key } => {
                let source = self.signing_keys.iter().find(|k| k.key == key).ok_or(Inconsistent)?.source;
                self.anchors_changed_at.insert(source, at);
                remove(&mut self.signing_keys, |each| each.key == key)?;
            }
            _ => return Err(Inconsistent),
        }
        Ok(())
    }
}

impl Ca {
    /// What commands and events name it by: its number.
    pub fn key(&self) -> CertId {
        self.number.to_string()
    }

    /// Whether a key of [`Self::key`], or the SHA-256 of its certificate, names it.
    pub fn is(&self, key: &str) -> bool {
        self.id == key || self.number.to_string() == key
    }
}

fn there<T>(removed: Option<T>) -> Result<(), Inconsistent> {
    removed.map(drop).ok_or(Inconsistent)
}

fn remove<T>(from: &mut Vec<T>, fits: impl Fn(&T) -> bool) -> Result<(), Inconsistent> {
    let position = from.iter().position(fits).ok_or(Inconsistent)?;
    from.remove(position);
    Ok(())
}
