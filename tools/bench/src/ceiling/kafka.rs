//! Kafka alone: one idempotent producer, acks of all replicas, a sliding window, no consumer.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::Options;
use crate::queue::Kafka;
use crate::requests::Requests;

/// Records under way.
pub(super) const WINDOW: usize = 1024;
/// Load before a measurement: the producer gets its id, and Java compiles.
const WARM_UP: Duration = Duration::from_secs(2);
/// Longest time for what is under way at the end.
const FLUSH: Duration = Duration::from_secs(60);

/// Counts what the brokers have confirmed.
#[derive(Clone, Default)]
struct Counting {
    confirmed: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.confirmed.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.failed.fetch_add(1, Ordering::Relaxed),
        };
    }
}

/// Records a second, with a compression.
pub(super) fn measure(
    kafka: &Kafka,
    compression: &str,
    options: Options<'_>,
) -> Result<f64, Box<dyn Error>> {
    let brokers = kafka
        .server
        .url
        .strip_prefix("kafka://")
        .ok_or("a URL without a login")?;
    let topic = kafka.new_topic();
    let counting = Counting::default();
    let producer: ThreadedProducer<Counting> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("compression.codec", compression)
        .set("queue.buffering.max.messages", WINDOW.to_string())
        .create_with_context(counting.clone())?;
    let body = Requests::new(options.body).body(0);
    let mut sent = 0_u64;
    let confirmed = || counting.confirmed.load(Ordering::Relaxed);
    let mut send_until = |end: Instant| -> Result<(), KafkaError> {
        while Instant::now() < end {
            // Another key each, so that all partitions have their share.
            let key = sent.to_le_bytes();
            match producer.send(BaseRecord::to(&topic).key(&key[..]).payload(&body[..])) {
                Ok(()) => sent += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err((error, _)) => return Err(error),
            }
        }
        Ok(())
    };
    send_until(Instant::now() + WARM_UP)?;
    let (began, before) = (Instant::now(), confirmed());
    send_until(began + options.time)?;
    let rate = (confirmed() - before) as f64 / began.elapsed().as_secs_f64();
    producer.flush(FLUSH)?;
    let (confirmed, failed) = (confirmed(), counting.failed.load(Ordering::Relaxed));
    if confirmed != sent || failed > 0 {
        return Err(
            format!("of {sent} records {confirmed} were confirmed, {failed} failed").into(),
        );
    }
    Ok(rate)
}
