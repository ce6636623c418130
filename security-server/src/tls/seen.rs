//! What is known of other security servers' TLS: which stack worked at an address, and who was once met with TLS 1.3.
//!
//! The first saves a handshake that would fail; it is forgotten with the process and after [`CBC_REMEMBERED`]. The second is a promise:
//! a server certificate that was verified on a TLS 1.3 connection is not talked to by CBC suites again, so that nobody on the way can
//! talk two modern servers down. It is kept in `tls/tls13-peers` of the data directory, one line per certificate:
//!
//! ```text
//! <SHA-256 of the certificate, hex> <address it was met at>
//! ```
//!
//! A peer that truly went back to CBC is allowed to by an operator (`causeway peer forget`, which puts a `#` in place of the first
//! character of its line; deleting the file allows it to all). The server need not be stopped: it looks at the file again before it
//! refuses. Lines are only ever appended, and never move.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// In the folder `tls/` of the data directory.
pub const FILE: &str = "tls13-peers";
/// After this long an address that needed CBC is asked once more whether it has learnt better.
const CBC_REMEMBERED: Duration = Duration::from_secs(3600);
/// Most addresses remembered.
const MAX_ADDRESSES: usize = 10_000;
/// Most certificates remembered: a bound on the file, far above the servers of any ecosystem.
const MAX_CERTS: usize = 1_000_000;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Begins a line that does not count any more.
const FORGOTTEN: &str = "#";

/// SHA-256 of a certificate.
pub type CertHash = [u8; 32];

/// The two memories of one server.
#[derive(Debug, Default)]
pub struct SeenPeers {
    /// `None` in tests: nothing outlives the process.
    file: Option<PathBuf>,
    modern: Mutex<HashSet<CertHash>>,
    cbc: Mutex<HashMap<String, Instant>>,
}

impl SeenPeers {
    /// Reads the file `path`; none is an empty one.
    ///
    /// # Errors
    /// It is there and cannot be read, or a line of it is not what it should be.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let modern = Mutex::new(read(&path)?);
        Ok(Self { file: Some(path), modern, cbc: Mutex::default() })
    }

    /// The certificate was verified on a TLS 1.3 connection to `address`.
    pub(crate) fn met_with_tls13(&self, leaf: CertHash, address: &str) {
        let mut modern = lock(&self.modern);
        if modern.contains(&leaf) || modern.len() >= MAX_CERTS || !modern.insert(leaf) {
            return;
        }
        // Once per certificate, and short: under the lock, so that lines do not mix.
        let Some(path) = &self.file else { return };
        if let Err(error) = append(path, &leaf, address) {
            tracing::error!(path = %path.display(), %error, "a peer's TLS 1.3 could not be recorded; known until the server stops");
        }
    }

    /// Whether CBC suites will not do for this certificate.
    pub(crate) fn is_modern(&self, leaf: CertHash) -> bool {
        let mut modern = lock(&self.modern);
        if !modern.contains(&leaf) {
            return false;
        }
        // A refusal is rare, so this is the moment to see whether an operator says otherwise.
        if let Some(Ok(now)) = self.file.as_ref().map(|path| read(path)) {
            *modern = now;
        }
        modern.contains(&leaf)
    }

    /// Nothing but CBC worked at `address`.
    pub(crate) fn needed_cbc(&self, address: &str, now: Instant) {
        let mut cbc = lock(&self.cbc);
        if cbc.len() >= MAX_ADDRESSES {
            cbc.retain(|_, since| now.duration_since(*since) < CBC_REMEMBERED);
        }
        if cbc.len() < MAX_ADDRESSES {
            cbc.insert(address.to_owned(), now);
        }
    }

    /// CBC did not work at `address` either.
    pub(crate) fn forget(&self, address: &str) {
        lock(&self.cbc).remove(address);
    }

    /// Nothing but CBC worked at `address` lately.
    pub(crate) fn needs_cbc(&self, address: &str, now: Instant) -> bool {
        lock(&self.cbc).get(address).is_some_and(|since| now.duration_since(*since) < CBC_REMEMBERED)
    }
}

/// A certificate that CBC suites will not do for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// SHA-256 of the certificate, hex.
    pub hash: String,
    /// Where it was met.
    pub address: String,
}

/// What the file `path` remembers, in the order of the meetings; none is an empty one.
///
/// # Errors
/// It cannot be read.
pub fn list(path: &Path) -> io::Result<Vec<Promise>> {
    Ok(lines(&text(path)?).map(|(_, promise)| promise).collect())
}

/// Forgets whatever was met at `which`, or has it as hash, and says what that was. The server may run: one byte changes for each line.
///
/// # Errors
/// The file cannot be read or written.
pub fn forget(path: &Path, which: &str) -> io::Result<Vec<Promise>> {
    let text = text(path)?;
    let found: Vec<_> = lines(&text)
        .filter(|(_, promise)| promise.address == which || promise.hash.eq_ignore_ascii_case(which))
        .collect();
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    for (at, _) in &found {
        file.seek(SeekFrom::Start(*at as u64))?;
        file.write_all(FORGOTTEN.as_bytes())?;
    }
    file.sync_data()?;
    Ok(found.into_iter().map(|(_, promise)| promise).collect())
}

