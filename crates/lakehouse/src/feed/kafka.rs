//! Topics of a Kafka sink as a feed, read in a consumer group of the lakehouse's own.
//!
//! Offsets are committed after the commit of the table. They only save work: records that come again after a
//! death, a rebalance or a reset of the offsets are known by their message ids.

mod client;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use self::client::{Client, off_the_runtime};
use super::envelope::Parts;
use super::{Feed, FeedMessage};
use crate::error::{LakeError, Result};

/// Time without a record after which the brokers are asked if they are there. After an answer that names no
/// broker, the client library would wait without end (its issue 5301).
const SILENCE: Duration = Duration::from_secs(30);

/// Header with the id of the message.
const MESSAGE_ID: &str = "x-hookweir-message-id";
/// Header with the content type of the body.
const CONTENT_TYPE: &str = "content-type";
/// Header with the type of the event. It is never empty in CloudEvents.
const EVENT_TYPE: &str = "ce_type";
/// Value of [`EVENT_TYPE`] for an event without a type.
const UNTYPED: &str = "unknown";
/// Attributes of CloudEvents, with the names of the Kafka binding and those of the envelope.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("ce_specversion", "cloudEvents:specversion"),
    ("ce_id", "cloudEvents:id"),
    ("ce_source", "cloudEvents:source"),
    (EVENT_TYPE, "cloudEvents:type"),
    ("ce_time", "cloudEvents:time"),
];

/// Topics of a sink.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topics {
    /// One topic.
    Named(String),
    /// All topics whose names start so.
    StartingWith(String),
}

/// Options of the consumer.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Properties of the client library: brokers, login, TLS.
    pub properties: BTreeMap<String, String>,
    /// Topics that are read.
    pub topics: Vec<Topics>,
    /// Name of the consumer group.
    pub group: String,
    /// Bytes of records that the client holds before they are handed out. One answer of each broker of at most
    /// as many bytes may be added.
    pub read_ahead: usize,
    /// Longest time for an answer of the brokers.
    pub timeout: Duration,
}

impl std::fmt::Debug for KafkaOptions {
    /// Leaves out the properties, which hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("topics", &self.topics)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// Place of a record. Only the last one of a partition is committed, with all before it.
#[derive(Clone, Debug)]
pub struct RecordPlace {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
}

/// Topics that are consumed.
pub struct KafkaFeed {
    options: KafkaOptions,
    client: Option<Arc<Client>>,
    /// Names of topics, each once in memory.
    names: HashSet<Arc<str>>,
}

impl std::fmt::Debug for KafkaFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.options.fmt(f)
    }
}

impl KafkaFeed {
    /// Returns the feed. Nothing is connected yet.
    pub fn new(options: KafkaOptions) -> Self {
        Self {
            options,
            client: None,
            names: HashSet::new(),
        }
    }

    /// Joins the consumer group, unless that was done. The brokers must answer.
    async fn client(&mut self) -> Result<Arc<Client>> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let options = self.options.clone();
        let client = blocking(move || client::join(&options)).await;
        let client = Arc::new(client.map_err(|why| self.failed("read", why))?);
        self.client = Some(client.clone());
        Ok(client)
    }

    fn failed(&self, what: &str, why: impl std::fmt::Display) -> LakeError {
        let group = &self.options.group;
        LakeError::Feed(format!(
            "cannot {what} the topics of Kafka in the group {group}: {why}"
        ))
    }

    /// Asks the brokers if they are there.
    async fn ask(&self, client: Arc<Client>) -> Result<()> {
        let limit = self.options.timeout;
        let asked = blocking(move || client::ask(&*client, limit)).await;
        asked.map_err(|why| self.failed("read", why))
    }

    fn message(&mut self, record: &BorrowedMessage<'_>) -> FeedMessage<RecordPlace> {
        let topic = match self.names.get(record.topic()) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = record.topic().into();
                self.names.insert(new.clone());
                new
            }
        };
        FeedMessage {
            event: parts(record).into_event(),
            ack: RecordPlace {
                topic,
                partition: record.partition(),
                offset: record.offset(),
            },
        }
    }
}

#[async_trait]
impl Feed for KafkaFeed {
    type Ack = RecordPlace;

    async fn connect(&mut self) -> Result<bool> {
        let client = self.client().await?;
        self.ask(client).await?;
        Ok(true)
    }

    async fn next(&mut self) -> Result<FeedMessage<RecordPlace>> {
        let client = self.client().await?;
        loop {
            let silent = match tokio::time::timeout(SILENCE, client.recv()).await {
                Ok(Ok(record)) => return Ok(self.message(&record)),
                Ok(Err(error)) => {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                    if !client::mends_itself(code) {
                        return Err(self.failed("read", client::text(code)));
                    }
                    tracing::debug!("Kafka: {}", client::text(code));
                    false
                }
                Err(_) => true,
            };
            if silent {
                self.ask(client.clone()).await?;
            }
        }
    }

