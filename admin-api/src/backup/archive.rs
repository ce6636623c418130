//! The file of a backup: a ZIP in an OpenPGP literal data packet [RFC 9580 §5.9], since `.gpg` is what scripts name backups.
//!
//! ```text
//! CB FF nnnnnnnn 62 13 "causeway-backup.zip" tttttttt   packet: length of the rest (big-endian), binary, name, time
//! ZIP: <paths of the data directory> ... manifest.json  every file, deflated; then what they are
//!      seal                                             HMAC-SHA-256 of manifest.json in hex, under the server's own secret
//! ```
//!
//! `gpg -d FILE > backup.zip` takes it apart. The manifest names program, role, format and owner of the data, the time, and path, size and
//! SHA-256 of every file; a file that it does not name, or names otherwise, makes the backup worthless as a whole. Reading is bounded
//! by [`Limits`] before anything is inflated. Not here: which paths a server takes, and where they go.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use pki::digest::DigestAlgorithm;
use pki::mac::MacKey;
use proto::time::UnixTime;
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The form of the manifest that is written and read.
const FORMAT: u32 = 1;
/// A literal data packet whose length is the next four bytes.
const PACKET: [u8; 2] = [0xCB, 0xFF];
const NAME: &[u8] = b"causeway-backup.zip";
/// Packet head up to the ZIP: tag and length, mode, length of the name, name, time.
const HEAD: u64 = 2 + 4 + 1 + 1 + NAME.len() as u64 + 4;
const MANIFEST: &str = "manifest.json";
const SEAL: &str = "seal";
const MAX_MANIFEST_BYTES: u64 = 8 << 20;
const MAX_PATH_BYTES: usize = 512;

/// Bounds of a backup.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files, inflated.
    pub bytes: u64,
    /// Files.
    pub files: usize,
}

/// Whose data it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Version of the program that wrote it.
    pub program: String,
    /// Kind of server.
    pub role: String,
    /// Form of the data directory.
    pub data_format: u32,
    /// Identifier of the security server, or of the instance; none of a server that is nobody's yet.
    pub owner: Option<String>,
    /// ISO 8601.
    pub created_at: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the data directory.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// In hex.
    pub sha256: String,
}

/// What is in a backup. **Stored type.**
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose data it is.
    #[serde(flatten)]
    pub about: About,
    /// Every file.
    pub files: Vec<Entry>,
}

/// A file that goes into a backup.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) content: Content,
}

