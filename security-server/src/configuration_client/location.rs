//! Where to look for a configuration: candidates in order, each with the certificates that may have signed it.
//!
//! First what the stored shared parameters name, then what the anchor names. In each group `https://` comes before `http://`, and
//! each of the two is shuffled, so that servers spread over the sources. The location that worked last time comes first of all.
//! Every plain location has a twin under `https://`.

use proto::globalconf::anchor::Anchor;
pub use proto::globalconf::location::{has_version, resolve, versioned};
use proto::globalconf::shared_parameters::Source;
use ring::rand::{SecureRandom, SystemRandom};

/// Somewhere to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// URL of the directory, without a version.
    pub url: String,
    /// Certificates that may have signed it.
    pub certs: Vec<Vec<u8>>,
}

/// All candidates, best first.
pub fn candidates(anchor: &Anchor, sources: &[Source], last_good: Option<&str>) -> Vec<Location> {
    let mut found = Vec::new();
    for mut group in [from_sources(anchor, sources), from_anchor(anchor)] {
        shuffle(&mut group);
        // Stable, so that the shuffle stays inside the schemes.
        group.sort_by_key(|location| !is_https(&location.url));
        for location in group {
            if !found.contains(&location) {
                found.push(location);
            }
        }
    }
    // Every location at that URL, since its certificates may stand in one group only.
    found.sort_by_key(|location| last_good != Some(location.url.as_str()));
    found
}

/// What the stored shared parameters name; nothing when the anchor has no plain source to take the directory's name from.
pub fn from_sources(anchor: &Anchor, sources: &[Source]) -> Vec<Location> {
    let Some(directory) = anchor.directory_name() else { return Vec::new() };
    let mut found = Vec::new();
    for source in sources {
        let certs: Vec<_> = match directory {
            "internalconf" => source.internal_certs.clone(),
            "externalconf" => source.external_certs.clone(),
            _ => source.internal_certs.iter().chain(&source.external_certs).cloned().collect(),
        };
        for scheme in ["https", "http"] {
            found.push(Location {
                url: format!("{scheme}://{}/{directory}", source.address),
                certs: certs.clone(),
            });
        }
    }
    found
}

fn from_anchor(anchor: &Anchor) -> Vec<Location> {
    let mut found = Vec::new();
    for source in &anchor.sources {
        let certs = &source.verification_certs;
        if let Some(rest) = source.url.strip_prefix("http://") {
            found.push(Location { url: format!("https://{rest}"), certs: certs.clone() });
        }
        found.push(Location { url: source.url.clone(), certs: certs.clone() });
    }
    found
}

fn is_https(url: &str) -> bool {
    url.starts_with("https://")
}

/// Fisher and Yates. A random source that fails leaves the order of the configuration, which is no worse than none.
fn shuffle(locations: &mut [Location]) {
    let random = SystemRandom::new();
    for last in (1..locations.len()).rev() {
        let mut bytes = [0; 4];
        if random.fill(&mut bytes).is_err() {
            return;
        }
        // The bias of the remainder is far below what spreading load could notice.
        let other = usize::try_from(u32::from_be_bytes(bytes)).map_or(0, |number| number % (last + 1));
        locations.swap(last, other);
    }
}
