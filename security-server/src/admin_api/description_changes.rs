//! Service descriptions that change: another address or code, or another document at the same address.
//!
//! A document is read again, and what it says now is compared with what was there: an administrator is told which services or endpoints
//! come and go, and accepts it or not. What stays keeps its settings, number and rights. The events for all of it are planned here and
//! recorded together.

use std::collections::BTreeSet;

use admin_api::check::SIZE;
use admin_api::problem::Warning;
use admin_api::types::security_server::services::{IgnoreWarnings, ServiceDescriptionUpdate};
use admin_api::{Answer, Call, Check, Problem};
use proto::id::ClientId;
use serde_json::json;

use super::Api;
use super::clients::CODE;
use super::service_descriptions::{
    answer, check_code, check_operations, check_place, check_reserved, fetch_openapi, fetch_wsdl, generated,
    new_settings, note, number, numbered, read, remarks, unfit,
};
use super::services::checked_url;
use crate::serverconf::ServiceKind;
use crate::serverconf::event::{Endpoint, Event, ServiceSettings, endpoint_text};
use crate::serverconf::state::{ClientState, Description};
use crate::service_description::openapi::OpenApi;
use crate::service_description::wsdl::{Wsdl, full_code};

/// A description and what is to become of it.
struct Change<'a> {
    client: &'a ClientId,
    known: &'a ClientState,
    /// Where it is.
    url: &'a String,
    description: &'a Description,
    /// Where it will be.
    to: &'a str,
}

/// Events, and what an administrator has to accept before.
type Plan = (Vec<Event>, Vec<Warning>);

