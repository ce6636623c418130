//! One location: which version, the directory, its parts; everything is verified before anything is written.
//!
//! A part whose stored file has the listed hash is kept and not fetched; shared parameters that did not change are not parsed
//! again. Directories are at most 1 MiB, parts as large as their kind may be. Shared parameters go to the disk as they come
//! (`shared_part`), the other parts are small. What takes a core for long runs on threads of low priority: while it
//! does, exchanges go on under the configuration that is good until then.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::background::{self, Pace};
use host::http::Client;
use pki::globalconf::verify::{VerifiedDirectory, is_accepted, is_part, verify_directory};
use pki::globalconf::{Instance, OptionalParts};
use proto::globalconf::directory::{self, Part};
use proto::globalconf::metadata::{self, Metadata};
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::{
    INSTANCE_FILE, MAX_DOCUMENT_BYTES, MAX_VERSION, MIN_VERSION, PRIVATE_PARAMETERS, PRIVATE_PARAMETERS_FILE,
    SHARED_PARAMETERS, SHARED_PARAMETERS_FILE, optional_parts,
};
use proto::time::UnixTime;

use super::error::DownloadError;
use super::location::{self, Location};
use super::shared_part::{Checked, SharedPart};
use super::store::{self, Stored};

/// Most parts of one instance.
const MAX_PARTS: usize = 100;
/// Largest optional part.
const MAX_OPTIONAL_BYTES: usize = 16 << 20;
/// Most pieces of an answer that wait to be written: some hundred kilobytes.
const MAX_PIECES: usize = 16;

/// Per cent of one core, and of the disk, that a new configuration takes while another one is in use.
const SHARE: u32 = 10;

/// Which parts of a directory count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// All of the instance: an internal source.
    Everything,
    /// The shared parameters and nothing else: the source of a federated instance.
    SharedParameters,
}

/// What to do.
pub struct Job<'a> {
    /// To fetch with.
    pub http: &'a Client,
    /// From where.
    pub location: &'a Location,
    /// Which instance.
    pub instance: &'a str,
    /// Folder of all stored instances.
    pub folder: &'a Path,
    /// What of it.
    pub accept: Accept,
    /// How much earlier than the stored directory this one may expire.
    pub age_tolerance: Duration,
    /// The shared parameters in use.
    pub known: Option<Arc<Instance>>,
    /// What the stored file of them was the last time.
    pub checked: Option<Checked>,
}

/// What came of it.
#[derive(Debug)]
pub struct Downloaded {
    /// Shared parameters.
    pub shared: Arc<Instance>,
    /// Private parameters of an internal source.
    pub private: Option<Arc<PrivateParameters>>,
    /// Optional parts, and what is wrong with them.
    pub optional: (OptionalParts, Vec<String>),
    /// When all of it expires.
    pub expires: UnixTime,
    /// What the stored file of the shared parameters is now.
    pub checked: Option<Checked>,
}

/// A part whose bytes have the listed hash.
pub(super) struct Content {
    /// File name without folder.
    pub(super) name: String,
    /// As the directory lists it.
    pub(super) part: Part,
    /// Its bytes.
    pub(super) held: Held,
    /// What goes beside it.
    pub(super) metadata: Metadata,
}

/// Where the bytes of a part are.
pub(super) enum Held {
    /// Shared parameters, in a file.
    Shared(SharedPart),
    /// In memory.
    Small {
        /// All of them.
        bytes: Bytes,
        /// They lie on the disk already.
        unchanged: bool,
    },
}

impl Content {
    /// The bytes, but for shared parameters.
    fn small(&self) -> Option<&Bytes> {
        match &self.held {
            Held::Small { bytes, .. } => Some(bytes),
            Held::Shared(_) => None,
        }
    }
}

