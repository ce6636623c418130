//! Private parameters: management services, federation anchors, timestamping interval [PR-GCONF §3.4].
//!
//! Two schemas: version 2, and version 3 for every later one, which only adds an extension point at the end.
use super::anchor::Anchor;
use super::reader::{DocumentError, Reader};
use super::writer::Writer;
use super::{ParametersError, check_version};
use crate::id::ClientId;

/// Most federated instances.
const MAX_ANCHORS: usize = 1000;

/// Everything in one `private-params.xml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateParameters {
    /// Instance it belongs to.
    pub instance: String,
    /// Anchors of federated instances.
    pub federation_anchors: Vec<Anchor>,
    /// Where authCertReg goes.
    pub auth_cert_reg_address: String,
    /// DER of the TLS certificate expected there.
    pub auth_cert_reg_cert: Option<Vec<u8>>,
    /// The subsystem that offers the management services.
    pub management_provider: ClientId,
    /// Seconds between batch timestamps.
    pub timestamping_interval_seconds: u64,
}

impl PrivateParameters {
    /// Reads `private-params.xml` of configuration version `version`.
    ///
    /// # Errors
    /// The first rule of the schema that it breaks.
    pub fn read(xml: &[u8], version: u32) -> Result<Self, ParametersError> {
        check_version(version)?;
        let mut reader = Reader::open(xml, "conf")?;
        let instance = reader.text("instanceIdentifier")?;
        let mut federation_anchors = Vec::new();
        while reader.at("configurationAnchor")? {
            if federation_anchors.len() == MAX_ANCHORS {
                return Err(DocumentError::Unexpected("one more configurationAnchor".into()).into());
            }
            reader.enter("configurationAnchor")?;
            federation_anchors.push(Anchor::read_content(&mut reader)?);
            reader.leave()?;
        }
        reader.enter("managementService")?;
        let auth_cert_reg_address = reader.text("authCertRegServiceAddress")?;
        let auth_cert_reg_cert = reader.optional_binary("authCertRegServiceCert")?;
        let management_provider = reader.client_id("managementRequestServiceProviderId")?;
        reader.leave()?;
        let timestamping_interval_seconds = reader.seconds("timeStampingIntervalSeconds")?;
        reader.close(version >= 3)?;
        Ok(Self {
            instance,
            federation_anchors,
            auth_cert_reg_address,
            auth_cert_reg_cert,
            management_provider,
            timestamping_interval_seconds,
        })
    }

    /// Writes `private-params.xml`. All versions have the same content.
    ///
    /// # Errors
    /// A text that XML cannot carry.
    pub fn write(&self, version: u32) -> Result<Vec<u8>, ParametersError> {
        check_version(version)?;
        let mut writer = Writer::new("conf");
        writer.text("instanceIdentifier", &self.instance)?;
        for anchor in &self.federation_anchors {
            writer.enter("configurationAnchor");
            anchor.write_content(&mut writer)?;
            writer.leave();
        }
        writer.enter("managementService");
        writer.text("authCertRegServiceAddress", &self.auth_cert_reg_address)?;
        if let Some(cert) = &self.auth_cert_reg_cert {
            writer.binary("authCertRegServiceCert", cert);
        }
        writer.client_id("managementRequestServiceProviderId", &self.management_provider)?;
        writer.leave();
        writer.text("timeStampingIntervalSeconds", &self.timestamping_interval_seconds.to_string())?;
        Ok(writer.finish().into_bytes())
    }
}
