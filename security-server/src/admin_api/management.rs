//! Operations that send a management request to the central server: registrations and what undoes them, renaming, ownership, address and
//! maintenance mode of the server.
//!
//! Each looks first whether the state allows it, sends, and records what follows only when the request was accepted. What the central
//! server makes of it comes with the global configuration (`serverconf::status`). A refusal is the fault's code behind `core.`, with its
//! text and a mark that there is none to translate, as scripts know it.
//!
//! | Module | Operations on |
//! |---|---|
//! | [`certificates`] | authentication certificates |
//! | [`clients`] | clients |
//! | [`server`] | the server itself |

use admin_api::operation::{get, put};
use admin_api::types::security_server::management::{
    ClientName, MaintenanceMode, MaintenanceModeMessage, ServerAddress, ServerAddressStatus,
};
use admin_api::{Call, Problem};
use proto::management::Request;
use signer::token::CertInfo;

use super::{Api, Rows, problems, wait_for};
use crate::management::{Management, SendError};

mod certificates;
mod clients;
mod server;

pub(super) use server::maintenance;

const NOT_POSSIBLE: (u16, &str) = (409, "action_not_possible");
const NO_CERT: (u16, &str) = (404, "certificate_not_found");
const NO_CLIENT: (u16, &str) = (404, "client_not_found");
/// No request is sent by a configuration that has expired.
const OUTDATED: (u16, &str) = (409, "global_conf_outdated");

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        put("registerCertificate", "/token-certificates/{hash}/register")
            .right("SEND_AUTH_CERT_REG_REQ")
            .audit("Register authentication certificate")
            .takes::<ServerAddress>()
            .gives_nothing(204)
            .refuses(&[NOT_POSSIBLE, NO_CERT, OUTDATED, (400, "sign_cert_not_supported")])
            .by(certificates::register),
        put("unregisterAuthCertificate", "/token-certificates/{hash}/unregister")
            .right("SEND_AUTH_CERT_DEL_REQ")
            .audit("Unregister authentication certificate")
            .gives_nothing(204)
            .refuses(&[NOT_POSSIBLE, NO_CERT, OUTDATED, (400, "sign_cert_not_supported")])
            .by(certificates::unregister),
        put("markAuthCertForDeletion", "/token-certificates/{hash}/mark-for-deletion")
            .right("SEND_AUTH_CERT_DEL_REQ")
            .audit("Skip unregistration of authentication certificate")
            .gives_nothing(204)
            .refuses(&[NOT_POSSIBLE, NO_CERT, (400, "sign_cert_not_supported")])
            .by(certificates::mark_for_deletion),
        put("registerClient", "/clients/{id}/register")
            .right("SEND_CLIENT_REG_REQ")
            .audit("Register client")
            .gives_nothing(204)
            .refuses(&[NOT_POSSIBLE, NO_CLIENT, OUTDATED, (400, "cannot_register_owner")])
            .by(clients::register),
        put("unregisterClient", "/clients/{id}/unregister")
            .right("SEND_CLIENT_DEL_REQ")
            .audit("Unregister client")
            .gives_nothing(204)
            .refuses(&[NOT_POSSIBLE, NO_CLIENT, OUTDATED, (409, "cannot_unregister_owner")])
            .by(clients::unregister),
        put("changeOwner", "/clients/{id}/make-owner")
            .right("SEND_OWNER_CHANGE_REQ")
            .audit("Change owner")
            .gives_nothing(204)
            .refuses(&[
                NOT_POSSIBLE,
                OUTDATED,
                (400, "member_already_owner"),
                // What the central server refuses: one request of a server at a time.
                (500, "core.internal_error"),
            ])
            .by(clients::make_owner),
        put("disableClient", "/clients/{id}/disable")
            .right("DISABLE_CLIENT")
            .audit("Disable client")
            .gives_nothing(204)
            .refuses(&[
                NOT_POSSIBLE,
                NO_CLIENT,
                OUTDATED,
                (409, "forbidden_disable_management_service_client"),
            ])
            .by(clients::disable),
        put("enableClient", "/clients/{id}/enable")
            .right("ENABLE_CLIENT")
            .audit("Enable client")
            .gives_nothing(204)
            .refuses(&[NOT_POSSIBLE, NO_CLIENT, OUTDATED])
            .by(clients::enable),
        put("renameClient", "/clients/{id}/rename")
            .right("RENAME_SUBSYSTEM")
            .audit("Rename subsystem")
            .takes::<ClientName>()
            .gives_nothing(204)
            .refuses(&[
                NOT_POSSIBLE,
                NO_CLIENT,
                OUTDATED,
                (409, "invalid_client_name"),
                (409, "client_rename_already_submitted"),
            ])
            .by(clients::rename),
        get("getServerAddress", "/system/server-address")
            .right("CHANGE_SS_ADDRESS")
            .gives::<ServerAddressStatus>(200)
            .by(server::address),
        put("addressChange", "/system/server-address")
            .right("CHANGE_SS_ADDRESS")
            .audit("Edit security server address")
            .takes::<ServerAddress>()
            .gives_nothing(202)
            .refuses(&[
                OUTDATED,
                (409, "address_change_request_already_submitted"),
                (409, "same_address_change_request"),
            ])
            .by(server::change_address),
        get("maintenanceMode", "/system/maintenance-mode")
            .right("TOGGLE_MAINTENANCE_MODE")
            .gives::<MaintenanceMode>(200)
            .refuses(&[(500, "core.malformed_server_conf")])
            .by(maintenance),
        put("enableMaintenanceMode", "/system/maintenance-mode/enable")
            .right("TOGGLE_MAINTENANCE_MODE")
            .audit("Enable maintenance mode of the security server")
            .may_take::<MaintenanceModeMessage>()
            .gives_nothing(204)
            .refuses(&[
                OUTDATED,
                (409, "maintenance_mode_change_request_already_submitted"),
                (409, "already_enabled_maintenance_mode"),
                (409, "forbidden_enable_maintenance_mode_for_management_service"),
            ])
            .by(server::enable_maintenance),
        put("disableMaintenanceMode", "/system/maintenance-mode/disable")
            .right("TOGGLE_MAINTENANCE_MODE")
            .audit("Disable maintenance mode of the security server")
            .gives_nothing(204)
            .refuses(&[
                OUTDATED,
                (409, "maintenance_mode_change_request_already_submitted"),
                (409, "already_disabled_maintenance_mode"),
            ])
            .by(server::disable_maintenance),
    ]
}

/// Sends a request as a message and waits until it was accepted. Blocks.
fn send(api: &Api, call: &mut Call, request: Request) -> Result<(), Problem> {
    let number = wait_for(Management::new(&api.foundation).ask(request)).map_err(of_send)?;
    call.note("managementRequestId", number);
    Ok(())
}

/// Asks that the certificate of a key that is about to go be forgotten. Blocks.
pub(super) fn unregister_certificate(api: &Api, call: &mut Call, cert: &CertInfo) -> Result<(), Problem> {
    send(api, call, Request::AuthCertDeletion { cert: cert.cert.der().to_vec() })
}

/// The answer to a request that was not accepted.
fn of_send(error: SendError) -> Problem {
    match error {
        SendError::NotInitialised => problems::not_initialised(),
        SendError::Outdated => Problem::conflict(OUTDATED.1).because(error.to_string()),
        refused => Problem::new(500, format!("core.{}", refused.code()))
            .with(refused.message())
            .with("tr.null")
            .because(refused.to_string()),
    }
}
