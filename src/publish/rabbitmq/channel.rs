//! One AMQP channel, used by one lane.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::maybe_done;
use lapin::options::BasicPublishOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, ErrorKind};
use tokio::sync::watch;

use super::{explain, fail};
use crate::domain::text::cut;
use crate::faults::control;
use crate::publish::{Channel, Fate, LinkState, Message};

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

pub(super) struct RabbitChannel {
    channel: lapin::Channel,
    exchange: ShortString,
    link: Arc<watch::Sender<LinkState>>,
    at: String,
    limit: Duration,
}

impl RabbitChannel {
    /// `channel` must be in confirm mode.
    pub(super) fn new(
        channel: lapin::Channel,
        exchange: ShortString,
        link: Arc<watch::Sender<LinkState>>,
        at: String,
        limit: Duration,
    ) -> Self {
        Self {
            channel,
            exchange,
            link,
            at,
            limit,
        }
    }

    /// What became of each message, or the problem that leaves it open for all of them.
    async fn attempt(&self, batch: &[Message]) -> Result<Vec<Fate>, Problem> {
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let mut publishes = Vec::with_capacity(batch.len());
        for message in batch {
            let key = short(&message.routing_key);
            let publish = self.channel.basic_publish(
                self.exchange.clone(),
                key,
                options,
                &message.event.body,
                properties(message),
            );
            let mut publish = Box::pin(maybe_done(publish));
            // The first poll numbers the message and puts it in line to be sent; to wait here for each one to be sent would cost a
            // change of threads per message.
            std::future::poll_fn(|context| Poll::Ready(publish.as_mut().poll(context).is_ready()))
                .await;
            publishes.push(publish);
        }
        let mut problem = Problem::default();
        let mut confirms = Vec::with_capacity(batch.len());
        for mut publish in publishes {
            publish.as_mut().await;
            match publish.as_mut().take_output() {
                Some(Ok(confirm)) => confirms.push(confirm),
                Some(Err(error)) => problem.add(error),
                None => problem.odd("the client library gave no answer"),
            }
        }
        // The client hands a returned message out with whichever confirm comes next, and the broker returns a message before it
        // confirms it. So only when all confirms of the batch are in is it known which of its messages were returned.
        let mut returned = HashSet::new();
        let mut acked = Vec::with_capacity(batch.len());
        for (at, confirm) in confirms.into_iter().enumerate() {
            let (ack, message) = match confirm.await {
                Ok(Confirmation::Ack(message)) => (true, message),
                Ok(Confirmation::Nack(message)) => (false, message),
                // A channel that is not in confirm mode confirms nothing.
                Ok(Confirmation::NotRequested) => {
                    problem.odd("the channel is not in confirm mode");
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
                    Some(_) if control::makes("ack_per_confirm") => {
                        returned.insert(batch[at].id.to_string());
                    }
                    Some(id) => {
                        returned.insert(id.as_str().to_owned());
                    }
                    None => problem.odd("a message without an id came back"),
                }
            }
        }
        if problem.is_any() {
            return Err(problem);
        }
        let fate = |(message, acked): (&Message, bool)| match (
            acked,
            returned.contains(&message.id.to_string()),
        ) {
            (_, true) => Fate::Unroutable,
            (true, false) => Fate::Confirmed,
            (false, false) => Fate::Nacked(
                "the broker refused it (nack): a queue is full or has no leader".to_owned(),
            ),
        };
        Ok(batch.iter().zip(acked).map(fate).collect())
    }

    /// What a problem says about the messages of a batch of `count`.
    fn judge(&self, problem: &Problem, count: usize) -> Fate {
        let Some(error) = &problem.error else {
            return Fate::Unknown(problem.odd.unwrap_or_default().to_owned());
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
                Fate::Refused(why)
            }
            // A missing permission may concern one routing key only; an operator can grant it, so it is never a reason to give up.
            Some(AMQPSoftError::ACCESSREFUSED) if count > 1 => Fate::Refused(why),
            Some(AMQPSoftError::ACCESSREFUSED) => Fate::Nacked(why),
            Some(AMQPSoftError::NOTFOUND) => {
                // The exchange was deleted. The next link declares it, or says that it is missing.
                fail(&self.link, &format!("{}: {why}", self.at));
                Fate::Unknown(why)
            }
            _ => Fate::Unknown(why),
        }
    }
}

#[async_trait]
impl Channel for RabbitChannel {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Fate> {
        let mut attempt = std::pin::pin!(self.attempt(batch));
        let mut link = self.link.subscribe();
        loop {
            // The time that the broker blocks us does not count: the batch is in line, and to send it again would make copies. A
            // connection that is dead rather than blocked ends by its heartbeat.
            let blocked = matches!(&*link.borrow_and_update(), LinkState::Blocked(_));
            match tokio::time::timeout(self.limit, attempt.as_mut()).await {
                Ok(Ok(fates)) => return fates,
                Ok(Err(problem)) => return vec![self.judge(&problem, batch.len()); batch.len()],
                Err(_) if blocked || link.has_changed().unwrap_or(false) => {}
                Err(_) => {
                    let why = format!(
                        "{}: no confirm within {} ms",
                        self.at,
                        self.limit.as_millis()
                    );
                    return vec![Fate::Unknown(why); batch.len()];
                }
            }
        }
    }

    fn is_open(&self) -> bool {
        self.channel.status().connected()
    }
}

/// What went wrong with a batch.
#[derive(Default)]
struct Problem {
    /// The error that says most: the broker's own word rather than what follows from it.
    error: Option<lapin::Error>,
    /// What should never be.
    odd: Option<&'static str>,
}

impl Problem {
    fn add(&mut self, error: lapin::Error) {
        let says_more =
            error.is_amqp_error() && !self.error.as_ref().is_some_and(lapin::Error::is_amqp_error);
        if self.error.is_none() || says_more {
            self.error = Some(error);
        }
    }

    fn odd(&mut self, what: &'static str) {
        self.odd = Some(what);
    }

    fn is_any(&self) -> bool {
        self.error.is_some() || self.odd.is_some()
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

/// Text where AMQP takes 255 bytes at most; what is longer is cut. The headers hold the whole of it.
fn short(text: &str) -> ShortString {
    ShortString::try_new(cut(text, 255)).unwrap_or_default()
}
