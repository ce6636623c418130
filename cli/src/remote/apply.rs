//! The command lines of `causeway apply`, `diff` and `export`.

use std::path::PathBuf;
use std::time::Duration;

use super::ecosystem::model::Format;
use super::ecosystem::plan::Options;
use super::ecosystem::{self, Job};
use super::session::Flags;
use super::verb::time;
use crate::exit::{Exit, Usage};

/// Makes servers as a file says: over their management APIs, or with --offline in the data directory of a stopped security server.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// The file: an ecosystem, or with --offline one as documented in deploy/server.yaml.
    #[arg(short, long, value_name = "FILE", required_unless_present = "plan")]
    file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// Change nothing, say what would be changed; exit status 6 when something would.
    #[arg(long)]
    dry_run: bool,
    /// Carry out a plan that was saved; refused when something has changed since.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "offline", "prune", "prune_only", "only", "dry_run", "save_plan"])]
    plan: Option<PathBuf>,
    /// The data directory of a stopped security server (data-dir of its settings); it is created when it is not there.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["only", "save_plan", "prune_only", "format"])]
    offline: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    flags: Flags,
    /// Also remove what the file does not name; keys, tokens, members and owners stay.
    #[arg(long)]
    prune: bool,
    /// Remove what the file does not name of these kinds alone; keys, subsystems and members go only when they are named here.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    prune_only: Vec<String>,
    /// These kinds of steps alone, such as member, client, service, access; may be repeated.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<String>,
    /// How long to wait for approvals and configuration, each time.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m", num_args = 0..=1, require_equals = true, default_missing_value = "5m")]
    wait: Duration,
    /// What kind of file it is: an ecosystem, or the configuration of the Security Server Toolkit.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the plan to a file, for `apply --plan`.
    #[arg(long, value_name = "FILE")]
    save_plan: Option<PathBuf>,
}

impl Common {
    fn job(&self) -> Job {
        let targets = self.flags.target.clone().into_iter().collect();
        let options = Options {
            prune: self.prune,
            prune_only: self.prune_only.clone(),
            only: self.only.clone(),
            targets,
        };
        Job {
            flags: self.flags.clone(),
            options,
            wait: self.wait,
            save_plan: self.save_plan.clone(),
            format: self.format,
        }
    }
}

/// Shows what `apply` would do; exit status 6 when there is something.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The file.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Writes servers as an ecosystem file, which `apply` would change nothing by.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Where to; standard output when it is not said.
    #[arg(short = 'f', short_alias = 'o', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What kind of file.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Names of targets; all when none is named.
    targets: Vec<String>,
    #[command(flatten)]
    flags: Flags,
}

/// Runs `causeway apply`.
pub(crate) fn apply(args: &ApplyArgs) -> anyhow::Result<Exit> {
    let flags = &args.common.flags;
    if let Some(folder) = &args.offline {
        let file = args.file.clone().ok_or_else(|| Usage("-f FILE is missing".into()))?;
        let target = flags.target.clone();
        return crate::apply::run(crate::apply::Job {
            file,
            offline: folder.clone(),
            target,
            prune: args.common.prune,
            dry_run: args.dry_run,
        });
    }
    let job = args.common.job();
    let outcome = match (&args.plan, &args.file) {
        (Some(plan), _) => ecosystem::apply_plan(plan, &job),
        (None, Some(file)) if args.dry_run || args.common.save_plan.is_some() => ecosystem::diff(file, &job),
        (None, Some(file)) => ecosystem::apply(file, &job),
        (None, None) => Err(Usage("-f FILE is missing".into()).into()),
    };
    super::told(flags, outcome)
}

/// Runs `causeway diff`.
pub(crate) fn diff(args: &DiffArgs) -> anyhow::Result<Exit> {
    super::told(&args.common.flags, ecosystem::diff(&args.file, &args.common.job()))
}

/// Runs `causeway export`.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<Exit> {
    super::told(&args.flags, ecosystem::export(&args.flags, &args.targets, args.file.as_deref(), args.format))
}
