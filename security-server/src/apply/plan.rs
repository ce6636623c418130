//! From what a file wants and what is there to the events in between, with a line of report for each.
//!
//! Pure over the state. Every event is decided against the state that those before it make, so a mistake is found before anything is
//! changed, and its place in the file is known.

use std::collections::BTreeSet;
use std::fmt;

use pki::cert::Certificate;
use proto::id::{ClientId, ServerId, Subject};

use super::file::{self, Files, Id, Mistake};
use crate::serverconf::ServiceKind;
use crate::serverconf::event::{Endpoint, Event, ServiceSettings, Tsa, endpoint_text};
use crate::serverconf::state::{ClientState, State, UNDATED};
use crate::serverconf::url::ServiceUrl;

/// What happens to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It comes.
    Add,
    /// It changes.
    Modify,
    /// It goes.
    Remove,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What happens.
    pub change: Change,
    /// To what.
    pub what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.change {
            Change::Add => '+',
            Change::Modify => '~',
            Change::Remove => '-',
        };
        write!(f, "{sign} {}", self.what)
    }
}

/// Events in order with their report.
#[derive(Debug)]
pub(super) struct Plan {
    state: State,
    prune: bool,
    pub(super) events: Vec<Event>,
    pub(super) lines: Vec<Line>,
}

impl Plan {
    /// What leads from `state` to what `server` says; with `prune` also what it does not say is removed.
    pub(super) fn make(
        state: State,
        place: &str,
        server: &file::Server,
        files: &Files,
        prune: bool,
    ) -> Result<Self, Mistake> {
        let mut plan = Self { state, prune, events: Vec::new(), lines: Vec::new() };
        plan.identity(place, server)?;
        for (index, client) in server.clients.iter().enumerate() {
            plan.client(&format!("{place}.clients[{index}]"), client, files)?;
        }
        if prune {
            plan.prune_clients(place, server)?;
        }
        Ok(plan)
    }

    fn identity(&mut self, place: &str, server: &file::Server) -> Result<(), Mistake> {
        let id = ServerId { owner: server.owner.0.clone(), code: server.code.clone() };
        if self.state.server.as_ref() != Some(&id) {
            let what = format!("server {id}");
            self.push(place, Change::Add, what, Event::ServerNamed { id })?;
        }
        let Some(wanted) = &server.timestamping else { return Ok(()) };
        let tsas: Vec<Tsa> =
            wanted.iter().map(|tsa| Tsa { name: tsa.name.clone(), url: tsa.url.clone() }).collect();
        if self.state.tsas == tsas {
            return Ok(());
        }
        let names: Vec<_> = tsas.iter().map(|tsa| tsa.name.as_str()).collect();
        let what = format!(
            "timestamping services: {}",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        );
        self.push(&format!("{place}.timestamping"), Change::Modify, what, Event::TimestampingSet { tsas })
    }

    fn client(&mut self, place: &str, wanted: &file::Client, files: &Files) -> Result<(), Mistake> {
        let id = &wanted.id.0;
        let known = self.state.clients.get(id).map(|client| client.connection);
        match (known, wanted.connection) {
            (None, connection) => {
                let event =
                    Event::ClientAdded { client: id.clone(), connection: connection.unwrap_or_default() };
                self.push(place, Change::Add, format!("client {id}"), event)?;
            }
            (Some(present), Some(connection)) if present != connection => {
                let event = Event::ConnectionSet { client: id.clone(), connection };
                self.push(place, Change::Modify, format!("client {id}: connection type"), event)?;
            }
            (Some(_), _) => {}
        }
        self.tls_certs(place, wanted, files)?;
        // First, so that a service that moved to another description is not in its own way.
        if self.prune {
            self.prune_client(place, wanted)?;
        }
        for (index, group) in wanted.groups.iter().enumerate() {
            self.group(&format!("{place}.groups[{index}]"), id, group)?;
        }
        for (index, service) in wanted.services.iter().enumerate() {
            self.service(&format!("{place}.services[{index}]"), id, service, &wanted.services[..index])?;
        }
        if self.prune { self.prune_groups(place, wanted) } else { Ok(()) }
    }

