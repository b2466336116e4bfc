//! Which events are the same: the table of identity, cell by cell.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use hookweir::domain::delivery::{DedupKey, IdClass, InstanceId, Marks, MessageId, MessageKey};
use hookweir::store::{Inserted, Mark, NewEvent, Retention, Store};

use super::{
    LONG, Place, accepted, alive, batch, claim_all, event, insert, insert_one, key_of, seqs, sink,
    source,
};

const KEEP: Retention = Retention {
    events: LONG,
    conflicts: LONG,
    refused: LONG,
    keys: LONG,
};

/// An event as the verifier makes it: without an id each has a key of its own, and what comes again later is another message.
fn of(class: IdClass, id: &str, body: &str) -> NewEvent {
    let key = if class == IdClass::Absent {
        DedupKey::unique(&source())
    } else {
        key_of(id)
    };
    let message = match class {
        IdClass::Signed | IdClass::Absent => MessageKey::of(&key),
        IdClass::Unsigned => {
            MessageKey::of(&key.variant(&source(), &event(id, body.to_owned()).digest))
        }
        IdClass::Object | IdClass::Body => MessageKey::fresh(),
    };
    let bytes_key = class
        .marks_same_bytes()
        .then(|| DedupKey::new(&source(), "bytes", &[body.as_bytes()]));
    NewEvent {
        key,
        message,
        class,
        bytes_key,
        ..event(id, body.to_owned())
    }
}

fn over(event: NewEvent) -> NewEvent {
    NewEvent {
        window: Duration::ZERO,
        ..event
    }
}

/// As dedup does: what is an event of its own after all goes in once more, as such.
fn deliver(store: &dyn Store, owner: InstanceId, event: &NewEvent) -> (Inserted, NewEvent) {
    let mut event = event.clone();
    for _ in 0..3 {
        match insert_one(store, owner, event.clone()) {
            Inserted::Doubtful(mark) => event = event.marked(mark),
            inserted => return (inserted, event),
        }
    }
    panic!("{event:?} is doubtful without end");
}

fn duplicate_of(store: &dyn Store, owner: InstanceId, event: &NewEvent, first: MessageId) -> bool {
    matches!(deliver(store, owner, event).0, Inserted::Duplicate(known) if known.message_id() == first)
}

/// Delivers a new event, and returns the id of its message and its marks as the outbox has them.
fn stored(store: &dyn Store, owner: InstanceId, event: &NewEvent) -> (MessageId, Marks) {
    let (inserted, sent) = deliver(store, owner, event);
    let seq = accepted(&inserted).unwrap_or_else(|| panic!("{inserted:?}"));
    let row = claim_all(store, owner)
        .into_iter()
        .find(|row| row.seq == seq)
        .expect("in the outbox");
    assert_eq!(
        (row.event.message_id(), row.event.marks),
        (sent.message_id(), sent.marks)
    );
    assert_eq!(row.event.body, event.body, "what came is what goes");
    (row.event.message_id(), row.event.marks)
}

fn conflict_of(first: MessageId) -> Marks {
    Marks {
        conflict_of: Some(first),
        same_bytes_as: None,
    }
}

fn same_bytes_as(first: MessageId) -> Marks {
    Marks {
        conflict_of: None,
        same_bytes_as: Some(first),
    }
}

pub(crate) fn a_signed_id_decides_alone(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let (first, marks) = stored(&*store, owner, &of(IdClass::Signed, "a", "x"));
    assert_eq!(marks, Marks::default());
    assert!(
        duplicate_of(&*store, owner, &of(IdClass::Signed, "a", "x"), first),
        "same id, same body"
    );
    assert!(
        matches!(deliver(&*store, owner, &of(IdClass::Signed, "a", "y")).0, Inserted::Conflict(known) if known.message_id() == first)
    );
    assert_eq!(place.count("conflict"), 1, "the other body is kept");
    assert_eq!(
        stored(&*store, owner, &of(IdClass::Signed, "b", "x")).1,
        Marks::default(),
        "another id, equal bytes"
    );
}

