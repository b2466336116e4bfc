//! The cursor while transactions are under way: held open, aborted, killed.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use hookweir::store::catalog::{EventQuery, EventSummary};
use hookweir::store::cursor::EventPosition;

use crate::store_contract::cursor::{after, ids, write_and_read};
use crate::store_contract::{Place, Postgres, alive, insert, many};

/// SQL that stores an event as an instance does, up to its commit. The number is taken here.
const UNDER_WAY: &str = "
    BEGIN;
    INSERT INTO event (seq, key, source, event_id, headers, received_at, body)
    VALUES (nextval('event_seq'), sha256('late'), 'shop', 'late', '[]', 1700000000000, 'x')";

#[test]
fn an_event_that_is_committed_late_is_not_behind_a_position_that_was_handed_out() {
    let place = Postgres::fresh();
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("early", 0..1));
    let mut slow = place.connect();
    slow.batch_execute(UNDER_WAY).expect("under way");
    insert(&*store, owner, &many("quick", 0..1));
    let all = EventQuery::default;
    let seen = after(&*store, EventPosition::START, all());
    assert!(
        seen.events.len() <= 1,
        "quick0 has a higher number: {seen:?}"
    );
    let again = after(&*store, seen.next, all());
    assert!(!ids(&again.events).contains(&"quick0"), "{again:?}");
    slow.batch_execute("COMMIT").expect("committed");
    let rest = after(&*store, again.next, all());
    let events = [seen.events, again.events, rest.events].concat();
    assert_eq!(ids(&events), ["early0", "late", "quick0"]);
}

#[test]
fn a_reader_that_begins_at_a_message_misses_an_event_under_way_unless_it_steps_back() {
    let place = Postgres::fresh();
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("early", 0..1));
    let mut slow = place.connect();
    slow.batch_execute(UNDER_WAY).expect("under way");
    insert(&*store, owner, &many("quick", 0..1));
    // Committed, so published: its message carries this position.
    let newest = EventQuery {
        limit: 2,
        ..EventQuery::default()
    };
    let listed = store.events(&newest).expect("read").events;
    let [quick, early] = &listed[..] else {
        panic!("{listed:?}");
    };
    let position = |event: &EventSummary| EventPosition::of(event.seq, event.message_id);
    slow.batch_execute("COMMIT").expect("committed");
    let all = EventQuery::default;
    let from_the_last = after(&*store, position(quick), all());
    assert!(from_the_last.events.is_empty(), "late has a lower number");
    let stepped_back = after(&*store, position(early), all());
    assert_eq!(ids(&stepped_back.events), ["late", "quick0"]);
}

#[test]
fn a_transaction_that_is_undone_or_killed_holds_nothing_up() {
    let place = Postgres::fresh();
    let store = place.store();
    let owner = alive(&*store);
    let (mut undone, mut killed) = (place.connect(), place.connect());
    undone.batch_execute(UNDER_WAY).expect("under way");
    killed.batch_execute(UNDER_WAY).expect("under way");
    insert(&*store, owner, &many("quick", 0..1));
    let nothing = after(&*store, EventPosition::START, EventQuery::default());
    assert!(nothing.events.is_empty(), "{nothing:?}");
    undone.batch_execute("ROLLBACK").expect("undone");
    kill_writers(&place);
    let seen = super::eventually("the event is there", || {
        let seen = after(&*store, EventPosition::START, EventQuery::default());
        (!seen.events.is_empty()).then_some(seen)
    });
    assert_eq!(ids(&seen.events), ["quick0"]);
}

#[test]
fn ten_readers_see_each_event_once_though_transactions_abort_and_connections_are_killed() {
    let place = Postgres::fresh();
    write_and_read(&place, 1000, |round| disturb(&place, round));
}

#[test]
#[ignore = "stores a million events: minutes"]
fn ten_readers_see_each_of_a_million_events_once() {
    let place = Postgres::fresh();
    let began = std::time::Instant::now();
    write_and_read(&place, 125_000, |round| disturb(&place, round));
    println!(
        "1,000,000 events, 10 readers, {round:?}",
        round = began.elapsed()
    );
}

/// Holds a number for a moment, and commits the event, undoes it, or kills all connections that store
/// events. Returns the number of events that were stored.
fn disturb(place: &Postgres, round: usize) -> usize {
    let mut connection = place.connect();
    let event = UNDER_WAY.replace("late", &format!("late {round}"));
    connection.batch_execute(&event).expect("under way");
    std::thread::sleep(Duration::from_millis(5));
    match round % 10 {
        4 => kill_writers(place),
        9 => connection.batch_execute("ROLLBACK").expect("undone"),
        _ => {
            connection.batch_execute("COMMIT").expect("committed");
            return 1;
        }
    }
    0
}

/// Ends the connections that are storing events now.
fn kill_writers(place: &Postgres) {
    place.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
         WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = 'event'::regclass AND pid <> pg_backend_pid()
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
}
