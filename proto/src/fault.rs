//! Fault codes in both spellings, and the SOAP fault and REST error bodies that carry them [PR-MESS §2.4, PR-REST §4.6].
//!
//! A code on the wire is `side.code[.nested…]`. Releases to 7.7 write CamelCase, 7.8 snake_case; both are read, one is written.
//! Texts are fixed sentences of ours; causes go to the log under [`Fault::detail`].

/// Which party raised a fault; the first part of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `client`: the information system sent something bad to the SOAP edge.
    Client,
    /// `server.clientproxy`: the consumer's security server.
    ClientProxy,
    /// `server.serverproxy`: the provider's security server.
    ServerProxy,
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

/// One part of a fault code after the side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultCode {
    /// No right to call the service. (The full table is filled in by the owner of this module.)
    AccessDenied,
    /// Anything that is our own mistake.
    InternalError,
}

/// A fault as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A fault of ours: `side`, then `path` joined by dots, in `style`.
    pub fn new(side: Side, path: &[FaultCode], message: &str, detail: &str, style: Style) -> Self {
        let _ = (side, path, message, detail, style);
        todo!()
    }
    /// Reads a SOAP envelope whose body holds a fault; `None` when it is something else.
    pub fn from_soap(xml: &[u8]) -> Option<Self> {
        let _ = xml;
        todo!()
    }
    /// The SOAP envelope, one line, as the reference writes it (wire dossier §14.2).
    pub fn to_soap(&self) -> Vec<u8> {
        todo!()
    }
    /// `{"type":…,"message":…,"detail":…}`.
    pub fn to_json(&self) -> Vec<u8> {
        todo!()
    }
    /// `<error><type/>…</error>` on one line after an XML declaration.
    pub fn to_xml(&self) -> Vec<u8> {
        todo!()
    }
    /// HTTP status on the REST edge: 500 when the code says `server.` in either spelling, else 400.
    pub fn rest_status(&self) -> u16 {
        todo!()
    }
}
