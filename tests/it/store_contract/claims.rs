//! Claims: each row is worked on by one owner.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::thread;
use std::time::Duration;

use hookweir::domain::delivery::{InstanceId, MessageKey};
use hookweir::store::{Inserted, Room, Seq, Store};

use super::{
    LONG, Place, ROOM, accepted, alive, backlog, batch, claim_all, confirms, event, insert, key_of,
    many, seqs, sink, sinks,
};

fn store_in_order(store: &dyn Store, owner: InstanceId, sizes: &[usize]) {
    for (n, size) in sizes.iter().enumerate() {
        insert(
            store,
            owner,
            &batch([event(&n.to_string(), vec![b'x'; *size])]),
        );
    }
}

fn ids(store: &dyn Store, owner: InstanceId, room: Room) -> Vec<String> {
    store
        .claim(owner, &sink(), room, &|_| false)
        .expect("a claim")
        .into_iter()
        .map(|row| row.event.event_id.to_string())
        .collect()
}

pub(crate) fn rows_are_claimed_in_order_within_the_room(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    store_in_order(&*store, owner, &[500, 100, 100, 900, 10]);
    let room = |events, bytes| Room { events, bytes };
    assert_eq!(ids(&*store, owner, ROOM), ["0", "1", "2", "3", "4"]);
    assert_eq!(ids(&*store, owner, room(2, 10_000)), ["0", "1"]);
    assert_eq!(ids(&*store, owner, room(9, 700)), ["0", "1", "2"]);
    assert_eq!(
        ids(&*store, owner, room(9, 10)),
        ["0"],
        "the first one alone, whatever its size"
    );
    assert_eq!(ids(&*store, owner, room(0, 10)), [""; 0]);
}

pub(crate) fn rows_in_memory_are_left_out_however_many(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    for part in 0..3 {
        insert(
            &*store,
            owner,
            &many("held", part * 1000..part * 1000 + 1000),
        );
    }
    insert(&*store, owner, &many("left", 0..5));
    let left: HashSet<_> = (0..5)
        .map(|n| MessageKey::of(&key_of(&format!("left{n}"))))
        .collect();
    let rows = store
        .claim(
            owner,
            &sink(),
            Room {
                events: 3,
                bytes: 1000,
            },
            &|key| !left.contains(key),
        )
        .expect("a claim");
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| left.contains(&row.event.message)));
    assert!(
        store
            .claim(owner, &sink(), ROOM, &|_| true)
            .expect("a claim")
            .is_empty()
    );
}

pub(crate) fn confirmed_rows_are_gone_and_may_be_confirmed_again(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..10));
    let rows = seqs(&claim_all(&*store, owner));
    for _ in 0..2 {
        store.confirmed(&sink(), &rows[..6]).expect("confirmed");
        assert_eq!(seqs(&claim_all(&*store, owner)).len(), 4);
        assert_eq!(place.count("published"), 6);
    }
    store
        .confirmed(&sink(), &[Seq(i64::MAX)])
        .expect("an unknown row is passed over");
    assert_eq!(backlog(&*store).depth, 4);
}

pub(crate) fn confirms_ride_on_the_commit_of_new_events(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..10));
    let mut rows = seqs(&claim_all(&*store, owner));
    rows.truncate(6);
    rows.push(Seq(i64::MAX));
    let (inserted, told) = store
        .insert_and_confirm(owner, &sinks(), &many("b", 0..5), confirms(&sink(), &rows))
        .expect("stored");
    assert_eq!(
        (inserted.iter().filter_map(accepted).count(), told),
        (5, true)
    );
    let (inserted, told) = store
        .insert_and_confirm(owner, &sinks(), &many("b", 0..5), confirms(&sink(), &rows))
        .expect("known, and told again");
    assert!(
        told && inserted
            .iter()
            .all(|inserted| matches!(inserted, Inserted::Duplicate(_))),
        "{inserted:?}"
    );
    let left = claim_all(&*store, owner);
    assert_eq!(left.len(), 9, "four of the first ones, and the new ones");
    assert!(left.iter().all(|row| !rows.contains(&row.seq)));
    assert_eq!(place.count("published"), 6);
}

