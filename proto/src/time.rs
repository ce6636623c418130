//! Points in time: milliseconds since the Unix epoch, and the date forms the protocols write.
//!
//! Nothing in `proto` or `pki` reads a clock; a [`UnixTime`] is always an argument.
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// From whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1000)
    }
    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// How long `self` lies after `earlier`; zero when it does not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
    /// `self + duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
    /// `self - duration`, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
    /// An ISO 8601 date-time with offset, any number of fraction digits [PR-GCONF, XAdES SigningTime].
    pub fn from_iso8601(text: &str) -> Option<Self> {
        let _ = text;
        todo!()
    }
    /// `2026-01-02T03:14:05Z`; with `.123` before the `Z` when there are milliseconds.
    pub fn to_iso8601(self) -> String {
        todo!()
    }
}
