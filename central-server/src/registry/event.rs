//! What was decided, as it is stored for good. **Stored types**: their JSON stands in the event log of every installation.
//!
//! A field may be added with a default; anything else needs a new variant, and the old one stays readable. Binary values are base64.
//! An event fits a value of the store, so certificates and anchors are bounded and files of parts are kept beside the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::globalconf::shared_parameters::CostType;
use proto::id::{ClientId, MemberId, ServerId};
use proto::time::UnixTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::request::{Origin, RequestKind, Status};

/// SHA-256 of a certificate in lower-case hex.
pub type CertId = String;

/// Bytes that are base64 in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map(Self).map_err(de::Error::custom)
    }
}

/// Which of the two configuration sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// For the instance's own security servers.
    Internal,
    /// For federated instances.
    External,
}

impl SourceKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Internal, Self::External];

    /// In paths and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
        }
    }

    /// Name of its directory.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Internal => "internalconf",
            Self::External => "externalconf",
        }
    }
}

/// An ACME server of a certification service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Acme {
    /// Directory URL.
    pub directory_url: String,
    /// For operators' firewalls.
    pub ip_address: Option<String>,
    /// Profile for authentication certificates.
    pub authentication_profile: Option<String>,
    /// Profile for signing certificates.
    pub signing_profile: Option<String>,
}

/// An approved certification service, without its CAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaProfile {
    /// Display name.
    pub name: String,
    /// Not for signatures.
    pub authentication_only: bool,
    /// Class name of the certificate profile, in full.
    pub profile: String,
    /// `PEM` or `DER`.
    pub default_csr_format: Option<String>,
    /// Its ACME server.
    pub acme: Option<Acme>,
}

/// An OCSP responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Responder {
    /// Its number; given when it is added.
    #[serde(default)]
    pub number: u64,
    /// Where.
    pub url: String,
    /// DER of an explicitly trusted certificate.
    pub cert: Option<Blob>,
    /// What it costs.
    pub cost: CostType,
}

/// A timestamping service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tsa {
    /// Its number; given when it is added.
    #[serde(default)]
    pub number: u64,
    /// Display name.
    pub name: String,
    /// Where.
    pub url: String,
    /// DER of the certificate that signs tokens.
    pub cert: Blob,
    /// What it costs.
    pub cost: CostType,
}

/// A published optional part; its bytes lie beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PublishedPart {
    /// Such as `MONITORING`.
    pub content_identifier: String,
    /// Such as `monitoring-params.xml`.
    pub file_name: String,
    /// SHA-256 of its bytes in lower-case hex: the name of the file that holds them.
    pub digest: String,
    /// When it was published; known from when its event was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<UnixTime>,
}

