//! The configuration anchor: uploaded, verified by a real download before it counts, shown, replaced.
//!
//! A candidate is tried by a configuration client of its own in a folder of its own (`anchor-candidate` in the data directory, removed
//! afterwards, and before the next try); the server's client and what it holds are not touched until the candidate proved good.

use std::path::Path;

use admin_api::operation::{get, post, put};
use admin_api::types::date;
use admin_api::types::security_server::system;
use admin_api::{Answer, Call, Problem};
use host::http::Client;
use pki::globalconf::verify::{ConfigurationError, anchor_fingerprint};
use proto::globalconf::anchor::Anchor;
use proto::time::UnixTime;

use super::{Api, Rows, wait_for};
use crate::config::{ConfigurationSettings, Federations};
use crate::configuration_client::{ConfigurationClient, DownloadError};

/// Where a candidate is tried.
const CANDIDATE: &str = "anchor-candidate";

/// Rows of the table.
pub(super) fn rows() -> Rows {
    // Whatever keeps a configuration from being used; `INVALID_INSTANCE` of a first anchor when the one before was taken away by hand.
    const INVALID_INSTANCE: (u16, &str) = (400, "internal_anchor_upload_invalid_instance_id");
    const UNREACHABLE: (u16, &str) = (500, "conf_verification.unreachable");
    const OUTDATED: (u16, &str) = (500, "conf_verification.outdated");
    const SIGNATURE: (u16, &str) = (500, "conf_verification.signature_invalid");
    const EXTERNAL: (u16, &str) = (500, "conf_verification.missing_private_params");
    const OTHER: (u16, &str) = (500, "conf_verification.other");
    const UPLOAD: &[(u16, &str)] = &[
        (400, "malformed_anchor"),
        INVALID_INSTANCE,
        (409, "anchor_already_exists"),
        UNREACHABLE,
        OUTDATED,
        SIGNATURE,
        EXTERNAL,
        OTHER,
    ];
    const REPLACE: &[(u16, &str)] = &[
        (400, "malformed_anchor"),
        INVALID_INSTANCE,
        (409, "anchor_not_found"),
        UNREACHABLE,
        OUTDATED,
        SIGNATURE,
        EXTERNAL,
        OTHER,
    ];
    vec![
        get("getAnchor", "/system/anchor")
            .right("VIEW_ANCHOR")
            .gives::<system::Anchor>(200)
            .refuses(&[(500, "anchor_file_not_found")])
            .by(show),
        post("uploadInitialAnchor", "/system/anchor")
            .right("INIT_CONFIG")
            .audit("Initialize anchor")
            .takes_octets()
            .gives_nothing(201)
            .refuses(UPLOAD)
            .by(upload),
        put("replaceAnchor", "/system/anchor")
            .right("UPLOAD_ANCHOR")
            .audit("Upload configuration anchor")
            .takes_octets()
            .gives_nothing(201)
            .refuses(REPLACE)
            .by(replace),
        post("previewAnchor", "/system/anchor/previews")
            .right("UPLOAD_ANCHOR")
            .takes_octets()
            .query(&["validate_instance"])
            .gives::<system::Anchor>(200)
            .refuses(&[(400, "malformed_anchor"), (400, "internal_anchor_upload_invalid_instance_id")])
            .by(preview),
        get("downloadAnchor", "/system/anchor/download")
            .right("DOWNLOAD_ANCHOR")
            .gives_file("application/xml")
            .refuses(&[(404, "anchor_file_not_found")])
            .by(download),
    ]
}

