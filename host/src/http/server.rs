//! The server loop: accepts, does TLS, reads requests within limits, drains when told to stop.
//!
//! Every connection is bounded: in number, in the time of its TLS handshake, in the size of a request's head, in the time a head
//! may take once it began, in silence between requests, in silence inside a body (see [`RequestBody`]) and in how long a reader of
//! our answer may stall. A failed accept is logged and tried again. What is not here: what a request means.
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::body::RequestBody;
use super::write_limit::WriteLimited;
use crate::shutdown::{Busy, Shutdown};

/// What hyper needs at least for a head.
const MIN_HEAD_BYTES: usize = 8192;
/// After a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest request head; at least 8 KiB. More is answered with 431.
    pub head_bytes: usize,
    /// Most header lines. More is answered with 431.
    pub headers: usize,
    /// TLS handshake, and a request head from its first byte to its last.
    pub head_read: Duration,
    /// Silence: between requests, inside a request body, of a reader of our answer.
    pub idle: Duration,
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            headers: 100,
            head_read: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            connections: 1000,
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The address of ours that it came to.
    pub local: SocketAddr,
    /// When the connection is TLS.
    pub tls: Option<Arc<TlsPeer>>,
}

/// What the TLS handshake said.
#[derive(Clone, Debug)]
pub struct TlsPeer {
    /// Certificates the other end showed, leaf first; empty without client authentication.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The protocol agreed on.
    pub alpn: Option<Vec<u8>>,
}

/// Gives the TLS configuration for the next connection; `None` when there is no identity at present.
pub type TlsSource = Arc<dyn Fn() -> Option<Arc<rustls::ServerConfig>> + Send + Sync>;

/// How bytes travel on a listener.
#[derive(Clone)]
pub enum Transport {
    /// In the clear.
    Plain,
    /// TLS; the configuration is asked for anew for each connection.
    Tls(TlsSource),
}

impl Transport {
    /// TLS with one configuration that stays.
    pub fn tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::Tls(Arc::new(move || Some(config.clone())))
    }
}