/// Something that was decided, or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[expect(missing_docs, reason = "what a field holds, the variant says")]
pub enum Event {
    /// The instance has its name.
    Initialised { instance: String, address: String },
    /// The central server has this host.
    AddressSet { address: String },
    /// How old an OCSP answer may be.
    OcspFreshnessSet { seconds: u64 },
    /// Seconds between batch timestamps.
    TimestampingIntervalSet { seconds: u64 },
    /// Seconds that a configuration holds.
    ConfExpireIntervalSet { seconds: u64 },
    /// Where authentication certificates are registered.
    AuthCertRegUrlSet { url: Option<String> },
    /// Which TLS certificate to expect there.
    AuthCertRegCertSet { cert: Option<Blob> },
    /// A member class exists, with this description.
    MemberClassDescribed { code: String, description: String },
    /// A member class is gone.
    MemberClassRemoved { code: String },
    /// A member exists.
    MemberAdded { id: MemberId, name: String },
    /// A member has this name.
    MemberRenamed { id: MemberId, name: String },
    /// A member is gone, with its subsystems, registrations and group memberships.
    MemberRemoved { id: MemberId },
    /// A subsystem exists.
    SubsystemAdded { id: ClientId, name: Option<String> },
    /// A subsystem has this name.
    SubsystemRenamed { id: ClientId, name: Option<String> },
    /// A subsystem is gone, with its registrations and group memberships.
    SubsystemRemoved { id: ClientId },
    /// A security server exists.
    ServerAdded { id: ServerId, address: Option<String> },
    /// A security server has this address.
    ServerAddressSet { id: ServerId, address: Option<String> },
    /// A security server is in maintenance mode, or not.
    MaintenanceSet { id: ServerId, on: bool, message: Option<String> },
    /// A security server is gone.
    ServerRemoved { id: ServerId },
    /// An authentication certificate is registered.
    AuthCertAdded { server: ServerId, cert: Blob },
    /// An authentication certificate is gone.
    AuthCertRemoved { server: ServerId, cert: CertId },
    /// A client is registered.
    ServerClientAdded { server: ServerId, client: ClientId },
    /// A client takes part, or not.
    ServerClientEnabled { server: ServerId, client: ClientId, enabled: bool },
    /// A client is gone from a server.
    ServerClientRemoved { server: ServerId, client: ClientId },
    /// A group exists, with this description.
    GroupDescribed { code: String, description: String },
    /// A group is gone.
    GroupRemoved { code: String },
    /// Somebody is in a group.
    GroupMemberAdded { group: String, member: ClientId },
    /// Somebody has left a group.
    GroupMemberRemoved { group: String, member: ClientId },
    /// A certification service is approved.
    CaAdded { cert: Blob, settings: CaProfile },
    /// A certification service has these settings.
    CaChanged { ca: CertId, settings: CaProfile },
    /// A certification service is gone.
    CaRemoved { ca: CertId },
    /// An intermediate CA is approved.
    IntermediateCaAdded { ca: CertId, cert: Blob },
    /// An intermediate CA is gone.
    IntermediateCaRemoved { ca: CertId, intermediate: CertId },
    /// A CA has this responder.
    OcspResponderAdded { ca: CertId, responder: Responder },
    /// A responder is this one now; it keeps its number.
    OcspResponderChanged { responder: Responder },
    /// A responder is gone, by its number.
    OcspResponderDropped { number: u64 },
    /// A CA has this responder no longer.
    OcspResponderRemoved { ca: CertId, url: String },
    /// A timestamping service is approved.
    TsaAdded { tsa: Tsa },
    /// A timestamping service is this one now; it keeps its number.
    TsaChanged { tsa: Tsa },
    /// A timestamping service is gone, by its number.
    TsaDropped { number: u64 },
    /// A timestamping service is gone.
    TsaRemoved { cert: CertId, url: String },
    /// Who offers the management services.
    ManagementProviderSet { provider: ClientId },
    /// Another instance is trusted.
    TrustedAnchorAdded { instance: String, anchor: Blob },
    /// Another instance is trusted no longer.
    TrustedAnchorRemoved { instance: String },
    /// An optional part is published.
    PartPublished { part: PublishedPart },
    /// An optional part is published no longer.
    PartWithdrawn { content_identifier: String },
    /// A signing key exists.
    SigningKeyAdded {
        source: SourceKind,
        key: String,
        cert: Blob,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        label: String,
    },
    /// An anchor was written anew.
    AnchorRecreated { source: SourceKind },
    /// A signing key signs.
    SigningKeyActivated { key: String },
    /// A signing key is gone.
    SigningKeyRemoved { key: String },
    /// A management request was handed in.
    RequestSubmitted {
        id: u64,
        kind: RequestKind,
        origin: Origin,
        server: ServerId,
        status: Option<Status>,
        pair: Option<u64>,
        comments: Option<String>,
    },
    /// What became of management requests.
    RequestStatusSet { ids: Vec<u64>, status: Status },
    /// A server has another owner, and with it another identifier; who owned it is its client.
    ServerOwnerChanged { server: ServerId, owner: MemberId },
    /// Something was asked for and refused; nothing changed.
    Refused { asked: String, reason: String },
}

impl Event {
    /// Whether it may change a part of the configuration. Refusals and management requests alone never do: what comes of a request is
    /// an event of its own. Anchors are no parts.
    pub fn may_be_published(&self) -> bool {
        !matches!(
            self,
            Self::Refused { .. }
                | Self::RequestSubmitted { .. }
                | Self::RequestStatusSet { .. }
                | Self::AnchorRecreated { .. }
        )
    }
}
