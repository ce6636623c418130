//! Certificate paths: from a leaf over given intermediates to one trust anchor [RFC 5280 §6].
//!
//! The anchor is a name and a key: configured, and therefore trusted whatever its own dates say [RFC 5280 §6.1.1 (d)]. Every
//! certificate below it must be signed by the next one, hold at the given time, and have no critical extension that we do not
//! know; every intermediate must be a CA that may sign certificates and have room for the CAs below it. Policies are not asked
//! for, and a certificate with critical name constraints is refused like any unknown extension.
//!
//! The search is bounded: at most [`MAX_INTERMEDIATES`] given, at most [`MAX_STEPS`] signatures tried. Revocation is not here
//! (`ocsp`, `trust`).

use proto::time::UnixTime;

use crate::cert::Certificate;

/// Most intermediates that are looked at.
pub const MAX_INTERMEDIATES: usize = 16;
/// Most signatures that one search verifies.
pub const MAX_STEPS: usize = 64;

/// A sound path: leaf first, then intermediates, without the anchor.
#[derive(Clone, Debug)]
pub struct Path {
    /// Each with its issuer in the next place; the last one was issued by `anchor`.
    pub certs: Vec<Certificate>,
    /// The trust anchor.
    pub anchor: Certificate,
    /// When the first certificate of it stops holding.
    pub not_after: UnixTime,
}

impl Path {
    /// Each certificate with its issuer, the leaf first.
    pub fn links(&self) -> impl Iterator<Item = (&Certificate, &Certificate)> {
        let issuers = self.certs.iter().skip(1).chain([&self.anchor]);
        self.certs.iter().zip(issuers)
    }
}

/// Why there is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Names or signatures do not lead there.
    #[error("no path leads from {subject} to {anchor}")]
    NoPath {
        /// The leaf.
        subject: String,
        /// The anchor.
        anchor: String,
    },
    /// Expired or not yet valid.
    #[error("{subject} is outside its validity")]
    Validity {
        /// Which.
        subject: String,
    },
    /// Basic constraints do not say that it is a CA, or key usage says that it is not.
    #[error("{subject} may not issue certificates")]
    NotCa {
        /// Which.
        subject: String,
    },
    /// Too many CAs below it.
    #[error("{subject} has more CAs below it than it allows")]
    TooLong {
        /// Which.
        subject: String,
    },
    /// A critical extension that is not known.
    #[error("{subject} has a critical extension that is not known")]
    CriticalExtension {
        /// Which.
        subject: String,
    },
}

/// Builds and checks the path at `at`. Of several paths any sound one will do; when all fail, the error of the one that went
/// furthest is given.
///
/// # Errors
/// The broken rule.
pub fn build(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchor: &Certificate,
    at: UnixTime,
) -> Result<Path, ChainError> {
    let intermediates = &intermediates[..intermediates.len().min(MAX_INTERMEDIATES)];
    let mut search = Search { intermediates, anchor, at, steps: MAX_STEPS, failure: None };
    check_leaf(leaf, at)?;
    let mut path = vec![leaf.clone()];
    if search.extend(&mut path) {
        let not_after = path.iter().map(Certificate::not_after).min().unwrap_or(leaf.not_after());
        return Ok(Path { certs: path, anchor: anchor.clone(), not_after });
    }
    let no_path = || ChainError::NoPath { subject: leaf.subject(), anchor: anchor.subject() };
    Err(search.failure.unwrap_or_else(no_path))
}

struct Search<'a> {
    intermediates: &'a [Certificate],
    anchor: &'a Certificate,
    at: UnixTime,
    steps: usize,
    failure: Option<ChainError>,
}

impl Search<'_> {
    /// Leads `path` to the anchor, depth first; leaves it as it was when it cannot.
    fn extend(&mut self, path: &mut Vec<Certificate>) -> bool {
        let Some(last) = path.last().cloned() else { return false };
        if self.is_issuer(self.anchor, &last) {
            return true;
        }
        let (intermediates, below) = (self.intermediates, path.len() - 1);
        for candidate in intermediates {
            if path.contains(candidate) || !self.is_issuer(candidate, &last) {
                continue;
            }
            if let Err(error) = check_intermediate(candidate, below, self.at) {
                self.failure = Some(error);
                continue;
            }
            path.push(candidate.clone());
            if self.extend(path) {
                return true;
            }
            path.pop();
        }
        false
    }

    fn is_issuer(&mut self, issuer: &Certificate, subject: &Certificate) -> bool {
        if !subject.issuer_name().matches(issuer.subject_name()) || self.steps == 0 {
            return false;
        }
        self.steps -= 1;
        subject.verify_issued_by(issuer).is_ok()
    }
}

fn check_leaf(cert: &Certificate, at: UnixTime) -> Result<(), ChainError> {
    let subject = || cert.subject();
    if !cert.is_valid_at(at) {
        return Err(ChainError::Validity { subject: subject() });
    }
    if cert.has_unknown_critical_extension() {
        return Err(ChainError::CriticalExtension { subject: subject() });
    }
    Ok(())
}

