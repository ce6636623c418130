//! Random requests made from the API document: nothing but the caller's mistake is ever answered, and nothing changes without a 2xx.
//!
//! The seed is fixed; `CAUSEWAY_SEED` gives another one, and `CAUSEWAY_REQUESTS` another number of requests.

use std::path::Path;
use std::sync::Arc;

use admin_api::operation::{BodyKind, Operation};
use host::clock::Clock;
use host::shutdown::Shutdown;
use security_server::admin_api::Api;
use security_server::config::Settings;
use security_server::foundation::Foundation;
use security_server::serverconf::state::State;
use serde_json::Value;
use signer::token::{CertStatus, CsrInfo, KeyInfo, KeyUsage};
use testkit::requests::{Maker, Random, number};

use crate::contract;
use crate::world::{SecurityServer, World};

const TEXTS: [&str; 36] = [
    "",
    " ",
    "COM",
    "DEV",
    "1234",
    "4321",
    "DEV:COM:4321",
    "DEV:COM:4321:SUB",
    "DEV:COM:1234:MANAGEMENT",
    "DEV:COM:4321:SS1",
    "DEV:COM:4321:SUB:a",
    "DEV:security-server-owners",
    "DEV:g",
    "g",
    "a",
    "SUB",
    "0",
    "1",
    "2",
    "-1",
    "99999999999999999999",
    "AUTHENTICATION",
    "SIGNING",
    "LabCA",
    "LabTSA",
    "DER",
    "true",
    "FREE",
    "http://127.0.0.1:9/x",
    "https://127.0.0.1:9/x",
    "REST",
    "/pets/*",
    "j\u{f5}gi",
    "a\u{0}b\u{200b}",
    "../../etc/passwd",
    "CN=x, C=EE",
];

/// Statuses from 500 on that are kept: what stands before a server that is reached, or does not answer, and says so by its code.
fn is_kept(answer: &Value) -> bool {
    let code = answer["error"]["code"].as_str().unwrap_or_default();
    code.starts_with("core.") || code.starts_with("conf_verification.")
}

/// Everything that a call may change, but for what refusals record.
fn content(server: &SecurityServer) -> (Kept, bool) {
    (Kept::of(&server.foundation), server.foundation.token.get().unwrap().is_logged_in())
}

/// A key with its certificates.
type Key = (String, String, KeyUsage, Vec<CsrInfo>, Vec<(String, CertStatus, bool)>);

/// What of it is on the disk.
#[derive(Debug)]
struct Kept {
    state: Arc<State>,
    label: String,
    keys: Vec<Key>,
    anchor: Vec<u8>,
    tls: Vec<u8>,
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        // What nobody has changed is the same one.
        (Arc::ptr_eq(&self.state, &other.state) || self.state == other.state)
            && (&self.label, &self.keys, &self.anchor, &self.tls)
                == (&other.label, &other.keys, &other.anchor, &other.tls)
    }
}

impl Kept {
    fn of(foundation: &Foundation) -> Self {
        let token = foundation.token.get().unwrap();
        let key = |key: KeyInfo| {
            let certs = key.certs.iter().map(|cert| (cert.id(), cert.status, cert.active)).collect();
            (key.id, key.name, key.usage, key.csrs, certs)
        };
        Self {
            state: foundation.conf.state(),
            label: token.label(),
            keys: token.keys().into_iter().map(key).collect(),
            anchor: std::fs::read(&foundation.settings.configuration.anchor_file).unwrap(),
            tls: foundation.internal_tls.cert().der().to_vec(),
        }
    }
}

/// What another process finds that starts on what is on the disk now, as after a kill.
fn found_after_a_kill(server: &SecurityServer) -> Kept {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = &server.foundation.settings;
    for part in ["state", "keys", "tls", "globalconf"] {
        copy(&settings.data_dir.join(part), &folder.path().join(part));
    }
    let mut settings = Settings::clone(settings);
    std::fs::copy(settings.data_dir.join("FORMAT"), folder.path().join("FORMAT")).unwrap();
    settings.data_dir = folder.path().to_owned();
    let again = Foundation::open(Arc::new(settings), Clock::System, Shutdown::default()).unwrap();
    Kept::of(&again)
}

fn form(text: &str) -> Vec<u8> {
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a.gpg\"";
    format!("--b\r\n{head}\r\n\r\n{text}\r\n--b--\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_and_nothing_changes_without_success() {
    let world = World::start().await;
    let server = world.security_server("random", false).await;
    contract::bring_up(&world, &server).await;
    let client = r#"{"client":{"member_class":"COM","member_code":"4321","subsystem_code":"SUB","connection_type":"HTTP"},"ignore_warnings":true}"#;
    server.call("POST", "/clients", client).await;
    let (_, _, document) = server.send("GET", "/api/v1/openapi.yaml", "none", [None, None], b"").await;
    let document: Value = serde_yaml_ng::from_slice(&document).unwrap();
    let seed = number("CAUSEWAY_SEED", 11);
    let mut random = Random(seed);
    // Each wrong PIN makes the next try wait, RSA keys are slow, and what is sent to others waits for them; none is of interest here.
    let slow =
        ["/login", "/pin", "/register", "/unregister", "/make-owner", "/maintenance-mode", "/server-address"];
    let wanted = |row: &&Operation<Api>| {
        let renewed = row.id == "generateSystemTlsKeyAndCertificate" || row.id == "addKey";
        !slow.iter().any(|part| row.path.contains(part)) && !renewed && !row.path.starts_with("/api-keys")
    };
    let rows: Vec<_> = server.frame.operations().iter().filter(wanted).collect();
    let maker = Maker { texts: &TEXTS, document: &document };
    let mut before = content(&server);
    for index in 0..number("CAUSEWAY_REQUESTS", 10_000) {
        let row = rows[random.below(rows.len())];
        let caller = random.pick(&["all", "all", "all", "all", "sa", "ro", "none"]);
        let method = row.verb.name();
        let target = format!("/api/v1{}", maker.target(&mut random, row.path, row.query));
        let (media, body) = match row.body {
            BodyKind::None => (None, vec![]),
            BodyKind::Octets => (row.body.media_type(), random.pick(&TEXTS).as_bytes().to_vec()),
            BodyKind::Form => (Some("multipart/form-data; boundary=b"), form(random.pick(&TEXTS))),
            BodyKind::Json | BodyKind::OptionalJson => {
                (row.body.media_type(), maker.body(&mut random, row.path, method))
            }
        };
        let (status, _, answer) = server.send(method, &target, caller, [media, None], &body).await;
        let json: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let shown = || {
            let (sent, got) = (String::from_utf8_lossy(&body), String::from_utf8_lossy(&answer));
            format!("seed {seed}, request {index}: {method} {target} {sent}: {status} {got}")
        };
        assert!(status < 500 || is_kept(&json), "{}", shown());
        let after = content(&server);
        assert!(status < 300 || before == after, "{}", shown());
        before = after;
        if index % 500 == 0 {
            assert_eq!(found_after_a_kill(&server), Kept::of(&server.foundation), "{}", shown());
        }
    }
    server.stop().await;
}
