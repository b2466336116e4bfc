//! Client properties and topics for a reader of the sink: the lakehouse.

use std::collections::{BTreeMap, BTreeSet};

use super::topic::TopicNames;
use super::{KafkaConfig, KafkaSink, properties};
use crate::config::kafka_url::KafkaUrl;
use crate::config::model::{Publisher, Source};
use crate::publish::sinks::PublishError;

/// Client properties and topics of a sink.
#[derive(Clone)]
pub struct SinkTopics {
    /// Properties of the client library. They hold the password.
    pub properties: BTreeMap<String, String>,
    /// Topics of the configured sources.
    pub names: BTreeSet<TopicNames>,
}

impl SinkTopics {
    /// Returns those of the sink that `publisher` configures, for the cluster at `url`.
    pub fn of(
        url: &KafkaUrl,
        publisher: &Publisher,
        sources: &[Source],
    ) -> Result<Self, PublishError> {
        let sources: Vec<Source> = sources
            .iter()
            .filter(|source| publisher.gets(source))
            .cloned()
            .collect();
        let sink = KafkaSink::new(KafkaConfig::from_publisher(url, publisher, &sources))?;
        let client = properties::client(&sink.config);
        let properties = client.config_map().into_iter();
        Ok(Self {
            properties: properties
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            names: sink.naming.all_topics().map_err(PublishError)?,
        })
    }
}
