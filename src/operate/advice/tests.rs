use super::super::top::{ReasonCount, SinkBacklog, TopOptions};
use super::*;

/// An instance with room in everything, ten seconds after its start.
fn calm() -> TopView {
    TopView {
        processors: Some(PartOf {
            part: 1000,
            whole: 2000,
        }),
        in_flight_requests: PartOf {
            part: 1,
            whole: 2048,
        },
        in_flight_bytes: PartOf {
            part: 1,
            whole: 1 << 27,
        },
        connections: PartOf {
            part: 1,
            whole: 4096,
        },
        sinks: vec![SinkBacklog {
            sink: "default".into(),
            up: Some(true),
            ..SinkBacklog::default()
        }],
        options: TopOptions {
            verifier_mailbox: 1024,
            dedup_mailbox: 1024,
            writers: 2,
            batch_events: 512,
            cache_entries: 1000,
            channels: 4,
            queue_events: 16_384,
            yield_secs: 10,
            spool_bytes: 1 << 30,
        },
        ..TopView::default()
    }
}

/// Things that are named while `happen` makes of a calm instance another one, with idle processors.
fn named(happen: impl FnOnce(&mut TopView)) -> Vec<String> {
    let (before, mut after) = (calm(), calm());
    after.processors = Some(PartOf {
        part: 1900,
        whole: 3000,
    });
    happen(&mut after);
    let advice = advise(&before, &after);
    for one in &advice {
        assert!(one.because.len() > 20, "{one:?}");
        assert_ne!(one.now, Some(0), "{one:?}");
        assert!(one.now.is_none() || one.now != one.to, "{one:?}");
    }
    advice.into_iter().map(|advice| advice.turn).collect()
}

fn shed(reason: &str) -> impl FnOnce(&mut TopView) {
    let reason = reason.to_owned();
    move |view| view.shed = vec![ReasonCount { reason, count: 7 }]
}

fn busy(view: &mut TopView) {
    view.processors = Some(PartOf {
        part: 1010,
        whole: 3000,
    });
}

#[test]
fn a_calm_instance_needs_no_advice() {
    assert_eq!(named(|_| {}), [""; 0]);
}

#[test]
fn deliveries_that_get_503_name_the_bound_that_was_reached() {
    assert_eq!(named(shed("requests")), ["limits.in_flight_requests"]);
    assert_eq!(named(shed("bytes")), ["limits.in_flight_bytes"]);
    assert_eq!(named(shed("source_bytes")), ["limits.in_flight_bytes"]);
    assert_eq!(
        named(shed("verifier_mailbox")),
        ["verifier.mailbox_capacity"]
    );
    assert_eq!(named(shed("dedup_mailbox")), ["dedup.mailbox_capacity"]);
    assert_eq!(
        named(shed("deadline_in_queue")),
        ["docs/operations/tuning.md"]
    );
}

#[test]
fn a_mailbox_as_large_as_the_requests_in_flight_is_not_the_knob() {
    let largest = named(|view| {
        shed("dedup_mailbox")(view);
        view.options.dedup_mailbox = 2048;
    });
    assert_eq!(largest, ["docs/operations/tuning.md"]);
}

#[test]
fn long_commits_while_processors_are_idle_ask_for_writers_and_busy_ones_do_not() {
    let long = |view: &mut TopView| {
        view.commits = Observed {
            count: 10,
            sum: 10 * LONG_COMMIT,
        };
    };
    assert_eq!(named(long), ["dedup.writers"]);
    let is_busy = named(|view| {
        long(view);
        busy(view);
    });
    assert_eq!(is_busy, [""; 0]);
    let sqlite = named(|view| {
        long(view);
        view.options.writers = 1;
    });
    assert_eq!(sqlite, [""; 0]);
    let late = named(|view| {
        long(view);
        shed("deadline_in_queue")(view);
    });
    assert_eq!(late, ["dedup.writers"]);
}

#[test]
fn full_batches_ask_for_larger_ones_unless_commits_are_long() {
    let full = |commit: u64| {
        move |view: &mut TopView| {
            view.batches = Observed {
                count: 10,
                sum: 5000,
            };
            view.commits = Observed {
                count: 10,
                sum: 10 * commit,
            };
            busy(view);
        }
    };
    assert_eq!(named(full(10_000)), ["dedup.batch_events"]);
    assert_eq!(named(full(LONG_COMMIT)), [""; 0]);
}

#[test]
fn connections_near_their_bound_are_named() {
    let full = named(|view| view.connections.part = 3900);
    assert_eq!(full, ["server.max_connections"]);
}

#[test]
fn a_full_publisher_asks_for_a_longer_queue_unless_something_holds_it() {
    assert_eq!(
        named(|view| view.hints_dropped = 9),
        ["publisher.queue_events"]
    );
    let down = named(|view| {
        view.hints_dropped = 9;
        view.sinks[0].up = Some(false);
    });
    assert_eq!(down, ["hookweir sinks"]);
    let paused = named(|view| {
        view.hints_dropped = 9;
        view.yielding = true;
    });
    assert_eq!(paused, [""; 0]);
}

#[test]
fn publishing_in_a_burst_that_is_shed_asks_for_a_longer_pause() {
    let shed = named(|view| {
        view.sources = vec![SourceCounts {
            shed: 7,
            ..SourceCounts::default()
        }];
        view.sinks[0].confirmed = 9;
    });
    assert_eq!(shed, ["publisher.yield_secs"]);
}

#[test]
fn a_pause_without_need_asks_for_a_shorter_one() {
    let (mut before, mut after) = (calm(), calm());
    (before.yielding, after.yielding) = (true, true);
    let advice = advise(&before, &after).remove(0);
    assert_eq!(
        (&*advice.turn, advice.now, advice.to),
        ("publisher.yield_secs", Some(10), Some(5))
    );
}

#[test]
fn long_confirms_and_a_growing_outbox_ask_for_channels() {
    let far = |view: &mut TopView| {
        view.confirms = Observed {
            count: 10,
            sum: 10 * LONG_CONFIRM,
        };
        view.sinks[0].waiting = 50;
    };
    assert_eq!(named(far), ["publisher.channels"]);
    let is_busy = named(|view| {
        far(view);
        busy(view);
    });
    assert_eq!(is_busy, [""; 0]);
}

#[test]
fn redeliveries_that_a_full_cache_does_not_know_ask_for_a_larger_one() {
    let known = |entries: u64, hits: u64| {
        move |view: &mut TopView| {
            view.sources = vec![SourceCounts {
                duplicate: 100,
                ..SourceCounts::default()
            }];
            (view.cache_entries, view.cache_hits) = (entries, hits);
        }
    };
    assert_eq!(named(known(1000, 10)), ["dedup.cache_entries"]);
    assert_eq!(named(known(1000, 90)), [""; 0]);
    assert_eq!(named(known(10, 10)), [""; 0], "it was not full");
}

#[test]
fn failures_and_what_waits_for_a_decision_name_the_command_to_begin_with() {
    assert_eq!(named(|view| view.commit_failures = 1), ["hookweir check"]);
    assert_eq!(
        named(|view| view.spool_bytes = 1 << 30),
        ["spool.max_bytes"]
    );
    assert_eq!(
        named(|view| view.sinks[0].parked = 1),
        ["hookweir parked list"]
    );
    let unrouted = named(|view| view.sinks[0].unrouted = 1);
    assert!(unrouted[0].contains("unrouted"), "{unrouted:?}");
}
