//! The message log: every message of every exchange, durable before it has any effect, evidence for years.
//!
//! [`store`] keeps append-only segments, one writer, group commit; [`timestamper`] stamps in batches; [`container`] makes ASiC-E
//! containers of records. sled holds only an index that can be rebuilt from the segments.
//!
//! The path of a body: a [`Spool`] takes its bytes as they pass (memory while small, frames of the log itself when not); the record
//! that [`MessageLog::append`] commits names them; [`Stored::stream`] gives them back from where they lie.

use std::sync::Arc;

use bytes::Bytes;
use pki::digest::DigestValue;
use proto::id::{ClientId, ServiceId};
use proto::time::UnixTime;

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MessageLog {
    _private: Arc<()>,
}

/// Which of the two messages of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Consumer to provider.
    Request,
    /// Provider to consumer.
    Response,
}

/// A message ready to be logged. All bytes are the signed ones.
#[derive(Debug)]
pub struct Entry {
    /// Which of the two.
    pub direction: Direction,
    /// The local party is the client (consumer side) rather than the service's owner.
    pub consumer_side: bool,
    /// `X-Road-Id` or `xroad:id`.
    pub message_id: String,
    /// `x-road-request-id`.
    pub request_id: String,
    /// Who asks.
    pub client: ClientId,
    /// What is asked.
    pub service: ServiceId,
    /// REST header part or SOAP envelope.
    pub message: Bytes,
    /// It is a REST header part.
    pub rest: bool,
    /// Signature document; shared by a batch.
    pub signature: Bytes,
    /// Chain result and chain.
    pub hash_chain: Option<(Bytes, Bytes)>,
    /// Bodies or attachments, in order.
    pub attachments: Vec<Stored>,
    /// URIs and digests of all parts, as signed.
    pub parts: Vec<(String, DigestValue)>,
    /// When it was signed or verified.
    pub at: UnixTime,
}

/// Identifies a record for good: its sequence number in this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// Proof that a message is in the log; [`MessageLog::append`] alone makes one.
#[derive(Debug)]
pub struct Logged {
    /// Which record.
    pub id: RecordId,
    /// Its attachments, to be released from where they lie.
    pub attachments: Vec<Stored>,
}

/// Why the log takes no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// `logging_failed.timestamping_failed`.
    #[error(
        "timestamping has failed for longer than the server may go on without: check the timestamping service"
    )]
    TimestampingFailed,
    /// `logging_failed.mlog.no_timestamping_provider_found`.
    #[error("no timestamping service is configured")]
    NoTimestampingService,
    /// The disk is full or failed.
    #[error("the message log cannot be written: {0}")]
    Disk(String),
    /// A body above the loggable size.
    #[error("the body is larger than the {limit} bytes that are logged")]
    BodyTooLarge {
        /// The bound.
        limit: u64,
    },
    /// The log is shutting down.
    #[error("the message log is closed")]
    Closed,
}

/// A body on its way into the log.
#[derive(Debug)]
pub struct Spool {
    _private: (),
}

/// A body that lies in memory or in the log.
#[derive(Clone, Debug)]
pub struct Stored {
    _private: (),
}

impl MessageLog {
    /// Whether a new exchange may start: space, timestamps. Cheap.
    ///
    /// # Errors
    /// The reason, with its fault code.
    pub fn check_ready(&self, now: UnixTime) -> Result<(), LogError> {
        let _ = now;
        todo!()
    }
    /// Starts taking a body.
    pub fn spool(&self) -> Spool {
        todo!()
    }
    /// Commits one record; durable on return. Commits of concurrent exchanges share one fdatasync.
    ///
    /// # Errors
    /// Nothing was logged.
    pub async fn append(&self, entry: Entry) -> Result<Logged, LogError> {
        let _ = entry;
        todo!()
    }
}

impl Spool {
    /// More bytes of the body.
    ///
    /// # Errors
    /// [`LogError::Disk`], [`LogError::BodyTooLarge`].
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), LogError> {
        let _ = chunk;
        todo!()
    }
    /// The body is complete. A spool that is dropped instead leaves frames that are void.
    ///
    /// # Errors
    /// [`LogError::Disk`].
    pub async fn finish(self) -> Result<Stored, LogError> {
        todo!()
    }
}

impl Stored {
    /// Its length.
    pub fn len(&self) -> u64 {
        todo!()
    }
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Its bytes, in chunks of at most 64 KiB.
    pub fn stream(&self) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        futures_util::stream::empty()
    }
}
