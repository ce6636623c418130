//! The trial of another instance's anchor before it is trusted: a real download of its external configuration.
//!
//! An anchor that is no good would make every security server of the instance fail at it once a minute. So the sources that it names
//! are asked until one answers with a directory that one of its certificates signed, that has not expired, and that lists shared
//! parameters of that instance and no private ones; the shared parameters are fetched, compared with their hash, and read. Nothing
//! is kept. An internal source is refused: its private parameters are nobody else's business [PR-GCONF §2].
//!
//! At most [`MAX_SOURCES`] sources are asked, all of them within the time that the trial was given.

use std::time::Duration;

use host::http::{Client, ClientError};
use pki::globalconf::verify::{ConfigurationError, is_part, verify_directory};
use proto::globalconf::anchor::{Anchor, AnchorSource};
use proto::globalconf::directory::{self, Part};
use proto::globalconf::shared_parameters::SharedParameters;
use proto::globalconf::{
    MAX_DOCUMENT_BYTES, MAX_VERSION, MIN_VERSION, PRIVATE_PARAMETERS, ParametersError, SHARED_PARAMETERS,
    location,
};
use proto::time::UnixTime;

/// Most sources of an anchor that are asked.
const MAX_SOURCES: usize = 10;
/// For a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Why an anchor is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// No answer.
    #[error(transparent)]
    Unreachable(#[from] ClientError),
    /// Another answer than a file.
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
    /// The source shows what only the instance's own servers may see.
    #[error("{url} is an internal source: it lists private parameters")]
    Internal {
        /// Where.
        url: String,
    },
    /// There is nothing to be had.
    #[error("{url} lists no shared parameters of {instance}")]
    NoSharedParameters {
        /// Where.
        url: String,
        /// Of whom.
        instance: String,
    },
    /// The shared parameters are not those that the directory lists.
    #[error("{url} is not what the directory lists")]
    Hash {
        /// Where.
        url: String,
    },
    /// The shared parameters break their schema.
    #[error("{url}: {source}")]
    Content {
        /// Where.
        url: String,
        /// How.
        source: ParametersError,
    },
    /// The shared parameters are of another instance than the anchor.
    #[error("{url} holds the parameters of {found}")]
    OtherInstance {
        /// Where.
        url: String,
        /// Whose.
        found: String,
    },
    /// No source could be asked to the end in time.
    #[error("no source gave a whole configuration within {0:?}")]
    Time(Duration),
    /// The anchor names nothing that can be asked.
    #[error("the anchor names no source")]
    NoSource,
    /// The trial itself broke.
    #[error("the shared parameters could not be read: {0}")]
    Broken(String),
}

impl TrialError {
    /// A source that answered says more than one that did not.
    fn is_an_answer(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::Status { .. } | Self::Time(_) | Self::NoSource)
    }
}

/// Tries anchors.
#[derive(Clone)]
pub struct Trial {
    http: Client,
    time: Duration,
}

impl Trial {
    /// Each trial may take so long.
    pub fn new(time: Duration) -> Self {
        // Integrity comes from the signature; a certificate of the transport proves nothing more.
        Self { http: Client::new(CONNECT.min(time), time, &[]), time }
    }

    /// Tries the sources of an anchor in turn.
    ///
    /// # Errors
    /// None of them is the external source of the instance. Of several reasons the first that is about what was answered.
    pub async fn run(&self, anchor: &Anchor, now: UnixTime) -> Result<(), TrialError> {
        let mut failed = TrialError::NoSource;
        let all = async {
            for source in anchor.sources.iter().take(MAX_SOURCES) {
                match self.source(source, &anchor.instance, now).await {
                    Ok(()) => return Ok(()),
                    Err(error) if failed == TrialError::NoSource || !failed.is_an_answer() => failed = error,
                    Err(_) => {}
                }
            }
            Err(())
        };
        match tokio::time::timeout(self.time, all).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(())) => Err(failed),
            Err(_) if failed.is_an_answer() => Err(failed),
            Err(_) => Err(TrialError::Time(self.time)),
        }
    }

    async fn source(&self, source: &AnchorSource, instance: &str, now: UnixTime) -> Result<(), TrialError> {
        let (url, document) = self.directory(&source.url).await?;
        let verified = verify_directory(&document, &source.verification_certs, now)
            .map_err(|source| TrialError::Directory { url: url.clone(), source })?;
        let directory = verified.directory();
        if directory.parts.iter().any(|part| part.content_identifier == PRIVATE_PARAMETERS) {
            return Err(TrialError::Internal { url });
        }
        let of_instance = |part: &&Part| {
            let same = part.instance.is_empty() || part.instance == instance;
            same && part.content_identifier == SHARED_PARAMETERS
        };
        let part = directory.parts.iter().find(of_instance).ok_or_else(|| {
            TrialError::NoSharedParameters { url: url.clone(), instance: instance.to_owned() }
        })?;
        self.shared_parameters(&url, part.clone(), directory.version.unwrap_or(MIN_VERSION), instance).await
    }

    /// Asks for versions from the highest down; 404 is the only answer that means "not this one".
    async fn directory(&self, url: &str) -> Result<(String, bytes::Bytes), TrialError> {
        if location::has_version(url) {
            return self.fetch(url.to_owned(), directory::MAX_BYTES).await;
        }
        for version in (MIN_VERSION + 1..=MAX_VERSION).rev() {
            match self.fetch(location::versioned(url, version), directory::MAX_BYTES).await {
                Err(TrialError::Status { status: 404, .. }) => {}
                outcome => return outcome,
            }
        }
        self.fetch(location::versioned(url, MIN_VERSION), directory::MAX_BYTES).await
    }

    async fn fetch(&self, url: String, limit: usize) -> Result<(String, bytes::Bytes), TrialError> {
        let answer = self.http.get(&url, limit).await?;
        match answer.status {
            200 => Ok((url, answer.body)),
            status => Err(TrialError::Status { url, status }),
        }
    }

    async fn shared_parameters(
        &self,
        base: &str,
        part: Part,
        version: u32,
        instance: &str,
    ) -> Result<(), TrialError> {
        let (url, bytes) = self.fetch(location::resolve(base, &part.location), MAX_DOCUMENT_BYTES).await?;
        let instance = instance.to_owned();
        // Megabytes of hash and XML are not for a worker that serves others.
        let read = tokio::task::spawn_blocking(move || {
            if !is_part(&part, &bytes) {
                return Err(TrialError::Hash { url });
            }
            match SharedParameters::read(&bytes, version) {
                Ok(shared) if shared.instance == instance => Ok(()),
                Ok(shared) => Err(TrialError::OtherInstance { url, found: shared.instance }),
                Err(source) => Err(TrialError::Content { url, source }),
            }
        });
        read.await.unwrap_or_else(|error| Err(TrialError::Broken(error.to_string())))
    }
}
