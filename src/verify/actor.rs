//! The verifier actor: a thin shell around the pure [`verify`]. There is one on each HTTP thread, for what comes in there: to wake another
//! thread costs more than most verifications. It takes turns with the sockets of its thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use bytes::Bytes;
use http::header::CONTENT_TYPE;

use super::{Verdict, VerifiedEvent, verify};
use crate::delivery::BodyDigest;
use crate::failpoint::failpoint;
use crate::learned::{Learn, Learning};
use crate::mailbox::{Mail, Mailbox, Ping, Refused, Roster};
use crate::messages::{Received, Verified};
use crate::outcome::{FailReason, Outcome, ShedReason};
use crate::request::Request;
use crate::shutdown::Lifeline;
use crate::source::Source;
use crate::store::NewEvent;

/// A turn takes as long as the sockets took since the last one, within these bounds: reading must not keep verifiers from their work either,
/// when senders that were refused come back at once. A verification that has begun is finished.
const SHORTEST_TURN: Duration = Duration::from_micros(100);
const LONGEST_TURN: Duration = Duration::from_millis(10);

struct VerifierActor {
    /// What came in and waits for a turn.
    waiting: VecDeque<Work>,
    /// Since when the sockets have theirs.
    asked: Instant,
    dedup: Mailbox<Verified>,
    learning: Option<Learning>,
    _lifeline: Lifeline,
}

/// Starts verifiers, each with a mailbox of `capacity` requests.
#[derive(Clone)]
pub struct Verifiers {
    /// Requests that one mailbox holds.
    pub capacity: usize,
    /// Where secrets go that are handed over.
    pub learning: Option<Learning>,
    /// Whom a death is reported to.
    pub lifeline: Lifeline,
    /// Where they enter.
    pub roster: Roster,
}

impl Verifiers {
    /// One on this thread, under this name, in front of `dedup`.
    pub fn start_here(&self, name: String, dedup: Mailbox<Verified>) -> Mailbox<Received> {
        let actor = VerifierActor {
            waiting: VecDeque::new(),
            asked: Instant::now(),
            dedup,
            learning: self.learning.clone(),
            _lifeline: self.lifeline.of("verifier"),
        };
        self.roster.mailbox(name, &actor.start(), self.capacity)
    }
}

impl Actor for VerifierActor {
    type Context = Context<Self>;
}

enum Work {
    Request(Mail<Received>),
    Ping(Ping),
}

impl Handler<Mail<Received>> for VerifierActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Received>, ctx: &mut Self::Context) {
        self.wait(Work::Request(mail), ctx);
    }
}

impl Handler<Ping> for VerifierActor {
    type Result = ();

    fn handle(&mut self, ping: Ping, ctx: &mut Self::Context) {
        self.wait(Work::Ping(ping), ctx);
    }
}

impl VerifierActor {
    fn wait(&mut self, work: Work, ctx: &mut Context<Self>) {
        self.waiting.push_back(work);
        // With more in front of it there is a turn to come.
        if self.waiting.len() == 1 {
            self.take_turn(ctx);
        }
    }

    /// The next turn is when all sockets that are ready have had theirs. Under too much load what cannot be taken is read and refused
    /// before what was taken is verified, and does not wait unread until its sender gives up.
    fn take_turn(&mut self, ctx: &mut Context<Self>) {
        self.asked = Instant::now();
        // Comes back when the runtime has looked at its sockets again.
        let looked = actix::spawn(tokio::task::yield_now());
        ctx.spawn(looked.into_actor(self).map(|_, this, ctx| this.turn(ctx)));
    }

    fn turn(&mut self, ctx: &mut Context<Self>) {
        let began = Instant::now();
        let turn = (began.duration_since(self.asked) / 4).clamp(SHORTEST_TURN, LONGEST_TURN);
        while let Some(work) = self.waiting.pop_front() {
            match work {
                Work::Request(mail) => self.verify(mail.open()),
                // Nobody listens any more when the pinger has given up.
                Work::Ping(ping) => _ = ping.0.send(()),
            }
            if began.elapsed() >= turn {
                break;
            }
        }
        if !self.waiting.is_empty() {
            self.take_turn(ctx);
        }
    }

    fn verify(&self, Received { source, request, ticket }: Received) {
        failpoint!("verifier_received");
        if ticket.is_abandoned() {
            return ticket.resolve(Outcome::Shed(ShedReason::DeadlineInQueue));
        }
        // Whatever a sender can put into a request must not end the service for all others.
        let verdict = catch_unwind(AssertUnwindSafe(|| verify(&source.name, &source.scheme, &request, request.received_at)));
        match verdict {
            Ok(Ok(Verdict::Events(verified))) => {
                let events = verified.into_events().into_iter().map(|event| new_event(&source, &request, event)).collect();
                failpoint!("verifier_verified");
                match self.dedup.try_send(Verified { events, ticket }) {
                    Ok(()) => {}
                    Err(Refused::Full(delivery)) => delivery.ticket.resolve(Outcome::Shed(ShedReason::DedupMailbox)),
                    Err(Refused::Gone(delivery)) => delivery.ticket.resolve(Outcome::Failed(FailReason::Dropped)),
                }
            }
            Ok(Ok(Verdict::Challenge(answer))) => ticket.resolve(Outcome::Challenge(answer)),
            Ok(Ok(Verdict::Learn { secret, answer })) => match &self.learning {
                Some(learning) => learning.pass_on(Learn { source, secret, answer, ticket }),
                None => ticket.resolve(Outcome::Failed(FailReason::Keys)),
            },
            Ok(Ok(Verdict::KeysMissing)) => ticket.resolve(Outcome::Failed(FailReason::Keys)),
            Ok(Err(rejection)) => ticket.resolve(Outcome::Rejected(rejection)),
            Err(_) => {
                tracing::error!(source = %source.name, request_id = %ticket.request_id, "verification panicked; this is a bug, please report it");
                ticket.resolve(Outcome::Failed(FailReason::Dropped));
            }
        }
    }
}

