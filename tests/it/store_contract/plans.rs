//! Plans that PostgreSQL really made of the store's statements, whatever its statistics say: `auto_explain` logs each one.
//!
//! Statistics follow the tables too late. Analyzed while the outbox was empty, a plan that looked cheap was one for 100,000 rows a moment
//! later, and stayed for the life of its connection.

use std::collections::BTreeMap;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use hookweir::domain::delivery::InstanceId;
use hookweir::domain::event_order::EventOrder;
use hookweir::domain::sink::{SinkName, Sinks};
use hookweir::store::catalog::{EventName, EventQuery, EventState};
use hookweir::store::trace::Traced;
use hookweir::store::{FromKey, InMemory, Retention, Seq, Store};
use serde_json::Value;

use super::pooler::Pooled;
use crate::store_contract::{
    Place, Postgres, ROOM, accepted, alive, backlog, batch, claim_all, confirms, event, insert,
    many, seqs, sink, sinks,
};
use hookweir_testkit::servers::Server;

/// Rows that a week has left.
const STORED: usize = 30_000;

/// Statements by some words of theirs, and the indexes that are meant for the table.
const MEANT: &[(&str, &str, &[&str])] = &[
    ("INSERT INTO event", "outbox", &["outbox_pkey"]),
    (
        "DELETE FROM outbox WHERE seq = ANY ($1)",
        "outbox",
        &["outbox_pkey"],
    ),
    ("UPDATE outbox SET attempts", "outbox", &["outbox_pkey"]),
    ("INSERT INTO parked", "outbox", &["outbox_pkey"]),
    ("SELECT due_at, seq", "outbox", &["outbox_due"]),
    (
        "WITH RECURSIVE owners",
        "outbox",
        &["outbox_due", "outbox_pkey"],
    ),
    ("WITH RECURSIVE keys", "outbox", &["outbox_order"]),
    ("WITH RECURSIVE keys", "parked", &["parked_order"]),
    ("FROM event WHERE seq = ANY", "event", &["event_pkey"]),
    ("DELETE FROM dedup", "dedup", &["dedup_expires_at"]),
    ("DELETE FROM event", "event", &["event_pkey"]),
    ("DELETE FROM event", "published", &["published_pkey"]),
    ("DELETE FROM conflict", "conflict", &["conflict_at"]),
    ("DELETE FROM audit", "audit", &["audit_at"]),
];

/// A server that says every plan, with no statistics but those that a test makes.
fn talkative() -> Server {
    let mut server = Server::postgres();
    let main = server.files().join("data/postgresql.conf");
    let lines = std::fs::read_to_string(&main).expect("its configuration");
    let more = "session_preload_libraries = 'auto_explain'\nauto_explain.log_min_duration = 0\nauto_explain.log_format = json\nautovacuum = off\n";
    std::fs::write(&main, lines + more).expect("some lines more");
    server.stop();
    server.start();
    server
}

/// Everything that the store does.
fn work(store: &dyn Store, name: &str) {
    let owner = alive(store);
    let events = many(name, 0..300);
    let stored: Vec<_> = insert(store, owner, &events)
        .iter()
        .filter_map(accepted)
        .collect();
    assert_eq!(stored.len(), 300);
    // Known ones, and some with another body.
    insert(store, owner, &many(name, 0..20));
    let again = batch((0..3).map(|n| event(&format!("{name}{n}"), "another")));
    insert(store, owner, &again);
    let told = store
        .insert_and_confirm(
            owner,
            &sinks(),
            &many(&format!("{name} more "), 0..5),
            confirms(&sink(), &stored[..50]),
        )
        .expect("stored");
    assert!(told.1, "with the next commit");
    store
        .postpone(&sink(), &stored[50..60], Duration::ZERO)
        .expect("postponed");
    store.park(&sink(), stored[60], "a test").expect("parked");
    assert!(claim_all(store, owner).len() >= 250);
    store
        .confirmed(&sink(), &stored[61..200])
        .expect("confirmed");
    for_another_sink(store, name, owner);
    in_order(store, name, owner);
    look(store);
    store.release(owner).expect("released");
    let heir = alive(store);
    let rows = claim_all(store, heir);
    store.confirmed(&sink(), &seqs(&rows)).expect("confirmed");
    backlog(store);
    let all = Retention {
        events: Duration::ZERO,
        conflicts: Duration::ZERO,
        refused: Duration::ZERO,
        keys: Duration::ZERO,
    };
    store.prune(all, 100).expect("pruned");
}

