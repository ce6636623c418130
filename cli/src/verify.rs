//! `causeway verify FILE… --conf DIR`: says whether containers are evidence, offline. Of a folder all containers below it are judged.
//!
//! | Command | Module |
//! |---|---|
//! | `verify archive ZIP…` | [`archive`] |
//! | `verify log DIR` | [`log`] |
//! | `verify proof FILE…` | [`proof`] |
//! | `verify conf ANCHOR` | [`conf`] |
//!
//! DIR is a folder of global configuration as servers keep it, or what `/verificationconf` hands out: the ZIP, or the folder it
//! unpacks to. Its expiry is not held against old evidence. What is checked, and in which order: `pki::asic`.
//!
//! Each file is judged on its own; one that cannot be opened is rejected like one that proves nothing. With `--json` standard
//! output is an array with one object a file:
//!
//! | Key | Value |
//! |---|---|
//! | `file` | as it was given |
//! | `verdict` | `accept` or `reject` |
//! | `code` | error code of the stock verifier, `null` when accepted |
//! | `step`, `reason` | the first check that failed, and why; `null` when accepted |
//! | `signer` | who sent the message, `null` unless proven |
//! | `signed_at`, `timestamped_at` | ISO 8601; `null` unless proven, the first one also when the signature does not say |
//!
//! Exit status 0 when all are accepted, 7 when one is rejected, 2 when the configuration cannot be used.

mod archive;
mod conf;
mod extract;
pub(crate) mod log;
pub(crate) mod proof;
mod work;

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use pki::asic::{self, Rejection, Report};
use pki::globalconf::{self, Files, GlobalConf};
use proto::time::UnixTime;
use serde::Serialize;

use self::work::Progress;
use crate::exit::{Exit, Usage};

/// Folder in a ZIP of `/verificationconf`.
const ARCHIVE_FOLDER: &str = "verificationconf";
/// File by which a folder of configuration is recognised.
const INSTANCE_FILE: &str = "instance-identifier";
/// Most entries of a configuration ZIP.
const MAX_ENTRIES: usize = 10_000;
/// Most bytes that its entries are inflated to, together.
const MAX_INFLATED_BYTES: u64 = 512 << 20;

/// Says whether containers (.asice) are evidence: signature, timestamp, certificates at that time. Works offline.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Containers to verify; of a folder every container below it.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Global configuration: a folder as servers keep it, or a verificationconf.zip, packed or unpacked.
    #[arg(long, value_name = "DIR", required = true)]
    conf: Option<PathBuf>,
    /// Unpack messages and attachments of accepted containers below this folder.
    #[arg(long, value_name = "DIR")]
    extract: Option<PathBuf>,
    /// Print an array of objects instead of text.
    #[arg(long)]
    json: bool,
}

/// What else can be verified.
#[derive(Debug, clap::Subcommand)]
enum What {
    Archive(archive::Args),
    Log(log::Args),
    Proof(proof::Args),
    Conf(conf::Args),
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        Some(What::Archive(args)) => archive::run(args),
        Some(What::Log(args)) => log::run(args),
        Some(What::Proof(args)) => proof::run(args),
        Some(What::Conf(args)) => conf::run(args),
        None => containers(args),
    }
}

fn containers(args: &Args) -> anyhow::Result<Exit> {
    let path = args.conf.as_deref().unwrap_or(Path::new("."));
    let conf = load_conf(path).map_err(|error| Usage(format!("{}: {error:#}", path.display())))?;
    let mut files = Vec::new();
    for file in &args.files {
        // What is not there says nothing about what it would have been.
        let kind = std::fs::metadata(file).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
        match kind.is_dir() {
            true => containers_below(file, &mut files)?,
            false => files.push(file.clone()),
        }
    }
    let progress = Progress::start(files.len(), args.json);
    let outcomes = work::in_parallel(&files, |file| {
        let outcome = judge(file, &conf);
        progress.step();
        outcome
    });
    progress.finish();
    let verdicts: Vec<_> = files.iter().map(PathBuf::as_path).zip(outcomes).collect();
    if let Some(to) = &args.extract {
        for (file, _) in verdicts.iter().filter(|(_, outcome)| outcome.is_ok()) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            extract::container(BufReader::new(File::open(file)?), &name, to)
                .with_context(|| format!("{}: unpacking", file.display()))?;
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let objects: Vec<_> = verdicts.iter().map(|(file, outcome)| Object::of(file, outcome)).collect();
        serde_json::to_writer_pretty(&mut out, &objects)?;
        writeln!(out)?;
    } else {
        for (file, outcome) in &verdicts {
            out.write_all(text(file, outcome).as_bytes())?;
        }
    }
    let all_hold = verdicts.iter().all(|(_, outcome)| outcome.is_ok());
    Ok(if all_hold { Exit::Done } else { Exit::NotVerified })
}

