//! The server's own address and its maintenance mode.

use std::sync::Arc;

use admin_api::check::{ADDRESS_CHARS, DESCRIPTION, HOST_ADDRESS, MAX_SIZE, SIZE};
use admin_api::types::security_server::management::{
    MaintenanceMode, MaintenanceModeMessage, MaintenanceModeStatus, ServerAddress, ServerAddressStatus,
};
use admin_api::{Answer, Call, Check, Problem};
use pki::globalconf::GlobalConf;
use proto::id::ServerId;
use proto::management::Request;

use super::{Api, send};
use crate::serverconf::event::{Event, MaintenanceWanted};

/// The server in the configuration.
struct Listed {
    id: ServerId,
    conf: Arc<GlobalConf>,
}

impl Listed {
    fn read(api: &Api) -> Result<Self, Problem> {
        Ok(Self { id: api.server_id()?, conf: api.globalconf()? })
    }

    fn address(&self) -> Option<&str> {
        self.conf.server(&self.id).map(|server| server.address.as_str()).filter(|address| !address.is_empty())
    }

    /// In maintenance, with the message.
    fn maintenance(&self) -> Option<&Option<String>> {
        self.conf.server(&self.id).and_then(|server| server.maintenance.as_ref())
    }

    /// The subsystem that offers the management services is a client here.
    fn offers_management(&self) -> bool {
        let provider = self.conf.private().map(|private| &private.management_provider);
        provider.is_some_and(|provider| self.conf.is_client_of(provider, &self.id))
    }
}

fn shown(address: &str) -> ServerAddress {
    ServerAddress { address: Some(address.into()) }
}

pub(super) fn address(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    // Without a code, as stock servers answer before they are initialised.
    let listed = Listed::read(api).map_err(|problem| Problem::status(problem.status))?;
    Answer::ok(&ServerAddressStatus {
        current_address: listed.address().map(shown),
        requested_change: pending_address(api, &listed).as_deref().map(shown),
    })
}

/// The address that was asked for and is not there yet. What the configuration has by now does not wait any more, also before the
/// server has noted that.
fn pending_address(api: &Api, listed: &Listed) -> Option<String> {
    api.state().pending_address.clone().filter(|asked| listed.address() != Some(asked.as_str()))
}

pub(super) fn change_address(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ServerAddress = call.json()?;
    let mut check = Check::new("securityServerAddressDto");
    let address = check.required("address", asked.address, &[ADDRESS_CHARS, HOST_ADDRESS, SIZE]);
    check.done()?;
    call.note("address", address.as_str());
    let listed = Listed::read(api)?;
    if pending_address(api, &listed).is_some() {
        return Err(Problem::conflict("address_change_request_already_submitted"));
    }
    if listed.address() == Some(&address) {
        return Err(Problem::conflict("same_address_change_request"));
    }
    send(api, call, Request::AddressChange { address: address.clone() })?;
    api.change(call, vec![Event::AddressAsked { address: Some(address) }])?;
    Ok(Answer::empty(202))
}

pub(in crate::admin_api) fn maintenance(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let listed = Listed::read(api)?;
    let (present, state) = (listed.maintenance(), api.state());
    let (status, message) = match (&state.pending_maintenance, present) {
        (Some(MaintenanceWanted::On { message }), _) => {
            (MaintenanceModeStatus::PendingEnable, message.clone())
        }
        (Some(MaintenanceWanted::Off), _) => {
            (MaintenanceModeStatus::PendingDisable, present.cloned().flatten())
        }
        (None, Some(message)) => (MaintenanceModeStatus::Enabled, message.clone()),
        (None, None) => (MaintenanceModeStatus::Disabled, None),
    };
    let is_management_services_provider = listed.offers_management();
    Answer::ok(&MaintenanceMode { status, message, is_management_services_provider })
}

fn none_pending(api: &Api) -> Result<(), Problem> {
    match api.state().pending_maintenance {
        None => Ok(()),
        Some(_) => Err(Problem::conflict("maintenance_mode_change_request_already_submitted")),
    }
}

pub(super) fn enable_maintenance(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: MaintenanceModeMessage = call.json()?;
    let mut check = Check::new("maintenanceModeMessageDto");
    let message = check.optional("message", asked.message, &[DESCRIPTION, MAX_SIZE]);
    check.done()?;
    let message = message.filter(|message| !message.is_empty());
    let listed = Listed::read(api)?;
    if listed.offers_management() {
        return Err(Problem::conflict("forbidden_enable_maintenance_mode_for_management_service"));
    }
    none_pending(api)?;
    if listed.maintenance().is_some() {
        return Err(Problem::conflict("already_enabled_maintenance_mode"));
    }
    send(api, call, Request::MaintenanceModeEnable { message: message.clone() })?;
    let wanted = Some(MaintenanceWanted::On { message });
    api.change(call, vec![Event::MaintenanceAsked { wanted }])?;
    Ok(Answer::empty(204))
}

pub(super) fn disable_maintenance(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let listed = Listed::read(api)?;
    none_pending(api)?;
    if listed.maintenance().is_none() {
        return Err(Problem::conflict("already_disabled_maintenance_mode"));
    }
    send(api, call, Request::MaintenanceModeDisable)?;
    api.change(call, vec![Event::MaintenanceAsked { wanted: Some(MaintenanceWanted::Off) }])?;
    Ok(Answer::empty(204))
}
