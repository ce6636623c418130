//! Verdicts on signatures and TLS certificates, kept for as long as every input holds.
//!
//! A verdict depends on bytes, on the configuration and on time. The key is a SHA-256 over all the bytes (of a certificate over the
//! SHA-256 that it has) and the configuration's generation, the value is the earliest instant at which anything in it stops holding.
//! Refusals are not kept, and everything is dropped when another configuration is seen. Two questions are cached apart: whether a
//! signature document is good (a batch carries one document in many messages) and whether its certificate is (all documents of a member
//! carry the same one).
//! What a document says depends on its bytes alone, so it is read once for a whole batch; and what changes from one document of a member
//! to the next is little, so that it is read beside the one before ([`Known`]).
//!
//! Never cached: whether a signature covers the message at hand. Bounded by [`ENTRIES`], [`DOCUMENTS`], [`KNOWN`], [`SHOWN`], [`CERTIFICATES`]
//! and [`KEPT_DOCUMENT_BYTES`]; the older half goes first.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use metrics::Counter;
use pki::cert::{CertError, Certificate};
use pki::digest::DigestValue;
use pki::globalconf::GlobalConf;
use pki::hash_chain::{MESSAGE_URI, Parts};
use pki::message_signature::{self, VerifyError};
use pki::trust::{self, TrustError};
use pki::xades::{Document, Known, SignatureError};
use proto::id::{ClientId, ServerId};
use proto::time::UnixTime;
use ring::digest::{Context, SHA256, digest};

use crate::exchange::{Evidence, Message, Proven, Whole};

/// Most verdicts kept.
pub const ENTRIES: usize = 20_000;
/// Most signature documents kept as they were read: those of the batches under way.
pub const DOCUMENTS: usize = 128;
/// Documents that are compared with a new one before its digest is made.
const LATEST: usize = 8;
/// Documents of different certificates that a new one is read beside: those met last.
const KNOWN: usize = 32;
/// Certificate chains with their OCSP answers of other servers that are compared with what comes before its digest is made.
const SHOWN: usize = 32;
/// Most certificates of other servers and members kept as they were read.
pub const CERTIFICATES: usize = 4096;
/// Longest document that is kept, bytes.
pub const KEPT_DOCUMENT_BYTES: usize = 64 * 1024;

/// A message whose signature holds; [`TrustCache::verify`] alone makes one.
#[derive(Debug)]
pub struct Verified<M> {
    whole: Whole<M>,
    evidence: Evidence,
    at: UnixTime,
    until: UnixTime,
    read: Arc<Read>,
    position: Vec<usize>,
}

impl<M> Verified<M> {
    /// The signature's certificate and OCSP answers hold until here.
    pub fn until(&self) -> UnixTime {
        self.until
    }
    /// What of the decoded signature value only its signer could write: [`Document::mark`].
    pub fn signature_value(&self) -> &[u8] {
        self.read.document.mark()
    }
    /// The message's place in the batch that was signed.
    pub fn position(&self) -> &[usize] {
        &self.position
    }
}

impl<M: Message> Proven for Verified<M> {
    type Message = M;
    fn whole(&self) -> &Whole<M> {
        &self.whole
    }
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }
    fn at(&self) -> UnixTime {
        self.at
    }
    fn until(&self) -> UnixTime {
        self.until
    }
}

/// The TLS certificate of a connection may speak for a client; [`TrustCache::tls_peer`] alone says so.
#[derive(Debug)]
pub struct PeerIdentity {
    server: Option<ServerId>,
    until: UnixTime,
}

impl PeerIdentity {
    /// Whose certificate it is.
    pub fn server(&self) -> Option<&ServerId> {
        self.server.as_ref()
    }
    /// The certificate and its OCSP answers hold until here.
    pub fn until(&self) -> UnixTime {
        self.until
    }
}

