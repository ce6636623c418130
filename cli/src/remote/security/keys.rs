//! Tokens, keys, signing requests and certificates of a security server.

use std::time::Duration;

use anyhow::Context;
use http::Method;
use proto::time::UnixTime;
use serde_json::{Map, Value, json};

use super::server::{USAGE, output_file, token, writes};
use crate::exit::Usage;
use crate::remote::carry_out::{read, save};
use crate::remote::connection::{Body, Call, encode};
use crate::remote::ids::{self, Shape};
use crate::remote::names::{self, What, keys};
use crate::remote::output::field;
use crate::remote::session::Session;
use crate::remote::tokens;
use crate::remote::verb::{Inputs, Kind, Noun, noun, opt, pos, run, time, verb};

const TOKEN: &[&str] =
    &["Id=id", "Name=name", "Type=type", "Status=status", "In=logged_in", "Keys=keys.label"];
const KEY: &[&str] = &[
    "Id=id",
    "Label=label",
    "Name=name",
    "Usage=usage",
    "Algorithm=key_algorithm",
    "Certificates=certificates.certificate_details.hash",
    "CSRs=certificate_signing_requests.id",
];
const CERT: &[&str] = &[
    "Hash=certificate_details.hash",
    "Usage=usage",
    "Owner=owner_id",
    "Status=status",
    "Active=active",
    "OCSP=ocsp_status",
    "To=certificate_details.not_after",
    "Subject=certificate_details.subject_distinguished_name",
];
/// Default time that `cert expiring` looks ahead.
const WITHIN: &str = "30d";

pub(super) fn nouns() -> Vec<Noun> {
    vec![token_noun(), key(), csr(), cert()]
}

fn token_noun() -> Noun {
    let id = || pos("id", Kind::Named(What::Token), "Id or name");
    let pin = verb("pin", "Changes the PIN of the software token", Method::PUT, "/tokens/{id}/pin").with([
        id(),
        opt("old-pin", Kind::Secret, "The PIN until now").json("old_pin"),
        opt("new-pin", Kind::Secret, "The PIN from now on").json("new_pin"),
    ]);
    noun(
        "token",
        "Tokens",
        [
            verb("list", "Lists them", Method::GET, "/tokens").lists(TOKEN),
            verb("show", "Shows one", Method::GET, "/tokens/{id}").with([id()]).shows(TOKEN),
            run("login", "Gives a token its PIN", tokens::login)
                .with([id(), opt("pin", Kind::Secret, "PIN of the token")])
                .shows(TOKEN)
                .looks_first(),
            verb("logout", "Makes a token forget its PIN", Method::PUT, "/tokens/{id}/logout")
                .with([id()])
                .shows(TOKEN),
            pin,
            verb("rename", "Calls one something else", Method::PATCH, "/tokens/{id}")
                .with([id(), pos("name", Kind::Text, "Its name").json("name")])
                .shows(TOKEN),
            verb("delete", "Removes a hardware token that is gone", Method::DELETE, "/tokens/{id}")
                .with([id()])
                .ensures(&["token_not_found"]),
        ],
    )
}

fn key() -> Noun {
    let id = || pos("id", Kind::Named(What::Key), "Id, name or label");
    noun(
        "key",
        "Keys",
        [
            run("list", "Lists them", |session, _| Ok(json!(keys(session)?))).lists(KEY),
            verb("show", "Shows one", Method::GET, "/keys/{id}").with([id()]).shows(KEY),
            run("add", "Makes one, with a signing request when a usage is given", add_key)
                .with([
                    token(),
                    opt("label", Kind::Text, "What it is called"),
                    opt("usage", USAGE, "What it is for; a signing request is made then"),
                    opt("ca", Kind::Text, "Certification service for a signing request"),
                    opt("member", Kind::Text, "The member of a signing key"),
                    opt("host", Kind::Text, "Host name or address of this server, for the name"),
                    opt("field", Kind::Text, "Part of the name, such as CN=ss1; may be repeated").many(),
                    opt("format", FORMATS, "Form of the signing request"),
                    output_file(),
                ])
                .shows(&["Id=id", "Label=label", "Key=key_id", "CSR=csr_id", "File=file"]),
            verb("rename", "Calls one something else", Method::PATCH, "/keys/{id}")
                .with([id(), pos("name", Kind::Text, "Its name").json("name")])
                .shows(KEY),
            verb(
                "delete",
                "Removes one with its certificates and signing requests",
                Method::DELETE,
                "/keys/{id}",
            )
            .with([id()])
            .ensures(&["key_not_found"]),
        ],
    )
}

