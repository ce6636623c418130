//! Whether something may happen, and what then happens. Pure: nothing but the state and the command is looked at.
//!
//! A command leads to one event, or to several where one thing brings another along: an owner joins the group of owners with its
//! first server and leaves it with its last, the first signing key of a source becomes active.

use pki::cert::Certificate;
use pki::name::COMMON_NAME;
use pki::profile::Profile;
use proto::globalconf::anchor::Anchor;
use proto::globalconf::{
    PRIVATE_PARAMETERS, PRIVATE_PARAMETERS_FILE, SHARED_PARAMETERS, SHARED_PARAMETERS_FILE,
};
use proto::globalconf::{metadata, optional_parts};
use proto::id::{ClientId, MemberId, ServerId};

use super::command::{CaSettings, Command, Parameter};
use super::event::{Blob, CaProfile, Event, PublishedPart, Responder, SourceKind, Tsa};
use super::refusal::Refusal;
use super::request;
use super::state::{OWNERS_GROUP, State, id_of};

/// Longest code, name, description, address or URL.
const MAX_TEXT_BYTES: usize = 1024;
/// Longest code in characters, as in the reference's database.
const MAX_CODE_CHARS: usize = 255;
/// Largest certificate: its event must fit a stored value.
const MAX_CERT_BYTES: usize = 32 * 1024;
/// Largest trusted anchor: likewise.
const MAX_ANCHOR_BYTES: usize = 40 * 1024;
/// Largest optional part, as configuration clients take it.
const MAX_PART_BYTES: usize = 16 << 20;
/// Most keys of one source.
const MAX_KEYS: usize = 2;
/// Package of the certificate profiles, where a command leaves it out.
const PROFILE_PACKAGE: &str = "ee.ria.xroad.common.certificateprofile.impl.";

type Decision = Result<Vec<Event>, Refusal>;

