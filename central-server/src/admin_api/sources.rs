//! Tokens, configuration signing keys, and the anchors of both sources.

use admin_api::check::{MAX_SIZE, NO_CONTROL_CHARS};
use admin_api::operation::Operation;
use admin_api::types::central_server::{
    ConfigurationAnchor, ConfigurationAnchorContainer, ConfigurationSigningKey, ConfigurationSigningKeyAdd,
    GlobalConfDownloadUrl, KeyLabel, Token, TokenPassword,
};
use admin_api::types::date;
use admin_api::{Answer, Call, Check, Problem};
use pki::cert::Certificate;
use pki::globalconf::verify::anchor_fingerprint;
use pki::public_key::KeyType;
use proto::time::UnixTime;
use signer::{SoftwareSigner, TokenError};

use super::{Api, problems};
use crate::configuration_source::documents;
use crate::configuration_source::keys::{self, SigningKeyError};
use crate::registry::state::SigningKey;
use crate::registry::{Command, SourceKind, State};
use crate::token::LABEL;

/// The one token there is.
const TOKEN: &str = "0";
/// Keys that a source may have.
const MAX_KEYS: usize = 2;

fn shown(api: &Api) -> Token {
    let token = api.token.get();
    let logged_in = token.is_some_and(SoftwareSigner::is_logged_in);
    let state = api.state();
    let mut possible_actions = Vec::new();
    if logged_in {
        possible_actions.push("LOGOUT");
        for (source, action) in
            [(SourceKind::Internal, "GENERATE_INTERNAL_KEY"), (SourceKind::External, "GENERATE_EXTERNAL_KEY")]
        {
            if state.keys_of(source).count() < MAX_KEYS {
                possible_actions.push(action);
            }
        }
        possible_actions.push("CHANGE_PIN");
    } else {
        possible_actions.push("LOGIN");
    }
    if !state.signing_keys.is_empty() {
        possible_actions.push("EDIT_FRIENDLY_NAME");
    }
    let key = |key: &SigningKey| ConfigurationSigningKey {
        source_type: Some(key.source.name().to_uppercase()),
        ..key_shown(key, logged_in)
    };
    Token {
        active: logged_in,
        available: true,
        id: TOKEN.into(),
        logged_in,
        name: token.map_or_else(|| LABEL.to_owned(), SoftwareSigner::label),
        possible_actions: possible_actions.into_iter().map(str::to_owned).collect(),
        configuration_signing_keys: state.signing_keys.iter().map(key).collect(),
        status: if token.is_some() { "OK" } else { "NOT_INITIALIZED" }.into(),
    }
}

fn key_shown(key: &SigningKey, logged_in: bool) -> ConfigurationSigningKey {
    let actions: &[&str] = if !key.active && logged_in { &["DELETE", "ACTIVATE"] } else { &[] };
    let kind = Certificate::parse(&key.cert.0).ok().and_then(|cert| cert.public_key().key_type());
    ConfigurationSigningKey {
        active: key.active,
        available: true,
        created_at: date(key.created_at.unwrap_or(UnixTime(0))),
        id: key.key.clone(),
        token_id: TOKEN.into(),
        label: KeyLabel { label: key.label.clone() },
        possible_actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        source_type: None,
        key_algorithm: if matches!(kind, Some(KeyType::Ec(_))) { "EC" } else { "RSA" }.into(),
    }
}

pub(super) fn tokens(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&[shown(api)])
}

/// The token, when the path names it.
fn token_of<'a>(api: &'a Api, id: &str) -> Result<&'a SoftwareSigner, Problem> {
    api.token.get().filter(|_| id == TOKEN).ok_or_else(|| Problem::missing("token_not_found"))
}

pub(super) fn login(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: TokenPassword = call.json()?;
    let token = token_of(api, call.path("token_id"))?;
    call.note("tokenId", TOKEN);
    if token.is_logged_in() {
        return Err(Problem::bad_request("token_action_not_possible"));
    }
    let Some(pin) = asked.password.filter(|pin| !pin.is_empty()) else {
        return Err(Problem::bad_request("token_activation_failed"));
    };
    token.login(&pin, api.clock.now()).map_err(|error| match error {
        TokenError::WrongPin => Problem::bad_request("token_activation_failed")
            .with("signer.pin_incorrect")
            .with("tr.check_signer_logs"),
        TokenError::Locked { seconds } => Problem::bad_request("token_pin_locked").with(seconds.to_string()),
        other => Problem::internal(other),
    })?;
    // What could not be signed without the token is signed now.
    api.source.wake();
    Answer::ok(&shown(api))
}

pub(super) fn logout(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let token = token_of(api, call.path("token_id"))?;
    call.note("tokenId", TOKEN);
    if !token.is_logged_in() {
        return Err(Problem::bad_request("token_action_not_possible"));
    }
    token.logout();
    Answer::ok(&shown(api))
}

/// Whoever may look at one of the sources.
pub(super) fn view(row: Operation<Api>) -> Operation<Api> {
    row.right("VIEW_INTERNAL_CONFIGURATION_SOURCE").right("VIEW_EXTERNAL_CONFIGURATION_SOURCE")
}

/// The source in the path.
pub(super) fn source_of(call: &Call) -> Result<SourceKind, Problem> {
    match call.path("configuration_type") {
        "INTERNAL" => Ok(SourceKind::Internal),
        "EXTERNAL" => Ok(SourceKind::External),
        other => {
            Err(Problem::invalid("configuration_type", format!("{other} is neither INTERNAL nor EXTERNAL")))
        }
    }
}

