//! Two instances that trust each other, set up through the management API: each takes the other's external anchor, and a security
//! server of one then knows the members of the other, as far as its operator allows.

#![allow(clippy::unwrap_used, reason = "a test: its panic is the report")]

mod scene;

use std::path::Path;
use std::time::Duration;

use central_server::registry::SourceKind;
use host::http::Client;
use proto::globalconf::anchor::Anchor;
use scene::Scene;
use security_server::config::{ConfigurationSettings, Federations};
use security_server::configuration_client::ConfigurationClient;
use serde_json::{Value, json};

const PIN: &str = "Secret-1234";

impl Scene {
    /// A call with JSON that must succeed.
    async fn json(&self, method: &str, path: &str, body: Value) -> Value {
        let body = body.to_string();
        let target = format!("/api/v1{path}");
        let (status, answer) =
            self.send(method, &target, "all", Some("application/json"), None, body.as_bytes()).await;
        assert!(status < 300, "{method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// Uploads a file as the one field of a form; gives status and code.
    async fn upload(&self, path: &str, fields: &[(&str, Option<&str>, &[u8])]) -> (u16, Value) {
        let mut body = Vec::new();
        for (name, file, bytes) in fields {
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            body.extend(
                format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes(),
            );
            body.extend(*bytes);
            body.extend(b"\r\n");
        }
        body.extend(b"--b--\r\n");
        let target = format!("/api/v1{path}");
        let form = Some("multipart/form-data; boundary=b");
        let (status, answer) = self.send("POST", &target, "all", form, None, &body).await;
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    async fn upload_anchor(&self, path: &str, anchor: &[u8]) -> (u16, Value) {
        self.upload(path, &[("anchor", Some("anchor.xml"), anchor)]).await
    }

    async fn download(&self, path: &str) -> (u16, Vec<u8>) {
        self.send("GET", &format!("/api/v1{path}"), "all", None, None, b"").await
    }
}

/// A new instance with one member, published.
async fn instance(name: &str) -> Scene {
    let scene = Scene::start().await;
    let address = scene.web.to_string();
    let first = json!({
        "instance_identifier": name, "central_server_address": address, "software_token_pin": PIN
    });
    scene.json("POST", "/initialization", first).await;
    scene.json("PUT", "/tokens/0/login", json!({ "password": PIN })).await;
    for source in ["INTERNAL", "EXTERNAL"] {
        let path = format!("/configuration-sources/{source}/signing-keys");
        scene.json("POST", &path, json!({ "key_label": source, "token_id": "0" })).await;
    }
    scene.json("POST", "/member-classes", json!({ "code": "GOV", "description": "Government" })).await;
    let member = json!({ "member_class": "GOV", "member_code": "1" });
    let body = json!({ "member_id": member, "member_name": format!("The {name} office") });
    scene.json("POST", "/members", body).await;
    let subsystem = json!({ "member_class": "GOV", "member_code": "1", "subsystem_code": "mgmt" });
    scene.json("POST", "/subsystems", json!({ "subsystem_id": subsystem })).await;
    let provider = json!({ "service_provider_id": format!("{name}:GOV:1:mgmt") });
    scene.json("PATCH", "/management-services-configuration", provider).await;
    scene.publish().await;
    scene
}

/// A security server's configuration client of an instance.
fn follower(of: &Scene, folder: &Path, federations: Federations) -> ConfigurationClient {
    let anchor_file = folder.join("anchor.xml");
    std::fs::write(&anchor_file, of.anchor(SourceKind::Internal)).unwrap();
    let (connect, total) = (Duration::from_secs(5), Duration::from_secs(20));
    let settings = ConfigurationSettings {
        anchor_file,
        interval: Duration::from_secs(60),
        federations,
        age_tolerance: Duration::from_secs(300),
        connect,
        total,
    };
    ConfigurationClient::new(
        settings,
        folder.join("globalconf"),
        Client::new(connect, total, &[]),
        of.clock.clone(),
    )
}

/// Names of the members of an instance that a security server knows.
async fn known(client: &ConfigurationClient, instance: &str) -> Vec<String> {
    client.run_once().await.unwrap();
    let conf = client.published().load().as_ref().clone().unwrap();
    conf.clients(instance).iter().map(|(id, _)| id.short()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instance_knows_the_other_once_both_have_taken_the_anchors() {
    let (a, b) = (instance("AA").await, instance("BB").await);
    for (of, other, name) in [(&a, &b, "BB"), (&b, &a, "AA")] {
        let file = other.anchor(SourceKind::External);
        let (status, preview) = of.upload_anchor("/trusted-anchors/preview", &file).await;
        assert_eq!((status, &preview["instance_identifier"]), (200, &json!(name)));
        assert_eq!(
            of.json("GET", "/trusted-anchors", Value::Null).await,
            json!([]),
            "a preview keeps nothing"
        );
        assert_eq!(of.upload_anchor("/trusted-anchors", &file).await, (201, preview.clone()));
        assert_eq!(of.json("GET", "/trusted-anchors", Value::Null).await, json!([preview]));
        let path = format!("/trusted-anchors/{}", preview["hash"].as_str().unwrap());
        assert_eq!(of.download(&format!("{path}/download")).await, (200, file));
        of.publish().await;
    }
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let open = follower(&a, folders[0].path(), Federations::All);
    assert_eq!(known(&open, "BB").await, ["BB/GOV/1", "BB/GOV/1/mgmt"]);
    assert_eq!(known(&open, "AA").await.len(), 2);
    let listed = follower(&b, folders[1].path(), Federations::Listed(vec!["AA".into()]));
    assert_eq!(known(&listed, "AA").await, ["AA/GOV/1", "AA/GOV/1/mgmt"]);
    let closed = follower(&a, folders[2].path(), Federations::None);
    assert!(known(&closed, "BB").await.is_empty());

    // What the other instance registers is known with its next configuration.
    let body = json!({ "member_id": { "member_class": "GOV", "member_code": "2" }, "member_name": "Second" });
    b.json("POST", "/members", body).await;
    b.publish().await;
    assert_eq!(known(&open, "BB").await, ["BB/GOV/1", "BB/GOV/1/mgmt", "BB/GOV/2"]);

    // Trust that is taken back ends with the next configuration of the own instance.
    let shown = a.json("GET", "/trusted-anchors", Value::Null).await;
    let path = format!("/trusted-anchors/{}", shown[0]["hash"].as_str().unwrap());
    a.json("DELETE", &path, Value::Null).await;
    assert_eq!(a.download(&format!("{path}/download")).await.0, 404);
    a.publish().await;
    assert!(known(&open, "BB").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_is_tried_before_it_is_trusted() {
    let (a, b) = (instance("AA").await, instance("BB").await);
    let external = Anchor::read(&b.anchor(SourceKind::External)).unwrap();
    let internal = Anchor::read(&b.anchor(SourceKind::Internal)).unwrap();
    let changed = |change: fn(&mut Anchor)| {
        let mut anchor = external.clone();
        change(&mut anchor);
        anchor.write().unwrap()
    };
    let other_key = Anchor { sources: internal.sources.clone(), ..external.clone() };
    let mut other_key = Anchor { ..other_key };
    other_key.sources[0].url = external.sources[0].url.clone();
    const UNTRUSTED: &str = "trusted_anchor_verification_failed";
    let cases = [
        ("an internal source", internal.write().unwrap(), UNTRUSTED),
        ("nobody there", changed(|anchor| anchor.sources[0].url = "http://127.0.0.1:9/x".into()), UNTRUSTED),
        ("no URL", changed(|anchor| anchor.sources[0].url = "ftp://x".into()), UNTRUSTED),
        ("another path", changed(|anchor| anchor.sources[0].url.push_str("/x")), UNTRUSTED),
        ("another instance", changed(|anchor| anchor.instance = "CC".into()), UNTRUSTED),
        ("another key", other_key.write().unwrap(), UNTRUSTED),
        ("no anchor", b"<x/>".to_vec(), "malformed_anchor"),
    ];
    for (name, file, code) in cases {
        let (status, answer) = a.upload_anchor("/trusted-anchors", &file).await;
        assert_eq!((status, answer["error"]["code"].as_str()), (400, Some(code)), "{name}");
    }
    // What has expired is no proof either.
    a.clock.set(b.clock.now().plus(Duration::from_secs(3600)));
    let (status, answer) = a.upload_anchor("/trusted-anchors", &external.write().unwrap()).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (400, Some(UNTRUSTED)));
    assert_eq!(a.json("GET", "/trusted-anchors", Value::Null).await, json!([]));

    // Of several sources one that is good is enough.
    b.clock.set(a.clock.now());
    b.publish().await;
    let mut several = external.clone();
    several.sources.insert(
        0,
        proto::globalconf::anchor::AnchorSource {
            url: "http://127.0.0.1:9/externalconf".into(),
            ..several.sources[0].clone()
        },
    );
    assert_eq!(a.upload_anchor("/trusted-anchors", &several.write().unwrap()).await.0, 201);
    // A newer anchor of the same instance takes the place of the older.
    assert_eq!(a.upload_anchor("/trusted-anchors", &external.write().unwrap()).await.0, 201);
    assert_eq!(a.json("GET", "/trusted-anchors", Value::Null).await.as_array().unwrap().len(), 1);
    // The own one is kept, and no server is sent to it.
    assert_eq!(a.upload_anchor("/trusted-anchors", &a.anchor(SourceKind::External)).await.0, 400, "expired");
    a.publish().await;
    assert_eq!(a.upload_anchor("/trusted-anchors", &a.anchor(SourceKind::External)).await.0, 201);
    a.publish().await;
    let folder = tempfile::tempdir().unwrap();
    let open = follower(&a, folder.path(), Federations::All);
    assert_eq!(known(&open, "BB").await.len(), 2);
    let conf = open.published().load().as_ref().clone().unwrap();
    let anchors = &conf.private().unwrap().federation_anchors;
    assert_eq!(anchors.iter().map(|anchor| anchor.instance.as_str()).collect::<Vec<_>>(), ["BB"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_part_reaches_the_servers_of_the_instance_and_nobody_else() {
    let scene = instance("AA").await;
    let part = proto::globalconf::optional_parts::write_fetch_interval(777).unwrap();
    const PARTS: &str = "/configuration-sources/INTERNAL/configuration-parts";
    let upload = |identifier: &'static str, file: &'static str, bytes: Vec<u8>| {
        let scene = &scene;
        async move {
            let fields =
                [("content_identifier", None, identifier.as_bytes()), ("file", Some(file), &bytes[..])];
            let (status, answer) = scene.upload(PARTS, &fields).await;
            (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
        }
    };
    const INVALID: &str = "configuration_part_validation_failed";
    let cases = [
        ("FETCHINTERVAL", "p.xml", b"<x/>".to_vec(), 400, INVALID),
        ("SHARED-PARAMETERS", "p.xml", part.clone(), 400, INVALID),
        ("OTHER", "p.xml", part.clone(), 400, INVALID),
        ("FETCHINTERVAL", "p.txt", part.clone(), 400, "invalid_file_extension"),
        ("FETCHINTERVAL", "p.xml", part.clone(), 204, ""),
    ];
    for (identifier, file, bytes, status, code) in cases {
        assert_eq!(upload(identifier, file, bytes).await, (status, code.to_owned()), "{identifier} {file}");
    }
    assert_eq!(scene.download(&format!("{PARTS}/FETCHINTERVAL/0/download")).await, (200, part));
    for missing in ["FETCHINTERVAL/6", "MONITORING/0", "SHARED-PARAMETERS/7", "SHARED-PARAMETERS/x"] {
        assert_eq!(scene.download(&format!("{PARTS}/{missing}/download")).await.0, 404, "{missing}");
    }
    scene.publish().await;
    let folder = tempfile::tempdir().unwrap();
    let client = follower(&scene, folder.path(), Federations::None);
    client.run_once().await.unwrap();
    let stored = folder.path().join("globalconf/AA/fetchinterval-params.xml");
    assert!(std::fs::read_to_string(stored).unwrap().contains("777"));
    let shared = scene.download(&format!("{PARTS}/SHARED-PARAMETERS/6/download")).await;
    assert_eq!(shared, (200, std::fs::read(folder.path().join("globalconf/AA/shared-params.xml")).unwrap()));
    let external = scene.download("/configuration-sources/EXTERNAL/configuration-parts").await;
    let external: Value = serde_json::from_slice(&external.1).unwrap();
    let listed = external.as_array().unwrap().iter().map(|part| part["content_identifier"].as_str().unwrap());
    assert_eq!(listed.collect::<Vec<_>>(), ["SHARED-PARAMETERS"; 5]);
}
