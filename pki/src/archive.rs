//! Archive files of the message log: containers in a ZIP, and the `linkinginfo` that chains them within a file and from file to file.
//!
//! Line 1 of `linkinginfo` names the digest and the file name of the archive before (`-` for the first of its group) and the hash
//! algorithm, SHA-512 in files of ours; each further line a container with its digest. Digest n = hex H(hex digest n−1 ‖ hex H(container)); digest 0 is that of
//! line 1, or nothing. Removing, adding or changing a container breaks every digest behind it, and those of all later files.
//!
//! [`Linking`] writes it; [`Archive::open`] reads a file and checks its chain in [`Archive::next`], one container at a time. What a
//! container proves is not judged here (`asic`).
use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek};

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};

use crate::digest::{DigestAlgorithm, Hasher};

/// The entry with the chain.
pub const LINKING_INFO: &str = "linkinginfo";
/// The algorithm of files that are written here, and its name in them.
const ALGORITHM: (DigestAlgorithm, &str) = (DigestAlgorithm::Sha512, "SHA-512");
/// Largest `linkinginfo`: some 200 000 containers.
const MAX_LINKING_BYTES: u64 = 64 << 20;
/// Most containers of one archive.
const MAX_CONTAINERS: usize = 200_000;
/// Largest container, inflated: its attachments and what else is in it.
const MAX_CONTAINER_BYTES: u64 = 9 << 30;

/// A chain that is being written.
#[derive(Clone, Debug)]
pub struct Linking {
    digest: String,
    text: String,
}

impl Linking {
    /// Continues after an archive with this last digest and file name, or begins.
    pub fn after(previous: Option<(&str, &str)>) -> Self {
        let (digest, name) = previous.unwrap_or(("-", "-"));
        let text = format!("{digest} {name} {}\n", ALGORITHM.1);
        Self { digest: previous.map(|(digest, _)| digest.to_owned()).unwrap_or_default(), text }
    }

    /// The next container: its name in the archive and its SHA-512.
    pub fn add(&mut self, name: &str, sha512: &[u8]) {
        self.digest = next(ALGORITHM.0, &self.digest, sha512);
        self.text.push_str(&format!("{} {name}\n", self.digest));
    }

    /// The last digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The content of `linkinginfo`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn next(algorithm: DigestAlgorithm, before: &str, container: &[u8]) -> String {
    let text = format!("{before}{}", hex::encode(container));
    hex::encode(algorithm.digest(text.as_bytes()).value)
}

/// Why an archive is not one link of its chain.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No ZIP, or a damaged one.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Without it nothing can be told.
    #[error("there is no linkinginfo in it")]
    NoLinkingInfo,
    /// Not lines as they must be.
    #[error("line {0} of its linkinginfo is not as it must be")]
    Line(usize),
    /// Digests of another algorithm.
    #[error("its linkinginfo uses {0}; SHA-256, SHA-384 and SHA-512 are accepted")]
    Algorithm(String),
    /// Nothing to prove.
    #[error("there is no container in it")]
    Empty,
    /// A file that the chain does not name, or twice.
    #[error("{0} is in the archive and not in its linkinginfo")]
    Superfluous(String),
    /// A file that was taken away.
    #[error("{0} is in the linkinginfo and not in the archive")]
    Missing(String),
    /// A container was changed, or one before it.
    #[error("{0} is not the one that was archived, or one before it is not")]
    Changed(String),
    /// Another archive should stand before.
    #[error("it continues after digest {found}, expected was {expected}")]
    Previous {
        /// In the file; `-` for the first.
        found: String,
        /// Where the archive before ended.
        expected: String,
    },
    /// The bound.
    #[error("there are more than {MAX_CONTAINERS} files in it")]
    TooMany,
    /// The bound of one container.
    #[error("{0} is larger than {MAX_CONTAINER_BYTES} bytes")]
    TooLarge(String),
}

/// An archive that is being checked.
pub struct Archive<R> {
    zip: ZipArchive<R>,
    algorithm: DigestAlgorithm,
    /// Name and digest in the order of the chain.
    lines: Vec<(String, String)>,
    /// By name.
    places: HashMap<String, usize>,
    digest: String,
    position: usize,
    previous: Option<(String, String)>,
    max_container_bytes: u64,
}

