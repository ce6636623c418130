//! What the answers of a security server mean. Pure: bodies and a time in, checks out.

use std::time::Duration;

use proto::time::UnixTime;
use serde_json::{Value, json};

use super::Report;
use crate::remote::output::field;
use crate::remote::security::keys::ends_within;

/// More than this apart, certificates and tokens are judged wrongly.
const CLOCKS_APART: Duration = Duration::from_secs(60);
/// Certificates that end within this want a new one.
const SOON: Duration = Duration::from_secs(30 * 86_400);
/// A backup older than this is none.
const BACKUP_AGE: Duration = Duration::from_secs(7 * 86_400);

/// Ours and the server's, by the `Date` of its answer.
pub(super) fn clock(date: &str, now: UnixTime, report: &mut Report) {
    let Some(theirs) = http_date(date) else {
        report.skip("clock", "the server does not say what time it is");
        return;
    };
    let apart = if theirs > now { theirs.since(now) } else { now.since(theirs) };
    let finding = format!("{} s apart from this machine", apart.as_secs());
    match apart > CLOCKS_APART {
        true => report.warn("clock", finding, "synchronise the clocks of both machines"),
        false => report.ok("clock", finding),
    }
}

/// RFC 9110 §5.6.7, the form that is sent: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<UnixTime> {
    let mut parts = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? + 1;
    UnixTime::from_iso8601(&format!("{year}-{month:02}-{day}T{time}Z"))
}

/// What the key may see.
pub(super) fn roles(user: &Value, report: &mut Report) {
    let permissions = user["permissions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has = |wanted: &str| permissions.iter().any(|one| one == wanted);
    let missing: Vec<&str> = ["DIAGNOSTICS", "VIEW_KEYS", "VIEW_CLIENTS", "VIEW_CLIENT_SERVICES"]
        .into_iter()
        .filter(|one| !has(one))
        .collect();
    match missing.is_empty() {
        true => report.ok("roles", "the key may look at everything"),
        false => report.warn(
            "roles",
            format!("without {}", missing.join(", ")),
            "a key of the roles securityserver-observer, or system-administrator and service-administrator, sees it all",
        ),
    }
}

/// Whether the first configuration is complete.
pub(super) fn setup(status: &Value, report: &mut Report) -> bool {
    let is = |name: &str| status[name] == json!(true);
    let anchor = is("is_anchor_imported");
    report.expect(anchor, "anchor", "there is one", "there is none", "causeway ss anchor upload FILE");
    let token = field(status, "software_token_init_status") == "INITIALIZED";
    let whole = is("is_server_code_initialized") && is("is_server_owner_initialized") && token;
    let remedy = "causeway ss server init --owner CLASS:CODE --code CODE";
    report.expect(whole, "initialization", "complete", "owner, code or token are missing", remedy);
    if status["enforce_token_pin_policy"] == json!(false) {
        report.ok("PIN policy", "off: any PIN is taken");
    }
    anchor && whole
}

pub(super) fn tokens(tokens: &Value, report: &mut Report) {
    for token in tokens.as_array().into_iter().flatten() {
        let name = format!("token {}", field(token, "id"));
        let used = token["keys"].as_array().is_some_and(|keys| !keys.is_empty());
        match (token["logged_in"] == json!(true), used) {
            (true, _) => report.ok(&name, format!("logged in, {}", field(token, "status"))),
            (false, true) => {
                let remedy = format!("causeway ss token login {}", field(token, "id"));
                report.fail(&name, "logged out: nothing can be signed", remedy);
            }
            (false, false) => report.warn(&name, "logged out, without keys", "log it in to make keys"),
        }
    }
}

fn diagnosed(one: &Value) -> (String, String) {
    let code = field(one, "error.code");
    let about = field(one, "error.metadata");
    (
        field(one, "status_class"),
        [code, about].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": "),
    )
}

pub(super) fn download(body: &Value, report: &mut Report) {
    let (class, why) = diagnosed(body);
    let last = field(body, "prev_update_at");
    match class.as_str() {
        "OK" => report.ok("download", format!("last at {last} from {}", field(body, "last_successful_url"))),
        "WAITING" => report.warn("download", "none yet", "wait for the first one, or see the server's log"),
        _ => report.fail(
            "download",
            format!("failed, last at {last}: {why}"),
            "causeway ss diagnostics test conf says which source; is the central server reachable and its configuration fresh?",
        ),
    }
}

