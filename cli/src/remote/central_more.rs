//! Nouns of a central server for the rarer days: anchors of other instances, optional parts of the configuration, backups, the TLS
//! certificate of the management services. Where a server does not offer one, it says so.

use http::Method;

use crate::remote::backups::backup;
use crate::remote::verb::{Kind, Noun, Param, noun, opt, pos, verb};

const ANCHOR: &[&str] = &["Hash=hash", "Instance=instance_identifier", "Created=generated_at"];
const FILE: &[&str] = &["File=file", "Bytes=bytes"];
const CERTIFICATE: &[&str] =
    &["Hash=hash", "Subject=subject_distinguished_name", "From=not_before", "To=not_after"];
/// Sources as the API's path has them.
const SOURCES: Kind = Kind::Choice(&[("internal", "INTERNAL"), ("external", "EXTERNAL")]);

pub(super) fn nouns() -> Vec<Noun> {
    vec![trusted_anchor(), conf_part(), backup(), server_tls()]
}

fn output() -> Param {
    opt("output", Kind::Output, "Where to; - is standard output")
}

fn trusted_anchor() -> Noun {
    let hash = || pos("hash", Kind::Text, "Its hash");
    let file = || pos("file", Kind::File, "The anchor").form("anchor");
    noun(
        "trusted-anchor",
        "Configuration anchors of other instances",
        [
            verb("list", "Lists them", Method::GET, "/trusted-anchors").lists(ANCHOR),
            verb("preview", "Shows what a file holds", Method::POST, "/trusted-anchors/preview")
                .with([file()])
                .shows(ANCHOR),
            verb("upload", "Trusts another instance", Method::POST, "/trusted-anchors")
                .with([file()])
                .shows(ANCHOR),
            verb("download", "Writes one to a file", Method::GET, "/trusted-anchors/{hash}/download")
                .with([hash(), output()])
                .shows(FILE),
            verb("delete", "Trusts an instance no more", Method::DELETE, "/trusted-anchors/{hash}")
                .with([hash()])
                .ensures(&["trusted_anchor_not_found"]),
        ],
    )
}

fn conf_part() -> Noun {
    let source = || pos("source", SOURCES, "Whose configuration");
    let identifier = || pos("identifier", Kind::Text, "Content identifier");
    let parts = "/configuration-sources/{source}/configuration-parts";
    noun(
        "conf-part",
        "Parts of the configuration",
        [
            verb("list", "Lists them", Method::GET, parts).with([source()]).lists(&[
                "Identifier=content_identifier",
                "File=file_name",
                "Version=version",
                "Optional=optional",
                "Changed=file_updated_at",
            ]),
            verb("upload", "Adds or replaces an optional part", Method::POST, parts).with([
                source(),
                identifier().form("content_identifier"),
                pos("file", Kind::File, "The part").form("file"),
            ]),
            verb(
                "download",
                "Writes one to a file",
                Method::GET,
                "/configuration-sources/{source}/configuration-parts/{identifier}/{conf-version}/download",
            )
            .with([
                source(),
                identifier(),
                pos("conf-version", Kind::Number, "Version of the configuration"),
                output(),
            ])
            .shows(FILE),
        ],
    )
}

fn server_tls() -> Noun {
    noun(
        "server-tls",
        "TLS certificate of the management services",
        [
            verb("show", "Shows it", Method::GET, "/management-services-configuration/certificate")
                .shows(CERTIFICATE),
            verb(
                "generate",
                "Makes a new key with a certificate of its own",
                Method::POST,
                "/management-services-configuration/certificate",
            ),
            verb(
                "csr",
                "Writes a signing request",
                Method::POST,
                "/management-services-configuration/generate-csr",
            )
            .with([
                pos("name", Kind::Text, "Distinguished name, such as CN=cs.example.org").json("name"),
                output(),
            ])
            .shows(FILE),
            verb(
                "import",
                "Takes a signed certificate",
                Method::POST,
                "/management-services-configuration/upload-certificate",
            )
            .with([pos("file", Kind::File, "The certificate").form("certificate")])
            .shows(CERTIFICATE),
            verb(
                "export",
                "Writes management-service.tar.gz",
                Method::GET,
                "/management-services-configuration/download-certificate",
            )
            .with([output()])
            .shows(FILE),
        ],
    )
}
