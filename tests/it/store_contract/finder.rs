//! Further questions of an operator: a text in bodies, and the instances with their leases.

use std::time::Duration;

use hookweir::domain::delivery::InstanceId;
use hookweir::store::Seq;

use super::{LONG, Place, accepted, alive, event, insert_one};

pub(crate) fn a_text_is_found_in_bodies_by_its_bytes_and_only_in_the_events_asked_for(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    let bodies: [&[u8]; 5] = [
        b"{\"name\":\"Ada\"}",
        b"ada",
        b"\xff\x00Ada%",
        b"",
        b"Bob: A_a, 'Ada'",
    ];
    let stored = bodies.iter().enumerate().map(|(n, body)| {
        let inserted = insert_one(&*store, owner, event(&format!("evt_{n}"), body.to_vec()));
        accepted(&inserted).expect("accepted")
    });
    let numbers: Vec<Seq> = stored.collect();
    let found = |numbers: &[Seq], text: &[u8]| {
        let mut found = store.with_text(numbers, text).expect("searched");
        found.sort_unstable();
        found
    };
    assert_eq!(
        found(&numbers, b"Ada"),
        [numbers[0], numbers[2], numbers[4]]
    );
    assert_eq!(found(&numbers[1..3], b"Ada"), [numbers[2]]);
    assert_eq!(found(&numbers, b"\xff\x00A"), [numbers[2]]);
    for nowhere in [&b"A%a"[..], b"A__", b"' OR 1 = 1", b"AdaX"] {
        assert_eq!(found(&numbers, nowhere), [], "{nowhere:?}");
    }
    assert_eq!(found(&[], b"Ada"), []);
}

pub(crate) fn leases_are_listed_with_their_ends(place: &impl Place) {
    let store = place.store();
    let (longer, shorter, over) = (alive(&*store), InstanceId::random(), InstanceId::random());
    store.renew_lease(shorter, LONG / 2).expect("a lease");
    store.renew_lease(over, Duration::ZERO).expect("a lease");
    // A lease of no time is over in the next millisecond at the latest.
    std::thread::sleep(Duration::from_millis(5));
    let listed = store.leases(10).expect("listed");
    let owners: Vec<_> = listed.iter().map(|of| (of.owner, of.alive)).collect();
    assert_eq!(owners, [(longer, true), (shorter, true), (over, false)]);
    assert!(listed[0].until > listed[1].until);
    assert_eq!(store.leases(1).expect("listed").len(), 1);
    store.release(longer).expect("released");
    assert_eq!(store.leases(10).expect("listed").len(), 2);
}