/// Judges a command.
///
/// # Errors
/// The rule that stands against it.
pub fn decide(state: &State, command: Command) -> Decision {
    if state.instance.is_none() && !matches!(command, Command::Initialise { .. }) {
        return Err(Refusal::NotInitialised);
    }
    let one = |event: Event| Ok(vec![event]);
    match command {
        Command::Initialise { instance, address } => initialise(state, instance, address),
        Command::SetAddress { address } => one(Event::AddressSet { address: host(address)? }),
        Command::SetParameter(parameter) => one(parameter_event(state, parameter)?),
        Command::AddMemberClass { code, description } => {
            let code = self::code("member class", code)?;
            absent(!state.member_classes.contains_key(&code), "member class", &code)?;
            one(Event::MemberClassDescribed { code, description: text("description", description)? })
        }
        Command::DescribeMemberClass { code, description } => {
            known(state.member_classes.contains_key(&code), "member class", &code)?;
            one(Event::MemberClassDescribed { code, description: text("description", description)? })
        }
        Command::RemoveMemberClass { code } => {
            known(state.member_classes.contains_key(&code), "member class", &code)?;
            unused(
                !state.members.keys().any(|id| id.class == code),
                "member class",
                &code,
                "it has members",
            )?;
            one(Event::MemberClassRemoved { code })
        }
        Command::AddMember { id, name } => one(add_member(state, id, name)?),
        Command::RenameMember { id, name } => {
            known_member(state, &id)?;
            one(Event::MemberRenamed { id, name: text("name", name)? })
        }
        Command::RemoveMember { id } => one(remove_member(state, id)?),
        Command::AddSubsystem { id, name } => one(add_subsystem(state, id, name)?),
        Command::RenameSubsystem { id, name } => {
            known_subsystem(state, &id)?;
            one(Event::SubsystemRenamed { id, name: optional_text("name", name)? })
        }
        Command::RemoveSubsystem { id } => {
            known_subsystem(state, &id)?;
            let provides = state.management_provider.as_ref() == Some(&id);
            unused(!provides, "subsystem", &id, "it offers the management services")?;
            let registered = state.servers.values().any(|server| server.clients.contains_key(&id));
            unused(!registered, "subsystem", &id, "it is a client of a security server")?;
            one(Event::SubsystemRemoved { id })
        }
        Command::AddServer { .. }
        | Command::SetServerAddress { .. }
        | Command::SetMaintenance { .. }
        | Command::RemoveServer { .. }
        | Command::AddAuthCert { .. }
        | Command::RemoveAuthCert { .. }
        | Command::AddServerClient { .. }
        | Command::EnableServerClient { .. }
        | Command::RemoveServerClient { .. } => about_servers(state, command),
        Command::AddGroup { .. }
        | Command::DescribeGroup { .. }
        | Command::RemoveGroup { .. }
        | Command::AddGroupMember { .. }
        | Command::RemoveGroupMember { .. } => one(about_groups(state, command)?),
        Command::SetManagementProvider { provider } => {
            known_subsystem(state, &provider)?;
            one(Event::ManagementProviderSet { provider })
        }
        Command::AddTrustedAnchor { anchor } => one(add_trusted_anchor(anchor)?),
        Command::RemoveTrustedAnchor { instance } => {
            known(state.trusted_anchors.contains_key(&instance), "trusted anchor", &instance)?;
            one(Event::TrustedAnchorRemoved { instance })
        }
        Command::PublishPart { content_identifier, file_name, bytes } => {
            one(publish_part(state, content_identifier, file_name, &bytes)?)
        }
        Command::WithdrawPart { content_identifier } => {
            known(state.parts.contains_key(&content_identifier), "configuration part", &content_identifier)?;
            one(Event::PartWithdrawn { content_identifier })
        }
        Command::AddCa { .. }
        | Command::ChangeCa { .. }
        | Command::RemoveCa { .. }
        | Command::AddIntermediateCa { .. }
        | Command::RemoveIntermediateCa { .. }
        | Command::AddOcspResponder { .. }
        | Command::RemoveOcspResponder { .. }
        | Command::ChangeOcspResponder { .. }
        | Command::DropOcspResponder { .. }
        | Command::AddTsa { .. }
        | Command::ChangeTsa { .. }
        | Command::DropTsa { .. }
        | Command::RemoveTsa { .. } => one(about_trust_services(state, command)?),
        Command::AddSigningKey { source, key, cert, label } => {
            add_signing_key(state, source, key, &cert, text("label", label)?)
        }
        Command::RecreateAnchor { source } => {
            known(state.keys_of(source).next().is_some(), "signing key", source.name())?;
            one(Event::AnchorRecreated { source })
        }
        Command::SubmitRequest(submission) => request::submit(state, *submission),
        Command::ApproveRequest { id } => request::approve(state, id),
        Command::WithdrawRequest { id } => request::withdraw(state, id),
        Command::DeleteServer { id } => request::delete_server(state, &id),
        Command::ActivateSigningKey { key } => {
            known(state.signing_keys.iter().any(|each| each.key == key), "signing key", &key)?;
            one(Event::SigningKeyActivated { key })
        }
        Command::RemoveSigningKey { key } => {
            let found = state.signing_keys.iter().find(|each| each.key == key);
            let found = found.ok_or_else(|| Refusal::unknown("signing key", &key))?;
            unused(!found.active, "signing key", &key, "it is active: activate another one first")?;
            one(Event::SigningKeyRemoved { key })
        }
    }
}

fn initialise(state: &State, instance: String, address: String) -> Decision {
    if let Some(instance) = &state.instance {
        return Err(Refusal::AlreadyInitialised { instance: instance.clone() });
    }
    Ok(vec![
        Event::Initialised { instance: code("instance", instance)?, address: host(address)? },
        Event::GroupDescribed { code: OWNERS_GROUP.into(), description: "Security server owners".into() },
    ])
}

