//! PR-REST 4.1, 4.2, 4.4, 4.5: methods, paths, queries, statuses, redirects.

use crate::case::{Body, CALL, Case, Holds::*, OK_BODY};

const ANSWER_201: &str = "HTTP/1.1 201 Created\r\nLocation: /things/7\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nmade";
const ANSWER_204: &str = "HTTP/1.1 204 No Content\r\nX-Kept: yes\r\nConnection: close\r\n\r\n";
const ANSWER_304: &str = "HTTP/1.1 304 Not Modified\r\nETag: \"7\"\r\nConnection: close\r\n\r\n";
const HEAD_ANSWER: &str = "HTTP/1.1 200 OK\r\nX-Kept: yes\r\nContent-Length: 10\r\nConnection: close\r\n\r\n";

const fn status(line: &'static str, title: &'static str, holds: &'static [crate::case::Holds]) -> Case {
    Case { title, line: "GET {rest}/status", answer: line, holds, ..CALL }
}

/// See the module.
pub(super) const CASES: &[Case] = &[
    Case {
        title: "GET goes through and its answer comes back",
        line: "GET {rest}/things/1",
        holds: &[Status(&[200]), NoFault, Sees("GET", "/rest/things/1"), GotBody(OK_BODY), SeesLength(0)],
        ..CALL
    },
    Case {
        title: "POST goes through with its body",
        line: "POST {rest}/things",
        body: Body::Text("a thing"),
        answer: ANSWER_201,
        holds: &[
            Status(&[201]),
            Sees("POST", "/rest/things"),
            SeesBody("a thing"),
            GotBody(b"made"),
            Got("Location", "/things/7"),
        ],
        ..CALL
    },
    Case {
        title: "PUT goes through with its body",
        line: "PUT {rest}/things/1",
        body: Body::Text("a thing"),
        holds: &[Status(&[200]), Sees("PUT", "/rest/things/1"), SeesBody("a thing")],
        ..CALL
    },
    Case {
        title: "PATCH goes through with its body",
        line: "PATCH {rest}/things/1",
        body: Body::Text("a thing"),
        holds: &[Status(&[200]), Sees("PATCH", "/rest/things/1"), SeesBody("a thing")],
        ..CALL
    },
    Case {
        title: "DELETE goes through, and 204 comes back without a body",
        line: "DELETE {rest}/things/1",
        answer: ANSWER_204,
        holds: &[Status(&[204]), Sees("DELETE", "/rest/things/1"), GotLength(0), Got("X-Kept", "yes")],
        ..CALL
    },
    Case {
        title: "HEAD goes through, and its answer has no body",
        line: "HEAD {rest}/things/1",
        answer: HEAD_ANSWER,
        holds: &[Status(&[200]), Sees("HEAD", "/rest/things/1"), GotLength(0), Got("X-Kept", "yes")],
        ..CALL
    },
    Case {
        title: "OPTIONS goes through",
        line: "OPTIONS {rest}/things",
        holds: &[Status(&[200]), Sees("OPTIONS", "/rest/things"), GotBody(OK_BODY)],
        ..CALL
    },
    Case {
        title: "an unknown method is refused",
        line: "BREW {rest}/things",
        holds: &[NotCalled, Status(&[400, 405, 500, 501])],
        ..CALL
    },
    Case {
        title: "POST without a body goes through",
        line: "POST {rest}/things",
        body: Body::Text(""),
        holds: &[Status(&[200]), Sees("POST", "/rest/things"), SeesLength(0)],
        ..CALL
    },
    Case {
        title: "a service is called without anything after its code",
        line: "GET {rest}",
        holds: &[Status(&[200]), Sees("GET", "/rest")],
        ..CALL
    },
    Case {
        title: "a slash after the service code is passed on",
        line: "GET {rest}/",
        holds: &[Status(&[200]), Sees("GET", "/rest/")],
        ..CALL
    },
    Case {
        clause: "4.2",
        title: "escapes in the path stay as they are",
        line: "GET {rest}/a%20b/%C3%A4/x%2Fy/%3F",
        holds: &[Status(&[200]), Sees("GET", "/rest/a%20b/%C3%A4/x%2Fy/%3F")],
        ..CALL
    },
    Case {
        clause: "4.2",
        title: "lower case escapes stay as they are",
        line: "GET {rest}/%c3%a4",
        holds: &[Status(&[200]), Sees("GET", "/rest/%c3%a4")],
        ..CALL
    },
    Case {
        clause: "4.2",
        title: "characters that need no escape are left alone",
        line: "GET {rest}/a-b_c~d!$&'()*+,;=:@.e",
        holds: &[Status(&[200]), Sees("GET", "/rest/a-b_c~d!$&'()*+,;=:@.e")],
        ..CALL
    },
    Case {
        clause: "4.2",
        title: "a broken escape is refused",
        line: "GET {rest}/%zz",
        holds: &[NotCalled, Status(&[400, 500])],
        ..CALL
    },
    Case {
        clause: "4.2",
        title: "an escaped dot segment is refused",
        line: "GET {rest}/a/%2e%2e/b",
        holds: &[NotCalled, Status(&[400, 500])],
        ..CALL
    },
    Case {
        clause: "4.2",
        title: "identifiers in the path are unescaped before they are compared",
        line: "GET {r1}/%63onformance/x",
        holds: &[Status(&[200]), Sees("GET", "/rest/x")],
        ..CALL
    },
    Case {
        clause: "4.5",
        title: "a query is passed on byte for byte",
        line: "GET {rest}/q?b=2&a=1&b=%20%C3%A4+x&&=&c",
        holds: &[Status(&[200]), Sees("GET", "/rest/q?b=2&a=1&b=%20%C3%A4+x&&=&c")],
        ..CALL
    },
    Case {
        clause: "4.5",
        title: "a query without a path is passed on",
        line: "GET {rest}?a=1",
        holds: &[Status(&[200]), Sees("GET", "/rest?a=1")],
        ..CALL
    },
    Case {
        clause: "4.5",
        title: "a question mark and slashes in a query are passed on",
        line: "GET {rest}/q?u=http://x/?y",
        holds: &[Status(&[200]), Sees("GET", "/rest/q?u=http://x/?y")],
        ..CALL
    },
    Case {
        clause: "4.5",
        title: "a query of four thousand bytes is passed on",
        line: LONG_QUERY,
        holds: &[Status(&[200]), Check(long_query)],
        ..CALL
    },
    Case {
        clause: "4.4",
        title: "a redirect is not followed but passed on",
        line: "GET {rest}/old",
        answer: "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/new?x=1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        holds: &[Status(&[302]), Got("Location", "http://192.0.2.1/new?x=1"), Sees("GET", "/rest/old")],
        ..CALL
    },
    Case {
        clause: "4.4",
        title: "a redirect of a POST is not followed but passed on",
        line: "POST {rest}/old",
        body: Body::Text("once"),
        answer: "HTTP/1.1 307 Temporary Redirect\r\nLocation: /new\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        holds: &[Status(&[307]), Got("Location", "/new"), SeesBody("once")],
        ..CALL
    },
    status(ANSWER_201, "status 201 is passed on", &[Status(&[201]), NoFault]),
    status(
        ANSWER_304,
        "status 304 is passed on without a body",
        &[Status(&[304]), GotLength(0), Got("ETag", "\"7\"")],
    ),
    status(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nno",
        "status 400 of the service is its own and no fault",
        &[Status(&[400]), NoFault, GotBody(b"no")],
    ),
    status(
        "HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nno",
        "status 404 of the service is its own and no fault",
        &[Status(&[404]), NoFault, GotBody(b"no")],
    ),
    status(
        "HTTP/1.1 418 I'm a teapot\r\nContent-Length: {length}\r\nConnection: close\r\n\r\ntea",
        "status 418 is passed on",
        &[Status(&[418]), NoFault, GotBody(b"tea")],
    ),
    status(
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: {length}\r\nConnection: close\r\n\r\noops",
        "status 500 of the service is its own and no fault",
        &[Status(&[500]), NoFault, GotBody(b"oops")],
    ),
    status(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "status 503 of the service is passed on with Retry-After",
        &[Status(&[503]), NoFault, Got("Retry-After", "7")],
    ),
    status(
        "HTTP/1.1 599 Own Status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "a status that nobody knows is passed on",
        &[Status(&[599]), NoFault],
    ),
    status(
        "HTTP/1.1 200 \r\nContent-Length: {length}\r\nConnection: close\r\n\r\nx",
        "an answer without a reason phrase is passed on",
        &[Status(&[200]), GotBody(b"x")],
    ),
];

/// Four thousand bytes after the question mark.
const LONG_QUERY: &str = {
    const LINE: [u8; 4014] = {
        let mut line = [b'x'; 4014];
        let start = b"GET {rest}/q?a";
        let mut at = 0;
        while at < start.len() {
            line[at] = start[at];
            at += 1;
        }
        line
    };
    match std::str::from_utf8(&LINE) {
        Ok(text) => text,
        Err(_) => panic!("ASCII is UTF-8"),
    }
};

fn long_query(outcome: &crate::case::Outcome<'_>) -> Result<(), String> {
    let target = outcome.seen.first().map(|seen| seen.target().to_owned()).unwrap_or_default();
    let wanted = "/rest/q?".len() + LONG_QUERY.len() - "GET {rest}/q?".len();
    if target.len() == wanted && target.ends_with("xxx") {
        Ok(())
    } else {
        Err(format!("the provider sees a target of {} bytes, not {wanted}", target.len()))
    }
}
