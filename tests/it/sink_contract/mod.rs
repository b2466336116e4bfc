//! One contract for all sinks. A sink needs a [`Harness`], and the macros below give it the tests.
//!
//! A case is a function that is generic over the harness. A capability that not every sink has is a
//! trait of its own: [`Blocks`], [`LimitsSize`], [`Refuses`]. The RabbitMQ tests are in
//! `with_servers`, those of Kafka in `with_kafka`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookweir::config::model::Publisher;
use hookweir::publish::routing_key::{RoutingKey, RoutingKeys};
use hookweir::publish::sinks::configured;
use hookweir::publish::{Connection, Message, PublishResult, Sink};
use hookweir::store::{Seq, StoredEvent};

use crate::publish_rig::event;
use hookweir_testkit::sink::Message as Arrived;

mod blocks;
mod cases;
mod file;
mod limits_size;
pub mod outages;
mod refuses;
#[cfg(feature = "kafka")]
mod with_kafka;
pub mod with_servers;

/// Start, outage and content of one kind of sink.
pub trait Harness: Send + Sync + Sized {
    /// Returns a fresh, reachable sink, which no test may break.
    fn start() -> Self;

    /// Returns a fresh, reachable sink that the test may break.
    fn start_own() -> Self;

    /// Returns the `[publisher]` section for the sink.
    fn config(&self) -> Publisher;

    /// Breaks the sink: it takes no message until it is mended. Durable messages stay.
    fn break_off(&mut self);

    /// Ends an outage.
    fn mend(&mut self);

    /// Returns all durable messages. May consume them.
    fn read(&self) -> Vec<Arrived>;

    /// Returns the sink.
    fn sink(&self) -> Arc<dyn Sink> {
        configured(&self.config(), &[]).expect("a sink")
    }
}

/// A sink that can block its publishers, and does not disconnect them.
pub trait Blocks: Harness {
    fn block(&self);
    fn unblock(&self);
}

/// A sink that takes messages up to a size only.
pub trait LimitsSize: Harness {
    /// Returns a fresh sink, and the largest body it takes.
    fn start_limited() -> (Self, usize);
}

/// A sink that can refuse some messages of a batch and take the others.
pub trait Refuses: Harness {
    /// Source of messages that the sink takes.
    const GOOD: &str = "good";
    /// Source of messages that are nacked after the first hundred.
    const FULL: &str = "full";
    /// Source of messages that are unroutable.
    const LOST: &str = "lost";

    /// Returns a fresh sink that treats the three sources so.
    fn start_refusing() -> Self;
}

/// Tests of every sink.
macro_rules! contract {
    ($harness:ty) => {
        crate::sink_contract::tests! { $harness, cases:
            confirmed_is_durable,
            every_copy_has_the_same_id,
            the_bytes_and_headers_arrive_as_they_were,
            a_connection_that_was_closed_left_everything_at_the_sink,
            close_loses_no_confirmed_message_of_a_batch_under_way,
            check_finds_the_sink_and_changes_nothing,
        }
        crate::sink_contract::tests! { $harness, outages:
            a_message_in_doubt_is_never_confirmed,
            a_lost_connection_says_so_and_another_takes_its_place,
            an_outage_under_load_loses_nothing,
            a_stop_during_an_outage_keeps_its_limit_and_leaves_the_rows,
        }
    };
}

/// Tests of a sink that [`Blocks`].
macro_rules! contract_of_blocking {
    ($harness:ty) => {
        crate::sink_contract::tests! { $harness, blocks:
            blocked_is_not_down_and_nothing_is_sent_twice,
            a_stop_while_blocked_keeps_its_limit,
        }
    };
}

/// Tests of a sink that [`LimitsSize`].
macro_rules! contract_of_limited {
    ($harness:ty) => {
        crate::sink_contract::tests! { $harness, limits_size:
            a_message_that_is_too_large_is_refused_alone,
            a_channel_is_replaced_after_an_error,
            a_message_that_is_too_large_is_parked_and_its_neighbours_pass,
        }
    };
}

/// Tests of a sink that [`Refuses`].
macro_rules! contract_of_refusing {
    ($harness:ty) => {
        crate::sink_contract::tests! { $harness, refuses:
            of_20000_messages_exactly_the_unroutable_half_is_reported,
            exactly_the_messages_of_a_full_queue_are_nacked,
            a_full_queue_holds_up_no_other_and_fills_when_there_is_room,
        }
    };
}

macro_rules! tests {
    ($harness:ty, $module:ident: $($case:ident),+ $(,)?) => {
        $(
            #[test]
            fn $case() {
                crate::sink_contract::$module::$case::<$harness>();
            }
        )+
    };
}

use {contract, contract_of_blocking, contract_of_limited, contract_of_refusing, tests};

/// Runs a case on a runtime of its own.
fn run<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(case)
}

/// Returns the message of a new event.
fn message(source: &str, id: &str, body: &[u8]) -> Message {
    let keys = RoutingKeys::new(
        RoutingKey::parse("{source}.{type}").expect("valid"),
        Default::default(),
    );
    let row = StoredEvent {
        republished: None,
        seq: Seq(1),
        attempts: 0,
        event: Arc::new(event(source, id, body)),
    };
    Message::new(&row, 0, &keys)
}

/// Returns messages with the ids of `range`.
fn messages(source: &str, range: std::ops::Range<usize>) -> Vec<Message> {
    range
        .map(|n| message(source, &n.to_string(), b"{}"))
        .collect()
}

/// Connects, as soon as the sink is reachable.
async fn connect(sink: &dyn Sink) -> Box<dyn Connection> {
    for _ in 0..600 {
        match sink.connect().await {
            Ok(connection) => return connection,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
    panic!("the sink cannot be reached after a minute");
}

/// Publishes `batch` on a new channel.
async fn publish(connection: &dyn Connection, batch: &[Message]) -> Vec<PublishResult> {
    let mut channel = connection.channel().await.expect("a channel");
    channel.publish(batch).await
}

fn all_confirmed(results: &[PublishResult]) -> bool {
    results
        .iter()
        .all(|result| *result == PublishResult::Confirmed)
}

/// Returns how often each event id is among the messages.
fn copies(arrived: &[Arrived]) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for message in arrived {
        *copies.entry(message.event_id.clone()).or_default() += 1;
    }
    copies
}

/// Returns the ids of `range`, each once.
fn once(range: std::ops::Range<usize>) -> BTreeMap<String, usize> {
    range.map(|n| (n.to_string(), 1)).collect()
}
