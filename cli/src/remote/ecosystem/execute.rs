//! Carries out the steps of a plan. Where a step needs what an earlier one made known through the global configuration, it is tried until the
//! server has it, with a word about what is waited for.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::model::{Approve, Ecosystem, Key, Pin, Server, Source};
use super::now;
use super::step::{Act, Step};
use crate::exit::Usage;
use crate::remote::carry_out::read;
use crate::remote::central;
use crate::remote::connection::{Body, Call, Part, encode};
use crate::remote::failure::{Failure, failure_of};
use crate::remote::output::field;
use crate::remote::requests;
use crate::remote::secrets;
use crate::remote::security::{clients, keys, server, services};
use crate::remote::session::Session;
use crate::remote::tokens::{self, is_code};

/// A program that makes a certificate may print so much.
const MAX_CERTIFICATE_BYTES: usize = 1024 * 1024;

/// What steps are carried out with.
pub(crate) struct Executor<'a> {
    pub(crate) wanted: &'a Ecosystem,
    /// By target.
    pub(crate) sessions: &'a BTreeMap<String, Session>,
    pub(crate) limit: Duration,
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    /// It waits for people: why.
    Left(String),
}

impl Executor<'_> {
    /// Carries one step out.
    ///
    /// # Errors
    /// Whatever the server refuses, files, waits that run out.
    pub(crate) fn carry_out(&self, step: &Step) -> anyhow::Result<Ended> {
        let session = self.session(&step.target)?;
        match &step.act {
            Act::Certify { usage, label } => return self.certify(session, usage, label),
            Act::AwaitCertificate { label } => return self.await_certificate(session, label),
            Act::AwaitClient { id } => return self.await_client(session, id),
            other => self.act(session, other)?,
        }
        Ok(Ended::Done)
    }

    fn act(&self, session: &Session, act: &Act) -> anyhow::Result<()> {
        match act {
            Act::Call { method, path, body } => self.call(session, method, path, body),
            Act::Form { path, fields, files } => form(session, path, fields, files),
            Act::Upload { path, file } => upload(session, path, file),
            Act::Initialize { body } => self.initialize(session, body),
            Act::LogIn => self.log_in(session),
            Act::AddResponder { top, ca, url, cost, certificate } => {
                let fields = [("url".to_owned(), url.clone()), ("cost_type".to_owned(), cost.clone())];
                let files: Vec<_> =
                    certificate.iter().map(|file| ("certificate".to_owned(), file.clone())).collect();
                let top_id = ca_id(session, top)?;
                let of = match top == ca {
                    true => format!("/certification-services/{top_id}"),
                    false => format!("/intermediate-cas/{}", intermediate_id(session, &top_id, ca)?),
                };
                form(session, &format!("{of}/ocsp-responders"), &fields, &files)
            }
            Act::AddIntermediate { ca, certificate } => {
                let path = format!("/certification-services/{}/intermediate-cas", ca_id(session, ca)?);
                form(session, &path, &[], &[("certificate".to_owned(), certificate.clone())])
            }
            Act::Anchor { from } => self.anchor(session, from),
            Act::MakeKey { usage, label, member, ca, fields } => {
                self.make_key(session, usage, label, member.clone(), ca.as_deref(), fields)
            }
            Act::RegisterCertificate { label, address } => {
                let Some(hash) = certificate_of(session, "AUTHENTICATION", label)? else { return Ok(()) };
                let path =
                    format!("/token-certificates/{}/register", field(&hash, "certificate_details.hash"));
                self.until_delivered("the registration is taken", || {
                    session.with_json(Method::PUT, &path, json!({ "address": address })).map(|_| ())
                })
            }
            Act::Activate { usage, label } => {
                let Some(cert) = certificate_of(session, usage, label)? else { return Ok(()) };
                if cert["active"] == json!(true) {
                    return Ok(());
                }
                let hash = field(&cert, "certificate_details.hash");
                session
                    .call(&Call::new(Method::PUT, format!("/token-certificates/{hash}/activate")))
                    .map(|_| ())
            }
            Act::UseTsa { url } => self.use_tsa(session, url),
            Act::AddClient { id, connection, name } => self.until_taken("the client is taken", || {
                clients::add_client(session, id, connection, name.as_deref()).map(|_| ())
            }),
            Act::RegisterClient { id } => self.register_client(session, id),
            other => on_services(session, other),
        }
    }

    fn session(&self, target: &str) -> anyhow::Result<&Session> {
        self.sessions.get(target).with_context(|| format!("there is no target {target}"))
    }

    fn server(&self, session: &Session) -> anyhow::Result<&Server> {
        let found = self.wanted.servers.iter().find(|server| server.target == session.name());
        found.with_context(|| format!("the file has no server {}", session.name()))
    }

    fn central(&self) -> anyhow::Result<&Session> {
        let central = self.wanted.central.as_ref();
        self.session(
            &central
                .ok_or_else(|| Usage("this needs the central server's target in the file".into()))?
                .target,
        )
    }

    fn approve(&self) -> Approve {
        self.wanted.approve.unwrap_or_default()
    }

    /// Tries again while the refusal is one that a new configuration ends.
    fn until_taken(&self, what: &str, go: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.until(what, is_passing, go)
    }

    /// The same for management requests: whatever is wrong on their way may end with the next configuration or OCSP answer. What the
    /// central server itself has refused stays refused; the same request that waits there already is as good as sent.
    fn until_delivered(&self, what: &str, mut go: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.until(
            what,
            |error| is_passing(error) || is_on_the_way(error),
            || match go() {
                Err(error)
                    if refusal_behind(&error).is_some_and(|code| code == "management_request_exists") =>
                {
                    Ok(())
                }
                other => other,
            },
        )
    }

    fn until(
        &self,
        what: &str,
        passing: impl Fn(&anyhow::Error) -> bool,
        mut go: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let session = self.sessions.values().next().context("there is no target")?;
        session.wait_until(what, self.limit, || match go() {
            Err(error) if passing(&error) => {
                let code = failure_of(&error).and_then(Failure::code).unwrap_or_default().to_owned();
                Ok((false, code, ()))
            }
            other => other.map(|()| (true, String::new(), ())),
        })
    }

    fn call(&self, session: &Session, method: &str, path: &str, body: &Value) -> anyhow::Result<()> {
        let path = match path.split_once('{') {
            Some((before, rest)) => {
                let (hash, after) = rest.split_once('}').context("a path has half a name")?;
                format!("{before}{}{after}", ca_id(session, hash)?)
            }
            None => path.to_owned(),
        };
        let mut call = Call::new(method.parse()?, path);
        if !body.is_null() {
            call = call.json(body.clone());
        }
        self.until_taken("the configuration", || session.call(&call).map(|_| ()))
    }

    fn pin(&self, session: &Session) -> anyhow::Result<Zeroizing<String>> {
        let central = self.wanted.central.as_ref().filter(|central| central.target == session.name());
        let pin = match central {
            Some(central) => central.pin.as_ref(),
            None => self.server(session)?.pin.as_ref(),
        };
        match pin {
            Some(Pin { given: Some(pin), .. }) => Ok(pin.0.clone()),
            Some(Pin { file: Some(file), .. }) => secrets::from_file(file),
            Some(Pin { env: Some(name), .. }) => {
                let pin = std::env::var(name).map_err(|_| Usage(format!("the environment has no {name}")))?;
                Ok(Zeroizing::new(pin))
            }
            _ => secrets::ask(&format!("PIN of {}", session.name())),
        }
    }

    fn initialize(&self, session: &Session, body: &Value) -> anyhow::Result<()> {
        let mut body = body.clone();
        let is_central = body.get("instance_identifier").is_some();
        if is_central || body.get("software_token_pin").is_some() {
            body["software_token_pin"] = json!(self.pin(session)?.as_str());
        }
        self.until_taken("the first configuration is taken", || {
            session.with_json(Method::POST, "/initialization", body.clone()).map(|_| ())
        })
    }

    fn log_in(&self, session: &Session) -> anyhow::Result<()> {
        let tokens = session.list("/tokens")?;
        if tokens.iter().any(|token| field(token, "id") == "0" && token["logged_in"] == json!(true)) {
            return Ok(());
        }
        tokens::log_in(session, "0", &self.pin(session)?).map(|_| ())
    }

    fn anchor(&self, session: &Session, from: &str) -> anyhow::Result<()> {
        let bytes = match from {
            "central" => {
                let call = Call::get("/configuration-sources/INTERNAL/anchor/download");
                self.central()?.send(&call)?.body.to_vec()
            }
            file => read(Path::new(file))?,
        };
        self.until_taken("the configuration source", || {
            server::upload_anchor(session, bytes.clone(), true).map(|_| ())
        })
    }

    fn make_key(
        &self,
        session: &Session,
        usage: &str,
        label: &str,
        member: Option<String>,
        ca: Option<&str>,
        fields: &[(String, String)],
    ) -> anyhow::Result<()> {
        let format = "DER";
        let (host, fields) = (self.server(session)?.address.clone(), fields.to_vec());
        let wanted = keys::Wanted { usage, ca, member, format, host, fields };
        let list = format!("/certificate-authorities?key_usage_type={usage}");
        session.wait_until("a certification service in the configuration", self.limit, || {
            let known = match session.list(&list) {
                Err(error) if is_passing(&error) => Vec::new(),
                other => other?,
            };
            let fits = |one: &Value| ca.is_none_or(|ca| field(one, "name") == ca);
            Ok((known.iter().any(fits), "not there".into(), ()))
        })?;
        let request = keys::csr_request(session, &wanted)?;
        keys::key_with_csr(session, "0", label, request).map(|_| ())
    }

    fn wanted_key(&self, session: &Session, usage: &str, label: &str) -> anyhow::Result<&Key> {
        let keys = &self.server(session)?.keys;
        let list = if usage == "SIGNING" { &keys.signing } else { &keys.authentication };
        list.iter().find(|key| key.label == label).with_context(|| format!("the file has no key {label:?}"))
    }

    /// Gets the certificate for a key's signing request, and imports it.
    fn certify(&self, session: &Session, usage: &str, label: &str) -> anyhow::Result<Ended> {
        let source = self.wanted_key(session, usage, label)?.certificate.clone().unwrap_or_default();
        let all = crate::remote::names::keys(session)?;
        let key = all.iter().find(|key| field(key, "usage") == usage && field(key, "label") == label);
        let key = key.with_context(|| format!("{} has no key {label:?}", session.name()))?;
        let csr = key["certificate_signing_requests"].as_array().and_then(|list| list.first());
        let csr = csr.with_context(|| format!("key {label:?} has no signing request"))?;
        let get = |format| session.send(&keys::download(&field(key, "id"), &field(csr, "id"), format));
        let bytes = match source {
            Source { command: Some(command), .. } => made_by(&command, &get("PEM")?.body)?,
            Source { file: Some(file), .. } if file.exists() => read(&file)?,
            Source { file: Some(file), .. } => {
                let mut name = file.clone().into_os_string();
                name.push(".csr");
                std::fs::write(&name, &get("DER")?.body)
                    .with_context(|| PathBuf::from(&name).display().to_string())?;
                let text = format!(
                    "have {} signed, and put the certificate at {}",
                    PathBuf::from(&name).display(),
                    file.display()
                );
                return Ok(Ended::Left(text));
            }
            _ => {
                return Err(Usage(format!(
                    "the file does not say where the certificate of key {label:?} comes from"
                ))
                .into());
            }
        };
        session.call(&Call::new(Method::POST, "/token-certificates").body(Body::Octets(bytes)))?;
        Ok(Ended::Done)
    }

    /// Approves whatever waits for this server, when this run may.
    fn approve_for(&self, server: &str, fits: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        if self.approve() != Approve::Auto {
            return Ok(());
        }
        let central = self.central()?;
        for request in requests::waiting(central)? {
            if field(&request, "security_server_id.encoded_id") == server && fits(&request) {
                match requests::approve(central, &field(&request, "id")) {
                    Err(error) if is_code(&error, "management_request_invalid_state_for_approval") => {}
                    other => {
                        other?;
                    }
                }
            }
        }
        Ok(())
    }

    fn await_certificate(&self, session: &Session, label: &str) -> anyhow::Result<Ended> {
        if self.approve() == Approve::Skip {
            return Ok(Ended::Left("the registration waits for its approval".into()));
        }
        let server = self.server(session)?.id();
        session.wait_until(&format!("certificate of key {label:?}"), self.limit, || {
            self.approve_for(&server, |request| field(request, "type") == "AUTH_CERT_REGISTRATION_REQUEST")?;
            let status = certificate_of(session, "AUTHENTICATION", label)?;
            let status = status.map(|cert| field(&cert, "status")).unwrap_or_default();
            Ok((status == "REGISTERED", status, ()))
        })?;
        Ok(Ended::Done)
    }

    fn register_client(&self, session: &Session, id: &str) -> anyhow::Result<()> {
        let path = format!("/clients/{}", encode(id));
        let status = || session.get(&path).map(|client| field(&client, "status"));
        self.until_delivered("the registration is taken", || {
            // A client that the configuration has already is registered without being asked for.
            if status()? != "SAVED" {
                return Ok(());
            }
            match session.call(&Call::new(Method::PUT, format!("{path}/register"))) {
                // The configuration came between the question and the call.
                Err(_) if status()? != "SAVED" => Ok(()),
                outcome => outcome.map(|_| ()),
            }
        })
    }

    fn await_client(&self, session: &Session, id: &str) -> anyhow::Result<Ended> {
        if self.approve() == Approve::Skip {
            return Ok(Ended::Left("the registration waits for its approval".into()));
        }
        let server = self.server(session)?.id();
        session.wait_until(&format!("client {id}"), self.limit, || {
            self.approve_for(&server, |request| field(request, "client_id.encoded_id") == id)?;
            let status = field(&session.get(format!("/clients/{}", encode(id)))?, "status");
            Ok((status == "REGISTERED", status, ()))
        })?;
        Ok(Ended::Done)
    }

    fn use_tsa(&self, session: &Session, wanted: &str) -> anyhow::Result<()> {
        let approved =
            session.wait_until("a timestamping service in the configuration", self.limit, || {
                let approved = session.list("/timestamping-services")?;
                let fits = |one: &Value| {
                    wanted == "all" || field(one, "url") == wanted || field(one, "name") == wanted
                };
                let fitting: Vec<Value> = approved.into_iter().filter(fits).collect();
                Ok((!fitting.is_empty(), "not there".into(), fitting))
            })?;
        let used = session.list("/system/timestamping-services")?;
        for one in approved.into_iter().filter(|one| !used.iter().any(|used| used["url"] == one["url"])) {
            session.with_json(Method::POST, "/system/timestamping-services", one)?;
        }
        Ok(())
    }
}