    fn tls_certs(&mut self, place: &str, wanted: &file::Client, files: &Files) -> Result<(), Mistake> {
        let client = &wanted.id.0;
        let mut named = BTreeSet::new();
        for (index, path) in wanted.tls_certificates.iter().enumerate() {
            let place = format!("{place}.tls-certificates[{index}]");
            let bytes = files.read(&place, path)?;
            let cert = Certificate::parse(&bytes).map_err(|e| {
                Mistake::new(
                    &place,
                    format!("{}: {e}; a certificate in PEM or DER is wanted", path.display()),
                )
            })?;
            let der = cert.der().to_vec();
            if !self.known(client).tls_certs.contains(&der) {
                let what = format!("client {client}: TLS certificate {}", cert.subject());
                self.push(
                    &place,
                    Change::Add,
                    what,
                    Event::TlsCertAdded { client: client.clone(), der: der.clone() },
                )?;
            }
            named.insert(der);
        }
        if self.prune {
            let gone: Vec<_> = self.known(client).tls_certs.difference(&named).cloned().collect();
            for der in gone {
                let what = format!("client {client}: a TLS certificate");
                self.push(
                    place,
                    Change::Remove,
                    what,
                    Event::TlsCertRemoved { client: client.clone(), der },
                )?;
            }
        }
        Ok(())
    }

    fn group(&mut self, place: &str, client: &ClientId, wanted: &file::Group) -> Result<(), Mistake> {
        let group = wanted.code.clone();
        if !self.known(client).groups.contains_key(&group) {
            let description = wanted.description.clone();
            let event = Event::GroupAdded { client: client.clone(), group: group.clone(), description };
            self.push(place, Change::Add, format!("client {client}: local group {group}"), event)?;
        }
        let members: BTreeSet<_> = wanted.members.iter().map(|Id(member)| member.clone()).collect();
        let present = self.known(client).groups.get(&group).map(|g| g.members.keys().cloned().collect());
        let present: BTreeSet<_> = present.unwrap_or_default();
        for member in members.difference(&present) {
            let what = format!("client {client}: {member} in local group {group}");
            let event = Event::GroupMemberAdded {
                client: client.clone(),
                group: group.clone(),
                member: member.clone(),
            };
            self.push(place, Change::Add, what, event)?;
        }
        for member in present.difference(&members).filter(|_| self.prune).cloned().collect::<Vec<_>>() {
            let what = format!("client {client}: {member} in local group {group}");
            let event = Event::GroupMemberRemoved { client: client.clone(), group: group.clone(), member };
            self.push(place, Change::Remove, what, event)?;
        }
        Ok(())
    }

    fn service(
        &mut self,
        place: &str,
        client: &ClientId,
        wanted: &file::Service,
        before: &[file::Service],
    ) -> Result<(), Mistake> {
        self.description(place, client, wanted, before)?;
        let mut settings = settings(wanted);
        let (code, version) = (wanted.code.clone(), wanted.version.clone());
        let name = match &version {
            Some(version) => format!("service {client}/{code} {version}"),
            None => format!("service {client}/{code}"),
        };
        let known = self.known(client);
        let present = known.description_of(&code, version.as_deref());
        let key = (code.clone(), version.clone());
        // A file says nothing about titles.
        settings.title = present.and_then(|(_, description)| description.services[&key].title.clone());
        match present.map(|(url, description)| (url == &wanted.url, &description.services[&key])) {
            Some((true, present)) if *present == settings => {}
            Some((true, _)) => {
                let event =
                    Event::ServiceChanged { client: client.clone(), code: code.clone(), version, settings };
                self.push(place, Change::Modify, name.clone(), event)?;
            }
            Some((false, _)) => {
                let problem =
                    format!("{name} belongs to another description here: remove that first, or use --prune");
                return Err(Mistake::new(place, problem));
            }
            None => {
                let (client, description) = (client.clone(), wanted.url.clone());
                let event =
                    Event::ServiceAdded { client, description, code: code.clone(), version, settings };
                self.push(place, Change::Add, name.clone(), event)?;
            }
        }
        self.rights(place, client, &name, &code, &Endpoint::service_level(), &wanted.access)?;
        for (index, endpoint) in wanted.endpoints.iter().enumerate() {
            self.endpoint(&format!("{place}.endpoints[{index}]"), client, &name, &code, endpoint)?;
        }
        Ok(())
    }

