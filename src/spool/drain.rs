//! The thread that moves events from the spool into the store, batch after batch in the order in which they were spooled. Each goes
//! through the store's dedup as if it had just come; the store's own relay publishes it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{CONFLICT_WINDOW, Spool};
use crate::domain::delivery::{InstanceId, Marks, MessageId};
use crate::faults::control;
use crate::faults::failpoint::failpoint;
use crate::runtime::shutdown::Lifeline;
use crate::store::keeper::Lease;
use crate::store::{First, Inserted, Intake, Mark, NewEvent, Room, StoreError, StoredEvent};

/// Between two looks while there is nothing to drain, or no store to drain to.
const LOOK: Duration = Duration::from_millis(500);
/// Between two attempts while the store refuses.
const RETRY: Duration = Duration::from_secs(1);

/// An event with its place in the batch.
type Row = (usize, Arc<NewEvent>);

/// What the drain works with.
pub struct Drain {
    /// Where events come from.
    pub spool: Spool,
    /// Where they go.
    pub store: Arc<dyn Intake>,
    /// Who stores them there.
    pub instance: InstanceId,
    /// Whether the store is there.
    pub lease: Lease,
    /// How much goes in one commit.
    pub room: Room,
}

/// A drain at work.
pub struct Draining {
    thread: JoinHandle<()>,
    stop: Sender<()>,
}

impl Drain {
    /// Starts the thread. Uses one connection of the store.
    pub fn start(self, lifeline: &Lifeline) -> io::Result<Draining> {
        let (stop, stopped) = bounded(0);
        let lifeline = lifeline.of("drain");
        let thread = std::thread::Builder::new()
            .name("drain".into())
            .spawn(move || {
                let _lifeline = lifeline;
                self.run(&stopped);
            })?;
        Ok(Draining { thread, stop })
    }

