//! Events: what is decided, what is refused and why, how they are stored.

use proto::id::{GlobalGroupId, MemberId};

use super::*;
use crate::serverconf::ConnectionType;
use crate::serverconf::event::{Stored, Tsa};

fn member(code: &str) -> MemberId {
    MemberId::new("EE", "GOV", code)
}

fn client() -> ClientId {
    member("1").subsystem("school")
}

fn settings(url: &str) -> ServiceSettings {
    ServiceSettings { url: url.into(), timeout_seconds: 60, verify_tls: true, title: None }
}

fn description(url: &str, kind: ServiceKind) -> Event {
    Event::DescriptionAdded { client: client(), url: url.into(), kind, disabled: None }
}

fn service(description: &str, code: &str, version: Option<&str>) -> Event {
    Event::ServiceAdded {
        client: client(),
        description: description.into(),
        code: code.into(),
        version: version.map(str::to_owned),
        settings: settings("http://is/"),
    }
}

fn endpoint(method: &str, path: &str) -> Endpoint {
    Endpoint { method: method.into(), path: path.into() }
}

fn granted(code: &str, endpoint: Endpoint, subject: Subject) -> Event {
    Event::RightGranted { client: client(), code: code.into(), endpoint, subject }
}

/// A named server with one client, a REST service and a WSDL service in two versions.
fn state() -> State {
    State::replay([
        Event::ServerNamed { id: ServerId { owner: member("1"), code: "ss1".into() } },
        Event::ClientAdded { client: client(), connection: ConnectionType::Http },
        description("http://is/rest", ServiceKind::Rest),
        service("http://is/rest", "rest", None),
        description("http://is/a.wsdl", ServiceKind::Wsdl),
        description("http://is/b.wsdl", ServiceKind::Wsdl),
        service("http://is/a.wsdl", "soap", Some("v1")),
        service("http://is/b.wsdl", "soap", Some("v2")),
        Event::EndpointAdded {
            client: client(),
            code: "rest".into(),
            endpoint: endpoint("GET", "/a/*"),
            generated: false,
        },
        Event::GroupAdded { client: client(), group: "friends".into(), description: "who may".into() },
    ])
    .unwrap()
}

#[test]
fn the_owner_is_a_client_from_the_start_and_stays() {
    let state = state();
    let owner = member("1").client();
    assert_eq!(state.clients[&owner].connection, ConnectionType::HttpsAuth);
    assert_eq!(state.decide(&Event::ClientRemoved { client: owner.clone() }), Err(Refusal::Owner(owner)));
    let id = ServerId { owner: member("2"), code: "x".into() };
    assert!(matches!(state.decide(&Event::ServerNamed { id }), Err(Refusal::AlreadyNamed(_))));
}

#[test]
fn refuses_what_breaks_a_rule_and_says_which() {
    let state = state();
    let friend = Subject::Client(member("2").subsystem("x"));
    let cases = [
        (
            Event::ClientAdded { client: client(), connection: ConnectionType::Http },
            "is a client of this server already",
        ),
        (
            Event::ClientAdded {
                client: MemberId::new("FI", "GOV", "1").client(),
                connection: ConnectionType::Http,
            },
            "another instance",
        ),
        (
            Event::ClientAdded { client: member("1").subsystem("a/b"), connection: ConnectionType::Http },
            "none of them % : ; /",
        ),
        (
            Event::ConnectionSet { client: member("9").client(), connection: ConnectionType::Http },
            "no client",
        ),
        (description("http://is/rest", ServiceKind::Rest), "exists already"),
        (description("file:///etc/passwd", ServiceKind::Rest), "must begin with http"),
        (service("http://nowhere/", "x", None), "does not exist"),
        (service("http://is/rest", "second", None), "has one service"),
        (service("http://is/a.wsdl", "getWsdl", None), "reserved"),
        (service("http://is/a.wsdl", "soap", Some("v2")), "used by another description"),
        (service("http://is/a.wsdl", "rest", Some("v1")), "used by another description"),
        (
            Event::EndpointAdded {
                client: client(),
                code: "rest".into(),
                endpoint: endpoint("GET", "/a/*"),
                generated: false,
            },
            "exists already",
        ),
        (
            Event::EndpointAdded {
                client: client(),
                code: "soap".into(),
                endpoint: endpoint("GET", "/a"),
                generated: false,
            },
            "have no endpoints",
        ),
        (
            Event::EndpointAdded {
                client: client(),
                code: "rest".into(),
                endpoint: endpoint("get", "/a"),
                generated: false,
            },
            "one of *, GET",
        ),
        (
            Event::EndpointAdded {
                client: client(),
                code: "rest".into(),
                endpoint: endpoint("GET", "a"),
                generated: false,
            },
            "starts with /",
        ),
        (
            Event::EndpointRemoved {
                client: client(),
                code: "rest".into(),
                endpoint: Endpoint::service_level(),
            },
            "cannot be removed",
        ),
        (granted("rest", endpoint("PUT", "/none"), friend.clone()), "does not exist"),
        (
            granted("rest", Endpoint::service_level(), Subject::LocalGroup("strangers".into())),
            "\"strangers\" does not exist",
        ),
        (
            Event::RightRevoked {
                client: client(),
                code: "rest".into(),
                endpoint: Endpoint::service_level(),
                subject: friend,
            },
            "does not exist",
        ),
        (Event::TimestampingSet { tsas: vec![Tsa { name: "t".into(), url: "nowhere".into() }] }, "http://"),
    ];
    for (event, expected) in cases {
        let refusal = state.decide(&event).expect_err(&format!("{event:?}")).to_string();
        assert!(refusal.contains(expected), "{event:?}: {refusal}");
    }
}

