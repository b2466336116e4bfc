//! Messages of the queue for unroutable messages, held for an operator's decision.
//!
//! A held message is not acknowledged. Whatever ends the connection, the broker puts the message back
//! into its queue. A message is acknowledged only after the broker has confirmed its copy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lapin::message::{BasicReturnMessage, Delivery};
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, PublisherConfirm};

use super::connection::RabbitmqConnection;
use super::{RabbitmqSink, explain};
use crate::publish::sinks::{Connection as _, PublishError};

/// Header of a quorum queue with the number of times that a message was put back.
const PUT_BACK: &str = "x-delivery-count";
/// Header of a newer quorum queue with the number of times that a message was taken.
const TAKEN: &str = "x-acquired-count";

/// Number of times put back after which a message is replaced by a copy: half of the usual limit.
const WORN_OUT: u64 = 10;

/// Messages that are held at once, at most. To settle each one is a command to a quorum queue. Of more than
/// 32 commands that the queue has not applied yet, RabbitMQ holds back the rest, and forgets it when the
/// channel is closed: messages that were sent would be in the queue again.
pub const HELD_MESSAGES: usize = 24;

/// Bounds of the messages that are held at once.
#[derive(Clone, Copy, Debug)]
pub struct HoldBounds {
    /// Number of messages.
    pub messages: usize,
    /// Bytes of bodies. One message is always held.
    pub bytes: usize,
    /// Time to take them, and time to put them back.
    pub time: Duration,
}

/// A message that no queue was bound for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnroutedMessage {
    /// Its message id. Empty if a stranger has published it without one.
    pub message_id: String,
    /// Its routing key.
    pub routing_key: String,
    /// Name of its source.
    pub source: Option<String>,
    /// The provider's id.
    pub event_id: Option<String>,
    /// The provider's type.
    pub event_type: Option<String>,
    /// Bytes of its body.
    pub bytes: u64,
}

/// Fate of a held message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldFate {
    /// It goes back into its queue.
    PutBack,
    /// It goes to the exchange again.
    Send,
    /// It is deleted.
    Discard,
}

/// Result of a decision on held messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Number of messages that were sent or deleted.
    pub count: u64,
    /// Number of messages that are in the queue now.
    pub waiting: u64,
    /// Reason for which the broker did not take some of them. They are in the queue again.
    pub refused: Option<String>,
}

/// Messages that are held. If they are dropped, they go back into their queue.
pub struct HeldMessages {
    connection: RabbitmqConnection,
    channel: Channel,
    exchange: ShortString,
    /// Exchange of the queue, if it was declared here.
    alternate: Option<ShortString>,
    queue: ShortString,
    held: Vec<Delivery>,
    waiting: u64,
    time: Duration,
    confirm_timeout: Duration,
}

/// Copy of a held message at the broker.
enum Copied {
    /// There is none.
    Not,
    /// It is sent.
    Out(PublisherConfirm),
    /// The broker has taken it, or refused it.
    Known(bool),
    /// The broker may have it.
    Doubtful,
}

impl RabbitmqSink {
    /// Takes the first messages of the queue for unroutable messages.
    pub async fn hold_unrouted(&self, bounds: &HoldBounds) -> Result<HeldMessages, PublishError> {
        let connection = self.open().await?;
        let hold = self.hold(&connection, bounds);
        match tokio::time::timeout(bounds.time, hold).await {
            Ok(Ok((channel, held, waiting))) => Ok(HeldMessages {
                connection,
                channel,
                exchange: self.topology.exchange.clone(),
                alternate: (self.topology.declare).then(|| self.topology.alternate.clone()),
                queue: self.topology.unrouted.clone(),
                held,
                waiting,
                time: bounds.time,
                confirm_timeout: self.confirm_timeout,
            }),
            Ok(Err(error)) => {
                let why = explain(&error);
                connection.close().await;
                Err(connection.failed(&format!(
                    "cannot take messages from the queue \"{}\" ({why}): the user needs the right to read it, and to write to its exchange",
                    self.topology.unrouted
                )))
            }
            Err(_) => Err(connection.failed("no answer about unrouted messages")),
        }
    }

