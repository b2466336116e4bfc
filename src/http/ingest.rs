//! `POST /ingest/{path}`: the way of one request from its head to its answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::percent_decode_str;

use super::answer::{self, Reply};
use super::body::{self, Fault, Pace};
use super::connection::{InHand, Progress};
use super::{Edge, answer::Problem};
use crate::delivery::UnixMillis;
use crate::in_flight::{self, RequestId, Ticket};
use crate::messages::Received;
use crate::outcome::{Outcome, RejectReason, Rejection, ShedReason};
use crate::request::Request;
use crate::source::Source;

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

/// Answers any request on the ingest listener.
pub(super) async fn handle(head: HttpRequest, mut payload: web::Payload, edge: web::Data<Edge>) -> HttpResponse {
    let arrival = Arrival { id: RequestId::next(), at: UnixMillis::now(), instant: Instant::now() };
    let mut in_hand = Progress::of(&head).begin();
    if !has_body(&head) {
        in_hand.set_whole();
    }
    let reply = answer(&head, &mut payload, &edge, arrival, &mut in_hand).await;
    let unread = (!in_hand.is_whole()).then_some(payload);
    reply.into_response(&edge, arrival.id, unread)
}

fn has_body(head: &HttpRequest) -> bool {
    let length = head.headers().get(header::CONTENT_LENGTH);
    // A body without either (CONNECT, Upgrade) is none of ours; actix closes such a connection by itself.
    length.is_some_and(|length| length != "0") || head.headers().contains_key(header::TRANSFER_ENCODING)
}

async fn answer(head: &HttpRequest, payload: &mut web::Payload, edge: &Edge, arrival: Arrival, in_hand: &mut InHand) -> Reply {
    let Some(source) = source_at(edge, head.uri().path()) else {
        return Reply::problem(Problem::NOT_FOUND);
    };
    match *head.method() {
        Method::POST => deliver(source, head, payload, edge, arrival, in_hand).await,
        Method::GET | Method::HEAD => answer::greeting(),
        Method::OPTIONS => answer::options(),
        _ => answer::method_not_allowed(),
    }
}

/// The source at a request's path, as sent or with its percent-encoding undone.
fn source_at<'e>(edge: &'e Edge, path: &str) -> Option<&'e Arc<Source>> {
    let path = path.strip_prefix(PREFIX)?;
    edge.sources.at(path).or_else(|| match percent_decode_str(path).decode_utf8().ok()? {
        Cow::Borrowed(_) => None,
        Cow::Owned(decoded) => edge.sources.at(&decoded),
    })
}

/// A request that goes through the verifier: a delivery or a handshake.
async fn deliver(
    source: &Arc<Source>,
    head: &HttpRequest,
    payload: &mut web::Payload,
    edge: &Edge,
    arrival: Arrival,
    in_hand: &mut InHand,
) -> Reply {
    let pace = Pace {
        started: arrival.instant,
        deadline: arrival.instant + source.deadline,
        min_bytes_per_sec: edge.limits.min_body_bytes_per_sec,
    };
    let declared = match declared_length(head) {
        Ok(declared) => declared,
        Err(too_large) => return turn_away(source, edge, arrival, too_large),
    };
    if let Err(refusal) = admissible(source, head, declared, edge) {
        let reply = turn_away(source, edge, arrival, refusal);
        let keeps_connection = reply.is_retryable() && declared.is_some_and(|length| length <= SKIP) && !edge.is_stopping();
        if keeps_connection && body::skip(payload, pace).await {
            in_hand.set_whole();
        }
        return reply;
    }

    let permit = edge.budget.empty_permit();
    let (mut ticket, outcome) = Ticket::new(permit, source.metrics.clone(), arrival.id, arrival.instant, pace.deadline);
    let body = match body::read(payload, declared, source.max_body_bytes, pace, ticket.permit()).await {
        Ok(body) => body,
        // The ticket's drop says that the client disconnected. Nobody reads this answer.
        Err(Fault::Gone) => return Reply::problem(Problem::BAD_REQUEST),
        Err(fault) => {
            let refusal = refusal(fault);
            let reply = answer::of(&refusal, edge, arrival.id);
            ticket.resolve(refusal);
            return reply;
        }
    };
    in_hand.set_whole();
    ticket.request_is_complete();
    if let Err(reason) = ticket.permit().count_one() {
        let refusal = Outcome::Shed(reason);
        let reply = answer::of(&refusal, edge, arrival.id);
        ticket.resolve(refusal);
        return reply;
    }

    let request = Request {
        method: head.method().clone(),
        target: head.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        headers: head.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        body,
        received_at: arrival.at,
    };
    edge.pass_on(Received { source: source.clone(), request, ticket });
    match tokio::time::timeout_at(pace.deadline.into(), outcome).await {
        Ok(Ok(outcome)) => answer::of(&outcome, edge, arrival.id),
        // At the deadline the outcome is not known yet; it is counted when it is. A ticket never drops its reply without an outcome.
        Ok(Err(_)) | Err(_) => answer::unavailable(edge, arrival.id),
    }
}

/// `Content-Length`; actix has refused one that is not a number, or stands beside chunked encoding.
fn declared_length(head: &HttpRequest) -> Result<Option<usize>, Outcome> {
    let Some(length) = head.headers().get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = length.to_str().ok().and_then(|length| length.trim().parse().ok());
    length.map(Some).ok_or_else(|| reject(RejectReason::BodyTooLarge, "content-length is larger than any memory"))
}

/// What can be refused before a byte of the body is read.
fn admissible(source: &Source, head: &HttpRequest, declared: Option<usize>, edge: &Edge) -> Result<(), Outcome> {
    let header_bytes: usize = head.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if header_bytes > edge.limits.max_header_bytes {
        return Err(reject(RejectReason::HeadersTooLarge, "the header fields are larger than limits.max_header_bytes"));
    }
    if declared.is_some_and(|length| length > source.max_body_bytes) {
        return Err(reject(RejectReason::BodyTooLarge, "content-length is larger than the source's max_body_bytes"));
    }
    if edge.is_stopping() {
        return Err(Outcome::Shed(ShedReason::Stopping));
    }
    match edge.budget.room() {
        (0, _) => Err(Outcome::Shed(ShedReason::Requests)),
        (_, bytes) if bytes < declared.unwrap_or(0) => Err(Outcome::Shed(ShedReason::Bytes)),
        _ => Ok(()),
    }
}

fn turn_away(source: &Source, edge: &Edge, arrival: Arrival, outcome: Outcome) -> Reply {
    in_flight::turned_away(&source.metrics, arrival.id, arrival.instant, &outcome);
    answer::of(&outcome, edge, arrival.id)
}

fn refusal(fault: Fault) -> Outcome {
    match fault {
        Fault::TooLarge => reject(RejectReason::BodyTooLarge, "the body is larger than the source's max_body_bytes"),
        Fault::TooSlow => reject(RejectReason::BodyTooSlow, "the body was slower than limits.min_body_bytes_per_sec, or than the deadline"),
        Fault::Malformed => reject(RejectReason::BodyMalformed, "the body's transfer encoding is broken"),
        Fault::Gone => reject(RejectReason::Disconnected, "the client closed the connection before its request was complete"),
        Fault::Shed(reason) => Outcome::Shed(reason),
    }
}

fn reject(reason: RejectReason, detail: &'static str) -> Outcome {
    Outcome::Rejected(Rejection::new(reason, detail))
}
