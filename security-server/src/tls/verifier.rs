//! What a handshake accepts. Every verifier checks that the other side holds the key of the certificate it shows; whether the
//! certificate may be shown differs, and whether it is trusted is decided later, where the message says whose it should be.

use std::sync::Arc;

use pki::cert::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::peer::CurrentConf;

/// Any server certificate.
#[derive(Debug)]
pub(super) struct AnyServer(pub(super) WebPkiSupportedAlgorithms);

/// A client certificate is wanted; any will do, or none.
#[derive(Debug)]
pub(super) struct AnyClient(pub(super) WebPkiSupportedAlgorithms);

/// A client certificate is required, and its hash must be registered for some security server; else `certificate_unknown`.
#[derive(Debug)]
pub(super) struct RegisteredClient {
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) conf: CurrentConf,
    /// Names of all CAs, so that a peer with several certificates can choose.
    pub(super) hints: Vec<DistinguishedName>,
}

/// The certificate's hash is registered nowhere.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not registered for any security server")]
struct NotRegistered;

/// The two signature checks are the same in all three.
macro_rules! checks_signatures {
    ($algorithms:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, self.$algorithms())
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, self.$algorithms())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.$algorithms().supported_schemes()
        }
    };
}

impl AnyServer {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.0
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    checks_signatures!(algorithms);
}

impl AnyClient {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.0
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    checks_signatures!(algorithms);
}

impl RegisteredClient {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }
}

impl ClientCertVerifier for RegisteredClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let leaf = Certificate::parse(leaf).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        if self.conf.is_registered(&leaf) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::Other(OtherError(Arc::new(NotRegistered))).into())
    }
    checks_signatures!(algorithms);
}
