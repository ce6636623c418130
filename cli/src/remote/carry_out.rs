//! Carries a verb out: its parameters into a call, `--ensure`, `--wait`, `-f FILE`, and what is printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use http::Method;
use serde_json::{Map, Value, json};

use super::connection::{Answer, Body, Call, Part, encode};
use super::failure::{Failure, failure_of};
use super::output::field;
use super::session::Session;
use super::verb::{Does, Inputs, Kind, Param, Place, Verb};
use super::{ids, names, secrets};
use crate::exit::Usage;

/// Largest file that is sent; the servers take no more.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Carries `verb` out and prints what came of it.
///
/// # Errors
/// [`Failure`], [`Usage`], files.
pub(crate) fn carry_out(session: &Session, verb: &Verb, inputs: &Inputs) -> anyhow::Result<()> {
    if let Some(question) = verb.asks
        && !session.flags.yes
        && !secrets::agrees(question)?
    {
        return Err(Usage("nothing was done: --yes says that it is meant".into()).into());
    }
    let Some(file) = &inputs.bulk else { return one(session, verb, inputs) };
    for (number, row) in rows(file)?.into_iter().enumerate() {
        let mut inputs = inputs.clone();
        for (name, value) in row {
            if !verb.params.iter().any(|param| param.name == name) {
                let known: Vec<&str> = verb.params.iter().map(|param| param.name).collect();
                let text =
                    format!("{}: {name} is no parameter; there are: {}", file.display(), known.join(", "));
                return Err(Usage(text).into());
            }
            inputs.values.insert(name, value);
        }
        one(session, verb, &inputs).with_context(|| format!("{}, row {}", file.display(), number + 1))?;
    }
    Ok(())
}

fn one(session: &Session, verb: &Verb, inputs: &Inputs) -> anyhow::Result<()> {
    let body = match perform(session, verb, inputs) {
        Err(error)
            if inputs.ensure && (was_done(&error, verb.done) || is_done(session, verb, inputs, &error)?) =>
        {
            eprintln!("nothing to do");
            Value::Null
        }
        other => other?,
    };
    if let (Some(until), Some(limit)) = (verb.until, inputs.wait) {
        let path = fill(session, verb, inputs, until.path)?;
        session.wait(&path, until.field, until.is, limit)?;
    }
    if body.is_null() && verb.list.is_empty() {
        return Ok(());
    }
    session.print(&body, verb.list, &verb.columns)
}

/// A refused call has been made before: its effect is there, or on its way.
fn is_done(session: &Session, verb: &Verb, inputs: &Inputs, error: &anyhow::Error) -> anyhow::Result<bool> {
    let Some(already) = verb.already.filter(|_| matches!(failure_of(error), Some(Failure::Refused { .. })))
    else {
        return Ok(false);
    };
    let body = session.get(&fill(session, verb, inputs, already.path)?)?;
    Ok(already.is.contains(&field(&body, already.field).as_str()))
}

fn was_done(error: &anyhow::Error, done: &[&str]) -> bool {
    failure_of(error).and_then(Failure::code).is_some_and(|code| done.contains(&code))
}

fn perform(session: &Session, verb: &Verb, inputs: &Inputs) -> anyhow::Result<Value> {
    let (method, path) = match &verb.does {
        Does::Run(run) => return run(session, inputs),
        Does::Call(method, path) => (method.clone(), *path),
    };
    let call = call(session, verb, inputs, method, path)?;
    if verb.paged {
        return session.all_pages(&call, verb.list);
    }
    let answer = session.send(&call)?;
    let output = verb.params.iter().find(|param| param.kind == Kind::Output);
    match output {
        Some(param) => save(&answer, inputs.get(param.name).map(PathBuf::from)),
        None if answer.header("content-type").contains("json") || answer.body.is_empty() => answer.json(),
        None => Ok(Value::Null),
    }
}

/// Writes an attachment to the file that was named, or by the name that the server gives it; `-` is standard output.
pub(crate) fn save(answer: &Answer, output: Option<PathBuf>) -> anyhow::Result<Value> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt as _;
    if output.as_deref() == Some(Path::new("-")) {
        std::io::stdout().lock().write_all(&answer.body)?;
        return Ok(Value::Null);
    }
    let path = match output {
        Some(path) => path,
        None => {
            let name = answer.file_name().context("the server names no file: give one with -o FILE")?;
            let path = PathBuf::from(name);
            if path.exists() {
                return Err(Usage(format!("{} exists; -o FILE names another", path.display())).into());
            }
            path
        }
    };
    // A backup has keys of TLS in clear, and what else is fetched is nobody's business either until whoever asked says so.
    let file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&answer.body)).with_context(|| path.display().to_string())?;
    Ok(json!({ "file": path.display().to_string(), "bytes": answer.body.len() }))
}

