//! What came back for a management request: the number that the registry gave it, or why there is none.
//!
//! An answer counts when it is a SOAP document of the request's own header with the body element renamed; a fault is passed on to the
//! administrator with its code and text. Pure.

use bytes::Bytes;
use host::http::ClientError;
use proto::fault::{Fault, FaultCode, Style};
use proto::id::MemberId;
use proto::management::{self, ManagementError};
use proto::media_type;
use proto::soap::{Soap, SoapError, SoapHeader, parse};
use signer::SignerError;

use crate::client_proxy::own::OwnError;

/// Largest answer.
pub const MAX_ANSWER: usize = management::MAX_BYTES;

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The server is nobody's yet.
    #[error("the server is not initialised")]
    NotInitialised,
    /// There is no valid configuration, so nobody to ask.
    #[error("the global configuration of this security server is not valid")]
    Outdated,
    /// The configuration does not say which certificate the registration service shows.
    #[error("the global configuration names no certificate of the registration service")]
    NoRegistrationCert,
    /// Nobody can sign for the member.
    #[error(
        "there is no active signing certificate of {0} with a good OCSP answer, or its token is not logged in"
    )]
    NoSigningKey(MemberId),
    /// The server has no authentication certificate in use, so no message can be sent.
    #[error("there is no registered and active authentication certificate with a good OCSP answer")]
    NoAuthKey,
    /// The token.
    #[error("the request could not be signed: {0}")]
    Signer(#[from] SignerError),
    /// The registration service is not reached.
    #[error("{0}")]
    Connection(#[from] ClientError),
    /// The message did not go through this server.
    #[error("the message could not be sent: {0}")]
    Relay(String),
    /// No answer in time.
    #[error("there was no answer in time")]
    Timeout,
    /// Refused: by a security server on the way or by the central server.
    #[error("{}: {}", .0.code, .0.message)]
    Fault(Box<Fault>),
    /// Not SOAP.
    #[error("the answer has status {status} and content type {content_type:?}")]
    NotSoap {
        /// Of the answer.
        status: u16,
        /// Of the answer.
        content_type: String,
    },
    /// Not readable.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] SoapError),
    /// Answers something else.
    #[error("the answer does not belong to the request: {0} differs")]
    Inconsistent(&'static str),
    /// No request number.
    #[error("{0}")]
    NoNumber(#[from] ManagementError),
}

impl From<OwnError> for SendError {
    fn from(error: OwnError) -> Self {
        Self::Relay(error.to_string())
    }
}

impl SendError {
    /// What the management API puts behind `core.`: the code of the fault, or of what happened here.
    pub fn code(&self) -> String {
        let code = match self {
            Self::Fault(fault) => return fault.code.clone(),
            Self::NotInitialised => FaultCode::MalformedServerConf,
            Self::Outdated => FaultCode::GlobalConfOutdated,
            Self::NoAuthKey => FaultCode::SslAuthenticationFailed,
            Self::Signer(_) => FaultCode::CannotCreateSignature,
            Self::Connection(_) | Self::Timeout => FaultCode::IoError,
            Self::NoRegistrationCert | Self::NoSigningKey(_) | Self::Relay(_) | Self::NoNumber(_) => {
                FaultCode::InternalError
            }
            Self::NotSoap { .. } => FaultCode::InvalidContentType,
            Self::Unreadable(_) => FaultCode::InvalidSoap,
            Self::Inconsistent(_) => FaultCode::InconsistentResponse,
        };
        code.text(Style::Snake).to_owned()
    }

    /// The text beside the code.
    pub fn message(&self) -> String {
        match self {
            Self::Fault(fault) => fault.message.clone(),
            other => other.to_string(),
        }
    }
}

/// The number of a request out of its answer. `soap` is what was asked.
///
/// # Errors
/// The fault, or what is wrong with the answer.
pub fn judge(
    soap: &Bytes,
    code: &'static str,
    status: u16,
    content_type: &str,
    body: Bytes,
) -> Result<u64, SendError> {
    if !media_type::is(content_type, "text/xml") {
        return Err(SendError::NotSoap { status, content_type: content_type.chars().take(100).collect() });
    }
    let answered = match parse(body, content_type)? {
        Soap::Fault(fault, _) => return Err(SendError::Fault(Box::new(fault))),
        Soap::Message(message) => message,
    };
    let Soap::Message(asked) = parse(soap.clone(), management::DOCUMENT)? else {
        return Err(SendError::Inconsistent("request"));
    };
    if let Some(field) = difference(&asked.header, &answered.header) {
        return Err(SendError::Inconsistent(field));
    }
    Ok(management::read_answer(&answered.raw, code)?)
}

fn difference(asked: &SoapHeader, answered: &SoapHeader) -> Option<&'static str> {
    let agreements = [
        (asked.client == answered.client, "client"),
        (asked.service == answered.service, "service"),
        (asked.id == answered.id, "id"),
    ];
    agreements.into_iter().find_map(|(agrees, name)| (!agrees).then_some(name))
}

#[cfg(test)]
mod tests {
    use proto::id::ServerId;
    use proto::management::{ManagementRequest, Request};

    use super::*;

    fn asked(id: &str) -> Bytes {
        let owner = MemberId::new("DEV", "COM", "1");
        let client = owner.clone().subsystem("S");
        let request = ManagementRequest {
            server: ServerId { owner: owner.clone(), code: "SS1".into() },
            request: Request::ClientReg { client, name: None },
        };
        management::write(&request, &owner.subsystem("MANAGEMENT"), id).into()
    }

    #[test]
    fn an_answer_has_the_header_of_its_request_and_a_number() {
        let soap = asked("an-id");
        let answer = |soap: &Bytes| Bytes::from(management::answer(soap, 7).unwrap());
        let judge = |content_type: &str, body: Bytes| judge(&soap, "clientReg", 200, content_type, body);
        assert_eq!(judge("text/xml;charset=utf-8", answer(&soap)).unwrap(), 7);
        let cases = [
            ("text/html", answer(&soap), "invalid_content_type"),
            ("", answer(&soap), "invalid_content_type"),
            ("text/xml", answer(&asked("another")), "inconsistent_response"),
            ("text/xml", soap.clone(), "internal_error"),
            ("text/xml", Bytes::from_static(b"<a/>"), "invalid_soap"),
        ];
        for (content_type, body, code) in cases {
            assert_eq!(judge(content_type, body).unwrap_err().code(), code, "{content_type}");
        }
    }

    #[test]
    fn a_fault_is_passed_on() {
        let fault = Fault {
            code: "internal_error".into(),
            message: "management_request_exists with statusCode 409".into(),
            ..Fault::default()
        };
        let soap = asked("an-id");
        let error = judge(&soap, "clientReg", 500, "text/xml", fault.to_soap().into()).unwrap_err();
        assert_eq!((error.code(), error.message()), (fault.code, fault.message));
    }
}
