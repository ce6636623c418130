//! The whole ecosystem from empty servers, by calls of their management APIs alone, each with the status that it must have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};
use pki::key::KeyKind;
use sandbox::admin::{Admin, Body};
use sandbox::ecosystem::{Ecosystem, Filling, Options};
use sandbox::information_system::{Call, Message};
use sandbox::parties;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

async fn build(dir: &Path) -> Ecosystem {
    let options = Options { keys: KeyKind::P256, filling: Filling::FrontDoor, ..Options::default() };
    Ecosystem::build(dir, options, |_| {}).await.unwrap()
}

/// A message over REST and one over SOAP, with the evidence of both answers.
async fn exchange(ecosystem: &Ecosystem) {
    let system = ecosystem.information_system();
    let content = format!(
        r#"<residentDetails xmlns="{}"><code>M-2019-0502</code></residentDetails>"#,
        sandbox::services::soap::NAMESPACE
    );
    let calls = [
        Call::rest(&parties::school(), &parties::register(), Method::GET, "/residents/M-2019-0502", None),
        Call::soap(&parties::school(), &parties::resident_details(), &content),
    ];
    let conf = pki::globalconf::load_directory(&ecosystem.consumer_globalconf()).unwrap();
    for call in calls {
        let answer = system.send(&call).await.unwrap();
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!((answer.status, answer.fault()), (StatusCode::OK, None), "{text}");
        assert!(text.contains("Korpi"), "{text}");
        let container =
            system.container(&parties::school(), &call.message_id, Message::Response).await.unwrap();
        assert_eq!(container.status, StatusCode::OK, "{}", String::from_utf8_lossy(&container.body));
        let proven = pki::asic::verify(Cursor::new(container.body), &conf).unwrap();
        assert_eq!((proven.signer, proven.message_id), (parties::population(), call.message_id));
    }
}

