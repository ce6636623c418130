//! What the recorded information system answered to SOAP: the request turned into a response, or the scenario its body names.
//!
//! The response keeps envelope tag, header and namespaces of the request, so that an odd request gets an odd answer of the same kind.

use super::service::{Act, answer, bare, find};

const XML: &[u8] = b"text/xml; charset=UTF-8";
const OWN_FAULT: &[u8] = b"<?xml version=\"1.0\"?><e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><e:Fault>\
    <faultcode>Server.MyOwn</faultcode><faultstring>backend &lt;fault&gt;</faultstring><detail><x>1</x></detail></e:Fault></e:Body>\
    </e:Envelope>";

/// The answer to a body of this type: `scen=NAME` in it asks for a scenario.
pub fn acts(body: &[u8], content_type: &str) -> Vec<Act> {
    let message = first_part(body, content_type).unwrap_or(body);
    let text = latin1(message);
    let name = text.split_once("scen=").map(|(_, rest)| word(rest));
    name.and_then(|name| scenario(name, message))
        .unwrap_or_else(|| ok("200 OK", XML, &response(message, "<answer>ok</answer>")))
}

fn ok(status: &str, kind: &[u8], body: &[u8]) -> Vec<Act> {
    vec![Act::Send(answer(status, &[("Content-Type", kind)], body))]
}

fn scenario(name: &str, message: &[u8]) -> Option<Vec<Act>> {
    let plain = response(message, "<answer>ok</answer>");
    faulty(name, &plain)
        .or_else(|| encoded(name, message))
        .or_else(|| changed(name, message, &plain))
        .or_else(|| multipart(name, &plain))
}

fn faulty(name: &str, plain: &[u8]) -> Option<Vec<Act>> {
    let cut = &plain[..find(plain, b"</SOAP-ENV:Body>")? + 3];
    Some(match name {
        "fault500" => ok("500 X-Reason", b"text/xml", OWN_FAULT),
        "fault200" => ok("200 X-Reason", b"text/xml", OWN_FAULT),
        "faultheader" => {
            let fault =
                "<SOAP-ENV:Fault><faultcode>a</faultcode><faultstring>b</faultstring></SOAP-ENV:Fault>";
            ok("200 OK", XML, &with_body(plain, fault))
        }
        "fault12" => {
            let fault = latin1(OWN_FAULT).replace(
                "http://schemas.xmlsoap.org/soap/envelope/",
                "http://www.w3.org/2003/05/soap-envelope",
            );
            ok("200 OK", b"text/xml", fault.as_bytes())
        }
        "ok500" => ok("500 OK", XML, plain),
        "http404soap" => ok("404 OK", XML, plain),
        "http204" => vec![Act::Send(bare("204 X-Reason", &[]))],
        "empty" => ok("200 X-Reason", b"text/xml", b""),
        "trunc" => ok("200 X-Reason", b"text/xml", cut),
        "ctplain" => ok("200 X-Reason", b"text/plain", plain),
        "ctupper" => ok("200 X-Reason", b"TEXT/XML; CHARSET=\"utf-8\"", plain),
        "close" => vec![Act::Close],
        "rst" => vec![Act::Reset],
        "http09" => vec![Act::Send(b"plain".to_vec()), Act::Close],
        "slow1" | "slow3" => {
            let mut acts = vec![Act::Pause(if name == "slow1" { 1.0 } else { 3.0 })];
            acts.extend(ok("200 OK", XML, plain));
            acts
        }
        "bigheader" | "cookie" => {
            let long = "v".repeat(9000);
            let line = if name == "cookie" {
                ("Set-Cookie", &b"soap=1; Path=/soap"[..])
            } else {
                ("X-Big", long.as_bytes())
            };
            vec![Act::Send(answer("200 OK", &[("Content-Type", XML), line], plain))]
        }
        _ => return None,
    })
}

fn encoded(name: &str, message: &[u8]) -> Option<Vec<Act>> {
    let plain = latin1(&response(message, "<answer>ok</answer>"));
    let umlauts = response(message, "<answer>äö</answer>");
    Some(match name {
        "utf16" => {
            let text = plain.replace("encoding=\"UTF-8\"", "encoding=\"UTF-16\"");
            let mut bytes = vec![0xff, 0xfe];
            bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            ok("200 X-Reason", b"text/xml; charset=UTF-16", &bytes)
        }
        "latin1" => {
            let text = String::from_utf8(umlauts).unwrap().replace("UTF-8", "ISO-8859-1");
            ok("200 X-Reason", b"text/xml; charset=ISO-8859-1", &bytes(&text))
        }
        "latin1mis" => {
            let text = String::from_utf8(umlauts).unwrap().replace("UTF-8", "ISO-8859-1");
            ok("200 X-Reason", XML, &bytes(&text))
        }
        "bom" => ok("200 X-Reason", XML, &[b"\xef\xbb\xbf", plain.as_bytes()].concat()),
        "nodecl" => ok("200 X-Reason", XML, &plain.as_bytes()[plain.find("?>")? + 3..]),
        "doctype" => ok("200 X-Reason", XML, plain.replacen("?>", "?><!DOCTYPE x>", 1).as_bytes()),
        "xxe" => {
            let doctype = "?><!DOCTYPE x [<!ENTITY e SYSTEM \"http://127.0.1.1:9090/xxe\">]>";
            ok("200 X-Reason", XML, plain.replacen("?>", doctype, 1).replace(">ok<", ">&e;<").as_bytes())
        }
        "gzip" => {
            use std::io::Write;
            let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            coder.write_all(plain.as_bytes()).unwrap();
            let lines: [(&str, &[u8]); 2] = [("Content-Type", XML), ("Content-Encoding", b"gzip")];
            vec![Act::Send(answer("200 OK", &lines, &coder.finish().unwrap()))]
        }
        _ => return None,
    })
}

