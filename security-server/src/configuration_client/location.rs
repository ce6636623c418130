//! Where to look for a configuration: candidates in order, each with the certificates that may have signed it.
//!
//! First what the stored shared parameters name, then what the anchor names. In each group `https://` comes before `http://`, and
//! each of the two is shuffled, so that servers spread over the sources. The location that worked last time comes first of all.
//! Every plain location has a twin under `https://`.

use proto::globalconf::anchor::Anchor;
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

/// The URL that asks for a version.
pub fn versioned(url: &str, version: u32) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}version={version}")
}

/// Whether a URL says itself which version it is.
pub fn has_version(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| pair.split('=').next() == Some("version"))
}

/// `reference` resolved against the URL of a directory (RFC 3986 §5.2, without fragments).
pub fn resolve(base: &str, reference: &str) -> String {
    if reference.starts_with("http://") || reference.starts_with("https://") {
        return reference.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if reference.starts_with("//") {
        return format!("{scheme}:{reference}");
    }
    let merged = match reference.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => match path.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{reference}"),
            None => reference.to_owned(),
        },
    };
    format!("{scheme}://{authority}/{}", without_dots(&merged))
}

/// Takes `.` and `..` segments out.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let path = kept.join("/");
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}
