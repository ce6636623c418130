//! Management requests: handing in, list, details, approval, and turning down.

use admin_api::check::{ADDRESS_CHARS, HOST_ADDRESS, NO_CONTROL_CHARS, SIZE};
use admin_api::page::{Page, SortKey};
use admin_api::types::central_server::{
    ClientId as ClientIdBody, ManagementRequest as Body, ManagementRequestView, PagedManagementRequests,
    SecurityServerId,
};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::date;
use admin_api::{Answer, Call, Check, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::cert::Certificate;
use proto::id::{ClientId, ServerId};

use super::servers::owner_name;
use super::{Api, problems};
use crate::management_service::trust;
use crate::registry::event::Blob;
use crate::registry::request::{ManagementRequest, Origin, RequestKind, Submission};
use crate::registry::{Command, State};

const NOT_FOUND: &str = "management_request_not_found";

/// What the API calls the body of a request of a type, where it names fields.
fn object_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "AUTH_CERT_REGISTRATION_REQUEST" => "authenticationCertificateRegistrationRequestDto",
        "AUTH_CERT_DELETION_REQUEST" => "authenticationCertificateDeletionRequestDto",
        "CLIENT_REGISTRATION_REQUEST" => "clientRegistrationRequestDto",
        "CLIENT_DELETION_REQUEST" => "clientDeletionRequestDto",
        "CLIENT_DISABLE_REQUEST" => "clientDisableRequestDto",
        "CLIENT_ENABLE_REQUEST" => "clientEnableRequestDto",
        "CLIENT_RENAME_REQUEST" => "clientRenameRequestDto",
        "OWNER_CHANGE_REQUEST" => "ownerChangeRequestDto",
        "ADDRESS_CHANGE_REQUEST" => "addressChangeRequestDto",
        "MAINTENANCE_MODE_ENABLE_REQUEST" => "maintenanceModeEnableRequestDto",
        "MAINTENANCE_MODE_DISABLE_REQUEST" => "maintenanceModeDisableRequestDto",
        _ => return None,
    })
}

pub(super) fn submit(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let body: Body = call.json()?;
    let kind = body.kind.clone().map(|kind| kind.0).unwrap_or_default();
    let object =
        object_of(&kind).ok_or_else(|| Problem::malformed("type is no type of management requests"))?;
    let origin = match body.origin.as_deref() {
        Some("CENTER") => Some(Origin::Center),
        Some("SECURITY_SERVER") => Some(Origin::SecurityServer),
        Some(_) => return Err(Problem::malformed("origin is neither CENTER nor SECURITY_SERVER")),
        None => None,
    };
    let mut check = Check::new(object);
    let origin = check.present("origin", origin);
    let server = body.security_server_id.clone().map(|id| ServerId::parse_encoded(&id));
    let server = valid(&mut check, "securityServerId", server);
    let asked = kind_of(&mut check, &kind, &body);
    check.done()?;
    let (Some(origin), Some(server), Some(asked)) = (origin, server, asked) else {
        return Err(Problem::malformed("the request is not complete"));
    };
    call.needs(&format!("ADD_{kind}"))?;
    let impersonates = call.may("IMPERSONATE_SECURITY_SERVER");
    if impersonates != (origin == Origin::SecurityServer) {
        return Err(Problem::forbidden());
    }
    if let RequestKind::AuthCertRegistration { cert, .. } = &asked {
        trust::registrable(&api.state(), &cert.0, api.clock.now()).map_err(|reason| {
            Problem::bad_request("management_request_invalid_auth_certificate").because(reason)
        })?;
    }
    call.note("managementRequestType", kind);
    call.note("securityServerIdentifier", server.to_string());
    let automatic = api.auto_approve.covers(&asked);
    let submission = Submission { kind: asked, origin, server, comments: None, automatic, approved: false };
    let state = api.execute(call, Command::SubmitRequest(Box::new(submission)))?;
    let made = &state.requests[&state.numbers.request];
    call.note("managementRequestId", made.id);
    let approved = made.status == Some(crate::registry::request::Status::Approved);
    Answer::json(if approved { 201 } else { 202 }, &shown(made))
}

fn valid<T, E>(check: &mut Check, field: &str, value: Option<Result<T, E>>) -> Option<T> {
    match check.present(field, value)? {
        Ok(value) => Some(value),
        Err(_) => {
            check.fail(field, "ValidXRoadId");
            None
        }
    }
}

