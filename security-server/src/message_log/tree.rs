//! The tamper-evident side of the log: a Merkle tree over its records, heads signed with the log's own key, proofs.
//!
//! A leaf is the head of a record's frame, which holds the digests of everything that was signed; leaf n−1 is record n. Leaves stay
//! when their records have gone. At every interval the tree is brought up to date and its head is signed (`pki::note`), stamped and
//! handed to whoever holds heads outside. Two heads that do not fit each other show that the log was rewritten between them, to
//! anybody who kept the first.
//!
//! ```text
//! <data>/log/key.pk8                    the log's signing key; without it no head and no expiry mark of before verifies again
//! <data>/log/key.pub                    what others need to verify
//! <data>/log/tree/leaves                32 bytes a record; deleting it loses the hashes of records that have expired
//! <data>/log/tree/level-08 -16 -24 -32  hashes of complete subtrees, made anew from the leaves when they are missing
//! <data>/log/tree/heads/SIZE.head .tst  heads and their timestamps
//! ```
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pki::merkle::{self, Hash, Nodes};
use pki::note::{Checkpoint, Signer, Verifier};
use proto::time::UnixTime;

use super::LogError;
use super::store::index::Index;

/// Of a hash in a file.
const HASH_BYTES: u64 = 32;
/// Levels that have files: each hash covers 256 of the level below.
const LEVELS: [u32; 5] = [0, 8, 16, 24, 32];
/// Leaves taken from the index at once.
const STEP: usize = 4096;
/// Largest key file.
const MAX_KEY_BYTES: u64 = 4096;

/// The name under which a log signs.
pub fn origin(log_id: &[u8]) -> String {
    format!("causeway.log/{}", hex::encode(log_id))
}

/// The log's signing key; made when there is none.
///
/// # Errors
/// The disk, or a key that is none.
pub(super) fn open_key(log_dir: &Path, log_id: &[u8]) -> io::Result<Signer> {
    let path = log_dir.join("key.pk8");
    let key = match std::fs::read(&path) {
        Ok(key) => zeroize::Zeroizing::new(key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = Signer::generate().map_err(io::Error::other)?;
            host::files::write_atomic(&path, &key, 0o600)?;
            key
        }
        Err(error) => return Err(error),
    };
    let signer = Signer::new(&origin(log_id), &key).map_err(io::Error::other)?;
    let public = format!("{}\n", signer.verifier());
    if std::fs::read_to_string(log_dir.join("key.pub")).ok().as_deref() != Some(public.as_str()) {
        host::files::write_atomic(&log_dir.join("key.pub"), public.as_bytes(), 0o644)?;
    }
    Ok(signer)
}

