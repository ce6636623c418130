//! Hash chains: one signature or timestamp for many messages [BATCH-TS].
//!
//! A *result* document holds one digest, which is signed or stamped. A *chain* document leads from that digest down to the parts
//! of one message, step by step; the siblings on the way are digests only, so that it says nothing of other messages. A step is
//! the digest of a DER list:
//!
//! ```text
//! DigestList   ::= SEQUENCE OF SingleDigest
//! SingleDigest ::= SEQUENCE { digest OCTET STRING, digestMethod UTF8String, transforms SEQUENCE {} }
//! ```
//!
//! [`Tree`] builds both documents by hand, byte for byte as the stock servers write them, since building is on the path of every
//! message. [`verify`] reads what stands just so by its lines, everything else through the XML gate, and strictly: SHA-256, 384 and 512 only, at most [`MAX_BYTES`], at most
//! [`MAX_DEPTH`] steps deep, no step twice, no reference out of the chain but to the parts. The value that a chain gives for a
//! part of ours is not trusted: our own digest takes its place.
//!
//! Not here: what the result's digest is worth ([`crate::xades`], [`crate::tsp`]).

use bytes::BufMut;
use proto::fault::FaultCode;
use proto::xml;
use roxmltree::Node;

use crate::c14n::{self, Method};
use crate::digest::{DigestAlgorithm, DigestValue};
use crate::strict::{self, DS, Elements, StrictError};

mod build;
mod flat;
mod written;

pub use build::Tree;
pub use flat::FlatTree;

/// `/message.xml`.
pub const MESSAGE_URI: &str = "/message.xml";
/// `/sig-hashchainresult.xml`.
pub const SIGNATURE_RESULT_URI: &str = "/sig-hashchainresult.xml";
/// `/sig-hashchain.xml`.
pub const SIGNATURE_CHAIN_URI: &str = "/sig-hashchain.xml";
/// `/ts-hashchain.xml`.
pub const TIMESTAMP_CHAIN_URI: &str = "/ts-hashchain.xml";
/// `/META-INF/signatures.xml`.
pub const SIGNATURES_URI: &str = "/META-INF/signatures.xml";

/// Largest chain or result that is read.
pub const MAX_BYTES: usize = 4 << 20;
/// Most steps between the result and a part. A batch of 10000 messages is 14 deep.
pub const MAX_DEPTH: usize = 64;

/// Limits of the XML gate. A thousand parts take three elements each.
const LIMITS: xml::Limits =
    xml::Limits { bytes: MAX_BYTES, depth: 16, attributes: 16, namespaces: 32, elements: 100_000 };

/// Namespace of both documents.
const HASH_CHAIN: &str = "http://cyber.ee/hashchain";

/// The parts of one message: their URIs (`/message.xml`, `/attachment1`, …) and digests, in order.
pub type Parts = Vec<(String, DigestValue)>;

/// Why a chain proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashChainError {
    /// A document breaks a rule of form, or of ours.
    #[error("the hash chain is malformed: {0}")]
    Malformed(String),
    /// The steps do not add up to the result.
    #[error("the hash chain does not lead to its result")]
    Mismatch,
    /// Data at hand does not have the digest the chain gives it.
    #[error("{0} does not have the digest the hash chain gives it")]
    Reference(String),
    /// A reference to something that is not there.
    #[error("the hash chain refers to {0}, which is not there")]
    Unresolved(String),
    /// A part the chain never comes to.
    #[error("the hash chain does not cover {0}")]
    Unused(String),
}

impl HashChainError {
    /// The last part of the fault code.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Malformed(_) => FaultCode::MalformedHashChain,
            Self::Mismatch => FaultCode::InvalidHashChain,
            Self::Reference(_) => FaultCode::InvalidHashChainRef,
            Self::Unresolved(_) => FaultCode::InvalidReference,
            Self::Unused(_) => FaultCode::HashchainUnusedInputs,
        }
    }
}

