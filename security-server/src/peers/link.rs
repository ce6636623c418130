//! One HTTP/1.1 connection to a peer, and the pool of those that wait for their next exchange.
//!
//! A link is pooled only when the answer was read to its end and the request had been sent to its end, so nothing of an exchange is
//! left on it. It waits at most the idle limit, and no longer than the peer keeps it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use pki::cert::Certificate;
use proto::id::ClientId;
use proto::time::UnixTime;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::RequestBody;
use crate::tls::PeerStream;

/// Clients whose binding is remembered per link.
const MAX_BINDINGS: usize = 64;
/// For a link whose last exchange has just ended to say that it is ready.
const READY: Duration = Duration::from_millis(100);

/// A verified connection; closed when dropped.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<SentBody>,
    task: AbortHandle,
    /// What the peer showed in the handshake, leaf first.
    pub(super) chain: Vec<Certificate>,
    /// It is of our own kind.
    pub(super) causeway: bool,
    /// It is TLS 1.3.
    pub(super) tls13: bool,
    /// For whom the peer was found good: generation of the configuration, client, until when.
    bindings: Vec<(u64, ClientId, UnixTime)>,
    sent: Arc<AtomicBool>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What became of a request.
pub(super) enum SendOutcome {
    /// The head of the answer.
    Answer(http::Response<Incoming>),
    /// Not a byte was sent; here it is again.
    Unsent(Box<http::Request<RequestBody>>),
    /// It may have reached the peer.
    Broken(hyper::Error),
}

impl Link {
    /// Starts HTTP on a connection. The head of an answer has at most `head_bytes` and a hundred lines.
    pub(super) async fn start(stream: PeerStream, head_bytes: usize) -> hyper::Result<Self> {
        let PeerStream { stream: io, chain, causeway, tls13 } = stream;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(head_bytes)
            .handshake(TokioIo::new(io))
            .await?;
        // Owned by the link: it ends with it.
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a peer ended");
            }
        })
        .abort_handle();
        Ok(Self { sender, task, chain, causeway, tls13, bindings: Vec::new(), sent: Arc::default() })
    }

    /// The peer was found good for `client` under this configuration, and that still holds.
    pub(super) fn is_bound(&self, generation: u64, client: &ClientId, now: UnixTime) -> bool {
        self.bindings.iter().any(|(g, c, until)| *g == generation && c == client && now <= *until)
    }

    /// Remembers that the peer was found good for `client`.
    pub(super) fn bind(&mut self, generation: u64, client: ClientId, until: UnixTime) {
        self.bindings.retain(|(g, c, _)| *g == generation && *c != client);
        if self.bindings.len() >= MAX_BINDINGS {
            self.bindings.remove(0);
        }
        self.bindings.push((generation, client, until));
    }

    /// Free for a request.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.sender.is_ready()
            || (!self.sender.is_closed()
                && tokio::time::timeout(READY, self.sender.ready()).await.is_ok_and(|ready| ready.is_ok()))
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: http::Request<RequestBody>) -> SendOutcome {
        self.sent = Arc::default();
        let request = request.map(|inner| SentBody { inner, sent: self.sent.clone() });
        match self.sender.try_send_request(request).await {
            Ok(answer) => SendOutcome::Answer(answer),
            Err(mut error) => match error.take_message() {
                Some(request) => SendOutcome::Unsent(Box::new(request.map(|body| body.inner))),
                None => SendOutcome::Broken(error.into_error()),
            },
        }
    }

    /// Its exchange ended cleanly and the peer keeps it.
    fn is_reusable(&self) -> bool {
        self.sent.load(Ordering::Acquire) && !self.sender.is_closed()
    }
}

/// A request's body that says when it was taken to its end.
#[derive(Debug)]
pub(super) struct SentBody {
    inner: RequestBody,
    sent: Arc<AtomicBool>,
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.sent.store(true, Ordering::Release);
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        let end = self.inner.is_end_stream();
        if end {
            self.sent.store(true, Ordering::Release);
        }
        end
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A link that is tried for an exchange. One that was in the pool goes back there when the attempt is given up, because another
/// address was faster.
pub(super) struct Tried {
    link: Option<Link>,
    key: PoolKey,
    pool: Arc<Pool>,
}

impl Tried {
    pub(super) fn new(link: Link, key: PoolKey, pool: Arc<Pool>) -> Self {
        Self { link: Some(link), key, pool }
    }

    pub(super) fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("only `take` takes the link, and it consumes")
    }

    /// The link, for the exchange or to be closed.
    pub(super) fn take(mut self) -> Link {
        self.link.take().expect("only `take` takes the link, and it consumes")
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        if let Some(link) = self.link.take().filter(Link::is_reusable) {
            self.pool.put(self.key.clone(), link);
        }
    }
}

/// Whom a pooled link may serve: the peer's address and our own TLS certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) address: String,
    pub(super) own_leaf: [u8; 32],
}

/// Links that wait.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Duration,
    per_key: usize,
    waiting: Mutex<HashMap<PoolKey, Vec<(Instant, Link)>>>,
}

impl Pool {
    pub(super) fn new(idle: Duration, per_key: usize) -> Self {
        Self { idle, per_key, waiting: Mutex::default() }
    }

    /// The link that waits the shortest, so that those too many end.
    pub(super) fn take(&self, key: &PoolKey) -> Option<Link> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let links = waiting.get_mut(key)?;
        while let Some((since, link)) = links.pop() {
            if since.elapsed() < self.idle && !link.sender.is_closed() {
                return Some(link);
            }
        }
        waiting.remove(key);
        None
    }

    fn put(&self, key: PoolKey, link: Link) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let links = waiting.entry(key).or_default();
        if links.len() < self.per_key {
            links.push((Instant::now(), link));
        }
    }

    /// Closes what has waited for too long.
    pub(super) fn purge(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, links| {
            links.retain(|(since, link)| since.elapsed() < self.idle && !link.sender.is_closed());
            !links.is_empty()
        });
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    }
}

/// The body of a peer's answer. Read to its end it gives the connection back; dropped before that it closes it.
#[derive(Debug)]
pub struct PeerBody {
    inner: Incoming,
    home: Option<(Link, PoolKey, Arc<Pool>)>,
}

impl PeerBody {
    /// `pool` is `None` when the connection is not to be kept.
    pub(super) fn new(inner: Incoming, link: Link, key: PoolKey, pool: Arc<Pool>) -> Self {
        Self { inner, home: Some((link, key, pool)) }
    }

    fn go_home(&mut self) {
        if let Some((link, key, pool)) = self.home.take().filter(|(link, ..)| link.is_reusable()) {
            pool.put(key, link);
        }
    }
}

impl Body for PeerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.go_home();
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for PeerBody {
    fn drop(&mut self) {
        // An answer without a body is never polled.
        if self.inner.is_end_stream() {
            self.go_home();
        }
    }
}
