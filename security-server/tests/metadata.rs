//! Metadata services between two servers: who is told what, what they check, and what comes of descriptions that are not there.

#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

mod support;

use std::sync::Arc;

use proto::id::Subject;
use security_server::serverconf::event::{Endpoint, Event, ServiceSettings};
use security_server::serverconf::state::State;
use security_server::serverconf::{ServerConf, ServiceKind};
use serde_json::{Value, json};
use support::client::{Reply, ask, envelope, rest, soap};
use support::{World, consumer_member, provider, subsystem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const YAML: &str = "openapi: 3.0.0\nservers: [{url: \"http://10.0.0.1:80/api\"}]\npaths: {}\n";
const WSDL: &str = "<?xml version=\"1.0\"?><w:definitions xmlns:w=\"http://schemas.xmlsoap.org/wsdl/\" \
    xmlns:s=\"http://schemas.xmlsoap.org/wsdl/soap/\"><s:address location=\"http://10.0.0.1/\"/></w:definitions>";

/// Serves descriptions by path; `/redirect` leads to a good one, which nobody may follow.
async fn documents() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let (status, lines, body) = match path.as_str() {
                    "/a.yaml" => ("200 OK", "Content-Type: text/yaml\r\n", YAML.to_owned()),
                    "/a.json" => {
                        ("200 OK", "", "{\"servers\":[{\"url\":\"http://10.0.0.1/v1\"}]}".to_owned())
                    }
                    "/a.wsdl" => ("200 OK", "Content-Type: text/xml\r\n", WSDL.to_owned()),
                    "/doctype.wsdl" => {
                        ("200 OK", "", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>".to_owned())
                    }
                    "/old.yaml" => ("200 OK", "", "openapi: '2.0'\n".to_owned()),
                    "/redirect" => ("302 Found", "Location: /a.yaml\r\n", String::new()),
                    "/large.yaml" => ("200 OK", "", "x".repeat((10 << 20) + 1)),
                    _ => ("404 Not Found", "", String::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\n{lines}Connection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
            });
        }
    });
    format!("http://{address}")
}

/// The provider's services: by description, kind, code and version; `CONSUMER` may call what the tests say.
async fn world() -> World {
    let world = World::start().await;
    let at = documents().await;
    let services = [
        ("a.yaml", ServiceKind::OpenApi3, "pets", None),
        ("a.json", ServiceKind::OpenApi3, "json", None),
        ("old.yaml", ServiceKind::OpenApi3, "old", None),
        ("redirect", ServiceKind::OpenApi3, "redirect", None),
        ("missing", ServiceKind::OpenApi3, "missing", None),
        ("large.yaml", ServiceKind::OpenApi3, "large", None),
        ("rest/", ServiceKind::Rest, "plain", None),
        ("off/", ServiceKind::Rest, "off", None),
        ("a.wsdl", ServiceKind::Wsdl, "soap", Some("v1")),
        ("a.wsdl", ServiceKind::Wsdl, "other", None),
        ("doctype.wsdl", ServiceKind::Wsdl, "doctype", None),
        ("off.wsdl", ServiceKind::Wsdl, "softoff", None),
    ];
    let client = provider();
    let mut events = vec![
        Event::ServerNamed { id: world.provider.cx.serverconf.load().server_id().clone() },
        Event::ClientAdded { client: client.clone(), connection: Default::default() },
    ];
    let mut described = Vec::new();
    for (url, kind, code, version) in services {
        let url = format!("{at}/{url}");
        if !described.contains(&url) {
            let disabled = url.contains("/off").then(|| "closed".to_owned());
            events.push(Event::DescriptionAdded { client: client.clone(), url: url.clone(), kind, disabled });
            described.push(url.clone());
        }
        let settings =
            ServiceSettings { url: at.clone(), timeout_seconds: 5, verify_tls: false, title: None };
        events.push(Event::ServiceAdded {
            client: client.clone(),
            description: url,
            code: code.into(),
            version: version.map(str::to_owned),
            settings,
        });
    }
    let endpoint = |method: &str, path: &str| Endpoint { method: method.into(), path: path.into() };
    for known in [endpoint("GET", "/pets/*"), endpoint("POST", "/pets"), endpoint("GET", "/pets/**")] {
        events.push(Event::EndpointAdded {
            client: client.clone(),
            code: "pets".into(),
            endpoint: known,
            generated: false,
        });
    }
    let everything = Endpoint::service_level();
    for (code, to) in [
        ("pets", endpoint("GET", "/pets/**")),
        ("plain", everything.clone()),
        ("off", everything.clone()),
        ("soap", everything),
    ] {
        let subject = Subject::Client(subsystem(consumer_member(), "CONSUMER"));
        events.push(Event::RightGranted { client: client.clone(), code: code.into(), endpoint: to, subject });
    }
    let state = State::replay(events).unwrap();
    let conf = world.globalconf.load_full();
    let built = ServerConf::build(&state, conf.as_ref().as_ref().map(Arc::as_ref)).unwrap();
    world.provider.cx.serverconf.store(Arc::new(built));
    world
}

