//! The loop: feed, batch, commit, ack; and upkeep between two batches.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::error::{LakeError, Result};
use crate::event::Millis;
use crate::faults;
use crate::feed::Feed;
use crate::lake::{Lake, LakePlace};
use crate::protocol::batch::{CommitBatch, CommitLimits};
use crate::upkeep::{UpkeepLimits, Upkept, round};
use crate::writer::{Committed, Writer};

/// Pause after the first failed attempt. It doubles up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts while the lakehouse or the feed is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Settings of the loop.
#[derive(Clone, Copy, Debug)]
pub struct RunLimits {
    /// Size and age of a batch.
    pub batch: CommitLimits,
    /// Ids that are kept in memory, 8 bytes each.
    pub known_ids: usize,
    /// Upkeep between two batches, if this process does it.
    pub upkeep: Option<UpkeepPace>,
}

/// Upkeep that runs between two batches.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepPace {
    /// Least time between two rounds.
    pub every: Duration,
    /// Settings of a round.
    pub limits: UpkeepLimits,
}

/// A batch that is in the table.
#[derive(Clone, Copy, Debug)]
pub struct BatchReport {
    /// Rows and copies.
    pub outcome: Committed,
    /// Copies of messages that were in the same batch.
    pub folded: usize,
    /// Earliest time of receipt.
    pub oldest: Option<Millis>,
    /// Duration of the commit, with its files.
    pub took: Duration,
}

/// Observer of the loop, for metrics and health.
pub trait Observer: Send {
    /// Notes that the table is open, and that its ids are read.
    fn opened(&mut self);
    /// Takes the outcome of a batch.
    fn committed(&mut self, batch: BatchReport);
    /// Takes an error. The feed waits until the lakehouse can be written to.
    fn away(&mut self, error: &LakeError);
    /// Takes the reason for which a message cannot become a row.
    fn unreadable(&mut self, reason: &str);
    /// Takes the outcome of a round of upkeep. A failed one is repeated after the pause between rounds.
    fn upkept(&mut self, outcome: Result<Upkept>);
}

/// Writes what `feed` hands out to the lakehouse at `place`, until `stop` becomes `true`.
///
/// While the lakehouse or the feed is away the messages go back to the feed. Only a foreign table is an error
/// here.
pub async fn run<F: Feed>(
    place: &LakePlace,
    mut feed: F,
    limits: RunLimits,
    observer: &mut dyn Observer,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    let mut writer: Option<Writer> = None;
    let mut upkeep_at = limits.upkeep.map(|pace| Instant::now() + pace.every);
    // Without a sender nobody can stop the loop any more.
    while !*stop.borrow() && stop.has_changed().is_ok() {
        let done = match &mut writer {
            Some(writer) => match &limits.upkeep {
                Some(pace) if upkeep_at.is_some_and(|at| at <= Instant::now()) => {
                    observer.upkept(round(writer.lake(), &pace.limits, Millis::now()).await);
                    upkeep_at = Some(Instant::now() + pace.every);
                    // A round changes the token. Read here, it costs no lost race.
                    writer.refresh().await
                }
                _ => {
                    let batch =
                        collect(&mut feed, &limits.batch, upkeep_at, observer, &mut stop).await;
                    let done = one_batch(writer, &mut feed, batch, observer).await;
                    done.map(|()| pause = FIRST_PAUSE)
                }
            },
            None => open(place, limits.known_ids).await.map(|opened| {
                observer.opened();
                writer = Some(opened);
            }),
        };
        let Err(error) = done else { continue };
        match error {
            LakeError::Away(_) => writer = None,
            LakeError::Feed(_) => {}
            LakeError::Table(_) => return Err(error),
        }
        observer.away(&error);
        feed.release().await?;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(())
}

async fn open(place: &LakePlace, known_ids: usize) -> Result<Writer> {
    let mut writer = Writer::new(Lake::open(place).await?, known_ids);
    writer.refresh().await?;
    Ok(writer)
}

/// Commits a batch and acks it.
async fn one_batch<F: Feed>(
    writer: &mut Writer,
    feed: &mut F,
    batch: Result<CommitBatch<F::Ack>>,
    observer: &mut dyn Observer,
) -> Result<()> {
    let batch = batch?;
    if batch.is_empty() {
        return Ok(());
    }
    let (events, acks, folded) = batch.into_parts();
    let (mut acks, begun) = (Some(acks), Instant::now());
    if faults::makes("lake_ack_first") {
        feed.ack(acks.take().unwrap_or_default()).await?;
    }
    let outcome = writer.commit(&events).await?;
    let took = begun.elapsed();
    faults::point("lake_after_commit");
    if let Some(acks) = acks {
        feed.ack(acks).await?;
    }
    faults::point("lake_after_ack");
    observer.committed(BatchReport {
        outcome,
        folded,
        oldest: events.iter().map(|event| event.received_at).min(),
        took,
    });
    Ok(())
}

/// Takes messages until the batch is full, its oldest message has the age, or the loop ends. If there is no
/// message until `idle_until`, the batch is empty.
async fn collect<F: Feed>(
    feed: &mut F,
    limits: &CommitLimits,
    idle_until: Option<Instant>,
    observer: &mut dyn Observer,
    stop: &mut watch::Receiver<bool>,
) -> Result<CommitBatch<F::Ack>> {
    let mut batch = CommitBatch::default();
    let mut until = idle_until;
    let mut full_age: Option<Instant> = None;
    while !batch.is_full(limits) {
        let message = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            message = feed.next() => message?,
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
        };
        until = Some(*full_age.get_or_insert_with(|| Instant::now() + limits.age));
        match message.event {
            Ok(event) => batch.push(event, message.ack),
            Err(reason) => {
                observer.unreadable(&reason);
                batch.push_ack(message.ack);
            }
        }
    }
    Ok(batch)
}
