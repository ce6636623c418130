//! Keeps the OCSP answers of own certificates fresh, and with them the snapshot of keys in use.
//!
//! For each active, registered certificate and the intermediates above it the responders are asked in the configuration's order,
//! then the one the certificate names itself. An answer is verified by the rules that peers apply before it is kept; one that says
//! revoked takes the kept one away. Each is asked for anew at the configured interval, or after half the time that it holds if that is
//! shorter, and those that are missing or failed after the retry delay; right after the start the delay is short and doubles, so that a server does not wait a minute for a responder that
//! starts at the same time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::clock::Clock;
use host::contacts::Contacts;
use host::http::{Answer, Client, ClientError};
use host::shutdown::Shutdown;
use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use pki::ocsp::{self, MAX_RESPONSE_BYTES, OcspError, Response};
use pki::trust::{self, TrustError};
use proto::globalconf::shared_parameters::{CostType, OcspInfo};
use proto::id::ServerId;
use proto::time::UnixTime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::identities::{Link, chain_of, instance_of};
use crate::service::TokenService;

/// Time to reach a responder.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for a whole answer.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait after failures unless the settings say otherwise.
pub const RETRY_DELAY: Duration = Duration::from_secs(60);
/// First wait after failures right after the start; doubles up to the retry delay.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// Answers that hold for a moment only do not keep their responder busy.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How often a new configuration and answers that ran out are noticed when nobody says so; without a configuration it is all there
/// is to do.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const REQUEST_TYPE: &str = "application/ocsp-request";
/// Most responders that are asked at a time.
const MAX_PARALLEL: usize = 8;

/// Which responders are asked, and which first (`ocsp-prioritization-strategy`); configurations before version 6 know no costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prioritization {
    /// As configured.
    #[default]
    None,
    /// Free ones only.
    OnlyFree,
    /// Paid ones only.
    OnlyPaid,
    /// Free ones, then paid ones, then those of which nothing is said [UG-SYSPAR].
    FreeFirst,
    /// Paid ones, then free ones, then those of which nothing is said.
    PaidFirst,
}

impl Prioritization {
    /// The addresses to ask, in order.
    fn order(self, responders: &[OcspInfo], version: u32) -> Vec<String> {
        if version < COSTS_SINCE {
            return responders.iter().map(|responder| responder.url.clone()).collect();
        }
        let rank = |cost: CostType| match (self, cost) {
            (Self::None, _) => Some(0),
            (Self::OnlyFree | Self::FreeFirst, CostType::Free) => Some(0),
            (Self::OnlyPaid | Self::PaidFirst, CostType::Paid) => Some(0),
            (Self::OnlyFree | Self::OnlyPaid, _) => None,
            (Self::FreeFirst, CostType::Paid) | (Self::PaidFirst, CostType::Free) => Some(1),
            (Self::FreeFirst | Self::PaidFirst, CostType::Undefined) => Some(2),
        };
        let ranked = responders.iter().filter_map(|responder| Some((rank(responder.cost)?, responder)));
        let mut ranked: Vec<_> = ranked.collect();
        // Those of one rank stay as they are configured.
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, responder)| responder.url.clone()).collect()
    }
}

/// Configuration version that brought costs.
const COSTS_SINCE: u32 = 6;

/// Settings of the fetcher.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Wait after failures.
    pub retry_delay: Duration,
    /// Whom to ask.
    pub prioritization: Prioritization,
}

impl Default for Settings {
    fn default() -> Self {
        Self { retry_delay: RETRY_DELAY, prioritization: Prioritization::None }
    }
}

/// What the fetcher reads of its server each time: the configuration, if there is a valid one, and the server's identifier.
pub type Surroundings = Box<dyn Fn() -> (Option<Arc<GlobalConf>>, Option<ServerId>) + Send + Sync>;

/// Runs until shutdown. One per token.
pub async fn run(
    signer: Arc<dyn TokenService>,
    surroundings: Surroundings,
    http: Client,
    settings: Settings,
    clock: Clock,
    shutdown: Shutdown,
) {
    let mut delay = FIRST_RETRY.min(settings.retry_delay);
    let mut fetcher = Fetcher { signer, http, settings, clock, due: HashMap::new() };
    let (mut next_try, mut generation) = (Instant::now(), None);
    loop {
        let mut pause = LOOK_AGAIN;
        if let (Some(conf), server) = surroundings() {
            // What is on the disk can be used before anybody is asked.
            fetcher.signer.refresh(&conf, server.as_ref(), fetcher.clock.now());
            let changed = generation.replace(conf.generation()) != Some(conf.generation());
            if changed || Instant::now() >= next_try {
                let all_answered = fetcher.fetch(&conf, server.as_ref()).await;
                let wait = if all_answered { fetcher.until_next(&conf) } else { delay.min(interval(&conf)) };
                next_try = Instant::now() + wait;
                delay = if all_answered { fetcher.settings.retry_delay } else { delay * 2 };
                delay = delay.min(fetcher.settings.retry_delay);
            }
            pause = pause.min(next_try.saturating_duration_since(Instant::now()));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = fetcher.signer.derived().changed() => next_try = Instant::now(),
            () = shutdown.stopped() => return,
        }
    }
}

