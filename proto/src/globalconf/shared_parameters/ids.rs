//! The `id` attributes of a document: what a server's references to its owner and clients stand for.
//!
//! Needed only while a document is read, and then for every member and subsystem in it, so kept small: all ids stand in one text, in
//! the order of the document, and are found by hash. Bounded by the size of the document.
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::ClientNumber;
use crate::globalconf::reader::DocumentError;

/// What was numbered until now, and under which ids.
#[derive(Debug, Default)]
pub(super) struct Ids {
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
        let Some(id) = id.map(str::trim) else { return Ok(()) };
        if self.find(id).is_some() {
            return Err(DocumentError::DuplicateId(id.to_owned()));
        }
        let position = small(self.entries.len());
        self.text.push_str(id);
        self.entries.push(Entry { end: small(self.text.len()), client, is_member });
        let Self { text, entries, table, hasher, .. } = self;
        let rehash = |position: &u32| hasher.hash_one(written(text, entries, *position));
        table.insert_unique(hasher.hash_one(id), position, rehash);
        Ok(())
    }

    /// The member that a reference names.
    ///
    /// # Errors
    /// Nobody, or a subsystem.
    pub(super) fn member(&self, reference: &str) -> Result<ClientNumber, DocumentError> {
        let found = self.find(reference.trim()).filter(|entry| entry.is_member);
        found.map(|entry| entry.client).ok_or_else(|| DocumentError::UnknownId(reference.to_owned()))
    }

    /// The member or subsystem that a reference names.
    ///
    /// # Errors
    /// Nobody.
    pub(super) fn client(&self, reference: &str) -> Result<ClientNumber, DocumentError> {
        let found = self.find(reference.trim());
        found.map(|entry| entry.client).ok_or_else(|| DocumentError::UnknownId(reference.to_owned()))
    }

    fn find(&self, id: &str) -> Option<&Entry> {
        let is_it = |position: &u32| written(&self.text, &self.entries, *position) == id;
        let position = self.table.find(self.hasher.hash_one(id), is_it)?;
        Some(&self.entries[*position as usize])
    }
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
}
