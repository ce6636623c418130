//! Shared parameters: members, servers, approved CAs and TSAs, groups [PR-GCONF §3.3].
//!
//! The types are the same for every version; [`SharedParameters::read`] and [`SharedParameters::write`] know which elements a
//! version has. A document refers to members and subsystems by `id`; the types name them in full. Counts are bounded by the size of
//! the document.
//!
//! A large registry need not be held in these types: [`SharedParameters::read_into`] gives members, servers and groups one after the
//! other to a [`Registry`], which keeps of them what it wants; and [`Document`] writes them as they are given to it.
mod ids;
mod read;
mod write;

use std::io::Read;

pub use write::{Document, Written};

use super::ParametersError;
use super::windows::FIRST_BYTES;
use crate::id::{ClientId, GlobalGroupId, MemberId, ServerId};

/// A member or subsystem by its place among all of them: each member, then its subsystems, in the order of the document.
pub type ClientNumber = u32;

/// Takes what a document lists, in its order: all members, then servers, then groups. What it was given counts only when the whole
/// document was read.
pub trait Registry {
    /// The next member; it and its subsystems take the next [`ClientNumber`]s.
    fn member(&mut self, member: Member);
    /// The next security server; every number in it is that of a client given before.
    fn server(&mut self, server: ListedServer);
    /// The next global group.
    fn group(&mut self, group: GlobalGroup);
}

/// A security server as its document lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedServer {
    /// A member.
    pub owner: ClientNumber,
    /// Its code.
    pub code: String,
    /// As [`SecurityServer::address`].
    pub address: Option<String>,
    /// As [`SecurityServer::auth_cert_hashes`].
    pub auth_cert_hashes: Vec<Vec<u8>>,
    /// Members and subsystems.
    pub clients: Vec<ClientNumber>,
    /// As [`SecurityServer::maintenance`].
    pub maintenance: Option<Option<String>>,
}

impl SharedParameters {
    /// Reads `shared-params.xml` of configuration version `version`.
    ///
    /// # Errors
    /// The first rule of the schema that it breaks.
    pub fn read(xml: &[u8], version: u32) -> Result<Self, ParametersError> {
        Self::read_by_windows(xml, version, FIRST_BYTES)
    }

    /// As [`Self::read`], with windows of `window` bytes to begin with.
    pub(super) fn read_by_windows(
        mut xml: &[u8],
        version: u32,
        window: usize,
    ) -> Result<Self, ParametersError> {
        let mut collected = Collected::default();
        let rest = read::document(&mut xml, version, &mut collected, window)?;
        let Collected { members, servers, groups, .. } = collected;
        Ok(Self { members, servers, groups, ..rest })
    }

    /// As [`Self::read`], from wherever the document lies, with members, servers and groups given to `registry` and none in what is
    /// returned. Memory is that of the largest child of the root, and of the ids of members and subsystems.
    ///
    /// # Errors
    /// As [`Self::read`], or `xml` cannot be read; what `registry` was given is then worth nothing.
    pub fn read_into(
        xml: &mut dyn Read,
        version: u32,
        registry: &mut dyn Registry,
    ) -> Result<Self, ParametersError> {
        Ok(read::document(xml, version, registry, FIRST_BYTES)?)
    }

    /// Writes `shared-params.xml` of configuration version `version`, leaving out what that version does not have.
    ///
    /// The digests of authentication certificates are written as they are: their algorithm depends on the version (SHA-1 in version
    /// 2, SHA-256 later) and the caller has to give the right ones.
    ///
    /// # Errors
    /// A server names an owner or client that is no member or subsystem of the document, or a text that XML cannot carry.
    pub fn write(&self, version: u32) -> Result<Vec<u8>, ParametersError> {
        write::document(self, version)
    }
}

/// Everything that was listed, identifiers in full.
#[derive(Default)]
struct Collected {
    members: Vec<Member>,
    /// Of every number: its member, and which of its subsystems.
    clients: Vec<(usize, Option<usize>)>,
    servers: Vec<SecurityServer>,
    groups: Vec<GlobalGroup>,
}

impl Collected {
    fn client(&self, number: ClientNumber) -> ClientId {
        let (member, subsystem) = self.clients[number as usize];
        let member = &self.members[member];
        let subsystem = subsystem.map(|position| member.subsystems[position].0.clone());
        ClientId { member: member.id.clone(), subsystem }
    }
}

