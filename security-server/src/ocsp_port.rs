//! Port 5577 in both roles: a security server hands out the OCSP answers of its own TLS chain.
//!
//! Asked: `GET /?cert={sha1}&cert=…&cert_hash={sha256}…`, lower-case hex; only `cert` is looked at, the path is not. Answered:
//! `multipart/related` with one `application/ocsp-response` part per `cert`, in order, or 500 with a fixed text for all of them.
//! HEAD is a liveness probe. Nothing of a question is ever echoed.
//!
//! Nothing here is verified: an answer is as good as what [`crate::ocsp_cache`] makes of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use host::http::{Client, ClientError, Limits, Peer, RequestBody, ResponseBody};
use host::shutdown::Shutdown;
use http::{Method, Request, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use pki::cert::Certificate;
use proto::multipart::{self, Event};
use signer::Signer;
use tokio::net::TcpListener;

use crate::door::Door;

/// Most certificates asked about at once, in both roles.
pub const MAX_CERTS: usize = 16;
/// Largest single OCSP answer.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Largest head of a question; one about [`MAX_CERTS`] certificates has 2 KiB.
const HEAD_BYTES: usize = 8 * 1024;
const PART_TYPE: &str = "application/ocsp-response";

/// Bounds of the listener, from `[limits]`.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `ocsp-connections`.
    pub connections: usize,
    /// `ocsp-connections-per-address`.
    pub connections_per_address: usize,
    /// `idle-time`: for a question to come in, and for the next one.
    pub idle: Duration,
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, signer: Arc<dyn Signer>, bounds: Bounds, shutdown: Shutdown) {
    let limits = Limits {
        head_bytes: HEAD_BYTES,
        head_read: bounds.idle,
        idle: bounds.idle,
        connections: bounds.connections,
        ..Limits::default()
    };
    let handler = move |request: Request<RequestBody>, _| {
        let answer = answer(request.method(), request.uri().query(), &signer.own_keys().ocsp_by_sha1);
        async { answer }
    };
    let door = Door::new("ocsp", bounds.connections, bounds.connections_per_address);
    let Ok(local) = listener.local_addr() else { return };
    while let Some((socket, address, place)) = door.accept(&listener, &shutdown).await {
        let (handler, shutdown) = (handler.clone(), shutdown.clone());
        tokio::spawn(async move {
            let peer = Peer { address, local, tls: None };
            if let Err(reason) = host::http::server::connection(socket, peer, limits, shutdown, handler).await
            {
                tracing::debug!(peer = %address, reason, "a connection ended");
            }
            drop(place);
        });
    }
}

