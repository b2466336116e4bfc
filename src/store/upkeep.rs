//! Upkeep of the store that may take its time: backlog, size, and deletion of old rows.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keeper::{Lease, MEASURE, RETRY, Stop};
use super::sink_backlogs::SinkBacklogs;
use super::{Housekeeping, PauseWatch, Retention, StoreSize, Surplus};
use crate::config::model;
use crate::domain::delivery::InstanceId;
use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};

/// Shortest interval between two measures of the size. PostgreSQL's statistics follow a deletion by ten seconds at most.
const SIZE: Duration = Duration::from_secs(20);

/// Bounds of what is kept, and of one deletion.
pub(super) struct PruneBounds {
    retention: Retention,
    /// Time between two deletions.
    interval: Duration,
    /// Most rows of each kind that one deletion removes.
    rows: usize,
    /// Bytes in use above which published events are deleted before their time.
    bytes: Option<NonZeroU64>,
    /// Bytes of conflicts above which the oldest ones are deleted before their time.
    conflict_bytes: Option<NonZeroU64>,
}

impl PruneBounds {
    /// Takes the configuration of the store, and the longest window of any source.
    pub(super) fn new(config: &model::Store, longest_window: Duration) -> Self {
        Self {
            retention: Retention {
                events: config.keep_events,
                conflicts: config.keep_conflicts,
                refused: config.keep_refused,
                keys: longest_window,
            },
            interval: config.prune_interval,
            rows: config.prune_rows,
            bytes: NonZeroU64::new(config.keep_events_below),
            conflict_bytes: NonZeroU64::new(config.keep_conflicts_below),
        }
    }
}

/// Rows that are to go before their time, by the last measure.
#[derive(Default)]
pub(super) struct Excess {
    /// Number of events.
    events: u64,
    /// Bytes of conflicts.
    conflict_bytes: u64,
}

/// The thread for everything that may take its time: pauses, backlog, size, and deletion of old rows.
pub(super) struct Upkeep {
    pub(super) store: Arc<dyn Housekeeping>,
    /// This instance.
    pub(super) instance: InstanceId,
    pub(super) bounds: PruneBounds,
    pub(super) excess: Excess,
    pub(super) metrics: Arc<Metrics>,
    /// Says that events are parked in the store.
    pub(super) parked: Component,
    pub(super) lease: Lease,
    pub(super) stop: Arc<Stop>,
    pub(super) outbox: Component,
    pub(super) pauses: PauseWatch,
    pub(super) sinks: SinkBacklogs,
}

impl Upkeep {
    /// Runs until the stop.
    pub(super) fn run(mut self) {
        // Nothing is known of it yet, and it keeps nobody from being answered.
        self.outbox.set(State::Ready);
        let mut prune_at = Instant::now() + self.bounds.interval;
        let mut size_at = Instant::now();
        loop {
            // No lease, no database: there is nothing to keep up.
            if self.lease.is_held() {
                self.pauses.look();
                self.measure();
                if Instant::now() >= size_at {
                    self.look_at_size();
                    size_at = Instant::now() + SIZE;
                }
                if Instant::now() >= prune_at {
                    let more = self.prune();
                    let more = self.shrink() || more;
                    let more = self.shrink_conflicts() || more;
                    prune_at = Instant::now() + if more { RETRY } else { self.bounds.interval };
                }
            }
            let pause = if self.lease.is_held() {
                MEASURE.min(self.bounds.interval)
            } else {
                RETRY
            };
            let next = Instant::now() + pause;
            if self
                .stop
                .wait(next.min(prune_at.max(Instant::now() + Duration::from_millis(100))))
                .is_some()
            {
                return;
            }
        }
    }

    fn measure(&mut self) {
        match self.store.backlog() {
            Ok(backlogs) => {
                let troubles = self.sinks.look(&backlogs, &self.metrics, Instant::now());
                let parked = backlogs.iter().map(|of| of.parked).sum();
                self.parked.update(match parked {
                    0 => State::Ready,
                    rows => State::Degraded(
                        format!("{rows} events cannot be published and are parked in the store: `hookweir parked list` shows them").into(),
                    ),
                });
                self.outbox.update(if troubles.is_empty() {
                    State::Ready
                } else {
                    State::Degraded(troubles.join("; ").into())
                });
            }
            Err(error) => tracing::debug!(%error, "the backlog could not be measured"),
        }
    }

