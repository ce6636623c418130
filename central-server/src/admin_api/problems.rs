//! Refusals of the registry as the API answers them. Handlers say more where they look before; this is what is left, and every race.

use admin_api::problem::Problem;

use crate::registry::{Refusal, RegistryError, RequestRefusal};

/// The answer to a command that was not carried out.
pub fn of(error: RegistryError) -> Problem {
    match error {
        RegistryError::Refused(refusal) => of_refusal(&refusal),
        RegistryError::Store(_) | RegistryError::Part { .. } | RegistryError::Inconsistent { .. } => {
            Problem::internal(error)
        }
    }
}

/// The answer to a refusal.
pub fn of_refusal(refusal: &Refusal) -> Problem {
    let reason = refusal.to_string();
    let problem = match refusal {
        Refusal::NotInitialised => Problem::conflict("init_not_initialized"),
        Refusal::AlreadyInitialised { .. } => Problem::conflict("init_already_initialized"),
        Refusal::Unknown { what, .. } => Problem::missing(format!("{}_not_found", code_of(what))),
        Refusal::Exists { what, id } => Problem::conflict(format!("{}_exists", code_of(what))).with(id),
        Refusal::InUse { what: "subsystem", because: "it is a client of a security server", .. } => {
            Problem::bad_request("subsystem_registered_and_cannot_be_deleted")
        }
        Refusal::InUse { what: "signing key", .. } => Problem::bad_request("signing_key_action_not_possible"),
        Refusal::InUse { what, id, .. } => Problem::conflict(format!("{}_is_in_use", code_of(what))).with(id),
        Refusal::OtherInstance { .. } => Problem::bad_request("invalid_member_id"),
        Refusal::NotASubsystem { .. } => Problem::bad_request("invalid_subsystem_id"),
        Refusal::Text { what: "URL", .. } => Problem::bad_request("invalid_url"),
        Refusal::Text { what, .. } => Problem::invalid(*what, "Pattern"),
        Refusal::OutOfRange { name, .. } => Problem::invalid(*name, "Range"),
        Refusal::TooLarge { .. } => Problem::status(413),
        Refusal::Certificate(_) => Problem::bad_request("invalid_certificate"),
        Refusal::NotForAuthentication { .. } => {
            return request(&RequestRefusal::InvalidAuthCertificate).because(reason);
        }
        Refusal::Anchor(_) => Problem::bad_request("malformed_anchor"),
        Refusal::Part(_) => Problem::bad_request("configuration_part_validation_failed"),
        Refusal::TooManyKeys { .. } => Problem::bad_request("token_action_not_possible"),
        Refusal::Request(refusal) => request(refusal),
        Refusal::Misdirected { .. } => Problem::internal(refusal),
    };
    problem.because(reason)
}

fn request(refusal: &RequestRefusal) -> Problem {
    let (status, code) = refusal.code();
    Problem { metadata: refusal.metadata(), ..Problem::new(status, code) }
}

/// What the API calls a thing of the registry.
fn code_of(what: &str) -> String {
    match what {
        "timestamping service" => "timestamping_authority".into(),
        "CA" => "certification_service".into(),
        "intermediate CA" => "intermediate_ca".into(),
        "client of the server" => "subsystem".into(),
        "group member" => "member".into(),
        other => other.to_lowercase().replace(' ', "_"),
    }
}