fn parameter_event(state: &State, parameter: Parameter) -> Result<Event, Refusal> {
    let now = &state.parameters;
    let range = |name, value, from, to| {
        if (from..=to).contains(&value) { Ok(value) } else { Err(Refusal::OutOfRange { name, from, to }) }
    };
    Ok(match parameter {
        // A timestamp that comes later than OCSP answers are believed would prove nothing.
        Parameter::OcspFreshness(seconds) => Event::OcspFreshnessSet {
            seconds: range("the OCSP freshness", seconds, now.timestamping_interval_seconds + 1, 7 * 86_400)?,
        },
        Parameter::TimestampingInterval(seconds) => Event::TimestampingIntervalSet {
            seconds: range(
                "the timestamping interval",
                seconds,
                60,
                86_400.min(now.ocsp_freshness_seconds.saturating_sub(1)),
            )?,
        },
        Parameter::ConfExpireInterval(seconds) => Event::ConfExpireIntervalSet {
            seconds: range("the expiry of the configuration", seconds, 120, 7 * 86_400)?,
        },
        Parameter::AuthCertRegUrl(url) => {
            Event::AuthCertRegUrlSet { url: url.map(|url| self::url(url, &["https"])).transpose()? }
        }
        Parameter::AuthCertRegCert(cert) => {
            let cert = cert.map(|cert| certificate(&cert)).transpose()?;
            Event::AuthCertRegCertSet { cert: cert.map(|cert| der(&cert)) }
        }
    })
}

fn add_member(state: &State, id: MemberId, name: String) -> Result<Event, Refusal> {
    own_instance(state, &id.instance)?;
    known(state.member_classes.contains_key(&id.class), "member class", &id.class)?;
    check_code("member code", &id.code)?;
    absent(!state.members.contains_key(&id), "member", &id)?;
    Ok(Event::MemberAdded { id, name: text("name", name)? })
}

fn remove_member(state: &State, id: MemberId) -> Result<Event, Refusal> {
    known_member(state, &id)?;
    unused(
        !state.servers.keys().any(|server| server.owner == id),
        "member",
        &id,
        "it owns security servers",
    )?;
    let provides = state.management_provider.as_ref().is_some_and(|provider| provider.member == id);
    unused(!provides, "member", &id, "it offers the management services")?;
    Ok(Event::MemberRemoved { id })
}

fn add_subsystem(state: &State, id: ClientId, name: Option<String>) -> Result<Event, Refusal> {
    known_member(state, &id.member)?;
    let code = id.subsystem.as_deref().ok_or(Refusal::NotASubsystem { id: id.clone() })?;
    check_code("subsystem code", code)?;
    absent(!state.knows(&id), "subsystem", &id)?;
    Ok(Event::SubsystemAdded { id, name: optional_text("name", name)? })
}

fn about_servers(state: &State, command: Command) -> Decision {
    let server = |id: &ServerId| state.servers.get(id).ok_or_else(|| Refusal::unknown("security server", id));
    let one = |event: Event| Ok(vec![event]);
    match command {
        Command::AddServer { id, address } => add_server(state, id, address),
        Command::SetServerAddress { id, address } => {
            server(&id)?;
            one(Event::ServerAddressSet { id, address: address.map(host).transpose()? })
        }
        Command::SetMaintenance { id, mode } => {
            server(&id)?;
            let on = mode.is_some();
            one(Event::MaintenanceSet { id, on, message: optional_text("message", mode.flatten())? })
        }
        Command::RemoveServer { id } => {
            server(&id)?;
            let last = !state.servers.keys().any(|other| other.owner == id.owner && *other != id);
            let owner = ClientId { member: id.owner.clone(), subsystem: None };
            let mut events = vec![Event::ServerRemoved { id }];
            if last && is_owner_listed(state, &owner) {
                events.push(Event::GroupMemberRemoved { group: OWNERS_GROUP.into(), member: owner });
            }
            Ok(events)
        }
        Command::AddAuthCert { server: id, cert } => {
            server(&id)?;
            one(Event::AuthCertAdded { cert: auth_cert(state, &cert)?, server: id })
        }
        Command::RemoveAuthCert { server: id, cert } => {
            known(server(&id)?.auth_certs.contains_key(&cert), "authentication certificate", &cert)?;
            one(Event::AuthCertRemoved { server: id, cert })
        }
        Command::AddServerClient { server: id, client } => {
            let clients = &server(&id)?.clients;
            known(state.knows(&client), "client", &client)?;
            let is_owner = client.subsystem.is_none() && client.member == id.owner;
            absent(!is_owner && !clients.contains_key(&client), "client of the server", &client)?;
            one(Event::ServerClientAdded { server: id, client })
        }
        Command::EnableServerClient { server: id, client, enabled } => {
            known(server(&id)?.clients.contains_key(&client), "client of the server", &client)?;
            one(Event::ServerClientEnabled { server: id, client, enabled })
        }
        Command::RemoveServerClient { server: id, client } => {
            known(server(&id)?.clients.contains_key(&client), "client of the server", &client)?;
            one(Event::ServerClientRemoved { server: id, client })
        }
        other => Err(Refusal::Misdirected { asked: other.name() }),
    }
}

