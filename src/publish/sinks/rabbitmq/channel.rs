//! One AMQP channel of one publish task.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::maybe_done;
use lapin::options::BasicPublishOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, ErrorKind, PublisherConfirm};
use tokio::sync::watch;

use super::connection::set_down;
use super::explain;
use crate::domain::text::cut;
use crate::faults::mutants::Mutant;
use crate::publish::envelope::Message;
use crate::publish::sinks::{Channel, ConnectionState, PublishResult};

/// Delivery mode of a message that survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// A channel in confirm mode.
pub(super) struct RabbitmqChannel {
    channel: lapin::Channel,
    exchange: ShortString,
    connection: Arc<watch::Sender<ConnectionState>>,
    /// Name of the broker in errors.
    at: String,
    confirm_timeout: Duration,
    /// True after a nack. On a channel that was opened between the death of a quorum queue's leader and
    /// the election of the next one, RabbitMQ 3.10 goes on refusing; on a new channel it does not.
    refused: bool,
}

impl RabbitmqChannel {
    /// Returns the channel. `channel` must be in confirm mode.
    pub(super) fn new(
        channel: lapin::Channel,
        exchange: ShortString,
        connection: Arc<watch::Sender<ConnectionState>>,
        at: String,
        confirm_timeout: Duration,
    ) -> Self {
        Self {
            channel,
            exchange,
            connection,
            at,
            confirm_timeout,
            refused: false,
        }
    }

    /// Publishes `batch`. Returns the result of each message, or the problem that leaves all of
    /// them in doubt.
    async fn attempt(&self, batch: &[Message]) -> Result<Vec<PublishResult>, Problem> {
        let mut problem = Problem::default();
        let confirms = self.send(batch, &mut problem).await;
        let (acked, returned) = confirmations(batch, confirms, &mut problem).await;
        if problem.is_any() {
            return Err(problem);
        }
        let result = |(message, acked): (&Message, bool)| match (
            acked,
            returned.contains(&message.id.to_string()),
        ) {
            (_, true) => PublishResult::Unroutable("no queue is bound for it".to_owned()),
            (true, false) => PublishResult::Confirmed,
            (false, false) => PublishResult::Nacked(
                "the broker refused it (nack): a queue is full or has no leader".to_owned(),
            ),
        };
        Ok(batch.iter().zip(acked).map(result).collect())
    }

    /// Hands all messages to the client library.
    async fn send(&self, batch: &[Message], problem: &mut Problem) -> Vec<PublisherConfirm> {
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let mut publishes = Vec::with_capacity(batch.len());
        for message in batch {
            let publish = self.channel.basic_publish(
                self.exchange.clone(),
                short(&message.routing_key),
                options,
                &message.event.body,
                properties(message),
            );
            let mut publish = Box::pin(maybe_done(publish));
            // The first poll numbers the message and queues it. To wait here until each one is sent
            // would cost a switch of threads per message.
            std::future::poll_fn(|context| Poll::Ready(publish.as_mut().poll(context).is_ready()))
                .await;
            publishes.push(publish);
        }
        let mut confirms = Vec::with_capacity(batch.len());
        for mut publish in publishes {
            publish.as_mut().await;
            match publish.as_mut().take_output() {
                Some(Ok(confirm)) => confirms.push(confirm),
                Some(Err(error)) => problem.add(error),
                None => problem.unexpected("the client library gave no answer"),
            }
        }
        confirms
    }

    /// Returns the result of each message of a batch of `count` that met `problem`.
    fn judge(&self, problem: &Problem, count: usize) -> PublishResult {
        let Some(error) = &problem.error else {
            return PublishResult::Unknown(problem.unexpected.unwrap_or_default().to_owned());
        };
        let why = explain(error);
        let soft = match error.kind() {
            ErrorKind::ProtocolError(error) => match error.kind() {
                AMQPErrorKind::Soft(soft) => Some(soft.clone()),
                AMQPErrorKind::Hard(_) => None,
            },
            _ => None,
        };
        match soft {
            // One message is larger than the broker takes.
            Some(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE) => {
                PublishResult::Refused(why)
            }
            // A missing permission may concern one routing key only. It is never a reason to park
            // an event, because an operator can grant it.
            Some(AMQPSoftError::ACCESSREFUSED) if count > 1 => PublishResult::Refused(why),
            Some(AMQPSoftError::ACCESSREFUSED) => PublishResult::Nacked(why),
            Some(AMQPSoftError::NOTFOUND) => {
                // The exchange was deleted. The next connection declares it, or reports it missing.
                set_down(&self.connection, &format!("{}: {why}", self.at));
                PublishResult::Unknown(why)
            }
            _ => PublishResult::Unknown(why),
        }
    }
}

