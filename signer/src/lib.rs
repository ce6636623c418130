//! Keeps the private keys, inside either server or in a process of its own, behind the same traits.
//!
//! A *token* is a folder of keys encrypted at rest under a PIN. A key is for signing or for authentication and never for both:
//! authentication keys sign TLS handshakes and registration requests, signing keys sign messages and management requests.
//! What the relay reads is one immutable [`OwnKeys`], swapped when keys, certificates or OCSP answers change.
//!
//! | Module | Holds |
//! |---|---|
//! | this | what the servers call: [`Signer`], and what they read: [`OwnKeys`] |
//! | [`service`] | what servers and administrators do with a token: [`TokenService`] |
//! | [`token`] | the folder of a token, states of certificates |
//! | [`software`] | the software token: log-in, keys, certificates, signing |
//! | [`ocsp_fetcher`] | the task that keeps OCSP answers and the snapshot fresh |
//! | [`derived`] | what is made from certificates alone: kept OCSP answers, the snapshot |
//! | [`remote`] | the token in a process of its own, and [`RemoteSigner`], its client |
//! | [`process`] | what a process with private keys does first |

pub mod derived;
mod error;
mod identities;
pub mod ocsp_fetcher;
mod ocsp_store;
mod pool;
pub mod process;
pub mod remote;
mod seal;
pub mod service;
pub mod software;
mod tls;
pub mod token;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::key::PrivateKey;
use proto::id::MemberId;
use proto::time::UnixTime;

pub use error::TokenError;
pub use remote::client::RemoteSigner;
pub use service::TokenService;
pub use software::SoftwareSigner;

/// Names a key: random bytes in upper-case hex, as the reference does.
pub type KeyId = String;

/// What a signature is for; decides which keys may make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A message (signing key).
    Message,
    /// A management request (signing key).
    ManagementRequest,
    /// Registration of an authentication certificate (authentication key).
    Registration,
    /// A certificate signing request (either).
    Csr,
    /// A TLS handshake (authentication key).
    Handshake,
    /// A configuration directory (configuration signing key of a central server).
    Configuration,
}

/// A member's signing certificate, ready for use.
#[derive(Debug)]
pub struct SigningIdentity {
    /// Its key.
    pub key: KeyId,
    /// Whose it is.
    pub member: MemberId,
    /// The certificate.
    pub cert: Certificate,
    /// Intermediates below the trust anchor.
    pub intermediates: Vec<Certificate>,
    /// OCSP answers, DER, the certificate's first.
    pub ocsp: Vec<Bytes>,
    /// What the key signs with.
    pub algorithm: SignatureAlgorithm,
    /// Not to be used after this instant: certificate or OCSP answer ends.
    pub until: UnixTime,
}

/// This server's TLS identity towards other servers.
#[derive(Debug)]
pub struct AuthIdentity {
    /// Leaf, then intermediates, without the trust anchor.
    pub chain: Vec<Certificate>,
    /// OCSP answers for each of `chain`, DER, in order.
    pub ocsp: Vec<Bytes>,
    /// For rustls: the chain with the key behind it.
    pub certified: Arc<rustls::sign::CertifiedKey>,
    /// The key itself, for a TLS library that cannot ask `certified` for a signature; `None` when it cannot leave its token.
    pub key: Option<Arc<PrivateKey>>,
    /// Not to be used after this instant.
    pub until: UnixTime,
}

/// What the relay reads.
#[derive(Debug, Default)]
pub struct OwnKeys {
    /// By member.
    pub signing: HashMap<MemberId, Arc<SigningIdentity>>,
    /// The authentication key in use.
    pub auth: Option<Arc<AuthIdentity>>,
    /// OCSP answers of own certificates by lower-case hex SHA-1 of the certificate: what port 5577 serves.
    pub ocsp_by_sha1: HashMap<String, Bytes>,
}

/// Why a signature could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// No such key.
    #[error("key {0} does not exist")]
    NoKey(KeyId),
    /// The token is logged out.
    #[error("the token is not logged in: enter its PIN")]
    LoggedOut,
    /// The key is for something else.
    #[error("key {key} is not for {purpose:?}")]
    Purpose {
        /// Which.
        key: KeyId,
        /// What was asked.
        purpose: Purpose,
    },
    /// The library or the disk.
    #[error("{0}")]
    Failed(String),
    /// The signer's process did not answer in time.
    #[error("the signer does not answer: {0}")]
    Unreachable(String),
}

/// Says what is to be signed, at the last moment.
pub type Message = Box<dyn FnOnce() -> Bytes + Send>;

/// What the servers call.
#[async_trait::async_trait]
pub trait Signer: Send + Sync {
    /// One private-key operation. What it is over is asked when it begins, so that whatever comes while others have the cores is in
    /// it; an operation that is refused before does not ask.
    async fn sign_late(
        &self,
        key: &KeyId,
        purpose: Purpose,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: Message,
    ) -> Result<Vec<u8>, SignerError>;

    /// One private-key operation over `message`.
    async fn sign(
        &self,
        key: &KeyId,
        purpose: Purpose,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: Bytes,
    ) -> Result<Vec<u8>, SignerError> {
        self.sign_late(key, purpose, algorithm, form, Box::new(move || message)).await
    }

    /// Where the keys are in this process: what signs on the caller's own thread.
    fn in_process(&self) -> Option<&SoftwareSigner> {
        None
    }

    /// The present snapshot.
    fn own_keys(&self) -> Arc<OwnKeys>;
}
