//! OpenAPI documents as `getOpenAPI` gives them out: without the addresses of the information systems.
//!
//! Of every `servers[].url` only the path stays, unless variables stand in it. A document is read into a [`tree`] of bounded weight and
//! written anew: JSON as JSON, YAML as a block with every string in quotes, so that no reader takes one for a number. The order of
//! keys stays, comments do not.
//!
//! What cannot be read, or is of another major version, is an error. Whether the rest of the document obeys OpenAPI is its owner's
//! business.

use std::fmt::{self, Write};

use crate::service_description::tree::{self, Form, Node};

/// Why a document cannot be given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenApiError {
    /// Neither JSON nor YAML, or more of it than is read.
    #[error("the document cannot be read: {0}")]
    Unreadable(String),
    /// Not OpenAPI 3.
    #[error("the document is not of version 3 of OpenAPI")]
    Version,
    /// A server's URL.
    #[error("the URL of a server in the document is not a URL")]
    Url,
}

/// A document without servers' addresses.
///
/// # Errors
/// [`OpenApiError`].
pub(super) fn hide_addresses(document: &[u8], form: Form) -> Result<Vec<u8>, OpenApiError> {
    let mut node = tree::read(document, form).map_err(OpenApiError::Unreadable)?;
    hide(&mut node)?;
    match form {
        Form::Json => serde_json::to_vec(&node).map_err(|e| OpenApiError::Unreadable(e.to_string())),
        Form::Yaml => {
            let mut out = String::from("---");
            write_yaml(&mut out, &node, Place::Document).expect("text can be written to a string");
            out.push('\n');
            Ok(out.into_bytes())
        }
    }
}

fn hide(document: &mut Node) -> Result<(), OpenApiError> {
    if let Some(version) = document.get("openapi")
        && !matches!(version, Node::Text(text) if text.starts_with("3."))
    {
        return Err(OpenApiError::Version);
    }
    for servers in all(document, "servers") {
        let Node::List(servers) = servers else { continue };
        for url in servers.iter_mut().flat_map(|server| all(server, "url")) {
            if let Node::Text(text) = url
                && !(text.contains('{') && text.contains('}'))
            {
                *url = path_of(text)?.map_or(Node::Null, Node::Text);
            }
        }
    }
    Ok(())
}

/// Every value of a key: what stands there twice is read first by one reader and last by another.
fn all<'a>(node: &'a mut Node, key: &'static str) -> impl Iterator<Item = &'a mut Node> {
    let entries = match node {
        Node::Map(entries) => entries.as_mut_slice(),
        _ => &mut [],
    };
    entries.iter_mut().filter(move |(name, _)| name == key).map(|(_, node)| node)
}

/// The path of a URL or of a reference to one; `None` when it has none, as `mailto:x`.
fn path_of(url: &str) -> Result<Option<String>, OpenApiError> {
    let foreign = |c: char| {
        c.is_ascii_control() || matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '|' | '{' | '}')
    };
    if url.contains(foreign) {
        return Err(OpenApiError::Url);
    }
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let rest = &url[..end];
    let scheme = rest.find(['/', ':']).filter(|at| rest.as_bytes()[*at] == b':');
    let rest = match scheme {
        Some(0) => return Err(OpenApiError::Url),
        Some(at) if !rest[at + 1..].starts_with('/') => return Ok(None),
        Some(at) => &rest[at + 1..],
        None => rest,
    };
    let path = match rest.strip_prefix("//") {
        Some(host_and_path) => host_and_path.find('/').map_or("", |at| &host_and_path[at..]),
        None => rest,
    };
    Ok(Some(path.to_owned()))
}

/// Where a node of YAML stands.
#[derive(Clone, Copy)]
enum Place {
    /// Behind `---`.
    Document,
    /// Behind a key at this indentation.
    Value(usize),
    /// Behind the dash of a list at this indentation.
    Item(usize),
}

fn write_yaml(out: &mut String, node: &Node, place: Place) -> fmt::Result {
    match node {
        Node::List(items) if !items.is_empty() => {
            let indent = match place {
                Place::Document => 0,
                // A list stands below its key, not further in.
                Place::Value(indent) => indent,
                Place::Item(indent) => indent + 2,
            };
            for (index, item) in items.iter().enumerate() {
                begin(out, place, indent, index)?;
                out.push('-');
                write_yaml(out, item, Place::Item(indent))?;
            }
        }
        Node::Map(entries) if !entries.is_empty() => {
            let indent = match place {
                Place::Document => 0,
                Place::Value(indent) | Place::Item(indent) => indent + 2,
            };
            for (index, (key, value)) in entries.iter().enumerate() {
                begin(out, place, indent, index)?;
                if is_plain(key) {
                    out.push_str(key)
                } else {
                    quote(out, key)?
                }
                out.push(':');
                write_yaml(out, value, Place::Value(indent))?;
            }
        }
        Node::List(_) => out.push_str(" []"),
        Node::Map(_) => out.push_str(" {}"),
        Node::Null => out.push_str(" null"),
        Node::Bool(value) => write!(out, " {value}")?,
        Node::Unsigned(value) => write!(out, " {value}")?,
        Node::Signed(value) => write!(out, " {value}")?,
        Node::Float(value) if value.is_nan() => out.push_str(" .nan"),
        Node::Float(value) if value.is_infinite() => {
            out.push_str(if *value > 0.0 { " .inf" } else { " -.inf" })
        }
        Node::Float(value) => write!(out, " {value:?}")?,
        Node::Text(text) => {
            out.push(' ');
            quote(out, text)?;
        }
    }
    Ok(())
}

