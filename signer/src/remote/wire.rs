//! Messages of `signer.proto`, and what they are on our side. An unknown number in an enumeration is refused, never taken for another.

use std::fmt;

use pki::algorithm::{EcdsaForm, Scheme, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::issue::Subject;
use pki::key::KeyKind;
use proto::id::MemberId;

use crate::error::TokenError;
use crate::service::{CertState, TokenService};
use crate::token::{ATTRIBUTES, CertInfo, CertStatus, CsrInfo, CsrRequest, KeyInfo, KeyUsage};
use crate::{Purpose, SignerError};

pub(crate) use generated::*;

/// What the build script makes of `signer.proto`.
#[expect(unreachable_pub, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/causeway.signer.v1.rs"));
}

/// Raised when an older side could not live with a change.
pub(crate) const VERSION: u32 = 1;

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl fmt::Debug for ChangePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangePin")
    }
}

/// A message of the protocol whose content makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request says no usable {0}")]
pub(crate) struct Unusable(pub(crate) &'static str);

impl Sign {
    pub(crate) fn new(
        key: &str,
        purpose: Purpose,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: bytes::Bytes,
    ) -> Self {
        let purpose = match purpose {
            Purpose::Message => generated::Purpose::Message,
            Purpose::ManagementRequest => generated::Purpose::ManagementRequest,
            Purpose::Registration => generated::Purpose::Registration,
            Purpose::Csr => generated::Purpose::Csr,
            Purpose::Handshake => generated::Purpose::Handshake,
            Purpose::Configuration => generated::Purpose::Configuration,
        };
        let scheme = match algorithm.scheme {
            Scheme::RsaPkcs1 => generated::Scheme::RsaPkcs1,
            Scheme::RsaPss => generated::Scheme::RsaPss,
            Scheme::Ecdsa => generated::Scheme::Ecdsa,
        };
        let digest = match algorithm.digest {
            // Nothing new is signed with SHA-1; the other side refuses it.
            DigestAlgorithm::Sha1 => Digest::Unspecified,
            DigestAlgorithm::Sha256 => Digest::Sha256,
            DigestAlgorithm::Sha384 => Digest::Sha384,
            DigestAlgorithm::Sha512 => Digest::Sha512,
        };
        let form = match form {
            EcdsaForm::Der => generated::EcdsaForm::Der,
            EcdsaForm::Raw => generated::EcdsaForm::Raw,
        };
        let key = key.to_owned();
        Self {
            key,
            purpose: purpose.into(),
            scheme: scheme.into(),
            digest: digest.into(),
            form: form.into(),
            message,
        }
    }

    pub(crate) fn read_purpose(&self) -> Result<Purpose, Unusable> {
        match self.purpose() {
            generated::Purpose::Unspecified => Err(Unusable("purpose")),
            generated::Purpose::Message => Ok(Purpose::Message),
            generated::Purpose::ManagementRequest => Ok(Purpose::ManagementRequest),
            generated::Purpose::Registration => Ok(Purpose::Registration),
            generated::Purpose::Csr => Ok(Purpose::Csr),
            generated::Purpose::Handshake => Ok(Purpose::Handshake),
            generated::Purpose::Configuration => Ok(Purpose::Configuration),
        }
    }

    pub(crate) fn read_algorithm(&self) -> Result<(SignatureAlgorithm, EcdsaForm), Unusable> {
        let scheme = match self.scheme() {
            generated::Scheme::Unspecified => return Err(Unusable("scheme")),
            generated::Scheme::RsaPkcs1 => Scheme::RsaPkcs1,
            generated::Scheme::RsaPss => Scheme::RsaPss,
            generated::Scheme::Ecdsa => Scheme::Ecdsa,
        };
        let digest = match self.digest() {
            Digest::Unspecified => return Err(Unusable("digest")),
            Digest::Sha256 => DigestAlgorithm::Sha256,
            Digest::Sha384 => DigestAlgorithm::Sha384,
            Digest::Sha512 => DigestAlgorithm::Sha512,
        };
        let form = match self.form() {
            generated::EcdsaForm::Unspecified => return Err(Unusable("form")),
            generated::EcdsaForm::Der => EcdsaForm::Der,
            generated::EcdsaForm::Raw => EcdsaForm::Raw,
        };
        Ok((SignatureAlgorithm::new(scheme, digest), form))
    }
}

impl Usage {
    pub(crate) fn of(usage: KeyUsage) -> Self {
        match usage {
            KeyUsage::Authentication => Self::Authentication,
            KeyUsage::Signing => Self::Signing,
            KeyUsage::Configuration => Self::Configuration,
            KeyUsage::Unassigned => Self::Unassigned,
        }
    }
    pub(crate) fn read(self) -> Result<KeyUsage, Unusable> {
        match self {
            Self::Unspecified => Err(Unusable("usage")),
            Self::Authentication => Ok(KeyUsage::Authentication),
            Self::Signing => Ok(KeyUsage::Signing),
            Self::Configuration => Ok(KeyUsage::Configuration),
            Self::Unassigned => Ok(KeyUsage::Unassigned),
        }
    }
}

impl Status {
    pub(crate) fn of(status: CertStatus) -> Self {
        match status {
            CertStatus::Saved => Self::Saved,
            CertStatus::RegistrationInProgress => Self::RegistrationInProgress,
            CertStatus::Registered => Self::Registered,
            CertStatus::DeletionInProgress => Self::DeletionInProgress,
            CertStatus::GlobalError => Self::GlobalError,
        }
    }
    pub(crate) fn read(self) -> Result<CertStatus, Unusable> {
        match self {
            Self::Unspecified => Err(Unusable("status")),
            Self::Saved => Ok(CertStatus::Saved),
            Self::RegistrationInProgress => Ok(CertStatus::RegistrationInProgress),
            Self::Registered => Ok(CertStatus::Registered),
            Self::DeletionInProgress => Ok(CertStatus::DeletionInProgress),
            Self::GlobalError => Ok(CertStatus::GlobalError),
        }
    }
}

impl Member {
    pub(crate) fn of(id: &MemberId) -> Self {
        Self { instance: id.instance.clone(), class: id.class.clone(), code: id.code.clone() }
    }
    pub(crate) fn read(self) -> MemberId {
        MemberId { instance: self.instance, class: self.class, code: self.code }
    }
}

impl Token {
    pub(crate) fn of(token: &dyn TokenService) -> Self {
        let certificate = |info: &CertInfo| generated::Certificate {
            der: info.cert.der().to_vec(),
            member: info.member.as_ref().map(Member::of),
            status: Status::of(info.status).into(),
            active: info.active,
        };
        let key = |key: &KeyInfo| Key {
            id: key.id.clone(),
            label: key.label.clone(),
            usage: Usage::of(key.usage).into(),
            spki: key.spki.clone(),
            certificates: key.certs.iter().map(certificate).collect(),
            name: key.name.clone(),
            csrs: key.csrs.iter().map(|csr| StoredCsr::of(&csr.id, &csr.request)).collect(),
        };
        Self {
            label: token.label(),
            logged_in: token.is_logged_in(),
            keys: token.keys().iter().map(key).collect(),
        }
    }

    /// Its keys, as an administrator sees them.
    pub(crate) fn read_keys(&self) -> Result<Vec<KeyInfo>, Unusable> {
        self.keys.iter().map(Key::read).collect()
    }
}

impl Key {
    fn read(&self) -> Result<KeyInfo, Unusable> {
        let certificate = |stored: &generated::Certificate| {
            Ok(CertInfo {
                cert: Certificate::parse(&stored.der).map_err(|_| Unusable("certificate"))?,
                member: stored.member.clone().map(Member::read),
                status: stored.status().read()?,
                active: stored.active,
            })
        };
        Ok(KeyInfo {
            id: self.id.clone(),
            label: self.label.clone(),
            name: if self.name.is_empty() { self.label.clone() } else { self.name.clone() },
            csrs: self.csrs.iter().map(StoredCsr::read).collect::<Result<_, _>>()?,
            usage: self.usage().read()?,
            spki: self.spki.clone(),
            certs: self.certificates.iter().map(certificate).collect::<Result<_, _>>()?,
        })
    }
}

impl Generate {
    pub(crate) fn new(usage: KeyUsage, kind: KeyKind, label: &str) -> Self {
        let kind = match kind {
            KeyKind::Rsa(bits) => generate::Kind::RsaBits(bits),
            KeyKind::P256 => generate::Kind::CurveBits(256),
            KeyKind::P384 => generate::Kind::CurveBits(384),
        };
        Self { usage: Usage::of(usage).into(), label: label.to_owned(), kind: Some(kind) }
    }
    pub(crate) fn read_kind(&self) -> Result<KeyKind, Unusable> {
        match self.kind {
            Some(generate::Kind::RsaBits(bits)) => Ok(KeyKind::Rsa(bits)),
            Some(generate::Kind::CurveBits(256)) => Ok(KeyKind::P256),
            Some(generate::Kind::CurveBits(384)) => Ok(KeyKind::P384),
            Some(generate::Kind::CurveBits(_)) | None => Err(Unusable("kind of key")),
        }
    }
}

impl Attribute {
    fn all(subject: &Subject) -> Vec<Self> {
        subject.iter().map(|(oid, value)| Self { oid: (*oid).to_owned(), value: value.clone() }).collect()
    }
    fn read_all(attributes: &[Self]) -> Result<Subject, Unusable> {
        let attribute = |attribute: &Self| {
            let oid = ATTRIBUTES.iter().find(|oid| **oid == attribute.oid);
            Ok((*oid.ok_or(Unusable("attribute of the subject"))?, attribute.value.clone()))
        };
        attributes.iter().map(attribute).collect()
    }
}

impl Csr {
    pub(crate) fn new(key: &str, subject: &Subject, dns_names: &[String]) -> Self {
        Self { key: key.to_owned(), subject: Attribute::all(subject), dns_names: dns_names.to_vec() }
    }
    pub(crate) fn read_subject(&self) -> Result<Subject, Unusable> {
        Attribute::read_all(&self.subject)
    }
}

impl StoredCsr {
    pub(crate) fn of(id: &str, request: &CsrRequest) -> Self {
        Self {
            id: id.to_owned(),
            member: request.member.as_ref().map(Member::of),
            profile: request.profile.clone(),
            subject: Attribute::all(&request.subject),
            dns_names: request.dns_names.clone(),
        }
    }
    pub(crate) fn read(&self) -> Result<CsrInfo, Unusable> {
        let request = CsrRequest {
            member: self.member.clone().map(Member::read),
            profile: self.profile.clone(),
            subject: Attribute::read_all(&self.subject)?,
            dns_names: self.dns_names.clone(),
        };
        Ok(CsrInfo { id: self.id.clone(), request })
    }
}

impl State {
    pub(crate) fn of(state: &CertState) -> Self {
        let (certificate, status) = (state.cert.clone(), Status::of(state.status).into());
        Self { certificate, status, active: state.active }
    }
    pub(crate) fn read(&self) -> Result<CertState, Unusable> {
        let (cert, status) = (self.certificate.clone(), self.status().read()?);
        Ok(CertState { cert, status, active: self.active })
    }
}

impl Failure {
    fn new(kind: failure::Kind, text: impl Into<String>) -> Self {
        Self { kind: kind.into(), text: text.into(), seconds: 0 }
    }

    /// For a signature.
    pub(crate) fn of_signer(error: SignerError) -> Self {
        use failure::Kind;
        match error {
            SignerError::NoKey(key) => Self::new(Kind::NoKey, key),
            SignerError::LoggedOut => Self::new(Kind::LoggedOut, ""),
            SignerError::Purpose { key, .. } => Self::new(Kind::Purpose, key),
            SignerError::Failed(reason) | SignerError::Unreachable(reason) => Self::new(Kind::Failed, reason),
        }
    }

    /// For what an administrator asked.
    pub(crate) fn of_token(error: &TokenError) -> Self {
        use failure::Kind;
        let kind = match error {
            TokenError::WrongPin => Kind::WrongPin,
            TokenError::EmptyPin => Kind::EmptyPin,
            TokenError::LoggedOut => Kind::LoggedOut,
            TokenError::ForeignCertificate => Kind::ForeignCertificate,
            TokenError::CertificateExists => Kind::CertificateExists,
            TokenError::NoKey(key) => return Self::new(Kind::NoKey, key),
            TokenError::NoCertificate(cert) => return Self::new(Kind::NoCertificate, cert),
            TokenError::NoCsr(csr) => return Self::new(Kind::NoCsr, csr),
            TokenError::Locked { seconds } => {
                return Self { kind: Kind::Locked.into(), text: String::new(), seconds: *seconds };
            }
            TokenError::Exists(_)
            | TokenError::Missing(_)
            | TokenError::InUse(_)
            | TokenError::Usage { .. }
            | TokenError::Member(_)
            | TokenError::Certificate(_)
            | TokenError::Key(_)
            | TokenError::Malformed { .. }
            | TokenError::Newer { .. }
            | TokenError::Io { .. }
            | TokenError::NoRandom
            | TokenError::Elsewhere(_) => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }

    /// For a request that makes no sense.
    pub(crate) fn of_unusable(error: Unusable) -> Self {
        Self::new(failure::Kind::Failed, error.to_string())
    }

    /// What a signature was refused for.
    pub(crate) fn into_signer(self, purpose: Purpose) -> SignerError {
        use failure::Kind;
        match self.kind() {
            Kind::NoKey => SignerError::NoKey(self.text),
            Kind::LoggedOut => SignerError::LoggedOut,
            Kind::Purpose => SignerError::Purpose { key: self.text, purpose },
            _ => SignerError::Failed(self.text),
        }
    }

    /// What an administrator was refused for.
    pub(crate) fn into_token(self) -> TokenError {
        use failure::Kind;
        match self.kind() {
            Kind::NoKey => TokenError::NoKey(self.text),
            Kind::LoggedOut => TokenError::LoggedOut,
            Kind::WrongPin => TokenError::WrongPin,
            Kind::Locked => TokenError::Locked { seconds: self.seconds },
            Kind::EmptyPin => TokenError::EmptyPin,
            Kind::NoCertificate => TokenError::NoCertificate(self.text),
            Kind::NoCsr => TokenError::NoCsr(self.text),
            Kind::ForeignCertificate => TokenError::ForeignCertificate,
            Kind::CertificateExists => TokenError::CertificateExists,
            Kind::Failed | Kind::Purpose => TokenError::Elsewhere(self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_sign_comes_through() {
        let purposes = [
            Purpose::Message,
            Purpose::ManagementRequest,
            Purpose::Registration,
            Purpose::Csr,
            Purpose::Handshake,
            Purpose::Configuration,
        ];
        for purpose in purposes {
            for scheme in [Scheme::RsaPkcs1, Scheme::RsaPss, Scheme::Ecdsa] {
                for digest in [DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512] {
                    for form in [EcdsaForm::Der, EcdsaForm::Raw] {
                        let algorithm = SignatureAlgorithm::new(scheme, digest);
                        let sign = Sign::new("AB", purpose, algorithm, form, "x".into());
                        assert_eq!(sign.read_purpose(), Ok(purpose));
                        assert_eq!(sign.read_algorithm(), Ok((algorithm, form)));
                    }
                }
            }
        }
        let algorithm = SignatureAlgorithm::new(Scheme::Ecdsa, DigestAlgorithm::Sha1);
        let sign = Sign::new("AB", Purpose::Message, algorithm, EcdsaForm::Raw, "x".into());
        assert_eq!(sign.read_algorithm(), Err(Unusable("digest")));
        let sign = Sign { purpose: 99, scheme: 99, ..sign };
        assert_eq!((sign.read_purpose(), sign.read_algorithm().is_err()), (Err(Unusable("purpose")), true));
    }

    #[test]
    fn refusals_come_through() {
        let errors = [
            TokenError::WrongPin,
            TokenError::EmptyPin,
            TokenError::LoggedOut,
            TokenError::ForeignCertificate,
            TokenError::CertificateExists,
            TokenError::NoKey("AB".to_owned()),
            TokenError::NoCertificate("cd".to_owned()),
            TokenError::NoCsr("ef".to_owned()),
            TokenError::Locked { seconds: 7 },
            TokenError::NoRandom,
        ];
        for error in errors {
            let sentence = error.to_string();
            assert_eq!(Failure::of_token(&error).into_token().to_string(), sentence);
        }
        let errors = [
            SignerError::NoKey("AB".to_owned()),
            SignerError::LoggedOut,
            SignerError::Purpose { key: "AB".to_owned(), purpose: Purpose::Csr },
            SignerError::Failed("why".to_owned()),
        ];
        for error in errors {
            assert_eq!(Failure::of_signer(error.clone()).into_signer(Purpose::Csr), error);
        }
    }

    #[test]
    fn pins_are_not_printed() {
        let login = Login { pin: "8642".to_owned() };
        let change = ChangePin { old: "8642".to_owned(), new: "8642".to_owned() };
        assert!(!format!("{login:?} {change:?}").contains("8642"));
    }
}
