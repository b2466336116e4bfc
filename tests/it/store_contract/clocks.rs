//! A clock that was wrong and is set right: of the host for SQLite, of the server for PostgreSQL. A store reads its clock by itself, so
//! here the times that it has written are moved instead, by SQL: to it that is the same.

use std::time::Duration;

use hookweir::config::secret::Secret;
use hookweir::domain::delivery::InstanceId;
use hookweir::store::{Inserted, Learned, Retention, Seq};

use super::{
    LONG, Place, accepted, alive, backlog, batch, claim_all, event, insert, insert_one, many, seqs,
    sink, source,
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Milliseconds by which the clock was ahead.
const AHEAD: [i64; 2] = [2 * HOUR, 400 * DAY];
const KEEP: Retention = Retention {
    events: LONG,
    conflicts: LONG,
    refused: LONG,
    keys: LONG,
};

pub(crate) fn what_came_while_the_clock_was_ahead_is_due_once_it_is_right(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    for ahead in AHEAD {
        insert(&*store, owner, &many(&format!("ahead {ahead} "), 0..5));
        place.shift("outbox", "due_at", ahead);
        place.shift("outbox", "since", ahead);
        insert(&*store, owner, &many(&format!("right {ahead} "), 0..5));
        let rows = claim_all(&*store, owner);
        assert_eq!(rows.len(), 10, "{ahead} ms ahead");
        // As any other row from then on.
        store
            .postpone(&sink(), &seqs(&rows), Duration::from_secs(30))
            .expect("postponed");
        assert!(
            claim_all(&*store, owner).is_empty(),
            "a retry is waited for"
        );
        store.confirmed(&sink(), &seqs(&rows)).expect("confirmed");
    }
}

pub(crate) fn rows_of_an_instance_that_died_while_the_clock_was_ahead_are_taken_over(
    place: &impl Place,
) {
    let store = place.store();
    for ahead in AHEAD {
        let dead = alive(&*store);
        insert(&*store, dead, &many(&format!("{ahead} "), 0..5));
        place.shift("instance", "alive_until", ahead);
        place.shift("outbox", "due_at", ahead);
        let (living, me) = (alive(&*store), alive(&*store));
        insert(&*store, living, &many(&format!("living {ahead} "), 0..3));
        let mine = claim_all(&*store, me);
        assert_eq!(
            mine.len(),
            5,
            "{ahead} ms ahead; those of the living stay with it"
        );
        let theirs = claim_all(&*store, living);
        assert_eq!(theirs.len(), 3);
        store
            .confirmed(&sink(), &seqs(&[mine, theirs].concat()))
            .expect("confirmed");
    }
    // An instance of the release before does not say how long its lease is: that of the configuration counts.
    let dead = alive(&*store);
    insert(&*store, dead, &many("before ", 0..5));
    place.execute("UPDATE instance SET lease_ms = NULL");
    assert_eq!(
        claim_all(&*store, alive(&*store)).len(),
        5,
        "an hour is longer than twice 15 s"
    );
}

pub(crate) fn a_clock_that_is_ahead_deletes_nothing(place: &impl Place) {
    for ahead in [2 * HOUR, 8 * DAY, 400 * DAY] {
        let store = place.store();
        let owner = alive(&*store);
        let expired = batch((0..5).map(|n| hookweir::store::NewEvent {
            window: Duration::ZERO,
            ..event(&format!("{ahead} {n}"), "x")
        }));
        insert(&*store, owner, &expired);
        store
            .confirmed(&sink(), &seqs(&claim_all(&*store, owner)))
            .expect("confirmed");
        place.execute("DELETE FROM clock");
        assert_eq!(
            store.prune(KEEP, 3),
            Ok(3),
            "the first look at a new database"
        );
        // The clock goes ahead: to the store that is as if its last look was long ago.
        place.shift("clock", "seen", -ahead);
        assert_eq!(
            store.prune(KEEP, 100),
            Ok(0),
            "{ahead} ms ahead, in the life of a process"
        );
        let restarted = place.store();
        assert_eq!(
            restarted.prune(KEEP, 100),
            Ok(0),
            "{ahead} ms ahead, after a restart"
        );
        assert!(
            matches!(
                insert_one(&*restarted, owner, (*expired[4]).clone()),
                Inserted::Duplicate(_)
            ),
            "its key is known"
        );
        place.shift("clock", "seen", ahead);
        assert_eq!(restarted.prune(KEEP, 100), Ok(2), "set right");
    }
}

pub(crate) fn a_clock_that_is_behind_deletes_and_cuts_nothing(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..5));
    store
        .confirmed(&sink(), &seqs(&claim_all(&*store, owner)))
        .expect("confirmed");
    assert_eq!(store.prune(KEEP, 100), Ok(0));
    // The clock begins in 1970.
    for (table, column) in [
        ("clock", "seen"),
        ("dedup", "expires_at"),
        ("published", "at"),
    ] {
        place.shift(table, column, 20_000 * DAY);
    }
    assert_eq!(store.prune(KEEP, 100), Ok(0));
    let still = |table: &str, column: &str| {
        place.count(&format!(
            "{table} WHERE {}",
            place.later(column, 19_999 * DAY)
        ))
    };
    assert_eq!(
        (still("dedup", "expires_at"), still("published", "at")),
        (5, 5)
    );
}

