//! Writing ZIP files whose entries are ready: made, deflated and summed before they are written [APPNOTE 6.3].
//!
//! Lengths and checksum stand in front of each entry's data, so nothing is gone back to, the file can be hashed or encrypted as it
//! is written, and data that was deflated once is written as often as it is needed. Archives of the message log and containers are
//! made of such entries; what has to stream ([`Pack::stream`]) needs a file that can be gone back in.
//!
//! Entries and files of 4 GiB and more have the fields of §4.5.3, and only they.
//!
//! Not here: reading ZIP files, and writing those of which nothing is known beforehand, which is the crate `zip`'s.

use std::io::{self, Read, Seek, SeekFrom, Write};

pub use crc32fast::Hasher as Crc;
use flate2::{Compress, Compression, FlushCompress, Status};
use proto::time::UnixTime;

/// From this number on a field of 32 bits says that the number stands elsewhere.
const ELSEWHERE: u32 = u32::MAX;
/// The same for 16 bits.
const MANY: u16 = u16::MAX;
/// Version 2.0, and 4.5 for the larger fields.
const VERSION: [u16; 2] = [20, 45];
/// Made on Unix: a file that its owner writes and everybody reads.
const MADE_BY: u16 = 3 << 8;
const ATTRIBUTES: u32 = 0o100_644 << 16;
const UTF8: u16 = 1 << 11;
const EXTENDED_TIMESTAMP: u16 = 0x5455;
const LARGE: u16 = 1;
const CHUNK_BYTES: usize = 64 << 10;

/// How the data of an entry lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// As they are.
    Stored = 0,
    /// RFC 1951.
    Deflated = 8,
}

/// What stands in front of an entry's data.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its name.
    pub name: &'a str,
    /// Modification time; the ZIP format knows the years from 1980 to 2107.
    pub time: UnixTime,
    /// The time is given as seconds since 1970 as well.
    pub extended_time: bool,
    /// How the data lie there.
    pub method: Method,
    /// Of the data as they are read.
    pub crc: u32,
    /// Bytes of the data as they are read.
    pub length: u64,
    /// Bytes that they take in the file.
    pub packed: u64,
}

/// A ZIP file that is being written.
#[derive(Debug)]
pub struct Pack<W> {
    out: W,
    at: u64,
    /// The directory as far as it is known.
    directory: Vec<u8>,
    entries: u64,
    /// Of the entry under way, not yet written.
    left: u64,
    /// Numbers from here on get fields of 64 bits.
    large: u64,
}

/// CRC-32 of data.
pub fn crc(data: &[u8]) -> u32 {
    crc32fast::hash(data)
}

/// In the form of MS-DOS, in UTC: time, then date.
fn dos_time(time: UnixTime) -> [u16; 2] {
    let made = time::OffsetDateTime::from_unix_timestamp(time.as_secs()).ok().and_then(|at| {
        let (year, month, day) = (u16::try_from(at.year()).ok()?, at.month().into(), at.day());
        zip::DateTime::from_date_and_time(year, month, day, at.hour(), at.minute(), at.second()).ok()
    });
    let made = made.unwrap_or_default();
    [made.timepart(), made.datepart()]
}

impl Head<'_> {
    /// The fields that stand alike in front of the data and in the directory, from the version to the length of the name.
    fn common(&self, version: u16, large: bool) -> Vec<u8> {
        let [time, date] = dos_time(self.time);
        let flags = if self.name.is_ascii() { 0 } else { UTF8 };
        let of = |bytes: u64| if large { ELSEWHERE } else { bytes as u32 };
        let mut fields = Vec::with_capacity(46 + self.name.len() + 32);
        for field in [version, flags, self.method as u16, time, date] {
            fields.extend_from_slice(&field.to_le_bytes());
        }
        for field in [self.crc, of(self.packed), of(self.length)] {
            fields.extend_from_slice(&field.to_le_bytes());
        }
        fields.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        fields
    }

    fn extra(&self, large: &[u64]) -> Vec<u8> {
        let mut extra = Vec::new();
        if !large.is_empty() {
            extra.extend_from_slice(&LARGE.to_le_bytes());
            extra.extend_from_slice(&(8 * large.len() as u16).to_le_bytes());
            large.iter().for_each(|number| extra.extend_from_slice(&number.to_le_bytes()));
        }
        if let (true, Ok(seconds)) = (self.extended_time, i32::try_from(self.time.as_secs())) {
            extra.extend_from_slice(&EXTENDED_TIMESTAMP.to_le_bytes());
            extra.extend_from_slice(&[5, 0, 1]);
            extra.extend_from_slice(&seconds.to_le_bytes());
        }
        extra
    }
}

