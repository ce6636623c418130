//! Registration of authentication certificates, and its end.

use admin_api::check::{ADDRESS_CHARS, HOST_ADDRESS, SIZE};
use admin_api::types::security_server::management::ServerAddress;
use admin_api::{Answer, Call, Check, Problem};
use proto::management::Request;
use signer::KeyId;
use signer::service::CertState;
use signer::token::{CertInfo, CertStatus, KeyUsage};

use super::{Api, Management, of_send, problems, send, wait_for};
use crate::management::document::AuthCert;

/// An authentication certificate of the token, by the hash in the path.
fn named(api: &Api, call: &mut Call) -> Result<(KeyId, CertInfo), Problem> {
    let hash = call.path("hash").to_owned();
    call.note("certHash", hash.as_str());
    let unknown = || {
        Problem::missing("certificate_not_found")
            .with(format!("Certificate with hash {hash} not found"))
            .with("tr.check_signer_logs")
    };
    let token = api.foundation.token.get().ok_or_else(unknown)?;
    let wanted = hash.to_ascii_lowercase();
    let found = token.keys().into_iter().find_map(|key| {
        let cert = key.certs.into_iter().find(|cert| cert.id() == wanted)?;
        Some((key.id, key.usage, cert))
    });
    let (id, usage, cert) = found.ok_or_else(unknown)?;
    match usage {
        KeyUsage::Authentication => Ok((id, cert)),
        _ => Err(Problem::bad_request("sign_cert_not_supported").with("not an auth cert")),
    }
}

/// Records the state that follows, then lets the configuration have its say: it may have come before this.
fn set(api: &Api, cert: &CertInfo, status: CertStatus) -> Result<(), Problem> {
    let id = cert.id();
    let token = api.token()?;
    let now = token.keys().into_iter().flat_map(|key| key.certs).find(|cert| cert.id() == id);
    let active = now.is_some_and(|cert| cert.active);
    token.set_states(&[CertState { cert: id, status, active }]).map_err(problems::of_token)?;
    api.keys_changed();
    Ok(())
}

pub(super) fn register(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ServerAddress = call.json()?;
    let mut check = Check::new("securityServerAddressDto");
    let address = check.required("address", asked.address, &[ADDRESS_CHARS, HOST_ADDRESS, SIZE]);
    check.done()?;
    call.note("address", address.as_str());
    let (key, cert) = named(api, call)?;
    if cert.status != CertStatus::Saved {
        return Err(problems::not_possible());
    }
    let auth = AuthCert { key, cert: cert.cert.clone() };
    let registered = Management::new(&api.foundation).register(&auth, Some(address));
    let number = wait_for(registered).map_err(of_send)?;
    call.note("managementRequestId", number);
    set(api, &cert, CertStatus::RegistrationInProgress)?;
    Ok(Answer::empty(204))
}

fn may_end(cert: &CertInfo) -> Result<(), Problem> {
    match cert.status {
        CertStatus::RegistrationInProgress | CertStatus::Registered => Ok(()),
        CertStatus::Saved | CertStatus::DeletionInProgress | CertStatus::GlobalError => {
            Err(problems::not_possible())
        }
    }
}

pub(super) fn unregister(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (_, cert) = named(api, call)?;
    may_end(&cert)?;
    send(api, call, Request::AuthCertDeletion { cert: cert.cert.der().to_vec() })?;
    set(api, &cert, CertStatus::DeletionInProgress)?;
    Ok(Answer::empty(204))
}

pub(super) fn mark_for_deletion(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (_, cert) = named(api, call)?;
    may_end(&cert)?;
    set(api, &cert, CertStatus::DeletionInProgress)?;
    Ok(Answer::empty(204))
}
