//! `[publisher]`: options of Kafka.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::define::{section, words};
use crate::config::option::{Count, OrNone, Secs, TemplateKind, Text, Texts, one_of};
use crate::config::rules;

section! {
    /// Kafka only.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct KafkaOptions given {
        /// Largest body of a source that names none of its own.
        pub largest_body: usize;
    } {
        /// Topic made of {source} and {type}. A character that Kafka does not allow becomes "-". With
        /// publisher.declare = true, missing topics are created at start, except those with {type}.
        pub topic: String = "publisher.topic", TemplateKind::Topic, "hookweir.{source}";
        /// Key of a record, made of {message_id}, {id}, {source} and {type}; "" is none. Copies of an event
        /// have the same key, so they lie in one partition.
        pub record_key: String = "publisher.record_key", TemplateKind::Key, "{message_id}";
        /// Compression of record batches: "lz4", "snappy", "gzip" or "none".
        pub compression: Compression = "publisher.compression", one_of::<Compression>(), "lz4";
        /// Partitions of a created topic; 0 is the brokers' default.
        pub partitions: usize = "publisher.partitions", Count(0..=10_000), 0;
        /// Copies of each partition of a created topic; 0 is the brokers' default.
        pub replication: usize = "publisher.replication", Count(0..=100), 0;
        /// SASL mechanism of user and password in the URL: "SCRAM-SHA-512", "SCRAM-SHA-256" or "PLAIN".
        pub sasl_mechanism: SaslMechanism = "publisher.sasl_mechanism", one_of::<SaslMechanism>(), "SCRAM-SHA-512";
        /// Certificates of authorities in PEM, for "kafkas://" and "amqps://"; "" is those of the system. With
        /// RabbitMQ, those of the system count, too.
        pub ca_file: Option<PathBuf> = "publisher.ca_file", OrNone(Text("path of a file", rules::anything)), "";
        /// Time without a confirm after which a batch is given up and published again by a new producer,
        /// which may make copies. It runs only while brokers answer. While they are away, batches wait.
        pub give_up: Duration = "publisher.give_up_secs", Secs(10..=86_400), 120;
        /// Further properties of librdkafka, such as "client.rack" = "eu-1a". Those that would break the
        /// promise are refused.
        pub properties: BTreeMap<String, String> = "publisher.kafka", Texts, { };
    }
}

words! {
    /// Compression of record batches.
    pub enum Compression {
        /// Quick.
        Lz4 = "lz4",
        /// Quick, too.
        Snappy = "snappy",
        /// Small.
        Gzip = "gzip",
        /// None.
        None = "none",
    }
}

words! {
    /// SASL mechanism of a login.
    pub enum SaslMechanism {
        /// Salted, with SHA-512.
        ScramSha512 = "SCRAM-SHA-512",
        /// Salted, with SHA-256.
        ScramSha256 = "SCRAM-SHA-256",
        /// The password itself.
        Plain = "PLAIN",
    }
    without {
        "OAUTHBEARER": "is not in this build, since librdkafka fetches tokens by libcurl: set \"SCRAM-SHA-512\" or \"PLAIN\" and a login \
                        in the sink's URL, or use kafkas:// with a certificate of your own (certificate_file and key_file)",
    }
}