/// What another header or body makes of the answer.
fn changed(name: &str, message: &[u8], plain: &[u8]) -> Option<Vec<Act>> {
    let text = latin1(plain);
    let replaced = |from: &str, to: &str| text.replacen(from, to, 1);
    let behind_id = |added: &str| replaced("</xroad:id>", &format!("</xroad:id>{added}"));
    let changed = match name {
        "hashfirst" => behind_id("<xroad:requestHash algorithmId=\"x\">AAAA</xroad:requestHash>"),
        "otherclient" => replaced(">CONSUMER<", ">CONSUMER2<"),
        "otherservice" => replaced(">scenQuery<", ">otherQuery<"),
        "otherid" => replaced(">soap-id-1<", ">other-id<"),
        "otheruser" => replaced(">EE1234<", ">EE9999<"),
        "nouser" => replaced("<xroad:userId>EE1234</xroad:userId>", ""),
        "addissue" => behind_id("<xroad:issue>i</xroad:issue>"),
        "proto3" => replaced(">4.0<", ">3.1<"),
        "otherver" => replaced(">v1<", ">v2<"),
        "addss" => behind_id(
            "<xroad:securityServer id:objectType=\"SERVER\"><id:xRoadInstance>PRB</id:xRoadInstance>\
             <id:memberClass>XX</id:memberClass><id:memberCode>1</id:memberCode><id:serverCode>2</id:serverCode>\
             </xroad:securityServer>",
        ),
        "extrahdr" => behind_id("<p:x xmlns:p=\"urn:p\">1</p:x>"),
        "noheader" => {
            let (start, end) = (text.find("<SOAP-ENV:Header")?, text.find("</SOAP-ENV:Header>")?);
            [&text[..start], &text[end + "</SOAP-ENV:Header>".len()..]].concat()
        }
        "twobody" => latin1(&with_body(plain, "<p:scenQueryResponse/><p:scenQueryResponse/>")),
        "emptybody" => latin1(&with_body(plain, "")),
        "nobody" => {
            let (start, end) = (text.find("<SOAP-ENV:Body")?, text.find("</SOAP-ENV:Body>")?);
            [&text[..start], &text[end + "</SOAP-ENV:Body>".len()..]].concat()
        }
        "request" => latin1(message),
        _ => return None,
    };
    Some(ok("200 OK", XML, &bytes(&changed)))
}

fn multipart(name: &str, plain: &[u8]) -> Option<Vec<Act>> {
    const TEXT: &str = "Content-Type: text/plain; charset=UTF-8\r\nContent-ID: <a2>\r\n\r\nliite äö\r\nrivi";
    let soap = |head: &str| [format!("{head}\r\n\r\n").as_bytes(), plain].concat();
    let root = || soap("Content-Type: text/xml; charset=UTF-8");
    let text = || TEXT.as_bytes().to_vec();
    let (kind, parts, closing) = match name {
        "mpa" => {
            let mut binary = b"Content-Type: application/octet-stream\r\nContent-ID: <a1>\r\n\
                Content-Transfer-Encoding: binary\r\nX-Custom: v\r\n\r\n"
                .to_vec();
            binary.extend(0..=255);
            let root = soap("Content-Type: text/xml; charset=UTF-8\r\nContent-ID: <r>");
            (
                "multipart/related; type=\"text/xml\"; start=\"<r>\"; boundary=\"rb\"",
                vec![root, binary, text()],
                true,
            )
        }
        "mpnested" => {
            let inner = b"Content-Type: multipart/mixed; boundary=nn\r\n\r\n--nn\r\nContent-Type: text/plain\r\n\r\nn1\r\n\
                --nn\r\nContent-Type: text/plain\r\n\r\nn2\r\n--nn--";
            ("multipart/related; boundary=rb", vec![root(), inner.to_vec(), text()], true)
        }
        "mpone" => ("multipart/related; type=\"text/xml\"; boundary=rb", vec![root()], true),
        "mpnofinal" => ("multipart/related; boundary=rb", vec![root(), text()], false),
        "mpb64" => {
            let part = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nYXR0YWNobWVudA==";
            ("multipart/related; boundary=rb", vec![root(), part.to_vec()], true)
        }
        "mpfault" => {
            let fault = [b"Content-Type: text/xml\r\n\r\n", OWN_FAULT].concat();
            ("multipart/related; boundary=rb", vec![fault, text()], true)
        }
        _ => return None,
    };
    let mut body = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        body.extend(if index == 0 { &b"--rb\r\n"[..] } else { b"\r\n--rb\r\n" });
        body.extend(part);
    }
    body.extend(if closing { &b"\r\n--rb--\r\n"[..] } else { b"\r\n" });
    Some(ok("200 OK", kind.as_bytes(), &body))
}

