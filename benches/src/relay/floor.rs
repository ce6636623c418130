//! What the machine could do at best, measured in the same run: the pieces of an exchange that no program can leave out.
//!
//! | Figure | How |
//! |---|---|
//! | signature, verification | the median of one after the other on one core, with the run's kind of key |
//! | commit | the median of appending a record's bytes to a preallocated file of that disk, and `fdatasync` |
//! | bodies | on all cores at once: two SHA-512, an AES-256-GCM seal and an open for each byte, as a relayed body must have |

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pki::algorithm::EcdsaForm;
use pki::digest::sha512;
use pki::key::{KeyKind, PrivateKey};
use pki::public_key::Strength;
use ring::aead;
use serde::Serialize;

use crate::report::round;

/// About what a record with its signature document takes.
const RECORD_BYTES: usize = 8 << 10;
/// Of the file that commits go to.
const FILE_BYTES: u64 = 16 << 20;
/// Of a piece of a body, a TLS record's most.
const PIECE_BYTES: usize = 16 << 10;
/// Longest that one kind of piece is measured.
const TIME: Duration = Duration::from_millis(250);
const TRIES: usize = 64;

/// The limits of this machine. Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Floor {
    pub(crate) signature_ms: f64,
    pub(crate) verification_ms: f64,
    pub(crate) commit_ms: f64,
    /// MiB of bodies a second, all cores together.
    pub(crate) body_mib_per_second: f64,
}

impl Floor {
    /// Of what was measured at several times.
    pub(crate) fn mean(floors: &[Self]) -> Option<Self> {
        let mean =
            |figure: fn(&Self) -> f64| round(floors.iter().map(figure).sum::<f64>() / floors.len() as f64, 4);
        (!floors.is_empty()).then(|| Self {
            signature_ms: mean(|floor| floor.signature_ms),
            verification_ms: mean(|floor| floor.verification_ms),
            commit_ms: mean(|floor| floor.commit_ms),
            body_mib_per_second: mean(|floor| floor.body_mib_per_second),
        })
    }

    /// Two signatures, two verifications, four commits: a request and its answer, each logged on both sides.
    pub(crate) fn exchange_ms(&self) -> f64 {
        2.0 * self.signature_ms + 2.0 * self.verification_ms + 4.0 * self.commit_ms
    }
}

/// Blocks for about a second and a half.
///
/// # Errors
/// The disk, or the library.
pub(super) fn measure(dir: &Path, keys: KeyKind) -> anyhow::Result<Floor> {
    let key = PrivateKey::generate(keys)?;
    let (algorithm, message) = (key.default_algorithm(), [7; 1024]);
    let sign = || key.sign(algorithm, EcdsaForm::Raw, &message);
    let signature_ms = median(|_| sign().map(drop).map_err(Into::into))?;
    let value = sign()?;
    let public = key.public_key();
    let verification_ms =
        median(|_| Ok(public.verify(algorithm, EcdsaForm::Raw, Strength::Current, &message, &value)?))?;
    let commit_ms = commits(dir)?;
    let body_mib_per_second = round(bodies(), 1);
    Ok(Floor { signature_ms, verification_ms, commit_ms, body_mib_per_second })
}

/// Milliseconds.
fn median(mut once: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let (began, mut took) = (Instant::now(), Vec::new());
    while took.len() < TRIES && (began.elapsed() < TIME || took.is_empty()) {
        let began = Instant::now();
        once(took.len())?;
        took.push(began.elapsed());
    }
    took.sort();
    Ok(round(took[took.len() / 2].as_secs_f64() * 1000.0, 4))
}

fn commits(dir: &Path) -> anyhow::Result<f64> {
    let path = dir.join("floor");
    let file = File::options().write(true).create(true).truncate(true).open(&path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, FILE_BYTES)?;
    file.sync_all()?;
    let record = [7; RECORD_BYTES];
    let took = median(|number| {
        file.write_all_at(&record, (number * RECORD_BYTES) as u64)?;
        Ok(file.sync_data()?)
    });
    std::fs::remove_file(&path)?;
    took
}

/// MiB a second.
fn bodies() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let bytes: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| relay_pieces(began))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    bytes as f64 / began.elapsed().as_secs_f64() / f64::from(1 << 20)
}

/// What both servers do with each piece, until the time is over; how many bytes that were.
fn relay_pieces(began: Instant) -> usize {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, &[7; 32]).expect("a key of 256 bits");
    let key = aead::LessSafeKey::new(key);
    let nonce = || aead::Nonce::assume_unique_for_key([0; 12]);
    let (mut piece, mut bytes) = (vec![7; PIECE_BYTES], 0);
    while began.elapsed() < 2 * TIME {
        std::hint::black_box(sha512(&piece));
        let sealed = key.seal_in_place_append_tag(nonce(), aead::Aad::empty(), &mut piece);
        sealed.expect("a piece is far below the cipher's bound");
        key.open_in_place(nonce(), aead::Aad::empty(), &mut piece).expect("it was sealed a moment ago");
        piece.truncate(PIECE_BYTES);
        std::hint::black_box(sha512(&piece));
        bytes += PIECE_BYTES;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_takes_some_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let floor = measure(dir.path(), KeyKind::P256).expect("it can be measured");
        assert!(
            floor.signature_ms > 0.0 && floor.verification_ms > 0.0 && floor.commit_ms > 0.0,
            "{floor:?}"
        );
        assert!(floor.body_mib_per_second > 0.0, "{floor:?}");
        assert!(floor.exchange_ms() > 4.0 * floor.commit_ms, "{floor:?}");
    }
}