/// Every container in a folder and below it, in the order of names.
fn containers_below(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let before = found.len();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            // A symbolic link is not followed: it may lead around in a circle.
            if entry.file_type()?.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "asice") {
                found.push(path);
            }
        }
    }
    if found.len() == before {
        return Err(Usage(format!("{}: there is no container (.asice) in it", folder.display())).into());
    }
    found[before..].sort();
    Ok(())
}

fn judge(file: &Path, conf: &GlobalConf) -> Result<Report, Rejection> {
    let opened = File::open(file).and_then(|opened| {
        // A folder can be opened too.
        if opened.metadata()?.is_file() { Ok(opened) } else { Err(std::io::Error::other("it is not a file")) }
    });
    let opened = opened.map_err(|error| Rejection {
        code: "io_error".to_owned(),
        step: "the file can be read",
        reason: error.to_string(),
    })?;
    asic::verify(BufReader::new(opened), conf)
}

/// One verdict as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Object {
    file: String,
    verdict: &'static str,
    code: Option<String>,
    step: Option<&'static str>,
    reason: Option<String>,
    signer: Option<String>,
    signed_at: Option<String>,
    timestamped_at: Option<String>,
}

impl Object {
    fn of(file: &Path, outcome: &Result<Report, Rejection>) -> Self {
        let report = outcome.as_ref().ok();
        let rejection = outcome.as_ref().err();
        Self {
            file: file.display().to_string(),
            verdict: if report.is_some() { "accept" } else { "reject" },
            code: rejection.map(|rejection| rejection.code.clone()),
            step: rejection.map(|rejection| rejection.step),
            reason: rejection.map(|rejection| rejection.reason.clone()),
            signer: report.map(|report| report.signer.to_string()),
            signed_at: report.and_then(|report| report.signed_at).map(UnixTime::to_iso8601),
            timestamped_at: report.map(|report| report.timestamped_at.to_iso8601()),
        }
    }
}

impl Object {
    /// One line for people.
    fn in_short(&self) -> String {
        let step = self.step.unwrap_or_default();
        format!("{}: {step}: {}", self.file, self.reason.as_deref().unwrap_or_default())
    }
}

/// One verdict for people: what was proven, or the first check that failed.
fn text(file: &Path, outcome: &Result<Report, Rejection>) -> String {
    let file = printable(&file.display().to_string());
    let (verdict, lines) = match outcome {
        Ok(report) => ("accepted", proven(report)),
        Err(rejection) => (
            "REJECTED",
            vec![
                ("this does not hold", rejection.step.to_owned()),
                ("why", rejection.reason.clone()),
                ("code", rejection.code.clone()),
            ],
        ),
    };
    let lines: String =
        lines.into_iter().map(|(name, value)| format!("  {name:<20} {}\n", printable(&value))).collect();
    format!("{file}: {verdict}\n{lines}")
}

fn proven(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("message", report.message_id.clone()),
        ("sent and signed by", report.signer.to_string()),
        (
            "certificate",
            format!(
                "{}, issued by {}",
                named(&report.cert.subject().to_string()),
                named(&report.cert.issuer().to_string())
            ),
        ),
        ("known good at", format!("{} (OCSP)", report.ocsp_at.to_iso8601())),
        ("existed at", format!("{}, timestamped by {}", report.timestamped_at.to_iso8601(), report.tsa)),
    ];
    if let Some(signed_at) = report.signed_at {
        lines.push(("signed at", format!("{} (says the signer)", signed_at.to_iso8601())));
    }
    for uri in &report.by_digest {
        lines.push(("not in the container", format!("{uri}, proven by its digest only")));
    }
    lines
}

