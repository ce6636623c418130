//! The files that servers are given: settings, PINs, and the description of each security server for `apply`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use host::settings::Listen;
use proto::id::ServerId;
use serde_json::{Value, json};

use crate::loopback::{MANAGEMENT_PORT, OCSP_PORT, REGISTRATION_PORT, SERVER_PORT};
use crate::parties;
use crate::services::SampleServices;

/// Display name of the timestamping service, in the registry and in the servers' configuration.
pub(super) const TSA_NAME: &str = "Causeway Sandbox TSA";
/// PIN of every token of the sandbox; it protects nothing but shows how it is given.
pub(super) const PIN: &str = "sandbox-pin-1";

/// Between downloads of the configuration.
const CONFIGURATION_SECONDS: u64 = 1;
/// For exchanges under way when a server is told to stop.
const DRAIN_SECONDS: u64 = 10;

/// One server's folder and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
}

impl Files {
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        Self { folder: dir.join(name) }
    }
    /// The server's own.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
    pub(super) fn settings(&self) -> PathBuf {
        self.folder.join("settings.toml")
    }
    pub(super) fn pin(&self) -> PathBuf {
        self.folder.join("token-pin")
    }
    pub(super) fn ready(&self) -> PathBuf {
        self.folder.join("ready.json")
    }
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
    pub(super) fn signer_socket(&self) -> PathBuf {
        self.folder.join("signer.socket")
    }
    /// An API key with every role of the server.
    pub(super) fn api_key(&self) -> PathBuf {
        self.folder.join("api-key")
    }
    pub(super) fn description(&self) -> PathBuf {
        self.folder.join("server.yaml")
    }
    pub(super) fn anchor(&self) -> PathBuf {
        self.folder.join("configuration-anchor.xml")
    }
}

/// Settings of a security server at `address`: fixed ports for peers, free ones for everybody else.
pub(super) fn security_server_settings(files: &Files, address: IpAddr) -> security_server::config::File {
    let free = Listen(Some((address, 0).into()));
    let mut settings = security_server::config::File {
        data_dir: files.data(),
        health_check_listen: free,
        drain_time: DRAIN_SECONDS,
        ..Default::default()
    };
    settings.proxy.client_http_listen = free;
    settings.proxy.client_https_listen = free;
    settings.management_api.listen = free;
    settings.proxy.server_listen = (address, SERVER_PORT).into();
    settings.proxy.ocsp_responder_listen = (address, OCSP_PORT).into();
    settings.signer.pin_file = Some(files.pin());
    // Whoever waits for a registration looks on.
    settings.configuration_client.update_interval = CONFIGURATION_SECONDS;
    settings
}

/// Settings of a central server at `address`.
pub(super) fn central_server_settings(files: &Files, address: SocketAddr) -> central_server::config::File {
    let mut settings = central_server::config::File {
        data_dir: files.data(),
        health_check_listen: Listen(Some((address.ip(), 0).into())),
        drain_time: DRAIN_SECONDS,
        ..Default::default()
    };
    settings.center.http_listen = address;
    settings.center.https_listen = Listen(Some((address.ip(), 0).into()));
    settings.management_api.listen = Listen(Some((address.ip(), 0).into()));
    settings.management_service.registration_listen = Listen(Some((address.ip(), REGISTRATION_PORT).into()));
    settings.management_service.management_listen = Listen(Some((address.ip(), MANAGEMENT_PORT).into()));
    settings.signer.pin_file = Some(files.pin());
    settings
}

/// A key with its certificate, as file names beside the description.
pub(super) struct KeyFiles {
    pub(super) label: &'static str,
    /// Base of the names, `.key` and `.crt` are put after it.
    pub(super) name: &'static str,
}

/// The key for TLS, and the one for messages.
pub(super) const AUTHENTICATION: KeyFiles = KeyFiles { label: "authentication", name: "authentication" };
pub(super) const SIGNING: KeyFiles = KeyFiles { label: "signing", name: "signing" };

/// Who a security server is and whom it serves.
pub(super) struct Description<'a> {
    pub(super) server: &'a ServerId,
    pub(super) address: IpAddr,
    pub(super) clients: Vec<Value>,
    pub(super) tsa_url: String,
}

impl Description<'_> {
    /// The YAML that `apply` reads.
    pub(super) fn yaml(&self) -> String {
        let key = |key: &KeyFiles| json!([{ "label": key.label, "key": format!("{}.key", key.name), "certificate": format!("{}.crt", key.name) }]);
        let document = json!({
            "instance": self.server.owner.instance,
            "servers": [{
                "owner": self.server.owner.encoded(),
                "code": self.server.code,
                "address": self.address.to_string(),
                "anchor": "configuration-anchor.xml",
                "pin": { "file": "token-pin" },
                "timestamping": [{ "name": TSA_NAME, "url": self.tsa_url }],
                "keys": { "authentication": key(&AUTHENTICATION), "signing": key(&SIGNING) },
                "clients": self.clients,
            }],
        });
        serde_yaml_ng::to_string(&document).expect("strings, lists and maps always have a YAML form")
    }
}

/// The school office: it only asks.
pub(super) fn school() -> Value {
    json!({ "id": parties::school().encoded(), "connection": "HTTP" })
}

/// The population register with its services and who may use them.
pub(super) fn population(services: &SampleServices, more: &[Value]) -> Value {
    let school = parties::school().encoded();
    let testers = format!("GLOBALGROUP:{}:{}", parties::INSTANCE, parties::TESTERS);
    let mut client = json!({
        "id": parties::population().encoded(),
        "connection": "HTTP",
        "groups": [{ "code": "schools", "description": "School offices that children move to", "members": [school] }],
        "services": [
            {
                "type": "OPENAPI3",
                "url": services.openapi_url(),
                "service-url": services.register_url(),
                "code": parties::REGISTER,
                "endpoints": [
                    { "method": "GET", "path": "/residents/*", "access": ["LOCALGROUP:schools"] },
                    { "method": "POST", "path": "/searches", "access": [school] },
                ],
            },
            {
                "type": "WSDL",
                "url": services.wsdl_url(),
                "service-url": services.soap_url(),
                "code": parties::RESIDENT_DETAILS.0,
                "version": parties::RESIDENT_DETAILS.1,
                "access": [school],
            },
            { "type": "REST", "url": services.probe_url(), "code": parties::PROBE, "access": [testers] },
        ],
    });
    if let Some(services) = client["services"].as_array_mut() {
        services.extend_from_slice(more);
    }
    client
}
