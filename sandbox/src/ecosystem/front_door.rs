//! From empty servers to an ecosystem, by calls of their management APIs alone, in the order in which people do it [UG-CS, UG-SS].
//!
//! | Step | Function |
//! |---|---|
//! | instance, members, trust services, anchor | [`central`] |
//! | anchor, owner, token, keys, certificates, registration of a server | [`Joining::enter`], [`Joining::register`] |
//! | the management services, at one security server | [`management_services`] |
//! | a client with a key of its member, and its registration | [`Joining::client`] |
//! | services, groups, rights | [`offer`] |
//!
//! Every call names the status that it must be answered with; another one ends the bring-up. The CA is asked directly, as a real one would be
//! by its own means.

use anyhow::Context;
use bytes::Bytes;
use pki::csr::Usage;
use proto::id::{ClientId, MemberId, ServerId};
use serde_json::{Value, json};

use super::Trust;
use super::files::PIN;
use super::registry::PROFILE;
use crate::admin::{Admin, Body, Field};
use crate::parties;
use crate::services::SampleServices;

/// The management services that every owner of a security server may use.
const MANAGEMENT_SERVICES: [&str; 10] = [
    "authCertDeletion",
    "clientReg",
    "clientDeletion",
    "clientEnable",
    "clientDisable",
    "clientRename",
    "ownerChange",
    "addressChange",
    "maintenanceModeEnable",
    "maintenanceModeDisable",
];

/// Initialises the central server; gives the anchor.
pub(super) async fn central(cs: &Admin, address: &str, trust: &Trust) -> anyhow::Result<Bytes> {
    let instance = json!({
        "instance_identifier": parties::INSTANCE, "central_server_address": address, "software_token_pin": PIN,
    });
    cs.post(200, "/initialization", instance).await?;
    for (code, description) in [(parties::CITIES, "Municipalities"), (parties::OPERATORS, "Operators")] {
        cs.post(201, "/member-classes", json!({ "code": code, "description": description })).await?;
    }
    cs.put(200, "/tokens/0/login", json!({ "password": PIN })).await?;
    for source in ["INTERNAL", "EXTERNAL"] {
        let path = format!("/configuration-sources/{source}/signing-keys");
        cs.post(200, &path, json!({ "key_label": source.to_lowercase(), "token_id": "0" })).await?;
    }
    for (id, name) in [
        (parties::rannala(), "City of Rannala"),
        (parties::metsola(), "City of Metsola"),
        (parties::operator(), "Operator of the sandbox"),
    ] {
        let member = json!({ "member_id": member(&id), "member_name": name });
        cs.post(201, "/members", member).await?;
    }
    for (id, name) in [
        (parties::school(), "School office"),
        (parties::population(), "Population register"),
        (parties::management(), "Management services"),
    ] {
        let mut codes = member(&id.member);
        codes["subsystem_code"] = json!(id.subsystem);
        cs.post(201, "/subsystems", json!({ "subsystem_id": codes, "subsystem_name": name })).await?;
    }
    let provider = json!({ "service_provider_id": parties::management().encoded() });
    cs.expect(200, "PATCH", "/management-services-configuration", Body::Json(provider)).await?;
    trust_services(cs, trust).await?;
    let testers = json!({ "code": parties::TESTERS, "description": "Who may use the probe" });
    cs.post(201, "/global-groups", testers).await?;
    let path = format!("/global-groups/{}/members/add", parties::TESTERS);
    cs.post(201, &path, json!({ "items": [parties::school().encoded()] })).await?;
    // An anchor is tried by a download before it is taken.
    let parts = "/configuration-sources/INTERNAL/configuration-parts";
    let published = |part: &Value| !part["file_updated_at"].is_null() || part["optional"] == true;
    cs.wait_until(parts, |parts| parts.as_array().is_some_and(|all| all.iter().all(published))).await?;
    let anchor = "/configuration-sources/INTERNAL/anchor/download";
    Ok(cs.expect(200, "GET", anchor, Body::None).await?.body)
}

