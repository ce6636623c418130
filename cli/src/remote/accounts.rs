//! `api-key` of either server, which takes a session (`causeway login`), never another key.

use http::Method;
use serde_json::{Value, json};

use super::connection::Connection;
use super::output::field;
use super::session::Session;
use super::verb::{Inputs, Kind, Noun, noun, opt, pos, run, verb};
use crate::accounts::role_names;

const KEY: &[&str] = &["Id=id", "Roles=roles", "Key=key", "Kept in=kept_in"];

pub(crate) fn noun_() -> Noun {
    let id = || pos("id", Kind::Number, "Number of the key");
    let roles = || {
        opt("role", Kind::Text, "What it may be, such as system-administrator; may be repeated")
            .required()
            .many()
    };
    noun(
        "api-key",
        "API keys; these verbs need a session: causeway login",
        [
            verb("list", "Lists them", Method::GET, "/api-keys").lists(&["Id=id", "Roles=roles"]),
            run("create", "Makes one, which is shown this once", create)
                .with([roles(), opt("save", Kind::Switch, "Keep it for this target instead of showing it")])
                .shows(KEY),
            run("set", "Gives one other roles", |session, inputs| {
                let path = format!("/api-keys/{}", super::connection::encode(inputs.need("id")?));
                session.with_json(Method::PUT, path, json!(role_names(inputs.all("role"))?))
            })
            .with([id(), roles()])
            .shows(KEY),
            verb("revoke", "Takes one back", Method::DELETE, "/api-keys/{id}")
                .with([id()])
                .ensures(&["api_key_not_found"]),
        ],
    )
}

fn create(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let mut made = session.with_json(Method::POST, "/api-keys", json!(role_names(inputs.all("role"))?))?;
    if inputs.on("save") {
        let kept = session.connection.target().keep_key(&field(&made, "key"))?;
        if let Some(object) = made.as_object_mut() {
            object.remove("key");
            object.insert("kept_in".into(), json!(kept.display().to_string()));
        }
    }
    Ok(made)
}

/// Sessions are what these verbs want, also where a key is kept.
pub(crate) fn prefer_session(session: &mut Session, path: &[String]) -> anyhow::Result<()> {
    if path.first().is_some_and(|noun| noun == "api-key")
        && let Some(credential) = session.connection.target().session()?
    {
        let target = session.connection.target().clone();
        let timeout = std::time::Duration::from_secs(session.flags.timeout.max(1));
        session.connection = Connection::new(&target, Some(credential), timeout, session.flags.trace)?;
    }
    Ok(())
}
