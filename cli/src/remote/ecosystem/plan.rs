//! From what is wanted and what is there to ordered steps. A pure function: nothing is asked, nothing is changed.
//!
//! The order is that of the bring-up of an instance: the central server's own things, then the server that offers the management services
//! with all that belongs to it, then the other servers, since their requests go through that one. What the file does not name stays,
//! unless `prune` says otherwise; keys, subsystems and members go only when `prune_only` names their kind, tokens and owners never.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::model::{
    Central, Certificate, CertificationService, Ecosystem, GlobalGroup, Intermediate, Management, Responder,
    TrustedAnchor,
};
use super::now::{CentralNow, Now, known_anchor, sha256_of};
use super::servers;
use super::step::{Act, Sign, Step};
use crate::exit::Usage;
use crate::remote::central::PROFILES;
use crate::remote::connection::encode;

/// How a plan is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Remove what the file does not name.
    pub(crate) prune: bool,
    /// Remove it of these kinds alone; keys, subsystems and members are among them only here.
    pub(crate) prune_only: Vec<String>,
    /// These kinds alone.
    pub(crate) only: Vec<String>,
    /// These targets alone.
    pub(crate) targets: Vec<String>,
}

/// Kinds that `prune_only` may name.
const PRUNED: [&str; 12] = [
    "trusted-anchor",
    "group-member",
    "group",
    "subsystem",
    "member",
    "client",
    "key",
    "tls-certificate",
    "local-group",
    "service",
    "endpoint",
    "access",
];

impl Options {
    /// Whether what the file does not name of a kind is removed.
    pub(super) fn prunes(&self, kind: &str) -> bool {
        self.prunes_named(kind) || self.prune && self.prune_only.is_empty()
    }

    /// The same of what goes only when it is asked for by name.
    pub(super) fn prunes_named(&self, kind: &str) -> bool {
        self.prune_only.iter().any(|one| one == kind)
    }

    fn check(&self) -> Result<(), Usage> {
        match self.prune_only.iter().find(|kind| !PRUNED.contains(&kind.as_str())) {
            None => Ok(()),
            Some(kind) => Err(Usage(format!("{kind} is nothing to prune; there are: {}", PRUNED.join(", ")))),
        }
    }
}

/// Collects the steps of one target.
pub(super) struct Steps<'a> {
    target: &'a str,
    pub(super) all: Vec<Step>,
}

impl<'a> Steps<'a> {
    pub(super) fn of(target: &'a str) -> Self {
        Self { target, all: Vec::new() }
    }
    pub(super) fn push(&mut self, sign: Sign, kind: &str, what: impl Into<String>, act: Act) {
        let (target, kind) = (self.target.to_owned(), kind.to_owned());
        self.all.push(Step { target, kind, sign, what: what.into(), act });
    }
    pub(super) fn adds(&mut self, kind: &str, what: impl Into<String>, act: Act) {
        self.push(Sign::Adds, kind, what, act);
    }
    pub(super) fn changes(&mut self, kind: &str, what: impl Into<String>, act: Act) {
        self.push(Sign::Changes, kind, what, act);
    }
    pub(super) fn removes(&mut self, kind: &str, what: impl Into<String>, act: Act) {
        self.push(Sign::Removes, kind, what, act);
    }
}

/// A call of a step.
pub(super) fn call(method: &str, path: impl Into<String>, body: Value) -> Act {
    Act::Call { method: method.to_owned(), path: path.into(), body }
}

