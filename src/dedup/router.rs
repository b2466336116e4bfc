//! Which batches are under way where, and where the next one goes: to the store, or, while that is away, to the spool. Pure; time comes
//! in as an argument.
//!
//! A batch that the store has failed, or keeps for too long, goes to the spool as well, whatever became of it in the store: what is
//! stored twice is found to be a duplicate when the spool drains. The first commit settles a batch; what comes later changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::store::NewEvent;

/// Where a batch is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// In the store, by one of its writers.
    Store,
    /// In the spool, by its one writer.
    Spool,
}

/// Names a batch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// What there is to commit with.
#[derive(Clone, Copy, Debug)]
pub struct Destinations {
    /// Writers of the store, each with one batch at a time.
    pub writers: usize,
    /// How long the store may take for a batch before that goes to the spool as well. None without a spool.
    pub spool_after: Option<Duration>,
}

/// Batches under way.
#[derive(Debug)]
pub(super) struct BatchRouter {
    destinations: Destinations,
    next: u64,
    under_way: BTreeMap<BatchId, UnderWay>,
    /// Since when the store is known to be away.
    away: Option<Instant>,
    /// Since when the spool's writer has its batch.
    spooling: Option<Instant>,
}

#[derive(Debug)]
struct UnderWay {
    /// None once settled.
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

    /// What began at `since` takes too long.
    fn is_overdue(&self, since: Instant, now: Instant) -> bool {
        self.destinations
            .spool_after
            .is_some_and(|after| now.saturating_duration_since(since) >= after)
    }

    /// A writer is free, and nothing says that the store is away.
    pub(super) fn store_takes(&self) -> bool {
        self.away.is_none() && self.in_store().count() < self.destinations.writers
    }

    /// There is a spool, and its writer is free.
    pub(super) fn spool_takes(&self) -> bool {
        self.destinations.spool_after.is_some() && self.spooling.is_none()
    }

    /// There is no use in waiting for the store: it failed, and gave no sign of life since; or all its writers are stuck.
    pub(super) fn store_is_lost(&self, now: Instant) -> bool {
        let stuck = || {
            self.in_store()
                .filter(|batch| self.is_overdue(batch.since, now))
                .count()
        };
        self.away.is_some() || stuck() >= self.destinations.writers
    }

    /// The store did something at `time`.
    pub(super) fn store_was_seen(&mut self, time: Instant) {
        self.away.take_if(|away| time > *away);
    }

    /// A batch that the store has failed or keeps for too long; it is under way to the spool from now on.
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

    /// A new batch goes to `destination`.
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

    /// A batch came back from `destination`. Its events if that settles it: it was committed, or there is nowhere left to try.
    pub(super) fn done(
        &mut self,
        id: BatchId,
        destination: Destination,
        committed: bool,
        now: Instant,
    ) -> Option<Vec<Arc<NewEvent>>> {
        let has_spool = self.destinations.spool_after.is_some();
        // A spool that hangs is none: its batch waits for it, others had better be told.
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
