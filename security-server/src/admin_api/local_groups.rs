//! Local groups of a client, and who is in them.

use admin_api::check::{DESCRIPTION, Rule, SIZE};
use admin_api::operation::{delete, get, patch, post};
use admin_api::types::date;
use admin_api::types::security_server::clients::{
    GroupMember, LocalGroup, LocalGroupAdd, LocalGroupDescription, Members,
};
use admin_api::{Answer, Call, Check, Problem};
use proto::id::ClientId;
use serde_json::json;

use super::clients::{CODE, Names, any_conf, by_name, local, local_named};
use super::{Api, Rows, ids};
use crate::serverconf::event::Event;
use crate::serverconf::state::{Group, State};

/// Of descriptions.
const ABOUT: [Rule; 2] = [DESCRIPTION, SIZE];

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getClientLocalGroups", "/clients/{id}/local-groups")
            .right("VIEW_CLIENT_LOCAL_GROUPS")
            .gives::<Vec<LocalGroup>>(200)
            .refuses(&[(404, "client_not_found")])
            .by(all),
        post("addClientLocalGroup", "/clients/{id}/local-groups")
            .right("ADD_LOCAL_GROUP")
            .audit("Add group")
            .takes::<LocalGroupAdd>()
            .gives::<LocalGroup>(201)
            .refuses(&[(404, "client_not_found"), (409, "local_group_code_already_exists")])
            .by(add),
        get("getLocalGroup", "/local-groups/{group_id}")
            .right("VIEW_CLIENT_LOCAL_GROUPS")
            .gives::<LocalGroup>(200)
            .refuses(&[(404, "local_group_not_found")])
            .by(one),
        patch("updateLocalGroup", "/local-groups/{group_id}")
            .right("EDIT_LOCAL_GROUP_DESC")
            .audit("Edit group description")
            .takes::<LocalGroupDescription>()
            .gives::<LocalGroup>(200)
            .refuses(&[(404, "local_group_not_found")])
            .by(describe),
        delete("deleteLocalGroup", "/local-groups/{group_id}")
            .right("DELETE_LOCAL_GROUP")
            .audit("Delete group")
            .gives_nothing(204)
            .refuses(&[(404, "local_group_not_found")])
            .by(remove),
        post("addLocalGroupMember", "/local-groups/{group_id}/members")
            .right("EDIT_LOCAL_GROUP_MEMBERS")
            .audit("Add members to group")
            .takes::<Members>()
            .gives::<Members>(201)
            .refuses(&[
                (400, "missing_member_id"),
                (400, "invalid_encoded_id"),
                (404, "local_group_not_found"),
                (409, "local_group_member_already_exists"),
                (409, "local_group_member_not_found"),
            ])
            .by(add_members),
        post("deleteLocalGroupMember", "/local-groups/{group_id}/members/delete")
            .right("EDIT_LOCAL_GROUP_MEMBERS")
            .audit("Remove members from group")
            .takes::<Members>()
            .gives_nothing(204)
            .refuses(&[(404, "local_group_not_found"), (409, "local_group_member_not_found")])
            .by(remove_members),
    ]
}

fn shown(code: &str, group: &Group, names: &Names<'_>) -> LocalGroup {
    let mut members: Vec<GroupMember> = group
        .members
        .iter()
        .map(|(id, at)| {
            let name = names.member(id).unwrap_or_default().to_owned();
            GroupMember {
                id: id.encoded(),
                name: name.clone(),
                member_name: name,
                subsystem_name: names.subsystem(id).map(str::to_owned),
                created_at: date(*at),
            }
        })
        .collect();
    members.sort_by(|a, b| by_name((&Some(a.name.clone()), &a.id), (&Some(b.name.clone()), &b.id)));
    LocalGroup {
        id: group.id.to_string(),
        code: code.to_owned(),
        description: group.description.clone(),
        member_count: group.members.len(),
        updated_at: date(group.updated_at),
        members,
    }
}

/// The number in the path.
fn number(call: &Call) -> Result<u64, Problem> {
    call.path_number("group_id", "id_not_a_number")
}

/// Client and code of the group with a number.
fn group(state: &State, number: u64) -> Result<(&ClientId, &String, &Group), Problem> {
    state.group(number).ok_or_else(|| Problem::missing("local_group_not_found"))
}

/// The answer to a change: the group as it is now.
fn answer(api: &Api, number: u64) -> Result<LocalGroup, Problem> {
    let (state, conf) = (api.state(), any_conf(api));
    let (_, code, group) = group(&state, number)?;
    Ok(shown(code, group, &Names::of(conf.as_deref())))
}

