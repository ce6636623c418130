//! Management requests: what security servers and staff ask for, and what becomes of it.
//!
//! Registrations and owner changes wait for approval; the rest happens at once and is kept as a record. A registration asked for by both
//! sides is one matter with two requests, which share their status from then on. **Stored types** stand here; the decisions are pure.

use proto::id::{ClientId, MemberId, ServerId};
use proto::time::UnixTime;
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::decide::decide;
use super::event::{Blob, Event};
use super::refusal::{Refusal, RequestRefusal};
use super::state::{OWNERS_GROUP, State, id_of};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[expect(missing_docs, reason = "what a field holds, the variant says")]
pub enum RequestKind {
    /// An authentication certificate, and with it the server.
    AuthCertRegistration { cert: Blob, address: Option<String> },
    /// An authentication certificate goes.
    AuthCertDeletion { cert: Blob },
    /// A client of a server.
    ClientRegistration { client: ClientId, name: Option<String> },
    /// A client leaves a server.
    ClientDeletion { client: ClientId },
    /// A client takes no part for now.
    ClientDisable { client: ClientId },
    /// A client takes part again.
    ClientEnable { client: ClientId },
    /// Another name of a subsystem.
    ClientRename { client: ClientId, name: String },
    /// Another owner of a server.
    OwnerChange { client: ClientId },
    /// Another address of a server.
    AddressChange { address: String },
    /// A server goes into maintenance mode.
    MaintenanceEnable { message: Option<String> },
    /// A server comes back from maintenance mode.
    MaintenanceDisable,
}

impl RequestKind {
    /// As APIs name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AuthCertRegistration { .. } => "AUTH_CERT_REGISTRATION_REQUEST",
            Self::AuthCertDeletion { .. } => "AUTH_CERT_DELETION_REQUEST",
            Self::ClientRegistration { .. } => "CLIENT_REGISTRATION_REQUEST",
            Self::ClientDeletion { .. } => "CLIENT_DELETION_REQUEST",
            Self::ClientDisable { .. } => "CLIENT_DISABLE_REQUEST",
            Self::ClientEnable { .. } => "CLIENT_ENABLE_REQUEST",
            Self::ClientRename { .. } => "CLIENT_RENAME_REQUEST",
            Self::OwnerChange { .. } => "OWNER_CHANGE_REQUEST",
            Self::AddressChange { .. } => "ADDRESS_CHANGE_REQUEST",
            Self::MaintenanceEnable { .. } => "MAINTENANCE_MODE_ENABLE_REQUEST",
            Self::MaintenanceDisable => "MAINTENANCE_MODE_DISABLE_REQUEST",
        }
    }

    /// The client it is about.
    pub const fn client(&self) -> Option<&ClientId> {
        match self {
            Self::ClientRegistration { client, .. }
            | Self::ClientDeletion { client }
            | Self::ClientDisable { client }
            | Self::ClientEnable { client }
            | Self::ClientRename { client, .. }
            | Self::OwnerChange { client } => Some(client),
            _ => None,
        }
    }

    /// The certificate it is about.
    pub const fn cert(&self) -> Option<&Blob> {
        match self {
            Self::AuthCertRegistration { cert, .. } | Self::AuthCertDeletion { cert } => Some(cert),
            _ => None,
        }
    }
}

/// Which side asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Staff of the central server.
    Center,
    /// A security server.
    SecurityServer,
}

impl Origin {
    /// As APIs name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Center => "CENTER",
            Self::SecurityServer => "SECURITY_SERVER",
        }
    }
}

/// What became of a request that needs approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// One side has asked.
    Waiting,
    /// Both have.
    Submitted,
    /// It is done.
    Approved,
    /// Staff said no.
    Declined,
    /// It was taken back.
    Revoked,
}

impl Status {
    /// As APIs name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Submitted => "SUBMITTED FOR APPROVAL",
            Self::Approved => "APPROVED",
            Self::Declined => "DECLINED",
            Self::Revoked => "REVOKED",
        }
    }

    /// It may still be approved or turned down.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Submitted)
    }
}

/// A request as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagementRequest {
    /// Its number.
    pub id: u64,
    /// What is asked for.
    pub kind: RequestKind,
    /// By whom.
    pub origin: Origin,
    /// About which server.
    pub server: ServerId,
    /// What became of it; `None` for what happened at once.
    pub status: Option<Status>,
    /// The request of the other side about the same.
    pub pair: Option<u64>,
    /// For people.
    pub comments: Option<String>,
    /// When it was made.
    pub created_at: UnixTime,
}

