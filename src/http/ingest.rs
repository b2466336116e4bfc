//! `POST /ingest/{path}`: one request, from its head to its response.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_http::body::BoxBody;
use actix_http::header::{self, HeaderMap};
use actix_http::{Request as Head, Response};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tokio::sync::oneshot;

use super::answer::{self, Content, Problem, Reply};
use super::post_span::PostSpan;
use super::purpose::{Purpose, purpose};
use super::sender::JudgedClient;
use super::server::{self, BodyFault, Claim, Rate, RequestGuard, Size};
use super::service::{IngestService, WorkerContext};
use super::whole_request::{RefusedBody, keep, whole_request};
use crate::domain::delivery::{UnixMillis, wall_clock};
use crate::domain::outcome::{FailReason, Outcome, RejectReason, Rejection, ShedReason};
use crate::domain::pause::PauseKind;
use crate::domain::request_id::RequestId;
use crate::domain::trace_context::TraceContext;
use crate::faults::points::failpoint;
use crate::in_flight::{self, BodyKind, Ticket};
use crate::source::Source;
use crate::telemetry::logs;
use crate::verify::{Origin, Received};

/// Path prefix of all sources.
const PREFIX: &str = "/ingest/";

/// Largest refused body that is read to its end, so that its sender's connection survives the
/// refusal.
const SKIP: usize = 64 * 1024;

/// Id and time of a request.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) id: RequestId,
    pub(super) at: UnixMillis,
    pub(super) instant: Instant,
    /// Span of the delivery, if its trace is sampled.
    trace: Option<TraceContext>,
}

impl Arrival {
    fn now() -> Self {
        Self {
            id: RequestId::next(),
            at: wall_clock(),
            instant: Instant::now(),
            trace: None,
        }
    }
}

/// Answers any request on the ingest listener.
pub(super) async fn handle(
    mut head: Head,
    worker: Rc<WorkerContext>,
) -> Result<Response<Content>, Infallible> {
    let (arrival, service) = (Arrival::now(), &*worker.service);
    let mut guard = RequestGuard::open(&head);
    if !has_body(head.head().headers()) {
        guard.set_whole();
    }
    let mut payload = head.take_payload();
    let reply = match source_at(service, head.path()) {
        None => no_source(service, &head, arrival),
        Some(source) => match purpose(&source, head.head(), head.uri()) {
            Purpose::Delivery => {
                let span = PostSpan::begin(&source, head.head(), arrival.id);
                let arrival = Arrival {
                    trace: span.context(),
                    ..arrival
                };
                let (head, payload) = (&mut head, &mut payload);
                let reply = deliver(&source, head, payload, &worker, arrival, &mut guard).await;
                span.end(&reply);
                reply
            }
            Purpose::Visit => answer::greeting(),
            Purpose::Options => answer::options(&source),
            Purpose::NotAllowed => {
                logs::method_not_allowed(&source.name, arrival.id, head.method());
                answer::method_not_allowed(&source)
            }
        },
    };
    let unread = (!guard.is_whole()).then_some(payload);
    Ok(reply.into_response(service, arrival.id, unread))
}

/// Returns the head if a client that waits for "100 Continue" is to send its body, and the refusal
/// if its head is refused.
pub(super) fn before_continue(
    mut head: Head,
    service: &IngestService,
) -> Result<Head, Response<BoxBody>> {
    let arrival = Arrival::now();
    drop(RequestGuard::open(&head));
    let reply = match source_at(service, head.path()) {
        None => no_source(service, &head, arrival),
        Some(source) => match JudgedClient::of(&source, &head, service)
            .and_then(|_| admissible(&source, head.head().headers(), service))
        {
            Ok(_) => return Ok(head),
            Err(refusal) => turn_away(service, &source, &mut head, (arrival, &refusal)),
        },
    };
    Err(reply
        .into_response(service, arrival.id, None)
        .map_into_boxed_body())
}

fn no_source(service: &IngestService, head: &Head, arrival: Arrival) -> Reply {
    let sources = service.sources.load();
    let nearest = || sources.nearest(head.path().strip_prefix(PREFIX).unwrap_or(head.path()));
    logs::no_source(arrival.id, head.method(), head.path(), nearest);
    Reply::problem(Problem::NOT_FOUND)
}

