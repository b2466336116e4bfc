//! Kafka beside RabbitMQ: one of them down, options by sink and by source, and the guide's way from one to the other.

mod ordered;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::kafka::{Record, records, unique};
use hookweir_testkit::load::Load;
use hookweir_testkit::oracle::Account;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::{Server, amqp, kafka, postgres};
use hookweir_testkit::sink::Message;

use super::guides::{paste, recipe};
use super::sinks::{hookweir, shown, waits};
use super::with_servers::{Place, blocking, steady};
use crate::publish_rig::wait;

/// The records of a topic.
fn read(url: &str, topic: &str) -> Vec<Record> {
    blocking(|| records(url, topic))
}

/// The messages in the topics of the five sources.
fn of_sources(url: &str, topic: &str) -> Vec<Message> {
    let topics = Provider::ALL.map(|provider| format!("{topic}.{}", provider.name()));
    let records = topics.iter().flat_map(|topic| read(url, topic));
    records.map(Message::from).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_down_rabbitmq_beside_it_gets_every_event_and_only_kafkas_backlog_grows() {
    let mut cluster = blocking(Server::kafka);
    let (topic, place) = (unique(), Place::on(&postgres(), &amqp()));
    let sink = format!(
        "[[sink]]\nname = \"kafka\"\nurl = \"{}\"\ntopic = \"{topic}.{{source}}\"\nconfirm_timeout_ms = 2000\n",
        cluster.url
    );
    let mut app = App::start(&format!("{sink}{}", place.config())).await;
    app.until_healthy().await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| cluster.stop());
    load.until_taken(100).await;
    // What is taken from here on finds no Kafka.
    let before = load.taken();
    load.until_taken(600).await;
    let missed = load.taken() - before;
    let ledger = load.finish().await;
    ledger.check();
    waits(&app, "default", 0).await;
    let since = Instant::now();
    let away = loop {
        let away = shown(&app, "kafka").await;
        if away["up"] == false && away["outbox_rows"].as_u64() >= Some(missed as u64) {
            break away;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{away}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let rabbitmq = shown(&app, "default").await;
    assert_eq!(
        (&rabbitmq["up"], &rabbitmq["parked_rows"]),
        (&true.into(), &0.into())
    );
    assert!(app.health().await.contains("\"status\":\"ready\""));
    let (code, printed) = hookweir(&app, &["sinks"]);
    assert_eq!(code, Some(0), "{printed}");
    let line = printed.lines().find(|line| line.starts_with("kafka  "));
    let line = line.expect("a line on Kafka");
    let waiting = format!(": {} events wait, the oldest for ", away["outbox_rows"]);
    assert!(
        line.contains(&waiting) && line.contains("; DOWN: "),
        "{line}"
    );

    blocking(|| cluster.start());
    waits(&app, "kafka", 0).await;
    app.until_healthy().await;
    let messages = place.collect(&ledger, std::slice::from_mut(&mut app)).await;
    Account::of(&ledger, &messages).check_once();
    Account::of(&ledger, &of_sources(&cluster.url, &topic)).check_once();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_key_and_forwarded_headers_are_those_of_the_source_and_of_each_sink() {
    let (url, topic) = (kafka(), unique());
    let sources = five_sources().replace(
        "name = \"github\"\n",
        &format!("name = \"github\"\ntopic = \"{topic}.code\"\nrecord_key = \"{{id}}\"\n"),
    );
    let config = format!(
        "[publisher]\ntopic = \"{topic}.{{source}}\"\n[[sink]]\nname = \"a\"\nurl = \"{url}\"\nrecord_key = \"{{source}}\"\n\
         [[sink]]\nname = \"b\"\nurl = \"{url}\"\ntopic = \"{topic}.b.{{source}}\"\nforward_headers = [\"x-github-event\"]\n{sources}"
    );
    let app = App::start(&config).await;
    let ledger = Load::on(&[app.listen]).send(300).await;
    ledger.check_faultless();
    let stripes = ledger
        .genuine()
        .filter(|entry| entry.provider == Provider::Stripe);
    let githubs = ledger
        .genuine()
        .filter(|entry| entry.provider == Provider::Github);
    let (stripes, githubs) = (stripes.count(), githubs.count());
    let names = [
        ("stripe", stripes),
        ("b.stripe", stripes),
        ("code", 2 * githubs),
    ];
    for (name, count) in names {
        let name = format!("{topic}.{name}");
        blocking(|| wait("the records", || records(&url, &name).len() >= count));
    }
    let ids = |records: &[Record]| -> BTreeSet<String> {
        let ids = records
            .iter()
            .map(|record| record.header("x-hookweir-message-id"));
        ids.map(str::to_owned).collect()
    };
    let (a, b) = (
        read(&url, &format!("{topic}.stripe")),
        read(&url, &format!("{topic}.b.stripe")),
    );
    assert_eq!((a.len(), b.len()), (stripes, stripes));
    assert_eq!(ids(&a), ids(&b));
    assert!(a.iter().all(|record| record.key == "stripe"));
    assert!(
        b.iter()
            .all(|record| record.key == record.header("x-hookweir-message-id"))
    );
    let code = read(&url, &format!("{topic}.code"));
    assert!(
        code.iter()
            .all(|record| record.key == record.header("ce_id"))
    );
    // Each event from both sinks; one of them passes the header on.
    let (with, without): (Vec<Record>, Vec<Record>) = code
        .into_iter()
        .partition(|record| record.headers.contains_key("x-github-event"));
    assert_eq!((with.len(), without.len()), (githubs, githubs));
    assert_eq!(ids(&with), ids(&without));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_way_from_rabbitmq_to_kafka_loses_no_event_under_load() {
    let (topic, place) = (unique(), Place::on(&postgres(), &amqp()));
    let config = place.config().replace(
        "[publisher]\n",
        &format!("[publisher]\ntopic = \"{topic}.{{source}}\"\n"),
    );
    let mut app = App::start(&config).await;
    let load = steady(&app);
    load.until_taken(200).await;
    let mut printed = Vec::new();
    let kafka_url = kafka();
    let others = [("kafka://localhost:9092", &*kafka_url)];
    for block in recipe("rabbitmq-to-kafka.md") {
        printed.push(paste(&mut app, &block, &others).await);
        load.until_taken(200).await;
    }
    let ledger = load.finish().await;
    ledger.check();
    app.drained().await;
    app.until_healthy().await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    assert_eq!(printed.len(), 4, "{printed:#?}");
    assert!(printed[2].contains(": 0 events wait"), "{printed:#?}");
    let last = &printed[3];
    assert!(
        last.contains("kafka  kafka://") && !last.contains("\ndefault "),
        "{last}"
    );

    let from_rabbitmq = place.queues.rest(&place.queues.events).await;
    let from_kafka = of_sources(&kafka(), &topic);
    let bodies = |messages: &[Message]| -> BTreeMap<String, Vec<u8>> {
        let bodies = messages.iter();
        bodies
            .map(|message| (message.id.clone(), message.body.clone()))
            .collect()
    };
    let (there, here) = (bodies(&from_rabbitmq), bodies(&from_kafka));
    assert_eq!(there.len(), from_rabbitmq.len(), "each once in RabbitMQ");
    assert_eq!(here.len(), from_kafka.len(), "each once in Kafka");
    let in_both: Vec<&String> = there.keys().filter(|id| here.contains_key(*id)).collect();
    assert!(in_both.iter().all(|id| there[*id] == here[*id]));
    // Before step 1, from step 1 to step 3, and after it.
    let counts = [
        there.len() - in_both.len(),
        in_both.len(),
        here.len() - in_both.len(),
    ];
    assert!(counts.iter().all(|count| *count >= 100), "{counts:?}");
    let once = from_rabbitmq
        .into_iter()
        .filter(|message| !here.contains_key(&message.id));
    let all: Vec<Message> = from_kafka.into_iter().chain(once).collect();
    Account::of(&ledger, &all).check_once();
    place.remove().await;
}
