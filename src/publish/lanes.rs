//! The publisher's I/O: one task that keeps the connection up, and the lanes, each a task with one channel and one batch under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::{Channel, Fate, Link, LinkState, Message, Target};
use crate::faults::failpoint::failpoint;
use crate::outbox::{MayPublish, SinkHealth};
use crate::runtime::backoff::Backoff;
use crate::runtime::mailbox::Mailbox;
use crate::telemetry::Metrics;

/// Delay between two attempts to connect, from the first to the longest. Short: nothing leaves the outbox meanwhile.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A link that lived this long was a good one: the next failure is a new one.
const GOOD_LINK: Duration = Duration::from_secs(10);
/// Between two attempts to open a channel; the supervisor is replacing the link meanwhile.
const REOPEN: Duration = Duration::from_millis(50);

/// How often it is looked at whether the queue is willing again.
const LOOK: Duration = Duration::from_secs(1);
/// Between two log lines of a lane about messages that were not confirmed.
const COMPLAIN: Duration = Duration::from_secs(10);

/// The link in use, if there is one.
pub(super) type Current = Option<Arc<dyn Link>>;

/// lane → actor: what became of a batch.
#[derive(Debug)]
pub(super) struct Report {
    /// Whose.
    pub(super) lane: usize,
    /// One for each message, in order. None: the lease was lost, and nothing was sent.
    pub(super) fates: Option<Vec<Fate>>,
}

/// Connects, offers the link to the lanes, connects again when it is lost, without end, until `stop` says true.
pub(super) async fn supervise(
    target: Arc<dyn Target>,
    links: watch::Sender<Current>,
    health: SinkHealth,
    mut stop: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let began = Instant::now();
        let connected = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            connected = target.connect() => connected,
        };
        let why = match connected {
            Err(error) => error.0,
            Ok(link) => {
                let link: Arc<dyn Link> = link.into();
                links.send_replace(Some(link.clone()));
                let lost = tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => None,
                    why = lost(link.state(), &health) => Some(why),
                };
                links.send_replace(None);
                link.close().await;
                let Some(why) = lost else { return };
                why
            }
        };
        health.down(&why);
        if began.elapsed() >= GOOD_LINK {
            backoff.reset();
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(backoff.delay()) => {}
        }
    }
}

/// Follows a link until it is lost; why it was.
async fn lost(mut state: watch::Receiver<LinkState>, health: &SinkHealth) -> String {
    loop {
        match &*state.borrow_and_update() {
            LinkState::Up => health.up(),
            LinkState::Blocked(why) => health.down(why),
            LinkState::Down(why) => return why.clone(),
        }
        loop {
            match tokio::time::timeout(LOOK, state.changed()).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return "the connection is gone".to_owned(),
                Err(_) => health.forget_old_refusal(),
            }
        }
    }
}

/// Publishes what arrives on `batches`, one batch at a time, until that is closed. A batch waits here for as long as there is no link, or
/// the link is blocked: what was not handed over cannot be there twice.
pub(super) async fn lane(
    lane: usize,
    mut batches: mpsc::Receiver<Vec<Message>>,
    mut links: watch::Receiver<Current>,
    reports: Mailbox<Report>,
    may_publish: MayPublish,
    metrics: Arc<Metrics>,
    health: SinkHealth,
) {
    let mut kept = None;
    let mut complaints = Complaints::default();
    while let Some(batch) = batches.recv().await {
        let Some(mut open) = usable(kept.take(), &mut links).await else {
            return;
        };
        // Asked here, after what may have been a long wait: without the lease the rows are another instance's by now.
        if !may_publish() {
            kept = Some(open);
            if reports.try_send(Report { lane, fates: None }).is_err() {
                return;
            }
            continue;
        }
        let began = Instant::now();
        failpoint!("lane_before_publish");
        let fates = open.channel.publish(&batch).await;
        failpoint!("lane_after_publish");
        metrics
            .confirm_seconds
            .observe(began.elapsed().as_secs_f64());
        count(&fates, &metrics);
        complaints.add(&fates);
        tell(&fates, &health);
        // After an error a confirm may still come in for the old batch: a new channel cannot mistake it for one of the next.
        let certain = !fates
            .iter()
            .any(|fate| matches!(fate, Fate::Unknown(_) | Fate::Refused(_)));
        kept = certain.then_some(open);
        if reports
            .try_send(Report {
                lane,
                fates: Some(fates),
            })
            .is_err()
        {
            // The actor is gone and the process about to end; the rows are in the outbox.
            return;
        }
    }
}

/// What the fates say about the queue's willingness: one event that has to wait is enough to be told.
fn tell(fates: &[Fate], health: &SinkHealth) {
    let nacked = fates.iter().find_map(|fate| {
        if let Fate::Nacked(why) = fate {
            Some(why)
        } else {
            None
        }
    });
    match nacked {
        Some(why) => health.refused(why),
        None if fates.contains(&Fate::Confirmed) => health.confirmed(),
        None => {}
    }
}

fn count(fates: &[Fate], metrics: &Metrics) {
    for alike in fates.chunk_by(|a, b| a.label() == b.label()) {
        metrics
            .published
            .with_label_values(&[alike[0].label()])
            .inc_by(alike.len() as u64);
    }
}

/// What a lane has to say about messages that were not confirmed: a line now and then, so that an outage does not fill the disk.
#[derive(Default)]
struct Complaints {
    since_last: u64,
    last: Option<Instant>,
}

impl Complaints {
    fn add(&mut self, fates: &[Fate]) {
        let Some(first) = fates.iter().find(|fate| **fate != Fate::Confirmed) else {
            return;
        };
        self.since_last += fates
            .iter()
            .filter(|fate| **fate != Fate::Confirmed)
            .count() as u64;
        if self.last.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            let why = match first {
                Fate::Nacked(why) | Fate::Unknown(why) | Fate::Refused(why) => why,
                Fate::Confirmed | Fate::Unroutable => "no queue is bound for it",
            };
            tracing::warn!(
                messages = self.since_last,
                result = first.label(),
                "the queue did not confirm some messages; the first: {why}"
            );
            *self = Self {
                since_last: 0,
                last: Some(Instant::now()),
            };
        }
    }
}

struct Open {
    channel: Box<dyn Channel>,
    link: watch::Receiver<LinkState>,
}

/// The channel at hand if it is still good, or a new one, as soon as there is one that takes messages. None at the end.
async fn usable(mut kept: Option<Open>, links: &mut watch::Receiver<Current>) -> Option<Open> {
    loop {
        let mut open = match kept.take() {
            Some(open) => open,
            None => {
                let link = links.wait_for(Option::is_some).await.ok()?.clone()?;
                let mut state = link.state();
                let up = state
                    .wait_for(|state| !matches!(state, LinkState::Blocked(_)))
                    .await
                    .is_ok_and(|state| *state == LinkState::Up);
                let channel = if up { link.channel().await.ok() } else { None };
                match channel {
                    Some(channel) => Open {
                        channel,
                        link: state,
                    },
                    None => {
                        tokio::time::sleep(REOPEN).await;
                        continue;
                    }
                }
            }
        };
        let up = open
            .link
            .wait_for(|state| !matches!(state, LinkState::Blocked(_)))
            .await
            .is_ok_and(|state| *state == LinkState::Up);
        if up && open.channel.is_open() {
            return Some(open);
        }
    }
}
