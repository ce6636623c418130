//! Services, endpoints and access rights.

use http::Method;
use serde_json::{Value, json};

use super::clients::id;
use crate::exit::Usage;
use crate::remote::connection::{Call, encode};
use crate::remote::ids::{self, Shape};
use crate::remote::names::{self, What, own_clients};
use crate::remote::output::field;
use crate::remote::session::Session;
use crate::remote::tokens::is_code;
use crate::remote::verb::{Inputs, Kind, Noun, Param, noun, opt, pos, run, verb};

const DESCRIPTION: &[&str] = &[
    "Id=id",
    "Client=client_id",
    "Type=type",
    "URL=url",
    "Services=services.full_service_code",
    "Disabled=disabled",
    "Notice=disabled_notice",
    "Refreshed=refreshed_at",
];
const SERVICE: &[&str] = &[
    "Id=id",
    "Code=full_service_code",
    "URL=url",
    "Timeout=timeout",
    "Verify TLS=ssl_auth",
    "Subjects=subjects_count",
];
const ENDPOINT: &[&str] =
    &["Id=id", "Service=service_code", "Method=method", "Path=path", "Generated=generated"];
const SUBJECT: &[&str] =
    &["Id=id", "Type=service_client_type", "Name=name", "Group=local_group_code", "Since=rights_given_at"];
