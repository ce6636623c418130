//! Does this signature prove this message of this member? All that a signature must be, with the rules of ours.
//!
//! Used alike for messages that arrive (at now) and for containers (at the timestamp's time). A verification is a chain of checks
//! in the order of the stock servers, since the first that fails chooses the fault code:
//!
//! 1. the document has its form ([`Document::parse`]);
//! 2. the hash chain, when there is one, leads to the parts;
//! 3. the certificate is one for signing, and of the member that the message names;
//! 4. the value holds, and the parts have the digests that the references give them;
//! 5. every part is covered, and nothing else is named (a rule of ours: what is not covered is not proven);
//! 6. the certificate's path and OCSP answers hold.
//!
//! For the relay they are regrouped: [`check_coverage`] is per message and cheap, [`check_document`] is the same for all messages
//! of a batch and can be kept. Together they refuse what [`verify`] refuses; only when several rules are broken may they name
//! another one, so a caller that must answer with the code asks [`verify`] after a refusal.

use proto::fault::FaultCode;
use proto::id::{ClientId, MemberId};
use proto::time::UnixTime;

use crate::cert::Certificate;
use crate::digest::DigestValue;
use crate::globalconf::GlobalConf;
use crate::hash_chain::{
    self, DataRef, Found, HashChainError, Outcome, SIGNATURE_CHAIN_URI, SIGNATURE_RESULT_URI,
};
use crate::trust::{self, TrustError, Trusted};
use crate::xades::{Document, SignatureError};

/// A signature with its chain, as it came; exact bytes.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Signature document.
    pub signature: &'a [u8],
    /// Chain result and chain, which come as a pair.
    pub hash_chain: Option<(&'a [u8], &'a [u8])>,
}

/// Why the signature does not prove the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The document.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] HashChainError),
    /// A part that the signature does not cover.
    #[error("the signature does not cover {0}")]
    Uncovered(String),
    /// Something besides what covers the parts.
    #[error("the signature comes with {0}, which covers nothing")]
    Superfluous(String),
    /// The certificate: not for signing, of another member, no path, no good OCSP answer.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl VerifyError {
    /// The fault code's parts after `signature_verification`.
    pub fn fault_path(&self) -> Vec<FaultCode> {
        match self {
            Self::Signature(error) => vec![error.fault_code()],
            Self::Chain(error) => vec![FaultCode::MalformedSignature, error.fault_code()],
            Self::Uncovered(_) | Self::Superfluous(_) => vec![FaultCode::MalformedSignature],
            Self::Trust(error) => error.fault_path(),
        }
    }
}

/// A signature that proves a message.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who signed.
    pub member: MemberId,
    /// With which certificate.
    pub cert: Certificate,
    /// Path and OCSP verdict.
    pub trusted: Trusted,
    /// Informational.
    pub signing_time: Option<UnixTime>,
    /// Attachments proven by digest only (containers).
    pub by_digest: Vec<String>,
}

/// The cheap, per-message half: the document's references (or the chain) cover exactly `parts`.
///
/// Between servers `allow_absent` is false: every received part must be covered and nothing else may be named. A part may be given
/// once for each digest algorithm that the signature could name. Gives the attachments that are proven by digest only, and the place
/// of the message in the batch that was signed.
///
/// # Errors
/// The broken rule.
pub fn check_coverage(
    document: &Document,
    evidence: Evidence<'_>,
    parts: &[(String, DigestValue)],
    allow_absent: bool,
) -> Result<Outcome, VerifyError> {
    let mut coverage = Coverage::of_parts(document, evidence, parts, allow_absent);
    let outcome = coverage.check_chain()?;
    coverage.check_references()?;
    coverage.check_complete()?;
    Ok(outcome)
}

/// The dear, cacheable half: value, certificate, path, OCSP, for `signer` at `at`. Depends on the document's bytes, `signer`, the
/// configuration and the time only, so a batch's document is checked once.
///
/// # Errors
/// The broken rule.
pub fn check_document(
    document: &Document,
    signer: &ClientId,
    conf: &GlobalConf,
    at: UnixTime,
) -> Result<Trusted, VerifyError> {
    trust::check_signing_certificate(conf, &document.signing, &signer.member)?;
    document.verify()?;
    check_trust(document, signer, conf, at)
}

/// Both halves in the reference's order, from bytes.
///
/// # Errors
/// The broken rule.
pub fn verify(
    evidence: Evidence<'_>,
    parts: &[(String, DigestValue)],
    signer: &ClientId,
    conf: &GlobalConf,
    at: UnixTime,
    allow_absent: bool,
) -> Result<Verified, VerifyError> {
    let document = Document::parse(evidence.signature)?;
    Coverage::of_parts(&document, evidence, parts, allow_absent).verify(signer, conf, at)
}

