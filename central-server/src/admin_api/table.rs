//! The one table of the central server's operations. Audit events are those of the reference's list.

use admin_api::operation::{Operation, delete, get, patch, post, put};
use admin_api::types::central_server as t;
use admin_api::types::certificate::CertificateDetails;

use super::sources::view;
use super::{
    Rows, configuration_parts, groups, management_services, members, requests, servers, sources, system,
    trust_services as trust, trusted_anchors,
};

/// Parameters of paged lists.
const PAGED: &[&str] = &["sort", "desc", "limit", "offset", "q"];

/// All rows.
pub fn operations() -> Rows {
    let mut rows = system_rows();
    rows.extend(source_rows());
    rows.extend(configuration_parts::rows());
    rows.extend(trusted_anchors::rows());
    rows.extend(management_services::certificate_rows());
    rows.extend(member_rows());
    rows.extend(server_rows());
    rows.extend(request_rows());
    rows.extend(service_rows());
    rows.extend(responder_rows());
    rows.extend(group_rows());
    rows.extend(admin_api::backup::operations::rows());
    rows
}

fn system_rows() -> Rows {
    vec![
        get("getInitializationStatus", "/initialization/status")
            .gives::<t::InitializationStatus>(200)
            .by(system::initialization_status),
        post("initCentralServer", "/initialization")
            .right("INIT_CONFIG")
            .audit("Initialize central server")
            .takes::<t::InitialServerConf>()
            .refuses(&[(409, "init_already_initialized"), (400, "token_weak_pin")])
            .by(system::initialize),
        get("getSystemStatus", "/system/status")
            .right("VIEW_VERSION")
            .gives::<t::SystemStatus>(200)
            .by(system::system_status),
        get("getSystemVersion", "/system/version")
            .right("VIEW_VERSION")
            .gives::<t::Version>(200)
            .by(system::version),
        get("getHighAvailabilityClusterStatus", "/system/high-availability-cluster/status")
            .right("VIEW_VERSION")
            .gives::<t::HighAvailabilityClusterStatus>(200)
            .by(system::cluster_status),
        put("updateCentralServerAddress", "/system/server-address")
            .right("EDIT_CENTRAL_SERVER_ADDRESS")
            .audit("Edit central server address")
            .takes::<t::CentralServerAddress>()
            .gives::<t::SystemStatus>(200)
            .by(system::change_address),
        get("checkAlerts", "/notifications/alerts").gives::<Vec<t::Alert>>(200).by(system::alerts),
    ]
}

fn source_rows() -> Rows {
    vec![
        view(get("getTokens", "/tokens")).gives::<Vec<t::Token>>(200).by(sources::tokens),
        put("loginToken", "/tokens/{token_id}/login")
            .right("ACTIVATE_TOKEN")
            .audit("Log in to token")
            .takes::<t::TokenPassword>()
            .gives::<t::Token>(200)
            .refuses(&[
                (404, "token_not_found"),
                (400, "token_activation_failed"),
                (400, "token_action_not_possible"),
                (400, "token_pin_locked"),
            ])
            .by(sources::login),
        put("logoutToken", "/tokens/{token_id}/logout")
            .right("DEACTIVATE_TOKEN")
            .audit("Log out from token")
            .gives::<t::Token>(200)
            .refuses(&[(404, "token_not_found"), (400, "token_action_not_possible")])
            .by(sources::logout),
        post("addKey", "/configuration-sources/{configuration_type}/signing-keys")
            .right("GENERATE_SIGNING_KEY")
            .audit("Generate key")
            .takes::<t::ConfigurationSigningKeyAdd>()
            .gives::<t::ConfigurationSigningKey>(200)
            .refuses(&[(404, "token_not_found"), (400, "token_action_not_possible")])
            .by(sources::add_key),
        put("activateKey", "/signing-keys/{sign_key_id}/activate")
            .right("ACTIVATE_SIGNING_KEY")
            .audit("Activate signing key")
            .gives_nothing(204)
            .refuses(&[(404, "signing_key_not_found"), (400, "signing_key_action_not_possible")])
            .by(sources::activate_key),
        delete("deleteKey", "/signing-keys/{sign_key_id}")
            .right("DELETE_SIGNING_KEY")
            .audit("Delete signing key")
            .gives_nothing(204)
            .refuses(&[(404, "signing_key_not_found"), (400, "signing_key_action_not_possible")])
            .by(sources::remove_key),
        view(get("getAnchor", "/configuration-sources/{configuration_type}/anchor"))
            .gives::<t::ConfigurationAnchorContainer>(200)
            .by(sources::anchor),
        get("downloadAnchor", "/configuration-sources/{configuration_type}/anchor/download")
            .right("DOWNLOAD_SOURCE_ANCHOR")
            .gives_file("application/xml")
            .refuses(&[(404, "configuration_not_found")])
            .by(sources::download_anchor),
        put("reCreateAnchor", "/configuration-sources/{configuration_type}/anchor/re-create")
            .right("GENERATE_SOURCE_ANCHOR")
            .audit("Re-create configuration anchor")
            .gives::<t::ConfigurationAnchor>(200)
            .refuses(&[(409, "no_configuration_signing_keys_configured")])
            .by(sources::recreate_anchor),
        view(get("getDownloadUrl", "/configuration-sources/{configuration_type}/download-url"))
            .gives::<t::GlobalConfDownloadUrl>(200)
            .by(sources::download_url),
    ]
}