    /// Commits the offset after the last record of each partition.
    async fn ack(&mut self, acks: Vec<RecordPlace>) -> Result<()> {
        let (Some(client), false) = (self.client.clone(), acks.is_empty()) else {
            return Ok(());
        };
        let offsets = offsets(acks).map_err(|error| self.failed("commit offsets of", error))?;
        let commit = blocking(move || client.commit(&offsets, CommitMode::Sync));
        let Ok(committed) = tokio::time::timeout(self.options.timeout, commit).await else {
            return Err(self.failed("commit offsets of", "no answer from the brokers in time"));
        };
        match committed {
            Ok(()) => Ok(()),
            // The partitions went to another member, which reads the records again.
            Err(KafkaError::ConsumerCommit(code)) if client::is_a_rebalance(code) => {
                tracing::debug!("Kafka: {}", client::text(code));
                Ok(())
            }
            Err(error) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                Err(self.failed("commit offsets of", client::text(code)))
            }
        }
    }

    /// Leaves the group: its next member begins at the committed offsets.
    async fn release(&mut self) -> Result<()> {
        if let Some(client) = self.client.take() {
            off_the_runtime(client);
        }
        Ok(())
    }
}

impl Drop for KafkaFeed {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            off_the_runtime(client);
        }
    }
}

/// Returns the number of records in the topics of a sink that the group has not committed.
pub async fn backlog(options: KafkaOptions) -> Result<u64> {
    let group = options.group.clone();
    let counted = blocking(move || client::backlog(&options)).await;
    counted.map_err(|why| {
        LakeError::Feed(format!(
            "cannot count the records of Kafka for the group {group}: {why}"
        ))
    })
}

/// Returns the offsets to commit. For each partition it is the one after the record that was handed out last,
/// and not after the highest one: if offsets begin anew, those before have no meaning any more.
fn offsets(acks: Vec<RecordPlace>) -> std::result::Result<TopicPartitionList, KafkaError> {
    let mut last: HashMap<(Arc<str>, i32), i64> = HashMap::new();
    for ack in acks {
        last.insert((ack.topic, ack.partition), ack.offset);
    }
    let mut offsets = TopicPartitionList::new();
    for ((topic, partition), offset) in last {
        offsets.add_partition_offset(&topic, partition, Offset::Offset(offset + 1))?;
    }
    Ok(offsets)
}

/// Runs a call of the client library, which blocks, on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn parts(record: &BorrowedMessage<'_>) -> Parts {
    let headers = record
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter());
    let mut parts = Parts {
        body: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
        ..Parts::default()
    };
    for header in headers {
        let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
        parts.add(header.key, value);
    }
    parts
}

impl Parts {
    /// Adds a header of a record. Some of them are properties of a message at other sinks.
    fn add(&mut self, name: &str, value: String) {
        match name {
            MESSAGE_ID => self.message_id = value,
            CONTENT_TYPE if self.content_type.is_none() => self.content_type = Some(value),
            _ => {
                if name == EVENT_TYPE && value != UNTYPED {
                    self.event_type = Some(value.clone());
                }
                let known = ATTRIBUTES.iter().find(|(theirs, _)| *theirs == name);
                let name = known.map_or(name, |(_, ours)| ours);
                self.headers.push((name.to_owned(), value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32, offset: i64) -> RecordPlace {
        RecordPlace {
            topic: "t".into(),
            partition,
            offset,
        }
    }

    #[test]
    fn after_offsets_began_anew_no_record_before_the_last_one_is_skipped() {
        let acks = vec![place(0, 150), place(1, 7), place(0, 0), place(0, 1)];
        let offsets = offsets(acks).expect("valid");
        let offset = |partition| offsets.find_partition("t", partition).map(|p| p.offset());
        assert_eq!(offset(0), Some(Offset::Offset(2)));
        assert_eq!(offset(1), Some(Offset::Offset(8)));
    }

    #[test]
    fn a_record_is_the_event_with_its_type_and_without_our_headers() {
        let mut parts = Parts::default();
        for (name, value) in [
            ("content-type", "application/json"),
            (
                "x-hookweir-message-id",
                "018f0000-0000-8000-8000-000000000001",
            ),
            ("ce_id", "evt_1"),
            ("ce_type", "push"),
            ("x-hookweir-source", "gh"),
            ("x-hookweir-received-at", "2026-01-01T00:00:00.001Z"),
            ("user-agent", "GitHub"),
        ] {
            parts.add(name, value.to_owned());
        }
        let event = parts.into_event().expect("an event");
        assert_eq!((&*event.source, &*event.event_id), ("gh", "evt_1"));
        assert_eq!(event.event_type.as_deref(), Some("push"));
        assert_eq!(event.content_type.as_deref(), Some("application/json"));
        assert_eq!(event.headers, [("user-agent".into(), "GitHub".into())]);
    }

    #[test]
    fn the_options_show_no_password() {
        let options = KafkaOptions {
            properties: BTreeMap::from([("sasl.password".to_owned(), "hunter2".to_owned())]),
            topics: vec![Topics::Named("t".to_owned())],
            group: "g".to_owned(),
            read_ahead: 1 << 20,
            timeout: SILENCE,
        };
        let feed = KafkaFeed::new(options);
        assert!(!format!("{feed:?}").contains("hunter2"), "{feed:?}");
    }
}
