//! `causeway cs`: nouns and verbs of a central server.

use http::Method;
use serde_json::{Value, json};

use super::connection::{Call, encode};
use super::ids::Shape;
use super::names::What;
use super::session::Session;
use super::verb::{Inputs, Kind, Noun, Param, Verb, noun, opt, pos, run, verb};
use super::{accounts, requests};

const SOURCES: Kind = Kind::Choice(&[("internal", "INTERNAL"), ("external", "EXTERNAL")]);
const COSTS: Kind = Kind::Choice(&[("free", "FREE"), ("paid", "PAID"), ("undefined", "UNDEFINED")]);
const CSR_FORMATS: Kind = Kind::Choice(&[("der", "DER"), ("pem", "PEM")]);
/// Short words for the names of certificate profiles.
pub(crate) const PROFILES: &[(&str, &str)] = &[
    ("fivrk", "ee.ria.xroad.common.certificateprofile.impl.FiVRKCertificateProfileInfoProvider"),
    ("ejbca", "ee.ria.xroad.common.certificateprofile.impl.EjbcaCertificateProfileInfoProvider"),
    ("basic", "ee.ria.xroad.common.certificateprofile.impl.BasicCertificateProfileInfoProvider"),
    ("basic-acme", "ee.ria.xroad.common.certificateprofile.impl.BasicACMECertificateProfileInfoProvider"),
];

const MEMBER: &[&str] = &["Id=client_id.encoded_id", "Name=member_name", "Type=client_id.type"];
const SERVER: &[&str] = &[
    "Id=server_id.encoded_id",
    "Address=server_address",
    "Owner=owner_name",
    "Maintenance=in_maintenance_mode",
    "Since=created_at",
];
const TOKEN: &[&str] =
    &["Id=id", "Name=name", "Status=status", "In=logged_in", "Keys=configuration_signing_keys.label.label"];
const KEY: &[&str] = &[
    "Id=id",
    "Label=label.label",
    "Source=source_type",
    "Active=active",
    "Algorithm=key_algorithm",
    "Since=created_at",
];
const CA: &[&str] = &["Id=id", "Name=name", "From=not_before", "To=not_after"];
const CA_ALL: &[&str] = &[
    "Id=id",
    "Name=name",
    "Subject=subject_distinguished_name",
    "Issuer=issuer_distinguished_name",
    "From=not_before",
    "To=not_after",
    "Profile=certificate_profile_info",
    "TLS only=tls_auth",
    "CSR format=default_csr_format",
    "ACME=acme_server_directory_url",
];
const OCSP: &[&str] = &["Id=id", "URL=url", "Cost=cost_type", "Certificate=has_certificate"];
const TSA: &[&str] = &[
    "Id=id",
    "URL=url",
    "Cost=cost_type",
    "Name=certificate.subject_common_name",
    "Interval=timestamping_interval",
    "To=certificate.not_after",
];
const GROUP: &[&str] =
    &["Code=code", "Description=description", "Members=member_count", "Changed=updated_at"];
const MANAGEMENT: &[&str] = &[
    "Provider=service_provider_id",
    "Name=service_provider_name",
    "Server=security_server_id",
    "Services=services_address",
    "WSDL=wsdl_address",
    "Owners group=security_server_owners_global_group_code",
];
/// Columns of certificate details.
const CERTIFICATE: &[&str] = &[
    "Id=id",
    "Subject=subject_distinguished_name",
    "Issuer=issuer_distinguished_name",
    "Serial=serial",
    "To=not_after",
    "Hash=hash",
];

/// The table.
pub(crate) fn nouns() -> Vec<Noun> {
    let mut nouns = vec![server(), anchor(), token(), key(), ca(), tsa()];
    nouns.extend([member_class(), member(), subsystem(), client(), security_server()]);
    nouns.extend([requests::noun_(), management(), group(), accounts::noun_()]);
    nouns.extend(more::nouns());
    nouns
}

