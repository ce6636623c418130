//! The contract of a management API as a table in a text file: one call a line, with what must come of it.
//!
//! ```text
//! # operation | path below /api/v1 | body | status | code; metadata… | what is kept of the answer
//! addClient   | /clients           | {…}  | 201    |                 | client=/id
//! getClient as none | /clients/{client} | | 401
//! getClient   | /clients/{client}  |      | 200
//! getClient   | /clients/DEV:COM:9 |      | 404    | client_not_found; DEV:COM:9
//! ! publish
//! ```
//!
//! `/pointer==text` among what is kept must stand in the answer. `{name}` in a path, a body or an expectation is what an earlier line
//! kept; columns at the end may be missing. A body is JSON, a form ([`form`]), or `@…`, which the test that plays the table makes. A
//! status with `~` before it is asked for again until it comes, for what takes its time; `*` among metadata is anything. A line that
//! begins with `!` is something that happens besides. Whoever may do anything calls, unless a line says `as` whom.
//!
//! [`Contract`] judges answers: an example must fit the schema of the served API document and of the reference's, request and answer; a
//! refusal must be one that the operation's row names, with code and metadata. At the end each operation that is served must have had its
//! example and each named refusal its case.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Who may do anything.
pub const ANYBODY: &str = "all";

/// What an operation that never succeeds is excused from, in place of a refusal's code.
pub const EXAMPLE: &str = "";

/// Refusals that any operation may have, and that no row names.
const COMMON: [&str; 3] = ["validation_failure", "invalid_encoded_id", "id_not_a_number"];

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A call.
    Call(Case<'a>),
    /// What else happens, in words of the test's own.
    Act(&'a str),
}

/// A call with what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case<'a> {
    /// Where it stands, for the report.
    pub line: usize,
    /// Id of the operation.
    pub operation: &'a str,
    /// Who calls.
    pub caller: &'a str,
    /// Below the base path, with its query.
    pub path: &'a str,
    /// As written.
    pub body: &'a str,
    /// What must come of it.
    pub status: u16,
    /// It may take a while.
    pub eventually: bool,
    /// Code and what stands beside it; empty for an example.
    pub refusal: Vec<&'a str>,
    /// Name and JSON pointer of what is kept of the answer.
    pub keep: Vec<(&'a str, &'a str)>,
    /// JSON pointer and text of what must stand in it.
    pub holds: Vec<(&'a str, &'a str)>,
}

/// Reads the table.
///
/// # Panics
/// A line has no form: it is part of the test.
pub fn lines(text: &str) -> Vec<Line<'_>> {
    let rows = text.lines().enumerate().map(|(index, row)| (index + 1, row.trim()));
    let rows = rows.filter(|(_, row)| !row.is_empty() && !row.starts_with('#'));
    rows.map(|(line, row)| match row.strip_prefix('!') {
        Some(act) => Line::Act(act.trim()),
        None => Line::Call(case(line, row)),
    })
    .collect()
}

fn case(line: usize, row: &str) -> Case<'_> {
    let mut columns = row.split(" |").map(str::trim);
    let mut next = || columns.next().unwrap_or_default();
    let (operation, path, body, status, refusal, keep) = (next(), next(), next(), next(), next(), next());
    let (operation, caller) = operation.split_once(" as ").unwrap_or((operation, ANYBODY));
    let eventually = status.starts_with('~');
    let status = status.trim_start_matches('~').parse();
    let (holds, keep): (Vec<_>, Vec<_>) = keep.split_whitespace().partition(|text| text.starts_with('/'));
    Case {
        line,
        operation,
        caller,
        path,
        body,
        status: status.unwrap_or_else(|_| panic!("line {line} has no status: {row}")),
        eventually,
        refusal: refusal.split("; ").map(str::trim).filter(|part| !part.is_empty()).collect(),
        keep: keep.into_iter().filter_map(|text| text.split_once('=')).collect(),
        holds: holds.into_iter().filter_map(|text| text.split_once("==")).collect(),
    }
}

/// What earlier lines kept.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Keeps something.
    pub fn keep(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Keeps of an answer what a case says.
    pub fn keep_of(&mut self, case: &Case<'_>, answer: &Value) {
        for (name, pointer) in &case.keep {
            self.keep(name, answer.pointer(pointer).map(text_of).unwrap_or_default());
        }
    }

    /// What is kept under a name; empty for nothing.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A text with what its names stand for.
    pub fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }
}

