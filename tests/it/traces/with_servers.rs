//! On PostgreSQL and RabbitMQ.

use std::time::Duration;

use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::servers::{amqp, postgres};
use hookweir_testkit::sink::Queues;

use super::{Collector, WAY, check_way, event, taken, traceparent};

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_post_through_postgresql_to_the_confirm_of_rabbitmq() {
    let (collector, queues) = (Collector::start(), Queues::new(&amqp()));
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let store = format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", postgres());
    let (traces, sink) = (collector.config("1.0"), queues.config());
    let app = App::start(&format!("{store}{sink}{traces}{}", patient_sources())).await;
    let event = event(1);
    let trace = taken(&app, &event, &[]).await;
    let spans = collector.trace(&trace, &WAY).await;
    check_way(&spans, &event, "default");

    let events = queues
        .consume(&queues.events, 1, Duration::from_secs(60))
        .await;
    assert_eq!(events.len(), 1);
    let header = traceparent(&events[0]).expect("the message has the header");
    let post = spans
        .iter()
        .find(|span| span.name == WAY[0])
        .expect("a span");
    assert!(
        header.contains(&format!("00-{trace}-{}-01", post.id)),
        "{header}"
    );
    queues.delete().await;
}
