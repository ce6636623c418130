//! The answers of the provider that is none: good ones, and ones with a status, header, part, signature, fault or connection gone wrong.
//!
//! Messages are assembled here from text and digests, not by the encoders under test; only the private-key operation is shared.

use ::pki::algorithm::EcdsaForm;
use ::pki::ocsp::Status;

use super::fake::{Keys, Request, base64, sha512};
use super::service::Act;
use super::soap::{self, latin1};

const RESPONSE: &str = "application/x-road-rest-response";
const BODY: &str = "application/x-road-rest-body";
const CHAIN_RESULT: &str = "application/hash-chain-result";
const CHAIN: &str = "application/hash-chain";
const SIGNATURE: &str = "signature/bdoc-1.0/ts";
const SHA512: &str = "http://www.w3.org/2001/04/xmlenc#sha512";
const MULTIPART: &str = "multipart/mixed; charset=UTF-8; boundary=xtopB";

/// A part: its type and content.
type Part = (String, Vec<u8>);

fn part(kind: &str, content: impl Into<Vec<u8>>) -> Part {
    (kind.to_owned(), content.into())
}

/// The answer of a scenario.
///
/// # Panics
/// There is no such scenario.
pub fn acts(name: &str, asked: &Request, keys: &Keys) -> Vec<Act> {
    let found = None
        .or_else(|| good(name, asked, keys))
        .or_else(|| with_parts(name, asked, keys))
        .or_else(|| with_signature(name, asked, keys))
        .or_else(|| with_field(name, asked, keys))
        .or_else(|| with_status(name, asked, keys))
        .or_else(|| with_header(name, asked, keys))
        .or_else(|| with_head(name, asked, keys))
        .or_else(|| with_http(name, asked, keys))
        .or_else(|| fault(name))
        .or_else(|| broken(name, asked, keys))
        .or_else(|| soap(name, asked, keys));
    found.unwrap_or_else(|| panic!("no scenario {name}"))
}

/// The header part of a response, with what a scenario changes.
struct Head<'a> {
    status: &'a str,
    reason: &'a str,
    lines: Vec<(&'a str, &'a str)>,
    /// Instead of the right value; `None` for no line.
    instead: Option<(&'a str, Option<&'a str>)>,
    last: Option<(&'a str, &'a str)>,
}

impl Default for Head<'_> {
    fn default() -> Self {
        let lines = vec![("Content-Type", "text/plain")];
        Self { status: "200", reason: "OK", lines, instead: None, last: None }
    }
}

impl Head<'_> {
    fn write(&self, asked: &Request) -> Vec<u8> {
        let mut text = format!("{}\r\n{}\r\n", self.status, self.reason);
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name}:{value}\r\n"));
        self.lines.iter().for_each(|(name, value)| line(name, value));
        let right = [
            ("x-road-id", asked.header("x-road-id")),
            ("x-road-client", asked.header("x-road-client")),
            ("x-road-service", asked.service()),
            ("x-road-request-id", asked.header("x-road-request-id")),
            ("x-road-request-hash", asked.hash()),
        ];
        for (name, value) in right {
            match self.instead.filter(|(changed, _)| *changed == name) {
                None => line(name, &value),
                Some((_, Some(value))) => line(name, value),
                Some((_, None)) => {}
            }
        }
        self.last.iter().for_each(|(name, value)| line(name, value));
        text.into_bytes()
    }
}

/// What signs, and how the document is changed.
struct Signing<'a> {
    cert: &'a str,
    ocsp: Option<Vec<Vec<u8>>>,
    declaration: &'a str,
    flips: bool,
}

impl Default for Signing<'_> {
    fn default() -> Self {
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        Self { cert: "ss3-sign", ocsp: None, declaration, flips: false }
    }
}

