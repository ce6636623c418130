//! PR-REST 4.3: headers in both directions, the ones of X-Road and everybody else's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::case::{Body, CALL, Case, Holds::*, Outcome};
use crate::run::{sha512, status_line};

const REST: Case = Case { clause: "4.3", ..CALL };

const fn answered(title: &'static str, answer: &'static str, holds: &'static [crate::case::Holds]) -> Case {
    Case { title, answer, holds, ..REST }
}

/// See the module.
pub(super) const CASES: &[Case] = &[
    Case {
        title: "the provider sees who asks and under which id",
        headers: &["X-Road-Client: {client}", "X-Road-Id: {id}"],
        holds: &[
            Status(&[200]),
            SeesHeader("X-Road-Client", "{client}"),
            SeesHeader("X-Road-Id", "{id}"),
            SeesSome("X-Road-Request-Id"),
        ],
        ..REST
    },
    Case {
        title: "the answer says client, service, id, request id and request hash",
        headers: &["X-Road-Client: {client}", "X-Road-Id: {id}"],
        holds: &[
            Got("X-Road-Client", "{client}"),
            Got("X-Road-Service", "{provider}/conformance"),
            Got("X-Road-Id", "{id}"),
            GotSome("X-Road-Request-Id"),
            GotSome("X-Road-Request-Hash"),
            GotNo("X-Road-Error"),
            Check(same_request_id),
        ],
        ..REST
    },
    Case {
        title: "a request without an id gets one",
        holds: &[Status(&[200]), SeesSome("X-Road-Id"), GotSome("X-Road-Id"), Check(same_id)],
        ..REST
    },
    Case {
        title: "the letter case of header names does not matter",
        headers: &["x-road-CLIENT: {client}", "X-ROAD-ID: {id}"],
        holds: &[Status(&[200]), SeesHeader("X-Road-Id", "{id}"), Got("X-Road-Id", "{id}")],
        ..REST
    },
    Case {
        title: "of several clients the last counts",
        headers: &["X-Road-Client: NO/SUCH/MEMBER/AT-ALL", "X-Road-Client: {client}"],
        holds: &[Status(&[200]), NoFault, Got("X-Road-Client", "{client}")],
        ..REST
    },
    Case {
        title: "user and issue are passed on",
        headers: &["X-Road-Client: {client}", "X-Road-UserId: EE38003210031", "X-Road-Issue: 7/12"],
        holds: &[
            Status(&[200]),
            SeesHeader("X-Road-UserId", "EE38003210031"),
            SeesHeader("X-Road-Issue", "7/12"),
        ],
        ..REST
    },
    Case {
        title: "a represented party with a class is passed on",
        headers: &["X-Road-Client: {client}", "X-Road-Represented-Party: COM/1234567"],
        holds: &[Status(&[200]), SeesHeader("X-Road-Represented-Party", "COM/1234567")],
        ..REST
    },
    Case {
        title: "a represented party without a class is passed on",
        headers: &["X-Road-Client: {client}", "X-Road-Represented-Party: 1234567"],
        holds: &[Status(&[200]), SeesHeader("X-Road-Represented-Party", "1234567")],
        ..REST
    },
    Case {
        title: "a represented party of three parts is refused",
        headers: &["X-Road-Client: {client}", "X-Road-Represented-Party: A/B/C"],
        holds: &[Status(&[400, 500]), GotSome("X-Road-Error"), NotCalled],
        ..REST
    },
    Case {
        title: "the provider's server can be named",
        headers: &["X-Road-Client: {client}", "X-Road-Security-Server: {server}"],
        holds: &[Status(&[200]), NoFault, SeesHeader("X-Road-Security-Server", "{server}")],
        ..REST
    },
    Case {
        title: "a server that does not serve the provider is refused",
        headers: &["X-Road-Client: {client}", "X-Road-Security-Server: {instance}/NO/SUCH/SERVER"],
        holds: &[Status(&[400, 500]), GotSome("X-Road-Error"), NotCalled],
        ..REST
    },
    Case {
        title: "a request id and a request hash of the consumer's own are dropped",
        headers: &["X-Road-Client: {client}", "X-Road-Request-Id: mine", "X-Road-Request-Hash: mine"],
        holds: &[
            Status(&[200]),
            SeesSome("X-Road-Request-Id"),
            SeesNoValue("X-Road-Request-Id", "mine"),
            SeesNo("X-Road-Request-Hash"),
        ],
        ..REST
    },
    answered(
        "headers of X-Road in the service's answer are replaced",
        "HTTP/1.1 200 OK\r\nX-Road-Id: fake\r\nX-Road-Client: A/B/C\r\nX-Road-Request-Hash: fake\r\nX-Road-Request-Id: fake\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        &[Status(&[200]), NoFault, Got("X-Road-Client", "{client}"), Check(no_fakes)],
    ),
    Case {
        title: "content type and charset of a request are passed on unchanged",
        line: "POST {rest}",
        headers: &["X-Road-Client: {client}", "Content-Type: text/plain;charset=ISO-8859-15; x=\"y\""],
        body: Body::Bytes(b"\xa4"),
        holds: &[
            Status(&[200]),
            SeesHeader("Content-Type", "text/plain;charset=ISO-8859-15; x=\"y\""),
            SeesBytes(b"\xa4"),
        ],
        ..REST
    },
    answered(
        "content type and charset of an answer are passed on unchanged",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain;Charset=iso-8859-1\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nabc",
        &[Got("Content-Type", "text/plain;Charset=iso-8859-1"), GotBody(b"abc")],
    ),
    answered(
        "an answer without a content type is passed on",
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nabc",
        &[Status(&[200]), GotBody(b"abc")],
    ),
    Case {
        title: "Accept is passed on unchanged",
        headers: &["X-Road-Client: {client}", "Accept: application/xml;q=0.5, text/*"],
        holds: &[Status(&[200]), SeesHeader("Accept", "application/xml;q=0.5, text/*")],
        ..REST
    },
    Case {
        title: "user defined headers are passed on, repeated ones too",
        headers: &["X-Road-Client: {client}", "X-Own: 1", "X-Own: 2", "X-Empty:", "x-Mixed-CASE: a, b"],
        holds: &[
            Status(&[200]),
            SeesHeader("X-Own", "1"),
            SeesHeader("X-Own", "2"),
            SeesHeader("X-Empty", ""),
            SeesHeader("X-Mixed-Case", "a, b"),
        ],
        ..REST
    },
    Case {
        title: "authorisation and cookies of a request are passed on",
        headers: &["X-Road-Client: {client}", "Authorization: Basic dTpw", "Cookie: a=1; b=2"],
        holds: &[Status(&[200]), SeesHeader("Authorization", "Basic dTpw"), SeesHeader("Cookie", "a=1; b=2")],
        ..REST
    },
    answered(
        "cookies of an answer are passed on, each by itself",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        &[Got("Set-Cookie", "a=1; Path=/"), Got("Set-Cookie", "b=2")],
    ),
    Case {
        title: "a cookie that a service set does not come back by itself",
        line: "GET {rest}/after-the-cookies",
        holds: &[Status(&[200]), SeesNo("Cookie")],
        ..REST
    },
    Case {
        title: "headers of the connection are not passed on",
        headers: &[
            "X-Road-Client: {client}",
            "Keep-Alive: timeout=5",
            "TE: trailers",
            "Proxy-Authorization: Basic x",
            "User-Agent: consumer",
        ],
        holds: &[
            Status(&[200]),
            SeesNo("Keep-Alive"),
            SeesNo("TE"),
            SeesNo("Proxy-Authorization"),
            SeesNoValue("User-Agent", "consumer"),
        ],
        ..REST
    },
    answered(
        "headers of the service's connection are not passed on",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=7\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        &[Status(&[200]), GotNo("Keep-Alive"), GotNo("Proxy-Authenticate")],
    ),
    answered(
        "caching headers and Date of an answer are passed on",
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Control: no-store\r\nVary: Accept\r\nETag: W/\"1\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        &[
            Got("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            Got("Cache-Control", "no-store"),
            Got("Vary", "Accept"),
            Got("ETag", "W/\"1\""),
        ],
    ),
    Case {
        title: "headers of other origins are passed on",
        line: "OPTIONS {rest}",
        headers: &[
            "X-Road-Client: {client}",
            "Origin: https://a.example",
            "Access-Control-Request-Method: PUT",
        ],
        answer: "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: https://a.example\r\nConnection: close\r\n\r\n",
        holds: &[
            Status(&[204]),
            SeesHeader("Origin", "https://a.example"),
            SeesHeader("Access-Control-Request-Method", "PUT"),
            Got("Access-Control-Allow-Origin", "https://a.example"),
        ],
        ..REST
    },
    Case {
        title: "the request hash is that of the signed request without a body",
        headers: &["X-Road-Client: {client}", "X-Road-Id: {id}"],
        holds: &[Status(&[200]), Check(request_hash)],
        ..REST
    },
    Case {
        title: "the request hash is that of the signed request with its body",
        line: "POST {rest}/hash",
        headers: &["X-Road-Client: {client}", "X-Road-Id: {id}", "Content-Type: text/plain"],
        body: Body::Text("hashed too"),
        holds: &[Status(&[200]), Check(request_hash)],
        ..REST
    },
];

