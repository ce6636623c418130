//! Whether a peer's certificate may speak for a client: OCSP answers are found or fetched, then `pki::trust` decides.
//!
//! Verdicts are kept as all others are ([`TrustCache`]). Refusals are not kept.

use std::time::Duration;

use bytes::Bytes;
use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use pki::ocsp::Response;
use proto::fault::FaultCode;
use proto::id::ClientId;
use proto::time::UnixTime;

use super::PeerError;
use crate::ocsp_cache::OcspCache;
use crate::ocsp_port::{MAX_CERTS, OcspPortClient, OcspPortError};
use crate::trust_cache::TrustCache;

/// Finds answers, asks, remembers.
pub(super) struct Verifier {
    port: OcspPortClient,
    answers: OcspCache,
    verdicts: TrustCache,
}

impl Verifier {
    pub(super) fn new(port: u16, limit: Duration) -> Self {
        let port = OcspPortClient::new(port, limit, limit);
        Self { port, answers: OcspCache::default(), verdicts: TrustCache::new() }
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
        match self.verdicts.tls_peer(chain, &answers, client, conf, now) {
            Ok(trusted) => Ok(trusted.until()),
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
    ) -> (Vec<Bytes>, Option<OcspPortError>) {
        let kept: Vec<Option<Bytes>> = chain.iter().map(|cert| self.answers.get(cert, now)).collect();
        let wanted: Vec<&Certificate> =
            chain.iter().zip(&kept).filter(|(_, answer)| answer.is_none()).map(|(cert, _)| cert).collect();
        let mut all: Vec<Bytes> = kept.iter().flatten().cloned().collect();
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
            all.push(der.clone());
        }
        (all, None)
    }
}

fn failed(nested: &[FaultCode], cause: String) -> PeerError {
    let path = [FaultCode::SslAuthenticationFailed].into_iter().chain(nested.iter().copied()).collect();
    let message = "The provider's security server could not be authenticated".to_owned();
    PeerError { path, message, cause }
}
