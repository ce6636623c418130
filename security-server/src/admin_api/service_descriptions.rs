//! Service descriptions: a WSDL, an OpenAPI description or the address of a REST service, and what is offered by it.
//!
//! A description is read before anything is decided, since that takes time; what is decided looks at the configuration as it is then. A
//! new one is disabled. What changes one that is there, or reads it again, is in [`super::description_changes`].

use admin_api::check::{MAX_SIZE, SIZE};
use admin_api::operation::{delete, get, patch, post, put};
use admin_api::problem::Warning;
use admin_api::types::date;
use admin_api::types::security_server::services::{
    IgnoreWarnings, Service, ServiceDescription, ServiceDescriptionAdd, ServiceDescriptionDisabledNotice,
    ServiceDescriptionUpdate, ServiceType,
};
use admin_api::{Answer, Call, Check, Problem};
use proto::id::ClientId;

use super::clients::{CODE, local, local_named};
use super::services::{Found, checked_url, is_https, shown};
use super::{Api, Rows, description_changes, ids, wait_for};
use crate::service_description::Unfit;
use crate::service_description::download::DownloadError;
use crate::service_description::openapi::{self, OpenApi};
use crate::service_description::wsdl::{self, Wsdl, WsdlService, full_code};

use crate::serverconf::ServiceKind;
use crate::serverconf::decide::RESERVED_SERVICE_CODES;
use crate::serverconf::event::{Endpoint, Event, ServiceSettings};
use crate::serverconf::state::{ClientState, Description, State};

/// Of a new service, seconds.
const TIMEOUT_SECONDS: u32 = 60;
/// Of a new description.
const NOTICE: &str = "Out of order";

/// Rows of the table.
pub(super) fn rows() -> Rows {
    let mut rows = changing();
    rows.extend([
        get("getClientServiceDescriptions", "/clients/{id}/service-descriptions")
            .right("VIEW_CLIENT_SERVICES")
            .gives::<Vec<ServiceDescription>>(200)
            .refuses(&[(404, "client_not_found")])
            .by(of_client),
        get("getServiceDescription", "/service-descriptions/{id}")
            .right("VIEW_CLIENT_SERVICES")
            .gives::<ServiceDescription>(200)
            .refuses(&[(404, "service_description_not_found")])
            .by(one),
        get("getServiceDescriptionServices", "/service-descriptions/{id}/services")
            .right("VIEW_CLIENT_SERVICES")
            .gives::<Vec<Service>>(200)
            .refuses(&[(404, "service_description_not_found")])
            .by(services_of),
    ]);
    rows
}

/// What a new description is refused with.
const ADD_REFUSALS: &[(u16, &str)] = &[
    (400, "malformed_url"),
    (400, "missing_parameter"),
    (400, "wsdl_download_failed"),
    (400, "invalid_wsdl"),
    (400, "invalid_wsdl_service_identifier"),
    (400, "invalid_service_url"),
    (400, "openapi_parsing_error"),
    (400, "unsupported_openapi_version"),
    (400, "service_code_reserved"),
    (400, "warnings_detected"),
    (404, "client_not_found"),
    (409, "wsdl_exists"),
    (409, "url_already_exists"),
    (409, "service_already_exists"),
    (409, "service_code_already_exists"),
];
/// What another address or code is refused with.
const UPDATE_REFUSALS: &[(u16, &str)] = &[
    (400, "malformed_url"),
    (400, "missing_parameter"),
    (400, "wsdl_download_failed"),
    (400, "invalid_wsdl"),
    (400, "invalid_wsdl_service_identifier"),
    (400, "invalid_service_url"),
    (400, "openapi_parsing_error"),
    (400, "unsupported_openapi_version"),
    (400, "service_code_reserved"),
    (400, "warnings_detected"),
    (400, "wrong_servicedescription_type"),
    (404, "service_description_not_found"),
    (404, "service_not_found"),
    (409, "wsdl_exists"),
    (409, "url_already_exists"),
    (409, "service_already_exists"),
    (409, "service_code_already_exists"),
];
/// What reading a document once more is refused with.
const REFRESH_REFUSALS: &[(u16, &str)] = &[
    (400, "wsdl_download_failed"),
    (400, "invalid_wsdl"),
    (400, "invalid_wsdl_service_identifier"),
    (400, "invalid_service_url"),
    (400, "openapi_parsing_error"),
    (400, "unsupported_openapi_version"),
    (400, "service_code_reserved"),
    (400, "warnings_detected"),
    (404, "service_description_not_found"),
    (409, "service_already_exists"),
];

