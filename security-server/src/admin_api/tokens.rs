//! The token: shown, renamed, logged in and out, its PIN. What may be done now stands with everything that is shown.
//!
//! There is one token, `0`. Before it is made it is shown as one that can be logged in to, as stock servers do.

use admin_api::check::SIZE;
use admin_api::operation::{delete, get, patch, put};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::security_server::tokens::{
    Key, KeyValuePair, Token, TokenCertificate, TokenCertificateSigningRequest, TokenName, TokenPassword,
    TokenPinUpdate,
};
use admin_api::{Answer, Call, Check, Problem};
use pki::cert::Certificate;
use pki::ocsp::{Response, Status};
use pki::public_key::{KeyType, PublicKey};
use signer::TokenError;
use signer::token::{CertInfo, CertStatus, CsrInfo, KeyInfo, KeyUsage};

use super::{Api, Rows, initialization, problems};
use crate::token_slot::LABEL;

/// The one token there is.
pub(super) const TOKEN: &str = "0";

/// Rows of the table.
pub(super) fn rows() -> Rows {
    const MISSING: (u16, &str) = (404, "token_not_found");
    const NOT_POSSIBLE: (u16, &str) = (409, "action_not_possible");
    vec![
        get("getTokens", "/tokens").right("VIEW_KEYS").gives::<Vec<Token>>(200).by(list),
        get("getToken", "/tokens/{id}").right("VIEW_KEYS").gives::<Token>(200).refuses(&[MISSING]).by(one),
        patch("updateToken", "/tokens/{id}")
            .right("EDIT_TOKEN_FRIENDLY_NAME")
            .audit("Set friendly name to token")
            .takes::<TokenName>()
            .gives::<Token>(200)
            .refuses(&[MISSING, NOT_POSSIBLE])
            .by(rename),
        delete("deleteToken", "/tokens/{id}")
            .right("DELETE_TOKEN")
            .audit("Delete token")
            .gives_nothing(204)
            .refuses(&[MISSING, NOT_POSSIBLE])
            .by(remove),
        put("loginToken", "/tokens/{id}/login")
            .right("ACTIVATE_DEACTIVATE_TOKEN")
            .audit("Log in to token")
            .takes::<TokenPassword>()
            .gives::<Token>(200)
            .refuses(&[
                MISSING,
                NOT_POSSIBLE,
                (400, "missing_token_password"),
                (400, "pin_incorrect"),
                (400, "pin_locked"),
            ])
            .by(log_in),
        put("logoutToken", "/tokens/{id}/logout")
            .right("ACTIVATE_DEACTIVATE_TOKEN")
            .audit("Log out from token")
            .gives::<Token>(200)
            .refuses(&[MISSING, NOT_POSSIBLE])
            .by(log_out),
        put("updateTokenPin", "/tokens/{id}/pin")
            .right("UPDATE_TOKEN_PIN")
            .audit("Change token pin")
            .takes::<TokenPinUpdate>()
            .gives_nothing(204)
            .refuses(&[
                MISSING,
                NOT_POSSIBLE,
                (400, "pin_incorrect"),
                (400, "pin_locked"),
                (400, "token_weak_pin"),
                (400, "invalid_characters_pin"),
            ])
            .by(change_pin),
    ]
}

/// The token in the path.
///
/// # Errors
/// 404.
pub(super) fn check_id(call: &mut Call, parameter: &str) -> Result<(), Problem> {
    let id = call.path(parameter).to_owned();
    call.note("tokenId", id.clone());
    if id == TOKEN { Ok(()) } else { Err(problems::signers(Problem::missing("token_not_found"))) }
}

