//! The frame from listener to handler, over a small table.

use std::net::SocketAddr;

use host::http::{Limits, Transport, serve};
use host::shutdown::Shutdown;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::auth::users;
use crate::config::ManagementApi;
use crate::lenient::Text;
use crate::operation::{get, post, put};

const RIGHTS: &[Right] = &[
    Right { name: "LOOK", roles: &[Role::SystemAdministrator, Role::SecurityOfficer] },
    Right { name: "CHANGE", roles: &[Role::SystemAdministrator] },
    Right { name: "VIEW_API_KEYS", roles: &[Role::SystemAdministrator] },
    Right { name: "CREATE_API_KEY", roles: &[Role::SystemAdministrator] },
    Right { name: "UPDATE_API_KEY", roles: &[Role::SystemAdministrator] },
    Right { name: "REVOKE_API_KEY", roles: &[Role::SystemAdministrator] },
];

#[derive(Deserialize, JsonSchema)]
struct Thing {
    name: Option<Text>,
}

fn table() -> Vec<Operation<()>> {
    vec![
        get("look", "/things/{id}").right("LOOK").by(|(), call| Answer::ok(&call.path("id"))),
        post("change", "/things").right("CHANGE").audit("Change thing").takes::<Thing>().by(|(), call| {
            let thing: Thing = call.json()?;
            let mut check = crate::Check::new("thingDto");
            let name = check.required("name", thing.name, &[]);
            check.done()?;
            call.note("name", name.clone());
            Answer::created(&name, &format!("/things/{name}"))
        }),
        put("file", "/file")
            .right("LOOK")
            .gives_file("application/xml")
            .by(|(), _| Ok(Answer::file("application/xml", "a.xml", "<a/>"))),
        get("panic", "/panic").by(|(), _| panic!("on purpose")),
    ]
}

struct Running {
    address: SocketAddr,
    frame: Arc<Frame<()>>,
    folder: tempfile::TempDir,
    key: String,
    _shutdown: Shutdown,
}

async fn start(change: impl FnOnce(&mut ManagementApi)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = ManagementApi { rate_limit_requests_per_second: -1, ..ManagementApi::default() };
    change(&mut settings);
    let server = Server {
        state: Arc::new(()),
        operations: table(),
        rights: RIGHTS,
        roles: &[Role::SystemAdministrator, Role::SecurityOfficer],
        about: About { title: "Test", version: "1" },
        names_path: true,
    };
    let frame = Frame::new(server, settings.resolve().unwrap(), folder.path(), Clock::System).unwrap();
    let key = frame.keys().create(&[Role::SystemAdministrator]).unwrap().key;
    users::set(&folder.path().join("users"), "ann", &[Role::SystemAdministrator], "correct horse").unwrap();
    let frame = Arc::new(frame);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::default();
    let serving = Arc::clone(&frame);
    let handler = move |request, peer| Arc::clone(&serving).answer(request, peer);
    tokio::spawn(serve(listener, Transport::Plain, Limits::default(), shutdown.clone(), handler));
    Running { address, frame, folder, key, _shutdown: shutdown }
}

