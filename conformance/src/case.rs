//! A case: what the consumer's information system sends, what the provider's answers, and what must hold on both sides.
//!
//! Texts may hold marks that are replaced when the case is run:
//!
//! | Mark | Stands for |
//! |---|---|
//! | `{id}` | a message id of this case's own |
//! | `{client}`, `{stranger}`, `{provider}`, `{server}`, `{instance}` | identifiers, joined by slashes; `{instance}` is the provider's |
//! | `{client-xml}`, `{stranger-xml}`, `{provider-xml}`, `{server-xml}` | the same as elements; kinds are `{client-kind}`, `{stranger-kind}` |
//! | `{client-query}` | parameters of `/asic` |
//! | `{r1}` | `/r1/` and the provider |
//! | `{rest}` | `{r1}/` and the REST service |
//! | `{soap}` | [`SOAP_REQUEST`] with the case's edits |

use crate::http::Message;

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `PR-REST`, `PR-MESS`, …
    pub document: &'static str,
    /// Its clause.
    pub clause: &'static str,
    /// What is promised, in words.
    pub title: &'static str,
    /// Method and target.
    pub line: &'static str,
    /// Header lines; `Host`, `Connection: close` and the length of the body are added.
    pub headers: &'static [&'static str],
    /// The body.
    pub body: Body,
    /// Made in [`SOAP_REQUEST`] before it is sent: what is replaced by what.
    pub edits: &'static [(&'static str, &'static str)],
    /// What the provider's information system answers; `{length}` is its body's.
    pub answer: &'static str,
    /// What must hold.
    pub holds: &'static [Holds],
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// Nothing, and no length.
    None,
    /// Text with marks.
    Text(&'static str),
    /// Bytes as they are.
    Bytes(&'static [u8]),
    /// In chunks.
    Chunks(&'static [&'static str]),
    /// So many bytes.
    Filler(usize),
}

