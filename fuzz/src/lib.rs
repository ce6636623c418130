//! What must hold of every parser whatever it is fed: it comes to an end, it does not panic, and a rule of its own.
//!
//! One function for each target; `fuzz_targets/` hands them to libFuzzer, `seeds.rs` makes the first corpus with the project's own
//! encoders. Run one with `cargo fuzz run -s none NAME` from the root of the repository; all of them, `.ci/fuzz SECONDS`.
//!
//! | Target | Rule besides |
//! |---|---|
//! | [`multipart`], [`transport`] | however the input is cut into pieces, the same comes out |
//! | [`http`] | a body is found alike in one piece and byte by byte |
//! | [`client_hello`] | what was said of a beginning stays true of more |
//! | [`rest`], [`soap`], [`ocsp`], [`timestamp`], [`certificate`] | the bytes that came are the bytes that are kept |
//! | [`xml`] | what passes the gate is a document for another reader too, and a canonical form is its own |
//! | [`signature`], [`hash_chain`], [`asic`] | nothing verifies by chance |
//! | [`configuration`] | what is read and written again reads the same |

#![forbid(unsafe_code)]

use std::io::Cursor;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::globalconf::{Builder, GlobalConf, Instance};
use pki::hash_chain::{self, MESSAGE_URI, SIGNATURE_CHAIN_URI};
use pki::{c14n, ocsp, tsp, xades};
use proto::globalconf::anchor::Anchor;
use proto::globalconf::directory::SignedDirectory;
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::shared_parameters::{SharedParameters, Source};
use proto::rest::{RestRequest, RestResponse};
use proto::transport::Direction;
use proto::xml::Limits;

use http1::body::{BodyDecoder, Step};
use http1::head::{self, Answers, Framing, HeadLimits};

/// The files themselves, compiled alone: building the server that they belong to would take longer than fuzzing them.
#[allow(dead_code, missing_docs)]
#[path = "../../security-server/src/http1"]
mod http1 {
    pub mod body;
    pub mod head;
}
#[allow(dead_code)]
#[path = "../../security-server/src/tls/hello.rs"]
mod hello;

mod shape;

use shape::{BOUNDARY, DIVIDER};

/// The two inputs in `data`; the second is empty where there is no divider.
fn two(data: &[u8]) -> (&[u8], &[u8]) {
    match data.windows(DIVIDER.len()).position(|at| at == DIVIDER) {
        Some(at) => (&data[..at], &data[at + DIVIDER.len()..]),
        None => (data, &[]),
    }
}

/// `data` cut at places that it chooses itself.
fn pieces(data: &[u8]) -> Vec<Bytes> {
    let size = usize::from(data.first().copied().unwrap_or(0) % 61) + 1;
    data.chunks(size).map(Bytes::copy_from_slice).collect()
}

/// [`proto::multipart`]: parts and their bytes.
pub fn multipart(data: &[u8]) {
    use proto::multipart::{Decoder, Event, Limits};

    let read = |pieces: &[Bytes]| {
        let content_type = format!("multipart/mixed; boundary={BOUNDARY}");
        let mut decoder = Decoder::new(&content_type, Limits::default()).expect("the boundary is usable");
        let (mut told, mut bytes) = (Vec::new(), Vec::new());
        let mut fed = pieces.iter();
        loop {
            match decoder.poll() {
                Ok(Some(Event::Data(data))) => {
                    assert!(!data.is_empty());
                    bytes.extend_from_slice(&data);
                }
                Ok(Some(Event::End { closed })) => {
                    told.push(format!("end {closed}"));
                    return (told, bytes, None);
                }
                Ok(Some(event)) => told.push(format!("{event:?} at {}", bytes.len())),
                Ok(None) => match fed.next() {
                    Some(piece) => decoder.feed(piece.clone()),
                    None => decoder.finish(),
                },
                // How much of a part came out before it was refused depends on the pieces.
                Err(error) => return (Vec::new(), Vec::new(), Some(error)),
            }
        }
    };
    assert_eq!(read(&[Bytes::copy_from_slice(data)]), read(&pieces(data)));
}

/// [`proto::transport`]: a message between two security servers, in both directions.
pub fn transport(data: &[u8]) {
    use proto::transport::{Decoder, Event, Limits};

    let read = |direction: Direction, pieces: &[Bytes]| {
        let content_type = format!("multipart/mixed; boundary={BOUNDARY}");
        let mut decoder = Decoder::new(&content_type, direction, Limits::default()).expect("a multipart");
        let (mut told, mut bytes) = (Vec::new(), Vec::new());
        let mut fed = pieces.iter();
        let mut finished = false;
        loop {
            match decoder.poll() {
                Ok(Some(Event::AttachmentData(data))) => bytes.extend_from_slice(&data),
                Ok(Some(event)) => {
                    told.push(format!("{event:?} at {}", bytes.len()));
                    if event == Event::End {
                        return Some((told, bytes));
                    }
                }
                Ok(None) => match fed.next() {
                    Some(piece) => decoder.feed(piece.clone()),
                    None if finished => return Some((told, bytes)),
                    None => {
                        decoder.finish();
                        finished = true;
                    }
                },
                Err(_) => return None,
            }
        }
    };
    for direction in [Direction::Request, Direction::Response] {
        assert_eq!(read(direction, &[Bytes::copy_from_slice(data)]), read(direction, &pieces(data)));
    }
}