/// The first entry of a list's item stands behind its dash, every other on a line of its own.
fn begin(out: &mut String, place: Place, indent: usize, index: usize) -> fmt::Result {
    match (place, index) {
        (Place::Item(_), 0) => out.write_str(" "),
        _ => write!(out, "\n{:indent$}", ""),
    }
}

/// A key that is text to every reader without quotes.
fn is_plain(key: &str) -> bool {
    let begins = key.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_' | '$'));
    let others = key.chars().all(|c| c.is_ascii_alphanumeric() || "/_$.-{}".contains(c));
    // What some reader takes for something else.
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    begins && others && !words.iter().any(|word| key.eq_ignore_ascii_case(word))
}

/// A string of JSON is one of YAML in double quotes, once the line ends that only YAML knows are escaped.
fn quote(out: &mut String, text: &str) -> fmt::Result {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(out, "\\u{:04x}", u32::from(c))?;
            }
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(document: &str) -> Result<String, OpenApiError> {
        hide_addresses(document.as_bytes(), Form::Yaml).map(|text| String::from_utf8(text).unwrap())
    }
    fn json(document: &str) -> Result<String, OpenApiError> {
        hide_addresses(document.as_bytes(), Form::Json).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn of_a_servers_url_the_path_stays() {
        let cases = [
            ("http://127.0.0.1:9090/api", Ok("/api")),
            ("https://a.example/v1/x%20y?key=1#f", Ok("/v1/x%20y")),
            ("https://a.example", Ok("")),
            ("//a.example/x", Ok("/x")),
            ("/x/y", Ok("/x/y")),
            ("x/y:z", Ok("x/y:z")),
            ("", Ok("")),
            ("https://{host}/v1", Ok("https://{host}/v1")),
            ("http://a b/", Err(OpenApiError::Url)),
            ("http://a/{b", Err(OpenApiError::Url)),
            (":x/", Err(OpenApiError::Url)),
        ];
        for (url, expected) in cases {
            let text = format!("{{\"servers\":[{{\"url\":{url:?},\"x\":1}}]}}");
            let expected = expected.map(|url| format!("{{\"servers\":[{{\"url\":{url:?},\"x\":1}}]}}"));
            assert_eq!(json(&text), expected, "{url}");
        }
        assert_eq!(json("{\"servers\":[{\"url\":\"mailto:a\"}]}").unwrap(), "{\"servers\":[{\"url\":null}]}");
        let twice = "{\"servers\":[{\"url\":\"http://a/1\"}],\"servers\":[{\"url\":\"http://b/2\",\"url\":\"http://c/3\"}]}";
        let hidden = "{\"servers\":[{\"url\":\"/1\"}],\"servers\":[{\"url\":\"/2\",\"url\":\"/3\"}]}";
        assert_eq!(json(twice).unwrap(), hidden);
        let others = "{\"servers\":[1,{\"url\":[\"http://a/\"]},{}],\"x\":{\"url\":\"http://a/\"}}";
        assert_eq!(json(others).unwrap(), others);
    }

    #[test]
    fn yaml_is_written_anew_with_strings_in_quotes() {
        let document = "openapi: 3.0.0 # kept apart\ninfo: {title: P, version: '1.0', x: [], z: {}}\nservers:\n  - url: http://a/v1\n  \
            - url:\n    variables: {host: {default: a}}\npaths:\n  /pets/{id}:\n    get:\n      200: &r {d: \"a\\nb: c\", i: 1, f: 1.5, t: true}\n      \
            404: *r\n  list: [[1, -2], {a: b, c: [d]}]\n  'no': ~\n";
        let expected = "---\nopenapi: \"3.0.0\"\ninfo:\n  title: \"P\"\n  version: \"1.0\"\n  x: []\n  z: {}\nservers:\n- url: \"/v1\"\n\
            - url: null\n  variables:\n    host:\n      default: \"a\"\npaths:\n  /pets/{id}:\n    get:\n      \"200\":\n        d: \"a\\nb: c\"\n        \
            i: 1\n        f: 1.5\n        t: true\n      \"404\":\n        d: \"a\\nb: c\"\n        i: 1\n        f: 1.5\n        t: true\n  \
            list:\n  - - 1\n    - -2\n  - a: \"b\"\n    c:\n    - \"d\"\n  \"no\": null\n";
        let written = yaml(document).unwrap();
        assert_eq!(written, expected);
        assert_eq!(yaml(&written).unwrap(), expected, "what is written can be read");
    }

    #[test]
    fn what_is_not_openapi_3_is_refused() {
        for version in ["2.0", "'2.0'", "3.0", "null", "[3]", "'4.0.0'"] {
            assert_eq!(yaml(&format!("openapi: {version}\n")), Err(OpenApiError::Version), "{version}");
        }
        assert!(yaml("swagger: '2.0'\n").is_ok(), "no version is any");
        for text in ["a: [", "a: 1\n---\nb: 2\n", "? [a]\n: b\n", "%"] {
            assert!(matches!(yaml(text), Err(OpenApiError::Unreadable(_))), "{text}");
        }
        for text in ["", "{", "{} {}", "{\"a\":}"] {
            assert!(matches!(json(text), Err(OpenApiError::Unreadable(_))), "{text}");
        }
    }

    #[test]
    fn aliases_are_weighed_each_time() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..9 {
            let many = format!("*a{}, ", n - 1).repeat(10);
            text.push_str(&format!("a{n}: &a{n} [{many}]\n"));
        }
        assert!(matches!(yaml(&text), Err(OpenApiError::Unreadable(_))));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(30));
        assert!(matches!(yaml(&long), Err(OpenApiError::Unreadable(_))));
    }
}