fn add_server(state: &State, id: ServerId, address: Option<String>) -> Decision {
    known_member(state, &id.owner)?;
    check_code("server code", &id.code)?;
    absent(!state.servers.contains_key(&id), "security server", &id)?;
    let owner = ClientId { member: id.owner.clone(), subsystem: None };
    let mut events = vec![Event::ServerAdded { id, address: address.map(host).transpose()? }];
    if state.groups.contains_key(OWNERS_GROUP) && !is_owner_listed(state, &owner) {
        events.push(Event::GroupMemberAdded { group: OWNERS_GROUP.into(), member: owner });
    }
    Ok(events)
}

fn is_owner_listed(state: &State, owner: &ClientId) -> bool {
    state.groups.get(OWNERS_GROUP).is_some_and(|group| group.members.contains(owner))
}

/// A certificate that no server has yet and that says it is for authentication.
fn auth_cert(state: &State, cert: &[u8]) -> Result<Blob, Refusal> {
    let cert = certificate(cert)?;
    if cert.is_authentication() != Ok(true) {
        return Err(Refusal::NotForAuthentication { subject: cert.subject() });
    }
    let id = id_of(cert.der());
    absent(
        !state.servers.values().any(|server| server.auth_certs.contains_key(&id)),
        "authentication certificate",
        &id,
    )?;
    Ok(der(&cert))
}

fn about_groups(state: &State, command: Command) -> Result<Event, Refusal> {
    let group = |code: &str| state.groups.get(code).ok_or_else(|| Refusal::unknown("global group", code));
    match command {
        Command::AddGroup { code, description } => {
            let code = self::code("group code", code)?;
            absent(!state.groups.contains_key(&code), "global group", &code)?;
            Ok(Event::GroupDescribed { code, description: text("description", description)? })
        }
        Command::DescribeGroup { code, description } => {
            group(&code)?;
            Ok(Event::GroupDescribed { code, description: text("description", description)? })
        }
        Command::RemoveGroup { code } => {
            group(&code)?;
            unused(code != OWNERS_GROUP, "global group", &code, "every instance has it")?;
            Ok(Event::GroupRemoved { code })
        }
        Command::AddGroupMember { group: code, member } => {
            let members = &group(&code)?.members;
            unused(code != OWNERS_GROUP, "global group", &code, "its members follow from the servers")?;
            known(state.knows(&member), "client", &member)?;
            absent(!members.contains(&member), "group member", &member)?;
            Ok(Event::GroupMemberAdded { group: code, member })
        }
        Command::RemoveGroupMember { group: code, member } => {
            unused(code != OWNERS_GROUP, "global group", &code, "its members follow from the servers")?;
            known(group(&code)?.members.contains(&member), "group member", &member)?;
            Ok(Event::GroupMemberRemoved { group: code, member })
        }
        other => Err(Refusal::Misdirected { asked: other.name() }),
    }
}

