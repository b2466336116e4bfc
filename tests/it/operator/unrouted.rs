//! Messages that no queue was bound for, on a real RabbitMQ: listed, sent again, discarded.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::load::Load;
use hookweir_testkit::program;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::{Server, amqp};
use hookweir_testkit::sink::{Message, Queues};
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::Value;

use super::{hookweir, json, send};

/// Options of a further sink at the broker, which declares no queue of its own.
pub(super) fn without_queue(queues: &Queues, sink: &str) -> String {
    let options = queues.config().replace(&queues.events, "");
    options.replace("[publisher]\n", &format!("[[sink]]\nname = \"{sink}\"\n"))
}

/// Time for the admin API, of which a look at the queue gets a part.
pub(super) const PATIENT: &str = "[admin]\ntimeout_ms = 20000\n";

/// The same of the only sink.
pub(super) fn config(queues: &Queues) -> String {
    let options = queues.config().replace(&queues.events, "");
    format!("{PATIENT}{options}{}", five_sources())
}

/// Declares a queue, and binds it to the exchange for all routing keys.
pub(super) async fn bind(queues: &Queues) {
    let (connection, channel) = queues.channel().await;
    let queue = || queues.events.as_str().into();
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue(), durable, FieldTable::default());
    declared.await.expect("declared");
    let (exchange, all) = (queues.exchange.as_str().into(), QueueBindOptions::default());
    let bound = channel.queue_bind(queue(), exchange, "#".into(), all, FieldTable::default());
    bound.await.expect("bound");
    let _ = connection.close(200, "done".into()).await;
}

