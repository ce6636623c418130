//! A log's folder, read without its server and without its index: verification, search, export, figures.
//!
//! Nothing is written. The log may be in use: what is being appended meanwhile is left out. Search walks through heads of frames,
//! segment by segment; segments that were closed before or begun after the time asked for are passed over.
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki::merkle::{self, Hash};
use pki::note::{Checkpoint, Verifier};
use pki::tsp::Token;
use prost::Message;
use proto::id::{ClientId, ServiceId};
use proto::time::UnixTime;

use super::archive::state::{self, State};
use super::crypt::Keys;
use super::expiry::{Mark, marked};
use super::holders::Progress;
use super::record::{Record, read_record};
use super::store::format::{Kind, RecordHead, StampHead, StartHead};
use super::store::index::Place;
use super::store::reader::Reader;
use super::store::recovery::{self, Damage, Report, Tail, start_of};
use super::store::segment::{self, Readable, Seen, Step};
use super::tree::{self, Tree};
use super::{Direction, RecordId};

/// Why the folder cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct OfflineError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// A log's folder.
#[derive(Debug)]
pub struct Offline {
    dir: PathBuf,
    tail: Tail,
    log_id: Vec<u8>,
    torn: bool,
    reader: Arc<Reader>,
}

/// What is looked for; everything that is set must fit.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Number of the record.
    pub record: Option<u64>,
    /// Message id.
    pub message_id: Option<String>,
    /// `x-road-request-id`.
    pub request_id: Option<String>,
    /// Client or producer: a member with all its subsystems, or one subsystem.
    pub party: Option<ClientId>,
    /// Code of the service.
    pub service: Option<String>,
    /// Request or response.
    pub direction: Option<Direction>,
    /// From this time on.
    pub since: Option<UnixTime>,
    /// Up to this time.
    pub until: Option<UnixTime>,
}

/// A record as a search finds it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number.
    pub id: RecordId,
    /// When it was signed or verified.
    pub at: UnixTime,
    /// Request or response.
    pub direction: Direction,
    /// The local party is the client.
    pub consumer_side: bool,
    /// Message id.
    pub message_id: String,
    /// `x-road-request-id`.
    pub request_id: String,
    /// Who asked.
    pub client: ClientId,
    /// What was asked.
    pub service: ServiceId,
    /// It is a REST message.
    pub rest: bool,
    /// Its body was not to be logged.
    pub stripped: bool,
    /// Of message and bodies.
    pub bytes: u64,
    /// Leaf of the tree: the head of its frame.
    pub leaf: Vec<u8>,
    place: Place,
    stamp: Option<(Place, usize)>,
}

impl Line {
    /// It has a timestamp.
    pub fn is_stamped(&self) -> bool {
        self.stamp.is_some()
    }
    /// Which of the two parties is ours.
    pub fn local(&self) -> &ClientId {
        if self.consumer_side { &self.client } else { &self.service.client }
    }
}

/// What a look at the tree and its heads found.
#[derive(Clone, Debug, Default)]
pub struct TreeReport {
    /// Leaves.
    pub size: u64,
    /// Heads whose signature and root hold.
    pub heads: u64,
    /// Of these, heads with a timestamp over them. Whose it is, is not looked at here.
    pub stamped_heads: u64,
    /// The newest head that holds.
    pub newest: Option<String>,
    /// Records whose leaf was compared with the tree.
    pub compared: u64,
    /// What does not hold, in words.
    pub problems: Vec<String>,
}

impl Offline {
    /// Looks for the log's end. `keys` are needed to read messages that are encrypted, and for nothing else.
    ///
    /// # Errors
    /// There is no log, or its last segment cannot be read.
    pub fn open(dir: &Path, keys: Keys) -> Result<Self, OfflineError> {
        let failed = |reason: String| OfflineError { path: dir.to_owned(), reason };
        let found = recovery::look(dir).map_err(|e| failed(e.to_string()))?;
        let found = found.ok_or_else(|| failed("there is no message log in it".into()))?;
        Ok(Self {
            dir: dir.to_owned(),
            tail: found.tail,
            log_id: found.log_id,
            torn: found.torn,
            reader: Arc::new(Reader::new(dir, Arc::new(keys))),
        })
    }

    /// The name under which the log signs.
    pub fn origin(&self) -> String {
        tree::origin(&self.log_id)
    }

    /// Something was being written when the log was looked at, or when it was last stopped.
    pub fn torn(&self) -> bool {
        self.torn
    }