pub(super) fn sources(list: &Value, report: &mut Report) {
    for one in list.as_array().into_iter().flatten() {
        let (class, why) = diagnosed(&one["connection_status"]);
        let url = field(one, "download_url");
        match class.as_str() {
            "OK" => report.ok("source", url),
            _ => report.warn(
                "source",
                format!("{url}: {why}"),
                "open the way to it; one source that works is enough",
            ),
        }
    }
}

pub(super) fn authentication(certificates: &[Value], report: &mut Report) {
    let own: Vec<&Value> =
        certificates.iter().filter(|cert| field(cert, "usage") == "AUTHENTICATION").collect();
    let active = own.iter().find(|cert| cert["active"] == json!(true));
    match active {
        None if own.is_empty() => report.fail(
            "authentication",
            "there is no authentication certificate",
            "causeway ss csr create --usage auth, then ss cert import",
        ),
        None => report.fail("authentication", "none is active", "causeway ss cert activate --usage auth"),
        Some(cert) => {
            let status = field(cert, "status");
            match status.as_str() {
                "REGISTERED" => report.ok("authentication", "registered and active"),
                "SAVED" => report.fail(
                    "authentication",
                    "not registered",
                    "causeway ss cert register --address HOST",
                ),
                other => report.warn(
                    "authentication",
                    other.to_owned(),
                    "approve the request at the central server: causeway cs request list",
                ),
            }
            let ocsp = field(cert, "ocsp_status");
            match ocsp.as_str() {
                "OCSP_RESPONSE_GOOD" => report.ok("OCSP of authentication", "good"),
                _ => report.fail(
                    "OCSP of authentication",
                    ocsp,
                    "is the OCSP responder reachable, and the certificate not revoked?",
                ),
            }
        }
    }
}

pub(super) fn expiry(certificates: &[Value], now: UnixTime, report: &mut Report) {
    let active = |cert: &&Value| cert["active"] == json!(true);
    let mut all_well = true;
    for cert in certificates.iter().filter(active) {
        let what = format!("{} {}", field(cert, "usage").to_lowercase(), field(cert, "owner_id"));
        let end = field(cert, "certificate_details.not_after");
        let remedy = "a new key with causeway ss csr create, then cert import and activate";
        if ends_within(cert, now, Duration::ZERO) {
            all_well = false;
            report.fail("expiry", format!("{what} ended at {end}"), remedy);
        } else if ends_within(cert, now, SOON) {
            all_well = false;
            report.warn("expiry", format!("{what} ends at {end}"), remedy);
        }
        let renewal = field(cert, "renewal_error");
        if !renewal.is_empty() {
            report.fail("renewal", format!("{what}: {renewal}"), "see the ACME server's and our log");
        }
    }
    if all_well {
        report.ok("expiry", "no certificate in use ends within 30 days");
    }
}

pub(super) fn ocsp(list: &Value, report: &mut Report) {
    for ca in list.as_array().into_iter().flatten() {
        for one in ca["ocsp_responders"].as_array().into_iter().flatten() {
            let (class, why) = diagnosed(one);
            let url = field(one, "url");
            match class.as_str() {
                "OK" => report.ok("OCSP responder", url),
                "WAITING" => report.warn(
                    "OCSP responder",
                    format!("{url}: not asked yet"),
                    "nothing, unless it stays so",
                ),
                _ => report.fail(
                    "OCSP responder",
                    format!("{url}: {why}"),
                    "open the way to it; kept answers hold for a while",
                ),
            }
        }
    }
}

pub(super) fn timestamping(list: &Value, report: &mut Report) {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        report.fail("timestamping", "no timestamping service is in use", "causeway ss tsa add --all");
    }
    for one in list {
        let (class, why) = diagnosed(one);
        let url = field(one, "url");
        match class.as_str() {
            "OK" => report.ok("timestamping", format!("{url}, last at {}", field(one, "prev_update_at"))),
            "WAITING" => report.ok("timestamping", format!("{url}: nothing to stamp yet")),
            _ => report.fail(
                "timestamping",
                format!("{url}: {why}"),
                "open the way to it before messages are refused",
            ),
        }
    }
}

