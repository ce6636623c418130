//! Self-signed certificates for keys that are recognised by their bytes and by nothing else: internal TLS, configuration signing.

use proto::time::UnixTime;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SignatureAlgorithm};

use crate::key::{KeyKind, PrivateKey};

/// Why none could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be made: {0}")]
pub struct SelfSignedError(String);

/// DER of a certificate of `key` for `common_name`, signed by itself, with a random serial number.
///
/// # Errors
/// The key or the dates cannot be used.
pub fn certificate(
    key: &PrivateKey,
    common_name: &str,
    not_before: UnixTime,
    not_after: UnixTime,
) -> Result<Vec<u8>, SelfSignedError> {
    let failed = |e: rcgen::Error| SelfSignedError(e.to_string());
    let date = |at: UnixTime| {
        time::OffsetDateTime::from_unix_timestamp(at.as_secs()).map_err(|e| SelfSignedError(e.to_string()))
    };
    let pkcs8 = key.to_pkcs8();
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_slice().into(), algorithm(key.kind()))
        .map_err(failed)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date(not_before)?, date(not_after)?);
    Ok(params.self_signed(&pair).map_err(failed)?.der().to_vec())
}

fn algorithm(kind: KeyKind) -> &'static SignatureAlgorithm {
    match kind {
        KeyKind::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
        KeyKind::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyKind::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::Certificate;

    #[test]
    fn names_its_key_and_verifies_under_it() {
        let (from, to) = (UnixTime::from_secs(1_700_000_000), UnixTime::from_secs(2_300_000_000));
        for kind in [KeyKind::Rsa(2048), KeyKind::P256, KeyKind::P384] {
            let key = PrivateKey::generate(kind).unwrap();
            let cert = Certificate::parse(&certificate(&key, "causeway", from, to).unwrap()).unwrap();
            assert_eq!(cert.spki(), key.spki(), "{kind:?}");
            assert_eq!(cert.subject(), "CN=causeway");
            assert_eq!((cert.not_before(), cert.not_after()), (from, to));
            cert.verify_issued_by(&cert).unwrap();
        }
    }
}
