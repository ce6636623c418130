//! Settings of the management API, the same for both servers.

use std::path::PathBuf;

use host::settings::Listen;

use crate::auth::Whitelist;

host::settings! {
    /// The management API and its users. API keys are made by `causeway api-key create --offline` or with a user's password.
    pub struct ManagementApi {
        /// HTTPS of the management API; this machine only, unless configured otherwise. `off` for none.
        pub listen: Listen = Listen::at([127, 0, 0, 1], 4000),
        /// Networks that may use API keys.
        pub regular_api_whitelist: Vec<String> = vec!["0.0.0.0/0".into(), "::/0".into()],
        /// Networks that may make API keys with a name and a password.
        pub key_management_api_whitelist: Vec<String> = vec!["127.0.0.0/8".into(), "::1".into()],
        /// Requests a second from one address; -1 for any number.
        pub rate_limit_requests_per_second: i64 = 20,
        /// Requests a minute from one address; -1 for any number.
        pub rate_limit_requests_per_minute: i64 = 600,
        /// Bytes of a request's body.
        pub request_size_limit_regular: usize = 50 * 1024,
        /// Bytes of a request's body that carries a file.
        pub request_size_limit_binary_upload: usize = 10 * 1024 * 1024,
        /// A file with users, roles and password hashes; not set: admin/users in the data folder.
        pub user_file: Option<PathBuf> = None,
        /// Where the audit log is appended to; not set: admin/audit.log in the data folder.
        pub audit_log: Option<PathBuf> = None,
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Where to listen.
    pub listen: Option<std::net::SocketAddr>,
    /// Who may use API keys.
    pub regular: Whitelist,
    /// Who may make them with a password.
    pub key_management: Whitelist,
    /// Requests a second.
    pub per_second: Option<u32>,
    /// Requests a minute.
    pub per_minute: Option<u32>,
    /// Bytes of an ordinary body.
    pub body_bytes: usize,
    /// Bytes of a body with a file.
    pub upload_bytes: usize,
    /// Users.
    pub user_file: Option<PathBuf>,
    /// The audit log.
    pub audit_log: Option<PathBuf>,
}

impl ManagementApi {
    /// Checks what the reader of the file cannot; gives the key and its rule where it is broken.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn resolve(&self) -> Result<ApiSettings, (&'static str, String)> {
        let networks = |key, list: &[String]| {
            Whitelist::parse(list)
                .map_err(|text| (key, format!("{text:?} is no network, such as 127.0.0.0/8")))
        };
        let rate = |value: i64| u32::try_from(value).ok();
        let bytes = |key, value: usize| {
            if value > 0 { Ok(value) } else { Err((key, "must be above zero".to_owned())) }
        };
        Ok(ApiSettings {
            listen: self.listen.0,
            regular: networks("management-api.regular-api-whitelist", &self.regular_api_whitelist)?,
            key_management: networks(
                "management-api.key-management-api-whitelist",
                &self.key_management_api_whitelist,
            )?,
            per_second: rate(self.rate_limit_requests_per_second),
            per_minute: rate(self.rate_limit_requests_per_minute),
            body_bytes: bytes("management-api.request-size-limit-regular", self.request_size_limit_regular)?,
            upload_bytes: bytes(
                "management-api.request-size-limit-binary-upload",
                self.request_size_limit_binary_upload,
            )?,
            user_file: self.user_file.clone(),
            audit_log: self.audit_log.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_alone_unless_configured_and_minus_one_is_off() {
        let default = ManagementApi::default().resolve().unwrap();
        assert!(default.listen.unwrap().ip().is_loopback());
        assert_eq!(default.per_second, Some(20));
        let off = ManagementApi { rate_limit_requests_per_second: -1, ..ManagementApi::default() };
        assert_eq!(off.resolve().unwrap().per_second, None);
        let wrong = ManagementApi { regular_api_whitelist: vec!["here".into()], ..ManagementApi::default() };
        assert_eq!(wrong.resolve().unwrap_err().0, "management-api.regular-api-whitelist");
    }
}
