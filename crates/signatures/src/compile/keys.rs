//! Keys of a source: each is judged, and none stands in for one that is wrong or was not read.

use super::compiler::{Compiler, Reported};
use super::{pasted, secret_key};
use crate::crypto::public_key::{KeyKind, PublicKey};
use crate::language::spec::{Kind, UrlPorts};
use crate::request::public_url::PublicUrl;

/// Most secrets, and most public keys, of a source.
const MAX_KEYS: usize = 8;

impl Compiler<'_> {
    /// The secrets as keys, all of them long enough. One that was not read gives no key, so that nothing verifies by it.
    pub(super) fn secrets(&mut self) -> Result<Vec<Vec<u8>>, Reported> {
        let before = self.problems.len();
        self.secrets_are_given();
        if self.source.secrets.len() > MAX_KEYS {
            self.error("secrets", format!("more than {MAX_KEYS}"));
        }
        let mut keys = Vec::new();
        for (index, secret) in self.source.secrets.iter().enumerate() {
            let odd = pasted::lint(&self.spec.key, self.source.provider.as_deref(), secret);
            self.warnings.extend(
                odd.into_iter()
                    .map(|text| format!("secrets[{index}] {text}")),
            );
            if secret.is_unread() {
                continue;
            }
            match secret_key::derive(&self.spec.key, self.spec.kind, secret.expose()) {
                Ok(key) => keys.push(key),
                Err(text) => drop(self.error(format!("secrets[{index}]"), text)),
            }
        }
        self.unless_reported(before, keys)
    }

    fn secrets_are_given(&mut self) {
        let hands_over = self
            .spec
            .handshake
            .iter()
            .any(|handshake| handshake.secret_from.is_some());
        let (key, text) = match (
            self.source.secrets.is_empty(),
            self.source.learn_secret,
            hands_over,
        ) {
            (_, true, false) => (
                "learn_secret",
                "this provider hands no secret over: put it into secrets",
            ),
            (false, true, true) => (
                "learn_secret",
                "secrets are given, and a secret that is learned takes their place: one of the two",
            ),
            (true, false, true) => (
                "secrets",
                "missing: put the secret there, or set learn_secret = true to take it from the provider's handshake",
            ),
            (true, false, false) => ("secrets", "missing: this provider needs at least one"),
            _ => return,
        };
        self.error(key, text);
    }

    pub(super) fn public_keys(&mut self, kind: KeyKind) -> Result<Vec<PublicKey>, Reported> {
        let before = self.problems.len();
        if self.source.public_keys.is_empty() {
            self.error("public_keys", "missing: this provider signs with a private key; give the public one as it shows it");
        }
        if self.source.public_keys.len() > MAX_KEYS {
            self.error("public_keys", format!("more than {MAX_KEYS}"));
        }
        let mut keys = Vec::new();
        for (index, pasted) in self
            .source
            .public_keys
            .iter()
            .enumerate()
            .filter(|(_, key)| !key.is_unread())
        {
            let stripped = secret_key::strip(&self.spec.key, pasted.expose());
            match PublicKey::parse(kind, stripped) {
                Ok(key) => keys.push(key),
                Err(text) => drop(self.error(format!("public_keys[{index}]"), text)),
            }
        }
        self.unless_reported(before, keys)
    }

    /// A source that verifies nothing: only where it is said, and no key is given.
    pub(super) fn unverified(&mut self) -> Result<(), Reported> {
        debug_assert!(self.spec.kind == Kind::None);
        if self.source.secrets.is_empty()
            && self.source.public_keys.is_empty()
            && self.source.jwks.is_none()
        {
            return Ok(());
        }
        Err(self.error(
            "provider",
            "\"none\" verifies nothing, but a key is given; name the provider, or remove the key",
        ))
    }

    pub(super) fn url(&mut self) -> Result<Option<PublicUrl>, Reported> {
        let Some(text) = self.source.public_url.as_deref() else {
            return Ok(None);
        };
        let both = self.spec.url_ports == UrlPorts::Both;
        self.ok("public_url", PublicUrl::parse(text, both))
            .map(Some)
    }
}