fn member_rows() -> Rows {
    let no_class: &'static [(u16, &'static str)] = &[(404, "member_class_not_found")];
    vec![
        get("getMemberClasses", "/member-classes")
            .right("VIEW_MEMBER_CLASSES")
            .gives::<Vec<t::MemberClass>>(200)
            .by(members::classes),
        post("addMemberClass", "/member-classes")
            .right("ADD_MEMBER_CLASS")
            .audit("Add member class")
            .takes::<t::MemberClassAdd>()
            .gives::<t::MemberClass>(201)
            .refuses(&[(409, "member_class_exists")])
            .by(members::add_class),
        patch("updateMemberClass", "/member-classes/{code}")
            .right("EDIT_MEMBER_CLASS")
            .audit("Edit member class description")
            .takes::<t::Description>()
            .gives::<t::MemberClass>(200)
            .refuses(no_class)
            .by(members::describe_class),
        delete("deleteMemberClass", "/member-classes/{code}")
            .right("DELETE_MEMBER_CLASS")
            .audit("Delete member class")
            .gives_nothing(204)
            .refuses(&[(404, "member_class_not_found"), (409, "member_class_is_in_use")])
            .by(members::remove_class),
        post("addMember", "/members")
            .right("ADD_NEW_MEMBER")
            .audit("Add member")
            .takes::<t::MemberAdd>()
            .gives::<t::Client>(201)
            .refuses(&[(409, "member_exists"), (404, "member_class_not_found")])
            .by(members::add),
        get("getMember", "/members/{member_id}")
            .right("VIEW_MEMBER_DETAILS")
            .gives::<t::Client>(200)
            .refuses(&[(404, "member_not_found"), (400, "invalid_member_id")])
            .by(members::one),
        patch("updateMemberName", "/members/{member_id}")
            .right("EDIT_MEMBER_NAME")
            .audit("Edit member name")
            .takes::<t::MemberName>()
            .gives::<t::Client>(200)
            .refuses(&[(404, "member_not_found")])
            .by(members::rename),
        delete("deleteMember", "/members/{member_id}")
            .right("DELETE_MEMBER")
            .audit("Delete member")
            .gives_nothing(204)
            .refuses(&[(404, "member_not_found"), (409, "member_is_in_use")])
            .by(members::remove),
        get("getSubsystems", "/members/{member_id}/subsystems")
            .right("VIEW_MEMBER_DETAILS")
            .gives::<Vec<t::Subsystem>>(200)
            .refuses(&[(404, "member_not_found")])
            .by(members::subsystems),
        get("getMemberGlobalGroups", "/members/{member_id}/global-groups")
            .right("VIEW_MEMBER_DETAILS")
            .gives::<Vec<t::MemberGlobalGroup>>(200)
            .by(members::groups),
        get("getOwnedServers", "/members/{member_id}/owned-servers")
            .right("VIEW_MEMBER_DETAILS")
            .gives::<Vec<t::SecurityServer>>(200)
            .by(members::owned_servers),
        get("getUsedServers", "/members/{member_id}/used-servers")
            .right("VIEW_MEMBER_DETAILS")
            .gives::<Vec<t::SecurityServer>>(200)
            .by(members::used_servers),
        delete("unregisterMember", "/members/{member_id}/servers/{server_id}")
            .right("UNREGISTER_MEMBER")
            .audit("Unregister member as security server client")
            .gives_nothing(204)
            .refuses(&[(404, "security_server_not_found"), (404, "member_not_registered_to_security_server")])
            .by(members::unregister_member),
        post("addSubsystem", "/subsystems")
            .right("ADD_MEMBER_SUBSYSTEM")
            .audit("Add subsystem")
            .takes::<t::SubsystemAdd>()
            .gives::<t::Client>(201)
            .refuses(&[(409, "subsystem_exists"), (404, "member_not_found")])
            .by(members::add_subsystem),
        patch("renameSubsystem", "/subsystems/{subsystem_id}")
            .right("EDIT_MEMBER_SUBSYSTEM")
            .audit("Edit subsystem")
            .takes::<t::SubsystemName>()
            .gives::<t::Client>(200)
            .refuses(&[(404, "subsystem_not_found"), (400, "invalid_subsystem_id")])
            .by(members::rename_subsystem),
        delete("deleteSubsystem", "/subsystems/{subsystem_id}")
            .right("REMOVE_MEMBER_SUBSYSTEM")
            .audit("Delete subsystem")
            .gives_nothing(204)
            .refuses(&[(404, "subsystem_not_found"), (400, "subsystem_registered_and_cannot_be_deleted")])
            .by(members::remove_subsystem),
        delete("unregisterSubsystem", "/subsystems/{subsystem_id}/servers/{server_id}")
            .right("UNREGISTER_SUBSYSTEM")
            .audit("Unregister subsystem as security server client")
            .gives_nothing(204)
            .refuses(&[
                (404, "security_server_not_found"),
                (404, "subsystem_not_registered_to_security_server"),
            ])
            .by(members::unregister_subsystem),
        get("findClients", "/clients")
            .right("SEARCH_MEMBERS")
            .right("VIEW_MEMBERS")
            .query(&[
                "sort",
                "desc",
                "limit",
                "offset",
                "q",
                "name",
                "instance",
                "member_class",
                "member_code",
                "subsystem_code",
                "client_type",
                "security_server",
                "excluding_group",
            ])
            .gives::<t::PagedClients>(200)
            .refuses(&[(400, "invalid_sort_properties"), (400, "invalid_pagination_properties")])
            .by(members::clients),
    ]
}

