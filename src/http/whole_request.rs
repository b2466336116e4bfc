//! A request as the verifier and the quarantine take it: head and body together.

use actix_http::Request as Head;
use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use super::client_address::client_address;
use super::ingest::Arrival;
use super::service::IngestService;
use crate::domain::outcome::{Outcome, RejectReason};
use crate::domain::request::{Headers, Request};
use crate::quarantine::RefusedRequest;
use crate::source::Source;

/// Returns the request with its headers, which are moved out of `head`.
pub(super) fn whole_request(head: &mut Head, body: Bytes, arrival: Arrival) -> Request {
    let target = head.uri().path_and_query();
    Request {
        method: head.method().clone(),
        target: target.map_or("/", |target| target.as_str()).to_owned(),
        headers: take_headers(head.headers_mut()),
        body,
        received_at: arrival.at,
    }
}

/// Moves the headers out. Values of a repeated name follow each other.
fn take_headers(headers: &mut HeaderMap) -> Headers {
    let mut taken: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(headers.len());
    for (name, value) in headers.drain() {
        if let Some(name) = name.or_else(|| taken.last().map(|(name, _)| name.clone())) {
            taken.push((name, value));
        }
    }
    taken.into()
}

/// Body of a refused delivery.
pub(super) enum RefusedBody {
    /// All of it.
    Whole(Bytes),
    /// The part that was read.
    Cut(Bytes),
}

/// Hands a delivery to the quarantine, if it was refused for good. Its headers are moved out of `head`.
pub(super) fn keep(
    service: &IngestService,
    source: &Source,
    head: &mut Head,
    body: RefusedBody,
    (arrival, outcome): (Arrival, &Outcome),
) {
    let (Outcome::Rejected(rejection), true) = (outcome, service.quarantine.is_on()) else {
        return;
    };
    // There is no body, and a flood would take the room of those that can be mended.
    if rejection.reason == RejectReason::AddressNotAllowed {
        return;
    }
    let (body, is_cut) = match body {
        RefusedBody::Whole(body) => (body, false),
        RefusedBody::Cut(body) => (body, true),
    };
    service.quarantine.keep(RefusedRequest {
        source: source.name.clone(),
        peer: client_address(head, &service.trusted_proxies),
        request: whole_request(head, body, arrival),
        request_id: arrival.id,
        rejection: rejection.clone(),
        is_cut,
    });
}
