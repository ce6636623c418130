//! The bytes of a segment: file head, frames, and what the heads of frames say. Pure; format 1.
//!
//! ```text
//! segment  = file head (64 bytes)  frame*  zeros
//! file head: magic "causeway-log v1\n" (16)  salt (4)  CRC-32C of these 20 bytes (4)  zeros
//! frame    = prefix (32)  [chain value (32)]  head  payload  zeros up to a multiple of 8
//! prefix:    0 tag (4)            the segment's salt XOR (offset of the frame / 8)
//!            4 kind (1)           5 flags (1): bit 0, the frame is chained
//!            6 zeros (2)          8 length of the head (4)        12 length of the payload (4)
//!           16 CRC-32C of chain value and head (4)                20 CRC-32C of the payload (4)
//!           24 zeros (4)         28 CRC-32C of the 28 bytes before (4)
//! ```
//!
//! Numbers are little-endian, heads are Protocol Buffers. A prefix vouches for its own lengths, so damage inside a frame costs that
//! frame only, and the next one is found without guessing. The salt is random: what a peer sends cannot look like a frame.
//!
//! **Chain.** Value n = SHA-256(value n−1 ‖ kind ‖ head). Chained are the frames that say something (segment start, record, stamp,
//! seal); their heads hold the digests of everything they speak of, as already computed for the signature, so that no body is ever
//! hashed by the log. The first frame of a segment carries on from the last value of the segment before. Frames that only hold bytes
//! (documents, bodies) are not chained.
//!
//! **Growth.** New fields may join a head; a reader passes over those it does not know. New kinds from 128 on may be passed over
//! too; a kind below 128 that a program does not know stops it.
use pki::digest::{DigestAlgorithm, DigestValue};
use proto::id::{ClientId, MemberId, ServiceId};
use ring::digest::{Context, SHA256};

use super::fields::Fields;

/// Of a segment file.
pub(crate) const FILE_MAGIC: [u8; 16] = *b"causeway-log v1\n";
/// Where the first frame stands.
pub(crate) const FILE_HEAD_BYTES: u64 = 64;
/// Of a frame's prefix.
pub(crate) const PREFIX_BYTES: usize = 32;
/// Of a chain value.
pub(crate) const CHAIN_BYTES: usize = 32;
/// Frames start at multiples of this.
pub(crate) const ALIGN: u64 = 8;
/// Largest head or payload; what one frame may cost a reader in memory.
pub(crate) const MAX_PART_BYTES: usize = 256 * 1024 * 1024;

/// A chain value.
pub(crate) type Chain = [u8; CHAIN_BYTES];

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// First frame of a segment.
    Start,
    /// One message; its payload holds the message, its hash chain and small bodies.
    Record,
    /// A signature document or a chain result that several records share.
    Document,
    /// A part of a body that was too big for memory.
    Body,
    /// Bodies that no record names: their exchange failed.
    Void,
    /// One timestamp for one or many records; its payload holds their leaves.
    Stamp,
    /// Last frame of a segment that is full.
    Seal,
    /// A kind that this program may pass over.
    Other(u8),
}

impl Kind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Start => 1,
            Self::Record => 2,
            Self::Document => 3,
            Self::Body => 4,
            Self::Void => 5,
            Self::Stamp => 6,
            Self::Seal => 7,
            Self::Other(code) => code,
        }
    }
    fn from_code(code: u8) -> Option<Self> {
        let known =
            [Self::Start, Self::Record, Self::Document, Self::Body, Self::Void, Self::Stamp, Self::Seal];
        let found = known.into_iter().find(|kind| kind.code() == code);
        found.or((code >= 128).then_some(Self::Other(code)))
    }
    /// Whether frames of this kind carry a chain value.
    pub(crate) const fn is_chained(self) -> bool {
        matches!(self, Self::Start | Self::Record | Self::Stamp | Self::Seal)
    }
}

/// The start of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) kind: Kind,
    pub(crate) chained: bool,
    pub(crate) head_bytes: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) head_crc: u32,
    pub(crate) payload_crc: u32,
}