const FORMATS: Kind = Kind::Choice(&[("der", "DER"), ("pem", "PEM")]);

fn add_key(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    if inputs.get("usage").is_some() {
        return create_csr(session, inputs);
    }
    let token = names::find(session, What::Token, inputs.get("token").unwrap_or("0"))?;
    let label = inputs.need("label")?;
    session.with_json(Method::POST, format!("/tokens/{}/keys", encode(&token)), json!({ "label": label }))
}

fn csr() -> Noun {
    let key = || pos("key", Kind::Named(What::Key), "Id, name or label of the key");
    let id = || pos("id", Kind::Text, "Id of the signing request");
    let list = run("list", "Lists the signing requests", |session, _| {
        let all = keys(session)?.into_iter().flat_map(|key| {
            let requests = key["certificate_signing_requests"].as_array().cloned().unwrap_or_default();
            requests.into_iter().map(move |mut request| {
                request["key_id"] = key["id"].clone();
                request["usage"] = key["usage"].clone();
                request
            })
        });
        Ok(all.collect())
    });
    noun(
        "csr",
        "Signing requests",
        [
            list.lists(&[
                "Id=id",
                "Key=key_id",
                "Usage=usage",
                "Owner=owner_id",
                "Profile=certificate_profile",
            ]),
            run("create", "Makes a key (or takes --key) with a signing request, and writes it", create_csr)
                .with([
                    opt("usage", USAGE, "What the key is for").required(),
                    opt("ca", Kind::Text, "Certification service (the only one)"),
                    opt("member", Kind::Text, "The member of a signing key (the owner)"),
                    opt("key", Kind::Named(What::Key), "A key that is there"),
                    token(),
                    opt("label", Kind::Text, "What a new key is called"),
                    opt("host", Kind::Text, "Host name or address of this server, for the name"),
                    opt("field", Kind::Text, "Part of the name, such as CN=ss1; may be repeated").many(),
                    opt("format", FORMATS, "Form of the file (der)"),
                    output_file(),
                ])
                .shows(&["Key=key_id", "CSR=csr_id", "File=file", "Bytes=bytes"]),
            writes(verb("download", "Writes one to a file", Method::GET, "/keys/{key}/csrs/{id}").with([
                key(),
                id(),
                opt("format", FORMATS, "Form of the file").query("csr_format"),
            ])),
            verb("delete", "Removes one", Method::DELETE, "/keys/{key}/csrs/{id}")
                .with([key(), id()])
                .ensures(&["csr_not_found"]),
        ],
    )
}

/// What a signing request is for.
pub(crate) struct Wanted<'a> {
    /// `AUTHENTICATION` or `SIGNING`.
    pub(crate) usage: &'a str,
    /// Name of the certification service.
    pub(crate) ca: Option<&'a str>,
    /// Whole identifier; of the owner when there is none.
    pub(crate) member: Option<String>,
    /// `DER` or `PEM`.
    pub(crate) format: &'a str,
    /// Host name or address of the server.
    pub(crate) host: Option<String>,
    /// Parts of the name that are said; the others are what the server proposes.
    pub(crate) fields: Vec<(String, String)>,
}