/// [`proto::rest`]: the header part of a request and of a response.
pub fn rest(data: &[u8]) {
    let raw = Bytes::copy_from_slice(data);
    let request = RestRequest::parse(raw.clone());
    if let Ok(request) = &request {
        assert_eq!(request.raw, raw);
        assert!(request.service_headers().all(|(name, _)| !name.contains(['\r', '\n'])));
        let _ = (request.service_path(), request.forbids_body());
    }
    if let Ok(response) = RestResponse::parse(raw.clone()) {
        assert_eq!(response.raw, raw);
        for (name, value) in response.client_headers() {
            assert!(!name.contains(['\r', '\n']) && !value.contains(&b'\n'), "a header line stays one line");
        }
        if let Ok(request) = &request {
            let _ = response.inconsistency(request, "hash");
        }
    }
}

/// [`proto::soap`]: envelopes, and the request's hash put into a response.
pub fn soap(data: &[u8]) {
    use proto::soap::{Soap, parse};

    let raw = Bytes::copy_from_slice(data);
    let Ok(Soap::Message(message)) = parse(raw.clone(), "text/xml; charset=utf-8") else { return };
    assert_eq!(message.raw, raw);
    let Ok(hashed) = message.with_request_hash("aGFzaA==") else { return };
    match parse(hashed, "text/xml; charset=utf-8") {
        Ok(Soap::Message(again)) => {
            assert_eq!(again.inconsistency(&message.header, "aGFzaA=="), None, "nothing else has changed");
        }
        other => panic!("what we have written cannot be read: {other:?}"),
    }
}

/// [`pki::xades`]: signature documents. None of what is made up verifies under a certificate of ours.
pub fn signature(data: &[u8]) {
    if let Ok(document) = xades::Document::parse(data) {
        let _ = document.verify();
        let mut uris: Vec<_> = document.references.iter().map(|(uri, _)| uri).collect();
        uris.sort();
        uris.dedup();
        assert_eq!(uris.len(), document.references.len(), "no part is referred to twice");
    }
    let _ = xades::with_timestamp(data, b"token");
}

/// [`pki::hash_chain`]: a result and a chain, for a part that only a true chain could lead to.
pub fn hash_chain(data: &[u8]) {
    let (result, chain) = two(data);
    let digest = DigestAlgorithm::Sha512.digest(b"no corpus holds a chain over this");
    let parts = vec![(MESSAGE_URI.to_owned(), digest)];
    assert!(hash_chain::verify(result, chain, SIGNATURE_CHAIN_URI, &parts, false).is_err());
    assert!(hash_chain::verify(result, chain, SIGNATURE_CHAIN_URI, &parts, true).is_err());
    let _ = hash_chain::verify(result, chain, SIGNATURE_CHAIN_URI, &[], true);
}

/// [`pki::ocsp`]: responses, and what a responder is asked.
pub fn ocsp(data: &[u8]) {
    if let Ok(response) = ocsp::Response::parse(data) {
        assert_eq!(response.der(), data);
        for certificate in response.certificates() {
            let _ = response.is_signed_by(certificate);
        }
    }
    let _ = ocsp::respond::read_request(data);
}

/// [`pki::tsp`]: responses, tokens and requests.
pub fn timestamp(data: &[u8]) {
    let _ = tsp::stamp::Request::parse(data);
    let Ok(token) = tsp::Token::from_response(data).or_else(|_| tsp::Token::parse(data)) else { return };
    assert!(token.verify(b"no corpus holds a stamp over this", &[]).is_err());
    let again = tsp::Token::parse(token.der()).expect("its own bytes");
    assert_eq!(again.gen_time(), token.gen_time());
}

/// [`pki::cert`]: one certificate, DER or PEM.
pub fn certificate(data: &[u8]) {
    let _ = Certificate::parse_all(data);
    if let Ok(certificate) = Certificate::parse(data) {
        let again = Certificate::parse(certificate.to_pem().as_bytes()).expect("its own PEM");
        assert_eq!(again.der(), certificate.der());
        let _ = (certificate.subject(), certificate.is_authentication(), certificate.is_signing());
        let _ = certificate.verify_issued_by(&certificate);
    }
}

