//! Message digests by name, URI and OID; one streaming hasher.
//!
//! Ring computes all of them. SHA-1 exists only for OCSP CertIDs, the 5577 look-up and configuration version 2 (wire dossier §22
//! row 5): [`DigestAlgorithm::for_signatures`] leaves it out.

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// Look-ups only.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512, what everything new is made with.
    Sha512,
}

impl DigestAlgorithm {
    /// XML-DSig or XML-Enc URI.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Sha1 => "http://www.w3.org/2000/09/xmldsig#sha1",
            Self::Sha256 => "http://www.w3.org/2001/04/xmlenc#sha256",
            Self::Sha384 => "http://www.w3.org/2001/04/xmldsig-more#sha384",
            Self::Sha512 => "http://www.w3.org/2001/04/xmlenc#sha512",
        }
    }
    /// By URI; unknown ones (MD5 among them) give `None`.
    pub fn from_uri(uri: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|a| a.uri() == uri)
    }
    /// As `x-hash-algorithm` spells it, in any of the spellings of wire dossier §5.1.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().replace('-', "").as_str() {
            "SHA1" => Some(Self::Sha1),
            "SHA256" => Some(Self::Sha256),
            "SHA384" => Some(Self::Sha384),
            "SHA512" => Some(Self::Sha512),
            _ => None,
        }
    }
    /// OID in dotted form.
    pub const fn oid(self) -> &'static str {
        match self {
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        }
    }
    /// By OID in dotted form.
    pub fn from_oid(oid: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|a| a.oid() == oid)
    }
    /// `self` when it may protect a signature.
    pub fn for_signatures(self) -> Option<Self> {
        (self != Self::Sha1).then_some(self)
    }
    /// Ring's name for it.
    pub fn ring(self) -> &'static ring::digest::Algorithm {
        match self {
            Self::Sha1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha384 => &ring::digest::SHA384,
            Self::Sha512 => &ring::digest::SHA512,
        }
    }
    /// Digest of `data`.
    pub fn digest(self, data: &[u8]) -> DigestValue {
        DigestValue { algorithm: self, value: ring::digest::digest(self.ring(), data).as_ref().to_vec() }
    }
    /// A streaming digest.
    pub fn hasher(self) -> Hasher {
        Hasher { algorithm: self, context: ring::digest::Context::new(self.ring()) }
    }
}

/// A digest with the algorithm that made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DigestValue {
    /// What made it.
    pub algorithm: DigestAlgorithm,
    /// Raw bytes.
    pub value: Vec<u8>,
}

/// A digest being computed.
#[derive(Clone)]
pub struct Hasher {
    algorithm: DigestAlgorithm,
    context: ring::digest::Context,
}

impl Hasher {
    /// More input.
    pub fn update(&mut self, data: &[u8]) {
        self.context.update(data);
    }
    /// The digest.
    pub fn finish(self) -> DigestValue {
        DigestValue { algorithm: self.algorithm, value: self.context.finish().as_ref().to_vec() }
    }
}
