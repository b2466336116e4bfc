//! On PostgreSQL: the screens that read the store, at any instance.

use std::time::Duration;

use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::{amqp, postgres};
use hookweir_testkit::sink::Queues;

use super::Visit;
use super::decisions::{conflicts_are_decided, parked_events_are_decided, values};
use super::search::bodies_are_searched;
use crate::operator::unrouted::{bind, config, until};
use crate::operator::{SINKS, send, traced};

/// A store of its own on PostgreSQL.
fn store() -> String {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", postgres())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_other_bodies_and_parked_events_are_read_and_decided_on() {
    let store = store();
    let app = App::start(&format!("{SINKS}{store}{}", patient_sources())).await;
    conflicts_are_decided(&app).await;
    parked_events_are_decided(&app, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_an_event_is_found_by_a_text_in_its_body() {
    bodies_are_searched(&store()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_shows_the_events_the_jobs_and_the_record_of_the_other() {
    let config = format!("{}{}", store(), patient_sources());
    let (one, other) = (App::start(&config).await, App::start(&config).await);
    send(&one, Provider::Stripe, "evt_1");
    traced(&one, "evt_1", "default", "confirmed").await;
    let (here, there) = (Visit::enter(&one).await, Visit::enter(&other).await);
    assert!(there.screen("/page/events").await.contains("evt_1"));
    let both = there.screen("/page/system/instances").await;
    assert_eq!(both.matches(" alive").count(), 2, "{both}");
    assert_eq!(both.matches("this one").count(), 1, "{both}");
    here.screen("/page/events/evt_1/body").await;
    let order = [("source", "stripe"), ("pace", "1000"), ("expected", "1")];
    let place = here.send("/page/republish", &order).await;
    there.until(&place, "✓</span> done").await;
    for n in 0..60 {
        let download = format!("/page/events/evt_1/body?at={n}");
        here.screen(&download).await;
    }
    let record = there.screen("/page/system/audit").await;
    assert_eq!(
        record.matches("<tr>").count(),
        51,
        "a page of 50, and its head"
    );
    let next = record.split_once("audit?before=").expect("a next page").1;
    let next = next.split('"').next().expect("a place");
    let older = there
        .screen(&format!("/page/system/audit?before={next}"))
        .await;
    assert_eq!(older.matches("open body").count(), 11, "{older}");
    assert!(older.contains("republish"), "{older}");
    let (_, list) = there.get("/page/parked").await;
    assert!(list.contains("No event is parked"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unrouted_messages_are_sent_again_or_deleted_with_a_reason() {
    unrouted_messages_are_decided("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_unrouted_messages_are_sent_again_or_deleted_with_a_reason() {
    unrouted_messages_are_decided(&store()).await;
}

/// Has three messages go nowhere, deletes one, and sends the others again before and after a queue is bound.
async fn unrouted_messages_are_decided(store: &str) {
    let queues = Queues::new(&amqp());
    let tokens = "[admin.tokens.ann]\nsecret = \"plain:0123456789abcdef\"\nmay = [\"look\"]\n";
    let store = if store.is_empty() { "[store]\n" } else { store };
    let safety = format!("{store}allow_unsafe_durability = true\n");
    let app = App::start(&format!("{tokens}{safety}{}", config(&queues))).await;
    let visit = Visit::enter(&app).await;
    let none = visit.screen("/page/unrouted").await;
    assert!(
        none.contains("hookweir unrouted list --sink default"),
        "{none}"
    );
    for id in ["evt_1", "evt_2", "evt_3"] {
        send(&app, Provider::Stripe, id);
    }
    until(&queues, &queues.unrouted, 3).await;
    let list = visit.screen("/page/unrouted").await;
    let ids = values(&list, "id");
    assert_eq!(ids.len(), 3, "{list}");
    assert!(
        list.contains("The first 3 of 3") && list.contains("evt_2"),
        "{list}"
    );
    let ann = Visit::with(&app, &[("token", "0123456789abcdef")]).await;
    until(&queues, &queues.unrouted, 3).await;
    let seen = ann.screen("/page/unrouted").await;
    assert!(seen.contains("evt_2") && !seen.contains("Send the chosen"));
    let one = [("sink", "default"), ("id", &*ids[0])];
    for path in ["/page/unrouted/retry", "/page/unrouted/discard"] {
        assert_eq!(ann.refused(path, &one).await.0, 403, "{path}");
    }

    // Nothing is bound yet: it comes back.
    until(&queues, &queues.unrouted, 3).await;
    let place = visit.send("/page/unrouted/retry", &one).await;
    assert!(place.contains("1+sent+to+the+exchange"), "{place}");
    until(&queues, &queues.unrouted, 3).await;
    let (status, text) = visit.refused("/page/unrouted/discard", &one).await;
    assert_eq!(status, 400, "it needs a reason: {text}");
    until(&queues, &queues.unrouted, 3).await;
    let ask = format!("/page/unrouted/discard?{}", super::encoded(&one));
    let form = visit.screen(&ask).await;
    assert!(form.contains("required") && form.contains("Delete 1 for good"));
    let gone = [one[0], one[1], ("reason", "a test event")];
    until(&queues, &queues.unrouted, 3).await;
    let place = visit.send("/page/unrouted/discard", &gone).await;
    assert!(
        visit
            .screen(&place)
            .await
            .contains("1 deleted. 2 in the queue now.")
    );

    bind(&queues).await;
    until(&queues, &queues.unrouted, 2).await;
    let rest = [one[0], ("id", &*ids[1]), ("id", &*ids[2])];
    let place = visit.send("/page/unrouted/retry", &rest).await;
    let done = visit.screen(&place).await;
    assert!(
        done.contains("2 sent to the exchange. 0 in the queue now."),
        "{done}"
    );
    let left = "hookweir_sink_unrouted_messages{sink=\"default\"}";
    assert_eq!(app.metrics().await.get(left), 0.0, "the sink lags behind");
    let arrived = queues
        .consume(&queues.events, 2, Duration::from_secs(60))
        .await;
    let mut arrived: Vec<&str> = arrived.iter().map(|message| message.id.as_str()).collect();
    let mut sent = [&*ids[1], &*ids[2]];
    arrived.sort_unstable();
    sent.sort_unstable();
    assert_eq!(arrived, sent, "with their ids");
    let again = visit.send("/page/unrouted/retry", &one).await;
    assert!(again.contains("1+of+1+were+not+among"), "{again}");
    let record = visit.screen("/page/system/audit").await;
    for words in [
        "discard unrouted",
        "retry unrouted",
        "a test event",
        "by the page",
    ] {
        assert!(record.contains(words), "{words}: {record}");
    }
    queues.delete().await;
}
