//! Verification: who sent this, when, and which event is it. Pure: no actix, tokio, database or clock; time comes in as an argument.
//!
//! A scheme is data. [`spec`] has the words in which it is written (a preset of [`presets`], or an operator's own table),
//! [`Scheme::compile`] turns them and the keys of a source into a [`Scheme`], and [`verify`] is the only place that makes a [`VerifiedEvents`].
//!
//! What holds for every scheme: the bytes that came off the wire are verified before they are read for anything else; header text is
//! taken as sent; digests are compared decoded and in constant time; what is signed and absent refuses; an empty or undecodable candidate
//! is dropped, and none left refuses; any candidate may match, but one message is computed.

mod check;
mod compile;
mod crypto;
mod docs;
mod identity;
mod json_pointers;
mod keys;
mod language;
mod nearest;
mod refusal;
mod request;
mod scheme;
mod secret;
pub mod sign;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod verify;

#[cfg(test)]
mod tests;

pub use compile::{SchemeError, params_of, spec_of};
pub use crypto::jwk::JwkSet;
pub use docs::reference;
pub use identity::{BodyDigest, IdClass, Identity, SignedMessage, VerifiedEvent, VerifiedEvents};
pub use keys::learning::another_secret;
pub use keys::ring::{Fetch, KeyRequest, KeyRing};
pub use language::{presets, spec, syntax};
pub use nearest::nearest;
pub use refusal::{Answer, Reason, Refusal};
pub use request::{Headers, Request};
pub use scheme::{Answers, Facts, Scheme};
pub use secret::Secret;
pub use source::SourceSpec;
pub use time::UnixMillis;
pub use verify::{Verdict, verify};