/// Kept verdicts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrustCache {
    verdicts: Arc<Mutex<Verdicts>>,
    documents: Arc<Mutex<Recent<Arc<Read>>>>,
    /// The newest of them, found by their bytes.
    latest: Arc<Mutex<VecDeque<Arc<Read>>>>,
    /// One document of each certificate, as it was read.
    known: Arc<Mutex<VecDeque<Arc<Known>>>>,
    certs: Arc<Mutex<Recent<Certificate>>>,
    /// What other servers showed last and was found good.
    shown: Arc<Mutex<VecDeque<Shown>>>,
    /// Verdicts that were not kept, and those that were.
    lookups: Arc<[Counter; 2]>,
}

impl Default for TrustCache {
    fn default() -> Self {
        let counter = |kept| metrics::counter!("causeway_trust_lookups_total", "kept" => kept);
        Self {
            verdicts: Arc::default(),
            documents: Arc::default(),
            latest: Arc::default(),
            known: Arc::default(),
            certs: Arc::default(),
            shown: Arc::default(),
            lookups: Arc::new(["no", "yes"].map(counter)),
        }
    }
}

type Key = [u8; 32];

/// A signature document as it was read, its bytes and their SHA-256.
#[derive(Debug)]
struct Read {
    document: Document,
    sha256: Key,
    /// The same allocation for all messages of a batch, by which the log knows it again.
    bytes: Bytes,
    /// So of the chain result that the document refers to, once it was found to be that.
    result: OnceLock<Bytes>,
}

impl Read {
    /// Replaces the bytes of evidence that has been found good by those that the other messages of its batch have.
    fn share(&self, evidence: &mut Evidence) {
        evidence.document = self.bytes.clone();
        if let Some((result, _)) = &mut evidence.hash_chain {
            let shared = self.result.get_or_init(|| Bytes::copy_from_slice(result));
            if shared == result {
                *result = shared.clone();
            }
        }
    }
}

/// What a server shows of itself with every message, and the digest of it.
#[derive(Debug)]
struct Shown {
    certs: Vec<Key>,
    ocsp: Vec<Bytes>,
    digest: Key,
}

impl Shown {
    /// Copies `ocsp`: pieces of the buffer that it was received in, which would stay with them.
    fn new(chain: &[Certificate], ocsp: &[Bytes]) -> Self {
        let certs: Vec<Key> = chain.iter().map(Certificate::sha256).collect();
        let inputs =
            certs.iter().map(Key::as_slice).chain([&b"ocsp"[..]]).chain(ocsp.iter().map(Bytes::as_ref));
        let digest = digest_of(inputs);
        Self { certs, ocsp: ocsp.iter().map(|der| Bytes::copy_from_slice(der)).collect(), digest }
    }
    fn is(&self, chain: &[Certificate], ocsp: &[Bytes]) -> bool {
        self.certs.iter().copied().eq(chain.iter().map(Certificate::sha256)) && self.ocsp == ocsp
    }
    fn bytes(&self) -> usize {
        self.ocsp.iter().map(Bytes::len).sum()
    }
}

/// What is to be said of a signature that holds.
struct Held {
    until: UnixTime,
    read: Arc<Read>,
    position: Vec<usize>,
}

/// Verdicts under one configuration.
#[derive(Debug, Default)]
struct Verdicts {
    generation: u64,
    kept: Recent<UnixTime>,
}

