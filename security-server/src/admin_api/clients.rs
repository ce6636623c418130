//! Clients of this server: members and subsystems, and how far their registration is.
//!
//! A list shows clients of this server, and on demand whoever the global configuration knows. What sends a request to the central
//! server is in [`super::management`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use admin_api::check::{NO_CONTROL_CHARS, Rule, SIZE};
use admin_api::operation::{delete, get, patch, post};
use admin_api::problem::Warning;
use admin_api::types::security_server::clients::{
    Client, ClientAdd, ConnectionType as WireConnection, ConnectionTypeWrapper, OrphanInformation,
};
use admin_api::types::security_server::trust::SecurityServer;
use admin_api::{Answer, Call, Check, Problem};
use pki::globalconf::GlobalConf;
use proto::id::{ClientId, MemberId, Subject};
use signer::token::{CertStatus, KeyInfo};

use super::trust::server_shown;
use super::{Api, Rows, ids, problems};
use crate::serverconf::ConnectionType;
use crate::serverconf::decide::is_code;
use crate::serverconf::event::{Event, PendingName};
use crate::serverconf::state::{ClientState, State};
use crate::serverconf::status::ClientStatus;

/// Characters that every written form of identifiers can carry. Which of them new members may have is the central server's matter: here
/// whoever is registered must be usable.
const CODE_CHARS: Rule = Rule {
    name: "IdentifierChars",
    holds: |text| text.is_empty() || text.chars().count() > 255 || is_code(text),
};
/// Of codes.
pub(super) const CODE: [Rule; 3] = [NO_CONTROL_CHARS, CODE_CHARS, SIZE];
/// Of names.
const NAME: [Rule; 2] = [NO_CONTROL_CHARS, SIZE];

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("findClients", "/clients")
            .right("VIEW_CLIENTS")
            .query(&[
                "name",
                "instance",
                "member_class",
                "member_code",
                "subsystem_code",
                "show_members",
                "internal_search",
                "local_valid_sign_cert",
                "exclude_local",
                "include_management_service_check",
            ])
            .gives::<Vec<Client>>(200)
            .refuses(&[(500, "core.malformed_server_conf")])
            .by(find),
        post("addClient", "/clients")
            .right("ADD_CLIENT")
            .audit("Add client")
            .takes::<ClientAdd>()
            .gives::<Client>(201)
            .refuses(&[
                (400, "invalid_connection_type"),
                (400, "invalid_member_class"),
                (400, "warnings_detected"),
                (409, "client_already_exists"),
                (409, "additional_member_already_exists"),
            ])
            .by(add),
        get("getClient", "/clients/{id}")
            .right("VIEW_CLIENT_DETAILS")
            .gives::<Client>(200)
            .refuses(&[(404, "client_not_found")])
            .by(one),
        patch("updateClient", "/clients/{id}")
            .right("EDIT_CLIENT_INTERNAL_CONNECTION_TYPE")
            .audit("Set connection type for servers in service consumer role")
            .takes::<ConnectionTypeWrapper>()
            .gives::<Client>(200)
            .refuses(&[(404, "client_not_found")])
            .by(update),
        delete("deleteClient", "/clients/{id}")
            .right("DELETE_CLIENT")
            .audit("Delete client")
            .gives_nothing(204)
            .refuses(&[(404, "client_not_found"), (409, "cannot_delete_owner"), (409, "action_not_possible")])
            .by(remove),
        get("getClientSecurityServers", "/clients/{id}/security-servers")
            .right("VIEW_SECURITY_SERVERS")
            .gives::<Vec<SecurityServer>>(200)
            .by(servers),
        get("getClientOrphans", "/clients/{id}/orphans")
            .right("DELETE_CLIENT")
            .gives::<OrphanInformation>(200)
            .refuses(&[(404, "orphans_not_found")])
            .by(orphans),
        delete("deleteOrphans", "/clients/{id}/orphans")
            .right("DELETE_CLIENT")
            .audit("Delete orphaned client keys, certs and certificates")
            .gives_nothing(204)
            .refuses(&[(404, "orphans_not_found")])
            .by(remove_orphans),
    ]
}