#[test]
fn rights_belong_to_a_code_and_go_with_its_last_version() {
    let mut state = state();
    let subject = Subject::GlobalGroup(GlobalGroupId { instance: "EE".into(), code: "all".into() });
    state.apply(crate::testing::NOW, granted("soap", Endpoint::service_level(), subject)).unwrap();
    let removed = |version: &str| Event::ServiceRemoved {
        client: client(),
        code: "soap".into(),
        version: Some(version.into()),
    };
    state.apply(crate::testing::NOW, removed("v1")).unwrap();
    assert_eq!(state.clients[&client()].endpoints["soap"][&Endpoint::service_level()].rights.len(), 1);
    state
        .apply(
            crate::testing::NOW,
            Event::DescriptionRemoved { client: client(), url: "http://is/b.wsdl".into() },
        )
        .unwrap();
    assert!(!state.clients[&client()].endpoints.contains_key("soap"));
}

#[test]
fn a_group_takes_its_rights_along() {
    let mut state = state();
    let subject = Subject::LocalGroup("friends".into());
    state.apply(crate::testing::NOW, granted("rest", endpoint("GET", "/a/*"), subject)).unwrap();
    state
        .apply(crate::testing::NOW, Event::GroupRemoved { client: client(), group: "friends".into() })
        .unwrap();
    assert!(state.clients[&client()].endpoints["rest"].values().all(|e| e.rights.is_empty()));
}

#[test]
fn events_of_a_client_that_is_not_there_are_damage() {
    let stray = Event::ConnectionSet { client: client(), connection: ConnectionType::Http };
    assert!(State::replay([stray]).is_err());
}

/// Ids are asked for by scripts long after; they may not depend on what is there now.
#[test]
fn things_keep_their_numbers_when_others_go_or_they_are_changed() {
    let mut state = state();
    let apply = |state: &mut State, event: Event| {
        state.decide(&event).unwrap();
        state.apply(crate::testing::NOW, event).unwrap();
    };
    let id = |state: &State, code: &str, endpoint: &Endpoint| {
        state.clients[&client()].endpoints[code][endpoint].id
    };
    let (base, own) = (Endpoint::service_level(), endpoint("GET", "/a/*"));
    let before = (id(&state, "rest", &base), id(&state, "rest", &own), id(&state, "soap", &base));
    assert!(before.0 < before.2 && before.2 < before.1, "in the order of events: {before:?}");
    let rest = state.clients[&client()].descriptions["http://is/rest"].id;
    let to = endpoint("PUT", "/b");
    apply(&mut state, granted("rest", own.clone(), Subject::LocalGroup("friends".into())));
    apply(
        &mut state,
        Event::EndpointChanged { client: client(), code: "rest".into(), endpoint: own, to: to.clone() },
    );
    apply(&mut state, Event::DescriptionRemoved { client: client(), url: "http://is/a.wsdl".into() });
    let moved = ("http://is/rest".to_owned(), "http://is/moved".to_owned());
    apply(&mut state, Event::DescriptionMoved { client: client(), url: moved.0, to: moved.1 });
    let renamed = ("rest".to_owned(), "renamed".to_owned());
    apply(
        &mut state,
        Event::ServiceRenamed { client: client(), code: renamed.0, version: None, to: renamed.1 },
    );
    assert_eq!((id(&state, "renamed", &base), id(&state, "renamed", &to), id(&state, "soap", &base)), before);
    let (_, code, found, of) = state.endpoint(before.1).unwrap();
    assert_eq!((code.as_str(), found, of.rights.len(), of.generated), ("renamed", &to, 1, false));
    let (_, _, url, description) = state.description(rest).unwrap();
    assert_eq!(url, "http://is/moved");
    assert!(description.services.contains_key(&("renamed".into(), None)));
    apply(&mut state, description_at("http://is/new"));
    assert!(state.clients[&client()].descriptions["http://is/new"].id > before.1, "never one again");
}