fn changing() -> Rows {
    vec![
        post("addClientServiceDescription", "/clients/{id}/service-descriptions")
            .right("ADD_WSDL")
            .right("ADD_OPENAPI3")
            .audit("Add service description")
            .takes::<ServiceDescriptionAdd>()
            .gives::<ServiceDescription>(201)
            .refuses(ADD_REFUSALS)
            .by(add),
        patch("updateServiceDescription", "/service-descriptions/{id}")
            .right("EDIT_WSDL")
            .right("EDIT_REST")
            .audit("Edit service description")
            .takes::<ServiceDescriptionUpdate>()
            .gives::<ServiceDescription>(200)
            .refuses(UPDATE_REFUSALS)
            .by(description_changes::update),
        put("refreshServiceDescription", "/service-descriptions/{id}/refresh")
            .right("REFRESH_WSDL")
            .right("REFRESH_REST")
            .audit("Refresh service description")
            .may_take::<IgnoreWarnings>()
            .gives::<ServiceDescription>(200)
            .refuses(REFRESH_REFUSALS)
            .by(description_changes::refresh),
        delete("deleteServiceDescription", "/service-descriptions/{id}")
            .right("DELETE_WSDL")
            .audit("Delete service description")
            .gives_nothing(204)
            .refuses(&[(404, "service_description_not_found")])
            .by(remove),
        put("enableServiceDescription", "/service-descriptions/{id}/enable")
            .right("ENABLE_DISABLE_WSDL")
            .audit("Enable service description")
            .gives_nothing(200)
            .refuses(&[(404, "service_description_not_found")])
            .by(enable),
        put("disableServiceDescription", "/service-descriptions/{id}/disable")
            .right("ENABLE_DISABLE_WSDL")
            .audit("Disable service description")
            .may_take::<ServiceDescriptionDisabledNotice>()
            .gives_nothing(200)
            .refuses(&[(404, "service_description_not_found")])
            .by(disable),
    ]
}

/// As the API writes it.
pub(super) fn written(kind: ServiceKind) -> ServiceType {
    match kind {
        ServiceKind::Wsdl => ServiceType::Wsdl,
        ServiceKind::Rest => ServiceType::Rest,
        ServiceKind::OpenApi3 => ServiceType::OpenApi3,
    }
}

/// As it is stored.
pub(super) fn read(kind: ServiceType) -> ServiceKind {
    match kind {
        ServiceType::Wsdl => ServiceKind::Wsdl,
        ServiceType::Rest => ServiceKind::Rest,
        ServiceType::OpenApi3 => ServiceKind::OpenApi3,
    }
}

fn services(client: &ClientId, known: &ClientState, url: &String, description: &Description) -> Vec<Service> {
    let all = description.services.iter().map(|((code, version), settings)| {
        shown(client, Found { known, url, description, code, version, settings })
    });
    all.collect()
}

fn shown_description(
    client: &ClientId,
    known: &ClientState,
    url: &String,
    description: &Description,
) -> ServiceDescription {
    ServiceDescription {
        id: description.id.to_string(),
        url: url.clone(),
        r#type: written(description.kind),
        disabled: description.disabled.is_some(),
        disabled_notice: description.notice.clone().unwrap_or_default(),
        refreshed_at: date(description.refreshed_at),
        services: services(client, known, url, description),
        client_id: client.encoded(),
    }
}

/// The number in the path.
pub(super) fn number(call: &Call) -> Result<u64, Problem> {
    call.path_number("id", "id_not_a_number")
}

type Numbered<'a> = (&'a ClientId, &'a ClientState, &'a String, &'a Description);

/// The description with a number.
///
/// # Errors
/// 404 `service_description_not_found`.
pub(super) fn numbered(state: &State, number: u64) -> Result<Numbered<'_>, Problem> {
    state.description(number).ok_or_else(|| Problem::missing("service_description_not_found"))
}

