//! What the OCSP responder and the timestamping service have in common: a listener at which an authority answers, and a behaviour that
//! tests change while it runs.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use host::clock::Clock;
use hyper::{Request, Response};

use crate::authority::Authority;
use crate::http::{HttpServer, RequestBody, ResponseBody};

/// A running service with behaviours `B`; dropping it stops it.
#[derive(Debug)]
pub struct TrustService<B> {
    server: HttpServer,
    shared: Arc<Shared<B>>,
}

/// What its answers are made from.
#[derive(Debug)]
pub(crate) struct Shared<B> {
    pub(crate) authority: Arc<Authority>,
    pub(crate) clock: Clock,
    behaviour: Mutex<B>,
    requests: AtomicU64,
}

impl<B: Copy + Default + Send + 'static> TrustService<B> {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn listen<F, A>(
        address: SocketAddr,
        authority: Arc<Authority>,
        clock: Clock,
        answer: F,
    ) -> std::io::Result<Self>
    where
        F: Fn(Arc<Shared<B>>, Request<RequestBody>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let shared =
            Arc::new(Shared { authority, clock, behaviour: Mutex::default(), requests: AtomicU64::new(0) });
        let state = Arc::clone(&shared);
        let server = HttpServer::start(address, move |request| answer(Arc::clone(&state), request)).await?;
        Ok(Self { server, shared })
    }
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
    /// Its address followed by `path`.
    pub(crate) fn url_of(&self, path: &str) -> String {
        self.server.url(path)
    }
    /// What it does from now on.
    pub fn behave(&self, behaviour: B) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }
    /// How many requests came.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl<B: Copy> Shared<B> {
    /// Counts a request: how many came before it, and what is done with it.
    pub(crate) fn take(&self) -> (u64, B) {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        (before, *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
