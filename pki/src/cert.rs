//! X.509 certificates: the parsed fields the protocols ask for, always beside the exact DER [RFC 5280 §4].
//!
//! Parsing is lenient about what stands in a name and strict about what decides trust: an extension that appears twice, or one
//! of those read here that does not parse, is [`CertError::Malformed`]. Everything asked for on the relay's path, the three
//! digests included, is computed once; a clone is one reference. Input is at most [`MAX_CERT_BYTES`].
//! Not here: paths (`chain`), revocation (`ocsp`), whom a subject names (`profile`).

use std::collections::HashSet;
use std::sync::Arc;

use der::Decode;
use der::asn1::Any;
use proto::time::UnixTime;
use x509_parser::asn1_rs::FromDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};

use crate::algorithm::{EcdsaForm, SignatureAlgorithm};
use crate::asn1;
use crate::digest::DigestAlgorithm;
use crate::name::Name;
use crate::pem;
use crate::public_key::{PublicKey, Strength, VerifyError};

/// Longest certificate, DER or PEM.
pub const MAX_CERT_BYTES: usize = 64 * 1024;
/// Most certificates in one file.
pub const MAX_CERTS: usize = 1000;
/// Longest serial number; RFC 5280 §4.1.2.2 has 20 bytes, and CAs that have more do not have many more.
const MAX_SERIAL_BYTES: usize = 128;

/// A parsed certificate. Cheap to clone; equal when the DER is.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: Vec<u8>,
    /// Where the signed part lies in `der`.
    tbs: std::ops::Range<usize>,
    subject: Name,
    issuer: Name,
    /// Content of the INTEGER as it stands.
    serial: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
    key: PublicKey,
    algorithm: Option<SignatureAlgorithm>,
    signature: Vec<u8>,
    extensions: Extensions,
    sha1: [u8; 20],
    sha256: [u8; 32],
    sha512: [u8; 64],
}

/// The extensions we read.
#[derive(Debug, Default)]
struct Extensions {
    key_usage: Option<KeyUsage>,
    extended_key_usage: Vec<String>,
    basic_constraints: Option<BasicConstraints>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
    ocsp_urls: Vec<String>,
    dns_names: Vec<String>,
    unknown_critical: bool,
}

/// Key usage bits [RFC 5280 §4.2.1.3].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// Bit 0.
    pub digital_signature: bool,
    /// Bit 1, also called contentCommitment.
    pub non_repudiation: bool,
    /// Bit 2.
    pub key_encipherment: bool,
    /// Bit 3.
    pub data_encipherment: bool,
    /// Bit 5.
    pub key_cert_sign: bool,
}

/// Basic constraints [RFC 5280 §4.2.1.9].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BasicConstraints {
    /// It is a CA.
    pub ca: bool,
    /// How many intermediates may follow below it.
    pub path_len: Option<u32>,
}

/// id-kp-clientAuth.
pub const EKU_CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
/// id-kp-timeStamping.
pub const EKU_TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
/// id-kp-OCSPSigning.
pub const EKU_OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";
const AD_OCSP: &str = "1.3.6.1.5.5.7.48.1";

/// Why DER is no certificate we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// Not a certificate.
    #[error("the certificate cannot be parsed")]
    Malformed,
    /// The signature does not verify under the key, or the algorithm does not fit.
    #[error("the signature does not verify")]
    BadSignature,
    /// An algorithm we do not take.
    #[error("the algorithm is not supported")]
    Algorithm,
    /// Neither key usage nor extended key usage says what it is for.
    #[error("the certificate has no key usage")]
    NoKeyUsage,
}

impl From<VerifyError> for CertError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Signature => Self::BadSignature,
            VerifyError::Algorithm => Self::Algorithm,
        }
    }
}

