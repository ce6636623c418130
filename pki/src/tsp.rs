//! Timestamps: requests and tokens [RFC 3161, RFC 5652 §5, RFC 5035].
//!
//! A token proves that a digest existed at its genTime, said by a service whose very certificate global configuration lists: no
//! chain, no validity period, no revocation. [`Token::verify`] checks the imprint, then that one listed certificate is the signer's,
//! then the CMS signature with its signed attributes. The bytes of a token are kept as they came, BER included. [`stamp`] is the
//! service's side.
//!
//! Input is at most [`MAX_TOKEN_BYTES`]. Not here: asking a service (`security-server`), where tokens are kept (`asic`, `xades`).

use der::asn1::{Any, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Sequence, Tag, TagNumber};
use proto::time::UnixTime;

use crate::algorithm::{EcdsaForm, Scheme, SignatureAlgorithm};
use crate::asn1::{self, AlgorithmIdentifier, oid};
use crate::cert::Certificate;
use crate::digest::{DigestAlgorithm, DigestValue};
use crate::name::Name;
use crate::public_key::Strength;

pub mod stamp;

/// Longest response or token.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");
const RSA_ENCRYPTION: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = oid("1.2.840.10045.2.1");

/// PKIStatus granted and grantedWithMods.
const GRANTED: [u32; 2] = [0, 1];

/// `TimeStampReq`, and the part of it that a token repeats.
#[derive(Clone, Debug, Sequence)]
struct TimeStampReq {
    version: u8,
    imprint: MessageImprint,
    #[asn1(optional = "true")]
    policy: Option<ObjectIdentifier>,
    #[asn1(optional = "true")]
    nonce: Option<der::asn1::Int>,
    #[asn1(default = "Default::default")]
    cert_req: bool,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    extensions: Option<Vec<Any>>,
}

#[derive(Clone, Debug, Sequence)]
struct MessageImprint {
    algorithm: AlgorithmIdentifier,
    digest: OctetString,
}

impl MessageImprint {
    fn of(digest: &DigestValue) -> der::Result<Self> {
        let algorithm = ObjectIdentifier::new(digest.algorithm.oid())?;
        Ok(Self {
            algorithm: AlgorithmIdentifier { algorithm, parameters: None },
            digest: OctetString::new(digest.value.as_slice())?,
        })
    }
    fn read(&self) -> Option<DigestValue> {
        let algorithm = DigestAlgorithm::from_oid(&self.algorithm.algorithm.to_string())?;
        let value = self.digest.as_bytes().to_vec();
        (value.len() == algorithm.ring().output_len()).then_some(DigestValue { algorithm, value })
    }
}

/// DER of a request: the imprint, no nonce, no policy, no certificate asked for.
pub fn request(imprint: &DigestValue) -> Vec<u8> {
    let request = |imprint| TimeStampReq {
        version: 1,
        imprint,
        policy: None,
        nonce: None,
        cert_req: false,
        extensions: None,
    };
    MessageImprint::of(imprint)
        .and_then(|imprint| request(imprint).to_der())
        .expect("a digest is far below DER's limits")
}

/// Why a response or token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TspError {
    /// Not a response or token.
    #[error("the timestamp cannot be read")]
    Malformed,
    /// The service said no.
    #[error("the timestamping service refused with status {0}")]
    NotGranted(u32),
    /// Stamps something else.
    #[error("the timestamp is for other data")]
    Imprint,
    /// Signer is no approved TSA.
    #[error("the timestamp is not signed by an approved timestamping service")]
    UnknownSigner,
    /// Bad signature.
    #[error("the timestamp's signature does not verify")]
    Signature,
}

impl TspError {
    /// The code that the reference reports for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "mlog.timestamp_response_object_creation_failed",
            Self::NotGranted(_) => "mlog.timestamp_non_granted_response",
            Self::Imprint => "malformed_signature",
            Self::UnknownSigner => "mlog.tsp_certificate_not_found",
            Self::Signature => "mlog.timestamp_signer_verification_failed",
        }
    }
}

/// A timestamp token (CMS ContentInfo), beside its bytes.
#[derive(Clone, Debug)]
pub struct Token {
    der: Vec<u8>,
    info: TstInfo,
    signer: SignerInfo,
    certs: Vec<Vec<u8>>,
}

/// What is said.
#[derive(Clone, Debug)]
struct TstInfo {
    raw: Vec<u8>,
    imprint: DigestValue,
    gen_time: UnixTime,
}