/// What was used lately, in two halves: entries go into the young one; when it is full it becomes the old one, whose entries are
/// forgotten.
#[derive(Debug)]
struct Recent<V> {
    young: HashMap<Key, V>,
    old: HashMap<Key, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl TrustCache {
    /// Nothing kept yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `evidence` proves that `signer` sent exactly `whole`, at `now`.
    ///
    /// `labelled`: digests of the same parts with the algorithm that the transport header names, when that is not SHA-512.
    ///
    /// # Errors
    /// The first broken rule, in the order of the reference.
    pub fn verify<M: Message>(
        &self,
        whole: Whole<M>,
        labelled: &Parts,
        mut evidence: Evidence,
        signer: &ClientId,
        conf: &GlobalConf,
        now: UnixTime,
    ) -> Result<Verified<M>, VerifyError> {
        let mut parts = digests(&whole.parts, labelled, evidence.hash_chain.is_some());
        let checked = self.read(&evidence.document).map_err(VerifyError::from).and_then(|read| {
            if let Some(other) = message_as_referred_to(&read.document, &parts, whole.message.raw()) {
                parts.to_mut().push(other);
            }
            let held = self.check(read, &parts, &evidence, signer, conf, now)?;
            held.read.share(&mut evidence);
            Ok(held)
        });
        match checked {
            Ok(Held { until, read, position }) => {
                Ok(Verified { whole, evidence, at: now, until, read, position })
            }
            // The cheap checks came first; which rule is named follows the order that all servers use.
            Err(found) => {
                let ordered =
                    message_signature::verify(evidence.borrowed(), &parts, signer, conf, now, false);
                Err(ordered.err().unwrap_or(found))
            }
        }
    }

    fn read(&self, bytes: &Bytes) -> Result<Arc<Read>, SignatureError> {
        // Two documents differ early, so that comparing them is much cheaper than a digest.
        if let Some(read) = lock(&self.latest).iter().find(|read| read.bytes == *bytes) {
            return Ok(read.clone());
        }
        let sha256 = sha256(bytes);
        if let Some(read) = lock(&self.documents).get(&sha256, DOCUMENTS) {
            return Ok(read);
        }
        let document = self.parse(bytes)?;
        if bytes.len() > KEPT_DOCUMENT_BYTES {
            return Ok(Arc::new(Read { document, sha256, bytes: bytes.clone(), result: OnceLock::new() }));
        }
        // Not a piece of the buffer it was received in, which would stay with it.
        let bytes = Bytes::copy_from_slice(bytes);
        let read = Arc::new(Read { document, sha256, bytes, result: OnceLock::new() });
        lock(&self.documents).insert(sha256, read.clone(), DOCUMENTS);
        let mut latest = lock(&self.latest);
        latest.push_front(read.clone());
        latest.truncate(LATEST);
        Ok(read)
    }

    /// Beside a known document of the same certificate when there is one.
    fn parse(&self, bytes: &Bytes) -> Result<Document, SignatureError> {
        let known: Vec<Arc<Known>> = lock(&self.known).iter().cloned().collect();
        if let Some(document) = known.iter().find_map(|known| known.read(bytes)) {
            return Ok(document);
        }
        let document = Document::parse_with(bytes, &|der| self.certificate(der))?;
        if bytes.len() <= KEPT_DOCUMENT_BYTES
            && let Some(new) = Known::of(bytes, &document)
        {
            let mut known = lock(&self.known);
            known.push_front(Arc::new(new));
            known.truncate(KNOWN);
        }
        Ok(document)
    }

    /// A certificate, parsed once as long as it is in use.
    fn certificate(&self, der: &[u8]) -> Result<Certificate, CertError> {
        let key = sha256(der);
        if let Some(cert) = lock(&self.certs).get(&key, CERTIFICATES) {
            return Ok(cert);
        }
        let cert = Certificate::parse(der)?;
        lock(&self.certs).insert(key, cert.clone(), CERTIFICATES);
        Ok(cert)
    }

    fn check(
        &self,
        read: Arc<Read>,
        parts: &Parts,
        evidence: &Evidence,
        signer: &ClientId,
        conf: &GlobalConf,
        now: UnixTime,
    ) -> Result<Held, VerifyError> {
        let document = &read.document;
        let covered = message_signature::check_coverage(document, evidence.borrowed(), parts, false)?;
        let key = key("document", conf, signer, &[&read.sha256]);
        let until = match self.get(conf, &key, now) {
            Some(until) => until,
            None => {
                let until = self.check_document(document, signer, conf, now)?;
                self.keep(conf, key, until);
                until
            }
        };
        Ok(Held { until, read, position: covered.position })
    }

    /// The signature value every time, its certificate once for all documents that carry the same bytes.
    fn check_document(
        &self,
        document: &Document,
        signer: &ClientId,
        conf: &GlobalConf,
        now: UnixTime,
    ) -> Result<UnixTime, VerifyError> {
        document.verify()?;
        let certs: Vec<Key> =
            std::iter::once(&document.signing).chain(&document.extra).map(Certificate::sha256).collect();
        let mut inputs: Vec<&[u8]> = certs.iter().map(Key::as_slice).collect();
        inputs.push(b"ocsp");
        inputs.extend(document.ocsp.iter().map(Vec::as_slice));
        let key = key("signer", conf, &signer.member.clone().client(), &inputs);
        if let Some(until) = self.get(conf, &key, now) {
            return Ok(until);
        }
        let trusted = message_signature::check_document(document, signer, conf, now)?;
        self.keep(conf, key, trusted.until);
        Ok(trusted.until)
    }

    /// Whether the TLS chain of a connection (leaf first) may speak for `client`, with these OCSP answers, at `now`.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn tls_peer(
        &self,
        chain: &[Certificate],
        ocsp: &[Bytes],
        client: &ClientId,
        conf: &GlobalConf,
        now: UnixTime,
    ) -> Result<PeerIdentity, TrustError> {
        // A server shows the same with every message for minutes: comparing it is much cheaper than a digest.
        let found = lock(&self.shown).iter().find(|shown| shown.is(chain, ocsp)).map(|shown| shown.digest);
        let (digest, new) = match found {
            Some(digest) => (digest, None),
            None => {
                let new = Shown::new(chain, ocsp);
                (new.digest, Some(new))
            }
        };
        let key = key("tls", conf, client, &[&digest]);
        let until = match self.get(conf, &key, now) {
            Some(until) => until,
            None => {
                let answers: Vec<Vec<u8>> = ocsp.iter().map(|der| der.to_vec()).collect();
                let trusted = trust::tls_peer(conf, chain, &answers, client, now)?;
                self.keep(conf, key, trusted.until);
                trusted.until
            }
        };
        if let Some(new) = new.filter(|new| new.bytes() <= KEPT_DOCUMENT_BYTES) {
            let mut shown = lock(&self.shown);
            shown.push_front(new);
            shown.truncate(SHOWN);
        }
        let server = chain.first().and_then(|leaf| conf.server_of(leaf, &client.member.instance)).cloned();
        Ok(PeerIdentity { server, until })
    }

