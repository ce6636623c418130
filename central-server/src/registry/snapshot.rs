//! The state of the registry as it was some events ago: a start replays what came after it.
//!
//! `registry.snapshot` is one line with version and SHA-256, then the state as JSON. It is a cache: one that is missing, damaged or of another
//! version is not used, and everything is replayed. It is replaced whole, and never written before its events are durable.

use std::fs;
use std::path::Path;

use host::files::write_atomic;

use super::state::{State, id_of};

/// Events between snapshots.
pub(super) const EVERY: u64 = 1_000;
const FILE: &str = "registry.snapshot";
/// Of the form of [`State`]; another number means that it is replayed.
const VERSION: &str = "causeway-registry 2";

/// The state of the snapshot, when there is a good one.
pub(super) fn read(folder: &Path) -> Option<State> {
    let bytes = fs::read(folder.join(FILE)).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (head, json) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
    if head != heading(json) {
        tracing::warn!(
            "the snapshot of the registry is damaged or of another version; all events are replayed"
        );
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Writes a snapshot; one that cannot be written is said in the log, and costs time at the next start.
pub(super) fn write(folder: &Path, state: &State) {
    let Ok(json) = serde_json::to_vec(state) else { return };
    let bytes = [heading(&json).as_bytes(), b"\n", &json].concat();
    if let Err(error) = write_atomic(&folder.join(FILE), &bytes, 0o600) {
        tracing::warn!(%error, "the snapshot of the registry cannot be written");
    }
}

fn heading(json: &[u8]) -> String {
    format!("{VERSION} {}", id_of(json))
}

/// Maps whose keys are no texts: arrays of pairs.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.iter())
    }

    pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// As [`pairs`], with values that copies of the state share.
pub(super) mod shared_pairs {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, Arc<V>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.iter().map(|(key, value)| (key, &**value)))
    }

    pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, Arc<V>>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, V)>::deserialize(from)?.into_iter();
        Ok(pairs.map(|(key, value)| (key, Arc::new(value))).collect())
    }
}

/// A map whose values copies of the state share.
pub(super) mod shared_values {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<String, Arc<V>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(key, value)| (key, &**value)))
    }

    pub(crate) fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, Arc<V>>, D::Error> {
        let map = BTreeMap::<String, V>::deserialize(from)?.into_iter();
        Ok(map.map(|(key, value)| (key, Arc::new(value))).collect())
    }
}

/// An option within an option, which JSON has no word for.
pub(super) mod twice_optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Twice = Option<Option<String>>;

    pub(crate) fn serialize<S: Serializer>(value: &Twice, to: S) -> Result<S::Ok, S::Error> {
        value.clone().map(|inner| (inner,)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Twice, D::Error> {
        Ok(Option::<(Option<String>,)>::deserialize(from)?.map(|(inner,)| inner))
    }
}