impl Job<'_> {
    /// Downloads, verifies, stores.
    ///
    /// # Errors
    /// The first check that fails; nothing was written then, unless writing itself failed.
    pub async fn run(self, now: UnixTime) -> Result<Downloaded, DownloadError> {
        let stored = store::stored(self.folder, self.instance);
        let (url, document) = self.fetch_directory().await?;
        let verified = verify_directory(&document, &self.location.certs, now)
            .map_err(|source| DownloadError::Directory { url: url.clone(), source })?;
        self.check_age(&url, &verified, &stored)?;
        let version = version_of(&verified);
        let mut contents = Vec::new();
        for (part, name) in self.parts(&verified)? {
            let held = match part.content_identifier.as_str() {
                SHARED_PARAMETERS => Held::Shared(self.fetch_shared(&url, part).await?),
                _ => self.fetch_part(&url, part, &name).await?,
            };
            contents.push(content(part, name, held, &verified));
        }
        let (folder, instance) = (self.folder.to_owned(), self.instance.to_owned());
        let (accept, known, expires) = (self.accept, self.known, verified.directory().expires);
        blocking(move || {
            let read = read(&mut contents, &instance, version, accept, known)?;
            let checked = store::write(&folder, &instance, &mut contents)?;
            Ok(Downloaded { expires, checked, ..read })
        })
        .await
    }

    /// Asks for versions from the highest down; 404 is the only answer that means "not this one".
    async fn fetch_directory(&self) -> Result<(String, Bytes), DownloadError> {
        let url = &self.location.url;
        if location::has_version(url) {
            return self.directory_at(url.clone()).await;
        }
        for version in (MIN_VERSION + 1..=MAX_VERSION).rev() {
            match self.directory_at(location::versioned(url, version)).await {
                Err(DownloadError::Status { status: 404, .. }) => {}
                outcome => return outcome,
            }
        }
        self.directory_at(location::versioned(url, MIN_VERSION)).await
    }

    async fn directory_at(&self, url: String) -> Result<(String, Bytes), DownloadError> {
        let answer = self
            .http
            .get(&url, directory::MAX_BYTES)
            .await
            .map_err(|error| DownloadError::Unreachable(error.to_string()))?;
        match answer.status {
            200 => Ok((url, answer.body)),
            status => Err(DownloadError::Status { url, status }),
        }
    }

    fn check_age(&self, url: &str, found: &VerifiedDirectory, stored: &Stored) -> Result<(), DownloadError> {
        let (url, version) = (url.to_owned(), version_of(found));
        if let Some(stored) = stored.version.filter(|stored| version < *stored) {
            return Err(DownloadError::LowerVersion { url, found: version, stored });
        }
        let expires = found.directory().expires;
        match stored.expires.filter(|stored| expires < stored.minus(self.age_tolerance)) {
            Some(stored) => Err(DownloadError::Older { url, found: expires, stored }),
            None => Ok(()),
        }
    }

    /// The parts that count with the names that they are stored under.
    fn parts<'d>(&self, verified: &'d VerifiedDirectory) -> Result<Vec<(&'d Part, String)>, DownloadError> {
        let mut found = Vec::new();
        let mut names = BTreeSet::new();
        for part in &verified.directory().parts {
            // A configuration proxy lists the parts of other instances too; those come from their own sources.
            let ours = part.instance.is_empty() || part.instance == self.instance;
            let wanted = self.accept == Accept::Everything || part.content_identifier == SHARED_PARAMETERS;
            if !ours || !wanted {
                continue;
            }
            if !is_accepted(part) {
                return Err(DownloadError::PartHashAlgorithm(part.location.clone()));
            }
            let name = file_name(part).ok_or_else(|| DownloadError::PartName(part.location.clone()))?;
            if found.len() == MAX_PARTS || !names.insert(name.clone()) {
                return Err(DownloadError::PartName(part.location.clone()));
            }
            found.push((part, name));
        }
        Ok(found)
    }

    /// The stored file of the shared parameters when it has the listed hash, else a new one.
    async fn fetch_shared(&self, base: &str, part: &Part) -> Result<SharedPart, DownloadError> {
        let here = || (self.folder.to_owned(), self.instance.to_owned(), part.clone());
        let ((folder, instance, listed), checked) = (here(), self.checked.clone());
        let stored = move || SharedPart::stored(&folder, &instance, &listed, checked.as_ref());
        if let Some(stored) = blocking(stored).await? {
            return Ok(stored);
        }
        let url = location::resolve(base, &part.location);
        let (pieces, received) = tokio::sync::mpsc::channel(MAX_PIECES);
        let (folder, instance, listed) = here();
        let in_use = self.known.is_some();
        let receive = move || SharedPart::receive(&folder, &instance, &listed, received, pace(in_use));
        let receiving = promptly(receive);
        let sending = self.http.get_by_pieces(&url, MAX_DOCUMENT_BYTES, pieces);
        let (sent, received) = tokio::join!(sending, receiving);
        // If it could not be written, the answer was given up for that.
        let received = received?;
        let status = sent.map_err(|error| unreachable_part(part, error.to_string()))?;
        check_status(part, &url, status)?;
        received.ok_or_else(|| DownloadError::PartHash(part.location.clone()))
    }

    /// The stored bytes when they have the listed hash, else those that the source has.
    async fn fetch_part(&self, base: &str, part: &Part, name: &str) -> Result<Held, DownloadError> {
        if let Some(bytes) = self.stored_part(part, name).await? {
            return Ok(Held::Small { bytes, unchanged: true });
        }
        let limit = match part.content_identifier.as_str() {
            PRIVATE_PARAMETERS => MAX_DOCUMENT_BYTES,
            _ => MAX_OPTIONAL_BYTES,
        };
        let url = location::resolve(base, &part.location);
        let answer = self.http.get(&url, limit).await;
        let answer = answer.map_err(|error| unreachable_part(part, error.to_string()))?;
        check_status(part, &url, answer.status)?;
        let (listed, body) = (part.clone(), answer.body.clone());
        if !blocking(move || Ok(is_part(&listed, &body))).await? {
            return Err(DownloadError::PartHash(part.location.clone()));
        }
        Ok(Held::Small { bytes: answer.body, unchanged: false })
    }

    async fn stored_part(&self, part: &Part, name: &str) -> Result<Option<Bytes>, DownloadError> {
        let (folder, instance) = (self.folder.to_owned(), self.instance.to_owned());
        let (part, name) = (part.clone(), name.to_owned());
        let read = move || {
            let stored = store::read(&folder, &instance, &name)?;
            Ok(stored.filter(|stored| is_part(&part, stored)).map(Bytes::from))
        };
        blocking(read).await
    }
}

