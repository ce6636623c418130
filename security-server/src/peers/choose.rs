//! Which security servers may answer for a provider, and which of them is tried first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pki::globalconf::GlobalConf;
use proto::fault::FaultCode;
use proto::id::{ClientId, ServerId};
use proto::time::UnixTime;
use tokio::time::Instant;

use super::PeerError;

/// How long an address that failed is tried last.
const PENALTY: Duration = Duration::from_secs(60);
/// Most addresses remembered; there are never more servers than in the configuration.
const MAX_REMEMBERED: usize = 10_000;

/// Why nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChooseError {
    #[error("the global configuration knows no such instance")]
    UnknownInstance,
    #[error("no security server offers the services of this member or subsystem")]
    UnknownMember,
    #[error("the security server that was asked for does not exist or does not offer this service")]
    InvalidServer,
    #[error("the security server is in maintenance: try again later")]
    Maintenance,
}

impl ChooseError {
    pub(super) fn into_peer_error(self, provider: &ClientId) -> PeerError {
        let code = match self {
            Self::UnknownInstance => FaultCode::InternalError,
            Self::UnknownMember => FaultCode::UnknownMember,
            Self::InvalidServer => FaultCode::InvalidSecurityServer,
            Self::Maintenance => FaultCode::MaintenanceMode,
        };
        PeerError { path: vec![code], message: self.to_string(), cause: format!("{provider}: {self}") }
    }
}

/// Addresses that may be asked, each once.
///
/// # Errors
/// None is left.
pub(super) fn candidates(
    conf: &GlobalConf,
    provider: &ClientId,
    target: Option<&ServerId>,
    now: UnixTime,
) -> Result<Vec<String>, ChooseError> {
    if !conf.knows_instance(&provider.member.instance, now) {
        return Err(ChooseError::UnknownInstance);
    }
    let offering = conf.providers(provider);
    if let Some(target) = target {
        if !conf.knows_instance(&target.owner.instance, now) {
            return Err(ChooseError::UnknownInstance);
        }
        let server = conf.server(target).ok_or(ChooseError::InvalidServer)?;
        let offers = offering.iter().any(|other| other.address == server.address);
        return match (offers, &server.maintenance) {
            (false, _) => Err(ChooseError::InvalidServer),
            (true, Some(_)) => Err(ChooseError::Maintenance),
            (true, None) => Ok(vec![server.address.clone()]),
        };
    }
    let mut addresses: Vec<_> = offering
        .iter()
        .filter(|server| server.maintenance.is_none())
        .map(|server| server.address.clone())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    match (addresses.is_empty(), offering.is_empty()) {
        (false, _) => Ok(addresses),
        (true, false) => Err(ChooseError::Maintenance),
        (true, true) => Err(ChooseError::UnknownMember),
    }
}

/// Which addresses failed lately, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Health {
    turn: AtomicUsize,
    failed: Mutex<HashMap<String, Instant>>,
}

impl Health {
    /// In turn, those that failed lately last.
    pub(super) fn order(&self, mut addresses: Vec<String>, now: Instant) -> Vec<String> {
        if addresses.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.sort_by_key(|address| {
                failed.get(address).is_some_and(|at| now.duration_since(*at) < PENALTY)
            });
        }
        addresses
    }
    pub(super) fn failed(&self, address: &str, now: Instant) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= MAX_REMEMBERED {
            failed.retain(|_, at| now.duration_since(*at) < PENALTY);
        }
        if failed.len() < MAX_REMEMBERED {
            failed.insert(address.to_owned(), now);
        }
    }
    pub(super) fn answered(&self, address: &str) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if !failed.is_empty() {
            failed.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_turns_and_tries_failed_addresses_last() {
        let (health, start) = (Health::default(), Instant::now());
        let order = |now| health.order(["a", "b", "c"].map(str::to_owned).to_vec(), now);
        let firsts: Vec<String> = (0..3).map(|_| order(start).remove(0)).collect();
        assert_eq!(firsts, ["a", "b", "c"]);
        health.failed("a", start);
        assert!((0..6).all(|_| order(start).last().unwrap() == "a"));
        let later = start + PENALTY;
        assert!((0..6).any(|_| order(later)[0] == "a"));
        health.failed("b", later);
        health.answered("b");
        assert!((0..6).any(|_| order(later)[0] == "b"));
    }
}