    /// Deletes in rounds, for a second at most. Returns `true` if more is left.
    fn prune(&self) -> bool {
        let begun = Instant::now();
        loop {
            match self.store.prune(self.bounds.retention, self.bounds.rows) {
                Ok(gone) if gone < self.bounds.rows as u64 => return false,
                Ok(_) if begun.elapsed() > RETRY => return true,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "expired rows could not be deleted");
                    return false;
                }
            }
        }
    }

    /// Measures the store. Decides on the events that are to go before their time.
    fn look_at_size(&mut self) {
        let size = match self.store.size() {
            Ok(size) => size,
            Err(error) => {
                tracing::debug!(%error, "the size of the store could not be measured");
                return;
            }
        };
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.store_bytes.set(number(size.on_disk));
        self.metrics.store_used_bytes.set(number(size.in_use));
        let overdue = size.overdue(self.bounds.retention, self.bounds.interval);
        self.metrics
            .prune_overdue_seconds
            .set(number(overdue.as_secs()));
        self.metrics.conflict_bytes.set(number(size.of_conflicts));
        self.bound_conflicts(&size);
        let Some(bound) = self.bounds.bytes else {
            return;
        };
        self.excess.events = size.events_above(bound.get());
        if self.excess.events > 0 {
            let (used, bound) = (size.in_use, bound.get());
            tracing::warn!(
                used,
                bound,
                "the store uses {used} bytes, above store.keep_events_below_bytes: the oldest published events are deleted before store.keep_events_days. Deliveries go on. Raise the bound, or keep events for fewer days"
            );
        }
    }

    /// Decides on the conflicts that are to go before their time.
    fn bound_conflicts(&mut self, size: &StoreSize) {
        let Some(bound) = self.bounds.conflict_bytes else {
            return;
        };
        self.excess.conflict_bytes = size.of_conflicts.saturating_sub(bound.get());
        if self.excess.conflict_bytes > 0 {
            let (used, bound) = (size.of_conflicts, bound.get());
            tracing::warn!(
                used,
                bound,
                "conflicts use {used} bytes, above store.keep_conflicts_below_bytes: the oldest ones are deleted before store.keep_conflicts_days. Deliveries go on. `hookweir conflicts` names their sources; raise the bound if the bodies are needed"
            );
        }
    }

    /// Deletes conflicts that are too many, for a second at most. Returns `true` if more are to go.
    fn shrink_conflicts(&mut self) -> bool {
        let begun = Instant::now();
        while self.excess.conflict_bytes > 0 {
            let above = Surplus {
                rows: self.bounds.rows as u64,
                bytes: self.excess.conflict_bytes,
            };
            match self.store.shrink_conflicts(self.instance, above) {
                // Another instance deletes them.
                Ok(Surplus { rows: 0, .. }) => self.excess.conflict_bytes = 0,
                Ok(gone) => {
                    self.excess.conflict_bytes =
                        self.excess.conflict_bytes.saturating_sub(gone.bytes);
                    self.metrics.deleted_early.inc_by(gone.rows);
                }
                Err(error) => {
                    tracing::warn!(%error, "conflicts above store.keep_conflicts_below_bytes could not be deleted; the next attempt comes by itself");
                    return false;
                }
            }
            if begun.elapsed() > RETRY {
                return self.excess.conflict_bytes > 0;
            }
        }
        false
    }

    /// Deletes events that are too many, for a second at most. Returns `true` if more are to go.
    fn shrink(&mut self) -> bool {
        let begun = Instant::now();
        while self.excess.events > 0 {
            let limit = self
                .bounds
                .rows
                .min(usize::try_from(self.excess.events).unwrap_or(usize::MAX));
            match self.store.delete_oldest(self.instance, limit) {
                // Another instance deletes them, or none is published.
                Ok(0) => self.excess.events = 0,
                Ok(gone) => {
                    self.excess.events = self.excess.events.saturating_sub(gone);
                    self.metrics.deleted_early.inc_by(gone);
                }
                Err(error) => {
                    tracing::warn!(%error, "events above store.keep_events_below_bytes could not be deleted; the next attempt comes by itself");
                    return false;
                }
            }
            if begun.elapsed() > RETRY {
                return self.excess.events > 0;
            }
        }
        false
    }
}
