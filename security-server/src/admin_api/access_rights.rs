//! Who may call what: by service, by endpoint, and by subject.
//!
//! A right on a service is a right on the endpoint that stands for the whole of it, and belongs to the code, whatever the version. What
//! is asked for in one call is done as a whole or not at all.

use std::collections::BTreeMap;

use admin_api::operation::{get, post};
use admin_api::types::date;
use admin_api::types::security_server::services::{
    AccessRight, AccessRights, ServiceClient, ServiceClientType, ServiceClients,
};
use admin_api::{Answer, Call, Problem};
use proto::id::{ClientId, Subject};
use proto::time::UnixTime;
use serde_json::json;

use super::clients::{any_conf, contains, local};
use super::endpoints::{number, numbered};
use super::services::{found, parsed, titles};
use super::subjects::{self, Named, Shown};
use super::{Api, Rows, ids};
use crate::serverconf::event::{Endpoint, Event};
use crate::serverconf::state::{ClientState, State};

/// Rows of the table.
pub(super) fn rows() -> Rows {
    let mut rows = by_service();
    rows.extend(by_endpoint());
    rows.extend(by_subject());
    rows
}

fn by_service() -> Rows {
    vec![
        get("getServiceServiceClients", "/services/{id}/service-clients")
            .right("VIEW_SERVICE_ACL")
            .gives::<Vec<ServiceClient>>(200)
            .refuses(&[(404, "client_not_found"), (404, "service_not_found")])
            .by(of_service),
        post("addServiceServiceClients", "/services/{id}/service-clients")
            .right("EDIT_SERVICE_ACL")
            .audit("Add access rights to service")
            .takes::<ServiceClients>()
            .gives::<Vec<ServiceClient>>(200)
            .refuses(&[
                (400, "invalid_service_client_id"),
                (400, "missing_parameter"),
                (400, "service_client_not_found"),
                (404, "client_not_found"),
                (404, "service_not_found"),
                (409, "duplicate_accessright"),
            ])
            .by(grant_service),
        post("deleteServiceServiceClients", "/services/{id}/service-clients/delete")
            .right("EDIT_SERVICE_ACL")
            .audit("Remove access rights from service")
            .takes::<ServiceClients>()
            .gives_nothing(204)
            .refuses(&[
                (400, "invalid_service_client_id"),
                (400, "accessright_not_found"),
                (400, "service_client_not_found"),
                (404, "client_not_found"),
                (404, "service_not_found"),
            ])
            .by(withdraw_service),
    ]
}

fn by_endpoint() -> Rows {
    vec![
        get("getEndpointServiceClients", "/endpoints/{id}/service-clients")
            .right("VIEW_ENDPOINT_ACL")
            .gives::<Vec<ServiceClient>>(200)
            .refuses(&[(404, "endpoint_not_found")])
            .by(of_endpoint),
        post("addEndpointServiceClients", "/endpoints/{id}/service-clients")
            .right("EDIT_ENDPOINT_ACL")
            .audit("Add access rights to endpoint")
            .takes::<ServiceClients>()
            .gives::<Vec<ServiceClient>>(201)
            .refuses(&[
                (400, "invalid_service_client_id"),
                (400, "missing_parameter"),
                (400, "service_client_not_found"),
                (404, "endpoint_not_found"),
                (409, "duplicate_accessright"),
            ])
            .by(grant_endpoint),
        post("deleteEndpointServiceClients", "/endpoints/{id}/service-clients/delete")
            .right("EDIT_ENDPOINT_ACL")
            .audit("Remove access rights from endpoint")
            .takes::<ServiceClients>()
            .gives_nothing(204)
            .refuses(&[
                (400, "invalid_service_client_id"),
                (400, "service_client_not_found"),
                (404, "endpoint_not_found"),
                (404, "accessright_not_found"),
            ])
            .by(withdraw_endpoint),
    ]
}