/// A name as people read it: RFC 4514 writes types without a keyword as their OID with the value in hexadecimal DER.
fn named(rfc2253: &str) -> String {
    const WORDS: [(&str, &str); 4] = [
        (pki::name::SERIAL_NUMBER, "serialNumber"),
        (pki::name::BUSINESS_CATEGORY, "businessCategory"),
        (pki::name::ORGANIZATION_IDENTIFIER, "organizationIdentifier"),
        ("1.2.840.113549.1.9.1", "emailAddress"),
    ];
    let part = |part: &str| {
        let (oid, value) = part.split_once("=#")?;
        let (_, word) = WORDS.iter().find(|(known, _)| *known == oid)?;
        let der = hex::decode(value).ok()?;
        // A string: its tag, one byte of length, its characters.
        let text = der
            .get(2..)
            .filter(|text| text.len() < 128 && der.get(1) == u8::try_from(text.len()).ok().as_ref())?;
        let text = std::str::from_utf8(text)
            .ok()
            .filter(|text| !text.chars().any(|c| c.is_control() || c == ','))?;
        Some(format!("{word}={text}"))
    };
    rfc2253.split(',').map(|text| part(text).unwrap_or_else(|| text.to_owned())).collect::<Vec<_>>().join(",")
}

/// Text out of a file, made harmless for a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A folder, the unpacked ZIP (its folder or the one around it), or the ZIP.
fn load_conf(path: &Path) -> anyhow::Result<GlobalConf> {
    if path.is_file() {
        let files = read_archive(File::open(path)?)?;
        return Ok(globalconf::load_files(files)?);
    }
    let below = path.join(ARCHIVE_FOLDER);
    let folder = if !path.join(INSTANCE_FILE).exists() && below.is_dir() { &below } else { path };
    Ok(globalconf::load_directory(folder)?)
}

/// The files of a configuration ZIP, by their paths below its folder.
fn read_archive(file: File) -> anyhow::Result<Files> {
    let mut archive =
        zip::ZipArchive::new(BufReader::new(file)).context("neither a folder nor a ZIP archive")?;
    anyhow::ensure!(archive.len() <= MAX_ENTRIES, "more than {MAX_ENTRIES} entries");
    let mut files = Files::new();
    let mut left = MAX_INFLATED_BYTES;
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        if entry.is_dir() {
            continue;
        }
        let name = entry.name()?.into_owned();
        let mut data = Vec::new();
        entry.take(left + 1).read_to_end(&mut data).with_context(|| name.clone())?;
        left = left
            .checked_sub(data.len() as u64)
            .with_context(|| format!("entries of more than {MAX_INFLATED_BYTES} bytes"))?;
        let below =
            name.strip_prefix(ARCHIVE_FOLDER).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&name);
        anyhow::ensure!(files.insert(below.to_owned(), data).is_none(), "two entries named {below}");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection() -> Rejection {
        Rejection { code: "a.b".to_owned(), step: "this holds", reason: "bad \u{1b}[31m thing".to_owned() }
    }

    #[test]
    fn a_rejection_as_json_has_every_key() {
        let object =
            serde_json::to_value(Object::of(Path::new("x.asice"), &Err(rejection()))).expect("it is JSON");
        let expected = serde_json::json!({
            "file": "x.asice", "verdict": "reject", "code": "a.b", "step": "this holds",
            "reason": "bad \u{1b}[31m thing", "signer": null, "signed_at": null, "timestamped_at": null,
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn text_from_a_container_does_not_reach_the_terminal_raw() {
        let text = text(Path::new("x\n.asice"), &Err(rejection()));
        assert_eq!(
            text,
            "x\u{fffd}.asice: REJECTED\n  this does not hold   this holds\n  why                  bad \u{fffd}[31m \
             thing\n  code                 a.b\n"
        );
    }
}
