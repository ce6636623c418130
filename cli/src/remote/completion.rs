//! `causeway completion bash|zsh|fish`: nouns, verbs, flags and live values such as client ids.
//!
//! The script asks this program, word by word, through the hidden command `__complete`; a server that does not answer within two seconds
//! offers nothing.

use std::io::Write;

use clap::{Command, ValueEnum};

use super::names::{self, What};
use super::output::field;
use super::session::{Flags, Session};
use super::targets::{Kind, Targets};
use super::verb;
use super::{ids::Shape, nouns};
use crate::exit::Exit;

/// For values that a server is asked for.
const SECONDS: u64 = 2;

/// Prints a script that completes the words of causeway in a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What a shell asks.
#[derive(Debug, clap::Args)]
pub(crate) struct Words {
    /// The words after the program's name; the last one is being written.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

const BASH: &str = r#"_causeway() {
    local IFS=$'\n'
    local line=${COMP_LINE:0:COMP_POINT}
    local words; IFS=' ' read -r -a words <<< "$line"
    [[ $line == *' ' ]] && words+=('')
    local found=($(causeway __complete -- "${words[@]:1}" 2>/dev/null))
    local last=${words[${#words[@]}-1]}
    # Bash breaks words at colons: what stands before the last one is there already.
    [[ $last == *:* ]] && found=("${found[@]#"${last%:*}:"}")
    COMPREPLY=("${found[@]}")
}
complete -o default -F _causeway causeway
"#;

const ZSH: &str = r#"#compdef causeway
_causeway() {
    local -a found
    found=("${(@f)$(causeway __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a found
}
compdef _causeway causeway
"#;

const FISH: &str = r#"function __causeway
    set -l words (commandline -opc) (commandline -ct)
    causeway __complete -- $words[2..-1] 2>/dev/null
end
complete -c causeway -f -a '(__causeway)'
"#;

/// Runs `causeway completion`.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let script = match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    };
    std::io::stdout().lock().write_all(script.as_bytes())?;
    Ok(Exit::Done)
}

/// Runs `causeway __complete`.
pub(crate) fn complete(args: &Words, mut program: Command) -> anyhow::Result<Exit> {
    program.build();
    let (last, before) =
        args.words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut found = candidates(&program, before, last);
    found.retain(|word| word.starts_with(last));
    found.sort();
    found.dedup();
    let mut out = std::io::stdout().lock();
    for word in found {
        writeln!(out, "{word}")?;
    }
    Ok(Exit::Done)
}

/// Everything that may stand next.
fn candidates(program: &Command, before: &[String], last: &str) -> Vec<String> {
    let (mut command, mut path, mut values) = (program, Vec::new(), 0);
    let mut words = before.iter();
    while let Some(word) = words.next() {
        if let Some(next) = command.find_subcommand(word) {
            (command, values) = (next, 0);
            path.push(word.clone());
        } else if word.starts_with('-') {
            let takes = option(command, word).is_some_and(|arg| arg.get_action().takes_values());
            let optional = option(command, word).is_some_and(clap::Arg::is_require_equals_set);
            if takes && !optional && words.next().is_none() {
                return of_option(command, word, &path);
            }
        } else {
            values += 1;
        }
    }
    if last.starts_with('-') {
        let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set());
        return arguments.filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect();
    }
    let mut found: Vec<String> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    if let Some(arg) = command.get_positionals().nth(values) {
        found.extend(arg.get_possible_values().iter().map(|value| value.get_name().to_owned()));
        found.extend(live(&path, arg.get_id().as_str(), before));
    }
    found
}

fn option<'a>(command: &'a Command, word: &str) -> Option<&'a clap::Arg> {
    command.get_arguments().find(|arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| word == format!("-{short}")),
    })
}

