//! The management API of the security server: a handler judges fields, asks configuration and token, and says what came of it.
//!
//! Each module below holds the handlers of one kind of thing and, in `rows()`, their rows of the table; [`table`] only gathers them. A
//! new operation: types in `admin_api::types::security_server`, a handler here, a row beside it.
//!
//! | Module | Operations about |
//! |---|---|
//! | [`table`] | the one table, gathered |
//! | [`rights`] | rights and the roles that have them |
//! | [`ids`], [`problems`] | identifiers in paths and bodies; refusals of serverconf and token as the API answers them |
//! | [`initialization`], [`anchor`] | how an empty server becomes somebody's |
//! | [`system`] | version, node type, alerts |
//! | [`internal_tls`] | the TLS key towards information systems |
//! | [`timestamping`] | timestamping services, approved and used |
//! | [`trust`] | CAs, instances, member classes and names, servers: what the global configuration says |
//! | [`tokens`], [`keys`], [`csrs`] with `csr_fields`, [`token_certificates`] | private keys and their certificates |
//! | [`diagnostics`], [`backups`] | how the server does; copies of it |
//! | [`connections`], [`report`] | tests of what it depends on; a file for who helps, and what is not offered |
//! | [`clients`], [`client_certificates`], [`local_groups`] | clients of this server |
//! | [`service_descriptions`], [`services`], [`endpoints`], [`access_rights`] | what they offer, and to whom |
//! | `subjects` | who can be given rights |
//! | [`management`] | whatever sends a management request |

pub mod access_rights;
pub mod anchor;
pub mod backups;
pub mod client_certificates;
pub mod clients;
pub mod connections;
mod csr_fields;
pub mod csrs;
mod description_changes;
pub mod diagnostics;
pub mod endpoints;
pub mod ids;
pub mod initialization;
pub mod internal_tls;
pub mod keys;
pub mod local_groups;
pub mod management;
pub mod problems;
pub mod report;
pub mod rights;
pub mod service_descriptions;
pub mod services;
mod subjects;
pub mod system;
pub mod table;
pub mod timestamping;
pub mod token_certificates;
pub mod tokens;
pub mod trust;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use admin_api::backup::Backups;
use admin_api::call::Call;
use admin_api::openapi::About;
use admin_api::operation::{Operation, Role};
use admin_api::problem::Problem;
use admin_api::server::Server;
use pki::globalconf::GlobalConf;
use proto::id::ServerId;
use proto::time::UnixTime;
use signer::TokenService;

use crate::foundation::Foundation;
use crate::serverconf::event::Event;
use crate::serverconf::state::State;

/// Rows of one module.
type Rows = Vec<Operation<Api>>;

/// What handlers work on.
pub struct Api {
    /// The server, whether anybody's yet or not.
    pub foundation: Arc<Foundation>,
    /// Held by whoever looks and then changes, so that nothing changes in between.
    changing: Mutex<()>,
    /// The last PIN that was tried was wrong.
    wrong_pin: AtomicBool,
    backups: Backups,
}

/// Roles of this server.
const ROLES: &[Role] = &[
    Role::SecurityOfficer,
    Role::RegistrationOfficer,
    Role::ServiceAdministrator,
    Role::SystemAdministrator,
    Role::Observer,
];

impl Api {
    /// Over a server.
    pub fn new(foundation: Arc<Foundation>) -> Self {
        let backups = backups::of(&foundation);
        Self { foundation, changing: Mutex::default(), wrong_pin: AtomicBool::new(false), backups }
    }

    /// As the frame takes it.
    pub fn server(self) -> Server<Self> {
        Server {
            state: Arc::new(self),
            operations: table::operations(),
            rights: rights::RIGHTS,
            roles: ROLES,
            about: About { title: "Causeway Security Server Management API", version: "1.0.0" },
            names_path: false,
        }
    }

    /// The time.
    fn now(&self) -> UnixTime {
        self.foundation.clock.now()
    }

    /// Keeps other changes out until it is dropped. What the store refuses itself needs none.
    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's own configuration as it is now.
    fn state(&self) -> Arc<State> {
        self.foundation.conf.state()
    }

    /// Records changes of it for the caller, all of them or none; they are in effect when this returns.
    ///
    /// # Errors
    /// The first refusal; nothing has changed then.
    fn change(&self, call: &Call, events: Vec<Event>) -> Result<(), Problem> {
        self.foundation.change(call.actor(), events).map_err(problems::of_change)
    }

    /// As [`Self::change`], with events that `plan` makes of the state that they will meet, and what else it found.
    ///
    /// # Errors
    /// What `plan` says, or the first refusal; nothing has changed then.
    fn change_with<T>(
        &self,
        call: &Call,
        plan: impl FnOnce(&State) -> Result<(Vec<Event>, T), Problem>,
    ) -> Result<T, Problem> {
        self.foundation.change_with(call.actor(), plan)
    }

    /// Who this server is.
    ///
    /// # Errors
    /// As stock servers answer before they are initialised.
    fn server_id(&self) -> Result<ServerId, Problem> {
        self.foundation.server_id().ok_or_else(problems::not_initialised)
    }

    /// The global configuration, also when it has expired: for what only looks.
    ///
    /// # Errors
    /// There is none yet.
    fn globalconf(&self) -> Result<Arc<GlobalConf>, Problem> {
        let conf = self.foundation.globalconf.load_full();
        conf.as_ref().clone().ok_or_else(problems::not_initialised)
    }

    /// The global configuration, for what is decided by it.
    ///
    /// # Errors
    /// 409 `global_conf_outdated` when there is none or it has expired.
    fn valid_globalconf(&self) -> Result<Arc<GlobalConf>, Problem> {
        self.foundation.valid_globalconf().ok_or_else(|| Problem::conflict("global_conf_outdated"))
    }

    /// The token.
    ///
    /// # Errors
    /// 404 `token_not_found` until there is one.
    fn token(&self) -> Result<&Arc<dyn TokenService>, Problem> {
        self.foundation.token.get().ok_or_else(|| Problem::missing("token_not_found"))
    }

    /// The certificates of the token have changed: the snapshot of keys is made anew.
    fn keys_changed(&self) {
        self.foundation.refresh_keys();
    }
}

/// Waits for something asynchronous on a handler's thread.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}
