//! What is done from day to day on an instance that runs: requests approved as they come, maintenance, another address, clients that pause and
//! go, another owner, a certificate that goes; and servers that are killed in the middle of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sandbox::admin::{Admin, Body};
use serde_json::json;

use crate::instance::{Instance, from_one_file};
use crate::scene::Running;

/// For a configuration to travel.
const LIMIT: Duration = Duration::from_secs(60);

/// Types a line until it says something.
fn until(instance: &Instance, line: &str, text: &str) {
    let began = Instant::now();
    loop {
        let said = instance.scene.type_in(line).ok().out;
        if said.contains(text) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{line} never says {text}: {said}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn approve_what_waits(instance: &Instance) {
    let waiting = instance.scene.type_in("cs request list --status waiting -q").ok().out;
    assert!(!waiting.trim().is_empty(), "nothing waits");
    for id in waiting.split_whitespace() {
        instance.type_in(&format!("cs request approve {id}"));
    }
}

#[test]
fn an_instance_from_day_to_day() {
    let instance = Instance::new();
    let servers = from_one_file(&instance);
    let scene = &instance.scene;
    let day = |verb: &str| format!("ss client {verb} COM:4321:DAY -t ss1");

    // A registration that waits: asked for twice it goes on waiting, until somebody approves.
    for line in [day("add") + " --connection http --yes", day("register"), day("register") + " --ensure"] {
        instance.type_in(&line);
    }
    scene.type_in(&day("register")).gives(1).says("action_not_possible");
    scene.type_in(&(day("register") + " --ensure --wait=1s")).gives(5).says("REGISTRATION_IN_PROGRESS");
    std::fs::write(scene.path("trusted"), "# ours\nCOM:4321:SS1\n").unwrap();
    scene
        .type_in("cs request watch --approve-from trusted --count 1 --for 30s")
        .ok()
        .says("CLIENT_REGISTRATION_REQUEST");
    instance.type_in(&(day("register") + " --ensure --wait=1m"));

    // It pauses, goes on, gets a name.
    for line in [
        day("disable") + " --wait=1m",
        day("disable") + " --ensure",
        day("enable") + " --wait=1m",
        day("enable") + " --ensure",
        "ss client rename COM:4321:DAY \"Day by day\" -t ss1".into(),
    ] {
        instance.type_in(&line);
    }
    until(&instance, &day("show"), "Day by day");

    // The server is away for a while, and moves.
    let at = instance.host(2);
    for line in [
        "ss server maintenance on --message \"Back soon\" --wait=1m -t ss1",
        "ss server maintenance on --ensure -t ss1",
        "ss server maintenance show -t ss1",
        "ss server maintenance off --wait=1m -t ss1",
        "ss server maintenance off --ensure -t ss1",
        "ss server address set elsewhere.example.org -t ss1",
    ] {
        instance.type_in(line);
    }
    until(&instance, "ss security-server list --current -t ss1", "elsewhere.example.org");
    until(&instance, "ss server address get --json -t ss1", "\"current_address\"");
    instance.type_in(&format!("ss server address set {at} -t ss1"));
    until(&instance, "ss security-server list --current -t ss1", &at);

    // It goes.
    for line in
        [day("unregister"), day("unregister") + " --ensure", day("delete"), day("delete") + " --ensure"]
    {
        instance.type_in(&line);
    }

    // The server gets another owner.
    for line in [
        "cs member add COM:5678 Successor",
        "ss client add COM:5678 --connection http --yes -t ss1",
        "ss csr create --usage sign --member COM:5678 --label successor -o s.csr --field subjectAltName=ss1 -t ss1",
    ] {
        until_ok(&instance, line);
    }
    instance.sign("s", pki::csr::Usage::Signing);
    scene.type_in("ss cert import s -t ss1").ok().says("SIGNING");
    instance.type_in("ss client register COM:5678 -t ss1");
    approve_what_waits(&instance);
    instance.type_in("ss client register COM:5678 --ensure --wait=1m -t ss1");
    instance.type_in("ss client make-owner COM:5678 -t ss1");
    scene
        .type_in("ss client make-owner COM:5678 -t ss1")
        .gives(1)
        .says("the same request waits at the central server already");
    approve_what_waits(&instance);
    until(&instance, "ss client show COM:5678 --json -t ss1", "\"owner\": true");
    instance.type_in("ss client make-owner COM:5678 --ensure --wait=1m -t ss1");
    until(&instance, "cs security-server list", "DEV:COM:5678:SS1");

    // Its certificate goes.
    let certs = scene.type_in("ss cert list --json -t ss1").ok().json();
    let is_auth = |cert: &&serde_json::Value| cert["usage"] == "AUTHENTICATION";
    let cert = certs.as_array().unwrap().iter().find(is_auth).unwrap();
    let hash = cert["certificate_details"]["hash"].as_str().unwrap();
    until_ok(&instance, &format!("ss cert unregister {hash} -t ss1"));
    scene.type_in(&format!("ss cert show {hash} -t ss1")).ok().says("DELETION_IN_PROGRESS");

    let [central, management, _] = servers;
    killed_in_the_middle(&instance, central, management);
}

/// A command whose member this server, or the one before the management services, learns of with the next configuration.
fn until_ok(instance: &Instance, line: &str) {
    let began = Instant::now();
    while instance.scene.type_in(line).code != 0 && began.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(200));
    }
    if began.elapsed() >= LIMIT {
        instance.type_in(line);
    }
}