/// The API's request for a signing request: the certification service's fields, with what is said put in.
pub(crate) fn csr_request(session: &Session, wanted: &Wanted<'_>) -> anyhow::Result<Value> {
    let ca = match wanted.ca {
        Some(ca) => ca.to_owned(),
        None => only_ca(session, wanted.usage)?,
    };
    let member = match &wanted.member {
        Some(member) => Some(member.clone()),
        None if wanted.usage == "SIGNING" => Some(owner_of(session)?),
        None => None,
    };
    let mut call = Call::get(format!("/certificate-authorities/{}/csr-subject-fields", encode(&ca)))
        .query("key_usage_type", wanted.usage);
    if let Some(member) = &member {
        call = call.query("member_id", member);
    }
    let known = session.call(&call)?;
    let mut values = Map::new();
    for one in known.as_array().into_iter().flatten() {
        let default = field(one, "default_value");
        if !default.is_empty() {
            values.insert(field(one, "id"), json!(default));
        }
    }
    for (name, value) in &wanted.fields {
        values.insert(name.clone(), json!(value));
    }
    // Who the organisation is, the configuration says.
    let wants = |id: &str| known.as_array().into_iter().flatten().any(|one| field(one, "id") == id);
    if wants("O") && !values.contains_key("O") {
        let of = match &member {
            Some(member) => member.clone(),
            None => owner_of(session)?,
        };
        let (class, code, _) = ids::parts(&of);
        let call = Call::get("/member-names").query("member_class", class).query("member_code", code);
        if let Ok(name) = session.call(&call) {
            values.insert("O".into(), json!(field(&name, "member_name")));
        }
    }
    // The host of a server is its name, and stands in its certificates where there is a place for it.
    let host = wanted
        .host
        .clone()
        .or_else(|| values.get("subjectAltName").and_then(Value::as_str).map(str::to_owned));
    if let Some(host) = host {
        let places = if wanted.usage == "AUTHENTICATION" {
            &["subjectAltName", "CN"][..]
        } else {
            &["subjectAltName"]
        };
        for place in places.iter().filter(|place| wants(place)) {
            values.entry((*place).to_owned()).or_insert_with(|| json!(host));
        }
    }
    let missing = |one: &&Value| one["required"] == json!(true) && !values.contains_key(&field(one, "id"));
    if let Some(one) = known.as_array().into_iter().flatten().find(missing) {
        let (id, label) = (field(one, "id"), field(one, "label"));
        let about = if label.is_empty() { label } else { format!(" ({label})") };
        return Err(Usage(format!("{ca} wants {id}{about}: --field {id}=…")).into());
    }
    let mut request = json!({
        "key_usage_type": wanted.usage,
        "ca_name": ca,
        "csr_format": wanted.format,
        "subject_field_values": values,
    });
    if let Some(member) = member {
        request["member_id"] = json!(member);
    }
    Ok(request)
}

fn only_ca(session: &Session, usage: &str) -> anyhow::Result<String> {
    let cas = session.list(format!("/certificate-authorities?key_usage_type={usage}"))?;
    let names: Vec<String> = cas.iter().map(|ca| field(ca, "name")).collect();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        _ => {
            Err(Usage(format!("which certification service? --ca, with one of: {}", names.join(", "))).into())
        }
    }
}

/// The member that owns this server.
pub(crate) fn owner_of(session: &Session) -> anyhow::Result<String> {
    let clients = names::own_clients(session)?;
    let owner = clients.iter().find(|client| client["owner"] == json!(true));
    Ok(field(owner.context("the server has no owner yet: causeway ss server init")?, "id"))
}