/// A client of this server by the identifier in the path.
///
/// # Errors
/// 400 `invalid_encoded_id`, 404 `client_not_found`.
pub(super) fn local<'a>(state: &'a State, id: &ClientId) -> Result<&'a ClientState, Problem> {
    state.clients.get(id).ok_or_else(|| Problem::missing("client_not_found"))
}

/// As [`local`], for operations that say which client they miss.
pub(super) fn local_named<'a>(state: &'a State, id: &ClientId) -> Result<&'a ClientState, Problem> {
    local(state, id).map_err(|problem| problem.with(id.encoded()))
}

/// Names of members and subsystems, of all instances, as the global configuration has them.
pub(super) struct Names<'a>(HashMap<ClientId, (&'a str, Option<&'a str>)>);

impl<'a> Names<'a> {
    pub(super) fn of(conf: Option<&'a GlobalConf>) -> Self {
        let all = conf.into_iter().flat_map(|conf| {
            conf.instances().into_iter().flat_map(|instance| conf.clients_with_names(instance))
        });
        Self(all.map(|(id, member, subsystem)| (id, (member, subsystem))).collect())
    }
    /// Everybody.
    pub(super) fn clients(&self) -> impl Iterator<Item = &ClientId> {
        self.0.keys()
    }
    pub(super) fn knows(&self, id: &ClientId) -> bool {
        self.0.contains_key(id)
    }
    /// The member's name; also of a subsystem that is not registered.
    pub(super) fn member(&self, id: &ClientId) -> Option<&'a str> {
        self.0.get(&id.member.clone().client()).or_else(|| self.0.get(id)).map(|(member, _)| *member)
    }
    pub(super) fn subsystem(&self, id: &ClientId) -> Option<&'a str> {
        self.0.get(id).and_then(|(_, subsystem)| *subsystem)
    }
}

/// What an answer about clients is made of.
struct Shown<'a> {
    state: &'a State,
    names: Names<'a>,
    conf: Option<&'a GlobalConf>,
    /// Members with a certificate that signs.
    signers: BTreeSet<MemberId>,
}

impl<'a> Shown<'a> {
    fn new(api: &Api, state: &'a State, conf: Option<&'a GlobalConf>) -> Self {
        let keys = api.foundation.token.get().map(|token| token.keys()).unwrap_or_default();
        let certs = keys.into_iter().flat_map(|key| key.certs);
        let good = certs.filter(|cert| {
            cert.status == CertStatus::Registered && api.ocsp_status(&cert.cert) == Some("OCSP_RESPONSE_GOOD")
        });
        let signers = good.filter_map(|cert| cert.member).collect();
        Self { state, names: Names::of(conf), conf, signers }
    }

    fn client(&self, id: &ClientId) -> Client {
        let local = self.state.clients.get(id);
        Client {
            id: id.encoded(),
            instance_id: id.member.instance.clone(),
            member_name: self.names.member(id).map(str::to_owned),
            member_class: id.member.class.clone(),
            member_code: id.member.code.clone(),
            subsystem_code: id.subsystem.clone(),
            subsystem_name: self.names.subsystem(id).map(str::to_owned),
            owner: self.state.is_owner(id),
            has_valid_local_sign_cert: self.signers.contains(&id.member),
            is_management_services_provider: None,
            rename_status: local.and_then(|client| client.pending_name.as_ref()).map(rename_status),
            connection_type: local.map(|client| written(client.connection)),
            status: local.map(|client| status_name(client.status)),
        }
    }

    /// With a look at who serves management requests.
    fn client_checked(&self, id: &ClientId) -> Client {
        let provider = self.conf.and_then(GlobalConf::private).map(|private| &private.management_provider);
        Client { is_management_services_provider: Some(provider == Some(id)), ..self.client(id) }
    }
}

fn rename_status(name: &PendingName) -> String {
    if name.submitted { "NAME_SUBMITTED" } else { "NAME_SET" }.to_owned()
}

