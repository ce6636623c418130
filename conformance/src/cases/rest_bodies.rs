//! PR-REST 3.1: any payload of any type and size goes through, however it is framed.

use crate::case::{Body, CALL, Case, Holds::*};

const POST: Case = Case { clause: "3.1", line: "POST {rest}/bodies", ..CALL };
const GET: Case = Case { clause: "3.1", line: "GET {rest}/bodies", ..CALL };

/// Every byte there is.
const EVERY_BYTE: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < 256 {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};

const ECHO: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{seen-body}";

/// See the module.
pub(super) const CASES: &[Case] = &[
    Case {
        title: "every byte goes through in both directions",
        body: Body::Bytes(&EVERY_BYTE),
        answer: ECHO,
        holds: &[Status(&[200]), SeesBytes(&EVERY_BYTE), GotBody(&EVERY_BYTE)],
        ..POST
    },
    Case {
        title: "a body in chunks goes through",
        body: Body::Chunks(&["first, ", "second, ", "third"]),
        answer: ECHO,
        holds: &[Status(&[200]), SeesBody("first, second, third"), GotBody(b"first, second, third")],
        ..POST
    },
    Case {
        title: "an empty body in chunks goes through",
        body: Body::Chunks(&[]),
        holds: &[Status(&[200]), NoFault, SeesLength(0)],
        ..POST
    },
    Case {
        title: "a body of one byte goes through",
        body: Body::Bytes(b"\x00"),
        answer: ECHO,
        holds: &[Status(&[200]), SeesBytes(b"\x00"), GotBody(b"\x00")],
        ..POST
    },
    Case {
        title: "a body of a hundred kilobytes goes through in both directions",
        body: Body::Filler(100_000),
        answer: ECHO,
        holds: &[Status(&[200]), SeesLength(100_000), GotLength(100_000)],
        ..POST
    },
    Case {
        title: "a body of five megabytes goes through in both directions",
        body: Body::Filler(5_000_000),
        answer: ECHO,
        holds: &[Status(&[200]), SeesLength(5_000_000), GotLength(5_000_000)],
        ..POST
    },
    Case {
        title: "an answer in chunks comes through",
        answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
        holds: &[Status(&[200]), GotBody(b"abcdefg")],
        ..GET
    },
    Case {
        title: "an answer until the end of its connection comes through",
        answer: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        holds: &[Status(&[200]), GotBody(b"until the end")],
        ..GET
    },
    Case {
        title: "an answer with an empty body comes through",
        answer: "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        holds: &[Status(&[200]), NoFault, GotLength(0)],
        ..GET
    },
    Case {
        title: "a form goes through",
        headers: &["X-Road-Client: {client}", "Content-Type: application/x-www-form-urlencoded"],
        body: Body::Text("a=1&b=%20&a=2"),
        holds: &[
            Status(&[200]),
            SeesBody("a=1&b=%20&a=2"),
            SeesHeader("Content-Type", "application/x-www-form-urlencoded"),
        ],
        ..POST
    },
    Case {
        clause: "6.6",
        title: "a form with files goes through untouched",
        headers: &["X-Road-Client: {client}", "Content-Type: multipart/form-data; boundary=xyz"],
        body: Body::Text(
            "--xyz\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nhello\r\n--xyz--\r\n",
        ),
        holds: &[
            Status(&[200]),
            SeesHeader("Content-Type", "multipart/form-data; boundary=xyz"),
            SeesBody(
                "--xyz\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nhello\r\n--xyz--\r\n",
            ),
        ],
        ..POST
    },
    Case {
        title: "XML that is not SOAP goes through untouched",
        headers: &["X-Road-Client: {client}", "Content-Type: application/xml"],
        body: Body::Text("<?xml version='1.0'?><!-- c --><a  b='1'/>"),
        answer: ECHO,
        holds: &[
            SeesBody("<?xml version='1.0'?><!-- c --><a  b='1'/>"),
            GotBody(b"<?xml version='1.0'?><!-- c --><a  b='1'/>"),
        ],
        ..POST
    },
    Case {
        title: "a byte order mark and line ends stay as they are",
        body: Body::Bytes(b"\xef\xbb\xbfa\r\nb\nc\r"),
        answer: ECHO,
        holds: &[SeesBytes(b"\xef\xbb\xbfa\r\nb\nc\r"), GotBody(b"\xef\xbb\xbfa\r\nb\nc\r")],
        ..POST
    },
    Case {
        title: "an encoding that servers do not unpack goes through untouched",
        answer: "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nnot really br",
        holds: &[Status(&[200]), Got("Content-Encoding", "br"), GotBody(b"not really br")],
        ..GET
    },
    Case {
        title: "an answer that ends in the middle is no answer",
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf",
        holds: &[Status(&[400, 500, 502]), GotSome("X-Road-Error"), GotNoText("half")],
        ..GET
    },
    Case {
        title: "an answer that is no HTTP is no answer",
        answer: "hello\r\n\r\n",
        holds: &[
            Status(&[400, 500, 502]),
            Fault(&[
                "server.serverproxy.io_error",
                "server.serverproxy.service_failed",
                "server.serverproxy.service_failed.io_error",
                "server.serverproxy.network_error",
            ]),
        ],
        ..GET
    },
];