/// The steps from `now` to `wanted`; none when nothing is to be done.
///
/// # Errors
/// A certificate is wanted by its hash and is not there.
pub(crate) fn plan(wanted: &Ecosystem, now: &Now, options: &Options) -> Result<Vec<Step>, Usage> {
    options.check()?;
    let mut all = Vec::new();
    let mut after_servers = Vec::new();
    if let (Some(wanted_central), Some(now)) = (&wanted.central, &now.central) {
        let mut steps = Steps::of(&wanted_central.target);
        central(&wanted.instance, wanted_central, now, options, &mut steps)?;
        all.extend(steps.all);
        let mut steps = Steps::of(&wanted_central.target);
        provider_server(wanted_central, now, &mut steps);
        after_servers = steps.all;
    }
    let management = wanted.central.as_ref().and_then(|central| central.management.as_ref()?.server.as_ref());
    let (first, others): (Vec<_>, Vec<_>) =
        wanted.servers.iter().partition(|server| Some(&server.id()) == management);
    for server in first.into_iter().chain(others) {
        let Some(now) = now.servers.get(&server.target) else { continue };
        all.extend(servers::trust(server, now)?);
        if Some(&server.id()) == management {
            all.append(&mut after_servers);
        }
        all.extend(servers::clients(server, now, options)?);
    }
    all.append(&mut after_servers);
    if let (Some(central), Some(now)) = (&wanted.central, &now.central) {
        // Last, since a registered subsystem goes from its servers first.
        all.extend(gone(wanted, central, now, options));
    }
    let chosen = |list: &[String], one: &str| list.is_empty() || list.iter().any(|item| item == one);
    all.retain(|step| chosen(&options.only, &step.kind) && chosen(&options.targets, &step.target));
    Ok(all)
}

fn central(
    instance: &str,
    wanted: &Central,
    now: &CentralNow,
    options: &Options,
    steps: &mut Steps<'_>,
) -> Result<(), Usage> {
    if now.initialized {
        if let Some(address) =
            wanted.address.as_ref().filter(|address| now.conf.address.as_ref() != Some(address))
        {
            let body = json!({ "central_server_address": address });
            steps.changes("address", address, call("PUT", "/system/server-address", body));
        }
    } else {
        let address = wanted.address.clone().ok_or_else(|| Usage("central.address is missing".into()))?;
        let body = json!({ "instance_identifier": instance, "central_server_address": address });
        steps.adds("server", format!("{instance} at {address}"), Act::Initialize { body });
    }
    if !now.logged_in && (wanted.pin.is_some() || !now.initialized) {
        steps.changes("token", "0 logged in", Act::LogIn);
    }
    registry(wanted, now, steps);
    services(wanted, now, steps)?;
    if let Some(keys) = wanted.signing_keys {
        for (source, wanted, there) in
            [("INTERNAL", keys.internal, now.keys.internal), ("EXTERNAL", keys.external, now.keys.external)]
        {
            for _ in there..wanted {
                let body = json!({ "key_label": source.to_lowercase(), "token_id": "0" });
                let path = format!("/configuration-sources/{source}/signing-keys");
                steps.adds("signing-key", source.to_lowercase(), call("POST", path, body));
            }
        }
    }
    groups(wanted, now, options, steps);
    trusted_anchors(wanted, now, options, steps)?;
    let provider = |management: &Option<Management>| management.as_ref().and_then(|one| one.provider.clone());
    if let Some(id) =
        provider(&wanted.management).filter(|id| provider(&now.conf.management).as_ref() != Some(id))
    {
        let body = json!({ "service_provider_id": id });
        steps.changes(
            "management",
            format!("provider {id}"),
            call("PATCH", "/management-services-configuration", body),
        );
    }
    Ok(())
}

/// Registers the provider at its server, once that is registered itself.
fn provider_server(wanted: &Central, now: &CentralNow, steps: &mut Steps<'_>) {
    let server = |management: &Option<Management>| management.as_ref().and_then(|one| one.server.clone());
    if let Some(id) =
        server(&wanted.management).filter(|id| server(&now.conf.management).as_ref() != Some(id))
    {
        let body = json!({ "security_server_id": id });
        let path = "/management-services-configuration/register-provider";
        steps.changes("management", format!("server {id}"), call("POST", path, body));
    }
}

