//! Writing signature documents: the classic shape with every fixed piece rendered beforehand.
//!
//! No white space, no empty-element tags and no line breaks in base64, so that SignedInfo and SignedProperties stand in the text
//! as their canonical forms have them, except that the canonical start tags repeat the root's namespaces. A test holds both
//! against the canonicaliser.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::time::UnixTime;

use super::{ASIC, SIGNED_PROPERTIES_TYPE, XADES};
use crate::algorithm::SignatureAlgorithm;
use crate::c14n;
use crate::cert::Certificate;
use crate::digest::{DigestAlgorithm, DigestValue};
use crate::hash_chain::SIGNATURE_RESULT_URI;
use crate::strict::DS;

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// The signature policy all stock servers name.
const POLICY: &str = "<xades:SignaturePolicyIdentifier><xades:SignaturePolicyId><xades:SigPolicyId>\
    <xades:Identifier Qualifier=\"OIDAsURN\">urn:oid:1.3.6.1.4.1.3516.16.2</xades:Identifier>\
    <xades:Description>Profile for High Performance Digital Signatures (version 1.2)</xades:Description>\
    </xades:SigPolicyId><xades:SigPolicyHash>\
    <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha512\"></ds:DigestMethod><ds:DigestValue>\
    BuO0EDNfkxSVlUbxCzmQPzX1AUF1/xx9ytWHk3/6SAOePxQiniEfDYk+90QeYb3lWpV3Izhuz9fKaYyE+lTcXw==\
    </ds:DigestValue></xades:SigPolicyHash><xades:SigPolicyQualifiers><xades:SigPolicyQualifier>\
    <xades:SPURI>https://repo.cyber.ee/dsig-profile-1.2.pdf</xades:SPURI></xades:SigPolicyQualifier>\
    </xades:SigPolicyQualifiers></xades:SignaturePolicyId></xades:SignaturePolicyIdentifier>";

/// Everything of a signature document that does not change from message to message. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Template(pub(super) Arc<Pieces>);

/// The document in order; between them go URI, digest, digest of the properties, value, time and type of the part.
#[derive(Debug)]
pub(super) struct Pieces {
    /// ` xmlns:asic="…" …`, as the root has them.
    pub(super) namespaces: String,
    /// To the content of SignedInfo, without its start tag.
    pub(super) head: String,
    /// Content of SignedInfo to the URI.
    pub(super) before_uri: String,
    /// From the digest of the part to that of the properties.
    pub(super) before_properties: String,
    /// From the value to the content of SignedProperties, without its start tag.
    pub(super) certificate: String,
    /// Content of SignedProperties from the time to the type of the part.
    pub(super) before_mime: String,
    /// From the end of SignedProperties to the end.
    pub(super) tail: String,
}

pub(super) const SIGNED_INFO_TAG: &str = "<ds:SignedInfo";
pub(super) const VALUE_TAG: &str = "<ds:SignatureValue Id=\"signature-value\">";
pub(super) const SIGNED_INFO_END: &str = "</ds:DigestValue></ds:Reference></ds:SignedInfo>";
pub(super) const PROPERTIES_TAG: &str = "<xades:SignedProperties";
pub(super) const PROPERTIES_ID: &str = " Id=\"signed-properties\">";
pub(super) const BEFORE_TIME: &str = "<xades:SignedSignatureProperties><xades:SigningTime>";
pub(super) const PROPERTIES_END: &str = "</xades:MimeType></xades:DataObjectFormat></xades:SignedDataObjectProperties>\
    </xades:SignedProperties>";

