//! What a management request must fulfil before the registry is asked: framing, signatures, certificates, who asks for
//! whom. Pure: state, configuration, bytes and time come in.

use bytes::Bytes;
use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::chain;
use pki::globalconf::GlobalConf;
use pki::trust::{self as pki_trust, TrustError};
use proto::fault::FaultCode;
use proto::id::{ClientId, MemberId, ServerId};
use proto::management::{self, ManagementRequest, Part, Request};
use proto::soap::{Soap, SoapHeader, parse};
use proto::time::UnixTime;

use super::Service;
use crate::registry::RequestKind;
use crate::registry::State;
use crate::registry::event::Blob;

/// Why a request goes no further; the sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of the fault.
    pub code: FaultCode,
    /// Of the fault.
    pub message: String,
}

impl Refused {
    /// Not a request that is taken.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: FaultCode::InvalidRequest, message: message.into() }
    }

    fn cert(message: impl Into<String>) -> Self {
        Self { code: FaultCode::CertValidation, message: message.into() }
    }
}

/// A request that the registry may be asked.
#[derive(Clone, Debug)]
pub struct Judged {
    /// About which server.
    pub server: ServerId,
    /// What is asked for; `None` only wanted to know whether it could be.
    pub kind: Option<RequestKind>,
    /// The document, to be answered.
    pub soap: Bytes,
}

/// Judges a request.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge(
    service: Service,
    state: &State,
    conf: &GlobalConf,
    content_type: &str,
    body: &Bytes,
    now: UnixTime,
) -> Result<Judged, Refused> {
    let parts = management::parts(content_type, body).map_err(|error| Refused::invalid(error.to_string()))?;
    let soap = parts.first().ok_or_else(|| Refused::invalid("the request is empty"))?;
    let header = header_of(soap)?;
    let asked = management::read(&soap.bytes).map_err(|error| Refused::invalid(error.to_string()))?;
    match (&asked.request, service) {
        (Request::AuthCertReg { .. }, Service::Registration) => {
            check_registration(state, conf, &header, &asked, &parts, now)?;
        }
        (Request::AuthCertReg { .. }, Service::Management) | (_, Service::Registration) => {
            return Err(Refused::invalid("the request is not for this service"));
        }
        (request, Service::Management) if request.is_signed() => {
            check_signed(conf, &header, &asked, &parts, now)?;
        }
        (_, Service::Management) => {
            check_server(&asked.server)?;
            check_sender(&header, &asked.server)?;
        }
    }
    let soap = soap.bytes.clone();
    Ok(Judged { kind: kind(&asked)?, server: asked.server, soap })
}

fn header_of(soap: &Part) -> Result<SoapHeader, Refused> {
    match parse(soap.bytes.clone(), &soap.content_type) {
        Ok(Soap::Message(message)) if !message.is_response => Ok(message.header),
        Ok(_) => Err(Refused::invalid("the document is not a request")),
        Err(error) => Err(Refused::invalid(error.to_string())),
    }
}

/// Two signatures over the document, and the certificate that is to be registered.
fn check_registration(
    state: &State,
    conf: &GlobalConf,
    header: &SoapHeader,
    asked: &ManagementRequest,
    parts: &[Part],
    now: UnixTime,
) -> Result<(), Refused> {
    let Request::AuthCertReg { address, cert, .. } = &asked.request else {
        return Err(Refused::invalid("the request is no registration"));
    };
    let algorithm = |index: usize, whose: &str| {
        let name = parts.get(index).and_then(|part| part.algorithm.as_deref());
        name.ok_or_else(|| Refused::invalid(format!("{whose} signature algorithm id is missing")))
    };
    let auth_algorithm = algorithm(1, "Auth")?;
    let owner_algorithm = algorithm(2, "Owner")?;
    let [soap, auth_signature, owner_signature, auth_cert, owner_cert, owner_ocsp] = parts else {
        return Err(Refused::invalid("a registration has six parts"));
    };
    let auth = certificate(auth_cert)?;
    let owner = certificate(owner_cert)?;
    check_signature(&auth, auth_algorithm, soap, auth_signature)?;
    check_signature(&owner, owner_algorithm, soap, owner_signature)?;
    check_server(&asked.server)?;
    check_sender(header, &asked.server)?;
    if state.management_provider.as_ref() != Some(&header.service.client) {
        return Err(Refused::invalid("the service is not of the provider of management services"));
    }
    if state.instance.as_deref() != Some(&header.client.member.instance) {
        return Err(Refused::invalid("the sender is of another instance"));
    }
    check_signer(conf, &owner, owner_ocsp, &asked.server.owner, now)?;
    if auth.der() != cert.as_slice() {
        return Err(Refused::cert("the certificate in the document is not the one that signed it"));
    }
    check_authentication(conf, &auth, &asked.server.owner.instance, now)?;
    match address {
        Some(address) => check_address(address),
        None => Ok(()),
    }
}

/// An authentication certificate that an approved CA has issued and that holds.
fn check_authentication(
    conf: &GlobalConf,
    cert: &Certificate,
    instance: &str,
    now: UnixTime,
) -> Result<(), Refused> {
    if cert.is_authentication() != Ok(true) {
        return Err(Refused::cert("the certificate is not for authentication"));
    }
    let ca = conf.ca_for(cert, instance);
    let ca = ca.ok_or_else(|| Refused::cert("no approved CA has issued the authentication certificate"))?;
    chain::build(cert, &[], &ca.cert, now).map(drop).map_err(|error| Refused::cert(error.to_string()))
}

