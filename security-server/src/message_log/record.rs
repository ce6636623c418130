//! Records as they are read back from the log: exact bytes, and the timestamp when there is one.
use std::sync::Arc;

use bytes::Bytes;
use pki::digest::{DigestAlgorithm, DigestValue};
use pki::hash_chain::{self, FlatTree};
use proto::id::{ClientId, ServiceId};
use proto::time::UnixTime;

use super::crypt::TAG_BYTES;
use super::store::format::{BodyRef, Client, DocumentRef, Kind, RecordHead, StampHead};
use super::store::index::Place;
use super::store::reader::Reader;
use super::store::segment::{Frame, ReadError};
use super::store::writer::lock;
use super::{Direction, LogError, MessageLog, RecordId, Stored};

/// Most records looked at for one message id.
const MAX_FOUND: usize = 1000;
/// Of a leaf in a stamp: SHA-512.
const LEAF_BYTES: usize = 64;

/// A record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number.
    pub id: RecordId,
    /// Request or response.
    pub direction: Direction,
    /// The local party is the client.
    pub consumer_side: bool,
    /// `X-Road-Id` or `xroad:id`.
    pub message_id: String,
    /// `x-road-request-id`.
    pub request_id: String,
    /// Who asked.
    pub client: ClientId,
    /// What was asked.
    pub service: ServiceId,
    /// It is a REST message.
    pub rest: bool,
    /// When it was signed or verified.
    pub at: UnixTime,
    /// REST header part or SOAP envelope.
    pub message: Bytes,
    /// The body was not to be logged: `message` is what is kept of it, and its container does not verify.
    pub stripped: bool,
    /// Signature document, as it was logged.
    pub signature: Bytes,
    /// Chain result and chain of the signature.
    pub hash_chain: Option<(Bytes, Bytes)>,
    /// Bodies or attachments, in order.
    pub attachments: Vec<Stored>,
    /// URIs and digests of all parts, as signed.
    pub parts: Vec<(String, DigestValue)>,
    /// The timestamp, when there is one.
    pub stamp: Option<Stamp>,
}

/// A record that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub id: RecordId,
    /// Request or response.
    pub direction: Direction,
    /// It has a timestamp.
    pub stamped: bool,
}

/// A timestamp of a record.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// The token, DER.
    pub token: Bytes,
    /// What the token says.
    pub at: UnixTime,
    /// Name of the timestamping service.
    pub service: String,
    /// Chain result and the record's chain; `None` when the token is for this record's signature value alone.
    pub batch: Option<(Bytes, Bytes)>,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No record has this number.
    #[error("there is no record {0}")]
    Unknown(u64),
    /// The log.
    #[error("record {record} cannot be read: {reason}")]
    Unreadable {
        /// Which.
        record: u64,
        /// Where and why.
        reason: String,
    },
    /// Nothing is wrong with it, but for the file of keys.
    #[error("record {record} is encrypted with key {key}, which is not in encryption-keys-file")]
    NoKey {
        /// Which.
        record: u64,
        /// Id of the key.
        key: String,
    },
    /// The index.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl MessageLog {
    /// Reads a record, its attachments excepted, which stay where they lie. Blocks.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(&self, id: RecordId) -> Result<Record, RecordError> {
        let place = self.inner.index.record(id.0)?.ok_or(RecordError::Unknown(id.0))?;
        let stamp = self.inner.index.stamp(id.0)?;
        let reader = &self.inner.reader;
        read_record(reader, id, place, stamp).map_err(|reason| match reason {
            ReadError::NoKey(key) => RecordError::NoKey { record: id.0, key },
            ReadError::Io { .. } | ReadError::Damaged { .. } | ReadError::OtherKey(_) => {
                RecordError::Unreadable { record: id.0, reason: reason.to_string() }
            }
        })
    }

    /// Records with this message id whose local party is exactly `local`, in order. Blocks.
    ///
    /// # Errors
    /// The index; records that cannot be read are left out and said in the log.
    pub fn find(&self, message_id: &str, local: &ClientId) -> Result<Vec<Found>, LogError> {
        let client = Client::from(local);
        let numbers = self.inner.index.by_message_id(message_id, &client, MAX_FOUND)?;
        let mut found = Vec::new();
        for number in numbers {
            match self.head(number) {
                // The index knows a hash only.
                Ok(head) if head.message_id != message_id || *head.local() != client => {}
                Ok(head) => found.push(Found {
                    id: RecordId(number),
                    direction: if head.response { Direction::Response } else { Direction::Request },
                    stamped: self.inner.index.stamp(number)?.is_some(),
                }),
                // It has expired meanwhile.
                Err(RecordError::Unknown(_)) => {}
                Err(error) => tracing::error!(%error, "a record of the message log is left out"),
            }
        }
        found.sort_by_key(|record| record.id);
        Ok(found)
    }

    /// The head of a record: all that looking for it takes. Its documents and its timestamp cost much more.
    fn head(&self, number: u64) -> Result<RecordHead, RecordError> {
        let Place { segment, offset } =
            self.inner.index.record(number)?.ok_or(RecordError::Unknown(number))?;
        let head = self.inner.reader.frame(segment, offset, Kind::Record).and_then(|frame| {
            let head = decode::<RecordHead>(&frame).filter(|head| head.sequence == number);
            head.ok_or(ReadError::Damaged { segment, offset, what: "there is another record, or none" })
        });
        head.map_err(|reason| RecordError::Unreadable { record: number, reason: reason.to_string() })
    }

    /// Waits until everything appended so far can be found.
    pub async fn indexed(&self) {
        self.inner.index.caught_up().await;
    }
}