fn shown(api: &Api) -> Token {
    let token = api.foundation.token.get();
    let logged_in = token.is_some_and(|token| token.is_logged_in());
    let keys = token.map(|token| token.keys()).unwrap_or_default();
    let saved = keys.iter().any(is_saved);
    let mut actions = Vec::new();
    actions.extend(if logged_in { &["TOKEN_CHANGE_PIN", "LOGOUT", "GENERATE_KEY"][..] } else { &["LOGIN"] });
    if saved {
        actions.push("EDIT_FRIENDLY_NAME");
    }
    let wrong_pin = api.wrong_pin.load(std::sync::atomic::Ordering::Relaxed);
    let status = if wrong_pin && !logged_in { "USER_PIN_INCORRECT" } else { "OK" };
    Token {
        id: TOKEN.into(),
        name: token.map_or_else(|| LABEL.to_owned(), |token| token.label()),
        r#type: "SOFTWARE".into(),
        keys: keys.iter().map(|key| key_shown(api, key)).collect(),
        status: token.map(|_| status.to_owned()),
        logged_in,
        available: true,
        saved_to_configuration: saved,
        read_only: false,
        serial_number: None,
        token_infos: vec![KeyValuePair { key: "Type".into(), value: "Software".into() }],
        possible_actions: texts(&actions),
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Something is kept of it besides the key.
fn is_saved(key: &KeyInfo) -> bool {
    !key.certs.is_empty() || !key.csrs.is_empty()
}

/// A key with everything that hangs on it.
pub(super) fn key_shown(api: &Api, key: &KeyInfo) -> Key {
    let kind = PublicKey::from_spki(&key.spki).and_then(|public| public.key_type());
    Key {
        id: key.id.clone(),
        name: key.name.clone(),
        label: key.label.clone(),
        certificates: key.certs.iter().map(|cert| certificate_shown(api, key, cert)).collect(),
        certificate_signing_requests: key.csrs.iter().map(csr_shown).collect(),
        usage: usage_name(key.usage).map(str::to_owned),
        available: true,
        saved_to_configuration: is_saved(key),
        possible_actions: texts(&key_actions(api, key)),
        key_algorithm: if matches!(kind, Some(KeyType::Ec(_))) { "EC" } else { "RSA" }.into(),
    }
}

/// As scripts write it; a key may have none yet.
pub(super) const fn usage_name(usage: KeyUsage) -> Option<&'static str> {
    match usage {
        KeyUsage::Authentication => Some("AUTHENTICATION"),
        KeyUsage::Signing => Some("SIGNING"),
        KeyUsage::Configuration | KeyUsage::Unassigned => None,
    }
}

/// What may be done with a key now.
pub(super) fn key_actions(api: &Api, key: &KeyInfo) -> Vec<&'static str> {
    let logged_in = api.foundation.token.get().is_some_and(|token| token.is_logged_in());
    let may_ask = logged_in && key.certs.is_empty();
    let for_usage = |usage| key.usage == usage || key.usage == KeyUsage::Unassigned;
    let actions = [
        ("DELETE", logged_in),
        ("EDIT_FRIENDLY_NAME", true),
        ("GENERATE_AUTH_CSR", may_ask && for_usage(KeyUsage::Authentication)),
        ("GENERATE_SIGN_CSR", may_ask && for_usage(KeyUsage::Signing)),
    ];
    actions.iter().filter(|(_, possible)| *possible).map(|(action, _)| *action).collect()
}

pub(super) fn csr_shown(csr: &CsrInfo) -> TokenCertificateSigningRequest {
    TokenCertificateSigningRequest {
        id: csr.id.clone(),
        owner_id: csr.request.member.as_ref().map(|member| member.encoded()),
        certificate_profile: csr.request.profile.clone(),
        possible_actions: texts(&["DELETE"]),
    }
}

/// A certificate of a key.
pub(super) fn certificate_shown(api: &Api, key: &KeyInfo, info: &CertInfo) -> TokenCertificate {
    TokenCertificate {
        ocsp_status: ocsp_status(api, info).map(str::to_owned),
        owner_id: info.member.as_ref().map(|member| member.encoded()),
        active: info.active,
        saved_to_configuration: true,
        renewed_cert_hash: String::new(),
        renewal_error: String::new(),
        ocsp_verify_before_activation_error: String::new(),
        certificate_details: CertificateDetails::from(&info.cert),
        status: status_name(info.status).into(),
        possible_actions: texts(&certificate_actions(key, info)),
    }
}

const fn status_name(status: CertStatus) -> &'static str {
    match status {
        CertStatus::Saved => "SAVED",
        CertStatus::RegistrationInProgress => "REGISTRATION_IN_PROGRESS",
        CertStatus::Registered => "REGISTERED",
        CertStatus::DeletionInProgress => "DELETION_IN_PROGRESS",
        CertStatus::GlobalError => "GLOBAL_ERROR",
    }
}

