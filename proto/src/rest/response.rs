//! The response's header part: built at the provider's edge, read at the consumer's port.
use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::lines::{self, Lines};
use super::{Headers, RestError, RestRequest, check_length, name, to_client_value};
use crate::id::{ClientId, ServiceId};

/// A REST response as the provider's server shows it to the consumer's.
#[derive(Clone, Debug)]
pub struct RestResponse {
    /// The header part, as signed.
    pub raw: Bytes,
    /// 200–599.
    pub status: u16,
    /// Reason phrase, may be empty.
    pub reason: String,
    /// All header lines of the part.
    pub headers: Headers,
    /// `x-road-id`.
    pub id: Arc<str>,
    /// `x-road-client`.
    pub client: Arc<ClientId>,
    /// `x-road-service`.
    pub service: Arc<ServiceId>,
    /// `x-road-request-id`.
    pub request_id: Arc<str>,
    /// `x-road-request-hash`, base64.
    pub request_hash: String,
}

/// What the provider's server says itself, so that no information system can.
const RESERVED: [&str; 6] =
    [name::ID, name::CLIENT, name::SERVICE, name::REQUEST_ID, name::REQUEST_HASH, name::ERROR];

impl RestResponse {
    /// Builds the header part from the answer of the provider's information system.
    ///
    /// `request_id` is that of the transport's HTTP header, `request_hash` base64. Where the answer was unpacked, its
    /// `Content-Encoding` and `Content-MD5` are the caller's to leave out.
    ///
    /// # Errors
    /// A status outside 200–599, or a header that cannot be signed.
    pub fn from_service(
        status: u16,
        reason: &str,
        headers: &[(&str, &[u8])],
        request: &RestRequest,
        request_id: &str,
        request_hash: &str,
    ) -> Result<Self, RestError> {
        check_status(u64::from(status))?;
        if reason.bytes().any(lines::is_control) {
            return Err(RestError::Syntax("a control character"));
        }
        let mut part = String::with_capacity(512);
        for piece in [&*status.to_string(), "\r\n", reason, "\r\n"] {
            part.push_str(piece);
        }
        for (header, value) in headers {
            let reserved = RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(header));
            if !reserved && lines::connection_header(header).is_none() {
                lines::push_latin1(&mut part, header, value)?;
            }
        }
        lines::push(&mut part, name::ID, &request.id)?;
        lines::push_with(&mut part, name::CLIENT, |part| request.client.push_header(part));
        lines::push_with(&mut part, name::SERVICE, |part| request.service.push_header(part));
        lines::push(&mut part, name::REQUEST_ID, request_id)?;
        lines::push(&mut part, name::REQUEST_HASH, request_hash)?;
        Self::read(part.into(), Some(request))
    }

    /// Reads a header part that a peer sent.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn parse(raw: Bytes) -> Result<Self, RestError> {
        Self::read(raw, None)
    }

    /// As [`RestResponse::parse`], for the answer to `request`, which usually repeats its identifiers.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn parse_answer(raw: Bytes, request: &RestRequest) -> Result<Self, RestError> {
        Self::read(raw, Some(request))
    }

    /// What stands in the same bytes as in `request` is the same identifier, and needs no second reading.
    fn read(raw: Bytes, request: Option<&RestRequest>) -> Result<Self, RestError> {
        let mut lines = Lines::new(&raw)?;
        let status = parse_status(lines.first("a status")?)?;
        let reason = lines.first("a reason phrase")?;
        let headers = lines.headers()?;
        let (mut id, mut client, mut service, mut request_id, mut request_hash) =
            (None, None, None, None, None);
        for (header, value) in headers.iter() {
            let is = |expected| header.eq_ignore_ascii_case(expected);
            if is(name::ID) {
                id = Some(value);
            } else if is(name::CLIENT) {
                client = Some(match request.filter(|request| request.client_text() == value) {
                    Some(request) => request.client.clone(),
                    None => ClientId::from_header(value).map_err(RestError::Client)?.into(),
                });
            } else if is(name::SERVICE) {
                service = Some(match request.filter(|request| request.service_text() == value) {
                    Some(request) => request.service.clone(),
                    None => ServiceId::from_header(value).map_err(RestError::ResponseService)?.into(),
                });
            } else if is(name::REQUEST_ID) {
                request_id = Some(value);
            } else if is(name::REQUEST_HASH) {
                request_hash = Some(value);
            }
        }
        let id = filled(id).ok_or(RestError::MissingId)?;
        check_length(id, "the message id")?;
        let request_hash = filled(request_hash).ok_or(RestError::MissingRequestHash)?.to_owned();
        let request_id = request_id.ok_or(RestError::MissingInResponse(name::REQUEST_ID))?;
        let shared = |text: &str, known: fn(&RestRequest) -> &Arc<str>| match request.map(known) {
            Some(known) if **known == *text => known.clone(),
            _ => Arc::from(text),
        };
        let id = shared(id, |request| &request.id);
        let request_id = shared(request_id, |request| &request.request_id);
        Ok(Self {
            raw: raw.clone(),
            status,
            reason: reason.to_owned(),
            id,
            client: client.ok_or(RestError::MissingInResponse(name::CLIENT))?,
            service: service.ok_or(RestError::MissingInResponse(name::SERVICE))?,
            request_id,
            request_hash,
            headers,
        })
    }

    /// The first header of `response` that disagrees with `request`, by name [PR-REST §4.5].
    ///
    /// `request_hash` is our own.
    pub fn inconsistency(&self, request: &RestRequest, request_hash: &str) -> Option<&'static str> {
        let agreements = [
            (self.client == request.client, name::CLIENT),
            (self.id == request.id, name::ID),
            (self.service == request.service, name::SERVICE),
            (self.request_id == request.request_id, name::REQUEST_ID),
            (self.request_hash == request_hash, name::REQUEST_HASH),
        ];
        agreements.into_iter().find_map(|(agrees, name)| (!agrees).then_some(name))
    }

    /// The header lines for the consumer's information system, in order, without `X-Road-Error`, which only a security server's
    /// own faults carry. A `Date` among them replaces the listener's.
    pub fn client_headers(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        let passed = self.headers.iter().filter(|(header, _)| !header.eq_ignore_ascii_case(name::ERROR));
        passed.map(|(name, value)| (name, to_client_value(value)))
    }

    /// As [`RestResponse::client_headers`], cut out of the part where they can go out as they stand.
    pub fn client_lines(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        let passed =
            self.headers.slices().filter(|(header, _)| !header.eq_ignore_ascii_case(name::ERROR.as_bytes()));
        passed.map(|(name, value)| {
            let converted = match std::str::from_utf8(&value).map(to_client_value) {
                Ok(Cow::Owned(converted)) => Some(converted.into()),
                Ok(Cow::Borrowed(_)) | Err(_) => None,
            };
            (name, converted.unwrap_or(value))
        })
    }
}

fn filled(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

fn parse_status(line: &str) -> Result<u16, RestError> {
    let digits = (1..=9).contains(&line.len()) && line.bytes().all(|b| b.is_ascii_digit());
    let status = digits.then(|| line.parse().ok()).flatten().ok_or(RestError::StatusSyntax)?;
    check_status(status)
}

fn check_status(status: u64) -> Result<u16, RestError> {
    match u16::try_from(status) {
        Ok(passed @ 200..=599) => Ok(passed),
        _ => Err(RestError::Status(status)),
    }
}