impl Record {
    /// Which of the two parties is ours.
    pub fn local(&self) -> &ClientId {
        if self.consumer_side { &self.client } else { &self.service.client }
    }
}

pub(super) fn read_record(
    reader: &Arc<Reader>,
    id: RecordId,
    place: Place,
    stamp: Option<(Place, usize)>,
) -> Result<Record, ReadError> {
    let Place { segment, offset } = place;
    let damaged = |what| ReadError::Damaged { segment, offset, what };
    let frame = reader.frame(segment, offset, Kind::Record)?;
    let head = decode::<RecordHead>(&frame).ok_or_else(|| damaged("the head of a record cannot be read"))?;
    if head.sequence != id.0 {
        return Err(damaged("there is another record"));
    }
    if !head.key_id.is_empty() && !reader.keys.has(&head.key_id) {
        return Err(ReadError::NoKey(head.key_id));
    }
    let whole =
        decrypted(reader, &head, &frame.payload).ok_or_else(|| ReadError::OtherKey(head.key_id.clone()))?;
    let mut payload = whole.clone();
    let mut cut = |length: u64| {
        let length = usize::try_from(length).ok().filter(|n| *n <= payload.len());
        length.map(|n| payload.split_to(n)).ok_or_else(|| damaged("a record is shorter than it says"))
    };
    let message = cut(head.message_bytes)?;
    let chain = cut(head.chain_bytes)?;
    let hash_chain = match &head.chain_result {
        Some(result) => Some((document(reader, result)?, chain)),
        None => None,
    };
    let attachments = head
        .attachments
        .iter()
        .map(|body| {
            attachment(reader, &head.key_id, &whole, body)
                .ok_or_else(|| damaged("an attachment is not there"))
        })
        .collect::<Result<_, _>>()?;
    let parts = head
        .parts
        .iter()
        .map(|part| Some((part.uri.clone(), part.value()?)))
        .collect::<Option<_>>()
        .ok_or_else(|| damaged("a digest algorithm is not known"))?;
    let stamp = stamp.map(|(place, number)| read_stamp(reader, id, place, number)).transpose()?;
    Ok(Record {
        id,
        direction: if head.response { Direction::Response } else { Direction::Request },
        consumer_side: head.consumer_side,
        client: (&head.client).into(),
        service: head.service(),
        rest: head.rest,
        at: UnixTime(head.at),
        message,
        stripped: head.stripped,
        signature: match &head.signature {
            Some(signature) => document(reader, signature)?,
            None => return Err(damaged("a record has no signature")),
        },
        hash_chain,
        attachments,
        parts,
        stamp,
        message_id: head.message_id,
        request_id: head.request_id,
    })
}

fn decode<M: prost::Message + Default>(frame: &Frame) -> Option<M> {
    M::decode(frame.head.as_slice()).ok()
}

fn document(reader: &Reader, reference: &DocumentRef) -> Result<Bytes, ReadError> {
    reader.document(&reference.extent)
}

/// The payload of a record in clear.
fn decrypted(reader: &Reader, head: &RecordHead, payload: &Bytes) -> Option<Bytes> {
    if head.wrapped_key.is_empty() {
        return Some(payload.clone());
    }
    let key = reader.keys.unwrap(&head.key_id, &head.wrapped_key)?;
    key.open(0, payload).map(Bytes::from)
}

