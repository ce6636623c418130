//! The documents of a configuration from the state of the registry. Pure; what a version lacks, its writer leaves out.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use pki::digest::DigestAlgorithm;
use proto::globalconf::ParametersError;
use proto::globalconf::anchor::{Anchor, AnchorError, AnchorSource};
use proto::globalconf::private_parameters::PrivateParameters;
use proto::globalconf::shared_parameters::{
    AcmeServer, ApprovedCa, ApprovedTsa, CaInfo, ClientNumber, Document, ListedServer, OcspInfo,
    SharedParameters, Source,
};
use proto::id::{ClientId, MemberId, ServerId};

use crate::registry::SourceKind;
use crate::registry::state::{Ca, CertificationService, Member, Server, State};

/// Text that is gathered before it is passed on.
const PIECE_BYTES: usize = 256 << 10;

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

/// The shared parameters of a state, to be written for one version after another.
pub struct Shared<'s> {
    state: &'s State,
    /// What is listed is not in it.
    head: SharedParameters,
    /// The digests of certificates are those of the version that was written last.
    servers: Vec<(ListedServer, &'s Server)>,
}

impl<'s> Shared<'s> {
    /// Those of `state`.
    ///
    /// # Errors
    /// What is missing.
    pub fn of(state: &'s State) -> Result<Self, Incomplete> {
        let numbers = numbers(state);
        let listed =
            |(id, server): (&ServerId, &'s Arc<Server>)| (listed(state, &numbers, id, server), &**server);
        Ok(Self { state, head: head(state)?, servers: state.servers.iter().map(listed).collect() })
    }

    /// Writes configuration version `version`; the text goes to `take` piece by piece. Gives all versions that have the same text.
    /// Authentication certificates stand in it by SHA-1 in version 2, by SHA-256 from version 3.
    ///
    /// # Errors
    /// A document cannot be written, or those of `take`.
    pub fn write<E: From<Incomplete>>(
        &mut self,
        version: u32,
        take: &mut dyn FnMut(&str) -> Result<(), E>,
    ) -> Result<RangeInclusive<u32>, E> {
        let mut document = Document::begin(&self.head, version).map_err(Incomplete::from)?;
        let mut pass = |document: &mut Document| -> Result<(), E> {
            let text = document.text();
            if text.len() < PIECE_BYTES {
                return Ok(());
            }
            take(text)?;
            text.clear();
            Ok(())
        };
        for (id, member) in &self.state.members {
            let class = self.state.member_classes.get(&id.class).map_or("", String::as_str);
            let subsystems = member.subsystems.iter().map(|(code, name)| (code.as_str(), name.as_deref()));
            document.member(id, class, &member.name, subsystems).map_err(Incomplete::from)?;
            pass(&mut document)?;
        }
        let digest = if version == 2 { DigestAlgorithm::Sha1 } else { DigestAlgorithm::Sha256 };
        for (listed, server) in &mut self.servers {
            let hashes = server.auth_certs.values().map(|cert| digest.digest(&cert.0).value);
            listed.auth_cert_hashes = hashes.collect();
            document.server(listed).map_err(Incomplete::from)?;
            pass(&mut document)?;
        }
        for (code, group) in &self.state.groups {
            document.group(code, &group.description, &group.members).map_err(Incomplete::from)?;
            pass(&mut document)?;
        }
        let written = document.finish().map_err(Incomplete::from)?;
        take(&written.text)?;
        Ok(written.versions)
    }
}

/// All that stands before and behind the lists.
fn head(state: &State) -> Result<SharedParameters, Incomplete> {
    let certs = |source| state.keys_of(source).map(|key| key.cert.0.clone()).collect();
    let source = Source {
        address: state.address.clone(),
        internal_certs: certs(SourceKind::Internal),
        external_certs: certs(SourceKind::External),
    };
    Ok(SharedParameters {
        instance: state.instance.clone().ok_or(Incomplete::Instance)?,
        sources: vec![source],
        approved_cas: state.cas.iter().map(approved_ca).collect(),
        approved_tsas: state.tsas.iter().map(approved_tsa).collect(),
        member_classes: state.member_classes.iter().map(|(c, d)| (c.clone(), d.clone())).collect(),
        ocsp_freshness_seconds: state.parameters.ocsp_freshness_seconds,
        ..SharedParameters::default()
    })
}

/// The number that each member has in the document.
fn numbers(state: &State) -> HashMap<&MemberId, ClientNumber> {
    let mut next: ClientNumber = 0;
    let mut number = |member: &Member| {
        let number = next;
        // Far more than a document may hold.
        next = next
            .saturating_add(ClientNumber::try_from(member.subsystems.len() + 1).unwrap_or(ClientNumber::MAX));
        number
    };
    state.members.iter().map(|(id, member)| (id, number(member))).collect()
}

/// Disabled clients are left out, and so is the owner, who is named as such. Who is no member has a number that is refused.
fn listed(
    state: &State,
    numbers: &HashMap<&MemberId, ClientNumber>,
    id: &ServerId,
    server: &Server,
) -> ListedServer {
    let number = |member: &MemberId, subsystem: Option<&str>| {
        let behind = match subsystem {
            None => 0,
            Some(code) => 1 + state.members.get(member)?.subsystems.keys().position(|each| each == code)?,
        };
        numbers.get(member)?.checked_add(ClientNumber::try_from(behind).ok()?)
    };
    let is_owner = |client: &ClientId| client.subsystem.is_none() && client.member == id.owner;
    let clients = server.clients.iter().filter(|(client, enabled)| **enabled && !is_owner(client));
    let clients = clients.map(|(client, _)| number(&client.member, client.subsystem.as_deref()));
    ListedServer {
        owner: number(&id.owner, None).unwrap_or(ClientNumber::MAX),
        code: id.code.clone(),
        address: server.address.clone(),
        auth_cert_hashes: Vec::new(),
        clients: clients.map(|number| number.unwrap_or(ClientNumber::MAX)).collect(),
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
