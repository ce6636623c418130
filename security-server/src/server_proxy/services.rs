//! Calls of the information systems that offer services: connect, send, read, keep the connection a moment.
//!
//! No cookies, no redirects, no retries; header lines go out as given, in order. A connection waits [`IDLE`] at most, which is
//! shorter than any service keeps one, so that a request does not meet a close. The service timeout bounds connecting and every single
//! wait, and ten times as much (never under ten minutes) bounds the whole call; zero is without limit.

use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pki::cert::Certificate;
use proto::fault::FaultCode;
use ring::digest::{Context, SHA256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::unpack::{UnpackError, Unpacker};
use crate::faults::Faulty;
use crate::http1::ResponseHead;
use crate::http1::client::{CallBody, CallError, ClientBody, ClientConnection, ClientResponse, request_head};
use crate::http1::wire::WireError;
use crate::serverconf::Service;
use crate::serverconf::url::ServiceUrl;
use crate::tls::{InternalTls, ServiceTlsError};

/// How long a connection waits for its next call.
const IDLE: Duration = Duration::from_secs(2);
/// Connections that wait, per service address.
const WAITING: usize = 64;
/// Connecting when the service has no timeout.
const CONNECT: Duration = Duration::from_secs(30);
/// Least bound on a whole call.
const WHOLE_CALL: Duration = Duration::from_secs(600);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Connection = ClientConnection<Box<dyn Io>>;

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No URL is configured.
    #[error("the service has no URL: its owner must configure it")]
    MissingUrl,
    /// What is configured is no URL.
    #[error("the URL of the service cannot be used: its owner must correct it")]
    MalformedUrl,
    /// The name does not resolve.
    #[error("the host of the service is not known: {0}")]
    UnknownHost(std::io::Error),
    /// Nobody listens.
    #[error("the service cannot be reached: {0}")]
    Connect(std::io::Error),
    /// No connection in time.
    #[error("no connection to the service within {0:?}")]
    ConnectTimeout(Duration),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] ServiceTlsError),
    /// The call itself.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Its body.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its compression.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// All of it took too long.
    #[error("the call of the service took longer than {0:?}")]
    WholeCall(Duration),
    /// A status that cannot be passed on.
    #[error("the service answered with HTTP status {0}")]
    Status(u16),
    /// A type that cannot be passed on.
    #[error("the service answered with a content type that is none of SOAP")]
    ContentType,
}

impl Faulty for ServiceError {
    fn path(&self) -> Vec<FaultCode> {
        use FaultCode::*;
        match self {
            Self::MissingUrl => vec![ServiceMissingUrl],
            Self::MalformedUrl => vec![ServiceMalformedUrl],
            Self::UnknownHost(_) => vec![UnknownHost],
            Self::Connect(_) | Self::ConnectTimeout(_) | Self::WholeCall(_) => vec![NetworkError],
            Self::Tls(ServiceTlsError::NotPinned) => vec![SslAuthenticationFailed],
            Self::Tls(_) => vec![IoError],
            Self::Call(CallError::Wire(error)) | Self::Wire(error) => vec![wire_code(error)],
            Self::Call(CallError::Head(_) | CallError::NoAnswer | CallError::Switching) => vec![IoError],
            Self::Unpack(UnpackError::Broken(_)) => vec![IoError],
            Self::Unpack(UnpackError::Ratio) => vec![ServiceFailed, IoError],
            Self::Status(_) => vec![ServiceFailed, HttpError],
            Self::ContentType => vec![ServiceFailed, InvalidContentType],
        }
    }
    fn sentence(&self) -> String {
        match self {
            Self::UnknownHost(_) => "the host of the service is not known".into(),
            Self::Connect(_) => "the service cannot be reached".into(),
            Self::Tls(ServiceTlsError::NotPinned) => self.to_string(),
            Self::Tls(_) => "the TLS connection to the service failed".into(),
            Self::Call(CallError::Wire(WireError::Idle(after))) | Self::Wire(WireError::Idle(after)) => {
                format!("the service did not answer within {after:?}")
            }
            Self::Call(_) | Self::Wire(_) => {
                "the connection to the service broke, or its answer is not HTTP".into()
            }
            Self::Unpack(UnpackError::Broken(_)) => {
                "the compressed answer of the service cannot be unpacked".into()
            }
            Self::MissingUrl
            | Self::MalformedUrl
            | Self::ConnectTimeout(_)
            | Self::Unpack(UnpackError::Ratio)
            | Self::WholeCall(_)
            | Self::Status(_)
            | Self::ContentType => self.to_string(),
        }
    }
}

/// A reset is the network's, whatever else breaks is input and output.
fn wire_code(error: &WireError) -> FaultCode {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    match error {
        WireError::Io(e) if matches!(e.kind(), ConnectionReset | ConnectionAborted | BrokenPipe) => {
            FaultCode::NetworkError
        }
        WireError::Io(_)
        | WireError::Idle(_)
        | WireError::WriteStalled(_)
        | WireError::Body(_)
        | WireError::Source(_) => FaultCode::IoError,
    }
}

