//! State shared by the dedup actors and the writers: deliveries that wait, and the batches made of
//! them.
//!
//! A writer reports the result of its batch itself, and finds the next batch ready. By way of the
//! actor's mailbox it would be idle between two batches, and a lone delivery would wait for two
//! more thread wake-ups.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::batch::{BatchResult, Batcher, ResolvedDelivery};
use super::cache::DedupCache;
use super::router::{BatchId, Destination};
use super::writer::Batch;
use super::{DedupDeps, Verified};
use crate::config::model::RespondAfter;
use crate::domain::delivery::Marks;
use crate::domain::outcome::Outcome;
use crate::domain::sink::SinkSet;
use crate::faults::mutants::Mutant;
use crate::faults::points::failpoint;
use crate::in_flight::Ticket;
use crate::outbox::{InFlightGuard, PublishWaiter};
use crate::store::{Inserted, NewEvent, StoreError, StoredEvent};

/// Distributor of batches to writers, outcomes to tickets, and stored events to publishers.
pub(super) struct Dispatch {
    state: Mutex<State>,
    cache: DedupCache,
    deps: DedupDeps,
}

struct State {
    batcher: Batcher<Ticket>,
    /// Guards of the batches that may reach the store.
    guards: HashMap<BatchId, BatchGuards>,
    /// None after [`Dispatch::close`].
    work: Option<WriterQueues>,
}

/// Guards of a batch: for each sink, one for each event. They keep the relay from publishing the
/// rows. None if the sink does not want the event, or if the event is in flight already: then it is
/// a duplicate, or the relay will find its row.
type BatchGuards = Vec<Vec<Option<InFlightGuard>>>;

/// Queues that the writers take their batches from.
pub(super) struct WriterQueues {
    pub(super) store: Sender<Batch>,
    pub(super) spool: Sender<Batch>,
}

