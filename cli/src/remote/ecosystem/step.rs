//! One step of a plan: what is shown of it, and what it does. Steps name things as the file does, by identifiers, labels and addresses; the
//! numbers that servers give are looked up when a step is carried out, since earlier steps may have made them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a step does to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sign {
    /// Something comes.
    Adds,
    /// Something changes.
    Changes,
    /// Something goes.
    Removes,
}

impl Sign {
    pub(crate) const fn text(self) -> char {
        match self {
            Self::Adds => '+',
            Self::Changes => '~',
            Self::Removes => '-',
        }
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Name of the target.
    pub(crate) target: String,
    /// What `--only` chooses by.
    pub(crate) kind: String,
    pub(crate) sign: Sign,
    /// What is shown.
    pub(crate) what: String,
    pub(crate) act: Act,
}

impl Step {
    /// `+ cs member DEV:COM:1`.
    pub(crate) fn line(&self) -> String {
        format!("{} {} {} {}", self.sign.text(), self.target, self.kind, self.what)
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// One call with a JSON body, or none.
    Call { method: String, path: String, body: Value },
    /// A form with files.
    Form { path: String, fields: Vec<(String, String)>, files: Vec<(String, PathBuf)> },
    /// Raw bytes of a file.
    Upload { path: String, file: PathBuf },
    /// First configuration; the PIN is put in under this name.
    Initialize { body: Value },
    /// Gives token 0 its PIN.
    LogIn,
    /// An OCSP responder of the CA with this certificate; `top` is the certification service that it belongs to.
    AddResponder { top: String, ca: String, url: String, cost: String, certificate: Option<PathBuf> },
    /// An intermediate CA of the certification service with this certificate.
    AddIntermediate { ca: String, certificate: PathBuf },
    /// The anchor: a file, or the central server's.
    Anchor { from: String },
    /// A key with a signing request.
    MakeKey {
        usage: String,
        label: String,
        member: Option<String>,
        ca: Option<String>,
        fields: Vec<(String, String)>,
    },
    /// The certificate for a key's signing request.
    Certify { usage: String, label: String },
    /// Registration of an authentication certificate.
    RegisterCertificate { label: String, address: String },
    /// Waits for its approval.
    AwaitCertificate { label: String },
    /// Puts a key's certificate into use.
    Activate { usage: String, label: String },
    /// Takes an approved timestamping service into use.
    UseTsa { url: String },
    /// A client.
    AddClient { id: String, connection: String, name: Option<String> },
    /// Registration of a client.
    RegisterClient { id: String },
    /// Waits for its approval and for the configuration that says so.
    AwaitClient { id: String },
    /// Members of a local group.
    GroupMembers { client: String, code: String, members: Vec<String>, add: bool },
    /// A local group goes.
    RemoveGroup { client: String, code: String },
    /// A service description.
    Describe { client: String, kind: String, url: String, code: Option<String> },
    /// Address, timeout and TLS check of a service.
    SetService {
        client: String,
        code: String,
        url: Option<String>,
        timeout: Option<u64>,
        verify_tls: Option<bool>,
    },
    /// Enables or disables a description.
    Switch { client: String, code: String, on: bool, notice: Option<String> },
    /// A description goes.
    RemoveService { client: String, code: String },
    /// An endpoint comes or goes.
    Endpoint { client: String, code: String, method: String, path: String, add: bool },
    /// Rights on a service, or on an endpoint of it.
    Access {
        client: String,
        code: String,
        endpoint: Option<(String, String)>,
        subjects: Vec<String>,
        grant: bool,
    },
}

impl Act {
    /// Whether it takes a server that offers the management services.
    pub(crate) fn needs_management(&self) -> bool {
        match self {
            Self::RegisterClient { .. } | Self::AwaitClient { .. } => true,
            Self::Call { path, .. } => path.ends_with("/register-provider") || path.ends_with("/unregister"),
            _ => false,
        }
    }
}
