//! What an operator enters at the provider's server before a run: services of one subsystem, with their rights.

use crate::information_system::{OPENAPI, WSDL};

/// The REST service that most cases call.
pub const REST: &str = "conformance";
/// Nobody has a right to it.
pub const DENIED: &str = "conformance-denied";
/// Disabled, with the notice [`NOTICE`].
pub const DISABLED: &str = "conformance-disabled";
/// Nobody listens at its address.
pub const DOWN: &str = "conformance-down";
/// Rights to single endpoints only.
pub const PARTIAL: &str = "conformance-partial";
/// Described by OpenAPI.
pub const DESCRIBED: &str = "conformance-openapi";
/// The SOAP service.
pub const SOAP: &str = "conformanceSoap";
/// Its version.
pub const SOAP_VERSION: &str = "v1";
/// Why [`DISABLED`] is disabled.
pub const NOTICE: &str = "closed for conformance";
/// An address where nobody listens: the port of `discard`, on the provider's server itself.
pub const NOBODY: &str = "http://127.0.0.1:9";

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `REST`, `OPENAPI3` or `WSDL`.
    pub kind: &'static str,
    /// Its code.
    pub code: &'static str,
    /// Of a WSDL service.
    pub version: Option<&'static str>,
    /// Where it is, or where its description is.
    pub url: String,
    /// Where calls go, when `url` is a description.
    pub service_url: Option<String>,
    /// The client has a right to all of it.
    pub whole: bool,
    /// Endpoints with a right of their own.
    pub endpoints: &'static [(&'static str, &'static str)],
    /// It is not disabled.
    pub enabled: bool,
}

/// All of them, at an information system at `base`.
pub fn all(base: &str) -> Vec<Service> {
    let rest = |code, url: String| Service {
        kind: "REST",
        code,
        version: None,
        url,
        service_url: None,
        whole: true,
        endpoints: &[],
        enabled: true,
    };
    let base = base.trim_end_matches('/');
    vec![
        rest(REST, format!("{base}/rest")),
        Service { whole: false, ..rest(DENIED, format!("{base}/denied")) },
        Service { enabled: false, ..rest(DISABLED, format!("{base}/disabled")) },
        rest(DOWN, format!("{NOBODY}/down")),
        Service {
            whole: false,
            endpoints: &[("GET", "/open/*"), ("POST", "/deep/**")],
            ..rest(PARTIAL, format!("{base}/partial"))
        },
        Service {
            kind: "OPENAPI3",
            service_url: Some(format!("{base}/described")),
            ..rest(DESCRIBED, format!("{base}{OPENAPI}"))
        },
        Service {
            kind: "WSDL",
            version: Some(SOAP_VERSION),
            service_url: Some(format!("{base}/soap")),
            ..rest(SOAP, format!("{base}{WSDL}"))
        },
    ]
}

/// For an operator to read.
pub fn table(base: &str, client: &str) -> String {
    let mut text = format!("Services of the provider's subsystem; {client} has the rights.\n\n");
    for service in all(base) {
        let version = service.version.map(|version| format!(".{version}")).unwrap_or_default();
        text += &format!("{:<9} {}{version}\n          {}\n", service.kind, service.code, service.url);
        if let Some(url) = &service.service_url {
            text += &format!("          calls go to {url}\n");
        }
        for (method, path) in service.endpoints {
            text += &format!("          right to {method} {path}\n");
        }
        if service.whole {
            text += "          right to the whole service\n";
        }
        if !service.enabled {
            text += &format!("          disabled, with the notice \"{NOTICE}\"\n");
        }
    }
    text
}
