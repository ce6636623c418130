//! Building and reading header parts, every rule with its near misses, and the codes at each place.
use proptest::prelude::*;

use super::*;
use bytes::Bytes;

/// Headers as an information system sends them.
type Sent<'a> = &'a [(&'a str, &'a [u8])];
/// First lines, which header to leave out, what to add, and the codes.
type ResponseCase<'a> = (&'a [&'a str], Option<usize>, &'a [&'a str], &'a [FaultCode]);

const PATH: &str = "/r1/EE/GOV/1/sub/svc";

fn edge(path: &str, headers: &[(&str, &[u8])]) -> Result<RestRequest, RestError> {
    RestRequest::from_edge(&EdgeRequest { method: "GET", path, query: None, headers }, "rid", "EE-new")
}

fn part(lines: &[&str]) -> Bytes {
    lines.iter().map(|line| format!("{line}\r\n")).collect::<String>().into()
}

fn request(lines: &[&str]) -> Result<RestRequest, RestError> {
    RestRequest::parse(part(lines))
}

fn whole_request() -> RestRequest {
    request(&[
        "POST",
        "/r1/EE/GOV/1/s%20ub/svc/a?b=c",
        "X-Road-Client:EE/COM/2/c",
        "x-road-request-id:rid",
        "x-road-id:m1",
    ])
    .expect("a request")
}

#[test]
fn the_part_holds_what_was_sent_less_what_is_the_connection_s() {
    let request = RestRequest::from_edge(
        &EdgeRequest {
            method: "GET",
            path: "/r1/EE/GOV/1/s%C3%B5/svc/a/",
            query: Some("q=%20"),
            headers: &[
                ("Host", b"h"),
                ("X-Road-Client", b"EE/COM/2"),
                ("Accept", b" */* \t"),
                ("accept", b""),
                ("Connection", b"close"),
                ("X-Latin", b"caf\xc3\xa9\xff"),
                ("X-Road-Request-Id", b"mine"),
                ("x-road-REQUEST-hash", b"mine"),
                ("Content-Length", b"0"),
                ("Cookie", b"a=b"),
            ],
        },
        "rid",
        "EE-new",
    )
    .expect("a request");
    let expected = "GET\r\n/r1/EE/GOV/1/s%C3%B5/svc/a/?q=%20\r\nX-Road-Client:EE/COM/2\r\nAccept:*/*\r\naccept:\r\n\
        X-Latin:caf\u{c3}\u{a9}\u{ff}\r\nCookie:a=b\r\nx-road-request-id:rid\r\nx-road-id:EE-new\r\n";
    assert_eq!(request.raw, expected);
    assert_eq!(request.service.to_string(), "SERVICE:EE/GOV/1/sõ/svc");
    assert_eq!((request.service_path(), request.query.as_deref()), ("/a/", Some("q=%20")));
    assert_eq!((request.client.to_string().as_str(), &*request.id), ("MEMBER:EE/COM/2", "EE-new"));
    assert_eq!(&*request.request_id, "rid");
    let sent: Vec<_> =
        request.service_headers().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
    assert_eq!(sent.len(), 7);
    assert_eq!(sent[3], ("X-Latin".to_owned(), b"caf\xc3\xa9\xff".to_vec()));
}

#[test]
fn a_query_that_a_peer_signed_in_raw_utf8_is_called_in_escapes() {
    let line = "/r1/EE/GOV/1/sub/svc/a?n=jäär&m=%C3%A4&b[]=€";
    let raw = part(&["GET", line, "X-Road-Client:EE/COM/2", "x-road-request-id:rid", "x-road-id:m1"]);
    let request = RestRequest::parse(raw.clone()).expect("a request");
    assert_eq!(request.query.as_deref(), Some("n=j%C3%A4%C3%A4r&m=%C3%A4&b[]=%E2%82%AC"));
    assert_eq!(request.raw, raw, "the signed bytes stay what they were");
}

#[test]
fn a_message_id_is_made_where_none_counts() {
    let cases: [(Sent<'_>, &str, &str); 4] = [
        (&[], "EE-new", "x-road-request-id:rid\r\nx-road-id:EE-new\r\n"),
        (&[("X-Road-Id", b"mine")], "mine", "X-Road-Id:mine\r\nx-road-request-id:rid\r\n"),
        (
            &[("X-Road-Id", b"a"), ("x-road-id", b"b")],
            "b",
            "X-Road-Id:a\r\nx-road-id:b\r\nx-road-request-id:rid\r\n",
        ),
        (
            &[("X-Road-Id", b"a"), ("X-Road-Id", b" ")],
            "EE-new",
            "x-road-request-id:rid\r\nx-road-id:EE-new\r\n",
        ),
    ];
    for (ids, expected, end) in cases {
        let headers = [&[("X-Road-Client", b"EE/COM/2".as_slice())], ids].concat();
        let request = edge(PATH, &headers).expect("a request");
        assert_eq!(&*request.id, expected);
        assert!(request.raw.ends_with(end.as_bytes()), "{:?}", request.raw);
    }
}

#[test]
fn the_edge_says_what_the_reference_says() {
    use FaultCode::*;
    const CLIENT: (&str, &[u8]) = ("X-Road-Client", b"EE/COM/2/c");
    let long = [b"EE/COM/".as_slice(), &[b'x'; 256]].concat();
    let id = [b'i'; 256];
    let cases: &[(&str, Sent<'_>, FaultCode)] = &[
        (PATH, &[], InvalidClientIdentifier),
        (PATH, &[("X-Road-Client", b"")], InternalError),
        (PATH, &[("X-Road-Client", b"EE/COM")], InternalError),
        (PATH, &[("X-Road-Client", b"EE/COM/%zz")], InternalError),
        (PATH, &[("X-Road-Client", b"EE/COM/%00")], InternalError),
        (PATH, &[("X-Road-Client", b"bad"), CLIENT], InternalError),
        (PATH, &[("X-Road-Client", &long)], UnknownMember),
        ("/r1/EE/GOV/1/sub", &[CLIENT], InternalError),
        ("/r1/EE/GOV/1/sub/", &[CLIENT], InternalError),
        ("/r1/EE//1/sub/svc", &[CLIENT], InternalError),
        ("/r2/EE/GOV/1/sub/svc", &[CLIENT], InternalError),
        ("/r1/", &[CLIENT], InternalError),
        (PATH, &[CLIENT, ("X-Road-Id", &id)], IoError),
        (PATH, &[CLIENT, ("X-Road-Security-Server", b"")], InternalError),
        (PATH, &[CLIENT, ("X-Road-Security-Server", b"EE/GOV/1/ss/x")], InternalError),
        (PATH, &[CLIENT, ("X-Road-Represented-Party", b"a/b/c")], InternalError),
        (PATH, &[CLIENT, ("X-Road-Represented-Party", b"COM/99%zz")], InternalError),
        (PATH, &[CLIENT, ("X-Road-Represented-Party", b"\xe4")], InternalError),
        (PATH, &[CLIENT, ("a b", b"")], InternalError),
        (PATH, &[CLIENT, ("a", b"b\rc:d")], InternalError),
    ];
    for (path, headers, expected) in cases {
        let error = edge(path, headers).expect_err(&format!("{path} {headers:?}"));
        assert_eq!(error.fault_path(Place::ConsumerEdge), [*expected], "{path} {headers:?}: {error}");
    }
    let verb = EdgeRequest { method: "get", path: PATH, query: None, headers: &[CLIENT] };
    assert_eq!(RestRequest::from_edge(&verb, "r", "i").expect_err("lower case"), RestError::Method);
    for (method, path) in
        [("GET\r\n/r1/a/b/c/d/e", PATH), ("GET", "/r1/EE/GOV/1/sub/svc\r\nX-Road-Client:EE/COM/3")]
    {
        let edge = EdgeRequest { method, path, query: None, headers: &[CLIENT] };
        assert!(RestRequest::from_edge(&edge, "r", "i").is_err(), "{method:?} {path:?}");
    }
    // Targets that only a provider refuses.
    let odd = EdgeRequest { method: "GET", path: PATH, query: Some("a={x}&b=%zz"), headers: &[CLIENT] };
    assert!(RestRequest::from_edge(&odd, "r", "i").is_ok());
}

#[test]
fn the_represented_party_is_lenient() {
    let some = |class: Option<&str>, code: &str| Some((class.map(str::to_owned), code.to_owned()));
    let cases = [
        ("9999", some(None, "9999")),
        ("COM/99%2F99", some(Some("COM"), "99/99")),
        ("COM/", some(None, "COM")),
        ("/9999", some(Some(""), "9999")),
        ("", some(None, "")),
        ("/", None),
    ];
    for (value, expected) in cases {
        let request =
            edge(PATH, &[("X-Road-Client", b"EE/COM/2"), ("x-road-represented-party", value.as_bytes())]);
        assert_eq!(request.expect(value).represented_party, expected, "{value}");
    }
}

#[test]
fn a_peer_s_part_is_held_against_every_rule() {
    use FaultCode::*;
    const C: &str = "X-Road-Client:EE/COM/2/c";
    const R: &str = "x-road-request-id:rid";
    const I: &str = "x-road-id:m";
    assert!(request(&["GET", PATH, C, R, I]).is_ok());
    assert!(
        RestRequest::parse(format!("GET\r\n{PATH}\r\n{C}\r\n{R}\r\n{I}").into()).is_ok(),
        "the last line end may lack"
    );
    let old = request(&[
        "GET",
        PATH,
        "X-ROAD-CLIENT:x/y/z",
        "x-road-client:EE/COM/2",
        "X-Road-Request-Id:rid",
        "X-Road-ID:m",
    ]);
    assert_eq!(old.expect("names have no case").client.to_string(), "MEMBER:EE/COM/2");

    let long = format!("x-road-id:{}", "i".repeat(256));
    let cases: &[(&str, Vec<u8>, &[FaultCode])] = &[
        ("nothing", vec![], &[ServiceFailed, InternalError]),
        ("a method only", part(&["GET"]).to_vec(), &[ServiceFailed, InternalError]),
        ("another method", part(&["CONNECT", PATH, C, R, I]).to_vec(), &[ServiceFailed, InternalError]),
        (
            "a blank before the method",
            part(&[" GET", PATH, C, R, I]).to_vec(),
            &[ServiceFailed, InternalError],
        ),
        (
            "an authority",
            part(&["GET", "//h/r1/EE/GOV/1/sub/svc", C, R, I]).to_vec(),
            &[ServiceFailed, InternalError],
        ),
        (
            "a scheme",
            part(&["GET", "http://h/r1/EE/GOV/1/sub/svc", C, R, I]).to_vec(),
            &[ServiceFailed, InternalError],
        ),
        ("no path", part(&["GET", "", C, R, I]).to_vec(), &[ServiceFailed, InternalError]),
        (
            "brackets in the path",
            part(&["GET", &format!("{PATH}/a[1]"), C, R, I]).to_vec(),
            &[ServiceFailed, InternalError],
        ),
        (
            "braces in the query",
            part(&["GET", &format!("{PATH}?a={{x}}"), C, R, I]).to_vec(),
            &[ServiceFailed, InternalError],
        ),
        ("a broken escape", part(&["GET", &format!("{PATH}?a=%zz"), C, R, I]).to_vec(), &[InternalError]),
        ("raw UTF-8 in the path", part(&["GET", &format!("{PATH}/ä"), C, R, I]).to_vec(), &[InternalError]),
        ("no client", part(&["GET", PATH, R, I]).to_vec(), &[ServiceFailed, InternalError]),
        (
            "a blank after the colon",
            part(&["GET", PATH, "X-Road-Client: EE/COM/2", R, I]).to_vec(),
            &[ServiceFailed, InternalError],
        ),
        ("an empty line", part(&["GET", PATH, C, R, I, ""]).to_vec(), &[ServiceFailed, InternalError]),
        ("no colon", part(&["GET", PATH, C, R, I, "Nonsense"]).to_vec(), &[ServiceFailed, InternalError]),
        (
            "a connection header",
            part(&["GET", PATH, C, R, I, "Transfer-Encoding:chunked"]).to_vec(),
            &[ServiceFailed, InternalError],
        ),
        (
            "a bad server",
            part(&["GET", PATH, C, R, I, "X-Road-Security-Server:x"]).to_vec(),
            &[ServiceFailed, InternalError],
        ),
        ("no message id", part(&["GET", PATH, C, R]).to_vec(), &[MissingHeaderField]),
        ("an empty message id", part(&["GET", PATH, C, R, "x-road-id:"]).to_vec(), &[MissingHeaderField]),
        ("no request id", part(&["GET", PATH, C, I]).to_vec(), &[MissingHeaderField]),
        ("a long message id", part(&["GET", PATH, C, R, &long]).to_vec(), &[LoggingFailed, DatabaseError]),
        (
            "a lone CR",
            part(&["GET", PATH, C, R, I, "a:b\rX-Road-Client:EE/COM/3"]).to_vec(),
            &[InvalidMessage],
        ),
        (
            "a lone LF",
            part(&["GET", PATH, C, R, I, "a:b\nX-Road-Client:EE/COM/3"]).to_vec(),
            &[InvalidMessage],
        ),
        ("a CR at the end", [&part(&["GET", PATH, C, R, I])[..], b"\r"].concat(), &[InvalidMessage]),
        ("two CR", part(&["GET", PATH, C, R, I, "a:b\r"]).to_vec(), &[InvalidMessage]),
        ("a control", part(&["GET", PATH, C, R, I, "a:b\u{1}"]).to_vec(), &[InvalidMessage]),
        ("a NUL", part(&["GET", PATH, C, R, I, "a:b\0"]).to_vec(), &[InvalidMessage]),
        ("an empty name", part(&["GET", PATH, C, R, I, ":b"]).to_vec(), &[InvalidMessage]),
        ("a blank in a name", part(&["GET", PATH, C, R, I, "a b:c"]).to_vec(), &[InvalidMessage]),
        ("not UTF-8", [&part(&["GET", PATH, C, R, I])[..], b"a:\xff\r\n"].concat(), &[InvalidMessage]),
    ];
    for (name, raw, expected) in cases {
        let error = RestRequest::parse(raw.clone().into()).expect_err(name);
        assert_eq!(error.fault_path(Place::ProviderPort), *expected, "{name}: {error}");
    }
}

#[test]
fn fragments_are_cut_and_odd_paths_are_kept() {
    let whole = |target: &str| {
        request(&["GET", target, "X-Road-Client:EE/COM/2", "x-road-request-id:r", "x-road-id:m"])
    };
    for (target, path, query) in [
        ("/r1/EE/GOV/1/sub/svc/a#f?g", "/a", None),
        ("/r1/EE/GOV/1/sub/svc//evil/a", "//evil/a", None),
        ("/r1/EE/GOV/1/sub/svc?a[]=1", "", Some("a[]=1")),
        ("/r1/EE/GOV/1/sub/svc/", "/", None),
        ("/r1/EE/GOV/1/sub/s%2Fvc/..%2fa?", "/..%2fa", Some("")),
    ] {
        let request = whole(target).expect(target);
        assert_eq!((request.service_path(), request.query.as_deref()), (path, query), "{target}");
    }
    assert!(
        request(&["TRACE", PATH, "X-Road-Client:EE/COM/2", "x-road-request-id:r", "x-road-id:m"])
            .expect("a request")
            .forbids_body()
    );
}

#[test]
fn a_response_says_what_the_provider_s_server_says() {
    let request = whole_request();
    let headers: &[(&str, &[u8])] = &[
        ("Content-Type", b"text/plain"),
        ("X-Road-Service", b"spoof"),
        ("x-road-error", b"server.spoofed"),
        ("X-Road-Id", b"spoof"),
        ("X-Road-Foo", b"bar"),
        ("Server", b"s"),
        ("X-Latin", b"\x80\xe9"),
        ("Set-Cookie", b"a=b"),
    ];
    let response = RestResponse::from_service(404, "Not Found", headers, &request, "http-rid", "aGFzaA==")
        .expect("a response");
    let expected = "404\r\nNot Found\r\nContent-Type:text/plain\r\nX-Road-Foo:bar\r\nX-Latin:\u{80}\u{e9}\r\nSet-Cookie:a=b\r\n\
        x-road-id:m1\r\nx-road-client:EE/COM/2/c\r\nx-road-service:EE/GOV/1/s%20ub/svc\r\nx-road-request-id:http-rid\r\nx-road-request-hash:aGFzaA==\r\n";
    assert_eq!(response.raw, expected);
    assert_eq!(response.inconsistency(&request, "aGFzaA=="), Some("x-road-request-id"));
    let sent: Vec<_> =
        response.client_headers().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
    assert_eq!(sent[2], ("X-Latin".to_owned(), b"\x80\xe9".to_vec()));
    assert_eq!(sent.len(), 9);

    for (status, ok) in [(199, false), (200, true), (599, true), (600, false), (101, false)] {
        assert_eq!(RestResponse::from_service(status, "", &[], &request, "", "h").is_ok(), ok, "{status}");
    }
    let error = RestResponse::from_service(999, "", &[], &request, "", "h").expect_err("a status");
    assert_eq!(error.fault_path(Place::ProviderEdge), [FaultCode::ServiceFailed, FaultCode::HttpError]);
    assert!(RestResponse::from_service(200, "a\r\nb:c", &[], &request, "", "h").is_err());
    assert!(RestResponse::from_service(200, "", &[("a", b"b\nc")], &request, "", "h").is_err());
}

#[test]
fn a_peer_s_response_is_held_against_every_rule() {
    use FaultCode::*;
    const ALL: [&str; 5] = [
        "x-road-id:m1",
        "x-road-client:EE/COM/2/c",
        "x-road-service:EE/GOV/1/s%20ub/svc",
        "x-road-request-id:rid",
        "x-road-request-hash:h",
    ];
    let with = |first: &[&str], skip: Option<usize>, more: &[&str]| {
        let rest = ALL.iter().enumerate().filter(|(i, _)| Some(*i) != skip).map(|(_, line)| *line);
        RestResponse::parse(part(
            &first.iter().copied().chain(rest).chain(more.iter().copied()).collect::<Vec<_>>(),
        ))
    };
    let ok = with(&["200", ""], None, &["X-Road-Error:server.x", "Date:d"]).expect("a response");
    assert_eq!(ok.inconsistency(&whole_request(), "h"), None);
    assert_eq!(ok.client_headers().count(), 6);
    assert!(with(&["200", "OK"], Some(0), &["X-Road-Id:m1"]).is_ok(), "names have no case");

    let cases: &[ResponseCase<'_>] = &[
        (&["abc", "OK"], None, &[], &[ServiceFailed, InternalError]),
        (&["", "OK"], None, &[], &[ServiceFailed, InternalError]),
        (&[" 200", "OK"], None, &[], &[ServiceFailed, InternalError]),
        (&["+200", "OK"], None, &[], &[ServiceFailed, InternalError]),
        (&["100", "OK"], None, &[], &[ServiceFailed, InvalidMessage]),
        (&["101", "OK"], None, &[], &[ServiceFailed, InvalidMessage]),
        (&["999", "OK"], None, &[], &[ServiceFailed, InvalidMessage]),
        (&["200", "O\rK"], None, &[], &[ServiceFailed, InvalidMessage]),
        (&["200", "OK"], Some(0), &[], &[ServiceFailed, InternalError]),
        (&["200", "OK"], Some(0), &["x-road-id:"], &[ServiceFailed, InternalError]),
        (&["200", "OK"], Some(1), &[], &[InconsistentResponse]),
        (&["200", "OK"], Some(1), &["x-road-client:"], &[ServiceFailed, InternalError]),
        (&["200", "OK"], Some(2), &[], &[InconsistentResponse]),
        (&["200", "OK"], Some(2), &["x-road-service:EE/GOV/1/svc"], &[ServiceFailed, InternalError]),
        (&["200", "OK"], Some(3), &[], &[InconsistentResponse]),
        (&["200", "OK"], Some(4), &[], &[ServiceFailed, InternalError]),
        (&["200", "OK"], Some(4), &["x-road-request-hash:"], &[ServiceFailed, InternalError]),
        (&["200", "OK"], None, &["Content-Length:3"], &[ServiceFailed, InternalError]),
        (&["200", "OK"], None, &["a b:c"], &[ServiceFailed, InvalidMessage]),
        (&["200", "OK"], None, &["a:\u{1}"], &[ServiceFailed, InvalidMessage]),
    ];
    for (first, skip, more, expected) in cases {
        let error = with(first, *skip, more).expect_err(&format!("{first:?} {skip:?} {more:?}"));
        assert_eq!(error.fault_path(Place::ConsumerPort), *expected, "{first:?} {skip:?} {more:?}: {error}");
    }
    for (line, name) in [
        ("x-road-id:m2", "x-road-id"),
        ("x-road-client:EE/COM/2", "x-road-client"),
        ("x-road-service:EE/GOV/1/a/b", "x-road-service"),
        ("x-road-request-id:x", "x-road-request-id"),
        ("x-road-request-hash:H", "x-road-request-hash"),
    ] {
        let later = with(&["200", "OK"], None, &[line]).expect("the last one counts");
        assert_eq!(later.inconsistency(&whole_request(), "h"), Some(name));
    }
    assert_eq!(
        RestResponse::parse(Bytes::from_static(b"200\r\n")).expect_err("no reason line"),
        RestError::Incomplete("a reason phrase")
    );
}

#[test]
fn values_go_back_as_the_reference_sends_them() {
    assert_eq!(&*to_service_value("a\u{80}\u{9f}\u{a0}\u{ff}\u{100}"), b"a??\xa0\xff?");
    assert_eq!(&*to_client_value("a\u{80}\u{9f}\u{a0}\u{ff}\u{100}"), b"a\x80\x9f\xa0\xff?");
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(
        codes in proptest::collection::vec("[^\u{0}]{1,8}", 4),
        path in "(/[a-z%20]{0,4}){0,3}",
        names in proptest::collection::vec("[A-Za-z!#-]{1,6}", 0..4),
        values in proptest::collection::vec(proptest::collection::vec(prop_oneof![0x20u8..0x7f, 0x80u8..=0xff, Just(9)], 0..12), 4),
        status in 200u16..600,
    ) {
        let client = crate::id::MemberId::new(&*codes[0], &*codes[1], &*codes[2]).subsystem(&*codes[3]).to_header();
        let client_header = [("X-Road-Client", client.as_bytes())];
        let mine = names.iter().zip(&values).filter(|(n, _)| lines::connection_header(n).is_none()).map(|(n, v)| (n.as_str(), v.as_slice()));
        let headers: Vec<_> = client_header.into_iter().chain(mine).collect();
        let target = format!("/r1/{}/svc{path}", client);
        let built = RestRequest::from_edge(&EdgeRequest { method: "PUT", path: &target, query: None, headers: &headers }, "r", "i").expect("a request");
        prop_assert_eq!(built.service_path(), &path);
        prop_assert_eq!(&built.client.to_header(), &client);
        prop_assert_eq!(built.headers.len(), headers.len() + 2);
        for ((name, value), (found, text)) in headers.iter().zip(built.headers.iter()) {
            prop_assert_eq!(*name, found);
            prop_assert_eq!(&*to_client_value(text), lines::trim_blanks(value));
        }
        if !path.contains('%') {
            let read = RestRequest::parse(built.raw.clone()).expect("what we write we read");
            prop_assert_eq!((read.path, read.headers, read.id), (built.path.clone(), built.headers.clone(), built.id.clone()));
        }
        let response = RestResponse::from_service(status, "x", &headers, &built, "r", "h").expect("a response");
        let read = RestResponse::parse(response.raw.clone()).expect("what we write we read");
        prop_assert_eq!(read.inconsistency(&built, "h"), None);
        let lines: Vec<_> = read.client_lines().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let headers_of = read.client_headers().map(|(name, value)| (name.as_bytes().to_vec(), value.into_owned()));
        prop_assert_eq!(lines, headers_of.collect::<Vec<_>>());
        let answer = RestResponse::parse_answer(response.raw.clone(), &built).expect("what we write we read");
        prop_assert_eq!((&answer.client, &answer.service, &answer.id), (&read.client, &read.service, &read.id));
        prop_assert_eq!((&answer.request_id, answer.status), (&read.request_id, read.status));
        prop_assert_eq!((read.status, read.headers), (status, response.headers));
    }

    #[test]
    fn takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200),
        lines in proptest::collection::vec("(GET|200|/r1/a/b/c/d/e|x-road-id:|X-Road-Client:a/b/c|[ -~\r\n\u{80}]{0,9})", 0..8)) {
        for raw in [bytes, lines.join("\r\n").into_bytes()] {
            let _ = RestRequest::parse(raw.clone().into());
            let _ = RestResponse::parse(raw.clone().into());
            let _ = crate::edge::check_target(&raw);
        }
    }
}
