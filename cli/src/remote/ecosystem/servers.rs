//! Steps of one security server: first whatever makes it trusted (anchor, owner, keys, certificates), then whom it serves.

use std::collections::BTreeSet;

use serde_json::json;

use super::model::{Client, Endpoint, Key, Server, Service, Timestamping};
use super::now::{KeyNow, ServerNow, sha256_of};
use super::plan::{Options, Steps, call, file_of};
use super::step::{Act, Step};
use crate::exit::Usage;
use crate::remote::connection::encode;

/// Anchor, owner, token, keys, timestamping.
pub(super) fn trust(wanted: &Server, now: &ServerNow) -> Result<Vec<Step>, Usage> {
    let mut steps = Steps::of(&wanted.target);
    if !now.anchor {
        let from = wanted.anchor.clone().unwrap_or_else(|| "central".into());
        steps.adds("anchor", format!("from {from}"), Act::Anchor { from });
    }
    if !(now.owned && now.coded && now.token) {
        let (class, code, _) = crate::remote::ids::parts(&wanted.owner);
        let mut body = json!({});
        if !now.owned {
            body["owner_member_class"] = json!(class);
            body["owner_member_code"] = json!(code);
        }
        if !now.coded {
            body["security_server_code"] = json!(wanted.code);
        }
        if !now.token {
            body["software_token_pin"] = json!("");
        }
        steps.adds("server", wanted.id(), Act::Initialize { body });
    } else if now.conf.owner != wanted.owner || now.conf.code != wanted.code {
        let is = now.conf.id();
        return Err(Usage(format!(
            "{} is {is}, not {}: an owner is changed by a request, a code never",
            wanted.target,
            wanted.id()
        )));
    }
    if !now.logged_in && (wanted.pin.is_some() || !now.token) {
        steps.changes("token", "0 logged in", Act::LogIn);
    }
    // The token makes keys for members that have a client here.
    let of_others = wanted.clients.iter().filter(|client| before_keys(wanted, client));
    for client in of_others.filter(|client| !now.conf.clients.iter().any(|one| one.id == client.id)) {
        addition(client, &mut steps);
    }
    // A registration is signed by the owner, so signing keys come before it.
    for key in &wanted.keys.signing {
        let there = find(now, "SIGNING", key);
        certificate("SIGNING", key, there, &mut steps);
        activation("SIGNING", key, there, &mut steps);
    }
    for key in &wanted.keys.authentication {
        authentication(wanted, key, now, &mut steps)?;
    }
    timestamping(wanted, now, &mut steps);
    Ok(steps.all)
}

fn find<'a>(now: &'a ServerNow, usage: &str, key: &Key) -> Option<&'a KeyNow> {
    now.keys.iter().find(|one| one.usage == usage && one.label == key.label)
}

/// The key with its certificate.
fn certificate(usage: &str, key: &Key, there: Option<&KeyNow>, steps: &mut Steps<'_>) {
    if there.is_none() {
        let fields: Vec<_> = key.fields.clone().into_iter().collect();
        let act = Act::MakeKey {
            usage: usage.to_owned(),
            label: key.label.clone(),
            member: key.member.clone(),
            ca: key.ca.clone(),
            fields,
        };
        steps.adds("key", format!("{:?} for {}", key.label, usage.to_lowercase()), act);
    }
    if there.is_none_or(|there| there.certificate.is_none()) {
        let act = Act::Certify { usage: usage.to_owned(), label: key.label.clone() };
        steps.adds("certificate", format!("of key {:?}", key.label), act);
    }
}

fn activation(usage: &str, key: &Key, there: Option<&KeyNow>, steps: &mut Steps<'_>) {
    // A new certificate for signing is in use as soon as it is there.
    let active = match there.and_then(|there| there.certificate.as_ref()) {
        Some(certificate) => certificate.active,
        None => usage == "SIGNING",
    };
    if !active {
        let act = Act::Activate { usage: usage.to_owned(), label: key.label.clone() };
        steps.changes("certificate", format!("of key {:?} active", key.label), act);
    }
}

fn authentication(wanted: &Server, key: &Key, now: &ServerNow, steps: &mut Steps<'_>) -> Result<(), Usage> {
    let there = find(now, "AUTHENTICATION", key);
    certificate("AUTHENTICATION", key, there, steps);
    let status = there.and_then(|there| there.certificate.as_ref()).map(|one| one.status.as_str());
    if matches!(status, None | Some("SAVED")) {
        let address = wanted.address.clone();
        let address =
            address.ok_or_else(|| Usage(format!("the address of server {} is missing", wanted.target)))?;
        let act = Act::RegisterCertificate { label: key.label.clone(), address };
        steps.changes("certificate", format!("of key {:?} registered", key.label), act);
    }
    activation("AUTHENTICATION", key, there, steps);
    if status != Some("REGISTERED") {
        let act = Act::AwaitCertificate { label: key.label.clone() };
        steps.changes("certificate", format!("of key {:?} approved", key.label), act);
    }
    Ok(())
}

