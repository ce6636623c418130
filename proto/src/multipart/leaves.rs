//! The parts of a multipart with every nested multipart opened: what an information system sends, as the reference reads it at its
//! edges.
//!
//! A part that is a multipart itself, or a `message/rfc822`, is not told; the parts inside it are, in order, as if they stood there
//! themselves. One whose transfer encoding hides its parts, or that lies deeper than [`MAX_DEPTH`], is told whole. Between security
//! servers nothing is opened: there the plain [`Decoder`] reads.
use std::collections::VecDeque;

use bytes::Bytes;

use super::{Decoder, Event, HeadBuffer, Limits, MultipartError, PartHead};
use crate::media_type;

/// Levels of multiparts and messages inside one another that are opened.
const MAX_DEPTH: usize = 16;

/// Reads the leaves. Feed it, then poll until it says `None`.
#[derive(Debug)]
pub struct Leaves {
    outer: Decoder,
    inner: Inner,
    limits: Limits,
    depth: usize,
    /// Messages that were opened in the outer part being read.
    messages: usize,
    ready: VecDeque<Event>,
}

/// What the outer part being read holds.
#[derive(Debug)]
enum Inner {
    /// Itself.
    Leaf,
    Multipart(Box<Leaves>),
    /// The headers of a message, whose content follows.
    Message(HeadBuffer),
}

impl Leaves {
    /// For the body of a message with this `Content-Type` value.
    ///
    /// # Errors
    /// [`MultipartError::Boundary`].
    pub fn new(content_type: &str, limits: Limits) -> Result<Self, MultipartError> {
        Self::at_depth(content_type, limits, 0)
    }

    fn at_depth(content_type: &str, limits: Limits, depth: usize) -> Result<Self, MultipartError> {
        let outer = Decoder::new(content_type, limits)?;
        Ok(Self { outer, inner: Inner::Leaf, limits, depth, messages: 0, ready: VecDeque::new() })
    }

    /// More input.
    pub fn feed(&mut self, chunk: Bytes) {
        self.outer.feed(chunk);
    }

    /// There is no more input.
    pub fn finish(&mut self) {
        self.outer.finish();
    }

