//! OCSP answers about other servers' TLS certificates: verified before they are kept, believed for as long as the rules say.
//!
//! Keyed by the SHA-256 of the certificate. An answer that does not verify, or is not good, is never kept; an older one never takes
//! the place of a newer one (wire dossier §22 row 9). At most [`MAX_ENTRIES`]; memory only, since a peer can be asked again.
//! Answers about our own certificates are the signer's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use pki::ocsp::{Good, OcspError, Responders, Response};
use proto::time::UnixTime;

/// Most answers kept; at 2 KiB each some 20 MB.
pub const MAX_ENTRIES: usize = 10_000;

/// The cache.
#[derive(Debug, Default)]
pub struct OcspCache {
    entries: Mutex<HashMap<[u8; 32], Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    der: Bytes,
    this_update: UnixTime,
    until: UnixTime,
}

/// Why an answer is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// Nobody who could have issued the certificate is known.
    #[error("the issuer of {0} is not known")]
    UnknownIssuer(String),
    /// It does not vouch for the certificate.
    #[error("the OCSP answer for {subject}: {reason}")]
    NotGood {
        /// The certificate's subject.
        subject: String,
        /// Why.
        reason: OcspError,
    },
}

impl OcspCache {
    /// An answer about `cert` that is still believed.
    pub fn get(&self, cert: &Certificate, now: UnixTime) -> Option<Bytes> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&cert.sha256()).filter(|entry| now <= entry.until).map(|entry| entry.der.clone())
    }

    /// Verifies `der` as an answer about `cert` and keeps it unless a newer one is there.
    ///
    /// The issuer is looked for in `chain`, which the peer sent, then among the CAs of the configuration; `instance` is the peer's.
    ///
    /// # Errors
    /// It is not kept.
    pub fn put(
        &self,
        conf: &GlobalConf,
        instance: &str,
        chain: &[Certificate],
        cert: &Certificate,
        der: &Bytes,
        now: UnixTime,
    ) -> Result<(), NotKept> {
        let good = verify(conf, instance, chain, cert, der, now)?;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, entry| now <= entry.until);
        }
        let key = cert.sha256();
        let newer_there =
            entries.get(&key).is_some_and(|old| now <= old.until && old.this_update >= good.this_update);
        if !newer_there && (entries.len() < MAX_ENTRIES || entries.contains_key(&key)) {
            let entry = Entry { der: der.clone(), this_update: good.this_update, until: good.believe_until };
            entries.insert(key, entry);
        }
        Ok(())
    }
}

fn verify(
    conf: &GlobalConf,
    instance: &str,
    chain: &[Certificate],
    cert: &Certificate,
    der: &[u8],
    now: UnixTime,
) -> Result<Good, NotKept> {
    let ca = conf.ca_for(cert, instance);
    // A name is anybody's to write: whoever sends a chain must not choose who answers for its certificates.
    let sent = chain.iter().find(|other| {
        other.subject_der() == cert.issuer_der()
            && other.der() != cert.der()
            && cert.verify_issued_by(other).is_ok()
    });
    let issuer = ca.map(|ca| &ca.cert).or(sent).ok_or_else(|| NotKept::UnknownIssuer(cert.subject()))?;
    let responders = Responders { configured: ca.map_or(&[], |ca| &ca.responders), known: conf.ca_certs() };
    Response::parse(der)
        .and_then(|response| response.verify(cert, issuer, responders, &conf.ocsp_rules(), now))
        .map_err(|reason| NotKept::NotGood { subject: cert.subject(), reason })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pki::ocsp::Status;

    use super::*;
    use crate::testing::{NOW, ca, globalconf, ocsp};

    const HOUR: Duration = Duration::from_secs(3600);

    /// [wire dossier §22 row 9].
    #[test]
    fn keeps_only_good_answers_and_never_an_older_one() {
        let (conf, cache) = (globalconf(&[], &[]), OcspCache::default());
        let (cert, other) = (ca().tls("a").1, ca().tls("b").1);
        let chain = [cert.clone()];
        let put = |der: &Bytes| cache.put(&conf, "EE", &chain, &cert, der, NOW);
        let at = |minutes: u64| NOW.minus(Duration::from_secs(60 * minutes));

        let bad = [
            ("of another certificate", ocsp(&other, Status::Good, at(1))),
            ("revoked", ocsp(&cert, Status::Revoked, at(1))),
            ("unknown", ocsp(&cert, Status::Unknown, at(1))),
            ("too old", ocsp(&cert, Status::Good, at(61))),
            ("from the future", ocsp(&cert, Status::Good, NOW.plus(HOUR))),
            ("no answer", Bytes::from_static(b"nonsense")),
        ];
        for (name, der) in &bad {
            assert!(put(der).is_err(), "{name}");
            assert_eq!(cache.get(&cert, NOW), None, "{name}");
        }
        let (older, newer) = (ocsp(&cert, Status::Good, at(20)), ocsp(&cert, Status::Good, at(10)));
        put(&newer).unwrap();
        put(&older).unwrap();
        assert_eq!(cache.get(&cert, NOW), Some(newer.clone()));
        for (name, der) in &bad {
            assert!(put(der).is_err(), "{name}");
            assert_eq!(cache.get(&cert, NOW), Some(newer.clone()), "{name}");
        }
        assert_eq!(cache.get(&cert, NOW.plus(HOUR)), None, "no longer believed");
        assert_eq!(cache.get(&other, NOW), None);
    }
}
