//! What the recorded information system answered to `/scen/NAME`: statuses, framing, headers and bodies, ordinary and odd.
//!
//! An answer is given as the bytes on the wire, or as status, headers and body where nothing but these matters.

use super::service::{Act, answer, bare};

const REASON: &str = "X-Reason";
const PLAIN: (&str, &[u8]) = ("Content-Type", b"text/plain");
const JSON: (&str, &[u8]) = ("Content-Type", b"application/json");

/// The answer of a scenario; 404 for one that there is not.
pub fn acts(name: &str) -> Vec<Act> {
    let found = None
        .or_else(|| statuses(name))
        .or_else(|| framing(name))
        .or_else(|| coded(name))
        .or_else(|| headers(name))
        .or_else(|| long_headers(name))
        .or_else(|| slow(name));
    found.unwrap_or_else(|| send(ok_as("404", &[PLAIN], b"no such scenario")))
}

fn send(bytes: Vec<u8>) -> Vec<Act> {
    vec![Act::Send(bytes)]
}

fn ok_as(status: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    answer(&format!("{status} {REASON}"), headers, body)
}

fn ok(headers: &[(&str, &[u8])], body: &[u8]) -> Vec<Act> {
    send(ok_as("200", headers, body))
}

/// `head` is status and headers without the lengths, lines separated by `|`; closes when `closes`.
fn raw(head: &str, body: &[u8], closes: bool) -> Vec<Act> {
    let mut bytes = format!("HTTP/{}\r\n\r\n", head.replace('|', "\r\n")).into_bytes();
    bytes.extend(body);
    let mut acts = send(bytes);
    acts.extend(closes.then_some(Act::Close));
    acts
}

fn statuses(name: &str) -> Option<Vec<Act>> {
    let code = name.strip_prefix("st")?;
    let yes: (&str, &[u8]) = ("X-Backend", b"yes");
    let reason = |code: &str| format!("{code} {REASON}");
    Some(match code {
        "204" => send(bare(&reason("204"), &[yes])),
        "205" => send(ok_as("205", &[yes], b"")),
        "304" => send(bare(&reason("304"), &[("ETag", b"\"e\""), yes])),
        "204-ct" => send(bare(&reason("204"), &[JSON, yes])),
        "204-cl5" => send(ok_as("204", &[yes], b"hello")),
        "304-cl" => send(bare(&reason("304"), &[("ETag", b"\"e\""), ("Content-Length", b"5")])),
        "099" => raw("1.1 099 X|Content-Length: 2", b"ok", false),
        "1000" => raw("1.1 1000 X|Content-Length: 2", b"ok", false),
        "abc" => raw("1.1 abc X|Content-Length: 2", b"ok", false),
        _ => {
            let number: u16 = code.parse().ok()?;
            let mut headers = vec![JSON, yes];
            if (300..309).contains(&number) {
                headers.push(("Location", b"http://127.0.1.1:9090/echo/elsewhere"));
            }
            if number == 401 {
                headers.push(("WWW-Authenticate", b"Basic realm=\"x\""));
            }
            if matches!(number, 429 | 503) {
                headers.push(("Retry-After", b"1"));
            }
            send(ok_as(code, &headers, format!("{{\"status\":{number}}}").as_bytes()))
        }
    })
}

fn after(interim: &str, number: u16) -> Vec<Act> {
    let mut acts = raw(interim, b"", false);
    acts.extend(ok(&[JSON], format!("{{\"after\":{number}}}").as_bytes()));
    acts
}

