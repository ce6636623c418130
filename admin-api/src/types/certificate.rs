//! What both management APIs say about a certificate, read from its DER for people: nothing is decided by it.

use pki::cert::Certificate;
use pki::name::{COMMON_NAME, Name};
use pki::public_key::{Curve, KeyType};
use proto::time::UnixTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::date;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "a field is what its name says")]
pub struct CertificateDetails {
    pub hash: String,
    pub issuer_common_name: String,
    pub issuer_distinguished_name: String,
    pub key_usages: Vec<String>,
    pub not_after: String,
    pub not_before: String,
    pub public_key_algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsa_public_key_exponent: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsa_public_key_modulus: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec_public_parameters: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec_public_key_point: Option<String>,
    pub serial: String,
    pub signature: String,
    pub signature_algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_alternative_names: Option<String>,
    pub subject_common_name: String,
    pub subject_distinguished_name: String,
    pub version: u32,
    /// Number of an authentication certificate of a security server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// Bits of a key usage in their order [RFC 5280 §4.2.1.3].
const USAGES: [&str; 9] = [
    "DIGITAL_SIGNATURE",
    "NON_REPUDIATION",
    "KEY_ENCIPHERMENT",
    "DATA_ENCIPHERMENT",
    "KEY_AGREEMENT",
    "KEY_CERT_SIGN",
    "CRL_SIGN",
    "ENCIPHER_ONLY",
    "DECIPHER_ONLY",
];
/// id-ce-keyUsage.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// Signature algorithms by the content of their OID.
const ALGORITHMS: [(&[u8], &str); 9] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], "SHA1withRSA"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10], "RSASSA-PSS"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], "SHA256withRSA"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12], "SHA384withRSA"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], "SHA512withRSA"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], "SHA256withECDSA"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], "SHA384withECDSA"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], "SHA512withECDSA"),
    (&[0x2b, 0x65, 0x70], "Ed25519"),
];

impl From<&Certificate> for CertificateDetails {
    fn from(cert: &Certificate) -> Self {
        let outer = children(content(cert.der()));
        let signature_oid = outer.get(1).map(|(_, algorithm)| children(algorithm)).unwrap_or_default();
        let oid = signature_oid.first().map_or(&[][..], |(_, oid)| oid);
        let signature = outer.get(2).and_then(|(_, bits)| bits.get(1..)).unwrap_or_default();
        let (algorithm, exponent, modulus, curve, point) = public_key(cert);
        let names = cert.dns_names();
        Self {
            hash: hex::encode_upper(cert.sha256()),
            issuer_common_name: common_name(cert.issuer_name()),
            issuer_distinguished_name: distinguished(cert.issuer_name()),
            key_usages: key_usages(outer.first().map_or(&[], |(_, tbs)| tbs)),
            not_after: date(UnixTime::from_secs(cert.not_after().as_secs())),
            not_before: date(cert.not_before()),
            public_key_algorithm: algorithm.to_owned(),
            rsa_public_key_exponent: exponent,
            rsa_public_key_modulus: modulus,
            ec_public_parameters: curve,
            ec_public_key_point: point,
            serial: cert.serial_decimal(),
            signature: hex::encode(signature),
            signature_algorithm: ALGORITHMS
                .iter()
                .find(|(known, _)| *known == oid)
                .map_or_else(|| hex::encode(oid), |(_, name)| (*name).to_owned()),
            subject_alternative_names: (!names.is_empty())
                .then(|| names.iter().map(|name| format!("DNS:{name}")).collect::<Vec<_>>().join(", ")),
            subject_common_name: common_name(cert.subject_name()),
            subject_distinguished_name: distinguished(cert.subject_name()),
            version: 3,
            id: None,
        }
    }
}

