//! URLs of a configuration: which version a directory is asked for, and where the parts are that it lists [PR-GCONF §3.2].
//!
//! Texts in, texts out: nothing is fetched here, and what is no URL stays none.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_asked_for_and_parts_found() {
        assert_eq!(versioned("http://cs/externalconf", 6), "http://cs/externalconf?version=6");
        assert_eq!(versioned("http://cs/c?a=b", 2), "http://cs/c?a=b&version=2");
        assert!(has_version("http://cs/c?a=b&version=2") && !has_version("http://cs/version=2"));
        let base = "http://cs:8080/externalconf?version=6";
        assert_eq!(resolve(base, "/V6/1/x.xml"), "http://cs:8080/V6/1/x.xml");
        assert_eq!(resolve(base, "../x.xml"), "http://cs:8080/x.xml");
        assert_eq!(resolve(base, "https://other/x.xml"), "https://other/x.xml");
    }
}
