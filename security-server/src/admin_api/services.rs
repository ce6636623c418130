//! Services and how they are called.
//!
//! A service is named by its client's identifier and, behind a colon, its code with its version.

use std::collections::BTreeMap;
use std::time::Duration;

use admin_api::check::SIZE;
use admin_api::operation::{get, patch};
use admin_api::problem::Warning;
use admin_api::types::security_server::services::{Endpoint as WireEndpoint, Method, Service, ServiceUpdate};
use admin_api::{Answer, Call, Check, Problem};
use pki::cert::Certificate;
use proto::id::ClientId;
use serde_json::json;
use tokio::net::TcpStream;

use super::clients::local;
use super::{Api, Rows, ids, wait_for};
use crate::serverconf::ServiceKind;
use crate::serverconf::event::{Endpoint, Event, ServiceSettings};
use crate::serverconf::state::{ClientState, Description, EndpointState, State};
use crate::serverconf::url::ServiceUrl;
use crate::service_description::wsdl::full_code;
use crate::tls::{InternalTls, ServiceTlsError};

/// Longest timeout that the API takes, seconds.
const MAX_TIMEOUT: i64 = 1_000;
/// For a look whether an address speaks TLS.
const LOOK: Duration = Duration::from_secs(10);

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getService", "/services/{id}")
            .right("VIEW_CLIENT_SERVICES")
            .gives::<Service>(200)
            .refuses(&[(404, "client_not_found"), (404, "service_not_found")])
            .by(one),
        patch("updateService", "/services/{id}")
            .right("EDIT_SERVICE_PARAMS")
            .audit("Edit service parameters")
            .takes::<ServiceUpdate>()
            .gives::<Service>(200)
            .refuses(&[
                (400, "malformed_url"),
                (400, "invalid_https_url"),
                (400, "warnings_detected"),
                (404, "client_not_found"),
                (404, "service_not_found"),
                (409, "url_already_exists"),
            ])
            .by(update),
    ]
}

/// A service where it stands.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) known: &'a ClientState,
    pub(super) url: &'a String,
    pub(super) description: &'a Description,
    pub(super) code: &'a String,
    pub(super) version: &'a Option<String>,
    pub(super) settings: &'a ServiceSettings,
}

/// The client and the full code of an identifier.
///
/// # Errors
/// 400 `invalid_encoded_id`.
pub(super) fn parsed(text: &str) -> Result<(ClientId, String), Problem> {
    let invalid = || Problem::bad_request("invalid_encoded_id").with(text);
    let (client, full) = text.rsplit_once(':').ok_or_else(invalid)?;
    if full.is_empty() {
        return Err(invalid());
    }
    Ok((ids::client(client)?, full.to_owned()))
}

/// The service of a client with a full code.
///
/// # Errors
/// 404 `client_not_found`, `service_not_found`.
pub(super) fn found<'a>(state: &'a State, client: &ClientId, full: &str) -> Result<Found<'a>, Problem> {
    let known = local(state, client)?;
    let mut all = known.descriptions.iter().flat_map(|(url, description)| {
        description.services.iter().map(move |((code, version), settings)| Found {
            known,
            url,
            description,
            code,
            version,
            settings,
        })
    });
    let service = all.find(|found| full_code(found.code, found.version.as_deref()) == full);
    service.ok_or_else(|| Problem::missing("service_not_found"))
}

/// A service as the API shows it.
pub(super) fn shown(client: &ClientId, found: Found<'_>) -> Service {
    let full = full_code(found.code, found.version.as_deref());
    let endpoints = found.known.endpoints.get(found.code).into_iter().flatten();
    Service {
        id: format!("{}:{full}", client.encoded()),
        full_service_code: full,
        service_code: found.code.clone(),
        timeout: found.settings.timeout_seconds,
        title: found.settings.title.clone(),
        ssl_auth: is_https(&found.settings.url) && found.settings.verify_tls,
        url: found.settings.url.clone(),
        endpoints: endpoints.map(|(endpoint, state)| shown_endpoint(found.code, endpoint, state)).collect(),
    }
}

/// An endpoint as the API shows it.
pub(super) fn shown_endpoint(code: &str, endpoint: &Endpoint, state: &EndpointState) -> WireEndpoint {
    WireEndpoint {
        id: state.id.to_string(),
        service_code: code.to_owned(),
        // Only methods of the list were recorded.
        method: Method::of(&endpoint.method).unwrap_or(Method::Any),
        path: endpoint.path.clone(),
        generated: state.generated || *endpoint == Endpoint::service_level(),
    }
}

/// Whether TLS can be checked at all.
pub(super) fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

/// A URL of an operator.
///
/// # Errors
/// 400 `malformed_url`.
pub(super) fn checked_url(url: &str) -> Result<ServiceUrl, Problem> {
    ServiceUrl::parse(url).map_err(|reason| Problem::bad_request("malformed_url").because(reason.to_string()))
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (client, full) = parsed(call.path("id"))?;
    let state = api.state();
    Answer::ok(&shown(&client, found(&state, &client, &full)?))
}

/// What is asked for, field by field.
struct Wanted {
    url: String,
    timeout_seconds: u32,
    verify_tls: bool,
    url_all: bool,
    timeout_all: bool,
    verify_all: bool,
}

