//! `causeway log`: look into a message log: find records, export containers, figures, proofs. Offline, also while the server runs.

mod archive_key;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use proto::id::ClientId;
use proto::time::UnixTime;
use security_server::message_log::Direction;
use security_server::message_log::holders::Progress;
use security_server::message_log::offline::{Filter, Line, Offline};
use serde::Serialize;

use crate::exit::{Exit, Usage};
use crate::verify::log::open;
use crate::verify::printable;
use crate::verify::proof::{Claim, Proof};

const DAY_MS: i64 = 86_400_000;
/// Days that a forecast looks back.
const FORECAST_DAYS: i64 = 14;

/// Looks into a message log: finds records, exports containers, counts, proves. Works offline and beside a running server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists records.
    Find(Find),
    /// Writes containers of records to a folder.
    Export(Export),
    /// Counts records and bytes by member and day; says how long the space lasts.
    Stats(Stats),
    /// Writes a proof that a record is in the log, or that the log continues an earlier head.
    Prove(Prove),
    /// Makes and keeps the OpenPGP keys of archives.
    #[command(subcommand)]
    ArchiveKey(archive_key::Command),
}

/// What is looked for; everything given must fit.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// The log's folder, or the data folder of a security server.
    dir: PathBuf,
    /// Number of the record.
    #[arg(long)]
    record: Option<u64>,
    /// Message id (X-Road-Id, xroad:id).
    #[arg(long)]
    id: Option<String>,
    /// x-road-request-id.
    #[arg(long)]
    request_id: Option<String>,
    /// Client or service's owner: INSTANCE/CLASS/CODE with all subsystems, or INSTANCE/CLASS/CODE/SUBSYSTEM.
    #[arg(long)]
    member: Option<String>,
    /// Service code.
    #[arg(long)]
    service: Option<String>,
    /// Requests or responses only.
    #[arg(long)]
    direction: Option<Only>,
    /// From this time on: 2026-11-21 or 2026-11-21T18:00:00Z.
    #[arg(long)]
    since: Option<String>,
    /// Up to this time.
    #[arg(long)]
    until: Option<String>,
    /// The keys of a log whose messages are encrypted, as the server has them; needed to export.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Most records.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Only {
    Request,
    Response,
}

#[derive(Debug, clap::Args)]
struct Find {
    #[command(flatten)]
    wanted: Wanted,
    /// Print an array of objects instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    wanted: Wanted,
    /// Where containers go.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Stats {
    /// The log's folder, or the data folder of a security server.
    dir: PathBuf,
    /// Print an object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Prove {
    /// The log's folder, or the data folder of a security server.
    dir: PathBuf,
    /// This record is in the log.
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    record: Option<u64>,
    /// The log continues its head of so many records.
    #[arg(long, value_name = "SIZE")]
    from: Option<u64>,
    /// The head to lead to; the newest when not given.
    #[arg(long, value_name = "SIZE")]
    size: Option<u64>,
    /// Where the proof goes; standard output when not given.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Find(args) => find(args),
        Command::Export(args) => export(args),
        Command::Stats(args) => stats(args),
        Command::Prove(args) => prove(args),
        Command::ArchiveKey(command) => archive_key::run(command),
    }
}

impl Wanted {
    fn filter(&self) -> anyhow::Result<Filter> {
        let party = self.member.as_deref().map(|text| {
            ClientId::parse_short(text).map_err(|error| Usage(format!("--member {text}: {error}")))
        });
        Ok(Filter {
            record: self.record,
            message_id: self.id.clone(),
            request_id: self.request_id.clone(),
            party: party.transpose()?,
            service: self.service.clone(),
            direction: self.direction.map(|only| match only {
                Only::Request => Direction::Request,
                Only::Response => Direction::Response,
            }),
            since: self.since.as_deref().map(time).transpose()?,
            until: self.until.as_deref().map(time).transpose()?,
        })
    }

    fn find(&self) -> anyhow::Result<(Offline, Vec<Line>)> {
        let filter = self.filter()?;
        let log = open(&self.dir, self.keys.as_deref())?;
        let found = log.find(&filter, self.limit)?;
        Ok((log, found))
    }
}

fn time(text: &str) -> anyhow::Result<UnixTime> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time = UnixTime::from_iso8601(&whole);
    Ok(time.ok_or_else(|| Usage(format!("{text} is no time such as 2026-11-21T18:00:00Z")))?)
}

#[derive(Debug, Serialize)]
struct Found {
    record: u64,
    at: String,
    direction: &'static str,
    side: &'static str,
    message_id: String,
    request_id: String,
    client: String,
    service: String,
    bytes: u64,
    stamped: bool,
    body: bool,
}

