//! What a caller makes of a message before the one writer sees it: everything of a record but its number and its place.
//!
//! Digests, checksums, encryption and the encoding of the head are done here, on the exchange's own thread; the writer only adds what
//! nobody else knows. A head is written straight from the message ([`Fields`]), since this is done four times in every exchange.
use bytes::Bytes;
use pki::digest::DigestAlgorithm;
use prost::Message;

use super::crypt::DataKey;
use super::spool::Stored;
use super::store::fields::Fields;
use super::store::format::{BodyRef, MAX_PART_BYTES, Named};
use super::store::index::{Facts, id_hash};
use super::store::segment::Payload;
use super::store::writer::{Document, Draft, lock};
use super::{Direction, Entry, Inner, LogError, policy};

/// Documents whose digests are remembered.
const REMEMBERED: usize = 32;
/// Of a head with the usual names; a longer one makes it grow.
const HEAD_BYTES: usize = 640;

/// The parts of a message that its record holds.
pub(super) struct Kept<'a> {
    message: Bytes,
    stripped: bool,
    /// `None` for those that are left out.
    pub(super) attachments: Vec<Option<&'a Stored>>,
}

/// What a head says besides what the message says itself.
#[derive(Debug, Default)]
struct Said<'a> {
    message_bytes: u64,
    stripped: bool,
    chain: Option<&'a Bytes>,
    attachments: &'a [BodyRef],
    wrapped_key: &'a [u8],
    key_id: &'a str,
}

/// The payload while it is put together.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    length: u64,
}

impl Pieces {
    /// Adds a piece; gives where it begins.
    fn add(&mut self, piece: &Bytes) -> u64 {
        let at = self.length;
        self.length += piece.len() as u64;
        self.pieces.push(piece.clone());
        at
    }
}

impl Inner {
    /// What of a message goes into its record.
    pub(super) fn kept<'a>(&self, entry: &'a Entry) -> Kept<'a> {
        let whole = self.settings.bodies.keeps(&entry.service.client, entry.consumer_side);
        let message = match whole {
            true => entry.message.clone(),
            false => policy::stripped(&entry.message, entry.rest, entry.direction == Direction::Response),
        };
        let attachments =
            entry.attachments.iter().map(|stored| (whole && stored.is_for_log()).then_some(stored)).collect();
        Kept { message, stripped: !whole, attachments }
    }

    /// Everything of a record that can be made without knowing its place.
    pub(super) fn draft(&self, entry: &Entry, kept: &Kept<'_>) -> Result<Draft, LogError> {
        let key_id = self.settings.keys.current(&entry.local().member);
        let mut payload = Pieces { pieces: Vec::with_capacity(2 + entry.attachments.len()), length: 0 };
        payload.add(&kept.message);
        let chain = entry.hash_chain.as_ref().map(|(_, chain)| chain);
        if let Some(chain) = chain {
            payload.add(chain);
        }
        let (attachments, epoch) = self.bodies(entry, kept, key_id, &mut payload)?;
        if payload.length > MAX_PART_BYTES as u64 {
            return Err(LogError::BodyTooLarge { limit: MAX_PART_BYTES as u64 });
        }
        let data_key =
            key_id.map(|_| DataKey::new()).transpose().map_err(|e| LogError::Disk(e.to_string()))?;
        let wrapped_key = self.wrapped(key_id, data_key.as_ref())?;
        let payload = match &data_key {
            None => payload.pieces,
            Some(data_key) => {
                let sealed = data_key.seal(0, payload.pieces.concat());
                vec![sealed.map_err(|e| LogError::Disk(e.to_string()))?.into()]
            }
        };
        let head = head_of(
            entry,
            &Said {
                message_bytes: kept.message.len() as u64,
                stripped: kept.stripped,
                chain,
                attachments: &attachments,
                wrapped_key: &wrapped_key,
                key_id: key_id.unwrap_or_default(),
            },
        );
        let chain_result = entry.hash_chain.as_ref().map(|(result, _)| self.document(result));
        let signature = self.document(&entry.signature);
        let facts = Facts {
            id: id_hash(&entry.message_id, &entry.local().into()),
            response: entry.direction == Direction::Response,
            at: entry.at.0,
            until: entry.until.0,
            signature: signature.sha512,
            bodies: attachments.iter().flat_map(|body| &body.extents).map(|extent| extent.segment).collect(),
        };
        Ok(Draft { head, facts, payload: Payload::new(payload), signature, chain_result, epoch })
    }

    /// Where each body lies; those in memory become part of the payload. With the epoch of those that lie in the log.
    fn bodies(
        &self,
        entry: &Entry,
        kept: &Kept<'_>,
        key_id: Option<&str>,
        payload: &mut Pieces,
    ) -> Result<(Vec<BodyRef>, Option<u64>), LogError> {
        let (mut bodies, mut epoch) = (Vec::with_capacity(entry.attachments.len()), None);
        for (stored, kept) in entry.attachments.iter().zip(&kept.attachments) {
            if kept.is_none() {
                bodies.push(BodyRef { length: stored.len(), left_out: true, ..BodyRef::default() });
                continue;
            }
            let inline_at = stored.in_memory().map(|bytes| payload.add(bytes));
            let (extents, written_in) = stored.extents();
            epoch = written_in.or(epoch);
            let (extents, wrapped_key) = (extents.to_vec(), self.wrapped(key_id, stored.data_key())?);
            let length = stored.len();
            bodies.push(BodyRef { length, inline_at, extents, left_out: false, wrapped_key });
        }
        Ok((bodies, epoch))
    }

    /// A data key under the member's; empty when there is none.
    fn wrapped(&self, key_id: Option<&str>, data: Option<&DataKey>) -> Result<Vec<u8>, LogError> {
        let wrapped = key_id.zip(data).map(|(id, data)| self.settings.keys.wrap(id, data));
        wrapped.transpose().map(Option::unwrap_or_default).map_err(|e| LogError::Disk(e.to_string()))
    }

    /// A document with its digest. The messages of a batch share one, so the digests of the last few are remembered by where
    /// their bytes lie, which cannot change while we hold them.
    fn document(&self, bytes: &Bytes) -> Document {
        let same =
            |d: &&Document| std::ptr::eq(d.bytes.as_ptr(), bytes.as_ptr()) && d.bytes.len() == bytes.len();
        if let Some(found) = lock(&self.remembered).iter().find(same) {
            return found.clone();
        }
        let document = Document { bytes: bytes.clone(), sha512: pki::digest::sha512(bytes) };
        let mut remembered = lock(&self.remembered);
        remembered.push_front(document.clone());
        remembered.truncate(REMEMBERED);
        document
    }
}