/// Refusals that a new configuration, an approval elsewhere, or a moment ends.
fn is_passing(error: &anyhow::Error) -> bool {
    const PASSING: &[&str] = &[
        "global_conf_outdated",
        "global_conf_download_request_failed",
        "conf_download_failed",
        "management_service_provider_not_set",
        "security_server_not_found",
        "management_request_sending_failed",
    ];
    let Some(failure) = failure_of(error) else { return false };
    failure.code().is_some_and(|code| PASSING.contains(&code) || code.starts_with("conf_verification."))
}

/// The code that the central server refused a management request with, `CODE with statusCode NUMBER`.
fn refusal_behind(error: &anyhow::Error) -> Option<&str> {
    failure_of(error)?
        .metadata()
        .iter()
        .find_map(|text| text.split_once(" with statusCode "))
        .map(|(code, _)| code)
}

/// A management request has not arrived, or came too early.
fn is_on_the_way(error: &anyhow::Error) -> bool {
    // The server is approved elsewhere.
    const TOO_EARLY: &[&str] = &["management_request_server_not_found"];
    let on_the_way = failure_of(error).and_then(Failure::code).is_some_and(|code| code.starts_with("core."));
    on_the_way && refusal_behind(error).is_none_or(|code| TOO_EARLY.contains(&code))
}

