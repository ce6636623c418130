//! Member classes, members, subsystems, and the list of both.

use admin_api::check::{DESCRIPTION, IDENTIFIER_CHARS, NO_CONTROL_CHARS, Rule, SIZE};
use admin_api::page::{Page, SortKey};
use admin_api::types::central_server::{
    Client, ClientId as ClientIdBody, Description, MemberAdd, MemberClass, MemberClassAdd, MemberGlobalGroup,
    MemberName, PagedClients, Subsystem, SubsystemAdd, SubsystemName, UsedSecurityServer,
};
use admin_api::types::date;
use admin_api::{Answer, Call, Check, Problem};
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;

use super::{Api, ids, servers};
use crate::registry::request::{Origin, RequestKind, Status, Submission};
use crate::registry::{Command, State};

/// Of codes.
pub(super) const CODE: [Rule; 3] = [NO_CONTROL_CHARS, IDENTIFIER_CHARS, SIZE];
/// Of names.
pub(super) const NAME: [Rule; 2] = [NO_CONTROL_CHARS, SIZE];
/// Of descriptions.
pub(super) const ABOUT: [Rule; 2] = [DESCRIPTION, SIZE];

pub(super) fn classes(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let class =
        |(code, about): (&String, &String)| MemberClass { description: about.clone(), code: code.clone() };
    Answer::ok(&state.member_classes.iter().map(class).collect::<Vec<_>>())
}

pub(super) fn add_class(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: MemberClassAdd = call.json()?;
    let mut check = Check::new("memberClassDto");
    let code = check.required("code", asked.code, &CODE);
    let description = check.required("description", asked.description, &ABOUT);
    check.done()?;
    call.note("code", code.clone());
    call.note("description", description.clone());
    if api.state().member_classes.contains_key(&code) {
        return Err(Problem::conflict("member_class_exists").with(code));
    }
    api.execute(call, Command::AddMemberClass { code: code.clone(), description: description.clone() })?;
    let location = format!("/member-classes/{code}");
    Answer::created(&MemberClass { description, code }, &location)
}

fn known_class(state: &State, code: &str) -> Result<(), Problem> {
    if state.member_classes.contains_key(code) {
        return Ok(());
    }
    Err(Problem::missing("member_class_not_found").with("tr.code").with(code))
}

pub(super) fn describe_class(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: Description = call.json()?;
    let mut check = Check::new("memberClassDescriptionDto");
    let description = check.required("description", asked.description, &ABOUT);
    check.done()?;
    let code = call.path("code").to_owned();
    call.note("code", code.clone());
    call.note("description", description.clone());
    known_class(&api.state(), &code)?;
    api.execute(call, Command::DescribeMemberClass { code: code.clone(), description: description.clone() })?;
    Answer::ok(&MemberClass { description, code })
}

pub(super) fn remove_class(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let code = call.path("code").to_owned();
    call.note("code", code.clone());
    let state = api.state();
    known_class(&state, &code)?;
    if state.members.keys().any(|id| id.class == code) {
        return Err(Problem::conflict("member_class_is_in_use").with("tr.code").with(code));
    }
    api.execute(call, Command::RemoveMemberClass { code })?;
    Ok(Answer::empty(204))
}

fn own_instance(state: &State) -> Result<String, Problem> {
    state.instance.clone().ok_or_else(|| Problem::conflict("init_not_initialized"))
}

fn shown(name: Option<&str>, id: &ClientId) -> Client {
    Client { member_name: name.map(str::to_owned), client_id: ClientIdBody::from(id) }
}

pub(super) fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: MemberAdd = call.json()?;
    let mut check = Check::new("memberAddDto");
    let (mut class, mut code) = (String::new(), String::new());
    if let Some(id) = check.present("memberId", asked.member_id) {
        class = check.required("memberId.memberClass", id.member_class, &CODE);
        code = check.required("memberId.memberCode", id.member_code, &CODE);
    }
    let name = check.required("memberName", asked.member_name, &NAME);
    check.done()?;
    call.note("memberClass", class.clone());
    call.note("memberCode", code.clone());
    call.note("memberName", name.clone());
    let state = api.state();
    let id = MemberId { instance: own_instance(&state)?, class, code };
    if !state.member_classes.contains_key(&id.class) {
        return Err(Problem::missing("member_class_not_found").with("code").with(&id.class));
    }
    if state.members.contains_key(&id) {
        return Err(Problem::conflict("member_exists").with(id.short()));
    }
    api.execute(call, Command::AddMember { id: id.clone(), name: name.clone() })?;
    let location = format!("/members/{}", id.encoded());
    Answer::created(&shown(Some(&name), &id.client()), &location)
}

