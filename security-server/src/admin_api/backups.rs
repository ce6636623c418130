//! Backups: consistent copies of the server in one file. What is in them; the rest is [`admin_api::backup`].

use std::path::Path;
use std::sync::Arc;

use admin_api::backup::operations::{self, Backed};
use admin_api::backup::{Backups, Part, What};
use admin_api::operation::post;
use admin_api::types::security_server::system::{Backup, BackupExt};
use admin_api::{Answer, Call, Problem};
use host::store::Store;
use signer::SoftwareSigner;

use super::{Api, Rows};
use crate::config::ANCHOR_FILE;
use crate::foundation::Foundation;
use crate::serverconf::store::ServerConfStore;
use crate::tls::seen;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    let mut rows = operations::rows();
    rows.push(
        post("addBackupExt", "/backups/ext")
            .right("BACKUP_CONFIGURATION")
            .audit("Back up configuration")
            .gives::<BackupExt>(201)
            .refuses(&[(500, "backup_generation_failed")])
            .by(create_ext),
    );
    rows
}

impl Backed for Api {
    type Shown = Backup;
    fn backups(&self) -> &Backups {
        &self.backups
    }
}

/// The backups of a server. The management API's own certificate stays with the machine, as its credentials do; so does the memory of
/// peers that were met with TLS 1.3, which is not to be forgotten.
pub(super) fn of(foundation: &Arc<Foundation>) -> Backups {
    let settings = &foundation.settings;
    let mut parts = vec![
        Part::Files("tls", &[seen::FILE, "management-api.key", "management-api.crt"]),
        Part::File(ANCHOR_FILE),
    ];
    // A signer that is a process of its own keeps its keys itself.
    if settings.signer_socket.is_none() {
        parts.push(Part::Folder("keys", &["LOCK"]));
    }
    let server = Arc::clone(foundation);
    let what = What {
        role: crate::ROLE,
        format: crate::FORMAT,
        root: settings.data_dir.clone(),
        state: foundation.state.clone(),
        parts,
        owner: Box::new(move || server.server_id().map(|id| id.to_string())),
        check,
        judges_uploads: false,
    };
    Backups::new(what, settings.backup, foundation.clock.clone(), foundation.shutdown.clone(), settings.drain)
}

/// The state replays, and the token can be read.
fn check(copy: &Path) -> Result<(), String> {
    let store = Store::open(&copy.join("state")).map_err(|error| error.to_string())?;
    ServerConfStore::open(&store).map_err(|error| error.to_string())?;
    let keys = copy.join("keys");
    if SoftwareSigner::exists(&keys) {
        SoftwareSigner::open(&keys).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn create_ext(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let Backup { filename, created_at } = operations::made(&api.backups, call)?.into();
    // The settings file belongs to the machine.
    Answer::json(201, &BackupExt { filename, created_at, local_conf_present: false })
}