pub(super) fn add_key(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ConfigurationSigningKeyAdd = call.json()?;
    let source = source_of(call)?;
    let mut check = Check::new("configurationSigningKeyAddDto");
    let label = check.required("keyLabel", asked.key_label, &[NO_CONTROL_CHARS, MAX_SIZE]);
    let id = check.required("tokenId", asked.token_id, &[]);
    check.done()?;
    call.record_as(match source {
        SourceKind::Internal => "Generate internal configuration signing key",
        SourceKind::External => "Generate external configuration signing key",
    });
    let token = token_of(api, &id)?;
    call.note("tokenId", TOKEN);
    call.note("keyLabel", label.clone());
    if !token.is_logged_in() || api.state().keys_of(source).count() >= MAX_KEYS {
        return Err(Problem::bad_request("token_action_not_possible"));
    }
    let label = if label.is_empty() { source.name().to_owned() } else { label };
    let kind = api.key_kind(source);
    let key = keys::add(&api.registry, token, call.actor(), source, kind, &label).map_err(key_problem)?;
    call.note("keyId", key.clone());
    let state = api.state();
    let made = state.signing_keys.iter().find(|each| each.key == key);
    let made = made.ok_or_else(|| Problem::internal("the signing key is gone"))?;
    Answer::ok(&key_shown(made, true))
}

fn key_problem(error: SigningKeyError) -> Problem {
    match error {
        SigningKeyError::Registry(error) => problems::of(error),
        SigningKeyError::Token(TokenError::LoggedOut) => Problem::bad_request("token_action_not_possible"),
        other => Problem::internal(other),
    }
}

/// The key in the path, when it may be activated or deleted.
fn key_of<'a>(api: &'a Api, state: &State, call: &Call) -> Result<(&'a SoftwareSigner, SigningKey), Problem> {
    let found = state.signing_keys.iter().find(|key| key.key == call.path("sign_key_id"));
    let key = found.ok_or_else(|| Problem::missing("signing_key_not_found"))?.clone();
    let token = token_of(api, TOKEN)?;
    if key.active || !token.is_logged_in() {
        return Err(Problem::bad_request("signing_key_action_not_possible"));
    }
    Ok((token, key))
}

pub(super) fn activate_key(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    call.note("keyId", call.path("sign_key_id").to_owned());
    let (_, key) = key_of(api, &api.state(), call)?;
    call.record_as(match key.source {
        SourceKind::Internal => "Activate internal configuration signing key",
        SourceKind::External => "Activate external configuration signing key",
    });
    api.execute(call, Command::ActivateSigningKey { key: key.key })?;
    Ok(Answer::empty(204))
}

pub(super) fn remove_key(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    call.note("keyId", call.path("sign_key_id").to_owned());
    let (token, key) = key_of(api, &api.state(), call)?;
    call.record_as(match key.source {
        SourceKind::Internal => "Delete internal configuration signing key",
        SourceKind::External => "Delete external configuration signing key",
    });
    keys::remove(&api.registry, token, call.actor(), &key.key).map_err(key_problem)?;
    Ok(Answer::empty(204))
}

/// The anchor file of a source; `None` until it has a key.
fn anchor_bytes(state: &State, source: SourceKind) -> Result<Option<Vec<u8>>, Problem> {
    match documents::anchor(state, source) {
        Ok(anchor) => Ok(Some(anchor.write().map_err(Problem::internal)?)),
        Err(_) => Ok(None),
    }
}

fn anchor_shown(state: &State, source: SourceKind) -> Result<Option<ConfigurationAnchor>, Problem> {
    let at = state.anchors_changed_at.get(&source).copied().unwrap_or(UnixTime(0));
    Ok(anchor_bytes(state, source)?
        .map(|bytes| ConfigurationAnchor { created_at: date(at), hash: anchor_fingerprint(&bytes) }))
}

pub(super) fn anchor(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let anchor = anchor_shown(&api.state(), source_of(call)?)?;
    Answer::ok(&ConfigurationAnchorContainer { anchor })
}

pub(super) fn download_anchor(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let source = source_of(call)?;
    let state = api.state();
    let bytes = anchor_bytes(&state, source)?.ok_or_else(|| Problem::missing("configuration_not_found"))?;
    let at = state.anchors_changed_at.get(&source).copied().unwrap_or(UnixTime(0));
    let stamp = super::stamp(at, '_', '_').replace('-', "_");
    let instance = state.instance.clone().unwrap_or_default();
    let name =
        super::file_name(&format!("configuration_anchor_{instance}_{}_UTC_{stamp}.xml", source.name()));
    Ok(Answer::file("application/xml", &name, bytes))
}

pub(super) fn recreate_anchor(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let source = source_of(call)?;
    call.record_as(match source {
        SourceKind::Internal => "Re-create internal configuration anchor",
        SourceKind::External => "Re-create external configuration anchor",
    });
    let missing = || Problem::conflict("no_configuration_signing_keys_configured");
    if api.state().keys_of(source).next().is_none() {
        return Err(missing());
    }
    let state = api.execute(call, Command::RecreateAnchor { source })?;
    let shown = anchor_shown(&state, source)?.ok_or_else(missing)?;
    call.note("anchorFileHash", shown.hash.clone());
    Answer::ok(&shown)
}

pub(super) fn download_url(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let source = source_of(call)?;
    let url = format!("https://{}/{}", api.state().address, source.directory());
    Answer::ok(&GlobalConfDownloadUrl { url })
}