impl Certificate {
    /// Parses DER; also accepts PEM text, as one stored configuration has it. Of several certificates in a PEM text the first.
    ///
    /// # Errors
    /// [`CertError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CertError> {
        if bytes.len() > MAX_CERT_BYTES {
            return Err(CertError::Malformed);
        }
        if bytes.first() == Some(&0x30) {
            return Self::parse_der(bytes.to_vec());
        }
        Self::parse_der(from_pem(bytes).into_iter().next().ok_or(CertError::Malformed)?)
    }

    /// Every certificate of a PEM text, or the one of a DER file.
    ///
    /// # Errors
    /// [`CertError::Malformed`], also when there is none or more than [`MAX_CERTS`].
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, CertError> {
        if bytes.first() == Some(&0x30) {
            return Ok(vec![Self::parse(bytes)?]);
        }
        let ders = from_pem(bytes);
        if ders.is_empty() || ders.len() > MAX_CERTS {
            return Err(CertError::Malformed);
        }
        ders.into_iter().map(Self::parse_der).collect()
    }

    fn parse_der(der: Vec<u8>) -> Result<Self, CertError> {
        if der.len() > MAX_CERT_BYTES {
            return Err(CertError::Malformed);
        }
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| CertError::Malformed)?;
        // Every signature is whole bytes; another count of unused bits would be another certificate with the same signature.
        let whole = parsed.signature_value.unused_bits == 0;
        let short = parsed.raw_serial().len() <= MAX_SERIAL_BYTES;
        if !rest.is_empty() || !whole || !short || !says_its_algorithm_twice(&der) {
            return Err(CertError::Malformed);
        }
        let tbs = parsed.tbs_certificate.as_ref();
        let start = tbs.as_ptr().addr() - der.as_ptr().addr();
        let digest = |algorithm: DigestAlgorithm| algorithm.digest(&der).value;
        let inner = Inner {
            tbs: start..start + tbs.len(),
            subject: Name::from_parsed(&parsed.subject),
            issuer: Name::from_parsed(&parsed.issuer),
            serial: parsed.raw_serial().to_vec(),
            not_before: UnixTime::from_secs(parsed.validity.not_before.timestamp()),
            not_after: UnixTime::from_secs(parsed.validity.not_after.timestamp()),
            key: PublicKey::from_spki(parsed.public_key().raw).ok_or(CertError::Malformed)?,
            algorithm: SignatureAlgorithm::from_parsed(&parsed.signature_algorithm),
            signature: parsed.signature_value.data.to_vec(),
            extensions: Extensions::read(parsed.extensions())?,
            sha1: digest(DigestAlgorithm::Sha1).try_into().map_err(|_| CertError::Malformed)?,
            sha256: digest(DigestAlgorithm::Sha256).try_into().map_err(|_| CertError::Malformed)?,
            sha512: digest(DigestAlgorithm::Sha512).try_into().map_err(|_| CertError::Malformed)?,
            der: Vec::new(),
        };
        Ok(Self(Arc::new(Inner { der, ..inner })))
    }

    /// The exact DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }
    /// PEM text.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.0.der)
    }
    /// The subject.
    pub fn subject_name(&self) -> &Name {
        &self.0.subject
    }
    /// The issuer.
    pub fn issuer_name(&self) -> &Name {
        &self.0.issuer
    }
    /// DER of the subject name.
    pub fn subject_der(&self) -> &[u8] {
        self.0.subject.der()
    }
    /// DER of the issuer name.
    pub fn issuer_der(&self) -> &[u8] {
        self.0.issuer.der()
    }
    /// Subject as RFC 2253 text.
    pub fn subject(&self) -> String {
        self.0.subject.rfc2253().to_owned()
    }
    /// Issuer as RFC 2253 text, as the reference writes it in `ds:X509IssuerName`.
    pub fn issuer(&self) -> String {
        self.0.issuer.rfc2253().to_owned()
    }
    /// Serial number, big-endian without sign byte.
    pub fn serial(&self) -> &[u8] {
        match self.0.serial.as_slice() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        }
    }
    /// Content of the serial number's INTEGER, sign byte included.
    pub fn serial_integer(&self) -> &[u8] {
        &self.0.serial
    }
    /// Serial number in decimal.
    pub fn serial_decimal(&self) -> String {
        decimal(self.serial())
    }
    /// First instant it holds.
    pub fn not_before(&self) -> UnixTime {
        self.0.not_before
    }
    /// Last instant it holds: the start of the second that is written, as Java has it.
    pub fn not_after(&self) -> UnixTime {
        self.0.not_after
    }
    /// Within its validity at `at`, both ends included.
    pub fn is_valid_at(&self, at: UnixTime) -> bool {
        self.0.not_before <= at && at <= self.0.not_after
    }
    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.key
    }
    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        self.0.key.spki()
    }
    /// The key bits inside the SubjectPublicKeyInfo (what OCSP key hashes cover).
    pub fn key_bits(&self) -> &[u8] {
        self.0.key.bits()
    }
    /// Key usage bits, if the extension is there.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.extensions.key_usage
    }
    /// Extended key usages as dotted OIDs.
    pub fn extended_key_usage(&self) -> &[String] {
        &self.0.extensions.extended_key_usage
    }
    /// Basic constraints, if the extension is there.
    pub fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.0.extensions.basic_constraints
    }
    /// Subject key identifier.
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.subject_key_id.as_deref()
    }
    /// Key identifier of the issuer.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.authority_key_id.as_deref()
    }
    /// OCSP responders named by the certificate itself (authority information access).
    pub fn ocsp_urls(&self) -> &[String] {
        &self.0.extensions.ocsp_urls
    }
    /// DNS names of the subject alternative name.
    pub fn dns_names(&self) -> &[String] {
        &self.0.extensions.dns_names
    }
    /// It has a critical extension that nothing here understands, so a path through it cannot be valid [RFC 5280 §4.2].
    pub fn has_unknown_critical_extension(&self) -> bool {
        self.0.extensions.unknown_critical
    }
    /// Key usage says nonRepudiation.
    pub fn is_signing(&self) -> bool {
        self.key_usage().is_some_and(|usage| usage.non_repudiation)
    }
    /// extendedKeyUsage clientAuth, or digitalSignature, keyEncipherment, dataEncipherment.
    ///
    /// # Errors
    /// [`CertError::NoKeyUsage`] when there is nothing to go by.
    pub fn is_authentication(&self) -> Result<bool, CertError> {
        if self.extended_key_usage().iter().any(|oid| oid == EKU_CLIENT_AUTH) {
            return Ok(true);
        }
        let usage = self.key_usage().ok_or(CertError::NoKeyUsage)?;
        Ok(usage.digital_signature || usage.key_encipherment || usage.data_encipherment)
    }
    /// Issuer and subject are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.0.subject.matches(&self.0.issuer)
    }
    /// SHA-1 of the DER.
    pub fn sha1(&self) -> [u8; 20] {
        self.0.sha1
    }
    /// SHA-256 of the DER.
    pub fn sha256(&self) -> [u8; 32] {
        self.0.sha256
    }
    /// SHA-512 of the DER.
    pub fn sha512(&self) -> [u8; 64] {
        self.0.sha512
    }
    /// Digest of the DER; the usual ones without computing.
    pub fn digest(&self, algorithm: DigestAlgorithm) -> Vec<u8> {
        match algorithm {
            DigestAlgorithm::Sha1 => self.0.sha1.to_vec(),
            DigestAlgorithm::Sha256 => self.0.sha256.to_vec(),
            DigestAlgorithm::Sha384 => algorithm.digest(&self.0.der).value,
            DigestAlgorithm::Sha512 => self.0.sha512.to_vec(),
        }
    }
    /// Verifies `signature` over `message` with this certificate's key, by the rules of today.
    ///
    /// # Errors
    /// [`CertError::BadSignature`], [`CertError::Algorithm`].
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CertError> {
        Ok(self.0.key.verify(algorithm, form, Strength::Current, message, signature)?)
    }
    /// Verifies that `issuer` signed this certificate. A certificate from before [`crate::public_key::SHA1_END`] may be signed as was
    /// usual then.
    ///
    /// # Errors
    /// [`CertError::BadSignature`], [`CertError::Algorithm`].
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), CertError> {
        let algorithm = self.0.algorithm.ok_or(CertError::Algorithm)?;
        let tbs = &self.0.der[self.0.tbs.clone()];
        Ok(issuer.0.key.verify(
            algorithm,
            EcdsaForm::Der,
            Strength::of(self.0.not_before),
            tbs,
            &self.0.signature,
        )?)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}
