//! Backups: consistent copies of the server in one file. What is in them; the rest is [`admin_api::backup`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use admin_api::backup::archive::Limits;
use admin_api::backup::operations::Backed;
use admin_api::backup::{Backups, Part, What};
use admin_api::types::central_server::Backup;
use host::clock::Clock;
use host::shutdown::Shutdown;
use signer::SoftwareSigner;

use super::Api;
use crate::offline::{FORMAT, ROLE};
use crate::registry::Registry;

impl Backed for Api {
    type Shown = Backup;
    fn backups(&self) -> &Backups {
        &self.backups
    }
}

/// The backups of a server in the data directory `root`. The management API's own certificate stays with the machine, as its credentials
/// do; the published configuration is generated again.
pub fn of(
    registry: &Arc<Registry>,
    root: PathBuf,
    limits: Limits,
    clock: Clock,
    shutdown: Shutdown,
    drain: Duration,
) -> Backups {
    let known = Arc::clone(registry);
    let what = What {
        role: ROLE,
        format: FORMAT,
        root,
        state: registry.store().clone(),
        parts: vec![
            // Bytes of optional parts of the configuration.
            Part::Folder("state/parts", &[]),
            Part::Folder("keys", &["LOCK"]),
            Part::Files("tls", &["management-api.key", "management-api.crt"]),
        ],
        owner: Box::new(move || known.state().instance.clone()),
        check,
        judges_uploads: true,
    };
    Backups::new(what, limits, clock, shutdown, drain)
}

/// The registry replays, its parts are there, and the token can be read.
fn check(copy: &Path) -> Result<(), String> {
    let registry = Registry::open(&copy.join("state"), Clock::System).map_err(|error| error.to_string())?;
    for part in registry.state().parts.values() {
        registry.part(&part.digest).map_err(|error| error.to_string())?;
    }
    let keys = copy.join("keys");
    if SoftwareSigner::exists(&keys) {
        SoftwareSigner::open(&keys).map_err(|error| error.to_string())?;
    }
    Ok(())
}
