//! Keys outside of a source's configuration, and requests for missing ones.
//!
//! A delivery names a certificate by its URL, or a key by its id. A [`KeyRing`] holds what was
//! fetched so far. If a key is not in it, [`verify`](crate::verify()) returns a [`KeyRequest`].
//! Anybody can name anything, so a scheme only asks for what it pins.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::crypto::certificate::Certificate;
use crate::crypto::jwk::JwkSet;
use crate::json_pointers::JsonPointer;
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::time::UnixMillis;

/// Age in milliseconds after which a snapshot says nothing about the learned secret. Shorter than
/// the time for which a source that has forgotten its secret learns no other, so that no instance
/// refuses a delivery that is signed with the next one.
const STALE_MS: i64 = 5_000;

/// Snapshot of a source's fetched keys. Replace it as a whole: a verification in progress keeps its
/// own snapshot.
#[derive(Debug, Clone)]
pub struct KeyRing {
    key_set: Option<Arc<JwkSet>>,
    fetched: BTreeMap<Box<str>, Arc<Fetched>>,
    secret_read_at: UnixMillis,
}

impl Default for KeyRing {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl KeyRing {
    /// Ring without keys, for a source with all keys in its configuration.
    pub const EMPTY: Self = Self {
        key_set: None,
        fetched: BTreeMap::new(),
        secret_read_at: UnixMillis(i64::MIN),
    };

    /// Replaces the provider's key set.
    pub fn set_key_set(&mut self, set: Arc<JwkSet>) {
        self.key_set = Some(set);
    }

    /// Adds the response to `fetch`. Fails if the response is not a key or certificate of the
    /// expected kind.
    pub fn insert(&mut self, fetch: &Fetch, answer: &[u8]) -> Result<(), String> {
        let fetched = Arc::new(fetch.read(answer)?);
        self.fetched.insert(fetch.name.as_str().into(), fetched);
        Ok(())
    }

    /// Removes the response to the fetch of this name.
    pub fn remove(&mut self, name: &str) {
        self.fetched.remove(name);
    }

    /// Stores the time at which the learned secret was last read from the shared store.
    pub fn set_secret_read_at(&mut self, at: UnixMillis) {
        self.secret_read_at = at;
    }

    pub(crate) fn key_set(&self) -> Option<&JwkSet> {
        self.key_set.as_deref()
    }

    pub(crate) fn fetched(&self, name: &str) -> Option<&Fetched> {
        self.fetched.get(name).map(|fetched| &**fetched)
    }

    pub(crate) fn knows_secret_at(&self, now: UnixMillis) -> bool {
        now.0.saturating_sub(self.secret_read_at.0) <= STALE_MS
    }
}

/// Request for a key that the [`KeyRing`] lacks.
#[derive(Debug, Clone)]
pub enum KeyRequest {
    /// The provider's key set, or a newer one: see [`Scheme::jwks_url`](crate::Scheme::jwks_url).
    KeySet,
    /// A certificate, a key, or a visit to a URL.
    Fetch(Fetch),
    /// The learned secret, from the store that all instances share.
    LearnedSecret,
}

/// Fetch of a key or certificate, or a visit to a URL, before a delivery can be verified.
#[derive(Debug, Clone)]
pub struct Fetch {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) body: Option<Secret>,
    pub(crate) what: What,
}

/// Kind of a [`Fetch`].
#[derive(Debug, Clone)]
pub(crate) enum What {
    Certificate,
    /// In JSON at a pointer, or in PEM.
    Key(Option<JsonPointer>),
    Visit,
}

impl Fetch {
    /// Returns the name under which a ring keeps the response.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the JSON to post; None for a GET. The JSON may hold a secret: do not log it.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_ref().map(Secret::expose)
    }

    /// Returns the kind of the fetch in a word, for logs. Do not log the URL, which may hold a
    /// token.
    pub fn what(&self) -> &'static str {
        match self.what {
            What::Certificate => "certificate",
            What::Key(_) => "key",
            What::Visit => "visit",
        }
    }

    /// Returns the digest of the URL, so that a stored key can be matched with its origin.
    pub fn place(&self) -> [u8; 32] {
        Sha256::digest(&self.url).into()
    }

    /// Returns `true` if the response can change, so that a stored one must be refreshed.
    pub fn expires(&self) -> bool {
        !matches!(self.what, What::Visit)
    }

    /// Returns a fetch of a key by this name, without a URL.
    #[cfg(any(test, feature = "testing"))]
    pub fn of_key(name: &str) -> Self {
        Self {
            name: name.into(),
            url: String::new(),
            body: None,
            what: What::Key(None),
        }
    }

    fn read(&self, answer: &[u8]) -> Result<Fetched, String> {
        match &self.what {
            What::Visit => Ok(Fetched::Visited),
            What::Certificate => Certificate::parse(answer).map(Fetched::Certificate),
            What::Key(None) => {
                let mut keys = JwkSet::default();
                keys.add_pasted(answer).map(|()| Fetched::Key(keys))
            }
            What::Key(Some(at)) => {
                let json: serde_json::Value =
                    serde_json::from_slice(answer).map_err(|error| format!("not JSON: {error}"))?;
                let key = at.get(&json).ok_or_else(|| format!("no key at {at}"))?;
                JwkSet::parse(&serde_json::json!({ "keys": [key] }).to_string()).map(Fetched::Key)
            }
        }
    }
}

/// Parsed response to a fetch.
#[derive(Debug)]
pub(crate) enum Fetched {
    Certificate(Certificate),
    Key(JwkSet),
    Visited,
}

/// Snapshot and time that a check decides by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckInputs<'k> {
    pub(crate) keys: &'k KeyRing,
    pub(crate) now: UnixMillis,
}

/// End of a check that proved nothing.
#[derive(Debug)]
pub(crate) enum Unproven {
    Refused(Refusal),
    /// The key that decides is not in the ring.
    Needs(Box<KeyRequest>),
}

impl Unproven {
    pub(crate) fn needs(request: KeyRequest) -> Self {
        Self::Needs(Box::new(request))
    }
}

impl From<Refusal> for Unproven {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
