//! Feeds: messages that are acked after the commit.

pub mod envelope;
pub mod folder;
mod held;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod queue;

use async_trait::async_trait;

use crate::error::Result;
use crate::event::Event;

/// A message of a feed.
#[derive(Debug)]
pub struct FeedMessage<A> {
    /// The event, or the reason for which the message cannot become a row.
    pub event: std::result::Result<Event, String>,
    /// Names the message to the feed.
    pub ack: A,
}

/// Source of messages. A message that is not acked is handed out again, by this process or another one.
#[async_trait]
pub trait Feed: Send {
    /// Names a message to the feed.
    type Ack: Send;

    /// Connects, unless that was done. Returns `true` if the source of messages has answered, and `false` if only
    /// the next message shows that it is there.
    async fn connect(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Returns the next message. Waits until there is one. Dropping the future loses no message.
    async fn next(&mut self) -> Result<FeedMessage<Self::Ack>>;

    /// Acks messages whose events are in the table, in the order in which they were handed out.
    async fn ack(&mut self, acks: Vec<Self::Ack>) -> Result<()>;

    /// Gives all messages back that are not acked. They are handed out again.
    async fn release(&mut self) -> Result<()>;
}