pub(crate) fn an_unsigned_id_with_another_body_is_a_marked_event_once(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let unsigned = |body: &str| of(IdClass::Unsigned, "a", body);
    let (first, _) = stored(&*store, owner, &unsigned("x"));
    let (second, marks) = stored(&*store, owner, &unsigned("y"));
    assert_eq!(marks, conflict_of(first));
    let (third, marks) = stored(&*store, owner, &unsigned("z"));
    assert_eq!(marks, conflict_of(first), "the first one is named");
    for (body, message) in [
        ("x", first),
        ("y", second),
        ("z", third),
        ("y", second),
        ("x", first),
    ] {
        assert!(
            duplicate_of(&*store, owner, &unsigned(body), message),
            "{body}"
        );
    }
    assert!(first != second && second != third && third != first);
    assert_eq!((place.count("outbox"), place.count("conflict")), (3, 0));
}

pub(crate) fn equal_bytes_under_another_id_are_a_marked_event(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let unsigned = |id: &str| of(IdClass::Unsigned, id, "x");
    let (first, marks) = stored(&*store, owner, &unsigned("a"));
    assert_eq!(marks, Marks::default());
    let (second, marks) = stored(&*store, owner, &unsigned("b"));
    assert_eq!(marks, same_bytes_as(first));
    assert_eq!(
        stored(&*store, owner, &unsigned("c")).1,
        same_bytes_as(first),
        "the first one is named"
    );
    assert!(
        duplicate_of(&*store, owner, &unsigned("a"), first)
            && duplicate_of(&*store, owner, &unsigned("b"), second)
    );

    // Both at once: another body under its id, and known bytes.
    let (other, _) = stored(&*store, owner, &of(IdClass::Unsigned, "d", "y"));
    let (_, marks) = stored(&*store, owner, &of(IdClass::Unsigned, "d", "x"));
    assert_eq!(
        marks,
        Marks {
            conflict_of: Some(other),
            same_bytes_as: Some(first)
        }
    );

    let events = batch(["e", "f"].map(|id| of(IdClass::Unsigned, id, "twice in a batch")));
    let inserted = insert(&*store, owner, &events);
    assert_eq!(
        inserted.iter().filter_map(accepted).count(),
        1,
        "{inserted:?}"
    );
    let message = events[0].message_id();
    assert_eq!(
        inserted[1],
        Inserted::Doubtful(Mark::SameBytesAs(message)),
        "the one that comes first by its key"
    );
}

pub(crate) fn an_object_has_many_events_and_a_redelivery_is_known_for_its_span(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    for (class, id) in [(IdClass::Object, "a"), (IdClass::Body, "b")] {
        let (first, marks) = stored(&*store, owner, &of(class, id, "x"));
        assert_eq!(marks, Marks::default());
        assert!(
            duplicate_of(&*store, owner, &of(class, id, "x"), first),
            "same id, same body"
        );
        if class == IdClass::Object {
            let (second, marks) = stored(&*store, owner, &of(class, id, "y"));
            assert_eq!(marks, conflict_of(first));
            assert!(
                duplicate_of(&*store, owner, &of(class, id, "y"), second)
                    && duplicate_of(&*store, owner, &of(class, id, "x"), first)
            );
        }
    }
    assert_eq!(
        stored(&*store, owner, &of(IdClass::Object, "c", "x")).1,
        Marks::default(),
        "another id, equal bytes: no mark"
    );
}

pub(crate) fn without_an_id_equal_bytes_are_marked_events(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let (first, marks) = stored(&*store, owner, &of(IdClass::Absent, "", "beat"));
    assert_eq!(marks, Marks::default());
    for _ in 0..2 {
        let (again, marks) = stored(&*store, owner, &of(IdClass::Absent, "", "beat"));
        assert!(again != first && marks == same_bytes_as(first));
    }
    let timed = of(IdClass::Absent, "", "signed with its time");
    let (first, _) = stored(&*store, owner, &timed);
    assert!(
        duplicate_of(&*store, owner, &timed, first),
        "the very same signed request"
    );
}

