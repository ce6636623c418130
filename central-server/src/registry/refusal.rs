//! Why something asked of the registry does not happen.

use pki::cert::CertError;
use proto::globalconf::ParametersError;
use proto::globalconf::anchor::AnchorError;
use proto::id::ClientId;

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
