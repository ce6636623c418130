//! The internal TLS key and its certificate, by which information systems know this server.

use std::io::Write as _;
use std::path::PathBuf;

use admin_api::check::SIZE;
use admin_api::operation::{get, post};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::security_server::system::DistinguishedName;
use admin_api::{Answer, Call, Check, Problem};
use pki::cert::Certificate;
use pki::issue::Subject;
use pki::name::{
    BUSINESS_CATEGORY, COMMON_NAME, COUNTRY, ORGANIZATION, ORGANIZATION_IDENTIFIER, ORGANIZATIONAL_UNIT,
    SERIAL_NUMBER,
};

use super::csrs::day;
use super::{Api, Rows};

/// Attributes of a distinguished name, by the short names people write, and their object identifiers.
const ATTRIBUTES: [(&str, &str); 10] = [
    ("CN", COMMON_NAME),
    ("C", COUNTRY),
    ("O", ORGANIZATION),
    ("OU", ORGANIZATIONAL_UNIT),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("SERIALNUMBER", SERIAL_NUMBER),
    ("SN", SERIAL_NUMBER),
    ("BUSINESSCATEGORY", BUSINESS_CATEGORY),
    ("ORGANIZATIONIDENTIFIER", ORGANIZATION_IDENTIFIER),
];
/// A tar archive is written in blocks of this many bytes.
const BLOCK: usize = 512;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getSystemCertificate", "/system/certificate")
            .right("VIEW_INTERNAL_TLS_CERT")
            .gives::<CertificateDetails>(200)
            .by(show),
        post("generateSystemTlsKeyAndCertificate", "/system/certificate")
            .right("GENERATE_INTERNAL_TLS_KEY_CERT")
            .audit("Generate new internal TLS key and certificate")
            .gives_nothing(201)
            .by(renew),
        get("downloadSystemCertificate", "/system/certificate/export")
            .right("EXPORT_INTERNAL_TLS_CERT")
            .gives_file("application/gzip")
            .by(export),
        post("generateSystemCertificateRequest", "/system/certificate/csr")
            .right("GENERATE_INTERNAL_TLS_CSR")
            .audit("Generate certificate request for TLS")
            .takes::<DistinguishedName>()
            .gives_file("application/octet-stream")
            .refuses(&[(400, "invalid_distinguished_name")])
            .by(request),
        post("importSystemCertificate", "/system/certificate/import")
            .right("IMPORT_INTERNAL_TLS_CERT")
            .audit("Import TLS certificate from file")
            .takes_octets()
            .upload(true)
            .gives::<CertificateDetails>(200)
            .refuses(&[(400, "invalid_certificate"), (400, "key_not_found")])
            .by(import),
    ]
}

fn folder(api: &Api) -> Result<PathBuf, Problem> {
    api.foundation.folder("tls").map_err(Problem::internal)
}

fn show(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&CertificateDetails::from(&api.foundation.internal_tls.cert()))
}

fn renew(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let _one_at_a_time = api.one_at_a_time();
    let tls = &api.foundation.internal_tls;
    tls.renew(&folder(api)?, api.now()).map_err(Problem::internal)?;
    call.note("certHash", hex::encode_upper(tls.cert().sha256()));
    call.note("certHashAlgorithm", "SHA-256");
    Ok(Answer::empty(201).location("/system/certificate"))
}

fn request(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: DistinguishedName = call.json()?;
    let mut check = Check::new("distinguishedNameDto");
    let name = check.required("name", asked.name, &[SIZE]);
    check.done()?;
    call.note("subjectName", name.clone());
    let invalid = || Problem::bad_request("invalid_distinguished_name");
    let subject = subject(&name).ok_or_else(invalid)?;
    let key = api.foundation.internal_tls.key(&folder(api)?).map_err(Problem::internal)?;
    let der = pki::csr::request(&key, pki::csr::Usage::Authentication, &subject, &[]);
    let der = der.map_err(|error| invalid().because(error.to_string()))?;
    let pem = pki::pem::encode("CERTIFICATE REQUEST", &der);
    let file = format!("internal_tls_cert_request_{}.p10", day(api.now()));
    Ok(Answer::file("application/octet-stream", &file, pem))
}

/// `CN=ss1, O=Org` as people write it: attributes separated by commas, a backslash before a comma that belongs to a value.
fn subject(text: &str) -> Option<Subject> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => parts.last_mut()?.push(characters.next()?),
            ',' => parts.push(String::new()),
            other => parts.last_mut()?.push(other),
        }
    }
    let attribute = |part: &String| {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let oid = ATTRIBUTES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?.1;
        (!value.is_empty()).then(|| (oid, value.to_owned()))
    };
    parts.iter().map(attribute).collect()
}

fn import(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let invalid =
        |error: pki::cert::CertError| Problem::bad_request("invalid_certificate").because(error.to_string());
    // The first one, where the CA gave its chain with it.
    let certs = Certificate::parse_all(call.bytes()).map_err(invalid)?;
    let cert = certs.into_iter().next().ok_or_else(|| Problem::bad_request("invalid_certificate"))?;
    call.note("certHash", hex::encode_upper(cert.sha256()));
    call.note("certHashAlgorithm", "SHA-256");
    let _one_at_a_time = api.one_at_a_time();
    let (folder, tls) = (folder(api)?, &api.foundation.internal_tls);
    if tls.key(&folder).map_err(Problem::internal)?.spki() != cert.spki() {
        return Err(Problem::bad_request("key_not_found"));
    }
    tls.certify(&folder, &cert, api.now()).map_err(Problem::internal)?;
    Answer::ok(&CertificateDetails::from(&cert))
}

fn export(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let cert = api.foundation.internal_tls.cert();
    let mut archive = Vec::new();
    append(&mut archive, "./cert.pem", cert.to_pem().as_bytes(), api);
    append(&mut archive, "./cert.cer", cert.der(), api);
    archive.resize(archive.len() + 2 * BLOCK, 0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&archive).map_err(Problem::internal)?;
    let bytes = gzip.finish().map_err(Problem::internal)?;
    Ok(Answer::file("application/gzip", "certs.tar.gz", bytes))
}

/// One file of a tar archive [POSIX.1-1988, ustar]: a header block, then the bytes, filled up to whole blocks.
fn append(archive: &mut Vec<u8>, name: &str, bytes: &[u8], api: &Api) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, &format!("{:011o}\0", api.now().as_secs()));
    // The check sum counts itself as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguished_names_as_people_write_them() {
        let cases = [
            ("CN=ss1", vec![(COMMON_NAME, "ss1")]),
            ("cn = ss1 ,C=FI", vec![(COMMON_NAME, "ss1"), (COUNTRY, "FI")]),
            (r"O=A\, B,CN=x", vec![(ORGANIZATION, "A, B"), (COMMON_NAME, "x")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.into_iter().map(|(oid, value)| (oid, value.to_owned())).collect();
            assert_eq!(subject(text), Some(expected), "{text}");
        }
        for text in ["nonsense", "CN=", "XX=1", "CN=a,"] {
            assert_eq!(subject(text), None, "{text}");
        }
    }
}