/// The description with a number as it is now.
pub(super) fn answer(api: &Api, number: u64) -> Result<ServiceDescription, Problem> {
    let state = api.state();
    let (client, known, url, description) = numbered(&state, number)?;
    Ok(shown_description(client, known, url, description))
}

/// For the audit log.
pub(super) fn note(call: &mut Call, client: &ClientId, url: &str, kind: ServiceKind) {
    call.note("clientIdentifier", client.encoded());
    call.note("url", url);
    call.note("serviceType", serde_json::to_value(kind).unwrap_or_default());
}

fn of_client(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    let state = api.state();
    let known = local_named(&state, &client)?;
    let mut all: Vec<_> = known.descriptions.iter().collect();
    all.sort_by_key(|(_, description)| description.id);
    let all = all.into_iter().map(|(url, description)| shown_description(&client, known, url, description));
    Answer::ok(&all.collect::<Vec<_>>())
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&answer(api, number(call)?)?)
}

fn services_of(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let number = number(call)?;
    let state = api.state();
    let (client, known, url, description) = numbered(&state, number)?;
    Answer::ok(&services(client, known, url, description))
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let number = number(call)?;
    let (client, url, kind) = api.change_with(call, |state| {
        let (client, _, url, description) = numbered(state, number)?;
        let event = Event::DescriptionRemoved { client: client.clone(), url: url.clone() };
        Ok((vec![event], (client.clone(), url.clone(), description.kind)))
    })?;
    note(call, &client, &url, kind);
    Ok(Answer::empty(204))
}

fn switch(api: &Api, call: &mut Call, disabled: Option<String>) -> Result<Answer, Problem> {
    let number = number(call)?;
    let (client, url, kind) = api.change_with(call, |state| {
        let (client, _, url, description) = numbered(state, number)?;
        let (client, url) = (client.clone(), url.clone());
        let event = Event::DescriptionSwitched {
            client: client.clone(),
            url: url.clone(),
            disabled: disabled.clone(),
        };
        let changes = description.disabled != disabled;
        Ok((changes.then_some(event).into_iter().collect(), (client, url, description.kind)))
    })?;
    note(call, &client, &url, kind);
    if let Some(notice) = disabled {
        call.note("disabledNotice", notice);
    }
    Ok(Answer::empty(200))
}

fn enable(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    switch(api, call, None)
}

fn disable(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ServiceDescriptionDisabledNotice = call.json()?;
    let mut check = Check::new("serviceDescriptionDisabledNoticeDto");
    let notice = check.optional("disabledNotice", asked.disabled_notice, &[MAX_SIZE]);
    check.done()?;
    switch(api, call, Some(notice.unwrap_or_default()))
}

/// The WSDL at an address, with names that identifiers can hold.
///
/// # Errors
/// 400 with what is wrong with it.
pub(super) fn fetch_wsdl(api: &Api, url: &str) -> Result<Wsdl, Problem> {
    let bytes =
        wait_for(api.foundation.descriptions.fetch(&api.foundation.internal_tls, url)).map_err(|error| {
            match error {
                DownloadError::TooLarge(_) => {
                    unfit(Unfit::Wsdl(vec![format!("Error reading WSDL: {error}")]))
                }
                other => unfit(Unfit::WsdlDownload(other.to_string())),
            }
        })?;
    let wsdl = wsdl::read(&bytes).map_err(|error| unfit(error.into()))?;
    wsdl.check_identifiers().map_err(unfit)?;
    Ok(wsdl)
}

/// The OpenAPI description at an address.
///
/// # Errors
/// 400 with what is wrong with it.
pub(super) fn fetch_openapi(api: &Api, url: &str) -> Result<OpenApi, Problem> {
    let fetched = wait_for(api.foundation.descriptions.fetch(&api.foundation.internal_tls, url));
    let bytes = fetched.map_err(|error| {
        let what = match &error {
            DownloadError::Status(_) => url.to_owned(),
            other => other.to_string(),
        };
        unfit(Unfit::OpenApi(format!("Error reading OpenAPI description: {what}"))).because(error.to_string())
    })?;
    openapi::read(&bytes, url).map_err(|error| unfit(error.into()))
}

/// The answer to a document that cannot be used.
pub(super) fn unfit(unfit: Unfit) -> Problem {
    let problem = Problem::bad_request(unfit.code()).because(unfit.to_string());
    unfit.metadata().into_iter().fold(problem, Problem::with)
}

