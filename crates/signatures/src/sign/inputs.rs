//! Inputs and results of signing.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use crate::UnixMillis;
use crate::compile::SchemeError;

/// Inputs of a signed request.
#[derive(Debug, Clone)]
pub struct SignInputs {
    /// Body to send. A signature or time that belongs into the body is added.
    pub body: Bytes,
    /// Id of the event, for schemes with the id outside of the body.
    pub id: String,
    /// Type of the event, for schemes with the type outside of the body.
    pub event_type: String,
    /// Time of signing.
    pub at: UnixMillis,
    /// Position of the secret that signs.
    pub secret: usize,
    /// Private key in PKCS#8, for schemes with a public key.
    pub private_key: Option<Vec<u8>>,
}

/// Signed request, ready to send.
#[derive(Debug, Clone)]
pub struct SignedRequest {
    /// HTTP method.
    pub method: Method,
    /// Query to append to the source's URL, without `?`. Empty for most providers.
    pub query: String,
    /// Headers to send.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body to send.
    pub body: Bytes,
}

/// Reason for which a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The source's scheme does not compile.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Scheme(Vec<SchemeError>),
    /// The provider's private key is missing.
    #[error("no private key is given, and this provider signs with one")]
    PrivateKey,
    /// The body cannot hold the signature, the time or the id.
    #[error("{0}")]
    Body(String),
}

/// Method and headers that the sender decides. The event's id and type are in these headers, not in
/// [`SignInputs`].
#[derive(Debug, Default)]
pub struct Sender {
    /// HTTP method; the first of the scheme if None.
    pub method: Option<Method>,
    /// Headers of the event.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}
