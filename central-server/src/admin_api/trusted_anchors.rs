//! Anchors of other instances: shown before they are taken, tried by a real download, published in the private parameters.
//!
//! There is one anchor an instance; a newer one takes its place. Anchors are named by the hash of their file, which is what people
//! compare. The own instance's external anchor can be kept and handed out here too, but is not published: no security server has use
//! for it.

use admin_api::form::XML;
use admin_api::operation::{delete, get, post};
use admin_api::types::central_server::{TrustedAnchor, TrustedAnchorFile};
use admin_api::types::date;
use admin_api::{Answer, Call, Problem};
use bytes::Bytes;
use pki::globalconf::verify::anchor_fingerprint;
use proto::globalconf::anchor::Anchor;
use proto::time::UnixTime;

use super::{Api, Rows, stamp, wait_for};
use crate::registry::{Command, State};

/// Rows of the table.
pub(super) fn rows() -> Rows {
    const REFUSED: &[(u16, &str)] = &[(400, "malformed_anchor"), (400, "invalid_file_extension")];
    const UNKNOWN: &[(u16, &str)] = &[(404, "trusted_anchor_not_found")];
    vec![
        get("getTrustedAnchors", "/trusted-anchors")
            .right("VIEW_TRUSTED_ANCHORS")
            .gives::<Vec<TrustedAnchor>>(200)
            .by(list),
        post("uploadTrustedAnchor", "/trusted-anchors")
            .right("UPLOAD_TRUSTED_ANCHOR")
            .audit("Add trusted anchor")
            .takes_form::<TrustedAnchorFile>()
            .gives::<TrustedAnchor>(201)
            .refuses(&[
                (400, "malformed_anchor"),
                (400, "invalid_file_extension"),
                (400, "trusted_anchor_verification_failed"),
            ])
            .by(upload),
        post("previewTrustedAnchor", "/trusted-anchors/preview")
            .right("UPLOAD_TRUSTED_ANCHOR")
            .takes_form::<TrustedAnchorFile>()
            .gives::<TrustedAnchor>(200)
            .refuses(REFUSED)
            .by(preview),
        delete("deleteTrustedAnchor", "/trusted-anchors/{hash}")
            .right("DELETE_TRUSTED_ANCHOR")
            .audit("Delete trusted anchor")
            .gives_nothing(204)
            .refuses(UNKNOWN)
            .by(remove),
        get("downloadTrustedAnchor", "/trusted-anchors/{hash}/download")
            .right("DOWNLOAD_TRUSTED_ANCHOR")
            .gives_file("application/xml")
            .refuses(UNKNOWN)
            .by(download),
    ]
}

fn read(bytes: &[u8]) -> Result<Anchor, Problem> {
    Anchor::read(bytes).map_err(|error| Problem::bad_request("malformed_anchor").because(error.to_string()))
}

fn shown(bytes: &[u8], anchor: &Anchor) -> TrustedAnchor {
    TrustedAnchor {
        instance_identifier: anchor.instance.clone(),
        generated_at: date(anchor.generated_at.unwrap_or(UnixTime(0))),
        hash: anchor_fingerprint(bytes),
    }
}

/// The anchor in the form.
fn of_form(call: &Call) -> Result<(Bytes, Anchor), Problem> {
    let bytes = call.form()?.required_file("anchor", XML)?;
    let anchor = read(&bytes)?;
    Ok((bytes, anchor))
}

/// The anchor in the path.
fn of_path(state: &State, call: &Call) -> Result<(Vec<u8>, Anchor), Problem> {
    let hash = call.path("hash");
    let found = state.trusted_anchors.values().find(|file| anchor_fingerprint(&file.0) == hash);
    let file = found.ok_or_else(|| Problem::missing("trusted_anchor_not_found").with(hash))?;
    Ok((file.0.clone(), read(&file.0)?))
}

fn note(call: &mut Call, shown: &TrustedAnchor) {
    call.note("anchorFileHash", shown.hash.clone());
    call.note("anchorFileHashAlgorithm", "SHA-224");
    call.note("instanceIdentifier", shown.instance_identifier.clone());
}

fn list(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let each = |file: &crate::registry::event::Blob| Ok(shown(&file.0, &read(&file.0)?));
    Answer::ok(&state.trusted_anchors.values().map(each).collect::<Result<Vec<_>, Problem>>()?)
}

fn preview(_: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (bytes, anchor) = of_form(call)?;
    Answer::ok(&shown(&bytes, &anchor))
}

fn upload(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (bytes, anchor) = of_form(call)?;
    let shown = shown(&bytes, &anchor);
    note(call, &shown);
    call.note("generatedAt", shown.generated_at.clone());
    let urls: Vec<_> = anchor.sources.iter().map(|source| source.url.clone()).collect();
    call.note("anchorUrls", urls);
    wait_for(api.trial.run(&anchor, api.clock.now())).map_err(|error| {
        Problem::bad_request("trusted_anchor_verification_failed").because(error.to_string())
    })?;
    api.execute(call, Command::AddTrustedAnchor { anchor: bytes.to_vec() })?;
    Answer::created(&shown, &format!("/trusted-anchors/{}", shown.hash))
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (bytes, anchor) = of_path(&api.state(), call)?;
    note(call, &shown(&bytes, &anchor));
    api.execute(call, Command::RemoveTrustedAnchor { instance: anchor.instance })?;
    Ok(Answer::empty(204))
}

fn download(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let (bytes, anchor) = of_path(&api.state(), call)?;
    let stamp = stamp(anchor.generated_at.unwrap_or(UnixTime(0)), '_', '_');
    let name = super::file_name(&format!("configuration_anchor_{}_EXTERNAL_{stamp}.xml", anchor.instance));
    Ok(Answer::file("application/xml", &name, bytes))
}
