//! Fault codes in both spellings, and the SOAP fault and REST error bodies that carry them [PR-MESS §2.4, PR-REST §4.6].
//!
//! A code on the wire is `side.code[.nested…]`. Releases to 7.7 write CamelCase, 7.8 snake_case; both are read, one is written.
//! Texts are fixed sentences of ours; causes go to the log under [`Fault::detail`]. A fault of the other side is passed on as the
//! bytes that came, so nothing here translates codes. Which error chooses which code stands in each module's `fault_code`.
use crate::xml::encoding::decode;
use crate::xml::{Limits, Node, Pull, escape_text};

mod code;
pub use code::{FaultCode, known_codes};

/// Namespace of SOAP 1.1 envelopes.
pub const ENVELOPE_NS: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// A code or text longer than this is not passed on; a short fault of our own takes its place.
pub const MAX_FAULT_CHARS: usize = 1000;

/// Which party raised a fault; the first part of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `client`: the information system sent something bad to the SOAP edge.
    Client,
    /// `server.clientproxy`: the consumer's security server.
    ClientProxy,
    /// `server.serverproxy`: the provider's security server.
    ServerProxy,
    /// `server.serverproxy.opmonitor`: monitoring queries.
    OpMonitor,
    /// `signer`: whatever holds the keys.
    Signer,
}

/// Which spelling we write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `server.serverproxy.access_denied`, releases from 7.8.
    #[default]
    Snake,
    /// `Server.ServerProxy.AccessDenied`, releases to 7.7.
    Camel,
}

/// A fault as it stands on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The full code as written, prefixes included.
    pub code: String,
    /// One sentence for the reader.
    pub message: String,
    /// `faultactor`, mostly empty.
    pub actor: String,
    /// The id under which our log has the cause.
    pub detail: String,
}

impl Fault {
    /// A fault of ours: `side`, then `path` joined by dots, in `style`. A part that repeats the one before it is written once.
    pub fn new(side: Side, path: &[FaultCode], message: &str, detail: &str, style: Style) -> Self {
        let mut code = side.text(style).to_owned();
        let mut last = None;
        for part in path.iter().filter(|part| last.replace(**part) != Some(**part)) {
            code.push('.');
            code.push_str(part.text(style));
        }
        Self { code, message: message.to_owned(), actor: String::new(), detail: detail.to_owned() }
    }

    /// Reads a SOAP envelope whose body holds a fault; `None` when it is something else.
    ///
    /// Children are found by local name, whatever their namespace, as the reference does.
    pub fn from_soap(xml: &[u8]) -> Option<Self> {
        let (text, _) = decode(xml).ok()?;
        let mut pull = Pull::new(&text, Limits::default()).ok()?;
        let mut reader = FaultReader::default();
        while let Some(node) = pull.next().ok()? {
            reader.take(&pull, &node);
        }
        reader.finish()
    }

    /// The SOAP envelope, one line, as the reference writes it.
    pub fn to_soap(&self) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><SOAP-ENV:Envelope xmlns:SOAP-ENV=\"{ENVELOPE_NS}\"><SOAP-ENV:Body>\
             <SOAP-ENV:Fault><faultcode>{}</faultcode><faultstring>{}</faultstring><faultactor>{}</faultactor>\
             <detail><faultDetail xmlns=\"\">{}</faultDetail></detail></SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>",
            escape_text(&self.code),
            escape_text(&self.message),
            escape_text(&self.actor),
            escape_text(&self.detail),
        )
        .into_bytes()
    }

    /// `{"type":…,"message":…,"detail":…}`.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            r#type: &'a str,
            message: &'a str,
            detail: &'a str,
        }
        let body = Body { r#type: &self.code, message: &self.message, detail: &self.detail };
        serde_json::to_vec(&body).expect("three strings are always JSON")
    }

    /// `<error><type/>…</error>` on one line after an XML declaration.
    pub fn to_xml(&self) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?><error><type>{}</type><message>{}</message><detail>{}</detail></error>",
            escape_text(&self.code),
            escape_text(&self.message),
            escape_text(&self.detail),
        )
        .into_bytes()
    }

    /// HTTP status on the REST edge: 500 when the code says `server.` in either spelling, else 400.
    pub fn rest_status(&self) -> u16 {
        if self.code.starts_with("server.") || self.code.starts_with("Server.") { 500 } else { 400 }
    }

    /// Whether code and texts are short enough to be passed on.
    pub fn is_reasonable(&self) -> bool {
        let short = |text: &str| text.len() <= MAX_FAULT_CHARS || text.chars().count() <= MAX_FAULT_CHARS;
        short(&self.code) && short(&self.message) && short(&self.actor) && short(&self.detail)
    }
}

