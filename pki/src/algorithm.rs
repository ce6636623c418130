//! Signature algorithms: XML-DSig URIs, the names management requests use, and X.509 AlgorithmIdentifiers [RFC 4055, RFC 5758].
//!
//! Two doors with different width. URIs and names come from messages and configurations, where SHA-1 has no place: they do not know
//! it. AlgorithmIdentifiers come from certificates, OCSP answers and timestamps, some of which are old evidence: they do, and
//! [`crate::public_key`] decides. Verification is there, signing in [`crate::key`].

use x509_parser::asn1_rs::FromDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

use crate::digest::DigestAlgorithm;

/// How a signature value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1,
    /// RSASSA-PSS with MGF1 of the same digest, salt as long as the digest.
    RsaPss,
    /// ECDSA on the key's curve.
    Ecdsa,
}

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureAlgorithm {
    /// Scheme.
    pub scheme: Scheme,
    /// Digest.
    pub digest: DigestAlgorithm,
}

/// How an ECDSA value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcdsaForm {
    /// ASN.1 `SEQUENCE { r, s }`: certificates, OCSP, configuration directories, management requests.
    Der,
    /// r‖s, equal halves, possibly shorter than the field: XML signatures.
    Raw,
}

const fn algorithm(scheme: Scheme, digest: DigestAlgorithm) -> SignatureAlgorithm {
    SignatureAlgorithm { scheme, digest }
}

/// URI, JCA name and OID of each algorithm. PSS has one OID for all digests, which stand in its parameters.
const TABLE: [(SignatureAlgorithm, &str, &str, &str); 11] = {
    use DigestAlgorithm::{Sha1, Sha256, Sha384, Sha512};
    use Scheme::{Ecdsa, RsaPkcs1, RsaPss};
    const PSS: &str = "1.2.840.113549.1.1.10";
    [
        (
            algorithm(RsaPkcs1, Sha512),
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
            "SHA512withRSA",
            "1.2.840.113549.1.1.13",
        ),
        (
            algorithm(RsaPkcs1, Sha384),
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
            "SHA384withRSA",
            "1.2.840.113549.1.1.12",
        ),
        (
            algorithm(RsaPkcs1, Sha256),
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "SHA256withRSA",
            "1.2.840.113549.1.1.11",
        ),
        (
            algorithm(RsaPkcs1, Sha1),
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
            "SHA1withRSA",
            "1.2.840.113549.1.1.5",
        ),
        (
            algorithm(RsaPss, Sha512),
            "http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1",
            "SHA512withRSAandMGF1",
            PSS,
        ),
        (
            algorithm(RsaPss, Sha384),
            "http://www.w3.org/2007/05/xmldsig-more#sha384-rsa-MGF1",
            "SHA384withRSAandMGF1",
            PSS,
        ),
        (
            algorithm(RsaPss, Sha256),
            "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1",
            "SHA256withRSAandMGF1",
            PSS,
        ),
        (
            algorithm(Ecdsa, Sha512),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
            "SHA512withECDSA",
            "1.2.840.10045.4.3.4",
        ),
        (
            algorithm(Ecdsa, Sha384),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
            "SHA384withECDSA",
            "1.2.840.10045.4.3.3",
        ),
        (
            algorithm(Ecdsa, Sha256),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
            "SHA256withECDSA",
            "1.2.840.10045.4.3.2",
        ),
        (
            algorithm(Ecdsa, Sha1),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1",
            "SHA1withECDSA",
            "1.2.840.10045.4.1",
        ),
    ]
};

