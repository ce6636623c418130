//! The handshakes that stock servers were asked for on 5500 and 8443, asked of ours by the same means: `openssl s_client`.
//!
//! Compared are the alert, or version and suite, and the status of the answer where there was a request. Stock servers speak TLS 1.2
//! alone, and on 5500 three suites; ours speak better with who can, so that most cases of success differ for one reason.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use host::clock::Clock;
use pki::cert::Certificate;
use pki::globalconf::load_directory;
use pki::key::PrivateKey;
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;
use security_server::serverconf::event::Event;
use security_server::serverconf::state::State;
use security_server::tls::hello;
use serde_json::Value;
use support::differences::assert_listed;
use support::pki::{Pair, Pki};
use support::{Options, Parts, Server, signer};
use testkit::tools::tool;
use testkit::vectors::{self, Tally};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// The evening of the recordings.
const NOW: UnixTime = UnixTime::from_secs(1_795_305_600);
const LIMIT: Duration = Duration::from_secs(20);
const PEERS: &str = "The better TLS where both can";
const INFORMATION_SYSTEMS: &str = "Information systems offer authenticated encryption";

/// What came of a handshake, and of a request after it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Number of the alert.
    Alert(u8),
    /// Version and suite; status of the answer; the session was an old one.
    Done { version: String, suite: String, status: Option<u16>, resumed: bool },
}

fn pair(pki: &Path, name: &str) -> Pair {
    let read = |suffix: &str| std::fs::read(pki.join(format!("{name}{suffix}"))).unwrap();
    Pair {
        key: PrivateKey::from_pem(&read(".key.pem")).unwrap(),
        cert: Certificate::parse(&read(".der")).unwrap(),
    }
}

/// The provider of the probes, without its services.
async fn start(environment: &Path) -> Server {
    let pki_folder = environment.join("pki");
    let pair = |name: &str| pair(&pki_folder, name);
    let pki = Pki { ca: pair("ca"), responder: pair("ocsp"), now: NOW };
    let owner = MemberId { instance: "PRB".into(), class: "GOV".into(), code: "2222".into() };
    let conf = load_directory(&environment.join("globalconf")).unwrap();
    let globalconf = Arc::new(ArcSwap::from_pointee(Some(Arc::new(conf))));
    let state = Event::ServerNamed { id: ServerId { owner: owner.clone(), code: "SS2".into() } };
    let keys = signer(&pki, &owner, &pair("ss2-sign"), &pair("ss2-auth"));
    let (clock, options) = (Clock::fixed(NOW), Options::default());
    let parts = Parts { clock: &clock, globalconf: &globalconf, options: &options, ports: (1, 1) };
    let messages = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Stock servers have an RSA key there.
    let internal = pki.auth_below(&pki.ca, "internal", pki::key::KeyKind::Rsa(2048));
    parts.start(keys, &State::replay([state]).unwrap(), messages, internal).await
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_end_alike_or_better() {
    let Some((folder, expected)) = vectors::area("probes/6-tls") else { return };
    if tool("openssl", "probes_tls").is_none() {
        return;
    }
    assert_listed([PEERS, INFORMATION_SYSTEMS]);
    let environment = folder.join("../environment");
    let server = start(&environment).await;
    let mut tally = Tally::new("probes/6-tls");
    for case in expected["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let port = if name.contains("5500") { server.messages } else { server.https };
        let stock = recorded(&folder, case);
        let asked = ask(&environment.join("pki"), port, case, &folder).await;
        let Some(ours) = asked else {
            tally.not_applicable("a hello that this openssl does not make");
            continue;
        };
        match (ours == stock, reason(name, &stock, &ours)) {
            (true, _) | (false, Some(_)) => tally.pass(),
            (false, None) => tally.fail(name, format_args!("{ours:?} instead of {stock:?}")),
        }
    }
    tally.finish();
}

/// What stock servers did.
fn recorded(folder: &Path, case: &Value) -> Outcome {
    let result = &case["result"];
    let text = |name: &str| result[name].as_str().map(str::to_owned);
    if let Some(error) = text("error") {
        return Outcome::Alert(match error.as_str() {
            "TLSV1_ALERT_PROTOCOL_VERSION" => 70,
            "SSLV3_ALERT_HANDSHAKE_FAILURE" => 40,
            "SSLV3_ALERT_CERTIFICATE_UNKNOWN" => 46,
            other => panic!("{other}"),
        });
    }
    if let Some(alert) = result["alerts_received"].get(0).and_then(Value::as_str) {
        return Outcome::Alert(u8::from_str_radix(alert.rsplit(' ').next().unwrap(), 16).unwrap());
    }
    let status = text("http").or_else(|| text("http_second"));
    let status = status.and_then(|line| line.split(' ').nth(1)?.parse().ok());
    if result["second_reused"] == true {
        // Which version and suite is not told: of a stock server on 8443, the same as anew.
        let (version, suite) = ("TLSv1.2".into(), "ECDHE-RSA-AES256-GCM-SHA384".into());
        return Outcome::Done { version, suite, status, resumed: true };
    }
    if let Some(file) = case["file"].as_str() {
        let said = std::fs::read_to_string(folder.join(file)).unwrap();
        return understand(&said).unwrap();
    }
    Outcome::Done {
        version: text("version").unwrap(),
        suite: text("cipher").unwrap(),
        status,
        resumed: false,
    }
}

/// What `s_client` says; `None` when it never sent a hello.
fn understand(said: &str) -> Option<Outcome> {
    if let Some((_, number)) = said.split_once("SSL alert number ") {
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        return Some(Outcome::Alert(digits.parse().unwrap()));
    }
    let line = said.lines().find(|line| line.contains(", Cipher is ") && !line.contains("(NONE)"))?;
    let (kind, suite) = line.split_once(", Cipher is ")?;
    let (kind, version) = kind.split_once(", ")?;
    // In TLS 1.3 it stands behind what is said about a ticket.
    let status = said.split_once("HTTP/1.1 ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    Some(Outcome::Done {
        version: version.into(),
        suite: suite.trim().into(),
        status,
        resumed: kind == "Reused",
    })
}

