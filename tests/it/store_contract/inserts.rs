//! Storing once.

use std::collections::HashMap;
use std::sync::{Barrier, Mutex};
use std::thread;

use hookweir::domain::delivery::{InstanceId, MessageKey};
use hookweir::store::{Inserted, NewEvent, StoreError, open};

use super::{
    Place, accepted, alive, backlog, batch, claim_all, event, insert, insert_one, insert_patiently,
    key_of, many, sink, sinks,
};

pub(crate) fn new_events_are_accepted_and_come_out_of_the_outbox_as_they_went_in(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    let mut bare = event("bare", "");
    bare.event_type = None;
    bare.content_type = None;
    bare.headers.clear();
    let events = batch([
        event("a", "{\"n\": 1}"),
        event("b", vec![0, 159, 146, 150]),
        bare,
    ]);
    let inserted = insert(&*store, owner, &events);
    let stored = claim_all(&*store, owner);
    assert_eq!(stored.len(), 3);
    for (sent, inserted) in events.iter().zip(inserted) {
        let row = stored
            .iter()
            .find(|row| row.event.message == sent.message)
            .expect("it is in the outbox");
        assert_eq!(inserted, Inserted::Accepted(row.seq));
        assert_eq!(row.attempts, 0);
        let seen = |event: &NewEvent| {
            let NewEvent {
                message,
                marks,
                source,
                event_id,
                event_type,
                content_type,
                headers,
                body,
                received_at,
                ..
            } = event.clone();
            (
                message,
                marks,
                source,
                event_id,
                event_type,
                content_type,
                headers,
                body,
                received_at,
            )
        };
        assert_eq!(seen(&row.event), seen(sent));
    }
}

pub(crate) fn a_known_event_is_a_duplicate_also_for_another_store(place: &impl Place) {
    let (store, other) = (place.store(), place.store());
    let owner = alive(&*store);
    assert!(accepted(&insert_one(&*store, owner, event("a", "x"))).is_some());
    for store in [&store, &other] {
        let inserted = insert(&**store, owner, &batch([event("a", "x"), event("b", "y")]));
        assert!(
            inserted.iter().any(|inserted| duplicate_of(inserted, "a")),
            "{inserted:?}"
        );
    }
    assert_eq!(backlog(&*store).depth, 2);
}

pub(crate) fn a_known_id_with_another_body_is_a_conflict_and_kept_once(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert_one(&*store, owner, event("a", "first"));
    for _ in 0..3 {
        let inserted = insert(
            &*store,
            owner,
            &batch([event("a", "second"), event("b", "y")]),
        );
        assert!(
            inserted.iter().any(|inserted| conflict_of(inserted, "a")),
            "{inserted:?}"
        );
    }
    assert!(conflict_of(
        &insert_one(&*store, owner, event("a", "third")),
        "a"
    ));
    assert!(duplicate_of(
        &insert_one(&*store, owner, event("a", "first")),
        "a"
    ));
    assert_eq!(place.count("conflict"), 2, "each other body once");
    let bodies: Vec<_> = claim_all(&*store, owner)
        .into_iter()
        .map(|row| row.event.body.clone())
        .collect();
    assert!(
        bodies.contains(&"first".into()) && bodies.len() == 2,
        "the first one stands"
    );
}

fn duplicate_of(inserted: &Inserted, id: &str) -> bool {
    matches!(inserted, Inserted::Duplicate(first) if first.message == MessageKey::of(&key_of(id)))
}

fn conflict_of(inserted: &Inserted, id: &str) -> bool {
    matches!(inserted, Inserted::Conflict(first) if first.message == MessageKey::of(&key_of(id)))
}

/// An event whose signed message is known by `replay`.
fn signed_as(id: &str, replay: &str) -> NewEvent {
    NewEvent {
        replay: Some(key_of(replay)),
        ..event(id, replay.to_owned())
    }
}

pub(crate) fn the_very_same_signed_request_is_a_duplicate_whatever_its_id(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    assert!(accepted(&insert_one(&*store, owner, signed_as("a", "g"))).is_some());
    assert!(duplicate_of(
        &insert_one(&*store, owner, signed_as("b", "g")),
        "a"
    ));
    assert!(duplicate_of(
        &insert_one(&*store, owner, signed_as("a", "g")),
        "a"
    ));
    let tampered = NewEvent {
        replay: Some(key_of("g")),
        ..event("a", "other")
    };
    assert!(
        duplicate_of(&insert_one(&*store, owner, tampered), "a"),
        "what of the body is not signed does not make it another one"
    );
    assert!(
        accepted(&insert_one(&*store, owner, signed_as("b", "h"))).is_some(),
        "a duplicate leaves nothing behind"
    );
}

pub(crate) fn one_signed_request_twice_in_a_batch_is_accepted_once(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let events = batch([
        signed_as("a", "g"),
        signed_as("b", "g"),
        signed_as("c", "h"),
    ]);
    let inserted = insert(&*store, owner, &events);
    let first = events
        .iter()
        .find(|event| event.replay == Some(key_of("g")))
        .expect("one")
        .message;
    assert_eq!(
        inserted.iter().filter_map(accepted).count(),
        2,
        "{inserted:?}"
    );
    assert!(
        inserted.iter().any(
            |inserted| matches!(inserted, Inserted::Duplicate(known) if known.message == first)
        ),
        "{inserted:?}"
    );
    assert_eq!(backlog(&*store).depth, 2);
}

