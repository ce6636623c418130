//! Reading `shared-params.xml`, element by element in the order of the schemas, versions 2 to 6.

use std::io::Read;

use super::ids::Ids;
use super::{
    AcmeServer, ApprovedCa, ApprovedTsa, CaInfo, CostType, GlobalGroup, ListedServer, Member, OcspInfo,
    Registry, SharedParameters, Source,
};
use crate::globalconf::check_version;
use crate::globalconf::reader::{DocumentError, Place, Reader};
use crate::globalconf::windows::Windows;
use crate::id::{GlobalGroupId, MemberId};

/// Reads a document by windows that begin with `window` bytes.
pub(super) fn document(
    input: &mut dyn Read,
    version: u32,
    registry: &mut dyn Registry,
    window: usize,
) -> Result<SharedParameters, DocumentError> {
    check_version(version)?;
    let mut reading =
        Reading { version, part: Part::Head, found: SharedParameters::default(), ids: Ids::default() };
    let mut windows = Windows::new(input, window)?;
    loop {
        let mut complete = None;
        let outcome =
            windows.reader("conf").and_then(|reader| reading.window(reader, registry, &mut complete));
        match outcome {
            Err(error @ (DocumentError::DuplicateId(_) | DocumentError::UnknownId(_))) => return Err(error),
            // Anything else may only mean that the window ends there.
            _ if !windows.is_last() => windows.next(complete)?,
            Err(error) => return Err(error),
            Ok(rest) => return Ok(rest.behind(reading.found)),
        }
    }
}

/// The part of a document that is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Head,
    Members,
    Servers,
    Groups,
}

/// What was read of a document until now.
struct Reading {
    version: u32,
    part: Part,
    found: SharedParameters,
    ids: Ids,
}

/// What follows the lists.
struct Rest {
    member_classes: Vec<(String, String)>,
    ocsp_freshness_seconds: u64,
}

impl Rest {
    fn behind(self, head: SharedParameters) -> SharedParameters {
        let Self { member_classes, ocsp_freshness_seconds } = self;
        SharedParameters { member_classes, ocsp_freshness_seconds, ..head }
    }
}

impl Reading {
    /// Goes on where the window before ended, through to the end of the document. After each child that is complete, `complete` says
    /// how far the window was read, and the child is not read again.
    fn window(
        &mut self,
        mut opened: Reader<'_>,
        registry: &mut dyn Registry,
        complete: &mut Option<Place>,
    ) -> Result<Rest, DocumentError> {
        let (reader, version) = (&mut opened, self.version);
        if self.part == Part::Head {
            self.found = head(reader, version)?;
            self.part = Part::Members;
            *complete = Some(reader.place());
        }
        while self.part == Part::Members && reader.at("member")? {
            let (member, ids) = member(reader, version, &self.found.instance)?;
            self.ids.take(&ids)?;
            registry.member(member);
            *complete = Some(reader.place());
        }
        self.part = self.part.max(Part::Servers);
        while self.part == Part::Servers && reader.at("securityServer")? {
            registry.server(server(reader, version, &self.ids)?);
            *complete = Some(reader.place());
        }
        self.part = Part::Groups;
        while reader.at("globalGroup")? {
            registry.group(group(reader, &self.found.instance)?);
            *complete = Some(reader.place());
        }
        // Central services are gone from the product and mean nothing.
        while reader.at("centralService")? {
            reader.skip()?;
        }
        let rest = rest(reader)?;
        opened.close(version >= 3)?;
        Ok(rest)
    }
}

/// All before the lists.
fn head(reader: &mut Reader<'_>, version: u32) -> Result<SharedParameters, DocumentError> {
    let instance = reader.text("instanceIdentifier")?;
    let sources = if version >= 3 { sources(reader)? } else { Vec::new() };
    let mut found = SharedParameters { instance, sources, ..SharedParameters::default() };
    while reader.at("approvedCA")? {
        found.approved_cas.push(approved_ca(reader, version)?);
    }
    while reader.at("approvedTSA")? {
        found.approved_tsas.push(approved_tsa(reader, version)?);
    }
    Ok(found)
}

fn rest(reader: &mut Reader<'_>) -> Result<Rest, DocumentError> {
    reader.enter("globalSettings")?;
    let mut member_classes = Vec::new();
    while reader.at("memberClass")? {
        member_classes.push(member_class(reader)?);
    }
    let ocsp_freshness_seconds = reader.seconds("ocspFreshnessSeconds")?;
    reader.leave()?;
    Ok(Rest { member_classes, ocsp_freshness_seconds })
}

fn sources(reader: &mut Reader<'_>) -> Result<Vec<Source>, DocumentError> {
    let mut found = Vec::new();
    while found.is_empty() || reader.at("source")? {
        reader.enter("source")?;
        found.push(Source {
            address: reader.text("address")?,
            internal_certs: reader.binaries("internalVerificationCert")?,
            external_certs: reader.binaries("externalVerificationCert")?,
        });
        reader.leave()?;
    }
    Ok(found)
}

