//! One instance of the global configuration in compact form: what its shared parameters say, behind hash indexes.
//!
//! Built once from a document of up to a hundred thousand members and never changed, so that snapshots share it as long as the
//! document stays the same. Identifiers are kept once, in rows; an [`Index`] finds rows by hash and holds no keys of its own. The
//! servers of a client are a list shared by all clients with the same servers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use proto::globalconf::ParametersError;
use proto::globalconf::shared_parameters::{
    self as shared, ApprovedCa, ApprovedTsa, GlobalGroup, SharedParameters, Source,
};
use proto::id::{ClientId, MemberId, ServerId};

use super::{CaInfo, ProviderServer};
use crate::cert::Certificate;
use crate::digest::DigestAlgorithm;
use crate::profile::Profile;

/// Everything that one `shared-params.xml` says.
#[derive(Debug)]
pub struct Instance {
    name: String,
    version: u32,
    digest: [u8; 32],
    pub(super) ocsp_freshness: Duration,
    members: Vec<MemberRow>,
    clients: Vec<ClientRow>,
    client_index: Index,
    /// The first one is empty, for clients on no server.
    lists: Vec<ServerList>,
    servers: Vec<ProviderServer>,
    server_by_id: HashMap<ServerId, u32>,
    server_by_hash: HashMap<Vec<u8>, u32>,
    pub(super) approved_cas: Vec<ApprovedCa>,
    pub(super) cas: Vec<Arc<CaInfo>>,
    cas_by_name: HashMap<String, Vec<Arc<CaInfo>>>,
    groups: HashMap<String, Group>,
    pub(super) tsas: Vec<ApprovedTsa>,
    pub(super) tsa_certs: Vec<Certificate>,
    pub(super) member_classes: Vec<(String, String)>,
    sources: Vec<Source>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct MemberRow {
    class: Arc<str>,
    code: Box<str>,
    name: Box<str>,
}

#[derive(Debug)]
struct ClientRow {
    member: u32,
    list: u32,
    subsystem: Option<Box<str>>,
    name: Option<Box<str>>,
}

/// Servers where a client is the owner or a client: all of them by number, those with an address in full.
#[derive(Debug, Default)]
struct ServerList {
    numbers: Box<[u32]>,
    providers: Box<[ProviderServer]>,
}

#[derive(Debug)]
struct Group {
    description: String,
    members: Vec<ClientId>,
    index: Index,
}

/// Row numbers by hash of their keys. The keys stay in the rows, so a hit has to be compared.
#[derive(Debug, Default)]
struct Index {
    hasher: RandomState,
    rows: HashMap<u64, u32>,
    /// Rows whose hash another row already has: practically none.
    collisions: Vec<u32>,
}

impl Index {
    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Notes `row` unless a row with the same key, as `same_as` says, was there before.
    fn insert(&mut self, hash: u64, row: u32, same_as: impl Fn(u32) -> bool) {
        match self.rows.entry(hash) {
            Entry::Vacant(vacant) => {
                vacant.insert(row);
            }
            Entry::Occupied(earlier) if same_as(*earlier.get()) => {}
            Entry::Occupied(_) => self.collisions.push(row),
        }
    }

    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let first = self.rows.get(&hash).copied().filter(|row| is_it(*row));
        first.or_else(|| self.collisions.iter().copied().find(|row| is_it(*row)))
    }
}

impl Instance {
    /// Reads `shared-params.xml` of configuration version `version`.
    ///
    /// # Errors
    /// It does not follow the schema.
    pub fn read(xml: &[u8], version: u32) -> Result<Self, ParametersError> {
        Ok(Self::build(SharedParameters::read(xml, version)?, version, digest(xml)))
    }

    /// From parameters that never were a document.
    ///
    /// # Errors
    /// They cannot become one.
    pub fn new(parameters: SharedParameters, version: u32) -> Result<Self, ParametersError> {
        let digest = digest(&parameters.write(version)?);
        Ok(Self::build(parameters, version, digest))
    }

    fn build(parameters: SharedParameters, version: u32, digest: [u8; 32]) -> Self {
        let mut built = Self {
            name: parameters.instance,
            version,
            digest,
            ocsp_freshness: Duration::from_secs(parameters.ocsp_freshness_seconds),
            members: Vec::new(),
            clients: Vec::new(),
            client_index: Index::default(),
            lists: vec![ServerList::default()],
            servers: Vec::with_capacity(parameters.servers.len()),
            server_by_id: HashMap::new(),
            server_by_hash: HashMap::new(),
            approved_cas: parameters.approved_cas,
            cas: Vec::new(),
            cas_by_name: HashMap::new(),
            groups: HashMap::new(),
            tsas: parameters.approved_tsas,
            tsa_certs: Vec::new(),
            member_classes: parameters.member_classes,
            sources: parameters.sources,
            problems: Vec::new(),
        };
        built.take_members(parameters.members);
        built.take_servers(parameters.servers);
        built.take_groups(parameters.groups);
        built.read_cas();
        built.read_tsas();
        built
    }

