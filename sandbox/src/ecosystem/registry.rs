//! What the central server's registry must hold, as the commands that are still missing.
//!
//! A registry that was filled before gets only what has changed: after a kill half-way the rest, after an address or a port that could
//! not be had again the new one. Commanded offline, at a central server that is stopped.

use central_server::registry::state::id_of;
use central_server::registry::{CaSettings, Command, Parameter, State};
use pki::cert::Certificate;
use proto::globalconf::shared_parameters::CostType;
use proto::id::{ClientId, MemberId, ServerId};

use super::files::TSA_NAME;
use crate::parties;

/// Class name of the certificate profile, as configurations carry it; what [`crate::authority::PROFILE`] is.
pub(super) const PROFILE: &str =
    "ee.ria.xroad.common.certificateprofile.impl.FiVRKCertificateProfileInfoProvider";

/// The shortest interval that is allowed, so that a running demo shows its stamps soon.
const TIMESTAMPING_SECONDS: u64 = 60;

/// Everything that is registered.
pub(super) struct Wanted {
    /// Each security server: its address, its authentication certificate unless that was registered by request, its client.
    pub(super) servers: [(ServerId, String, Option<Certificate>, ClientId); 2],
    pub(super) root: Certificate,
    pub(super) intermediate: Certificate,
    pub(super) ocsp_url: String,
    pub(super) tsa: Certificate,
    pub(super) tsa_url: String,
}

/// The instance itself, with the host and port of its central server; comes before everything else.
pub(super) fn instance(state: &State, address: String) -> Vec<Command> {
    let mut commands = match &state.instance {
        None => vec![Command::Initialise { instance: parties::INSTANCE.into(), address }],
        Some(_) if state.address != address => vec![Command::SetAddress { address }],
        Some(_) => Vec::new(),
    };
    if state.parameters.timestamping_interval_seconds != TIMESTAMPING_SECONDS {
        commands.push(Command::SetParameter(Parameter::TimestampingInterval(TIMESTAMPING_SECONDS)));
    }
    commands
}

impl Wanted {
    /// The commands between `state` and this, in an order in which each may happen.
    pub(super) fn missing(&self, state: &State) -> Vec<Command> {
        let mut commands = Vec::new();
        members(state, &mut commands);
        self.servers(state, &mut commands);
        self.trust_services(state, &mut commands);
        commands
    }

    fn servers(&self, state: &State, commands: &mut Vec<Command>) {
        for (id, address, cert, client) in &self.servers {
            let known = state.servers.get(id);
            match known {
                None => commands.push(Command::AddServer { id: id.clone(), address: Some(address.clone()) }),
                Some(server) if server.address.as_ref() != Some(address) => {
                    commands
                        .push(Command::SetServerAddress { id: id.clone(), address: Some(address.clone()) });
                }
                Some(_) => {}
            }
            let cert = cert.as_ref().filter(|cert| {
                known.is_none_or(|server| !server.auth_certs.contains_key(&id_of(cert.der())))
            });
            if let Some(cert) = cert {
                commands.push(Command::AddAuthCert { server: id.clone(), cert: cert.der().to_vec() });
            }
            if known.is_none_or(|server| !server.clients.contains_key(client)) {
                commands.push(Command::AddServerClient { server: id.clone(), client: client.clone() });
            }
        }
        let testers = state.groups.get(parties::TESTERS);
        if testers.is_none() {
            let description = "Who may use the probe".to_owned();
            commands.push(Command::AddGroup { code: parties::TESTERS.into(), description });
        }
        if testers.is_none_or(|group| !group.members.contains(&parties::school())) {
            commands
                .push(Command::AddGroupMember { group: parties::TESTERS.into(), member: parties::school() });
        }
    }

    fn trust_services(&self, state: &State, commands: &mut Vec<Command>) {
        let (root, intermediate) = (id_of(self.root.der()), id_of(self.intermediate.der()));
        if state.service(&root).is_none() {
            let settings = CaSettings {
                name: Some("Causeway Sandbox CA".into()),
                profile: PROFILE.into(),
                ..CaSettings::default()
            };
            commands.push(Command::AddCa { cert: self.root.der().to_vec(), settings });
        }
        if state.ca(&intermediate).is_none() {
            commands.push(Command::AddIntermediateCa {
                ca: root.clone(),
                cert: self.intermediate.der().to_vec(),
            });
        }
        for ca in [root, intermediate] {
            let responders = state.ca(&ca).map_or(&[][..], |ca| &ca.responders);
            for old in responders.iter().filter(|responder| responder.url != self.ocsp_url) {
                commands.push(Command::RemoveOcspResponder { ca: ca.clone(), url: old.url.clone() });
            }
            if !responders.iter().any(|responder| responder.url == self.ocsp_url) {
                let url = self.ocsp_url.clone();
                commands.push(Command::AddOcspResponder { ca, url, cert: None, cost: CostType::Free });
            }
        }
        for old in state.tsas.iter().filter(|tsa| tsa.url != self.tsa_url) {
            commands.push(Command::RemoveTsa { cert: id_of(self.tsa.der()), url: old.url.clone() });
        }
        if !state.tsas.iter().any(|tsa| tsa.url == self.tsa_url) {
            commands.push(Command::AddTsa {
                name: Some(TSA_NAME.into()),
                url: self.tsa_url.clone(),
                cert: self.tsa.der().to_vec(),
                cost: CostType::Free,
            });
        }
    }
}

fn members(state: &State, commands: &mut Vec<Command>) {
    for (code, description) in [(parties::CITIES, "Municipalities"), (parties::OPERATORS, "Operators")] {
        if !state.member_classes.contains_key(code) {
            commands.push(Command::AddMemberClass { code: code.into(), description: description.into() });
        }
    }
    let members: [(MemberId, &str, ClientId, &str); 3] = [
        (parties::rannala(), "City of Rannala", parties::school(), "School office"),
        (parties::metsola(), "City of Metsola", parties::population(), "Population register"),
        (parties::operator(), "Operator of the sandbox", parties::management(), "Management services"),
    ];
    for (id, name, subsystem, subsystem_name) in members {
        if !state.members.contains_key(&id) {
            commands.push(Command::AddMember { id, name: name.into() });
        }
        if !state.knows(&subsystem) {
            commands.push(Command::AddSubsystem { id: subsystem, name: Some(subsystem_name.into()) });
        }
    }
    if state.management_provider.is_none() {
        commands.push(Command::SetManagementProvider { provider: parties::management() });
    }
}