pub(crate) fn equal_bytes_are_dropped_for_as_long_as_the_operator_says(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let dropped = |span| NewEvent {
        drop_same_bytes: Some(span),
        ..of(IdClass::Absent, "", "beat")
    };
    let (first, _) = stored(&*store, owner, &dropped(Duration::from_secs(600)));
    assert!(duplicate_of(
        &*store,
        owner,
        &dropped(Duration::from_secs(600)),
        first
    ));
    let (_, marks) = stored(&*store, owner, &dropped(Duration::ZERO));
    assert_eq!(marks, same_bytes_as(first), "past the span");
}

pub(crate) fn past_its_window_an_event_with_an_id_comes_again_under_the_same_message_id(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    for (class, id) in [(IdClass::Signed, "a"), (IdClass::Unsigned, "b")] {
        let event = over(of(class, id, id));
        let (first, _) = stored(&*store, owner, &event);
        assert!(
            duplicate_of(&*store, owner, &event, first),
            "it still waits: one row for a message id"
        );
        store
            .confirmed(&sink(), &seqs(&claim_all(&*store, owner)))
            .expect("confirmed");
        place.execute(&format!(
            "UPDATE dedup SET expires_at = {}",
            if place.is_sqlite() { "0" } else { "now()" }
        ));
        assert!(store.prune(KEEP, 100).expect("pruned") >= 1);
        assert_eq!(
            stored(&*store, owner, &event),
            (first, Marks::default()),
            "a table holds it once"
        );
        store
            .park(&sink(), claim_all(&*store, owner)[0].seq, "stuck")
            .expect("parked");
        store.prune(KEEP, 100).expect("pruned");
        assert!(duplicate_of(&*store, owner, &event, first), "it is parked");
    }
}

pub(crate) fn past_its_span_an_event_comes_again_though_the_first_still_waits(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    for (class, id) in [(IdClass::Object, "a"), (IdClass::Body, "b")] {
        let mut messages = vec![stored(&*store, owner, &over(of(class, id, "x"))).0];
        for prunes in [false, true, false] {
            if prunes {
                store.prune(KEEP, 100).expect("pruned");
            }
            messages.push(stored(&*store, owner, &over(of(class, id, "x"))).0);
        }
        messages.sort_unstable();
        messages.dedup();
        assert_eq!(messages.len(), 4, "a consumer that remembers ids sees each");
        // The last one is known from here on.
        let (last, _) = stored(&*store, owner, &of(class, id, "x"));
        assert!(duplicate_of(&*store, owner, &of(class, id, "x"), last));
    }
    assert_eq!(claim_all(&*store, owner).len(), 10);
}

pub(crate) fn of_many_at_once_one_takes_the_place_of_a_key_past_its_time(place: &impl Place) {
    let (one, other) = (place.store(), place.store());
    let owner = alive(&*one);
    for round in 0..5 {
        let class = if round % 2 == 0 {
            IdClass::Object
        } else {
            IdClass::Body
        };
        let (id, body) = (format!("{round}"), format!("body {round}"));
        insert_one(&*one, owner, over(of(class, &id, &body)));
        one.confirmed(&sink(), &seqs(&claim_all(&*one, owner)))
            .expect("confirmed");
        let barrier = Barrier::new(4);
        let accepted: usize = thread::scope(|scope| {
            let insert = |thread: usize| {
                let (store, barrier, event) = (
                    if thread.is_multiple_of(2) {
                        &one
                    } else {
                        &other
                    },
                    &barrier,
                    of(class, &id, &body),
                );
                scope.spawn(move || {
                    barrier.wait();
                    usize::from(accepted(&insert_one(&**store, owner, event)).is_some())
                })
            };
            let threads: Vec<_> = (0..4).map(insert).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum()
        });
        assert_eq!(accepted, 1, "{class:?}");
    }
}

