//! Jobs that put stored events into the outbox again.

use std::collections::BTreeSet;
use std::time::Duration;

use hookweir::domain::delivery::InstanceId;
use hookweir::domain::event_order::EventOrder;
use hookweir::domain::sink::{SinkName, Sinks};
use hookweir::store::catalog::{EventQuery, EventState, LOOK};
use hookweir::store::republish::{Choice, JobId, JobState, NewJob, Stepped};
use hookweir::store::{AuditAction, AuditEntry, Retention, Seq, Store};

use super::{
    Place, accepted, alive, claim_all, event, insert, insert_one, many, seqs, sink, sinks, source,
};

/// Fast enough for a step of the largest size.
const FAST: u32 = 10_000;
const NOW: Retention = Retention {
    events: Duration::ZERO,
    conflicts: Duration::from_secs(3600),
    refused: Duration::from_secs(3600),
    keys: Duration::from_secs(3600),
};

fn entry(action: AuditAction) -> AuditEntry {
    AuditEntry {
        instance: InstanceId::random(),
        caller: "token ann".to_owned(),
        action,
        subject: "a job".to_owned(),
        count: 0,
        reason: Some("a consumer lost them".to_owned()),
    }
}

fn begin(store: &dyn Store, pace: u32) -> JobId {
    let id = JobId::new();
    let job = NewJob {
        id,
        caller: "token ann".to_owned(),
        choice: "{}".to_owned(),
        pace,
        expected: Some(7),
    };
    let entry = entry(AuditAction::Republish);
    store.begin_job(&job, &entry).expect("begun");
    store.begin_job(&job, &entry).expect("the same again");
    id
}

/// Makes steps until the job has ended. Returns their number.
fn run(store: &dyn Store, id: JobId, choice: &Choice, sinks: &Sinks) -> usize {
    for steps in 1..10_000 {
        match store.step(id, choice, sinks).expect("a step") {
            Stepped::Ended => return steps,
            Stepped::DueIn(wait) => std::thread::sleep(wait),
        }
    }
    panic!("the job does not end");
}

/// Stores events, and has the sink confirm them.
fn published(store: &dyn Store, owner: InstanceId, prefix: &str, count: usize) -> Vec<Seq> {
    let inserted = insert(store, owner, &many(prefix, 0..count));
    let seqs: Vec<Seq> = inserted.iter().filter_map(accepted).collect();
    store.confirmed(&sink(), &seqs).expect("confirmed");
    seqs
}

pub(crate) fn events_are_published_again_under_the_same_message_ids_and_marked(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let sent = many("a", 0..5);
    insert(&*store, owner, &sent);
    let first = claim_all(&*store, owner);
    store.confirmed(&sink(), &seqs(&first)).expect("confirmed");
    let id = begin(&*store, FAST);
    let later = accepted(&insert_one(&*store, owner, event("later", "x"))).expect("new");
    store.confirmed(&sink(), &[later]).expect("confirmed");
    run(&*store, id, &Choice::default(), &sinks());

    let again = claim_all(&*store, owner);
    let ids = |rows: &[hookweir::store::StoredEvent]| -> BTreeSet<_> {
        rows.iter()
            .map(|row| (row.seq, row.event.message_id(), row.event.body.clone()))
            .collect()
    };
    assert_eq!(ids(&again), ids(&first), "an event of later is not meant");
    assert!(first.iter().all(|row| row.republished.is_none()));
    assert!(again.iter().all(|row| row.republished == Some(id)));
    let job = store.job(id).expect("read").expect("kept");
    assert_eq!((job.state, job.events, job.copies), (JobState::Done, 5, 5));
    assert_eq!((job.new.expected, job.new.pace), (Some(7), FAST));
    assert_eq!(place.count("audit WHERE action = 'republish'"), 1);
    assert_eq!(
        store.step(id, &Choice::default(), &sinks()),
        Ok(Stepped::Ended)
    );
    assert!(store.running_jobs(10).expect("read").is_empty());
}

