//! The management API of a server as a script uses it: one call at a time, with an API key, and a status that must be the one expected.
//!
//! The server's certificate is compared with the one in its data directory, which is on this machine. A call that comes too soon after others
//! (429) is made again. Not here: which calls.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use admin_api::auth::ApiKeys;
use admin_api::operation::Role as ApiRole;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use host::data_dir::DataDir;
use host::http::{Client, Upload, full};
use pki::cert::Certificate;
use serde_json::Value;

/// For one call, in which a server may ask another.
const TOTAL: Duration = Duration::from_secs(90);
const CONNECT: Duration = Duration::from_secs(10);
/// Largest answer.
const LIMIT_BYTES: usize = 16 << 20;
/// Between calls that came too soon, and how long at most.
const RETRY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);
/// Between looks for something that must come.
const POLL: Duration = Duration::from_millis(50);
/// The parts of forms.
const BOUNDARY: &str = "causeway-sandbox-form";

/// The management API of one server.
#[derive(Clone)]
pub struct Admin {
    name: String,
    url: String,
    fingerprint: String,
    key: String,
    http: Client,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The body of a call.
#[derive(Clone, Debug)]
pub enum Body {
    /// None.
    None,
    /// JSON.
    Json(Value),
    /// Raw bytes.
    Octets(Bytes),
    /// A form; what has bytes is a file.
    Form(Vec<(&'static str, Field)>),
}

/// A field of a form.
#[derive(Clone, Debug)]
pub enum Field {
    /// Text.
    Text(String),
    /// A file.
    File(Vec<u8>),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Given {
    /// Status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Given {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Admin {
    /// The API at `url` of a server with this data directory, which has made its certificate by now.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn new(name: &str, url: String, data: &Path, key: String) -> anyhow::Result<Self> {
        let path = data.join("tls/management-api.crt");
        let pem = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let pin = Certificate::parse(&pem).with_context(|| path.display().to_string())?;
        let http = Client::pinned(CONNECT, TOTAL, pin.der().to_vec());
        let fingerprint = hex::encode_upper(pin.sha256());
        Ok(Self { name: name.to_owned(), url, fingerprint, key, http })
    }

    /// SHA-256 of its certificate.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Where it is, below which paths begin.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls, whatever the status.
    ///
    /// # Errors
    /// No answer.
    pub async fn call(&self, method: &'static str, path: &str, body: &Body) -> anyhow::Result<Given> {
        let began = Instant::now();
        loop {
            let (content_type, bytes) = body.encode();
            let mut headers = vec![
                ("Authorization".to_owned(), format!("X-Road-ApiKey token={}", self.key)),
                ("Accept".to_owned(), "*/*".to_owned()),
            ];
            headers.extend(content_type.map(|kind| ("Content-Type".to_owned(), kind)));
            let length = bytes.len() as u64;
            let upload =
                Upload { method, url: format!("{}{path}", self.url), headers, length, body: full(bytes) };
            let answer = self.http.upload(upload, LIMIT_BYTES).await;
            let answer = answer.with_context(|| format!("{}: {method} {path}", self.name))?;
            if answer.status != 429 || began.elapsed() > PATIENCE {
                return Ok(Given { status: answer.status, body: answer.body });
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Calls, and wants this status.
    ///
    /// # Errors
    /// No answer, or another one.
    pub async fn expect(
        &self,
        status: u16,
        method: &'static str,
        path: &str,
        body: Body,
    ) -> anyhow::Result<Given> {
        let given = self.call(method, path, &body).await?;
        ensure!(
            given.status == status,
            "{}: {method} {path} gave {} where {status} was due: {}",
            self.name,
            given.status,
            String::from_utf8_lossy(&given.body)
        );
        Ok(given)
    }

    /// GET, with 200.
    ///
    /// # Errors
    /// As [`Self::expect`].
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.expect(200, "GET", path, Body::None).await?.json())
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// As [`Self::expect`].
    pub async fn post(&self, status: u16, path: &str, body: Value) -> anyhow::Result<Value> {
        Ok(self.expect(status, "POST", path, Body::Json(body)).await?.json())
    }

    /// PUT of JSON.
    ///
    /// # Errors
    /// As [`Self::expect`].
    pub async fn put(&self, status: u16, path: &str, body: Value) -> anyhow::Result<Value> {
        Ok(self.expect(status, "PUT", path, Body::Json(body)).await?.json())
    }

    /// GET again and again until `field` of what it gives is `wanted`.
    ///
    /// # Errors
    /// As [`Self::expect`], or it never is.
    pub async fn wait_for(&self, path: &str, field: &str, wanted: &Value) -> anyhow::Result<Value> {
        let is = |given: &Value| given.pointer(field).unwrap_or(&Value::Null) == wanted;
        self.wait_until(path, is).await.with_context(|| format!("{field} is not {wanted}"))
    }

    /// GET again and again until what it gives is `wanted`.
    ///
    /// # Errors
    /// As [`Self::expect`], or it never is.
    pub async fn wait_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let began = Instant::now();
        loop {
            let given = self.get(path).await?;
            if wanted(&given) {
                return Ok(given);
            }
            if began.elapsed() > TOTAL {
                bail!("{}: {path} still gives {given}", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the server has a configuration with a security server of this identifier.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub async fn knows_server(&self, id: &str) -> anyhow::Result<()> {
        let listed =
            |given: &Value| given.as_array().is_some_and(|all| all.iter().any(|one| one["id"] == id));
        self.wait_until("/security-servers", listed).await.map(drop)
    }
}

impl Body {
    fn encode(&self) -> (Option<String>, Bytes) {
        match self {
            Self::None => (None, Bytes::new()),
            Self::Json(value) => (Some("application/json".into()), value.to_string().into()),
            Self::Octets(bytes) => (Some("application/octet-stream".into()), bytes.clone()),
            Self::Form(fields) => {
                (Some(format!("multipart/form-data; boundary={BOUNDARY}")), form(fields).into())
            }
        }
    }
}

fn form(fields: &[(&'static str, Field)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, field) in fields {
        let (extra, bytes) = match field {
            Field::Text(text) => (String::new(), text.as_bytes()),
            Field::File(bytes) => (
                format!("; filename=\"{name}.der\"\r\nContent-Type: application/octet-stream"),
                bytes.as_slice(),
            ),
        };
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{extra}\r\n\r\n");
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    out
}

/// The API key in `file`; one with all of `roles` is made in the data directory of the server, which must not run yet, when there is none.
/// Blocks.
///
/// # Errors
/// The directory is in use, or the disk.
pub fn key(file: &Path, data: &Path, role: &str, format: u32, roles: &[ApiRole]) -> anyhow::Result<String> {
    if let Ok(text) = std::fs::read_to_string(file) {
        return Ok(text.trim().to_owned());
    }
    let data = DataDir::open(data, role, format)?;
    let made = ApiKeys::open(&data.folder("admin")?.join("api-keys"))?.create(roles)?;
    let line = format!("{}\n", made.key);
    host::files::write_atomic(file, line.as_bytes(), 0o600).with_context(|| file.display().to_string())?;
    Ok(made.key)
}
