//! What an ecosystem file says: the wanted state of one central server and any number of security servers.
//!
//! The same types hold what is there, so that `export` writes what `apply` reads. A field that is missing says nothing, and what the file
//! does not name stays as it is. Identifiers may leave the instance out; [`Ecosystem::load`] makes them whole. Certificates are files, or
//! `sha256: HEX` of one that is there already, which is how `export` writes them.
//! A field is what its name says; deploy/ecosystem.yaml explains each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;
use zeroize::Zeroizing;

use super::xrdsst;
use crate::exit::Usage;
use crate::remote::ids::{Shape, with_instance};

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Ecosystem {
    pub(crate) instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approve: Option<Approve>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) central: Option<Central>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) servers: Vec<Server>,
}

/// What happens to the management requests that a run causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Approve {
    /// This run approves them.
    Auto,
    /// Somebody else does, and this run waits for it.
    #[default]
    Wait,
    /// Nobody waits; what needs an approval is left for another run.
    Skip,
}

/// Where a PIN is: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pin {
    pub(crate) file: Option<PathBuf>,
    pub(crate) env: Option<String>,
    /// The toolkit's files have it in plain text.
    #[serde(skip)]
    pub(crate) given: Option<Given>,
}

/// A PIN that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Given(pub(crate) Zeroizing<String>);

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Pin {
    pub(super) fn given(pin: Zeroizing<String>) -> Self {
        Self { given: Some(Given(pin)), ..Self::default() }
    }
}

/// Which kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// The one of this program.
    #[default]
    Causeway,
    /// The one of the Security Server Toolkit.
    Xrdsst,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Central {
    pub(crate) target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<Pin>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) member_classes: Vec<MemberClass>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<Member>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) certification_services: Vec<CertificationService>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) timestamping: Vec<Tsa>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<GlobalGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) management: Option<Management>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signing_keys: Option<SigningKeys>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) trusted_anchors: Vec<TrustedAnchor>,
}

/// The external anchor of another instance: a file, or the one that is there with this hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum TrustedAnchor {
    File(PathBuf),
    Known { instance: String, sha224: String },
}