type PublicKeyFields = (&'static str, Option<u64>, Option<String>, Option<String>, Option<String>);

fn public_key(cert: &Certificate) -> PublicKeyFields {
    match cert.public_key().key_type() {
        Some(KeyType::Rsa(_)) => {
            let numbers = children(content(cert.key_bits()));
            let number = |index: usize| numbers.get(index).map_or(&[][..], |(_, number)| number);
            let modulus = match number(0) {
                [0, rest @ ..] => rest,
                all => all,
            };
            let exponent = number(1).iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
            ("RSA", Some(exponent), Some(hex::encode(modulus)), None, None)
        }
        Some(KeyType::Ec(curve)) => {
            let name = match curve {
                Curve::P256 => "secp256r1",
                Curve::P384 => "secp384r1",
                Curve::P521 => "secp521r1",
            };
            ("EC", None, None, Some(name.to_owned()), Some(hex::encode(cert.key_bits())))
        }
        None => ("UNKNOWN", None, None, None, None),
    }
}

fn key_usages(tbs: &[u8]) -> Vec<String> {
    let fields = children(tbs);
    let Some((_, wrapped)) = fields.iter().find(|(tag, _)| *tag == 0xa3) else { return Vec::new() };
    let extensions = children(content(wrapped));
    let usage = extensions
        .iter()
        .map(|(_, extension)| children(extension))
        .find(|extension| extension.first().is_some_and(|(_, oid)| *oid == KEY_USAGE));
    let bits =
        usage.as_ref().and_then(|extension| extension.last()).map_or(&[][..], |(_, value)| content(value));
    let bits = bits.get(1..).unwrap_or_default();
    let set = |index: usize| bits.get(index / 8).is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0);
    USAGES.iter().enumerate().filter(|(index, _)| set(*index)).map(|(_, name)| (*name).to_owned()).collect()
}

fn common_name(name: &Name) -> String {
    name.last(COMMON_NAME).unwrap_or_default().to_owned()
}

/// Short names of attributes; others stand by their OID.
const KEYWORDS: [(&str, &str); 12] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SURNAME"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "T"),
    ("2.5.4.42", "GIVENNAME"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// A distinguished name for people: the last attribute first, parts separated by a comma and a space.
fn distinguished(name: &Name) -> String {
    let Some(attributes) = name.attributes() else { return spaced(name.rfc2253()) };
    let part = |(oid, value): (&str, String)| {
        let keyword = KEYWORDS.iter().find(|(known, _)| *known == oid).map_or(oid, |(_, keyword)| keyword);
        let special = |c: char| matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=');
        let escaped: String =
            value.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect();
        format!("{keyword}={escaped}")
    };
    attributes.into_iter().rev().map(part).collect::<Vec<_>>().join(", ")
}

/// A distinguished name with a space after each comma that separates its parts.
fn spaced(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    let mut escaped = false;
    for c in name.chars() {
        out.push(c);
        if c == ',' && !escaped {
            out.push(' ');
        }
        escaped = c == '\\' && !escaped;
    }
    out
}

/// The content of the first element.
fn content(der: &[u8]) -> &[u8] {
    children(der).first().map_or(&[], |(_, content)| content)
}

/// Tag and content of each element; ends at the first that does not fit.
fn children(mut der: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let Some((tag, content, rest)) = element(der) {
        all.push((tag, content));
        der = rest;
    }
    all
}

fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let bytes = rest.get(..count).filter(|_| count <= 4)?;
        (bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), &rest[count..])
    };
    Some((tag, rest.get(..length)?, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::issue::{Role, Template, self_signed};
    use pki::key::{KeyKind, PrivateKey};

    #[test]
    fn says_what_stands_in_the_certificate() {
        for (kind, algorithm) in [(KeyKind::P256, "EC"), (KeyKind::Rsa(2048), "RSA")] {
            let template = Template {
                subject: &vec![(COMMON_NAME, "Test".to_owned())],
                role: Role::Authentication,
                serial: &[1, 0],
                not_before: UnixTime(0),
                not_after: UnixTime::from_secs(1_000),
                dns_names: &[],
                addresses: &[],
                ocsp_url: None,
            };
            let cert = self_signed(&template, &PrivateKey::generate(kind).unwrap()).unwrap();
            let details = CertificateDetails::from(&cert);
            assert_eq!(details.public_key_algorithm, algorithm);
            assert_eq!(details.subject_distinguished_name, "CN=Test");
            assert_eq!(
                (details.serial.as_str(), details.not_after.as_str()),
                ("256", "1970-01-01T00:16:40.000Z")
            );
            assert!(details.key_usages.contains(&"DIGITAL_SIGNATURE".to_owned()), "{details:?}");
            assert!(details.signature_algorithm.starts_with("SHA"), "{details:?}");
            assert_eq!(details.rsa_public_key_exponent, (algorithm == "RSA").then_some(65_537));
        }
    }

    #[test]
    fn names_are_spaced_and_rubbish_is_nothing() {
        assert_eq!(spaced("CN=a\\,b,O=c"), "CN=a\\,b, O=c");
        assert!(children(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_empty());
        assert!(children(&[0x30, 5, 1]).is_empty());
    }
}
