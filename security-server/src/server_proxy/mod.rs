//! Other security servers → us: port 5500 [PR-MESSTRANSP §3].
//!
//! [`answer`] is the protocol in its order; [`asked`] what may be asked of us and by whom; [`rest`] and [`soap`] call the service and
//! write the answer; [`metadata`] answers itself; [`services`] keeps connections to information systems, [`unpack`] unpacks their answers.
//!
//! Every answer is HTTP 200. Connections of servers of our own kind are kept, others are closed after the answer unless the settings
//! say otherwise. The number of connections and every wait are bounded.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use host::http::WriteLimited;
use host::shutdown::Shutdown;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use pki::cert::Certificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::config::Limits;
use crate::context::Context;
use crate::door::{Door, Place};
use crate::tls::{Accepted, Acceptor};

mod answer;
mod asked;
mod metadata;
mod rest;
pub mod services;
mod soap;
pub mod unpack;

/// What is sent back.
type AnswerBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// The server at the other end of a connection.
#[derive(Debug)]
struct Peer {
    /// Its TLS chain, leaf first.
    chain: Vec<Certificate>,
    /// It is of our own kind.
    causeway: bool,
}

/// Accepts other security servers until this one is told to stop.
pub async fn serve(cx: Context, listener: TcpListener, acceptor: Acceptor) {
    let limits = &cx.settings.limits;
    let door = Door::new("server", limits.connections, limits.connections_per_address);
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
    let Accepted { stream, chain, causeway, .. } = match acceptor.accept(socket, from).await {
        Ok(accepted) => accepted,
        Err(error) => return tracing::debug!(%error, "a security server could not connect"),
    };
    let peer = Arc::new(Peer { chain, causeway });
    let limits = cx.settings.limits;
    let (shutdown, serving) = (cx.shutdown.clone(), cx);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (cx, peer) = (serving.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer::respond(cx, peer, request).await) }
    });
    if let Err(error) = serve_http(stream, &limits, service, &shutdown).await {
        tracing::debug!(%error, %from, "a connection of a security server ended");
    }
}

/// HTTP over one connection, until it ends or the server is told to stop.
///
/// hyper asks a body for nothing while the socket takes nothing, and the work behind an answer runs when its body is asked: whoever does
/// not read is noticed below it or not at all.
async fn serve_http<S, V>(stream: S, limits: &Limits, service: V, shutdown: &Shutdown) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    V: HttpService<Incoming, ResBody = AnswerBody, Error = Infallible>,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Also how long a kept connection may wait for its next request.
        .header_read_timeout(limits.keep_alive.max(limits.idle))
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(WriteLimited::new(stream, limits.idle)), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
