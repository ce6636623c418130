//! First contact, credentials, exit statuses, what stands in the trace and what never does.

use crate::scene::{Scene, fingerprint};

#[test]
fn the_exit_status_tells_who_is_at_fault() {
    let scene = Scene::new();
    let server = scene.central("cs");
    let url = server.url();
    scene.type_in("cs server version").ok();

    // Nobody listens; another certificate than the pinned one; no key; a key that is none; too few roles; refused; usage.
    scene
        .run([
            "target",
            "add",
            "gone",
            "https://127.0.0.1:1",
            "--fingerprint",
            &"AB".repeat(32),
            "--kind",
            "cs",
        ])
        .ok();
    scene.type_in("cs server version -t gone").gives(3).says("cannot be reached");
    scene.run(["target", "add", "other", &url, "--fingerprint", &"AB".repeat(32), "--kind", "cs"]).ok();
    scene.type_in("cs server version -t other").gives(3).says("shows another certificate");
    let print = fingerprint(&scene, &url);
    scene.run(["target", "add", "keyless", &url, "--fingerprint", &print, "--kind", "cs"]).ok();
    scene.type_in("cs server version -t keyless").gives(4).says("wants to know who asks");
    let wrong = scene
        .command()
        .args(["cs", "server", "version", "-t", "keyless"])
        .env("CAUSEWAY_API_KEY", "x")
        .output();
    assert_eq!(wrong.unwrap().status.code(), Some(4));
    scene.type_in("cs member-class describe XX y -t cs").gives(1).says("member_class_not_found (404): XX");
    scene.type_in("cs member show COM -t cs").gives(2).says("a member is written COM:4321");
    scene.type_in("cs server version -t unheard-of").gives(2).says("known are: cs, gone, keyless, other");
    scene.type_in("cs server version").gives(2).says("which target?");
    scene.run(["target", "add", "cs", &url]).gives(2).says("--replace");
    scene.run(["target", "add", "plain", "http://cs:4000"]).gives(2);

    // With --json the server's own body is on standard error.
    let refused = scene.type_in("cs member-class describe XX y -t cs --json").gives(1);
    let body: serde_json::Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!(body["error"]["code"], "member_class_not_found");
    assert!(refused.out.is_empty());
}

#[test]
fn a_session_makes_the_key_and_the_trace_shows_no_secret() {
    let scene = Scene::new();
    let server = scene.central("cs");
    let print = fingerprint(&scene, &server.url());
    scene.run(["target", "add", "mine", &server.url(), "--fingerprint", &print]).ok();
    scene.type_in("api-key").gives(2);
    scene.type_in("cs api-key list -t mine").gives(4);
    scene
        .type_in("login -t mine --user ann --password-file pin")
        .gives(4)
        .says("the user or the password is wrong");
    scene.type_in("login -t mine --user ann --password-file password").ok().says("ann is logged in to mine");
    scene
        .type_in("cs api-key create --role system-administrator --role registration-officer --save -t mine")
        .ok();
    // From now on the key is what we are known by; api-key itself keeps using the session.
    let keys = scene.type_in("cs api-key list -t mine --json").ok().json();
    assert_eq!(keys.as_array().unwrap().len(), 2);
    let traced = scene.type_in("cs tsa list -t mine --trace").ok();
    assert!(traced.err.contains("GET /api/v1/timestamping-services 200 "), "{}", traced.err);
    let key = std::fs::read_to_string(scene.path("targets/keys/mine.key")).unwrap();
    assert!(!traced.err.contains(key.trim()));
    // The observer of such a key's roles is the server.
    scene.type_in("cs member-class list -t mine").ok();
    scene.type_in("cs anchor show -t mine").ok();
    scene.type_in("cs management show -t mine").gives(4).says("the roles of this key");
    // Others could read it: refused.
    let mut rights = std::fs::metadata(scene.path("targets/keys/mine.key")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o644);
    std::fs::set_permissions(scene.path("targets/keys/mine.key"), rights).unwrap();
    scene.type_in("cs tsa list -t mine").gives(1).says("others may use it");
    scene.type_in("target remove mine").ok();
    assert!(!scene.path("targets/keys/mine.key").exists());
}

#[test]
fn pipelines_need_no_file() {
    let scene = Scene::new();
    let server = scene.central("cs");
    let key = std::fs::read_to_string(scene.path("cs.key")).unwrap();
    let print = fingerprint(&scene, &server.url());
    let output = scene
        .command()
        .args(["api", "get", "/system/version"])
        .env("CAUSEWAY_TARGETS", scene.path("none.toml"))
        .env("CAUSEWAY_URL", server.url())
        .env("CAUSEWAY_FINGERPRINT", print)
        .env("CAUSEWAY_API_KEY", key.trim())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let body: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(body["info"].is_string());
}