pub(super) fn clients(list: &Value, report: &mut Report) {
    let mut all_well = true;
    for client in list.as_array().into_iter().flatten() {
        let (id, status) = (field(client, "id"), field(client, "status"));
        let remedy = match status.as_str() {
            "REGISTERED" => None,
            "SAVED" => Some("causeway ss client register"),
            "REGISTRATION_IN_PROGRESS" | "ENABLING_IN_PROGRESS" => {
                Some("approve the request at the central server: causeway cs request list")
            }
            "GLOBAL_ERROR" => Some("the configuration no longer has it: register it anew or delete it"),
            "DELETION_IN_PROGRESS" => Some("causeway ss client delete"),
            _ => Some("causeway ss client enable, when it is wanted again"),
        };
        if let Some(remedy) = remedy {
            all_well = false;
            match status.as_str() {
                "GLOBAL_ERROR" => report.fail(&id, status, remedy),
                _ => report.warn(&id, status, remedy),
            }
        }
        if client["has_valid_local_sign_cert"] == json!(false) {
            all_well = false;
            report.fail(
                &id,
                "its member has no valid signing certificate here",
                "causeway ss csr create --usage sign --member",
            );
        }
    }
    if all_well {
        report.ok("clients", "all are registered and can sign");
    }
}

pub(super) fn services(client: &str, list: &Value, report: &mut Report) {
    for description in list.as_array().into_iter().flatten() {
        let url = field(description, "url");
        if description["disabled"] == json!(true) {
            let finding = format!("disabled: {} {}", url, field(description, "disabled_notice"));
            report.warn(
                client,
                finding.trim_end().to_owned(),
                "causeway ss service enable, when callers may have it",
            );
        }
        for service in description["services"].as_array().into_iter().flatten() {
            let code = field(service, "service_code");
            if service["subjects_count"] == json!(0) {
                report.warn(
                    client,
                    format!("nobody may call {code}"),
                    format!("causeway ss access grant {client}:{code} --to …"),
                );
            }
            if field(service, "url").starts_with("https:") && service["ssl_auth"] == json!(false) {
                report.warn(
                    client,
                    format!("the TLS certificate of {code} is not checked"),
                    format!("causeway ss service set {code} --verify-tls true"),
                );
            }
        }
    }
}

pub(super) fn maintenance(body: &Value, report: &mut Report) {
    match field(body, "status").as_str() {
        "DISABLED_MAINTENANCE_MODE" => report.ok("maintenance mode", "off"),
        other => report.warn("maintenance mode", other.to_owned(), "causeway ss server maintenance off"),
    }
}

pub(super) fn backups(list: &Value, now: UnixTime, report: &mut Report) {
    let times = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| UnixTime::from_iso8601(&field(one, "created_at")));
    match times.max() {
        Some(last) if now.since(last) <= BACKUP_AGE => {
            report.ok("backup", format!("last at {}", last.to_iso8601()))
        }
        Some(last) => {
            report.warn("backup", format!("last at {}", last.to_iso8601()), "causeway ss backup create")
        }
        None => report.warn("backup", "there is none", "causeway ss backup create"),
    }
}

/// What the health check says of the message log beyond that it takes messages.
pub(super) fn message_log(health: &Value, report: &mut Report) {
    let log = find(health, "message_log").unwrap_or(&Value::Null);
    let waiting = log["without_timestamp"].as_u64().unwrap_or_default();
    if let Some(seconds) = log["seconds_until_refusal"].as_u64() {
        report.warn(
            "timestamps",
            format!(
                "timestamping fails; {waiting} records wait, and messages are refused in {seconds} seconds"
            ),
            "check the timestamping services: the server's log has what they said",
        );
    } else if log["timestamp_alarm"] == json!(true) {
        report.warn(
            "timestamps",
            format!("{waiting} records wait, and the OCSP answer of the oldest has lived half of its time"),
            "it must have a timestamp before that answer is too old, or it proves nothing",
        );
    } else if !log.is_null() {
        report.ok("timestamps", format!("{waiting} records wait for the next one"));
    }
    for key in log["archive_keys_ending"].as_array().into_iter().flatten() {
        let (whose, which) = (field(key, "archives_of"), field(key, "key"));
        let hint = "until there is a new key nothing is archived after that, and nothing removed: `causeway log archive-key`";
        match key["ends"].as_str() {
            Some(at) => report.warn("archive keys", format!("the key {which} of {whose} ends at {at}"), hint),
            None => report.warn("archive keys", format!("{whose}: {}", field(key, "reason")), hint),
        }
    }
    for holder in log["lagging_head_holders"].as_array().into_iter().flatten() {
        report.warn(
            "tree heads",
            format!("{} has taken none since {}", field(holder, "holder"), field(holder, "since")),
            "until it does, what the log holds since is protected by this server alone; `causeway log stats` says why",
        );
    }
}

