//! The command line over the management APIs: `causeway ss`, `cs`, `target`, `login`, `api` and what is built on them. It works from any
//! machine and knows nothing of a server but its API.
//!
//! | File | Holds |
//! |---|---|
//! | [`targets`], [`target`] | which servers there are, whom to believe, where keys are; `causeway target`, `causeway login` |
//! | [`connection`], [`tls`] | one HTTPS connection: pinned certificate or CA, credential, bounds |
//! | [`failure`] | how a call fails: exit status, code, metadata, what to do next |
//! | [`session`] | what a verb works with: warnings, pages, waits |
//! | [`verb`], [`carry_out`] | the form of the tables of nouns and verbs, and what carries them out |
//! | [`central`], [`requests`] | nouns of a central server |
//! | [`security`] | nouns of a security server |
//! | [`accounts`], [`backups`], [`tokens`] | nouns of both |
//! | [`ids`], [`names`] | short identifiers, names of things |
//! | [`output`], [`secrets`] | tables and JSON; PINs and passwords |
//! | [`apply`], [`ecosystem`] | `causeway apply`, `diff`, `export` with an ecosystem file |
//! | [`diagnose`], [`waiting`] | what is wrong and what to do; until something is so |
//! | [`api`] | any other call |

mod accounts;
pub(crate) mod api;
pub(crate) mod apply;
mod backups;
mod carry_out;
mod central;
pub(crate) mod completion;
mod connection;
pub(crate) mod diagnose;
pub(crate) mod ecosystem;
mod failure;
mod ids;
mod names;
mod output;
mod requests;
pub(crate) mod secrets;
mod security;
mod session;
pub(crate) mod target;
mod targets;
mod tls;
mod tokens;
mod verb;
pub(crate) mod waiting;

use clap::{ArgMatches, Command, FromArgMatches};

use crate::exit::Exit;
use failure::failure_of;
use session::{Flags, Session};
use targets::Kind;
use verb::{Inputs, Noun, Verb};

/// The arguments of a table of nouns and verbs.
macro_rules! table_args {
    ($name:ident, $kind:expr, $about:literal) => {
        #[doc = $about]
        #[derive(Debug)]
        pub(crate) struct $name(ArgMatches);

        impl clap::Args for $name {
            fn augment_args(command: Command) -> Command {
                verb::command(Flags::augment_args(command).about($about), &nouns($kind))
            }
            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(matches.clone()))
            }
            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                self.0 = matches.clone();
                Ok(())
            }
        }
    };
}

table_args!(CentralArgs, Kind::CentralServer, "Works with a central server through its management API");
table_args!(SecurityArgs, Kind::SecurityServer, "Works with a security server through its management API");

fn nouns(kind: Kind) -> Vec<Noun> {
    match kind {
        Kind::CentralServer => central::nouns(),
        Kind::SecurityServer => security::nouns(),
    }
}

/// Runs `causeway cs`.
pub(crate) fn central(args: &CentralArgs) -> anyhow::Result<Exit> {
    verbs(Kind::CentralServer, &args.0)
}

/// Runs `causeway ss`.
pub(crate) fn security(args: &SecurityArgs) -> anyhow::Result<Exit> {
    verbs(Kind::SecurityServer, &args.0)
}

/// Runs `causeway target`, `login`, `api` and their kind: an error of the server's is told in JSON where JSON is wanted.
pub(crate) fn told(flags: &Flags, outcome: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    match outcome {
        Err(error) if flags.format.json => match failure_of(&error) {
            Some(failure) => {
                eprintln!("{}", failure.json());
                Ok(failure.exit())
            }
            None => Err(error),
        },
        other => other,
    }
}

/// The exit status of an error that a management API has to do with.
pub(crate) fn exit_of(error: &anyhow::Error) -> Option<Exit> {
    failure_of(error).map(failure::Failure::exit)
}

fn verbs(kind: Kind, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let nouns = nouns(kind);
    let (path, verb, matches) = chosen(&nouns, matches);
    // Flags may stand anywhere; the innermost command has them all.
    let flags = Flags::from_arg_matches(matches)?;
    let outcome = (|| {
        let mut session = Session::open(&flags, kind)?;
        accounts::prefer_session(&mut session, &path)?;
        carry_out::carry_out(&session, verb, &Inputs::of(verb, matches))?;
        Ok(Exit::Done)
    })();
    told(&flags, outcome)
}

/// The verb that was written, and the nouns before it.
fn chosen<'a>(nouns: &'a [Noun], matches: &'a ArgMatches) -> (Vec<String>, &'a Verb, &'a ArgMatches) {
    let (mut nouns, mut matches, mut path) = (nouns, matches, Vec::new());
    let mut verbs: &[Verb] = &[];
    loop {
        let (name, inner) = matches.subcommand().expect("clap wants a subcommand at every noun");
        path.push(name.to_owned());
        if let Some(verb) = verbs.iter().find(|verb| verb.name == name) {
            return (path, verb, inner);
        }
        let noun =
            nouns.iter().find(|noun| noun.name == name).expect("clap's commands are made of the table");
        (nouns, verbs, matches) = (&noun.nouns, &noun.verbs, inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is in a table: every parameter of a path is one of the verb, and clap takes the whole.
    #[test]
    fn the_tables_hold_together() {
        for kind in [Kind::CentralServer, Kind::SecurityServer] {
            let nouns = nouns(kind);
            verb::command(<Flags as clap::Args>::augment_args(Command::new("x")), &nouns).debug_assert();
            let mut below: Vec<&Noun> = nouns.iter().collect();
            while let Some(noun) = below.pop() {
                below.extend(&noun.nouns);
                for verb in &noun.verbs {
                    check(noun, verb);
                }
            }
        }
    }

    fn check(noun: &Noun, verb: &Verb) {
        let flags = <Flags as clap::Args>::augment_args(Command::new("x"));
        for param in &verb.params {
            let own = ["version", "help", "ensure", "wait-for", "bulk"].contains(&param.name);
            let taken = own || flags.get_arguments().any(|flag| flag.get_id() == param.name);
            assert!(!taken, "{} {}: {} is a flag of every verb", noun.name, verb.name, param.name);
        }
        let paths = match &verb.does {
            verb::Does::Call(_, path) => vec![*path],
            verb::Does::Run(_) => Vec::new(),
        };
        for path in paths.into_iter().chain(verb.until.map(|until| until.path)) {
            for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                let known = verb.params.iter().any(|param| param.name == name);
                assert!(known, "{} {}: {path}", noun.name, verb.name);
            }
        }
        assert!(
            verb.list.is_empty() || !verb.columns.is_empty(),
            "{} {}: a list has columns",
            noun.name,
            verb.name
        );
    }
}