/// The newest certificate of a key.
fn certificate_of(session: &Session, usage: &str, label: &str) -> anyhow::Result<Option<Value>> {
    let mut all = keys::certificates(session)?;
    let of = crate::remote::names::keys(session)?;
    let ids: Vec<String> = of
        .iter()
        .filter(|key| field(key, "usage") == usage && field(key, "label") == label)
        .map(|key| field(key, "id"))
        .collect();
    all.retain(|cert| ids.contains(&field(cert, "key_id")));
    all.sort_by_key(|cert| field(cert, "certificate_details.not_before"));
    Ok(all.pop())
}

fn form(
    session: &Session,
    path: &str,
    fields: &[(String, String)],
    files: &[(String, PathBuf)],
) -> anyhow::Result<()> {
    let mut parts: Vec<Part> = fields.iter().map(|(name, value)| central::trust::text(name, value)).collect();
    for (name, file) in files {
        parts.push(central::trust::file(name, file)?);
    }
    session.call(&Call::new(Method::POST, path).body(Body::Form(parts))).map(|_| ())
}

fn upload(session: &Session, path: &str, file: &Path) -> anyhow::Result<()> {
    session.call(&Call::new(Method::POST, path).body(Body::Octets(read(file)?))).map(|_| ())
}

/// Number of the certification service with this certificate.
fn ca_id(session: &Session, sha256: &str) -> anyhow::Result<String> {
    for one in session.list("/certification-services")? {
        let id = field(&one, "id");
        let certificate = session.get(format!("/certification-services/{id}/certificate"))?;
        if field(&certificate, "hash").eq_ignore_ascii_case(sha256) {
            return Ok(id);
        }
    }
    bail!("there is no certification service with the certificate {sha256}")
}