impl Eq for Certificate {}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({}, serial {})", self.0.subject.rfc2253(), self.serial_decimal())
    }
}

impl Extensions {
    fn read(extensions: &[X509Extension<'_>]) -> Result<Self, CertError> {
        let mut seen = HashSet::new();
        let mut out = Self::default();
        for extension in extensions {
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(CertError::Malformed);
            }
            out.read_one(extension)?;
        }
        Ok(out)
    }

    fn read_one(&mut self, extension: &X509Extension<'_>) -> Result<(), CertError> {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = Some(KeyUsage {
                    digital_signature: usage.digital_signature(),
                    non_repudiation: usage.non_repudiation(),
                    key_encipherment: usage.key_encipherment(),
                    data_encipherment: usage.data_encipherment(),
                    key_cert_sign: usage.key_cert_sign(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let known = [
                    (usage.client_auth, EKU_CLIENT_AUTH),
                    (usage.time_stamping, EKU_TIME_STAMPING),
                    (usage.ocsp_signing, EKU_OCSP_SIGNING),
                ];
                self.extended_key_usage = known
                    .into_iter()
                    .filter(|(set, _)| *set)
                    .map(|(_, oid)| oid.to_owned())
                    .chain(usage.other.iter().map(x509_parser::asn1_rs::Oid::to_id_string))
                    .collect();
            }
            ParsedExtension::BasicConstraints(constraints) => {
                self.basic_constraints =
                    Some(BasicConstraints { ca: constraints.ca, path_len: constraints.path_len_constraint });
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::AuthorityInfoAccess(access) => {
                let uris = access.iter().filter(|one| one.access_method.to_id_string() == AD_OCSP);
                self.ocsp_urls = uris
                    .filter_map(|one| match &one.access_location {
                        GeneralName::URI(uri) => Some((*uri).to_owned()),
                        _ => None,
                    })
                    .collect();
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                self.dns_names = names
                    .general_names
                    .iter()
                    .filter_map(|one| {
                        if let GeneralName::DNSName(name) = one { Some((*name).to_owned()) } else { None }
                    })
                    .collect();
            }
            ParsedExtension::ParseError { .. } if DECIDES_TRUST.contains(&&*extension.oid.to_id_string()) => {
                return Err(CertError::Malformed);
            }
            // Policies do not restrict a path when the relying party asks for none; the rest we do not process.
            ParsedExtension::CertificatePolicies(_) | ParsedExtension::IssuerAlternativeName(_) => {}
            _ => self.unknown_critical |= extension.critical,
        }
        Ok(())
    }
}

