//! The loop: feed, batch, commit, ack; and upkeep between two batches.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{LakeError, Result};
use crate::event::{Event, Millis};
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

/// Headers `traceparent` that a report has at most.
pub const MOST_TRACES: usize = 128;

/// Settings of the loop.
#[derive(Clone, Copy, Debug)]
pub struct RunLimits {
    /// Size and age of a batch.
    pub batch: CommitLimits,
    /// Ids that are kept in memory, 8 bytes each.
    pub known_ids: usize,
    /// Upkeep between two batches, if this process does it.
    pub upkeep: Option<UpkeepPace>,
    /// Free space of the lakehouse's disk at which nothing more is written, in bytes. Upkeep that makes room goes on.
    pub min_free: u64,
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
#[derive(Clone, Debug)]
pub struct BatchReport {
    /// Rows and copies.
    pub outcome: Committed,
    /// Copies of messages that were in the same batch.
    pub folded: usize,
    /// Duration of the commit, with its files.
    pub took: Duration,
    /// Headers `traceparent` of its events, up to [`MOST_TRACES`] of them.
    pub traces: Vec<String>,
}

/// Observer of the loop, for metrics and health.
pub trait Observer: Send {
    /// Notes that the table is open, that its ids are read, and that no event waits for it after an error.
    fn opened(&mut self);
    /// Takes the outcome of a batch.
    fn committed(&mut self, batch: BatchReport);
    /// Takes the time of receipt of the oldest event that was handed out and is not in the table. None: there is
    /// none.
    fn waiting(&mut self, oldest: Option<Millis>);
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
    feed: F,
    limits: RunLimits,
    observer: &mut dyn Observer,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut running = Running {
        place,
        feed,
        limits,
        observer,
        stop,
        writer: None,
        upkeep_at: limits.upkeep.map(|pace| Instant::now() + pace.every),
        pause: FIRST_PAUSE,
        oldest: None,
        feed_away: false,
    };
    // Without a sender nobody can stop the loop any more.
    while !*running.stop.borrow() && running.stop.has_changed().is_ok() {
        if let Err(error) = running.step().await {
            running.wait(error).await?;
        }
    }
    Ok(())
}

/// State of the loop.
struct Running<'a, F> {
    place: &'a LakePlace,
    feed: F,
    limits: RunLimits,
    observer: &'a mut dyn Observer,
    stop: watch::Receiver<bool>,
    writer: Option<Writer>,
    upkeep_at: Option<Instant>,
    pause: Duration,
    /// Earliest time of receipt of what was handed out and is not in the table.
    oldest: Option<Millis>,
    /// `true` after an error of the feed, until it has answered again.
    feed_away: bool,
}