fn fields_of(inputs: &Inputs) -> Result<Vec<(String, String)>, Usage> {
    let one = |text: &String| {
        let (name, value) =
            text.split_once('=').ok_or_else(|| Usage(format!("{text}: a field is written NAME=value")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    inputs.all("field").iter().map(one).collect()
}

fn create_csr(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let usage = if inputs.need("usage")? == "auth" { "AUTHENTICATION" } else { "SIGNING" };
    let format = inputs.get("format").unwrap_or("der").to_uppercase();
    let member = inputs.get("member").map(|text| ids::complete(session, text, Shape::Member)).transpose()?;
    let wanted = Wanted {
        usage,
        ca: inputs.get("ca"),
        member,
        format: &format,
        host: inputs.get("host").map(str::to_owned),
        fields: fields_of(inputs)?,
    };
    let request = csr_request(session, &wanted)?;
    if let Some(key) = inputs.get("key") {
        let key = names::find(session, What::Key, key)?;
        let call = Call::new(Method::POST, format!("/keys/{}/csrs", encode(&key))).json(request);
        let mut shown = save(&session.send(&call)?, inputs.get("output").map(Into::into))?;
        if !shown.is_null() {
            shown["key_id"] = json!(key);
        }
        return Ok(shown);
    }
    let token = names::find(session, What::Token, inputs.get("token").unwrap_or("0"))?;
    let label = inputs.get("label").map_or_else(|| usage.to_lowercase(), str::to_owned);
    let (key, csr) = key_with_csr(session, &token, &label, request)?;
    let answer = session.send(&download(&key, &csr, &format))?;
    let mut shown = save(&answer, inputs.get("output").map(Into::into))?;
    if !shown.is_null() {
        shown["key_id"] = json!(key);
        shown["csr_id"] = json!(csr);
    }
    Ok(shown)
}

/// A new key and its signing request, by id.
pub(crate) fn key_with_csr(
    session: &Session,
    token: &str,
    label: &str,
    request: Value,
) -> anyhow::Result<(String, String)> {
    let body = json!({ "key_label": label, "csr_generate_request": request });
    let made = session.with_json(Method::POST, format!("/tokens/{}/keys-with-csrs", encode(token)), body)?;
    Ok((field(&made, "key.id"), field(&made, "csr_id")))
}

/// The call for a signing request's file.
pub(crate) fn download(key: &str, csr: &str, format: &str) -> Call {
    Call::get(format!("/keys/{}/csrs/{}", encode(key), encode(csr))).query("csr_format", format)
}

fn cert() -> Noun {
    let which = || {
        [
            pos(
                "hash",
                Kind::Named(What::Certificate),
                "Beginning of its hash; needless where only one fits",
            )
            .local()
            .optional(),
            opt("usage", USAGE, "Of keys for this"),
        ]
    };
    let hash = || pos("hash", Kind::Named(What::Certificate), "Beginning of its hash");
    noun(
        "cert",
        "Certificates",
        [
            run("list", "Lists them", |session, _| Ok(json!(certificates(session)?))).lists(CERT),
            verb("show", "Shows one", Method::GET, "/token-certificates/{hash}").with([hash()]).shows(
                &[
                    CERT,
                    &[
                        "Issuer=certificate_details.issuer_distinguished_name",
                        "From=certificate_details.not_before",
                        "Serial=certificate_details.serial",
                        "Algorithm=certificate_details.public_key_algorithm",
                        "May=possible_actions",
                    ],
                ]
                .concat(),
            ),
            run("import", "Takes certificates for signing requests of this server", import)
                .with([pos("file", Kind::File, "The certificate, PEM or DER").local().many()])
                .looks_first()
                .lists(CERT),
            run("register", "Asks the central server to register an authentication certificate", register)
                .with(which())
                .with([opt("address", Kind::Text, "Host name or IP address of this server").required()])
                .waits()
                .looks_first()
                .lists(CERT),
            run("activate", "Puts a certificate into use", |session, inputs| switch(session, inputs, true))
                .with(which())
                .looks_first()
                .lists(CERT),
            run("disable", "Takes a certificate out of use", |session, inputs| {
                switch(session, inputs, false)
            })
            .with(which())
            .looks_first()
            .lists(CERT),
            verb(
                "unregister",
                "Asks the central server to remove one",
                Method::PUT,
                "/token-certificates/{hash}/unregister",
            )
            .with([hash()]),
            verb("delete", "Removes one", Method::DELETE, "/token-certificates/{hash}")
                .with([hash()])
                .ensures(&["certificate_not_found"]),
            run("expiring", "Lists those that end soon", expiring)
                .with([opt("within", Kind::Text, "How soon: 30d (30d)")])
                .lists(CERT),
        ],
    )
}

/// All certificates of all tokens, each with the usage of its key.
pub(crate) fn certificates(session: &Session) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for key in keys(session)? {
        for cert in key["certificates"].as_array().into_iter().flatten() {
            let mut cert = cert.clone();
            cert["usage"] = key["usage"].clone();
            cert["key_id"] = key["id"].clone();
            found.push(cert);
        }
    }
    Ok(found)
}

/// Some of them by hash, each with the usage of its key.
fn shown(session: &Session, hashes: &[String]) -> anyhow::Result<Value> {
    let mut all = certificates(session)?;
    all.retain(|cert| hashes.contains(&field(cert, "certificate_details.hash")));
    Ok(json!(all))
}

fn import(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let mut taken = Vec::new();
    for file in inputs.all("file") {
        let call = Call::new(Method::POST, "/token-certificates").body(Body::Octets(read(file.as_ref())?));
        match session.call(&call) {
            Err(error) if inputs.ensure && tokens::is_code(&error, "certificate_already_exists") => {}
            other => taken.push(field(&other.with_context(|| file.clone())?, "certificate_details.hash")),
        }
    }
    shown(session, &taken)
}

/// The one certificate that is meant.
fn chosen(
    session: &Session,
    inputs: &Inputs,
    fits: impl Fn(&Value) -> bool,
    otherwise: impl Fn(&Value) -> bool,
) -> anyhow::Result<(Value, bool)> {
    let usage = inputs.get("usage").map(|word| if word == "auth" { "AUTHENTICATION" } else { "SIGNING" });
    let hash = inputs.get("hash").map(|text| names::find(session, What::Certificate, text)).transpose()?;
    let all = certificates(session)?;
    let meant = |cert: &&Value| {
        usage.is_none_or(|usage| field(cert, "usage") == usage)
            && hash.as_ref().is_none_or(|hash| &field(cert, "certificate_details.hash") == hash)
    };
    let fitting: Vec<&Value> = all.iter().filter(meant).filter(|cert| fits(cert)).collect();
    let hashes = |certs: &[&Value]| {
        certs.iter().map(|cert| field(cert, "certificate_details.hash")).collect::<Vec<_>>().join(", ")
    };
    match fitting.as_slice() {
        [one] => Ok(((*one).clone(), true)),
        [] => {
            let done: Vec<&Value> = all.iter().filter(meant).filter(|cert| otherwise(cert)).collect();
            match done.as_slice() {
                [one, ..] if inputs.ensure => Ok(((*one).clone(), false)),
                [_, ..] => Err(Usage(format!("nothing is left to do for {}", hashes(&done))).into()),
                [] => Err(Usage("no certificate fits; `causeway ss cert list` shows them".into()).into()),
            }
        }
        several => Err(Usage(format!("which one? {}", hashes(several))).into()),
    }
}

fn register(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let is_auth = |cert: &Value| field(cert, "usage") == "AUTHENTICATION";
    let status =
        |cert: &Value, wanted: &[&str]| is_auth(cert) && wanted.contains(&field(cert, "status").as_str());
    let (cert, open) = chosen(
        session,
        inputs,
        |cert| status(cert, &["SAVED"]),
        |cert| status(cert, &["REGISTERED", "REGISTRATION_IN_PROGRESS"]),
    )?;
    let hash = field(&cert, "certificate_details.hash");
    if open {
        let body = json!({ "address": inputs.need("address")? });
        session.with_json(Method::PUT, format!("/token-certificates/{hash}/register"), body)?;
    }
    if let Some(limit) = inputs.wait {
        session.wait(&format!("/token-certificates/{hash}"), "status", "REGISTERED", limit)?;
    }
    shown(session, &[hash])
}

fn switch(session: &Session, inputs: &Inputs, on: bool) -> anyhow::Result<Value> {
    let (cert, open) =
        chosen(session, inputs, |cert| cert["active"] != json!(on), |cert| cert["active"] == json!(on))?;
    let hash = field(&cert, "certificate_details.hash");
    if open {
        let verb = if on { "activate" } else { "disable" };
        session.call(&Call::new(Method::PUT, format!("/token-certificates/{hash}/{verb}")))?;
    }
    shown(session, &[hash])
}

fn expiring(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let within = time(inputs.get("within").unwrap_or(WITHIN)).map_err(Usage)?;
    let now = host::clock::Clock::System.now();
    Ok(certificates(session)?.into_iter().filter(|cert| ends_within(cert, now, within)).collect())
}

/// Whether a certificate ends before then; one whose end cannot be read does.
pub(crate) fn ends_within(cert: &Value, now: UnixTime, within: Duration) -> bool {
    let end = UnixTime::from_iso8601(&field(cert, "certificate_details.not_after"));
    end.is_none_or(|end| end <= now.plus(within))
}
