//! What this server offers and to whom: clients, services, endpoints, access rights, local groups, TSAs.
//!
//! An event log in `state/` (decide, record, apply); the relay reads the immutable [`ServerConf`] built from it, in which rights of
//! groups are resolved against the present global configuration, so that a decision is a map lookup and a pattern match.

use std::time::Duration;

use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use proto::id::{ClientId, MemberId, ServerId, ServiceId};

/// How a client's information systems identify themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ConnectionType {
    /// HTTP or HTTPS, no certificate.
    #[serde(rename = "HTTP")]
    Http,
    /// HTTPS with a stored certificate.
    #[default]
    #[serde(rename = "HTTPS")]
    HttpsAuth,
    /// HTTPS, any certificate or none.
    #[serde(rename = "HTTPS_NO_AUTH")]
    HttpsNoAuth,
}

/// What kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ServiceKind {
    /// SOAP, from a WSDL.
    Wsdl,
    /// REST with a base path.
    Rest,
    /// REST with an OpenAPI 3 description.
    OpenApi3,
}

/// A service as the relay needs it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its identifier, version included.
    pub id: ServiceId,
    /// Its kind.
    pub kind: ServiceKind,
    /// Where the information system is.
    pub url: String,
    /// Per read; zero is without limit.
    pub timeout: Duration,
    /// Compare the TLS certificate with those stored for the client.
    pub verify_tls: bool,
    /// Disabled, with the notice to give.
    pub disabled: Option<String>,
}

/// A client of this server.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its identifier.
    pub id: ClientId,
    /// How its information systems connect.
    pub connection: ConnectionType,
    /// TLS certificates of its information systems.
    pub certs: Vec<Certificate>,
    /// Registered (others may not take part in messages).
    pub registered: bool,
}

/// The snapshot.
#[derive(Debug)]
pub struct ServerConf {
    _private: (),
}

impl ServerConf {
    /// This server.
    pub fn server_id(&self) -> &ServerId {
        todo!()
    }
    /// A client by exact identifier.
    pub fn client(&self, id: &ClientId) -> Option<&Client> {
        let _ = id;
        todo!()
    }
    /// Members that have clients here.
    pub fn members(&self) -> Vec<MemberId> {
        todo!()
    }
    /// A service by exact identifier, version included.
    pub fn service(&self, id: &ServiceId) -> Option<&Service> {
        let _ = id;
        todo!()
    }
    /// Whether `client` may call `service` with `method` on the raw (escaped) `path`. SOAP passes `None`: the service level.
    ///
    /// The path is split at `/`, each segment decoded once; dot segments, also those made by escapes, are refused for everybody
    /// (wire dossier §13.2, §22 rows 3 and 4).
    pub fn is_allowed(
        &self,
        conf: &GlobalConf,
        client: &ClientId,
        service: &ServiceId,
        endpoint: Option<(&str, &str)>,
    ) -> bool {
        let _ = (conf, client, service, endpoint);
        todo!()
    }
    /// TSAs to use: name and URL, in order.
    pub fn tsas(&self) -> &[(String, String)] {
        todo!()
    }
}