pub(crate) fn bodies_and_texts_come_back_byte_for_byte(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let large: Vec<u8> = (0..1_048_576_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let hostile = "nul \u{0} \u{1f4a9} '\"\\ $1 {}";
    let mut odd = event(hostile, large);
    odd.headers = vec![
        ("x".into(), "nul \u{0} é \"".into()),
        ("x".into(), "twice".into()),
    ];
    let sent = batch([odd, event(&"9".repeat(9000), vec![0; 3000])]);
    assert_eq!(
        insert(&*store, owner, &sent)
            .iter()
            .filter_map(accepted)
            .count(),
        2
    );
    for row in claim_all(&*store, owner) {
        let sent = sent
            .iter()
            .find(|sent| sent.message == row.event.message)
            .expect("it was sent");
        assert_eq!(
            (&row.event.body, &row.event.headers, &row.event.event_id),
            (&sent.body, &sent.headers, &sent.event_id)
        );
        assert_eq!(row.event.message_id(), sent.message_id());
    }
}

pub(crate) fn a_row_that_the_database_refuses_leaves_its_neighbours_alone(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    place.refuse("bad");
    let events: Vec<_> = (0..40)
        .map(|n| {
            event(
                &format!("{}{n}", if n % 20 == 7 { "bad" } else { "good" }),
                "x",
            )
        })
        .collect();
    let events = batch(events);
    let (inserted, attempts) = insert_patiently(&*store, owner, &events);
    for (event, inserted) in events.iter().zip(&inserted) {
        // One that an attempt before has stored.
        let is_known = attempts > 1 && duplicate_of(inserted, event.event_id.as_str());
        let bad = event.event_id.as_str().starts_with("bad");
        assert_eq!(
            matches!(inserted, Inserted::Refused(_)),
            bad,
            "{} {inserted:?}",
            event.event_id
        );
        assert_eq!(
            accepted(inserted).is_some() || is_known,
            !bad,
            "{} {inserted:?}",
            event.event_id
        );
    }
    let (again, _) = insert_patiently(&*store, owner, &events);
    assert_eq!(
        again
            .iter()
            .filter(|inserted| matches!(inserted, Inserted::Duplicate(_)))
            .count(),
        38,
        "stored once: {again:?}"
    );
    for table in ["dedup", "event", "outbox"] {
        assert_eq!(place.count(table), 38, "{table}");
    }
}

pub(crate) fn nothing_is_refused_row_by_row_when_it_is_not_the_rows(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    place.execute("ALTER TABLE outbox RENAME TO elsewhere");
    let error = store
        .insert(owner, &sinks(), &many("a", 0..40))
        .expect_err("no outbox");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    place.execute("ALTER TABLE elsewhere RENAME TO outbox");
    assert_eq!(
        insert(&*store, owner, &many("a", 0..40))
            .iter()
            .filter_map(accepted)
            .count(),
        40,
        "nothing was left behind"
    );
}

pub(crate) fn overlapping_batches_from_all_sides_accept_each_key_once(place: &impl Place) {
    let (one, other) = (place.store(), place.store());
    let barrier = Barrier::new(4);
    let found = Mutex::new(HashMap::<String, usize>::new());
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = if thread % 2 == 0 { &one } else { &other };
            let (barrier, found) = (&barrier, &found);
            scope.spawn(move || {
                let owner = InstanceId::random();
                barrier.wait();
                for round in 0..25 {
                    let events = many("k", round * 20..round * 20 + 60);
                    for (event, inserted) in events.iter().zip(insert(&**store, owner, &events)) {
                        match inserted {
                            Inserted::Accepted(_) => {
                                *found
                                    .lock()
                                    .expect("a count")
                                    .entry(event.event_id.to_string())
                                    .or_default() += 1;
                            }
                            Inserted::Duplicate(first) => assert_eq!(first.message, event.message),
                            other => panic!("{other:?}"),
                        }
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("the counts");
    assert_eq!(found.len(), 540);
    assert!(found.values().all(|times| *times == 1), "{found:?}");
    assert_eq!(place.count("outbox"), 540);
}

pub(crate) fn overlapping_signed_requests_from_all_sides_are_accepted_once(place: &impl Place) {
    let (one, other) = (place.store(), place.store());
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = if thread % 2 == 0 { &one } else { &other };
            let barrier = &barrier;
            scope.spawn(move || {
                let owner = InstanceId::random();
                barrier.wait();
                for round in 0..10 {
                    // Keys differ from thread to thread, so that the second keys come in another order in each: in PostgreSQL they deadlock.
                    let events = batch((0..40).map(|n| {
                        signed_as(&format!("{thread} {round} {n}"), &format!("{round} {n}"))
                    }));
                    insert(&**store, owner, &events);
                }
            });
        }
    });
    assert_eq!(place.count("outbox"), 400);
    assert_eq!(place.count("dedup"), 400);
}

pub(crate) fn nothing_is_stored_before_the_store_is_prepared(place: &impl Place) {
    let store = open(&place.config(), 1).expect("a store");
    let early = store.insert(InstanceId::random(), &sinks(), &many("a", 0..1));
    assert!(
        matches!(early, Err(StoreError::Unavailable(_))),
        "{early:?}"
    );
    store.prepare().expect("prepared");
    insert(&*store, InstanceId::random(), &many("a", 0..1));
}

pub(crate) fn an_empty_batch_is_nothing(place: &impl Place) {
    let store = place.store();
    assert_eq!(
        store.insert(InstanceId::random(), &sinks(), &[]),
        Ok(vec![])
    );
    store.confirmed(&sink(), &[]).expect("nothing");
    store.postpone(&sink(), &[], super::LONG).expect("nothing");
}
