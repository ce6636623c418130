//! One file with what somebody who helps needs to know, and what is not offered here in the shape in which tools ask for it.
//!
//! The report holds what the diagnostics show, one entry each; an entry that cannot be made says why. Nothing in it is secret. There is
//! no mail, no operational monitoring, and no hardware token whose certificates could be taken over.

use admin_api::operation::{get, post, put};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::date;
use admin_api::types::security_server::system::{
    MailNotificationStatus, MailRecipient, OperationalDataInterval, TestMailResponse,
};
use admin_api::types::security_server::tokens::TokenCertificate;
use admin_api::{Answer, Call, Problem};
use proto::time::UnixTime;
use serde_json::{Value, json};
use signer::ocsp_fetcher::Prioritization;
use signer::token::KeyUsage;

use super::{Api, Rows, diagnostics, management, system, token_certificates};

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("downloadDiagnosticsReport", "/diagnostics/info/download")
            .right("DOWNLOAD_DIAGNOSTICS_REPORT")
            .gives_file("application/json")
            .by(download),
        get("getOperationalDataIntervals", "/diagnostics/operational-monitoring")
            .right("DIAGNOSTICS")
            .query(&[
                "records_from",
                "records_to",
                "interval",
                "security_server_type",
                "member_id",
                "service_id",
            ])
            .gives::<Vec<OperationalDataInterval>>(200)
            .refuses(&[(409, "operational_monitoring_not_available")])
            .by(operational_monitoring),
        get("getOcspPrioritizationStrategy", "/certificate-authorities/ocsp-prioritization-strategy")
            .right("VIEW_APPROVED_CERTIFICATE_AUTHORITIES")
            .gives::<String>(200)
            .by(ocsp_strategy),
        get("getMailNotificationStatus", "/mail/mail-notification-status")
            .right("DIAGNOSTICS")
            .gives::<MailNotificationStatus>(200)
            .by(mail),
        put("sendTestMail", "/mail/send-test-mail")
            .right("DIAGNOSTICS")
            .takes::<MailRecipient>()
            .gives::<TestMailResponse>(200)
            .by(test_mail),
        post("importCertificateFromToken", "/token-certificates/{hash}/import")
            .right("IMPORT_AUTH_CERT")
            .right("IMPORT_SIGN_CERT")
            .right("IMPORT_UNKNOWN_CERT")
            .audit("Import certificate from token")
            .gives::<TokenCertificate>(201)
            .refuses(&[(404, "certificate_not_found"), (409, "certificate_already_exists")])
            .by(take_over),
    ]
}

fn entry(name: &str, found: Result<Answer, Problem>) -> Value {
    match found {
        Ok(answer) => {
            let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            json!({ "name": name, "value": value })
        }
        Err(problem) => json!({ "name": name, "errorMessage": problem.describe() }),
    }
}

fn download(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let report = [
        entry("X-Road and Java version", system::version(api, call)),
        entry("OS version", Answer::ok(&os_version())),
        entry("Authentication certificates", Answer::ok(&authentication_certificates(api))),
        entry("Global configuration", diagnostics::globalconf(api, call)),
        entry("OCSP responders", diagnostics::ocsp_responders(api, call)),
        entry("Timestamping", diagnostics::timestamping_services(api, call)),
        entry("Memory", diagnostics::memory(api, call)),
        entry("Maintenance mode", management::maintenance(api, call)),
    ];
    let stamp: String = date(UnixTime::from_secs(api.now().as_secs()))
        .chars()
        .filter(char::is_ascii_digit)
        .take("YYYYMMDDhhmmss".len())
        .collect();
    let bytes = serde_json::to_vec_pretty(&report).map_err(Problem::internal)?;
    Ok(Answer::file("application/json", &format!("diagnostic-report-{stamp}.json"), bytes))
}

/// What the system calls itself, and its kernel.
fn os_version() -> Value {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({ "name": name.map(|name| name.trim_matches('"')), "kernel": kernel.trim() })
}

fn authentication_certificates(api: &Api) -> Vec<Value> {
    let keys = api.foundation.token.get().map(|token| token.keys()).unwrap_or_default();
    let certs = keys.iter().filter(|key| key.usage == KeyUsage::Authentication).flat_map(|key| &key.certs);
    certs
        .map(|info| {
            let details = CertificateDetails::from(&info.cert);
            let name = format!("{} {}", details.issuer_common_name, details.serial);
            json!({ "name": name, "status": info.status, "active": info.active })
        })
        .collect()
}

fn operational_monitoring(_: &Api, call: &mut Call) -> Result<Answer, Problem> {
    for name in ["records_from", "records_to"] {
        if call.query(name).and_then(UnixTime::from_iso8601).is_none() {
            return Err(Problem::malformed(format!("{name} is not a time")));
        }
    }
    if call.query("interval").and_then(|interval| interval.parse::<u32>().ok()).is_none() {
        return Err(Problem::malformed("interval is not a number of minutes"));
    }
    Err(Problem::conflict("operational_monitoring_not_available")
        .because("this server keeps metrics, and no records of operational monitoring"))
}

fn ocsp_strategy(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let name = match api.foundation.settings.ocsp.prioritization {
        Prioritization::None => "NONE",
        Prioritization::OnlyFree => "ONLY_FREE",
        Prioritization::OnlyPaid => "ONLY_PAID",
        Prioritization::FreeFirst => "FREE_FIRST",
        Prioritization::PaidFirst => "PAID_FIRST",
    };
    Answer::ok(&name)
}

fn mail(_: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&MailNotificationStatus {
        enabled_notifications: vec![],
        configuration_present: false,
        recipients_emails: vec![],
    })
}

fn test_mail(_: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: MailRecipient = call.json()?;
    if asked.mail_address.is_none() {
        return Err(Problem::malformed("there is no mail_address"));
    }
    Answer::ok(&TestMailResponse { status: "error".into(), text: "Error: this server sends no mail".into() })
}

/// Certificates lie beside the keys of a software token, never on it alone.
fn take_over(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    token_certificates::find(api, call)?;
    Err(Problem::conflict("certificate_already_exists"))
}
