//! Reading a stored configuration in the reference's layout.
//!
//! ```text
//! instance-identifier               main instance
//! <encoded instance>/
//!     shared-params.xml             and .metadata
//!     private-params.xml            main instance; and .metadata
//!     monitoring-params.xml …       optional parts; and .metadata
//! ```
//!
//! What is stored was verified when it was downloaded. Files with other names are skipped; at most [`MAX_FILES`], each within the
//! bound of its kind. A federated instance that does not load is left out; one that has expired is not, see
//! [`GlobalConf::without_expired`].

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::globalconf::metadata::{self, Metadata};
use proto::globalconf::optional_parts::{self, MonitoringParameters};
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::{
    INSTANCE_FILE, MAX_DOCUMENT_BYTES, PRIVATE_PARAMETERS_FILE, ParametersError, SHARED_PARAMETERS_FILE,
    folder_name,
};
use proto::time::UnixTime;

use super::{Builder, GlobalConf, GlobalConfError, Instance, OptionalParts};

/// Most files in one stored configuration.
const MAX_FILES: usize = 10_000;
/// Longest instance identifier.
const MAX_IDENTIFIER_BYTES: usize = 4096;

/// Contents of stored files by path below the folder, parts separated by `/`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Loads a folder.
///
/// # Errors
/// The file of the main instance that stops it.
pub fn load_directory(dir: &Path) -> Result<GlobalConf, GlobalConfError> {
    let (mut files, mut documents) = (Files::new(), BTreeMap::new());
    read_file(dir, INSTANCE_FILE, MAX_IDENTIFIER_BYTES, &mut files)?;
    for entry in list(dir)? {
        let below = dir.join(&entry);
        if !below.is_dir() {
            continue;
        }
        for name in list(&below)? {
            let limit =
                if name.ends_with(metadata::SUFFIX) { metadata::MAX_BYTES } else { MAX_DOCUMENT_BYTES };
            if files.len() + documents.len() >= MAX_FILES {
                let source = io::Error::other(format!("more than {MAX_FILES} files"));
                return Err(GlobalConfError::Io { path: dir.display().to_string(), source });
            }
            let path = format!("{entry}/{name}");
            if name == SHARED_PARAMETERS_FILE {
                documents.insert(entry.clone(), Document::File(dir.join(&path)));
            } else if is_part(&name) {
                read_file(dir, &path, limit, &mut files)?;
            }
        }
    }
    load(files, documents)
}

/// Shared parameters that are yet to be read.
enum Document {
    Bytes(Vec<u8>),
    /// May be too large for memory.
    File(PathBuf),
}

impl Document {
    fn read(self, path: &str, version: u32) -> Result<Instance, GlobalConfError> {
        let read = match self {
            Self::Bytes(bytes) => Instance::read(&bytes, version),
            Self::File(path) => {
                let failed = |source| GlobalConfError::Io { path: path.display().to_string(), source };
                Instance::read_from(&mut fs::File::open(&path).map_err(failed)?, version)
            }
        };
        read.map_err(|error| malformed(path, &error))
    }
}

/// The parts that are read, and their metadata.
fn is_part(name: &str) -> bool {
    let part = name.strip_suffix(metadata::SUFFIX).unwrap_or(name);
    [SHARED_PARAMETERS_FILE, PRIVATE_PARAMETERS_FILE].contains(&part) || OptionalParts::reads(part)
}