/// Member classes, members, subsystems.
fn registry(wanted: &Central, now: &CentralNow, steps: &mut Steps<'_>) {
    for class in &wanted.member_classes {
        let body = json!({ "code": class.code, "description": class.description });
        match now.conf.member_classes.iter().find(|one| one.code == class.code) {
            None => steps.adds("member-class", &class.code, call("POST", "/member-classes", body)),
            Some(there) if there.description != class.description => {
                let path = format!("/member-classes/{}", encode(&class.code));
                let body = json!({ "description": class.description });
                steps.changes("member-class", &class.code, call("PATCH", path, body));
            }
            Some(_) => {}
        }
    }
    for member in &wanted.members {
        let (class, code, _) = crate::remote::ids::parts(&member.id);
        let there = now.conf.members.iter().find(|one| one.id == member.id);
        match there {
            None => {
                let id = json!({ "member_class": class, "member_code": code });
                let body = json!({ "member_id": id, "member_name": member.name });
                steps.adds(
                    "member",
                    format!("{} {:?}", member.id, member.name),
                    call("POST", "/members", body),
                );
            }
            Some(there) if there.name != member.name => {
                let path = format!("/members/{}", encode(&member.id));
                let body = json!({ "member_name": member.name });
                steps.changes(
                    "member",
                    format!("{} {:?}", member.id, member.name),
                    call("PATCH", path, body),
                );
            }
            Some(_) => {}
        }
        for subsystem in &member.subsystems {
            let known =
                there.and_then(|there| there.subsystems.iter().find(|one| one.code == subsystem.code));
            let id = format!("{}:{}", member.id, subsystem.code);
            match known {
                None => {
                    let parts = json!({ "member_class": class, "member_code": code, "subsystem_code": subsystem.code });
                    let mut body = json!({ "subsystem_id": parts });
                    if let Some(name) = &subsystem.name {
                        body["subsystem_name"] = json!(name);
                    }
                    steps.adds("subsystem", id, call("POST", "/subsystems", body));
                }
                Some(there) if subsystem.name.is_some() && there.name != subsystem.name => {
                    let path = format!("/subsystems/{}", encode(&id));
                    steps.changes(
                        "subsystem",
                        id,
                        call("PATCH", path, json!({ "subsystem_name": subsystem.name })),
                    );
                }
                Some(_) => {}
            }
        }
    }
}

/// The file of a certificate that has to be sent.
pub(super) fn file_of(certificate: &Certificate) -> Result<std::path::PathBuf, Usage> {
    match certificate {
        Certificate::File(file) => Ok(file.clone()),
        Certificate::Hash { sha256 } => {
            Err(Usage(format!("the certificate {sha256} is not there: its file has to be named")))
        }
    }
}

/// The whole name of a certificate profile.
fn profile(word: &str) -> &str {
    PROFILES.iter().find(|(short, _)| *short == word).map_or(word, |(_, name)| name)
}