/// The algorithm outside the signed part is the one inside, to the byte: nothing else protects it [RFC 5280 §4.1.1.2].
fn says_its_algorithm_twice(der: &[u8]) -> bool {
    let inner = |value: &Any| asn1::elements(value.value()).ok();
    let twice = || {
        let outer = inner(&Any::from_der(der).ok()?)?;
        let [signed, outside, _signature] = outer.as_slice() else { return None };
        let mut fields = inner(signed)?.into_iter();
        // version [0], when it is there, then serialNumber and signature
        let inside =
            if fields.next()?.header().tag().is_context_specific() { fields.nth(1) } else { fields.next() };
        Some(inside.as_ref() == Some(outside))
    };
    twice() == Some(true)
}

/// DER of the certificates in a PEM text. OpenSSL's trusted certificates have more behind the certificate, which nobody asks for.
fn from_pem(text: &[u8]) -> Vec<Vec<u8>> {
    let blocks = pem::blocks(text, "CERTIFICATE");
    if !blocks.is_empty() {
        return blocks;
    }
    let trusted = pem::blocks(text, "TRUSTED CERTIFICATE");
    trusted.iter().filter_map(|der| asn1::first_element(der)).map(<[u8]>::to_vec).collect()
}

/// Key usage, basic constraints, extended key usage.
const DECIDES_TRUST: [&str; 3] = ["2.5.29.15", "2.5.29.19", "2.5.29.37"];

