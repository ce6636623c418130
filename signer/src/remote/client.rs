//! A token in the signer's process, used like one in this process; and what an operator's commands need of it.
//!
//! The client keeps a description of the token, brought up to date at every connection and every change, so that reading it costs
//! nothing and a restart of the signer does not show. Identities stay in use while the signer is away: signatures wait for it, at
//! most the client's waiting time, then fail. When the token is logged out, the identities go.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pki::algorithm::{EcdsaForm, Scheme, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::digest::DigestAlgorithm;
use pki::globalconf::GlobalConf;
use pki::issue::Subject;
use pki::key::{KeyKind, PrivateKey};
use pki::public_key::{Curve, KeyType, PublicKey};
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use zeroize::Zeroizing;

use super::link::{Link, LinkError};
use super::wire::{
    AuthenticationKey, ChangePin, Csr, DeleteCertificate, DeleteCsr, DeleteKey, Describe, Failure, Generate,
    ImportCertificate, Login, Logout, Member, Rename, RequestCertificate, SetStates, Sign, State, Status,
    StoredCsr, Token, Usage, WriteCsr, answer, request,
};
use crate::derived::Derived;
use crate::error::TokenError;
use crate::identities::{self, Sources};
use crate::service::{CertState, TokenService};
use crate::token::{CertStatus, CsrRequest, KeyInfo, KeyUsage};
use crate::{KeyId, Message, OwnKeys, Purpose, Signer, SignerError};

/// For what an administrator does: making a large RSA key takes long.
const ADMINISTRATION: Duration = Duration::from_secs(60);

/// A token in the signer's process.
pub struct RemoteSigner {
    link: Arc<Link>,
    wait: Duration,
    known: Arc<Known>,
}

/// What is kept of the token on this side.
struct Known {
    mirror: ArcSwap<Mirror>,
    derived: Derived,
    /// Authentication keys that the signer was asked for; `None` where it keeps the key to itself.
    shared: Mutex<HashMap<KeyId, Option<Arc<PrivateKey>>>>,
    /// Held while a snapshot or a description is put in place, so that a log-out has the last word.
    placing: Mutex<()>,
}

#[derive(Default)]
struct Mirror {
    label: String,
    logged_in: bool,
    keys: Vec<KeyInfo>,
    types: HashMap<KeyId, KeyType>,
}

impl RemoteSigner {
    /// The signer at `socket`, whose requests wait at most `wait`. Blocks until it has said what the token holds, at most that long; a
    /// signer that is not there yet is waited for in the background. OCSP answers are kept in `ocsp`.
    ///
    /// # Errors
    /// The folder, or no thread can be started.
    pub fn open(socket: &Path, wait: Duration, ocsp: &Path) -> std::io::Result<Self> {
        let known = Arc::new(Known {
            mirror: ArcSwap::default(),
            derived: Derived::open(ocsp)?,
            shared: Mutex::default(),
            placing: Mutex::new(()),
        });
        let told = {
            let known = Arc::clone(&known);
            Box::new(move |token| known.learn(&token))
        };
        let link = Arc::new(Link::start(socket.to_owned(), wait, told)?);
        match link.call_blocking(request::Body::Describe(Describe {}), wait) {
            Ok(answer::Body::Token(token)) => known.learn(&token),
            Ok(_) => tracing::error!("the signer does not say what its token holds"),
            Err(error) => tracing::error!(
                socket = %socket.display(), %error,
                "the signer is not there yet, and no message can be signed until it is"
            ),
        }
        Ok(Self { link, wait, known })
    }

    fn ask(&self, body: request::Body) -> Result<answer::Body, TokenError> {
        token_answer(self.link.call_blocking(body, ADMINISTRATION))
    }

    /// The authentication key itself, for the edge for old suites, where the signer shares it. Asked for once.
    fn shared_key(&self, id: &KeyId, spki: &[u8]) -> Option<Arc<PrivateKey>> {
        let shared = || self.known.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = shared().get(id) {
            return asked.clone();
        }
        let wanted = AuthenticationKey { key: id.clone() };
        let key = match self.link.call_blocking(request::Body::AuthenticationKey(wanted), self.wait) {
            Ok(answer::Body::Value(der)) => PrivateKey::from_pkcs8(&Zeroizing::new(der))
                .ok()
                .filter(|key| key.spki() == spki)
                .map(Arc::new),
            Ok(_) => None,
            // It is asked again.
            Err(_) => return None,
        };
        if key.is_none() {
            tracing::warn!(
                key = id,
                "security servers that know only the CBC suites of TLS 1.2 cannot be reached, nor reach us: \
                 the signer keeps the authentication key to itself (its share-authentication-key)"
            );
        }
        shared().insert(id.clone(), key.clone());
        key
    }

