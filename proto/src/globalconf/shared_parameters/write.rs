//! Writing `shared-params.xml`: each version gets the elements it has, in the order its schema demands.
//!
//! A document is written child by child ([`Document`]), so that a large one need never be in memory as a whole. Versions differ little:
//! every decision that depends on the version goes through [`Document::since`], which notes the versions that would decide alike, so
//! that who publishes several writes each text once.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::{AcmeServer, ApprovedCa, CaInfo, ClientNumber, CostType, ListedServer, SharedParameters};
use crate::globalconf::reader::DocumentError;
use crate::globalconf::writer::Writer;
use crate::globalconf::{MAX_VERSION, MIN_VERSION, ParametersError, check_version};
use crate::id::{ClientId, MemberId};

/// The number of every member and subsystem.
type Numbers<'a> = HashMap<(&'a MemberId, Option<&'a str>), ClientNumber>;

/// A document that is being written: what stands before the lists, then members, servers and groups, in this order.
///
/// Text gathers in [`Self::text`], from where it may be taken at any time.
pub struct Document {
    writer: Writer,
    version: u32,
    /// Versions that have the same text until now.
    same: RangeInclusive<u32>,
    /// Members and subsystems until now.
    numbered: ClientNumber,
    member_classes: Vec<(String, String)>,
    ocsp_freshness_seconds: u64,
}

/// The end of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What was not taken yet.
    pub text: String,
    /// Versions of which the whole document has these bytes, the one that was asked for among them.
    pub versions: RangeInclusive<u32>,
}

pub(super) fn document(shared: &SharedParameters, version: u32) -> Result<Vec<u8>, ParametersError> {
    let mut document = Document::begin(shared, version)?;
    let mut numbers = Numbers::new();
    for each in &shared.members {
        let names = each.subsystems.iter().map(|(code, name)| (code.as_str(), name.as_deref()));
        let mut number = document.member(&each.id, &each.class_description, &each.name, names)?;
        numbers.insert((&each.id, None), number);
        for (code, _) in &each.subsystems {
            number += 1;
            numbers.insert((&each.id, Some(code)), number);
        }
    }
    let number = |member, subsystem: Option<&str>| match numbers.get(&(member, subsystem)) {
        Some(number) => Ok(*number),
        None => {
            let client = ClientId { member: member.clone(), subsystem: subsystem.map(str::to_owned) };
            Err(DocumentError::UnknownId(format!("{client:?}")))
        }
    };
    for each in &shared.servers {
        let clients = each.clients.iter().map(|client| number(&client.member, client.subsystem.as_deref()));
        document.server(&ListedServer {
            owner: number(&each.id.owner, None)?,
            code: each.id.code.clone(),
            address: each.address.clone(),
            auth_cert_hashes: each.auth_cert_hashes.clone(),
            clients: clients.collect::<Result<_, _>>()?,
            maintenance: each.maintenance.clone(),
        })?;
    }
    for group in &shared.groups {
        document.group(&group.id.code, &group.description, &group.members)?;
    }
    Ok(document.finish()?.text.into_bytes())
}

impl Document {
    /// Begins with all of `shared` that stands before the lists; what is in its lists is not written.
    ///
    /// # Errors
    /// A version that there is not, or a text that XML cannot carry.
    pub fn begin(shared: &SharedParameters, version: u32) -> Result<Self, ParametersError> {
        check_version(version)?;
        let mut document = Self {
            writer: Writer::new("conf"),
            version,
            same: MIN_VERSION..=MAX_VERSION,
            numbered: 0,
            member_classes: shared.member_classes.clone(),
            ocsp_freshness_seconds: shared.ocsp_freshness_seconds,
        };
        document.head(shared)?;
        Ok(document)
    }

