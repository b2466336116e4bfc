//! Cases with an outage of the sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hookweir::publish::{ConnectionState, PublishResult};
use tokio::sync::Notify;

use super::{Harness, all_confirmed, connect, copies, messages, once, publish, run};
use crate::publish_rig::{Rig, event, wait};

/// Publishes while the sink breaks, and returns the labels of the results by event id.
fn publish_into_an_outage<H: Harness>(own: &mut H) -> BTreeMap<String, &'static str> {
    run(async {
        let sink = own.sink();
        let connection = connect(&*sink).await;
        let mut channel = connection.channel().await.expect("a channel");
        let confirmed = Arc::new(Notify::new());
        let tell = confirmed.clone();
        let publishing = tokio::spawn(async move {
            let mut results = BTreeMap::new();
            for n in 0..1_000_000 {
                let batch = messages("s", n * 50..(n + 1) * 50);
                let of_batch = channel.publish(&batch).await;
                assert_eq!(of_batch.len(), batch.len(), "a result for each");
                let in_doubt = !all_confirmed(&of_batch);
                for (message, result) in batch.iter().zip(of_batch) {
                    let id = message.event.event_id.as_str().to_owned();
                    results.insert(id, result.label());
                }
                if in_doubt {
                    break;
                }
                tell.notify_one();
            }
            results
        });
        let first = tokio::time::timeout(Duration::from_secs(60), confirmed.notified());
        first.await.expect("the first batch is confirmed");
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| own.break_off());
        let results = publishing.await.expect("no panic");
        connection.close().await;
        results
    })
}

pub fn a_message_in_doubt_is_never_confirmed<H: Harness>() {
    let mut own = H::start_own();
    let results = publish_into_an_outage(&mut own);
    own.mend();
    let there = copies(&own.read());
    let of = |label| results.iter().filter(move |(_, result)| **result == label);
    assert!(of("confirmed").count() > 0, "some before the outage");
    assert!(of("unknown").count() > 0, "some in the outage");
    assert_eq!(
        of("confirmed").count() + of("unknown").count(),
        results.len(),
        "an outage refuses no message for good: {results:?}"
    );
    for (id, _) in of("confirmed") {
        assert_eq!(there.get(id), Some(&1), "{id} was confirmed");
    }
}

pub fn a_lost_connection_says_so_and_another_takes_its_place<H: Harness>() {
    let mut own = H::start_own();
    let last = run(async {
        let sink = own.sink();
        let connection = connect(&*sink).await;
        let mut state = connection.state();
        assert_eq!(*state.borrow(), ConnectionState::Up);
        assert!(all_confirmed(
            &publish(&*connection, &messages("s", 0..10)).await
        ));
        tokio::task::block_in_place(|| own.break_off());
        // A sink that is used only when there is a message notices by that.
        if let Ok(mut channel) = connection.channel().await {
            let results = channel.publish(&messages("s", 10..20)).await;
            assert!(!results.contains(&PublishResult::Confirmed), "{results:?}");
        }
        let down = state.wait_for(|state| matches!(state, ConnectionState::Down(_)));
        let ConnectionState::Down(why) = down.await.expect("a state").clone() else {
            unreachable!("waited for")
        };
        assert!(!why.is_empty() && !why.contains("guest"), "{why}");
        connection.close().await;
        drop(connection);
        tokio::task::block_in_place(|| own.mend());
        let connection = connect(&*sink).await;
        let last = publish(&*connection, &messages("s", 20..30)).await;
        connection.close().await;
        last
    });
    assert!(all_confirmed(&last), "{last:?}");
    let there = copies(&own.read());
    for id in once(0..10).keys().chain(once(20..30).keys()) {
        assert_eq!(there.get(id), Some(&1), "{id} was confirmed");
    }
}

/// Accepts events from `from` on while `during` runs. Returns the number after the last one.
pub fn load(rig: &Rig, from: usize, during: impl FnOnce() + Send) -> usize {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            during();
            done.store(true, Ordering::SeqCst);
        });
        let mut n = from;
        while !done.load(Ordering::SeqCst) {
            for _ in 0..5 {
                rig.accept(event("s", &n.to_string(), b"{}"));
                n += 1;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        n
    })
}

pub fn an_outage_under_load_loses_nothing<H: Harness>() {
    let mut own = H::start_own();
    let config = own.config();
    let rig = Rig::start(&config);
    rig.up();
    let mut sent = load(&rig, 0, || std::thread::sleep(Duration::from_millis(500)));
    for _ in 0..2 {
        sent = load(&rig, sent, || {
            own.break_off();
            wait("the outage to be noticed", || !rig.running().health.is_up());
            own.mend();
            wait("the sink to be back", || rig.running().health.is_up());
        });
    }
    rig.drained();
    drop(rig);
    let there = copies(&own.read());
    assert_eq!(there.len(), sent, "none lost");
    let more = there.values().sum::<usize>() - sent;
    assert!(more <= 2 * config.channels * config.window, "{more} copies");
}

pub fn a_stop_during_an_outage_keeps_its_limit_and_leaves_the_rows<H: Harness>() {
    let mut own = H::start_own();
    let rig = Rig::start(&own.config());
    rig.up();
    own.break_off();
    for n in 0..100 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    wait("the outage to be noticed", || !rig.running().health.is_up());
    let (outbox, began) = (rig.outbox.clone(), Instant::now());
    rig.stop(Duration::from_secs(600));
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "it waits for a sink that is away"
    );
    let left = outbox.len();
    assert!(left > 0, "the rows of the outage");
    own.mend();
    let rig = Rig::restart(outbox, &own.config());
    rig.drained();
    drop(rig);
    assert_eq!(copies(&own.read()).len(), 100, "none lost");
}
