//! What OCSP and timestamps share of ASN.1: AlgorithmIdentifiers, GeneralizedTime, elements of a constructed value, and BER made DER.
//!
//! Structures are read with the `der` crate, which takes DER only. Timestamp tokens come in BER with indefinite lengths from some
//! services, so [`definite`] rewrites lengths first; bytes that are DER already come out unchanged. Nesting is at most
//! [`MAX_DEPTH`]. Times are to the millisecond; finer fractions are cut off.

use der::asn1::{Any, ObjectIdentifier};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag};
use proto::time::UnixTime;

use crate::algorithm::{Scheme, SignatureAlgorithm};
use time::{Date, Month, PrimitiveDateTime, Time};

/// Deepest nesting that is read.
pub(crate) const MAX_DEPTH: usize = 32;

/// AlgorithmIdentifier [RFC 5280 §4.1.1.2].
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(crate) struct AlgorithmIdentifier {
    pub(crate) algorithm: ObjectIdentifier,
    pub(crate) parameters: Option<Any>,
}

impl AlgorithmIdentifier {
    /// What a signature made with `algorithm` is labelled with. PSS, whose parameters are elaborate, nobody here writes.
    pub(crate) fn of(algorithm: SignatureAlgorithm) -> der::Result<Self> {
        let parameters = match algorithm.scheme {
            Scheme::RsaPkcs1 => Some(Any::null()),
            Scheme::Ecdsa => None,
            Scheme::RsaPss => return Err(der::ErrorKind::Failed.into()),
        };
        Ok(Self { algorithm: ObjectIdentifier::new(algorithm.oid())?, parameters })
    }
}

/// OID constants are written in the source, so they parse.
pub(crate) const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// The elements inside a SEQUENCE, a SET or a constructed context tag.
pub(crate) fn elements(content: &[u8]) -> der::Result<Vec<Any>> {
    let mut reader = SliceReader::new(content)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(Any::decode(&mut reader)?);
    }
    Ok(found)
}

/// The value with this tag and content.
pub(crate) fn tlv(tag: Tag, content: &[u8]) -> der::Result<Vec<u8>> {
    Any::new(tag, content)?.to_der()
}

/// GeneralizedTime in UTC, with or without fraction of a second.
pub(crate) fn read_time(value: &Any) -> Option<UnixTime> {
    if value.header().tag() != Tag::GeneralizedTime {
        return None;
    }
    let text = std::str::from_utf8(value.value()).ok()?.strip_suffix('Z')?;
    let (whole, fraction) =
        text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    if whole.len() != 14 || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| whole[range].parse::<u16>().ok();
    let small = |range| number(range).and_then(|number| u8::try_from(number).ok());
    let date =
        Date::from_calendar_date(i32::from(number(0..4)?), Month::try_from(small(4..6)?).ok()?, small(6..8)?);
    let time = Time::from_hms(small(8..10)?, small(10..12)?, small(12..14)?);
    let secs = PrimitiveDateTime::new(date.ok()?, time.ok()?).assume_utc().unix_timestamp();
    let millis = fraction.map_or(Some(0), milliseconds)?;
    Some(UnixTime(secs * 1000 + millis))
}

fn milliseconds(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || fraction.len() > 18 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<3}")[..3].parse().ok()
}

/// GeneralizedTime of whole seconds, as RFC 6960 and RFC 5280 want it.
pub(crate) fn write_time(at: UnixTime) -> der::Result<Any> {
    let out_of_range = || der::ErrorKind::DateTime;
    let at = time::OffsetDateTime::from_unix_timestamp(at.as_secs()).map_err(|_| out_of_range())?;
    let (date, time) = (at.date(), at.time());
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    Any::new(Tag::GeneralizedTime, text.into_bytes())
}

/// The same value with definite lengths everywhere and whole OCTET STRINGs, which is what DER asks for of the values that occur in
/// CMS; `None` when it is not one BER value or too deep.
pub(crate) fn definite(ber: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(ber.len());
    let rest = definite_one(ber, &mut out, 0)?;
    rest.is_empty().then_some(out)
}

