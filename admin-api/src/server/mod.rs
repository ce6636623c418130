//! One request: rate, path, credential, routing, media types, right, body, handler, audit log, answer; in this order.
//!
//! ```text
//! 429  too many from this address            406  Accept does not fit
//! 401  no or no good credential              403  none of the rights, or the session's token is missing
//! 404  no such path   405  no such method    413  body over its bound
//! 415  body of another media type            then what the handler says
//! ```
//!
//! Every answer carries `x-road-ui-correlation-id`, which the log lines of the request have too. Handlers run on threads that may block.

mod accounts;
mod credentials;
mod respond;
mod route;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use host::clock::Clock;
use host::http::{BodyError, Peer, RequestBody, ResponseBody, read_all};
use http::{HeaderMap, Method, Request, Response, header};
use serde_json::Map;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::audit::{AuditEvent, AuditLog};
use crate::auth::{ApiKeys, KeyError, Rates, Sessions, Users};
use crate::call::{Answer, Call, Caller};
use crate::config::ApiSettings;
use crate::openapi::{self, About};
use crate::operation::{Access, BodyKind, Operation, Right, Role};
use crate::problem::Problem;
use respond::Reply;
use route::{Routed, Routes};

/// Below which all operations are.
pub const BASE: &str = "/api/v1";

/// What is particular to one server.
pub struct Server<S> {
    /// What handlers work on.
    pub state: Arc<S>,
    /// Its table.
    pub operations: Vec<Operation<S>>,
    /// Its rights.
    pub rights: &'static [Right],
    /// Roles that its keys and users may have.
    pub roles: &'static [Role],
    /// Of its API document.
    pub about: About,
    /// Refusals of the log-in paths name the path, as the central server's do.
    pub names_path: bool,
}

/// A management API.
pub struct Frame<S> {
    state: Arc<S>,
    table: Table<S>,
    rights: &'static [Right],
    roles: &'static [Role],
    names_path: bool,
    document: String,
    settings: ApiSettings,
    keys: ApiKeys,
    users: Users,
    /// One password at a time, waited for without a thread: those threads are the whole server's.
    passwords: Semaphore,
    sessions: Sessions,
    rates: Rates,
    audit: Arc<AuditLog>,
    clock: Clock,
}

struct Table<S> {
    operations: Vec<Operation<S>>,
    routes: Routes,
}

