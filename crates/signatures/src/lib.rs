//! Verifies and signs the webhooks of 249 providers, without I/O, clock or async runtime.
//!
//! The rules of a provider are a *scheme*: a table of data, not code. [`presets`] has the built-in
//! schemes, and [`spec`] is the schema for schemes of your own.
//!
//! | step | function | when |
//! |---|---|---|
//! | compile a scheme with the keys of a source | [`Scheme::compile`] | once for each source |
//! | verify a request, and read its events | [`verify()`] | for each request |
//! | sign a request as a provider does | [`sign::sign`] | in tests |
//!
//! # Verify a delivery of Stripe
//!
//! ```
//! use hookweir_signatures::{KeyRing, Request, Scheme, Secret, SourceSpec, UnixMillis, Verdict, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source = SourceSpec {
//!     secrets: vec![Secret::new(*b"whsec_0123456789abcdef0123456789abcdef")],
//!     ..SourceSpec::of("stripe")
//! };
//! let scheme = Scheme::compile(&source, 1000).map_err(|errors| errors[0].clone())?;
//!
//! let signature = "t=1750000000,v1=b9b2648f8db255c53a08fd5d392b85cf7297218b8baa6378a27881053586afc9";
//! let request = Request {
//!     method: http::Method::POST,
//!     target: "/webhooks/stripe".into(),
//!     headers: vec![("stripe-signature".parse()?, signature.parse()?)].into(),
//!     body: r#"{"id":"evt_1","type":"charge.refunded"}"#.into(),
//!     received_at: UnixMillis(1_750_000_001_000),
//! };
//! let Verdict::Events(verified) = verify(&scheme, &KeyRing::EMPTY, &request, request.received_at)? else {
//!     return Err("a handshake".into());
//! };
//! let event = &verified.into_events()[0];
//! assert_eq!(event.id(), Some("evt_1"));
//! assert_eq!(event.event_type.as_deref(), Some("charge.refunded"));
//! # Ok(())
//! # }
//! ```
//!
//! # Sign a delivery as GitHub does
//!
//! ```
//! use hookweir_signatures::sign::{SignInputs, sign};
//! use hookweir_signatures::{Secret, SourceSpec, UnixMillis};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source = SourceSpec {
//!     secrets: vec![Secret::new(*b"It's a Secret to Everybody")],
//!     ..SourceSpec::of("github")
//! };
//! let inputs = SignInputs {
//!     body: "Hello, World!".into(),
//!     id: "72d3162e-cc78-11e3-81ab-4c9367dc0958".into(),
//!     event_type: "issues".into(),
//!     at: UnixMillis(1_750_000_000_000),
//!     secret: 0,
//!     private_key: None,
//! };
//! let signed = sign(&source, &inputs)?;
//! let (_, signature) = signed
//!     .headers
//!     .iter()
//!     .find(|(name, _)| name == "x-hub-signature-256")
//!     .ok_or("no signature")?;
//! // The value in GitHub's documentation.
//! assert_eq!(
//!     signature,
//!     "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # Rules for every scheme
//!
//! - The bytes of the request are verified before anything else is read from them.
//! - Header text is taken as sent. A signed header that occurs twice is refused.
//! - Digests are compared decoded, and in constant time.
//! - A request is refused if a signed part is absent. An absent JSON value counts as empty.
//! - An empty or undecodable signature is ignored. If none is left, the request is refused.
//!
//! # Keys that a request names
//!
//! Some providers sign with keys that must be fetched. [`verify()`] then returns
//! [`Verdict::NeedsKeys`]. Fetch the keys, add them to the source's [`KeyRing`], and verify again.

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
pub use json_pointers::ScalarPath;
pub use keys::learning::another_secret;
pub use keys::ring::{Fetch, KeyRequest, KeyRing};
pub use language::key_path::KeyPath;
pub use language::words::OldWord;
pub use language::{presets, spec, syntax};
pub use nearest::nearest;
pub use refusal::{Answer, Reason, Refusal};
pub use request::{Headers, Request};
pub use scheme::{Answers, Facts, Scheme, SchemeWarning, SourceKey};
pub use secret::Secret;
pub use source::SourceSpec;
pub use time::UnixMillis;
pub use verify::{Verdict, verify, vouched_for};
