//! Service descriptions, services and endpoints.

use security_server::serverconf::event::Event;
use serde_json::{Value, json};

use crate::scene::{Scene, certificate, client, each};

const DESCRIPTIONS: &str = "/clients/DEV:COM:1:A/service-descriptions";

/// A WSDL with these operations and titles; one whose name begins with `!` has an output without a message.
fn wsdl(operations: &[&str], address: &str) -> String {
    wsdl_of(operations, address, true)
}

pub(crate) fn wsdl_of(operations: &[&str], address: &str, titled: bool) -> String {
    let name = |text: &str| text.trim_start_matches('!').split('.').next().unwrap_or_default().to_owned();
    let abstract_ = operations.iter().map(|text| {
        let output = if text.starts_with('!') { "<output/>" } else { r#"<output message="t:m"/>"# };
        let title = titled
            .then(|| format!("<documentation><x:title>Title of {}</x:title></documentation>", name(text)));
        format!(r#"<operation name="{}">{}{output}</operation>"#, name(text), title.unwrap_or_default())
    });
    let bound = operations.iter().map(|text| {
        let version = text.split_once('.').map(|(_, version)| format!("<x:version>{version}</x:version>"));
        format!(r#"<operation name="{}">{}</operation>"#, name(text), version.unwrap_or_default())
    });
    format!(
        r#"<?xml version="1.0"?><definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:t" xmlns:x="urn:x"
        xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" targetNamespace="urn:t"><message name="m"/>
        <portType name="p">{}</portType>
        <binding name="b" type="t:p"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>{}</binding>
        <service name="s"><port name="o" binding="t:b"><s:address location="{address}"/></port></service></definitions>"#,
        abstract_.collect::<String>(),
        bound.collect::<String>(),
    )
}

pub(crate) fn pets(paths: &str) -> String {
    format!("openapi: 3.0.1\ninfo: {{title: Pets, version: '1'}}\nservers: [{{url: /api}}]\npaths:\n{paths}")
}

const PETS: &str = "  /pets:\n    get: {responses: {}}\n    post: {responses: {}}\n";

fn adding(kind: &str, url: &str, code: &str) -> Value {
    json!({"url": url, "type": kind, "rest_service_code": code, "ignore_warnings": false})
}

/// Adds and gives the path of the description.
async fn added(scene: &Scene, kind: &str, url: &str, code: &str) -> (String, Value) {
    let (status, description) = scene.post(DESCRIPTIONS, adding(kind, url, code)).await;
    assert_eq!(status, 201, "{description}");
    (format!("/service-descriptions/{}", description["id"].as_str().unwrap()), description)
}

fn endpoints(service: &Value) -> Vec<String> {
    let all = service["endpoints"].as_array().unwrap().iter();
    all.map(|e| {
        format!("{} {} {}", e["method"].as_str().unwrap(), e["path"].as_str().unwrap(), e["generated"])
    })
    .collect()
}

/// A52, A54.
#[tokio::test(flavor = "multi_thread")]
async fn operations_of_a_wsdl_become_services() {
    let scene = Scene::with_client().await;
    let url = scene.document("/w.wsdl", wsdl(&["get.v1", "hello"], "http://is/soap"));
    let (path, description) = added(&scene, "WSDL", &url, "").await;
    let service = |full: &str, code: &str| {
        let endpoint = json!({"service_code": code, "method": "*", "path": "**", "generated": true});
        json!({"id": format!("DEV:COM:1:A:{full}"), "full_service_code": full, "service_code": code, "timeout": 60,
            "title": format!("Title of {code}"), "ssl_auth": false, "url": "http://is/soap", "endpoints": [endpoint]})
    };
    let mut found = description.clone();
    for service in found["services"].as_array_mut().unwrap() {
        assert!(service["endpoints"][0].as_object_mut().unwrap().remove("id").is_some());
    }
    assert_eq!(found["services"], json!([service("get.v1", "get"), service("hello", "hello")]));
    assert_eq!((&found["disabled"], &found["disabled_notice"]), (&json!(true), &json!("Out of order")));
    assert_eq!(scene.get(&path).await, (200, description.clone()));
    assert_eq!(scene.get(&format!("{path}/services")).await.1, description["services"]);
    assert_eq!(scene.get(DESCRIPTIONS).await.1, json!([description]));
    let other = scene.document("/other.wsdl", wsdl(&["hello", "get.v2"], "http://is/soap"));
    scene
        .assert_refused(&[
            ("POST", DESCRIPTIONS, adding("WSDL", &url, ""), 409, "wsdl_exists"),
            ("POST", DESCRIPTIONS, adding("WSDL", &other, ""), 409, "service_already_exists"),
        ])
        .await;
    let (_, refused) = scene.post(DESCRIPTIONS, adding("WSDL", &other, "")).await;
    assert_eq!(refused["error"]["metadata"], json!(["hello", url]));
    assert_eq!(scene.delete(&path).await, 204);
    assert_eq!(scene.get(&path).await.0, 404);
    assert_eq!(scene.get("/services/DEV:COM:1:A:hello").await.0, 404);
}

/// A53.
#[tokio::test(flavor = "multi_thread")]
async fn remarks_on_a_wsdl_are_accepted_on_repeat() {
    let scene = Scene::with_client().await;
    let url = scene.document("/w.wsdl", wsdl(&["!get"], "http://is/soap"));
    let (status, warned) = scene.post(DESCRIPTIONS, adding("WSDL", &url, "")).await;
    assert_eq!((status, warned["warnings"][0]["code"].as_str()), (400, Some("wsdl_validation_warnings")));
    let mut accepted = adding("WSDL", &url, "");
    accepted["ignore_warnings"] = json!(true);
    assert_eq!(scene.post(DESCRIPTIONS, accepted).await.0, 201);
}

/// A55.
#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_wsdl_names_what_comes_and_goes() {
    let scene = Scene::with_client().await;
    let url = scene.document("/w.wsdl", wsdl(&["keep.v1", "gone", "renewed.v1"], "http://is/soap"));
    let (path, _) = added(&scene, "WSDL", &url, "").await;
    let kept = json!({"url": "http://is/moved", "timeout": 5, "ssl_auth": false});
    let (status, kept) = scene.patch("/services/DEV:COM:1:A:keep.v1", kept).await;
    assert_eq!(status, 200);
    let right = json!({"items": [{"id": "DEV:offices", "service_client_type": "GLOBALGROUP"}]});
    assert_eq!(scene.post("/services/DEV:COM:1:A:renewed.v1/service-clients", right).await.0, 200);
    scene.document("/w.wsdl", wsdl(&["keep.v1", "new", "renewed.v2"], "http://is/soap"));
    let refresh = format!("{path}/refresh");
    let (status, warned) = scene.put(&refresh, json!({})).await;
    let expected = json!([
        {"code": "adding_services", "metadata": ["new", "renewed.v2"]},
        {"code": "deleting_services", "metadata": ["gone", "renewed.v1"]},
    ]);
    assert_eq!((status, &warned["warnings"]), (400, &expected));
    assert_eq!(scene.get("/services/DEV:COM:1:A:gone").await.0, 200, "nothing has changed");
    let (status, refreshed) = scene.put(&refresh, json!({"ignore_warnings": "True"})).await;
    assert_eq!(status, 200, "{refreshed}");
    assert_eq!(each(&refreshed["services"], "full_service_code"), ["keep.v1", "new", "renewed.v2"]);
    assert_eq!(refreshed["services"][0], kept, "what stays keeps its settings and numbers");
    let rights = scene.get("/services/DEV:COM:1:A:renewed.v2/service-clients").await.1;
    assert_eq!(each(&rights, "id"), ["DEV:offices"], "rights belong to the code");
    // Nothing to accept when nothing changes; a body may be missing.
    assert_eq!(scene.send("PUT", &refresh, None).await.0, 200);
    // The same services from another place.
    let to = scene.document("/moved.wsdl", wsdl(&["keep.v1", "new", "renewed.v2"], "http://is/soap"));
    let (status, moved) = scene.patch(&path, json!({"url": to, "type": "WSDL"})).await;
    assert_eq!((status, &moved["url"], &moved["services"]), (200, &json!(to), &refreshed["services"]));
}

/// A56.
#[tokio::test(flavor = "multi_thread")]
async fn settings_are_copied_to_all_services_of_a_description() {
    let scene = Scene::with_client().await;
    let url = scene.document("/w.wsdl", wsdl(&["a", "b"], "http://is/soap"));
    let (path, _) = added(&scene, "WSDL", &url, "").await;
    let service = "/services/DEV:COM:1:A:a";
    let change = json!({"url": "https://127.0.0.1:1/x", "timeout": 7, "ssl_auth": true, "url_all": true, "timeout_all": false,
        "ssl_auth_all": "true", "ignore_warnings": true});
    let (status, changed) = scene.patch(service, change).await;
    assert_eq!((status, &changed["timeout"], &changed["ssl_auth"]), (200, &json!(7), &json!(true)));
    let (_, services) = scene.get(&format!("{path}/services")).await;
    let found: Vec<_> =
        services.as_array().unwrap().iter().map(|s| (&s["url"], &s["timeout"], &s["ssl_auth"])).collect();
    let (moved, verified) = (json!("https://127.0.0.1:1/x"), json!(true));
    assert_eq!(found, [(&moved, &json!(7), &verified), (&moved, &json!(60), &verified)]);

    let update =
        |url: &str, timeout: Value, ssl: bool| json!({"url": url, "timeout": timeout, "ssl_auth": ssl});
    let unknown = "/services/DEV:COM:1:A:none";
    scene
        .assert_refused(&[
            ("PATCH", service, json!({}), 400, "validation_failure"),
            ("PATCH", service, update("http://is/", json!(1001), false), 400, "validation_failure"),
            ("PATCH", service, update("http://is/", json!(-1), false), 400, "validation_failure"),
            ("PATCH", service, update("ftp://is/", json!(1), false), 400, "malformed_url"),
            ("PATCH", service, update("http://is/", json!(1), true), 400, "invalid_https_url"),
            // Nobody listens there.
            ("PATCH", service, update("https://127.0.0.1:1/x", json!(1), true), 400, "warnings_detected"),
            ("PATCH", unknown, update("http://is/", json!(1), false), 404, "service_not_found"),
            (
                "PATCH",
                "/services/DEV:COM:9:Z:a",
                update("http://is/", json!(1), false),
                404,
                "client_not_found",
            ),
            ("GET", unknown, json!({}), 404, "service_not_found"),
            ("GET", "/services/nothing", json!({}), 400, "invalid_encoded_id"),
        ])
        .await;
    let (_, refused) = scene.patch(service, json!({})).await;
    let expected = ["serviceUpdateDto.sslAuth", "serviceUpdateDto.timeout", "serviceUpdateDto.url"];
    let errors = refused["error"]["validation_errors"].as_object().unwrap();
    assert_eq!(errors.keys().collect::<Vec<_>>(), expected);
}

/// The warnings of A56: an address that speaks no TLS, one that shows a certificate that is not stored, one that does.
#[tokio::test(flavor = "multi_thread")]
async fn tls_of_a_service_is_looked_at() {
    let scene = Scene::with_client().await;
    let (_, _) = added(&scene, "REST", "https://is/a", "a").await;
    let key = pki::key::PrivateKey::generate(pki::key::KeyKind::P256).unwrap();
    let template = pki::issue::Template {
        subject: &vec![(pki::name::COMMON_NAME, "is".to_owned())],
        role: pki::issue::Role::Tls,
        serial: &[9],
        not_before: proto::time::UnixTime(0),
        not_after: crate::scene::NOW,
        dns_names: &[],
        addresses: &[],
        ocsp_url: None,
    };
    let cert = pki::issue::self_signed(&template, &key).unwrap();
    let der = rustls::pki_types::PrivateKeyDer::Pkcs8(key.to_pkcs8().to_vec().into());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().to_vec().into()], der)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = format!("https://{}/a", listener.local_addr().unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let plain = scene.at("/a").replace("http://", "https://");
    let update = |url: &str| json!({"url": url, "timeout": 1, "ssl_auth": true});
    let service = "/services/DEV:COM:1:A:a";
    for (url, code) in
        [(&plain, "internal_server_ssl_error"), (&secure, "internal_server_ssl_handshake_error")]
    {
        let (status, warned) = scene.patch(service, update(url)).await;
        assert_eq!((status, &warned["warnings"]), (400, &json!([{"code": code, "metadata": [url]}])));
    }
    let path = "/clients/DEV:COM:1:A/tls-certificates";
    let stored = scene.send_bytes("POST", path, "application/octet-stream", cert.der()).await;
    assert_eq!(stored.0, 201);
    assert_eq!(scene.patch(service, update(&secure)).await.0, 200);
    // The address of a REST service is that of its description.
    assert_eq!(scene.get(DESCRIPTIONS).await.1[0]["url"], json!(secure));
}

/// A57, A61.
#[tokio::test(flavor = "multi_thread")]
async fn a_rest_service_is_its_address() {
    let scene = Scene::with_client().await;
    let (path, description) = added(&scene, "REST", "https://is/a", "a").await;
    let service = &description["services"][0];
    assert_eq!((&service["ssl_auth"], endpoints(service)), (&json!(true), vec!["* ** true".to_owned()]));
    let notice = || {
        let service = scene.served().service(&client("DEV:COM:1:A").service("a")).cloned();
        service.unwrap().disabled.clone()
    };
    for (action, body, expected) in [
        ("enable", json!({}), None),
        ("disable", json!({"disabled_notice": "closed for tests"}), Some("closed for tests")),
        ("enable", json!({}), None),
        ("enable", json!({}), None),
        ("disable", json!({}), Some("The service is out of order")),
    ] {
        let (status, answer) = scene.put(&format!("{path}/{action}"), body).await;
        assert_eq!((status, answer), (200, Value::Null), "{action}");
        assert_eq!(notice().as_deref(), expected, "{action}");
    }
    let update = |url: &str, code: &str, new: &str| json!({"url": url, "type": "REST", "rest_service_code": code, "new_rest_service_code": new});
    let (status, moved) = scene.patch(&path, update("http://is/b", "a", "b")).await;
    assert_eq!((status, each(&moved["services"], "full_service_code")), (200, vec!["b"]), "{moved}");
    assert_eq!((&moved["url"], &moved["services"][0]["url"]), (&json!("http://is/b"), &json!("http://is/b")));
    let number = |description: &Value| description["services"][0]["endpoints"][0]["id"].clone();
    assert_eq!(number(&moved), number(&description), "the endpoint is the same");
    added(&scene, "REST", "http://is/c", "c").await;
    let refresh = format!("{path}/refresh");
    assert_eq!(scene.put(&refresh, json!({})).await.0, 200, "there is nothing to read");
    let unknown = "/service-descriptions/999999";
    scene
        .assert_refused(&[
            ("PATCH", &path, update("http://is/c", "b", "b"), 409, "url_already_exists"),
            ("PATCH", &path, update("http://is/b", "b", "c"), 409, "service_code_already_exists"),
            ("PATCH", &path, update("http://is/b", "none", "x"), 404, "service_not_found"),
            ("PATCH", &path, update("http://is/b", "b", "getWsdl"), 400, "service_code_reserved"),
            ("PATCH", &path, update("ftp://is/b", "b", "b"), 400, "malformed_url"),
            ("PATCH", &path, json!({"url": "http://is/b", "type": "REST"}), 400, "missing_parameter"),
            ("PATCH", &path, json!({}), 400, "validation_failure"),
            (
                "PATCH",
                &path,
                json!({"url": "http://is/b", "type": "OPENAPI3", "rest_service_code": "b"}),
                400,
                "wrong_servicedescription_type",
            ),
            ("GET", unknown, json!({}), 404, "service_description_not_found"),
            ("DELETE", unknown, json!({}), 404, "service_description_not_found"),
            ("GET", "/service-descriptions/null", json!({}), 404, "id_not_a_number"),
            ("PUT", "/service-descriptions/999999/enable", json!({}), 404, "service_description_not_found"),
            ("PUT", "/service-descriptions/999999/disable", json!({}), 404, "service_description_not_found"),
            ("PUT", "/service-descriptions/999999/refresh", json!({}), 404, "service_description_not_found"),
        ])
        .await;
}

/// A58: also what a refresh brings.
#[tokio::test(flavor = "multi_thread")]
async fn operations_of_an_openapi_description_become_endpoints() {
    let scene = Scene::with_client().await;
    let url = scene.document("/docs/pets.yaml", pets(PETS));
    let (path, description) = added(&scene, "OPENAPI3", &url, "pets").await;
    let service = &description["services"][0];
    assert_eq!(service["url"], json!(scene.at("/api")));
    assert_eq!(endpoints(service), ["* ** true", "GET /pets true", "POST /pets true"]);
    for own in [json!("DELETE"), json!("PUT")] {
        let body = json!({"service_code": "pets", "method": own, "path": "/pets/*"});
        assert_eq!(scene.post("/services/DEV:COM:1:A:pets/endpoints", body).await.0, 201);
    }
    let changed = "  /pets:\n    get: {responses: {}}\n  /pets/{id}:\n    parameters: [{in: path, name: id}]\n    put: {responses: {}}\n  /dogs:\n    get: {responses: {}}\n";
    scene.document("/docs/pets.yaml", pets(changed));
    let refresh = format!("{path}/refresh");
    let (status, warned) = scene.put(&refresh, json!({})).await;
    let expected = json!([
        {"code": "adding_endpoints", "metadata": ["GET /dogs"]},
        {"code": "deleting_endpoints", "metadata": ["POST /pets"]},
    ]);
    assert_eq!((status, &warned["warnings"]), (400, &expected));
    let (status, refreshed) = scene.put(&refresh, json!({"ignore_warnings": true})).await;
    assert_eq!(status, 200);
    let expected =
        ["* ** true", "DELETE /pets/* false", "GET /dogs true", "GET /pets true", "PUT /pets/* true"];
    assert_eq!(endpoints(&refreshed["services"][0]), expected, "one's own endpoints stay");
    let doubtful = scene.document("/doubtful.yaml", pets("  /x/{y}:\n    get: {responses: {}}\n"));
    let (status, warned) = scene.post(DESCRIPTIONS, adding("OPENAPI3", &doubtful, "x")).await;
    assert_eq!((status, warned["warnings"][0]["code"].as_str()), (400, Some("openapi_validation_warnings")));
    let update = json!({"url": doubtful, "type": "OPENAPI3", "rest_service_code": "pets", "new_rest_service_code": "x",
        "ignore_warnings": true});
    let (status, moved) = scene.patch(&path, update).await;
    assert_eq!((status, each(&moved["services"], "service_code")), (200, vec!["x"]), "{moved}");
    assert_eq!(endpoints(&moved["services"][0]), ["* ** true", "DELETE /pets/* false", "GET /x/* true"]);
}

/// A59, and everything else that is no description.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_description_is_refused() {
    let scene = Scene::with_client().await;
    let at = |path: &str, text: &str| scene.document(path, text);
    let oas2 = at("/oas2.yaml", "swagger: '2.0'\npaths: {}\n");
    let oas311 = at("/oas311.yaml", "openapi: 3.1.1\n");
    let broken = at("/broken.yaml", "a: [b\n");
    let not_wsdl = at("/pets.yaml", &pets(PETS));
    let xxe = at("/xxe.wsdl", "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><d>&e;</d>");
    let colon = scene.document("/colon.wsdl", wsdl(&["a:b"], "http://is/"));
    let sftp = scene.document("/sftp.wsdl", wsdl(&["z"], "sftp://is/"));
    let reserved = scene.document("/reserved.wsdl", wsdl(&["getWsdl"], "http://is/"));
    let (none, file) = (scene.at("/none"), "file:///etc/passwd");
    let to_file = scene.at("/tofile:///etc/passwd");
    let round = scene.at("/to/to/to/to/to/to/to/to/to");
    added(&scene, "REST", "http://is/a", "a").await;
    let post = |kind: &str, url: &str, code: &str| adding(kind, url, code);
    let unknown = "/clients/DEV:COM:1:NONE/service-descriptions";
    let cases = [
        (post("OPENAPI3", &oas2, "c"), 400, "unsupported_openapi_version"),
        (post("OPENAPI3", &oas311, "c"), 400, "unsupported_openapi_version"),
        (post("OPENAPI3", &broken, "c"), 400, "openapi_parsing_error"),
        (post("OPENAPI3", &none, "c"), 400, "openapi_parsing_error"),
        (post("OPENAPI3", &to_file, "c"), 400, "openapi_parsing_error"),
        (post("OPENAPI3", &round, "c"), 400, "openapi_parsing_error"),
        (post("OPENAPI3", file, "c"), 400, "malformed_url"),
        (post("OPENAPI3", &not_wsdl, ""), 400, "missing_parameter"),
        (post("OPENAPI3", &not_wsdl, "a"), 409, "service_code_already_exists"),
        (post("OPENAPI3", &not_wsdl, "listMethods"), 400, "service_code_reserved"),
        (post("WSDL", &none, ""), 400, "wsdl_download_failed"),
        (post("WSDL", &to_file, ""), 400, "wsdl_download_failed"),
        (post("WSDL", &not_wsdl, ""), 400, "invalid_wsdl"),
        (post("WSDL", &xxe, ""), 400, "invalid_wsdl"),
        (post("WSDL", &colon, ""), 400, "invalid_wsdl_service_identifier"),
        (post("WSDL", &sftp, ""), 400, "invalid_service_url"),
        (post("WSDL", &reserved, ""), 400, "service_code_reserved"),
        (post("WSDL", "ftp://x", ""), 400, "malformed_url"),
        (post("REST", "http://is/b", ""), 400, "missing_parameter"),
        (post("REST", "http://is/b", "getOpenAPI"), 400, "service_code_reserved"),
        (post("REST", "http://is/b", "a"), 409, "service_code_already_exists"),
        (post("REST", "http://is/a", "b"), 409, "url_already_exists"),
        (post("REST", "http://is/b", "a/b"), 400, "validation_failure"),
        (post("GRPC", "http://is/b", "b"), 400, ""),
        (json!({"type": "REST"}), 400, "validation_failure"),
        (json!({}), 400, "validation_failure"),
    ];
    for (body, status, code) in cases {
        scene.assert_refused(&[("POST", DESCRIPTIONS, body, status, code)]).await;
    }
    let calls = [
        ("POST", unknown, post("REST", "http://is/b", "b"), 404, "client_not_found"),
        ("GET", unknown, json!({}), 404, "client_not_found"),
    ];
    scene.assert_refused(&calls).await;
    let (_, refused) = scene.post(DESCRIPTIONS, post("OPENAPI3", &none, "c")).await;
    assert_eq!(refused["error"]["metadata"], json!([format!("Error reading OpenAPI description: {none}")]));
    let (_, refused) = scene.post(DESCRIPTIONS, post("OPENAPI3", &broken, "c")).await;
    assert_eq!(
        refused["error"]["metadata"],
        json!([format!("Unable to parse OpenAPI description from {broken}")])
    );
    let (_, refused) = scene.post(DESCRIPTIONS, json!({})).await;
    let errors =
        json!({"serviceDescriptionAddDto.type": ["NotNull"], "serviceDescriptionAddDto.url": ["NotNull"]});
    assert_eq!(refused["error"]["validation_errors"], errors);
    // A redirect that may be followed is.
    let redirected = scene.at(&format!("/to{not_wsdl}"));
    added(&scene, "OPENAPI3", &redirected, "redirected").await;
}

