//! Settings files: one TOML per server, kebab-case keys, defaults in the code, unknown keys refused with a hint.
//!
//! [`settings!`](crate::settings!) declares a section once; the struct, its `Default`, its reader and the documented sample all
//! come from that one declaration, so they cannot disagree. Environment variables play no part here.
//!
//! A file is at most [`MAX_FILE_BYTES`]. What a value means together with others is checked by the server that owns it.
use std::net::SocketAddr;
use std::path::Path;

use serde::de::DeserializeOwned;

/// More than any sensible settings file.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, a value of the wrong kind, or an unknown key (with the nearest known one).
    #[error("{path}: {reason}")]
    Invalid {
        /// Which.
        path: String,
        /// What, where, and what to do.
        reason: String,
    },
}

/// A section that [`settings!`](crate::settings!) declared.
pub trait Section: Default {
    /// What the section is for, one line each.
    fn about() -> &'static [&'static str];
    /// Its own keys, then its subsections, in the order of declaration.
    fn entries() -> Vec<Entry>;
}

/// A key or a subsection, as the sample shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Field name in the code; the file has `-` for `_`.
    pub name: &'static str,
    /// What it means, one line each, taken from the doc comment.
    pub about: &'static [&'static str],
    /// What it holds.
    pub kind: EntryKind,
}

/// What an [`Entry`] holds.
#[derive(Clone, Debug)]
pub enum EntryKind {
    /// A value with its default; `None` when there is none.
    Value(Option<toml::Value>),
    /// A table of its own.
    Section(Vec<Entry>),
}

impl Entry {
    /// The key as it stands in the file.
    pub fn key(&self) -> String {
        self.name.replace('_', "-")
    }
}

/// Declares a section of a settings file once: struct, default values, reader and documentation.
///
/// Doc comments become the comments of the rendered sample. Subsections come last, after `sections`, because TOML wants a
/// table's own keys first; each is the name of another declared section and brings its own doc comment along.
///
/// ```
/// host::settings! {
///     /// How much of everything.
///     pub struct Limits {
///         /// Most connections at once.
///         pub connections: usize = 100,
///     }
/// }
/// host::settings! {
///     /// The whole file.
///     pub struct File {
///         /// Where to listen; not set: nowhere.
///         pub listen: Option<std::net::SocketAddr> = None,
///     }
///     sections {
///         pub limits: Limits,
///     }
/// }
/// let file: File = host::settings::parse("listen = '127.0.0.1:80'\n[limits]\nconnections = 7", "inline")?;
/// assert_eq!(file.limits.connections, 7);
/// assert!(host::settings::render_sample::<File>().contains("# Most connections at once.\n#connections = 100\n"));
/// # Ok::<(), host::settings::SettingsError>(())
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $section:ident {
            $( $(#[doc = $doc:literal])+ pub $key:ident : $kind:ty = $default:expr, )*
        }
        $( sections { $( pub $sub:ident : $subkind:ty, )* } )?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        $vis struct $section {
            $( $(#[doc = $doc])+ pub $key: $kind, )*
            $($( #[doc = concat!("The subsection [`", stringify!($subkind), "`].")] pub $sub: $subkind, )*)?
        }
        impl Default for $section {
            fn default() -> Self {
                Self {
                    $( $key: $default, )*
                    $($( $sub: Default::default(), )*)?
                }
            }
        }
        impl $crate::settings::Section for $section {
            fn about() -> &'static [&'static str] {
                &[$($about),+]
            }
            fn entries() -> Vec<$crate::settings::Entry> {
                #[allow(unused_variables, reason = "a section may have no keys of its own")]
                let default = Self::default();
                vec![
                    $( $crate::settings::value_entry(stringify!($key), &[$($doc),+], &default.$key), )*
                    $($( $crate::settings::section_entry::<$subkind>(stringify!($sub)), )*)?
                ]
            }
        }
    };
}

/// Used by [`settings!`](crate::settings!).
#[doc(hidden)]
pub fn value_entry<T: serde::Serialize>(
    name: &'static str,
    about: &'static [&'static str],
    default: &T,
) -> Entry {
    // An `Option` that is `None` has no TOML form.
    Entry { name, about, kind: EntryKind::Value(toml::Value::try_from(default).ok()) }
}

/// Used by [`settings!`](crate::settings!).
#[doc(hidden)]
pub fn section_entry<T: Section>(name: &'static str) -> Entry {
    Entry { name, about: T::about(), kind: EntryKind::Section(T::entries()) }
}

/// A value that was read and cannot be used; the key is named as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {rule}")]
pub struct ConfigError {
    /// Section and key.
    pub key: &'static str,
    /// What it must be.
    pub rule: String,
}

/// Reads a settings file.
///
/// # Errors
/// [`SettingsError`], for the operator to read.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let name = path.display().to_string();
    let text = read_bounded(path).map_err(|source| SettingsError::Io { path: name.clone(), source })?;
    parse(&text, &name)
}

/// Reads the text of a settings file; `path` is for the error.
///
/// # Errors
/// [`SettingsError::Invalid`].
pub fn parse<T: DeserializeOwned>(text: &str, path: &str) -> Result<T, SettingsError> {
    toml::from_str(text)
        .map_err(|e| SettingsError::Invalid { path: path.to_owned(), reason: explain(&e, text) })
}

/// The documented sample: every key with its meaning, commented out at its default.
pub fn render_sample<T: Section>() -> String {
    let mut out = String::new();
    comment(&mut out, T::about());
    out.push('\n');
    render_entries(&mut out, "", &T::entries());
    out
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn render_entries(out: &mut String, prefix: &str, entries: &[Entry]) {
    for entry in entries {
        match &entry.kind {
            EntryKind::Value(default) => {
                comment(out, entry.about);
                match default {
                    Some(value) => out.push_str(&format!("#{} = {value}\n\n", entry.key())),
                    None => out.push_str(&format!("#{} = (not set)\n\n", entry.key())),
                }
            }
            EntryKind::Section(inner) => {
                let table = format!("{prefix}{}", entry.key());
                comment(out, entry.about);
                out.push_str(&format!("[{table}]\n\n"));
                render_entries(out, &format!("{table}."), inner);
            }
        }
    }
}

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        out.push_str(format!("#{line}").trim_end());
        out.push('\n');
    }
}

