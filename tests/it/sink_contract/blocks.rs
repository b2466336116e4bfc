//! Cases of a sink that can block its publishers.

use std::time::{Duration, Instant};

use hookweir::publish::ConnectionState;

use super::outages::load;
use super::{Blocks, all_confirmed, connect, copies, messages, once, run};
use crate::publish_rig::{Rig, event, wait};

pub fn blocked_is_not_down_and_nothing_is_sent_twice<H: Blocks>() {
    let own = H::start_own();
    let config = own.config();
    run(async {
        let sink = own.sink();
        let connection = connect(&*sink).await;
        let (mut state, mut channel) = (
            connection.state(),
            connection.channel().await.expect("a channel"),
        );
        tokio::task::block_in_place(|| own.block());
        let publishing = tokio::spawn(async move { channel.publish(&messages("s", 0..100)).await });
        let blocked = state.wait_for(|state| matches!(state, ConnectionState::Blocked(_)));
        blocked.await.expect("a state");
        tokio::time::sleep(config.confirm_timeout + Duration::from_secs(2)).await;
        assert!(!publishing.is_finished(), "a block has no time limit");
        assert!(!matches!(*state.borrow(), ConnectionState::Down(_)));
        tokio::task::block_in_place(|| own.unblock());
        assert!(all_confirmed(&publishing.await.expect("no panic")));
        connection.close().await;
    });
    assert_eq!(copies(&own.read()), once(0..100), "each once");

    let rig = Rig::start(&config);
    rig.up();
    let sent = load(&rig, 100, || {
        own.block();
        wait("the block to be noticed", || !rig.running().health.is_up());
        std::thread::sleep(config.confirm_timeout + Duration::from_secs(2));
        own.unblock();
        wait("the sink to be back", || rig.running().health.is_up());
    });
    rig.drained();
    let unknown = rig.published("unknown");
    drop(rig);
    // A queue has given up the first hundred, a topic has kept them.
    let mut there = copies(&own.read());
    there.retain(|id, _| !once(0..100).contains_key(id));
    assert_eq!(
        there,
        once(100..sent),
        "a block is no reason to send anything twice; {unknown} were in doubt"
    );
}

pub fn a_stop_while_blocked_keeps_its_limit<H: Blocks>() {
    let own = H::start_own();
    let rig = Rig::start(&own.config());
    rig.up();
    own.block();
    for n in 0..10 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    wait("the block to be noticed", || !rig.running().health.is_up());
    let (outbox, began) = (rig.outbox.clone(), Instant::now());
    rig.stop(Duration::from_secs(4));
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "it waits for ever"
    );
    let left = outbox.len();
    own.unblock();
    let there = copies(&own.read()).len();
    assert!(left + there >= 10, "{left} left, {there} there");
}
