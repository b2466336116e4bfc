//! Options of the RabbitMQ sink: `publisher.url = "amqp://…"`, its exchange and its queues.

use std::time::Duration;

use crate::config::amqp_url::AmqpUrl;
use crate::config::model::{Publisher, QueueType};

/// Options of the RabbitMQ sink.
#[derive(Clone, Debug)]
pub struct RabbitmqConfig {
    /// Broker, or nodes of a cluster.
    pub url: AmqpUrl,
    /// Topic exchange that messages are published to.
    pub exchange: String,
    /// Declare exchange and queues at each connection.
    pub declare: bool,
    /// First queue, bound to all routing keys. None: consumers declare their own.
    pub queue: Option<String>,
    /// Type of the first queue.
    pub queue_type: QueueType,
    /// Queue for messages that no queue is bound for.
    pub unrouted_queue: String,
    /// Longest time to connect, and to open a channel.
    pub connect_timeout: Duration,
    /// Longest time for the confirms of a batch. Then its messages are in doubt.
    pub confirm_timeout: Duration,
    /// Interval of heartbeats, unless the URL has one.
    pub heartbeat: Duration,
}

impl RabbitmqConfig {
    /// Returns the options of `[publisher]` for the broker at `url`.
    pub fn from_publisher(url: &AmqpUrl, publisher: &Publisher) -> Self {
        let options = &publisher.rabbitmq;
        Self {
            url: url.clone(),
            exchange: options.exchange.clone(),
            declare: options.declare,
            queue: options.queue.clone(),
            queue_type: options.queue_type,
            unrouted_queue: options.unrouted_queue.clone(),
            connect_timeout: options.connect_timeout,
            confirm_timeout: publisher.confirm_timeout,
            heartbeat: options.heartbeat,
        }
    }
}
