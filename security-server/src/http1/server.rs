//! One connection of an information system: requests in, answers out, one after the other.
//!
//! A head must arrive within [`ServerLimits::idle`]; every further wait, reading or writing, is bounded by it too. An answer given
//! before the request was read announces the close, and the rest of the request is read and dropped for a while, so that the
//! sender sees the answer and not a reset.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use proto::time::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::body::{BodyDecoder, Step};
use super::head::{self, Framing, HeadError, HeadLimits, Headers, RequestHead, TARGET_BYTES};
use super::wire::{self, HEAD_READ, Wire, WireError};

/// Bytes written at a time at most, and gathered before the first write.
const WRITE_BYTES: usize = 64 * 1024;
/// What is read and dropped of a request that was answered early.
const LINGER_BYTES: usize = 64 << 20;
const LINGER: Duration = Duration::from_secs(10);

/// Bounds on one connection.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Of one head.
    pub head: HeadLimits,
    /// Longest silence inside a message, and longest time for a head once it has begun.
    pub idle: Duration,
    /// Longest wait for the next request of a kept connection.
    pub keep_alive: Duration,
}

/// Why no request came.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// To be answered with [`HeadError::status`], then a close.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// The connection is of no more use.
    #[error("{0}")]
    Wire(#[from] WireError),
}

/// What is sent back.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines, without framing.
    pub headers: Headers,
    /// The body.
    pub body: AnswerBody,
    /// What the exchange holds until the last byte was written: a slot, memory.
    pub held: Held,
}

/// Something that is given back when it is dropped, whatever it is.
#[derive(Default)]
pub struct Held(Vec<Box<dyn Send>>);

impl Answer {
    /// Nothing is held for it.
    pub fn new(status: u16, headers: Headers, body: AnswerBody) -> Self {
        Self { status, headers, body, held: Held::default() }
    }

    /// Holds `what` until the last byte was written.
    #[must_use]
    pub fn holding(mut self, what: impl Send + 'static) -> Self {
        self.held.0.push(Box::new(what));
        self
    }
}

/// The body of an answer.
pub enum AnswerBody {
    /// None.
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// From where it lies.
    Stream {
        /// Its length.
        length: u64,
        /// Its bytes.
        stream: BoxStream<'static, std::io::Result<Bytes>>,
    },
}

/// A connection to an information system.
#[derive(Debug)]
pub struct ServerConnection<S> {
    wire: Wire<S>,
    limits: ServerLimits,
    decoder: BodyDecoder,
    continue_due: bool,
    /// A request was answered on it.
    answered: bool,
}

/// A connection that notices when nobody is at its other end any more.
pub trait HangUp {
    /// Waits until the connection is broken for good. An end of what the other side sends is none: it may still listen.
    fn hung_up(&self) -> impl Future<Output = ()> + Send;
}

