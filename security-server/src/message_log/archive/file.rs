//! One archive file: containers stored in a ZIP, `linkinginfo` at its end; encrypted where that is asked, and never in clear then.
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki::archive::{LINKING_INFO, Linking};
use pki::digest::DigestAlgorithm;
use pki::openpgp::PublicKey;
use proto::time::UnixTime;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::keys::Keyring;
use super::seal::Sealer;
use super::state::{ArchiveFile, Last};
use crate::message_log::container::ContainerError;
use crate::message_log::download::dos_time;
use crate::message_log::record::Record;
use crate::message_log::store::writer::random;

/// Containers of records up to this size are made in memory.
const IN_MEMORY: u64 = 8 << 20;
const PREFIX: &str = ".mlog-";
const SUFFIX: &str = ".tmp";
/// Bytes of containers after which they are synced: one great sync at the end would hold up the commits of messages.
pub(super) const SYNC_BYTES: u64 = 4 << 20;
/// Longest group in a file name, which has 255 bytes at most; what tells files apart is the digest.
const MAX_GROUP_BYTES: usize = 190;

/// Where the ZIP goes.
enum Zip {
    Plain(ZipWriter<BufWriter<File>>),
    /// What is encrypted cannot be gone back to: its entries have their lengths behind them, and readers that do not look at the
    /// directory first need them deflated for that.
    Sealed(ZipWriter<StreamWriter<Sealer>>),
}

impl Zip {
    fn start(&mut self, name: &str, at: UnixTime, length: u64) -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .last_modified_time(dos_time(at))
            .large_file(length >= u64::from(u32::MAX));
        match self {
            Self::Plain(zip) => zip.start_file(name, options.compression_method(CompressionMethod::Stored)),
            Self::Sealed(zip) => {
                let method = options.compression_method(CompressionMethod::Deflated);
                zip.start_file(name, method.compression_level(Some(1)))
            }
        }
        .map_err(io::Error::from)
    }

    /// Puts on the disk what was written; what is encrypted gets there by itself ([`Sealer`]).
    fn sync(&self) -> io::Result<()> {
        match self {
            Self::Plain(zip) => zip.get_ref().map_or(Ok(()), |out| out.get_ref().sync_data()),
            Self::Sealed(_) => Ok(()),
        }
    }

    fn finish(self) -> io::Result<File> {
        match self {
            Self::Plain(zip) => zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error),
            Self::Sealed(zip) => zip.finish()?.into_inner().finish(),
        }
    }

    /// Nobody writes to the file any more on return.
    fn give_up(self) {
        if let Self::Sealed(zip) = self {
            let _ = zip.finish().map(|out| out.into_inner().finish());
        }
    }
}

impl Write for Zip {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(zip) => zip.write(data),
            Self::Sealed(zip) => zip.write(data),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(zip) => zip.flush(),
            Self::Sealed(zip) => zip.flush(),
        }
    }
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
    zip: Zip,
    sealed: bool,
    temporary: PathBuf,
    linking: Linking,
    bytes: u64,
    /// As many of them are on the disk, about.
    synced: u64,
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
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&temporary)?;
        let sealed = sealing.is_some();
        let zip = match sealing {
            None => Zip::Plain(ZipWriter::new(BufWriter::new(file))),
            Some(Sealing { keyring, to, now }) => {
                Zip::Sealed(ZipWriter::new_stream(Sealer::start(file, keyring, to, now)?))
            }
        };
        Ok(Self {
            group: group.to_owned(),
            zip,
            sealed,
            temporary,
            linking: Linking::after(last.map(|last| (last.digest.as_str(), last.file.as_str()))),
            bytes: 0,
            synced: 0,
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
    pub(super) fn add(&mut self, record: &Record) -> Result<(), ContainerError> {
        let size = record.message.len() as u64 + record.attachments.iter().map(|a| a.len()).sum::<u64>();
        if size <= IN_MEMORY {
            let mut container = Cursor::new(Vec::new());
            record.write_container(&mut container)?;
            let length = container.get_ref().len() as u64;
            container.set_position(0);
            return Ok(self.put(record, container, length)?);
        }
        let dir = self.temporary.parent().unwrap_or(Path::new("."));
        let mut container = crate::message_log::nameless(dir)?;
        let mut out = BufWriter::new(&mut container);
        record.write_container(&mut out)?;
        out.flush()?;
        drop(out);
        let length = container.stream_position()?.max(container.metadata()?.len());
        container.rewind()?;
        Ok(self.put(record, BufReader::new(container), length)?)
    }

    fn put(&mut self, record: &Record, mut container: impl Read, length: u64) -> io::Result<()> {
        let name = record.container_name();
        self.zip.start(&name, record.at, length)?;
        let mut hasher = DigestAlgorithm::Sha512.hasher();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = container.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            self.zip.write_all(&buffer[..count])?;
        }
        self.linking.add(&name, &hasher.finish().value);
        (self.bytes, self.records) = (self.bytes + length, self.records + 1);
        if self.bytes >= self.synced + SYNC_BYTES {
            self.zip.sync()?;
            self.synced = self.bytes;
        }
        self.first = self.first.min(record.id.0);
        let (from, to) = self.times.unwrap_or((record.at, record.at));
        self.times = Some((from.min(record.at), to.max(record.at)));
        Ok(())
    }

    /// Writes the end, durable on return; the file and its last digest. `None` when no record came, and no file is left then.
    pub(super) fn finish(mut self) -> io::Result<Option<(ArchiveFile, String)>> {
        let Some((from, to)) = self.times else {
            self.discard();
            return Ok(None);
        };
        self.zip.start(LINKING_INFO, to, 0)?;
        self.zip.write_all(self.linking.text().as_bytes())?;
        let mut file = self.zip.finish()?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        let sha256 = sha256(&mut file)?;
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
        self.zip.give_up();
        // What stays is removed at the next start.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn sha256(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let (mut hasher, mut buffer) = (DigestAlgorithm::Sha256.hasher(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finish().value)),
            count => hasher.update(&buffer[..count]),
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
