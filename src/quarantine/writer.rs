//! The quarantine's thread: stores what waits in batches, deletes what is beyond the bounds, and measures.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select};

use super::{Shared, held};
use crate::config::model;
use crate::runtime::shutdown::CriticalTask;
use crate::store::quarantine::{NewRefused, RefusedBounds, RefusedUsage};
use crate::store::{self, OperatorStore, StoreError};
use crate::telemetry::QuarantineDrop;

/// Deliveries in a batch, at most.
const BATCH: usize = 128;
/// Bytes of a batch, at most. A larger delivery is a batch of its own.
pub(crate) const BATCH_BYTES: usize = 1024 * 1024;
/// Rest after a batch, so that a flood takes a bounded part of the database.
const REST: Duration = Duration::from_millis(100);
/// Delay before a batch that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Attempts for a batch that a store refuses while it answers. Afterwards the batch is dropped: one of its rows may be
/// the reason.
const ATTEMPTS: u32 = 5;
/// Interval of measures, which read the whole table. What the thread stores is added in between.
const MEASURE: Duration = Duration::from_secs(60);
/// Longest sleep.
const SLEEP: Duration = Duration::from_secs(5);
/// Rows that one deletion removes, at most.
const EVICTED: usize = 1000;
/// Deletions in a row for one source, at most.
const EVICTIONS: usize = 20;

/// The running thread.
#[derive(Debug)]
pub struct RunningQuarantine {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl RunningQuarantine {
    /// Ends the thread: what waits is stored, until `end` at most.
    pub fn stop(self, end: Instant) {
        drop(self.stop);
        while !self.thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The thread's state.
pub(super) struct QuarantineWriter {
    shared: Arc<Shared>,
    waiting: Receiver<NewRefused>,
    flushes: Receiver<Sender<()>>,
    config: model::Store,
    options: model::Quarantine,
    /// Number of configured sources.
    configured: u64,
    store: Option<Arc<dyn OperatorStore>>,
    failing: bool,
    measured: Option<Instant>,
    /// Sources whose rows are shown in metrics.
    shown: BTreeSet<String>,
    /// Rows and bytes of each source, by the last measure and what was stored since.
    usage: BTreeMap<String, (u64, u64)>,
}

impl QuarantineWriter {
    pub(super) fn new(
        config: &model::Config,
        shared: Arc<Shared>,
        (waiting, flushes): (Receiver<NewRefused>, Receiver<Sender<()>>),
    ) -> Self {
        Self {
            shared,
            waiting,
            flushes,
            config: config.store.clone(),
            options: config.quarantine.clone(),
            configured: config.sources.len() as u64,
            store: None,
            failing: false,
            measured: None,
            shown: BTreeSet::new(),
            usage: BTreeMap::new(),
        }
    }

    pub(super) fn start(self, lifeline: &CriticalTask) -> io::Result<RunningQuarantine> {
        let (stop, stopped) = bounded(0);
        let held = lifeline.of("quarantine");
        let thread = thread::Builder::new()
            .name("quarantine".into())
            .spawn(move || {
                let _held = held;
                self.run(&stopped);
            })?;
        Ok(RunningQuarantine { stop, thread })
    }

    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            let first = select! {
                recv(stopped) -> _ => self.waiting.try_recv().ok(),
                recv(self.flushes) -> order => {
                    if let Ok(order) = order {
                        self.flush(&order, stopped);
                    }
                    continue;
                }
                recv(self.waiting) -> first => first.ok(),
                default(SLEEP) => None,
            };
            let stopping = stopped.try_recv() == Err(TryRecvError::Disconnected);
            match first {
                Some(first) => drop(self.store_batch(first, stopped)),
                None if stopping => return,
                None => {}
            }
            if stopping {
                continue;
            }
            self.measure();
            if stopped.recv_timeout(REST) == Err(RecvTimeoutError::Disconnected) {
                self.failing = false;
            }
        }
    }

    /// Stores what waits now, without a rest, and answers the order.
    fn flush(&mut self, order: &Sender<()>, stopped: &Receiver<()>) {
        let mut left = self.waiting.len();
        while left > 0
            && let Ok(first) = self.waiting.try_recv()
        {
            left = left.saturating_sub(self.store_batch(first, stopped));
        }
        // The one who has asked may have given up.
        let _ = order.try_send(());
    }

    /// Stores a delivery with those that wait behind it. Returns the number of deliveries that it took.
    fn store_batch(&mut self, first: NewRefused, stopped: &Receiver<()>) -> usize {
        let mut bytes = held(&first);
        let mut batch = vec![first];
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && let Ok(next) = self.waiting.try_recv()
        {
            bytes += held(&next);
            batch.push(next);
        }
        let taken = batch.len();
        self.leave_out_large(&mut batch);
        let mut refused = 0;
        let stored = loop {
            match self.keep(&batch) {
                Ok(()) => break true,
                Err(error) => {
                    self.report(&error);
                    // A row twice is better than a row lost: dedup knows its event.
                    let may_be_row = matches!(error, StoreError::Unavailable(_)) && self.answers();
                    refused += u32::from(may_be_row);
                    let ended = stopped.recv_timeout(RETRY) == Err(RecvTimeoutError::Disconnected);
                    if ended || refused == ATTEMPTS {
                        break false;
                    }
                }
            }
        };
        self.settle(&batch, stored);
        taken
    }

