//! A RabbitMQ queue of the lakehouse's own as a feed.
//!
//! The queue is declared and bound to all routing keys, so that it gets a copy of each message. A message is
//! acked after its commit. Until then the broker keeps it, and hands it out again if the process dies.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties};

use super::envelope::Parts;
use super::held::{Arrivals, Held, HeldLimits, Turn};
use super::{Feed, FeedMessage};
use crate::error::{LakeError, Result};

/// Options of the queue.
#[derive(Clone)]
pub struct QueueOptions {
    /// URLs of the broker or of its cluster's nodes, with user and password.
    pub urls: Vec<String>,
    /// Certificates and key for TLS with the broker.
    pub tls: OwnedTLSConfig,
    /// Exchange that messages are published to.
    pub exchange: String,
    /// The queue.
    pub queue: String,
    /// Messages that the broker may hand out before the first of them is acked.
    pub prefetch: u16,
    /// Bytes of these messages in memory, unless one message has more.
    pub held_bytes: usize,
    /// Longest time for an answer of the broker.
    pub timeout: Duration,
}

impl std::fmt::Debug for QueueOptions {
    /// Leaves out the URL, which holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueOptions")
            .field("exchange", &self.exchange)
            .field("queue", &self.queue)
            .field("prefetch", &self.prefetch)
            .field("held_bytes", &self.held_bytes)
            .finish_non_exhaustive()
    }
}

/// A queue that is consumed.
#[derive(Debug)]
pub struct QueueFeed {
    options: QueueOptions,
    /// Place of the next node that is tried.
    next: usize,
    /// Messages that the broker may hand out on a new connection.
    first: u16,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    connection: Connection,
    channel: Channel,
    held: Arc<Held>,
}

/// Messages that a broker may hand out before their size is known.
const FIRST: u16 = 256;

impl QueueFeed {
    /// Returns the feed. Nothing is connected yet.
    pub fn new(options: QueueOptions) -> Self {
        Self {
            first: FIRST.min(options.prefetch),
            options,
            next: 0,
            session: None,
        }
    }

    fn failed(&self, what: &str, error: impl std::fmt::Display) -> LakeError {
        LakeError::Feed(format!(
            "cannot {what} the queue {}: {error}",
            self.options.queue
        ))
    }

    /// Runs `work`, which waits for the broker, within the time limit.
    async fn within<T>(
        &self,
        what: &str,
        work: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.options.timeout, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.failed(what, error)),
            Err(_) => Err(self.failed(what, "no answer from the broker in time")),
        }
    }

    /// Connects to the first node that answers. The node after the last one that was tried comes first.
    async fn connect_to_a_node(&mut self) -> Result<Connection> {
        let mut failure = self.failed("connect to the broker of", "the URL names no node");
        for _ in 0..self.options.urls.len() {
            let url = &self.options.urls[self.next % self.options.urls.len()];
            self.next = self.next.wrapping_add(1);
            let properties =
                ConnectionProperties::default().with_connection_name("hookweir lakehouse".into());
            let connect = async {
                let runtime = lapin::runtime::default_runtime()?;
                let tls = self.options.tls.clone();
                Connection::connect_with_config(url, properties, tls, runtime).await
            };
            match self.within("connect to the broker of", connect).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn open(&mut self) -> Result<Session> {
        let connection = self.connect_to_a_node().await?;
        let declare = declare(&connection, &self.options.queue);
        self.within("declare", declare).await?;
        let limits = HeldLimits {
            bytes: self.options.held_bytes,
            messages: self.options.prefetch,
        };
        let held = Held::new(limits, self.first);
        let consume = bind_and_consume(&connection, &self.options, held.clone(), self.first);
        let channel = self.within("consume", consume).await?;
        Ok(Session {
            connection,
            channel,
            held,
        })
    }
}

/// Returns the number of messages in the queue that no writer holds.
pub async fn depth(options: QueueOptions) -> Result<u32> {
    let mut feed = QueueFeed::new(options);
    let connection = feed.connect_to_a_node().await?;
    let ask = async {
        let passive = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let channel = connection.create_channel().await?;
        let queue = feed.options.queue.as_str().into();
        channel
            .queue_declare(queue, passive, FieldTable::default())
            .await
    };
    let queue = feed.within("find", ask).await?;
    // The broker closes it otherwise.
    let _ = feed
        .within("leave", connection.close(200, "OK".into()))
        .await;
    Ok(queue.message_count())
}

/// Deliveries of one message before the broker drops it. RabbitMQ 4 would drop it after the 20th. An argument of
/// -1 means no limit there, but RabbitMQ 3 then drops a message that is delivered a second time.
const DELIVERIES: i32 = i32::MAX;

async fn declare(connection: &Connection, queue: &str) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERIES));
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(queue.into(), durable, arguments)
        .await?;
    channel.close(200, "OK".into()).await
}

