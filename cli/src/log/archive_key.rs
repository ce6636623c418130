//! `causeway log archive-key`: the folder of OpenPGP keys to which archives are encrypted (`archive-keys-directory`).
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pki::openpgp::PublicKey;
use proto::time::UnixTime;
use security_server::message_log::archive::keys;

use crate::exit::{Exit, Usage};
use crate::verify::printable;

/// Where the keys are.
#[derive(Debug, clap::Args)]
pub(crate) struct Folder {
    /// The folder of the keys, as archive-keys-directory has it.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// What is done with them.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes the server's own key: it signs archives, and opens those that go to nobody else. Keep a copy of it elsewhere.
    Create {
        #[command(flatten)]
        folder: Folder,
        /// The server's id, INSTANCE/CLASS/CODE/SERVER.
        #[arg(long)]
        name: String,
    },
    /// Takes in public keys of members, or a secret key as the server's own.
    Import {
        #[command(flatten)]
        folder: Folder,
        /// What `gpg --export` or `gpg --export-secret-keys` wrote.
        file: PathBuf,
        /// A file with the passphrase of a secret key, on its first line; the key is kept without.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Lists the keys and says what they are good for.
    List {
        #[command(flatten)]
        folder: Folder,
    },
    /// Writes the public half of the server's own key, for those who are to check its signatures.
    Export {
        #[command(flatten)]
        folder: Folder,
    },
}

/// Runs the command.
pub(super) fn run(command: &Command) -> anyhow::Result<Exit> {
    let now = host::clock::Clock::System.now();
    let mut out = std::io::stdout().lock();
    match command {
        Command::Create { folder, name } => {
            let key = keys::create(&folder.dir, name, now).map_err(usage)?;
            writeln!(out, "{}  {}", key.fingerprint(), printable(name))?;
        }
        Command::Import { folder, file, passphrase_file } => {
            let phrase = passphrase_file.as_deref().map(std::fs::read_to_string).transpose()?;
            let phrase = phrase.map(zeroize::Zeroizing::new);
            let phrase = phrase.as_ref().map(|text| text.lines().next().unwrap_or_default());
            for key in keys::import(&folder.dir, file, phrase).map_err(usage)? {
                writeln!(out, "{}", line(&key, now))?;
            }
        }
        Command::List { folder } => {
            let own = own(&folder.dir)?;
            writeln!(out, "{}  (the server's own)", line(&own, now))?;
            for key in keys::list(&folder.dir).map_err(usage)? {
                writeln!(out, "{}", line(&key, now))?;
            }
        }
        Command::Export { folder } => out.write_all(own(&folder.dir)?.armored()?.as_bytes())?,
    }
    Ok(Exit::Done)
}

fn usage(error: keys::KeyringError) -> Usage {
    Usage(error.to_string())
}

fn own(dir: &Path) -> anyhow::Result<PublicKey> {
    let settings = keys::EncryptionSettings {
        dir: dir.to_owned(),
        members: None,
        default_key: None,
        warning: Duration::ZERO,
    };
    Ok(settings.load().map_err(usage)?.own().public().clone())
}

fn line(key: &PublicKey, now: UnixTime) -> String {
    let good = match (key.check_encrypts(now), key.expires()) {
        (Err(error), _) => error.to_string(),
        (Ok(()), Some(end)) => format!("good until {}", end.to_iso8601()),
        (Ok(()), None) => "good".to_owned(),
    };
    printable(&format!("{}  {}: {good}", key.fingerprint(), key.names().join(", ")))
}