/// [`proto::globalconf`]: directories, parameters of every version, anchors.
pub fn configuration(data: &[u8]) {
    if let Ok(signed) = SignedDirectory::parse(data) {
        let boundary = signed.inner_boundary().to_owned();
        if let Ok(directory) = signed.directory()
            && let Ok(bytes) = directory.signed_bytes(&boundary)
        {
            assert!(!bytes.is_empty());
        }
    }
    for version in 2..=6 {
        if let Ok(shared) = SharedParameters::read(data, version)
            && let Ok(written) = shared.write(version)
        {
            assert_eq!(SharedParameters::read(&written, version).as_ref(), Ok(&shared));
        }
        if let Ok(private) = PrivateParameters::read(data, version)
            && let Ok(written) = private.write(version)
        {
            assert_eq!(PrivateParameters::read(&written, version).as_ref(), Ok(&private));
        }
    }
    if let Ok(anchor) = Anchor::read(data)
        && let Ok(written) = anchor.write()
    {
        assert_eq!(Anchor::read(&written).as_ref(), Ok(&anchor));
    }
}

/// `security_server::tls::hello`: the beginning of a connection to port 5500.
pub fn client_hello(data: &[u8]) {
    let mut said = None;
    for end in 0..=data.len().min(600) {
        let now = hello::look(&data[..end]);
        if said.is_some() {
            assert_eq!(said, now, "more bytes change nothing");
        }
        said = said.or(now);
    }
}

/// `security_server::http1`: heads of requests and answers, and their bodies.
pub fn http(data: &[u8]) {
    let limits = HeadLimits { bytes: 64 * 1024, lines: 128 };
    let _ = head::check_first(data);
    if let Some((end, bytes)) = whole_head(data, true)
        && let Ok(request) = head::parse_request(&bytes, &limits)
    {
        body(request.framing, &data[end..]);
    }
    for method in ["POST", "HEAD"] {
        let read = |whose: Answers| {
            let (end, bytes) = whole_head(data, whose.strict())?;
            Some((end, head::parse_response(&bytes, method, &limits, whose).ok()?))
        };
        let of_service = read(Answers::Services);
        if let Some((end, answer)) = &of_service {
            body(answer.framing, &data[*end..]);
        }
        // Whoever is strict understands what it takes as everybody does.
        if let Some((end, strict)) = read(Answers::Servers) {
            let (also, loose) = of_service.expect("what is strict is taken of services too");
            assert_eq!((end, strict.status, strict.framing), (also, loose.status, loose.framing));
            assert_eq!((strict.headers, strict.keep_alive), (loose.headers, loose.keep_alive));
        }
    }
}

fn whole_head(data: &[u8], strict: bool) -> Option<(usize, Bytes)> {
    let end = head::find_end(data, &mut 0, strict).ok()??;
    Some((end, Bytes::copy_from_slice(&data[..end])))
}

fn body(framing: Framing, data: &[u8]) {
    let read = |size: usize| {
        let (mut decoder, mut buffer, mut bytes) = (BodyDecoder::new(framing), BytesMut::new(), Vec::new());
        let mut pieces = data.chunks(size.max(1));
        let mut ended = false;
        loop {
            match decoder.decode(&mut buffer, ended) {
                Ok(Step::Data(data)) => bytes.extend_from_slice(&data),
                Ok(Step::End) => return Ok(bytes),
                Ok(Step::More) => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => ended = true,
                },
                Err(error) => return Err(error),
            }
        }
    };
    assert_eq!(read(data.len()).ok(), read(1).ok());
}

/// [`proto::xml`] and [`pki::c14n`].
pub fn xml(data: &[u8]) {
    let limits = Limits { bytes: 1 << 20, depth: 32, attributes: 32, namespaces: 32, elements: 10_000 };
    if proto::xml::check(data, &limits).is_err() {
        return;
    }
    let tree = proto::xml::tree(data, &limits).expect("what passes the gate is a document");
    for method in [c14n::INCLUSIVE, c14n::EXCLUSIVE].map(|uri| c14n::Method::from_uri(uri, None)) {
        let method = method.expect("it is known");
        let canonical = c14n::canonicalize_document(&tree, &method);
        let text = String::from_utf8(canonical.clone()).expect("a canonical form is UTF-8");
        let again = roxmltree::Document::parse(&text).expect("a canonical form is a document");
        assert_eq!(c14n::canonicalize_document(&again, &method), canonical, "it is its own canonical form");
    }
}

/// [`pki::asic`]: containers, against a configuration that knows nobody.
pub fn asic(data: &[u8]) {
    if let Ok(container) = pki::asic::Container::open(Cursor::new(data)) {
        assert!(container.verify(&NOBODY).is_err());
    }
}

/// A configuration without members, CAs and timestamping services.
static NOBODY: LazyLock<GlobalConf> = LazyLock::new(|| {
    // An instance has a source with certificates; nothing is ever checked against these.
    let source = Source {
        address: "fuzz.test".into(),
        internal_certs: vec![b"none".to_vec()],
        external_certs: vec![b"none".to_vec()],
    };
    let parameters = SharedParameters {
        instance: "FUZZ".into(),
        sources: vec![source],
        ocsp_freshness_seconds: 3600,
        ..Default::default()
    };
    let instance = Instance::new(parameters, 6).expect("an instance without anybody");
    Builder::new("FUZZ").instance(instance.into(), None).build().expect("the instance is there")
});