/// As the API writes it, which is as it is stored.
fn status_name(status: ClientStatus) -> String {
    let name = serde_json::to_value(status).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn written(connection: ConnectionType) -> WireConnection {
    match connection {
        ConnectionType::Http => WireConnection::Http,
        ConnectionType::HttpsAuth => WireConnection::Https,
        ConnectionType::HttpsNoAuth => WireConnection::HttpsNoAuth,
    }
}

fn read(connection: WireConnection) -> ConnectionType {
    match connection {
        WireConnection::Http => ConnectionType::Http,
        WireConnection::Https => ConnectionType::HttpsAuth,
        WireConnection::HttpsNoAuth => ConnectionType::HttpsNoAuth,
    }
}

/// The global configuration, also an old one; `None` before the first.
pub(super) fn any_conf(api: &Api) -> Option<Arc<GlobalConf>> {
    api.foundation.globalconf.load_full().as_ref().clone()
}

fn find(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let flag = |name, default| call.query_flag(name).map(|flag| flag.unwrap_or(default));
    let (members, internal) = (flag("show_members", true)?, flag("internal_search", true)?);
    let (without_local, check) =
        (flag("exclude_local", false)?, flag("include_management_service_check", false)?);
    let signing = call.query_flag("local_valid_sign_cert")?;
    api.server_id()?;
    let (state, conf) = (api.state(), any_conf(api));
    let shown = Shown::new(api, &state, conf.as_deref());

    let found = |id: &&ClientId| {
        let text = |name, value: &str| call.query(name).is_none_or(|wanted| contains(value, wanted));
        let instance = call.query("instance");
        let named = call.query("name").is_none_or(|wanted| {
            [shown.names.member(id), shown.names.subsystem(id)]
                .iter()
                .flatten()
                .any(|name| contains(name, wanted))
        });
        let subsystem = id.subsystem.as_deref().unwrap_or_default();
        (members || id.subsystem.is_some())
            && named
            && instance.is_none_or(|wanted| id.member.instance.eq_ignore_ascii_case(wanted))
            && text("member_class", &id.member.class)
            && text("member_code", &id.member.code)
            && text("subsystem_code", subsystem)
            && signing.is_none_or(|wanted| wanted == shown.signers.contains(&id.member))
    };
    let mut ids: BTreeSet<&ClientId> = match (internal, without_local) {
        (true, _) => state.clients.keys().collect(),
        (false, true) => shown.names.clients().filter(|id| !state.clients.contains_key(id)).collect(),
        (false, false) => state.clients.keys().chain(shown.names.clients()).collect(),
    };
    ids.retain(found);
    let mut clients: Vec<Client> =
        ids.into_iter().map(|id| if check { shown.client_checked(id) } else { shown.client(id) }).collect();
    clients.sort_by(|a, b| by_name((&a.member_name, &a.id), (&b.member_name, &b.id)));
    Answer::ok(&clients)
}

/// Without regard to case.
pub(super) fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// The order of lists: by name, then by identifier, without regard to case; what has no name comes last.
pub(super) fn by_name(a: (&Option<String>, &str), b: (&Option<String>, &str)) -> Ordering {
    let key = |(name, id): (&Option<String>, &str)| {
        (name.is_none(), name.as_deref().unwrap_or_default().to_lowercase(), id.to_lowercase())
    };
    key(a).cmp(&key(b))
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let id = ids::client(call.path("id"))?;
    let (state, conf) = (api.state(), any_conf(api));
    local_named(&state, &id)?;
    Answer::ok(&Shown::new(api, &state, conf.as_deref()).client_checked(&id))
}

/// Who is to be added, after a look at every field.
fn asked_for(
    api: &Api,
    call: &mut Call,
    asked: ClientAdd,
) -> Result<(ClientId, ConnectionType, Option<String>), Problem> {
    let mut check = Check::new("clientAddDto");
    let Some(new) = check.present("client", asked.client) else { return Err(done(check)) };
    let class = check.required("client.memberClass", new.member_class, &CODE);
    let code = check.required("client.memberCode", new.member_code, &CODE);
    let not_empty = |text: &admin_api::lenient::Text| !text.is_empty();
    let subsystem = check.optional("client.subsystemCode", new.subsystem_code.filter(not_empty), &CODE);
    let name = check.optional("client.subsystemName", new.subsystem_name.filter(not_empty), &NAME);
    check.done()?;
    let connection = new.connection_type.ok_or_else(|| Problem::bad_request("invalid_connection_type"))?;
    let instance = api.server_id()?.owner.instance;
    let member = MemberId::new(instance, class, code);
    let client = match subsystem {
        Some(subsystem) => member.subsystem(subsystem),
        None => member.client(),
    };
    call.note("clientIdentifier", client.encoded());
    call.note("isAuthentication", serde_json::to_value(read(connection)).unwrap_or_default());
    Ok((client, read(connection), name))
}

/// The refusal of a check that is known to have failed.
fn done(check: Check) -> Problem {
    check.done().err().unwrap_or_else(|| Problem::status(400))
}

fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ClientAdd = call.json()?;
    let ignore = asked.ignore_warnings.is_some_and(|flag| flag.0);
    let (client, connection, name) = asked_for(api, call, asked)?;
    let (server, conf) = (api.server_id()?, api.globalconf()?);
    if !conf.member_classes(&client.member.instance).iter().any(|(class, _)| *class == client.member.class) {
        return Err(Problem::bad_request("invalid_member_class"));
    }
    let status = ClientStatus::Saved.aligned(conf.is_client_of(&client, &server));
    api.change_with(call, |state| {
        if state.clients.contains_key(&client) {
            return Err(Problem::conflict("client_already_exists"));
        }
        let another_member = |id: &ClientId| id.subsystem.is_none() && !state.is_owner(id);
        if client.subsystem.is_none() && state.clients.keys().any(another_member) {
            return Err(Problem::conflict("additional_member_already_exists"));
        }
        if !conf.is_known(&client.member.clone().client()) {
            let warning =
                Warning { code: "unregistered_member".into(), metadata: vec![client.member.short()] };
            call.accept(vec![warning], ignore)?;
        }
        let mut events = vec![Event::ClientAdded { client: client.clone(), connection }];
        if status != ClientStatus::Saved {
            events.push(Event::ClientStatusSet { client: client.clone(), status });
        }
        if let (Some(name), Some(_)) = (&name, &client.subsystem) {
            let name = PendingName { name: name.clone(), submitted: false };
            events.push(Event::SubsystemNameSet { client: client.clone(), name });
        }
        Ok((events, ()))
    })?;
    call.note("clientStatus", status_name(status));
    let state = api.state();
    let shown = Shown::new(api, &state, Some(&conf)).client(&client);
    Answer::created(&shown, &format!("/clients/{}", client.encoded()))
}

