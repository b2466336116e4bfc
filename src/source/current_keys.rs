//! Scheme and keys that a source's deliveries are verified with now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::config::secret::Secret;
use crate::domain::delivery::UnixMillis;
use hookweir_signatures::{Fetch, JwkSet, KeyRing, Scheme};

/// Scheme and keys of one moment. A new scheme or key is swapped in with all others, as a whole.
#[derive(Clone, Debug)]
pub struct KeyedScheme {
    /// The configured scheme, or the one with the secret that the provider has handed over.
    pub scheme: Arc<Scheme>,
    /// Keys that are not in the configuration.
    pub keys: KeyRing,
}

/// Current [`KeyedScheme`] of a source. Readers take no lock; writers take turns.
#[derive(Debug)]
pub struct CurrentKeys {
    current: ArcSwap<KeyedScheme>,
    configured: Arc<Scheme>,
    /// Turn of the writers, with the learned secret.
    writer: Mutex<Option<Secret>>,
}

impl CurrentKeys {
    /// Returns the configured scheme, without any fetched key.
    pub fn new(configured: Arc<Scheme>) -> Self {
        let first = KeyedScheme {
            scheme: configured.clone(),
            keys: KeyRing::EMPTY,
        };
        Self {
            current: ArcSwap::from_pointee(first),
            configured,
            writer: Mutex::new(None),
        }
    }

    /// Returns the scheme and keys to verify a delivery with.
    #[inline]
    pub fn load(&self) -> Guard<Arc<KeyedScheme>> {
        self.current.load()
    }

    /// Takes over the keys that were fetched, and the secret that was learned, before a reload. The source and its
    /// provider have to be the same.
    pub fn take_over(&self, before: &Self) {
        let learned = before.turn().clone();
        let keys = before.load().keys.clone();
        let mut turn = self.turn();
        let mut next = KeyedScheme::clone(&self.load());
        next.keys = keys;
        if let Some(secret) = learned
            && let Ok(scheme) = self.configured.with_learned(&secret)
        {
            next.scheme = Arc::new(scheme);
            *turn = Some(secret);
        }
        self.current.store(Arc::new(next));
    }

    /// Returns the same, to be kept for longer.
    pub fn load_full(&self) -> Arc<KeyedScheme> {
        self.current.load_full()
    }

    fn turn(&self) -> MutexGuard<'_, Option<Secret>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the answer to a fetch. Fails if the answer is not what was asked for.
    pub fn insert(&self, fetch: &Fetch, answer: &[u8]) -> Result<(), String> {
        self.replace(|next, _| next.keys.insert(fetch, answer))
    }

    /// Removes the answer to the fetch of this name.
    pub fn remove(&self, name: &str) {
        let _: Result<(), ()> = self.replace(|next, _| {
            next.keys.remove(name);
            Ok(())
        });
    }

    /// Replaces the provider's key set.
    pub fn set_key_set(&self, set: Arc<JwkSet>) {
        let _: Result<(), ()> = self.replace(|next, _| {
            next.keys.set_key_set(set);
            Ok(())
        });
    }

    /// Swaps in the scheme with the learned secret that the store held at `read_at`. If the secret
    /// does not fit the scheme, fails and changes nothing.
    pub fn set_learned(&self, secret: Option<&Secret>, read_at: UnixMillis) -> Result<(), String> {
        self.replace(|next, learned| {
            match secret {
                Some(secret) if next.scheme.has_learned(secret) => {}
                Some(secret) => next.scheme = Arc::new(self.configured.with_learned(secret)?),
                None => next.scheme = self.configured.clone(),
            }
            next.keys.set_secret_read_at(read_at);
            *learned = secret.cloned();
            Ok(())
        })
    }

    fn replace<E>(
        &self,
        change: impl FnOnce(&mut KeyedScheme, &mut Option<Secret>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut turn = self.turn();
        let mut next = KeyedScheme::clone(&self.current.load());
        change(&mut next, &mut turn)?;
        self.current.store(Arc::new(next));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hookweir_signatures::SourceSpec;

    use super::*;

    fn learning() -> CurrentKeys {
        let source = SourceSpec {
            learn_secret: true,
            ..SourceSpec::of("asana")
        };
        CurrentKeys::new(Arc::new(Scheme::compile(&source, 1).expect("it compiles")))
    }

    #[test]
    fn a_delivery_keeps_the_scheme_and_keys_of_the_moment_when_it_was_taken_up() {
        let keys = learning();
        let secret = Secret::new(*b"a secret that the provider handed over");
        let before = keys.load();
        keys.set_learned(Some(&secret), UnixMillis(1_000))
            .expect("it fits");
        assert!(!before.scheme.has_learned(&secret), "taken up before");
        assert!(keys.load().scheme.has_learned(&secret));
        keys.set_learned(None, UnixMillis(2_000)).expect("it fits");
        assert!(!keys.load().scheme.has_learned(&secret), "forgotten");
    }

    #[test]
    fn a_secret_or_key_that_does_not_fit_changes_nothing() {
        let keys = learning();
        let first = Secret::new(*b"a secret that the provider handed over");
        keys.set_learned(Some(&first), UnixMillis(1_000))
            .expect("it fits");
        let before = keys.load();
        assert!(
            keys.set_learned(Some(&Secret::new(*b"short")), UnixMillis(2_000))
                .is_err()
        );
        assert!(
            Arc::ptr_eq(&before, &keys.load()),
            "the snapshot is the same"
        );
    }
}
