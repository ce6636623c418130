//! Reading `shared-params.xml`, element by element in the order of the schemas, versions 2 to 6.

use std::collections::HashMap;

use super::{
    AcmeServer, ApprovedCa, ApprovedTsa, CaInfo, CostType, GlobalGroup, Member, OcspInfo, SecurityServer,
    SharedParameters, Source,
};
use crate::globalconf::check_version;
use crate::globalconf::reader::{DocumentError, Reader};
use crate::id::{ClientId, GlobalGroupId, MemberId, ServerId};

/// What an `id` stands for: a member, and a subsystem of it, by position.
type Ids = HashMap<String, (usize, Option<usize>)>;

pub(super) fn document(xml: &[u8], version: u32) -> Result<SharedParameters, DocumentError> {
    check_version(version)?;
    let mut opened = Reader::open(xml, "conf")?;
    let reader = &mut opened;
    let instance = reader.text("instanceIdentifier")?;
    let sources = if version >= 3 { sources(reader)? } else { Vec::new() };
    let mut found = SharedParameters { instance, sources, ..SharedParameters::default() };
    while reader.at("approvedCA")? {
        found.approved_cas.push(approved_ca(reader, version)?);
    }
    while reader.at("approvedTSA")? {
        found.approved_tsas.push(approved_tsa(reader, version)?);
    }
    let mut ids = Ids::new();
    while reader.at("member")? {
        let member = member(reader, version, &found.instance, found.members.len(), &mut ids)?;
        found.members.push(member);
    }
    while reader.at("securityServer")? {
        let server = server(reader, version, &found.members, &ids)?;
        found.servers.push(server);
    }
    drop(ids);
    while reader.at("globalGroup")? {
        let group = group(reader, &found.instance)?;
        found.groups.push(group);
    }
    // Central services are gone from the product and mean nothing.
    while reader.at("centralService")? {
        reader.skip()?;
    }
    reader.enter("globalSettings")?;
    while reader.at("memberClass")? {
        found.member_classes.push(member_class(reader)?);
    }
    found.ocsp_freshness_seconds = reader.seconds("ocspFreshnessSeconds")?;
    reader.leave()?;
    opened.close(version >= 3)?;
    Ok(found)
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

/// `position` is the member's place in the document, for the references of servers.
fn member(
    reader: &mut Reader<'_>,
    version: u32,
    instance: &str,
    position: usize,
    ids: &mut Ids,
) -> Result<Member, DocumentError> {
    let id = reader.enter("member")?;
    note_id(ids, id, (position, None))?;
    let (class, class_description) = member_class(reader)?;
    let code = reader.text("memberCode")?;
    let name = reader.text("name")?;
    let mut subsystems = Vec::new();
    while reader.at("subsystem")? {
        let id = reader.enter("subsystem")?;
        note_id(ids, id, (position, Some(subsystems.len())))?;
        let code = reader.text("subsystemCode")?;
        let name = if version >= 5 { reader.optional_text("subsystemName")? } else { None };
        reader.leave()?;
        subsystems.push((code, name));
    }
    reader.leave()?;
    let id = MemberId { instance: instance.to_owned(), class, code };
    Ok(Member { id, class_description, name, subsystems })
}

fn note_id(ids: &mut Ids, id: Option<String>, what: (usize, Option<usize>)) -> Result<(), DocumentError> {
    let Some(id) = id else { return Ok(()) };
    let id = id.trim().to_owned();
    if ids.contains_key(&id) {
        return Err(DocumentError::DuplicateId(id));
    }
    ids.insert(id, what);
    Ok(())
}

fn member_class(reader: &mut Reader<'_>) -> Result<(String, String), DocumentError> {
    reader.enter("memberClass")?;
    let found = (reader.text("code")?, reader.text("description")?);
    reader.leave()?;
    Ok(found)
}

fn server(
    reader: &mut Reader<'_>,
    version: u32,
    members: &[Member],
    ids: &Ids,
) -> Result<SecurityServer, DocumentError> {
    reader.enter("securityServer")?;
    let owner = reader.text("owner")?;
    let owner = match client_by_id(&owner, members, ids)? {
        ClientId { member, subsystem: None } => member,
        ClientId { subsystem: Some(_), .. } => return Err(DocumentError::UnknownId(owner)),
    };
    let code = reader.text("serverCode")?;
    let address = reader.optional_text("address")?;
    let auth_cert_hashes = reader.binaries("authCertHash")?;
    let mut clients = Vec::new();
    while reader.at("client")? {
        clients.push(client_by_id(&reader.text("client")?, members, ids)?);
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
    Ok(SecurityServer { id: ServerId { owner, code }, address, auth_cert_hashes, clients, maintenance })
}

fn client_by_id(id: &str, members: &[Member], ids: &Ids) -> Result<ClientId, DocumentError> {
    let unknown = || DocumentError::UnknownId(id.to_owned());
    let &(member, subsystem) = ids.get(id.trim()).ok_or_else(unknown)?;
    let member = members.get(member).ok_or_else(unknown)?;
    let subsystem = match subsystem {
        Some(position) => Some(member.subsystems.get(position).ok_or_else(unknown)?.0.clone()),
        None => None,
    };
    Ok(ClientId { member: member.id.clone(), subsystem })
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
