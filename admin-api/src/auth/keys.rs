//! API keys: random UUIDs that are answered once and kept as their SHA-256 in hex, as the reference does.
//!
//! One tree of a [`Store`]: `next` holds the next id, so that ids are never given twice; every other key is an id (big-endian) with
//! `{"v":1,"sha256":…,"roles":[…]}`. A change is durable when its call returns, and acts at once.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use host::store::{Store, StoreError};
use pki::digest::DigestAlgorithm;
use serde::{Deserialize, Serialize};

use crate::operation::Role;

const TREE: &str = "api-keys";
const NEXT: &[u8] = b"next";
const VERSION: u32 = 1;
/// Most keys at once.
const MAX_KEYS: usize = 10_000;

/// Why a key could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No such key.
    #[error("there is no API key {0}")]
    Unknown(u64),
    /// A key without roles may nothing.
    #[error("an API key needs a role")]
    NoRole,
    /// Too many.
    #[error("there are {MAX_KEYS} API keys already: revoke some")]
    TooMany,
    /// Disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is kept about a key. **Stored type.**
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    v: u32,
    sha256: String,
    roles: Vec<String>,
}

/// A key as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its number.
    pub id: u64,
    /// What it may be, in the order given.
    pub roles: Vec<Role>,
}

/// A key that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What is kept.
    pub info: KeyInfo,
    /// The key itself; this is the only time it is seen.
    pub key: String,
}

/// All keys.
#[derive(Debug)]
pub struct ApiKeys {
    store: Store,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    keys: BTreeMap<u64, (String, Vec<Role>)>,
    by_hash: HashMap<String, u64>,
}

impl ApiKeys {
    /// Opens or creates the store in `folder`. Blocks.
    ///
    /// # Errors
    /// The disk, or a damaged entry.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        let store = Store::open(folder)?;
        let mut state = State { next: 1, ..State::default() };
        for (key, value) in store.scan(TREE)? {
            let damaged = || StoreError::Value("an API key cannot be read".into());
            let number = <[u8; 8]>::try_from(if key == NEXT { &value } else { &key }.as_slice());
            let number = u64::from_be_bytes(number.map_err(|_| damaged())?);
            if key == NEXT {
                state.next = number;
                continue;
            }
            let stored: Stored = serde_json::from_slice(&value).map_err(|_| damaged())?;
            if stored.v != VERSION {
                return Err(damaged().into());
            }
            let roles = stored.roles.iter().filter_map(|name| Role::of(name)).collect();
            state.by_hash.insert(stored.sha256.clone(), number);
            state.keys.insert(number, (stored.sha256, roles));
        }
        Ok(Self { store, state: Mutex::new(state) })
    }

    /// Makes a key. Blocks.
    ///
    /// # Errors
    /// Nothing was made.
    pub fn create(&self, roles: &[Role]) -> Result<NewKey, KeyError> {
        let roles = distinct(roles)?;
        let key = uuid::Uuid::new_v4().to_string();
        let hash = hash_of(&key);
        let mut state = self.lock();
        if state.keys.len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let id = state.next;
        let next = (NEXT.to_vec(), Some((id + 1).to_be_bytes().to_vec()));
        self.store.commit(TREE, &[next, entry(id, &hash, &roles)?])?;
        state.next = id + 1;
        state.by_hash.insert(hash.clone(), id);
        state.keys.insert(id, (hash, roles.clone()));
        Ok(NewKey { info: KeyInfo { id, roles }, key })
    }

    /// Gives a key other roles. Blocks.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn change(&self, id: u64, roles: &[Role]) -> Result<KeyInfo, KeyError> {
        let roles = distinct(roles)?;
        let mut state = self.lock();
        let (hash, present) = state.keys.get_mut(&id).ok_or(KeyError::Unknown(id))?;
        self.store.commit(TREE, &[entry(id, hash, &roles)?])?;
        present.clone_from(&roles);
        Ok(KeyInfo { id, roles })
    }

    /// Revokes a key. Blocks.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn revoke(&self, id: u64) -> Result<(), KeyError> {
        let mut state = self.lock();
        if !state.keys.contains_key(&id) {
            return Err(KeyError::Unknown(id));
        }
        self.store.commit(TREE, &[(id.to_be_bytes().to_vec(), None)])?;
        if let Some((hash, _)) = state.keys.remove(&id) {
            state.by_hash.remove(&hash);
        }
        Ok(())
    }

    /// All keys by number.
    pub fn list(&self) -> Vec<KeyInfo> {
        self.lock().keys.iter().map(|(id, (_, roles))| KeyInfo { id: *id, roles: roles.clone() }).collect()
    }

    /// The key that a caller shows.
    pub fn find(&self, key: &str) -> Option<KeyInfo> {
        let state = self.lock();
        // A hash is compared, so the time that takes tells nothing about the key.
        let id = *state.by_hash.get(&hash_of(key))?;
        state.keys.get(&id).map(|(_, roles)| KeyInfo { id, roles: roles.clone() })
    }

    /// A change is applied after it was recorded, in steps that do not panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash_of(key: &str) -> String {
    hex::encode(DigestAlgorithm::Sha256.digest(key.as_bytes()).value)
}

fn distinct(roles: &[Role]) -> Result<Vec<Role>, KeyError> {
    let mut distinct = Vec::new();
    for role in roles {
        if !distinct.contains(role) {
            distinct.push(*role);
        }
    }
    if distinct.is_empty() { Err(KeyError::NoRole) } else { Ok(distinct) }
}

type Change = (Vec<u8>, Option<Vec<u8>>);

fn entry(id: u64, hash: &str, roles: &[Role]) -> Result<Change, KeyError> {
    let roles = roles.iter().map(|role| role.name().to_owned()).collect();
    let stored = Stored { v: VERSION, sha256: hash.to_owned(), roles };
    let value = serde_json::to_vec(&stored).map_err(|error| StoreError::Value(error.to_string()))?;
    Ok((id.to_be_bytes().to_vec(), Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_a_restart_and_ids_are_never_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ApiKeys::open(folder.path()).unwrap();
        let first = keys.create(&[Role::SystemAdministrator, Role::SystemAdministrator]).unwrap();
        let second = keys.create(&[Role::SecurityOfficer]).unwrap();
        assert_eq!(first.info.roles, [Role::SystemAdministrator]);
        keys.change(first.info.id, &[Role::Observer]).unwrap();
        keys.revoke(second.info.id).unwrap();
        drop(keys);

        let keys = ApiKeys::open(folder.path()).unwrap();
        assert_eq!(keys.find(&first.key).unwrap().roles, [Role::Observer]);
        assert_eq!(keys.find(&second.key), None);
        assert!(matches!(keys.revoke(second.info.id), Err(KeyError::Unknown(2))));
        assert!(matches!(keys.create(&[]), Err(KeyError::NoRole)));
        assert_eq!(keys.create(&[Role::Observer]).unwrap().info.id, 3);
        assert!(uuid::Uuid::parse_str(&first.key).is_ok());
    }
}
