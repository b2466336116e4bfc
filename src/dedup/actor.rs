//! The dedup actor: a thin shell around [`Batcher`] that knows about mailboxes, writers and the publisher.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler};
use crossbeam_channel::Sender;

use super::Surroundings;
use super::batch::{Batcher, Resolved, Settled};
use super::recent::Recent;
use super::route::{BatchId, Place};
use crate::config::model::RespondAfter;
use crate::control;
use crate::failpoint::failpoint;
use crate::in_flight::Ticket;
use crate::mailbox::{Mail, Ping};
use crate::messages::{Batch, BatchDone, Pending, PendingEvent, Verified};
use crate::outcome::Outcome;
use crate::publish::in_hand::Hold;
use crate::publish::receipt::Delivery as Waiting;
use crate::shutdown::Lifeline;
use crate::store::{Inserted, NewEvent, StoredEvent};

/// How often abandoned deliveries and overdue batches are looked for while no message comes.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct DedupActor {
    batcher: Batcher<Ticket>,
    recent: Recent,
    writers: Sender<Batch>,
    spool_writer: Sender<Batch>,
    /// For each event of a batch that may reach the store: keeps the relay from taking its row for one left over. None where this process
    /// holds the event already: then it is a duplicate, or the relay will find its row.
    holds: HashMap<BatchId, Vec<Option<Hold>>>,
    around: Surroundings,
    _lifeline: Lifeline,
}

impl DedupActor {
    pub(super) fn new(
        batcher: Batcher<Ticket>,
        recent: Recent,
        writers: Sender<Batch>,
        spool_writer: Sender<Batch>,
        around: Surroundings,
    ) -> Self {
        let lifeline = around.lifeline.of("dedup");
        Self { batcher, recent, writers, spool_writer, holds: HashMap::new(), around, _lifeline: lifeline }
    }

    fn answer(&mut self) {
        for Resolved { ticket, outcome, event_id, unpublished } in self.batcher.take_resolved() {
            if unpublished.is_empty() || matches!(outcome, Outcome::Failed(_)) {
                ticket.resolve_event(outcome, &event_id);
                continue;
            }
            let receipts = Waiting::receipts(ticket, outcome, event_id, unpublished.len());
            for (key, receipt) in unpublished.iter().zip(receipts) {
                self.around.in_hand.expect(key, receipt);
            }
        }
    }

    fn drop_abandoned(&mut self) {
        self.batcher.drop_abandoned(Ticket::is_abandoned);
        if self.around.respond_after == RespondAfter::Published {
            self.around.in_hand.drop_abandoned();
        }
        self.answer();
    }

    /// A batch leaves as soon as a writer is free: alone at low load, large at high load, never after a wait that nobody needs.
    fn feed_writers(&mut self) {
        let now = Instant::now();
        let spool = self.around.spool.as_ref().map(|fallback| &fallback.spool);
        while let Some(next) = self.batcher.next(now, |event| spool.is_some_and(|spool| spool.may_have(event))) {
            let writer = match next.place {
                Place::Store => {
                    self.around.metrics.batch_events.observe(next.events.len() as f64);
                    if control::makes("cache_before_commit") {
                        next.events.iter().for_each(|event| self.recent.remember(event));
                    }
                    // The hold comes before the commit: the relay must never see a row of a batch under way as left over.
                    self.holds.insert(next.id, next.events.iter().map(|event| self.around.in_hand.hold(event.key)).collect());
                    &self.writers
                }
                Place::Spool => &self.spool_writer,
            };
            if writer.try_send(Batch { id: next.id, events: next.events }).is_err() {
                // A free writer always takes a batch; without writers the process is about to end and the tickets answer 503.
                return;
            }
        }
    }

    /// Committed in the store or in the spool: a redelivery may be answered from memory.
    fn remember(&self, events: &[Arc<NewEvent>], settled: &Settled) {
        for at in &settled.conflicts {
            self.report_conflict(&events[*at]);
        }
        for at in &settled.accepted {
            self.recent.remember(&events[*at]);
        }
        self.around.metrics.cache_entries.set(i64::try_from(self.recent.len()).unwrap_or(i64::MAX));
    }

    fn pass_on(&self, events: Vec<Arc<NewEvent>>, holds: Vec<Option<Hold>>, inserted: &[Inserted]) {
        let mut hints = Vec::with_capacity(events.len());
        for ((event, hold), inserted) in events.into_iter().zip(holds).zip(inserted) {
            if let (Some(hold), Inserted::Accepted(seq)) = (hold, inserted) {
                match self.around.publisher_budget.reserve(1, event.body.len()) {
                    Ok(permit) => hints.push(PendingEvent { row: StoredEvent { seq: *seq, attempts: 0, event }, hold, permit }),
                    Err(_) => self.around.metrics.hints_dropped.inc(),
                }
            }
        }
        let count = hints.len() as u64;
        if count > 0 && self.around.publisher.try_send(Pending { events: hints }).is_err() {
            self.around.metrics.hints_dropped.inc_by(count);
        }
    }

    fn report_conflict(&self, event: &NewEvent) {
        self.around.metrics.source(&event.source).conflicts.inc();
        tracing::warn!(
            source = %event.source,
            event_id = %event.event_id,
            message_id = %event.message_id(),
            "a valid delivery has the id of a stored event and another body: the first went to the queue, this one is kept in \"conflict\""
        );
    }
}

impl Actor for DedupActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |this, _| {
            if let Some(fallback) = &this.around.spool {
                if let Some(time) = fallback.lease.renewed() {
                    this.batcher.store_was_seen(time);
                }
                fallback.spool.show();
            }
            this.drop_abandoned();
            this.feed_writers();
        });
    }
}

impl Handler<Mail<Verified>> for DedupActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Verified>, _: &mut Self::Context) {
        let Verified { events, ticket } = mail.open();
        let recent = &self.recent;
        let metrics = &self.around.metrics;
        let joined = self.batcher.offer(ticket, events, |event| {
            let known = recent.knows(event);
            if known {
                metrics.cache_hits.inc()
            } else {
                metrics.cache_misses.inc()
            }
            known
        });
        self.around.metrics.joined.inc_by(joined as u64);
        failpoint!("dedup_offered");
        self.answer();
        self.feed_writers();
    }
}

impl Handler<Mail<BatchDone>> for DedupActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<BatchDone>, _: &mut Self::Context) {
        let BatchDone { batch: Batch { id, events }, place, result } = mail.open();
        let settled = self.batcher.done(id, place, &result, Instant::now());
        failpoint!("dedup_committed");
        self.answer();
        if result.is_err() {
            // Senders that have gone away meanwhile would only make the next batch larger than it needs to be.
            self.drop_abandoned();
        }
        self.feed_writers();
        failpoint!("dedup_answered");
        let Some(settled) = settled else { return };
        // Without a hint the relay finds the rows, and may do so from now on.
        let holds = self.holds.remove(&id).unwrap_or_default();
        let Ok(inserted) = result else { return };
        for (event, inserted) in events.iter().zip(&inserted) {
            if let Inserted::Refused(why) = inserted {
                tracing::error!(source = %event.source, event_id = %event.event_id, "the database refuses this event: {why}; its sender was answered 503");
            }
        }
        self.remember(&events, &settled);
        if place == Place::Store {
            self.pass_on(events, holds, &inserted);
        }
    }
}

impl Handler<Ping> for DedupActor {
    type Result = ();

    fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
        // Nobody listens any more when the pinger has given up.
        let _ = ping.0.send(());
    }
}
