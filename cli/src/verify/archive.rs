//! `causeway verify archive ZIP… (--first | --last-hash HEX) [--conf DIR]`: whether archive files are links of one chain, and with a
//! configuration whether what they hold is evidence.
//!
//! Files may be given in any order; those that continue each other are put together by the digests they name. The first of each
//! chain must be the first of its group (`--first`) or continue after a digest that is known (`--last-hash`), or nothing shows what
//! was there before. At the end stands the last digest of each chain, to be given the next time.
//!
//! Encrypted files (`.zip.gpg`) are opened with `--key`; with `--signer` they must also be signed by that server. What is opened is in
//! memory or in a file without a name.
//!
//! With `--json`: an array with one object an archive: `file`, `verdict`, `code` (always `null`), `step`, `reason`, `containers`,
//! `rejected` (objects as of `causeway verify`), `last_hash`, `signed_by` (fingerprint of the signer's key, where that was asked).

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use pki::archive::Archive;
use pki::asic;
use pki::globalconf::GlobalConf;
use pki::openpgp::{self, MAX_KEY_BYTES, PublicKey, SecretKey};
use serde::Serialize;

use super::work::{self, Progress};
use super::{Object, extract, load_conf, printable};
use crate::exit::{Exit, Usage};

/// Containers up to this size are read into memory.
const IN_MEMORY: usize = 32 << 20;
/// Largest ZIP that is decrypted.
const MAX_ZIP_BYTES: u64 = 64 << 30;
/// What a ZIP begins with.
const ZIP_MAGIC: &[u8] = b"PK";
/// Reasons shown of one archive.
const MAX_SHOWN: usize = 20;

/// Says whether archive files of a message log are whole and follow each other, and whether their containers are evidence.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Archive files, in any order.
    #[arg(required = true, value_name = "ZIP")]
    archives: Vec<PathBuf>,
    /// The first archive of each chain is the first of its group.
    #[arg(long, short = 'f', required_unless_present = "last_hash")]
    first: bool,
    /// Last digest of an archive before these; once for each chain.
    #[arg(long, value_name = "HEX")]
    last_hash: Vec<String>,
    /// Global configuration: verify the containers too.
    #[arg(long, value_name = "DIR")]
    conf: Option<PathBuf>,
    /// Unpack messages and attachments of accepted containers below this folder.
    #[arg(long, value_name = "DIR", requires = "conf")]
    extract: Option<PathBuf>,
    /// The secret key that opens encrypted archives, as `gpg --export-secret-keys` writes it; the server's own is its server.key.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A file with the passphrase of that key, on its first line.
    #[arg(long, value_name = "FILE", requires = "key")]
    key_passphrase_file: Option<PathBuf>,
    /// Public keys of which one must have signed encrypted archives: that of the server which wrote them.
    #[arg(long, value_name = "FILE", requires = "key")]
    signer: Option<PathBuf>,
    /// Print an array of objects instead of text.
    #[arg(long)]
    json: bool,
}

/// What opens encrypted archives.
struct Opening {
    key: Option<SecretKey>,
    signers: Vec<PublicKey>,
}

impl Opening {
    fn of(args: &Args) -> anyhow::Result<Self> {
        let phrase = args.key_passphrase_file.as_deref().map(small_file).transpose()?;
        let phrase =
            phrase.map(|bytes| String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned());
        let phrase = phrase.map(zeroize::Zeroizing::new);
        let named = |path: &Path, error: openpgp::KeyError| Usage(format!("{}: {error}", path.display()));
        let key = args.key.as_deref().map(|path| -> anyhow::Result<SecretKey> {
            let data = small_file(path)?;
            Ok(SecretKey::read(&data, phrase.as_ref().map(|phrase| phrase.as_str()))
                .map_err(|e| named(path, e))?)
        });
        let signers = args.signer.as_deref().map(|path| -> anyhow::Result<Vec<PublicKey>> {
            Ok(PublicKey::read_all(&small_file(path)?).map_err(|e| named(path, e))?)
        });
        Ok(Self { key: key.transpose()?, signers: signers.transpose()?.unwrap_or_default() })
    }
}

