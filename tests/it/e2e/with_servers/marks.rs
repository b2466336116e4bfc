//! The marks of what may be a copy, as a consumer of RabbitMQ sees them.

use std::time::Duration;

use super::Place;
use hookweir_testkit::app::App;
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Event, Provider, now};
use hookweir_testkit::servers::{amqp, postgres};

const CONFLICT_OF: &str = "x-hookweir-conflict-of";
const SAME_BYTES_AS: &str = "x-hookweir-same-bytes-as";

/// The message id that a delivery is answered with, and whether the event is new.
async fn deliver(app: &App, event: &Event) -> (String, bool) {
    let headers = event.signed(event.provider.secret(), now());
    let name = event.provider.name();
    match post(&client(), app.listen, name, headers, event.body.clone()).await {
        Answer::Taken { id, new } => (id, new),
        other => panic!("{other:?}\n{}", app.log()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_and_equal_bytes_arrive_once_each_and_name_the_first_message() {
    let place = Place::on(&postgres(), &amqp());
    let mut app = App::start(&place.config()).await;
    let mut rng = fastrand::Rng::with_seed(1);
    let first = Provider::Github.event(&mut rng);
    let other_body = first.with_another_body(&mut rng);
    let other_id = Event {
        id: "another-delivery-of-the-same-bytes".into(),
        ..first.clone()
    };
    let events = [&first, &other_body, &other_id];
    let mut ids = Vec::new();
    for event in events {
        let (id, new) = deliver(&app, event).await;
        assert!(
            new && !ids.contains(&id),
            "a message of its own: {id} {ids:?}"
        );
        ids.push(id);
    }
    // A redelivery of the second body is a duplicate of the second message, also for a process that has nothing in memory.
    for _ in 0..2 {
        for (event, id) in events.iter().zip(&ids) {
            assert_eq!(deliver(&app, event).await, (id.clone(), false));
        }
        app.drained().await;
        app.kill();
        app.start_again().await;
        app.ready().await;
    }
    let queue = &place.queues.events;
    let mut messages = place
        .queues
        .consume(queue, 3, Duration::from_secs(60))
        .await;
    app.drained().await;
    assert!(app.stop().await.success(), "{}", app.log());
    messages.extend(place.queues.rest(queue).await);
    let seen: Vec<_> = ids
        .iter()
        .map(|id| {
            let mut copies = messages.iter().filter(|message| message.id == *id);
            let message = copies.next().expect("it is in the queue");
            assert!(copies.next().is_none(), "{id} came twice");
            let header = |name: &str| message.properties.get(name).map(String::as_str);
            (
                message.event_id.as_str(),
                &message.body[..],
                header(CONFLICT_OF),
                header(SAME_BYTES_AS),
            )
        })
        .collect();
    let m1 = Some(ids[0].as_str());
    let expected = [
        (&first, None, None),
        (&other_body, m1, None),
        (&other_id, None, m1),
    ]
    .map(|(event, conflict_of, same_bytes_as)| {
        (
            event.id.as_str(),
            &event.body[..],
            conflict_of,
            same_bytes_as,
        )
    });
    assert_eq!(seen, expected);
    assert_eq!(messages.len(), 3);
    place.remove().await;
}
