//! What is made from a token's certificates and lies outside it: kept OCSP answers, and the snapshot that the relay reads.
//!
//! It is the same whether the private keys are in this process or in one of their own. Nothing here is secret.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use host::contacts::Contacts;
use tokio::sync::Notify;

use crate::OwnKeys;
use crate::ocsp_store::OcspStore;

/// Kept OCSP answers and the present snapshot.
#[derive(Debug)]
pub struct Derived {
    own: ArcSwap<OwnKeys>,
    ocsp: OcspStore,
    changed: Notify,
    responders: Contacts,
}

impl Derived {
    /// With the OCSP answers kept in `dir`, which is made when it is not there.
    pub(crate) fn open(dir: &Path) -> std::io::Result<Self> {
        let (own, ocsp) = (ArcSwap::default(), OcspStore::open(dir)?);
        Ok(Self { own, ocsp, changed: Notify::new(), responders: Contacts::default() })
    }

    /// What came of asking OCSP responders.
    pub fn responders(&self) -> &Contacts {
        &self.responders
    }

    pub(crate) fn own_keys(&self) -> Arc<OwnKeys> {
        self.own.load_full()
    }

    pub(crate) fn store(&self, own: OwnKeys) {
        self.own.store(Arc::new(own));
    }

    /// The private keys are gone; OCSP answers stay, peers may still ask for them.
    pub(crate) fn without_keys(&self) {
        let own = self.own.load();
        self.store(OwnKeys { ocsp_by_sha1: own.ocsp_by_sha1.clone(), ..OwnKeys::default() });
    }

    pub(crate) fn ocsp(&self) -> &OcspStore {
        &self.ocsp
    }

    /// The OCSP fetcher looks again.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Until somebody says [`wake`](Self::wake).
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