fn id(shape: Shape, about: &'static str) -> Param {
    pos("id", Kind::Id(shape), about)
}

fn server() -> Noun {
    let init =
        verb("init", "Gives a new server its instance, address and token", Method::POST, "/initialization")
            .with([
                opt("instance", Kind::Text, "Identifier of the instance").json("instance_identifier"),
                opt("address", Kind::Text, "Host name or IP address of this server")
                    .json("central_server_address"),
                opt("pin", Kind::Secret, "PIN of the token to be").json("software_token_pin"),
            ])
            .ensures(&["init_already_initialized"]);
    let status = &[
        "Instance=initialization_status.instance_identifier",
        "Address=initialization_status.central_server_address",
        "Token=initialization_status.software_token_init_status",
        "HA=high_availability_status.is_ha_configured",
    ];
    let nodes =
        &["Node=node_name", "Address=node_address", "Generated=configuration_generated", "Status=status"];
    let ha = verb("ha", "Shows the nodes", Method::GET, "/system/high-availability-cluster/status");
    let address = noun(
        "address",
        "Address of the central server",
        [
            verb("get", "Shows it", Method::GET, "/system/status")
                .shows(&["Address=initialization_status.central_server_address"]),
            verb("set", "Changes it; the anchors are written anew", Method::PUT, "/system/server-address")
                .with([pos("address", Kind::Text, "Host name or IP address").json("central_server_address")]),
        ],
    );
    let status = verb("status", "Shows how far the set-up is", Method::GET, "/system/status").shows(status);
    let version =
        verb("version", "Shows the version", Method::GET, "/system/version").shows(&["Version=info"]);
    let ha = Verb { list: "nodes", ..ha.shows(nodes) };
    noun("server", "The central server itself", [init, status, version, ha]).below(address)
}

fn anchor() -> Noun {
    let source = || opt("source", SOURCES, "Whose configuration").local();
    let download = run("download", "Writes the configuration anchor to a file", download_anchor)
        .with([source(), opt("output", Kind::Output, "Where to; - is standard output")])
        .shows(&["File=file", "Bytes=bytes"]);
    noun(
        "anchor",
        "Configuration anchors",
        [
            run("show", "Shows hash and time of an anchor", |session, inputs| {
                session.get(format!("/configuration-sources/{}/anchor", source_of(inputs)))
            })
            .with([source()])
            .shows(&["Hash=anchor.hash", "Created=anchor.created_at"]),
            download,
            run("recreate", "Writes an anchor anew", |session, inputs| {
                let path = format!("/configuration-sources/{}/anchor/re-create", source_of(inputs));
                session.call(&Call::new(Method::PUT, path))
            })
            .with([source()])
            .shows(&["Hash=hash", "Created=created_at"]),
            run("url", "Shows where the configuration is published", |session, inputs| {
                session.get(format!("/configuration-sources/{}/download-url", source_of(inputs)))
            })
            .with([source()])
            .shows(&["URL=url"]),
        ],
    )
}

fn source_of(inputs: &Inputs) -> &'static str {
    if inputs.get("source") == Some("external") { "EXTERNAL" } else { "INTERNAL" }
}

fn download_anchor(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let path = format!("/configuration-sources/{}/anchor/download", source_of(inputs));
    let answer = session.send(&Call::get(path))?;
    super::carry_out::save(&answer, inputs.get("output").map(Into::into))
}

fn token() -> Noun {
    let id = || pos("id", Kind::Named(What::Token), "Id or name");
    noun(
        "token",
        "Tokens with configuration signing keys",
        [
            verb("list", "Lists the tokens", Method::GET, "/tokens").lists(TOKEN),
            run("login", "Gives a token its PIN", super::tokens::login)
                .with([id(), opt("pin", Kind::Secret, "PIN of the token")])
                .shows(TOKEN)
                .looks_first(),
            verb("logout", "Makes a token forget its PIN", Method::PUT, "/tokens/{id}/logout")
                .with([id()])
                .shows(TOKEN),
        ],
    )
}

