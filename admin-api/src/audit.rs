//! The audit log: one JSON line for every changing call, whether it succeeded or not.
//!
//! Keys in order: `time`, `correlation_id`, `event`, `user`, `ipaddress`, `reason` (failures), `auth`, `url`, `data`. Characters outside ASCII are
//! escaped. The file is opened for each line, so that it can be moved away at any time; a line that cannot be written goes to the
//! service log, and the call goes on: what it did has happened.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use proto::time::UnixTime;
use serde_json::{Map, Value, json};

/// What happened.
#[derive(Clone, Debug)]
pub struct AuditEvent<'a> {
    /// Name from the event list.
    pub event: &'a str,
    /// Who.
    pub user: &'a str,
    /// From where.
    pub address: Option<IpAddr>,
    /// Why it failed.
    pub reason: Option<&'a str>,
    /// How the user proved who it is.
    pub auth: Option<&'a str>,
    /// Path of the request.
    pub url: &'a str,
    /// What it was about.
    pub data: &'a Map<String, Value>,
}

/// The file.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    writing: Mutex<()>,
}

impl AuditLog {
    /// Appends to `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, writing: Mutex::new(()) }
    }

    /// Writes a line. Blocks.
    pub fn write(&self, at: UnixTime, correlation: &str, event: &AuditEvent<'_>) {
        let line = line(at, correlation, event);
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&self.path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            tracing::error!(%error, path = %self.path.display(), line = line.trim_end(), "the audit log cannot be written");
        }
    }
}

fn line(at: UnixTime, correlation: &str, event: &AuditEvent<'_>) -> String {
    let failed = event.reason.is_some();
    let name = if failed { format!("{} failed", event.event) } else { event.event.to_owned() };
    let data = if event.data.is_empty() { Value::Null } else { Value::Object(event.data.clone()) };
    let fields = [
        ("time", json!(at.to_iso8601())),
        ("correlation_id", json!(correlation)),
        ("event", json!(name)),
        ("user", json!(event.user)),
        ("ipaddress", json!(event.address)),
        ("reason", json!(event.reason)),
        ("auth", json!(event.auth)),
        ("url", json!(event.url)),
    ];
    let mut line = String::from("{");
    for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        line.push_str(&format!("{}:{},", json!(key), ascii(value)));
    }
    line.push_str(&format!("\"data\":{}}}\n", ascii(&data)));
    line
}

/// JSON with everything outside ASCII escaped, so that no terminal or log reader is misled.
fn ascii(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_who_did_what_and_how_it_ended() {
        let data = Map::from_iter([("memberName".to_owned(), json!("jõgi"))]);
        let event = |reason| AuditEvent {
            event: "Add member",
            user: "api-key-3",
            address: Some([127, 0, 0, 1].into()),
            reason,
            auth: Some("ApiKey"),
            url: "/api/v1/members",
            data: &data,
        };
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::new(folder.path().join("audit.log"));
        log.write(UnixTime(0), "c1", &event(None));
        log.write(UnixTime(0), "c2", &event(Some("member_exists")));
        let text = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
        let start = r#"{"time":"1970-01-01T00:00:00Z","correlation_id":"c1","event":"Add member","user":"api-key-3","#;
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains(r#""data":{"memberName":"j\u00f5gi"}"#), "{text}");
        let second: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(second["event"], "Add member failed");
        assert_eq!(second["reason"], "member_exists");
    }
}
