//! Who can be given rights: subsystems, global groups, and local groups of the client that gives them.
//!
//! In paths and bodies a subsystem is written by its four codes, a global group by its two, a local group by its number.

use std::collections::BTreeSet;

use admin_api::Problem;
use admin_api::types::date;
use admin_api::types::security_server::services::{ServiceClient, ServiceClientType, ServiceClients};
use pki::globalconf::GlobalConf;
use proto::id::{ClientId, GlobalGroupId, Subject};
use proto::time::UnixTime;

use super::clients::{Names, by_name};
use crate::serverconf::state::{ClientState, State};

/// What an identifier of a subject names; local groups by number, since their codes are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A subsystem.
    Subsystem(ClientId),
    /// A global group.
    GlobalGroup(GlobalGroupId),
    /// The number of a local group.
    LocalGroup(u64),
}

/// Reads an identifier of a subject.
///
/// # Errors
/// 400 `invalid_service_client_id`.
pub(super) fn parsed(text: &str) -> Result<Named, Problem> {
    let invalid = || Problem::bad_request("invalid_service_client_id");
    let client = ClientId::parse_encoded(text).ok().filter(|client| client.subsystem.is_some());
    if let Some(client) = client {
        return Ok(Named::Subsystem(client));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Named::LocalGroup).map_err(|_| invalid());
    }
    match text.split(':').collect::<Vec<_>>()[..] {
        [instance, code] if !instance.is_empty() && !code.is_empty() => {
            Ok(Named::GlobalGroup(GlobalGroupId { instance: instance.to_owned(), code: code.to_owned() }))
        }
        _ => Err(invalid()),
    }
}

/// All of a body, each once.
///
/// # Errors
/// As [`parsed`].
pub(super) fn all_parsed(asked: &ServiceClients) -> Result<Vec<Named>, Problem> {
    let mut all: Vec<Named> = Vec::new();
    for item in &asked.items {
        let named = parsed(item.id.as_deref().map_or("", |id| id))?;
        if !all.contains(&named) {
            all.push(named);
        }
    }
    Ok(all)
}

impl Named {
    /// As rights are recorded for it; `None` for a local group that there is none of, or of another client.
    pub(super) fn subject(&self, state: &State, client: &ClientId) -> Option<Subject> {
        Some(match self {
            Self::Subsystem(id) => Subject::Client(id.clone()),
            Self::GlobalGroup(id) => Subject::GlobalGroup(id.clone()),
            Self::LocalGroup(number) => {
                let (_, code, _) = state.group(*number).filter(|(owner, ..)| *owner == client)?;
                Subject::LocalGroup(code.clone())
            }
        })
    }

    /// As [`Self::subject`], of one that may be given rights: registered, or a group that there is.
    ///
    /// # Errors
    /// `missing` with the code `service_client_not_found`.
    pub(super) fn existing(
        &self,
        state: &State,
        client: &ClientId,
        conf: &GlobalConf,
        missing: fn(&'static str) -> Problem,
    ) -> Result<Subject, Problem> {
        let there = match self {
            Self::Subsystem(id) => conf.is_known(id),
            Self::GlobalGroup(id) => conf.group_description(id).is_some(),
            Self::LocalGroup(_) => true,
        };
        let subject = self.subject(state, client).filter(|_| there);
        subject.ok_or_else(|| missing("service_client_not_found"))
    }
}

/// What subjects are shown with.
pub(super) struct Shown<'a> {
    pub(super) names: Names<'a>,
    pub(super) conf: Option<&'a GlobalConf>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(conf: Option<&'a GlobalConf>) -> Self {
        Self { names: Names::of(conf), conf }
    }

    /// A subject as the API shows it; `None` for a member and for a local group that is gone.
    pub(super) fn subject(
        &self,
        client: &ClientState,
        subject: &Subject,
        given: Option<UnixTime>,
    ) -> Option<ServiceClient> {
        let rights_given_at = given.map(date);
        Some(match subject {
            Subject::Client(id) => ServiceClient {
                id: id.encoded(),
                name: self.names.subsystem(id).map(str::to_owned).or_else(|| id.subsystem.clone()),
                local_group_code: None,
                service_client_type: id.subsystem.as_ref().map(|_| ServiceClientType::Subsystem)?,
                rights_given_at,
            },
            Subject::GlobalGroup(id) => ServiceClient {
                id: format!("{}:{}", id.instance, id.code),
                name: self.conf.and_then(|conf| conf.group_description(id)).map(str::to_owned),
                local_group_code: None,
                service_client_type: ServiceClientType::GlobalGroup,
                rights_given_at,
            },
            Subject::LocalGroup(code) => {
                let group = client.groups.get(code)?;
                ServiceClient {
                    id: group.id.to_string(),
                    name: Some(group.description.clone()),
                    local_group_code: Some(code.clone()),
                    service_client_type: ServiceClientType::LocalGroup,
                    rights_given_at,
                }
            }
        })
    }

    /// Subjects in the order of lists.
    pub(super) fn all<'s>(
        &self,
        client: &ClientState,
        subjects: impl Iterator<Item = (&'s Subject, Option<UnixTime>)>,
    ) -> Vec<ServiceClient> {
        let mut all: Vec<_> =
            subjects.filter_map(|(subject, at)| self.subject(client, subject, at)).collect();
        all.sort_by(|a, b| by_name((&a.name, &a.id), (&b.name, &b.id)));
        all
    }

    /// Whoever may be given rights by a client.
    pub(super) fn candidates(&self, client: &ClientState) -> BTreeSet<Subject> {
        let subsystems = self.names.clients().filter(|id| id.subsystem.is_some());
        let subsystems = subsystems.map(|id| Subject::Client(id.clone()));
        let global = self.conf.into_iter().flat_map(|conf| {
            conf.instances().into_iter().flat_map(move |instance| {
                let codes = conf.groups(instance);
                codes.map(move |code| {
                    Subject::GlobalGroup(GlobalGroupId {
                        instance: instance.to_owned(),
                        code: code.to_owned(),
                    })
                })
            })
        });
        let local = client.groups.keys().map(|code| Subject::LocalGroup(code.clone()));
        subsystems.chain(global).chain(local).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_by_the_number_of_their_codes() {
        let group = GlobalGroupId { instance: "DEV".into(), code: "owners".into() };
        let cases = [
            ("DEV:COM:1:S", Some(Named::Subsystem(ClientId::parse_encoded("DEV:COM:1:S").unwrap()))),
            ("DEV:owners", Some(Named::GlobalGroup(group))),
            ("42", Some(Named::LocalGroup(42))),
            ("DEV:COM:1", None),
            ("x", None),
            ("", None),
            (":", None),
            ("99999999999999999999999", None),
            ("DEV:ORG:1234:Subsystem | DEV:security-server-owners | 123", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text).ok(), expected, "{text}");
        }
    }
}
