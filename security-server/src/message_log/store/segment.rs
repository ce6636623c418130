//! One segment file: create, append, sync, and read frames back wherever they lie.
//!
//! Reading is by positioned reads on handles of its own, so that it never disturbs the writer. [`Walker`] goes through a segment frame
//! by frame; where a prefix is damaged it finds the next frame by its tag.
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use host::files;
use rustix::fs::FallocateFlags;

use super::faults::{Faults, Operation};
use super::format::{
    ALIGN, CHAIN_BYTES, Chain, FILE_HEAD_BYTES, Kind, PREFIX_BYTES, Prefix, file_head, next_chain, padded,
    salt_of, tag,
};

/// Payload pieces from this size on are written from where they lie; smaller ones are copied together first.
const COPY_BELOW: usize = 2 * 1024;
/// Most pieces in one system call (`IOV_MAX`).
const MAX_SLICES: usize = 1024;
/// A run of zeros that a walk takes in one step.
static ZEROS: [u8; 4096] = [0; 4096];
/// Of a removed segment, given back in one step, and the time left to commits between two.
const GIVEN_BACK_BYTES: u64 = 8 * 1024 * 1024;
const BETWEEN_STEPS: Duration = Duration::from_millis(3);
/// What a frame is read with at first: enough for most.
const MOSTLY_BYTES: usize = 3 * 1024;
const ENDS_INSIDE: &str = "the segment ends inside a frame";
/// How much a walk reads at once.
const WINDOW_BYTES: usize = 1024 * 1024;

/// The path of segment `number`.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.segment"))
}

/// The numbers of the segments in `dir`, ascending.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".segment"));
        numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes segment `number`; durable on return. Its space is given back in steps: hundreds of MiB at once keep the file system's
/// journal, and a disk that is told of every block that falls free, for as long, and commits wait for both.
pub(crate) fn remove(dir: &Path, number: u64) -> io::Result<()> {
    let path = path_of(dir, number);
    let file = OpenOptions::new().write(true).open(&path)?;
    std::fs::remove_file(&path)?;
    files::sync_dir(dir)?;
    let mut length = file.metadata()?.len();
    while length > 0 {
        length = length.saturating_sub(GIVEN_BACK_BYTES);
        file.set_len(length)?;
        std::thread::sleep(BETWEEN_STEPS);
    }
    Ok(())
}

/// What a frame holds besides its head, with its checksum, which is made by whoever brings it and not by the one writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payload {
    pieces: Vec<Bytes>,
    bytes: u64,
    crc: u32,
}

impl Payload {
    pub(crate) fn new(pieces: Vec<Bytes>) -> Self {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let crc = pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        Self { pieces, bytes, crc }
    }
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::new(vec![bytes])
    }
}

/// Frames that are about to be written, in one run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    copied: Vec<u8>,
    pieces: Vec<Piece>,
    bytes: u64,
}

#[derive(Debug)]
enum Piece {
    /// A range of `copied`.
    Copied(std::ops::Range<usize>),
    Shared(Bytes),
}

impl Run {
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds a frame that will stand at `offset`; gives its length.
    pub(crate) fn put(
        &mut self,
        (salt, offset): (u32, u64),
        kind: Kind,
        chain: Option<&Chain>,
        head: &[u8],
        payload: &Payload,
    ) -> u64 {
        let chain = chain.map_or(&[][..], |c| &c[..]);
        let prefix = Prefix {
            kind,
            chained: !chain.is_empty(),
            head_bytes: head.len() as u32,
            payload_bytes: payload.bytes as u32,
            head_crc: crc32c::crc32c_append(crc32c::crc32c(chain), head),
            payload_crc: payload.crc,
        };
        self.copy(&prefix.encode(tag(salt, offset)));
        self.copy(chain);
        self.copy(head);
        for piece in &payload.pieces {
            if piece.len() < COPY_BELOW {
                self.copy(piece);
            } else {
                self.bytes += piece.len() as u64;
                self.pieces.push(Piece::Shared(piece.clone()));
            }
        }
        let frame = prefix.frame_bytes();
        let end = prefix.payload_at() + u64::from(prefix.payload_bytes);
        self.copy(&[0; ALIGN as usize][..(frame - end) as usize]);
        frame
    }