/// Why a frame cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The table names a right that the server does not have.
    #[error("operation {operation} names the right {right}, which there is not")]
    UnknownRight {
        /// Which operation.
        operation: &'static str,
        /// What it names.
        right: &'static str,
    },
    /// Two rows are alike.
    #[error("operation {0} is in the table twice, by its name or its path")]
    Twice(&'static str),
    /// The store of API keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl<S: Send + Sync + 'static> Frame<S> {
    /// Builds the API; `folder` is its own in the data directory, and holds what the settings do not place elsewhere. Blocks.
    ///
    /// # Errors
    /// The table is wrong, or the keys cannot be read.
    pub fn new(
        server: Server<S>,
        settings: ApiSettings,
        folder: &Path,
        clock: Clock,
    ) -> Result<Self, FrameError> {
        let Server { state, mut operations, rights, roles, about, names_path } = server;
        operations.extend(accounts::rows());
        check_table(&operations, rights)?;
        let document = openapi::yaml(about, &operations);
        let users = settings.user_file.clone().unwrap_or_else(|| folder.join("users"));
        let audit = settings.audit_log.clone().unwrap_or_else(|| folder.join("audit.log"));
        Ok(Self {
            state,
            table: Table { routes: Routes::new(&operations), operations },
            rights,
            roles,
            names_path,
            document,
            keys: ApiKeys::open(&folder.join("api-keys"))?,
            users: Users::new(users),
            passwords: Semaphore::new(1),
            sessions: Sessions::default(),
            rates: Rates::new(settings.per_second, settings.per_minute),
            audit: Arc::new(AuditLog::new(audit)),
            settings,
            clock,
        })
    }

    /// The table, those rows that every server has among them.
    pub fn operations(&self) -> &[Operation<S>] {
        &self.table.operations
    }

    /// The API keys.
    pub fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// Answers one request.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Arc<Peer>,
    ) -> Response<ResponseBody> {
        let correlation = uuid::Uuid::new_v4().simple().to_string();
        let span = tracing::info_span!("management_api", correlation_id = %correlation);
        let head = request.method() == Method::HEAD;
        let path = request.uri().path().to_owned();
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let reply = self.reply(request, peer.address.ip(), &correlation).instrument(span).await;
        respond::finish(
            reply,
            &respond::About {
                correlation: &correlation,
                path: self.names_path.then_some(path.as_str()),
                host: host.as_deref(),
                head,
                now: self.clock.now(),
            },
        )
    }

    async fn reply(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        address: IpAddr,
        correlation: &str,
    ) -> Reply {
        if !self.rates.take(address, self.clock.now()) {
            return Reply::from(Problem::status(429).header("connection", "close"));
        }
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let accept = respond::Accept::of(request.headers());
        match path.as_str() {
            "/login" | "/logout" => self.log_in_or_out(request, &path, address, correlation).await,
            "/api/v1/openapi.yaml" if matches!(*request.method(), Method::GET | Method::HEAD) => {
                if accept.allows(openapi::MEDIA_TYPE) {
                    Reply::file(openapi::MEDIA_TYPE, self.document.clone().into_bytes())
                } else {
                    accept.refusal(openapi::MEDIA_TYPE).into()
                }
            }
            _ if path == "/api" || path.starts_with("/api/") => {
                self.operation(request, &path, address, accept, correlation).await
            }
            _ => Problem::not_found().into(),
        }
    }

    /// A request to an operation.
    async fn operation(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        path: &str,
        address: IpAddr,
        accept: respond::Accept,
        correlation: &str,
    ) -> Reply {
        let (parts, body) = request.into_parts();
        let below = path.strip_prefix(BASE).filter(|below| below.starts_with('/')).unwrap_or_default();
        let caller = match self.caller(&parts.headers, path, below, address, correlation).await {
            Ok(caller) => caller,
            Err(refused) => return *refused,
        };
        if below == "/openapi.yaml" {
            return Problem::status(405).header("allow", "GET").into();
        }
        let (index, path_parameters) = match self.table.routes.find(&parts.method, below) {
            Routed::Found { index, parameters } => (index, parameters),
            Routed::Options { allow } => return Reply::options(&allow),
            Routed::OtherMethod { allow } => return Problem::status(405).header("allow", allow).into(),
            Routed::Nothing => return Problem::not_found().into(),
        };
        let row = &self.table.operations[index];
        let call = Call {
            caller,
            rights: self.rights,
            path: path_parameters,
            query: respond::query(parts.uri.query().unwrap_or_default()),
            content_type: text_of(&parts.headers, &header::CONTENT_TYPE).to_owned(),
            body: bytes::Bytes::new(),
            notes: Map::new(),
            event: None,
        };
        let refused = self.before_body(row, &call, &parts.headers, &accept).err();
        let (outcome, call) = match refused {
            Some(problem) => (Err(problem), call),
            None => self.carry_out(index, call, body).await,
        };
        self.record(row, &call, &outcome, path, correlation).await;
        outcome.map_or_else(Reply::from, Reply::from)
    }

    /// What is judged before a byte of the body is read.
    fn before_body(
        &self,
        row: &Operation<S>,
        call: &Call,
        headers: &HeaderMap,
        accept: &respond::Accept,
    ) -> Result<(), Problem> {
        if let Some(wanted) = row.body.media_type() {
            let found = proto::media_type::base(&call.content_type);
            let missing = row.body == BodyKind::OptionalJson && !has_body(headers);
            if !missing && !found.eq_ignore_ascii_case(wanted) {
                return Err(Problem::status(415).header("accept", wanted));
            }
        }
        if !accept.allows(row.produces) {
            return Err(accept.refusal(row.produces));
        }
        let may = match &row.access {
            Access::SignedIn => true,
            Access::Rights(names) => names.iter().any(|name| call.may(name)),
            Access::Nobody => false,
        };
        if may { Ok(()) } else { Err(Problem::forbidden()) }
    }

    /// Reads the body and runs the handler on a thread that may block.
    async fn carry_out(
        self: &Arc<Self>,
        index: usize,
        mut call: Call,
        body: RequestBody,
    ) -> (Result<Answer, Problem>, Call) {
        let row = &self.table.operations[index];
        let limit = if row.upload { self.settings.upload_bytes } else { self.settings.body_bytes };
        match read_all(body, limit).await {
            Ok(bytes) => call.body = bytes,
            Err(error) => return (Err(body_problem(&error)), call),
        }
        let (this, handler) = (Arc::clone(self), row.handler);
        let id = row.id;
        let span = tracing::Span::current();
        let notes = call.caller.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _entered = span.entered();
            let outcome = match this.account(id, &mut call) {
                Some(outcome) => outcome,
                None => handler(&this.state, &mut call),
            };
            (outcome, call)
        });
        match task.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(operation = id, %error, "an operation failed in an unforeseen way");
                let call = Call {
                    caller: notes,
                    rights: self.rights,
                    path: vec![],
                    query: vec![],
                    content_type: String::new(),
                    body: bytes::Bytes::new(),
                    notes: Map::new(),
                    event: None,
                };
                (Err(Problem::internal("an operation failed in an unforeseen way")), call)
            }
        }
    }

    /// The audit log's line for a changing call, and the service log's for a refused one.
    async fn record(
        &self,
        row: &Operation<S>,
        call: &Call,
        outcome: &Result<Answer, Problem>,
        path: &str,
        correlation: &str,
    ) {
        let reason = outcome.as_ref().err().map(Problem::describe);
        if let (Some(reason), Err(problem)) = (&reason, outcome) {
            if problem.status >= 500 {
                tracing::error!(operation = row.id, user = call.caller.name, reason, "a call failed");
            } else {
                tracing::debug!(operation = row.id, user = call.caller.name, reason, "a call was refused");
            }
        }
        let Some(event) = call.event.or(row.event) else { return };
        let (audit, at) = (Arc::clone(&self.audit), self.clock.now());
        let (user, address) = (call.caller.name.clone(), call.caller.address);
        let (auth, data) = (call.caller.credential.name(), call.notes.clone());
        let (path, correlation) = (path.to_owned(), correlation.to_owned());
        let write = move || {
            let event = AuditEvent {
                event,
                user: &user,
                address: Some(address),
                reason: reason.as_deref(),
                auth: Some(auth),
                url: &path,
                data: &data,
            };
            audit.write(at, &correlation, &event);
        };
        // It has been written when the caller has the answer.
        let _ = tokio::task::spawn_blocking(write).await;
    }

    /// Roles as scripts name them to rights that come with them.
    fn rights_of(&self, caller: &Caller) -> Vec<String> {
        let has = |right: &&Right| right.roles.iter().any(|role| caller.roles.contains(role));
        self.rights.iter().filter(has).map(|right| right.name.to_owned()).collect()
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || !matches!(text_of(headers, &header::CONTENT_LENGTH), "" | "0")
}

fn text_of<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn body_problem(error: &BodyError) -> Problem {
    match error {
        BodyError::TooLarge { .. } => Problem::status(413).header("connection", "close"),
        BodyError::Idle(_) => Problem::status(408).header("connection", "close"),
        BodyError::Broken(_) => Problem::status(400).header("connection", "close"),
    }
    .because(error.to_string())
}

fn check_table<S>(operations: &[Operation<S>], rights: &[Right]) -> Result<(), FrameError> {
    let mut ids = HashSet::new();
    let mut paths = HashSet::new();
    for row in operations {
        if !ids.insert(row.id) || !paths.insert((row.verb.name(), row.path)) {
            return Err(FrameError::Twice(row.id));
        }
        if let Access::Rights(names) = &row.access
            && let Some(right) = names.iter().find(|name| !rights.iter().any(|right| right.name == **name))
        {
            return Err(FrameError::UnknownRight { operation: row.id, right });
        }
    }
    Ok(())
}
