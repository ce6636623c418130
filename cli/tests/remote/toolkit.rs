//! A file of the Security Server Toolkit against live servers: from an empty security server to a service that answers, and back to a file.
//! Who signs certificates and who approves requests are people here, as they are where the toolkit is used, so that `apply` goes as far as
//! it can and is called again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pki::csr::Usage;
use sandbox::services::SampleServices;

use crate::instance::{Instance, with_an_empty_server};

/// For what people and configurations do.
const LIMIT: Duration = Duration::from_secs(120);

/// With every kind of thing that the toolkit's `apply` knows; ways to a server are of the toolkit alone, and not looked at.
const TOOLKIT: &str = "
admin_credentials: TOOLKIT_ADMIN_CREDENTIALS
logging: {file: xrdsst.log, level: INFO}
ssh_access: {user: TOOLKIT_SSH_USER, private_key: TOOLKIT_SSH_PRIVATE_KEY}
security_server:
- name: ss1
  url: https://ss1:4000/api/v1
  api_key: TOOLKIT_SS1_API_KEY
  api_key_url: https://localhost:4000/api/v1/api-keys
  fqdn: HOST
  configuration_anchor: anchor.xml
  owner_dn_country: FI
  owner_dn_org: Member
  owner_member_class: COM
  owner_member_code: 4321
  security_server_code: SS1
  software_token_id: 0
  software_token_pin: Secret1234
  tls_certificates: [tsa.der]
  clients:
  - member_class: COM
    member_code: 4321
    member_name: Member
    subsystem_code: TEST
    connection_type: HTTP
    tls_certificates: [sub.der]
    local_groups:
    - {code: friends, description: Friends, members: ['DEV:COM:1234:ASKING']}
    service_descriptions:
    - url: OPENAPI
      type: OPENAPI3
      rest_service_code: register
      access: ['DEV:COM:1234:ASKING']
      url_all: False
      timeout_all: False
      ssl_auth_all: False
      services: [{service_code: register, timeout: 30, ssl_auth: False}]
    - url: WSDL
      type: WSDL
      access: ['DEV:security-server-owners', friends]
      url_all: False
      timeout_all: True
      ssl_auth_all: True
      services: [{service_code: residentDetails.v1, timeout: 50, ssl_auth: False}]
    - url: PROBE
      type: REST
      rest_service_code: probe
      access: [friends]
      endpoints: [{path: '/echo/*', method: GET, access: ['DEV:COM:1234:ASKING']}]
  - member_class: COM
    member_code: 1234
    member_name: Operator
    subsystem_code: ASKING
    connection_type: HTTP
";

/// What is answered to ASKING; status line and body.
fn ask(instance: &Instance) -> String {
    let ready = std::fs::read(instance.scene.path("ss1.ready")).unwrap();
    let ready: serde_json::Value = serde_json::from_slice(&ready).unwrap();
    let Some(address) = ready["listeners"]["client-http"].as_str() else { return ready.to_string() };
    let mut stream = TcpStream::connect(address).unwrap();
    let path = "/r1/DEV/COM/4321/TEST/register/residents/M-2019-0502";
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nX-Road-Client: DEV/COM/1234/ASKING\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_toolkit_file_takes_an_empty_server_to_a_service_that_answers() {
    let instance = Instance::new();
    let scene = &instance.scene;
    let _servers = with_an_empty_server(&instance);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let services = runtime.block_on(SampleServices::start("127.0.0.1:0".parse().unwrap())).unwrap();
    instance.type_in("cs anchor download -o anchor.xml");
    let text = TOOLKIT
        .replace("HOST", &instance.host(2))
        .replace("OPENAPI\n", &format!("{}\n", services.openapi_url()))
        .replace("WSDL\n      type", &format!("{}\n      type", services.wsdl_url()))
        .replace("PROBE", &services.probe_url());
    std::fs::write(scene.path("toolkit.yaml"), text).unwrap();

    // The CA's and the central server's people have their turn after each run that waits for them.
    let apply = "apply -f toolkit.yaml --format xrdsst --yes --wait=30s";
    scene.type_in("apply -f toolkit.yaml --format xrdsst --dry-run").gives(6);
    let waits = scene.type_in(apply).gives(6);
    for (label, usage) in [
        ("ss1-default-sign-key", Usage::Signing),
        ("ss1-default-auth-key", Usage::Authentication),
        ("ss1-default-sign-key_COM_1234", Usage::Signing),
    ] {
        let file = format!("{label}.pem");
        assert!(waits.err.contains(&format!("{file}.csr signed")), "{label}: {}", waits.err);
        instance.sign(&file, usage);
    }
    let began = Instant::now();
    let done = loop {
        let done = scene.type_in(apply);
        if done.code == 0 || began.elapsed() > LIMIT {
            break done.ok();
        }
        assert_eq!(done.code, 6, "{}{}", done.out, done.err);
        let waiting = scene.type_in("cs request list --status waiting -q").ok().out;
        for id in waiting.split_whitespace() {
            instance.type_in(&format!("cs request approve {id}"));
        }
    };
    drop(done);
    for client in ["COM:4321:TEST", "COM:1234:ASKING"] {
        scene.type_in(&format!("ss client show {client} -t ss1")).ok().says("REGISTERED");
    }
    while !ask(&instance).starts_with("HTTP/1.1 200") && began.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(200));
    }
    let answer = ask(&instance);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("M-2019-0502"), "{answer}");

    // Once more changes nothing, and so does the file that the server itself gives.
    let diff = scene.type_in("diff -f toolkit.yaml --format xrdsst");
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
    instance.type_in("export --format xrdsst -f exported.yaml ss1");
    let text = std::fs::read_to_string(scene.path("exported.yaml")).unwrap();
    for part in ["residentDetails.v1", "timeout: 50", "LOCALGROUP", "Secret1234"] {
        let there = ["residentDetails.v1", "timeout: 50"].contains(&part);
        assert_eq!(text.contains(part), there, "{part}: {text}");
    }
    let text = text.replace("- name: ss1\n", "- name: ss1\n  configuration_anchor: anchor.xml\n");
    std::fs::write(scene.path("exported.yaml"), text).unwrap();
    let diff = scene.type_in("diff -f exported.yaml --format xrdsst --prune");
    let tls = "- ss1 tls-certificate";
    let gone: Vec<&str> = diff.out.lines().filter(|line| !line.starts_with(tls)).collect();
    assert!(gone.is_empty(), "{gone:?} {}", diff.err);
    let diff = scene.type_in("diff -f exported.yaml --format xrdsst");
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
}
