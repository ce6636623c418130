//! Access rights by service, endpoint and subject.

use serde_json::{Value, json};

use crate::scene::{Scene, client, each};

const SERVICE: &str = "/services/DEV:COM:1:A:a/service-clients";

/// Two REST services `a` and `b`, one endpoint of `a`, one local group; paths of the endpoint and number of the group.
async fn offering() -> (Scene, String, String) {
    let scene = Scene::with_client().await;
    for code in ["a", "b"] {
        let rest = json!({"url": format!("http://is/{code}"), "type": "REST", "rest_service_code": code});
        assert_eq!(scene.post("/clients/DEV:COM:1:A/service-descriptions", rest).await.0, 201);
    }
    let endpoint = json!({"service_code": "a", "method": "GET", "path": "/pets/*"});
    let (_, endpoint) = scene.post("/services/DEV:COM:1:A:a/endpoints", endpoint).await;
    let group = json!({"code": "g", "description": "Group"});
    let (_, group) = scene.post("/clients/DEV:COM:1:A/local-groups", group).await;
    let endpoint = format!("/endpoints/{}/service-clients", endpoint["id"].as_str().unwrap());
    (scene, endpoint, group["id"].as_str().unwrap().to_owned())
}

fn item(id: &str, kind: &str) -> Value {
    json!({"items": [{"id": id, "service_client_type": kind}]})
}

/// Whether exchanges would be let through.
fn may(scene: &Scene, who: &str, code: &str, method: &str, path: &str) -> bool {
    let conf = scene.foundation.valid_globalconf().unwrap();
    scene.served().is_allowed(&conf, &client(who), &client("DEV:COM:1:A").service(code), Some((method, path)))
}

/// A62, A63.
#[tokio::test(flavor = "multi_thread")]
async fn rights_on_a_service_are_shown_with_name_type_and_time() {
    let (scene, _, group) = offering().await;
    let at = "2026-11-21T18:26:40.000Z";
    let subsystem = json!({"id": "DEV:GOV:3:Y", "name": "Yearly", "service_client_type": "SUBSYSTEM", "rights_given_at": at});
    let global = json!({"id": "DEV:offices", "name": "All offices", "service_client_type": "GLOBALGROUP", "rights_given_at": at});
    let local = json!({"id": group, "name": "Group", "local_group_code": "g", "service_client_type": "LOCALGROUP",
        "rights_given_at": at});
    assert_eq!(scene.post(SERVICE, item("DEV:GOV:3:Y", "SUBSYSTEM")).await, (200, json!([subsystem])));
    assert_eq!(
        scene.post(SERVICE, item("DEV:offices", "GLOBALGROUP")).await,
        (200, json!([global, subsystem]))
    );
    let expected = json!([global, local, subsystem]);
    assert_eq!(scene.post(SERVICE, item(&group, "LOCALGROUP")).await, (200, expected.clone()));
    assert_eq!(scene.get(SERVICE).await, (200, expected.clone()));
    assert_eq!(scene.get("/clients/DEV:COM:1:A/service-clients").await, (200, expected));
    assert!(may(&scene, "DEV:GOV:3:Y", "a", "DELETE", "/x"));

    let two = json!({"items": [{"id": "DEV:COM:2:X"}, {"id": "DEV:offices"}]});
    let unknown = "/services/DEV:COM:1:A:none/service-clients";
    let gone = format!("{SERVICE}/delete");
    scene
        .assert_refused(&[
            ("POST", SERVICE, item("DEV:offices", "GLOBALGROUP"), 409, "duplicate_accessright"),
            ("POST", SERVICE, two, 409, "duplicate_accessright"),
            ("POST", SERVICE, item("DEV:COM:1", "MEMBER"), 400, ""),
            ("POST", SERVICE, item("DEV:COM:1", "SUBSYSTEM"), 400, "invalid_service_client_id"),
            ("POST", SERVICE, item("DEV:COM:9:X", "SUBSYSTEM"), 400, "service_client_not_found"),
            ("POST", SERVICE, item("DEV:none", "GLOBALGROUP"), 400, "service_client_not_found"),
            ("POST", SERVICE, item("999999", "LOCALGROUP"), 400, "service_client_not_found"),
            ("POST", SERVICE, json!({}), 400, "missing_parameter"),
            ("POST", unknown, json!({}), 404, "service_not_found"),
            ("POST", "/services/DEV:COM:9:Z:a/service-clients", json!({}), 404, "client_not_found"),
            ("POST", unknown, item("a | b", "GLOBALGROUP"), 400, "invalid_service_client_id"),
            ("GET", unknown, json!({}), 404, "service_not_found"),
            ("POST", &gone, item("DEV:COM:2:X", "SUBSYSTEM"), 400, "accessright_not_found"),
        ])
        .await;
    assert_eq!(scene.post(&gone, item("DEV:offices", "GLOBALGROUP")).await.0, 204);
    assert_eq!(each(&scene.get(SERVICE).await.1, "id"), [group.as_str(), "DEV:GOV:3:Y"]);
}

