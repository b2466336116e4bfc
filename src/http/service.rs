//! State of the ingest listener: sources, verifiers, the budget, and the stop.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::body::BoxBody;
use actix_http::{Request as Head, Response};
use arc_swap::ArcSwap;

use super::answer::{self, Content};
use super::ingest;
use super::server::{
    self, Bounds, Handler, HeadFault, HeadTimeouts, LINGER, ProxyGate, TlsTransport,
};
use crate::config::model;
use crate::domain::network::Network;
use crate::domain::outcome::{Outcome, ShedReason};
use crate::domain::pause::Pauses;
use crate::in_flight::Budget;
use crate::quarantine::QuarantineQueue;
use crate::runtime::certificate::CertificateInForce;
use crate::runtime::listener::{LameDuck, RunningServer};
use crate::runtime::mailbox::{Mailbox, Refused};
use crate::source::Sources;
use crate::telemetry::Metrics;
use crate::verify::Received;

/// State of the ingest listener, shared by all HTTP threads.
pub struct IngestService {
    pub(super) sources: ArcSwap<Sources>,
    verifiers: Vec<Mailbox<Received>>,
    unpacker: Option<Mailbox<Received>>,
    next_verifier: AtomicUsize,
    pub(super) budget: Arc<Budget>,
    pub(super) max_header_bytes: usize,
    pub(super) trusted_proxies: Vec<Network>,
    pub(super) pauses: Arc<Pauses>,
    pub(super) quarantine: QuarantineQueue,
    metrics: Arc<Metrics>,
    pub(super) answers: answer::Counters,
    closing: AtomicBool,
    stopping: AtomicBool,
}

impl IngestService {
    /// Service for `sources`. `verifiers`, on threads of their own, take in turn the deliveries
    /// that the HTTP threads pass on. Bodies that must be decompressed go to `unpacker`, on another
    /// thread, so that no other delivery waits for them.
    pub fn new(
        sources: Sources,
        verifiers: Vec<Mailbox<Received>>,
        unpacker: Option<Mailbox<Received>>,
        budget: Arc<Budget>,
        (max_header_bytes, trusted_proxies): (usize, Vec<Network>),
        (metrics, pauses): (Arc<Metrics>, Arc<Pauses>),
        quarantine: QuarantineQueue,
    ) -> Arc<Self> {
        let answers = answer::Counters::new(&metrics);
        Arc::new(Self {
            sources: ArcSwap::from_pointee(sources),
            verifiers,
            unpacker,
            next_verifier: AtomicUsize::new(0),
            budget,
            max_header_bytes,
            trusted_proxies,
            pauses,
            quarantine,
            metrics,
            answers,
            closing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        })
    }

    /// Replaces the sources. Requests that have begun keep theirs.
    pub fn replace_sources(&self, sources: Sources) {
        self.sources.store(Arc::new(sources));
    }