/// The first value of this key, wherever it stands.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value.get(key) {
        Some(found) => Some(found),
        None => value.as_object()?.values().find_map(|value| find(value, key)),
    }
}

pub(super) fn encryption(body: &Value, report: &mut Report) {
    let archive = body["message_log_archive_encryption_status"] == json!(true);
    let log = body["message_log_database_encryption_status"] == json!(true);
    let word = |on: bool| if on { "encrypted" } else { "not encrypted" };
    report.ok("message log", format!("archives {}, log {}", word(archive), word(log)));
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn outcomes(go: impl FnOnce(&mut Report)) -> Vec<Outcome> {
        let mut report = Report::default();
        go(&mut report);
        report.checks.iter().map(|check| check.outcome).collect()
    }

    #[test]
    fn the_log_says_how_long_it_goes_on_and_who_lags() {
        use Outcome::{Ok, Warn};
        let since = "2026-11-22T06:00:00Z";
        for (log, expected, words) in [
            (json!({ "without_timestamp": 3 }), vec![Ok], "3 records"),
            (
                json!({ "without_timestamp": 3, "seconds_until_refusal": 90 }),
                vec![Warn],
                "refused in 90 seconds",
            ),
            (json!({ "timestamp_alarm": true }), vec![Warn], "half of its time"),
            (
                json!({ "lagging_head_holders": [{ "holder": "url http://x", "since": since }] }),
                vec![Ok, Warn],
                "url http://x has taken none since 2026-11-22T06:00:00Z",
            ),
            (
                json!({ "archive_keys_ending": [{ "archives_of": "all others", "key": "AB", "ends": since }] }),
                vec![Ok, Warn],
                "the key AB of all others ends at 2026-11-22T06:00:00Z",
            ),
        ] {
            let mut report = Report::default();
            message_log(&json!({ "details": { "message_log": log } }), &mut report);
            assert_eq!(report.checks.iter().map(|check| check.outcome).collect::<Vec<_>>(), expected);
            assert!(report.checks.iter().any(|check| check.finding.contains(words)), "{:?}", report.checks);
        }
        assert_eq!(outcomes(|report| message_log(&json!({}), report)), []);
    }

    #[test]
    fn clocks_are_compared() {
        let now = UnixTime::from_iso8601("1994-11-06T08:49:37Z").unwrap();
        use Outcome::{Ok, Skip, Warn};
        for (date, outcome) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Ok),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Warn),
            ("Sun, 06 Nov 1994 08:45:37 GMT", Warn),
            ("yesterday", Skip),
            ("", Skip),
        ] {
            assert_eq!(outcomes(|report| clock(date, now, report)), [outcome], "{date}");
        }
    }

    #[test]
    fn every_failure_says_what_to_do() {
        let mut report = Report::default();
        let now = UnixTime::from_secs(1_800_000_000);
        assert!(!setup(&json!({ "is_anchor_imported": false }), &mut report));
        tokens(&json!([{ "id": "0", "logged_in": false, "keys": [{}] }]), &mut report);
        download(&json!({ "status_class": "FAIL", "error": { "code": "x" } }), &mut report);
        authentication(&[], &mut report);
        let ended = json!({ "active": true, "usage": "SIGNING", "certificate_details": { "not_after": "2020-01-01T00:00:00Z" } });
        expiry(&[ended], now, &mut report);
        timestamping(&json!([]), &mut report);
        ocsp(&json!([{ "ocsp_responders": [{ "url": "u", "status_class": "FAIL" }] }]), &mut report);
        clients(
            &json!([{ "id": "c", "status": "GLOBAL_ERROR", "has_valid_local_sign_cert": false }]),
            &mut report,
        );
        let bad: Vec<_> = report.checks.iter().filter(|check| check.outcome == Outcome::Fail).collect();
        assert_eq!(bad.len(), 10, "{:?}", report.checks);
        assert!(bad.iter().all(|check| !check.remedy.is_empty() && !check.finding.is_empty()), "{bad:?}");
    }

    #[test]
    fn what_is_well_is_said_once() {
        let good = json!([{ "id": "c", "status": "REGISTERED", "has_valid_local_sign_cert": true }]);
        assert_eq!(outcomes(|report| clients(&good, report)), [Outcome::Ok]);
        assert_eq!(outcomes(|report| expiry(&[], UnixTime::from_secs(0), report)), [Outcome::Ok]);
    }
}
