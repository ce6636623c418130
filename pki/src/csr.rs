//! Certificate signing requests as certification services expect them [RFC 2986].
//!
//! The request asks for key usage, not critical: an authentication key for digitalSignature, keyEncipherment, dataEncipherment; a
//! signing key for nonRepudiation and keyCertSign, which is what the services' profiles have always been given. It is signed with
//! SHA-256 (SHA-384 by a P-384 key). Only who holds the key can make one, so it may live in the signer: see [`rcgen::SigningKey`].

use rcgen::{CertificateParams, CustomExtension, SigningKey};
use x509_parser::asn1_rs::FromDer;
use x509_parser::certification_request::X509CertificationRequest;

use crate::algorithm::{EcdsaForm, SignatureAlgorithm};
use crate::issue::{Subject, alternative_names, distinguished_name};
use crate::key::KeyError;
use crate::name::Name;
use crate::pem;
use crate::public_key::{PublicKey, Strength};

/// What the certificate will be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS between security servers.
    Authentication,
    /// Messages.
    Signing,
}

/// DER of a request for `subject`, and for `dns_names` as subject alternative names.
///
/// # Errors
/// What the key says; [`KeyError::Failed`] for fields that cannot be written.
pub fn request(
    key: &impl SigningKey,
    usage: Usage,
    subject: &Subject,
    dns_names: &[String],
) -> Result<Vec<u8>, KeyError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(subject)?;
    params.subject_alt_names = alternative_names(dns_names)?;
    // BIT STRING with the number of unused bits in front; rcgen's own key usage would be critical.
    let bits = match usage {
        Usage::Authentication => [0x03, 0x02, 0x04, 0b1011_0000],
        Usage::Signing => [0x03, 0x02, 0x02, 0b0100_0100],
    };
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 15], bits.to_vec()));
    params.serialize_request(key).map(|request| request.der().to_vec()).map_err(|_| KeyError::Failed)
}

/// What a request asks for, as a CA reads it.
#[derive(Debug)]
pub struct Request {
    /// Who.
    pub subject: Name,
    /// The key.
    pub key: PublicKey,
}

impl Request {
    /// Reads DER or PEM and checks that the request is signed with its own key; `None` when it is not, or is no request.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let block = pem::blocks(bytes, "CERTIFICATE REQUEST").into_iter().next();
        let (rest, request) = X509CertificationRequest::from_der(block.as_deref().unwrap_or(bytes)).ok()?;
        let info = &request.certification_request_info;
        let key = PublicKey::from_spki(info.subject_pki.raw)?;
        let algorithm = SignatureAlgorithm::from_parsed(&request.signature_algorithm)?;
        let signature = &request.signature_value.data;
        key.verify(algorithm, EcdsaForm::Der, Strength::Current, info.raw, signature).ok()?;
        rest.is_empty().then(|| Self { subject: Name::from_parsed(&info.subject), key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyKind, PrivateKey};
    use crate::name::{COMMON_NAME, COUNTRY};

    fn subject() -> Subject {
        vec![(COUNTRY, "FI".to_owned()), (COMMON_NAME, "j\u{e4}\u{e4}r, Oy".to_owned())]
    }

    #[test]
    fn a_request_names_its_key_and_subject() {
        for kind in [KeyKind::P256, KeyKind::P384] {
            let key = PrivateKey::generate(kind).unwrap();
            let der = request(&key, Usage::Signing, &subject(), &[]).unwrap();
            for bytes in [der.clone(), pem::encode("CERTIFICATE REQUEST", &der).into_bytes()] {
                let read = Request::parse(&bytes).unwrap();
                assert_eq!(read.subject.rfc2253(), "CN=j\u{e4}\u{e4}r\\, Oy,C=FI");
                assert_eq!(read.key.spki(), key.spki());
            }
            let mut bad = der;
            let middle = bad.len() / 3;
            bad[middle] ^= 1;
            assert!(Request::parse(&bad).is_none());
        }
    }

    /// As the `openssl` program reads it, which is where CAs start.
    #[test]
    fn openssl_reads_the_wanted_usage() {
        let Some(openssl) = crate::test_pki::openssl("how openssl reads our signing requests") else {
            return;
        };
        let dir = crate::test_pki::scratch("csr");
        let file = dir.join("request.der");
        let key = crate::test_pki::rsa_key();
        let cases = [
            (Usage::Signing, "Non Repudiation, Certificate Sign"),
            (Usage::Authentication, "Digital Signature, Key Encipherment, Data Encipherment"),
        ];
        for (usage, expected) in cases {
            std::fs::write(&file, request(&key, usage, &subject(), &["ss.test".to_owned()]).unwrap())
                .unwrap();
            let path = file.to_str().unwrap();
            let said = openssl(&["req", "-inform", "DER", "-in", path, "-text", "-noout", "-verify"]);
            assert!(said.contains("verify OK") && said.contains("DNS:ss.test"), "{said}");
            let usage = said.split("X509v3 Key Usage:").nth(1).and_then(|rest| rest.lines().nth(1)).unwrap();
            assert_eq!(usage.trim(), expected);
            assert!(!said.contains("Key Usage: critical"), "{said}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
