//! Management requests: what this server asks of the central server, and how it follows what came of it [PR-MSERV].
//!
//! | Module | Holds |
//! |---|---|
//! | this | [`Management`]: asks, by the way that each request takes |
//! | [`document`] | a request as bytes, with its signatures |
//! | [`answer`] | what came back; errors |
//! | [`settings`] | time limits |
//!
//! Registrations of authentication certificates go straight to the registration service that the configuration names, whose certificate
//! must be the one in the configuration. All others are messages of the server's owner to the subsystem that offers the management
//! services: they go through this server's own client proxy, are signed, logged and answered like any message.
//!
//! Nothing is sent twice: a request that got no answer may have been accepted, and the registry refuses a second one by name.

use std::sync::Arc;
use std::time::Duration;

use host::http::Client;
use pki::globalconf::GlobalConf;
use proto::fault::FaultCode;
use proto::id::MemberId;
use proto::management::{ManagementRequest, Request};
use signer::token::{CertInfo, CertStatus, KeyUsage};
use signer::{SigningIdentity, TokenService};
use tokio::time::{Instant, sleep, timeout};

use crate::client_proxy::own;
use crate::foundation::Foundation;

pub mod answer;
pub mod document;
pub mod settings;

pub use answer::SendError;
use answer::{MAX_ANSWER, judge};
use document::{AuthCert, Marks};

/// Between looks whether a key can be used by now.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Asks the central server.
#[derive(Clone, Copy)]
pub struct Management<'a> {
    foundation: &'a Foundation,
}

impl<'a> Management<'a> {
    /// For this server.
    pub fn new(foundation: &'a Foundation) -> Self {
        Self { foundation }
    }

    /// Asks that an authentication certificate be registered, with the server's address. Gives the number of the request.
    ///
    /// # Errors
    /// It was not accepted.
    pub async fn register(self, auth: &AuthCert, address: Option<String>) -> Result<u64, SendError> {
        let limits = &self.foundation.settings.management;
        let conf = self.conf()?;
        let private = conf.private().ok_or(SendError::Outdated)?;
        let request = Request::AuthCertReg { address, cert: auth.cert.der().to_vec(), dry_run: false };
        let asked = self.about_this_server(request)?;
        let owner = self.signing(&asked.server.owner).await?;
        let signer = self.token()?.as_ref();
        let provider = &private.management_provider;
        let sent = document::registration(signer, &asked, provider, &marks(), auth, &owner).await?;
        let pin = private.auth_cert_reg_cert.clone().ok_or(SendError::NoRegistrationCert)?;
        let http = Client::pinned(limits.registration_connect, limits.registration, pin);
        let url = &private.auth_cert_reg_address;
        let got = http.post(url, &sent.content_type, sent.body, MAX_ANSWER).await?;
        let number = judge(&sent.soap, asked.request.code(), got.status, &got.content_type, got.body)?;
        accepted(&asked, number);
        Ok(number)
    }

