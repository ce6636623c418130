//! Version, node type and alerts.

use admin_api::operation::{get, put};
use admin_api::types::security_server::system::{Alerts, NodeType, VersionInfo};
use admin_api::{Answer, Call, Problem};

use super::{Api, Rows};

/// Version that scripts compare: the release whose interface this is, and ours behind it.
const VERSION: &str = concat!("7.8.0-causeway-", env!("CARGO_PKG_VERSION"));
/// There is no Java; this is the version that scripts are content with.
const JAVA: u32 = 21;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("systemVersion", "/system/version").right("VIEW_VERSION").gives::<VersionInfo>(200).by(version),
        get("getNodeType", "/system/node-type").right("VIEW_NODE_TYPE").gives::<NodeType>(200).by(node_type),
        get("checkAlerts", "/notifications/alerts").gives::<Alerts>(200).by(alerts),
        put("resetAlerts", "/notifications/alerts/reset")
            .right("BACKUP_CONFIGURATION")
            .right("RESTORE_CONFIGURATION")
            .gives_nothing(204)
            .by(reset),
    ]
}

pub(super) fn version(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let conf = api.foundation.globalconf.load();
    Answer::ok(&VersionInfo {
        info: VERSION.into(),
        java_version: JAVA,
        min_java_version: JAVA,
        max_java_version: JAVA,
        using_supported_java_version: true,
        java_vendor: "none".into(),
        java_runtime_version: JAVA.to_string(),
        global_configuration_version: conf.as_ref().as_ref().map(|conf| conf.version()),
    })
}

fn node_type(_: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&NodeType { node_type: "STANDALONE".into() })
}

fn alerts(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&Alerts {
        global_conf_valid: api.foundation.valid_globalconf().is_some(),
        global_conf_valid_check_success: true,
        soft_token_pin_entered: api.foundation.token.get().is_some_and(|token| token.is_logged_in()),
        soft_token_pin_entered_check_success: true,
        certificate_renewal_job_success: true,
    })
}

/// Alerts here say what is, so that none of them is kept until somebody takes it away.
fn reset(_: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Ok(Answer::empty(204))
}
