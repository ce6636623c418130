//! Tests of the ways that this server depends on: configuration sources, the registration service, another security server.
//!
//! Each test does what the server itself would do, so that what it says is what happens: it downloads a signed directory and verifies it,
//! asks the registration service something that it can only refuse, and lists the methods of a client of the other server through the
//! relay. A test that fails is an answer, 200 with class `FAIL`, code and reason; how long it may take stands in the settings of what it
//! tests.

use std::collections::BTreeMap;

use admin_api::operation::get;
use admin_api::types::security_server::system::{
    CodeWithDetails, ConnectionStatus, GlobalConfConnectionStatus,
};
use admin_api::{Answer, Call, Problem};
use futures_util::future::join_all;
use host::http::Client;
use pki::globalconf::verify::verify_directory;
use proto::fault::Fault;
use proto::globalconf::anchor::Anchor;
use proto::globalconf::directory;
use proto::id::{ClientId, ServerId};
use proto::metadata;
use proto::soap::{Soap, parse};
use signer::token::KeyUsage;
use tokio::time::timeout;

use super::{Api, Rows, ids, wait_for};
use crate::client_proxy::own;
use crate::configuration_client::location::{Location, from_sources};
use crate::configuration_client::{DownloadError, Failure};
use crate::management::Management;

/// Most configuration sources that are tried.
const MAX_LOCATIONS: usize = 20;
/// Largest list of methods.
const MAX_LIST: usize = 1 << 20;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getAuthCertReqStatus", "/diagnostics/auth-cert-req-status")
            .right("DIAGNOSTICS")
            .gives::<ConnectionStatus>(200)
            .by(registration),
        get("getGlobalConfStatus", "/diagnostics/global-conf-status")
            .right("DIAGNOSTICS")
            .gives::<Vec<GlobalConfConnectionStatus>>(200)
            .by(sources),
        get("getOtherSecurityServerStatus", "/diagnostics/other-security-server-status")
            .right("DIAGNOSTICS")
            .query(&["protocol_type", "client_id", "target_client_id", "security_server_id"])
            .gives::<ConnectionStatus>(200)
            .refuses(&[(400, "invalid_encoded_id")])
            .by(other_server),
    ]
}

fn failed(code: &str, reason: &str) -> ConnectionStatus {
    ConnectionStatus {
        status_class: "FAIL".into(),
        error: Some(CodeWithDetails {
            code: code.to_owned(),
            metadata: Some(reason.to_owned()).filter(|reason| !reason.is_empty()).into_iter().collect(),
            validation_errors: BTreeMap::new(),
        }),
    }
}

fn good() -> ConnectionStatus {
    ConnectionStatus { status_class: "OK".into(), error: None }
}

fn registration(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let management = Management::new(&api.foundation);
    let status = match wait_for(management.ask_registration_service()) {
        Err(error) => failed(&error.code(), &error.message()),
        Ok(()) if !has_authentication_certificate(api) => {
            failed("certificate_not_found", "this server has no authentication certificate yet")
        }
        Ok(()) => good(),
    };
    Answer::ok(&status)
}

fn has_authentication_certificate(api: &Api) -> bool {
    let keys = api.foundation.token.get().map(|token| token.keys()).unwrap_or_default();
    keys.iter().any(|key| key.usage == KeyUsage::Authentication && !key.certs.is_empty())
}

fn sources(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let locations = locations(api);
    let statuses = wait_for(join_all(locations.iter().map(|location| try_location(api, location))));
    let shown = locations.iter().zip(statuses).map(|(location, status)| GlobalConfConnectionStatus {
        download_url: with_port(&location.url),
        connection_status: match status {
            Ok(()) => good(),
            Err(error) => {
                let failure = Failure::from(&error);
                failed(failure.code, &failure.reason)
            }
        },
    });
    Answer::ok(&shown.collect::<Vec<_>>())
}

/// Where the server would look: what the configuration names of each instance, else what its anchor names.
fn locations(api: &Api) -> Vec<Location> {
    let settings = &api.foundation.settings.configuration;
    let anchor = std::fs::read(&settings.anchor_file).ok().and_then(|bytes| Anchor::read(&bytes).ok());
    let conf = api.foundation.globalconf.load_full();
    let conf = conf.as_ref().as_ref();
    let federated = conf.and_then(|conf| conf.private()).map(|private| private.federation_anchors.clone());
    let allowed =
        federated.into_iter().flatten().filter(|anchor| settings.federations.allow(&anchor.instance));
    let mut found = Vec::new();
    for anchor in anchor.into_iter().chain(allowed) {
        let shared = conf.and_then(|conf| conf.shared(&anchor.instance));
        let mut named = shared.map(|(shared, _)| from_sources(&anchor, shared.sources())).unwrap_or_default();
        if named.is_empty() {
            named = anchor
                .sources
                .into_iter()
                .map(|source| Location { url: source.url, certs: source.verification_certs })
                .collect();
        }
        found.extend(named);
    }
    found.truncate(MAX_LOCATIONS);
    found
}

