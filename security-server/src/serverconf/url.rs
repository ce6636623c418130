//! Where a service is: parsed once, when it is configured, with its query apart.

use std::fmt;

/// Longest service URL, bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// A parsed `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceUrl {
    /// `https`.
    pub https: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port, the scheme's own when there was none.
    pub port: u16,
    /// `Host` header: as written.
    pub authority: String,
    /// Raw path, empty or `/…`.
    pub path: String,
    /// Raw query.
    pub query: Option<String>,
}

/// Why a text is no URL of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("it is not a URL such as http://10.0.0.5:8080/service")]
    Malformed,
    /// Another scheme.
    #[error("it must begin with http:// or https://")]
    Scheme,
    /// `user@host`.
    #[error("it must not hold a user name")]
    UserInfo,
    /// `#…`.
    #[error("it must not hold a fragment (#)")]
    Fragment,
    /// Too long.
    #[error("it is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
}

impl ServiceUrl {
    /// Parses `text`.
    ///
    /// # Errors
    /// [`UrlError`], for the operator to read.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_URL_BYTES {
            return Err(UrlError::TooLong);
        }
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        let https = match text.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => false,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => true,
            _ => return Err(UrlError::Scheme),
        };
        let uri: http::Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        let written_host = authority.host();
        let port = match authority.as_str().strip_prefix(written_host) {
            Some("") if https => 443,
            Some("") => 80,
            Some(rest) => rest[1..].parse().ok().filter(|port| *port > 0).ok_or(UrlError::Malformed)?,
            None => return Err(UrlError::Malformed),
        };
        let host = written_host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(UrlError::Malformed);
        }
        // The parser makes `/` of an absent path; what the operator wrote decides what is sent.
        let bare = text
            .split_once("://")
            .is_some_and(|(_, rest)| !rest.split('?').next().unwrap_or("").contains('/'));
        Ok(Self {
            https,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: if bare { String::new() } else { uri.path().to_owned() },
            query: uri.query().map(str::to_owned),
        })
    }

    /// The request target for `service_path` (raw, empty or `/…`) and the raw query of a request: this path, then that one with one
    /// slash where both have it, then this query, then that one.
    pub fn target(&self, service_path: &str, query: Option<&str>) -> String {
        let base = if service_path.starts_with('/') {
            self.path.strip_suffix('/').unwrap_or(&self.path)
        } else {
            &self.path
        };
        let mut target = format!("{base}{service_path}");
        if !target.starts_with('/') {
            target.insert(0, '/');
        }
        for (index, part) in [self.query.as_deref(), query].into_iter().flatten().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(part);
        }
        target
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.target("", None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_operator_writes() {
        let cases = [
            ("http://a", Ok((false, "a", 80, "", None))),
            ("https://a.b/", Ok((true, "a.b", 443, "/", None))),
            ("http://10.0.0.5:8080/x/y?k=v", Ok((false, "10.0.0.5", 8080, "/x/y", Some("k=v")))),
            ("http://[::1]:81/x", Ok((false, "::1", 81, "/x", None))),
            ("ftp://a/", Err(UrlError::Scheme)),
            ("/path", Err(UrlError::Scheme)),
            ("http://", Err(UrlError::Malformed)),
            ("http://a:0/", Err(UrlError::Malformed)),
            ("http://a:99999/", Err(UrlError::Malformed)),
            ("http://a b/", Err(UrlError::Malformed)),
            ("http://u:p@a/", Err(UrlError::UserInfo)),
            ("http://a/#f", Err(UrlError::Fragment)),
        ];
        for (text, expected) in cases {
            let found = ServiceUrl::parse(text);
            let found = found
                .as_ref()
                .map(|u| (u.https, u.host.as_str(), u.port, u.path.as_str(), u.query.as_deref()));
            assert_eq!(found, expected.as_ref().map(|e| *e), "{text}");
        }
    }

    #[test]
    fn joins_paths_and_keeps_queries_apart() {
        let cases = [
            ("http://a", "", None, "/"),
            ("http://a", "/x", None, "/x"),
            ("http://a/", "/x", None, "/x"),
            ("http://a/base", "", None, "/base"),
            ("http://a/base", "/", None, "/base/"),
            ("http://a/base/", "/x%2Fy", Some("q=1"), "/base/x%2Fy?q=1"),
            ("http://a/base?key=1", "/x", Some("q=2"), "/base/x?key=1&q=2"),
            ("http://a/base", "//x", None, "/base//x"),
            ("http://a?k", "", None, "/?k"),
        ];
        for (url, path, query, expected) in cases {
            assert_eq!(ServiceUrl::parse(url).unwrap().target(path, query), expected, "{url} + {path}");
        }
    }
}
