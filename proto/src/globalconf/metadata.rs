//! The `.metadata` files beside stored configuration parts: one JSON object each.
//!
//! Keys are the reference's, since other tools read them; a missing version means 2, a missing expiry means never. Keys that we do
//! not know are skipped. At most [`MAX_BYTES`].
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::UnixTime;

/// What the name of a stored part ends with when it holds metadata.
pub const SUFFIX: &str = ".metadata";
/// Bound on one file.
pub const MAX_BYTES: usize = 64 << 10;

/// Where a stored part came from and how long it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// `SHARED-PARAMETERS` …; empty when the directory did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_identifier: Option<String>,
    /// Instance that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_identifier: Option<String>,
    /// Last instant at which it may be used.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_time",
        deserialize_with = "read_time"
    )]
    pub expiration_date: Option<UnixTime>,
    /// File name that the directory asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_file_name: Option<String>,
    /// As in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_location: Option<String>,
    /// A decimal number, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_version: Option<String>,
}

/// A `.metadata` file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata cannot be read: {0}")]
pub struct MetadataError(String);

impl Metadata {
    /// Reads a file.
    ///
    /// # Errors
    /// Not the JSON object described above.
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        if bytes.len() > MAX_BYTES {
            return Err(MetadataError(format!("more than {MAX_BYTES} bytes")));
        }
        serde_json::from_slice(bytes).map_err(|e| MetadataError(e.to_string()))
    }

    /// The file.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are always JSON")
    }

    /// The configuration version: 2 when the file does not say.
    ///
    /// # Errors
    /// Not a number.
    pub fn version(&self) -> Result<u32, MetadataError> {
        match &self.configuration_version {
            None => Ok(2),
            Some(text) => text.parse().map_err(|_| MetadataError(format!("version {text}"))),
        }
    }
}

fn write_time<S: Serializer>(time: &Option<UnixTime>, out: S) -> Result<S::Ok, S::Error> {
    time.map(UnixTime::to_iso8601).serialize(out)
}

fn read_time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<UnixTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(input)? else { return Ok(None) };
    UnixTime::from_iso8601(&text)
        .map(Some)
        .ok_or_else(|| de::Error::custom("not a date with time and offset"))
}
