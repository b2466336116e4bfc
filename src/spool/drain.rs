//! The drain: a thread that moves events from the spool into the store, in the order of their
//! arrival. Each event goes through the store's dedup like a new one, and the relay publishes it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{CONFLICT_WINDOW, Spool, locked};
use crate::domain::delivery::{InstanceId, Marks, MessageId};
use crate::domain::sink::Sinks;
use crate::faults::mutants::Mutant;
use crate::faults::points::failpoint;
use crate::runtime::shutdown::CriticalTask;
use crate::store::keeper::Lease;
use crate::store::{First, Inserted, Intake, Mark, NewEvent, Room, StoreError, StoredEvent};

/// Interval of checks while the spool is empty or the store is away.
const IDLE: Duration = Duration::from_millis(500);
/// Delay between two attempts while the store fails.
const RETRY: Duration = Duration::from_secs(1);

/// An event with its position in the batch.
type PositionedEvent = (usize, Arc<NewEvent>);

/// The drain's input.
pub struct Drain {
    /// Source of the events.
    pub spool: Spool,
    /// Destination of the events.
    pub store: Arc<dyn Intake>,
    /// Name of this process in the store.
    pub instance: InstanceId,
    /// Names of the sinks that the events go to.
    pub sinks: Sinks,
    /// Lease in the store. The drain works while it is held.
    pub lease: Lease,
    /// Largest batch.
    pub room: Room,
}

/// A running drain.
pub struct RunningDrain {
    thread: JoinHandle<()>,
    stop: Sender<()>,
}

impl Drain {
    /// Starts the thread. It uses one connection of the store.
    pub fn start(self, lifeline: &CriticalTask) -> io::Result<RunningDrain> {
        let (stop, stopped) = bounded(0);
        let lifeline = lifeline.of("drain");
        let thread = std::thread::Builder::new()
            .name("drain".into())
            .spawn(move || {
                let _lifeline = lifeline;
                self.run(&stopped);
            })?;
        Ok(RunningDrain { thread, stop })
    }

    fn run(mut self, stop: &Receiver<()>) {
        let (mut failing, whole) = (false, self.room);
        let mut pause = Duration::ZERO;
        while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            self.spool.reopen();
            if !self.lease.is_held() {
                pause = IDLE;
                continue;
            }
            match self.pass() {
                Ok(moved) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the spool drains again");
                    }
                    self.room = whole;
                    pause = if moved { Duration::ZERO } else { IDLE };
                }
                Err(error) => {
                    self.spool.failed(&error);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            "cannot drain the spool: {error}; its events wait there, retrying every second"
                        );
                    }
                    // The next batch is smaller, so that the events ahead of a failing row get
                    // through.
                    self.room.events = (self.room.events / 8).max(1);
                    pause = RETRY;
                }
            }
        }
    }

    /// Moves one batch. Returns `false` if there was none.
    fn pass(&self) -> Result<bool, StoreError> {
        let _moving = locked(&self.spool.0.moving);
        self.spool.count_parked()?;
        if self.spool.contents().is_clear() {
            return Ok(false);
        }
        let mut batch = self.spool.oldest(self.room)?;
        if batch.is_empty() {
            return self.pass_conflict();
        }
        // Sorted by key as every batch, so that two batches cannot deadlock.
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
                Inserted::Doubtful(_) if Mutant::OtherBodiesDropped.is_on() => {
                    done.push(stored);
                }
                // It is inserted again in the next pass.
                Inserted::Doubtful(_) => {}
            }
        }
        self.spool.drained(&done)?;
        failpoint!("drain_removed");
        Ok(true)
    }

    /// Stores `batch`. An event of its own after all is stored with its mark. If the process dies
    /// in between, the next pass finds duplicates.
    fn insert(&self, batch: &[StoredEvent]) -> Result<Vec<Inserted>, StoreError> {
        let mut all: Vec<Option<Inserted>> = vec![None; batch.len()];
        // Events with a mark of the spool come last: the store may know an earlier first message
        // than the mark names.
        let (marked, unmarked): (Vec<PositionedEvent>, Vec<PositionedEvent>) = batch
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
                // It is the first message itself, redelivered after another body.
                *entry = Some(Inserted::Duplicate(First {
                    seq: stored.seq,
                    message: event.message,
                }));
            }
        }
        self.insert_rows(batch, left, &mut all)?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Stores the events of `left`, in rounds until none is in doubt. Returns the spool's first
    /// messages for which the store knows an earlier one.
    fn insert_rows(
        &self,
        batch: &[StoredEvent],
        mut left: Vec<PositionedEvent>,
        all: &mut [Option<Inserted>],
    ) -> Result<Vec<(MessageId, Mark)>, StoreError> {
        let mut firsts = Vec::new();
        while !left.is_empty() {
            let events: Vec<Arc<NewEvent>> = left.iter().map(|(_, event)| event.clone()).collect();
            let inserted = self.store.insert(self.instance, &self.sinks, &events)?;
            failpoint!("drain_after_commit");
            let mut marked = Vec::new();
            for ((at, event), inserted) in left.into_iter().zip(inserted) {
                if let Inserted::Doubtful(mark) = inserted
                    && !Mutant::OtherBodiesDropped.is_on()
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
        if let [Inserted::Refused(why)] =
            &self
                .store
                .insert(self.instance, &self.sinks, std::slice::from_ref(&event))?[..]
        {
            // The first body is in the store. This is the second one.
            tracing::error!(source = %event.source, event_id = %event.event_id, "spooled conflict refused by the database: {why}; the second body is dropped, the first is in the store");
        }
        self.spool.file()?.conflict_drained(&event)?;
        self.spool.contents().no_longer_waits(&event);
        Ok(true)
    }

    /// Reports a conflict: another instance stored the id with another body, or a commit that was
    /// given up happened after all.
    fn report_conflict(&self, event: &NewEvent) {
        self.spool.0.metrics.source(&event.source).conflicts.inc();
        tracing::warn!(source = %event.source, event_id = %event.event_id, message_id = %event.message_id(), "spooled event with the id of a stored event and another body; it is kept in the table \"conflict\", the first body is published");
    }

    fn park(&self, stored: &StoredEvent, why: &str) -> Result<(), StoreError> {
        let event = &stored.event;
        tracing::error!(source = %event.source, event_id = %event.event_id, message_id = %event.message_id(), "spooled event refused by the database: {why}; it is parked in the spool, other events go on. `hookweir parked list` shows it");
        self.spool.file()?.park(stored.seq, why)?;
        self.spool.contents().no_longer_waits(event);
        self.spool.0.metrics.parked.inc();
        Ok(())
    }
}

impl RunningDrain {
    /// Stops after the batch under way, or at `end`. The next start moves an unfinished batch
    /// again, and the store finds duplicates.
    pub fn stop(self, end: Instant) {
        drop(self.stop);
        while !self.thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