/// The same for events that go to two sinks.
fn for_another_sink(store: &dyn Store, name: &str, owner: InstanceId) {
    let kafka = SinkName::parse("kafka").expect("a name");
    let both = Sinks::new(&[sink(), kafka.clone()]).expect("two sinks");
    for known in [false, true] {
        let events = many(&format!("{name} for both "), 0..50);
        let stored = store.insert(owner, &both, &events).expect("stored");
        assert_eq!(stored.iter().filter_map(accepted).count() == 50, !known);
    }
    let waiting = store
        .claim(owner, &kafka, ROOM, &|_| false)
        .expect("a claim");
    let rows = seqs(&waiting);
    assert_eq!(rows.len(), 50);
    store
        .postpone(&kafka, &rows[..5], Duration::ZERO)
        .expect("postponed");
    store.confirmed(&kafka, &rows[..20]).expect("confirmed");
    store.park(&kafka, rows[20], "a test").expect("parked");
    store.park(&kafka, rows[21], "a test").expect("parked");
    assert_eq!(store.retry_parked(&kafka, &rows[20..21]), Ok(1));
    assert_eq!(store.discard_parked(&kafka, &rows[21..22]), Ok(1));
    assert_eq!(store.move_waiting(&kafka, &sink(), 10), Ok(10));
    assert_eq!(store.discard_waiting(&kafka, 100), Ok(19));
}

/// The same for a sink that keeps an order.
fn in_order(store: &dyn Store, name: &str, owner: InstanceId) {
    let files = SinkName::parse("files").expect("a name");
    let order = EventOrder::parse("{json:/k}").expect("a pointer");
    let ordered = Sinks::new(std::slice::from_ref(&files)).expect("a sink");
    let ordered = ordered.with_orders(vec![order]);
    let of_keys = (0..120).map(|n| {
        event(
            &format!("{name} in order {n}"),
            format!("{{\"k\":{}}}", n % 40),
        )
    });
    let stored = store.insert(owner, &ordered, &batch(of_keys));
    assert_eq!(
        stored.expect("stored").iter().filter_map(accepted).count(),
        120
    );
    for _ in 0..2 {
        let none = |_: &_| InMemory::No;
        let claimed = store.claim_in_order(owner, &files, ROOM, FromKey::START, &none);
        let rows: Vec<Seq> = claimed
            .expect("a claim")
            .rows
            .iter()
            .map(|(row, _)| row.seq)
            .collect();
        assert!(rows.len() >= 60, "{}", rows.len());
        store.park(&files, rows[0], "a test").expect("parked");
        store.confirmed(&files, &rows[1..20]).expect("confirmed");
    }
    let apart = store.claim_without_order(owner, &files, ROOM, &|_| false);
    assert!(apart.expect("a claim").is_empty());
    while store.discard_waiting(&files, 100).expect("discarded") > 0 {}
}

/// Runs the statements of the catalog.
fn look(store: &dyn Store) {
    let mut query = EventQuery {
        state: Some(EventState::Waiting),
        limit: 50,
        ..EventQuery::default()
    };
    let mut page = store.events(&query).expect("a page");
    while page.events.is_empty() && page.next.is_some() {
        query.before = page.next;
        page = store.events(&query).expect("a page");
    }
    let found = page.events.first().expect("some wait");
    let message = EventName::Message(found.message_id);
    assert_eq!(store.number_of(message), Ok(Some(found.seq)));
    assert!(store.event(found.seq).expect("read").is_some());
    let traced = Traced {
        seq: found.seq,
        received_at: found.received_at,
    };
    assert!(!store.trace(traced).expect("read").waiting.is_empty());
    let conflicts = store.conflicts(None, 2).expect("a page");
    let place = conflicts[0].place;
    store.conflicts(Some(place), 2).expect("a page");
    assert!(store.conflict_body(&place).expect("read").is_some());
    let parked = store.parked(&sink(), Seq(0), 10).expect("listed");
    let shown = store.parked_event(parked[0].seq).expect("read");
    assert!(shown.is_some());
}

