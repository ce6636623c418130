//! Security servers: list, details, address, clients, authentication certificates, deletion.

use admin_api::check::{ADDRESS_CHARS, HOST_ADDRESS, SIZE};
use admin_api::page::{Page, SortKey};
use admin_api::types::central_server::{
    Client, ClientId as ClientIdBody, PagedSecurityServers, SecurityServer, SecurityServerAddress,
    SecurityServerId,
};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::date;
use admin_api::{Answer, Call, Check, Problem};
use pki::cert::Certificate;
use proto::id::ServerId;
use proto::time::UnixTime;

use super::{Api, ids};
use crate::registry::request::{Origin, RequestKind, Submission};
use crate::registry::state::Server;
use crate::registry::{Command, State};

/// A server as the API shows it.
pub(super) fn shown(state: &State, id: &ServerId, server: &Server) -> SecurityServer {
    SecurityServer {
        server_address: server.address.clone(),
        created_at: date(server.created_at.unwrap_or(UnixTime(0))),
        updated_at: date(server.updated_at.unwrap_or(UnixTime(0))),
        server_id: SecurityServerId::from(id),
        owner_name: owner_name(state, id).unwrap_or_default(),
        in_maintenance_mode: server.maintenance.is_some(),
        maintenance_mode_message: server.maintenance.clone().flatten(),
    }
}

/// Name of the member that owns a server.
pub(super) fn owner_name(state: &State, id: &ServerId) -> Option<String> {
    state.members.get(&id.owner).map(|member| member.name.clone())
}

pub(super) fn list(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let q = call.query("q").map(str::to_lowercase);
    let fits = |server: &SecurityServer| {
        let id = &server.server_id;
        let texts = [&server.owner_name, &id.member_class, &id.member_code, &id.server_code, &id.instance_id];
        q.as_ref().is_none_or(|q| texts.iter().any(|text| text.to_lowercase().contains(q)))
    };
    let mut all: Vec<SecurityServer> =
        state.servers.iter().map(|(id, server)| shown(&state, id, server)).filter(fits).collect();
    // In the order of their registration where nothing else is asked for.
    all.sort_by(|a, b| a.created_at.cmp(&b.created_at));
    let keys = ["owner_name", "server_id.member_class", "server_id.member_code", "server_id.server_code"];
    let (items, paging_metadata) = Page::of(call)?.cut(all, &keys, |server, key| match key {
        "owner_name" => SortKey::text(&server.owner_name),
        "server_id.member_class" => SortKey::text(&server.server_id.member_class),
        "server_id.member_code" => SortKey::text(&server.server_id.member_code),
        _ => SortKey::text(&server.server_id.server_code),
    })?;
    Answer::ok(&PagedSecurityServers { items, paging_metadata })
}

/// The server in the path.
fn server_of(state: &State, call: &Call) -> Result<ServerId, Problem> {
    let id = ids::server(call.path("server_id"))?;
    ids::known_server(state, &id)?;
    Ok(id)
}

pub(super) fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = server_of(&state, call)?;
    Answer::ok(&shown(&state, &id, &state.servers[&id]))
}

pub(super) fn change_address(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: SecurityServerAddress = call.json()?;
    let mut check = Check::new("securityServerAddressDto");
    let rules = [ADDRESS_CHARS, HOST_ADDRESS, SIZE];
    let address = check.required("serverAddress", asked.server_address, &rules);
    check.done()?;
    let id = server_of(&api.state(), call)?;
    call.note("serverCode", id.code.clone());
    call.note("address", address.clone());
    let state = api.execute(call, Command::SetServerAddress { id: id.clone(), address: Some(address) })?;
    Answer::ok(&shown(&state, &id, ids::known_server(&state, &id)?))
}

pub(super) fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let id = server_of(&api.state(), call)?;
    call.note("serverCode", id.code.clone());
    call.note("ownerCode", id.owner.code.clone());
    api.execute(call, Command::DeleteServer { id })?;
    Ok(Answer::empty(204))
}

pub(super) fn clients(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = server_of(&state, call)?;
    let client = |client: &proto::id::ClientId| Client {
        member_name: state.members.get(&client.member).map(|member| member.name.clone()),
        client_id: ClientIdBody::from(client),
    };
    Answer::ok(&state.servers[&id].clients.keys().map(client).collect::<Vec<_>>())
}

pub(super) fn auth_certs(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = server_of(&state, call)?;
    let server = &state.servers[&id];
    let mut all: Vec<CertificateDetails> = Vec::new();
    for (key, cert) in &server.auth_certs {
        let cert = Certificate::parse(&cert.0).map_err(Problem::internal)?;
        all.push(CertificateDetails {
            id: server.auth_cert_numbers.get(key).copied(),
            ..CertificateDetails::from(&cert)
        });
    }
    all.sort_by_key(|cert| cert.id);
    Answer::ok(&all)
}

pub(super) fn remove_auth_cert(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let server = server_of(&state, call)?;
    let missing = "certificate_not_found";
    let number = call.path_number("certificate_id", missing)?;
    call.note("serverCode", server.code.clone());
    call.note("certId", number);
    let held = &state.servers[&server];
    let key = held.auth_cert_numbers.iter().find(|(_, each)| **each == number).map(|(key, _)| key);
    let cert = key.and_then(|key| held.auth_certs.get(key)).ok_or_else(|| Problem::missing(missing))?.clone();
    let submission = Submission {
        kind: RequestKind::AuthCertDeletion { cert },
        origin: Origin::Center,
        server,
        comments: None,
        automatic: false,
        approved: false,
    };
    api.execute(call, Command::SubmitRequest(Box::new(submission)))?;
    Ok(Answer::empty(204))
}