/// `below`: how many CAs stand between it and the leaf.
fn check_intermediate(cert: &Certificate, below: usize, at: UnixTime) -> Result<(), ChainError> {
    check_leaf(cert, at)?;
    let subject = || cert.subject();
    let constraints = cert.basic_constraints().filter(|constraints| constraints.ca);
    let Some(constraints) = constraints.filter(|_| cert.key_usage().is_none_or(|usage| usage.key_cert_sign))
    else {
        return Err(ChainError::NotCa { subject: subject() });
    };
    match constraints.path_len {
        Some(most) if usize::try_from(most).is_ok_and(|most| below > most) => {
            Err(ChainError::TooLong { subject: subject() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::Role;
    use crate::key::{KeyKind, PrivateKey};
    use crate::name::COMMON_NAME;
    use crate::test_pki::{DAY, NOW, TestCa, rsa_key};

    fn subjects(path: &Path) -> Vec<String> {
        path.links()
            .map(|(cert, issuer)| {
                assert_eq!(cert.verify_issued_by(issuer), Ok(()));
                cert.subject_name().last(COMMON_NAME).unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn finds_its_way_whatever_the_order() {
        let root = TestCa::root();
        let upper = root.intermediate("upper", 1);
        let lower = upper.intermediate("lower", 0);
        let leaf = lower.issue("leaf", Role::Signing).0;
        let stray = TestCa::named("lower", rsa_key());
        let cas = [stray.cert, lower.cert.clone(), root.cert.clone(), upper.cert.clone()];
        let path = build(&leaf, &cas, &root.cert, NOW).unwrap();
        assert_eq!(subjects(&path), ["leaf", "lower", "upper"]);
        assert_eq!(path.not_after, NOW.plus(DAY * 3650));
        // An intermediate may be the anchor itself.
        let path = build(&leaf, &cas, &lower.cert, NOW).unwrap();
        assert_eq!(subjects(&path), ["leaf"]);
    }

    #[test]
    fn names_the_broken_rule() {
        let root = TestCa::root();
        let subject = |name: &str| vec![(COMMON_NAME, name.to_owned())];
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let with = |name: &str, role, change: fn(&mut crate::issue::Template<'_>)| {
            let key = PrivateKey::generate(KeyKind::P256).unwrap();
            TestCa { cert: root.certify(&subject(name), role, &key, change), key }
        };
        let good = with("good", Role::Authority(0), |_| {});
        let expired = with("expired", Role::Authority(0), |template| template.not_after = NOW.minus(DAY));
        let no_ca = with("no ca", Role::Signing, |_| {});
        let deep = good.intermediate("deep", 0);
        let late = good
            .certify(&subject("late"), Role::Signing, &key, |template| template.not_before = NOW.plus(DAY));
        let named = |name: &str| format!("CN={name}");
        let leaf = |ca: &TestCa| ca.certify(&subject("leaf"), Role::Signing, &key, |_| {});
        let no_path = || ChainError::NoPath { subject: named("leaf"), anchor: root.cert.subject() };
        let namesake = TestCa::root();
        let cases = [
            ("missing intermediate", leaf(&good), vec![expired.cert.clone()], no_path()),
            ("another key of the same name", leaf(&namesake), vec![], no_path()),
            (
                "expired intermediate",
                leaf(&expired),
                vec![expired.cert],
                ChainError::Validity { subject: named("expired") },
            ),
            ("no CA", leaf(&no_ca), vec![no_ca.cert], ChainError::NotCa { subject: named("no ca") }),
            (
                "too deep",
                leaf(&deep),
                vec![deep.cert, good.cert.clone()],
                ChainError::TooLong { subject: named("good") },
            ),
            ("not yet valid", late, vec![good.cert], ChainError::Validity { subject: named("late") }),
        ];
        for (name, leaf, cas, expected) in cases {
            assert_eq!(build(&leaf, &cas, &root.cert, NOW).err(), Some(expected), "{name}");
        }
    }

    /// Certificates that issue each other do not keep the search busy.
    #[test]
    fn the_search_is_bounded() {
        let key = || PrivateKey::generate(KeyKind::P256).unwrap();
        let shared = key().to_pkcs8();
        let mesh: Vec<_> = (0..MAX_INTERMEDIATES + 4)
            .map(|_| TestCa::named("mesh", PrivateKey::from_pkcs8(&shared).unwrap()).cert)
            .collect();
        let issuer = TestCa { cert: mesh[0].clone(), key: PrivateKey::from_pkcs8(&shared).unwrap() };
        let leaf = issuer.issue("leaf", Role::Signing).0;
        let anchor = TestCa::named("elsewhere", key()).cert;
        assert!(build(&leaf, &mesh, &anchor, NOW).is_err());
    }
}