impl From<StrictError> for HashChainError {
    fn from(error: StrictError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<xml::XmlError> for HashChainError {
    fn from(error: xml::XmlError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What a verified chain said besides that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// URIs of parts that are not at hand (attachments that were not logged), accepted by the digest in the chain alone.
    pub by_digest: Vec<String>,
    /// Where [`MESSAGE_URI`] stands in the tree: which child to take at each step from the root down. Two messages of one batch differ
    /// in it, however their documents are written.
    pub position: Vec<usize>,
}

/// Checks `chain` against `result` for parts whose digests we computed ourselves.
///
/// A part may be given once for each digest algorithm that the chain could name; no other part may be named by the chain.
/// `allow_absent`: attachments that are not among `parts` are taken by the digest in the chain (containers); between servers
/// they are refused. `result` and `chain` are the exact bytes.
///
/// # Errors
/// The broken rule.
pub fn verify(
    result: &[u8],
    chain: &[u8],
    chain_uri: &str,
    parts: &[(String, DigestValue)],
    allow_absent: bool,
) -> Result<Outcome, HashChainError> {
    let required: Vec<&str> = parts.iter().map(|(uri, _)| uri.as_str()).collect();
    verify_with(result, chain, chain_uri, &required, |data| find_part(data, parts, allow_absent))
}

/// Looks a part up among digests we computed ourselves.
pub(crate) fn find_part(
    data: &DataRef<'_>,
    parts: &[(String, DigestValue)],
    allow_absent: bool,
) -> Result<Option<Found>, HashChainError> {
    if data.transform.is_some() {
        return Err(HashChainError::Malformed("a part is transformed before it is digested".to_owned()));
    }
    let mut of_this_part = parts.iter().filter(|(uri, _)| uri == data.uri).peekable();
    if of_this_part.peek().is_none() && allow_absent && is_attachment(data.uri) {
        return Ok(Some(Found::Absent));
    }
    let own = of_this_part.find(|(_, digest)| digest.algorithm == data.algorithm);
    Ok(own.map(|(_, digest)| Found::Own(digest.clone())))
}

/// A part as a chain names it.
#[derive(Clone, Copy, Debug)]
pub struct DataRef<'a> {
    /// Its URI.
    pub uri: &'a str,
    /// The digest asked for.
    pub algorithm: DigestAlgorithm,
    /// To be applied before digesting; see [`digest_data`].
    pub transform: Option<&'a Method>,
}

/// What is known of a part that a chain names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Our digest of it, used whatever the chain says.
    Own(DigestValue),
    /// The digest of the data at hand, which must be the one in the chain.
    Data(DigestValue),
    /// It is not at hand: the digest in the chain is taken.
    Absent,
}

/// [`verify`] with the parts looked up as the chain comes to them; each of `required` must be among those it names.
///
/// # Errors
/// The broken rule, or what `resolve` says; when it gives `None`, [`HashChainError::Unresolved`].
pub fn verify_with(
    result: &[u8],
    chain: &[u8],
    chain_uri: &str,
    required: &[&str],
    mut resolve: impl FnMut(&DataRef<'_>) -> Result<Option<Found>, HashChainError>,
) -> Result<Outcome, HashChainError> {
    let (result_tree, chain_tree);
    let (uri, expected) = match written::read_result(result) {
        Some(read) => read,
        None => {
            result_tree = xml::tree(result, &LIMITS)?;
            read_result(result_tree.root_element())?
        }
    };
    let (base, first_step) = split_step_uri(uri)?;
    if base != chain_uri {
        return Err(HashChainError::Unresolved(shorten(base)));
    }
    let steps = match written::read_chain(chain) {
        Some(steps) => steps,
        None => {
            chain_tree = xml::tree(chain, &LIMITS)?;
            read_chain(chain_tree.root_element())?
        }
    };
    let mut walk = Walk {
        chain_uri,
        steps: Steps::new(steps)?,
        resolve: &mut resolve,
        named: Vec::with_capacity(required.len()),
        path: Vec::with_capacity(8),
        outcome: Outcome::default(),
    };
    if walk.step(first_step, expected.algorithm, 0)? != expected {
        return Err(HashChainError::Mismatch);
    }
    match required.iter().find(|part| !walk.named.iter().any(|named| named == *part)) {
        Some(untouched) => Err(HashChainError::Unused((*untouched).to_owned())),
        None => Ok(walk.outcome),
    }
}

/// Digest of `data` for a [`DataRef`], canonicalised first when it asks for that.
///
/// # Errors
/// [`HashChainError::Malformed`] when data to be canonicalised is not XML within the usual bounds.
pub fn digest_data(data_ref: &DataRef<'_>, data: &[u8]) -> Result<DigestValue, HashChainError> {
    match data_ref.transform {
        None => Ok(data_ref.algorithm.digest(data)),
        Some(method) => {
            let tree = xml::tree(data, &xml::Limits::default())?;
            Ok(data_ref.algorithm.digest(&c14n::canonicalize_document(&tree, method)))
        }
    }
}

/// `/attachment1` and so on.
pub fn is_attachment(uri: &str) -> bool {
    let number = uri.strip_prefix("/attachment").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// One child of a step.
#[derive(Debug)]
enum Value<'a> {
    /// A sibling.
    Hash(DigestValue),
    /// The way down.
    Step { uri: &'a str, algorithm: DigestAlgorithm },
    /// A part of the message.
    Data { uri: &'a str, transform: Option<Method>, digest: DigestValue },
}

/// The steps of a chain that were not yet come to, in the order of their ids.
struct Steps<'a>(Vec<(&'a str, Option<Vec<Value<'a>>>)>);

impl<'a> Steps<'a> {
    fn new(steps: Vec<(&'a str, Vec<Value<'a>>)>) -> Result<Self, HashChainError> {
        let mut steps: Vec<_> = steps.into_iter().map(|(id, values)| (id, Some(values))).collect();
        steps.sort_unstable_by_key(|(id, _)| *id);
        match steps.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            true => Err(HashChainError::Malformed("two steps have the same id".to_owned())),
            false => Ok(Self(steps)),
        }
    }

    /// The step with this id; `None` when there is none or it was taken before.
    fn take(&mut self, id: &str) -> Option<Vec<Value<'a>>> {
        let at = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.0[at].1.take()
    }
}

/// A walk from the result down to the parts.
struct Walk<'a, R> {
    chain_uri: &'a str,
    /// Steps not yet visited, so that none is visited twice.
    steps: Steps<'a>,
    resolve: R,
    named: Vec<&'a str>,
    /// Which child of each step on the way to where the walk is.
    path: Vec<usize>,
    outcome: Outcome,
}

impl<'a, R: FnMut(&DataRef<'_>) -> Result<Option<Found>, HashChainError>> Walk<'a, R> {
    /// The digest of the step's list. Recursion is bounded by [`MAX_DEPTH`].
    fn step(
        &mut self,
        id: &str,
        algorithm: DigestAlgorithm,
        depth: usize,
    ) -> Result<DigestValue, HashChainError> {
        if depth == MAX_DEPTH {
            return Err(HashChainError::Malformed(format!("it is more than {MAX_DEPTH} steps deep")));
        }
        let values = self.steps.take(id).ok_or_else(|| {
            HashChainError::Malformed("a step is not there, or is referred to twice".to_owned())
        })?;
        let mut list = DigestList::of(values.len());
        for (index, value) in values.into_iter().enumerate() {
            self.path.push(index);
            list.push(&match value {
                Value::Hash(digest) => digest,
                Value::Step { uri, algorithm } => {
                    let (base, id) = split_step_uri(uri)?;
                    if !base.is_empty() && base != self.chain_uri {
                        return Err(HashChainError::Unresolved(shorten(base)));
                    }
                    self.step(id, algorithm, depth + 1)?
                }
                Value::Data { uri, transform, digest } => self.part(uri, transform.as_ref(), digest)?,
            });
            self.path.pop();
        }
        Ok(list.digest(algorithm))
    }

    fn part(
        &mut self,
        uri: &'a str,
        transform: Option<&Method>,
        given: DigestValue,
    ) -> Result<DigestValue, HashChainError> {
        self.named.push(uri);
        if uri == MESSAGE_URI {
            self.outcome.position.clone_from(&self.path);
        }
        match (self.resolve)(&DataRef { uri, algorithm: given.algorithm, transform })? {
            Some(Found::Own(own)) => Ok(own),
            Some(Found::Data(computed)) if computed == given => Ok(given),
            Some(Found::Data(_)) => Err(HashChainError::Reference(shorten(uri))),
            Some(Found::Absent) => {
                self.outcome.by_digest.push(uri.to_owned());
                Ok(given)
            }
            None => Err(HashChainError::Unresolved(shorten(uri))),
        }
    }
}