/// CA, intermediate CA, both with their OCSP responder, and timestamping service.
async fn trust_services(cs: &Admin, trust: &Trust) -> anyhow::Result<()> {
    let file = |cert: &pki::cert::Certificate| Field::File(cert.der().to_vec());
    let text = |text: &str| Field::Text(text.to_owned());
    let (authority, url) = (&trust.authority, trust.ocsp.url());
    let ca = Body::Form(vec![
        ("certificate", file(authority.root())),
        ("certificate_profile_info", text(PROFILE)),
        ("tls_auth", text("false")),
        ("default_csr_format", text("DER")),
    ]);
    let ca = cs.expect(201, "POST", "/certification-services", ca).await?.json();
    let ca = number(&ca["id"])?;
    let intermediate = Body::Form(vec![("certificate", file(authority.intermediate()))]);
    let path = format!("/certification-services/{ca}/intermediate-cas");
    let intermediate = cs.expect(201, "POST", &path, intermediate).await?.json();
    let intermediate = number(&intermediate["id"])?;
    for path in [
        format!("/certification-services/{ca}/ocsp-responders"),
        format!("/intermediate-cas/{intermediate}/ocsp-responders"),
    ] {
        let responder = Body::Form(vec![("url", text(&url)), ("cost_type", text("FREE"))]);
        cs.expect(201, "POST", &path, responder).await?;
    }
    let tsa = Body::Form(vec![
        ("url", text(&trust.tsa.url())),
        ("cost_type", text("FREE")),
        ("certificate", file(&authority.tsa().cert)),
    ]);
    cs.expect(201, "POST", "/timestamping-services", tsa).await?;
    Ok(())
}

fn member(id: &MemberId) -> Value {
    json!({ "member_class": id.class, "member_code": id.code })
}

fn number(value: &Value) -> anyhow::Result<u64> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.with_context(|| format!("{value} is no number of a thing"))
}

/// A security server that joins.
pub(super) struct Joining<'a> {
    pub(super) ss: &'a Admin,
    pub(super) cs: &'a Admin,
    pub(super) trust: &'a Trust,
    pub(super) server: &'a ServerId,
    pub(super) address: &'a str,
}