impl From<&Line> for Found {
    fn from(line: &Line) -> Self {
        Self {
            record: line.id.0,
            at: line.at.to_iso8601(),
            direction: direction(line),
            side: if line.consumer_side { "consumer" } else { "provider" },
            message_id: line.message_id.clone(),
            request_id: line.request_id.clone(),
            client: line.client.short(),
            service: line.service.short(),
            bytes: line.bytes,
            stamped: line.is_stamped(),
            body: !line.stripped,
        }
    }
}

fn direction(line: &Line) -> &'static str {
    match line.direction {
        Direction::Request => "request",
        Direction::Response => "response",
    }
}

fn find(args: &Find) -> anyhow::Result<Exit> {
    let (_, found) = args.wanted.find()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &found.iter().map(Found::from).collect::<Vec<_>>())?;
        writeln!(out)?;
    } else {
        for line in &found {
            let stamped = if line.is_stamped() { "stamped" } else { "waits for its timestamp" };
            let text = format!(
                "{:>8}  {}  {:<8}  {}  {} -> {}  {} bytes, {stamped}",
                line.id.0,
                line.at.to_iso8601(),
                direction(line),
                line.message_id,
                line.client.short(),
                line.service.short(),
                line.bytes
            );
            writeln!(out, "{}", printable(&text))?;
        }
        if found.is_empty() {
            eprintln!("no record fits");
        }
        if found.len() >= args.wanted.limit {
            writeln!(out, "(there may be more: --limit {})", args.wanted.limit)?;
        }
    }
    out.flush()?;
    Ok(if found.is_empty() { Exit::Failed } else { Exit::Done })
}

fn export(args: &Export) -> anyhow::Result<Exit> {
    let (log, found) = args.wanted.find()?;
    std::fs::create_dir_all(&args.to)?;
    let (mut written, mut left) = (0_u64, 0_u64);
    for line in &found {
        if !line.is_stamped() {
            left += 1;
            continue;
        }
        let record = log.read(line)?;
        let path = args.to.join(record.container_name());
        let mut out = BufWriter::new(File::create(&path)?);
        record.write_container(&mut out)?;
        out.into_inner()?.sync_all()?;
        written += 1;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{written} containers in {}", args.to.display())?;
    if left > 0 {
        writeln!(out, "{left} records wait for their timestamp and have no container yet")?;
    }
    Ok(if written == 0 { Exit::Failed } else { Exit::Done })
}

/// Damaged records that are named one by one.
const SHOWN: usize = 20;

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Sum {
    requests: u64,
    responses: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    records: u64,
    first: Option<String>,
    last: Option<String>,
    by_member: BTreeMap<String, Sum>,
    by_day: BTreeMap<String, Sum>,
    log_bytes: u64,
    free_bytes: u64,
    /// Of the log, over the last two weeks; nothing while the log is younger than a day.
    bytes_a_day: Option<u64>,
    /// Until the disk is full, if nothing is removed.
    days_left: Option<u64>,
    /// Records that are damaged and could not be archived.
    damaged: Vec<u64>,
    /// The same, and their segment is gone or nothing of them was found.
    lost: Vec<u64>,
    /// How far those have come who keep heads of the log's tree outside, by name.
    holders: BTreeMap<String, Progress>,
}

fn stats(args: &Stats) -> anyhow::Result<Exit> {
    let log = open(&args.dir, None)?;
    let (mut by_member, mut by_day) = (BTreeMap::<String, Sum>::new(), BTreeMap::<i64, Sum>::new());
    let (mut records, mut span) = (0, None::<(UnixTime, UnixTime)>);
    log.records(|line| {
        records += 1;
        let (first, last) = span.unwrap_or((line.at, line.at));
        span = Some((first.min(line.at), last.max(line.at)));
        let day = by_day.entry(line.at.0.div_euclid(DAY_MS)).or_default();
        for sum in [day, by_member.entry(line.local().short()).or_default()] {
            match line.direction {
                Direction::Request => sum.requests += 1,
                Direction::Response => sum.responses += 1,
            }
            sum.bytes += line.bytes;
        }
    })?;
    let (log_bytes, free_bytes) = log.space()?;
    let (damaged, lost) = log.damaged()?;
    let payload: u64 = by_day.values().map(|sum| sum.bytes).sum();
    let bytes_a_day = bytes_a_day(&by_day, span, log_bytes, payload);
    let name = |day: i64| UnixTime(day * DAY_MS).to_iso8601().chars().take(10).collect::<String>();
    let figures = Figures {
        records,
        first: span.map(|(first, _)| first.to_iso8601()),
        last: span.map(|(_, last)| last.to_iso8601()),
        by_member,
        by_day: by_day.into_iter().map(|(day, sum)| (name(day), sum)).collect(),
        log_bytes,
        free_bytes,
        bytes_a_day,
        days_left: bytes_a_day.and_then(|growth| free_bytes.checked_div(growth)),
        damaged,
        lost,
        holders: log.holders()?,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &figures)?;
        writeln!(out)?;
    } else {
        out.write_all(figures.text().as_bytes())?;
    }
    Ok(Exit::Done)
}