/// A code that servers do not answer themselves.
///
/// # Errors
/// 400 `service_code_reserved`.
pub(super) fn check_reserved<'a>(mut codes: impl Iterator<Item = &'a str>) -> Result<(), Problem> {
    match codes.find(|code| RESERVED_SERVICE_CODES.contains(code)) {
        Some(code) => Err(Problem::bad_request("service_code_reserved").with(code)),
        None => Ok(()),
    }
}

/// Services of a client that stand in another description than number `but`, with that description's address and kind.
fn other_services(
    known: &ClientState,
    but: Option<u64>,
) -> impl Iterator<Item = (&str, String, &str, ServiceKind)> {
    let others = known.descriptions.iter().filter(move |(_, description)| Some(description.id) != but);
    others.flat_map(|(url, description)| {
        description.services.keys().map(move |(code, version)| {
            (code.as_str(), full_code(code, version.as_deref()), url.as_str(), description.kind)
        })
    })
}

/// No other description offers these operations; a code that stands for a REST service is taken with all versions.
///
/// # Errors
/// 409 `service_already_exists` with every service that is in the way.
pub(super) fn check_operations(known: &ClientState, wsdl: &Wsdl, but: Option<u64>) -> Result<(), Problem> {
    let mut problem = Problem::conflict("service_already_exists");
    for (code, full, url, kind) in other_services(known, but) {
        let clashes = |new: &WsdlService| {
            new.full_code().eq_ignore_ascii_case(&full) || (kind != ServiceKind::Wsdl && new.code == code)
        };
        if wsdl.services.iter().any(clashes) {
            problem = problem.with(full).with(url);
        }
    }
    if problem.metadata.is_empty() { Ok(()) } else { Err(problem) }
}

/// No other description offers a service with this code.
///
/// # Errors
/// 409 `service_code_already_exists` with the code and the address of the description that wants it.
pub(super) fn check_code(
    known: &ClientState,
    code: &str,
    url: &str,
    but: Option<u64>,
) -> Result<(), Problem> {
    if other_services(known, but).any(|(other, ..)| other.eq_ignore_ascii_case(code)) {
        return Err(Problem::conflict("service_code_already_exists").with(code).with(url));
    }
    Ok(())
}

/// No other description is at this address.
///
/// # Errors
/// 409 `wsdl_exists` for a WSDL, `url_already_exists` with the address for others.
pub(super) fn check_place(
    known: &ClientState,
    url: &str,
    kind: ServiceKind,
    but: Option<u64>,
) -> Result<(), Problem> {
    let mut others = known.descriptions.iter().filter(|(_, description)| Some(description.id) != but);
    let taken = others.any(|(other, _)| match kind {
        ServiceKind::Wsdl => other.eq_ignore_ascii_case(url),
        ServiceKind::Rest | ServiceKind::OpenApi3 => other == url,
    });
    match (taken, kind) {
        (false, _) => Ok(()),
        (true, ServiceKind::Wsdl) => Err(Problem::conflict("wsdl_exists")),
        (true, _) => Err(Problem::conflict("url_already_exists").with(url)),
    }
}

/// Remarks as a warning to accept.
pub(super) fn remarks(code: &str, remarks: &[String]) -> Vec<Warning> {
    let warning = Warning { code: code.to_owned(), metadata: remarks.to_vec() };
    (!remarks.is_empty()).then_some(warning).into_iter().collect()
}

/// How a new service is called.
pub(super) fn new_settings(url: &str, title: Option<String>) -> ServiceSettings {
    ServiceSettings {
        url: url.to_owned(),
        timeout_seconds: TIMEOUT_SECONDS,
        verify_tls: is_https(url),
        title,
    }
}

/// A description as it is asked for, read where it is read from.
enum New {
    Wsdl(Wsdl),
    OpenApi(String, OpenApi),
    Rest(String),
}

