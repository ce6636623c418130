//! Asking timestamping services: in which order, when one is left alone for a while, what counts as an answer.
//!
//! A service that failed stands behind the others for a time that doubles with every failure, so that one which hangs does not hold
//! up every request; when all have failed lately, all are asked all the same. An answer is a token that verifies under the global
//! configuration; nothing else is ever kept.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use host::contacts::Contacts;
use host::http::Client;
use pki::cert::Certificate;
use pki::digest::{DigestAlgorithm, DigestValue};
use pki::tsp::{self, Token};
use proto::globalconf::shared_parameters::CostType;
use proto::time::UnixTime;

use super::store::writer::lock;
use super::timestamper::{Surroundings, TimestampError};

/// Connecting to a timestamping service, and one request in all.
const CONNECT: Duration = Duration::from_secs(20);
const TOTAL: Duration = Duration::from_secs(60);
/// Largest answer of a service.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// How long a service stands back after its first failure, and at most.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_secs(900);

/// Which services come first, by what the global configuration says that they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preference {
    /// As configured.
    #[default]
    None,
    /// Free ones alone.
    OnlyFree,
    /// Paid ones alone.
    OnlyPaid,
    /// Free ones, then paid ones, then those of which nothing is said [UG-SYSPAR].
    FreeFirst,
    /// Paid ones, then free ones, then those of which nothing is said.
    PaidFirst,
}

impl Preference {
    /// The services in the order of asking. Before version 6 of the configuration nothing says what a service costs; all of them
    /// are then asked as configured.
    pub fn order(
        self,
        services: &[(String, String)],
        cost: impl Fn(&str) -> CostType,
    ) -> Vec<(String, String)> {
        let rank = |cost: CostType| match (self, cost) {
            (Self::None, _) => Some(0),
            (Self::OnlyFree | Self::FreeFirst, CostType::Free) => Some(0),
            (Self::OnlyPaid | Self::PaidFirst, CostType::Paid) => Some(0),
            (Self::OnlyFree | Self::OnlyPaid, _) => None,
            (Self::FreeFirst, CostType::Paid) | (Self::PaidFirst, CostType::Free) => Some(1),
            (Self::FreeFirst | Self::PaidFirst, CostType::Undefined) => Some(2),
        };
        if services.iter().all(|(_, url)| cost(url) == CostType::Undefined) {
            return services.to_vec();
        }
        let mut ranked: Vec<_> =
            services.iter().filter_map(|service| Some((rank(cost(&service.1))?, service))).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, service)| service.clone()).collect()
    }
}

/// A token that verified.
pub(super) struct Kept {
    pub(super) token: Vec<u8>,
    pub(super) at: UnixTime,
    pub(super) service: String,
}

/// Failures of one service without a success between them.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: UnixTime,
}

impl Failures {
    fn stands_back(self, now: UnixTime) -> bool {
        let doubled = FIRST_BACKOFF.saturating_mul(1 << self.count.saturating_sub(1).min(10));
        now < self.last.plus(doubled.min(MAX_BACKOFF))
    }
}

/// Asks services.
pub(super) struct Services {
    client: Client,
    clock: Clock,
    surroundings: Arc<dyn Surroundings>,
    failures: Mutex<HashMap<String, Failures>>,
    pub(super) contacts: Contacts,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl Services {
    pub(super) fn new(clock: Clock, surroundings: Arc<dyn Surroundings>) -> Self {
        let client = Client::new(CONNECT, TOTAL, &[]);
        Self { client, clock, surroundings, failures: Mutex::default(), contacts: Contacts::default() }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// A token over `data`, from the first service that gives a usable one.
    ///
    /// # Errors
    /// None did, and why.
    pub(super) async fn ask(&self, data: &[u8]) -> Result<Kept, TimestampError> {
        let mut services = self.surroundings.services();
        if services.is_empty() {
            return Err(TimestampError::NoService);
        }
        let now = self.clock.now();
        let trusted = self.surroundings.trusted(now).ok_or(TimestampError::NoGlobalConf)?;
        {
            let failures = lock(&self.failures);
            services
                .sort_by_key(|(_, url)| failures.get(url).is_some_and(|failures| failures.stands_back(now)));
        }
        let imprint = DigestAlgorithm::Sha512.digest(data);
        let mut reasons = Vec::new();
        for (service, url) in services {
            let outcome = ask_one(&self.client, &url, &imprint, &trusted).await;
            self.note(&url, outcome.is_ok());
            self.contacts.note(&url, self.clock.now(), outcome.as_ref().err().cloned());
            match outcome {
                Ok((token, at)) => {
                    metrics::counter!("causeway_timestamp_requests_total", "outcome" => "ok").increment(1);
                    return Ok(Kept { token, at, service });
                }
                Err(reason) => {
                    metrics::counter!("causeway_timestamp_requests_total", "outcome" => "failed")
                        .increment(1);
                    tracing::warn!(service, url, reason, "a timestamping service failed");
                    reasons.push(format!("{service}: {reason}"));
                }
            }
        }
        Err(TimestampError::Services(reasons.join("; ")))
    }

    fn note(&self, url: &str, succeeded: bool) {
        let mut failures = lock(&self.failures);
        if succeeded {
            failures.remove(url);
            return;
        }
        let last = self.clock.now();
        let known = failures.entry(url.to_owned()).or_insert(Failures { count: 0, last });
        *known = Failures { count: known.count.saturating_add(1), last };
    }
}

/// One request to one service; the reason of a failure in words.
async fn ask_one(
    client: &Client,
    url: &str,
    imprint: &DigestValue,
    trusted: &[Certificate],
) -> Result<(Vec<u8>, UnixTime), String> {
    let query = Bytes::from(tsp::request(imprint));
    let answer = client.post(url, "application/timestamp-query", query, MAX_ANSWER_BYTES).await;
    let answer = answer.map_err(|e| e.to_string())?;
    if answer.status != 200 {
        return Err(format!("it answered with status {}", answer.status));
    }
    let token = Token::from_response(&answer.body).map_err(|e| e.to_string())?;
    let (at, signer) = token.verify_digest(imprint, trusted).map_err(|e| e.to_string())?;
    Ok((token.with_certificate(&signer).der().to_vec(), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_ordered_by_cost() {
        let services = ["free-1", "paid", "unknown", "free-2"].map(|name| (name.to_owned(), name.to_owned()));
        let cost = |url: &str| match &url[..4] {
            "free" => CostType::Free,
            "paid" => CostType::Paid,
            _ => CostType::Undefined,
        };
        for (preference, expected) in [
            (Preference::None, "free-1 paid unknown free-2"),
            (Preference::OnlyFree, "free-1 free-2"),
            (Preference::OnlyPaid, "paid"),
            (Preference::FreeFirst, "free-1 free-2 paid unknown"),
            (Preference::PaidFirst, "paid free-1 free-2 unknown"),
        ] {
            let names: Vec<_> = preference.order(&services, cost).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names.join(" "), expected, "{preference:?}");
            assert_eq!(
                preference.order(&services, |_| CostType::Undefined),
                services,
                "nothing says what it costs"
            );
        }
    }

    #[test]
    fn a_service_that_fails_stands_back_longer_and_longer() {
        let at = |seconds: u64| UnixTime(0).plus(Duration::from_secs(seconds));
        for (count, seconds) in [(1, 10), (2, 20), (5, 160), (40, 900)] {
            let failures = Failures { count, last: at(0) };
            assert!(failures.stands_back(at(seconds - 1)) && !failures.stands_back(at(seconds)), "{count}");
        }
    }
}