/// Where its bytes are.
#[derive(Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// Why a backup cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No backup of this program.
    #[error("it is no backup of this kind of server software")]
    NotOurs,
    /// Damaged outside of its files.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Of another form.
    #[error("its form is {0}, this program reads {FORMAT}: install a newer one")]
    Format(u32),
    /// A path that leads elsewhere.
    #[error("{0:?} is no path of a data directory")]
    Path(String),
    /// Not as the manifest says.
    #[error("{0} is not the file that was backed up")]
    Different(String),
    /// Over the bound of bytes.
    #[error("it holds more than {0} bytes (backup.max-size)")]
    TooLarge(u64),
    /// Over the bound of files.
    #[error("it holds more than {0} files (backup.max-files)")]
    TooMany(usize),
    /// Disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<zip::result::ZipError> for ArchiveError {
    fn from(error: zip::result::ZipError) -> Self {
        match error {
            zip::result::ZipError::Io(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Writes a backup into an empty file, durable on return; gives its manifest, whose digests are of the bytes that were written.
pub(super) fn write(
    file: &mut File,
    about: About,
    at: UnixTime,
    sources: Vec<Source>,
    key: &MacKey,
    limits: Limits,
) -> Result<Manifest, ArchiveError> {
    if sources.len() > limits.files {
        return Err(ArchiveError::TooMany(limits.files));
    }
    file.write_all(&head(0, at))?;
    let mut zip = ZipWriter::new(BufWriter::new(Within(&mut *file)));
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).unix_permissions(0o600);
    let (mut files, mut left) = (Vec::new(), limits.bytes);
    for source in sources {
        check_path(&source.path)?;
        zip.start_file(source.path.as_str(), options)?;
        // One byte more than is allowed, so that too much is noticed.
        let copied = match &source.content {
            Content::Bytes(bytes) => copy(&mut bytes.as_slice().take(left + 1), &mut zip)?,
            Content::File(path) => copy(&mut File::open(path)?.take(left + 1), &mut zip)?,
        };
        let (size, sha256) = copied;
        left = left.checked_sub(size).ok_or(ArchiveError::TooLarge(limits.bytes))?;
        files.push(Entry { path: source.path, size, sha256 });
    }
    let manifest = Manifest { format: FORMAT, about, files };
    let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
    zip.start_file(MANIFEST, options)?;
    zip.write_all(&text)?;
    zip.start_file(SEAL, options)?;
    zip.write_all(hex::encode(key.code(&text)).as_bytes())?;
    zip.finish()?.flush()?;

    let length = file.seek(SeekFrom::End(0))? - 6;
    let length = u32::try_from(length).map_err(|_| ArchiveError::TooLarge(u64::from(u32::MAX)))?;
    file.rewind()?;
    file.write_all(&head(length, at))?;
    file.sync_all()?;
    Ok(manifest)
}

fn head(length: u32, at: UnixTime) -> Vec<u8> {
    let mut head = PACKET.to_vec();
    head.extend_from_slice(&length.to_be_bytes());
    head.extend_from_slice(&[b'b', NAME.len() as u8]);
    head.extend_from_slice(NAME);
    head.extend_from_slice(&u32::try_from(at.as_secs()).unwrap_or(0).to_be_bytes());
    head
}

/// Whether bytes begin as a backup of ours does, sound or not.
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    let name = bytes.get(8..8 + NAME.len());
    bytes.starts_with(&PACKET) && name == Some(NAME)
}

/// A backup that was opened: its packet, its ZIP and its manifest are sound; its files are judged by [`Self::unpack`].
pub(super) struct Archive {
    zip: ZipArchive<BufReader<Within<File>>>,
    manifest: Manifest,
    text: Vec<u8>,
    seal: Vec<u8>,
}

impl Archive {
    pub(super) fn open(mut file: File, limits: Limits) -> Result<Self, ArchiveError> {
        let mut found = Vec::new();
        Read::by_ref(&mut file).take(HEAD).read_to_end(&mut found)?;
        if !is_ours(&found) {
            return Err(ArchiveError::NotOurs);
        }
        let length = file.metadata()?.len().checked_sub(6).and_then(|length| u32::try_from(length).ok());
        if found.len() as u64 != HEAD || length.is_none_or(|length| found[2..6] != length.to_be_bytes()) {
            return Err(ArchiveError::Damaged("its length is another".into()));
        }
        let mut zip = ZipArchive::new(BufReader::new(Within(file)))?;
        if zip.len() > limits.files.saturating_add(2) {
            return Err(ArchiveError::TooMany(limits.files));
        }
        let text = small(&mut zip, MANIFEST)?;
        let seal = hex::decode(small(&mut zip, SEAL)?).unwrap_or_default();
        let manifest = read_manifest(&text)?;
        if manifest.files.len() + 2 != zip.len() {
            return Err(ArchiveError::Damaged("it holds other files than it says".into()));
        }
        let total = manifest.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size));
        if total.is_none_or(|total| total > limits.bytes) {
            return Err(ArchiveError::TooLarge(limits.bytes));
        }
        let mut named = HashSet::new();
        for file in &manifest.files {
            check_path(&file.path)?;
            if !named.insert(&file.path) {
                return Err(ArchiveError::Damaged(format!("it names {} twice", file.path)));
            }
        }
        Ok(Self { zip, manifest, text, seal })
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Sealed by a server with this secret.
    pub(super) fn is_sealed_by(&self, key: &MacKey) -> bool {
        key.is_of(&self.text, &self.seal)
    }

    /// Inflates every file and compares it with the manifest; writes it into `folder` where one is given.
    pub(super) fn unpack(&mut self, folder: Option<&Path>) -> Result<(), ArchiveError> {
        for entry in &self.manifest.files {
            let mut packed = self.zip.by_name(&entry.path)?.take(entry.size + 1);
            let found = match folder {
                Some(folder) => {
                    let mut file = create(&folder.join(&entry.path))?;
                    let found = copy(&mut packed, &mut file)?;
                    file.sync_all()?;
                    found
                }
                None => copy(&mut packed, &mut io::sink())?,
            };
            if found != (entry.size, entry.sha256.clone()) {
                return Err(ArchiveError::Different(entry.path.clone()));
            }
        }
        Ok(())
    }
}

