//! Publishing: committed rows go to a sink, and leave the outbox when the sink has confirmed them.
//!
//! ```text
//! dedup ──Pending (hint)──▶ actor ──batch──▶ publish task 1 … k ──▶ Channel of the Target (RabbitMQ, file)
//! relay ──Pending─────────▶  │ ▲               │
//!   ▲                        │ └────Report─────┘ one result for each message
//!   └── outbox::PendingConfirms ◀── rows to confirm, to postpone, to park
//! ```
//!
//! - [`window`] is the pure core: it fills batches, and decides what follows from each result. The actor
//!   is its shell.
//! - A publish task has one [`Channel`] and one batch under way. It reports a batch only after every
//!   confirm is in: until then it is not known which messages the broker has returned.
//! - [`outbox`](crate::outbox) keeps the events until the store has recorded their results.

use async_trait::async_trait;
use tokio::sync::watch;

mod actor;
pub mod envelope;
pub mod file;
mod lanes;
pub mod rabbitmq;
pub mod routing_key;
mod start;
#[cfg(test)]
mod testing;
pub mod window;
mod yielding;

pub use envelope::Message;
pub use start::{BATCH_BYTES, PublisherDeps, Running, check, routing_keys, start, start_at};

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