pub(crate) fn confirms_on_a_commit_that_fails_are_to_be_told_again(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..10));
    let rows = seqs(&claim_all(&*store, owner));

    place.execute("ALTER TABLE event RENAME TO elsewhere");
    store
        .insert_and_confirm(owner, &sinks(), &many("b", 0..40), confirms(&sink(), &rows))
        .expect_err("nowhere to put them");
    place.execute("ALTER TABLE elsewhere RENAME TO event");
    assert_eq!(seqs(&claim_all(&*store, owner)), rows, "all or nothing");

    place.refuse("bad");
    let (inserted, told) = store
        .insert_and_confirm(
            owner,
            &sinks(),
            &batch([event("bad", "x"), event("good", "x")]),
            confirms(&sink(), &rows),
        )
        .expect("the good one");
    assert_eq!(
        (inserted.iter().filter_map(accepted).count(), told),
        (1, false)
    );
    assert_eq!(backlog(&*store).depth, 11);
    assert_eq!(place.count("published"), 0);
}

pub(crate) fn events_wait_until_they_are_confirmed_or_parked(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..3));
    let rows = claim_all(&*store, owner);
    let mut asked = seqs(&rows);
    asked.push(Seq(i64::MAX));
    assert_eq!(
        store.waiting(&asked).expect("an answer"),
        [true, true, true, false]
    );
    store
        .postpone(&sink(), &[rows[0].seq], LONG)
        .expect("postponed");
    store.confirmed(&sink(), &[rows[1].seq]).expect("confirmed");
    store
        .park(&sink(), rows[2].seq, "too large")
        .expect("parked");
    asked.reverse();
    assert_eq!(
        store.waiting(&asked).expect("an answer"),
        [false, false, false, true],
        "in the order of the question"
    );
    assert!(store.waiting(&[]).expect("an answer").is_empty());
}

pub(crate) fn postponed_rows_wait_and_count_their_attempts(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    store_in_order(&*store, owner, &[1, 1, 1]);
    let rows = claim_all(&*store, owner);
    store
        .postpone(&sink(), &[rows[0].seq], LONG)
        .expect("postponed");
    assert_eq!(ids(&*store, owner, ROOM), ["1", "2"]);
    store
        .postpone(&sink(), &[rows[1].seq, rows[2].seq], Duration::ZERO)
        .expect("postponed");
    store
        .postpone(&sink(), &[rows[1].seq], Duration::ZERO)
        .expect("postponed");
    let mut again: Vec<_> = claim_all(&*store, owner)
        .into_iter()
        .map(|row| (row.event.event_id.to_string(), row.attempts))
        .collect();
    again.sort();
    assert_eq!(again, [("1".into(), 2), ("2".into(), 1)]);
    assert_eq!(backlog(&*store).depth, 3, "it waits all the same");
}

pub(crate) fn parked_rows_leave_the_outbox_and_are_counted(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..3));
    let rows = seqs(&claim_all(&*store, owner));
    for _ in 0..2 {
        store
            .park(&sink(), rows[0], "too large for the queue: \u{0}")
            .expect("parked");
    }
    assert_eq!(seqs(&claim_all(&*store, owner)), rows[1..]);
    let backlog = backlog(&*store);
    assert_eq!((backlog.depth, backlog.parked), (2, 1));
    assert_eq!(place.count("event"), 3, "the event is kept");
}

pub(crate) fn rows_of_the_living_are_left_alone_and_those_of_the_dead_taken_over(
    place: &impl Place,
) {
    let store = place.store();
    let (living, dead, me) = (alive(&*store), alive(&*store), alive(&*store));
    insert(&*store, living, &many("living", 0..5));
    insert(&*store, dead, &many("dead", 0..50));
    insert(&*store, me, &many("mine", 0..5));
    assert_eq!(claim_all(&*store, me).len(), 5, "both others are alive");
    store
        .renew_lease(dead, Duration::ZERO)
        .expect("a lease that has run out");
    let mut got = HashSet::new();
    while got.len() < 55 {
        let rows = store
            .claim(
                me,
                &sink(),
                Room {
                    events: 20,
                    bytes: 10_000,
                },
                &|key| got.contains(key),
            )
            .expect("a claim");
        assert!(
            !rows.is_empty() && rows.len() <= 20,
            "{} after {}",
            rows.len(),
            got.len()
        );
        got.extend(rows.iter().map(|row| row.event.message));
    }
    assert_eq!(claim_all(&*store, living).len(), 5);
    store.renew_lease(dead, LONG).expect("it woke up");
    assert!(
        claim_all(&*store, dead).is_empty(),
        "its rows are lost to it"
    );
}

pub(crate) fn an_owner_that_was_never_seen_alive_is_dead(place: &impl Place) {
    let store = place.store();
    let (ghosts, me) = ([InstanceId::random(), InstanceId::random()], alive(&*store));
    for (n, ghost) in ghosts.iter().enumerate() {
        insert(&*store, *ghost, &many(&format!("ghost{n} "), 0..5));
    }
    assert_eq!(claim_all(&*store, me).len(), 10);
}

