//! Other security servers → us: port 5500 [PR-MESSTRANSP §3].
//!
//! [`answer`] is the protocol in its order; [`asked`] what may be asked of us and by whom; [`rest`] and [`soap`] call the service and
//! write the answer; [`metadata`] answers itself; [`services`] keeps connections to information systems, [`unpack`] unpacks their answers.
//!
//! Every answer is HTTP 200. Connections of servers of our own kind are kept, others are closed after the answer unless the settings
//! say otherwise. The number of connections and every wait are bounded.

use std::pin::{Pin, pin};

use futures_util::FutureExt;
use pki::cert::Certificate;
use tokio::net::{TcpListener, TcpStream};

use crate::config::Limits;
use crate::context::Context;
use crate::door::{Door, Place};
use crate::http1::head::HeadLimits;
use crate::http1::server::{Answer, AnswerBody, RequestError, Sender, ServerConnection, ServerLimits};
use crate::http1::{Headers, RequestHead};
use crate::tls::{Accepted, Acceptor, Stream};

mod answer;
mod asked;
mod metadata;
mod rest;
pub mod services;
mod soap;
pub mod unpack;

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
    let peer = Peer { chain, causeway };
    let mut connection = ServerConnection::new(stream, server_limits(&cx.settings.limits));
    // One for all requests: to begin and to end such a wait takes a lock that all connections share.
    let mut stopped = pin!(cx.shutdown.stopped().fuse());
    while let Some(head) = next_request(&cx, &mut connection, stopped.as_mut()).await {
        if !pin!(answer::respond(&cx, &peer, &mut connection, &head)).await {
            break;
        }
    }
    connection.close().await;
}

/// The head of the next request; `None` when there is none, because the peer or this server ends, or because it cannot be read, which the
/// peer was told.
async fn next_request(
    cx: &Context,
    connection: &mut ServerConnection<Stream>,
    stopped: Pin<&mut impl Future<Output = ()>>,
) -> Option<RequestHead> {
    let received = tokio::select! {
        biased;
        received = connection.request() => received,
        () = stopped => {
            if connection.is_quiet() {
                return None;
            }
            connection.request().await
        }
    };
    match received {
        Ok(head) => head,
        Err(RequestError::Wire(error)) => {
            tracing::debug!(%error, "a connection of a security server ended");
            None
        }
        Err(RequestError::Head(error)) => {
            tracing::debug!(%error, "a security server sent no HTTP");
            let answer = Answer::new(error.status(), Headers::default(), AnswerBody::Empty);
            let _ = connection.respond(None, answer, true, cx.clock.now()).await;
            None
        }
    }
}

fn server_limits(limits: &Limits) -> ServerLimits {
    ServerLimits {
        head: HeadLimits { bytes: limits.head_bytes, lines: limits.headers },
        idle: limits.idle,
        keep_alive: limits.keep_alive,
        sender: Sender::SecurityServer,
    }
}
