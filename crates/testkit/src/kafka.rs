//! Topics and records of a Kafka, by way of a client that is not the service's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::sink::Message;

/// Longest time for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A record as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Partition that it lies in.
    pub partition: i32,
    /// Key; empty if there is none.
    pub key: String,
    /// Headers, each once.
    pub headers: BTreeMap<String, String>,
    /// Value.
    pub value: Vec<u8>,
}

impl Record {
    /// The value of a header that must be there.
    pub fn header(&self, name: &str) -> &str {
        &self.headers[name]
    }

    /// Takes out a header that must be there.
    pub fn take_header(&mut self, name: &str) -> String {
        self.headers.remove(name).expect("a header")
    }
}

impl From<Record> for Message {
    fn from(mut record: Record) -> Self {
        Self {
            attempt: record.take_header("x-hookweir-attempt"),
            id: record.take_header("x-hookweir-message-id"),
            source: record.header("ce_source").to_owned(),
            event_id: record.header("ce_id").to_owned(),
            properties: record.headers,
            body: record.value,
        }
    }
}

/// The node that leads the first partition of a topic.
pub fn leader(url: &str, topic: &str) -> i32 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers(url))
        .create()
        .expect("a client");
    let metadata = patiently(|| consumer.fetch_metadata(Some(topic), ANSWER));
    let topic = metadata.topics().first().expect("the topic");
    topic.partitions().first().expect("a partition").leader()
}

/// Asks until there is an answer: after a fault, a partition has no leader for a while.
fn patiently<T>(ask: impl Fn() -> KafkaResult<T>) -> T {
    let since = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(since.elapsed() < ANSWER, "no answer: {error}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A name for topics that nobody else has.
pub fn unique() -> String {
    format!("t{}", uuid::Uuid::now_v7().simple())
}

fn brokers(url: &str) -> &str {
    url.strip_prefix("kafka://").expect("a URL without a login")
}

/// Creates a topic with as many copies as the brokers like.
pub fn create_topic(url: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    create(url, topic, settings);
}

/// Creates a topic of three partitions on three nodes. The first node leads each of them.
pub fn create_led_topic(url: &str, name: &str, settings: &[(&str, &str)]) {
    const REPLICAS: [&[i32]; 3] = [&[1, 2, 3], &[1, 3, 2], &[1, 2, 3]];
    let topic = NewTopic::new(name, 3, TopicReplication::Variable(&REPLICAS));
    create(url, topic, settings);
}

fn create<'a>(url: &str, mut topic: NewTopic<'a>, settings: &[(&'a str, &'a str)]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers(url))
        .create()
        .expect("a client");
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(ANSWER));
    // On a thread of its own: a test may call this within a runtime.
    let results = std::thread::scope(|scope| {
        let create = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime
                .expect("a runtime")
                .block_on(admin.create_topics([&topic], &options))
        };
        scope.spawn(create).join().expect("no panic")
    });
    for result in results.expect("an answer") {
        result.expect("created");
    }
}

/// Number of records in a topic, as its brokers count them.
pub fn count(url: &str, topic: &str) -> u64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers(url))
        .create()
        .expect("a client");
    let metadata = patiently(|| consumer.fetch_metadata(Some(topic), ANSWER));
    let partitions = metadata
        .topics()
        .first()
        .map_or(0, |topic| topic.partitions().len());
    let of_partition = |partition: usize| {
        let partition = i32::try_from(partition).expect("few");
        let (low, high) = patiently(|| consumer.fetch_watermarks(topic, partition, ANSWER));
        high.abs_diff(low)
    };
    (0..partitions).map(of_partition).sum()
}

/// Reads a topic from its beginning to what is its end now, partition by partition.
pub fn records(url: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers(url))
        .set("group.id", unique())
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .create()
        .expect("a client");
    let metadata = patiently(|| consumer.fetch_metadata(Some(topic), ANSWER));
    let partitions = metadata
        .topics()
        .first()
        .map_or(0, |topic| topic.partitions().len());
    let mut found = Vec::new();
    for partition in 0..i32::try_from(partitions).expect("few") {
        let (low, high) = patiently(|| consumer.fetch_watermarks(topic, partition, ANSWER));
        if low == high {
            continue;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an offset");
        consumer.assign(&list).expect("assigned");
        loop {
            let record = match consumer.poll(ANSWER).expect("a record in time") {
                Ok(record) => record,
                // A broker that was away is back in a moment.
                Err(KafkaError::MessageConsumption(_)) => continue,
                Err(error) => panic!("{topic}: {error}"),
            };
            let mut headers = BTreeMap::new();
            for header in record.headers().expect("headers").iter() {
                let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                let before = headers.insert(header.key.to_owned(), value.into_owned());
                assert_eq!(before, None, "header {} came twice", header.key);
            }
            found.push(Record {
                partition,
                key: String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned(),
                headers,
                value: record.payload().unwrap_or_default().to_vec(),
            });
            if record.offset() + 1 >= high {
                break;
            }
        }
    }
    found
}