/// A64, A65.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_given_services_and_loses_one() {
    let (scene, endpoint, _) = offering().await;
    let subject = "/clients/DEV:COM:1:A/service-clients/DEV:GOV:3:Y";
    let rights = format!("{subject}/access-rights");
    let codes = |codes: &[&str]| json!({"items": codes.iter().map(|code| json!({"service_code": code})).collect::<Vec<_>>()});
    scene.assert_refused(&[("GET", subject, json!({}), 404, "service_client_not_found")]).await;
    let (status, added) = scene.post(&rights, codes(&["a", "b"])).await;
    assert_eq!((status, each(&added, "service_code")), (201, vec!["a", "b"]));
    assert_eq!(scene.get(&rights).await, (200, added));
    assert_eq!(scene.get(subject).await.1["name"], "Yearly");
    assert_eq!(scene.post(&endpoint, item("DEV:GOV:3:Y", "SUBSYSTEM")).await.0, 201);
    let gone = format!("{rights}/delete");
    let path = |id: &str, subject: &str| format!("/clients/{id}/service-clients/{subject}/access-rights");
    let (nobody, unknown) =
        (path("DEV:COM:none:NONE", "DEV:COM:none:X"), path("DEV:COM:1:A", "DEV:COM:none:X"));
    let malformed = path("DEV:COM:1:A", "what");
    scene
        .assert_refused(&[
            ("POST", &rights, codes(&["a"]), 409, "duplicate_accessright"),
            ("POST", &rights, codes(&["none"]), 400, "service_not_found"),
            ("POST", &rights, json!({}), 400, "missing_parameter"),
            ("POST", &gone, codes(&["none"]), 400, "service_not_found"),
            ("POST", &nobody, json!({}), 404, "client_not_found"),
            ("POST", &format!("{nobody}/delete"), json!({}), 404, "client_not_found"),
            ("POST", &unknown, codes(&["a"]), 404, "service_client_not_found"),
            ("POST", &format!("{unknown}/delete"), codes(&["a"]), 409, "accessright_not_found"),
            ("POST", &malformed, codes(&["a"]), 400, "invalid_service_client_id"),
            ("GET", &nobody, json!({}), 404, "client_not_found"),
            ("GET", &unknown, json!({}), 404, "service_client_not_found"),
            ("GET", "/clients/DEV:COM:none:NONE/service-clients", json!({}), 404, "client_not_found"),
        ])
        .await;
    assert_eq!(scene.post(&gone, codes(&["a"])).await.0, 204);
    assert_eq!(each(&scene.get(&rights).await.1, "service_code"), ["b"], "it keeps the others");
    assert_eq!(scene.get(&endpoint).await.1, json!([]), "its endpoints go with the service");
    assert!(
        !may(&scene, "DEV:GOV:3:Y", "a", "GET", "/pets/1") && may(&scene, "DEV:GOV:3:Y", "b", "GET", "/")
    );
}

/// A66.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_on_an_endpoint_is_that_method_and_path() {
    let (scene, endpoint, group) = offering().await;
    let (status, given) = scene.post(&endpoint, item("DEV:COM:2:X", "SUBSYSTEM")).await;
    assert_eq!((status, each(&given, "name")), (201, vec!["X"]));
    for (method, path, expected) in
        [("GET", "/pets/1", true), ("GET", "/pets/1/2", false), ("POST", "/pets/1", false)]
    {
        assert_eq!(may(&scene, "DEV:COM:2:X", "a", method, path), expected, "{method} {path}");
    }
    assert_eq!(
        scene.get("/clients/DEV:COM:1:A/service-clients").await.1,
        json!([]),
        "no right on a whole service"
    );
    let gone = format!("{endpoint}/delete");
    let unknown = "/endpoints/999999/service-clients";
    scene
        .assert_refused(&[
            ("POST", &endpoint, item("DEV:COM:2:X", "SUBSYSTEM"), 409, "duplicate_accessright"),
            ("POST", &endpoint, item("DEV:COM:9:X", "SUBSYSTEM"), 400, "service_client_not_found"),
            ("POST", &endpoint, item("no", "SUBSYSTEM"), 400, "invalid_service_client_id"),
            ("POST", &gone, item(&group, "LOCALGROUP"), 404, "accessright_not_found"),
            ("GET", unknown, json!({}), 404, "endpoint_not_found"),
            ("POST", unknown, json!({}), 404, "endpoint_not_found"),
            ("POST", unknown, item("a | b", "SUBSYSTEM"), 400, "invalid_service_client_id"),
        ])
        .await;
    assert_eq!(scene.post(&gone, item("DEV:COM:2:X", "SUBSYSTEM")).await.0, 204);
    assert!(!may(&scene, "DEV:COM:2:X", "a", "GET", "/pets/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_can_be_given_rights_is_found() {
    let (scene, _, group) = offering().await;
    let all = ["DEV:COM:1:A", "DEV:offices", group.as_str(), "DEV:COM:2:X", "DEV:GOV:3:Y"];
    let cases: [(&str, &[&str]); 9] = [
        ("", &all),
        ("service_client_type=GLOBALGROUP", &["DEV:offices"]),
        ("service_client_type=LOCALGROUP", &[group.as_str()]),
        ("member_class=gov", &["DEV:GOV:3:Y"]),
        ("member_group_code=OFF", &["DEV:offices"]),
        ("subsystem_code=x", &["DEV:COM:2:X"]),
        ("instance=DEV", &all),
        ("instance=XX", &[group.as_str()]),
        ("member_name_group_description=second", &["DEV:COM:2:X"]),
    ];
    for (query, expected) in cases {
        let (status, found) =
            scene.get(&format!("/clients/DEV:COM:1:A/service-client-candidates?{query}")).await;
        assert_eq!((status, each(&found, "id")), (200, expected.to_vec()), "{query}");
        assert!(found.as_array().unwrap().iter().all(|each| each.get("rights_given_at").is_none()));
    }
    scene
        .assert_refused(&[
            (
                "GET",
                "/clients/DEV:COM:1:A/service-client-candidates?service_client_type=ALL",
                json!({}),
                400,
                "validation_failure",
            ),
            (
                "GET",
                "/clients/DEV:COM:none:NONE/service-client-candidates",
                json!({}),
                404,
                "client_not_found",
            ),
        ])
        .await;
}