impl Change<'_> {
    /// It moves where it is asked to; from then on it is at the new address.
    fn moved(&self) -> Vec<Event> {
        let (client, url, to) = (self.client.clone(), self.url.clone(), self.to.to_owned());
        let refreshed = Event::DescriptionRefreshed { client: client.clone(), url: to.clone() };
        let moved = Event::DescriptionMoved { client, url, to };
        if self.url == self.to { vec![refreshed] } else { vec![moved, refreshed] }
    }

    /// The one service of a REST or OpenAPI description.
    fn service(&self) -> Result<(&String, &ServiceSettings), Problem> {
        let first = self.description.services.iter().next();
        let first = first.map(|((code, _), settings)| (code, settings));
        first.ok_or_else(|| Problem::internal("the description has no service"))
    }

    fn check_free(&self) -> Result<(), Problem> {
        check_place(self.known, self.to, self.description.kind, Some(self.description.id))
    }

    /// The service of a REST or OpenAPI description gets another code.
    fn renamed(&self, present: &str, code: &str) -> Result<Vec<Event>, Problem> {
        if code == present {
            return Ok(Vec::new());
        }
        check_reserved([code].into_iter())?;
        check_code(self.known, code, self.to, Some(self.description.id))?;
        let (client, code, to) = (self.client.clone(), present.to_owned(), code.to_owned());
        Ok(vec![Event::ServiceRenamed { client, code, version: None, to }])
    }

    fn rest(&self, code: &str) -> Result<Plan, Problem> {
        self.check_free()?;
        let (present, settings) = self.service()?;
        let mut events = self.moved();
        if settings.url != self.to {
            let settings = ServiceSettings { url: self.to.to_owned(), ..settings.clone() };
            let (client, code) = (self.client.clone(), present.clone());
            events.push(Event::ServiceChanged { client, code, version: None, settings });
        }
        events.extend(self.renamed(present, code)?);
        Ok((events, Vec::new()))
    }

    fn openapi(&self, code: &str, document: &OpenApi) -> Result<Plan, Problem> {
        self.check_free()?;
        let (present, _) = self.service()?;
        let base = Endpoint::service_level();
        let wanted: BTreeSet<Endpoint> = generated(document).collect();
        let there = self.known.endpoints.get(present);
        let there = || there.into_iter().flatten().filter(|(endpoint, _)| **endpoint != base);
        let gone: Vec<&Endpoint> = there()
            .filter(|(endpoint, state)| state.generated && !wanted.contains(*endpoint))
            .map(|(endpoint, _)| endpoint)
            .collect();
        let adopted = there().filter(|(endpoint, state)| !state.generated && wanted.contains(*endpoint));
        let come =
            || wanted.iter().filter(|new| **new != base && there().all(|(endpoint, _)| endpoint != *new));

        let mut warnings = remarks("openapi_validation_warnings", &document.remarks);
        warnings.extend(remarks("adding_endpoints", &come().map(endpoint_text).collect::<Vec<_>>()));
        warnings.extend(remarks(
            "deleting_endpoints",
            &gone.iter().map(|e| endpoint_text(e)).collect::<Vec<_>>(),
        ));

        let (client, service) = (|| self.client.clone(), || present.clone());
        let mut events = self.moved();
        events.extend(gone.into_iter().map(|endpoint| {
            let endpoint = endpoint.clone();
            Event::EndpointRemoved { client: client(), code: service(), endpoint }
        }));
        events.extend(adopted.map(|(endpoint, _)| {
            let endpoint = endpoint.clone();
            Event::EndpointAdopted { client: client(), code: service(), endpoint }
        }));
        events.extend(come().map(|endpoint| {
            let endpoint = endpoint.clone();
            Event::EndpointAdded { client: client(), code: service(), endpoint, generated: true }
        }));
        events.extend(self.renamed(present, code)?);
        Ok((events, warnings))
    }

    fn wsdl(&self, document: &Wsdl) -> Result<Plan, Problem> {
        self.check_free()?;
        check_operations(self.known, document, Some(self.description.id))?;
        document.check_faults().map_err(unfit)?;
        check_reserved(document.services.iter().map(|service| service.code.as_str()))?;
        let key = |code: &String, version: &Option<String>| (code.clone(), version.clone());
        let present = &self.description.services;
        let wanted: BTreeSet<_> = document.services.iter().map(|new| key(&new.code, &new.version)).collect();
        let come: Vec<_> = document
            .services
            .iter()
            .filter(|new| !present.contains_key(&key(&new.code, &new.version)))
            .collect();
        let gone: Vec<_> = present.keys().filter(|service| !wanted.contains(*service)).collect();
        // What stays keeps its address, so only those of new ones matter.
        let added = Wsdl { services: come.iter().map(|new| (*new).clone()).collect(), ..Wsdl::default() };
        added.check_urls().map_err(unfit)?;

        let mut warnings = remarks("wsdl_validation_warnings", &document.remarks);
        warnings
            .extend(remarks("adding_services", &come.iter().map(|new| new.full_code()).collect::<Vec<_>>()));
        let codes: Vec<_> = gone.iter().map(|(code, version)| full_code(code, version.as_deref())).collect();
        warnings.extend(remarks("deleting_services", &codes));

        let mut events = self.moved();
        // First those that come: a code that only changes its version keeps its rights.
        for new in &document.services {
            let (client, code, version) = (self.client.clone(), new.code.clone(), new.version.clone());
            match present.get(&key(&new.code, &new.version)) {
                None => {
                    let settings = new_settings(&new.url, new.title.clone());
                    let description = self.to.to_owned();
                    events.push(Event::ServiceAdded { client, description, code, version, settings });
                }
                Some(settings) if settings.title != new.title => {
                    let settings = ServiceSettings { title: new.title.clone(), ..settings.clone() };
                    events.push(Event::ServiceChanged { client, code, version, settings });
                }
                Some(_) => {}
            }
        }
        events.extend(gone.into_iter().map(|(code, version)| {
            let (client, code, version) = (self.client.clone(), code.clone(), version.clone());
            Event::ServiceRemoved { client, code, version }
        }));
        Ok((events, warnings))
    }
}

