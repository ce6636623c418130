//! Checked settings of the message log, made from the `[message-log]` section.
use std::num::NonZeroUsize;
use std::time::Duration;

use super::policy::BodyLogging;
use crate::config::{ConfigError, MessageLogSection};

/// Smallest segment that makes sense outside of tests.
const MIN_SEGMENT_BYTES: u64 = 1024 * 1024;
/// Offsets must stay below what a frame's tag can hold.
const MAX_SEGMENT_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// `[limits] memory-body-bytes` as it is by default.
const DEFAULT_MEMORY_BODY: usize = 65_536;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Whose bodies are kept.
    pub bodies: BodyLogging,
    /// Largest body that is kept.
    pub max_body_bytes: u64,
    /// A larger one passes and is on record with its digest; otherwise it is refused.
    pub larger_bodies_pass: bool,
    /// Bytes of a body that stay in memory and in the record's own frame.
    pub memory_body_bytes: usize,
    /// Reserved for one segment.
    pub segment_bytes: u64,
    /// Must stay free on the disk, or no exchange starts.
    pub min_free_bytes: u64,
    /// How long timestamping may fail; `None` without limit.
    pub acceptable_timestamp_failure: Option<Duration>,
    /// Between tries of a failed timestamp.
    pub timestamp_retry: Duration,
    /// Most records in one timestamp.
    pub timestamp_records: NonZeroUsize,
}

impl Default for LogSettings {
    /// What the sample of the settings says.
    fn default() -> Self {
        Self::resolve(&MessageLogSection::default(), DEFAULT_MEMORY_BODY)
            .expect("the defaults are checked by a test")
    }
}

impl LogSettings {
    /// Checks the section; `memory_body_bytes` is a key of `[limits]`.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn resolve(section: &MessageLogSection, memory_body_bytes: usize) -> Result<Self, ConfigError> {
        let wrong = |key, rule: String| Err(ConfigError { key, rule });
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&section.segment_size) {
            let rule = format!("must be from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}");
            return wrong("message-log.segment-size", rule);
        }
        let Some(timestamp_records) = NonZeroUsize::new(section.timestamp_records_limit as usize) else {
            return wrong("message-log.timestamp-records-limit", "must be at least 1".into());
        };
        let failure = section.acceptable_timestamp_failure_period;
        Ok(Self {
            bodies: BodyLogging::resolve(section)?,
            larger_bodies_pass: section.truncated_body_allowed,
            max_body_bytes: section.max_loggable_message_body_size,
            memory_body_bytes,
            segment_bytes: section.segment_size,
            min_free_bytes: section.min_free_space,
            acceptable_timestamp_failure: (failure > 0).then(|| Duration::from_secs(failure)),
            timestamp_retry: Duration::from_secs(section.timestamp_retry_delay.max(1)),
            timestamp_records,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold() {
        assert_eq!(
            LogSettings::default().memory_body_bytes,
            crate::config::LimitsSection::default().memory_body_bytes
        );
    }
}