    fn get(&self, conf: &GlobalConf, key: &Key, now: UnixTime) -> Option<UnixTime> {
        let until = lock(&self.verdicts).get(conf.generation(), key).filter(|until| now <= *until);
        let [missed, kept] = &*self.lookups;
        if until.is_some() { kept } else { missed }.increment(1);
        until
    }

    fn keep(&self, conf: &GlobalConf, key: Key, until: UnixTime) {
        lock(&self.verdicts).insert(conf.generation(), key, until);
    }
}

/// Nothing panics while it holds one of these locks, and what they guard is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sha256(bytes: &[u8]) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, bytes).as_ref());
    key
}

fn key(question: &str, conf: &GlobalConf, client: &ClientId, inputs: &[&[u8]]) -> Key {
    key_of(question, conf.generation(), client, inputs)
}

/// SHA-256 over the question, the configuration's generation, the client's codes and every input, each with its length: a code may hold
/// whatever separates codes in a text, and two clients must never share a verdict.
fn key_of(question: &str, generation: u64, client: &ClientId, inputs: &[&[u8]]) -> Key {
    let (generation, codes) = (generation.to_be_bytes(), client.codes().count().to_be_bytes());
    let asked = [question.as_bytes(), &generation, &codes];
    digest_of(asked.into_iter().chain(client.codes().map(str::as_bytes)).chain(inputs.iter().copied()))
}

