//! Global groups and who is in them.

use std::collections::BTreeSet;

use admin_api::page::{Page, SortKey};
use admin_api::types::central_server::{
    ClientId as ClientIdBody, Description, GlobalGroup, GlobalGroupAdd, GroupMember, GroupMembersFilter,
    GroupMembersFilterModel, Members, PagedGroupMembers,
};
use admin_api::types::date;
use admin_api::{Answer, Call, Check, Problem};
use proto::id::ClientId;
use proto::time::UnixTime;
use serde_json::json;

use super::members::{ABOUT, CODE};
use super::{Api, ids, problems};
use crate::registry::state::{Group, OWNERS_GROUP};
use crate::registry::{Command, State};

fn shown(code: &str, group: &Group) -> GlobalGroup {
    GlobalGroup {
        code: code.to_owned(),
        description: group.description.clone(),
        created_at: date(group.created_at.unwrap_or(UnixTime(0))),
        updated_at: date(group.updated_at.unwrap_or(UnixTime(0))),
        member_count: group.members.len(),
    }
}

/// The group in the path.
fn group_of<'a>(state: &'a State, call: &Call) -> Result<(String, &'a Group), Problem> {
    let code = call.path("group_code").to_owned();
    let group = state.groups.get(&code).ok_or_else(|| Problem::missing("global_group_not_found"))?;
    Ok((code, group))
}

pub(super) fn list(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let mut all: Vec<GlobalGroup> = state.groups.iter().map(|(code, group)| shown(code, group)).collect();
    all.sort_by(|a, b| a.created_at.cmp(&b.created_at));
    Answer::ok(&all)
}

pub(super) fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: GlobalGroupAdd = call.json()?;
    let mut check = Check::new("globalGroupCodeAndDescriptionDto");
    let code = check.required("code", asked.code, &CODE);
    let description = check.required("description", asked.description, &ABOUT);
    check.done()?;
    call.note("code", code.clone());
    call.note("description", description.clone());
    if api.state().groups.contains_key(&code) {
        return Err(Problem::conflict("global_group_exists").with(code));
    }
    let state = api.execute(call, Command::AddGroup { code: code.clone(), description })?;
    let group = state.groups.get(&code).ok_or_else(|| Problem::internal("the group is gone"))?;
    Answer::created(&shown(&code, group), &format!("/global-groups/{code}"))
}

pub(super) fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let (code, group) = group_of(&state, call)?;
    Answer::ok(&shown(&code, group))
}

pub(super) fn describe(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: Description = call.json()?;
    let mut check = Check::new("globalGroupDescriptionDto");
    let description = check.required("description", asked.description, &ABOUT);
    check.done()?;
    let (code, _) = group_of(&api.state(), call)?;
    call.note("code", code.clone());
    call.note("description", description.clone());
    let state = api.execute(call, Command::DescribeGroup { code: code.clone(), description })?;
    let (code, group) = group_of(&state, call)?;
    Answer::ok(&shown(&code, group))
}

pub(super) fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (code, _) = group_of(&api.state(), call)?;
    call.note("code", code.clone());
    if code == OWNERS_GROUP {
        return Err(Problem::bad_request("owners_global_group_cannot_be_deleted"));
    }
    api.execute(call, Command::RemoveGroup { code })?;
    Ok(Answer::empty(204))
}

fn name_of(state: &State, id: &ClientId) -> String {
    state.members.get(&id.member).map(|member| member.name.clone()).unwrap_or_default()
}

pub(super) fn filter_model(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    // A group that does not exist has no values.
    let members: Vec<&ClientId> = state
        .groups
        .get(call.path("group_code"))
        .map(|group| group.members.iter().collect())
        .unwrap_or_default();
    let values = |value: fn(&ClientId) -> Option<&str>| -> Vec<String> {
        let distinct: BTreeSet<&str> = members.iter().filter_map(|id| value(id)).collect();
        distinct.into_iter().map(str::to_owned).collect()
    };
    Answer::ok(&GroupMembersFilterModel {
        instances: values(|id| Some(&id.member.instance)),
        member_classes: values(|id| Some(&id.member.class)),
        codes: values(|id| Some(&id.member.code)),
        subsystems: values(|id| id.subsystem.as_deref()),
    })
}

