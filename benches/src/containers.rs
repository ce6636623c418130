//! Containers that are verified: those of a folder, or of exchanges between two servers that are started for it.
//!
//! A container holds one message with its signature document (the signer's certificate and its OCSP answer in it) and its timestamp, so
//! that one verification is four of RSA: message, OCSP answer, timestamp, and the paths of their certificates, as far as the
//! configuration does not have their verdict.

use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use host::metrics::Process;
use pki::asic;
use pki::globalconf::{GlobalConf, load_directory};
use sandbox::ecosystem::{Ecosystem, Mode, Options};
use sandbox::information_system::{Call, Message};
use sandbox::parties;

/// Exchanges, of each of which both messages become a container.
const EXCHANGES: usize = 12;
/// CPU time is counted in hundredths of a second.
const MEASURED: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(10);

/// Containers, and what they are verified with.
pub(crate) struct Containers {
    files: Vec<Vec<u8>>,
    conf: GlobalConf,
}

impl Containers {
    /// Those of a folder.
    pub(crate) fn read(folder: &Path, conf: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "asice") {
                files.push(std::fs::read(&path)?);
            }
        }
        anyhow::ensure!(!files.is_empty(), "there is no container in {}", folder.display());
        Ok(Self { files, conf: load_directory(conf)? })
    }

    /// Those of exchanges: half REST, half SOAP, logged and stamped as in service. RSA-2048 keys.
    pub(crate) async fn make() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mode = Mode::Processes { program: std::env::current_exe()? };
        let options = Options { mode, ..Options::default() };
        let ecosystem = Ecosystem::build(dir.path(), options, |stage| eprintln!("{stage}")).await?;
        let files = Self::of_exchanges(&ecosystem).await;
        let conf = load_directory(&ecosystem.consumer_globalconf());
        ecosystem.stop(DRAIN).await?;
        Ok(Self { files: files?, conf: conf? })
    }

    async fn of_exchanges(ecosystem: &Ecosystem) -> anyhow::Result<Vec<Vec<u8>>> {
        let (system, client) = (ecosystem.information_system(), parties::school());
        let content = format!(
            r#"<residentDetails xmlns="{}"><code>M-2019-0502</code></residentDetails>"#,
            sandbox::services::soap::NAMESPACE
        );
        let mut calls = Vec::new();
        for number in 0..EXCHANGES {
            let call = match number % 2 {
                0 => Call::rest(
                    &client,
                    &parties::register(),
                    hyper::Method::GET,
                    "/residents/M-2019-0502",
                    None,
                ),
                _ => Call::soap(&client, &parties::resident_details(), &content),
            };
            let answer = system.send(&call).await?;
            let (status, fault) = (answer.status, answer.fault());
            anyhow::ensure!(status.is_success() && fault.is_none(), "an exchange failed: {status} {fault:?}");
            calls.push(call.message_id);
        }
        let mut files = Vec::new();
        for id in &calls {
            for message in [Message::Request, Message::Response] {
                let container = system.container(&client, id, message).await?;
                anyhow::ensure!(container.status.is_success(), "no container of {id}: {}", container.status);
                files.push(Bytes::into(container.body));
            }
        }
        Ok(files)
    }

    /// How many are verified in a second on one core: by CPU time, as `openssl speed` has it.
    pub(crate) fn verified_per_second(&self) -> anyhow::Result<f64> {
        let verify = |file: &Vec<u8>| asic::verify(Cursor::new(file.as_slice()), &self.conf).map(drop);
        for (number, file) in self.files.iter().enumerate() {
            verify(file).with_context(|| format!("container {number}"))?;
        }
        let (began, cpu, mut count) = (Instant::now(), cpu_seconds()?, 0_u64);
        while began.elapsed() < MEASURED {
            for file in &self.files {
                verify(file)?;
                count += 1;
            }
        }
        Ok(count as f64 / (cpu_seconds()? - cpu))
    }
}

/// Of this process.
pub(crate) fn cpu_seconds() -> anyhow::Result<f64> {
    let process = Process::of(std::process::id());
    Ok(process.context("/proc does not tell CPU time")?.cpu_seconds)
}

/// RSA-2048 verifications a second on one core by `openssl speed`, where there is such a program.
pub(crate) fn openssl() -> Option<f64> {
    let output = Command::new("openssl").args(["speed", "-seconds", "2", "rsa2048"]).output().ok()?;
    verifications(&String::from_utf8(output.stdout).ok()?)
}

/// `rsa  2048 bits 0.000644s 0.000019s   1552.6  53612.0`, with more columns in newer releases.
fn verifications(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("rsa") && line.contains("2048 bits"))?;
    // The first is the number of bits, times end with an s.
    let rates: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    rates.get(2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_figure_of_openssl_is_taken() {
        let old = "                  sign    verify    sign/s verify/s\nrsa 2048 bits 0.000644s 0.000019s   1552.6  53612.0\n";
        let new = "                   sign    verify    encrypt   decrypt   sign/s verify/s  encr./s  decr./s\n\
                   rsa  2048 bits 0.000644s 0.000019s 0.000021s 0.000650s   1552.6  53612.0  47000.0   1500.0\n";
        assert_eq!(
            [verifications(old), verifications(new), verifications("")],
            [Some(53612.0), Some(53612.0), None]
        );
    }
}
