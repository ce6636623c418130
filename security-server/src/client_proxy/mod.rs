//! Information system → us: the two listeners, and which handler answers which request.
//!
//! | Request | Handler |
//! |---|---|
//! | path starts with `/r1/`, any method | [`rest`] |
//! | GET `/listClients`, `/asic`, `/verificationconf` | [`downloads`] |
//! | everything else | [`soap`] |
//!
//! Messages of this server's own come in through [`own`] and take the same way.
//!
//! Paths are compared raw and exactly. What is no acceptable HTTP never reaches a handler and is answered in plain HTTP, then the
//! connection closes. One exchange at a time per connection; the number of connections and every wait are bounded. When the server
//! is told to stop, no connection is accepted, idle ones close, and those at work end after their answer.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pki::cert::Certificate;
use proto::edge::{self, Target};
use proto::fault::{FaultCode, Side};
use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tracing::field::Empty;

use crate::context::Context;
use crate::door::{Door, Place};
use crate::ended::OK;
use crate::exchange::in_span;
use crate::exchange::parts::Source;
use crate::faults::{Failure, Refusal};
use crate::http1::head::HeadLimits;
use crate::http1::server::{
    Answer, AnswerBody, HangUp, RequestBody, RequestError, Sender, ServerConnection, ServerLimits,
};
use crate::http1::{Framing, Headers, RequestHead};
use crate::tls::{Acceptor, Stream};

mod caller;
mod downloads;
pub(crate) mod own;
mod provider;
mod rest;
mod soap;

pub use downloads::Listings;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// It is TLS.
    secure: bool,
    /// What it showed.
    cert: Option<Certificate>,
}

/// A request of an information system, its body still to be read.
struct Request<'a> {
    caller: &'a Caller,
    head: &'a RequestHead,
    target: Target<'a>,
    body: RequestBody<'a, Stream>,
    /// When its head was there, and how long all of it may take.
    begun: Instant,
    whole: Duration,
}

impl Source for Request<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let message = "the body of the request could not be read to its end";
        let failed = || Failure::new(Side::ClientProxy, &[FaultCode::IoError], message);
        let next = self.body.next().await.map_err(|error| failed().because(error))?;
        if next.is_some() && self.begun.elapsed() > self.whole {
            return Err(failed().because(format!("it took longer than {:?}", self.whole)));
        }
        Ok(next)
    }
}

/// How a connection is asked whether its other end is still there: after so much silence, so often, so many times. A program that
/// was closed while it waited is noticed a minute later, when its system has forgotten the connection.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;

impl HangUp for Stream {
    async fn hung_up(&self) {
        while let Some(socket) = self.tcp() {
            match socket.ready(Interest::ERROR).await {
                Ok(ready) if !ready.is_error() => {}
                _ => return,
            }
        }
        std::future::pending().await
    }
}

/// Lets the system ask.
fn probe(socket: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, PROBE_AFTER)?;
    sockopt::set_tcp_keepcnt(socket, PROBES)
}

impl Request<'_> {
    /// A body was announced.
    fn has_body(&self) -> bool {
        self.head.framing != Framing::None
    }
    /// Its length, if that was announced too.
    fn body_length(&self) -> Option<u64> {
        self.head.framing.length()
    }
}

/// Which handler: the `kind` of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Rest,
    Soap,
    ListClients,
    Asic,
    VerificationConf,
}

impl Handler {
    fn of(method: &str, path: &str) -> Self {
        match (method, path) {
            (_, path) if path.starts_with("/r1/") => Self::Rest,
            ("GET", "/listClients") => Self::ListClients,
            ("GET", "/asic") => Self::Asic,
            ("GET", "/verificationconf") => Self::VerificationConf,
            _ => Self::Soap,
        }
    }
    const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Soap => "soap",
            Self::ListClients => "listClients",
            Self::Asic => "asic",
            Self::VerificationConf => "verificationconf",
        }
    }
}

/// Accepts information systems until the server is told to stop.
pub async fn serve(cx: Context, listener: TcpListener, acceptor: Acceptor) {
    let limits = &cx.settings.limits;
    let door = Door::new("client", limits.connections, limits.connections_per_address);
    while let Some((socket, from, place)) = door.accept(&listener, &cx.shutdown).await {
        tokio::spawn(connection(cx.clone(), acceptor.clone(), socket, from, place));
    }
}

async fn connection(
    cx: Context,
    acceptor: Acceptor,
    socket: TcpStream,
    from: std::net::SocketAddr,
    _place: Place,
) {
    let accepted = match acceptor.accept(socket, from).await {
        Ok(accepted) => accepted,
        Err(error) => return tracing::debug!(%error, "an information system could not connect"),
    };
    if let Some(Err(error)) = accepted.stream.tcp().map(probe) {
        tracing::debug!(%error, "a connection of an information system cannot be probed");
    }
    let caller = Caller { secure: accepted.secure, cert: accepted.chain.into_iter().next() };
    let mut connection = ServerConnection::new(accepted.stream, server_limits(&cx));
    // One for all requests: to begin and to end such a wait takes a lock that all connections share.
    let mut stopped = pin!(cx.shutdown.stopped().fuse());
    loop {
        let received = tokio::select! {
            biased;
            received = connection.request() => received,
            () = &mut stopped => {
                if connection.is_quiet() {
                    return;
                }
                connection.request().await
            }
        };
        let goes_on = match received {
            Ok(Some(head)) => pin!(one_request(&cx, &caller, &mut connection, &head)).await,
            Ok(None) | Err(RequestError::Wire(_)) => return,
            Err(RequestError::Head(error)) => {
                let answer = plain(error.status(), &error.to_string());
                let _ = connection.respond(None, answer, true, cx.clock.now()).await;
                false
            }
        };
        if !goes_on {
            return connection.linger().await;
        }
    }
}