/// Picks the fields of a fault out of a stream of nodes, so that a SOAP reader needs no second pass.
#[derive(Debug, Default)]
pub(crate) struct FaultReader {
    /// Which of envelope, body and fault are open, from the root down.
    open: [bool; 3],
    found: bool,
    field: Option<Field>,
    fault: Fault,
    /// Text straight in `detail`, for faults without a `faultDetail`.
    detail_text: String,
}

/// A child of the fault that is open; [`Field::FaultDetail`] lies in [`Field::Detail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Code,
    Message,
    Actor,
    Detail,
    FaultDetail,
}

impl Field {
    const fn depth(self) -> usize {
        if matches!(self, Self::FaultDetail) { 5 } else { 4 }
    }
}

impl FaultReader {
    /// Looks at the node that `pull` has just given.
    pub(crate) fn take(&mut self, pull: &Pull<'_>, node: &Node<'_>) {
        let depth = pull.depth();
        match node {
            Node::Start(element) if depth <= 3 => {
                let outside = depth == 1 || self.open[depth - 2];
                let name = ["Envelope", "Body", "Fault"][depth - 1];
                // The first fault counts.
                self.open[depth - 1] =
                    outside && !(depth == 3 && self.found) && pull.is(element, ENVELOPE_NS, name);
                self.found |= self.open[2];
            }
            Node::Start(element) if self.open[2] => self.enter(depth, element.local),
            Node::Start(_) | Node::Other => {}
            Node::End if depth < 3 => self.open[depth] = false,
            Node::End if self.field.is_some_and(|field| depth < field.depth()) => {
                self.field = (self.field == Some(Field::FaultDetail)).then_some(Field::Detail);
            }
            Node::End => {}
            Node::Text(_) | Node::CData(_) | Node::Char(_) => {
                if let Some(field) = self.field.filter(|field| field.depth() == depth) {
                    node.append_to(self.value(field));
                }
            }
        }
        if !self.open[2] {
            self.field = None;
        }
    }

    /// Whether a fault has begun.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    fn enter(&mut self, depth: usize, local: &str) {
        self.field = match (depth, self.field, local) {
            (4, _, "faultcode") => Some(Field::Code),
            (4, _, "faultstring") => Some(Field::Message),
            (4, _, "faultactor") => Some(Field::Actor),
            (4, _, "detail") => Some(Field::Detail),
            (5, Some(Field::Detail), "faultDetail") => Some(Field::FaultDetail),
            (_, field, _) => field,
        };
    }

    fn value(&mut self, field: Field) -> &mut String {
        match field {
            Field::Code => &mut self.fault.code,
            Field::Message => &mut self.fault.message,
            Field::Actor => &mut self.fault.actor,
            Field::FaultDetail => &mut self.fault.detail,
            Field::Detail => &mut self.detail_text,
        }
    }

    /// The fault, if the document was one.
    pub(crate) fn finish(mut self) -> Option<Fault> {
        if self.fault.detail.is_empty() {
            self.fault.detail = self.detail_text;
        }
        self.found.then_some(self.fault)
    }
}

#[cfg(test)]
mod tests;