fn list(dir: &Path) -> Result<Vec<String>, GlobalConfError> {
    let failed = |source| GlobalConfError::Io { path: dir.display().to_string(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        // A name that is not UTF-8 is none of ours.
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn read_file(dir: &Path, name: &str, limit: usize, files: &mut Files) -> Result<(), GlobalConfError> {
    let path = dir.join(name);
    let failed = |source| GlobalConfError::Io { path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(&path).map_err(failed)?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(failed(io::Error::other(format!("more than {limit} bytes"))));
    }
    files.insert(name.to_owned(), bytes);
    Ok(())
}

/// Loads files that are in memory already, for instance out of a ZIP archive.
///
/// # Errors
/// The file of the main instance that stops it.
pub fn load_files(mut files: Files) -> Result<GlobalConf, GlobalConfError> {
    let below = format!("/{SHARED_PARAMETERS_FILE}");
    let folders: Vec<String> =
        files.keys().filter_map(|path| path.strip_suffix(&below)).map(str::to_owned).collect();
    let document = |folder: String| {
        let bytes = files.remove(&format!("{folder}{below}"))?;
        Some((folder, Document::Bytes(bytes)))
    };
    let documents = folders.into_iter().filter_map(document).collect();
    load(files, documents)
}

/// `documents` by folder, the other files in `files`.
fn load(mut files: Files, documents: BTreeMap<String, Document>) -> Result<GlobalConf, GlobalConfError> {
    let main = main_instance(&mut files)?;
    let main_folder = folder_name(&main);
    let mut builder = Builder::new(&main);
    for (folder, document) in documents {
        match shared(&mut files, &folder, document) {
            Ok((instance, expires)) => builder = builder.instance(Arc::new(instance), expires),
            Err(error) if folder == main_folder => return Err(error),
            Err(_) => {}
        }
    }
    if let Some((private, expires)) = private(&mut files, &main_folder)? {
        builder = builder.private(Arc::new(private), expires);
    }
    let (parts, problems) = OptionalParts::read(|name| files.remove(&format!("{main_folder}/{name}")));
    problems.into_iter().fold(builder.optional(parts), Builder::problem).build()
}

impl OptionalParts {
    /// Whether a file of this name is one of the parts.
    pub fn reads(name: &str) -> bool {
        let known = [
            optional_parts::MONITORING_FILE,
            optional_parts::FETCH_INTERVAL_FILE,
            optional_parts::NEXT_UPDATE_FILE,
        ];
        known.contains(&name)
    }

    /// Reads the parts that `file` gives by name. One that does not parse counts as absent, whose defaults are the strict ones, and
    /// is told.
    pub fn read(mut file: impl FnMut(&str) -> Option<Vec<u8>>) -> (Self, Vec<String>) {
        let mut found = Self::default();
        let mut problems = Vec::new();
        let mut note = |name: &str, error: ParametersError| problems.push(format!("{name}: {error}"));
        if let Some(bytes) = file(optional_parts::MONITORING_FILE) {
            match MonitoringParameters::read(&bytes) {
                Ok(read) => found.monitoring_client = read.client,
                Err(error) => note(optional_parts::MONITORING_FILE, error),
            }
        }
        if let Some(bytes) = file(optional_parts::FETCH_INTERVAL_FILE) {
            match optional_parts::read_fetch_interval(&bytes) {
                Ok(read) => found.ocsp_fetch_interval_seconds = Some(read),
                Err(error) => note(optional_parts::FETCH_INTERVAL_FILE, error),
            }
        }
        if let Some(bytes) = file(optional_parts::NEXT_UPDATE_FILE) {
            match optional_parts::read_next_update(&bytes) {
                Ok(read) => found.verify_next_update = Some(read),
                Err(error) => note(optional_parts::NEXT_UPDATE_FILE, error),
            }
        }
        (found, problems)
    }
}

fn main_instance(files: &mut Files) -> Result<String, GlobalConfError> {
    let malformed = |reason: &str| GlobalConfError::Malformed {
        path: INSTANCE_FILE.to_owned(),
        reason: reason.to_owned(),
    };
    let bytes = files.remove(INSTANCE_FILE).ok_or_else(|| malformed("the file is missing"))?;
    let text = String::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
    match text.trim() {
        "" => Err(malformed("it is empty")),
        name => Ok(name.to_owned()),
    }
}

fn shared(
    files: &mut Files,
    folder: &str,
    document: Document,
) -> Result<(Instance, Option<UnixTime>), GlobalConfError> {
    let path = format!("{folder}/{SHARED_PARAMETERS_FILE}");
    let (metadata, version) = metadata_of(files, &path)?;
    let instance = document.read(&path, version)?;
    if folder_name(instance.name()) != folder {
        let reason = format!("it belongs to instance {}", instance.name());
        return Err(GlobalConfError::Malformed { path, reason });
    }
    Ok((instance, metadata.expiration_date))
}

fn private(
    files: &mut Files,
    folder: &str,
) -> Result<Option<(PrivateParameters, Option<UnixTime>)>, GlobalConfError> {
    let path = format!("{folder}/{PRIVATE_PARAMETERS_FILE}");
    let Some(bytes) = files.remove(&path) else { return Ok(None) };
    let (metadata, version) = metadata_of(files, &path)?;
    let parameters = PrivateParameters::read(&bytes, version).map_err(|error| malformed(&path, &error))?;
    Ok(Some((parameters, metadata.expiration_date)))
}

/// The metadata and the version of a part. A part without metadata is of version 2 and never expires.
fn metadata_of(files: &mut Files, path: &str) -> Result<(Metadata, u32), GlobalConfError> {
    let path = format!("{path}{}", metadata::SUFFIX);
    let malformed = |error: metadata::MetadataError| GlobalConfError::Malformed {
        path: path.clone(),
        reason: error.to_string(),
    };
    let metadata = match files.remove(&path) {
        Some(bytes) => Metadata::read(&bytes).map_err(malformed)?,
        None => Metadata::default(),
    };
    let version = metadata.version().map_err(malformed)?;
    Ok((metadata, version))
}

fn malformed(path: &str, error: &ParametersError) -> GlobalConfError {
    GlobalConfError::Malformed { path: path.to_owned(), reason: error.to_string() }
}
