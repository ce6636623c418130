//! The security server itself: set-up, address, maintenance, anchor, TLS towards information systems, timestamping, what it knows of the
//! instance, diagnostics.

use http::Method;
use serde_json::{Value, json};

use crate::exit::Usage;
use crate::remote::backups::backup;
use crate::remote::carry_out::read;
use crate::remote::connection::{Body, Call};
use crate::remote::failure::{Failure, failure_of};
use crate::remote::ids::{self, Shape};
use crate::remote::names::What;
use crate::remote::output::field;
use crate::remote::session::Session;
use crate::remote::tokens::is_code;
use crate::remote::verb::{Inputs, Kind, Noun, Param, Verb, noun, opt, pos, run, verb};

const ANCHOR: &[&str] = &["Hash=hash", "Created=created_at"];
const STATUS: &[&str] = &[
    "Anchor=is_anchor_imported",
    "Code=is_server_code_initialized",
    "Owner=is_server_owner_initialized",
    "Token=software_token_init_status",
    "PIN policy=enforce_token_pin_policy",
];
const TSA: &[&str] = &["Name=name", "URL=url", "Cost=cost_type"];
const CERTIFICATE: &[&str] = &[
    "Hash=hash",
    "Subject=subject_distinguished_name",
    "Issuer=issuer_distinguished_name",
    "From=not_before",
    "To=not_after",
];
const FILE: &[&str] = &["File=file", "Bytes=bytes"];
const USAGES: Kind = Kind::Choice(&[("auth", "AUTHENTICATION"), ("sign", "SIGNING")]);

/// Where the maintenance mode stands.
const MODE: (&str, &str) = ("/system/maintenance-mode", "status");

pub(super) fn nouns() -> Vec<Noun> {
    vec![
        server(),
        anchor(),
        server_tls(),
        tsa(),
        ca(),
        member_class(),
        member(),
        security_server(),
        backup(),
        diagnostics(),
    ]
}

fn output() -> Param {
    opt("output", Kind::Output, "Where to; - is standard output")
}

fn server() -> Noun {
    let init = run("init", "Says whose server it is, and gives it a token", initialize)
        .with([
            opt("owner", Kind::Text, "The member that owns it, such as COM:1234").required(),
            opt("code", Kind::Text, "Code of the server").required(),
            opt("pin", Kind::Secret, "PIN of the token to be"),
        ])
        .looks_first()
        .shows(STATUS);
    let address = noun(
        "address",
        "Address of the server",
        [
            verb("get", "Shows it", Method::GET, "/system/server-address")
                .shows(&["Address=current_address.address", "Asked for=requested_change.address"]),
            verb("set", "Asks the central server for another", Method::PUT, "/system/server-address")
                .with([pos("address", Kind::Text, "Host name or IP address").json("address")]),
        ],
    );
    let on = "/system/maintenance-mode/enable";
    let off = "/system/maintenance-mode/disable";
    let maintenance = noun(
        "maintenance",
        "Maintenance mode",
        [
            verb("show", "Shows it", Method::GET, "/system/maintenance-mode")
                .shows(&["Status=status", "Message=message"]),
            verb("on", "Asks the central server to switch it on", Method::PUT, on)
                .with([opt("message", Kind::Text, "What others are told").json("message")])
                .until(MODE.0, MODE.1, "ENABLED_MAINTENANCE_MODE")
                .already(MODE.0, MODE.1, &["PENDING_ENABLE_MAINTENANCE_MODE", "ENABLED_MAINTENANCE_MODE"]),
            verb("off", "Asks the central server to switch it off", Method::PUT, off)
                .until(MODE.0, MODE.1, "DISABLED_MAINTENANCE_MODE")
                .already(MODE.0, MODE.1, &["PENDING_DISABLE_MAINTENANCE_MODE", "DISABLED_MAINTENANCE_MODE"]),
        ],
    );
    noun(
        "server",
        "The security server itself",
        [
            init,
            verb("status", "Shows how far the set-up is", Method::GET, "/initialization/status")
                .shows(STATUS),
            verb("version", "Shows the version", Method::GET, "/system/version")
                .shows(&["Version=info", "Configuration version=global_configuration_version"]),
            verb("node-type", "Shows whether the node may be changed", Method::GET, "/system/node-type")
                .shows(&["Type=node_type"]),
        ],
    )
    .below(address)
    .below(maintenance)
}

