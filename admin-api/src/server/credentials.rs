//! Who calls: an API key, a session, or name and password; in this order, and each only where it counts.
//!
//! The paths below `/api-keys` never take an API key: they answer a session from anywhere, and name and password from the networks that may
//! manage keys. A request with a live session brings the session's token along, whatever else it shows.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use http::{HeaderMap, header};
use serde_json::Map;

use super::respond::Reply;
use super::{Frame, route};
use crate::audit::AuditEvent;
use crate::auth::Session;
use crate::call::{Caller, Credential};
use crate::operation::Role;
use crate::problem::Problem;

/// Cookie with the session's id.
pub(super) const SESSION_COOKIE: &str = "JSESSIONID";
/// Cookie with the session's token, for scripts of pages to read.
pub(super) const CSRF_COOKIE: &str = "XSRF-TOKEN";
const CSRF_HEADER: &str = "x-xsrf-token";
const SCHEME: &str = "x-road-apikey";

impl<S: Send + Sync + 'static> Frame<S> {
    /// Who calls, or the answer that refuses; `below` is the path below the base path.
    pub(super) async fn caller(
        self: &Arc<Self>,
        headers: &HeaderMap,
        path: &str,
        below: &str,
        address: IpAddr,
        correlation: &str,
    ) -> Result<Caller, Box<Reply>> {
        // As the routes read it: another spelling of a path must not lead to it with another credential.
        let manages_keys = route::first(below).is_some_and(|first| first == "api-keys");
        let session = self.session(headers, path);
        if let Some((id, session)) = &session {
            self.check_csrf(headers, id, session)?;
        }
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let caller = match authorization {
            Some(value) if manages_keys => match basic(value) {
                Some((name, password)) => self.by_password(name, password, address).await,
                None => session.map(|(_, session)| of_session(session, address)),
            },
            Some(value) => match api_key(value) {
                Some(key) => self.by_key(key, address),
                None => session.map(|(_, session)| of_session(session, address)),
            },
            None => session.map(|(_, session)| of_session(session, address)),
        };
        if let Some(caller) = caller {
            return Ok(caller);
        }
        if authorization.is_some() {
            self.record_failure(path, address, correlation).await;
        }
        let refused = Problem::unauthorised("no or no good credential");
        Err(Box::new(Problem { log_in: manages_keys, ..refused }.into()))
    }

    /// The live session that a request names.
    pub(super) fn session(&self, headers: &HeaderMap, path: &str) -> Option<(String, Session)> {
        let id = cookie(headers, SESSION_COOKIE)?;
        let prolongs = !path.ends_with("/notifications/session-status");
        let session = self.sessions.find(id, self.clock.now(), prolongs)?;
        Some((id.to_owned(), session))
    }

    pub(super) fn check_csrf(
        &self,
        headers: &HeaderMap,
        id: &str,
        session: &Session,
    ) -> Result<(), Box<Reply>> {
        let shown = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        let in_cookie = cookie(headers, CSRF_COOKIE);
        if shown == Some(&session.csrf) && in_cookie == Some(&session.csrf) {
            return Ok(());
        }
        let renewed = self.sessions.renew_csrf(id).unwrap_or_default();
        let refused = Problem::status(403)
            .because("the session's token is missing or wrong")
            .header("set-cookie", csrf_cookie(&renewed));
        Err(Box::new(Problem { log_in: true, ..refused }.into()))
    }

    fn by_key(&self, key: &str, address: IpAddr) -> Option<Caller> {
        if !self.settings.regular.contains(address) {
            return None;
        }
        let found = self.keys.find(key)?;
        Some(Caller {
            name: format!("api-key-{}", found.id),
            roles: self.own_roles(found.roles),
            credential: Credential::ApiKey,
            address,
        })
    }

    async fn by_password(
        self: &Arc<Self>,
        name: String,
        password: String,
        address: IpAddr,
    ) -> Option<Caller> {
        if !self.settings.key_management.contains(address) {
            return None;
        }
        let roles = self.check_password(name.clone(), password).await?;
        Some(Caller { name, roles, credential: Credential::Basic, address })
    }

    /// Blocks a thread of its own for as long as a password takes.
    pub(super) async fn check_password(
        self: &Arc<Self>,
        name: String,
        password: String,
    ) -> Option<BTreeSet<Role>> {
        let _turn = self.passwords.acquire().await.ok()?;
        let this = Arc::clone(self);
        let checked = tokio::task::spawn_blocking(move || this.users.check(&name, &password)).await;
        let roles = self.own_roles(checked.ok().flatten()?);
        (!roles.is_empty()).then_some(roles)
    }

    /// Without roles that this server does not know.
    fn own_roles(&self, roles: impl IntoIterator<Item = Role>) -> BTreeSet<Role> {
        roles.into_iter().filter(|role| self.roles.contains(role)).collect()
    }

    async fn record_failure(&self, path: &str, address: IpAddr, correlation: &str) {
        let (audit, at) = (Arc::clone(&self.audit), self.clock.now());
        let (path, correlation) = (path.to_owned(), correlation.to_owned());
        let write = move || {
            let event = AuditEvent {
                event: "API key authentication",
                user: "unknown",
                address: Some(address),
                reason: Some("no or no good credential"),
                auth: None,
                url: &path,
                data: &Map::new(),
            };
            audit.write(at, &correlation, &event);
        };
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

fn of_session(session: Session, address: IpAddr) -> Caller {
    Caller { name: session.user, roles: session.roles, credential: Credential::Session, address }
}

pub(super) fn csrf_cookie(token: &str) -> String {
    format!("{CSRF_COOKIE}={token}; Path=/; Secure; SameSite=Strict")
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
}

/// `X-Road-ApiKey token=<key>`: scheme and parameter in any case, one space between them.
fn api_key(authorization: &str) -> Option<&str> {
    let (scheme, rest) = authorization.trim().split_once(' ')?;
    let (name, key) = rest.split_once('=')?;
    let fits = scheme.eq_ignore_ascii_case(SCHEME) && name.eq_ignore_ascii_case("token");
    Some(key.trim()).filter(|key| fits && !key.is_empty())
}

fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, rest) = authorization.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_key() {
        let cases = [
            ("X-Road-ApiKey token=abc", Some("abc")),
            ("X-Road-apikey TOKEN= abc ", Some("abc")),
            ("X-Road-ApiKey  token=abc", None),
            ("X-Road-ApiKey abc", None),
            ("Bearer token=abc", None),
            ("X-Road-ApiKey token=", None),
        ];
        for (header, expected) in cases {
            assert_eq!(api_key(header), expected, "{header}");
        }
        assert_eq!(basic("Basic YW5uOmE6Yg=="), Some(("ann".into(), "a:b".into())));
        assert_eq!(basic("Basic !"), None);
    }
}
