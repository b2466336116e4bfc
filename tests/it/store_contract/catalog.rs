//! The catalog: an operator's questions, each answered from a bounded number of rows.

use std::time::Duration;

use hookweir::domain::delivery::{DedupKey, MessageKey, SourceName, UnixMillis, wall_clock};
use hookweir::domain::sink::{SinkName, Sinks};
use hookweir::store::catalog::{EventName, EventPage, EventQuery, EventState, LOOK, PAGE};
use hookweir::store::trace::{EventTrace, Traced};
use hookweir::store::{NewEvent, Seq, Store};

use super::{Place, accepted, alive, batch, event, insert, insert_one, key_of, many, sink, source};

const FIRST: i64 = 1_700_000_000_000;

/// An event of a source, of a type, received so many milliseconds later than the first.
fn of(name: &str, id: &str, kind: &str, later: i64) -> NewEvent {
    let source = SourceName::parse(name).expect("a name");
    let key = DedupKey::new(&source, "id", &[id.as_bytes()]);
    NewEvent {
        key,
        message: MessageKey::of(&key),
        source,
        event_type: Some(kind.into()),
        received_at: UnixMillis(FIRST + later),
        ..event(id, format!("body of {id}"))
    }
}

fn ask(store: &dyn Store, query: EventQuery) -> Vec<String> {
    let page: EventPage = store
        .events(&EventQuery { limit: 10, ..query })
        .expect("a page");
    page.events
        .into_iter()
        .map(|event| event.event_id)
        .collect()
}

pub(crate) fn the_secret_that_verified_an_event_is_kept_and_may_be_unknown(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let by = |id, secret: Option<&str>| NewEvent {
        verified_by: secret.map(Into::into),
        ..of("shop", id, "paid", 0)
    };
    let signed = DedupKey::new(&source(), "id", &[b"a signed request"]);
    let events = [
        by("a", Some("file:/run/secrets/shop")),
        by("b", None),
        // With columns that few events fill.
        NewEvent {
            replay: Some(signed),
            ..by("c", Some("env:SHOP"))
        },
    ];
    for new in events {
        insert_one(&*store, owner, new);
    }
    let page = store.events(&EventQuery {
        limit: 10,
        ..EventQuery::default()
    });
    let known = page.expect("a page").events;
    let known: Vec<_> = known
        .iter()
        .map(|event| event.verified_by.as_deref())
        .collect();
    assert_eq!(
        known,
        [Some("env:SHOP"), None, Some("file:/run/secrets/shop")]
    );
}