/// The public key that lies in a log's folder.
///
/// # Errors
/// None is there, or it cannot be read.
pub fn public_key(log_dir: &Path) -> Result<Verifier, String> {
    let path = log_dir.join("key.pub");
    let length = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
    if length > MAX_KEY_BYTES {
        return Err(format!("{}: it is too large", path.display()));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Verifier::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// The tree's files.
#[derive(Debug)]
pub struct Tree {
    dir: PathBuf,
    levels: Vec<File>,
    size: u64,
}

impl Tree {
    /// Opens the tree for growing; what a crash left of a hash is cut off and missing subtrees are made anew.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn open(log_dir: &Path) -> io::Result<Self> {
        let dir = log_dir.join("tree");
        std::fs::create_dir_all(dir.join("heads"))?;
        let levels = LEVELS.map(|level| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.open(path_of(&dir, level))
        });
        let mut tree = Self { dir, levels: levels.into_iter().collect::<io::Result<_>>()?, size: 0 };
        tree.size = tree.levels[0].metadata()?.len() / HASH_BYTES;
        for (file, level) in tree.levels.iter().zip(LEVELS) {
            let complete = (tree.size >> level) * HASH_BYTES;
            if file.metadata()?.len() > complete {
                file.set_len(complete)?;
            }
        }
        tree.complete()?;
        Ok(tree)
    }

    /// Opens the tree of a log that may belong to another process.
    ///
    /// # Errors
    /// The disk; there is none.
    pub fn read(log_dir: &Path) -> io::Result<Self> {
        let dir = log_dir.join("tree");
        let levels = LEVELS.map(|level| File::open(path_of(&dir, level)));
        let levels = levels.into_iter().collect::<io::Result<Vec<_>>>()?;
        // The files are written from the leaves up, so that those above may end earlier and never later.
        let lengths = levels.iter().map(|file| file.metadata().map(|m| m.len() / HASH_BYTES));
        let size = lengths.collect::<io::Result<Vec<_>>>()?[0];
        Ok(Self { dir, levels, size })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash of a record's leaf.
    ///
    /// # Errors
    /// The disk.
    pub fn leaf(&self, record: u64) -> io::Result<Hash> {
        hash_at(&self.levels[0], record - 1)
    }

    /// SHA-256 over the leaf hashes of the records from `first` up to the one before `next`.
    ///
    /// # Errors
    /// The disk.
    pub fn leaves_hash(&self, first: u64, next: u64) -> io::Result<Hash> {
        let mut hasher = pki::digest::DigestAlgorithm::Sha256.hasher();
        for record in first..next {
            hasher.update(&self.leaf(record)?);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(&hasher.finish().value);
        Ok(hash)
    }

    /// Takes the leaves of all records up to `last` from the index. A record that the index does not have has the empty leaf: the
    /// log lost it.
    ///
    /// # Errors
    /// The disk, the index.
    pub(super) fn grow(&mut self, index: &Index, last: u64) -> Result<(), LogError> {
        let disk = |e: io::Error| LogError::Disk(format!("tree: {e}"));
        while self.size < last {
            let found = index.leaves(self.size + 1, STEP)?;
            let to = found
                .last()
                .map_or(last, |(number, _)| if found.len() < STEP { last } else { *number }.min(last));
            let mut found = found.into_iter().peekable();
            let mut bytes = Vec::with_capacity(STEP * HASH_BYTES as usize);
            for number in self.size + 1..=to {
                match found.next_if(|(found, _)| *found == number) {
                    Some((_, leaf)) => bytes.extend_from_slice(&leaf),
                    None => bytes.extend_from_slice(&merkle::leaf(b"")),
                }
            }
            self.levels[0].write_all_at(&bytes, self.size * HASH_BYTES).map_err(disk)?;
            self.size = to;
        }
        self.complete().map_err(disk)
    }

    /// Hashes subtrees that have become complete, and syncs everything.
    fn complete(&self) -> io::Result<()> {
        for (number, level) in LEVELS.iter().enumerate().skip(1) {
            let (below, file) = (&self.levels[number - 1], &self.levels[number]);
            let have = file.metadata()?.len() / HASH_BYTES;
            for index in have..self.size >> level {
                let hash = merkle::fold(&hashes_at(below, index << 8, 256)?);
                file.write_all_at(&hash, index * HASH_BYTES)?;
            }
        }
        self.levels.iter().try_for_each(File::sync_data)
    }

    /// Whether every hash that is kept above the leaves is that of its leaves.
    ///
    /// # Errors
    /// The disk.
    pub fn is_sound(&self) -> io::Result<bool> {
        for (number, level) in LEVELS.iter().enumerate().skip(1) {
            let (below, file) = (&self.levels[number - 1], &self.levels[number]);
            let have = (file.metadata()?.len() / HASH_BYTES).min(self.size >> level);
            for index in 0..have {
                if merkle::fold(&hashes_at(below, index << 8, 256)?) != hash_at(file, index)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The root over the first `size` leaves.
    ///
    /// # Errors
    /// The disk.
    pub fn root(&mut self, size: u64) -> io::Result<Hash> {
        merkle::root(self, size)
    }

    /// Signs and keeps the head of the tree as it is; `None` when that was done already. Durable on return.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn sign_head(&mut self, signer: &Signer, now: UnixTime) -> io::Result<Option<String>> {
        let path = self.head_path(self.size, "head");
        if self.size == 0 || path.exists() {
            return Ok(None);
        }
        let head = Checkpoint {
            origin: signer.verifier().name().to_owned(),
            size: self.size,
            root: self.root(self.size)?,
            more: vec![format!("at {}", now.to_iso8601())],
        };
        let note = signer.sign(&head.text());
        host::files::write_atomic(&path, note.as_bytes(), 0o600)?;
        Ok(Some(note))
    }

    pub(super) fn head_path(&self, size: u64, extension: &str) -> PathBuf {
        head_in(&self.dir, size, extension)
    }

    /// Sizes of the heads that are kept, ascending.
    ///
    /// # Errors
    /// The disk.
    pub fn heads(&self) -> io::Result<Vec<u64>> {
        let mut sizes = Vec::new();
        for entry in std::fs::read_dir(self.dir.join("heads"))? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".head"));
            sizes.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        }
        sizes.sort_unstable();
        Ok(sizes)
    }

    /// A kept head and its timestamp, when it has one.
    ///
    /// # Errors
    /// The disk; there is none of this size.
    pub fn head(&self, size: u64) -> io::Result<(String, Option<Vec<u8>>)> {
        let note = std::fs::read_to_string(self.head_path(size, "head"))?;
        match std::fs::read(self.head_path(size, "tst")) {
            Ok(token) => Ok((note, Some(token))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((note, None)),
            Err(error) => Err(error),
        }
    }

    pub(super) fn store_token(&self, size: u64, token: &[u8]) -> io::Result<()> {
        host::files::write_atomic(&self.head_path(size, "tst"), token, 0o600)
    }
}

impl Nodes for Tree {
    type Error = io::Error;
    fn subtree(&mut self, level: u32, index: u64) -> io::Result<Hash> {
        let number = (level / 8) as usize;
        let number = number.min(LEVELS.len() - 1);
        let above = level - LEVELS[number];
        let (file, from, count) = (&self.levels[number], index << above, 1_u64 << above);
        // Files above the leaves may be behind when another process writes them.
        if number > 0 && file.metadata()?.len() < (from + count) * HASH_BYTES {
            let (left, right) =
                (self.subtree(level - 1, 2 * index)?, self.subtree(level - 1, 2 * index + 1)?);
            return Ok(merkle::node(&left, &right));
        }
        Ok(merkle::fold(&hashes_at(file, from, count)?))
    }
}

fn path_of(dir: &Path, level: u32) -> PathBuf {
    dir.join(if level == 0 { "leaves".to_owned() } else { format!("level-{level:02}") })
}

fn hash_at(file: &File, index: u64) -> io::Result<Hash> {
    let mut hash = [0; HASH_BYTES as usize];
    file.read_exact_at(&mut hash, index * HASH_BYTES)?;
    Ok(hash)
}

fn hashes_at(file: &File, from: u64, count: u64) -> io::Result<Vec<Hash>> {
    let mut bytes = vec![0; (count * HASH_BYTES) as usize];
    file.read_exact_at(&mut bytes, from * HASH_BYTES)?;
    let (hashes, _) = bytes.as_chunks::<{ HASH_BYTES as usize }>();
    Ok(hashes.to_vec())
}

fn head_in(dir: &Path, size: u64, extension: &str) -> PathBuf {
    dir.join("heads").join(format!("{size:020}.{extension}"))
}

/// Where the head of this size lies in a log's folder.
pub(super) fn head_path(log_dir: &Path, size: u64) -> PathBuf {
    head_in(&log_dir.join("tree"), size, "head")
}

/// Puts a head into a folder that somebody outside holds; durable on return. One that is there is left as it is.
pub(super) fn hand_over(folder: &Path, origin: &str, size: u64, note: &str) -> io::Result<()> {
    let name = format!("{}-{size:020}.head", origin.replace('/', "-"));
    let path = folder.join(name);
    match std::fs::read(&path) {
        Ok(known) if known == note.as_bytes() => Ok(()),
        Ok(_) => Err(io::Error::other("another head of this size is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            host::files::write_atomic(&path, note.as_bytes(), 0o644)
        }
        Err(error) => Err(error),
    }
}