/// The call that a row and its inputs make.
fn call(session: &Session, verb: &Verb, inputs: &Inputs, method: Method, path: &str) -> anyhow::Result<Call> {
    let mut call = Call::new(method, fill(session, verb, inputs, path)?);
    let (mut json, mut form) = (Map::new(), Vec::new());
    for param in &verb.params {
        for value in values(session, param, inputs)? {
            match param.place {
                Place::Path | Place::Local => {}
                Place::Query(name) => call.query.push((name.to_owned(), written(&value))),
                Place::Json(path) => set(&mut json, path, value, param.many)?,
                Place::Parts(path) => {
                    let (class, code, subsystem) = ids::parts(&written(&value));
                    let dotted = |field: &str| {
                        if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
                    };
                    set(&mut json, &dotted("member_class"), json!(class), false)?;
                    set(&mut json, &dotted("member_code"), json!(code), false)?;
                    if let Some(subsystem) = subsystem {
                        set(&mut json, &dotted("subsystem_code"), json!(subsystem), false)?;
                    }
                }
                Place::Form(name) => form.push(part(param, name, &value)?),
                Place::Body => call.body = Body::Octets(read(Path::new(&written(&value)))?),
            }
        }
    }
    // Some servers want a body wherever there may be one.
    let may = verb.params.iter().any(|param| matches!(param.place, Place::Json(_) | Place::Parts(_)));
    if !json.is_empty() || may || path.ends_with("/refresh") {
        call.body = Body::Json(Value::Object(json));
    } else if !form.is_empty() {
        call.body = Body::Form(form);
    }
    Ok(call)
}

/// The values of a parameter as the API writes them.
fn values(session: &Session, param: &Param, inputs: &Inputs) -> anyhow::Result<Vec<Value>> {
    if param.place == Place::Local {
        return Ok(Vec::new());
    }
    if param.kind == Kind::Secret {
        return Ok(vec![json!(inputs.secret(param.name)?.as_str())]);
    }
    inputs.all(param.name).iter().map(|text| value(session, param.kind, text)).collect()
}

/// One value as the API writes it.
pub(crate) fn value(session: &Session, kind: Kind, text: &str) -> anyhow::Result<Value> {
    Ok(match kind {
        Kind::Text | Kind::File | Kind::Output | Kind::Secret => json!(text),
        Kind::Number => {
            json!(text.parse::<u64>().map_err(|_| Usage(format!("{text} is no number")))?)
        }
        Kind::Flag | Kind::Switch => json!(text == "true"),
        Kind::Choice(values) => {
            let found = values.iter().find(|(word, api)| *word == text || *api == text);
            let words = || values.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            json!(found.ok_or_else(|| Usage(format!("{text} is none of: {}", words())))?.1)
        }
        Kind::Id(shape) => json!(ids::complete(session, text, shape)?),
        Kind::Named(what) => json!(names::find(session, what, text)?),
    })
}

/// A path with its parameters filled in.
fn fill(session: &Session, verb: &Verb, inputs: &Inputs, path: &str) -> anyhow::Result<String> {
    let mut filled = path.to_owned();
    for param in &verb.params {
        let place = format!("{{{}}}", param.name);
        if filled.contains(&place) {
            let value = value(session, param.kind, inputs.need(param.name)?)?;
            filled = filled.replace(&place, &encode(&written(&value)));
        }
    }
    if filled.contains('{') {
        bail!("{path} has a parameter that the verb does not");
    }
    Ok(filled)
}

/// A value in a path, a query or a form.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Sets a field; of a parameter that may be repeated it is a list.
fn set(object: &mut Map<String, Value>, path: &str, value: Value, many: bool) -> anyhow::Result<()> {
    let Some((first, rest)) = path.split_once('.') else {
        if many {
            let list = object.entry(path).or_insert_with(|| json!([]));
            list.as_array_mut().context("a list and a value share a field")?.push(value);
        } else {
            object.insert(path.to_owned(), value);
        }
        return Ok(());
    };
    let inner = object.entry(first).or_insert_with(|| json!({}));
    set(inner.as_object_mut().context("an object and a value share a field")?, rest, value, many)
}