async fn bind_and_consume(
    connection: &Connection,
    options: &QueueOptions,
    held: Arc<Held>,
    first: u16,
) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    let bind = channel.queue_bind(
        options.queue.as_str().into(),
        options.exchange.as_str().into(),
        "#".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bind.await?;
    consume(&channel, options.queue.clone(), held, first).await?;
    Ok(channel)
}

/// Adds a consumer of the queue for `more` messages. Those of all consumers of a channel add up.
async fn consume(
    channel: &Channel,
    queue: String,
    held: Arc<Held>,
    more: u16,
) -> lapin::Result<()> {
    channel.basic_qos(more, BasicQosOptions::default()).await?;
    let consumer = channel
        .basic_consume(
            queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    consumer.set_delegate(Arrivals(held));
    Ok(())
}

/// Adds a consumer for `more` messages, in a task of its own: who waits for a message may stop to.
fn grow(session: &Session, options: &QueueOptions, more: u16) {
    let (channel, held) = (session.channel.clone(), session.held.clone());
    let (queue, patience) = (options.queue.clone(), options.timeout);
    tokio::spawn(async move {
        let consume = consume(&channel, queue, held.clone(), more);
        match tokio::time::timeout(patience, consume).await {
            Ok(Ok(())) => held.grown(more),
            Ok(Err(error)) => held.end(error.to_string()),
            Err(_) => held.end("no answer from the broker in time".to_owned()),
        }
    });
}

#[async_trait]
impl Feed for QueueFeed {
    type Ack = u64;

    /// Declares and binds the queue, and begins to consume it.
    async fn connect(&mut self) -> Result<bool> {
        if self.session.is_none() {
            self.session = Some(self.open().await?);
        }
        Ok(true)
    }

    async fn next(&mut self) -> Result<FeedMessage<u64>> {
        loop {
            self.connect().await?;
            let Some(session) = &self.session else {
                return Err(self.failed("consume", "not connected"));
            };
            match session.held.take() {
                Turn::Message(delivery) => {
                    return Ok(FeedMessage {
                        ack: delivery.delivery_tag,
                        event: parts(*delivery).into_event(),
                    });
                }
                Turn::Wait => session.held.changed().await,
                Turn::Grow(more) => grow(session, &self.options, more),
                Turn::Reconnect(first) => {
                    self.first = first.min(FIRST).min(self.options.prefetch);
                    self.release().await?;
                }
                Turn::Ended(reason) => return Err(self.failed("consume", reason)),
            }
        }
    }

    /// Acks all messages up to the last one.
    async fn ack(&mut self, acks: Vec<u64>) -> Result<()> {
        let (Some(session), Some(last)) = (&self.session, acks.into_iter().max()) else {
            return Ok(());
        };
        let multiple = BasicAckOptions { multiple: true };
        self.within("ack messages of", session.channel.basic_ack(last, multiple))
            .await?;
        session.held.acked(last);
        Ok(())
    }

    /// Closes the connection: the broker takes all messages back that are not acked.
    async fn release(&mut self) -> Result<()> {
        if let Some(session) = self.session.take() {
            let close = session.connection.close(200, "OK".into());
            // A broker that does not answer takes them back when it misses the heartbeats.
            let _ = tokio::time::timeout(Duration::from_secs(1), close).await;
        }
        Ok(())
    }
}

fn parts(delivery: Delivery) -> Parts {
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    let properties = delivery.properties;
    let headers = properties
        .headers()
        .iter()
        .flat_map(|table| table.inner().iter());
    Parts {
        message_id: text(properties.message_id()).unwrap_or_default(),
        event_type: text(properties.kind()),
        content_type: text(properties.content_type()),
        headers: headers
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value_text(value)?)))
            .collect(),
        body: Bytes::from(delivery.data),
    }
}

/// Returns a header's value, if it is text. Hookweir publishes no other ones; a broker may add some.
fn value_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}
