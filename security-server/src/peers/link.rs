//! One HTTP/1.1 connection to a peer, and the pool of those that wait for their next exchange.
//!
//! A link belongs to the exchange that uses it; nothing runs beside it. It is pooled only when the answer was read to its end and the
//! request had been sent to its end, so nothing of an exchange is left on it. It waits at most the idle limit, and no longer than the
//! peer keeps it: one that has something to read, which can only be its end, is dropped when it is looked at.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use pki::cert::Certificate;
use proto::id::ClientId;
use proto::time::UnixTime;
use tokio::time::Instant;

use super::RequestBody;
use crate::http1::ResponseHead;
use crate::http1::client::{self, CallError, ClientBody, ClientConnection, ClientResponse};
use crate::http1::head::HeadLimits;
use crate::http1::wire::WireError;
use crate::tls::{PeerIo, PeerStream};

/// Clients whose binding is remembered per link.
const MAX_BINDINGS: usize = 64;
/// Most header lines of an answer.
const LINES: usize = 100;

/// A connection that is free for a request; closed when dropped.
#[derive(Debug)]
pub(super) struct Link {
    io: ClientConnection<PeerIo>,
    pub(super) peer: Met,
}

/// Who is at the other end of a link.
#[derive(Debug)]
pub(super) struct Met {
    /// What the peer showed in the handshake, leaf first.
    pub(super) chain: Vec<Certificate>,
    /// It is of our own kind.
    pub(super) causeway: bool,
    /// It is TLS 1.3.
    pub(super) tls13: bool,
    /// For whom the peer was found good: generation of the configuration, client, until when.
    bindings: Vec<(u64, ClientId, UnixTime)>,
}

impl Link {
    /// For a connection whose handshake is done. The head of an answer has at most `head_bytes` and a hundred lines.
    pub(super) fn new(stream: PeerStream, head_bytes: usize) -> Self {
        let PeerStream { stream: io, chain, causeway, tls13 } = stream;
        let io = ClientConnection::to_server(io, HeadLimits { bytes: head_bytes, lines: LINES });
        Self { io, peer: Met { chain, causeway, tls13, bindings: Vec::new() } }
    }

    /// The peer keeps it.
    pub(super) fn is_open(&mut self) -> bool {
        self.io.is_quiet()
    }

    /// Sends a request, whose head announces chunks, and waits for the head of its answer.
    pub(super) async fn send(
        self,
        head: BytesMut,
        body: RequestBody,
        home: Home,
    ) -> Result<PeerResponse, CallError> {
        let Self { io, peer } = self;
        let ClientResponse { head, body } = io.send("POST", head, client::Body::Pieces(body), None).await?;
        Ok(PeerResponse { head, body: PeerBody { body: Some(body), home: Some((peer, home)) } })
    }
}

impl Met {
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
}

/// A link that is tried for an exchange. One that was in the pool goes back there when the attempt is given up, because another
/// address was faster.
pub(super) struct Tried {
    link: Option<Link>,
    home: Option<Home>,
}

impl Tried {
    /// One that waited.
    pub(super) fn pooled(link: Link, home: Home) -> Self {
        Self { link: Some(link), home: Some(home) }
    }

    /// One that was just made, and is not verified.
    pub(super) fn fresh(link: Link) -> Self {
        Self { link: Some(link), home: None }
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
        if let (Some(link), Some(home)) = (self.link.take(), self.home.take()) {
            home.put(link);
        }
    }
}

/// Whom a pooled link may serve: the peer's address and our own TLS certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) address: String,
    pub(super) own_leaf: [u8; 32],
}

/// Where a link goes when its exchange has ended cleanly.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) key: PoolKey,
    pub(super) pool: Arc<Pool>,
}

impl Home {
    fn put(self, link: Link) {
        self.pool.put(self.key, link);
    }
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
        while let Some((since, mut link)) = links.pop() {
            if since.elapsed() < self.idle && link.is_open() {
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

    /// Closes what has waited for too long, or what the peer has closed.
    pub(super) fn purge(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, links| {
            links.retain_mut(|(since, link)| since.elapsed() < self.idle && link.is_open());
            !links.is_empty()
        });
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    }
}

/// An answer of a peer, head read, body not.
#[derive(Debug)]
pub struct PeerResponse {
    /// Its head.
    pub head: ResponseHead,
    /// Its body.
    pub body: PeerBody,
}

/// The body of a peer's answer. Read to its end it gives the connection back; dropped before that it closes it.
#[derive(Debug)]
pub struct PeerBody {
    body: Option<ClientBody<PeerIo>>,
    home: Option<(Met, Home)>,
}

impl PeerBody {
    fn go_home(&mut self) {
        let io = self.body.take().and_then(ClientBody::into_connection);
        if let (Some(io), Some((peer, home))) = (io, self.home.take()) {
            home.put(Link { io, peer });
        }
    }
}

impl Body for PeerBody {
    type Data = Bytes;
    type Error = WireError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = std::task::ready!(body.poll_next(cx));
        if body.is_read() {
            self.go_home();
        }
        Poll::Ready(next.transpose().map(|data| data.map(Frame::data)))
    }
    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(ClientBody::is_read)
    }
}

impl Drop for PeerBody {
    fn drop(&mut self) {
        // An answer without a body is never polled.
        if self.is_end_stream() {
            self.go_home();
        }
    }
}
