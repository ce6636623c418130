//! Bytes to types and back, for every X-Road protocol Causeway speaks. No I/O, no clock, no cryptography.
//!
//! | Document | Module |
//! |---|---|
//! | PR-REST, message protocol for REST | [`rest`] |
//! | PR-MESS, message protocol for SOAP | [`soap`] |
//! | PR-MESSTRANSP, messages between security servers | [`transport`], [`multipart`] |
//! | PR-GCONF, global configuration | [`globalconf`] |
//! | PR-META, metadata services in SOAP | [`metadata`] |
//! | PR-MSERV, management requests | [`management`] |
//! | request targets at the consumer edge | [`edge`] |
//! | fault codes of all of them | [`fault`] |
//! | identifiers of all of them | [`id`] |
//! | what they are written in | [`xml`], [`media_type`], [`time`] |
//!
//! Everything signed or hashed is kept as the raw bytes that arrived or that will leave: a parsed message
//! carries its `raw`, and nothing is written again from its fields.

pub mod edge;
pub mod fault;
pub mod globalconf;
pub mod id;
pub mod management;
pub mod media_type;
pub mod metadata;
pub mod multipart;
pub mod rest;
pub mod soap;
pub mod time;
pub mod transport;
pub mod xml;