/// What a signature is held against.
pub(crate) struct Coverage<'a, R> {
    pub(crate) document: &'a Document,
    pub(crate) evidence: Evidence<'a>,
    /// URIs of the parts, each of which must be covered.
    pub(crate) required: Vec<&'a str>,
    /// Let a chain and references stand beside each other, as readers of containers do.
    pub(crate) lenient: bool,
    /// Digests of parts by URI.
    pub(crate) resolve: R,
}

impl<'a> Coverage<'a, ()> {
    fn of_parts(
        document: &'a Document,
        evidence: Evidence<'a>,
        parts: &'a [(String, DigestValue)],
        allow_absent: bool,
    ) -> Coverage<'a, impl FnMut(&DataRef<'_>) -> Result<Option<Found>, HashChainError>> {
        Coverage {
            document,
            evidence,
            required: parts.iter().map(|(uri, _)| uri.as_str()).collect(),
            lenient: allow_absent,
            resolve: move |data: &DataRef<'_>| hash_chain::find_part(data, parts, allow_absent),
        }
    }
}

impl<R: FnMut(&DataRef<'_>) -> Result<Option<Found>, HashChainError>> Coverage<'_, R> {
    /// All checks in their order, after the form.
    pub(crate) fn verify(
        mut self,
        signer: &ClientId,
        conf: &GlobalConf,
        at: UnixTime,
    ) -> Result<Verified, VerifyError> {
        let Outcome { by_digest, .. } = self.check_chain()?;
        trust::check_signing_certificate(conf, &self.document.signing, &signer.member)?;
        self.document.verify()?;
        self.check_references()?;
        self.check_complete()?;
        let trusted = check_trust(self.document, signer, conf, at)?;
        Ok(Verified {
            member: signer.member.clone(),
            cert: self.document.signing.clone(),
            trusted,
            signing_time: self.document.signing_time,
            by_digest,
        })
    }

    /// The chain, if the document refers to its result.
    pub(crate) fn check_chain(&mut self) -> Result<Outcome, VerifyError> {
        match (self.document.reference(SIGNATURE_RESULT_URI), self.evidence.hash_chain) {
            (Some(_), Some((result, chain))) => {
                let resolve = &mut self.resolve;
                Ok(hash_chain::verify_with(result, chain, SIGNATURE_CHAIN_URI, &self.required, resolve)?)
            }
            (Some(_), None) | (None, _) => Ok(Outcome::default()),
        }
    }

    /// Every reference is to something at hand that has its digest.
    fn check_references(&mut self) -> Result<(), VerifyError> {
        for (uri, digest) in &self.document.references {
            let found = match self.evidence.hash_chain {
                Some((result, _)) if uri == SIGNATURE_RESULT_URI => {
                    Some(Found::Data(digest.algorithm.digest(result)))
                }
                _ => {
                    let data = DataRef { uri, algorithm: digest.algorithm, transform: None };
                    let mut found = (self.resolve)(&data)?;
                    if found.is_none() && self.required.contains(&uri.as_str()) {
                        // It is there, but was digested with another algorithm than the signature names.
                        found =
                            Some(Found::Own(DigestValue { algorithm: digest.algorithm, value: Vec::new() }));
                    }
                    found
                }
            };
            match found {
                Some(Found::Own(own) | Found::Data(own)) if own == *digest => {}
                Some(Found::Own(_) | Found::Data(_)) => return Err(SignatureError::InvalidValue.into()),
                Some(Found::Absent) | None => {
                    let named = uri.chars().take(200).collect();
                    return Err(SignatureError::InvalidReference(named).into());
                }
            }
        }
        Ok(())
    }

    /// The references are the chain's result, or exactly the parts.
    fn check_complete(&self) -> Result<(), VerifyError> {
        let references = &self.document.references;
        if self.document.reference(SIGNATURE_RESULT_URI).is_some() {
            return match references.iter().find(|(uri, _)| uri != SIGNATURE_RESULT_URI) {
                // The chain has been found to cover all parts.
                Some((other, _)) if !self.lenient => Err(VerifyError::Superfluous(other.clone())),
                None | Some(_) => Ok(()),
            };
        }
        if self.evidence.hash_chain.is_some() && !self.lenient {
            return Err(VerifyError::Superfluous("a hash chain".to_owned()));
        }
        match self.required.iter().find(|part| self.document.reference(part).is_none()) {
            Some(uncovered) => Err(VerifyError::Uncovered((*uncovered).to_owned())),
            None => Ok(()),
        }
    }
}

fn check_trust(
    document: &Document,
    signer: &ClientId,
    conf: &GlobalConf,
    at: UnixTime,
) -> Result<Trusted, VerifyError> {
    Ok(trust::signer(conf, &document.signing, &document.extra, &document.ocsp, &signer.member, at)?)
}

#[cfg(test)]
mod tests;