    fn copy(&mut self, bytes: &[u8]) {
        let start = self.copied.len();
        self.copied.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        match self.pieces.last_mut() {
            Some(Piece::Copied(range)) => range.end = self.copied.len(),
            _ => self.pieces.push(Piece::Copied(start..self.copied.len())),
        }
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let bytes = self.pieces.iter().map(|piece| match piece {
            Piece::Copied(range) => &self.copied[range.clone()],
            Piece::Shared(bytes) => &bytes[..],
        });
        bytes.map(IoSlice::new).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.copied.clear();
        self.pieces.clear();
        self.bytes = 0;
    }
}

/// A segment open for appending. Knows nothing of chains.
#[derive(Debug)]
pub(crate) struct Writable {
    file: File,
    faults: Faults,
    /// The file system reserves space.
    reserves: bool,
}

impl Writable {
    /// Creates segment `number` with `capacity` bytes reserved and its file head written; durable on return.
    pub(crate) fn create(
        dir: &Path,
        number: u64,
        salt: u32,
        capacity: u64,
        faults: Faults,
    ) -> io::Result<Self> {
        let path = path_of(dir, number);
        let this = Self::create_at(&path, salt, capacity, faults)?;
        files::sync_dir(dir).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        Ok(this)
    }

    /// The same under any name, which is not durable yet.
    pub(crate) fn create_at(path: &Path, salt: u32, capacity: u64, faults: Faults) -> io::Result<Self> {
        faults.check(Operation::Create)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let mut this = Self { file, faults, reserves: true };
        let made = this
            .reserve(capacity)
            .and_then(|()| this.file.write_all_at(&file_head(salt), 0))
            .and_then(|()| this.file.sync_all());
        if let Err(e) = made {
            let _ = std::fs::remove_file(path);
            return Err(e);
        }
        Ok(this)
    }

    /// Opens segment `number` again; whatever lies behind `end` is cut off, and `capacity` bytes are reserved anew.
    pub(crate) fn reopen(
        dir: &Path,
        number: u64,
        end: u64,
        capacity: u64,
        faults: Faults,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path_of(dir, number))?;
        let mut this = Self { file, faults, reserves: true };
        this.file.set_len(end)?;
        this.reserve(capacity)?;
        this.file.sync_all()?;
        Ok(this)
    }

    /// Another handle of the file at `path`, with its own memory of errors: a failed write-back is reported once to each handle.
    pub(crate) fn again(&self, path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, faults: self.faults.clone(), reserves: self.reserves })
    }

    /// Whether the file has its space, so that writing into it takes none.
    pub(crate) fn reserves(&self) -> bool {
        self.reserves
    }

    /// Reserves space, so that a full disk shows here and not in the middle of a commit. Where the file system cannot, the file
    /// only gets its length.
    fn reserve(&mut self, capacity: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, capacity) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.reserves = false;
                self.file.set_len(capacity.max(self.file.metadata()?.len()))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Writes a run at `offset`, and `zeros` behind it, with as few system calls as possible.
    pub(crate) fn write(&self, run: &Run, offset: u64, zeros: usize) -> io::Result<()> {
        self.faults.check(Operation::Write)?;
        let mut slices = run.slices();
        let whole = std::iter::repeat_n(IoSlice::new(&ZEROS), zeros / ZEROS.len());
        slices.extend(whole.chain([IoSlice::new(&ZEROS[..zeros % ZEROS.len()])]));
        write_slices(&self.file, &mut slices, offset)
    }

    /// fdatasync.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.faults.check(Operation::Sync)?;
        self.file.sync_data()
    }

    /// Gives back what was reserved behind `end`; durable on return.
    pub(crate) fn cut(&self, end: u64) -> io::Result<()> {
        self.faults.check(Operation::Cut)?;
        self.file.set_len(end)?;
        self.file.sync_all()
    }
}

