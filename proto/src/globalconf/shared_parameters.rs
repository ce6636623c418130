//! Shared parameters: members, servers, approved CAs and TSAs, groups [PR-GCONF §3.3].
//!
//! The types are the same for every version; [`SharedParameters::read`] and [`SharedParameters::write`] know which elements a
//! version has. A document refers to members and subsystems by `id`; the types name them in full. Counts are bounded by the size of
//! the document.
mod read;
mod write;

use super::ParametersError;
use crate::id::{ClientId, GlobalGroupId, MemberId, ServerId};

impl SharedParameters {
    /// Reads `shared-params.xml` of configuration version `version`.
    ///
    /// # Errors
    /// The first rule of the schema that it breaks.
    pub fn read(xml: &[u8], version: u32) -> Result<Self, ParametersError> {
        Ok(read::document(xml, version)?)
    }

    /// Writes `shared-params.xml` of configuration version `version`, leaving out what that version does not have.
    ///
    /// The digests of authentication certificates are written as they are: their algorithm depends on the version (SHA-1 in version
    /// 2, SHA-256 later) and the caller has to give the right ones.
    ///
    /// # Errors
    /// A server names an owner or client that is no member or subsystem of the document, or a text that XML cannot carry.
    pub fn write(&self, version: u32) -> Result<Vec<u8>, ParametersError> {
        Ok(write::document(self, version)?)
    }
}

/// Everything in one `shared-params.xml`. Ids of the document (`id0` …) are resolved away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedParameters {
    /// Instance it describes.
    pub instance: String,
    /// Download locations, version 3 on.
    pub sources: Vec<Source>,
    /// Approved certification services.
    pub approved_cas: Vec<ApprovedCa>,
    /// Approved timestamping services.
    pub approved_tsas: Vec<ApprovedTsa>,
    /// Members with their subsystems.
    pub members: Vec<Member>,
    /// Security servers.
    pub servers: Vec<SecurityServer>,
    /// Global groups.
    pub groups: Vec<GlobalGroup>,
    /// Member classes: code and description.
    pub member_classes: Vec<(String, String)>,
    /// How old an OCSP answer may be, seconds.
    pub ocsp_freshness_seconds: u64,
}

/// A node of the central server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Host, no scheme.
    pub address: String,
    /// DER of each internal signing certificate.
    pub internal_certs: Vec<Vec<u8>>,
    /// DER of each external signing certificate.
    pub external_certs: Vec<Vec<u8>>,
}

/// What a use of a service costs, version 6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CostType {
    /// Nothing.
    Free,
    /// Something.
    Paid,
    /// Unknown.
    #[default]
    Undefined,
}

/// An OCSP responder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OcspInfo {
    /// Where.
    pub url: String,
    /// DER of an explicitly trusted responder certificate.
    pub cert: Option<Vec<u8>>,
    /// Version 6.
    pub cost: CostType,
}

/// A CA certificate with its responders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaInfo {
    /// DER.
    pub cert: Vec<u8>,
    /// Its responders.
    pub ocsp: Vec<OcspInfo>,
}

/// An approved certification service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovedCa {
    /// Display name.
    pub name: String,
    /// Not for signatures.
    pub authentication_only: bool,
    /// Root.
    pub top: CaInfo,
    /// Below it.
    pub intermediates: Vec<CaInfo>,
    /// Class name of the certificate profile.
    pub profile: String,
    /// `PEM` or `DER`, version 6.
    pub default_csr_format: Option<String>,
    /// ACME directory, version 3.
    pub acme: Option<AcmeServer>,
}

/// ACME server of a CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeServer {
    /// Directory URL.
    pub directory_url: String,
    /// For operators' firewalls.
    pub ip_address: Option<String>,
    /// Version 4.
    pub authentication_profile: Option<String>,
    /// Version 4.
    pub signing_profile: Option<String>,
}

/// An approved timestamping service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovedTsa {
    /// Display name.
    pub name: String,
    /// Where.
    pub url: String,
    /// DER of the certificate that signs tokens.
    pub cert: Vec<u8>,
    /// Version 6.
    pub cost: CostType,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identifier.
    pub id: MemberId,
    /// Description of its class.
    pub class_description: String,
    /// Display name.
    pub name: String,
    /// Subsystem code and, from version 5, name.
    pub subsystems: Vec<(String, Option<String>)>,
}

/// A security server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityServer {
    /// Its identifier.
    pub id: ServerId,
    /// Host for messages and OCSP; without one it cannot be a provider.
    pub address: Option<String>,
    /// Digests of its authentication certificates: SHA-1 in version 2, SHA-256 from 3.
    pub auth_cert_hashes: Vec<Vec<u8>>,
    /// Its clients; the owner is not repeated.
    pub clients: Vec<ClientId>,
    /// In maintenance mode, with the administrator's message if any, version 5.
    pub maintenance: Option<Option<String>>,
}

/// A global group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalGroup {
    /// Its identifier.
    pub id: GlobalGroupId,
    /// Description.
    pub description: String,
    /// Members and subsystems in it.
    pub members: Vec<ClientId>,
}