/// What was read before anything is decided.
enum Document {
    Wsdl(Wsdl),
    OpenApi(OpenApi),
    /// The address alone.
    None,
}

impl Document {
    fn fetch(api: &Api, kind: ServiceKind, url: &str) -> Result<Self, Problem> {
        match kind {
            ServiceKind::Wsdl => fetch_wsdl(api, url).map(Self::Wsdl),
            ServiceKind::OpenApi3 => fetch_openapi(api, url).map(Self::OpenApi),
            ServiceKind::Rest => Ok(Self::None),
        }
    }
}

/// Which service gets which code.
struct Codes {
    present: String,
    next: String,
}

/// Plans and records; returns what the audit log says about services.
fn apply(
    api: &Api,
    call: &Call,
    number: u64,
    to: &str,
    document: &Document,
    codes: Option<&Codes>,
    ignore: bool,
) -> Result<(), Problem> {
    api.change_with(call, |state| {
        let (client, known, url, description) = numbered(state, number)?;
        let change = Change { client, known, url, description, to };
        let (events, warnings) = match document {
            Document::Wsdl(wsdl) => change.wsdl(wsdl)?,
            Document::OpenApi(_) | Document::None => {
                let (present, _) = change.service()?;
                let next = match codes {
                    Some(codes) if codes.present != *present => {
                        return Err(Problem::missing("service_not_found"));
                    }
                    Some(codes) => &codes.next,
                    None => present,
                };
                match document {
                    Document::OpenApi(read) => change.openapi(next, read)?,
                    _ => change.rest(next)?,
                }
            }
        };
        call.accept(warnings, ignore)?;
        Ok((events, ()))
    })
}

/// Another address, and for REST and OpenAPI another code.
pub(super) fn update(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ServiceDescriptionUpdate = call.json()?;
    let ignore = asked.ignore_warnings.is_some_and(|flag| flag.0);
    let mut check = Check::new("serviceDescriptionUpdateDto");
    let url = check.required("url", asked.url, &[SIZE]);
    let code =
        check.optional("restServiceCode", asked.rest_service_code.filter(|code| !code.is_empty()), &[]);
    let next = asked.new_rest_service_code.filter(|code| !code.is_empty());
    let next = check.optional("newRestServiceCode", next, &CODE);
    let kind = check.present("type", asked.r#type).map(read);
    check.done()?;
    let number = number(call)?;
    let state = api.state();
    let (client, _, present, description) = numbered(&state, number)?;
    note(call, client, present, description.kind);
    call.note("urlNew", url.clone());
    let codes = match (description.kind, code) {
        (ServiceKind::Wsdl, _) => None,
        (_, None) => return Err(Problem::bad_request("missing_parameter")),
        (_, Some(code)) => Some(Codes { next: next.unwrap_or_else(|| code.clone()), present: code }),
    };
    if kind != Some(description.kind) {
        return Err(Problem::bad_request("wrong_servicedescription_type"));
    }
    checked_url(&url)?;
    let document = Document::fetch(api, description.kind, &url)?;
    apply(api, call, number, &url, &document, codes.as_ref(), ignore)?;
    Answer::ok(&answer(api, number)?)
}

/// The same address once more; a REST description has nothing to read.
pub(super) fn refresh(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: IgnoreWarnings = call.json()?;
    let ignore = asked.ignore_warnings.is_some_and(|flag| flag.0);
    let number = number(call)?;
    let state = api.state();
    let (client, _, url, description) = numbered(&state, number)?;
    note(call, client, url, description.kind);
    if description.kind != ServiceKind::Rest {
        let document = Document::fetch(api, description.kind, url)?;
        apply(api, call, number, url, &document, None, ignore)?;
    }
    let answer = answer(api, number)?;
    let codes: Vec<_> = answer.services.iter().map(|service| service.full_service_code.as_str()).collect();
    call.note("services", json!(codes));
    Answer::ok(&answer)
}