pub(crate) fn keys_that_came_while_the_clock_was_ahead_are_not_kept_for_ever(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..5));
    insert_one(&*store, owner, event("a0", "other"));
    store
        .confirmed(&sink(), &seqs(&claim_all(&*store, owner)))
        .expect("confirmed");
    for (table, column) in [
        ("dedup", "expires_at"),
        ("published", "at"),
        ("conflict", "at"),
    ] {
        place.shift(table, column, 400 * DAY);
    }
    insert(&*store, owner, &many("right", 0..5));
    for _ in 0..3 {
        assert_eq!(store.prune(KEEP, 2), Ok(0), "nothing goes before its time");
    }
    let beyond = |table: &str, column: &str, millis: i64| {
        place.count(&format!("{table} WHERE {}", place.later(column, millis)))
    };
    assert_eq!(
        (
            beyond("dedup", "expires_at", 71 * DAY),
            beyond("dedup", "expires_at", 34 * DAY)
        ),
        (0, 5)
    );
    assert_eq!(
        (
            beyond("published", "at", HOUR),
            beyond("conflict", "at", HOUR)
        ),
        (0, 0)
    );
    assert!(matches!(
        insert_one(&*store, owner, event("a1", "body of 1")),
        Inserted::Duplicate(_)
    ));
}

pub(crate) fn two_confirms_of_an_event_that_the_clock_put_ahead_do_not_end_all_deletion(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..5));
    let rows = seqs(&claim_all(&*store, owner));
    store.confirmed(&sink(), &rows).expect("confirmed");
    // Published again by a job, and confirmed again.
    for Seq(row) in &rows {
        let at = match place.is_sqlite() {
            true => "unixepoch() * 1000 + 5000",
            false => "now() + interval '5 seconds'",
        };
        place.execute(&format!(
            "INSERT INTO published (seq, at, sink) VALUES ({row}, {at}, '{}')",
            sink()
        ));
    }
    place.shift("published", "at", 400 * DAY);
    for _ in 0..6 {
        assert_eq!(store.prune(KEEP, 4), Ok(0));
    }
    assert_eq!(
        place.count(&format!("published WHERE {}", place.later("at", HOUR))),
        0
    );
    assert_eq!(place.count("event"), 5);
}

pub(crate) fn an_age_is_never_negative(place: &impl Place) {
    let store = place.store();
    insert(&*store, InstanceId::random(), &many("a", 0..5));
    place.shift("outbox", "since", 400 * DAY);
    let backlog = backlog(&*store);
    assert_eq!((backlog.depth, backlog.oldest), (5, Duration::ZERO));
    let rows = claim_all(&*store, alive(&*store));
    assert_eq!(backlog.first, rows.iter().map(|row| row.seq).min());
}

pub(crate) fn a_secret_forgotten_while_the_clock_was_ahead_makes_room_for_another(
    place: &impl Place,
) {
    let store = place.store();
    let secret = |text: &str| Secret::new(text.as_bytes());
    assert_eq!(
        store.learn(&source(), &secret("the first of them")),
        Ok(Learned::Kept)
    );
    assert_eq!(store.forget(&source()), Ok(true));
    assert_eq!(
        store.learn(&source(), &secret("the next of them")),
        Ok(Learned::NotYet)
    );
    place.shift("learned_secret", "at", 400 * DAY);
    assert_eq!(
        store.learn(&source(), &secret("the next of them")),
        Ok(Learned::Kept)
    );
    assert!(accepted(&insert_one(&*store, alive(&*store), event("a", "x"))).is_some());
}
