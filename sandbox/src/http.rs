//! The HTTP/1 server under the trust services and the sample services: one loopback listener, one function, ended when dropped.
//!
//! Accepting, limits and draining are `host`'s. Request bodies are as long as the function lets them be ([`read_all`] bounds them).

use std::net::SocketAddr;

use bytes::Bytes;
use host::http::{Limits, Transport, serve};
pub use host::http::{RequestBody, ResponseBody, full, read_all};
use host::shutdown::Shutdown;
use host::sockets::listen;
use hyper::{Request, Response, StatusCode};
use tokio::task::JoinHandle;

/// A running server; dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Listens on `address` (port 0 takes a free one) and answers every request by `answer`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start<F, A>(address: SocketAddr, answer: F) -> std::io::Result<Self>
    where
        F: Fn(Request<RequestBody>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let handler = move |request, _peer| answer(request);
        let task =
            tokio::spawn(serve(listener, Transport::Plain, Limits::default(), Shutdown::default(), handler));
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://address` followed by `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // Its connections are tasks of its own set and die with it.
        self.task.abort();
    }
}

/// A whole answer.
pub fn respond(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, value);
    }
    response
}
