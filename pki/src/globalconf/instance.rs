//! One instance of the global configuration in compact form: what its shared parameters say, behind hash indexes.
//!
//! Built once from a document of up to a hundred thousand members and never changed, so that snapshots share it as long as the
//! document stays the same. Identifiers are kept once, in rows whose texts stand in one allocation ([`compact`]); an [`Index`] finds
//! rows by hash and holds no keys of its own. The servers of a client are a list shared by all clients with the same servers. There is
//! little to free in it, so that dropping a snapshot is cheap. [`build`] makes it from the document as it is read.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use proto::globalconf::ParametersError;
use proto::globalconf::shared_parameters::{ApprovedCa, ApprovedTsa, SharedParameters, Source};
use proto::id::{ClientId, MemberId, ServerId};

use self::compact::{Index, Text, Texts, index};
use super::{CaInfo, ProviderServer};
use crate::cert::Certificate;
use crate::digest::{DigestAlgorithm, DigestValue, Hasher};
use crate::profile::Profile;

mod build;
mod compact;

/// Everything that one `shared-params.xml` says.
#[derive(Debug)]
pub struct Instance {
    name: String,
    version: u32,
    digest: [u8; 32],
    pub(super) ocsp_freshness: Duration,
    listed: Listed,
    pub(super) approved_cas: Vec<ApprovedCa>,
    pub(super) cas: Vec<Arc<CaInfo>>,
    cas_by_name: HashMap<String, Vec<Arc<CaInfo>>>,
    pub(super) tsas: Vec<ApprovedTsa>,
    pub(super) tsa_certs: Vec<Certificate>,
    pub(super) member_classes: Vec<(String, String)>,
    sources: Vec<Source>,
    problems: Vec<String>,
}

/// Members, servers and groups.
#[derive(Debug)]
struct Listed {
    texts: Texts,
    members: Box<[MemberRow]>,
    clients: Box<[ClientRow]>,
    client_index: Index,
    lists: Box<[ServerList]>,
    /// Of all lists, one after the other.
    numbers: Box<[u32]>,
    /// Of all lists, one after the other.
    providers: Box<[Arc<ProviderServer>]>,
    servers: Box<[Arc<ProviderServer>]>,
    server_index: Index,
    server_by_hash: HashMap<Vec<u8>, u32>,
    groups: HashMap<String, Group>,
}

#[derive(Debug)]
struct MemberRow {
    class: Text,
    code: Text,
    name: Text,
}

#[derive(Debug)]
struct ClientRow {
    member: u32,
    list: u32,
    subsystem: Text,
    name: Text,
}

/// Servers where a client is the owner or a client: where their numbers begin and end, and in full those with an address.
#[derive(Debug, Default)]
struct ServerList {
    numbers: [u32; 2],
    providers: [u32; 2],
}

impl ServerList {
    fn of<'n>(&self, numbers: &'n [u32]) -> &'n [u32] {
        &numbers[index(self.numbers[0])..index(self.numbers[1])]
    }
}

#[derive(Debug)]
struct Group {
    description: String,
    members: Box<[GroupRow]>,
    index: Index,
}

#[derive(Debug)]
struct GroupRow {
    instance: Text,
    class: Text,
    code: Text,
    subsystem: Text,
}

impl Instance {
    /// Reads `shared-params.xml` of configuration version `version`.
    ///
    /// # Errors
    /// It does not follow the schema.
    pub fn read(mut xml: &[u8], version: u32) -> Result<Self, ParametersError> {
        Self::read_from(&mut xml, version)
    }

    /// As [`Self::read`], from wherever the document lies; it is never in memory as a whole.
    ///
    /// # Errors
    /// As [`Self::read`], or `xml` cannot be read.
    pub fn read_from(xml: &mut dyn Read, version: u32) -> Result<Self, ParametersError> {
        let mut reading = build::Reading::default();
        let mut hashed = Hashed { input: xml, hasher: DigestAlgorithm::Sha256.hasher() };
        let parameters = SharedParameters::read_into(&mut hashed, version, &mut reading)?;
        let mut built = Self {
            name: parameters.instance,
            version,
            digest: sha256(hashed.hasher.finish()),
            ocsp_freshness: Duration::from_secs(parameters.ocsp_freshness_seconds),
            listed: reading.finish(),
            approved_cas: parameters.approved_cas,
            cas: Vec::new(),
            cas_by_name: HashMap::new(),
            tsas: parameters.approved_tsas,
            tsa_certs: Vec::new(),
            member_classes: parameters.member_classes,
            sources: parameters.sources,
            problems: Vec::new(),
        };
        built.read_cas();
        built.read_tsas();
        Ok(built)
    }

