//! Scheme and keys that a source's deliveries are verified with now.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::config::secret::Secret;
use crate::domain::delivery::UnixMillis;
use hookweir_signatures::{Fetch, JwkSet, KeyRing, Scheme};

/// Scheme with the keys at hand. Never changed: the next one takes its place.
#[derive(Clone, Debug)]
pub struct KeyedScheme {
    /// The configured scheme, or the one with the secret that the provider has handed over.
    pub scheme: Arc<Scheme>,
    /// Keys that are not in the configuration.
    pub keys: KeyRing,
}

/// The current [`KeyedScheme`] of a source. Readers take no lock; writers take turns.
#[derive(Debug)]
pub struct CurrentKeys {
    current: ArcSwap<KeyedScheme>,
    configured: Arc<Scheme>,
    writer: Mutex<()>,
}

impl CurrentKeys {
    /// The configured scheme, with no key that is not in the configuration.
    pub fn new(configured: Arc<Scheme>) -> Self {
        let first = KeyedScheme {
            scheme: configured.clone(),
            keys: KeyRing::EMPTY,
        };
        Self {
            current: ArcSwap::from_pointee(first),
            configured,
            writer: Mutex::new(()),
        }
    }

    /// Returns the scheme and keys to verify a delivery with.
    #[inline]
    pub fn load(&self) -> Guard<Arc<KeyedScheme>> {
        self.current.load()
    }

    /// Adds the answer to a fetch. Fails if the answer is not what was asked for.
    pub fn insert(&self, fetch: &Fetch, answer: &[u8]) -> Result<(), String> {
        self.replace(|next| next.keys.insert(fetch, answer))
    }

    /// Removes the answer to the fetch of this name.
    pub fn remove(&self, name: &str) {
        let _: Result<(), ()> = self.replace(|next| {
            next.keys.remove(name);
            Ok(())
        });
    }

    /// Replaces the provider's key set.
    pub fn set_key_set(&self, set: Arc<JwkSet>) {
        let _: Result<(), ()> = self.replace(|next| {
            next.keys.set_key_set(set);
            Ok(())
        });
    }

    /// Records the learned secret that the store held at `read_at`, and swaps in the scheme with it. Fails if the secret can be none of
    /// the scheme; the current one stays then.
    pub fn set_learned(&self, secret: Option<&Secret>, read_at: UnixMillis) -> Result<(), String> {
        self.replace(|next| {
            match secret {
                Some(secret) if next.scheme.has_learned(secret) => {}
                Some(secret) => next.scheme = Arc::new(self.configured.with_learned(secret)?),
                None => next.scheme = self.configured.clone(),
            }
            next.keys.set_secret_read_at(read_at);
            Ok(())
        })
    }

    fn replace<E>(&self, change: impl FnOnce(&mut KeyedScheme) -> Result<(), E>) -> Result<(), E> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = KeyedScheme::clone(&self.current.load());
        change(&mut next)?;
        self.current.store(Arc::new(next));
        Ok(())
    }
}