fn services(wanted: &Central, now: &CentralNow, steps: &mut Steps<'_>) -> Result<(), Usage> {
    for service in &wanted.certification_services {
        let hash = sha256_of(&service.certificate)?;
        let is = |one: &&CertificationService| sha256_of(&one.certificate).ok().as_ref() == Some(&hash);
        let there = now.conf.certification_services.iter().find(is);
        let settings = [
            ("certificate_profile_info", service.profile.as_deref().map(|word| profile(word).to_owned())),
            ("tls_auth", service.tls_only.map(|on| on.to_string())),
            ("default_csr_format", service.csr_format.as_ref().map(|format| format.to_uppercase())),
        ];
        let short = &hash[..12];
        match there {
            None => {
                let defaults = [profile("basic").to_owned(), "false".into(), "DER".into()];
                let fields = settings.into_iter().zip(defaults);
                let fields = fields
                    .map(|((name, value), default)| (name.to_owned(), value.unwrap_or(default)))
                    .collect();
                let files = vec![("certificate".to_owned(), file_of(&service.certificate)?)];
                steps.adds("ca", short, Act::Form { path: "/certification-services".into(), fields, files });
            }
            Some(there) => {
                let differs = service
                    .profile
                    .as_deref()
                    .is_some_and(|word| Some(profile(word)) != there.profile.as_deref())
                    || service.tls_only.is_some_and(|on| Some(on) != there.tls_only)
                    || service.csr_format.as_ref().is_some_and(|format| {
                        there.csr_format.as_ref().is_none_or(|now| !now.eq_ignore_ascii_case(format))
                    });
                if differs {
                    let mut body = json!({});
                    for (name, value) in settings {
                        if let Some(value) = value {
                            body[name] = json!(value);
                        }
                    }
                    steps.changes(
                        "ca",
                        short,
                        call("PATCH", format!("/certification-services/{{{hash}}}"), body),
                    );
                }
            }
        }
        let known = there.map(|there| there.ocsp.as_slice()).unwrap_or_default();
        responders(&hash, &hash, &service.ocsp, known, steps)?;
        for intermediate in &service.intermediates {
            let below = sha256_of(&intermediate.certificate)?;
            let is = |one: &&Intermediate| sha256_of(&one.certificate).ok().as_ref() == Some(&below);
            let there = there.and_then(|there| there.intermediates.iter().find(is));
            if there.is_none() {
                let act = Act::AddIntermediate {
                    ca: hash.clone(),
                    certificate: file_of(&intermediate.certificate)?,
                };
                steps.adds("intermediate-ca", &below[..12], act);
            }
            let known = there.map(|there| there.ocsp.as_slice()).unwrap_or_default();
            responders(&hash, &below, &intermediate.ocsp, known, steps)?;
        }
    }
    for tsa in &wanted.timestamping {
        if !now.conf.timestamping.iter().any(|one| one.url == tsa.url) {
            let cost = tsa.cost.as_deref().unwrap_or("FREE").to_uppercase();
            let fields = vec![("url".to_owned(), tsa.url.clone()), ("cost_type".to_owned(), cost)];
            let files = vec![("certificate".to_owned(), file_of(&tsa.certificate)?)];
            steps.adds("tsa", &tsa.url, Act::Form { path: "/timestamping-services".into(), fields, files });
        }
    }
    Ok(())
}

/// OCSP responders that a CA lacks.
fn responders(
    top: &str,
    ca: &str,
    wanted: &[Responder],
    known: &[Responder],
    steps: &mut Steps<'_>,
) -> Result<(), Usage> {
    for responder in wanted.iter().filter(|wanted| !known.iter().any(|one| one.url == wanted.url)) {
        let certificate = responder.certificate.as_ref().map(file_of).transpose()?;
        let cost = responder.cost.as_deref().unwrap_or("FREE").to_uppercase();
        let (top, ca, url) = (top.to_owned(), ca.to_owned(), responder.url.clone());
        let what = format!("{url} of {}", &ca[..12]);
        steps.adds("ocsp", what, Act::AddResponder { top, ca, url, cost, certificate });
    }
    Ok(())
}

