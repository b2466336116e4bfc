//! Parked events: an operator lists them, puts them back or discards them.

use hookweir::domain::delivery::InstanceId;
use hookweir::store::{Inserted, Retention, Seq};

use super::{
    LONG, Place, accepted, alive, backlog, claim_all, event, insert, insert_one, many, sink,
};

pub(crate) fn a_parked_event_comes_back_under_the_same_message_id(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let sent = many("a", 0..5);
    insert(&*store, owner, &sent);
    let rows = claim_all(&*store, owner);
    for row in &rows[..3] {
        store.park(&sink(), row.seq, "too large").expect("parked");
    }
    let listed = store.parked(&sink(), Seq(i64::MIN), 2).expect("listed");
    assert_eq!(listed.len(), 2);
    let listed: Vec<_> = listed
        .iter()
        .chain(&store.parked(&sink(), listed[1].seq, 10).expect("listed"))
        .cloned()
        .collect();
    assert_eq!(listed.len(), 3);
    for parked in &listed {
        let row = rows
            .iter()
            .find(|row| row.seq == parked.seq)
            .expect("one of them");
        assert_eq!(
            (parked.message_id, parked.event_id.as_str()),
            (row.event.message_id(), row.event.event_id.as_str())
        );
        assert_eq!(
            (parked.reason.as_str(), parked.bytes),
            ("too large", row.event.body.len() as u64)
        );
        let shown = store
            .parked_event(parked.seq)
            .expect("shown")
            .expect("it is parked");
        assert_eq!(shown.event.body, row.event.body);
    }
    assert!(
        store.parked_event(rows[4].seq).expect("none").is_none(),
        "it waits, and is not parked"
    );

    assert_eq!(
        store.retry_parked(&sink(), &[listed[0].seq, listed[1].seq, rows[4].seq]),
        Ok(2),
        "what is not parked stays where it is"
    );
    assert_eq!((backlog(&*store).depth, backlog(&*store).parked), (4, 1));
    let again = claim_all(&*store, owner);
    let ids = |rows: &[hookweir::store::StoredEvent]| {
        let mut ids: Vec<_> = rows
            .iter()
            .map(|row| (row.seq, row.event.message_id(), row.event.body.clone()))
            .collect();
        ids.sort();
        ids
    };
    let expected: Vec<_> = rows
        .iter()
        .filter(|row| row.seq != listed[2].seq)
        .cloned()
        .collect();
    assert_eq!(
        ids(&again),
        ids(&expected),
        "another instance takes it over, as it was"
    );
    assert_eq!(store.retry_parked(&sink(), &[listed[0].seq]), Ok(0), "once");
}

pub(crate) fn a_discarded_event_is_gone_and_its_redelivery_a_duplicate(place: &impl Place) {
    let store = place.store();
    let owner = InstanceId::random();
    let seq = accepted(&insert_one(&*store, owner, event("a", "x"))).expect("new");
    let stays = accepted(&insert_one(&*store, owner, event("b", "x"))).expect("new");
    assert_eq!(
        store.discard_parked(&sink(), &[seq]),
        Ok(0),
        "it is not parked"
    );
    store.park(&sink(), seq, "no").expect("parked");
    store.park(&sink(), stays, "no").expect("parked");
    assert_eq!(store.discard_parked(&sink(), &[seq]), Ok(1));
    assert_eq!(store.retry_parked(&sink(), &[seq]), Ok(0));
    assert!(matches!(
        insert_one(&*store, owner, event("a", "x")),
        Inserted::Duplicate(_)
    ));
    assert_eq!(
        (
            place.count("event"),
            place.count("parked"),
            place.count("outbox")
        ),
        (1, 1, 0)
    );
    store
        .prune(
            Retention {
                events: LONG,
                conflicts: LONG,
                refused: LONG,
                keys: LONG,
            },
            10,
        )
        .expect("pruned");
    assert_eq!(store.retry_parked(&sink(), &[stays]), Ok(1));
}
