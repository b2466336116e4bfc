//! An ordered sink on PostgreSQL and RabbitMQ.

use hookweir_testkit::app::App;
use hookweir_testkit::load::client;
use hookweir_testkit::servers::{amqp, postgres};
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::Place;
use crate::e2e::ordered::{BY_KEY, Senders, body, check_order, first_places, send, until_all};
use crate::e2e::sinks::waits;

/// The configuration of a place without its sources.
pub(in crate::e2e) fn without_sources(place: &Place) -> String {
    let config = place.config();
    let (config, _) = config.split_once("[[source]]").expect("sources");
    config.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_rabbitmq_events_of_a_key_stay_in_order_over_two_instances_of_which_each_is_killed() {
    let place = Place::on(&postgres(), &amqp());
    let config = format!(
        "{}ordered = \"{{json:/data/k}}\"\n{BY_KEY}",
        without_sources(&place).replace("[store]\n", "[store]\nlease_secs = 3\n")
    );
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
    let mut messages = Vec::new();
    until_all(120, async || {
        messages.extend(place.queues.rest(&place.queues.events).await);
        messages.clone()
    })
    .await;
    for app in &mut apps {
        assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    }
    messages.extend(place.queues.rest(&place.queues.events).await);
    let copies = check_order(&messages, 120);
    assert!(copies <= 3 * Senders::IN_MEMORY, "{copies} copies");
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_rabbitmq_cannot_route_holds_the_later_ones_of_its_source_and_no_others() {
    let place = Place::on(&postgres(), &amqp());
    let config = format!(
        "{}declare = false\nrouting_key = \"{{source}}\"\nordered = \"source\"\n{BY_KEY}\
         [[source]]\nname = \"late\"\nprovider = \"none\"\n",
        without_sources(&place).replace("unrouted_queue", "# unrouted_queue")
    );
    let queues = &place.queues;
    let (connection, channel) = queues.channel().await;
    let (exchange, queue) = (queues.exchange.as_str(), queues.events.as_str());
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let none = FieldTable::default;
    let declared = channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, none());
    declared.await.expect("declared");
    let declared = channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), none());
    declared.await.expect("declared");
    let bind = async |source: &str| {
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(
            queue.into(),
            exchange.into(),
            source.into(),
            options,
            none(),
        );
        bound.await.expect("bound");
    };
    bind("shop").await;
    let mut app = App::start(&config).await;
    let client = client();
    for n in 0..30 {
        send(&client, &[app.listen], "late", body("late", n)).await;
        send(&client, &[app.listen], "shop", body("shop", n)).await;
    }
    waits(&app, "default", 30).await;
    let (numbers, copies) = first_places(&queues.rest(queue).await);
    let all: Vec<u64> = (0..30).collect();
    assert_eq!((numbers["shop"].clone(), copies), (all.clone(), 0));
    assert_eq!(numbers.len(), 1, "the others wait");

    bind("late").await;
    waits(&app, "default", 0).await;
    let (numbers, copies) = first_places(&queues.rest(queue).await);
    assert_eq!((numbers["late"].clone(), copies), (all, 0));
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    let _ = connection.close(200, "done".into()).await;
    place.remove().await;
}
