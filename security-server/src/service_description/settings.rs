//! Bounds of what is fetched when a service description is added or refreshed.

use std::time::Duration;

host::settings! {
    /// Descriptions of services, fetched from information systems when they are added or refreshed.
    pub struct Section {
        /// Bytes of the largest description.
        pub document_bytes: usize = 10 << 20,
        /// Redirects that are followed.
        pub redirects: usize = 5,
        /// Seconds for each wait.
        pub step_time: u64 = 10,
        /// Seconds for a whole download, waiting for its turn included.
        pub whole_time: u64 = 30,
        /// Descriptions that are fetched at the same time.
        pub at_once: usize = 4,
    }
}

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Largest document.
    pub bytes: usize,
    /// Redirects that are followed.
    pub redirects: usize,
    /// For each wait.
    pub step: Duration,
    /// For all of it, waiting for a turn included.
    pub whole: Duration,
    /// Documents that are fetched at the same time.
    pub at_once: usize,
}

impl Section {
    /// Checks what the reader of the file cannot.
    ///
    /// # Errors
    /// The key of a bound that lets nothing through.
    pub fn resolve(&self) -> Result<Bounds, &'static str> {
        let above_zero = |key, value: u64| if value == 0 { Err(key) } else { Ok(value) };
        above_zero("service-descriptions.document-bytes", self.document_bytes as u64)?;
        above_zero("service-descriptions.at-once", self.at_once as u64)?;
        let seconds = |key, value| above_zero(key, value).map(Duration::from_secs);
        Ok(Bounds {
            bytes: self.document_bytes,
            redirects: self.redirects,
            step: seconds("service-descriptions.step-time", self.step_time)?,
            whole: seconds("service-descriptions.whole-time", self.whole_time)?,
            at_once: self.at_once,
        })
    }
}
