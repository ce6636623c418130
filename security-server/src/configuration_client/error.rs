//! Why a configuration could not be downloaded, each reason with the code that stock servers give.

use std::io;
use std::path::PathBuf;

use pki::globalconf::verify::ConfigurationError;
use proto::fault::FaultCode;
use proto::globalconf::ParametersError;
use proto::globalconf::anchor::AnchorError;
use proto::time::UnixTime;

/// Why a run, or one location of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The anchor file cannot be read.
    #[error("{file}: {source}: install a configuration anchor")]
    AnchorFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The anchor file is not an anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The anchor is for another instance than the stored configuration.
    #[error("the anchor is for instance {anchor}, but this server belongs to {stored}")]
    OtherInstance {
        /// In the anchor.
        anchor: String,
        /// In the folder.
        stored: String,
    },
    /// The anchor names nothing to download from.
    #[error("the anchor has no usable location")]
    NoLocation,
    /// A location did not answer.
    #[error("{0}")]
    Unreachable(String),
    /// A location answered with an error status.
    #[error("{url} answered with status {status}")]
    Status {
        /// Where.
        url: String,
        /// What.
        status: u16,
    },
    /// The directory is not believed.
    #[error("{url}: {source}")]
    Directory {
        /// Where.
        url: String,
        /// Why.
        source: ConfigurationError,
    },
    /// The directory expires earlier than the stored one by more than the tolerance.
    #[error("{url}: the directory expires at {}, the stored one at {}: an older one is not taken", found.to_iso8601(), stored.to_iso8601())]
    Older {
        /// Where.
        url: String,
        /// Its expiry.
        found: UnixTime,
        /// The stored one's.
        stored: UnixTime,
    },
    /// The directory is of a lower version than the stored one.
    #[error("{url}: the directory has version {found}, the stored one {stored}: a lower one is not taken")]
    LowerVersion {
        /// Where.
        url: String,
        /// Its version.
        found: u32,
        /// The stored one's.
        stored: u32,
    },
    /// A part that must be there is not listed.
    #[error("the directory lists no {0}")]
    PartMissing(&'static str),
    /// A part cannot be stored under the name that it asks for, or two ask for the same.
    #[error("part {0} has a file name that is not usable")]
    PartName(String),
    /// The hash algorithm of a part is not accepted.
    #[error("the hash algorithm of part {0} is not accepted")]
    PartHashAlgorithm(String),
    /// A part could not be fetched.
    #[error("part {location}: {reason}")]
    PartUnreachable {
        /// Which.
        location: String,
        /// Why.
        reason: String,
    },
    /// A part is not what the directory lists.
    #[error("part {0} does not have the listed hash")]
    PartHash(String),
    /// A part does not follow its schema.
    #[error("part {location}: {source}")]
    PartContent {
        /// Which.
        location: String,
        /// Why.
        source: ParametersError,
    },
    /// A part is about another instance than the directory says.
    #[error("part {location} belongs to instance {found}, not to {expected}")]
    PartInstance {
        /// Which.
        location: String,
        /// In the part.
        found: String,
        /// In the directory.
        expected: String,
    },
    /// A stored file could not be read to compare it.
    #[error("{file}: {source}")]
    StoredFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A part could not be stored.
    #[error("{file}: {source}")]
    SaveFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The expiry of a stored part could not be renewed.
    #[error("{file}: {source}")]
    SaveMetadata {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The name of the instance could not be stored.
    #[error("{file}: {source}")]
    SaveInstance {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everything was good, and still no snapshot came of it.
    #[error("the configuration cannot be used: {0}")]
    Unusable(String),
}

impl DownloadError {
    /// Exhaustive on purpose: a new reason does not compile until it has chosen its code.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::AnchorFile { .. } => FaultCode::AnchorFileNotFound,
            Self::Anchor(error) => error.fault_code(),
            Self::NoLocation => FaultCode::ConfDownloadInvalidDownloadUrlFormat,
            Self::Unreachable(_) => FaultCode::GlobalConfGetVersionFailed,
            Self::Status { .. } => FaultCode::GlobalConfDownloadUrlConnectionFailure,
            Self::Directory { source, .. } => source.fault_code(),
            Self::Older { .. } | Self::LowerVersion { .. } => FaultCode::GlobalConfOutdated,
            Self::PartName(_) => FaultCode::GlobalConfHeaderFieldWrongValue,
            Self::PartHashAlgorithm(_) => FaultCode::GlobalConfPartDownloadedHashFailure,
            Self::PartUnreachable { .. } => FaultCode::GlobalConfPartDownloadFailure,
            Self::PartHash(_) => FaultCode::GlobalConfPartDownloadedFileIntegrityFailure,
            Self::PartContent { source, .. } => source.fault_code(),
            Self::PartMissing(_) | Self::Unusable(_) => FaultCode::MalformedGlobalConf,
            Self::OtherInstance { .. } | Self::PartInstance { .. } => {
                FaultCode::GlobalConfPartInvalidInstanceIdentifier
            }
            Self::StoredFile { .. } => FaultCode::GlobalConfPartFileHashFailure,
            Self::SaveFile { .. } => FaultCode::GlobalConfPartFileSaveFailure,
            Self::SaveMetadata { .. } => FaultCode::GlobalConfPartFileExpirationDateUpdateFailure,
            Self::SaveInstance { .. } => FaultCode::FailedToSaveInstanceIdentifier,
        }
    }

    /// Nothing was reached that could have said more.
    fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Status { .. })
    }
}

/// Of what all locations failed of, the first that says more than that nobody answered: the twin of a good location under a scheme
/// that nobody serves must not hide the real reason.
pub(super) fn most_telling(failures: Vec<DownloadError>) -> DownloadError {
    let mut first = None;
    for failure in failures {
        if !failure.is_silence() {
            return failure;
        }
        first.get_or_insert(failure);
    }
    first.unwrap_or(DownloadError::NoLocation)
}
