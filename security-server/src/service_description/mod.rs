//! Documents that say what an information system offers: WSDL 1.1 and OpenAPI 3, fetched and read when an administrator adds a service
//! description [UC-SERVICE; WSDL 1.1; OpenAPI 3.0, 3.1.0].
//!
//! [`download`] fetches within bounds, over `http` and `https` alone; [`wsdl`] and [`openapi`] read bytes and ask nobody: neither reads
//! what a document names elsewhere (imports, includes, references to other files), and neither takes entities. [`uri`] resolves
//! references. What a document gets wrong is said in two ways: errors, and remarks that an administrator may accept.
//!
//! Not here: which of it becomes a service, and under which rules (`admin_api::service_descriptions`, `serverconf::decide`).

pub mod download;
pub mod openapi;
pub mod settings;
pub mod tree;
pub mod uri;
pub mod wsdl;

#[cfg(test)]
mod tests;

use openapi::OpenApiError;
use wsdl::{Wsdl, WsdlError, WsdlService};

use crate::serverconf::decide::is_code;
use crate::serverconf::url::ServiceUrl;

/// Most remarks on one document; what is over it is not said.
pub const MAX_REMARKS: usize = 100;

/// Why a document cannot become a service description; each with the code of the management API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No WSDL at its address.
    #[error("the WSDL could not be downloaded: {0}")]
    WsdlDownload(String),
    /// No WSDL, or one with faults.
    #[error("{}", .0.join("; "))]
    Wsdl(Vec<String>),
    /// Names or versions of operations that no identifier can hold.
    #[error("these cannot be codes or versions of services: {}", .0.join(", "))]
    Identifiers(Vec<String>),
    /// Addresses of operations that are no http or https URLs.
    #[error("these are not addresses of services: {}", .0.join(", "))]
    ServiceUrls(Vec<String>),
    /// No OpenAPI description, or none that can be fetched.
    #[error("{0}")]
    OpenApi(String),
    /// One of another version.
    #[error("{0}")]
    OpenApiVersion(String),
}

impl Unfit {
    /// As scripts read it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WsdlDownload(_) => "wsdl_download_failed",
            Self::Wsdl(_) => "invalid_wsdl",
            Self::Identifiers(_) => "invalid_wsdl_service_identifier",
            Self::ServiceUrls(_) => "invalid_service_url",
            Self::OpenApi(_) => "openapi_parsing_error",
            Self::OpenApiVersion(_) => "unsupported_openapi_version",
        }
    }
    /// What is sent with the code.
    pub fn metadata(&self) -> Vec<String> {
        match self {
            Self::WsdlDownload(_) | Self::OpenApiVersion(_) => Vec::new(),
            Self::Wsdl(all) | Self::Identifiers(all) | Self::ServiceUrls(all) => all.clone(),
            Self::OpenApi(what) => vec![what.clone()],
        }
    }
}

impl From<WsdlError> for Unfit {
    fn from(error: WsdlError) -> Self {
        Self::Wsdl(vec![error.to_string()])
    }
}

impl From<OpenApiError> for Unfit {
    fn from(error: OpenApiError) -> Self {
        match error {
            OpenApiError::Unreadable(_) | OpenApiError::TooMany => Self::OpenApi(error.to_string()),
            OpenApiError::Version(_) => Self::OpenApiVersion(error.to_string()),
        }
    }
}

impl Wsdl {
    /// Codes and versions can be identifiers.
    ///
    /// # Errors
    /// Those that cannot.
    pub fn check_identifiers(&self) -> Result<(), Unfit> {
        let written =
            self.services.iter().flat_map(|service| [Some(&service.code), service.version.as_ref()]);
        let bad: Vec<_> = written.flatten().filter(|code| !is_code(code)).cloned().collect();
        if bad.is_empty() { Ok(()) } else { Err(Unfit::Identifiers(bad)) }
    }
    /// Clients can be generated from it.
    ///
    /// # Errors
    /// Its faults.
    pub fn check_faults(&self) -> Result<(), Unfit> {
        if self.faults.is_empty() { Ok(()) } else { Err(Unfit::Wsdl(self.faults.clone())) }
    }
    /// Operations are at addresses that can be called.
    ///
    /// # Errors
    /// The addresses that are none.
    pub fn check_urls(&self) -> Result<(), Unfit> {
        let bad = |service: &&WsdlService| ServiceUrl::parse(&service.url).is_err();
        let bad: Vec<_> = self.services.iter().filter(bad).map(|service| service.url.clone()).collect();
        if bad.is_empty() { Ok(()) } else { Err(Unfit::ServiceUrls(bad)) }
    }
}

/// Adds a remark unless there are enough.
fn remark(remarks: &mut Vec<String>, text: String) {
    if remarks.len() < MAX_REMARKS {
        remarks.push(text);
    }
}
