//! Whether a peer's certificate may speak for a client: OCSP answers are found or fetched, then `pki::trust` decides
//! [wire dossier §3.2, §11].
//!
//! Verdicts are kept by everything they depend on: certificates, OCSP bytes, client, configuration. Refusals are not kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::globalconf::GlobalConf;
use pki::ocsp::Response;
use pki::trust;
use proto::fault::FaultCode;
use proto::id::ClientId;
use proto::time::UnixTime;

use super::PeerError;
use crate::ocsp_cache::OcspCache;
use crate::ocsp_port::{MAX_CERTS, OcspPortClient, OcspPortError};

/// Most verdicts kept.
const MAX_VERDICTS: usize = 10_000;

/// Finds answers, asks, remembers.
pub(super) struct Verifier {
    port: OcspPortClient,
    answers: OcspCache,
    verdicts: Mutex<HashMap<Vec<u8>, UnixTime>>,
}

impl Verifier {
    pub(super) fn new(port: u16, limit: Duration) -> Self {
        let port = OcspPortClient::new(port, limit, limit);
        Self { port, answers: OcspCache::default(), verdicts: Mutex::default() }
    }

    /// Until when the peer at `host`, which showed `chain`, may be asked for services of `client`.
    ///
    /// # Errors
    /// `ssl_authentication_failed` with what it is about.
    pub(super) async fn check(
        &self,
        conf: &GlobalConf,
        chain: &[Certificate],
        host: &str,
        client: &ClientId,
        now: UnixTime,
    ) -> Result<UnixTime, PeerError> {
        if chain.is_empty() || chain.len() > MAX_CERTS {
            return Err(failed(&[], format!("{host}: shows {} certificates", chain.len())));
        }
        let (answers, missing) = self.answers(conf, chain, host, client, now).await;
        let key = verdict_key(conf, chain, &answers, client);
        if let Some(until) = self.verdict(&key, now) {
            return Ok(until);
        }
        match trust::tls_peer(conf, chain, &answers, client, now) {
            Ok(trusted) => {
                self.remember(key, trusted.until, now);
                Ok(trusted.until)
            }
            // Without answers the verdict is about their absence; why they are absent says more.
            Err(error) => Err(match missing {
                // One code for all that can go wrong there; the log has the cause.
                Some(reason) => {
                    failed(&[FaultCode::InternalError], format!("{host}: OCSP answers: {reason}"))
                }
                None => failed(&error.fault_path(), format!("{host}: {error}")),
            }),
        }
    }

    /// OCSP answers about `chain`, kept or fetched from the peer, and why fetching failed.
    ///
    /// What was fetched and did not verify goes into this verdict, since it may say that a certificate is revoked, and is not kept.
    async fn answers(
        &self,
        conf: &GlobalConf,
        chain: &[Certificate],
        host: &str,
        client: &ClientId,
        now: UnixTime,
    ) -> (Vec<Vec<u8>>, Option<OcspPortError>) {
        let kept: Vec<Option<Bytes>> = chain.iter().map(|cert| self.answers.get(cert, now)).collect();
        let wanted: Vec<&Certificate> =
            chain.iter().zip(&kept).filter(|(_, answer)| answer.is_none()).map(|(cert, _)| cert).collect();
        let mut all: Vec<Vec<u8>> = kept.iter().flatten().map(|der| der.to_vec()).collect();
        if wanted.is_empty() {
            return (all, None);
        }
        let fetched = match self.port.fetch(host, &wanted).await {
            Ok(fetched) => fetched,
            Err(error) => return (all, Some(error)),
        };
        if let Some(error) = fetched.iter().find_map(|der| Response::parse(der).err()) {
            return (all, Some(OcspPortError::Unreadable(error)));
        }
        for (cert, der) in wanted.into_iter().zip(&fetched) {
            if let Err(reason) = self.answers.put(conf, &client.member.instance, chain, cert, der, now) {
                tracing::warn!(peer = host, %reason, "an OCSP answer of a peer is not kept");
            }
            all.push(der.to_vec());
        }
        (all, None)
    }

    fn verdict(&self, key: &[u8], now: UnixTime) -> Option<UnixTime> {
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.get(key).copied().filter(|until| now <= *until)
    }

    fn remember(&self, key: Vec<u8>, until: UnixTime, now: UnixTime) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.retain(|_, until| now <= *until);
        }
        if verdicts.len() < MAX_VERDICTS {
            verdicts.insert(key, until);
        }
    }
}

/// Everything a verdict depends on but the time.
fn verdict_key(conf: &GlobalConf, chain: &[Certificate], answers: &[Vec<u8>], client: &ClientId) -> Vec<u8> {
    let mut hasher = DigestAlgorithm::Sha256.hasher();
    let mut add = |part: &[u8]| {
        // Lengths in between, so that no two lists of parts run together alike.
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    };
    add(&conf.generation().to_be_bytes());
    client.codes().for_each(|code| add(code.as_bytes()));
    add(&(chain.len() as u64).to_be_bytes());
    chain.iter().for_each(|cert| add(&cert.sha256()));
    answers.iter().for_each(|der| add(der));
    hasher.finish().value
}

fn failed(nested: &[FaultCode], cause: String) -> PeerError {
    let path = [FaultCode::SslAuthenticationFailed].into_iter().chain(nested.iter().copied()).collect();
    let message = "The provider's security server could not be authenticated".to_owned();
    PeerError { path, message, cause }
}