fn small_file(path: &Path) -> anyhow::Result<zeroize::Zeroizing<Vec<u8>>> {
    let failed = |error: std::io::Error| Usage(format!("{}: {error}", path.display()));
    let mut data = zeroize::Zeroizing::new(Vec::new());
    File::open(path)
        .map_err(failed)?
        .take(MAX_KEY_BYTES as u64 + 1)
        .read_to_end(&mut data)
        .map_err(failed)?;
    Ok(data)
}

/// One archive's verdict.
#[derive(Debug, Default, Serialize)]
struct Verdict {
    file: String,
    verdict: &'static str,
    code: Option<String>,
    step: Option<&'static str>,
    reason: Option<String>,
    containers: usize,
    rejected: Vec<Object>,
    last_hash: Option<String>,
    signed_by: Option<String>,
    #[serde(skip)]
    previous: Option<String>,
}

const STEP_OPEN: &str = "the archive can be opened, and is the server's";
const STEP_ARCHIVE: &str = "the archive is what its linkinginfo says";
const STEP_CHAIN: &str = "the archive continues the one before";
const STEP_CONTAINERS: &str = "every container is evidence";

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let conf = args
        .conf
        .as_deref()
        .map(|path| load_conf(path).map_err(|error| Usage(format!("{}: {error:#}", path.display()))));
    let conf = conf.transpose()?;
    let opening = Opening::of(args)?;
    let progress = Progress::start(args.archives.len(), args.json);
    let mut verdicts = work::in_parallel(&args.archives, |path| {
        let verdict = judge(path, &opening, conf.as_ref(), args.extract.as_deref());
        progress.step();
        verdict
    });
    progress.finish();
    check_chains(&mut verdicts, args);
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &verdicts)?;
        writeln!(out)?;
    } else {
        for verdict in &verdicts {
            out.write_all(text(verdict, conf.is_some()).as_bytes())?;
        }
    }
    let all_hold = verdicts.iter().all(|verdict| verdict.step.is_none());
    Ok(if all_hold { Exit::Done } else { Exit::NotVerified })
}

fn judge(path: &Path, opening: &Opening, conf: Option<&GlobalConf>, extract_to: Option<&Path>) -> Verdict {
    let mut verdict = Verdict { file: path.display().to_string(), verdict: "accept", ..Verdict::default() };
    let zip = match opening.open(path, &mut verdict.signed_by) {
        Ok(zip) => zip,
        Err(reason) => {
            verdict.fail(STEP_OPEN, reason);
            return verdict;
        }
    };
    if let Err(reason) = walk(zip, conf, extract_to, &mut verdict) {
        verdict.fail(STEP_ARCHIVE, reason);
    } else if !verdict.rejected.is_empty() {
        let reason = format!("{} of {} are not", verdict.rejected.len(), verdict.containers);
        verdict.fail(STEP_CONTAINERS, reason);
    }
    verdict
}

impl Verdict {
    /// The first step that fails counts.
    fn fail(&mut self, step: &'static str, reason: String) {
        if self.step.is_none() {
            (self.verdict, self.step, self.reason) = ("reject", Some(step), Some(reason));
        }
    }
}

/// A ZIP in clear.
trait Zip: Read + Seek {}
impl<T: Read + Seek> Zip for T {}

impl Opening {
    /// The ZIP of an archive, decrypted if need be.
    fn open(&self, path: &Path, signed_by: &mut Option<String>) -> Result<Box<dyn Zip>, String> {
        let mut file = BufReader::new(File::open(path).map_err(|e| e.to_string())?);
        let mut magic = [0; ZIP_MAGIC.len()];
        let begins = file.read_exact(&mut magic).map(|()| magic);
        file.rewind().map_err(|e| e.to_string())?;
        if begins.is_ok_and(|magic| magic == ZIP_MAGIC) {
            let wanted = !self.signers.is_empty();
            return if wanted {
                Err("it is not encrypted, and so not signed".into())
            } else {
                Ok(Box::new(file))
            };
        }
        let Some(key) = &self.key else {
            return match path.extension().is_some_and(|extension| extension == "gpg") {
                true => Err("it is encrypted: give --key to open it".into()),
                false => Ok(Box::new(file)), // What is wrong with it is said by its reader.
            };
        };
        let mut zip = tempfile::spooled_tempfile(IN_MEMORY);
        *signed_by =
            openpgp::open(file, &mut zip, key, &self.signers, MAX_ZIP_BYTES).map_err(|e| e.to_string())?;
        zip.rewind().map_err(|e| e.to_string())?;
        Ok(Box::new(BufReader::new(zip)))
    }
}

