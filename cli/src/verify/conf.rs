//! `causeway verify conf ANCHOR [DIRECTORY…]`: what an anchor says, and whether signed configuration directories hold under it.
//!
//! A directory is the document that a configuration source serves, saved to a file; the parts that it lists are looked for beside it
//! and above it, by their locations. Expiry is said, and only fails with `--now-valid`: a configuration of years ago may be what old
//! evidence is verified with.

use std::io::Write;
use std::path::{Path, PathBuf};

use host::clock::Clock;
use pki::digest::DigestAlgorithm;
use pki::globalconf::verify::{anchor_fingerprint, is_part, verify_directory};
use proto::globalconf::anchor::Anchor;
use proto::globalconf::directory::Part;
use proto::time::UnixTime;
use serde::Serialize;

use super::printable;
use crate::exit::{Exit, Usage};

/// Largest file that is read.
const MAX_BYTES: u64 = 512 << 20;

/// Says what a configuration anchor holds, and whether signed configuration directories verify under it. Works offline.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration anchor.
    anchor: PathBuf,
    /// Signed directories, as a configuration source serves them; their parts lie beside or above them.
    directories: Vec<PathBuf>,
    /// A directory that has expired is rejected.
    #[arg(long)]
    now_valid: bool,
    /// Print an object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    anchor: String,
    fingerprint: String,
    instance: String,
    generated_at: Option<String>,
    sources: Vec<Source>,
    directories: Vec<Verdict>,
}

#[derive(Debug, Serialize)]
struct Source {
    url: String,
    /// SHA-256 of each certificate, hexadecimal.
    certificates: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    file: String,
    verdict: &'static str,
    step: Option<&'static str>,
    reason: Option<String>,
    expires: Option<String>,
    expired: bool,
    parts: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let bytes = read(&args.anchor)?;
    let anchor =
        Anchor::read(&bytes).map_err(|error| Usage(format!("{}: {error}", args.anchor.display())))?;
    let certs: Vec<Vec<u8>> =
        anchor.sources.iter().flat_map(|source| source.verification_certs.iter().cloned()).collect();
    let now = Clock::System.now();
    let directories = args.directories.iter().map(|path| judge(path, &certs, now, args.now_valid)).collect();
    let source = |source: &proto::globalconf::anchor::AnchorSource| Source {
        url: source.url.clone(),
        certificates: source
            .verification_certs
            .iter()
            .map(|der| DigestAlgorithm::Sha256.digest(der).value.iter().map(|b| format!("{b:02x}")).collect())
            .collect(),
    };
    let outcome = Outcome {
        anchor: args.anchor.display().to_string(),
        fingerprint: anchor_fingerprint(&bytes),
        instance: anchor.instance.clone(),
        generated_at: anchor.generated_at.map(UnixTime::to_iso8601),
        sources: anchor.sources.iter().map(source).collect(),
        directories,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &outcome)?;
        writeln!(out)?;
    } else {
        out.write_all(text(&outcome).as_bytes())?;
    }
    let all_hold = outcome.directories.iter().all(|verdict| verdict.step.is_none());
    Ok(if all_hold { Exit::Done } else { Exit::NotVerified })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let wrong = |reason: String| Usage(format!("{}: {reason}", path.display()));
    let length = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > MAX_BYTES {
        return Err(wrong(format!("larger than {MAX_BYTES} bytes")).into());
    }
    Ok(std::fs::read(path).map_err(|e| wrong(e.to_string()))?)
}

fn judge(path: &Path, certs: &[Vec<u8>], now: UnixTime, now_valid: bool) -> Verdict {
    let mut verdict = Verdict {
        file: path.display().to_string(),
        verdict: "accept",
        step: None,
        reason: None,
        expires: None,
        expired: false,
        parts: Vec::new(),
    };
    if let Err((step, reason)) = check(path, certs, now, now_valid, &mut verdict) {
        (verdict.verdict, verdict.step, verdict.reason) = ("reject", Some(step), Some(reason));
    }
    verdict
}

fn check(
    path: &Path,
    certs: &[Vec<u8>],
    now: UnixTime,
    now_valid: bool,
    verdict: &mut Verdict,
) -> Result<(), (&'static str, String)> {
    let document = read(path).map_err(|e| ("the file can be read", e.to_string()))?;
    let signed = "a key of the anchor signed the directory";
    // Expiry is judged here, so that a directory of the past can be looked at.
    let verified =
        verify_directory(&document, certs, UnixTime(i64::MIN)).map_err(|e| (signed, e.to_string()))?;
    let directory = verified.directory();
    verdict.expires = Some(directory.expires.to_iso8601());
    verdict.expired = directory.expires <= now;
    for part in &directory.parts {
        let step = "every part is the one that was signed";
        let file = part_file(path, part).ok_or_else(|| (step, format!("{} is not there", part.location)))?;
        let bytes = read(&file).map_err(|e| (step, e.to_string()))?;
        if !is_part(part, &bytes) {
            return Err((step, format!("{} is another: its hash is not the one signed", part.location)));
        }
        verdict.parts.push(part.location.clone());
    }
    if now_valid && verdict.expired {
        return Err((
            "the directory has not expired",
            format!("it expired at {}", directory.expires.to_iso8601()),
        ));
    }
    Ok(())
}

/// The part's location, taken from the folder of the directory or one above it.
fn part_file(directory: &Path, part: &Part) -> Option<PathBuf> {
    let location = part.location.split('?').next()?.trim_start_matches('/');
    if Path::new(location).components().any(|c| !matches!(c, std::path::Component::Normal(_))) {
        return None;
    }
    directory.ancestors().skip(1).map(|folder| folder.join(location)).find(|path| path.is_file())
}

fn text(outcome: &Outcome) -> String {
    let mut out = format!("{}\n", printable(&outcome.anchor));
    let mut line = |name: &str, value: &str| out.push_str(&format!("  {name:<20} {}\n", printable(value)));
    line("instance", &outcome.instance);
    line("generated at", outcome.generated_at.as_deref().unwrap_or("(it does not say)"));
    line("hash (SHA-224)", &outcome.fingerprint);
    for source in &outcome.sources {
        line("source", &source.url);
        source.certificates.iter().for_each(|cert| line("  key (SHA-256)", cert));
    }
    for verdict in &outcome.directories {
        let said = if verdict.step.is_none() { "accepted" } else { "REJECTED" };
        out.push_str(&format!("{}: {said}\n", printable(&verdict.file)));
        let mut line =
            |name: &str, value: &str| out.push_str(&format!("  {name:<20} {}\n", printable(value)));
        if let (Some(step), Some(reason)) = (verdict.step, &verdict.reason) {
            line("this does not hold", step);
            line("why", reason);
        }
        if let Some(expires) = &verdict.expires {
            line(if verdict.expired { "EXPIRED at" } else { "expires at" }, expires);
        }
        verdict.parts.iter().for_each(|part| line("part", part));
    }
    out
}