    fn ask_for_nothing(&self, body: request::Body) -> Result<(), TokenError> {
        self.change(body).map(drop)
    }

    fn ask_for_key(&self, body: request::Body) -> Result<KeyId, TokenError> {
        match self.change(body)? {
            answer::Body::Key(id) => Ok(id),
            _ => Err(senseless()),
        }
    }

    /// Asks for a change, and has it in the description when this returns: whoever changes something looks at it next.
    fn change(&self, body: request::Body) -> Result<answer::Body, TokenError> {
        let answer = self.ask(body)?;
        if let answer::Body::Token(token) = self.ask(request::Body::Describe(Describe {}))? {
            self.known.learn(&token);
        }
        Ok(answer)
    }
}

impl std::fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteSigner").field("connected", &self.link.is_connected()).finish_non_exhaustive()
    }
}

impl Known {
    /// Takes over what the signer says of its token.
    fn learn(&self, token: &Token) {
        let Ok(keys) = token.read_keys() else {
            tracing::error!("the signer describes its token in a way that cannot be read");
            return;
        };
        let of_key = |key: &KeyInfo| Some((key.id.clone(), PublicKey::from_spki(&key.spki)?.key_type()?));
        let types = keys.iter().filter_map(of_key).collect();
        let mirror = Mirror { label: token.label.clone(), logged_in: token.logged_in, keys, types };
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = self.mirror.swap(Arc::new(mirror)).logged_in;
        if was_open != token.logged_in {
            tracing::info!(label = token.label, logged_in = token.logged_in, "the signer's token");
        }
        // A signer that was started again may have other settings.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if !token.logged_in {
            self.derived.without_keys();
        }
        self.derived.wake();
    }
}

impl Mirror {
    /// What a key signs with by default, once the token is logged in.
    fn algorithm(&self, key: &str) -> Option<SignatureAlgorithm> {
        let scheme = match self.types.get(key).filter(|_| self.logged_in)? {
            KeyType::Rsa(_) => Scheme::RsaPkcs1,
            KeyType::Ec(_) => Scheme::Ecdsa,
        };
        Some(SignatureAlgorithm::new(scheme, DigestAlgorithm::Sha512))
    }
}

#[async_trait::async_trait]
impl Signer for RemoteSigner {
    async fn sign_late(
        &self,
        key: &KeyId,
        purpose: Purpose,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: Message,
    ) -> Result<Vec<u8>, SignerError> {
        let body = request::Body::Sign(Sign::new(key, purpose, algorithm, form, message()));
        signature(self.link.call(body, self.wait).await, purpose)
    }

    fn own_keys(&self) -> Arc<OwnKeys> {
        self.known.derived.own_keys()
    }
}

fn signature(outcome: Result<answer::Body, LinkError>, purpose: Purpose) -> Result<Vec<u8>, SignerError> {
    match outcome {
        Ok(answer::Body::Value(value)) => Ok(value),
        Ok(answer::Body::Failure(failure)) => Err(failure.into_signer(purpose)),
        Ok(_) => Err(SignerError::Unreachable(LinkError::Senseless.to_string())),
        Err(error) => Err(SignerError::Unreachable(error.to_string())),
    }
}

fn token_answer(outcome: Result<answer::Body, LinkError>) -> Result<answer::Body, TokenError> {
    match outcome {
        Ok(answer::Body::Failure(failure)) => Err(Failure::into_token(failure)),
        Ok(body) => Ok(body),
        Err(error) => Err(TokenError::Elsewhere(format!("the signer does not answer: {error}"))),
    }
}

fn senseless() -> TokenError {
    TokenError::Elsewhere(LinkError::Senseless.to_string())
}

