//! On PostgreSQL and RabbitMQ, counted by consuming the queue.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use lapin::options::QueueBindOptions;
use lapin::types::FieldTable;

use super::check_outcomes;
use hookweir_testkit::app::{App, five_sources, patient_sources};
use hookweir_testkit::deliveries;
use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::load::{Load, Running};
use hookweir_testkit::oracle::Account;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::proxy::{Line, Proxy};
use hookweir_testkit::servers::{Server, address, amqp, postgres};
use hookweir_testkit::sink::{Message, Queues};

mod marks;
mod ordered;
mod sinks;
mod to_servers;

/// A schema and queues of one test's own.
pub(crate) struct Place {
    postgres: String,
    pub(crate) schema: String,
    pub(crate) queues: Queues,
}

impl Place {
    pub(crate) fn on(postgres: &str, amqp: &str) -> Self {
        let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
        Self {
            postgres: postgres.into(),
            schema,
            queues: Queues::new(amqp),
        }
    }

    /// A configuration for it with the five sources.
    pub(crate) fn config(&self) -> String {
        self.config_of(&five_sources())
    }

    /// The same, with so much time for an answer that a slow machine refuses nothing.
    pub(crate) fn patient_config(&self) -> String {
        self.config_of(&patient_sources())
    }

    fn config_of(&self, sources: &str) -> String {
        let Self {
            postgres,
            schema,
            queues,
        } = self;
        let store = format!("[store]\nurl = \"{postgres}\"\nschema = \"{schema}\"\n");
        // What the relay and the retries wait for is shortened, so that the tests are.
        format!("{store}{}retry_max_ms = 2000\n{sources}", queues.config())
    }

    /// Everything that comes out until all events are there, the outbox is empty and the instances have stopped.
    pub(crate) async fn collect(&self, ledger: &Ledger, instances: &mut [App]) -> Vec<Message> {
        let expected = ledger.genuine().count();
        let mut messages = self
            .queues
            .consume(&self.queues.events, expected, Duration::from_secs(120))
            .await;
        for app in instances.iter_mut() {
            app.drained().await;
            let status = app.stop().await;
            assert!(status.success(), "a stop in order: {status}\n{}", app.log());
        }
        messages.extend(self.queues.rest(&self.queues.events).await);
        messages
    }

    /// Leaves the shared servers as they were.
    pub(crate) async fn remove(&self) {
        self.queues.delete().await;
        let mut connection =
            PgConnection::establish(&self.postgres).expect("PostgreSQL answers the test");
        connection
            .batch_execute(&format!("drop schema if exists {} cascade", self.schema))
            .expect("the schema is dropped");
    }
}

/// For tests of what a sender is told when nothing takes PostgreSQL's place. With the spool, see `crate::spool`.
pub(crate) const WITHOUT_SPOOL: &str = "[spool]\npath = \"\"\n";

/// A load that leaves the machine room to breathe while servers stop and start.
pub(super) fn steady(app: &App) -> Running {
    Load {
        connections: 16,
        rate: Some(200.0),
        ..Load::on(&[app.listen])
    }
    .start()
}

/// Starting and stopping servers blocks; the load goes on meanwhile.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_five_providers_arrives_once_byte_for_byte() {
    let place = Place::on(&postgres(), &amqp());
    let app = App::start(&format!("{WITHOUT_SPOOL}{}", place.patient_config())).await;
    let ledger = Load::on(&[app.listen]).send(deliveries()).await;
    ledger.check_faultless();
    check_outcomes(&ledger, &[app.metrics().await]);
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check_once();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_to_two_instances_at_the_same_time_each_event_arrives_once() {
    let place = Place::on(&postgres(), &amqp());
    // Both bring the schema up at the same time, too. A spool would accept what the other one has.
    let config = format!("{WITHOUT_SPOOL}{}", place.patient_config());
    let (one, two) = tokio::join!(App::start(&config), App::start(&config));
    let ledger = Load {
        everywhere: true,
        ..Load::on(&[one.listen, two.listen])
    }
    .send(deliveries() / 2)
    .await;
    ledger.check_faultless();
    check_outcomes(&ledger, &[one.metrics().await, two.metrics().await]);
    Account::of(&ledger, &place.collect(&ledger, &mut [one, two]).await).check_once();
    place.remove().await;
}

