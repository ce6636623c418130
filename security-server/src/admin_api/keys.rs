//! Keys of the token: made, shown, renamed, deleted.

use admin_api::check::{MAX_SIZE, SIZE};
use admin_api::operation::{delete, get, patch, post};
use admin_api::problem::Warning;
use admin_api::types::security_server::tokens::{
    Key, KeyLabel, KeyLabelWithCsrGenerate, KeyName, KeyWithCsrId,
};
use admin_api::{Answer, Call, Check, Problem};
use pki::key::KeyKind;
use signer::token::{CertStatus, KeyInfo, KeyUsage};

use super::tokens::{check_id, key_actions, key_shown, logged_in};
use super::{Api, Rows, csrs, management, problems};

/// Rows of the table.
pub(super) fn rows() -> Rows {
    const MISSING: (u16, &str) = (404, "key_not_found");
    const NOT_POSSIBLE: (u16, &str) = (409, "action_not_possible");
    vec![
        post("addKey", "/tokens/{id}/keys")
            .right("GENERATE_KEY")
            .audit("Generate key")
            .takes::<KeyLabel>()
            .gives::<Key>(201)
            .refuses(&[(404, "token_not_found"), NOT_POSSIBLE])
            .by(add),
        post("addKeyAndCsr", "/tokens/{id}/keys-with-csrs")
            .right("GENERATE_KEY")
            .audit("Generate key and CSR")
            .takes::<KeyLabelWithCsrGenerate>()
            .gives::<KeyWithCsrId>(200)
            .refuses(csrs::REFUSED_WITH_KEY)
            .by(add_with_csr),
        get("getKey", "/keys/{id}").right("VIEW_KEYS").gives::<Key>(200).refuses(&[MISSING]).by(one),
        patch("updateKey", "/keys/{id}")
            .right("EDIT_KEY_FRIENDLY_NAME")
            .audit("Set friendly name to key")
            .takes::<KeyName>()
            .gives::<Key>(200)
            .refuses(&[MISSING])
            .by(rename),
        delete("deleteKey", "/keys/{id}")
            .right("DELETE_KEY")
            .right("DELETE_AUTH_KEY")
            .right("DELETE_SIGN_KEY")
            .audit("Delete key from token and configuration")
            .query(&["ignore_warnings"])
            .gives_nothing(204)
            .refuses(&[MISSING, NOT_POSSIBLE, (400, "warnings_detected")])
            .by(remove),
        get("getPossibleActionsForKey", "/keys/{id}/possible-actions")
            .right("VIEW_KEYS")
            .gives::<Vec<String>>(200)
            .refuses(&[MISSING])
            .by(actions),
    ]
}

/// A key by its id.
///
/// # Errors
/// 404 `key_not_found`.
pub(super) fn find(api: &Api, id: &str) -> Result<KeyInfo, Problem> {
    let keys = api.foundation.token.get().map(|token| token.keys()).unwrap_or_default();
    keys.into_iter().find(|key| key.id == id).ok_or_else(|| Problem::missing("key_not_found"))
}

/// The key in the path.
fn asked(api: &Api, call: &mut Call) -> Result<KeyInfo, Problem> {
    let id = call.path("id").to_owned();
    call.note("keyId", id.clone());
    find(api, &id)
}

fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: KeyLabel = call.json()?;
    check_id(call, "id")?;
    let mut check = Check::new("keyLabelDto");
    let label = check.required("label", asked.label, &[SIZE]);
    check.done()?;
    let token = logged_in(api)?;
    call.note("keyLabel", label.clone());
    let id = token.generate(KeyUsage::Unassigned, KeyKind::Rsa(2048), &label).map_err(problems::of_token)?;
    call.note("keyId", id.clone());
    Answer::created(&key_shown(api, &find(api, &id)?), &format!("/keys/{id}"))
}

fn add_with_csr(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: KeyLabelWithCsrGenerate = call.json()?;
    let mut check = Check::new("keyLabelWithCsrGenerateDto");
    let label = check.required("keyLabel", asked.key_label, &[MAX_SIZE]);
    let csr = check.present("csrGenerateRequest", asked.csr_generate_request);
    csrs::check_fields(&mut check, "csrGenerateRequest.", csr.as_ref());
    check.done()?;
    let wanted = csrs::Wanted::read(api, call, csr.unwrap_or_default())?;
    check_id(call, "id")?;
    let token = logged_in(api)?;
    call.note("keyLabel", label.clone());
    let kind = api.foundation.settings.key_kinds[usize::from(wanted.usage == KeyUsage::Signing)];
    let id = token.generate(wanted.usage, kind, &label).map_err(problems::of_token)?;
    call.note("keyId", id.clone());
    let csr_id = match token.request_certificate(&id, wanted.usage, wanted.request) {
        Ok(csr) => csr,
        Err(error) => {
            // Both or neither, as far as we can.
            if let Err(error) = token.delete_key(&id) {
                tracing::warn!(key = id, %error, "a key that was made in vain cannot be removed");
            }
            return Err(csrs::problem(error));
        }
    };
    Answer::ok(&KeyWithCsrId { key: key_shown(api, &find(api, &id)?), csr_id })
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&key_shown(api, &asked(api, call)?))
}

fn actions(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&key_actions(api, &asked(api, call)?))
}

fn rename(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let wanted: KeyName = call.json()?;
    let mut check = Check::new("keyNameDto");
    let name = check.required("name", wanted.name, &[SIZE]);
    check.done()?;
    let key = asked(api, call)?;
    call.note("keyFriendlyName", name.clone());
    api.token()?.rename(Some(&key.id), &name).map_err(problems::of_token)?;
    Answer::ok(&key_shown(api, &find(api, &key.id)?))
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let key = asked(api, call)?;
    call.needs(match key.usage {
        KeyUsage::Authentication => "DELETE_AUTH_KEY",
        KeyUsage::Signing => "DELETE_SIGN_KEY",
        KeyUsage::Configuration | KeyUsage::Unassigned => "DELETE_KEY",
    })?;
    let token = logged_in(api)?;
    let registered = |status| matches!(status, CertStatus::Registered | CertStatus::RegistrationInProgress);
    let known: Vec<_> = key.certs.iter().filter(|cert| registered(cert.status)).cloned().collect();
    if key.usage == KeyUsage::Authentication && !known.is_empty() {
        let code = "auth_key_with_registered_cert_warning".to_owned();
        let warning = Warning { code, metadata: vec![key.id.clone()] };
        call.accept(vec![warning], call.query_flag("ignore_warnings")?.unwrap_or(false))?;
        for cert in &known {
            management::unregister_certificate(api, call, cert)?;
        }
    }
    token.delete_key(&key.id).map_err(problems::of_token)?;
    api.keys_changed();
    Ok(Answer::empty(204))
}
