//! How configuration download, OCSP and timestamping do.
//!
//! `status_code` stands beside `status_class` in all three: tools older than release 7.8 look for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use admin_api::operation::get;
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::date;
use admin_api::types::security_server::system::{
    AddOnStatus, BackupEncryptionStatus, CaOcspDiagnostics, CodeWithDetails, GlobalConfDiagnostics,
    MessageLogEncryptionStatus, MessageLogMember, OcspResponderDiagnostics, ProxyMemoryUsageStatus,
    TimestampingServiceDiagnostics,
};
use admin_api::{Answer, Call, Problem};
use host::contacts::{Contact, Contacts};
use pki::cert::Certificate;
use proto::globalconf::shared_parameters::{CaInfo, CostType};
use proto::id::MemberId;
use proto::time::UnixTime;

use super::timestamping::cost;
use super::{Api, Rows};
use crate::message_log;
use crate::message_log::archive::Grouping;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getGlobalConfDiagnostics", "/diagnostics/globalconf")
            .right("DIAGNOSTICS")
            .gives::<GlobalConfDiagnostics>(200)
            .by(globalconf),
        get("getOcspRespondersDiagnostics", "/diagnostics/ocsp-responders")
            .right("DIAGNOSTICS")
            .gives::<Vec<CaOcspDiagnostics>>(200)
            .by(ocsp_responders),
        get("getTimestampingServicesDiagnostics", "/diagnostics/timestamping-services")
            .right("DIAGNOSTICS")
            .gives::<Vec<TimestampingServiceDiagnostics>>(200)
            .by(timestamping_services),
        get("getAddOnDiagnostics", "/diagnostics/addon-status")
            .right("DIAGNOSTICS")
            .right("VIEW_TSPS")
            .gives::<AddOnStatus>(200)
            .by(additions),
        get("getBackupEncryptionDiagnostics", "/diagnostics/backup-encryption-status")
            .right("DIAGNOSTICS")
            .gives::<BackupEncryptionStatus>(200)
            .by(backup_encryption),
        get("getMessageLogEncryptionDiagnostics", "/diagnostics/message-log-encryption-status")
            .right("DIAGNOSTICS")
            .gives::<MessageLogEncryptionStatus>(200)
            .by(message_log_encryption),
        get("getProxyMemoryUsage", "/diagnostics/proxy-memory-usage-status")
            .right("DIAGNOSTICS")
            .gives::<ProxyMemoryUsageStatus>(200)
            .by(memory),
    ]
}

/// What tools older than 7.8 read.
fn status_code(class: &str) -> String {
    match class {
        "OK" => "SUCCESS",
        "WAITING" => "UNINITIALIZED",
        _ => "ERROR_CODE_INTERNAL",
    }
    .to_owned()
}

fn failure(code: &str, reason: &str) -> CodeWithDetails {
    CodeWithDetails {
        code: code.to_owned(),
        metadata: vec![reason.to_owned()],
        validation_errors: BTreeMap::new(),
    }
}

pub(super) fn globalconf(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let status = api.foundation.configuration.status();
    let class = match (&status.last_error, status.last_run) {
        (Some(_), _) => "FAIL",
        (None, Some(_)) => "OK",
        (None, None) => "WAITING",
    };
    let last = status.last_run.unwrap_or_else(|| api.now());
    Answer::ok(&GlobalConfDiagnostics {
        status_class: class.into(),
        status_code: status_code(class),
        prev_update_at: date(last),
        next_update_at: date(last.plus(api.foundation.settings.configuration.interval)),
        last_successful_url: status.source.unwrap_or_default(),
        error: status.last_error.map(|error| {
            match api.foundation.settings.configuration.anchor_file.exists() {
                true => failure(error.code, &error.reason),
                // There is no more to say, and nobody needs to know where it would be.
                false => CodeWithDetails { metadata: vec![], ..failure(error.code, "") },
            }
        }),
    })
}

/// What came of the last contact with a service: class and error.
fn outcome(contact: Option<&Contact>) -> (&'static str, Option<CodeWithDetails>) {
    match contact.map(|contact| contact.error.as_deref()) {
        None => ("WAITING", None),
        Some(None) => ("OK", None),
        Some(Some(reason)) => ("FAIL", Some(failure("network_error", reason))),
    }
}