/// A [`RecordHead`](super::store::format::RecordHead) without what the writer adds, encoded.
fn head_of(entry: &Entry, said: &Said<'_>) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let mut fields = Fields(&mut head);
    fields.number(2, entry.at.0 as u64);
    fields.flag(3, entry.direction == Direction::Response);
    fields.flag(4, entry.consumer_side);
    fields.flag(5, entry.rest);
    fields.text(6, &entry.message_id);
    fields.text(7, &entry.request_id);
    fields.message(8, |fields| Named::from(&*entry.client).put(fields));
    fields.message(9, |fields| Named::from(&entry.service.client).put(fields));
    fields.text(10, &entry.service.code);
    fields.optional_text(11, entry.service.version.as_deref());
    for (uri, digest) in entry.parts.iter() {
        fields.message(12, |fields| {
            fields.text(1, uri);
            fields.text(2, digest.algorithm.uri());
            fields.bytes(3, &digest.value);
        });
    }
    fields.number(13, said.message_bytes);
    if let Some(chain) = said.chain {
        fields.number(16, chain.len() as u64);
        fields.bytes(17, &DigestAlgorithm::Sha256.digest(chain).value);
    }
    for body in said.attachments {
        fields.message(18, |fields| body.encode(fields.0).expect("a vector grows as far as is needed"));
    }
    fields.flag(19, said.stripped);
    fields.number(20, entry.until.0 as u64);
    fields.bytes(21, said.wrapped_key);
    fields.text(22, said.key_id);
    head
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::store::format::{Part, RecordHead};
    use super::super::tests::entry;
    use super::*;
    use proto::time::UnixTime;

    /// What is written field by field is what the type that reads it would write, byte for byte.
    #[test]
    fn a_head_is_that_of_the_type_which_reads_it() {
        let bodies = [
            BodyRef { length: 5, inline_at: Some(0), ..BodyRef::default() },
            BodyRef { length: 1 << 40, left_out: true, wrapped_key: vec![9; 200], ..BodyRef::default() },
        ];
        let signature = Bytes::from_static(b"<signature/>");
        for number in 0..40 {
            let mut entry = entry(number, &signature, vec![]);
            entry.consumer_side = number % 3 == 0;
            entry.rest = number % 5 == 0;
            Arc::make_mut(&mut entry.service).version =
                [None, Some(String::new()), Some("v1".into())][number as usize % 3].clone();
            if number % 4 == 1 {
                (entry.hash_chain, entry.until, entry.at) = (None, UnixTime(0), UnixTime(-5));
                Arc::make_mut(&mut entry.client).subsystem = None;
                entry.request_id = "r".repeat(300).into();
            }
            let few = number as usize % 3;
            let said = Said {
                message_bytes: number * 1000,
                stripped: number % 2 == 0,
                chain: entry.hash_chain.as_ref().map(|(_, chain)| chain),
                attachments: &bodies[..few],
                wrapped_key: &[7; 140][..few * 70],
                key_id: ["", "key", "another"][few],
            };
            let parts = entry.parts.iter().map(|(uri, digest)| Part {
                uri: uri.clone(),
                algorithm: digest.algorithm.uri().to_owned(),
                digest: digest.value.clone(),
            });
            let expected = RecordHead {
                at: entry.at.0,
                good_until: entry.until.0,
                response: entry.direction == Direction::Response,
                consumer_side: entry.consumer_side,
                rest: entry.rest,
                message_id: entry.message_id.to_string(),
                request_id: entry.request_id.to_string(),
                client: (&*entry.client).into(),
                provider: (&entry.service.client).into(),
                service_code: entry.service.code.clone(),
                service_version: entry.service.version.clone(),
                parts: parts.collect(),
                message_bytes: said.message_bytes,
                stripped: said.stripped,
                chain_bytes: said.chain.map_or(0, |chain| chain.len() as u64),
                chain_sha256: said
                    .chain
                    .map_or_else(Vec::new, |chain| DigestAlgorithm::Sha256.digest(chain).value),
                attachments: said.attachments.to_vec(),
                wrapped_key: said.wrapped_key.to_vec(),
                key_id: said.key_id.to_owned(),
                ..RecordHead::default()
            };
            assert_eq!(head_of(&entry, &said), expected.encode_to_vec(), "{number}");
        }
    }
}