impl<F: Feed> Running<'_, F> {
    /// Opens the table, does a round of upkeep, or commits a batch.
    async fn step(&mut self) -> Result<()> {
        let is_due = self.upkeep_at.is_some_and(|at| at <= Instant::now());
        if (self.writer.is_none() || !is_due)
            && let Err(no_room) = self.place.check_room(self.limits.min_free)
        {
            // A table that is there is opened in any case: its upkeep makes room.
            let is_new = self.writer.is_none() && Lake::find(self.place).await?.is_none();
            if self.writer.is_some() || is_new {
                return Err(no_room);
            }
        }
        let Some(mut writer) = self.writer.take() else {
            self.writer = Some(open(self.place, self.limits.known_ids).await?);
            // If events wait, a commit has failed before. Only the next one shows that the table takes rows.
            if self.oldest.is_none() {
                self.observer.opened();
            }
            return Ok(());
        };
        let done = match &self.limits.upkeep {
            Some(pace) if is_due => {
                let upkept = round(writer.lake(), &pace.limits, Millis::now()).await;
                self.observer.upkept(upkept);
                self.upkeep_at = Some(Instant::now() + pace.every);
                // A round changes the token. Read here, it costs no lost race.
                writer.refresh().await
            }
            _ => self.one_batch(&mut writer).await,
        };
        if !matches!(done, Err(LakeError::Away(_))) {
            self.writer = Some(writer);
        }
        done
    }

    /// Waits after an error. The messages go back to the feed.
    async fn wait(&mut self, error: LakeError) -> Result<()> {
        if matches!(error, LakeError::Table(_)) {
            return Err(error);
        }
        self.feed_away |= matches!(error, LakeError::Feed(_));
        self.observer.away(&error);
        self.feed.release().await?;
        let mut until = Instant::now() + self.pause;
        if let (LakeError::NoRoom(_), Some(_), Some(at)) = (&error, &self.writer, self.upkeep_at) {
            until = until.min(at);
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.look_until(until) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.feed.release().await
    }

    /// Waits. If it is not known since when events wait, one is looked at.
    async fn look_until(&mut self, until: Instant) {
        if self.oldest.is_none()
            && !self.feed_away
            && let Ok(Ok(message)) = timeout_at(until, self.feed.next()).await
            && let Ok(event) = message.event
        {
            self.handed_out(event.received_at);
        }
        sleep_until(until).await;
    }

    /// Notes an event that is not in the table.
    fn handed_out(&mut self, at: Millis) {
        if self.oldest.is_none_or(|oldest| at < oldest) {
            self.oldest = Some(at);
            self.observer.waiting(self.oldest);
        }
    }

    /// Collects a batch, commits it and acks it.
    async fn one_batch(&mut self, writer: &mut Writer) -> Result<()> {
        if self.feed_away && self.feed.connect().await? {
            self.feed_away = false;
            self.observer.opened();
        }
        let batch = self.collect().await?;
        if batch.is_empty() {
            // What was handed out before a failed commit has gone to another member of the group.
            self.oldest = None;
            self.observer.waiting(None);
            self.observer.opened();
            return Ok(());
        }
        // The disk may have filled while events were waited for.
        self.place.check_room(self.limits.min_free)?;
        let (events, acks, folded) = batch.into_parts();
        let (mut acks, begun) = (Some(acks), Instant::now());
        if faults::makes("lake_ack_first") {
            self.feed.ack(acks.take().unwrap_or_default()).await?;
        }
        let outcome = writer.commit(&events).await?;
        let took = begun.elapsed();
        // With the events goes their memory: the feed fetches more with the ack.
        let traces = traces(events);
        faults::point("lake_after_commit");
        if let Some(acks) = acks {
            self.feed.ack(acks).await?;
        }
        faults::point("lake_after_ack");
        self.oldest = None;
        self.pause = FIRST_PAUSE;
        self.feed_away = false;
        self.observer.waiting(None);
        self.observer.committed(BatchReport {
            outcome,
            folded,
            took,
            traces,
        });
        Ok(())
    }

    /// Takes messages until the batch is full, its oldest message has the age, or the loop ends. If there is no
    /// message until the next round of upkeep, the batch is empty.
    async fn collect(&mut self) -> Result<CommitBatch<F::Ack>> {
        let limits = self.limits.batch;
        let mut stop = self.stop.clone();
        let mut batch = CommitBatch::default();
        let mut until = self.upkeep_at;
        let mut full_age: Option<Instant> = None;
        while !batch.is_full(&limits) {
            let message = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                message = self.feed.next() => message?,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
            };
            until = Some(*full_age.get_or_insert_with(|| Instant::now() + limits.age));
            match message.event {
                Ok(event) => {
                    self.handed_out(event.received_at);
                    batch.push(event, message.ack);
                }
                Err(reason) => {
                    self.observer.unreadable(&reason);
                    batch.push_ack(message.ack);
                }
            }
        }
        Ok(batch)
    }
}

/// Returns the headers `traceparent` of events whose traces are sampled.
fn traces(events: Vec<Event>) -> Vec<String> {
    let headers = events.into_iter().flat_map(|event| event.headers);
    let sampled = headers.filter(|(name, value)| name == "traceparent" && !value.ends_with("-00"));
    let values = sampled.map(|(_, value)| value);
    values.take(MOST_TRACES).collect()
}

async fn open(place: &LakePlace, known_ids: usize) -> Result<Writer> {
    let mut writer = Writer::new(Lake::open(place).await?, known_ids);
    writer.refresh().await?;
    Ok(writer)
}
