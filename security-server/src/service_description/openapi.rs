//! OpenAPI 3.0 and 3.1.0, in JSON or YAML: where the service is, and which methods and paths it has [OpenAPI 3.0.3 §4.7].
//!
//! The address is that of the first server, resolved against the document's own; variables in it stay. Without servers it is `/`
//! there (§4.7.1.1). Parameters of a path become `*`, as patterns of endpoints have it.
//!
//! What the specification demands and a document does not keep is a remark where the document can be used all the same: an
//! administrator may accept it. References are looked up in the document alone, and other documents are never read. Weight and depth
//! are those of [`super::tree`].

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{self, Form, Node};
use super::{remark, uri};

/// Most operations of one document.
pub const MAX_OPERATIONS: usize = 2_000;
/// Most parts of a document that remarks are looked for in.
const MAX_SCHEMAS: usize = 100_000;

/// Methods of operations, in the order in which they are listed.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// A document that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenApi {
    /// Where the service is.
    pub base_url: String,
    /// Method and pattern of each operation, no two alike.
    pub operations: Vec<(String, String)>,
    /// To be accepted.
    pub remarks: Vec<String>,
}

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenApiError {
    /// Neither JSON nor YAML, or no OpenAPI.
    #[error("Unable to parse OpenAPI description from {0}")]
    Unreadable(String),
    /// Of another version.
    #[error("OpenAPI version {0} not supported")]
    Version(String),
    /// Too many.
    #[error("the description has more than {MAX_OPERATIONS} operations")]
    TooMany,
}

