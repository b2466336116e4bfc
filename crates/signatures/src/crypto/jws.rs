//! Algorithms of JSON Web Signatures (RFC 7518).

use serde::Deserialize;

use crate::crypto::mac::HashName;

/// JWS algorithms, by their registered names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "their registered names")]
pub enum JwtAlg {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl JwtAlg {
    /// The hash of a symmetric algorithm.
    pub(crate) fn hash(self) -> Option<HashName> {
        match self {
            Self::HS256 => Some(HashName::Sha256),
            Self::HS384 => Some(HashName::Sha384),
            Self::HS512 => Some(HashName::Sha512),
            _ => None,
        }
    }
}