fn timestamping(wanted: &Server, now: &ServerNow, steps: &mut Steps<'_>) {
    let used = match &now.conf.timestamping {
        Some(Timestamping::Names(used)) => used.clone(),
        Some(Timestamping::Word(_)) | None => Vec::new(),
    };
    let wanted: Vec<String> = match &wanted.timestamping {
        None => Vec::new(),
        Some(Timestamping::Names(names)) => names.clone(),
        // What is approved is not known before there is a configuration.
        Some(Timestamping::Word(_)) if now.approved_tsas.is_empty() && used.is_empty() => vec!["all".into()],
        Some(Timestamping::Word(_)) => now.approved_tsas.clone(),
    };
    for url in wanted.into_iter().filter(|url| !used.contains(url)) {
        steps.adds("timestamping", url.clone(), Act::UseTsa { url });
    }
}

/// Clients with all that is theirs.
pub(super) fn clients(wanted: &Server, now: &ServerNow, options: &Options) -> Result<Vec<Step>, Usage> {
    let mut steps = Steps::of(&wanted.target);
    for client in &wanted.clients {
        let there = now.conf.clients.iter().find(|one| one.id == client.id);
        registration(wanted, client, there, now, &mut steps);
        certificates(client, there, options, &mut steps)?;
        groups(client, there, options, &mut steps);
        let none = Client::default();
        for service in &client.services {
            let there =
                there.unwrap_or(&none).services.iter().find(|one| one.full_code() == service.full_code());
            one_service(&client.id, client, service, there, options, &mut steps);
        }
        for service in there.map(|there| there.services.as_slice()).unwrap_or_default() {
            // One description may hold several services: it goes when none of them is named.
            let kept = client
                .services
                .iter()
                .any(|one| one.url == service.url || one.full_code() == service.full_code());
            if options.prunes("service") && !kept {
                let act = Act::RemoveService { client: client.id.clone(), code: service.full_code() };
                steps.removes("service", format!("{}:{}", client.id, service.full_code()), act);
            }
        }
    }
    // A WSDL's services go with their description, so each address is removed once.
    let mut seen = BTreeSet::new();
    steps.all.retain(|step| match &step.act {
        Act::Describe { client, url, code: None, .. } => seen.insert((client.clone(), url.clone())),
        _ => true,
    });
    gone(wanted, now, options, &mut steps);
    Ok(steps.all)
}

/// Clients that the file does not name, and keys when they are meant.
fn gone(wanted: &Server, now: &ServerNow, options: &Options, steps: &mut Steps<'_>) {
    for client in now.conf.clients.iter().filter(|_| options.prunes("client")) {
        if client.id == now.conf.owner || wanted.clients.iter().any(|one| one.id == client.id) {
            continue;
        }
        let path = format!("/clients/{}", encode(&client.id));
        let status = now.clients.get(&client.id).map_or("", String::as_str);
        if matches!(status, "REGISTERED" | "REGISTRATION_IN_PROGRESS" | "DISABLED") {
            let act = call("PUT", format!("{path}/unregister"), serde_json::Value::Null);
            steps.removes("client", format!("{} unregistered", client.id), act);
        }
        steps.removes("client", &client.id, call("DELETE", path, serde_json::Value::Null));
    }
    for key in now.keys.iter().filter(|_| options.prunes_named("key")) {
        let named = match key.usage.as_str() {
            "SIGNING" => &wanted.keys.signing,
            _ => &wanted.keys.authentication,
        };
        if !named.iter().any(|one| one.label == key.label) {
            let act = call("DELETE", format!("/keys/{}", encode(&key.id)), serde_json::Value::Null);
            let usage = if key.usage.is_empty() { "nothing yet".into() } else { key.usage.to_lowercase() };
            steps.removes("key", format!("{:?} for {usage}", key.label), act);
        }
    }
}

/// A client of another member than the owner, for whom the file has a signing key.
fn before_keys(wanted: &Server, client: &Client) -> bool {
    let is = |member: &str| client.id == member || client.id.starts_with(&format!("{member}:"));
    !is(&wanted.owner) && wanted.keys.signing.iter().any(|key| key.member.as_deref().is_some_and(is))
}