fn of_option(command: &Command, word: &str, path: &[String]) -> Vec<String> {
    let Some(arg) = option(command, word) else { return Vec::new() };
    if arg.get_id() == "target" {
        return Targets::load().map(|targets| targets.target.into_keys().collect()).unwrap_or_default();
    }
    let mut found: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    found.extend(live(path, arg.get_id().as_str(), &[]));
    found
}

/// Values of a parameter that a server knows; none when it cannot be asked.
fn live(path: &[String], name: &str, before: &[String]) -> Vec<String> {
    let kind = match path.first().map(String::as_str) {
        Some("ss") => Kind::SecurityServer,
        Some("cs") => Kind::CentralServer,
        _ => return Vec::new(),
    };
    let nouns = nouns(kind);
    let (mut level, mut verbs): (&[verb::Noun], &[verb::Verb]) = (&nouns, &[]);
    let mut found = None;
    for word in &path[1..] {
        found = verbs.iter().find(|verb| verb.name == word);
        if let Some(noun) = level.iter().find(|noun| noun.name == word) {
            (level, verbs) = (&noun.nouns, &noun.verbs);
        }
    }
    let param = found.and_then(|verb| verb.params.iter().find(|param| param.name == name));
    let Some(param) = param else { return Vec::new() };
    let mut flags = Flags::quiet(SECONDS);
    flags.target = before
        .windows(2)
        .find(|pair| matches!(pair[0].as_str(), "-t" | "--target"))
        .map(|pair| pair[1].clone());
    let ask = || -> anyhow::Result<Vec<String>> {
        let session = Session::open(&flags, kind)?;
        match param.kind {
            verb::Kind::Named(what) => named(&session, what),
            verb::Kind::Id(shape) => identifiers(&session, shape),
            _ => Ok(Vec::new()),
        }
    };
    ask().unwrap_or_default()
}

fn named(session: &Session, what: What) -> anyhow::Result<Vec<String>> {
    let known = names::known(session, what)?;
    // Names are shorter than ids where there are any; with a blank in them they would have to be quoted.
    let word = |one: names::Known| one.names.into_iter().find(|name| !name.contains(' ')).unwrap_or(one.id);
    Ok(known.into_iter().map(word).collect())
}

fn identifiers(session: &Session, shape: Shape) -> anyhow::Result<Vec<String>> {
    let ids: Vec<String> = match (session.kind, shape) {
        (Kind::SecurityServer, Shape::Server) => {
            session.list("/security-servers")?.iter().map(|one| field(one, "id")).collect()
        }
        (Kind::SecurityServer, _) => {
            names::own_clients(session)?.iter().map(|one| field(one, "id")).collect()
        }
        (Kind::CentralServer, Shape::Server) => {
            let body = session.get("/security-servers?limit=1000")?;
            body["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| field(one, "server_id.encoded_id"))
                .collect()
        }
        (Kind::CentralServer, _) => {
            let body = session.get("/clients?limit=1000")?;
            body["clients"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| field(one, "client_id.encoded_id"))
                .collect()
        }
    };
    let parts = match shape {
        Shape::Member => 3..=3,
        Shape::Subsystem | Shape::Server => 4..=4,
        Shape::Client => 3..=4,
    };
    Ok(ids.into_iter().filter(|id| parts.contains(&id.split(':').count())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_tables_are_offered() {
        let mut program = verb::command(Command::new("causeway"), &[]);
        program = program.subcommand(verb::command(Command::new("cs"), &nouns(Kind::CentralServer)));
        program.build();
        let words = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let (last, before) = words.split_last().unwrap();
            let mut found = candidates(&program, before, last);
            found.retain(|word| word.starts_with(last.as_str()));
            found
        };
        assert_eq!(words("cs member-c"), ["member-class"]);
        assert!(words("cs ca ocsp ").contains(&"add".to_owned()));
        assert_eq!(words("cs key add --sou"), ["--source"]);
        assert_eq!(words("cs key add --source "), ["internal", "external"]);
    }
}
