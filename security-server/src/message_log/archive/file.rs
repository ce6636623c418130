//! One archive file: containers stored in a ZIP, `linkinginfo` at its end; encrypted where that is asked, and never in clear then.
//!
//! Everything is known of a container before it is written, so that the file grows from its beginning to its end: it is hashed,
//! encrypted and synced as it does.
use std::fs::File;
use std::io::{self, BufWriter, Cursor, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki::archive::{LINKING_INFO, Linking};
use pki::asic;
use pki::digest::{DigestAlgorithm, Hasher};
use pki::openpgp::PublicKey;
use pki::pack::{self, Head, Method, Pack};
use proto::time::UnixTime;

use super::keys::Keyring;
use super::seal::Sealer;
use super::state::{ArchiveFile, Last};
use crate::message_log::container::ContainerError;
use crate::message_log::record::Record;
use crate::message_log::store::writer::random;

/// Containers of records up to this size are made in memory.
const IN_MEMORY: u64 = 8 << 20;
/// Of the memory that containers are made in, what is kept from one to the next.
const KEPT_BYTES: usize = 256 << 10;
const PREFIX: &str = ".mlog-";
const SUFFIX: &str = ".tmp";
/// Bytes after which they are synced: one great sync at the end would hold up the commits of messages.
const SYNC_BYTES: u64 = 4 << 20;
/// Written at once.
const CHUNK_BYTES: usize = 128 << 10;
/// Longest group in a file name, which has 255 bytes at most; what tells files apart is the digest.
const MAX_GROUP_BYTES: usize = 190;

/// A file that is hashed, and synced, as it grows.
pub(super) struct Steady {
    file: File,
    hasher: Hasher,
    bytes: u64,
    synced: u64,
}

impl Steady {
    fn new(file: File) -> Self {
        Self { file, hasher: DigestAlgorithm::Sha256.hasher(), bytes: 0, synced: 0 }
    }

    /// Durable on return; its length and SHA-256.
    fn finish(self) -> io::Result<(u64, String)> {
        self.file.sync_all()?;
        Ok((self.bytes, hex::encode(self.hasher.finish().value)))
    }
}

impl Write for Steady {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.file.write(data)?;
        self.hasher.update(&data[..count]);
        self.bytes += count as u64;
        if self.bytes >= self.synced + SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.bytes;
        }
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Where the ZIP goes.
enum Out {
    Plain(Box<BufWriter<Steady>>),
    Sealed(Sealer),
}

impl Out {
    fn finish(self) -> io::Result<Steady> {
        match self {
            Self::Plain(out) => out.into_inner().map_err(io::IntoInnerError::into_error),
            Self::Sealed(out) => out.finish(),
        }
    }

    /// Nobody writes to the file any more on return.
    fn give_up(self) {
        if let Self::Sealed(out) = self {
            let _ = out.finish();
        }
    }
}

impl Write for Out {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(data),
            Self::Sealed(out) => out.write(data),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Sealed(out) => out.flush(),
        }
    }
}

/// What containers are made with, one after the other, whichever file they are for.
#[derive(Debug, Default)]
pub(super) struct Maker {
    writer: asic::Writer,
    container: Vec<u8>,
}

/// To whom a file is encrypted.
pub(super) struct Sealing {
    pub(super) keyring: Arc<Keyring>,
    pub(super) to: Vec<PublicKey>,
    pub(super) now: UnixTime,
}

/// A file being written.
pub(super) struct Writer {
    group: String,
    zip: Pack<Out>,
    sealed: bool,
    temporary: PathBuf,
    linking: Linking,
    bytes: u64,
    records: u64,
    first: u64,
    times: Option<(UnixTime, UnixTime)>,
}