/// A text as it is, anything else as JSON writes it.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The bytes of `FIELD=VALUE; FIELD=FILE@WHAT` as multipart with the boundary `b`; `what` makes the content of files, which else is the
/// word itself.
pub fn form(text: &str, mut what: impl FnMut(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut body = Vec::new();
    for field in text.split("; ") {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let (file, content) = match value.split_once('@') {
            Some((file, content)) => (
                format!("; filename=\"{file}\""),
                what(content).unwrap_or_else(|| content.as_bytes().to_vec()),
            ),
            None => (String::new(), value.as_bytes().to_vec()),
        };
        body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        body.extend(content);
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    body
}

/// What a refusal says: code, metadata, failed rules as `field=Rule`, warnings as `code(metadata, …)`.
pub fn said(answer: &Value) -> Vec<String> {
    let texts =
        |list: &Value| -> Vec<String> { list.as_array().into_iter().flatten().map(text_of).collect() };
    let error = &answer["error"];
    let mut said: Vec<String> = error["code"].as_str().map(str::to_owned).into_iter().collect();
    said.extend(texts(&error["metadata"]));
    for (field, rules) in error["validation_errors"].as_object().into_iter().flatten() {
        said.extend(texts(rules).into_iter().map(|rule| format!("{field}={rule}")));
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        let metadata = texts(&warning["metadata"]).join(", ");
        said.push(format!("{}({metadata})", warning["code"].as_str().unwrap_or_default()));
    }
    said
}

/// The reference's document of a server with the schemas that it takes from the one of both servers.
pub fn with_common(mut document: Value, common: &Value) -> Value {
    let schemas = common["components"]["schemas"].as_object().into_iter().flatten();
    for (name, schema) in schemas {
        document["components"]["schemas"][name] = schema.clone();
    }
    document
}

/// What the table of a server says about an operation.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Id.
    pub id: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Template below the base path.
    pub path: &'static str,
    /// It is in the API documents; log-in is not.
    pub documented: bool,
    /// The answer to an example is JSON.
    pub json: bool,
    /// Status and code of the refusals that it names.
    pub refusals: &'static [(u16, &'static str)],
}

/// Events of which an audit log should have one and has none: of every operation that changes something one for success, and one for
/// failure where it has been refused. `rows` are the operations with their events and whether they may be refused.
pub fn unrecorded<'a>(
    log: &str,
    rows: impl IntoIterator<Item = (&'a str, Option<&'a str>, bool)>,
    excused: &[(&str, &str, &str)],
) -> Vec<String> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
    let events: BTreeSet<String> =
        log.lines().filter_map(|text| line(text)["event"].as_str().map(str::to_owned)).collect();
    let mut missing = Vec::new();
    for (id, event, refuses) in rows {
        let Some(event) = event else { continue };
        let never = excused.iter().any(|(of, what, _)| *of == id && *what == EXAMPLE);
        let wanted = [(!never, event.to_owned()), (refuses, format!("{event} failed"))];
        let none = wanted.into_iter().filter(|(wanted, event)| *wanted && !events.contains(event));
        missing.extend(none.map(|(_, event)| format!("{id}: {event}")));
    }
    missing
}

/// The judge over a whole table.
#[derive(Debug)]
pub struct Contract {
    rows: BTreeMap<&'static str, Row>,
    ours: Value,
    theirs: Option<Value>,
    /// Required fields of the reference's document that live servers leave out.
    left_out: &'static [&'static str],
    examples: BTreeSet<String>,
    drawn: BTreeSet<(String, u16, String)>,
    wrong: Vec<String>,
    cases: usize,
}