pub(crate) fn what_waits_or_is_parked_is_left_to_that_and_a_second_job_doubles_nothing(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    let seqs_of = published(&*store, owner, "a", 3);
    let waits = accepted(&insert_one(&*store, owner, event("waits", "x"))).expect("new");
    let parked = accepted(&insert_one(&*store, owner, event("parked", "x"))).expect("new");
    store.park(&sink(), parked, "no").expect("parked");
    let (one, two) = (begin(&*store, FAST), begin(&*store, FAST));
    run(&*store, one, &Choice::default(), &sinks());
    run(&*store, two, &Choice::default(), &sinks());
    let copies = |id| store.job(id).expect("read").expect("kept").copies;
    assert_eq!((copies(one), copies(two)), (3, 0));
    assert_eq!(place.count("outbox"), 4);
    let rows = claim_all(&*store, owner);
    let marked = |seq: Seq| {
        let row = rows.iter().find(|row| row.seq == seq);
        row.expect("claimed").republished
    };
    assert_eq!(marked(waits), None);
    assert_eq!(marked(seqs_of[0]), Some(one));
}

pub(crate) fn a_choice_by_numbers_source_or_sink_copies_no_other_event(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let all = published(&*store, owner, "a", 6);
    let other = SinkName::parse("other").expect("a name");
    let two = Sinks::new(&[sink(), other.clone()]).expect("two sinks");
    let two = two.with_orders(vec![EventOrder::None, EventOrder::Source]);
    let choice = Choice {
        numbers: Some(vec![all[1], all[4], Seq(1_000_000)]),
        to: Some(other.clone()),
        ..Choice::default()
    };
    run(&*store, begin(&*store, 4), &choice, &two);
    assert_eq!(place.count("outbox"), 2);
    let keyed = format!("outbox WHERE sink = '{other}' AND order_key IS NOT NULL");
    assert_eq!(
        place.count(&keyed),
        2,
        "they have their place at an ordered sink"
    );

    let choice = |query| Choice {
        query,
        ..Choice::default()
    };
    let of_another = EventQuery {
        event_type: Some("order.deleted".into()),
        ..EventQuery::default()
    };
    run(&*store, begin(&*store, FAST), &choice(of_another), &sinks());
    assert_eq!(place.count("outbox"), 2);
    let of_this = EventQuery {
        source: Some(source()),
        ..EventQuery::default()
    };
    run(&*store, begin(&*store, FAST), &choice(of_this), &sinks());
    assert_eq!(place.count("outbox"), 8);
}

/// A look is bounded by the number of events, whatever their numbers.
pub(crate) fn a_job_that_finds_little_pauses_between_steps_and_finds_all(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    published(&*store, owner, "a", LOOK + 1);
    let parked = accepted(&insert_one(&*store, owner, event("parked", "x"))).expect("new");
    store.park(&sink(), parked, "no").expect("parked");
    let choice = |query| Choice {
        query,
        ..Choice::default()
    };
    let of_another = choice(EventQuery {
        event_type: Some("order.deleted".into()),
        ..EventQuery::default()
    });
    let id = begin(&*store, 1);
    let stepped = store.step(id, &of_another, &sinks()).expect("a step");
    let Stepped::DueIn(pause) = stepped else {
        panic!("{LOOK} events are the bound of a step");
    };
    assert!(pause >= Duration::from_millis(50), "{pause:?}");
    run(&*store, id, &of_another, &sinks());
    assert_eq!(store.job(id).expect("read").expect("kept").events, 0);

    // As after a long time in which all was deleted.
    place.execute(&format!(
        "DELETE FROM event WHERE seq <= {}",
        parked.0 - 400
    ));
    for table in ["event", "parked"] {
        place.execute(&format!("UPDATE {table} SET seq = seq + 1000000"));
    }
    let are_parked = choice(EventQuery {
        state: Some(EventState::Parked),
        ..EventQuery::default()
    });
    let id = begin(&*store, 1);
    let steps = run(&*store, id, &are_parked, &sinks());
    assert!(steps < 100, "{steps} steps");
    assert_eq!(store.job(id).expect("read").expect("kept").events, 1);
}