/// By whom, and how it is signed.
#[derive(Clone, Debug)]
struct SignerInfo {
    id: SignerId,
    digest: DigestAlgorithm,
    /// DER of the attributes as a SET, which is what is signed.
    signed: Vec<u8>,
    attributes: Vec<(ObjectIdentifier, Vec<Any>)>,
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
}

#[derive(Clone, Debug)]
enum SignerId {
    IssuerAndSerial { issuer: Vec<u8>, serial: Vec<u8> },
    KeyId(Vec<u8>),
}

impl Token {
    /// From a `TimeStampResp`; the status must be granted or grantedWithMods.
    ///
    /// # Errors
    /// [`TspError::Malformed`], [`TspError::NotGranted`].
    pub fn from_response(der: &[u8]) -> Result<Self, TspError> {
        if der.len() > MAX_TOKEN_BYTES {
            return Err(TspError::Malformed);
        }
        let parts = asn1::raw_elements(der).ok_or(TspError::Malformed)?;
        let status = parts.first().and_then(|info| read_status(info)).ok_or(TspError::Malformed)?;
        if !GRANTED.contains(&status) {
            return Err(TspError::NotGranted(status));
        }
        match parts.as_slice() {
            [_, token] => Self::parse(token),
            _ => Err(TspError::Malformed),
        }
    }
    /// From the bytes of a token.
    ///
    /// # Errors
    /// [`TspError::Malformed`].
    pub fn parse(der: &[u8]) -> Result<Self, TspError> {
        if der.len() > MAX_TOKEN_BYTES {
            return Err(TspError::Malformed);
        }
        Self::read(der).ok_or(TspError::Malformed)
    }

    fn read(der: &[u8]) -> Option<Self> {
        let data = SignedData::read(der)?;
        let [signer] = data.signers.as_slice() else { return None };
        Some(Self {
            der: der.to_vec(),
            info: TstInfo::read(data.content)?,
            signer: SignerInfo::read(signer)?,
            certs: data.certs,
        })
    }

    /// Its bytes, as they came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// The same token with `cert` among its CMS certificates, as the reference stores it.
    pub fn with_certificate(&self, cert: &Certificate) -> Self {
        if self.certs.iter().any(|other| other == cert.der()) {
            return self.clone();
        }
        add_certificate(&self.der, cert.der())
            .and_then(|der| Self::read(&der))
            .expect("a token that was read can be written with one certificate more")
    }
    /// DER of the CMS certificates.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certs
    }
    /// genTime, without checking anything.
    pub fn gen_time(&self) -> UnixTime {
        self.info.gen_time
    }
    /// The stamped digest.
    pub fn imprint(&self) -> &DigestValue {
        &self.info.imprint
    }
    /// Signed by one of `tsas` over `data`; gives genTime and the signer.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify(&self, data: &[u8], tsas: &[Certificate]) -> Result<(UnixTime, Certificate), TspError> {
        self.verify_digest(&self.info.imprint.algorithm.digest(data), tsas)
    }
    /// As [`verify`](Self::verify), over data of which only the digest is at hand.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify_digest(
        &self,
        digest: &DigestValue,
        tsas: &[Certificate],
    ) -> Result<(UnixTime, Certificate), TspError> {
        let strong = digest.algorithm.for_signatures().is_some()
            || Strength::of(self.info.gen_time) == Strength::OldEvidence;
        if *digest != self.info.imprint || !strong {
            return Err(TspError::Imprint);
        }
        let tsa = tsas.iter().find(|tsa| self.signer.id.is(tsa)).ok_or(TspError::UnknownSigner)?;
        self.signer.verify(&self.info, tsa)?;
        Ok((self.info.gen_time, tsa.clone()))
    }
}

/// The parts of CMS SignedData that matter.
struct SignedData {
    content: Vec<u8>,
    certs: Vec<Vec<u8>>,
    signers: Vec<Any>,
}

impl SignedData {
    /// From a ContentInfo, DER or BER.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut content = None;
        let (mut certs, mut signers) = (Vec::new(), Vec::new());
        // version, digestAlgorithms, encapContentInfo, certificates [0], crls [1], signerInfos
        for (index, part) in signed_data(&asn1::definite(bytes)?)?.iter().enumerate() {
            match (index, part.header().tag()) {
                (0, Tag::Integer) | (1, Tag::Set) => {}
                (2, Tag::Sequence) => content = Some(encapsulated(part)?),
                (3, tag) if tag == CERTIFICATES => {
                    certs = inner(part)?.iter().filter_map(|cert| cert.to_der().ok()).collect();
                }
                (3.., tag) if tag == REVOCATIONS => {}
                (3.., Tag::Set) => signers = inner(part)?,
                _ => return None,
            }
        }
        Some(Self { content: content?, certs, signers })
    }
}

