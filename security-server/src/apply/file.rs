//! The file that `causeway apply` reads: YAML, the `servers[]` shape of the operators' tool, every key documented in
//! `deploy/server.yaml`.
//!
//! At most [`MAX_FILE_BYTES`]; aliases are expanded within the reader's own bound. Unknown keys are refused with the place and the
//! nearest known key. Files that it names are looked for beside it.

use std::fmt;
use std::path::{Path, PathBuf};

use proto::id::{ClientId, IdError, MemberId, Subject};
use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

use crate::serverconf::{ConnectionType, ServiceKind};

/// More than any sensible description of one server.
pub const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Largest file that it may name.
const MAX_NAMED_BYTES: u64 = 1024 * 1024;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Checked against every identifier when it is there.
    pub(super) instance: Option<String>,
    pub(super) servers: Vec<Server>,
}

/// One security server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Server {
    /// A name by which to choose among several.
    pub(super) target: Option<String>,
    pub(super) owner: Id<MemberId>,
    pub(super) code: String,
    /// What the central server is told; for the people who register it.
    #[serde(default, rename = "address")]
    _address: Option<String>,
    pub(super) anchor: Option<PathBuf>,
    pub(super) pin: Option<Secret>,
    #[serde(default)]
    pub(super) timestamping: Option<Vec<Timestamping>>,
    #[serde(default)]
    pub(super) keys: Keys,
    #[serde(default)]
    pub(super) clients: Vec<Client>,
}

/// Where a secret is; never in the file itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    file: Option<PathBuf>,
    env: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timestamping {
    pub(super) name: String,
    pub(super) url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    #[serde(default)]
    pub(super) authentication: Vec<Key>,
    #[serde(default)]
    pub(super) signing: Vec<Key>,
}

/// A key with its certificate: one PKCS#12 file, or two PEM files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) label: Option<String>,
    /// Whose signing key it is; the owner's when it is not said.
    pub(super) member: Option<Id<MemberId>>,
    pub(super) pkcs12: Option<PathBuf>,
    pub(super) password: Option<Secret>,
    pub(super) key: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Client {
    pub(super) id: Id<ClientId>,
    pub(super) connection: Option<ConnectionType>,
    #[serde(default)]
    pub(super) tls_certificates: Vec<PathBuf>,
    #[serde(default)]
    pub(super) groups: Vec<Group>,
    #[serde(default)]
    pub(super) services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) code: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) members: Vec<Id<ClientId>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Service {
    pub(super) r#type: ServiceKind,
    /// Of the description: WSDL, OpenAPI document, or the base path itself.
    pub(super) url: String,
    pub(super) code: String,
    pub(super) version: Option<String>,
    /// Where calls go, when that is not `url`.
    pub(super) service_url: Option<String>,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    #[serde(default)]
    pub(super) notice: Option<String>,
    /// Seconds.
    #[serde(default = "default_timeout")]
    pub(super) timeout: u32,
    pub(super) verify_tls: Option<bool>,
    #[serde(default)]
    pub(super) access: Vec<Id<Subject>>,
    #[serde(default)]
    pub(super) endpoints: Vec<ServiceEndpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceEndpoint {
    pub(super) method: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) access: Vec<Id<Subject>>,
}

fn yes() -> bool {
    true
}

fn default_timeout() -> u32 {
    60
}

/// An identifier in any form an operator may have at hand: codes joined by `:` or `/`, with or without its type in front.
#[derive(Clone, Debug)]
pub(super) struct Id<T>(pub(super) T);

impl<'de> Deserialize<'de> for Id<MemberId> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read_id(from, "EE:GOV:1234", |text| match subject(text)? {
            Subject::Client(ClientId { member, subsystem: None }) => Ok(member),
            _ => Err(IdError::ObjectType { expected: "a member" }.to_string()),
        })
    }
}

impl<'de> Deserialize<'de> for Id<ClientId> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read_id(from, "EE:GOV:1234:school", |text| match subject(text)? {
            Subject::Client(client) => Ok(client),
            _ => Err(IdError::ObjectType { expected: "a member or a subsystem" }.to_string()),
        })
    }
}

impl<'de> Deserialize<'de> for Id<Subject> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read_id(from, "EE:GOV:1234:school, GLOBALGROUP:EE:cities or LOCALGROUP:friends", subject)
    }
}

