//! How a call fails, as people and scripts see it: exit status, code with metadata, the text for it, and what to do next.
//!
//! The error body is that of the management APIs; whatever else a server sends (a proxy's page, nothing at all) is told by its status.

use std::fmt::Write as _;
use std::time::Duration;

use admin_api::problem::{ErrorBody, Warning};
use serde_json::{Value, json};

use super::connection::Answer;
use crate::exit::Exit;

/// Why a command over a management API ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection, no answer, not in time.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The target's address.
        url: String,
        /// The chain of causes.
        reason: String,
    },
    /// Somebody else answers, or the server has a new certificate.
    #[error(
        "{url} shows another certificate than the one that was pinned\n  pinned {pinned}\n  shown  {seen}\n  if the server was given a new certificate: \
         `causeway target add` it again with --replace"
    )]
    OtherCertificate {
        /// The target's address.
        url: String,
        /// Of the settings file.
        pinned: String,
        /// Of the handshake.
        seen: String,
    },
    /// 401 or 403.
    #[error("{}", self.not_authorised())]
    NotAuthorised {
        /// Status of the answer.
        status: u16,
        /// Name of the target.
        target: String,
        /// Whether a credential was sent.
        known: bool,
        /// The body.
        body: Box<ErrorBody>,
    },
    /// Any other status of refusal.
    #[error("{}", refused(.body, .call, .correlation))]
    Refused {
        /// The body.
        body: Box<ErrorBody>,
        /// Such as `POST /members`.
        call: String,
        /// To find the line in the server's log.
        correlation: String,
    },
    /// What was waited for did not come.
    #[error("after {} s {what} is still {last}", .after.as_secs())]
    WaitTimedOut {
        /// Such as `the status of DEV:COM:1`.
        what: String,
        /// What it was last.
        last: String,
        /// The bound.
        after: Duration,
    },
}

/// The failure in an error's chain.
pub(crate) fn failure_of(error: &anyhow::Error) -> Option<&Failure> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

impl Failure {
    /// From an answer that is no success.
    pub(crate) fn of(answer: &Answer, call: String, target: &str, known: bool) -> Self {
        let mut body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
        body.status = answer.status;
        let body = Box::new(body);
        match answer.status {
            status @ (401 | 403) => Self::NotAuthorised { status, target: target.to_owned(), known, body },
            _ => Self::Refused {
                body,
                call,
                correlation: answer.header("x-road-ui-correlation-id").to_owned(),
            },
        }
    }

    /// The exit status.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::OtherCertificate { .. } => Exit::Unreachable,
            Self::NotAuthorised { .. } => Exit::NotAuthorised,
            Self::Refused { .. } => Exit::Failed,
            Self::WaitTimedOut { .. } => Exit::TimedOut,
        }
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { body, .. } | Self::NotAuthorised { body, .. } => {
                body.error.as_ref().map(|error| error.code.as_str())
            }
            Self::Unreachable { .. } | Self::OtherCertificate { .. } | Self::WaitTimedOut { .. } => None,
        }
    }

    /// What stands beside the code.
    pub(crate) fn metadata(&self) -> &[String] {
        match self {
            Self::Refused { body, .. } | Self::NotAuthorised { body, .. } => {
                body.error.as_ref().map_or(&[], |error| error.metadata.as_slice())
            }
            Self::Unreachable { .. } | Self::OtherCertificate { .. } | Self::WaitTimedOut { .. } => &[],
        }
    }

    /// What has to be accepted first.
    pub(crate) fn warnings(&self) -> &[Warning] {
        match self {
            Self::Refused { body, .. } => &body.warnings,
            Self::NotAuthorised { .. }
            | Self::Unreachable { .. }
            | Self::OtherCertificate { .. }
            | Self::WaitTimedOut { .. } => &[],
        }
    }

    /// For `--json`: the server's body where there is one.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Refused { body, .. } | Self::NotAuthorised { body, .. } => json!(body),
            other => json!({ "error": { "code": other.word(), "metadata": [other.to_string()] } }),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::OtherCertificate { .. } => "other_certificate",
            Self::NotAuthorised { .. } => "not_authorised",
            Self::Refused { .. } => "refused",
            Self::WaitTimedOut { .. } => "wait_timed_out",
        }
    }

    fn not_authorised(&self) -> String {
        let Self::NotAuthorised { status, target, known, body } = self else { return String::new() };
        let detail = body.error.as_ref().map(|error| format!(" ({})", error.code)).unwrap_or_default();
        match (status, known) {
            (403, _) => {
                format!("{target} refuses: the roles of this key or session do not allow it (403){detail}")
            }
            (_, true) => format!(
                "{target} does not take this key or session (401){detail}\n  log in anew: causeway login -t {target}"
            ),
            (_, false) => format!(
                "{target} wants to know who asks (401){detail}\n  log in (causeway login -t {target}), or give a key: CAUSEWAY_API_KEY, \
                 or `causeway target add` with --key-file"
            ),
        }
    }
}

