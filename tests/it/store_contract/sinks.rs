//! Several sinks: an event has a row of the outbox for each.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use hookweir::domain::delivery::InstanceId;
use hookweir::domain::sink::{EventFilter, SinkName, Sinks, TypePattern};
use hookweir::store::trace::Traced;
use hookweir::store::{Backlog, NewEvent, Retention, Seq, Store};

use super::{LONG, Place, ROOM, accepted, alive, batch, confirms, event, many, seqs, sink, sinks};

const NOW: Retention = Retention {
    events: Duration::ZERO,
    conflicts: LONG,
    refused: LONG,
    keys: LONG,
};

fn kafka() -> SinkName {
    SinkName::parse("kafka").expect("a name")
}

fn both() -> Sinks {
    Sinks::new(&[sink(), kafka()]).expect("two sinks")
}

/// Stores new events for both sinks.
fn store_for_both(store: &dyn Store, owner: InstanceId, prefix: &str, count: usize) -> Vec<Seq> {
    let inserted = store
        .insert(owner, &both(), &many(prefix, 0..count))
        .expect("stored");
    let stored: Vec<Seq> = inserted.iter().filter_map(accepted).collect();
    assert_eq!(stored.len(), count);
    stored
}

fn claim(store: &dyn Store, owner: InstanceId, sink: &SinkName) -> Vec<Seq> {
    let mut rows = seqs(&store.claim(owner, sink, ROOM, &|_| false).expect("a claim"));
    rows.sort();
    rows
}

fn backlog(store: &dyn Store, sink: &SinkName) -> Backlog {
    let backlogs = store.backlog().expect("a backlog");
    let of_sink = backlogs.into_iter().find(|of| of.sink == *sink);
    of_sink.unwrap_or_default()
}

pub(crate) fn each_sink_has_a_row_of_its_own_and_none_holds_up_another(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows = store_for_both(&*store, owner, "a", 10);
    assert_eq!(place.count("outbox"), 20);
    assert_eq!(claim(&*store, owner, &sink()), rows);
    assert_eq!(claim(&*store, owner, &kafka()), rows);

    store.confirmed(&sink(), &rows[..6]).expect("confirmed");
    store
        .postpone(&kafka(), &rows[..2], LONG)
        .expect("postponed");
    assert_eq!(claim(&*store, owner, &sink()), rows[6..]);
    assert_eq!(claim(&*store, owner, &kafka()), rows[2..]);
    let (first, second) = (backlog(&*store, &sink()), backlog(&*store, &kafka()));
    assert_eq!((first.depth, first.first), (4, Some(rows[6])));
    assert_eq!((second.depth, second.first), (10, Some(rows[0])));

    let told = store
        .insert_and_confirm(owner, &both(), &many("b", 0..5), confirms(&kafka(), &rows))
        .expect("stored");
    assert!(told.1, "with the commit");
    assert_eq!(backlog(&*store, &sink()).depth, 9);
    assert_eq!(backlog(&*store, &kafka()).depth, 5);
    // Six of one sink and ten of the other.
    assert_eq!(place.count("published"), 16);
    assert_eq!(
        store.waiting(&rows),
        Ok([vec![false; 6], vec![true; 4]].concat()),
        "while any sink has a row"
    );
}

pub(crate) fn an_event_stays_until_no_sink_has_a_row_of_it(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows = store_for_both(&*store, owner, "a", 5);
    store.confirmed(&sink(), &rows).expect("confirmed");
    store.confirmed(&kafka(), &rows[..1]).expect("confirmed");
    store.park(&kafka(), rows[1], "no").expect("parked");
    thread::sleep(Duration::from_millis(20));
    store.prune(NOW, 100).expect("pruned");
    assert_eq!(place.count("event"), 4, "one waits for no sink");
    assert_eq!(claim(&*store, owner, &kafka()), rows[2..]);

    store.confirmed(&kafka(), &rows[2..]).expect("confirmed");
    thread::sleep(Duration::from_millis(20));
    store.prune(NOW, 100).expect("pruned");
    assert_eq!(place.count("event"), 1, "the parked one");
    assert_eq!(place.count("published"), 0);
    assert_eq!(store.discard_parked(&kafka(), &rows[1..2]), Ok(1));
    assert_eq!(place.count("event"), 0);
}