impl<R> std::fmt::Debug for Archive<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the chain and checks that it names exactly the files that are there.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn open(file: R) -> Result<Self, ArchiveError> {
        let unreadable = |e: zip::result::ZipError| ArchiveError::Unreadable(e.to_string());
        // What stands before a ZIP would be in no digest.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut zip = ZipArchive::with_config(config, file).map_err(unreadable)?;
        if zip.len() > MAX_CONTAINERS {
            return Err(ArchiveError::TooMany);
        }
        // Whoever reads it from its start or takes another of two files of one name must not find anything else.
        zip.validate_header_consistency().map_err(unreadable)?;
        let (mut places, mut linking) = (HashMap::new(), None);
        for index in 0..zip.len() {
            let entry = zip.by_index(index).map_err(unreadable)?;
            let name = entry.name().map_err(unreadable)?.into_owned();
            match name == LINKING_INFO {
                true => linking = Some(read_text(entry)?),
                false => drop(places.insert(name, index)),
            }
        }
        let Parsed { algorithm, previous, lines } = parse(&linking.ok_or(ArchiveError::NoLinkingInfo)?)?;
        if places.is_empty() {
            return Err(ArchiveError::Empty);
        }
        check_names(&lines, &places)?;
        let digest = previous.as_ref().map(|(digest, _)| digest.clone()).unwrap_or_default();
        let max_container_bytes = MAX_CONTAINER_BYTES;
        Ok(Self { zip, algorithm, lines, places, digest, position: 0, previous, max_container_bytes })
    }

    /// Digest and file name of the archive before; `None` for the first of its group.
    pub fn previous(&self) -> Option<(&str, &str)> {
        self.previous.as_ref().map(|(digest, name)| (digest.as_str(), name.as_str()))
    }

    /// The last digest as its linkinginfo has it; proven once all containers were checked.
    pub fn claimed_digest(&self) -> &str {
        self.lines.last().map_or("", |(_, digest)| digest.as_str())
    }

    /// How many containers it holds.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// An archive without containers is none, so this is always `false`.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The archive before ended with `digest`; `None`: there is none before.
    ///
    /// # Errors
    /// [`ArchiveError::Previous`].
    pub fn check_previous(&self, digest: Option<&str>) -> Result<(), ArchiveError> {
        let found = self.previous.as_ref().map(|(digest, _)| digest.as_str());
        if found.unwrap_or_default().eq_ignore_ascii_case(digest.unwrap_or_default()) {
            return Ok(());
        }
        let text = |digest: Option<&str>| digest.unwrap_or("-").to_owned();
        Err(ArchiveError::Previous { found: text(found), expected: text(digest) })
    }

    /// The next container, copied to `out`: its name, once its digest is found to be the chain's. `None` behind the last.
    ///
    /// # Errors
    /// [`ArchiveError::Changed`] and what reading says.
    pub fn next(&mut self, mut out: impl io::Write) -> Result<Option<String>, ArchiveError> {
        let Some((name, expected)) = self.lines.get(self.position).cloned() else { return Ok(None) };
        let index = *self.places.get(&name).ok_or_else(|| ArchiveError::Missing(name.clone()))?;
        let unreadable = |e: String| ArchiveError::Unreadable(format!("{name}: {e}"));
        let entry = self.zip.by_index(index).map_err(|e| unreadable(e.to_string()))?;
        let mut hashed = Hashed { hasher: self.algorithm.hasher(), out: &mut out };
        let copied = io::copy(&mut entry.take(self.max_container_bytes + 1), &mut hashed);
        if copied.map_err(|e| unreadable(e.to_string()))? > self.max_container_bytes {
            return Err(ArchiveError::TooLarge(name));
        }
        let digest = next(self.algorithm, &self.digest, &hashed.hasher.finish().value);
        if !digest.eq_ignore_ascii_case(&expected) {
            return Err(ArchiveError::Changed(name));
        }
        (self.digest, self.position) = (digest, self.position + 1);
        Ok(Some(name))
    }

    /// The digest of the last container that was checked: what the next archive continues after.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