async fn get(world: &World, client: &str, path: &str) -> Reply {
    ask(world.consumer.http, &rest("GET", client, path, "Cookie: a=b\r\nX-Mine: 1\r\n", b"")).await
}

fn listed(reply: &Reply) -> Vec<(String, Value)> {
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json")),
        "{}",
        reply.text()
    );
    let list: Value = serde_json::from_slice(&reply.body).unwrap();
    let each = list["service"].as_array().unwrap().iter();
    each.map(|one| (one["service_code"].as_str().unwrap().to_owned(), one["endpoint_list"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_services_are_listed_and_the_answers_are_evidence() {
    let world = world().await;
    let all = get(&world, "NORIGHTS", "listMethods/ignored?x=y").await;
    let codes: Vec<_> = listed(&all).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["json", "large", "missing", "old", "pets", "plain", "redirect"], "off is off");
    let pets = serde_json::from_slice::<Value>(&all.body).unwrap()["service"][4].clone();
    let endpoints = [("GET", "/pets/*"), ("GET", "/pets/**"), ("POST", "/pets")];
    let endpoints: Vec<Value> =
        endpoints.iter().map(|(method, path)| json!({"method": method, "path": path})).collect();
    assert_eq!(
        pets,
        json!({"object_type": "SERVICE", "service_type": "OPENAPI", "xroad_instance": "DEV", "member_class": "GOV",
            "member_code": "2222", "subsystem_code": "PROVIDER", "service_code": "pets", "endpoint_list": endpoints})
    );
    assert!(all.header("cookie").is_none() && all.header("x-mine").is_none(), "{}", all.head);
    assert_eq!(world.records().await, (2, 2), "signed and logged as any exchange");

    let mine = listed(&get(&world, "CONSUMER", "allowedMethods").await);
    let covered = json!([{"method": "GET", "path": "/pets/*"}, {"method": "GET", "path": "/pets/**"}]);
    assert_eq!(mine, [("pets".to_owned(), covered), ("plain".to_owned(), json!([]))]);
    assert_eq!(listed(&get(&world, "NORIGHTS", "allowedMethods").await), []);
    assert_eq!(world.backend.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openapi_document_comes_without_addresses() {
    let world = world().await;
    let yaml = get(&world, "NORIGHTS", "getOpenAPI?servicecode=pets").await;
    assert_eq!((yaml.status, yaml.header("content-type")), (200, Some("text/yaml")), "{}", yaml.text());
    assert_eq!(yaml.text(), "---\nopenapi: \"3.0.0\"\nservers:\n- url: \"/api\"\npaths: {}\n");
    let plain = get(&world, "NORIGHTS", "getOpenAPI?serviceCode=json").await;
    assert_eq!(
        (plain.header("content-type"), plain.text().as_str()),
        (Some("text/plain"), "{\"servers\":[{\"url\":\"/v1\"}]}")
    );

    let cases = [
        ("GET", "getOpenAPI", "invalid_request"),
        ("GET", "getOpenAPI?serviceCode=", "invalid_request"),
        ("GET", "getOpenAPI?serviceCode=nosuch", "internal_error"),
        ("GET", "getOpenAPI?serviceCode=plain", "internal_error"),
        ("GET", "getOpenAPI?serviceCode=old", "internal_error"),
        ("GET", "getOpenAPI?serviceCode=redirect", "internal_error"),
        ("GET", "getOpenAPI?serviceCode=missing", "internal_error"),
        ("GET", "getOpenAPI?serviceCode=large", "internal_error"),
        ("POST", "getOpenAPI?serviceCode=pets", "unknown_service"),
        ("HEAD", "listMethods", "unknown_service"),
        ("GET", "listmethods", "unknown_service"),
        ("GET", "getWsdl", "unknown_service"),
    ];
    for (method, path, code) in cases {
        let reply = ask(world.consumer.http, &rest(method, "CONSUMER", path, "", b"")).await;
        let expected = format!("server.serverproxy.{code}");
        assert_eq!(
            (reply.status, reply.header("x-road-error")),
            (500, Some(expected.as_str())),
            "{method} {path}"
        );
    }
}

/// A request for a metadata service of SOAP, its body as given.
fn soap_request(service: &str, body: &str) -> Vec<u8> {
    let text = envelope("CONSUMER", service, "id-1")
        .replace("<id:serviceVersion>v1</id:serviceVersion>", "")
        .replace(&format!("<p:{service}>hello</p:{service}>"), body);
    soap("Content-Type: text/xml; charset=UTF-8\r\n", &text)
}

#[tokio::test(flavor = "multi_thread")]
async fn soap_services_are_listed_and_the_answers_are_evidence() {
    let world = world().await;
    let ask_for = async |service: &str| {
        let body = format!("<xroad:{service}/>");
        let reply = ask(world.consumer.http, &soap_request(service, &body)).await;
        assert_eq!(reply.header("content-type"), Some("text/xml; charset=UTF-8"), "{}", reply.text());
        reply.text()
    };
    let all = ask_for("listMethods").await;
    let codes: Vec<_> = all.split("<xroad:service id:objectType=\"SERVICE\">").skip(2).collect();
    assert_eq!(codes.len(), 3, "{all}");
    assert!(
        codes[2].contains("<id:serviceCode>soap</id:serviceCode><id:serviceVersion>v1</id:serviceVersion>"),
        "{all}"
    );
    assert!(all.contains("<xroad:listMethodsResponse ") && all.contains("<xroad:requestHash "), "{all}");
    assert_eq!(world.records().await, (2, 2), "signed and logged as any exchange");
    let mine = ask_for("allowedMethods").await;
    assert_eq!(mine.matches("<id:serviceCode>").count(), 2, "{mine}");
    assert!(mine.contains("<id:serviceCode>soap</id:serviceCode>"), "{mine}");
}

/// The WSDL is an attachment, signed with its envelope, and the consumer's server hands both over.
#[tokio::test(flavor = "multi_thread")]
async fn a_wsdl_comes_without_addresses() {
    let world = world().await;
    let body = "<xroad:getWsdl><xroad:serviceCode>soap</xroad:serviceCode>\
        <xroad:serviceVersion>v1</xroad:serviceVersion></xroad:getWsdl>";
    let reply = ask(world.consumer.http, &soap_request("getWsdl", body)).await;
    let kind = reply.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("multipart/related"), "{}{}", reply.head, reply.text());
    let text = reply.text();
    let answer = body.replace("getWsdl>", "getWsdlResponse>");
    let (start, fields) = answer.split_once('>').unwrap();
    assert!(text.contains(&format!("{start} xmlns:xroad=")) && text.contains(fields), "{text}");
    assert!(text.contains("<xroad:requestHash "), "{text}");
    let wsdl = WSDL.replace("http://10.0.0.1/", "http://example.org/xroad-endpoint");
    assert!(text.contains(&format!("\r\n\r\n{wsdl}\r\n--")), "{text}");
    assert!(
        text.contains("Content-ID: <wsdl=") && text.contains("Content-Transfer-Encoding: binary"),
        "{text}"
    );
    assert_eq!(world.records().await, (2, 2), "signed and logged as any exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wsdl_that_cannot_be_given_has_its_own_fault() {
    let world = world().await;
    let cases = [
        ("<xroad:getWsdl/>", "server.serverproxy.invalid_request"),
        (
            "<xroad:getWsdl><xroad:serviceCode> </xroad:serviceCode></xroad:getWsdl>",
            "server.serverproxy.invalid_request",
        ),
        (
            "<xroad:getWsdl><xroad:serviceCode>nosuch</xroad:serviceCode></xroad:getWsdl>",
            "server.serverproxy.unknown_service",
        ),
        (
            "<xroad:getWsdl><xroad:serviceCode>soap</xroad:serviceCode></xroad:getWsdl>",
            "server.serverproxy.unknown_service",
        ),
        (
            "<xroad:getWsdl><xroad:serviceCode>pets</xroad:serviceCode></xroad:getWsdl>",
            "server.serverproxy.service_type",
        ),
        (
            "<xroad:getWsdl><xroad:serviceCode>doctype</xroad:serviceCode></xroad:getWsdl>",
            "server.serverproxy.internal_error",
        ),
        (
            "<xroad:getWsdl><xroad:serviceCode>softoff</xroad:serviceCode></xroad:getWsdl>",
            "server.serverproxy.internal_error",
        ),
    ];
    for (body, expected) in cases {
        let reply = ask(world.consumer.http, &soap_request("getWsdl", body)).await;
        assert_eq!(
            reply.fault().map(|(code, ..)| code).as_deref(),
            Some(expected),
            "{body}: {}",
            reply.text()
        );
    }
    // A member who is asked, though it has no services.
    let text = soap_request("listMethods", "<xroad:listMethods/>");
    let text = String::from_utf8(text).unwrap().replace("<id:subsystemCode>PROVIDER</id:subsystemCode>", "");
    let body = text.split_once("\r\n\r\n").unwrap().1.to_owned();
    let reply = ask(world.consumer.http, &soap("Content-Type: text/xml\r\n", &body)).await;
    assert!(reply.text().contains("listMethodsResponse"), "{}", reply.text());
    assert_eq!(reply.text().matches("<id:serviceCode>").count(), 1, "{}", reply.text());
}
