//! Publishing: committed rows go to the queue, and leave the outbox on a positive confirm of a routed message.
//!
//! ```text
//! dedup ──Pending (hint)──▶ actor ──batch──▶ lane 1 … k ──▶ Channel of the Target (RabbitMQ, file)
//! relay ──Pending─────────▶  │ ▲               │
//!   ▲                        │ └────Report─────┘ what became of each message
//!   └──── room again ── unsettled ◀─ rows to leave the outbox, to be postponed, to be parked
//!                        │      └──▶ dedup's writers: confirmed ones ride on the next commit
//!                        └─────────▶ settle: the rest, and what found no commit in time
//! ```
//!
//! - [`window`] is the pure core: which events go in which batch, and what follows from what became of them. The actor is its shell.
//! - A *lane* is a task with one [`Channel`] and one batch under way. It confirms nothing of a batch before every confirm of
//!   it is in, because a message returned as unroutable is only known to belong to the batch.
//! - [`unsettled`] has what the store is to be told, and *settle* is the thread that tells it what no commit took along. An event's
//!   [hold](in_hand) is dropped only after its row has left the outbox, so a row whose confirm the store could not take yet is not
//!   published again by this process.
//! - The *relay* is the thread that finds the rows that nobody has in memory: left by a crash, an outage, a full mailbox.

use async_trait::async_trait;
use tokio::sync::watch;

mod actor;
mod backoff;
pub mod envelope;
pub mod file;
pub mod health;
pub mod in_hand;
mod lanes;
pub mod rabbitmq;
pub mod receipt;
mod relay;
pub mod routing_key;
mod settle;
mod start;
#[cfg(test)]
mod testing;
pub mod unsettled;
pub mod window;
mod yielding;

pub use envelope::Message;
pub use health::Health;
pub use lanes::MayPublish;
pub use start::{Around, BATCH_BYTES, Running, check, routing_keys, start, start_at};

/// What became of one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Durable at the target, and routed.
    Confirmed,
    /// Taken, but no queue is bound for it, so it is nowhere.
    Unroutable,
    /// Refused for now (a full queue, a missing permission); why.
    Nacked(String),
    /// It may or may not be there: the batch met an error or a time limit; which.
    Unknown(String),
    /// The target gave up the whole batch because one of its messages can never be taken (too large); why. Sent alone, it is that one.
    Refused(String),
}

impl Fate {
    /// The label in `hookweir_published_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Unroutable => "unroutable",
            Self::Nacked(_) => "nacked",
            Self::Unknown(_) => "unknown",
            Self::Refused(_) => "refused",
        }
    }
}

/// Why a target cannot be reached or used: for the operator, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PublishError(pub String);

/// Where messages go: RabbitMQ, a folder of files. All of its calls keep time limits of their own.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// How many channels are of use, of those configured.
    fn channels(&self, configured: usize) -> usize {
        configured
    }

    /// Connects and brings the topology up.
    async fn connect(&self) -> Result<Box<dyn Link>, PublishError>;

    /// Tries to reach the target and looks without changing anything; what it found, in sentences.
    async fn check(&self) -> Result<Vec<String>, PublishError>;
}

/// How a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It takes messages.
    Up,
    /// It will take messages again by itself; why it does not now.
    Blocked(String),
    /// It is lost; why.
    Down(String),
}

/// A connection to the target.
#[async_trait]
pub trait Link: Send + Sync {
    /// A fresh channel.
    async fn channel(&self) -> Result<Box<dyn Channel>, PublishError>;

    /// How it is, from now on.
    fn state(&self) -> watch::Receiver<LinkState>;

    /// Ends it in order.
    async fn close(&self);
}

/// What one lane publishes through. Never shared between tasks: RabbitMQ's client would mix up the confirms of two.
#[async_trait]
pub trait Channel: Send {
    /// Publishes `batch` and waits for what became of each of it, in order.
    async fn publish(&mut self, batch: &[Message]) -> Vec<Fate>;

    /// It can take another batch.
    fn is_open(&self) -> bool;
}
