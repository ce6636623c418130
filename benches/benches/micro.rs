//! The single steps of an exchange, by criterion: `cargo bench -p benches`.
//!
//! | Bench | What |
//! |---|---|
//! | `sign` | one signature document with each kind of key, from digests to the finished text |
//! | `verify` | that document read and its value checked; `chain`: a hash chain of a batch of 64 |
//! | `canonicalise` | SignedProperties of a document |
//! | `hash` | SHA-512 of a header part, a kilobyte and a mebibyte |
//! | `multipart` | a whole transport message without a body, decoded |
//! | `configuration` | the servers of a provider among 10,000 members |
//! | `log` | one durable append of a record of 1 KiB |

use std::hint::black_box;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use host::clock::Clock;
use pki::algorithm::EcdsaForm;
use pki::c14n::{Method, canonicalize};
use pki::cert::Certificate;
use pki::digest::{DigestAlgorithm, sha512};
use pki::globalconf::{Builder, Instance};
use pki::hash_chain::{self, MESSAGE_URI, SIGNATURE_CHAIN_URI, Tree};
use pki::issue::{self, Role};
use pki::key::{KeyKind, PrivateKey};
use pki::xades::{Document, Template};
use proto::globalconf::shared_parameters::{Member, SecurityServer, SharedParameters, Source};
use proto::id::{ClientId, MemberId, ServerId};
use proto::time::UnixTime;
use proto::transport::{Decoder, Direction as Way, Encoder, Limits, MessageKind};
use security_server::message_log::settings::LogSettings;
use security_server::message_log::timestamper::Surroundings;
use security_server::message_log::{Direction, Entry, MessageLog};

const NOW: UnixTime = UnixTime(1_795_291_200_000);
const HEADER: &[u8] =
    b"GET\r\n/r1/DEV/GOV/5678/provider/service/path\r\nX-Road-Client:DEV/GOV/1234/consumer\r\n\
    x-road-id:DEV-0b1d3a5e\r\nx-road-request-id:00000000-0000-0000-0000-000000000001\r\n";
/// About what a responder answers.
const OCSP_BYTES: usize = 1500;

criterion_group!(benches, signatures, chains, hash, multipart, configuration, log);
criterion_main!(benches);

struct Signer {
    key: PrivateKey,
    template: Template,
}

impl Signer {
    fn new(kind: KeyKind) -> Self {
        let key = PrivateKey::generate(kind).expect("a key");
        let template = issue::Template {
            subject: &vec![("2.5.4.3", "bench".to_owned())],
            role: Role::Signing,
            serial: &[1],
            not_before: UnixTime(0),
            not_after: UnixTime(4_000_000_000_000),
            dns_names: &[],
            addresses: &[],
            ocsp_url: None,
        };
        let cert = issue::self_signed(&template, &key).expect("a certificate");
        let template = Template::new(&cert, &[], &[vec![7; OCSP_BYTES]], key.default_algorithm());
        Self { key, template }
    }

    fn document(&self) -> Vec<u8> {
        let unsigned = self.template.prepare(MESSAGE_URI, &DigestAlgorithm::Sha512.digest(HEADER), NOW);
        let value = self.key.sign(self.key.default_algorithm(), EcdsaForm::Raw, unsigned.signed_info());
        unsigned.finish(&value.expect("a signature"))
    }
}

fn signatures(c: &mut Criterion) {
    let kinds = [("rsa2048", KeyKind::Rsa(2048)), ("rsa3072", KeyKind::Rsa(3072)), ("p256", KeyKind::P256)];
    for (name, kind) in kinds {
        let signer = Signer::new(kind);
        c.bench_function(&format!("sign/{name}"), |b| b.iter(|| signer.document()));
        let document = signer.document();
        c.bench_function(&format!("verify/{name}"), |b| {
            b.iter(|| Document::parse(black_box(&document)).expect("it reads").verify().expect("it holds"));
        });
    }
    let document = Signer::new(KeyKind::P256).document();
    let text = std::str::from_utf8(&document).expect("text");
    let tree = roxmltree::Document::parse(text).expect("XML");
    let named = |node: &roxmltree::Node<'_, '_>| node.tag_name().name() == "SignedProperties";
    let properties = tree.descendants().find(named).expect("they are there");
    c.bench_function("canonicalise/SignedProperties", |b| {
        b.iter(|| canonicalize(black_box(properties), &Method::Inclusive));
    });
}

