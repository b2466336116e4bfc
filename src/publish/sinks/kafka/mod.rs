//! The Kafka sink: an idempotent producer for each channel, and a watcher for the cluster.
//!
//! The client library finds leaders, reconnects and retries by itself, with the same sequence numbers, so
//! that nothing is written twice. A cluster that is away therefore blocks its connection, and loses it
//! never: the batches under way wait.

use std::sync::Arc;

use async_trait::async_trait;

use self::connection::KafkaConnection;
use self::topic::Naming;
use super::{Connection, KAFKA_CHANNELS, PublishError, Sink};

mod channel;
mod cluster;
mod config;
mod connection;
mod properties;
mod reader;
mod reports;
mod topic;
mod topic_reader;
mod topics;
mod verdict;
mod watcher;

pub use self::config::{KafkaConfig, KafkaSource};
pub use self::properties::check_property;
pub use self::reader::SinkTopics;
pub use self::topic::TopicNames;
pub use self::topic_reader::TopicReader;

/// A Kafka cluster.
#[derive(Clone)]
pub struct KafkaSink {
    config: Arc<KafkaConfig>,
    naming: Arc<Naming>,
}

impl KafkaSink {
    /// Returns the sink. Nothing is connected yet.
    pub fn new(config: KafkaConfig) -> Result<Self, PublishError> {
        let naming = Naming::new(&config).map_err(PublishError)?;
        for (name, value) in &config.properties {
            check_property(name, value).map_err(PublishError)?;
        }
        Ok(Self {
            config: Arc::new(config),
            naming: Arc::new(naming),
        })
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn channels(&self, configured: usize) -> usize {
        configured.min(KAFKA_CHANNELS)
    }

    async fn connect(&self) -> Result<Box<dyn Connection>, PublishError> {
        let connection = KafkaConnection::open(self).await?;
        connection.bring_up().await;
        connection.watch();
        Ok(Box::new(connection))
    }

    async fn check(&self) -> Result<Vec<String>, PublishError> {
        let connection = KafkaConnection::open(self).await?;
        let (topics, mut problems) = connection.topics(false).await;
        let mut found = vec![if self.config.url.login.is_some() {
            format!("{} takes our login", connection.name())
        } else {
            format!("{} answers", connection.name())
        }];
        for (name, topic) in &topics {
            if topic.is_missing() && self.config.declare {
                found.push(format!("topic \"{name}\" is missing; it will be created"));
            } else if let Some((partitions, copies)) = topic.layout {
                let limit = topic
                    .limit
                    .map(|limit| format!(", and takes {limit} bytes at most"));
                found.push(format!(
                    "topic \"{name}\" is there: partitions {partitions}, copies {copies}{}",
                    limit.unwrap_or_default()
                ));
            }
        }
        let (missing, doubtful): (Vec<_>, Vec<_>) = topics
            .into_iter()
            .partition(|(_, topic)| topic.layout.is_none());
        let missing = missing
            .into_iter()
            .filter(|(_, topic)| !(topic.is_missing() && self.config.declare));
        problems.extend(topics::warnings(&missing.collect(), &self.config));
        if !problems.is_empty() {
            return Err(PublishError(format!(
                "{}: {}",
                connection.name(),
                problems.join("; ")
            )));
        }
        found.extend(topics::warnings(
            &doubtful.into_iter().collect(),
            &self.config,
        ));
        found.push("the rights to write are not tried: that would write".to_owned());
        Ok(found)
    }
}

#[cfg(test)]
mod testing;
