//! The cursor: all events, each once, in one order, whoever stores them and whatever dies meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hookweir::domain::delivery::InstanceId;
use hookweir::domain::sink::Sinks;
use hookweir::store::catalog::{EventQuery, EventSummary, PAGE};
use hookweir::store::cursor::{EventPosition, Followed, Followers};
use hookweir::store::{Inserted, NewEvent, Store};

use super::{Place, accepted, alive, event, insert, many};

/// Time in which readers have to see an event that was stored.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn after(store: &dyn Store, position: EventPosition, query: EventQuery) -> Followers {
    let limit = if query.limit == 0 { PAGE } else { query.limit };
    match store.events_after(&EventQuery { limit, ..query }, position) {
        Ok(Followed::By(followers)) => followers,
        other => panic!("{position}: {other:?}"),
    }
}

pub(crate) fn ids(events: &[EventSummary]) -> Vec<&str> {
    events.iter().map(|event| &*event.event_id).collect()
}

pub(crate) fn events_after_a_position_come_in_order_in_pages_and_by_filter(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let empty = after(&*store, EventPosition::START, EventQuery::default());
    assert_eq!((empty.events.len(), empty.next), (0, EventPosition::START));
    for id in ["a", "b", "c", "d"] {
        insert(&*store, owner, &super::batch([event(id, id.to_owned())]));
    }
    let two = EventQuery {
        limit: 2,
        ..EventQuery::default()
    };
    let first = after(&*store, EventPosition::START, two.clone());
    assert_eq!(ids(&first.events), ["a", "b"]);
    let last = &first.events[1];
    assert_eq!(first.next, EventPosition::of(last.seq, last.message_id));
    let second = after(&*store, first.next, two.clone());
    assert_eq!(ids(&second.events), ["c", "d"]);
    let none = after(&*store, second.next, two);
    assert_eq!((none.events.len(), none.next), (0, second.next));
    let only_c = EventQuery {
        event_id: Some("c".into()),
        ..EventQuery::default()
    };
    let found = after(&*store, first.next, only_c);
    assert_eq!(ids(&found.events), ["c"]);
    assert_eq!(found.next, second.next, "d was looked at");
}

pub(crate) fn a_position_whose_event_was_deleted_says_so_and_one_of_another_history_is_refused(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    let never = EventPosition::parse("12-00000000").expect("a position");
    let refused = store.events_after(&EventQuery::default(), never);
    assert_eq!(refused, Ok(Followed::AnotherHistory), "an empty store");
    insert(&*store, owner, &super::batch([event("a", "a")]));
    let first = after(&*store, EventPosition::START, EventQuery::default());
    place.execute("DELETE FROM event");
    let quiet = after(&*store, first.next, EventQuery::default());
    assert!(!quiet.after_deleted, "no other event came");
    assert_eq!(quiet.next, first.next);
    insert(&*store, owner, &super::batch([event("b", "b")]));
    let second = after(&*store, first.next, EventQuery::default());
    assert_eq!(ids(&second.events), ["b"]);
    assert!(second.after_deleted, "others may have been deleted");
    let rest = after(&*store, second.next, EventQuery::default());
    assert!(!rest.after_deleted);

    // As after a restore: the number is another event's, or was never given.
    let text = second.next.to_string();
    let (number, mark) = text.split_once('-').expect("a number");
    let other = if mark == "00000000" {
        "00000001"
    } else {
        "00000000"
    };
    let later: i64 = number.parse::<i64>().expect("a number") + 1000;
    for text in [format!("{number}-{other}"), format!("{later}-{mark}")] {
        let position = EventPosition::parse(&text).expect("a position");
        let refused = store.events_after(&EventQuery::default(), position);
        assert_eq!(refused, Ok(Followed::AnotherHistory), "{text}");
    }
}

