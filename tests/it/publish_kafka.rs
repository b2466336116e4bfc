//! The Kafka sink on its own: against librdkafka's cluster in this process, and against Apache Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookweir::config::kafka_url::KafkaUrl;
use hookweir::config::model::{Compression, SaslMechanism};
use hookweir::domain::delivery::SourceName;
use hookweir::domain::event_order::EventOrder;
use hookweir::publish::routing_key::{RoutingKey, RoutingKeys};
use hookweir::publish::sinks::kafka::{KafkaConfig, KafkaSink, KafkaSource};
use hookweir::publish::{Connection, ConnectionState, Message, PublishResult, Sink as _};
use hookweir::store::{Seq, StoredEvent};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::publish_rig::event;

mod with_kafka;
mod with_kafka_program;

/// The configuration of tests: short delays, topics that begin with `prefix`.
pub fn config(url: &str, prefix: &str) -> KafkaConfig {
    KafkaConfig {
        url: KafkaUrl::parse(url).expect("a URL"),
        topic: format!("{prefix}.{{source}}"),
        key: "{message_id}".to_owned(),
        ordered: EventOrder::None,
        sources: vec![source("s")],
        compression: Compression::Lz4,
        declare: true,
        partitions: 3,
        replication: 0,
        sasl_mechanism: SaslMechanism::ScramSha512,
        ca_file: None,
        client_pair: None,
        properties: BTreeMap::new(),
        largest_body: 900_000,
        connect_timeout: Duration::from_secs(5),
        confirm_timeout: Duration::from_millis(500),
        give_up: Duration::from_secs(120),
    }
}

/// A source without a topic of its own.
pub fn source(name: &str) -> KafkaSource {
    KafkaSource {
        name: SourceName::parse(name).expect("a source"),
        topic: None,
        key: None,
    }
}

pub fn sink(config: KafkaConfig) -> KafkaSink {
    KafkaSink::new(config).expect("a sink")
}

pub fn run<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(case)
}

pub fn message(source: &str, id: &str, body: &[u8]) -> Message {
    let key = RoutingKey::parse("{source}").expect("valid");
    let row = StoredEvent {
        republished: None,
        seq: Seq(1),
        attempts: 0,
        event: Arc::new(event(source, id, body)),
    };
    Message::new(&row, 0, &RoutingKeys::new(key, Default::default()))
}

pub fn messages(source: &str, range: std::ops::Range<usize>) -> Vec<Message> {
    range
        .map(|n| message(source, &n.to_string(), b"{}"))
        .collect()
}

pub fn labels(results: &[PublishResult]) -> BTreeMap<&'static str, usize> {
    let mut labels = BTreeMap::new();
    for result in results {
        *labels.entry(result.label()).or_default() += 1;
    }
    labels
}

pub async fn publish(connection: &dyn Connection, batch: &[Message]) -> Vec<PublishResult> {
    let mut channel = connection.channel().await.expect("a channel");
    channel.publish(batch).await
}

