//! Compiles the keys of a source. Every key must be valid.

use super::compiler::Compiler;
use super::problems::{Reported, all};
use super::{pasted, secret_key};
use crate::Secret;
use crate::crypto::public_key::{KeyKind, PublicKey};
use crate::language::spec::{Kind, UrlPorts};
use crate::request::public_url::PublicUrl;
use crate::scheme::SchemeWarning;
use crate::scheme::SourceKey;

/// Most secrets, and most public keys, of a source.
const MAX_KEYS: usize = 8;

impl Compiler<'_> {
    /// Returns the keys of the secrets. A secret that was not read gives no key, so that it
    /// verifies nothing.
    pub(super) fn secrets(&mut self) -> Result<Vec<Vec<u8>>, Reported> {
        let source = self.source;
        let given = self.secrets_are_given();
        let few = self.at_most(SourceKey::Secrets(None), source.secrets.len());
        let secrets = source.secrets.iter().enumerate();
        let keys: Vec<_> = secrets
            .filter_map(|(index, secret)| self.secret(index, secret))
            .collect();
        given.and(few)?;
        all(keys)
    }

    /// Returns the key of a secret; None for one that was not read.
    fn secret(&mut self, index: usize, secret: &Secret) -> Option<Result<Vec<u8>, Reported>> {
        let key = SourceKey::Secrets(Some(index));
        let odd = pasted::lint(&self.spec.key, secret);
        let warning = |hint| SchemeWarning::OddSecret {
            key: key.clone(),
            hint,
        };
        self.warnings.extend(odd.into_iter().map(warning));
        if secret.is_unread() {
            return None;
        }
        let derived = secret_key::derive(&self.spec.key, self.spec.kind, secret.expose());
        Some(self.ok(&key, derived))
    }

    fn at_most(&mut self, key: SourceKey, count: usize) -> Result<(), Reported> {
        if count > MAX_KEYS {
            return Err(self.error(
                key,
                format!("{count} are given, and at most {MAX_KEYS} are used; remove the oldest"),
            ));
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
                SourceKey::LearnSecret,
                "this provider hands over no secret in a handshake; remove learn_secret, and put the secret into secrets",
            ),
            (false, true, true) => (
                SourceKey::LearnSecret,
                "secrets are given too, and a learned secret would replace them; remove one of the two",
            ),
            (true, false, true) => (
                SourceKey::Secrets(None),
                "missing; give the secret, or set learn_secret = true to take it from the provider's handshake",
            ),
            (true, false, false) => (
                SourceKey::Secrets(None),
                "missing; this provider signs with a secret, so give at least one",
            ),
            _ => return Ok(()),
        };
        Err(self.error(key, text))
    }

    pub(super) fn public_keys(&mut self, kind: KeyKind) -> Result<Vec<PublicKey>, Reported> {
        let source = self.source;
        let given = if source.public_keys.is_empty() {
            let text = "missing; this provider signs with a private key, so give its public key as the provider shows it";
            Err(self.error(SourceKey::PublicKeys(None), text))
        } else {
            Ok(())
        };
        let few = self.at_most(SourceKey::PublicKeys(None), source.public_keys.len());
        let read = source.public_keys.iter().enumerate();
        let keys: Vec<_> = read
            .filter(|(_, key)| !key.is_unread())
            .map(|(index, pasted)| {
                let stripped = secret_key::strip(&self.spec.key, pasted.expose());
                self.ok(
                    &SourceKey::PublicKeys(Some(index)),
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
            SourceKey::Provider,
            "\"none\" verifies nothing, but a key is given; name the provider, or remove the key",
        ))
    }

    pub(super) fn url(&mut self) -> Result<Option<PublicUrl>, Reported> {
        let Some(text) = self.source.public_url.as_deref() else {
            return Ok(None);
        };
        let both = self.spec.url_ports == UrlPorts::Both;
        self.ok(&SourceKey::PublicUrl, PublicUrl::parse(text, both))
            .map(Some)
    }
}
