//! Certificates that we make: self-signed ones for a server's own TLS and for configuration signing, and what a CA of the sandbox
//! issues [RFC 5280 §4].
//!
//! The certificate is v3, signed with SHA-256 or, by a P-384 key, SHA-384. Key identifiers are SHA-1 of the key bits, as most CAs
//! have them. Not here: whose certificate may be trusted (`chain`, `trust`), requests to somebody else's CA (`csr`).

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};

use der::asn1::{Ia5String, ObjectIdentifier};
use der::{Encode, Tag, TagNumber};
use proto::time::UnixTime;

use crate::asn1;
use crate::cert::Certificate;
use crate::digest::DigestAlgorithm;
use crate::key::{KeyError, PrivateKey};
use crate::name::{COUNTRY, SERIAL_NUMBER};
use crate::public_key::{Curve, KeyType, PublicKey};

/// Attributes of a subject to be: dotted OID and value, in the order in which they are written.
pub type Subject = Vec<(&'static str, String)>;

/// What a certificate is for, which decides its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A CA, with so many CAs below it.
    Authority(u8),
    /// A security server towards others.
    Authentication,
    /// A member's signatures.
    Signing,
    /// OCSP answers in the CA's name.
    OcspResponder,
    /// Timestamps.
    Timestamping,
    /// A TLS server and client without more.
    Tls,
    /// Configuration directories.
    Configuration,
}

/// A certificate to be.
#[derive(Clone, Debug)]
pub struct Template<'a> {
    /// Whose.
    pub subject: &'a Subject,
    /// What for.
    pub role: Role,
    /// Serial number, big-endian; positive.
    pub serial: &'a [u8],
    /// First instant it holds.
    pub not_before: UnixTime,
    /// Last instant it holds.
    pub not_after: UnixTime,
    /// DNS names it is for.
    pub dns_names: &'a [String],
    /// IP addresses it is for.
    pub addresses: &'a [std::net::IpAddr],
    /// Where to ask about its revocation.
    pub ocsp_url: Option<&'a str>,
}

/// A certificate by `issuer` over `key`.
///
/// # Errors
/// [`KeyError::Kind`] for a key we do not certify, [`KeyError::Failed`] for fields that cannot be written.
pub fn issue(
    template: &Template<'_>,
    key: &PublicKey,
    issuer: &Certificate,
    issuer_key: &PrivateKey,
) -> Result<Certificate, KeyError> {
    let mut params = params(template, key)?;
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_der(&issuer.der().into(), issuer_key).map_err(|_| KeyError::Failed)?;
    let certificate = params.signed_by(&Certified::new(key)?, &issuer).map_err(|_| KeyError::Failed)?;
    Certificate::parse(certificate.der()).map_err(|_| KeyError::Failed)
}

/// A certificate by `key` over itself.
///
/// # Errors
/// [`KeyError::Failed`] for fields that cannot be written.
pub fn self_signed(template: &Template<'_>, key: &PrivateKey) -> Result<Certificate, KeyError> {
    let params = params(template, key.public_key())?;
    let certificate = params.self_signed(key).map_err(|_| KeyError::Failed)?;
    Certificate::parse(certificate.der()).map_err(|_| KeyError::Failed)
}

/// A public key that is known to be of a kind we certify.
struct Certified<'a>(&'a PublicKey, &'static rcgen::SignatureAlgorithm);

impl<'a> Certified<'a> {
    fn new(key: &'a PublicKey) -> Result<Self, KeyError> {
        match key.key_type() {
            Some(KeyType::Rsa(2048..)) => Ok(Self(key, &rcgen::PKCS_RSA_SHA256)),
            Some(KeyType::Ec(Curve::P256)) => Ok(Self(key, &rcgen::PKCS_ECDSA_P256_SHA256)),
            Some(KeyType::Ec(Curve::P384)) => Ok(Self(key, &rcgen::PKCS_ECDSA_P384_SHA384)),
            Some(KeyType::Rsa(_) | KeyType::Ec(Curve::P521)) | None => Err(KeyError::Kind),
        }
    }
}

impl PublicKeyData for Certified<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.bits()
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.1
    }
}

