//! What may be asked of the registry. Nothing has happened yet: [`super::decide()`] says whether it may.

use proto::globalconf::shared_parameters::CostType;
use proto::id::{ClientId, MemberId, ServerId};

use super::event::{Acme, CertId, SourceKind};
use super::request::Submission;

/// One thing asked of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Names the instance and the host of this central server; once. The group of security server owners comes with it.
    Initialise {
        /// Instance identifier.
        instance: String,
        /// Host name or address, with a port when it is not the usual one.
        address: String,
    },
    /// Another host of this central server.
    SetAddress {
        /// Host name or address, with a port when it is not the usual one.
        address: String,
    },
    /// Another value of a system parameter.
    SetParameter(Parameter),
    /// A new member class.
    AddMemberClass {
        /// Its code.
        code: String,
        /// What it is.
        description: String,
    },
    /// Another description of a member class.
    DescribeMemberClass {
        /// Its code.
        code: String,
        /// What it is.
        description: String,
    },
    /// A member class goes.
    RemoveMemberClass {
        /// Its code.
        code: String,
    },
    /// A new member.
    AddMember {
        /// Its identifier.
        id: MemberId,
        /// Its name.
        name: String,
    },
    /// Another name of a member.
    RenameMember {
        /// Its identifier.
        id: MemberId,
        /// Its name.
        name: String,
    },
    /// A member goes, with its subsystems.
    RemoveMember {
        /// Its identifier.
        id: MemberId,
    },
    /// A new subsystem of a member.
    AddSubsystem {
        /// Its identifier.
        id: ClientId,
        /// Its name.
        name: Option<String>,
    },
    /// Another name of a subsystem.
    RenameSubsystem {
        /// Its identifier.
        id: ClientId,
        /// Its name.
        name: Option<String>,
    },
    /// A subsystem goes.
    RemoveSubsystem {
        /// Its identifier.
        id: ClientId,
    },
    /// A new security server; its owner joins the group of owners.
    AddServer {
        /// Its identifier.
        id: ServerId,
        /// Host for messages; without one it cannot be a provider.
        address: Option<String>,
    },
    /// Another address of a security server.
    SetServerAddress {
        /// Its identifier.
        id: ServerId,
        /// Host for messages.
        address: Option<String>,
    },
    /// Maintenance mode of a security server.
    SetMaintenance {
        /// Its identifier.
        id: ServerId,
        /// On, with a message or without; `None` is off.
        mode: Option<Option<String>>,
    },
    /// A security server goes.
    RemoveServer {
        /// Its identifier.
        id: ServerId,
    },
    /// An authentication certificate of a security server.
    AddAuthCert {
        /// The server.
        server: ServerId,
        /// DER or PEM.
        cert: Vec<u8>,
    },
    /// An authentication certificate goes.
    RemoveAuthCert {
        /// The server.
        server: ServerId,
        /// Which.
        cert: CertId,
    },
    /// A client of a security server.
    AddServerClient {
        /// The server.
        server: ServerId,
        /// A member or subsystem, not its owner.
        client: ClientId,
    },
    /// Lets a client of a security server take part, or not.
    EnableServerClient {
        /// The server.
        server: ServerId,
        /// Its client.
        client: ClientId,
        /// Whether it takes part.
        enabled: bool,
    },
    /// A client leaves a security server.
    RemoveServerClient {
        /// The server.
        server: ServerId,
        /// Its client.
        client: ClientId,
    },
    /// A new global group.
    AddGroup {
        /// Its code.
        code: String,
        /// What it is.
        description: String,
    },
    /// Another description of a group.
    DescribeGroup {
        /// Its code.
        code: String,
        /// What it is.
        description: String,
    },
    /// A group goes.
    RemoveGroup {
        /// Its code.
        code: String,
    },
    /// Somebody joins a group.
    AddGroupMember {
        /// The group.
        group: String,
        /// A member or subsystem.
        member: ClientId,
    },
    /// Somebody leaves a group.
    RemoveGroupMember {
        /// The group.
        group: String,
        /// A member or subsystem.
        member: ClientId,
    },
    /// A new approved certification service.
    AddCa {
        /// Top CA certificate, DER or PEM.
        cert: Vec<u8>,
        /// What is said about it.
        settings: CaSettings,
    },
    /// Other settings of a certification service.
    ChangeCa {
        /// Its top CA.
        ca: CertId,
        /// What is said about it.
        settings: CaSettings,
    },
    /// A certification service goes, with its intermediates.
    RemoveCa {
        /// Its top CA.
        ca: CertId,
    },
    /// An intermediate CA of a certification service.
    AddIntermediateCa {
        /// The top CA.
        ca: CertId,
        /// DER or PEM.
        cert: Vec<u8>,
    },
    /// An intermediate CA goes.
    RemoveIntermediateCa {
        /// The top CA.
        ca: CertId,
        /// The intermediate.
        intermediate: CertId,
    },
    /// An OCSP responder of a top or intermediate CA.
    AddOcspResponder {
        /// The CA.
        ca: CertId,
        /// Where.
        url: String,
        /// A certificate to trust explicitly, DER or PEM.
        cert: Option<Vec<u8>>,
        /// What it costs.
        cost: CostType,
    },
    /// An OCSP responder goes.
    RemoveOcspResponder {
        /// The CA.
        ca: CertId,
        /// Where.
        url: String,
    },
    /// An OCSP responder has another address, certificate or price; what is `None` stays.
    ChangeOcspResponder {
        /// Its number.
        number: u64,
        /// Where.
        url: Option<String>,
        /// A certificate to trust explicitly, DER or PEM.
        cert: Option<Vec<u8>>,
        /// What it costs.
        cost: Option<CostType>,
    },
    /// An OCSP responder goes, by its number.
    DropOcspResponder {
        /// Its number.
        number: u64,
    },
    /// A new approved timestamping service.
    AddTsa {
        /// Display name; not set: the common name of the certificate.
        name: Option<String>,
        /// Where.
        url: String,
        /// The certificate that signs tokens, DER or PEM.
        cert: Vec<u8>,
        /// What it costs.
        cost: CostType,
    },
    /// A timestamping service goes.
    RemoveTsa {
        /// Its certificate.
        cert: CertId,
        /// Where.
        url: String,
    },
    /// A timestamping service has another address, certificate or price; what is `None` stays.
    ChangeTsa {
        /// Its number.
        number: u64,
        /// Where.
        url: Option<String>,
        /// The certificate that signs tokens, DER or PEM.
        cert: Option<Vec<u8>>,
        /// What it costs.
        cost: Option<CostType>,
    },
    /// A timestamping service goes, by its number.
    DropTsa {
        /// Its number.
        number: u64,
    },
    /// The subsystem that offers the management services.
    SetManagementProvider {
        /// A registered subsystem.
        provider: ClientId,
    },
    /// Trusts another instance through its external anchor; a second one for the same instance replaces the first.
    AddTrustedAnchor {
        /// The anchor file.
        anchor: Vec<u8>,
    },
    /// Trusts another instance no longer.
    RemoveTrustedAnchor {
        /// Its identifier.
        instance: String,
    },
    /// Publishes an optional part; a second one with the same identifier replaces the first.
    PublishPart {
        /// Such as `MONITORING`.
        content_identifier: String,
        /// Such as `monitoring-params.xml`.
        file_name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Publishes an optional part no longer.
    WithdrawPart {
        /// Its content identifier.
        content_identifier: String,
    },
    /// A configuration signing key that the token has; the first of its source becomes active.
    AddSigningKey {
        /// What it signs.
        source: SourceKind,
        /// Its name in the token.
        key: String,
        /// Its self-signed certificate, DER.
        cert: Vec<u8>,
        /// What people call it.
        label: String,
    },
    /// Writes the anchor of a source anew, with the present time.
    RecreateAnchor {
        /// Which.
        source: SourceKind,
    },
    /// Hands a management request in.
    SubmitRequest(Box<Submission>),
    /// Approves a management request.
    ApproveRequest {
        /// Its number.
        id: u64,
    },
    /// Turns a management request down, or takes an own one back.
    WithdrawRequest {
        /// Its number.
        id: u64,
    },
    /// A security server goes, and deletion requests are recorded for all that it had.
    DeleteServer {
        /// Its identifier.
        id: ServerId,
    },
    /// Signs with another key from now on.
    ActivateSigningKey {
        /// Its name in the token.
        key: String,
    },
    /// A signing key goes; not the active one.
    RemoveSigningKey {
        /// Its name in the token.
        key: String,
    },
}