/// The present anchor's bytes and what they say; `None` before the first.
fn present(api: &Api) -> Result<Option<(Vec<u8>, Anchor)>, Problem> {
    match std::fs::read(&api.foundation.settings.configuration.anchor_file) {
        Ok(bytes) => {
            let anchor = read(&bytes)?;
            Ok(Some((bytes, anchor)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::internal(error)),
    }
}

fn read(bytes: &[u8]) -> Result<Anchor, Problem> {
    Anchor::read(bytes).map_err(|error| Problem::bad_request("malformed_anchor").because(error.to_string()))
}

fn shown(bytes: &[u8], anchor: &Anchor) -> system::Anchor {
    let hash = anchor_fingerprint(bytes).replace(':', "");
    system::Anchor { hash, created_at: date(anchor.generated_at.unwrap_or(UnixTime(0))) }
}

fn show(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let missing = || Problem::new(500, "anchor_file_not_found");
    let (bytes, anchor) = present(api)?.ok_or_else(missing)?;
    Answer::ok(&shown(&bytes, &anchor))
}

fn preview(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let anchor = read(call.bytes())?;
    if call.query_flag("validate_instance")?.unwrap_or(true)
        && let Some((_, present)) = present(api)?
    {
        check_instance(&present, &anchor)?;
    }
    Answer::ok(&shown(call.bytes(), &anchor))
}

fn check_instance(present: &Anchor, anchor: &Anchor) -> Result<(), Problem> {
    if anchor.instance == present.instance {
        return Ok(());
    }
    Err(Problem::bad_request("internal_anchor_upload_invalid_instance_id"))
}

fn download(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let (bytes, anchor) = present(api)?.ok_or_else(|| Problem::missing("anchor_file_not_found"))?;
    let at = date(anchor.generated_at.unwrap_or(UnixTime(0)));
    let stamp: String =
        at.chars().take(19).map(|c| if c.is_ascii_digit() || c == '-' { c } else { '_' }).collect();
    Ok(Answer::file("application/xml", &format!("configuration_anchor_UTC_{stamp}.xml"), bytes))
}

fn upload(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let _one_at_a_time = api.one_at_a_time();
    if present(api)?.is_some() {
        return Err(Problem::conflict("anchor_already_exists"));
    }
    let anchor = read(call.bytes())?;
    take(api, call, &anchor)
}

fn replace(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let _one_at_a_time = api.one_at_a_time();
    let (_, present) = present(api)?.ok_or_else(|| Problem::conflict("anchor_not_found"))?;
    let anchor = read(call.bytes())?;
    check_instance(&present, &anchor)?;
    take(api, call, &anchor)
}

/// Verifies a candidate, puts it in place, and downloads with it.
fn take(api: &Api, call: &mut Call, anchor: &Anchor) -> Result<Answer, Problem> {
    let shown = shown(call.bytes(), anchor);
    call.note("anchorFileHash", shown.hash);
    call.note("anchorFileHashAlgorithm", "SHA-224");
    call.note("generatedAt", shown.created_at);
    if let Some(id) = api.foundation.server_id()
        && id.owner.instance != anchor.instance
    {
        return Err(Problem::bad_request("internal_anchor_upload_invalid_instance_id"));
    }
    let folder = api.foundation.folder(CANDIDATE).map_err(Problem::internal)?;
    let outcome = try_candidate(api, &folder, call.bytes());
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(folder = %folder.display(), %error, "what an anchor was tried with cannot be removed");
    }
    outcome?;
    let file = &api.foundation.settings.configuration.anchor_file;
    host::files::write_atomic(file, call.bytes(), 0o600).map_err(Problem::internal)?;
    // It was good a moment ago; if it is not now, the client goes on trying.
    if let Err(error) = wait_for(api.foundation.configuration.run_once()) {
        tracing::warn!(%error, "the configuration of a new anchor could not be downloaded again");
    }
    Ok(Answer::empty(201).location("/system/anchor"))
}

fn try_candidate(api: &Api, folder: &Path, bytes: &[u8]) -> Result<(), Problem> {
    // What a try left behind that did not come to its end.
    std::fs::remove_dir_all(folder).and_then(|()| std::fs::create_dir(folder)).map_err(Problem::internal)?;
    let settings = ConfigurationSettings {
        anchor_file: folder.join("anchor.xml"),
        federations: Federations::None,
        ..api.foundation.settings.configuration.clone()
    };
    host::files::write_atomic(&settings.anchor_file, bytes, 0o600).map_err(Problem::internal)?;
    let http = Client::new(settings.connect, settings.total, &[]);
    let kept = folder.join("globalconf");
    std::fs::create_dir(&kept).map_err(Problem::internal)?;
    let client = ConfigurationClient::new(settings, kept, http, api.foundation.clock.clone());
    wait_for(client.run_once()).map_err(|error| Problem::new(500, code_of(&error)).because(error.to_string()))
}

/// What a refused candidate is told.
fn code_of(error: &DownloadError) -> &'static str {
    use DownloadError as E;
    match error {
        E::Anchor(_) | E::AnchorFile { .. } => "conf_verification.other",
        E::NoLocation | E::Unreachable(_) | E::Status { .. } | E::PartUnreachable { .. } => {
            "conf_verification.unreachable"
        }
        E::Directory { source: ConfigurationError::Expired(_), .. }
        | E::Older { .. }
        | E::LowerVersion { .. } => "conf_verification.outdated",
        E::Directory {
            source: ConfigurationError::Signature | ConfigurationError::NoVerificationCert { .. },
            ..
        } => "conf_verification.signature_invalid",
        E::PartMissing("private parameters") => "conf_verification.missing_private_params",
        E::Directory { source: ConfigurationError::Directory(_), .. }
        | E::OtherInstance { .. }
        | E::PartMissing(_)
        | E::PartName(_)
        | E::PartHashAlgorithm(_)
        | E::PartHash(_)
        | E::PartContent { .. }
        | E::PartInstance { .. }
        | E::StoredFile { .. }
        | E::SaveFile { .. }
        | E::SaveMetadata { .. }
        | E::SaveInstance { .. }
        | E::Unusable(_) => "conf_verification.other",
    }
}
