//! Which row of the table a path and a method mean. A literal segment wins over a parameter; escapes are taken off once.

use std::collections::BTreeSet;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::operation::{Operation, Verb};

/// Most segments of a path.
const MAX_SEGMENTS: usize = 12;

/// All rows by their segments.
#[derive(Debug)]
pub(super) struct Routes {
    rows: Vec<(Verb, Vec<Segment>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    Parameter(&'static str),
}

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Routed {
    /// This row.
    Found { index: usize, parameters: Vec<(&'static str, String)> },
    /// A path that answers other methods.
    OtherMethod { allow: String },
    /// Which methods it answers.
    Options { allow: String },
    /// No path of ours.
    Nothing,
}

impl Routes {
    pub(super) fn new<S>(operations: &[Operation<S>]) -> Self {
        let segments = |path: &'static str| path.split('/').skip(1).map(segment).collect();
        Self { rows: operations.iter().map(|row| (row.verb, segments(row.path))).collect() }
    }

    /// The row for a path below the base path.
    pub(super) fn find(&self, method: &Method, path: &str) -> Routed {
        let raw: Vec<&str> = path.split('/').skip(1).collect();
        if raw.len() > MAX_SEGMENTS {
            return Routed::Nothing;
        }
        let decoded: Option<Vec<String>> = raw.iter().map(|segment| decode(segment)).collect();
        let Some(decoded) = decoded else { return Routed::Nothing };
        let fitting = |(index, (verb, template)): (usize, &(Verb, Vec<Segment>))| {
            fit(template, &decoded).map(|parameters| (index, *verb, parameters))
        };
        let mut fitting: Vec<_> = self.rows.iter().enumerate().filter_map(fitting).collect();
        let Some(fewest) = fitting.iter().map(|(_, _, parameters)| parameters.len()).min() else {
            return Routed::Nothing;
        };
        let verbs: BTreeSet<Verb> =
            fitting.iter().filter(|(_, _, p)| p.len() == fewest).map(|(_, verb, _)| *verb).collect();
        let wanted =
            |verb: Verb| verb.name() == method.as_str() || (verb == Verb::Get && *method == Method::HEAD);
        // A literal path that does not answer this method leaves it to a template that does.
        fitting.sort_by_key(|(_, _, parameters)| parameters.len());
        if let Some((index, _, parameters)) = fitting.into_iter().find(|(_, verb, _)| wanted(*verb)) {
            return Routed::Found { index, parameters };
        }
        let allow = verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>().join(",");
        if *method == Method::OPTIONS { Routed::Options { allow } } else { Routed::OtherMethod { allow } }
    }
}

fn segment(text: &'static str) -> Segment {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => Segment::Parameter(name),
        None => Segment::Literal(text),
    }
}

/// The first segment of a path below the base path, without escapes.
pub(super) fn first(path: &str) -> Option<String> {
    decode(path.split('/').nth(1)?)
}

fn decode(segment: &str) -> Option<String> {
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    Some(decoded.into_owned()).filter(|text| !text.chars().any(char::is_control))
}

fn fit(template: &[Segment], path: &[String]) -> Option<Vec<(&'static str, String)>> {
    if template.len() != path.len() {
        return None;
    }
    let mut parameters = Vec::new();
    for (segment, text) in template.iter().zip(path) {
        match segment {
            Segment::Literal(literal) if literal == text => {}
            Segment::Literal(_) => return None,
            Segment::Parameter(_) if text.is_empty() => return None,
            Segment::Parameter(name) => parameters.push((*name, text.clone())),
        }
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{delete, get, post, put};

    #[test]
    fn literals_win_and_escapes_come_off() {
        let rows: Vec<Operation<()>> = vec![
            get("list", "/members"),
            get("one", "/members/{id}"),
            delete("remove", "/members/{id}"),
            post("upload", "/members/upload"),
            put("deep", "/members/{id}/servers/{server}"),
        ];
        let routes = Routes::new(&rows);
        let found = |method: Method, path: &str| match routes.find(&method, path) {
            Routed::Found { index, parameters } => {
                let values: Vec<String> = parameters.into_iter().map(|(_, value)| value).collect();
                format!("{} {}", rows[index].id, values.join(" ")).trim_end().to_owned()
            }
            Routed::OtherMethod { allow } => format!("405 {allow}"),
            Routed::Options { allow } => format!("options {allow}"),
            Routed::Nothing => "404".to_owned(),
        };
        let cases = [
            (Method::GET, "/members", "list"),
            (Method::HEAD, "/members", "list"),
            (Method::GET, "/members/DEV%3ACOM:1", "one DEV:COM:1"),
            (Method::GET, "/members/upload", "one upload"),
            (Method::POST, "/members/upload", "upload"),
            (Method::PUT, "/members/a/servers/b", "deep a b"),
            (Method::PUT, "/members/a", "405 GET,DELETE"),
            (Method::PUT, "/members/upload", "405 POST"),
            (Method::OPTIONS, "/members", "options GET"),
            (Method::GET, "/member", "404"),
            (Method::GET, "/members/%ff", "404"),
            (Method::GET, "/members/a%00", "404"),
            (Method::GET, "", "404"),
        ];
        for (method, path, expected) in cases {
            assert_eq!(found(method.clone(), path), expected, "{method} {path}");
        }
    }
}
