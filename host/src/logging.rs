//! System service logs by `tracing`: text or JSON lines on standard error.

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

/// Starts logging for the process. `filter` as in `RUST_LOG`, which overrides it.
pub fn init(format: Format, filter: &str) {
    let _ = (format, filter);
    todo!()
}
