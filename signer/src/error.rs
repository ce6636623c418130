//! Why a token cannot do what an administrator asks. Why a signature cannot be made is [`crate::SignerError`].

use std::path::PathBuf;

use pki::cert::CertError;
use pki::key::KeyError;

use crate::KeyId;
use crate::seal::SealError;

/// Why a token refuses.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is a token already.
    #[error("{0} holds a token already")]
    Exists(PathBuf),
    /// There is none.
    #[error("{0} holds no token: create one first")]
    Missing(PathBuf),
    /// Another process works with it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// A PIN of no characters.
    #[error("the PIN is empty")]
    EmptyPin,
    /// Not the token's PIN.
    #[error("the PIN is wrong")]
    WrongPin,
    /// Too many wrong PINs; nothing was tried.
    #[error("too many wrong PINs: wait {seconds} s")]
    Locked {
        /// How long.
        seconds: u64,
    },
    /// It needs the PIN first.
    #[error("the token is not logged in: enter its PIN")]
    LoggedOut,
    /// No such key.
    #[error("key {0} does not exist")]
    NoKey(KeyId),
    /// No such certificate.
    #[error("there is no certificate {0}")]
    NoCertificate(String),
    /// No such certificate signing request.
    #[error("there is no certificate signing request {0}")]
    NoCsr(String),
    /// The certificate is for a key that is not in the token.
    #[error("the certificate is for a key that is not in this token")]
    ForeignCertificate,
    /// The certificate is in the token already.
    #[error("the certificate is in this token already")]
    CertificateExists,
    /// The certificate's key usage does not fit the key.
    #[error("the certificate is not for {wanted}")]
    Usage {
        /// What the key is for.
        wanted: &'static str,
    },
    /// A signing certificate needs a member, a server's certificate must have none.
    #[error("{0}")]
    Member(&'static str),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file is not what it must be.
    #[error("{path}: {reason}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Written by a newer program.
    #[error("{path} has format {found}, this program knows {known}: install a newer causeway")]
    Newer {
        /// Which.
        path: PathBuf,
        /// In the file.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Disk.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The signer's process refused, or does not answer.
    #[error("{0}")]
    Elsewhere(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl From<SealError> for TokenError {
    fn from(_: SealError) -> Self {
        Self::NoRandom
    }
}
