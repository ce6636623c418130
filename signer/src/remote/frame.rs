//! Frames on the signer's socket: four bytes of length, big end first, then a message of `signer.proto`.
//!
//! [`Decoder`] takes bytes as they come and gives whole messages; it reads no socket, so that every split of the input can be tried.
//! A frame that says it is longer than the bound is refused before any of it is kept; memory never exceeds the bound and what one
//! read brings. After an error the stream has no known position: the connection ends.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Largest request: a management request with its certificates is some tens of kilobytes.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Largest answer: the description of a token, as large as `token.json` may be.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

const LENGTH_BYTES: usize = 4;

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the bound.
    #[error("a message of {found} bytes, more than {bound}")]
    TooLong {
        /// In the frame.
        found: usize,
        /// Allowed.
        bound: usize,
    },
    /// Not a message of the protocol.
    #[error("a message that cannot be read: {0}")]
    Malformed(String),
}

/// A message in its frame.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn encode(message: &impl Message, bound: usize) -> Result<Bytes, FrameError> {
    let length = message.encoded_len();
    let too_long = FrameError::TooLong { found: length, bound };
    let Some(prefix) = u32::try_from(length).ok().filter(|_| length <= bound) else { return Err(too_long) };
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + length);
    frame.put_u32(prefix);
    message.encode(&mut frame).map_err(|error| FrameError::Malformed(error.to_string()))?;
    Ok(frame.freeze())
}

/// Reads messages of one kind out of a stream of bytes.
#[derive(Debug)]
pub struct Decoder<M> {
    bound: usize,
    buffer: BytesMut,
    message: PhantomData<M>,
}

impl<M: Message + Default> Decoder<M> {
    /// Takes messages of at most `bound` bytes.
    pub fn new(bound: usize) -> Self {
        Self { bound, buffer: BytesMut::new(), message: PhantomData }
    }

    /// Where the next bytes go.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// A frame has begun that is not whole.
    pub fn is_inside(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next message, if it is whole.
    ///
    /// # Errors
    /// The bytes are no message; nothing after them can be read.
    pub fn message(&mut self) -> Result<Option<M>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > self.bound {
            return Err(FrameError::TooLong { found: length, bound: self.bound });
        }
        if self.buffer.len() - LENGTH_BYTES < length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let message = self.buffer.split_to(length).freeze();
        M::decode(message).map(Some).map_err(|error| FrameError::Malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::remote::wire::{Answer, Request, Sign, answer, request};

    fn sign(id: u64, message: &[u8]) -> Request {
        let message = Bytes::copy_from_slice(message);
        let body = request::Body::Sign(Sign { key: "AB".to_owned(), message, ..Sign::default() });
        Request { id, body: Some(body) }
    }

    proptest! {
        /// However the stream is cut into reads.
        #[test]
        fn what_was_encoded_comes_out(
            messages in vec((any::<u64>(), vec(any::<u8>(), 0..300)), 0..8),
            cut in 1_usize..97,
        ) {
            let wanted: Vec<_> = messages.iter().map(|(id, bytes)| sign(*id, bytes)).collect();
            let stream: Vec<u8> = wanted.iter().flat_map(|m| encode(m, 1000).unwrap()).collect();
            let (mut decoder, mut found) = (Decoder::<Request>::new(1000), Vec::new());
            for read in stream.chunks(cut) {
                decoder.buffer().extend_from_slice(read);
                while let Some(message) = decoder.message().unwrap() {
                    found.push(message);
                }
            }
            prop_assert!(!decoder.is_inside());
            prop_assert_eq!(found, wanted);
        }

        /// Whatever comes: an answer, more to read, or a refusal, and never more kept than was given.
        #[test]
        fn any_bytes_are_borne(reads in vec(vec(any::<u8>(), 0..64), 0..16)) {
            let mut decoder = Decoder::<Answer>::new(100);
            'reads: for read in reads {
                decoder.buffer().extend_from_slice(&read);
                loop {
                    match decoder.message() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'reads,
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_over_the_bound_is_refused_by_its_first_four_bytes() {
        let mut decoder = Decoder::<Request>::new(MAX_REQUEST_BYTES);
        decoder.buffer().extend_from_slice(&[0, 0x10, 0, 1]);
        let error = FrameError::TooLong { found: MAX_REQUEST_BYTES + 1, bound: MAX_REQUEST_BYTES };
        assert_eq!(decoder.message(), Err(error));
        let answer = Answer { id: 1, body: Some(answer::Body::Value(vec![0; 100])) };
        assert!(matches!(encode(&answer, 100), Err(FrameError::TooLong { bound: 100, .. })));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let mut decoder = Decoder::<Request>::new(100);
        decoder.buffer().extend_from_slice(&[0, 0, 0, 3, 0xff, 0xff, 0xff]);
        assert!(matches!(decoder.message(), Err(FrameError::Malformed(_))));
    }
}