/// The same handshake with ours.
async fn ask(pki: &Path, to: SocketAddr, case: &Value, folder: &Path) -> Option<Outcome> {
    let name = case["name"].as_str().unwrap();
    let mut arguments: Vec<String> = Vec::new();
    if let Some(file) = case["file"].as_str() {
        // The transcript begins with the command.
        let said = std::fs::read_to_string(folder.join(file)).unwrap();
        let command = said.lines().next().unwrap().split_whitespace().skip(4).map(str::to_owned);
        let in_place = |word: String| match word.strip_prefix("/opt/probes/env/pki/") {
            Some(file) => pki.join(file).display().to_string(),
            None => word,
        };
        arguments.extend(command.map(in_place));
    } else {
        arguments.extend(hello_of(name).split_whitespace().map(str::to_owned));
        if let Some(cert) = case["client_certificate"].as_str() {
            let path = |suffix: &str| pki.join(format!("{cert}{suffix}")).display().to_string();
            arguments.extend(["-cert".into(), path(".pem"), "-key".into(), path(".key.pem")]);
        }
        if name == "5500-chain-with-other" {
            arguments.extend(["-cert_chain".into(), pki.join("rogue-ca.pem").display().to_string()]);
        }
    }
    // With TLS 1.3 a server's refusal comes after the handshake, so that a client must wait to hear it.
    let request = case["result"]["http"].is_string()
        || case["result"]["http_second"].is_string()
        || name.contains("-cert-")
        || case["file"].is_string();
    let request: &[u8] =
        if request { b"GET /r1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" } else { b"" };
    if name != "8443-resume-id" {
        return understand(&s_client(to, &arguments, request).await);
    }
    let session = tempfile::NamedTempFile::new().unwrap();
    let path = session.path().display().to_string();
    let first = [&arguments[..], &["-sess_out".into(), path.clone()]].concat();
    let first = understand(&s_client(to, &first, request).await)?;
    assert!(matches!(first, Outcome::Done { resumed: false, .. }), "{first:?}");
    understand(&s_client(to, &[&arguments[..], &["-sess_in".into(), path]].concat(), request).await)
}