fn update(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ConnectionTypeWrapper = call.json()?;
    let client = ids::client(call.path("id"))?;
    call.note("clientIdentifier", client.encoded());
    let wanted = asked.connection_type.map(read);
    api.change_with(call, |state| {
        let present = local(state, &client)?.connection;
        let changed = wanted.filter(|wanted| *wanted != present);
        let event = |connection| Event::ConnectionSet { client: client.clone(), connection };
        Ok((changed.map(event).into_iter().collect(), ()))
    })?;
    if let Some(wanted) = wanted {
        call.note("isAuthentication", serde_json::to_value(wanted).unwrap_or_default());
    }
    let (state, conf) = (api.state(), any_conf(api));
    Answer::ok(&Shown::new(api, &state, conf.as_deref()).client(&client))
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    call.note("clientIdentifier", client.encoded());
    let conf = any_conf(api);
    let server = api.server_id()?;
    // As long as it is a client elsewhere, others may still want it to call their services.
    let elsewhere =
        conf.as_ref().is_some_and(|conf| conf.providers(&client).iter().any(|other| other.id != server));
    api.change_with(call, |state| {
        let known = local(state, &client)?;
        if state.is_owner(&client) {
            return Err(Problem::conflict("cannot_delete_owner"));
        }
        if !known.status.may_delete() {
            return Err(problems::not_possible());
        }
        let mut events = if elsewhere { Vec::new() } else { forgotten(state, &client) };
        events.push(Event::ClientRemoved { client: client.clone() });
        Ok((events, ()))
    })?;
    Ok(Answer::empty(204))
}

