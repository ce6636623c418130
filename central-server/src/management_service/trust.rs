//! Which certificates of security servers and members count: pure over the registry's approved CAs and a given time.

use pki::cert::Certificate;
use proto::time::UnixTime;

use crate::registry::State;

/// Whether an authentication certificate may be registered: for authentication, valid, and issued by an approved CA. Gives why not.
///
/// # Errors
/// What is wrong with it.
pub fn registrable(state: &State, der: &[u8], now: UnixTime) -> Result<(), String> {
    let cert = Certificate::parse(der).map_err(|error| error.to_string())?;
    if cert.is_authentication() != Ok(true) {
        return Err("the certificate is not for authentication".into());
    }
    if !cert.is_valid_at(now) {
        return Err("the certificate is not valid now".into());
    }
    let issued_by = |ca: &crate::registry::state::Ca| {
        Certificate::parse(&ca.cert.0).is_ok_and(|issuer| cert.verify_issued_by(&issuer).is_ok())
    };
    if state.all_cas().any(issued_by) {
        Ok(())
    } else {
        Err("no approved CA has issued the certificate".into())
    }
}
