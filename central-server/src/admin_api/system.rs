//! Initialisation, status, version, address of the server, alerts.

use admin_api::check::{ADDRESS_CHARS, HOST_AND_PORT, IDENTIFIER_CHARS, NO_CONTROL_CHARS, SIZE};
use admin_api::types::central_server::{
    Alert, CentralServerAddress, HighAvailabilityClusterStatus, HighAvailabilityStatus, InitialServerConf,
    InitializationStatus, Node, SystemStatus, Version,
};
use admin_api::types::date;
use admin_api::{Answer, Call, Check, Problem};

use super::{Api, problems};
use crate::registry::{Command, Parameter, SourceKind};

/// There is one node, and this is what the reference calls it.
const NODE: &str = "node_0";
/// Shortest PIN.
const MIN_PIN_CHARS: usize = 10;
/// Of lower case, upper case, digits, and others.
const MIN_PIN_CLASSES: usize = 3;

/// Version that scripts compare: the release whose interface this is, and ours behind it.
const VERSION: &str = concat!("7.8.0-causeway-", env!("CARGO_PKG_VERSION"));

pub(super) fn initialization_status(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&status(api))
}

fn status(api: &Api) -> InitializationStatus {
    let state = api.state();
    let initialised = if api.token.get().is_some() { "INITIALIZED" } else { "NOT_INITIALIZED" };
    InitializationStatus {
        instance_identifier: state.instance.clone().unwrap_or_default(),
        central_server_address: state.address.clone(),
        software_token_init_status: initialised.into(),
    }
}

pub(super) fn initialize(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: InitialServerConf = call.json()?;
    let (named, token) = (api.state().instance.is_some(), api.token.get().is_some());
    if named && token {
        return Err(Problem::conflict("init_already_initialized"));
    }
    let mut check = Check::new("initialServerConfDto");
    let instance_rules =
        [IDENTIFIER_CHARS, admin_api::check::Rule { name: "Pattern", ..IDENTIFIER_CHARS }, SIZE];
    let address_rules = [ADDRESS_CHARS, HOST_AND_PORT, SIZE];
    let mut instance = String::new();
    let mut address = String::new();
    if !named {
        instance = check.required("instanceIdentifier", asked.instance_identifier, &instance_rules);
        address = check.required("centralServerAddress", asked.central_server_address, &address_rules);
    }
    let pin =
        if token { None } else { Some(check.required("softwareTokenPin", asked.software_token_pin, &[])) };
    check.done()?;
    if let Some(pin) = &pin {
        check_pin(pin)?;
    }
    call.note("instanceIdentifier", instance.clone());
    call.note("centralServerAddress", address.clone());
    // The token first: a crash in between leaves a server whose initialisation can be finished.
    if let Some(pin) = pin {
        let token = api.token.create(&pin).map_err(Problem::internal)?;
        token.logout();
    }
    if !named {
        let mut commands = vec![Command::Initialise { instance, address }];
        if api.offers_registration {
            let cert = api.management_tls.cert().der().to_vec();
            commands.push(Command::SetParameter(Parameter::AuthCertRegCert(Some(cert))));
        }
        api.registry.execute_all(call.actor(), commands).map_err(problems::of)?;
    }
    Ok(Answer::empty(200))
}

/// The PIN policy.
fn check_pin(pin: &str) -> Result<(), Problem> {
    if !pin.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return Err(Problem::bad_request("token_incorrect_pin_format"));
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

pub(super) fn version(_: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&Version { info: VERSION.into() })
}

pub(super) fn system_status(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&both(api))
}

fn both(api: &Api) -> SystemStatus {
    let high_availability_status = HighAvailabilityStatus { is_ha_configured: false, node_name: NODE.into() };
    SystemStatus { high_availability_status, initialization_status: status(api) }
}

pub(super) fn cluster_status(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let generation = api.source.status();
    let good = generation.last_error.is_none() && generation.last_success.is_some();
    let status = match (good, generation.last_run) {
        (true, _) => "OK",
        (false, Some(_)) => "ERROR",
        (false, None) => "UNKNOWN",
    };
    Answer::ok(&HighAvailabilityClusterStatus {
        is_ha_configured: false,
        node_name: NODE.into(),
        nodes: vec![Node {
            node_name: NODE.into(),
            node_address: api.state().address.clone(),
            configuration_generated: generation.last_success.map(date),
            status: status.into(),
        }],
        all_nodes_ok: good,
    })
}

pub(super) fn change_address(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: CentralServerAddress = call.json()?;
    let mut check = Check::new("centralServerAddressDto");
    let rules = [ADDRESS_CHARS, HOST_AND_PORT, NO_CONTROL_CHARS];
    let address = check.required("centralServerAddress", asked.central_server_address, &rules);
    check.done()?;
    call.note("centralServerAddress", address.clone());
    api.execute(call, Command::SetAddress { address })?;
    Answer::ok(&both(api))
}

/// What keeps the configuration from being signed.
pub(super) fn alerts(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let mut alerts = Vec::new();
    let mut alert = |code: String| alerts.push(Alert { error_code: code, metadata: Vec::new() });
    let logged_in = api.token.get().is_some_and(signer::SoftwareSigner::is_logged_in);
    for source in [SourceKind::External, SourceKind::Internal] {
        if state.instance.is_some() && state.active_key(source).is_some() && !logged_in {
            alert(format!("status.signing_key.{}.token_not_active", source.name()));
        }
    }
    let generation = api.source.status();
    if logged_in && generation.last_error.is_some() && generation.last_success.is_some() {
        alert("status.global_conf_generation.failing".into());
    }
    Answer::ok(&alerts)
}
