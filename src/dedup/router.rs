//! Destinations of batches: the store, or the spool while the store is away. Pure; the time is an
//! argument.
//!
//! A batch goes to the spool too if the store failed it or keeps it for too long. Its result in the
//! store does not matter: an event that is stored twice is a duplicate when the spool drains. The
//! first commit is the result of a batch; later ones change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::store::NewEvent;

/// Destination of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The store, by one of its writers.
    Store,
    /// The spool, by its one writer.
    Spool,
}

/// Name of a batch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// Writers of the destinations.
#[derive(Clone, Copy, Debug)]
pub struct Destinations {
    /// Number of writers of the store, each with one batch at a time.
    pub writers: usize,
    /// Time after which a batch in the store goes to the spool too. None without a spool.
    pub spool_after: Option<Duration>,
}

/// Batches under way.
#[derive(Debug)]
pub(super) struct BatchRouter {
    destinations: Destinations,
    next: u64,
    under_way: BTreeMap<BatchId, UnderWay>,
    /// Time at which the store was found to be away.
    away: Option<Instant>,
    /// Time at which the spool's writer took its batch.
    spooling: Option<Instant>,
}

#[derive(Debug)]
struct UnderWay {
    /// None after the batch has its result.
    events: Option<Vec<Arc<NewEvent>>>,
    since: Instant,
    in_store: bool,
    spool: Spooling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spooling {
    NotYet,
    UnderWay,
    Done,
}

impl BatchRouter {
    pub(super) fn new(destinations: Destinations) -> Self {
        Self {
            destinations,
            next: 0,
            under_way: BTreeMap::new(),
            away: None,
            spooling: None,
        }
    }

    fn in_store(&self) -> impl Iterator<Item = &UnderWay> {
        self.under_way.values().filter(|batch| batch.in_store)
    }

    /// Returns `true` if an attempt that began at `since` takes too long.
    fn is_overdue(&self, since: Instant, now: Instant) -> bool {
        self.destinations
            .spool_after
            .is_some_and(|after| now.saturating_duration_since(since) >= after)
    }

    /// Returns `true` if a writer of the store is free, and the store is not known to be away.
    pub(super) fn store_takes(&self) -> bool {
        self.away.is_none() && self.in_store().count() < self.destinations.writers
    }

    /// Returns `true` if there is a spool, and its writer is free.
    pub(super) fn spool_takes(&self) -> bool {
        self.destinations.spool_after.is_some() && self.spooling.is_none()
    }

    /// Returns `true` if the store failed and gave no sign of life since, or if all its writers are
    /// stuck.
    pub(super) fn store_is_lost(&self, now: Instant) -> bool {
        let stuck = || {
            self.in_store()
                .filter(|batch| self.is_overdue(batch.since, now))
                .count()
        };
        self.away.is_some() || stuck() >= self.destinations.writers
    }

    /// Records a sign of life of the store at `time`.
    pub(super) fn store_was_seen(&mut self, time: Instant) {
        self.away.take_if(|away| time > *away);
    }

    /// Returns a batch that the store failed or keeps for too long. It is under way to the spool
    /// then.
    pub(super) fn falls_back(&mut self, now: Instant) -> Option<(BatchId, Vec<Arc<NewEvent>>)> {
        let falls = |batch: &UnderWay| {
            batch.spool == Spooling::NotYet
                && (!batch.in_store || self.is_overdue(batch.since, now))
        };
        let id = *self
            .under_way
            .iter()
            .find(|(_, batch)| batch.events.is_some() && falls(batch))?
            .0;
        let batch = self.under_way.get_mut(&id)?;
        batch.spool = Spooling::UnderWay;
        self.spooling = Some(now);
        Some((id, batch.events.clone()?))
    }

    /// Begins a batch, and returns its name.
    pub(super) fn begin(
        &mut self,
        destination: Destination,
        events: Vec<Arc<NewEvent>>,
        now: Instant,
    ) -> BatchId {
        let id = BatchId(self.next);
        self.next += 1;
        let spool = match destination {
            Destination::Store => Spooling::NotYet,
            Destination::Spool => {
                self.spooling = Some(now);
                Spooling::UnderWay
            }
        };
        self.under_way.insert(
            id,
            UnderWay {
                events: Some(events),
                since: now,
                in_store: destination == Destination::Store,
                spool,
            },
        );
        id
    }

    /// Records that a batch came back from `destination`. Returns its events if that is its result:
    /// it was committed, or no destination is left.
    pub(super) fn done(
        &mut self,
        id: BatchId,
        destination: Destination,
        committed: bool,
        now: Instant,
    ) -> Option<Vec<Arc<NewEvent>>> {
        let has_spool = self.destinations.spool_after.is_some();
        // Treats a hung spool as absent: other batches fail at once and do not queue behind it.
        let spool_hangs = self
            .spooling
            .is_some_and(|since| self.is_overdue(since, now));
        let batch = self.under_way.get_mut(&id)?;
        match destination {
            Destination::Store => batch.in_store = false,
            Destination::Spool => {
                batch.spool = Spooling::Done;
                self.spooling = None;
            }
        }
        let to_be_spooled = batch.spool == Spooling::NotYet && has_spool && !spool_hangs;
        let elsewhere = batch.in_store || batch.spool == Spooling::UnderWay || to_be_spooled;
        let settled = if committed || !elsewhere {
            batch.events.take()
        } else {
            None
        };
        if !batch.in_store && batch.spool != Spooling::UnderWay && batch.events.is_none() {
            self.under_way.remove(&id);
        }
        if destination == Destination::Store && !committed && has_spool {
            self.away = Some(now);
        }
        settled
    }
}