/// Whole lines that count, with the place of their first character.
fn lines(text: &str) -> impl Iterator<Item = (usize, Promise)> {
    let mut next = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let at = next;
        next += line.len();
        let (hash, address) = line.trim().split_once(' ')?;
        let known = hex::decode_to_slice(hash, &mut [0; 32]).is_ok() && line.starts_with(hash);
        known.then(|| (at, Promise { hash: hash.to_owned(), address: address.to_owned() }))
    })
}

/// Both are whole after every statement.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole file; none is an empty one.
fn text(path: &Path) -> io::Result<String> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_FILE_BYTES => Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => std::fs::read_to_string(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<HashSet<CertHash>> {
    let mut hashes = HashSet::new();
    for line in text(path)?.split_inclusive('\n') {
        let Some(hash) = line.split_whitespace().next() else { continue };
        if hash.starts_with(FORGOTTEN) {
            continue;
        }
        let mut bytes = CertHash::default();
        match hex::decode_to_slice(hash, &mut bytes) {
            Ok(()) => _ = hashes.insert(bytes),
            // The process died while it wrote the last line.
            Err(_) if !line.ends_with('\n') => {}
            Err(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no SHA-256: {hash:?}")));
            }
        }
    }
    Ok(hashes)
}

fn append(path: &Path, leaf: &CertHash, address: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut line = format!("{} {address}\n", hex::encode(leaf));
    match text[whole..].split_whitespace().next().map(|hash| hex::decode_to_slice(hash, &mut [0; 32])) {
        None => {}
        // An editor left the last line without its end.
        Some(Ok(())) => line.insert(0, '\n'),
        // The process died while it wrote the last line.
        Some(Err(_)) => file.set_len(whole as u64)?,
    }
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls13_is_remembered_over_restarts_until_an_operator_takes_the_line_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let seen = SeenPeers::open(path.clone()).unwrap();
        assert!(!seen.is_modern([1; 32]));
        seen.met_with_tls13([1; 32], "one.example");
        seen.met_with_tls13([2; 32], "two.example");
        seen.met_with_tls13([1; 32], "one.example");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "each certificate once:\n{text}");

        let again = SeenPeers::open(path.clone()).unwrap();
        assert!(again.is_modern([1; 32]) && again.is_modern([2; 32]) && !again.is_modern([3; 32]));
        let without: String =
            text.lines().filter(|line| !line.ends_with("one.example")).map(|l| format!("{l}\n")).collect();
        std::fs::write(&path, without).unwrap();
        assert!(!again.is_modern([1; 32]), "without a restart");
        assert!(again.is_modern([2; 32]));
        again.met_with_tls13([1; 32], "one.example");
        assert!(again.is_modern([1; 32]), "met again, promised again");
    }

    #[test]
    fn an_operator_has_a_running_server_forget() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(forget(&path, "one.example").unwrap(), []);
        let seen = SeenPeers::open(path.clone()).unwrap();
        for (hash, address) in [(1, "one.example"), (2, "two.example"), (3, "one.example")] {
            seen.met_with_tls13([hash; 32], address);
        }
        assert_eq!(forget(&path, "one").unwrap(), [], "a whole address or a whole hash");
        let forgotten = forget(&path, "one.example").unwrap();
        assert_eq!(forgotten.iter().map(|f| &f.hash[..2]).collect::<Vec<_>>(), ["01", "03"]);
        let modern = || [1, 2, 3].map(|hash| seen.is_modern([hash; 32]));
        assert_eq!(modern(), [false, true, false]);
        assert_eq!(list(&path).unwrap(), [Promise { hash: "02".repeat(32), address: "two.example".into() }]);
        seen.met_with_tls13([1; 32], "one.example");
        assert_eq!(modern(), [true, true, false], "met again, promised again");
        assert_eq!(forget(&path, &"02".repeat(32)).unwrap().len(), 1);
        assert_eq!(list(&path).unwrap().len(), 1);
        assert!(SeenPeers::open(path).unwrap().is_modern([1; 32]), "after a restart");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, "not a hash\n").unwrap();
        assert!(SeenPeers::open(path.clone()).unwrap_err().to_string().contains("no SHA-256"));
        let seen = SeenPeers { file: Some(path), ..SeenPeers::default() };
        seen.met_with_tls13([1; 32], "a");
        assert!(seen.is_modern([1; 32]), "a damaged file allows nothing");
    }

    #[test]
    fn an_address_that_needed_cbc_is_asked_again_in_time() {
        let (seen, now) = (SeenPeers::default(), Instant::now());
        seen.needed_cbc("a", now);
        assert!(seen.needs_cbc("a", now) && !seen.needs_cbc("b", now));
        seen.forget("a");
        assert!(!seen.needs_cbc("a", now));
        seen.needed_cbc("a", now);
        assert!(!seen.needs_cbc("a", now + CBC_REMEMBERED));
    }

    #[test]
    fn a_last_line_without_its_end_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let first = "11".repeat(32);
        for (name, end, there) in [("cut off", "0123".to_owned(), 2), ("edited", "22".repeat(32), 3)] {
            std::fs::write(&path, format!("{first} a\n{end}")).unwrap();
            let seen = SeenPeers::open(path.clone()).unwrap();
            seen.met_with_tls13([3; 32], "b");
            let found = read(&path).unwrap();
            assert_eq!(found.len(), there, "{name}");
            assert!(found.contains(&[0x11; 32]) && found.contains(&[3; 32]), "{name}");
        }
        std::fs::write(&path, format!("0123\n{first} a\n")).unwrap();
        assert!(SeenPeers::open(path).is_err(), "anywhere else it is damage");
    }
}
