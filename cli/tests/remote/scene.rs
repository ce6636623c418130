//! Servers as processes of their own, a settings file of targets, and the program that is tested.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// For a server to start.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const ALL_ROLES: [&str; 3] = ["security-officer", "registration-officer", "system-administrator"];

/// Killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) listeners: Value,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Address of the management API.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.listeners["api"].as_str().unwrap())
    }
}

/// A folder with targets, and what is asked of them.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
}

/// What a command did.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
    /// Success, or a panic that shows what was said.
    pub(crate) fn ok(self) -> Self {
        self.gives(0)
    }
    pub(crate) fn gives(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text) || self.err.contains(text), "{text}: {}{}", self.out, self.err);
        self
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        scene.private("pin", "Secret1234");
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program; nothing of this process's environment that it listens to.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        for (name, _) in std::env::vars() {
            if name.starts_with("CAUSEWAY_") && name != "CAUSEWAY_VECTORS" {
                command.env_remove(name);
            }
        }
        command.env("CAUSEWAY_TARGETS", self.path("targets/targets.toml")).env_remove("RUST_LOG");
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run<I: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Done {
        self.command().args(args).output().unwrap().into()
    }

    /// A command line as it would be typed; quotation marks hold words together.
    pub(crate) fn type_in(&self, line: &str) -> Done {
        let mut words = Vec::new();
        for (number, part) in line.split('"').enumerate() {
            match number % 2 {
                1 => words.push(part.to_owned()),
                _ => words.extend(part.split_whitespace().map(str::to_owned)),
            }
        }
        self.run(words)
    }

    /// A file that nobody else can read.
    pub(crate) fn private(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A central server on an empty folder; `target` is a target with a key of all roles.
    pub(crate) fn central(&self, target: &str) -> Running {
        let any = "127.0.0.1:0";
        let settings = format!(
            "health-check-listen = 'off'\n[center]\nhttp-listen = '{any}'\nhttps-listen = 'off'\n\
             [admin-service]\ninternal-key-algorithm = 'EC'\nexternal-key-algorithm = 'EC'\n\
             [management-api]\nlisten = '{any}'\nrate-limit-requests-per-second = -1\nrate-limit-requests-per-minute = -1\n\
             [management-service]\nregistration-listen = '{any}'\nmanagement-listen = '{any}'\n"
        );
        self.server("central-server", target, &settings, &ALL_ROLES)
    }

    pub(crate) fn server(&self, role: &str, target: &str, settings: &str, roles: &[&str]) -> Running {
        let dir = self.path(&format!("{target}-data"));
        let file = self.path(&format!("{target}.toml"));
        std::fs::write(&file, format!("data-dir = '{}'\n{settings}", dir.display())).unwrap();
        // The first start makes the data directory, which a key needs.
        drop(self.start(role, target, &file));
        let dir_text = dir.to_str().unwrap();
        let mut create = vec!["api-key", "create", "--offline", dir_text];
        for role in roles {
            create.extend(["--role", role]);
        }
        let key = self.run(create).ok().json()["key"].as_str().unwrap().to_owned();
        let key = self.private(&format!("{target}.key"), &key);
        let password = self.private("password", "correct horse battery");
        let mut user =
            vec!["user", "set", "ann", "--offline", dir_text, "--password-file", password.to_str().unwrap()];
        for role in roles {
            user.extend(["--role", role]);
        }
        self.run(user).ok();
        let running = self.start(role, target, &file);
        let fingerprint = fingerprint(self, &running.url());
        let key = key.to_str().unwrap();
        self.run(["target", "add", target, &running.url(), "--fingerprint", &fingerprint, "--key-file", key])
            .ok();
        running
    }

    /// Starts a server once more, whose listeners may be others now.
    pub(crate) fn again(&self, role: &str, target: &str) -> Running {
        let running = self.start(role, target, &self.path(&format!("{target}.toml")));
        let (url, key) = (running.url(), self.path(&format!("{target}.key")));
        let fingerprint = fingerprint(self, &url);
        let add = ["target", "add", target, &url, "--fingerprint", &fingerprint, "--replace", "--key-file"];
        self.run(add.into_iter().chain([key.to_str().unwrap()])).ok();
        running
    }

    fn start(&self, role: &str, target: &str, file: &Path) -> Running {
        let ready = self.path(&format!("{target}.ready"));
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(self.path(&format!("{target}.log"))).unwrap();
        let mut command = self.command();
        command.arg(role).arg("--config").arg(file).arg("--ready-file").arg(&ready).stderr(log);
        let child = command.spawn().unwrap();
        let mut running = Running { child, listeners: Value::Null };
        let began = Instant::now();
        while !ready.exists() {
            let ended = running.child.try_wait().unwrap().is_some();
            let log = || std::fs::read_to_string(self.path(&format!("{target}.log"))).unwrap();
            assert!(!ended && began.elapsed() < LIMIT, "{role} does not start: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        let text: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        running.listeners = text["listeners"].clone();
        running
    }
}

/// What a script is told at first contact without a terminal.
pub(crate) fn fingerprint(scene: &Scene, url: &str) -> String {
    let refused = scene.run(["target", "add", "nobody", url]).gives(2);
    let text = refused.err.split("--fingerprint ").nth(1).expect("the fingerprint is shown").trim();
    assert_eq!(text.len(), 95, "{text}");
    text.to_owned()
}
