//! What may happen to a server's own configuration, and the form in which it is stored.
//!
//! Events are small (a certificate at most) and versioned by [`Stored`]: an old version is converted there. Within a version an event
//! may come and a field may be added that has a default and is left out when it has it, so that what older programs wrote is read.
//! Whether one may happen is said in `decide`, what it does in [`super::state`]. No event carries a time or a number: times are those
//! of the log's records, numbers of things follow from the order of events.

use proto::id::{ClientId, MemberId, ServerId, Subject};
use serde::{Deserialize, Serialize};

use super::status::ClientStatus;
use super::{ConnectionType, ServiceKind};

/// An event as stored. A later version is added beside the first, and [`Stored::into_event`] converts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Stored {
    /// The first version.
    V1(Event),
}

impl Stored {
    /// The event in today's form.
    pub fn into_event(self) -> Event {
        match self {
            Self::V1(event) => event,
        }
    }
}

/// A method and path pattern of a service; `*` and `**` is the whole service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// An HTTP method in upper case, or `*`.
    pub method: String,
    /// A path pattern.
    pub path: String,
}

impl Endpoint {
    /// The endpoint that stands for the service as a whole.
    pub fn service_level() -> Self {
        Self { method: "*".into(), path: "**".into() }
    }
}

/// A timestamping service to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tsa {
    /// Its name in the global configuration.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// How a service is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// Where the information system is.
    pub url: String,
    /// Seconds; 0 is without limit.
    pub timeout_seconds: u32,
    /// Compare its TLS certificate with those stored for the client.
    pub verify_tls: bool,
    /// What its description calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// A name for a subsystem that the global configuration does not show yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingName {
    /// The name.
    pub name: String,
    /// A request with it was sent; otherwise it goes with the registration.
    pub submitted: bool,
}

/// A maintenance mode that the global configuration does not show yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaintenanceWanted {
    /// In maintenance, with a message for those who wait.
    On {
        /// The message.
        message: Option<String>,
    },
    /// Back at work.
    Off,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named after what they hold")]
pub enum Event {
    /// The server has its identity, for good; its owner becomes a client.
    ServerNamed { id: ServerId },
    /// The timestamping services, in order of use.
    TimestampingSet { tsas: Vec<Tsa> },
    /// A client is served.
    ClientAdded { client: ClientId, connection: ConnectionType },
    /// It no longer is; everything below it goes with it.
    ClientRemoved { client: ClientId },
    /// How its information systems identify themselves.
    ConnectionSet { client: ClientId, connection: ConnectionType },
    /// How far its registration is.
    ClientStatusSet { client: ClientId, status: ClientStatus },
    /// A name that the global configuration is to show.
    SubsystemNameSet { client: ClientId, name: PendingName },
    /// It shows it, or the name is not wanted any more.
    SubsystemNameCleared { client: ClientId },
    /// Another member, a client already, owns the server; the former owner stays a client.
    OwnerChanged { owner: MemberId },
    /// A TLS certificate (DER) of its information systems.
    TlsCertAdded {
        client: ClientId,
        #[serde(with = "base64_text")]
        der: Vec<u8>,
    },
    /// The certificate is not accepted any more.
    TlsCertRemoved {
        client: ClientId,
        #[serde(with = "base64_text")]
        der: Vec<u8>,
    },
    /// A description is added, disabled until [`Event::DescriptionSwitched`].
    DescriptionAdded { client: ClientId, url: String, kind: ServiceKind, disabled: Option<String> },
    /// Its services are enabled (`None`) or disabled with a notice.
    DescriptionSwitched { client: ClientId, url: String, disabled: Option<String> },
    /// It is at another place; what it describes stays.
    DescriptionMoved { client: ClientId, url: String, to: String },
    /// It was read again, or changed by hand.
    DescriptionRefreshed { client: ClientId, url: String },
    /// It goes, with its services, their endpoints and rights.
    DescriptionRemoved { client: ClientId, url: String },
    /// A service, with its service-level endpoint.
    ServiceAdded {
        client: ClientId,
        description: String,
        code: String,
        version: Option<String>,
        settings: ServiceSettings,
    },
    /// How it is called.
    ServiceChanged { client: ClientId, code: String, version: Option<String>, settings: ServiceSettings },
    /// It has another code; endpoints and rights follow.
    ServiceRenamed { client: ClientId, code: String, version: Option<String>, to: String },
    /// It goes; with the last version its endpoints and rights.
    ServiceRemoved { client: ClientId, code: String, version: Option<String> },
    /// An endpoint. Endpoints and rights belong to the code, whatever the version.
    EndpointAdded {
        client: ClientId,
        code: String,
        endpoint: Endpoint,
        /// The description names it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        generated: bool,
    },
    /// The description names an endpoint that an administrator had made.
    EndpointAdopted { client: ClientId, code: String, endpoint: Endpoint },
    /// Another method or path; its rights stay.
    EndpointChanged { client: ClientId, code: String, endpoint: Endpoint, to: Endpoint },
    /// It goes, with its rights.
    EndpointRemoved { client: ClientId, code: String, endpoint: Endpoint },
    /// A subject may call an endpoint.
    RightGranted { client: ClientId, code: String, endpoint: Endpoint, subject: Subject },
    /// It may no longer.
    RightRevoked { client: ClientId, code: String, endpoint: Endpoint, subject: Subject },
    /// A local group.
    GroupAdded { client: ClientId, group: String, description: String },
    /// What it is for.
    GroupDescribed { client: ClientId, group: String, description: String },
    /// It goes, with its rights.
    GroupRemoved { client: ClientId, group: String },
    /// A member of a local group.
    GroupMemberAdded { client: ClientId, group: String, member: ClientId },
    /// It leaves.
    GroupMemberRemoved { client: ClientId, group: String, member: ClientId },
    /// A request for another address of the server was sent (`None`: the global configuration shows it).
    AddressAsked { address: Option<String> },
    /// A request about the server's maintenance mode was sent (`None`: the global configuration shows it).
    MaintenanceAsked { wanted: Option<MaintenanceWanted> },
    /// Somebody asked for a change that the rules refuse. Changes nothing.
    Refused { change: String, reason: String },
}

/// `GET /persons/*`.
pub fn endpoint_text(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.method, endpoint.path)
}

/// DER inside JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(der: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(der))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