    /// Services that share a URL share its description, so they must agree about it.
    fn description(
        &mut self,
        place: &str,
        client: &ClientId,
        wanted: &file::Service,
        before: &[file::Service],
    ) -> Result<(), Mistake> {
        let disabled = (!wanted.enabled).then(|| wanted.notice.clone().unwrap_or_default());
        if let Some(other) = before.iter().find(|other| other.url == wanted.url)
            && (other.enabled, &other.notice, other.r#type) != (wanted.enabled, &wanted.notice, wanted.r#type)
        {
            let problem = "type, enabled and notice must be those of the other service with this url";
            return Err(Mistake::new(place, problem));
        }
        let (url, what) = (wanted.url.clone(), format!("description {} of {client}", wanted.url));
        match self.known(client).descriptions.get(&url) {
            None => {
                let event =
                    Event::DescriptionAdded { client: client.clone(), url, kind: wanted.r#type, disabled };
                self.push(place, Change::Add, what, event)
            }
            Some(present) if present.kind != wanted.r#type => {
                Err(Mistake::new(place, "the type of a description cannot be changed: remove it first"))
            }
            Some(present) if present.disabled != disabled => {
                let state = if disabled.is_some() { "disabled" } else { "enabled" };
                let event = Event::DescriptionSwitched { client: client.clone(), url, disabled };
                self.push(place, Change::Modify, format!("{what}: {state}"), event)
            }
            Some(_) => Ok(()),
        }
    }

    fn endpoint(
        &mut self,
        place: &str,
        client: &ClientId,
        service: &str,
        code: &str,
        wanted: &file::ServiceEndpoint,
    ) -> Result<(), Mistake> {
        let endpoint = Endpoint { method: wanted.method.clone(), path: wanted.path.clone() };
        let there = self.known(client).endpoints.get(code).is_some_and(|all| all.contains_key(&endpoint));
        if !there {
            let what = format!("{service}: endpoint {}", endpoint_text(&endpoint));
            let (client, code, endpoint) = (client.clone(), code.to_owned(), endpoint.clone());
            self.push(
                place,
                Change::Add,
                what,
                Event::EndpointAdded { client, code, endpoint, generated: false },
            )?;
        }
        self.rights(place, client, service, code, &endpoint, &wanted.access)
    }

    fn rights(
        &mut self,
        place: &str,
        client: &ClientId,
        service: &str,
        code: &str,
        endpoint: &Endpoint,
        wanted: &[Id<Subject>],
    ) -> Result<(), Mistake> {
        let wanted: BTreeSet<_> = wanted.iter().map(|Id(subject)| subject.clone()).collect();
        let present = self.known(client).endpoints.get(code).and_then(|all| all.get(endpoint));
        let present: BTreeSet<_> = present.into_iter().flat_map(|e| e.rights.keys().cloned()).collect();
        let (client, code, endpoint) = (client.clone(), code.to_owned(), endpoint.clone());
        let what = |subject: &Subject| format!("{service}: {} for {subject}", endpoint_text(&endpoint));
        for subject in wanted.difference(&present).cloned() {
            let line = what(&subject);
            let (client, code, endpoint) = (client.clone(), code.clone(), endpoint.clone());
            self.push(place, Change::Add, line, Event::RightGranted { client, code, endpoint, subject })?;
        }
        for subject in present.difference(&wanted).filter(|_| self.prune).cloned().collect::<Vec<_>>() {
            let line = what(&subject);
            let (client, code, endpoint) = (client.clone(), code.clone(), endpoint.clone());
            self.push(place, Change::Remove, line, Event::RightRevoked { client, code, endpoint, subject })?;
        }
        Ok(())
    }

    fn prune_client(&mut self, place: &str, wanted: &file::Client) -> Result<(), Mistake> {
        let client = wanted.id.0.clone();
        let known = self.known(&client).clone();
        for (url, description) in &known.descriptions {
            if wanted.services.iter().all(|service| &service.url != url) {
                let event = Event::DescriptionRemoved { client: client.clone(), url: url.clone() };
                self.push(place, Change::Remove, format!("description {url} of {client}"), event)?;
                continue;
            }
            for (code, version) in description.services.keys() {
                if wanted.services.iter().all(|s| (&s.url, &s.code, &s.version) != (url, code, version)) {
                    let (client, code, version) = (client.clone(), code.clone(), version.clone());
                    let what = format!("service {client}/{code}");
                    self.push(place, Change::Remove, what, Event::ServiceRemoved { client, code, version })?;
                }
            }
        }
        for (code, endpoints) in &self.known(&client).endpoints.clone() {
            let named = |endpoint: &Endpoint| {
                wanted.services.iter().filter(|service| &service.code == code).any(|service| {
                    let mut all = service.endpoints.iter();
                    all.any(|e| e.method == endpoint.method && e.path == endpoint.path)
                })
            };
            let base = Endpoint::service_level();
            for endpoint in endpoints.keys().filter(|endpoint| **endpoint != base && !named(endpoint)) {
                let what = format!("service {client}/{code}: endpoint {}", endpoint_text(endpoint));
                let (client, code, endpoint) = (client.clone(), code.clone(), endpoint.clone());
                self.push(place, Change::Remove, what, Event::EndpointRemoved { client, code, endpoint })?;
            }
        }
        Ok(())
    }

    /// Last, when rights that the file does not name are gone.
    fn prune_groups(&mut self, place: &str, wanted: &file::Client) -> Result<(), Mistake> {
        let client = wanted.id.0.clone();
        let known = self.known(&client).clone();
        for group in known.groups.keys().filter(|code| wanted.groups.iter().all(|g| &g.code != *code)) {
            let what = format!("client {client}: local group {group}");
            let event = Event::GroupRemoved { client: client.clone(), group: group.clone() };
            self.push(place, Change::Remove, what, event)?;
        }
        Ok(())
    }

    fn prune_clients(&mut self, place: &str, server: &file::Server) -> Result<(), Mistake> {
        let owner = server.owner.0.clone().client();
        let gone: Vec<_> = self
            .state
            .clients
            .keys()
            .filter(|id| **id != owner && server.clients.iter().all(|client| &client.id.0 != *id))
            .cloned()
            .collect();
        for client in gone {
            self.push(place, Change::Remove, format!("client {client}"), Event::ClientRemoved { client })?;
        }
        Ok(())
    }

    /// Decides, applies to the planned state, reports.
    fn push(&mut self, place: &str, change: Change, what: String, event: Event) -> Result<(), Mistake> {
        self.state.decide(&event).map_err(|refusal| Mistake::new(place, refusal))?;
        // Only the order matters here; the time is that of the record.
        self.state.apply(UNDATED, event.clone()).map_err(|damage| Mistake::new(place, damage))?;
        self.events.push(event);
        self.lines.push(Line { change, what });
        Ok(())
    }

    fn known(&self, client: &ClientId) -> &ClientState {
        &self.state.clients[client]
    }
}

fn settings(wanted: &file::Service) -> ServiceSettings {
    let url = wanted.service_url.clone().unwrap_or_else(|| wanted.url.clone());
    // As the reference: on for https. Plain http has nothing to verify.
    let https = ServiceUrl::parse(&url).is_ok_and(|url| url.https);
    let verify_tls = wanted.verify_tls.unwrap_or(https);
    ServiceSettings { verify_tls, timeout_seconds: wanted.timeout, url, title: None }
}

/// A WSDL or OpenAPI document is not where calls go; without a place of their own they would go nowhere useful.
pub(super) fn check_service_urls(place: &str, server: &file::Server) -> Result<(), Mistake> {
    for (c, client) in server.clients.iter().enumerate() {
        for (s, service) in client.services.iter().enumerate() {
            if service.r#type != ServiceKind::Rest && service.service_url.is_none() {
                let place = format!("{place}.clients[{c}].services[{s}]");
                let problem = "`url` is where the description is: say with `service-url` where calls go";
                return Err(Mistake::new(place, problem));
            }
        }
    }
    Ok(())
}