fn groups(wanted: &Central, now: &CentralNow, options: &Options, steps: &mut Steps<'_>) {
    for group in &wanted.groups {
        let there = now.conf.groups.iter().find(|one| one.code == group.code);
        let path = format!("/global-groups/{}", encode(&group.code));
        match there {
            None => {
                let body = json!({ "code": group.code, "description": group.description });
                steps.adds("group", &group.code, call("POST", "/global-groups", body));
            }
            Some(there) if there.description != group.description => {
                let body = json!({ "description": group.description });
                steps.changes("group", &group.code, call("PATCH", &path, body));
            }
            Some(_) => {}
        }
        let members = |group: Option<&GlobalGroup>| -> BTreeSet<String> {
            group.into_iter().flat_map(|group| group.members.clone()).collect()
        };
        let (wanted, there) = (members(Some(group)), members(there));
        let missing: Vec<&String> = wanted.difference(&there).collect();
        if !missing.is_empty() {
            let words = missing.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" ");
            let body = json!({ "items": missing });
            steps.adds(
                "group-member",
                format!("{} {words}", group.code),
                call("POST", format!("{path}/members/add"), body),
            );
        }
        for id in there.difference(&wanted).filter(|_| options.prunes("group-member")) {
            let path = format!("{path}/members/{}", encode(id));
            steps.removes("group-member", format!("{} {id}", group.code), call("DELETE", path, Value::Null));
        }
    }
    // The owners' group is the server's own.
    let own = "security-server-owners";
    let unnamed =
        |group: &&GlobalGroup| group.code != own && !wanted.groups.iter().any(|one| one.code == group.code);
    for group in now.conf.groups.iter().filter(unnamed).filter(|_| options.prunes("group")) {
        let path = format!("/global-groups/{}", encode(&group.code));
        steps.removes("group", &group.code, call("DELETE", path, Value::Null));
    }
}

/// Anchors of other instances; one for an instance takes the place of the one before.
fn trusted_anchors(
    wanted: &Central,
    now: &CentralNow,
    options: &Options,
    steps: &mut Steps<'_>,
) -> Result<(), Usage> {
    let known = |list: &[TrustedAnchor]| list.iter().map(known_anchor).collect::<Result<Vec<_>, _>>();
    let (there, all) = (known(&now.conf.trusted_anchors)?, known(&wanted.trusted_anchors)?);
    for (anchor, (instance, sha224)) in wanted.trusted_anchors.iter().zip(&all) {
        if there.iter().any(|(_, one)| one == sha224) {
            continue;
        }
        let TrustedAnchor::File(file) = anchor else {
            return Err(Usage(format!("the anchor {sha224} is not there: its file has to be named")));
        };
        let files = vec![("anchor".to_owned(), file.clone())];
        let act = Act::Form { path: "/trusted-anchors".into(), fields: Vec::new(), files };
        steps.adds("trusted-anchor", format!("{instance} {sha224}"), act);
    }
    let named = |instance: &str| all.iter().any(|(one, _)| one == instance);
    let surplus = there.iter().filter(|(instance, _)| options.prunes("trusted-anchor") && !named(instance));
    for (instance, sha224) in surplus {
        let act = call("DELETE", format!("/trusted-anchors/{}", encode(sha224)), Value::Null);
        steps.removes("trusted-anchor", format!("{instance} {sha224}"), act);
    }
    Ok(())
}

/// Subsystems and members that the file does not name, as members, as clients of servers or as their owners.
fn gone(file: &Ecosystem, wanted: &Central, now: &CentralNow, options: &Options) -> Vec<Step> {
    let mut steps = Steps::of(&wanted.target);
    let serves = |id: &str| {
        let below =
            |client: &str| client == id || client.strip_prefix(id).is_some_and(|rest| rest.starts_with(':'));
        let mut servers = file.servers.iter();
        servers.any(|server| server.owner == id || server.clients.iter().any(|client| below(&client.id)))
    };
    for member in &now.conf.members {
        let known = wanted.members.iter().find(|one| one.id == member.id);
        let unnamed =
            |code: &str| !known.is_some_and(|one| one.subsystems.iter().any(|one| one.code == code));
        let surplus = member.subsystems.iter().filter(|one| unnamed(&one.code));
        for subsystem in surplus.filter(|_| options.prunes_named("subsystem")) {
            let id = format!("{}:{}", member.id, subsystem.code);
            if serves(&id) {
                continue;
            }
            let act = call("DELETE", format!("/subsystems/{}", encode(&id)), Value::Null);
            steps.removes("subsystem", id, act);
        }
        if known.is_none() && !serves(&member.id) && options.prunes_named("member") {
            let act = call("DELETE", format!("/members/{}", encode(&member.id)), Value::Null);
            steps.removes("member", &member.id, act);
        }
    }
    steps.all
}