impl Writer {
    /// A new file of a chain, to go on after `last`.
    pub(super) fn begin(
        dir: &Path,
        group: &str,
        last: Option<&Last>,
        sealing: Option<Sealing>,
    ) -> io::Result<Self> {
        let name = format!("{PREFIX}{:016x}{SUFFIX}", u64::from_le_bytes(random::<8>()?));
        let temporary = dir.join(name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let (sealed, file) = (sealing.is_some(), Steady::new(file));
        let out = match sealing {
            None => Out::Plain(Box::new(BufWriter::with_capacity(CHUNK_BYTES, file))),
            Some(Sealing { keyring, to, now }) => Out::Sealed(Sealer::start(file, keyring, to, now)?),
        };
        Ok(Self {
            group: group.to_owned(),
            zip: Pack::new(out),
            sealed,
            temporary,
            linking: Linking::after(last.map(|last| (last.digest.as_str(), last.file.as_str()))),
            bytes: 0,
            records: 0,
            first: u64::MAX,
            times: None,
        })
    }

    /// Of containers so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Adds the container of a record. After an error that is the record's the file is as before.
    pub(super) fn add(&mut self, record: &Record, maker: &mut Maker) -> Result<(), ContainerError> {
        let size = record.message.len() as u64 + record.attachments.iter().map(|a| a.len()).sum::<u64>();
        if size > IN_MEMORY {
            return self.add_large(record, &mut maker.writer);
        }
        maker.container.clear();
        maker.container.shrink_to(KEPT_BYTES);
        record.write_container_by(&mut maker.writer, Cursor::new(&mut maker.container))?;
        let container = &maker.container;
        let name = record.container_name();
        let digest = DigestAlgorithm::Sha512.digest(container).value;
        self.zip.put(&head(&name, record.at, pack::crc(container), container.len() as u64), container)?;
        self.added(record, &name, &digest, container.len() as u64);
        Ok(())
    }

    /// One that is too large for memory is made in a file without a name.
    fn add_large(&mut self, record: &Record, writer: &mut asic::Writer) -> Result<(), ContainerError> {
        let dir = self.temporary.parent().unwrap_or(Path::new("."));
        let mut container = crate::message_log::nameless(dir)?;
        let mut out = BufWriter::new(&mut container);
        record.write_container_by(writer, &mut out)?;
        out.flush()?;
        drop(out);
        let (mut hasher, mut crc) = (DigestAlgorithm::Sha512.hasher(), pack::Crc::default());
        let length = passed(&mut container, |data| {
            hasher.update(data);
            crc.update(data);
            Ok(())
        })?;
        let name = record.container_name();
        self.zip.begin(&head(&name, record.at, crc.finalize(), length))?;
        passed(&mut container, |data| self.zip.write_all(data))?;
        self.added(record, &name, &hasher.finish().value, length);
        Ok(())
    }

    fn added(&mut self, record: &Record, name: &str, sha512: &[u8], length: u64) {
        self.linking.add(name, sha512);
        (self.bytes, self.records) = (self.bytes + length, self.records + 1);
        self.first = self.first.min(record.id.0);
        let (from, to) = self.times.unwrap_or((record.at, record.at));
        self.times = Some((from.min(record.at), to.max(record.at)));
    }

    /// Writes the end, durable on return; the file and its last digest. `None` when no record came, and no file is left then.
    pub(super) fn finish(mut self) -> io::Result<Option<(ArchiveFile, String)>> {
        let Some((from, to)) = self.times else {
            self.discard();
            return Ok(None);
        };
        let text = self.linking.text().as_bytes();
        self.zip.put(&head(LINKING_INFO, to, pack::crc(text), text.len() as u64), text)?;
        let (bytes, sha256) = self.zip.finish("")?.finish()?.finish()?;
        let digest = self.linking.digest().to_owned();
        let temporary = self.temporary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = ArchiveFile {
            name: name(&self.group, from, to, &digest, self.sealed),
            temporary,
            placed: false,
            first: self.first,
            records: self.records,
            bytes,
            sha256,
        };
        Ok(Some((file, digest)))
    }

    /// The step failed, or there is nothing in it.
    pub(super) fn discard(self) {
        self.zip.into_inner().give_up();
        // What stays is removed at the next start.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Containers are deflated inside.
fn head(name: &str, time: UnixTime, crc: u32, length: u64) -> Head<'_> {
    Head { name, time, extended_time: false, method: Method::Stored, crc, length, packed: length }
}

/// Hands on all of a file, from its beginning; its length.
fn passed(file: &mut File, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    file.rewind()?;
    let (mut buffer, mut length) = (vec![0; CHUNK_BYTES], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(count) => {
                take(&buffer[..count])?;
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// `mlog-[group-]first-last-digest.zip[.gpg]`, times in UTC.
fn name(group: &str, from: UnixTime, to: UnixTime, digest: &str, sealed: bool) -> String {
    let unsafe_in_names = |c: char| c.is_control() || "\\<>/:|*?".contains(c);
    let mut group = group.replace(unsafe_in_names, "_");
    group.truncate(group.floor_char_boundary(MAX_GROUP_BYTES));
    if !group.is_empty() {
        group.push('-');
    }
    let time =
        |at: UnixTime| at.to_iso8601().chars().filter(char::is_ascii_digit).take(14).collect::<String>();
    let ending = if sealed { "zip.gpg" } else { "zip" };
    format!("mlog-{group}{}-{}-{}.{ending}", time(from), time(to), &digest[..digest.len().min(16)])
}

pub(super) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Gives a finished file its name; durable on return. One that has it already is left as it is.
pub(super) fn place(dir: &Path, file: &ArchiveFile) -> io::Result<()> {
    let (from, to) = (dir.join(&file.temporary), dir.join(&file.name));
    match std::fs::rename(&from, &to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && to.is_file() => {}
        outcome => outcome?,
    }
    host::files::sync_dir(dir)
}

/// Removes what a failed step has finished.
pub(super) fn discard(dir: &Path, file: &ArchiveFile) {
    let _ = std::fs::remove_file(dir.join(&file.temporary));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        let at = |text| UnixTime::from_iso8601(text).unwrap();
        let (from, to) = (at("2026-11-21T18:21:04Z"), at("2026-11-21T18:37:06.999Z"));
        let digest = "6b8b874788cfad30b510de7f";
        let plain = name("", from, to, digest, false);
        assert_eq!(plain, "mlog-20261121182104-20261121183706-6b8b874788cfad30.zip");
        assert_eq!(
            name("DEV/GOV/1/a:b", from, from, digest, true),
            "mlog-DEV_GOV_1_a_b-20261121182104-20261121182104-6b8b874788cfad30.zip.gpg"
        );
        // Codes have 255 characters each, and a file's name 255 bytes.
        for code in ["a", "ä", "€", "\u{1F600}"] {
            let name = name(&format!("DEV/GOV/1/{}", code.repeat(255)), from, to, digest, true);
            assert!((200..=255).contains(&name.len()), "{} bytes: {name}", name.len());
        }
    }
}
