//! The single steps of an exchange, by criterion: `cargo bench -p benches`; with `-- --quick` in a minute.
//!
//! | Bench | What |
//! |---|---|
//! | `sign` | one signature document with each kind of key, from digests to the finished text |
//! | `verify` | that document read and its value checked; `chain of 64`: a hash chain of a batch of 64 |
//! | `canonicalise` | SignedProperties of a document |
//! | `hash` | SHA-512 of a header part, a kilobyte and a mebibyte |
//! | `multipart` | a whole transport message without a body, decoded |
//! | `configuration` | the servers of a provider among 10,000 members |
//! | `log` | one durable append of a record of 1 KiB |
//!
//! Where valgrind is there, the instructions of each follow (not of `log`, whose time is the disk's): this program runs under callgrind with
//! one key that it is given, once with a few rounds and once with more, and the difference counts. Instructions do not depend on what else
//! the machine does. Valgrind's processor has no AVX-512, so a real one may take fewer.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use host::clock::Clock;
use pki::algorithm::EcdsaForm;
use pki::c14n::{Method, canonicalize};
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
use security_server::message_log::{Direction, Entry, MessageLog};

#[path = "../src/no_service.rs"]
mod no_service;

use no_service::NoService;

const NOW: UnixTime = UnixTime(1_795_291_200_000);
const HEADER: &[u8] =
    b"GET\r\n/r1/DEV/GOV/5678/provider/service/path\r\nX-Road-Client:DEV/GOV/1234/consumer\r\n\
    x-road-id:DEV-0b1d3a5e\r\nx-road-request-id:00000000-0000-0000-0000-000000000001\r\n";
/// About what a responder answers.
const OCSP_BYTES: usize = 1500;

/// `NAME ROUNDS FOLDER`: do that and nothing else, for callgrind.
const ONCE: &str = "CAUSEWAY_BENCH_ONCE";
/// Rounds whose difference counts.
const ROUNDS: [u64; 2] = [2, 12];

/// A step: its name, the bytes that it passes over, and how it is made ready. What is ready does it once per call.
type Step = (&'static str, Option<u64>, fn(&Path) -> Ready);
type Ready = Box<dyn FnMut()>;

const STEPS: [Step; 14] = [
    ("sign/rsa2048", None, |dir| sign(dir, "rsa2048")),
    ("sign/rsa3072", None, |dir| sign(dir, "rsa3072")),
    ("sign/p256", None, |dir| sign(dir, "p256")),
    ("verify/rsa2048", None, |dir| verify(dir, "rsa2048")),
    ("verify/rsa3072", None, |dir| verify(dir, "rsa3072")),
    ("verify/p256", None, |dir| verify(dir, "p256")),
    ("verify/chain of 64", None, |_| chain()),
    ("canonicalise/SignedProperties", None, canonicalise),
    ("hash/header", Some(HEADER.len() as u64), |_| hash(HEADER.to_vec())),
    ("hash/1 KiB", Some(1 << 10), |_| hash(vec![7; 1 << 10])),
    ("hash/1 MiB", Some(1 << 20), |_| hash(vec![7; 1 << 20])),
    ("multipart/request without body", None, multipart),
    ("configuration/providers", None, |_| configuration()),
    // Nothing to compare with but itself: what the rounds cost that do nothing.
    ("nothing", None, |_| Box::new(|| black_box(()))),
];

const KEYS: [(&str, KeyKind); 3] =
    [("rsa2048", KeyKind::Rsa(2048)), ("rsa3072", KeyKind::Rsa(3072)), ("p256", KeyKind::P256)];

fn main() {
    if let Ok(asked) = std::env::var(ONCE) {
        return once(&asked);
    }
    let dir = tempfile::tempdir().expect("a folder");
    for (name, kind) in KEYS {
        let key = PrivateKey::generate(kind).expect("a key");
        let pem = pki::pem::encode("PRIVATE KEY", &key.to_pkcs8());
        std::fs::write(dir.path().join(name), pem).expect("it can be written");
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, bytes, ready) in STEPS {
        let mut step = ready(dir.path());
        let (group, name) = name.split_once('/').unwrap_or((name, "at all"));
        let mut group = criterion.benchmark_group(group);
        if let Some(bytes) = bytes {
            group.throughput(Throughput::Bytes(bytes));
        }
        group.bench_function(name, |b| b.iter(&mut step));
    }
    log(&mut criterion);
    criterion.final_summary();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--bench") {
        let filter = arguments.iter().find(|word| !word.starts_with('-'));
        instructions(dir.path(), filter.map_or("", String::as_str));
    }
}

fn once(asked: &str) {
    let words: Vec<&str> = asked.splitn(3, '\t').collect();
    let [name, rounds, dir] = words[..] else { panic!("{ONCE}: NAME ROUNDS FOLDER") };
    let (_, _, ready) = STEPS.iter().find(|(known, ..)| *known == name).expect("a step of that name");
    let mut step = ready(Path::new(dir));
    for _ in 0..rounds.parse::<u64>().expect("a number") {
        step();
    }
}