fn server_rows() -> Rows {
    let unknown: &'static [(u16, &'static str)] = &[(404, "security_server_not_found")];
    vec![
        get("findSecurityServers", "/security-servers")
            .right("VIEW_SECURITY_SERVERS")
            .query(PAGED)
            .gives::<t::PagedSecurityServers>(200)
            .refuses(&[(400, "invalid_sort_properties"), (400, "invalid_pagination_properties")])
            .by(servers::list),
        get("getSecurityServer", "/security-servers/{server_id}")
            .right("VIEW_SECURITY_SERVER_DETAILS")
            .gives::<t::SecurityServer>(200)
            .refuses(unknown)
            .by(servers::one),
        patch("updateSecurityServerAddress", "/security-servers/{server_id}")
            .right("EDIT_SECURITY_SERVER_ADDRESS")
            .audit("Edit security server address")
            .takes::<t::SecurityServerAddress>()
            .gives::<t::SecurityServer>(200)
            .refuses(unknown)
            .by(servers::change_address),
        delete("deleteSecurityServer", "/security-servers/{server_id}")
            .right("DELETE_SECURITY_SERVER")
            .audit("Delete security server")
            .gives_nothing(204)
            .refuses(unknown)
            .by(servers::remove),
        get("getSecurityServerClients", "/security-servers/{server_id}/clients")
            .right("VIEW_SECURITY_SERVER_DETAILS")
            .gives::<Vec<t::Client>>(200)
            .refuses(unknown)
            .by(servers::clients),
        get("getSecurityServerAuthCerts", "/security-servers/{server_id}/authentication-certificates")
            .right("VIEW_SECURITY_SERVER_DETAILS")
            .gives::<Vec<CertificateDetails>>(200)
            .refuses(unknown)
            .by(servers::auth_certs),
        delete(
            "deleteSecurityServerAuthCert",
            "/security-servers/{server_id}/authentication-certificates/{certificate_id}",
        )
        .right("DELETE_SECURITY_SERVER_AUTH_CERT")
        .audit("Delete authentication certificate of security server")
        .gives_nothing(204)
        .refuses(&[(404, "security_server_not_found"), (404, "certificate_not_found")])
        .by(servers::remove_auth_cert),
    ]
}