/// The member in the path.
fn member_of(state: &State, call: &Call) -> Result<MemberId, Problem> {
    let id = ids::member(call.path("member_id"))?;
    ids::known_member(state, &id)?;
    Ok(id)
}

pub(super) fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = member_of(&state, call)?;
    Answer::ok(&shown(Some(&state.members[&id].name), &id.client()))
}

pub(super) fn rename(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: MemberName = call.json()?;
    let id = member_of(&api.state(), call)?;
    let mut check = Check::new("memberNameDto");
    let name = check.required("memberName", asked.member_name, &NAME);
    check.done()?;
    call.note("memberCode", id.code.clone());
    call.note("memberName", name.clone());
    api.execute(call, Command::RenameMember { id: id.clone(), name: name.clone() })?;
    Answer::ok(&shown(Some(&name), &id.client()))
}

pub(super) fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let id = member_of(&api.state(), call)?;
    call.note("memberCode", id.code.clone());
    api.execute(call, Command::RemoveMember { id })?;
    Ok(Answer::empty(204))
}

pub(super) fn subsystems(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = member_of(&state, call)?;
    let subsystem = |(code, name): (&String, &Option<String>)| {
        let client = id.clone().subsystem(code);
        let used_security_servers = state
            .servers
            .iter()
            .filter_map(|(server, held)| Some((server, *held.clients.get(&client)?)))
            .map(|(server, enabled)| UsedSecurityServer {
                encoded_id: server.encoded(),
                server_code: server.code.clone(),
                server_owner: state.members.get(&server.owner).map(|m| m.name.clone()).unwrap_or_default(),
                status: if enabled { Status::Approved.name() } else { "DISABLED" }.into(),
            });
        let waiting = waiting_for(&state, &client);
        Subsystem {
            subsystem_name: name.clone(),
            used_security_servers: used_security_servers.chain(waiting).collect(),
            subsystem_id: ClientIdBody::from(&client),
        }
    };
    let all: Vec<Subsystem> = state.members[&id].subsystems.iter().map(subsystem).collect();
    Answer::ok(&all)
}

/// Servers that have asked for a client and wait.
fn waiting_for(state: &State, client: &ClientId) -> Vec<UsedSecurityServer> {
    let asked = state.requests.values().filter(|request| {
        matches!(&request.kind, RequestKind::ClientRegistration { client: asked, .. } if asked == client)
    });
    let open = asked.filter_map(|request| Some((request, request.status.filter(|status| status.is_open())?)));
    open.map(|(request, status)| UsedSecurityServer {
        encoded_id: request.server.encoded(),
        server_code: request.server.code.clone(),
        server_owner: state.members.get(&request.server.owner).map(|m| m.name.clone()).unwrap_or_default(),
        status: status.name().into(),
    })
    .collect()
}

