//! `causeway cs request`: management requests, approved one by one, from a list, or as they come from servers that are trusted.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::connection::{Call, encode};
use super::failure::{Failure, failure_of};
use super::ids::{self, Shape};
use super::output::field;
use super::session::Session;
use super::verb::{Inputs, Kind, Noun, noun, opt, pos, run, verb};
use crate::exit::Usage;

const REQUEST: &[&str] = &[
    "Id=id",
    "Type=type",
    "Status=status",
    "Server=security_server_id.encoded_id",
    "Client=client_id.encoded_id",
    "Address=address",
    "Origin=origin",
    "Created=created_at",
];
const STATUSES: Kind = Kind::Choice(&[
    ("waiting", "WAITING"),
    ("submitted", "SUBMITTED FOR APPROVAL"),
    ("approved", "APPROVED"),
    ("declined", "DECLINED"),
    ("revoked", "REVOKED"),
]);
const ORIGINS: Kind = Kind::Choice(&[("server", "SECURITY_SERVER"), ("center", "CENTER")]);

pub(crate) fn noun_() -> Noun {
    let id = || pos("id", Kind::Number, "Number of the request");
    noun(
        "request",
        "Management requests",
        [
            verb("list", "Lists them", Method::GET, "/management-requests")
                .with([
                    opt("status", STATUSES, "In this status").query("status"),
                    opt("type", Kind::Text, "Of this type, such as CLIENT_REGISTRATION_REQUEST")
                        .query("types")
                        .many(),
                    opt("origin", ORIGINS, "Asked by a security server or by staff").query("origin"),
                    opt("server", Kind::Id(Shape::Server), "Of this security server").query("serverId"),
                    opt("search", Kind::Text, "Part of a name or code").query("query"),
                ])
                .pages("items", REQUEST),
            verb("show", "Shows one", Method::GET, "/management-requests/{id}").with([id()]).shows(
                &[
                    REQUEST,
                    &[
                        "Owner=security_server_owner",
                        "Client's owner=client_owner_name",
                        "Subsystem=client_subsystem_name",
                        "Certificate=certificate_details.subject_distinguished_name",
                        "Valid to=certificate_details.not_after",
                        "Hash=certificate_details.hash",
                        "Comments=comments",
                    ],
                ]
                .concat(),
            ),
            verb("approve", "Approves one", Method::POST, "/management-requests/{id}/approval")
                .with([id()])
                .shows(&["Id=id", "Type=type", "Status=status"])
                .bulk(),
            verb("decline", "Declines or revokes one", Method::DELETE, "/management-requests/{id}")
                .with([id()]),
            run("watch", "Waits for requests and approves those of servers in a file", watch)
                .with([
                    opt("approve-from", Kind::Text, "A file with server identifiers, one a line").required(),
                    opt("for", Kind::Text, "How long to watch (1h)"),
                    opt("count", Kind::Number, "End after so many approvals"),
                ])
                .lists(&[
                    "Id=id",
                    "Type=type",
                    "Server=security_server_id.encoded_id",
                    "Client=client_id.encoded_id",
                ]),
        ],
    )
}

/// What waits for approval.
pub(crate) fn waiting(session: &Session) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for status in ["WAITING", "SUBMITTED FOR APPROVAL"] {
        let call = Call::get("/management-requests").query("status", status).query("sort", "id");
        let body = session.all_pages(&call, "items")?;
        found.extend(body["items"].as_array().cloned().unwrap_or_default());
    }
    Ok(found)
}

/// Approves one.
pub(crate) fn approve(session: &Session, id: &str) -> anyhow::Result<Value> {
    session.call(&Call::new(Method::POST, format!("/management-requests/{}/approval", encode(id))))
}

fn watch(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let path = inputs.need("approve-from")?;
    let text = std::fs::read_to_string(path).map_err(|error| Usage(format!("{path}: {error}")))?;
    let mut trusted = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        trusted.insert(ids::complete(session, line.trim_matches('"'), Shape::Server)?);
    }
    let limit = super::verb::time(inputs.get("for").unwrap_or("1h")).map_err(Usage)?;
    let count = inputs
        .get("count")
        .map(str::parse)
        .transpose()
        .map_err(|_| Usage("--count takes a number".into()))?;
    approve_while(session, limit, count.unwrap_or(usize::MAX), |request| {
        trusted.contains(&field(request, "security_server_id.encoded_id"))
    })
}

/// Approves what fits until `count` were approved or the time is over; gives what was approved.
fn approve_while(
    session: &Session,
    limit: Duration,
    count: usize,
    fits: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let mut approved: Vec<Value> = Vec::new();
    let watched = session.wait_until("management requests", limit, || {
        for request in waiting(session)? {
            if approved.len() < count && fits(&request) {
                approve(session, &field(&request, "id"))?;
                eprintln!("approved {} {}", field(&request, "id"), field(&request, "type"));
                approved.push(request);
            }
        }
        Ok((approved.len() >= count, format!("{} approved", approved.len()), ()))
    });
    match watched {
        // Without a number to reach, the end of the time is the end of the work.
        Err(error)
            if count != usize::MAX || !matches!(failure_of(&error), Some(Failure::WaitTimedOut { .. })) =>
        {
            Err(error)
        }
        _ => Ok(json!(approved)),
    }
}
