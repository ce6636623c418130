//! The form of `causeway ss` and `causeway cs`: tables of nouns and verbs. A row says which call a verb is, where its parameters go and
//! which columns are shown; only verbs with logic of their own have a function.
//!
//! [`command`] makes the command line of a table, [`Inputs`] is what was written on it, `run` carries it out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use http::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use super::ids::Shape;
use super::names::What;
use super::output::{Column, column};
use super::secrets;
use super::session::Session;
use crate::exit::Usage;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    /// `true` or `false`.
    Flag,
    /// There or not.
    Switch,
    /// One of these: as it is written here, as the API writes it.
    Choice(&'static [(&'static str, &'static str)]),
    /// A file whose content is sent.
    File,
    /// Where an answer is written.
    Output,
    /// A secret: NAME-file, NAME-stdin, `CAUSEWAY_NAME`, or asked for.
    Secret,
    /// An identifier, with or without its instance.
    Id(Shape),
    /// Something that has a name besides its id.
    Named(What),
}

/// Where a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `{name}` of the path.
    Path,
    /// The query.
    Query(&'static str),
    /// A field of the JSON body; dots lead into objects.
    Json(&'static str),
    /// `member_class`, `member_code`, `subsystem_code` in an object of the JSON body.
    Parts(&'static str),
    /// A field of a form.
    Form(&'static str),
    /// The body itself.
    Body,
    /// The verb's function looks at it.
    Local,
}

/// A parameter.
#[derive(Clone, Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    positional: bool,
    required: bool,
    pub(crate) many: bool,
}

/// A positional parameter; it is required.
pub(crate) fn pos(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param { name, about, kind, place: Place::Path, positional: true, required: true, many: false }
}

/// `--name VALUE`.
pub(crate) fn opt(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param { name, about, kind, place: Place::Local, positional: false, required: false, many: false }
}

impl Param {
    pub(crate) fn query(self, name: &'static str) -> Self {
        Self { place: Place::Query(name), ..self }
    }
    pub(crate) fn json(self, path: &'static str) -> Self {
        Self { place: Place::Json(path), ..self }
    }
    pub(crate) fn parts(self, path: &'static str) -> Self {
        Self { place: Place::Parts(path), ..self }
    }
    pub(crate) fn form(self, name: &'static str) -> Self {
        Self { place: Place::Form(name), ..self }
    }
    pub(crate) fn body(self) -> Self {
        Self { place: Place::Body, ..self }
    }
    pub(crate) fn local(self) -> Self {
        Self { place: Place::Local, ..self }
    }
    pub(crate) fn required(self) -> Self {
        Self { required: true, ..self }
    }
    pub(crate) fn optional(self) -> Self {
        Self { required: false, ..self }
    }
    pub(crate) fn many(self) -> Self {
        Self { many: true, ..self }
    }
}

/// A function of a verb with logic of its own; what it gives is printed.
pub(crate) type Run = fn(&Session, &Inputs) -> anyhow::Result<Value>;

/// What a verb does.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// One call: method, path with `{parameters}`.
    Call(Method, &'static str),
    /// Several.
    Run(Run),
}

/// When `--wait` is over: this field of this path is this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    pub(crate) path: &'static str,
    pub(crate) field: &'static str,
    pub(crate) is: &'static str,
}

/// What `--ensure` takes for done: this field of this path is one of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Already {
    pub(crate) path: &'static str,
    pub(crate) field: &'static str,
    pub(crate) is: &'static [&'static str],
}

/// A verb.
#[derive(Clone, Debug)]
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) params: Vec<Param>,
    pub(crate) does: Does,
    pub(crate) columns: Vec<Column>,
    /// See [`super::output::items`].
    pub(crate) list: &'static str,
    pub(crate) paged: bool,
    /// Codes of refusal that `--ensure` takes for success.
    pub(crate) done: &'static [&'static str],
    /// There is `--ensure`.
    pub(crate) repeats: bool,
    pub(crate) until: Option<Until>,
    /// There is `--wait`.
    pub(crate) already: Option<Already>,
    pub(crate) waits: bool,
    pub(crate) bulk: bool,
    /// What the operator is asked before.
    pub(crate) asks: Option<&'static str>,
}

/// A verb that is one call.
pub(crate) fn verb(name: &'static str, about: &'static str, method: Method, path: &'static str) -> Verb {
    of(name, about, Does::Call(method, path))
}

/// A verb with a function.
pub(crate) fn run(name: &'static str, about: &'static str, function: Run) -> Verb {
    of(name, about, Does::Run(function))
}

fn of(name: &'static str, about: &'static str, does: Does) -> Verb {
    Verb {
        name,
        about,
        params: Vec::new(),
        does,
        columns: Vec::new(),
        list: "",
        paged: false,
        done: &[],
        repeats: false,
        until: None,
        already: None,
        waits: false,
        bulk: false,
        asks: None,
    }
}