/// Methods of endpoints; `*` is any.
const METHODS: Kind = Kind::Choice(&[
    ("*", "*"),
    ("GET", "GET"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("DELETE", "DELETE"),
    ("PATCH", "PATCH"),
    ("HEAD", "HEAD"),
    ("OPTIONS", "OPTIONS"),
    ("TRACE", "TRACE"),
]);

pub(super) fn nouns() -> Vec<Noun> {
    vec![service(), endpoint(), access()]
}

fn described() -> Param {
    pos("service", Kind::Named(What::Description), "Id, address, or code of a service")
}

fn one_service() -> Param {
    pos("service", Kind::Named(What::Service), "Id or code")
}

fn service() -> Noun {
    noun(
        "service",
        "Services",
        [
            run("list", "Lists those of a client, or of all", list)
                .with([id().local().optional()])
                .lists(DESCRIPTION),
            run("add", "Adds one from a base path, an OpenAPI document or a WSDL", add)
                .with([
                    id().local(),
                    opt("rest", Kind::Text, "Base path of a REST service"),
                    opt("openapi", Kind::Text, "Address of an OpenAPI document"),
                    opt("wsdl", Kind::Text, "Address of a WSDL"),
                    opt("code", Kind::Text, "Service code, unless it is a WSDL"),
                    opt("enable", Kind::Switch, "Enable it too"),
                ])
                .looks_first()
                .bulk()
                .shows(DESCRIPTION),
            verb("show", "Shows one", Method::GET, "/services/{service}")
                .with([one_service()])
                .shows(SERVICE),
            run("set", "Changes address, timeout or TLS check of one", set)
                .with([
                    one_service().local(),
                    opt("url", Kind::Text, "Where calls go"),
                    opt("timeout", Kind::Number, "Seconds; 0 is none"),
                    opt("verify-tls", Kind::Flag, "Whether the certificate is checked"),
                    opt("all", Kind::Switch, "The same for all services of its description"),
                ])
                .shows(SERVICE),
            verb("enable", "Enables a description", Method::PUT, "/service-descriptions/{service}/enable")
                .with([described()]),
            verb("disable", "Disables a description", Method::PUT, "/service-descriptions/{service}/disable")
                .with([
                    described(),
                    opt("notice", Kind::Text, "What callers are told").json("disabled_notice"),
                ]),
            verb(
                "refresh",
                "Reads the document again",
                Method::PUT,
                "/service-descriptions/{service}/refresh",
            )
            .with([described()])
            .shows(DESCRIPTION),
            verb(
                "delete",
                "Removes a description with its rights",
                Method::DELETE,
                "/service-descriptions/{service}",
            )
            .with([described()])
            .ensures(&["service_description_not_found"]),
        ],
    )
}

fn list(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let clients = match inputs.get("id") {
        Some(id) => vec![ids::complete(session, id, Shape::Client)?],
        None => own_clients(session)?.iter().map(|client| field(client, "id")).collect(),
    };
    let mut found = Vec::new();
    for client in clients {
        found.extend(session.list(format!("/clients/{}/service-descriptions", encode(&client)))?);
    }
    Ok(json!(found))
}

/// A new description; `code` is of REST and OpenAPI.
pub(crate) fn add_description(
    session: &Session,
    client: &str,
    kind: &str,
    url: &str,
    code: Option<&str>,
) -> anyhow::Result<Value> {
    let mut body = json!({ "type": kind, "url": url });
    if let Some(code) = code {
        body["rest_service_code"] = json!(code);
    }
    session.with_json(Method::POST, format!("/clients/{}/service-descriptions", encode(client)), body)
}

fn add(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let client = ids::complete(session, inputs.need("id")?, Shape::Client)?;
    let kinds = [("rest", "REST"), ("openapi", "OPENAPI3"), ("wsdl", "WSDL")];
    let given: Vec<_> = kinds.iter().filter_map(|(word, kind)| Some((*kind, inputs.get(word)?))).collect();
    let [(kind, url)] = given.as_slice() else {
        return Err(Usage("one of --rest, --openapi, --wsdl is wanted".into()).into());
    };
    let code = match *kind {
        "WSDL" => None,
        _ => Some(inputs.need("code").map_err(|_| Usage("--code is missing".into()))?),
    };
    let codes =
        ["url_already_exists", "wsdl_exists", "service_already_exists", "rest_service_code_already_exists"];
    let added = match add_description(session, &client, kind, url, code) {
        Err(error) if inputs.ensure && codes.iter().any(|code| is_code(&error, code)) => {
            let all = session.list(format!("/clients/{}/service-descriptions", encode(&client)))?;
            let there = all.into_iter().find(|one| field(one, "url") == *url);
            there.ok_or(error)?
        }
        other => other?,
    };
    let path = format!("/service-descriptions/{}", encode(&field(&added, "id")));
    if inputs.on("enable") && added["disabled"] != json!(false) {
        session.call(&Call::new(Method::PUT, format!("{path}/enable")))?;
    }
    session.get(path)
}

/// PATCH wants all three fields: what is not said stays as it is.
fn set(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let id = names::find(session, What::Service, inputs.need("service")?)?;
    let path = format!("/services/{}", encode(&id));
    let now = session.get(&path)?;
    let all = inputs.on("all");
    let timeout = inputs.get("timeout").map(str::parse::<u64>).transpose();
    let timeout = timeout.map_err(|_| Usage("--timeout takes seconds".into()))?;
    let verify = inputs.get("verify-tls").map(|text| text == "true");
    let body = json!({
        "url": inputs.get("url").map_or_else(|| now["url"].clone(), |url| json!(url)),
        "timeout": timeout.map_or_else(|| now["timeout"].clone(), |timeout| json!(timeout)),
        "ssl_auth": verify.map_or_else(|| json!(now["ssl_auth"] == json!(true)), |verify| json!(verify)),
        "url_all": all && inputs.get("url").is_some(),
        "timeout_all": all && timeout.is_some(),
        "ssl_auth_all": all && verify.is_some(),
    });
    session.with_json(Method::PATCH, path, body)
}

fn endpoint() -> Noun {
    let id = || pos("endpoint", Kind::Text, "Its id");
    noun(
        "endpoint",
        "Endpoints of REST services",
        [
            run("list", "Lists those of a service", |session, inputs| {
                let id = names::find(session, What::Service, inputs.need("service")?)?;
                Ok(session.get(format!("/services/{}", encode(&id)))?["endpoints"].clone())
            })
            .with([one_service().local()])
            .lists(ENDPOINT),
            run("add", "Adds one", |session, inputs| {
                let id = names::find(session, What::Service, inputs.need("service")?)?;
                let code = id.rsplit(':').next().unwrap_or(&id);
                let body = json!({ "service_code": code, "method": inputs.need("method")?, "path": inputs.need("path")? });
                match session.with_json(Method::POST, format!("/services/{}/endpoints", encode(&id)), body) {
                    Err(error) if inputs.ensure && is_code(&error, "endpoint_already_exists") => Ok(Value::Null),
                    other => other,
                }
            })
            .with([
                one_service().local(),
                pos("method", METHODS, "GET, POST and so on; * is any"),
                pos("path", Kind::Text, "Such as /pets/*"),
            ])
            .looks_first()
            .bulk()
            .shows(ENDPOINT),
            verb("set", "Changes one", Method::PATCH, "/endpoints/{endpoint}")
                .with([
                    id(),
                    opt("method", METHODS, "GET, POST and so on; * is any").json("method").required(),
                    opt("path", Kind::Text, "Such as /pets/*").json("path").required(),
                ])
                .shows(ENDPOINT),
            verb("delete", "Removes one with its rights", Method::DELETE, "/endpoints/{endpoint}")
                .with([id()])
                .ensures(&["endpoint_not_found"]),
        ],
    )
}

fn access() -> Noun {
    let to = |name, about| opt(name, Kind::Text, about).required().many();
    let endpoint = || opt("endpoint", Kind::Text, "Id of an endpoint instead of the whole service");
    let subject = "COM:1234:APP, GLOBALGROUP:code, LOCALGROUP:code; may be repeated";
    noun(
        "access",
        "Access rights",
        [
            run("list", "Lists who has any right at a client", |session, inputs| {
                let id = ids::complete(session, inputs.need("id")?, Shape::Client)?;
                session.get(format!("/clients/{}/service-clients", encode(&id)))
            })
            .with([id().local()])
            .lists(SUBJECT),
            run("who", "Lists who may call a service", |session, inputs| {
                session.get(holders(session, inputs)?)
            })
            .with([one_service().local(), endpoint()])
            .lists(SUBJECT),
            run("what", "Lists what a subject may call at a client", |session, inputs| {
                let client = ids::complete(session, inputs.need("id")?, Shape::Client)?;
                let subject = subject_of(session, &client, inputs.need("subject")?)?;
                let id = encode(&field(&subject, "id"));
                session.get(format!("/clients/{}/service-clients/{id}/access-rights", encode(&client)))
            })
            .with([
                id().local(),
                pos("subject", Kind::Text, "COM:1234:APP, GLOBALGROUP:code, LOCALGROUP:code"),
            ])
            .lists(&["Service=service_code", "Title=service_title", "Since=rights_given_at"]),
            run("grant", "Lets subjects call a service or an endpoint", |session, inputs| {
                change(session, inputs, true)
            })
            .with([one_service().local(), endpoint(), to("to", subject)])
            .looks_first()
            .bulk()
            .lists(SUBJECT),
            run("revoke", "Takes rights back", |session, inputs| change(session, inputs, false))
                .with([one_service().local(), endpoint(), to("from", subject)])
                .looks_first()
                .bulk()
                .lists(SUBJECT),
        ],
    )
}

/// Where the holders of a right are.
fn holders(session: &Session, inputs: &Inputs) -> anyhow::Result<String> {
    Ok(match inputs.get("endpoint") {
        Some(id) => format!("/endpoints/{}/service-clients", encode(id)),
        None => {
            let id = names::find(session, What::Service, inputs.need("service")?)?;
            format!("/services/{}/service-clients", encode(&id))
        }
    })
}

/// A subject as the API names it: local groups by their number, global groups and subsystems by identifier.
pub(crate) fn subject_of(session: &Session, client: &str, text: &str) -> anyhow::Result<Value> {
    if let Some(code) = text.strip_prefix("LOCALGROUP:") {
        let groups = session.list(format!("/clients/{}/local-groups", encode(client)))?;
        let group = groups.iter().find(|group| field(group, "code") == code);
        let group = group.ok_or_else(|| Usage(format!("{client} has no group {code}")))?;
        return Ok(
            json!({ "id": field(group, "id"), "service_client_type": "LOCALGROUP", "local_group_code": code }),
        );
    }
    if let Some(code) = text.strip_prefix("GLOBALGROUP:") {
        let id = match code.contains([':', '/']) {
            true => code.replace('/', ":"),
            false => {
                format!("{}:{code}", session.instances()?.first().map(String::as_str).unwrap_or_default())
            }
        };
        return Ok(json!({ "id": id, "service_client_type": "GLOBALGROUP" }));
    }
    let text = text.strip_prefix("SUBSYSTEM:").unwrap_or(text);
    let id = ids::complete(session, text, Shape::Subsystem)?;
    Ok(json!({ "id": id, "service_client_type": "SUBSYSTEM" }))
}

fn change(session: &Session, inputs: &Inputs, grant: bool) -> anyhow::Result<Value> {
    let service = names::find(session, What::Service, inputs.need("service")?)?;
    let client = service.rsplit_once(':').map_or("", |(client, _)| client).to_owned();
    let path = holders(session, inputs)?;
    let mut items = Vec::new();
    for text in inputs.all(if grant { "to" } else { "from" }) {
        items.push(subject_of(session, &client, text)?);
    }
    if inputs.ensure {
        let has = session.list(&path)?;
        items.retain(|item| has.iter().any(|one| field(one, "id") == field(item, "id")) != grant);
    }
    if !items.is_empty() {
        let path = if grant { path.clone() } else { format!("{path}/delete") };
        session.with_json(Method::POST, path, json!({ "items": items }))?;
    }
    session.get(path)
}