impl SignatureAlgorithm {
    /// Its parts as one value.
    pub const fn new(scheme: Scheme, digest: DigestAlgorithm) -> Self {
        algorithm(scheme, digest)
    }
    fn row(self) -> Option<&'static (Self, &'static str, &'static str, &'static str)> {
        TABLE.iter().find(|row| row.0 == self)
    }
    /// XML-DSig URI; empty for PSS with SHA-1, which has none.
    pub fn uri(self) -> &'static str {
        self.row().map_or("", |row| row.1)
    }
    /// By XML-DSig URI. SHA-1 and unknown ones give `None`.
    pub fn from_uri(uri: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == uri).and_then(|row| row.0.for_signatures())
    }
    /// As management requests spell it: `SHA512withRSA`; empty for PSS with SHA-1.
    pub fn jca_name(self) -> &'static str {
        self.row().map_or("", |row| row.2)
    }
    /// By the names of management requests: `SHA512withRSA`, `SHA512withRSAandMGF1`, `SHA512withECDSA`; case is free, SHA-1 unknown.
    pub fn from_jca_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2.eq_ignore_ascii_case(name)).and_then(|row| row.0.for_signatures())
    }
    /// OID in dotted form.
    pub fn oid(self) -> &'static str {
        self.row().map_or("", |row| row.3)
    }
    /// `self` when it may protect something new: not with SHA-1.
    pub fn for_signatures(self) -> Option<Self> {
        self.digest.for_signatures().map(|_| self)
    }
    /// From the DER of an AlgorithmIdentifier. `None` for what we do not verify, PSS parameters other than [`Scheme::RsaPss`]'s
    /// among them.
    pub fn from_identifier(der: &[u8]) -> Option<Self> {
        // The stricter reader first: the other one takes any tag for an OID.
        <crate::asn1::AlgorithmIdentifier as der::Decode>::from_der(der).ok()?;
        Self::from_parsed(&AlgorithmIdentifier::from_der(der).ok()?.1)
    }
    pub(crate) fn from_parsed(identifier: &AlgorithmIdentifier<'_>) -> Option<Self> {
        let oid = identifier.algorithm.to_id_string();
        let row = TABLE.iter().find(|row| row.3 == oid)?;
        match row.0.scheme {
            Scheme::RsaPkcs1 | Scheme::Ecdsa => Some(row.0),
            Scheme::RsaPss => Self::from_pss(identifier),
        }
    }
    fn from_pss(identifier: &AlgorithmIdentifier<'_>) -> Option<Self> {
        let params = RsaSsaPssParams::try_from(identifier.parameters.as_ref()?).ok()?;
        let digest = DigestAlgorithm::from_oid(&params.hash_algorithm_oid().to_id_string())?;
        let mask = params.mask_gen_algorithm().ok()?;
        let fits = mask.mgf.to_id_string() == MGF1
            && same_digest(&mask.hash, digest)
            && usize::try_from(params.salt_length()).ok()? == digest.ring().output_len()
            && params.trailer_field() == 1;
        fits.then_some(algorithm(Scheme::RsaPss, digest))
    }
}

const MGF1: &str = "1.2.840.113549.1.1.8";

fn same_digest(oid: &Oid<'_>, digest: DigestAlgorithm) -> bool {
    DigestAlgorithm::from_oid(&oid.to_id_string()) == Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every URI and name leads back to its algorithm, unless SHA-1 makes it.
    #[test]
    fn names_lead_back() {
        for (algorithm, uri, name, _) in TABLE {
            let expected = (algorithm.digest != DigestAlgorithm::Sha1).then_some(algorithm);
            assert_eq!(SignatureAlgorithm::from_uri(uri), expected, "{uri}");
            assert_eq!(SignatureAlgorithm::from_jca_name(name), expected, "{name}");
            assert_eq!((algorithm.uri(), algorithm.jca_name()), (uri, name));
        }
        assert_eq!(SignatureAlgorithm::from_uri("http://www.w3.org/2001/04/xmldsig-more#rsa-md5"), None);
        assert_eq!(SignatureAlgorithm::from_jca_name(""), None);
    }

    /// AlgorithmIdentifiers written by OpenSSL.
    #[test]
    fn identifiers() {
        let pss = |salt: &str| {
            format!(
                "304106092a864886f70d01010a3034a00f300d06096086480165030402030500\
                 a11c301a06092a864886f70d010108300d06096086480165030402030500a2030201{salt}"
            )
        };
        let cases = [
            ("sha512WithRSA", "300d06092a864886f70d01010d0500".to_owned(), Some("SHA512withRSA")),
            ("sha1WithRSA", "300d06092a864886f70d0101050500".to_owned(), Some("SHA1withRSA")),
            ("ecdsa-with-SHA256", "300a06082a8648ce3d040302".to_owned(), Some("SHA256withECDSA")),
            ("PSS, salt of 64", pss("40"), Some("SHA512withRSAandMGF1")),
            ("PSS, salt of 20", pss("14"), None),
            ("PSS without parameters", "300b06092a864886f70d01010a".to_owned(), None),
            ("md5WithRSA", "300d06092a864886f70d0101040500".to_owned(), None),
            ("bytes behind it", "300d06092a864886f70d01010d050000".to_owned(), None),
        ];
        for (name, hex, expected) in cases {
            let der = hex::decode(hex).expect("hex");
            assert_eq!(
                SignatureAlgorithm::from_identifier(&der).map(SignatureAlgorithm::jca_name),
                expected,
                "{name}"
            );
        }
    }
}
