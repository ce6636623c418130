//! OCSP answers about own certificates: one per certificate, in memory and on disk, so that a restart does not wait for responders.
//!
//! Files are `<lower-case hex SHA-1 of the certificate>.ocsp`, DER, in the token's folder `ocsp/`. They are not secret and can be
//! fetched again: a file that cannot be read is left out. Only verified answers are put in (`ocsp_fetcher`); they are judged again
//! at every use, so a stale or forged file does no harm.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pki::cert::Certificate;
use pki::ocsp::{MAX_RESPONSE_BYTES, Response};

/// The store.
#[derive(Debug)]
pub(crate) struct OcspStore {
    dir: PathBuf,
    answers: Mutex<HashMap<[u8; 20], Arc<Kept>>>,
}

/// An answer as it came, and as it was read.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) der: Bytes,
    pub(crate) response: Response,
}

impl OcspStore {
    /// Opens or creates the folder and reads what is there.
    pub(crate) fn open(dir: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut answers = HashMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if let Some((sha1, kept)) = read(&path) {
                answers.insert(sha1, Arc::new(kept));
            }
        }
        Ok(Self { dir: dir.to_owned(), answers: Mutex::new(answers) })
    }

    /// The map is whole after every statement.
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 20], Arc<Kept>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept about `cert`.
    pub(crate) fn get(&self, cert: &Certificate) -> Option<Arc<Kept>> {
        self.lock().get(&cert.sha1()).cloned()
    }

    /// Keeps an answer, unless a newer one is here. Blocks.
    pub(crate) fn put(&self, cert: &Certificate, response: Response) -> std::io::Result<()> {
        let newer = |kept: Arc<Kept>| kept.response.this_update() > response.this_update();
        if self.get(cert).is_some_and(newer) {
            return Ok(());
        }
        let der = Bytes::copy_from_slice(response.der());
        host::files::write_atomic(&self.file(cert), &der, 0o644)?;
        self.lock().insert(cert.sha1(), Arc::new(Kept { der, response }));
        Ok(())
    }

    /// Forgets what is kept about `cert`. Blocks.
    pub(crate) fn remove(&self, cert: &Certificate) -> std::io::Result<()> {
        self.lock().remove(&cert.sha1());
        match std::fs::remove_file(self.file(cert)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn file(&self, cert: &Certificate) -> PathBuf {
        self.dir.join(format!("{}.ocsp", hex::encode(cert.sha1())))
    }
}

fn read(path: &Path) -> Option<([u8; 20], Kept)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ocsp")?;
    let sha1 = hex::decode(name).ok()?.try_into().ok()?;
    if std::fs::metadata(path).ok()?.len() > MAX_RESPONSE_BYTES as u64 {
        return None;
    }
    let der = Bytes::from(std::fs::read(path).ok()?);
    let response = Response::parse(&der).ok()?;
    Some((sha1, Kept { der, response }))
}
