//! Finds delimiter lines in a stream of chunks and hands out what lies between them.
//!
//! A delimiter is a line that begins with `--` and the boundary, then perhaps `--`, then nothing but blanks. The line break before
//! it belongs to it. Inside a chunk it is found by substring search; where a chunk ends inside one, [`Matching`] goes on byte by
//! byte. Since a line feed stands at the front of what is looked for and nowhere else, a failed match never has to go back.
use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::{Buf, Bytes};
use memchr::memmem::Finder;

/// How every delimiter begins. What is searched for is prepared once and not for each boundary, which is of one message: that takes
/// longer than the search.
static BEGINNING: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n--"));

/// What was found next.
#[derive(Debug)]
pub(super) enum Scan {
    /// Bytes that belong to no delimiter; never empty.
    Data(Bytes),
    /// A whole delimiter line was taken.
    Delimiter { close: bool },
    /// More input is needed.
    More,
    /// The input has ended.
    End,
}

#[derive(Debug)]
pub(super) struct Scanner {
    /// `\n--boundary`.
    pattern: Vec<u8>,
    /// Most blanks after a boundary.
    padding: usize,
    input: Bytes,
    waiting: VecDeque<Bytes>,
    finished: bool,
    /// What may become a delimiter, begun in an earlier chunk.
    matching: Option<Matching>,
    /// The bytes that `matching` has seen.
    held: Vec<u8>,
    /// The delimiter at the front of the input, when it was found behind the data that was told last.
    due: Option<Delimiter>,
}

/// A delimiter that was found: its bytes, line end included.
#[derive(Clone, Copy, Debug)]
struct Delimiter {
    length: usize,
    close: bool,
}

/// How far a delimiter has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matching {
    /// A carriage return.
    Return,
    /// So many bytes of the pattern, at least its line feed.
    Pattern(usize),
    /// The boundary and one hyphen.
    Hyphen,
    /// The boundary, perhaps `--`, and so many blanks.
    Blanks { close: bool, count: usize },
    /// The carriage return that ends the line.
    LastReturn { close: bool },
}

enum Step {
    Next(Matching),
    Delimiter {
        close: bool,
    },
    /// The byte does not belong to it.
    Failed,
}

impl Scanner {
    pub(super) fn new(boundary: &[u8], padding: usize) -> Self {
        Self {
            pattern: [b"\n--", boundary].concat(),
            padding,
            input: Bytes::new(),
            waiting: VecDeque::new(),
            finished: false,
            // The input begins a line.
            matching: Some(Matching::Pattern(1)),
            held: Vec::new(),
            due: None,
        }
    }