#[async_trait]
impl Channel for RabbitmqChannel {
    async fn publish(&mut self, batch: &[Message]) -> Vec<PublishResult> {
        let results = self.publish_within_limit(batch).await;
        let nacked = |result: &PublishResult| matches!(result, PublishResult::Nacked(_));
        self.refused |= results.iter().any(nacked);
        results
    }

    fn is_open(&self) -> bool {
        self.channel.status().connected() && !self.refused
    }
}

impl RabbitmqChannel {
    /// Publishes `batch`, and waits for the confirms until their time is over.
    async fn publish_within_limit(&self, batch: &[Message]) -> Vec<PublishResult> {
        let mut attempt = std::pin::pin!(self.attempt(batch));
        let mut connection = self.connection.subscribe();
        loop {
            // The time limit does not run while the broker blocks the connection: the batch is
            // queued, and to send it again would make copies. A dead connection ends by its
            // heartbeat.
            let blocked = matches!(
                &*connection.borrow_and_update(),
                ConnectionState::Blocked(_)
            );
            match tokio::time::timeout(self.confirm_timeout, attempt.as_mut()).await {
                Ok(Ok(results)) => return results,
                Ok(Err(problem)) => return vec![self.judge(&problem, batch.len()); batch.len()],
                Err(_) if blocked || connection.has_changed().unwrap_or(false) => {}
                Err(_) => {
                    let why = format!(
                        "{}: no confirm within {} ms",
                        self.at,
                        self.confirm_timeout.as_millis()
                    );
                    return vec![PublishResult::Unknown(why); batch.len()];
                }
            }
        }
    }
}

/// Waits for all confirms of a batch. Returns whether each message was acked, and the ids of those
/// that the broker returned.
///
/// The client library hands out a returned message with the confirm that comes next, and the broker
/// returns a message before it confirms it. So the returned messages are known only after all
/// confirms of the batch are in.
async fn confirmations(
    batch: &[Message],
    confirms: Vec<PublisherConfirm>,
    problem: &mut Problem,
) -> (Vec<bool>, HashSet<String>) {
    let mut returned = HashSet::new();
    let mut acked = Vec::with_capacity(batch.len());
    for (at, confirm) in confirms.into_iter().enumerate() {
        let (ack, message) = match confirm.await {
            Ok(Confirmation::Ack(message)) => (true, message),
            Ok(Confirmation::Nack(message)) => (false, message),
            // A channel that is not in confirm mode confirms nothing.
            Ok(Confirmation::NotRequested) => {
                problem.unexpected("the channel is not in confirm mode");
                continue;
            }
            Err(error) => {
                problem.add(error);
                continue;
            }
        };
        acked.push(ack);
        if let Some(message) = message {
            match message.delivery.properties.message_id() {
                Some(_) if Mutant::AckPerConfirm.is_on() => {
                    returned.insert(batch[at].id.to_string());
                }
                Some(id) => {
                    returned.insert(id.as_str().to_owned());
                }
                None => problem.unexpected("a message without an id came back"),
            }
        }
    }
    (acked, returned)
}

/// Problem of a batch.
#[derive(Default)]
struct Problem {
    /// The most telling error: the broker's own reply rather than its consequences.
    error: Option<lapin::Error>,
    /// An answer of the client library that should never come.
    unexpected: Option<&'static str>,
}

impl Problem {
    fn add(&mut self, error: lapin::Error) {
        let says_more =
            error.is_amqp_error() && !self.error.as_ref().is_some_and(lapin::Error::is_amqp_error);
        if self.error.is_none() || says_more {
            self.error = Some(error);
        }
    }

    fn unexpected(&mut self, what: &'static str) {
        self.unexpected = Some(what);
    }

    fn is_any(&self) -> bool {
        self.error.is_some() || self.unexpected.is_some()
    }
}

fn properties(message: &Message) -> BasicProperties {
    let event = &*message.event;
    let mut headers = FieldTable::default();
    for (name, value) in message.headers() {
        headers.insert(short(name), AMQPValue::LongString(value.into()));
    }
    let mut properties = BasicProperties::default()
        .with_message_id(short(&message.id.to_string()))
        .with_timestamp(u64::try_from(event.received_at.0 / 1000).unwrap_or_default())
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    if let Some(content_type) = &event.content_type {
        properties = properties.with_content_type(short(content_type));
    }
    if let Some(encoding) = message.content_encoding() {
        properties = properties.with_content_encoding(short(encoding));
    }
    if let Some(event_type) = &event.event_type {
        properties = properties.with_type(short(event_type));
    }
    properties
}

/// Returns text of at most the 255 bytes of an AMQP short string. The headers have the whole text.
fn short(text: &str) -> ShortString {
    ShortString::try_new(cut(text, 255)).unwrap_or_default()
}