/// Big-endian bytes in decimal, in the square of their number, which [`MAX_SERIAL_BYTES`] keeps small.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = vec![0_u8];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) * 256;
            *digit = u8::try_from(carry % 10).unwrap_or(0);
            carry /= 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or(0));
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::Role;
    use crate::key::{KeyKind, PrivateKey};
    use crate::test_pki::TestCa;

    /// OID, criticality and content of an extension.
    type One<'a> = (&'a [u64], bool, &'a [u8]);

    /// Self-signed, with these extensions besides the subject's name.
    fn with_extensions(extensions: &[One<'_>]) -> Result<Certificate, CertError> {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        for (oid, critical, content) in extensions {
            let mut extension = rcgen::CustomExtension::from_oid_content(oid, content.to_vec());
            extension.set_criticality(*critical);
            params.custom_extensions.push(extension);
        }
        Certificate::parse(params.self_signed(&key).unwrap().der())
    }
    const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
    const EXTENDED: &[u64] = &[2, 5, 29, 37];
    const BASIC: &[u64] = &[2, 5, 29, 19];

    #[test]
    fn refuses_what_is_no_certificate() {
        let cert = TestCa::root().cert;
        let whole = cert.der();
        for length in 0..whole.len() {
            assert_eq!(Certificate::parse(&whole[..length]).err(), Some(CertError::Malformed), "{length}");
        }
        let trailed = [whole, &[0]].concat();
        let huge = [whole, &[b' '; MAX_CERT_BYTES]].concat();
        for bad in
            [&trailed, &huge, &b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()]
        {
            assert_eq!(Certificate::parse(bad).err(), Some(CertError::Malformed));
        }
        assert_eq!(Certificate::parse_all(b"no certificate").err(), Some(CertError::Malformed));
    }

    #[test]
    fn there_is_a_bound_on_serial_numbers_and_on_certificates_in_a_file() {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let subject = vec![(crate::name::COMMON_NAME, "long".to_owned())];
        let made = |bytes: usize| {
            let template = crate::issue::Template {
                subject: &subject,
                role: Role::Authority(0),
                serial: &vec![7; bytes],
                not_before: UnixTime::from_secs(0),
                not_after: UnixTime::from_secs(1_000_000_000),
                dns_names: &[],
                addresses: &[],
                ocsp_url: None,
            };
            crate::issue::self_signed(&template, &key)
        };
        let longest = made(MAX_SERIAL_BYTES).unwrap();
        assert_eq!(longest.serial().len(), MAX_SERIAL_BYTES);
        assert!(made(MAX_SERIAL_BYTES + 1).is_err(), "it is read where it is made");
        let pem = longest.to_pem();
        assert_eq!(Certificate::parse_all(pem.repeat(2).as_bytes()).unwrap().len(), 2);
        let many = pem.repeat(MAX_CERTS + 1);
        assert_eq!(Certificate::parse_all(many.as_bytes()), Err(CertError::Malformed));
    }

    #[test]
    fn reads_pem_with_text_around_and_several_in_a_file() {
        let (one, two) = (TestCa::root().cert, TestCa::root().cert);
        let text = format!("a dump\n{}between\n{}", one.to_pem(), two.to_pem());
        assert_eq!(Certificate::parse(text.as_bytes()), Ok(one.clone()));
        assert_eq!(Certificate::parse_all(text.as_bytes()), Ok(vec![one.clone(), two]));
        assert_eq!(Certificate::parse_all(one.der()), Ok(vec![one.clone()]));
        let trusted = pem::encode("TRUSTED CERTIFICATE", &[one.der(), &[0x30, 0x00]].concat());
        assert_eq!(Certificate::parse(trusted.as_bytes()), Ok(one));
    }

    /// What decides trust is read strictly.
    #[test]
    fn extensions_that_decide_trust_are_read_strictly() {
        let usage = &[3, 2, 6, 0x40];
        assert!(with_extensions(&[(KEY_USAGE, true, usage)]).unwrap().is_signing());
        let cases: [(&str, &[One<'_>]); 5] = [
            ("twice", &[(KEY_USAGE, true, usage), (KEY_USAGE, true, &[3, 2, 7, 0x80])]),
            ("key usage of another type", &[(KEY_USAGE, true, &[4, 1, 0])]),
            ("extended usage that is no list", &[(EXTENDED, false, &[2, 1, 0])]),
            ("basic constraints cut short", &[(BASIC, true, &[0x30, 3, 1, 1])]),
            ("an unknown one twice", &[(&[1, 2, 3], false, &[5, 0]), (&[1, 2, 3], false, &[5, 0])]),
        ];
        for (name, extensions) in cases {
            assert_eq!(with_extensions(extensions).err(), Some(CertError::Malformed), "{name}");
        }
        assert!(with_extensions(&[(&[1, 2, 3], true, &[5, 0])]).unwrap().has_unknown_critical_extension());
        assert!(!with_extensions(&[(&[1, 2, 3], false, &[5, 0])]).unwrap().has_unknown_critical_extension());
    }

    #[test]
    fn what_a_certificate_is_for() {
        let client_auth: &[u8] = &[0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
        let time_stamping: &[u8] = &[0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];
        type Case<'a> = (&'a str, &'a [One<'a>], Result<bool, CertError>, bool);
        let cases: [Case<'_>; 7] = [
            ("nothing", &[], Err(CertError::NoKeyUsage), false),
            ("clientAuth alone", &[(EXTENDED, false, client_auth)], Ok(true), false),
            (
                "another extended usage alone",
                &[(EXTENDED, false, time_stamping)],
                Err(CertError::NoKeyUsage),
                false,
            ),
            ("digitalSignature", &[(KEY_USAGE, true, &[3, 2, 7, 0x80])], Ok(true), false),
            ("keyEncipherment", &[(KEY_USAGE, true, &[3, 2, 5, 0x20])], Ok(true), false),
            ("dataEncipherment", &[(KEY_USAGE, true, &[3, 2, 4, 0x10])], Ok(true), false),
            ("nonRepudiation", &[(KEY_USAGE, true, &[3, 2, 6, 0x40])], Ok(false), true),
        ];
        for (name, extensions, authentication, signing) in cases {
            let cert = with_extensions(extensions).unwrap();
            assert_eq!((cert.is_authentication(), cert.is_signing()), (authentication, signing), "{name}");
        }
    }

    #[test]
    fn no_bit_of_a_certificate_is_free() {
        let ca = TestCa::root();
        let cert = ca.issue("leaf", Role::Signing).0;
        assert_eq!(cert.verify_issued_by(&ca.cert), Ok(()));
        for index in 0..cert.der().len() {
            let mut bad = cert.der().to_vec();
            bad[index] ^= 1;
            let verdict = Certificate::parse(&bad).and_then(|bad| bad.verify_issued_by(&ca.cert));
            assert!(verdict.is_err(), "{index}");
        }
    }

    #[test]
    fn serials_in_decimal() {
        let cases: [(&[u8], &str); 4] = [
            (&[0], "0"),
            (&[0x03, 0xec], "1004"),
            (&[0x6f, 0xe4, 0x4f, 0x36, 0x69, 0x1f, 0x09, 0xd6], "8062656328010500566"),
            (&[0xff; 20], "1461501637330902918203684832716283019655932542975"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(decimal(bytes), expected);
        }
    }
}