fn has_body(headers: &HeaderMap) -> bool {
    // A body without either (CONNECT, Upgrade) is not for us; actix closes such a connection.
    headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| length != "0")
        || headers.contains_key(header::TRANSFER_ENCODING)
}

/// Returns the source at a request's path, as sent or percent-decoded. A reload during the request
/// changes nothing about the source.
fn source_at(service: &IngestService, path: &str) -> Option<Arc<Source>> {
    let path = path.strip_prefix(PREFIX)?;
    let sources = service.sources.load();
    let source =
        sources
            .at(path)
            .or_else(|| match percent_decode_str(path).decode_utf8().ok()? {
                Cow::Borrowed(_) => None,
                Cow::Owned(decoded) => sources.at(&decoded),
            });
    source.cloned()
}

/// Answers a request that goes through the verifier: a delivery or a handshake.
async fn deliver(
    source: &Arc<Source>,
    head: &mut Head,
    payload: &mut actix_http::Payload,
    worker: &WorkerContext,
    arrival: Arrival,
    guard: &mut RequestGuard,
) -> Reply {
    let service = &*worker.service;
    let rate = |declared| body_rate(source, arrival, declared);
    let (declared, client) = match admit_head(source, head, service, arrival) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let reply = turn_away(service, source, head, (arrival, &refusal));
            if matches!(refusal, Outcome::Shed(_) | Outcome::Failed(_))
                && server::skip(payload, SKIP, rate(None)).await
            {
                guard.set_whole();
            }
            return reply;
        }
    };

    let (mut ticket, outcome) = admit(source, service, arrival);
    let body = match read_body(source, payload, declared, rate(declared), &mut ticket).await {
        Ok(body) => body,
        // The ticket's drop says that the client disconnected. Nobody reads this response.
        Err(BodyFault::Gone) => return Reply::problem(Problem::BAD_REQUEST),
        Err(fault) => {
            let (outcome, read) = refusal(fault);
            let body = RefusedBody::Cut(read);
            return refuse(service, source, (head, body), (arrival, ticket), outcome);
        }
    };
    guard.set_whole();
    // The upload has a bound of its own. From here on the sender waits for us.
    let deadline = Instant::now() + source.deadline;
    ticket.request_is_complete(deadline);
    failpoint!("http_admitted");
    if let Err(outcome) = room_for(source, &body, &mut ticket) {
        let body = RefusedBody::Whole(body);
        return refuse(service, source, (head, body), (arrival, ticket), outcome);
    }
    worker.pass_on(Received {
        from: Origin::Client(client),
        source: source.clone(),
        request: whole_request(head, body, arrival),
        ticket,
    });
    failpoint!("http_handed_over");
    match tokio::time::timeout_at(deadline.into(), outcome).await {
        Ok(Ok(outcome)) => {
            if outcome.is_stored() {
                guard.set_trusted();
            }
            answer::of(&outcome, source, arrival.id)
        }
        // At the deadline the outcome is not known yet; it is counted later. A ticket never drops
        // its reply without an outcome.
        Ok(Err(_)) | Err(_) => answer::unavailable(source, arrival.id),
    }
}

/// Returns the declared length of a body and the client's address, or the refusal of a delivery by its head.
fn admit_head(
    source: &Source,
    head: &Head,
    service: &IngestService,
    arrival: Arrival,
) -> Result<(Option<usize>, Option<IpAddr>), Outcome> {
    let client = JudgedClient::of(source, head, service)?;
    let declared = admissible(source, head.head().headers(), service)?;
    client.admit(source, head, arrival)?;
    Ok((declared, client.address))
}

/// Returns the minimum rate of a body of a declared length, if it is known.
fn body_rate(source: &Source, arrival: Arrival, declared: Option<usize>) -> Rate {
    let least = source.min_body_bytes_per_sec;
    Rate::new(arrival.instant, source.upload, least, declared)
}