pub(crate) fn a_cancelled_job_puts_nothing_more_into_the_outbox(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    published(&*store, owner, "a", 40);
    let id = begin(&*store, 40);
    let stepped = store
        .step(id, &Choice::default(), &sinks())
        .expect("a step");
    assert!(matches!(stepped, Stepped::DueIn(wait) if wait <= Duration::from_secs(1)));
    let cancel = entry(AuditAction::CancelJob);
    assert_eq!(store.cancel_job(id, &cancel), Ok(true));
    assert_eq!(store.cancel_job(id, &cancel), Ok(false));
    run(&*store, id, &Choice::default(), &sinks());
    assert_eq!(place.count("outbox"), 10, "a quarter of a second");
    assert_eq!(place.count("audit WHERE action = 'cancel job'"), 1);
    let listed = store.jobs(10).expect("listed");
    assert_eq!(listed[0].state, JobState::Cancelled);
}

/// By the times of the rows alone: a machine that is slow makes a job later, never earlier.
pub(crate) fn a_job_that_is_asked_for_its_steps_at_once_copies_nothing_before_its_pace_allows(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    published(&*store, owner, "a", 60);
    let id = begin(&*store, 40);
    let step = || {
        store
            .step(id, &Choice::default(), &sinks())
            .expect("a step")
    };
    while step() != Stepped::Ended {
        // Far more often than it is due.
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(place.count("outbox"), 60);
    let millis = |since: &str| match place.is_sqlite() {
        true => since.to_owned(),
        false => format!("extract(epoch FROM {since}) * 1000"),
    };
    // A step of ten events, and forty a second from then on.
    let ahead = format!(
        "outbox AS late WHERE (SELECT count(*) FROM outbox AS before WHERE before.since <= late.since)
            > 10 + 40.0 * ({} - (SELECT {} FROM republish_job)) / 1000 + 0.001",
        millis("late.since"),
        millis("created_at")
    );
    assert_eq!(place.count(&ahead), 0);
}

pub(crate) fn two_instances_that_step_at_once_make_each_step_once(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    published(&*store, owner, "a", 2000);
    let id = begin(&*store, FAST);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| run(&*place.store(), id, &Choice::default(), &sinks()));
        }
    });
    let job = store.job(id).expect("read").expect("kept");
    assert_eq!((job.events, job.copies), (2000, 2000));
    assert_eq!(place.count("outbox"), 2000);
}

/// Every row of the outbox has its event, whatever is deleted meanwhile.
pub(crate) fn an_event_that_is_published_again_is_not_deleted_before_it_has_left(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    published(&*store, owner, "a", 3000);
    let ids: Vec<JobId> = (0..2).map(|_| begin(&*store, FAST)).collect();
    std::thread::scope(|scope| {
        for id in ids {
            scope.spawn(move || run(&*place.store(), id, &Choice::default(), &sinks()));
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let store = place.store();
                for _ in 0..40 {
                    store.prune(NOW, 50).expect("pruned");
                }
            });
        }
    });
    let lost = "outbox WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.seq = outbox.seq)";
    assert_eq!(place.count(lost), 0, "rows whose event is gone");
    let rows = claim_all(&*store, owner);
    assert_eq!(rows.len() as i64, place.count("outbox"));
    store.confirmed(&sink(), &seqs(&rows)).expect("confirmed");
    for _ in 0..200 {
        store.prune(NOW, 1000).expect("pruned");
    }
    assert_eq!((place.count("event"), place.count("outbox")), (0, 0));
}
