//! Delivery reports of the batch under way, in the context of a channel's producer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use super::cluster::{self, Cluster};

/// Reports of one batch at a time. A record is known by its place in the batch.
#[derive(Default)]
pub(super) struct Reports {
    batch: Mutex<Option<Batch>>,
    count: AtomicU64,
}

struct Batch {
    codes: Vec<Option<Code>>,
    missing: usize,
    done: oneshot::Sender<Vec<Code>>,
}

impl Reports {
    /// Begins a batch of `len` records. The receiver gets all codes, in order, after the last report.
    pub(super) fn begin(&self, len: usize) -> oneshot::Receiver<Vec<Code>> {
        let (done, receiver) = oneshot::channel();
        let batch = Batch {
            codes: vec![None; len],
            missing: len,
            done,
        };
        self.put(Some(batch));
        if len == 0 {
            self.finish();
        }
        receiver
    }

    /// Records the report of the record at `place`.
    pub(super) fn add(&self, place: usize, code: Code) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let last = {
            let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(batch) = &mut *batch else { return };
            match batch.codes.get_mut(place) {
                Some(slot) if slot.is_none() => {
                    *slot = Some(code);
                    batch.missing -= 1;
                    batch.missing == 0
                }
                _ => false,
            }
        };
        if last {
            self.finish();
        }
    }

    /// Returns the number of reports so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends the batch. Records without a report have the code `Unknown`.
    pub(super) fn finish(&self) {
        let Some(batch) = self.put(None) else { return };
        let codes = batch
            .codes
            .into_iter()
            .map(|code| code.unwrap_or(Code::Unknown));
        // Nobody waits any more if the publish task has ended.
        let _ = batch.done.send(codes.collect());
    }

    fn put(&self, batch: Option<Batch>) -> Option<Batch> {
        let mut slot = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *slot, batch)
    }
}

/// Context of the producer of a channel.
pub(super) struct ChannelContext {
    pub(super) cluster: Arc<Cluster>,
    pub(super) reports: Arc<Reports>,
}

impl ClientContext for ChannelContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, text: &str) {
        cluster::log(facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        cluster::heard(&self.cluster, &error, reason);
    }
}

impl ProducerContext for ChannelContext {
    /// Place of the record in its batch.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        let code = match result {
            Ok(_) => Code::NoError,
            Err((error, _)) => error.rdkafka_error_code().unwrap_or(Code::Unknown),
        };
        self.reports.add(place, code);
    }
}
