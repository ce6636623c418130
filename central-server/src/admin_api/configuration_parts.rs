//! The parts of both configurations: those that every configuration has, as they are published, and optional ones that are uploaded.
//!
//! An optional part is uploaded once for all versions, so its version is 0; it goes to the internal source alone [PR-GCONF §3.5]. Which
//! ones there can be is declared: three that every security server knows, and what extensions of the instance declare in files.

use admin_api::form::XML;
use admin_api::operation::{get, post};
use admin_api::types::central_server::{ConfigurationPart, ConfigurationPartUpload};
use admin_api::types::date;
use admin_api::{Answer, Call, Problem};
use pki::digest::DigestAlgorithm;
use proto::globalconf::{
    PRIVATE_PARAMETERS, PRIVATE_PARAMETERS_FILE, SHARED_PARAMETERS, SHARED_PARAMETERS_FILE,
};
use proto::time::UnixTime;

use super::sources::{source_of, view};
use super::{Api, Rows, stamp};
use crate::configuration_source::optional_parts::Declarations;
use crate::registry::{Command, SourceKind};

/// Version of parts that are the same in all of them.
const ALL_VERSIONS: u32 = 0;
const NO_FILE: &str = "configuration_part_file_not_found";

/// Rows of the table.
pub(super) fn rows() -> Rows {
    const PARTS: &str = "/configuration-sources/{configuration_type}/configuration-parts";
    const PART: &str = "/configuration-sources/{configuration_type}/configuration-parts/{content_identifier}/{version}/download";
    vec![
        view(get("getConfigurationParts", PARTS)).gives::<Vec<ConfigurationPart>>(200).by(list),
        post("uploadConfigurationParts", PARTS)
            .right("UPLOAD_CONFIGURATION_PART")
            .audit("Upload configuration part")
            .takes_form::<ConfigurationPartUpload>()
            .gives_nothing(204)
            .refuses(&[
                (400, "configuration_part_validation_failed"),
                (400, "unknown_configuration_part"),
                (400, "invalid_file_extension"),
            ])
            .by(upload),
        get("downloadConfigurationParts", PART)
            .right("DOWNLOAD_CONFIGURATION_PART")
            .gives_file("application/xml")
            .refuses(&[(404, NO_FILE)])
            .by(download),
    ]
}

fn declared(api: &Api) -> Result<Declarations, Problem> {
    Declarations::read(api.parts_folder.as_deref())
        .map_err(|error| Problem::new(500, "core.malformed_optional_parts_conf").because(error.to_string()))
}

/// The parts that every configuration of a source has.
fn required(source: SourceKind) -> &'static [(&'static str, &'static str)] {
    const BOTH: [(&str, &str); 2] =
        [(PRIVATE_PARAMETERS, PRIVATE_PARAMETERS_FILE), (SHARED_PARAMETERS, SHARED_PARAMETERS_FILE)];
    match source {
        SourceKind::Internal => &BOTH,
        SourceKind::External => &BOTH[1..],
    }
}

fn list(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let source = source_of(call)?;
    let state = api.state();
    // A source begins with its first key.
    if state.keys_of(source).next().is_none() {
        return Answer::ok(&Vec::<ConfigurationPart>::new());
    }
    let part =
        |(identifier, file): (&str, &str), optional, made: Option<(u32, UnixTime)>| ConfigurationPart {
            content_identifier: identifier.to_owned(),
            file_name: file.to_owned(),
            optional,
            file_updated_at: made.map(|(_, at)| date(at)),
            version: made.map(|(version, _)| version),
        };
    let published = api.source.published();
    let mut parts = Vec::new();
    for each in required(source) {
        if published.is_empty() {
            parts.push(part(*each, false, None));
        }
        parts.extend(published.iter().map(|of| part(*each, false, Some((of.version, of.written_at)))));
    }
    if source == SourceKind::Internal {
        let mut optional = declared(api)?;
        for uploaded in state.parts.values() {
            optional.insert(&uploaded.content_identifier, &uploaded.file_name);
        }
        for (identifier, file) in optional.iter() {
            let uploaded = state.parts.get(identifier);
            let at = uploaded.map(|part| (ALL_VERSIONS, part.published_at.unwrap_or(UnixTime(0))));
            parts.push(part((identifier, file), true, at));
        }
    }
    Answer::ok(&parts)
}

fn upload(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let source = source_of(call)?;
    let form = call.form()?;
    let identifier = form.required("content_identifier")?;
    let bytes = form.required_file("file", XML)?;
    call.note("sourceType", source.name().to_uppercase());
    call.note("contentIdentifier", identifier.clone());
    call.note("uploadFileName", form.file_name("file").unwrap_or_default());
    call.note("uploadFileHashAlgorithm", "SHA-256");
    call.note("uploadFileHash", hex::encode(DigestAlgorithm::Sha256.digest(&bytes).value));
    if source == SourceKind::External {
        return Err(Problem::bad_request("unknown_configuration_part")
            .because("the external source has no optional parts"));
    }
    let declared = declared(api)?;
    let Some(file_name) = declared.file_of(&identifier) else {
        return Err(Problem::bad_request("configuration_part_validation_failed")
            .because(format!("{identifier} is not declared as an optional part")));
    };
    call.note("partFileName", file_name.to_owned());
    let command = Command::PublishPart {
        content_identifier: identifier,
        file_name: file_name.to_owned(),
        bytes: bytes.to_vec(),
    };
    api.execute(call, command)?;
    Ok(Answer::empty(204))
}

fn download(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let source = source_of(call)?;
    let version =
        u32::try_from(call.path_number("version", NO_FILE)?).map_err(|_| Problem::missing(NO_FILE))?;
    let identifier = call.path("content_identifier");
    let (file, at, bytes) = match required(source).iter().find(|(known, _)| *known == identifier) {
        Some((_, file)) => {
            let published = api.source.published();
            let of = published.iter().find(|of| of.version == version);
            let of = of.ok_or_else(|| Problem::missing(NO_FILE))?;
            let bytes = std::fs::read(of.folder.join(file)).map_err(Problem::internal)?;
            (*file, of.written_at, bytes)
        }
        None => {
            let state = api.state();
            let wanted = version == ALL_VERSIONS && source == SourceKind::Internal;
            let part = state.parts.get(identifier).filter(|_| wanted);
            let part = part.ok_or_else(|| Problem::missing(NO_FILE))?;
            let bytes = api.registry.part(&part.digest).map_err(super::problems::of)?;
            return Ok(file_answer(&part.file_name, part.published_at.unwrap_or(UnixTime(0)), bytes));
        }
    };
    Ok(file_answer(file, at, bytes))
}

/// A part under its name with its time.
fn file_answer(file: &str, at: UnixTime, bytes: Vec<u8>) -> Answer {
    let stem = file.strip_suffix(".xml").unwrap_or(file);
    Answer::file("application/xml", &format!("{stem}_{}.xml", stamp(at, '_', ' ')), bytes)
}
