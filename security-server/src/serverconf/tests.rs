//! Rights, services and registrations as the relay reads them from the snapshot.

use super::event::{Endpoint, Event, ServiceSettings};
use super::*;
use crate::testing::{TestServer, client, globalconf};

const OWN: &str = "EE/GOV/1/school";

fn state() -> State {
    let own = || client(OWN);
    let settings =
        |url: &str| ServiceSettings { url: url.into(), timeout_seconds: 7, verify_tls: false, title: None };
    let endpoint = |method: &str, path: &str| Endpoint { method: method.into(), path: path.into() };
    let description = |url: &str, kind, disabled: Option<&str>| Event::DescriptionAdded {
        client: own(),
        url: url.into(),
        kind,
        disabled: disabled.map(str::to_owned),
    };
    let service = |url: &str, code: &str, version: Option<&str>| Event::ServiceAdded {
        client: own(),
        description: url.into(),
        code: code.into(),
        version: version.map(str::to_owned),
        settings: settings("http://is/"),
    };
    let right = |code: &str, endpoint, subject: &str| Event::RightGranted {
        client: own(),
        code: code.into(),
        endpoint,
        subject: subject.parse().unwrap(),
    };
    State::replay([
        Event::ServerNamed { id: ServerId { owner: MemberId::new("EE", "GOV", "1"), code: "ss1".into() } },
        Event::ClientAdded { client: own(), connection: ConnectionType::Http },
        Event::GroupAdded { client: own(), group: "friends".into(), description: String::new() },
        Event::GroupMemberAdded { client: own(), group: "friends".into(), member: client("EE/COM/7/local") },
        description("http://is/rest", ServiceKind::Rest, None),
        service("http://is/rest", "rest", None),
        Event::EndpointAdded {
            client: own(),
            code: "rest".into(),
            endpoint: endpoint("GET", "/open/*"),
            generated: false,
        },
        description("http://is/wsdl", ServiceKind::Wsdl, None),
        service("http://is/wsdl", "soap", Some("v1")),
        service("http://is/wsdl", "soap", Some("v2")),
        description("http://is/off", ServiceKind::Rest, Some(" ")),
        service("http://is/off", "off", None),
        right("rest", Endpoint::service_level(), "SUBSYSTEM:EE/COM/5/all"),
        right("rest", endpoint("GET", "/open/*"), "MEMBER:EE/COM/6"),
        right("rest", endpoint("GET", "/open/*"), "LOCALGROUP:friends"),
        right("rest", endpoint("GET", "/open/*"), "GLOBALGROUP:EE/all"),
        right("soap", Endpoint::service_level(), "LOCALGROUP:friends"),
    ])
    .unwrap()
}

fn conf() -> GlobalConf {
    let server = TestServer { id: "EE/GOV/1/ss1", address: "ss1", clients: &[OWN], ..Default::default() };
    globalconf(&[server], &["EE/COM/8/global"])
}

fn service(code: &str, version: Option<&str>) -> ServiceId {
    ServiceId { version: version.map(str::to_owned), ..client(OWN).service(code) }
}

#[test]
fn rights_are_given_to_exact_clients_and_to_groups() {
    let (conf, built) = (conf(), ServerConf::build(&state(), Some(&conf())).unwrap());
    let cases = [
        ("EE/COM/5/all", "rest", Some(("DELETE", "/anything")), true),
        ("EE/COM/5/all", "rest", Some(("GET", "")), true),
        ("EE/COM/5/all", "rest", Some(("GET", "/a/../b")), false),
        ("EE/COM/5/all", "rest", None, true),
        ("EE/COM/5", "rest", Some(("GET", "/open/1")), false),
        ("EE/COM/6", "rest", Some(("GET", "/open/1")), true),
        ("EE/COM/6", "rest", Some(("get", "/open/1")), true),
        ("EE/COM/6", "rest", Some(("POST", "/open/1")), false),
        ("EE/COM/6", "rest", Some(("GET", "/open/1/2")), false),
        ("EE/COM/6", "rest", Some(("GET", "/open/1%2F2")), false),
        ("EE/COM/6", "rest", None, false),
        ("EE/COM/6/sub", "rest", Some(("GET", "/open/1")), false),
        ("EE/COM/7/local", "rest", Some(("GET", "/open/1")), true),
        ("EE/COM/7/local", "soap", None, true),
        ("EE/COM/8/global", "rest", Some(("GET", "/open/1")), true),
        ("EE/COM/8/global", "soap", None, false),
        ("EE/COM/9/nobody", "rest", Some(("GET", "/open/1")), false),
        ("EE/COM/5/all", "none", None, false),
    ];
    for (who, code, endpoint, expected) in cases {
        let found = built.is_allowed(&conf, &client(who), &service(code, None), endpoint);
        assert_eq!(found, expected, "{who} {code} {endpoint:?}");
    }
    // The version plays no part.
    assert!(built.is_allowed(&conf, &client("EE/COM/7/local"), &service("soap", Some("v9")), None));
    let allowed = |who: &str, code| {
        let endpoints = built.allowed_endpoints(&conf, &client(who), &service(code, None))?;
        Some(endpoints.iter().map(|e| e.path.as_str()).collect::<Vec<_>>())
    };
    assert_eq!(allowed("EE/COM/8/global", "rest"), Some(vec!["/open/*"]));
    assert_eq!(allowed("EE/COM/5/all", "rest"), Some(vec!["/open/*"]), "the service level is every endpoint");
    assert_eq!(allowed("EE/COM/9/nobody", "rest"), None);
    assert_eq!(allowed("EE/COM/5/all", "none"), None);
}

#[test]
fn services_are_found_by_code_and_version() {
    let conf = conf();
    let built = ServerConf::build(&state(), Some(&conf)).unwrap();
    for (code, version, found) in [
        ("rest", None, true),
        ("rest", Some("v1"), false),
        ("soap", Some("v1"), true),
        ("soap", Some("v2"), true),
        ("soap", None, false),
        ("none", None, false),
    ] {
        assert_eq!(built.service(&service(code, version)).is_some(), found, "{code} {version:?}");
    }
    let rest = built.service(&service("rest", None)).unwrap();
    assert_eq!((rest.timeout, rest.disabled.as_deref()), (Duration::from_secs(7), None));
    let off = built.service(&service("off", None)).unwrap();
    assert_eq!(off.disabled.as_deref(), Some(DEFAULT_NOTICE), "disabled is disabled, also without a notice");
    assert_eq!(built.services(&client(OWN)).len(), 4);
    assert_eq!(built.endpoints(&service("rest", None)).count(), 2);
    assert_eq!(built.members(), [MemberId::new("EE", "GOV", "1")]);
}

#[test]
fn registered_is_what_the_global_configuration_says() {
    let with = ServerConf::build(&state(), Some(&conf())).unwrap();
    assert!(with.client(&client(OWN)).unwrap().registered);
    assert!(with.client(&client("EE/GOV/1")).unwrap().registered, "the owner is registered with its server");
    let elsewhere = globalconf(&[TestServer { id: "EE/GOV/1/ss1", address: "a", ..Default::default() }], &[]);
    let built = ServerConf::build(&state(), Some(&elsewhere)).unwrap();
    assert!(!built.client(&client(OWN)).unwrap().registered);
    let without = ServerConf::build(&state(), None).unwrap();
    assert!(without.clients().all(|client| !client.registered));
    assert!(ServerConf::build(&State::default(), None).is_none());
}