/// Serves until `shutdown` says stop and every connection has ended; dropping the future ends the connections at once.
///
/// `handler` is called once per request and cannot fail: what goes wrong is an answer. When the other end goes away its future is
/// dropped. An exchange counts as busy in `shutdown` until its answer's body has been sent.
pub async fn serve<H, F, B>(
    listener: TcpListener,
    transport: Transport,
    limits: Limits,
    shutdown: Shutdown,
    handler: H,
) where
    H: Fn(Request<RequestBody>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let slots = Arc::new(Semaphore::new(limits.connections.max(1)));
    let mut connections = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            accepted = accept(&listener, &slots) => match accepted {
                Ok((stream, address, slot)) => ((stream, slot), address),
                Err(error) => {
                    tracing::warn!(%error, local = ?listener.local_addr().ok(), "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = shutdown.stopped() => break,
        };
        let (transport, shutdown, handler) = (transport.clone(), shutdown.clone(), handler.clone());
        connections.spawn(async move {
            let (stream, _slot) = stream;
            if let Err(reason) = one_connection(stream, address, transport, limits, shutdown, handler).await {
                tracing::debug!(peer = %address, reason, "a connection ended");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits for a free slot first, so that connections beyond the limit stay in the kernel's bounded queue.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, slot))
}

async fn one_connection<H, F, B>(
    stream: TcpStream,
    address: SocketAddr,
    transport: Transport,
    limits: Limits,
    shutdown: Shutdown,
    handler: H,
) -> Result<(), String>
where
    H: Fn(Request<RequestBody>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let words = |e: io::Error| e.to_string();
    stream.set_nodelay(true).map_err(words)?;
    let local = stream.local_addr().map_err(words)?;
    match transport {
        Transport::Plain => {
            connection(stream, Peer { address, local, tls: None }, limits, shutdown, handler).await
        }
        Transport::Tls(source) => {
            let config = source().ok_or("there is no TLS identity at present")?;
            let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
            let stream = tokio::time::timeout(limits.head_read, handshake)
                .await
                .map_err(|_| "the TLS handshake took too long".to_owned())?
                .map_err(|e| format!("TLS: {e}"))?;
            let tls = tls_peer(stream.get_ref().1);
            connection(stream, Peer { address, local, tls: Some(Arc::new(tls)) }, limits, shutdown, handler)
                .await
        }
    }
}

fn tls_peer(session: &rustls::ServerConnection) -> TlsPeer {
    TlsPeer {
        certificates: session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|c| c.clone().into_owned())
            .collect(),
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
    }
}

/// Serves one stream that was accepted elsewhere; see [`serve`].
///
/// # Errors
/// How the connection ended when it did not end well, for the log.
pub async fn connection<S, H, F, B>(
    stream: S,
    peer: Peer,
    limits: Limits,
    shutdown: Shutdown,
    handler: H,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<RequestBody>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let peer = Arc::new(peer);
    let activity = Arc::new(Activity::default());
    let stream = Watched::new(stream, limits, activity.clone());
    let stopping = shutdown.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let exchange = Exchange::start(shutdown.busy(), activity.clone());
        let answer = handler(request.map(|body| RequestBody::new(body, limits.idle)), peer.clone());
        async move {
            let answer = answer.await;
            Ok::<_, std::convert::Infallible>(
                answer.map(|body| Counted { body: Box::pin(body), _exchange: exchange }),
            )
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Ours are finer; hyper's runs from the end of one exchange to the end of the next head.
        .header_read_timeout(limits.idle + limits.head_read)
        .max_buf_size(limits.head_bytes.max(MIN_HEAD_BYTES))
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|e| describe(&e)),
        () = stopping.stopped() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(|e| describe(&e))
}

/// hyper's errors keep the interesting half in their source.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Exchanges of one connection that began and that ended.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// One request and its answer, until the last byte of the answer was handed to the connection.
struct Exchange {
    _busy: Busy,
    activity: Arc<Activity>,
}

impl Exchange {
    fn start(busy: Busy, activity: Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        Self { _busy: busy, activity }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.activity.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// An answer's body that ends its [`Exchange`] when it is dropped.
struct Counted<B> {
    body: Pin<Box<B>>,
    _exchange: Exchange,
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream with limits on silence. While a head is due, a read may wait for `idle`, and from its first byte on for `head_read`
/// in all; a write may stall for `idle`. Reads during an exchange are bounded by [`RequestBody`] instead, because hyper also
/// reads when it only wants to know whether the other end is still there.
struct Watched<S> {
    stream: WriteLimited<S>,
    limits: Limits,
    activity: Arc<Activity>,
    /// How many exchanges had ended when the head that is now due became due.
    ended: u64,
    head_begun: bool,
    read_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    fn new(stream: S, limits: Limits, activity: Arc<Activity>) -> Self {
        let stream = WriteLimited::new(stream, limits.idle);
        Self { stream, limits, activity, ended: 0, head_begun: false, read_timer: None }
    }

    /// Whether the next bytes belong to a head; starts the clock anew when it is another head than before.
    fn head_is_due(&mut self) -> bool {
        let ended = self.activity.ended.load(Ordering::Relaxed);
        let due = self.activity.begun.load(Ordering::Relaxed) == ended;
        if !due || ended != self.ended {
            (self.ended, self.head_begun, self.read_timer) = (ended, false, None);
        }
        due
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if !this.head_is_due() {
            return read;
        }
        if read.is_ready() && !this.head_begun {
            this.head_begun = buf.filled().len() > before;
            this.read_timer = None;
        }
        let limit = if this.head_begun { this.limits.head_read } else { this.limits.idle };
        let timer = this.read_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if read.is_ready() {
            return read;
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request came in time")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::http::{ResponseBody, full, read_all};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn quick() -> Limits {
        Limits {
            head_bytes: 8192,
            headers: 10,
            head_read: Duration::from_millis(300),
            idle: Duration::from_millis(150),
            connections: 4,
        }
    }

    async fn start(limits: Limits) -> (SocketAddr, Shutdown, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let task = tokio::spawn(serve(listener, Transport::Plain, limits, shutdown.clone(), echo));
        (address, shutdown, task)
    }

    async fn echo(request: Request<RequestBody>, _: Arc<Peer>) -> Response<ResponseBody> {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        match read_all(request.into_body(), 1000).await {
            Ok(bytes) => Response::new(full(bytes)),
            Err(e) => Response::builder().status(408).body(full(e.to_string())).unwrap(),
        }
    }

    /// Sends each piece with a pause after it, then reads to the end of the connection.
    async fn talk(address: SocketAddr, pieces: &[&str], pause: Duration) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for piece in pieces {
            if stream.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        let mut all = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all)).await.unwrap();
        String::from_utf8_lossy(&all).into_owned()
    }

    #[tokio::test]
    async fn bounds_heads_bodies_and_silence() {
        let (address, _shutdown, _task) = start(quick()).await;
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(20));
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", "b".repeat(20_000));
        let big = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\nConnection: close\r\n\r\n{}",
            "b".repeat(2000)
        );
        let slow: Vec<&str> = std::iter::repeat_n("a", 20).collect();
        let cases: [(&str, Vec<&str>, u64, &str); 8] = [
            (
                "an ordinary one",
                vec!["POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"],
                0,
                "HTTP/1.1 200",
            ),
            (
                "two on one connection",
                vec!["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "BAD\r\n\r\n"],
                50,
                "HTTP/1.1 200",
            ),
            ("too many headers", vec![&many], 0, "HTTP/1.1 431"),
            ("too long a head", vec![&long], 0, "HTTP/1.1 431"),
            ("too big a body", vec![&big], 0, "larger than 1000 bytes"),
            (
                "a body that stops",
                vec!["POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhi"],
                0,
                "nothing was received for 150ms",
            ),
            ("a slow service", vec!["GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"], 0, "HTTP/1.1 200"),
            ("a head byte by byte", slow, 40, ""),
        ];
        for (name, pieces, pause, expected) in cases {
            let began = Instant::now();
            let answer = talk(address, &pieces, Duration::from_millis(pause)).await;
            assert!(answer.contains(expected), "{name}: {answer}");
            assert!(expected.is_empty() == answer.is_empty(), "{name}: {answer}");
            assert!(began.elapsed() < Duration::from_secs(2), "{name}: closed after {:?}", began.elapsed());
        }
    }

    #[tokio::test]
    async fn a_kept_connection_outlives_its_slow_exchanges() {
        let (address, _shutdown, _task) = start(quick()).await;
        let request = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = talk(address, &[request, request], Duration::from_millis(450)).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    }

    #[tokio::test]
    async fn drains_what_is_under_way_and_then_ends() {
        let (address, shutdown, task) = start(quick()).await;
        let busy = tokio::spawn(talk(address, &["GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"], Duration::ZERO));
        tokio::time::sleep(Duration::from_millis(100)).await;
        shutdown.stop();
        assert!(!shutdown.drained(Duration::from_millis(10)).await);
        assert!(busy.await.unwrap().contains("HTTP/1.1 200"));
        tokio::time::timeout(Duration::from_secs(1), task).await.unwrap().unwrap();
        assert!(shutdown.drained(Duration::ZERO).await);
        assert!(TcpStream::connect(address).await.is_err());
    }

    /// The answer is larger than what the sockets between the two ends hold, so that it waits for the reader.
    #[tokio::test]
    async fn a_reader_that_never_reads_is_given_up() {
        const ANSWER: Bytes = Bytes::from_static(&[0; 1 << 20]);
        let (mut asks, answers) = tokio::io::duplex(1024);
        let shutdown = Shutdown::default();
        let peer = Peer { address: ([127, 0, 0, 1], 1).into(), local: ([127, 0, 0, 1], 2).into(), tls: None };
        let handler = |_, _| async { Response::new(full(ANSWER)) };
        let served = tokio::spawn(connection(answers, peer, quick(), shutdown.clone(), handler));
        asks.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), served).await;
        let reason = ended.expect("it ends").unwrap().unwrap_err();
        assert!(reason.contains("does not read"), "{reason}");
        assert!(shutdown.drained(Duration::ZERO).await, "its exchange has ended too");
    }

    #[tokio::test]
    async fn more_connections_than_slots_wait_their_turn() {
        let (address, _shutdown, _task) = start(quick()).await;
        let all: Vec<_> = (0..12)
            .map(|_| tokio::spawn(talk(address, &["GET / HTTP/1.0\r\nHost: x\r\n\r\n"], Duration::ZERO)))
            .collect();
        for one in all {
            assert!(one.await.unwrap().contains("HTTP/1.0 200"));
        }
    }
}