    /// Returns a channel, the messages that it holds, and the number that was in the queue.
    async fn hold(
        &self,
        connection: &RabbitmqConnection,
        bounds: &HoldBounds,
    ) -> lapin::Result<(Channel, Vec<Delivery>, u64)> {
        // The answer to the last message has room in the time, too.
        let end = Instant::now() + bounds.time.mul_f64(0.7);
        let channel = connection.client().create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let queue = &self.topology.unrouted;
        let waiting = depth(&channel, queue).await?;
        let (mut held, mut bytes) = (Vec::new(), 0);
        let most = bounds.messages.min(HELD_MESSAGES);
        while held.len() < most && bytes < bounds.bytes && Instant::now() < end {
            let got = channel.basic_get(queue.clone(), BasicGetOptions::default());
            let Some(got) = got.await? else { break };
            bytes += got.delivery.data.len();
            held.push(got.delivery);
        }
        Ok((channel, held, waiting))
    }
}

impl HeldMessages {
    /// Returns the messages, in the order of the queue.
    pub fn messages(&self) -> Vec<UnroutedMessage> {
        self.held.iter().map(shown).collect()
    }

    /// Returns the number of messages that were in the queue before these were taken.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Returns the name of the queue.
    pub fn queue(&self) -> &str {
        self.queue.as_str()
    }

    /// Carries out a decision on each message. Waits for confirms as long as a publisher does: a message
    /// that is put back although its copy is out comes twice. After an error, the messages are in their
    /// queue or were sent, or both; none is lost.
    pub async fn decide(self, fates: &[HeldFate]) -> Result<Decided, PublishError> {
        let end = tokio::time::Instant::now() + self.confirm_timeout;
        let mut copies = self.send(fates, end).await;
        let returned = outcomes(&mut copies, end).await;
        let decided = tokio::time::timeout(self.time, self.end(fates, &copies, &returned)).await;
        self.connection.close().await;
        match decided {
            Ok(Ok(decided)) => Ok(decided),
            Ok(Err(error)) => Err(self.connection.failed(&explain(&error))),
            Err(_) => Err(self.connection.failed("no answer to the acknowledgements")),
        }
    }

    /// Sends the copies, up to the first one that the connection does not take.
    async fn send(&self, fates: &[HeldFate], end: tokio::time::Instant) -> Vec<Copied> {
        let mut copies = Vec::with_capacity(self.held.len());
        for (message, fate) in self.held.iter().zip(fates) {
            let exchange = match (fate, &self.alternate) {
                (HeldFate::Send, _) => Some(&self.exchange),
                (HeldFate::PutBack, Some(alternate)) if self.wears_out(message) => Some(alternate),
                (HeldFate::PutBack | HeldFate::Discard, _) => None,
            };
            let Some(exchange) = exchange else {
                copies.push(Copied::Not);
                continue;
            };
            let copy = tokio::time::timeout_at(end, self.copy(exchange, message)).await;
            let Ok(Ok(confirm)) = copy else {
                copies.push(Copied::Doubtful);
                break;
            };
            copies.push(Copied::Out(confirm));
        }
        copies
    }

    /// Returns `true` if a copy is to replace the message: a queue with a limit of deliveries (20) drops it.
    /// The copy goes to the end: in a long queue, an id from a list would be out of reach.
    fn wears_out(&self, message: &Delivery) -> bool {
        let times = times_put_back(message);
        times >= WORN_OUT || times > 0 && self.waiting <= HELD_MESSAGES as u64
    }

    /// Takes messages with a confirmed copy, and those to discard, out of the queue. Puts the others back.
    async fn end(
        &self,
        fates: &[HeldFate],
        copies: &[Copied],
        returned: &[BasicReturnMessage],
    ) -> lapin::Result<Decided> {
        let (mut count, mut refused, mut going) = (0, None, Vec::with_capacity(fates.len()));
        for (at, (message, fate)) in self.held.iter().zip(fates).enumerate() {
            let goes = match copies.get(at) {
                Some(Copied::Not) => *fate == HeldFate::Discard,
                Some(Copied::Known(_)) if came_back(message, returned) => {
                    refused = Some("no queue is bound for it");
                    false
                }
                Some(Copied::Known(true)) => true,
                Some(Copied::Known(false)) => {
                    refused = Some("refused (nack): a queue is full or has no leader");
                    false
                }
                Some(Copied::Out(_) | Copied::Doubtful) | None => {
                    refused = Some("no confirm in time: some may come twice");
                    false
                }
            };
            count += u64::from(goes && *fate != HeldFate::PutBack);
            going.push(goes);
        }
        self.settle(&going).await?;
        let waiting = depth(&self.channel, &self.queue).await?;
        self.channel.close(200, "OK".into()).await?;
        Ok(Decided {
            count,
            waiting,
            refused: refused.map(str::to_owned),
        })
    }