impl Verb {
    pub(crate) fn with(mut self, params: impl IntoIterator<Item = Param>) -> Self {
        self.params.extend(params);
        self
    }
    /// One object is shown.
    pub(crate) fn shows(self, columns: &[&'static str]) -> Self {
        Self { columns: columns.iter().map(|text| column(text)).collect(), ..self }
    }
    /// A list is shown; the body is it.
    pub(crate) fn lists(self, columns: &[&'static str]) -> Self {
        Self { list: ".", ..self.shows(columns) }
    }
    /// A paged list is shown.
    pub(crate) fn pages(self, list: &'static str, columns: &[&'static str]) -> Self {
        Self { list, paged: true, ..self.shows(columns) }
    }
    /// With `--ensure`, these refusals mean that it was done before.
    pub(crate) fn ensures(self, done: &'static [&'static str]) -> Self {
        Self { done, repeats: true, ..self }
    }
    /// With `--ensure`, a refusal counts as success when this field of this path says that it is done, or on its way.
    pub(crate) fn already(
        self,
        path: &'static str,
        field: &'static str,
        is: &'static [&'static str],
    ) -> Self {
        Self { already: Some(Already { path, field, is }), repeats: true, ..self }
    }
    /// With `--ensure`, the function looks first.
    pub(crate) fn looks_first(self) -> Self {
        Self { repeats: true, ..self }
    }
    /// With `--wait`, it ends when this field of this path is this.
    pub(crate) fn until(self, path: &'static str, field: &'static str, is: &'static str) -> Self {
        Self { until: Some(Until { path, field, is }), waits: true, ..self }
    }
    /// With `--wait`, the function waits.
    pub(crate) fn waits(self) -> Self {
        Self { waits: true, ..self }
    }
    /// The operator is asked before, unless `--yes` says so.
    pub(crate) fn asks(self, question: &'static str) -> Self {
        Self { asks: Some(question), ..self }
    }
    /// `-f FILE` gives many at once.
    pub(crate) fn bulk(self) -> Self {
        Self { bulk: true, ..self }
    }
}

/// A noun with its verbs, and nouns below it.
#[derive(Clone, Debug)]
pub(crate) struct Noun {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) verbs: Vec<Verb>,
    pub(crate) nouns: Vec<Self>,
}

/// A noun.
pub(crate) fn noun(name: &'static str, about: &'static str, verbs: impl IntoIterator<Item = Verb>) -> Noun {
    Noun { name, about, verbs: verbs.into_iter().collect(), nouns: Vec::new() }
}

impl Noun {
    pub(crate) fn below(mut self, noun: Self) -> Self {
        self.nouns.push(noun);
        self
    }
}

/// The command line of nouns.
pub(crate) fn command(mut parent: Command, nouns: &[Noun]) -> Command {
    for noun in nouns {
        parent = parent.subcommand(noun_command(noun));
    }
    parent.subcommand_required(true).arg_required_else_help(true)
}

fn noun_command(noun: &Noun) -> Command {
    let mut command = Command::new(noun.name).about(noun.about);
    for verb in &noun.verbs {
        command = command.subcommand(verb_command(verb));
    }
    for below in &noun.nouns {
        command = command.subcommand(noun_command(below));
    }
    command.subcommand_required(true).arg_required_else_help(true)
}

fn verb_command(verb: &Verb) -> Command {
    let mut command = Command::new(verb.name).about(verb.about);
    for param in &verb.params {
        for arg in args(param, verb.bulk) {
            command = command.arg(arg);
        }
    }
    if verb.repeats {
        let arg = Arg::new("ensure").long("ensure").action(ArgAction::SetTrue);
        command = command.arg(arg.help("Already done counts as success"));
    }
    if verb.waits {
        let wait = Arg::new("wait-for").long("wait").value_name("TIME").num_args(0..=1).require_equals(true);
        let wait = wait.default_missing_value("5m").value_parser(time);
        command = command.arg(wait.help("Wait until it is in effect, at most so long: 90s, 10m (5m)"));
    }
    if verb.bulk {
        let file = Arg::new("bulk").short('f').value_name("FILE").value_parser(clap::value_parser!(PathBuf));
        let help = "Do it for each row of a file: CSV with a heading, YAML, or JSON lines; fields are named as the parameters";
        command = command.arg(file.help(help));
    }
    command
}

