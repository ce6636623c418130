//! What the global configuration says: CAs, instances, member classes and names, servers.

use admin_api::operation::{Operation, get};
use admin_api::types::certificate::CertificateDetails;
use admin_api::types::date;
use admin_api::types::security_server::trust::{
    CertificateAuthority, CsrSubjectFieldDescription, MemberName, OcspResponder, SecurityServer,
    XRoadInstance,
};
use admin_api::{Answer, Call, Problem};
use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use pki::profile::Profile;
use proto::globalconf::shared_parameters::{ApprovedCa, CaInfo, OcspInfo};
use proto::id::{ClientId, MemberId, ServerId};
use proto::time::UnixTime;
use signer::token::KeyUsage;

use super::csr_fields::{self, For};
use super::timestamping::cost;
use super::{Api, Rows, ids};

/// Rows of the table.
pub(super) fn rows() -> Rows {
    let by_usage = |row: Operation<Api>| row.right("GENERATE_AUTH_CERT_REQ").right("GENERATE_SIGN_CERT_REQ");
    vec![
        by_usage(get("getApprovedCertificateAuthorities", "/certificate-authorities"))
            .right("VIEW_APPROVED_CERTIFICATE_AUTHORITIES")
            .query(&["key_usage_type", "include_intermediate_cas"])
            .gives::<Vec<CertificateAuthority>>(200)
            .refuses(&[(500, "core.malformed_server_conf")])
            .by(authorities),
        by_usage(get("getSubjectFieldDescriptions", "/certificate-authorities/{ca_name}/csr-subject-fields"))
            .query(&["key_usage_type", "key_id", "member_id", "is_new_member"])
            .gives::<Vec<CsrSubjectFieldDescription>>(200)
            .refuses(&[
                (404, "certificate_authority_not_found"),
                (400, "memberId_required_for_sign_csr"),
                (400, "client_not_found"),
                (400, "key_not_found"),
                (400, "wrong_key_usage"),
            ])
            .by(subject_fields),
        get("getXRoadInstances", "/xroad-instances")
            .right("VIEW_XROAD_INSTANCES")
            .gives::<Vec<XRoadInstance>>(200)
            .refuses(&[(500, "core.malformed_server_conf")])
            .by(instances),
        get("getMemberClasses", "/member-classes")
            .right("VIEW_MEMBER_CLASSES")
            .query(&["current_instance"])
            .gives::<Vec<String>>(200)
            .refuses(&[(500, "core.malformed_server_conf")])
            .by(classes),
        get("getMemberClassesForInstance", "/member-classes/{id}")
            .right("VIEW_MEMBER_CLASSES")
            .gives::<Vec<String>>(200)
            .refuses(&[(404, "instance_identifier_not_found")])
            .by(classes_of),
        get("findMemberName", "/member-names")
            .right("INIT_CONFIG")
            .query(&["member_class", "member_code"])
            .gives::<MemberName>(200)
            .refuses(&[(404, "member_name_not_found")])
            .by(member_name),
        get("getSecurityServers", "/security-servers")
            .right("VIEW_SECURITY_SERVERS")
            .query(&["current_server"])
            .gives::<Vec<SecurityServer>>(200)
            .refuses(&[(500, "core.malformed_server_conf")])
            .by(servers),
        get("getSecurityServer", "/security-servers/{id}")
            .right("INIT_CONFIG")
            .gives::<SecurityServer>(200)
            .refuses(&[(404, "security_server_not_found"), (400, "invalid_encoded_id")])
            .by(server),
    ]
}

/// The usage that a call names.
pub(super) fn usage(text: &str) -> Option<KeyUsage> {
    match text {
        "AUTHENTICATION" => Some(KeyUsage::Authentication),
        "SIGNING" => Some(KeyUsage::Signing),
        _ => None,
    }
}

fn usage_asked(call: &Call) -> Result<Option<KeyUsage>, Problem> {
    let Some(text) = call.query("key_usage_type") else { return Ok(None) };
    let wrong =
        || Problem::invalid("key_usage_type", format!("{text} is neither AUTHENTICATION nor SIGNING"));
    usage(text).map(Some).ok_or_else(wrong)
}

