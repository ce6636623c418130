//! Backups, the same for both kinds of servers. A restore starts the server again; the verb says so and waits until it answers.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::remote::carry_out::save;
use crate::remote::connection::{Call, encode};
use crate::remote::failure::Failure;
use crate::remote::output::field;
use crate::remote::session::Session;
use crate::remote::verb::{Inputs, Kind, Noun, noun, opt, pos, run, verb};

const COLUMNS: &[&str] = &["File=filename", "Created=created_at"];
/// For a server to answer again.
const BACK: Duration = Duration::from_secs(120);

/// The noun.
pub(crate) fn backup() -> Noun {
    let name = || pos("file", Kind::Text, "Name of the backup");
    let output = || opt("output", Kind::Output, "Where to; - is standard output");
    let restore = run("restore", "Puts the server back to one, which starts it again", restored);
    noun(
        "backup",
        "Backups of the configuration",
        [
            verb("list", "Lists them", Method::GET, "/backups").lists(COLUMNS),
            run("create", "Makes one", created)
                .with([
                    opt("download", Kind::Output, "Write it to this file too; - is standard output").local()
                ])
                .shows(&["File=filename", "Created=created_at", "Written to=file"]),
            verb("download", "Writes one to a file", Method::GET, "/backups/{file}/download")
                .with([name(), output()])
                .shows(&["File=file", "Bytes=bytes"]),
            verb("upload", "Takes one from a file", Method::POST, "/backups/upload")
                .with([pos("path", Kind::File, "The backup").form("file")])
                .shows(COLUMNS),
            restore
                .with([name().local()])
                .asks("everything changed since then will be gone, and the server starts again; go on?")
                .shows(&["Hardware tokens logged out=hsm_tokens_logged_out"]),
            verb("delete", "Removes one", Method::DELETE, "/backups/{file}")
                .with([name()])
                .ensures(&["backup_file_not_found"]),
        ],
    )
}

fn created(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let mut made = session.call(&Call::new(Method::POST, "/backups"))?;
    let Some(path) = inputs.get("download") else { return Ok(made) };
    let name = field(&made, "filename");
    let answer = session.send(&Call::get(format!("/backups/{}/download", encode(&name))))?;
    let saved = save(&answer, Some(path.into()))?;
    // What went to standard output is all that belongs there.
    if saved.is_null() {
        return Ok(saved);
    }
    made["file"] = saved["file"].clone();
    made["bytes"] = saved["bytes"].clone();
    Ok(made)
}

fn restored(session: &Session, inputs: &Inputs) -> anyhow::Result<Value> {
    let name = inputs.need("file")?;
    let say = |text: &str| {
        if !session.flags.format.quiet {
            eprintln!("{text}");
        }
    };
    say("the server checks the backup, ends what is under way, and starts again");
    let told = session.call(&Call::new(Method::PUT, format!("/backups/{}/restore", encode(name))))?;
    session.wait_until("the server", BACK, || {
        match session.try_send(&Call::get("/notifications/session-status")) {
            Err(failure @ Failure::Unreachable { .. }) => Ok((false, failure.to_string(), ())),
            Err(failure) => Err(failure.into()),
            Ok(_) => Ok((true, String::new(), ())),
        }
    })?;
    say("the server answers again; if its token is logged out now, log in to it");
    Ok(told)
}
