//! Points in time: milliseconds since the Unix epoch, and the date forms the protocols write.
//!
//! Dates are those of RFC 3339 (a profile of ISO 8601) [PR-GCONF, XAdES `SigningTime`]; years 0000 to 9999.
//! Nothing in `proto` or `pki` reads a clock; a [`UnixTime`] is always an argument.
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub i64);

/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z, the ends of what can be written.
const WRITABLE_MS: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);

impl UnixTime {
    /// From whole seconds, saturating.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
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
    /// An ISO 8601 date-time with offset, any number of fraction digits; what is finer than a millisecond is dropped.
    pub fn from_iso8601(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let ms = parsed.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(ms).ok().map(Self)
    }
    /// `2026-01-02T03:14:05Z`; with `.123` before the `Z` when there are milliseconds.
    ///
    /// Times outside the years 0000 to 9999 are written as the nearest that is inside.
    pub fn to_iso8601(self) -> String {
        let ms = self.0.clamp(WRITABLE_MS.0, WRITABLE_MS.1);
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let written = if ms.rem_euclid(1000) == 0 {
            at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
        } else {
            at.format(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            ))
        };
        written.expect("a time between the years 0000 and 9999 has all the components of the format")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_date_times_with_offset() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-21T18:29:25Z", Some(1_795_285_765_000)),
            ("2026-11-21T20:29:25+02:00", Some(1_795_285_765_000)),
            ("2026-11-21T18:29:25.1Z", Some(1_795_285_765_100)),
            ("2026-11-21T18:29:25.123456789Z", Some(1_795_285_765_123)),
            ("2026-11-21T18:29:25.1234567891234Z", Some(1_795_285_765_123)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2026-11-21T18:29:25", None),
            ("2026-11-21", None),
            ("2026-02-30T00:00:00Z", None),
            ("2026-11-21T18:29:25Zx", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(UnixTime::from_iso8601(text).map(|t| t.0), expected, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in [
            "2026-01-02T03:14:05Z",
            "2026-01-02T03:14:05.120Z",
            "1969-12-31T23:59:59.999Z",
            "9999-12-31T23:59:59.999Z",
        ] {
            assert_eq!(UnixTime::from_iso8601(text).expect(text).to_iso8601(), text);
        }
        assert_eq!(UnixTime(i64::MAX).to_iso8601(), "9999-12-31T23:59:59.999Z");
        assert_eq!(UnixTime(i64::MIN).to_iso8601(), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixTime(5).since(UnixTime(9)), Duration::ZERO);
        assert_eq!(UnixTime(i64::MAX).plus(Duration::from_secs(1)), UnixTime(i64::MAX));
        assert_eq!(UnixTime(i64::MIN).minus(Duration::MAX), UnixTime(i64::MIN));
        assert_eq!(UnixTime(-1).as_secs(), -1);
        assert_eq!(UnixTime::from_secs(i64::MAX), UnixTime(i64::MAX));
    }
}
