//! May this connection speak for that client?

use pki::cert::Certificate;
use proto::fault::{FaultCode, Side};
use proto::id::ClientId;
use proto::time::UnixTime;

use super::Caller;
use crate::context::Context;
use crate::faults::{Failure, Faulty};
use crate::serverconf::{Client, ConnectionType, ServerConf};

/// Why an information system may not speak for a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallerError {
    /// Not a registered client of this server.
    #[error(
        "{0} is not a client of this security server: register it here, or use the server where it is registered"
    )]
    UnknownClient(ClientId),
    /// HTTP where HTTPS is demanded.
    #[error("{0} takes part over HTTPS only")]
    Plaintext(ClientId),
    /// No certificate.
    #[error("{0} identifies its information systems by TLS certificates, and none was shown")]
    NoCertificate(ClientId),
    /// No stored certificate.
    #[error("{0} identifies its information systems by TLS certificates, and none is stored for it")]
    NoneStored(ClientId),
    /// Another certificate.
    #[error("the TLS certificate that was shown is none of those stored for {0}")]
    OtherCertificate(ClientId),
    /// Expired or not yet valid, where that counts.
    #[error("the TLS certificate that was shown for {0} is not valid at this time")]
    Validity(ClientId),
}

impl Faulty for CallerError {
    fn path(&self) -> Vec<FaultCode> {
        match self {
            Self::UnknownClient(_) => vec![FaultCode::UnknownMember],
            Self::Plaintext(_)
            | Self::NoCertificate(_)
            | Self::NoneStored(_)
            | Self::OtherCertificate(_)
            | Self::Validity(_) => vec![FaultCode::SslAuthenticationFailed],
        }
    }
}

/// The caller may speak for `client`; [`Caller::speaks_for`] alone makes one.
#[derive(Debug)]
pub(super) struct Admitted {
    _proof: (),
}

impl Caller {
    /// Whether this connection may speak for `client`.
    pub(super) fn speaks_for(
        &self,
        cx: &Context,
        server: &ServerConf,
        client: &ClientId,
        now: UnixTime,
    ) -> Result<Admitted, Failure> {
        let enforce = cx.settings.enforce_client_cert_validity;
        let known = server.client(client).filter(|known| known.registered);
        known
            .ok_or_else(|| CallerError::UnknownClient(client.clone()))
            .and_then(|known| self.check(known, &cx.internal_tls.cert(), enforce, now))
            .map_err(|error| Failure::of(Side::ClientProxy, &error))
    }

    fn check(
        &self,
        client: &Client,
        own: &Certificate,
        enforce: bool,
        now: UnixTime,
    ) -> Result<Admitted, CallerError> {
        let id = || client.id.clone();
        match client.connection {
            ConnectionType::Http => {}
            ConnectionType::HttpsNoAuth if self.secure => {}
            ConnectionType::HttpsNoAuth => return Err(CallerError::Plaintext(id())),
            ConnectionType::HttpsAuth => {
                let shown = self.cert.as_ref().ok_or_else(|| CallerError::NoCertificate(id()))?;
                if shown.der() != own.der() {
                    compare(shown, client)?;
                    check_validity(shown, client, enforce, now)?;
                }
            }
        }
        Ok(Admitted { _proof: () })
    }
}

fn compare(shown: &Certificate, client: &Client) -> Result<(), CallerError> {
    if client.certs.is_empty() {
        return Err(CallerError::NoneStored(client.id.clone()));
    }
    let stored = client.certs.iter().any(|cert| cert.der() == shown.der());
    stored.then_some(()).ok_or_else(|| CallerError::OtherCertificate(client.id.clone()))
}

fn check_validity(
    shown: &Certificate,
    client: &Client,
    enforce: bool,
    now: UnixTime,
) -> Result<(), CallerError> {
    if shown.not_before() <= now && now <= shown.not_after() {
        return Ok(());
    }
    if enforce {
        return Err(CallerError::Validity(client.id.clone()));
    }
    tracing::warn!(client = %client.id, subject = shown.subject(), "an information system's certificate is not valid at this time");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAY, NOW, ca, client};

    /// How a client's information systems identify themselves, with which connection.
    #[test]
    fn the_connection_type_decides_who_may_speak() {
        let ((_, stored), (_, other), (_, own)) = (ca().tls("IS"), ca().tls("other"), ca().tls("own"));
        let plain = || Caller { secure: false, cert: None };
        let shows = |cert: Option<&Certificate>| Caller { secure: true, cert: cert.cloned() };
        let registered = |connection, certs: &[&Certificate]| Client {
            id: client("EE/GOV/1/x"),
            connection,
            certs: certs.iter().map(|cert| (*cert).clone()).collect(),
            registered: true,
        };
        use ConnectionType::{Http, HttpsAuth, HttpsNoAuth};
        let id = || client("EE/GOV/1/x");
        let cases = [
            (Http, plain(), None),
            (Http, shows(None), None),
            (Http, shows(Some(&other)), None),
            (HttpsNoAuth, plain(), Some(CallerError::Plaintext(id()))),
            (HttpsNoAuth, shows(None), None),
            (HttpsNoAuth, shows(Some(&other)), None),
            (HttpsAuth, plain(), Some(CallerError::NoCertificate(id()))),
            (HttpsAuth, shows(None), Some(CallerError::NoCertificate(id()))),
            (HttpsAuth, shows(Some(&other)), Some(CallerError::OtherCertificate(id()))),
            (HttpsAuth, shows(Some(&stored)), None),
            // The server's own certificate speaks for every client.
            (HttpsAuth, shows(Some(&own)), None),
        ];
        for (connection, caller, expected) in cases {
            let found = caller.check(&registered(connection, &[&stored]), &own, true, NOW).err();
            assert_eq!(found, expected, "{connection:?} {caller:?}");
        }
        let none = registered(HttpsAuth, &[]);
        let found = shows(Some(&stored)).check(&none, &own, true, NOW).err();
        assert_eq!(found, Some(CallerError::NoneStored(id())));
        assert!(shows(Some(&own)).check(&none, &own, true, NOW).is_ok());
    }

    #[test]
    fn the_time_of_a_certificate_counts_where_the_settings_say_so() {
        let ((_, stored), (_, own)) = (ca().tls("IS"), ca().tls("own"));
        let caller = Caller { secure: true, cert: Some(stored.clone()) };
        let id = client("EE/GOV/1/x");
        let connection = ConnectionType::HttpsAuth;
        let known = Client { id: id.clone(), connection, certs: vec![stored.clone()], registered: true };
        let cases = [
            (stored.not_before(), true),
            (stored.not_before().minus(DAY), false),
            (stored.not_after(), true),
            (stored.not_after().plus(DAY), false),
        ];
        for (now, valid) in cases {
            let found = caller.check(&known, &own, true, now).err();
            assert_eq!(found, (!valid).then(|| CallerError::Validity(id.clone())), "{now:?}");
            assert!(caller.check(&known, &own, false, now).is_ok(), "a warning only");
        }
    }

    #[test]
    fn what_the_caller_is_told_has_two_codes() {
        let id = || client("EE/GOV/1/x");
        assert_eq!(CallerError::UnknownClient(id()).path(), [FaultCode::UnknownMember]);
        let others = [
            CallerError::Plaintext(id()),
            CallerError::NoCertificate(id()),
            CallerError::NoneStored(id()),
            CallerError::OtherCertificate(id()),
            CallerError::Validity(id()),
        ];
        for error in others {
            assert_eq!(error.path(), [FaultCode::SslAuthenticationFailed], "{error}");
        }
    }
}
