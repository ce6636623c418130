//! Checked settings of the message log, made from the `[message-log]` section.
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use proto::id::ServiceId;
use zeroize::Zeroizing;

use super::archive::ArchiveSettings;
use super::archive::keys::EncryptionSettings;
use super::archive::target::{Credentials, Target};
use super::background::BackgroundSettings;
use super::crypt::Keys;
use super::holders::HeadSettings;
use super::policy::{BodyLogging, subsystem};
use super::retention::RetentionSettings;
use super::services::Preference;
use crate::config::{ConfigError, MessageLogSection};

/// Smallest segment that makes sense outside of tests.
const MIN_SEGMENT_BYTES: u64 = 1024 * 1024;
/// Offsets must stay below what a frame's tag can hold.
const MAX_SEGMENT_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Parts of uploads: S3 takes none below 5 MiB but the last, and one is held in memory.
const PART_BYTES: std::ops::RangeInclusive<u64> = 5 << 20..=1 << 30;

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
    /// Every message gets its own timestamp before it goes on.
    pub timestamp_immediately: bool,
    /// Which services come first.
    pub preference: Preference,
    /// What messages are encrypted with at rest; none: they are not.
    pub keys: Arc<Keys>,
    /// Archiving.
    pub archive: ArchiveSettings,
    /// How long records are kept.
    pub retention: RetentionSettings,
    /// Heads of the tree.
    pub heads: HeadSettings,
    /// What archiving and the like may take of the machine.
    pub background: BackgroundSettings,
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
            timestamp_immediately: section.timestamp_immediately,
            preference: section.timestamping_prioritization_strategy,
            keys: Arc::new(keys(section)?),
            archive: archive(section)?,
            retention: retention(section)?,
            heads: heads(section)?,
            background: background(section)?,
        })
    }
}

fn background(section: &MessageLogSection) -> Result<BackgroundSettings, ConfigError> {
    let MessageLogSection { background_niceness: niceness, background_share: share, .. } = *section;
    let wrong = |key, rule: &str| Err(ConfigError { key, rule: rule.to_owned() });
    match (niceness, share) {
        (20.., _) => wrong("message-log.background-niceness", "must be from 0 to 19"),
        (_, 0 | 101..) => wrong("message-log.background-share", "must be from 1 to 100"),
        _ => Ok(BackgroundSettings { niceness, share }),
    }
}

fn archive(section: &MessageLogSection) -> Result<ArchiveSettings, ConfigError> {
    if section.archive_max_filesize == 0 {
        let rule = "must be at least 1".to_owned();
        return Err(ConfigError { key: "message-log.archive-max-filesize", rule });
    }
    Ok(ArchiveSettings {
        interval: (section.archive_interval > 0).then(|| Duration::from_secs(section.archive_interval)),
        dir: section.archive_path.clone(),
        max_file_bytes: section.archive_max_filesize,
        grouping: section.archive_grouping,
        encryption: encryption(section)?,
        target: target(section)?,
        remove_sent: section.archive_remove_transferred,
    })
}

/// The keys must be there now; whether they are good is judged whenever they are used.
///
/// # Errors
/// The key that cannot be used.
pub(crate) fn encryption(section: &MessageLogSection) -> Result<Option<EncryptionSettings>, ConfigError> {
    if !section.archive_encryption_enabled {
        return Ok(None);
    }
    let key = "message-log.archive-keys-directory";
    let wrong = |rule: String| ConfigError { key, rule };
    let dir = section.archive_keys_directory.clone();
    let default_key = section.archive_default_encryption_key.trim();
    let settings = EncryptionSettings {
        dir: dir.ok_or_else(|| wrong("must be set for archive-encryption-enabled".into()))?,
        members: section.archive_encryption_keys_config.clone(),
        default_key: (!default_key.is_empty()).then(|| default_key.to_owned()),
        warning: Duration::from_secs(section.archive_key_warning_days.saturating_mul(86_400)),
    };
    settings.load().map_err(|error| wrong(error.to_string()))?;
    Ok(Some(settings))
}

fn keys(section: &MessageLogSection) -> Result<Keys, ConfigError> {
    let Some(path) = &section.encryption_keys_file else { return Ok(Keys::default()) };
    let key = "message-log.encryption-keys-file";
    Keys::read(path).map_err(|reason| ConfigError { key, rule: format!("{}: {reason}", path.display()) })
}

