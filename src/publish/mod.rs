//! Publishing: committed rows go to a sink, and leave the outbox when the sink has confirmed them.
//!
//! ```text
//! dedup ──Pending (hint)──▶ actor ──batch──▶ publish task 1 … k ──▶ Channel of the Sink (RabbitMQ, Kafka, file)
//! relay ──Pending─────────▶  │ ▲               │
//!   ▲                        │ └────Report─────┘ one result for each message
//!   └── outbox::PendingConfirms ◀── rows to confirm, to postpone, to park
//! ```
//!
//! - [`window`] is the pure core: it fills batches, and decides what follows from each result. The
//!   actor is its shell.
//! - A publish task has one [`Channel`] and one batch under way. It reports a batch only after
//!   every confirm is in: until then it is not known which messages the broker has returned.
//! - The supervisor keeps the [`Connection`] up.
//! - [`sinks`] has a folder for each kind of [`Sink`].
//! - [`outbox`](crate::outbox) keeps the events until the store has recorded their results.
//!
//! Each sink has a publisher of its own, with its actor, its tasks, its relay and its confirm
//! writer.

mod actor;
pub mod envelope;
mod publish_task;
pub mod routing_key;
pub mod sinks;
mod spans;
mod start;
mod stop;
mod supervisor;
#[cfg_attr(
    not(feature = "kafka"),
    expect(dead_code, reason = "topics have more parts")
)]
pub mod template;
#[cfg(test)]
mod testing;
mod throttle;
pub mod window;

pub use envelope::Message;
pub use sinks::{Channel, Connection, ConnectionState, PublishError, PublishResult, Sink};
pub use start::{
    BATCH_BYTES, PublisherDeps, RunningPublisher, SharedOptions, check, message_options,
    routing_keys, start, start_sink,
};
pub use stop::stop_all;