#[async_trait::async_trait]
impl TokenService for RemoteSigner {
    fn label(&self) -> String {
        self.known.mirror.load().label.clone()
    }
    fn is_logged_in(&self) -> bool {
        self.known.mirror.load().logged_in && self.link.is_connected()
    }
    fn keys(&self) -> Vec<KeyInfo> {
        self.known.mirror.load().keys.clone()
    }
    fn login(&self, pin: &str, _now: UnixTime) -> Result<(), TokenError> {
        self.ask_for_nothing(request::Body::Login(Login { pin: pin.to_owned() }))
    }
    fn logout(&self) -> Result<(), TokenError> {
        self.ask_for_nothing(request::Body::Logout(Logout {}))
    }
    fn change_pin(&self, old: &str, new: &str, _now: UnixTime) -> Result<(), TokenError> {
        let change = ChangePin { old: old.to_owned(), new: new.to_owned() };
        self.ask_for_nothing(request::Body::ChangePin(change))
    }
    fn generate(&self, usage: KeyUsage, kind: KeyKind, label: &str) -> Result<KeyId, TokenError> {
        self.ask_for_key(request::Body::Generate(Generate::new(usage, kind, label)))
    }
    fn import_certificate(
        &self,
        cert: &Certificate,
        member: Option<MemberId>,
        status: CertStatus,
    ) -> Result<KeyId, TokenError> {
        let (der, status) = (cert.der().to_vec(), Status::of(status).into());
        let import = ImportCertificate { der, member: member.as_ref().map(Member::of), status };
        self.ask_for_key(request::Body::ImportCertificate(import))
    }
    fn csr(&self, key: &KeyId, subject: &Subject, dns_names: &[String]) -> Result<Vec<u8>, TokenError> {
        match self.ask(request::Body::Csr(Csr::new(key, subject, dns_names)))? {
            answer::Body::Value(der) => Ok(der),
            _ => Err(senseless()),
        }
    }
    fn request_certificate(
        &self,
        key: &KeyId,
        usage: KeyUsage,
        request: CsrRequest,
    ) -> Result<String, TokenError> {
        let (key, usage, csr) = (key.clone(), Usage::of(usage).into(), Some(StoredCsr::of("", &request)));
        self.ask_for_key(request::Body::RequestCertificate(RequestCertificate { key, usage, csr }))
    }
    fn write_csr(&self, key: &KeyId, csr: &str) -> Result<Vec<u8>, TokenError> {
        let write = WriteCsr { key: key.clone(), csr: csr.to_owned() };
        match self.ask(request::Body::WriteCsr(write))? {
            answer::Body::Value(der) => Ok(der),
            _ => Err(senseless()),
        }
    }
    fn delete_csr(&self, csr: &str) -> Result<(), TokenError> {
        self.ask_for_nothing(request::Body::DeleteCsr(DeleteCsr { csr: csr.to_owned() }))
    }
    fn rename(&self, key: Option<&KeyId>, name: &str) -> Result<(), TokenError> {
        let rename = Rename { key: key.cloned().unwrap_or_default(), name: name.to_owned() };
        self.ask_for_nothing(request::Body::Rename(rename))
    }
    fn set_states(&self, states: &[CertState]) -> Result<(), TokenError> {
        let states = states.iter().map(State::of).collect();
        self.ask_for_nothing(request::Body::SetStates(SetStates { states }))
    }
    fn delete_certificate(&self, cert_id: &str) -> Result<(), TokenError> {
        let certificate = cert_id.to_owned();
        self.ask_for_nothing(request::Body::DeleteCertificate(DeleteCertificate { certificate }))
    }
    fn delete_key(&self, id: &KeyId) -> Result<(), TokenError> {
        self.ask_for_nothing(request::Body::DeleteKey(DeleteKey { key: id.clone() }))
    }
    fn refresh(&self, conf: &GlobalConf, server: Option<&ServerId>, now: UnixTime) {
        let mirror = self.known.mirror.load_full();
        let sources = Sources { keys: &mirror.keys, ocsp: self.known.derived.ocsp(), conf, server, now };
        let tls = |id: &str| {
            let key_type = *mirror.types.get(id).filter(|_| mirror.logged_in)?;
            let key: Arc<dyn SigningKey> = Arc::new(HandshakeKey {
                id: id.to_owned(),
                key_type,
                known: Arc::clone(&self.known),
                link: Arc::clone(&self.link),
                wait: self.wait,
            });
            // The edge for old suites needs the private key itself.
            let spki = mirror.keys.iter().find(|key| key.id == id).map(|key| key.spki.as_slice())?;
            Some((key, self.shared_key(&id.to_owned(), spki)))
        };
        let own = identities::build(&sources, |id| mirror.algorithm(id), tls);
        let _placing = self.known.placing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known.mirror.load().logged_in == mirror.logged_in {
            self.known.derived.store(own);
        }
    }
    fn queue_length(&self) -> usize {
        self.link.queue_length()
    }
    fn derived(&self) -> &Derived {
        &self.known.derived
    }
}

