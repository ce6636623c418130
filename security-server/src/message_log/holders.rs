//! Heads of the log's tree with those who keep them outside: a folder, a URL, another member through an exchange.
//!
//! What a holder has not taken yet waits where the heads lie anyway, `<data>/log/tree/heads`; how far each holder has come is in
//! `<data>/log/holders.json`, so that a restart forgets nothing. Heads go in order, one after another. A holder that fails is tried
//! again after `tree-head-retry-delay`, which doubles up to `tree-head-retry-max-delay`. At most `tree-head-backlog` heads wait for
//! one: older ones are passed over, since a later head binds all records before it. A holder that is new gets the newest head first.
//!
//! Another member's server is reached through our own client proxy: an ordinary REST message of one of our subsystems, signed and
//! logged on both sides, so that the holder's log is evidence of what it was given and when. Its end is `head_receiver`.
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use host::http::{Client, Upload, full};
use proto::id::{ClientId, ServiceId};
use proto::time::UnixTime;
use serde::{Deserialize, Serialize};

use super::tree;

/// Of an answer to a head.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Heads that one holder gets in one round.
const MAX_AT_ONCE: usize = 64;
/// Largest state.
const MAX_BYTES: u64 = 1 << 20;
const KIND: &str = "text/plain; charset=utf-8";

/// Checked settings of the tree's heads.
#[derive(Clone, Debug)]
pub struct HeadSettings {
    /// Between heads.
    pub interval: Duration,
    /// A folder that somebody else holds.
    pub folder: Option<PathBuf>,
    /// Where heads are sent, by POST.
    pub url: Option<String>,
    /// A service of another member that takes heads, and the subsystem of ours that calls it.
    pub service: Option<(ClientId, ServiceId)>,
    /// To the first try after a failure, and at most.
    pub retry: (Duration, Duration),
    /// Most heads that wait for a holder.
    pub backlog: usize,
    /// A holder that has failed for so long is an alarm.
    pub alarm_after: Duration,
}

/// How far a holder has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Progress {
    /// Size of the newest head that it has.
    pub has: u64,
    /// Heads that wait.
    pub waiting: u64,
    /// Heads that it will not get.
    pub passed_over: u64,
    /// Tries without success since the last one.
    pub failures: u32,
    /// Milliseconds since 1970; 0 while it takes what it gets.
    pub failing_since: i64,
    /// Milliseconds since 1970 of the last try.
    pub tried_at: i64,
    /// Why the last try failed.
    pub reason: String,
}

enum Holder {
    Folder(PathBuf),
    Url(String),
    Service(Box<(ClientId, ServiceId)>),
}

/// All holders.
pub(super) struct Holders {
    log_dir: PathBuf,
    settings: HeadSettings,
    holders: Vec<(String, Holder)>,
    progress: BTreeMap<String, Progress>,
    /// Where our own client proxy listens.
    pub(super) exchange: Option<SocketAddr>,
    alarmed: HashSet<String>,
}

fn path(log_dir: &Path) -> PathBuf {
    log_dir.join("holders.json")
}

/// How far the holders of a log have come, by name.
///
/// # Errors
/// The disk, or a damaged file.
pub fn progress(log_dir: &Path) -> io::Result<BTreeMap<String, Progress>> {
    let path = path(log_dir);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
        Ok(found) if found.len() > MAX_BYTES => return Err(io::Error::other("it is too large")),
        Ok(_) => {}
    }
    serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
}

impl Progress {
    fn is_due(&self, settings: &HeadSettings, now: UnixTime) -> bool {
        let (first, most) = settings.retry;
        let doubled = first.saturating_mul(1 << self.failures.saturating_sub(1).min(20)).min(most);
        self.failures == 0 || now >= UnixTime(self.tried_at).plus(doubled)
    }

    fn failed(&mut self, reason: String, now: UnixTime) {
        if self.failures == 0 {
            self.failing_since = now.0;
        }
        (self.failures, self.tried_at, self.reason) = (self.failures.saturating_add(1), now.0, reason);
    }

    fn took(&mut self, size: u64) {
        let Self { waiting, passed_over, .. } = *self;
        *self = Self { has: size, waiting: waiting.saturating_sub(1), passed_over, ..Self::default() };
    }
}

impl Holders {
    /// Takes up where the last run left off; with a state that cannot be read every holder is as a new one.
    pub(super) fn open(log_dir: &Path, settings: &HeadSettings) -> Self {
        let mut holders = Vec::new();
        if let Some(folder) = &settings.folder {
            holders.push((format!("folder {}", folder.display()), Holder::Folder(folder.clone())));
        }
        if let Some(url) = &settings.url {
            holders.push((format!("url {url}"), Holder::Url(url.clone())));
        }
        if let Some((client, service)) = &settings.service {
            let name = format!("service {}", service.short());
            holders.push((name, Holder::Service(Box::new((client.clone(), service.clone())))));
        }
        let mut progress = progress(log_dir).unwrap_or_else(|error| {
            tracing::error!(%error, "what holders of tree heads have is not known any more; they get the newest");
            BTreeMap::new()
        });
        progress.retain(|name, _| holders.iter().any(|(known, _)| known == name));
        Self {
            log_dir: log_dir.to_owned(),
            settings: settings.clone(),
            holders,
            progress,
            exchange: None,
            alarmed: HashSet::new(),
        }
    }