fn answer(method: &Method, query: Option<&str>, known: &HashMap<String, Bytes>) -> Response<ResponseBody> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(host::http::full(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        if !text.is_empty() {
            let kind = header::HeaderValue::from_static("text/plain;charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        response
    };
    if method == Method::HEAD {
        return plain(StatusCode::OK, "");
    }
    if method != Method::GET {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "Invalid request method");
    }
    match parts(query.unwrap_or_default(), known) {
        Ok((boundary, body)) => {
            let mut response = Response::new(host::http::full(body));
            let kind = format!("multipart/related; type=\"{PART_TYPE}\"; charset=UTF-8; boundary={boundary}");
            let kind =
                header::HeaderValue::from_str(&kind).expect("hex digits and constants are header text");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(text) => plain(StatusCode::INTERNAL_SERVER_ERROR, text),
    }
}

/// Boundary and body: one part for each certificate asked about, in order.
fn parts(query: &str, known: &HashMap<String, Bytes>) -> Result<(String, Bytes), &'static str> {
    let asked: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("cert=")).collect();
    if asked.is_empty() {
        return Err("No certificate was asked about");
    }
    if asked.len() > MAX_CERTS {
        return Err("Too many certificates were asked about");
    }
    let boundary = format!("causeway{}", uuid::Uuid::new_v4().simple());
    let mut body = BytesMut::new();
    for sha1 in asked {
        // Escapes are undone, letters stay as they are: hex is compared exactly.
        let sha1 = percent_decode_str(sha1).decode_utf8_lossy();
        let der =
            known.get(&*sha1).ok_or("There is no OCSP answer for a certificate that was asked about")?;
        body.extend_from_slice(format!("--{boundary}\r\nContent-Type: {PART_TYPE}\r\n\r\n").as_bytes());
        body.extend_from_slice(der);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((boundary, body.freeze()))
}

/// Asks other security servers. Cheap to clone.
#[derive(Clone)]
pub struct OcspPortClient {
    http: Client,
    port: u16,
}

/// Why a peer gave no answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspPortError {
    /// Not reached, or not in time.
    #[error(transparent)]
    Http(#[from] ClientError),
    /// It said no, mostly because it has no answer itself.
    #[error("status {0}")]
    Status(u16),
    /// What it said cannot be read.
    #[error("the answer is no multipart: {0}")]
    Multipart(#[from] multipart::MultipartError),
    /// A part is no OCSP answer.
    #[error("a part is no OCSP answer: {0}")]
    Unreadable(pki::ocsp::OcspError),
    /// It answered about more or fewer certificates.
    #[error("{found} answers for {asked} certificates")]
    Count {
        /// How many were asked about.
        asked: usize,
        /// How many parts there were.
        found: usize,
    },
}

impl OcspPortClient {
    /// Asks on `port`; `limit` is for a whole call.
    pub fn new(port: u16, connect: Duration, limit: Duration) -> Self {
        Self { http: Client::new(connect, limit, &[]), port }
    }

    /// What the server at `host` says about `certs`: one DER each, in order, unverified.
    ///
    /// # Errors
    /// No answers, or not as many as certificates.
    pub async fn fetch(&self, host: &str, certs: &[&Certificate]) -> Result<Vec<Bytes>, OcspPortError> {
        let hex = |name: &str, digest: &[u8]| format!("{name}={}", hex::encode(digest));
        let sha1 = certs.iter().map(|cert| hex("cert", &cert.sha1()));
        let sha256 = certs.iter().map(|cert| hex("cert_hash", &cert.sha256()));
        let query: Vec<String> = sha1.chain(sha256).collect();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!("http://{host}:{}/?{}", self.port, query.join("&"));
        let answer = self.http.get(&url, (certs.len() + 1) * MAX_ANSWER_BYTES).await?;
        // What the reference's client takes for success.
        if !matches!(answer.status, 200..=208 | 226) {
            return Err(OcspPortError::Status(answer.status));
        }
        let found = read_parts(&answer.content_type, answer.body)?;
        if found.len() != certs.len() {
            return Err(OcspPortError::Count { asked: certs.len(), found: found.len() });
        }
        Ok(found)
    }
}

/// The bodies of all parts of the right type, in order.
fn read_parts(content_type: &str, body: Bytes) -> Result<Vec<Bytes>, multipart::MultipartError> {
    let limits = multipart::Limits {
        parts: MAX_CERTS + 1,
        header_line_bytes: 1000,
        header_bytes: 4096,
        outside_bytes: 4096,
    };
    let mut decoder = multipart::Decoder::new(content_type, limits)?;
    decoder.feed(body);
    decoder.finish();
    let mut parts = Vec::new();
    let mut part: Option<BytesMut> = None;
    while let Some(event) = decoder.poll()? {
        match event {
            Event::Head(head) => {
                let kind = head.get("content-type").unwrap_or_default();
                let wanted =
                    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(PART_TYPE);
                part = wanted.then(BytesMut::new);
            }
            Event::Data(data) => {
                if let Some(part) = &mut part {
                    part.extend_from_slice(&data);
                }
            }
            Event::PartEnd { .. } => parts.extend(part.take().map(BytesMut::freeze)),
            Event::End { .. } => break,
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{StillSigner, ca};

    async fn start(known: &[(&Certificate, &'static [u8])]) -> (Shutdown, u16) {
        let signer = StillSigner::with_auth(ca().auth("server"));
        let known = known.iter().map(|(cert, der)| (hex::encode(cert.sha1()), Bytes::from_static(der)));
        signer.set_ocsp(known.collect());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shutdown = Shutdown::default();
        let bounds = crate::config::File::default().resolve().unwrap().limits.ocsp_port;
        tokio::spawn(serve(listener, signer, bounds, shutdown.clone()));
        (shutdown, port)
    }

    /// Both roles against each other.
    #[tokio::test]
    async fn answers_come_in_the_order_of_the_questions() {
        let (leaf, intermediate, unknown) = (ca().tls("a").1, ca().tls("b").1, ca().tls("c").1);
        let (_running, port) = start(&[(&leaf, b"one\r\n--"), (&intermediate, b"\r\ntwo")]).await;
        let client = OcspPortClient::new(port, Duration::from_secs(5), Duration::from_secs(5));
        let found = client.fetch("127.0.0.1", &[&intermediate, &leaf]).await.unwrap();
        assert_eq!(found, [&b"\r\ntwo"[..], b"one\r\n--"]);
        let refused = client.fetch("127.0.0.1", &[&leaf, &unknown]).await;
        assert_eq!(
            refused,
            Err(OcspPortError::Status(500)),
            "one unknown certificate refuses the whole question"
        );
    }

    #[test]
    fn refusals_are_fixed_texts() {
        let leaf = ca().tls("a").1;
        let sha1 = hex::encode(leaf.sha1());
        let known = HashMap::from([(sha1.clone(), Bytes::from_static(b"der"))]);
        let upper = sha1.to_uppercase();
        let many = format!("cert={sha1}&").repeat(MAX_CERTS + 1);
        let cases = [
            ("asked", Method::GET, format!("cert={sha1}&cert_hash=x"), 200),
            ("escaped", Method::GET, format!("cert=%{:02x}{}", sha1.as_bytes()[0], &sha1[1..]), 200),
            ("twice", Method::GET, format!("cert={sha1}&cert={sha1}"), 200),
            ("a probe", Method::HEAD, String::new(), 200),
            ("nothing asked", Method::GET, String::new(), 500),
            ("upper case", Method::GET, format!("cert={upper}"), 500),
            ("markup", Method::GET, "cert=<script>".into(), 500),
            ("too many", Method::GET, many, 500),
            ("another method", Method::POST, format!("cert={sha1}"), 500),
        ];
        for (name, method, query, expected) in cases {
            let response = answer(&method, Some(&query), &known);
            assert_eq!(response.status(), expected, "{name}");
            let multipart = response
                .headers()
                .get("content-type")
                .is_some_and(|t| t.to_str().unwrap().contains("related"));
            assert_eq!(multipart, expected == 200 && method == Method::GET, "{name}");
        }
    }

    #[test]
    fn parts_of_other_types_do_not_count() {
        let body = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type: Application/OCSP-Response; x=y\r\n\r\nder\r\n--b--";
        let parts = read_parts("multipart/related; boundary=b", Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(parts, [&b"der"[..]]);
        assert!(read_parts("text/plain", Bytes::new()).is_err());
    }
}
