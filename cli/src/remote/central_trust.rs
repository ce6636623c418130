//! Certification services, OCSP responders and timestamping services: forms with a certificate.

use http::Method;
use serde_json::{Value, json};
use std::path::Path;

use crate::exit::Usage;
use crate::remote::carry_out::read;
use crate::remote::connection::{Body, Call, Part, encode};
use crate::remote::names::{self, What};
use crate::remote::output::field;
use crate::remote::session::Session;
use crate::remote::verb::Inputs;

use super::PROFILES;

/// A field of a form.
pub(crate) fn text(name: &str, value: &str) -> Part {
    Part { name: name.to_owned(), file_name: None, content: value.as_bytes().to_vec() }
}

/// A file of a form.
pub(crate) fn file(name: &str, path: &Path) -> anyhow::Result<Part> {
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Part { name: name.to_owned(), file_name, content: read(path)? })
}

/// The whole name of a profile.
pub(crate) fn profile(word: &str) -> &str {
    PROFILES.iter().find(|(short, _)| *short == word).map_or(word, |(_, name)| name)
}

pub(super) fn add_ca(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let mut form = vec![file("certificate", Path::new(inputs.need("certificate")?))?];
    form.push(text("certificate_profile_info", profile(inputs.get("profile").unwrap_or("basic"))));
    form.push(text("tls_auth", inputs.get("tls-only").unwrap_or("false")));
    form.push(text("default_csr_format", &inputs.get("csr-format").unwrap_or("der").to_uppercase()));
    if let Some(url) = inputs.get("acme-url") {
        form.push(text("acme_server_directory_url", url));
    }
    session.call(&Call::new(Method::POST, "/certification-services").body(Body::Form(form)))
}

pub(super) fn set_ca(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let id = names::find(session, What::CertificationService, inputs.need("id")?)?;
    let mut body = json!({});
    for (input, name) in [("tls-only", "tls_auth"), ("acme-url", "acme_server_directory_url")] {
        if let Some(value) = inputs.get(input) {
            body[name] = json!(value);
        }
    }
    if let Some(word) = inputs.get("profile") {
        body["certificate_profile_info"] = json!(profile(word));
    }
    if let Some(format) = inputs.get("csr-format") {
        body["default_csr_format"] = json!(format.to_uppercase());
    }
    session.with_json(Method::PATCH, format!("/certification-services/{}", encode(&id)), body)
}

fn cost(inputs: &Inputs) -> String {
    inputs.get("cost").unwrap_or("free").to_uppercase()
}

pub(super) fn add_responder(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let mut form = vec![text("url", inputs.need("url")?), text("cost_type", &cost(inputs))];
    if let Some(path) = inputs.get("cert") {
        form.push(file("certificate", Path::new(path))?);
    }
    let path = match inputs.get("intermediate") {
        Some(number) => format!("/intermediate-cas/{}/ocsp-responders", encode(number)),
        None => {
            let id = names::find(session, What::CertificationService, inputs.need("id")?)?;
            format!("/certification-services/{}/ocsp-responders", encode(&id))
        }
    };
    session.call(&Call::new(Method::POST, path).body(Body::Form(form)))
}

pub(super) fn set_responder(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let path = format!("/ocsp-responders/{}", encode(inputs.need("responder")?));
    change(session, inputs, &path, || session.get(&path))
}

pub(super) fn add_tsa(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let form = vec![
        text("url", inputs.need("url")?),
        text("cost_type", &cost(inputs)),
        file("certificate", Path::new(inputs.need("certificate")?))?,
    ];
    session.call(&Call::new(Method::POST, "/timestamping-services").body(Body::Form(form)))
}

pub(super) fn set_tsa(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let id = names::find(session, What::TimestampingService, inputs.need("id")?)?;
    let path = format!("/timestamping-services/{}", encode(&id));
    change(session, inputs, &path, || session.get(&path))
}

/// PATCH with a form that wants all fields: what is not given stays as it is.
fn change(
    session: &Session,
    inputs: &Inputs,
    path: &str,
    now: impl FnOnce() -> anyhow::Result<Value>,
) -> anyhow::Result<Value> {
    let now = now()?;
    if ["url", "cost", "cert"].iter().all(|name| inputs.get(name).is_none()) {
        return Err(Usage("nothing is to be changed: --url, --cost, --cert".into()).into());
    }
    let url = inputs.get("url").map_or_else(|| field(&now, "url"), str::to_owned);
    let cost = inputs.get("cost").map_or_else(|| field(&now, "cost_type"), str::to_uppercase);
    let mut form = vec![text("url", &url), text("cost_type", &cost)];
    if let Some(certificate) = inputs.get("cert") {
        form.push(file("certificate", Path::new(certificate))?);
    }
    session.call(&Call::new(Method::PATCH, path).body(Body::Form(form)))
}
