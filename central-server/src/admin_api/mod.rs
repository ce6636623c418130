//! The management API of the central server, over the registry: a handler judges fields, asks the registry, and says what came of it.
//!
//! | Module | Operations about |
//! |---|---|
//! | [`table`] | the one table: id, method, path, right, audit event |
//! | [`rights`] | rights and the roles that have them |
//! | [`system`] | initialisation, status, version, address, alerts |
//! | [`sources`] | tokens, signing keys, anchors |
//! | [`configuration_parts`] | parts of the configuration, uploaded ones too |
//! | [`trusted_anchors`] | anchors of other instances |
//! | [`members`] | member classes, members, subsystems, clients |
//! | [`servers`] | security servers |
//! | [`groups`] | global groups |
//! | [`backups`] | backups |
//! | [`trust_services`] | CAs, OCSP responders, timestamping services |
//! | [`requests`] | management requests |
//! | [`management_services`] | who offers the management services |
//! | [`ids`] | identifiers in paths and bodies |
//! | [`problems`] | refusals of the registry as the API answers them |

pub mod backups;
pub mod configuration_parts;
pub mod groups;
pub mod ids;
pub mod management_services;
pub mod members;
pub mod problems;
pub mod requests;
pub mod rights;
pub mod servers;
pub mod sources;
pub mod system;
pub mod table;
pub mod trust_services;
pub mod trusted_anchors;

use std::path::PathBuf;
use std::sync::Arc;

use admin_api::backup::Backups;
use admin_api::call::Call;
use admin_api::openapi::About;
use admin_api::operation::{Operation, Role};
use admin_api::problem::Problem;
use admin_api::server::Server;
use admin_api::types::date;
use host::clock::Clock;
use pki::key::KeyKind;
use proto::time::UnixTime;

use crate::config::AutoApprove;
use crate::configuration_source::ConfigurationSource;
use crate::federation::Trial;
use crate::management_service::tls::ManagementTls;
use crate::registry::{Command, Registry, SourceKind, State};
use crate::token::TokenSlot;

/// What handlers work on.
pub struct Api {
    /// The registry.
    pub registry: Arc<Registry>,
    /// The token.
    pub token: Arc<TokenSlot>,
    /// Generation of the configuration.
    pub source: Arc<ConfigurationSource>,
    /// Backups.
    pub backups: Backups,
    /// TLS of the services for management requests.
    pub management_tls: Arc<ManagementTls>,
    /// The registration service is offered, so the configuration names its certificate.
    pub offers_registration: bool,
    /// Published files.
    pub public: PathBuf,
    /// Declarations of further optional parts.
    pub parts_folder: Option<PathBuf>,
    /// Tries anchors of other instances.
    pub trial: Trial,
    /// The time.
    pub clock: Clock,
    /// What needs nobody's approval.
    pub auto_approve: AutoApprove,
    /// New internal signing keys.
    pub internal_key: KeyKind,
    /// New external signing keys.
    pub external_key: KeyKind,
}

type Rows = Vec<Operation<Api>>;

/// Roles of this server.
const ROLES: &[Role] =
    &[Role::SecurityOfficer, Role::RegistrationOfficer, Role::SystemAdministrator, Role::ManagementService];

impl Api {
    /// As the frame takes it.
    pub fn server(self) -> Server<Self> {
        Server {
            state: Arc::new(self),
            operations: table::operations(),
            rights: rights::RIGHTS,
            roles: ROLES,
            about: About { title: "Causeway Central Server Management API", version: "1.0.0" },
            names_path: true,
        }
    }

    /// The present state.
    fn state(&self) -> Arc<State> {
        self.registry.state()
    }

    /// Carries a command out for the caller; gives the state right after it.
    fn execute(&self, call: &Call, command: Command) -> Result<Arc<State>, Problem> {
        self.registry.execute_for_state(call.actor(), command).map_err(problems::of)
    }

    /// Kind of new keys of a source.
    fn key_kind(&self, source: SourceKind) -> KeyKind {
        match source {
            SourceKind::Internal => self.internal_key,
            SourceKind::External => self.external_key,
        }
    }
}

/// Waits for something asynchronous on a handler's thread.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

/// A time down to seconds as it stands in names of files: `T` and `:` are written otherwise.
fn stamp(at: UnixTime, t: char, colon: char) -> String {
    let other = |c| match c {
        'T' => t,
        ':' => colon,
        c => c,
    };
    date(at).chars().take("YYYY-MM-DDThh:mm:ss".len()).map(other).collect()
}

/// A name that any file system takes and no header breaks at.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect()
}