pub(crate) fn an_instance_without_a_lease_takes_nothing_over(place: &impl Place) {
    let store = place.store();
    insert(&*store, InstanceId::random(), &many("lost", 0..5));
    let me = InstanceId::random();
    insert(&*store, me, &many("mine", 0..3));
    assert_eq!(claim_all(&*store, me).len(), 3);
    store.renew_lease(me, LONG).expect("a lease");
    assert_eq!(claim_all(&*store, me).len(), 8);
}

pub(crate) fn released_rows_are_free_at_once(place: &impl Place) {
    let store = place.store();
    let (gone, me) = (alive(&*store), alive(&*store));
    insert(&*store, gone, &many("a", 0..5));
    assert!(claim_all(&*store, me).is_empty());
    store.release(gone).expect("released");
    assert_eq!(claim_all(&*store, me).len(), 5);
}

pub(crate) fn two_that_take_over_share_the_rows(place: &impl Place) {
    let (one, other) = (place.store(), place.store());
    let lost = InstanceId::random();
    insert(&*one, lost, &many("a", 0..300));
    let got: Vec<Vec<Seq>> = thread::scope(|scope| {
        let takers: Vec<_> = [&one, &other, &one, &other]
            .map(|store| {
                scope.spawn(move || {
                    let me = alive(&**store);
                    // A claim may find nothing because others hold the rows at that moment; what they took stays theirs.
                    for _ in 0..20 {
                        store
                            .claim(
                                me,
                                &sink(),
                                Room {
                                    events: 25,
                                    bytes: 100_000,
                                },
                                &|_| true,
                            )
                            .expect("a claim");
                    }
                    seqs(&claim_all(&**store, me))
                })
            })
            .into();
        takers
            .into_iter()
            .map(|taker| taker.join().expect("a taker"))
            .collect()
    });
    let mut all: Vec<Seq> = got.into_iter().flatten().collect();
    all.sort();
    let taken = all.len();
    all.dedup();
    assert_eq!((taken, all.len()), (300, 300), "each row has one taker");
}

/// Three instances come, go, store, confirm and claim in any order; a model says whose row is whose.
pub(crate) fn in_any_order_of_things_a_row_has_one_owner(place: &impl Place) {
    let store = place.store();
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..20 {
        let owners: Vec<_> = (0..3).map(|_| InstanceId::random()).collect();
        let (mut alive, mut rows) = ([false; 3], BTreeMap::<Seq, usize>::new());
        for step in 0..60 {
            let who = rng.usize(..3);
            let owner = owners[who];
            let lease = |lease| store.renew_lease(owner, lease).expect("a lease");
            match rng.u8(..8) {
                0 | 1 => {
                    let count = rng.usize(1..4);
                    let stored =
                        insert(&*store, owner, &many(&format!("{round}-{step}-"), 0..count));
                    rows.extend(
                        stored
                            .iter()
                            .map(|inserted| (accepted(inserted).expect("a new event"), who)),
                    );
                }
                2 => {
                    lease(LONG);
                    alive[who] = true;
                }
                3 => {
                    lease(Duration::ZERO);
                    alive[who] = false;
                }
                4 => {
                    store.release(owner).expect("released");
                    alive[who] = false;
                }
                5 => {
                    let some: Vec<_> = rows
                        .iter()
                        .filter(|(_, of)| **of == who && rng.bool())
                        .map(|(seq, _)| *seq)
                        .collect();
                    store.confirmed(&sink(), &some).expect("confirmed");
                    rows.retain(|seq, _| !some.contains(seq));
                }
                _ => {
                    if alive[who] {
                        rows.values_mut()
                            .filter(|of| !alive[**of])
                            .for_each(|of| *of = who);
                    }
                    let expected: BTreeSet<_> = rows
                        .iter()
                        .filter(|(_, of)| **of == who)
                        .map(|(seq, _)| *seq)
                        .collect();
                    let claimed: BTreeSet<_> =
                        seqs(&claim_all(&*store, owner)).into_iter().collect();
                    assert_eq!(
                        claimed, expected,
                        "round {round}, step {step}: instance {who}, alive: {alive:?}"
                    );
                }
            }
        }
        assert_eq!(backlog(&*store).depth, rows.len() as u64);
        for owner in &owners {
            store.release(*owner).expect("released");
        }
        let all = seqs(&claim_all(&*store, self::alive(&*store)));
        assert_eq!(
            all.iter().copied().collect::<BTreeSet<_>>(),
            rows.keys().copied().collect()
        );
        store.confirmed(&sink(), &all).expect("confirmed");
    }
}
