//! What the registry holds: the sum of all events. Replaying them gives the same state again, always.
//!
//! [`State::apply`] is total: an event that does not fit what is there is [`Inconsistent`], never a panic, since stored data can be
//! damaged. It decides nothing; whether something may happen was decided before it was recorded.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{ClientId, MemberId, ServerId};
use proto::time::UnixTime;

use super::event::{Blob, CaProfile, CertId, Event, PublishedPart, Responder, SourceKind, Tsa};

/// Code of the group that every owner of a security server is in.
pub const OWNERS_GROUP: &str = "security-server-owners";

/// The state of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    pub members: BTreeMap<MemberId, Member>,
    /// Security servers.
    pub servers: BTreeMap<ServerId, Server>,
    /// Global groups.
    pub groups: BTreeMap<String, Group>,
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
    /// When something changed that stands in the anchors.
    pub anchors_changed_at: Option<UnixTime>,
    /// How many events there were: differs between any two states of one registry.
    pub revision: u64,
}

/// System parameters with the reference's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Code and name of each subsystem.
    pub subsystems: BTreeMap<String, Option<String>>,
}

/// A security server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Host for messages.
    pub address: Option<String>,
    /// Authentication certificates.
    pub auth_certs: BTreeMap<CertId, Blob>,
    /// Clients, and whether they take part.
    pub clients: BTreeMap<ClientId, bool>,
    /// In maintenance mode, with a message or without.
    pub maintenance: Option<Option<String>>,
}

/// A global group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What it is.
    pub description: String,
    /// Members and subsystems in it.
    pub members: BTreeSet<ClientId>,
}

/// An approved certification service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificationService {
    /// What is said about it.
    pub settings: CaProfile,
    /// Its top CA.
    pub top: Ca,
    /// Its intermediates.
    pub intermediates: Vec<Ca>,
}

/// A CA certificate with its responders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ca {
    /// What it is found by.
    pub id: CertId,
    /// DER.
    pub cert: Blob,
    /// In the order in which they are asked.
    pub responders: Vec<Responder>,
}

