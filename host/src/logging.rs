//! System service logs by `tracing`: text or JSON lines on standard error.
//!
//! Lines go through a bounded queue to one thread, so that a slow reader of standard error never holds up a message; past
//! [`QUEUE_LINES`] lines are dropped and counted, and the count is written when there is room again.
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for standard error.
pub const QUEUE_LINES: usize = 8192;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the process; the first call decides, later ones do nothing. `filter` as in `RUST_LOG`, which overrides it;
/// one that cannot be read counts as `info` and is complained about.
pub fn init(format: Format, filter: &str) {
    let chosen = std::env::var("RUST_LOG").unwrap_or_else(|_| filter.to_owned());
    let (env_filter, wrong) = match EnvFilter::try_new(&chosen) {
        Ok(env_filter) => (env_filter, None),
        Err(e) => (EnvFilter::new("info"), Some(e.to_string())),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(env_filter)
        .with_writer(ToStderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match format {
        Format::Text => builder.try_init().is_ok(),
        Format::Json => builder.json().flatten_event(true).try_init().is_ok(),
    };
    if let (true, Some(reason)) = (started, wrong) {
        tracing::warn!(filter = chosen, reason, "the log filter cannot be read; using `info`");
    }
}

/// Waits until what was logged so far is written, at most `limit`: for the last lines of a process.
pub fn flush(limit: Duration) {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = sync_channel(1);
    if queue.try_send(Line::Flush(done)).is_ok() {
        let _ = written.recv_timeout(limit);
    }
}

enum Line {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

static QUEUE: OnceLock<SyncSender<Line>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy)]
struct ToStderr;

impl<'a> MakeWriter<'a> for ToStderr {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for ToStderr {
    /// tracing-subscriber writes a whole line at once.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let queue = QUEUE.get_or_init(start_writer);
        if queue.try_send(Line::Text(line.to_vec())).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn start_writer() -> SyncSender<Line> {
    let (sender, lines) = sync_channel(QUEUE_LINES);
    let spawned = std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&lines));
    if spawned.is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
    sender
}

fn write_lines(lines: &Receiver<Line>) {
    for line in lines {
        // Nobody is left to tell when standard error itself fails.
        let _ = match line {
            Line::Text(text) => std::io::stderr().write_all(&text),
            Line::Flush(done) => done.send(()).map_err(std::io::Error::other),
        };
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ = writeln!(
                std::io::stderr(),
                "{dropped} log lines were dropped: standard error is read too slowly"
            );
        }
    }
}
