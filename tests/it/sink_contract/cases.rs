//! Cases without a fault.

use std::time::Duration;

use hookweir::publish::{Message, PublishResult};

use super::{Harness, all_confirmed, connect, copies, message, messages, once, publish, run};

pub fn confirmed_is_durable<H: Harness>() {
    let mut own = H::start_own();
    run(async {
        let sink = own.sink();
        let connection = connect(&*sink).await;
        for batch in messages("s", 0..1000).chunks(100) {
            assert!(all_confirmed(&publish(&*connection, batch).await));
        }
    });
    // Without an orderly end: what was confirmed needs none.
    own.break_off();
    own.mend();
    assert_eq!(copies(&own.read()), once(0..1000), "each once");
}

pub fn every_copy_has_the_same_id<H: Harness>() {
    let harness = H::start();
    let event = message("s", "evt_1", b"{}");
    run(async {
        let sink = harness.sink();
        let connection = connect(&*sink).await;
        for attempt in 1..=3 {
            let copy = [Message {
                attempt,
                ..event.clone()
            }];
            assert!(all_confirmed(&publish(&*connection, &copy).await));
        }
        connection.close().await;
    });
    let arrived = harness.read();
    let attempts: Vec<&str> = arrived.iter().map(|copy| &*copy.attempt).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    for copy in &arrived {
        assert_eq!(copy.id, event.id.to_string());
        assert_eq!(
            (&copy.properties, &copy.body),
            (&arrived[0].properties, &arrived[0].body),
            "nothing but the attempt differs"
        );
    }
}

pub fn the_bytes_and_headers_arrive_as_they_were<H: Harness>() {
    let harness = H::start();
    let bodies: [&[u8]; 4] = [
        b"",
        b"{\"a\":\"\xc3\xa9\"}\n",
        b"\x00\xff bytes",
        &[b'x'; 100_000],
    ];
    run(async {
        let sink = harness.sink();
        let connection = connect(&*sink).await;
        let batch: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(n, body)| message("s", &n.to_string(), body))
            .collect();
        assert!(all_confirmed(&publish(&*connection, &batch).await));
        connection.close().await;
    });
    let arrived = harness.read();
    assert_eq!(arrived.len(), bodies.len());
    for message in &arrived {
        let n: usize = message.event_id.parse().expect("one of ours");
        assert_eq!(message.body, bodies[n], "the body of {n}");
        assert_eq!(message.source, "s");
        assert!(
            message
                .properties
                .get("user-agent")
                .is_some_and(|value| value.contains("test/1")),
            "a provider's header: {:?}",
            message.properties
        );
    }
}

pub fn a_connection_that_was_closed_left_everything_at_the_sink<H: Harness>() {
    let harness = H::start();
    run(async {
        let sink = harness.sink();
        for round in 0..3 {
            // The one before is closed, so nothing of it is in the way.
            let connection = connect(&*sink).await;
            let batch = messages("s", round * 100..(round + 1) * 100);
            assert!(all_confirmed(&publish(&*connection, &batch).await));
            connection.close().await;
        }
    });
    assert_eq!(copies(&harness.read()), once(0..300));
}

pub fn close_loses_no_confirmed_message_of_a_batch_under_way<H: Harness>() {
    let harness = H::start();
    let mut confirmed = Vec::new();
    run(async {
        let sink = harness.sink();
        for round in 0..5 {
            let connection = connect(&*sink).await;
            let mut channel = connection.channel().await.expect("a channel");
            let batch = messages("s", round * 500..(round + 1) * 500);
            let under_way = tokio::spawn(async move {
                let results = channel.publish(&batch).await;
                (batch, results)
            });
            tokio::time::sleep(Duration::from_millis(2 * round as u64)).await;
            connection.close().await;
            let (batch, results) = under_way.await.expect("no panic");
            assert_eq!(batch.len(), results.len(), "a result for each");
            for (message, result) in batch.iter().zip(results) {
                match result {
                    PublishResult::Confirmed => {
                        confirmed.push(message.event.event_id.as_str().to_owned());
                    }
                    PublishResult::Unknown(_) => {}
                    other => panic!("a close makes no message {other:?}"),
                }
            }
        }
    });
    let there = copies(&harness.read());
    for id in confirmed {
        assert_eq!(there.get(&id), Some(&1), "{id} was confirmed");
    }
}

pub fn check_finds_the_sink_and_changes_nothing<H: Harness>() {
    let harness = H::start();
    run(async {
        let sink = harness.sink();
        let connection = connect(&*sink).await;
        assert!(all_confirmed(
            &publish(&*connection, &messages("s", 0..10)).await
        ));
        let found = sink.check().await.expect("reachable");
        assert!(!found.is_empty());
        assert!(
            all_confirmed(&publish(&*connection, &messages("s", 10..20)).await),
            "the check disturbs nobody"
        );
        connection.close().await;
    });
    assert_eq!(copies(&harness.read()), once(0..20));
}