    /// Returns `true` if the store answers a question.
    fn answers(&mut self) -> bool {
        let first = self.store().and_then(|store| store.refused_delivery(0));
        first.is_ok()
    }

    /// Drops deliveries that would take half of their source's bytes: the others would have to go for them.
    fn leave_out_large(&self, batch: &mut Vec<NewRefused>) {
        let most = self.bounds().bytes / 2;
        batch.retain(|refused| {
            let fits = refused.size() <= most;
            if !fits {
                self.shared.leave(refused);
                let (metrics, source) = (&self.shared.metrics, refused.source.as_str());
                metrics.count_quarantine_drops(source, QuarantineDrop::Large, 1);
            }
            fits
        });
    }

    /// Gives the room of a batch back, counts it, and deletes what is beyond the bounds of its sources.
    fn settle(&mut self, batch: &[NewRefused], stored: bool) {
        let mut sources: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for refused in batch {
            self.shared.leave(refused);
            let (rows, bytes) = sources.entry(refused.source.to_string()).or_default();
            *rows += 1;
            *bytes += refused.size();
        }
        let metrics = self.shared.metrics.clone();
        for (source, (rows, bytes)) in sources {
            // Series of a source that a reload has removed stay away.
            let counts = metrics.has_source(&source);
            if !stored {
                if counts {
                    metrics.count_quarantine_drops(&source, QuarantineDrop::Store, rows);
                }
                continue;
            }
            if counts {
                metrics.count_quarantined(&source, rows);
            }
            let usage = self.usage.entry(source.clone()).or_default();
            usage.0 += rows;
            usage.1 += bytes;
            let (usage, bounds) = (*usage, self.bounds());
            metrics.set_quarantine(&source, Some(usage));
            self.shown.insert(source.clone());
            if is_beyond(usage, bounds)
                && let Err(error) = self.evict(&source)
            {
                self.report(&error);
            }
        }
        if stored && std::mem::take(&mut self.failing) {
            tracing::info!("refused deliveries are kept in the quarantine again");
        }
    }

    /// Says once that the store fails.
    fn report(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                %error,
                "cannot keep refused deliveries in the quarantine: {error}; they wait in its queue, and those beyond \
                 quarantine.queue_bytes are dropped and counted; deliveries are not concerned; retrying, look at /readyz for \
                 the state of the store"
            );
        }
    }

    /// Returns the store, opened at the first use.
    fn store(&mut self) -> Result<Arc<dyn OperatorStore>, StoreError> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = store::open_for_operator(&self.config, 1)?;
        self.store = Some(store.clone());
        Ok(store)
    }

    fn keep(&mut self, batch: &[NewRefused]) -> Result<(), StoreError> {
        self.store()?.keep_refused(batch)
    }

    /// Returns the bounds of each source.
    fn bounds(&self) -> RefusedBounds {
        let options = &self.options;
        let sources = self.configured.max(self.usage.len() as u64).max(1);
        RefusedBounds {
            rows: options.source_rows.min(options.max_rows / sources).max(1),
            bytes: options.source_bytes.min(options.max_bytes / sources),
        }
    }

    /// Deletes what a source has beyond its bounds, and a twentieth more: looking for it takes a while. Measures anew.
    fn evict(&mut self, source: &str) -> Result<(), StoreError> {
        let (store, bounds) = (self.store()?, self.bounds());
        let bounds = RefusedBounds {
            rows: bounds.rows - bounds.rows / 20,
            bytes: bounds.bytes - bounds.bytes / 20,
        };
        self.measured = None;
        for _ in 0..EVICTIONS {
            let gone = store.evict_refused(source, bounds, EVICTED)?;
            if gone > 0 && self.shared.metrics.has_source(source) {
                self.shared
                    .metrics
                    .count_quarantine_drops(source, QuarantineDrop::Oldest, gone);
            }
            if gone < EVICTED as u64 {
                break;
            }
        }
        Ok(())
    }

    /// Shows the rows of each source, and deletes what is beyond the bounds of each.
    fn measure(&mut self) {
        if self.measured.is_some_and(|at| at.elapsed() < MEASURE) {
            return;
        }
        self.measured = Some(Instant::now());
        let measured = self.store().and_then(|store| store.refused_usage());
        let Ok(usage) = measured.inspect_err(|error| {
            tracing::debug!(%error, "the quarantine could not be measured");
        }) else {
            return;
        };
        let of = |usage: RefusedUsage| (usage.source, (usage.rows, usage.bytes));
        self.usage = usage.into_iter().map(of).collect();
        let (metrics, bounds) = (self.shared.metrics.clone(), self.bounds());
        let mut shown = BTreeSet::new();
        for (source, usage) in self.usage.clone() {
            metrics.set_quarantine(&source, Some(usage));
            if is_beyond(usage, bounds)
                && let Err(error) = self.evict(&source)
            {
                self.report(&error);
            }
            shown.insert(source);
        }
        for source in self.shown.difference(&shown) {
            metrics.set_quarantine(source, None);
        }
        self.shown = shown;
    }
}

/// Returns `true` if rows and bytes are more than the bounds.
fn is_beyond((rows, bytes): (u64, u64), bounds: RefusedBounds) -> bool {
    rows > bounds.rows || bytes > bounds.bytes
}
