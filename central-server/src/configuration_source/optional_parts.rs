//! Declarations of optional parts: which content identifier goes with which file name.
//!
//! Three are built in, since every security server knows them: `MONITORING`, `FETCHINTERVAL`, `NEXTUPDATE`. A folder holds `*.ini` files with the keys `content-identifier` and `file-name` (others are skipped), as extensions of an instance
//! bring them along. A file may declare several parts, section by section or pair after pair. What is not INI is skipped, with a word
//! in the log; a name that every configuration has, or one file name for two parts, makes the whole folder unusable.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use proto::fault::FaultCode;
use proto::globalconf::optional_parts::{
    FETCH_INTERVAL, FETCH_INTERVAL_FILE, MONITORING, MONITORING_FILE, NEXT_UPDATE, NEXT_UPDATE_FILE,
};

use crate::registry::decide::check_part_names;

/// Most bytes of one file.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Most files.
const MAX_FILES: usize = 1000;
/// What every security server knows.
const BUILT_IN: [(&str, &str); 3] =
    [(MONITORING, MONITORING_FILE), (FETCH_INTERVAL, FETCH_INTERVAL_FILE), (NEXT_UPDATE, NEXT_UPDATE_FILE)];

/// Why declarations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeclarationError {
    /// The folder or a file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A name that is reserved or not plain.
    #[error("{path}: {identifier} with file {file}: {reason}")]
    Name {
        /// Which file.
        path: PathBuf,
        /// Content identifier.
        identifier: String,
        /// File name.
        file: String,
        /// Why.
        reason: String,
    },
    /// Two parts with one file name.
    #[error("{path}: file {file} belongs to another part")]
    Twice {
        /// Which file.
        path: PathBuf,
        /// File name.
        file: String,
    },
}

impl DeclarationError {
    /// What an administrator is told.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Io { .. } | Self::Name { .. } | Self::Twice { .. } => FaultCode::MalformedOptionalPartsConf,
        }
    }
}

/// The optional parts that there can be: content identifier and file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declarations(BTreeMap<String, String>);

impl Declarations {
    /// The built-in ones, and those in a folder where there is one.
    ///
    /// # Errors
    /// The declaration that makes the folder unusable.
    pub fn read(folder: Option<&Path>) -> Result<Self, DeclarationError> {
        let mut all = Self(BTreeMap::new());
        for (identifier, file) in BUILT_IN {
            all.insert(identifier, file);
        }
        let Some(folder) = folder else { return Ok(all) };
        for (file, identifier) in read(folder)? {
            if all.0.iter().any(|(known, of)| *of == file && *known != identifier) {
                return Err(DeclarationError::Twice { path: folder.to_owned(), file });
            }
            all.insert(&identifier, &file);
        }
        Ok(all)
    }

    /// One more.
    pub fn insert(&mut self, identifier: &str, file: &str) {
        self.0.insert(identifier.to_owned(), file.to_owned());
    }

    /// The file of a part.
    pub fn file_of(&self, identifier: &str) -> Option<&str> {
        self.0.get(identifier).map(String::as_str)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(identifier, file)| (identifier.as_str(), file.as_str()))
    }
}

/// Reads the declarations in a folder: content identifiers by file name.
///
/// # Errors
/// The declaration that makes the folder unusable.
pub fn read(folder: &Path) -> Result<BTreeMap<String, String>, DeclarationError> {
    let failed = |source| DeclarationError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)?.take(MAX_FILES) {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "ini") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut found = BTreeMap::new();
    for path in paths {
        for (identifier, file) in declarations(&read_file(&path)?, &path) {
            let check = check_part_names(&identifier, &file);
            if let Err(refusal) = check {
                return Err(DeclarationError::Name { path, identifier, file, reason: refusal.to_string() });
            }
            if found.insert(file.clone(), identifier.clone()).is_some_and(|earlier| earlier != identifier) {
                return Err(DeclarationError::Twice { path, file });
            }
        }
    }
    Ok(found)
}

fn read_file(path: &Path) -> Result<String, DeclarationError> {
    let failed = |source| DeclarationError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The pairs of one file. A pair is complete when both keys have been read in a section; a key that comes again begins another one.
fn declarations(text: &str, path: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut identifier, mut file) = (None, None);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') {
            (identifier, file) = (None, None);
            continue;
        }
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("content-identifier", value)) => identifier = Some(value.to_owned()),
            Some(("file-name", value)) => file = Some(value.to_owned()),
            Some(_) => {}
            None => tracing::warn!(path = %path.display(), "a line that declares nothing was skipped"),
        }
        if let (Some(of), Some(name)) = (&identifier, &file) {
            found.push((of.clone(), name.clone()));
            (identifier, file) = (None, None);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_parts_join_those_that_are_built_in() {
        let built_in = Declarations::read(None).unwrap();
        assert_eq!(built_in.iter().count(), 3);
        let folder = tempfile::tempdir().unwrap();
        let declare = |text: &str| fs::write(folder.path().join("x.ini"), text).unwrap();
        declare("content-identifier = CATALOGUE\nfile-name = catalogue.xml\n");
        let all = Declarations::read(Some(folder.path())).unwrap();
        assert_eq!(all.file_of("CATALOGUE"), Some("catalogue.xml"));
        assert_eq!((all.file_of("MONITORING"), all.file_of("OTHER")), (Some("monitoring-params.xml"), None));
        declare("content-identifier = CATALOGUE\nfile-name = monitoring-params.xml\n");
        let refused = Declarations::read(Some(folder.path())).unwrap_err();
        assert!(matches!(refused, DeclarationError::Twice { .. }), "{refused}");
    }
}
