//! Which certificates are in use: the snapshot [`OwnKeys`] from keys, OCSP answers and global configuration.
//!
//! A certificate is used when it is active and registered, holds now, and it and every intermediate above it have a good OCSP
//! answer. For TLS it must also be registered for this very server. Of several the first key in the token counts. The rest of the
//! chain comes from the global configuration: from the issuer up to, and without, a self-issued CA.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use pki::algorithm::SignatureAlgorithm;
use pki::cert::Certificate;
use pki::globalconf::{CaInfo, GlobalConf};
use pki::key::PrivateKey;
use pki::trust;
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;
use rustls::sign::SigningKey;

use crate::ocsp_store::OcspStore;
use crate::tls;
use crate::token::{CertInfo, KeyInfo, KeyUsage};
use crate::{AuthIdentity, OwnKeys, SigningIdentity};

/// Longest chain that is followed upwards.
const MAX_CHAIN: usize = 8;

/// What a snapshot is made of.
pub(crate) struct Sources<'a> {
    pub(crate) keys: &'a [KeyInfo],
    pub(crate) ocsp: &'a OcspStore,
    pub(crate) conf: &'a GlobalConf,
    pub(crate) server: Option<&'a ServerId>,
    pub(crate) now: UnixTime,
}

/// A certificate with the CA that issued it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) cert: Certificate,
    pub(crate) issuer: Arc<CaInfo>,
}

/// The certificate and the intermediates above it, each with its issuer; empty when no approved CA issued it.
pub(crate) fn chain_of(conf: &GlobalConf, cert: &Certificate, instance: &str) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let mut next = Some(cert.clone());
    while let Some(cert) = next.take().filter(|cert| links.len() < MAX_CHAIN && !cert.is_self_issued()) {
        let Some(issuer) = conf.ca_for(&cert, instance) else { break };
        next = Some(issuer.cert.clone());
        links.push(Link { cert, issuer: Arc::clone(issuer) });
    }
    links
}

/// Instance in which the issuer of a certificate is looked up: the member's, or the server's own.
pub(crate) fn instance_of<'a>(conf: &'a GlobalConf, cert: &'a CertInfo) -> &'a str {
    cert.member.as_ref().map_or(conf.instance(), |member| &member.instance)
}

/// A chain that is good now.
struct GoodChain {
    certs: Vec<Certificate>,
    ocsp: Vec<Bytes>,
    until: UnixTime,
}

impl Sources<'_> {
    fn good_chain(&self, cert: &CertInfo) -> Option<GoodChain> {
        if !cert.is_live() || !cert.cert.is_valid_at(self.now) {
            return None;
        }
        let instance = instance_of(self.conf, cert);
        let mut chain = GoodChain { certs: vec![], ocsp: vec![], until: cert.cert.not_after() };
        for link in chain_of(self.conf, &cert.cert, instance) {
            let kept = self.ocsp.get(&link.cert)?;
            let answers = std::slice::from_ref(&kept.response);
            let good =
                trust::judge(self.conf, answers, &link.cert, &link.issuer.cert, instance, self.now).ok()?;
            chain.until = chain.until.min(good.believe_until).min(link.cert.not_after());
            chain.certs.push(link.cert);
            chain.ocsp.push(kept.der.clone());
        }
        if chain.certs.is_empty() { None } else { Some(chain) }
    }

    fn certs(&self, usage: KeyUsage) -> impl Iterator<Item = (&KeyInfo, &CertInfo)> {
        let keys = self.keys.iter().filter(move |key| key.usage == usage);
        keys.flat_map(|key| key.certs.iter().map(move |cert| (key, cert)))
    }
}

/// An authentication key for rustls, and itself where it may leave its token: [`AuthIdentity::key`].
pub(crate) type TlsKeys = (Arc<dyn SigningKey>, Option<Arc<PrivateKey>>);

/// The snapshot. `algorithm` and `tls` know the keys that are loaded; others are not in it.
pub(crate) fn build(
    sources: &Sources<'_>,
    algorithm: impl Fn(&str) -> Option<SignatureAlgorithm>,
    tls: impl Fn(&str) -> Option<TlsKeys>,
) -> OwnKeys {
    let mut own = OwnKeys::default();
    let signing = sources.certs(KeyUsage::Signing);
    for (key, cert, chain) in signing.filter_map(|(key, cert)| Some((key, cert, sources.good_chain(cert)?))) {
        serve(&mut own.ocsp_by_sha1, &chain);
        let (Some(member), Some(algorithm)) = (&cert.member, algorithm(&key.id)) else { continue };
        let identity = || Arc::new(signing_identity(key, member, chain, algorithm));
        own.signing.entry(member.clone()).or_insert_with(identity);
    }
    let authentication = sources.certs(KeyUsage::Authentication);
    for (key, cert, chain) in
        authentication.filter_map(|(key, cert)| Some((key, cert, sources.good_chain(cert)?)))
    {
        serve(&mut own.ocsp_by_sha1, &chain);
        let registered = sources.conf.server_by_auth_cert(&cert.cert);
        let ours = registered.is_some() && registered == sources.server;
        if let (None, true, Some(tls)) = (&own.auth, ours, tls(&key.id)) {
            own.auth = Some(Arc::new(auth_identity(chain, tls)));
        }
    }
    own
}

/// Port 5577 gives these to peers.
fn serve(by_sha1: &mut HashMap<String, Bytes>, chain: &GoodChain) {
    for (cert, ocsp) in chain.certs.iter().zip(&chain.ocsp) {
        by_sha1.insert(hex::encode(cert.sha1()), ocsp.clone());
    }
}

fn signing_identity(
    key: &KeyInfo,
    member: &MemberId,
    chain: GoodChain,
    algorithm: SignatureAlgorithm,
) -> SigningIdentity {
    let mut certs = chain.certs.into_iter();
    let cert = certs.next().expect("a good chain starts with its certificate");
    SigningIdentity {
        key: key.id.clone(),
        member: member.clone(),
        cert,
        intermediates: certs.collect(),
        ocsp: chain.ocsp,
        algorithm,
        until: chain.until,
    }
}

fn auth_identity(chain: GoodChain, (signing, key): TlsKeys) -> AuthIdentity {
    let certified = tls::certified(&chain.certs, signing);
    AuthIdentity { chain: chain.certs, ocsp: chain.ocsp, certified, key, until: chain.until }
}
