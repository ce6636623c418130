//! What came of the last contact with each of a few services that others run, for diagnostics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use proto::time::UnixTime;

/// Services remembered at most; configuration names few, and certificates may name more.
const MAX_SERVICES: usize = 1_000;

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// When.
    pub at: UnixTime,
    /// Why it gave nothing usable.
    pub error: Option<String>,
}

/// The last contact with each, by address.
#[derive(Debug, Default)]
pub struct Contacts(Mutex<BTreeMap<String, Contact>>);

impl Contacts {
    /// Remembers what came of asking `url`.
    pub fn note(&self, url: &str, at: UnixTime, error: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_SERVICES || all.contains_key(url) {
            all.insert(url.to_owned(), Contact { at, error });
        }
    }

    /// The last contact with `url`.
    pub fn of(&self, url: &str) -> Option<Contact> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_contact_counts_and_there_are_not_too_many() {
        let contacts = Contacts::default();
        contacts.note("a", UnixTime(1), Some("down".into()));
        contacts.note("a", UnixTime(2), None);
        assert_eq!(contacts.of("a"), Some(Contact { at: UnixTime(2), error: None }));
        for number in 0..MAX_SERVICES + 5 {
            contacts.note(&number.to_string(), UnixTime(3), None);
        }
        assert_eq!(contacts.of(&(MAX_SERVICES + 1).to_string()), None);
        contacts.note("a", UnixTime(4), None);
        assert_eq!(contacts.of("a").unwrap().at, UnixTime(4));
    }
}
