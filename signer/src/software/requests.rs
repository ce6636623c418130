//! Certificate signing requests of the software token: remembered with their key, written anew when they are asked for; and names.

use std::sync::Arc;

use pki::csr;
use pki::issue::Subject;

use super::{LoadedKey, SoftwareSigner, usage_error};
use crate::KeyId;
use crate::error::TokenError;
use crate::token::{self, CsrInfo, CsrRequest, KeyUsage};

/// Requests that one key may have waiting.
const MAX_REQUESTS: usize = 100;

impl SoftwareSigner {
    /// Remembers that a certificate is asked for; gives the request's id. A key whose usage was not said gets `usage`.
    ///
    /// # Errors
    /// Logged out; no such key, or one for something else; fields that cannot be written; the disk.
    pub fn request_certificate(
        &self,
        key: &KeyId,
        usage: KeyUsage,
        request: CsrRequest,
    ) -> Result<String, TokenError> {
        let loaded = self.loaded()?;
        let found = loaded.keys.get(key).ok_or_else(|| TokenError::NoKey(key.clone()))?;
        if found.usage != usage && found.usage != KeyUsage::Unassigned {
            return Err(usage_error(found.usage));
        }
        // One that cannot be written is not remembered.
        write_request(found, usage, &request.subject, &request.dns_names)?;
        let id = token::new_key_id()?;
        self.change(|token| {
            let key = token.key_mut(key).ok_or_else(|| TokenError::NoKey(key.clone()))?;
            if key.csrs.len() >= MAX_REQUESTS {
                return Err(TokenError::Elsewhere(format!("a key has at most {MAX_REQUESTS} requests")));
            }
            key.usage = usage;
            key.csrs.push(CsrInfo { id: id.clone(), request });
            Ok(())
        })?;
        self.assign(key, usage)?;
        Ok(id)
    }

    /// The loaded key takes its usage over from the token.
    pub(super) fn assign(&self, id: &KeyId, usage: KeyUsage) -> Result<(), TokenError> {
        let Some(loaded) = self.loaded.load_full() else { return Ok(()) };
        let Some(key) = loaded.keys.get(id).filter(|key| key.usage != usage) else { return Ok(()) };
        let key = LoadedKey::shared(usage, Arc::clone(&key.key), &loaded.open)?;
        self.loaded.rcu(|now| now.as_ref().map(|now| Arc::new(now.with(id.clone(), key.clone()))));
        Ok(())
    }

    /// DER of a request that is remembered. Blocks.
    ///
    /// # Errors
    /// Logged out; no such key or request; the library.
    pub fn write_csr(&self, key: &KeyId, csr: &str) -> Result<Vec<u8>, TokenError> {
        let request = {
            let keys = self.keys();
            let info = keys.iter().find(|info| info.id == *key);
            let info = info.ok_or_else(|| TokenError::NoKey(key.clone()))?;
            let found = info.csrs.iter().find(|known| known.id == csr);
            found.ok_or_else(|| TokenError::NoCsr(csr.to_owned()))?.request.clone()
        };
        self.csr(key, &request.subject, &request.dns_names)
    }

    /// Forgets a request.
    ///
    /// # Errors
    /// No such request; the disk.
    pub fn delete_csr(&self, csr: &str) -> Result<(), TokenError> {
        self.change(|token| {
            let of = token.keys.iter_mut().find(|key| key.csrs.iter().any(|known| known.id == csr));
            let key = of.ok_or_else(|| TokenError::NoCsr(csr.to_owned()))?;
            key.csrs.retain(|known| known.id != csr);
            Ok(())
        })
    }

    /// Gives a key another name, or the token.
    ///
    /// # Errors
    /// No such key; the disk.
    pub fn rename(&self, key: Option<&KeyId>, name: &str) -> Result<(), TokenError> {
        self.change(|token| {
            match key {
                None => token.label = name.to_owned(),
                Some(id) => {
                    let key = token.key_mut(id).ok_or_else(|| TokenError::NoKey(id.clone()))?;
                    key.name = name.to_owned();
                }
            }
            Ok(())
        })
    }
}

pub(super) fn write_request(
    key: &LoadedKey,
    usage: KeyUsage,
    subject: &Subject,
    dns_names: &[String],
) -> Result<Vec<u8>, TokenError> {
    let usage = match usage {
        KeyUsage::Authentication => csr::Usage::Authentication,
        KeyUsage::Signing => csr::Usage::Signing,
        KeyUsage::Configuration | KeyUsage::Unassigned => return Err(usage_error(usage)),
    };
    Ok(csr::request(key.key.as_ref(), usage, subject, dns_names)?)
}
