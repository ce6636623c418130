//! The documents of a configuration from the state of the registry. Pure; what a version lacks, its writer leaves out.

use pki::digest::DigestAlgorithm;
use proto::globalconf::ParametersError;
use proto::globalconf::anchor::{Anchor, AnchorError, AnchorSource};
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::shared_parameters::{
    AcmeServer, ApprovedCa, ApprovedTsa, CaInfo, GlobalGroup, Member, OcspInfo, SecurityServer,
    SharedParameters, Source,
};
use proto::id::{ClientId, GlobalGroupId};

use crate::registry::SourceKind;
use crate::registry::state::{Ca, CertificationService, Server, State};

/// Why there is no configuration to be made of a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// The instance has no name.
    #[error("the central server is not initialised")]
    Instance,
    /// Nobody offers the management services, and private parameters must name somebody.
    #[error("no provider of the management services is set")]
    ManagementProvider,
    /// A source has no key that signs.
    #[error("the {} source has no active signing key", .0.name())]
    SigningKey(SourceKind),
    /// A trusted anchor does not read any more.
    #[error("the trusted anchor of {instance} cannot be used: {source}")]
    TrustedAnchor {
        /// Whose.
        instance: String,
        /// Why.
        source: AnchorError,
    },
    /// A document cannot be written.
    #[error(transparent)]
    Document(#[from] ParametersError),
}

impl Incomplete {
    /// What somebody who sets the server up does next; `None` for what is no matter of setting up.
    pub fn next_step(&self) -> Option<&'static str> {
        match self {
            Self::Instance => Some("initialise it: causeway cs server init, or POST /initialization"),
            Self::ManagementProvider => Some("name the provider: PATCH /management-services-configuration"),
            Self::SigningKey(_) => Some("log in to the token and add a signing key to each source"),
            Self::TrustedAnchor { .. } | Self::Document(_) => None,
        }
    }
}

/// Shared parameters of configuration version `version`: authentication certificates stand in it by SHA-1 in version 2, by SHA-256
/// from version 3.
///
/// # Errors
/// What is missing.
pub fn shared_parameters(state: &State, version: u32) -> Result<SharedParameters, Incomplete> {
    let instance = state.instance.clone().ok_or(Incomplete::Instance)?;
    let digest = if version == 2 { DigestAlgorithm::Sha1 } else { DigestAlgorithm::Sha256 };
    let certs = |source| state.keys_of(source).map(|key| key.cert.0.clone()).collect();
    let source = Source {
        address: state.address.clone(),
        internal_certs: certs(SourceKind::Internal),
        external_certs: certs(SourceKind::External),
    };
    let group = |(code, group): (&String, &crate::registry::state::Group)| GlobalGroup {
        id: GlobalGroupId { instance: instance.clone(), code: code.clone() },
        description: group.description.clone(),
        members: group.members.iter().cloned().collect(),
    };
    Ok(SharedParameters {
        sources: vec![source],
        approved_cas: state.cas.iter().map(approved_ca).collect(),
        approved_tsas: state.tsas.iter().map(approved_tsa).collect(),
        members: members(state),
        servers: state.servers.iter().map(|(id, server)| security_server(id, server, digest)).collect(),
        groups: state.groups.iter().map(group).collect(),
        member_classes: state.member_classes.iter().map(|(c, d)| (c.clone(), d.clone())).collect(),
        ocsp_freshness_seconds: state.parameters.ocsp_freshness_seconds,
        instance: instance.clone(),
    })
}

fn members(state: &State) -> Vec<Member> {
    let member = |(id, member): (&proto::id::MemberId, &crate::registry::state::Member)| Member {
        id: id.clone(),
        class_description: state.member_classes.get(&id.class).cloned().unwrap_or_default(),
        name: member.name.clone(),
        subsystems: member.subsystems.iter().map(|(code, name)| (code.clone(), name.clone())).collect(),
    };
    state.members.iter().map(member).collect()
}

/// Disabled clients are left out, and so is the owner, who is named as such.
fn security_server(id: &proto::id::ServerId, server: &Server, digest: DigestAlgorithm) -> SecurityServer {
    let owner = ClientId { member: id.owner.clone(), subsystem: None };
    let clients = server.clients.iter().filter(|(client, enabled)| **enabled && **client != owner);
    SecurityServer {
        id: id.clone(),
        address: server.address.clone(),
        auth_cert_hashes: server.auth_certs.values().map(|cert| digest.digest(&cert.0).value).collect(),
        clients: clients.map(|(client, _)| client.clone()).collect(),
        maintenance: server.maintenance.clone(),
    }
}

