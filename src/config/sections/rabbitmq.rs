//! `[publisher]`: options of RabbitMQ.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::define::{section, words};
use crate::config::option::{Bytes, Flag, GIB, HOUR_MS, Millis, OrNone, Secs, Text, one_of};
use crate::config::rules;

section! {
    /// RabbitMQ only.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct RabbitmqOptions {
        /// Exchange of the messages.
        pub exchange: String = "publisher.exchange", Text("name of an exchange", rules::amqp_name), "hookweir";
        /// true declares exchange, alternate exchange and queues at start; false only checks that they exist.
        /// With Kafka, true creates missing topics of configured sources.
        pub declare: bool = "publisher.declare", Flag, true;
        /// Queue that is declared and bound to the exchange with "#"; "" is none.
        pub queue: Option<String> = "publisher.queue", OrNone(Text("name of a queue", rules::amqp_name_or_none)), "hookweir.events";
        /// Type of the declared queues: "quorum", "classic" or "stream".
        pub queue_type: QueueType = "publisher.queue_type", one_of::<QueueType>(), "quorum";
        /// Queue for messages that no binding routes.
        pub unrouted_queue: String = "publisher.unrouted_queue", Text("name of a queue", rules::amqp_name), "hookweir.unrouted";
        /// Largest message that the broker takes; 0 is no limit. A larger body gets 413, since it could never
        /// be published. Unless its max_message_size says otherwise, RabbitMQ 4 takes 16 MiB, RabbitMQ 3
        /// 128 MiB.
        pub max_message_bytes: usize = "publisher.max_message_bytes", Bytes(0..=GIB), 16777216;
        /// Certificate in PEM by which this client proves itself, also to Kafka, for "amqps://" and "kafkas://"; ""
        /// is none. RabbitMQ's files are read again at each connection.
        pub certificate_file: Option<PathBuf> = "publisher.certificate_file", OrNone(Text("path of a file", rules::anything)), "";
        /// Private key of certificate_file in PEM, without a passphrase.
        pub key_file: Option<PathBuf> = "publisher.key_file", OrNone(Text("path of a file", rules::anything)), "";
        /// Time to connect, also to Kafka.
        pub connect_timeout: Duration = "publisher.connect_timeout_ms", Millis(10..=HOUR_MS), 5000;
        /// Interval of AMQP heartbeats.
        pub heartbeat: Duration = "publisher.heartbeat_secs", Secs(1..=3600), 10;
    }
}

words! {
    /// RabbitMQ's types of queues.
    pub enum QueueType {
        /// Replicated.
        Quorum = "quorum",
        /// On one node.
        Classic = "classic",
        /// A log that consumers read at their own offset.
        Stream = "stream",
    }
}