fn params(template: &Template<'_>, key: &PublicKey) -> Result<CertificateParams, KeyError> {
    let time =
        |at: UnixTime| time::OffsetDateTime::from_unix_timestamp(at.as_secs()).map_err(|_| KeyError::Failed);
    let mut params = CertificateParams::default();
    params.not_before = time(template.not_before)?;
    params.not_after = time(template.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(template.serial));
    params.distinguished_name = distinguished_name(template.subject)?;
    params.subject_alt_names = alternative_names(template.dns_names)?;
    params.subject_alt_names.extend(template.addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.key_identifier_method = KeyIdMethod::PreSpecified(DigestAlgorithm::Sha1.digest(key.bits()).value);
    set_role(&mut params, template.role)?;
    if let Some(url) = template.ocsp_url {
        params.custom_extensions.push(authority_information_access(url).map_err(|_| KeyError::Failed)?);
    }
    Ok(params)
}

fn set_role(params: &mut CertificateParams, role: Role) -> Result<(), KeyError> {
    use KeyUsagePurpose as Use;
    params.is_ca = match role {
        Role::Authority(below) => IsCa::Ca(BasicConstraints::Constrained(below)),
        Role::Authentication | Role::Signing | Role::OcspResponder => IsCa::ExplicitNoCa,
        Role::Timestamping | Role::Tls | Role::Configuration => IsCa::ExplicitNoCa,
    };
    params.key_usages = match role {
        Role::Authority(_) => vec![Use::KeyCertSign, Use::CrlSign],
        Role::Authentication => vec![Use::DigitalSignature, Use::KeyEncipherment, Use::DataEncipherment],
        Role::Signing => vec![Use::ContentCommitment],
        Role::OcspResponder | Role::Configuration => vec![Use::DigitalSignature],
        Role::Timestamping => vec![Use::DigitalSignature, Use::ContentCommitment],
        Role::Tls => vec![Use::DigitalSignature, Use::KeyEncipherment],
    };
    match role {
        Role::Authentication | Role::Tls => {
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }
        Role::OcspResponder => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning],
        // Must be critical [RFC 3161 §2.3], which rcgen's own never is.
        Role::Timestamping => {
            let mut usage = CustomExtension::from_oid_content(
                &[2, 5, 29, 37],
                // SEQUENCE { 1.3.6.1.5.5.7.3.8 }
                vec![0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8],
            );
            usage.set_criticality(true);
            params.custom_extensions.push(usage);
        }
        Role::Authority(_) | Role::Signing | Role::Configuration => {}
    }
    Ok(())
}

/// As most CAs write names: country and serial number in PrintableString, the rest in UTF-8 [RFC 5280 §4.1.2.4].
pub(crate) fn distinguished_name(subject: &Subject) -> Result<DistinguishedName, KeyError> {
    let mut name = DistinguishedName::new();
    for (oid, value) in subject {
        let value = match *oid {
            COUNTRY | SERIAL_NUMBER => match value.as_str().try_into() {
                Ok(printable) => DnValue::PrintableString(printable),
                Err(_) => DnValue::Utf8String(value.clone()),
            },
            _ => DnValue::Utf8String(value.clone()),
        };
        let arcs = oid.split('.').map(|arc| arc.parse().ok()).collect::<Option<Vec<u64>>>();
        name.push(DnType::from_oid(&arcs.ok_or(KeyError::Failed)?), value);
    }
    Ok(name)
}

pub(crate) fn alternative_names(dns_names: &[String]) -> Result<Vec<SanType>, KeyError> {
    let name = |name: &String| name.as_str().try_into().map(SanType::DnsName).map_err(|_| KeyError::Failed);
    dns_names.iter().map(name).collect()
}

fn authority_information_access(url: &str) -> der::Result<CustomExtension> {
    const OCSP: ObjectIdentifier = asn1::oid("1.3.6.1.5.5.7.48.1");
    const URI: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(6) };
    let url = Ia5String::new(url)?;
    let one = asn1::tlv(Tag::Sequence, &[OCSP.to_der()?, asn1::tlv(URI, url.as_bytes())?].concat())?;
    let content = asn1::tlv(Tag::Sequence, &one)?;
    Ok(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::{EKU_OCSP_SIGNING, EKU_TIME_STAMPING};
    use crate::test_pki::{DAY, NOW, TestCa};

    /// What each role's extensions say, read back by our own parser.
    #[test]
    fn roles_have_their_extensions() {
        let ca = TestCa::root();
        assert!(ca.cert.verify_issued_by(&ca.cert).is_ok() && ca.cert.is_self_issued());
        let signing = ca.issue("signing", Role::Signing).0;
        assert!(signing.is_signing());
        assert_eq!(signing.is_authentication(), Ok(false));
        let authentication = ca.issue("auth", Role::Authentication).0;
        assert_eq!((authentication.is_signing(), authentication.is_authentication()), (false, Ok(true)));
        let responder = ca.issue("ocsp", Role::OcspResponder).0;
        assert_eq!(responder.extended_key_usage(), [EKU_OCSP_SIGNING]);
        let tsa = ca.issue("tsa", Role::Timestamping).0;
        assert_eq!(tsa.extended_key_usage(), [EKU_TIME_STAMPING]);
        for cert in [&signing, &authentication, &responder, &tsa] {
            assert_eq!(cert.verify_issued_by(&ca.cert), Ok(()));
            assert!(cert.is_valid_at(NOW) && !cert.is_valid_at(NOW.plus(DAY * 4000)));
            assert_eq!(cert.authority_key_id(), ca.cert.subject_key_id());
            assert_eq!(cert.issuer_der(), ca.cert.subject_der());
            assert_eq!(cert.ocsp_urls(), ["http://ocsp.test/"]);
            assert!(!cert.has_unknown_critical_extension());
        }
    }

    #[test]
    fn a_subject_keeps_its_order() {
        let ca = TestCa::root();
        assert_eq!(ca.cert.subject(), "CN=Test Root CA,O=Causeway Tests,C=FI");
    }
}