fn key() -> Noun {
    let id = || pos("id", Kind::Named(What::SigningKey), "Id or label");
    noun(
        "key",
        "Configuration signing keys",
        [
            run("list", "Lists the keys", |session, _| {
                let tokens = session.list("/tokens")?;
                let keys = tokens
                    .iter()
                    .filter_map(|token| token["configuration_signing_keys"].as_array())
                    .flatten();
                Ok(keys.cloned().collect())
            })
            .lists(KEY),
            run("add", "Makes a key; the first of a source is in use at once", add_key)
                .with([
                    opt("source", SOURCES, "For which configuration").required(),
                    opt("label", Kind::Text, "What it is called"),
                    opt("token", Kind::Named(What::Token), "In which token (0)"),
                ])
                .shows(KEY),
            verb("activate", "Puts a key into use", Method::PUT, "/signing-keys/{id}/activate").with([id()]),
            verb("delete", "Deletes a key that is not in use", Method::DELETE, "/signing-keys/{id}")
                .with([id()])
                .ensures(&["signing_key_not_found"]),
        ],
    )
}

fn add_key(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let source = source_of(inputs);
    let token = super::names::find(session, What::Token, inputs.get("token").unwrap_or("0"))?;
    let label = inputs.get("label").map_or_else(|| source.to_lowercase(), str::to_owned);
    let body = json!({ "key_label": label, "token_id": token });
    session.with_json(Method::POST, format!("/configuration-sources/{source}/signing-keys"), body)
}

fn ca() -> Noun {
    let id = || pos("id", Kind::Named(What::CertificationService), "Id or name");
    let settings = || {
        [
            opt(
                "profile",
                Kind::Text,
                "Certificate profile: fivrk, ejbca, basic, basic-acme, or the name of a class",
            )
            .local(),
            opt("tls-only", Kind::Flag, "For TLS alone, not for signing").form("tls_auth"),
            opt("csr-format", CSR_FORMATS, "Form of signing requests").form("default_csr_format"),
            opt("acme-url", Kind::Text, "Directory of its ACME server").form("acme_server_directory_url"),
        ]
    };
    let add = run("add", "Approves a certification service", add_ca)
        .with([pos("certificate", Kind::File, "The CA's certificate").local()])
        .with(settings())
        .shows(CA_ALL);
    let set = run("set", "Changes the settings of a certification service", set_ca)
        .with([id().local()])
        .with(settings())
        .shows(CA_ALL);
    let list =
        verb("list", "Lists the certification services", Method::GET, "/certification-services").lists(CA);
    let show =
        verb("show", "Shows one", Method::GET, "/certification-services/{id}").with([id()]).shows(CA_ALL);
    let delete = verb("delete", "Removes one", Method::DELETE, "/certification-services/{id}")
        .with([id()])
        .ensures(&["certification_service_not_found"]);
    noun("ca", "Certification services", [list, show, add, set, delete])
        .below(intermediate(id))
        .below(ocsp(id))
}

fn intermediate(ca: fn() -> Param) -> Noun {
    let path = "/certification-services/{id}/intermediate-cas";
    let one = || pos("intermediate", Kind::Number, "Number of the intermediate CA");
    let columns =
        &["Id=id", "Subject=ca_certificate.subject_distinguished_name", "To=ca_certificate.not_after"];
    noun(
        "intermediate",
        "Intermediate CAs",
        [
            verb("list", "Lists those of a certification service", Method::GET, path)
                .with([ca()])
                .lists(columns),
            verb("add", "Adds one", Method::POST, path)
                .with([ca(), pos("certificate", Kind::File, "Its certificate").form("certificate")])
                .shows(columns),
            verb("delete", "Removes one", Method::DELETE, "/intermediate-cas/{intermediate}")
                .with([one()])
                .ensures(&["intermediate_ca_not_found"]),
        ],
    )
}

fn responder(url: Param) -> [Param; 3] {
    [
        url.form("url"),
        opt("cost", COSTS, "What it costs (free)").local(),
        opt("cert", Kind::File, "Certificate of the responder").form("certificate"),
    ]
}