impl Prefix {
    pub(crate) fn encode(&self, tag: u32) -> [u8; PREFIX_BYTES] {
        let mut out = [0; PREFIX_BYTES];
        out[0..4].copy_from_slice(&tag.to_le_bytes());
        out[4] = self.kind.code();
        out[5] = u8::from(self.chained);
        out[8..12].copy_from_slice(&self.head_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.head_crc.to_le_bytes());
        out[20..24].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..28]);
        out[28..32].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` when these bytes are no prefix with this tag.
    pub(crate) fn decode(bytes: &[u8], tag: u32) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if number(0)? != tag || number(28)? != crc32c::crc32c(bytes.get(..28)?) {
            return None;
        }
        let prefix = Self {
            kind: Kind::from_code(bytes[4])?,
            chained: bytes[5] & 1 == 1,
            head_bytes: number(8)?,
            payload_bytes: number(12)?,
            head_crc: number(16)?,
            payload_crc: number(20)?,
        };
        let sane = [prefix.head_bytes, prefix.payload_bytes].iter().all(|n| *n as usize <= MAX_PART_BYTES);
        sane.then_some(prefix)
    }

    /// From the frame's first byte to the head's.
    pub(crate) fn head_at(&self) -> u64 {
        (PREFIX_BYTES + if self.chained { CHAIN_BYTES } else { 0 }) as u64
    }
    /// From the frame's first byte to the payload's.
    pub(crate) fn payload_at(&self) -> u64 {
        self.head_at() + u64::from(self.head_bytes)
    }
    /// To the next frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        padded(self.payload_at() + u64::from(self.payload_bytes))
    }
}

/// `length` rounded up to where a frame may start.
pub(crate) const fn padded(length: u64) -> u64 {
    length.div_ceil(ALIGN) * ALIGN
}

/// The tag of a frame at `offset`. Offsets are below 32 GiB.
pub(crate) fn tag(salt: u32, offset: u64) -> u32 {
    salt ^ ((offset / ALIGN) as u32)
}

/// The chain's next value.
pub(crate) fn next_chain(before: &Chain, kind: Kind, head: &[u8]) -> Chain {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&[kind.code()]);
    context.update(head);
    let mut value = [0; CHAIN_BYTES];
    value.copy_from_slice(context.finish().as_ref());
    value
}

/// The first bytes of a segment file.
pub(crate) fn file_head(salt: u32) -> [u8; FILE_HEAD_BYTES as usize] {
    let mut out = [0; FILE_HEAD_BYTES as usize];
    out[..16].copy_from_slice(&FILE_MAGIC);
    out[16..20].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32c::crc32c(&out[..20]);
    out[20..24].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The salt in a file head; `None` when the head is not one of format 1.
pub(crate) fn salt_of(head: &[u8]) -> Option<u32> {
    let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let whole = head.starts_with(&FILE_MAGIC) && number(20)? == crc32c::crc32c(&head[..20]);
    if whole { number(16) } else { None }
}

/// Head of [`Kind::Start`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StartHead {
    /// Of the log, the same in every segment: 16 random bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) log_id: Vec<u8>,
    /// This segment's number, from 1.
    #[prost(uint64, tag = "2")]
    pub(crate) segment: u64,
    /// The number that the next record gets.
    #[prost(uint64, tag = "3")]
    pub(crate) first_sequence: u64,
    /// How much of the segment before counts: what lies behind was never acknowledged.
    #[prost(uint64, tag = "4")]
    pub(crate) previous_end: u64,
    /// The chain's value at that point.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) previous_chain: Vec<u8>,
    /// When the segment was started.
    #[prost(int64, tag = "6")]
    pub(crate) at: i64,
}

/// Head of [`Kind::Seal`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SealHead {
    /// The number that the next record gets, in the next segment.
    #[prost(uint64, tag = "1")]
    pub(crate) next_sequence: u64,
}

/// Head of [`Kind::Document`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DocumentHead {
    /// SHA-512 of the payload.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) sha512: Vec<u8>,
}

/// Head of [`Kind::Body`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BodyHead {
    /// Which body, within one run of the server.
    #[prost(uint64, tag = "1")]
    pub(crate) spool: u64,
    /// Which part of it, from 0.
    #[prost(uint32, tag = "2")]
    pub(crate) number: u32,
}

/// Head of [`Kind::Void`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VoidHead {
    /// Bodies of this run of the server that no record will name.
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) spools: Vec<u64>,
}

/// A payload in the log.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Extent {
    #[prost(uint64, tag = "1")]
    pub(crate) segment: u64,
    /// Of the frame.
    #[prost(uint64, tag = "2")]
    pub(crate) offset: u64,
    /// Of the payload.
    #[prost(uint64, tag = "3")]
    pub(crate) length: u64,
}

/// A document that records share.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DocumentRef {
    #[prost(message, required, tag = "1")]
    pub(crate) extent: Extent,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) sha512: Vec<u8>,
}

/// A part of the message as it was signed.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Part {
    /// `/message.xml`, `/attachment1`, …
    #[prost(string, tag = "1")]
    pub(crate) uri: String,
    /// XML-DSig URI of the digest algorithm.
    #[prost(string, tag = "2")]
    pub(crate) algorithm: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) digest: Vec<u8>,
}

/// Where a body or attachment lies.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BodyRef {
    #[prost(uint64, tag = "1")]
    pub(crate) length: u64,
    /// Its offset in the record's own payload, when it is there whole.
    #[prost(uint64, optional, tag = "2")]
    pub(crate) inline_at: Option<u64>,
    /// Else its parts, in order.
    #[prost(message, repeated, tag = "3")]
    pub(crate) extents: Vec<Extent>,
    /// It is not in the log: its digest among the parts is all there is.
    #[prost(bool, tag = "4")]
    pub(crate) left_out: bool,
    /// The key that its parts are encrypted with, wrapped under [`RecordHead::key_id`]; empty when they are not.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) wrapped_key: Vec<u8>,
}

/// A member or subsystem.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Client {
    #[prost(string, tag = "1")]
    pub(crate) instance: String,
    #[prost(string, tag = "2")]
    pub(crate) class: String,
    #[prost(string, tag = "3")]
    pub(crate) code: String,
    #[prost(string, optional, tag = "4")]
    pub(crate) subsystem: Option<String>,
}

/// A [`Client`] by the names that somebody else keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) instance: &'a str,
    pub(crate) class: &'a str,
    pub(crate) code: &'a str,
    pub(crate) subsystem: Option<&'a str>,
}

/// Head of [`Kind::Record`]. The payload is the message, then the hash chain, then the bodies that are inline.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RecordHead {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    /// When it was signed or verified, milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(crate) at: i64,
    #[prost(bool, tag = "3")]
    pub(crate) response: bool,
    #[prost(bool, tag = "4")]
    pub(crate) consumer_side: bool,
    #[prost(bool, tag = "5")]
    pub(crate) rest: bool,
    #[prost(string, tag = "6")]
    pub(crate) message_id: String,
    #[prost(string, tag = "7")]
    pub(crate) request_id: String,
    #[prost(message, required, tag = "8")]
    pub(crate) client: Client,
    #[prost(message, required, tag = "9")]
    pub(crate) provider: Client,
    #[prost(string, tag = "10")]
    pub(crate) service_code: String,
    #[prost(string, optional, tag = "11")]
    pub(crate) service_version: Option<String>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) parts: Vec<Part>,
    #[prost(uint64, tag = "13")]
    pub(crate) message_bytes: u64,
    /// In every record; one without is damaged.
    #[prost(message, optional, tag = "14")]
    pub(crate) signature: Option<DocumentRef>,
    #[prost(message, optional, tag = "15")]
    pub(crate) chain_result: Option<DocumentRef>,
    /// Of the hash chain in the payload; 0 without one.
    #[prost(uint64, tag = "16")]
    pub(crate) chain_bytes: u64,
    #[prost(bytes = "vec", tag = "17")]
    pub(crate) chain_sha256: Vec<u8>,
    #[prost(message, repeated, tag = "18")]
    pub(crate) attachments: Vec<BodyRef>,
    /// The message is not the one that was signed, but what is kept of one whose body is not logged.
    #[prost(bool, tag = "19")]
    pub(crate) stripped: bool,
    /// Until when the certificate and the OCSP answer of the signature hold: a later timestamp is too late. 0 when not known.
    #[prost(int64, tag = "20")]
    pub(crate) good_until: i64,
    /// The payload is encrypted with this key, wrapped under the key of this id; empty when it is not.
    #[prost(bytes = "vec", tag = "21")]
    pub(crate) wrapped_key: Vec<u8>,
    #[prost(string, tag = "22")]
    pub(crate) key_id: String,
}

/// A [`DocumentRef`] that is about to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedDocument {
    pub(crate) extent: Extent,
    pub(crate) sha512: [u8; 64],
}

impl PlacedDocument {
    fn put(&self, fields: &mut Fields<'_>) {
        let Extent { segment, offset, length } = self.extent;
        fields.message(1, |fields| {
            fields.number(1, segment);
            fields.number(2, offset);
            fields.number(3, length);
        });
        fields.bytes(2, &self.sha512);
    }
}

/// Adds the fields of a [`RecordHead`] that the writer alone knows. They stand behind the others, which whoever brings the record has
/// encoded: the order of fields says nothing.
pub(crate) fn place_head(
    head: &mut Vec<u8>,
    sequence: u64,
    signature: &PlacedDocument,
    chain_result: Option<&PlacedDocument>,
) {
    let mut fields = Fields(head);
    fields.number(1, sequence);
    fields.message(14, |fields| signature.put(fields));
    if let Some(chain_result) = chain_result {
        fields.message(15, |fields| chain_result.put(fields));
    }
}

/// Head of [`Kind::Stamp`]. The payload is the leaves of a batch in order, 64 bytes each: SHA-512 of each record's signature
/// document. From them every record's chain is made when it is asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StampHead {
    /// Which records, ascending.
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) sequences: Vec<u64>,
    /// The token, DER, with the service's certificate in it.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) token: Vec<u8>,
    /// The chain result that was stamped; empty when the stamp is one record's own signature value.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) chain_result: Vec<u8>,
    /// When the token says it was made, milliseconds since 1970.
    #[prost(int64, tag = "4")]
    pub(crate) stamped_at: i64,
    /// Name of the timestamping service.
    #[prost(string, tag = "5")]
    pub(crate) service: String,
    /// SHA-256 of the payload.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) leaves_sha256: Vec<u8>,
}

impl<'a> From<&'a Client> for Named<'a> {
    fn from(stored: &'a Client) -> Self {
        let Client { instance, class, code, subsystem } = stored;
        Self { instance, class, code, subsystem: subsystem.as_deref() }
    }
}

impl<'a> From<&'a ClientId> for Named<'a> {
    fn from(id: &'a ClientId) -> Self {
        let (member, subsystem) = (&id.member, id.subsystem.as_deref());
        Self { instance: &member.instance, class: &member.class, code: &member.code, subsystem }
    }
}

impl Named<'_> {
    /// As the fields of a [`Client`].
    pub(crate) fn put(&self, fields: &mut Fields<'_>) {
        fields.text(1, self.instance);
        fields.text(2, self.class);
        fields.text(3, self.code);
        fields.optional_text(4, self.subsystem);
    }
}

impl From<&ClientId> for Client {
    fn from(id: &ClientId) -> Self {
        Self {
            instance: id.member.instance.clone(),
            class: id.member.class.clone(),
            code: id.member.code.clone(),
            subsystem: id.subsystem.clone(),
        }
    }
}

impl From<&Client> for ClientId {
    fn from(stored: &Client) -> Self {
        Self {
            member: MemberId {
                instance: stored.instance.clone(),
                class: stored.class.clone(),
                code: stored.code.clone(),
            },
            subsystem: stored.subsystem.clone(),
        }
    }
}

impl RecordHead {
    /// The service that was asked.
    pub(crate) fn service(&self) -> ServiceId {
        ServiceId {
            client: (&self.provider).into(),
            code: self.service_code.clone(),
            version: self.service_version.clone(),
        }
    }
    /// Which of the two parties is ours.
    pub(crate) fn local(&self) -> &Client {
        if self.consumer_side { &self.client } else { &self.provider }
    }
    /// Everything outside this frame that the record needs.
    pub(crate) fn extents(&self) -> impl Iterator<Item = &Extent> {
        let documents = [&self.signature, &self.chain_result].into_iter().flatten().map(|d| &d.extent);
        documents.chain(self.attachments.iter().flat_map(|body| &body.extents))
    }
}

impl Part {
    /// The digest; `None` when its algorithm is not one of ours.
    pub(crate) fn value(&self) -> Option<DigestValue> {
        let algorithm = DigestAlgorithm::from_uri(&self.algorithm)?;
        Some(DigestValue { algorithm, value: self.digest.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> Prefix {
        Prefix {
            kind: Kind::Record,
            chained: true,
            head_bytes: 5,
            payload_bytes: 9,
            head_crc: 1,
            payload_crc: 2,
        }
    }

    #[test]
    fn a_prefix_vouches_for_itself_and_its_place() {
        let bytes = prefix().encode(tag(77, 64));
        assert_eq!(Prefix::decode(&bytes, tag(77, 64)), Some(prefix()));
        assert_eq!(Prefix::decode(&bytes, tag(77, 72)), None, "another place");
        assert_eq!(Prefix::decode(&bytes, tag(78, 64)), None, "another segment");
        for bit in 0..PREFIX_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Prefix::decode(&damaged, tag(77, 64)), None, "bit {bit}");
        }
        assert_eq!(prefix().frame_bytes(), 80);
    }

    #[test]
    fn kinds_that_may_be_passed_over_start_at_128() {
        for code in 0..=255_u8 {
            let expected = (1..=7).contains(&code) || code >= 128;
            assert_eq!(Kind::from_code(code).is_some(), expected, "{code}");
            assert!(Kind::from_code(code).is_none_or(|kind| kind.code() == code));
        }
    }

    #[test]
    fn file_heads_hold_the_salt() {
        let head = file_head(0xdead_beef);
        assert_eq!(salt_of(&head), Some(0xdead_beef));
        let mut damaged = head;
        damaged[17] ^= 1;
        assert_eq!(salt_of(&damaged), None);
        assert_eq!(salt_of(&[0; 64]), None);
    }

    #[test]
    fn what_the_writer_adds_to_a_head_is_part_of_it() {
        use prost::Message;
        let of = |offset| PlacedDocument {
            extent: Extent { segment: 3, offset, length: u64::MAX },
            sha512: [offset as u8; 64],
        };
        let read =
            |placed: PlacedDocument| DocumentRef { extent: placed.extent, sha512: placed.sha512.to_vec() };
        let brought = RecordHead { at: 5, message_id: "id".into(), good_until: 6, ..RecordHead::default() };
        for chain_result in [None, Some(of(0))] {
            let mut bytes = brought.encode_to_vec();
            place_head(&mut bytes, 7, &of(64), chain_result.as_ref());
            let (signature, chain_result) = (Some(read(of(64))), chain_result.map(read));
            let expected = RecordHead { sequence: 7, signature, chain_result, ..brought.clone() };
            assert_eq!(RecordHead::decode(bytes.as_slice()).unwrap(), expected);
        }
    }

    #[test]
    fn heads_pass_over_fields_of_newer_programs() {
        use prost::Message;
        let mut bytes = SealHead { next_sequence: 7 }.encode_to_vec();
        bytes.extend_from_slice(&[0xf2, 0x7f, 0x01, 0x2a]); // Field 2046, one byte.
        assert_eq!(SealHead::decode(bytes.as_slice()).unwrap().next_sequence, 7);
    }
}