/// As the API writes it.
fn connection_of(client: &Client) -> Option<String> {
    client.connection.as_deref().map(|word| word.to_uppercase().replace('-', "_"))
}

fn addition(client: &Client, steps: &mut Steps<'_>) {
    let (id, name) = (client.id.clone(), client.name.clone());
    let connection = connection_of(client).unwrap_or_else(|| "HTTPS".into());
    steps.adds("client", &client.id, Act::AddClient { id, connection, name });
}

fn registration(
    wanted: &Server,
    client: &Client,
    there: Option<&Client>,
    now: &ServerNow,
    steps: &mut Steps<'_>,
) {
    let id = client.id.clone();
    let connection = connection_of(client);
    let status = now.clients.get(&id).map(String::as_str);
    match there {
        None if before_keys(wanted, client) => {}
        None => addition(client, steps),
        Some(there) => {
            if connection.is_some() && there.connection != connection {
                let path = format!("/clients/{}", encode(&id));
                let connection = connection.unwrap_or_default();
                let act = call("PATCH", path, json!({ "connection_type": connection }));
                steps.changes("client", format!("{id} connection {connection}"), act);
            }
        }
    }
    if client.registered == Some(false) {
        return;
    }
    if matches!(status, None | Some("SAVED")) {
        steps.changes("client", format!("{id} registered"), Act::RegisterClient { id: id.clone() });
    }
    if status != Some("REGISTERED") {
        steps.changes("client", format!("{id} approved"), Act::AwaitClient { id });
    }
}

fn certificates(
    client: &Client,
    there: Option<&Client>,
    options: &Options,
    steps: &mut Steps<'_>,
) -> Result<(), Usage> {
    let path = format!("/clients/{}/tls-certificates", encode(&client.id));
    let hashes =
        |list: &[super::model::Certificate]| list.iter().map(sha256_of).collect::<Result<BTreeSet<_>, _>>();
    let known = hashes(there.map(|there| there.tls_certificates.as_slice()).unwrap_or_default())?;
    let wanted = hashes(&client.tls_certificates)?;
    for certificate in &client.tls_certificates {
        let hash = sha256_of(certificate)?;
        if !known.contains(&hash) {
            let act = Act::Upload { path: path.clone(), file: file_of(certificate)? };
            steps.adds("tls-certificate", format!("{} {}", client.id, &hash[..12]), act);
        }
    }
    for hash in known.difference(&wanted).filter(|_| options.prunes("tls-certificate")) {
        let act = call("DELETE", format!("{path}/{hash}"), serde_json::Value::Null);
        steps.removes("tls-certificate", format!("{} {}", client.id, &hash[..12]), act);
    }
    Ok(())
}

fn groups(client: &Client, there: Option<&Client>, options: &Options, steps: &mut Steps<'_>) {
    let none = Client::default();
    let now = there.unwrap_or(&none);
    for group in &client.groups {
        let known = now.groups.iter().find(|one| one.code == group.code);
        let name = format!("{} {}", client.id, group.code);
        if known.is_none() {
            let path = format!("/clients/{}/local-groups", encode(&client.id));
            let body = json!({ "code": group.code, "description": group.description });
            steps.adds("local-group", &name, call("POST", path, body));
        }
        let there: BTreeSet<String> = known.into_iter().flat_map(|known| known.members.clone()).collect();
        let wanted: BTreeSet<String> = group.members.iter().cloned().collect();
        let members = |members: Vec<String>, add| Act::GroupMembers {
            client: client.id.clone(),
            code: group.code.clone(),
            members,
            add,
        };
        let missing: Vec<String> = wanted.difference(&there).cloned().collect();
        if !missing.is_empty() {
            steps.adds("local-group", format!("{name} {}", missing.join(" ")), members(missing, true));
        }
        let surplus: Vec<String> = there.difference(&wanted).cloned().collect();
        if options.prunes("local-group") && !surplus.is_empty() {
            steps.removes("local-group", format!("{name} {}", surplus.join(" ")), members(surplus, false));
        }
    }
    for group in now.groups.iter().filter(|_| options.prunes("local-group")) {
        if !client.groups.iter().any(|one| one.code == group.code) {
            let act = Act::RemoveGroup { client: client.id.clone(), code: group.code.clone() };
            steps.removes("local-group", format!("{} {}", client.id, group.code), act);
        }
    }
}