/// All of them, one after the other, from `offset` on.
pub(crate) fn write_slices(file: &File, slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    let mut rest = slices;
    while !rest.is_empty() {
        let most = rest.len().min(MAX_SLICES);
        let written = match rustix::io::pwritev(file, &rest[..most], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        offset += written as u64;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

/// Why bytes of the log cannot be given back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("segment {segment} cannot be read: {source}")]
    Io { segment: u64, source: io::Error },
    #[error("segment {segment} is damaged at offset {offset}: {what}")]
    Damaged { segment: u64, offset: u64, what: &'static str },
    #[error("it is encrypted with key {0}, which is not in the file of keys")]
    NoKey(String),
    #[error("it does not open with key {0}: that is another key than it was, or the record was changed")]
    OtherKey(String),
}

/// A segment open for reading.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) number: u64,
    file: File,
    salt: u32,
}

/// A frame in memory.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) head: Vec<u8>,
    pub(crate) payload: Bytes,
}

impl Readable {
    pub(crate) fn open(dir: &Path, number: u64) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Io { segment: number, source };
        let file = File::open(path_of(dir, number)).map_err(failed)?;
        let mut head = [0; FILE_HEAD_BYTES as usize + PREFIX_BYTES];
        let read = read_up_to(&file, &mut head, 0).map_err(failed)?;
        let damaged =
            ReadError::Damaged { segment: number, offset: 0, what: "the file head is not one of format 1" };
        let salt = salt_of(&head[..read]).or_else(|| salt_of_first_frame(&head[..read])).ok_or(damaged)?;
        Ok(Self { number, file, salt })
    }

    pub(crate) fn salt(&self) -> u32 {
        self.salt
    }

    /// The frame at `offset`, head and payload checked.
    pub(crate) fn frame(&self, offset: u64) -> Result<Frame, ReadError> {
        let damaged = |what| ReadError::Damaged { segment: self.number, offset, what };
        let failed = |source| ReadError::Io { segment: self.number, source };
        let mut bytes = vec![0; MOSTLY_BYTES];
        let read = read_up_to(&self.file, &mut bytes, offset).map_err(failed)?;
        let prefix = bytes[..read].get(..PREFIX_BYTES).ok_or_else(|| self.ends_inside(offset))?;
        let prefix =
            Prefix::decode(prefix, tag(self.salt, offset)).ok_or_else(|| damaged("there is no frame"))?;
        bytes.resize(prefix.payload_at() as usize + prefix.payload_bytes as usize, 0);
        if bytes.len() > read {
            self.read_exact(&mut bytes[read..], offset + read as u64)?;
        }
        let rest = Bytes::from(bytes).split_off(PREFIX_BYTES);
        let payload = rest.split_off_head(&prefix);
        let (chain, head, payload) = payload;
        if crc32c::crc32c_append(crc32c::crc32c(&chain), &head) != prefix.head_crc {
            return Err(damaged("the head of a frame has another checksum"));
        }
        if crc32c::crc32c(&payload) != prefix.payload_crc {
            return Err(damaged("the payload of a frame has another checksum"));
        }
        Ok(Frame { kind: prefix.kind, head: head.to_vec(), payload })
    }

    /// Bytes as they stand there.
    pub(crate) fn bytes(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        self.read_exact(buffer, offset)
    }

    /// Of the file.
    pub(crate) fn length(&self) -> Result<u64, ReadError> {
        let found = self.file.metadata().map_err(|source| ReadError::Io { segment: self.number, source })?;
        Ok(found.len())
    }

    /// What a read that comes to the end too early means.
    fn ends_inside(&self, offset: u64) -> ReadError {
        self.removed().unwrap_or(ReadError::Damaged { segment: self.number, offset, what: ENDS_INSIDE })
    }

    /// Of a segment that is being removed the end goes first: then its records are gone, and not damaged.
    fn removed(&self) -> Option<ReadError> {
        let is_removed = self.file.metadata().is_ok_and(|file| file.nlink() == 0);
        is_removed.then(|| ReadError::Io {
            segment: self.number,
            source: io::Error::new(io::ErrorKind::NotFound, "it is being removed"),
        })
    }

    fn read_exact(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        self.file.read_exact_at(buffer, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.ends_inside(offset),
            _ => ReadError::Io { segment: self.number, source },
        })
    }

    /// Walks through the segment from its first frame up to `end` (the end of the file when `None`).
    pub(crate) fn walk(
        &self,
        from: u64,
        end: Option<u64>,
        check_payloads_from: u64,
    ) -> Result<Walker<'_>, ReadError> {
        let failed = |source| ReadError::Io { segment: self.number, source };
        let length = self.file.metadata().map_err(failed)?.len();
        Ok(Walker {
            segment: self,
            offset: from.max(FILE_HEAD_BYTES),
            end: end.unwrap_or(length).min(length),
            check_payloads_from,
            window: Vec::new(),
            window_at: 0,
        })
    }
}