fn compare(outcome: &Outcome<'_>, name: &str) -> Result<(), String> {
    let seen = outcome.seen.first().and_then(|seen| seen.header(name));
    let got = outcome.got.header(name);
    if seen.is_some() && seen == got {
        Ok(())
    } else {
        Err(format!("{name}: the provider sees {seen:?}, the consumer {got:?}"))
    }
}

fn same_request_id(outcome: &Outcome<'_>) -> Result<(), String> {
    compare(outcome, "X-Road-Request-Id")
}

fn same_id(outcome: &Outcome<'_>) -> Result<(), String> {
    compare(outcome, "X-Road-Id")
}

fn no_fakes(outcome: &Outcome<'_>) -> Result<(), String> {
    let fake = outcome.got.headers.iter().find(|(_, value)| value == "fake" || value == "A/B/C");
    fake.map_or(Ok(()), |(name, value)| Err(format!("the consumer gets {name}: {value}")))
}

/// `base64(SHA-512(headers))`, or over the digests of headers and body; headers are what the consumer's server signed, which its
/// message log hands out.
fn request_hash(outcome: &Outcome<'_>) -> Result<(), String> {
    let line = "GET /asic?queryId={id}{client-query}&requestOnly&unique&force";
    let container = (outcome.ask)(line, &[])?;
    if container.status() != 200 {
        return Err(format!("the signed request is not handed out: {}", status_line(&container)));
    }
    let signed = super::transport::entry(&container.body, "message.xml")?;
    let mut hash = sha512(&signed);
    if !outcome.sent.is_empty() {
        hash.extend(sha512(outcome.sent));
        hash = sha512(&hash);
    }
    let (wanted, found) =
        (STANDARD.encode(hash), outcome.got.header("X-Road-Request-Hash").unwrap_or_default());
    if wanted == found { Ok(()) } else { Err(format!("the request hash is {found}, not {wanted}")) }
}
