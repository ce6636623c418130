//! Tokens of either server.

use http::Method;
use serde_json::{Value, json};

use super::connection::encode;
use super::failure::{Failure, failure_of};
use super::names::{self, What};
use super::output::field;
use super::session::Session;
use super::verb::Inputs;

/// Gives a token its PIN; with `--ensure` one that has it is left alone.
pub(crate) fn login(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let id = names::find(session, What::Token, inputs.need("id")?)?;
    if inputs.ensure
        && let Some(token) = session.list("/tokens")?.into_iter().find(|token| field(token, "id") == id)
        && token["logged_in"] == json!(true)
    {
        return Ok(token);
    }
    let pin = inputs.secret("pin")?;
    log_in(session, &id, &pin)
}

/// Gives a token its PIN.
pub(crate) fn log_in(session: &Session, id: &str, pin: &str) -> anyhow::Result<Value> {
    session.with_json(Method::PUT, format!("/tokens/{}/login", encode(id)), json!({ "password": pin }))
}

/// Whether an error is the refusal with this code.
pub(crate) fn is_code(error: &anyhow::Error, code: &str) -> bool {
    failure_of(error).and_then(Failure::code) == Some(code)
}