fn request_rows() -> Rows {
    vec![
        get("findManagementRequests", "/management-requests")
            .right("VIEW_MANAGEMENT_REQUESTS")
            .query(&[
                "sort",
                "desc",
                "limit",
                "offset",
                "query",
                "origin",
                "types",
                "status",
                "serverId",
                "server_id",
            ])
            .gives::<t::PagedManagementRequests>(200)
            .refuses(&[(400, "invalid_sort_properties"), (400, "invalid_pagination_properties")])
            .by(requests::list),
        get("getManagementRequest", "/management-requests/{management_request_id}")
            .right("VIEW_MANAGEMENT_REQUEST_DETAILS")
            .gives::<t::ManagementRequestView>(200)
            .refuses(&[(404, "management_request_not_found")])
            .by(requests::one),
        ["ADD_AUTH_CERT_REGISTRATION_REQUEST", "ADD_ADDRESS_CHANGE_REQUEST"]
            .into_iter()
            .fold(post("addManagementRequest", "/management-requests"), Operation::right)
            .audit("Add management request")
            .takes::<t::ManagementRequest>()
            .gives::<t::ManagementRequest>(202)
            .refuses(&[
                (409, "management_request_exists"),
                (409, "management_request_client_already_registered"),
                (400, "management_request_cannot_register_owner"),
                (404, "management_request_client_registration_not_found"),
                (400, "management_request_invalid_auth_certificate"),
                (409, "management_request_invalid_auth_certificate"),
                (409, "management_request_security_server_exists"),
                (404, "management_request_server_owner_not_found"),
                (409, "management_request_member_not_found"),
                (404, "management_request_server_not_found"),
                (409, "management_request_server_not_found"),
                (404, "management_request_server_client_not_found"),
                (400, "management_request_only_subsystem_rename_allowed"),
                (400, "management_request_invalid_subsystem_name"),
                (400, "management_request_owner_must_be_member"),
                (400, "management_request_owner_must_be_client"),
                (400, "management_request_client_already_owner"),
                (409, "management_request_server_code_exists"),
                (409, "management_request_server_already_in_maintenance_mode"),
                (409, "management_request_server_not_in_maintenance_mode"),
                (409, "mr_forbidden_disable_management_service_client"),
                (409, "mr_forbidden_enable_maintenance_mode_for_management_service"),
            ])
            .by(requests::submit),
        post("approveManagementRequest", "/management-requests/{management_request_id}/approval")
            .right("APPROVE_AUTH_CERT_REGISTRATION_REQUEST")
            .audit("Approve management request")
            .gives::<t::ManagementRequest>(200)
            .refuses(&[
                (404, "management_request_not_found"),
                (400, "management_request_invalid_state_for_approval"),
                (400, "management_request_server_not_found"),
                (404, "member_class_not_found"),
            ])
            .by(requests::approve),
        delete("revokeManagementRequest", "/management-requests/{management_request_id}")
            .right("REVOKE_AUTH_CERT_REGISTRATION_REQUEST")
            .audit("Revoke management request")
            .gives_nothing(200)
            .refuses(&[(404, "management_request_not_found"), (400, "management_request_invalid_state")])
            .by(requests::withdraw),
        get("getManagementServicesConfiguration", "/management-services-configuration")
            .right("VIEW_SYSTEM_SETTINGS")
            .gives::<t::ManagementServicesConfiguration>(200)
            .by(management_services::configuration),
        patch("updateManagementServicesConfiguration", "/management-services-configuration")
            .right("VIEW_SYSTEM_SETTINGS")
            .audit("Edit provider of management services")
            .takes::<t::ServiceProviderId>()
            .gives::<t::ManagementServicesConfiguration>(200)
            .refuses(&[(400, "invalid_service_provider_id"), (404, "subsystem_not_found")])
            .by(management_services::choose_provider),
        post("registerServiceProvider", "/management-services-configuration/register-provider")
            .right("REGISTER_SERVICE_PROVIDER")
            .audit("Register management service provider as security server client")
            .takes::<t::RegisterServiceProvider>()
            .gives::<t::ManagementServicesConfiguration>(200)
            .refuses(&[
                (400, "management_service_provider_not_set"),
                (400, "subsystem_already_registered_to_security_server"),
                (404, "security_server_not_found"),
            ])
            .by(management_services::register_provider),
    ]
}

