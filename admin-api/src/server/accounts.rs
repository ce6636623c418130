//! Log-in, log-out, the signed-in user, API keys: what both servers answer alike.

use std::net::IpAddr;
use std::sync::Arc;

use host::http::{RequestBody, read_all};
use http::{HeaderMap, Method, Request};
use serde_json::{Map, json};

use super::respond::{self, Reply};
use super::{Frame, body_problem, credentials};
use crate::audit::AuditEvent;
use crate::auth::{KeyError, KeyInfo};
use crate::call::{Answer, Call, Credential};
use crate::operation::{Operation, Role, delete, get, post, put};
use crate::problem::Problem;
use crate::types::{ApiKey, SessionStatus, User};

/// Rights that every server's table must have.
const VIEW_API_KEYS: &str = "VIEW_API_KEYS";
const CREATE_API_KEY: &str = "CREATE_API_KEY";
const UPDATE_API_KEY: &str = "UPDATE_API_KEY";
const REVOKE_API_KEY: &str = "REVOKE_API_KEY";

/// Rows of every server's table; [`Frame::account`] carries them out, since they are about the frame itself.
pub(super) fn rows<S>() -> Vec<Operation<S>> {
    vec![
        get("getUser", "/user").gives::<User>(200),
        get("isSessionAlive", "/notifications/session-status").gives::<SessionStatus>(200),
        get("listApiKeys", "/api-keys").right(VIEW_API_KEYS).gives::<Vec<ApiKey>>(200),
        post("createApiKey", "/api-keys")
            .right(CREATE_API_KEY)
            .audit("API key create")
            .takes::<Vec<String>>()
            .gives::<ApiKey>(200)
            .refuses(&[(400, "invalid_role")]),
        get("getApiKey", "/api-keys/{id}")
            .right(VIEW_API_KEYS)
            .gives::<ApiKey>(200)
            .refuses(&[(404, "api_key_not_found")]),
        put("updateApiKey", "/api-keys/{id}")
            .right(UPDATE_API_KEY)
            .audit("API key update")
            .takes::<Vec<String>>()
            .gives::<ApiKey>(200)
            .refuses(&[(400, "invalid_role"), (404, "api_key_not_found")]),
        delete("revokeApiKey", "/api-keys/{id}")
            .right(REVOKE_API_KEY)
            .audit("API key remove")
            .gives_nothing(200)
            .refuses(&[(404, "api_key_not_found")]),
    ]
}

