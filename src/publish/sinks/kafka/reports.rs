//! Delivery reports of the batch under way, in the context of a channel's producer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use serde::Deserialize;
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
    pub(super) reports: Arc<Reports>,
    cluster: Arc<Cluster>,
    knows_a_broker: AtomicBool,
}

impl ChannelContext {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            reports: Arc::new(Reports::default()),
            cluster,
            knows_a_broker: AtomicBool::new(true),
        }
    }

    /// Returns `false` once the library has forgotten all brokers: it will send nothing any more.
    pub(super) fn knows_a_broker(&self) -> bool {
        self.knows_a_broker.load(Ordering::Relaxed)
    }
}

/// Statistics of the library, as far as they are used.
#[derive(Deserialize)]
struct Statistics {
    brokers: HashMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    source: BrokerSource,
}

/// Reason for which the library has a broker in its list.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BrokerSource {
    Configured,
    Learned,
    #[serde(other)]
    Internal,
}

impl ClientContext for ChannelContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, text: &str) {
        cluster::log(facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        cluster::heard(&self.cluster, &error, reason);
    }

    /// Without statistics that can be read, the producer is kept.
    fn stats_raw(&self, statistics: &[u8]) {
        if let Ok(Statistics { brokers }) = serde_json::from_slice(statistics) {
            let any = brokers
                .values()
                .any(|broker| broker.source != BrokerSource::Internal);
            self.knows_a_broker.store(any, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_whose_brokers_are_all_forgotten_is_noticed() {
        let context = ChannelContext::new(Arc::new(Cluster::new("Kafka".into())));
        assert!(context.knows_a_broker(), "before the first statistics");
        let broker =
            |source| format!(r#"{{"name":"x","brokers":{{"x":{{"source":"{source}","rx":1}}}}}}"#);
        for (source, known) in [
            ("learned", true),
            ("internal", false),
            ("configured", true),
            ("logical", false),
        ] {
            context.stats_raw(broker(source).as_bytes());
            assert_eq!(context.knows_a_broker(), known, "{source}");
        }
        context.stats_raw(broker("learned").as_bytes());
        context.stats_raw(br#"{"name":"x","brokers":{}}"#);
        assert!(!context.knows_a_broker(), "none is left");
        context.stats_raw(b"not JSON");
        assert!(!context.knows_a_broker());
    }
}