fn interval(conf: &GlobalConf) -> Duration {
    Duration::from_secs(conf.ocsp_fetch_interval_seconds())
}

struct Fetcher {
    signer: Arc<dyn TokenService>,
    http: Client,
    settings: Settings,
    clock: Clock,
    /// When the next answer about a certificate (by SHA-256) is due that got a good one in this run.
    due: HashMap<[u8; 32], Instant>,
}

/// What responders said about one certificate.
enum Outcome {
    /// With the time that it holds from now.
    Good(Box<Response>, Duration),
    NotGood(ocsp::Status),
    /// Nobody gave an answer that counts.
    Failed,
}

impl Fetcher {
    /// Asks about every certificate whose answer is due. True when each got a good one.
    ///
    /// What comes into use meanwhile is asked about at once, and each answer counts as soon as it is there: a responder that takes its
    /// time holds nobody else up.
    async fn fetch(&mut self, conf: &Arc<GlobalConf>, server: Option<&ServerId>) -> bool {
        let signer = Arc::clone(&self.signer);
        let mut asked = HashSet::new();
        let mut waiting = self.due_questions(conf, &mut asked);
        let (mut running, mut all_answered) = (JoinSet::new(), true);
        loop {
            while running.len() < MAX_PARALLEL
                && let Some(question) = waiting.pop_front()
            {
                let (conf, http, clock) = (Arc::clone(conf), self.http.clone(), self.clock.clone());
                let signer = Arc::clone(&self.signer);
                running.spawn(async move {
                    question.ask(&conf, &http, &clock, signer.derived().responders()).await
                });
            }
            tokio::select! {
                done = running.join_next() => match done {
                    None => return all_answered,
                    Some(Err(_)) => all_answered = false,
                    Some(Ok((cert, outcome))) => {
                        all_answered &= self.keep(cert, outcome, interval(conf)).await;
                        signer.refresh(conf, server, self.clock.now());
                    }
                },
                () = signer.derived().changed(), if !running.is_empty() => {
                    waiting.extend(self.due_questions(conf, &mut asked));
                }
            }
        }
    }

    /// Questions that are due and were not `asked` yet, which they are then.
    fn due_questions(&mut self, conf: &GlobalConf, asked: &mut HashSet<[u8; 32]>) -> VecDeque<Question> {
        let now = Instant::now();
        let wanted = self.wanted(conf);
        self.due.retain(|cert, due| wanted.contains_key(cert) && now < *due);
        let due = wanted.into_iter().filter(|(cert, _)| !self.due.contains_key(cert) && asked.insert(*cert));
        due.map(|(_, question)| question).collect()
    }

    /// Time until the first answer is due again.
    fn until_next(&self, conf: &GlobalConf) -> Duration {
        let next = self.due.values().min();
        next.map_or(interval(conf), |next| next.saturating_duration_since(Instant::now()))
    }

    /// Certificates in use and the intermediates above them.
    fn wanted(&self, conf: &GlobalConf) -> HashMap<[u8; 32], Question> {
        let keys = self.signer.keys();
        let live = keys.iter().flat_map(|key| &key.certs).filter(|cert| cert.is_live());
        let links = live.flat_map(|cert| {
            let instance = instance_of(conf, cert).to_owned();
            chain_of(conf, &cert.cert, &instance).into_iter().map(move |link| (link, instance.clone()))
        });
        links
            .map(|(link, instance)| {
                let mut urls = self.settings.prioritization.order(&link.issuer.ocsp, conf.version());
                urls.extend(link.cert.ocsp_urls().iter().cloned());
                let mut seen = HashSet::new();
                urls.retain(|url| !url.is_empty() && seen.insert(url.clone()));
                (link.cert.sha256(), Question { link, instance, urls })
            })
            .collect()
    }