/// One signature over the document, of the member that the request is about.
fn check_signed(
    conf: &GlobalConf,
    header: &SoapHeader,
    asked: &ManagementRequest,
    parts: &[Part],
    now: UnixTime,
) -> Result<(), Refused> {
    let algorithm = parts.get(1).and_then(|part| part.algorithm.as_deref());
    let algorithm = algorithm.ok_or_else(|| Refused::invalid("Signature algorithm id is missing"))?;
    let [soap, signature, cert, ocsp] = parts else {
        return Err(Refused::invalid("a signed request has four parts"));
    };
    let cert = certificate(cert)?;
    check_signature(&cert, algorithm, soap, signature)?;
    check_server(&asked.server)?;
    check_sender(header, &asked.server)?;
    let member = match &asked.request {
        Request::ClientReg { client, .. }
        | Request::ClientDisable { client }
        | Request::ClientEnable { client }
        | Request::ClientRename { client, .. }
        | Request::OwnerChange { client } => &client.member,
        _ => &asked.server.owner,
    };
    check_signer(conf, &cert, ocsp, member, now)
}

fn certificate(part: &Part) -> Result<Certificate, Refused> {
    Certificate::parse(&part.bytes)
        .map_err(|error| Refused { code: FaultCode::IncorrectCertificate, message: error.to_string() })
}

fn check_signature(
    cert: &Certificate,
    algorithm: &str,
    soap: &Part,
    signature: &Part,
) -> Result<(), Refused> {
    let wrong = |message: String| Refused { code: FaultCode::InvalidSignatureValue, message };
    let known = SignatureAlgorithm::from_jca_name(algorithm)
        .ok_or_else(|| wrong(format!("{algorithm} is no signature algorithm that is taken")))?;
    cert.verify(known, EcdsaForm::Der, &soap.bytes, &signature.bytes)
        .map_err(|error| wrong(format!("the signature does not verify: {error}")))
}

/// A signing certificate of `member` that holds and is good by the OCSP answer sent along.
fn check_signer(
    conf: &GlobalConf,
    cert: &Certificate,
    ocsp: &Part,
    member: &MemberId,
    now: UnixTime,
) -> Result<(), Refused> {
    let outcome = pki_trust::signer(conf, cert, &[], &[ocsp.bytes.to_vec()], member, now);
    outcome.map(drop).map_err(|error| {
        let code = match &error {
            TrustError::OtherMember { .. } | TrustError::Profile(_) => FaultCode::InvalidRequest,
            other => match other.fault_path().last() {
                Some(FaultCode::IncorrectValidationInfo) => FaultCode::IncorrectValidationInfo,
                _ => FaultCode::CertValidation,
            },
        };
        Refused { code, message: error.to_string() }
    })
}

/// Codes that may stand in an identifier.
fn check_server(server: &ServerId) -> Result<(), Refused> {
    let fits = |code: &str| {
        !code.is_empty()
            && !proto::id::has_discouraged_character(code)
            && !code.chars().any(char::is_whitespace)
    };
    let codes = [&server.owner.instance, &server.owner.class, &server.owner.code, &server.code];
    if codes.into_iter().all(|code| fits(code)) {
        return Ok(());
    }
    let message = "the server identifier has characters that no code may have".to_owned();
    Err(Refused { code: FaultCode::InvalidClientIdentifier, message })
}

fn check_sender(header: &SoapHeader, server: &ServerId) -> Result<(), Refused> {
    let owner = ClientId { member: server.owner.clone(), subsystem: None };
    if header.client == owner {
        return Ok(());
    }
    Err(Refused::invalid("Sender does not match server owner."))
}

fn check_address(address: &str) -> Result<(), Refused> {
    if admin_api::check::is_host_address(address) {
        return Ok(());
    }
    Err(Refused::invalid("Invalid server address"))
}

/// What the registry is asked.
fn kind(asked: &ManagementRequest) -> Result<Option<RequestKind>, Refused> {
    let subsystem_name = |client: &ClientId, name: &str| {
        if client.subsystem.is_none() {
            return Err(Refused::invalid("Only name of subsystem can be changed"));
        }
        let fits =
            !name.trim().is_empty() && name.chars().count() <= 255 && !name.chars().any(char::is_control);
        if fits { Ok(name.to_owned()) } else { Err(Refused::invalid("Invalid subsystem name")) }
    };
    Ok(Some(match asked.request.clone() {
        Request::AuthCertReg { dry_run: true, .. } => return Ok(None),
        Request::AuthCertReg { address, cert, .. } => {
            RequestKind::AuthCertRegistration { cert: Blob(cert), address }
        }
        Request::AuthCertDeletion { cert } => RequestKind::AuthCertDeletion { cert: Blob(cert) },
        Request::ClientReg { client, name } => {
            let name = name.filter(|_| client.subsystem.is_some());
            let name = name.map(|name| subsystem_name(&client, &name)).transpose()?;
            RequestKind::ClientRegistration { client, name }
        }
        Request::ClientDeletion { client } => RequestKind::ClientDeletion { client },
        Request::ClientDisable { client } => RequestKind::ClientDisable { client },
        Request::ClientEnable { client } => RequestKind::ClientEnable { client },
        Request::ClientRename { client, name } => {
            let name = subsystem_name(&client, &name)?;
            RequestKind::ClientRename { client, name }
        }
        Request::OwnerChange { client } => RequestKind::OwnerChange { client },
        Request::AddressChange { address } => {
            check_address(&address)?;
            RequestKind::AddressChange { address }
        }
        Request::MaintenanceModeEnable { message } => RequestKind::MaintenanceEnable { message },
        Request::MaintenanceModeDisable => RequestKind::MaintenanceDisable,
    }))
}
