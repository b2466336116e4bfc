//! The contract behind a transaction pooler, and neighbours there that leave their settings behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use hookweir::config::model;
use hookweir::config::secret::Secret;
use hookweir::domain::delivery::InstanceId;
use hookweir::store::{Inserted, StoreError, open};

use crate::store_contract::places::config;
use crate::store_contract::{LONG, Place, Postgres, ROOM, insert, many, seqs, sink, sinks};
use hookweir_testkit::servers::{self, Server};

/// A schema of the shared server, behind a pooler of its own.
pub(super) struct Pooled {
    direct: Postgres,
    pooler: Server,
}

impl Pooled {
    pub(super) fn at(direct: Postgres) -> Self {
        let pooler = Server::pooler(&direct.url);
        Self { direct, pooler }
    }

    pub(super) fn direct(&self) -> &Postgres {
        &self.direct
    }

    /// Another client of the pooler, as the same user of the same database.
    fn neighbour(&self) -> PgConnection {
        PgConnection::establish(&self.pooler.url).expect("the pooler")
    }
}

impl Place for Pooled {
    fn fresh() -> Self {
        Self::at(Postgres::at(servers::postgres()))
    }

    fn config(&self) -> model::Store {
        config(
            model::StoreUrl::Postgres(Secret::new(self.pooler.url.as_bytes())),
            &self.direct.schema,
        )
    }

    fn execute(&self, sql: &str) {
        self.direct.execute(sql);
    }

    fn count(&self, what: &str) -> i64 {
        self.direct.count(what)
    }

    fn refuse(&self, prefix: &str) {
        self.direct.refuse(prefix);
    }

    fn shift(&self, table: &str, column: &str, millis: i64) {
        self.direct.shift(table, column, millis);
    }

    fn later(&self, column: &str, millis: i64) -> String {
        self.direct.later(column, millis)
    }

    fn down(&self) -> &'static str {
        self.direct.down()
    }
}

crate::store_contract::contract!(Pooled);

/// Each leaves something behind in whatever session the pooler gave it.
const LEFTOVERS: &[&str] = &[
    "SET synchronous_commit = off",
    "SET search_path = pg_catalog",
    "SET statement_timeout = 1",
    "RESET statement_timeout",
    "SET lock_timeout = 1",
    "SET default_transaction_isolation = serializable",
    "SET enable_indexscan = off",
    "SET work_mem = '64kB'",
    "DEALLOCATE ALL",
    "PREPARE __diesel_stmt_1 AS SELECT 1",
    "BEGIN; SET synchronous_commit = off; COMMIT",
    "SELECT pg_advisory_lock_shared(1)",
];

/// Calls the store again where a neighbour's `statement_timeout` of 1 ms has cancelled a statement that begins or ends a transaction.
fn repeated<T>(call: impl Fn() -> Result<T, StoreError>) -> T {
    for _ in 0..40 {
        match call() {
            Err(StoreError::Unavailable(_) | StoreError::Ambiguous(_)) => {}
            answer => return answer.expect("an answer"),
        }
    }
    panic!("cancelled 40 times");
}

#[test]
fn neighbours_of_a_transaction_pooler_take_no_commit_its_durability() {
    let server = Server::postgres();
    let place = Pooled::at(Postgres::at(server.url.clone()));
    place.execute("ALTER DATABASE postgres SET synchronous_commit = off");
    let store = place.store();
    // Outside of its own schema nobody sees it; what it says is counted where no setting of the path matters.
    place.execute(
        "CREATE TABLE public.told (synchronous_commit text, path text);
         CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.told VALUES (current_setting('synchronous_commit'), current_schema()); RETURN NEW; END $$;
         CREATE TRIGGER tell BEFORE INSERT ON dedup FOR EACH ROW EXECUTE FUNCTION public.tell()",
    );
    // 13,334 of them are 100,005 events in all.
    let rounds: usize = std::env::var("HOOKWEIR_TEST_POOLED_ROUNDS")
        .map_or(100, |rounds| rounds.parse().expect("a number"));
    let events = (0..rounds).map(|round| 1 + round % 4).sum::<usize>();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for neighbour in 0..3 {
            let (done, mut connection) = (&done, place.neighbour());
            scope.spawn(move || {
                let mut n = neighbour;
                while !done.load(Ordering::Relaxed) {
                    // Some fail, because of what another one has left.
                    let _ = connection.batch_execute(LEFTOVERS[n % LEFTOVERS.len()]);
                    n += 5;
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let owner = InstanceId::random();
                    repeated(|| store.renew_lease(owner, LONG));
                    for round in 0..rounds {
                        let events = many(&format!("{writer} {round} "), 0..1 + round % 4);
                        let stored = repeated(|| store.insert(owner, &sinks(), &events));
                        // Known are those whose first answer was lost.
                        let is_stored = |one: &Inserted| {
                            matches!(one, Inserted::Accepted(_) | Inserted::Duplicate(_))
                        };
                        assert!(stored.iter().all(is_stored), "{stored:?}");
                    }
                    let mut found = 0;
                    while found < events {
                        let rows =
                            seqs(&repeated(|| store.claim(owner, &sink(), ROOM, &|_| false)));
                        found += rows.len();
                        let first = &rows[..rows.len().min(100)];
                        repeated(|| store.postpone(&sink(), first, Duration::ZERO));
                        repeated(|| store.confirmed(&sink(), &rows));
                    }
                    assert_eq!(found, events, "each once");
                    repeated(|| store.backlog());
                })
            })
            .collect();
        let failed = writers.into_iter().any(|writer| writer.join().is_err());
        done.store(true, Ordering::Relaxed);
        assert!(!failed);
    });
    assert_eq!(place.count("outbox"), 0);
    let events = i64::try_from(3 * events).expect("a few");
    assert_eq!(place.count("published"), events);
    assert_eq!(
        place.count("public.told WHERE synchronous_commit <> 'on'"),
        0
    );
    assert_eq!(place.count("public.told WHERE path NOT LIKE 'Test %'"), 0);
    // More, where an event was stored again whose first answer was lost.
    assert!(place.count("public.told WHERE synchronous_commit = 'on'") >= events);
}

#[test]
fn sessions_that_a_neighbour_resets_lose_no_event() {
    let place = Pooled::fresh();
    let store = place.store();
    let owner = InstanceId::random();
    let mut neighbours: Vec<_> = (0..3).map(|_| place.neighbour()).collect();
    for round in 0..5 {
        for neighbour in &mut neighbours {
            neighbour.batch_execute("DISCARD ALL").expect("a neighbour");
        }
        insert(&*store, owner, &many(&format!("{round} "), 0..3));
    }
    assert_eq!(place.count("dedup"), 15);
}

#[test]
fn no_setting_of_the_store_reaches_a_neighbour_of_the_pool() {
    let place = Pooled::fresh();
    let store = place.store();
    insert(&*store, InstanceId::random(), &many("a", 0..3));
    let error = open(&config(place.config().url, "none"), 1)
        .expect("a store")
        .insert(InstanceId::random(), &sinks(), &many("a", 0..1));
    assert!(
        matches!(error, Err(StoreError::Unavailable(_))),
        "{error:?}"
    );
    let mut neighbour = place.neighbour();
    for _ in 0..10 {
        neighbour
            .batch_execute(
                "DO $$ BEGIN
                     ASSERT current_setting('enable_seqscan') = 'on' AND current_setting('statement_timeout') = '0'
                         AND current_setting('plan_cache_mode') = 'auto' AND current_schema() = 'public'
                         AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid());
                 END $$",
            )
            .expect("as it was");
    }
}