pub(crate) fn a_parked_event_is_parked_for_one_sink(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows = store_for_both(&*store, owner, "a", 3);
    store.park(&kafka(), rows[0], "too large").expect("parked");
    assert_eq!(claim(&*store, owner, &sink()), rows, "the other goes on");
    assert_eq!(claim(&*store, owner, &kafka()), rows[1..]);
    let list = |sink| store.parked(&sink, Seq(i64::MIN), 10).expect("listed");
    assert!(list(sink()).is_empty());
    let listed = list(kafka());
    assert_eq!(
        (
            listed.len(),
            listed[0].seq,
            &listed[0].sink,
            &*listed[0].reason
        ),
        (1, rows[0], &kafka(), "too large")
    );
    let parked = |sink| backlog(&*store, &sink).parked;
    assert_eq!((parked(sink()), parked(kafka())), (0, 1));

    assert_eq!(store.retry_parked(&sink(), &rows), Ok(0), "of another sink");
    assert_eq!(store.discard_parked(&sink(), &rows), Ok(0));
    assert_eq!(store.retry_parked(&kafka(), &rows), Ok(1));
    assert_eq!(claim(&*store, owner, &kafka()), rows);

    store.park(&sink(), rows[0], "too large").expect("parked");
    store.park(&kafka(), rows[0], "too large").expect("parked");
    assert_eq!(store.discard_parked(&sink(), &rows[..1]), Ok(1));
    assert_eq!(place.count("event"), 3, "the other sink may want it yet");
    assert_eq!(store.retry_parked(&kafka(), &rows[..1]), Ok(1));
    assert_eq!(claim(&*store, owner, &kafka()), rows);
}

/// As after `sinks move`: the sink that has refused an event gets it again, and refuses it again.
pub(crate) fn an_event_that_waits_where_it_is_parked_can_be_refused_again(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows = store_for_both(&*store, owner, "a", 1);
    store.park(&kafka(), rows[0], "too large").expect("parked");
    assert_eq!(store.move_waiting(&sink(), &kafka(), 10), Ok(1));
    let waits = claim(&*store, alive(&*store), &kafka());
    assert_eq!(waits, rows, "it waits where it is parked");
    let refused = store.park(&kafka(), rows[0], "no topic");
    refused.expect("parked again");
    assert_eq!((place.count("outbox"), place.count("parked")), (0, 1));
    assert_eq!(place.count("parked WHERE reason = 'no topic'"), 1);
    assert_eq!(store.retry_parked(&kafka(), &rows), Ok(1));
    assert_eq!((place.count("outbox"), place.count("parked")), (1, 0));
}

/// The decision is recorded by this count.
pub(crate) fn an_event_that_waits_where_it_is_parked_is_counted_when_it_is_put_back(
    place: &impl Place,
) {
    let store = place.store();
    let rows = store_for_both(&*store, alive(&*store), "a", 1);
    store.park(&kafka(), rows[0], "too large").expect("parked");
    assert_eq!(store.move_waiting(&sink(), &kafka(), 10), Ok(1));
    assert_eq!(store.retry_parked(&kafka(), &rows), Ok(1));
    assert_eq!((place.count("outbox"), place.count("parked")), (1, 0));
}

pub(crate) fn two_sinks_that_confirm_at_once_both_count(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows = store_for_both(&*store, owner, "a", 200);
    thread::scope(|scope| {
        for sink in [sink(), kafka()] {
            let (store, rows) = (&store, &rows);
            scope.spawn(move || {
                for row in rows.chunks(5) {
                    store.confirmed(&sink, row).expect("confirmed");
                }
            });
        }
    });
    assert_eq!(place.count("outbox"), 0);
    assert_eq!(place.count("published"), 400, "each confirm has a row");
    thread::sleep(Duration::from_millis(20));
    store.prune(NOW, 1000).expect("pruned");
    assert_eq!((place.count("event"), place.count("published")), (0, 0));
}

pub(crate) fn a_trace_shows_both_confirms_of_two_sinks_at_one_time(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows = store_for_both(&*store, owner, "a", 3);
    store.confirmed(&sink(), &rows).expect("confirmed");
    store.confirmed(&kafka(), &rows).expect("confirmed");
    // As if no time had passed between them, by the clock that the database counts in.
    if place.is_sqlite() {
        place.execute("UPDATE published SET at = (SELECT min(at) FROM published)");
    }
    for row in &rows {
        let (event, _) = store.event(*row).expect("read").expect("kept");
        let of = Traced {
            seq: *row,
            received_at: event.received_at,
        };
        let trace = store.trace(of).expect("traced");
        assert_eq!(trace.confirmed_at.len(), 2, "{trace:?}");
    }
}