fn refused(body: &ErrorBody, call: &str, correlation: &str) -> String {
    let mut text = match &body.error {
        None => format!("{call} was refused ({})", body.status),
        Some(error) => {
            // What begins with `tr.` names a text of somebody's user interface.
            let said: Vec<&str> =
                error.metadata.iter().map(String::as_str).filter(|item| !item.starts_with("tr.")).collect();
            let colon = if said.is_empty() { "" } else { ": " };
            format!("{} ({}){colon}{}", error.code, body.status, said.join(", "))
        }
    };
    if let Some(error) = &body.error {
        // Behind `core.…` stands what the central server said.
        let behind = error.metadata.iter().find_map(|text| text.split_once(" with statusCode "));
        if let Some(meaning) = behind.and_then(|(code, _)| meaning(code)).or_else(|| meaning(&error.code)) {
            let _ = write!(text, "\n  {meaning}");
        }
        for (field, rules) in &error.validation_errors {
            let field = field.split_once('.').map_or(field.as_str(), |(_, field)| field);
            let _ = write!(text, "\n  {field}: {}", rules.join(", "));
        }
    }
    for warning in &body.warnings {
        let _ = write!(text, "\n  warning {}", told(warning));
    }
    if !body.warnings.is_empty() {
        let _ = write!(text, "\n  accept it with --yes, or with --accept CODE");
    }
    if body.status >= 500 && !correlation.is_empty() {
        let _ = write!(text, "\n  the server's log says more at correlation id {correlation}");
    }
    text
}

/// A warning in one line.
pub(crate) fn told(warning: &Warning) -> String {
    match warning.metadata.is_empty() {
        true => warning.code.clone(),
        false => format!("{}: {}", warning.code, warning.metadata.join(", ")),
    }
}

/// What a code means, and what to do next.
fn meaning(code: &str) -> Option<&'static str> {
    let code = code.strip_prefix("core.").unwrap_or(code);
    MEANINGS.iter().find(|(known, _)| *known == code).map(|(_, text)| *text)
}

/// What to do about a code, for reports.
pub(crate) fn advice(code: &str) -> &'static str {
    meaning(code).unwrap_or("the server's log says more")
}