fn about_trust_services(state: &State, command: Command) -> Result<Event, Refusal> {
    let service = |ca: &str| state.service(ca).ok_or_else(|| Refusal::unknown("certification service", ca));
    let ca = |id: &str| state.ca(id).ok_or_else(|| Refusal::unknown("CA", id));
    match command {
        Command::AddCa { cert, settings } => {
            let cert = certificate(&cert)?;
            Ok(Event::CaAdded { settings: ca_profile(settings, &cert)?, cert: der(&cert) })
        }
        Command::ChangeCa { ca, settings } => {
            let top = &service(&ca)?.top;
            let cert = certificate(&top.cert.0)?;
            Ok(Event::CaChanged { settings: ca_profile(settings, &cert)?, ca: top.key() })
        }
        Command::RemoveCa { ca } => Ok(Event::CaRemoved { ca: service(&ca)?.top.key() }),
        Command::AddIntermediateCa { ca, cert } => {
            let ca = service(&ca)?.top.key();
            Ok(Event::IntermediateCaAdded { ca, cert: der(&certificate(&cert)?) })
        }
        Command::RemoveIntermediateCa { ca, intermediate } => {
            let service = service(&ca)?;
            let below = service.intermediates.iter().find(|ca| ca.is(&intermediate));
            let below = below.ok_or_else(|| Refusal::unknown("intermediate CA", &intermediate))?;
            Ok(Event::IntermediateCaRemoved { ca: service.top.key(), intermediate: below.key() })
        }
        Command::AddOcspResponder { ca: id, url, cert, cost } => {
            let url = self::url(url, &["http", "https"])?;
            let id = ca(&id)?.key();
            let cert = cert.map(|cert| certificate(&cert)).transpose()?.map(|cert| der(&cert));
            Ok(Event::OcspResponderAdded { ca: id, responder: Responder { number: 0, url, cert, cost } })
        }
        Command::RemoveOcspResponder { ca: id, url } => {
            let ca = ca(&id)?;
            known(ca.responders.iter().any(|r| r.url == url), "OCSP responder", &url)?;
            Ok(Event::OcspResponderRemoved { ca: ca.key(), url })
        }
        Command::ChangeOcspResponder { number, url, cert, cost } => {
            let present =
                state.responder(number).ok_or_else(|| Refusal::unknown("OCSP responder", number))?;
            let mut responder = present.clone();
            if let Some(url) = url {
                responder.url = self::url(url, &["http", "https"])?;
            }
            if let Some(cert) = cert {
                responder.cert = Some(der(&certificate(&cert)?));
            }
            responder.cost = cost.unwrap_or(responder.cost);
            Ok(Event::OcspResponderChanged { responder })
        }
        Command::DropOcspResponder { number } => {
            known(state.responder(number).is_some(), "OCSP responder", number)?;
            Ok(Event::OcspResponderDropped { number })
        }
        Command::AddTsa { name, url, cert, cost } => {
            let cert = certificate(&cert)?;
            let url = self::url(url, &["http", "https"])?;
            let name = display_name(name, &cert)?;
            Ok(Event::TsaAdded { tsa: Tsa { number: 0, name, url, cert: der(&cert), cost } })
        }
        Command::ChangeTsa { number, url, cert, cost } => {
            let present = state.tsas.iter().find(|tsa| tsa.number == number);
            let mut tsa = present.ok_or_else(|| Refusal::unknown("timestamping service", number))?.clone();
            if let Some(url) = url {
                tsa.url = self::url(url, &["http", "https"])?;
            }
            if let Some(cert) = cert {
                let cert = certificate(&cert)?;
                (tsa.name, tsa.cert) = (display_name(None, &cert)?, der(&cert));
            }
            tsa.cost = cost.unwrap_or(tsa.cost);
            Ok(Event::TsaChanged { tsa })
        }
        Command::DropTsa { number } => {
            known(state.tsas.iter().any(|tsa| tsa.number == number), "timestamping service", number)?;
            Ok(Event::TsaDropped { number })
        }
        Command::RemoveTsa { cert, url } => {
            let there = state.tsas.iter().any(|tsa| tsa.url == url && id_of(&tsa.cert.0) == cert);
            known(there, "timestamping service", &url)?;
            Ok(Event::TsaRemoved { cert, url })
        }
        other => Err(Refusal::Misdirected { asked: other.name() }),
    }
}