/// Reads a page. If the connection was killed, another one reads it.
fn read_page(store: &dyn Store, position: EventPosition) -> Followers {
    let query = EventQuery {
        limit: PAGE,
        ..EventQuery::default()
    };
    let since = Instant::now();
    loop {
        match store.events_after(&query, position) {
            Ok(Followed::By(followers)) => return followers,
            Err(_) if since.elapsed() < PATIENCE => {}
            other => panic!("{position}: {other:?}"),
        }
    }
}

/// Reads from the start on until there are `count` events. Returns their numbers.
fn read_all(store: &dyn Store, count: &AtomicUsize, done: &AtomicBool) -> Vec<i64> {
    let (mut seen, mut position) = (Vec::new(), EventPosition::START);
    let mut last = Instant::now();
    loop {
        // Read before the look: what was stored then is there.
        let all = done
            .load(Ordering::Acquire)
            .then(|| count.load(Ordering::Acquire));
        let page = read_page(store, position);
        if page.events.is_empty() {
            if all.is_some_and(|all| seen.len() >= all) {
                return seen;
            }
            assert!(
                last.elapsed() < PATIENCE,
                "{} of {all:?} events at {position}",
                seen.len()
            );
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        last = Instant::now();
        seen.extend(page.events.iter().map(|event| event.seq.0));
        position = page.next;
    }
}

/// Has 8 writers store `each` events at two instances, while 10 readers read. Meanwhile `disturb` is
/// called again and again, and returns the number of events that it has stored itself.
pub(crate) fn write_and_read(
    place: &impl Place,
    each: usize,
    disturb: impl Fn(usize) -> usize + Sync,
) {
    const READERS: usize = 10;
    const WRITERS: usize = 8;
    const BATCH: usize = 10;
    let instances = [place.store(), place.store()];
    let (stored, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let writing = AtomicBool::new(true);
    let mut readings: Vec<Vec<i64>> = thread::scope(|scope| {
        let (stored, done, instances) = (&stored, &done, &instances);
        let readers: Vec<_> = (0..READERS)
            .map(|n| scope.spawn(move || read_all(&*instances[n % 2], stored, done)))
            .collect();
        let write = move |n: usize| {
            let store = &*instances[n % 2];
            let owner = InstanceId::random();
            for first in (0..each).step_by(BATCH) {
                let batch = many(&format!("w{n}-"), first..(first + BATCH).min(each));
                store_all(store, owner, &batch);
                stored.fetch_add(batch.len(), Ordering::Release);
            }
        };
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| scope.spawn(move || write(n)))
            .collect();
        let disturber = scope.spawn(|| {
            for round in 0.. {
                if !writing.load(Ordering::Acquire) {
                    return;
                }
                stored.fetch_add(disturb(round), Ordering::Release);
            }
        });
        for writer in writers {
            writer.join().expect("a writer");
        }
        writing.store(false, Ordering::Release);
        disturber.join().expect("the disturber");
        done.store(true, Ordering::Release);
        let readers = readers.into_iter();
        readers
            .map(|reader| reader.join().expect("a reader"))
            .collect()
    });
    let first = readings.remove(0);
    assert_eq!(first.len(), stored.into_inner(), "each event once");
    assert!(first.is_sorted_by(|a, b| a < b), "in one order, none twice");
    for other in readings {
        assert!(other == first, "another reader has seen other events");
    }
}

/// Stores a batch. An attempt whose outcome is not known is repeated.
fn store_all(store: &dyn Store, owner: InstanceId, batch: &[Arc<NewEvent>]) {
    let since = Instant::now();
    loop {
        match store.insert(owner, &Sinks::default(), batch) {
            Ok(inserted) => {
                let known = |inserted: &Inserted| {
                    accepted(inserted).is_some() || matches!(inserted, Inserted::Duplicate(_))
                };
                assert!(inserted.iter().all(known), "{inserted:?}");
                return;
            }
            Err(error) => assert!(since.elapsed() < PATIENCE, "{error}"),
        }
    }
}

pub(crate) fn ten_readers_see_each_event_of_eight_writers_once_in_one_order(place: &impl Place) {
    write_and_read(place, 200, |_| {
        thread::sleep(Duration::from_millis(10));
        0
    });
}