impl<S: Send + Sync + 'static> Frame<S> {
    /// Carries a row of [`rows`] out; `None` for any other.
    pub(super) fn account(&self, id: &str, call: &mut Call) -> Option<Result<Answer, Problem>> {
        Some(match id {
            "getUser" => self.user(call),
            "isSessionAlive" => {
                Answer::ok(&SessionStatus { valid: call.caller.credential == Credential::Session })
            }
            "listApiKeys" => Answer::ok(&self.keys.list().iter().map(shown).collect::<Vec<_>>()),
            "createApiKey" => self.create_key(call),
            "getApiKey" => self.find_key(call).and_then(|info| Answer::ok(&shown(&info))),
            "updateApiKey" => self.update_key(call),
            "revokeApiKey" => self.revoke_key(call),
            _ => return None,
        })
    }

    fn user(&self, call: &Call) -> Result<Answer, Problem> {
        Answer::ok(&User {
            username: call.caller.name.clone(),
            roles: call.caller.roles.iter().map(|role| format!("ROLE_{}", role.name())).collect(),
            permissions: self.rights_of(&call.caller),
        })
    }

    fn find_key(&self, call: &Call) -> Result<KeyInfo, Problem> {
        let id = call.path_number("id", "api_key_not_found")?;
        self.keys
            .list()
            .into_iter()
            .find(|key| key.id == id)
            .ok_or_else(|| Problem::missing("api_key_not_found").with(call.path("id")))
    }

    fn create_key(&self, call: &mut Call) -> Result<Answer, Problem> {
        let roles = self.asked_roles(call, &[])?;
        let made = self.keys.create(&roles).map_err(key_problem)?;
        call.note("apiKeyId", made.info.id);
        call.note("apiKeyRoles", json!(shown(&made.info).roles));
        Answer::ok(&ApiKey { key: Some(made.key), ..shown(&made.info) })
    }

    fn update_key(&self, call: &mut Call) -> Result<Answer, Problem> {
        let present = self.find_key(call)?;
        call.note("apiKeyId", present.id);
        let roles = self.asked_roles(call, &present.roles)?;
        let changed = self.keys.change(present.id, &roles).map_err(key_problem)?;
        call.note("apiKeyRoles", json!(shown(&changed).roles));
        Answer::ok(&shown(&changed))
    }

    fn revoke_key(&self, call: &mut Call) -> Result<Answer, Problem> {
        let key = self.find_key(call)?;
        call.note("apiKeyId", key.id);
        self.keys.revoke(key.id).map_err(key_problem)?;
        Ok(Answer::empty(200))
    }

    /// The roles that a body names, which the caller must have, or the key already.
    fn asked_roles(&self, call: &Call, present: &[Role]) -> Result<Vec<Role>, Problem> {
        let names: Vec<String> = call.json()?;
        let role = |name: &String| Role::of(name).filter(|role| self.roles.contains(role));
        let roles: Option<Vec<Role>> = names.iter().map(role).collect();
        let roles =
            roles.filter(|roles| !roles.is_empty()).ok_or_else(|| Problem::bad_request("invalid_role"))?;
        let held = &call.caller.roles;
        let may_give = |role: &Role| {
            held.contains(role)
                || present.contains(role)
                || (*role == Role::ManagementService && held.contains(&Role::SystemAdministrator))
        };
        if roles.iter().all(may_give) { Ok(roles) } else { Err(Problem::forbidden()) }
    }

    /// `POST /login` and `POST /logout`.
    pub(super) async fn log_in_or_out(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        path: &str,
        address: IpAddr,
        correlation: &str,
    ) -> Reply {
        if request.method() != Method::POST {
            return Problem::status(405).header("allow", "POST").into();
        }
        let (parts, body) = request.into_parts();
        if path == "/logout" {
            return self.log_out(&parts.headers, address, correlation).await;
        }
        let form = match read_all(body, self.settings.body_bytes).await {
            Ok(bytes) => respond::query(&String::from_utf8_lossy(&bytes)),
            Err(error) => return body_problem(&error).into(),
        };
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let (name, password) = (field("username").unwrap_or_default(), field("password").unwrap_or_default());
        match self.check_password(name.clone(), password).await {
            Some(roles) => {
                let (id, session) = self.sessions.begin(&name, roles, self.clock.now());
                self.note_log_in("Log in user", &name, address, None, path, correlation).await;
                let mut answer =
                    Answer { media_type: Some("text/plain"), body: "OK\n".into(), ..Answer::empty(200) };
                let cookie = format!(
                    "{}={id}; Path=/; Secure; HttpOnly; SameSite=Strict",
                    credentials::SESSION_COOKIE
                );
                answer.headers.push(("set-cookie", cookie));
                answer.headers.push(("set-cookie", credentials::csrf_cookie(&session.csrf)));
                answer.into()
            }
            None => {
                let reason = Some("wrong name or password");
                self.note_log_in("Log in user", &name, address, reason, path, correlation).await;
                Problem { log_in: true, ..Problem::unauthorised("wrong name or password") }.into()
            }
        }
    }

    async fn log_out(self: &Arc<Self>, headers: &HeaderMap, address: IpAddr, correlation: &str) -> Reply {
        let ended =
            credentials::cookie(headers, credentials::SESSION_COOKIE).and_then(|id| self.sessions.end(id));
        if let Some(user) = ended {
            self.note_log_in("Log out user", &user, address, None, "/logout", correlation).await;
        }
        Answer::empty(200).into()
    }

    async fn note_log_in(
        &self,
        event: &'static str,
        user: &str,
        address: IpAddr,
        reason: Option<&'static str>,
        path: &str,
        correlation: &str,
    ) {
        let (audit, at, user) =
            (Arc::clone(&self.audit), self.clock.now(), user.chars().take(255).collect::<String>());
        let (path, correlation) = (path.to_owned(), correlation.to_owned());
        let write = move || {
            let auth = Some(Credential::Session.name());
            let data = Map::new();
            let event = AuditEvent {
                event,
                user: &user,
                address: Some(address),
                reason,
                auth,
                url: &path,
                data: &data,
            };
            audit.write(at, &correlation, &event);
        };
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

fn shown(info: &KeyInfo) -> ApiKey {
    ApiKey { id: info.id, roles: info.roles.iter().map(|role| role.name().to_owned()).collect(), key: None }
}

fn key_problem(error: KeyError) -> Problem {
    match error {
        KeyError::Unknown(_) => Problem::missing("api_key_not_found"),
        KeyError::NoRole => Problem::bad_request("invalid_role"),
        KeyError::TooMany => Problem::conflict("too_many_api_keys"),
        KeyError::Store(error) => Problem::internal(error),
    }
}
