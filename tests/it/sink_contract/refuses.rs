//! Cases of a sink that can refuse some messages of a batch and take the others.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use hookweir::publish::Message;

use super::{Refuses, connect, copies, message, run};
use crate::publish_rig::{Rig, event, wait};

/// Publishes `count` messages of the source that `source` says, on four channels at once. Returns
/// the event ids by the label of their result.
fn publish<H: Refuses>(
    harness: &H,
    count: usize,
    source: fn(usize) -> &'static str,
) -> BTreeMap<&'static str, HashSet<String>> {
    run(async {
        let sink = harness.sink();
        let connection = connect(&*sink).await;
        let mut tasks = Vec::new();
        for task in 0..4 {
            let mut channel = connection.channel().await.expect("a channel");
            let of_task: Vec<usize> = (0..count).filter(|n| n % 4 == task).collect();
            tasks.push(tokio::spawn(async move {
                let mut results = Vec::new();
                for batch in of_task.chunks(256) {
                    let messages: Vec<Message> = batch
                        .iter()
                        .map(|n| message(source(*n), &n.to_string(), b"{}"))
                        .collect();
                    for (n, result) in batch.iter().zip(channel.publish(&messages).await) {
                        results.push((result.label(), n.to_string()));
                    }
                }
                results
            }));
        }
        let mut by_result: BTreeMap<_, HashSet<_>> = BTreeMap::new();
        for task in tasks {
            for (result, id) in task.await.expect("no panic") {
                by_result.entry(result).or_default().insert(id);
            }
        }
        connection.close().await;
        by_result
    })
}

fn labels(results: &BTreeMap<&'static str, HashSet<String>>) -> Vec<&'static str> {
    results.keys().copied().collect()
}

pub fn of_20000_messages_exactly_the_unroutable_half_is_reported<H: Refuses>() {
    let harness = H::start_refusing();
    let results = publish(
        &harness,
        20_000,
        |n| if n % 2 == 0 { H::GOOD } else { H::LOST },
    );
    assert_eq!(labels(&results), ["confirmed", "unroutable"]);
    let there: HashSet<String> = copies(&harness.read()).into_keys().collect();
    assert_eq!(results["confirmed"], there);
    assert_eq!(
        results["unroutable"],
        (0..10_000).map(|n| (n * 2 + 1).to_string()).collect()
    );
}

pub fn exactly_the_messages_of_a_full_queue_are_nacked<H: Refuses>() {
    let harness = H::start_refusing();
    let results = publish(
        &harness,
        8000,
        |n| if n % 2 == 0 { H::GOOD } else { H::FULL },
    );
    assert_eq!(labels(&results), ["confirmed", "nacked"]);
    let there: HashSet<String> = copies(&harness.read()).into_keys().collect();
    assert_eq!(results["confirmed"], there);
    assert!(
        (0..8000).step_by(2).all(|n| there.contains(&n.to_string())),
        "all of the good source"
    );
    assert!(results["nacked"].len() > 3000, "the queue was full");
}

pub fn a_full_queue_holds_up_no_other_and_fills_when_there_is_room<H: Refuses>() {
    let harness = H::start_refusing();
    let rig = Rig::start(&harness.config());
    for n in 0..2000 {
        let source = if n % 2 == 0 { H::GOOD } else { H::FULL };
        rig.accept(event(source, &n.to_string(), b"{}"));
    }
    wait("the good source", || rig.outbox.len() < 1000);
    let mut passed = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(60);
    while rig.outbox.len() > 0 {
        assert!(Instant::now() < end, "{} are left", rig.outbox.len());
        // Reading takes the messages out, and makes room.
        for (id, count) in copies(&harness.read()) {
            *passed.entry(id).or_insert(0) += count;
        }
    }
    rig.drained();
    for (id, count) in copies(&harness.read()) {
        *passed.entry(id).or_insert(0) += count;
    }
    assert_eq!(passed, super::once(0..2000), "each once");
}
