//! What an administrator, the OCSP fetcher and a server do with a token, wherever its private keys are.
//!
//! [`SoftwareSigner`](crate::SoftwareSigner) does it in this process, [`RemoteSigner`](crate::RemoteSigner) asks the signer's process. Calls
//! that change something block, on the disk or on the other process: they belong on a blocking thread or before the server starts.

use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use pki::issue::Subject;
use pki::key::KeyKind;
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;

use crate::derived::Derived;
use crate::error::TokenError;
use crate::token::{CertInfo, CertStatus, CsrRequest, KeyInfo, KeyUsage};
use crate::{KeyId, Signer};

/// A new state for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertState {
    /// Which: [`CertInfo::id`].
    pub cert: String,
    /// Its state with the registry.
    pub status: CertStatus,
    /// The administrator lets it be used.
    pub active: bool,
}

/// A token.
pub trait TokenService: Signer {
    /// What it is called.
    fn label(&self) -> String;
    /// The private keys are loaded.
    fn is_logged_in(&self) -> bool;
    /// All keys with their certificates.
    fn keys(&self) -> Vec<KeyInfo>;

    /// Loads the private keys; on a token that is logged in only the PIN is checked.
    ///
    /// # Errors
    /// A wrong PIN, or too many before it.
    fn login(&self, pin: &str, now: UnixTime) -> Result<(), TokenError>;
    /// Forgets the private keys.
    ///
    /// # Errors
    /// The signer's process does not answer.
    fn logout(&self) -> Result<(), TokenError>;
    /// A new PIN; the token stays as it is, logged in or out.
    ///
    /// # Errors
    /// The old PIN is wrong (or it is too early to try), the new one empty, or the disk.
    fn change_pin(&self, old: &str, new: &str, now: UnixTime) -> Result<(), TokenError>;
    /// A new key.
    ///
    /// # Errors
    /// Logged out, the library, the disk.
    fn generate(&self, usage: KeyUsage, kind: KeyKind, label: &str) -> Result<KeyId, TokenError>;
    /// Takes a certificate for a key of this token.
    ///
    /// # Errors
    /// No such key; not for the key's usage; known already; the disk.
    fn import_certificate(
        &self,
        cert: &Certificate,
        member: Option<MemberId>,
        status: CertStatus,
    ) -> Result<KeyId, TokenError>;
    /// DER of a certificate signing request.
    ///
    /// # Errors
    /// Logged out; no such key; a key that no certification service certifies; fields that cannot be written.
    fn csr(&self, key: &KeyId, subject: &Subject, dns_names: &[String]) -> Result<Vec<u8>, TokenError>;
    /// Remembers that a certificate is asked for; gives the request's id. A key whose usage was not said gets `usage`.
    ///
    /// # Errors
    /// As [`Self::csr`]; the key is for something else; the disk.
    fn request_certificate(
        &self,
        key: &KeyId,
        usage: KeyUsage,
        request: CsrRequest,
    ) -> Result<String, TokenError>;
    /// DER of a request that is remembered.
    ///
    /// # Errors
    /// As [`Self::csr`]; no such request.
    fn write_csr(&self, key: &KeyId, csr: &str) -> Result<Vec<u8>, TokenError>;
    /// Forgets a request.
    ///
    /// # Errors
    /// No such request; the disk.
    fn delete_csr(&self, csr: &str) -> Result<(), TokenError>;
    /// Gives a key another name, or the token.
    ///
    /// # Errors
    /// No such key; the disk.
    fn rename(&self, key: Option<&KeyId>, name: &str) -> Result<(), TokenError>;
    /// Sets the states of several certificates at once.
    ///
    /// # Errors
    /// No such certificate, then none is changed; the disk.
    fn set_states(&self, states: &[CertState]) -> Result<(), TokenError>;
    /// Removes a certificate; its key stays.
    ///
    /// # Errors
    /// No such certificate; the disk.
    fn delete_certificate(&self, cert_id: &str) -> Result<(), TokenError>;
    /// Removes a key for ever, with its certificates.
    ///
    /// # Errors
    /// No such key; the disk.
    fn delete_key(&self, id: &KeyId) -> Result<(), TokenError>;

    /// Makes the snapshot anew from keys, OCSP answers and configuration. The OCSP fetcher does this whenever something changed;
    /// `server` is whose authentication certificate may be used.
    fn refresh(&self, conf: &GlobalConf, server: Option<&ServerId>, now: UnixTime);
    /// Private-key operations that wait or run.
    fn queue_length(&self) -> usize;
    /// Kept OCSP answers and the snapshot.
    fn derived(&self) -> &Derived;

    /// Something outside changed (the global configuration, the server's identity): the OCSP fetcher looks again.
    fn wake(&self) {
        self.derived().wake();
    }

    /// Aligns the states of authentication certificates with the global configuration. A certificate whose registration came through
    /// is activated when `activate` is set. Gives how many changed.
    ///
    /// # Errors
    /// The disk.
    fn align(&self, conf: &GlobalConf, server: &ServerId, activate: bool) -> Result<usize, TokenError> {
        let keys = self.keys();
        let of_server = keys.iter().filter(|key| key.usage == KeyUsage::Authentication);
        let states: Vec<_> = of_server
            .flat_map(|key| &key.certs)
            .filter_map(|cert| aligned(cert, conf, server, activate))
            .collect();
        if !states.is_empty() {
            self.set_states(&states)?;
        }
        for state in &states {
            tracing::info!(cert = state.cert, to = ?state.status, "a certificate changed its state");
        }
        Ok(states.len())
    }
}

/// The state that the global configuration asks for, when it is another one.
fn aligned(cert: &CertInfo, conf: &GlobalConf, server: &ServerId, activate: bool) -> Option<CertState> {
    use CertStatus::{GlobalError, Registered, RegistrationInProgress, Saved};
    let listed = conf.server_by_auth_cert(&cert.cert) == Some(server);
    let status = match (cert.status, listed) {
        (Saved | RegistrationInProgress | GlobalError, true) => Registered,
        (Registered, false) => GlobalError,
        _ => return None,
    };
    let active = cert.active || (activate && cert.status == RegistrationInProgress);
    Some(CertState { cert: cert.id(), status, active })
}