fn ca_profile(settings: CaSettings, cert: &Certificate) -> Result<CaProfile, Refusal> {
    let CaSettings { name, authentication_only, profile, default_csr_format, acme } = settings;
    if Profile::from_class_name(&profile).is_none() {
        return Err(Refusal::unknown("certificate profile", &profile));
    }
    let profile = if profile.contains('.') { profile } else { format!("{PROFILE_PACKAGE}{profile}") };
    if !matches!(default_csr_format.as_deref(), None | Some("PEM" | "DER")) {
        return Err(Refusal::Text { what: "CSR format", rule: "is PEM or DER" });
    }
    if let Some(acme) = &acme {
        url(acme.directory_url.clone(), &["http", "https"])?;
    }
    Ok(CaProfile { name: display_name(name, cert)?, authentication_only, profile, default_csr_format, acme })
}

fn display_name(name: Option<String>, cert: &Certificate) -> Result<String, Refusal> {
    let of_cert = || cert.subject_name().last(COMMON_NAME).map_or_else(|| cert.subject(), str::to_owned);
    text("name", name.unwrap_or_else(of_cert))
}

fn add_trusted_anchor(anchor: Vec<u8>) -> Result<Event, Refusal> {
    if anchor.len() > MAX_ANCHOR_BYTES {
        return Err(Refusal::TooLarge { what: "anchor", limit: MAX_ANCHOR_BYTES });
    }
    let instance = Anchor::read(&anchor)?.instance;
    check_code("instance", &instance)?;
    Ok(Event::TrustedAnchorAdded { instance, anchor: Blob(anchor) })
}

fn publish_part(
    state: &State,
    content_identifier: String,
    file_name: String,
    bytes: &[u8],
) -> Result<Event, Refusal> {
    if bytes.len() > MAX_PART_BYTES {
        return Err(Refusal::TooLarge { what: "configuration part", limit: MAX_PART_BYTES });
    }
    check_part_names(&content_identifier, &file_name)?;
    let other =
        state.parts.values().find(|p| p.file_name == file_name && p.content_identifier != content_identifier);
    absent(other.is_none(), "file name of a part", &file_name)?;
    optional_parts::check(&content_identifier, bytes)?;
    Ok(Event::PartPublished {
        part: PublishedPart { content_identifier, file_name, digest: id_of(bytes), published_at: None },
    })
}

/// Identifier and file name of an optional part: plain, and not those of the parts that every configuration has.
pub fn check_part_names(content_identifier: &str, file_name: &str) -> Result<(), Refusal> {
    let plain = |text: &str| {
        (1..=200).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            && !text.starts_with('.')
    };
    let reserved = [SHARED_PARAMETERS, PRIVATE_PARAMETERS].contains(&content_identifier)
        || [SHARED_PARAMETERS_FILE, PRIVATE_PARAMETERS_FILE].contains(&file_name)
        || file_name.ends_with(metadata::SUFFIX);
    if reserved || !plain(content_identifier) || !plain(file_name) {
        return Err(Refusal::Text {
            what: "name of a configuration part",
            rule: "is of letters, digits, dots, hyphens and underscores, and not one that every configuration has",
        });
    }
    Ok(())
}

fn add_signing_key(state: &State, source: SourceKind, key: String, cert: &[u8], label: String) -> Decision {
    absent(!state.signing_keys.iter().any(|each| each.key == key), "signing key", &key)?;
    if state.keys_of(source).count() >= MAX_KEYS {
        return Err(Refusal::TooManyKeys { of: source.name(), limit: MAX_KEYS });
    }
    let cert = der(&certificate(cert)?);
    let mut events = vec![Event::SigningKeyAdded { source, key: key.clone(), cert, label }];
    if state.active_key(source).is_none() {
        events.push(Event::SigningKeyActivated { key });
    }
    Ok(events)
}