pub(super) fn ocsp_responders(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let Some(conf) = api.foundation.globalconf.load_full().as_ref().clone() else {
        return Answer::ok(&Vec::<CaOcspDiagnostics>::new());
    };
    let interval = Duration::from_secs(conf.ocsp_fetch_interval_seconds());
    let contacts = api.foundation.token.get().map(|token| token.derived().responders());
    let cas = conf.approved_cas(conf.instance()).iter();
    let infos = cas.flat_map(|ca| std::iter::once(&ca.top).chain(&ca.intermediates));
    let shown = infos.filter_map(|info| ca_shown(info, contacts, interval, api.now()));
    Answer::ok(&shown.collect::<Vec<_>>())
}

fn ca_shown(
    info: &CaInfo,
    contacts: Option<&Contacts>,
    interval: Duration,
    now: UnixTime,
) -> Option<CaOcspDiagnostics> {
    let cert = Certificate::parse(&info.cert).ok()?;
    let responder = |url: &str, cost_type: CostType| {
        let contact = contacts.and_then(|contacts| contacts.of(url));
        let (class, error) = outcome(contact.as_ref());
        let last = contact.map(|contact| contact.at);
        OcspResponderDiagnostics {
            url: url.to_owned(),
            cost_type: cost(cost_type).into(),
            status_class: class.into(),
            status_code: status_code(class),
            prev_update_at: last.map(date),
            next_update_at: date(last.unwrap_or(now).plus(interval)),
            error,
        }
    };
    Some(CaOcspDiagnostics {
        distinguished_name: CertificateDetails::from(&cert).subject_distinguished_name,
        ocsp_responders: info.ocsp.iter().map(|ocsp| responder(&ocsp.url, ocsp.cost)).collect(),
    })
}

pub(super) fn timestamping_services(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let conf = api.foundation.globalconf.load();
    let approved = conf.as_ref().as_ref().map(|conf| conf.tsas()).unwrap_or_default();
    let state = api.state();
    let shown = state.tsas.iter().map(|tsa| {
        let contact = api.foundation.relay().and_then(|ctx| ctx.log.timestampers().of(&tsa.url));
        let (class, error) = outcome(contact.as_ref());
        let known = approved.iter().find(|known| known.url == tsa.url);
        TimestampingServiceDiagnostics {
            url: tsa.url.clone(),
            cost_type: cost(known.map_or(CostType::Undefined, |known| known.cost)).into(),
            status_class: class.into(),
            status_code: status_code(class),
            prev_update_at: date(contact.map_or_else(|| api.now(), |contact| contact.at)),
            error,
        }
    });
    Answer::ok(&shown.collect::<Vec<_>>())
}

fn additions(_: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&AddOnStatus { messagelog_enabled: true, opmonitoring_enabled: false })
}

/// Private keys in a backup are sealed under the token's PIN; the backup as a whole is not.
fn backup_encryption(_: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&BackupEncryptionStatus { backup_encryption_status: false, backup_encryption_keys: vec![] })
}

fn message_log_encryption(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let log = &api.foundation.settings.message_log;
    let rule = match log.archive_grouping {
        Grouping::None => "NONE",
        Grouping::Member => "MEMBER",
        Grouping::Subsystem => "SUBSYSTEM",
    };
    Answer::ok(&MessageLogEncryptionStatus {
        message_log_archive_encryption_status: log.archive_encryption_enabled,
        message_log_database_encryption_status: log.encryption_keys_file.is_some(),
        message_log_grouping_rule: rule.into(),
        members: archive_keys(api),
    })
}

/// With which keys archives of each local member are encrypted, where they are grouped; none while the keys cannot be read.
fn archive_keys(api: &Api) -> Vec<MessageLogMember> {
    let log = &api.foundation.settings.message_log;
    if log.archive_grouping == Grouping::None {
        return Vec::new();
    }
    let Ok(Some(settings)) = message_log::settings::encryption(log) else { return Vec::new() };
    let Ok(keyring) = settings.load() else { return Vec::new() };
    let state = api.state();
    let members: BTreeSet<_> = state.clients.keys().map(|client| client.member.clone()).collect();
    let shown = |member: &MemberId| {
        let keys = keyring.of_member(member).unwrap_or_default();
        let default_key_used = keys.is_empty();
        MessageLogMember { member_id: member.short(), keys, default_key_used }
    };
    members.iter().map(shown).collect()
}

pub(super) fn memory(_: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let kilobytes = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default()
    };
    let most = kilobytes("/proc/meminfo", "MemTotal") * 1024;
    let used = kilobytes("/proc/self/status", "VmRSS") * 1024;
    let total = kilobytes("/proc/self/status", "VmHWM") * 1024;
    Answer::ok(&ProxyMemoryUsageStatus {
        max_memory: most,
        total_memory: total,
        used_memory: used,
        usage_percent: (used * 100).checked_div(most).unwrap_or_default(),
        is_used_over_threshold: false,
    })
}