impl Template {
    /// `intermediates` below the trust anchor; `ocsp` DER, the signing certificate's first.
    pub fn new(
        signing: &Certificate,
        intermediates: &[Certificate],
        ocsp: &[Vec<u8>],
        algorithm: SignatureAlgorithm,
    ) -> Self {
        let namespaces =
            format!(" xmlns:asic=\"{ASIC}\" xmlns:ds=\"{DS}\" xmlns:xades=\"{XADES}\" xmlns:xsi=\"{XSI}\"");
        Self(Arc::new(Pieces {
            head: format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?><asic:XAdESSignatures{namespaces}>\
                 <ds:Signature Id=\"signature\">"
            ),
            namespaces,
            before_uri: format!(
                "<ds:CanonicalizationMethod Algorithm=\"{}\"></ds:CanonicalizationMethod>\
                 <ds:SignatureMethod Algorithm=\"{}\"></ds:SignatureMethod>\
                 <ds:Reference Id=\"signature-reference-0\" URI=\"",
                c14n::INCLUSIVE,
                algorithm.uri()
            ),
            before_properties: format!(
                "</ds:DigestValue></ds:Reference><ds:Reference Id=\"signature-reference-1\" \
                 Type=\"{SIGNED_PROPERTIES_TYPE}\" URI=\"#signed-properties\">{}",
                before_digest(DigestAlgorithm::Sha512)
            ),
            certificate: format!(
                "</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate>\
                 </ds:X509Data></ds:KeyInfo><ds:Object><xades:QualifyingProperties Target=\"#signature\">",
                STANDARD.encode(signing.der())
            ),
            before_mime: format!(
                "</xades:SigningTime><xades:SigningCertificate><xades:Cert>{}</xades:Cert>\
                 </xades:SigningCertificate>{POLICY}</xades:SignedSignatureProperties>\
                 <xades:SignedDataObjectProperties>\
                 <xades:DataObjectFormat ObjectReference=\"#signature-reference-0\"><xades:MimeType>",
                certificate_reference(signing)
            ),
            tail: format!(
                "<xades:UnsignedProperties><xades:UnsignedSignatureProperties>{}{}\
                 </xades:UnsignedSignatureProperties></xades:UnsignedProperties></xades:QualifyingProperties>\
                 </ds:Object></ds:Signature></asic:XAdESSignatures>",
                certificate_values(intermediates),
                revocation_values(ocsp)
            ),
        }))
    }

    /// For one reference: [`crate::hash_chain::MESSAGE_URI`] or [`SIGNATURE_RESULT_URI`] with its digest.
    pub fn prepare(&self, uri: &str, digest: &DigestValue, signing_time: UnixTime) -> Unsigned {
        self.prepare_nth(uri, digest, signing_time, 0)
    }

    /// As [`Self::prepare`], for the `nth` signature (from 0) within one millisecond: later ones have it as further digits of the
    /// fraction of their time. RSA PKCS#1 is deterministic, and two signatures over the same message must not be the same bytes,
    /// since receivers take the second for a repetition.
    pub fn prepare_nth(&self, uri: &str, digest: &DigestValue, signing_time: UnixTime, nth: u32) -> Unsigned {
        let pieces = &*self.0;
        let mut time = signing_time.to_iso8601();
        if nth > 0 {
            let seconds = time.split(['.', 'Z']).next().unwrap_or_default();
            time = format!("{seconds}.{:03}{nth:06}Z", signing_time.0.rem_euclid(1000));
        }
        let mime = mime_of(uri);

        let mut properties = DigestAlgorithm::Sha512.hasher();
        for piece in [PROPERTIES_TAG, &pieces.namespaces, PROPERTIES_ID] {
            properties.update(piece.as_bytes());
        }
        for piece in pieces.properties(&time, mime) {
            properties.update(piece.as_bytes());
        }

        let mut info = Vec::with_capacity(1536);
        for piece in [SIGNED_INFO_TAG, &pieces.namespaces, ">", &pieces.before_uri] {
            info.extend_from_slice(piece.as_bytes());
        }
        c14n::escape_attribute(&mut info, uri);
        for piece in [
            "\">",
            &before_digest(digest.algorithm),
            &STANDARD.encode(&digest.value),
            &pieces.before_properties,
            &STANDARD.encode(&properties.finish().value),
            SIGNED_INFO_END,
        ] {
            info.extend_from_slice(piece.as_bytes());
        }
        Unsigned { template: self.clone(), signed_info: info, time, mime }
    }
}

impl Pieces {
    /// Content of SignedProperties and its end tag.
    fn properties<'a>(&'a self, time: &'a str, mime: &'static str) -> [&'a str; 5] {
        [BEFORE_TIME, time, &self.before_mime, mime, PROPERTIES_END]
    }
}