impl Joining<'_> {
    /// Anchor, owner, token, keys with their certificates, timestamping. Gives the hash of the authentication certificate.
    pub(super) async fn enter(&self, anchor: Bytes) -> anyhow::Result<String> {
        let (ss, owner) = (self.ss, &self.server.owner);
        let preview = "/system/anchor/previews?validate_instance=false";
        ss.expect(200, "POST", preview, Body::Octets(anchor.clone())).await?;
        ss.expect(201, "POST", "/system/anchor", Body::Octets(anchor)).await?;
        let init = json!({
            "owner_member_class": owner.class, "owner_member_code": owner.code,
            "security_server_code": self.server.code, "software_token_pin": PIN, "ignore_warnings": true,
        });
        ss.post(201, "/initialization", init).await?;
        ss.put(200, "/tokens/0/login", json!({ "password": PIN })).await?;
        let authentication = self.certificate(Usage::Authentication, "authentication", owner).await?;
        self.certificate(Usage::Signing, "signing", owner).await?;
        self.timestamping().await?;
        Ok(authentication)
    }

    /// A key, its request, the certificate of the CA. Gives the certificate's hash.
    async fn certificate(&self, usage: Usage, label: &str, member: &MemberId) -> anyhow::Result<String> {
        let ss = self.ss;
        let cas = ss.get("/certificate-authorities").await?;
        let name = match usage {
            Usage::Authentication => "AUTHENTICATION",
            Usage::Signing => "SIGNING",
        };
        let request = json!({
            "key_label": label,
            "csr_generate_request": {
                "key_usage_type": name,
                "ca_name": cas[0]["name"],
                "csr_format": "DER",
                "member_id": member.encoded(),
                "subject_field_values": {
                    "C": "FI",
                    "O": format!("{} {}", member.class, member.code),
                    "serialNumber": format!("{}/{}/{}", member.instance, self.server.code, member.class),
                    "CN": if usage == Usage::Signing { &member.code } else { self.address },
                    "subjectAltName": "localhost",
                },
            },
        });
        let made = ss.post(200, "/tokens/0/keys-with-csrs", request).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no id of key or request");
        let (key, csr) = (text(&made["key"]["id"])?, text(&made["csr_id"])?);
        let path = format!("/keys/{key}/csrs/{csr}?csr_format=DER");
        let csr = ss.expect(200, "GET", &path, Body::None).await?.body;
        let (authority, now) = (self.trust.authority.clone(), host::clock::Clock::System.now());
        let issued = tokio::task::spawn_blocking(move || authority.certify(&csr, usage, now)).await??;
        let body = Body::Octets(Bytes::copy_from_slice(issued.der()));
        let imported = ss.expect(201, "POST", "/token-certificates", body).await?.json();
        text(&imported["certificate_details"]["hash"])
    }

    async fn timestamping(&self) -> anyhow::Result<()> {
        let approved = self.ss.get("/timestamping-services").await?;
        let tsa = json!({ "name": approved[0]["name"], "url": approved[0]["url"], "cost_type": "FREE" });
        self.ss.post(201, "/system/timestamping-services", tsa).await?;
        Ok(())
    }

    /// Registers and activates the authentication certificate.
    pub(super) async fn register(&self, hash: &str) -> anyhow::Result<()> {
        let path = |what: &str| format!("/token-certificates/{hash}{what}");
        self.ss.put(204, &path("/register"), json!({ "address": self.address })).await?;
        self.approve("AUTH_CERT_REGISTRATION_REQUEST").await?;
        self.ss.expect(204, "PUT", &path("/activate"), Body::None).await?;
        self.ss.wait_for(&path(""), "/status", &json!("REGISTERED")).await?;
        Ok(())
    }

    /// Approves the one request that waits for it and is of this kind and server.
    async fn approve(&self, kind: &str) -> anyhow::Result<()> {
        let path = "/management-requests?sort=id&desc=true&status=WAITING";
        let waiting = self.cs.get(path).await?;
        let server = self.server.encoded();
        let of_ours = |request: &&Value| {
            request["type"] == kind && request["security_server_id"]["encoded_id"] == server.as_str()
        };
        let mut items = waiting["items"].as_array().into_iter().flatten();
        let request = items.find(of_ours).with_context(|| format!("no {kind} of {server} waits"))?;
        let path = format!("/management-requests/{}/approval", number(&request["id"])?);
        let approved = self.cs.expect(200, "POST", &path, Body::None).await?.json();
        anyhow::ensure!(approved["status"] == "APPROVED", "request {path}: {approved}");
        Ok(())
    }

    /// A client of this server, with a key of its member when that is not the owner. Without `registered` it has to be registered.
    pub(super) async fn client(&self, id: &ClientId, connection: &str, listed: bool) -> anyhow::Result<()> {
        let mut client = member(&id.member);
        client["subsystem_code"] = json!(id.subsystem);
        client["connection_type"] = json!(connection);
        let add = json!({ "client": client, "ignore_warnings": true });
        self.ss.post(201, "/clients", add).await?;
        if id.member != self.server.owner {
            self.certificate(Usage::Signing, &format!("signing {}", id.member.code), &id.member).await?;
        }
        let path = format!("/clients/{}", id.encoded());
        if !listed {
            self.ss.expect(204, "PUT", &format!("{path}/register"), Body::None).await?;
            self.approve("CLIENT_REGISTRATION_REQUEST").await?;
        }
        self.ss.wait_for(&path, "/status", &json!("REGISTERED")).await?;
        Ok(())
    }
}

/// The subsystem that offers the management services, at a security server that is registered: the registry says so itself, since nothing
/// could carry a request yet.
pub(super) async fn management_services(joining: &Joining<'_>) -> anyhow::Result<()> {
    let (cs, ss, id) = (joining.cs, joining.ss, parties::management());
    let server = json!({ "security_server_id": joining.server.encoded() });
    cs.post(200, "/management-services-configuration/register-provider", server).await?;
    joining.client(&id, "HTTPS_NO_AUTH", true).await?;
    let configuration = cs.get("/management-services-configuration").await?;
    let client = format!("/clients/{}", id.encoded());
    let description =
        json!({ "url": configuration["wsdl_address"], "type": "WSDL", "ignore_warnings": true });
    let made = ss.post(201, &format!("{client}/service-descriptions"), description).await?;
    let service = made["services"][0]["id"].as_str().context("the management services have none")?;
    let settings = json!({
        "url": configuration["services_address"], "timeout": 60, "ssl_auth": false,
        "url_all": true, "timeout_all": true, "ssl_auth_all": true, "ignore_warnings": true,
    });
    ss.expect(200, "PATCH", &format!("/services/{service}"), Body::Json(settings)).await?;
    let group = configuration["security_server_owners_global_group_code"].as_str().unwrap_or_default();
    let owners = format!("{}:{group}", parties::INSTANCE);
    let items: Vec<_> = MANAGEMENT_SERVICES.iter().map(|code| json!({ "service_code": code })).collect();
    let path = format!("{client}/service-clients/{owners}/access-rights");
    ss.post(201, &path, json!({ "items": items })).await?;
    enable(ss, &made).await
}