/// Of each step whose name holds `filter`.
fn instructions(dir: &Path, filter: &str) {
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: valgrind is not installed, so no instructions are counted");
        return;
    }
    eprintln!("\nInstructions, by callgrind:");
    for (name, ..) in STEPS.into_iter().filter(|(name, ..)| name.contains(filter)) {
        let counts = ROUNDS.map(|rounds| collected(name, rounds, dir));
        match counts {
            [Some(few), Some(many)] => {
                let each = many.saturating_sub(few) / (ROUNDS[1] - ROUNDS[0]);
                eprintln!("{name:<34} {each:>12}");
            }
            _ => eprintln!("{name:<34} callgrind does not say"),
        }
    }
}

/// All instructions of a run with so many rounds.
fn collected(name: &str, rounds: u64, dir: &Path) -> Option<u64> {
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .env(ONCE, format!("{name}\t{rounds}\t{}", dir.display()))
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

struct Signer {
    key: PrivateKey,
    template: Template,
}

impl Signer {
    /// With the key of that name in the folder.
    fn new(dir: &Path, name: &str) -> Self {
        let key = PrivateKey::from_pem(&std::fs::read(dir.join(name)).expect("it was written"));
        let key = key.expect("a key");
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

fn sign(dir: &Path, name: &str) -> Ready {
    let signer = Signer::new(dir, name);
    Box::new(move || drop(black_box(signer.document())))
}

fn verify(dir: &Path, name: &str) -> Ready {
    let document = Signer::new(dir, name).document();
    Box::new(move || {
        Document::parse(black_box(&document)).expect("it reads").verify().expect("it holds");
    })
}

fn canonicalise(dir: &Path) -> Ready {
    // What is read lives as long as the program, since a step borrows nothing.
    let document: &'static [u8] = Signer::new(dir, "p256").document().leak();
    let text = std::str::from_utf8(document).expect("text");
    let tree: &'static roxmltree::Document<'static> =
        Box::leak(Box::new(roxmltree::Document::parse(text).expect("XML")));
    let named = |node: &roxmltree::Node<'_, '_>| node.tag_name().name() == "SignedProperties";
    let properties = tree.descendants().find(named).expect("they are there");
    Box::new(move || drop(black_box(canonicalize(black_box(properties), &Method::Inclusive))))
}

fn chain() -> Ready {
    let parts =
        |number: u32| vec![(MESSAGE_URI.to_owned(), DigestAlgorithm::Sha512.digest(&number.to_be_bytes()))];
    let tree = Tree::build(DigestAlgorithm::Sha512, SIGNATURE_CHAIN_URI, (0..64).map(parts).collect());
    let (result, chain, own) = (tree.result_xml().to_vec(), tree.chain_xml(17), parts(17));
    Box::new(move || {
        let verified = hash_chain::verify(black_box(&result), &chain, SIGNATURE_CHAIN_URI, &own, false);
        black_box(verified.expect("it holds"));
    })
}

fn hash(data: Vec<u8>) -> Ready {
    Box::new(move || {
        black_box(sha512(black_box(&data)));
    })
}

fn multipart(dir: &Path) -> Ready {
    let (mut encoder, mut message) = (Encoder::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"), BytesMut::new());
    encoder.ocsp(&mut message, &[7; OCSP_BYTES]);
    encoder.rest(&mut message, MessageKind::RestRequest, HEADER);
    encoder.signature(&mut message, &Signer::new(dir, "p256").document());
    let (content_type, message) = (encoder.content_type(), message.freeze());
    Box::new(move || {
        let decoder = Decoder::new(&content_type, Way::Request, Limits::default());
        let mut decoder = decoder.expect("a boundary");
        decoder.feed(message.clone());
        decoder.finish();
        while let Some(event) = decoder.poll().expect("a message") {
            black_box(event);
        }
    })
}

fn configuration() -> Ready {
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
    Box::new(move || {
        black_box(conf.providers(black_box(&asked)).len());
    })
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
        message_id: "DEV-0b1d3a5e".into(),
        request_id: "00000000-0000-0000-0000-000000000001".into(),
        client: MemberId::new("DEV", "GOV", "1234").subsystem("consumer").into(),
        service: MemberId::new("DEV", "GOV", "5678").subsystem("provider").service("service").into(),
        message: message.clone(),
        rest: true,
        signature: signature.clone(),
        hash_chain: None,
        attachments: Vec::new(),
        parts: vec![(MESSAGE_URI.to_owned(), DigestAlgorithm::Sha512.digest(b"x"))].into(),
        at: NOW,
        until: UnixTime(0),
    };
    c.bench_function("log/append 1 KiB", |b| {
        let append = |entry| runtime.block_on(log.append(entry)).expect("it is logged");
        b.iter_batched(entry, append, BatchSize::SmallInput);
    });
    runtime.block_on(log.close());
}