impl Contract {
    /// Over the rows of a server, the API document it serves and, where there, the reference's.
    pub fn new(
        rows: impl IntoIterator<Item = Row>,
        ours: Value,
        theirs: Option<Value>,
        left_out: &'static [&'static str],
    ) -> Self {
        Self {
            rows: rows.into_iter().map(|row| (row.id, row)).collect(),
            ours,
            theirs,
            left_out,
            examples: BTreeSet::new(),
            drawn: BTreeSet::new(),
            wrong: Vec::new(),
            cases: 0,
        }
    }

    /// The row of a case.
    ///
    /// # Panics
    /// There is none: the table of the test names an operation that is not there.
    pub fn row(&self, case: &Case<'_>) -> Row {
        *self
            .rows
            .get(case.operation)
            .unwrap_or_else(|| panic!("line {}: no operation {}", case.line, case.operation))
    }

    /// Judges an answer; `sent` and `answer` are null where they are no JSON.
    pub fn judge(&mut self, case: &Case<'_>, names: &Names, sent: &Value, status: u16, answer: &Value) {
        self.cases += 1;
        let path = names.fill(case.path);
        if let Some(why) = self.fault(case, names, &path, sent, status, answer) {
            self.wrong.push(format!("line {}, {} {path}: {why}", case.line, case.operation));
        }
    }

    fn fault(
        &mut self,
        case: &Case<'_>,
        names: &Names,
        path: &str,
        sent: &Value,
        status: u16,
        answer: &Value,
    ) -> Option<String> {
        let row = self.row(case);
        if !is_of(row.path, path) {
            return Some(format!("the path is none of {}", row.path));
        }
        let expected: Vec<String> = case.refusal.iter().map(|part| names.fill(part)).collect();
        let found = if status < 300 { Vec::new() } else { said(answer) };
        let same = |(expected, found): (&String, &String)| expected == "*" || expected == found;
        let alike = expected.len() == found.len() && expected.iter().zip(&found).all(same);
        if status != case.status || !alike {
            return Some(format!("{status} {found:?} instead of {} {expected:?}: {answer}", case.status));
        }
        if let Some((pointer, _)) =
            case.holds.iter().find(|(pointer, text)| !holds(answer, pointer, &names.fill(text)))
        {
            return Some(format!("{pointer} is another: {answer}"));
        }
        match found.first() {
            None if status < 300 => {
                self.examples.insert(row.id.to_owned());
                self.misfits(row, sent, status, answer)
            }
            None => None,
            Some(code) => {
                self.drawn.insert((row.id.to_owned(), status, code.clone()));
                let named = row.refusals.contains(&(status, code)) || COMMON.contains(&code.as_str());
                (!named).then(|| format!("its row does not name {status} {code}"))
            }
        }
    }

    /// What of an example does not fit the two documents.
    fn misfits(&self, row: Row, sent: &Value, status: u16, answer: &Value) -> Option<String> {
        if !row.documented {
            return None;
        }
        let method = row.method.to_lowercase();
        let operation = &self.ours["paths"][row.path][&method];
        if operation["operationId"] != row.id {
            return Some("the served document does not know it".into());
        }
        let schema = &operation["responses"][status.to_string()];
        if schema.is_null() {
            return Some(format!("the served document does not know status {status}"));
        }
        let ours = Document { whole: &self.ours, strict: true, left_out: &[] };
        let of = |part: &Value| part["content"]["application/json"]["schema"].clone();
        let of_answer = if row.json { of(schema) } else { Value::Null };
        let own = ours
            .misfit(&of(&operation["requestBody"]), sent, "request")
            .or_else(|| ours.misfit(&of_answer, answer, "answer"))
            .map(|why| format!("{why}, by the served document: {answer}"));
        own.or_else(|| self.misfit_of_theirs(row, &method, sent, answer))
    }

    fn misfit_of_theirs(&self, row: Row, method: &str, sent: &Value, answer: &Value) -> Option<String> {
        let theirs = self.theirs.as_ref()?;
        let document = Document { whole: theirs, strict: false, left_out: self.left_out };
        let paths = theirs["paths"].as_object()?;
        let (_, item) = paths.iter().find(|(template, _)| same_template(template, row.path))?;
        let operation = &item[method];
        let of = |part: &Value| part["content"]["application/json"]["schema"].clone();
        let good = operation["responses"].as_object()?.iter().find(|(status, _)| status.starts_with('2'))?.1;
        let asked = document.misfit(&of(&operation["requestBody"]), sent, "request");
        let answered = if row.json { document.misfit(&of(good), answer, "answer") } else { None };
        asked.or(answered).map(|why| format!("{why}, by the reference's document: {answer}"))
    }

    /// Everything that is wrong or missing; `undrawn` are refusals that no call of a test draws, and operations that have no
    /// [`EXAMPLE`], each with its reason.
    ///
    /// # Panics
    /// With all of it, when there is anything.
    pub fn finish(mut self, undrawn: &[(&str, &str, &str)]) {
        for row in self.rows.values() {
            let excused = |what: &str| undrawn.iter().any(|(of, which, _)| *of == row.id && *which == what);
            match (self.examples.contains(row.id), excused(EXAMPLE)) {
                (true, true) => self.wrong.push(format!("{} has an example after all", row.id)),
                (false, false) => self.wrong.push(format!("{} has no example", row.id)),
                _ => {}
            }
            for (status, code) in row.refusals {
                let drawn = self.drawn.contains(&(row.id.to_owned(), *status, (*code).to_owned()));
                match (drawn, excused(code)) {
                    (true, true) => self.wrong.push(format!("{}: {code} is drawn after all", row.id)),
                    (false, false) => {
                        self.wrong.push(format!("{} is never refused with {status} {code}", row.id));
                    }
                    _ => {}
                }
            }
        }
        for (id, ..) in undrawn.iter().filter(|(id, ..)| !self.rows.contains_key(id)) {
            self.wrong.push(format!("{id} is excused and not served"));
        }
        crate::say(&format!(
            "contract: {} cases, {} refusals, {} operations",
            self.cases,
            self.drawn.len(),
            self.rows.len()
        ));
        assert!(self.wrong.is_empty(), "{} faults\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}

fn holds(answer: &Value, pointer: &str, text: &str) -> bool {
    answer.pointer(pointer).is_some_and(|found| text_of(found) == text)
}

impl Case<'_> {
    /// This is what is waited for.
    pub fn is_met(&self, names: &Names, status: u16, answer: &Value) -> bool {
        status == self.status
            && self.holds.iter().all(|(pointer, text)| holds(answer, pointer, &names.fill(text)))
    }
}

/// A path, with or without a query, is one of a template.
fn is_of(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (a, b): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a == b || a.starts_with('{'))
}

