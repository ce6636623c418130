//! Exchanges that have ended: one line of the log and two metrics for each, of which those of the usual end are looked up once.
//!
//! Made when the metrics of the process are installed: what is looked up before counts nothing.

use std::sync::Arc;

use metrics::{Counter, Histogram};
use tokio::time::Instant;

/// Outcome of an exchange that was answered.
pub const OK: &str = "ok";

/// What is exchanged many times a second: which side of which protocol.
const USUAL: [(&str, &str); 4] =
    [("client", "rest"), ("client", "soap"), ("server", "rest"), ("server", "soap")];

/// Counts exchanges that have ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ended(Arc<[Handles; USUAL.len()]>);

#[derive(Debug)]
struct Handles {
    answered: Counter,
    seconds: Histogram,
}

impl Default for Ended {
    fn default() -> Self {
        let handles =
            |(side, kind)| Handles { answered: answered(side, kind, OK), seconds: seconds(side, kind) };
        Self(Arc::new(USUAL.map(handles)))
    }
}

impl Ended {
    /// An exchange of this side and kind that began at `begun` has ended.
    pub fn count(&self, side: &'static str, kind: &'static str, outcome: &str, begun: Instant) {
        let elapsed = begun.elapsed();
        let place = USUAL.iter().position(|usual| *usual == (side, kind));
        match place.map(|place| &self.0[place]) {
            Some(handles) if outcome == OK => {
                handles.answered.increment(1);
                handles.seconds.record(elapsed.as_secs_f64());
            }
            _ => {
                answered(side, kind, outcome).increment(1);
                seconds(side, kind).record(elapsed.as_secs_f64());
            }
        }
        tracing::debug!(
            outcome,
            elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "exchange ended"
        );
    }
}

fn answered(side: &'static str, kind: &'static str, outcome: &str) -> Counter {
    metrics::counter!("causeway_exchanges_total", "side" => side, "kind" => kind, "outcome" => outcome.to_owned())
}

fn seconds(side: &'static str, kind: &'static str) -> Histogram {
    metrics::histogram!("causeway_exchange_seconds", "side" => side, "kind" => kind)
}