/// The raw elements inside one constructed BER value.
pub(crate) fn raw_elements(ber: &[u8]) -> Option<Vec<&[u8]>> {
    let (length, mut rest) = read_length(ber.get(1..)?)?;
    let is_end = |rest: &[u8]| if length.is_some() { rest.is_empty() } else { rest == [0, 0] };
    if ber[0] & 0x20 == 0 || length.is_some_and(|length| length != rest.len()) {
        return None;
    }
    let mut found = Vec::new();
    while !is_end(rest) {
        let after = definite_one(rest, &mut Vec::new(), 1)?;
        found.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    Some(found)
}

/// The first value, without what follows it.
pub(crate) fn first_element(ber: &[u8]) -> Option<&[u8]> {
    let rest = definite_one(ber, &mut Vec::new(), 0)?;
    Some(&ber[..ber.len() - rest.len()])
}

/// Rewrites the first value of `input` into `out`; gives what follows it.
fn definite_one<'a>(input: &'a [u8], out: &mut Vec<u8>, depth: usize) -> Option<&'a [u8]> {
    let (&tag, after) = input.split_first()?;
    if depth > MAX_DEPTH || tag & 0x1f == 0x1f {
        return None;
    }
    let constructed = tag & 0x20 != 0;
    let (length, body) = read_length(after)?;
    let (content, rest) = match length {
        Some(length) if !constructed => {
            let (content, rest) = body.split_at_checked(length)?;
            (content.to_vec(), rest)
        }
        Some(length) => {
            let (mut inside, rest) = body.split_at_checked(length)?;
            let mut content = Vec::with_capacity(length);
            while !inside.is_empty() {
                inside = definite_one(inside, &mut content, depth + 1)?;
            }
            (content, rest)
        }
        None if constructed => {
            let (mut inside, mut content) = (body, Vec::new());
            while !inside.starts_with(&[0, 0]) {
                inside = definite_one(inside, &mut content, depth + 1)?;
            }
            (content, &inside[2..])
        }
        None => return None,
    };
    const CONSTRUCTED_OCTET_STRING: u8 = 0x24;
    let (tag, content) =
        if tag == CONSTRUCTED_OCTET_STRING { (0x04, joined(&content)?) } else { (tag, content) };
    out.push(tag);
    write_length(content.len(), out);
    out.extend_from_slice(&content);
    Some(rest)
}

/// `Some(None)` is the indefinite form.
fn read_length(input: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let (&first, rest) = input.split_first()?;
    match first {
        0x80 => Some((None, rest)),
        0..0x80 => Some((Some(usize::from(first)), rest)),
        _ => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .try_fold(0_usize, |length, byte| length.checked_mul(256)?.checked_add(usize::from(*byte)))?;
            Some((Some(length), rest))
        }
    }
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    let bytes = length.to_be_bytes();
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => out.push(0),
        [short @ 0..0x80] => out.push(*short),
        // A usize has eight bytes, so the count fits.
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0));
            out.extend_from_slice(long);
        }
    }
}

/// The pieces of a constructed OCTET STRING, already definite, as one.
fn joined(pieces: &[u8]) -> Option<Vec<u8>> {
    elements(pieces)
        .ok()?
        .iter()
        .map(|piece| (piece.header().tag() == Tag::OctetString).then(|| piece.value().to_vec()))
        .collect::<Option<Vec<_>>>()
        .map(|pieces| pieces.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fractions of any length, and what is no time.
    #[test]
    fn reads_generalized_time() {
        let cases = [
            ("20121129131004Z", Some(1_354_194_604_000)),
            ("20121129131004.5Z", Some(1_354_194_604_500)),
            ("20121129131004.123456Z", Some(1_354_194_604_123)),
            ("19691231235959Z", Some(-1_000)),
            ("20121129131004", None),
            ("20121129131004.Z", None),
            ("20121129131004+0200", None),
            ("20121329131004Z", None),
            ("20120230131004Z", None),
            ("2012112913100Z", None),
            ("+0121129131004Z", None),
            ("\u{661}\u{661}\u{661}\u{661}\u{661}\u{661}\u{661}Z", None),
        ];
        for (text, expected) in cases {
            let value = Any::new(Tag::GeneralizedTime, text.as_bytes()).unwrap();
            assert_eq!(read_time(&value).map(|time| time.0), expected, "{text}");
        }
        assert_eq!(read_time(&Any::new(Tag::UtcTime, *b"20121129131004Z").unwrap()), None);
    }

    #[test]
    fn writes_generalized_time() {
        let value = write_time(UnixTime(1_354_194_604_999)).unwrap();
        assert_eq!(
            (value.value(), read_time(&value)),
            (&b"20121129131004Z"[..], Some(UnixTime(1_354_194_604_000)))
        );
    }

    #[test]
    fn makes_lengths_definite() {
        let cases = [
            ("der stays", "3003020101", Some("3003020101")),
            ("indefinite", "30800201010000", Some("3003020101")),
            ("indefinite inside definite", "300730800201010000", Some("30053003020101")),
            ("outer not closed", "3080a0800201010000", None),
            ("nested and closed", "3080a08002010100000000", Some("3005a003020101")),
            ("octet string in pieces, not closed", "2480040141040142", None),
            ("octet string in pieces", "24800401410401420000", Some("04024142")),
            ("pieces of another type", "24800201410000", None),
            ("long length made short", "308103020101", Some("3003020101")),
            ("too short", "3004020101", None),
            ("primitive without length", "048041410000", None),
            ("bytes behind it", "300302010100", None),
            ("length of nine bytes", "3089010000000000000000", None),
            ("nothing", "", None),
        ];
        for (name, input, expected) in cases {
            let input = hex::decode(input).unwrap();
            assert_eq!(definite(&input).map(hex::encode).as_deref(), expected, "{name}");
        }
        let deep = [[0x30, 0x80].repeat(100), [0, 0].repeat(100)].concat();
        assert_eq!(definite(&deep), None);
    }
}