struct Hashed<'a, W> {
    hasher: Hasher,
    out: &'a mut W,
}

impl<W: io::Write> io::Write for Hashed<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.hasher.update(data);
        self.out.write_all(data)?;
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn read_text(entry: impl Read) -> Result<String, ArchiveError> {
    let mut text = String::new();
    let read = entry.take(MAX_LINKING_BYTES + 1).read_to_string(&mut text);
    read.map_err(|e| ArchiveError::Unreadable(format!("{LINKING_INFO}: {e}")))?;
    if text.len() as u64 > MAX_LINKING_BYTES {
        return Err(ArchiveError::TooMany);
    }
    Ok(text)
}

/// What a `linkinginfo` says.
struct Parsed {
    algorithm: DigestAlgorithm,
    previous: Option<(String, String)>,
    lines: Vec<(String, String)>,
}

fn parse(text: &str) -> Result<Parsed, ArchiveError> {
    let mut lines = text.lines();
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [digest, name, algorithm] = first.as_slice() else { return Err(ArchiveError::Line(1)) };
    let known = DigestAlgorithm::from_name(algorithm).and_then(DigestAlgorithm::for_signatures);
    let algorithm = known.ok_or_else(|| ArchiveError::Algorithm((*algorithm).to_owned()))?;
    let length = 2 * algorithm.ring().output_len();
    let is_digest = |text: &str| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let previous = match (*digest, *name) {
        ("-", "-") => None,
        (digest, name) if is_digest(digest) => Some((digest.to_owned(), name.to_owned())),
        _ => return Err(ArchiveError::Line(1)),
    };
    let chain = lines.zip(2..).map(|(line, number)| match line.split_once(' ') {
        Some((digest, name)) if is_digest(digest) && !name.is_empty() => {
            Ok((name.to_owned(), digest.to_owned()))
        }
        _ => Err(ArchiveError::Line(number)),
    });
    Ok(Parsed { algorithm, previous, lines: chain.collect::<Result<_, _>>()? })
}

