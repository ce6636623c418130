//! The internal TLS key and its certificate, by which information systems know this server.

use std::path::PathBuf;

use admin_api::operation::{get, post};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::security_server::system::DistinguishedName;
use admin_api::{Answer, Call, Problem, certificate_files};
use pki::cert::Certificate;

use super::csrs::day;
use super::{Api, Rows};

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getSystemCertificate", "/system/certificate")
            .right("VIEW_INTERNAL_TLS_CERT")
            .gives::<CertificateDetails>(200)
            .by(show),
        post("generateSystemTlsKeyAndCertificate", "/system/certificate")
            .right("GENERATE_INTERNAL_TLS_KEY_CERT")
            .audit("Generate new internal TLS key and certificate")
            .gives_nothing(201)
            .by(renew),
        get("downloadSystemCertificate", "/system/certificate/export")
            .right("EXPORT_INTERNAL_TLS_CERT")
            .gives_file("application/gzip")
            .by(export),
        post("generateSystemCertificateRequest", "/system/certificate/csr")
            .right("GENERATE_INTERNAL_TLS_CSR")
            .audit("Generate certificate request for TLS")
            .takes::<DistinguishedName>()
            .gives_file("application/octet-stream")
            .refuses(&[(400, "invalid_distinguished_name")])
            .by(request),
        post("importSystemCertificate", "/system/certificate/import")
            .right("IMPORT_INTERNAL_TLS_CERT")
            .audit("Import TLS certificate from file")
            .takes_octets()
            .upload(true)
            .gives::<CertificateDetails>(200)
            .refuses(&[(400, "invalid_certificate"), (400, "key_not_found")])
            .by(import),
    ]
}

fn folder(api: &Api) -> Result<PathBuf, Problem> {
    api.foundation.folder("tls").map_err(Problem::internal)
}

fn show(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&CertificateDetails::from(&api.foundation.internal_tls.cert()))
}

fn renew(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let _one_at_a_time = api.one_at_a_time();
    let tls = &api.foundation.internal_tls;
    tls.renew(&folder(api)?, api.now()).map_err(Problem::internal)?;
    call.note("certHash", hex::encode_upper(tls.cert().sha256()));
    call.note("certHashAlgorithm", "SHA-256");
    Ok(Answer::empty(201).location("/system/certificate"))
}

fn request(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let file = format!("internal_tls_cert_request_{}.p10", day(api.now()));
    let key = || api.foundation.internal_tls.key(&folder(api)?).map_err(Problem::internal);
    certificate_files::request(call, &file, key)
}

fn import(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let invalid =
        |error: pki::cert::CertError| Problem::bad_request("invalid_certificate").because(error.to_string());
    // The first one, where the CA gave its chain with it.
    let certs = Certificate::parse_all(call.bytes()).map_err(invalid)?;
    let cert = certs.into_iter().next().ok_or_else(|| Problem::bad_request("invalid_certificate"))?;
    call.note("certHash", hex::encode_upper(cert.sha256()));
    call.note("certHashAlgorithm", "SHA-256");
    let _one_at_a_time = api.one_at_a_time();
    let (folder, tls) = (folder(api)?, &api.foundation.internal_tls);
    if tls.key(&folder).map_err(Problem::internal)?.spki() != cert.spki() {
        return Err(Problem::bad_request("key_not_found"));
    }
    tls.certify(&folder, &cert, api.now()).map_err(Problem::internal)?;
    Answer::ok(&CertificateDetails::from(&cert))
}

fn export(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let bytes = certificate_files::archive(&api.foundation.internal_tls.cert(), api.now());
    let bytes = bytes.map_err(Problem::internal)?;
    Ok(Answer::file("application/gzip", "certs.tar.gz", bytes))
}