    /// Walks through everything: checksums, chain, what records name, marks of what has expired. `key` is the log's own, when it is
    /// known from elsewhere; otherwise that in the folder is believed.
    ///
    /// # Errors
    /// The disk; damage is a result.
    pub fn verify(&self, key: Option<&Verifier>) -> Result<Report, OfflineError> {
        let own = tree::public_key(&self.dir).ok();
        let key = key.or(own.as_ref());
        let report = recovery::verify(&self.dir, &self.tail, key);
        let mut report = report.map_err(|e| self.failed(e.to_string()))?;
        self.check_marks(key, &mut report.damage)?;
        Ok(report)
    }

    /// Its folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// How far those who hold heads outside have come, by name.
    ///
    /// # Errors
    /// The disk, or a damaged file.
    pub fn holders(&self) -> Result<BTreeMap<String, Progress>, OfflineError> {
        super::holders::progress(&self.dir).map_err(|e| self.failed(format!("holders: {e}")))
    }

    pub(super) fn failed(&self, reason: String) -> OfflineError {
        OfflineError { path: self.dir.clone(), reason }
    }

    /// Marks are about leaves that the tree still has.
    fn check_marks(&self, key: Option<&Verifier>, damage: &mut Vec<Damage>) -> Result<(), OfflineError> {
        let numbers = marked(&self.dir).map_err(|e| self.failed(e.to_string()))?;
        let (Some(key), Ok(tree)) = (key, Tree::read(&self.dir)) else { return Ok(()) };
        for segment in numbers {
            let Ok(Some(mark)) = Mark::load(&self.dir, segment, key) else { continue };
            let same = tree.leaves_hash(mark.records.0, mark.records.1).is_ok_and(|hash| hash == mark.leaves);
            if !same {
                let what = "the tree has other leaves than those of the records that have expired".to_owned();
                damage.push(Damage { segment, offset: 0, what, record: None });
            }
        }
        Ok(())
    }

    /// Compares every record with its leaf and every head with the tree.
    ///
    /// # Errors
    /// The disk; there is no tree.
    pub fn verify_tree(&self, key: Option<&Verifier>) -> Result<TreeReport, OfflineError> {
        let io = |e: std::io::Error| self.failed(format!("tree: {e}"));
        let own = tree::public_key(&self.dir).ok();
        let key =
            key.or(own.as_ref()).ok_or_else(|| self.failed("the log's public key is not known".into()))?;
        let mut tree = Tree::read(&self.dir).map_err(io)?;
        let mut report = TreeReport { size: tree.size(), ..TreeReport::default() };
        self.records(|line| {
            if line.id.0 > tree.size() {
                return;
            }
            report.compared += 1;
            if tree.leaf(line.id.0).ok() != Some(merkle::leaf(&line.leaf)) {
                report.problems.push(format!("record {} is not the one that the tree has", line.id.0));
            }
        })?;
        if !tree.is_sound().map_err(io)? {
            report.problems.push("the hashes above the leaves are not those of the leaves".to_owned());
        }
        for size in tree.heads().map_err(io)? {
            let (note, token) = tree.head(size).map_err(io)?;
            match check_head(&mut tree, size, &note, key) {
                Ok(()) => {
                    report.heads += 1;
                    let imprint = |token: Vec<u8>| {
                        let digest = pki::digest::DigestAlgorithm::Sha512.digest(note.as_bytes());
                        Token::parse(&token).is_ok_and(|token| *token.imprint() == digest)
                    };
                    match token.map(imprint) {
                        Some(true) => report.stamped_heads += 1,
                        Some(false) => {
                            report.problems.push(format!("head {size}: its timestamp is of something else"))
                        }
                        None => {}
                    }
                    report.newest = Some(note);
                }
                Err(reason) => report.problems.push(format!("head {size}: {reason}")),
            }
        }
        Ok(report)
    }

    /// Proof that a record is in the tree of `size` leaves, or of all there are; with the size.
    ///
    /// # Errors
    /// The disk; the tree does not reach so far.
    pub fn inclusion(&self, record: u64, size: Option<u64>) -> Result<(u64, Vec<Hash>), OfflineError> {
        let (mut tree, size) = self.tree_of(size)?;
        if record == 0 || record > size {
            return Err(self.failed(format!("record {record} is not among the {size} leaves of that head")));
        }
        let proof = merkle::inclusion(&mut tree, record - 1, size);
        Ok((size, proof.map_err(|e| self.failed(e.to_string()))?))
    }

