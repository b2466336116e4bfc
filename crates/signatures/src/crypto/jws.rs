//! Algorithms of JSON Web Signatures (RFC 7518).

use serde::Deserialize;

use crate::crypto::mac::HashName;

/// JWS algorithms (RFC 7518), by their registered names.
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
    /// Returns the registered name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Returns the hash of a symmetric algorithm.
    pub(crate) fn hash(self) -> Option<HashName> {
        match self {
            Self::HS256 => Some(HashName::Sha256),
            Self::HS384 => Some(HashName::Sha384),
            Self::HS512 => Some(HashName::Sha512),
            _ => None,
        }
    }
}