pub(crate) fn events_are_found_by_source_id_type_message_time_and_state(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let kafka = SinkName::parse("kafka").expect("a name");
    let both = Sinks::new(&[sink(), kafka.clone()]).expect("two sinks");
    let mut rows = Vec::new();
    for new in [
        of("shop", "a", "order.created", 0),
        of("shop", "b", "order.paid", 10),
        of("bank", "a", "paid", 20),
        of("bank", "c", "paid", 30),
    ] {
        let inserted = store.insert(owner, &both, &batch([new])).expect("stored");
        rows.extend(inserted.iter().filter_map(accepted));
    }
    let all = EventQuery::default;
    let shop = SourceName::parse("shop").expect("a name");
    assert_eq!(
        ask(&*store, all()),
        ["c", "a", "b", "a"],
        "the newest first"
    );
    let by_source = EventQuery {
        source: Some(shop.clone()),
        ..all()
    };
    assert_eq!(ask(&*store, by_source.clone()), ["b", "a"]);
    let by_id = EventQuery {
        event_id: Some("a".into()),
        ..by_source
    };
    assert_eq!(ask(&*store, by_id), ["a"]);
    let by_type = EventQuery {
        event_type: Some("paid".into()),
        ..all()
    };
    assert_eq!(ask(&*store, by_type), ["c", "a"]);
    let by_time = EventQuery {
        from: Some(UnixMillis(FIRST + 10)),
        until: Some(UnixMillis(FIRST + 30)),
        ..all()
    };
    assert_eq!(ask(&*store, by_time), ["a", "b"]);
    let key = DedupKey::new(&shop, "id", &[b"b"]);
    let message = MessageKey::of(&key).message_id();
    let by_message = EventQuery {
        message: Some(message),
        ..all()
    };
    assert_eq!(ask(&*store, by_message), ["b"]);

    // a: confirmed by both; b: by one; bank's a: refused by one; c: waits for both.
    store.confirmed(&sink(), &rows[..3]).expect("confirmed");
    store.confirmed(&kafka, &rows[..1]).expect("confirmed");
    store.park(&kafka, rows[2], "too large").expect("parked");
    let in_state = |state| {
        let query = EventQuery {
            state: Some(state),
            ..all()
        };
        ask(&*store, query)
    };
    assert_eq!(in_state(EventState::Published), ["a"]);
    assert_eq!(in_state(EventState::Waiting), ["c", "b"]);
    assert_eq!(in_state(EventState::Parked), ["a"]);

    for name in [EventName::Key(key), EventName::Message(message)] {
        assert_eq!(store.number_of(name), Ok(Some(rows[1])));
    }
    let unknown = EventName::Key(key_of("nobody"));
    assert_eq!(store.number_of(unknown), Ok(None));
    let (summary, stored) = store.event(rows[2]).expect("read").expect("it is there");
    assert_eq!(stored.event.body, "body of a");
    assert_eq!(stored.event.headers, event("a", "").headers);
    assert_eq!((&*summary.source, summary.bytes), ("bank", 9));
    assert_eq!(summary.message_id, stored.event.message_id());
    assert_eq!(summary.state(), EventState::Parked);
    assert!(summary.waiting.is_empty());
    let refused = &summary.parked[0];
    assert_eq!((&refused.sink, &*refused.reason), (&kafka, "too large"));
    let (summary, _) = store.event(rows[3]).expect("read").expect("it is there");
    let waits: Vec<_> = summary
        .waiting
        .iter()
        .map(|row| row.sink.as_str())
        .collect();
    assert_eq!(waits, ["default", "kafka"]);
    assert!(store.event(Seq(i64::MAX)).expect("read").is_none());
}

pub(crate) fn events_are_found_by_the_sink_that_has_a_row_of_them(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let kafka = SinkName::parse("kafka").expect("a name");
    let both = Sinks::new(&[sink(), kafka.clone()]).expect("two sinks");
    let mut rows = Vec::new();
    for id in ["done", "parked", "waits"] {
        let one = batch([of("shop", id, "paid", 0)]);
        let inserted = store.insert(owner, &both, &one).expect("stored");
        rows.extend(inserted.iter().filter_map(accepted));
    }
    store.confirmed(&sink(), &rows).expect("confirmed");
    store.confirmed(&kafka, &rows[..1]).expect("confirmed");
    store.park(&kafka, rows[1], "too large").expect("parked");
    let at = |sink: &SinkName, state| {
        let query = EventQuery {
            sink: Some(sink.clone()),
            state,
            ..EventQuery::default()
        };
        ask(&*store, query)
    };
    assert_eq!(at(&kafka, None), ["waits", "parked"]);
    assert_eq!(at(&kafka, Some(EventState::Waiting)), ["waits"]);
    assert_eq!(at(&kafka, Some(EventState::Parked)), ["parked"]);
    assert_eq!(at(&kafka, Some(EventState::Published)), ["done"]);
    assert!(at(&sink(), None).is_empty(), "it has confirmed all");
    let published = at(&sink(), Some(EventState::Published));
    assert_eq!(published, ["waits", "parked", "done"]);
}

