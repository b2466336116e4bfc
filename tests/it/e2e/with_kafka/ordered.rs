//! An ordered sink on Kafka.

use std::collections::BTreeSet;

use hookweir_testkit::app::App;
use hookweir_testkit::kafka::{create_topic, unique};
use hookweir_testkit::load::client;
use hookweir_testkit::servers::{amqp, kafka, postgres};
use hookweir_testkit::sink::Message;

use super::read;
use crate::e2e::ordered::{BY_KEY, Senders, body, check_order, first_places, send, until_all};
use crate::e2e::sinks::{hookweir, waits};
use crate::e2e::with_servers::{Place, blocking};

/// A store on PostgreSQL, and an ordered sink on Kafka.
fn config(place: &Place, topic: &str) -> String {
    let config = place.config();
    let (store, _) = config.split_once("[publisher]").expect("a sink");
    format!(
        "{store}lease_secs = 3\n[publisher]\nurl = \"{}\"\ntopic = \"{topic}\"\npartitions = 3\ncompression = \"none\"\n\
         retry_max_ms = 2000\nordered = \"{{json:/data/k}}\"\n{BY_KEY}",
        kafka()
    )
}

fn messages(topic: &str) -> Vec<Message> {
    read(&kafka(), topic)
        .into_iter()
        .map(Message::from)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_kafka_events_of_a_key_lie_in_order_in_one_partition_though_each_instance_is_killed() {
    let (topic, place) = (unique(), Place::on(&postgres(), &amqp()));
    let config = config(&place, &topic);
    let mut apps = [App::start(&config).await, App::start(&config).await];
    let senders = Senders::start(&[apps[0].listen, apps[1].listen], 120);
    for killed in [0, 1, 0] {
        let app = &mut apps[killed];
        senders.until_taken(200).await;
        app.kill();
        senders.until_taken(60).await;
        app.start_again().await;
    }
    senders.finish().await;
    until_all(120, async || blocking(|| messages(&topic))).await;
    for app in &mut apps {
        assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    }
    let records = read(&kafka(), &topic);
    let partitions: BTreeSet<(String, i32)> = records
        .iter()
        .map(|record| (record.key.clone(), record.partition))
        .collect();
    let keys = (0..Senders::KEYS).map(|key| format!("key{key}"));
    assert_eq!(
        partitions
            .iter()
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>(),
        keys.collect::<Vec<_>>(),
        "a key is the value, and lies in one partition"
    );
    let copies = check_order(&messages(&topic), 120);
    assert!(copies <= 3 * Senders::IN_MEMORY, "{copies} copies");
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_holds_its_key_until_it_is_discarded_or_sent_back() {
    let (topic, place) = (unique(), Place::on(&postgres(), &amqp()));
    blocking(|| create_topic(&kafka(), &topic, 3, &[("max.message.bytes", "60000")]));
    let app = App::start(&config(&place, &topic)).await;
    let client = client();
    let large = |key: &str| {
        let n = "x".repeat(100_000);
        format!("{{\"data\": {{\"k\": \"{key}\"}}, \"n\": 0, \"x\": \"{n}\"}}")
    };
    for key in ["discarded", "sent back"] {
        send(&client, &[app.listen], "shop", large(key)).await;
    }
    for n in 1..21 {
        for key in ["discarded", "sent back", "free"] {
            send(&client, &[app.listen], "shop", body(key, n)).await;
        }
    }
    waits(&app, "default", 40).await;
    let numbers: Vec<u64> = (1..21).collect();
    let (found, copies) = blocking(|| first_places(&messages(&topic)));
    assert_eq!(
        (found.len(), found["free"].clone(), copies),
        (1, numbers.clone(), 0)
    );
    let (code, printed) = hookweir(&app, &["parked"]);
    assert_eq!(code, Some(0), "{printed}");
    let ids: Vec<String> = printed
        .split_whitespace()
        .filter(|word| word.starts_with("store:"))
        .map(str::to_owned)
        .collect();
    assert_eq!(ids.len(), 2, "{printed}");

    let (code, printed) = hookweir(&app, &["parked", "discard", &ids[0], "--reason", "a test"]);
    assert_eq!(code, Some(0), "{printed}");
    waits(&app, "default", 20).await;
    blocking(|| {
        hookweir_testkit::servers::kafka_ctl(&[
            "configs",
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            &topic,
            "--add-config",
            "max.message.bytes=1000000",
        ])
    });
    let (code, printed) = hookweir(&app, &["parked", "retry", &ids[1]]);
    assert_eq!(code, Some(0), "{printed}");
    waits(&app, "default", 0).await;
    let (found, copies) = blocking(|| first_places(&messages(&topic)));
    let mut lengths: Vec<usize> = found.values().map(Vec::len).collect();
    lengths.sort_unstable();
    assert_eq!((lengths, copies), (vec![20, 20, 21], 0));
    for (key, found) in found {
        let skipped = usize::from(found.len() == 21);
        assert_eq!(found[skipped..], numbers, "{key}");
    }
    place.remove().await;
}
