//! PINs and passwords: from a file, from standard input, from the environment, from the terminal without echo; never an argument, which
//! every user of the machine can see.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::Usage;

/// Longest secret that is read from standard input.
const MAX_BYTES: u64 = 4096;

/// From `--pin-file`, `--pin-stdin`, the environment variable, or the terminal, in this order.
///
/// # Errors
/// A file that cannot be read or that others can read; nothing entered; no terminal to ask on.
pub(crate) fn read(
    what: &str,
    file: Option<&Path>,
    stdin: bool,
    env: &str,
) -> anyhow::Result<Zeroizing<String>> {
    if let Some(path) = file {
        return from_file(path);
    }
    let secret = if stdin {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text)?;
        one_line(text)
    } else if let Ok(text) = std::env::var(env) {
        Zeroizing::new(text)
    } else {
        return ask(what);
    };
    if secret.is_empty() {
        bail!("no {what} was given");
    }
    Ok(secret)
}

/// A secret in a file that nobody else can read.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    signer::remote::daemon::read_pin(path)
        .map_err(|error| Usage(format!("{}: {error}", path.display())).into())
}

fn one_line(mut text: Zeroizing<String>) -> Zeroizing<String> {
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    text
}

/// Asks on the terminal, without echo; from a pipe one line is read.
pub(crate) fn ask(what: &str) -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    let mut line = Zeroizing::new(String::new());
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_BYTES).read_line(&mut line)?;
    } else {
        eprint!("{what}: ");
        std::io::stderr().flush()?;
        let _quiet = Quiet::begin().context("the terminal does not switch its echo off")?;
        stdin.lock().take(MAX_BYTES).read_line(&mut line)?;
        eprintln!();
    }
    let line = one_line(line);
    // Ctrl-C is an ordinary character while the echo is off, so that nothing can end us before it is on again.
    if line.contains('\u{3}') || line.is_empty() {
        bail!("no {what} was entered");
    }
    Ok(line)
}

/// A line with echo.
pub(crate) fn ask_openly(what: &str) -> anyhow::Result<String> {
    eprint!("{what}: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().take(MAX_BYTES).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// A question that only `y` or `yes` agrees to; without a terminal nobody agrees.
pub(crate) fn agrees(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let answer = ask_openly(&format!("{question} [y/N]"))?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// The terminal's echo is off until this is dropped.
struct Quiet(rustix::termios::Termios);

impl Quiet {
    fn begin() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing better is left to try.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