impl Signing<'_> {
    /// A document over references that all use SHA-512.
    fn document(&self, references: &[(&str, &[u8])], mime: &str, keys: &Keys) -> Vec<u8> {
        let pair = keys.pair(self.cert);
        let algorithm = pair.key.default_algorithm();
        let digest = |bytes: &[u8]| base64(&sha512(bytes));
        let props = format!(
            "<xades:SignedSignatureProperties><xades:SigningTime>2026-11-21T20:00:00.000Z</xades:SigningTime>\
             <xades:SigningCertificate><xades:Cert><xades:CertDigest><ds:DigestMethod Algorithm=\"{SHA512}\"></ds:DigestMethod>\
             <ds:DigestValue>{}</ds:DigestValue></xades:CertDigest><xades:IssuerSerial><ds:X509IssuerName>{}</ds:X509IssuerName>\
             <ds:X509SerialNumber>{}</ds:X509SerialNumber></xades:IssuerSerial></xades:Cert></xades:SigningCertificate>{POLICY}\
             </xades:SignedSignatureProperties><xades:SignedDataObjectProperties><xades:DataObjectFormat \
             ObjectReference=\"#signature-reference-0\"><xades:MimeType>{mime}</xades:MimeType></xades:DataObjectFormat>\
             </xades:SignedDataObjectProperties></xades:SignedProperties>",
            digest(pair.cert.der()),
            pair.cert.issuer(),
            pair.cert.serial_decimal(),
        );
        let opening = |names: &str| format!("<xades:SignedProperties{names} Id=\"signed-properties\">");
        let props_digest = digest(format!("{}{props}", opening(NAMES)).as_bytes());
        let mut listed = String::new();
        for (index, (uri, value)) in references.iter().enumerate() {
            let id = if index == 0 { "0".to_owned() } else { format!("x{index}") };
            listed.push_str(&reference(&id, "", uri, &base64(value)));
        }
        let kind = " Type=\"http://uri.etsi.org/01903#SignedProperties\"";
        listed.push_str(&reference("1", kind, "#signed-properties", &props_digest));
        let signed = format!(
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\"></ds:CanonicalizationMethod>\
             <ds:SignatureMethod Algorithm=\"{}\"></ds:SignatureMethod>{listed}</ds:SignedInfo>",
            algorithm.uri()
        );
        let canonical = format!("<ds:SignedInfo{NAMES}>{signed}");
        let mut value = pair.key.sign(algorithm, EcdsaForm::Raw, canonical.as_bytes()).unwrap();
        if self.flips {
            *value.last_mut().unwrap() ^= 1;
        }
        let answers = self.ocsp.clone().unwrap_or_else(|| vec![keys.good(self.cert)]);
        let mut values = String::new();
        for (index, der) in answers.iter().enumerate() {
            values.push_str(&format!(
                "<xades:EncapsulatedOCSPValue Id=\"ocsp-response-{}\">{}</xades:EncapsulatedOCSPValue>",
                index + 1,
                base64(der)
            ));
        }
        if !values.is_empty() {
            values = format!(
                "<xades:RevocationValues><xades:OCSPValues>{values}</xades:OCSPValues></xades:RevocationValues>"
            );
        }
        format!(
            "{}<asic:XAdESSignatures{NAMES}><ds:Signature Id=\"signature\"><ds:SignedInfo>{signed}\
             <ds:SignatureValue Id=\"signature-value\">{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}\
             </ds:X509Certificate></ds:X509Data></ds:KeyInfo><ds:Object><xades:QualifyingProperties Target=\"#signature\">{}{props}\
             <xades:UnsignedProperties><xades:UnsignedSignatureProperties>{values}</xades:UnsignedSignatureProperties>\
             </xades:UnsignedProperties></xades:QualifyingProperties></ds:Object></ds:Signature></asic:XAdESSignatures>",
            self.declaration,
            base64(&value),
            base64(pair.cert.der()),
            opening(""),
        )
        .into_bytes()
    }

    /// Message, attachments and what signs them: one reference alone, or a chain over all.
    fn parts(&self, kind: &str, message: &[u8], body: Option<&[u8]>, keys: &Keys) -> Vec<Part> {
        let mut parts = vec![part(kind, message)];
        let digest = sha512(message);
        let Some(body) = body else {
            parts.push(part(SIGNATURE, self.document(&[("/message.xml", &digest)], "text/xml", keys)));
            return parts;
        };
        parts.push(part(BODY, body));
        let body_digest = sha512(body);
        let (result, chain) = chain(&[("/message.xml", &digest), ("/attachment1", &body_digest)]);
        let result_digest = sha512(&result);
        let document = self.document(
            &[("/sig-hashchainresult.xml", &result_digest)],
            "application/hash-chain-result",
            keys,
        );
        parts.extend([part(CHAIN_RESULT, result), part(CHAIN, chain), part(SIGNATURE, document)]);
        parts
    }
}

