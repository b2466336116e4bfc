//! The whole way to a topic: large bodies, many events in one POST, a spool, and a cluster that takes less than it gets.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::kafka::{create_topic, leader, records, unique};
use hookweir_testkit::load::{Load, client};
use hookweir_testkit::oracle::Account;
use hookweir_testkit::servers::{Server, kafka};

use super::{of_sources, read};
use crate::e2e::sinks::{hookweir, shown, waits};
use crate::e2e::with_servers::{blocking, steady};
use crate::providers::{SECRET, post, signed, source};
use crate::publish_rig::wait;

/// A sink of five sources on Kafka, and further options of it.
fn config(url: &str, topic: &str, more: &str) -> String {
    let sources = five_sources();
    format!("[publisher]\nurl = \"{url}\"\ntopic = \"{topic}.{{source}}\"\n{more}\n{sources}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_25_mb_arrives_byte_for_byte() {
    let topic = unique();
    let limit = (26_214_400 + 65_536).to_string();
    blocking(|| create_topic(&kafka(), &topic, 1, &[("max.message.bytes", &limit)]));
    let app = App::start(&format!(
        "[publisher]\nurl = \"{}\"\ntopic = \"{topic}\"\ncompression = \"none\"\n[[source]]\nname = \"s\"\nprovider = \"none\"\n",
        kafka()
    ))
    .await;
    let (code, checked) = hookweir(&app, &["check"]);
    assert_eq!(code, Some(0), "{checked}");
    // No two kilobytes are alike.
    let mut body = Vec::with_capacity(26_214_400);
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    while body.len() < 26_214_400 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        body.extend_from_slice(&state.to_le_bytes());
    }
    let request = client().post(format!("http://{}/ingest/s", app.listen));
    let answer = request.body(body.clone()).timeout(Duration::from_secs(120));
    let answer = answer.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    blocking(|| wait("the record", || !records(&kafka(), &topic).is_empty()));
    waits(&app, "default", 0).await;
    let there = read(&kafka(), &topic);
    assert_eq!(there.len(), 1, "{}", app.log());
    assert!(there[0].value == body, "the bytes as they were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_of_1000_events_is_1000_records_each_with_its_own_bytes() {
    let topic = unique();
    let line = format!(
        "[[source]]\nname = \"s\"\nprovider = \"line\"\nsecrets = [\"plain:{SECRET}\"]\nbatch = \"split\"\n"
    );
    let app = App::start(&format!(
        "[publisher]\nurl = \"{}\"\ntopic = \"{topic}\"\n{line}",
        kafka()
    ))
    .await;
    let event = |n| format!(r#"{{"webhookEventId":"e{n}","type":"message","note":"number {n}"}}"#);
    let events: Vec<String> = (0..1000).map(event).collect();
    let body = format!(r#"{{"destination":"U1","events":[{}]}}"#, events.join(","));
    let request = signed(&source(&line), &body);
    for _ in 0..2 {
        assert_eq!(post(&app, "s", &request).await.status(), 200);
    }
    blocking(|| wait("the records", || records(&kafka(), &topic).len() >= 1000));
    waits(&app, "default", 0).await;
    let there = read(&kafka(), &topic);
    assert_eq!(there.len(), 1000, "each once: {}", app.log());
    let bodies: BTreeMap<&str, &[u8]> = there
        .iter()
        .map(|record| (record.header("ce_id"), &*record.value))
        .collect();
    for (n, event) in events.iter().enumerate() {
        assert_eq!(bodies[&*format!("e{n}")], event.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_spool_took_while_postgresql_was_away_are_in_kafka_once() {
    let (mut database, topic) = (blocking(Server::postgres), unique());
    let store = format!("[store]\nurl = \"{}\"\nlease_secs = 5\n", database.url);
    let mut app = App::start(&format!("{store}{}", config(&kafka(), &topic, ""))).await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| database.stop());
    load.until_taken(600).await;
    assert!(app.metrics().await.get("hookweir_spool_rows") > 100.0);
    blocking(|| database.start());
    load.until_taken(200).await;
    let ledger = load.finish().await;
    ledger.check();
    let since = Instant::now();
    while app.metrics().await.get("hookweir_spool_rows") > 0.0 {
        assert!(since.elapsed() < Duration::from_secs(120), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    waits(&app, "default", 0).await;
    app.drained().await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    Account::of(&ledger, &of_sources(&kafka(), &topic)).check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_over_its_quota_is_slow_and_neither_down_nor_copied() {
    let (server, topic) = (blocking(Server::kafka), unique());
    let quota = ["configs", "--alter", "--entity-type", "clients"];
    let of = ["--entity-name", "hookweir", "--add-config"];
    let bytes = ["producer_byte_rate=100000"];
    blocking(|| server.ctl(&[&quota[..], &of, &bytes].concat()));
    let more = "compression = \"none\"\nconfirm_timeout_ms = 2000";
    let mut app = App::start(&config(&server.url, &topic, more)).await;
    app.until_healthy().await;
    let since = Instant::now();
    let ledger = Load::on(&[app.listen]).send(2000).await;
    ledger.check_faultless();
    let (expected, mut last) = (ledger.genuine().count(), 0);
    while last < expected {
        let sink = shown(&app, "default").await;
        assert_eq!(
            (&sink["up"], &sink["parked_rows"]),
            (&true.into(), &0.into())
        );
        assert!(since.elapsed() < Duration::from_secs(300), "{}", app.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
        last = of_sources(&server.url, &topic).len();
    }
    // More than a megabyte: without a quota it takes a second.
    let took = since.elapsed();
    assert!(took > Duration::from_secs(6), "felt: {took:?}");
    waits(&app, "default", 0).await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    Account::of(&ledger, &of_sources(&server.url, &topic)).check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fewer_in_sync_replicas_than_a_topic_needs_events_wait_and_follow_without_a_copy() {
    let (server, topic) = (blocking(Server::kafka_cluster), unique());
    blocking(|| create_topic(&server.url, &topic, 1, &[("min.insync.replicas", "3")]));
    let app = App::start(&format!(
        "[publisher]\nurl = \"{}\"\ntopic = \"{topic}\"\nconfirm_timeout_ms = 1000\n[[source]]\nname = \"s\"\nprovider = \"none\"\n",
        server.url
    ))
    .await;
    app.until_healthy().await;
    let client = client();
    let send = async |from: usize| {
        for n in from..from + 50 {
            let request = client.post(format!("http://{}/ingest/s", app.listen));
            let answer = request.body(format!("{{\"n\": {n}}}")).send().await;
            assert_eq!(answer.expect("an answer").status(), 200);
        }
    };
    let arrived =
        |count| blocking(|| wait("the events", || records(&server.url, &topic).len() >= count));
    send(0).await;
    arrived(50);
    // Two of three nodes go on, and have a leader.
    let follower = 1 + blocking(|| leader(&server.url, &topic)) % 3;
    blocking(|| server.kill_node(follower));
    send(50).await;
    // Longer than the brokers need to count a dead one out.
    let since = Instant::now();
    let sink = loop {
        let sink = shown(&app, "default").await;
        if sink["outbox_oldest_seconds"].as_i64() >= Some(15) {
            break sink;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{sink}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        (&sink["outbox_rows"], &sink["parked_rows"]),
        (&50.into(), &0.into())
    );
    let told = app.health().await;
    assert!(told.contains("\"replicas\""), "{told}");
    assert!(told.contains("2 in-sync replicas, and needs 3"), "{told}");
    blocking(|| server.start_node(follower));
    arrived(100);
    waits(&app, "default", 0).await;
    app.until_healthy().await;
    assert_eq!(read(&server.url, &topic).len(), 100, "each once");
}