/// The authentication key as rustls wants it: each handshake's signature is asked for.
struct HandshakeKey {
    id: KeyId,
    key_type: KeyType,
    known: Arc<Known>,
    link: Arc<Link>,
    wait: Duration,
}

impl std::fmt::Debug for HandshakeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Schemes of TLS 1.2 and 1.3 for a kind of key, the best first.
fn schemes(key: KeyType) -> &'static [(SignatureScheme, Scheme, DigestAlgorithm)] {
    use DigestAlgorithm::{Sha256, Sha384, Sha512};
    match key {
        KeyType::Rsa(_) => &[
            (SignatureScheme::RSA_PSS_SHA512, Scheme::RsaPss, Sha512),
            (SignatureScheme::RSA_PSS_SHA384, Scheme::RsaPss, Sha384),
            (SignatureScheme::RSA_PSS_SHA256, Scheme::RsaPss, Sha256),
            (SignatureScheme::RSA_PKCS1_SHA512, Scheme::RsaPkcs1, Sha512),
            (SignatureScheme::RSA_PKCS1_SHA384, Scheme::RsaPkcs1, Sha384),
            (SignatureScheme::RSA_PKCS1_SHA256, Scheme::RsaPkcs1, Sha256),
        ],
        KeyType::Ec(Curve::P256) => &[(SignatureScheme::ECDSA_NISTP256_SHA256, Scheme::Ecdsa, Sha256)],
        KeyType::Ec(Curve::P384) => &[(SignatureScheme::ECDSA_NISTP384_SHA384, Scheme::Ecdsa, Sha384)],
        // Tokens hold none.
        KeyType::Ec(Curve::P521) => &[],
    }
}

impl SigningKey for HandshakeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        if !self.known.mirror.load().logged_in {
            return None;
        }
        let chosen = schemes(self.key_type).iter().find(|(scheme, ..)| offered.contains(scheme))?;
        let algorithm = SignatureAlgorithm::new(chosen.1, chosen.2);
        let (id, link, wait) = (self.id.clone(), Arc::clone(&self.link), self.wait);
        Some(Box::new(Handshake { id, link, wait, scheme: chosen.0, algorithm }))
    }
    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        match self.key_type {
            KeyType::Rsa(_) => rustls::SignatureAlgorithm::RSA,
            KeyType::Ec(_) => rustls::SignatureAlgorithm::ECDSA,
        }
    }
}

#[derive(Debug)]
struct Handshake {
    id: KeyId,
    link: Arc<Link>,
    wait: Duration,
    scheme: SignatureScheme,
    algorithm: SignatureAlgorithm,
}

impl rustls::sign::Signer for Handshake {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let message = Bytes::copy_from_slice(message);
        let body = Sign::new(&self.id, Purpose::Handshake, self.algorithm, EcdsaForm::Der, message);
        let outcome = self.link.call_blocking(request::Body::Sign(body), self.wait);
        signature(outcome, Purpose::Handshake).map_err(|error| rustls::Error::General(error.to_string()))
    }
    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// What an operator's commands do with a signer that runs.
#[derive(Debug)]
pub struct Operator {
    link: Link,
    wait: Duration,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// Its name.
    pub label: String,
    /// The private keys are loaded.
    pub logged_in: bool,
    /// How many keys it has.
    pub keys: usize,
}

impl Operator {
    /// For the signer at `socket`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(socket: PathBuf, wait: Duration) -> std::io::Result<Self> {
        Ok(Self { link: Link::start(socket, wait, Box::new(|_| ()))?, wait })
    }

    fn ask(&self, body: request::Body) -> Result<answer::Body, TokenError> {
        token_answer(self.link.call_blocking(body, self.wait))
    }

    /// Loads the private keys.
    ///
    /// # Errors
    /// A wrong PIN, or too many before it; no answer.
    pub fn login(&self, pin: &str) -> Result<(), TokenError> {
        self.ask(request::Body::Login(Login { pin: pin.to_owned() })).map(drop)
    }

    /// Forgets the private keys.
    ///
    /// # Errors
    /// No answer.
    pub fn logout(&self) -> Result<(), TokenError> {
        self.ask(request::Body::Logout(Logout {})).map(drop)
    }

    /// What the token is.
    ///
    /// # Errors
    /// No answer.
    pub fn state(&self) -> Result<TokenState, TokenError> {
        match self.ask(request::Body::Describe(Describe {}))? {
            answer::Body::Token(token) => {
                Ok(TokenState { label: token.label, logged_in: token.logged_in, keys: token.keys.len() })
            }
            _ => Err(senseless()),
        }
    }
}
