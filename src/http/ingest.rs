//! `POST /ingest/{path}`: the way of one request from its head to its answer.

use std::borrow::Cow;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_http::body::BoxBody;
use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_http::{Method, Request as Head, RequestHead, Response, Uri};
use percent_encoding::percent_decode_str;

use super::answer::{self, Content, Problem, Reply};
use super::body::{self, Fault, Pace, Size};
use super::connection::{InHand, Progress};
use super::{Desk, Edge};
use crate::domain::delivery::{UnixMillis, wall_clock};
use crate::domain::outcome::{Outcome, RejectReason, Rejection, ShedReason};
use crate::domain::request::{Headers, Request};
use crate::faults::failpoint::failpoint;
use crate::in_flight::{self, Kind, RequestId, Ticket};
use crate::source::Source;
use crate::telemetry::logs;
use crate::verify::Received;

/// Where sources are.
const PREFIX: &str = "/ingest/";

/// A refused body of at most this length is read to its end, so that its sender's connection survives the refusal.
const SKIP: usize = 64 * 1024;

/// When and as what a request came in.
#[derive(Clone, Copy)]
struct Arrival {
    id: RequestId,
    at: UnixMillis,
    instant: Instant,
}

impl Arrival {
    fn now() -> Self {
        Self {
            id: RequestId::next(),
            at: wall_clock(),
            instant: Instant::now(),
        }
    }
}

/// Answers any request on the ingest listener.
pub(super) async fn handle(
    mut head: Head,
    desk: Rc<Desk>,
) -> Result<Response<Content>, Infallible> {
    let (arrival, edge) = (Arrival::now(), &*desk.edge);
    let mut in_hand = Progress::of(&head).begin();
    if !has_body(head.head().headers()) {
        in_hand.set_whole();
    }
    let mut payload = head.take_payload();
    let reply = match source_at(edge, head.path()) {
        None => no_source(edge, &head, arrival),
        Some(source) => match purpose(source, head.head(), head.uri()) {
            Purpose::Delivery => {
                deliver(
                    source,
                    &mut head,
                    &mut payload,
                    &desk,
                    arrival,
                    &mut in_hand,
                )
                .await
            }
            Purpose::Visit => answer::greeting(),
            Purpose::Options => answer::options(source),
            Purpose::NotAllowed => {
                logs::method_not_allowed(&source.name, arrival.id, head.method());
                answer::method_not_allowed(source)
            }
        },
    };
    let unread = (!in_hand.is_whole()).then_some(payload);
    Ok(reply.into_response(edge, arrival.id, unread))
}

/// The purpose of a request to a source, by its head.
enum Purpose {
    /// A delivery or a handshake: for the verifier.
    Delivery,
    /// A person with a browser, or a provider's "test" button.
    Visit,
    Options,
    NotAllowed,
}

/// A request with the scheme's signature is never greeted: 200 would tell its sender that the event was taken.
fn purpose(source: &Source, head: &RequestHead, uri: &Uri) -> Purpose {
    let visits = matches!(head.method, Method::GET | Method::HEAD);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let proof = || {
        source
            .scheme
            .carries_proof(|name| head.headers().contains_key(name), target)
    };
    if source.scheme.has_handshake(&head.method)
        || source.scheme.answers_method(&head.method) && (!visits || proof())
    {
        return Purpose::Delivery;
    }
    match head.method {
        Method::OPTIONS => Purpose::Options,
        _ if visits && !proof() => Purpose::Visit,
        _ => Purpose::NotAllowed,
    }
}

/// Whether a client that waits for "100 Continue" shall send its body: not if it would be refused for what its head says.
pub(super) fn before_continue(head: Head, edge: &Edge) -> Result<Head, Response<BoxBody>> {
    let arrival = Arrival::now();
    let reply = match source_at(edge, head.path()) {
        None => no_source(edge, &head, arrival),
        Some(source) => match admissible(source, head.head().headers(), edge) {
            Ok(_) => return Ok(head),
            Err(refusal) => turn_away(source, edge, arrival, &refusal),
        },
    };
    drop(Progress::of(&head).begin());
    Err(reply
        .into_response(edge, arrival.id, None)
        .map_into_boxed_body())
}

