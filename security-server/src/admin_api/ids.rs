//! Identifiers as paths and bodies of the API write them: codes joined by colons.

use admin_api::problem::Problem;
use proto::id::{ClientId, MemberId, ServerId};

/// A member or subsystem.
///
/// # Errors
/// 400 `invalid_encoded_id`.
pub fn client(text: &str) -> Result<ClientId, Problem> {
    ClientId::parse_encoded(text).map_err(|_| invalid(text))
}

/// A member.
///
/// # Errors
/// 400 `invalid_encoded_id`.
pub fn member(text: &str) -> Result<MemberId, Problem> {
    MemberId::parse_encoded(text).map_err(|_| invalid(text))
}

/// A security server.
///
/// # Errors
/// 400 `invalid_encoded_id`.
pub fn server(text: &str) -> Result<ServerId, Problem> {
    ServerId::parse_encoded(text).map_err(|_| invalid(text))
}

fn invalid(text: &str) -> Problem {
    Problem::bad_request("invalid_encoded_id").with(text)
}
