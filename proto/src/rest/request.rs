//! The request's header part: built at the consumer's edge, read at the provider's port.
use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::lines::{self, Lines};
use super::{Headers, RepresentedParty, RestError, check_length, name, to_service_value};
use crate::edge::escape_raw_utf8;
use crate::id::{ClientId, ServerId, ServiceId, decode_segment, unescape};

/// A REST request as one security server shows it to the other.
#[derive(Clone, Debug)]
pub struct RestRequest {
    /// The header part, as signed.
    pub raw: Bytes,
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Raw path from `/r1/` on, still escaped.
    pub path: String,
    /// Query without the `?`, still escaped; raw UTF-8, which a peer may have signed, is escaped here.
    pub query: Option<String>,
    /// All header lines of the part.
    pub headers: Headers,
    /// `X-Road-Client`.
    pub client: Arc<ClientId>,
    /// From the path.
    pub service: Arc<ServiceId>,
    /// `X-Road-Id`.
    pub id: Arc<str>,
    /// `x-road-request-id`.
    pub request_id: Arc<str>,
    /// `X-Road-Security-Server`.
    pub target_server: Option<ServerId>,
    /// `X-Road-Represented-Party`.
    pub represented_party: Option<RepresentedParty>,
    /// Where the service path begins in `path`.
    service_path: usize,
}

/// A request as an information system sent it to the consumer edge.
#[derive(Clone, Debug)]
pub struct EdgeRequest<'a> {
    /// Method token.
    pub method: &'a str,
    /// Raw path.
    pub path: &'a str,
    /// Raw query.
    pub query: Option<&'a str>,
    /// Header lines in order; values are bytes, read as ISO-8859-1.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// What the path of every request begins with.
const REST_PATH: &str = "/r1/";

const METHODS: [&str; 8] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

impl RestRequest {
    /// Builds the header part from what an information system sent: filters, appends `x-road-request-id` and, when there is
    /// none (or an empty one), an `x-road-id` of `new_id`.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn from_edge(edge: &EdgeRequest<'_>, request_id: &str, new_id: &str) -> Result<Self, RestError> {
        let is = |header: &str, expected: &str| header.eq_ignore_ascii_case(expected);
        // The last one counts, so an empty last one is as good as none.
        let id = edge.headers.iter().rev().find(|(header, _)| is(header, name::ID));
        let has_id = id.is_some_and(|(_, value)| !lines::trim_blanks(value).is_empty());
        // Checked before it is joined: a line end in one of them would become a line of the part.
        let first_lines = [edge.method, edge.path, edge.query.unwrap_or_default()];
        if first_lines.into_iter().flat_map(str::bytes).any(lines::is_control) {
            return Err(RestError::Syntax("a control character"));
        }
        let mut part = String::with_capacity(512);
        for piece in [edge.method, "\r\n", edge.path] {
            part.push_str(piece);
        }
        if let Some(query) = edge.query {
            part.push('?');
            part.push_str(query);
        }
        part.push_str("\r\n");
        for (header, value) in edge.headers {
            let dropped = lines::connection_header(header).is_some()
                || is(header, name::REQUEST_ID)
                || is(header, name::REQUEST_HASH)
                || (!has_id && is(header, name::ID));
            if !dropped {
                lines::push_latin1(&mut part, header, value)?;
            }
        }
        lines::push(&mut part, name::REQUEST_ID, request_id)?;
        if !has_id {
            lines::push(&mut part, name::ID, new_id)?;
        }
        Self::read(part.into(), false)
    }

    /// Reads a header part that a peer sent.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn parse(raw: Bytes) -> Result<Self, RestError> {
        Self::read(raw, true)
    }

    /// The part that was built is read like any other, so that both servers see the same message.
    fn read(raw: Bytes, from_peer: bool) -> Result<Self, RestError> {
        let mut lines = Lines::new(&raw)?;
        let method = lines.first("a method")?;
        let method = METHODS.into_iter().find(|known| *known == method).ok_or(RestError::Method)?;
        let (path, query) = split_target(lines.first("a request target")?, from_peer)?;
        let (service, service_path) = service_of(path)?;
        let headers = lines.headers()?;
        let found = Found::among(&headers)?;
        let client = found.client.ok_or(RestError::MissingClient)?.into();
        let id: Arc<str> = found.id.filter(|id| !id.is_empty()).ok_or(RestError::MissingId)?.into();
        let request_id: Arc<str> = found.request_id.ok_or(RestError::MissingRequestId)?.into();
        check_length(&id, "the message id")?;
        check_length(&request_id, "the request id")?;
        Ok(Self {
            method,
            path: path.to_owned(),
            query: query.map(|query| escape_raw_utf8(query).into_owned()),
            client,
            service: service.into(),
            id,
            request_id,
            target_server: found.target_server,
            represented_party: found.represented_party,
            service_path,
            headers,
            raw: raw.clone(),
        })
    }

    /// Raw path after the service code: empty, or `/…`.
    pub fn service_path(&self) -> &str {
        &self.path[self.service_path..]
    }

    /// What stands in the header that names the client.
    pub(super) fn client_text(&self) -> &str {
        self.headers.last(name::CLIENT).unwrap_or_default()
    }

    /// What stands in the path and names the service.
    pub(super) fn service_text(&self) -> &str {
        self.path[..self.service_path].strip_prefix(REST_PATH).unwrap_or_default()
    }

    /// The header lines for the information system that offers the service, in order; the connection's own are the caller's to add.
    ///
    /// Of several `X-Road-Client` lines only the last goes there: the client whose rights were checked is the only one that a
    /// service sees.
    pub fn service_headers(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        let is_client = |header: &str| header.eq_ignore_ascii_case(name::CLIENT);
        let counts = self.headers.iter().rposition(|(header, _)| is_client(header));
        let all = self.headers.iter().enumerate();
        let passed = all.filter(move |(index, (header, _))| !is_client(header) || Some(*index) == counts);
        passed.map(|(_, (header, value))| (header, to_service_value(value)))
    }

    /// Whether a body is refused (`invalid_http_method`). Every other method may have one, and it is delivered.
    pub fn forbids_body(&self) -> bool {
        self.method == "TRACE"
    }
}

