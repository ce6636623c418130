//! `causeway verify log DIR [--key KEY] [--heads PATH] [--conf DIR]`: whether a log is whole and the one it was.
//!
//! Without more: every checksum, the chain through all segments, everything that records name, the marks of what has expired, every
//! leaf of the tree and every signed head. With `--conf` also every stamped record as evidence, as if its container had been
//! verified; records that were stamped too late for their OCSP answer are counted. With `--heads` the log is held against heads that
//! others kept: who has the log's key and its server could rewrite it and sign it anew, and only they would show it. The log may be in
//! use.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pki::asic;
use pki::globalconf::GlobalConf;
use security_server::message_log::crypt::Keys;
use security_server::message_log::held::HeldReport;
use security_server::message_log::offline::{Line, Offline};
use serde::Serialize;

use super::work::{self, Progress};
use super::{load_conf, printable, proof};
use crate::exit::{Exit, Usage};

/// Lines shown of each kind.
const MAX_SHOWN: usize = 20;

/// Says whether a message log is whole: checksums, chain, tree, signed heads, and with a configuration every record as evidence.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log's folder, or the data folder of a security server.
    dir: PathBuf,
    /// The log's public key (or a file with it) as it was handed over; without it the one in the folder is believed.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The keys of a log whose messages are encrypted, as the server has them; needed with --conf.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Heads that were kept outside: files, or folders with *.head in them, such as a holder's tree-head-receiver-folder. Give --key
    /// too, so that it is the log they were made of.
    #[arg(long, value_name = "PATH")]
    heads: Vec<PathBuf>,
    /// Global configuration: verify every stamped record as evidence.
    #[arg(long, value_name = "DIR")]
    conf: Option<PathBuf>,
    /// Print an object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Outcome {
    log: String,
    verdict: &'static str,
    segments: u64,
    records: u64,
    expired: u64,
    stamped: u64,
    stamped_too_late: u64,
    tree_size: u64,
    heads: u64,
    stamped_heads: u64,
    newest_head: Option<String>,
    held: Option<Held>,
    evidence: Option<Evidence>,
    damage: Vec<String>,
    tree_problems: Vec<String>,
}

/// What came of heads that were kept outside.
#[derive(Debug, Serialize)]
struct Held {
    hold: u64,
    /// Records up to here are those that were signed.
    sound_to: u64,
    other_logs: u64,
    problems: Vec<String>,
}

/// What records prove.
#[derive(Debug, Default, Serialize)]
struct Evidence {
    accepted: u64,
    unstamped: u64,
    without_body: u64,
    /// Of the rejected: their OCSP answer was too old when they were stamped.
    stamped_too_late: u64,
    rejected: Vec<String>,
}

/// The log's folder in a data folder, or the folder itself.
pub(crate) fn open(dir: &Path, keys: Option<&Path>) -> anyhow::Result<Offline> {
    let keys =
        keys.map(|path| Keys::read(path).map_err(|reason| Usage(format!("{}: {reason}", path.display()))));
    let keys = keys.transpose()?.unwrap_or_default();
    let below = dir.join("log");
    let dir = if below.is_dir() { &below } else { dir };
    Ok(Offline::open(dir, keys).map_err(|error| Usage(error.to_string()))?)
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let log = open(&args.dir, args.keys.as_deref())?;
    let key = args.key.as_deref().map(proof::key).transpose()?;
    let conf = args
        .conf
        .as_deref()
        .map(|path| load_conf(path).map_err(|error| Usage(format!("{}: {error:#}", path.display()))));
    let conf = conf.transpose()?;
    let report = log.verify(key.as_ref())?;
    let mut outcome = Outcome {
        log: log.origin(),
        segments: report.segments,
        records: report.records,
        expired: report.expired,
        stamped: report.stamped,
        stamped_too_late: report.late,
        damage: report.damage.iter().map(ToString::to_string).collect(),
        ..Outcome::default()
    };
    match log.verify_tree(key.as_ref()) {
        Ok(tree) => {
            (outcome.tree_size, outcome.heads, outcome.stamped_heads) =
                (tree.size, tree.heads, tree.stamped_heads);
            (outcome.newest_head, outcome.tree_problems) = (tree.newest, tree.problems);
        }
        Err(error) => outcome.tree_problems.push(error.to_string()),
    }
    if !args.heads.is_empty() {
        let held = log.verify_held(&args.heads, key.as_ref())?;
        let HeldReport { hold, sound_to, others: other_logs, problems } = held;
        outcome.held = Some(Held { hold, sound_to, other_logs, problems });
    }
    if let Some(conf) = &conf {
        outcome.evidence = Some(evidence(&log, conf, args.json)?);
    }
    let rejected = outcome.evidence.as_ref().is_some_and(|e| !e.rejected.is_empty());
    let held = outcome.held.as_ref().is_none_or(|held| held.problems.is_empty());
    let holds = outcome.damage.is_empty() && outcome.tree_problems.is_empty() && held && !rejected;
    outcome.verdict = if holds { "accept" } else { "reject" };
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &outcome)?;
        writeln!(out)?;
    } else {
        out.write_all(text(&outcome, log.torn(), args.key.is_none()).as_bytes())?;
    }
    Ok(if holds { Exit::Done } else { Exit::NotVerified })
}

