//! Whether a certificate may speak for a client: path, OCSP answers, binding.
//!
//! | Question | Path leads to | Bound by |
//! |---|---|---|
//! | [`signer`]: may it sign for this member? | the configured CA that issued it | the subject, read by the CA's profile |
//! | [`tls_peer`]: may this TLS chain act for this client? | the configured CA that issued the chain's last certificate, else the one that issued the leaf | the leaf's hash: server, and client of it |
//!
//! Every certificate of the path needs a good OCSP answer (`ocsp::judge`). Verdicts are pure and carry the instant until which they
//! hold, so that callers may cache them under strong keys. A fault code is chosen in two ways, since a message's signature and a
//! connection tell different things: [`TrustError::fault_path`] and [`TrustError::tls_fault_path`].

use proto::fault::FaultCode;
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::chain::{self, ChainError};
use crate::globalconf::{CaInfo, GlobalConf};
use crate::ocsp::{self, OcspError, Responders, Response};
use crate::profile::ProfileError;

/// Most OCSP responses that are looked at for one path.
pub const MAX_RESPONSES: usize = 16;

/// Why a certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No approved CA has the name of its issuer.
    #[error("{subject} was not issued by an approved certification service")]
    UnknownIssuer {
        /// The certificate's subject.
        subject: String,
    },
    /// The CA is approved, but not for signatures.
    #[error("the certification service that issued {subject} is approved for authentication only")]
    AuthenticationOnly {
        /// The certificate's subject.
        subject: String,
    },
    /// The configuration names no known profile for the CA.
    #[error("the certification service that issued {subject} has no certificate profile that is known here")]
    NoProfile {
        /// The certificate's subject.
        subject: String,
    },
    /// Key usage does not allow signatures.
    #[error("{subject} is not a signing certificate")]
    NotSigning {
        /// The certificate's subject.
        subject: String,
    },
    /// The subject names nobody.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The subject names someone else.
    #[error("the certificate is of {found}, not of {expected}")]
    OtherMember {
        /// Whose it is.
        found: String,
        /// Whose it must be.
        expected: String,
    },
    /// No path to the CA.
    #[error(transparent)]
    Path(#[from] ChainError),
    /// An OCSP response that cannot be read, or too many of them.
    #[error("an OCSP response cannot be read")]
    MalformedOcsp,
    /// A certificate of the path has no good OCSP answer.
    #[error("{subject}: {reason}")]
    Ocsp {
        /// Which certificate.
        subject: String,
        /// Why.
        reason: OcspError,
    },
    /// The peer showed no certificate.
    #[error("the peer shows no certificate")]
    NoCertificate,
    /// There is no OCSP response at all.
    #[error("there are no OCSP responses for the TLS certificate")]
    NoOcsp,
    /// Neither key usage allows TLS authentication nor extended key usage.
    #[error("{subject} is not an authentication certificate")]
    NotAuthentication {
        /// The certificate's subject.
        subject: String,
    },
    /// No server has this certificate.
    #[error("{subject} is not registered for any security server")]
    NotRegistered {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate's server does not have this client.
    #[error("{client} is not registered at the security server {server}")]
    NotClient {
        /// Who it must be.
        client: String,
        /// The certificate's server.
        server: String,
    },
}

impl TrustError {
    /// The nested part of the fault code, for instance `invalid_cert_path.cert_validation`; after `signature_verification` for a
    /// signature. Empty when the prefix says it all.
    pub fn fault_path(&self) -> Vec<FaultCode> {
        match self {
            Self::UnknownIssuer { .. } | Self::AuthenticationOnly { .. } | Self::NoProfile { .. } => {
                vec![FaultCode::InternalError]
            }
            Self::NotSigning { .. } | Self::MalformedOcsp => vec![FaultCode::MalformedSignature],
            Self::Profile(_) | Self::OtherMember { .. } => vec![FaultCode::IncorrectCertificate],
            Self::Path(_) => vec![FaultCode::CannotCreateCertPath, FaultCode::InternalError],
            Self::Ocsp { reason, .. } => vec![FaultCode::InvalidCertPath, ocsp_code(reason)],
            Self::NoCertificate
            | Self::NoOcsp
            | Self::NotAuthentication { .. }
            | Self::NotRegistered { .. }
            | Self::NotClient { .. } => vec![],
        }
    }

    /// The whole path for a connection, mostly `ssl_authentication_failed` and the nested part. The server proxy gives its clients no
    /// more than the first part.
    pub fn tls_fault_path(&self) -> Vec<FaultCode> {
        match self {
            Self::UnknownIssuer { .. } => vec![FaultCode::InternalError],
            Self::MalformedOcsp => vec![FaultCode::IoError],
            Self::AuthenticationOnly { .. }
            | Self::NoProfile { .. }
            | Self::NotSigning { .. }
            | Self::Profile(_)
            | Self::OtherMember { .. }
            | Self::Path(_)
            | Self::Ocsp { .. }
            | Self::NoCertificate
            | Self::NoOcsp
            | Self::NotAuthentication { .. }
            | Self::NotRegistered { .. }
            | Self::NotClient { .. } => {
                [vec![FaultCode::SslAuthenticationFailed], self.fault_path()].concat()
            }
        }
    }
}

fn ocsp_code(reason: &OcspError) -> FaultCode {
    match reason {
        OcspError::Missing | OcspError::NotGood(_) => FaultCode::CertValidation,
        OcspError::Malformed
        | OcspError::OtherCertificate
        | OcspError::UnknownResponder
        | OcspError::Signature
        | OcspError::NotAuthorised
        | OcspError::TooOld
        | OcspError::FromTheFuture
        | OcspError::Superseded => FaultCode::IncorrectValidationInfo,
    }
}

/// A certificate found good at an instant.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// The verdict holds until here: path validity and OCSP answers.
    pub until: UnixTime,
    /// The leaf's OCSP answer.
    pub ocsp: ocsp::Good,
}