fn by_subject() -> Rows {
    vec![
        get("getClientServiceClients", "/clients/{id}/service-clients")
            .right("VIEW_CLIENT_ACL_SUBJECTS")
            .gives::<Vec<ServiceClient>>(200)
            .refuses(&[(404, "client_not_found")])
            .by(subjects_of_client),
        get("findServiceClientCandidates", "/clients/{id}/service-client-candidates")
            .right("VIEW_CLIENT_ACL_SUBJECTS")
            .query(&[
                "member_name_group_description",
                "service_client_type",
                "instance",
                "member_class",
                "member_group_code",
                "subsystem_code",
            ])
            .gives::<Vec<ServiceClient>>(200)
            .refuses(&[(404, "client_not_found")])
            .by(candidates),
        get("getServiceClient", "/clients/{id}/service-clients/{sc_id}")
            .right("VIEW_CLIENT_ACL_SUBJECTS")
            .gives::<ServiceClient>(200)
            .refuses(&[
                (400, "invalid_service_client_id"),
                (404, "client_not_found"),
                (404, "service_client_not_found"),
            ])
            .by(one_subject),
        get("getServiceClientAccessRights", "/clients/{id}/service-clients/{sc_id}/access-rights")
            .right("VIEW_ACL_SUBJECT_OPEN_SERVICES")
            .gives::<Vec<AccessRight>>(200)
            .refuses(&[(404, "client_not_found"), (404, "service_client_not_found")])
            .by(rights_of_subject),
        post("addServiceClientAccessRights", "/clients/{id}/service-clients/{sc_id}/access-rights")
            .right("EDIT_ACL_SUBJECT_OPEN_SERVICES")
            .audit("Add access rights to subject")
            .takes::<AccessRights>()
            .gives::<Vec<AccessRight>>(201)
            .refuses(&[
                (400, "missing_parameter"),
                (400, "service_not_found"),
                (404, "client_not_found"),
                (404, "service_client_not_found"),
                (409, "duplicate_accessright"),
            ])
            .by(grant_subject),
        post("deleteServiceClientAccessRights", "/clients/{id}/service-clients/{sc_id}/access-rights/delete")
            .right("EDIT_ACL_SUBJECT_OPEN_SERVICES")
            .audit("Remove access rights from subject")
            .takes::<AccessRights>()
            .gives_nothing(204)
            .refuses(&[
                (400, "service_not_found"),
                (404, "client_not_found"),
                (404, "service_client_not_found"),
                (409, "accessright_not_found"),
            ])
            .by(withdraw_subject),
    ]
}

/// An endpoint of a client's service code.
#[derive(Clone, Debug)]
struct Place {
    client: ClientId,
    code: String,
    endpoint: Endpoint,
}

impl Place {
    fn holders<'a>(&self, state: &'a State) -> Option<&'a BTreeMap<Subject, UnixTime>> {
        let endpoints = state.clients.get(&self.client)?.endpoints.get(&self.code)?;
        endpoints.get(&self.endpoint).map(|endpoint| &endpoint.rights)
    }

    fn granted(&self, subject: &Subject) -> Event {
        let Self { client, code, endpoint } = self.clone();
        Event::RightGranted { client, code, endpoint, subject: subject.clone() }
    }

    fn revoked(&self, subject: &Subject) -> Event {
        let Self { client, code, endpoint } = self.clone();
        Event::RightRevoked { client, code, endpoint, subject: subject.clone() }
    }

    /// Everybody who may call it, in the order of lists.
    fn shown(&self, api: &Api) -> Result<Vec<ServiceClient>, Problem> {
        let (state, conf) = (api.state(), any_conf(api));
        let client = local(&state, &self.client)?;
        let holders = self.holders(&state).into_iter().flatten().map(|(subject, at)| (subject, Some(*at)));
        Ok(Shown::new(conf.as_deref()).all(client, holders))
    }

    fn note(&self, call: &mut Call, asked: &ServiceClients) {
        call.note("clientIdentifier", self.client.encoded());
        call.note("serviceCode", self.code.clone());
        if self.endpoint != Endpoint::service_level() {
            call.note("method", self.endpoint.method.clone());
            call.note("path", self.endpoint.path.clone());
        }
        let subjects: Vec<_> = asked.items.iter().filter_map(|item| item.id.as_deref()).collect();
        call.note("subjectIds", json!(subjects));
    }
}