/// Lets a service description be used.
async fn enable(ss: &Admin, description: &Value) -> anyhow::Result<()> {
    let id = number(&description["id"])?;
    ss.expect(200, "PUT", &format!("/service-descriptions/{id}/enable"), Body::None).await?;
    Ok(())
}

/// The population register's services, and who may use them.
pub(super) async fn offer(ss: &Admin, services: &SampleServices) -> anyhow::Result<()> {
    let client = format!("/clients/{}", parties::population().encoded());
    let school = parties::school().encoded();
    let groups = format!("{client}/local-groups");
    let group = json!({ "code": "schools", "description": "School offices that children move to" });
    let group = ss.post(201, &groups, group).await?;
    let group = group["id"].as_str().context("the local group has no id")?.to_owned();
    ss.post(201, &format!("/local-groups/{group}/members"), json!({ "items": [school] })).await?;

    let descriptions = format!("{client}/service-descriptions");
    let openapi = json!({
        "type": "OPENAPI3", "url": services.openapi_url(), "rest_service_code": parties::REGISTER, "ignore_warnings": true,
    });
    let register = ss.post(201, &descriptions, openapi).await?;
    let service = &register["services"][0];
    patch_url(ss, service, &services.register_url()).await?;
    for (method, path, subject) in [
        ("GET", "/residents/*", json!({ "id": group, "service_client_type": "LOCALGROUP" })),
        ("POST", "/searches", json!({ "id": school, "service_client_type": "SUBSYSTEM" })),
    ] {
        let endpoint = endpoint(ss, service, method, path).await?;
        ss.post(201, &format!("/endpoints/{endpoint}/service-clients"), json!({ "items": [subject] }))
            .await?;
    }
    enable(ss, &register).await?;

    let wsdl = json!({ "type": "WSDL", "url": services.wsdl_url(), "ignore_warnings": true });
    let soap = ss.post(201, &descriptions, wsdl).await?;
    patch_url(ss, &soap["services"][0], &services.soap_url()).await?;
    let path = format!("{client}/service-clients/{school}/access-rights");
    ss.post(201, &path, json!({ "items": [{ "service_code": parties::RESIDENT_DETAILS.0 }] })).await?;
    enable(ss, &soap).await?;

    let probe = json!({ "type": "REST", "url": services.probe_url(), "rest_service_code": parties::PROBE });
    let probe = ss.post(201, &descriptions, probe).await?;
    let testers = format!("{}:{}", parties::INSTANCE, parties::TESTERS);
    let path = format!("{client}/service-clients/{testers}/access-rights");
    ss.post(201, &path, json!({ "items": [{ "service_code": parties::PROBE }] })).await?;
    enable(ss, &probe).await
}

async fn patch_url(ss: &Admin, service: &Value, url: &str) -> anyhow::Result<()> {
    let id = service["id"].as_str().context("the description has no service")?;
    let settings = json!({ "url": url, "timeout": 60, "ssl_auth": false, "ignore_warnings": true });
    ss.expect(200, "PATCH", &format!("/services/{id}"), Body::Json(settings)).await?;
    Ok(())
}

/// The endpoint that the description has, or one of our own. Gives its number.
async fn endpoint(ss: &Admin, service: &Value, method: &str, path: &str) -> anyhow::Result<u64> {
    let mut there = service["endpoints"].as_array().into_iter().flatten();
    let found = there.find(|endpoint| endpoint["method"] == method && endpoint["path"] == path);
    if let Some(found) = found {
        return number(&found["id"]);
    }
    let id = service["id"].as_str().context("the description has no service")?;
    let made = json!({ "service_code": service["service_code"], "method": method, "path": path });
    number(&ss.post(201, &format!("/services/{id}/endpoints"), made).await?["id"])
}