    /// The next event, or `None` when more input is needed (or [`Event::End`] was given).
    ///
    /// # Errors
    /// A broken rule; the decoder is of no use afterwards.
    pub fn poll(&mut self) -> Result<Option<Event>, MultipartError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Inner::Multipart(inner) = &mut self.inner {
                match inner.poll()? {
                    // What the inner one has after its end is counted by its decoder.
                    Some(Event::End { .. }) => continue,
                    // The outer delimiter closes what the inner one left open.
                    Some(Event::PartEnd { .. }) => return Ok(Some(Event::PartEnd { delimited: true })),
                    Some(event) => return Ok(Some(event)),
                    None => {}
                }
            }
            match self.outer.poll()? {
                None => return Ok(None),
                Some(Event::Head(head)) => {
                    self.messages = 0;
                    self.enter(head)?;
                }
                Some(Event::Data(data)) => self.data(data)?,
                Some(Event::PartEnd { delimited }) => self.leave(delimited)?,
                Some(end @ Event::End { .. }) => return Ok(Some(end)),
            }
        }
    }

    /// A part begins, or the content of a message.
    fn enter(&mut self, head: PartHead) -> Result<(), MultipartError> {
        let depth = self.depth + self.messages + 1;
        let content_type = head.content_type();
        let plain = head.get("content-transfer-encoding").is_none_or(|encoding| {
            ["7bit", "8bit", "binary"].iter().any(|plain| plain.eq_ignore_ascii_case(encoding))
        });
        let opened = plain && depth <= MAX_DEPTH;
        let kind = media_type::base(content_type);
        let multipart = kind.get(..10).is_some_and(|beginning| beginning.eq_ignore_ascii_case("multipart/"));
        if opened && multipart && media_type::parameter(content_type, "boundary").is_some() {
            let inner = Self::at_depth(content_type, self.limits, depth)?;
            self.inner = Inner::Multipart(Box::new(inner));
        } else if opened && kind.eq_ignore_ascii_case("message/rfc822") {
            self.messages += 1;
            self.inner = Inner::Message(HeadBuffer::default());
        } else {
            self.inner = Inner::Leaf;
            self.ready.push_back(Event::Head(head));
        }
        Ok(())
    }

    fn data(&mut self, mut data: Bytes) -> Result<(), MultipartError> {
        // A message in a message takes headers more than once.
        while let Inner::Message(buffer) = &mut self.inner {
            if !buffer.take(&mut data, &self.limits)? {
                return Ok(());
            }
            let head = buffer.parse();
            self.enter(head)?;
        }
        match &mut self.inner {
            Inner::Multipart(inner) => inner.feed(data),
            Inner::Leaf if !data.is_empty() => self.ready.push_back(Event::Data(data)),
            Inner::Leaf | Inner::Message(_) => {}
        }
        Ok(())
    }

    fn leave(&mut self, delimited: bool) -> Result<(), MultipartError> {
        match std::mem::replace(&mut self.inner, Inner::Leaf) {
            Inner::Leaf => self.ready.push_back(Event::PartEnd { delimited }),
            Inner::Message(buffer) => {
                self.ready.push_back(Event::Head(buffer.parse()));
                self.ready.push_back(Event::PartEnd { delimited });
            }
            Inner::Multipart(mut inner) => {
                inner.finish();
                while let Some(event) = inner.poll()? {
                    match event {
                        Event::End { .. } => {}
                        Event::PartEnd { .. } => self.ready.push_back(Event::PartEnd { delimited }),
                        event => self.ready.push_back(event),
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Leaf = (Option<String>, String);
    /// Name, input, id and content of each leaf.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

    fn read(input: &str, cut: usize, limits: Limits) -> Result<Vec<Leaf>, MultipartError> {
        let mut decoder = Leaves::new("multipart/related; boundary=B", limits)?;
        let mut chunks = input.as_bytes().chunks(cut);
        let (mut leaves, mut open): (Vec<Leaf>, bool) = (Vec::new(), false);
        loop {
            match decoder.poll()? {
                None => match chunks.next() {
                    Some(chunk) => decoder.feed(Bytes::copy_from_slice(chunk)),
                    None => decoder.finish(),
                },
                Some(Event::Head(head)) => {
                    assert!(!std::mem::replace(&mut open, true));
                    leaves.push((head.get("id").map(str::to_owned), String::new()));
                }
                Some(Event::Data(data)) => {
                    assert!(open);
                    leaves.last_mut().expect("a head came first").1.push_str(&String::from_utf8_lossy(&data));
                }
                Some(Event::PartEnd { .. }) => assert!(std::mem::replace(&mut open, false)),
                Some(Event::End { .. }) => return Ok(leaves),
            }
        }
    }

    #[test]
    fn nested_parts_stand_beside_the_others() {
        let nested = "--B\r\nid: a\r\n\r\none\r\n--B\r\nContent-Type: Multipart/Mixed; boundary=C\r\n\r\npreamble\r\n\
                      --C\r\nid: b\r\n\r\ntwo\r\n--C\r\nid: c\r\n\r\n\r\n--C--\r\nepilogue\r\n\
                      --B\r\nid: d\r\n\r\nfour\r\n--B--\r\n";
        let unclosed = "--B\r\ncontent-type: multipart/mixed; boundary=C\r\n\r\n--C\r\nid: a\r\n\r\none\r\n--B\r\nid: b\r\n\r\n\
                        two\r\n--B--";
        let message = "--B\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\nid: a\r\n\r\none\r\n--B\r\n\
                       Content-Type: message/rfc822\r\n\r\nid: b\r\n--B--";
        let deep = "--B\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/a; boundary=C\r\n\r\n--C\r\nid: a\r\n\r\none\r\n\
                    --C--\r\n--B--";
        let coded = "--B\r\nid: a\r\nContent-Transfer-Encoding: base64\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\nLS1D\r\n--B--";
        let unbounded = "--B\r\nid: a\r\nContent-Type: multipart/mixed\r\n\r\none\r\n--B--";
        let cases: [Case<'_>; 6] = [
            ("nested", nested, &[("a", "one"), ("b", "two"), ("c", ""), ("d", "four")]),
            ("closed by the outer delimiter", unclosed, &[("a", "one"), ("b", "two")]),
            ("messages", message, &[("a", "one"), ("b", "")]),
            ("a multipart in a message", deep, &[("a", "one")]),
            ("an encoded one stays whole", coded, &[("a", "LS1D")]),
            ("one without boundary stays whole", unbounded, &[("a", "one")]),
        ];
        for (name, input, expected) in cases {
            let expected: Vec<Leaf> =
                expected.iter().map(|(id, text)| (Some((*id).to_owned()), (*text).to_owned())).collect();
            for cut in [1, 3, 7, input.len()] {
                assert_eq!(read(input, cut, Limits::default()).as_ref(), Ok(&expected), "{name} in {cut}s");
            }
        }
    }

    #[test]
    fn depth_and_what_lies_outside_have_an_end() {
        let begin = |depth: usize| {
            (0..depth)
                .map(|n| format!("--B{n}\r\nContent-Type: multipart/a; boundary=B{}\r\n\r\n", n + 1))
                .collect()
        };
        let deep: String = begin(MAX_DEPTH + 5);
        let leaves = read(&deep.replace("--B0", "--B"), 5, Limits::default()).expect("no bound is broken");
        assert_eq!(leaves.len(), 1, "told whole");
        let limits = Limits { outside_bytes: 100, ..Limits::default() };
        let outside = |text: String| read(&text, 40, limits);
        let nested = "--B\r\nContent-Type: multipart/a; boundary=C\r\n\r\n";
        let endless = "x".repeat(200);
        for text in [endless.clone(), format!("{nested}{endless}"), format!("{nested}--C--\r\n{endless}")] {
            assert_eq!(outside(text), Err(MultipartError::Outside { limit: 100 }));
        }
    }
}