pub(crate) fn marks_and_message_ids_are_the_same_for_another_instance(place: &impl Place) {
    let (store, other) = (place.store(), place.store());
    let dies = alive(&*store);
    let sent = [
        of(IdClass::Unsigned, "a", "x"),
        of(IdClass::Unsigned, "a", "y"),
        of(IdClass::Object, "b", "x"),
        of(IdClass::Absent, "", "x"),
    ];
    let mut expected: Vec<_> = sent
        .iter()
        .map(|event| stored(&*store, dies, event))
        .collect();
    store.release(dies).expect("released");
    let takes_over = alive(&*other);
    let mut found: Vec<_> = claim_all(&*other, takes_over)
        .iter()
        .map(|row| (row.event.message_id(), row.event.marks))
        .collect();
    expected.sort_by_key(|(id, _)| *id);
    found.sort_by_key(|(id, _)| *id);
    assert_eq!(found, expected);
    assert_eq!(
        found
            .iter()
            .filter(|(_, marks)| *marks != Marks::default())
            .count(),
        2
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Inserts an event as the release before this one does: only into columns that it knows.
fn insert_as_before(
    place: &impl Place,
    event: &NewEvent,
    guard: Option<DedupKey>,
    seq: i64,
    owner: InstanceId,
) {
    let sqlite = place.is_sqlite();
    let bytes = |bytes: &[u8]| {
        if sqlite {
            format!("x'{}'", hex(bytes))
        } else {
            format!("'\\x{}'::bytea", hex(bytes))
        }
    };
    let (key, digest) = (bytes(event.key.as_bytes()), bytes(event.digest.as_bytes()));
    let (guard, owner) = (
        guard.map_or("NULL".to_owned(), |guard| bytes(guard.as_bytes())),
        bytes(owner.as_bytes()),
    );
    let (later, now) = if sqlite {
        ("4102444800000", "0")
    } else {
        ("now() + interval '1 hour'", "now()")
    };
    let seq_next = if sqlite {
        String::new()
    } else {
        "SELECT setval('event_seq', 1000);".to_owned()
    };
    place.execute(&format!(
        "{seq_next}
         INSERT INTO dedup (seq, key, guard, digest, source, expires_at) VALUES ({seq}, {key}, {guard}, {digest}, 'shop', {later});
         INSERT INTO event (seq, key, source, event_id, headers, received_at, body)
         VALUES ({seq}, {key}, 'shop', '{id}', '[]', 0, {body});
         INSERT INTO outbox (seq, key, owner, bytes, since, due_at) VALUES ({seq}, {key}, {owner}, 1, {now}, {now});",
        id = event.event_id,
        body = bytes(&event.body),
    ));
}

pub(crate) fn rows_of_the_release_before_are_known_and_published(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let old = of(IdClass::Unsigned, "a", "x");
    // It guarded by what was signed.
    let guard = DedupKey::new(&source(), "signed", &[b"x"]);
    insert_as_before(place, &old, Some(guard), 900, owner);
    let rows = claim_all(&*store, owner);
    let as_published = MessageKey::of(&old.key).message_id();
    assert_eq!(
        rows.iter()
            .map(|row| (row.event.message_id(), row.event.marks))
            .collect::<Vec<_>>(),
        [(as_published, Marks::default())]
    );
    assert!(duplicate_of(&*store, owner, &old, as_published));
    assert_eq!(
        stored(&*store, owner, &of(IdClass::Unsigned, "a", "y")).1,
        conflict_of(as_published)
    );
    assert_eq!(
        stored(&*store, owner, &of(IdClass::Unsigned, "b", "x")).1,
        Marks::default(),
        "its guard says nothing any more"
    );
    let object = of(IdClass::Object, "c", "x");
    insert_as_before(place, &object, None, 901, owner);
    let as_published = MessageKey::of(&object.key).message_id();
    assert!(duplicate_of(
        &*store,
        owner,
        &of(IdClass::Object, "c", "x"),
        as_published
    ));
}

pub(crate) fn a_release_before_reads_the_same_message_ids(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    for event in [
        of(IdClass::Signed, "a", "x"),
        of(IdClass::Object, "b", "x"),
        of(IdClass::Object, "b", "y"),
        of(IdClass::Absent, "", "z"),
    ] {
        let (message, _) = stored(&*store, owner, &event);
        // It takes the first half of the event's key, which is also that of the outbox row.
        let half = &hex(message.as_bytes())[18..];
        let found = if place.is_sqlite() {
            "lower(substr(hex(key), 19, 14))"
        } else {
            "substr(encode(key, 'hex'), 19, 14)"
        };
        assert_eq!(
            place.count(&format!(
                "event JOIN outbox USING (seq, key) WHERE {found} = '{half}'"
            )),
            1
        );
    }
}