fn unreachable_part(part: &Part, reason: String) -> DownloadError {
    DownloadError::PartUnreachable { location: part.location.clone(), reason }
}

fn check_status(part: &Part, url: &str, status: u16) -> Result<(), DownloadError> {
    match status {
        200 => Ok(()),
        status => Err(unreachable_part(part, format!("{url} answered with status {status}"))),
    }
}

/// Runs what an answer's timeout waits for, on a thread of the usual priority.
async fn promptly<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DownloadError> + Send + 'static,
) -> Result<T, DownloadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(DownloadError::Unusable(error.to_string())))
}

/// Runs what takes long on a thread of low priority: megabytes of hashes and XML, and files that are synced.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DownloadError> + Send + 'static,
) -> Result<T, DownloadError> {
    let done = background::run("globalconf", background::NICENESS, work).await;
    done.unwrap_or_else(|error| Err(DownloadError::Unusable(error.to_string())))
}

/// The pace of the thread at hand: exchanges go on beside it once there is a configuration.
fn pace(in_use: bool) -> Pace {
    if in_use { Pace::of(SHARE) } else { Pace::hurried() }
}

/// A directory without a version was written before there were others.
fn version_of(verified: &VerifiedDirectory) -> u32 {
    verified.directory().version.unwrap_or(MIN_VERSION)
}

