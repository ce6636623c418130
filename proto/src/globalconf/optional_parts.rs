//! The optional parts of the internal configuration that security servers act on.
//!
//! | Content-identifier | File | Says |
//! |---|---|---|
//! | `MONITORING` | `monitoring-params.xml` | who may ask every server for its environment data |
//! | `FETCHINTERVAL` | `fetchinterval-params.xml` | seconds between OCSP fetches |
//! | `NEXTUPDATE` | `nextupdate-params.xml` | whether nextUpdate of OCSP answers is held against them |
//!
//! Others are stored as they come and mean nothing here; [`check`] only makes sure that they are XML without a DOCTYPE.
use super::ParametersError;
use super::reader::{DocumentError, LIMITS, Reader};
use super::writer::Writer;
use crate::id::ClientId;
use crate::xml;

/// Content identifier of the monitoring part.
pub const MONITORING: &str = "MONITORING";
/// Content identifier of the OCSP fetch interval part.
pub const FETCH_INTERVAL: &str = "FETCHINTERVAL";
/// Content identifier of the OCSP nextUpdate part.
pub const NEXT_UPDATE: &str = "NEXTUPDATE";
/// File of the monitoring part.
pub const MONITORING_FILE: &str = "monitoring-params.xml";
/// File of the OCSP fetch interval part.
pub const FETCH_INTERVAL_FILE: &str = "fetchinterval-params.xml";
/// File of the OCSP nextUpdate part.
pub const NEXT_UPDATE_FILE: &str = "nextupdate-params.xml";

/// `monitoring-params.xml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitoringParameters {
    /// The member or subsystem that may ask; nobody when absent.
    pub client: Option<ClientId>,
}

impl MonitoringParameters {
    /// Reads the part.
    ///
    /// # Errors
    /// The first rule of the schema that it breaks.
    pub fn read(xml: &[u8]) -> Result<Self, ParametersError> {
        let mut reader = Reader::open(xml, "conf")?;
        reader.enter("monitoringClient")?;
        let client = if reader.at("monitoringClientId")? {
            Some(reader.client_id("monitoringClientId")?)
        } else {
            None
        };
        reader.leave()?;
        reader.close(false)?;
        Ok(Self { client })
    }

    /// Writes the part.
    ///
    /// # Errors
    /// A text that XML cannot carry.
    pub fn write(&self) -> Result<Vec<u8>, ParametersError> {
        let mut writer = Writer::new("conf");
        writer.enter("monitoringClient");
        if let Some(client) = &self.client {
            writer.client_id("monitoringClientId", client)?;
        }
        writer.leave();
        Ok(writer.finish().into_bytes())
    }
}

/// Reads `fetchinterval-params.xml`: seconds between OCSP fetches.
///
/// # Errors
/// The first rule of the schema that it breaks.
pub fn read_fetch_interval(xml: &[u8]) -> Result<u64, ParametersError> {
    let mut reader = Reader::open(xml, "conf")?;
    let seconds = reader.seconds("ocspFetchInterval")?;
    reader.close(false)?;
    Ok(seconds)
}

/// Writes `fetchinterval-params.xml`.
///
/// # Errors
/// Never in practice: digits can be written.
pub fn write_fetch_interval(seconds: u64) -> Result<Vec<u8>, ParametersError> {
    let mut writer = Writer::new("conf");
    writer.text("ocspFetchInterval", &seconds.to_string())?;
    Ok(writer.finish().into_bytes())
}

/// Reads `nextupdate-params.xml`: whether nextUpdate is held against an OCSP answer.
///
/// # Errors
/// The first rule of the schema that it breaks.
pub fn read_next_update(xml: &[u8]) -> Result<bool, ParametersError> {
    let mut reader = Reader::open(xml, "conf")?;
    let verify = reader.boolean("verifyNextUpdate")?;
    reader.close(false)?;
    Ok(verify)
}

/// Writes `nextupdate-params.xml`.
///
/// # Errors
/// Never in practice: `true` and `false` can be written.
pub fn write_next_update(verify: bool) -> Result<Vec<u8>, ParametersError> {
    let mut writer = Writer::new("conf");
    writer.text("verifyNextUpdate", if verify { "true" } else { "false" })?;
    Ok(writer.finish().into_bytes())
}

/// Whether a part can be published or stored: one that is known must follow its schema, any other must be XML that we take.
///
/// # Errors
/// The first broken rule.
pub fn check(content_identifier: &str, bytes: &[u8]) -> Result<(), ParametersError> {
    match content_identifier {
        MONITORING => MonitoringParameters::read(bytes).map(drop),
        FETCH_INTERVAL => read_fetch_interval(bytes).map(drop),
        NEXT_UPDATE => read_next_update(bytes).map(drop),
        _ => xml::check(bytes, &LIMITS).map_err(|e| DocumentError::from(e).into()),
    }
}
