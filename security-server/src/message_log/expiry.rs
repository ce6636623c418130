//! Expiry marks: what stays of a segment that was removed as it should be.
//!
//! A mark is a signed note (`pki::note`) in `log/expired/`, written and synced before its segment goes. It says which records the
//! segment held, where the chain of frames entered and left it, and the hash over the leaves of its records, which the tree goes on
//! holding. So lawful deletion and tampering look different: [`verify`](super::store::recovery::verify) walks over a marked gap and
//! reports every other one.
//!
//! ```text
//! <data>/log/expired/0000000001.mark     deleting one makes the segment count as lost
//! ```
use std::io;
use std::path::{Path, PathBuf};

use pki::merkle::Hash;
use pki::note::{NoteError, Signer, Verifier};
use proto::time::UnixTime;

use super::store::format::Chain;

/// Largest mark.
const MAX_BYTES: u64 = 16 << 10;
const TITLE: &str = "causeway log expiry v1";

/// Why a segment was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its records were older than they are kept.
    Time,
    /// The log was larger than it may be.
    Space,
}

/// A removed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which log.
    pub origin: String,
    /// Number of the segment.
    pub segment: u64,
    /// First record, and the one that would have come next.
    pub records: (u64, u64),
    /// Where the segment before ended, and this one.
    pub ends: (u64, u64),
    /// The chain's value where it entered and where it left.
    pub chain: (Chain, Chain),
    /// SHA-256 over the leaf hashes of the records, in order.
    pub leaves: Hash,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: UnixTime,
}

pub(super) fn path_of(log_dir: &Path, segment: u64) -> PathBuf {
    log_dir.join("expired").join(format!("{segment:010}.mark"))
}

impl Mark {
    fn text(&self) -> String {
        let reason = match self.reason {
            Reason::Time => "time",
            Reason::Space => "space",
        };
        format!(
            "{TITLE}\norigin {}\nsegment {}\nrecords {} {}\nends {} {}\nchain {} {}\nleaves {}\nreason {reason}\nat {}\n",
            self.origin,
            self.segment,
            self.records.0,
            self.records.1,
            self.ends.0,
            self.ends.1,
            hex::encode(self.chain.0),
            hex::encode(self.chain.1),
            hex::encode(self.leaves),
            self.at.0
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let hash = |text: &str| -> Option<[u8; 32]> { hex::decode(text).ok()?.try_into().ok() };
        let mark = Self {
            origin: value("origin")?.to_owned(),
            segment: value("segment")?.parse().ok()?,
            records: {
                let (first, next) = value("records")?.split_once(' ')?;
                (first.parse().ok()?, next.parse().ok()?)
            },
            ends: {
                let (before, own) = value("ends")?.split_once(' ')?;
                (before.parse().ok()?, own.parse().ok()?)
            },
            chain: {
                let (before, after) = value("chain")?.split_once(' ')?;
                (hash(before)?, hash(after)?)
            },
            leaves: hash(value("leaves")?)?,
            reason: match value("reason")? {
                "time" => Reason::Time,
                "space" => Reason::Space,
                _ => return None,
            },
            at: UnixTime(value("at")?.parse().ok()?),
        };
        Some(mark)
    }

    /// Writes it; durable on return.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn store(&self, log_dir: &Path, signer: &Signer) -> io::Result<()> {
        let path = path_of(log_dir, self.segment);
        if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
            std::fs::create_dir(folder)?;
            host::files::sync_dir(log_dir)?;
        }
        host::files::write_atomic(&path, signer.sign(&self.text()).as_bytes(), 0o600)
    }

    /// Reads the mark of a segment, signed by the log's own key; `None` when there is none.
    ///
    /// # Errors
    /// A mark that cannot be read, or is not of this log and segment.
    pub fn load(log_dir: &Path, segment: u64, verifier: &Verifier) -> Result<Option<Self>, String> {
        let path = path_of(log_dir, segment);
        let found = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|e| e.to_string())?,
        };
        if found.len() > MAX_BYTES {
            return Err("it is too large".into());
        }
        let note = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        let text = verifier.open(&note).map_err(|e: NoteError| e.to_string())?;
        let mark = Self::parse(text).ok_or("it does not say what a mark says")?;
        match mark.origin == verifier.name() && mark.segment == segment {
            true => Ok(Some(mark)),
            false => Err("it is of another log or segment".into()),
        }
    }
}

/// Numbers of segments that have a mark, ascending.
pub(super) fn marked(log_dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(log_dir.join("expired")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".mark"));
        numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_read_back_with_the_right_key_for_the_right_segment_only() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::new("causeway.log/aa", &Signer::generate().unwrap()).unwrap();
        let mark = Mark {
            origin: "causeway.log/aa".into(),
            segment: 3,
            records: (10, 20),
            ends: (2048, 4096),
            chain: ([1; 32], [2; 32]),
            leaves: [3; 32],
            reason: Reason::Space,
            at: UnixTime(5),
        };
        mark.store(dir.path(), &signer).unwrap();
        assert_eq!(Mark::load(dir.path(), 3, signer.verifier()), Ok(Some(mark)));
        assert_eq!(Mark::load(dir.path(), 4, signer.verifier()), Ok(None));
        assert_eq!(marked(dir.path()).unwrap(), [3]);
        std::fs::copy(path_of(dir.path(), 3), path_of(dir.path(), 5)).unwrap();
        assert!(Mark::load(dir.path(), 5, signer.verifier()).is_err(), "another segment");
        let other = Signer::new("causeway.log/aa", &Signer::generate().unwrap()).unwrap();
        assert!(Mark::load(dir.path(), 3, other.verifier()).is_err(), "another key");
    }
}
