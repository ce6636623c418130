//! The software token: keys in a folder, signatures in this process.
//!
//! Everything an administrator does goes through one lock and is on the disk when the call returns; these calls block and belong on
//! a blocking thread or before the server starts. Signing takes no lock: it reads the loaded keys behind an atomic pointer.
//! After a wrong PIN the next try must wait, [`FIRST_DELAY`] at first and twice as long each time, up to [`MAX_DELAY`].

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pki::algorithm::{EcdsaForm, SignatureAlgorithm};
use pki::cert::Certificate;
use pki::globalconf::GlobalConf;
use pki::issue::Subject;
use pki::key::{KeyKind, PrivateKey};
use proto::id::{MemberId, ServerId};
use proto::time::UnixTime;
use rustls::sign::SigningKey;
use tokio::sync::watch;

use crate::derived::Derived;
use crate::error::TokenError;
use crate::identities::{self, Sources};
use crate::pool::Pool;
use crate::seal::SecretKey;
use crate::service::{CertState, TokenService};
use crate::tls;
use crate::token::{self, CertInfo, CertStatus, CsrRequest, Folder, KeyInfo, KeyUsage, PinLock, Token};
use crate::{KeyId, Message, OwnKeys, Purpose, Signer, SignerError};

mod requests;

use requests::write_request;

/// Wait after the first wrong PIN.
pub const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Longest wait after wrong PINs.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// A token in a folder.
pub struct SoftwareSigner {
    folder: Folder,
    state: Mutex<State>,
    /// `None` while logged out.
    loaded: ArcSwapOption<Loaded>,
    derived: Derived,
    pool: Pool,
    /// Counts changes of the token, log-in and log-out among them.
    revision: watch::Sender<u64>,
}

struct State {
    token: Token,
    /// A PIN is being tried.
    trying: bool,
    wrong_pins: u32,
    /// No PIN is tried before this instant.
    locked_until: Option<UnixTime>,
}

/// The one PIN that is being tried; the next may come when this is dropped, however the try ended.
struct Turn<'a>(&'a SoftwareSigner);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().trying = false;
    }
}

/// What a log-in brings into memory.
pub(crate) struct Loaded {
    token_key: SecretKey,
    keys: HashMap<KeyId, LoadedKey>,
    /// Turned off at log-out, so that TLS configurations that live on stop signing too.
    open: Arc<AtomicBool>,
}

#[derive(Clone)]
struct LoadedKey {
    usage: KeyUsage,
    key: Arc<PrivateKey>,
    tls: Option<Arc<dyn SigningKey>>,
}

impl SoftwareSigner {
    /// A new, empty token in `dir`, logged in. Blocks for a good part of a second.
    ///
    /// # Errors
    /// There is one already; an empty PIN; the disk.
    pub fn create(dir: &Path, label: &str, pin: &str) -> Result<Self, TokenError> {
        let folder = Folder::new(dir);
        if folder.has_token() {
            return Err(TokenError::Exists(dir.to_owned()));
        }
        let io = |source| TokenError::Io { path: dir.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        let token_key = SecretKey::random()?;
        let token = Token { label: label.to_owned(), lock: PinLock::new(pin, &token_key)?, keys: vec![] };
        folder.write_token(&token)?;
        let signer = Self::with(folder, token)?;
        signer.load(token_key, &signer.state().token);
        Ok(signer)
    }

    /// The token in `dir`, logged out.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, TokenError> {
        let folder = Folder::new(dir);
        if !folder.has_token() {
            return Err(TokenError::Missing(dir.to_owned()));
        }
        let token = folder.read_token()?;
        Self::with(folder, token)
    }

    /// There is a token in `dir`.
    pub fn exists(dir: &Path) -> bool {
        Folder::new(dir).has_token()
    }

