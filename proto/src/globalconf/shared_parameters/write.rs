//! Writing `shared-params.xml`: each version gets the elements it has, in the order its schema demands.

use std::collections::HashMap;

use super::{AcmeServer, ApprovedCa, CaInfo, CostType, Member, SecurityServer, SharedParameters};
use crate::globalconf::check_version;
use crate::globalconf::reader::DocumentError;
use crate::globalconf::writer::Writer;
use crate::id::{ClientId, MemberId};

/// The number in the `id` of every member and subsystem.
type Ids<'a> = HashMap<(&'a MemberId, Option<&'a str>), usize>;

pub(super) fn document(shared: &SharedParameters, version: u32) -> Result<Vec<u8>, DocumentError> {
    check_version(version)?;
    let mut document = Writer::new("conf");
    let writer = &mut document;
    writer.text("instanceIdentifier", &shared.instance)?;
    if version >= 3 {
        sources(writer, shared)?;
    }
    for ca in &shared.approved_cas {
        approved_ca(writer, ca, version)?;
    }
    for tsa in &shared.approved_tsas {
        writer.enter("approvedTSA");
        writer.text("name", &tsa.name)?;
        writer.text("url", &tsa.url)?;
        writer.binary("cert", &tsa.cert);
        cost(writer, tsa.cost, version)?;
        writer.leave();
    }
    let mut ids = Ids::new();
    for each in &shared.members {
        member(writer, each, version, &mut ids)?;
    }
    for each in &shared.servers {
        server(writer, each, version, &ids)?;
    }
    for group in &shared.groups {
        writer.enter("globalGroup");
        writer.text("groupCode", &group.id.code)?;
        writer.text("description", &group.description)?;
        for member in &group.members {
            writer.client_id("groupMember", member)?;
        }
        writer.leave();
    }
    writer.enter("globalSettings");
    for (code, description) in &shared.member_classes {
        member_class(writer, code, description)?;
    }
    writer.text("ocspFreshnessSeconds", &shared.ocsp_freshness_seconds.to_string())?;
    writer.leave();
    Ok(document.finish())
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

fn approved_ca(writer: &mut Writer, ca: &ApprovedCa, version: u32) -> Result<(), DocumentError> {
    writer.enter("approvedCA");
    writer.text("name", &ca.name)?;
    writer.text("authenticationOnly", if ca.authentication_only { "true" } else { "false" })?;
    ca_info(writer, "topCA", &ca.top, version)?;
    for each in &ca.intermediates {
        ca_info(writer, "intermediateCA", each, version)?;
    }
    writer.text("certificateProfileInfo", &ca.profile)?;
    if version >= 6 {
        writer.optional_text("defaultCsrFormat", ca.default_csr_format.as_deref())?;
    }
    if let (3.., Some(acme)) = (version, &ca.acme) {
        acme_server(writer, acme, version)?;
    }
    writer.leave();
    Ok(())
}

fn acme_server(writer: &mut Writer, acme: &AcmeServer, version: u32) -> Result<(), DocumentError> {
    writer.enter("acmeServer");
    writer.text("directoryURL", &acme.directory_url)?;
    writer.optional_text("ipAddress", acme.ip_address.as_deref())?;
    if version >= 4 {
        writer.optional_text("authenticationCertificateProfileId", acme.authentication_profile.as_deref())?;
        writer.optional_text("signingCertificateProfileId", acme.signing_profile.as_deref())?;
    }
    writer.leave();
    Ok(())
}

fn ca_info(
    writer: &mut Writer,
    name: &'static str,
    info: &CaInfo,
    version: u32,
) -> Result<(), DocumentError> {
    writer.enter(name);
    writer.binary("cert", &info.cert);
    for ocsp in &info.ocsp {
        writer.enter("ocsp");
        writer.text("url", &ocsp.url)?;
        if let Some(cert) = &ocsp.cert {
            writer.binary("cert", cert);
        }
        cost(writer, ocsp.cost, version)?;
        writer.leave();
    }
    writer.leave();
    Ok(())
}

fn cost(writer: &mut Writer, cost: CostType, version: u32) -> Result<(), DocumentError> {
    if version < 6 {
        return Ok(());
    }
    let text = match cost {
        CostType::Free => "FREE",
        CostType::Paid => "PAID",
        CostType::Undefined => "UNDEFINED",
    };
    writer.text("costType", text)
}

fn member<'a>(
    writer: &mut Writer,
    member: &'a Member,
    version: u32,
    ids: &mut Ids<'a>,
) -> Result<(), DocumentError> {
    writer.enter_with_id("member", note(ids, &member.id, None));
    member_class(writer, &member.id.class, &member.class_description)?;
    writer.text("memberCode", &member.id.code)?;
    writer.text("name", &member.name)?;
    for (code, name) in &member.subsystems {
        writer.enter_with_id("subsystem", note(ids, &member.id, Some(code)));
        writer.text("subsystemCode", code)?;
        if version >= 5 {
            writer.optional_text("subsystemName", name.as_deref())?;
        }
        writer.leave();
    }
    writer.leave();
    Ok(())
}

fn note<'a>(ids: &mut Ids<'a>, member: &'a MemberId, subsystem: Option<&'a str>) -> usize {
    let number = ids.len();
    ids.insert((member, subsystem), number);
    number
}

fn member_class(writer: &mut Writer, code: &str, description: &str) -> Result<(), DocumentError> {
    writer.enter("memberClass");
    writer.text("code", code)?;
    writer.text("description", description)?;
    writer.leave();
    Ok(())
}

fn server(
    writer: &mut Writer,
    server: &SecurityServer,
    version: u32,
    ids: &Ids<'_>,
) -> Result<(), DocumentError> {
    let reference = |member, subsystem: Option<&str>| match ids.get(&(member, subsystem)) {
        Some(number) => Ok(format!("id{number}")),
        None => {
            let client = ClientId { member: member.clone(), subsystem: subsystem.map(str::to_owned) };
            Err(DocumentError::UnknownId(format!("{client:?}")))
        }
    };
    writer.enter("securityServer");
    writer.text("owner", &reference(&server.id.owner, None)?)?;
    writer.text("serverCode", &server.id.code)?;
    writer.optional_text("address", server.address.as_deref())?;
    for hash in &server.auth_cert_hashes {
        writer.binary("authCertHash", hash);
    }
    for client in &server.clients {
        writer.text("client", &reference(&client.member, client.subsystem.as_deref())?)?;
    }
    match &server.maintenance {
        Some(Some(message)) if version >= 5 => {
            writer.enter("inMaintenanceMode");
            writer.text("message", message)?;
            writer.leave();
        }
        Some(None) if version >= 5 => writer.empty("inMaintenanceMode"),
        Some(_) | None => {}
    }
    writer.leave();
    Ok(())
}
