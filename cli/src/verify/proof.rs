//! `causeway verify proof FILE… --key KEY`: whether a record is in a log, or a log's head continues an earlier one; offline.
//!
//! `causeway log prove` writes such files. What is believed is the key alone: a head signed with it, and hashes that lead to its root.
//! With `--head` the head is one that was kept elsewhere, which also shows that the log has not been rewritten since.

use std::io::Write;
use std::path::{Path, PathBuf};

use pki::merkle::{self, Hash};
use pki::note::{Checkpoint, Verifier};
use serde::{Deserialize, Serialize};

use super::printable;
use crate::exit::{Exit, Usage};

/// Largest file.
const MAX_BYTES: u64 = 16 << 20;

/// Says whether a record is in a tamper-evident log, or whether a log's head continues an earlier one. Works offline.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Proofs, as `causeway log prove` writes them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The log's public key, or the file that holds it (`key.pub` in the log's folder), as it was handed over.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A head that was kept outside: of an inclusion proof the head to lead to, of a consistency proof the earlier one.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Print an array of objects instead of text.
    #[arg(long)]
    json: bool,
}

/// A proof file. Hashes and leaf are hexadecimal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Proof {
    /// What is proven.
    pub(crate) claim: Claim,
    /// Hashes in the order of RFC 9162.
    pub(crate) hashes: Vec<String>,
    /// The signed head that it leads to.
    pub(crate) head: String,
}

/// What a proof is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Claim {
    /// This record is in the log.
    Record {
        /// Its number.
        number: u64,
        /// The head of its frame.
        leaf: String,
    },
    /// The log of the head begins with the one of this earlier head.
    Continues {
        /// The earlier head.
        earlier: String,
    },
}

#[derive(Debug, Serialize)]
struct Verdict {
    file: String,
    verdict: &'static str,
    reason: Option<String>,
    proven: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let key = key(&args.key)?;
    let held = match &args.head {
        Some(path) => Some(read(path).map_err(|reason| Usage(format!("{}: {reason}", path.display())))?),
        None => None,
    };
    let verdicts: Vec<Verdict> = args
        .files
        .iter()
        .map(|path| {
            let outcome = judge(path, &key, held.as_deref());
            Verdict {
                file: path.display().to_string(),
                verdict: if outcome.is_ok() { "accept" } else { "reject" },
                reason: outcome.as_ref().err().cloned(),
                proven: outcome.ok(),
            }
        })
        .collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &verdicts)?;
        writeln!(out)?;
    } else {
        for verdict in &verdicts {
            let (said, what) = match (&verdict.proven, &verdict.reason) {
                (Some(proven), _) => ("accepted", proven),
                (None, Some(reason)) => ("REJECTED", reason),
                (None, None) => continue,
            };
            writeln!(out, "{}: {said}\n  {}", printable(&verdict.file), printable(what))?;
        }
    }
    let all_hold = verdicts.iter().all(|verdict| verdict.reason.is_none());
    Ok(if all_hold { Exit::Done } else { Exit::NotVerified })
}

/// The key itself, or a file with it.
pub(crate) fn key(text: &str) -> anyhow::Result<Verifier> {
    let text = match Path::new(text).is_file() {
        true => read(Path::new(text)).map_err(|reason| Usage(format!("{text}: {reason}")))?,
        false => text.to_owned(),
    };
    Ok(Verifier::parse(&text).map_err(|error| Usage(format!("--key: {error}")))?)
}

fn read(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > MAX_BYTES {
        return Err(format!("larger than {MAX_BYTES} bytes"));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

fn judge(path: &Path, key: &Verifier, held: Option<&str>) -> Result<String, String> {
    let proof: Proof = serde_json::from_str(&read(path)?).map_err(|e| format!("it is no proof: {e}"))?;
    let hashes = proof.hashes.iter().map(|hash| hash_of(hash)).collect::<Result<Vec<_>, _>>()?;
    match &proof.claim {
        Claim::Record { number, leaf } => {
            let head = open(held.unwrap_or(&proof.head), key)?;
            let leaf = merkle::leaf(&hex::decode(leaf).map_err(|e| format!("the leaf: {e}"))?);
            let index = number.checked_sub(1).ok_or("records are counted from 1")?;
            if !merkle::is_included(&leaf, index, head.size, &hashes, &head.root) {
                return Err(format!("the record is not in the log of {} records that was signed", head.size));
            }
            Ok(format!("record {number} is in {}, {}", key.name(), at(&head)))
        }
        Claim::Continues { earlier } => {
            let earlier = open(held.unwrap_or(earlier), key)?;
            let head = open(&proof.head, key)?;
            if !merkle::is_consistent(earlier.size, &earlier.root, head.size, &head.root, &hashes) {
                return Err("the log does not begin with what it was: it has been rewritten".to_owned());
            }
            Ok(format!(
                "{} with {} records begins with its {}, {}",
                key.name(),
                head.size,
                earlier.size,
                at(&head)
            ))
        }
    }
}

fn at(head: &Checkpoint) -> String {
    format!("as signed with {} records {}", head.size, head.more.first().map_or("", String::as_str))
}

fn open(note: &str, key: &Verifier) -> Result<Checkpoint, String> {
    let text = key.open(note).map_err(|e| format!("the head: {e}"))?;
    let head = Checkpoint::parse(text).map_err(|e| format!("the head: {e}"))?;
    if head.origin == key.name() { Ok(head) } else { Err("the head is of another log".to_owned()) }
}

fn hash_of(text: &str) -> Result<Hash, String> {
    hex::decode(text).ok().and_then(|hash| hash.try_into().ok()).ok_or_else(|| "a hash is none".to_owned())
}