    /// From parameters that never were a document: what the one that they make says.
    ///
    /// # Errors
    /// They cannot become one.
    pub fn new(parameters: SharedParameters, version: u32) -> Result<Self, ParametersError> {
        Self::read(&parameters.write(version)?, version)
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

    fn client_row(&self, client: &ClientId) -> Option<&ClientRow> {
        let key = (client.member.class.as_str(), client.member.code.as_str(), client.subsystem.as_deref());
        let Listed { texts, members, clients, client_index, .. } = &self.listed;
        let found = client_index.find(key, |row| client_key(texts, members, &clients[index(row)]) == key);
        found.map(|row| &clients[index(row)])
    }

    /// The first list is empty, for clients on no server and for those that nobody knows.
    fn list(&self, client: &ClientId) -> &ServerList {
        &self.listed.lists[self.client_row(client).map_or(0, |row| index(row.list))]
    }

    pub(super) fn providers(&self, client: &ClientId) -> &[Arc<ProviderServer>] {
        let [start, end] = self.list(client).providers;
        &self.listed.providers[index(start)..index(end)]
    }

    fn server_number(&self, id: &ServerId) -> Option<u32> {
        self.listed.server_index.find(id, |row| self.listed.servers[index(row)].id == *id)
    }

    pub(super) fn server(&self, id: &ServerId) -> Option<&ProviderServer> {
        self.server_number(id).map(|number| &*self.listed.servers[index(number)])
    }

    pub(super) fn server_by_auth_cert(&self, cert: &Certificate) -> Option<&ServerId> {
        let number = match self.auth_cert_digest() {
            DigestAlgorithm::Sha1 => self.listed.server_by_hash.get(&cert.sha1()[..]),
            _ => self.listed.server_by_hash.get(&cert.sha256()[..]),
        };
        number.map(|number| &self.listed.servers[index(*number)].id)
    }

    pub(super) fn is_client_of(&self, client: &ClientId, server: &ServerId) -> bool {
        let on = self.list(client).of(&self.listed.numbers);
        self.server_number(server).is_some_and(|number| on.binary_search(&number).is_ok())
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

    /// Description and members of a group.
    pub(super) fn group(&self, code: &str) -> Option<(&str, impl Iterator<Item = ClientId>)> {
        let group = self.listed.groups.get(code)?;
        let client = |row| {
            let (instance, class, code, subsystem) = group_key(&self.listed.texts, row);
            ClientId { member: MemberId::new(instance, class, code), subsystem: subsystem.map(Into::into) }
        };
        Some((group.description.as_str(), group.members.iter().map(client)))
    }

    pub(super) fn group_codes(&self) -> impl Iterator<Item = &str> {
        self.listed.groups.keys().map(String::as_str)
    }

    pub(super) fn is_in_group(&self, client: &ClientId, code: &str) -> bool {
        let Some(group) = self.listed.groups.get(code) else { return false };
        let ClientId { member: MemberId { instance, class, code }, subsystem } = client;
        let key = (instance.as_str(), class.as_str(), code.as_str(), subsystem.as_deref());
        let is_it = |row| group_key(&self.listed.texts, &group.members[index(row)]) == key;
        group.index.find(key, is_it).is_some()
    }

    pub(super) fn is_known(&self, client: &ClientId) -> bool {
        self.client_row(client).is_some()
    }

    /// Every member and subsystem in document order, with the member's name and the subsystem's.
    pub(super) fn clients(&self) -> impl Iterator<Item = (ClientId, &str, Option<&str>)> {
        let Listed { texts, members, clients, .. } = &self.listed;
        clients.iter().map(|row| {
            let member = &members[index(row.member)];
            let id = MemberId::new(self.name.as_str(), texts.known(member.class), texts.known(member.code));
            let subsystem = texts.get(row.subsystem).map(Into::into);
            (ClientId { member: id, subsystem }, texts.known(member.name), texts.get(row.name))
        })
    }

    pub(super) fn servers(&self) -> &[Arc<ProviderServer>] {
        &self.listed.servers
    }

    /// Memory that members, clients, servers and groups take, as far as it grows with their number.
    pub fn heap_bytes(&self) -> usize {
        let Listed { texts, members, clients, lists, numbers, providers, servers, groups, .. } = &self.listed;
        let of_server = |server: &Arc<ProviderServer>| {
            let codes: usize = server.id.owner.codes().map(str::len).sum();
            size_of::<ProviderServer>() + codes + server.id.code.len() + server.address.len()
        };
        let of_group = |group: &Group| size_of_val(&*group.members) + group.index.heap_bytes();
        let by_hash =
            self.listed.server_by_hash.keys().map(|hash| hash.len() + 2 * size_of::<(Vec<u8>, u32)>());
        texts.heap_bytes()
            + size_of_val(&**members)
            + size_of_val(&**clients)
            + size_of_val(&**lists)
            + size_of_val(&**numbers)
            + size_of_val(&**providers)
            + size_of_val(&**servers)
            + servers.iter().map(of_server).sum::<usize>()
            + by_hash.sum::<usize>()
            + self.listed.client_index.heap_bytes()
            + self.listed.server_index.heap_bytes()
            + groups.values().map(of_group).sum::<usize>()
    }
}

/// What a client is found by within its instance: class, code, subsystem.
fn client_key<'r>(
    texts: &'r Texts,
    members: &[MemberRow],
    client: &ClientRow,
) -> (&'r str, &'r str, Option<&'r str>) {
    let member = &members[index(client.member)];
    (texts.known(member.class), texts.known(member.code), texts.get(client.subsystem))
}

/// What a client is found by within a group, which may have members of other instances.
fn group_key<'r>(texts: &'r Texts, row: &GroupRow) -> (&'r str, &'r str, &'r str, Option<&'r str>) {
    (texts.known(row.instance), texts.known(row.class), texts.known(row.code), texts.get(row.subsystem))
}

/// A document that is hashed as it is read.
struct Hashed<'r> {
    input: &'r mut dyn Read,
    hasher: Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(room)?;
        self.hasher.update(&room[..read]);
        Ok(read)
    }
}

fn sha256(digest: DigestValue) -> [u8; 32] {
    digest.value.try_into().expect("a SHA-256 value has 32 bytes")
}
