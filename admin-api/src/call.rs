//! What a handler is given and what it gives back.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::form::Form;
use crate::lenient;
use crate::operation::{Right, Role};
use crate::problem::{Problem, Warning};

/// How a caller proved who it is, as the audit log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An API key.
    ApiKey,
    /// A session.
    Session,
    /// Name and password with the request.
    Basic,
}

impl Credential {
    /// In the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "ApiKey",
            Self::Session => "Session",
            Self::Basic => "HttpBasicPam",
        }
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// User name; of an API key `api-key-<id>`.
    pub name: String,
    /// What it may be.
    pub roles: BTreeSet<Role>,
    /// How it proved that.
    pub credential: Credential,
    /// From where.
    pub address: IpAddr,
}

/// One request, after everything that is the same for all operations.
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// The rights of this server.
    pub(crate) rights: &'static [Right],
    pub(crate) path: Vec<(&'static str, String)>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    pub(crate) notes: Map<String, Value>,
    pub(crate) event: Option<&'static str>,
}

impl Call {
    /// A parameter of the path, without escapes. Empty when the operation's template has none of that name.
    pub fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// A number in the path; what is not one names nothing.
    ///
    /// # Errors
    /// 404 with `code`.
    pub fn path_number(&self, name: &str, code: &str) -> Result<u64, Problem> {
        self.path(name).parse().map_err(|_| Problem::missing(code))
    }

    /// A query parameter; an empty one counts as absent.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query_all(name).next()
    }

    /// All values of a query parameter, those separated by commas too.
    pub fn query_all(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.query.iter().filter(move |(key, _)| key == name);
        all.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|value| !value.is_empty())
    }

    /// A query parameter that is true or false, `True` and `False` too.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn query_flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(text) = self.query(name) else { return Ok(None) };
        match lenient::flag(text) {
            Some(flag) => Ok(Some(flag)),
            None => Err(Problem::invalid(name, format!("{name} is neither true nor false"))),
        }
    }

    /// The JSON body.
    ///
    /// # Errors
    /// 400 without a code when it is not what the operation takes.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes = if self.body.is_empty() { b"{}" } else { &self.body[..] };
        serde_json::from_slice(bytes).map_err(|error| Problem::malformed(error.to_string()))
    }

    /// The form.
    ///
    /// # Errors
    /// 400 without a code when it is none.
    pub fn form(&self) -> Result<Form, Problem> {
        Form::read(&self.content_type, self.body.clone())
    }

    /// The raw body.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// Whether the caller has a right, for what depends on more than the path.
    pub fn may(&self, right: &str) -> bool {
        self.rights
            .iter()
            .any(|each| each.name == right && each.roles.iter().any(|role| self.caller.roles.contains(role)))
    }

    /// Refuses a caller who has not this right.
    ///
    /// # Errors
    /// 403.
    pub fn needs(&self, right: &str) -> Result<(), Problem> {
        if self.may(right) { Ok(()) } else { Err(Problem::forbidden()) }
    }

    /// Lets a call with warnings pass when the caller accepts them.
    ///
    /// # Errors
    /// 400 with the warnings.
    pub fn accept(&self, warnings: Vec<Warning>, ignore: bool) -> Result<(), Problem> {
        if warnings.is_empty() || ignore { Ok(()) } else { Err(Problem::warnings(warnings)) }
    }

    /// For the audit log, under a name such as `memberCode`.
    pub fn note(&mut self, key: &str, value: impl Into<Value>) {
        self.notes.insert(key.to_owned(), value.into());
    }

    /// Records the call under another name than its row has, where one operation does several things.
    pub fn record_as(&mut self, event: &'static str) {
        self.event = Some(event);
    }

    /// Who is recorded as the actor of a change.
    pub fn actor(&self) -> &str {
        &self.caller.name
    }
}

/// What an operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Media type of the body, where there is one.
    pub media_type: Option<&'static str>,
    /// The body.
    pub body: Bytes,
    /// The body instead, when it is a file.
    pub file: Option<SentFile>,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
}

/// A file that is read as it is sent.
#[derive(Clone, Debug)]
pub struct SentFile {
    /// From its beginning.
    pub file: Arc<File>,
    /// So many bytes.
    pub bytes: u64,
}

impl PartialEq for SentFile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Eq for SentFile {}

impl Answer {
    /// JSON.
    ///
    /// # Errors
    /// The value cannot be written, which would be a mistake of ours.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(Problem::internal)?;
        Ok(Self { media_type: Some("application/json"), body: body.into(), ..Self::empty(status) })
    }

    /// 200 with JSON.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn ok(value: &impl Serialize) -> Result<Self, Problem> {
        Self::json(200, value)
    }

    /// 201 with JSON and the path of what was made, below the base path.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn created(value: &impl Serialize, resource: &str) -> Result<Self, Problem> {
        Ok(Self::json(201, value)?.location(resource))
    }

    /// Nothing but a status.
    pub fn empty(status: u16) -> Self {
        Self { status, media_type: None, body: Bytes::new(), file: None, headers: vec![] }
    }

    /// A file to keep under a name.
    pub fn file(media_type: &'static str, name: &str, bytes: impl Into<Bytes>) -> Self {
        let disposition = format!("attachment; filename=\"{name}\"");
        Self {
            media_type: Some(media_type),
            body: bytes.into(),
            headers: vec![("content-disposition", disposition)],
            ..Self::empty(200)
        }
    }

    /// A file to keep under a name, of any size: its first `bytes` bytes.
    pub fn large_file(media_type: &'static str, name: &str, file: File, bytes: u64) -> Self {
        let file = Some(SentFile { file: Arc::new(file), bytes });
        Self { file, ..Self::file(media_type, name, Bytes::new()) }
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With the path of what was made; the frame puts server and base before it.
    #[must_use]
    pub fn location(mut self, resource: &str) -> Self {
        self.headers.push(("location", resource.to_owned()));
        self
    }
}