/// Waits until so many messages are in the queue.
pub(super) async fn until(queues: &Queues, queue: &str, count: u32) {
    let since = Instant::now();
    loop {
        let there = queues.count(queue).await;
        if there >= count {
            return;
        }
        let patient = since.elapsed() < Duration::from_secs(60);
        assert!(patient, "{there} of {count} are in {queue}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Copies of each message, by its id.
fn copies(messages: &[Message]) -> BTreeMap<&str, usize> {
    let mut copies = BTreeMap::new();
    for message in messages {
        *copies.entry(message.id.as_str()).or_default() += 1;
    }
    copies
}

fn field<'v>(rows: &'v [Value], name: &str) -> Vec<&'v str> {
    let values = rows.iter().map(|row| row[name].as_str());
    values.map(|value| value.expect("a text")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_went_nowhere_arrive_with_their_ids_once_a_queue_is_bound_and_retry_was_said()
{
    let queues = Queues::new(&amqp());
    let app = App::start(&config(&queues)).await;
    for n in 0..7 {
        send(&app, Provider::Stripe, &format!("evt_{n}"));
    }
    until(&queues, &queues.unrouted, 7).await;
    let stored = json(&app, &["events"]);
    let mut ids = field(&stored, "message_id");
    ids.sort_unstable();

    // A look takes none, however often. The broker puts back a moment after the answer.
    for _ in 0..3 {
        until(&queues, &queues.unrouted, 7).await;
        let listed = json(&app, &["unrouted", "list"]);
        let mut found = field(&listed, "message_id");
        found.sort_unstable();
        assert_eq!(found, ids);
        assert_eq!(listed[0]["source"], "stripe");
        assert!(field(&listed, "event_id").contains(&"evt_3"));
        let key = listed[0]["routing_key"].as_str().expect("a key");
        assert!(key.starts_with("stripe."), "{key}");
    }
    until(&queues, &queues.unrouted, 7).await;
    let first = json(&app, &["unrouted", "list", "--limit", "2"]);
    assert_eq!(first.len(), 2);
    until(&queues, &queues.unrouted, 7).await;

    // Without a queue they come back.
    let told = hookweir(&app, &["unrouted", "retry", "--all"]);
    assert!(told.err.contains("7 are in the queue now"), "{}", told.err);
    assert_eq!(told.good().trim_end(), "7 sent to the exchange");
    until(&queues, &queues.unrouted, 7).await;

    bind(&queues).await;
    let one = ["unrouted", "retry", ids[0], "--reason", "a queue is bound"];
    assert_eq!(
        hookweir(&app, &one).good().trim_end(),
        "1 sent to the exchange"
    );
    until(&queues, &queues.unrouted, 6).await;
    let error = hookweir(&app, &one).bad(64);
    assert!(
        error.contains("1 of 1 are not among") && error.contains("list again"),
        "{error}"
    );
    until(&queues, &queues.unrouted, 6).await;
    assert_eq!(json(&app, &["unrouted", "retry", "--all"])[0]["count"], 6);
    let arrived = queues
        .consume(&queues.events, 7, Duration::from_secs(60))
        .await;
    let copies = copies(&arrived);
    assert_eq!(copies.keys().copied().collect::<Vec<_>>(), ids);
    assert_eq!(arrived.len(), 7, "{copies:?}");
    assert_eq!(queues.count(&queues.unrouted).await, 0);
    assert!(json(&app, &["unrouted"]).is_empty());
    queues.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrouted_message_is_discarded_with_a_reason_and_the_others_stay() {
    let queues = Queues::new(&amqp());
    let app = App::start(&config(&queues)).await;
    for id in ["evt_1", "evt_2"] {
        send(&app, Provider::Stripe, id);
    }
    until(&queues, &queues.unrouted, 2).await;
    let listed = json(&app, &["unrouted"]);
    until(&queues, &queues.unrouted, 2).await;
    let gone = listed.iter().find(|of| of["event_id"] == "evt_1");
    let gone = gone.expect("listed")["message_id"].as_str().expect("an id");
    hookweir(&app, &["unrouted", "discard"]).bad(64);
    let error = hookweir(&app, &["unrouted", "discard", gone]).bad(64);
    assert!(error.contains("give a reason"), "{error}");
    let discard = ["unrouted", "discard", gone, "--reason", "a test event"];
    assert_eq!(hookweir(&app, &discard).good().trim_end(), "1 discarded");
    until(&queues, &queues.unrouted, 1).await;
    let left = json(&app, &["unrouted"]);
    assert_eq!(field(&left, "event_id"), ["evt_2"]);
    let path = app.folder().join("data/hookweir.db");
    let rows = recorded(&path.to_string_lossy());
    let subject = format!(
        "unrouted of sink default in queue {}: {gone}",
        queues.unrouted
    );
    assert_eq!(
        rows,
        [(
            "discard unrouted".into(),
            subject,
            1,
            Some("a test event".into())
        )]
    );
    queues.delete().await;
}

/// Actions, subjects, counts and reasons of the record.
fn recorded(database: &str) -> Vec<(String, String, i64, Option<String>)> {
    use diesel::prelude::*;
    use diesel::sql_types::{BigInt, Nullable, Text};
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        action: String,
        #[diesel(sql_type = Text)]
        subject: String,
        #[diesel(sql_type = BigInt)]
        count: i64,
        #[diesel(sql_type = Nullable<Text>)]
        reason: Option<String>,
    }
    let mut database = SqliteConnection::establish(database).expect("opened");
    let rows = "SELECT action, subject, count, reason FROM audit ORDER BY at, id";
    let rows: Vec<Row> = diesel::sql_query(rows).load(&mut database).expect("read");
    rows.into_iter()
        .map(|row| (row.action, row.subject, row.count, row.reason))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_keeps_none_and_a_broker_that_is_away_are_named_with_the_next_step() {
    let app = App::start(&format!("{}{}", super::SINKS, five_sources())).await;
    let error = hookweir(&app, &["unrouted", "list"]).bad(64);
    assert!(error.contains("sink default is no RabbitMQ"), "{error}");
    let error = hookweir(&app, &["unrouted", "list", "--sink", "dead"]).bad(69);
    assert!(
        error.contains("127.0.0.1:1") && error.contains("/readyz"),
        "{error}"
    );
}

/// RabbitMQ drops a message of a quorum queue that was put back more often than its limit: 20 times by default from RabbitMQ 4 on.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_never_takes_however_often_it_is_repeated_at_a_queue_with_a_limit_of_deliveries() {
    let server = tokio::task::spawn_blocking(Server::rabbitmq);
    let server = server.await.expect("a server");
    let limit = ["set_policy", "limit", ".*", "{\"delivery-limit\":2}"];
    server.ctl(&[&limit[..], &["--apply-to", "queues"]].concat());
    let queues = Queues::new(&server.url);
    let app = App::start(&config(&queues)).await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        send(&app, Provider::Stripe, id);
    }
    until(&queues, &queues.unrouted, 3).await;
    let keys = |rows: &[Value]| {
        let mut keys = field(rows, "routing_key");
        keys.sort_unstable();
        keys.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let first = keys(&json(&app, &["unrouted"]));
    for look in 0..10 {
        until(&queues, &queues.unrouted, 3).await;
        let listed = json(&app, &["unrouted"]);
        assert_eq!(listed.len(), 3, "after {look} looks");
        assert_eq!(keys(&listed), first);
    }
    bind(&queues).await;
    until(&queues, &queues.unrouted, 3).await;
    hookweir(&app, &["unrouted", "retry", "--all"]).good();
    let arrived = queues
        .consume(&queues.events, 3, Duration::from_secs(60))
        .await;
    assert_eq!(arrived.len(), 3);
    let strange = arrived.iter().find(|message| {
        let mut names = message.properties.keys();
        names.any(|name| name.starts_with("x-delivery") || name.starts_with("x-acquired"))
    });
    assert!(strange.is_none(), "{strange:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_sends_messages_again_none_is_lost_and_none_comes_three_times() {
    let queues = Queues::new(&amqp());
    let mut app = App::start(&config(&queues)).await;
    Load::on(&[app.listen]).send(1500).await;
    app.drained().await;
    let stored = json(&app, &["events", "--limit", "2000"]);
    let mut ids = field(&stored, "message_id");
    ids.sort_unstable();
    until(&queues, &queues.unrouted, ids.len() as u32).await;
    bind(&queues).await;

    let mut retry = Command::new(program())
        .args(["unrouted", "retry", "--all", "--config", "config.toml"])
        .current_dir(app.folder())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    until(&queues, &queues.events, 150).await;
    app.kill();
    let ended = retry.wait().expect("ended");
    let sent = queues.count(&queues.events).await;
    assert!(
        (sent as usize) < ids.len(),
        "it was done before it was killed"
    );
    assert!(!ended.success(), "the command says that it failed");

    app.start_again().await;
    app.ready().await;
    let since = Instant::now();
    while hookweir(&app, &["sources"]).code != Some(0) {
        assert!(since.elapsed() < Duration::from_secs(60), "no socket");
    }
    let since = Instant::now();
    while queues.count(&queues.unrouted).await > 0 {
        let told = hookweir(&app, &["unrouted", "retry", "--all"]);
        let is_told = told.code == Some(0) || told.err.contains("not handed out");
        assert!(is_told, "{}", told.err);
        assert!(since.elapsed() < Duration::from_secs(120), "{}", app.log());
    }
    let arrived = queues.rest(&queues.events).await;
    let copies = copies(&arrived);
    assert_eq!(copies.keys().copied().collect::<Vec<_>>(), ids);
    let often: Vec<_> = copies.iter().filter(|(_, count)| **count > 2).collect();
    let first = often.first().map(|(id, _)| **id);
    let them: Vec<_> = arrived
        .iter()
        .filter(|message| Some(message.id.as_str()) == first)
        .collect();
    assert!(
        often.is_empty(),
        "{} of {}: {often:?}: {them:#?}",
        arrived.len(),
        ids.len()
    );
    queues.delete().await;
}