fn no_source(edge: &Edge, head: &Head, arrival: Arrival) -> Reply {
    let nearest = || {
        edge.sources
            .nearest(head.path().strip_prefix(PREFIX).unwrap_or(head.path()))
    };
    logs::no_source(arrival.id, head.method(), head.path(), nearest);
    Reply::problem(Problem::NOT_FOUND)
}

fn has_body(headers: &HeaderMap) -> bool {
    // A body without either (CONNECT, Upgrade) is none of ours; actix closes such a connection by itself.
    headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| length != "0")
        || headers.contains_key(header::TRANSFER_ENCODING)
}

/// The source at a request's path, as sent or with its percent-encoding undone.
fn source_at<'e>(edge: &'e Edge, path: &str) -> Option<&'e Arc<Source>> {
    let path = path.strip_prefix(PREFIX)?;
    edge.sources
        .at(path)
        .or_else(|| match percent_decode_str(path).decode_utf8().ok()? {
            Cow::Borrowed(_) => None,
            Cow::Owned(decoded) => edge.sources.at(&decoded),
        })
}

/// A request that goes through the verifier: a delivery or a handshake.
async fn deliver(
    source: &Arc<Source>,
    head: &mut Head,
    payload: &mut actix_http::Payload,
    desk: &Desk,
    arrival: Arrival,
    in_hand: &mut InHand,
) -> Reply {
    let edge = &*desk.edge;
    let pace = |declared| {
        Pace::new(
            arrival.instant,
            source.upload,
            edge.limits.min_body_bytes_per_sec,
            declared,
        )
    };
    let declared = match admissible(source, head.head().headers(), edge) {
        Ok(declared) => declared,
        Err(refusal) => {
            let reply = turn_away(source, edge, arrival, &refusal);
            if matches!(refusal, Outcome::Shed(_)) && body::skip(payload, SKIP, pace(None)).await {
                in_hand.set_whole();
            }
            return reply;
        }
    };

    let permit = edge.budget.empty_permit(Some(source.share.clone()));
    let latest = arrival.instant + source.upload + source.deadline;
    let (mut ticket, outcome) = Ticket::new(
        permit,
        source.metrics.clone(),
        arrival.id,
        arrival.instant,
        latest,
    );
    let refuse = |ticket: Ticket, refusal: Outcome| {
        let reply = answer::of(&refusal, source, edge, arrival.id);
        ticket.resolve(refusal);
        reply
    };
    let size = Size {
        declared,
        limit: source.max_body_bytes,
        usual: source.usual_body_bytes,
    };
    let body = match body::read(payload, size, pace(declared), ticket.permit()).await {
        Ok(body) => body,
        // The ticket's drop says that the client disconnected. Nobody reads this answer.
        Err(Fault::Gone) => return Reply::problem(Problem::BAD_REQUEST),
        Err(fault) => return refuse(ticket, refusal(fault)),
    };
    in_hand.set_whole();
    // The upload has a bound of its own. From here on it is for us that the sender waits.
    let deadline = Instant::now() + source.deadline;
    ticket.request_is_complete(deadline);
    failpoint!("http_admitted");
    if let Err(outcome) = room_for(source, &body, &mut ticket) {
        return refuse(ticket, outcome);
    }

    let request = Request {
        method: head.method().clone(),
        target: head
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned(),
        headers: take_headers(head.headers_mut()),
        body,
        received_at: arrival.at,
    };
    desk.pass_on(Received {
        source: source.clone(),
        request,
        ticket,
    });
    failpoint!("http_handed_over");
    match tokio::time::timeout_at(deadline.into(), outcome).await {
        Ok(Ok(outcome)) => {
            if matches!(
                outcome,
                Outcome::Accepted { .. } | Outcome::Duplicate { .. }
            ) {
                in_hand.set_trusted();
            }
            answer::of(&outcome, source, edge, arrival.id)
        }
        // At the deadline the outcome is not known yet; it is counted when it is. A ticket never drops its reply without an outcome.
        Ok(Err(_)) | Err(_) => answer::unavailable(source, edge, arrival.id),
    }
}