const NAMES: &str = " xmlns:asic=\"http://uri.etsi.org/02918/v1.2.1#\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" \
    xmlns:xades=\"http://uri.etsi.org/01903/v1.3.2#\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";

const POLICY: &str = "<xades:SignaturePolicyIdentifier><xades:SignaturePolicyId><xades:SigPolicyId>\
    <xades:Identifier Qualifier=\"OIDAsURN\">urn:oid:1.3.6.1.4.1.3516.16.2</xades:Identifier>\
    <xades:Description>Profile for High Performance Digital Signatures (version 1.2)</xades:Description></xades:SigPolicyId>\
    <xades:SigPolicyHash><ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha512\"></ds:DigestMethod><ds:DigestValue>\
    BuO0EDNfkxSVlUbxCzmQPzX1AUF1/xx9ytWHk3/6SAOePxQiniEfDYk+90QeYb3lWpV3Izhuz9fKaYyE+lTcXw==</ds:DigestValue>\
    </xades:SigPolicyHash><xades:SigPolicyQualifiers><xades:SigPolicyQualifier>\
    <xades:SPURI>https://repo.cyber.ee/dsig-profile-1.2.pdf</xades:SPURI></xades:SigPolicyQualifier></xades:SigPolicyQualifiers>\
    </xades:SignaturePolicyId></xades:SignaturePolicyIdentifier>";

fn reference(id: &str, kind: &str, uri: &str, digest: &str) -> String {
    format!(
        "<ds:Reference Id=\"signature-reference-{id}\"{kind} URI=\"{uri}\"><ds:DigestMethod Algorithm=\"{SHA512}\">\
         </ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"
    )
}

/// Result and chain of one step over these parts.
fn chain(inputs: &[(&str, &[u8])]) -> (Vec<u8>, Vec<u8>) {
    let tlv = |tag: u8, content: &[u8]| {
        let mut out = vec![tag];
        match content.len() {
            short @ 0..128 => out.push(short as u8),
            long @ 128..256 => out.extend([0x81, long as u8]),
            long => out.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        out.extend(content);
        out
    };
    let input = |digest: &[u8]| {
        let fields = [tlv(4, digest), tlv(12, SHA512.as_bytes()), vec![0x30, 0]].concat();
        tlv(0x30, &fields)
    };
    let list: Vec<u8> = inputs.iter().flat_map(|(_, digest)| input(digest)).collect();
    let root = base64(&sha512(&tlv(0x30, &list)));
    let names = "xmlns:hc=\"http://cyber.ee/hashchain\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"";
    let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let result = format!(
        "{declaration}<hc:HashChainResult {names} URI=\"/sig-hashchain.xml#STEP0\"><ds:DigestMethod Algorithm=\"{SHA512}\"/>\
         <ds:DigestValue>{root}</ds:DigestValue></hc:HashChainResult>"
    );
    let references: String = inputs
        .iter()
        .map(|(uri, digest)| {
            let digest = base64(digest);
            format!("<hc:DataRef URI=\"{uri}\"><ds:DigestValue>{digest}</ds:DigestValue></hc:DataRef>")
        })
        .collect();
    let chain = format!(
        "{declaration}<hc:HashChain {names}><hc:DefaultDigestMethod Algorithm=\"{SHA512}\"/><hc:HashStep id=\"STEP0\">{references}\
         </hc:HashStep></hc:HashChain>"
    );
    (result.into_bytes(), chain.into_bytes())
}

fn rest(head: &[u8], body: Option<&[u8]>, signing: &Signing<'_>, keys: &Keys) -> Vec<Part> {
    signing.parts(RESPONSE, head, body, keys)
}

/// A multipart body, with its closing delimiter or without.
fn multipart(parts: &[Part], closes: bool) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, (kind, content)) in parts.iter().enumerate() {
        body.extend(if index == 0 { &b"--xtopB\r\n"[..] } else { b"\r\n--xtopB\r\n" });
        body.extend(format!("content-type: {kind}\r\n\r\n").bytes());
        body.extend(content);
    }
    body.extend(if closes { &b"\r\n--xtopB--\r\n"[..] } else { b"" });
    body
}