fn part(param: &Param, name: &str, value: &Value) -> anyhow::Result<Part> {
    let text = written(value);
    if param.kind != Kind::File {
        return Ok(Part { name: name.to_owned(), file_name: None, content: text.into_bytes() });
    }
    let path = Path::new(&text);
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Part { name: name.to_owned(), file_name, content: read(path)? })
}

/// A file that is sent.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let size = std::fs::metadata(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?.len();
    if size > MAX_FILE_BYTES {
        return Err(Usage(format!("{} is larger than any file that a server takes", path.display())).into());
    }
    std::fs::read(path).map_err(|error| Usage(format!("{}: {error}", path.display())).into())
}

/// The rows of a bulk file: CSV with a heading, a YAML list, JSON lines. A list in a field gives several values.
fn rows(path: &Path) -> anyhow::Result<Vec<BTreeMap<String, Vec<String>>>> {
    let text = String::from_utf8(read(path)?).map_err(|_| Usage(format!("{} is no text", path.display())))?;
    let wrong = |error: String| Usage(format!("{}: {error}", path.display()));
    let values: Vec<Map<String, Value>> = match path.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => return csv(&text).map_err(|error| wrong(error).into()),
        Some("yaml" | "yml") => serde_yaml_ng::from_str(&text).map_err(|error| wrong(error.to_string()))?,
        Some("json" | "jsonl") => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).map_err(|error| wrong(error.to_string())))
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong("the name ends in none of .csv, .yaml, .jsonl".into()).into()),
    };
    let several = |value: &Value| match value {
        Value::Array(items) => items.iter().map(written).collect(),
        one => vec![written(one)],
    };
    Ok(values
        .into_iter()
        .map(|row| row.iter().map(|(name, value)| (name.clone(), several(value))).collect())
        .collect())
}

/// RFC 4180 without line breaks inside fields; empty fields count as missing.
fn csv(text: &str) -> Result<Vec<BTreeMap<String, Vec<String>>>, String> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let heading = fields(lines.next().ok_or("it is empty")?)?;
    lines
        .map(|line| {
            let row = fields(line)?;
            if row.len() != heading.len() {
                return Err(format!("{} fields where the heading has {}: {line}", row.len(), heading.len()));
            }
            let given = heading.iter().cloned().zip(row).filter(|(_, value)| !value.is_empty());
            Ok(given.map(|(name, value)| (name, vec![value])).collect())
        })
        .collect()
}

fn fields(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("a quotation mark is missing: {line}"));
    }
    fields.push(field.trim().to_owned());
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_is_for_who_fetched_it_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup.gpg");
        let answer = Answer { status: 200, headers: http::HeaderMap::new(), body: "keys".into() };
        save(&answer, Some(path.clone())).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"keys");
    }

    #[test]
    fn rows_come_from_csv_yaml_and_json_lines() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            rows(&path)
        };
        let wanted: Vec<BTreeMap<String, Vec<String>>> = vec![
            [("id".to_owned(), vec!["COM:1".to_owned()]), ("name".to_owned(), vec!["A, \"B\"".to_owned()])]
                .into(),
            [("id".to_owned(), vec!["COM:2".to_owned()])].into(),
        ];
        assert_eq!(of("a.csv", "id,name\nCOM:1,\"A, \"\"B\"\"\"\nCOM:2,\n").unwrap(), wanted);
        assert_eq!(of("a.yaml", "- {id: 'COM:1', name: 'A, \"B\"'}\n- {id: 'COM:2'}\n").unwrap(), wanted);
        let lines = "{\"id\":\"COM:1\",\"name\":\"A, \\\"B\\\"\"}\n\n{\"id\":\"COM:2\"}\n";
        assert_eq!(of("a.jsonl", lines).unwrap(), wanted);
        for (name, text) in [("a.csv", "id\na,b"), ("a.csv", "id\n\"a"), ("a.txt", ""), ("a.yaml", "1")] {
            assert!(of(name, text).unwrap_err().is::<Usage>(), "{name} {text}");
        }
    }

    #[test]
    fn fields_lead_into_objects_and_lists() {
        let mut body = Map::new();
        set(&mut body, "client.member_class", json!("COM"), false).unwrap();
        set(&mut body, "client.member_code", json!("1"), false).unwrap();
        set(&mut body, "items", json!("a"), true).unwrap();
        set(&mut body, "items", json!("b"), true).unwrap();
        let wanted = json!({"client": {"member_class": "COM", "member_code": "1"}, "items": ["a", "b"]});
        assert_eq!(Value::Object(body), wanted);
    }
}
