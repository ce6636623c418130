//! PR-MREST: the services of a member over REST, and their descriptions.

use crate::case::{CALL, Case, Holds::*, Outcome};

const META: Case = Case { document: "PR-MREST", clause: "4", ..CALL };

/// See the module.
pub(super) const CASES: &[Case] = &[
    Case {
        title: "listMethods names the REST services",
        line: "GET {r1}/listMethods",
        holds: &[Status(&[200]), NoFault, NotCalled, Check(listed)],
        ..META
    },
    Case {
        title: "listMethods names endpoints",
        line: "GET {r1}/listMethods",
        holds: &[Status(&[200]), Check(endpoints)],
        ..META
    },
    Case {
        title: "allowedMethods names what the client may call",
        line: "GET {r1}/allowedMethods",
        holds: &[Status(&[200]), NoFault, NotCalled, Check(allowed)],
        ..META
    },
    Case {
        title: "allowedMethods over REST names nothing to who has no right",
        line: "GET {r1}/allowedMethods",
        headers: &["X-Road-Client: {stranger}"],
        holds: &[Status(&[200]), NoFault, GotNoText("conformance")],
        ..META
    },
    Case {
        title: "metadata over REST is an answer like any other",
        line: "GET {r1}/listMethods",
        headers: &["X-Road-Client: {client}", "X-Road-Id: {id}"],
        holds: &[
            Got("X-Road-Id", "{id}"),
            Got("X-Road-Service", "{provider}/listMethods"),
            GotSome("X-Road-Request-Hash"),
            GotSome("X-Road-Request-Id"),
        ],
        ..META
    },
    Case {
        title: "metadata is asked for with GET alone",
        line: "DELETE {r1}/listMethods",
        holds: &[Status(&[400, 500]), Fault(&["server.serverproxy.unknown_service"])],
        ..META
    },
    Case {
        clause: "5",
        title: "getOpenAPI gives the description of a service without addresses",
        line: "GET {r1}/getOpenAPI?serviceCode=conformance-openapi",
        holds: &[Status(&[200]), NoFault, GotNoText("internal.invalid"), Check(description)],
        ..META
    },
    Case {
        clause: "5",
        title: "getOpenAPI without a service code is refused",
        line: "GET {r1}/getOpenAPI",
        holds: &[Status(&[400, 500]), Fault(&["server.serverproxy.invalid_request"])],
        ..META
    },
    Case {
        clause: "5",
        title: "getOpenAPI of an unknown service is refused",
        line: "GET {r1}/getOpenAPI?serviceCode=no-such-service",
        holds: &[Status(&[400, 500]), GotSome("X-Road-Error")],
        ..META
    },
    Case {
        clause: "5",
        title: "getOpenAPI of a service that has none is refused",
        line: "GET {r1}/getOpenAPI?serviceCode=conformance",
        holds: &[Status(&[400, 500]), GotSome("X-Road-Error")],
        ..META
    },
    Case {
        clause: "5",
        title: "a described service is called at its own address",
        line: "GET {r1}/conformance-openapi/things/7",
        holds: &[Status(&[200]), Sees("GET", "/described/things/7")],
        ..META
    },
];

fn services(outcome: &Outcome<'_>) -> Result<Vec<serde_json::Value>, String> {
    let value: serde_json::Value =
        serde_json::from_slice(&outcome.got.body).map_err(|error| format!("the list is no JSON: {error}"))?;
    value["service"].as_array().cloned().ok_or_else(|| format!("no services: {value}"))
}

fn find(outcome: &Outcome<'_>, code: &str) -> Result<serde_json::Value, String> {
    let services = services(outcome)?;
    let found = services.iter().find(|service| service["service_code"] == code).cloned();
    found.ok_or_else(|| format!("{code} is not listed"))
}

fn listed(outcome: &Outcome<'_>) -> Result<(), String> {
    for (code, kind) in
        [("conformance", "REST"), ("conformance-denied", "REST"), ("conformance-openapi", "OPENAPI")]
    {
        let service = find(outcome, code)?;
        let provider = (outcome.fill)("{provider}");
        let codes = ["xroad_instance", "member_class", "member_code", "subsystem_code"]
            .map(|key| service[key].as_str().unwrap_or_default());
        if service["service_type"] != kind
            || service["object_type"] != "SERVICE"
            || codes.join("/") != provider
        {
            return Err(format!("{code} is listed as {service}"));
        }
    }
    match find(outcome, "conformanceSoap") {
        Ok(_) => Err("a SOAP service is listed".to_owned()),
        Err(_) => Ok(()),
    }
}

fn endpoints(outcome: &Outcome<'_>) -> Result<(), String> {
    let service = find(outcome, "conformance-partial")?;
    let wanted = serde_json::json!({ "method": "GET", "path": "/open/*" });
    let there = service["endpoint_list"].as_array().is_some_and(|list| list.contains(&wanted));
    if there { Ok(()) } else { Err(format!("no endpoint {wanted} in {service}")) }
}

fn allowed(outcome: &Outcome<'_>) -> Result<(), String> {
    find(outcome, "conformance")?;
    endpoints(outcome)?;
    match find(outcome, "conformance-denied") {
        Ok(_) => Err("a service without a right is listed".to_owned()),
        Err(_) => Ok(()),
    }
}

fn description(outcome: &Outcome<'_>) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_slice(&outcome.got.body)
        .map_err(|error| format!("the description is no JSON: {error}"))?;
    if value["servers"][0]["url"] == "/base" {
        Ok(())
    } else {
        Err(format!("the servers are {}", value["servers"]))
    }
}
