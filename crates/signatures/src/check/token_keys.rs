//! Public keys of tokens: from the configuration, from a key set, from an API, or from a
//! certificate in the token.

use crate::crypto::certificate::ChainRule;
use crate::crypto::jwk::JwkSet;
use crate::keys::key_api::KeyApi;
use crate::keys::ring::{CheckInputs, Fetch, Fetched, KeyRequest, Unproven};
use crate::language::spec::JwtAlg;
use crate::refusal::{Reason, Refusal};

/// Public keys that sign the tokens of a source.
#[derive(Debug)]
pub(crate) struct TokenKeys {
    pub(crate) api: Option<KeyApi>,
    pub(crate) chain: Option<ChainRule>,
    /// URL of a key set, which is in the ring once it is fetched.
    pub(crate) url: Option<Box<str>>,
    /// Keys of the configuration.
    pub(crate) set: JwkSet,
}

impl TokenKeys {
    /// Returns the fetch of the key that a token names.
    pub(crate) fn recall(&self, kid: &str) -> Option<Fetch> {
        self.api.as_ref()?.recall(kid)
    }

    /// Returns `true` if one of the keys made this signature.
    pub(crate) fn made(
        &self,
        alg: JwtAlg,
        kid: Option<&str>,
        certificates: impl FnOnce() -> Vec<Vec<u8>>,
        message: &[u8],
        signature: &[u8],
        inputs: CheckInputs<'_>,
    ) -> Result<bool, Unproven> {
        if let Some(chain) = &self.chain {
            let key = chain
                .signer(&certificates(), inputs.now)
                .map_err(|why| Refusal::new(Reason::SignatureMismatch, why))?;
            return Ok(JwkSet::p256(key).verifies(alg, None, message, signature));
        }
        if let Some(api) = &self.api {
            return Ok(match api.key(kid.unwrap_or_default(), inputs.keys)? {
                Fetched::Key(keys) => keys.verifies(alg, kid, message, signature),
                _ => false,
            });
        }
        // A symmetric algorithm is no matter of public keys, whatever set they are in.
        if alg.hash().is_some() {
            return Ok(false);
        }
        let fetched = self.url.as_ref().and_then(|_| inputs.keys.key_set());
        let set = fetched.unwrap_or(&self.set);
        let made = set.verifies(alg, kid, message, signature);
        if !made && self.url.is_some() && !set.knows(kid) {
            return Err(Unproven::needs(KeyRequest::KeySet));
        }
        Ok(made)
    }
}
