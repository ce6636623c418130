//! Refusals: status, code, metadata, failed rules, warnings. Absent parts are left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Code of a refusal of fields.
pub const VALIDATION_FAILURE: &str = "validation_failure";
/// Code of a refusal until warnings are accepted.
pub const WARNINGS_DETECTED: &str = "warnings_detected";

/// What an operation refuses with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable lower-case word; without one the body is the status alone.
    pub code: Option<String>,
    /// Offending ids, limits; what begins with `tr.` names a text to translate.
    pub metadata: Vec<String>,
    /// Failed rules by `object.field`.
    pub validation_errors: BTreeMap<String, Vec<String>>,
    /// What the caller has to accept first.
    pub warnings: Vec<Warning>,
    /// For the log and the audit log, never for the caller.
    pub reason: Option<String>,
    /// Headers that belong to it, such as `Accept`.
    pub headers: Vec<(&'static str, String)>,
    /// The body is that of the log-in paths.
    pub log_in: bool,
}

/// Something to accept by `ignore_warnings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Warning {
    /// Stable lower-case word.
    pub code: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<String>,
}

/// The JSON body of a refusal, for servers and clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ErrorBody {
    /// HTTP status.
    pub status: u16,
    /// What is wrong, where there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// What the caller has to accept first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ErrorInfo {
    /// Stable lower-case word.
    pub code: String,
    /// Offending ids, limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<String>,
    /// Failed rules by `object.field`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub validation_errors: BTreeMap<String, Vec<String>>,
}

impl Problem {
    /// The status and nothing else.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A status with a code.
    pub fn new(status: u16, code: impl Into<String>) -> Self {
        Self { status, code: Some(code.into()), ..Self::default() }
    }

    /// 400 with a code.
    pub fn bad_request(code: impl Into<String>) -> Self {
        Self::new(400, code)
    }

    /// 404 with a code.
    pub fn missing(code: impl Into<String>) -> Self {
        Self::new(404, code)
    }

    /// 409 with a code.
    pub fn conflict(code: impl Into<String>) -> Self {
        Self::new(409, code)
    }

    /// A request that cannot be read at all.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::status(400).because(reason)
    }

    /// No or no good credential.
    pub fn unauthorised(reason: impl Into<String>) -> Self {
        Self::status(401).because(reason)
    }

    /// Not with these roles.
    pub fn forbidden() -> Self {
        Self::status(403).because("the caller has no right to this")
    }

    /// No such path.
    pub fn not_found() -> Self {
        Self::status(404)
    }

    /// Something of ours failed; the caller is told no more.
    pub fn internal(reason: impl std::fmt::Display) -> Self {
        Self::new(500, "internal_error").because(reason.to_string())
    }

    /// Fields that break rules.
    pub fn validation(errors: BTreeMap<String, Vec<String>>) -> Self {
        Self { validation_errors: errors, ..Self::bad_request(VALIDATION_FAILURE) }
    }

    /// One field that breaks a rule.
    pub fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::validation(BTreeMap::from([(field.into(), vec![rule.into()])]))
    }

    /// Warnings to accept.
    pub fn warnings(warnings: Vec<Warning>) -> Self {
        Self { warnings, ..Self::bad_request(WARNINGS_DETECTED) }
    }

    /// With one more piece of metadata.
    #[must_use]
    pub fn with(mut self, metadata: impl Into<String>) -> Self {
        self.metadata.push(metadata.into());
        self
    }

    /// With a reason for the logs.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// What the logs say.
    pub fn describe(&self) -> String {
        match (&self.reason, &self.code) {
            (Some(reason), _) => reason.clone(),
            (None, Some(code)) if self.metadata.is_empty() => code.clone(),
            (None, Some(code)) => format!("{code}: {}", self.metadata.join(", ")),
            (None, None) => format!("status {}", self.status),
        }
    }

    /// The JSON body.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            status: self.status,
            error: self.code.clone().map(|code| ErrorInfo {
                code,
                metadata: self.metadata.clone(),
                validation_errors: self.validation_errors.clone(),
            }),
            warnings: self.warnings.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_parts_are_left_out() {
        let cases = [
            (Problem::forbidden(), r#"{"status":403}"#),
            (
                Problem::conflict("member_class_exists").with("COM"),
                r#"{"status":409,"error":{"code":"member_class_exists","metadata":["COM"]}}"#,
            ),
            (
                Problem::invalid("xDto.code", "NotNull"),
                r#"{"status":400,"error":{"code":"validation_failure","validation_errors":{"xDto.code":["NotNull"]}}}"#,
            ),
            (
                Problem::warnings(vec![Warning { code: "w".into(), metadata: vec![] }]),
                r#"{"status":400,"error":{"code":"warnings_detected"},"warnings":[{"code":"w"}]}"#,
            ),
        ];
        for (problem, expected) in cases {
            assert_eq!(serde_json::to_string(&problem.body()).unwrap(), expected);
        }
    }
}
