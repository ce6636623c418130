//! The operations on backups, the same on both servers but for what a backup is shown as, and what is asked of uploads.
//!
//! Names are judged by the list's own rule: another name is never there (404 `backup_file_not_found`), and cannot be uploaded (400
//! `invalid_filename`). A restore that fails is 500 `restore_process_failed`, with the reason in the logs; nothing has changed then.

use schemars::JsonSchema;
use serde::Serialize;

use super::{BackupError, Backups, Kept};
use crate::call::{Answer, Call};
use crate::operation::{Operation, delete, get, post, put};
use crate::problem::{Problem, Warning};
use crate::types::security_server::system::{BackupUpload, TokensLoggedOut};

/// Rights that every server's table must have.
const BACKUP: &str = "BACKUP_CONFIGURATION";
const RESTORE: &str = "RESTORE_CONFIGURATION";
const OCTETS: &str = "application/octet-stream";
/// What a backup is, by its name.
const PGP: &str = "application/pgp-encrypted";

/// A server with backups.
pub trait Backed: Send + Sync + 'static {
    /// How one is shown.
    type Shown: From<Kept> + Serialize + JsonSchema;
    /// Its backups.
    fn backups(&self) -> &Backups;
}

/// Rows of a server's table.
pub fn rows<S: Backed>() -> Vec<Operation<S>> {
    const MISSING: &[(u16, &str)] = &[(404, "backup_file_not_found")];
    vec![
        get("getBackups", "/backups").right(BACKUP).gives::<Vec<S::Shown>>(200).by(list),
        post("addBackup", "/backups")
            .right(BACKUP)
            .audit("Back up configuration")
            .gives::<S::Shown>(201)
            .refuses(&[(500, "backup_generation_failed")])
            .by(create),
        post("uploadBackup", "/backups/upload")
            .right(BACKUP)
            .audit("Upload backup file")
            .takes_form::<BackupUpload>()
            .query(&["ignore_warnings"])
            .gives::<S::Shown>(201)
            .refuses(&[
                (400, "invalid_filename"),
                (400, "invalid_backup_file"),
                (400, "invalid_file_content_type"),
                (400, "warnings_detected"),
            ])
            .by(upload),
        get("downloadBackup", "/backups/{filename}/download")
            .right(BACKUP)
            .gives_file(OCTETS)
            .refuses(MISSING)
            .by(download),
        delete("deleteBackup", "/backups/{filename}")
            .right(BACKUP)
            .audit("Delete backup file")
            .gives_nothing(204)
            .refuses(MISSING)
            .by(remove),
        put("restoreBackup", "/backups/{filename}/restore")
            .right(RESTORE)
            .audit("Restore configuration")
            .gives::<TokensLoggedOut>(200)
            .refuses(&[(404, "backup_file_not_found"), (500, "restore_process_failed")])
            .by(restore),
    ]
}

fn list<S: Backed>(server: &S, _: &mut Call) -> Result<Answer, Problem> {
    let all = server.backups().list().map_err(Problem::internal)?;
    Answer::ok(&all.into_iter().map(S::Shown::from).collect::<Vec<_>>())
}

fn create<S: Backed>(server: &S, call: &mut Call) -> Result<Answer, Problem> {
    Answer::json(201, &S::Shown::from(made(server.backups(), call)?))
}

/// Makes a backup for the caller.
///
/// # Errors
/// 500 `backup_generation_failed`.
pub fn made(backups: &Backups, call: &mut Call) -> Result<Kept, Problem> {
    let kept = backups.create().map_err(|error| problem(error, "backup_generation_failed"))?;
    call.note("backupFileName", kept.name.clone());
    Ok(kept)
}

fn upload<S: Backed>(server: &S, call: &mut Call) -> Result<Answer, Problem> {
    let (name, bytes) = call.form()?.named_file("file")?;
    call.note("backupFileName", name.clone());
    let backups = server.backups();
    if backups.judges_uploads() {
        let found = looks_like(&bytes);
        if found != PGP {
            return Err(Problem::bad_request("invalid_file_content_type").with(found).with(PGP));
        }
    }
    let ignore = call.query_flag("ignore_warnings")?.unwrap_or_default();
    let kept = match backups.upload(&name, &bytes, ignore) {
        Err(BackupError::Exists(name)) => {
            let warning = Warning { code: "warning_file_already_exists".into(), metadata: vec![name] };
            return Err(Problem::warnings(vec![warning]));
        }
        kept => kept.map_err(|error| problem(error, "invalid_backup_file"))?,
    };
    Answer::json(201, &S::Shown::from(kept))
}

