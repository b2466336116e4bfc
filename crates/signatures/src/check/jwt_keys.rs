//! The public keys of tokens: given in the configuration, fetched as a set and replaced from time to time, asked for by their id, or brought
//! along under a certificate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::UnixMillis;
use crate::compile::Compiler;
use crate::crypto::certificate::ChainRule;
use crate::crypto::jwk::JwkSet;
use crate::keys::fetch::{Fetched, KeyApi};
use crate::language::spec::{JwtAlg, JwtSpec};
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
    pub(crate) fn compile(c: &mut Compiler<'_>, spec: &JwtSpec, needed: bool) -> Option<Self> {
        let mut set = JwkSet::default();
        let mut url = None;
        let mut given = false;
        for (index, pasted) in c.source.public_keys.iter().enumerate() {
            given = true;
            if let Err(text) = set.add_pasted(pasted.expose()) {
                c.error(format!("public_keys[{index}]"), text);
            }
        }
        match c
            .source
            .jwks
            .as_deref()
            .or(spec.jwks.as_deref().filter(|_| needed && !given))
        {
            None => {}
            Some(document) if document.trim_start().starts_with('{') => {
                given = true;
                match JwkSet::parse(document) {
                    Ok(parsed) => set = parsed,
                    Err(text) => c.error("jwks", text),
                }
            }
            Some(text) if text.starts_with("https://") || is_local(text) => {
                given = true;
                url = Some(text.into());
            }
            Some(_) => c.error(
                "jwks",
                "the https:// URL of a key set, or the key set itself",
            ),
        }
        let mut api = None;
        if let Some(spec) = spec.key_api.as_ref().filter(|_| needed && !given) {
            given = true;
            let secret = if spec.body.values().any(|text| text == "{secret}") {
                if c.source.secrets.len() != 1 {
                    c.error("secrets", "one: the secret of the provider's API, which gives the keys (or give public_keys)");
                }
                c.source.secrets.first().cloned()
            } else {
                None
            };
            match KeyApi::compile(spec, secret, &c.params, c.shelf.clone()) {
                Ok(compiled)
                    if compiled.url().starts_with("https://") || is_local(compiled.url()) =>
                {
                    api = Some(compiled)
                }
                Ok(_) => c.error("scheme.jwt.key_api.url", "starts with https://"),
                Err(text) => c.error("scheme.jwt.key_api", text),
            }
        }
        let mut chain = None;
        if let Some(spec) = spec.x5c.as_ref().filter(|_| needed && !given) {
            given = true;
            chain = ChainRule::compile(spec)
                .map_err(|text| c.error("scheme.jwt.x5c", text))
                .ok();
        }
        if needed && !given {
            c.error(
                "public_keys",
                "missing: this provider signs with a private key; give the public one, or jwks",
            );
        }
        Some(Self {
            api,
            chain,
            url,
            set: RwLock::new(Arc::new(set)),
            wanted: AtomicBool::new(false),
        })
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

/// A key set on this very machine may come without TLS: anywhere else, whoever is on the way could put his keys into it.
fn is_local(url: &str) -> bool {
    let host = url::Url::parse(url)
        .ok()
        .filter(|url| url.scheme() == "http")
        .and_then(|url| url.host().map(|host| host.to_owned()));
    match host {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