/// What a certificate says of itself: it is for signing, and its subject names `member` by the profile of its CA. The first
/// half of [`signer`], for those who look at a signature value before the path.
///
/// # Errors
/// The first check that fails.
pub fn check_signing_certificate<'a>(
    conf: &'a GlobalConf,
    cert: &Certificate,
    member: &MemberId,
) -> Result<&'a CaInfo, TrustError> {
    let subject = || cert.subject();
    if !cert.is_signing() {
        return Err(TrustError::NotSigning { subject: subject() });
    }
    let instance = &member.instance;
    let ca = conf.ca_for(cert, instance).ok_or_else(|| TrustError::UnknownIssuer { subject: subject() })?;
    let profile = ca.profile.ok_or_else(|| TrustError::NoProfile { subject: subject() })?;
    let found = profile.member(cert, instance)?;
    if found != *member {
        return Err(TrustError::OtherMember { found: found.to_string(), expected: member.to_string() });
    }
    Ok(ca)
}

/// A signing certificate of `member` at `at`.
///
/// # Errors
/// The first check that fails.
pub fn signer(
    conf: &GlobalConf,
    cert: &Certificate,
    extra: &[Certificate],
    ocsp: &[Vec<u8>],
    member: &MemberId,
    at: UnixTime,
) -> Result<Trusted, TrustError> {
    let ca = check_signing_certificate(conf, cert, member)?;
    if ca.authentication_only {
        return Err(TrustError::AuthenticationOnly { subject: cert.subject() });
    }
    let path = chain::build(cert, extra, &ca.cert, at)?;
    check_path(conf, &path, ocsp, &member.instance, at)
}

/// The TLS chain (leaf first) of a security server that acts for `client` at `at`.
///
/// `client` is the service's client when the provider is checked, the message's client when the consumer is.
///
/// # Errors
/// The first check that fails.
pub fn tls_peer(
    conf: &GlobalConf,
    chain: &[Certificate],
    ocsp: &[Vec<u8>],
    client: &ClientId,
    at: UnixTime,
) -> Result<Trusted, TrustError> {
    let (Some(leaf), Some(last)) = (chain.first(), chain.last()) else {
        return Err(TrustError::NoCertificate);
    };
    let subject = || leaf.subject();
    if ocsp.is_empty() {
        return Err(TrustError::NoOcsp);
    }
    if leaf.is_authentication() != Ok(true) {
        return Err(TrustError::NotAuthentication { subject: subject() });
    }
    let instance = &client.member.instance;
    let ca = conf.ca_for(last, instance).or_else(|| conf.ca_for(leaf, instance));
    let ca = ca.ok_or_else(|| TrustError::UnknownIssuer { subject: subject() })?;
    let path = chain::build(leaf, &chain[1..], &ca.cert, at)?;
    let trusted = check_path(conf, &path, ocsp, instance, at)?;
    let server =
        conf.server_of(leaf, instance).ok_or_else(|| TrustError::NotRegistered { subject: subject() })?;
    if !conf.is_client_of(client, server) {
        return Err(TrustError::NotClient { client: client.to_string(), server: server.to_string() });
    }
    Ok(trusted)
}

/// Every certificate of the path has a good answer at `at`.
fn check_path(
    conf: &GlobalConf,
    path: &chain::Path,
    ocsp: &[Vec<u8>],
    instance: &str,
    at: UnixTime,
) -> Result<Trusted, TrustError> {
    if ocsp.len() > MAX_RESPONSES {
        return Err(TrustError::MalformedOcsp);
    }
    let answers: Vec<Response> = ocsp
        .iter()
        .map(|der| Response::parse(der))
        .collect::<Result<_, _>>()
        .map_err(|_| TrustError::MalformedOcsp)?;
    let mut until = path.not_after;
    let mut of_leaf = None;
    for (cert, issuer) in path.links() {
        let good = judge(conf, &answers, cert, issuer, instance, at)?;
        until = until.min(good.believe_until);
        of_leaf.get_or_insert(good);
    }
    let ocsp = of_leaf.ok_or(TrustError::NoCertificate)?;
    Ok(Trusted { until, ocsp })
}

/// Judges one certificate by `answers`, with the responders that the configuration of `instance` has for its issuer.
///
/// # Errors
/// [`TrustError::Ocsp`].
pub fn judge(
    conf: &GlobalConf,
    answers: &[Response],
    cert: &Certificate,
    issuer: &Certificate,
    instance: &str,
    at: UnixTime,
) -> Result<ocsp::Good, TrustError> {
    let configured = conf.ca_for(cert, instance).filter(|ca| ca.cert == *issuer);
    let configured = configured.map_or(&[][..], |ca| &ca.responders);
    let responders = Responders { configured, known: conf.ca_certs() };
    ocsp::judge(answers, cert, issuer, responders, &conf.ocsp_rules(), at)
        .map_err(|reason| TrustError::Ocsp { subject: cert.subject(), reason })
}

#[cfg(test)]
mod tests;