impl Running {
    /// Status, headers in lower case, body.
    async fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
        let mut request = format!("{line} HTTP/1.1\r\nHost: cs:4000\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    async fn with_key(&self, line: &str, body: &str) -> (u16, String, String) {
        let key = format!("X-Road-apikey token={}", self.key);
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
        self.send(line, &headers, body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_judged_in_order() {
    let running = start(|_| {}).await;
    let json = [("Content-Type", "application/json")];
    let anonymous = running.send("POST /api/v1/things", &json, "{").await;
    assert_eq!((anonymous.0, anonymous.2.as_str()), (401, r#"{"status":401}"#));
    assert!(anonymous.1.contains("x-road-ui-correlation-id: "));
    let officer = running.frame.keys().create(&[Role::SecurityOfficer]).unwrap().key;
    let officer = format!("X-Road-ApiKey token={officer}");
    let as_officer = [("Authorization", officer.as_str()), ("Content-Type", "application/json")];
    assert_eq!(running.send("POST /api/v1/things", &as_officer, "{").await.0, 403, "before the body");
    assert_eq!(running.send("GET /api/v1/things/1", &as_officer, "").await.0, 200);

    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(60_000));
    let cases = [
        ("POST /api/v1/things", "{", 400, r#"{"status":400}"#),
        (
            "POST /api/v1/things",
            "{}",
            400,
            r#"{"status":400,"error":{"code":"validation_failure","validation_errors":{"thingDto.name":["NotNull"]}}}"#,
        ),
        ("POST /api/v1/things", r#"{"name":7,"more":[1]}"#, 201, "\"7\""),
        ("POST /api/v1/things/", r#"{"name":"a"}"#, 201, "\"a\""),
        ("POST /api/v1/things", &large, 413, r#"{"status":413}"#),
        ("GET /api/v1/things/a%3Ab", "", 200, "\"a:b\""),
        ("DELETE /api/v1/things/1", "", 405, r#"{"status":405}"#),
        ("GET /api/v1/nothing", "", 404, r#"{"status":404}"#),
        ("GET /api/v1/panic", "", 500, r#"{"status":500,"error":{"code":"internal_error"}}"#),
        ("GET /", "", 404, r#"{"status":404}"#),
    ];
    for (line, body, status, expected) in cases {
        let (found, _, text) = running.with_key(line, body).await;
        assert_eq!((found, text.as_str()), (status, expected), "{line}");
    }
    let made = running.with_key("POST /api/v1/things", r#"{"name":"a"}"#).await;
    assert!(made.1.contains("location: https://cs:4000/api/things/a"), "{}", made.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn media_types_are_agreed_on() {
    let running = start(|_| {}).await;
    let key = format!("X-Road-ApiKey token={}", running.key);
    let with = |more: &[(&'static str, &'static str)]| {
        let mut headers = vec![("Authorization", key.as_str())];
        headers.extend(more.iter().copied());
        headers
    };
    let wrong = running.send("POST /api/v1/things", &with(&[("Content-Type", "text/plain")]), "{}").await;
    assert!(wrong.0 == 415 && wrong.1.contains("accept: application/json"), "{}", wrong.1);
    let json = running.send("PUT /api/v1/file", &with(&[("Accept", "application/json")]), "").await;
    assert_eq!((json.0, json.2.as_str()), (406, r#"{"status":406}"#));
    assert!(json.1.contains("accept: application/xml"));
    let csv = running.send("GET /api/v1/things/1", &with(&[("Accept", "text/csv")]), "").await;
    assert_eq!((csv.0, csv.2.as_str()), (406, ""));
    let file = running.send("PUT /api/v1/file", &with(&[("Accept", "*/*")]), "").await;
    assert!(file.0 == 200 && file.2 == "<a/>" && file.1.contains("filename=\"a.xml\""));
    let document = running.send("GET /api/v1/openapi.yaml", &[], "").await;
    assert!(document.0 == 200 && document.2.contains("operationId: look"), "{}", document.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_need_their_token() {
    let running = start(|_| {}).await;
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let refused = running.send("POST /login", &form, "username=ann&password=wrong").await;
    assert!(refused.0 == 401 && refused.2.contains(r#""path":"/login""#), "{}", refused.2);
    let logged_in = running.send("POST /login", &form, "username=ann&password=correct+horse").await;
    assert_eq!((logged_in.0, logged_in.2.as_str()), (200, "OK\n"));
    let value = |name: &str| {
        let start = logged_in.1.split(&format!("{name}=")).nth(1).unwrap();
        start.split(';').next().unwrap().to_owned()
    };
    let (id, token) = (value("jsessionid"), value("xsrf-token"));
    assert!(logged_in.1.contains("httponly") && logged_in.1.contains("samesite=strict"));
    let cookies = format!("JSESSIONID={id}; XSRF-TOKEN={token}");
    let with_token = [("Cookie", cookies.as_str()), ("X-XSRF-TOKEN", token.as_str())];
    let user = running.send("GET /api/v1/user", &with_token, "").await;
    assert!(
        user.0 == 200 && user.2.contains("ROLE_XROAD_SYSTEM_ADMINISTRATOR") && user.2.contains("\"CHANGE\"")
    );
    let status = running.send("GET /api/v1/notifications/session-status", &with_token, "").await;
    assert_eq!(status.2, r#"{"valid":true}"#);
    let forged = running.send("GET /api/v1/user", &[("Cookie", &cookies)], "").await;
    assert!(forged.0 == 403 && forged.1.contains("set-cookie: xsrf-token="), "{}", forged.1);
    assert_eq!(running.send("GET /api/v1/user", &with_token, "").await.0, 403, "the old token is dead");
    let again = running.send("POST /login", &form, "username=ann&password=correct+horse").await;
    let value =
        |name: &str| again.1.split(&format!("{name}=")).nth(1).unwrap().split(';').next().unwrap().to_owned();
    let (id, token) = (value("jsessionid"), value("xsrf-token"));
    let cookies = format!("JSESSIONID={id}; XSRF-TOKEN={token}");
    let with_token = [("Cookie", cookies.as_str()), ("X-XSRF-TOKEN", token.as_str())];
    assert_eq!(running.send("POST /logout", &with_token, "").await.0, 200);
    assert_eq!(running.send("GET /api/v1/user", &with_token, "").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_with_a_password_and_never_with_a_key() {
    let running = start(|_| {}).await;
    let refused = running.with_key("POST /api/v1/api-keys", r#"["XROAD_SYSTEM_ADMINISTRATOR"]"#).await;
    assert!(refused.0 == 401 && refused.2.contains("\"error\":\"Unauthorized\""), "{}", refused.2);
    let basic = [("Authorization", "Basic YW5uOmNvcnJlY3QgaG9yc2U="), ("Content-Type", "application/json")];
    let made = running.send("POST /api/v1/api-keys", &basic, r#"["XROAD_SYSTEM_ADMINISTRATOR"]"#).await;
    assert_eq!(made.0, 200, "{}", made.2);
    let made: crate::types::ApiKey = serde_json::from_str(&made.2).unwrap();
    assert_eq!(running.frame.keys().find(&made.key.unwrap()).unwrap().id, made.id);
    let cases = [
        (r#"["XROAD_SECURITY_OFFICER"]"#, 403, "a role that the caller has not"),
        (r#"[]"#, 400, "no role"),
        (r#"["XROAD_SERVICE_ADMINISTRATOR"]"#, 400, "a role of the other server"),
        (r#"["x"]"#, 400, "no role of ours"),
    ];
    for (body, status, name) in cases {
        assert_eq!(running.send("POST /api/v1/api-keys", &basic, body).await.0, status, "{name}");
    }
    let revoke = format!("DELETE /api/v1/api-keys/{}", made.id);
    assert_eq!(running.send(&revoke, &basic, "").await.0, 200);
    assert_eq!(running.send(&revoke, &basic, "").await.0, 404);
    assert_eq!(running.send("GET /api/v1/things/1", &basic, "").await.0, 401, "a password is for keys alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_failures_are_in_the_audit_log() {
    let running = start(|_| {}).await;
    running.with_key("POST /api/v1/things", r#"{"name":"a"}"#).await;
    running.with_key("POST /api/v1/things", "{}").await;
    running.with_key("GET /api/v1/things/1", "").await;
    running.send("GET /api/v1/things/1", &[("Authorization", "X-Road-ApiKey token=x")], "").await;
    let text = std::fs::read_to_string(running.folder.path().join("audit.log")).unwrap();
    let events: Vec<(String, String)> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| (line["event"].as_str().unwrap().to_owned(), line["data"].to_string()))
        .collect();
    let expected = [
        ("Change thing", r#"{"name":"a"}"#),
        ("Change thing failed", "null"),
        ("API key authentication failed", "null"),
    ];
    assert_eq!(events, expected.map(|(event, data)| (event.to_owned(), data.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_and_networks_are_bounded() {
    let running = start(|settings| {
        settings.rate_limit_requests_per_second = -1;
        settings.rate_limit_requests_per_minute = 3;
        settings.regular_api_whitelist = vec!["10.0.0.0/8".into()];
    })
    .await;
    let statuses = [
        running.with_key("GET /api/v1/things/1", "").await.0,
        running.send("GET /api/v1/openapi.yaml", &[], "").await.0,
        running.send("GET /api/v1/openapi.yaml", &[], "").await.0,
        running.send("GET /api/v1/openapi.yaml", &[], "").await.0,
    ];
    assert_eq!(statuses, [401, 200, 200, 429]);
}

#[test]
fn a_wrong_table_is_refused() {
    let frame = |operations: Vec<Operation<()>>| check_table(&operations, RIGHTS).unwrap_err().to_string();
    assert!(frame(vec![get("a", "/a").right("NONE")]).contains("NONE"));
    assert!(frame(vec![get("a", "/a"), get("b", "/a")]).contains("twice"));
}

/// Keys cannot make keys, however the path is spelt.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_lets_a_key_manage_keys() {
    let running = start(|_| {}).await;
    let body = r#"["XROAD_SYSTEM_ADMINISTRATOR"]"#;
    let spellings = ["/api-keys", "/%61pi-keys", "/api%2Dkeys", "x/api-keys", "%2Fapi-keys", "//api-keys"];
    for path in spellings {
        let (status, _, text) = running.with_key(&format!("POST /api/v1{path}"), body).await;
        assert!(matches!(status, 401 | 404), "{path}: {status} {text}");
    }
    assert_eq!(running.frame.keys().list().len(), 1, "none was made");
}