    /// Proof that the tree of `old` leaves is the start of that of `size`, or of all there are; with the size.
    ///
    /// # Errors
    /// The disk; the tree does not reach so far.
    pub fn consistency(&self, old: u64, size: Option<u64>) -> Result<(u64, Vec<Hash>), OfflineError> {
        let (mut tree, size) = self.tree_of(size)?;
        if old == 0 || old > size {
            return Err(self.failed(format!("{old} is not from 1 to {size}")));
        }
        let proof = merkle::consistency(&mut tree, old, size);
        Ok((size, proof.map_err(|e| self.failed(e.to_string()))?))
    }

    /// The signed head of this size, or the newest.
    ///
    /// # Errors
    /// There is none.
    pub fn head(&self, size: Option<u64>) -> Result<(u64, String), OfflineError> {
        let failed = |e: std::io::Error| self.failed(format!("heads: {e}"));
        let tree = Tree::read(&self.dir).map_err(failed)?;
        let heads = tree.heads().map_err(failed)?;
        let size = match size {
            Some(size) => heads.into_iter().find(|head| *head == size),
            None => heads.into_iter().next_back(),
        };
        let size = size.ok_or_else(|| self.failed("there is no such head".into()))?;
        Ok((size, tree.head(size).map_err(failed)?.0))
    }

    fn tree_of(&self, size: Option<u64>) -> Result<(Tree, u64), OfflineError> {
        let tree = Tree::read(&self.dir).map_err(|e| self.failed(format!("tree: {e}")))?;
        let size = size.unwrap_or_else(|| tree.size());
        if size > tree.size() {
            return Err(self.failed(format!("the tree has {} leaves, not {size}", tree.size())));
        }
        Ok((tree, size))
    }

    /// At most `limit` records that fit, oldest first.
    ///
    /// # Errors
    /// The disk; damaged records are passed over.
    pub fn find(&self, filter: &Filter, limit: usize) -> Result<Vec<Line>, OfflineError> {
        let mut found: BTreeMap<u64, Line> = BTreeMap::new();
        let mut complete = false;
        self.walk(filter, |place, seen| match seen.kind {
            Kind::Record if !complete => {
                let Some(line) = line(place, seen).filter(|line| filter.fits(line)) else { return true };
                found.insert(line.id.0, line);
                complete = found.len() >= limit || filter.record.is_some();
                true
            }
            Kind::Stamp => {
                let Ok(head) = StampHead::decode(seen.head.as_slice()) else { return true };
                for (number, sequence) in head.sequences.iter().enumerate() {
                    if let Some(line) = found.get_mut(sequence) {
                        line.stamp = Some((place, number));
                    }
                }
                !complete || found.values().any(|line| line.stamp.is_none())
            }
            _ => true,
        })?;
        Ok(found.into_values().collect())
    }

    /// Every record, in order; their stamps are not looked for.
    ///
    /// # Errors
    /// The disk; damaged records are passed over.
    pub fn records(&self, mut visit: impl FnMut(Line)) -> Result<(), OfflineError> {
        self.walk(&Filter::default(), |place, seen| {
            if seen.kind == Kind::Record
                && let Some(line) = line(place, seen)
            {
                visit(line);
            }
            true
        })
    }

    /// Every record with its stamp, grouped by segment: what many threads can work on.
    ///
    /// # Errors
    /// The disk.
    pub fn by_segment(&self) -> Result<Vec<Vec<Line>>, OfflineError> {
        let (mut segments, mut stamps) = (BTreeMap::<u64, Vec<Line>>::new(), HashMap::new());
        self.walk(&Filter::default(), |place, seen| {
            match seen.kind {
                Kind::Record => segments.entry(place.segment).or_default().extend(line(place, seen)),
                Kind::Stamp => {
                    if let Ok(head) = StampHead::decode(seen.head.as_slice()) {
                        stamps.extend(
                            head.sequences.into_iter().zip(0..).map(|(s, number)| (s, (place, number))),
                        );
                    }
                }
                _ => {}
            }
            true
        })?;
        let mut segments: Vec<_> = segments.into_values().collect();
        segments.iter_mut().flatten().for_each(|line| line.stamp = stamps.get(&line.id.0).copied());
        Ok(segments)
    }