/// The message of a multipart body.
fn first_part<'a>(body: &'a [u8], content_type: &str) -> Option<&'a [u8]> {
    content_type.to_ascii_lowercase().contains("multipart/").then_some(())?;
    let start = find(body, b"\r\n\r\n")? + 4;
    let delimiter = &body[..find(body, b"\r\n")?];
    let end = find(&body[start..], &[b"\r\n", delimiter].concat())?;
    Some(&body[start..start + end])
}

/// Envelope tag and header of the request, and a body element named `…Response` around `inner`.
pub fn response(request: &[u8], inner: &str) -> Vec<u8> {
    respond(&readable(request), inner).map_or(b"<unparsed/>".to_vec(), |text| bytes(&text))
}

fn respond(text: &str, inner: &str) -> Option<String> {
    let envelope = Tag::find(text, "Envelope", 0)?;
    let header = Tag::find(text, "Header", envelope.end)?;
    let closing = text[header.end..].match_indices("Header>").find(|(at, _)| {
        let before = &text[header.end..header.end + at];
        before.ends_with("</")
            || before.rsplit("</").next().is_some_and(|rest| rest.len() < 30 && rest.ends_with(':'))
    })?;
    let header_end = header.end + closing.0 + "Header>".len();
    let body = Tag::find(text, "Body", envelope.end)?;
    let mut at = body.end;
    while let Some(open) = text[at..].find('<') {
        if text[at + open + 1..].starts_with("!--") {
            at += open + text[at + open..].find("-->")? + 3;
        } else {
            at += open;
            break;
        }
    }
    let content = text[at..].strip_prefix('<')?;
    let content = &content[..content.find('>')?];
    let content = content.strip_suffix('/').unwrap_or(content);
    let name_end = content.find(|c: char| c.is_whitespace()).unwrap_or(content.len());
    let (name, attributes) = content.split_at(name_end);
    let prefix = &text[envelope.start + 1..envelope.start + 1 + envelope.prefix];
    // The text is bytes as Latin-1, so what is put in must be too.
    let inner = latin1(inner.as_bytes());
    Some(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n  {}\n  <{prefix}Body>\n    <{name}Response{attributes}>{inner}\
         </{name}Response>\n  </{prefix}Body>\n</{prefix}Envelope>",
        &text[envelope.start..envelope.end],
        &text[header.start..header_end],
    ))
}

/// Another body element in an answer made by [`response`].
fn with_body(plain: &[u8], content: &str) -> Vec<u8> {
    let text = latin1(plain);
    let start = text.find("<SOAP-ENV:Body>").unwrap() + "<SOAP-ENV:Body>".len();
    let end = text.find("</SOAP-ENV:Body>").unwrap();
    bytes(&[&text[..start], content, &text[end..]].concat())
}

/// A start tag: where it is, how long its prefix with the colon is.
struct Tag {
    start: usize,
    end: usize,
    prefix: usize,
}

impl Tag {
    fn find(text: &str, name: &str, from: usize) -> Option<Self> {
        text[from..].match_indices('<').find_map(|(at, _)| {
            let (start, rest) = (from + at, &text[from + at + 1..]);
            let whole =
                rest.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).map(|end| &rest[..end])?;
            let prefix = whole.find(':').map_or(0, |at| at + 1);
            let end = start + 1 + rest.find('>')? + 1;
            (&whole[prefix..] == name).then_some(Self { start, end, prefix })
        })
    }
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// One char per byte.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Back again.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c as u32).unwrap_or(b'?')).collect()
}

/// A message in UTF-16 or declared as ISO-8859-1 turned into UTF-8, as Latin-1 text; others as they are.
fn readable(message: &[u8]) -> String {
    let wide = |little: bool, bytes: &[u8]| {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| [pair[0], pair[1]])
            .map(|pair| if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
            .collect();
        latin1(String::from_utf16_lossy(&units).as_bytes())
    };
    match message {
        [0xff, 0xfe, rest @ ..] => wide(true, rest),
        [0xfe, 0xff, rest @ ..] => wide(false, rest),
        [b'<', 0, ..] => wide(true, message),
        _ if latin1(&message[..message.len().min(200)]).contains("encoding=\"ISO-8859-1\"") => {
            latin1(latin1(message).as_bytes())
        }
        _ => latin1(message),
    }
}
