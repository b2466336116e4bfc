//! The contract over Kafka. An outage blocks its connection and never loses it, so the cases in which a
//! connection is replaced are not among these.

use std::time::Duration;

use hookweir::config::kafka_url::KafkaUrl;
use hookweir::config::model::{Compression, Publisher, PublisherUrl};
use hookweir_testkit::kafka::{create_topic, records, unique};
use hookweir_testkit::servers::{Server, kafka as shared};
use hookweir_testkit::sink::Message;

use super::{Blocks, Harness, LimitsSize, tests};
use crate::publish_rig::config;

/// A topic for the source `s`, on the shared broker or on one of its own.
pub struct KafkaHarness {
    topic: String,
    url: String,
    own: Option<Server>,
}

impl KafkaHarness {
    fn at(url: &str, own: Option<Server>, settings: &[(&str, &str)]) -> Self {
        let topic = unique();
        create_topic(url, &format!("{topic}.s"), 3, settings);
        Self {
            topic,
            url: url.to_owned(),
            own,
        }
    }

    fn own(&self) -> &Server {
        self.own.as_ref().expect("a broker that the test may break")
    }
}

impl Harness for KafkaHarness {
    fn start() -> Self {
        Self::at(&shared(), None, &[])
    }

    fn start_own() -> Self {
        let server = Server::kafka();
        let url = server.url.clone();
        Self::at(&url, Some(server), &[])
    }

    fn config(&self) -> Publisher {
        let url = KafkaUrl::parse(&self.url).expect("a URL");
        let mut config = config(PublisherUrl::Kafka(url));
        config.confirm_timeout = Duration::from_secs(2);
        config.kafka.topic = format!("{}.{{source}}", self.topic);
        config.kafka.compression = Compression::None;
        config
    }

    fn break_off(&mut self) {
        self.own().kill();
    }

    fn mend(&mut self) {
        let server = self.own.as_mut();
        server.expect("a broker that the test may break").start();
    }

    fn read(&self) -> Vec<Message> {
        let records = records(&self.url, &format!("{}.s", self.topic));
        records.into_iter().map(Message::from).collect()
    }
}

impl Blocks for KafkaHarness {
    fn block(&self) {
        self.own().pause();
    }

    fn unblock(&self) {
        self.own().resume();
    }
}

impl LimitsSize for KafkaHarness {
    fn start_limited() -> (Self, usize) {
        let limit = [("max.message.bytes", "60000")];
        (Self::at(&shared(), None, &limit), 60_000)
    }
}

tests! { KafkaHarness, cases:
    every_copy_has_the_same_id,
    the_bytes_and_headers_arrive_as_they_were,
    a_connection_that_was_closed_left_everything_at_the_sink,
    close_loses_no_confirmed_message_of_a_batch_under_way,
    check_finds_the_sink_and_changes_nothing,
    confirmed_is_durable,
}
tests! { KafkaHarness, outages:
    an_outage_under_load_loses_nothing,
    a_stop_during_an_outage_keeps_its_limit_and_leaves_the_rows,
}
tests! { KafkaHarness, blocks:
    blocked_is_not_down_and_nothing_is_sent_twice,
    a_stop_while_blocked_keeps_its_limit,
}
tests! { KafkaHarness, limits_size:
    a_message_that_is_too_large_is_parked_and_its_neighbours_pass,
}