const CERTIFICATES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
const REVOCATIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(1) };
const SIGNED_ATTRIBUTES: Tag = CERTIFICATES;
const KEY_ID: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(0) };

fn inner(value: &Any) -> Option<Vec<Any>> {
    asn1::elements(value.value()).ok()
}

/// Elements of the SignedData inside a definite ContentInfo.
fn signed_data(content_info: &[u8]) -> Option<Vec<Any>> {
    let outer = inner(&Any::from_der(content_info).ok()?)?;
    let [kind, content] = outer.as_slice() else { return None };
    let signed = kind.decode_as::<ObjectIdentifier>().ok()? == SIGNED_DATA;
    let [data] = &inner(content)?[..] else { return None };
    if signed { inner(data) } else { None }
}

/// eContent of a TSTInfo.
fn encapsulated(info: &Any) -> Option<Vec<u8>> {
    let parts = inner(info)?;
    let [kind, content] = parts.as_slice() else { return None };
    let [octets] = &inner(content)?[..] else { return None };
    let fits =
        kind.decode_as::<ObjectIdentifier>().ok()? == TST_INFO && octets.header().tag() == Tag::OctetString;
    fits.then(|| octets.value().to_vec())
}

fn read_status(info: &[u8]) -> Option<u32> {
    let info = Any::from_der(&asn1::definite(info)?).ok()?;
    inner(&info)?.first()?.decode_as::<u32>().ok()
}

/// Splices `cert` into the certificates of a token; all other bytes stay, lengths aside.
fn add_certificate(token: &[u8], cert: &[u8]) -> Option<Vec<u8>> {
    let mut data = signed_data(&asn1::definite(token)?)?;
    let at = data.iter().position(|part| part.header().tag() == CERTIFICATES);
    let present = at.map(|at| data.remove(at).value().to_vec()).unwrap_or_default();
    data.insert(3, Any::new(CERTIFICATES, [present.as_slice(), cert].concat()).ok()?);
    let data: Vec<u8> = data.iter().map(Encode::to_der).collect::<der::Result<Vec<_>>>().ok()?.concat();
    content_info(&data).ok()
}

/// ContentInfo around the elements of a SignedData.
fn content_info(signed_data: &[u8]) -> der::Result<Vec<u8>> {
    let data = asn1::tlv(CERTIFICATES, &asn1::tlv(Tag::Sequence, signed_data)?)?;
    asn1::tlv(Tag::Sequence, &[SIGNED_DATA.to_der()?, data].concat())
}

impl TstInfo {
    fn read(raw: Vec<u8>) -> Option<Self> {
        // version, policy, messageImprint, serialNumber, genTime, and optional parts that change nothing
        let parts = inner(&Any::from_der(&raw).ok()?)?;
        let [version, _policy, imprint, _serial, time, ..] = parts.as_slice() else { return None };
        let imprint = MessageImprint::from_der(&imprint.to_der().ok()?).ok()?.read()?;
        let gen_time = asn1::read_time(time)?;
        (version.decode_as::<u8>().ok()? == 1).then_some(Self { raw, imprint, gen_time })
    }
}

impl SignerInfo {
    fn read(info: &Any) -> Option<Self> {
        // version, sid, digestAlgorithm, signedAttrs [0], signatureAlgorithm, signature, unsignedAttrs [1]
        let parts = inner(info)?;
        let [_version, id, digest, attributes, algorithm, signature, ..] = parts.as_slice() else {
            return None;
        };
        if attributes.header().tag() != SIGNED_ATTRIBUTES || signature.header().tag() != Tag::OctetString {
            return None;
        }
        let digest = AlgorithmIdentifier::from_der(&digest.to_der().ok()?).ok()?;
        let digest = DigestAlgorithm::from_oid(&digest.algorithm.to_string())?;
        let attributes = inner(attributes)?;
        let mut sorted = attributes.iter().map(Encode::to_der).collect::<der::Result<Vec<_>>>().ok()?;
        sorted.sort();
        Some(Self {
            id: SignerId::read(id)?,
            digest,
            signed: asn1::tlv(Tag::Set, &sorted.concat()).ok()?,
            attributes: attributes.iter().map(read_attribute).collect::<Option<_>>()?,
            algorithm: read_algorithm(algorithm, digest)?,
            signature: signature.value().to_vec(),
        })
    }