/// Publishes `message` until it is confirmed.
pub async fn until_confirmed(connection: &dyn Connection, message: &Message) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut channel = connection.channel().await.expect("a channel");
    loop {
        let results = channel.publish(std::slice::from_ref(message)).await;
        if results == [PublishResult::Confirmed] {
            return;
        }
        assert!(Instant::now() < end, "not confirmed: {results:?}");
        if !channel.is_open() {
            channel = connection.channel().await.expect("a channel");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A cluster in this process, with the topic of the source `s`.
fn mock(brokers: i32) -> (MockCluster<'static, DefaultProducerContext>, KafkaConfig) {
    let cluster = MockCluster::new(brokers).expect("a cluster");
    cluster.create_topic("mock.s", 1, 1).expect("a topic");
    let url = format!("kafka://{}", cluster.bootstrap_servers());
    let config = KafkaConfig {
        declare: false,
        ..config(&url, "mock")
    };
    (cluster, config)
}

#[test]
fn each_answer_of_a_broker_has_the_result_that_loses_nothing() {
    use RDKafkaRespErr as E;
    let (cluster, config) = mock(1);
    run(async {
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        for (code, expected) in [
            (E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "nacked"),
            (E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, "nacked"),
            (E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "nacked"),
            (E::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE, "nacked"),
            (E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "refused"),
            (E::RD_KAFKA_RESP_ERR_INVALID_RECORD, "refused"),
            (E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, "refused"),
            (E::RD_KAFKA_RESP_ERR_UNKNOWN, "unknown"),
            (E::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER, "confirmed"),
            (E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, "confirmed"),
            (E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, "confirmed"),
        ] {
            let mut channel = connection.channel().await.expect("a channel");
            assert_eq!(
                labels(&channel.publish(&messages("s", 0..1)).await),
                BTreeMap::from([("confirmed", 1)]),
                "before {code:?}"
            );
            cluster.request_errors(RDKafkaApiKey::Produce, &[code]);
            // One message: of several, the first may be in a request of its own, which alone gets the answer.
            let results = channel.publish(&messages("s", 0..1)).await;
            assert_eq!(
                labels(&results),
                BTreeMap::from([(expected, 1)]),
                "{code:?}: {results:?}"
            );
            cluster.clear_request_errors(RDKafkaApiKey::Produce);
        }
        connection.close().await;
    });
}

#[test]
fn a_producer_that_met_a_fatal_error_is_replaced() {
    let (cluster, config) = mock(1);
    run(async {
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        let mut channel = connection.channel().await.expect("a channel");
        assert_eq!(
            channel.publish(&messages("s", 0..1)).await,
            [PublishResult::Confirmed]
        );
        let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        cluster.request_errors(RDKafkaApiKey::Produce, &[fatal]);
        let results = channel.publish(&messages("s", 0..1)).await;
        assert_eq!(
            labels(&results),
            BTreeMap::from([("unknown", 1)]),
            "{results:?}"
        );
        assert!(!channel.is_open(), "it is of no use any more");
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        let again = publish(&*connection, &messages("s", 0..5)).await;
        assert_eq!(
            labels(&again),
            BTreeMap::from([("confirmed", 5)]),
            "{again:?}"
        );
        assert_eq!(
            *connection.state().borrow(),
            ConnectionState::Up,
            "the cluster was never away"
        );
        connection.close().await;
    });
}

#[test]
fn a_batch_without_a_report_is_given_up_while_the_brokers_answer() {
    let (cluster, config) = mock(1);
    let config = KafkaConfig {
        give_up: Duration::from_secs(3),
        ..config
    };
    run(async {
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        let mut channel = connection.channel().await.expect("a channel");
        assert_eq!(
            channel.publish(&messages("s", 0..1)).await,
            [PublishResult::Confirmed]
        );
        let too_few = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
        cluster.request_errors(RDKafkaApiKey::Produce, &[too_few; 10_000]);
        let began = Instant::now();
        let results = channel.publish(&messages("s", 0..5)).await;
        assert_eq!(
            labels(&results),
            BTreeMap::from([("nacked", 5)]),
            "{results:?}"
        );
        assert!(began.elapsed() >= Duration::from_secs(3), "too early");
        assert!(
            !channel.is_open(),
            "its sequence numbers are of no use any more"
        );
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        until_confirmed(&*connection, &message("s", "later", b"{}")).await;
        connection.close().await;
    });
}

#[test]
fn a_cluster_that_is_away_blocks_and_never_gives_a_batch_up() {
    let (cluster, config) = mock(1);
    let config = KafkaConfig {
        give_up: Duration::from_secs(8),
        ..config
    };
    run(async {
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        let (mut state, mut channel) = (
            connection.state(),
            connection.channel().await.expect("a channel"),
        );
        assert_eq!(
            channel.publish(&messages("s", 0..1)).await,
            [PublishResult::Confirmed]
        );
        cluster.broker_down(1).expect("down");
        let publishing = tokio::spawn(async move { channel.publish(&messages("s", 0..100)).await });
        let blocked = state.wait_for(|state| matches!(state, ConnectionState::Blocked(_)));
        let ConnectionState::Blocked(why) = blocked.await.expect("a state").clone() else {
            unreachable!("waited for")
        };
        assert!(why.starts_with("Kafka at 127.0.0.1:"), "{why}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!publishing.is_finished(), "a block has no time limit");
        cluster.broker_up(1).expect("up");
        let results = publishing.await.expect("no panic");
        assert_eq!(
            labels(&results),
            BTreeMap::from([("confirmed", 100)]),
            "{results:?}"
        );
        let up = state.wait_for(|state| *state == ConnectionState::Up);
        drop(up.await.expect("a state"));
        connection.close().await;
    });
}

#[test]
fn a_close_ends_a_batch_that_waits_for_a_cluster() {
    let (cluster, config) = mock(1);
    run(async {
        let sink = sink(config);
        let connection = sink.connect().await.expect("reachable");
        let mut channel = connection.channel().await.expect("a channel");
        assert_eq!(
            channel.publish(&messages("s", 0..1)).await,
            [PublishResult::Confirmed]
        );
        cluster.broker_down(1).expect("down");
        let publishing = tokio::spawn(async move { channel.publish(&messages("s", 0..100)).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        connection.close().await;
        let results = publishing.await.expect("no panic");
        assert_eq!(
            labels(&results),
            BTreeMap::from([("unknown", 100)]),
            "{results:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn properties_that_would_break_the_promise_are_refused() {
    for (name, value) in [
        ("acks", "1"),
        ("enable.idempotence", "false"),
        ("retries", "0"),
        ("message.timeout.ms", "300000"),
        ("linger.ms", "0"),
        ("allow.auto.create.topics", "true"),
        ("bootstrap.servers", "elsewhere:9092"),
        ("plugin.library.paths", "/tmp/plugin.so"),
        ("sasl.oauthbearer.method", "oidc"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
    ] {
        let mut config = config("kafka://localhost", "p");
        config.properties.insert(name.to_owned(), value.to_owned());
        let error = KafkaSink::new(config).err().expect(name);
        assert!(error.0.contains(name), "{error}");
    }
    let mut config = config("kafka://user:hunter2@localhost", "p");
    config
        .properties
        .insert("no.such.property".to_owned(), "x".to_owned());
    config
        .properties
        .insert("client.rack".to_owned(), "eu-1a".to_owned());
    let error = run(sink(config).connect())
        .err()
        .expect("an unknown property");
    assert!(error.0.contains("no.such.property"), "{error}");
    assert!(!error.0.contains("hunter2"), "{error}");
}
