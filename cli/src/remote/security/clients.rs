//! Clients of a security server: members and subsystems, their TLS certificates, their local groups.

use http::Method;
use serde_json::{Value, json};

use crate::exit::Usage;
use crate::remote::connection::{Call, encode};
use crate::remote::ids::{self, Shape};
use crate::remote::names::{What, own_clients};
use crate::remote::output::field;
use crate::remote::session::Session;
use crate::remote::tokens::is_code;
use crate::remote::verb::{Inputs, Kind, Noun, Param, noun, opt, pos, run, verb};

const CLIENT: &[&str] = &[
    "Id=id",
    "Name=member_name",
    "Subsystem=subsystem_name",
    "Status=status",
    "Connection=connection_type",
    "Owner=owner",
    "Signs=has_valid_local_sign_cert",
];
const CERTIFICATE: &[&str] = &["Hash=hash", "Subject=subject_distinguished_name", "To=not_after"];
const GROUP: &[&str] =
    &["Id=id", "Code=code", "Description=description", "Members=member_count", "Changed=updated_at"];
/// Words for connection types.
pub(crate) const CONNECTIONS: Kind =
    Kind::Choice(&[("http", "HTTP"), ("https", "HTTPS"), ("https-no-auth", "HTTPS_NO_AUTH")]);

/// Where the status of a client stands.
const STATUS: (&str, &str) = ("/clients/{id}", "status");

pub(super) fn nouns() -> Vec<Noun> {
    vec![client(), tls(), group()]
}

pub(super) fn id() -> Param {
    pos("id", Kind::Id(Shape::Client), "Such as COM:4321:TEST")
}

fn client() -> Noun {
    let orphans = noun(
        "orphans",
        "Keys, certificates and signing requests that only a removed client used",
        [
            verb("show", "Says whether there are any", Method::GET, "/clients/{id}/orphans")
                .with([id()])
                .shows(&["Orphans=orphans_exist"]),
            verb("delete", "Removes them", Method::DELETE, "/clients/{id}/orphans").with([id()]),
        ],
    );
    let registered = |name, about, path: &'static str| verb(name, about, Method::PUT, path).with([id()]);
    noun(
        "client",
        "Members and subsystems that use this server",
        [
            run("list", "Lists those of this server, or of the whole instance", list)
                .with([
                    opt("all", Kind::Switch, "Of the whole instance"),
                    opt("search", Kind::Text, "Part of a name or code"),
                ])
                .lists(CLIENT),
            verb("show", "Shows one", Method::GET, "/clients/{id}").with([id()]).shows(CLIENT),
            run("add", "Adds one; with --register asks the central server to register it", add)
                .with([
                    id().local(),
                    opt("connection", CONNECTIONS, "How its information systems identify themselves (https)"),
                    opt("name", Kind::Text, "Name of the subsystem"),
                    opt("register", Kind::Switch, "Register it too"),
                ])
                .waits()
                .looks_first()
                .bulk()
                .shows(CLIENT),
            registered("register", "Asks the central server to register one", "/clients/{id}/register")
                .until(STATUS.0, STATUS.1, "REGISTERED")
                .already(STATUS.0, STATUS.1, &["REGISTRATION_IN_PROGRESS", "REGISTERED"])
                .bulk(),
            registered("unregister", "Asks the central server to remove one", "/clients/{id}/unregister")
                .already(STATUS.0, STATUS.1, &["DELETION_IN_PROGRESS"]),
            registered("enable", "Asks the central server to enable one", "/clients/{id}/enable")
                .until(STATUS.0, STATUS.1, "REGISTERED")
                .already(STATUS.0, STATUS.1, &["ENABLING_IN_PROGRESS", "REGISTERED"]),
            registered("disable", "Asks the central server to disable one", "/clients/{id}/disable")
                .until(STATUS.0, STATUS.1, "DISABLED")
                .already(STATUS.0, STATUS.1, &["DISABLING_IN_PROGRESS", "DISABLED"]),
            verb("delete", "Removes one from this server", Method::DELETE, "/clients/{id}")
                .with([id()])
                .ensures(&["client_not_found"]),
            registered("rename", "Changes the name of a subsystem", "/clients/{id}/rename").with([pos(
                "name",
                Kind::Text,
                "Its name",
            )
            .json("client_name")]),
            registered(
                "make-owner",
                "Asks the central server to make a member the owner",
                "/clients/{id}/make-owner",
            )
            .until("/clients/{id}", "owner", "yes")
            .already("/clients/{id}", "owner", &["yes"]),
            verb(
                "connection",
                "Says how its information systems identify themselves",
                Method::PATCH,
                "/clients/{id}",
            )
            .with([id(), pos("type", CONNECTIONS, "Which way").json("connection_type")])
            .shows(CLIENT),
        ],
    )
    .below(orphans)
}

fn list(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let own = !inputs.on("all");
    let mut call =
        Call::get("/clients").query("internal_search", own.to_string()).query("show_members", "true");
    if let Some(text) = inputs.get("search") {
        call = call.query("name", text);
    }
    session.call(&call)
}