/// A configuration signing key. The private half is in the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// What it signs.
    pub source: SourceKind,
    /// Its name in the token.
    pub key: String,
    /// Its certificate, DER.
    pub cert: Blob,
    /// It is the one that signs.
    pub active: bool,
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
            .find(|ca| ca.id == id)
    }

    fn ca_mut(&mut self, id: &str) -> Result<&mut Ca, Inconsistent> {
        let all = self.cas.iter_mut();
        all.flat_map(|service| std::iter::once(&mut service.top).chain(&mut service.intermediates))
            .find(|ca| ca.id == id)
            .ok_or(Inconsistent)
    }

    /// A certification service by its top CA.
    pub fn service(&self, top: &str) -> Option<&CertificationService> {
        self.cas.iter().find(|service| service.top.id == top)
    }

    fn service_mut(&mut self, top: &str) -> Result<&mut CertificationService, Inconsistent> {
        self.cas.iter_mut().find(|service| service.top.id == top).ok_or(Inconsistent)
    }

    fn server_mut(&mut self, id: &ServerId) -> Result<&mut Server, Inconsistent> {
        self.servers.get_mut(id).ok_or(Inconsistent)
    }

    fn group_mut(&mut self, code: &str) -> Result<&mut Group, Inconsistent> {
        self.groups.get_mut(code).ok_or(Inconsistent)
    }

    /// Replays an event that was recorded at `at`.
    ///
    /// # Errors
    /// It does not fit. The state may then be half changed and is of no use.
    pub fn apply(&mut self, event: Event, at: UnixTime) -> Result<(), Inconsistent> {
        self.revision += 1;
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
                self.members.insert(id, Member { name, ..Member::default() });
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
            | Event::ServerClientRemoved { .. } => self.apply_to_servers(event)?,
            Event::GroupDescribed { code, description } => {
                self.groups.entry(code).or_default().description = description;
            }
            Event::GroupRemoved { code } => there(self.groups.remove(&code))?,
            Event::GroupMemberAdded { group, member } => {
                self.group_mut(&group)?.members.insert(member);
            }
            Event::GroupMemberRemoved { group, member } => {
                self.group_mut(&group)?.members.remove(&member);
            }
            Event::ManagementProviderSet { provider } => self.management_provider = Some(provider),
            Event::TrustedAnchorAdded { instance, anchor } => {
                self.trusted_anchors.insert(instance, anchor);
            }
            Event::TrustedAnchorRemoved { instance } => there(self.trusted_anchors.remove(&instance))?,
            Event::PartPublished { part } => {
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
            | Event::TsaAdded { .. }
            | Event::TsaRemoved { .. } => self.apply_to_trust_services(event)?,
            Event::SigningKeyAdded { .. }
            | Event::SigningKeyActivated { .. }
            | Event::SigningKeyRemoved { .. } => self.apply_to_signing_keys(event, at)?,
            Event::Refused { .. } => {}
        }
        Ok(())
    }

    fn set_address(&mut self, address: String, at: UnixTime) {
        self.address = address;
        self.anchors_changed_at = Some(at);
    }

    fn member_mut(&mut self, id: &MemberId) -> Result<&mut Member, Inconsistent> {
        self.members.get_mut(id).ok_or(Inconsistent)
    }

    fn remove_member(&mut self, id: &MemberId) -> Result<(), Inconsistent> {
        let member = self.members.remove(id).ok_or(Inconsistent)?;
        let subsystems = member.subsystems.into_keys().map(Some);
        for subsystem in std::iter::once(None).chain(subsystems) {
            self.forget(&ClientId { member: id.clone(), subsystem });
        }
        Ok(())
    }

    /// Takes a client off every server and out of every group.
    fn forget(&mut self, client: &ClientId) {
        for server in self.servers.values_mut() {
            server.clients.remove(client);
        }
        for group in self.groups.values_mut() {
            group.members.remove(client);
        }
    }

    fn apply_to_servers(&mut self, event: Event) -> Result<(), Inconsistent> {
        match event {
            Event::ServerAdded { id, address } => {
                self.servers.insert(id, Server { address, ..Server::default() });
            }
            Event::ServerAddressSet { id, address } => self.server_mut(&id)?.address = address,
            Event::MaintenanceSet { id, on, message } => {
                self.server_mut(&id)?.maintenance = on.then_some(message);
            }
            Event::ServerRemoved { id } => there(self.servers.remove(&id))?,
            Event::AuthCertAdded { server, cert } => {
                self.server_mut(&server)?.auth_certs.insert(id_of(&cert.0), cert);
            }
            Event::AuthCertRemoved { server, cert } => {
                there(self.server_mut(&server)?.auth_certs.remove(&cert))?;
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
                self.cas.push(CertificationService {
                    settings,
                    top: Ca::new(cert),
                    intermediates: Vec::new(),
                });
            }
            Event::CaChanged { ca, settings } => self.service_mut(&ca)?.settings = settings,
            Event::CaRemoved { ca } => remove(&mut self.cas, |service| service.top.id == ca)?,
            Event::IntermediateCaAdded { ca, cert } => {
                self.service_mut(&ca)?.intermediates.push(Ca::new(cert));
            }
            Event::IntermediateCaRemoved { ca, intermediate } => {
                remove(&mut self.service_mut(&ca)?.intermediates, |below| below.id == intermediate)?;
            }
            Event::OcspResponderAdded { ca, responder } => self.ca_mut(&ca)?.responders.push(responder),
            Event::OcspResponderRemoved { ca, url } => {
                remove(&mut self.ca_mut(&ca)?.responders, |responder| responder.url == url)?;
            }
            Event::TsaAdded { tsa } => self.tsas.push(tsa),
            Event::TsaRemoved { cert, url } => {
                remove(&mut self.tsas, |tsa| tsa.url == url && id_of(&tsa.cert.0) == cert)?;
            }
            _ => return Err(Inconsistent),
        }
        Ok(())
    }

    fn apply_to_signing_keys(&mut self, event: Event, at: UnixTime) -> Result<(), Inconsistent> {
        self.anchors_changed_at = Some(at);
        match event {
            Event::SigningKeyAdded { source, key, cert } => {
                self.signing_keys.push(SigningKey { source, key, cert, active: false });
            }
            Event::SigningKeyActivated { key } => {
                let source = self.signing_keys.iter().find(|k| k.key == key).ok_or(Inconsistent)?.source;
                for each in self.signing_keys.iter_mut().filter(|each| each.source == source) {
                    each.active = each.key == key;
                }
            }
            Event::SigningKeyRemoved { key } => remove(&mut self.signing_keys, |each| each.key == key)?,
            _ => return Err(Inconsistent),
        }
        Ok(())
    }
}

impl Ca {
    fn new(cert: Blob) -> Self {
        Self { id: id_of(&cert.0), cert, responders: Vec::new() }
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