fn service_rows() -> Rows {
    let unknown: &'static [(u16, &'static str)] = &[(404, "certification_service_not_found")];
    vec![
        get("getCertificationServices", "/certification-services")
            .right("VIEW_APPROVED_CAS")
            .gives::<Vec<t::CertificationServiceListItem>>(200)
            .by(trust::services),
        post("addCertificationService", "/certification-services")
            .right("ADD_APPROVED_CA")
            .audit("Add certification service")
            .takes_form::<t::CertificationServiceSettings>()
            .gives::<t::CertificationService>(201)
            .refuses(&[
                (400, "invalid_certificate"),
                (400, "certificate_profile_info_class_not_found"),
                (400, "invalid_ip_address"),
                (400, "invalid_file_extension"),
            ])
            .by(trust::add_service),
        get("getCertificationService", "/certification-services/{certification_service_id}")
            .right("VIEW_APPROVED_CA_DETAILS")
            .gives::<t::CertificationService>(200)
            .refuses(unknown)
            .by(trust::service),
        patch("updateCertificationService", "/certification-services/{certification_service_id}")
            .right("EDIT_APPROVED_CA")
            .audit("Edit certification service settings")
            .takes::<t::CertificationServiceSettings>()
            .gives::<t::CertificationService>(200)
            .refuses(&[
                (404, "certification_service_not_found"),
                (400, "certificate_profile_info_class_not_found"),
            ])
            .by(trust::change_service),
        delete("deleteCertificationService", "/certification-services/{certification_service_id}")
            .right("DELETE_APPROVED_CA")
            .audit("Delete certification service")
            .gives_nothing(204)
            .refuses(unknown)
            .by(trust::remove_service),
        get(
            "getCertificationServiceCertificate",
            "/certification-services/{certification_service_id}/certificate",
        )
        .right("VIEW_APPROVED_CA_DETAILS")
        .gives::<CertificateDetails>(200)
        .refuses(unknown)
        .by(trust::service_certificate),
        get(
            "getCertificationServiceIntermediateCas",
            "/certification-services/{certification_service_id}/intermediate-cas",
        )
        .right("VIEW_APPROVED_CA_DETAILS")
        .gives::<Vec<t::CertificateAuthority>>(200)
        .refuses(unknown)
        .by(trust::intermediates),
        post(
            "addCertificationServiceIntermediateCa",
            "/certification-services/{certification_service_id}/intermediate-cas",
        )
        .right("ADD_APPROVED_CA")
        .audit("Add intermediate CA")
        .takes_form::<t::CertificateFile>()
        .gives::<t::CertificateAuthority>(201)
        .refuses(&[(404, "certification_service_not_found"), (400, "invalid_certificate")])
        .by(trust::add_intermediate),
        get(
            "getCertificationServiceOcspResponders",
            "/certification-services/{certification_service_id}/ocsp-responders",
        )
        .right("VIEW_APPROVED_CA_DETAILS")
        .gives::<Vec<t::OcspResponder>>(200)
        .refuses(unknown)
        .by(trust::service_responders),
        post(
            "addCertificationServiceOcspResponder",
            "/certification-services/{certification_service_id}/ocsp-responders",
        )
        .right("ADD_APPROVED_CA")
        .audit("Add OCSP responder of certification service")
        .takes_form::<t::ServiceForm>()
        .gives::<t::OcspResponder>(201)
        .refuses(&[(404, "certification_service_not_found"), (400, "invalid_url")])
        .by(trust::add_service_responder),
        get("getTimestampingServices", "/timestamping-services")
            .right("VIEW_APPROVED_TSAS")
            .gives::<Vec<t::TimestampingService>>(200)
            .by(trust::tsas),
        post("addTimestampingService", "/timestamping-services")
            .right("ADD_APPROVED_TSA")
            .audit("Add timestamping service")
            .takes_form::<t::ServiceForm>()
            .gives::<t::TimestampingService>(201)
            .refuses(&[(400, "invalid_url"), (400, "invalid_certificate")])
            .by(trust::add_tsa),
        get("getTimestampingService", "/timestamping-services/{timestamping_service_id}")
            .right("VIEW_APPROVED_TSAS")
            .gives::<t::TimestampingService>(200)
            .refuses(&[(404, "timestamping_authority_not_found")])
            .by(trust::tsa),
        patch("updateTimestampingService", "/timestamping-services/{timestamping_service_id}")
            .right("EDIT_APPROVED_TSA")
            .audit("Edit timestamping service")
            .takes_form::<t::ServiceForm>()
            .gives::<t::TimestampingService>(200)
            .refuses(&[(404, "timestamping_authority_not_found"), (400, "invalid_url")])
            .by(trust::change_tsa),
        delete("deleteTimestampingService", "/timestamping-services/{timestamping_service_id}")
            .right("DELETE_APPROVED_TSA")
            .audit("Delete timestamping service")
            .gives_nothing(204)
            .refuses(&[(404, "timestamping_authority_not_found")])
            .by(trust::remove_tsa),
    ]
}

