//! Unpacks what a container proves: the message and its attachments, into a folder of its own.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

/// Most bytes of one entry.
const MAX_ENTRY_BYTES: u64 = 8 << 30;

/// Writes message and attachments of a verified container to `to/<name without ending>/`.
pub(super) fn container(container: impl Read + Seek, name: &str, to: &Path) -> io::Result<()> {
    let stem = Path::new(name).file_stem().unwrap_or_default();
    if stem.is_empty() || stem == ".." {
        return Err(io::Error::other("its name cannot be a folder's"));
    }
    let folder = to.join(stem);
    std::fs::create_dir_all(&folder)?;
    let mut zip = zip::ZipArchive::new(container)?;
    for index in 0..zip.len() {
        let entry = zip.by_index(index)?;
        let name = entry.name()?.into_owned();
        let digits = name.strip_prefix("attachment").unwrap_or_default();
        let is_attachment = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if name != "message.xml" && !is_attachment {
            continue;
        }
        let mut file = File::create(folder.join(&name))?;
        let copied = io::copy(&mut entry.take(MAX_ENTRY_BYTES + 1), &mut file)?;
        if copied > MAX_ENTRY_BYTES {
            return Err(io::Error::other(format!("{name} is larger than {MAX_ENTRY_BYTES} bytes")));
        }
    }
    Ok(())
}