fn download<S: Backed>(server: &S, call: &mut Call) -> Result<Answer, Problem> {
    let name = call.path("filename");
    let (file, bytes) = server.backups().open(name).map_err(|error| problem(error, "internal_error"))?;
    Ok(Answer::large_file(OCTETS, name, file, bytes))
}

fn remove<S: Backed>(server: &S, call: &mut Call) -> Result<Answer, Problem> {
    let name = call.path("filename").to_owned();
    call.note("backupFileName", name.clone());
    server.backups().delete(&name).map_err(|error| problem(error, "backup_deletion_failed"))?;
    Ok(Answer::empty(204))
}

fn restore<S: Backed>(server: &S, call: &mut Call) -> Result<Answer, Problem> {
    let name = call.path("filename").to_owned();
    call.note("backupFileName", name.clone());
    server.backups().restore(&name).map_err(|error| problem(error, "restore_process_failed"))?;
    // Keys on a device are not in a backup, and who is logged in to one stays so.
    let answer = Answer::ok(&TokensLoggedOut { hsm_tokens_logged_out: false })?;
    Ok(answer.header("connection", "close"))
}

/// The answer to what did not happen; `failed` is the code of an operation that failed as a whole.
fn problem(error: BackupError, failed: &'static str) -> Problem {
    let reason = error.to_string();
    let problem = match error {
        BackupError::Name(_) => Problem::bad_request("invalid_filename"),
        BackupError::Missing(name) => Problem::missing("backup_file_not_found").with(name),
        BackupError::Restoring | BackupError::Exists(_) => Problem::conflict("action_not_possible"),
        // Of an uploaded file it is the sender's matter, of one that is kept the operation's.
        BackupError::Archive(error) => match (failed, error) {
            ("invalid_backup_file", archive) if !matches!(archive, super::ArchiveError::Io(_)) => {
                Problem::bad_request(failed)
            }
            ("invalid_backup_file", _) => Problem::internal(&reason),
            _ => Problem::new(500, failed),
        },
        BackupError::Changing
        | BackupError::Foreign { .. }
        | BackupError::Unsealed
        | BackupError::Path(_)
        | BackupError::Unusable(_) => Problem::new(500, failed),
        BackupError::Store(_) | BackupError::Io { .. } if failed == "invalid_backup_file" => {
            Problem::internal(&reason)
        }
        BackupError::Store(_) | BackupError::Io { .. } => Problem::new(500, failed),
    };
    problem.because(reason)
}

/// The media type that bytes look like, as far as it matters here.
fn looks_like(bytes: &[u8]) -> &'static str {
    // RFC 9580 §4.2: a packet's first byte has its highest bit set; these tags begin a message.
    let tag = bytes
        .first()
        .filter(|first| *first & 0x80 != 0)
        .map(|first| if first & 0x40 != 0 { first & 0x3f } else { (first & 0x3f) >> 2 });
    if matches!(tag, Some(1 | 2 | 3 | 4 | 8 | 9 | 11 | 18 | 20)) {
        return PGP;
    }
    match bytes {
        [b'<', b'?', b'x', b'm', b'l', ..] => "application/xml",
        [b'P', b'K', 3, 4, ..] => "application/zip",
        [0x1f, 0x8b, ..] => "application/gzip",
        _ if std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')) => "text/plain",
        _ => OCTETS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_uploads_look_like() {
        let cases: [(&[u8], &str); 7] = [
            (&[0xa3, 0x01], PGP),
            (&[0xcb, 0xff, 0, 0], PGP),
            (&[0xc1, 0x0c], PGP),
            (b"garbage", "text/plain"),
            (b"<?xml version", "application/xml"),
            (b"PK\x03\x04", "application/zip"),
            (&[0xff, 0x00], OCTETS),
        ];
        for (bytes, expected) in cases {
            assert_eq!(looks_like(bytes), expected, "{bytes:?}");
        }
    }
}