    fn take_members(&mut self, members: Vec<shared::Member>) {
        let mut classes: HashMap<String, Arc<str>> = HashMap::new();
        self.members.reserve_exact(members.len());
        self.clients.reserve_exact(members.iter().map(|member| 1 + member.subsystems.len()).sum());
        for member in members {
            let MemberId { class, code, .. } = member.id;
            let number = row(self.members.len());
            let class = classes.entry(class).or_insert_with_key(|class| class.as_str().into()).clone();
            self.members.push(MemberRow { class, code: code.into(), name: member.name.into() });
            self.take_client(number, None, None);
            for (code, name) in member.subsystems {
                self.take_client(number, Some(code.into()), name.map(Into::into));
            }
        }
    }

    fn take_client(&mut self, member: u32, subsystem: Option<Box<str>>, name: Option<Box<str>>) {
        let (members, clients) = (&self.members, &self.clients);
        let added = ClientRow { member, list: 0, subsystem, name };
        let hash = self.client_index.hash(client_key(&members[index(member)], &added));
        self.client_index.insert(hash, row(clients.len()), |row| {
            let earlier = &clients[index(row)];
            client_key(&members[index(earlier.member)], earlier)
                == client_key(&members[index(member)], &added)
        });
        self.clients.push(added);
    }

    fn take_servers(&mut self, servers: Vec<shared::SecurityServer>) {
        // Who is on which server: pairs of client row and server, grouped by client afterwards.
        let mut pairs = Vec::new();
        for server in servers {
            let number = row(self.servers.len());
            let owner = ClientId { member: server.id.owner.clone(), subsystem: None };
            for client in std::iter::once(&owner).chain(&server.clients) {
                pairs.extend(self.client_row(client).map(|client| (client, number)));
            }
            for hash in server.auth_cert_hashes {
                self.server_by_hash.entry(hash).or_insert(number);
            }
            self.server_by_id.insert(server.id.clone(), number);
            let address = server.address.unwrap_or_default();
            self.servers.push(ProviderServer { id: server.id, address, maintenance: server.maintenance });
        }
        pairs.sort_unstable();
        pairs.dedup();
        let mut lists: HashMap<Vec<u32>, u32> = HashMap::new();
        for of_client in pairs.chunk_by(|a, b| a.0 == b.0) {
            let numbers: Vec<u32> = of_client.iter().map(|(_, server)| *server).collect();
            let list = match lists.get(&numbers) {
                Some(list) => *list,
                None => {
                    let list = row(self.lists.len());
                    self.lists.push(self.server_list(&numbers));
                    lists.insert(numbers, list);
                    list
                }
            };
            self.clients[index(of_client[0].0)].list = list;
        }
        self.lists.shrink_to_fit();
    }

    fn server_list(&self, numbers: &[u32]) -> ServerList {
        let providers = numbers.iter().map(|number| &self.servers[index(*number)]);
        let providers = providers.filter(|server| !server.address.is_empty()).cloned().collect();
        ServerList { numbers: numbers.into(), providers }
    }

    fn take_groups(&mut self, groups: Vec<GlobalGroup>) {
        for group in groups {
            let mut index = Index::default();
            for (number, member) in group.members.iter().enumerate() {
                let hash = index.hash(member);
                index.insert(hash, row(number), |row| group.members[self::index(row)] == *member);
            }
            let content = Group { description: group.description, members: group.members, index };
            self.groups.insert(group.id.code, content);
        }
    }

    fn read_cas(&mut self) {
        for approved in std::mem::take(&mut self.approved_cas) {
            for info in std::iter::once(&approved.top).chain(&approved.intermediates) {
                let Some(cert) = self.certificate(&info.cert, &approved.name) else { continue };
                let given = info.ocsp.iter().filter_map(|ocsp| ocsp.cert.as_deref());
                let responders = given.filter_map(|cert| self.certificate(cert, &approved.name)).collect();
                let name = cert.subject_name().canonical().to_owned();
                let ca = Arc::new(CaInfo {
                    cert,
                    instance: self.name.clone(),
                    profile: Profile::from_class_name(&approved.profile),
                    authentication_only: approved.authentication_only,
                    ocsp: info.ocsp.clone(),
                    responders,
                });
                self.cas.push(Arc::clone(&ca));
                self.cas_by_name.entry(name).or_default().push(ca);
            }
            self.approved_cas.push(approved);
        }
    }

    fn read_tsas(&mut self) {
        for tsa in std::mem::take(&mut self.tsas) {
            let cert = self.certificate(&tsa.cert, &tsa.name);
            self.tsa_certs.extend(cert);
            self.tsas.push(tsa);
        }
    }

