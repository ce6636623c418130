//! The information systems behind the provider's security server: one HTTP server with a REST and a SOAP service and a probe.
//!
//! | Path | What |
//! |---|---|
//! | `/register/openapi.json`, `/register/…` | [`rest`]: the population register over REST, described by OpenAPI 3 |
//! | `/soap/population.wsdl`, `/soap` | [`soap`]: the same register over SOAP |
//! | `/probe/…` | [`probe`]: echo, sizes, delays and statuses, for tests and benches |
//!
//! The documents are files beside this one; the address is written into them when they are asked for.

pub mod population;
pub mod probe;
pub mod rest;
pub mod soap;

use std::net::SocketAddr;

use hyper::{Request, Response, StatusCode};

use crate::http::{HttpServer, RequestBody, ResponseBody, respond};

/// The running services.
#[derive(Debug)]
pub struct SampleServices {
    server: HttpServer,
}

impl SampleServices {
    /// Starts them on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(address: SocketAddr) -> std::io::Result<Self> {
        let server = HttpServer::start(address, answer).await?;
        Ok(Self { server })
    }

    /// Where they listen.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Base of the register over REST, as its OpenAPI document names it.
    pub fn register_url(&self) -> String {
        self.server.url(rest::BASE)
    }

    /// Where the OpenAPI document lies.
    pub fn openapi_url(&self) -> String {
        self.server.url(&format!("{}/openapi.json", rest::BASE))
    }

    /// The register over SOAP.
    pub fn soap_url(&self) -> String {
        self.server.url(soap::BASE)
    }

    /// Where the WSDL lies.
    pub fn wsdl_url(&self) -> String {
        self.server.url(&format!("{}/population.wsdl", soap::BASE))
    }

    /// Base of the probe.
    pub fn probe_url(&self) -> String {
        self.server.url(probe::BASE)
    }
}

async fn answer(request: Request<RequestBody>) -> Response<ResponseBody> {
    let path = request.uri().path().to_owned();
    let below = |base: &str| path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(rest) = below(probe::BASE) {
        probe::answer(rest, request).await
    } else if let Some(rest) = below(rest::BASE) {
        rest::answer(rest, request).await
    } else if let Some(rest) = below(soap::BASE) {
        soap::answer(rest, request).await
    } else {
        respond(StatusCode::NOT_FOUND, "text/plain", "There is nothing here.\n")
    }
}

/// What the caller called us: the base of URLs in a document.
fn base_url(request: &Request<RequestBody>, base: &str) -> String {
    let host = request
        .headers()
        .get(hyper::header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("localhost");
    format!("http://{host}{base}")
}