fn ocsp(ca: fn() -> Param) -> Noun {
    let one = || pos("responder", Kind::Number, "Number of the OCSP responder");
    noun(
        "ocsp",
        "OCSP responders",
        [
            verb(
                "list",
                "Lists those of a certification service",
                Method::GET,
                "/certification-services/{id}/ocsp-responders",
            )
            .with([ca()])
            .lists(OCSP),
            run("add", "Adds one", add_responder)
                .with([ca().local()])
                .with(responder(pos("url", Kind::Text, "Its address")).map(Param::local))
                .with([opt("intermediate", Kind::Number, "Of this intermediate CA instead")])
                .shows(OCSP),
            run("set", "Changes one", set_responder)
                .with([one().local()])
                .with(responder(opt("url", Kind::Text, "Its address")).map(Param::local))
                .shows(OCSP),
            verb("delete", "Removes one", Method::DELETE, "/ocsp-responders/{responder}")
                .with([one()])
                .ensures(&["ocsp_responder_not_found"]),
        ],
    )
}

fn tsa() -> Noun {
    let id = || pos("id", Kind::Named(What::TimestampingService), "Id or address");
    noun(
        "tsa",
        "Approved timestamping services",
        [
            verb("list", "Lists them", Method::GET, "/timestamping-services").lists(TSA),
            run("add", "Approves one", add_tsa)
                .with([
                    pos("url", Kind::Text, "Its address"),
                    pos("certificate", Kind::File, "Its certificate"),
                    opt("cost", COSTS, "What it costs (free)"),
                ])
                .shows(TSA),
            run("set", "Changes one", set_tsa)
                .with([id().local()])
                .with(responder(opt("url", Kind::Text, "Its address")).map(Param::local))
                .shows(TSA),
            verb("delete", "Removes one", Method::DELETE, "/timestamping-services/{id}")
                .with([id()])
                .ensures(&["timestamping_authority_not_found"]),
        ],
    )
}

use trust::{add_ca, add_responder, add_tsa, set_ca, set_responder, set_tsa};
#[path = "central_more.rs"]
mod more;
#[path = "central_trust.rs"]
pub(crate) mod trust;

fn member_class() -> Noun {
    let columns = &["Code=code", "Description=description"];
    let code = || pos("code", Kind::Text, "Its code");
    noun(
        "member-class",
        "Member classes",
        [
            verb("list", "Lists them", Method::GET, "/member-classes").lists(columns),
            verb("add", "Adds one", Method::POST, "/member-classes")
                .with([code().json("code"), pos("description", Kind::Text, "What it is").json("description")])
                .shows(columns)
                .ensures(&["member_class_exists"])
                .bulk(),
            verb("describe", "Says what one is", Method::PATCH, "/member-classes/{code}")
                .with([code(), pos("description", Kind::Text, "What it is").json("description")])
                .shows(columns),
            verb("delete", "Removes an unused one", Method::DELETE, "/member-classes/{code}")
                .with([code()])
                .ensures(&["member_class_not_found"]),
        ],
    )
}