impl<W: Write> Pack<W> {
    /// A file that holds nothing yet.
    pub fn new(out: W) -> Self {
        let large = u64::from(ELSEWHERE);
        Self { out, at: 0, directory: Vec::new(), entries: 0, left: 0, large }
    }

    /// An entry with its data as they lie there.
    ///
    /// # Errors
    /// What the file says; data of another length than `head` has.
    pub fn put(&mut self, head: &Head<'_>, packed: &[u8]) -> io::Result<()> {
        self.begin(head)?;
        self.write_all(packed)
    }

    /// Begins an entry: as many bytes as it takes are to be written next, and no more.
    ///
    /// # Errors
    /// What the file says; the entry before is not whole.
    pub fn begin(&mut self, head: &Head<'_>) -> io::Result<()> {
        self.whole()?;
        if head.name.len() >= usize::from(MANY) {
            return Err(io::Error::other("the name of an entry is too long"));
        }
        let at = self.at;
        let before = self.in_front(head);
        self.out.write_all(&before)?;
        self.at += before.len() as u64;
        self.list(head, at);
        (self.entries, self.left) = (self.entries + 1, head.packed);
        Ok(())
    }

    /// What stands in front of the data, §4.3.7.
    fn in_front(&self, head: &Head<'_>) -> Vec<u8> {
        let large = head.packed.max(head.length) >= self.large;
        let numbers = [head.length, head.packed];
        let extra = head.extra(if large { &numbers } else { &[] });
        let mut before = b"PK\x03\x04".to_vec();
        before.extend(head.common(VERSION[usize::from(large)], large));
        before.extend_from_slice(&(extra.len() as u16).to_le_bytes());
        before.extend_from_slice(head.name.as_bytes());
        before.extend(extra);
        before
    }

    /// Its line of the directory, §4.3.12.
    fn list(&mut self, head: &Head<'_>, at: u64) {
        let (large, far) = (head.packed.max(head.length) >= self.large, at >= self.large);
        let mut numbers = Vec::new();
        numbers.extend(large.then_some([head.length, head.packed]).into_iter().flatten());
        numbers.extend(far.then_some(at));
        let (version, extra) = (VERSION[usize::from(large || far)], head.extra(&numbers));
        let directory = &mut self.directory;
        directory.extend_from_slice(b"PK\x01\x02");
        directory.extend_from_slice(&(MADE_BY | version).to_le_bytes());
        directory.extend(head.common(version, large));
        // No comment, on the first disk, not a text.
        for field in [extra.len() as u16, 0, 0, 0] {
            directory.extend_from_slice(&field.to_le_bytes());
        }
        directory.extend_from_slice(&ATTRIBUTES.to_le_bytes());
        directory.extend_from_slice(&(if far { ELSEWHERE } else { at as u32 }).to_le_bytes());
        directory.extend_from_slice(head.name.as_bytes());
        directory.extend(extra);
    }

    fn whole(&self) -> io::Result<()> {
        match self.left {
            0 => Ok(()),
            left => Err(io::Error::other(format!("{left} bytes of an entry were not written"))),
        }
    }