fn read_id<'de, T, D: Deserializer<'de>>(
    from: D,
    example: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Id<T>, D::Error> {
    let text = String::deserialize(from)?;
    read(&text).map(Id).map_err(|e| de::Error::custom(format!("{text:?}: {e}; write it as {example}")))
}

/// What may stand before an identifier.
const TYPES: [&str; 4] = ["MEMBER", "SUBSYSTEM", "GLOBALGROUP", "LOCALGROUP"];

fn subject(text: &str) -> Result<Subject, String> {
    let first = text.split([':', '/']).next().unwrap_or_default();
    let typed = TYPES.contains(&first) && text[first.len()..].starts_with(':');
    if let Some(hint) = mistaken_type(first).filter(|_| !typed) {
        return Err(format!("`{first}` is not a type of identifier{hint}"));
    }
    let read = match (typed, text.contains('/')) {
        (true, true) => text.parse(),
        (true, false) => Subject::parse_encoded(text),
        (false, true) => ClientId::parse_short(text).map(Subject::Client),
        (false, false) => ClientId::parse_encoded(text).map(Subject::Client),
    };
    read.map_err(|e| e.to_string())
}

/// A hint when the first code is no instance but a type spelt otherwise: without it a group would be taken for a member.
fn mistaken_type(first: &str) -> Option<String> {
    let letters: String = first.chars().filter(char::is_ascii_alphabetic).collect();
    let named = TYPES.iter().find(|kind| letters.eq_ignore_ascii_case(kind));
    match named {
        Some(kind) => Some(format!(": did you mean `{kind}:`?")),
        None if letters.eq_ignore_ascii_case("group") => {
            Some(": did you mean `GLOBALGROUP:` or `LOCALGROUP:`?".to_owned())
        }
        None => ["service", "server", "client", "centralservice"]
            .iter()
            .any(|other| letters.eq_ignore_ascii_case(other))
            .then(String::new),
    }
}

/// A place in the file and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `servers[0].clients[1]`, or the file itself.
    pub place: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl Mistake {
    pub(super) fn new(place: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { place: place.into(), problem: problem.to_string() }
    }
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<Document, Mistake> {
    let name = path.display().to_string();
    let text = read_bounded(path, MAX_FILE_BYTES).map_err(|e| Mistake::new(&name, e))?;
    parse(&text).map_err(|problem| Mistake::new(name, problem))
}

pub(super) fn parse(text: &[u8]) -> Result<Document, String> {
    serde_yaml_ng::from_slice(text).map_err(|e| explain(&e.to_string()))
}

/// What the reader said, with the nearest known key for an unknown one.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.contains("unknown field").then(|| quoted.next()).flatten();
    let known: Vec<&str> = quoted.collect();
    let hint = unknown.map(|unknown| host::settings::hint(unknown, &known)).unwrap_or_default();
    format!("{message}{hint}")
}

pub(super) fn read_bounded(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads files that the document names, relative to its folder.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
}

impl Files {
    pub(super) fn read(&self, place: &str, path: &Path) -> Result<Vec<u8>, Mistake> {
        let path = self.folder.join(path);
        read_bounded(&path, MAX_NAMED_BYTES)
            .map_err(|e| Mistake::new(place, format!("{}: {e}", path.display())))
    }

    /// The secret without the line end that editors put after it.
    pub(super) fn secret(&self, place: &str, secret: &Secret) -> Result<Zeroizing<String>, Mistake> {
        let text = Zeroizing::new(match (&secret.file, &secret.env) {
            (Some(file), None) => String::from_utf8(self.read(place, file)?)
                .map_err(|_| Mistake::new(place, "the file does not hold text"))?,
            (None, Some(name)) => std::env::var(name)
                .map_err(|_| Mistake::new(place, format!("the environment variable {name} is not set")))?,
            _ => return Err(Mistake::new(place, "name either a `file` or an environment variable (`env`)")),
        });
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_in_any_form() {
        let cases = [
            ("EE:GOV:1", "MEMBER:EE/GOV/1"),
            ("EE/GOV/1/x", "SUBSYSTEM:EE/GOV/1/x"),
            ("SUBSYSTEM:EE:GOV:1:x", "SUBSYSTEM:EE/GOV/1/x"),
            ("SUBSYSTEM:EE/GOV/1/x", "SUBSYSTEM:EE/GOV/1/x"),
            ("GLOBALGROUP:EE:all", "GLOBALGROUP:EE/all"),
            ("LOCALGROUP:friends", "LOCALGROUP:friends"),
        ];
        for (text, expected) in cases {
            assert_eq!(subject(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "EE", "EE:GOV", "EE:GOV:1:x:y", "SUBSYSTEM:EE:GOV:1"] {
            assert!(subject(text).is_err(), "{text}");
        }
        let mistaken = [
            ("GROUP:EE:x", "did you mean `GLOBALGROUP:` or `LOCALGROUP:`?"),
            ("group/EE/x", "did you mean `GLOBALGROUP:` or `LOCALGROUP:`?"),
            ("GLOBAL_GROUP:EE:x", "did you mean `GLOBALGROUP:`?"),
            ("globalgroup:EE:x", "did you mean `GLOBALGROUP:`?"),
            ("LOCALGROUP/EE/x", "did you mean `LOCALGROUP:`?"),
            ("Subsystem:EE:GOV:1", "did you mean `SUBSYSTEM:`?"),
            ("SERVICE:EE:GOV", "is not a type"),
        ];
        for (text, hint) in mistaken {
            let problem = subject(text).unwrap_err();
            assert!(problem.contains(hint), "{text}: {problem}");
        }
    }

    #[test]
    fn mistakes_name_the_place_and_a_way_out() {
        let server = "servers:\n- owner: EE:GOV:1\n  code: ss1\n";
        let cases = [
            ("an unknown key", format!("{server}  ancor: a.xml\n"), "did you mean `anchor`?"),
            (
                "its place",
                format!("{server}  clients:\n  - id: EE:GOV:1:x\n    conection: HTTP\n"),
                "servers[0].clients[0]",
            ),
            ("a bad identifier", "servers:\n- owner: EE:GOV\n  code: s\n".into(), "write it as EE:GOV:1234"),
            (
                "a bad type",
                format!("{server}  clients:\n  - id: EE:GOV:1:x\n    connection: TLS\n"),
                "HTTPS_NO_AUTH",
            ),
            ("a missing key", "servers:\n- owner: EE:GOV:1\n".into(), "missing field `code`"),
            ("no YAML", "servers: [".into(), "line 2"),
        ];
        for (name, text, expected) in cases {
            let problem = parse(text.as_bytes()).unwrap_err();
            assert!(problem.contains(expected), "{name}: {problem}");
        }
    }

    #[test]
    fn aliases_are_bounded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let many = format!("*a{}, ", n - 1).repeat(10);
            text.push_str(&format!("a{n}: &a{n} [{many}]\n"));
        }
        text.push_str("servers: *a11\n");
        assert!(parse(text.as_bytes()).is_err());
    }
}
