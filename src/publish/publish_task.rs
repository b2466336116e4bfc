//! A publish task: one channel, and one batch under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::envelope::Message;
use super::sinks::{Channel, ConnectionState, PublishResult};
use super::spans;
use super::supervisor::CurrentConnection;
use crate::domain::sink::SinkName;
use crate::faults::points::failpoint;
use crate::outbox::{MayPublish, SinkHealth};
use crate::runtime::mailbox::Mailbox;
use crate::telemetry::Metrics;

/// Delay between two attempts to open a channel. Meanwhile the supervisor replaces the connection.
const REOPEN: Duration = Duration::from_millis(50);
/// Interval at which the lease is checked while a batch is under way.
const LEASE_CHECK: Duration = Duration::from_millis(500);
/// Shortest time between two log lines of a task about unconfirmed messages.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Report of a publish task to the actor, about one batch.
#[derive(Debug)]
pub(super) struct Report {
    /// Number of the task.
    pub(super) task: usize,
    /// Result of each message, in order. None if nothing was sent: the lease was
    /// lost, or the sink is paused.
    pub(super) results: Option<Vec<PublishResult>>,
}

/// A publish task.
pub(super) struct PublishTask {
    /// Number of the task.
    pub(super) number: usize,
    pub(super) batches: mpsc::Receiver<Vec<Message>>,
    pub(super) connection: watch::Receiver<CurrentConnection>,
    pub(super) reports: Mailbox<Report>,
    pub(super) holds_lease: MayPublish,
    pub(super) may_publish: MayPublish,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: SinkHealth,
    pub(super) sink: SinkName,
}

impl PublishTask {
    /// Publishes one batch after the other, until `batches` is closed. A batch waits here while
    /// there is no connection, or while the connection is blocked: a batch that was not sent cannot
    /// make copies.
    pub(super) async fn run(mut self) {
        let mut kept = None;
        let mut log = UnconfirmedLog::default();
        while let Some(batch) = self.batches.recv().await {
            let Some(mut open) = open_channel(kept.take(), &mut self.connection).await else {
                return;
            };
            // Asked after a wait that may have been long: without the lease, the rows may be
            // another instance's by now. The sink may be paused, too.
            let results = if (self.may_publish)() {
                let results = self.publish(&mut open, &batch, &mut log).await;
                // After an error, a late confirm of this batch may still arrive. A new channel
                // cannot mistake it for a confirm of the next batch. A refusal is an answer: the
                // channel itself knows if it has ended with it.
                let certain = !results
                    .iter()
                    .any(|result| matches!(result, PublishResult::Unknown(_)));
                kept = certain.then_some(open);
                Some(results)
            } else {
                kept = Some(open);
                None
            };
            let report = Report {
                task: self.number,
                results,
            };
            if self.reports.try_send(report).is_err() {
                // The actor is gone, and the process ends. The rows are in the outbox.
                return;
            }
        }
    }

    async fn publish(
        &self,
        open: &mut OpenChannel,
        batch: &[Message],
        log: &mut UnconfirmedLog,
    ) -> Vec<PublishResult> {
        let began = Instant::now();
        let spans = spans::attempts(batch, &self.sink);
        failpoint!("publish_task_before");
        let results = tokio::select! {
            results = open.channel.publish(batch) => results,
            // What the channel has not sent yet goes with it: a sink that was away must not get rows
            // that are another instance's by now.
            () = lease_lost(&self.holds_lease) => vec![
                PublishResult::Unknown("the lease of this instance was lost".to_owned());
                batch.len()
            ],
        };
        spans::answered(spans, &results);
        failpoint!("publish_task_after");
        self.metrics
            .confirm_seconds
            .observe(began.elapsed().as_secs_f64());
        count(&results, &self.sink, &self.metrics);
        log.add(&results);
        report_health(&results, &self.health);
        results
    }
}

/// Waits until the lease is lost, which a batch under way does not survive. A batch that waits for a
/// blocked sink may wait for hours. A pause of the sink is no reason: what was sent may be there.
async fn lease_lost(holds_lease: &MayPublish) {
    loop {
        tokio::time::sleep(LEASE_CHECK).await;
        if !holds_lease() {
            return;
        }
    }
}

/// Reports to `health` whether the sink refuses messages. One refused message is enough.
fn report_health(results: &[PublishResult], health: &SinkHealth) {
    let nacked = results.iter().find_map(|result| {
        if let PublishResult::Nacked(why) | PublishResult::Unroutable(why) = result {
            Some(why)
        } else {
            None
        }
    });
    match nacked {
        Some(why) => health.refused(why),
        None if results.contains(&PublishResult::Confirmed) => health.confirmed(),
        None => {}
    }
}

fn count(results: &[PublishResult], sink: &SinkName, metrics: &Metrics) {
    for alike in results.chunk_by(|a, b| a.label() == b.label()) {
        metrics.count_published(sink, alike[0].label(), alike.len() as u64);
    }
}

/// Log of unconfirmed messages. It is limited to a line now and then, so that an outage does not
/// fill the disk.
#[derive(Default)]
struct UnconfirmedLog {
    since_last: u64,
    last: Option<Instant>,
}

impl UnconfirmedLog {
    fn add(&mut self, results: &[PublishResult]) {
        let unconfirmed = || {
            results
                .iter()
                .filter(|result| **result != PublishResult::Confirmed)
        };
        let Some(first) = unconfirmed().next() else {
            return;
        };
        self.since_last += unconfirmed().count() as u64;
        if self.last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            let why = match first {
                PublishResult::Unroutable(why)
                | PublishResult::Nacked(why)
                | PublishResult::Unknown(why)
                | PublishResult::Refused(why) => why,
                PublishResult::Confirmed => "",
            };
            tracing::warn!(
                messages = self.since_last,
                result = first.label(),
                "{} messages not confirmed by the sink, the first: {why}; they stay in the outbox \
                 and are published again",
                self.since_last
            );
            *self = Self {
                since_last: 0,
                last: Some(Instant::now()),
            };
        }
    }
}

/// A channel, and the state of its connection.
struct OpenChannel {
    channel: Box<dyn Channel>,
    connection: watch::Receiver<ConnectionState>,
}

/// Returns `kept` if it is still good, or else a new channel, as soon as one takes messages.
/// Returns None at the end.
async fn open_channel(
    mut kept: Option<OpenChannel>,
    current: &mut watch::Receiver<CurrentConnection>,
) -> Option<OpenChannel> {
    loop {
        let mut open = match kept.take() {
            Some(open) => open,
            None => {
                let connection = current.wait_for(Option::is_some).await.ok()?.clone()?;
                let mut state = connection.state();
                let channel = if is_up(&mut state).await {
                    connection.channel().await.ok()
                } else {
                    None
                };
                let Some(channel) = channel else {
                    tokio::time::sleep(REOPEN).await;
                    continue;
                };
                OpenChannel {
                    channel,
                    connection: state,
                }
            }
        };
        if is_up(&mut open.connection).await && open.channel.is_open() {
            return Some(open);
        }
    }
}

/// Waits until a connection is not blocked. Returns `true` if it takes messages then.
async fn is_up(state: &mut watch::Receiver<ConnectionState>) -> bool {
    state
        .wait_for(|state| !matches!(state, ConnectionState::Blocked(_)))
        .await
        .is_ok_and(|state| *state == ConnectionState::Up)
}
