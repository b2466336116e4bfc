//! Upkeep of the store that may take its time: backlog, size, and deletion of old rows.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keeper::{Lease, MEASURE, RETRY, Stop};
use super::sink_backlogs::SinkBacklogs;
use super::{Housekeeping, PauseWatch, Retention};
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
        }
    }
}

/// The thread for everything that may take its time: pauses, backlog, size, and deletion of old rows.
pub(super) struct Upkeep {
    pub(super) store: Arc<dyn Housekeeping>,
    /// This instance.
    pub(super) instance: InstanceId,
    pub(super) bounds: PruneBounds,
    /// Events that are to be deleted for that, by the last measure.
    pub(super) surplus: u64,
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
        let overdue = size
            .overdue(self.bounds.retention.events + self.bounds.interval)
            .as_secs();
        self.metrics.prune_overdue_seconds.set(number(overdue));
        let Some(bound) = self.bounds.bytes else {
            return;
        };
        self.surplus = size.events_above(bound.get());
        if self.surplus > 0 {
            let (used, bound) = (size.in_use, bound.get());
            tracing::warn!(
                used,
                bound,
                "the store uses {used} bytes, above store.keep_events_below_bytes: the oldest published events are deleted before store.keep_events_days. Deliveries go on. Raise the bound, or keep events for fewer days"
            );
        }
    }

    /// Deletes events that are too many, for a second at most. Returns `true` if more are to go.
    fn shrink(&mut self) -> bool {
        let begun = Instant::now();
        while self.surplus > 0 {
            let limit = self
                .bounds
                .rows
                .min(usize::try_from(self.surplus).unwrap_or(usize::MAX));
            match self.store.delete_oldest(self.instance, limit) {
                // Another instance deletes them, or none is published.
                Ok(0) => self.surplus = 0,
                Ok(gone) => {
                    self.surplus = self.surplus.saturating_sub(gone);
                    self.metrics.deleted_early.inc_by(gone);
                }
                Err(error) => {
                    tracing::warn!(%error, "events above store.keep_events_below_bytes could not be deleted; the next attempt comes by itself");
                    return false;
                }
            }
            if begun.elapsed() > RETRY {
                return self.surplus > 0;
            }
        }
        false
    }
}