/// The same but for what parameters are called.
fn same_template(a: &str, b: &str) -> bool {
    let parts = |template: &str| -> Vec<String> {
        template
            .split('/')
            .map(|part| if part.starts_with('{') { "{}".into() } else { part.to_owned() })
            .collect()
    };
    parts(a) == parts(b)
}

/// An API document as a measure, OpenAPI 3.0 or 3.1.
#[derive(Clone, Copy)]
struct Document<'a> {
    whole: &'a Value,
    /// Fields that it does not know are misfits.
    strict: bool,
    left_out: &'a [&'a str],
}

impl Document<'_> {
    /// Says where a value does not fit a schema. No schema fits everything, and so does a value that is not there at all.
    fn misfit(&self, schema: &Value, value: &Value, place: &str) -> Option<String> {
        if schema.is_null() || value.is_null() && (place == "request" || place == "answer") {
            return None;
        }
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            return self.misfit(&self.whole["components"]["schemas"][name], value, place);
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let misfits: Vec<_> = any.iter().map(|one| self.misfit(one, value, place)).collect();
            return if misfits.iter().any(Option::is_none) {
                None
            } else {
                misfits.into_iter().flatten().next()
            };
        }
        let parts = schema["allOf"].as_array().into_iter().flatten();
        parts
            .filter_map(|part| self.misfit(part, value, place))
            .next()
            .or_else(|| self.itself(schema, value, place))
    }

    fn itself(&self, schema: &Value, value: &Value, place: &str) -> Option<String> {
        if value.is_null() && schema["nullable"] == true {
            return None;
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !kinds.is_empty() && !kinds.iter().any(|kind| is(value, kind)) {
            return Some(format!("{place} is {value}, not {kinds:?}"));
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            return Some(format!("{place} is {value}, none of {}", schema["enum"]));
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let missing = required
            .filter(|key| !self.left_out.contains(key))
            .find(|key| value.is_object() && value.get(key).is_none());
        if let Some(missing) = missing {
            return Some(format!("{place} has no {missing}"));
        }
        let known = &schema["properties"];
        let fields =
            value.as_object().into_iter().flatten().filter_map(|(key, field)| match known.get(key) {
                Some(schema) => self.misfit(schema, field, &format!("{place}.{key}")),
                None if self.strict && known.is_object() => {
                    Some(format!("{place}.{key} is not in the schema"))
                }
                None => None,
            });
        let items = value.as_array().into_iter().flatten();
        let items = items.filter_map(|item| self.misfit(&schema["items"], item, &format!("{place}[]")));
        fields.chain(items).next()
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROW: Row = Row {
        id: "get",
        method: "GET",
        path: "/things/{id}",
        documented: true,
        json: true,
        refusals: &[(404, "thing_not_found")],
    };

    fn contract() -> Contract {
        let schema =
            json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } });
        let responses = json!({ "200": { "content": { "application/json": { "schema": schema } } } });
        let get = json!({ "operationId": "get", "responses": responses });
        Contract::new([ROW], json!({ "paths": { "/things/{id}": { "get": get } } }), None, &[])
    }

    /// What is found wrong when `answer` comes to the only line of a table.
    fn judged(table: &str, status: u16, answer: Value) -> Vec<String> {
        let mut contract = contract();
        for line in lines(table) {
            let Line::Call(case) = line else { panic!() };
            contract.judge(&case, &Names::default(), &Value::Null, status, &answer);
        }
        contract.wrong
    }

    #[test]
    fn a_line_is_read_with_what_it_keeps() {
        let text = "# nothing\n\n! publish it\nget as so | /things/{x}?a=b | {\"a\": 1} | ~409 | code; one thing; * | id=/id /a/b==x";
        let [Line::Act(act), Line::Call(case)] = &lines(text)[..] else { panic!() };
        assert_eq!((*act, case.line, case.operation, case.caller), ("publish it", 4, "get", "so"));
        assert_eq!((case.path, case.body, case.status), ("/things/{x}?a=b", "{\"a\": 1}", 409));
        assert!(case.eventually);
        assert_eq!(case.refusal, ["code", "one thing", "*"]);
        assert_eq!((&case.keep[..], &case.holds[..]), (&[("id", "/id")][..], &[("/a/b", "x")][..]));
    }

    #[test]
    fn answers_are_held_against_table_and_document() {
        let refused = |code: &str| json!({ "error": { "code": code, "metadata": ["x"] } });
        let good = "get | /things/1 | | 200";
        let missing = "get | /things/1 | | 404 | thing_not_found; *";
        let cases = [
            ("an example", good, 200, json!({ "id": "1" }), None),
            ("a refusal", missing, 404, refused("thing_not_found"), None),
            ("another status", good, 500, json!({}), Some("500 []")),
            ("another code", missing, 404, refused("other"), Some("\"other\"")),
            (
                "a field too many",
                good,
                200,
                json!({ "id": "1", "more": 1 }),
                Some("more is not in the schema"),
            ),
            ("a field too few", good, 200, json!({}), Some("has no id")),
            ("another type", good, 200, json!({ "id": 1 }), Some("not [\"string\"]")),
            ("unnamed", "get | /things/1 | | 409 | y; x", 409, refused("y"), Some("does not name 409 y")),
            (
                "another path",
                "get | /others/1 | | 200",
                200,
                json!({ "id": "1" }),
                Some("none of /things/{id}"),
            ),
        ];
        for (name, table, status, answer, expected) in cases {
            let wrong = judged(table, status, answer);
            match expected {
                None => assert!(wrong.is_empty(), "{name}: {wrong:?}"),
                Some(part) => assert!(wrong.len() == 1 && wrong[0].contains(part), "{name}: {wrong:?}"),
            }
        }
    }

    #[test]
    #[should_panic(expected = "get is never refused with 404 thing_not_found")]
    fn a_refusal_without_a_case_is_told() {
        contract().finish(&[("get", EXAMPLE, "a test")]);
    }

    #[test]
    #[should_panic(expected = "get has no example")]
    fn an_operation_without_a_case_is_told() {
        contract().finish(&[("get", "thing_not_found", "a test")]);
    }

    #[test]
    fn what_is_not_in_the_audit_log_is_told() {
        let log = "{\"event\":\"Add thing\"}\nrubbish\n{\"event\":\"Drop thing failed\"}\n";
        let rows =
            [("add", Some("Add thing"), true), ("drop", Some("Drop thing"), true), ("get", None, false)];
        assert_eq!(unrecorded(log, rows, &[]), ["add: Add thing failed", "drop: Drop thing"]);
        assert_eq!(unrecorded(log, rows, &[("drop", EXAMPLE, "never")]), ["add: Add thing failed"]);
    }

    #[test]
    fn forms_carry_fields_and_files() {
        let bytes = form("a=1; f=x.pem@ca; g=y.txt@plain", |what| (what == "ca").then(|| b"CA".to_vec()));
        let text = String::from_utf8(bytes).unwrap();
        for part in [
            "name=\"a\"\r\n\r\n1\r\n--b",
            "name=\"f\"; filename=\"x.pem\"\r\n\r\nCA\r\n",
            "\r\n\r\nplain\r\n--b--\r\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