/// Refuses a caller who may not ask for certificates of this usage.
pub(super) fn may_request(call: &Call, usage: KeyUsage) -> Result<(), Problem> {
    let signing = usage == KeyUsage::Signing;
    call.needs(if signing { "GENERATE_SIGN_CERT_REQ" } else { "GENERATE_AUTH_CERT_REQ" })
}

fn authorities(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let usage = usage_asked(call)?;
    let with_intermediates = call.query_flag("include_intermediate_cas")?.unwrap_or(false);
    if !call.may("VIEW_APPROVED_CERTIFICATE_AUTHORITIES") {
        may_request(call, usage.unwrap_or(KeyUsage::Authentication))?;
    }
    let conf = api.globalconf()?;
    let mut shown = Vec::new();
    for ca in conf.approved_cas(conf.instance()) {
        if ca.authentication_only && usage == Some(KeyUsage::Signing) {
            continue;
        }
        let Ok(top) = Certificate::parse(&ca.top.cert) else { continue };
        shown.push(authority(api, ca, &ca.top, &top, None));
        if with_intermediates {
            let parsed =
                ca.intermediates.iter().filter_map(|info| Some((info, Certificate::parse(&info.cert).ok()?)));
            shown.extend(parsed.map(|(info, cert)| authority(api, ca, info, &cert, Some(&top))));
        }
    }
    Answer::ok(&shown)
}

fn authority(
    api: &Api,
    ca: &ApprovedCa,
    info: &CaInfo,
    cert: &Certificate,
    top: Option<&Certificate>,
) -> CertificateAuthority {
    let details = CertificateDetails::from(cert);
    let own_path = details.subject_distinguished_name.clone();
    let path = match top {
        None => own_path,
        Some(top) => format!("{}:{own_path}", CertificateDetails::from(top).subject_distinguished_name),
    };
    CertificateAuthority {
        name: if top.is_none() { ca.name.clone() } else { details.subject_common_name },
        subject_distinguished_name: details.subject_distinguished_name,
        issuer_distinguished_name: details.issuer_distinguished_name,
        ocsp_response: api.ocsp_status(cert).unwrap_or("NOT_AVAILABLE").into(),
        not_after: date(UnixTime::from_secs(cert.not_after().as_secs())),
        top_ca: top.is_none(),
        path,
        authentication_only: ca.authentication_only,
        certificate_profile_info: Some(ca.profile.clone()),
        default_csr_format: ca.default_csr_format.clone(),
        acme_capable: ca.acme.is_some(),
        acme_server_ip_addresses: ca.acme.as_ref().and_then(|acme| Some(vec![acme.ip_address.clone()?])),
        ocsp_responders: info.ocsp.iter().map(responder).collect(),
    }
}

fn responder(ocsp: &OcspInfo) -> OcspResponder {
    OcspResponder { url: ocsp.url.clone(), cost_type: cost(ocsp.cost).into() }
}

/// An approved CA of our instance.
pub(super) fn ca<'a>(conf: &'a GlobalConf, name: &str) -> Option<(&'a ApprovedCa, Profile)> {
    let ca = conf.approved_cas(conf.instance()).iter().find(|ca| ca.name == name)?;
    Some((ca, Profile::from_class_name(&ca.profile)?))
}

/// The name of a member; empty where the configuration does not know it.
pub(super) fn name_of(conf: &GlobalConf, member: &MemberId) -> String {
    let id = ClientId { member: member.clone(), subsystem: None };
    let found = conf.clients_with_names(&member.instance).find(|(known, ..)| *known == id);
    found.map(|(_, name, _)| name.to_owned()).unwrap_or_default()
}

/// The member that a signing key is for: it has a client here, unless it is about to get one.
///
/// # Errors
/// 400.
pub(super) fn member_for(
    api: &Api,
    usage: KeyUsage,
    text: Option<&str>,
    is_new: bool,
) -> Result<MemberId, Problem> {
    let owner = api.server_id()?.owner;
    if usage == KeyUsage::Authentication {
        return Ok(owner);
    }
    let text = text.ok_or_else(|| Problem::bad_request("memberId_required_for_sign_csr"))?;
    let member = ids::client(text)?.member;
    if is_new || api.state().clients.keys().any(|client| client.member == member) {
        return Ok(member);
    }
    Err(Problem::bad_request("client_not_found"))
}

