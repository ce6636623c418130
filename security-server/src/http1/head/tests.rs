//! What is taken as HTTP and how it is framed, near misses first.
use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 16 << 10, lines: 200 };

fn request(text: &str) -> Result<RequestHead, HeadError> {
    parse_request(&Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
}

#[test]
fn keeps_names_order_and_bytes() {
    let text = b"GET /r1/a?b HTTP/1.1\r\nHost: h\r\nX-B: 1\r\nx-a:\t k\xe4 \r\nX-B: 2\r\nX-Empty:\r\n\r\n";
    let head = parse_request(&Bytes::from_static(text), &LIMITS).expect("read");
    let lines: Vec<(&str, &[u8])> = head.headers.iter().collect();
    let expected: [(&str, &[u8]); 5] =
        [("Host", b"h"), ("X-B", b"1"), ("x-a", b"k\xe4"), ("X-B", b"2"), ("X-Empty", b"")];
    assert_eq!(lines, expected);
    assert_eq!((head.method.as_str(), head.target.as_ref()), ("GET", &b"/r1/a?b"[..]));
    assert_eq!(head.headers.all("x-b").collect::<Vec<_>>(), [b"1", b"2"]);
}

/// The framing that is taken, and what could be read in two ways.
#[test]
fn decides_one_framing() {
    use Framing::{Chunked, Length, None};
    let taken = [
        ("", None),
        ("Content-Length: 0\r\n", None),
        ("Content-Length: 12\r\n", Length(12)),
        ("content-length:007\r\n", Length(7)),
        ("Transfer-Encoding: Chunked\r\n", Chunked),
    ];
    for (lines, framing) in taken {
        let head = request(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n")).expect(lines);
        assert_eq!(head.framing, framing, "{lines}");
    }
    let refused = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 9999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "X-A : b\r\n",
        "X-A: b\r\n folded\r\n",
        "X-A: b\x00c\r\n",
        "X-A: b\x01c\r\n",
        "X A: b\r\n",
        ": b\r\n",
        "nocolon\r\n",
        "X-A: b\rX-B: c\r\n",
        "Host: other\r\n",
    ];
    for lines in refused {
        let found = request(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        assert_eq!(found.map(|_| ()).map_err(HeadError::status), Err(400), "{lines:?}");
    }
}

#[test]
fn refuses_what_is_no_request_for_us() {
    let long = "a".repeat(TARGET_BYTES + 1);
    let cases = [
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("blank host", "GET / HTTP/1.1\r\nHost: \r\n\r\n".to_owned(), 400),
        ("a user in the host", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n".to_owned(), 400),
        ("connect", "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("a method with a space", "GE T / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("http/2", "PRI * HTTP/2.0\r\n\r\n".to_owned(), 426),
        ("http/2 without its preface", "GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), 426),
        ("not http", "GET / XTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 505),
        ("no version", "GET /\r\nHost: h\r\n\r\n".to_owned(), 505),
        ("a tab for a space", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("no target", "GET  HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 505),
        ("a space in the host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        ("an upgrade on its own", "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n".to_owned(), 400),
        ("settings on their own", "GET / HTTP/1.1\r\nHost: h\r\nHTTP2-Settings: AA\r\n\r\n".to_owned(), 400),
        ("http/3", "GET / HTTP/3.0\r\nHost: h\r\n\r\n".to_owned(), 505),
        ("chunked in http/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400),
        ("expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: magic\r\n\r\n".to_owned(), 417),
        ("long target", format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414),
        ("too many lines", format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(300)), 431),
    ];
    for (name, text, status) in cases {
        assert_eq!(request(&text).map(|_| ()).map_err(HeadError::status), Err(status), "{name}");
    }
    assert!(request("GET / HTTP/1.0\r\n\r\n").expect("1.0 needs no Host").http10);
    let taken = [
        "GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    ];
    for text in taken {
        assert!(request(text).is_ok(), "{text}");
    }
}

#[test]
fn finds_the_end_and_refuses_bare_line_feeds() {
    let whole = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nrest";
    for split in 0..whole.len() {
        let mut seen = 0;
        let early = find_end(&whole[..split], &mut seen, true).expect("strict");
        let end = early.or_else(|| find_end(whole, &mut seen, true).expect("strict"));
        assert_eq!(end, Some(whole.len() - 4), "split at {split}");
    }
    assert!(find_end(b"GET / HTTP/1.1\nHost: h\n\n", &mut 0, true).is_err());
    assert_eq!(find_end(b"HTTP/1.1 200 OK\nA: b\n\nx", &mut 0, false), Ok(Some(22)));
}

/// What deployed services send (recorded on the stock server), and what cannot be taken for one message.
#[test]
fn reads_answers_leniently_and_frames_them_once() {
    use Framing::{Chunked, Length, None, ToEnd};
    let taken = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", "GET", 200, "OK", Length(3)),
        ("HTTP/1.1 200\r\nContent-Length: 3\r\n", "GET", 200, "", Length(3)),
        ("HTTP/1.1 200 \r\n", "GET", 200, "", ToEnd),
        ("HTTP/1.0 404 Not Found Here\r\n", "GET", 404, "Not Found Here", ToEnd),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", "HEAD", 200, "OK", None),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n", "GET", 204, "No Content", None),
        ("HTTP/1.1 304 Not Modified\r\n", "GET", 304, "Not Modified", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", "GET", 200, "OK", Chunked),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n", "GET", 200, "OK", Length(3)),
        ("HTTP/1.1 599 Odd\nX: y\n", "GET", 599, "Odd", ToEnd),
    ];
    for (text, method, status, reason, framing) in taken {
        let end = if text.ends_with("\r\n") { "\r\n" } else { "\n" };
        let bytes = Bytes::from(format!("{text}{end}"));
        let head = parse_response(&bytes, method, &LIMITS, Answers::Services).expect(text);
        assert_eq!(
            (head.status, head.reason.as_ref(), head.framing),
            (status, reason.as_bytes(), framing),
            "{text:?}"
        );
    }
    let refused = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        "HTTP/1.1 200 OK\r\nX: a\x01b\r\n",
        "HTTP/2 200 OK\r\n",
        "SSH-2.0-x\r\n",
    ];
    for text in refused {
        let bytes = Bytes::from(format!("{text}\r\n"));
        for whose in [Answers::Services, Answers::Servers] {
            assert!(parse_response(&bytes, "GET", &LIMITS, whose).is_err(), "{whose:?}: {text:?}");
        }
    }
}

#[test]
fn unfolds_lines_of_answers() {
    let text = Bytes::from_static(b"HTTP/1.1 200 OK\r\nX-Long: a\r\n  b\r\n\tc\r\nX-Next: d\r\n\r\n");
    let head = parse_response(&text, "GET", &LIMITS, Answers::Services).expect("read");
    assert_eq!(head.headers.get("x-long"), Some(&b"a b c"[..]));
    assert_eq!(head.headers.get("x-next"), Some(&b"d"[..]));
}

/// What a security server sends, and what only a service may.
#[test]
fn reads_answers_of_servers_strictly() {
    use Framing::{Chunked, Length, None, ToEnd};
    let read = |text: &str| {
        let bytes = Bytes::from(format!("{text}\r\n"));
        parse_response(&bytes, "POST", &LIMITS, Answers::Servers).map(|head| (head.framing, head.keep_alive))
    };
    let taken = [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", Chunked, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n", Chunked, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", Length(3), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", Length(0), true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n", ToEnd, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n", Length(3), false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n", Length(3), true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n", None, true),
    ];
    for (text, framing, kept) in taken {
        assert_eq!(read(text), Ok((framing, kept)), "{text:?}");
    }
    let refused = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\n",
    ];
    for text in refused {
        assert!(read(text).is_err(), "{text:?}");
    }
}