/// What takes a client's rights and memberships at the other clients away.
fn forgotten(state: &State, gone: &ClientId) -> Vec<Event> {
    let mut events = Vec::new();
    let subject = Subject::Client(gone.clone());
    for (client, others) in state.clients.iter().filter(|(client, _)| *client != gone) {
        for (group, _) in others.groups.iter().filter(|(_, group)| group.members.contains_key(gone)) {
            let (client, group, member) = (client.clone(), group.clone(), gone.clone());
            events.push(Event::GroupMemberRemoved { client, group, member });
        }
        for (code, endpoints) in &others.endpoints {
            for (endpoint, _) in endpoints.iter().filter(|(_, held)| held.rights.contains_key(&subject)) {
                let (client, code, endpoint) = (client.clone(), code.clone(), endpoint.clone());
                events.push(Event::RightRevoked { client, code, endpoint, subject: subject.clone() });
            }
        }
    }
    events
}

/// Where a client is registered; of one that nobody knows nowhere.
fn servers(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    let conf = api.globalconf()?;
    let all = conf.instances().into_iter().flat_map(|instance| conf.servers(instance));
    let own = all.filter(|server| conf.is_client_of(&client, &server.id));
    Answer::ok(&own.map(|server| server_shown(&server.id, &server.address)).collect::<Vec<_>>())
}

/// What a token holds of a member that has no client here any more.
struct Orphans {
    keys: Vec<KeyInfo>,
    certs: Vec<String>,
    csrs: Vec<String>,
}

fn found_orphans(api: &Api, client: &ClientId) -> Result<Orphans, Problem> {
    let none = || Problem::missing("orphans_not_found");
    if api.state().clients.keys().any(|other| other.member == client.member) {
        return Err(none());
    }
    let of_member = |member: &Option<MemberId>| member.as_ref() == Some(&client.member);
    let mut found = Orphans { keys: Vec::new(), certs: Vec::new(), csrs: Vec::new() };
    for key in api.foundation.token.get().map(|token| token.keys()).unwrap_or_default() {
        let owned: BTreeMap<bool, usize> = key
            .certs
            .iter()
            .map(|cert| of_member(&cert.member))
            .chain(key.csrs.iter().map(|csr| of_member(&csr.request.member)))
            .fold(BTreeMap::new(), |mut counted, own| {
                *counted.entry(own).or_default() += 1;
                counted
            });
        match (owned.contains_key(&true), owned.contains_key(&false)) {
            (true, false) => found.keys.push(key),
            (true, true) => {
                found
                    .certs
                    .extend(key.certs.iter().filter(|cert| of_member(&cert.member)).map(|cert| cert.id()));
                let csrs = key.csrs.iter().filter(|csr| of_member(&csr.request.member));
                found.csrs.extend(csrs.map(|csr| csr.id.clone()));
            }
            (false, _) => {}
        }
    }
    if found.keys.is_empty() && found.certs.is_empty() && found.csrs.is_empty() {
        return Err(none());
    }
    Ok(found)
}

fn orphans(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    found_orphans(api, &ids::client(call.path("id"))?)?;
    Answer::ok(&OrphanInformation { orphans_exist: true })
}

fn remove_orphans(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    call.note("clientIdentifier", client.encoded());
    let found = found_orphans(api, &client)?;
    let token = api.token()?;
    found.keys.iter().try_for_each(|key| token.delete_key(&key.id)).map_err(problems::of_token)?;
    found.certs.iter().try_for_each(|cert| token.delete_certificate(cert)).map_err(problems::of_token)?;
    found.csrs.iter().try_for_each(|csr| token.delete_csr(csr)).map_err(problems::of_token)?;
    api.keys_changed();
    Ok(Answer::empty(204))
}