/// What must hold of one exchange.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// The consumer gets one of these.
    Status(&'static [u16]),
    /// A fault of a security server with one of these codes, in either spelling.
    Fault(&'static [&'static str]),
    /// No fault of a security server.
    NoFault,
    /// The consumer gets this header, with this value.
    Got(&'static str, &'static str),
    /// The consumer gets this header, not empty.
    GotSome(&'static str),
    /// The consumer does not get this header.
    GotNo(&'static str),
    /// The consumer gets exactly this body.
    GotBody(&'static [u8]),
    /// The consumer gets a body of so many bytes.
    GotLength(usize),
    /// In the body that the consumer gets.
    GotText(&'static str),
    /// Not in the body that the consumer gets.
    GotNoText(&'static str),
    /// The body that the consumer gets is XML and has an element of this local name with this text.
    GotElement(&'static str, &'static str),
    /// The provider sees this method and target, once.
    Sees(&'static str, &'static str),
    /// The provider sees this header, with this value.
    SeesHeader(&'static str, &'static str),
    /// The provider sees this header, not empty.
    SeesSome(&'static str),
    /// The provider does not see this header.
    SeesNo(&'static str),
    /// The provider sees no such header with this value.
    SeesNoValue(&'static str, &'static str),
    /// The provider sees exactly this body; marks are replaced.
    SeesBody(&'static str),
    /// The provider sees these bytes.
    SeesBytes(&'static [u8]),
    /// The provider sees a body of so many bytes.
    SeesLength(usize),
    /// In the body that the provider sees.
    SeesText(&'static str),
    /// The provider is not called.
    NotCalled,
    /// Whatever a line of a table does not say.
    Check(fn(&Outcome<'_>) -> Result<(), String>),
}

/// The answer to one more question, or why there is none.
pub type Answered = Result<Message, String>;

/// What came of an exchange.
pub struct Outcome<'a> {
    /// What the consumer got.
    pub got: &'a Message,
    /// What the provider saw.
    pub seen: &'a [Message],
    /// The body that was sent.
    pub sent: &'a [u8],
    /// Replaces marks.
    pub fill: &'a dyn Fn(&str) -> String,
    /// One more question to the consumer's server: method and target, and header lines.
    pub ask: &'a (dyn Fn(&str, &[&str]) -> Answered + 'a),
}

/// `200 OK` with a little JSON.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{\"ok\":true}";
/// The body of [`OK`].
pub const OK_BODY: &[u8] = b"{\"ok\":true}";

/// A call of the REST service, to be changed by `..CALL`.
pub const CALL: Case = Case {
    document: "PR-REST",
    clause: "4.1",
    title: "",
    line: "GET {rest}",
    headers: &["X-Road-Client: {client}"],
    body: Body::None,
    edits: &[],
    answer: OK,
    holds: &[],
};

/// A call of the SOAP service, to be changed by `..SOAP_CALL`.
pub const SOAP_CALL: Case = Case {
    document: "PR-MESS",
    clause: "2.2",
    title: "",
    line: "POST /",
    headers: &["Content-Type: text/xml; charset=UTF-8", "SOAPAction: \"\""],
    body: Body::Text("{soap}"),
    edits: &[],
    answer: SOAP_ANSWER,
    holds: &[],
};

/// A request as PR-MESS describes it.
pub const SOAP_REQUEST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<SOAP-ENV:Envelope \
xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:id=\"http://x-road.eu/xsd/identifiers\" \
xmlns:xroad=\"http://x-road.eu/xsd/xroad.xsd\">\n  <SOAP-ENV:Header>\n    <xroad:client \
id:objectType=\"{client-kind}\">{client-xml}</xroad:client>\n    <xroad:service \
id:objectType=\"SERVICE\">{provider-xml}<id:serviceCode>conformanceSoap</id:serviceCode>\
<id:serviceVersion>v1</id:serviceVersion></xroad:service>\n    <xroad:userId>EE12345678901</xroad:userId>\n    \
<xroad:id>{id}</xroad:id>\n    <xroad:protocolVersion>4.0</xroad:protocolVersion>\n  </SOAP-ENV:Header>\n  \
<SOAP-ENV:Body><c:conformanceSoap xmlns:c=\"urn:c\"><c:text>jäär</c:text></c:conformanceSoap></SOAP-ENV:Body>\n\
</SOAP-ENV:Envelope>\n";

/// An answer with the request's header.
pub const SOAP_ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: {length}\r\nConnection: \
close\r\n\r\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<SOAP-ENV:Envelope \
xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:id=\"http://x-road.eu/xsd/identifiers\" \
xmlns:xroad=\"http://x-road.eu/xsd/xroad.xsd\" xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
xmlns:x=\"http://x-road.eu/xsd/xroad.xsd\">{seen-header}<SOAP-ENV:Body><c:conformanceSoapResponse \
xmlns:c=\"urn:c\"><c:answer>kuu</c:answer></c:conformanceSoapResponse></SOAP-ENV:Body></SOAP-ENV:Envelope>";

impl Case {
    /// Names the case: its document and its title, in lower case with dashes.
    pub fn id(&self) -> String {
        let mut id = self.document.to_lowercase();
        id.push('/');
        for word in self.title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            if !id.ends_with('/') {
                id.push('-');
            }
            id += &word.to_lowercase();
        }
        id
    }

    /// It needs somebody without rights.
    pub fn needs_stranger(&self) -> bool {
        let texts = self.headers.iter().chain(self.edits.iter().map(|(_, to)| to)).chain([&self.line]);
        texts.into_iter().any(|text| text.contains("{stranger"))
    }
}

impl Holds {
    /// Why it does not hold.
    pub fn check(&self, outcome: &Outcome<'_>) -> Result<(), String> {
        let (got, fill) = (outcome.got, outcome.fill);
        let sees = || match outcome.seen {
            [one] => Ok(one),
            [] => Err("the provider's information system was not called".to_owned()),
            more => Err(format!("the provider's information system was called {} times", more.len())),
        };
        match *self {
            Self::Status(wanted) => {
                let status = got.status();
                same(wanted.contains(&status), || {
                    format!("status {status}, not {wanted:?}{}", fault_note(got))
                })
            }
            Self::Fault(wanted) => {
                let found = fault(got).unwrap_or_default();
                let fits = wanted.iter().any(|code| plain(code) == plain(&found));
                same(fits, || format!("fault code {found:?}, not {wanted:?} (status {})", got.status()))
            }
            Self::NoFault => same(fault(got).is_none(), || format!("a fault{}", fault_note(got))),
            Self::Got(name, value) => header(got, name, &fill(value), "the consumer gets"),
            Self::GotSome(name) => {
                let there = got.header(name).is_some_and(|value| !value.is_empty());
                same(there, || format!("the consumer gets no header {name}{}", fault_note(got)))
            }
            Self::GotNo(name) => none(got, name, "the consumer gets"),
            Self::GotBody(wanted) => body(&got.body, wanted, "the consumer gets"),
            Self::GotLength(length) => same(got.body.len() == length, || {
                format!("the consumer gets {} bytes, not {length}{}", got.body.len(), fault_note(got))
            }),
            Self::GotText(text) => {
                let text = fill(text);
                same(got.text().contains(&text), || {
                    format!("the consumer gets no {text:?} in {}", short(&got.body))
                })
            }
            Self::GotNoText(text) => {
                let text = fill(text);
                same(!got.text().contains(&text), || format!("the consumer gets {text:?}"))
            }
            Self::GotElement(name, text) => element(&got.text(), name, &fill(text)),
            Self::Sees(method, target) => {
                let (seen, target) = (sees()?, fill(target));
                let fits = seen.method() == method && seen.target() == target;
                same(fits, || format!("the provider sees {:?}, not {method} {target}", seen.start))
            }
            Self::SeesHeader(name, value) => header(sees()?, name, &fill(value), "the provider sees"),
            Self::SeesSome(name) => {
                let there = sees()?.header(name).is_some_and(|value| !value.is_empty());
                same(there, || format!("the provider sees no header {name}"))
            }
            Self::SeesNo(name) => none(sees()?, name, "the provider sees"),
            Self::SeesNoValue(name, value) => {
                let there = sees()?.all(name).any(|found| found == value);
                same(!there, || format!("the provider sees {name}: {value}"))
            }
            Self::SeesBody(text) => body(&sees()?.body, fill(text).as_bytes(), "the provider sees"),
            Self::SeesBytes(wanted) => body(&sees()?.body, wanted, "the provider sees"),
            Self::SeesLength(length) => {
                let found = sees()?.body.len();
                same(found == length, || format!("the provider sees {found} bytes, not {length}"))
            }
            Self::SeesText(text) => {
                let (seen, text) = (sees()?, fill(text));
                same(seen.text().contains(&text), || {
                    format!("the provider sees no {text:?} in {}", short(&seen.body))
                })
            }
            Self::NotCalled => same(outcome.seen.is_empty(), || {
                format!("the provider's information system was called: {}", outcome.seen[0].start)
            }),
            Self::Check(check) => check(outcome),
        }
    }
}

fn same(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn header(message: &Message, name: &str, wanted: &str, who: &str) -> Result<(), String> {
    let found: Vec<_> = message.all(name).collect();
    same(found.contains(&wanted), || format!("{who} {name}: {found:?}, not {wanted:?}"))
}

fn none(message: &Message, name: &str, who: &str) -> Result<(), String> {
    let found: Vec<_> = message.all(name).collect();
    same(found.is_empty(), || format!("{who} {name}: {found:?}"))
}

fn body(found: &[u8], wanted: &[u8], who: &str) -> Result<(), String> {
    same(found == wanted, || format!("{who} the body {}, not {}", short(found), short(wanted)))
}

fn element(text: &str, name: &str, wanted: &str) -> Result<(), String> {
    let document =
        roxmltree::Document::parse(text).map_err(|error| format!("the body is no XML: {error}"))?;
    let named = document.descendants().filter(|node| node.tag_name().name() == name);
    let found: Vec<_> = named.map(|node| node.text().unwrap_or_default().trim().to_owned()).collect();
    same(found.iter().any(|text| text == wanted), || {
        format!("elements {name} say {found:?}, none {wanted:?}")
    })
}

/// The fault code, when it is one of a security server's.
pub fn fault(message: &Message) -> Option<String> {
    if let Some(code) = message.header("X-Road-Error") {
        return Some(code.to_owned());
    }
    let text = message.text();
    let document = roxmltree::Document::parse(text.trim_start_matches('\u{feff}')).ok()?;
    let code = document.descendants().find(|node| node.tag_name().name() == "faultcode")?;
    code.text().map(str::to_owned)
}

/// Releases to 7.7 write CamelCase, later ones lower case with underscores.
fn plain(code: &str) -> String {
    code.replace('_', "").to_lowercase()
}

fn fault_note(message: &Message) -> String {
    fault(message).map(|code| format!(" ({code})")).unwrap_or_default()
}

fn short(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(160).collect();
    format!("{text:?} of {} bytes", bytes.len())
}
