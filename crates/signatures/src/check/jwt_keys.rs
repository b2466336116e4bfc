//! The public keys of tokens: given in the configuration, fetched as a set and replaced from time to time, asked for by their id, or brought
//! along under a certificate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::UnixMillis;
use crate::crypto::certificate::ChainRule;
use crate::crypto::jwk::JwkSet;
use crate::keys::fetch::{Fetched, KeyApi};
use crate::language::spec::JwtAlg;
use crate::{Reason, Refusal};

/// The public keys of a source.
#[derive(Debug)]
pub(crate) struct Keys {
    api: Option<KeyApi>,
    chain: Option<ChainRule>,
    url: Option<Box<str>>,
    set: RwLock<Arc<JwkSet>>,
    /// A token came whose key the set does not have.
    wanted: AtomicBool,
}

impl Keys {
    /// Keys with the set that is at hand.
    pub(crate) fn new(
        set: JwkSet,
        url: Option<Box<str>>,
        api: Option<KeyApi>,
        chain: Option<ChainRule>,
    ) -> Self {
        Self {
            api,
            chain,
            url,
            set: RwLock::new(Arc::new(set)),
            wanted: AtomicBool::new(false),
        }
    }

    /// Where the key set has to be fetched from.
    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    pub(crate) fn set(&self, set: JwkSet) {
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }

    /// Whether a token came whose key the set does not have; asking takes the wish back.
    pub(crate) fn wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Whether one of the keys made this signature; None where a key is to be fetched before this can be said.
    pub(crate) fn made(
        &self,
        alg: JwtAlg,
        kid: Option<&str>,
        certificates: impl FnOnce() -> Vec<Vec<u8>>,
        message: &[u8],
        signature: &[u8],
        now: UnixMillis,
    ) -> Result<Option<bool>, Refusal> {
        if let Some(chain) = &self.chain {
            let key = chain
                .signer(&certificates(), now)
                .map_err(|why| Refusal::new(Reason::SignatureMismatch, why))?;
            return Ok(Some(
                JwkSet::p256(key).verifies(alg, None, message, signature),
            ));
        }
        if let Some(api) = &self.api {
            return Ok(match api.key(kid.unwrap_or_default())?.as_deref() {
                Some(Fetched::Key(keys)) => Some(keys.verifies(alg, kid, message, signature)),
                Some(_) => Some(false),
                None => None,
            });
        }
        let keys = self
            .set
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // A symmetric algorithm is no matter of public keys, whatever set they are in.
        if alg.hash().is_some() {
            return Ok(Some(false));
        }
        let made = keys.verifies(alg, kid, message, signature);
        if !made && self.url.is_some() && !keys.knows(kid) {
            self.wanted.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        Ok(Some(made))
    }
}
