//! What a command prints: a table for people, `--json` the API's body as it is, `--jsonl` one object a line, `-q` ids alone.
//!
//! Columns are written `Title=path.in.the.object`; their titles are stable names, which `--columns` takes in any case and order. A list
//! under the path is shown joined by commas; a path through a list takes each of its items.

use std::io::Write;

use serde_json::Value;

use crate::exit::Usage;

/// How to print.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Format {
    /// Print the API's body as JSON; errors too, on standard error.
    #[arg(long, global = true, conflicts_with_all = ["jsonl", "quiet", "columns"])]
    pub(crate) json: bool,
    /// Print one JSON object a line.
    #[arg(long, global = true, conflicts_with_all = ["quiet", "columns"])]
    pub(crate) jsonl: bool,
    /// Print ids alone.
    #[arg(short, long, global = true, conflicts_with = "columns")]
    pub(crate) quiet: bool,
    /// Print these columns, by their titles.
    #[arg(long, global = true, value_name = "TITLES", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) path: &'static str,
}

/// `Title=path`; without a path the title's own, in lower case.
pub(crate) fn column(text: &'static str) -> Column {
    match text.split_once('=') {
        Some((title, path)) => Column { title, path },
        None => Column { title: text, path: "" },
    }
}

/// What stands under a path, as people read it.
pub(crate) fn field(value: &Value, path: &str) -> String {
    let found = path.split('.').filter(|key| !key.is_empty()).fold(vec![value], |values, key| {
        values
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().collect(),
                one => vec![one],
            })
            .filter_map(|value| value.get(key))
            .collect()
    });
    let texts: Vec<String> = found.into_iter().map(plain).filter(|text| !text.is_empty()).collect();
    texts.join(", ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => clean(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(_) => value.to_string(),
    }
}

/// Without control characters: what a server says must not steer the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Prints `body`. `list` is where its list is: a field, `.` for the body itself, nothing for one object.
///
/// # Errors
/// A title that is no column; standard output.
pub(crate) fn print(format: &Format, body: &Value, list: &str, columns: &[Column]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if format.json {
        if !body.is_null() {
            writeln!(out, "{}", serde_json::to_string_pretty(body)?)?;
        }
        return Ok(());
    }
    let items: Vec<&Value> = match items(body, list) {
        Some(items) => items.iter().collect(),
        None if body.is_null() => Vec::new(),
        None => vec![body],
    };
    if format.jsonl {
        for item in items {
            writeln!(out, "{item}")?;
        }
        return Ok(());
    }
    if format.quiet {
        for item in items {
            let id = columns.first().map_or_else(|| plain(item), |column| field(item, column.path));
            writeln!(out, "{id}")?;
        }
        return Ok(());
    }
    let columns = chosen(&format.columns, columns)?;
    let text = match list.is_empty() {
        true => items.first().map(|item| card(item, &columns)).unwrap_or_default(),
        false => table(&items, &columns),
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// The list of a body.
pub(crate) fn items<'a>(body: &'a Value, list: &str) -> Option<&'a Vec<Value>> {
    match list {
        "" => None,
        "." => body.as_array(),
        field => body.get(field).and_then(Value::as_array),
    }
}

fn chosen(wanted: &[String], columns: &[Column]) -> Result<Vec<Column>, Usage> {
    if wanted.is_empty() {
        return Ok(columns.to_vec());
    }
    let known = || columns.iter().map(|column| column.title.to_lowercase()).collect::<Vec<_>>().join(", ");
    let one = |title: &String| {
        let found = columns.iter().find(|column| column.title.eq_ignore_ascii_case(title)).copied();
        found.ok_or_else(|| Usage(format!("there is no column {title:?}; there are: {}", known())))
    };
    wanted.iter().map(one).collect()
}

/// One object: a line for each column that has something.
fn card(item: &Value, columns: &[Column]) -> String {
    if columns.is_empty() {
        return plain(item) + "\n";
    }
    let width = columns.iter().map(|column| column.title.chars().count()).max().unwrap_or(0);
    let line = |column: &Column| {
        let text = field(item, column.path);
        (!text.is_empty()).then(|| format!("{:width$}  {text}\n", column.title))
    };
    columns.iter().filter_map(line).collect()
}

/// A list: a heading, a line for each item, columns as wide as they need.
fn table(items: &[&Value], columns: &[Column]) -> String {
    let heading: Vec<String> = columns.iter().map(|column| column.title.to_uppercase()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|column| field(item, column.path)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    let width = |index: usize| rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_through_objects_and_lists() {
        let value =
            json!({"id": {"code": "a\u{1b}[2J"}, "keys": [{"id": 1}, {"id": 2}], "on": true, "none": null});
        for (path, text) in
            [("id.code", "a [2J"), ("keys.id", "1, 2"), ("on", "yes"), ("none", ""), ("keys.x", "")]
        {
            assert_eq!(field(&value, path), text, "{path}");
        }
    }

    #[test]
    fn a_table_is_as_wide_as_it_needs() {
        let columns = [column("Id=id"), column("Name=name")];
        let items = [json!({"id": 1, "name": "Ä"}), json!({"id": 200})];
        let items: Vec<&Value> = items.iter().collect();
        assert_eq!(table(&items, &columns), "ID   NAME\n1    Ä\n200\n");
        assert_eq!(card(items[0], &columns), "Id    1\nName  Ä\n");
    }

    #[test]
    fn columns_are_chosen_by_title() {
        let columns = [column("Id=id"), column("Name=name")];
        assert_eq!(chosen(&["name".into(), "ID".into()], &columns).unwrap(), [columns[1], columns[0]]);
        assert!(chosen(&["x".into()], &columns).unwrap_err().0.contains("there are: id, name"));
    }
}
