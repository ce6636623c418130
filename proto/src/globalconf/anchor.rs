//! The configuration anchor: where to download from and whose signature to believe [PR-GCONF §3.1; trust dossier §2.3].
use crate::time::UnixTime;

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
