//! A reader for recorded HTTP messages: head, then the body with its framing taken off.
use std::path::Path;

/// One recorded message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Request line or status line.
    pub(crate) first: Vec<u8>,
    /// Names as written, values trimmed.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn read(path: &Path) -> Option<Self> {
        Self::parse(&std::fs::read(path).ok()?)
    }

    /// The first message in `bytes` that is not an interim response; `None` when there is no head.
    pub(crate) fn parse(mut bytes: &[u8]) -> Option<Self> {
        loop {
            let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
            let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
            let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let first = lines.next()?.to_vec();
            if first.starts_with(b"HTTP/1.1 1") {
                bytes = rest;
                continue;
            }
            let headers: Vec<(String, Vec<u8>)> = lines
                .filter_map(|line| {
                    let colon = line.iter().position(|b| *b == b':')?;
                    let name = String::from_utf8(line[..colon].to_vec()).ok()?;
                    Some((name, line[colon + 1..].trim_ascii().to_vec()))
                })
                .collect();
            let mut message = Self { first, headers, body: Vec::new() };
            message.body =
                if message.get("transfer-encoding").is_some() { dechunk(rest) } else { rest.to_vec() };
            return Some(message);
        }
    }

    /// A header as text, its bytes read as ISO-8859-1.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.iter().map(|b| char::from(*b)).collect())
    }

    /// Method and raw target of a request line of three words.
    pub(crate) fn request_line(&self) -> Option<(String, Vec<u8>)> {
        let words: Vec<&[u8]> = self.first.split(|b| *b == b' ').collect();
        match words[..] {
            [method, target, version] if version.starts_with(b"HTTP/") => {
                Some((String::from_utf8(method.to_vec()).ok()?, target.to_vec()))
            }
            _ => None,
        }
    }

    /// Status and reason phrase of a status line.
    pub(crate) fn status_line(&self) -> Option<(u16, String)> {
        let line = std::str::from_utf8(&self.first).ok()?;
        let mut words = line.splitn(3, ' ');
        let _version = words.next()?;
        let status = words.next()?.parse().ok()?;
        Some((status, words.next().unwrap_or_default().to_owned()))
    }
}

/// Joins the chunks there are; what is cut off or broken ends the body.
fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|line| line.split(';').next());
        let Some(size) = size.and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok()) else { break };
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        rest = size.checked_add(2).and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    body
}
