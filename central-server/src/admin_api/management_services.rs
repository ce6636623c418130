//! Who offers the management services, at which security server, and with which TLS certificate they are reached here.

use admin_api::form::CERTIFICATE as CERTIFICATE_FILE;
use admin_api::operation::{get, post};
use admin_api::types::central_server::{
    CertificateFile, ManagementServicesConfiguration, RegisterServiceProvider, ServiceProviderId,
};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::date;
use admin_api::types::security_server::system::DistinguishedName;
use admin_api::{Answer, Call, Check, Problem, certificate_files};
use pki::cert::Certificate;
use proto::id::ClientId;

use super::{Api, Rows, ids};
use crate::configuration_source::documents::host_of;
use crate::registry::request::{Origin, RequestKind, Submission};
use crate::registry::state::OWNERS_GROUP;
use crate::registry::{Command, Parameter, State};

fn shown(state: &State) -> ManagementServicesConfiguration {
    let provider = state.management_provider.as_ref();
    let server = |provider: &ClientId| {
        let mut servers = state.servers.iter().filter(|(_, server)| server.clients.contains_key(provider));
        servers.next().map(|(id, _)| format!("SERVER:{}", id.encoded())).unwrap_or_default()
    };
    let name = |provider: &ClientId| state.members.get(&provider.member).map(|member| member.name.clone());
    let host = host_of(&state.address);
    ManagementServicesConfiguration {
        service_provider_id: provider.map(|provider| format!("SUBSYSTEM:{}", provider.encoded())),
        security_server_id: provider.map(server),
        security_server_owners_global_group_code: OWNERS_GROUP.into(),
        service_provider_name: provider.and_then(name),
        services_address: format!("https://{host}:4002/managementservice/manage/"),
        wsdl_address: format!("http://{}/managementservices.wsdl", state.address),
    }
}

pub(super) fn configuration(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&shown(&api.state()))
}

pub(super) fn choose_provider(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: ServiceProviderId = call.json()?;
    let mut check = Check::new("serviceProviderIdDto");
    let text = check.required("serviceProviderId", asked.service_provider_id, &[]);
    check.done()?;
    call.note("serviceProviderIdentifier", text.clone());
    let id = ClientId::parse_encoded(&text).ok().filter(|id| id.subsystem.is_some());
    let id = id.ok_or_else(|| Problem::bad_request("invalid_service_provider_id").with(text))?;
    if !api.state().knows(&id) {
        return Err(Problem::missing("subsystem_not_found"));
    }
    let state = api.execute(call, Command::SetManagementProvider { provider: id })?;
    Answer::ok(&shown(&state))
}

pub(super) fn register_provider(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let asked: RegisterServiceProvider = call.json()?;
    let mut check = Check::new("registerServiceProviderRequestDto");
    let text = check.required("securityServerId", asked.security_server_id, &[]);
    check.done()?;
    call.note("securityServerIdentifier", text.clone());
    let state = api.state();
    let provider = state.management_provider.clone();
    let client = provider.ok_or_else(|| Problem::bad_request("management_service_provider_not_set"))?;
    let server = ids::server(&text)?;
    ids::known_server(&state, &server)?;
    if state.servers.values().any(|server| server.clients.contains_key(&client)) {
        return Err(Problem::bad_request("subsystem_already_registered_to_security_server"));
    }
    let submission = Submission {
        kind: RequestKind::ClientRegistration { client, name: None },
        origin: Origin::Center,
        server,
        comments: None,
        automatic: false,
        approved: true,
    };
    let state = api.execute(call, Command::SubmitRequest(Box::new(submission)))?;
    Answer::ok(&shown(&state))
}

const CERTIFICATE: &str = "/management-services-configuration/certificate";

/// Rows about the TLS certificate of the services.
pub(super) fn certificate_rows() -> Rows {
    vec![
        get("getCertificate", CERTIFICATE)
            .right("VIEW_MANAGEMENT_SERVICE_TLS_CERT")
            .gives::<CertificateDetails>(200)
            .by(certificate),
        post("generateKeyAndCertificate", CERTIFICATE)
            .right("GENERATE_MANAGEMENT_SERVICE_TLS_KEY_CERT")
            .audit("Generate management service TLS key and self-sign certificate")
            .gives_nothing(201)
            .by(renew_certificate),
        get("downloadCertificate", "/management-services-configuration/download-certificate")
            .right("DOWNLOAD_MANAGEMENT_SERVICE_TLS_CERT")
            .gives_file("application/gzip")
            .by(download_certificate),
        post("generateCertificateRequest", "/management-services-configuration/generate-csr")
            .right("GENERATE_MANAGEMENT_SERVICE_TLS_CSR")
            .audit("Generate management service TLS certificate signing request")
            .takes::<DistinguishedName>()
            .gives_file("application/octet-stream")
            .refuses(&[(400, "invalid_distinguished_name")])
            .by(request_certificate),
        post("uploadCertificate", "/management-services-configuration/upload-certificate")
            .right("UPLOAD_MANAGEMENT_SERVICE_TLS_CERT")
            .audit("Upload management service TLS certificate")
            .takes_form::<CertificateFile>()
            .gives::<CertificateDetails>(200)
            .refuses(&[(400, "invalid_certificate"), (400, "key_not_found"), (400, "invalid_file_extension")])
            .by(upload_certificate),
    ]
}

fn certificate(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    Answer::ok(&CertificateDetails::from(&api.management_tls.cert()))
}

fn download_certificate(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let archive = certificate_files::archive(&api.management_tls.cert(), api.clock.now());
    Ok(Answer::file("application/gzip", "management-service.tar.gz", archive.map_err(Problem::internal)?))
}

fn renew_certificate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let before = api.management_tls.cert();
    api.management_tls.renew(api.clock.now()).map_err(Problem::internal)?;
    shows_another(api, call, &before)?;
    Ok(Answer::empty(201).location(CERTIFICATE))
}

fn request_certificate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let day: String = date(api.clock.now()).chars().filter(char::is_ascii_digit).take(8).collect();
    let file = format!("management_service_tls_cert_request_{day}.p10");
    certificate_files::request(call, &file, || api.management_tls.key().map_err(Problem::internal))
}

fn upload_certificate(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let bytes = call.form()?.required_file("certificate", CERTIFICATE_FILE)?;
    let invalid =
        |error: pki::cert::CertError| Problem::bad_request("invalid_certificate").because(error.to_string());
    let chain = Certificate::parse_all(&bytes).map_err(invalid)?;
    let before = api.management_tls.cert();
    if !api.management_tls.certify(chain).map_err(Problem::internal)? {
        return Err(Problem::bad_request("key_not_found"));
    }
    shows_another(api, call, &before)?;
    certificate(api, call)
}

/// The configuration names the new certificate where it named the old one. Whoever uploads once more what is shown already, since the
/// server ended in between, has it named too.
fn shows_another(api: &Api, call: &mut Call, before: &Certificate) -> Result<(), Problem> {
    let cert = api.management_tls.cert();
    call.note("certHash", hex::encode_upper(cert.sha256()));
    call.note("certHashAlgorithm", "SHA-256");
    let named = api.state().parameters.auth_cert_reg_cert.clone();
    let follows = named.is_some_and(|named| {
        named.0 != cert.der() && (named.0 == before.der() || before.der() == cert.der())
    });
    if api.offers_registration && follows {
        let parameter = Parameter::AuthCertRegCert(Some(cert.der().to_vec()));
        api.execute(call, Command::SetParameter(parameter))?;
    }
    Ok(())
}