fn attachment(reader: &Arc<Reader>, key_id: &str, payload: &Bytes, body: &BodyRef) -> Option<Stored> {
    if body.left_out {
        return Some(Stored::left_out(body.length));
    }
    let Some(at) = body.inline_at else {
        let key = match body.wrapped_key.is_empty() {
            true => None,
            false => Some(reader.keys.unwrap(key_id, &body.wrapped_key)?),
        };
        let tag = if key.is_some() { TAG_BYTES as u64 } else { 0 };
        let whole = body.extents.iter().map(|e| e.length.saturating_sub(tag)).sum::<u64>() == body.length;
        return whole.then(|| Stored::in_log(body.length, body.extents.clone(), key, reader.clone()));
    };
    let (at, length) = (usize::try_from(at).ok()?, usize::try_from(body.length).ok()?);
    let end = at.checked_add(length).filter(|end| *end <= payload.len())?;
    Some(Stored::from(payload.slice(at..end)))
}

/// Stamps kept with their trees, each 1.4 MB for ten thousand records: records are read in order, or seldom.
const STAMPS_KEPT: usize = 2;

/// A stamp as it lies in the log, with the tree that its leaves make.
#[derive(Debug)]
pub(crate) struct StampFrame {
    head: StampHead,
    token: Bytes,
    /// The chain result.
    result: Bytes,
    /// `None` when the stamp is one record's own.
    tree: Option<FlatTree>,
    /// The tree's result is the stamped one to the byte, so that each of its chains leads there.
    is_its_result: bool,
}

fn read_stamp(reader: &Reader, id: RecordId, place: Place, number: usize) -> Result<Stamp, ReadError> {
    let Place { segment, offset } = place;
    let damaged = |what| ReadError::Damaged { segment, offset, what };
    let frame = stamp_frame(reader, place)?;
    let head = &frame.head;
    if head.sequences.get(number) != Some(&id.0) {
        return Err(damaged("the stamp is for other records"));
    }
    let batch = frame.tree.as_ref().map(|tree| chain_in_batch(&frame, tree, number)).transpose();
    let batch = batch.map_err(damaged)?;
    let (token, service) = (frame.token.clone(), head.service.clone());
    Ok(Stamp { token, at: UnixTime(head.stamped_at), service, batch })
}

/// Records of one batch are mostly read one after the other, and making its tree costs thousands of hashes.
fn stamp_frame(reader: &Reader, place: Place) -> Result<Arc<StampFrame>, ReadError> {
    let known =
        lock(&reader.stamps).iter().find(|(known, _)| *known == place).map(|(_, frame)| frame.clone());
    if let Some(frame) = known {
        return Ok(frame);
    }
    let Place { segment, offset } = place;
    let damaged = |what| ReadError::Damaged { segment, offset, what };
    let frame = reader.frame(segment, offset, Kind::Stamp)?;
    let mut head =
        decode::<StampHead>(&frame).ok_or_else(|| damaged("the head of a stamp cannot be read"))?;
    let leaves = frame.payload;
    let alone = head.chain_result.is_empty();
    let whole = DigestAlgorithm::Sha256.digest(&leaves).value == head.leaves_sha256
        && leaves.len() == head.sequences.len() * LEAF_BYTES;
    if !alone && !whole {
        return Err(damaged("the leaves of a stamp are not those that were stamped"));
    }
    let tree = (!alone).then(|| tree_of(&leaves));
    let is_its_result = tree.as_ref().is_some_and(|tree| tree.result_xml() == head.chain_result);
    let (token, result) = (std::mem::take(&mut head.token), std::mem::take(&mut head.chain_result));
    let frame =
        Arc::new(StampFrame { head, token: token.into(), result: result.into(), tree, is_its_result });
    let mut kept = lock(&reader.stamps);
    kept.push_front((place, frame.clone()));
    kept.truncate(STAMPS_KEPT);
    Ok(frame)
}

/// The record's own chain is made from the leaves of all, and must lead to the very result that was stamped.
fn chain_in_batch(
    frame: &StampFrame,
    tree: &FlatTree,
    number: usize,
) -> Result<(Bytes, Bytes), &'static str> {
    let StampFrame { result, is_its_result, .. } = frame;
    let chain = tree.chain_xml(number);
    if !is_its_result {
        let value = tree.leaf(number).unwrap_or_default().to_vec();
        let leaf = DigestValue { algorithm: DigestAlgorithm::Sha512, value };
        let part = [(hash_chain::SIGNATURES_URI.to_owned(), leaf)];
        hash_chain::verify(result, &chain, hash_chain::TIMESTAMP_CHAIN_URI, &part, false)
            .map_err(|_| "the chain of a stamp does not lead to its result")?;
    }
    Ok((result.clone(), chain.into()))
}

/// The tree of a batch timestamp over these leaves, each the SHA-512 of a signature document.
pub(super) fn tree_of(leaves: &[u8]) -> FlatTree {
    FlatTree::build(hash_chain::TIMESTAMP_CHAIN_URI, hash_chain::SIGNATURES_URI, leaves)
}