/// What may be done with a certificate now.
pub(super) fn certificate_actions(key: &KeyInfo, info: &CertInfo) -> Vec<&'static str> {
    use CertStatus::{Registered, RegistrationInProgress, Saved};
    let of_server = key.usage == KeyUsage::Authentication;
    let known = of_server && matches!(info.status, RegistrationInProgress | Registered);
    let actions = [
        ("DELETE", !known),
        ("ACTIVATE", !info.active),
        ("DISABLE", info.active),
        ("REGISTER", of_server && info.status == Saved),
        ("UNREGISTER", known),
    ];
    actions.iter().filter(|(_, possible)| *possible).map(|(action, _)| *action).collect()
}

/// What is known of a certificate's validity; nothing while it is on its way to the registry.
fn ocsp_status(api: &Api, info: &CertInfo) -> Option<&'static str> {
    if !info.active {
        return Some("DISABLED");
    }
    if !info.cert.is_valid_at(api.now()) {
        return Some("EXPIRED");
    }
    let registered = info.status == CertStatus::Registered;
    registered.then(|| api.ocsp_status(&info.cert).unwrap_or("OCSP_RESPONSE_UNKNOWN"))
}

impl Api {
    /// What the kept OCSP answer says about a certificate of ours, or of a CA above them.
    pub(super) fn ocsp_status(&self, cert: &Certificate) -> Option<&'static str> {
        let own = self.foundation.token.get()?.own_keys();
        let kept = own.ocsp_by_sha1.get(&hex::encode(cert.sha1()))?;
        match Response::parse(kept).ok()?.first_status() {
            Status::Good => Some("OCSP_RESPONSE_GOOD"),
            Status::Revoked => Some("OCSP_RESPONSE_REVOKED"),
            Status::Unknown => Some("OCSP_RESPONSE_UNKNOWN"),
        }
    }
}

fn list(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&[shown(api)])
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    check_id(call, "id")?;
    Answer::ok(&shown(api))
}

fn rename(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: TokenName = call.json()?;
    let mut check = Check::new("tokenNameDto");
    let name = check.required("name", asked.name, &[SIZE]);
    check.done()?;
    check_id(call, "id")?;
    call.note("tokenFriendlyName", name.clone());
    let token = api.token().map_err(|_| problems::not_possible())?;
    token.rename(None, &name).map_err(problems::of_token)?;
    Answer::ok(&shown(api))
}

/// The software token is never away, and only a token that is away may be deleted.
fn remove(_: &Api, call: &mut Call) -> Result<Answer, Problem> {
    check_id(call, "id")?;
    Err(problems::not_possible())
}

fn log_in(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: TokenPassword = call.json()?;
    let Some(pin) = asked.password.filter(|pin| !pin.is_empty()) else {
        return Err(Problem::bad_request("missing_token_password"));
    };
    check_id(call, "id")?;
    let token = api.token().map_err(|_| problems::not_possible())?;
    if token.is_logged_in() {
        return Err(problems::not_possible());
    }
    let outcome = token.login(&pin, api.now());
    api.note_pin(&outcome);
    outcome.map_err(problems::of_token)?;
    api.keys_changed();
    Answer::ok(&shown(api))
}

impl Api {
    /// Whether the last PIN was right is part of what the token shows.
    fn note_pin(&self, outcome: &Result<(), TokenError>) {
        let wrong = match outcome {
            Ok(()) => false,
            Err(TokenError::WrongPin) => true,
            Err(_) => return,
        };
        self.wrong_pin.store(wrong, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The token, which must be logged in.
///
/// # Errors
/// 409.
pub(super) fn logged_in(api: &Api) -> Result<&std::sync::Arc<dyn signer::TokenService>, Problem> {
    api.token().ok().filter(|token| token.is_logged_in()).ok_or_else(problems::not_possible)
}

fn log_out(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    check_id(call, "id")?;
    logged_in(api)?.logout().map_err(problems::of_token)?;
    api.keys_changed();
    Answer::ok(&shown(api))
}

fn change_pin(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: TokenPinUpdate = call.json()?;
    let mut check = Check::new("tokenPinUpdateDto");
    let old = check.required("oldPin", asked.old_pin, &[SIZE]);
    let new = check.required("newPin", asked.new_pin, &[SIZE]);
    check.done()?;
    check_id(call, "id")?;
    let token = logged_in(api)?;
    initialization::check_pin(api, &new)?;
    let outcome = token.change_pin(&old, &new, api.now());
    api.note_pin(&outcome);
    outcome.map_err(problems::of_token)?;
    token.logout().map_err(problems::of_token)?;
    api.keys_changed();
    Ok(Answer::empty(204))
}