    /// True when the answer was good and is kept.
    async fn keep(&mut self, cert: Certificate, outcome: Outcome, interval: Duration) -> bool {
        let signer = Arc::clone(&self.signer);
        let (subject, sha256) = (cert.subject(), cert.sha256());
        let holds = if let Outcome::Good(_, holds) = &outcome { Some(*holds) } else { None };
        let written = tokio::task::spawn_blocking(move || match outcome {
            Outcome::Good(response, _) => signer.derived().ocsp().put(&cert, *response),
            Outcome::NotGood(status) => {
                tracing::error!(subject = cert.subject(), %status, "an own certificate is not good any more");
                signer.derived().ocsp().remove(&cert)
            }
            Outcome::Failed => Ok(()),
        });
        if let Err(error) = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            tracing::warn!(subject, %error, "an OCSP answer cannot be kept");
        }
        match holds {
            Some(holds) => {
                let wait = interval.min(holds / 2).max(MIN_INTERVAL);
                self.due.insert(sha256, Instant::now() + wait);
            }
            None => tracing::warn!(subject, "there is no good OCSP answer for an own certificate"),
        }
        holds.is_some()
    }
}

/// A certificate with whom to ask about it.
struct Question {
    link: Link,
    instance: String,
    urls: Vec<String>,
}

impl Question {
    /// Asks one responder after the other until one gives an answer that counts.
    async fn ask(
        self,
        conf: &GlobalConf,
        http: &Client,
        clock: &Clock,
        contacts: &Contacts,
    ) -> (Certificate, Outcome) {
        let Link { cert, issuer } = &self.link;
        let request = Bytes::from(ocsp::request(cert, &issuer.cert));
        for url in &self.urls {
            let answer = http.post(url, REQUEST_TYPE, request.clone(), MAX_RESPONSE_BYTES).await;
            let judged = self.judge(conf, answer, clock.now());
            let unusable = match &judged {
                Err(Unusable::Because(reason)) => Some(reason.clone()),
                Ok(_) | Err(Unusable::NotGood(_)) => None,
            };
            contacts.note(url, clock.now(), unusable);
            match judged {
                Ok((response, holds)) => return (self.link.cert, Outcome::Good(Box::new(response), holds)),
                Err(Unusable::NotGood(status)) => return (self.link.cert, Outcome::NotGood(status)),
                Err(Unusable::Because(reason)) => {
                    tracing::warn!(
                        subject = cert.subject(),
                        url,
                        reason,
                        "an OCSP responder gave no usable answer"
                    );
                }
            }
        }
        (self.link.cert, Outcome::Failed)
    }

    fn judge(
        &self,
        conf: &GlobalConf,
        answer: Result<Answer, ClientError>,
        now: UnixTime,
    ) -> Result<(Response, Duration), Unusable> {
        let answer = answer.map_err(|error| Unusable::Because(error.to_string()))?;
        if answer.status != 200 {
            return Err(Unusable::Because(format!("HTTP status {}", answer.status)));
        }
        let response = Response::parse(&answer.body).map_err(|error| Unusable::Because(error.to_string()))?;
        let Link { cert, issuer } = &self.link;
        match trust::judge(conf, std::slice::from_ref(&response), cert, &issuer.cert, &self.instance, now) {
            Ok(good) => Ok((response, good.believe_until.since(now))),
            Err(TrustError::Ocsp { reason: OcspError::NotGood(status), .. }) => {
                Err(Unusable::NotGood(status))
            }
            Err(error) => Err(Unusable::Because(error.to_string())),
        }
    }
}

/// Why an answer is not kept.
enum Unusable {
    /// It is authentic and fresh, and says that the certificate must not be used.
    NotGood(ocsp::Status),
    Because(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responders_are_asked_by_cost() {
        use CostType::{Free, Paid, Undefined};
        let responder = |url: &str, cost| OcspInfo { url: url.to_owned(), cert: None, cost };
        let all =
            [responder("u", Undefined), responder("p", Paid), responder("f", Free), responder("g", Free)];
        let cases = [
            (Prioritization::None, 6, "upfg"),
            (Prioritization::OnlyFree, 6, "fg"),
            (Prioritization::OnlyPaid, 6, "p"),
            (Prioritization::FreeFirst, 6, "fgpu"),
            (Prioritization::PaidFirst, 6, "pfgu"),
            (Prioritization::OnlyFree, 5, "upfg"),
        ];
        for (strategy, version, expected) in cases {
            assert_eq!(strategy.order(&all, version).concat(), expected, "{strategy:?} {version}");
        }
    }
}