/// The HTTP answer around a body.
struct Http<'a> {
    version: &'a str,
    status: &'a str,
    content_type: Option<&'a str>,
    lines: Vec<(&'a str, &'a str)>,
    chunked: bool,
}

impl Default for Http<'_> {
    fn default() -> Self {
        let lines = vec![("x-hash-algorithm", "SHA-512"), ("Connection", "close")];
        Self { version: "HTTP/1.1", status: "200 OK", content_type: Some(MULTIPART), lines, chunked: true }
    }
}

impl Http<'_> {
    fn write(&self, body: &[u8]) -> Vec<u8> {
        let mut head = format!("{} {}\r\n", self.version, self.status);
        let kind = self.content_type.map(|kind| ("Content-Type", kind));
        for (name, value) in kind.iter().chain(&self.lines) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.chunked {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            return [head.as_bytes(), body].concat();
        }
        head.push_str(&format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()));
        [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
    }
}

fn sent(bytes: Vec<u8>) -> Vec<Act> {
    vec![Act::Send(bytes), Act::Close]
}

fn with(parts: &[Part]) -> Vec<Act> {
    sent(Http::default().write(&multipart(parts, true)))
}

fn ordinary(asked: &Request, keys: &Keys) -> Vec<Part> {
    rest(&Head::default().write(asked), Some(b"fake body"), &Signing::default(), keys)
}

fn good(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    let head = Head::default().write(asked);
    let parts = ordinary(asked, keys);
    let http = |http: Http<'_>| sent(http.write(&multipart(&parts, true)));
    Some(match name {
        "ok" => with(&parts),
        "ok-nobody" => with(&rest(&head, None, &Signing::default(), keys)),
        "ok-emptybody" => with(&rest(&head, Some(b""), &Signing::default(), keys)),
        "ok-refs" => {
            let (message, body) = (sha512(&head), sha512(b"fake body"));
            let references: [(&str, &[u8]); 2] = [("/message.xml", &message), ("/attachment1", &body)];
            let document = Signing::default().document(&references, "text/xml", keys);
            with(&[part(RESPONSE, head), part(BODY, "fake body"), part(SIGNATURE, document)])
        }
        "ok-cl" => http(Http { chunked: false, ..Http::default() }),
        "ok-http10" => http(Http { chunked: false, version: "HTTP/1.0", ..Http::default() }),
        "ok-nofinal" => sent(Http::default().write(&multipart(&parts, false))),
        "ok-noreason" => http(Http { status: "200", ..Http::default() }),
        "ok-500" => http(Http { status: "500 Server Error", ..Http::default() }),
        "keep" => {
            let lines = vec![("x-hash-algorithm", "SHA-512")];
            vec![Act::Send(Http { lines, ..Http::default() }.write(&multipart(&parts, true)))]
        }
        _ => {
            let status = name.strip_prefix("http-")?;
            let reason =
                ["201 Created", "204 No Content", "301 Moved", "302 Found", "400 Bad", "403 Forbidden"]
                    .into_iter()
                    .chain(["404 Not Found", "502 Bad", "503 Unavailable", "100 Continue"])
                    .find(|line| line.starts_with(status))?;
            let mut answer = Http { status: reason, ..Http::default() };
            answer.lines.push(("Location", "http://127.0.1.1:9090/echo/redirected"));
            http(answer)
        }
    })
}