fn walk(
    zip: Box<dyn Zip>,
    conf: Option<&GlobalConf>,
    extract_to: Option<&Path>,
    verdict: &mut Verdict,
) -> Result<(), String> {
    let mut archive = Archive::open(zip).map_err(|e| e.to_string())?;
    verdict.previous = archive.previous().map(|(digest, _)| digest.to_owned());
    verdict.last_hash = Some(archive.claimed_digest().to_owned());
    loop {
        let mut container = tempfile::spooled_tempfile(IN_MEMORY);
        let next = match conf {
            Some(_) => archive.next(&mut container),
            None => archive.next(std::io::sink()),
        };
        let Some(name) = next.map_err(|e| e.to_string())? else { return Ok(()) };
        verdict.containers += 1;
        let Some(conf) = conf else { continue };
        container.rewind().map_err(|e| e.to_string())?;
        let outcome = asic::verify(&mut container, conf);
        if outcome.is_ok()
            && let Some(to) = extract_to
        {
            container.rewind().map_err(|e| e.to_string())?;
            extract::container(&mut container, &name, to).map_err(|e| format!("{name}: {e}"))?;
        }
        if outcome.is_err() {
            verdict.rejected.push(Object::of(Path::new(&name), &outcome));
        }
    }
}

/// Every archive continues another one of these, or where the caller says.
fn check_chains(verdicts: &mut [Verdict], args: &Args) {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let ends: Vec<(usize, String)> =
        verdicts.iter().enumerate().filter_map(|(n, v)| Some((n, v.last_hash.clone()?))).collect();
    let previous: Vec<_> = verdicts.iter().map(|v| v.previous.clone().unwrap_or_default()).collect();
    for number in 0..verdicts.len() {
        let before = previous[number].as_str();
        let twin = (0..number).any(|other| same(&previous[other], before) && !before.is_empty());
        let follows = ends.iter().any(|(other, end)| *other != number && same(end, before));
        let known = match before {
            "" => args.first,
            digest => follows || args.last_hash.iter().any(|given| same(given.trim(), digest)),
        };
        if verdicts[number].last_hash.is_none() {
            continue; // It could not be read.
        }
        if !known {
            let reason = match before {
                "" => "it is the first of its group, and --first was not given".to_owned(),
                digest => format!("none of these archives, and no --last-hash, ends with {digest}"),
            };
            verdicts[number].fail(STEP_CHAIN, reason);
        } else if twin {
            verdicts[number].fail(STEP_CHAIN, "another of these archives continues the same one".to_owned());
        }
    }
}

fn text(verdict: &Verdict, with_conf: bool) -> String {
    let mut out = String::new();
    let said = if verdict.step.is_none() { "accepted" } else { "REJECTED" };
    let mut line = |name: &str, value: &str| out.push_str(&format!("  {name:<20} {}\n", printable(value)));
    if let (Some(step), Some(reason)) = (verdict.step, &verdict.reason) {
        line("this does not hold", step);
        line("why", reason);
    }
    for object in verdict.rejected.iter().take(MAX_SHOWN) {
        line("rejected", &object.in_short());
    }
    let containers = match with_conf {
        true => format!("{}", verdict.containers),
        false => format!("{}, not verified: give --conf to verify them", verdict.containers),
    };
    line("containers", &containers);
    if let Some(key) = &verdict.signed_by {
        line("signed by", &format!("key {key}"));
    }
    if let (None, Some(hash)) = (verdict.step, &verdict.last_hash) {
        line("last hash", hash);
    }
    format!("{}: {said}\n{out}", printable(&verdict.file))
}
