//! Why something asked of the registry does not happen.

use pki::cert::CertError;
use proto::globalconf::ParametersError;
use proto::globalconf::anchor::AnchorError;
use proto::id::{ClientId, ServerId};

/// The rule that stands against a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The instance has no name yet.
    #[error("the central server is not initialised: name its instance first")]
    NotInitialised,
    /// The instance has a name already.
    #[error("the central server is initialised already, as {instance}")]
    AlreadyInitialised {
        /// Its name.
        instance: String,
    },
    /// What is named does not exist.
    #[error("{what} {id} does not exist")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// What is to be added exists.
    #[error("{what} {id} exists already")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// What is to go or to change is needed as it is.
    #[error("{what} {id} stays as it is: {because}")]
    InUse {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
        /// Why.
        because: &'static str,
    },
    /// A member of another instance.
    #[error("{found} is another instance")]
    OtherInstance {
        /// Its name.
        found: String,
    },
    /// A subsystem is needed.
    #[error("{id} is not a subsystem")]
    NotASubsystem {
        /// What was given.
        id: ClientId,
    },
    /// A code, name, address or URL breaks its rule.
    #[error("a {what} {rule}")]
    Text {
        /// What kind of text.
        what: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A number outside its range.
    #[error("{name} must be from {from} to {to} seconds")]
    OutOfRange {
        /// Of what.
        name: &'static str,
        /// Least.
        from: u64,
        /// Most.
        to: u64,
    },
    /// Over a bound.
    #[error("the {what} is larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A certificate that cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// A certificate of another kind.
    #[error("the certificate of {subject} is not for authentication")]
    NotForAuthentication {
        /// Its subject.
        subject: String,
    },
    /// Not an anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// Not a configuration part.
    #[error(transparent)]
    Part(#[from] ParametersError),
    /// The source has all the keys it may have.
    #[error("the {of} source has {limit} signing keys already: remove one first")]
    TooManyKeys {
        /// Which.
        of: &'static str,
        /// How many.
        limit: usize,
    },
    /// A management request.
    #[error(transparent)]
    Request(#[from] RequestRefusal),
    /// A command came to judges of another kind; a mistake in this program.
    #[error("`{asked}` was judged by the wrong rules")]
    Misdirected {
        /// Which.
        asked: &'static str,
    },
}

impl Refusal {
    pub(super) fn unknown(what: &'static str, id: impl std::fmt::Display) -> Self {
        Self::Unknown { what, id: id.to_string() }
    }
}

/// Why a management request is refused; security servers and scripts are told the code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what a field is")]
pub enum RequestRefusal {
    /// No such request.
    #[error("there is no such management request")]
    NotFound,
    /// The same was asked already.
    #[error("the same is asked for already")]
    Exists { id: Option<u64> },
    /// The certificate is registered.
    #[error("the authentication certificate is registered already")]
    SecurityServerExists,
    /// Not a certificate that could be registered, or not one that is.
    #[error("the authentication certificate cannot be used")]
    InvalidAuthCertificate,
    /// It is not open any more.
    #[error("management request {id} cannot be approved any more")]
    InvalidStateForApproval { id: u64 },
    /// It is not open any more.
    #[error("the management request cannot be taken back any more")]
    InvalidState,
    /// The owner is no member.
    #[error("the owner of the security server is not a member")]
    ServerOwnerNotFound,
    /// It happened at once.
    #[error("what happened at once cannot be taken back")]
    NotSupported,
    /// The owner is a client anyway.
    #[error("the owner of a security server is its client anyway")]
    CannotRegisterOwner,
    /// The member is not there.
    #[error("{client} is not a member")]
    MemberNotFound { client: ClientId },
    /// The server is not there.
    #[error("{server} does not exist")]
    ServerNotFound { server: ServerId },
    /// The server is not there, where that is in conflict with what staff asks.
    #[error("{server} does not exist")]
    ServerNotFoundForCenter { server: ServerId },
    /// The server is not there when its client is approved.
    #[error("the security server does not exist")]
    ServerNotFoundAtApproval,
    /// The client is not registered and nobody has asked for it.
    #[error("there is no such client registration")]
    ClientRegistrationNotFound,
    /// It is a client.
    #[error("the client is registered already")]
    ClientAlreadyRegistered,
    /// A subsystem owns nothing.
    #[error("an owner must be a member")]
    OwnerMustBeMember,
    /// Only a client becomes owner.
    #[error("an owner must be a client of the server")]
    OwnerMustBeClient,
    /// It is the owner.
    #[error("the client is the owner already")]
    ClientAlreadyOwner,
    /// The new owner has a server of this code.
    #[error("the new owner has a security server of this code already")]
    ServerCodeExists,
    /// Not an address.
    #[error("that is not the address of a security server")]
    InvalidServerAddress,
    /// Not a name.
    #[error("that is not the name of a subsystem")]
    InvalidSubsystemName,
    /// Members keep their names.
    #[error("only subsystems are renamed")]
    OnlySubsystemsAreRenamed,
    /// Not a client of the server.
    #[error("the client is not one of the security server's")]
    ServerClientNotFound,
    /// It is in maintenance mode.
    #[error("{server} is in maintenance mode already")]
    InMaintenance { server: ServerId },
    /// It is not in maintenance mode.
    #[error("{server} is not in maintenance mode")]
    NotInMaintenance { server: ServerId },
    /// The provider of the management services stays.
    #[error("the provider of the management services cannot be disabled")]
    ProviderDisabled,
    /// The server of the provider stays.
    #[error("the server of the management services cannot go into maintenance mode")]
    ProviderMaintained,
}

impl RequestRefusal {
    /// Status and code that security servers and scripts know.
    pub const fn code(&self) -> (u16, &'static str) {
        match self {
            Self::NotFound => (404, "management_request_not_found"),
            Self::Exists { .. } => (409, "management_request_exists"),
            Self::SecurityServerExists => (409, "management_request_security_server_exists"),
            Self::InvalidAuthCertificate => (409, "management_request_invalid_auth_certificate"),
            Self::InvalidStateForApproval { .. } => (400, "management_request_invalid_state_for_approval"),
            Self::InvalidState => (400, "management_request_invalid_state"),
            Self::ServerOwnerNotFound => (404, "management_request_server_owner_not_found"),
            Self::NotSupported => (409, "management_request_not_supported"),
            Self::CannotRegisterOwner => (400, "management_request_cannot_register_owner"),
            Self::MemberNotFound { .. } => (409, "management_request_member_not_found"),
            Self::ServerNotFound { .. } => (404, "management_request_server_not_found"),
            Self::ServerNotFoundForCenter { .. } => (409, "management_request_server_not_found"),
            Self::ServerNotFoundAtApproval => (400, "management_request_server_not_found"),
            Self::ClientRegistrationNotFound => (404, "management_request_client_registration_not_found"),
            Self::ClientAlreadyRegistered => (409, "management_request_client_already_registered"),
            Self::OwnerMustBeMember => (400, "management_request_owner_must_be_member"),
            Self::OwnerMustBeClient => (400, "management_request_owner_must_be_client"),
            Self::ClientAlreadyOwner => (400, "management_request_client_already_owner"),
            Self::ServerCodeExists => (409, "management_request_server_code_exists"),
            Self::InvalidServerAddress => (400, "management_request_invalid_server_address"),
            Self::InvalidSubsystemName => (400, "management_request_invalid_subsystem_name"),
            Self::OnlySubsystemsAreRenamed => (400, "management_request_only_subsystem_rename_allowed"),
            Self::ServerClientNotFound => (404, "management_request_server_client_not_found"),
            Self::InMaintenance { .. } => (409, "management_request_server_already_in_maintenance_mode"),
            Self::NotInMaintenance { .. } => (409, "management_request_server_not_in_maintenance_mode"),
            Self::ProviderDisabled => (409, "mr_forbidden_disable_management_service_client"),
            Self::ProviderMaintained => (409, "mr_forbidden_enable_maintenance_mode_for_management_service"),
        }
    }

    /// What stands beside the code.
    pub fn metadata(&self) -> Vec<String> {
        match self {
            Self::Exists { id: Some(id) } | Self::InvalidStateForApproval { id } => vec![id.to_string()],
            Self::MemberNotFound { client } => vec![client.to_string()],
            Self::ServerNotFoundForCenter { server }
            | Self::ServerNotFound { server }
            | Self::InMaintenance { server }
            | Self::NotInMaintenance { server } => vec![server.to_string()],
            _ => Vec::new(),
        }
    }
}