    /// The values of an attribute that must not be there twice.
    fn attribute(&self, kind: ObjectIdentifier) -> Result<Option<&Any>, TspError> {
        let mut found = self.attributes.iter().filter(|(other, _)| *other == kind);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((_, values)), None) if values.len() == 1 => Ok(values.first()),
            _ => Err(TspError::Signature),
        }
    }

    fn verify(&self, info: &TstInfo, tsa: &Certificate) -> Result<(), TspError> {
        let strength = Strength::of(info.gen_time);
        if strength == Strength::Current && self.digest.for_signatures().is_none() {
            return Err(TspError::Signature);
        }
        let kind = self.attribute(CONTENT_TYPE)?.and_then(|kind| kind.decode_as::<ObjectIdentifier>().ok());
        let digest = self.attribute(MESSAGE_DIGEST)?.map(|digest| digest.value().to_vec());
        if kind != Some(TST_INFO) || digest != Some(self.digest.digest(&info.raw).value) {
            return Err(TspError::Signature);
        }
        self.check_signing_certificate(SIGNING_CERTIFICATE, DigestAlgorithm::Sha1, tsa)?;
        self.check_signing_certificate(SIGNING_CERTIFICATE_V2, DigestAlgorithm::Sha256, tsa)?;
        tsa.public_key()
            .verify(self.algorithm, EcdsaForm::Der, strength, &self.signed, &self.signature)
            .map_err(|_| TspError::Signature)
    }

    /// Where the attribute is there, its first certificate is the signer's [RFC 5035 §4, §5.4].
    fn check_signing_certificate(
        &self,
        kind: ObjectIdentifier,
        default: DigestAlgorithm,
        tsa: &Certificate,
    ) -> Result<(), TspError> {
        let Some(value) = self.attribute(kind)? else { return Ok(()) };
        let matches = || {
            let first = inner(inner(value)?.first()?)?.into_iter().next()?;
            let parts = inner(&first)?;
            let (algorithm, hash) = match parts.as_slice() {
                [algorithm, hash, ..] if algorithm.header().tag() == Tag::Sequence => {
                    let algorithm = AlgorithmIdentifier::from_der(&algorithm.to_der().ok()?).ok()?;
                    (DigestAlgorithm::from_oid(&algorithm.algorithm.to_string())?, hash)
                }
                [hash, ..] => (default, hash),
                [] => return None,
            };
            Some(tsa.digest(algorithm) == hash.value())
        };
        if matches() == Some(true) { Ok(()) } else { Err(TspError::Signature) }
    }
}

fn read_attribute(attribute: &Any) -> Option<(ObjectIdentifier, Vec<Any>)> {
    let parts = inner(attribute)?;
    let [kind, values] = parts.as_slice() else { return None };
    Some((kind.decode_as().ok()?, inner(values)?))
}

/// Some services name only the key's kind here and leave the digest to the other field [RFC 3370 §3.2].
fn read_algorithm(identifier: &Any, digest: DigestAlgorithm) -> Option<SignatureAlgorithm> {
    let der = identifier.to_der().ok()?;
    match AlgorithmIdentifier::from_der(&der).ok()?.algorithm {
        RSA_ENCRYPTION => Some(SignatureAlgorithm::new(Scheme::RsaPkcs1, digest)),
        EC_PUBLIC_KEY => Some(SignatureAlgorithm::new(Scheme::Ecdsa, digest)),
        _ => SignatureAlgorithm::from_identifier(&der).filter(|algorithm| algorithm.digest == digest),
    }
}

impl SignerId {
    fn read(id: &Any) -> Option<Self> {
        match id.header().tag() {
            Tag::Sequence => {
                let parts = inner(id)?;
                let [issuer, serial] = parts.as_slice() else { return None };
                Some(Self::IssuerAndSerial { issuer: issuer.to_der().ok()?, serial: serial.value().to_vec() })
            }
            KEY_ID => Some(Self::KeyId(id.value().to_vec())),
            _ => None,
        }
    }
    fn is(&self, cert: &Certificate) -> bool {
        match self {
            Self::IssuerAndSerial { issuer, serial } => {
                serial == cert.serial_integer()
                    && (issuer == cert.issuer_der()
                        || Name::parse(issuer).is_some_and(|issuer| issuer.matches(cert.issuer_name())))
            }
            Self::KeyId(id) => cert.subject_key_id() == Some(id.as_slice()),
        }
    }
}

#[cfg(test)]
mod tests;
