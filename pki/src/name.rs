//! X.501 names: their attributes, and the RFC 2253 text that signatures and logs carry.
//!
//! [`Name::rfc2253`] writes exactly what Java's `X500Principal` does, since that is the text the reference puts into
//! `ds:X509IssuerName`: last RDN first, nine attribute types by keyword and the rest as `1.2.3=#<hex of the DER value>`.
//! [`Name::matches`] compares as RFC 5280 §7.1 asks for: without regard to case and to runs of spaces.

use x509_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::issue::Subject;

/// commonName.
pub const COMMON_NAME: &str = "2.5.4.3";
/// serialNumber.
pub const SERIAL_NUMBER: &str = "2.5.4.5";
/// countryName.
pub const COUNTRY: &str = "2.5.4.6";
/// organizationName.
pub const ORGANIZATION: &str = "2.5.4.10";
/// organizationalUnitName.
pub const ORGANIZATIONAL_UNIT: &str = "2.5.4.11";
/// businessCategory.
pub const BUSINESS_CATEGORY: &str = "2.5.4.15";
/// organizationIdentifier.
pub const ORGANIZATION_IDENTIFIER: &str = "2.5.4.97";

/// Attribute types that RFC 2253 text names by keyword.
const KEYWORDS: [(&str, &str); 9] = [
    (COMMON_NAME, "CN"),
    (COUNTRY, "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    (ORGANIZATION, "O"),
    (ORGANIZATIONAL_UNIT, "OU"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// A distinguished name beside its DER.
#[derive(Clone, Debug)]
pub struct Name {
    der: Vec<u8>,
    /// In DER order; each RDN mostly has one attribute.
    rdns: Vec<Vec<Attribute>>,
    rfc2253: String,
    canonical: String,
}

#[derive(Clone, Debug)]
struct Attribute {
    oid: String,
    /// The value where it is a string.
    text: Option<String>,
    /// DER of the value.
    der: Vec<u8>,
}

impl Name {
    pub(crate) fn from_parsed(name: &X509Name<'_>) -> Self {
        let rdns: Vec<Vec<_>> =
            name.iter().map(|rdn| rdn.iter().map(Attribute::from_parsed).collect()).collect();
        let rfc2253 = join(&rdns, true, Attribute::rfc2253);
        let canonical = join(&rdns, false, Attribute::canonical);
        Self { der: name.as_raw().to_vec(), rdns, rfc2253, canonical }
    }
    /// From DER.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (rest, name) = X509Name::from_der(der).ok()?;
        rest.is_empty().then(|| Self::from_parsed(&name))
    }
    /// Exact DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// Its text, as Java writes it.
    pub fn rfc2253(&self) -> &str {
        &self.rfc2253
    }
    /// A text that is equal for names that [match](Self::matches); for use as a key.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
    /// The same name in the sense of RFC 5280 §7.1.
    pub fn matches(&self, other: &Self) -> bool {
        self.der == other.der || self.canonical == other.canonical
    }
    /// [`Self::matches`], or does when one is read from its end: who builds a name from its RFC 2253 text builds it so. For names that
    /// only say where to look.
    pub fn matches_either_way(&self, other: &Self) -> bool {
        self.matches(other) || join(&self.rdns, true, Attribute::canonical) == other.canonical
    }
    /// All attributes in order, for a certificate with this subject; `None` when one is of a rare type or no string.
    pub fn attributes(&self) -> Option<Subject> {
        let known = KEYWORDS.iter().map(|(oid, _)| *oid).chain([
            SERIAL_NUMBER,
            BUSINESS_CATEGORY,
            ORGANIZATION_IDENTIFIER,
        ]);
        let known: Vec<&'static str> = known.collect();
        let one = |attribute: &Attribute| {
            let oid = known.iter().find(|oid| **oid == attribute.oid)?;
            Some((*oid, attribute.text.clone()?))
        };
        self.rdns.iter().flatten().map(one).collect()
    }
    /// Value of the last attribute of this type (dotted OID); the reference reads names from their end. `None` also when that one is
    /// no string.
    pub fn last(&self, oid: &str) -> Option<&str> {
        self.rdns.iter().flatten().rfind(|attribute| attribute.oid == oid)?.text.as_deref()
    }
}

fn join(rdns: &[Vec<Attribute>], last_first: bool, write: fn(&Attribute) -> String) -> String {
    let rdn = |rdn: &Vec<Attribute>| rdn.iter().map(write).collect::<Vec<_>>().join("+");
    let parts: Vec<String> =
        if last_first { rdns.iter().rev().map(rdn).collect() } else { rdns.iter().map(rdn).collect() };
    parts.join(",")
}

impl Attribute {
    fn from_parsed(attribute: &AttributeTypeAndValue<'_>) -> Self {
        let value = attribute.attr_value();
        Self { oid: attribute.attr_type().to_id_string(), text: text(value), der: der(value) }
    }
    fn rfc2253(&self) -> String {
        let keyword = KEYWORDS.iter().find(|(oid, _)| *oid == self.oid).map(|(_, keyword)| keyword);
        match (keyword, &self.text) {
            (Some(keyword), Some(text)) => format!("{keyword}={}", escape(text)),
            (Some(keyword), None) => format!("{keyword}=#{}", hex::encode(&self.der)),
            (None, _) => format!("{}=#{}", self.oid, hex::encode(&self.der)),
        }
    }
    /// The length stands in front, so that no value can pass for two.
    fn canonical(&self) -> String {
        let value = match &self.text {
            Some(text) => text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" "),
            None => hex::encode(&self.der),
        };
        format!("{}={}:{value}", self.oid, value.len())
    }
}

/// The string types that names are made of.
fn text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::GeneralString => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        // Latin-1 is what is found in TeletexStrings, whatever the standard meant.
        Tag::TeletexString => Some(value.data.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString if value.data.len().is_multiple_of(2) => {
            let units = value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// Tag, length and content; names use tags below 31 only.
fn der(value: &Any<'_>) -> Vec<u8> {
    let length = value.data.len();
    let mut out = vec![u8::try_from(value.tag().0).unwrap_or(0)];
    match length {
        0..=0x7f => out.extend(length.to_be_bytes().last()),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.extend((0x80 | bytes.len()).to_be_bytes().last());
            out.extend(bytes);
        }
    }
    out.extend_from_slice(value.data);
    out
}

/// RFC 2253 §2.4 in Java's reading of it.
fn escape(text: &str) -> String {
    let lead = text.chars().take_while(|c| is_trimmed(*c)).count();
    let trail = text.chars().count() - text.chars().rev().take_while(|c| is_trimmed(*c)).count();
    let mut out = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        match c {
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => out.extend(['\\', c]),
            '\0' => out.push_str("\\00"),
            _ if index < lead || index >= trail => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

fn is_trimmed(c: char) -> bool {
    c == ' ' || c == '\r'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, tag and value of one attribute.
    type Part<'a> = (&'a str, u8, &'a [u8]);

    fn name(rdns: &[&[Part<'_>]]) -> Name {
        use der::Encode;
        let tlv = |tag: u8, body: &[u8]| {
            let length = u8::try_from(body.len()).expect("short");
            if length < 0x80 {
                [&[tag, length], body].concat()
            } else {
                [&[tag, 0x81, length], body].concat()
            }
        };
        let sets: Vec<u8> = rdns
            .iter()
            .flat_map(|rdn| {
                let attributes: Vec<u8> = rdn
                    .iter()
                    .flat_map(|(oid, tag, value)| {
                        let mut body = der::asn1::ObjectIdentifier::new_unwrap(oid).to_der().expect("oid");
                        body.extend(tlv(*tag, value));
                        tlv(0x30, &body)
                    })
                    .collect();
                tlv(0x31, &attributes)
            })
            .collect();
        let der = tlv(0x30, &sets);
        Name::parse(&der).expect("name")
    }
    const UTF8: u8 = 12;
    const PRINTABLE: u8 = 19;
    const IA5: u8 = 22;

    /// Issuer texts as they stand in signatures of the reference, and the escapes.
    #[test]
    fn rfc2253_text() {
        let cases: [(&[&[Part<'_>]], &str); 7] = [
            (
                &[
                    &[(COUNTRY, PRINTABLE, b"FI")],
                    &[(ORGANIZATION, UTF8, b"Peer Test CA")],
                    &[(COMMON_NAME, UTF8, b"Peer Test Root CA")],
                ],
                "CN=Peer Test Root CA,O=Peer Test CA,C=FI",
            ),
            (
                &[&[(COMMON_NAME, UTF8, b"Cyber")], &[("1.2.840.113549.1.9.1", IA5, b"aaa@bbb.ccc")]],
                "1.2.840.113549.1.9.1=#160b616161406262622e636363,CN=Cyber",
            ),
            (&[&[(SERIAL_NUMBER, PRINTABLE, b"10747013")]], "2.5.4.5=#13083130373437303133"),
            (&[&[(COMMON_NAME, UTF8, b" a,b+c#\"\\ ")]], "CN=\\ a\\,b\\+c\\#\\\"\\\\\\ "),
            (&[&[(COMMON_NAME, UTF8, "j\u{e4}\u{e4}r".as_bytes())]], "CN=j\u{e4}\u{e4}r"),
            (&[&[(COMMON_NAME, UTF8, b"x"), (ORGANIZATION, UTF8, b"y")]], "CN=x+O=y"),
            (&[&[(COMMON_NAME, UTF8, b"nul\0")]], "CN=nul\\00"),
        ];
        for (rdns, expected) in cases {
            assert_eq!(name(rdns).rfc2253(), expected);
        }
    }

    /// Case and spaces do not tell names apart; anything else does.
    #[test]
    fn names_match() {
        let base = name(&[&[(COMMON_NAME, UTF8, b"Test  CA")], &[(ORGANIZATION, UTF8, b"Y")]]);
        assert!(
            base.matches(&name(&[&[(COMMON_NAME, PRINTABLE, b" test ca ")], &[(ORGANIZATION, UTF8, b"y")]]))
        );
        for other in [
            name(&[&[(COMMON_NAME, UTF8, b"TestCA")], &[(ORGANIZATION, UTF8, b"Y")]]),
            name(&[&[(ORGANIZATION, UTF8, b"Y")], &[(COMMON_NAME, UTF8, b"Test CA")]]),
            name(&[&[(COMMON_NAME, UTF8, b"Test CA"), (ORGANIZATION, UTF8, b"Y")]]),
            name(&[&[(COMMON_NAME, UTF8, b"Test CA")]]),
        ] {
            assert!(!base.matches(&other), "{}", other.rfc2253());
        }
        let reversed = name(&[&[(ORGANIZATION, UTF8, b"Y")], &[(COMMON_NAME, UTF8, b"Test CA")]]);
        assert!(base.matches_either_way(&reversed) && base.matches_either_way(&base));
        assert!(!base.matches_either_way(&name(&[&[(COMMON_NAME, UTF8, b"Test CA")]])));
    }

    #[test]
    fn finds_attributes() {
        let name = name(&[
            &[(COUNTRY, PRINTABLE, b"FI")],
            &[(COMMON_NAME, UTF8, b"one")],
            &[(COMMON_NAME, UTF8, b"two")],
        ]);
        assert_eq!(
            (name.last(COMMON_NAME), name.last(COUNTRY), name.last(ORGANIZATION)),
            (Some("two"), Some("FI"), None)
        );
    }
}
