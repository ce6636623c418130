//! Settings of management requests and of what follows the configuration.

use std::time::Duration;

host::settings! {
    /// Management requests: how long they may take, and what happens by itself once they were approved.
    pub struct Section {
        /// Milliseconds that connecting to the registration service of the central server may take.
        pub registration_connect_timeout: u64 = 20_000,
        /// Milliseconds that a registration of an authentication certificate may take in all.
        pub registration_timeout: u64 = 60_000,
        /// Milliseconds that any other request may take: a message to the management services and back.
        pub request_timeout: u64 = 60_000,
        /// Milliseconds that a request waits for the OCSP answers of certificates that it needs, right after they were imported or registered.
        pub key_wait: u64 = 10_000,
        /// Activate an authentication certificate when its registration comes through.
        pub automatic_activate_auth_certificate: bool = false,
    }
}

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To reach the registration service.
    pub registration_connect: Duration,
    /// For a registration in all.
    pub registration: Duration,
    /// For a message in all.
    pub request: Duration,
    /// For OCSP answers of own certificates.
    pub key_wait: Duration,
    /// Activate a certificate whose registration came through.
    pub activate: bool,
}

impl Section {
    /// Checks what the reader of the file cannot.
    ///
    /// # Errors
    /// The key of a wait of no time.
    pub fn resolve(&self) -> Result<Limits, &'static str> {
        let time = |key, millis| if millis == 0 { Err(key) } else { Ok(Duration::from_millis(millis)) };
        Ok(Limits {
            registration_connect: time(
                "management-requests.registration-connect-timeout",
                self.registration_connect_timeout,
            )?,
            registration: time("management-requests.registration-timeout", self.registration_timeout)?,
            request: time("management-requests.request-timeout", self.request_timeout)?,
            key_wait: Duration::from_millis(self.key_wait),
            activate: self.automatic_activate_auth_certificate,
        })
    }
}
