//! Refusals of serverconf and token as the API answers them. Handlers say more where they look before; this is what is left, and every
//! race.

use admin_api::problem::Problem;
use signer::TokenError;

use crate::serverconf::store::ChangeError;

/// The server is nobody's yet. 500, as stock servers answer: the toolkit asks before it initialises.
pub fn not_initialised() -> Problem {
    let problem = Problem::new(500, "core.malformed_server_conf").because("the server is not initialised");
    problem.with("Server conf is not initialized!").with("tr.null")
}

/// The state of a thing does not allow what was asked.
pub fn not_possible() -> Problem {
    Problem::conflict("action_not_possible")
}

/// What the signer refused says where to look for more.
pub fn signers(problem: Problem) -> Problem {
    problem.with("tr.check_signer_logs")
}

/// The answer to a change that was not made.
pub fn of_change(error: ChangeError) -> Problem {
    match error {
        ChangeError::Refused(refusal) => {
            Problem::conflict("action_not_possible").because(refusal.to_string())
        }
        ChangeError::Store(_) | ChangeError::Inconsistent(_) => Problem::internal(error),
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        of_change(error)
    }
}

/// The answer to what the token refused.
pub fn of_token(error: TokenError) -> Problem {
    let reason = error.to_string();
    match error {
        TokenError::WrongPin => signers(Problem::bad_request("pin_incorrect")),
        TokenError::Locked { seconds } => Problem::bad_request("pin_locked").with(seconds.to_string()),
        TokenError::LoggedOut => not_possible(),
        TokenError::NoKey(_) => Problem::missing("key_not_found"),
        TokenError::NoCsr(_) => signers(Problem::missing("csr_not_found")),
        TokenError::NoCertificate(_) => Problem::missing("certificate_not_found"),
        TokenError::ForeignCertificate => Problem::bad_request("key_not_found"),
        TokenError::CertificateExists => Problem::conflict("certificate_already_exists"),
        TokenError::Usage { .. } | TokenError::Member(_) => Problem::bad_request("cert_wrong_usage"),
        other => return Problem::internal(other),
    }
    .because(reason)
}
