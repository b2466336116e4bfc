//! Options of the Kafka sink: `publisher.url = "kafka://…"`, its topics and its client.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::kafka_url::KafkaUrl;
use crate::config::model::{Compression, Publisher, SaslMechanism, Source};
use crate::domain::delivery::SourceName;
use crate::domain::event_order::EventOrder;

/// Options of the Kafka sink.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Brokers, with user and password.
    pub url: KafkaUrl,
    /// Template of topics.
    pub topic: String,
    /// Template of keys. Empty: records have no key.
    pub key: String,
    /// Order of events. In the place of the message id, a record has the key of its order.
    pub ordered: EventOrder,
    /// Configured sources. Their topics are declared and checked.
    pub sources: Vec<KafkaSource>,
    /// Compression of record batches.
    pub compression: Compression,
    /// Create missing topics at each connection.
    pub declare: bool,
    /// Partitions of a created topic. 0: as the brokers have it.
    pub partitions: u16,
    /// Copies of each partition of a created topic. 0: as the brokers have it.
    pub replication: u16,
    /// SASL mechanism of the login.
    pub sasl_mechanism: SaslMechanism,
    /// Certificates of authorities, in PEM. None: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of this client, in PEM.
    pub client_pair: Option<(PathBuf, PathBuf)>,
    /// Further properties of librdkafka.
    pub properties: BTreeMap<String, String>,
    /// Largest body that a source accepts.
    pub largest_body: usize,
    /// Longest time to reach a broker.
    pub connect_timeout: Duration,
    /// Time without a report after which the cluster is tried.
    pub confirm_timeout: Duration,
    /// Time without a report, while the cluster answers, after which a batch is given up.
    pub give_up: Duration,
}

/// Options of a source at the Kafka sink.
#[derive(Clone, Debug)]
pub struct KafkaSource {
    /// Name of the source.
    pub name: SourceName,
    /// Template of its topic, if it has one of its own.
    pub topic: Option<String>,
    /// Template of its keys, if it has one of its own.
    pub key: Option<String>,
}

impl KafkaConfig {
    /// Returns the options of `[publisher]` for the cluster at `url`.
    pub fn from_publisher(url: &KafkaUrl, publisher: &Publisher, sources: &[Source]) -> Self {
        let options = &publisher.kafka;
        let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let bodies = sources
            .iter()
            .map(|source| source.max_body_bytes.unwrap_or(options.largest_body));
        Self {
            url: url.clone(),
            topic: options.topic.clone(),
            key: options.record_key.clone(),
            ordered: publisher.ordered.clone(),
            sources: sources.iter().map(KafkaSource::from_source).collect(),
            compression: options.compression,
            declare: publisher.rabbitmq.declare,
            partitions: small(options.partitions),
            replication: small(options.replication),
            sasl_mechanism: options.sasl_mechanism,
            ca_file: options.ca_file.clone(),
            client_pair: {
                let options = &publisher.rabbitmq;
                let certificate = options.certificate_file.clone();
                certificate.zip(options.key_file.clone())
            },
            properties: options.properties.clone(),
            largest_body: bodies.max().unwrap_or(options.largest_body),
            connect_timeout: publisher.rabbitmq.connect_timeout,
            confirm_timeout: publisher.confirm_timeout,
            give_up: options.give_up,
        }
    }
}

impl KafkaSource {
    fn from_source(source: &Source) -> Self {
        Self {
            name: source.name.clone(),
            topic: source.topic.clone(),
            key: source.record_key.clone(),
        }
    }
}

/// Returns Kafka's name of a compression.
pub(super) fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Lz4 => "lz4",
        Compression::Snappy => "snappy",
        Compression::Gzip => "gzip",
    }
}

/// Returns the registered name of a SASL mechanism.
pub(super) fn mechanism_name(mechanism: SaslMechanism) -> &'static str {
    match mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    }
}
