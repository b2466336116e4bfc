//! Options for unit tests.

use std::time::Duration;

use super::KafkaConfig;
use crate::config::kafka_url::KafkaUrl;
use crate::config::model::{Compression, SaslMechanism};

pub(super) fn config(url: &str) -> KafkaConfig {
    KafkaConfig {
        url: KafkaUrl::parse(url).expect("a URL"),
        topic: "hookweir.{source}".to_owned(),
        ordered: crate::domain::event_order::EventOrder::None,
        key: "{message_id}".to_owned(),
        sources: Vec::new(),
        compression: Compression::None,
        declare: false,
        partitions: 0,
        replication: 0,
        sasl_mechanism: SaslMechanism::ScramSha512,
        ca_file: None,
        client_pair: None,
        properties: Default::default(),
        largest_body: 1_000_000,
        connect_timeout: Duration::from_secs(5),
        confirm_timeout: Duration::from_secs(1),
        give_up: Duration::from_secs(120),
    }
}