fn member() -> Noun {
    let one = || id(Shape::Member, "Such as COM:4321");
    let name = || pos("name", Kind::Text, "Its name").json("member_name");
    noun(
        "member",
        "Members",
        [
            run("list", "Lists the members", |session, inputs| {
                let mut call = Call::get("/clients").query("client_type", "MEMBER").query("sort", "id");
                if let Some(text) = inputs.get("search") {
                    call = call.query("q", text);
                }
                session.all_pages(&call, "clients")
            })
            .with([opt("search", Kind::Text, "Part of a name or code")])
            .pages("clients", MEMBER),
            verb("show", "Shows one", Method::GET, "/members/{id}").with([one()]).shows(MEMBER),
            verb("add", "Adds one", Method::POST, "/members")
                .with([one().parts("member_id"), name()])
                .shows(MEMBER)
                .ensures(&["member_exists"])
                .bulk(),
            verb("rename", "Changes the name of one", Method::PATCH, "/members/{id}")
                .with([one(), name()])
                .shows(MEMBER),
            verb("delete", "Removes one with its subsystems", Method::DELETE, "/members/{id}")
                .with([one()])
                .ensures(&["member_not_found"]),
            verb(
                "servers",
                "Lists the security servers that one owns",
                Method::GET,
                "/members/{id}/owned-servers",
            )
            .with([one()])
            .lists(SERVER),
            verb("groups", "Lists the global groups of one", Method::GET, "/members/{id}/global-groups")
                .with([one()])
                .lists(&["Group=group_code", "Subsystem=subsystem", "Since=added_to_group"]),
            verb(
                "unregister",
                "Removes one from a security server",
                Method::DELETE,
                "/members/{id}/servers/{server}",
            )
            .with([one(), pos("server", Kind::Id(Shape::Server), "Such as COM:1234:SS0")])
            .ensures(&["member_not_registered_to_security_server"]),
        ],
    )
}

fn subsystem() -> Noun {
    let columns = &[
        "Id=subsystem_id.encoded_id",
        "Name=subsystem_name",
        "Servers=used_security_servers.encoded_id",
        "Status=used_security_servers.status",
    ];
    let one = || id(Shape::Subsystem, "Such as COM:4321:TEST");
    let name = || opt("name", Kind::Text, "Its name").json("subsystem_name");
    noun(
        "subsystem",
        "Subsystems",
        [
            verb("list", "Lists those of a member", Method::GET, "/members/{member}/subsystems")
                .with([pos("member", Kind::Id(Shape::Member), "Such as COM:4321")])
                .lists(columns),
            verb("add", "Adds one", Method::POST, "/subsystems")
                .with([one().parts("subsystem_id"), name()])
                .shows(MEMBER)
                .ensures(&["subsystem_exists"])
                .bulk(),
            verb("rename", "Changes the name of one", Method::PATCH, "/subsystems/{id}")
                .with([one(), pos("name", Kind::Text, "Its name").json("subsystem_name")])
                .shows(MEMBER),
            verb("delete", "Removes one that is registered nowhere", Method::DELETE, "/subsystems/{id}")
                .with([one()])
                .ensures(&["subsystem_not_found"]),
            verb(
                "unregister",
                "Removes one from a security server",
                Method::DELETE,
                "/subsystems/{id}/servers/{server}",
            )
            .with([one(), pos("server", Kind::Id(Shape::Server), "Such as COM:1234:SS0")])
            .ensures(&["subsystem_not_registered_to_security_server"]),
        ],
    )
}

fn client() -> Noun {
    let types = Kind::Choice(&[("member", "MEMBER"), ("subsystem", "SUBSYSTEM")]);
    let list = verb("list", "Lists members and subsystems", Method::GET, "/clients").with([
        opt("search", Kind::Text, "Part of a name or code").query("q"),
        opt("type", types, "Members or subsystems alone").query("client_type"),
        opt("class", Kind::Text, "Of this member class").query("member_class"),
        opt("server", Kind::Id(Shape::Server), "Clients of this security server").query("security_server"),
    ]);
    noun("client", "Members and subsystems", [list.pages("clients", MEMBER)])
}