/// One call.
pub struct Call<'a> {
    /// Which service: its URL, timeout and TLS rule.
    pub service: &'a Service,
    /// TLS certificates stored for the service's client.
    pub pins: &'a [Certificate],
    /// Method.
    pub method: &'a str,
    /// Path behind the service's URL, raw, empty or `/…`.
    pub path: &'a str,
    /// Raw query.
    pub query: Option<&'a str>,
    /// Header lines in order.
    pub lines: Vec<(Cow<'a, str>, Cow<'a, [u8]>)>,
    /// The body.
    pub body: Option<CallBody>,
}

/// Waiting connections. Cheap to clone.
#[derive(Clone, Default)]
pub struct Services {
    waiting: Arc<Mutex<Waiting>>,
}

/// Connections by address, each with the instant since when it waits.
type Waiting = HashMap<Key, Vec<(Instant, Connection)>>;

/// Connections are shared by whoever asks for the same address under the same TLS rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    https: bool,
    host: String,
    port: u16,
    pins: Option<[u8; 32]>,
}

/// The answer of a service, its body being read.
pub struct Reply {
    /// Its head.
    pub head: ResponseHead,
    /// It came compressed, so the encoding in its head is gone from the body.
    pub unpacked: bool,
    body: Option<ClientBody<Box<dyn Io>>>,
    unpacker: Option<Unpacker>,
    ends: Ends,
    home: (Services, Key),
}

/// When the whole call must be over.
#[derive(Clone, Copy, Debug)]
struct Ends(Option<(Instant, Duration)>);

impl Ends {
    fn of(service: &Service) -> Self {
        let limit = (service.timeout * 10).max(WHOLE_CALL);
        Self((!service.timeout.is_zero()).then(|| (Instant::now() + limit, limit)))
    }
    async fn bound<T, E: Into<ServiceError>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ServiceError> {
        match self.0 {
            None => work.await.map_err(Into::into),
            Some((at, limit)) => match timeout_at(at, work).await {
                Ok(done) => done.map_err(Into::into),
                Err(_) => Err(ServiceError::WholeCall(limit)),
            },
        }
    }
}

impl Services {
    /// No connections yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls a service and waits for the head of its answer.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn call(&self, tls: &InternalTls, call: Call<'_>) -> Result<Reply, ServiceError> {
        let Call { service, pins, method, path, query, lines, body } = call;
        if service.url.trim().is_empty() {
            return Err(ServiceError::MissingUrl);
        }
        let url = service.target.as_ref().ok_or(ServiceError::MalformedUrl)?;
        let pins = service.verify_tls.then_some(pins);
        let (ends, key) = (Ends::of(service), Key::new(url, pins));
        let connection = match self.take(&key) {
            Some(connection) => connection,
            None => ends.bound(Box::pin(connect(url, service.timeout, tls, pins))).await?,
        };
        // A method that usually has a body says so when there is none.
        let framed = match &body {
            Some(body) => Some(body.length),
            None => matches!(method, "POST" | "PUT" | "PATCH").then_some(0),
        };
        let borrowed = lines.iter().map(|(name, value)| (&**name, &**value));
        let head = request_head(method, &url.target(path, query), &url.authority, borrowed, framed);
        let idle = (!service.timeout.is_zero()).then_some(service.timeout);
        let answer = pin!(connection.call(method, head, body, idle));
        let ClientResponse { head, body } = ends.bound(answer).await?;
        // The answer to HEAD keeps its headers: there is no body to unpack.
        let packed = head.headers.get("content-encoding").filter(|_| method != "HEAD");
        let unpacker = packed.and_then(Unpacker::new);
        let home = (self.clone(), key);
        Ok(Reply { unpacked: unpacker.is_some(), head, body: Some(body), unpacker, ends, home })
    }

    fn take(&self, key: &Key) -> Option<Connection> {
        let mut waiting = self.lock();
        let connections = waiting.get_mut(key)?;
        while let Some((since, mut connection)) = connections.pop() {
            if since.elapsed() < IDLE && connection.is_quiet() {
                return Some(connection);
            }
        }
        waiting.remove(key);
        None
    }

    fn put(&self, key: Key, connection: Connection) {
        let mut waiting = self.lock();
        let connections = waiting.entry(key).or_default();
        let now = Instant::now();
        connections.retain(|(since, _)| now.duration_since(*since) < IDLE);
        if connections.len() < WAITING {
            connections.push((now, connection));
        }
    }

    /// Closes connections that have waited too long.
    pub fn purge(&self) {
        self.lock().retain(|_, connections| {
            connections.retain(|(since, _)| since.elapsed() < IDLE);
            !connections.is_empty()
        });
    }

    /// Nothing panics while it holds the lock, and what it guards is whole after every statement.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn new(url: &ServiceUrl, pins: Option<&[Certificate]>) -> Self {
        let digest = |pins: &[Certificate]| {
            let mut context = Context::new(&SHA256);
            pins.iter().for_each(|cert| context.update(&cert.sha256()));
            let mut digest = [0; 32];
            digest.copy_from_slice(context.finish().as_ref());
            digest
        };
        let pins = pins.filter(|_| url.https).map(digest);
        Self { https: url.https, host: url.host.clone(), port: url.port, pins }
    }
}

