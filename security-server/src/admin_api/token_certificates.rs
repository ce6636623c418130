//! Certificates of the token's keys: import, activation, deletion.
//!
//! An imported certificate must be one that an approved CA of our instance issued, be for a key of the token and fit its usage; a
//! signing certificate names its member, which must have a client here.

use admin_api::operation::{delete, get, post, put};
use admin_api::types::security_server::tokens::TokenCertificate;
use admin_api::{Answer, Call, Problem};
use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use proto::id::MemberId;
use signer::service::CertState;
use signer::token::{CertInfo, CertStatus, KeyInfo, KeyUsage};

use super::tokens::{certificate_actions, certificate_shown};
use super::{Api, Rows, problems};

/// Rows of the table.
pub(super) fn rows() -> Rows {
    const MISSING: (u16, &str) = (404, "certificate_not_found");
    const NOT_POSSIBLE: (u16, &str) = (409, "action_not_possible");
    vec![
        post("importCertificate", "/token-certificates")
            .right("IMPORT_AUTH_CERT")
            .right("IMPORT_SIGN_CERT")
            .audit("Import certificate from file")
            .takes_octets()
            .upload(true)
            .gives::<TokenCertificate>(201)
            .refuses(&[
                (409, "global_conf_outdated"),
                (400, "invalid_certificate"),
                (400, "cert_wrong_usage"),
                (400, "certificate_authority_not_found"),
                (400, "client_not_found"),
                (400, "key_not_found"),
                (409, "certificate_already_exists"),
            ])
            .by(import),
        get("getCertificate", "/token-certificates/{hash}")
            .right("VIEW_AUTH_CERT")
            .right("VIEW_SIGN_CERT")
            .right("VIEW_UNKNOWN_CERT")
            .gives::<TokenCertificate>(200)
            .refuses(&[MISSING])
            .by(one),
        delete("deleteCertificate", "/token-certificates/{hash}")
            .right("DELETE_AUTH_CERT")
            .right("DELETE_SIGN_CERT")
            .right("DELETE_UNKNOWN_CERT")
            .audit("Delete certificate from configuration")
            .gives_nothing(204)
            .refuses(&[MISSING, NOT_POSSIBLE])
            .by(remove),
        put("activateCertificate", "/token-certificates/{hash}/activate")
            .right("ACTIVATE_DISABLE_AUTH_CERT")
            .right("ACTIVATE_DISABLE_SIGN_CERT")
            .audit("Enable certificate")
            .gives_nothing(204)
            .refuses(&[MISSING, NOT_POSSIBLE])
            .by(|api, call| set_active(api, call, true)),
        put("disableCertificate", "/token-certificates/{hash}/disable")
            .right("ACTIVATE_DISABLE_AUTH_CERT")
            .right("ACTIVATE_DISABLE_SIGN_CERT")
            .audit("Disable certificate")
            .gives_nothing(204)
            .refuses(&[MISSING, NOT_POSSIBLE])
            .by(|api, call| set_active(api, call, false)),
        get("getPossibleActionsForCertificate", "/token-certificates/{hash}/possible-actions")
            .right("VIEW_KEYS")
            .right("VIEW_AUTH_CERT")
            .right("VIEW_SIGN_CERT")
            .right("VIEW_UNKNOWN_CERT")
            .gives::<Vec<String>>(200)
            .refuses(&[MISSING])
            .by(actions),
    ]
}

/// The certificate in the path, with its key.
///
/// # Errors
/// 404 `certificate_not_found`.
pub(super) fn find(api: &Api, call: &mut Call) -> Result<(KeyInfo, CertInfo), Problem> {
    let hash = call.path("hash").to_owned();
    call.note("certHash", hash.to_uppercase());
    call.note("certHashAlgorithm", "SHA-256");
    let keys = api.foundation.token.get().map(|token| token.keys()).unwrap_or_default();
    for key in keys {
        if let Some(cert) = key.certs.iter().find(|cert| cert.id().eq_ignore_ascii_case(&hash)).cloned() {
            return Ok((key, cert));
        }
    }
    let text = format!("Certificate with hash {hash} not found");
    Err(problems::signers(Problem::missing("certificate_not_found").with(text)))
}