fn with_parts(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    const FAULT: &str = "text/xml; charset=UTF-8";
    let name = name.strip_prefix("parts-")?;
    let head = Head::default().write(asked);
    let mut parts = ordinary(asked, keys);
    let none = |uri: &str, digest: &[u8]| Signing::default().document(&[(uri, digest)], "text/xml", keys);
    match name {
        "nosig" => drop(parts.pop()),
        "nomsg" => drop(parts.remove(0)),
        "nobody" => drop(parts.remove(1)),
        "empty" => parts.clear(),
        "msgtwice" => parts.insert(1, parts[0].clone()),
        "extra" => parts.push(part("text/plain", "extra")),
        "ocspfirst" => parts.insert(0, part("application/ocsp-response", keys.good("ss3-auth"))),
        "reqtype" => parts[0].0 = "application/x-road-rest-request".into(),
        "soappart" => parts[0] = part("text/xml", ENVELOPE),
        "chainunused" => {
            let document = none("/message.xml", &sha512(&head));
            parts = vec![part(RESPONSE, head), part(BODY, "evil body"), part(SIGNATURE, document)];
        }
        "faultfirst" => parts = vec![part(FAULT, plain_fault())],
        "faultaftermsg" => parts.splice(1.., [part(FAULT, plain_fault())]).for_each(drop),
        "faultaftermsgbody" => parts.splice(2.., [part(FAULT, plain_fault())]).for_each(drop),
        "faultaftersig" => parts.push(part(FAULT, plain_fault())),
        "faultnotafault" => parts.splice(2.., [part(FAULT, ENVELOPE)]).for_each(drop),
        _ => return None,
    }
    Some(with(&parts))
}

fn with_signature(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    let name = name.strip_prefix("sig-")?;
    let head = Head::default().write(asked);
    let signed = |signing: Signing<'_>| with(&rest(&head, Some(b"fake body"), &signing, keys));
    let ocsp = |ocsp: Vec<Vec<u8>>| signed(Signing { ocsp: Some(ocsp), ..Signing::default() });
    let covering = |references: &[(&str, &[u8])]| {
        let document = Signing::default().document(references, "text/xml", keys);
        with(&[part(RESPONSE, &head[..]), part(SIGNATURE, document)])
    };
    Some(match name {
        "ss2-sign" | "ss1-sign" | "sign-1111-rogueca" => signed(Signing { cert: name, ..Signing::default() }),
        "flip" => signed(Signing { flips: true, ..Signing::default() }),
        "noocsp" => ocsp(Vec::new()),
        "revoked" => ocsp(vec![keys.ocsp("ss3-sign", "ocsp", Status::Revoked, false)]),
        "old" => ocsp(vec![keys.ocsp("ss3-sign", "ocsp", Status::Good, true)]),
        "nomsgref" => covering(&[]),
        "extra-http" => {
            covering(&[("/message.xml", &sha512(&head)), ("http://127.0.1.1:9090/ssrf", &[0; 64])])
        }
        "xxe" => {
            let declaration =
                "<?xml version=\"1.0\"?><!DOCTYPE x SYSTEM \"http://127.0.1.1:9090/xxe.dtd\">\n";
            with(&rest(&head, None, &Signing { declaration, ..Signing::default() }, keys))
        }
        _ => return None,
    })
}

fn with_field(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    let wrong_hash = base64(&[0; 64]);
    let fields = [
        ("x-road-id", "other-id"),
        ("x-road-client", "PRB/COM/1111/CONSUMER2"),
        ("x-road-service", "PRB/GOV/3333/FAKE/other"),
        ("x-road-request-id", "99999999-9999-9999-9999-999999999999"),
        ("x-road-request-hash", &wrong_hash),
    ];
    fields.into_iter().find_map(|(field, wrong)| {
        let change = name.strip_suffix(&field["x-road-".len()..])?;
        let instead = |value| Head { instead: Some((field, value)), ..Head::default() }.write(asked);
        let head = match change {
            "diff-" => instead(Some(wrong)),
            "drop-" => instead(None),
            "empty-" => instead(Some("")),
            "twice-wronglast-" => Head { last: Some((field, wrong)), ..Head::default() }.write(asked),
            "twice-wrongfirst-" => {
                let lines = vec![(field, wrong), ("Content-Type", "text/plain")];
                Head { lines, ..Head::default() }.write(asked)
            }
            "upper-" => {
                let title: Vec<String> =
                    field.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
                let text = latin1(&instead_none(asked));
                text.replace(&format!("{field}:"), &format!("{}:", title.join("-"))).into_bytes()
            }
            _ => return None,
        };
        Some(with(&rest(&head, Some(b"fake body"), &Signing::default(), keys)))
    })
}

