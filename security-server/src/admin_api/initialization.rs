//! Initialisation: owner, server code, token; in one call or in several.
//!
//! Parts that are there must be left out, and missing ones given. The token is made first: a crash in between leaves a server whose
//! initialisation can be finished. It is not logged in afterwards.

use admin_api::check::{IDENTIFIER_CHARS, SIZE};
use admin_api::operation::{get, post};
use admin_api::problem::Warning;
use admin_api::types::security_server::system::{InitialServerConf, InitializationStatus};
use admin_api::{Answer, Call, Check, Problem};
use proto::id::{ClientId, MemberId, ServerId};

use super::{Api, Rows};
use crate::serverconf::event::Event;

/// Shortest PIN under the policy.
const MIN_PIN_CHARS: usize = 10;
/// Of lower case, upper case, digits, and others.
const MIN_PIN_CLASSES: usize = 3;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getInitializationStatus", "/initialization/status")
            .gives::<InitializationStatus>(200)
            .by(status),
        post("initSecurityServer", "/initialization")
            .right("INIT_CONFIG")
            .audit("Initialize server configuration")
            .takes::<InitialServerConf>()
            .gives_nothing(201)
            .refuses(&[
                (409, "anchor_not_found"),
                (409, "server_already_fully_initialized"),
                (400, "invalid_init_params"),
                (400, "token_weak_pin"),
                (400, "invalid_characters_pin"),
                (400, "warnings_detected"),
            ])
            .by(initialize),
    ]
}

fn has_anchor(api: &Api) -> bool {
    api.foundation.settings.configuration.anchor_file.exists()
}

fn status(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let named = api.foundation.server_id().is_some();
    let token = if api.foundation.token.get().is_some() { "INITIALIZED" } else { "NOT_INITIALIZED" };
    Answer::ok(&InitializationStatus {
        is_anchor_imported: has_anchor(api),
        is_server_code_initialized: named,
        is_server_owner_initialized: named,
        software_token_init_status: token.into(),
        enforce_token_pin_policy: api.foundation.settings.pin_policy,
    })
}

/// What was asked for, checked by itself.
struct Asked {
    class: Option<String>,
    code: Option<String>,
    server: Option<String>,
    pin: Option<String>,
    ignore_warnings: bool,
}

fn read(call: &Call) -> Result<Asked, Problem> {
    let asked: InitialServerConf = call.json()?;
    let mut check = Check::new("initialServerConfDto");
    let rules = [IDENTIFIER_CHARS, SIZE];
    let class = check.optional("ownerMemberClass", asked.owner_member_class, &rules);
    let code = check.optional("ownerMemberCode", asked.owner_member_code, &rules);
    let server = check.optional("securityServerCode", asked.security_server_code, &rules);
    let pin = check.optional("softwareTokenPin", asked.software_token_pin, &[SIZE]);
    check.done()?;
    let ignore_warnings = asked.ignore_warnings.is_some_and(|flag| flag.0);
    Ok(Asked { class, code, server, pin, ignore_warnings })
}

fn initialize(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked = read(call)?;
    if !has_anchor(api) {
        return Err(Problem::conflict("anchor_not_found"));
    }
    let _one_at_a_time = api.one_at_a_time();
    let (named, token) = (api.foundation.server_id().is_some(), api.foundation.token.get().is_some());
    if named && token {
        return Err(Problem::conflict("server_already_fully_initialized"));
    }
    check_parts(&asked, named, token)?;
    let identity = identity(api, &asked)?;
    if let Some(id) = &identity {
        call.note("ownerIdentifier", id.owner.to_string());
        call.note("serverCode", id.code.clone());
        call.accept(warnings(api, id, token)?, asked.ignore_warnings)?;
    }
    if let Some(pin) = &asked.pin {
        check_pin(api, pin)?;
        api.foundation.token.create(pin).map_err(Problem::internal)?;
    }
    // The owner becomes a client with it, whose information systems identify themselves.
    let events = identity.map(|id| vec![Event::ServerNamed { id }]).unwrap_or_default();
    api.change(call, events)?;
    api.foundation.rebuild();
    Ok(Answer::empty(201))
}

/// Missing and redundant parts.
fn check_parts(asked: &Asked, named: bool, token: bool) -> Result<(), Problem> {
    let parts = [
        (asked.server.is_some(), named, ["server_code_not_provided", "server_code_exists"]),
        (asked.class.is_some(), named, ["member_class_not_provided", "member_class_exists"]),
        (asked.code.is_some(), named, ["member_code_not_provided", "member_code_exists"]),
        (asked.pin.is_some(), token, ["pin_code_not_provided", "pin_code_exists"]),
    ];
    let wrong = parts.iter().filter(|(given, there, _)| given == there);
    let metadata: Vec<_> = wrong.map(|(_, there, words)| words[usize::from(*there)].to_owned()).collect();
    if metadata.is_empty() {
        return Ok(());
    }
    Err(Problem { metadata, ..Problem::bad_request("invalid_init_params") })
}

/// Who the server is to be, where that was asked.
fn identity(api: &Api, asked: &Asked) -> Result<Option<ServerId>, Problem> {
    let (Some(class), Some(code), Some(server)) = (&asked.class, &asked.code, &asked.server) else {
        return Ok(None);
    };
    let instance = api.globalconf()?.instance().to_owned();
    let owner = MemberId { instance, class: class.clone(), code: code.clone() };
    Ok(Some(ServerId { owner, code: server.clone() }))
}

fn warnings(api: &Api, id: &ServerId, token: bool) -> Result<Vec<Warning>, Problem> {
    let conf = api.globalconf()?;
    let mut warnings = Vec::new();
    let mut warn = |code: &str, metadata: Vec<String>| {
        warnings.push(Warning { code: code.to_owned(), metadata });
    };
    if token {
        warn("init_software_token_initialized", vec![]);
    }
    let owner = &id.owner;
    let short = format!("{}/{}/{}", owner.instance, owner.class, owner.code);
    if !conf.is_known(&ClientId { member: owner.clone(), subsystem: None }) {
        warn("init_unregistered_member", vec![short.clone()]);
    }
    if conf.server(id).is_some() {
        warn("init_server_id_exists", vec![format!("{short}/{}", id.code)]);
    }
    Ok(warnings)
}

/// The PIN policy, where it is on.
pub(super) fn check_pin(api: &Api, pin: &str) -> Result<(), Problem> {
    if !api.foundation.settings.pin_policy {
        return Ok(());
    }
    if !pin.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return Err(Problem::bad_request("invalid_characters_pin"));
    }
    let kinds: [fn(&char) -> bool; 4] =
        [char::is_ascii_lowercase, char::is_ascii_uppercase, char::is_ascii_digit, |c| {
            !c.is_ascii_alphanumeric()
        }];
    let classes = kinds.iter().filter(|kind| pin.chars().any(|c| kind(&c))).count();
    if pin.chars().count() >= MIN_PIN_CHARS && classes >= MIN_PIN_CLASSES {
        return Ok(());
    }
    let metadata = ["pin_min_length", "10", "pin_min_char_classes_count", "3"];
    Err(Problem { metadata: metadata.map(str::to_owned).into(), ..Problem::bad_request("token_weak_pin") })
}