    fn with(folder: Folder, token: Token) -> Result<Self, TokenError> {
        let io = |source| TokenError::Io { path: folder.path().to_owned(), source };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            pool: Pool::new(threads).map_err(io)?,
            derived: Derived::open(&folder.path().join("ocsp")).map_err(io)?,
            state: Mutex::new(State { token, trying: false, wrong_pins: 0, locked_until: None }),
            loaded: ArcSwapOption::empty(),
            revision: watch::Sender::new(0),
            folder,
        })
    }

    /// Nothing panics while it holds the lock with a change half done: changes are made on a copy.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the private keys. Blocks for a good part of a second. A key file that cannot be opened is logged, and its key is missing.
    /// On a token that is logged in only the PIN is checked.
    ///
    /// # Errors
    /// A wrong PIN, or too many before it.
    pub fn login(&self, pin: &str, now: UnixTime) -> Result<(), TokenError> {
        let (lock, _turn) = self.begin_try(now)?;
        // Without the lock: readers of the token do not wait for this.
        let opened = lock.open(pin);
        let mut state = self.state();
        let Some(token_key) = opened else {
            let delay = FIRST_DELAY.saturating_mul(1 << state.wrong_pins.min(16)).min(MAX_DELAY);
            state.wrong_pins = state.wrong_pins.saturating_add(1);
            state.locked_until = Some(now.plus(delay));
            tracing::warn!(label = state.token.label, "a wrong PIN was entered");
            return Err(TokenError::WrongPin);
        };
        (state.wrong_pins, state.locked_until) = (0, None);
        if !self.is_logged_in() {
            self.load(token_key, &state.token);
            tracing::info!(
                label = state.token.label,
                keys = state.token.keys.len(),
                "the token is logged in"
            );
        }
        Ok(())
    }

    /// One PIN at a time, and none too early.
    fn begin_try(&self, now: UnixTime) -> Result<(PinLock, Turn<'_>), TokenError> {
        let mut state = self.state();
        if let Some(until) = state.locked_until.filter(|until| now < *until) {
            return Err(TokenError::Locked { seconds: until.since(now).as_secs().max(1) });
        }
        if std::mem::replace(&mut state.trying, true) {
            return Err(TokenError::Locked { seconds: FIRST_DELAY.as_secs() });
        }
        Ok((state.token.lock.clone(), Turn(self)))
    }

    fn load(&self, token_key: SecretKey, token: &Token) {
        let open = Arc::new(AtomicBool::new(true));
        let mut keys = HashMap::new();
        for info in &token.keys {
            match self.load_one(info, &token_key, &open) {
                Ok(key) => drop(keys.insert(info.id.clone(), key)),
                Err(error) => tracing::error!(key = info.id, %error, "a key cannot be used"),
            }
        }
        self.replace_loaded(Some(Loaded { token_key, keys, open }));
    }

    fn load_one(
        &self,
        info: &KeyInfo,
        token_key: &SecretKey,
        open: &Arc<AtomicBool>,
    ) -> Result<LoadedKey, TokenError> {
        let key = PrivateKey::from_pkcs8(&self.folder.read_key(&info.id, token_key)?)?;
        LoadedKey::new(info.usage, key, open)
    }

    fn replace_loaded(&self, loaded: Option<Loaded>) {
        let before = self.loaded.swap(loaded.map(Arc::new));
        let _ = before.map(|before| before.open.store(false, Ordering::Release));
        self.has_changed();
    }

    fn has_changed(&self) {
        self.revision.send_modify(|revision| *revision += 1);
        self.derived.wake();
    }

    /// Sees every change of the token, log-in and log-out among them.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Forgets the private keys. Signatures that are being made still come out.
    pub fn logout(&self) {
        let state = self.state();
        self.replace_loaded(None);
        self.derived.without_keys();
        tracing::info!(label = state.token.label, "the token is logged out");
    }

    /// The private keys are loaded.
    pub fn is_logged_in(&self) -> bool {
        self.loaded.load().is_some()
    }

    /// A new PIN; the token stays as it is, logged in or out. Blocks for a good part of a second.
    ///
    /// # Errors
    /// The old PIN is wrong (or it is too early to try), the new one empty, or the disk.
    pub fn change_pin(&self, old: &str, new: &str, now: UnixTime) -> Result<(), TokenError> {
        let was_open = self.is_logged_in();
        self.login(old, now)?;
        let result = {
            let token_key = self.loaded()?;
            let lock = PinLock::new(new, &token_key.token_key)?;
            self.change(|token| {
                token.lock = lock;
                Ok(())
            })
        };
        if !was_open {
            self.logout();
        }
        result
    }

    fn loaded(&self) -> Result<Arc<Loaded>, TokenError> {
        self.loaded.load_full().ok_or(TokenError::LoggedOut)
    }

    /// Makes a change on a copy, writes it, then lets it count.
    fn change<T>(&self, change: impl FnOnce(&mut Token) -> Result<T, TokenError>) -> Result<T, TokenError> {
        self.change_with(change, |_| ())
    }

    /// [`Self::change`], then `loads` before anybody else changes the token, logs in or out.
    fn change_with<T>(
        &self,
        change: impl FnOnce(&mut Token) -> Result<T, TokenError>,
        loads: impl FnOnce(&T),
    ) -> Result<T, TokenError> {
        let mut state = self.state();
        let mut token = state.token.clone();
        let done = change(&mut token)?;
        self.folder.write_token(&token)?;
        state.token = token;
        loads(&done);
        self.has_changed();
        Ok(done)
    }

    /// A new key. Blocks; RSA takes up to some seconds.
    ///
    /// # Errors
    /// Logged out, the library, the disk.
    pub fn generate(&self, usage: KeyUsage, kind: KeyKind, label: &str) -> Result<KeyId, TokenError> {
        self.loaded()?;
        self.import_key(usage, label, PrivateKey::generate(kind)?)
    }

    /// Takes a key from elsewhere; one that is here already keeps its id and label.
    ///
    /// # Errors
    /// Logged out; it is here for another usage; the disk.
    pub fn import_key(&self, usage: KeyUsage, label: &str, key: PrivateKey) -> Result<KeyId, TokenError> {
        let spki = key.spki();
        let change = |token: &mut Token| {
            let loaded = self.loaded()?;
            if let Some(known) = token.key_of(&spki) {
                let (known, known_usage) = (known.id.clone(), known.usage);
                return if known_usage == usage { Ok((known, None)) } else { Err(usage_error(known_usage)) };
            }
            let id = token::new_key_id()?;
            self.folder.write_key(&id, &loaded.token_key, &key.to_pkcs8())?;
            let (label, name) = (label.to_owned(), label.to_owned());
            token.keys.push(KeyInfo {
                id: id.clone(),
                label,
                name,
                csrs: vec![],
                usage,
                spki: spki.clone(),
                certs: vec![],
            });
            let key = LoadedKey::new(usage, key, &loaded.open)?;
            Ok((id.clone(), Some(Arc::new(loaded.with(id, key)))))
        };
        let (id, _) = self.change_with(change, |(_, now)| {
            if let Some(now) = now {
                self.loaded.store(Some(now.clone()));
            }
        })?;
        Ok(id)
    }

    /// Takes a key with its certificate, as `apply` and tests have them: registered and active. A second time nothing happens.
    ///
    /// # Errors
    /// As [`import_key`](Self::import_key) and [`import_certificate`](Self::import_certificate).
    pub fn import_pair(
        &self,
        label: &str,
        key: PrivateKey,
        cert: &Certificate,
        member: Option<MemberId>,
    ) -> Result<KeyId, TokenError> {
        let usage = if member.is_some() { KeyUsage::Signing } else { KeyUsage::Authentication };
        if key.spki() != cert.spki() {
            return Err(TokenError::ForeignCertificate);
        }
        check_usage(usage, cert)?;
        let id = self.import_key(usage, label, key)?;
        match self.import_certificate(cert, member, CertStatus::Registered) {
            Ok(_) | Err(TokenError::CertificateExists) => Ok(id),
            Err(error) => Err(error),
        }
    }

    /// Takes a certificate for a key of this token. Signing certificates need their member, and are registered and active at once
    /// (`status` does not matter); a server's certificate gets `status` and is active when registered. The request that asked for it is
    /// forgotten; a key whose usage was not said gets the certificate's.
    ///
    /// # Errors
    /// No such key; not for the key's usage; known already; the disk.
    pub fn import_certificate(
        &self,
        cert: &Certificate,
        member: Option<MemberId>,
        status: CertStatus,
    ) -> Result<KeyId, TokenError> {
        let (id, usage) = self.change(|token| {
            let key = token.key_of(cert.spki()).ok_or(TokenError::ForeignCertificate)?.id.clone();
            let key = token.key_mut(&key).ok_or(TokenError::ForeignCertificate)?;
            if key.certs.iter().any(|known| known.cert == *cert) {
                return Err(TokenError::CertificateExists);
            }
            if key.usage == KeyUsage::Unassigned {
                let signing = cert.is_signing();
                key.usage = if signing { KeyUsage::Signing } else { KeyUsage::Authentication };
            }
            check_usage(key.usage, cert)?;
            let status = match (key.usage, &member) {
                (KeyUsage::Signing, None) => {
                    return Err(TokenError::Member("a signing certificate needs the member it is of"));
                }
                (KeyUsage::Authentication | KeyUsage::Configuration | KeyUsage::Unassigned, Some(_)) => {
                    return Err(TokenError::Member("a server's certificate is of no member"));
                }
                (KeyUsage::Signing | KeyUsage::Configuration, _) => CertStatus::Registered,
                (KeyUsage::Authentication | KeyUsage::Unassigned, None) => status,
            };
            let active = status == CertStatus::Registered;
            key.csrs.retain(|csr| csr.request.member != member);
            key.certs.push(CertInfo { cert: cert.clone(), member, status, active });
            Ok((key.id.clone(), key.usage))
        })?;
        self.assign(&id, usage)?;
        Ok(id)
    }

    /// DER of a certificate signing request. Blocks.
    ///
    /// # Errors
    /// Logged out; no such key; a key that no certification service certifies; fields that cannot be written.
    pub fn csr(&self, key: &KeyId, subject: &Subject, dns_names: &[String]) -> Result<Vec<u8>, TokenError> {
        let loaded = self.loaded()?;
        let key = loaded.keys.get(key).ok_or_else(|| TokenError::NoKey(key.clone()))?;
        write_request(key, key.usage, subject, dns_names)
    }

    /// Sets the state of a certificate.
    ///
    /// # Errors
    /// No such certificate; the disk.
    pub fn set_status(&self, cert_id: &str, status: CertStatus) -> Result<(), TokenError> {
        self.change_cert(cert_id, |cert| cert.status = status)
    }

    /// Lets a certificate be used, or not.
    ///
    /// # Errors
    /// No such certificate; the disk.
    pub fn set_active(&self, cert_id: &str, active: bool) -> Result<(), TokenError> {
        self.change_cert(cert_id, |cert| cert.active = active)
    }

    fn change_cert(&self, id: &str, change: impl FnOnce(&mut CertInfo)) -> Result<(), TokenError> {
        self.change(|token| {
            change(token.cert_mut(id).ok_or_else(|| TokenError::NoCertificate(id.to_owned()))?);
            Ok(())
        })
    }

    /// Removes a certificate; its key stays.
    ///
    /// # Errors
    /// No such certificate; the disk.
    pub fn delete_certificate(&self, cert_id: &str) -> Result<(), TokenError> {
        self.change(|token| {
            let missing = || TokenError::NoCertificate(cert_id.to_owned());
            token.cert_mut(cert_id).ok_or_else(missing)?;
            for key in &mut token.keys {
                key.certs.retain(|cert| cert.id() != cert_id);
            }
            Ok(())
        })
    }

    /// Removes a key for ever, with its certificates.
    ///
    /// # Errors
    /// No such key; the disk.
    pub fn delete_key(&self, id: &KeyId) -> Result<(), TokenError> {
        let change = |token: &mut Token| {
            token.key(id).ok_or_else(|| TokenError::NoKey(id.clone()))?;
            token.keys.retain(|key| key.id != *id);
            Ok(())
        };
        let unload = |(): &()| {
            self.loaded.rcu(|now| now.as_ref().map(|now| Arc::new(now.without(id))));
        };
        self.change_with(change, unload)?;
        self.folder.remove_key(id)
    }

    /// What the token is called.
    pub fn label(&self) -> String {
        self.state().token.label.clone()
    }

    /// All keys with their certificates.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.state().token.keys.clone()
    }

    /// Sets the states of several certificates at once.
    ///
    /// # Errors
    /// No such certificate, then none is changed; the disk.
    pub fn set_states(&self, states: &[CertState]) -> Result<(), TokenError> {
        self.change(|token| {
            for state in states {
                let cert = token.cert_mut(&state.cert);
                let cert = cert.ok_or_else(|| TokenError::NoCertificate(state.cert.clone()))?;
                (cert.status, cert.active) = (state.status, state.active);
            }
            Ok(())
        })
    }

    /// Makes the snapshot anew from keys, OCSP answers and configuration. The OCSP fetcher does this whenever something changed;
    /// `server` is whose authentication certificate may be used.
    pub fn refresh(&self, conf: &GlobalConf, server: Option<&ServerId>, now: UnixTime) {
        let keys = self.keys();
        let loaded = self.loaded.load_full();
        let key = |id: &str| loaded.as_ref()?.keys.get(id);
        let sources = Sources { keys: &keys, ocsp: self.derived.ocsp(), conf, server, now };
        let own = identities::build(
            &sources,
            |id| key(id).map(|key| key.key.default_algorithm()),
            |id| key(id).and_then(|key| Some((key.tls.clone()?, Some(key.key.clone())))),
        );
        // A log-out in between has the last word.
        let _state = self.state();
        if loaded.is_some() == self.is_logged_in() {
            self.derived.store(own);
        }
    }

    /// Private-key operations that wait or run.
    pub fn queue_length(&self) -> usize {
        self.pool.busy()
    }

    /// An authentication key itself.
    ///
    /// # Errors
    /// No such key, logged out, a key for something else.
    pub(crate) fn authentication_key(&self, id: &KeyId) -> Result<Arc<PrivateKey>, SignerError> {
        self.key_for(id, Purpose::Handshake)
    }

    fn key_for(&self, id: &KeyId, purpose: Purpose) -> Result<Arc<PrivateKey>, SignerError> {
        let loaded = self.loaded.load();
        let Some(loaded) = loaded.as_ref() else {
            let known = self.state().token.key(id).is_some();
            return Err(if known { SignerError::LoggedOut } else { SignerError::NoKey(id.clone()) });
        };
        let key = loaded.keys.get(id).ok_or_else(|| SignerError::NoKey(id.clone()))?;
        if !key.usage.allows(purpose) {
            return Err(SignerError::Purpose { key: id.clone(), purpose });
        }
        Ok(Arc::clone(&key.key))
    }

    /// One private-key operation on this thread.
    ///
    /// # Errors
    /// No such key, logged out, for something else; the library.
    pub fn sign_blocking(
        &self,
        key: &KeyId,
        purpose: Purpose,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: &[u8],
    ) -> Result<Vec<u8>, SignerError> {
        let key = self.key_for(key, purpose)?;
        key.sign(algorithm, form, message).map_err(|error| SignerError::Failed(error.to_string()))
    }
}