/// A system parameter with its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// How old an OCSP answer may be, seconds.
    OcspFreshness(u64),
    /// Seconds between batch timestamps, 60 to 86400, fewer than the OCSP freshness.
    TimestampingInterval(u64),
    /// Seconds that a generated configuration holds, 120 at least.
    ConfExpireInterval(u64),
    /// Where authentication certificates are registered; `None` is `https://<address>:4001/managementservice/`.
    AuthCertRegUrl(Option<String>),
    /// TLS certificate to expect there, DER or PEM.
    AuthCertRegCert(Option<Vec<u8>>),
}

/// What is said about a certification service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaSettings {
    /// Display name; not set: the common name of the certificate.
    pub name: Option<String>,
    /// Its certificates are not for signatures.
    pub authentication_only: bool,
    /// Class name of the certificate profile, in full or without its package.
    pub profile: String,
    /// `PEM` or `DER`.
    pub default_csr_format: Option<String>,
    /// Its ACME server.
    pub acme: Option<Acme>,
}

impl Command {
    /// What it is called where it is refused or told.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Initialise { .. } => "initialise",
            Self::SetAddress { .. } => "set the address",
            Self::SetParameter(_) => "set a system parameter",
            Self::AddMemberClass { .. } => "add a member class",
            Self::DescribeMemberClass { .. } => "describe a member class",
            Self::RemoveMemberClass { .. } => "remove a member class",
            Self::AddMember { .. } => "add a member",
            Self::RenameMember { .. } => "rename a member",
            Self::RemoveMember { .. } => "remove a member",
            Self::AddSubsystem { .. } => "add a subsystem",
            Self::RenameSubsystem { .. } => "rename a subsystem",
            Self::RemoveSubsystem { .. } => "remove a subsystem",
            Self::AddServer { .. } => "add a security server",
            Self::SetServerAddress { .. } => "set the address of a security server",
            Self::SetMaintenance { .. } => "set the maintenance mode of a security server",
            Self::RemoveServer { .. } => "remove a security server",
            Self::AddAuthCert { .. } => "register an authentication certificate",
            Self::RemoveAuthCert { .. } => "remove an authentication certificate",
            Self::AddServerClient { .. } => "register a client",
            Self::EnableServerClient { .. } => "enable or disable a client",
            Self::RemoveServerClient { .. } => "remove a client",
            Self::AddGroup { .. } => "add a global group",
            Self::DescribeGroup { .. } => "describe a global group",
            Self::RemoveGroup { .. } => "remove a global group",
            Self::AddGroupMember { .. } => "add a group member",
            Self::RemoveGroupMember { .. } => "remove a group member",
            Self::AddCa { .. } => "add a certification service",
            Self::ChangeCa { .. } => "change a certification service",
            Self::RemoveCa { .. } => "remove a certification service",
            Self::AddIntermediateCa { .. } => "add an intermediate CA",
            Self::RemoveIntermediateCa { .. } => "remove an intermediate CA",
            Self::AddOcspResponder { .. } => "add an OCSP responder",
            Self::RemoveOcspResponder { .. } => "remove an OCSP responder",
            Self::ChangeOcspResponder { .. } => "change an OCSP responder",
            Self::DropOcspResponder { .. } => "remove an OCSP responder",
            Self::ChangeTsa { .. } => "change a timestamping service",
            Self::DropTsa { .. } => "remove a timestamping service",
            Self::RecreateAnchor { .. } => "write an anchor anew",
            Self::SubmitRequest(_) => "submit a management request",
            Self::ApproveRequest { .. } => "approve a management request",
            Self::WithdrawRequest { .. } => "withdraw a management request",
            Self::DeleteServer { .. } => "delete a security server",
            Self::AddTsa { .. } => "add a timestamping service",
            Self::RemoveTsa { .. } => "remove a timestamping service",
            Self::SetManagementProvider { .. } => "set the provider of the management services",
            Self::AddTrustedAnchor { .. } => "add a trusted anchor",
            Self::RemoveTrustedAnchor { .. } => "remove a trusted anchor",
            Self::PublishPart { .. } => "publish a configuration part",
            Self::WithdrawPart { .. } => "withdraw a configuration part",
            Self::AddSigningKey { .. } => "add a signing key",
            Self::ActivateSigningKey { .. } => "activate a signing key",
            Self::RemoveSigningKey { .. } => "remove a signing key",
        }
    }
}