fn framing(name: &str) -> Option<Vec<Act>> {
    const OK: &str = "1.1 200 OK|Content-Type: text/plain";
    let chunked = |body: &[u8], closes| raw(&format!("{OK}|Transfer-Encoding: chunked"), body, closes);
    let lengths = |lines: &str, closes| raw(&format!("{OK}|{lines}"), b"hello", closes);
    Some(match name {
        "i100" => after("1.1 100 Continue", 100),
        "i102" => after("1.1 102 Processing", 102),
        "i103" => after("1.1 103 Early Hints|Link: </x>; rel=preload", 103),
        "i101" => raw("1.1 101 Switching Protocols|Upgrade: x|Connection: upgrade", b"", true),
        "i199" => after("1.1 199 Odd", 199),
        "noreason" => raw("1.1 200|Content-Type: text/plain|Content-Length: 2", b"ok", false),
        "emptyreason" => raw("1.1 200 |Content-Type: text/plain|Content-Length: 2", b"ok", false),
        "reason-utf8" => raw("1.1 200 Käypä|Content-Type: text/plain|Content-Length: 2", b"ok", false),
        "reason-long" => {
            let head = format!("1.1 200 {}|Content-Type: text/plain|Content-Length: 2", "R".repeat(3000));
            raw(&head, b"ok", false)
        }
        "chunked" => chunked(b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n", false),
        "chunked-trailer" => raw(
            &format!("{OK}|Trailer: X-Trail|Transfer-Encoding: chunked"),
            b"5\r\nhello\r\n0\r\nX-Trail: t\r\n\r\n",
            false,
        ),
        "chunked-empty" => chunked(b"0\r\n\r\n", false),
        "chunked-trunc" => chunked(b"5\r\nhello\r\n", true),
        "chunked-bad" => chunked(b"zz\r\nhello\r\n", true),
        "cl-and-te" => raw(
            &format!("{OK}|Content-Length: 3|Transfer-Encoding: chunked"),
            b"5\r\nhello\r\n0\r\n\r\n",
            false,
        ),
        "cl-short" => lengths("Content-Length: 3", true),
        "cl-long" => lengths("Content-Length: 50", true),
        "cl-two-same" => lengths("Content-Length: 5|Content-Length: 5", false),
        "cl-two-diff" => lengths("Content-Length: 5|Content-Length: 3", true),
        "cl-neg" => lengths("Content-Length: -1", true),
        "cl-abc" => lengths("Content-Length: abc", true),
        "untilclose" => raw(OK, b"until close", true),
        "http10" => raw("1.0 200 OK|Content-Type: text/plain", b"http 1.0", true),
        "http09" => vec![Act::Send(b"plain text no status line".to_vec()), Act::Close],
        "http2" => raw("2.0 200 OK|Content-Type: text/plain|Content-Length: 2", b"ok", true),
        "closenow" => vec![Act::Close],
        "rstnow" => vec![Act::Reset],
        "halfhead" => vec![Act::Send(b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec()), Act::Close],
        "empty200" => ok(&[JSON], b""),
        "noct" => ok(&[], b"no content type"),
        "noct-empty" => ok(&[], b""),
        "range" => {
            let lines: [(&str, &[u8]); 3] =
                [PLAIN, ("Content-Range", b"bytes 0-1/10"), ("Accept-Ranges", b"bytes")];
            send(ok_as("206", &lines, b"ab"))
        }
        "multipart" => {
            ok(&[("Content-Type", b"multipart/mixed; boundary=xyz")], b"--xyz\r\n\r\na\r\n--xyz--\r\n")
        }
        "xmlfault" => send(ok_as("500", &[("Content-Type", b"text/xml")], FAULT)),
        "xmlfault200" => ok(&[("Content-Type", b"text/xml")], FAULT),
        "headbody" => ok(&[PLAIN], b"body even on head"),
        _ => return None,
    })
}

const FAULT: &[u8] = b"<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><e:Fault>\
    <faultcode>server.fake</faultcode><faultstring>fs</faultstring></e:Fault></e:Body></e:Envelope>";

/// 128 KiB of digests.
fn big() -> Vec<u8> {
    (0..2048)
        .flat_map(|i| pki::digest::DigestAlgorithm::Sha512.digest(i.to_string().as_bytes()).value)
        .collect()
}

fn coded(name: &str) -> Option<Vec<Act>> {
    use std::io::Write;
    const TEXT: &[u8] = b"{\"compressed\":\"payload payload payload\"}";
    let gzip = || {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        coder.write_all(TEXT).unwrap();
        coder.finish().unwrap()
    };
    let coding =
        |coding: &'static str, body: &[u8]| ok(&[JSON, ("Content-Encoding", coding.as_bytes())], body);
    let binary: (&str, &[u8]) = ("Content-Type", b"application/octet-stream");
    Some(match name {
        "gzip" => ok(
            &[JSON, ("Content-Encoding", b"gzip"), ("Vary", b"Accept-Encoding"), ("Content-MD5", b"abc")],
            &gzip(),
        ),
        "deflate" => {
            let mut coder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            coder.write_all(b"{\"deflated\":1}").unwrap();
            coding("deflate", &coder.finish().unwrap())
        }
        "br" => coding("br", b"\x0b\x02\x80hello\x03"),
        "gzip-bad" => coding("gzip", b"this is not gzip"),
        "xgzip" => coding("x-gzip", &gzip()),
        "identity" => coding("identity", b"{\"id\":1}"),
        "big" => ok(&[binary], &big()),
        "bin" => ok(&[binary], &(0..=255).collect::<Vec<u8>>()),
        _ => return None,
    })
}

fn headers(name: &str) -> Option<Vec<Act>> {
    const OK: &str = "1.1 200 OK|Content-Type: text/plain";
    let with = |name: &'static str, value: &[u8], body: &[u8]| ok(&[PLAIN, (name, value)], body);
    let line =
        |line: &str, body: &[u8]| raw(&format!("{OK}|{line}|Content-Length: {}", body.len()), body, false);
    Some(match name {
        "ctempty" => ok(&[("Content-Type", b"")], b"empty content type"),
        "ctodd" => ok(&[("Content-Type", b"garbage; ;;=")], b"odd content type"),
        "cttwice" => ok(&[PLAIN, JSON], b"two content types"),
        "ctcharset" => ok(&[("Content-Type", b"TEXT/Plain; Charset=\"ISO-8859-1\"")], b"\xe4\xf6"),
        "cookie" => ok(
            &[
                PLAIN,
                ("Set-Cookie", b"session=abc123; Path=/"),
                ("Set-Cookie", b"second=2; Path=/; HttpOnly"),
            ],
            b"cookie set",
        ),
        "cookie-probe" => ok(&[PLAIN], b"cookie probe"),
        "ckdomain" => ok(
            &[
                PLAIN,
                ("Set-Cookie", b"wide=1; Domain=127.0.1.1; Path=/; Expires=Wed, 01 Jan 2031 00:00:00 GMT"),
                ("Set-Cookie", b"sec=1; Secure"),
                ("Set-Cookie", b"evil=1; Domain=.example.com"),
            ],
            b"x",
        ),
        "ckdel" => ok(
            &[
                PLAIN,
                ("Set-Cookie", b"session=; Max-Age=0; Path=/"),
                ("Set-Cookie", b"second=; Max-Age=0; Path=/"),
                ("Set-Cookie", b"wide=; Max-Age=0; Path=/"),
                ("Set-Cookie", b"soap=; Max-Age=0; Path=/soap"),
            ],
            b"x",
        ),
        "hdr-dup" => ok(
            &[
                PLAIN,
                ("X-Dup", b"one"),
                ("X-Dup", b"two"),
                ("x-dup", b"three"),
                ("X-Other", b"o"),
                ("X-DUP", b"four"),
            ],
            b"dups",
        ),
        "hdr-case" => {
            ok(&[("content-type", b"text/plain"), ("X-MiXed-CaSe", b"v"), ("x-lower", b"l")], b"case")
        }
        "hdr-fold" => line("X-Fold: a|  b|\tc", b"fold"),
        "hdr-nospace" => raw(
            "1.1 200 OK|Content-Type:text/plain|X-Tight:v|X-Spaces:   v   |Content-Length:5",
            b"tight",
            false,
        ),
        "hdr-nocolon" => line("BadHeader", b"ok"),
        "hdr-emptyval" => line("X-Empty:", b"ok"),
        "hdr-spacename" => line("X-Sp : v", b"ok"),
        "hdr-utf8" => with("X-Utf8", "caf\u{e9} \u{20ac}".as_bytes(), b"utf8"),
        "hdr-latin1" => with("X-Latin", b"caf\xe9", b"latin1"),
        "hdr-ctl" => with("X-Ctl", b"a\x01b\x7fc", b"ctl"),
        "hdr-tab" => with("X-Tab", b"a\tb", b"tab"),
        "hdr-nul" => with("X-Nul", b"a\x00b", b"nul"),
        "hdr-barecr" => with("X-Cr", b"a\rb", b"cr"),
        "hdr-barelf" => {
            send(b"HTTP/1.1 200 OK\nContent-Type: text/plain\nX-Lf: v\nContent-Length: 2\n\nok".to_vec())
        }
        "hb1" => with("X-N", &(0x80..=0x9f).collect::<Vec<u8>>(), b"x"),
        "hb2" => with("X-N", &(0xa0..=0xff).collect::<Vec<u8>>(), b"x"),
        "hop" => ok(HOP, b"hop"),
        "xroad-spoof" => ok(SPOOF, b"spoof"),
        "xroad-spoof-lc" => ok(SPOOF_LOWER, b"spoof"),
        "sec" => ok(SECURITY, b"sec"),
        _ => return None,
    })
}

const HOP: &[(&str, &[u8])] = &[
    PLAIN,
    ("Connection", b"close, X-Hop"),
    ("X-Hop", b"h"),
    ("Keep-Alive", b"timeout=5"),
    ("Proxy-Authenticate", b"Basic"),
    ("Trailer", b"X-T"),
    ("Upgrade", b"h2c"),
    ("Server", b"backend/1"),
    ("TE", b"trailers"),
    ("Proxy-Connection", b"keep-alive"),
    ("Date", b"Mon, 01 Jan 2024 00:00:00 GMT"),
    ("Via", b"1.1 x"),
    ("Expect", b"x"),
    ("User-Agent", b"ua"),
    ("Host", b"h"),
    ("Age", b"5"),
];

const SPOOF: &[(&str, &[u8])] = &[
    PLAIN,
    ("X-Road-Id", b"spoof-id"),
    ("X-Road-Client", b"SPOOF/C/1/S"),
    ("X-Road-Service", b"SPOOF/C/1/S/svc"),
    ("X-Road-Request-Id", b"spoof-rid"),
    ("X-Road-Request-Hash", b"c3Bvb2Y="),
    ("X-Road-Error", b"server.spoofed"),
    ("X-Road-Foo", b"bar"),
    ("X-Road-Represented-Party", b"COM/1"),
    ("X-Road-Security-Server", b"A/B/C/D"),
    ("X-Road-UserId", b"u"),
    ("X-Road-Issue", b"i"),
];

const SPOOF_LOWER: &[(&str, &[u8])] = &[
    PLAIN,
    ("x-road-id", b"spoof-id"),
    ("x-road-client", b"SPOOF/C/1/S"),
    ("x-road-service", b"SPOOF/C/1/S/svc"),
    ("x-road-request-id", b"spoof-rid"),
    ("x-road-request-hash", b"c3Bvb2Y="),
];

const SECURITY: &[(&str, &[u8])] = &[
    PLAIN,
    ("X-Frame-Options", b"DENY"),
    ("Access-Control-Allow-Origin", b"*"),
    ("Alt-Svc", b"h3=\":443\""),
    ("Strict-Transport-Security", b"max-age=1"),
    ("Refresh", b"0; url=/x"),
    ("Link", b"</a>; rel=\"x\""),
];

fn long_headers(name: &str) -> Option<Vec<Act>> {
    let big = |size: usize, body: &str| ok(&[PLAIN, ("X-Big", "v".repeat(size).as_bytes())], body.as_bytes());
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|i| format!("X-H{i}")).collect();
        let mut headers = vec![PLAIN];
        headers.extend(names.iter().map(|name| (&name[..], &b"v"[..])));
        ok(&headers, count.to_string().as_bytes())
    };
    Some(match name {
        "hdr-8k" => big(8000, "8k"),
        "hdr-16k" => big(16000, "16k"),
        "hdr-64k" => big(64000, "64k"),
        "hdr-200k" => big(200_000, "200k"),
        "hdr-200" => many(200),
        "hdr-2000" => many(2000),
        "hdrsum" => {
            let value = "v".repeat(900);
            let names: Vec<String> = (0..8).map(|i| format!("X-H{i}")).collect();
            let mut headers = vec![PLAIN];
            headers.extend(names.iter().map(|name| (&name[..], value.as_bytes())));
            ok(&headers, b"x")
        }
        _ => {
            let size = name.strip_prefix("hdrN-")?.parse().ok()?;
            ok(&[PLAIN, ("X-Big", "v".repeat(size).as_bytes())], b"x")
        }
    })
}

fn slow(name: &str) -> Option<Vec<Act>> {
    const OK: &str = "1.1 200 OK|Content-Type: text/plain";
    let later = |seconds: f64| {
        let mut acts = vec![Act::Pause(seconds)];
        acts.extend(ok(&[JSON], format!("{{\"slow\":{seconds:.0}}}").as_bytes()));
        acts
    };
    let halves = |seconds: f64| {
        let mut acts = raw(&format!("{OK}|Content-Length: 10"), b"hello", false);
        acts.extend([Act::Pause(seconds), Act::Send(b"world".to_vec())]);
        acts
    };
    Some(match name {
        "slow1" => later(1.0),
        "slow3" => later(3.0),
        "slow35" => later(35.0),
        "slow65" => later(65.0),
        "slowbody3" => halves(3.0),
        "silent-body65" => halves(40.0),
        "drip" => {
            let mut acts = raw(&format!("{OK}|Content-Length: 4"), b"", false);
            for letter in b"abcd" {
                acts.extend([Act::Pause(1.5), Act::Send(vec![*letter])]);
            }
            acts
        }
        _ => return None,
    })
}