    /// The directory, and a comment; what was written to.
    ///
    /// # Errors
    /// What the file says; the last entry is not whole.
    pub fn finish(mut self, comment: &str) -> io::Result<W> {
        self.whole()?;
        let (at, bytes, entries) = (self.at, self.directory.len() as u64, self.entries);
        let mut end = std::mem::take(&mut self.directory);
        if at.max(bytes) >= self.large || entries >= u64::from(MANY) {
            // §4.3.14 and §4.3.15: the same in fields of 64 bits, and where that stands.
            end.extend_from_slice(b"PK\x06\x06");
            end.extend_from_slice(&44_u64.to_le_bytes());
            end.extend_from_slice(&(MADE_BY | VERSION[1]).to_le_bytes());
            end.extend_from_slice(&VERSION[1].to_le_bytes());
            end.extend_from_slice(&[0; 8]);
            [entries, entries, bytes, at]
                .iter()
                .for_each(|number| end.extend_from_slice(&number.to_le_bytes()));
            end.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            end.extend_from_slice(&(at + bytes).to_le_bytes());
            end.extend_from_slice(&1_u32.to_le_bytes());
        }
        let short = |number: u64| if number >= self.large { ELSEWHERE } else { number as u32 };
        let entries = u16::try_from(entries).unwrap_or(MANY);
        end.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        [entries, entries].iter().for_each(|number| end.extend_from_slice(&number.to_le_bytes()));
        [short(bytes), short(at)].iter().for_each(|number| end.extend_from_slice(&number.to_le_bytes()));
        end.extend_from_slice(&(comment.len() as u16).to_le_bytes());
        end.extend_from_slice(comment.as_bytes());
        self.out.write_all(&end)?;
        Ok(self.out)
    }

