//! A look at records as they arrive in a topic: for `hookweir send --wait`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use serde_json::{Map, Value, json};

use super::cluster::{Cluster, Events};
use super::verdict::{no_answer, text};
use super::{KafkaConfig, KafkaSink, connection, properties};
use crate::config::kafka_url::KafkaUrl;
use crate::config::model::{Publisher, Source};
use crate::publish::envelope::MESSAGE_ID;
use crate::publish::sinks::PublishError;

/// Longest time of one wait for records. A reader that nobody asks any more ends after it.
const WAIT: Duration = Duration::from_millis(200);
/// Name of the group that the client library demands. No offset is committed, so the brokers do not know it.
const GROUP: &str = "hookweir-send";

/// A consumer that reads the topic of a source from its present end.
pub struct TopicReader {
    consumer: Arc<BaseConsumer<Events>>,
    cluster: Arc<Cluster>,
    topic: String,
}

impl ConsumerContext for Events {}

impl TopicReader {
    /// Begins to read the topic of `source` at its end.
    pub async fn open(
        url: &KafkaUrl,
        publisher: &Publisher,
        source: &Source,
    ) -> Result<Self, PublishError> {
        let sources = std::slice::from_ref(source);
        let config = KafkaConfig::from_publisher(url, publisher, sources);
        let sink = KafkaSink::new(config)?;
        let Some(topic) = sink.naming.of_sources().into_iter().next() else {
            return Err(PublishError(
                "the topic has {type}, so it is not known before the event is there".to_owned(),
            ));
        };
        let cluster = Arc::new(Cluster::new(sink.config.url.name()));
        let mut properties = properties::client(&sink.config);
        properties
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false");
        let events = Events(cluster.clone());
        let consumer = connection::create(properties, events, &cluster.name).await?;
        let reader = Self {
            consumer: Arc::new(consumer),
            cluster,
            topic,
        };
        let limit = sink.config.connect_timeout;
        match reader
            .on_a_thread(move |consumer, topic| start(consumer, topic, limit))
            .await
        {
            Ok(()) => Ok(reader),
            Err(code) => {
                let why = no_answer(code, limit);
                Err(PublishError(format!(
                    "{}, topic \"{}\"",
                    reader.cluster.why(&why),
                    reader.topic
                )))
            }
        }
    }

    /// Returns the name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Waits for the message `id`, and returns its record as a line of JSON.
    pub async fn message(&self, id: &str) -> Result<String, PublishError> {
        loop {
            let id = id.to_owned();
            let found = self
                .on_a_thread(move |consumer, _| Ok(next(consumer, &id)))
                .await;
            match found {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(code) => return Err(PublishError(self.cluster.why(&text(code)))),
            }
        }
    }

    /// Runs a call of the client library, which blocks, on a thread of its own.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BaseConsumer<Events>, &str) -> Result<T, Code> + Send + 'static,
    ) -> Result<T, Code> {
        let (consumer, topic) = (self.consumer.clone(), self.topic.clone());
        let done = tokio::task::spawn_blocking(move || work(&consumer, &topic));
        done.await.unwrap_or(Err(Code::Unknown))
    }
}

/// Assigns all partitions of the topic, each at its end.
fn start(consumer: &BaseConsumer<Events>, topic: &str, limit: Duration) -> Result<(), Code> {
    let code =
        |error: rdkafka::error::KafkaError| error.rdkafka_error_code().unwrap_or(Code::Unknown);
    let metadata = consumer.fetch_metadata(Some(topic), limit).map_err(code)?;
    let mut ends = TopicPartitionList::new();
    for found in metadata.topics() {
        if let Some(error) = found.error() {
            return Err(error.into());
        }
        for partition in found.partitions() {
            let watermarks = consumer.fetch_watermarks(topic, partition.id(), limit);
            let (_, end) = watermarks.map_err(code)?;
            ends.add_partition_offset(topic, partition.id(), Offset::Offset(end))
                .map_err(code)?;
        }
    }
    consumer.assign(&ends).map_err(code)
}

/// Waits a moment for the next record. Returns it as a line if it is the message `id`.
fn next(consumer: &BaseConsumer<Events>, id: &str) -> Option<String> {
    // An error ends nothing: a lost broker comes back, and the group needs no right, since it is not used.
    let record = consumer.poll(WAIT)?.ok()?;
    (header(&record, MESSAGE_ID) == Some(id)).then(|| line(&record))
}

fn header<'r>(record: &'r BorrowedMessage<'_>, name: &str) -> Option<&'r str> {
    let headers = record.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    std::str::from_utf8(found.value?).ok()
}

fn line(record: &BorrowedMessage<'_>) -> String {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value);
    put("message_id", json!(header(record, MESSAGE_ID)));
    put("topic", json!(record.topic()));
    put("partition", json!(record.partition()));
    if let Some(key) = record.key() {
        put("key", json!(String::from_utf8_lossy(key)));
    }
    let headers = record
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter());
    let shown = headers.map(|header| {
        let value = String::from_utf8_lossy(header.value.unwrap_or_default());
        (header.key.to_owned(), json!(value))
    });
    put("headers", Value::Object(shown.collect()));
    let body = record.payload().unwrap_or_default();
    match std::str::from_utf8(body) {
        Ok(body) => put("body", json!(body)),
        Err(_) => {
            let base64 = base64::engine::general_purpose::STANDARD.encode(body);
            put("body_base64", json!(base64))
        }
    };
    Value::Object(line).to_string()
}
