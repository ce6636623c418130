//! The first corpus of the fuzz targets, made with the project's own encoders: an example program of `pki`, so that it is built
//! with the tests and without the fuzzer's instrumentation. `.ci/fuzz` runs it.
//!
//! Keys are made anew each time, so the files differ from run to run; what libFuzzer finds is kept beside them.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pki::asic::{self, Attachment, Content};
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::hash_chain::{MESSAGE_URI, SIGNATURE_CHAIN_URI, SIGNATURE_RESULT_URI, Tree};
use pki::issue::{self, Role, Subject, Template};
use pki::key::{KeyKind, PrivateKey};
use pki::ocsp::respond::{Answer, NamedBy, Responder, respond};
use pki::ocsp::{self, Status};
use pki::{algorithm::EcdsaForm, tsp, xades};
use proto::globalconf::anchor::{Anchor, AnchorSource};
use proto::globalconf::directory::{Directory, Part, Signature, envelope};
use proto::globalconf::shared_parameters::{ApprovedTsa, SharedParameters, Source};
use proto::rest::{EdgeRequest, RestRequest, RestResponse};
use proto::time::UnixTime;
use proto::transport::{Encoder, MessageKind};

#[path = "src/shape.rs"]
mod shape;

use shape::{BOUNDARY, DIVIDER};

const NOW: UnixTime = UnixTime::from_secs(1_790_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const POLICY: &str = "1.3.6.1.4.1.99999.1";

const SOAP: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
    xmlns:x=\"http://x-road.eu/xsd/xroad.xsd\" xmlns:i=\"http://x-road.eu/xsd/identifiers\"><s:Header>\
    <x:client i:objectType=\"SUBSYSTEM\"><i:xRoadInstance>FUZZ</i:xRoadInstance><i:memberClass>MUN</i:memberClass>\
    <i:memberCode>2001</i:memberCode><i:subsystemCode>school</i:subsystemCode></x:client>\
    <x:service i:objectType=\"SERVICE\"><i:xRoadInstance>FUZZ</i:xRoadInstance><i:memberClass>MUN</i:memberClass>\
    <i:memberCode>1001</i:memberCode><i:subsystemCode>population</i:subsystemCode>\
    <i:serviceCode>resident</i:serviceCode><i:serviceVersion>v1</i:serviceVersion></x:service>\
    <x:id>a-1</x:id><x:userId>EE1</x:userId><x:protocolVersion>4.0</x:protocolVersion></s:Header>\
    <s:Body><p:resident xmlns:p=\"http://population/\"><p:code>1</p:code></p:resident></s:Body></s:Envelope>";

/// One input of two.
fn join(first: &[u8], second: &[u8]) -> Vec<u8> {
    [first, DIVIDER, second].concat()
}

struct Party {
    key: PrivateKey,
    cert: Certificate,
}

fn template<'a>(subject: &'a Subject, role: Role, serial: &'a [u8]) -> Template<'a> {
    Template {
        subject,
        role,
        serial,
        not_before: NOW.minus(DAY),
        not_after: NOW.plus(DAY * 365),
        dns_names: &[],
        addresses: &[],
        ocsp_url: Some("http://ocsp.test/"),
    }
}

fn subject(name: &str) -> Subject {
    vec![(pki::name::COUNTRY, "FI".to_owned()), (pki::name::COMMON_NAME, name.to_owned())]
}

impl Party {
    fn root(kind: KeyKind) -> Self {
        let key = PrivateKey::generate(kind).expect("a key");
        let cert = issue::self_signed(&template(&subject("Root"), Role::Authority(1), &[1]), &key);
        Self { cert: cert.expect("a certificate"), key }
    }
    fn issue(&self, name: &str, role: Role, serial: u8) -> Self {
        let key = PrivateKey::generate(KeyKind::P256).expect("a key");
        let subject = subject(name);
        let cert =
            issue::issue(&template(&subject, role, &[serial]), key.public_key(), &self.cert, &self.key);
        Self { cert: cert.expect("a certificate"), key }
    }
}

fn main() {
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "fuzz/corpus".to_owned()));
    let put = |target: &str, name: &str, data: &[u8]| {
        let folder = root.join(target);
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::write(folder.join(name), data).expect("the file can be written");
    };
    let made = Made::new();
    made.messages(&put);
    made.evidence(&put);
    made.configuration(&put);
    edges(&put);
}

type Put<'a> = &'a dyn Fn(&str, &str, &[u8]);

