//! Verifying a container, step by step in the order of the stock verifier.

use std::io::{Read, Seek};

use proto::fault::FaultCode;
use proto::time::UnixTime;

use super::read::Container;
use super::{
    MESSAGE, Rejection, Report, SIGNATURE, SIGNATURE_CHAIN, SIGNATURE_CHAIN_RESULT, TIMESTAMP,
    TIMESTAMP_CHAIN, TIMESTAMP_CHAIN_RESULT, message,
};
use crate::cert::Certificate;
use crate::globalconf::GlobalConf;
use crate::hash_chain::{
    self, DataRef, Found, HashChainError, MESSAGE_URI, SIGNATURE_RESULT_URI, SIGNATURES_URI,
    TIMESTAMP_CHAIN_URI,
};
use crate::message_signature::{Coverage, Evidence, VerifyError};
use crate::ocsp::OcspError;
use crate::trust::TrustError;
use crate::tsp::{Token, TspError};
use crate::xades::Document;

const STEP_DOCUMENT: &str = "the signature document can be read";
const STEP_SENDER: &str = "the message names its sender";
const STEP_REFERENCE: &str = "the signature is about the message";
const STEP_TIMESTAMP: &str = "the timestamp holds";
const STEP_CHAIN: &str = "the hash chain leads to the message";
const STEP_SIGNER: &str = "the signature is by the sender";
const STEP_SIGNATURE: &str = "the signature holds over the message";
const STEP_TRUST: &str = "the certificate was trusted at the time of the timestamp";
pub(super) const STEP_FRESH: &str = "the timestamp came while the certificate was still known to be good";

impl<R: Read + Seek> Container<R> {
    /// Verifies it at its own timestamp's time.
    ///
    /// # Errors
    /// The first failing step.
    pub fn verify(mut self, conf: &GlobalConf) -> Result<Report, Rejection> {
        let signature = self.entry(SIGNATURE).unwrap_or_default().to_vec();
        let document = Document::parse(&signature)
            .map_err(|error| Rejection::new(STEP_DOCUMENT, &[error.fault_code()], error))?;

        let message = self.entry(MESSAGE).unwrap_or_default().to_vec();
        let sender = message::sender(&message);

        if [MESSAGE_URI, SIGNATURE_RESULT_URI].iter().all(|uri| document.reference(uri).is_none()) {
            let reason = "it refers neither to the message nor to a hash chain";
            return Err(Rejection::new(STEP_REFERENCE, &[FaultCode::MalformedSignature], reason));
        }

        let (timestamped_at, tsa) = self.verify_timestamp(&document, &signature, conf)?;

        let chain = self.chain(SIGNATURE_CHAIN_RESULT, SIGNATURE_CHAIN);
        let chain = chain.map(|(result, chain)| (result.to_vec(), chain.to_vec()));
        let parts = self.parts();
        let mut coverage = Coverage {
            document: &document,
            evidence: Evidence {
                signature: &signature,
                hash_chain: chain.as_ref().map(|(result, chain)| (result.as_slice(), chain.as_slice())),
            },
            required: parts.iter().map(String::as_str).collect(),
            lenient: true,
            resolve: |data: &DataRef<'_>| self.find(data, &message),
        };
        // A message that cannot be read is refused where its sender is first needed, after the chain.
        coverage.check_chain().map_err(refused)?;
        let (signer, message_id) =
            sender.map_err(|reason| Rejection::new(STEP_SENDER, &[FaultCode::InternalError], reason))?;
        let verified = coverage.verify(&signer, conf, timestamped_at).map_err(refused)?;
        Ok(Report {
            signer,
            cert: verified.cert,
            message_id,
            signed_at: verified.signing_time,
            timestamped_at,
            tsa: tsa.subject(),
            ocsp_at: verified.trusted.ocsp.this_update,
            by_digest: verified.by_digest,
        })
    }

    /// The token in its own entry, else in the signature; over the chain result of a batch, else over the signature value.
    fn verify_timestamp(
        &self,
        document: &Document,
        signature: &[u8],
        conf: &GlobalConf,
    ) -> Result<(UnixTime, Certificate), Rejection> {
        let malformed =
            |reason: String| Rejection::new(STEP_TIMESTAMP, &[FaultCode::MalformedSignature], reason);
        let token = self.entry(TIMESTAMP).or(document.timestamp.as_deref());
        let token = token.ok_or_else(|| malformed("there is none".to_owned()))?;
        let token = Token::parse(token).map_err(unstamped)?;
        let stamped = match self.chain(TIMESTAMP_CHAIN_RESULT, TIMESTAMP_CHAIN) {
            Some((result, chain)) => {
                hash_chain::verify_with(result, chain, TIMESTAMP_CHAIN_URI, &[SIGNATURES_URI], |data| {
                    (data.uri == SIGNATURES_URI)
                        .then(|| hash_chain::digest_data(data, signature).map(Found::Data))
                        .transpose()
                })
                .map_err(|error| malformed(error.to_string()))?;
                result
            }
            None => &document.value,
        };
        if conf.tsa_certs().is_empty() {
            let reason = "the configuration has no timestamping service";
            return Err(Rejection::new(
                STEP_TIMESTAMP,
                &[FaultCode::MlogNoTimestampingProviderFound],
                reason,
            ));
        }
        token.verify(stamped, conf.tsa_certs()).map_err(unstamped)
    }

    /// Digests of what is in the container, to be compared; what is not is proven by the chain alone.
    fn find(&mut self, data: &DataRef<'_>, message: &[u8]) -> Result<Option<Found>, HashChainError> {
        if data.uri == MESSAGE_URI {
            return hash_chain::digest_data(data, message).map(|digest| Some(Found::Data(digest)));
        }
        if data.transform.is_some() {
            return Err(HashChainError::Malformed(
                "an attachment is transformed before it is digested".to_owned(),
            ));
        }
        match self.attachment_digest(data.uri, data.algorithm) {
            Ok(Some(digest)) => Ok(Some(Found::Data(digest))),
            Ok(None) => Ok(Some(Found::Absent)),
            Err(error) => Err(HashChainError::Malformed(format!("{} cannot be read: {error}", data.uri))),
        }
    }
}

fn unstamped(error: TspError) -> Rejection {
    Rejection { code: error.code().to_owned(), step: STEP_TIMESTAMP, reason: error.to_string() }
}

fn refused(error: VerifyError) -> Rejection {
    let step = match &error {
        VerifyError::Chain(_) => STEP_CHAIN,
        VerifyError::Signature(_) | VerifyError::Uncovered(_) | VerifyError::Superfluous(_) => STEP_SIGNATURE,
        VerifyError::Trust(
            TrustError::NotSigning { .. } | TrustError::OtherMember { .. } | TrustError::Profile(_),
        ) => STEP_SIGNER,
        VerifyError::Trust(TrustError::Ocsp {
            reason: OcspError::TooOld | OcspError::Superseded, ..
        }) => STEP_FRESH,
        VerifyError::Trust(_) => STEP_TRUST,
    };
    Rejection::new(step, &error.fault_path(), error)
}
