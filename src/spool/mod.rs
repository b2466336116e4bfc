//! The spool: a file on the local disk that takes deliveries while the store is away. A delivery is
//! answered after its commit here. When the store is back, `drain` moves the event through the
//! store's own dedup. Nothing is published from here.
//!
//! Spooling is safe at any time. If the store's commit happened after all, the drain finds a
//! duplicate. Spooled events are durable on one local disk only; while one waits, `/readyz`,
//! metrics and logs say so.

mod contents;
mod drain;
mod erasure;
mod slot;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::contents::{BothClocks, SpoolContents};
pub use self::contents::{EVENT_OVERHEAD, SpoolLimits};
pub use self::drain::{Drain, RunningDrain};
use self::slot::SpoolSlot;
use crate::config::model;
use crate::domain::delivery::UnixMillis;
use crate::store::{Inserted, NewEvent, Room, Seq, SpoolFile, StoreError, StoredEvent};
use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};

/// The spool. Clones share it.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slot: Mutex<SpoolSlot>,
    contents: Mutex<SpoolContents>,
    /// Locked while the file is written to, so that it can be counted in between.
    writing: Mutex<()>,
    /// Locked while the drain moves events, so that none is on its way in between.
    moving: Mutex<()>,
    metrics: Arc<Metrics>,
    health: Component,
    /// Number of events that the store refuses.
    parked: AtomicU64,
    able: Arc<AtomicBool>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spool {
    /// Opens or creates the file at `path`, and counts the events of an earlier run. If that fails,
    /// the spool takes no events, reports it in its health, and the drain retries. `unsafely`
    /// allows a file in memory.
    pub fn open(
        path: &Path,
        config: &model::Spool,
        unsafely: bool,
        metrics: Arc<Metrics>,
        health: Component,
    ) -> Self {
        let contents = SpoolContents::new(
            SpoolLimits {
                bytes: config.max_bytes,
                age: config.max_age,
            },
            Instant::now(),
        );
        let bound = i64::try_from(config.max_bytes).unwrap_or(i64::MAX);
        metrics.spool_bytes_max.set(bound);
        let slot = Mutex::new(SpoolSlot::new(path, unsafely));
        let spool = Self(Arc::new(Inner {
            slot,
            contents: Mutex::new(contents),
            writing: Mutex::new(()),
            moving: Mutex::new(()),
            metrics,
            health,
            parked: AtomicU64::default(),
            able: Arc::default(),
        }));
        spool.reopen();
        spool.report();
        spool
    }

    /// Returns the file, or the reason why it cannot be used.
    fn file(&self) -> Result<Arc<SpoolFile>, StoreError> {
        locked(&self.0.slot).file()
    }

    fn contents(&self) -> MutexGuard<'_, SpoolContents> {
        locked(&self.0.contents)
    }

    /// Returns `true` if a key of `event` may be in the spool. Then only the spool can decide
    /// whether the event is new.
    pub fn may_have(&self, event: &NewEvent) -> bool {
        self.contents().may_have(event)
    }

    /// Commits `batch` to the disk, within the limits. An event that is in the spool already is a
    /// duplicate.
    pub fn insert(&self, batch: &[Arc<NewEvent>]) -> Result<Vec<Inserted>, StoreError> {
        // Before the lock, which is taken while the file is being opened.
        let is_open = self.file();
        let _writing = is_open.is_ok().then(|| locked(&self.0.writing));
        let now = BothClocks::read();
        let file = self.file().and_then(|file| {
            self.contents()
                .room_for(batch, now)
                .map(|()| file)
                .map_err(StoreError::Unavailable)
        });
        let result = file.and_then(|file| {
            // Before the commit: after it, the drain may find the event and remove its key.
            let added = self.contents().add_keys(batch);
            let result = file.insert(batch);
            let new = self.contents().inserted(batch, added, &result, now);
            self.0.metrics.spooled.inc_by(new);
            result
        });
        if result.is_err() {
            self.0.metrics.spool_failures.inc();
        }
        self.report();
        result
    }

    /// Returns the oldest events, at most `room`.
    fn oldest(&self, room: Room) -> Result<Vec<StoredEvent>, StoreError> {
        let (events, oldest) = oldest(&*self.file()?, room)?;
        if oldest.is_some() {
            self.contents().oldest = oldest;
        }
        Ok(events)
    }

    /// Removes events that are in the store now.
    fn drained(&self, events: &[&StoredEvent]) -> Result<(), StoreError> {
        let seqs: Vec<Seq> = events.iter().map(|event| event.seq).collect();
        self.file()?.drained(&seqs)?;
        {
            let mut contents = self.contents();
            events
                .iter()
                .for_each(|stored| contents.removed(&stored.event));
        }
        self.0.metrics.drained.inc_by(seqs.len() as u64);
        self.report();
        Ok(())
    }

    /// Corrects the count after the drain has found no more events. A conflict that came twice was
    /// counted twice.
    fn empty(&self) -> Result<(), StoreError> {
        let _writing = locked(&self.0.writing);
        if self.contents().is_clear() {
            return Ok(());
        }
        let file = self.file()?;
        let usage = file.usage()?;
        if usage.events == 0 {
            let keys = file.keys()?;
            self.contents().recount(usage, &keys);
            self.report();
        }
        Ok(())
    }

    /// Counts the parked events again: a command may have changed them.
    fn count_parked(&self) -> Result<(), StoreError> {
        let Ok(file) = self.file() else { return Ok(()) };
        let parked = file.parked_rows()?;
        if self.0.parked.swap(parked, Ordering::Relaxed) != parked {
            self.report();
        }
        Ok(())
    }

    /// Returns the number of events that wait.
    pub fn len(&self) -> u64 {
        self.contents().events
    }

    /// Returns `true` if no event waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a flag that is true while the spool takes events, and the text for a store that is
    /// away then.
    pub fn availability(&self) -> (Arc<AtomicBool>, &'static str) {
        (
            self.0.able.clone(),
            "deliveries are still accepted, durable on one local disk (the spool) until the store is back",
        )
    }

    /// Updates metrics and health. The health is degraded while an event waits, because it is on
    /// one disk only.
    pub fn report(&self) {
        let (trouble, broken) = locked(&self.0.slot).words();
        let (contents, now) = (self.contents(), BothClocks::read());
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.0.metrics.spool_rows.set(gauge(contents.events));
        self.0.metrics.spool_bytes.set(gauge(contents.bytes));
        self.0
            .metrics
            .spool_oldest_seconds
            .set(gauge(contents.age(now).as_secs()));
        let refusal = trouble.or_else(|| contents.refusal(now));
        self.0.able.store(refusal.is_none(), Ordering::Relaxed);
        let parked = self.0.parked.load(Ordering::Relaxed);
        let parked = (parked > 0)
            .then(|| format!("{parked} events were refused by the store and are parked in the spool: `hookweir parked list` shows them"));
        let words = [refusal, contents.waiting(now), parked, broken]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        self.0.health.update(if words.is_empty() {
            State::Ready
        } else {
            State::Degraded(words.join("; ").into())
        });
    }
}

/// Returns the oldest events in `file`, and the time at which the first was received.
fn oldest(
    file: &SpoolFile,
    room: Room,
) -> Result<(Vec<StoredEvent>, Option<UnixMillis>), StoreError> {
    let events = file.oldest(room)?;
    let oldest = events.iter().map(|stored| stored.event.received_at).min();
    Ok((events, oldest))
}

/// Dedup window of a key that came with a conflict after the store has refused its first event.
const CONFLICT_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
