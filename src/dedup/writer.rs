//! Writer threads: each commits one batch at a time. The store's calls block, so they stay off the actors.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::delivery::InstanceId;
use crate::mailbox::Mailbox;
use crate::messages::{Batch, BatchDone};
use crate::shutdown::Lifeline;
use crate::store::{NewEvent, Store, StoreError};
use crate::telemetry::Metrics;

/// The writer threads.
pub struct Writers(Vec<JoinHandle<()>>);

impl Writers {
    /// Starts `count` of them; they end when the sending side of `work` is gone.
    pub(super) fn start(
        count: usize,
        work: &Receiver<Batch>,
        store: &Arc<dyn Store>,
        instance: InstanceId,
        done: &Mailbox<BatchDone>,
        metrics: &Arc<Metrics>,
        lifeline: &Lifeline,
    ) -> std::io::Result<Self> {
        let threads = (0..count).map(|n| {
            let writer = Writer { store: store.clone(), instance, done: done.clone(), metrics: metrics.clone(), failing: false };
            let (work, lifeline) = (work.clone(), lifeline.of("writer"));
            std::thread::Builder::new().name(format!("writer-{n}")).spawn(move || {
                let _lifeline = lifeline;
                writer.run(&work);
            })
        });
        threads.collect::<Result<_, _>>().map(Self)
    }

    /// All of them have ended.
    pub fn are_finished(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }
}

struct Writer {
    store: Arc<dyn Store>,
    instance: InstanceId,
    done: Mailbox<BatchDone>,
    metrics: Arc<Metrics>,
    failing: bool,
}

impl Writer {
    fn run(mut self, work: &Receiver<Batch>) {
        for batch in work {
            let events: Vec<Arc<NewEvent>> = batch.events.iter().map(|(event, _)| event.clone()).collect();
            let began = Instant::now();
            let result = self.store.insert(self.instance, &events);
            self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
            self.report(result.as_ref().err());
            if self.done.try_send(BatchDone { batch, result }).is_err() {
                // The actor is gone and the process about to end; a committed batch is found by the next instance's relay.
                return;
            }
        }
    }

    /// One line when it begins to fail and one when it works again: an outage at 10,000 deliveries/s must not fill the disk.
    fn report(&mut self, error: Option<&StoreError>) {
        if let Some(error) = error {
            self.metrics.commit_failures.inc();
            if !self.failing {
                tracing::error!(%error, "cannot store events: {error}; senders are answered 503 and will try again");
            }
        } else if self.failing {
            tracing::info!("events are stored again");
        }
        self.failing = error.is_some();
    }
}
