//! What is there: read from the servers through their APIs, in the words of the file.

use std::collections::BTreeMap;
use std::path::Path;

use pki::cert::Certificate as X509;
use pki::digest::DigestAlgorithm;
use pki::globalconf::verify::anchor_fingerprint;
use proto::globalconf::anchor::Anchor;
use serde::Serialize;
use serde_json::{Value, json};

use super::model::{
    Central, Certificate, CertificationService, Client, Endpoint, GlobalGroup, Intermediate, Key, Keys,
    LocalGroup, Management, Member, MemberClass, Responder, Server, Service, SigningKeys, Source, Subsystem,
    Timestamping, TrustedAnchor, Tsa,
};
use crate::exit::Usage;
use crate::remote::connection::{Call, encode};
use crate::remote::output::field;
use crate::remote::security::{keys as certs, server::anchor_now};
use crate::remote::session::Session;
use crate::remote::{central, names};

/// All that was read.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Now {
    pub(crate) central: Option<CentralNow>,
    /// By target.
    pub(crate) servers: BTreeMap<String, ServerNow>,
}

/// A central server.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct CentralNow {
    pub(crate) instance: String,
    pub(crate) initialized: bool,
    pub(crate) logged_in: bool,
    pub(crate) keys: SigningKeys,
    pub(crate) conf: Central,
}

/// A security server.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ServerNow {
    pub(crate) anchor: bool,
    pub(crate) owned: bool,
    pub(crate) coded: bool,
    pub(crate) token: bool,
    pub(crate) logged_in: bool,
    pub(crate) approved_tsas: Vec<String>,
    pub(crate) keys: Vec<KeyNow>,
    /// Status by identifier.
    pub(crate) clients: BTreeMap<String, String>,
    pub(crate) conf: Server,
}

/// A key with the newest of its certificates.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct KeyNow {
    pub(crate) id: String,
    pub(crate) usage: String,
    pub(crate) label: String,
    pub(crate) certificate: Option<CertificateNow>,
}

/// A certificate of a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct CertificateNow {
    pub(crate) sha256: String,
    pub(crate) status: String,
    pub(crate) active: bool,
    pub(crate) owner: String,
}

impl Now {
    /// What a saved plan was made from, and is refused without.
    pub(crate) fn hash(&self) -> String {
        // Maps are ordered and a text always has a JSON form.
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(DigestAlgorithm::Sha256.digest(&text).value)
    }
}

/// SHA-256 of a certificate, upper case; of a file PEM or DER.
pub(crate) fn sha256_of(certificate: &Certificate) -> Result<String, Usage> {
    match certificate {
        Certificate::Hash { sha256 } => Ok(sha256.to_uppercase().replace(':', "")),
        Certificate::File(file) => {
            let der = der(file).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
            Ok(hex::encode_upper(DigestAlgorithm::Sha256.digest(&der).value))
        }
    }
}

fn der(file: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    X509::parse(&bytes).map(|cert| cert.der().to_vec()).map_err(|error| error.to_string())
}

/// Instance and hash of an anchor, as the central server shows them.
pub(crate) fn known_anchor(anchor: &TrustedAnchor) -> Result<(String, String), Usage> {
    match anchor {
        TrustedAnchor::Known { instance, sha224 } => Ok((instance.clone(), sha224.to_uppercase())),
        TrustedAnchor::File(file) => {
            let wrong = |error: String| Usage(format!("{}: {error}", file.display()));
            let bytes = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
            let anchor = Anchor::read(&bytes).map_err(|error| wrong(error.to_string()))?;
            Ok((anchor.instance, anchor_fingerprint(&bytes)))
        }
    }
}

