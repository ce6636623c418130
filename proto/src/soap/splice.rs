//! Puts the request hash into a response without writing the rest of it again.
//!
//! The new element follows the end of `xroad:id`, with the white space that stands before `xroad:id` and with its prefix; where
//! `xroad:id` declares that prefix itself, the new element does so too. An older `requestHash` goes, with the white space before it.
use std::ops::Range;

use bytes::Bytes;

use super::{SoapError, XROAD_NS};
use crate::xml::encoding;

/// What the reader noted about `xroad:id` and an older `requestHash`; places are bytes of the decoded text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HashPlace {
    /// From the start tag of `xroad:id` to the end of its end tag.
    pub(super) id: Range<usize>,
    /// Its prefix, empty for the default namespace.
    pub(super) prefix: String,
    /// The prefix is declared on `xroad:id` itself.
    pub(super) declared_there: bool,
    /// An older `requestHash`.
    pub(super) old: Option<Range<usize>>,
}

/// `SHA-512` by URI; nobody checks it, all write it.
const SHA512: &str = "http://www.w3.org/2001/04/xmlenc#sha512";

pub(super) fn with_request_hash(raw: &Bytes, place: &HashPlace, hash: &str) -> Result<Bytes, SoapError> {
    let (text, encoding) = encoding::decode(raw)?;
    let space = &text[space_before(&text, place.id.start)..place.id.start];
    let colon = if place.prefix.is_empty() { "" } else { ":" };
    let name = format!("{}{colon}requestHash", place.prefix);
    let declaration = match place.declared_there {
        true => format!(" xmlns{colon}{}=\"{XROAD_NS}\"", place.prefix),
        false => String::new(),
    };
    let element = format!("{space}<{name}{declaration} algorithmId=\"{SHA512}\">{hash}</{name}>");

    let old = place.old.clone().map(|old| space_before(&text, old.start)..old.end);
    let (before, after) = (place.id.end, old.unwrap_or(place.id.end..place.id.end));
    let mut out = String::with_capacity(text.len() + element.len());
    if after.start >= before {
        out.push_str(&text[..before]);
        out.push_str(&element);
        out.push_str(&text[before..after.start]);
        out.push_str(&text[after.end..]);
    } else {
        out.push_str(&text[..after.start]);
        out.push_str(&text[after.end..before]);
        out.push_str(&element);
        out.push_str(&text[before..]);
    }
    Ok(encoding::encode(out, encoding)?.into())
}

/// Where the white space before `at` begins. Nothing but character data can end with white space before a tag.
fn space_before(text: &str, at: usize) -> usize {
    text[..at].trim_end_matches([' ', '\t', '\r', '\n']).len()
}
