//! A large document by pieces: windows of its text, each one whole enough to be read as a document.
//!
//! A window is the start of the document up to the start tag of its root, and then some of the root's children from the first one that
//! has not been read. [`Reader`] reads it as if it were all there is; where it runs into the end of the window, what was complete is
//! [noted](Windows::complete) and the next window begins behind it. So every rule of the reader holds for every byte, and memory is that
//! of a window: [`FIRST_BYTES`], or twice the largest child. Bytes and elements are counted over all windows.
//!
//! An error in a window that is not the last one may only mean that it ends there, so it counts once the window has grown to the end of
//! the document: a refused document is held whole, as large as documents may be.

use std::io::Read;

use super::reader::{DocumentError, LIMITS, Place, Reader};
use crate::xml::{Limits, XmlError};

/// Bytes of a window to begin with.
pub(super) const FIRST_BYTES: usize = 256 << 10;

/// The document at hand.
pub(super) struct Windows<'r> {
    input: &'r mut dyn Read,
    /// The window, and perhaps the first bytes of a character.
    text: Vec<u8>,
    /// Where the start tag of the root ends, once something was complete.
    head: usize,
    /// What the window is filled up to.
    wanted: usize,
    /// Bytes of the document until now.
    bytes: usize,
    /// Elements before the window, the root not counted.
    elements: usize,
    /// The window reaches to the end of the document.
    is_last: bool,
}

impl<'r> Windows<'r> {
    /// At the start; `first` is the size to begin with.
    pub(super) fn new(input: &'r mut dyn Read, first: usize) -> Result<Self, DocumentError> {
        let mut windows =
            Self { input, text: Vec::new(), head: 0, wanted: first, bytes: 0, elements: 0, is_last: false };
        windows.fill()?;
        Ok(windows)
    }

    /// Whether nothing follows this window.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Reads the window, its root entered.
    pub(super) fn reader(&self, root: &'static str) -> Result<Reader<'_>, DocumentError> {
        let text = match std::str::from_utf8(&self.text) {
            Ok(text) => text,
            // The rest of the character is yet to come.
            Err(cut) if cut.error_len().is_none() && !self.is_last => {
                std::str::from_utf8(&self.text[..cut.valid_up_to()]).map_err(|_| XmlError::Encoding)?
            }
            Err(_) => return Err(XmlError::Encoding.into()),
        };
        Reader::over(text, root, Limits { elements: LIMITS.elements - self.elements, ..LIMITS })
    }

    /// Goes on behind `complete`, with more of the document; without it, nothing of this window was complete and it has to grow.
    pub(super) fn next(&mut self, complete: Option<Place>) -> Result<(), DocumentError> {
        match complete {
            Some(place) => {
                self.head = place.root_end;
                self.text.drain(self.head..place.end);
                // The root is in every window.
                self.elements += place.elements - 1;
            }
            None => self.wanted = self.wanted.max(self.text.len()).saturating_mul(2),
        }
        self.fill()
    }

    fn fill(&mut self) -> Result<(), DocumentError> {
        let before = self.text.len();
        let room = self.wanted.saturating_sub(before).max(1);
        // One more than allowed, so that a document of the largest size is told from a larger one.
        let most = room.min(LIMITS.bytes + 1 - self.bytes);
        let read = Read::take(&mut *self.input, most as u64).read_to_end(&mut self.text);
        let read = read.map_err(|error| DocumentError::Input(error.to_string()))?;
        self.bytes += read;
        if self.bytes > LIMITS.bytes {
            return Err(XmlError::Limit { what: "bytes", limit: LIMITS.bytes }.into());
        }
        self.is_last = read < most;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::globalconf::reader::XROAD;

    /// A document of a megabyte with a child of 20 kilobytes in it is read with some tens of kilobytes.
    #[test]
    fn memory_is_that_of_the_largest_child() {
        let child = |number: usize| match number {
            7_000 => format!("<x>{}</x>", "y".repeat(20_000)),
            _ => format!("<x>child {number}</x>\n"),
        };
        let children: Vec<String> = (0..50_000).map(child).collect();
        let document =
            format!("<?xml version='1.0'?><r:conf xmlns:r='{XROAD}'>{}</r:conf>", children.concat());
        let mut input = document.as_bytes();
        let mut windows = Windows::new(&mut input, 1_000).unwrap();
        let (mut found, mut largest) = (0, 0);
        loop {
            largest = largest.max(windows.text.capacity());
            let mut complete = None;
            let mut reader = windows.reader("conf").unwrap();
            let whole = loop {
                match reader.at("x") {
                    Ok(false) => break reader.close(false).is_ok(),
                    Err(_) => break false,
                    Ok(true) => {}
                }
                let Ok(text) = reader.text("x") else { break false };
                assert!(children[found].contains(&text), "{found}: {text}");
                found += 1;
                complete = Some(reader.place());
            };
            if windows.is_last() {
                assert!(whole);
                break;
            }
            windows.next(complete).unwrap();
        }
        assert_eq!((found, windows.elements <= 50_000), (50_000, true));
        assert!(document.len() > 900_000 && largest < 100_000, "{largest} of {}", document.len());
    }

    #[test]
    fn bounds_are_those_of_the_whole_document() {
        let mut endless = Read::chain("<a>".as_bytes(), std::io::repeat(b'x'));
        let mut windows = Windows::new(&mut endless, 64 << 20).unwrap();
        let error = loop {
            if let Err(error) = windows.next(None) {
                break error;
            }
        };
        assert_eq!(error, XmlError::Limit { what: "bytes", limit: LIMITS.bytes }.into());
    }
}
