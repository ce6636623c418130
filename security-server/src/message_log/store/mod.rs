//! The segment store: append-only files, one writer, group commit, an index that can be rebuilt.
//!
//! ```text
//! log/0000000001.segment …   what was logged, for good; deleting one loses its records
//! log/index/                 where each record lies; deleting it costs a rebuild at the next start
//! ```
//!
//! | Module | Holds |
//! |---|---|
//! | [`format`] | the bytes: file head, frames, the chain, what heads say |
//! | [`fields`] | heads written without a structure of each |
//! | [`segment`] | one file: create, append, sync, read, walk |
//! | `spare` | the next file, made beforehand |
//! | [`queue`] | what waits for the writer |
//! | [`writer`] | the threads that write: batches, failure, going on |
//! | `gathering` | when a batch departs |
//! | `flights` | batches that are being synced, and their answers |
//! | `steps` | how long each step takes |
//! | [`recovery`] | what counts after a crash; verification of everything |
//! | [`index`] | the sled index and its thread |
//! | [`reader`] | frames by place, through a few open files |
//!
//! A segment has 256 MiB reserved ([`segment-size`](crate::config::MessageLogSection)), more when one record needs more, and gives the
//! rest back when it is sealed. Offsets stay below 32 GiB.
pub(crate) mod faults;
pub(crate) mod fields;
mod flights;
pub(crate) mod format;
mod gathering;
pub(crate) mod index;
pub(crate) mod queue;
pub(crate) mod reader;
pub(crate) mod recovery;
pub(crate) mod segment;
mod spare;
mod steps;
pub(crate) mod writer;