/// Codes that need more than their words.
const MEANINGS: &[(&str, &str)] = &[
    ("anchor_file_not_found", "there is no configuration anchor yet: causeway ss anchor upload FILE"),
    ("anchor_not_found", "there is no configuration anchor yet: causeway ss anchor upload FILE"),
    ("api_key_not_found", "`api-key list` shows the keys that there are"),
    ("auth_cert_not_supported", "an authentication certificate cannot be used in this place"),
    ("certificate_already_exists", "the certificate is here already; --ensure takes that for success"),
    (
        "certificate_profile_info_class_not_found",
        "--profile takes fivrk, ejbca, basic, or the full name of a profile",
    ),
    ("client_already_exists", "the client is here already; --ensure takes that for success"),
    ("client_not_found", "`causeway ss client list` shows the clients that there are"),
    ("conf_download_failed", "the configuration source does not answer, or not with what the anchor says"),
    (
        "configuration_not_found",
        "there is no signing key for this source yet: causeway cs key add --source internal",
    ),
    (
        "csr_not_found",
        "the certificate belongs to no signing request of this server, or to one that was deleted",
    ),
    (
        "cert_wrong_usage",
        "a certificate for signing was given where one for authentication belongs, or the reverse",
    ),
    ("global_conf_outdated", "the global configuration has expired: causeway diagnose says why"),
    ("init_already_initialized", "the server is initialized; --ensure takes that for success"),
    ("invalid_encoded_id", "identifiers are written COM:4321:TEST or DEV:COM:4321:TEST"),
    ("invalid_member_id", "members are written COM:4321 or DEV:COM:4321"),
    ("invalid_subsystem_id", "subsystems are written COM:4321:TEST or DEV:COM:4321:TEST"),
    ("management_request_client_already_registered", "the client is registered at this server already"),
    (
        "management_request_exists",
        "the same request waits at the central server already: causeway cs request list",
    ),
    ("management_request_invalid_state_for_approval", "it was approved, declined or revoked before"),
    (
        "management_request_server_not_found",
        "its server is not registered yet: approve its authentication certificate first",
    ),
    (
        "management_service_provider_not_set",
        "choose one: causeway cs management provider set COM:1234:MANAGEMENT",
    ),
    ("malformed_server_conf", "the server is not initialized yet: causeway ss server init"),
    ("member_class_is_in_use", "members have this class"),
    ("member_class_not_found", "`member-class list` shows the classes that there are"),
    ("member_exists", "the member is here already; --ensure takes that for success"),
    ("member_not_found", "`causeway cs member list` shows the members that there are"),
    ("pin_incorrect", "the PIN is wrong; a few wrong ones lock a token"),
    ("signing_key_action_not_possible", "the token must be logged in, and a key in use is not deleted"),
    ("subsystem_registered_and_cannot_be_deleted", "unregister it from its security servers first"),
    ("token_activation_failed", "the PIN is wrong or the token cannot be used"),
    ("token_not_active", "the token is logged out: token login"),
    ("token_pin_locked", "too many wrong PINs: the token is locked"),
    ("token_weak_pin", "at least ten characters of three kinds (small, capital, digit, other)"),
    ("validation_failure", "a value breaks a rule:"),
    ("warnings_detected", "the server asks before it does this:"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: http::HeaderMap::new(), body: body.to_owned().into() }
    }

    #[test]
    fn a_refusal_says_code_metadata_and_what_to_do() {
        let body = r#"{"status":404,"error":{"code":"member_class_not_found","metadata":["COM"]}}"#;
        let failure = Failure::of(&answer(404, body), "POST /members".into(), "cs", true);
        let text = failure.to_string();
        assert!(
            text.starts_with("member_class_not_found (404): COM\n") && text.contains("member-class list"),
            "{text}"
        );
        assert_eq!((failure.exit(), failure.code()), (Exit::Failed, Some("member_class_not_found")));
        assert_eq!(failure.json(), serde_json::from_str::<Value>(body).unwrap());
    }

    #[test]
    fn what_is_no_error_body_is_told_by_its_status() {
        let failure = Failure::of(&answer(502, "<html>"), "GET /clients".into(), "ss1", true);
        assert_eq!(failure.to_string(), "GET /clients was refused (502)");
        for (status, known, says) in
            [(401, false, "wants to know who asks"), (401, true, "log in anew"), (403, true, "roles")]
        {
            let failure = Failure::of(&answer(status, ""), "GET /x".into(), "ss1", known);
            assert!(failure.to_string().contains(says), "{failure}");
            assert_eq!(failure.exit(), Exit::NotAuthorised);
        }
    }

    #[test]
    fn warnings_and_broken_rules_are_listed() {
        let body = r#"{"status":400,"error":{"code":"warnings_detected"},"warnings":[{"code":"adding_services","metadata":["a"]}]}"#;
        let failure = Failure::of(&answer(400, body), "PUT /x".into(), "ss1", true);
        assert!(failure.to_string().contains("warning adding_services: a"), "{failure}");
        assert_eq!(failure.warnings().len(), 1);
        let body = r#"{"status":400,"error":{"code":"validation_failure","validation_errors":{"memberAddDto.memberName":["NotNull"]}}}"#;
        let failure = Failure::of(&answer(400, body), "PUT /x".into(), "ss1", true);
        assert!(failure.to_string().ends_with("memberName: NotNull"), "{failure}");
    }
}