fn subject_fields(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let usage = usage_asked(call)?.ok_or_else(|| Problem::malformed("key_usage_type is missing"))?;
    may_request(call, usage)?;
    if let Some(id) = call.query("key_id") {
        let keys = api.token()?.keys();
        let key =
            keys.iter().find(|key| key.id == id).ok_or_else(|| Problem::bad_request("key_not_found"))?;
        if key.usage != usage && key.usage != KeyUsage::Unassigned {
            return Err(Problem::bad_request("wrong_key_usage"));
        }
    }
    let is_new = call.query_flag("is_new_member")?.unwrap_or(false);
    let member = member_for(api, usage, call.query("member_id"), is_new)?;
    let conf = api.globalconf()?;
    let missing = || Problem::missing("certificate_authority_not_found");
    let (_, profile) = ca(&conf, call.path("ca_name")).ok_or_else(missing)?;
    let (server, name) = (api.server_id()?, name_of(&conf, &member));
    let wanted = For { usage, server: &server, member: &member, name: &name };
    Answer::ok(&csr_fields::describe(profile, &wanted))
}

fn instances(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let conf = api.globalconf()?;
    let own = conf.instance();
    let shown = |name: &&str| XRoadInstance { identifier: (*name).to_owned(), local: *name == own };
    Answer::ok(&conf.instances().iter().map(shown).collect::<Vec<_>>())
}

fn codes<'a>(conf: &'a GlobalConf, instance: &str) -> impl Iterator<Item = String> + use<'a> {
    conf.member_classes(instance).iter().map(|(code, _)| code.clone())
}

fn classes(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let conf = api.globalconf()?;
    if call.query_flag("current_instance")?.unwrap_or(false) {
        return Answer::ok(&codes(&conf, conf.instance()).collect::<Vec<_>>());
    }
    let all: std::collections::BTreeSet<_> =
        conf.instances().into_iter().flat_map(|instance| codes(&conf, instance)).collect();
    Answer::ok(&all)
}

fn classes_of(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let conf = api.globalconf()?;
    let instance = call.path("id");
    if !conf.instances().contains(&instance) {
        return Err(Problem::missing("instance_identifier_not_found"));
    }
    Answer::ok(&codes(&conf, instance).collect::<Vec<_>>())
}

fn member_name(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let query = |name| call.query(name).ok_or_else(|| Problem::malformed(format!("{name} is missing")));
    let (class, code) = (query("member_class")?, query("member_code")?);
    let conf = api.globalconf()?;
    match name_of(&conf, &MemberId::new(conf.instance(), class, code)) {
        name if name.is_empty() => Err(Problem::missing("member_name_not_found")),
        member_name => Answer::ok(&MemberName { member_name }),
    }
}

/// A server of the global configuration.
pub(super) fn server_shown(id: &ServerId, address: &str) -> SecurityServer {
    SecurityServer {
        id: id.encoded(),
        instance_id: id.owner.instance.clone(),
        member_class: id.owner.class.clone(),
        member_code: id.owner.code.clone(),
        server_code: id.code.clone(),
        server_address: address.to_owned(),
    }
}

fn servers(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let conf = api.globalconf()?;
    if call.query_flag("current_server")?.unwrap_or(false) {
        let id = api.server_id()?;
        let address = conf.server(&id).map_or("", |server| server.address.as_str());
        return Answer::ok(&[server_shown(&id, address)]);
    }
    let all = conf.instances().into_iter().flat_map(|instance| conf.servers(instance));
    Answer::ok(&all.map(|server| server_shown(&server.id, &server.address)).collect::<Vec<_>>())
}

fn server(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let id = ids::server(call.path("id"))?;
    let conf = api.globalconf()?;
    let missing = || Problem::missing("security_server_not_found").with(id.to_string());
    let server = conf.server(&id).ok_or_else(missing)?;
    Answer::ok(&server_shown(&server.id, &server.address))
}
