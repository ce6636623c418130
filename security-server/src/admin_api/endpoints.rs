//! Endpoints of REST services: a method and a pattern of paths.
//!
//! Those that a service's description has, and the one that stands for the whole service, are generated: nobody changes or removes
//! them by hand.

use admin_api::check::Rule;
use admin_api::operation::{delete, get, patch, post};
use admin_api::types::security_server::services::{Endpoint as WireEndpoint, EndpointAdd, EndpointUpdate};
use admin_api::{Answer, Call, Check, Problem};
use proto::id::ClientId;

use super::services::{found, parsed, shown_endpoint};
use super::{Api, Rows};
use crate::serverconf::ServiceKind;
use crate::serverconf::event::{Endpoint, Event};
use crate::serverconf::path::MAX_PATTERN_BYTES;
use crate::serverconf::state::{EndpointState, State};

/// Of patterns of paths, which begin with a slash unless they are the whole service.
const PATH: [Rule; 2] = [
    Rule { name: "Size", holds: |path| (1..=MAX_PATTERN_BYTES).contains(&path.len()) },
    Rule { name: "Pattern", holds: |path| path.is_empty() || path.starts_with('/') || path == "**" },
];

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        post("addEndpoint", "/services/{id}/endpoints")
            .right("ADD_OPENAPI3_ENDPOINT")
            .audit("Add rest endpoint")
            .takes::<EndpointAdd>()
            .gives::<WireEndpoint>(201)
            .refuses(&[
                (400, "endpoint_id_should_not_be_provided"),
                (400, "wrong_servicedescription_type"),
                (404, "client_not_found"),
                (404, "service_not_found"),
                (409, "endpoint_already_exists"),
            ])
            .by(add),
        get("getEndpoint", "/endpoints/{id}")
            .right("VIEW_ENDPOINT")
            .gives::<WireEndpoint>(200)
            .refuses(&[(404, "endpoint_not_found"), (404, "id_not_a_number")])
            .by(one),
        patch("updateEndpoint", "/endpoints/{id}")
            .right("EDIT_OPENAPI3_ENDPOINT")
            .audit("Edit rest endpoint")
            .takes::<EndpointUpdate>()
            .gives::<WireEndpoint>(200)
            .refuses(&[
                (400, "illegal_generated_endpoint_update"),
                (404, "endpoint_not_found"),
                (409, "endpoint_already_exists"),
            ])
            .by(update),
        delete("deleteEndpoint", "/endpoints/{id}")
            .right("DELETE_ENDPOINT")
            .audit("Delete rest endpoint")
            .gives_nothing(204)
            .refuses(&[(400, "illegal_generated_endpoint_remove"), (404, "endpoint_not_found")])
            .by(remove),
    ]
}

/// An endpoint where it stands.
pub(super) struct Found<'a> {
    pub(super) client: &'a ClientId,
    pub(super) code: &'a String,
    pub(super) endpoint: &'a Endpoint,
    pub(super) held: &'a EndpointState,
}

/// The number in the path.
///
/// # Errors
/// 404 `id_not_a_number`.
pub(super) fn number(call: &Call) -> Result<u64, Problem> {
    call.path_number("id", "id_not_a_number")
}

/// The endpoint with a number.
///
/// # Errors
/// 404 `endpoint_not_found`.
pub(super) fn numbered(state: &State, number: u64) -> Result<Found<'_>, Problem> {
    let (client, code, endpoint, held) =
        state.endpoint(number).ok_or_else(|| Problem::missing("endpoint_not_found"))?;
    Ok(Found { client, code, endpoint, held })
}

impl Found<'_> {
    fn shown(&self) -> WireEndpoint {
        shown_endpoint(self.code, self.endpoint, self.held)
    }
    fn is_generated(&self) -> bool {
        self.held.generated || *self.endpoint == Endpoint::service_level()
    }
}

fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: EndpointAdd = call.json()?;
    let mut check = Check::new("endpointDto");
    check.present("serviceCode", asked.service_code);
    let method = check.present("method", asked.method);
    let path = check.required("path", asked.path, &PATH);
    check.done()?;
    if asked.id.is_some_and(|id| !id.is_empty()) {
        return Err(Problem::bad_request("endpoint_id_should_not_be_provided"));
    }
    let method = method.map(|method| method.name().to_owned()).unwrap_or_default();
    let (client, full) = parsed(call.path("id"))?;
    let endpoint = Endpoint { method, path };
    note(call, &client, &full, &endpoint);
    let code = api.change_with(call, |state| {
        let service = found(state, &client, &full)?;
        if service.description.kind == ServiceKind::Wsdl {
            return Err(Problem::bad_request("wrong_servicedescription_type"));
        }
        if service.known.endpoints.get(service.code).is_some_and(|all| all.contains_key(&endpoint)) {
            return Err(Problem::conflict("endpoint_already_exists"));
        }
        let (client, code, endpoint) = (client.clone(), service.code.clone(), endpoint.clone());
        Ok((vec![Event::EndpointAdded { client, code, endpoint, generated: false }], service.code.clone()))
    })?;
    let state = api.state();
    let added = found(&state, &client, &full)?.known.endpoints.get(&code).and_then(|all| all.get(&endpoint));
    let added = added.ok_or_else(|| Problem::internal("the endpoint is gone"))?;
    let location = format!("/endpoints/{}", added.id);
    Answer::created(&shown_endpoint(&code, &endpoint, added), &location)
}

fn note(call: &mut Call, client: &ClientId, code: &str, endpoint: &Endpoint) {
    call.note("clientIdentifier", client.encoded());
    call.note("serviceCode", code);
    call.note("method", endpoint.method.clone());
    call.note("path", endpoint.path.clone());
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&numbered(&api.state(), number(call)?)?.shown())
}

fn update(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: EndpointUpdate = call.json()?;
    let mut check = Check::new("endpointUpdateDto");
    let method = check.present("method", asked.method);
    let path = check.required("path", asked.path, &PATH);
    check.done()?;
    let number = number(call)?;
    let to = Endpoint { method: method.map(|method| method.name().to_owned()).unwrap_or_default(), path };
    let (client, code) = api.change_with(call, |state| {
        let present = numbered(state, number)?;
        if present.is_generated() {
            return Err(Problem::bad_request("illegal_generated_endpoint_update").with(number.to_string()));
        }
        let named = (present.client.clone(), present.code.clone());
        if *present.endpoint == to {
            return Ok((vec![], named));
        }
        if state.clients[present.client].endpoints[present.code].contains_key(&to) {
            return Err(Problem::conflict("endpoint_already_exists"));
        }
        let (client, code, endpoint) = (named.0.clone(), named.1.clone(), present.endpoint.clone());
        Ok((vec![Event::EndpointChanged { client, code, endpoint, to: to.clone() }], named))
    })?;
    note(call, &client, &code, &to);
    Answer::ok(&numbered(&api.state(), number)?.shown())
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let number = number(call)?;
    let (client, code, endpoint) = api.change_with(call, |state| {
        let present = numbered(state, number)?;
        if present.is_generated() {
            return Err(Problem::bad_request("illegal_generated_endpoint_remove").with(number.to_string()));
        }
        let (client, code, endpoint) =
            (present.client.clone(), present.code.clone(), present.endpoint.clone());
        let event =
            Event::EndpointRemoved { client: client.clone(), code: code.clone(), endpoint: endpoint.clone() };
        Ok((vec![event], (client, code, endpoint)))
    })?;
    note(call, &client, &code, &endpoint);
    Ok(Answer::empty(204))
}
