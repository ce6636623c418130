//! Fields of Protocol Buffers, written straight into a buffer from wherever their values are.
//!
//! For the heads that are made for every message: a structure of owned strings for each would be some twenty allocations. What is read
//! back are the types of [`super::format`]; values that are zero or empty are left out, as those leave them out.

/// Writes fields one behind the other.
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a mut Vec<u8>);

const VARINT: u32 = 0;
const DELIMITED: u32 = 2;

impl Fields<'_> {
    /// `uint64`, `uint32`; an `int64` as its two's complement.
    pub(crate) fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(tag << 3 | VARINT));
            self.varint(value);
        }
    }

    pub(crate) fn flag(&mut self, tag: u32, value: bool) {
        self.number(tag, u64::from(value));
    }

    pub(crate) fn text(&mut self, tag: u32, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    /// A `string` for which nothing and an empty one are told apart.
    pub(crate) fn optional_text(&mut self, tag: u32, value: Option<&str>) {
        if let Some(value) = value {
            self.delimited(tag, value.as_bytes());
        }
    }

    pub(crate) fn bytes(&mut self, tag: u32, value: &[u8]) {
        if !value.is_empty() {
            self.delimited(tag, value);
        }
    }

    fn delimited(&mut self, tag: u32, value: &[u8]) {
        self.varint(u64::from(tag << 3 | DELIMITED));
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message in a message.
    pub(crate) fn message(&mut self, tag: u32, content: impl FnOnce(&mut Fields<'_>)) {
        self.varint(u64::from(tag << 3 | DELIMITED));
        let start = self.0.len();
        // Most are short: one byte for the length, and room is made when it takes more.
        self.0.push(0);
        content(&mut Fields(self.0));
        let length = self.0.len() - start - 1;
        match u8::try_from(length) {
            Ok(short @ 0..128) => self.0[start] = short,
            Ok(_) | Err(_) => {
                let mut longer = Vec::with_capacity(10);
                Fields(&mut longer).varint(length as u64);
                self.0.splice(start..=start, longer);
            }
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::format::{BodyRef, Extent, Part};
    use super::*;

    #[test]
    fn fields_are_those_that_the_types_read_and_write() {
        for length in [0, 1, 126, 127, 128, 300, 20_000] {
            let part = Part { uri: "u".repeat(length), algorithm: "a".into(), digest: vec![7; length / 2] };
            let mut bytes = Vec::new();
            let mut fields = Fields(&mut bytes);
            fields.text(1, &part.uri);
            fields.text(2, &part.algorithm);
            fields.bytes(3, &part.digest);
            assert_eq!(bytes, part.encode_to_vec(), "{length}");
        }
        for value in [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX] {
            let extents = vec![Extent { segment: value, offset: 0, length: 9 }, Extent::default()];
            let body =
                BodyRef { length: value, inline_at: Some(0), extents, left_out: true, wrapped_key: vec![] };
            let mut bytes = Vec::new();
            let mut fields = Fields(&mut bytes);
            fields.number(1, value);
            // An optional number is there although it is zero.
            fields.varint(2 << 3);
            fields.varint(0);
            for extent in &body.extents {
                fields.message(3, |fields| {
                    fields.number(1, extent.segment);
                    fields.number(2, extent.offset);
                    fields.number(3, extent.length);
                });
            }
            fields.flag(4, true);
            assert_eq!(BodyRef::decode(bytes.as_slice()).unwrap(), body);
            assert_eq!(bytes, body.encode_to_vec());
        }
    }

    #[test]
    fn a_long_message_in_a_message_gets_a_long_length() {
        for length in [10, 120, 125, 126, 127, 200, 17_000] {
            let mut bytes = Vec::new();
            Fields(&mut bytes)
                .message(12, |fields| fields.message(3, |fields| fields.delimited(1, &vec![5; length])));
            let mut rest = bytes.as_slice();
            for tag in [12, 3, 1] {
                assert_eq!(prost::decode_length_delimiter(&mut rest).unwrap(), tag << 3 | 2);
                assert_eq!(prost::decode_length_delimiter(&mut rest).unwrap(), rest.len(), "{length}");
            }
            assert_eq!(rest, vec![5; length]);
        }
    }
}
