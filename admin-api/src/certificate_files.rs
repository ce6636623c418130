//! What both servers do with certificates of their TLS keys: requests for one, and the archive it is handed out in.

use std::io::Write as _;

use pki::cert::Certificate;
use pki::issue::Subject;
use pki::key::PrivateKey;
use pki::name::{
    BUSINESS_CATEGORY, COMMON_NAME, COUNTRY, ORGANIZATION, ORGANIZATION_IDENTIFIER, ORGANIZATIONAL_UNIT,
    SERIAL_NUMBER,
};
use pki::{csr, pem};
use proto::time::UnixTime;

use crate::check::SIZE;
use crate::types::security_server::system::DistinguishedName;
use crate::{Answer, Call, Check, Problem};

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

/// A request for a certificate of `key` under the name that the call gives, as a file called `file`.
///
/// # Errors
/// 400 without a name or with `invalid_distinguished_name`; what keeps `key` from being had.
pub fn request(
    call: &mut Call,
    file: &str,
    key: impl FnOnce() -> Result<PrivateKey, Problem>,
) -> Result<Answer, Problem> {
    let asked: DistinguishedName = call.json()?;
    let mut check = Check::new("distinguishedNameDto");
    let name = check.required("name", asked.name, &[SIZE]);
    check.done()?;
    call.note("subjectName", name.clone());
    let invalid = || Problem::bad_request("invalid_distinguished_name");
    let subject = subject(&name).ok_or_else(invalid)?;
    let der = csr::request(&key()?, csr::Usage::Authentication, &subject, &[]);
    let der = der.map_err(|error| invalid().because(error.to_string()))?;
    Ok(Answer::file("application/octet-stream", file, pem::encode("CERTIFICATE REQUEST", &der)))
}

/// A certificate as PEM and as DER in a compressed tar archive, as stock servers hand it out.
///
/// # Errors
/// The compressor.
pub fn archive(cert: &Certificate, now: UnixTime) -> std::io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    append(&mut archive, "./cert.pem", cert.to_pem().as_bytes(), now);
    append(&mut archive, "./cert.cer", cert.der(), now);
    archive.resize(archive.len() + 2 * BLOCK, 0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&archive)?;
    gzip.finish()
}

/// One file of a tar archive [POSIX.1-1988, ustar]: a header block, then the bytes, filled up to whole blocks.
fn append(archive: &mut Vec<u8>, name: &str, bytes: &[u8], now: UnixTime) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, &format!("{:011o}\0", now.as_secs()));
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
