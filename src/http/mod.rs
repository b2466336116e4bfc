//! The HTTP edge: admits a request, reads its raw body under bounds, hands it to a verifier, and turns the outcome into an answer.
//!
//! It knows neither store nor queue. What comes in leaves as [`Received`] through a mailbox; what goes out comes back as an
//! [`Outcome`] through the oneshot of the delivery's ticket. The admin listener is actix-web's; the ingest
//! listener is the engine beneath it, actix-http, since a request here needs no router and every allocation counts.

mod admin;
mod answer;
mod body;
mod connection;
mod crowd;
mod descriptors;
mod ingest;
mod listen;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub use admin::{Admin, serve_admin};
pub use connection::connection_bytes;
pub use descriptors::descriptors_needed;
pub use listen::{Running, Stop, bind, bind_advice, inherited, serve};

use crate::config::model::Limits;
use crate::domain::outcome::{Outcome, ShedReason};
use crate::in_flight::Budget;
use crate::runtime::mailbox::{Mailbox, Refused};
use crate::source::Sources;
use crate::telemetry::Metrics;
use crate::verify::Received;

/// What every request needs; shared by all HTTP threads.
pub struct Edge {
    sources: Arc<Sources>,
    verifiers: Vec<Mailbox<Received>>,
    unpacker: Option<Mailbox<Received>>,
    next_verifier: AtomicUsize,
    budget: Arc<Budget>,
    limits: Limits,
    metrics: Arc<Metrics>,
    answers: answer::Counters,
    closing: AtomicBool,
    stopping: AtomicBool,
}

impl Edge {
    /// An edge for `sources`; `verifiers`, on threads of their own, take in turn what the HTTP threads leave to them. What has to be
    /// decompressed goes to `unpacker`, on another thread of its own, so that nobody else waits for that.
    pub fn new(
        sources: Arc<Sources>,
        verifiers: Vec<Mailbox<Received>>,
        unpacker: Option<Mailbox<Received>>,
        budget: Arc<Budget>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let answers = answer::Counters::new(&metrics);
        Arc::new(Self {
            sources,
            verifiers,
            unpacker,
            next_verifier: AtomicUsize::new(0),
            budget,
            limits,
            metrics,
            answers,
            closing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        })
    }

    /// From now on every answer says `Connection: close`.
    fn close_connections(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// From now on nothing new is admitted: 503.
    pub fn stop_admitting(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Hands a whole request to the next verifier that has room. Where none has, its ticket is resolved here.
    fn pass_on(&self, mut received: Received) {
        let first = self.next_verifier.fetch_add(1, Ordering::Relaxed);
        for turn in 0..self.verifiers.len() {
            match self.verifiers[first.wrapping_add(turn) % self.verifiers.len()].try_send(received)
            {
                Ok(()) => return,
                Err(Refused::Full(back)) => received = back,
                // An actor died, and the process is about to end; the ticket's drop says that the delivery failed.
                Err(Refused::Gone(_)) => return,
            }
        }
        received
            .ticket
            .resolve(Outcome::Shed(ShedReason::VerifierMailbox));
    }

    /// Whether so little is in hand that an HTTP thread has the time to verify what it has read.
    fn is_calm(&self) -> bool {
        self.budget.used().0 <= self.limits.in_flight_requests / CALM
    }
}

/// An HTTP thread verifies by itself while at most this part of `limits.in_flight_requests` is in hand.
const CALM: usize = 32;

/// And bodies of at most so many bytes: to hash them takes as long as to read a few requests.
const QUICK: usize = 64 * 1024;

/// What one HTTP thread answers requests with.
struct Desk {
    edge: Arc<Edge>,
    /// Of this thread's own.
    verifier: Mailbox<Received>,
}

impl Desk {
    /// Hands a whole request to a verifier. While there is little to do that is the one on this thread, since to wake another takes longer
    /// than to verify. Under load it is one on a thread of its own: this one goes on reading, so that what is too much is refused at once,
    /// and does not wait unread until its sender gives up.
    fn pass_on(&self, received: Received) {
        if let Some(unpacker) = &self.edge.unpacker
            && received
                .source
                .scheme
                .unpacked_len(&received.request.body)
                .is_some()
        {
            return match unpacker.try_send(received) {
                // As in the edge's.
                Ok(()) | Err(Refused::Gone(_)) => {}
                Err(Refused::Full(received)) => received
                    .ticket
                    .resolve(Outcome::Shed(ShedReason::VerifierMailbox)),
            };
        }
        if received.request.body.len() > QUICK || !self.edge.is_calm() {
            return self.edge.pass_on(received);
        }
        match self.verifier.try_send(received) {
            // As in the edge's.
            Ok(()) | Err(Refused::Gone(_)) => {}
            Err(Refused::Full(received)) => self.edge.pass_on(received),
        }
    }
}