trait SplitFrame {
    fn split_off_head(self, prefix: &Prefix) -> (Bytes, Bytes, Bytes);
}

impl SplitFrame for Bytes {
    /// Chain value (maybe empty), head, payload of what follows a prefix.
    fn split_off_head(mut self, prefix: &Prefix) -> (Bytes, Bytes, Bytes) {
        let chain = self.split_to(if prefix.chained { CHAIN_BYTES } else { 0 });
        let head = self.split_to(prefix.head_bytes as usize);
        (chain, head, self)
    }
}

/// The first frame's tag gives the salt away when the file head is damaged; its checksum shows that the guess is right.
fn salt_of_first_frame(head: &[u8]) -> Option<u32> {
    let first = head.get(FILE_HEAD_BYTES as usize..)?;
    let found = u32::from_le_bytes(first.get(..4)?.try_into().ok()?);
    let prefix = Prefix::decode(first, found)?;
    (prefix.kind == Kind::Start).then(|| tag(found, FILE_HEAD_BYTES))
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// What a walk comes upon.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A frame whose prefix and head are whole.
    Frame(Seen),
    /// Bytes that are no frame; the walk goes on behind them.
    Damage {
        /// Where they start.
        from: u64,
        /// What the damaged frame was, when its prefix still says so.
        kind: Option<Kind>,
    },
    /// No further frame.
    End {
        /// Behind the last one.
        at: u64,
        /// Whether anything but zeros follows.
        dirty: bool,
    },
}

/// A frame seen by a walk.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) offset: u64,
    pub(crate) kind: Kind,
    pub(crate) chain: Option<Chain>,
    pub(crate) head: Vec<u8>,
    pub(crate) payload_bytes: u64,
    /// `None` when the walk was not to look.
    pub(crate) payload_whole: Option<bool>,
}

impl Seen {
    /// Whether the chain value follows from the one before.
    pub(crate) fn follows(&self, before: &Chain) -> bool {
        self.chain.is_none_or(|found| found == next_chain(before, self.kind, &self.head))
    }
}