fn approved_ca(reader: &mut Reader<'_>, version: u32) -> Result<ApprovedCa, DocumentError> {
    reader.enter("approvedCA")?;
    let name = reader.text("name")?;
    let authentication_only =
        if reader.at("authenticationOnly")? { reader.boolean("authenticationOnly")? } else { false };
    let top = ca_info(reader, "topCA", version)?;
    let mut intermediates = Vec::new();
    while reader.at("intermediateCA")? {
        intermediates.push(ca_info(reader, "intermediateCA", version)?);
    }
    let profile = reader.text("certificateProfileInfo")?;
    let default_csr_format = match version {
        6.. => reader.optional_text("defaultCsrFormat")?,
        _ => None,
    };
    if !matches!(default_csr_format.as_deref(), None | Some("PEM" | "DER")) {
        return Err(DocumentError::Value("defaultCsrFormat"));
    }
    let acme =
        if version >= 3 && reader.at("acmeServer")? { Some(acme_server(reader, version)?) } else { None };
    reader.leave()?;
    Ok(ApprovedCa { name, authentication_only, top, intermediates, profile, default_csr_format, acme })
}

fn acme_server(reader: &mut Reader<'_>, version: u32) -> Result<AcmeServer, DocumentError> {
    reader.enter("acmeServer")?;
    let mut found = AcmeServer {
        directory_url: reader.text("directoryURL")?,
        ip_address: reader.optional_text("ipAddress")?,
        ..AcmeServer::default()
    };
    if version >= 4 {
        found.authentication_profile = reader.optional_text("authenticationCertificateProfileId")?;
        found.signing_profile = reader.optional_text("signingCertificateProfileId")?;
    }
    reader.leave()?;
    Ok(found)
}

fn ca_info(reader: &mut Reader<'_>, name: &'static str, version: u32) -> Result<CaInfo, DocumentError> {
    reader.enter(name)?;
    let cert = reader.binary("cert")?;
    let mut ocsp = Vec::new();
    while reader.at("ocsp")? {
        reader.enter("ocsp")?;
        ocsp.push(OcspInfo {
            url: reader.text("url")?,
            cert: reader.optional_binary("cert")?,
            cost: cost(reader, version)?,
        });
        reader.leave()?;
    }
    reader.leave()?;
    Ok(CaInfo { cert, ocsp })
}

fn cost(reader: &mut Reader<'_>, version: u32) -> Result<CostType, DocumentError> {
    if version < 6 {
        return Ok(CostType::Undefined);
    }
    match reader.optional_text("costType")?.as_deref() {
        None | Some("UNDEFINED") => Ok(CostType::Undefined),
        Some("FREE") => Ok(CostType::Free),
        Some("PAID") => Ok(CostType::Paid),
        Some(_) => Err(DocumentError::Value("costType")),
    }
}

fn approved_tsa(reader: &mut Reader<'_>, version: u32) -> Result<ApprovedTsa, DocumentError> {
    reader.enter("approvedTSA")?;
    let found = ApprovedTsa {
        name: reader.text("name")?,
        url: reader.text("url")?,
        cert: reader.binary("cert")?,
        cost: cost(reader, version)?,
    };
    reader.leave()?;
    Ok(found)
}

/// A member, and the ids of it and its subsystems.
fn member(
    reader: &mut Reader<'_>,
    version: u32,
    instance: &str,
) -> Result<(Member, Vec<Option<String>>), DocumentError> {
    let mut ids = vec![reader.enter("member")?];
    let (class, class_description) = member_class(reader)?;
    let code = reader.text("memberCode")?;
    let name = reader.text("name")?;
    let mut subsystems = Vec::new();
    while reader.at("subsystem")? {
        ids.push(reader.enter("subsystem")?);
        let code = reader.text("subsystemCode")?;
        let name = if version >= 5 { reader.optional_text("subsystemName")? } else { None };
        reader.leave()?;
        subsystems.push((code, name));
    }
    reader.leave()?;
    let id = MemberId { instance: instance.to_owned(), class, code };
    Ok((Member { id, class_description, name, subsystems }, ids))
}

fn member_class(reader: &mut Reader<'_>) -> Result<(String, String), DocumentError> {
    reader.enter("memberClass")?;
    let found = (reader.text("code")?, reader.text("description")?);
    reader.leave()?;
    Ok(found)
}

fn server(reader: &mut Reader<'_>, version: u32, ids: &Ids) -> Result<ListedServer, DocumentError> {
    reader.enter("securityServer")?;
    let owner = ids.member(&reader.text("owner")?)?;
    let code = reader.text("serverCode")?;
    let address = reader.optional_text("address")?;
    let auth_cert_hashes = reader.binaries("authCertHash")?;
    let mut clients = Vec::new();
    while reader.at("client")? {
        clients.push(ids.client(&reader.text("client")?)?);
    }
    let maintenance = if version >= 5 && reader.at("inMaintenanceMode")? {
        reader.enter("inMaintenanceMode")?;
        let message = reader.optional_text("message")?;
        reader.leave()?;
        Some(message)
    } else {
        None
    };
    reader.leave()?;
    Ok(ListedServer { owner, code, address, auth_cert_hashes, clients, maintenance })
}

fn group(reader: &mut Reader<'_>, instance: &str) -> Result<GlobalGroup, DocumentError> {
    reader.enter("globalGroup")?;
    let id = GlobalGroupId { instance: instance.to_owned(), code: reader.text("groupCode")? };
    let description = reader.text("description")?;
    let mut members = Vec::new();
    while reader.at("groupMember")? {
        members.push(reader.client_id("groupMember")?);
    }
    reader.leave()?;
    Ok(GlobalGroup { id, description, members })
}