    /// Asks the registration service something that it can only refuse, which shows that it is there: a registration without any proof.
    ///
    /// # Errors
    /// It is not reached, or answers something else than that refusal.
    pub async fn ask_registration_service(self) -> Result<(), SendError> {
        let limits = &self.foundation.settings.management;
        let conf = self.conf()?;
        let private = conf.private().ok_or(SendError::Outdated)?;
        let request = Request::AuthCertReg { address: None, cert: Vec::new(), dry_run: true };
        let asked = self.about_this_server(request)?;
        let sent = document::question(&asked, &private.management_provider, &marks());
        let pin = private.auth_cert_reg_cert.clone().ok_or(SendError::NoRegistrationCert)?;
        let http = Client::pinned(limits.registration_connect, limits.registration, pin);
        let url = &private.auth_cert_reg_address;
        let got = http.post(url, &sent.content_type, sent.body, MAX_ANSWER).await?;
        match judge(&sent.soap, asked.request.code(), got.status, &got.content_type, got.body) {
            Ok(_) => Ok(()),
            Err(SendError::Fault(fault)) if is_invalid_request(&fault.code) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks for anything but a registration of an authentication certificate. Gives the number of the request.
    ///
    /// # Errors
    /// It was not accepted.
    pub async fn ask(self, request: Request) -> Result<u64, SendError> {
        let limit = self.foundation.settings.management.request;
        let conf = self.conf()?;
        let provider = &conf.private().ok_or(SendError::Outdated)?.management_provider;
        let asked = self.about_this_server(request)?;
        self.authentication().await?;
        let sent = match signer_of(&asked) {
            None => document::plain(&asked, provider, &marks()),
            Some(member) => {
                let identity = self.signing(member).await?;
                document::signed(self.token()?.as_ref(), &asked, provider, &marks(), &identity).await?
            }
        };
        let relay = self.foundation.relay().ok_or(SendError::NotInitialised)?;
        let message = own::send(relay, &sent.content_type, sent.body, MAX_ANSWER);
        let got = timeout(limit, message).await.map_err(|_| SendError::Timeout)??;
        let number = judge(&sent.soap, asked.request.code(), got.status, &got.content_type, got.body)?;
        accepted(&asked, number);
        Ok(number)
    }

    fn conf(self) -> Result<Arc<GlobalConf>, SendError> {
        self.foundation.valid_globalconf().ok_or(SendError::Outdated)
    }

    fn token(self) -> Result<&'a Arc<dyn TokenService>, SendError> {
        self.foundation.token.get().ok_or(SendError::NotInitialised)
    }

    fn about_this_server(self, request: Request) -> Result<ManagementRequest, SendError> {
        let server = self.foundation.server_id().ok_or(SendError::NotInitialised)?;
        Ok(ManagementRequest { server, request })
    }

    /// The signing certificate in use of a member. One that was imported a moment ago has no OCSP answer yet.
    async fn signing(self, member: &MemberId) -> Result<Arc<SigningIdentity>, SendError> {
        let token = self.token()?;
        let usable = || {
            let now = self.foundation.clock.now();
            token.own_keys().signing.get(member).filter(|identity| now <= identity.until).cloned()
        };
        let hoped_for = || has_live(token.as_ref(), KeyUsage::Signing, Some(member));
        self.wait_for(usable, hoped_for).await.ok_or_else(|| SendError::NoSigningKey(member.clone()))
    }

    /// An authentication certificate is in use; one that was registered a moment ago has no OCSP answer yet.
    async fn authentication(self) -> Result<(), SendError> {
        let token = self.token()?;
        let usable = || token.own_keys().auth.as_ref().map(|_| ());
        let hoped_for = || has_live(token.as_ref(), KeyUsage::Authentication, None);
        self.wait_for(usable, hoped_for).await.ok_or(SendError::NoAuthKey)
    }

    /// What `usable` gives, within the time for OCSP answers and as long as there is hope.
    async fn wait_for<T>(self, usable: impl Fn() -> Option<T>, hoped_for: impl Fn() -> bool) -> Option<T> {
        let until = Instant::now() + self.foundation.settings.management.key_wait;
        loop {
            if let Some(found) = usable() {
                return Some(found);
            }
            if Instant::now() >= until || !hoped_for() {
                return None;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// The last step of the code, in either spelling.
fn is_invalid_request(code: &str) -> bool {
    let last = code.rsplit('.').next().unwrap_or_default();
    FaultCode::InvalidRequest.spellings().contains(&last)
}

/// There is a certificate that is in use as far as the administrator and the registry are concerned.
fn has_live(token: &dyn TokenService, usage: KeyUsage, member: Option<&MemberId>) -> bool {
    let keys = token.keys();
    let mut certs = keys.iter().filter(|key| key.usage == usage).flat_map(|key| &key.certs);
    let live = |cert: &CertInfo| cert.active && cert.status == CertStatus::Registered;
    token.is_logged_in() && certs.any(|cert| live(cert) && cert.member.as_ref() == member)
}

/// Whose signature proves a request; `None` where the message that carries it is proof enough.
fn signer_of(asked: &ManagementRequest) -> Option<&MemberId> {
    match &asked.request {
        Request::AuthCertDeletion { .. } | Request::ClientDeletion { .. } => None,
        Request::ClientReg { client, .. }
        | Request::ClientDisable { client }
        | Request::ClientEnable { client }
        | Request::ClientRename { client, .. }
        | Request::OwnerChange { client } => Some(&client.member),
        Request::AuthCertReg { .. }
        | Request::AddressChange { .. }
        | Request::MaintenanceModeEnable { .. }
        | Request::MaintenanceModeDisable => Some(&asked.server.owner),
    }
}

fn marks() -> Marks {
    Marks { id: uuid::Uuid::new_v4().to_string(), boundary: crate::exchange::writing::random_boundary() }
}

fn accepted(asked: &ManagementRequest, number: u64) {
    let (request, server) = (asked.request.code(), &asked.server);
    tracing::info!(request, %server, number, "a management request was accepted");
}
