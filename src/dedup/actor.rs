//! The dedup actor: a thin shell around [`Batcher`] that knows about mailboxes, writers and the publisher.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler};
use crossbeam_channel::Sender;

use super::Surroundings;
use super::batch::{Batcher, Settled};
use super::recent::Recent;
use crate::in_flight::Ticket;
use crate::mailbox::{Mail, Ping};
use crate::messages::{Batch, BatchDone, Pending, PendingEvent, Verified};
use crate::shutdown::Lifeline;
use crate::store::{Inserted, NewEvent, StoredEvent};

/// How often abandoned deliveries are looked for while no message comes.
const TICK: Duration = Duration::from_millis(200);

pub(super) struct DedupActor {
    batcher: Batcher<Ticket>,
    recent: Recent,
    free_writers: usize,
    batches: Sender<Batch>,
    around: Surroundings,
    _lifeline: Lifeline,
}

impl DedupActor {
    pub(super) fn new(batcher: Batcher<Ticket>, recent: Recent, writers: usize, batches: Sender<Batch>, around: Surroundings) -> Self {
        let lifeline = around.lifeline.of("dedup");
        Self { batcher, recent, free_writers: writers, batches, around, _lifeline: lifeline }
    }

    fn answer(&mut self) {
        for resolved in self.batcher.take_resolved() {
            resolved.ticket.resolve_event(resolved.outcome, &resolved.event_id);
        }
    }

    /// A batch leaves as soon as a writer is free: alone at low load, large at high load, never after a wait that nobody needs.
    fn feed_writers(&mut self) {
        while self.free_writers > 0 {
            let Some(events) = self.batcher.next_batch() else { return };
            self.around.metrics.batch_events.observe(events.len() as f64);
            // The hold comes before the commit: the relay must never see a row of a batch under way as left over.
            let events = events.into_iter().map(|event| (event.clone(), self.around.in_hand.hold(event.key))).collect();
            if self.batches.try_send(Batch { events }).is_err() {
                // A free writer always takes a batch; without writers the process is about to end and the tickets answer 503.
                return;
            }
            self.free_writers -= 1;
        }
    }

    fn remember_and_pass_on(&mut self, batch: Batch, inserted: &[Inserted], settled: &Settled) {
        for at in &settled.conflicts {
            self.report_conflict(&batch.events[*at].0);
        }
        let mut accepted = settled.accepted.iter().copied().peekable();
        let mut hints = Vec::with_capacity(settled.accepted.len());
        for (at, (event, hold)) in batch.events.into_iter().enumerate() {
            if accepted.next_if_eq(&at).is_none() {
                continue;
            }
            self.recent.remember(&event);
            if let (Some(hold), Inserted::Accepted(seq)) = (hold, &inserted[at]) {
                match self.around.publisher_budget.reserve(1, event.body.len()) {
                    Ok(permit) => hints.push(PendingEvent { row: StoredEvent { seq: *seq, attempts: 0, event }, hold, permit }),
                    Err(_) => self.around.metrics.hints_dropped.inc(),
                }
            }
        }
        self.around.metrics.cache_entries.set(i64::try_from(self.recent.len()).unwrap_or(i64::MAX));
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
            this.batcher.drop_abandoned(Ticket::is_abandoned);
            this.answer();
        });
    }
}

impl Handler<Mail<Verified>> for DedupActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Verified>, _: &mut Self::Context) {
        let Verified { events, ticket, .. } = mail.open();
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
        self.answer();
        self.feed_writers();
    }
}

impl Handler<Mail<BatchDone>> for DedupActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<BatchDone>, _: &mut Self::Context) {
        let BatchDone { batch, result } = mail.open();
        self.free_writers += 1;
        let events: Vec<Arc<NewEvent>> = batch.events.iter().map(|(event, _)| event.clone()).collect();
        let settled = self.batcher.done(&events, &result);
        self.answer();
        if result.is_err() {
            // Senders that have gone away meanwhile would only make the next batch larger than it needs to be.
            self.batcher.drop_abandoned(Ticket::is_abandoned);
            self.answer();
        }
        self.feed_writers();
        if let Ok(inserted) = result {
            for (at, refused) in inserted.iter().enumerate() {
                if let Inserted::Refused(why) = refused {
                    let event = &events[at];
                    tracing::error!(source = %event.source, event_id = %event.event_id, "the database refuses this event: {why}; its sender was answered 503");
                }
            }
            self.remember_and_pass_on(batch, &inserted, &settled);
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