/// What is asked for; what is wrong with it is in the check.
fn kind_of(check: &mut Check, kind: &str, body: &Body) -> Option<RequestKind> {
    let client = |check: &mut Check| -> Option<ClientId> {
        valid(check, "clientId", body.client_id.clone().map(|id| ClientId::parse_encoded(&id)))
    };
    let cert = |check: &mut Check| -> Option<Blob> {
        let text = check.present("authenticationCertificate", body.authentication_certificate.clone())?;
        let parsed = STANDARD.decode(text.as_bytes()).ok().and_then(|der| Certificate::parse(&der).ok());
        if parsed.is_none() {
            check.fail("authenticationCertificate", "ValidX509Certificate");
        }
        parsed.map(|cert| Blob(cert.der().to_vec()))
    };
    let address_rules = [ADDRESS_CHARS, HOST_ADDRESS, SIZE];
    let address =
        |check: &mut Check| check.required("serverAddress", body.server_address.clone(), &address_rules);
    let name =
        |check: &mut Check| check.optional("subsystemName", body.subsystem_name.clone(), &[NO_CONTROL_CHARS]);
    Some(match kind {
        "AUTH_CERT_REGISTRATION_REQUEST" => {
            let address = address(check);
            RequestKind::AuthCertRegistration { cert: cert(check)?, address: Some(address) }
        }
        "AUTH_CERT_DELETION_REQUEST" => RequestKind::AuthCertDeletion { cert: cert(check)? },
        "CLIENT_REGISTRATION_REQUEST" => {
            let name = name(check);
            RequestKind::ClientRegistration { client: client(check)?, name }
        }
        "CLIENT_DELETION_REQUEST" => RequestKind::ClientDeletion { client: client(check)? },
        "CLIENT_DISABLE_REQUEST" => RequestKind::ClientDisable { client: client(check)? },
        "CLIENT_ENABLE_REQUEST" => RequestKind::ClientEnable { client: client(check)? },
        "CLIENT_RENAME_REQUEST" => {
            let name = name(check).unwrap_or_default();
            RequestKind::ClientRename { client: client(check)?, name }
        }
        "OWNER_CHANGE_REQUEST" => RequestKind::OwnerChange { client: client(check)? },
        "ADDRESS_CHANGE_REQUEST" => RequestKind::AddressChange { address: address(check) },
        "MAINTENANCE_MODE_ENABLE_REQUEST" => {
            let rules = [admin_api::check::DESCRIPTION, admin_api::check::MAX_SIZE];
            let message = check.optional("message", body.message.clone(), &rules);
            RequestKind::MaintenanceEnable { message: message.filter(|text| !text.is_empty()) }
        }
        _ => RequestKind::MaintenanceDisable,
    })
}

/// A request as handing in and approval answer it.
fn shown(request: &ManagementRequest) -> Body {
    let at = date(request.created_at);
    let address = match &request.kind {
        RequestKind::AuthCertRegistration { address, .. } => address.clone(),
        RequestKind::AddressChange { address } => Some(address.clone()),
        _ => None,
    };
    let message = match &request.kind {
        RequestKind::MaintenanceEnable { message } => message.clone(),
        _ => None,
    };
    Body {
        kind: Some(request.kind.name().into()),
        created_at: Some(at.clone().into()),
        updated_at: Some(at.into()),
        id: Some(request.id),
        origin: Some(request.origin.name().into()),
        security_server_id: Some(request.server.encoded().into()),
        status: request.status.map(|status| status.name().into()),
        client_id: request.kind.client().map(|client| client.encoded().into()),
        subsystem_name: None,
        server_address: address.map(Into::into),
        authentication_certificate: request.kind.cert().map(|cert| STANDARD.encode(&cert.0).into()),
        message: message.map(Into::into),
    }
}

/// A request as lists and details show it.
fn view(state: &State, request: &ManagementRequest) -> ManagementRequestView {
    let client = request.kind.client();
    let (address, name) = match &request.kind {
        RequestKind::AuthCertRegistration { address, .. } => (address.clone(), None),
        RequestKind::AddressChange { address } => (Some(address.clone()), None),
        RequestKind::ClientRegistration { name, .. } => (None, name.clone().filter(|name| !name.is_empty())),
        RequestKind::ClientRename { name, .. } => (None, Some(name.clone())),
        _ => (None, None),
    };
    let member_name = |client: &ClientId| state.members.get(&client.member).map(|member| member.name.clone());
    ManagementRequestView {
        id: request.id,
        kind: request.kind.name().into(),
        origin: request.origin.name().into(),
        security_server_owner: owner_name(state, &request.server),
        security_server_id: SecurityServerId::from(&request.server),
        address,
        status: request.status.map(|status| status.name().into()),
        client_id: client.map(ClientIdBody::from),
        client_owner_name: client.and_then(member_name),
        client_subsystem_name: name,
        created_at: date(request.created_at),
        comments: None,
        certificate_details: None,
    }
}