/// A60.
#[tokio::test(flavor = "multi_thread")]
async fn own_endpoints_are_added_changed_and_removed() {
    let scene = Scene::with_client().await;
    let url = scene.document("/pets.yaml", pets(PETS));
    let (_, description) = added(&scene, "OPENAPI3", &url, "pets").await;
    let soap = scene.document("/w.wsdl", wsdl(&["op"], "http://is/"));
    added(&scene, "WSDL", &soap, "").await;
    let path = "/services/DEV:COM:1:A:pets/endpoints";
    let new = |method: &str, path: &str| json!({"service_code": "pets", "method": method, "path": path});
    let (status, own) = scene.post(path, new("DELETE", "/pets/*")).await;
    assert_eq!((status, &own["generated"]), (201, &json!(false)));
    let own = format!("/endpoints/{}", own["id"].as_str().unwrap());
    let generated = description["services"][0]["endpoints"][1]["id"].as_str().unwrap();
    let generated = format!("/endpoints/{generated}");
    let update = |method: &str, path: &str| json!({"method": method, "path": path});
    let with_id = json!({"id": "5", "service_code": "pets", "method": "PUT", "path": "/pets/*"});
    scene
        .assert_refused(&[
            ("POST", path, json!({}), 400, "validation_failure"),
            ("POST", path, new("FETCH", "/x"), 400, ""),
            ("POST", path, new("GET", "x"), 400, "validation_failure"),
            ("POST", path, with_id, 400, "endpoint_id_should_not_be_provided"),
            ("POST", path, new("DELETE", "/pets/*"), 409, "endpoint_already_exists"),
            (
                "POST",
                "/services/DEV:COM:1:A:op/endpoints",
                new("GET", "/x"),
                400,
                "wrong_servicedescription_type",
            ),
            ("POST", "/services/DEV:COM:1:A:none/endpoints", new("GET", "/x"), 404, "service_not_found"),
            ("PATCH", &own, update("GET", "/pets"), 409, "endpoint_already_exists"),
            ("PATCH", &own, json!({}), 400, "validation_failure"),
            ("PATCH", &generated, update("PUT", "/x"), 400, "illegal_generated_endpoint_update"),
            ("DELETE", &generated, json!({}), 400, "illegal_generated_endpoint_remove"),
            ("GET", "/endpoints/999999", json!({}), 404, "endpoint_not_found"),
            ("PATCH", "/endpoints/999999", update("*", "/foo"), 404, "endpoint_not_found"),
            ("DELETE", "/endpoints/999999", json!({}), 404, "endpoint_not_found"),
            ("GET", "/endpoints/null", json!({}), 404, "id_not_a_number"),
        ])
        .await;
    let (status, changed) = scene.patch(&own, update("PUT", "/pets/**")).await;
    assert_eq!((status, &changed["method"], &changed["path"]), (200, &json!("PUT"), &json!("/pets/**")));
    assert_eq!(scene.get(&own).await, (200, changed));
    assert_eq!(scene.delete(&own).await, 204);
    assert_eq!(scene.get(&own).await.0, 404);
}

/// What an earlier program wrote is shown as well.
#[tokio::test(flavor = "multi_thread")]
async fn services_of_apply_are_shown() {
    let scene = Scene::with_client().await;
    let id = || client("DEV:COM:1:A");
    let settings = security_server::serverconf::event::ServiceSettings {
        url: "http://is/".into(),
        timeout_seconds: 0,
        verify_tls: true,
        title: None,
    };
    let kind = security_server::serverconf::ServiceKind::Wsdl;
    let url = || "http://is/w".to_owned();
    let events = vec![
        Event::TlsCertAdded { client: id(), der: certificate("x") },
        Event::DescriptionAdded { client: id(), url: url(), kind, disabled: None },
        Event::ServiceAdded { client: id(), description: url(), code: "s".into(), version: None, settings },
    ];
    scene.foundation.change("apply", events).unwrap();
    let (_, all) = scene.get(DESCRIPTIONS).await;
    assert_eq!((&all[0]["disabled"], &all[0]["disabled_notice"]), (&json!(false), &json!("")));
    let service = &all[0]["services"][0];
    assert_eq!(
        (&service["timeout"], &service["ssl_auth"]),
        (&json!(0), &json!(false)),
        "plain http verifies nothing"
    );
}