fn own_instance(state: &State, instance: &str) -> Result<(), Refusal> {
    match &state.instance {
        Some(own) if own == instance => Ok(()),
        _ => Err(Refusal::OtherInstance { found: instance.to_owned() }),
    }
}

fn known_member(state: &State, id: &MemberId) -> Result<(), Refusal> {
    known(state.members.contains_key(id), "member", id)
}

fn known_subsystem(state: &State, id: &ClientId) -> Result<(), Refusal> {
    if id.subsystem.is_none() {
        return Err(Refusal::NotASubsystem { id: id.clone() });
    }
    known(state.knows(id), "subsystem", id)
}

fn known(is: bool, what: &'static str, id: impl std::fmt::Display) -> Result<(), Refusal> {
    if is { Ok(()) } else { Err(Refusal::unknown(what, id)) }
}

fn absent(is: bool, what: &'static str, id: impl std::fmt::Display) -> Result<(), Refusal> {
    if is { Ok(()) } else { Err(Refusal::Exists { what, id: id.to_string() }) }
}

fn unused(
    is: bool,
    what: &'static str,
    id: impl std::fmt::Display,
    because: &'static str,
) -> Result<(), Refusal> {
    if is { Ok(()) } else { Err(Refusal::InUse { what, id: id.to_string(), because }) }
}

fn certificate(bytes: &[u8]) -> Result<Certificate, Refusal> {
    if bytes.len() > MAX_CERT_BYTES {
        return Err(Refusal::TooLarge { what: "certificate", limit: MAX_CERT_BYTES });
    }
    Ok(Certificate::parse(bytes)?)
}

fn der(cert: &Certificate) -> Blob {
    Blob(cert.der().to_vec())
}

fn code(what: &'static str, code: String) -> Result<String, Refusal> {
    check_code(what, &code)?;
    Ok(code)
}

/// What every code may hold, and no white space around it, which nobody would see.
fn check_code(what: &'static str, code: &str) -> Result<(), Refusal> {
    let fits = (1..=MAX_CODE_CHARS).contains(&code.chars().count())
        && !proto::id::has_discouraged_character(code)
        && code.trim() == code
        && is_xml(code);
    let rule =
        "has 1 to 255 characters, none of : ; / \\ % or control characters, and no white space around it";
    if fits { Ok(()) } else { Err(Refusal::Text { what, rule }) }
}

fn text(what: &'static str, text: String) -> Result<String, Refusal> {
    let fits =
        (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control) && is_xml(&text);
    let rule = "has 1 to 1024 bytes and no control characters";
    if fits { Ok(text) } else { Err(Refusal::Text { what, rule }) }
}

fn optional_text(what: &'static str, text: Option<String>) -> Result<Option<String>, Refusal> {
    text.map(|text| self::text(what, text)).transpose()
}

fn is_xml(text: &str) -> bool {
    !text.contains(['\u{fffe}', '\u{ffff}'])
}

/// A host name or address, with a port where it needs one.
fn host(host: String) -> Result<String, Refusal> {
    let fits = (1..=MAX_CODE_CHARS).contains(&host.len())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'));
    let rule = "is a host name or an address";
    if fits { Ok(host) } else { Err(Refusal::Text { what: "address", rule }) }
}

fn url(url: String, schemes: &[&str]) -> Result<String, Refusal> {
    let host = url.split_once("://").filter(|(scheme, _)| schemes.contains(scheme)).map(|(_, rest)| rest);
    let fits = url.len() <= MAX_TEXT_BYTES
        && url.chars().all(|c| c.is_ascii_graphic())
        && host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if fits {
        Ok(url)
    } else {
        Err(Refusal::Text { what: "URL", rule: "starts with http:// or https:// and names a host" })
    }
}
