//! Schema of JSON Web Tokens.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::defaults::sha256;
pub use crate::crypto::jws::JwtAlg;
use crate::crypto::mac::{Encoding, HashName};
use crate::language::syntax::{
    ClaimName, Expected, JsonPointer, KeyApiUrl, KeyApiValue, MessageText, RequiredClaim,
    TokenPlace,
};

/// A JSON Web Token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSpec {
    /// Place of the token: `header:NAME`, `body` or `json:/pointer`.
    pub from: TokenPlace,
    /// Text that must stand in front of the token.
    #[serde(default)]
    pub prefix: String,
    /// Template of the message of a detached signature (RFC 7515, appendix F). Such a token has
    /// nothing between its dots.
    pub detached: Option<MessageText>,
    /// Members that the signer adds to the token's header.
    #[serde(default)]
    pub send_header: BTreeMap<String, String>,
    /// Accepted JWS algorithms.
    pub algorithms: Vec<JwtAlg>,
    /// Allowed difference of clocks, in seconds.
    #[serde(default)]
    pub leeway_secs: u64,
    /// Names of claims that a token must have.
    #[serde(default)]
    pub required_claims: Vec<RequiredClaim>,
    /// Claims and their expected values. A name that starts with `/` is a JSON pointer. `|`
    /// separates alternative pointers; one of them must match.
    #[serde(default)]
    pub claims: BTreeMap<ClaimName, Expected>,
    /// Maximum age of a token by its `iat` claim, in seconds.
    pub max_age_secs: Option<u64>,
    /// Claim that holds a digest of the body.
    pub body_digest: Option<JwtDigestSpec>,
    /// Claim that holds a digest of the URL.
    pub url_digest: Option<JwtDigestSpec>,
    /// Default URL of the provider's key set.
    pub jwks_url: Option<String>,
    /// API that returns a public key by its id. If the source has public keys, those are used
    /// instead.
    pub key_api: Option<KeyApiSpec>,
    /// Rule for certificates in the token's `x5c` header. If the source has public keys, those are
    /// used instead.
    pub x5c: Option<X5cSpec>,
}

/// API that returns a provider's public key by its id.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyApiSpec {
    /// URL of the API. `{kid}` stands for the key's id.
    pub url: KeyApiUrl,
    /// JSON to post. If left out, the request is a GET. `{kid}` is the key's id, `{secret}` the
    /// source's secret.
    #[serde(default)]
    pub body: BTreeMap<String, KeyApiValue>,
    /// JSON pointer to the key in the response. If left out, the response is a public key in PEM.
    pub key_pointer: Option<JsonPointer>,
}

impl KeyApiSpec {
    /// Returns `true` if the request to the API holds the source's secret.
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
    /// Pinned root certificate, in PEM.
    pub root_pem: String,
    /// Object identifier of an extension that the signer's certificate must have.
    pub leaf_oid: String,
    /// Object identifier of an extension that the intermediate certificate must have.
    pub intermediate_oid: String,
}

/// Claim that holds a digest of a part of the request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtDigestSpec {
    /// Name of the claim.
    pub claim: String,
    /// Hash function of the digest.
    #[serde(default = "sha256")]
    pub hash: HashName,
    /// Text encoding of the digest.
    #[serde(default)]
    pub encoding: Encoding,
    /// The claim is absent if, and only if, the body is empty.
    #[serde(default)]
    pub absent_if_empty: bool,
}