/// Calls one after another, until the server is gone; gives how many were answered with success.
fn call_until_killed(
    instance: &Instance,
    target: &str,
    running: Running,
    call: impl Fn(usize) -> (String, serde_json::Value) + Sync,
) -> usize {
    let key = std::fs::read_to_string(instance.scene.path(&format!("{target}.key"))).unwrap();
    let data = instance.scene.path(&format!("{target}-data"));
    let admin = Admin::new(target, running.url() + "/api/v1", &data, key.trim().to_owned()).unwrap();
    let done = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        let calling = threads.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            for number in 0.. {
                let (path, body) = call(number);
                let answer = runtime.block_on(admin.call("POST", &path, &Body::Json(body)));
                let Ok(answer) = answer else { return };
                let said = String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!(answer.status, 201, "{path}: {said}");
                done.store(number + 1, Ordering::SeqCst);
            }
        });
        let began = Instant::now();
        while done.load(Ordering::SeqCst) < 7 && !calling.is_finished() && began.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        // SIGKILL, with a call under way.
        drop(running);
        calling.join().unwrap();
    });
    done.load(Ordering::SeqCst)
}

/// What was answered is there after a kill, and of what was not answered all or nothing.
fn killed_in_the_middle(instance: &Instance, central: Running, management: Running) {
    let member = |number: usize| {
        let id = json!({ "member_class": "COM", "member_code": format!("K{number}") });
        ("/members".to_owned(), json!({ "member_id": id, "member_name": "Killed" }))
    };
    let done = call_until_killed(instance, "cs", central, member);
    let _central = instance.scene.again("central-server", "cs");
    let found = instance.scene.type_in("cs member list -q").ok().out;
    let found: Vec<&str> = found.lines().filter(|id| id.contains(":K")).collect();
    assert!(done >= 7 && (done..=done + 1).contains(&found.len()), "{done} answered, there: {found:?}");

    let service = |number: usize| {
        let body = json!({ "type": "REST", "url": format!("http://is/{number}"), "rest_service_code": format!("k{number}") });
        ("/clients/DEV:COM:1234:MANAGEMENT/service-descriptions".to_owned(), body)
    };
    let done = call_until_killed(instance, "ss0", management, service);
    // It is ready when it can exchange messages again, for which its keys have to be there.
    instance.scene.private("ss0-data/token-pin", "Secret1234");
    let _management = instance.scene.again("security-server", "ss0");
    let path = "/clients/DEV:COM:1234:MANAGEMENT/service-descriptions";
    let found = instance.scene.type_in(&format!("api GET {path} -t ss0")).ok().json();
    let found = found.as_array().unwrap().iter().filter(|one| one["type"] == "REST");
    let services: Vec<_> = found.map(|one| one["services"].as_array().unwrap().len()).collect();
    assert!(services.iter().all(|count| *count == 1), "half a description: {services:?}");
    assert!(done >= 7 && (done..=done + 1).contains(&services.len()), "{done} answered, there: {services:?}");
}
