//! Registration of clients, what undoes it, and what changes at registered ones.

use std::sync::Arc;

use admin_api::check::{NO_CONTROL_CHARS, SIZE};
use admin_api::types::security_server::management::ClientName;
use admin_api::{Answer, Call, Check, Problem};
use pki::globalconf::GlobalConf;
use proto::id::ClientId;
use proto::management::Request;

use super::super::ids;
use super::{Api, problems, send};
use crate::serverconf::event::{Event, PendingName};
use crate::serverconf::state::{ClientState, State};
use crate::serverconf::status::{ClientStatus, subsystem_name};

/// Subsystems have names from this version of the configuration on.
const NAMES_SINCE: u32 = 5;

/// A client by the identifier in the path.
struct Named {
    id: ClientId,
    state: Arc<State>,
}

impl Named {
    fn read(api: &Api, call: &mut Call) -> Result<Self, Problem> {
        let id = ids::client(call.path("id"))?;
        call.note("clientIdentifier", id.encoded());
        Ok(Self { id, state: api.state() })
    }

    fn client(&self) -> Result<&ClientState, Problem> {
        self.state.clients.get(&self.id).ok_or_else(|| Problem::missing("client_not_found"))
    }

    fn is_owner(&self) -> bool {
        self.state.is_owner(&self.id)
    }

    /// Refuses unless the client's state allows what is asked.
    fn allows(&self, may: fn(ClientStatus) -> bool) -> Result<(), Problem> {
        if may(self.client()?.status) { Ok(()) } else { Err(problems::not_possible()) }
    }

    fn becomes(&self, status: ClientStatus) -> Event {
        Event::ClientStatusSet { client: self.id.clone(), status }
    }
}

/// Has names, when there is a configuration that does.
fn with_names(conf: &GlobalConf) -> bool {
    conf.version() >= NAMES_SINCE
}

pub(super) fn register(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let named = Named::read(api, call)?;
    let client = named.client()?;
    if named.is_owner() {
        return Err(Problem::bad_request("cannot_register_owner"));
    }
    named.allows(ClientStatus::may_register)?;
    let conf = api.valid_globalconf()?;
    let name = client.pending_name.as_ref().filter(|_| with_names(&conf)).map(|pending| pending.name.clone());
    send(api, call, Request::ClientReg { client: named.id.clone(), name: name.clone() })?;
    let mut events = vec![named.becomes(ClientStatus::RegistrationInProgress)];
    let submitted = name.map(|name| PendingName { name, submitted: true });
    events.extend(submitted.map(|name| Event::SubsystemNameSet { client: named.id.clone(), name }));
    api.change(call, events)?;
    Ok(Answer::empty(204))
}

pub(super) fn unregister(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let named = Named::read(api, call)?;
    named.client()?;
    if named.is_owner() {
        return Err(Problem::conflict("cannot_unregister_owner"));
    }
    named.allows(ClientStatus::may_unregister)?;
    send(api, call, Request::ClientDeletion { client: named.id.clone() })?;
    api.change(call, vec![named.becomes(ClientStatus::DeletionInProgress)])?;
    Ok(Answer::empty(204))
}

pub(super) fn make_owner(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let named = Named::read(api, call)?;
    if named.is_owner() {
        return Err(Problem::bad_request("member_already_owner"));
    }
    let status = named.state.clients.get(&named.id).map(|client| client.status);
    if named.id.subsystem.is_some() || status != Some(ClientStatus::Registered) {
        return Err(problems::not_possible());
    }
    send(api, call, Request::OwnerChange { client: named.id })?;
    Ok(Answer::empty(204))
}

pub(super) fn disable(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let named = Named::read(api, call)?;
    named.client()?;
    let conf = api.valid_globalconf()?;
    if conf.private().is_some_and(|private| private.management_provider == named.id) {
        return Err(Problem::conflict("forbidden_disable_management_service_client"));
    }
    if named.is_owner() {
        return Err(problems::not_possible());
    }
    named.allows(ClientStatus::may_disable)?;
    send(api, call, Request::ClientDisable { client: named.id.clone() })?;
    api.change(call, vec![named.becomes(ClientStatus::DisablingInProgress)])?;
    Ok(Answer::empty(204))
}

pub(super) fn enable(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let named = Named::read(api, call)?;
    named.allows(ClientStatus::may_enable)?;
    send(api, call, Request::ClientEnable { client: named.id.clone() })?;
    api.change(call, vec![named.becomes(ClientStatus::EnablingInProgress)])?;
    Ok(Answer::empty(204))
}

/// A name of a client that is only here is kept and goes with its registration; for a registered one a request is sent.
pub(super) fn rename(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ClientName = call.json()?;
    let mut check = Check::new("clientNameDto");
    let name = check.required("clientName", asked.client_name, &[NO_CONTROL_CHARS, SIZE]);
    check.done()?;
    let named = Named::read(api, call)?;
    call.note("clientName", name.as_str());
    let client = named.client()?;
    let conf = api.valid_globalconf()?;
    if named.id.subsystem.is_none() || !with_names(&conf) {
        return Err(problems::not_possible());
    }
    let submitted = match client.status {
        ClientStatus::Saved => false,
        ClientStatus::Registered => {
            if client.pending_name.as_ref().is_some_and(|pending| pending.submitted) {
                return Err(Problem::conflict("client_rename_already_submitted"));
            }
            if subsystem_name(&conf, &named.id) == Some(name.as_str()) {
                return Err(Problem::conflict("invalid_client_name"));
            }
            send(api, call, Request::ClientRename { client: named.id.clone(), name: name.clone() })?;
            true
        }
        _ => return Err(problems::not_possible()),
    };
    let name = PendingName { name, submitted };
    api.change(call, vec![Event::SubsystemNameSet { client: named.id, name }])?;
    Ok(Answer::empty(204))
}