fn one_service(
    client: &str,
    owner: &Client,
    service: &Service,
    there: Option<&Service>,
    options: &Options,
    steps: &mut Steps<'_>,
) {
    let code = service.full_code();
    let name = format!("{client}:{code}");
    if there.is_none() {
        let own = (service.kind != "WSDL").then(|| service.code.clone());
        let act = Act::Describe {
            client: client.to_owned(),
            kind: service.kind.clone(),
            url: service.url.clone(),
            code: own,
        };
        steps.adds("service", format!("{name} {} {}", service.kind, service.url), act);
    }
    let now = there.cloned().unwrap_or_default();
    let url = service.service_url.clone().filter(|url| now.service_url.as_ref() != Some(url));
    let timeout = service.timeout.filter(|timeout| now.timeout != Some(*timeout));
    let verify_tls = service.verify_tls.filter(|on| now.verify_tls != Some(*on));
    if url.is_some() || timeout.is_some() || verify_tls.is_some() {
        let act = Act::SetService { client: client.to_owned(), code: code.clone(), url, timeout, verify_tls };
        steps.changes("service", format!("{name} settings"), act);
    }
    endpoints(client, &code, service, &now, options, steps);
    access(client, &code, None, &service.access, &now.access, options, steps);
    // Services of one WSDL are switched together, by the first of them.
    let first = owner.services.iter().find(|one| one.url == service.url && one.kind == service.kind);
    let on = service.enabled.unwrap_or(true);
    let differs = there.is_none_or(|there| {
        there.enabled != Some(on) || (!on && service.notice.is_some() && there.notice != service.notice)
    });
    let wanted = service.enabled.is_some() || there.is_none();
    if first.is_some_and(|first| first.full_code() == code)
        && wanted
        && differs
        && (on || there.is_some() || service.notice.is_some())
    {
        let word = if on { "enabled" } else { "disabled" };
        let act = Act::Switch { client: client.to_owned(), code, on, notice: service.notice.clone() };
        steps.changes("service", format!("{name} {word}"), act);
    }
}

fn endpoints(
    client: &str,
    code: &str,
    service: &Service,
    now: &Service,
    options: &Options,
    steps: &mut Steps<'_>,
) {
    let is = |one: &Endpoint, other: &Endpoint| one.method == other.method && one.path == other.path;
    let act = |endpoint: &Endpoint, add| Act::Endpoint {
        client: client.to_owned(),
        code: code.to_owned(),
        method: endpoint.method.clone(),
        path: endpoint.path.clone(),
        add,
    };
    for endpoint in &service.endpoints {
        let there = now.endpoints.iter().find(|one| is(one, endpoint));
        let name = format!("{client}:{code} {} {}", endpoint.method, endpoint.path);
        // Those of an OpenAPI document come with it, so a new one cannot be told from one of the document here.
        if there.is_none() {
            steps.adds("endpoint", name, act(endpoint, true));
        }
        let known = there.map(|there| there.access.as_slice()).unwrap_or_default();
        let at = Some((endpoint.method.clone(), endpoint.path.clone()));
        access(client, code, at, &endpoint.access, known, options, steps);
    }
    // What stands for the whole service comes and goes with it.
    let own = |one: &&Endpoint| (one.method.as_str(), one.path.as_str()) != ("*", "**");
    let prunes = options.prunes("endpoint") && service.kind == "REST";
    for endpoint in now.endpoints.iter().filter(own).filter(|_| prunes) {
        if !service.endpoints.iter().any(|one| is(one, endpoint)) {
            let name = format!("{client}:{code} {} {}", endpoint.method, endpoint.path);
            steps.removes("endpoint", name, act(endpoint, false));
        }
    }
}

fn access(
    client: &str,
    code: &str,
    endpoint: Option<(String, String)>,
    wanted: &[String],
    there: &[String],
    options: &Options,
    steps: &mut Steps<'_>,
) {
    let part = endpoint.as_ref().map(|(method, path)| format!(" {method} {path}")).unwrap_or_default();
    let act = |subjects: Vec<String>, grant| Act::Access {
        client: client.to_owned(),
        code: code.to_owned(),
        endpoint: endpoint.clone(),
        subjects,
        grant,
    };
    let missing: Vec<String> = wanted.iter().filter(|one| !there.contains(one)).cloned().collect();
    if !missing.is_empty() {
        steps.adds("access", format!("{client}:{code}{part} to {}", missing.join(" ")), act(missing, true));
    }
    let surplus: Vec<String> = there.iter().filter(|one| !wanted.contains(one)).cloned().collect();
    if options.prunes("access") && !surplus.is_empty() {
        steps.removes(
            "access",
            format!("{client}:{code}{part} from {}", surplus.join(" ")),
            act(surplus, false),
        );
    }
}