pub(crate) fn confirms_of_the_release_before_are_stored_traced_and_deleted(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows = store_for_both(&*store, owner, "a", 3);
    // The statements of the release before, on the present tables.
    for Seq(row) in &rows {
        let (at, clause) = match place.is_sqlite() {
            true => ("unixepoch() * 1000", "OR IGNORE"),
            false => ("now()", ""),
        };
        place.execute(&format!(
            "INSERT {clause} INTO published (seq, at) VALUES ({row}, {at})"
        ));
        place.execute(&format!(
            "DELETE FROM outbox WHERE seq = {row} AND sink = '{}'",
            sink()
        ));
    }
    store.confirmed(&kafka(), &rows).expect("confirmed");
    assert_eq!(place.count("published"), 6);
    assert_eq!(place.count("published WHERE sink = ''"), 3);
    if place.is_sqlite() {
        place.execute("DELETE FROM published WHERE (at, seq) IN (SELECT at, seq FROM published ORDER BY at, seq LIMIT 1)");
        assert_eq!(place.count("published"), 5);
    }
    thread::sleep(Duration::from_millis(20));
    store.prune(NOW, 1000).expect("pruned");
    assert_eq!(place.count("published"), 0);
}

pub(crate) fn rows_of_a_dead_instance_are_taken_over_by_the_same_sink(place: &impl Place) {
    let store = place.store();
    let rows = store_for_both(&*store, InstanceId::random(), "a", 4);
    let (one, other) = (alive(&*store), alive(&*store));
    assert_eq!(claim(&*store, one, &sink()), rows);
    assert_eq!(claim(&*store, other, &kafka()), rows);
    assert!(
        claim(&*store, one, &kafka()).is_empty(),
        "they have an owner"
    );
    assert!(claim(&*store, other, &sink()).is_empty());
}

pub(crate) fn rows_of_a_sink_that_was_taken_out_are_listed_moved_and_discarded(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows = store_for_both(&*store, owner, "a", 10);
    store.confirmed(&sink(), &rows[..8]).expect("confirmed");
    store
        .insert(owner, &sinks(), &many("b", 0..3))
        .expect("stored");
    // An instance that does not publish there leaves them alone.
    let heir = alive(&*store);
    store.release(owner).expect("released");
    assert_eq!(claim(&*store, heir, &sink()).len(), 5);
    let backlogs = store.backlog().expect("a backlog");
    let names: Vec<_> = backlogs
        .iter()
        .map(|of| (of.sink.as_str(), of.depth))
        .collect();
    assert_eq!(names, [("default", 5), ("kafka", 10)]);

    let lake = SinkName::parse("lake").expect("a name");
    assert_eq!(store.move_waiting(&kafka(), &kafka(), 10), Ok(0));
    assert_eq!(
        store.move_waiting(&kafka(), &lake, 4),
        Ok(4),
        "so many at a time"
    );
    assert_eq!(claim(&*store, heir, &lake).len(), 4);
    assert_eq!(store.move_waiting(&kafka(), &sink(), 100), Ok(6));
    assert_eq!(store.move_waiting(&kafka(), &sink(), 100), Ok(0));
    assert!(claim(&*store, heir, &kafka()).is_empty());
    let waits = place.count("outbox");
    assert!((9..=15).contains(&waits), "{waits}: none is doubled");
    let all = claim(&*store, heir, &sink()).len() as i64;
    assert_eq!(waits, 4 + all);

    assert_eq!(store.discard_waiting(&lake, 3), Ok(3), "so many at a time");
    assert_eq!(store.discard_waiting(&lake, 3), Ok(1));
    assert_eq!(store.discard_waiting(&lake, 3), Ok(0));
    assert_eq!(place.count("event"), 13, "kept like published ones");
    store
        .confirmed(&sink(), &claim(&*store, heir, &sink()))
        .expect("confirmed");
    assert_eq!(store.backlog(), Ok(Vec::new()));
    thread::sleep(Duration::from_millis(20));
    store.prune(NOW, 100).expect("pruned");
    assert_eq!(place.count("event"), 0);
}