fn content(part: &Part, name: String, held: Held, verified: &VerifiedDirectory) -> Content {
    let metadata = Metadata {
        content_identifier: Some(part.content_identifier.clone()),
        instance_identifier: Some(part.instance.clone()),
        expiration_date: Some(verified.directory().expires),
        content_file_name: part.file_name.clone(),
        content_location: Some(part.location.clone()),
        configuration_version: Some(version_of(verified).to_string()),
    };
    Content { name, part: part.clone(), held, metadata }
}

/// The name a part is stored under: what the directory asks for, else the last segment of its location. Shared and private parameters
/// have names of their own, which no other part may take; nothing else than plain file names is taken.
fn file_name(part: &Part) -> Option<String> {
    match part.content_identifier.as_str() {
        SHARED_PARAMETERS => return Some(SHARED_PARAMETERS_FILE.to_owned()),
        PRIVATE_PARAMETERS => return Some(PRIVATE_PARAMETERS_FILE.to_owned()),
        _ => {}
    }
    let last = || part.location.split('?').next().and_then(|path| path.rsplit('/').next());
    let name = part.file_name.as_deref().or_else(last)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let reserved = [SHARED_PARAMETERS_FILE, PRIVATE_PARAMETERS_FILE, INSTANCE_FILE].contains(&name);
    let usable = (1..=200).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with('.')
        && !name.ends_with(metadata::SUFFIX)
        && !reserved;
    usable.then(|| name.to_owned())
}

/// Parses what was fetched; the schema decides, and the instance must be the one that the directory says.
fn read(
    contents: &mut [Content],
    instance: &str,
    version: u32,
    accept: Accept,
    known: Option<Arc<Instance>>,
) -> Result<Downloaded, DownloadError> {
    let shared = contents.iter_mut().find_map(|content| match &mut content.held {
        Held::Shared(shared) => Some(shared),
        Held::Small { .. } => None,
    });
    let pace = pace(known.is_some());
    let parsed =
        shared.ok_or(DownloadError::PartMissing("shared parameters"))?.parse(version, known, pace)?;
    check_instance(SHARED_PARAMETERS_FILE, parsed.name(), instance)?;
    let small = || contents.iter().filter_map(|content| Some((content, content.small()?)));
    let find = |name: &str| small().find(|(content, _)| content.name == name).map(|(_, bytes)| bytes);
    let private = match find(PRIVATE_PARAMETERS_FILE) {
        Some(bytes) => {
            let read = PrivateParameters::read(bytes, version);
            let location = PRIVATE_PARAMETERS_FILE.to_owned();
            let private = read.map_err(|source| DownloadError::PartContent { location, source })?;
            check_instance(PRIVATE_PARAMETERS_FILE, &private.instance, instance)?;
            Some(Arc::new(private))
        }
        None if accept == Accept::Everything => return Err(DownloadError::PartMissing("private parameters")),
        None => None,
    };
    let (optional, mut problems) = OptionalParts::read(|name| find(name).map(|bytes| bytes.to_vec()));
    for (content, bytes) in small() {
        let identifier = content.metadata.content_identifier.as_deref().unwrap_or_default();
        let known = content.name == PRIVATE_PARAMETERS_FILE || OptionalParts::reads(&content.name);
        if !known && optional_parts::check(identifier, bytes).is_err() {
            problems.push(format!("{}: not XML that is taken", content.name));
        }
    }
    let optional = (optional, problems);
    // The rest is filled in by who has the directory and the files.
    Ok(Downloaded { shared: parsed, private, optional, expires: UnixTime(0), checked: None })
}

fn check_instance(name: &str, found: &str, expected: &str) -> Result<(), DownloadError> {
    if found == expected {
        return Ok(());
    }
    let (location, found, expected) = (name.to_owned(), found.to_owned(), expected.to_owned());
    Err(DownloadError::PartInstance { location, found, expected })
}
