//! PR-REST 4.6: what a consumer is told when a security server refuses.

use crate::case::{Body, CALL, Case, Holds::*, Outcome};

const REST: Case = Case { clause: "4.6", ..CALL };

/// See the module.
pub(super) const CASES: &[Case] = &[
    Case {
        title: "an unknown service is refused by the provider's server",
        line: "GET {r1}/no-such-service/x",
        holds: &[
            Status(&[500]),
            Fault(&["server.serverproxy.unknown_service"]),
            NotCalled,
            Check(json_error),
        ],
        ..REST
    },
    Case {
        title: "an unknown provider is refused by the consumer's server",
        line: "GET /r1/{instance}/NO/SUCH/MEMBER/service",
        holds: &[
            Status(&[400, 500]),
            Fault(&["server.clientproxy.unknown_member"]),
            NotCalled,
            Check(json_error),
        ],
        ..REST
    },
    Case {
        title: "an unknown client is refused by the consumer's server",
        headers: &["X-Road-Client: {instance}/NO/SUCH/CLIENT"],
        holds: &[Status(&[400, 500]), Fault(&["server.clientproxy.unknown_member"]), NotCalled],
        ..REST
    },
    Case {
        title: "a request without a client is refused",
        headers: &[],
        holds: &[Status(&[400, 500]), GotSome("X-Road-Error"), NotCalled, Check(json_error)],
        ..REST
    },
    Case {
        title: "a client of too few parts is refused",
        headers: &["X-Road-Client: A/B"],
        holds: &[Status(&[400, 500]), GotSome("X-Road-Error"), NotCalled],
        ..REST
    },
    Case {
        title: "a client of too many parts is refused",
        headers: &["X-Road-Client: {client}/more"],
        holds: &[Status(&[400, 500]), GotSome("X-Road-Error"), NotCalled],
        ..REST
    },
    Case {
        title: "a path without a service is refused",
        line: "GET {r1}",
        holds: &[Status(&[400, 500]), GotSome("X-Road-Error"), NotCalled],
        ..REST
    },
    Case {
        title: "another version of the protocol is not taken for a REST call",
        line: "GET /r2/{provider}/conformance",
        holds: &[NotCalled, Check(some_fault)],
        ..REST
    },
    Case {
        title: "a service at an address where nobody listens is an error of the network",
        line: "GET {r1}/conformance-down/x",
        holds: &[
            Status(&[500]),
            Fault(&[
                "server.serverproxy.network_error",
                "server.serverproxy.service_failed.network_error",
                "server.serverproxy.io_error",
            ]),
            Check(json_error),
        ],
        ..REST
    },
    Case {
        title: "a disabled service is refused with its notice",
        line: "GET {r1}/conformance-disabled/x",
        holds: &[
            Status(&[500]),
            Fault(&["server.serverproxy.service_disabled"]),
            GotText("closed for conformance"),
            NotCalled,
        ],
        ..REST
    },
    Case {
        title: "a SOAP service is no REST service",
        line: "GET {r1}/conformanceSoap/x",
        holds: &[
            Status(&[500]),
            Fault(&["server.serverproxy.service_type", "server.serverproxy.unknown_service"]),
            NotCalled,
        ],
        ..REST
    },
    Case {
        title: "errors are JSON unless XML is asked for",
        line: "GET {r1}/no-such-service",
        headers: &["X-Road-Client: {client}", "Accept: text/html, */*"],
        holds: &[Got("Content-Type", "application/json"), Check(json_error)],
        ..REST
    },
    Case {
        title: "errors are XML for who accepts text xml",
        line: "GET {r1}/no-such-service",
        headers: &["X-Road-Client: {client}", "Accept: text/xml"],
        holds: &[Check(xml_type), Check(xml_error)],
        ..REST
    },
    Case {
        title: "errors are XML for who accepts application xml",
        line: "GET {r1}/no-such-service",
        headers: &["X-Road-Client: {client}", "Accept: application/xml"],
        holds: &[Check(xml_type), Check(xml_error)],
        ..REST
    },
    Case {
        title: "an error of a HEAD request has no body but its header",
        line: "HEAD {r1}/no-such-service",
        holds: &[Status(&[500]), GotSome("X-Road-Error"), GotLength(0)],
        ..REST
    },
    Case {
        title: "a body is taken before a service is refused",
        line: "POST {r1}/no-such-service",
        body: Body::Filler(200_000),
        holds: &[Status(&[500]), Fault(&["server.serverproxy.unknown_service"]), NotCalled],
        ..REST
    },
    Case {
        title: "a service that hangs up is an error of the service",
        answer: "",
        holds: &[Status(&[500]), GotSome("X-Road-Error"), Check(json_error)],
        ..REST
    },
];

/// `type` is the code of the header; `message` and `detail` are there.
fn json_error(outcome: &Outcome<'_>) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_slice(&outcome.got.body)
        .map_err(|error| format!("the error is no JSON: {error}"))?;
    let code = outcome.got.header("X-Road-Error").unwrap_or_default();
    if value["type"] != code || !value["message"].is_string() || !value["detail"].is_string() {
        return Err(format!("the error says {value}, its header {code:?}"));
    }
    Ok(())
}

fn xml_error(outcome: &Outcome<'_>) -> Result<(), String> {
    let text = outcome.got.text();
    let document =
        roxmltree::Document::parse(&text).map_err(|error| format!("the error is no XML: {error}"))?;
    let root = document.root_element();
    let names: Vec<_> = root.children().filter(|n| n.is_element()).map(|n| n.tag_name().name()).collect();
    let code = root.children().find(|node| node.has_tag_name("type")).and_then(|node| node.text());
    if root.tag_name().name() == "error"
        && names == ["type", "message", "detail"]
        && code == outcome.got.header("X-Road-Error")
    {
        Ok(())
    } else {
        Err(format!("the error is {text}"))
    }
}

fn xml_type(outcome: &Outcome<'_>) -> Result<(), String> {
    let found = outcome.got.header("Content-Type").unwrap_or_default();
    if found.contains("/xml") { Ok(()) } else { Err(format!("the error is of type {found:?}")) }
}

fn some_fault(outcome: &Outcome<'_>) -> Result<(), String> {
    match crate::case::fault(outcome.got) {
        Some(_) => Ok(()),
        None if outcome.got.status() >= 400 => Ok(()),
        None => Err(format!("neither a fault nor an error: {}", outcome.got.start)),
    }
}
