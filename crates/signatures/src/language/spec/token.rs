//! Schema of JSON Web Tokens.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::defaults::sha256;
pub use crate::crypto::jws::JwtAlg;
use crate::crypto::mac::{Encoding, HashName};
use crate::language::syntax::{
    ClaimName, Expected, KeyApiUrl, KeyApiValue, MessageText, TokenPlace,
};

/// A JSON Web Token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSpec {
    /// `header:NAME`, `body` or `json:/pointer`.
    pub from: TokenPlace,
    /// Text in front of it, required.
    #[serde(default)]
    pub prefix: String,
    /// Message of a detached signature (RFC 7515, appendix F), as a template; the token then has nothing between its dots.
    pub detached: Option<MessageText>,
    /// Further members that a sender writes into the token's header.
    #[serde(default)]
    pub send_header: BTreeMap<String, String>,
    /// Accepted algorithms.
    pub algorithms: Vec<JwtAlg>,
    /// Allowed difference of clocks, in seconds.
    #[serde(default)]
    pub leeway_secs: u64,
    /// Claims that must be there.
    #[serde(default)]
    pub required_claims: Vec<String>,
    /// Claims and what they must equal. A name that starts with `/` is a JSON pointer, and `|` stands between several of which one must.
    #[serde(default)]
    pub claims: BTreeMap<ClaimName, Expected>,
    /// Largest age by `iat`, in seconds.
    pub max_age_secs: Option<u64>,
    /// The claim that binds the body.
    pub body_digest: Option<JwtDigestSpec>,
    /// The claim that binds the URL.
    pub url_digest: Option<JwtDigestSpec>,
    /// Default URL of the provider's key set.
    pub jwks_url: Option<String>,
    /// API that gives a key by its id. Public keys that the source gives take its place.
    pub key_api: Option<KeyApiSpec>,
    /// The token brings the certificates of its signer. Public keys that the source gives take their place.
    pub x5c: Option<X5cSpec>,
}

/// An API that gives a public key by its id.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyApiSpec {
    /// Its URL, with `{kid}` in it where the key is named there.
    pub url: KeyApiUrl,
    /// JSON to post; a GET if left out. `{kid}` is the key's id and `{secret}` the source's secret.
    #[serde(default)]
    pub body: BTreeMap<String, KeyApiValue>,
    /// JSON pointer to the key in the answer; the answer is a public key in PEM if left out.
    pub key_pointer: Option<String>,
}

impl KeyApiSpec {
    /// Returns `true` if the API is asked with the source's secret.
    pub(crate) fn asks_with_secret(&self) -> bool {
        self.body
            .values()
            .any(|value| *value == KeyApiValue::Secret)
    }
}

/// A chain of exactly three certificates (`x5c` of RFC 7515) up to a pinned root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct X5cSpec {
    /// The root, in PEM.
    pub root_pem: String,
    /// An extension that the signer's certificate must have, as an object identifier.
    pub leaf_oid: String,
    /// An extension that the certificate between must have.
    pub intermediate_oid: String,
}

/// A claim that holds a digest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtDigestSpec {
    /// Its name.
    pub claim: String,
    /// Its hash.
    #[serde(default = "sha256")]
    pub hash: HashName,
    /// Encoding of its bytes.
    #[serde(default)]
    pub encoding: Encoding,
    /// It is absent exactly where there is no body.
    #[serde(default)]
    pub absent_if_empty: bool,
}