/// Rows of others than the outbox.
fn fill(place: &Postgres) {
    place.execute(&format!(
        "INSERT INTO dedup (key, digest, source, seq, expires_at)
             SELECT sha256(int8send(n)), '', 's', 1000000 + n, now() + interval '7 days' FROM generate_series(1, {STORED}) AS n;
         INSERT INTO event (seq, key, source, event_id, headers, received_at, body)
             SELECT 1000000 + n, sha256(int8send(n)), 's', n, '[]', 0, '' FROM generate_series(1, {STORED}) AS n;
         INSERT INTO published (seq) SELECT 1000000 + n FROM generate_series(1, {STORED}) AS n;
         INSERT INTO conflict (key, digest, source, event_id, headers, received_at, body)
             SELECT sha256(int8send(n)), '', 's', n, '[]', 0, '' FROM generate_series(1, {STORED}) AS n"
    ));
}

/// First columns of the indexes, by name.
fn first_columns(place: &Postgres) -> BTreeMap<String, String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        index: String,
        #[diesel(sql_type = Text)]
        first: String,
    }
    let sql = "SELECT c.relname::text AS index, a.attname::text AS first FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE c.relnamespace = quote_ident(current_schema())::regnamespace";
    let rows = diesel::sql_query(sql)
        .load::<Row>(&mut place.connect())
        .expect("indexes");
    rows.into_iter().map(|row| (row.index, row.first)).collect()
}

/// Plans in the server's log from `from` on.
fn plans(server: &Server, from: usize) -> (Vec<Value>, usize) {
    let log = std::fs::read_to_string(server.files().join("data/server.log")).expect("its log");
    let mut plans = Vec::new();
    for part in log[from..].split(" plan:\n").skip(1) {
        let lines: Vec<&str> = part
            .lines()
            .take_while(|line| line.starts_with(['\t', '{', '}', ' ']))
            .collect();
        plans.push(
            serde_json::from_str(&lines.concat())
                .unwrap_or_else(|error| panic!("{error}: {}", lines.join("\n"))),
        );
    }
    (plans, log.len())
}

/// Tables and indexes that a plan reads, and its faults.
struct Reading<'a> {
    first_columns: &'a BTreeMap<String, String>,
    read: Vec<(String, String)>,
    faults: Vec<String>,
}

impl Reading<'_> {
    fn node(&mut self, node: &Value, table: &str, limited: bool) {
        let text = |key: &str| node[key].as_str().unwrap_or_default();
        let table = node["Relation Name"].as_str().unwrap_or(table);
        let limited = limited || text("Node Type") == "Limit";
        // A handful of rows, whatever happens.
        let small = ["instance", "learned_secret", "clock", "sink_holder"].contains(&table);
        if !small && text("Node Type") == "Seq Scan" {
            self.faults.push(format!("all of {table} is read"));
        }
        if let Some(index) = node["Index Name"]
            .as_str()
            .filter(|index| self.first_columns.contains_key(*index))
        {
            self.read.push((table.to_owned(), index.to_owned()));
            let (condition, first) = (text("Index Cond"), &self.first_columns[index]);
            let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
            let ordered = condition.is_empty() && limited;
            if !small && !ordered && !words.any(|word| word == first) {
                self.faults
                    .push(format!("all of {index} is read, for {condition:?}"));
            }
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.node(child, table, limited);
        }
    }
}