impl Wanted {
    fn read(asked: ServiceUpdate) -> Result<Self, Problem> {
        let mut check = Check::new("serviceUpdateDto");
        let url = check.required("url", asked.url, &[SIZE]);
        let timeout = check.present("timeout", asked.timeout).map_or(0, |timeout| timeout.0);
        if timeout < 0 {
            check.fail("timeout", "Min");
        }
        if timeout > MAX_TIMEOUT {
            check.fail("timeout", "Max");
        }
        let verify = check.present("sslAuth", asked.ssl_auth).is_some_and(|flag| flag.0);
        check.done()?;
        let all = |flag: Option<admin_api::lenient::Flag>| flag.is_some_and(|flag| flag.0);
        Ok(Self {
            url,
            timeout_seconds: u32::try_from(timeout).unwrap_or_default(),
            verify_tls: verify,
            url_all: all(asked.url_all),
            timeout_all: all(asked.timeout_all),
            verify_all: all(asked.ssl_auth_all),
        })
    }

    /// What becomes of one service of the description; `is_it` is the one in the path.
    fn settings(&self, present: &ServiceSettings, is_it: bool) -> ServiceSettings {
        let mut next = present.clone();
        if self.url_all || is_it {
            next.url.clone_from(&self.url);
        }
        if self.timeout_all || is_it {
            next.timeout_seconds = self.timeout_seconds;
        }
        if self.verify_all || is_it {
            next.verify_tls = self.verify_tls && is_https(&next.url);
        }
        next
    }

    /// Events that make it so.
    fn events(&self, client: &ClientId, found: Found<'_>) -> Result<Vec<Event>, Problem> {
        let mut events = Vec::new();
        // The address of a REST service is that of its description.
        if found.description.kind == ServiceKind::Rest && *found.url != self.url {
            if found.known.descriptions.contains_key(&self.url) {
                return Err(Problem::conflict("url_already_exists").with(self.url.clone()));
            }
            let (client, url, to) = (client.clone(), found.url.clone(), self.url.clone());
            events.push(Event::DescriptionMoved { client, url, to });
        }
        for ((code, version), present) in &found.description.services {
            let settings = self.settings(present, (code, version) == (found.code, found.version));
            if settings != *present {
                let (client, code, version) = (client.clone(), code.clone(), version.clone());
                events.push(Event::ServiceChanged { client, code, version, settings });
            }
        }
        Ok(events)
    }
}

fn update(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ServiceUpdate = call.json()?;
    let ignore = asked.ignore_warnings.is_some_and(|flag| flag.0);
    let wanted = Wanted::read(asked)?;
    let (client, full) = parsed(call.path("id"))?;
    call.note("clientIdentifier", client.encoded());
    call.note("id", full.clone());
    call.note("url", wanted.url.clone());
    call.note("timeout", wanted.timeout_seconds);
    call.note("tlsAuth", wanted.verify_tls);
    call.note(
        "allOf",
        json!({"url": wanted.url_all, "timeout": wanted.timeout_all, "tlsAuth": wanted.verify_all}),
    );
    let url = checked_url(&wanted.url)?;
    if wanted.verify_tls && !url.https {
        return Err(Problem::bad_request("invalid_https_url"));
    }
    let pins = certificates(found(&api.state(), &client, &full)?.known);
    if wanted.verify_tls && !ignore {
        let looked = wait_for(look(&api.foundation.internal_tls, &url, &pins));
        let warning =
            looked.err().map(|code| Warning { code: code.into(), metadata: vec![wanted.url.clone()] });
        call.accept(warning.into_iter().collect(), false)?;
    }
    api.change_with(call, |state| Ok((wanted.events(&client, found(state, &client, &full)?)?, ())))?;
    let state = api.state();
    Answer::ok(&shown(&client, found(&state, &client, &full)?))
}

fn certificates(client: &ClientState) -> Vec<Certificate> {
    client.tls_certs.iter().filter_map(|der| Certificate::parse(der).ok()).collect()
}

/// Whether TLS at an address holds against the certificates stored for the client.
///
/// # Errors
/// The code of the warning: the other end refuses or shows another certificate, or speaks no TLS at all.
async fn look(tls: &InternalTls, url: &ServiceUrl, pins: &[Certificate]) -> Result<(), &'static str> {
    const NO_TLS: &str = "internal_server_ssl_error";
    const REFUSED: &str = "internal_server_ssl_handshake_error";
    let work = async {
        let socket = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|_| NO_TLS)?;
        match tls.connect(socket, &url.host, Some(pins)).await {
            Ok(_) => Ok(()),
            Err(ServiceTlsError::NotPinned) => Err(REFUSED),
            Err(ServiceTlsError::Handshake(error)) => {
                let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                let spoke = reason.is_some_and(|reason| !matches!(reason, rustls::Error::InvalidMessage(_)));
                Err(if spoke { REFUSED } else { NO_TLS })
            }
        }
    };
    tokio::time::timeout(LOOK, work).await.unwrap_or(Err(NO_TLS))
}

/// Titles of services by code, that of the highest version.
pub(super) fn titles(client: &ClientState) -> BTreeMap<&str, Option<&str>> {
    let services = client.descriptions.values().flat_map(|description| &description.services);
    // In order of versions, so the last one stays.
    let mut sorted: Vec<_> = services.collect();
    sorted.sort_by_key(|(key, _)| *key);
    sorted.into_iter().map(|((code, _), settings)| (code.as_str(), settings.title.as_deref())).collect()
}