impl New {
    fn read(api: &Api, kind: ServiceKind, url: &str, code: Option<String>) -> Result<Self, Problem> {
        let code = code.ok_or_else(|| Problem::bad_request("missing_parameter"));
        match kind {
            ServiceKind::Wsdl => fetch_wsdl(api, url).map(Self::Wsdl),
            ServiceKind::OpenApi3 => {
                let code = code?;
                let read = fetch_openapi(api, url)?;
                check_reserved([code.as_str()].into_iter())?;
                Ok(Self::OpenApi(code, read))
            }
            ServiceKind::Rest => {
                let code = code?;
                check_reserved([code.as_str()].into_iter())?;
                Ok(Self::Rest(code))
            }
        }
    }

    /// Refuses what the configuration has no room for, or what an administrator has not accepted.
    fn check(&self, call: &Call, known: &ClientState, url: &str, ignore: bool) -> Result<(), Problem> {
        match self {
            Self::Wsdl(wsdl) => {
                check_place(known, url, ServiceKind::Wsdl, None)?;
                check_operations(known, wsdl, None)?;
                wsdl.check_faults().map_err(unfit)?;
                check_reserved(wsdl.services.iter().map(|service| service.code.as_str()))?;
                wsdl.check_urls().map_err(unfit)?;
                call.accept(remarks("wsdl_validation_warnings", &wsdl.remarks), ignore)
            }
            Self::OpenApi(code, read) => {
                call.accept(remarks("openapi_validation_warnings", &read.remarks), ignore)?;
                check_place(known, url, ServiceKind::OpenApi3, None)?;
                check_code(known, code, url, None)
            }
            Self::Rest(code) => {
                check_code(known, code, url, None)?;
                check_place(known, url, ServiceKind::Rest, None)
            }
        }
    }

    fn events(&self, client: &ClientId, url: &str, kind: ServiceKind) -> Vec<Event> {
        let disabled = Some(NOTICE.to_owned());
        let mut events =
            vec![Event::DescriptionAdded { client: client.clone(), url: url.to_owned(), kind, disabled }];
        let service = |code: &String, version: Option<String>, settings| Event::ServiceAdded {
            client: client.clone(),
            description: url.to_owned(),
            code: code.clone(),
            version,
            settings,
        };
        match self {
            Self::Wsdl(wsdl) => events.extend(wsdl.services.iter().map(|new| {
                service(&new.code, new.version.clone(), new_settings(&new.url, new.title.clone()))
            })),
            Self::Rest(code) => events.push(service(code, None, new_settings(url, None))),
            Self::OpenApi(code, read) => {
                events.push(service(code, None, new_settings(&read.base_url, None)));
                events.extend(generated(read).map(|endpoint| {
                    let (client, code) = (client.clone(), code.clone());
                    Event::EndpointAdded { client, code, endpoint, generated: true }
                }));
            }
        }
        events
    }
}

/// Endpoints of a document.
pub(super) fn generated(read: &OpenApi) -> impl Iterator<Item = Endpoint> {
    read.operations.iter().map(|(method, path)| Endpoint { method: method.clone(), path: path.clone() })
}

fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ServiceDescriptionAdd = call.json()?;
    let ignore = asked.ignore_warnings.is_some_and(|flag| flag.0);
    let mut check = Check::new("serviceDescriptionAddDto");
    let url = check.required("url", asked.url, &[SIZE]);
    let code = asked.rest_service_code.filter(|code| !code.is_empty());
    let code = check.optional("restServiceCode", code, &CODE);
    let kind = check.present("type", asked.r#type).map(read);
    check.done()?;
    let Some(kind) = kind else { return Err(Problem::status(400)) };
    let client = ids::client(call.path("id"))?;
    note(call, &client, &url, kind);
    // Whoever is not there has nothing read for him; what is there already need not be read.
    let state = api.state();
    let known = local(&state, &client)?;
    checked_url(&url)?;
    if kind == ServiceKind::Wsdl {
        check_place(known, &url, kind, None)?;
    }
    let new = New::read(api, kind, &url, code)?;
    api.change_with(call, |state| {
        new.check(call, local(state, &client)?, &url, ignore)?;
        Ok((new.events(&client, &url, kind), ()))
    })?;
    let state = api.state();
    let known = local(&state, &client)?;
    let added = known.descriptions.get(&url).ok_or_else(|| Problem::internal("the description is gone"))?;
    call.note("disabled", true);
    call.note("refreshedDate", date(added.refreshed_at));
    let location = format!("/service-descriptions/{}", added.id);
    Answer::created(&shown_description(&client, known, &url, added), &location)
}