fn all(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    let (state, conf) = (api.state(), any_conf(api));
    let names = Names::of(conf.as_deref());
    let groups = &local_named(&state, &client)?.groups;
    Answer::ok(&groups.iter().map(|(code, group)| shown(code, group, &names)).collect::<Vec<_>>())
}

fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: LocalGroupAdd = call.json()?;
    let mut check = Check::new("localGroupAddDto");
    let code = check.required("code", asked.code, &CODE);
    let description = check.required("description", asked.description, &ABOUT);
    check.done()?;
    let client = ids::client(call.path("id"))?;
    call.note("clientIdentifier", client.encoded());
    call.note("groupCode", code.clone());
    call.note("groupDescription", description.clone());
    api.change_with(call, |state| {
        if local(state, &client)?.groups.contains_key(&code) {
            return Err(Problem::conflict("local_group_code_already_exists"));
        }
        let (client, group, description) = (client.clone(), code.clone(), description.clone());
        Ok((vec![Event::GroupAdded { client, group, description }], ()))
    })?;
    let state = api.state();
    let added = local(&state, &client)?.groups.get(&code);
    let added = added.ok_or_else(|| Problem::internal("the group is gone"))?;
    let location = format!("/local-groups/{}", added.id);
    Answer::created(&shown(&code, added, &Names::of(None)), &location)
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&answer(api, number(call)?)?)
}

fn note(call: &mut Call, client: &ClientId, code: &str) {
    call.note("clientIdentifier", client.encoded());
    call.note("groupCode", code);
}

fn describe(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: LocalGroupDescription = call.json()?;
    let mut check = Check::new("localGroupDescriptionDto");
    let description = check.required("description", asked.description, &ABOUT);
    check.done()?;
    let number = number(call)?;
    call.note("groupDescription", description.clone());
    let (client, code) = api.change_with(call, |state| {
        let (client, code, _) = group(state, number)?;
        let event = Event::GroupDescribed {
            client: client.clone(),
            group: code.clone(),
            description: description.clone(),
        };
        Ok((vec![event], (client.clone(), code.clone())))
    })?;
    note(call, &client, &code);
    Answer::ok(&answer(api, number)?)
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let number = number(call)?;
    let (client, code) = api.change_with(call, |state| {
        let (client, code, _) = group(state, number)?;
        let event = Event::GroupRemoved { client: client.clone(), group: code.clone() };
        Ok((vec![event], (client.clone(), code.clone())))
    })?;
    note(call, &client, &code);
    Ok(Answer::empty(204))
}

fn members(asked: &Members) -> Result<Vec<ClientId>, Problem> {
    asked.items.iter().map(|item| ids::client(item)).collect()
}

fn add_members(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: Members = call.json()?;
    if asked.items.is_empty() {
        return Err(Problem::bad_request("missing_member_id"));
    }
    let (number, wanted) = (number(call)?, members(&asked)?);
    call.note("memberIdentifiers", json!(asked.items));
    let conf = any_conf(api);
    let names = Names::of(conf.as_deref());
    let (client, code) = api.change_with(call, |state| {
        let (client, code, group) = group(state, number)?;
        let mut events = Vec::new();
        for (index, member) in wanted.iter().enumerate() {
            if !names.knows(member) && !state.clients.contains_key(member) {
                return Err(Problem::conflict("local_group_member_not_found"));
            }
            if group.members.contains_key(member) || wanted[..index].contains(member) {
                return Err(Problem::conflict("local_group_member_already_exists"));
            }
            let (client, group, member) = (client.clone(), code.clone(), member.clone());
            events.push(Event::GroupMemberAdded { client, group, member });
        }
        Ok((events, (client.clone(), code.clone())))
    })?;
    note(call, &client, &code);
    Answer::json(201, &asked)
}

/// All of them or none.
fn remove_members(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: Members = call.json()?;
    let number = number(call)?;
    group(&api.state(), number)?;
    let wanted = members(&asked)?;
    call.note("memberIdentifiers", json!(asked.items));
    let (client, code) = api.change_with(call, |state| {
        let (client, code, group) = group(state, number)?;
        let mut left = group.members.clone();
        let found = wanted.iter().all(|member| left.remove(member).is_some());
        if wanted.is_empty() || !found {
            return Err(Problem::conflict("local_group_member_not_found"));
        }
        let event = |member: &ClientId| {
            let (client, group, member) = (client.clone(), code.clone(), member.clone());
            Event::GroupMemberRemoved { client, group, member }
        };
        Ok((wanted.iter().map(event).collect(), (client.clone(), code.clone())))
    })?;
    note(call, &client, &code);
    Ok(Answer::empty(204))
}