fn instead_none(asked: &Request) -> Vec<u8> {
    Head::default().write(asked)
}

fn with_status(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    let long = "R".repeat(5000);
    let head = match name {
        "reason-cr" => Head { reason: "OK\rX-Inj: 1", ..Head::default() },
        "reason-empty" => Head { reason: "", ..Head::default() },
        "reason-long" => Head { reason: &long, ..Head::default() },
        _ => {
            let status = match name.strip_prefix("st-")? {
                "empty" => "",
                "_1" => "-1",
                "_200" => " 200",
                "200_" => "200 ",
                other => other,
            };
            Head { status, ..Head::default() }
        }
    };
    Some(with(&rest(&head.write(asked), Some(b"fake body"), &Signing::default(), keys)))
}

fn with_header(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    let (big, bigger) = ("v".repeat(7000), "v".repeat(9000));
    let lines = match name.strip_prefix("hdr-")? {
        "cl-3" => vec![("Content-Length", "3")],
        "cl-99" => vec![("Content-Length", "99")],
        "te" => vec![("Transfer-Encoding", "chunked")],
        "te-gzip" => vec![("Transfer-Encoding", "gzip")],
        "conn" => vec![("Connection", "close")],
        "cr-inject" => vec![("X-A", "b\rX-Inj:c")],
        "lf-inject" => vec![("X-A", "b\nX-Inj:c")],
        "nul" => vec![("X-A", "b\0c")],
        "ctl" => vec![("X-A", "b\x01c\x7f")],
        "utf8" => vec![("X-A", "kä€")],
        "name-space" => vec![("X A", "b")],
        "name-utf8" => vec![("X-ä", "b")],
        "emptyname" => vec![("", "b")],
        "err" => vec![("X-Road-Error", "server.x.y")],
        "setcookie" => vec![("Set-Cookie", "a=b")],
        "date" => vec![("Date", "Mon, 01 Jan 2024 00:00:00 GMT")],
        "server" => vec![("Server", "evil")],
        "hsts" => vec![("Strict-Transport-Security", "max-age=1")],
        "ct-twice" => vec![("Content-Type", "a/b"), ("Content-Type", "c/d")],
        "big-9000" => vec![("X-Big", &bigger[..])],
        "big-7000" => vec![("X-Big", &big[..])],
        "upgrade" => vec![("Upgrade", "h2c")],
        "trailer" => vec![("Trailer", "X")],
        "ce-gzip" => vec![("Content-Encoding", "gzip")],
        _ => return None,
    };
    let head = Head { lines, ..Head::default() }.write(asked);
    Some(with(&rest(&head, Some(b"fake body"), &Signing::default(), keys)))
}

fn with_head(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    let head = latin1(&Head::default().write(asked));
    let head = match name.strip_prefix("head-")? {
        "lf" => head.replace("\r\n", "\n"),
        "space" => head.replace(':', ": "),
        "emptyline" => head + "\r\n",
        "nocolon" => head + "Nonsense\r\n",
        "empty" => String::new(),
        "status-only" => "200\r\n".to_owned(),
        _ => return None,
    };
    Some(with(&rest(head.as_bytes(), Some(b"fake body"), &Signing::default(), keys)))
}