/// What several seeds share.
struct Made {
    root: Party,
    tsa: Party,
    request: RestRequest,
    response: RestResponse,
    ocsp: Vec<u8>,
    signature: Vec<u8>,
    result: Vec<u8>,
    chain: Vec<u8>,
    token: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        let root = Party::root(KeyKind::Rsa(2048));
        let (signer, tsa) =
            (root.issue("Signer", Role::Signing, 2), root.issue("TSA", Role::Timestamping, 3));
        let edge = EdgeRequest {
            method: "POST",
            path: "/r1/FUZZ/MUN/1001/population/register/searches",
            query: Some("a=1&b=%20"),
            headers: &[
                ("X-Road-Client", b"FUZZ/MUN/2001/school"),
                ("X-Road-UserId", b"EE1"),
                ("Content-Type", b"application/json"),
            ],
        };
        let request = RestRequest::from_edge(&edge, "11111111-2222-3333-4444-555555555555", "FUZZ-1");
        let request = request.expect("a request");
        let headers: [(&str, &[u8]); 1] = [("Content-Type", b"text/plain")];
        let response = RestResponse::from_service(200, "OK", &headers, &request, "1", "aGFzaA==");
        let response = response.expect("a response");

        let answer = Answer::about(&signer.cert, &root.cert, Status::Good, NOW, Some(NOW.plus(DAY)));
        let by = Responder {
            cert: &root.cert,
            key: &root.key,
            named_by: NamedBy::Name,
            algorithm: root.key.default_algorithm(),
        };
        let ocsp = respond(&[answer.expect("an answer")], by, NOW).expect("a response");

