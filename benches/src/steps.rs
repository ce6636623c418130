//! Where the CPU goes, step by step: samples of both servers by function, put together by what the functions are for.
//!
//! `perf` takes the samples; where there is none, or it may not, there are no steps. Functions are told apart by their symbols, so a
//! step's share is as good as their names: what is inlined counts with whoever it was inlined into.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// A step, and what its functions' names hold; the first that fits counts.
const STEPS: [(&str, &[&str]); 12] = [
    (
        "key operations",
        &["rsaz", "bn_", "BN_", "RSA", "rsa_", "ecp_", "EC_", "ecdsa", "amm52", "gfp_p256", "p256"],
    ),
    ("hash", &["sha512", "sha256", "SHA512", "SHA256", "sha1_", "digest"]),
    ("TLS", &["aes", "gcm", "ghash", "chacha", "poly1305", "rustls"]),
    (
        "XML and signature documents",
        &["xml", "xades", "c14n", "base64", "roxmltree", "quick_xml", "hash_chain", "strict"],
    ),
    ("certificates and trust", &["x509", "asn1", "trust", "ocsp", "cert"]),
    ("log and index", &["message_log", "sled", "crc32c", "prost", "host::store"]),
    ("HTTP and messages", &["hyper", "http", "httparse", "multipart", "transport", "memchr"]),
    ("exchange", &["security_server", "proto::", "signer"]),
    (
        "memory",
        &[
            "malloc", "free", "calloc", "realloc", "memmove", "memcpy", "memset", "_int_", "je_", "mi_",
            "edata", "arena", "tcache", "sdallocx", "extent_", "emap", "pac_", "alloc::",
        ],
    ),
    (
        "runtime and locks",
        &["tokio", "futex", "parking_lot", "pthread", "mio", "crossbeam", "std::sync", "std::thread"],
    ),
    ("metrics and tracing", &["metrics", "tracing"]),
    ("vdso and libc", &["[vdso]", "libc"]),
];
const KERNEL: &str = "kernel: sockets, disk, scheduling";
const OTHER: &str = "other";

/// Shares of the CPU time of `pids` during `time`, largest first.
pub(crate) async fn shares(dir: &Path, pids: &[u32], time: Duration) -> Option<Vec<(String, f64)>> {
    let data = dir.join("perf.data");
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let seconds = time.as_secs_f64().to_string();
    let recorded = Command::new("perf")
        .args(["record", "--quiet", "-F", "499", "-p", &pids, "-o"])
        .arg(&data)
        .args(["--", "sleep", &seconds])
        .stdin(Stdio::null())
        .output()
        .await;
    if !recorded.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: perf takes no samples here, so nothing is said about steps");
        return None;
    }
    let report = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "--no-children",
            "-g",
            "none",
            "-F",
            "overhead,dso,symbol",
            "-t",
            "\t",
            "-i",
        ])
        .arg(&data)
        .output()
        .await;
    let symbols = Symbols::of(&std::env::current_exe().ok()?).await;
    Some(sum(&String::from_utf8_lossy(&report.ok()?.stdout), &symbols))
}

/// Names of our own functions by address. Not every `perf` finds them in a program that was linked without its debug information.
#[derive(Debug, Default)]
struct Symbols {
    /// From the offset in the file to the address.
    shift: u64,
    by_address: BTreeMap<u64, String>,
}

impl Symbols {
    /// As the binutils tell them; without those there are none.
    async fn of(program: &Path) -> Self {
        let said = async |tool: &str, options: &str| {
            let done = Command::new(tool).arg(options).arg(program).stdin(Stdio::null()).output().await;
            done.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default()
        };
        let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let segments = said("readelf", "-lW").await;
        let executable = segments.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let executable = executable.filter(|words| words.first() == Some(&"LOAD") && words.contains(&"E"));
        let shift =
            executable.filter_map(|words| number(words.get(2)?)?.checked_sub(number(words.get(1)?)?)).next();
        let lines = said("nm", "-C").await;
        let symbol = |line: &str| {
            let (address, rest) = line.split_once(' ')?;
            let (kind, name) = rest.split_once(' ')?;
            matches!(kind, "t" | "T" | "w" | "W").then(|| Some((number(address)?, name.to_owned())))?
        };
        Self { shift: shift.unwrap_or(0), by_address: lines.lines().filter_map(symbol).collect() }
    }

    /// The function's name, when `perf` says an offset in its place.
    fn resolve<'a>(&'a self, symbol: &'a str) -> &'a str {
        let offset = symbol.rsplit(' ').next().and_then(|word| word.strip_prefix("0x"));
        let address =
            offset.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(|at| at + self.shift);
        let found = address.and_then(|address| self.by_address.range(..=address).next_back());
        found.map_or(symbol, |(_, name)| name)
    }
}

fn sum(report: &str, symbols: &Symbols) -> Vec<(String, f64)> {
    let mut by_step = BTreeMap::<&str, f64>::new();
    for line in report.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split('\t').map(str::trim);
        let (Some(share), Some(object), Some(symbol)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Ok(share) = share.trim_end_matches('%').parse::<f64>() else { continue };
        *by_step.entry(step_of(object, symbols.resolve(symbol))).or_default() += share;
    }
    let mut steps: Vec<_> = by_step.into_iter().map(|(step, share)| (step.to_owned(), share)).collect();
    steps.sort_by(|one, other| other.1.total_cmp(&one.1));
    steps
}

fn step_of(object: &str, symbol: &str) -> &'static str {
    if symbol.starts_with("[k]") || object.starts_with("[kernel") {
        return KERNEL;
    }
    let fits = |names: &&[&str]| names.iter().any(|name| symbol.contains(name) || object.contains(name));
    STEPS.iter().find(|(_, names)| fits(names)).map_or(OTHER, |(step, _)| step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_belong_to_steps() {
        let report = "# Overhead\tShared Object\tSymbol\n    40.00%\tbenches\t[.] sha512_block_data_order_avx2\n\
                      30.00%\t[kernel.kallsyms]\t[k] tcp_sendmsg\n    20.00%\tlibc.so.6\t[.] malloc\n\
                      5.00%\tbenches\t[.] <sled::pagecache::PageCache>::get\n     5.00%\tbenches\t[.] 0x0000000000001008\n\n";
        let symbols = Symbols { shift: 0x1000, by_address: [(0x2000, "sled::flush".to_owned())].into() };
        let steps = sum(report, &symbols);
        let expected = [("hash", 40.0), (KERNEL, 30.0), ("memory", 20.0), ("log and index", 10.0)];
        assert_eq!(steps, expected.map(|(step, share)| (step.to_owned(), share)));
    }
}