fn check(place: &Postgres, plans: &[Value], what: &str) {
    let first_columns = first_columns(place);
    let mut met = vec![0; MEANT.len()];
    for plan in plans {
        let text = plan["Query Text"]
            .as_str()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let mut reading = Reading {
            first_columns: &first_columns,
            read: Vec::new(),
            faults: Vec::new(),
        };
        reading.node(&plan["Plan"], "", false);
        // The number of rows that wait is a number of rows.
        let counts = text.contains("count(*)") || place_is_not_used(&text);
        assert!(
            counts || reading.faults.is_empty(),
            "{what}: {:?} in {text}\n{plan:#}",
            reading.faults
        );
        for (met, (words, table, meant)) in met.iter_mut().zip(MEANT) {
            if !text.contains(words) || counts {
                continue;
            }
            let read: Vec<&str> = reading
                .read
                .iter()
                .filter(|(of, _)| of == table)
                .map(|(_, index)| &**index)
                .collect();
            assert!(
                read.iter().all(|index| meant.contains(index)),
                "{what}: {table} is read by {read:?} in {text}\n{plan:#}"
            );
            *met += usize::from(!read.is_empty());
        }
    }
    for (met, (words, table, _)) in met.iter().zip(MEANT) {
        assert!(*met > 0, "{what}: no plan of \"{words}\" reads {table}");
    }
}

/// Statements of the test itself.
fn place_is_not_used(text: &str) -> bool {
    text.contains("generate_series") || text.contains("pg_index")
}

#[test]
fn plans_are_the_meant_ones_whatever_the_statistics_say() {
    let server = talkative();
    let mut from = 0;
    let mut judge = |place: &Postgres, store: &dyn Store, what: &str| {
        from = plans(&server, from).1;
        work(store, what);
        let (plans, to) = plans(&server, from);
        from = to;
        check(place, &plans, what);
    };
    // Never analyzed.
    let place = Postgres::at(server.url.clone());
    judge(&place, &*place.store(), "none");
    // Analyzed while all was empty, or the outbox only. It has pages, without a row: what waited has gone.
    for (what, filled) in [("empty", false), ("stale", true)] {
        let place = Postgres::at(server.url.clone());
        place.store();
        if filled {
            fill(&place);
        }
        idle_outbox(&place);
        judge(&place, &*place.store(), what);
        if filled {
            place.execute("ANALYZE");
            judge(&place, &*place.store(), "full");
        }
    }
    // Statements without names, and settings in their transactions.
    let place = Pooled::at(Postgres::at(server.url.clone()));
    place.store();
    fill(place.direct());
    idle_outbox(place.direct());
    judge(place.direct(), &*place.store(), "pooled");
}

#[test]
fn the_size_is_measured_without_a_look_at_the_conflicts() {
    let server = talkative();
    let place = Postgres::at(server.url.clone());
    let store = place.store();
    fill(&place);
    place.execute("ANALYZE");
    store.size().expect("a size, and the counts are added up");
    let from = plans(&server, 0).1;
    let size = store.size().expect("a size");
    assert_eq!(size.of_conflicts, (STORED * (512 + 2)) as u64);
    let (plans, _) = plans(&server, from);
    let first_columns = first_columns(&place);
    let mut looks = 0;
    for plan in &plans {
        let mut reading = Reading {
            first_columns: &first_columns,
            read: Vec::new(),
            faults: Vec::new(),
        };
        reading.node(&plan["Plan"], "", false);
        let whole = reading.faults.iter().filter(|of| of.contains("conflict"));
        let whole: Vec<_> = whole.filter(|of| !of.contains("conflict_size")).collect();
        assert!(whole.is_empty(), "{whole:?}\n{plan:#}");
        let oldest = ("conflict".to_owned(), "conflict_at".to_owned());
        looks += usize::from(reading.read.contains(&oldest));
    }
    assert!(looks > 0, "no plan was seen: {plans:#?}");
    assert!(place.count("conflict_size") <= STORED as i64 - 10_000 + 1);
}

/// Statistics of an outbox in which nothing waits, and then rows of an instance that lives: what waits when the queue is away.
fn idle_outbox(place: &Postgres) {
    fill_outbox(place);
    place.execute("DELETE FROM outbox; DELETE FROM instance");
    place.execute("VACUUM ANALYZE");
    fill_outbox(place);
}

fn fill_outbox(place: &Postgres) {
    place.execute(&format!(
        "INSERT INTO instance (id, alive_until, lease_ms) VALUES ('\\x00', now() + interval '1 hour', 3600000);
         INSERT INTO outbox (seq, key, owner, bytes) SELECT 2000000 + n, sha256(int8send(n)), '\\x00', 1 FROM generate_series(1, {STORED}) AS n"
    ));
}
