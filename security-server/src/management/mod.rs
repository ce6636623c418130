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
use proto::id::MemberId;
use proto::management::{ManagementRequest, Request};
use signer::token::{CertStatus, KeyUsage};
use signer::{SigningIdentity, TokenService};
use tokio::time::{Instant, sleep, timeout};

use crate::client_proxy::own;
use crate::context::Context;

pub mod answer;
pub mod document;
pub mod settings;

pub use answer::SendError;
use answer::{MAX_ANSWER, judge};
use document::{AuthCert, Marks};

/// Between looks whether a key can be used by now.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Asks the central server. Cheap to clone.
#[derive(Clone)]
pub struct Management {
    cx: Context,
    token: Arc<dyn TokenService>,
}

impl Management {
    /// For the server of this context.
    pub fn new(cx: Context, token: Arc<dyn TokenService>) -> Self {
        Self { cx, token }
    }

    /// Asks that an authentication certificate be registered, with the server's address. Gives the number of the request.
    ///
    /// # Errors
    /// It was not accepted.
    pub async fn register(&self, auth: &AuthCert, address: Option<String>) -> Result<u64, SendError> {
        let limits = &self.cx.settings.management;
        let conf = self.conf()?;
        let private = conf.private().ok_or(SendError::Outdated)?;
        let request = Request::AuthCertReg { address, cert: auth.cert.der().to_vec(), dry_run: false };
        let asked = self.about_this_server(request);
        let owner = self.signing(&asked.server.owner).await?;
        let signer = self.token.as_ref();
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

    /// Asks for anything but a registration of an authentication certificate. Gives the number of the request.
    ///
    /// # Errors
    /// It was not accepted.
    pub async fn ask(&self, request: Request) -> Result<u64, SendError> {
        let limit = self.cx.settings.management.request;
        let conf = self.conf()?;
        let provider = &conf.private().ok_or(SendError::Outdated)?.management_provider;
        let asked = self.about_this_server(request);
        self.authentication().await?;
        let sent = match signer_of(&asked) {
            None => document::plain(&asked, provider, &marks()),
            Some(member) => {
                let identity = self.signing(member).await?;
                document::signed(self.token.as_ref(), &asked, provider, &marks(), &identity).await?
            }
        };
        let message = own::send(&self.cx, &sent.content_type, sent.body, MAX_ANSWER);
        let got = timeout(limit, message).await.map_err(|_| SendError::Timeout)??;
        let number = judge(&sent.soap, asked.request.code(), got.status, &got.content_type, got.body)?;
        accepted(&asked, number);
        Ok(number)
    }

    fn conf(&self) -> Result<Arc<GlobalConf>, SendError> {
        let conf = self.cx.globalconf.load().as_ref().clone().ok_or(SendError::Outdated)?;
        conf.check_valid(self.cx.clock.now()).map_err(|_| SendError::Outdated)?;
        Ok(conf)
    }

    fn about_this_server(&self, request: Request) -> ManagementRequest {
        ManagementRequest { server: self.cx.serverconf.load().server_id().clone(), request }
    }

    /// The signing certificate in use of a member. One that was imported a moment ago has no OCSP answer yet.
    async fn signing(&self, member: &MemberId) -> Result<Arc<SigningIdentity>, SendError> {
        let usable = || {
            let now = self.cx.clock.now();
            self.token.own_keys().signing.get(member).filter(|identity| now <= identity.until).cloned()
        };
        let hoped_for = || self.has_live(KeyUsage::Signing, Some(member));
        self.wait_for(usable, hoped_for).await.ok_or_else(|| SendError::NoSigningKey(member.clone()))
    }

    /// An authentication certificate is in use; one that was registered a moment ago has no OCSP answer yet.
    async fn authentication(&self) -> Result<(), SendError> {
        let usable = || self.token.own_keys().auth.as_ref().map(drop);
        let hoped_for = || self.has_live(KeyUsage::Authentication, None);
        self.wait_for(usable, hoped_for).await.ok_or(SendError::NoAuthKey)
    }

    /// What `usable` gives, within the time for OCSP answers and as long as there is hope.
    async fn wait_for<T>(&self, usable: impl Fn() -> Option<T>, hoped_for: impl Fn() -> bool) -> Option<T> {
        let until = Instant::now() + self.cx.settings.management.key_wait;
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

    /// A certificate that is in use as far as the administrator and the registry are concerned.
    fn has_live(&self, usage: KeyUsage, member: Option<&MemberId>) -> bool {
        let keys = self.token.keys();
        let mut certs = keys.iter().filter(|key| key.usage == usage).flat_map(|key| &key.certs);
        self.token.is_logged_in()
            && certs.any(|cert| {
                cert.active && cert.status == CertStatus::Registered && cert.member.as_ref() == member
            })
    }
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