    /// A certificate of the document; one that does not parse is noted and left out, so that it takes nobody else with it.
    fn certificate(&mut self, bytes: &[u8], of: &str) -> Option<Certificate> {
        Certificate::parse(bytes)
            .map_err(|error| self.problems.push(format!("a certificate of {of} in {}: {error}", self.name)))
            .ok()
    }

    /// Instance identifier.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Configuration version of the document.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// SHA-256 of the document.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// It was read from exactly this document.
    pub fn is_read_from(&self, xml: &[u8]) -> bool {
        self.digest == digest(xml)
    }

    /// Download locations of the next configuration (version 3 on).
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// What had to be left out, in words for the log.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// What authentication certificates are found by in this version.
    pub(super) fn auth_cert_digest(&self) -> DigestAlgorithm {
        if self.version == 2 { DigestAlgorithm::Sha1 } else { DigestAlgorithm::Sha256 }
    }

    fn client_row(&self, client: &ClientId) -> Option<u32> {
        let key = (&*client.member.class, &*client.member.code, client.subsystem.as_deref());
        self.client_index.find(self.client_index.hash(key), |row| {
            let row = &self.clients[index(row)];
            client_key(&self.members[index(row.member)], row) == key
        })
    }

    fn list(&self, client: &ClientId) -> &ServerList {
        let list = self.client_row(client).map_or(0, |row| self.clients[index(row)].list);
        &self.lists[index(list)]
    }

    pub(super) fn providers(&self, client: &ClientId) -> &[ProviderServer] {
        &self.list(client).providers
    }

    pub(super) fn server(&self, id: &ServerId) -> Option<&ProviderServer> {
        self.server_by_id.get(id).map(|number| &self.servers[index(*number)])
    }

    pub(super) fn server_by_auth_cert(&self, cert: &Certificate) -> Option<&ServerId> {
        let number = match self.auth_cert_digest() {
            DigestAlgorithm::Sha1 => self.server_by_hash.get(&cert.sha1()[..]),
            _ => self.server_by_hash.get(&cert.sha256()[..]),
        };
        number.map(|number| &self.servers[index(*number)].id)
    }

    pub(super) fn is_client_of(&self, client: &ClientId, server: &ServerId) -> bool {
        let number = self.server_by_id.get(server);
        number.is_some_and(|number| self.list(client).numbers.binary_search(number).is_ok())
    }

    /// By issuer name; among CAs of the same name the one whose key made the certificate.
    pub(super) fn ca_for(&self, cert: &Certificate) -> Option<&Arc<CaInfo>> {
        match self.cas_by_name.get(cert.issuer_name().canonical())?.as_slice() {
            [one] => Some(one),
            several => {
                several.iter().find(|ca| cert.verify_issued_by(&ca.cert).is_ok()).or_else(|| several.first())
            }
        }
    }

    pub(super) fn group(&self, code: &str) -> Option<(&str, &[ClientId])> {
        self.groups.get(code).map(|group| (group.description.as_str(), group.members.as_slice()))
    }

    pub(super) fn group_codes(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    pub(super) fn is_in_group(&self, client: &ClientId, code: &str) -> bool {
        let Some(group) = self.groups.get(code) else { return false };
        let hash = group.index.hash(client);
        group.index.find(hash, |row| group.members[index(row)] == *client).is_some()
    }

    pub(super) fn is_known(&self, client: &ClientId) -> bool {
        self.client_row(client).is_some()
    }

    /// Every member and subsystem in document order, with the member's name and the subsystem's.
    pub(super) fn clients(&self) -> impl Iterator<Item = (ClientId, &str, Option<&str>)> {
        self.clients.iter().map(|row| {
            let member = &self.members[index(row.member)];
            let id = MemberId {
                instance: self.name.clone(),
                class: member.class.as_ref().to_owned(),
                code: member.code.as_ref().to_owned(),
            };
            let subsystem = row.subsystem.as_deref().map(str::to_owned);
            (ClientId { member: id, subsystem }, &*member.name, row.name.as_deref())
        })
    }

    pub(super) fn servers(&self) -> &[ProviderServer] {
        &self.servers
    }
}

/// What a client is found by within its instance.
fn client_key<'r>(member: &'r MemberRow, client: &'r ClientRow) -> (&'r str, &'r str, Option<&'r str>) {
    (&member.class, &member.code, client.subsystem.as_deref())
}

/// A position as a row number: documents are bounded far below its range.
fn row(position: usize) -> u32 {
    u32::try_from(position).expect("a document has fewer than 2^32 elements")
}

fn index(row: u32) -> usize {
    usize::try_from(row).expect("a usize has at least 32 bits here")
}

/// SHA-256 of a document.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut value = [0; 32];
    value.copy_from_slice(&DigestAlgorithm::Sha256.digest(bytes).value);
    value
}