/// Leaves out what is done already, which is what the API wants.
fn initialize(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let status = session.get("/initialization/status")?;
    let done = |name: &str| status[name] == json!(true);
    let mut body = json!({});
    if !done("is_server_owner_initialized") {
        let (class, code) = owner(inputs.need("owner")?)?;
        body["owner_member_class"] = json!(class);
        body["owner_member_code"] = json!(code);
    }
    if !done("is_server_code_initialized") {
        body["security_server_code"] = json!(inputs.need("code")?);
    }
    if field(&status, "software_token_init_status") != "INITIALIZED" {
        body["software_token_pin"] = json!(inputs.secret("pin")?.as_str());
    }
    if body == json!({}) {
        if inputs.ensure {
            return Ok(status);
        }
        return Err(Usage("the server is initialized already; --ensure takes that for success".into()).into());
    }
    session.with_json(Method::POST, "/initialization", body)?;
    session.get("/initialization/status")
}

/// Class and code; the instance is the anchor's, whatever stands before them.
pub(crate) fn owner(text: &str) -> Result<(String, String), Usage> {
    let parts: Vec<&str> = text.split([':', '/']).collect();
    match parts.as_slice() {
        [class, code] | [_, class, code] if !class.is_empty() && !code.is_empty() => {
            Ok(((*class).to_owned(), (*code).to_owned()))
        }
        _ => Err(Usage(format!("{text}: a member is written COM:1234"))),
    }
}

fn anchor() -> Noun {
    let file = || pos("file", Kind::File, "The anchor");
    noun(
        "anchor",
        "The configuration anchor",
        [
            verb("show", "Shows hash and time", Method::GET, "/system/anchor").shows(ANCHOR),
            verb(
                "preview",
                "Shows hash and time of a file",
                Method::POST,
                "/system/anchor/previews?validate_instance=false",
            )
            .with([file().body()])
            .shows(ANCHOR),
            run("upload", "Gives a new server its anchor", upload)
                .with([file().local()])
                .looks_first()
                .waits()
                .shows(ANCHOR),
            verb("replace", "Takes another anchor of the same instance", Method::PUT, "/system/anchor")
                .with([file().body()]),
            verb("download", "Writes it to a file", Method::GET, "/system/anchor/download")
                .with([output()])
                .shows(FILE),
        ],
    )
}

/// The hash is shown before the anchor is believed; with `--ensure` one with the same hash is taken for success.
fn upload(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let bytes = read(inputs.need("file")?.as_ref())?;
    let Some(limit) = inputs.wait else { return upload_anchor(session, bytes, inputs.ensure) };
    // A source that has just been set up publishes within moments.
    session.wait_until("the configuration source", limit, || {
        match upload_anchor(session, bytes.clone(), inputs.ensure) {
            Err(error) => match failure_of(&error).and_then(Failure::code) {
                Some(code) if code.starts_with("conf_verification.") => {
                    Ok((false, code.to_owned(), Value::Null))
                }
                _ => Err(error),
            },
            Ok(body) => Ok((true, String::new(), body)),
        }
    })
}

/// Gives a new server its anchor.
pub(crate) fn upload_anchor(session: &Session, bytes: Vec<u8>, ensure: bool) -> anyhow::Result<Value> {
    let preview = Call::new(Method::POST, "/system/anchor/previews").query("validate_instance", "false");
    let preview = session.call(&preview.body(Body::Octets(bytes.clone())))?;
    if ensure
        && let Some(now) = anchor_now(session)?
        && field(&now, "hash") == field(&preview, "hash")
    {
        return Ok(now);
    }
    session.call(&Call::new(Method::POST, "/system/anchor").body(Body::Octets(bytes)))?;
    Ok(preview)
}