    fn run(mut self, stop: &Receiver<()>) {
        let (mut failing, whole) = (false, self.room);
        let mut pause = Duration::ZERO;
        while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            self.spool.mend();
            if !self.lease.is_held() {
                pause = LOOK;
                continue;
            }
            match self.pass() {
                Ok(moved) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the spool drains again");
                    }
                    self.room = whole;
                    pause = if moved { Duration::ZERO } else { LOOK };
                }
                Err(error) => {
                    self.spool.failed(&error);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("the spool cannot be drained, trying on: {error}");
                    }
                    // Less at once the next time: what is ahead of a row that cannot be stored now gets through.
                    self.room.events = (self.room.events / 8).max(1);
                    pause = RETRY;
                }
            }
        }
    }

    /// Moves one batch; false if there was none.
    fn pass(&self) -> Result<bool, StoreError> {
        self.spool.count_parked()?;
        if self.spool.held().is_clear() {
            return Ok(false);
        }
        let mut batch = self.spool.oldest(self.room)?;
        if batch.is_empty() {
            return self.pass_conflict();
        }
        // As every batch of the store: sorted by key, so that two of them cannot deadlock.
        batch.sort_unstable_by_key(|stored| stored.event.key);
        failpoint!("drain_before_commit");
        let mut done: Vec<&StoredEvent> = Vec::with_capacity(batch.len());
        for (stored, inserted) in batch.iter().zip(self.insert(&batch)?) {
            match inserted {
                Inserted::Refused(why) => self.park(stored, &why)?,
                Inserted::Conflict(_) => {
                    self.report_conflict(&stored.event);
                    done.push(stored);
                }
                Inserted::Accepted(_) | Inserted::Duplicate(_) | Inserted::Unpublished(_) => {
                    done.push(stored)
                }
                Inserted::Doubtful(_) if control::makes("other_bodies_dropped") => {
                    done.push(stored);
                }
                // Once more in the next pass.
                Inserted::Doubtful(_) => {}
            }
        }
        self.spool.drained(&done)?;
        failpoint!("drain_removed");
        Ok(true)
    }

    /// Stores `batch`, and what is an event of its own with its mark. Dying in between leaves duplicates for the next pass.
    fn insert(&self, batch: &[StoredEvent]) -> Result<Vec<Inserted>, StoreError> {
        let mut all: Vec<Option<Inserted>> = vec![None; batch.len()];
        // What the spool has marked comes last: the store may know an earlier first than the one that it names.
        let (marked, unmarked): (Vec<Row>, Vec<Row>) = batch
            .iter()
            .map(|stored| stored.event.clone())
            .enumerate()
            .partition(|(_, event)| event.marks != Marks::default());
        let firsts = self.insert_rows(batch, unmarked, &mut all)?;
        if !firsts.is_empty() {
            self.spool.file()?.rename_firsts(&firsts)?;
        }
        let mut left = Vec::new();
        for (at, mut event) in marked {
            let event = Arc::make_mut(&mut event);
            firsts
                .iter()
                .for_each(|(spooled, mark)| event.marks.rename(*spooled, *mark));
            if event.marks.conflict_of != Some(event.message_id()) {
                left.push((at, Arc::new(event.clone())));
            } else if let (Some(entry), Some(stored)) = (all.get_mut(at), batch.get(at)) {
                // The first itself, redelivered after another body.
                *entry = Some(Inserted::Duplicate(First {
                    seq: stored.seq,
                    message: event.message,
                }));
            }
        }
        self.insert_rows(batch, left, &mut all)?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Stores these rows of `batch`, in rounds until none is in doubt. Returns the spool's firsts of which the store knows an earlier one.
    fn insert_rows(
        &self,
        batch: &[StoredEvent],
        mut left: Vec<Row>,
        all: &mut [Option<Inserted>],
    ) -> Result<Vec<(MessageId, Mark)>, StoreError> {
        let mut firsts = Vec::new();
        while !left.is_empty() {
            let events: Vec<Arc<NewEvent>> = left.iter().map(|(_, event)| event.clone()).collect();
            let inserted = self.store.insert(self.instance, &events)?;
            failpoint!("drain_after_commit");
            let mut marked = Vec::new();
            for ((at, event), inserted) in left.into_iter().zip(inserted) {
                if let Inserted::Doubtful(mark) = inserted
                    && !control::makes("other_bodies_dropped")
                {
                    firsts.push((event.message_id(), mark));
                    marked.push((at, Arc::new(event.marked(mark))));
                    continue;
                }
                if matches!(inserted, Inserted::Accepted(_))
                    && batch
                        .get(at)
                        .is_some_and(|stored| stored.event.marks != event.marks)
                {
                    self.spool
                        .0
                        .metrics
                        .source(&event.source)
                        .count_marks(&event.marks);
                }
                if let Some(entry) = all.get_mut(at) {
                    *entry = Some(inserted);
                }
            }
            marked.sort_unstable_by_key(|(_, event)| event.key);
            left = marked;
        }
        Ok(firsts)
    }

    fn pass_conflict(&self) -> Result<bool, StoreError> {
        let Some(event) = self.spool.file()?.conflict(CONFLICT_WINDOW)? else {
            self.spool.empty()?;
            return Ok(false);
        };
        let event = Arc::new(event);
        if let [Inserted::Refused(why)] = &self
            .store
            .insert(self.instance, std::slice::from_ref(&event))?[..]
        {
            // The event itself is in the store; this is the body that came second.
            tracing::error!(source = %event.source, event_id = %event.event_id, "the database refuses a spooled conflict, which is dropped: {why}");
        }
        self.spool.file()?.conflict_drained(&event)?;
        self.spool.held().no_longer_waits(&event);
        Ok(true)
    }

    /// Another instance stored the id with another body meanwhile, or a commit that was given up happened after all.
    fn report_conflict(&self, event: &NewEvent) {
        self.spool.0.metrics.source(&event.source).conflicts.inc();
        tracing::warn!(source = %event.source, event_id = %event.event_id, message_id = %event.message_id(), "a spooled event has the id of a stored one and another body: it is kept in \"conflict\"");
    }

    fn park(&self, stored: &StoredEvent, why: &str) -> Result<(), StoreError> {
        let event = &stored.event;
        tracing::error!(source = %event.source, event_id = %event.event_id, message_id = %event.message_id(), "the database refuses a spooled event: {why}; it is kept in \"parked\" of the spool");
        self.spool.file()?.park(stored.seq, why)?;
        self.spool.held().no_longer_waits(event);
        self.spool.0.metrics.parked.inc();
        Ok(())
    }
}

impl Draining {
    /// Stops after the batch under way, or leaves it behind at `end` (it is then moved once more by the next start, and found known).
    pub fn stop(self, end: Instant) {
        drop(self.stop);
        while !self.thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