pub(super) fn groups(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = ids::member(call.path("member_id"))?;
    let mut all: Vec<(UnixTime, MemberGlobalGroup)> = Vec::new();
    for (code, group) in &state.groups {
        for member in group.members.iter().filter(|member| member.member == id) {
            let at = group.joined.get(member).map_or(UnixTime(0), |joined| joined.at);
            let subsystem = member.subsystem.clone();
            all.push((
                at,
                MemberGlobalGroup { group_code: code.clone(), subsystem, added_to_group: date(at) },
            ));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    Answer::ok(&all.into_iter().map(|(_, group)| group).collect::<Vec<_>>())
}

pub(super) fn owned_servers(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = ids::member(call.path("member_id"))?;
    let owned = state.servers.iter().filter(|(server, _)| server.owner == id);
    Answer::ok(&owned.map(|(server, held)| servers::shown(&state, server, held)).collect::<Vec<_>>())
}

pub(super) fn used_servers(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = ids::member(call.path("member_id"))?;
    let used = state.servers.iter().filter(|(_, held)| held.clients.keys().any(|client| client.member == id));
    Answer::ok(&used.map(|(server, held)| servers::shown(&state, server, held)).collect::<Vec<_>>())
}

/// Takes a client off a server, recorded as a deletion request.
fn unregister(api: &Api, call: &mut Call, client: ClientId, missing: &str) -> Result<Answer, Problem> {
    let server = ids::server(call.path("server_id"))?;
    call.note("clientIdentifier", client.to_string());
    call.note("securityServerIdentifier", server.to_string());
    let state = api.state();
    let held = ids::known_server(&state, &server)?;
    if !held.clients.contains_key(&client) {
        return Err(Problem::missing(missing));
    }
    let submission = Submission {
        kind: RequestKind::ClientDeletion { client },
        origin: Origin::Center,
        server,
        comments: None,
        automatic: false,
        approved: false,
    };
    api.execute(call, Command::SubmitRequest(Box::new(submission)))?;
    Ok(Answer::empty(204))
}

pub(super) fn unregister_member(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let member = ids::member(call.path("member_id"))?;
    unregister(api, call, member.client(), "member_not_registered_to_security_server")
}

pub(super) fn unregister_subsystem(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let subsystem = ids::subsystem(call.path("subsystem_id"))?;
    unregister(api, call, subsystem, "subsystem_not_registered_to_security_server")
}

pub(super) fn add_subsystem(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: SubsystemAdd = call.json()?;
    let mut check = Check::new("subsystemAddDto");
    let (mut class, mut member, mut code) = (String::new(), String::new(), String::new());
    if let Some(id) = check.present("subsystemId", asked.subsystem_id) {
        class = check.required("subsystemId.memberClass", id.member_class, &CODE);
        member = check.required("subsystemId.memberCode", id.member_code, &CODE);
        code = check.required("subsystemId.subsystemCode", id.subsystem_code, &CODE);
    }
    let name = check.optional("subsystemName", asked.subsystem_name, &[NO_CONTROL_CHARS]);
    check.done()?;
    call.note("memberClass", class.clone());
    call.note("memberCode", member.clone());
    call.note("memberSubsystemCode", code.clone());
    let state = api.state();
    let owner = MemberId { instance: own_instance(&state)?, class, code: member };
    if !state.members.contains_key(&owner) {
        return Err(Problem::missing("member_not_found").with("code").with(&owner.code));
    }
    let id = owner.subsystem(code);
    if state.knows(&id) {
        return Err(Problem::conflict("subsystem_exists").with(id.short()));
    }
    let name = name.filter(|name| !name.is_empty());
    api.execute(call, Command::AddSubsystem { id: id.clone(), name })?;
    let location = format!("/subsystems/{}", id.encoded());
    Answer::created(&shown(None, &id), &location)
}

fn known_subsystem(state: &State, call: &Call) -> Result<ClientId, Problem> {
    let id = ids::subsystem(call.path("subsystem_id"))?;
    if state.knows(&id) { Ok(id) } else { Err(Problem::missing("subsystem_not_found")) }
}

pub(super) fn rename_subsystem(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: SubsystemName = call.json()?;
    let id = known_subsystem(&api.state(), call)?;
    let mut check = Check::new("subsystemNameDto");
    let name = check.optional("subsystemName", asked.subsystem_name, &[NO_CONTROL_CHARS]);
    check.done()?;
    let name = name.filter(|name| !name.is_empty());
    call.note("memberSubsystemName", name.clone());
    api.execute(call, Command::RenameSubsystem { id: id.clone(), name })?;
    Answer::ok(&shown(None, &id))
}

pub(super) fn remove_subsystem(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let id = known_subsystem(&state, call)?;
    call.note("clientIdentifier", id.to_string());
    if state.servers.values().any(|server| server.clients.contains_key(&id)) {
        return Err(Problem::bad_request("subsystem_registered_and_cannot_be_deleted"));
    }
    api.execute(call, Command::RemoveSubsystem { id })?;
    Ok(Answer::empty(204))
}

/// Which clients are wanted.
struct Filter<'a> {
    q: Option<String>,
    name: Option<String>,
    instance: Option<&'a str>,
    class: Option<&'a str>,
    code: Option<&'a str>,
    subsystem: Option<&'a str>,
    kind: Option<&'a str>,
    server: Option<&'a crate::registry::state::Server>,
    owner: Option<ClientId>,
    without_group: Option<&'a crate::registry::state::Group>,
}

pub(super) fn clients(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let kind = call.query("client_type");
    if let Some(kind) = kind.filter(|kind| !["MEMBER", "SUBSYSTEM"].contains(kind)) {
        return Err(Problem::invalid("client_type", format!("{kind} is neither MEMBER nor SUBSYSTEM")));
    }
    let server = call.query("security_server").map(ids::server).transpose()?;
    let held = server.as_ref().map(|id| ids::known_server(&state, id)).transpose()?;
    let filter = Filter {
        q: call.query("q").map(str::to_lowercase),
        name: call.query("name").map(str::to_lowercase),
        instance: call.query("instance"),
        class: call.query("member_class"),
        code: call.query("member_code"),
        subsystem: call.query("subsystem_code"),
        kind,
        server: held,
        owner: server.map(|id| id.owner.client()),
        without_group: call
            .query("excluding_group")
            .and_then(|code| state.groups.get(code))
            .map(|group| &**group),
    };
    let mut found: Vec<(String, ClientId)> = Vec::new();
    for (id, member) in &state.members {
        let subsystems = member.subsystems.keys().map(|code| id.clone().subsystem(code));
        let all = std::iter::once(id.clone().client()).chain(subsystems);
        found.extend(
            all.filter(|client| filter.takes(client, &member.name)).map(|id| (member.name.clone(), id)),
        );
    }
    let keys = [
        "id",
        "member_name",
        "client_id.instance_id",
        "client_id.member_class",
        "client_id.member_code",
        "client_id.subsystem_code",
        "client_type",
    ];
    let (page, paging_metadata) = Page::of(call)?.cut(found, &keys, |(name, id), key| match key {
        "member_name" => SortKey::text(name),
        "client_id.instance_id" => SortKey::text(&id.member.instance),
        "client_id.member_class" => SortKey::text(&id.member.class),
        "client_id.member_code" => SortKey::text(&id.member.code),
        "client_id.subsystem_code" => id.subsystem.as_deref().map_or(SortKey::Nothing, SortKey::text),
        "client_type" => SortKey::Number(i64::from(id.subsystem.is_some())),
        _ => SortKey::text(&id.encoded()),
    })?;
    let clients = page.iter().map(|(name, id)| shown(Some(name), id)).collect();
    Answer::ok(&PagedClients { clients, paging_metadata })
}

impl Filter<'_> {
    fn takes(&self, client: &ClientId, name: &str) -> bool {
        let holds = |text: &str, wanted: &str| text.to_lowercase().contains(wanted);
        let is = |wanted: Option<&str>, found: &str| {
            wanted.is_none_or(|wanted| found.eq_ignore_ascii_case(wanted))
        };
        let id = &client.member;
        let subsystem = client.subsystem.as_deref().unwrap_or_default();
        let anywhere = |q: &String| {
            [name, &id.instance, &id.class, &id.code, subsystem].iter().any(|text| holds(text, q))
        };
        let kind = if client.subsystem.is_some() { "SUBSYSTEM" } else { "MEMBER" };
        self.q.as_ref().is_none_or(anywhere)
            && self.name.as_ref().is_none_or(|wanted| holds(name, wanted))
            && is(self.instance, &id.instance)
            && is(self.class, &id.class)
            && is(self.code, &id.code)
            && is(self.subsystem, subsystem)
            && self.kind.is_none_or(|wanted| wanted == kind)
            && self.server.is_none_or(|server| {
                server.clients.contains_key(client) || self.owner.as_ref() == Some(client)
            })
            && self.without_group.is_none_or(|group| !group.members.contains(client))
    }
}