/// What the log grows by in a day: payload of the last days, and what the log adds to payloads as it did so far.
fn bytes_a_day(
    by_day: &BTreeMap<i64, Sum>,
    span: Option<(UnixTime, UnixTime)>,
    log_bytes: u64,
    payload: u64,
) -> Option<u64> {
    // Minutes or hours say nothing about days.
    let (first, last) = span.filter(|(first, last)| last.0 - first.0 >= DAY_MS)?;
    let from = last.0.div_euclid(DAY_MS) - FORECAST_DAYS;
    let recent: u64 = by_day.range(from..).map(|(_, sum)| sum.bytes).sum();
    let length = (last.0 - first.0.max(from * DAY_MS)).max(DAY_MS);
    let share = if payload == 0 { 1.0 } else { log_bytes as f64 / payload as f64 };
    Some((recent as f64 * share * DAY_MS as f64 / length as f64) as u64)
}

impl Figures {
    fn text(&self) -> String {
        let mut out = format!("{} records", self.records);
        if let (Some(first), Some(last)) = (&self.first, &self.last) {
            out.push_str(&format!(", from {first} to {last}"));
        }
        out.push('\n');
        for (title, sums) in [("member", &self.by_member), ("day", &self.by_day)] {
            out.push_str(&format!("\n{title:<40} {:>12} {:>12} {:>16}\n", "requests", "responses", "bytes"));
            for (name, sum) in sums {
                let name = printable(name);
                out.push_str(&format!(
                    "{name:<40} {:>12} {:>12} {:>16}\n",
                    sum.requests, sum.responses, sum.bytes
                ));
            }
        }
        let Self { log_bytes, free_bytes, bytes_a_day, .. } = self;
        match bytes_a_day {
            Some(growth) => out.push_str(&format!(
                "\nthe log takes {log_bytes} bytes and grows by {growth} a day; {free_bytes} are free"
            )),
            None => out.push_str(&format!(
                "\nthe log takes {log_bytes} bytes; {free_bytes} are free; a day of records is wanted for a forecast"
            )),
        }
        match self.days_left {
            Some(days) => out.push_str(&format!(": enough for {days} days if nothing is removed\n")),
            None => out.push('\n'),
        }
        for (records, what) in [
            (&self.damaged, "records are damaged and were not archived"),
            (&self.lost, "records are lost; what was left of their frames is in the log's folder `damaged`"),
        ] {
            if !records.is_empty() {
                let shown: Vec<String> = records.iter().take(SHOWN).map(u64::to_string).collect();
                let more = if records.len() > SHOWN { ", …" } else { "" };
                out.push_str(&format!("{} {what}: {}{more}\n", records.len(), shown.join(", ")));
            }
        }
        for (name, holder) in &self.holders {
            out.push_str(&format!("{}: {}\n", printable(name), holding(holder)));
        }
        out
    }
}

/// How far a holder has come, for people.
fn holding(holder: &Progress) -> String {
    let Progress { has, waiting, passed_over, failures, failing_since, reason, .. } = holder;
    let mut text = format!("has the head of {has} records");
    if *passed_over > 0 {
        text.push_str(&format!("; {passed_over} earlier ones were passed over"));
    }
    if *failures > 0 {
        let since = UnixTime(*failing_since).to_iso8601();
        let why = printable(reason);
        text.push_str(&format!("; LAGS: {waiting} wait, {failures} tries failed since {since}: {why}"));
    }
    text
}

fn prove(args: &Prove) -> anyhow::Result<Exit> {
    let log = open(&args.dir, None)?;
    let (size, head) = log.head(args.size)?;
    let (claim, hashes) = match (args.record, args.from) {
        (Some(number), _) => {
            let filter = Filter { record: Some(number), ..Filter::default() };
            let found = log.find(&filter, 1)?;
            let line = found.first().ok_or_else(|| Usage(format!("there is no record {number}")))?;
            let (_, hashes) = log.inclusion(number, Some(size))?;
            (Claim::Record { number, leaf: hex::encode(&line.leaf) }, hashes)
        }
        (None, from) => {
            let from = from.unwrap_or_default();
            let (_, earlier) = log.head(Some(from))?;
            let (_, hashes) = log.consistency(from, Some(size))?;
            (Claim::Continues { earlier }, hashes)
        }
    };
    let proof = Proof { claim, hashes: hashes.iter().map(hex::encode).collect(), head };
    let text = format!("{}\n", serde_json::to_string_pretty(&proof)?);
    match &args.output {
        Some(path) => std::fs::write(path, text)?,
        None => std::io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(Exit::Done)
}