/// `HashChainResult`: where the chain begins, and the digest it must lead to.
fn read_result<'a>(root: Node<'a, '_>) -> Result<(&'a str, DigestValue), HashChainError> {
    if !strict::is(root, HASH_CHAIN, "HashChainResult") {
        return Err(HashChainError::Malformed("the result is some other document".to_owned()));
    }
    strict::only_attributes(root, "HashChainResult", &["URI"])?;
    let uri = strict::required_attribute(root, "HashChainResult", "URI")?;
    let mut children = Elements::of(root, "HashChainResult")?;
    let algorithm = strict::digest_method(children.required(DS, "DigestMethod")?)?;
    let value = strict::base64(children.required(DS, "DigestValue")?, "DigestValue")?;
    children.end()?;
    Ok((uri, DigestValue { algorithm, value }))
}

/// `HashChain`: its steps by their id.
fn read_chain<'a>(root: Node<'a, '_>) -> Result<Vec<(&'a str, Vec<Value<'a>>)>, HashChainError> {
    if !strict::is(root, HASH_CHAIN, "HashChain") {
        return Err(HashChainError::Malformed("the chain is some other document".to_owned()));
    }
    strict::only_attributes(root, "HashChain", &[])?;
    let mut children = Elements::of(root, "HashChain")?;
    let default =
        children.optional(HASH_CHAIN, "DefaultDigestMethod").map(strict::digest_method).transpose()?;
    let mut steps = Vec::new();
    while let Some(step) = children.optional(HASH_CHAIN, "HashStep") {
        strict::only_attributes(step, "HashStep", &["id"])?;
        let mut values = Vec::new();
        let mut elements = Elements::of(step, "HashStep")?;
        while let Some(value) = elements.any() {
            values.push(read_value(value, default)?);
        }
        // A step without an id can be referred to by nobody.
        if let Some(id) = strict::attribute(step, "id") {
            steps.push((id, values));
        }
    }
    children.end()?;
    Ok(steps)
}