fn responder_rows() -> Rows {
    let no_ca: &'static [(u16, &'static str)] = &[(404, "intermediate_ca_not_found")];
    let unknown: &'static [(u16, &'static str)] = &[(404, "ocsp_responder_not_found")];
    vec![
        get("getIntermediateCa", "/intermediate-cas/{intermediate_ca_id}")
            .right("VIEW_APPROVED_CA_DETAILS")
            .gives::<t::CertificateAuthority>(200)
            .refuses(no_ca)
            .by(trust::intermediate),
        delete("deleteIntermediateCa", "/intermediate-cas/{intermediate_ca_id}")
            .right("ADD_APPROVED_CA")
            .audit("Delete intermediate CA")
            .gives_nothing(204)
            .refuses(no_ca)
            .by(trust::remove_intermediate),
        get("getIntermediateCaOcspResponders", "/intermediate-cas/{intermediate_ca_id}/ocsp-responders")
            .right("VIEW_APPROVED_CA_DETAILS")
            .gives::<Vec<t::OcspResponder>>(200)
            .refuses(no_ca)
            .by(trust::intermediate_responders),
        post("addIntermediateCaOcspResponder", "/intermediate-cas/{intermediate_ca_id}/ocsp-responders")
            .right("ADD_APPROVED_CA")
            .audit("Add OCSP responder of intermediate CA")
            .takes_form::<t::ServiceForm>()
            .gives::<t::OcspResponder>(201)
            .refuses(&[(404, "intermediate_ca_not_found"), (400, "invalid_url")])
            .by(trust::add_intermediate_responder),
        delete(
            "deleteIntermediateCaOcspResponder",
            "/intermediate-cas/{intermediate_ca_id}/ocsp-responders/{ocsp_responder_id}",
        )
        .right("ADD_APPROVED_CA")
        .audit("Delete OCSP responder")
        .gives_nothing(204)
        .refuses(&[(404, "intermediate_ca_not_found"), (404, "ocsp_responder_not_found")])
        .by(trust::remove_intermediate_responder),
        get("getOcspResponder", "/ocsp-responders/{ocsp_responder_id}")
            .right("VIEW_APPROVED_CA_DETAILS")
            .gives::<t::OcspResponder>(200)
            .refuses(unknown)
            .by(trust::responder),
        patch("updateOcspResponder", "/ocsp-responders/{ocsp_responder_id}")
            .right("EDIT_APPROVED_CA")
            .audit("Edit OCSP responder")
            .takes_form::<t::ServiceForm>()
            .gives::<t::OcspResponder>(200)
            .refuses(&[(404, "ocsp_responder_not_found"), (400, "invalid_url")])
            .by(trust::change_responder),
        delete("deleteOcspResponder", "/ocsp-responders/{ocsp_responder_id}")
            .right("EDIT_APPROVED_CA")
            .audit("Delete OCSP responder")
            .gives_nothing(204)
            .refuses(unknown)
            .by(trust::remove_responder),
        get("getOcspRespondersCertificate", "/ocsp-responders/{ocsp_responder_id}/certificate")
            .right("VIEW_APPROVED_CA_DETAILS")
            .gives::<CertificateDetails>(200)
            .refuses(unknown)
            .by(trust::responder_certificate),
    ]
}