fn target(section: &MessageLogSection) -> Result<Option<Target>, ConfigError> {
    let is_url = |text: &str| text.starts_with("https://") || text.starts_with("http://");
    let wrong = |key, rule: String| Err(ConfigError { key, rule });
    let (post, endpoint) = (section.archive_transfer_url.as_str(), section.archive_s3_endpoint.as_str());
    let address = "must begin with https:// or http://";
    match (post.is_empty(), endpoint.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => {
            wrong("message-log.archive-s3-endpoint", "there is an archive-transfer-url already".into())
        }
        (false, true) if !is_url(post) => wrong("message-log.archive-transfer-url", address.into()),
        (false, true) => Ok(Some(Target::Post { url: post.to_owned() })),
        (true, false) if !is_url(endpoint) => wrong("message-log.archive-s3-endpoint", address.into()),
        (true, false) if section.archive_s3_bucket.is_empty() => {
            wrong("message-log.archive-s3-bucket", "must be set for archive-s3-endpoint".into())
        }
        (true, false) => Ok(Some(Target::S3 {
            endpoint: endpoint.to_owned(),
            bucket: section.archive_s3_bucket.clone(),
            prefix: section.archive_s3_prefix.clone(),
            path_style: section.archive_s3_path_style,
            credentials: credentials(section)?,
            part_bytes: part_bytes(section)?,
        })),
    }
}

/// Within what S3 takes.
fn part_bytes(section: &MessageLogSection) -> Result<u64, ConfigError> {
    let bytes = section.archive_s3_part_size;
    if PART_BYTES.contains(&bytes) {
        return Ok(bytes);
    }
    let rule = format!("must be from {} to {}", PART_BYTES.start(), PART_BYTES.end());
    Err(ConfigError { key: "message-log.archive-s3-part-size", rule })
}

/// The file has the key's id and the secret, one a line.
fn credentials(section: &MessageLogSection) -> Result<Credentials, ConfigError> {
    let key = "message-log.archive-s3-credentials-file";
    let wrong = |rule: String| ConfigError { key, rule };
    let path = section.archive_s3_credentials_file.as_ref();
    let path = path.ok_or_else(|| wrong("must be set for archive-s3-endpoint".into()))?;
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    let text = Zeroizing::new(text);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next(), lines.next()) {
        (Some(id), Some(secret), None) => Ok(Credentials {
            id: id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
            region: section.archive_s3_region.clone(),
        }),
        _ => Err(wrong(format!("{} must hold two lines: key id and secret", path.display()))),
    }
}

fn heads(section: &MessageLogSection) -> Result<HeadSettings, ConfigError> {
    let MessageLogSection { tree_head_client: client, tree_head_service: service, .. } = section;
    let service = match (client.as_str(), service.as_str()) {
        ("", "") => None,
        (client, service) => {
            let key = "message-log.tree-head-service";
            let rule = || ConfigError { key, rule: "must be INSTANCE/CLASS/CODE/SUBSYSTEM/SERVICE".into() };
            let service = ServiceId::from_header(service).map_err(|_| rule())?;
            Some((subsystem("message-log.tree-head-client", client)?, service))
        }
    };
    if section.tree_head_backlog == 0 {
        let rule = "must be at least 1".to_owned();
        return Err(ConfigError { key: "message-log.tree-head-backlog", rule });
    }
    let first = Duration::from_secs(section.tree_head_retry_delay.max(1));
    Ok(HeadSettings {
        interval: Duration::from_secs(section.tree_head_interval.max(60)),
        folder: section.tree_head_folder.clone(),
        url: (!section.tree_head_url.is_empty()).then(|| section.tree_head_url.clone()),
        service,
        retry: (first, Duration::from_secs(section.tree_head_retry_max_delay).max(first)),
        backlog: section.tree_head_backlog,
        alarm_after: Duration::from_secs(section.tree_head_alarm_after),
    })
}

fn retention(section: &MessageLogSection) -> Result<RetentionSettings, ConfigError> {
    let key = "message-log.keep-records-for-subsystems";
    let days = |days: u64| Duration::from_secs(days.saturating_mul(86_400));
    let mut keep_subsystems = HashMap::new();
    for text in section.keep_records_for_subsystems.split(',').map(str::trim).filter(|text| !text.is_empty())
    {
        let rule = || ConfigError { key, rule: format!("{text} is not INSTANCE/CLASS/CODE/SUBSYSTEM=DAYS") };
        let (id, count) = text.rsplit_once('=').ok_or_else(rule)?;
        let count = count.trim().parse().map_err(|_| rule())?;
        keep_subsystems.insert(subsystem(key, id.trim())?, days(count));
    }
    Ok(RetentionSettings {
        keep: days(section.keep_records_for),
        keep_subsystems,
        max_bytes: (section.max_log_size > 0).then_some(section.max_log_size),
        interval: Duration::from_secs(section.clean_interval.max(60)),
    })
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