impl Registry for Collected {
    fn member(&mut self, member: Member) {
        let position = self.members.len();
        self.clients.push((position, None));
        self.clients.extend((0..member.subsystems.len()).map(|subsystem| (position, Some(subsystem))));
        self.members.push(member);
    }

    fn server(&mut self, server: ListedServer) {
        let ListedServer { owner, code, address, auth_cert_hashes, clients, maintenance } = server;
        let id = ServerId { owner: self.client(owner).member, code };
        let clients = clients.into_iter().map(|number| self.client(number)).collect();
        self.servers.push(SecurityServer { id, address, auth_cert_hashes, clients, maintenance });
    }

    fn group(&mut self, group: GlobalGroup) {
        self.groups.push(group);
    }
}

/// Everything in one `shared-params.xml`. Ids of the document (`id0` …) are resolved away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedParameters {
    /// Instance it describes.
    pub instance: String,
    /// Download locations, version 3 on.
    pub sources: Vec<Source>,
    /// Approved certification services.
    pub approved_cas: Vec<ApprovedCa>,
    /// Approved timestamping services.
    pub approved_tsas: Vec<ApprovedTsa>,
    /// Members with their subsystems.
    pub members: Vec<Member>,
    /// Security servers.
    pub servers: Vec<SecurityServer>,
    /// Global groups.
    pub groups: Vec<GlobalGroup>,
    /// Member classes: code and description.
    pub member_classes: Vec<(String, String)>,
    /// How old an OCSP answer may be, seconds.
    pub ocsp_freshness_seconds: u64,
}

/// A node of the central server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Host, no scheme.
    pub address: String,
    /// DER of each internal signing certificate.
    pub internal_certs: Vec<Vec<u8>>,
    /// DER of each external signing certificate.
    pub external_certs: Vec<Vec<u8>>,
}

/// What a use of a service costs, version 6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CostType {
    /// Nothing.
    Free,
    /// Something.
    Paid,
    /// Unknown.
    #[default]
    Undefined,
}

/// An OCSP responder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OcspInfo {
    /// Where.
    pub url: String,
    /// DER of an explicitly trusted responder certificate.
    pub cert: Option<Vec<u8>>,
    /// Version 6.
    pub cost: CostType,
}

/// A CA certificate with its responders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaInfo {
    /// DER.
    pub cert: Vec<u8>,
    /// Its responders.
    pub ocsp: Vec<OcspInfo>,
}

/// An approved certification service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovedCa {
    /// Display name.
    pub name: String,
    /// Not for signatures.
    pub authentication_only: bool,
    /// Root.
    pub top: CaInfo,
    /// Below it.
    pub intermediates: Vec<CaInfo>,
    /// Class name of the certificate profile.
    pub profile: String,
    /// `PEM` or `DER`, version 6.
    pub default_csr_format: Option<String>,
    /// ACME directory, version 3.
    pub acme: Option<AcmeServer>,
}

/// ACME server of a CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeServer {
    /// Directory URL.
    pub directory_url: String,
    /// For operators' firewalls.
    pub ip_address: Option<String>,
    /// Version 4.
    pub authentication_profile: Option<String>,
    /// Version 4.
    pub signing_profile: Option<String>,
}

/// An approved timestamping service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovedTsa {
    /// Display name.
    pub name: String,
    /// Where.
    pub url: String,
    /// DER of the certificate that signs tokens.
    pub cert: Vec<u8>,
    /// Version 6.
    pub cost: CostType,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identifier.
    pub id: MemberId,
    /// Description of its class.
    pub class_description: String,
    /// Display name.
    pub name: String,
    /// Subsystem code and, from version 5, name.
    pub subsystems: Vec<(String, Option<String>)>,
}

/// A security server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityServer {
    /// Its identifier.
    pub id: ServerId,
    /// Host for messages and OCSP; without one it cannot be a provider.
    pub address: Option<String>,
    /// Digests of its authentication certificates: SHA-1 in version 2, SHA-256 from 3.
    pub auth_cert_hashes: Vec<Vec<u8>>,
    /// Its clients; the owner is not repeated.
    pub clients: Vec<ClientId>,
    /// In maintenance mode, with the administrator's message if any, version 5.
    pub maintenance: Option<Option<String>>,
}

/// A global group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalGroup {
    /// Its identifier.
    pub id: GlobalGroupId,
    /// Description.
    pub description: String,
    /// Members and subsystems in it.
    pub members: Vec<ClientId>,
}