pub(super) fn members(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: GroupMembersFilter = call.json()?;
    let paging = asked.paging_sorting.as_ref().ok_or_else(|| {
        Problem::bad_request("invalid_pagination_properties").with("paging_sorting is missing")
    })?;
    let page = Page::from_body(paging)?;
    let state = api.state();
    let (_, group) = group_of(&state, call)?;
    let query = asked.query.as_ref().map(|query| query.to_lowercase()).filter(|query| !query.is_empty());
    let one_of = |wanted: &Option<Vec<admin_api::lenient::Text>>, found: &str| {
        wanted.as_ref().is_none_or(|all| all.is_empty() || all.iter().any(|each| each.0 == found))
    };
    let is = |wanted: &Option<admin_api::lenient::Text>, found: &str| {
        wanted.as_ref().is_none_or(|wanted| wanted.is_empty() || wanted.0 == found)
    };
    let mut all: Vec<GroupMember> = group
        .members
        .iter()
        .map(|id| {
            let joined = group.joined.get(id);
            GroupMember {
                created_at: date(joined.map_or(UnixTime(0), |joined| joined.at)),
                id: joined.map_or(0, |joined| joined.number),
                client_id: ClientIdBody::from(id),
                name: name_of(&state, id),
            }
        })
        .filter(|member| {
            let id = &member.client_id;
            let subsystem = id.subsystem_code.as_deref().unwrap_or_default();
            let texts = [&*member.name, &id.instance_id, &id.member_class, &id.member_code, subsystem];
            query.as_ref().is_none_or(|query| texts.iter().any(|text| text.to_lowercase().contains(query)))
                && is(&asked.instance, &id.instance_id)
                && is(&asked.member_class, &id.member_class)
                && one_of(&asked.codes, &id.member_code)
                && one_of(&asked.subsystems, subsystem)
                && one_of(&asked.types, &id.kind)
        })
        .collect();
    all.sort_by_key(|member| member.id);
    let keys = ["name", "type", "instance", "class", "code", "subsystem", "created_at"];
    let (items, paging_metadata) = page.cut(all, &keys, |member, key| match key {
        "name" => SortKey::text(&member.name),
        "type" => SortKey::text(&member.client_id.kind),
        "instance" => SortKey::text(&member.client_id.instance_id),
        "class" => SortKey::text(&member.client_id.member_class),
        "code" => SortKey::text(&member.client_id.member_code),
        "subsystem" => member.client_id.subsystem_code.as_deref().map_or(SortKey::Nothing, SortKey::text),
        _ => SortKey::text(&member.created_at),
    })?;
    Answer::ok(&PagedGroupMembers { items, paging_metadata })
}

/// Those who are in already are left out of the answer, and nothing is wrong.
pub(super) fn add_members(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: Members = call.json()?;
    let state = api.state();
    let (code, group) = group_of(&state, call)?;
    call.note("code", code.clone());
    if code == OWNERS_GROUP {
        return Err(Problem::bad_request("cannot_add_member_to_owners_group"));
    }
    let mut added: Vec<String> = Vec::new();
    let mut commands = Vec::new();
    for item in &asked.items {
        let id = ids::client(item)?;
        if !state.knows(&id) {
            let kind = if id.subsystem.is_some() { "subsystem_not_found" } else { "member_not_found" };
            return Err(Problem::missing(kind).with(id.to_string()));
        }
        if !group.members.contains(&id) && !added.contains(&item.0) {
            added.push(item.0.clone());
            commands.push(Command::AddGroupMember { group: code.clone(), member: id });
        }
    }
    call.note("memberIdentifiers", json!(added));
    if !commands.is_empty() {
        api.registry.execute_all(call.actor(), commands).map_err(problems::of)?;
    }
    let items = added.into_iter().map(Into::into).collect();
    Answer::json(201, &Members { items })
}

pub(super) fn remove_member(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let (code, group) = group_of(&state, call)?;
    let text = call.path("client_id").to_owned();
    call.note("code", code.clone());
    call.note("memberIdentifier", text.clone());
    if code == OWNERS_GROUP {
        return Err(Problem::bad_request("owners_global_group_member_cannot_be_deleted"));
    }
    let id = ids::client(&text)?;
    if !group.members.contains(&id) {
        return Err(Problem::missing("member_not_found").with("memberId").with(text));
    }
    api.execute(call, Command::RemoveGroupMember { group: code, member: id })?;
    Ok(Answer::empty(204))
}