/// The endpoint of the whole service in the path.
fn place_of_service(state: &State, call: &Call) -> Result<Place, Problem> {
    let (client, full) = parsed(call.path("id"))?;
    let code = found(state, &client, &full)?.code.clone();
    Ok(Place { client, code, endpoint: Endpoint::service_level() })
}

/// The endpoint with the number in the path.
fn place_of_endpoint(state: &State, call: &Call) -> Result<Place, Problem> {
    let found = numbered(state, number(call)?)?;
    let (client, code, endpoint) = (found.client.clone(), found.code.clone(), found.endpoint.clone());
    Ok(Place { client, code, endpoint })
}

type FindPlace = fn(&State, &Call) -> Result<Place, Problem>;

fn grant(api: &Api, call: &mut Call, place: FindPlace) -> Result<Vec<ServiceClient>, Problem> {
    let asked: ServiceClients = call.json()?;
    let wanted = subjects::all_parsed(&asked)?;
    let noted = place(&api.state(), call)?;
    noted.note(call, &asked);
    if wanted.is_empty() {
        return Err(Problem::bad_request("missing_parameter"));
    }
    let conf = api.globalconf()?;
    let place = api.change_with(call, |state| {
        let place = place(state, call)?;
        let mut events = Vec::new();
        for named in &wanted {
            let subject = named.existing(state, &place.client, &conf, Problem::bad_request)?;
            if place.holders(state).is_some_and(|holders| holders.contains_key(&subject)) {
                return Err(Problem::conflict("duplicate_accessright"));
            }
            events.push(place.granted(&subject));
        }
        Ok((events, place))
    })?;
    place.shown(api)
}

fn withdraw(
    api: &Api,
    call: &mut Call,
    place: FindPlace,
    missing: fn(&'static str) -> Problem,
) -> Result<Answer, Problem> {
    let asked: ServiceClients = call.json()?;
    let wanted = subjects::all_parsed(&asked)?;
    let noted = place(&api.state(), call)?;
    noted.note(call, &asked);
    api.change_with(call, |state| {
        let place = place(state, call)?;
        let holders = place.holders(state);
        let held = |subject: &Subject| holders.is_some_and(|holders| holders.contains_key(subject));
        let mut events = Vec::new();
        for named in &wanted {
            let subject = named.subject(state, &place.client);
            let subject = subject.ok_or_else(|| Problem::bad_request("service_client_not_found"))?;
            if !held(&subject) {
                return Err(missing("accessright_not_found"));
            }
            events.push(place.revoked(&subject));
        }
        Ok((events, ()))
    })?;
    Ok(Answer::empty(204))
}

fn of_service(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&place_of_service(&api.state(), call)?.shown(api)?)
}

fn grant_service(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&grant(api, call, place_of_service)?)
}

fn withdraw_service(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    withdraw(api, call, place_of_service, Problem::bad_request)
}

fn of_endpoint(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&place_of_endpoint(&api.state(), call)?.shown(api)?)
}

fn grant_endpoint(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::json(201, &grant(api, call, place_of_endpoint)?)
}

fn withdraw_endpoint(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    withdraw(api, call, place_of_endpoint, Problem::missing)
}