fn evidence(log: &Offline, conf: &GlobalConf, quiet: bool) -> anyhow::Result<Evidence> {
    let lines: Vec<Line> = log.by_segment()?.into_iter().flatten().collect();
    let sum = Mutex::new(Evidence::default());
    let progress = Progress::start(lines.len(), quiet);
    work::in_parallel(&lines, |line| {
        let outcome = judge(log, line, conf);
        let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match outcome {
            Judged::Unstamped => sum.unstamped += 1,
            Judged::WithoutBody => sum.without_body += 1,
            Judged::Good => sum.accepted += 1,
            Judged::Bad { too_late, reason } => {
                sum.stamped_too_late += u64::from(too_late);
                sum.rejected.push(format!("record {} ({}): {reason}", line.id.0, line.message_id));
            }
        }
        progress.step();
    });
    progress.finish();
    Ok(sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

enum Judged {
    Unstamped,
    WithoutBody,
    Good,
    Bad { too_late: bool, reason: String },
}

fn judge(log: &Offline, line: &Line, conf: &GlobalConf) -> Judged {
    if line.stripped {
        return Judged::WithoutBody;
    }
    if !line.is_stamped() {
        return Judged::Unstamped;
    }
    let bad = |reason: String| Judged::Bad { too_late: false, reason };
    let mut container = Cursor::new(Vec::new());
    let written = log.read(line).map_err(|e| e.to_string());
    match written.and_then(|record| record.write_container(&mut container).map_err(|e| e.to_string())) {
        Ok(()) => {}
        Err(reason) => return bad(reason),
    }
    container.set_position(0);
    match asic::verify(container, conf) {
        Ok(_) => Judged::Good,
        Err(rejection) => Judged::Bad {
            too_late: rejection.is_too_late(),
            reason: format!("{}: {}", rejection.step, rejection.reason),
        },
    }
}

fn text(outcome: &Outcome, torn: bool, own_key: bool) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("  {name:<20} {}\n", printable(value)));
    let none = Vec::new();
    let held = outcome.held.as_ref().map_or(&none, |held| &held.problems);
    for (name, problems) in
        [("damaged", &outcome.damage), ("tree", &outcome.tree_problems), ("heads outside", held)]
    {
        problems.iter().take(MAX_SHOWN).for_each(|problem| line(name, problem));
        if problems.len() > MAX_SHOWN {
            line(name, &format!("and {} more", problems.len() - MAX_SHOWN));
        }
    }
    line(
        "records",
        &format!("{} in {} segments, {} stamped", outcome.records, outcome.segments, outcome.stamped),
    );
    if outcome.stamped_too_late > 0 {
        line("stamped too late", &format!("{}: their containers do not verify", outcome.stamped_too_late));
    }
    if outcome.expired > 0 {
        line("expired", &format!("{}, as signed marks say", outcome.expired));
    }
    if torn {
        line("end", "something was being written; it is not looked at");
    }
    let heads = format!("{} heads hold, {} of them with a timestamp", outcome.heads, outcome.stamped_heads);
    line("tree", &format!("{} leaves, {heads}", outcome.tree_size));
    if let Some(Held { hold, sound_to, other_logs, .. }) = &outcome.held {
        let others =
            if *other_logs > 0 { format!("; {other_logs} are of other logs") } else { String::new() };
        line("heads outside", &format!("{hold} hold, the newest over {sound_to} records{others}"));
    }
    if own_key {
        line(
            "key",
            "the one in the folder was believed: give --key to hold the log to the one that was handed over",
        );
    }
    if let Some(evidence) = &outcome.evidence {
        for rejected in evidence.rejected.iter().take(MAX_SHOWN) {
            line("rejected", rejected);
        }
        let Evidence { accepted, unstamped, without_body, stamped_too_late, rejected } = evidence;
        line(
            "evidence",
            &format!(
                "{accepted} accepted, {} rejected ({stamped_too_late} stamped too late), {unstamped} wait for a timestamp, \
                 {without_body} without body",
                rejected.len()
            ),
        );
    }
    let said = if outcome.verdict == "accept" { "accepted" } else { "REJECTED" };
    format!("{}: {said}\n{out}", printable(&outcome.log))
}