        let part = |bytes: &[u8]| vec![(MESSAGE_URI.to_owned(), DigestAlgorithm::Sha512.digest(bytes))];
        let messages = vec![part(&request.raw), part(&response.raw), part(SOAP.as_bytes())];
        let tree = Tree::build(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, messages);
        let digest = DigestAlgorithm::Sha512.digest(tree.result_xml());
        let algorithm = signer.key.default_algorithm();
        let unsigned = xades::Template::new(&signer.cert, &[], std::slice::from_ref(&ocsp), algorithm)
            .prepare(SIGNATURE_RESULT_URI, &digest, NOW);
        let value = signer.key.sign(algorithm, EcdsaForm::Raw, unsigned.signed_info()).expect("a signature");
        let asked = tsp::request(&DigestAlgorithm::Sha512.digest(b"document"));
        let stamper = tsp::stamp::Stamper { cert: &tsa.cert, key: &tsa.key, policy: POLICY };
        let asked = tsp::stamp::Request::parse(&asked).expect("our own request");
        let token = tsp::stamp::grant(&asked, stamper, 1, NOW).expect("a token");
        Self {
            signature: unsigned.finish(&value),
            result: tree.result_xml().to_vec(),
            chain: tree.chain_xml(1),
            root,
            tsa,
            request,
            response,
            ocsp,
            token,
        }
    }

    fn messages(&self, put: Put<'_>) {
        let suffix = BOUNDARY.strip_prefix("xtop").expect("boundaries begin so");
        let whole = |fill: &dyn Fn(&mut Encoder, &mut BytesMut)| {
            let (mut encoder, mut out) = (Encoder::new(suffix), BytesMut::new());
            fill(&mut encoder, &mut out);
            out
        };
        let request = whole(&|encoder, out| {
            encoder.ocsp(out, &self.ocsp);
            encoder.rest(out, MessageKind::RestRequest, &self.request.raw);
            encoder.rest_body_head(out);
            out.extend_from_slice(b"{\"a\": 1}");
            encoder.hash_chain(out, &self.result, &self.chain);
            encoder.signature(out, &self.signature);
        });
        let response = whole(&|encoder, out| {
            encoder.rest(out, MessageKind::RestResponse, &self.response.raw);
            encoder.signature(out, &self.signature);
        });
        let soap = whole(&|encoder, out| {
            encoder.ocsp(out, &self.ocsp);
            encoder.soap(out, "text/xml; charset=UTF-8", &[], SOAP.as_bytes());
            for id in ["<one>", "<two>"] {
                let head = proto::multipart::PartHead {
                    headers: vec![
                        ("Content-Type".to_owned(), "text/plain".to_owned()),
                        ("Content-ID".to_owned(), id.to_owned()),
                    ],
                };
                encoder.attachment_head(out, &head);
                out.extend_from_slice(b"attached");
            }
            encoder.signature(out, &self.signature);
        });
        let fault = whole(&|encoder, out| encoder.fault(out, b"<fault/>"));
        for (name, bytes) in [("request", request), ("response", response), ("soap", soap), ("fault", fault)]
        {
            put("transport", name, &bytes);
            put("multipart", name, &bytes);
        }
        put("rest", "request", &self.request.raw);
        put("rest", "response", &self.response.raw);
        put("soap", "request", SOAP.as_bytes());
        let utf16: Vec<u8> =
            SOAP.replace("utf-8", "utf-16").encode_utf16().flat_map(u16::to_be_bytes).collect();
        put("soap", "utf16", &[&b"\xfe\xff"[..], &utf16].concat());
    }

    fn evidence(&self, put: Put<'_>) {
        put("signature", "batch", &self.signature);
        put("hash_chain", "batch", &join(&self.result, &self.chain));
        put("ocsp", "good", &self.ocsp);
        put("ocsp", "request", &ocsp::request(&self.tsa.cert, &self.root.cert));
        put("timestamp", "granted", &self.token);
        put("timestamp", "request", &tsp::request(&DigestAlgorithm::Sha256.digest(b"document")));
        put("certificate", "root", self.root.cert.der());
        put("certificate", "tsa", self.tsa.cert.to_pem().as_bytes());
        for (name, document) in [("signature", &self.signature), ("chain", &self.chain)] {
            put("xml", name, document);
        }
        put("xml", "soap", SOAP.as_bytes());
        let mut container = Cursor::new(Vec::new());
        let content = Content {
            message: &self.request.raw,
            signature: &self.signature,
            signature_chain: Some((&self.result, &self.chain)),
            batch_timestamp: Some((&self.result, &self.chain, &self.token)),
            attachments: vec![Some(Attachment::Bytes(b"{\"a\": 1}"))],
            time: NOW,
        };
        asic::write(content, &mut container).expect("a container");
        put("asic", "rest", container.get_ref());
    }

    fn configuration(&self, put: Put<'_>) {
        let shared = SharedParameters {
            instance: "FUZZ".into(),
            sources: vec![Source {
                address: "cs.test".into(),
                internal_certs: vec![self.root.cert.der().to_vec()],
                external_certs: vec![self.root.cert.der().to_vec()],
            }],
            approved_tsas: vec![ApprovedTsa {
                name: "TSA".into(),
                url: "http://tsa.test/".into(),
                cert: self.tsa.cert.der().to_vec(),
                ..ApprovedTsa::default()
            }],
            ocsp_freshness_seconds: 3600,
            ..SharedParameters::default()
        };
        for version in [2, 3, 6] {
            let name = format!("shared-{version}");
            put("configuration", &name, &shared.write(version).expect("parameters"));
        }
        let anchor = Anchor {
            generated_at: Some(NOW),
            instance: "FUZZ".into(),
            sources: vec![AnchorSource {
                url: "http://cs.test/internalconf".into(),
                verification_certs: vec![self.root.cert.der().to_vec()],
            }],
        };
        put("configuration", "anchor", &anchor.write().expect("an anchor"));
        let directory = Directory {
            expires: NOW.plus(DAY),
            version: Some(6),
            parts: vec![Part {
                content_identifier: "SHARED-PARAMETERS".into(),
                instance: "FUZZ".into(),
                location: "/V6/1/shared-params.xml".into(),
                file_name: None,
                hash_algorithm_uri: DigestAlgorithm::Sha512.uri().into(),
                hash: vec![7; 64],
            }],
        };
        let signature = Signature {
            algorithm_uri: self.root.key.default_algorithm().uri().into(),
            cert_hash: vec![1; 64],
            cert_hash_algorithm_uri: DigestAlgorithm::Sha512.uri().into(),
            value: vec![2; 256],
        };
        let signed = directory.signed_bytes("inner").expect("a directory");
        put("configuration", "directory", &envelope("outer", "inner", &signed, &signature));
    }
}

/// What comes to the listeners before anything of it is understood.
fn edges(put: Put<'_>) {
    put(
        "http",
        "get",
        b"GET /r1/FUZZ/MUN/1001/population/register HTTP/1.1\r\nHost: a\r\nX-Road-Client: FUZZ/MUN/1\r\n\r\n",
    );
    put(
        "http",
        "chunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=1\r\nyou\r\n0\r\nA: b\r\n\r\n",
    );
    put("http", "answer", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok");
    let hello = |suites: &[u8]| {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[9; 32]);
        body.push(0);
        body.extend_from_slice(&u16::try_from(suites.len()).expect("a few suites").to_be_bytes());
        body.extend_from_slice(suites);
        body.extend_from_slice(&[1, 0]);
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let handshake = [&[1], &length[1..], &body].concat();
        let length = u16::try_from(handshake.len()).expect("short").to_be_bytes();
        Bytes::from([&[22, 3, 1][..], &length, &handshake].concat())
    };
    put("client_hello", "modern", &hello(&[0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f]));
    put("client_hello", "legacy", &hello(&[0xc0, 0x27, 0xc0, 0x28, 0x00, 0xff]));
    put("client_hello", "grease", &hello(&[0x0a, 0x0a, 0xc0, 0x23]));
}
