//! Heads of other members' logs, kept for them: the service behind `tree-head-service` of another security server.
//!
//! A plain HTTP listener on the loopback interface; a client of this server offers it as an ordinary REST service and gives rights to
//! those whose heads it keeps. So only members with a right reach it, `X-Road-Client` is who the server proxy proved them to be, and
//! every head is a signed message in both logs besides. Asked: POST of a signed note (`pki::note`) that holds a tree head. Answered:
//!
//! | Status | Meaning |
//! |---|---|
//! | 200 | it is on the disk |
//! | 400 | it is no head, or nobody says whose it is |
//! | 405 | it is no POST |
//! | 409 | it is on the disk, and contradicts one of the same size: that log was rewritten |
//! | 507 | the bounds, or the disk; a contradiction is reported here all the same |
//!
//! ```text
//! <tree-head-receiver-folder>/CLIENT/LOG-SIZE.head          CLIENT as in X-Road-Client, escaped; never overwritten
//! <tree-head-receiver-folder>/CLIENT/LOG-SIZE-DIGEST.head   another head of that size
//! ```
//! The signature of a note is for whoever has the log's key to verify: `causeway verify log --heads`.
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use host::http::{Limits, RequestBody, ResponseBody, Transport, full, read_all, serve as serve_http};
use host::shutdown::Shutdown;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pki::digest::DigestAlgorithm;
use pki::note::Checkpoint;
use proto::id::ClientId;
use tokio::net::TcpListener;

/// Largest head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Most members whose heads are kept.
const MAX_CLIENTS: usize = 1000;
/// Connections at once: of one server proxy.
const MAX_CONNECTIONS: usize = 64;
/// Longest name of a folder, before it is shortened to a digest.
const MAX_NAME: usize = 200;
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// What is kept, and bounds.
#[derive(Debug)]
pub struct Receiver {
    folder: PathBuf,
    max_heads: usize,
    /// How many there are, by client's folder; also lets one at a time write.
    counts: Mutex<HashMap<String, usize>>,
}

/// What became of a head.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    Well,
    /// There is another root of the same size; whether this head was kept beside it.
    Contradicts {
        kept: bool,
    },
}

impl Receiver {
    /// Keeps heads below `folder`, so many of each client.
    pub fn new(folder: &Path, max_heads: usize) -> Self {
        Self { folder: folder.to_owned(), max_heads, counts: Mutex::default() }
    }

    /// Keeps a head; durable on return. Blocks.
    fn keep(&self, client: &ClientId, head: &Checkpoint, note: &[u8]) -> io::Result<Kept> {
        let name = escaped(&client.to_header());
        let mut counts = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let folder = self.folder.join(&name);
        if !counts.contains_key(&name) {
            // Those of earlier runs count too.
            if !folder.exists() && entries(&self.folder)? >= MAX_CLIENTS {
                return Err(io::Error::other("heads of too many members are kept here"));
            }
            std::fs::create_dir_all(&folder)?;
            counts.insert(name.clone(), entries(&folder)?);
        }
        let count = counts.get_mut(&name).ok_or_else(|| io::Error::other("it was not counted"))?;
        let log = escaped(&head.origin);
        let path = folder.join(format!("{log}-{:020}.head", head.size));
        let (path, kept) = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path, Kept::Well),
            Err(error) => return Err(error),
            Ok(known) if known == note => return Ok(Kept::Well),
            Ok(known) => {
                let same = parse(&known).is_some_and(|known| known.root == head.root);
                let digest = hex::encode(&DigestAlgorithm::Sha256.digest(note).value[..8]);
                let path = folder.join(format!("{log}-{:020}-{digest}.head", head.size));
                (path, if same { Kept::Well } else { Kept::Contradicts { kept: true } })
            }
        };
        if !path.exists() {
            if *count >= self.max_heads {
                // Whoever rewrites a log must not be able to keep that quiet by sending many heads first.
                if kept != Kept::Well {
                    return Ok(Kept::Contradicts { kept: false });
                }
                return Err(io::Error::other(format!("there are {count} heads of this member already")));
            }
            host::files::write_atomic(&path, note, 0o644)?;
            *count += 1;
        }
        Ok(kept)
    }
}

/// Files and folders in a folder; none in one that is not there.
fn entries(folder: &Path) -> io::Result<usize> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        entries => Ok(entries?.count()),
    }
}

fn escaped(text: &str) -> String {
    let escaped = utf8_percent_encode(text, PLAIN).to_string();
    match escaped.len() > MAX_NAME || escaped.starts_with('.') {
        true => hex::encode(DigestAlgorithm::Sha256.digest(text.as_bytes()).value),
        false => escaped,
    }
}

/// The head in a note.
fn parse(note: &[u8]) -> Option<Checkpoint> {
    let note = std::str::from_utf8(note).ok()?;
    let (text, _) = note.split_once("\n\n")?;
    Checkpoint::parse(&format!("{text}\n")).ok()
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, receiver: Receiver, shutdown: Shutdown) {
    let receiver = Arc::new(receiver);
    let limits = Limits { connections: MAX_CONNECTIONS, ..Limits::default() };
    let handler = move |request: Request<RequestBody>, _| {
        let receiver = receiver.clone();
        async move { respond(&receiver, request).await }
    };
    serve_http(listener, Transport::Plain, limits, shutdown, handler).await;
}