/// A document waiting for its signature value.
#[derive(Clone, Debug)]
pub struct Unsigned {
    template: Template,
    signed_info: Vec<u8>,
    time: String,
    mime: &'static str,
}

impl Unsigned {
    /// The canonical SignedInfo: what the key signs.
    pub fn signed_info(&self) -> &[u8] {
        &self.signed_info
    }

    /// The finished document. `value`: RSA as is, ECDSA r‖s.
    pub fn finish(self, value: &[u8]) -> Vec<u8> {
        let pieces = &*self.template.0;
        let fixed =
            pieces.head.len() + pieces.certificate.len() + pieces.before_mime.len() + pieces.tail.len();
        let mut out = Vec::with_capacity(fixed + self.signed_info.len() + 2 * value.len() + 512);
        let mut write = |piece: &str| out.extend_from_slice(piece.as_bytes());
        write(&pieces.head);
        write(SIGNED_INFO_TAG);
        // The canonical text without the namespaces that it repeats.
        out.extend_from_slice(&self.signed_info[SIGNED_INFO_TAG.len() + pieces.namespaces.len()..]);
        let mut write = |piece: &str| out.extend_from_slice(piece.as_bytes());
        write(VALUE_TAG);
        write(&STANDARD.encode(value));
        write(&pieces.certificate);
        write(PROPERTIES_TAG);
        write(PROPERTIES_ID);
        for piece in pieces.properties(&self.time, self.mime) {
            write(piece);
        }
        write(&pieces.tail);
        out
    }
}

/// The type that the document gives the part.
pub(super) fn mime_of(uri: &str) -> &'static str {
    if uri == SIGNATURE_RESULT_URI { "application/hash-chain-result" } else { "text/xml" }
}

pub(super) fn before_digest(algorithm: DigestAlgorithm) -> String {
    format!("<ds:DigestMethod Algorithm=\"{}\"></ds:DigestMethod><ds:DigestValue>", algorithm.uri())
}

/// `CertDigest` and `IssuerSerial`, without white space: readers go by position.
fn certificate_reference(cert: &Certificate) -> String {
    let mut issuer = Vec::new();
    c14n::escape_text(&mut issuer, &cert.issuer());
    format!(
        "<xades:CertDigest>{}{}</ds:DigestValue></xades:CertDigest><xades:IssuerSerial><ds:X509IssuerName>{}\
         </ds:X509IssuerName><ds:X509SerialNumber>{}</ds:X509SerialNumber></xades:IssuerSerial>",
        before_digest(DigestAlgorithm::Sha512),
        STANDARD.encode(cert.sha512()),
        String::from_utf8_lossy(&issuer),
        cert.serial_decimal()
    )
}

fn certificate_values(intermediates: &[Certificate]) -> String {
    if intermediates.is_empty() {
        return String::new();
    }
    let (mut references, mut values) = (String::new(), String::new());
    for (number, cert) in (1..).zip(intermediates) {
        references.push_str(&format!(
            "<xades:Cert URI=\"#encapsulated-cert-{number}\">{}</xades:Cert>",
            certificate_reference(cert)
        ));
        values.push_str(&format!(
            "<xades:EncapsulatedX509Certificate Id=\"encapsulated-cert-{number}\">{}\
             </xades:EncapsulatedX509Certificate>",
            STANDARD.encode(cert.der())
        ));
    }
    format!(
        "<xades:CompleteCertificateRefs Id=\"complete-certificate-refs\"><xades:CertRefs>{references}\
         </xades:CertRefs></xades:CompleteCertificateRefs><xades:CertificateValues>{values}\
         </xades:CertificateValues>"
    )
}

fn revocation_values(ocsp: &[Vec<u8>]) -> String {
    let values: String = (1..)
        .zip(ocsp)
        .map(|(number, der)| {
            format!(
                "<xades:EncapsulatedOCSPValue Id=\"ocsp-response-{number}\">{}</xades:EncapsulatedOCSPValue>",
                STANDARD.encode(der)
            )
        })
        .collect();
    format!("<xades:RevocationValues><xades:OCSPValues>{values}</xades:OCSPValues></xades:RevocationValues>")
}
