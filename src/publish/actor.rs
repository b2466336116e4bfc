//! The publisher actor: a shell around [`Window`] that feeds the publish tasks and passes on
//! results.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler};
use prometheus::IntGauge;
use tokio::sync::mpsc;

use super::envelope::Message;
use super::publish_task::Report;
use super::spans;
use super::start::SharedOptions;
use super::throttle::{CHECK, PublishThrottle};
use super::window::Window;
use crate::domain::sink::SinkName;
use crate::faults::points::failpoint;
use crate::outbox::{ConfirmBatch, MayPublish, Pending, PendingConfirms};
use crate::runtime::mailbox::{Mail, Ping};
use crate::runtime::shutdown::CriticalTask;

/// State that the actor shares with the stop of the publisher.
#[derive(Debug, Default)]
pub(super) struct Halt {
    /// No batch is sent any more.
    pub(super) halted: AtomicBool,
    /// Number of batches under way.
    pub(super) under_way: AtomicUsize,
}

/// The actor.
pub(super) struct PublisherActor {
    pub(super) sink: SinkName,
    pub(super) window: Window,
    pub(super) options: SharedOptions,
    pub(super) tasks: Vec<mpsc::Sender<Vec<Message>>>,
    pub(super) confirms: PendingConfirms,
    pub(super) halt: Arc<Halt>,
    pub(super) may_publish: MayPublish,
    /// None if senders wait for the sink: a pause would make them wait longer.
    pub(super) throttle: Option<PublishThrottle>,
    /// 1 while publishing is paused.
    pub(super) paused: IntGauge,
    /// A check for the end of the pause is scheduled.
    pub(super) checks_again: bool,
    pub(super) _lifeline: CriticalTask,
}

impl PublisherActor {
    fn feed_tasks(&mut self, ctx: &mut Context<Self>) {
        if !(self.may_publish)() {
            self.window.give_up();
        }
        let paused = self
            .throttle
            .as_mut()
            .is_some_and(|throttle| throttle.is_paused(Instant::now()));
        self.paused.set(paused.into());
        if paused && !self.checks_again {
            self.checks_again = true;
            ctx.run_later(CHECK, |this, ctx| {
                this.checks_again = false;
                this.feed_tasks(ctx);
            });
        }
        while !paused
            && !self.halt.halted.load(Ordering::Acquire)
            && let Some((task, batch)) = self.window.next_batch(&self.options.load())
        {
            // A free task takes a batch. If the tasks are gone the publisher ends, and the rows are
            // in the outbox.
            let _ = self.tasks[task].try_send(batch);
        }
        self.halt
            .under_way
            .store(self.window.busy_tasks(), Ordering::Release);
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
        self.feed_tasks(ctx);
    }
}

impl Handler<Mail<Report>> for PublisherActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Report>, ctx: &mut Self::Context) {
        let Report { task, results } = mail.open();
        failpoint!("publisher_reported");
        let to_record = match results {
            Some(results) => {
                let mut to_record = self.window.finished(task, results);
                for event in &mut to_record.confirmed {
                    event.guard.mark_published();
                    spans::confirmed(event, &self.sink);
                }
                to_record
            }
            None => {
                self.window.give_up_batch(task);
                ConfirmBatch::default()
            }
        };
        if !to_record.is_empty() {
            self.confirms.put(to_record);
        }
        self.feed_tasks(ctx);
    }
}

impl Handler<Ping> for PublisherActor {
    type Result = ();

    fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
        // The pinger may have given up.
        let _ = ping.0.send(());
    }
}