/// With `respond_after = "published"` an outage of the queue is the senders' too; what they send again goes through once it is back.
#[tokio::test(flavor = "multi_thread")]
async fn answered_once_published_nothing_is_lost_while_rabbitmq_is_away() {
    let mut rabbitmq = blocking(Server::rabbitmq);
    let place = Place::on(&postgres(), &rabbitmq.url);
    let mut app = App::start(&format!(
        "[server]\nrespond_after = \"published\"\n{}",
        place.config()
    ))
    .await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| rabbitmq.stop());
    tokio::time::sleep(Duration::from_secs(5)).await;
    blocking(|| rabbitmq.start());
    load.until_taken(500).await;
    app.kill();
    app.start_again().await;
    load.until_taken(200).await;
    let ledger = load.finish().await;
    ledger.check();
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_stopped_for_30_seconds_nothing_is_refused_and_nothing_lost() {
    let mut rabbitmq = blocking(Server::rabbitmq);
    let place = Place::on(&postgres(), &rabbitmq.url);
    let app = App::start(&place.patient_config()).await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| rabbitmq.stop());
    let since = tokio::time::Instant::now();
    load.until_taken(1000).await;
    assert!(
        app.health().await.contains("degraded"),
        "the queue is away, deliveries are taken: {}",
        app.health().await
    );
    tokio::time::sleep_until(since + Duration::from_secs(30)).await;
    blocking(|| rabbitmq.start());
    load.until_taken(200).await;
    let ledger = load.finish().await;
    // Not only nothing lost: with the queue away no answer differs from any other day's.
    ledger.check_faultless();
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_killed_under_load_nothing_is_refused_and_nothing_lost() {
    let mut rabbitmq = blocking(Server::rabbitmq);
    let place = Place::on(&postgres(), &rabbitmq.url);
    let app = App::start(&place.patient_config()).await;
    let load = steady(&app);
    for _ in 0..2 {
        load.until_taken(300).await;
        blocking(|| rabbitmq.kill());
        load.until_taken(200).await;
        blocking(|| rabbitmq.start());
    }
    load.until_taken(200).await;
    let ledger = load.finish().await;
    ledger.check_faultless();
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stopped_for_10_seconds_nothing_is_lost() {
    let mut database = blocking(Server::postgres);
    let place = Place::on(&database.url, &amqp());
    let app = App::start(&format!("{WITHOUT_SPOOL}{}", place.config())).await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| database.stop());
    app.not_ready().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    blocking(|| database.start());
    app.ready().await;
    load.until_taken(200).await;
    // And once without a goodbye.
    blocking(|| database.kill());
    tokio::time::sleep(Duration::from_secs(1)).await;
    blocking(|| database.start());
    load.until_taken(200).await;
    let ledger = load.finish().await;
    ledger.check();
    let answers = ledger.answers(false);
    let known = |label: &str| label.starts_with("200") || label == "503" || label == "broken";
    assert!(
        answers.keys().all(|label| known(label)),
        "with the database away, answers are 503: {answers:?}"
    );
    assert!(
        answers.contains_key("503"),
        "the outage was felt: {answers:?}"
    );
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}

/// The processes stay, and so do the connections, but nothing answers: what a hanging disk or a dead network looks like.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_silent_for_a_while_every_sender_is_answered_in_time() {
    let database = blocking(Server::postgres);
    let place = Place::on(&database.url, &amqp());
    let app = App::start(&place.config()).await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| database.pause());
    tokio::time::sleep(Duration::from_secs(10)).await;
    blocking(|| database.resume());
    load.until_taken(200).await;
    let ledger = load.finish().await;
    ledger.check();
    let answers = ledger.answers(false);
    // A client of ours gives up after 20 s; the product answers by its deadline.
    assert!(
        !answers.contains_key("broken"),
        "a silent database is a 503 in time: {answers:?}"
    );
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_under_load_nothing_is_lost() {
    let place = Place::on(&postgres(), &amqp());
    let mut app = App::start(&format!(
        "{}\n",
        place.config().replace("[store]", "[store]\nlease_secs = 5")
    ))
    .await;
    let load = steady(&app);
    for _ in 0..20 {
        load.until_taken(30).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..50))).await;
        app.kill();
        app.start_again().await;
    }
    app.ready().await;
    let ledger = load.finish().await;
    ledger.check();
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}

