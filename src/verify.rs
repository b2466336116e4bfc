//! The verifier actor: a thin shell around the pure [`verify`].

mod identity;
mod spans;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{Actor, ArbiterHandle, Context, Handler};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use hookweir_signatures::{Identity, Reason, Refusal, Verdict, VerifiedEvent, verify};

pub use self::identity::EventKeys;
use crate::dedup::Verified;
use crate::domain::delivery::Marks;
use crate::domain::outcome::{FailReason, Outcome, Rejection, ShedReason};
use crate::domain::request::Request;
use crate::faults::points::failpoint;
use crate::in_flight::Ticket;
use crate::keys::{KeyService, Learn};
use crate::quarantine::{QuarantineQueue, RefusedRequest};
use crate::runtime::mailbox::{ActorRegistry, Mail, Mailbox, Ping, Refused};
use crate::runtime::shutdown::CriticalTask;
use crate::source::Source;
use crate::store::NewEvent;

/// Message http → verifier: a complete request to a source.
#[derive(Debug)]
pub struct Received {
    /// Source that the request came in for.
    pub source: Arc<Source>,
    /// The request.
    pub request: Request,
    /// Claim of the delivery to exactly one outcome.
    pub ticket: Ticket,
    /// Place that it comes from.
    pub from: Origin,
}

/// Place that a delivery comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client, at this address if it is known.
    Client(Option<IpAddr>),
    /// The quarantine, which has it still.
    Quarantine,
}

struct VerifierActor {
    dedup: Mailbox<Verified>,
    keys: KeyService,
    quarantine: QuarantineQueue,
    _lifeline: CriticalTask,
}

/// Starts verifiers, each with a mailbox of `capacity` requests.
#[derive(Clone)]
pub struct Verifiers {
    /// Requests that one mailbox holds.
    pub capacity: usize,
    /// Service that gets the keys that deliveries need, and takes secrets that are handed over.
    pub keys: KeyService,
    /// Queue that refused deliveries are kept by.
    pub quarantine: QuarantineQueue,
    /// Task of the service that ends with a verifier.
    pub lifeline: CriticalTask,
    /// Registry that the actors enter.
    pub roster: ActorRegistry,
}

impl Verifiers {
    /// Starts a verifier on `arbiter` under this name, in front of `dedup`.
    pub fn start(
        &self,
        arbiter: &ArbiterHandle,
        name: String,
        dedup: Mailbox<Verified>,
    ) -> Mailbox<Received> {
        let actor = VerifierActor {
            dedup,
            keys: self.keys.clone(),
            quarantine: self.quarantine.clone(),
            _lifeline: self.lifeline.of("verifier"),
        };
        self.roster.mailbox(
            name,
            &VerifierActor::start_in_arbiter(arbiter, move |_| actor),
            self.capacity,
        )
    }
}

impl Actor for VerifierActor {
    type Context = Context<Self>;
}

impl VerifierActor {
    /// Passes verified events on to dedup. If the mailbox is full or closed, answers the delivery.
    fn pass_on(&self, mut verified: Verified) {
        let first = verified.events.first();
        let event_type = first.and_then(|event| event.event_type.as_deref());
        verified.ticket.has_type(event_type);
        verified.ticket.begin_storing();
        match self.dedup.try_send(verified) {
            Ok(()) => {}
            Err(Refused::Full(delivery)) => delivery
                .ticket
                .resolve(Outcome::Shed(ShedReason::DedupMailbox)),
            Err(Refused::Gone(delivery)) => delivery
                .ticket
                .resolve(Outcome::Failed(FailReason::Dropped)),
        }
    }
}

impl VerifierActor {
    /// Answers a refused delivery, and keeps it afterwards.
    fn refuse(
        &self,
        (source, request): (Arc<Source>, Request),
        ticket: Ticket,
        from: Origin,
        rejection: Rejection,
    ) {
        let (Origin::Client(peer), true) = (from, self.quarantine.is_on()) else {
            return ticket.resolve(Outcome::Rejected(rejection));
        };
        let request_id = ticket.request_id;
        ticket.resolve(Outcome::Rejected(rejection.clone()));
        self.quarantine.keep(RefusedRequest {
            source: source.name.clone(),
            request,
            peer,
            request_id,
            rejection,
            is_cut: false,
        });
    }
}