    /// The next member with code and name of each subsystem; gives its number, and its subsystems have the numbers that follow.
    ///
    /// # Errors
    /// A text that XML cannot carry.
    pub fn member<'s>(
        &mut self,
        id: &MemberId,
        class_description: &str,
        name: &str,
        subsystems: impl IntoIterator<Item = (&'s str, Option<&'s str>)>,
    ) -> Result<ClientNumber, ParametersError> {
        let number = self.number();
        self.writer.enter_with_id("member", number);
        member_class(&mut self.writer, &id.class, class_description)?;
        self.writer.text("memberCode", &id.code)?;
        self.writer.text("name", name)?;
        for (code, name) in subsystems {
            let number = self.number();
            self.writer.enter_with_id("subsystem", number);
            self.writer.text("subsystemCode", code)?;
            if let Some(name) = name.filter(|_| self.since(5)) {
                self.writer.text("subsystemName", name)?;
            }
            self.writer.leave();
        }
        self.writer.leave();
        Ok(number)
    }

    /// The next server, after all members. The digests of its certificates are those of this version.
    ///
    /// # Errors
    /// A number that nobody has, or a text that XML cannot carry.
    pub fn server(&mut self, server: &ListedServer) -> Result<(), ParametersError> {
        self.writer.enter("securityServer");
        self.reference("owner", server.owner)?;
        self.writer.text("serverCode", &server.code)?;
        self.writer.optional_text("address", server.address.as_deref())?;
        for hash in &server.auth_cert_hashes {
            // Of another algorithm in version 2.
            self.since(3);
            self.writer.binary("authCertHash", hash);
        }
        for client in &server.clients {
            self.reference("client", *client)?;
        }
        match server.maintenance.as_ref().filter(|_| self.since(5)) {
            Some(Some(message)) => {
                self.writer.enter("inMaintenanceMode");
                self.writer.text("message", message)?;
                self.writer.leave();
            }
            Some(None) => self.writer.empty("inMaintenanceMode"),
            None => {}
        }
        self.writer.leave();
        Ok(())
    }

    /// The next group, after all servers.
    ///
    /// # Errors
    /// A text that XML cannot carry.
    pub fn group<'m>(
        &mut self,
        code: &str,
        description: &str,
        members: impl IntoIterator<Item = &'m ClientId>,
    ) -> Result<(), ParametersError> {
        self.writer.enter("globalGroup");
        self.writer.text("groupCode", code)?;
        self.writer.text("description", description)?;
        for member in members {
            self.writer.client_id("groupMember", member)?;
        }
        self.writer.leave();
        Ok(())
    }

    /// What was written; whoever takes of it takes all.
    pub fn text(&mut self) -> &mut String {
        self.writer.out()
    }

    /// What stands behind the lists.
    ///
    /// # Errors
    /// A text that XML cannot carry.
    pub fn finish(mut self) -> Result<Written, ParametersError> {
        let writer = &mut self.writer;
        writer.enter("globalSettings");
        for (code, description) in &self.member_classes {
            member_class(writer, code, description)?;
        }
        writer.text("ocspFreshnessSeconds", &self.ocsp_freshness_seconds.to_string())?;
        writer.leave();
        Ok(Written { text: self.writer.finish(), versions: self.same })
    }

    /// Whether this version has what there is from version `first` on. To be asked only where it makes a difference.
    fn since(&mut self, first: u32) -> bool {
        let (from, to) = (*self.same.start(), *self.same.end());
        let has = self.version >= first;
        self.same = if has { from.max(first)..=to } else { from..=to.min(first - 1) };
        has
    }

    fn number(&mut self) -> ClientNumber {
        self.numbered += 1;
        self.numbered - 1
    }

    fn reference(&mut self, name: &'static str, client: ClientNumber) -> Result<(), DocumentError> {
        if client >= self.numbered {
            return Err(DocumentError::UnknownId(format!("id{client}")));
        }
        self.writer.reference(name, client);
        Ok(())
    }

    fn head(&mut self, shared: &SharedParameters) -> Result<(), DocumentError> {
        self.writer.text("instanceIdentifier", &shared.instance)?;
        if self.since(3) {
            sources(&mut self.writer, shared)?;
        }
        shared.approved_cas.iter().try_for_each(|ca| self.approved_ca(ca))?;
        for tsa in &shared.approved_tsas {
            self.writer.enter("approvedTSA");
            self.writer.text("name", &tsa.name)?;
            self.writer.text("url", &tsa.url)?;
            self.writer.binary("cert", &tsa.cert);
            self.cost(tsa.cost)?;
            self.writer.leave();
        }
        Ok(())
    }

    fn approved_ca(&mut self, ca: &ApprovedCa) -> Result<(), DocumentError> {
        self.writer.enter("approvedCA");
        self.writer.text("name", &ca.name)?;
        self.writer.text("authenticationOnly", if ca.authentication_only { "true" } else { "false" })?;
        self.ca_info("topCA", &ca.top)?;
        for each in &ca.intermediates {
            self.ca_info("intermediateCA", each)?;
        }
        self.writer.text("certificateProfileInfo", &ca.profile)?;
        if let Some(format) = ca.default_csr_format.as_deref().filter(|_| self.since(6)) {
            self.writer.text("defaultCsrFormat", format)?;
        }
        if let Some(acme) = ca.acme.as_ref().filter(|_| self.since(3)) {
            self.acme_server(acme)?;
        }
        self.writer.leave();
        Ok(())
    }

    fn acme_server(&mut self, acme: &AcmeServer) -> Result<(), DocumentError> {
        self.writer.enter("acmeServer");
        self.writer.text("directoryURL", &acme.directory_url)?;
        self.writer.optional_text("ipAddress", acme.ip_address.as_deref())?;
        for (name, profile) in [
            ("authenticationCertificateProfileId", &acme.authentication_profile),
            ("signingCertificateProfileId", &acme.signing_profile),
        ] {
            if let Some(profile) = profile.as_deref().filter(|_| self.since(4)) {
                self.writer.text(name, profile)?;
            }
        }
        self.writer.leave();
        Ok(())
    }

    fn ca_info(&mut self, name: &'static str, info: &CaInfo) -> Result<(), DocumentError> {
        self.writer.enter(name);
        self.writer.binary("cert", &info.cert);
        for ocsp in &info.ocsp {
            self.writer.enter("ocsp");
            self.writer.text("url", &ocsp.url)?;
            if let Some(cert) = &ocsp.cert {
                self.writer.binary("cert", cert);
            }
            self.cost(ocsp.cost)?;
            self.writer.leave();
        }
        self.writer.leave();
        Ok(())
    }

    fn cost(&mut self, cost: CostType) -> Result<(), DocumentError> {
        if !self.since(6) {
            return Ok(());
        }
        let text = match cost {
            CostType::Free => "FREE",
            CostType::Paid => "PAID",
            CostType::Undefined => "UNDEFINED",
        };
        self.writer.text("costType", text)
    }
}

fn sources(writer: &mut Writer, shared: &SharedParameters) -> Result<(), DocumentError> {
    if shared.sources.is_empty() {
        return Err(DocumentError::Missing("source"));
    }
    for source in &shared.sources {
        writer.enter("source");
        writer.text("address", &source.address)?;
        for cert in &source.internal_certs {
            writer.binary("internalVerificationCert", cert);
        }
        for cert in &source.external_certs {
            writer.binary("externalVerificationCert", cert);
        }
        writer.leave();
    }
    Ok(())
}

fn member_class(writer: &mut Writer, code: &str, description: &str) -> Result<(), DocumentError> {
    writer.enter("memberClass");
    writer.text("code", code)?;
    writer.text("description", description)?;
    writer.leave();
    Ok(())
}
