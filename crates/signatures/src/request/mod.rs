//! A request as the verifier sees it: what came off the wire, unparsed.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use crate::UnixMillis;

pub(crate) mod encrypted;
pub(crate) mod form;
pub(crate) mod gunzip;
pub(crate) mod multipart;
pub(crate) mod public_url;
pub(crate) mod view;

/// HTTP request to a source, with its whole body.
#[derive(Clone)]
pub struct Request {
    /// HTTP method. GET and HEAD occur in handshakes.
    pub method: Method,
    /// Path and query as sent, not normalised: `/ingest/twilio?x=%41`.
    pub target: String,
    /// Headers, including repeated ones.
    pub headers: Headers,
    /// Raw bytes of the body, before any decoding.
    pub body: Bytes,
    /// Time at which the request's head was read. The age of a signature is measured at this time.
    pub received_at: UnixMillis,
}

/// Shows no header, no query and no body: one of them may hold a secret.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        let (headers, bytes) = (self.headers.iter().count(), self.body.len());
        write!(
            f,
            "Request({} {path}, {headers} headers, {bytes} bytes)",
            self.method
        )
    }
}

impl Request {
    /// Returns the query of a GET without a body, which is then the content of the delivery.
    #[inline]
    pub fn content_in_query(&self) -> Option<&str> {
        let query = || self.target.split_once('?').map_or("", |(_, query)| query);
        (self.method == Method::GET && self.body.is_empty()).then(query)
    }
}

/// Headers of a request, in the order of arrival. Names are compared without case.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Returns every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> + 'a {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value)
    }

    /// Returns the first value of `name`.
    #[inline]
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value)
    }

    /// Returns all headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

impl From<Vec<(HeaderName, HeaderValue)>> for Headers {
    fn from(headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self(headers)
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}