/// Reads the document that was found at `url`.
///
/// # Errors
/// [`OpenApiError`].
pub fn read(bytes: &[u8], url: &str) -> Result<OpenApi, OpenApiError> {
    let unreadable = || OpenApiError::Unreadable(url.to_owned());
    let document = tree::read(bytes, Form::of(bytes)).map_err(|_| unreadable())?;
    let version = match (document.get("openapi"), document.get("swagger")) {
        (Some(Node::Text(version)), _) => version.clone(),
        (Some(Node::Float(version)), _) => version.to_string(),
        (None, Some(swagger)) => {
            let version = swagger.text().unwrap_or("2.0");
            return Err(OpenApiError::Version(version.to_owned()));
        }
        _ => return Err(unreadable()),
    };
    if !(version.starts_with("3.0") || version == "3.1.0") {
        return Err(OpenApiError::Version(version));
    }
    let mut read = OpenApi { base_url: base_url(&document, url), ..OpenApi::default() };
    check_head(&document, &version, &mut read.remarks);
    let (mut known, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in document.get("paths").into_iter().flat_map(Node::entries) {
        if path.starts_with("x-") {
            continue;
        }
        if !path.starts_with('/') {
            remark(&mut read.remarks, format!("paths.'{path}' does not begin with a slash"));
            continue;
        }
        let pattern = pattern(path);
        for (method, operation) in METHODS.iter().filter_map(|method| Some((method, item.get(method)?))) {
            let place = format!("paths.'{path}'({method})");
            check_operation(&document, &place, path, item, operation, &mut read.remarks);
            if let Some(id) = operation.get("operationId").and_then(Node::text)
                && !names.insert(id)
            {
                remark(&mut read.remarks, format!("{place}: operationId {id:?} is used twice"));
            }
            let operation = (method.to_ascii_uppercase(), pattern.clone());
            if known.insert(operation.clone()) {
                read.operations.push(operation);
            }
        }
        if read.operations.len() > MAX_OPERATIONS {
            return Err(OpenApiError::TooMany);
        }
    }
    check_required(&document, &mut read.remarks);
    Ok(read)
}

fn base_url(document: &Node, url: &str) -> String {
    let servers = document.get("servers").map(Node::items).unwrap_or_default();
    let first = servers.first().and_then(|server| server.get("url")).and_then(Node::text);
    match first.unwrap_or("/").trim() {
        variable if variable.contains('{') => variable.to_owned(),
        reference => uri::resolve(url, reference),
    }
}

/// A path with `*` for each parameter: `/pets/{id}` is `/pets/*`.
fn pattern(path: &str) -> String {
    let segment = |segment: &str| match (segment.find('{'), segment.rfind('}')) {
        (Some(from), Some(to)) if from < to => format!("{}*{}", &segment[..from], &segment[to + 1..]),
        _ => segment.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn check_head(document: &Node, version: &str, remarks: &mut Vec<String>) {
    for field in ["title", "version"] {
        if document.get("info").is_none_or(|info| info.get(field).is_none()) {
            remark(remarks, format!("info.{field} is missing"));
        }
    }
    let has = |part: &str| document.get(part).is_some();
    // From 3.1 on a document may consist of components or webhooks alone.
    if !has("paths") && (version.starts_with("3.0") || !(has("components") || has("webhooks"))) {
        remark(remarks, "paths is missing".to_owned());
    }
}

fn check_operation(
    document: &Node,
    place: &str,
    path: &str,
    item: &Node,
    operation: &Node,
    remarks: &mut Vec<String>,
) {
    // From 3.1 on an operation need not say what it answers.
    let is_3_0 =
        document.get("openapi").and_then(Node::text).is_some_and(|version| version.starts_with("3.0"));
    if is_3_0 && operation.get("responses").is_none() {
        remark(remarks, format!("{place}: responses is missing"));
    }
    let parameters = [item, operation].into_iter().filter_map(|part| part.get("parameters"));
    let parameters = parameters.flat_map(Node::items).map(|parameter| referred(document, parameter));
    let declared: BTreeSet<&str> = parameters
        .filter(|parameter| parameter.get("in").and_then(Node::text) == Some("path"))
        .filter_map(|parameter| parameter.get("name").and_then(Node::text))
        .collect();
    for name in parameters_of(path).filter(|name| !declared.contains(name)) {
        remark(remarks, format!("{place}: the path's parameter {name} is not declared as one"));
    }
}

/// Names between braces.
fn parameters_of(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// What a reference into the same document stands for; itself when it is none, or leads nowhere.
fn referred<'a>(document: &'a Node, node: &'a Node) -> &'a Node {
    let Some(pointer) = node.get("$ref").and_then(Node::text).and_then(|text| text.strip_prefix("#/")) else {
        return node;
    };
    let mut found = document;
    for step in pointer.split('/') {
        let Some(next) = found.get(&step.replace("~1", "/").replace("~0", "~")) else { return node };
        found = next;
    }
    found
}

/// A schema names each required property once.
fn check_required(document: &Node, remarks: &mut Vec<String>) {
    let mut left: Vec<(&str, &Node)> = vec![("", document)];
    for _ in 0..MAX_SCHEMAS {
        let Some((name, node)) = left.pop() else { return };
        let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
        for property in node.get("required").into_iter().flat_map(Node::items).filter_map(Node::text) {
            *counted.entry(property).or_default() += 1;
        }
        for property in counted.into_iter().filter(|(_, count)| *count > 1).map(|(property, _)| property) {
            remark(remarks, format!("{name}: required names {property} more than once"));
        }
        // Examples are anything, and no schemas.
        let below =
            node.entries().filter(|(key, _)| !matches!(*key, "example" | "examples" | "default" | "enum"));
        left.extend(below);
        left.extend(node.items().iter().map(|item| (name, item)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "openapi: 3.0.1\ninfo: {title: T, version: '1'}\n";

    fn parsed(text: &str) -> Result<OpenApi, OpenApiError> {
        read(text.as_bytes(), "http://is.test:8080/docs/api.yaml")
    }

    #[test]
    fn the_address_is_that_of_the_first_server() {
        let cases = [
            ("", "http://is.test:8080/"),
            ("servers: []\n", "http://is.test:8080/"),
            ("servers: [{url: /v1}, {url: /v2}]\n", "http://is.test:8080/v1"),
            ("servers: [{url: v1}]\n", "http://is.test:8080/docs/v1"),
            ("servers: [{url: 'https://other/x/'}]\n", "https://other/x/"),
            ("servers: [{url: 'https://{host}/x'}]\n", "https://{host}/x"),
        ];
        for (servers, expected) in cases {
            let read = parsed(&format!("{HEAD}{servers}paths: {{}}\n")).unwrap();
            assert_eq!(read.base_url, expected, "{servers}");
            assert_eq!(read.remarks, [] as [String; 0]);
        }
    }

    #[test]
    fn operations_are_methods_and_patterns() {
        let read = parsed(&format!(
            "{HEAD}paths:\n  x-note: {{get: {{}}}}\n  /pets/{{id}}/{{a}}-{{b}}.json:\n    parameters:\n    - $ref: '#/components/parameters/id'\n    \
             - {{in: path, name: a}}\n    get: {{responses: {{200: {{description: d}}}}, parameters: [{{in: path, name: b}}]}}\n    \
             summary: none\n  /pets/{{other}}/{{c}}-{{d}}.json:\n    get: {{responses: {{}}}}\ncomponents: {{parameters: {{id: {{in: path, name: id}}}}}}\n"
        ))
        .unwrap();
        assert_eq!(read.operations, [("GET".to_owned(), "/pets/*/*.json".to_owned())], "no two alike");
        assert_eq!(read.remarks.len(), 3, "the parameters of the second path: {:?}", read.remarks);
    }

    #[test]
    fn versions_and_rubbish() {
        let version = |text: &str| Err(OpenApiError::Version(text.into()));
        let unreadable = || Err(OpenApiError::Unreadable("http://is.test:8080/docs/api.yaml".into()));
        let cases = [
            ("openapi: 3.1.0\ncomponents: {}\ninfo: {title: t, version: 1}\n", Ok(0)),
            ("openapi: 3.0.3\ninfo: {title: t, version: 1}\n", Ok(1)),
            (r#"{"openapi":"3.0.0","info":{"title":"t","version":"1"},"paths":{}}"#, Ok(0)),
            ("openapi: 3.1.1\n", version("3.1.1")),
            ("openapi: 2.0.0\n", version("2.0.0")),
            ("swagger: '2.0'\npaths: {}\n", version("2.0")),
            ("just text", unreadable()),
            ("- a\n- b\n", unreadable()),
            ("{\"openapi\":", unreadable()),
            ("a: [b", unreadable()),
            ("", unreadable()),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text).map(|read| read.remarks.len()), expected, "{text}");
        }
    }

    #[test]
    fn a_small_document_does_not_become_a_large_one() {
        let mut text = format!("{HEAD}a0: &a0 [xxxxxxxxxx, xxxxxxxxxx]\n");
        for n in 1..30 {
            text.push_str(&format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1));
        }
        assert!(matches!(parsed(&text), Err(OpenApiError::Unreadable(_))));
    }
}