fn server_limits(cx: &Context) -> ServerLimits {
    let limits = &cx.settings.limits;
    ServerLimits {
        head: HeadLimits { bytes: limits.client_head_bytes, lines: limits.headers },
        idle: limits.idle,
        keep_alive: limits.keep_alive,
        sender: Sender::InformationSystem,
    }
}

/// Answers one request; `true` when the connection may bring another.
async fn one_request(
    cx: &Context,
    caller: &Caller,
    connection: &mut ServerConnection<Stream>,
    head: &RequestHead,
) -> bool {
    let _busy = cx.shutdown.busy();
    let (answer, last) = match read_target(head) {
        Ok(target) => {
            let (begun, whole) = (Instant::now(), cx.settings.limits.message_time);
            let request = Request { caller, head, target, body: connection.body(), begun, whole };
            (pin!(exchange(cx, request)).await, false)
        }
        Err(sentence) => (plain(400, &sentence), true),
    };
    let last = last || cx.shutdown.stopping();
    connection.respond(Some(head), answer, last, cx.clock.now()).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "an answer did not reach the information system");
        false
    })
}

/// The request target, when it has one reading and names this host.
fn read_target(head: &RequestHead) -> Result<Target<'_>, String> {
    let target = edge::check_target(&head.target).map_err(|e| e.to_string())?;
    let fits = head.headers.text("host").is_none_or(|host| target.fits_host(host));
    if fits { Ok(target) } else { Err("the request target names another host".to_owned()) }
}

/// One exchange in its span, counted and timed.
async fn exchange(cx: &Context, request: Request<'_>) -> Answer {
    let handler = Handler::of(&request.head.method, request.target.path);
    let span = tracing::info_span!(
        "exchange",
        side = "client",
        kind = handler.name(),
        request_id = Empty,
        message_id = Empty,
        client = Empty,
        service = Empty,
        peer = Empty,
        fault = Empty,
        bytes_in = Empty,
        bytes_out = Empty,
    );
    let begun = Instant::now();
    let work = pin!(async move {
        let accept: Vec<Vec<u8>> = request.head.headers.all("accept").map(<[u8]>::to_vec).collect();
        let result = match handler {
            Handler::Rest => pin!(rest::relay(cx, request)).await,
            Handler::Soap => pin!(soap::relay(cx, request)).await,
            Handler::ListClients => downloads::list_clients(cx, &request).await,
            Handler::Asic => Ok(downloads::asic(cx, &request).await),
            Handler::VerificationConf => Ok(downloads::verification_conf(cx).await),
        };
        let (answer, outcome) = match result {
            Ok(answer) if matches!(handler, Handler::Rest | Handler::Soap) => (answer, Cow::Borrowed(OK)),
            Ok(answer) => {
                let outcome = if answer.status < 400 { OK.into() } else { answer.status.to_string().into() };
                (answer, outcome)
            }
            Err(refusal) => {
                let (answer, outcome) = refused(cx, handler, refusal, &accept);
                (answer, outcome.into())
            }
        };
        cx.kept.ended.count("client", handler.name(), &outcome, begun);
        answer
    });
    in_span(&span, work).await
}

fn refused(cx: &Context, handler: Handler, refusal: Refusal, accept: &[Vec<u8>]) -> (Answer, String) {
    let outcome = refusal.outcome(cx.settings.fault_style);
    let told = refusal.tell(cx.settings.fault_style);
    tracing::Span::current().record("fault", told.fault.code.as_str());
    let answer = match handler {
        Handler::Rest => told.to_rest(accept.iter().map(Vec::as_slice)),
        _ => told.to_soap(),
    };
    (answer, outcome)
}

/// An answer of plain HTTP, below the message protocols.
fn plain(status: u16, sentence: &str) -> Answer {
    let detail = uuid::Uuid::new_v4();
    tracing::info!(status, %detail, cause = sentence, "refused");
    let mut headers = Headers::default();
    headers.push("Content-Type", "text/plain;charset=utf-8");
    Answer::new(status, headers, AnswerBody::Bytes(format!("{sentence} ({detail})\n").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The raw target decides, compared exactly.
    #[test]
    fn routes_by_the_raw_path() {
        let cases = [
            ("GET", "/r1/A/B/C/D/E", Handler::Rest),
            ("PROPFIND", "/r1/", Handler::Rest),
            ("GET", "/r1", Handler::Soap),
            ("GET", "/%721/A", Handler::Soap),
            ("GET", "/./r1/A", Handler::Soap),
            ("GET", "/r1;v=1/A", Handler::Soap),
            ("GET", "/r2/A", Handler::Soap),
            ("GET", "/listClients", Handler::ListClients),
            ("GET", "/listClients/", Handler::Soap),
            ("HEAD", "/listClients", Handler::Soap),
            ("GET", "/LISTCLIENTS", Handler::Soap),
            ("GET", "/asic", Handler::Asic),
            ("POST", "/asic", Handler::Soap),
            ("GET", "/verificationconf", Handler::VerificationConf),
            ("POST", "/", Handler::Soap),
            ("OPTIONS", "*", Handler::Soap),
        ];
        for (method, path, expected) in cases {
            assert_eq!(Handler::of(method, path), expected, "{method} {path}");
        }
    }
}