async fn try_location(api: &Api, location: &Location) -> Result<(), DownloadError> {
    let settings = &api.foundation.settings.configuration;
    let http = Client::new(settings.connect, settings.total, &[]);
    let answer = http.get(&location.url, directory::MAX_BYTES).await;
    let answer = answer.map_err(|error| DownloadError::Unreachable(error.to_string()))?;
    let url = location.url.clone();
    match answer.status {
        200 => verify_directory(&answer.body, &location.certs, api.now())
            .map(drop)
            .map_err(|source| DownloadError::Directory { url, source }),
        status => Err(DownloadError::Status { url, status }),
    }
}

/// With the port that the scheme stands for, as administrators open it in firewalls.
fn with_port(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // An IPv6 address has colons of its own, in brackets.
    let has_port =
        authority.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
    let port = match (has_port, scheme) {
        (true, _) => "",
        (false, "https") => ":443",
        (false, _) => ":80",
    };
    format!("{scheme}://{authority}{port}/{path}")
}

fn other_server(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let missing = |name: &str| Problem::malformed(format!("there is no {name}"));
    let text = |name: &'static str| call.query(name).ok_or_else(|| missing(name));
    let rest = match text("protocol_type")? {
        "REST" => true,
        "SOAP" => false,
        _ => return Err(missing("protocol_type that is REST or SOAP")),
    };
    let client = ids::client(text("client_id")?)?;
    let target = ids::client(text("target_client_id")?)?;
    let server = ids::server(text("security_server_id")?)?;
    let limit = api.foundation.settings.management.request;
    let asked = async {
        match rest {
            true => list_by_rest(api, &client, &target, &server).await,
            false => list_by_soap(api, &client, &target, &server).await,
        }
    };
    let late = || Err(("network_error".to_owned(), format!("there was no answer within {limit:?}")));
    let status = match wait_for(timeout(limit, asked)).unwrap_or_else(|_| late()) {
        Ok(()) => good(),
        Err((code, reason)) => failed(&code, &reason),
    };
    Answer::ok(&status)
}

type Reason = (String, String);

fn relay_error(error: impl std::fmt::Display) -> Reason {
    ("network_error".to_owned(), error.to_string())
}

fn relay(api: &Api) -> Result<&crate::context::Context, Reason> {
    api.foundation.relay().ok_or_else(|| relay_error("the relay has not started: the server is not set up"))
}

async fn list_by_rest(
    api: &Api,
    client: &ClientId,
    target: &ClientId,
    server: &ServerId,
) -> Result<(), Reason> {
    let path = format!("/r1/{}/listMethods", target.to_header());
    let (client, server) = (client.to_header(), server.to_header());
    let lines =
        [("X-Road-Client", &*client), ("X-Road-Security-Server", &*server), ("Accept", "application/json")];
    let reply = own::get(relay(api)?, &path, &lines, MAX_LIST).await.map_err(relay_error)?;
    if reply.status == 200 {
        return Ok(());
    }
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let status = format!("HTTP status {}", reply.status);
    Err((text("type").unwrap_or_else(|| "network_error".into()), text("message").unwrap_or(status)))
}

async fn list_by_soap(
    api: &Api,
    client: &ClientId,
    target: &ClientId,
    server: &ServerId,
) -> Result<(), Reason> {
    let id = uuid::Uuid::new_v4().to_string();
    let body = metadata::list_methods_message(client, target, server, &id).into();
    let reply =
        own::send(relay(api)?, "text/xml; charset=utf-8", body, MAX_LIST).await.map_err(relay_error)?;
    match parse(reply.body, &reply.content_type) {
        Ok(Soap::Message(_)) => Ok(()),
        Ok(Soap::Fault(Fault { code, message, .. }, _)) => Err((code, message)),
        // The list may come with a part for each description, which is an answer too.
        Err(_) if reply.status == 200 && reply.content_type.starts_with("multipart/") => Ok(()),
        Err(error) => Err(relay_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_shown_with_their_port() {
        let cases = [
            ("http://cs/internalconf", "http://cs:80/internalconf"),
            ("https://cs/internalconf", "https://cs:443/internalconf"),
            ("http://cs:8080/internalconf", "http://cs:8080/internalconf"),
            ("http://[2001:db8::1]/c", "http://[2001:db8::1]:80/c"),
            ("https://[2001:db8::1]:4443/c", "https://[2001:db8::1]:4443/c"),
        ];
        for (url, shown) in cases {
            assert_eq!(with_port(url), shown);
        }
    }
}
