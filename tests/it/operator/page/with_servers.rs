//! On PostgreSQL: the screens that read the store, at any instance.

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::postgres;

use super::Visit;
use super::decisions::{conflicts_are_decided, parked_events_are_decided};
use crate::operator::{SINKS, send, traced};

/// A store of its own on PostgreSQL.
fn store() -> String {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", postgres())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_other_bodies_and_parked_events_are_read_and_decided_on() {
    let store = store();
    let app = App::start(&format!("{SINKS}{store}{}", five_sources())).await;
    conflicts_are_decided(&app).await;
    parked_events_are_decided(&app, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_shows_the_events_the_jobs_and_the_record_of_the_other() {
    let config = format!("{}{}", store(), five_sources());
    let (one, other) = (App::start(&config).await, App::start(&config).await);
    send(&one, Provider::Stripe, "evt_1");
    traced(&one, "evt_1", "default", "confirmed").await;
    let (here, there) = (Visit::enter(&one).await, Visit::enter(&other).await);
    assert!(there.screen("/page/events").await.contains("evt_1"));
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
