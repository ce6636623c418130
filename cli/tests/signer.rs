//! `causeway signer` as operators use it, and as a security server does: killed under load, started again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::key::KeyKind;
use pki::public_key::{PublicKey, Strength};
use signer::token::KeyUsage;
use signer::{Purpose, RemoteSigner, Signer, SoftwareSigner, TokenService};

const PIN: &str = "73 19 a";
const LIMIT: Duration = Duration::from_secs(60);

/// A token with one signing key, and settings of a signer for it.
struct Scene {
    dir: tempfile::TempDir,
    key: String,
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = SoftwareSigner::create(&dir.path().join("keys"), "of a test", PIN).unwrap();
        let key = token.generate(KeyUsage::Signing, KeyKind::P256, "key").unwrap();
        let scene = Self { dir, key };
        private(&scene.path("pin"), PIN);
        let settings =
            format!("key-dir = {:?}\nsocket = {:?}\n{more}", scene.path("keys"), scene.path("socket"));
        std::fs::write(
            scene.path("signer.toml"),
            settings.replace("PIN_FILE", scene.path("pin").to_str().unwrap()),
        )
        .unwrap();
        scene
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn start(&self) -> Running {
        let _ = std::fs::remove_file(self.path("ready"));
        let mut child = self.command(&[]);
        child.arg("--ready-file").arg(self.path("ready")).stderr(Stdio::null());
        let mut running = Running(child.spawn().unwrap());
        let began = Instant::now();
        while !self.path("ready").exists() {
            assert!(running.0.try_wait().unwrap().is_none() && began.elapsed() < LIMIT, "it does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }
    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        command.arg("signer").args(verb).arg("--config").arg(self.path("signer.toml")).stdin(Stdio::null());
        command
    }
    fn run(&self, verb: &[&str]) -> Output {
        self.command(verb).output().unwrap()
    }
}

fn private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn an_operator_logs_a_token_in_and_out() {
    let scene = Scene::new("");
    let absent = scene.command(&["status"]).arg("--socket").output().unwrap();
    assert_eq!(absent.status.code(), Some(2), "{absent:?}");
    let running = scene.start();
    let says = |verb: &[&str], code: i32, text: &str| {
        let output = scene.run(verb);
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() == Some(code) && said.contains(text), "{verb:?}: {output:?}");
    };
    says(&["status"], 1, "token of a test: logged out, 1 keys");
    says(&["login"], 1, "no PIN was entered");
    let pin = scene.path("pin");
    says(&["login", "--pin-file", pin.to_str().unwrap()], 0, "the token is logged in");
    says(&["status"], 0, "logged in, 1 keys");
    says(&["logout"], 0, "logged out");
    private(&scene.path("wrong"), "1234");
    says(&["login", "--pin-file", scene.path("wrong").to_str().unwrap()], 1, "the PIN is wrong");
    // It is for one process at a time.
    says(&[], 1, "in use by another process");
    // From a pipe, as a password manager gives it; a moment after the wrong one.
    std::thread::sleep(Duration::from_millis(1100));
    let file = std::fs::File::open(&pin).unwrap();
    let output = scene.command(&["login"]).stdin(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    drop(running);
}

/// Every signature comes, and verifies, though the process is killed and started again in between.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_come_although_the_process_is_killed() {
    let scene = Scene::new("pin-file = 'PIN_FILE'\n");
    let mut running = scene.start();
    let client = RemoteSigner::open(&scene.path("socket"), LIMIT, &scene.path("ocsp")).unwrap();
    let client = Arc::new(client);
    let public = Arc::new(PublicKey::from_spki(&client.keys()[0].spki).unwrap());
    let algorithm = SignatureAlgorithm::from_jca_name("SHA512withECDSA").unwrap();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..20_u32 {
        let (client, public, key) = (client.clone(), public.clone(), scene.key.clone());
        workers.spawn(async move {
            for number in 0..200_u32 {
                let message = format!("{worker} {number}").into_bytes();
                let (purpose, form) = (Purpose::Message, EcdsaForm::Raw);
                let value =
                    client.sign(&key, purpose, algorithm, form, message.clone().into()).await.unwrap();
                public.verify(algorithm, form, Strength::Current, &message, &value).unwrap();
            }
        });
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Killed with requests under way; the socket file stays behind.
        drop(running);
        running = scene.start();
    }
    workers.join_all().await;
    drop(running);
}