fn read_value<'a>(node: Node<'a, '_>, default: Option<DigestAlgorithm>) -> Result<Value<'a>, HashChainError> {
    let kind =
        ["HashValue", "StepRef", "DataRef"].into_iter().find(|kind| strict::is(node, HASH_CHAIN, kind));
    let Some(kind) = kind else { return Err(StrictError::Element("HashStep").into()) };
    strict::only_attributes(node, kind, if kind == "HashValue" { &[] } else { &["URI"] })?;
    let mut children = Elements::of(node, kind)?;
    let own = children.optional(DS, "DigestMethod").map(strict::digest_method).transpose()?;
    let algorithm = own
        .or(default)
        .ok_or_else(|| HashChainError::Malformed("a value has no digest algorithm".to_owned()))?;
    if kind == "StepRef" {
        children.end()?;
        return Ok(Value::Step { uri: strict::required_attribute(node, kind, "URI")?, algorithm });
    }
    let transform = match children.optional(DS, "Transforms") {
        Some(transforms) if kind == "DataRef" => Some(read_transform(transforms)?),
        Some(_) => return Err(StrictError::Element(kind).into()),
        None => None,
    };
    let value = strict::base64(children.required(DS, "DigestValue")?, "DigestValue")?;
    children.end()?;
    let digest = DigestValue { algorithm, value };
    Ok(match kind {
        "DataRef" => Value::Data { uri: strict::required_attribute(node, kind, "URI")?, transform, digest },
        _ => Value::Hash(digest),
    })
}

