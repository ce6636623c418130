//! A log held against heads that others kept: whether it is still the one that was signed, and if not, from where on it is another.
//!
//! A head that was kept outside binds every record before it. A log that has fewer records was cut off; one whose tree has another
//! root was rewritten. The largest head that still fits says how far the log is what it was.
use std::path::{Path, PathBuf};

use pki::note::{Checkpoint, Verifier};

use super::offline::{Offline, OfflineError};
use super::tree::{self, Tree};

/// Largest head.
const MAX_HEAD_BYTES: u64 = 16 << 10;
/// Most files of a folder that are looked at, and folders below it.
const MAX_FILES: usize = 1_000_000;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldReport {
    /// Heads that fit.
    pub hold: u64,
    /// The newest of them, by its records.
    pub sound_to: u64,
    /// Heads of other logs, which say nothing.
    pub others: u64,
    /// What does not hold, in words.
    pub problems: Vec<String>,
}

impl Offline {
    /// Holds the log against heads that lie in `places`: files, or folders with `*.head` in them and one level below.
    /// `key` is the log's own as it was handed over; otherwise that in the folder is believed.
    ///
    /// # Errors
    /// The disk; what does not fit is a result.
    pub fn verify_held(
        &self,
        places: &[PathBuf],
        key: Option<&Verifier>,
    ) -> Result<HeldReport, OfflineError> {
        let own = tree::public_key(self.dir()).ok();
        let key = key.or(own.as_ref()).ok_or_else(|| self.failed("there is no key of the log".into()))?;
        let mut tree = Tree::read(self.dir()).map_err(|e| self.failed(format!("tree: {e}")))?;
        let (mut report, mut bad) = (HeldReport::default(), Vec::new());
        for place in places {
            let files = files(place).map_err(|e| self.failed(format!("{}: {e}", place.display())))?;
            if files.is_empty() {
                report.problems.push(format!("{}: there is no head in it", place.display()));
            }
            for file in files {
                match judge(&mut tree, &file, key)
                    .map_err(|e| self.failed(format!("{}: {e}", file.display())))?
                {
                    Judged::Fits(size) => {
                        report.hold += 1;
                        report.sound_to = report.sound_to.max(size);
                    }
                    Judged::Other => report.others += 1,
                    Judged::Bad(size, why) => bad.push((size, format!("{}: {why}", file.display()))),
                }
            }
        }
        bad.sort();
        let from = report.sound_to;
        if let Some((size, _)) = bad.first().filter(|(size, _)| *size > from) {
            report.problems.push(format!(
                "records {} to {size} are not, or not all, the ones that were signed{}",
                from + 1,
                if from > 0 { format!("; those up to {from} are") } else { String::new() }
            ));
        }
        report.problems.extend(bad.into_iter().map(|(_, why)| why));
        if report.hold == 0 && report.problems.is_empty() {
            report.problems.push("none of the heads is of this log".to_owned());
        }
        Ok(report)
    }
}

enum Judged {
    Fits(u64),
    Other,
    Bad(u64, String),
}

fn judge(tree: &mut Tree, file: &Path, key: &Verifier) -> std::io::Result<Judged> {
    if std::fs::metadata(file)?.len() > MAX_HEAD_BYTES {
        return Ok(Judged::Bad(0, "it is too large for a head".into()));
    }
    let note = String::from_utf8_lossy(&std::fs::read(file)?).into_owned();
    let origin = note.lines().next().unwrap_or_default();
    if origin != key.name() {
        return Ok(Judged::Other);
    }
    let head = key.open(&note).map_err(|e| e.to_string());
    let head = match head.and_then(|text| Checkpoint::parse(text).map_err(|e| e.to_string())) {
        Ok(head) => head,
        Err(why) => return Ok(Judged::Bad(0, why)),
    };
    let size = head.size;
    if size > tree.size() {
        let why = format!(
            "the log had {size} records when this head was signed and has {}: it was cut off",
            tree.size()
        );
        return Ok(Judged::Bad(size, why));
    }
    match tree.root(size)? == head.root {
        true => Ok(Judged::Fits(size)),
        false => Ok(Judged::Bad(
            size,
            format!("the first {size} records are not those that were signed: the log was rewritten"),
        )),
    }
}

/// A file itself; of a folder the heads in it and one level below, in the order of names.
fn files(place: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(place)?.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let (mut found, mut below) = (Vec::new(), Vec::new());
    let mut take = |folder: &Path, below: Option<&mut Vec<PathBuf>>| -> std::io::Result<()> {
        let mut below = below;
        for entry in std::fs::read_dir(folder)?.take(MAX_FILES) {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if let Some(below) = below.as_deref_mut() {
                    below.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "head") {
                found.push(path);
            }
        }
        Ok(())
    };
    take(place, Some(&mut below))?;
    for folder in below {
        take(&folder, None)?;
    }
    found.sort();
    Ok(found)
}