/// The arguments that make the hello of a case.
fn hello_of(name: &str) -> String {
    const ALL: &str = "-cipher ALL:@SECLEVEL=0";
    let rest = name.split_once('-').unwrap().1;
    match rest {
        "tls10" => format!("-tls1 {ALL}"),
        "tls11" => format!("-tls1_1 {ALL}"),
        "tls12" => format!("-tls1_2 {ALL}"),
        "tls13" => "-tls1_3".into(),
        "alpn-h2" => "-alpn h2,http/1.1".into(),
        "sni-other" => "-servername other.example".into(),
        "no-ems" => "-noservername".into(),
        "resume-id" => "-tls1_2 -no_ticket".into(),
        _ => match rest.strip_prefix("suite-") {
            Some(suite) => format!("-tls1_2 -cipher {suite}:@SECLEVEL=0"),
            None => String::new(),
        },
    }
}

async fn s_client(to: SocketAddr, arguments: &[String], request: &[u8]) -> String {
    let mut command = tokio::process::Command::new("openssl");
    command.args(["s_client", "-connect", &to.to_string()]).args(arguments);
    // Until we close, where there is an answer to wait for; else until its input ends.
    if !request.is_empty() {
        command.arg("-ign_eof");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let _ = input.write_all(request).await;
    drop(input);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("s_client ends").unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// rustls has it.
fn is_modern(suite: &str) -> bool {
    suite.starts_with("TLS_")
        || (suite.starts_with("ECDHE-")
            && (suite.contains("-GCM-") || suite.contains("CHACHA20"))
            && !suite.contains("ARIA"))
}

/// The heading of `docs/differences.md` that says why ours may differ, if it may.
fn reason(name: &str, stock: &Outcome, ours: &Outcome) -> Option<&'static str> {
    use Outcome::{Alert, Done};
    let on_5500 = name.contains("5500");
    match (stock, ours) {
        (Done { .. } | Alert(40 | 70), Done { suite, status, .. })
            if is_modern(suite)
                && status_fits(stock, *status)
                && !name.contains("None")
                && !name.contains("-none") =>
        {
            Some(if on_5500 { PEERS } else { INFORMATION_SYSTEMS })
        }
        // The suites of an old client are refused before its version.
        (Alert(70), Alert(40)) if !on_5500 => Some(INFORMATION_SYSTEMS),
        // Who could do better hears that a certificate is required.
        (Alert(40), Alert(116)) if on_5500 => Some(PEERS),
        (Done { suite, .. }, Alert(40)) if !on_5500 && !is_modern(suite) => Some(INFORMATION_SYSTEMS),
        _ => None,
    }
}

/// Status 200 of a stock server on 5500 carries a fault; what ours says is compared too.
fn status_fits(stock: &Outcome, ours: Option<u16>) -> bool {
    match stock {
        Outcome::Done { status, .. } => *status == ours,
        Outcome::Alert(_) => true,
    }
}

/// The hellos of live stock servers, from the wire.
#[test]
fn hellos_of_stock_servers_go_to_the_suites_of_stock_servers() {
    let Some(folder) = vectors::dir().map(|dir| dir.join("captures/tls")) else { return };
    let mut found = 0;
    for name in ["5500-resumed.pcap", "ec-5500.pcap", "5500-5577-ocsp-first-exchange-after-cold-start.pcap"] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        // A record of the handshake, TLS 1.0 to 1.2, that begins with a ClientHello of TLS 1.2.
        let starts = |w: &[u8]| matches!(w, [22, 3, 1 | 3, _, _, 1, 0, _, _, 3, 3]);
        for at in (0..bytes.len() - 11).filter(|at| starts(&bytes[*at..*at + 11])) {
            let hello = &bytes[at..(at + hello::MAX_HELLO_BYTES).min(bytes.len())];
            assert_eq!(hello::look(hello), Some(hello::Hello::Legacy), "{name}, byte {at}");
            found += 1;
        }
    }
    assert_eq!(found, 3, "one for each recording");
}