/// The body of the request being handled.
#[derive(Debug)]
pub struct RequestBody<'a, S> {
    connection: &'a mut ServerConnection<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerConnection<S> {
    /// A fresh connection.
    pub fn new(io: S, limits: ServerLimits) -> Self {
        let wire = Wire::new(io, Some(limits.idle));
        Self { wire, limits, decoder: BodyDecoder::new(Framing::None), continue_due: false, answered: false }
    }

    /// The next request's head; `None` when the other side closed between requests.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&mut self) -> Result<Option<RequestHead>, RequestError> {
        let ServerLimits { idle, keep_alive, .. } = self.limits;
        if self.wire.buf.is_empty() {
            let wait = if self.answered { keep_alive } else { idle };
            let begun = tokio::time::timeout(wait, self.wire.fill_unhurried(HEAD_READ)).await;
            if begun.map_err(|_| WireError::Idle(wait))?? == 0 {
                return Ok(None);
            }
        }
        let head = tokio::time::timeout(idle, self.head()).await.map_err(|_| WireError::Idle(idle))??;
        let Some(head) = head else { return Ok(None) };
        let request = head::parse_request(&head, &self.limits.head)?;
        self.decoder = BodyDecoder::new(request.framing);
        self.continue_due = request.expects_continue;
        Ok(Some(request))
    }

    async fn head(&mut self) -> Result<Option<Bytes>, RequestError> {
        let mut seen = 0;
        loop {
            if seen == 0 {
                // An empty line before a request is skipped [RFC 9112 §2.2].
                while self.wire.buf.starts_with(b"\r\n") {
                    let _ = self.wire.buf.split_to(2);
                }
                head::check_first(&self.wire.buf)?;
            }
            if let Some(end) = head::find_end(&self.wire.buf, &mut seen, true)? {
                if end > self.limits.head.bytes {
                    return Err(self.too_large().into());
                }
                return Ok(Some(self.wire.buf.split_to(end).freeze()));
            }
            if self.wire.buf.len() > self.limits.head.bytes {
                return Err(self.too_large().into());
            }
            if self.wire.fill_unhurried(HEAD_READ).await? == 0 {
                if self.wire.buf.is_empty() {
                    return Ok(None);
                }
                return Err(HeadError::Bad("the connection ended inside the head").into());
            }
        }
    }

    fn too_large(&self) -> HeadError {
        if head::target_so_far(&self.wire.buf) > TARGET_BYTES {
            return HeadError::TargetTooLong;
        }
        HeadError::TooLarge { limit: self.limits.head.bytes }
    }

    /// The body of the request whose head was just read.
    pub fn body(&mut self) -> RequestBody<'_, S> {
        RequestBody { connection: self }
    }

    /// Sends `answer` to `request` (`None`: its head was refused). `last` ends the connection. `true` when the connection may serve
    /// another request.
    ///
    /// # Errors
    /// The answer did not get through; the connection is of no more use.
    pub async fn respond(
        &mut self,
        request: Option<&RequestHead>,
        answer: Answer,
        last: bool,
        now: UnixTime,
    ) -> Result<bool, WireError> {
        let keep = !last && self.request_is_read() && request.is_some_and(|r| r.keep_alive);
        self.answered = true;
        let mut out = BytesMut::with_capacity(answer.headers.written_len() + 256);
        write_head(&mut out, request, &answer, keep, now);
        let bodiless = request.is_some_and(|r| r.method == "HEAD") || is_bodiless(answer.status);
        if bodiless {
            self.send(&out).await?;
        } else {
            self.send_with_body(out, answer.body).await?;
        }
        wire::flush(&mut self.wire.io, Some(self.limits.idle)).await?;
        drop(answer.held);
        Ok(keep)
    }

    async fn send_with_body(&mut self, mut out: BytesMut, body: AnswerBody) -> Result<(), WireError> {
        match body {
            AnswerBody::Empty => {}
            AnswerBody::Bytes(bytes) if out.len() + bytes.len() <= WRITE_BYTES => {
                out.extend_from_slice(&bytes)
            }
            AnswerBody::Bytes(bytes) => {
                self.send(&out).await?;
                return self.send(&bytes).await;
            }
            AnswerBody::Stream { length, mut stream } => {
                let mut left = length;
                while let Some(chunk) = stream.next().await {
                    let chunk = chunk?;
                    left = left.checked_sub(chunk.len() as u64).ok_or_else(wrong_length)?;
                    if out.len() + chunk.len() <= WRITE_BYTES {
                        out.extend_from_slice(&chunk);
                        continue;
                    }
                    self.send(&out).await?;
                    out.clear();
                    self.send(&chunk).await?;
                }
                if left > 0 {
                    return Err(wrong_length().into());
                }
            }
        }
        self.send(&out).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        wire::write_all(&mut self.wire.io, bytes, Some(self.limits.idle)).await
    }

    /// Whether the request was read to its end; takes what already arrived, waits for nothing.
    fn request_is_read(&mut self) -> bool {
        while !self.decoder.is_done() && !self.continue_due {
            match self.decoder.decode(&mut self.wire.buf, false) {
                Ok(Step::Data(_)) => {}
                Ok(Step::End) => return true,
                Ok(Step::More) | Err(_) => return false,
            }
        }
        self.decoder.is_done()
    }

    /// Ends the connection after an answer that came before the end of the request.
    pub async fn linger(mut self) {
        let _ = tokio::time::timeout(LINGER, async {
            let _ = self.wire.io.shutdown().await;
            let mut taken = 0;
            while taken < LINGER_BYTES {
                self.wire.buf.clear();
                match self.wire.fill(HEAD_READ).await {
                    Ok(n) if n > 0 => taken += n,
                    _ => break,
                }
            }
        })
        .await;
    }
    /// Nothing of a next request arrived yet.
    pub fn is_quiet(&self) -> bool {
        self.wire.buf.is_empty()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RequestBody<'_, S> {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        let connection = &mut *self.connection;
        if std::mem::take(&mut connection.continue_due) {
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            wire::flush(&mut connection.wire.io, Some(connection.limits.idle)).await?;
        }
        connection.wire.next(&mut connection.decoder).await
    }
}

impl<S: HangUp> RequestBody<'_, S> {
    /// Waits until nobody waits for the answer any more.
    pub async fn hung_up(&self) {
        self.connection.wire.io.hung_up().await;
    }
}

fn wrong_length() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "the stored body has another length than recorded")
}

/// A message with this status has no body, whatever its head says [RFC 9110 §6.4.1].
pub fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

fn write_head(out: &mut BytesMut, request: Option<&RequestHead>, answer: &Answer, keep: bool, now: UnixTime) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(answer.status.to_string().as_bytes());
    out.put_u8(b' ');
    out.put_slice(phrase(answer.status).as_bytes());
    out.put_slice(b"\r\n");
    if answer.headers.get("date").is_none() {
        write_line(out, "Date", http_date(now).as_bytes());
    }
    for (name, value) in answer.headers.iter() {
        write_line(out, name, value);
    }
    let length = match &answer.body {
        AnswerBody::Empty => 0,
        AnswerBody::Bytes(bytes) => bytes.len() as u64,
        AnswerBody::Stream { length, .. } => *length,
    };
    // HEAD and 304 would misstate the length of a body that nobody sent.
    let says_length = !is_bodiless(answer.status) && request.is_none_or(|r| r.method != "HEAD");
    if says_length {
        write_line(out, "Content-Length", length.to_string().as_bytes());
    }
    match (keep, request.is_some_and(|r| r.http10)) {
        (false, _) => write_line(out, "Connection", b"close"),
        (true, true) => write_line(out, "Connection", b"keep-alive"),
        (true, false) => {}
    }
    out.put_slice(b"\r\n");
}

/// `Name: value`.
pub(super) fn write_line(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn phrase(status: u16) -> String {
    let known = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    known.map_or_else(|| status.to_string(), str::to_owned)
}

/// IMF-fixdate [RFC 9110 §5.6.7].
fn http_date(now: UnixTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let secs = now.as_secs().clamp(0, 253_402_300_799);
    let date = time::OffsetDateTime::from_unix_timestamp(secs).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let day = DAYS[usize::try_from(secs / 86_400 % 7).unwrap_or(0)];
    let month = MONTHS[usize::from(u8::from(date.month()) - 1)];
    let (h, m, s) = date.to_hms();
    format!("{day}, {:02} {month} {:04} {h:02}:{m:02}:{s:02} GMT", date.day(), date.year())
}

#[cfg(test)]
mod tests;
