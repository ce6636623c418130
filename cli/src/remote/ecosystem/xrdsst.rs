//! The configuration file of the Security Server Toolkit (`xrdsst.yml`), read as an ecosystem of security servers and written from one.
//!
//! A server's `name` is the target of the same name. Requests are left for somebody else to approve, as the toolkit leaves them. Of `certificates`
//! the first for authentication belongs to the authentication key and those for signing to the signing keys in the order of their members, the
//! owner's first. The toolkit's own ways to a server (`api_key`, `admin_credentials`, SSH) are not looked at: targets have theirs. Services of a WSDL
//! have to be named, since rights are planned before anything is read. Written is what a server shows: no PIN, and no certificates.

use std::path::{Path, PathBuf};

use admin_api::lenient::{Flag, Text};
use pki::cert::Certificate as X509;
use proto::globalconf::anchor::Anchor;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::model::{self, All, Approve, Ecosystem, Key, Keys, Pin, Source, Timestamping};
use crate::exit::Usage;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct File {
    #[serde(default)]
    security_server: Vec<Server>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Server {
    name: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fqdn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration_anchor: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<PathBuf>,
    owner_member_class: Text,
    owner_member_code: Text,
    security_server_code: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    software_token_id: Option<Text>,
    #[serde(skip_serializing)]
    software_token_pin: Option<Text>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_certificates: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clients: Vec<Client>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Client {
    member_class: Text,
    member_code: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    subsystem_code: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_type: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_certificates: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    local_groups: Vec<LocalGroup>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    service_descriptions: Vec<Description>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct LocalGroup {
    code: Text,
    description: Text,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Description {
    url: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest_service_code: Option<Text>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    access: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url_all: Option<Flag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_all: Option<Flag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssl_auth_all: Option<Flag>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<Service>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Service {
    service_code: Text,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    access: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssl_auth: Option<Flag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Endpoint {
    path: String,
    method: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    access: Vec<String>,
}

/// Reads a file; places in it are still as they are written.
///
/// # Errors
/// It has no such form; no anchor says which instance its servers belong to.
pub(super) fn read(path: &Path) -> Result<Ecosystem, Usage> {
    let wrong = |error: String| Usage(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let file: File = serde_yaml_ng::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let anchor = file.security_server.iter().find_map(|server| server.configuration_anchor.as_ref());
    let anchor = anchor.ok_or_else(|| wrong("no configuration_anchor says which instance this is".into()))?;
    let anchor = folder.join(anchor);
    let bytes = std::fs::read(&anchor).map_err(|error| Usage(format!("{}: {error}", anchor.display())))?;
    let anchor = Anchor::read(&bytes).map_err(|error| Usage(format!("{}: {error}", anchor.display())))?;
    file.into_ecosystem(anchor.instance, folder).map_err(|Usage(error)| wrong(error))
}

impl File {
    fn into_ecosystem(self, instance: String, folder: &Path) -> Result<Ecosystem, Usage> {
        let servers = self.security_server.into_iter().map(|server| server.into_model(folder));
        let servers = servers.collect::<Result<_, _>>()?;
        Ok(Ecosystem { instance, approve: Some(Approve::Skip), central: None, servers })
    }

    /// What is there, as far as this form has a place for it.
    pub(super) fn of(ecosystem: &Ecosystem, url: impl Fn(&str) -> Option<String>) -> Self {
        let servers = ecosystem.servers.iter();
        Self { security_server: servers.map(|server| Server::of(server, url(&server.target))).collect() }
    }
}

fn member(class: &Text, code: &Text) -> String {
    format!("{}:{}", class.0, code.0)
}

impl Server {
    fn into_model(self, folder: &Path) -> Result<model::Server, Usage> {
        let owner = member(&self.owner_member_class, &self.owner_member_code);
        let keys = self.keys(&owner, folder);
        let mut clients: Vec<model::Client> = Vec::new();
        for client in self.clients {
            clients.push(client.into_model()?);
        }
        if !self.tls_certificates.is_empty() {
            // They are the owner's.
            let certificates = self.tls_certificates.into_iter().map(model::Certificate::File);
            match clients.iter_mut().find(|client| client.id == owner) {
                Some(client) => client.tls_certificates.extend(certificates),
                None => clients.push(model::Client {
                    id: owner.clone(),
                    tls_certificates: certificates.collect(),
                    ..model::Client::default()
                }),
            }
        }
        Ok(model::Server {
            target: self.name.0,
            owner,
            code: self.security_server_code.0,
            address: self.fqdn,
            pin: self.software_token_pin.map(|pin| Pin::given(Zeroizing::new(pin.0))),
            anchor: self.configuration_anchor.map(|file| file.display().to_string()),
            timestamping: Some(Timestamping::Word(All::All)),
            keys,
            clients,
        })
    }

    /// Keys by the toolkit's labels, each with its certificate's file; where there is none yet, the request is written beside its place.
    fn keys(&self, owner: &str, folder: &Path) -> Keys {
        let mut files: [Vec<PathBuf>; 2] = Default::default();
        for file in &self.certificates {
            let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
            let signs = X509::parse(&bytes).is_ok_and(|cert| cert.is_signing());
            files[usize::from(signs)].push(file.clone());
        }
        let [authentication, signing] = files.map(Vec::into_iter);
        let key = |label: String, member: Option<String>, files: &mut std::vec::IntoIter<PathBuf>| {
            let file = Some(files.next().unwrap_or_else(|| PathBuf::from(format!("{label}.pem"))));
            let certificate = Some(Source { file, ..Source::default() });
            Key { label, member, certificate, ..Key::default() }
        };
        let (mut authentication, mut signing) = (authentication, signing);
        let name = &self.name.0;
        let auth = key(format!("{name}-default-auth-key"), None, &mut authentication);
        let mut sign = vec![key(format!("{name}-default-sign-key"), Some(owner.to_owned()), &mut signing)];
        for client in &self.clients {
            let id = member(&client.member_class, &client.member_code);
            let label = format!("{name}-default-sign-key_{}_{}", client.member_class.0, client.member_code.0);
            if id != owner && !sign.iter().any(|key| key.label == label) {
                sign.push(key(label, Some(id), &mut signing));
            }
        }
        Keys { authentication: vec![auth], signing: sign }
    }

    fn of(server: &model::Server, url: Option<String>) -> Self {
        let (class, code, _) = crate::remote::ids::parts(&server.owner);
        let owner = |client: &&model::Client| {
            client.id != server.owner || !client.services.is_empty() || !client.groups.is_empty()
        };
        Self {
            name: server.target.clone().into(),
            url: url.map(|url| format!("{}/api/v1", url.trim_end_matches('/'))),
            fqdn: server.address.clone(),
            owner_member_class: class.into(),
            owner_member_code: code.into(),
            security_server_code: server.code.clone().into(),
            software_token_id: Some("0".into()),
            clients: server.clients.iter().filter(owner).map(Client::of).collect(),
            ..Self::default()
        }
    }
}

/// A subject as the model writes it.
fn subject(text: String) -> String {
    match text.matches(':').count() {
        0 => format!("LOCALGROUP:{text}"),
        1 => format!("GLOBALGROUP:{text}"),
        _ => text,
    }
}

/// A subject as the toolkit writes it.
fn plain(text: &str) -> String {
    let bare = text.strip_prefix("LOCALGROUP:").or_else(|| text.strip_prefix("GLOBALGROUP:"));
    bare.unwrap_or(text).to_owned()
}

impl Client {
    fn into_model(self) -> Result<model::Client, Usage> {
        let member = member(&self.member_class, &self.member_code);
        let subsystem = self.subsystem_code.filter(|code| !code.is_empty());
        let id = subsystem.map_or(member.clone(), |code| format!("{member}:{}", code.0));
        let group = |group: LocalGroup| model::LocalGroup {
            code: group.code.0,
            description: group.description.0,
            members: group.members,
        };
        let mut services = Vec::new();
        for description in self.service_descriptions {
            services.extend(description.into_services(&id)?);
        }
        Ok(model::Client {
            id,
            connection: self.connection_type,
            tls_certificates: self.tls_certificates.into_iter().map(model::Certificate::File).collect(),
            groups: self.local_groups.into_iter().map(group).collect(),
            services,
            ..model::Client::default()
        })
    }

    fn of(client: &model::Client) -> Self {
        let (class, code, subsystem) = crate::remote::ids::parts(&client.id);
        let group = |group: &model::LocalGroup| LocalGroup {
            code: group.code.clone().into(),
            description: group.description.clone().into(),
            members: group.members.clone(),
        };
        let mut descriptions: Vec<Description> = Vec::new();
        for service in &client.services {
            // The services of a WSDL stand below one description.
            match descriptions.iter_mut().find(|one| one.r#type == "WSDL" && one.url == service.url) {
                Some(description) => description.services.push(Service::of(service)),
                None => descriptions.push(Description::of(service)),
            }
        }
        Self {
            member_class: class.into(),
            member_code: code.into(),
            subsystem_code: subsystem.map(Text::from),
            connection_type: client.connection.clone(),
            tls_certificates: Vec::new(),
            local_groups: client.groups.iter().map(group).collect(),
            service_descriptions: descriptions,
        }
    }
}

impl Description {
    fn into_services(self, client: &str) -> Result<Vec<model::Service>, Usage> {
        let is_wsdl = self.r#type.eq_ignore_ascii_case("WSDL");
        let mut named = self.services.clone();
        match (is_wsdl, self.rest_service_code) {
            (false, Some(code)) if !named.iter().any(|one| one.service_code == code) => {
                named.push(Service { service_code: code, ..Service::default() });
            }
            (false, None) => return Err(Usage(format!("{}: rest_service_code is missing", self.url))),
            (true, _) if named.is_empty() => {
                return Err(Usage(format!(
                    "{client}: the services of {} have to be named in services",
                    self.url
                )));
            }
            _ => {}
        }
        let all = |flag: Option<Flag>| flag.is_some_and(|flag| flag.0);
        let common =
            |flag: bool, of: fn(&Service) -> bool| self.services.iter().find(|one| flag && of(one)).cloned();
        let url_all = common(all(self.url_all), |one| one.url.is_some()).and_then(|one| one.url);
        let timeout_all =
            common(all(self.timeout_all), |one| one.timeout.is_some()).and_then(|one| one.timeout);
        let ssl_all =
            common(all(self.ssl_auth_all), |one| one.ssl_auth.is_some()).and_then(|one| one.ssl_auth);
        let endpoint = |one: &Endpoint| model::Endpoint {
            method: one.method.clone(),
            path: one.path.clone(),
            access: one.access.iter().cloned().map(subject).collect(),
        };
        let service = |one: Service| {
            let access = if one.access.is_empty() { self.access.clone() } else { one.access };
            model::Service {
                kind: self.r#type.to_uppercase(),
                url: self.url.clone(),
                code: one.service_code.0,
                service_url: url_all.clone().or(one.url),
                timeout: timeout_all.or(one.timeout),
                verify_tls: ssl_all.or(one.ssl_auth).map(|flag| flag.0),
                enabled: Some(true),
                access: access.into_iter().map(subject).collect(),
                endpoints: if is_wsdl { Vec::new() } else { self.endpoints.iter().map(endpoint).collect() },
                ..model::Service::default()
            }
        };
        Ok(named.into_iter().map(service).collect())
    }

    fn of(service: &model::Service) -> Self {
        let is_wsdl = service.kind == "WSDL";
        let endpoint = |one: &model::Endpoint| Endpoint {
            path: one.path.clone(),
            method: one.method.clone(),
            access: one.access.iter().map(|text| plain(text)).collect(),
        };
        Self {
            url: service.url.clone(),
            r#type: service.kind.clone(),
            rest_service_code: (!is_wsdl).then(|| service.code.clone().into()),
            services: vec![Service::of(service)],
            endpoints: service.endpoints.iter().map(endpoint).collect(),
            ..Self::default()
        }
    }
}

impl Service {
    fn of(service: &model::Service) -> Self {
        Self {
            service_code: service.full_code().into(),
            access: service.access.iter().map(|text| plain(text)).collect(),
            timeout: service.timeout,
            ssl_auth: service.verify_tls.map(Flag),
            url: service.service_url.clone(),
        }
    }
}

/// What stands above an exported file.
pub(super) const HEAD: &str = "\
# For xrdsst, and for `causeway apply --format xrdsst`. A server does not show everything: fill in software_token_pin,
# configuration_anchor, certificates, tls_certificates, and for xrdsst api_key or its other ways to a server.
";

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "
admin_credentials: ADMIN
ssh_access: {user: u, private_key: k}
security_server:
- name: ss1
  api_key: KEY
  url: https://ss1:4000/api/v1
  fqdn: ss1.example.org
  owner_member_class: COM
  owner_member_code: 4321
  security_server_code: SS1
  software_token_id: 0
  software_token_pin: '1122'
  clients:
  - member_class: COM
    member_code: 4321
    subsystem_code: TEST
    connection_type: HTTP
    local_groups: [{code: friends, description: Friends, members: ['DEV:COM:1234:X']}]
    service_descriptions:
    - url: http://is/w.wsdl
      type: WSDL
      access: ['DEV:security-server-owners', 'DEV:COM:1234:X']
      timeout_all: true
      services: [{service_code: get.v1, timeout: 7}, {service_code: hello, access: [friends]}]
    - url: http://is/pets.yaml
      type: OPENAPI3
      rest_service_code: pets
      access: ['DEV:COM:1234:X']
      endpoints: [{path: /pets, method: GET, access: [friends]}]
  - {member_class: GOV, member_code: 55, subsystem_code: REG, connection_type: HTTPS}
";

    fn sample() -> Ecosystem {
        let file: File = serde_yaml_ng::from_str(SAMPLE).unwrap();
        file.into_ecosystem("DEV".into(), Path::new("/nowhere")).unwrap()
    }

    #[test]
    fn a_toolkit_file_is_an_ecosystem() {
        let found = sample();
        let server = &found.servers[0];
        assert_eq!((server.target.as_str(), server.id().as_str()), ("ss1", "COM:4321:SS1"));
        let labels: Vec<_> = server.keys.signing.iter().map(|key| key.label.as_str()).collect();
        assert_eq!(labels, ["ss1-default-sign-key", "ss1-default-sign-key_GOV_55"]);
        let client = &server.clients[0];
        let services: Vec<_> = client
            .services
            .iter()
            .map(|one| (one.full_code(), one.timeout, one.access.join(" "), one.endpoints.len()))
            .collect();
        let owners = "GLOBALGROUP:DEV:security-server-owners DEV:COM:1234:X".to_owned();
        let expected = [
            ("get.v1".to_owned(), Some(7), owners, 0),
            ("hello".to_owned(), Some(7), "LOCALGROUP:friends".to_owned(), 0),
            ("pets".to_owned(), None, "DEV:COM:1234:X".to_owned(), 1),
        ];
        assert_eq!(services, expected);
        assert!(!format!("{found:?}").contains("1122"), "a PIN is told");
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let mut wanted = sample();
        wanted.settle(Path::new("/nowhere")).unwrap();
        let text = serde_yaml_ng::to_string(&File::of(&wanted, |_| Some("https://ss1:4000".into()))).unwrap();
        assert!(text.contains("url: https://ss1:4000/api/v1") && !text.contains("1122"), "{text}");
        let file: File = serde_yaml_ng::from_str(&text).unwrap();
        let mut found = file.into_ecosystem("DEV".into(), Path::new("/nowhere")).unwrap();
        found.settle(Path::new("/nowhere")).unwrap();
        let bare = |ecosystem: &Ecosystem| {
            let mut server = ecosystem.servers[0].clone();
            server.pin = None;
            server
        };
        assert_eq!(bare(&found), bare(&wanted), "{text}");
    }

    #[test]
    fn services_that_are_not_named_are_missed() {
        let text = "security_server: [{clients: [{service_descriptions: [{url: u, type: WSDL}]}]}]";
        let file: File = serde_yaml_ng::from_str(text).unwrap();
        let error = file.into_ecosystem("DEV".into(), Path::new("")).unwrap_err();
        assert!(error.0.contains("have to be named"), "{}", error.0);
    }
}
