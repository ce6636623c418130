//! The `id` attributes of a document: what a server's references to its owner and clients stand for.
//!
//! Needed only while a document is read, and then for every member and subsystem in it, so kept small. Mostly they are `id0`, `id1` and so
//! on in the order of the document, and then they are their own numbers. Else all ids stand in one text, in the order of the document,
//! and are found by hash. Bounded by the size of the document.
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::ClientNumber;
use crate::globalconf::reader::DocumentError;

/// What was numbered until now, and under which ids.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// Whether each is a member, as long as all ids are counted up from `id0`.
    counted: Vec<bool>,
    /// Some id was another one: all are in `text` and `entries`.
    is_mixed: bool,
    /// One after the other.
    text: String,
    entries: Vec<Entry>,
    /// Positions in `entries`.
    table: HashTable<u32>,
    hasher: RandomState,
    numbered: ClientNumber,
}

/// An id and what it stands for.
#[derive(Debug)]
struct Entry {
    /// In `text`; it begins where the one before ends.
    end: u32,
    client: ClientNumber,
    is_member: bool,
}

impl Ids {
    /// Numbers the next member and its subsystems, each with the id that it has, if any.
    ///
    /// # Errors
    /// An id that was there before.
    pub(super) fn take(&mut self, ids: &[Option<String>]) -> Result<(), DocumentError> {
        ids.iter().enumerate().try_for_each(|(position, id)| self.next(id.as_deref(), position == 0))
    }

    fn next(&mut self, id: Option<&str>, is_member: bool) -> Result<(), DocumentError> {
        let client = self.numbered;
        self.numbered += 1;
        let id = id.map(str::trim);
        if !self.is_mixed {
            if id.and_then(count) == Some(client) {
                self.counted.push(is_member);
                return Ok(());
            }
            self.is_mixed = true;
            for (client, is_member) in (0..).zip(std::mem::take(&mut self.counted)) {
                self.enter(&format!("id{client}"), client, is_member);
            }
        }
        let Some(id) = id else { return Ok(()) };
        if self.find(id).is_some() {
            return Err(DocumentError::DuplicateId(id.to_owned()));
        }
        self.enter(id, client, is_member);
        Ok(())
    }

    fn enter(&mut self, id: &str, client: ClientNumber, is_member: bool) {
        let position = small(self.entries.len());
        self.text.push_str(id);
        self.entries.push(Entry { end: small(self.text.len()), client, is_member });
        let Self { text, entries, table, hasher, .. } = self;
        let rehash = |position: &u32| hasher.hash_one(written(text, entries, *position));
        table.insert_unique(hasher.hash_one(id), position, rehash);
    }

    /// The member that a reference names.
    ///
    /// # Errors
    /// Nobody, or a subsystem.
    pub(super) fn member(&self, reference: &str) -> Result<ClientNumber, DocumentError> {
        let found = self.find(reference.trim()).filter(|(_, is_member)| *is_member);
        found.map(|(client, _)| client).ok_or_else(|| DocumentError::UnknownId(reference.to_owned()))
    }

    /// The member or subsystem that a reference names.
    ///
    /// # Errors
    /// Nobody.
    pub(super) fn client(&self, reference: &str) -> Result<ClientNumber, DocumentError> {
        let found = self.find(reference.trim());
        found.map(|(client, _)| client).ok_or_else(|| DocumentError::UnknownId(reference.to_owned()))
    }

    /// What an id stands for, and whether that is a member.
    fn find(&self, id: &str) -> Option<(ClientNumber, bool)> {
        if !self.is_mixed {
            let client = count(id)?;
            return Some((client, *self.counted.get(client as usize)?));
        }
        let is_it = |position: &u32| written(&self.text, &self.entries, *position) == id;
        let position = self.table.find(self.hasher.hash_one(id), is_it)?;
        let entry = &self.entries[*position as usize];
        Some((entry.client, entry.is_member))
    }
}

/// The number of an id that is counted, written as it is counted.
fn count(id: &str) -> Option<ClientNumber> {
    let digits = id.strip_prefix("id")?;
    let plain = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|_| plain)
}

fn written<'t>(text: &'t str, entries: &[Entry], position: u32) -> &'t str {
    let position = position as usize;
    let start = position.checked_sub(1).map_or(0, |before| entries[before].end as usize);
    &text[start..entries[position].end as usize]
}

/// Documents are bounded far below its range.
fn small(count: usize) -> u32 {
    u32::try_from(count).expect("a document has fewer than 2^32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_find_what_was_numbered_and_nothing_else() {
        let mut ids = Ids::default();
        let listed =
            [(Some(" a "), true), (None, false), (Some("b"), false), (Some(""), true), (Some("ab"), true)];
        for (id, is_member) in listed {
            ids.next(id, is_member).unwrap();
        }
        let unknown = |id: &str| Err(DocumentError::UnknownId(id.to_owned()));
        let cases = [
            ("a", Ok(0), Ok(0)),
            ("\ta\n", Ok(0), Ok(0)),
            ("b", Ok(2), unknown("b")),
            ("", Ok(3), Ok(3)),
            ("ab", Ok(4), Ok(4)),
            ("A", unknown("A"), unknown("A")),
            (" c", unknown(" c"), unknown(" c")),
        ];
        for (reference, client, member) in cases {
            assert_eq!(ids.client(reference), client, "{reference:?}");
            assert_eq!(ids.member(reference), member, "{reference:?}");
        }
        assert_eq!(ids.next(Some("ab "), false), Err(DocumentError::DuplicateId("ab".into())));
        // The refused one has taken number 5.
        for number in 6..5_000 {
            ids.next(Some(&format!("id{number}")), true).unwrap();
        }
        assert!((6..5_000).all(|number| ids.member(&format!("id{number}")) == Ok(number)));
    }

    /// Counted ids are found without being kept; one that is not makes no difference to those before and after it.
    #[test]
    fn ids_that_are_counted_are_their_numbers() {
        let counted = |until: u32| {
            let mut ids = Ids::default();
            for number in 0..until {
                ids.next(Some(&format!("id{number}")), number % 3 == 0).unwrap();
            }
            ids
        };
        let lasts =
            [None, Some("id7"), Some("id06"), Some("id+6"), Some("id6"), Some(" id6\n"), Some("x"), Some("")];
        for last in lasts {
            let mut ids = counted(6);
            ids.next(last, true).unwrap();
            assert_eq!(ids.is_mixed, last.map(str::trim) != Some("id6"), "{last:?}");
            for number in 0..6 {
                let id = format!("id{number}");
                assert_eq!(ids.client(&id), Ok(number), "{last:?}");
                assert_eq!(ids.member(&id).is_ok(), number % 3 == 0, "{last:?}");
                assert_eq!(counted(6).next(Some(&id), true), Err(DocumentError::DuplicateId(id)), "{last:?}");
            }
            if let Some(last) = last {
                assert_eq!(ids.member(last), Ok(6));
            }
            for other in ["id06", "id+6", "id 6", "ID6", "id", "id-1", "id8", "id4294967296"] {
                assert_eq!(ids.client(other).is_ok(), last == Some(other), "{last:?} {other}");
            }
        }
    }
}