pub(crate) fn a_trace_has_attempts_reason_and_confirms_with_their_times(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let [kafka, files] = ["kafka", "files"].map(|name| SinkName::parse(name).expect("a name"));
    let all = Sinks::new(&[sink(), kafka.clone(), files.clone()]).expect("three sinks");
    let received_at = wall_clock();
    let now = |id| NewEvent {
        received_at,
        ..of("shop", id, "paid", 0)
    };
    let mut rows = Vec::new();
    for id in ["traced", "another"] {
        let inserted = store.insert(owner, &all, &batch([now(id)]));
        rows.extend(inserted.expect("stored").iter().filter_map(accepted));
    }
    let minute = Duration::from_secs(60);
    store.postpone(&sink(), &rows[..1], minute).expect("later");
    store.park(&kafka, rows[0], "too large").expect("parked");
    store.confirmed(&files, &rows).expect("confirmed");
    let trace = |seq| store.trace(Traced { seq, received_at }).expect("read");

    let traced = trace(rows[0]);
    let [waits] = &traced.waiting[..] else {
        panic!("one sink: {traced:?}")
    };
    assert_eq!((&waits.sink, waits.attempts), (&sink(), 1));
    assert!(waits.due.0 >= waits.since.0 + 60_000, "{waits:?}");
    let [refused] = &traced.parked[..] else {
        panic!("one sink: {traced:?}")
    };
    assert_eq!((&refused.sink, &*refused.reason), (&kafka, "too large"));
    assert_eq!(traced.confirmed_at.len(), 1, "of the two confirms its own");
    for later in [refused.at, traced.confirmed_at[0]] {
        assert!(later.0 >= waits.since.0, "{traced:?}");
    }
    assert_eq!(trace(rows[1]).waiting.len(), 2);
    assert_eq!(trace(Seq(i64::MAX)), EventTrace::default());
}

pub(crate) fn a_page_is_bounded_and_the_next_one_goes_on(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert_one(&*store, owner, of("shop", "first", "rare", 0));
    for part in 0..21 {
        insert(&*store, owner, &many("a", part * 500..part * 500 + 500));
    }
    let stored = 21 * 500 + 1;
    assert!(stored > LOOK);
    let mut query = EventQuery {
        limit: usize::MAX,
        ..EventQuery::default()
    };
    let (mut seen, mut last) = (0, i64::MAX);
    loop {
        let page = store.events(&query).expect("a page");
        assert!(page.events.len() <= PAGE);
        for event in &page.events {
            assert!(event.seq.0 < last, "each once, the newest first");
            last = event.seq.0;
        }
        seen += page.events.len();
        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(seen, stored);

    // One that a single look does not reach.
    let mut query = EventQuery {
        event_type: Some("rare".into()),
        limit: 10,
        ..EventQuery::default()
    };
    let page = store.events(&query).expect("a page");
    assert!(page.events.is_empty() && page.next.is_some(), "{page:?}");
    query.before = page.next;
    let page = store.events(&query).expect("a page");
    assert_eq!(page.events[0].event_id, "first");
    assert_eq!(page.next, None);
}

pub(crate) fn conflicts_are_listed_with_their_bodies(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    for n in 0..5 {
        insert_one(&*store, owner, event(&format!("c{n}"), "the first body"));
    }
    // Three of them at once: they have the same time.
    let again = batch((0..3).map(|n| event(&format!("c{n}"), format!("another {n}"))));
    insert(&*store, owner, &again);
    insert_one(&*store, owner, event("c3", "another 3"));
    insert_one(&*store, owner, event("c4", "another 4"));
    let mut listed = Vec::new();
    loop {
        let after = listed
            .last()
            .map(|conflict: &hookweir::store::catalog::ConflictSummary| conflict.place);
        let page = store.conflicts(after, 2).expect("a page");
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    let mut ids: Vec<_> = listed.iter().map(|conflict| &*conflict.event_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["c0", "c1", "c2", "c3", "c4"], "each once");
    for conflict in &listed {
        assert_eq!((&*conflict.source, conflict.bytes), (source().as_str(), 9));
        let body = store.conflict_body(&conflict.place).expect("read");
        let number = &conflict.event_id[1..];
        assert_eq!(body, Some(format!("another {number}").into_bytes()));
        let alone = store.conflict(&conflict.place).expect("read");
        let alone = alone.expect("it is there");
        let first = MessageKey::of(&key_of(&conflict.event_id)).message_id();
        assert_eq!(alone.marks.conflict_of, Some(first));
        assert_eq!(alone.body, format!("another {number}"));
        assert_ne!(alone.message_id(), first);
        let stored = insert_one(&*store, owner, alone.clone());
        assert!(accepted(&stored).is_some(), "{stored:?}");
        let again = insert_one(&*store, owner, alone);
        assert!(accepted(&again).is_none(), "it is known: {again:?}");
    }
    place.execute("DELETE FROM conflict");
    assert_eq!(store.conflict_body(&listed[0].place), Ok(None));
}
