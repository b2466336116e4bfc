//! Warnings about a scheme that compiles.

use super::source_key::SourceKey;
use crate::language::words::OldWord;

/// Warning about a source's scheme or keys, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemeWarning {
    /// `kind = "none"`.
    #[error("nothing is verified: anybody who knows the URL can send events")]
    Unverified,
    /// The signature covers the headers only.
    #[error(
        "the signature does not cover the body: the sender is proven, but a changed body is not noticed"
    )]
    BodyNotCovered,
    /// The signature covers some values of the body.
    #[error("the signature covers only a part of the body: trust nothing else in the body")]
    BodyPartlyCovered,
    /// The signature covers a checksum that a forger can keep.
    #[error(
        "only a checksum of the body is signed: anybody who has a delivery can change its body unnoticed"
    )]
    BodyByChecksum,
    /// The signature does not cover the event's id.
    #[error(
        "the id is not signed: another body under a known id is published with a mark, and so are equal bytes under another id"
    )]
    IdNotCovered,
    /// The signature does not cover the event's type, and events are routed by type.
    #[error(
        "the event's type is not signed: anybody who has a delivery can change its type, so do not trust routing by {{type}}"
    )]
    TypeNotCovered,
    /// The preset was recalled from memory.
    #[error(
        "unconfirmed: this preset was not read in the provider's own code or documentation; try it with a real delivery"
    )]
    Unconfirmed,
    /// The source lacks parameters of a handshake.
    #[error("{key} is off, and such a request of the provider is refused: {missing}")]
    HandshakeOff {
        /// Key of the handshake.
        key: SourceKey,
        /// Missing parameters.
        missing: String,
    },
    /// A secret is probably not the signing secret.
    #[error("{key} {hint}")]
    OddSecret {
        /// Key of the secret.
        key: SourceKey,
        /// Reason, without the secret.
        hint: String,
    },
    /// The scheme uses a word of the release before.
    #[error("scheme.{0}, since the next release refuses the old one")]
    OldWord(OldWord),
}