/// How many keys each source has at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SigningKeys {
    pub(crate) internal: usize,
    pub(crate) external: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberClass {
    pub(crate) code: String,
    pub(crate) description: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) subsystems: Vec<Subsystem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subsystem {
    pub(crate) code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CertificationService {
    pub(crate) certificate: Certificate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) csr_format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ocsp: Vec<Responder>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) intermediates: Vec<Intermediate>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intermediate {
    pub(crate) certificate: Certificate,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ocsp: Vec<Responder>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Responder {
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<Certificate>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tsa {
    pub(crate) url: String,
    pub(crate) certificate: Certificate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GlobalGroup {
    pub(crate) code: String,
    pub(crate) description: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Management {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
}

/// A certificate: a file, or the hash of one that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Certificate {
    File(PathBuf),
    Hash { sha256: String },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Server {
    pub(crate) target: String,
    pub(crate) owner: String,
    pub(crate) code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<Pin>,
    /// `central`, or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anchor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timestamping: Option<Timestamping>,
    #[serde(skip_serializing_if = "Keys::is_empty")]
    pub(crate) keys: Keys,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) clients: Vec<Client>,
}

/// Timestamping services in use: all that are approved, or these, by name or address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Timestamping {
    Word(All),
    Names(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum All {
    All,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keys {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) authentication: Vec<Key>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) signing: Vec<Key>,
}

impl Keys {
    fn is_empty(&self) -> bool {
        self.authentication.is_empty() && self.signing.is_empty()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Key {
    pub(crate) label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) fields: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<Source>,
}

/// Where a key's certificate comes from: one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Source {
    /// A file; while it is not there, the signing request is written beside it as NAME.csr.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
    /// A program that gets the signing request (PEM) on standard input and prints the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    /// It is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Client {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<String>,
    /// Whether it is registered at the central server; yes unless it says no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registered: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tls_certificates: Vec<Certificate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<LocalGroup>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LocalGroup {
    pub(crate) code: String,
    pub(crate) description: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Service {
    /// `REST`, `OPENAPI3` or `WSDL`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) url: String,
    pub(crate) code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verify_tls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) access: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Service {
    /// Code with version.
    pub(crate) fn full_code(&self) -> String {
        match &self.version {
            Some(version) if !version.is_empty() => format!("{}.{version}", self.code),
            _ => self.code.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoint {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) access: Vec<String>,
}

/// Folders of files within files.
const MAX_INCLUDES: usize = 100;

impl Ecosystem {
    /// Reads a file with what it includes; variables are put in, identifiers made whole, files looked for beside it.
    ///
    /// # Errors
    /// [`Usage`] that names the file and the place.
    pub(crate) fn load(path: &Path, format: Format) -> anyhow::Result<Self> {
        let mut ecosystem: Self = match format {
            Format::Xrdsst => xrdsst::read(path)?,
            Format::Causeway => serde_yaml_ng::from_value(read(path)?)
                .map_err(|error| Usage(format!("{}: {error}", path.display())))?,
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        ecosystem.settle(folder).with_context(|| path.display().to_string())?;
        Ok(ecosystem)
    }

    pub(super) fn settle(&mut self, folder: &Path) -> anyhow::Result<()> {
        let instance = self.instance.clone();
        let whole = |text: &mut String, shape: Shape| -> anyhow::Result<()> {
            *text = with_instance(text, shape, || Ok(vec![instance.clone()]))?;
            Ok(())
        };
        if let Some(central) = &mut self.central {
            for member in &mut central.members {
                whole(&mut member.id, Shape::Member)?;
            }
            for member in central.groups.iter_mut().flat_map(|group| &mut group.members) {
                whole(member, Shape::Client)?;
            }
            if let Some(management) = &mut central.management {
                management.provider.as_mut().map_or(Ok(()), |id| whole(id, Shape::Subsystem))?;
                management.server.as_mut().map_or(Ok(()), |id| whole(id, Shape::Server))?;
            }
            central.beside(folder);
        }
        for server in &mut self.servers {
            whole(&mut server.owner, Shape::Member)?;
            for key in &mut server.keys.signing {
                let owner = server.owner.clone();
                whole(key.member.get_or_insert(owner), Shape::Member)?;
            }
            for client in &mut server.clients {
                whole(&mut client.id, Shape::Client)?;
                for member in client.groups.iter_mut().flat_map(|group| &mut group.members) {
                    whole(member, Shape::Client)?;
                }
                for service in &mut client.services {
                    let endpoints = service.endpoints.iter_mut().flat_map(|endpoint| &mut endpoint.access);
                    for subject in service.access.iter_mut().chain(endpoints) {
                        *subject = whole_subject(subject, &instance)?;
                    }
                }
            }
            server.beside(folder);
        }
        Ok(())
    }
}

/// `LOCALGROUP:code`, `GLOBALGROUP:instance:code`, or a subsystem's identifier.
fn whole_subject(text: &str, instance: &str) -> anyhow::Result<String> {
    if text.starts_with("LOCALGROUP:") {
        return Ok(text.to_owned());
    }
    if let Some(code) = text.strip_prefix("GLOBALGROUP:") {
        return Ok(match code.contains([':', '/']) {
            true => format!("GLOBALGROUP:{}", code.replace('/', ":")),
            false => format!("GLOBALGROUP:{instance}:{code}"),
        });
    }
    let text = text.strip_prefix("SUBSYSTEM:").unwrap_or(text);
    with_instance(text, Shape::Subsystem, || Ok(vec![instance.to_owned()]))
}

fn settle_file(file: &mut PathBuf, folder: &Path) {
    *file = folder.join(&*file);
}

fn settle_certificate(certificate: &mut Certificate, folder: &Path) {
    if let Certificate::File(file) = certificate {
        settle_file(file, folder);
    }
}

impl Central {
    fn beside(&mut self, folder: &Path) {
        if let Some(file) = self.pin.as_mut().and_then(|pin| pin.file.as_mut()) {
            settle_file(file, folder);
        }
        for service in &mut self.certification_services {
            settle_certificate(&mut service.certificate, folder);
            service.intermediates.iter_mut().for_each(|one| settle_certificate(&mut one.certificate, folder));
            let below = service.intermediates.iter_mut().flat_map(|one| &mut one.ocsp);
            let responders = service.ocsp.iter_mut().chain(below);
            responders
                .filter_map(|one| one.certificate.as_mut())
                .for_each(|one| settle_certificate(one, folder));
        }
        self.timestamping.iter_mut().for_each(|one| settle_certificate(&mut one.certificate, folder));
        for anchor in &mut self.trusted_anchors {
            if let TrustedAnchor::File(file) = anchor {
                settle_file(file, folder);
            }
        }
    }
}

impl Server {
    /// Its identifier.
    pub(crate) fn id(&self) -> String {
        format!("{}:{}", self.owner, self.code)
    }

    fn beside(&mut self, folder: &Path) {
        if let Some(file) = self.pin.as_mut().and_then(|pin| pin.file.as_mut()) {
            settle_file(file, folder);
        }
        if let Some(anchor) = self.anchor.as_mut().filter(|anchor| *anchor != "central") {
            *anchor = folder.join(&*anchor).display().to_string();
        }
        for key in self.keys.authentication.iter_mut().chain(&mut self.keys.signing) {
            if let Some(file) = key.certificate.as_mut().and_then(|source| source.file.as_mut()) {
                settle_file(file, folder);
            }
        }
        for client in &mut self.clients {
            client.tls_certificates.iter_mut().for_each(|one| settle_certificate(one, folder));
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let wrong = |error: String| Usage(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut value: Value = serde_yaml_ng::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let Some(map) = value.as_mapping_mut() else { return Err(wrong("it is no mapping".into()).into()) };
    let vars = map.remove("vars").unwrap_or_default();
    let included = map.remove("include").unwrap_or_default();
    let files = included.as_sequence().cloned().unwrap_or_default();
    if files.len() > MAX_INCLUDES {
        return Err(wrong(format!("more than {MAX_INCLUDES} files are included")).into());
    }
    for file in files {
        let name = file.as_str().ok_or_else(|| wrong("include is a list of files".into()))?;
        let path = path.parent().unwrap_or(Path::new("")).join(name);
        let text =
            std::fs::read_to_string(&path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        let part: Value =
            serde_yaml_ng::from_str(&text).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        join(&mut value, part);
    }
    put_in(&mut value, &vars).map_err(wrong)?;
    Ok(value)
}

/// Lists grow, mappings are joined, anything else that is missing is taken over.
fn join(into: &mut Value, part: Value) {
    match (into, part) {
        (Value::Mapping(into), Value::Mapping(part)) => {
            for (key, value) in part {
                match into.get_mut(&key) {
                    Some(there) => join(there, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (Value::Sequence(into), Value::Sequence(part)) => into.extend(part),
        _ => {}
    }
}

/// Puts `${NAME}` in: from `vars`, else from the environment.
fn put_in(value: &mut Value, vars: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => {
            while let Some(start) = text.find("${") {
                let end =
                    text[start..].find('}').ok_or_else(|| format!("{text}: a brace is missing"))? + start;
                let name = text[start + 2..end].to_owned();
                let known = vars.get(&name).and_then(Value::as_str).map(str::to_owned);
                let put = known.or_else(|| std::env::var(&name).ok());
                let put = put.ok_or_else(|| format!("neither vars nor the environment has {name}"))?;
                if put.contains("${") {
                    return Err(format!("the value of {name} has a variable in it"));
                }
                text.replace_range(start..=end, &put);
            }
            Ok(())
        }
        Value::Sequence(items) => items.iter_mut().try_for_each(|item| put_in(item, vars)),
        Value::Mapping(map) => map.values_mut().try_for_each(|item| put_in(item, vars)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Tagged(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_joined_and_settled() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "team.yaml",
            "servers:\n- {target: ss1, owner: 'COM:2', code: SS1, clients: [{id: 'COM:2:T', services: [{type: REST, url: 'http://x', code: c, access: ['GLOBALGROUP:g', 'COM:1:A', 'LOCALGROUP:l']}]}]}\n",
        );
        write(
            "all.yaml",
            "instance: DEV\nvars: {HOST: cs.example}\ninclude: [team.yaml]\ncentral: {target: cs, address: '${HOST}', pin: {file: pin}, members: [{id: 'COM:1', name: One}]}\nservers: []\n",
        );
        let found = Ecosystem::load(&dir.path().join("all.yaml"), Format::Causeway).unwrap();
        let central = found.central.unwrap();
        assert_eq!(
            (central.address.as_deref(), central.members[0].id.as_str()),
            (Some("cs.example"), "DEV:COM:1")
        );
        assert_eq!(central.pin.unwrap().file, Some(dir.path().join("pin")));
        let access = &found.servers[0].clients[0].services[0].access;
        assert_eq!(access, &["GLOBALGROUP:DEV:g", "DEV:COM:1:A", "LOCALGROUP:l"]);

        for (text, says) in [
            ("instance: DEV\nserver: []\n", "server"),
            ("instance: '${NO_SUCH_VARIABLE_HERE}'\n", "NO_SUCH_VARIABLE_HERE"),
            ("instance: DEV\nservers: [{target: a, owner: x, code: y}]\n", "a member is written"),
            ("- 1\n", "no mapping"),
        ] {
            write("wrong.yaml", text);
            let error = Ecosystem::load(&dir.path().join("wrong.yaml"), Format::Causeway).unwrap_err();
            assert!(
                format!("{error:#}").contains(says) && error.chain().any(|e| e.is::<Usage>()),
                "{error:#}"
            );
        }
    }

    /// Whoever begins with the sample has one that works.
    #[test]
    fn the_sample_in_deploy_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ecosystem.yaml");
        let sample = Ecosystem::load(&path, Format::Causeway).unwrap();
        assert_eq!(sample.servers.len(), 2);
        assert!(sample.central.unwrap().management.unwrap().server.is_some());
    }
}