/// As an instance of the release before writes them, which works beside this one on PostgreSQL.
pub(crate) fn rows_without_a_sink_belong_to_the_default_one(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let rows: Vec<Seq> = store
        .insert(owner, &sinks(), &many("a", 0..2))
        .expect("stored")
        .iter()
        .filter_map(accepted)
        .collect();
    place.execute(
        "CREATE TABLE old AS SELECT seq, key, owner, bytes, attempts, since, due_at FROM outbox;
         DELETE FROM outbox;
         INSERT INTO outbox (seq, key, owner, bytes, attempts, since, due_at) SELECT * FROM old;
         DROP TABLE old",
    );
    store
        .insert(owner, &both(), &many("b", 0..1))
        .expect("stored");
    assert_eq!(claim(&*store, owner, &sink()).len(), 3);
    let (old, new) = (rows[0], rows[1]);
    // Its own statements: it looks at no sink.
    place.execute(&format!(
        "DELETE FROM outbox WHERE seq = {}; UPDATE outbox SET attempts = attempts + 1 WHERE seq = {}",
        old.0, new.0
    ));
    assert_eq!(claim(&*store, owner, &sink()).len(), 2);
    store.park(&sink(), new, "no").expect("parked");
    place.execute("UPDATE parked SET reason = 'yes'");
    assert_eq!(backlog(&*store, &sink()).parked, 1);
}

/// Both sinks: the first for orders only, and none for pings.
fn filtered() -> Sinks {
    let patterns = |list: &[&str]| {
        let parsed = list.iter().map(|pattern| TypePattern::parse(pattern));
        parsed.collect::<Result<_, _>>().expect("patterns")
    };
    let orders = EventFilter {
        only: patterns(&["order.*"]),
        except: Vec::new(),
    };
    let all_but_pings = EventFilter {
        only: Vec::new(),
        except: patterns(&["ping"]),
    };
    let filters = vec![(sink(), orders), (kafka(), all_but_pings)];
    Sinks::routed(filters, HashMap::new()).expect("two sinks")
}

fn of_type(id: &str, event_type: Option<&str>) -> NewEvent {
    NewEvent {
        event_type: event_type.map(Into::into),
        ..event(id, "a body")
    }
}

pub(crate) fn an_event_waits_for_the_sinks_that_want_it_and_is_kept_if_none_does(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    // In order of their keys: each id with the sinks that want its type.
    let sent = batch([
        of_type("a", Some("order.paid")),
        of_type("b", Some("ping")),
        of_type("c", Some("refund")),
        of_type("d", None),
    ]);
    let inserted = store.insert(owner, &filtered(), &sent).expect("stored");
    let row = |id: &str| {
        let mut events = sent.iter().zip(&inserted);
        let found = events.find(|(event, _)| event.event_id.as_str() == id);
        found
            .and_then(|(_, inserted)| accepted(inserted))
            .expect("new")
    };
    assert_eq!(claim(&*store, owner, &sink()), [row("a")]);
    let mut others = vec![row("a"), row("c"), row("d")];
    others.sort();
    assert_eq!(claim(&*store, owner, &kafka()), others);
    assert_eq!(store.waiting(&[row("b"), row("c")]), Ok(vec![false, true]));

    // Known ones among new ones: the same statement in its wary form.
    let again = batch([
        of_type("b", Some("ping")),
        of_type("e", Some("ping")),
        of_type("f", Some("order.paid")),
    ]);
    let inserted = store.insert(owner, &filtered(), &again).expect("stored");
    assert_eq!(inserted.iter().filter_map(accepted).count(), 2);
    assert_eq!(claim(&*store, owner, &sink()).len(), 2);
    // All of one batch to one sink: the plain statement.
    let refunds = batch((0..3).map(|n| of_type(&format!("r{n}"), Some("refund"))));
    store.insert(owner, &filtered(), &refunds).expect("stored");
    assert_eq!(claim(&*store, owner, &sink()).len(), 2);
    assert_eq!(claim(&*store, owner, &kafka()).len(), 7);

    assert_eq!(place.count("event"), 9);
    assert_eq!(place.count("published"), 2, "those that no sink wants");
    let keep = Retention {
        events: LONG,
        ..NOW
    };
    thread::sleep(Duration::from_millis(20));
    store.prune(keep, 100).expect("pruned");
    assert_eq!(place.count("event"), 9, "kept as long as published ones");
    store.prune(NOW, 100).expect("pruned");
    assert_eq!(place.count("event"), 7, "and then deleted");
}
