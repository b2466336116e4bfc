//! The spool: keeps accepting while the store is away. A delivery is committed to a file on this machine's disk and answered; when the
//! store is back, `drain` takes the event through the store's own dedup. Nothing is published from here.
//!
//! Spooling is safe at any time, also when the store's commit happened after all: the drain then finds a duplicate. Durability is that of
//! one local disk, and `/readyz`, metrics and logs say so for as long as an event waits.

mod drain;
mod held;
mod mend;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::drain::{Drain, Draining};
pub use self::held::{EVENT_OVERHEAD, Limits};
use self::held::{Held, Now};
use self::mend::Place;
use crate::config::model;
use crate::domain::delivery::UnixMillis;
use crate::store::{Inserted, NewEvent, Room, Seq, SpoolFile, StoreError, StoredEvent};
use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};

/// The spool; clones share it.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Mutex<Place>,
    held: Mutex<Held>,
    /// Held while the file is written to, so that it can be counted anew in between.
    writing: Mutex<()>,
    metrics: Arc<Metrics>,
    health: Component,
    /// Events that the store refuses.
    parked: AtomicU64,
    able: Arc<AtomicBool>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spool {
    /// Opens the file at `path`, or makes it, and counts what an earlier run has left in it. Where that cannot be done, the spool takes nothing,
    /// says so in its health, and the drain tries on. `unsafely` takes a file in memory as well.
    pub fn open(
        path: &Path,
        config: &model::Spool,
        unsafely: bool,
        metrics: Arc<Metrics>,
        health: Component,
    ) -> Self {
        let held = Held::new(
            Limits {
                bytes: config.max_bytes,
                age: config.max_age,
            },
            Instant::now(),
        );
        let place = Mutex::new(Place::new(path, unsafely));
        let spool = Self(Arc::new(Inner {
            place,
            held: Mutex::new(held),
            writing: Mutex::new(()),
            metrics,
            health,
            parked: AtomicU64::default(),
            able: Arc::default(),
        }));
        spool.mend();
        spool.show();
        spool
    }

    /// The file, or why there is none.
    fn file(&self) -> Result<Arc<SpoolFile>, StoreError> {
        locked(&self.0.place).file()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        locked(&self.0.held)
    }

    /// An event with one of the keys of `event` may be in the spool: then only the spool can tell whether it is new.
    pub fn may_have(&self, event: &NewEvent) -> bool {
        self.held().may_have(event)
    }

    /// Commits `batch` to the disk, within the limits. What is in the spool already is a duplicate.
    pub fn insert(&self, batch: &[Arc<NewEvent>]) -> Result<Vec<Inserted>, StoreError> {
        // Before the lock, which is held while the file is being opened.
        let is_open = self.file();
        let _writing = is_open.is_ok().then(|| locked(&self.0.writing));
        let now = Now::read();
        let file = self.file().and_then(|file| {
            self.held()
                .room_for(batch, now)
                .map(|()| file)
                .map_err(StoreError::Unavailable)
        });
        let result = file.and_then(|file| {
            // Before the commit: from then on the drain may find the event, and take its key out again.
            let added = self.held().add_keys(batch);
            let result = file.insert(batch);
            let new = self.held().inserted(batch, added, &result, now);
            self.0.metrics.spooled.inc_by(new);
            result
        });
        if result.is_err() {
            self.0.metrics.spool_failures.inc();
        }
        self.show();
        result
    }

    /// What came first, at most `room`.
    fn oldest(&self, room: Room) -> Result<Vec<StoredEvent>, StoreError> {
        let (events, oldest) = oldest(&*self.file()?, room)?;
        if oldest.is_some() {
            self.held().oldest = oldest;
        }
        Ok(events)
    }

    /// These events are in the store.
    fn drained(&self, events: &[&StoredEvent]) -> Result<(), StoreError> {
        let seqs: Vec<Seq> = events.iter().map(|event| event.seq).collect();
        self.file()?.drained(&seqs)?;
        {
            let mut held = self.held();
            events.iter().for_each(|stored| held.removed(&stored.event));
        }
        self.0.metrics.drained.inc_by(seqs.len() as u64);
        self.show();
        Ok(())
    }

    /// The drain has found nothing more: forget what was counted too much (a conflict that came twice).
    fn empty(&self) -> Result<(), StoreError> {
        let _writing = locked(&self.0.writing);
        if self.held().is_clear() {
            return Ok(());
        }
        let file = self.file()?;
        let usage = file.usage()?;
        if usage.events == 0 {
            let keys = file.keys()?;
            self.held().recount(usage, &keys);
            self.show();
        }
        Ok(())
    }

    /// Counts the parked events anew: a command may have changed them.
    fn count_parked(&self) -> Result<(), StoreError> {
        let Ok(file) = self.file() else { return Ok(()) };
        let parked = file.parked_rows()?;
        if self.0.parked.swap(parked, Ordering::Relaxed) != parked {
            self.show();
        }
        Ok(())
    }

    /// Events that wait.
    pub fn len(&self) -> u64 {
        self.held().events
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it takes events now; and what to say of a store that is away meanwhile.
    pub fn stands_in(&self) -> (Arc<AtomicBool>, &'static str) {
        (
            self.0.able.clone(),
            "deliveries are accepted all the same, durable on one local disk (the spool) until the store is back",
        )
    }

    /// Says how it is, in metrics and health: degraded while anything waits, since it is on one disk only.
    pub fn show(&self) {
        let (trouble, broken) = locked(&self.0.place).words();
        let (held, now) = (self.held(), Now::read());
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.0.metrics.spool_rows.set(gauge(held.events));
        self.0.metrics.spool_bytes.set(gauge(held.bytes));
        self.0
            .metrics
            .spool_oldest_seconds
            .set(gauge(held.age(now).as_secs()));
        let refusal = trouble.or_else(|| held.refusal(now));
        self.0.able.store(refusal.is_none(), Ordering::Relaxed);
        let parked = self.0.parked.load(Ordering::Relaxed);
        let parked = (parked > 0)
            .then(|| format!("{parked} events were refused by the store and are parked in the spool: `hookweir parked list` shows them"));
        let words = [refusal, held.waiting(now), parked, broken]
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

/// What came first in `file`, and when the first of it was received.
fn oldest(
    file: &SpoolFile,
    room: Room,
) -> Result<(Vec<StoredEvent>, Option<UnixMillis>), StoreError> {
    let events = file.oldest(room)?;
    let oldest = events.iter().map(|stored| stored.event.received_at).min();
    Ok((events, oldest))
}

/// For how long the store is to know a key that came in by a conflict whose first event it has refused.
const CONFLICT_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
