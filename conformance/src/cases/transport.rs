//! What is seen from outside of PR-MESSTRANSP and of the message log: evidence, and what verifies it (UG-SS 11.1, DM-ML).

use std::io::{Cursor, Read};

use crate::case::{Body, CALL, Case, Holds::*, Outcome, SOAP_CALL};
use crate::run::status_line;

const REST: Case = Case {
    document: "PR-MESSTRANSP",
    clause: "4",
    headers: &["X-Road-Client: {client}", "X-Road-Id: {id}"],
    ..CALL
};
const ASIC: Case = Case { document: "UG-SS", clause: "11.1", headers: &[], ..CALL };

/// See the module.
pub(super) const CASES: &[Case] = &[
    Case {
        title: "a REST exchange leaves a signed request and a signed answer",
        line: "POST {rest}/evidence",
        body: Body::Text("the evidence"),
        holds: &[Status(&[200]), Check(evidence)],
        ..REST
    },
    Case {
        document: "PR-MESSTRANSP",
        clause: "4",
        title: "a SOAP exchange leaves the very bytes that were sent",
        holds: &[NoFault, Check(soap_evidence)],
        ..SOAP_CALL
    },
    Case {
        clause: "5",
        title: "a container has a signature and a timestamp",
        holds: &[Status(&[200]), Check(whole_container)],
        ..REST
    },
    Case {
        title: "an exchange that failed at the provider leaves its request",
        line: "GET {r1}/no-such-service",
        holds: &[Status(&[500]), Check(request_alone)],
        ..REST
    },
    Case {
        title: "evidence is handed out as a ZIP of containers",
        line: "GET /asic?queryId=no-such-id{client-query}",
        holds: &[Status(&[404])],
        ..ASIC
    },
    Case {
        title: "evidence is not handed out without an id",
        line: "GET /asic?x=1{client-query}",
        holds: &[Status(&[400])],
        ..ASIC
    },
    Case {
        title: "evidence is not handed out for contradictory wishes",
        line: "GET /asic?queryId=1&requestOnly&responseOnly{client-query}",
        holds: &[Status(&[400])],
        ..ASIC
    },
    Case {
        title: "evidence of an unknown client is not handed out",
        line: "GET /asic?queryId=1&xRoadInstance={instance}&memberClass=NO&memberCode=SUCH",
        holds: &[Status(&[401, 404])],
        ..ASIC
    },
    Case {
        title: "what verifies evidence is handed out",
        line: "GET /verificationconf",
        holds: &[Status(&[200]), Got("Content-Type", "application/zip"), Check(verification_conf)],
        ..ASIC
    },
];

/// The bytes of an entry of a ZIP.
pub(super) fn entry(zip: &[u8], name: &str) -> Result<Vec<u8>, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).map_err(|error| format!("no ZIP: {error}"))?;
    let mut entry = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    Ok(bytes)
}

fn names(zip: &[u8]) -> Result<Vec<String>, String> {
    let archive = zip::ZipArchive::new(Cursor::new(zip)).map_err(|error| format!("no ZIP: {error}"))?;
    Ok(archive.file_names().flatten().map(|name| name.into_owned()).collect())
}

fn container(outcome: &Outcome<'_>, which: &str) -> Result<Vec<u8>, String> {
    let line = format!("GET /asic?queryId={{id}}{{client-query}}&{which}&unique&force");
    let answer = (outcome.ask)(&line, &[])?;
    if answer.status() == 200 { Ok(answer.body) } else { Err(format!("{which}: {}", status_line(&answer))) }
}

/// Request and answer with their bodies, and in the ZIP that holds both.
fn evidence(outcome: &Outcome<'_>) -> Result<(), String> {
    let request = container(outcome, "requestOnly")?;
    let signed = String::from_utf8_lossy(&entry(&request, "message.xml")?).into_owned();
    let line = (outcome.fill)("POST\r\n{rest}/evidence\r\n");
    if !signed.starts_with(&line) {
        return Err(format!("the signed request begins {:?}", signed.chars().take(80).collect::<String>()));
    }
    if entry(&request, "attachment1").or_else(|_| entry(&request, "-attachment1"))? != outcome.sent {
        return Err("the request's body in the container is another".to_owned());
    }
    let answer = container(outcome, "responseOnly")?;
    if !entry(&answer, "message.xml")?.starts_with(b"200\r\n") {
        return Err("the signed answer does not begin with its status".to_owned());
    }
    let both = (outcome.ask)("GET /asic?queryId={id}{client-query}&force", &[])?;
    let inside = names(&both.body)?;
    if inside.len() == 2 { Ok(()) } else { Err(format!("the ZIP holds {inside:?}")) }
}

fn soap_evidence(outcome: &Outcome<'_>) -> Result<(), String> {
    let signed = entry(&container(outcome, "requestOnly")?, "message.xml")?;
    if signed == outcome.sent { Ok(()) } else { Err("the signed request is not what was sent".to_owned()) }
}

fn whole_container(outcome: &Outcome<'_>) -> Result<(), String> {
    let zip = container(outcome, "responseOnly")?;
    if entry(&zip, "mimetype")? != b"application/vnd.etsi.asic-e+zip" {
        return Err("the container's mimetype is another".to_owned());
    }
    let signature = String::from_utf8_lossy(&entry(&zip, "META-INF/signatures.xml")?).into_owned();
    let document =
        roxmltree::Document::parse(&signature).map_err(|error| format!("signatures.xml: {error}"))?;
    let has = |name: &str| document.descendants().any(|node| node.tag_name().name() == name);
    for name in ["SignatureValue", "X509Certificate", "EncapsulatedOCSPValue", "SigningCertificate"] {
        if !has(name) {
            return Err(format!("the signature has no {name}"));
        }
    }
    let stamped =
        has("EncapsulatedTimeStamp") || names(&zip)?.iter().any(|name| name.ends_with("timestamp.tst"));
    if stamped { Ok(()) } else { Err("the container has no timestamp".to_owned()) }
}

fn request_alone(outcome: &Outcome<'_>) -> Result<(), String> {
    container(outcome, "requestOnly").map(|_| ())
}

fn verification_conf(outcome: &Outcome<'_>) -> Result<(), String> {
    let instance = (outcome.fill)("{instance}");
    let named = entry(&outcome.got.body, "verificationconf/instance-identifier")?;
    let shared = entry(&outcome.got.body, &format!("verificationconf/{instance}/shared-params.xml"))?;
    let text = String::from_utf8_lossy(&shared).into_owned();
    let document =
        roxmltree::Document::parse(&text).map_err(|error| format!("shared-params.xml: {error}"))?;
    if document.root_element().tag_name().name() != "conf"
        || String::from_utf8_lossy(&named).trim().is_empty()
    {
        return Err("the configuration is not one".to_owned());
    }
    Ok(())
}
