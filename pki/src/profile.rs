//! Certificate profiles: how a CA writes a member into a subject name, and how to read it back [trust dossier §3.3].

use proto::id::MemberId;

use crate::cert::Certificate;

/// The profiles that exist, by the class name global configuration carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// C, O, CN.
    Ejbca,
    /// businessCategory and serialNumber.
    Basic,
    /// Finland.
    FiVrk,
    /// Faroe Islands.
    Fo,
    /// Iceland.
    Is,
    /// Estonia, organisations.
    SkKlass3,
    /// Estonia, persons; deprecated.
    SkEsteId,
}

/// The subject does not name a member under this profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate subject does not name a member: {0}")]
pub struct ProfileError(pub String);

impl Profile {
    /// By class name, packages in front ignored.
    pub fn from_class_name(name: &str) -> Option<Self> {
        let _ = name;
        todo!()
    }
    /// The member a signing certificate names; `instance` is the one asked about.
    ///
    /// # Errors
    /// A required field is missing.
    pub fn member(self, cert: &Certificate, instance: &str) -> Result<MemberId, ProfileError> {
        let _ = (cert, instance);
        todo!()
    }
}
