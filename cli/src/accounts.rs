//! `causeway api-key create --offline DIR` and `causeway user set NAME --offline DIR`: the first credential of a management API.
//!
//! Both work on the data directory of either server: a key needs the server stopped, a user does not. Further keys are made through the API,
//! with a user's name and password. A password comes from standard input or a file, never from an argument. The key is
//! printed once, as the API answers it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use admin_api::auth::{ApiKeys, users};
use admin_api::operation::Role;
use admin_api::types::ApiKey;
use anyhow::Context;
use host::data_dir::DataDir;

use crate::exit::{Exit, Usage};

/// Folder of the management API in a data directory.
const FOLDER: &str = "admin";
/// Longest password file.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// API keys of a server's management API.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Makes an API key in the data directory of a stopped server and prints it as JSON; it is shown this once.
    Create {
        /// The data directory.
        #[arg(long, value_name = "DIR")]
        offline: PathBuf,
        /// What the key may be, such as system-administrator; may be repeated.
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<String>,
    },
}

/// Users of a server's management API.
#[derive(Debug, clap::Args)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UserCommand {
    /// Adds a user, or gives one another password and other roles. The password is read from standard input.
    Set {
        /// Name of the user.
        name: String,
        /// The data directory; the server may run.
        #[arg(long, value_name = "DIR")]
        offline: PathBuf,
        /// What the user may be, such as security-officer; may be repeated.
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<String>,
        /// A file with the password instead.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

/// Runs `causeway api-key`.
pub(crate) fn api_key(args: &KeyArgs) -> anyhow::Result<Exit> {
    let KeyCommand::Create { offline, roles } = &args.command;
    let roles = parse(roles)?;
    let (server, format) = format_of(offline)?;
    let data = DataDir::open(offline, &server, format)?;
    let folder = data.folder(FOLDER)?.join("api-keys");
    let made = ApiKeys::open(&folder)?.create(&roles)?;
    let roles = made.info.roles.iter().map(|role| role.name().to_owned()).collect();
    let shown = ApiKey { id: made.info.id, roles, key: Some(made.key) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&shown)?)?;
    Ok(Exit::Done)
}

/// Runs `causeway user`.
pub(crate) fn user(args: &UserArgs) -> anyhow::Result<Exit> {
    let UserCommand::Set { name, offline, roles, password_file } = &args.command;
    let roles = parse(roles)?;
    format_of(offline)?;
    let password = match password_file {
        Some(path) => read(std::fs::File::open(path).with_context(|| path.display().to_string())?)?,
        None => read(std::io::stdin().lock())?,
    };
    let folder = offline.join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    users::set(&folder.join("users"), name, &roles, password.trim_end_matches(['\r', '\n']))?;
    Ok(Exit::Done)
}

fn read(from: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(MAX_PASSWORD_BYTES).read_to_string(&mut text).context("the password cannot be read")?;
    Ok(text)
}

/// Roles as the API writes them, from either spelling.
pub(crate) fn role_names(roles: &[String]) -> anyhow::Result<Vec<&'static str>> {
    Ok(parse(roles)?.into_iter().map(Role::name).collect())
}

/// `security-officer` and `XROAD_SECURITY_OFFICER` alike.
fn parse(roles: &[String]) -> anyhow::Result<Vec<Role>> {
    let role = |text: &String| {
        let name = text.to_uppercase().replace('-', "_");
        let found = Role::of(&name).or_else(|| Role::of(&format!("XROAD_{name}")));
        found.ok_or_else(|| {
            let known: Vec<String> = Role::ALL
                .iter()
                .map(|role| role.name().trim_start_matches("XROAD_").to_lowercase().replace('_', "-"))
                .collect();
            Usage(format!("{text} is no role; known are {}", known.join(", "))).into()
        })
    };
    roles.iter().map(role).collect()
}

/// Whose data directory it is, and in which form.
fn format_of(dir: &Path) -> anyhow::Result<(String, u32)> {
    let path = dir.join("FORMAT");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Usage(format!("{} is no data directory of a server: {error}", dir.display())))?;
    let parsed =
        text.trim().split_once(' ').and_then(|(server, format)| Some((server, format.parse().ok()?)));
    let (server, format) = parsed.with_context(|| format!("{} cannot be understood", path.display()))?;
    Ok((server.to_owned(), format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_user_of_a_fresh_directory() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), "central-server", 1).unwrap());
        let create = KeyArgs {
            command: KeyCommand::Create {
                offline: dir.path().into(),
                roles: vec!["system-administrator".into(), "XROAD_SECURITY_OFFICER".into()],
            },
        };
        assert_eq!(api_key(&create).unwrap(), Exit::Done);
        let keys = ApiKeys::open(&dir.path().join("admin/api-keys")).unwrap().list();
        assert_eq!(keys[0].roles, [Role::SystemAdministrator, Role::SecurityOfficer]);

        let file = dir.path().join("password");
        std::fs::write(&file, "correct horse battery\n").unwrap();
        let set = |name: &str, role: &str| UserArgs {
            command: UserCommand::Set {
                name: name.into(),
                offline: dir.path().into(),
                roles: vec![role.into()],
                password_file: Some(file.clone()),
            },
        };
        assert_eq!(user(&set("ann", "registration-officer")).unwrap(), Exit::Done);
        let users = admin_api::auth::Users::new(dir.path().join("admin/users"));
        assert!(users.check("ann", "correct horse battery").is_some());
        let wrong = user(&set("bob", "king")).unwrap_err();
        assert!(wrong.to_string().contains("known are security-officer"), "{wrong}");
    }

    #[test]
    fn a_folder_that_is_no_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let error = format_of(dir.path()).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Usage);
    }
}
