//! Unpacks what a container proves: the message and its attachments, into a folder of its own.
//!
//! Containers may have names that lead to the same folder, whoever put them into an archive. What lies there is never overwritten, and two
//! containers are never mixed: either the folder holds just what this container does, or unpacking fails. The same one may be unpacked again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
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
    std::fs::create_dir_all(to)?;
    let fresh = match std::fs::create_dir(&folder) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let mut zip = zip::ZipArchive::new(container)?;
    let mut unpacked = BTreeSet::new();
    for index in 0..zip.len() {
        let entry = zip.by_index(index)?;
        let name = entry.name()?.into_owned();
        let digits = name.strip_prefix("attachment").unwrap_or_default();
        let is_attachment = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if name != "message.xml" && !is_attachment {
            continue;
        }
        put(&folder.join(&name), entry, fresh)?;
        unpacked.insert(name);
    }
    for there in std::fs::read_dir(&folder)? {
        let name = there?.file_name();
        if !name.to_str().is_some_and(|name| unpacked.contains(name)) {
            return Err(io::Error::other(format!("{} holds something else already", folder.display())));
        }
    }
    Ok(())
}

/// Writes an entry into a file of a fresh folder; in any other the same file has to be there.
fn put(path: &Path, entry: impl Read, fresh: bool) -> io::Result<()> {
    let mut entry = entry.take(MAX_ENTRY_BYTES + 1);
    let copied = match fresh {
        true => File::create_new(path).and_then(|mut file| io::copy(&mut entry, &mut file)),
        false => File::open(path).and_then(|there| compare(&mut entry, BufReader::new(there))),
    };
    let copied =
        copied.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    match copied > MAX_ENTRY_BYTES {
        true => {
            Err(io::Error::other(format!("{} would be larger than {MAX_ENTRY_BYTES} bytes", path.display())))
        }
        false => Ok(()),
    }
}

/// Reads both to their ends, which must be the same; how many bytes they have.
fn compare(entry: &mut impl Read, mut there: impl Read) -> io::Result<u64> {
    let (mut new, mut old, mut total) = (vec![0; 64 << 10], vec![0; 64 << 10], 0);
    loop {
        let count = entry.read(&mut new)?;
        let known = &mut old[..count.max(1)];
        let same = match count {
            0 => there.read(known)? == 0,
            _ => there.read_exact(known).is_ok() && *known == new[..count],
        };
        if !same {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "another one is there already"));
        }
        if count == 0 {
            return Ok(total);
        }
        total += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    fn zip(files: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap()
    }

    #[test]
    fn containers_are_not_mixed_whatever_they_are_called() {
        let dir = tempfile::tempdir().unwrap();
        let one: &[(&str, &[u8])] = &[("message.xml", b"one"), ("attachment1", b"with"), ("mimetype", b"x")];
        container(zip(one), "x/a.asice", dir.path()).unwrap();
        container(zip(one), "a.asice", dir.path()).unwrap();
        let others: [&[(&str, &[u8])]; 5] = [
            &[("attachment2", b"more"), ("message.xml", b"one"), ("attachment1", b"with")],
            &[("message.xml", b"two"), ("attachment1", b"with")],
            &[("message.xml", b"on"), ("attachment1", b"with")],
            &[("message.xml", b"one more"), ("attachment1", b"with")],
            &[("message.xml", b"one")],
        ];
        for (number, other) in others.into_iter().enumerate() {
            assert!(container(zip(other), "y/a.zip", dir.path()).is_err(), "{number}");
        }
        assert_eq!(std::fs::read(dir.path().join("a/message.xml")).unwrap(), b"one");
        assert_eq!(std::fs::read(dir.path().join("a/attachment1")).unwrap(), b"with");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 2);
        for name in ["..", "/", ""] {
            assert!(container(zip(one), name, dir.path()).is_err(), "{name}");
        }
    }
}