fn description_at(url: &str) -> Event {
    description(url, ServiceKind::Rest)
}

#[test]
fn times_and_the_last_notice_are_kept() {
    let mut state = state();
    let (early, late) = (crate::testing::NOW, crate::testing::NOW.plus(std::time::Duration::from_secs(60)));
    let url = || "http://is/rest".to_owned();
    let switched = |disabled: Option<&str>| Event::DescriptionSwitched {
        client: client(),
        url: url(),
        disabled: disabled.map(str::to_owned),
    };
    state.apply(early, switched(Some("closed"))).unwrap();
    state.apply(early, switched(None)).unwrap();
    state.apply(late, Event::DescriptionRefreshed { client: client(), url: url() }).unwrap();
    let member = member("7").subsystem("x");
    let joined =
        Event::GroupMemberAdded { client: client(), group: "friends".into(), member: member.clone() };
    state.apply(late, joined).unwrap();
    state
        .apply(early, granted("rest", Endpoint::service_level(), Subject::LocalGroup("friends".into())))
        .unwrap();
    let known = &state.clients[&client()];
    let description = &known.descriptions["http://is/rest"];
    assert_eq!((description.disabled.as_deref(), description.notice.as_deref()), (None, Some("closed")));
    assert_eq!(description.refreshed_at, late);
    assert_eq!(known.groups["friends"].members[&member], late);
    let rights = &known.endpoints["rest"][&Endpoint::service_level()].rights;
    assert_eq!(rights[&Subject::LocalGroup("friends".into())], early);
}

/// What `state/` holds after a release must be read by the next one.
#[test]
fn stored_events_keep_their_form() {
    let cases = [
        (
            Event::ClientAdded { client: client(), connection: ConnectionType::HttpsNoAuth },
            r#"{"V1":{"ClientAdded":{"client":{"member":{"instance":"EE","class":"GOV","code":"1"},"subsystem":"school"},"connection":"HTTPS_NO_AUTH"}}}"#,
        ),
        (
            Event::TlsCertAdded { client: member("1").client(), der: vec![1, 2, 255] },
            r#"{"V1":{"TlsCertAdded":{"client":{"member":{"instance":"EE","class":"GOV","code":"1"},"subsystem":null},"der":"AQL/"}}}"#,
        ),
        (
            Event::EndpointAdded {
                client: client(),
                code: "rest".into(),
                endpoint: endpoint("GET", "/a"),
                generated: false,
            },
            r#"{"V1":{"EndpointAdded":{"client":{"member":{"instance":"EE","class":"GOV","code":"1"},"subsystem":"school"},"code":"rest","endpoint":{"method":"GET","path":"/a"}}}}"#,
        ),
        (
            Event::ServiceChanged {
                client: client(),
                code: "rest".into(),
                version: None,
                settings: settings("http://is/"),
            },
            r#"{"V1":{"ServiceChanged":{"client":{"member":{"instance":"EE","class":"GOV","code":"1"},"subsystem":"school"},"code":"rest","version":null,"settings":{"url":"http://is/","timeout_seconds":60,"verify_tls":true}}}}"#,
        ),
        (
            granted("rest", endpoint("GET", "/a"), Subject::LocalGroup("friends".into())),
            r#"{"V1":{"RightGranted":{"client":{"member":{"instance":"EE","class":"GOV","code":"1"},"subsystem":"school"},"code":"rest","endpoint":{"method":"GET","path":"/a"},"subject":{"LocalGroup":"friends"}}}}"#,
        ),
    ];
    for (event, expected) in cases {
        assert_eq!(serde_json::to_string(&Stored::V1(event.clone())).unwrap(), expected);
        let read: Stored = serde_json::from_str(expected).unwrap();
        assert_eq!(read.into_event(), event);
    }
}
