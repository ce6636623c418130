//! Message digests by name, URI and OID; one streaming hasher.
//!
//! Ring computes all of them but SHA-512, through which every byte of every message passes: OpenSSL's has AVX2. SHA-1 exists only for
//! OCSP CertIDs, the 5577 look-up and configuration version 2: [`DigestAlgorithm::for_signatures`] leaves it out.

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
    /// As `x-hash-algorithm` spells it, in any of its spellings.
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
        let value = match self {
            Self::Sha512 => sha512(data).to_vec(),
            Self::Sha1 | Self::Sha256 | Self::Sha384 => {
                ring::digest::digest(self.ring(), data).as_ref().to_vec()
            }
        };
        DigestValue { algorithm: self, value }
    }
    /// A streaming digest.
    pub fn hasher(self) -> Hasher {
        let context = match self {
            Self::Sha512 => Context::OpenSsl(openssl::sha::Sha512::new()),
            Self::Sha1 | Self::Sha256 | Self::Sha384 => {
                Context::Ring(ring::digest::Context::new(self.ring()))
            }
        };
        Hasher { algorithm: self, context }
    }
}

/// SHA-512 of `data`. By the hasher itself: the library's one call looks the algorithm up by its name and allocates, each time, which
/// takes longer than the digest of a short text.
pub fn sha512(data: &[u8]) -> [u8; 64] {
    let mut hasher = openssl::sha::Sha512::new();
    hasher.update(data);
    hasher.finish()
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
    context: Context,
}

#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "one lives for a message; a box would cost more than the bytes")]
enum Context {
    Ring(ring::digest::Context),
    OpenSsl(openssl::sha::Sha512),
}

impl Hasher {
    /// More input.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.context {
            Context::Ring(context) => context.update(data),
            Context::OpenSsl(context) => context.update(data),
        }
    }
    /// The digest.
    pub fn finish(self) -> DigestValue {
        let value = match self.context {
            Context::Ring(context) => context.finish().as_ref().to_vec(),
            Context::OpenSsl(context) => context.finish().to_vec(),
        };
        DigestValue { algorithm: self.algorithm, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4: "abc" by each algorithm; one pass and many agree, also with the other library.
    #[test]
    fn digests_are_those_of_the_standard() {
        let abc = [
            (DigestAlgorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (DigestAlgorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                DigestAlgorithm::Sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                DigestAlgorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd\
                 454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ];
        let long: Vec<u8> = (0..70_000_u32).map(|n| n as u8).collect();
        for (algorithm, expected) in abc {
            assert_eq!(hex::encode(algorithm.digest(b"abc").value), expected);
            let mut hasher = algorithm.hasher();
            for piece in long.chunks(997) {
                hasher.update(piece);
            }
            let whole = algorithm.digest(&long);
            assert_eq!(hasher.finish(), whole);
            assert_eq!(ring::digest::digest(algorithm.ring(), &long).as_ref(), whole.value);
        }
    }
}