async fn respond(receiver: &Arc<Receiver>, request: Request<RequestBody>) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return said(StatusCode::METHOD_NOT_ALLOWED, "heads are sent by POST");
    }
    let client = head.headers.get("x-road-client").and_then(|value| value.to_str().ok());
    let Some(client) = client.and_then(|text| ClientId::from_header(text).ok()) else {
        return said(StatusCode::BAD_REQUEST, "there is no X-Road-Client");
    };
    let Ok(note) = read_all(body, MAX_HEAD_BYTES).await else {
        return said(StatusCode::BAD_REQUEST, "the head is larger than it may be, or was cut off");
    };
    let Some(checkpoint) = parse(&note) else {
        return said(StatusCode::BAD_REQUEST, "it is no signed tree head");
    };
    let (keeper, from, size) = (receiver.clone(), client.clone(), checkpoint.size);
    let origin = checkpoint.origin.clone();
    let kept = tokio::task::spawn_blocking(move || keeper.keep(&from, &checkpoint, &note)).await;
    match kept.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(Kept::Well) => {
            metrics::counter!("causeway_received_heads_total").increment(1);
            tracing::info!(%client, log = origin, size, "a head of another member's log is kept");
            said(StatusCode::OK, "kept")
        }
        Ok(Kept::Contradicts { kept }) => {
            metrics::counter!("causeway_received_head_contradictions_total").increment(1);
            tracing::error!(%client, log = origin, size, kept, "a member's log was rewritten: two of its heads contradict each other");
            match kept {
                true => said(StatusCode::CONFLICT, "kept, and it contradicts another head of this size"),
                false => said(StatusCode::INSUFFICIENT_STORAGE, "it contradicts another head of this size"),
            }
        }
        Err(error) => {
            tracing::error!(%client, %error, "a head of another member's log cannot be kept");
            said(StatusCode::INSUFFICIENT_STORAGE, "the head cannot be kept now")
        }
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(full(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host::http::{Client, Upload};

    use super::*;

    fn head(size: u64, root: u8, more: &str) -> String {
        let head =
            Checkpoint { origin: "causeway.log/00".into(), size, root: [root; 32], more: vec![more.into()] };
        let key = pki::note::Signer::generate().unwrap();
        pki::note::Signer::new("causeway.log/00", &key).unwrap().sign(&head.text())
    }

    #[test]
    fn a_contradiction_is_seen_when_nothing_more_is_kept_and_a_restart_raises_no_bound() {
        let dir = tempfile::tempdir().unwrap();
        let keep = |receiver: &Receiver, from: &str, size, root| {
            let note = head(size, root, "at 1");
            receiver.keep(
                &ClientId::from_header(from).unwrap(),
                &parse(note.as_bytes()).unwrap(),
                note.as_bytes(),
            )
        };
        let receiver = Receiver::new(dir.path(), 1);
        assert_eq!(keep(&receiver, "DEV/GOV/1/a", 3, 1).unwrap(), Kept::Well);
        assert!(keep(&receiver, "DEV/GOV/1/a", 4, 1).is_err(), "one is the bound");
        assert_eq!(keep(&receiver, "DEV/GOV/1/a", 3, 2).unwrap(), Kept::Contradicts { kept: false });
        for number in 1..MAX_CLIENTS {
            std::fs::create_dir(dir.path().join(number.to_string())).unwrap();
        }
        let again = Receiver::new(dir.path(), 2);
        assert_eq!(keep(&again, "DEV/GOV/1/a", 4, 1).unwrap(), Kept::Well, "known from the last run");
        assert!(keep(&again, "DEV/GOV/1/b", 3, 1).is_err(), "one too many");
    }

    #[tokio::test]
    async fn heads_are_kept_by_member_once_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/any", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, Receiver::new(dir.path(), 4), Shutdown::default()));
        let client = Client::new(Duration::from_secs(20), Duration::from_secs(20), &[]);
        let post = async |method, from: Option<&str>, text: String| {
            let headers = from.map(|from| ("x-road-client".to_owned(), from.to_owned()));
            let length = text.len() as u64;
            let headers = headers.into_iter().collect();
            let upload = Upload { method, url: url.clone(), headers, length, body: full(text) };
            client.upload(upload, 1000).await.unwrap().status
        };
        let (one, two) = (Some("DEV/GOV/1/a%2Fb"), Some("DEV/GOV/1/ab"));
        let first = head(3, 1, "at 1");
        let cases = [
            ("POST", one, first.clone(), 200),
            ("POST", one, first.clone(), 200),
            ("POST", two, first.clone(), 200),
            ("POST", one, head(3, 1, "at 2"), 200),
            ("POST", one, head(3, 2, "at 3"), 409),
            ("POST", one, head(4, 9, "at 4"), 200),
            ("POST", one, head(5, 9, "at 5"), 507),
            ("POST", two, head(5, 9, "at 5"), 200),
            ("POST", None, first.clone(), 400),
            ("POST", Some("DEV"), first.clone(), 400),
            ("POST", one, "no head\n\n".into(), 400),
            ("POST", one, format!("{first}{}", "x".repeat(MAX_HEAD_BYTES)), 400),
            ("PUT", one, first.clone(), 405),
        ];
        for (number, (method, from, text, status)) in cases.into_iter().enumerate() {
            assert_eq!(post(method, from, text).await, status, "{number}");
        }
        let files = |name: &str| {
            let entries = std::fs::read_dir(dir.path().join(name)).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let (one, two) = (files("DEV%2FGOV%2F1%2Fa%252Fb"), files("DEV%2FGOV%2F1%2Fab"));
        assert_eq!((one.len(), two.len()), (4, 2), "{one:?} {two:?}");
        assert!(one.contains(&format!("causeway.log%2F00-{:020}.head", 3)), "{one:?}");
        let kept =
            dir.path().join("DEV%2FGOV%2F1%2Fa%252Fb").join(format!("causeway.log%2F00-{:020}.head", 3));
        assert_eq!(std::fs::read_to_string(kept).unwrap(), first);
    }
}
