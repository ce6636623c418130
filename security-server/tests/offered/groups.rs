//! Local groups.

use serde_json::{Value, json};

use crate::scene::{Scene, client, each};

const GROUPS: &str = "/clients/DEV:COM:1:A/local-groups";

async fn added(scene: &Scene) -> String {
    let (status, group) = scene.post(GROUPS, json!({"code": "g1", "description": "Group one"})).await;
    assert_eq!(status, 201, "{group}");
    format!("/local-groups/{}", group["id"].as_str().unwrap())
}

/// A67.
#[tokio::test(flavor = "multi_thread")]
async fn groups_are_described_and_members_counted() {
    let scene = Scene::with_client().await;
    let group = added(&scene).await;
    let members = format!("{group}/members");
    let two = json!({"items": ["DEV:GOV:3:Y", "DEV:COM:1:A"]});
    assert_eq!(scene.post(&members, two.clone()).await, (201, two));
    let (_, shown) = scene.patch(&group, json!({"description": "New text"})).await;
    assert_eq!((&shown["description"], &shown["member_count"]), (&json!("New text"), &json!(2)));
    assert_eq!(each(&shown["members"], "member_name"), ["Office", "Owner Ltd"]);
    assert_eq!(each(&shown["members"], "name"), ["Office", "Owner Ltd"], "for older scripts");
    assert_eq!(shown["members"][0]["subsystem_name"], "Yearly");
    assert_eq!(scene.get(GROUPS).await.1, json!([shown]));
    let gone = format!("{members}/delete");
    assert_eq!(scene.post(&gone, json!({"items": ["DEV:GOV:3:Y"]})).await.0, 204);
    assert_eq!(scene.get(&group).await.1["member_count"], 1);
    assert_eq!(scene.delete(&group).await, 204);
    assert_eq!(scene.get(&group).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_their_codes() {
    let scene = Scene::with_client().await;
    let group = added(&scene).await;
    let members = format!("{group}/members");
    assert_eq!(scene.post(&members, json!({"items": ["DEV:COM:2:X"]})).await.0, 201);
    let gone = format!("{members}/delete");
    let item = |id: &str| json!({"items": [id]});
    let group_of = |code: &str, text: &str| json!({"code": code, "description": text});
    let (long, nobody) = ("x".repeat(256), "/local-groups/999999");
    scene
        .assert_refused(&[
            ("POST", GROUPS, json!({}), 400, "validation_failure"),
            ("POST", GROUPS, group_of(&long, "d"), 400, "validation_failure"),
            ("POST", GROUPS, group_of("g2", "a<b>"), 400, "validation_failure"),
            ("POST", GROUPS, group_of("g1", "x"), 409, "local_group_code_already_exists"),
            ("POST", "/clients/DEV:COM:1:NONE/local-groups", group_of("g1", "x"), 404, "client_not_found"),
            ("GET", "/clients/DEV:COM:1:NONE/local-groups", json!({}), 404, "client_not_found"),
            ("PATCH", &group, json!({}), 400, "validation_failure"),
            ("POST", &members, json!({"items": []}), 400, "missing_member_id"),
            ("POST", &members, json!({}), 400, "missing_member_id"),
            ("POST", &members, item("x"), 400, "invalid_encoded_id"),
            ("POST", &members, item("DEV:COM:2:X"), 409, "local_group_member_already_exists"),
            ("POST", &members, item("DEV:COM:9:X"), 409, "local_group_member_not_found"),
            (
                "POST",
                &gone,
                json!({"items": ["DEV:COM:2:X", "DEV:GOV:3:Y"]}),
                409,
                "local_group_member_not_found",
            ),
            ("POST", &gone, json!({}), 409, "local_group_member_not_found"),
            ("GET", nobody, json!({}), 404, "local_group_not_found"),
            ("GET", "/local-groups/null", json!({}), 404, "id_not_a_number"),
            ("DELETE", nobody, json!({}), 404, "local_group_not_found"),
            ("PATCH", nobody, json!({"description": "x"}), 404, "local_group_not_found"),
            ("POST", "/local-groups/999999/members/delete", item("x"), 404, "local_group_not_found"),
        ])
        .await;
    let (_, refused) = scene.post(GROUPS, group_of(&long, "d")).await;
    assert_eq!(refused["error"]["validation_errors"], json!({"localGroupAddDto.code": ["Size"]}));
    let (_, refused) = scene.post(GROUPS, group_of("g2", "a<b>")).await;
    assert_eq!(refused["error"]["validation_errors"], json!({"localGroupAddDto.description": ["Pattern"]}));
}

/// A68, A69.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_takes_its_rights_along_and_its_code_is_its_clients() {
    let scene = Scene::with_client().await;
    let owner = json!({"code": "g1", "description": "of another client"});
    assert_eq!(scene.post("/clients/DEV:COM:1/local-groups", owner).await.0, 201);
    let group = added(&scene).await;
    let number = group.rsplit('/').next().unwrap();
    let rest = json!({"url": "http://is/a", "type": "REST", "rest_service_code": "a"});
    assert_eq!(scene.post("/clients/DEV:COM:1:A/service-descriptions", rest).await.0, 201);
    let members = format!("{group}/members");
    assert_eq!(scene.post(&members, json!({"items": ["DEV:GOV:3:Y"]})).await.0, 201);
    let rights = "/services/DEV:COM:1:A:a/service-clients";
    let item: Value = json!({"items": [{"id": number, "service_client_type": "LOCALGROUP"}]});
    let (status, granted) = scene.post(rights, item).await;
    assert_eq!((status, granted[0]["local_group_code"].as_str()), (200, Some("g1")));
    let may = || {
        let conf = scene.foundation.valid_globalconf().unwrap();
        let service = client("DEV:COM:1:A").service("a");
        scene.served().is_allowed(&conf, &client("DEV:GOV:3:Y"), &service, Some(("GET", "/")))
    };
    assert!(may());
    assert_eq!(scene.delete(&group).await, 204);
    assert_eq!(scene.get(rights).await, (200, json!([])));
    assert!(!may());
}