/// Takes a whole request's place among those in hand, and room for what verifying makes of its body: before it is made, whoever sent it.
fn room_for(source: &Source, body: &[u8], ticket: &mut Ticket) -> Result<(), Outcome> {
    if let Some(plain) = source.scheme.unpacked_len(body) {
        if plain > source.max_body_bytes {
            return Err(reject(
                RejectReason::BodyTooLarge,
                "the body is larger than the source's max_body_bytes when decompressed",
            ));
        }
        ticket
            .permit()
            .grow(plain, Kind::of(plain, source.usual_body_bytes, true))
            .map_err(Outcome::Shed)?;
    }
    ticket.permit().count_one().map_err(Outcome::Shed)
}

/// The headers, moved and not copied; the values of a name that is repeated follow each other.
fn take_headers(headers: &mut HeaderMap) -> Headers {
    let mut taken: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(headers.len());
    for (name, value) in headers.drain() {
        if let Some(name) = name.or_else(|| taken.last().map(|(name, _)| name.clone())) {
            taken.push((name, value));
        }
    }
    taken.into()
}

/// What can be refused before a byte of the body is read; else the length that the head declares, if it does.
fn admissible(source: &Source, headers: &HeaderMap, edge: &Edge) -> Result<Option<usize>, Outcome> {
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if header_bytes > edge.limits.max_header_bytes {
        return Err(reject(
            RejectReason::HeadersTooLarge,
            "the header fields are larger than limits.max_header_bytes",
        ));
    }
    // actix has refused a length that is not a number, or stands beside chunked encoding.
    let declared = headers.get(header::CONTENT_LENGTH).map(|length| {
        length
            .to_str()
            .ok()
            .and_then(|length| length.trim().parse().ok())
    });
    let declared = declared.map(|length: Option<usize>| length.unwrap_or(usize::MAX));
    if declared.is_some_and(|length| length > source.max_body_bytes) {
        return Err(reject(
            RejectReason::BodyTooLarge,
            "content-length is larger than the source's max_body_bytes",
        ));
    }
    if edge.is_stopping() {
        return Err(Outcome::Shed(ShedReason::Stopping));
    }
    let length = declared.unwrap_or(0);
    edge.budget
        .has_room(
            &source.share,
            length,
            Kind::of(length, source.usual_body_bytes, true),
        )
        .map_err(Outcome::Shed)?;
    Ok(declared)
}

fn turn_away(source: &Source, edge: &Edge, arrival: Arrival, outcome: &Outcome) -> Reply {
    in_flight::turned_away(&source.metrics, arrival.id, arrival.instant, outcome);
    answer::of(outcome, source, edge, arrival.id)
}

fn refusal(fault: Fault) -> Outcome {
    match fault {
        Fault::TooLarge => reject(
            RejectReason::BodyTooLarge,
            "the body is larger than the source's max_body_bytes",
        ),
        Fault::TooSlow => reject(
            RejectReason::BodyTooSlow,
            "the body came more slowly than limits.min_body_bytes_per_sec and limits.body_timeout_ms allow for its length",
        ),
        Fault::Malformed => reject(
            RejectReason::BodyMalformed,
            "the body's transfer encoding is broken",
        ),
        Fault::Gone => reject(
            RejectReason::Disconnected,
            "the client closed the connection before its request was complete",
        ),
        Fault::Shed(reason) => Outcome::Shed(reason),
    }
}

fn reject(reason: RejectReason, detail: &'static str) -> Outcome {
    Outcome::Rejected(Rejection::new(reason, detail))
}
