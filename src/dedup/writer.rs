//! Writer threads: each commits one batch at a time, in the store or in the spool. Both block, so they stay off the actors.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::dispatch::Dispatch;
use super::route::{BatchId, Place};
use crate::domain::delivery::InstanceId;
use crate::faults::failpoint::failpoint;
use crate::outbox::{PendingConfirms, PiggybackedConfirms};
use crate::runtime::shutdown::Lifeline;
use crate::spool::Spool;
use crate::store::{First, Inserted, NewEvent, Seq, Store, StoreError};
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
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Starts one, which ends when the sending side of `work` is gone.
    pub(super) fn add(
        &mut self,
        writer: Writer,
        work: &Receiver<Batch>,
        lifeline: &Lifeline,
    ) -> std::io::Result<()> {
        let (work, lifeline) = (work.clone(), lifeline.of("writer"));
        let name = match writer.target {
            Target::Store { .. } => format!("writer-{}", self.0.len()),
            Target::Spool(_) => "spool-writer".to_owned(),
        };
        self.0
            .push(std::thread::Builder::new().name(name).spawn(move || {
                let _lifeline = lifeline;
                writer.run(&work);
            })?);
        Ok(())
    }

    /// All of them have ended.
    pub fn are_finished(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }
}

/// Where a writer commits.
#[derive(Clone)]
pub(super) enum Target {
    Store {
        store: Arc<dyn Store>,
        instance: InstanceId,
        /// What the queue has confirmed goes along with each commit.
        confirms: PendingConfirms,
        /// Tells duplicates of published events from those of events that wait in the outbox.
        looks_for_unpublished: bool,
    },
    Spool(Spool),
}

impl Target {
    fn place(&self) -> Place {
        match self {
            Self::Store { .. } => Place::Store,
            Self::Spool(_) => Place::Spool,
        }
    }

    /// Besides what became of the events, the confirmed ones of which the store was told in the same transaction.
    fn insert(
        &self,
        events: &[Arc<NewEvent>],
    ) -> Result<(Vec<Inserted>, Option<PiggybackedConfirms>), StoreError> {
        match self {
            Self::Store {
                store,
                instance,
                confirms,
                looks_for_unpublished,
            } => {
                let piggybacked = confirms.piggyback();
                let (inserted, recorded) =
                    store.insert_and_confirm(*instance, events, &piggybacked.rows())?;
                let inserted = if *looks_for_unpublished {
                    mark_unpublished(&**store, inserted)?
                } else {
                    inserted
                };
                Ok((inserted, recorded.then_some(piggybacked)))
            }
            Self::Spool(spool) => Ok((spool.insert(events)?, None)),
        }
    }
}

/// Says which duplicates are of events that wait in the outbox. After an error here the rows that were inserted are found by the relay.
fn mark_unpublished(
    store: &dyn Store,
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
    pub(super) target: Target,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) failing: bool,
}

impl Writer {
    fn run(mut self, work: &Receiver<Batch>) {
        for batch in work {
            let began = Instant::now();
            failpoint!("writer_before_commit");
            let (result, piggybacked) = match self.target.insert(&batch.events) {
                Ok((inserted, piggybacked)) => (Ok(inserted), piggybacked),
                Err(error) => (Err(error), None),
            };
            failpoint!("writer_after_commit");
            self.report(result.as_ref().err(), began);
            self.dispatch.done(batch, self.target.place(), result);
            // After the answers have gone: nobody waits for this.
            if let Some(piggybacked) = piggybacked {
                piggybacked.mark_confirmed();
            }
        }
    }

    /// One line when it begins to fail and one when it works again: an outage at 10,000 deliveries/s must not fill the disk.
    fn report(&mut self, error: Option<&StoreError>, began: Instant) {
        let changed = std::mem::replace(&mut self.failing, error.is_some()) != error.is_some();
        if self.target.place() == Place::Store {
            self.metrics
                .commit_seconds
                .observe(began.elapsed().as_secs_f64());
            if error.is_some() {
                self.metrics.commit_failures.inc();
            }
        }
        match (self.target.place(), error) {
            _ if !changed => {}
            (Place::Store, Some(error)) => {
                tracing::error!(%error, "cannot store events: {error}; they go to the spool, or, without one, senders are answered 503 and will try again");
            }
            (Place::Store, None) => tracing::info!("events are stored again"),
            (Place::Spool, Some(error)) => {
                tracing::error!(%error, "cannot spool events either: {error}; senders are answered 503 and will try again");
            }
            (Place::Spool, None) => tracing::info!("events are spooled again"),
        }
    }
}
