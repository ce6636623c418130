//! Which servers there are: the settings file `targets.toml`, and the environment for pipelines.
//!
//! The file is `$CAUSEWAY_TARGETS`, or `causeway/targets.toml` in `$XDG_CONFIG_HOME` or `~/.config`. It holds no secret: a target names
//! where its key is kept (`key-file`, `key-env`), by default in the folder `keys` beside the file. That folder has mode 0700, its files
//! 0600; a key file that others can read is refused. `causeway login` keeps its session there too.
//!
//! | Environment | Says |
//! |---|---|
//! | `CAUSEWAY_TARGET` | the target where `-t` is missing |
//! | `CAUSEWAY_URL`, `CAUSEWAY_FINGERPRINT` or `CAUSEWAY_CA` | a target without a file |
//! | `CAUSEWAY_API_KEY` | the key, before whatever the target says |

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exit::Usage;

/// More than any sensible file of targets or keys.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The settings file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Targets {
    /// By name.
    pub(crate) target: BTreeMap<String, Target>,
}

/// One server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Target {
    /// Its name; not in the file.
    #[serde(skip)]
    pub(crate) name: String,
    /// Such as `https://ss1:4000`.
    pub(crate) url: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    /// SHA-256 of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    /// Or a file with CA certificates (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Where its API key is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    /// Or in which environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_env: Option<String>,
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A security server.
    #[serde(rename = "ss")]
    #[value(name = "ss")]
    SecurityServer,
    /// A central server.
    #[serde(rename = "cs")]
    #[value(name = "cs")]
    CentralServer,
}

impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::SecurityServer => "ss",
            Self::CentralServer => "cs",
        }
    }
}

/// By what we are known.
#[derive(Clone)]
pub(crate) enum Credential {
    /// An API key.
    Key(Zeroizing<String>),
    /// A session of `causeway login`.
    Session(Session),
}

/// The cookies of a session.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// `JSESSIONID`.
    pub(crate) cookie: String,
    /// `XSRF-TOKEN`.
    pub(crate) token: String,
}

impl Targets {
    /// Where the file is.
    pub(crate) fn path() -> anyhow::Result<PathBuf> {
        if let Some(path) = std::env::var_os("CAUSEWAY_TARGETS") {
            return Ok(path.into());
        }
        let base = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
            .context("neither CAUSEWAY_TARGETS nor HOME says where targets.toml is")?;
        Ok(base.join("causeway/targets.toml"))
    }

    /// Reads the file; without one there are no targets.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let path = Self::path()?;
        let Some(text) = read_if_there(&path)? else { return Ok(Self::default()) };
        let mut targets: Self =
            toml::from_str(&text).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        for (name, target) in &mut targets.target {
            target.name.clone_from(name);
        }
        Ok(targets)
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn store(&self) -> anyhow::Result<()> {
        let path = Self::path()?;
        let text = toml::to_string(self)?;
        write_private(&path, text.as_bytes())
    }

    /// The target that is meant: `-t`, the environment, or the only one of its kind.
    pub(crate) fn choose(mut self, name: Option<&str>, kind: Option<Kind>) -> anyhow::Result<Target> {
        if name.is_none()
            && let Some(target) = from_environment()?
        {
            return Ok(target);
        }
        let fits = |target: &Target| kind.is_none() || target.kind.is_none() || target.kind == kind;
        let from_environment = std::env::var("CAUSEWAY_TARGET").ok().filter(|text| !text.is_empty());
        if let Some(name) = name.map(str::to_owned).or(from_environment) {
            let known = self.names(|_| true);
            let target = self
                .target
                .remove(&name)
                .ok_or_else(|| Usage(format!("there is no target {name:?}; known are: {known}")))?;
            if !fits(&target) {
                let is = target.kind.map_or("", Kind::word);
                return Err(Usage(format!("target {name} is of kind {is}: causeway {is} …")).into());
            }
            return Ok(target);
        }
        let mut fitting: Vec<Target> = self.target.values().filter(|target| fits(target)).cloned().collect();
        match (fitting.pop(), fitting.is_empty()) {
            (Some(target), true) => Ok(target),
            (None, _) => {
                Err(Usage("no target is known: causeway target add NAME https://HOST:4000".to_owned()).into())
            }
            (Some(_), false) => {
                Err(Usage(format!("which target? -t NAME, with one of: {}", self.names(fits))).into())
            }
        }
    }

    fn names(&self, fits: impl Fn(&Target) -> bool) -> String {
        let names: Vec<&str> =
            self.target.values().filter(|target| fits(target)).map(|target| target.name.as_str()).collect();
        names.join(", ")
    }
}

fn from_environment() -> anyhow::Result<Option<Target>> {
    let value = |name| std::env::var(name).ok().filter(|text: &String| !text.is_empty());
    let Some(url) = value("CAUSEWAY_URL") else { return Ok(None) };
    check_url(&url)?;
    let target = Target {
        name: url.clone(),
        url,
        fingerprint: value("CAUSEWAY_FINGERPRINT"),
        ca: value("CAUSEWAY_CA").map(PathBuf::from),
        ..Target::default()
    };
    Ok(Some(target))
}

/// `https://host:port`, nothing behind it.
pub(crate) fn check_url(url: &str) -> anyhow::Result<()> {
    let uri: http::Uri =
        url.parse().map_err(|_| Usage(format!("{url} is no address, such as https://ss1:4000")))?;
    let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    if uri.scheme_str() != Some("https") || uri.host().is_none() || !bare {
        return Err(Usage(format!("{url}: an address is https://HOST:4000 and nothing behind it")).into());
    }
    Ok(())
}

