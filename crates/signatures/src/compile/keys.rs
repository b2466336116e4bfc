//! Compiles the keys of a source. Every key must be valid.

use super::compiler::Compiler;
use super::problems::{Reported, all};
use super::{pasted, secret_key};
use crate::Secret;
use crate::crypto::public_key::{KeyKind, PublicKey};
use crate::language::spec::{Kind, UrlPorts};
use crate::request::public_url::PublicUrl;

/// Most secrets, and most public keys, of a source.
const MAX_KEYS: usize = 8;

impl Compiler<'_> {
    /// Returns the keys of the secrets. A secret that was not read gives no key, so that it
    /// verifies nothing.
    pub(super) fn secrets(&mut self) -> Result<Vec<Vec<u8>>, Reported> {
        let source = self.source;
        let given = self.secrets_are_given();
        let few = self.at_most("secrets", source.secrets.len());
        let secrets = source.secrets.iter().enumerate();
        let keys: Vec<_> = secrets
            .filter_map(|(index, secret)| self.secret(index, secret))
            .collect();
        given.and(few)?;
        all(keys)
    }

    /// Returns the key of a secret; None for one that was not read.
    fn secret(&mut self, index: usize, secret: &Secret) -> Option<Result<Vec<u8>, Reported>> {
        let key = format!("secrets[{index}]");
        let odd = pasted::lint(&self.spec.key, self.source.provider.as_deref(), secret);
        self.warnings
            .extend(odd.into_iter().map(|text| format!("{key} {text}")));
        if secret.is_unread() {
            return None;
        }
        let derived = secret_key::derive(&self.spec.key, self.spec.kind, secret.expose());
        Some(self.ok(&key, derived))
    }

    fn at_most(&mut self, key: &str, count: usize) -> Result<(), Reported> {
        if count > MAX_KEYS {
            return Err(self.error(key, format!("more than {MAX_KEYS}")));
        }
        Ok(())
    }

    fn secrets_are_given(&mut self) -> Result<(), Reported> {
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
            _ => return Ok(()),
        };
        Err(self.error(key, text))
    }

    pub(super) fn public_keys(&mut self, kind: KeyKind) -> Result<Vec<PublicKey>, Reported> {
        let source = self.source;
        let given = if source.public_keys.is_empty() {
            let text = "missing: this provider signs with a private key; give the public one as it shows it";
            Err(self.error("public_keys", text))
        } else {
            Ok(())
        };
        let few = self.at_most("public_keys", source.public_keys.len());
        let read = source.public_keys.iter().enumerate();
        let keys: Vec<_> = read
            .filter(|(_, key)| !key.is_unread())
            .map(|(index, pasted)| {
                let stripped = secret_key::strip(&self.spec.key, pasted.expose());
                self.ok(
                    &format!("public_keys[{index}]"),
                    PublicKey::parse(kind, stripped),
                )
            })
            .collect();
        given.and(few)?;
        all(keys)
    }

    /// Succeeds if a source without verification has no keys.
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
