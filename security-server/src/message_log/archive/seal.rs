//! An archive file that is encrypted while it is written: no byte of it is on the disk in clear.
//!
//! The ZIP goes through a pipe to a thread that signs and encrypts it into the file. There is one thread for each file that is open,
//! `MAX_OPEN` at most, and each holds a few times `pki::openpgp::CHUNK_BYTES`.
use std::io::{self, BufWriter, PipeWriter, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

use pki::openpgp::{self, PublicKey};
use proto::time::UnixTime;

use super::file::Steady;
use super::keys::Keyring;

/// Where a ZIP is written to be encrypted.
pub(super) struct Sealer {
    pipe: BufWriter<PipeWriter>,
    thread: JoinHandle<io::Result<Steady>>,
}

impl Sealer {
    /// Encrypts what is written here into `file`.
    pub(super) fn start(
        file: Steady,
        keyring: Arc<Keyring>,
        to: Vec<PublicKey>,
        now: UnixTime,
    ) -> io::Result<Self> {
        let (reader, pipe) = io::pipe()?;
        let work = move || {
            let mut out = BufWriter::new(file);
            let to: Vec<&PublicKey> = to.iter().collect();
            openpgp::seal(reader, &mut out, &to, keyring.own(), now).map_err(io::Error::other)?;
            out.into_inner().map_err(io::IntoInnerError::into_error)
        };
        let thread = std::thread::Builder::new().name("archive-seal".into()).spawn(work)?;
        Ok(Self { pipe: BufWriter::new(pipe), thread })
    }

    /// All was written; the file once it is whole.
    pub(super) fn finish(self) -> io::Result<Steady> {
        let flushed = self.pipe.into_inner().map_err(io::IntoInnerError::into_error);
        let written = flushed.map(drop);
        let sealed = self.thread.join().map_err(|_| io::Error::other("encryption was given up"))?;
        // What the thread says is why writing to it failed.
        let file = sealed?;
        written.map(|()| file)
    }
}

impl Write for Sealer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.pipe.write(data)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}
