//! Who offers the management services, and at which security server.

use admin_api::types::central_server::{
    ManagementServicesConfiguration, RegisterServiceProvider, ServiceProviderId,
};
use admin_api::{Answer, Call, Check, Problem};
use proto::id::ClientId;

use super::{Api, ids};
use crate::configuration_source::documents::host_of;
use crate::registry::request::{Origin, RequestKind, Submission};
use crate::registry::state::OWNERS_GROUP;
use crate::registry::{Command, State};

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