fn with_http(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    use std::io::Write;
    let body = multipart(&ordinary(asked, keys), true);
    let hash = |name, value| vec![(name, value), ("Connection", "close")];
    let lines = |lines| Http { lines, ..Http::default() }.write(&body);
    let kind = |content_type| Http { content_type, ..Http::default() }.write(&body);
    let big = "v".repeat(20_000);
    let more = |more: (&'static str, &str)| {
        let lines = vec![("x-hash-algorithm", "SHA-512"), more, ("Connection", "close")];
        Http { lines, ..Http::default() }.write(&body)
    };
    Some(sent(match name.strip_prefix("h-")? {
        "nohash" => lines(vec![("Connection", "close")]),
        "hash-mixed" => lines(hash("X-Hash-Algorithm", "SHA-512")),
        "hash-256" => lines(hash("x-hash-algorithm", "SHA-256")),
        "hash-garbage" => lines(hash("x-hash-algorithm", "FOO")),
        "noct" => kind(None),
        "html" => kind(Some("text/html")),
        "ctupper" => kind(Some("MULTIPART/MIXED; boundary=xtopB")),
        "big" => more(("X-Big", &big)),
        "setcookie" => more(("Set-Cookie", "transport=1; Path=/")),
        "gzip" => {
            let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            coder.write_all(&body).unwrap();
            let lines =
                vec![("x-hash-algorithm", "SHA-512"), ("Content-Encoding", "gzip"), ("Connection", "close")];
            Http { lines, ..Http::default() }.write(&coder.finish().unwrap())
        }
        _ => return None,
    }))
}

fn fault_of(code: &str, text: &str, actor: &str, detail: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <SOAP-ENV:Body><SOAP-ENV:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring><faultactor>{actor}</faultactor>\
         {detail}</SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )
}

const DENIED: &str = "server.serverproxy.access_denied";
const DETAIL: &str = "<detail><faultDetail>11111111-1111-1111-1111-111111111111</faultDetail></detail>";
const ENVELOPE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<SOAP-ENV:Envelope \
    xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:xroad=\"http://x-road.eu/xsd/xroad.xsd\" \
    xmlns:id=\"http://x-road.eu/xsd/identifiers\"><SOAP-ENV:Header><xroad:protocolVersion>4.0</xroad:protocolVersion>\
    <xroad:client id:objectType=\"SUBSYSTEM\"><id:xRoadInstance>PRB</id:xRoadInstance><id:memberClass>COM</id:memberClass>\
    <id:memberCode>1111</id:memberCode><id:subsystemCode>CONSUMER</id:subsystemCode></xroad:client><xroad:service \
    id:objectType=\"SERVICE\"><id:xRoadInstance>PRB</id:xRoadInstance><id:memberClass>GOV</id:memberClass>\
    <id:memberCode>2222</id:memberCode><id:subsystemCode>PROVIDER</id:subsystemCode><id:serviceCode>echoQuery</id:serviceCode>\
    <id:serviceVersion>v1</id:serviceVersion></xroad:service><xroad:id>soap-id-1</xroad:id><xroad:userId>EE1234</xroad:userId>\
    </SOAP-ENV:Header><SOAP-ENV:Body><p:echoQuery xmlns:p=\"urn:p\">hello</p:echoQuery></SOAP-ENV:Body></SOAP-ENV:Envelope>";

fn plain_fault() -> String {
    fault_of(DENIED, "fault text", "", DETAIL)
}

/// A fault before the request was read.
pub fn early() -> Vec<u8> {
    let lines = vec![("Connection", "close")];
    let content_type = Some("text/xml;charset=utf-8");
    Http { content_type, lines, chunked: false, ..Http::default() }.write(plain_fault().as_bytes())
}