fn check_names(lines: &[(String, String)], places: &HashMap<String, usize>) -> Result<(), ArchiveError> {
    let mut named = HashSet::new();
    for (number, (name, _)) in (2..).zip(lines) {
        if !named.insert(name.as_str()) {
            return Err(ArchiveError::Line(number));
        }
        if !places.contains_key(name) {
            return Err(ArchiveError::Missing(name.clone()));
        }
    }
    match places.keys().filter(|name| !named.contains(name.as_str())).min() {
        Some(extra) => Err(ArchiveError::Superfluous(extra.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip(files: &[(&str, &str)]) -> Cursor<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        let mut done = zip.finish().unwrap();
        done.set_position(0);
        done
    }

    fn linking(files: &[(&str, &str)], previous: Option<(&str, &str)>) -> Linking {
        let mut linking = Linking::after(previous);
        for (name, content) in files {
            linking.add(name, &DigestAlgorithm::Sha512.digest(content.as_bytes()).value);
        }
        linking
    }

    fn walk(archive: Cursor<Vec<u8>>) -> Result<String, ArchiveError> {
        let mut archive = Archive::open(archive)?;
        while archive.next(io::sink())?.is_some() {}
        Ok(archive.digest().to_owned())
    }

    #[test]
    fn archives_follow_each_other() {
        let first = linking(&[("a", "1"), ("b", "2")], None);
        let end = walk(zip(&[("a", "1"), ("b", "2"), (LINKING_INFO, first.text())])).unwrap();
        assert_eq!(end, first.digest());
        let second = linking(&[("c", "3")], Some((&end, "first.zip")));
        let archive = Archive::open(zip(&[("c", "3"), (LINKING_INFO, second.text())])).unwrap();
        assert_eq!(archive.previous(), Some((end.as_str(), "first.zip")));
        archive.check_previous(Some(&end)).unwrap();
        assert!(matches!(archive.check_previous(None), Err(ArchiveError::Previous { .. })));
    }

    #[test]
    fn whatever_was_changed_shows() {
        let good = linking(&[("a", "1"), ("b", "2")], None).text().to_owned();
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, fn(&ArchiveError) -> bool);
        let cases: [Case<'_>; 7] = [
            (
                "changed",
                &[("a", "x"), ("b", "2")],
                &good,
                |e| matches!(e, ArchiveError::Changed(n) if n == "a"),
            ),
            ("removed", &[("a", "1")], &good, |e| matches!(e, ArchiveError::Missing(n) if n == "b")),
            (
                "added",
                &[("a", "1"), ("b", "2"), ("c", "")],
                &good,
                |e| matches!(e, ArchiveError::Superfluous(n) if n == "c"),
            ),
            ("empty", &[], "- - SHA-512\n", |e| matches!(e, ArchiveError::Empty)),
            ("algorithm", &[("a", "1")], "- - SHA-1\n", |e| matches!(e, ArchiveError::Algorithm(_))),
            ("half a head", &[("a", "1")], "- SHA-512\n", |e| matches!(e, ArchiveError::Line(1))),
            ("a line", &[("a", "1")], "- - SHA-512\nzz a\n", |e| matches!(e, ArchiveError::Line(2))),
        ];
        for (name, files, text, expected) in cases {
            let mut files = files.to_vec();
            files.push((LINKING_INFO, text));
            let error = walk(zip(&files)).unwrap_err();
            assert!(expected(&error), "{name}: {error:?}");
        }
        assert!(matches!(walk(zip(&[("a", "1")])), Err(ArchiveError::NoLinkingInfo)));
        assert!(matches!(walk(Cursor::new(b"no zip".to_vec())), Err(ArchiveError::Unreadable(_))));
    }

    /// A file that not every reader finds: twice under one name, or in no directory.
    #[test]
    fn there_is_one_way_to_read_it() {
        let text = linking(&[("a1", "1")], None).text().to_owned();
        let renamed = |bytes: Vec<u8>, from: &[u8; 2]| -> Vec<u8> {
            let at: Vec<usize> = (0..bytes.len() - 1).filter(|at| bytes[*at..*at + 2] == *from).collect();
            let mut bytes = bytes;
            at.into_iter().for_each(|at| bytes[at..at + 2].copy_from_slice(b"a1"));
            bytes
        };
        for files in [[("zz", "evil"), ("a1", "1")], [("a1", "1"), ("zz", "evil")]] {
            let whole = zip(&[files[0], files[1], (LINKING_INFO, &text)]);
            let twice = walk(Cursor::new(renamed(whole.into_inner(), b"zz")));
            assert!(matches!(twice, Err(ArchiveError::Unreadable(_))), "{twice:?}");
        }
        // What stands between the files and the directory is in no directory.
        let good = zip(&[("a1", "1"), (LINKING_INFO, &text)]).into_inner();
        let hidden = zip(&[("b1", "evil")]).into_inner();
        let local = hidden.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        let directory = good.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        let mut with = [&good[..directory], &hidden[..local], &good[directory..]].concat();
        let end = with.len() - 22;
        with[end + 16..end + 20].copy_from_slice(&u32::try_from(directory + local).unwrap().to_le_bytes());
        let found = walk(Cursor::new(with));
        assert!(matches!(found, Err(ArchiveError::Unreadable(_))), "{found:?}");
    }

    #[test]
    fn nothing_stands_before_it_and_no_container_inflates_without_bound() {
        let text = linking(&[("a", "12")], None).text().to_owned();
        let whole = zip(&[("a", "12"), (LINKING_INFO, &text)]);
        let shifted = [b"#!/bin/sh\n".as_slice(), whole.get_ref()].concat();
        assert!(matches!(walk(Cursor::new(shifted)), Err(ArchiveError::Unreadable(_))));

        let mut archive = Archive::open(whole).unwrap();
        archive.max_container_bytes = 1;
        let mut out = Vec::new();
        assert!(matches!(archive.next(&mut out), Err(ArchiveError::TooLarge(name)) if name == "a"));
        archive.max_container_bytes = 2;
        assert_eq!(archive.next(&mut out).unwrap().as_deref(), Some("a"));
    }
}