/// SHA-256 over all of them, each with its length.
fn digest_of<'a>(inputs: impl Iterator<Item = &'a [u8]>) -> Key {
    let mut context = Context::new(&SHA256);
    inputs.for_each(|input| {
        context.update(&(input.len() as u64).to_be_bytes());
        context.update(input);
    });
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// The digests a signature is held against. In a hash chain the parts have the digest of their label and no other.
fn digests<'p>(parts: &'p Parts, labelled: &'p Parts, chained: bool) -> Cow<'p, Parts> {
    match (labelled.is_empty(), chained) {
        (true, _) => Cow::Borrowed(parts),
        (false, true) => Cow::Borrowed(labelled),
        (false, false) => Cow::Owned([parts.as_slice(), labelled].concat()),
    }
}

/// A signature without a chain may refer to the message with another digest than the parts are labelled with, as a stock sender does
/// that is set to SHA-256.
fn message_as_referred_to(document: &Document, parts: &Parts, raw: &[u8]) -> Option<(String, DigestValue)> {
    let asked = document.reference(MESSAGE_URI)?.algorithm;
    let known = parts.iter().any(|(uri, digest)| uri == MESSAGE_URI && digest.algorithm == asked);
    (!known).then(|| (MESSAGE_URI.to_owned(), asked.digest(raw)))
}

impl Verdicts {
    fn get(&mut self, generation: u64, key: &Key) -> Option<UnixTime> {
        if self.generation != generation {
            return None;
        }
        self.kept.get(key, ENTRIES)
    }

    fn insert(&mut self, generation: u64, key: Key, until: UnixTime) {
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
        self.kept.insert(key, until, ENTRIES);
    }
}

impl<V: Clone> Recent<V> {
    /// What is kept under `key`; it stays among the young.
    fn get(&mut self, key: &Key, most: usize) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.get(key)?.clone();
        self.insert(*key, value.clone(), most);
        Some(value)
    }

    fn insert(&mut self, key: Key, value: V, most: usize) {
        if self.young.len() >= most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use pki::digest::DigestAlgorithm;
    use proto::rest::RestRequest;
    use proto::transport::{Decoder, Direction, Event, Limits};

    use super::*;

    /// The body of a recorded HTTP message.
    fn unchunked(http: &[u8]) -> Vec<u8> {
        let line = |data: &[u8]| data.windows(2).position(|two| two == b"\r\n").expect("a line ends");
        let head = http.windows(4).position(|four| four == b"\r\n\r\n").expect("the head ends");
        let (mut rest, mut body) = (&http[head + 4..], Vec::new());
        loop {
            let digits = std::str::from_utf8(&rest[..line(rest)]).expect("a chunk's size");
            let size = usize::from_str_radix(digits, 16).expect("in hexadecimal");
            if size == 0 {
                return body;
            }
            let start = line(rest) + 2;
            body.extend_from_slice(&rest[start..start + size]);
            rest = &rest[start + size + 2..];
        }
    }

    /// A stock server set to SHA-256 labels its parts SHA-512 and refers to the message with SHA-256; it is believed.
    #[test]
    fn takes_the_digest_that_the_signature_refers_to() {
        let Some((area, _)) = testkit::vectors::area("captures/digest-sha256") else { return };
        let http = std::fs::read(area.join("rest-get/request.http")).expect("the recording");
        let body = unchunked(&http);
        let boundary: String =
            body[2..].iter().take_while(|byte| **byte != b'\r').map(|b| char::from(*b)).collect();
        let content_type = format!("multipart/mixed; boundary={boundary}");
        let mut decoder =
            Decoder::new(&content_type, Direction::Request, Limits::default()).expect("a boundary");
        decoder.feed(body.into());
        decoder.finish();
        let (mut message, mut document) = (None, None);
        while let Ok(Some(event)) = decoder.poll() {
            match event {
                Event::Message { raw, .. } => message = Some(RestRequest::parse(raw).expect("a request")),
                Event::Signature(raw) => document = Some(raw),
                _ => {}
            }
        }
        let message = message.expect("the message part");
        let signer = message.client.clone();
        let evidence = Evidence { document: document.expect("the signature"), hash_chain: None };
        let conf = pki::globalconf::load_directory(&area.join("../env-ec/globalconf")).expect("it loads");
        let now = UnixTime::from_iso8601("2026-11-21T19:17:35Z").expect("a time");
        let (whole, labelled) = Whole::received(message, DigestAlgorithm::Sha512, Vec::new());
        let (cache, bytes) = (TrustCache::new(), evidence.document.clone());
        let verified = cache.verify(whole, &labelled, evidence, &signer, &conf, now);
        assert!(verified.is_ok(), "{:?}", verified.err());
        // The next message of the batch meets the document as it was read.
        let (one, other) = (cache.read(&bytes).expect("it reads"), cache.read(&bytes).expect("it reads"));
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn in_a_chain_the_label_decides() {
        let parts = |algorithm: DigestAlgorithm| vec![(MESSAGE_URI.to_owned(), algorithm.digest(b"message"))];
        let (own, labelled) = (parts(DigestAlgorithm::Sha512), parts(DigestAlgorithm::Sha256));
        assert_eq!(*digests(&own, &labelled, true), labelled);
        assert_eq!(*digests(&own, &Parts::new(), true), own);
        assert_eq!(*digests(&own, &labelled, false), [own.clone(), labelled.clone()].concat());
    }

    #[test]
    fn clients_that_are_written_alike_share_no_verdict() {
        let member = |code: &str| proto::id::MemberId::new("DEV", "COM", code);
        let (one, other) = (member("1").subsystem("a/b"), member("1/a").subsystem("b"));
        assert_eq!(one.to_string(), other.to_string());
        for question in ["document", "signer", "tls"] {
            assert_ne!(
                key_of(question, 1, &one, &[b"x"]),
                key_of(question, 1, &other, &[b"x"]),
                "{question}"
            );
        }
        let (owner, part) = (member("1").client(), member("1").subsystem("s"));
        assert_ne!(key_of("tls", 1, &owner, &[b"s"]), key_of("tls", 1, &part, &[]));
    }

    #[test]
    fn what_a_server_shows_is_known_by_every_byte_and_where_it_stands() {
        let issued = |name| crate::testing::ca().issue(name, pki::issue::Role::Authentication).1;
        let (leaf, other) = (issued("leaf"), issued("other"));
        let ocsp = |texts: &[&str]| -> Vec<Bytes> {
            texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
        };
        let chain = [leaf.clone(), other.clone()];
        let shown = Shown::new(&chain, &ocsp(&["good", "known"]));
        assert!(shown.is(&chain, &ocsp(&["good", "known"])));
        for (chain, answers) in [
            (&[leaf.clone()][..], ocsp(&["good", "known"])),
            (&[other, leaf], ocsp(&["good", "known"])),
            (&chain, ocsp(&["good"])),
            (&chain, ocsp(&["good", "knowN"])),
            (&chain, ocsp(&["goodk", "nown"])),
            (&chain, ocsp(&["known", "good"])),
        ] {
            assert!(!shown.is(chain, &answers));
            assert_ne!(shown.digest, Shown::new(chain, &answers).digest);
        }
    }

    #[test]
    fn verdicts_are_bounded_and_fall_with_their_configuration() {
        let mut verdicts = Verdicts::default();
        let name = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            key
        };
        for n in 0..3 * ENTRIES {
            verdicts.insert(7, name(n), UnixTime(1));
            // What is asked for stays; what is not makes room.
            assert!(verdicts.get(7, &name(0)).is_some(), "asked for after {n}");
        }
        assert!(verdicts.kept.young.len() + verdicts.kept.old.len() <= ENTRIES + 1);
        assert!(verdicts.get(7, &name(1)).is_none());
        assert!(verdicts.get(8, &name(0)).is_none(), "another configuration");
        verdicts.insert(8, name(1), UnixTime(1));
        assert!(verdicts.get(7, &name(0)).is_none(), "and it does not come back");
    }
}
