//! Cases of a sink that takes messages up to a size only.

use hookweir::publish::{Message, PublishResult};

use super::{LimitsSize, all_confirmed, connect, copies, message, messages, publish, run};
use crate::publish_rig::{Rig, event};

/// Twenty messages, of which the eighth is too large.
fn batch(largest: usize) -> Vec<Message> {
    let mut batch = messages("s", 0..20);
    batch[7] = message("s", "7", &vec![b'x'; largest + 1]);
    batch
}

pub fn a_message_that_is_too_large_is_refused_alone<H: LimitsSize>() {
    let (own, largest) = H::start_limited();
    run(async {
        let sink = own.sink();
        let connection = connect(&*sink).await;
        let batch = batch(largest);
        let together = publish(&*connection, &batch).await;
        assert!(
            together
                .iter()
                .all(|result| *result != PublishResult::Confirmed),
            "one of them is at fault, and which one is not known: {together:?}"
        );
        for (n, message) in batch.iter().enumerate() {
            let alone = publish(&*connection, std::slice::from_ref(message)).await;
            match (n, &alone[..]) {
                (7, [PublishResult::Refused(_)]) => {}
                (7, other) => panic!("the one that is too large: {other:?}"),
                (_, alone) => assert!(all_confirmed(alone), "{n}: {alone:?}"),
            }
        }
        let exactly = [message("s", "largest", &vec![b'x'; largest])];
        assert!(all_confirmed(&publish(&*connection, &exactly).await));
        connection.close().await;
    });
    let there = copies(&own.read());
    assert_eq!(there.len(), 20, "all but the one: {there:?}");
    assert!(!there.contains_key("7"));
}

pub fn a_channel_is_replaced_after_an_error<H: LimitsSize>() {
    let (own, largest) = H::start_limited();
    run(async {
        let sink = own.sink();
        let connection = connect(&*sink).await;
        let mut channel = connection.channel().await.expect("a channel");
        channel.publish(&batch(largest)).await;
        assert!(!channel.is_open(), "it cannot take another batch");
        let mut channel = connection.channel().await.expect("another channel");
        assert!(channel.is_open());
        assert!(all_confirmed(
            &channel.publish(&messages("s", 100..200)).await
        ));
        connection.close().await;
    });
    let there = copies(&own.read());
    for n in 100..200 {
        assert_eq!(there.get(&n.to_string()), Some(&1));
    }
}

pub fn a_message_that_is_too_large_is_parked_and_its_neighbours_pass<H: LimitsSize>() {
    let (own, largest) = H::start_limited();
    let rig = Rig::start(&own.config());
    rig.up();
    for n in 0..2000 {
        let len = if n % 500 == 250 { largest + 1 } else { 100 };
        rig.accept(event("s", &n.to_string(), &vec![b'x'; len]));
    }
    rig.drained();
    let parked = rig.outbox.parked.lock().expect("no panic").clone();
    assert_eq!(parked.len(), 4, "{parked:?}");
    assert!(
        parked["250"].contains("larger"),
        "the reason says it: {}",
        parked["250"]
    );
    assert!(
        rig.running().health.is_up(),
        "one message costs its channel and no more: {}",
        rig.why_not()
    );
    drop(rig);
    assert_eq!(copies(&own.read()).len(), 1996);
}