fn intermediate_id(session: &Session, top: &str, sha256: &str) -> anyhow::Result<String> {
    let all = session.list(format!("/certification-services/{top}/intermediate-cas"))?;
    let is = |one: &&Value| field(one, "ca_certificate.hash").eq_ignore_ascii_case(sha256);
    Ok(field(all.iter().find(is).with_context(|| format!("there is no intermediate CA {sha256}"))?, "id"))
}

/// What a program makes of a signing request.
fn made_by(command: &str, csr: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| command.to_owned())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read it all is judged by what it prints.
        let _ = stdin.write_all(csr);
    }
    let output = child.wait_with_output()?;
    if !output.status.success() || output.stdout.is_empty() || output.stdout.len() > MAX_CERTIFICATE_BYTES {
        bail!("{command}: {}, {} bytes printed", output.status, output.stdout.len());
    }
    Ok(output.stdout)
}

/// Steps about groups, services and rights.
fn on_services(session: &Session, act: &Act) -> anyhow::Result<()> {
    let send = |method: Method, path: String, body: Value| session.with_json(method, path, body).map(|_| ());
    match act {
        Act::GroupMembers { client, code, members, add } => {
            let path = format!("/local-groups/{}/members", group_id(session, client, code)?);
            let path = if *add { path } else { format!("{path}/delete") };
            send(Method::POST, path, json!({ "items": members }))
        }
        Act::RemoveGroup { client, code } => {
            let path = format!("/local-groups/{}", group_id(session, client, code)?);
            session.call(&Call::new(Method::DELETE, path)).map(|_| ())
        }
        Act::Describe { client, kind, url, code } => {
            services::add_description(session, client, kind, url, code.as_deref()).map(|_| ())
        }
        Act::SetService { client, code, url, timeout, verify_tls } => {
            let (_, service) = described(session, client, code)?;
            let body = json!({
                "url": url.clone().map_or_else(|| service["url"].clone(), |url| json!(url)),
                "timeout": timeout.map_or_else(|| service["timeout"].clone(), |timeout| json!(timeout)),
                "ssl_auth": verify_tls.unwrap_or(service["ssl_auth"] == json!(true)),
            });
            send(Method::PATCH, format!("/services/{}", encode(&field(&service, "id"))), body)
        }
        Act::Switch { client, code, on, notice } => {
            let (description, _) = described(session, client, code)?;
            let path = format!("/service-descriptions/{}", encode(&field(&description, "id")));
            match on {
                true => session.call(&Call::new(Method::PUT, format!("{path}/enable"))).map(|_| ()),
                false => send(Method::PUT, format!("{path}/disable"), json!({ "disabled_notice": notice })),
            }
        }
        Act::RemoveService { client, code } => match described(session, client, code) {
            // It went with another service of its description.
            Err(_) => Ok(()),
            Ok((description, _)) => {
                let path = format!("/service-descriptions/{}", encode(&field(&description, "id")));
                session.call(&Call::new(Method::DELETE, path)).map(|_| ())
            }
        },
        Act::Endpoint { client, code, method, path, add } => {
            let (_, service) = described(session, client, code)?;
            let there = endpoint_id(&service, method, path);
            match (add, there) {
                (true, Some(_)) | (false, None) => Ok(()),
                (true, None) => {
                    let body =
                        json!({ "service_code": service["service_code"], "method": method, "path": path });
                    send(
                        Method::POST,
                        format!("/services/{}/endpoints", encode(&field(&service, "id"))),
                        body,
                    )
                }
                (false, Some(id)) => session
                    .call(&Call::new(Method::DELETE, format!("/endpoints/{}", encode(&id))))
                    .map(|_| ()),
            }
        }
        Act::Access { client, code, endpoint, subjects, grant } => {
            let (_, service) = described(session, client, code)?;
            let path = match endpoint {
                None => format!("/services/{}/service-clients", encode(&field(&service, "id"))),
                Some((method, path)) => {
                    let id = endpoint_id(&service, method, path).context("the endpoint is not there")?;
                    format!("/endpoints/{}/service-clients", encode(&id))
                }
            };
            let items: Vec<Value> = subjects
                .iter()
                .map(|one| services::subject_of(session, client, one))
                .collect::<anyhow::Result<_>>()?;
            let path = if *grant { path } else { format!("{path}/delete") };
            send(Method::POST, path, json!({ "items": items }))
        }
        other => bail!("{other:?} is no step about services"),
    }
}

