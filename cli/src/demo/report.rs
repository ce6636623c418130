//! What a run of the demo found, as `--json` prints it: one object, these fields and no others.

use serde::Serialize;

/// The object.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The X-Road instance.
    pub(super) instance: String,
    /// Every server of the run, a process each.
    pub(super) servers: Vec<Server>,
    /// The global configuration that the security servers have.
    pub(super) globalconf: GlobalConf,
    /// Every exchange of the run.
    pub(super) exchanges: Vec<Exchange>,
    /// The message logs.
    pub(super) log: Log,
    /// From start to here.
    pub(super) elapsed_ms: u64,
}

/// One server.
#[derive(Debug, Serialize)]
pub(super) struct Server {
    /// `INSTANCE/CLASS/OWNER/CODE`; of the central server the instance.
    pub(super) id: String,
    /// `central-server` or `security-server`.
    pub(super) role: &'static str,
    /// Host and port where its clients reach it over HTTP.
    pub(super) address: String,
    /// Its process.
    pub(super) pid: u32,
    /// Where its management API is.
    pub(super) admin_url: Option<String>,
}

/// The configuration.
#[derive(Debug, Serialize)]
pub(super) struct GlobalConf {
    /// Versions that the central server publishes.
    pub(super) versions: Vec<u32>,
    /// When the one in use expires, ISO 8601.
    pub(super) expires: Option<String>,
}

/// One exchange.
#[derive(Debug, Serialize)]
pub(super) struct Exchange {
    /// `rest` or `soap`.
    pub(super) kind: &'static str,
    /// The id that both messages carry.
    pub(super) message_id: String,
    /// HTTP status at the information system.
    pub(super) status: u16,
    /// Of the whole exchange.
    pub(super) elapsed_ms: f64,
    /// The container of the provider's answer.
    pub(super) container: Option<String>,
    /// The containers of request and answer both hold, offline, against the stored configuration.
    pub(super) verified: bool,
    /// Who signed the answer.
    pub(super) signed_by: Option<String>,
    /// The answer's timestamp, ISO 8601.
    pub(super) timestamped_at: Option<String>,
}

/// The message logs.
#[derive(Debug, Serialize)]
pub(super) struct Log {
    /// Records of both servers together.
    pub(super) records: u64,
}