    /// The record of a line.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, line: &Line) -> Result<Record, OfflineError> {
        let read = read_record(&self.reader, line.id, line.place, line.stamp);
        read.map_err(|e| self.failed(format!("record {}: {e}", line.id.0)))
    }

    /// Bytes of all segments, without what is reserved for records to come, and bytes that are free on the disk.
    ///
    /// # Errors
    /// The disk.
    pub fn space(&self) -> Result<(u64, u64), OfflineError> {
        let io = |e: std::io::Error| self.failed(e.to_string());
        let mut bytes = 0;
        for number in segment::list(&self.dir).map_err(io)? {
            let found = std::fs::metadata(segment::path_of(&self.dir, number)).map_err(io)?;
            bytes += if number == self.tail.segment { self.tail.end } else { found.len() };
        }
        let disk = rustix::fs::statvfs(&self.dir).map_err(|e| self.failed(e.to_string()))?;
        Ok((bytes, disk.f_bavail.saturating_mul(disk.f_frsize)))
    }

    /// Records that could not be archived: those that still lie in the log, and those that are lost.
    ///
    /// # Errors
    /// The disk, or a state of archiving that cannot be read.
    pub fn damaged(&self) -> Result<(Vec<u64>, Vec<u64>), OfflineError> {
        let state = State::load(&state::path(&self.dir)).map_err(|e| self.failed(e.to_string()))?;
        Ok((state.unreadable.into_iter().collect(), state.lost.into_iter().collect()))
    }

    /// Frames of the segments that may hold what is looked for, until `visit` says that it has seen enough.
    fn walk(&self, filter: &Filter, mut visit: impl FnMut(Place, &Seen) -> bool) -> Result<(), OfflineError> {
        let bounds = recovery::bounds(&self.dir, &self.tail, None).map_err(|e| self.failed(e.to_string()))?;
        for (position, (number, end)) in bounds.iter().enumerate() {
            let next = bounds.get(position + 1).and_then(|(next, _)| start_of(&self.dir, *next));
            // The next segment was started when this one was full; a record is older than its frame, never younger.
            let before = |next: &StartHead| filter.since.is_some_and(|since| UnixTime(next.at) < since);
            if next.as_ref().is_some_and(before) {
                continue;
            }
            let readable = match Readable::open(&self.dir, *number) {
                Ok(readable) => readable,
                Err(_) => continue,
            };
            let failed = |e: segment::ReadError| self.failed(e.to_string());
            let mut walker = readable.walk(0, Some(*end), u64::MAX).map_err(failed)?;
            loop {
                match walker.step().map_err(failed)? {
                    Step::Frame(seen) => {
                        if !visit(Place { segment: *number, offset: seen.offset }, &seen) {
                            return Ok(());
                        }
                    }
                    Step::Damage { .. } => {}
                    Step::End { .. } => break,
                }
            }
        }
        Ok(())
    }
}

fn check_head(tree: &mut Tree, size: u64, note: &str, key: &Verifier) -> Result<(), String> {
    let text = key.open(note).map_err(|e| e.to_string())?;
    let head = Checkpoint::parse(text).map_err(|e| e.to_string())?;
    if head.origin != key.name() || head.size != size {
        return Err("it is of another log or size".into());
    }
    if size > tree.size() {
        return Err(format!("the tree has {} leaves only", tree.size()));
    }
    match tree.root(size).map_err(|e| e.to_string())? == head.root {
        true => Ok(()),
        false => Err("the tree has another root: records before it were changed, added or removed".into()),
    }
}

fn line(place: Place, seen: &Seen) -> Option<Line> {
    let head = RecordHead::decode(seen.head.as_slice()).ok()?;
    Some(Line {
        id: RecordId(head.sequence),
        at: UnixTime(head.at),
        direction: if head.response { Direction::Response } else { Direction::Request },
        consumer_side: head.consumer_side,
        client: (&head.client).into(),
        service: head.service(),
        rest: head.rest,
        stripped: head.stripped,
        bytes: head.message_bytes + head.attachments.iter().map(|body| body.length).sum::<u64>(),
        message_id: head.message_id,
        request_id: head.request_id,
        leaf: seen.head.clone(),
        place,
        stamp: None,
    })
}

impl Filter {
    fn fits(&self, line: &Line) -> bool {
        let party = |wanted: &ClientId| {
            [&line.client, &line.service.client].into_iter().any(|party| {
                party.member == wanted.member
                    && (wanted.subsystem.is_none() || party.subsystem == wanted.subsystem)
            })
        };
        self.record.is_none_or(|record| record == line.id.0)
            && self.message_id.as_ref().is_none_or(|id| *id == line.message_id)
            && self.request_id.as_ref().is_none_or(|id| *id == line.request_id)
            && self.party.as_ref().is_none_or(party)
            && self.service.as_ref().is_none_or(|code| *code == line.service.code)
            && self.direction.is_none_or(|direction| direction == line.direction)
            && self.since.is_none_or(|since| line.at >= since)
            && self.until.is_none_or(|until| line.at <= until)
    }
}