impl std::fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoftwareSigner").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Signer for SoftwareSigner {
    async fn sign_late(
        &self,
        key: &KeyId,
        purpose: Purpose,
        algorithm: SignatureAlgorithm,
        form: EcdsaForm,
        message: Message,
    ) -> Result<Vec<u8>, SignerError> {
        let key = self.key_for(key, purpose)?;
        let signature = self.pool.run(move || key.sign(algorithm, form, &message())).await;
        let signature = signature.ok_or_else(|| SignerError::Failed("the operation panicked".to_owned()))?;
        signature.map_err(|error| SignerError::Failed(error.to_string()))
    }

    fn in_process(&self) -> Option<&SoftwareSigner> {
        Some(self)
    }

    fn own_keys(&self) -> Arc<OwnKeys> {
        self.derived.own_keys()
    }
}

#[async_trait::async_trait]
impl TokenService for SoftwareSigner {
    fn label(&self) -> String {
        Self::label(self)
    }
    fn is_logged_in(&self) -> bool {
        Self::is_logged_in(self)
    }
    fn keys(&self) -> Vec<KeyInfo> {
        Self::keys(self)
    }
    fn login(&self, pin: &str, now: UnixTime) -> Result<(), TokenError> {
        Self::login(self, pin, now)
    }
    fn logout(&self) -> Result<(), TokenError> {
        Self::logout(self);
        Ok(())
    }
    fn change_pin(&self, old: &str, new: &str, now: UnixTime) -> Result<(), TokenError> {
        Self::change_pin(self, old, new, now)
    }
    fn generate(&self, usage: KeyUsage, kind: KeyKind, label: &str) -> Result<KeyId, TokenError> {
        Self::generate(self, usage, kind, label)
    }
    fn import_certificate(
        &self,
        cert: &Certificate,
        member: Option<MemberId>,
        status: CertStatus,
    ) -> Result<KeyId, TokenError> {
        Self::import_certificate(self, cert, member, status)
    }
    fn csr(&self, key: &KeyId, subject: &Subject, dns_names: &[String]) -> Result<Vec<u8>, TokenError> {
        Self::csr(self, key, subject, dns_names)
    }
    fn request_certificate(
        &self,
        key: &KeyId,
        usage: KeyUsage,
        request: CsrRequest,
    ) -> Result<String, TokenError> {
        Self::request_certificate(self, key, usage, request)
    }
    fn write_csr(&self, key: &KeyId, csr: &str) -> Result<Vec<u8>, TokenError> {
        Self::write_csr(self, key, csr)
    }
    fn delete_csr(&self, csr: &str) -> Result<(), TokenError> {
        Self::delete_csr(self, csr)
    }
    fn rename(&self, key: Option<&KeyId>, name: &str) -> Result<(), TokenError> {
        Self::rename(self, key, name)
    }
    fn set_states(&self, states: &[CertState]) -> Result<(), TokenError> {
        Self::set_states(self, states)
    }
    fn delete_certificate(&self, cert_id: &str) -> Result<(), TokenError> {
        Self::delete_certificate(self, cert_id)
    }
    fn delete_key(&self, id: &KeyId) -> Result<(), TokenError> {
        Self::delete_key(self, id)
    }
    fn refresh(&self, conf: &GlobalConf, server: Option<&ServerId>, now: UnixTime) {
        Self::refresh(self, conf, server, now);
    }
    fn queue_length(&self) -> usize {
        Self::queue_length(self)
    }
    fn derived(&self) -> &Derived {
        &self.derived
    }
}

