//! PR-META: members, and the services of a member over SOAP.

use crate::case::{Body, CALL, Case, Holds::*, Outcome, SOAP_CALL};
use crate::information_system::WSDL_MARK;

const LIST: Case = Case { document: "PR-META", clause: "2", line: "GET /listClients", headers: &[], ..CALL };

const fn service(
    title: &'static str,
    clause: &'static str,
    edits: &'static [(&'static str, &'static str)],
    holds: &'static [crate::case::Holds],
) -> Case {
    Case { document: "PR-META", clause, title, edits, holds, ..SOAP_CALL }
}

/// See the module.
pub(super) const CASES: &[Case] = &[
    Case { title: "members are listed as XML", holds: &[Status(&[200]), Check(clients_xml)], ..LIST },
    Case {
        title: "members are listed as JSON for who accepts it",
        headers: &["Accept: application/json"],
        holds: &[Status(&[200]), Check(clients_json)],
        ..LIST
    },
    Case {
        title: "members of a named instance are listed",
        line: "GET /listClients?xRoadInstance={instance}",
        holds: &[Status(&[200]), Check(clients_xml)],
        ..LIST
    },
    Case {
        title: "members of an unknown instance are not listed",
        line: "GET /listClients?xRoadInstance=NO-SUCH",
        holds: &[Check(super::soap_errors::faulty)],
        ..LIST
    },
    Case {
        title: "another path is not taken for the list",
        line: "GET /listClients/",
        holds: &[Check(super::soap_errors::faulty)],
        ..LIST
    },
    service(
        "listMethods names the SOAP services",
        "3",
        &[(CALLED, LIST_METHODS), (ELEMENT, "<xroad:listMethods/>")],
        &[
            Status(&[200]),
            NoFault,
            GotText("listMethodsResponse"),
            GotElement("serviceCode", "conformanceSoap"),
            NotCalled,
        ],
    ),
    service(
        "allowedMethods names the SOAP services that the client may call",
        "3",
        &[(CALLED, "<id:serviceCode>allowedMethods</id:serviceCode>"), (ELEMENT, "<xroad:allowedMethods/>")],
        &[
            Status(&[200]),
            NoFault,
            GotText("allowedMethodsResponse"),
            GotElement("serviceCode", "conformanceSoap"),
            NotCalled,
        ],
    ),
    service(
        "allowedMethods names nothing to who has no right",
        "3",
        &[
            (CALLED, "<id:serviceCode>allowedMethods</id:serviceCode>"),
            (ELEMENT, "<xroad:allowedMethods/>"),
            ("{client-xml}", "{stranger-xml}"),
            ("{client-kind}", "{stranger-kind}"),
        ],
        &[
            Status(&[200]),
            NoFault,
            GotText("allowedMethodsResponse"),
            GotNoText("<id:serviceCode>conformanceSoap</id:serviceCode>"),
        ],
    ),
    service(
        "metadata is an answer like any other, with its request hash",
        "3",
        &[(CALLED, LIST_METHODS), (ELEMENT, "<xroad:listMethods/>")],
        &[NoFault, GotText("requestHash"), GotElement("id", "{id}")],
    ),
    service(
        "getWsdl gives the description of a service",
        "4",
        &[
            (CALLED, "<id:serviceCode>getWsdl</id:serviceCode>"),
            (
                ELEMENT,
                "<xroad:getWsdl><xroad:serviceCode>conformanceSoap</xroad:serviceCode><xroad:serviceVersion>v1</xroad:serviceVersion></xroad:getWsdl>",
            ),
        ],
        &[
            Status(&[200]),
            NoFault,
            GotText(WSDL_MARK),
            GotNoText("internal.invalid"),
            GotText("getWsdlResponse"),
        ],
    ),
    service(
        "getWsdl of an unknown service is refused",
        "4",
        &[
            (CALLED, "<id:serviceCode>getWsdl</id:serviceCode>"),
            (ELEMENT, "<xroad:getWsdl><xroad:serviceCode>noSuchService</xroad:serviceCode></xroad:getWsdl>"),
        ],
        &[
            Status(&[200]),
            Fault(&[
                "server.serverproxy.unknown_service",
                "server.serverproxy.service_failed.unknown_service",
            ]),
        ],
    ),
    service(
        "getWsdl of a REST service is refused",
        "4",
        &[
            (CALLED, "<id:serviceCode>getWsdl</id:serviceCode>"),
            (ELEMENT, "<xroad:getWsdl><xroad:serviceCode>conformance</xroad:serviceCode></xroad:getWsdl>"),
        ],
        &[Status(&[200]), Check(super::soap_errors::faulty)],
    ),
    service(
        "getWsdl without a service code is refused",
        "4",
        &[(CALLED, "<id:serviceCode>getWsdl</id:serviceCode>"), (ELEMENT, "<xroad:getWsdl/>")],
        &[
            Status(&[200]),
            Fault(&[
                "server.serverproxy.invalid_request",
                "server.serverproxy.service_failed.invalid_request",
            ]),
        ],
    ),
    Case {
        document: "PR-META",
        clause: "2",
        title: "members are not listed for POST",
        line: "POST /listClients",
        headers: &["Content-Type: text/xml"],
        body: Body::Text("<x/>"),
        holds: &[Check(super::soap_errors::faulty)],
        ..CALL
    },
];

/// What stands in the usual request.
const CALLED: &str =
    "<id:serviceCode>conformanceSoap</id:serviceCode><id:serviceVersion>v1</id:serviceVersion>";
const ELEMENT: &str = "<c:conformanceSoap xmlns:c=\"urn:c\"><c:text>jäär</c:text></c:conformanceSoap>";
const LIST_METHODS: &str = "<id:serviceCode>listMethods</id:serviceCode>";

fn clients_xml(outcome: &Outcome<'_>) -> Result<(), String> {
    let text = outcome.got.text();
    let document =
        roxmltree::Document::parse(&text).map_err(|error| format!("the list is no XML: {error}"))?;
    let root = document.root_element();
    if !root.has_tag_name(("http://x-road.eu/xsd/xroad.xsd", "clientList")) {
        return Err(format!("the list is a {:?}", root.tag_name()));
    }
    let wanted = (outcome.fill)("{provider-code}");
    let is_provider = |node: roxmltree::Node<'_, '_>| {
        node.descendants()
            .any(|n| n.tag_name().name() == "subsystemCode" && n.text() == Some(wanted.as_str()))
            && node.descendants().any(|n| n.tag_name().name() == "name" && n.text().is_some())
    };
    let members = root.children().filter(|node| node.tag_name().name() == "member");
    if members.into_iter().any(is_provider) { Ok(()) } else { Err(format!("{wanted} is not in the list")) }
}

fn clients_json(outcome: &Outcome<'_>) -> Result<(), String> {
    let value: serde_json::Value =
        serde_json::from_slice(&outcome.got.body).map_err(|error| format!("the list is no JSON: {error}"))?;
    let wanted = (outcome.fill)("{provider}");
    let wanted: Vec<_> = wanted.split('/').collect();
    let there = value["member"].as_array().is_some_and(|members| {
        members.iter().any(|member| {
            let id = &member["id"];
            let codes = ["xroad_instance", "member_class", "member_code", "subsystem_code"]
                .map(|key| id[key].as_str());
            codes.into_iter().flatten().eq(wanted.iter().copied()) && id["object_type"] == "SUBSYSTEM"
        })
    });
    if there { Ok(()) } else { Err(format!("{} is not in the list", wanted.join("/"))) }
}