fn hash(sha256: String) -> Certificate {
    Certificate::Hash { sha256 }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Reads a central server.
pub(crate) fn read_central(session: &Session) -> anyhow::Result<CentralNow> {
    let status = session.get("/initialization/status")?;
    let instance = field(&status, "instance_identifier");
    let mut now = CentralNow {
        initialized: !instance.is_empty() && field(&status, "software_token_init_status") == "INITIALIZED",
        instance,
        conf: Central { target: session.name().to_owned(), ..Central::default() },
        ..CentralNow::default()
    };
    if !now.initialized {
        return Ok(now);
    }
    now.conf.address = some(field(&status, "central_server_address"));
    for token in session.list("/tokens")? {
        now.logged_in |= field(&token, "id") == "0" && token["logged_in"] == json!(true);
        for key in token["configuration_signing_keys"].as_array().into_iter().flatten() {
            match field(key, "source_type").as_str() {
                "INTERNAL" => now.keys.internal += 1,
                "EXTERNAL" => now.keys.external += 1,
                _ => {}
            }
        }
    }
    now.conf.signing_keys = Some(now.keys);
    registry(session, &mut now.conf)?;
    trust(session, &mut now.conf)?;
    let anchor = |one: &Value| TrustedAnchor::Known {
        instance: field(one, "instance_identifier"),
        sha224: field(one, "hash"),
    };
    now.conf.trusted_anchors = session.list("/trusted-anchors")?.iter().map(anchor).collect();
    let management = session.get("/management-services-configuration")?;
    let bare = |name: &str| {
        let text = field(&management, name);
        some(text.trim_start_matches("SUBSYSTEM:").trim_start_matches("SERVER:").replace('/', ":"))
    };
    let (provider, server) = (bare("service_provider_id"), bare("security_server_id"));
    now.conf.management = (provider.is_some() || server.is_some()).then_some(Management { provider, server });
    Ok(now)
}

fn registry(session: &Session, conf: &mut Central) -> anyhow::Result<()> {
    let class =
        |one: &Value| MemberClass { code: field(one, "code"), description: field(one, "description") };
    conf.member_classes = session.list("/member-classes")?.iter().map(class).collect();
    let members = session
        .all_pages(&Call::get("/clients").query("client_type", "MEMBER").query("sort", "id"), "clients")?;
    for member in members["clients"].as_array().into_iter().flatten() {
        let id = field(member, "client_id.encoded_id");
        let subsystems = session.list(format!("/members/{}/subsystems", encode(&id)))?;
        let subsystem = |one: &Value| Subsystem {
            code: field(one, "subsystem_id.subsystem_code"),
            name: some(field(one, "subsystem_name")),
        };
        let mut subsystems: Vec<Subsystem> = subsystems.iter().map(subsystem).collect();
        subsystems.sort_by(|a, b| a.code.cmp(&b.code));
        conf.members.push(Member { id, name: field(member, "member_name"), subsystems });
    }
    conf.members.sort_by(|a, b| a.id.cmp(&b.id));
    for group in session.list("/global-groups")? {
        let code = field(&group, "code");
        // Its members are whoever owns a server.
        if code == "security-server-owners" {
            continue;
        }
        let body = central::members_of(session, &code)?;
        let items = body["items"].as_array().into_iter().flatten();
        let mut members: Vec<String> = items.map(|one| field(one, "client_id.encoded_id")).collect();
        members.sort();
        conf.groups.push(GlobalGroup { code, description: field(&group, "description"), members });
    }
    Ok(())
}

fn trust(session: &Session, conf: &mut Central) -> anyhow::Result<()> {
    for one in session.list("/certification-services")? {
        let path = format!("/certification-services/{}", field(&one, "id"));
        let service = session.get(&path)?;
        let mut found = CertificationService {
            certificate: hash(field(&session.get(format!("{path}/certificate"))?, "hash")),
            profile: some(field(&service, "certificate_profile_info")),
            csr_format: some(field(&service, "default_csr_format")),
            tls_only: service["tls_auth"].as_bool(),
            ocsp: responders(session, &path)?,
            intermediates: Vec::new(),
        };
        for one in session.list(format!("{path}/intermediate-cas"))? {
            let certificate = hash(field(&one, "ca_certificate.hash"));
            let ocsp = responders(session, &format!("/intermediate-cas/{}", field(&one, "id")))?;
            found.intermediates.push(Intermediate { certificate, ocsp });
        }
        conf.certification_services.push(found);
    }
    for one in session.list("/timestamping-services")? {
        let certificate = hash(field(&one, "certificate.hash"));
        conf.timestamping.push(Tsa {
            url: field(&one, "url"),
            certificate,
            cost: some(field(&one, "cost_type")),
        });
    }
    Ok(())
}

/// OCSP responders of a CA.
fn responders(session: &Session, ca: &str) -> anyhow::Result<Vec<Responder>> {
    let mut found = Vec::new();
    for responder in session.list(format!("{ca}/ocsp-responders"))? {
        let path = format!("/ocsp-responders/{}/certificate", field(&responder, "id"));
        let certificate = match responder["has_certificate"] == json!(true) {
            true => some(field(&session.get(path)?, "hash")).map(hash),
            false => None,
        };
        let (url, cost) = (field(&responder, "url"), some(field(&responder, "cost_type")));
        found.push(Responder { url, cost, certificate });
    }
    Ok(found)
}

/// Reads a security server, however far it is.
pub(crate) fn read_server(session: &Session) -> anyhow::Result<ServerNow> {
    let status = session.get("/initialization/status")?;
    let is = |name: &str| status[name] == json!(true);
    let mut now = ServerNow {
        anchor: is("is_anchor_imported"),
        owned: is("is_server_owner_initialized"),
        coded: is("is_server_code_initialized"),
        token: field(&status, "software_token_init_status") == "INITIALIZED",
        conf: Server { target: session.name().to_owned(), ..Server::default() },
        ..ServerNow::default()
    };
    if !(now.anchor && now.owned && now.coded && now.token) {
        return Ok(now);
    }
    now.conf.anchor = anchor_now(session)?.map(|_| "central".to_owned());
    let own = session.list("/security-servers?current_server=true")?;
    if let Some(own) = own.first() {
        let id = field(own, "id");
        let (owner, code) = id.rsplit_once(':').unwrap_or((&id, ""));
        now.conf.owner = owner.to_owned();
        now.conf.code = code.to_owned();
        now.conf.address = some(field(own, "server_address"));
    }
    keys(session, &mut now)?;
    let urls = |list: Vec<Value>| list.iter().map(|one| field(one, "url")).collect::<Vec<_>>();
    now.approved_tsas = urls(session.list("/timestamping-services")?);
    now.conf.timestamping = Some(urls(session.list("/system/timestamping-services")?))
        .filter(|used| !used.is_empty())
        .map(Timestamping::Names);
    let mut clients = names::own_clients(session)?;
    clients.sort_by_key(|client| field(client, "id"));
    if now.conf.owner.is_empty()
        && let Some(owner) = clients.iter().find(|client| client["owner"] == json!(true))
    {
        now.conf.owner = field(owner, "id");
    }
    for one in clients {
        let id = field(&one, "id");
        now.clients.insert(id.clone(), field(&one, "status"));
        now.conf.clients.push(client(session, &id, &one)?);
    }
    Ok(now)
}

fn keys(session: &Session, now: &mut ServerNow) -> anyhow::Result<()> {
    for token in session.list("/tokens")? {
        now.logged_in |= field(&token, "id") == "0" && token["logged_in"] == json!(true);
    }
    let all = certs::certificates(session)?;
    for key in names::keys(session)? {
        let id = field(&key, "id");
        let (usage, label) = (field(&key, "usage"), field(&key, "label"));
        // The one in use, else the newest.
        let mut own: Vec<&Value> = all.iter().filter(|cert| field(cert, "key_id") == id).collect();
        own.sort_by_key(|cert| {
            (cert["active"] == json!(true), field(cert, "certificate_details.not_before"))
        });
        let certificate = own.last().map(|cert| CertificateNow {
            sha256: field(cert, "certificate_details.hash"),
            status: field(cert, "status"),
            active: cert["active"] == json!(true),
            owner: field(cert, "owner_id"),
        });
        now.keys.push(KeyNow { id, usage, label, certificate });
    }
    let key = |one: &KeyNow| {
        let certificate = one.certificate.as_ref()?;
        let source = Source { sha256: Some(certificate.sha256.clone()), ..Source::default() };
        let member = some(certificate.owner.clone()).filter(|_| one.usage == "SIGNING");
        Some(Key { label: one.label.clone(), member, certificate: Some(source), ..Key::default() })
    };
    let of = |usage: &str| now.keys.iter().filter(|one| one.usage == usage).filter_map(key).collect();
    now.conf.keys = Keys { authentication: of("AUTHENTICATION"), signing: of("SIGNING") };
    Ok(())
}

fn client(session: &Session, id: &str, one: &Value) -> anyhow::Result<Client> {
    let path = format!("/clients/{}", encode(id));
    let mut client = Client {
        id: id.to_owned(),
        name: some(field(one, "subsystem_name")),
        connection: some(field(one, "connection_type")),
        registered: Some(field(one, "status") != "SAVED").filter(|registered| !registered),
        ..Client::default()
    };
    for certificate in session.list(format!("{path}/tls-certificates"))? {
        client.tls_certificates.push(hash(field(&certificate, "hash")));
    }
    for group in session.list(format!("{path}/local-groups"))? {
        let whole = session.get(format!("/local-groups/{}", field(&group, "id")))?;
        let mut members: Vec<String> =
            whole["members"].as_array().into_iter().flatten().map(|one| field(one, "id")).collect();
        members.sort();
        client.groups.push(LocalGroup {
            code: field(&whole, "code"),
            description: field(&whole, "description"),
            members,
        });
    }
    client.groups.sort_by(|a, b| a.code.cmp(&b.code));
    let groups = session.list(format!("{path}/local-groups"))?;
    for description in session.list(format!("{path}/service-descriptions"))? {
        for one in description["services"].as_array().into_iter().flatten() {
            client.services.push(service(session, &description, one, &groups)?);
        }
    }
    client.services.sort_by_key(Service::full_code);
    Ok(client)
}

fn service(session: &Session, description: &Value, one: &Value, groups: &[Value]) -> anyhow::Result<Service> {
    let code = field(one, "service_code");
    let full = some(field(one, "full_service_code")).unwrap_or_else(|| code.clone());
    let full = full.rsplit(':').next().unwrap_or(&full);
    let version = full.strip_prefix(&format!("{code}.")).map(str::to_owned);
    let path = format!("/services/{}", encode(&field(one, "id")));
    let mut found = Service {
        kind: field(description, "type"),
        url: field(description, "url"),
        code,
        version,
        service_url: some(field(one, "url")),
        timeout: one["timeout"].as_u64(),
        verify_tls: one["ssl_auth"].as_bool(),
        enabled: description["disabled"].as_bool().map(|disabled| !disabled),
        notice: some(field(description, "disabled_notice")),
        access: subjects(&session.list(format!("{path}/service-clients"))?, groups),
        endpoints: Vec::new(),
    };
    for endpoint in one["endpoints"].as_array().into_iter().flatten() {
        let access =
            session.list(format!("/endpoints/{}/service-clients", encode(&field(endpoint, "id"))))?;
        let (method, path) = (field(endpoint, "method"), field(endpoint, "path"));
        found.endpoints.push(Endpoint { method, path, access: subjects(&access, groups) });
    }
    found.endpoints.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    Ok(found)
}

/// Subjects as the file writes them.
fn subjects(list: &[Value], groups: &[Value]) -> Vec<String> {
    let one = |subject: &Value| {
        let id = field(subject, "id");
        match field(subject, "service_client_type").as_str() {
            "LOCALGROUP" => {
                let code = some(field(subject, "local_group_code"));
                let by_id =
                    || groups.iter().find(|group| field(group, "id") == id).map(|group| field(group, "code"));
                format!("LOCALGROUP:{}", code.or_else(by_id).unwrap_or(id))
            }
            "GLOBALGROUP" => format!("GLOBALGROUP:{id}"),
            _ => id,
        }
    };
    let mut found: Vec<String> = list.iter().map(one).collect();
    found.sort();
    found
}
