//! Certificates of a client: those that sign for its member, and the TLS certificates of its information systems.
//!
//! A certificate is named by the SHA-256 of its DER, in hex of any case.

use admin_api::operation::{delete, get, post};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::security_server::tokens::TokenCertificate;
use admin_api::{Answer, Call, Problem};
use pki::cert::Certificate;
use proto::id::ClientId;

use super::clients::{local, local_named};
use super::tokens::certificate_shown;
use super::{Api, Rows, ids};
use crate::serverconf::event::Event;
use crate::serverconf::state::ClientState;

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getClientSignCertificates", "/clients/{id}/sign-certificates")
            .right("VIEW_CLIENT_DETAILS")
            .gives::<Vec<TokenCertificate>>(200)
            .refuses(&[(404, "client_not_found")])
            .by(signing),
        get("getClientTlsCertificates", "/clients/{id}/tls-certificates")
            .right("VIEW_CLIENT_INTERNAL_CERTS")
            .gives::<Vec<CertificateDetails>>(200)
            .refuses(&[(404, "client_not_found")])
            .by(all),
        post("addClientTlsCertificate", "/clients/{id}/tls-certificates")
            .right("ADD_CLIENT_INTERNAL_CERT")
            .audit("Add internal TLS certificate")
            .takes_octets()
            .upload(true)
            .gives::<CertificateDetails>(201)
            .refuses(&[
                (400, "invalid_certificate"),
                (404, "client_not_found"),
                (409, "certificate_already_exists"),
            ])
            .by(add),
        get("getClientTlsCertificate", "/clients/{id}/tls-certificates/{hash}")
            .right("VIEW_CLIENT_INTERNAL_CERT_DETAILS")
            .gives::<CertificateDetails>(200)
            .refuses(&[(404, "client_not_found"), (404, "certificate_not_found")])
            .by(one),
        delete("deleteClientTlsCertificate", "/clients/{id}/tls-certificates/{hash}")
            .right("DELETE_CLIENT_INTERNAL_CERT")
            .audit("Delete internal TLS certificate")
            .gives_nothing(204)
            .refuses(&[(404, "client_not_found"), (404, "certificate_not_found")])
            .by(remove),
    ]
}

fn signing(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    local_named(&api.state(), &client)?;
    let keys = api.foundation.token.get().map(|token| token.keys()).unwrap_or_default();
    let certs = keys.iter().flat_map(|key| key.certs.iter().map(move |cert| (key, cert)));
    let own = certs.filter(|(_, cert)| cert.member.as_ref() == Some(&client.member));
    Answer::ok(&own.map(|(key, cert)| certificate_shown(api, key, cert)).collect::<Vec<_>>())
}

fn all(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    let state = api.state();
    let certs = local_named(&state, &client)?.tls_certs.iter();
    // Only what is a certificate was recorded.
    let certs = certs.filter_map(|der| Certificate::parse(der).ok());
    Answer::ok(&certs.map(|cert| CertificateDetails::from(&cert)).collect::<Vec<_>>())
}

fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    note(call, &client);
    let cert = Certificate::parse(call.bytes())
        .map_err(|error| Problem::bad_request("invalid_certificate").because(error.to_string()))?;
    let details = CertificateDetails::from(&cert);
    call.note("certHash", details.hash.clone());
    api.change_with(call, |state| {
        if local(state, &client)?.tls_certs.contains(cert.der()) {
            return Err(Problem::conflict("certificate_already_exists"));
        }
        Ok((vec![Event::TlsCertAdded { client: client.clone(), der: cert.der().to_vec() }], ()))
    })?;
    let location = format!("/clients/{}/tls-certificates/{}", client.encoded(), details.hash);
    Answer::created(&details, &location)
}

fn note(call: &mut Call, client: &ClientId) {
    call.note("clientIdentifier", client.encoded());
}

/// The certificate with this hash.
fn named(client: &ClientState, hash: &str) -> Result<Certificate, Problem> {
    let mut certs = client.tls_certs.iter().filter_map(|der| Certificate::parse(der).ok());
    let found = certs.find(|cert| hex::encode(cert.sha256()).eq_ignore_ascii_case(hash));
    found.ok_or_else(|| Problem::missing("certificate_not_found"))
}

fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    let state = api.state();
    let cert = named(local(&state, &client)?, call.path("hash"))?;
    Answer::ok(&CertificateDetails::from(&cert))
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let client = ids::client(call.path("id"))?;
    note(call, &client);
    let hash = call.path("hash").to_owned();
    call.note("certHash", hash.to_ascii_uppercase());
    api.change_with(call, |state| {
        let cert = named(local(state, &client)?, &hash)?;
        Ok((vec![Event::TlsCertRemoved { client: client.clone(), der: cert.der().to_vec() }], ()))
    })?;
    Ok(Answer::empty(204))
}