fn chains(c: &mut Criterion) {
    let parts =
        |number: u32| vec![(MESSAGE_URI.to_owned(), DigestAlgorithm::Sha512.digest(&number.to_be_bytes()))];
    let tree = Tree::build(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, (0..64).map(parts).collect());
    let (result, chain, own) = (tree.result_xml().to_vec(), tree.chain_xml(17), parts(17));
    c.bench_function("verify/chain of 64", |b| {
        b.iter(|| {
            hash_chain::verify(black_box(&result), &chain, SIGNATURE_CHAIN_URI, &own, false)
                .expect("it holds")
        });
    });
}

fn hash(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash");
    for (name, data) in
        [("header", HEADER.to_vec()), ("1 KiB", vec![7; 1 << 10]), ("1 MiB", vec![7; 1 << 20])]
    {
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(name, |b| b.iter(|| sha512(black_box(&data))));
    }
}

fn multipart(c: &mut Criterion) {
    let (mut encoder, mut message) = (Encoder::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"), BytesMut::new());
    encoder.ocsp(&mut message, &[7; OCSP_BYTES]);
    encoder.rest(&mut message, MessageKind::RestRequest, HEADER);
    encoder.signature(&mut message, &Signer::new(KeyKind::P256).document());
    let (content_type, message) = (encoder.content_type(), message.freeze());
    c.bench_function("multipart/request without body", |b| {
        b.iter(|| {
            let decoder = Decoder::new(&content_type, Way::Request, Limits::default());
            let mut decoder = decoder.expect("a boundary");
            decoder.feed(message.clone());
            decoder.finish();
            while let Some(event) = decoder.poll().expect("a message") {
                black_box(event);
            }
        });
    });
}

fn configuration(c: &mut Criterion) {
    let member = |number: u32| MemberId::new("XX", "GOV", format!("1000{number}-7"));
    let parameters = SharedParameters {
        instance: "XX".into(),
        sources: vec![Source::default()],
        members: (0..10_000)
            .map(|number| Member {
                id: member(number),
                class_description: String::new(),
                name: String::new(),
                subsystems: vec![("register".to_owned(), None)],
            })
            .collect(),
        servers: (0..1000)
            .map(|number| SecurityServer {
                id: ServerId { owner: member(number), code: format!("ss{number}") },
                address: Some(format!("ss{number}.example.org")),
                auth_cert_hashes: vec![DigestAlgorithm::Sha256.digest(&number.to_be_bytes()).value],
                clients: (number * 10..number * 10 + 10).map(|n| member(n).subsystem("register")).collect(),
                maintenance: None,
            })
            .collect(),
        ..SharedParameters::default()
    };
    let instance = Instance::new(parameters, 6).expect("a configuration");
    let conf = Builder::new("XX").instance(Arc::new(instance), None).build().expect("a configuration");
    let asked: ClientId = member(7_777).subsystem("register");
    c.bench_function("configuration/providers", |b| b.iter(|| conf.providers(black_box(&asked)).len()));
}

fn log(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let settings = LogSettings { min_free_bytes: 0, ..LogSettings::default() };
    let opened = MessageLog::open(dir.path(), settings, Clock::System, Arc::new(NoService));
    let (log, _timestamper) = opened.expect("a log");
    let (message, signature) = (Bytes::from(vec![7; 1 << 10]), Bytes::from(vec![b'x'; 6 << 10]));
    let entry = || Entry {
        direction: Direction::Request,
        consumer_side: true,
        message_id: "DEV-0b1d3a5e".to_owned(),
        request_id: "00000000-0000-0000-0000-000000000001".to_owned(),
        client: MemberId::new("DEV", "GOV", "1234").subsystem("consumer"),
        service: MemberId::new("DEV", "GOV", "5678").subsystem("provider").service("service"),
        message: message.clone(),
        rest: true,
        signature: signature.clone(),
        hash_chain: None,
        attachments: Vec::new(),
        parts: vec![(MESSAGE_URI.to_owned(), DigestAlgorithm::Sha512.digest(b"x"))],
        at: NOW,
        until: UnixTime(0),
    };
    c.bench_function("log/append 1 KiB", |b| {
        let append = |entry| runtime.block_on(log.append(entry)).expect("it is logged");
        b.iter_batched(entry, append, BatchSize::SmallInput);
    });
    runtime.block_on(log.close());
}

#[derive(Debug)]
struct NoService;

impl Surroundings for NoService {
    fn services(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn has_services(&self) -> bool {
        false
    }
    fn trusted(&self, _: UnixTime) -> Option<Vec<Certificate>> {
        None
    }
    fn interval(&self) -> std::time::Duration {
        std::time::Duration::from_secs(3600)
    }
}
