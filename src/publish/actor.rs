//! The publisher actor: a shell around [`Window`] that feeds the lanes and passes on what became of their batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler};
use prometheus::IntGauge;
use tokio::sync::mpsc;

use super::Message;
use super::lanes::Report;
use super::routing_key::RoutingKeys;
use super::window::Window;
use super::yielding::{LOOK, Yielding};
use crate::faults::failpoint::failpoint;
use crate::outbox::{ConfirmBatch, MayPublish, Pending, PendingConfirms};
use crate::runtime::mailbox::{Mail, Ping};
use crate::runtime::shutdown::Lifeline;

/// What the one who stops the publisher and the actor share.
#[derive(Debug, Default)]
pub(super) struct Halt {
    /// No batch goes out any more.
    pub(super) halted: AtomicBool,
    /// Batches that are out.
    pub(super) under_way: AtomicUsize,
}

/// The actor.
pub(super) struct PublisherActor {
    pub(super) window: Window,
    pub(super) keys: RoutingKeys,
    pub(super) lanes: Vec<mpsc::Sender<Vec<Message>>>,
    pub(super) confirms: PendingConfirms,
    pub(super) halt: Arc<Halt>,
    pub(super) may_publish: MayPublish,
    /// None where senders wait for the queue: to put it off would make them wait for longer.
    pub(super) yielding: Option<Yielding>,
    /// Says whether it stands aside.
    pub(super) stands_aside: IntGauge,
    /// It will look again by itself.
    pub(super) looks_again: bool,
    pub(super) _lifeline: Lifeline,
}

impl PublisherActor {
    fn feed_lanes(&mut self, ctx: &mut Context<Self>) {
        if !(self.may_publish)() {
            self.window.give_up();
        }
        let aside = self
            .yielding
            .as_mut()
            .is_some_and(|yielding| yielding.stands_aside(Instant::now()));
        self.stands_aside.set(aside.into());
        if aside && !self.looks_again {
            self.looks_again = true;
            ctx.run_later(LOOK, |this, ctx| {
                this.looks_again = false;
                this.feed_lanes(ctx);
            });
        }
        while !aside
            && !self.halt.halted.load(Ordering::Acquire)
            && let Some((lane, batch)) = self.window.next_batch(&self.keys)
        {
            // A free lane takes a batch; without lanes the publisher is ending, and the rows are in the outbox.
            let _ = self.lanes[lane].try_send(batch);
        }
        self.halt
            .under_way
            .store(self.window.busy_lanes(), Ordering::Release);
    }
}

impl Actor for PublisherActor {
    type Context = Context<Self>;
}

impl Handler<Mail<Pending>> for PublisherActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Pending>, ctx: &mut Self::Context) {
        failpoint!("publisher_pending");
        for event in mail.open().events {
            self.window.push(event);
        }
        self.feed_lanes(ctx);
    }
}

impl Handler<Mail<Report>> for PublisherActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Report>, ctx: &mut Self::Context) {
        let Report { lane, fates } = mail.open();
        failpoint!("publisher_reported");
        let settlement = match fates {
            Some(fates) => {
                let settlement = self.window.finished(lane, fates);
                settlement
                    .confirmed
                    .iter()
                    .for_each(|event| event.guard.mark_published());
                settlement
            }
            None => {
                self.window.give_up_batch(lane);
                ConfirmBatch::default()
            }
        };
        if !settlement.is_empty() {
            self.confirms.put(settlement);
        }
        self.feed_lanes(ctx);
    }
}

impl Handler<Ping> for PublisherActor {
    type Result = ();

    fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
        // Nobody listens any more when the pinger has given up.
        let _ = ping.0.send(());
    }
}
