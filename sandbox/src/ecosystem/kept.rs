//! What servers that were filled through their management APIs must learn when they are taken up again and an address or a port could not be
//! had: the registry offline, before the central server starts; a security server's own settings through its API.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use central_server::Offline;
use central_server::registry::SourceKind;
use host::clock::Clock;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::Trust;
use super::build::{ACTOR, Ground};
use super::registry;
use super::state::State;
use crate::admin::{Admin, Body};
use crate::parties;

/// Brings the registry of a stopped central server up to date; gives the anchor.
pub(super) async fn registry(ground: &Ground, address: SocketAddr, trust: &Trust) -> anyhow::Result<Bytes> {
    let servers = [(parties::consumer_server(), 0), (parties::provider_server(), 1)]
        .map(|(id, index)| (id, ground.address(index).to_string(), None));
    let (wanted, files) = (trust.wanted(servers), ground.central.clone());
    let anchor = spawn_blocking(move || {
        let offline = Offline::open(&files.data(), Clock::System)?;
        let commands = registry::instance(&offline.registry().state(), address.to_string());
        offline.execute_all(ACTOR, commands)?;
        let missing = wanted.missing(&offline.registry().state());
        offline.execute_all(ACTOR, missing)?;
        anyhow::Ok(offline.anchor(SourceKind::Internal)?)
    });
    Ok(anchor.await??.into())
}

/// The sample services have another port: the provider's services follow.
pub(super) async fn services(ss: &Admin, kept: &State, trust: &Trust) -> anyhow::Result<()> {
    let (before, now) = (kept.services_port, trust.services.address().port());
    if before == now {
        return Ok(());
    }
    let moved = |url: &Value| {
        let url = url.as_str().unwrap_or_default();
        url.replace(&format!("127.0.0.1:{before}/"), &format!("127.0.0.1:{now}/"))
    };
    let path = format!("/clients/{}/service-descriptions", parties::population().encoded());
    let descriptions = ss.get(&path).await?;
    for description in descriptions.as_array().into_iter().flatten() {
        let id = description["id"].as_str().context("a description without id")?;
        let service = &description["services"][0];
        let mut body = json!({ "url": moved(&description["url"]), "type": description["type"], "ignore_warnings": true });
        if description["type"] != "WSDL" {
            body["rest_service_code"] = service["service_code"].clone();
            body["new_rest_service_code"] = service["service_code"].clone();
        }
        ss.expect(200, "PATCH", &format!("/service-descriptions/{id}"), Body::Json(body)).await?;
        let service_id = service["id"].as_str().context("a description without services")?;
        let settings = json!({ "url": moved(&service["url"]), "timeout": 60, "ssl_auth": false, "ignore_warnings": true });
        ss.expect(200, "PATCH", &format!("/services/{service_id}"), Body::Json(settings)).await?;
    }
    Ok(())
}

/// The timestamping service is where the configuration says.
pub(super) async fn timestamping(ss: &Admin, trust: &Trust) -> anyhow::Result<()> {
    let path = "/system/timestamping-services";
    let used = ss.get(path).await?;
    let url = trust.tsa.url();
    if used[0]["url"] == url.as_str() {
        return Ok(());
    }
    let approved = ss.wait_for("/timestamping-services", "/0/url", &json!(url)).await?;
    for old in used.as_array().into_iter().flatten() {
        ss.post(204, &format!("{path}/delete"), old.clone()).await?;
    }
    let tsa = json!({ "name": approved[0]["name"], "url": url, "cost_type": "FREE" });
    ss.post(201, path, tsa).await?;
    Ok(())
}
