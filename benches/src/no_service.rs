//! The surroundings of a message log that is measured alone: no timestamping service.

use std::time::Duration;

use pki::cert::Certificate;
use proto::time::UnixTime;
use security_server::message_log::timestamper::Surroundings;

/// There is none.
#[derive(Debug)]
pub(crate) struct NoService;

impl Surroundings for NoService {
    fn services(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn has_services(&self) -> bool {
        false
    }
    fn trusted(&self, _: UnixTime) -> Option<Vec<Certificate>> {
        None
    }
    fn interval(&self) -> Duration {
        Duration::from_secs(3600)
    }
}