fn fault(name: &str) -> Option<Vec<Act>> {
    let code = |code: &str| fault_of(code, "fault text", "", DETAIL);
    let (mut status, mut kind) = ("200 OK", "text/xml;charset=utf-8");
    let text = match name.strip_prefix("fault-")? {
        "plain" => plain_fault(),
        "500" => {
            status = "500 X";
            plain_fault()
        }
        "404" => {
            status = "404 X";
            plain_fault()
        }
        "client" => code("client.some_thing"),
        "old" => code("Server.ServerProxy.AccessDenied"),
        "nodetail" => fault_of(DENIED, "fault text", "", ""),
        "markup" => fault_of("server.x&lt;b&gt;", "a &lt;script&gt; \"q\" &#10; ä", "", DETAIL),
        "crlf" => fault_of("server.x&#13;&#10;X-Inj: 1", "s", "", DETAIL),
        "emptycode" => code(""),
        "long" => fault_of(&format!("server.{}", "c".repeat(9000)), &"s".repeat(200_000), "", DETAIL),
        "detailxml" => fault_of(DENIED, "fault text", "", "<detail><x>1</x></detail>"),
        "nofault" => ENVELOPE.to_owned(),
        "garbage" => "garbage".to_owned(),
        "empty" => String::new(),
        "xxe" => fault_of(DENIED, "&e;", "", DETAIL).replacen(
            "?>",
            "?><!DOCTYPE x [<!ENTITY e SYSTEM \"http://127.0.1.1:9090/xxe\">]>",
            1,
        ),
        "soap12" => plain_fault()
            .replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"),
        "nocharset" => {
            kind = "text/xml";
            plain_fault()
        }
        "json" => {
            kind = "application/json";
            "{}".to_owned()
        }
        "actor" => fault_of(DENIED, "fault text", "me", DETAIL),
        "utf8code" => code("server.ä"),
        _ => return None,
    };
    let lines = vec![("SOAPAction", ""), ("Connection", "close")];
    Some(sent(
        Http { status, content_type: Some(kind), lines, chunked: false, ..Http::default() }
            .write(text.as_bytes()),
    ))
}

fn broken(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    let whole = Http::default().write(&multipart(&ordinary(asked, keys), true));
    Some(match name.strip_prefix("net-")? {
        "close" => vec![Act::Close],
        "rst" => vec![Act::Reset],
        "trunc" => sent(whole[..3000].to_vec()),
        "garbage" => sent(b"garbage\r\n\r\n".to_vec()),
        "halfhead" => sent(b"HTTP/1.1 200 OK\r\nContent-T".to_vec()),
        "slow" => vec![Act::Pause(2.0), Act::Send(whole), Act::Close],
        "1xx" => vec![Act::Send(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec()), Act::Send(whole), Act::Close],
        _ => return None,
    })
}

fn soap(name: &str, asked: &Request, keys: &Keys) -> Option<Vec<Act>> {
    let name = name.strip_prefix("soap-")?;
    let tag =
        |attribute: &str, hash: &str| format!("<xroad:requestHash{attribute}>{hash}</xroad:requestHash>");
    let algorithm = format!(" algorithmId=\"{SHA512}\"");
    let right = base64(&sha512(&asked.message));
    let hash = tag(&algorithm, &right);
    let plain = latin1(&soap::response(&asked.message, "<answer>ok</answer>"));
    let with_hash = |hash: &str| plain.replacen("</xroad:id>", &format!("</xroad:id>{hash}"), 1);
    let answer = with_hash(&hash);
    let text = match name {
        "ok" | "othersig" => answer,
        "hashwrong" => with_hash(&tag(" algorithmId=\"x\"", &base64(&[0; 64]))),
        "hashalg" => with_hash(&tag(" algorithmId=\"foo\"", &right)),
        "hashnoalg" => with_hash(&tag("", &right)),
        "nohash" => plain,
        "hashtwice" => with_hash(&format!("{hash}{hash}")),
        "id" => answer.replace(">soap-id-1<", ">other<"),
        "user" => answer.replace("EE1234", "EE9"),
        "client" => answer.replace(">CONSUMER<", ">CONSUMER2<"),
        "notresponse" => answer.replace("svcResponse", "svc"),
        "fault" => plain_fault(),
        "doctype" => answer.replacen("?>", "?><!DOCTYPE x>", 1),
        "proto" => answer.replace(">4.0<", ">4.9<"),
        "hashns" => with_hash(&format!(" \n{hash}")),
        _ => return None,
    };
    let cert = if name == "othersig" { "ss2-sign" } else { "ss3-sign" };
    let signing = Signing { cert, ..Signing::default() };
    let parts = signing.parts("text/xml; charset=UTF-8", &soap::bytes(&text), None, keys);
    let lines = vec![
        ("x-hash-algorithm", "SHA-512"),
        ("x-original-content-type", "text/xml; charset=UTF-8"),
        ("Connection", "close"),
    ];
    Some(sent(Http { lines, ..Http::default() }.write(&multipart(&parts, true))))
}
