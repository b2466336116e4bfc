//! A request as the verifier sees it: what came off the wire, unparsed.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use crate::UnixMillis;

pub(crate) mod encrypted;
pub(crate) mod form;
pub(crate) mod gunzip;
pub(crate) mod multipart;
pub(crate) mod public_url;
pub(crate) mod view;

/// One HTTP request to a source, whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// As sent. GET and HEAD occur in handshakes.
    pub method: Method,
    /// Path and query as sent, not normalised: `/ingest/twilio?x=%41`.
    pub target: String,
    /// All headers, repeated ones kept.
    pub headers: Headers,
    /// The raw bytes, before any decoding.
    pub body: Bytes,
    /// Time at which the head had been read. The age of a signature is counted to this, not to its verification.
    pub received_at: UnixMillis,
}

impl Request {
    /// The query of a GET without a body: all that such a delivery says.
    #[inline]
    pub fn content_in_query(&self) -> Option<&str> {
        let query = || self.target.split_once('?').map_or("", |(_, query)| query);
        (self.method == Method::GET && self.body.is_empty()).then(query)
    }
}

/// Headers; the values of a repeated name are in the order in which they came. Names compare without case.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> + 'a {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value)
    }

    /// The first value of `name`.
    #[inline]
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value)
    }

    /// All of them, in order.
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
