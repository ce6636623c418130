//! What an exchange reads of the server's state: one snapshot of each, taken at its start and kept to its end.

use std::sync::Arc;

use pki::globalconf::GlobalConf;
use proto::fault::{FaultCode, Side};
use proto::id::MemberId;
use proto::time::UnixTime;
use signer::{OwnKeys, SigningIdentity};

use crate::context::Context;
use crate::faults::Failure;
use crate::serverconf::ServerConf;

/// The snapshots of one exchange.
#[derive(Clone)]
pub struct View {
    /// Unexpired when it was taken.
    pub conf: Arc<GlobalConf>,
    /// Clients, services, rights.
    pub server: Arc<ServerConf>,
    /// Own keys.
    pub keys: Arc<OwnKeys>,
    side: Side,
}

impl View {
    /// Takes the present snapshots.
    ///
    /// # Errors
    /// `global_conf_outdated`.
    pub fn take(cx: &Context, side: Side, now: UnixTime) -> Result<Self, Failure> {
        let outdated = || {
            let message =
                "the global configuration of this security server is not valid: tell its administrator";
            Failure::new(side, &[FaultCode::GlobalConfOutdated], message)
        };
        let conf = cx.globalconf.load().as_ref().clone().ok_or_else(outdated)?;
        conf.check_valid(now).map_err(|e| outdated().because(e))?;
        Ok(Self { conf, server: cx.serverconf.load_full(), keys: cx.signer.own_keys(), side })
    }

    /// This server can show itself to others.
    ///
    /// # Errors
    /// `ssl_authentication_failed`.
    pub fn require_auth_key(&self) -> Result<(), Failure> {
        let message = "this security server has no usable authentication key: tell its administrator";
        let missing = || Failure::new(self.side, &[FaultCode::SslAuthenticationFailed], message);
        self.keys.auth.as_ref().map(|_| ()).ok_or_else(missing)
    }

    /// The signing certificate of `member`, usable at `now`.
    ///
    /// # Errors
    /// `cannot_create_signature`.
    pub fn signing(&self, member: &MemberId, now: UnixTime) -> Result<&Arc<SigningIdentity>, Failure> {
        self.keys.signing.get(member).filter(|identity| now <= identity.until).ok_or_else(|| {
            let message =
                format!("this security server has no usable signing key and certificate of {member}");
            Failure::new(self.side, &[FaultCode::CannotCreateSignature], message)
        })
    }
}