/// Rights on whole services of a client: code, subject, since when.
fn service_rights(client: &ClientState) -> impl Iterator<Item = (&str, &Subject, UnixTime)> {
    let base = Endpoint::service_level();
    let whole = client.endpoints.iter().filter_map(move |(code, all)| Some((code, all.get(&base)?)));
    whole.flat_map(|(code, held)| held.rights.iter().map(|(subject, at)| (code.as_str(), subject, *at)))
}

/// Subjects with a right on a whole service, since the first of them.
fn subjects_since(client: &ClientState) -> BTreeMap<&Subject, UnixTime> {
    let mut all: BTreeMap<&Subject, UnixTime> = BTreeMap::new();
    for (_, subject, at) in service_rights(client) {
        let since = all.entry(subject).or_insert(at);
        *since = (*since).min(at);
    }
    all
}

fn subjects_of_client(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let id = ids::client(call.path("id"))?;
    let (state, conf) = (api.state(), any_conf(api));
    let client = local(&state, &id)?;
    let subjects = subjects_since(client).into_iter().map(|(subject, at)| (subject, Some(at)));
    Answer::ok(&Shown::new(conf.as_deref()).all(client, subjects))
}

fn kind_asked_for(call: &Call) -> Result<Option<ServiceClientType>, Problem> {
    let Some(text) = call.query("service_client_type") else { return Ok(None) };
    let kind = serde_json::from_value(json!(text));
    kind.map(Some)
        .map_err(|_| Problem::invalid("service_client_type", format!("{text} is no type of subjects")))
}

fn candidates(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let id = ids::client(call.path("id"))?;
    let kind = kind_asked_for(call)?;
    let (state, conf) = (api.state(), any_conf(api));
    let client = local(&state, &id)?;
    let shown = Shown::new(conf.as_deref());
    let all = shown.candidates(client);
    let matching = all.iter().filter(|subject| {
        let (instance, class, code, subsystem) = match subject {
            Subject::Client(id) => {
                let member = &id.member;
                (Some(&member.instance), Some(&member.class), &member.code, id.subsystem.as_ref())
            }
            Subject::GlobalGroup(group) => (Some(&group.instance), None, &group.code, None),
            Subject::LocalGroup(code) => (None, None, code, None),
        };
        let equal = |name, value: Option<&String>, without| {
            call.query(name)
                .is_none_or(|wanted| value.map_or(without, |value| value.eq_ignore_ascii_case(wanted)))
        };
        let part = |name, value: Option<&String>| {
            call.query(name).is_none_or(|wanted| value.is_some_and(|value| contains(value, wanted)))
        };
        equal("instance", instance, true)
            && equal("member_class", class, false)
            && part("member_group_code", Some(code))
            && part("subsystem_code", subsystem)
    });
    let mut found = shown.all(client, matching.map(|subject| (subject, None)));
    found.retain(|each| kind.is_none_or(|kind| kind == each.service_client_type));
    if let Some(wanted) = call.query("member_name_group_description") {
        let member = |each: &ServiceClient| {
            let id = ClientId::parse_encoded(&each.id).ok();
            id.and_then(|id| shown.names.member(&id)).is_some_and(|name| contains(name, wanted))
        };
        found.retain(|each| each.name.as_deref().is_some_and(|name| contains(name, wanted)) || member(each));
    }
    Answer::ok(&found)
}

/// Client and subject in the path.
fn named(call: &Call) -> Result<(ClientId, Named), Problem> {
    Ok((ids::client(call.path("id"))?, subjects::parsed(call.path("sc_id"))?))
}

fn unknown_subject() -> Problem {
    Problem::missing("service_client_not_found")
}

/// The subject in the path, which has a right on a whole service.
fn with_rights<'a>(state: &'a State, call: &Call) -> Result<(&'a ClientState, Subject, UnixTime), Problem> {
    let (id, named) = named(call)?;
    let client = local(state, &id)?;
    let subject = named.subject(state, &id).ok_or_else(unknown_subject)?;
    let since = subjects_since(client).get(&subject).copied().ok_or_else(unknown_subject)?;
    Ok((client, subject, since))
}

