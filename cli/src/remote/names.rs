//! What has a name besides its id: keys, tokens, certificates, groups, services, CAs. A name is taken where it fits one thing alone.
//!
//! The same lists are offered by shell completion.

use serde_json::Value;

use super::connection::encode;
use super::output::field;
use super::session::Session;
use crate::exit::Usage;

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A token, by id or name.
    Token,
    /// A key of a security server, by id, name or label.
    Key,
    /// A certificate of a token, by the beginning of its hash.
    Certificate,
    /// A local group, by id, code, or `CLIENT:code`.
    LocalGroup,
    /// A service description, by id, address, or the code of one of its services.
    Description,
    /// A service, by id or code.
    Service,
    /// A configuration signing key of a central server, by id or label.
    SigningKey,
    /// A certification service of a central server, by id or name.
    CertificationService,
    /// A timestamping service of a central server, by id or address.
    TimestampingService,
}

/// Something that can be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// As the API wants it.
    pub(crate) id: String,
    /// What it is called.
    pub(crate) names: Vec<String>,
}

impl Known {
    fn new(id: String, names: impl IntoIterator<Item = String>) -> Self {
        Self { id, names: names.into_iter().filter(|name| !name.is_empty()).collect() }
    }
}

impl What {
    const fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Key | Self::SigningKey => "key",
            Self::Certificate => "certificate",
            Self::LocalGroup => "group",
            Self::Description => "service description",
            Self::Service => "service",
            Self::CertificationService => "certification service",
            Self::TimestampingService => "timestamping service",
        }
    }
}

/// The id of what `text` means. What is nothing's name is taken for an id, and the server will say what it thinks of it.
///
/// # Errors
/// A name of several things.
pub(crate) fn find(session: &Session, what: What, text: &str) -> anyhow::Result<String> {
    // The software token's id, whatever the server.
    if what == What::Token && text == "0" {
        return Ok(text.to_owned());
    }
    pick(what, &known(session, what)?, text)
}

fn pick(what: What, known: &[Known], text: &str) -> anyhow::Result<String> {
    if known.iter().any(|one| one.id == text) {
        return Ok(text.to_owned());
    }
    let upper = text.to_uppercase();
    let fits = |one: &&Known| match what {
        What::Certificate => upper.len() >= 6 && one.id.starts_with(&upper),
        _ => one.names.iter().any(|name| name == text),
    };
    let found: Vec<&Known> = known.iter().filter(fits).collect();
    match found.as_slice() {
        [] => Ok(text.to_owned()),
        [one] => Ok(one.id.clone()),
        several => {
            let ids: Vec<&str> = several.iter().map(|one| one.id.as_str()).collect();
            Err(Usage(format!("{text:?} is the name of more than one {}: {}", what.word(), ids.join(", ")))
                .into())
        }
    }
}

/// All that there are.
pub(crate) fn known(session: &Session, what: What) -> anyhow::Result<Vec<Known>> {
    let simple = |path: &str, id: &str, names: &[&str]| -> anyhow::Result<Vec<Known>> {
        let list = session.list(path)?;
        let one = |item: &Value| Known::new(field(item, id), names.iter().map(|name| field(item, name)));
        Ok(list.iter().map(one).collect())
    };
    match what {
        What::Token => simple("/tokens", "id", &["name"]),
        What::CertificationService => simple("/certification-services", "id", &["name"]),
        What::TimestampingService => simple("/timestamping-services", "id", &["url"]),
        What::Key => Ok(keys(session)?
            .iter()
            .map(|key| Known::new(field(key, "id"), [field(key, "name"), field(key, "label")]))
            .collect()),
        What::Certificate => Ok(keys(session)?
            .iter()
            .flat_map(|key| key["certificates"].as_array().cloned().unwrap_or_default())
            .map(|cert| Known::new(field(&cert, "certificate_details.hash"), []))
            .collect()),
        What::SigningKey => {
            let tokens = session.list("/tokens")?;
            let keys =
                tokens.iter().filter_map(|token| token["configuration_signing_keys"].as_array()).flatten();
            Ok(keys.map(|key| Known::new(field(key, "id"), [field(key, "label.label")])).collect())
        }
        What::LocalGroup => per_client(session, "local-groups", |client, group| {
            let code = field(group, "code");
            vec![Known::new(field(group, "id"), [format!("{client}:{code}"), code])]
        }),
        What::Description => per_client(session, "service-descriptions", |_, one| {
            let services = one["services"].as_array().into_iter().flatten();
            let mut names = vec![field(one, "url")];
            for service in services {
                names.extend([
                    field(service, "id"),
                    field(service, "service_code"),
                    field(service, "full_service_code"),
                ]);
            }
            names.sort();
            names.dedup();
            vec![Known::new(field(one, "id"), names)]
        }),
        What::Service => per_client(session, "service-descriptions", |client, one| {
            let services = one["services"].as_array().into_iter().flatten();
            services
                .map(|service| {
                    let mut names = vec![field(service, "service_code"), field(service, "full_service_code")];
                    // As operators write it, without the instance.
                    let short = client.split_once(':').map_or(client, |(_, rest)| rest);
                    names.extend(names.clone().iter().map(|name| format!("{short}:{name}")));
                    names.dedup();
                    Known::new(field(service, "id"), names)
                })
                .collect()
        }),
    }
}

/// All keys of all tokens of a security server, each with the token's id in `token_id`.
pub(crate) fn keys(session: &Session) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for token in session.list("/tokens")? {
        for key in token["keys"].as_array().into_iter().flatten() {
            let mut key = key.clone();
            key["token_id"] = token["id"].clone();
            found.push(key);
        }
    }
    Ok(found)
}

/// Clients of this server alone, members with them.
pub(crate) fn own_clients(session: &Session) -> anyhow::Result<Vec<Value>> {
    session.list("/clients?internal_search=true&show_members=true")
}

fn per_client(
    session: &Session,
    what: &str,
    known: impl Fn(&str, &Value) -> Vec<Known>,
) -> anyhow::Result<Vec<Known>> {
    let mut found = Vec::new();
    for client in own_clients(session)? {
        let id = field(&client, "id");
        for one in session.list(format!("/clients/{}/{what}", encode(&id)))? {
            found.extend(known(&id, &one));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_where_it_is_one_things_alone() {
        let known = [
            Known::new("1".into(), ["a".to_owned(), "both".to_owned()]),
            Known::new("2".into(), ["both".to_owned()]),
            Known::new("ABCDEF12".into(), []),
        ];
        let pick = |what, text| pick(what, &known, text);
        assert_eq!(pick(What::Key, "a").unwrap(), "1");
        assert_eq!(pick(What::Key, "2").unwrap(), "2");
        assert_eq!(pick(What::Key, "unheard-of").unwrap(), "unheard-of");
        let several = pick(What::Key, "both").unwrap_err();
        assert!(
            several.is::<Usage>() && several.to_string().contains("more than one key: 1, 2"),
            "{several}"
        );
        assert_eq!(pick(What::Certificate, "abcdef").unwrap(), "ABCDEF12");
        assert_eq!(pick(What::Certificate, "abc").unwrap(), "abc", "too short to mean anything");
    }
}
