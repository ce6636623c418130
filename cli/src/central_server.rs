//! `causeway central-server --config FILE`: runs a central server until it is told to stop.

use central_server::config::File;

use crate::daemon::{self, Args};
use crate::exit::{Exit, Usage};

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    args.tie_to_parent()?;
    let file: File = host::settings::load(&args.config).map_err(|error| Usage(error.to_string()))?;
    let settings = file.resolve().map_err(|error| Usage(format!("{}: {error}", args.config.display())))?;
    host::logging::init(settings.log_format, &settings.log_filter);
    daemon::run(async |shutdown| {
        central_server::app::run(settings, args.ready_file.as_deref(), shutdown).await
    })
}