/// Largest value of a provider's header that goes along to the queue, in bytes.
const MAX_FORWARDED_VALUE: usize = 1024;

/// What is stored of a verified event. Here and not in dedup, because the digest costs as much as the signature did.
fn new_event(source: &Arc<Source>, request: &Request, event: VerifiedEvent) -> NewEvent {
    let text = |value: &http::HeaderValue| value.to_str().ok().filter(|text| text.len() <= MAX_FORWARDED_VALUE).map(str::to_owned);
    let forwarded = source.forward_headers.iter().filter_map(|name| Some((name.as_str().to_owned(), text(request.headers.get(name)?)?)));
    NewEvent {
        key: event.key,
        guard: event.guard,
        digest: BodyDigest::of(&event.body),
        source: source.name.clone(),
        event_id: event.id,
        event_type: event.event_type,
        content_type: request.headers.get(&CONTENT_TYPE).and_then(text).map(String::into_boxed_str),
        headers: forwarded.collect(),
        body: owned_if_small_part(event.body, request.body.len()),
        received_at: request.received_at,
        window: source.dedup_window,
    }
}

/// A slice keeps the whole request's bytes in memory; one event of a large batch must not do that while it waits for the queue.
fn owned_if_small_part(body: Bytes, whole: usize) -> Bytes {
    if body.len() < whole { Bytes::copy_from_slice(&body) } else { body }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;
    use std::rc::Rc;

    use http::Method;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Config;
    use crate::delivery::UnixMillis;
    use crate::in_flight::{Budget, RequestId, Ticket};
    use crate::request::Headers;
    use crate::source::Sources;
    use crate::telemetry::Metrics;

    const REQUESTS: usize = 200;

    /// In the place of dedup.
    struct Counter(Rc<Cell<usize>>);

    impl Actor for Counter {
        type Context = Context<Self>;
    }

    impl Handler<Mail<Verified>> for Counter {
        type Result = ();

        fn handle(&mut self, mail: Mail<Verified>, _: &mut Self::Context) {
            self.0.set(self.0.get() + mail.open().events.len());
        }
    }

    impl Handler<Ping> for Counter {
        type Result = ();

        fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
            let _ = ping.0.send(());
        }
    }

    fn request(source: &Arc<Source>, budget: &Arc<Budget>, number: usize) -> (Received, oneshot::Receiver<Outcome>) {
        let request = Request {
            method: Method::POST,
            target: "/ingest/demo".into(),
            headers: Headers::default(),
            body: format!("{number:0>60000}").into(),
            received_at: UnixMillis(0),
        };
        let (now, permit) = (Instant::now(), budget.reserve(1, request.body.len()).expect("room"));
        let (ticket, outcome) = Ticket::new(permit, source.metrics.clone(), RequestId::next(), now, now + Duration::from_secs(600));
        (Received { source: source.clone(), request, ticket }, outcome)
    }

    #[test]
    fn sockets_that_are_ready_have_their_turn_before_all_that_waits_is_verified_and_a_ping_comes_after_it() {
        let metrics = Metrics::new().expect("metrics");
        let config = Config::from_toml("[[source]]\nname = \"demo\"\nprovider = \"none\"").expect("valid");
        let source = Sources::compile(&config, &metrics).expect("sources").at("demo").expect("the source").clone();
        let budget = Budget::new(REQUESTS, 1 << 30);
        actix::System::new().block_on(async {
            let verified = Rc::new(Cell::new(0));
            let roster = Roster::default();
            let (lifeline, _vigil) = Lifeline::new();
            let dedup = roster.mailbox("dedup", &Counter(verified.clone()).start(), REQUESTS);
            let verifiers = Verifiers { capacity: REQUESTS, learning: None, lifeline, roster: roster.clone() };
            let verifier = verifiers.start_here("verifier".into(), dedup);

            let (mut sender, socket) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
            socket.set_nonblocking(true).expect("it does not block");
            sender.write_all(b"x").expect("sent");
            let mut outcomes = Vec::new();
            for number in 0..REQUESTS {
                let (received, outcome) = request(&source, &budget, number);
                verifier.try_send(received).expect("room");
                outcomes.push(outcome);
            }
            let reading = actix::spawn({
                let verified = verified.clone();
                async move {
                    tokio::net::UnixStream::from_std(socket).expect("a socket").readable().await.expect("readable");
                    verified.get()
                }
            });
            let entry = roster.entries().into_iter().find(|entry| entry.actor == "verifier").expect("on the roster");
            entry.pulse.beat().await.expect("alive");
            assert_eq!(entry.meter.depth(), 0, "the ping went through the queue");
            let before = reading.await.expect("read");
            assert!(before < REQUESTS / 2, "{before} were verified before the socket was read");
            drop(outcomes);
        });
    }
}