fn args(param: &Param, bulk: bool) -> Vec<Arg> {
    if param.kind == Kind::Secret {
        let file = Arg::new(format!("{}-file", param.name)).long(format!("{}-file", param.name));
        let stdin = Arg::new(format!("{}-stdin", param.name)).long(format!("{}-stdin", param.name));
        let stdin = stdin.action(ArgAction::SetTrue).help("Read it from standard input");
        let file = file.value_name("FILE").value_parser(clap::value_parser!(PathBuf));
        return vec![file.help(format!("{}: a file that nobody else can read", param.about)), stdin];
    }
    let mut arg = Arg::new(param.name).help(param.about);
    if !param.positional {
        arg = arg.long(param.name);
        if param.kind == Kind::Output {
            arg = arg.short('o');
        }
    }
    arg = match param.kind {
        Kind::Switch => arg.action(ArgAction::SetTrue),
        _ if param.many && param.positional => arg.action(ArgAction::Append).num_args(1..),
        _ if param.many => arg.action(ArgAction::Append),
        _ => arg.action(ArgAction::Set),
    };
    arg = match param.kind {
        Kind::Choice(values) => {
            arg.value_parser(clap::builder::PossibleValuesParser::new(values.iter().map(|(word, _)| *word)))
        }
        Kind::Flag => arg.value_parser(["true", "false"]),
        Kind::Number => arg.value_name("NUMBER"),
        Kind::File | Kind::Output => arg.value_name("FILE"),
        Kind::Id(_) | Kind::Named(_) => arg.value_name("ID"),
        Kind::Text | Kind::Switch | Kind::Secret => arg,
    };
    if param.required && bulk {
        arg = arg.required_unless_present("bulk");
    } else if param.required {
        arg = arg.required(true);
    }
    vec![arg]
}

/// `90s`, `10m`, `2h`, or seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(format!("{text} is no time, such as 90s, 10m or 2h")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text} is no time, such as 90s, 10m or 2h"))?;
    Ok(Duration::from_secs(number.saturating_mul(factor)))
}

/// What was written on the command line, or in a row of a bulk file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) values: BTreeMap<String, Vec<String>>,
    secrets: BTreeMap<&'static str, (Option<PathBuf>, bool)>,
    pub(crate) wait: Option<Duration>,
    pub(crate) ensure: bool,
    pub(crate) bulk: Option<PathBuf>,
}

impl Inputs {
    /// From the command line.
    pub(crate) fn of(verb: &Verb, matches: &ArgMatches) -> Self {
        let mut inputs = Self::default();
        for param in &verb.params {
            if param.kind == Kind::Secret {
                let file = matches.get_one::<PathBuf>(&format!("{}-file", param.name)).cloned();
                inputs.secrets.insert(param.name, (file, matches.get_flag(&format!("{}-stdin", param.name))));
            } else if param.kind == Kind::Switch {
                if matches.get_flag(param.name) {
                    inputs.values.insert(param.name.to_owned(), vec!["true".into()]);
                }
            } else if let Ok(Some(values)) = matches.try_get_many::<String>(param.name) {
                inputs.values.insert(param.name.to_owned(), values.cloned().collect());
            }
        }
        inputs.wait = matches.try_get_one::<Duration>("wait-for").ok().flatten().copied();
        inputs.ensure = matches.try_get_one::<bool>("ensure").ok().flatten().copied().unwrap_or(false);
        inputs.bulk = matches.try_get_one::<PathBuf>("bulk").ok().flatten().cloned();
        inputs
    }

    /// A value, where it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.first().map(String::as_str)
    }

    /// A value that has to be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Usage> {
        self.get(name).ok_or_else(|| Usage(format!("{name} is missing")))
    }

    /// All values of a name.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a switch is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A secret, asked for when nothing says where it is.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<Zeroizing<String>> {
        let (file, stdin) = self.secrets.get(name).cloned().unwrap_or_default();
        let env = format!("CAUSEWAY_{}", name.to_uppercase().replace('-', "_"));
        secrets::read(&name.replace('-', " ").replace("pin", "PIN"), file.as_deref(), stdin, &env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in
            [("90", Some(90)), ("5m", Some(300)), ("2h", Some(7200)), ("x", None), ("5w", None), ("", None)]
        {
            assert_eq!(time(text).ok().map(|time| time.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn a_row_becomes_a_command_line() {
        let verb = verb("add", "", Method::POST, "/x")
            .with([pos("id", Kind::Text, ""), opt("pin", Kind::Secret, ""), opt("all", Kind::Switch, "")])
            .ensures(&["exists"])
            .until("/x/{id}", "status", "OK")
            .bulk();
        let command = verb_command(&verb);
        let matches =
            command.clone().try_get_matches_from(["add", "7", "--all", "--ensure", "--wait=10s"]).unwrap();
        let inputs = Inputs::of(&verb, &matches);
        assert_eq!((inputs.get("id"), inputs.on("all"), inputs.ensure), (Some("7"), true, true));
        assert_eq!(inputs.wait, Some(Duration::from_secs(10)));
        assert!(command.clone().try_get_matches_from(["add"]).is_err());
        assert!(command.clone().try_get_matches_from(["add", "-f", "rows.csv"]).is_ok());
        assert!(
            command.try_get_matches_from(["add", "7", "--pin", "1"]).is_err(),
            "no secret is an argument"
        );
    }
}