    /// Returns the present sources.
    pub fn sources(&self) -> Arc<Sources> {
        self.sources.load_full()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Sends a delivery that was kept to a verifier on a thread of its own.
    pub fn verify_again(&self, received: Received) {
        if let Some(received) = self.to_unpacker(received) {
            self.pass_on(received);
        }
    }

    /// Sends a request to the unpacker. Returns it if its body needs none.
    fn to_unpacker(&self, received: Received) -> Option<Received> {
        let scheme = &received.source.scheme;
        let Some(unpacker) = &self.unpacker else {
            return Some(received);
        };
        if scheme.unpacked_len(&received.request.body).is_none() {
            return Some(received);
        }
        match unpacker.try_send(received) {
            // A dead actor, as below.
            Ok(()) | Err(Refused::Gone(_)) => {}
            Err(Refused::Full(received)) => received
                .ticket
                .resolve(Outcome::Shed(ShedReason::VerifierMailbox)),
        }
        None
    }

    /// Sends a whole request to the next verifier that has room. If none has, resolves its ticket
    /// as shed.
    fn pass_on(&self, mut received: Received) {
        let first = self.next_verifier.fetch_add(1, Ordering::Relaxed);
        for turn in 0..self.verifiers.len() {
            match self.verifiers[first.wrapping_add(turn) % self.verifiers.len()].try_send(received)
            {
                Ok(()) => return,
                Err(Refused::Full(back)) => received = back,
                // An actor died, and the process is about to end. Dropping the ticket fails the
                // delivery.
                Err(Refused::Gone(_)) => return,
            }
        }
        received
            .ticket
            .resolve(Outcome::Shed(ShedReason::VerifierMailbox));
    }

    /// Returns `true` if few enough deliveries are in flight for an HTTP thread to verify its own.
    fn is_calm(&self) -> bool {
        self.budget.used().0 <= self.budget.max_count() / CALM
    }
}

impl LameDuck for IngestService {
    fn close_connections(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn stop_admitting(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Part of `limits.in_flight_requests` up to which an HTTP thread verifies its own deliveries.
const CALM: usize = 32;

/// Largest body that an HTTP thread verifies: hashing it takes as long as reading a few requests.
const QUICK: usize = 64 * 1024;

/// State of one HTTP thread.
pub(super) struct WorkerContext {
    pub(super) service: Arc<IngestService>,
    /// Verifier on this thread.
    verifier: Mailbox<Received>,
}

impl WorkerContext {
    /// Sends a whole request to a verifier. Under low load it is the one on this thread, since
    /// waking another takes longer than verifying. Under high load it is one on a thread of its
    /// own: this thread goes on reading, so that excess requests are refused at once.
    pub(super) fn pass_on(&self, received: Received) {
        let Some(received) = self.service.to_unpacker(received) else {
            return;
        };
        if received.request.body.len() > QUICK || !self.service.is_calm() {
            return self.service.pass_on(received);
        }
        match self.verifier.try_send(received) {
            // A dead actor, as in the service's.
            Ok(()) | Err(Refused::Gone(_)) => {}
            Err(Refused::Full(received)) => self.service.pass_on(received),
        }
    }
}

impl Handler for WorkerContext {
    type Body = Content;

    fn before_continue(&self, head: Head) -> Result<Head, Response<BoxBody>> {
        ingest::before_continue(head, &self.service)
    }

    fn handle(
        self: Rc<Self>,
        request: Head,
    ) -> impl Future<Output = Result<Response<Content>, Infallible>> {
        ingest::handle(request, self)
    }

    fn refuse_head(&self, fault: HeadFault) -> Vec<u8> {
        answer::refuse_head(fault, &self.service)
    }
}

/// Starts the ingest server on `listener`. Each of its threads calls `verifier` for one of its own.
/// A stop takes at most `drain`, and at most the time that a request may take.
pub fn serve(
    listener: TcpListener,
    service: Arc<IngestService>,
    verifier: impl Fn() -> Mailbox<Received> + Clone + Send + 'static,
    config: &model::Server,
    certificate: Option<Arc<CertificateInForce>>,
    drain: Duration,
) -> io::Result<RunningServer> {
    let sources = service.sources();
    let deadlines = sources.iter().map(|source| source.deadline);
    let longest = deadlines.max().unwrap_or_default() + LINGER;
    let bounds = Bounds {
        workers: config.workers,
        max_connections: config.max_connections,
        verifiers: service.verifiers.len() + 1,
        max_header_bytes: service.max_header_bytes,
        timeouts: HeadTimeouts {
            keep_alive: config.keep_alive,
            head: config.head_timeout,
        },
        tls: certificate.map(|certificate| TlsTransport {
            certificate,
            failures: service.metrics.handshake_failures.clone(),
        }),
        proxies: config.proxy_protocol.then(|| ProxyGate {
            trusted: service.trusted_proxies.as_slice().into(),
            failures: service.metrics.proxy_failures.clone(),
        }),
        drain: drain.min(longest),
        connections: service.metrics.connections.clone(),
        connections_max: service.metrics.connections_max.clone(),
        connections_closed: service.metrics.connections_closed.clone(),
    };
    let (shared, has_tls) = (service.clone(), bounds.tls.is_some());
    let running = server::serve(listener, bounds, service, move || {
        Rc::new(WorkerContext {
            service: shared.clone(),
            verifier: verifier(),
        })
    })?;
    Ok(match has_tls {
        true => running.with_handshakes(),
        false => running,
    })
}