    /// Takes the messages of which `going` is true out of the queue for good, and puts the others back.
    async fn settle(&self, going: &[bool]) -> lapin::Result<()> {
        let mut settled = 0;
        for row in going.chunk_by(|a, b| a == b) {
            settled += row.len();
            let last = settled.checked_sub(1).and_then(|last| self.held.get(last));
            let Some(tag) = last.map(|message| message.delivery_tag) else {
                continue;
            };
            match row.first() {
                Some(true) => {
                    let all = BasicAckOptions { multiple: true };
                    self.channel.basic_ack(tag, all).await?;
                }
                _ => {
                    let all = BasicNackOptions {
                        multiple: true,
                        requeue: true,
                    };
                    self.channel.basic_nack(tag, all).await?;
                }
            }
        }
        Ok(())
    }

    /// Publishes a copy of `message` to `exchange`.
    async fn copy(
        &self,
        exchange: &ShortString,
        message: &Delivery,
    ) -> lapin::Result<PublisherConfirm> {
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut properties = message.properties.clone();
        if let Some(headers) = properties.headers() {
            let is_own = |(name, _): &(&ShortString, &AMQPValue)| !is_of_queue(name.as_str());
            let own = headers.inner().iter().filter(is_own);
            let own: BTreeMap<_, _> = own
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            properties = properties.with_headers(own.into());
        }
        let key = message.routing_key.clone();
        let publish =
            self.channel
                .basic_publish(exchange.clone(), key, mandatory, &message.data, properties);
        publish.await
    }
}

/// Waits for the confirms of copies until `end`. Returns the messages that came back: the client library
/// hands these out with any of the confirms.
async fn outcomes(copies: &mut [Copied], end: tokio::time::Instant) -> Vec<BasicReturnMessage> {
    let mut returned = Vec::new();
    for copy in copies {
        let Copied::Out(confirm) = copy else { continue };
        // A confirm that is there already is taken after the end, too.
        *copy = match tokio::time::timeout_at(end, confirm).await {
            Ok(Ok(confirm)) => {
                let is_ack = confirm.is_ack();
                returned.extend(confirm.take_message());
                Copied::Known(is_ack)
            }
            Ok(Err(_)) | Err(_) => Copied::Doubtful,
        };
    }
    returned
}

/// Returns `true` if the copy of `message` came back. Without an id, it is known by its key and body.
fn came_back(message: &Delivery, returned: &[BasicReturnMessage]) -> bool {
    returned.iter().any(|back| {
        let back = &back.delivery;
        id(back) == id(message)
            && (!id(message).is_empty()
                || back.routing_key == message.routing_key && back.data == message.data)
    })
}

/// Returns the message id. Empty if it has none.
fn id(message: &Delivery) -> &str {
    let id = message.properties.message_id().as_ref();
    id.map(ShortString::as_str).unwrap_or_default()
}

/// Returns the number of messages in `queue` that nobody holds.
async fn depth(channel: &Channel, queue: &ShortString) -> lapin::Result<u64> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let found = channel.queue_declare(queue.clone(), passive, FieldTable::default());
    Ok(found.await?.message_count().into())
}

/// Returns `true` for a header in which a quorum queue counts deliveries.
fn is_of_queue(name: &str) -> bool {
    [PUT_BACK, TAKEN].contains(&name)
}

/// Returns the number of times that the message was put back or taken, as far as its queue counts them.
fn times_put_back(message: &Delivery) -> u64 {
    let Some(headers) = message.properties.headers() else {
        return 0;
    };
    let counted = |name: &str| match headers.inner().get(name)? {
        AMQPValue::LongLongInt(n) => u64::try_from(*n).ok(),
        // It is counted in a way that is not known here: a copy is safe.
        _ => Some(WORN_OUT),
    };
    let counts = [PUT_BACK, TAKEN].into_iter().filter_map(counted);
    counts.max().unwrap_or(0)
}

fn shown(message: &Delivery) -> UnroutedMessage {
    let properties = &message.properties;
    let header = |name: &str| {
        let value = properties.headers().as_ref()?.inner().get(name)?;
        match value {
            AMQPValue::LongString(text) => Some(text.to_string()),
            AMQPValue::ShortString(text) => Some(text.to_string()),
            _ => None,
        }
    };
    UnroutedMessage {
        message_id: id(message).to_owned(),
        routing_key: message.routing_key.to_string(),
        source: header("x-hookweir-source"),
        event_id: header("cloudEvents:id"),
        event_type: properties.kind().as_ref().map(ToString::to_string),
        bytes: message.data.len() as u64,
    }
}
