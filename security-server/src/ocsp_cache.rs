//! OCSP answers about other servers' TLS certificates: verified before they are kept, believed for as long as the rules say.
//!
//! Keyed by the SHA-256 of the certificate. An answer that does not verify, or is not good, is never kept; an older one never takes
//! the place of a newer one. At most [`MAX_ENTRIES`]; memory only, since a peer can be asked again.
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
    /// The issuer is who signed `cert`: a CA of the configuration, else one in `chain`, which the peer sent. `instance` is the peer's.
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
    // A name is anybody's to write: neither a chain nor a certificate may choose who answers for it.
    let issued = |issuer: &Certificate| cert.verify_issued_by(issuer).is_ok();
    let ca = conf.ca_for(cert, instance).filter(|ca| issued(&ca.cert));
    let sent = chain
        .iter()
        .find(|other| other.subject_der() == cert.issuer_der() && other.der() != cert.der() && issued(other));
    let issuer = ca.map(|ca| &ca.cert).or(sent).ok_or_else(|| NotKept::UnknownIssuer(cert.subject()))?;
    let responders = Responders { configured: ca.map_or(&[], |ca| &ca.responders), known: conf.ca_certs() };
    Response::parse(der)
        .and_then(|response| response.verify(cert, issuer, responders, &conf.ocsp_rules(), now))
        .map_err(|reason| NotKept::NotGood { subject: cert.subject(), reason })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pki::issue::{self, Role, Subject, Template};
    use pki::key::{KeyKind, PrivateKey};
    use pki::name::COMMON_NAME;
    use pki::ocsp::Status;
    use pki::ocsp::respond::{Answer, NamedBy, Responder, respond};

    use super::*;
    use crate::testing::{NOW, ca, globalconf, ocsp};

    const HOUR: Duration = Duration::from_secs(3600);

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

    /// A CA that the configuration does not name.
    struct SubCa {
        key: PrivateKey,
        cert: Certificate,
    }

    impl SubCa {
        /// Of the same subject as `other`, by its own word alone.
        fn namesake(other: &Certificate) -> Self {
            let key = PrivateKey::generate(KeyKind::P256).unwrap();
            let subject = other.subject_name().attributes().unwrap();
            let cert = issue::self_signed(&template(&subject, Role::Authority(0)), &key).unwrap();
            Self { key, cert }
        }
        fn leaf(&self) -> Certificate {
            let key = PrivateKey::generate(KeyKind::P256).unwrap();
            let subject = vec![(COMMON_NAME, "peer".to_owned())];
            let template = template(&subject, Role::Authentication);
            issue::issue(&template, key.public_key(), &self.cert, &self.key).unwrap()
        }
        fn says_good(&self, cert: &Certificate) -> Bytes {
            let answer = Answer::about(cert, &self.cert, Status::Good, NOW, None).unwrap();
            let algorithm = self.key.default_algorithm();
            let responder = Responder { cert: &self.cert, key: &self.key, named_by: NamedBy::Key, algorithm };
            respond(&[answer], responder, NOW).unwrap().into()
        }
    }

    fn template(subject: &Subject, role: Role) -> Template<'_> {
        Template {
            subject,
            role,
            serial: &[7],
            not_before: NOW.minus(HOUR),
            not_after: NOW.plus(HOUR),
            dns_names: &[],
            addresses: &[],
            ocsp_url: None,
        }
    }

    /// Whoever sends the chain sends the name of an issuer too, so the name alone makes nobody one.
    #[test]
    fn only_who_signed_the_certificate_answers_for_it() {
        let conf = globalconf(&[], &[]);
        let (key, cert) = ca().issue("Sub CA", Role::Authority(0));
        let sub = SubCa { key, cert };
        let (namesake, leaf) = (SubCa::namesake(&sub.cert), sub.leaf());
        assert_eq!(namesake.cert.subject_der(), leaf.issuer_der());
        let (good, forged) = (sub.says_good(&leaf), namesake.says_good(&leaf));
        let unknown = Err(NotKept::UnknownIssuer(leaf.subject()));
        let other = Err(NotKept::NotGood { subject: leaf.subject(), reason: OcspError::OtherCertificate });
        let cases = [
            ("the issuer", vec![&sub], &good, Ok(())),
            ("nobody", vec![], &good, unknown.clone()),
            ("a namesake for itself", vec![&namesake], &forged, unknown.clone()),
            ("a namesake for the issuer", vec![&namesake], &good, unknown),
            ("a namesake before the issuer", vec![&namesake, &sub], &forged, other),
            ("the issuer behind a namesake", vec![&namesake, &sub], &good, Ok(())),
        ];
        for (name, issuers, der, expected) in cases {
            let cache = OcspCache::default();
            let chain: Vec<_> =
                [&leaf].into_iter().chain(issuers.iter().map(|ca| &ca.cert)).cloned().collect();
            assert_eq!(cache.put(&conf, "EE", &chain, &leaf, der, NOW), expected, "{name}");
            assert_eq!(cache.get(&leaf, NOW), expected.is_ok().then(|| der.clone()), "{name}");
        }
        // The CA of the configuration may have said something about another certificate with this serial number.
        let cache = OcspCache::default();
        let leaf = SubCa::namesake(&ca().cert).leaf();
        let put =
            cache.put(&conf, "EE", std::slice::from_ref(&leaf), &leaf, &ocsp(&leaf, Status::Good, NOW), NOW);
        assert_eq!(put, Err(NotKept::UnknownIssuer(leaf.subject())), "in the name of the configured CA");
    }
}