/// What is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What is asked for.
    pub kind: RequestKind,
    /// By whom.
    pub origin: Origin,
    /// About which server.
    pub server: ServerId,
    /// For people.
    pub comments: Option<String>,
    /// Requests of this kind need nobody's approval where the member is known.
    pub automatic: bool,
    /// Staff approves it with the same stroke.
    pub approved: bool,
}

type Decision = Result<Vec<Event>, Refusal>;

/// A run of commands and events, each judged by what those before it left.
struct Story {
    state: State,
    events: Vec<Event>,
}

impl Story {
    fn from(state: &State) -> Self {
        Self { state: state.clone(), events: Vec::new() }
    }

    fn command(&mut self, command: Command) -> Result<(), Refusal> {
        let asked = command.name();
        for event in decide(&self.state, command)? {
            self.event(event, asked)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event, asked: &'static str) -> Result<(), Refusal> {
        // Times play no part in what is decided.
        self.state.apply(event.clone(), UnixTime(0)).map_err(|_| Refusal::Misdirected { asked })?;
        self.events.push(event);
        Ok(())
    }
}

/// Judges a request that is handed in.
///
/// # Errors
/// The rule against it.
pub(super) fn submit(state: &State, submission: Submission) -> Decision {
    let Submission { kind, origin, server, comments, automatic, approved } = submission;
    let known = state.servers.contains_key(&server);
    let mut story = Story::from(state);
    let mut pair = None;
    let mut status = None;
    let mut comments = comments;
    match &kind {
        RequestKind::AuthCertRegistration { cert, .. } => {
            pair = other_side_of_cert(state, &server, origin, cert)?;
            status = Some(if pair.is_some() { Status::Submitted } else { Status::Waiting });
        }
        RequestKind::ClientRegistration { client, .. } => {
            pair = other_side_of_client(state, &server, origin, client)?;
            status = Some(if pair.is_some() { Status::Submitted } else { Status::Waiting });
        }
        RequestKind::OwnerChange { client } => {
            check_owner_change(state, &server, client)?;
            status = Some(Status::Waiting);
        }
        RequestKind::AddressChange { .. } if known => {
            let old = state.servers[&server].address.as_deref().unwrap_or_default();
            comments = Some(commented(format!("Changing from '{old}'."), comments));
            happen_at_once(&mut story, &kind, &server)?;
        }
        _ => happen_at_once(&mut story, &kind, &server)?,
    }
    let id = state.numbers.request + 1;
    let event = Event::RequestSubmitted { id, kind, origin, server, status, pair, comments };
    story.event(event, "submit a management request")?;
    if approved || approves_itself(&story.state, id, automatic) {
        approve_in(&mut story, id)?;
    }
    Ok(story.events)
}

fn commented(first: String, more: Option<String>) -> String {
    match more {
        Some(more) => format!("{first} {more}"),
        None => first,
    }
}

/// What needs nobody's approval.
fn happen_at_once(story: &mut Story, kind: &RequestKind, server: &ServerId) -> Result<(), Refusal> {
    let id = server.clone();
    let known = story.state.servers.get(server).ok_or(RequestRefusal::ServerNotFound { server: id.clone() });
    match kind {
        RequestKind::AuthCertDeletion { cert } => delete_cert(story, server, cert),
        RequestKind::ClientDeletion { client } => delete_client(story, server, client),
        RequestKind::ClientDisable { client } => {
            let provider = story.state.management_provider.as_ref() == Some(client);
            refuse(provider, RequestRefusal::ProviderDisabled)?;
            enable(story, server, client, false)
        }
        RequestKind::ClientEnable { client } => enable(story, server, client, true),
        RequestKind::ClientRename { client, name } => {
            refuse(client.subsystem.is_none(), RequestRefusal::OnlySubsystemsAreRenamed)?;
            refuse(name.trim().is_empty(), RequestRefusal::InvalidSubsystemName)?;
            refuse(!known?.clients.contains_key(client), RequestRefusal::ServerClientNotFound)?;
            story.command(Command::RenameSubsystem { id: client.clone(), name: Some(name.clone()) })
        }
        RequestKind::AddressChange { address } => {
            known?;
            refuse(address.trim().is_empty(), RequestRefusal::InvalidServerAddress)?;
            story.command(Command::SetServerAddress { id, address: Some(address.clone()) })
        }
        RequestKind::MaintenanceEnable { message } => {
            let known = known?;
            let provider = story.state.management_provider.as_ref();
            let provides = provider.is_some_and(|provider| known.clients.contains_key(provider));
            refuse(provides, RequestRefusal::ProviderMaintained)?;
            refuse(known.maintenance.is_some(), RequestRefusal::InMaintenance { server: id.clone() })?;
            story.command(Command::SetMaintenance { id, mode: Some(message.clone()) })
        }
        RequestKind::MaintenanceDisable => {
            refuse(known?.maintenance.is_none(), RequestRefusal::NotInMaintenance { server: id.clone() })?;
            story.command(Command::SetMaintenance { id, mode: None })
        }
        RequestKind::AuthCertRegistration { .. }
        | RequestKind::ClientRegistration { .. }
        | RequestKind::OwnerChange { .. } => Err(Refusal::Misdirected { asked: kind.name() }),
    }
}

fn enable(story: &mut Story, server: &ServerId, client: &ClientId, enabled: bool) -> Result<(), Refusal> {
    let is_client = story.state.servers.get(server).is_some_and(|server| server.clients.contains_key(client));
    refuse(!is_client, RequestRefusal::ServerClientNotFound)?;
    story.command(Command::EnableServerClient { server: server.clone(), client: client.clone(), enabled })
}

/// Removes the certificate, or takes back the registration that waits for it.
fn delete_cert(story: &mut Story, server: &ServerId, cert: &Blob) -> Result<(), Refusal> {
    let cert_id = id_of(&cert.0);
    let holder = story.state.servers.iter().find(|(_, held)| held.auth_certs.contains_key(&cert_id));
    match holder.map(|(holder, _)| holder == server) {
        Some(true) => story.command(Command::RemoveAuthCert { server: server.clone(), cert: cert_id }),
        Some(false) => Err(RequestRefusal::InvalidAuthCertificate.into()),
        None => {
            let waiting = |request: &&ManagementRequest| {
                request.status == Some(Status::Waiting)
                    && request.server == *server
                    && matches!(&request.kind, RequestKind::AuthCertRegistration { cert: asked, .. } if asked == cert)
            };
            let found = story.state.requests.values().find(waiting).map(|request| request.id);
            let id = found.ok_or(RequestRefusal::InvalidAuthCertificate)?;
            set_status(story, id, Status::Revoked)
        }
    }
}

/// Takes the client off the server, or takes back the registration that waits.
fn delete_client(story: &mut Story, server: &ServerId, client: &ClientId) -> Result<(), Refusal> {
    let is_client = story.state.servers.get(server).is_some_and(|server| server.clients.contains_key(client));
    if is_client {
        return story.command(Command::RemoveServerClient { server: server.clone(), client: client.clone() });
    }
    let about = |request: &&ManagementRequest| {
        request.server == *server
            && matches!(&request.kind, RequestKind::ClientRegistration { client: asked, .. } if asked == client)
    };
    let of = |status| {
        story
            .state
            .requests
            .values()
            .filter(about)
            .find(|request| request.status == Some(status))
            .map(|r| r.id)
    };
    match (of(Status::Waiting), of(Status::Declined)) {
        (Some(id), _) => set_status(story, id, Status::Revoked),
        // The server tidies up after a request that was turned down; there is nothing to do but to record it.
        (None, Some(_)) => Ok(()),
        (None, None) => Err(RequestRefusal::ClientRegistrationNotFound.into()),
    }
}

/// The open request of the other side for the same certificate; refuses a second one of the same side.
fn other_side_of_cert(
    state: &State,
    server: &ServerId,
    origin: Origin,
    cert: &Blob,
) -> Result<Option<u64>, Refusal> {
    let owner_unknown = origin == Origin::Center && !state.members.contains_key(&server.owner);
    refuse(owner_unknown, RequestRefusal::ServerOwnerNotFound)?;
    let cert_id = id_of(&cert.0);
    let registered = state.servers.values().any(|server| server.auth_certs.contains_key(&cert_id));
    refuse(registered, RequestRefusal::SecurityServerExists)?;
    let same = |request: &ManagementRequest| matches!(&request.kind, RequestKind::AuthCertRegistration { cert: asked, .. } if asked == cert);
    only_the_other_side(state, same, |request| request.origin != origin && request.server == *server)
}

fn other_side_of_client(
    state: &State,
    server: &ServerId,
    origin: Origin,
    client: &ClientId,
) -> Result<Option<u64>, Refusal> {
    let is_owner = client.subsystem.is_none() && client.member == server.owner;
    refuse(is_owner, RequestRefusal::CannotRegisterOwner)?;
    if origin == Origin::Center {
        refuse(
            !state.servers.contains_key(server),
            RequestRefusal::ServerNotFoundForCenter { server: server.clone() },
        )?;
        let unknown = !state.members.contains_key(&client.member);
        refuse(unknown, RequestRefusal::MemberNotFound { client: client.clone() })?;
    }
    let registered = state.servers.get(server).is_some_and(|server| server.clients.contains_key(client));
    refuse(registered, RequestRefusal::ClientAlreadyRegistered)?;
    let same = |request: &ManagementRequest| {
        request.server == *server
            && matches!(&request.kind, RequestKind::ClientRegistration { client: asked, .. } if asked == client)
    };
    only_the_other_side(state, same, |request| request.origin != origin)
}

fn only_the_other_side(
    state: &State,
    same: impl Fn(&ManagementRequest) -> bool,
    completes: impl Fn(&ManagementRequest) -> bool,
) -> Result<Option<u64>, Refusal> {
    let open = |request: &&ManagementRequest| request.status.is_some_and(Status::is_open) && same(request);
    let open: Vec<&ManagementRequest> = state.requests.values().filter(open).collect();
    match open[..] {
        [] => Ok(None),
        [one] if completes(one) => Ok(Some(one.id)),
        [one] => Err(RequestRefusal::Exists { id: Some(one.id) }.into()),
        _ => Err(RequestRefusal::Exists { id: None }.into()),
    }
}

fn check_owner_change(state: &State, server: &ServerId, client: &ClientId) -> Result<(), Refusal> {
    let waiting = state.requests.values().any(|request| {
        request.status.is_some_and(Status::is_open)
            && request.server == *server
            && matches!(request.kind, RequestKind::OwnerChange { .. })
    });
    refuse(waiting, RequestRefusal::Exists { id: None })?;
    refuse(client.subsystem.is_some(), RequestRefusal::OwnerMustBeMember)?;
    let found = state.servers.get(server);
    let found = found.ok_or(RequestRefusal::ServerNotFoundForCenter { server: server.clone() })?;
    refuse(client.member == server.owner, RequestRefusal::ClientAlreadyOwner)?;
    refuse(!found.clients.contains_key(client), RequestRefusal::OwnerMustBeClient)?;
    let taken = ServerId { owner: client.member.clone(), code: server.code.clone() };
    refuse(state.servers.contains_key(&taken), RequestRefusal::ServerCodeExists)
}

fn approves_itself(state: &State, id: u64, automatic: bool) -> bool {
    let Some(request) = state.requests.get(&id) else { return false };
    let from_server = request.origin == Origin::SecurityServer;
    let wanted = automatic || request.status == Some(Status::Submitted);
    match &request.kind {
        RequestKind::AuthCertRegistration { .. } => {
            wanted && from_server && state.members.contains_key(&request.server.owner)
        }
        RequestKind::ClientRegistration { client, .. } => {
            let known =
                state.members.contains_key(&client.member) && state.servers.contains_key(&request.server);
            wanted && from_server && known
        }
        RequestKind::OwnerChange { client } => automatic && state.members.contains_key(&client.member),
        _ => false,
    }
}

/// Judges an approval.
///
/// # Errors
/// The rule against it.
pub(super) fn approve(state: &State, id: u64) -> Decision {
    let mut story = Story::from(state);
    approve_in(&mut story, id)?;
    Ok(story.events)
}

fn approve_in(story: &mut Story, id: u64) -> Result<(), Refusal> {
    let request = story.state.requests.get(&id).ok_or(RequestRefusal::NotFound)?.clone();
    let open = request.status.is_some_and(Status::is_open);
    refuse(!open, RequestRefusal::InvalidStateForApproval { id })?;
    match request.kind {
        RequestKind::AuthCertRegistration { cert, address } => {
            find_or_create(story, &request.server.owner)?;
            let server = request.server;
            if story.state.servers.contains_key(&server) {
                story.command(Command::SetServerAddress { id: server.clone(), address })?;
            } else {
                story.command(Command::AddServer { id: server.clone(), address })?;
            }
            story.command(Command::AddAuthCert { server, cert: cert.0 })?;
        }
        RequestKind::ClientRegistration { client, name } => {
            let known = story.state.servers.contains_key(&request.server);
            refuse(!known, RequestRefusal::ServerNotFoundAtApproval)?;
            find_or_create(story, &client.member)?;
            let name = name.filter(|name| !name.is_empty());
            if client.subsystem.is_some() && !story.state.knows(&client) {
                story.command(Command::AddSubsystem { id: client.clone(), name })?;
            } else if client.subsystem.is_some() && name.is_some() {
                story.command(Command::RenameSubsystem { id: client.clone(), name })?;
            }
            story.command(Command::AddServerClient { server: request.server, client })?;
        }
        RequestKind::OwnerChange { client } => change_owner(story, request.server, client.member)?,
        _ => return Err(RequestRefusal::InvalidStateForApproval { id }.into()),
    }
    set_status(story, id, Status::Approved)
}

/// A member that nobody has entered is named after its code; its class must be there.
fn find_or_create(story: &mut Story, id: &MemberId) -> Result<(), Refusal> {
    if story.state.members.contains_key(id) {
        return Ok(());
    }
    story.command(Command::AddMember { id: id.clone(), name: id.code.clone() })
}

fn change_owner(story: &mut Story, server: ServerId, owner: MemberId) -> Result<(), Refusal> {
    let asked = "change the owner of a security server";
    refuse(
        !story.state.servers.contains_key(&server),
        RequestRefusal::ServerNotFoundForCenter { server: server.clone() },
    )?;
    let unknown = !story.state.members.contains_key(&owner);
    refuse(unknown, RequestRefusal::MemberNotFound { client: owner.clone().client() })?;
    let taken = ServerId { owner: owner.clone(), code: server.code.clone() };
    refuse(story.state.servers.contains_key(&taken), RequestRefusal::ServerCodeExists)?;
    let before = server.owner.clone();
    story.event(Event::ServerOwnerChanged { server, owner: owner.clone() }, asked)?;
    let group = || OWNERS_GROUP.to_owned();
    let listed = |state: &State, member: &ClientId| {
        state.groups.get(OWNERS_GROUP).is_some_and(|group| group.members.contains(member))
    };
    let (before_client, owner_client) = (before.clone().client(), owner.client());
    let owns_more = story.state.servers.keys().any(|server| server.owner == before);
    if !owns_more && listed(&story.state, &before_client) {
        story.event(Event::GroupMemberRemoved { group: group(), member: before_client }, asked)?;
    }
    if story.state.groups.contains_key(OWNERS_GROUP) && !listed(&story.state, &owner_client) {
        story.event(Event::GroupMemberAdded { group: group(), member: owner_client }, asked)?;
    }
    Ok(())
}

/// Judges that staff turns a request down or takes its own one back.
///
/// # Errors
/// The rule against it.
pub(super) fn withdraw(state: &State, id: u64) -> Decision {
    let request = state.requests.get(&id).ok_or(RequestRefusal::NotFound)?;
    let Some(status) = request.status else { return Err(RequestRefusal::NotSupported.into()) };
    refuse(!status.is_open(), RequestRefusal::InvalidState)?;
    let own = request.origin == Origin::Center && request.pair.is_none();
    let mut story = Story::from(state);
    set_status(&mut story, id, if own { Status::Revoked } else { Status::Declined })?;
    Ok(story.events)
}

/// Sets the status of a request, and of that of the other side with it.
fn set_status(story: &mut Story, id: u64, status: Status) -> Result<(), Refusal> {
    let pair = story.state.requests.get(&id).and_then(|request| request.pair);
    let ids = std::iter::once(id).chain(pair).collect();
    story.event(Event::RequestStatusSet { ids, status }, "set the status of a management request")
}

/// Deletes a server with everything that belongs to it, and records the deletion requests that this implies.
///
/// # Errors
/// There is no such server.
pub(super) fn delete_server(state: &State, id: &ServerId) -> Decision {
    let server = state.servers.get(id).ok_or_else(|| Refusal::unknown("security server", id))?;
    let comment = Some(format!("{id} deletion"));
    let mut story = Story::from(state);
    let record = |kind| Submission {
        kind,
        origin: Origin::Center,
        server: id.clone(),
        comments: comment.clone(),
        automatic: false,
        approved: false,
    };
    for cert in server.auth_certs.values() {
        let events = submit(&story.state, record(RequestKind::AuthCertDeletion { cert: cert.clone() }))?;
        events.into_iter().try_for_each(|event| story.event(event, "delete a security server"))?;
    }
    for client in server.clients.keys() {
        let events = submit(&story.state, record(RequestKind::ClientDeletion { client: client.clone() }))?;
        events.into_iter().try_for_each(|event| story.event(event, "delete a security server"))?;
    }
    story.command(Command::RemoveServer { id: id.clone() })?;
    Ok(story.events)
}

fn refuse(is: bool, refusal: RequestRefusal) -> Result<(), Refusal> {
    if is { Err(refusal.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
