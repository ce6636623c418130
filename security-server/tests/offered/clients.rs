//! Clients, how they connect, and the TLS certificates of their information systems.

use security_server::serverconf::ConnectionType;
use security_server::serverconf::event::Event;
use security_server::serverconf::status::ClientStatus;
use serde_json::{Value, json};

use crate::scene::{Scene, certificate, client, each};

fn new(class: &str, code: &str, subsystem: Option<&str>) -> Value {
    let client = json!({"member_class": class, "member_code": code, "subsystem_code": subsystem, "connection_type": "HTTP"});
    json!({"client": client, "ignore_warnings": false})
}

/// A39, A40, A41, A45.
#[tokio::test(flavor = "multi_thread")]
async fn clients_are_added_and_found() {
    let scene = Scene::start(&["DEV:COM:2:X"]).await;
    let (status, added) = scene.post("/clients", new("COM", "1", Some("NEW"))).await;
    let expected = json!({"id": "DEV:COM:1:NEW", "instance_id": "DEV", "member_name": "Owner Ltd", "member_class": "COM",
        "member_code": "1", "subsystem_code": "NEW", "owner": false, "has_valid_local_sign_cert": false,
        "connection_type": "HTTP", "status": "SAVED"});
    assert_eq!((status, &added), (201, &expected));
    let (_, listed) = scene.post("/clients", new("COM", "2", Some("X"))).await;
    assert_eq!(listed["status"], "REGISTERED", "it is listed already");
    let (_, all) = scene.get("/clients").await;
    assert_eq!(each(&all, "id"), ["DEV:COM:1", "DEV:COM:1:NEW", "DEV:COM:2:X"]);
    assert_eq!((&all[0]["owner"], &all[0]["status"]), (&json!(true), &json!("REGISTERED")));

    let cases: [(&str, &[&str]); 12] = [
        ("name=owner", &["DEV:COM:1", "DEV:COM:1:NEW"]),
        ("subsystem_code=ne", &["DEV:COM:1:NEW"]),
        ("member_code=2", &["DEV:COM:2:X"]),
        ("member_class=gov", &[]),
        ("instance=dev&member_class=CO&show_members=False", &["DEV:COM:1:NEW", "DEV:COM:2:X"]),
        ("instance=DE", &[]),
        ("local_valid_sign_cert=true", &[]),
        ("internal_search=false&name=office", &["DEV:GOV:3", "DEV:GOV:3:Y"]),
        ("internal_search=false&name=yearly", &["DEV:GOV:3:Y"]),
        ("internal_search=false&exclude_local=true&member_code=2", &["DEV:COM:2"]),
        ("internal_search=false&member_code=2", &["DEV:COM:2", "DEV:COM:2:X"]),
        ("name=", &["DEV:COM:1", "DEV:COM:1:NEW", "DEV:COM:2:X"]),
    ];
    for (query, expected) in cases {
        let (status, found) = scene.get(&format!("/clients?{query}")).await;
        assert_eq!(status, 200, "{query}");
        assert_eq!(each(&found, "id"), expected, "{query}");
    }
    let (_, foreign) = scene.get("/clients?internal_search=false&name=yearly").await;
    assert_eq!(foreign[0].get("status"), None, "no client of this server");
    let server = json!({"id": "DEV:COM:1:SS1", "instance_id": "DEV", "member_class": "COM", "member_code": "1",
        "server_code": "SS1", "server_address": "ss1"});
    for (client, servers) in
        [("DEV:COM:2:X", json!([server])), ("DEV:COM:1:NEW", json!([])), ("DEV:COM:none:NONE", json!([]))]
    {
        assert_eq!(
            scene.get(&format!("/clients/{client}/security-servers")).await,
            (200, servers),
            "{client}"
        );
    }
    assert_eq!(
        scene.get("/clients/DEV:COM:1:NEW/sign-certificates").await,
        (200, json!([])),
        "there is no token"
    );
    let (_, one) = scene.get("/clients/DEV%3ACOM%3A1%3ANEW").await;
    assert_eq!(one["is_management_services_provider"], false);
    let (status, refused) = scene.get("/clients?show_members=maybe").await;
    assert_eq!((status, refused["error"]["validation_errors"].get("show_members").is_some()), (400, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_client_is_refused() {
    let scene = Scene::start(&[]).await;
    let unknown = || new("GOV", "nobody", Some("S"));
    let with = |field: &str, value: Value| {
        let mut body = new("COM", "1", Some("S"));
        body["client"][field] = value;
        body
    };
    scene
        .assert_refused(&[
            ("POST", "/clients", json!({}), 400, "validation_failure"),
            ("POST", "/clients", json!({"client": {"connection_type": "HTTP"}}), 400, "validation_failure"),
            ("POST", "/clients", with("subsystem_code", json!("a:b")), 400, "validation_failure"),
            ("POST", "/clients", with("connection_type", Value::Null), 400, "invalid_connection_type"),
            ("POST", "/clients", with("connection_type", json!("FTP")), 400, ""),
            ("POST", "/clients", new("NIX", "1", Some("S")), 400, "invalid_member_class"),
            ("POST", "/clients", new("COM", "1", None), 409, "client_already_exists"),
            ("POST", "/clients", unknown(), 400, "warnings_detected"),
            ("GET", "/clients/DEV:COM", json!({}), 400, "invalid_encoded_id"),
            ("GET", "/clients/DEV:COM:none:NONE", json!({}), 404, "client_not_found"),
            (
                "PATCH",
                "/clients/DEV:COM:none:NONE",
                json!({"connection_type": "HTTP"}),
                404,
                "client_not_found",
            ),
            ("DELETE", "/clients/DEV:COM:none:NONE", json!({}), 404, "client_not_found"),
            ("DELETE", "/clients/DEV:COM:1", json!({}), 409, "cannot_delete_owner"),
            ("GET", "/clients/DEV:COM:1/orphans", json!({}), 404, "orphans_not_found"),
            ("DELETE", "/clients/DEV:COM:none:NONE/orphans", json!({}), 404, "orphans_not_found"),
        ])
        .await;
    let (_, warned) = scene.post("/clients", unknown()).await;
    assert_eq!(warned["warnings"], json!([{"code": "unregistered_member", "metadata": ["DEV/GOV/nobody"]}]));
    let mut accepted = unknown();
    accepted["ignore_warnings"] = json!(true);
    assert_eq!(scene.post("/clients", accepted).await.0, 201);
    // One more member than the owner, and not two.
    assert_eq!(scene.post("/clients", new("COM", "2", None)).await.0, 201);
    let third = ("POST", "/clients", new("GOV", "3", None), 409, "additional_member_already_exists");
    scene.assert_refused(&[third]).await;
}

/// A44.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_client_takes_everything_along() {
    let scene = Scene::start(&[]).await;
    for code in ["OLD", "STAYS"] {
        assert_eq!(scene.post("/clients", new("COM", "1", Some(code))).await.0, 201);
    }
    let group = json!({"code": "g", "description": "d"});
    let (_, own) = scene.post("/clients/DEV:COM:1:OLD/local-groups", group.clone()).await;
    let (_, other) = scene.post("/clients/DEV:COM:1:STAYS/local-groups", group).await;
    let members = format!("/local-groups/{}/members", other["id"].as_str().unwrap());
    assert_eq!(scene.post(&members, json!({"items": ["DEV:COM:1:OLD"]})).await.0, 201);
    let rest = json!({"url": "http://is/a", "type": "REST", "rest_service_code": "a"});
    let (_, added) = scene.post("/clients/DEV:COM:1:OLD/service-descriptions", rest).await;
    assert_eq!(scene.delete("/clients/DEV:COM:1:OLD").await, 204);
    for path in [
        "/clients/DEV:COM:1:OLD".to_owned(),
        format!("/local-groups/{}", own["id"].as_str().unwrap()),
        format!("/service-descriptions/{}", added["id"].as_str().unwrap()),
        "/services/DEV:COM:1:OLD:a".to_owned(),
    ] {
        assert_eq!(scene.get(&path).await.0, 404, "{path}");
    }
    let (_, other) = scene.get("/clients/DEV:COM:1:STAYS/local-groups").await;
    assert_eq!(other[0]["member_count"], 0, "nobody else knows it any more");
}

/// A43, A46, A47, as far as the server itself moves: what requests change is recorded as they record it.
#[tokio::test(flavor = "multi_thread")]
async fn states_follow_the_configuration_and_say_what_may_be_done() {
    let scene = Scene::start(&[]).await;
    assert_eq!(scene.post("/clients", new("COM", "1", Some("A"))).await.0, 201);
    let path = "/clients/DEV:COM:1:A";
    let sent = |status| {
        let event = Event::ClientStatusSet { client: client("DEV:COM:1:A"), status };
        scene.foundation.change("test", vec![event]).unwrap();
    };
    let served = || scene.served().client(&client("DEV:COM:1:A")).unwrap().registered;
    let status = async || scene.get(path).await.1["status"].as_str().unwrap().to_owned();

    sent(ClientStatus::RegistrationInProgress);
    assert_eq!((status().await.as_str(), served()), ("REGISTRATION_IN_PROGRESS", false));
    scene.assert_refused(&[("DELETE", path, json!({}), 409, "action_not_possible")]).await;
    scene.list(&["DEV:COM:1:A"]);
    assert_eq!((status().await.as_str(), served()), ("REGISTERED", true));
    scene.assert_refused(&[("DELETE", path, json!({}), 409, "action_not_possible")]).await;
    sent(ClientStatus::DisablingInProgress);
    assert_eq!((status().await.as_str(), served()), ("DISABLING_IN_PROGRESS", false));
    scene.list(&[]);
    assert_eq!(status().await, "DISABLED");
    sent(ClientStatus::EnablingInProgress);
    scene.list(&["DEV:COM:1:A"]);
    assert_eq!((status().await.as_str(), served()), ("REGISTERED", true));
    scene.list(&[]);
    assert_eq!((status().await.as_str(), served()), ("GLOBAL_ERROR", false));
    scene.list(&["DEV:COM:1:A"]);
    sent(ClientStatus::DeletionInProgress);
    assert_eq!(
        (status().await.as_str(), served()),
        ("DELETION_IN_PROGRESS", false),
        "listed still, and leaving"
    );
    assert_eq!(scene.delete(path).await, 204);
}

/// A50.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_type_is_kept_and_served() {
    let scene = Scene::with_client().await;
    let path = "/clients/DEV:COM:1:A";
    for (body, expected, served) in [
        (json!({"connection_type": "HTTPS"}), "HTTPS", ConnectionType::HttpsAuth),
        (json!({}), "HTTPS", ConnectionType::HttpsAuth),
        // Toolkits send the whole client back.
        (
            json!({"id": "DEV:COM:1:A", "owner": false, "connection_type": "HTTPS_NO_AUTH"}),
            "HTTPS_NO_AUTH",
            ConnectionType::HttpsNoAuth,
        ),
        (json!({"connection_type": "HTTP"}), "HTTP", ConnectionType::Http),
    ] {
        let (status, answer) = scene.patch(path, body.clone()).await;
        assert_eq!((status, answer["connection_type"].as_str()), (200, Some(expected)), "{body}");
        assert_eq!(scene.served().client(&client("DEV:COM:1:A")).unwrap().connection, served, "{body}");
    }
    scene.assert_refused(&[("PATCH", path, json!({"connection_type": "FTP"}), 400, "")]).await;
}

/// A51.
#[tokio::test(flavor = "multi_thread")]
async fn tls_certificates_come_and_go() {
    let scene = Scene::with_client().await;
    let path = "/clients/DEV:COM:1:A/tls-certificates";
    let der = certificate("is.test");
    let octets = "application/octet-stream";
    let (status, added) = scene.send_bytes("POST", path, octets, &der).await;
    assert_eq!((status, added["subject_common_name"].as_str()), (201, Some("is.test")));
    let hash = added["hash"].as_str().unwrap().to_owned();
    let pem = pki::pem::encode("CERTIFICATE", &der);
    for (bytes, status, code) in [
        (der.as_slice(), 409, "certificate_already_exists"),
        (pem.as_bytes(), 409, "certificate_already_exists"),
        (b"zz", 400, "invalid_certificate"),
    ] {
        let (found, answer) = scene.send_bytes("POST", path, octets, bytes).await;
        assert_eq!((found, answer["error"]["code"].as_str()), (status, Some(code)));
    }
    let (_, all) = scene.get(path).await;
    assert_eq!(each(&all, "hash"), [&hash]);
    assert_eq!(scene.served().client(&client("DEV:COM:1:A")).unwrap().certs.len(), 1);
    let lower = format!("{path}/{}", hash.to_lowercase());
    assert_eq!(scene.get(&lower).await, (200, added));
    assert_eq!(scene.delete(&lower).await, 204);
    let nobody = "/clients/DEV:COM:none:NONE/tls-certificates";
    scene
        .assert_refused(&[
            ("GET", &lower, json!({}), 404, "certificate_not_found"),
            ("DELETE", &lower, json!({}), 404, "certificate_not_found"),
            ("GET", nobody, json!({}), 404, "client_not_found"),
            ("DELETE", &format!("{nobody}/00AA"), json!({}), 404, "client_not_found"),
        ])
        .await;
}