impl Target {
    /// The credential: from the environment, from where the target says, from a session.
    pub(crate) fn credential(&self) -> anyhow::Result<Option<Credential>> {
        let from = |name: &str| std::env::var(name).ok().filter(|key| !key.is_empty());
        if let Some(key) = from("CAUSEWAY_API_KEY") {
            return Ok(Some(Credential::Key(checked(&key)?)));
        }
        if let Some(name) = &self.key_env {
            let key = from(name).ok_or_else(|| Usage(format!("the environment has no {name}")))?;
            return Ok(Some(Credential::Key(checked(&key)?)));
        }
        let own = self.own_key_file()?;
        let file = self.key_file.as_ref().unwrap_or(&own);
        if self.key_file.is_some() || file.exists() {
            let key = read_private(file).with_context(|| file.display().to_string())?;
            return Ok(Some(Credential::Key(checked(key.trim())?)));
        }
        self.session()
    }

    /// The session of `causeway login`, where there is one.
    pub(crate) fn session(&self) -> anyhow::Result<Option<Credential>> {
        let file = self.session_file()?;
        if !file.exists() {
            return Ok(None);
        }
        let text = read_private(&file).with_context(|| file.display().to_string())?;
        Ok(Some(Credential::Session(
            serde_json::from_str(&text).with_context(|| file.display().to_string())?,
        )))
    }

    /// Keeps a session.
    pub(crate) fn keep_session(&self, session: &Session) -> anyhow::Result<()> {
        write_private(&self.session_file()?, serde_json::to_string(session)?.as_bytes())
    }

    /// Keeps an API key where [`Target::credential`] finds it; gives the file.
    pub(crate) fn keep_key(&self, key: &str) -> anyhow::Result<PathBuf> {
        let file = match &self.key_file {
            Some(file) => file.clone(),
            None => self.own_key_file()?,
        };
        write_private(&file, format!("{key}\n").as_bytes())?;
        Ok(file)
    }

    /// Removes what is kept for this target.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        for file in [self.own_key_file()?, self.session_file()?] {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| file.display().to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn own_key_file(&self) -> anyhow::Result<PathBuf> {
        self.kept("key")
    }
    fn session_file(&self) -> anyhow::Result<PathBuf> {
        self.kept("session")
    }
    fn kept(&self, what: &str) -> anyhow::Result<PathBuf> {
        let name: String =
            self.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let path = Targets::path()?;
        Ok(path.parent().unwrap_or(Path::new(".")).join("keys").join(format!("{name}.{what}")))
    }
}

/// A key that can stand in a header.
fn checked(key: &str) -> anyhow::Result<Zeroizing<String>> {
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Usage("the API key is empty or has characters that no key has".into()).into());
    }
    Ok(Zeroizing::new(key.to_owned()))
}

fn read_if_there(path: &Path) -> anyhow::Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    Ok(Some(text))
}

/// A file that nobody else can read.
fn read_private(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    Ok(signer::remote::daemon::read_pin(path)?)
}

/// Writes a file of mode 0600 in a folder of mode 0700.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).with_context(|| folder.display().to_string())?;
    host::files::write_atomic(path, bytes, 0o600).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Targets {
        let text = "[target.cs]\nurl = 'https://cs:4000'\nkind = 'cs'\n[target.ss1]\nurl = 'https://ss1:4000'\nkind = 'ss'\n";
        let mut targets: Targets = toml::from_str(text).unwrap();
        for (name, target) in &mut targets.target {
            target.name.clone_from(name);
        }
        targets
    }

    #[test]
    fn the_only_one_of_a_kind_needs_no_name() {
        let chosen = |name, kind| two().choose(name, kind).map(|target| target.name);
        assert_eq!(chosen(None, Some(Kind::CentralServer)).unwrap(), "cs");
        assert_eq!(chosen(Some("ss1"), None).unwrap(), "ss1");
        for (name, kind, says) in [
            (None, None, "which target?"),
            (Some("x"), None, "known are: cs, ss1"),
            (Some("cs"), Some(Kind::SecurityServer), "of kind cs"),
        ] {
            let error = chosen(name, kind).unwrap_err();
            assert!(error.to_string().contains(says) && error.is::<Usage>(), "{error}");
        }
        assert!(Targets::default().choose(None, None).unwrap_err().to_string().contains("target add"));
    }

    #[test]
    fn an_address_is_https_and_no_more() {
        assert!(check_url("https://ss1:4000").is_ok() && check_url("https://[::1]:4000/").is_ok());
        for url in ["http://ss1:4000", "ss1:4000", "https://ss1:4000/api/v1", "ftp://x", ""] {
            assert!(check_url(url).unwrap_err().is::<Usage>(), "{url}");
        }
    }

    #[test]
    fn the_file_is_written_as_it_is_read_and_by_us_alone() {
        use std::os::unix::fs::MetadataExt;
        let text = toml::to_string(&two()).unwrap();
        let again: Targets = toml::from_str(&text).unwrap();
        assert_eq!(again.target["cs"].url, "https://cs:4000");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/keys/cs.key");
        write_private(&path, b"k").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(read_private(&path).unwrap().as_str(), "k");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(read_private(&path).unwrap_err().to_string().contains("644"));
    }
}
