//! Inputs and results of signing.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use crate::UnixMillis;
use crate::compile::SchemeError;

/// Inputs that a sender decides.
#[derive(Debug, Clone)]
pub struct SignInputs {
    /// The body, as it goes out, but for a signature or time that belongs into it.
    pub body: Bytes,
    /// The event's id, for schemes that have it outside of the body.
    pub id: String,
    /// The event's type, for schemes that have it outside of the body.
    pub event_type: String,
    /// Time of signing.
    pub at: UnixMillis,
    /// Position of the secret that signs.
    pub secret: usize,
    /// PKCS#8 of the key that signs, for schemes with a public key.
    pub private_key: Option<Vec<u8>>,
}

/// A request that is ready to be sent.
#[derive(Debug, Clone)]
pub struct SignedRequest {
    /// Its method.
    pub method: Method,
    /// The query to append to the source's URL, without `?`; empty for most.
    pub query: String,
    /// Its headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The source's scheme does not compile.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Scheme(Vec<SchemeError>),
    /// The provider's private key would be needed.
    #[error("this provider signs with a private key, and none is given")]
    PrivateKey,
    /// The body does not take what belongs into it.
    #[error("{0}")]
    Body(String),
}

/// Everything of a request that the sender decides besides body and time: the event's id and type are in these headers and nowhere else.
#[derive(Debug, Default)]
pub struct Sender {
    /// The method, where it is not the scheme's first.
    pub method: Option<Method>,
    /// The headers of the event.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}