fn read_manifest(text: &[u8]) -> Result<Manifest, ArchiveError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let damaged = |error: serde_json::Error| ArchiveError::Damaged(format!("{MANIFEST}: {error}"));
    let Version { format } = serde_json::from_slice(text).map_err(damaged)?;
    if format != FORMAT {
        return Err(ArchiveError::Format(format));
    }
    serde_json::from_slice(text).map_err(damaged)
}

fn small(zip: &mut ZipArchive<BufReader<Within<File>>>, name: &str) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    zip.by_name(name)?.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(ArchiveError::Damaged(format!("{name} is too large")));
    }
    Ok(bytes)
}

/// Copies to the end; gives the number of bytes and their SHA-256 in hex.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let (mut size, mut hasher) = (0, DigestAlgorithm::Sha256.hasher());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok((size, hex::encode(hasher.finish().value)));
        }
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

/// SHA-256 of a file in hex.
pub(super) fn digest_of(path: &Path) -> io::Result<String> {
    copy(&mut File::open(path)?, &mut io::sink()).map(|(_, sha256)| sha256)
}

/// A file that is not there yet, for its owner alone, and its folders.
fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Names of files and folders, of plain characters, relative, without steps up or hidden files.
fn check_path(path: &str) -> Result<(), ArchiveError> {
    let plain = |name: &str| {
        !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let components = Path::new(path).components();
    let sound = path.len() <= MAX_PATH_BYTES
        && path.split('/').all(|name| !name.is_empty() && plain(name))
        && components.into_iter().all(|each| matches!(each, Component::Normal(_)))
        && ![MANIFEST, SEAL].contains(&path);
    if sound { Ok(()) } else { Err(ArchiveError::Path(path.to_owned())) }
}

/// The ZIP within the packet: positions count from its first byte.
struct Within<F>(F);

impl<F: Read> Read for Within<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<F: Write> Write for Within<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<F: Seek> Seek for Within<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at.saturating_add(HEAD)),
            other => other,
        };
        self.0.seek(to)?.checked_sub(HEAD).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1000, files: 3 };

    fn key() -> MacKey {
        MacKey::new(&[7; 32])
    }

    fn about() -> About {
        let text = |text: &str| text.to_owned();
        About {
            program: text("0"),
            role: text("security-server"),
            data_format: 1,
            owner: Some(text("SERVER:EE/GOV/1/ss1")),
            created_at: text("2026-11-22T06:00:00.000Z"),
        }
    }

    fn source(path: &str, bytes: &[u8]) -> Source {
        Source { path: path.into(), content: Content::Bytes(bytes.to_vec()) }
    }

    fn written(sources: Vec<Source>) -> Result<(Vec<u8>, Manifest), ArchiveError> {
        let mut file = tempfile::tempfile().unwrap();
        let manifest = write(&mut file, about(), UnixTime(0), sources, &key(), LIMITS)?;
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        Ok((bytes, manifest))
    }

    fn opened(bytes: &[u8]) -> Result<Archive, ArchiveError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Archive::open(file, LIMITS)
    }

    fn sample() -> Vec<u8> {
        written(vec![source("state/snapshot", &[1; 400]), source("keys/token.json", b"{}")]).unwrap().0
    }

    #[test]
    fn what_was_written_is_unpacked_and_its_seal_is_one_secret_s() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = opened(&sample()).unwrap();
        assert_eq!(archive.manifest().about, about());
        assert!(archive.is_sealed_by(&key()) && !archive.is_sealed_by(&MacKey::new(&[8; 32])));
        archive.unpack(Some(folder.path())).unwrap();
        assert_eq!(std::fs::read(folder.path().join("state/snapshot")).unwrap(), [1; 400]);
        assert_eq!(std::fs::read(folder.path().join("keys/token.json")).unwrap(), b"{}");
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let good = sample();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            let judged = opened(&bad).and_then(|mut archive| {
                archive.unpack(None)?;
                Ok((archive.manifest().clone(), archive.is_sealed_by(&key())))
            });
            // What is no part of any file, such as times in the ZIP, may differ; what is, may not.
            if let Ok((manifest, sealed)) = judged {
                assert!(!sealed || manifest == opened(&good).unwrap().manifest().clone(), "byte {at}");
            }
        }
        for length in 0..good.len() {
            assert!(opened(&good[..length]).is_err(), "{length} bytes of it");
        }
        assert!(matches!(opened(b"garbage"), Err(ArchiveError::NotOurs)));
    }

    #[test]
    fn bounds_hold_when_it_is_written_and_when_it_is_read() {
        let large = written(vec![source("a", &[0; 600]), source("b", &[0; 600])]);
        assert!(matches!(large, Err(ArchiveError::TooLarge(1000))));
        let many = ["a", "b", "c", "d"].map(|path| source(path, b"")).into();
        assert!(matches!(written(many), Err(ArchiveError::TooMany(3))));
        let bytes = sample();
        for (bytes_limit, files) in [(401, 3), (1000, 1)] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            file.rewind().unwrap();
            let limits = Limits { bytes: bytes_limit, files };
            assert!(matches!(
                Archive::open(file, limits).err(),
                Some(ArchiveError::TooLarge(_) | ArchiveError::TooMany(_))
            ));
        }
    }

    /// A ZIP in a packet, however wrong.
    fn forged(files: &[(&str, &[u8])], entries: &[(&str, u64)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default();
        let entry = |(path, size): &(&str, u64)| Entry {
            path: (*path).into(),
            size: *size,
            sha256: hex::encode(DigestAlgorithm::Sha256.digest(b"x").value),
        };
        let manifest =
            Manifest { format: FORMAT, about: about(), files: entries.iter().map(entry).collect() };
        let manifest = serde_json::to_vec(&manifest).unwrap();
        for (name, bytes) in files.iter().copied().chain([(MANIFEST, &manifest[..]), (SEAL, b"00")]) {
            zip.start_file(name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        let zip = zip.finish().unwrap().into_inner();
        let mut bytes = head(u32::try_from(zip.len() as u64 + HEAD - 6).unwrap(), UnixTime(0));
        bytes.extend_from_slice(&zip);
        bytes
    }

    #[test]
    fn forged_backups_are_refused() {
        let bomb = vec![0; 100_000];
        type Case<'a> = (&'a str, Vec<u8>);
        let cases: [Case<'_>; 8] = [
            ("a file named twice, another not", forged(&[("a", b"x"), ("b", b"y")], &[("a", 1), ("a", 1)])),
            ("a path upwards", forged(&[("../x", b"x")], &[("../x", 1)])),
            ("an absolute path", forged(&[("/etc/x", b"x")], &[("/etc/x", 1)])),
            ("a hidden file", forged(&[("state/.x", b"x")], &[("state/.x", 1)])),
            ("a file that is not named", forged(&[("a", b"x"), ("b", b"x")], &[("a", 1)])),
            ("a file that is not there", forged(&[], &[("a", 1)])),
            ("more than it says", forged(&[("a", &bomb)], &[("a", 1)])),
            ("a size beyond all", forged(&[("a", b"x"), ("b", b"x")], &[("a", u64::MAX), ("b", 1)])),
        ];
        for (name, bytes) in cases {
            let judged = opened(&bytes).and_then(|mut archive| archive.unpack(None));
            assert!(judged.is_err(), "{name}");
        }
        let good = forged(&[("a", b"x")], &[("a", 1)]);
        opened(&good).unwrap().unpack(None).unwrap();
    }
}
