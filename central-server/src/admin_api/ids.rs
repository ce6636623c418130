//! Identifiers as paths and bodies of the API write them: codes joined by colons.

use admin_api::problem::Problem;
use proto::id::{ClientId, MemberId, ServerId};

use crate::registry::State;
use crate::registry::state::{Member, Server};

/// A member.
///
/// # Errors
/// 400 `invalid_member_id`.
pub fn member(text: &str) -> Result<MemberId, Problem> {
    MemberId::parse_encoded(text).map_err(|_| Problem::bad_request("invalid_member_id").with(text))
}

/// A subsystem.
///
/// # Errors
/// 400 `invalid_subsystem_id`.
pub fn subsystem(text: &str) -> Result<ClientId, Problem> {
    let id = ClientId::parse_encoded(text).ok().filter(|id| id.subsystem.is_some());
    id.ok_or_else(|| Problem::bad_request("invalid_subsystem_id").with(text))
}

/// A member or subsystem.
///
/// # Errors
/// 400 `invalid_client_id`.
pub fn client(text: &str) -> Result<ClientId, Problem> {
    ClientId::parse_encoded(text).map_err(|_| Problem::bad_request("invalid_client_id").with(text))
}

/// A security server.
///
/// # Errors
/// 400 `invalid_encoded_id`.
pub fn server(text: &str) -> Result<ServerId, Problem> {
    ServerId::parse_encoded(text).map_err(|_| Problem::bad_request("invalid_encoded_id").with(text))
}

/// A member that is registered.
///
/// # Errors
/// 404 `member_not_found`.
pub fn known_member<'a>(state: &'a State, id: &MemberId) -> Result<&'a Member, Problem> {
    state.members.get(id).map(|member| &**member).ok_or_else(|| Problem::missing("member_not_found"))
}

/// A server that is registered.
///
/// # Errors
/// 404 `security_server_not_found`.
pub fn known_server<'a>(state: &'a State, id: &ServerId) -> Result<&'a Server, Problem> {
    let found = state.servers.get(id).map(|server| &**server);
    found.ok_or_else(|| Problem::missing("security_server_not_found").with(id.to_string()))
}
