//! The frame of both servers' management REST APIs: listener to handler and back, and the types that clients share.
//!
//! | Module | Holds |
//! |---|---|
//! | [`server`] | [`Frame`]: one request through limits, credentials, routing, permission, body, handler, audit log |
//! | [`operation`] | [`Operation`]: a row of a server's table: id, method, path, rights, audit event, schemas, handler |
//! | [`call`] | [`Call`]: what a handler is given, and [`Answer`]: what it gives |
//! | [`problem`] | [`Problem`]: every refusal, with status, code, metadata, warnings |
//! | [`check`] | validation of fields, named as scripts expect |
//! | [`lenient`] | texts and flags read as leniently as existing scripts need |
//! | [`form`] | multipart forms |
//! | [`page`] | paging and sorting |
//! | [`auth`] | API keys, users, sessions, whitelists, rates |
//! | [`audit`] | the audit log |
//! | [`backup`] | backups: their files, restoring, their operations |
//! | [`openapi`] | the API document, made from the table |
//! | [`config`], [`tls`] | settings and certificate of the listener |
//! | [`types`] | requests and answers, for servers and clients |
//!
//! # Adding an operation
//!
//! 1. Give its request and answer types to [`types`]; they derive `JsonSchema`, requests take [`lenient::Text`] for text.
//! 2. Write a handler, `fn(&Api, &mut Call) -> Result<Answer, Problem>`, in the server's file for that resource. It runs on a thread
//!    that may block; what is asynchronous goes through `tokio::runtime::Handle::current().block_on`.
//! 3. Add a row to the server's table: `post("addMember", "/members").right("ADD_NEW_MEMBER").audit("Add member")
//!    .takes::<MemberAdd>().gives::<Client>(201).by(members::add)`. Order does not matter, except that a literal segment wins over a
//!    parameter.
//! 4. The right must stand in the server's table of rights; [`Frame::new`] refuses a table that names an unknown one.
//!
//! By the time a handler runs, the caller is known and has one of the rights, and the body is within its bound and of its media type. What it
//! notes by [`Call::note`] goes to the audit log, with success or failure.

pub mod audit;
pub mod auth;
pub mod backup;
pub mod call;
pub mod certificate_files;
pub mod check;
pub mod config;
pub mod form;
pub mod lenient;
pub mod openapi;
pub mod operation;
pub mod page;
pub mod problem;
pub mod server;
pub mod tls;
pub mod types;

pub use call::{Answer, Call, Caller};
pub use check::Check;
pub use operation::{Operation, Right, Role, delete, get, patch, post, put};
pub use problem::Problem;
pub use server::Frame;