    pub(super) fn feed(&mut self, chunk: Bytes) {
        if self.input.is_empty() {
            self.input = chunk;
        } else {
            self.waiting.push_back(chunk);
        }
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    pub(super) fn next(&mut self) -> Scan {
        if let Some(found) = self.due.take() {
            return self.take(found);
        }
        loop {
            if self.input.is_empty() {
                match self.waiting.pop_front() {
                    Some(chunk) => self.input = chunk,
                    None if self.finished => return self.end(),
                    None => return Scan::More,
                }
                continue;
            }
            let found = if self.matching.is_some() { self.go_on() } else { self.search() };
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Goes on with a match that an earlier chunk began.
    fn go_on(&mut self) -> Option<Scan> {
        let mut matching = self.matching?;
        for (at, byte) in self.input.iter().enumerate() {
            match self.step(matching, *byte) {
                Step::Next(next) => matching = next,
                Step::Delimiter { close } => {
                    self.input.advance(at + 1);
                    self.held.clear();
                    self.matching = Some(Matching::Pattern(1));
                    return Some(Scan::Delimiter { close });
                }
                Step::Failed => {
                    self.held.extend_from_slice(&self.input[..at]);
                    self.input.advance(at);
                    self.matching = None;
                    return self.take_held();
                }
            }
        }
        self.held.extend_from_slice(&self.input);
        self.input = Bytes::new();
        self.matching = Some(matching);
        None
    }

    /// Looks for a delimiter in the current chunk, or for the beginning of one at its end.
    fn search(&mut self) -> Option<Scan> {
        let mut from = 0;
        while let Some(found) = BEGINNING.find(&self.input[from..]) {
            let line_feed = from + found;
            let start = line_feed - usize::from(line_feed > 0 && self.input[line_feed - 1] == b'\r');
            let mut at = line_feed + BEGINNING.needle().len();
            let mut matching = Matching::Pattern(BEGINNING.needle().len());
            loop {
                let Some(byte) = self.input.get(at) else {
                    return self.hold(start, matching);
                };
                match self.step(matching, *byte) {
                    Step::Next(next) => matching = next,
                    Step::Delimiter { close } => {
                        let found = Delimiter { length: at + 1 - start, close };
                        if start == 0 {
                            return Some(self.take(found));
                        }
                        self.due = Some(found);
                        return Some(Scan::Data(self.input.split_to(start)));
                    }
                    Step::Failed => break,
                }
                at += 1;
            }
            // A boundary has no line feed, so no delimiter begins in what was seen of one.
            from = at;
        }
        match self.beginning() {
            Some((start, matching)) => self.hold(start, matching),
            None => Some(Scan::Data(std::mem::take(&mut self.input))),
        }
    }

    /// Takes a delimiter off the front of the input.
    fn take(&mut self, found: Delimiter) -> Scan {
        self.input.advance(found.length);
        self.matching = Some(Matching::Pattern(1));
        Scan::Delimiter { close: found.close }
    }

    /// Where the chunk's end may be the beginning of a delimiter.
    fn beginning(&self) -> Option<(usize, Matching)> {
        let input = &self.input[..];
        let tail = input.len().saturating_sub(self.pattern.len());
        if let Some(found) = memchr::memrchr(b'\n', &input[tail..]) {
            let line_feed = tail + found;
            let seen = &input[line_feed..];
            if self.pattern.starts_with(seen) {
                let start = line_feed - usize::from(line_feed > 0 && input[line_feed - 1] == b'\r');
                return Some((start, Matching::Pattern(seen.len())));
            }
        }
        (input.last() == Some(&b'\r')).then(|| (input.len() - 1, Matching::Return))
    }

    /// Keeps what may be a delimiter for the next chunk; what lies before it is data.
    fn hold(&mut self, start: usize, matching: Matching) -> Option<Scan> {
        let data = self.input.split_to(start);
        self.held.extend_from_slice(&self.input);
        self.input = Bytes::new();
        self.matching = Some(matching);
        (!data.is_empty()).then_some(Scan::Data(data))
    }

    fn take_held(&mut self) -> Option<Scan> {
        (!self.held.is_empty()).then(|| Scan::Data(Bytes::from(std::mem::take(&mut self.held))))
    }

    /// A delimiter needs no line end at the end of the input.
    fn end(&mut self) -> Scan {
        match self.matching.take() {
            Some(Matching::Blanks { close, .. } | Matching::LastReturn { close }) => {
                self.held.clear();
                Scan::Delimiter { close }
            }
            Some(Matching::Pattern(seen)) if seen == self.pattern.len() => {
                self.held.clear();
                Scan::Delimiter { close: false }
            }
            _ => self.take_held().unwrap_or(Scan::End),
        }
    }

    fn step(&self, matching: Matching, byte: u8) -> Step {
        let pattern = &self.pattern[..];
        let next = match (matching, byte) {
            (Matching::Return, b'\n') => Matching::Pattern(1),
            (Matching::Pattern(seen), byte) if seen < pattern.len() => match byte == pattern[seen] {
                true => Matching::Pattern(seen + 1),
                false => return Step::Failed,
            },
            (Matching::Pattern(_), b'-') => Matching::Hyphen,
            (Matching::Hyphen, b'-') => Matching::Blanks { close: true, count: 0 },
            (Matching::Pattern(_), b' ' | b'\t') => Matching::Blanks { close: false, count: 1 },
            (Matching::Blanks { close, count }, b' ' | b'\t') if count < self.padding => {
                Matching::Blanks { close, count: count + 1 }
            }
            (Matching::Pattern(_), b'\r') => Matching::LastReturn { close: false },
            (Matching::Blanks { close, .. }, b'\r') => Matching::LastReturn { close },
            (Matching::Pattern(_), b'\n') => return Step::Delimiter { close: false },
            (Matching::Blanks { close, .. } | Matching::LastReturn { close }, b'\n') => {
                return Step::Delimiter { close };
            }
            _ => return Step::Failed,
        };
        Step::Next(next)
    }
}
