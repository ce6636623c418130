//! One connection of an information system, or of another security server: requests in, answers out, one after the other.
//!
//! A head must arrive within [`ServerLimits::idle`]; every further wait, reading or writing, is bounded by it too. An answer given
//! before the request was read announces the close, and the rest of the request is read and dropped for a while, so that the
//! sender sees the answer and not a reset. The connection is one task's, which is the exchange's: an answer that is made while it is
//! sent is made by whoever sends it.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use proto::time::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::body::{BodyDecoder, Step};
use super::head::{self, Framing, HeadError, HeadLimits, Headers, RequestHead, TARGET_BYTES, write_line};
use super::sending::Sending;
pub use super::sending::{Body as AnswerBody, Pieces};
use super::wire::{HEAD_READ, Wire, WireError};

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
    /// Who sends the requests.
    pub sender: Sender,
}

/// Who is at the other end: how answers are written for it, and when it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Names are capitalised. The end of what it sends is none: it may still listen.
    InformationSystem,
    /// Names are in lower case, which is how its like look them up. The end of what it sends is the end.
    SecurityServer,
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

/// A connection to an information system.
#[derive(Debug)]
pub struct ServerConnection<S> {
    wire: Wire<S>,
    limits: ServerLimits,
    decoder: BodyDecoder,
    /// What is left to write of `100 Continue`, which the sender waits for: due when the body is asked for.
    interim: Option<&'static [u8]>,
    /// A request was answered on it.
    answered: bool,
    /// An answer did not get out whole.
    broken: bool,
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
        Self {
            wire,
            limits,
            decoder: BodyDecoder::new(Framing::None),
            interim: None,
            answered: false,
            broken: false,
        }
    }

    /// The next request's head; `None` when the other side closed between requests.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&mut self) -> Result<Option<RequestHead>, RequestError> {
        let ServerLimits { idle, keep_alive, .. } = self.limits;
        if self.wire.buf.is_empty() {
            // A security server connects before it has signed what it will send.
            let first =
                if self.limits.sender == Sender::SecurityServer { keep_alive.max(idle) } else { idle };
            let wait = if self.answered { keep_alive } else { first };
            let begun = tokio::time::timeout(wait, self.wire.fill_unhurried(HEAD_READ)).await;
            if begun.map_err(|_| WireError::Idle(wait))?? == 0 {
                return Ok(None);
            }
        }
        let head = tokio::time::timeout(idle, self.head()).await.map_err(|_| WireError::Idle(idle))??;
        let Some(head) = head else { return Ok(None) };
        let request = head::parse_request(&head, &self.limits.head)?;
        self.decoder = BodyDecoder::new(request.framing);
        self.interim = request.expects_continue.then_some(b"HTTP/1.1 100 Continue\r\n\r\n");
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
        if request.is_none() {
            // Where it ends is not known.
            self.decoder = BodyDecoder::new(Framing::ToEnd);
        }
        // Whoever does not know chunked coding takes the end of the connection for the end of the body.
        let to_end = matches!(answer.body, AnswerBody::Pieces(_)) && request.is_none_or(|r| r.http10);
        let keep = !last && !to_end && self.request_is_read() && request.is_some_and(|r| r.keep_alive);
        self.answered = true;
        let mut out = BytesMut::with_capacity(answer.headers.written_len() + 256);
        match self.limits.sender {
            Sender::InformationSystem => write_head(&mut out, request, &answer, keep, now),
            Sender::SecurityServer => write_head_of_server(&mut out, &answer, keep, to_end, now),
        }
        let bodiless = request.is_some_and(|r| r.method == "HEAD") || is_bodiless(answer.status);
        let body = if bodiless { AnswerBody::Empty } else { answer.body };
        self.broken = true;
        self.send(Sending::new(out, body, to_end, Some(self.limits.idle))).await?;
        self.broken = false;
        drop(answer.held);
        Ok(keep)
    }

    /// Tells a sender that waits that it may go on.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let Some(left) = &mut self.interim else { return Poll::Ready(Ok(())) };
        while !left.is_empty() {
            let written = ready!(Pin::new(&mut self.wire.io).poll_write(cx, left))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            *left = &left[written..];
        }
        ready!(Pin::new(&mut self.wire.io).poll_flush(cx))?;
        self.interim = None;
        Poll::Ready(Ok(()))
    }

    async fn send(&mut self, mut sending: Sending) -> Result<(), WireError> {
        poll_fn(|cx| match sending.poll(&mut self.wire.io, cx) {
            Poll::Pending if self.limits.sender == Sender::SecurityServer => {
                let gone = std::io::ErrorKind::ConnectionAborted;
                self.wire.poll_gone(cx).map(|()| Err(std::io::Error::from(gone).into()))
            }
            sent => sent,
        })
        .await
    }

    /// Does `work` for as long as the sender is there; `None` when it went first.
    pub async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.wire.poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// Whether the request was read to its end; takes what already arrived, waits for nothing.
    fn request_is_read(&mut self) -> bool {
        while !self.decoder.is_done() && self.interim.is_none() {
            match self.decoder.decode(&mut self.wire.buf, false) {
                Ok(Step::Data(_)) => {}
                Ok(Step::End) => return true,
                Ok(Step::More) | Err(_) => return false,
            }
        }
        self.decoder.is_done()
    }

    /// Ends the connection; without a farewell when its last answer is not whole, so that a cut never looks like an end.
    pub async fn close(mut self) {
        if self.broken {
            return;
        }
        if !self.request_is_read() {
            return self.linger().await;
        }
        let _ = tokio::time::timeout(LINGER, self.wire.io.shutdown()).await;
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
        if connection.interim.is_some() {
            let idle = connection.limits.idle;
            let told = tokio::time::timeout(idle, poll_fn(|cx| connection.poll_interim(cx))).await;
            told.map_err(|_| WireError::WriteStalled(idle))??;
        }
        connection.wire.next(&mut connection.decoder).await
    }
}