/// Adds a client; `connection` as the API writes it.
pub(crate) fn add_client(
    session: &Session,
    id: &str,
    connection: &str,
    name: Option<&str>,
) -> anyhow::Result<Value> {
    let (class, code, subsystem) = ids::parts(id);
    let mut client = json!({ "member_class": class, "member_code": code, "connection_type": connection });
    if let Some(subsystem) = subsystem {
        client["subsystem_code"] = json!(subsystem);
    }
    if let Some(name) = name {
        client["subsystem_name"] = json!(name);
    }
    session.with_json(Method::POST, "/clients", json!({ "client": client }))
}

fn add(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let id = ids::complete(session, inputs.need("id")?, Shape::Client)?;
    let connection = match inputs.get("connection").unwrap_or("https") {
        "http" => "HTTP",
        "https-no-auth" => "HTTPS_NO_AUTH",
        "https" => "HTTPS",
        other => {
            return Err(Usage(format!("{other} is no connection type: http, https, https-no-auth")).into());
        }
    };
    match add_client(session, &id, connection, inputs.get("name")) {
        Err(error) if inputs.ensure && is_code(&error, "client_already_exists") => {}
        other => {
            other?;
        }
    }
    let path = format!("/clients/{}", encode(&id));
    let now = session.get(&path)?;
    if inputs.on("register") && field(&now, "status") == "SAVED" {
        session.call(&Call::new(Method::PUT, format!("{path}/register")))?;
    }
    match inputs.wait {
        Some(limit) => session.wait(&path, "status", "REGISTERED", limit),
        None => session.get(path),
    }
}

fn tls() -> Noun {
    let hash = || pos("hash", Kind::Text, "Its hash");
    let path = "/clients/{id}/tls-certificates";
    noun(
        "tls",
        "Certificates of a client's information systems",
        [
            verb("list", "Lists them", Method::GET, path).with([id()]).lists(CERTIFICATE),
            verb("add", "Adds one", Method::POST, path)
                .with([id(), pos("file", Kind::File, "The certificate, PEM or DER").body()])
                .shows(CERTIFICATE)
                .ensures(&["certificate_already_exists"]),
            verb("show", "Shows one", Method::GET, "/clients/{id}/tls-certificates/{hash}")
                .with([id(), hash()])
                .shows(CERTIFICATE),
            verb("delete", "Removes one", Method::DELETE, "/clients/{id}/tls-certificates/{hash}")
                .with([id(), hash()])
                .ensures(&["certificate_not_found"]),
        ],
    )
}

fn group() -> Noun {
    let group = || pos("group", Kind::Named(What::LocalGroup), "Id, code, or COM:4321:TEST:code");
    let members = noun(
        "member",
        "Members of a local group",
        [
            verb("add", "Adds subsystems", Method::POST, "/local-groups/{group}/members")
                .with([
                    group(),
                    pos("id", Kind::Id(Shape::Client), "Such as COM:4321:TEST").json("items").many(),
                ])
                .ensures(&["local_group_member_already_exists"]),
            verb("remove", "Removes subsystems", Method::POST, "/local-groups/{group}/members/delete").with(
                [group(), pos("id", Kind::Id(Shape::Client), "Such as COM:4321:TEST").json("items").many()],
            ),
        ],
    );
    noun(
        "group",
        "Local groups",
        [
            run("list", "Lists those of a client, or of all", |session, inputs| {
                let clients = match inputs.get("id") {
                    Some(id) => vec![ids::complete(session, id, Shape::Client)?],
                    None => own_clients(session)?.iter().map(|client| field(client, "id")).collect(),
                };
                let mut found = Vec::new();
                for client in clients {
                    for mut group in session.list(format!("/clients/{}/local-groups", encode(&client)))? {
                        group["client_id"] = json!(client);
                        found.push(group);
                    }
                }
                Ok(json!(found))
            })
            .with([id().local().optional()])
            .lists(&[GROUP, &["Client=client_id"]].concat()),
            verb("show", "Shows one with its members", Method::GET, "/local-groups/{group}")
                .with([group()])
                .shows(&[GROUP, &["Who=members.id"]].concat()),
            verb("add", "Adds one", Method::POST, "/clients/{id}/local-groups")
                .with([
                    id(),
                    pos("code", Kind::Text, "Its code").json("code"),
                    pos("description", Kind::Text, "What it is").json("description"),
                ])
                .shows(GROUP)
                .ensures(&["local_group_code_already_exists"])
                .bulk(),
            verb("describe", "Says what one is", Method::PATCH, "/local-groups/{group}")
                .with([group(), pos("description", Kind::Text, "What it is").json("description")])
                .shows(GROUP),
            verb("delete", "Removes one with its rights", Method::DELETE, "/local-groups/{group}")
                .with([group()])
                .ensures(&["local_group_not_found"]),
        ],
    )
    .below(members)
}