/// One canonicalisation and nothing else: the only transforms with a meaning here that do not compute.
fn read_transform(transforms: Node<'_, '_>) -> Result<Method, HashChainError> {
    let mut children = Elements::of(transforms, "Transforms")?;
    let transform = children.required(DS, "Transform")?;
    children.end()?;
    strict::canonicalization(transform, "Transform")?.ok_or_else(|| {
        HashChainError::Malformed("a part has a transform other than canonicalisation".to_owned())
    })
}

/// `/sig-hashchain.xml#STEP0` into document and step.
fn split_step_uri(uri: &str) -> Result<(&str, &str), HashChainError> {
    uri.split_once('#')
        .filter(|(_, step)| !step.is_empty())
        .ok_or_else(|| HashChainError::Malformed("a step is referred to without its id".to_owned()))
}

/// A `DigestList` that is being written, DER.
struct DigestList(Vec<u8>);

impl DigestList {
    /// For so many digests.
    fn of(digests: usize) -> Self {
        Self(Vec::with_capacity(SINGLE_BYTES * digests.min(64)))
    }

    /// Adds a `SingleDigest`.
    fn push(&mut self, digest: &DigestValue) {
        let uri = digest.algorithm.uri().as_bytes();
        let length = tlv_bytes(digest.value.len()) + tlv_bytes(uri.len()) + tlv_bytes(0);
        push_header(&mut self.0, 0x30, length);
        for (tag, content) in [(0x04, &*digest.value), (0x0C, uri), (0x30, &[])] {
            push_header(&mut self.0, tag, content.len());
            self.0.extend_from_slice(content);
        }
    }

    /// The digest of the whole list.
    fn digest(&self, algorithm: DigestAlgorithm) -> DigestValue {
        let mut header = [0; 16];
        let mut room = &mut header[..];
        push_header(&mut room, 0x30, self.0.len());
        let unused = room.len();
        let mut hasher = algorithm.hasher();
        hasher.update(&header[..header.len() - unused]);
        hasher.update(&self.0);
        hasher.finish()
    }
}

/// DER of a whole `DigestList`.
fn digest_list<'d>(digests: impl IntoIterator<Item = &'d DigestValue>) -> Vec<u8> {
    let mut list = DigestList::of(2);
    digests.into_iter().for_each(|digest| list.push(digest));
    let mut der = Vec::with_capacity(list.0.len() + 8);
    push_header(&mut der, 0x30, list.0.len());
    der.extend_from_slice(&list.0);
    der
}

/// What a `SingleDigest` with SHA-512 comes to, and a little more.
const SINGLE_BYTES: usize = 128;

/// Bytes of a value with its tag and length.
fn tlv_bytes(content: usize) -> usize {
    let long_form = if content < 0x80 { 0 } else { (usize::BITS - content.leading_zeros()).div_ceil(8) };
    2 + long_form as usize + content
}

/// Tag and length.
fn push_header(out: &mut impl BufMut, tag: u8, content: usize) {
    out.put_u8(tag);
    let length = content.to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => out.put_u8(0),
        [short] if *short < 0x80 => out.put_u8(*short),
        long => {
            out.put_u8(0x80 | u8::try_from(long.len()).expect("a length has at most eight bytes"));
            out.put_slice(long);
        }
    }
}

/// A foreign URI, cut to what fits into a log line.
fn shorten(uri: &str) -> String {
    uri.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