/// The anchor that there is.
pub(crate) fn anchor_now(session: &Session) -> anyhow::Result<Option<Value>> {
    match session.get("/system/anchor") {
        Err(error) if is_code(&error, "anchor_file_not_found") || is_code(&error, "anchor_not_found") => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn server_tls() -> Noun {
    noun(
        "server-tls",
        "TLS certificate towards information systems",
        [
            verb("show", "Shows it", Method::GET, "/system/certificate").shows(CERTIFICATE),
            verb(
                "generate",
                "Makes a new key with a certificate of its own",
                Method::POST,
                "/system/certificate",
            ),
            verb("csr", "Writes a signing request", Method::POST, "/system/certificate/csr")
                .with([
                    pos("name", Kind::Text, "Distinguished name, such as CN=ss1.example.org").json("name"),
                    output(),
                ])
                .shows(FILE),
            verb("import", "Takes a signed certificate", Method::POST, "/system/certificate/import")
                .with([pos("file", Kind::File, "The certificate").body()])
                .shows(CERTIFICATE),
            verb(
                "export",
                "Writes certs.tar.gz for information systems",
                Method::GET,
                "/system/certificate/export",
            )
            .with([output()])
            .shows(FILE),
        ],
    )
}

fn tsa() -> Noun {
    noun(
        "tsa",
        "Timestamping services",
        [
            verb("list", "Lists those in use", Method::GET, "/system/timestamping-services").lists(TSA),
            verb("approved", "Lists those that may be used", Method::GET, "/timestamping-services")
                .lists(TSA),
            run("add", "Takes approved ones into use", add_tsa)
                .with([
                    pos("name", Kind::Text, "Name or address").optional(),
                    opt("all", Kind::Switch, "All that are approved"),
                ])
                .looks_first()
                .lists(TSA),
            run("remove", "Stops using one", |session, inputs| {
                let wanted = inputs.need("name")?;
                let used = session.list("/system/timestamping-services")?;
                let Some(one) = used.into_iter().find(|one| is(one, wanted)) else {
                    if inputs.ensure {
                        return Ok(Value::Null);
                    }
                    return Err(Usage(format!("{wanted} is not in use")).into());
                };
                session.with_json(Method::POST, "/system/timestamping-services/delete", one)
            })
            .with([pos("name", Kind::Text, "Name or address")])
            .looks_first(),
        ],
    )
}

fn is(service: &Value, text: &str) -> bool {
    field(service, "name") == text || field(service, "url") == text
}

fn add_tsa(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let approved = session.list("/timestamping-services")?;
    let wanted: Vec<Value> = match inputs.get("name") {
        Some(name) => approved.iter().filter(|one| is(one, name)).cloned().collect(),
        None if inputs.on("all") => approved.clone(),
        None => return Err(Usage("which one? a name, or --all".into()).into()),
    };
    if wanted.is_empty() {
        let known: Vec<String> = approved.iter().map(|one| field(one, "name")).collect();
        return Err(Usage(format!("no such service is approved; there are: {}", known.join(", "))).into());
    }
    let used = session.list("/system/timestamping-services")?;
    let mut added = Vec::new();
    for one in wanted {
        let there = used.iter().any(|used| used["url"] == one["url"]);
        if there && (inputs.ensure || inputs.on("all")) {
            continue;
        }
        session.with_json(Method::POST, "/system/timestamping-services", one.clone())?;
        added.push(one);
    }
    Ok(json!(added))
}

fn ca() -> Noun {
    let columns = &[
        "Name=name",
        "Subject=subject_distinguished_name",
        "Profile=certificate_profile_info",
        "CSR format=default_csr_format",
        "OCSP=ocsp_response",
        "To=not_after",
        "TLS only=authentication_only",
    ];
    let fields = &["Id=id", "Label=label", "Default=default_value", "Fixed=read_only", "Required=required"];
    noun(
        "ca",
        "Certification services of the instance",
        [
            verb("list", "Lists them", Method::GET, "/certificate-authorities")
                .with([
                    opt("usage", USAGES, "For keys of this usage").query("key_usage_type"),
                    opt("intermediate", Kind::Switch, "Intermediate CAs too")
                        .query("include_intermediate_cas"),
                ])
                .lists(columns),
            verb(
                "fields",
                "Lists the name's parts that one wants in a signing request",
                Method::GET,
                "/certificate-authorities/{ca}/csr-subject-fields",
            )
            .with([
                pos("ca", Kind::Text, "Its name"),
                opt("usage", USAGES, "For keys of this usage").query("key_usage_type").required(),
                opt("member", Kind::Id(Shape::Member), "For this member").query("member_id"),
            ])
            .lists(fields),
        ],
    )
}

fn member_class() -> Noun {
    let list = run("list", "Lists the member classes", |session, inputs| {
        let all = inputs.on("all");
        let call = Call::get("/member-classes").query("current_instance", (!all).to_string());
        let classes = session.call(&call)?;
        Ok(classes.as_array().into_iter().flatten().map(|code| json!({ "code": code })).collect())
    });
    noun(
        "member-class",
        "Member classes of the instance",
        [list.with([opt("all", Kind::Switch, "Of all instances")]).lists(&["Code=code"])],
    )
}

fn member() -> Noun {
    let name = run("name", "Shows the name of a member", |session, inputs| {
        let (class, code, _) = ids::parts(&ids::complete(session, inputs.need("id")?, Shape::Member)?);
        session.call(&Call::get("/member-names").query("member_class", class).query("member_code", code))
    });
    noun(
        "member",
        "Members of the instance",
        [name.with([pos("id", Kind::Text, "Such as COM:4321")]).shows(&["Name=member_name"])],
    )
}

fn security_server() -> Noun {
    let columns = &["Id=id", "Address=server_address"];
    let list = verb("list", "Lists the servers of the instance", Method::GET, "/security-servers")
        .with([opt("current", Kind::Switch, "This one alone").query("current_server")])
        .lists(columns);
    noun("security-server", "Security servers of the instance", [list])
}

fn diagnostics() -> Noun {
    let connection = &["Status=status_class", "Code=error.code", "About=error.metadata"];
    let test = noun(
        "test",
        "Tries connections",
        [
            verb(
                "conf",
                "To every address of the configuration",
                Method::GET,
                "/diagnostics/global-conf-status",
            )
            .lists(&[
                "URL=download_url",
                "Status=connection_status.status_class",
                "Code=connection_status.error.code",
            ]),
            verb(
                "registration",
                "To the central server's registration service",
                Method::GET,
                "/diagnostics/auth-cert-req-status",
            )
            .shows(connection),
            verb(
                "peer",
                "To another security server",
                Method::GET,
                "/diagnostics/other-security-server-status",
            )
            .with([
                opt("from", Kind::Id(Shape::Client), "Client of this server").query("client_id").required(),
                opt("to", Kind::Id(Shape::Client), "Client of the other")
                    .query("target_client_id")
                    .required(),
                opt("server", Kind::Id(Shape::Server), "The other server")
                    .query("security_server_id")
                    .required(),
                opt("protocol", Kind::Choice(&[("rest", "REST"), ("soap", "SOAP")]), "Which protocol")
                    .query("protocol_type")
                    .required(),
            ])
            .shows(connection),
        ],
    );
    noun(
        "diagnostics",
        "What the server says of itself; `causeway diagnose` says what to do",
        [
            verb("show", "Shows how the configuration does", Method::GET, "/diagnostics/globalconf").shows(
                &[
                    "Status=status_class",
                    "Last=prev_update_at",
                    "Next=next_update_at",
                    "From=last_successful_url",
                    "Code=error.code",
                ],
            ),
            verb("ocsp", "Shows how OCSP responders do", Method::GET, "/diagnostics/ocsp-responders").lists(
                &[
                    "CA=distinguished_name",
                    "Responder=ocsp_responders.url",
                    "Status=ocsp_responders.status_class",
                    "Last=ocsp_responders.prev_update_at",
                ],
            ),
            verb(
                "tsa",
                "Shows how timestamping services do",
                Method::GET,
                "/diagnostics/timestamping-services",
            )
            .lists(&["URL=url", "Status=status_class", "Last=prev_update_at", "Code=error.code"]),
            verb("report", "Writes a report", Method::GET, "/diagnostics/info/download")
                .with([output()])
                .shows(FILE),
        ],
    )
    .below(test)
}

/// For tables of other files.
pub(super) const USAGE: Kind = USAGES;
/// For tables of other files.
pub(super) fn token() -> Param {
    opt("token", Kind::Named(What::Token), "Which token (0)")
}
/// For tables of other files.
pub(super) fn output_file() -> Param {
    output()
}
/// For tables of other files: a verb that writes a file.
pub(super) fn writes(verb: Verb) -> Verb {
    verb.with([output()]).shows(FILE)
}