fn approved_ca(service: &CertificationService) -> ApprovedCa {
    let settings = &service.settings;
    ApprovedCa {
        name: settings.name.clone(),
        authentication_only: settings.authentication_only,
        top: ca_info(&service.top),
        intermediates: service.intermediates.iter().map(ca_info).collect(),
        profile: settings.profile.clone(),
        default_csr_format: settings.default_csr_format.clone(),
        acme: settings.acme.as_ref().map(|acme| AcmeServer {
            directory_url: acme.directory_url.clone(),
            ip_address: acme.ip_address.clone(),
            authentication_profile: acme.authentication_profile.clone(),
            signing_profile: acme.signing_profile.clone(),
        }),
    }
}

fn ca_info(ca: &Ca) -> CaInfo {
    let ocsp = ca.responders.iter().map(|responder| OcspInfo {
        url: responder.url.clone(),
        cert: responder.cert.as_ref().map(|cert| cert.0.clone()),
        cost: responder.cost,
    });
    CaInfo { cert: ca.cert.0.clone(), ocsp: ocsp.collect() }
}

fn approved_tsa(tsa: &crate::registry::event::Tsa) -> ApprovedTsa {
    ApprovedTsa { name: tsa.name.clone(), url: tsa.url.clone(), cert: tsa.cert.0.clone(), cost: tsa.cost }
}

/// Private parameters; the same for every version.
///
/// # Errors
/// What is missing.
pub fn private_parameters(state: &State) -> Result<PrivateParameters, Incomplete> {
    let parameters = &state.parameters;
    let anchor = |(instance, anchor): (&String, &crate::registry::event::Blob)| {
        let failed = |source| Incomplete::TrustedAnchor { instance: instance.clone(), source };
        Anchor::read(&anchor.0).map_err(failed)
    };
    // Our own servers have what our own anchor leads to.
    let others =
        state.trusted_anchors.iter().filter(|(instance, _)| Some(*instance) != state.instance.as_ref());
    let default_url = || format!("https://{}:4001/managementservice/", host_of(&state.address));
    Ok(PrivateParameters {
        instance: state.instance.clone().ok_or(Incomplete::Instance)?,
        federation_anchors: others.map(anchor).collect::<Result<_, _>>()?,
        auth_cert_reg_address: parameters.auth_cert_reg_url.clone().unwrap_or_else(default_url),
        auth_cert_reg_cert: parameters.auth_cert_reg_cert.as_ref().map(|cert| cert.0.clone()),
        management_provider: state.management_provider.clone().ok_or(Incomplete::ManagementProvider)?,
        timestamping_interval_seconds: parameters.timestamping_interval_seconds,
    })
}

/// The anchor of a source: this server over plain HTTP, which stock security servers need, and over HTTPS unless its address has a port,
/// which is that of plain HTTP and nothing else's; with every certificate of the source, active or not.
///
/// # Errors
/// The instance has no name, or the source no key.
pub fn anchor(state: &State, source: SourceKind) -> Result<Anchor, Incomplete> {
    let instance = state.instance.clone().ok_or(Incomplete::Instance)?;
    let certs: Vec<_> = state.keys_of(source).map(|key| key.cert.0.clone()).collect();
    if certs.is_empty() {
        return Err(Incomplete::SigningKey(source));
    }
    let location = |scheme: &str| AnchorSource {
        url: format!("{scheme}://{}/{}", state.address, source.directory()),
        verification_certs: certs.clone(),
    };
    let mut sources = vec![location("http")];
    if host_of(&state.address) == state.address {
        sources.push(location("https"));
    }
    Ok(Anchor { generated_at: state.anchors_changed_at.get(&source).copied(), instance, sources })
}

/// An address without its port.
pub(crate) fn host_of(address: &str) -> &str {
    match address.strip_prefix('[') {
        Some(rest) => &address[..=rest.find(']').map_or(address.len() - 1, |end| end + 1)],
        // Several colons without brackets are an IPv6 address and no port.
        None if address.matches(':').count() > 1 => address,
        None => address.split(':').next().unwrap_or(address),
    }
}
