//! PR-REST 4.7, and access rights for SOAP: who may call what.

use crate::case::{Body, CALL, Case, Holds::*, SOAP_CALL};

const REST: Case = Case { clause: "4.7", ..CALL };
const DENIED: &[crate::case::Holds] =
    &[Status(&[500]), Fault(&["server.serverproxy.access_denied"]), NotCalled];

const fn denied(title: &'static str, line: &'static str) -> Case {
    Case { title, line, holds: DENIED, ..REST }
}

const fn allowed(title: &'static str, line: &'static str, holds: &'static [crate::case::Holds]) -> Case {
    Case { title, line, holds, ..REST }
}

/// See the module.
pub(super) const CASES: &[Case] = &[
    denied("a service that nobody has a right to is refused", "GET {r1}/conformance-denied/x"),
    Case {
        title: "a client without a right is refused",
        headers: &["X-Road-Client: {stranger}"],
        holds: DENIED,
        ..REST
    },
    allowed(
        "a right to an endpoint covers its method and path",
        "GET {r1}/conformance-partial/open/7",
        &[Status(&[200]), Sees("GET", "/partial/open/7")],
    ),
    denied("a right to an endpoint covers no other path", "GET {r1}/conformance-partial/closed/7"),
    denied("a right to an endpoint covers no other method", "PUT {r1}/conformance-partial/open/7"),
    denied("a star in an endpoint stops at a slash", "GET {r1}/conformance-partial/open/7/more"),
    denied("an endpoint is compared as a whole", "GET {r1}/conformance-partial/open"),
    denied("the service itself is not covered by a right to an endpoint", "GET {r1}/conformance-partial"),
    Case {
        title: "two stars in an endpoint cover everything below",
        line: "POST {r1}/conformance-partial/deep/a/b/c",
        body: Body::Text("x"),
        holds: &[Status(&[200]), Sees("POST", "/partial/deep/a/b/c")],
        ..REST
    },
    allowed(
        "a query plays no part in a right",
        "GET {r1}/conformance-partial/open/7?x=/../closed",
        &[Status(&[200]), Sees("GET", "/partial/open/7?x=/../closed")],
    ),
    allowed(
        "a path that climbs out of an endpoint is refused",
        "GET {r1}/conformance-partial/open/../closed",
        &[Status(&[400, 500]), NotCalled],
    ),
    Case {
        document: "PR-MESS",
        clause: "2.2",
        title: "a client without a right to a SOAP service is refused",
        edits: &[("{client-xml}", "{stranger-xml}"), ("{client-kind}", "{stranger-kind}")],
        holds: &[Status(&[200]), Fault(&["server.serverproxy.access_denied"]), NotCalled],
        ..SOAP_CALL
    },
];