async fn connect(
    url: &ServiceUrl,
    limit: Duration,
    tls: &InternalTls,
    pins: Option<&[Certificate]>,
) -> Result<Connection, ServiceError> {
    let limit = if limit.is_zero() { CONNECT } else { limit };
    let work = async {
        let socket = tcp(&url.host, url.port).await?;
        let io: Box<dyn Io> =
            if url.https { Box::new(tls.connect(socket, &url.host, pins).await?) } else { Box::new(socket) };
        Ok(ClientConnection::new(io))
    };
    timeout(limit, work).await.unwrap_or(Err(ServiceError::ConnectTimeout(limit)))
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, ServiceError> {
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(ServiceError::UnknownHost)?;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true).map_err(ServiceError::Connect)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(ServiceError::Connect(last))
}

impl Reply {
    /// Length of the body, if it was announced and is that of what [`Self::next`] gives.
    pub fn body_length(&self) -> Option<u64> {
        self.head.framing.length().filter(|_| !self.unpacked)
    }

    /// The next plain bytes of the body; `None` at its end, after which the connection waits for another call.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ServiceError> {
        loop {
            if let Some(plain) = self.unpacker.as_mut().map(Unpacker::step).transpose()?.flatten() {
                return Ok(Some(plain));
            }
            let Some(body) = &mut self.body else { return Ok(None) };
            match (self.ends.bound(body.next()).await?, &mut self.unpacker) {
                (Some(data), None) => return Ok(Some(data)),
                (Some(data), Some(unpacker)) => unpacker.feed(data),
                (None, unpacker) => {
                    let rest = unpacker.as_mut().map(Unpacker::finish).transpose()?.flatten();
                    self.go_home();
                    return Ok(rest);
                }
            }
        }
    }

    fn go_home(&mut self) {
        let (services, key) = &self.home;
        if let Some(connection) = self.body.take().and_then(ClientBody::into_connection) {
            services.put(key.clone(), connection);
        }
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("addresses", &self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serverconf::ServiceKind;
    use crate::testing::client;

    #[test]
    fn a_call_has_ten_times_the_timeout_and_never_less_than_ten_minutes() {
        let service = |timeout| Service {
            id: client("EE/GOV/1/x").service("s"),
            kind: ServiceKind::Rest,
            url: "http://127.0.0.1:1/".into(),
            target: None,
            description: String::new(),
            timeout: Duration::from_secs(timeout),
            verify_tls: false,
            disabled: None,
        };
        for (timeout, expected) in
            [(0, None), (1, Some(600)), (60, Some(600)), (61, Some(610)), (3600, Some(36_000))]
        {
            let limit = Ends::of(&service(timeout)).0.map(|(_, limit)| limit.as_secs());
            assert_eq!(limit, expected, "{timeout}");
        }
    }

    #[tokio::test]
    async fn what_is_over_its_time_ends() {
        let over = Ends(Some((Instant::now(), Duration::from_secs(600))));
        let work = over.bound(std::future::pending::<Result<(), ServiceError>>());
        let error = work.await.unwrap_err();
        assert!(matches!(error, ServiceError::WholeCall(limit) if limit.as_secs() == 600), "{error}");
        assert_eq!(error.path(), [FaultCode::NetworkError]);
        let without = Ends(None).bound(std::future::ready(Ok::<_, ServiceError>(1)));
        assert_eq!(without.await.unwrap(), 1);
    }

    /// Connections are shared under one address and one TLS rule; pins count for TLS alone.
    #[test]
    fn another_tls_rule_is_another_connection() {
        let (_, pin) = crate::testing::ca().tls("service");
        let key = |url: &str, pins: Option<&[Certificate]>| Key::new(&ServiceUrl::parse(url).unwrap(), pins);
        let pins = std::slice::from_ref(&pin);
        assert_eq!(key("https://a/x", Some(pins)), key("https://a/y", Some(pins)));
        assert_ne!(key("https://a/", Some(pins)), key("https://a/", None));
        assert_ne!(key("https://a/", Some(pins)), key("https://a/", Some(&[])));
        assert_ne!(key("https://a:443/", None), key("http://a:443/", None));
        assert_eq!(key("http://a/", Some(pins)), key("http://a/", None));
    }
}