impl Loaded {
    fn with(&self, id: KeyId, key: LoadedKey) -> Self {
        let mut keys = self.keys.clone();
        keys.insert(id, key);
        Self { token_key: self.token_key.clone(), keys, open: Arc::clone(&self.open) }
    }
    fn without(&self, id: &KeyId) -> Self {
        let mut keys = self.keys.clone();
        keys.remove(id);
        Self { token_key: self.token_key.clone(), keys, open: Arc::clone(&self.open) }
    }
}

impl LoadedKey {
    fn new(usage: KeyUsage, key: PrivateKey, open: &Arc<AtomicBool>) -> Result<Self, TokenError> {
        Self::shared(usage, Arc::new(key), open)
    }
    fn shared(usage: KeyUsage, key: Arc<PrivateKey>, open: &Arc<AtomicBool>) -> Result<Self, TokenError> {
        let tls = match usage {
            KeyUsage::Authentication => {
                let key: Arc<dyn SigningKey> = Arc::new(tls::key(&key, Arc::clone(open))?);
                Some(key)
            }
            KeyUsage::Signing | KeyUsage::Configuration | KeyUsage::Unassigned => None,
        };
        Ok(Self { usage, key, tls })
    }
}

fn usage_error(usage: KeyUsage) -> TokenError {
    TokenError::Usage {
        wanted: match usage {
            KeyUsage::Authentication => "authentication",
            KeyUsage::Signing => "signing",
            KeyUsage::Configuration => "configuration signing",
            KeyUsage::Unassigned => "anything yet",
        },
    }
}

/// One kind, not both and not neither; configuration certificates are recognised by their bytes and may say anything.
fn check_usage(usage: KeyUsage, cert: &Certificate) -> Result<(), TokenError> {
    let fits = match usage {
        KeyUsage::Authentication => cert.is_authentication()? && !cert.is_signing(),
        KeyUsage::Signing => cert.is_signing() && cert.is_authentication() != Ok(true),
        KeyUsage::Configuration => true,
        KeyUsage::Unassigned => false,
    };
    if fits { Ok(()) } else { Err(usage_error(usage)) }
}

#[cfg(test)]
pub(crate) mod tests;