/// What the TOML reader said, with the line and, for an unknown key, the nearest known one.
fn explain(error: &toml::de::Error, text: &str) -> String {
    let line = error
        .span()
        .map(|span| format!("line {}: ", text[..span.start.min(text.len())].matches('\n').count() + 1));
    let message = error.message();
    let line = line.unwrap_or_default();
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (message.strip_prefix("unknown field"), quoted.next()) {
        (Some(_), Some(unknown)) => {
            let known: Vec<&str> = quoted.collect();
            format!("{line}unknown key `{unknown}`{}", hint(unknown, &known))
        }
        _ => format!("{line}{}", message.trim().replace('\n', "; ")),
    }
}

/// What to say after an unknown key: the nearest known one, or all of them.
pub fn hint(unknown: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|key| (distance(unknown, key), *key))
        .min()
        .filter(|(d, key)| *d <= key.len().max(3) / 2);
    match nearest {
        Some((_, key)) => format!("; did you mean `{key}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; known here: {}", known.join(", ")),
    }
}

/// Edit distance (insert, delete, replace), by one row of the usual table.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Listen {
    /// At this address.
    pub fn at(ip: [u8; 4], port: u16) -> Self {
        Self(Some((ip, port).into()))
    }
}

impl serde::Serialize for Listen {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(address) => to.collect_str(&address),
            None => to.serialize_str("off"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Listen {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| {
            serde::de::Error::custom(format!(
                "{text:?} is neither `off` nor an address with a port, such as 127.0.0.1:8080"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::settings! {
        /// The message log.
        struct Log {
            /// Bytes of one segment.
            ///
            /// A second paragraph.
            pub segment_bytes: u64 = 268_435_456,
            /// Names.
            pub names: Vec<String> = vec!["a".into()],
        }
    }

    crate::settings! {
        /// A server.
        struct Server {
            /// Where to listen.
            pub listen: SocketAddr = ([127, 0, 0, 1], 8080).into(),
            /// A file, when there is one.
            pub pin_file: Option<std::path::PathBuf> = None,
        }
        sections {
            pub message_log: Log,
        }
    }

    #[test]
    fn missing_keys_have_their_defaults() {
        let read: Server = parse("[message-log]\nsegment-bytes = 5\n", "x").unwrap();
        assert_eq!(read.listen.port(), 8080);
        assert_eq!(read.message_log.segment_bytes, 5);
        assert_eq!(read.message_log.names, ["a"]);
        assert_eq!(parse::<Server>("", "x").unwrap(), Server::default());
    }

    #[test]
    fn mistakes_are_explained_with_line_and_hint() {
        let cases = [
            (
                "a slip",
                "[message-log]\nsegment-byte = 5",
                "line 2: unknown key `segment-byte`; did you mean `segment-bytes`?",
            ),
            ("underscores", "pin_file = 'x'", "line 1: unknown key `pin_file`; did you mean `pin-file`?"),
            (
                "something else",
                "\n\nzzzzzzzzzzzz = 1",
                "line 3: unknown key `zzzzzzzzzzzz`; known here: listen, pin-file, message-log",
            ),
            (
                "wrong kind",
                "[message-log]\nsegment-bytes = 'big'",
                "line 2: invalid type: string \"big\", expected u64",
            ),
        ];
        for (name, text, expected) in cases {
            let error = parse::<Server>(text, "file.toml").unwrap_err().to_string();
            assert_eq!(error, format!("file.toml: {expected}"), "{name}");
        }
        assert!(parse::<Server>("listen = ", "f").unwrap_err().to_string().starts_with("f: line 1: "));
    }

    #[test]
    fn the_sample_documents_every_key_and_reads_back_as_the_defaults() {
        let sample = render_sample::<Server>();
        let expected = "# A server.\n\n# Where to listen.\n#listen = \"127.0.0.1:8080\"\n\n# A file, when there is one.\n\
            #pin-file = (not set)\n\n# The message log.\n[message-log]\n\n# Bytes of one segment.\n#\n# A second paragraph.\n\
            #segment-bytes = 268435456\n\n# Names.\n#names = [\"a\"]\n\n";
        assert_eq!(sample, expected);
        assert_eq!(parse::<Server>(&sample, "sample").unwrap(), Server::default());
        let active: String = sample
            .lines()
            .filter(|line| !line.ends_with("(not set)"))
            .map(|line| if line.starts_with("# ") { line } else { line.trim_start_matches('#') })
            .fold(String::new(), |all, line| all + line + "\n");
        assert_eq!(parse::<Server>(&active, "sample").unwrap(), Server::default());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Server>(Path::new("/nowhere/causeway.toml")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/causeway.toml: "), "{error}");
    }
}