fn security_server() -> Noun {
    let one = || id(Shape::Server, "Such as COM:1234:SS0");
    let certs = noun(
        "cert",
        "Authentication certificates of a security server",
        [
            verb("list", "Lists them", Method::GET, "/security-servers/{id}/authentication-certificates")
                .with([one()])
                .lists(CERTIFICATE),
            verb(
                "delete",
                "Removes one",
                Method::DELETE,
                "/security-servers/{id}/authentication-certificates/{certificate}",
            )
            .with([one(), pos("certificate", Kind::Number, "Its number")])
            .ensures(&["certificate_not_found"]),
        ],
    );
    noun(
        "security-server",
        "Security servers",
        [
            verb("list", "Lists them", Method::GET, "/security-servers")
                .with([opt("search", Kind::Text, "Part of a name or code").query("q")])
                .pages("items", SERVER),
            verb("show", "Shows one", Method::GET, "/security-servers/{id}")
                .with([one()])
                .shows(&[SERVER, &["Message=maintenance_mode_message"]].concat()),
            verb("address", "Changes the address of one", Method::PATCH, "/security-servers/{id}")
                .with([one(), pos("address", Kind::Text, "Host name or IP address").json("server_address")])
                .shows(SERVER),
            verb(
                "delete",
                "Removes one with what is registered for it",
                Method::DELETE,
                "/security-servers/{id}",
            )
            .asks("its clients and certificates go with it; go on?")
            .with([one()])
            .ensures(&["security_server_not_found"]),
            verb("clients", "Lists the clients of one", Method::GET, "/security-servers/{id}/clients")
                .with([one()])
                .lists(MEMBER),
        ],
    )
    .below(certs)
}

fn management() -> Noun {
    let path = "/management-services-configuration";
    let provider = noun(
        "provider",
        "Who offers the management services",
        [
            verb("set", "Chooses the subsystem", Method::PATCH, path)
                .with([id(Shape::Subsystem, "Such as COM:1234:MANAGEMENT").json("service_provider_id")])
                .shows(MANAGEMENT),
            verb(
                "register",
                "Registers it at a security server",
                Method::POST,
                "/management-services-configuration/register-provider",
            )
            .with([pos("server", Kind::Id(Shape::Server), "Such as COM:1234:SS0").json("security_server_id")])
            .shows(MANAGEMENT)
            .ensures(&["subsystem_already_registered_to_security_server"]),
        ],
    );
    noun(
        "management",
        "The management services",
        [verb("show", "Shows them", Method::GET, path).shows(MANAGEMENT)],
    )
    .below(provider)
}

fn group() -> Noun {
    let code = || pos("code", Kind::Text, "Its code");
    let description = || pos("description", Kind::Text, "What it is").json("description");
    let members = noun(
        "member",
        "Members of a global group",
        [
            run("list", "Lists them", group_members)
                .with([code().local()])
                .pages("items", &["Id=client_id.encoded_id", "Name=name", "Since=created_at"]),
            verb("add", "Adds members or subsystems", Method::POST, "/global-groups/{code}/members/add")
                .with([code(), id(Shape::Client, "Such as COM:4321:TEST").json("items").many()])
                .bulk(),
            verb("remove", "Removes one", Method::DELETE, "/global-groups/{code}/members/{id}")
                .with([code(), id(Shape::Client, "Such as COM:4321:TEST")])
                .ensures(&["member_not_found", "global_group_member_not_found"]),
        ],
    );
    noun(
        "group",
        "Global groups",
        [
            verb("list", "Lists them", Method::GET, "/global-groups").lists(GROUP),
            verb("show", "Shows one", Method::GET, "/global-groups/{code}").with([code()]).shows(GROUP),
            verb("add", "Adds one", Method::POST, "/global-groups")
                .with([code().json("code"), description()])
                .shows(GROUP)
                .ensures(&["global_group_exists"])
                .bulk(),
            verb("describe", "Says what one is", Method::PATCH, "/global-groups/{code}")
                .with([code(), description()])
                .shows(GROUP),
            verb("delete", "Removes one", Method::DELETE, "/global-groups/{code}")
                .with([code()])
                .ensures(&["global_group_not_found"]),
        ],
    )
    .below(members)
}

fn group_members(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    members_of(session, inputs.need("code")?)
}

/// Everybody in a global group, as one page.
pub(crate) fn members_of(session: &Session, code: &str) -> anyhow::Result<Value> {
    const ALL: u64 = 100_000;
    let body = json!({ "paging_sorting": { "limit": ALL, "offset": 0 } });
    session.with_json(Method::POST, format!("/global-groups/{}/members", encode(code)), body)
}