fn group_id(session: &Session, client: &str, code: &str) -> anyhow::Result<String> {
    let groups = session.list(format!("/clients/{}/local-groups", encode(client)))?;
    let group = groups.iter().find(|group| field(group, "code") == code);
    Ok(field(group.with_context(|| format!("{client} has no group {code}"))?, "id"))
}

/// The description and the service of a code with its version.
fn described(session: &Session, client: &str, code: &str) -> anyhow::Result<(Value, Value)> {
    for description in session.list(format!("/clients/{}/service-descriptions", encode(client)))? {
        for service in description["services"].as_array().into_iter().flatten() {
            let full = field(service, "full_service_code");
            let full = full.rsplit(':').next().unwrap_or(&full);
            if full == code || (full.is_empty() && field(service, "service_code") == code) {
                return Ok((description.clone(), service.clone()));
            }
        }
    }
    bail!("{client} has no service {code}")
}

fn endpoint_id(service: &Value, method: &str, path: &str) -> Option<String> {
    let endpoints = service["endpoints"].as_array()?;
    let is = |one: &&Value| field(one, "method") == method && field(one, "path") == path;
    endpoints.iter().find(is).map(|one| field(one, "id"))
}

/// Whether the state is still what a plan was made from.
pub(crate) fn unmoved(now: &now::Now, hash: &str) -> Result<(), Usage> {
    match now.hash() == hash {
        true => Ok(()),
        false => Err(Usage("the servers have changed since the plan was made: make another".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::connection::Answer;

    #[test]
    fn what_the_central_server_refused_is_not_asked_again() {
        let cases = [
            ("core.io_error", "nobody listens", true, None),
            ("core.ssl_authentication_failed", "no OCSP answer yet", true, None),
            (
                "core.internal_error",
                "management_request_server_not_found with statusCode 404",
                true,
                Some("management_request_server_not_found"),
            ),
            (
                "core.internal_error",
                "management_request_client_already_registered with statusCode 409",
                false,
                Some("management_request_client_already_registered"),
            ),
            ("action_not_possible", "x", false, None),
        ];
        for (code, text, waits, behind) in cases {
            let body = json!({ "status": 500, "error": { "code": code, "metadata": [text, "tr.null"] } });
            let answer =
                Answer { status: 500, headers: http::HeaderMap::new(), body: body.to_string().into() };
            let error = anyhow::Error::from(Failure::of(&answer, "PUT /x".into(), "ss1", true));
            assert_eq!((is_on_the_way(&error), refusal_behind(&error)), (waits, behind), "{code} {text}");
        }
    }
}
