//! The configuration anchor: where to download from and whose signature to believe [PR-GCONF §3.1].
//!
//! Root `configurationAnchor`; the same content without a root of its own stands in private parameters, one per federated instance.
//! The certificates only carry public keys: validity, chain and usages say nothing. Stock consumers drop `https://` sources and
//! need one that starts with `http://`, from which they take the [configuration directory](Anchor::directory_name).
use super::reader::{DocumentError, Reader};
use super::writer::Writer;
use crate::fault::FaultCode;
use crate::time::UnixTime;

const ROOT: &str = "configurationAnchor";
/// Most sources in one anchor, and most certificates in one source.
const MAX_SOURCES: usize = 1000;

/// A configuration anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// When it was made.
    pub generated_at: Option<UnixTime>,
    /// Instance it leads to.
    pub instance: String,
    /// Where to look.
    pub sources: Vec<AnchorSource>,
}

/// One download location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorSource {
    /// URL of the directory.
    pub url: String,
    /// DER of each certificate that may have signed it.
    pub verification_certs: Vec<Vec<u8>>,
}

/// The anchor file is not an anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration anchor cannot be used: {0}")]
pub struct AnchorError(#[from] pub DocumentError);

impl AnchorError {
    /// What a peer or an administrator is told.
    pub fn fault_code(&self) -> FaultCode {
        FaultCode::MalformedAnchor
    }
}

impl Anchor {
    /// Reads an anchor file.
    ///
    /// # Errors
    /// The first rule of the schema that it breaks.
    pub fn read(xml: &[u8]) -> Result<Self, AnchorError> {
        let mut reader = Reader::open(xml, ROOT)?;
        let anchor = Self::read_content(&mut reader)?;
        reader.close(false)?;
        Ok(anchor)
    }

    /// The anchor file, laid out as a stock central server does it.
    ///
    /// # Errors
    /// A text that XML cannot carry.
    pub fn write(&self) -> Result<Vec<u8>, AnchorError> {
        let mut writer = Writer::new(ROOT);
        self.write_content(&mut writer)?;
        Ok(writer.finish().into_bytes())
    }

    /// Configuration directory, normally `internalconf`: what follows host and port in the first source that starts with `http://`.
    pub fn directory_name(&self) -> Option<&str> {
        self.sources
            .iter()
            .find_map(|source| source.url.strip_prefix("http://")?.split_once('/'))
            .map(|found| found.1)
    }

    pub(super) fn read_content(reader: &mut Reader<'_>) -> Result<Self, DocumentError> {
        let generated_at = match reader.optional_text("generatedAt")? {
            Some(text) => {
                Some(UnixTime::from_iso8601(text.trim()).ok_or(DocumentError::Value("generatedAt"))?)
            }
            None => None,
        };
        let instance = reader.text("instanceIdentifier")?;
        let mut sources = Vec::new();
        while sources.is_empty() || reader.at("source")? {
            reader.enter("source")?;
            let url = reader.text("downloadURL")?;
            let verification_certs = reader.binaries("verificationCert")?;
            if verification_certs.is_empty() {
                return Err(DocumentError::Missing("verificationCert"));
            }
            if sources.len() == MAX_SOURCES || verification_certs.len() > MAX_SOURCES {
                return Err(DocumentError::Unexpected("one more source or certificate".into()));
            }
            reader.leave()?;
            sources.push(AnchorSource { url, verification_certs });
        }
        Ok(Self { generated_at, instance, sources })
    }

    pub(super) fn write_content(&self, writer: &mut Writer) -> Result<(), DocumentError> {
        let generated_at = self.generated_at.map(UnixTime::to_iso8601);
        writer.optional_text("generatedAt", generated_at.as_deref())?;
        writer.text("instanceIdentifier", &self.instance)?;
        for source in &self.sources {
            writer.enter("source");
            writer.text("downloadURL", &source.url)?;
            for cert in &source.verification_certs {
                writer.binary("verificationCert", cert);
            }
            writer.leave();
        }
        Ok(())
    }
}