impl Handler<Mail<Received>> for VerifierActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Received>, _: &mut Self::Context) {
        let Received {
            source,
            request,
            mut ticket,
            from,
        } = mail.open();
        failpoint!("verifier_received");
        if ticket.is_abandoned() {
            return ticket.resolve(Outcome::Shed(ShedReason::DeadlineInQueue));
        }
        let span = spans::begin(&ticket);
        // Whatever a sender can put into a request must not end the service for all others.
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            let current = source.keys.load();
            verify(
                &current.scheme,
                &current.keys,
                &request,
                request.received_at,
            )
        }));
        // The decompressed copy has been dropped.
        let plain = source.scheme.unpacked_len(&request.body);
        ticket.permit().shrink(plain.unwrap_or_default());
        spans::end(span, &verdict, ticket.request_id);
        match verdict {
            Ok(Ok(Verdict::Events(verified))) => {
                let by = source.verified(&verified, request.received_at);
                let events = verified.into_events().into_iter();
                let context = spans::to_pass_on(&request, ticket.trace);
                let new = |event| new_event(&source, &request, (event, by.clone()), &context);
                let events = events.map(new).collect();
                failpoint!("verifier_verified");
                self.pass_on(Verified { events, ticket });
            }
            Ok(Ok(Verdict::Challenge(answer))) => ticket.resolve(Outcome::Challenge(answer)),
            Ok(Ok(Verdict::Learn { secret, answer })) => self.keys.learn(Learn {
                source,
                secret,
                answer,
                ticket,
            }),
            Ok(Ok(Verdict::NeedsKeys(needed))) => {
                self.keys.request(&source.name, needed);
                ticket.resolve(Outcome::Failed(FailReason::Keys));
            }
            Ok(Err(refusal)) => self.refuse((source, request), ticket, from, refusal.into()),
            Err(_) => {
                tracing::error!(source = %source.name, request_id = %ticket.request_id, "verification panicked; the delivery is answered 503; this is a bug, please report it");
                ticket.resolve(Outcome::Failed(FailReason::Dropped));
            }
        }
    }
}

impl Handler<Ping> for VerifierActor {
    type Result = ();

    fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
        // An error means that the sender of the ping no longer waits.
        let _ = ping.0.send(());
    }
}

/// Longest value of a provider's header that is stored with the event, in bytes.
const MAX_FORWARDED_VALUE: usize = 1024;

/// Returns a header's value as text: UTF-8, or else Latin-1, which RFC 9110 allows. No byte is lost
/// in either. None: it is too long to be stored.
fn header_text(value: &http::HeaderValue) -> Option<String> {
    let bytes = value.as_bytes();
    let text = std::str::from_utf8(bytes).map_or_else(
        |_| bytes.iter().map(|byte| char::from(*byte)).collect(),
        str::to_owned,
    );
    Some(text).filter(|text| text.len() <= MAX_FORWARDED_VALUE)
}

/// Returns the headers that are stored with the event.
fn stored_headers(
    source: &Source,
    request: &Request,
    event: &VerifiedEvent,
) -> Vec<(String, String)> {
    let forwarded = source
        .forward_headers
        .iter()
        .filter(|name| *name != CONTENT_ENCODING);
    let forwarded = forwarded.filter_map(|name| {
        Some((
            name.as_str().to_owned(),
            header_text(request.headers.get(name)?)?,
        ))
    });
    // An element of a batch comes out decompressed.
    let encoded = event.body.as_ptr_range() == request.body.as_ptr_range();
    let encoding = request
        .headers
        .get(&CONTENT_ENCODING)
        .filter(|value| encoded && *value != "identity")
        .and_then(header_text);
    let encoding = encoding.map(|encoding| (CONTENT_ENCODING.as_str().to_owned(), encoding));
    forwarded.chain(encoding).collect()
}

/// Returns the events of a request that an operator vouches for, as a verified delivery would have them.
pub fn vouched_for(source: &Source, request: &Request) -> Result<Vec<NewEvent>, Refusal> {
    let scheme = source.keys.load().scheme.clone();
    let events = hookweir_signatures::vouched_for(&scheme, request)?;
    if events
        .iter()
        .any(|event| event.identity == Identity::Unknown)
    {
        return Err(Refusal::new(
            Reason::IdMissing,
            "no id is in it, and the source tells events apart by their signatures: a known one would be stored again",
        ));
    }
    let context = spans::to_pass_on(request, None);
    let new = |event| new_event(source, request, (event, None), &context);
    Ok(events.into_iter().map(new).collect())
}

/// Returns the event to store.
fn new_event(
    source: &Source,
    request: &Request,
    (event, verified_by): (VerifiedEvent, Option<Arc<str>>),
    context: &[(String, String)],
) -> NewEvent {
    let mut headers = stored_headers(source, request, &event);
    spans::pass_on(&mut headers, context);
    let event_type = event.event_type.as_deref();
    let sinks = Some(source.sinks.wanting(&source.name, event_type));
    let keys = EventKeys::new(&source.name, source.drop_same_bytes, &event);
    NewEvent {
        key: keys.key,
        message: keys.message,
        class: event.class,
        bytes_key: keys.bytes_key,
        drop_same_bytes: source.drop_same_bytes,
        replay: keys.replay,
        digest: keys.digest,
        marks: Marks::default(),
        source: source.name.clone(),
        event_id: keys.id,
        event_type: event.event_type,
        content_type: match request.content_in_query() {
            Some(_) => Some("application/x-www-form-urlencoded".into()),
            None => request
                .headers
                .get(&CONTENT_TYPE)
                .and_then(header_text)
                .map(String::into_boxed_str),
        },
        headers,
        body: owned_if_small_part(event.body, request.body.len()),
        received_at: request.received_at,
        verified_by,
        window: if event.class.is_short_lived() {
            source.retry_span
        } else {
            source.dedup_window
        },
        sinks,
    }
}

/// Returns a copy of a body that is a slice of the request. A slice would keep the whole batch in
/// memory until its event is published.
fn owned_if_small_part(body: Bytes, whole: usize) -> Bytes {
    if body.len() < whole {
        Bytes::copy_from_slice(&body)
    } else {
        body
    }
}