/// Takes an address and hangs up on everybody. Listeners of ended tasks are closed a moment later, hence the patience.
async fn occupy(address: std::net::SocketAddr) {
    for _ in 0..1000 {
        if let Ok(listener) = tokio::net::TcpListener::bind(address).await {
            tokio::spawn(async move {
                loop {
                    drop(listener.accept().await);
                }
            });
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{address} is not given back");
}

/// What the APIs say of it afterwards.
async fn check_states(ecosystem: &Ecosystem) {
    let cs = ecosystem.admin(ecosystem.central()).unwrap();
    let requests = cs.get("/management-requests?sort=id").await.unwrap();
    let found: Vec<_> = requests["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| {
            let text = |name: &str| request[name].as_str().unwrap();
            (text("type"), text("origin"), text("status"))
        })
        .collect();
    let auth_cert = ("AUTH_CERT_REGISTRATION_REQUEST", "SECURITY_SERVER", "APPROVED");
    let client = ("CLIENT_REGISTRATION_REQUEST", "SECURITY_SERVER", "APPROVED");
    let provider = ("CLIENT_REGISTRATION_REQUEST", "CENTER", "APPROVED");
    assert_eq!(found, [auth_cert, provider, auth_cert, client, client]);
    for (server, clients) in [(ecosystem.consumer(), 2), (ecosystem.provider(), 3)] {
        let ss = ecosystem.admin(server).unwrap();
        let all = ss.get("/clients?internal_search=true&show_members=true").await.unwrap();
        let of_ours: Vec<_> =
            all.as_array().unwrap().iter().filter(|client| client["status"] == "REGISTERED").collect();
        assert_eq!(of_ours.len(), clients, "{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_servers_become_an_ecosystem_and_are_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = build(dir.path()).await;
    exchange(&first).await;
    check_states(&first).await;
    let ports =
        [first.central().address, first.ocsp().address(), first.tsa().address(), first.services().address()];
    first.stop(LIMIT).await.unwrap();
    // Somebody else is quicker everywhere.
    for address in ports {
        occupy(address).await;
    }
    let second = build(dir.path()).await;
    exchange(&second).await;
    second.stop(LIMIT).await.unwrap();
}

/// Hash of the authentication certificate.
async fn authentication(ss: &Admin) -> String {
    let tokens = ss.get("/tokens").await.unwrap();
    let keys = tokens[0]["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["usage"] == "AUTHENTICATION").unwrap();
    key["certificates"][0]["certificate_details"]["hash"].as_str().unwrap().to_owned()
}

/// Another member becomes a client, then the owner of the consumer's server, whose identifier changes with it; messages go on.
async fn change_owner(ecosystem: &Ecosystem, ss: &Admin) {
    let cs = ecosystem.admin(ecosystem.central()).unwrap();
    let approve = async |kind: &str| {
        let waiting = cs.get("/management-requests?status=WAITING").await.unwrap();
        let request = &waiting["items"][0];
        assert_eq!(request["type"], kind, "{waiting}");
        let path = format!("/management-requests/{}/approval", request["id"]);
        cs.expect(200, "POST", &path, Body::None).await.unwrap();
    };
    let codes = json!({ "member_class": parties::CITIES, "member_code": "3001" });
    cs.post(201, "/members", json!({ "member_id": codes, "member_name": "City of Koivula" })).await.unwrap();
    let mut client = codes.clone();
    client["connection_type"] = json!("HTTPS_NO_AUTH");
    ss.post(201, "/clients", json!({ "client": client, "ignore_warnings": true })).await.unwrap();
    let request = json!({
        "key_label": "koivula",
        "csr_generate_request": {
            "key_usage_type": "SIGNING", "ca_name": ss.get("/certificate-authorities").await.unwrap()[0]["name"],
            "csr_format": "DER", "member_id": "DEMO:MUN:3001",
            "subject_field_values": {
                "C": "FI", "O": "Koivula", "serialNumber": "DEMO/ss-rannala/MUN", "CN": "3001", "subjectAltName": "koivula",
            },
        },
    });
    let made = ss.post(200, "/tokens/0/keys-with-csrs", request).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let path = format!("/keys/{}/csrs/{}?csr_format=DER", text(&made["key"]["id"]), text(&made["csr_id"]));
    let csr = ss.expect(200, "GET", &path, Body::None).await.unwrap().body;
    let (authority, now) = (ecosystem.authority().clone(), host::clock::Clock::System.now());
    let cert = authority.certify(&csr, pki::csr::Usage::Signing, now).unwrap();
    let cert = Body::Octets(cert.der().to_vec().into());
    ss.expect(201, "POST", "/token-certificates", cert).await.unwrap();

    let koivula = "/clients/DEMO:MUN:3001";
    ss.expect(204, "PUT", &format!("{koivula}/register"), Body::None).await.unwrap();
    approve("CLIENT_REGISTRATION_REQUEST").await;
    ss.wait_for(koivula, "/status", &json!("REGISTERED")).await.unwrap();
    ss.expect(204, "PUT", &format!("{koivula}/make-owner"), Body::None).await.unwrap();
    // The central server refuses a second request, and says so through both security servers.
    let refused = ss.expect(500, "PUT", &format!("{koivula}/make-owner"), Body::None).await.unwrap().json();
    assert_eq!(
        refused["error"],
        json!({ "code": "core.internal_error", "metadata": ["management_request_exists with statusCode 409", "tr.null"] })
    );
    approve("OWNER_CHANGE_REQUEST").await;
    ss.wait_for(koivula, "/owner", &json!(true)).await.unwrap();
    let servers = ss.get("/security-servers?current_server=true").await.unwrap();
    assert_eq!(servers[0]["id"], "DEMO:MUN:3001:ss-rannala", "{servers}");
    ss.wait_for(koivula, "/status", &json!("REGISTERED")).await.unwrap();
    // The server that carries the next request must have heard of it too.
    ecosystem.admin(ecosystem.provider()).unwrap().knows_server("DEMO:MUN:3001:ss-rannala").await.unwrap();
    let former = format!("/clients/{}", parties::rannala().client().encoded());
    assert_eq!(ss.get(&former).await.unwrap()["owner"], false);
}

/// The life of a client, of a certificate and of the server after they were registered, seen through the API [UC-MEMBER, UC-SS].
#[tokio::test(flavor = "multi_thread")]
async fn what_is_registered_changes_by_requests_and_follows_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let ecosystem = build(dir.path()).await;
    let ss = ecosystem.admin(ecosystem.consumer()).unwrap();
    let (refused, done) = (
        async |path: &str, status: u16, code: &str| {
            let given = ss.call("PUT", path, &Body::None).await.unwrap();
            assert_eq!((given.status, &given.json()["error"]["code"]), (status, &json!(code)), "{path}");
        },
        async |path: &str| drop(ss.expect(204, "PUT", path, Body::None).await.unwrap()),
    );
    let school = format!("/clients/{}", parties::school().encoded());
    let owner = format!("/clients/{}", parties::rannala().client().encoded());
    let status = async |wanted: &str| ss.wait_for(&school, "/status", &json!(wanted)).await.unwrap();

    refused(&format!("{school}/register"), 409, "action_not_possible").await;
    refused(&format!("{school}/make-owner"), 409, "action_not_possible").await;
    refused(&format!("{owner}/register"), 400, "cannot_register_owner").await;
    refused(&format!("{owner}/unregister"), 409, "cannot_unregister_owner").await;
    refused(&format!("{owner}/make-owner"), 400, "member_already_owner").await;

    done(&format!("{school}/disable")).await;
    status("DISABLED").await;
    done(&format!("{school}/enable")).await;
    status("REGISTERED").await;

    let rename = json!({ "client_name": "Office of schools" });
    ss.put(204, &format!("{school}/rename"), rename.clone()).await.unwrap();
    let renamed = ss.wait_for(&school, "/subsystem_name", &json!("Office of schools")).await.unwrap();
    ss.wait_for(&school, "/rename_status", &Value::Null).await.unwrap();
    assert_eq!(renamed["id"], parties::school().encoded());
    let again = ss.call("PUT", &format!("{school}/rename"), &Body::Json(rename)).await.unwrap();
    assert_eq!((again.status, &again.json()["error"]["code"]), (409, &json!("invalid_client_name")));

    let mode = "/system/maintenance-mode";
    ss.put(204, &format!("{mode}/enable"), json!({ "message": "Back at 18" })).await.unwrap();
    let enabled = ss.wait_for(mode, "/status", &json!("ENABLED_MAINTENANCE_MODE")).await.unwrap();
    assert_eq!(enabled["message"], "Back at 18");
    refused(&format!("{mode}/enable"), 409, "already_enabled_maintenance_mode").await;
    done(&format!("{mode}/disable")).await;
    ss.wait_for(mode, "/status", &json!("DISABLED_MAINTENANCE_MODE")).await.unwrap();
    let provider = ecosystem.admin(ecosystem.provider()).unwrap();
    let forbidden = provider.call("PUT", &format!("{mode}/enable"), &Body::None).await.unwrap();
    assert_eq!(forbidden.json()["error"]["code"], "forbidden_enable_maintenance_mode_for_management_service");

    change_owner(&ecosystem, &ss).await;

    let address = "/system/server-address";
    let before = ss.get(address).await.unwrap()["current_address"]["address"].clone();
    let same = ss.call("PUT", address, &Body::Json(json!({ "address": before }))).await.unwrap();
    assert_eq!((same.status, &same.json()["error"]["code"]), (409, &json!("same_address_change_request")));
    ss.put(202, address, json!({ "address": "elsewhere.example" })).await.unwrap();
    ss.wait_for(address, "/current_address/address", &json!("elsewhere.example")).await.unwrap();
    ss.wait_for(address, "/requested_change", &Value::Null).await.unwrap();

    done(&format!("{school}/unregister")).await;
    status("DELETION_IN_PROGRESS").await;
    let cert = format!("/token-certificates/{}", authentication(&ss).await);
    done(&format!("{cert}/unregister")).await;
    ss.wait_for(&cert, "/status", &json!("DELETION_IN_PROGRESS")).await.unwrap();
    refused(&format!("{cert}/unregister"), 409, "action_not_possible").await;
    ecosystem.stop(LIMIT).await.unwrap();
}