fn group_rows() -> Rows {
    let unknown: &'static [(u16, &'static str)] = &[(404, "global_group_not_found")];
    vec![
        get("findGlobalGroups", "/global-groups")
            .right("VIEW_GLOBAL_GROUPS")
            .gives::<Vec<t::GlobalGroup>>(200)
            .by(groups::list),
        post("addGlobalGroup", "/global-groups")
            .right("ADD_GLOBAL_GROUP")
            .audit("Add global group")
            .takes::<t::GlobalGroupAdd>()
            .gives::<t::GlobalGroup>(201)
            .refuses(&[(409, "global_group_exists")])
            .by(groups::add),
        get("getGlobalGroup", "/global-groups/{group_code}")
            .right("VIEW_GROUP_DETAILS")
            .gives::<t::GlobalGroup>(200)
            .refuses(unknown)
            .by(groups::one),
        patch("updateGlobalGroupDescription", "/global-groups/{group_code}")
            .right("EDIT_GROUP_DESCRIPTION")
            .audit("Edit global group description")
            .takes::<t::Description>()
            .gives::<t::GlobalGroup>(200)
            .refuses(unknown)
            .by(groups::describe),
        delete("deleteGlobalGroup", "/global-groups/{group_code}")
            .right("DELETE_GROUP")
            .audit("Delete global group")
            .gives_nothing(204)
            .refuses(&[(404, "global_group_not_found"), (400, "owners_global_group_cannot_be_deleted")])
            .by(groups::remove),
        get("getGroupMembersFilterModel", "/global-groups/{group_code}/members/filter-model")
            .right("VIEW_GROUP_DETAILS")
            .gives::<t::GroupMembersFilterModel>(200)
            .by(groups::filter_model),
        post("findGlobalGroupMembers", "/global-groups/{group_code}/members")
            .right("VIEW_GROUP_DETAILS")
            .takes::<t::GroupMembersFilter>()
            .gives::<t::PagedGroupMembers>(200)
            .refuses(&[(404, "global_group_not_found"), (400, "invalid_pagination_properties")])
            .by(groups::members),
        post("addGlobalGroupMembers", "/global-groups/{group_code}/members/add")
            .right("ADD_AND_REMOVE_GROUP_MEMBERS")
            .audit("Add members to global group")
            .takes::<t::Members>()
            .gives::<t::Members>(201)
            .refuses(&[
                (404, "global_group_not_found"),
                (404, "member_not_found"),
                (404, "subsystem_not_found"),
                (400, "cannot_add_member_to_owners_group"),
            ])
            .by(groups::add_members),
        delete("deleteGlobalGroupMember", "/global-groups/{group_code}/members/{client_id}")
            .right("ADD_AND_REMOVE_GROUP_MEMBERS")
            .audit("Remove members from global group")
            .gives_nothing(204)
            .refuses(&[
                (404, "global_group_not_found"),
                (404, "member_not_found"),
                (400, "owners_global_group_member_cannot_be_deleted"),
            ])
            .by(groups::remove_member),
    ]
}
