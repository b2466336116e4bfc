//! Writer threads. Each commits one batch at a time, in the store or in the spool: both block, so
//! no actor may do it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::dispatch::Dispatch;
use super::router::{BatchId, Destination};
use super::spans;
use crate::domain::delivery::InstanceId;
use crate::domain::sink::Sinks;
use crate::faults::points::failpoint;
use crate::outbox::{PiggybackedConfirms, SinkOutbox};
use crate::runtime::shutdown::CriticalTask;
use crate::spool::Spool;
use crate::store::{Confirms, First, Inserted, Intake, NewEvent, Seq, StoreError};
use crate::telemetry::Metrics;

/// Message dedup → writer, spool writer: events to store in one transaction.
#[derive(Debug)]
pub struct Batch {
    /// Name of the batch, the same in the store and in the spool.
    pub id: BatchId,
    /// Events with distinct keys, sorted by key.
    pub events: Vec<Arc<NewEvent>>,
}

/// The writer threads.
pub struct Writers(Vec<JoinHandle<()>>);

impl Writers {
    /// Returns an empty set of writers.
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Starts a writer. It ends when the sending side of `work` is gone.
    pub(super) fn add(
        &mut self,
        writer: Writer,
        work: &Receiver<Batch>,
        lifeline: &CriticalTask,
    ) -> std::io::Result<()> {
        let (work, lifeline) = (work.clone(), lifeline.of("writer"));
        let name = match writer.target {
            WriterTarget::Store { .. } => format!("writer-{}", self.0.len()),
            WriterTarget::Spool(_) => "spool-writer".to_owned(),
        };
        self.0
            .push(std::thread::Builder::new().name(name).spawn(move || {
                let _lifeline = lifeline;
                writer.run(&work);
            })?);
        Ok(())
    }

    /// Returns `true` if all writers have ended.
    pub fn are_finished(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }
}

/// Database that a writer commits to.
#[derive(Clone)]
pub(super) enum WriterTarget {
    Store {
        store: Arc<dyn Intake>,
        instance: InstanceId,
        /// Outboxes of the sinks. Each commit records confirms of theirs.
        outboxes: Vec<SinkOutbox>,
        /// Names of the sinks.
        sinks: Sinks,
        /// Senders wait for the sink, so duplicates of unpublished events are told apart.
        looks_for_unpublished: bool,
    },
    Spool(Spool),
}

impl WriterTarget {
    fn destination(&self) -> Destination {
        match self {
            Self::Store { .. } => Destination::Store,
            Self::Spool(_) => Destination::Spool,
        }
    }

    /// Commits `events`. Returns a result for each event, and the confirms that were recorded in
    /// the same transaction.
    fn insert(
        &self,
        events: &[Arc<NewEvent>],
    ) -> Result<(Vec<Inserted>, Option<PiggybackedConfirms>), StoreError> {
        match self {
            Self::Store {
                store,
                instance,
                outboxes,
                sinks,
                looks_for_unpublished,
            } => {
                // Of one sink in a commit: the others' are recorded by their confirm writers.
                let outbox = outboxes
                    .iter()
                    .max_by_key(|outbox| outbox.confirms.waiting());
                let piggybacked = outbox.map(|outbox| outbox.confirms.piggyback());
                let rows = piggybacked
                    .as_ref()
                    .map_or(Vec::new(), PiggybackedConfirms::rows);
                let confirms = outbox.map(|outbox| Confirms {
                    sink: &outbox.sink,
                    rows: &rows,
                });
                let (inserted, recorded) =
                    store.insert_and_confirm(*instance, sinks, events, confirms)?;
                let inserted = if *looks_for_unpublished {
                    mark_unpublished(&**store, inserted)?
                } else {
                    inserted
                };
                Ok((inserted, piggybacked.filter(|_| recorded)))
            }
            Self::Spool(spool) => Ok((spool.insert(events)?, None)),
        }
    }
}

/// Marks the duplicates of events that wait in the outbox. After an error here, the relay finds the
/// rows that were inserted.
fn mark_unpublished(
    store: &dyn Intake,
    mut inserted: Vec<Inserted>,
) -> Result<Vec<Inserted>, StoreError> {
    let mut duplicates: Vec<(&mut Inserted, First)> = inserted
        .iter_mut()
        .filter_map(|inserted| match *inserted {
            Inserted::Duplicate(first) => Some((inserted, first)),
            _ => None,
        })
        .collect();
    if !duplicates.is_empty() {
        let rows: Vec<Seq> = duplicates.iter().map(|(_, first)| first.seq).collect();
        for ((inserted, first), waits) in duplicates.iter_mut().zip(store.waiting(&rows)?) {
            if waits {
                **inserted = Inserted::Unpublished(*first);
            }
        }
    }
    Ok(inserted)
}

/// One writer.
pub(super) struct Writer {
    pub(super) target: WriterTarget,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) failing: bool,
}

impl Writer {
    fn run(mut self, work: &Receiver<Batch>) {
        for batch in work {
            let began = Instant::now();
            let spans = spans::begin(&batch.events, self.target.destination());
            failpoint!("writer_before_commit");
            let (result, piggybacked) = match self.target.insert(&batch.events) {
                Ok((inserted, piggybacked)) => (Ok(inserted), piggybacked),
                Err(error) => (Err(error), None),
            };
            spans::end(spans, &result);
            failpoint!("writer_after_commit");
            self.report(result.as_ref().err(), began);
            self.dispatch.done(batch, self.target.destination(), result);
            // After the answers, because no sender waits for this.
            if let Some(piggybacked) = piggybacked {
                piggybacked.mark_confirmed();
            }
        }
    }

    /// Logs one line when commits begin to fail, and one when they work again: an outage at
    /// 10,000 deliveries/s must not fill the disk.
    fn report(&mut self, error: Option<&StoreError>, began: Instant) {
        let changed = std::mem::replace(&mut self.failing, error.is_some()) != error.is_some();
        if self.target.destination() == Destination::Store {
            self.metrics
                .commit_seconds
                .observe(began.elapsed().as_secs_f64());
            if error.is_some() {
                self.metrics.commit_failures.inc();
            }
        }
        match (self.target.destination(), error) {
            _ if !changed => {}
            (Destination::Store, Some(error)) => {
                tracing::error!(%error, "store unavailable: {error}; new deliveries go to the spool, or are answered 503 without one");
            }
            (Destination::Store, None) => {
                tracing::info!("store available again: new deliveries are stored")
            }
            (Destination::Spool, Some(error)) => {
                tracing::error!(%error, "spool unavailable: {error}; while the store is away, new deliveries are answered 503");
            }
            (Destination::Spool, None) => tracing::info!("spool available again"),
        }
    }
}
