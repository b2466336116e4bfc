//! Sinks: places that events are published to. Each has a folder of its own, with its
//! configuration.
//!
//! A [`Sink`] opens a [`Connection`], and a connection opens [`Channel`]s. A channel publishes
//! batches. `tests/it/sink_contract` holds every sink to the same contract:
//!
//! - [`PublishResult::Confirmed`] means durable and routed. A message in doubt is never confirmed.
//! - Every copy of a message has the same id.
//! - A blocked connection is not a lost one: its batch waits, and is not sent again.
//! - A message that is unroutable or refused is told apart from its neighbours.
//! - A message that is too large is refused alone.
//! - A channel that met an error reports it by [`Channel::is_open`] or by a result, and is
//!   replaced.
//! - [`Connection::close`] ends after the batches under way are durable or in doubt.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use self::file::{FileSink, FileSinkConfig};
use self::rabbitmq::{RabbitmqConfig, RabbitmqSink};
use super::envelope::Message;
use crate::config::kafka_url::KafkaUrl;
use crate::config::model::{Publisher, PublisherUrl, Source};

pub mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod rabbitmq;

/// Most channels that Kafka uses: a producer costs threads and connections, and two fill a broker.
pub const KAFKA_CHANNELS: usize = 2;

/// Result of publishing one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishResult {
    /// The message is durable at the sink, and routed.
    Confirmed,
    /// The sink has no place for the message, for the given reason: no queue is bound, a topic is
    /// missing. It is stored nowhere.
    Unroutable(String),
    /// The sink refused the message for now, for the given reason: a full queue, a missing
    /// permission.
    Nacked(String),
    /// The message may be at the sink or not. The batch met the given error or time limit.
    Unknown(String),
    /// The sink gave up the whole batch, because it can never take one of the messages, for the
    /// given reason. In a batch of one, it is that message.
    Refused(String),
}

impl PublishResult {
    /// Returns the label in `hookweir_published_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Unroutable(_) => "unroutable",
            Self::Nacked(_) => "nacked",
            Self::Unknown(_) => "unknown",
            Self::Refused(_) => "refused",
        }
    }
}

/// Reason why a sink cannot be reached or used: text for the operator, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PublishError(pub String);

/// A place that events are published to: a RabbitMQ broker, a folder of files. Each call has a time
/// limit of its own.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Returns the number of channels that this sink can use, at most `configured`.
    fn channels(&self, configured: usize) -> usize {
        configured
    }

    /// Connects, and creates what publishing needs.
    async fn connect(&self) -> Result<Box<dyn Connection>, PublishError>;

    /// Tries to reach the sink without changing anything. Returns the findings as sentences.
    async fn check(&self) -> Result<Vec<String>, PublishError>;
}

/// State of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It takes messages.
    Up,
    /// It takes no messages for the given reason, and will again by itself.
    Blocked(String),
    /// It is lost, for the given reason.
    Down(String),
}

/// Messages that a sink has taken although no consumer's place was bound for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrouted {
    /// Number of messages.
    pub count: u64,
    /// Name of the place in which they wait.
    pub place: String,
}

/// A connection to a sink.
#[async_trait]
pub trait Connection: Send + Sync {
    /// Opens a channel.
    async fn channel(&self) -> Result<Box<dyn Channel>, PublishError>;

    /// Returns the state, and its changes from now on.
    fn state(&self) -> watch::Receiver<ConnectionState>;

    /// Counts messages that were routed to nowhere. None if the sink keeps none, or does not tell now.
    async fn unrouted(&self) -> Option<Unrouted> {
        None
    }

    /// Returns the reason for which a part of the messages is not confirmed now. None if there is none, or
    /// the sink does not tell.
    async fn shortage(&self) -> Option<String> {
        None
    }

    /// Closes the connection in order.
    async fn close(&self);
}

/// A channel of one publish task. It is never shared between tasks: RabbitMQ's client would mix up
/// the confirms of two.
#[async_trait]
pub trait Channel: Send {
    /// Publishes `batch`, and waits for the result of each message, in order.
    async fn publish(&mut self, batch: &[Message]) -> Vec<PublishResult>;

    /// Returns `true` if the channel can take another batch.
    fn is_open(&self) -> bool;
}

/// Returns the sink that the configuration names.
pub fn configured(
    publisher: &Publisher,
    sources: &[Source],
) -> Result<Arc<dyn Sink>, PublishError> {
    match &publisher.url {
        PublisherUrl::File(folder) => {
            let config = FileSinkConfig::from_publisher(folder, publisher);
            Ok(Arc::new(FileSink::new(config)))
        }
        PublisherUrl::Amqp(url) => {
            let config = RabbitmqConfig::from_publisher(url, publisher);
            Ok(Arc::new(RabbitmqSink::new(&config)?))
        }
        PublisherUrl::Kafka(url) => kafka_sink(url, publisher, sources),
    }
}

#[cfg(feature = "kafka")]
fn kafka_sink(
    url: &KafkaUrl,
    publisher: &Publisher,
    sources: &[Source],
) -> Result<Arc<dyn Sink>, PublishError> {
    let config = kafka::KafkaConfig::from_publisher(url, publisher, sources);
    Ok(Arc::new(kafka::KafkaSink::new(config)?))
}

#[cfg(not(feature = "kafka"))]
fn kafka_sink(_: &KafkaUrl, _: &Publisher, _: &[Source]) -> Result<Arc<dyn Sink>, PublishError> {
    Err(PublishError(
        "this build has no Kafka: build it with the feature `kafka`".to_owned(),
    ))
}
