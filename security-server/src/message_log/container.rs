//! ASiC-E containers of records: what an auditor takes away.
//!
//! A record that was stamped alone gets its token put into a copy of its signature document; the logged document stays as it was.
use std::io::{Seek, Write};

use bytes::Bytes;
use pki::asic::{self, Attachment, Content};
use pki::xades;

use super::record::Record;
use super::{Direction, Stored};

/// Longest message id in a name, escaped, so that the whole stays below 255 bytes.
const MAX_ID_BYTES: usize = 226;

/// Why there is no container of a record.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Without a timestamp it would prove nothing.
    #[error("record {0} has no timestamp yet")]
    NotStamped(u64),
    /// The logged signature is no signature document.
    #[error("record {record}: {reason}")]
    Signature {
        /// Which.
        record: u64,
        /// Why.
        reason: String,
    },
    /// The log, or where the container goes.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Record {
    /// Writes its container, attachments streamed from where they lie. Blocks.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub fn write_container<W: Write + Seek>(&self, out: W) -> Result<(), ContainerError> {
        self.write_container_by(&mut asic::Writer::default(), out)
    }

    /// The same by a writer that has written those of its neighbours.
    pub(super) fn write_container_by<W: Write + Seek>(
        &self,
        writer: &mut asic::Writer,
        out: W,
    ) -> Result<(), ContainerError> {
        let stamp = self.stamp.as_ref().ok_or(ContainerError::NotStamped(self.id.0))?;
        let signature = match &stamp.batch {
            Some(_) => self.signature.clone(),
            None => xades::with_timestamp(&self.signature, &stamp.token)
                .map(Bytes::from)
                .map_err(|e| ContainerError::Signature { record: self.id.0, reason: e.to_string() })?,
        };
        let batch = stamp.batch.as_ref().map(|(result, chain)| (&result[..], &chain[..], &stamp.token[..]));
        let content = Content {
            message: &self.message,
            signature: &signature,
            signature_chain: self.hash_chain.as_ref().map(|(result, chain)| (&result[..], &chain[..])),
            batch_timestamp: batch,
            attachments: self.attachments.iter().map(attachment).collect(),
            time: self.at,
        };
        Ok(writer.write(content, out)?)
    }

    /// The name of its container, as the reference gives it: escaped message id, direction, number in base 32.
    pub fn container_name(&self) -> String {
        let direction = match self.direction {
            Direction::Request => "request",
            Direction::Response => "response",
        };
        format!("{}-{direction}-{}.asice", escaped_id(&self.message_id), base32(self.id.0))
    }
}

/// As it lies there; one that is proven by its digest only is not in the container.
fn attachment(stored: &Stored) -> Option<Attachment<'_>> {
    match stored.in_memory() {
        _ if stored.is_left_out() => None,
        Some(bytes) => Some(Attachment::Bytes(bytes)),
        None => Some(Attachment::Reader(Box::new(stored.reader()))),
    }
}

/// A message id as part of a file name: what `application/x-www-form-urlencoded` makes of it, cut to [`MAX_ID_BYTES`].
pub(super) fn escaped_id(id: &str) -> String {
    let mut out = String::new();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    // All of it is ASCII by now.
    out.truncate(MAX_ID_BYTES);
    out
}

/// Digits, then `a` to `v`.
fn base32(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((number % 32) as u32, 32).unwrap_or('0'));
        number /= 32;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_reference_s() {
        // The second and third column are from recorded answers of stock servers.
        for (number, expected) in
            [(0, "0"), (197, "65"), (2820, "2o4"), (31, "v"), (u64::MAX, "fvvvvvvvvvvvv")]
        {
            assert_eq!(base32(number), expected);
        }
        let cases = [
            ("asic-probe-1", "asic-probe-1"),
            ("a b/c\"d\r\n", "a+b%2Fc%22d%0D%0A"),
            ("jäär", "j%C3%A4%C3%A4r"),
            ("A.*_~", "A.*_%7E"),
        ];
        for (id, expected) in cases {
            assert_eq!(escaped_id(id), expected);
        }
        assert_eq!(escaped_id(&"ä".repeat(100)).len(), 226);
    }
}