fn one_subject(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (state, conf) = (api.state(), any_conf(api));
    let (client, subject, since) = with_rights(&state, call)?;
    let shown = Shown::new(conf.as_deref()).subject(client, &subject, Some(since));
    Answer::ok(&shown.ok_or_else(unknown_subject)?)
}

/// The rights of a subject on whole services.
fn shown_rights(client: &ClientState, subject: &Subject) -> Vec<AccessRight> {
    let titles = titles(client);
    let own = service_rights(client).filter(|(_, holder, _)| *holder == subject);
    let right = |(code, _, at): (&str, &Subject, UnixTime)| AccessRight {
        service_code: code.to_owned(),
        service_title: titles.get(code).copied().flatten().map(str::to_owned),
        rights_given_at: date(at),
    };
    own.map(right).collect()
}

fn rights_of_subject(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let (client, subject, _) = with_rights(&state, call)?;
    Answer::ok(&shown_rights(client, &subject))
}

/// Codes in a body, each once.
fn codes(call: &mut Call) -> Result<Vec<String>, Problem> {
    let asked: AccessRights = call.json()?;
    let mut codes: Vec<String> = Vec::new();
    for code in asked.items.into_iter().filter_map(|item| item.service_code) {
        if !codes.contains(&code.0) {
            codes.push(code.0);
        }
    }
    let (client, subject) = (call.path("id").to_owned(), call.path("sc_id").to_owned());
    call.note("clientIdentifier", client);
    call.note("subjectId", subject);
    call.note("serviceCodes", json!(codes));
    Ok(codes)
}

/// The whole services of these codes.
fn places(client: &ClientState, id: &ClientId, codes: &[String]) -> Result<Vec<Place>, Problem> {
    let place = |code: &String| {
        if !client.has_code(code) {
            return Err(Problem::bad_request("service_not_found"));
        }
        Ok(Place { client: id.clone(), code: code.clone(), endpoint: Endpoint::service_level() })
    };
    codes.iter().map(place).collect()
}

fn grant_subject(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let codes = codes(call)?;
    let (id, named) = named(call)?;
    local(&api.state(), &id)?;
    if codes.is_empty() {
        return Err(Problem::bad_request("missing_parameter"));
    }
    let conf = api.globalconf()?;
    let subject = api.change_with(call, |state| {
        let client = local(state, &id)?;
        let subject = named.existing(state, &id, &conf, Problem::missing)?;
        let mut events = Vec::new();
        for place in places(client, &id, &codes)? {
            if place.holders(state).is_some_and(|holders| holders.contains_key(&subject)) {
                return Err(Problem::conflict("duplicate_accessright"));
            }
            events.push(place.granted(&subject));
        }
        Ok((events, subject))
    })?;
    let state = api.state();
    let mut added = shown_rights(local(&state, &id)?, &subject);
    added.retain(|right| codes.contains(&right.service_code));
    Answer::json(201, &added)
}

/// Rights on endpoints of these services go with those on the services.
fn withdraw_subject(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let codes = codes(call)?;
    let (id, named) = named(call)?;
    api.change_with(call, |state| {
        let client = local(state, &id)?;
        let subject = named.subject(state, &id).ok_or_else(unknown_subject)?;
        let mut events = Vec::new();
        for place in places(client, &id, &codes)? {
            if !place.holders(state).is_some_and(|holders| holders.contains_key(&subject)) {
                return Err(Problem::conflict("accessright_not_found"));
            }
            let endpoints = client.endpoints.get(&place.code).into_iter().flatten();
            for (endpoint, _) in endpoints.filter(|(_, held)| held.rights.contains_key(&subject)) {
                events.push(Place { endpoint: endpoint.clone(), ..place.clone() }.revoked(&subject));
            }
        }
        Ok((events, ()))
    })?;
    Ok(Answer::empty(204))
}