/// The certificate in the path, when this may be done with it and the caller has the right of its usage.
fn find_for(
    api: &Api,
    call: &mut Call,
    action: &str,
    rights: [&'static str; 2],
) -> Result<CertInfo, Problem> {
    let (key, cert) = find(api, call)?;
    call.needs(rights[usize::from(key.usage == KeyUsage::Signing)])?;
    if certificate_actions(&key, &cert).contains(&action) { Ok(cert) } else { Err(problems::not_possible()) }
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (key, cert) = find(api, call)?;
    Answer::ok(&certificate_shown(api, &key, &cert))
}

fn actions(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (key, cert) = find(api, call)?;
    Answer::ok(&certificate_actions(&key, &cert))
}

fn set_active(api: &Api, call: &mut Call, active: bool) -> Result<Answer, Problem> {
    let action = if active { "ACTIVATE" } else { "DISABLE" };
    let rights = ["ACTIVATE_DISABLE_AUTH_CERT", "ACTIVATE_DISABLE_SIGN_CERT"];
    let cert = find_for(api, call, action, rights)?;
    let state = CertState { cert: cert.id(), status: cert.status, active };
    api.token()?.set_states(&[state]).map_err(problems::of_token)?;
    api.keys_changed();
    Ok(Answer::empty(204))
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let cert = find_for(api, call, "DELETE", ["DELETE_AUTH_CERT", "DELETE_SIGN_CERT"])?;
    api.token()?.delete_certificate(&cert.id()).map_err(problems::of_token)?;
    api.keys_changed();
    Ok(Answer::empty(204))
}

/// Whose messages a signing certificate signs: what its profile reads in it, when that member has a client here.
fn member_of(api: &Api, conf: &GlobalConf, cert: &Certificate) -> Result<MemberId, Problem> {
    let instance = conf.instance();
    let profile = conf.ca_for(cert, instance).and_then(|ca| ca.profile);
    let unknown = || Problem::bad_request("certificate_authority_not_found");
    let member = profile.ok_or_else(unknown)?.member(cert, instance);
    let stranger = |reason: String| Problem::bad_request("client_not_found").because(reason);
    let member = member.map_err(|error| stranger(error.to_string()))?;
    let state = api.state();
    if state.clients.keys().any(|client| client.member == member) {
        Ok(member)
    } else {
        Err(stranger(format!("{member} has no client here")))
    }
}

fn import(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let conf = api.valid_globalconf()?;
    let invalid =
        |error: pki::cert::CertError| Problem::bad_request("invalid_certificate").because(error.to_string());
    let cert = Certificate::parse(call.bytes()).map_err(invalid)?;
    let hash = hex::encode_upper(cert.sha256());
    call.note("certHash", hash.clone());
    call.note("certHashAlgorithm", "SHA-256");
    let wrong_usage = || problems::signers(Problem::bad_request("cert_wrong_usage"));
    let authentication = cert.is_authentication().map_err(|_| wrong_usage())?;
    if authentication == cert.is_signing() {
        return Err(wrong_usage());
    }
    call.needs(if authentication { "IMPORT_AUTH_CERT" } else { "IMPORT_SIGN_CERT" })?;
    let issuer = conf.ca_for(&cert, conf.instance()).map(|ca| &ca.cert);
    if issuer.is_none_or(|issuer| cert.verify_issued_by(issuer).is_err()) {
        return Err(Problem::bad_request("certificate_authority_not_found"));
    }
    let member = if authentication { None } else { Some(member_of(api, &conf, &cert)?) };
    let token = api.token().map_err(|_| Problem::bad_request("key_not_found"))?;
    let key = token.import_certificate(&cert, member, CertStatus::Saved).map_err(|error| match error {
        error @ signer::TokenError::Usage { .. } => wrong_usage().because(error.to_string()),
        other => problems::of_token(other),
    })?;
    call.note("keyId", key.clone());
    api.keys_changed();
    let key = super::keys::find(api, &key)?;
    let gone = || Problem::internal("an imported certificate is gone");
    let info = key.certs.iter().find(|info| info.cert == cert).ok_or_else(gone)?;
    Answer::created(&certificate_shown(api, &key, info), &format!("/token-certificates/{hash}"))
}