    /// Whether somebody lacks the head of this size and may be asked now.
    pub(super) fn is_due(&self, newest: u64, now: UnixTime) -> bool {
        self.holders.iter().any(|(name, _)| match self.progress.get(name) {
            Some(progress) => progress.has < newest && progress.is_due(&self.settings, now),
            None => newest > 0,
        })
    }

    /// Hands over what waits; `heads` are the sizes of all heads, ascending. State is on the disk on return.
    ///
    /// # Errors
    /// The holders that did not take it and why, or the disk.
    pub(super) async fn deliver(
        &mut self,
        client: &Client,
        origin: &str,
        heads: &[u64],
        now: UnixTime,
    ) -> Result<(), String> {
        let before = self.progress.clone();
        let mut failed = Vec::new();
        for (name, holder) in &self.holders {
            let progress = self.progress.entry(name.clone()).or_insert_with(|| Progress {
                has: heads.iter().rev().nth(1).copied().unwrap_or_default(),
                ..Progress::default()
            });
            let waiting = wait(progress, heads, self.settings.backlog);
            if !progress.is_due(&self.settings, now) {
                continue;
            }
            for size in waiting.iter().take(MAX_AT_ONCE) {
                let note = read(&self.log_dir, *size).await;
                let put = match note {
                    Ok(note) => holder.put(client, self.exchange, origin, *size, note).await,
                    Err(error) => Err(format!("the head of {size} records cannot be read: {error}")),
                };
                match put {
                    Ok(()) => progress.took(*size),
                    Err(reason) => {
                        failed.push(format!("{name}: {reason}"));
                        progress.failed(reason, now);
                        break;
                    }
                }
            }
        }
        self.figures(now);
        if self.progress != before {
            let stored = self.store().await;
            stored.map_err(|error| format!("{}: {error}", path(&self.log_dir).display()))?;
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// Holders that do not take what they get, and since when.
    pub(super) fn lagging(&self) -> Vec<(String, UnixTime)> {
        let failing = self.progress.iter().filter(|(_, progress)| progress.failures > 0);
        failing.map(|(name, progress)| (name.clone(), UnixTime(progress.failing_since))).collect()
    }

    async fn store(&self) -> io::Result<()> {
        let (path, text) = (path(&self.log_dir), serde_json::to_vec_pretty(&self.progress));
        let text = text.map_err(io::Error::other)?;
        let write = move || host::files::write_atomic(&path, &text, 0o600);
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }

    /// Metrics, and an alarm for each holder that lags.
    fn figures(&mut self, now: UnixTime) {
        for (name, progress) in &self.progress {
            let failing = (progress.failures > 0).then(|| now.since(UnixTime(progress.failing_since)));
            let due = failing.is_some_and(|failing| failing >= self.settings.alarm_after);
            let label = || name.clone();
            metrics::gauge!("causeway_tree_head_waiting", "holder" => label()).set(progress.waiting as f64);
            metrics::gauge!("causeway_tree_head_passed_over", "holder" => label())
                .set(progress.passed_over as f64);
            metrics::gauge!("causeway_tree_head_failing_seconds", "holder" => label())
                .set(failing.unwrap_or_default().as_secs_f64());
            metrics::gauge!("causeway_tree_head_alarm", "holder" => label()).set(f64::from(u8::from(due)));
            if !due {
                self.alarmed.remove(name);
            } else if self.alarmed.insert(name.clone()) {
                tracing::error!(
                    holder = name,
                    waiting = progress.waiting,
                    reason = progress.reason,
                    "a holder of tree heads has had none for long: until it has, the log's records since are protected by this server alone"
                );
            }
        }
    }
}

/// The heads that wait for a holder, the oldest of too many passed over.
fn wait(progress: &mut Progress, heads: &[u64], backlog: usize) -> Vec<u64> {
    let lacks = heads.partition_point(|size| *size <= progress.has);
    let mut waiting = &heads[lacks..];
    if waiting.len() > backlog {
        let (over, rest) = waiting.split_at(waiting.len() - backlog);
        progress.has = over.last().copied().unwrap_or(progress.has);
        progress.passed_over += over.len() as u64;
        waiting = rest;
    }
    progress.waiting = waiting.len() as u64;
    waiting.to_vec()
}

async fn read(log_dir: &Path, size: u64) -> io::Result<String> {
    let path = tree::head_path(log_dir, size);
    tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await.map_err(io::Error::other)?
}

impl Holder {
    async fn put(
        &self,
        client: &Client,
        exchange: Option<SocketAddr>,
        origin: &str,
        size: u64,
        note: String,
    ) -> Result<(), String> {
        let answer = match self {
            Self::Folder(folder) => {
                let (folder, origin) = (folder.clone(), origin.to_owned());
                let put = move || tree::hand_over(&folder, &origin, size, &note);
                let done = tokio::task::spawn_blocking(put).await.map_err(|e| e.to_string())?;
                return done.map_err(|error| format!("the head was not put into the folder: {error}"));
            }
            Self::Url(url) => client.post(url, KIND, Bytes::from(note), MAX_ANSWER_BYTES).await,
            Self::Service(parties) => {
                let (from, service) = &**parties;
                let exchange =
                    exchange.ok_or("proxy.client-http-listen is off, and heads are sent through it")?;
                let headers = [("content-type", KIND.to_owned()), ("x-road-client", from.to_header())];
                let upload = Upload {
                    method: "POST",
                    url: format!("http://{exchange}/r1/{}", service.to_header()),
                    headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
                    length: note.len() as u64,
                    body: full(note),
                };
                client.upload(upload, MAX_ANSWER_BYTES).await
            }
        };
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => {
                let text: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
                Err(format!("status {}: {}", answer.status, text.trim()))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HeadSettings {
        HeadSettings {
            interval: Duration::from_secs(60),
            folder: None,
            url: None,
            service: None,
            retry: (Duration::from_secs(60), Duration::from_secs(3600)),
            backlog: 3,
            alarm_after: Duration::from_secs(7200),
        }
    }

    #[test]
    fn a_holder_that_fails_is_tried_again_later_and_later() {
        let (settings, mut progress) = (settings(), Progress::default());
        let mut now = UnixTime(1_000_000);
        for seconds in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert!(progress.is_due(&settings, now));
            progress.failed("down".into(), now);
            assert!(!progress.is_due(&settings, now.plus(Duration::from_secs(seconds - 1))), "{seconds}");
            now = now.plus(Duration::from_secs(seconds));
        }
        assert_eq!((progress.failures, progress.failing_since), (8, 1_000_000));
        progress.took(5);
        assert!(progress.is_due(&settings, now));
        assert_eq!(progress, Progress { has: 5, ..Progress::default() });
    }

    #[test]
    fn the_oldest_of_too_many_are_passed_over() {
        let mut progress = Progress { has: 2, ..Progress::default() };
        assert_eq!(wait(&mut progress, &[1, 2, 5, 9, 12, 20, 31], 3), [12, 20, 31]);
        assert_eq!((progress.has, progress.passed_over, progress.waiting), (9, 2, 3));
        assert_eq!(wait(&mut progress, &[1, 2, 5, 9, 12, 20, 31], 3), [12, 20, 31]);
        assert_eq!(progress.passed_over, 2, "they are counted once");
        assert_eq!(wait(&mut progress, &[], 3), [] as [u64; 0]);
    }

    #[tokio::test]
    async fn what_a_holder_did_not_take_waits_and_a_restart_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir_all(dir.path().join("tree/heads")).unwrap();
        let put =
            |size: u64| std::fs::write(tree::head_path(dir.path(), size), format!("head {size}")).unwrap();
        let settings = HeadSettings { folder: Some(outside.clone()), ..settings() };
        let client = Client::new(Duration::from_secs(5), Duration::from_secs(5), &[]);
        let mut now = UnixTime(1_000_000);
        let mut heads = Vec::new();
        for size in [3, 8] {
            heads.push(size);
            put(size);
            // The holder's folder is not there, as when a share is not mounted.
            let mut holders = Holders::open(dir.path(), &settings);
            assert!(holders.is_due(size, now));
            let error = holders.deliver(&client, "log/1", &heads, now).await.unwrap_err();
            assert!(error.contains("was not put into the folder"), "{error}");
            assert!(!holders.is_due(size, now), "not at once");
            now = now.plus(Duration::from_secs(300));
        }
        let (_, known) = progress(dir.path()).unwrap().pop_first().unwrap();
        assert_eq!((known.has, known.waiting, known.failures, known.failing_since), (0, 2, 2, 1_000_000));
        std::fs::create_dir(&outside).unwrap();
        let mut holders = Holders::open(dir.path(), &settings);
        assert!(holders.is_due(8, now));
        holders.deliver(&client, "log/1", &heads, now).await.unwrap();
        assert!(!holders.is_due(8, now));
        let kept =
            |size: u64| std::fs::read_to_string(outside.join(format!("log-1-{size:020}.head"))).unwrap();
        assert_eq!((kept(3), kept(8)), ("head 3".into(), "head 8".into()));
        let (_, known) = progress(dir.path()).unwrap().pop_first().unwrap();
        assert_eq!(known, Progress { has: 8, ..Progress::default() });
        // Whoever has another head of this size does not lose it.
        std::fs::write(outside.join("log-1-00000000000000000009.head"), "other").unwrap();
        put(9);
        let error = holders.deliver(&client, "log/1", &[3, 8, 9], now).await.unwrap_err();
        assert!(error.contains("another head"), "{error}");
        assert_eq!(kept(9), "other");
    }
}