pub(super) fn list(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let text = call.query("query").map(str::to_lowercase);
    let origin = call.query("origin");
    let status = call.query("status");
    let types: Vec<&str> = call.query_all("types").collect();
    let server = call.query("serverId").or_else(|| call.query("server_id"));
    if let Some(origin) = origin.filter(|origin| !["CENTER", "SECURITY_SERVER"].contains(origin)) {
        return Err(Problem::invalid("origin", format!("{origin} is neither CENTER nor SECURITY_SERVER")));
    }
    if let Some(kind) = types.iter().find(|kind| object_of(kind).is_none()) {
        return Err(Problem::invalid("types", format!("{kind} is no type of management requests")));
    }
    let fits = |view: &ManagementRequestView| {
        let contains = |found: &str, wanted: &str| found.to_lowercase().contains(wanted);
        let id = &view.security_server_id;
        let client = view.client_id.as_ref();
        let texts = [
            view.id.to_string(),
            view.security_server_owner.clone().unwrap_or_default(),
            id.encoded_id.replace(':', "/"),
            view.address.clone().unwrap_or_default(),
            view.client_owner_name.clone().unwrap_or_default(),
            client.map(|client| client.encoded_id.replace(':', "/")).unwrap_or_default(),
        ];
        text.as_ref().is_none_or(|wanted| texts.iter().any(|found| contains(found, wanted)))
            && origin.is_none_or(|wanted| view.origin == wanted)
            && status.is_none_or(|wanted| view.status.as_deref() == Some(wanted))
            && (types.is_empty() || types.contains(&view.kind.as_str()))
            && server.is_none_or(|wanted| id.encoded_id == wanted)
    };
    let all: Vec<ManagementRequestView> =
        state.requests.values().map(|request| view(&state, request)).filter(fits).collect();
    let keys = ["id", "created_at", "type", "security_server_owner", "security_server_id", "status"];
    let (items, paging_metadata) = Page::of(call)?.cut(all, &keys, |view, key| match key {
        "created_at" => SortKey::text(&view.created_at),
        "type" => SortKey::text(&view.kind),
        "security_server_owner" => {
            view.security_server_owner.as_deref().map_or(SortKey::Nothing, SortKey::text)
        }
        "security_server_id" => SortKey::text(&view.security_server_id.encoded_id),
        "status" => view.status.as_deref().map_or(SortKey::Nothing, SortKey::text),
        _ => SortKey::Number(i64::try_from(view.id).unwrap_or(i64::MAX)),
    })?;
    Answer::ok(&PagedManagementRequests { items, paging_metadata })
}

/// The request in the path.
fn request_of<'a>(state: &'a State, call: &Call) -> Result<&'a ManagementRequest, Problem> {
    let id = call.path_number("management_request_id", NOT_FOUND)?;
    state.requests.get(&id).ok_or_else(|| Problem::missing(NOT_FOUND))
}

pub(super) fn one(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let request = request_of(&state, call)?;
    let cert = request.kind.cert().map(|cert| Certificate::parse(&cert.0)).transpose();
    let cert = cert.map_err(Problem::internal)?;
    Answer::ok(&ManagementRequestView {
        comments: request.comments.clone(),
        certificate_details: cert.map(|cert| CertificateDetails::from(&cert)),
        ..view(&state, request)
    })
}

pub(super) fn approve(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let request = request_of(&state, call)?;
    call.note("managementRequestId", request.id);
    call.needs(&format!("APPROVE_{}", request.kind.name()))?;
    let state = api.execute(call, Command::ApproveRequest { id: request.id })?;
    Answer::ok(&shown(request_of(&state, call)?))
}

pub(super) fn withdraw(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let state = api.state();
    let request = request_of(&state, call)?;
    call.note("managementRequestId", request.id);
    call.needs(&format!("REVOKE_{}", request.kind.name()))?;
    if request.origin == Origin::SecurityServer || request.pair.is_some() {
        call.record_as("Decline management request");
    }
    api.registry.execute(call.actor(), Command::WithdrawRequest { id: request.id }).map_err(problems::of)?;
    Ok(Answer::empty(200))
}