    /// What is written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Write for Pack<W> {
    /// Data of the entry that was begun.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() as u64 > self.left {
            return Err(io::Error::other("an entry is longer than it was said to be"));
        }
        let count = self.out.write(data)?;
        (self.at, self.left) = (self.at + count as u64, self.left - count as u64);
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write + Seek> Pack<W> {
    /// An entry that is deflated as it is read, below 4 GiB; what stands in front of it is written when its end has been reached.
    /// Lengths and checksum of `head` are not looked at.
    ///
    /// # Errors
    /// What `data` or the file says; more than 4 GiB.
    pub fn stream(&mut self, head: &Head<'_>, data: &mut dyn Read, level: u32) -> io::Result<()> {
        self.whole()?;
        let mut head = Head { method: Method::Deflated, crc: 0, length: 0, packed: 0, ..*head };
        let (at, before) = (self.at, self.in_front(&head).len() as u64);
        let start = self.out.stream_position()?;
        self.out.write_all(&self.in_front(&head))?;
        let (mut deflate, mut crc) = (Compress::new(Compression::new(level), false), Crc::new());
        let (mut read, mut written) = (vec![0; CHUNK_BYTES], Vec::with_capacity(CHUNK_BYTES));
        loop {
            let count = data.read(&mut read)?;
            crc.update(&read[..count]);
            head.length += count as u64;
            let flush = if count == 0 { FlushCompress::Finish } else { FlushCompress::None };
            let mut from = 0;
            let ended = loop {
                written.clear();
                let before = deflate.total_in();
                let status = deflate.compress_vec(&read[from..count], &mut written, flush)?;
                from += (deflate.total_in() - before) as usize;
                self.out.write_all(&written)?;
                let room = written.len() < written.capacity();
                if status == Status::StreamEnd || (room && from == count && count > 0) {
                    break status == Status::StreamEnd;
                }
            };
            if ended {
                break;
            }
        }
        (head.crc, head.packed) = (crc.finalize(), deflate.total_out());
        if head.packed.max(head.length) >= u64::from(ELSEWHERE) {
            return Err(io::Error::other("an entry that is deflated as it is read must be below 4 GiB"));
        }
        let end = self.out.stream_position()?;
        self.out.seek(SeekFrom::Start(start))?;
        self.out.write_all(&self.in_front(&head))?;
        self.out.seek(SeekFrom::Start(end))?;
        self.list(&head, at);
        (self.at, self.entries) = (at + before + head.packed, self.entries + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use zip::ZipArchive;

    use super::*;

    const TIME: UnixTime = UnixTime(1_795_285_932_700);

    fn head<'a>(name: &'a str, data: &[u8]) -> Head<'a> {
        let length = data.len() as u64;
        Head {
            name,
            time: TIME,
            extended_time: false,
            method: Method::Stored,
            crc: crc(data),
            length,
            packed: length,
        }
    }

    fn entries(bytes: Vec<u8>) -> Vec<(String, Vec<u8>)> {
        let mut zip = ZipArchive::new(Cursor::new(bytes)).expect("it is a ZIP");
        zip.validate_header_consistency().expect("it says one thing");
        let count = zip.len();
        let read = |index| {
            let mut entry = zip.by_index(index).expect("it is there");
            assert_eq!(entry.last_modified().expect("a time").to_string(), "2026-11-21 18:32:12");
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("it has its checksum");
            (entry.name().expect("UTF-8").into_owned(), data)
        };
        (0..count).map(read).collect()
    }

    /// `large`: from which number on fields have 64 bits.
    fn packed(files: &[(&str, &[u8])], large: u64) -> Vec<u8> {
        let mut pack = Pack { large, ..Pack::new(Vec::new()) };
        files.iter().for_each(|(name, data)| pack.put(&head(name, data), data).expect("memory takes it"));
        pack.finish("said").expect("memory takes it")
    }

    #[test]
    fn what_is_written_is_read_with_small_fields_and_with_large_ones() {
        let files: [(&str, &[u8]); 4] =
            [("one", b"1"), ("jäär", b""), ("two", &[7; 3000]), ("three", b"333")];
        let expected: Vec<_> = files.iter().map(|(name, data)| ((*name).to_owned(), data.to_vec())).collect();
        // As usual; one large entry; offsets too; everything.
        for large in [u64::from(ELSEWHERE), 3000, 100, 0] {
            let bytes = packed(&files, large);
            assert_eq!(entries(bytes.clone()), expected, "{large}");
            assert_eq!(bytes.windows(4).any(|four| four == b"PK\x06\x06"), large <= 3000, "{large}");
        }
        let many: Vec<String> = (0..70_000).map(|number| number.to_string()).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        let found = entries(packed(&many, u64::from(ELSEWHERE)));
        assert!(found.len() == 70_000 && found.iter().all(|(name, data)| name.as_bytes() == *data));
    }

    #[test]
    fn an_entry_has_the_length_that_was_said() {
        let mut pack = Pack::new(Vec::new());
        pack.begin(&head("a", b"abc")).unwrap();
        pack.write_all(b"ab").unwrap();
        assert!(pack.begin(&head("b", b"")).is_err(), "one byte is missing");
        assert!(pack.write_all(b"cd").is_err(), "one too many");
        pack.write_all(b"c").unwrap();
        assert!(pack.put(&head("b", b"12"), b"1").is_ok());
        assert!(pack.finish("").is_err());
    }

    #[test]
    fn what_streams_is_deflated_and_stands_among_the_others() {
        let long: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for data in [&long[..], &[][..], &long[..CHUNK_BYTES]] {
            let mut pack = Pack::new(Cursor::new(vec![9; 5]));
            pack.out.set_position(5);
            pack.put(&head("before", b"b"), b"b").unwrap();
            pack.stream(&head("streamed", b""), &mut &data[..], 2).unwrap();
            pack.put(&head("behind", b"c"), b"c").unwrap();
            let bytes = pack.finish("").unwrap().into_inner().split_off(5);
            assert!(bytes.len() < data.len() / 2 + 400);
            let found = entries(bytes);
            assert_eq!(
                found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                ["before", "streamed", "behind"]
            );
            assert!(found[1].1 == data);
        }
    }
}