impl Dispatch {
    pub(super) fn new(
        batcher: Batcher<Ticket>,
        cache: DedupCache,
        work: WriterQueues,
        deps: DedupDeps,
    ) -> Arc<Self> {
        let state = State {
            batcher,
            guards: HashMap::new(),
            work: Some(work),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            cache,
            deps,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Ignores poisoning: the panic already ends the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a delivery, to be stored or answered from the cache.
    pub(super) fn offer(&self, Verified { events, ticket }: Verified) {
        let (metrics, now) = (&self.deps.metrics, Instant::now());
        let mut state = self.state();
        let joined = state.batcher.offer(ticket, events, |event| {
            let known = self.cache.known(event, now);
            if known.is_some() {
                metrics.cache_hits.inc()
            } else {
                metrics.cache_misses.inc()
            }
            known
        });
        metrics.joined.inc_by(joined as u64);
        failpoint!("dedup_offered");
        let resolved = self.feed_writers(state);
        self.answer(resolved);
    }

    /// Drops abandoned deliveries, and sends overdue batches to the spool.
    pub(super) fn tick(&self) {
        let mut state = self.state();
        if let Some(fallback) = &self.deps.spool {
            if let Some(time) = fallback.lease.renewed() {
                state.batcher.store_was_seen(time);
            }
            fallback.spool.report();
        }
        self.drop_abandoned(&mut state);
        let resolved = self.feed_writers(state);
        self.answer(resolved);
    }

    /// Handles the result of a batch from `destination`: an entry for each of its events, in order,
    /// or the reason why the transaction may not have committed.
    pub(super) fn done(
        &self,
        Batch { id, events }: Batch,
        destination: Destination,
        result: Result<Vec<Inserted>, StoreError>,
    ) {
        let mut state = self.state();
        let settled = state.batcher.done(id, destination, &result, Instant::now());
        failpoint!("dedup_committed");
        // If they are dropped without a hint, the relay finds the rows.
        let guards = settled
            .as_ref()
            .and_then(|_| state.guards.remove(&id))
            .unwrap_or_default();
        if result.is_err() {
            // Senders that have gone away would only make the next batch larger.
            self.drop_abandoned(&mut state);
        }
        let resolved = self.feed_writers(state);
        // Committed in the store or in the spool: from now on a redelivery may be answered from the
        // cache. The cache is filled before the answers, so that an answered sender's redelivery
        // finds its event.
        let (accepted, now) = (
            settled.iter().flat_map(|settled| &settled.accepted),
            Instant::now(),
        );
        accepted.for_each(|at| self.cache.remember(&events[*at], now));
        self.deps
            .metrics
            .cache_entries
            .set(i64::try_from(self.cache.len()).unwrap_or(i64::MAX));
        self.answer(resolved);
        failpoint!("dedup_answered");
        let (Some(settled), Ok(inserted)) = (settled, result) else {
            return;
        };
        self.report(&events, &inserted, &settled);
        if destination == Destination::Store {
            self.hint(&events, guards, &inserted);
        }
    }

    /// Logs and counts what is special about the events of a batch.
    fn report(&self, events: &[Arc<NewEvent>], inserted: &[Inserted], settled: &BatchResult) {
        for (event, inserted) in events.iter().zip(inserted) {
            if let Inserted::Refused(why) = inserted {
                tracing::error!(source = %event.source, event_id = %event.event_id, "event refused by the database: {why}; its sender was answered 503, other events are stored");
            }
        }
        settled
            .conflicts
            .iter()
            .for_each(|at| self.report_conflict(&events[*at]));
        for event in settled.accepted.iter().map(|at| &events[*at]) {
            self.report_marks(event);
            if self.wanting(event).is_empty() {
                self.deps.metrics.count_filtered(&event.source);
            }
        }
    }

    /// Ends the input. The writers finish their batches, and end.
    pub(super) fn close(&self) {
        self.state().work = None;
    }

    fn drop_abandoned(&self, state: &mut State) {
        state.batcher.drop_abandoned(Ticket::is_abandoned);
        if self.deps.respond_after == RespondAfter::Published {
            for outbox in &self.deps.outboxes {
                outbox.in_flight.drop_abandoned();
            }
        }
    }

    /// Returns guards of the events for each sink. The guard comes before the commit: the relay must
    /// not take a row of a batch under way.
    fn guards(&self, events: &[Arc<NewEvent>]) -> BatchGuards {
        let wanting: Vec<SinkSet> = events.iter().map(|event| self.wanting(event)).collect();
        let outboxes = self.deps.outboxes.iter().enumerate();
        let of_sinks = outboxes.map(|(at, outbox)| {
            let events = events.iter().zip(&wanting);
            let guard = |(event, wanting): (&Arc<NewEvent>, &SinkSet)| {
                let begin = || outbox.in_flight.begin(event.message);
                wanting.has(at).then(begin).flatten()
            };
            events.map(guard).collect()
        });
        of_sinks.collect()
    }

    fn wanting(&self, event: &NewEvent) -> SinkSet {
        event.wanted_by(&self.deps.sinks)
    }

    /// Sends a batch to each free writer: small ones at low load, large ones at high load, without
    /// a timer. Releases the lock, and returns the deliveries to answer without it.
    fn feed_writers(&self, mut state: MutexGuard<'_, State>) -> Vec<ResolvedDelivery<Ticket>> {
        let State {
            batcher,
            guards,
            work,
        } = &mut *state;
        let now = Instant::now();
        let spool = self.deps.spool.as_ref().map(|fallback| &fallback.spool);
        while let Some(work) = &*work
            && let Some(next) = batcher.next(now, |event| {
                spool.is_some_and(|spool| spool.may_have(event))
            })
        {
            let writer = match next.destination {
                Destination::Store => {
                    self.deps
                        .metrics
                        .batch_events
                        .observe(next.events.len() as f64);
                    if Mutant::CacheBeforeCommit.is_on() {
                        next.events
                            .iter()
                            .for_each(|event| self.cache.remember(event, now));
                    }
                    guards.insert(next.id, self.guards(&next.events));
                    &work.store
                }
                Destination::Spool => &work.spool,
            };
            if writer
                .try_send(Batch {
                    id: next.id,
                    events: next.events,
                })
                .is_err()
            {
                // A free writer always takes a batch. If the writers are gone, the process ends,
                // and the tickets answer 503.
                break;
            }
        }
        batcher.take_resolved()
    }

    /// Answers the senders, or makes them wait for the sinks.
    fn answer(&self, resolved: Vec<ResolvedDelivery<Ticket>>) {
        for ResolvedDelivery {
            ticket,
            outcome,
            event_id,
            unpublished,
        } in resolved
        {
            if unpublished.is_empty() || matches!(outcome, Outcome::Failed(_)) {
                ticket.resolve_event(outcome, &event_id);
                continue;
            }
            // Each event is waited for at each sink that wants it.
            let awaited: Vec<_> = unpublished
                .iter()
                .flat_map(|(key, wanting)| {
                    let outboxes = self.deps.outboxes.iter().enumerate();
                    outboxes
                        .filter(|(at, _)| wanting.has(*at))
                        .map(move |(_, outbox)| (outbox, key))
                })
                .collect();
            if awaited.is_empty() {
                ticket.resolve_event(outcome, &event_id);
                continue;
            }
            let waiters = PublishWaiter::for_delivery(ticket, outcome, event_id, awaited.len());
            for ((outbox, key), waiter) in awaited.into_iter().zip(waiters) {
                outbox.in_flight.add_waiter(key, waiter);
            }
        }
    }

    /// Sends the stored events to the publishers.
    fn hint(&self, events: &[Arc<NewEvent>], guards: BatchGuards, inserted: &[Inserted]) {
        for (outbox, guards) in self.deps.outboxes.iter().zip(guards) {
            let rows =
                events
                    .iter()
                    .zip(guards)
                    .zip(inserted)
                    .filter_map(|((event, guard), inserted)| match (guard, inserted) {
                        (Some(guard), Inserted::Accepted(seq)) => {
                            let row = StoredEvent {
                                republished: None,
                                seq: *seq,
                                attempts: 0,
                                event: event.clone(),
                            };
                            Some((row, guard))
                        }
                        _ => None,
                    });
            let dropped = outbox.hint(rows);
            if dropped > 0 {
                self.deps.metrics.hints_dropped.inc_by(dropped as u64);
            }
        }
    }

    fn report_marks(&self, event: &NewEvent) {
        if event.marks == Marks::default() {
            return;
        }
        self.deps
            .metrics
            .source(&event.source)
            .count_marks(&event.marks);
        if let Some(first) = event.marks.conflict_of {
            tracing::warn!(
                source = %event.source,
                event_id = %event.event_id,
                message_id = %event.message_id(),
                "delivery with the id of the stored event {first} and another body; it is published too, with the header x-hookweir-conflict-of"
            );
        }
    }

    fn report_conflict(&self, event: &NewEvent) {
        self.deps.metrics.source(&event.source).conflicts.inc();
        tracing::warn!(
            source = %event.source,
            event_id = %event.event_id,
            message_id = %event.message_id(),
            "delivery with the id of a stored event and another body; the first body is published, this one is kept in the table \"conflict\""
        );
    }
}
