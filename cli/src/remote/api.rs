//! `causeway api METHOD PATH`: any call of a management API, for what has no verb of its own.

use std::io::Write;
use std::path::PathBuf;

use http::Method;
use serde_json::Value;

use super::connection::{Body, Call};
use super::session::{Flags, Session};
use super::targets::Targets;
use crate::exit::{Exit, Usage};

/// Calls a management API as it is: the body is printed, whatever it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// GET, POST, PUT, PATCH or DELETE.
    #[arg(ignore_case = true, value_parser = ["GET", "POST", "PUT", "PATCH", "DELETE"])]
    method: String,
    /// Path below /api/v1, with a query if there is one.
    path: String,
    /// JSON body; @FILE reads it from a file, @- from standard input. No secrets here: use a file.
    #[arg(short, long, value_name = "JSON", conflicts_with = "file")]
    data: Option<String>,
    /// A file that is sent as it is.
    #[arg(short = 'F', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write the answer to a file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let target = Targets::load()?.choose(args.flags.target.as_deref(), None)?;
    let kind = target.kind.unwrap_or(super::targets::Kind::SecurityServer);
    let flags = Flags { target: args.flags.target.clone(), ..args.flags.clone() };
    let session = Session::open(&flags, kind)?;
    let method: Method = args.method.to_uppercase().parse().map_err(|_| Usage("no such method".into()))?;
    let path = args.path.strip_prefix("/api/v1").unwrap_or(&args.path);
    if !path.starts_with('/') {
        return Err(Usage(format!("{path}: a path begins with a slash")).into());
    }
    let mut call = Call::new(method, path);
    if let Some(data) = &args.data {
        call = call.json(json_of(data)?);
    } else if let Some(file) = &args.file {
        call = call.body(Body::Octets(super::carry_out::read(file)?));
    }
    let answer = session.send(&call)?;
    if args.output.is_some() {
        super::carry_out::save(&answer, args.output.clone())?;
    } else if answer.header("content-type").contains("json") {
        writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&answer.json()?)?)?;
    } else {
        std::io::stdout().lock().write_all(&answer.body)?;
    }
    Ok(Exit::Done)
}

fn json_of(data: &str) -> anyhow::Result<Value> {
    let text = match data.strip_prefix('@') {
        None => data.to_owned(),
        Some("-") => std::io::read_to_string(std::io::stdin().lock())?,
        Some(file) => String::from_utf8(super::carry_out::read(file.as_ref())?)
            .map_err(|_| Usage(format!("{file} is no text")))?,
    };
    serde_json::from_str(&text).map_err(|error| Usage(format!("the body is no JSON: {error}")).into())
}