/// Goes through the frames of a segment.
pub(crate) struct Walker<'a> {
    segment: &'a Readable,
    offset: u64,
    end: u64,
    /// Payloads of frames from this offset on are checked.
    check_payloads_from: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Walker<'_> {
    /// Where the next step begins: behind the frame or the damage of the last one.
    pub(crate) fn at(&self) -> u64 {
        self.offset.min(self.end)
    }

    /// The next step; after [`Step::End`] always that.
    pub(crate) fn step(&mut self) -> Result<Step, ReadError> {
        let from = self.offset;
        let Some(prefix) = self.prefix_at(from)? else { return self.search(from, None) };
        if from + prefix.frame_bytes() > padded(self.end) {
            return self.search(from, Some(prefix.kind));
        }
        let head_length = (prefix.payload_at() as usize) - PREFIX_BYTES;
        let bytes = self.get(from + PREFIX_BYTES as u64, head_length)?.map(<[u8]>::to_vec);
        let Some(bytes) = bytes.filter(|b| crc32c::crc32c(b) == prefix.head_crc) else {
            self.offset = from + prefix.frame_bytes();
            return Ok(Step::Damage { from, kind: Some(prefix.kind) });
        };
        let (chain, head) = bytes.split_at(if prefix.chained { CHAIN_BYTES } else { 0 });
        let payload_whole = match from >= self.check_payloads_from {
            true => {
                Some(self.crc(from + prefix.payload_at(), prefix.payload_bytes)? == Some(prefix.payload_crc))
            }
            false => None,
        };
        self.offset = from + prefix.frame_bytes();
        Ok(Step::Frame(Seen {
            offset: from,
            kind: prefix.kind,
            chain: chain.try_into().ok(),
            head: head.to_vec(),
            payload_bytes: u64::from(prefix.payload_bytes),
            payload_whole,
        }))
    }

    /// Looks for the next frame behind damage or at the end.
    fn search(&mut self, from: u64, kind: Option<Kind>) -> Result<Step, ReadError> {
        let mut dirty = false;
        let mut at = from;
        while at + PREFIX_BYTES as u64 <= self.end {
            // Long runs of zeros are the usual sight: the rest of a reserved file.
            if self.get(at, ZEROS.len())?.is_some_and(|bytes| bytes == ZEROS) {
                at += ZEROS.len() as u64;
                continue;
            }
            let clean = self.get(at, ALIGN as usize)?.is_some_and(|bytes| bytes.iter().all(|b| *b == 0));
            dirty |= !clean;
            if !clean && at > from && self.prefix_at(at)?.is_some() {
                self.offset = at;
                return Ok(Step::Damage { from, kind });
            }
            at += ALIGN;
        }
        while at < self.end {
            dirty |= self.get(at, 1)?.is_some_and(|bytes| bytes != [0]);
            at += 1;
        }
        Ok(Step::End { at: from, dirty })
    }

    fn prefix_at(&mut self, offset: u64) -> Result<Option<Prefix>, ReadError> {
        let expected = tag(self.segment.salt, offset);
        Ok(self.get(offset, PREFIX_BYTES)?.and_then(|bytes| Prefix::decode(bytes, expected)))
    }

    /// The checksum of a range, without holding all of it; `None` when the segment ends before.
    fn crc(&mut self, offset: u64, length: u32) -> Result<Option<u32>, ReadError> {
        let (mut crc, mut done) = (0, 0);
        while done < length {
            let most = (length - done).min(WINDOW_BYTES as u32 / 2);
            let Some(bytes) = self.get(offset + u64::from(done), most as usize)? else { return Ok(None) };
            crc = crc32c::crc32c_append(crc, bytes);
            done += most;
        }
        Ok(Some(crc))
    }

    /// `length` bytes at `offset`; `None` when the segment ends before.
    fn get(&mut self, offset: u64, length: usize) -> Result<Option<&[u8]>, ReadError> {
        if offset + length as u64 > self.end {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + length as u64 > window_end {
            let wanted = length.max(WINDOW_BYTES).min((self.end - offset) as usize);
            self.window.resize(wanted, 0);
            let failed = |source| ReadError::Io { segment: self.segment.number, source };
            let read = read_up_to(&self.segment.file, &mut self.window, offset).map_err(failed)?;
            if let Some(removed) = (read < wanted).then(|| self.segment.removed()).flatten() {
                return Err(removed);
            }
            self.window.truncate(read);
            self.window_at = offset;
        }
        let start = (offset - self.window_at) as usize;
        Ok(self.window.get(start..start + length))
    }
}