/// The headers that matter, the last of each kind; every one of a kind must be readable.
#[derive(Default)]
struct Found<'a> {
    client: Option<ClientId>,
    id: Option<&'a str>,
    request_id: Option<&'a str>,
    target_server: Option<ServerId>,
    represented_party: Option<RepresentedParty>,
}

impl<'a> Found<'a> {
    fn among(headers: &'a Headers) -> Result<Self, RestError> {
        let mut found = Self::default();
        for (header, value) in headers.iter() {
            let is = |expected| header.eq_ignore_ascii_case(expected);
            if !header.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-road-")) {
                continue;
            }
            if is(name::CLIENT) {
                found.client = Some(ClientId::from_header(value).map_err(RestError::Client)?);
            } else if is(name::ID) {
                found.id = Some(value);
            } else if is(name::REQUEST_ID) {
                found.request_id = Some(value);
            } else if is(name::SECURITY_SERVER) {
                found.target_server = Some(ServerId::from_header(value).map_err(RestError::SecurityServer)?);
            } else if is(name::REPRESENTED_PARTY) {
                found.represented_party = represented_party(value)?;
            }
        }
        Ok(found)
    }
}

/// `[class/]code`; both may be empty, and slashes at the end say nothing.
fn represented_party(value: &str) -> Result<Option<RepresentedParty>, RestError> {
    let decode = |segment| unescape(segment).ok_or(RestError::RepresentedParty);
    let trimmed = value.trim_end_matches('/');
    if trimmed.is_empty() && !value.is_empty() {
        return Ok(None);
    }
    match trimmed.split_once('/') {
        None => Ok(Some((None, decode(trimmed)?))),
        Some((_, code)) if code.contains('/') => Err(RestError::RepresentedParty),
        Some((class, code)) => Ok(Some((Some(decode(class)?), decode(code)?))),
    }
}

/// Parts path and query; a fragment is cut off. A peer's target must be one that an information system can be called with.
fn split_target(target: &str, from_peer: bool) -> Result<(&str, Option<&str>), RestError> {
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if from_peer {
        check_characters(path, false)?;
        check_characters(query.unwrap_or_default(), true)?;
    }
    Ok((path, query))
}

/// RFC 2396 with brackets and raw UTF-8 allowed in a query, which is what the reference holds a peer's target against: its consumer
/// side signs the query as the information system wrote it.
fn check_characters(text: &str, query: bool) -> Result<(), RestError> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'\t' => {
                return Err(RestError::TargetCharacter);
            }
            b'[' | b']' if !query => return Err(RestError::TargetCharacter),
            b'%' if !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => {
                return Err(RestError::TargetEscape);
            }
            0x80.. if !query => return Err(RestError::TargetEscape),
            _ => {}
        }
    }
    Ok(())
}

/// `/r1/` and the five segments of a service; and where the rest of the path begins.
fn service_of(path: &str) -> Result<(ServiceId, usize), RestError> {
    let segments = path.strip_prefix(REST_PATH).ok_or(RestError::Path)?;
    let mut end = path.len() - segments.len();
    let mut codes = Vec::with_capacity(5);
    for (index, segment) in segments.split('/').take(5).enumerate() {
        codes.push(decode_segment(segment, index).map_err(RestError::Service)?);
        end += segment.len() + 1;
    }
    match codes.len() {
        5 => Ok((ServiceId::from_codes(codes).map_err(RestError::Service)?, end - 1)),
        _ => Err(RestError::Path),
    }
}