/// Its waits are bounded by whoever reads it.
impl<S: AsyncRead + AsyncWrite + Unpin> http_body::Body for RequestBody<'_, S> {
    type Data = Bytes;
    type Error = WireError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        let connection = &mut *self.get_mut().connection;
        ready!(connection.poll_interim(cx))?;
        let next = ready!(connection.wire.poll_next(&mut connection.decoder, cx));
        Poll::Ready(next.transpose().map(|data| data.map(Frame::data)))
    }
}

impl<S: HangUp> RequestBody<'_, S> {
    /// Waits until nobody waits for the answer any more.
    pub async fn hung_up(&self) {
        self.connection.wire.io.hung_up().await;
    }
}

/// A message with this status has no body, whatever its head says [RFC 9110 §6.4.1].
pub fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

fn write_head(out: &mut BytesMut, request: Option<&RequestHead>, answer: &Answer, keep: bool, now: UnixTime) {
    write_status(out, answer.status);
    if answer.headers.get("date").is_none() {
        write_line(out, "Date", &date_line(now));
    }
    for (name, value) in answer.headers.iter() {
        write_line(out, name, value);
    }
    // HEAD and 304 would misstate the length of a body that nobody sent.
    let says_length = !is_bodiless(answer.status) && request.is_none_or(|r| r.method != "HEAD");
    if says_length {
        match length(&answer.body) {
            Some(length) => write_line(out, "Content-Length", length.to_string().as_bytes()),
            None if request.is_some_and(|r| !r.http10) => write_line(out, "Transfer-Encoding", b"chunked"),
            None => {}
        }
    }
    match (keep, request.is_some_and(|r| r.http10)) {
        (false, _) => write_line(out, "Connection", b"close"),
        (true, true) => write_line(out, "Connection", b"keep-alive"),
        (true, false) => {}
    }
    out.put_slice(b"\r\n");
}

/// For another security server, in the order in which its like are used to see it.
fn write_head_of_server(out: &mut BytesMut, answer: &Answer, keep: bool, to_end: bool, now: UnixTime) {
    write_status(out, answer.status);
    for (name, value) in answer.headers.iter() {
        write_line(out, name, value);
    }
    if let Some(length) = length(&answer.body) {
        write_line(out, "content-length", length.to_string().as_bytes());
    }
    if !keep {
        write_line(out, "connection", b"close");
    }
    if length(&answer.body).is_none() && !to_end {
        write_line(out, "transfer-encoding", b"chunked");
    }
    write_line(out, "date", &date_line(now));
    out.put_slice(b"\r\n");
}

fn write_status(out: &mut BytesMut, status: u16) {
    // Writing to a buffer that grows cannot fail.
    let _ = write!(out, "HTTP/1.1 {status} {}\r\n", phrase(status));
}

/// What is announced; a body that comes as it comes has none.
fn length(body: &AnswerBody) -> Option<u64> {
    match body {
        AnswerBody::Empty => Some(0),
        AnswerBody::Bytes(bytes) => Some(bytes.len() as u64),
        AnswerBody::Stream { length, .. } => Some(*length),
        AnswerBody::Pieces(_) => None,
    }
}

fn phrase(status: u16) -> Cow<'static, str> {
    let known = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    known.map_or_else(|| status.to_string().into(), Cow::Borrowed)
}

/// Of an IMF-fixdate.
const DATE_BYTES: usize = 29;

/// [`http_date`], made once a second on each thread.
fn date_line(now: UnixTime) -> [u8; DATE_BYTES] {
    thread_local! {
        static LAST: Cell<Option<(i64, [u8; DATE_BYTES])>> = const { Cell::new(None) };
    }
    if let Some((second, date)) = LAST.get()
        && second == now.as_secs()
    {
        return date;
    }
    let mut date = [0; DATE_BYTES];
    date.copy_from_slice(http_date(now).as_bytes());
    LAST.set(Some((now.as_secs(), date)));
    date
}

/// IMF-fixdate [RFC 9110 §5.6.7]; years have four digits.
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