/// I10: some sources' messages have nowhere to go for a while. They wait in `unrouted`; the others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_messages_unroutable_none_is_lost_and_the_others_are_unharmed() {
    let place = Place::on(&postgres(), &amqp());
    let app = App::start(&place.patient_config()).await;
    let queues = &place.queues;
    let (_connection, channel) = queues.channel().await;
    let bind = async |key: &str| {
        let (queue, exchange) = (
            queues.events.as_str().into(),
            queues.exchange.as_str().into(),
        );
        channel
            .queue_bind(
                queue,
                exchange,
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .expect("binds");
    };
    let load = steady(&app);
    load.until_taken(200).await;
    bind("stripe.#").await;
    bind("github.#").await;
    let (queue, exchange) = (
        queues.events.as_str().into(),
        queues.exchange.as_str().into(),
    );
    channel
        .queue_unbind(queue, exchange, "#".into(), FieldTable::default())
        .await
        .expect("unbinds");
    load.until_taken(600).await;
    bind("#").await;
    load.until_taken(200).await;
    let ledger = load.finish().await;
    ledger.check_faultless();

    app.drained().await;
    let since = Instant::now();
    while !app.health().await.contains("had no queue bound") {
        let patient = since.elapsed() < Duration::from_secs(60);
        assert!(patient, "nobody says so: {}", app.health().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let told = app
        .metrics()
        .await
        .get("hookweir_sink_unrouted_messages{sink=\"default\"}");
    assert!(told > 0.0, "{told} messages are counted");
    let unrouted = queues.rest(&queues.unrouted).await;
    assert!(
        unrouted.len() > 100,
        "{} messages were unroutable",
        unrouted.len()
    );
    let harmed = |message: &&Message| {
        [Provider::Stripe, Provider::Github]
            .iter()
            .any(|provider| provider.name() == message.source)
    };
    assert_eq!(
        unrouted.iter().filter(harmed).count(),
        0,
        "messages that had a binding went to the unrouted queue"
    );
    let mut app = app;
    app.stop().await;
    let messages: Vec<_> = queues
        .rest(&queues.events)
        .await
        .into_iter()
        .chain(unrouted)
        .collect();
    Account::of(&ledger, &messages).check_once();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_with_rabbitmq_down_takes_events_and_publishes_them_when_it_is_back() {
    let mut rabbitmq = blocking(Server::rabbitmq);
    blocking(|| rabbitmq.stop());
    let place = Place::on(&postgres(), &rabbitmq.url);
    let app = App::start(&place.patient_config()).await;
    let health = app.health().await;
    assert!(
        health.contains("degraded"),
        "it says that the queue is away: {health}"
    );
    assert!(
        !health.contains("guest:guest"),
        "and does not say the password: {health}"
    );
    let ledger = Load::on(&[app.listen]).send(500).await;
    ledger.check_faultless();
    blocking(|| rabbitmq.start());
    app.until_healthy().await;
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check_once();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_with_postgres_down_says_why_and_serves_when_it_is_back() {
    let mut database = blocking(Server::postgres);
    blocking(|| database.stop());
    let place = Place::on(&database.url, &amqp());
    let app = App::launch(&format!("{WITHOUT_SPOOL}{}", place.config())).await;
    let why = app.not_ready().await;
    assert!(why.contains("store"), "it says what is missing: {why}");
    let load = Load {
        rate: Some(50.0),
        ..Load::on(&[app.listen])
    }
    .start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(load.taken(), 0, "nothing is taken that cannot be stored");
    blocking(|| database.start());
    app.ready().await;
    load.until_taken(100).await;
    let ledger = load.finish().await;
    ledger.check();
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}

/// The answer to a commit gets lost on its way: it may have happened or not.
#[tokio::test(flavor = "multi_thread")]
async fn commits_whose_answer_is_cut_off_are_neither_lost_nor_made_twice() {
    let (address, postgres) = (address(&postgres()), postgres());
    let proxy = Proxy::to(address).await;
    let place = Place::on(
        &postgres.replace(&address.to_string(), &proxy.address.to_string()),
        &amqp(),
    );
    let app = App::start(&place.config()).await;
    let load = steady(&app);
    for _ in 0..30 {
        load.until_taken(20).await;
        proxy.cut_back_after(fastrand::i64(1..600));
    }
    load.until_taken(100).await;
    proxy.cut_back_after(i64::MAX);
    let ledger = load.finish().await;
    ledger.check();
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_silent_or_cut_off_nothing_is_refused_and_nothing_lost() {
    let (address, amqp) = (address(&amqp()), amqp());
    let proxy = Proxy::to(address).await;
    let place = Place::on(
        &postgres(),
        &amqp.replace(&address.to_string(), &proxy.address.to_string()),
    );
    let config = place.patient_config().replace(
        "[publisher]",
        "[publisher]\nconfirm_timeout_ms = 2000\nconnect_timeout_ms = 2000\nheartbeat_secs = 2",
    );
    let app = App::start(&config).await;
    let load = steady(&app);
    for line in [Line::Silent, Line::Cut, Line::Silent] {
        load.until_taken(100).await;
        proxy.set(line);
        load.until_taken(800).await;
        proxy.set(Line::Open);
    }
    for _ in 0..10 {
        load.until_taken(20).await;
        proxy.cut_back_after(fastrand::i64(1..400));
    }
    load.until_taken(100).await;
    proxy.cut_back_after(i64::MAX);
    let ledger = load.finish().await;
    ledger.check_faultless();
    Account::of(&ledger, &place.collect(&ledger, &mut [app]).await).check();
    place.remove().await;
}