/// Returns the ticket of an admitted request, and the receiver of its outcome.
fn admit(
    source: &Source,
    service: &IngestService,
    arrival: Arrival,
) -> (Ticket, oneshot::Receiver<Outcome>) {
    let permit = service.budget.empty_permit(Some(source.share.clone()));
    let latest = arrival.instant + source.upload + source.deadline;
    let metrics = source.metrics.clone();
    let admitted = Ticket::new(permit, metrics, arrival.id, arrival.instant, latest);
    let (mut ticket, outcome) = admitted;
    ticket.trace = arrival.trace;
    (ticket, outcome)
}

/// Reads the body; its room comes out of the ticket's permit.
async fn read_body(
    source: &Source,
    payload: &mut actix_http::Payload,
    declared: Option<usize>,
    rate: Rate,
    ticket: &mut Ticket,
) -> Result<Bytes, BodyFault<ShedReason>> {
    let size = Size {
        declared,
        limit: source.max_body_bytes,
    };
    let reserve = |claim: Claim| {
        let kind = BodyKind::of(claim.whole, source.usual_body_bytes, claim.is_last);
        ticket.permit().grow(claim.more, kind)
    };
    server::read(payload, size, rate, reserve).await
}

/// Refuses an admitted delivery, and keeps it if it is refused for good.
fn refuse(
    service: &IngestService,
    source: &Source,
    (head, body): (&mut Head, RefusedBody),
    (arrival, ticket): (Arrival, Ticket),
    refusal: Outcome,
) -> Reply {
    let reply = answer::of(&refusal, source, arrival.id);
    keep(service, source, head, body, (arrival, &refusal));
    ticket.resolve(refusal);
    reply
}

/// Counts a whole request as in flight, and reserves room for its decompressed body before that is
/// made.
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
            .grow(plain, BodyKind::of(plain, source.usual_body_bytes, true))
            .map_err(Outcome::Shed)?;
    }
    ticket.permit().count_one().map_err(Outcome::Shed)
}

/// Returns the refusal that needs no byte of the body, or else the length that the head declares,
/// if any.
fn admissible(
    source: &Source,
    headers: &HeaderMap,
    service: &IngestService,
) -> Result<Option<usize>, Outcome> {
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if header_bytes > service.max_header_bytes {
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
    if service.is_stopping() {
        return Err(Outcome::Shed(ShedReason::Stopping));
    }
    if service.pauses.has(PauseKind::Source, source.name.as_str()) {
        return Err(Outcome::Failed(FailReason::Paused));
    }
    let length = declared.unwrap_or(0);
    service
        .budget
        .has_room(
            &source.share,
            length,
            BodyKind::of(length, source.usual_body_bytes, true),
        )
        .map_err(Outcome::Shed)?;
    Ok(declared)
}

fn turn_away(
    service: &IngestService,
    source: &Source,
    head: &mut Head,
    (arrival, outcome): (Arrival, &Outcome),
) -> Reply {
    in_flight::turned_away(&source.metrics, arrival.id, arrival.instant, outcome);
    let body = RefusedBody::Cut(Bytes::new());
    keep(service, source, head, body, (arrival, outcome));
    answer::of(outcome, source, arrival.id)
}

/// Returns the outcome of a body that was not read to its end, and the part that was read.
fn refusal(fault: BodyFault<ShedReason>) -> (Outcome, Bytes) {
    let mut read = Bytes::new();
    let outcome = match fault {
        BodyFault::TooLarge(part) => {
            read = part;
            reject(
                RejectReason::BodyTooLarge,
                "the body is larger than the source's max_body_bytes",
            )
        }
        BodyFault::TooSlow => reject(
            RejectReason::BodyTooSlow,
            "the body came more slowly than limits.min_body_bytes_per_sec and limits.body_timeout_ms allow for its length",
        ),
        BodyFault::Malformed => reject(
            RejectReason::BodyMalformed,
            "the body's transfer encoding is broken",
        ),
        BodyFault::Gone => reject(
            RejectReason::Disconnected,
            "the client closed the connection before its request was complete",
        ),
        BodyFault::NoRoom(reason) => Outcome::Shed(reason),
    };
    (outcome, read)
}

fn reject(reason: RejectReason, detail: &'static str) -> Outcome {
    Outcome::Rejected(Rejection::new(reason, detail))
}
