//! The contract on PostgreSQL, and what only a server can do: be away, be stopped, be set up badly, lose its answer.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hookweir::domain::delivery::InstanceId;
use hookweir::runtime::shutdown::CriticalTask;
use hookweir::store::keeper::{Keeper, Kept};
use hookweir::store::{Inserted, PauseBoard, PauseWatch, Reached, Store, StoreError, open};
use hookweir::telemetry::Metrics;
use hookweir::telemetry::health::Health;

use super::{
    LONG, Place, Postgres, accepted, alive, backlog, claim_all, insert, many, sink, sinks,
};
use hookweir_testkit::proxy::{Line, Proxy};
use hookweir_testkit::servers::{self, Server};

#[path = "columns.rs"]
mod columns;
#[path = "cursor_under_way.rs"]
mod cursor_under_way;
#[path = "faults.rs"]
mod faults;
#[path = "plans.rs"]
mod plans;
#[path = "pooler.rs"]
mod pooler;
#[path = "rights.rs"]
mod rights;

mod postgres {
    crate::store_contract::contract!(crate::store_contract::Postgres);
    crate::store_contract::contract!(crate::store_contract::Postgres: order
        one_instance_at_a_time_holds_an_ordered_sink);
}

fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < until, "not within 60 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The same schema, by way of `proxy`.
fn through(proxy: &Proxy, place: &Postgres) -> Postgres {
    let (user, rest) = place.url.split_once('@').expect("a user");
    let database = rest.split_once('/').expect("a database").1;
    Postgres {
        url: format!("{user}@{}/{database}", proxy.address),
        schema: place.schema.clone(),
    }
}

fn proxied(place: &Postgres) -> (tokio::runtime::Runtime, Proxy, Postgres) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let target = place
        .url
        .rsplit_once('@')
        .and_then(|(_, rest)| rest.split('/').next())
        .and_then(|address| address.parse().ok());
    let proxy = runtime.block_on(Proxy::to(target.expect("an address")));
    let there = through(&proxy, place);
    (runtime, proxy, there)
}

#[test]
fn a_server_that_can_lose_commits_is_refused_unless_that_is_asked_for() {
    let server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    for setting in ["fsync", "full_page_writes"] {
        place.execute(&format!("ALTER SYSTEM SET {setting} = off"));
        place.execute("SELECT pg_reload_conf()");
        let off = || matches!(open(&place.config(), 1).expect("a store").prepare(), Err(StoreError::Unfit(text)) if text.contains(setting));
        eventually("the setting has arrived, and is refused", || {
            off().then_some(())
        });
        let mut config = place.config();
        config.allow_unsafe_durability = true;
        open(&config, 1)
            .expect("a store")
            .prepare()
            .expect("it was asked for");
        place.execute(&format!("ALTER SYSTEM RESET {setting}"));
        place.execute("SELECT pg_reload_conf()");
        eventually("it is on again", || {
            open(&place.config(), 1).expect("a store").prepare().ok()
        });
    }
}

#[test]
fn commits_are_durable_where_the_server_would_not_wait() {
    let server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    place.execute("ALTER SYSTEM SET synchronous_commit = off");
    place.execute("SELECT pg_reload_conf()");
    let store = place.store();
    place.execute(
        "CREATE FUNCTION durable() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF current_setting('synchronous_commit') = 'on' THEN RETURN NEW; END IF; RAISE 'not durable'; END $$;
         CREATE TRIGGER durable BEFORE INSERT ON dedup FOR EACH ROW EXECUTE FUNCTION durable()",
    );
    insert(&*store, InstanceId::random(), &many("a", 0..3));
}

#[test]
fn a_server_with_a_stricter_isolation_refuses_no_event_for_its_neighbour() {
    let server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    place.execute("ALTER SYSTEM SET default_transaction_isolation = 'repeatable read'");
    place.execute("SELECT pg_reload_conf()");
    let store = place.store();
    place.execute(
        "CREATE FUNCTION committed() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF current_setting('transaction_isolation') = 'read committed' THEN RETURN NEW; END IF; RAISE 'a snapshot'; END $$;
         CREATE TRIGGER committed BEFORE INSERT ON dedup FOR EACH ROW EXECUTE FUNCTION committed()",
    );
    insert(&*store, InstanceId::random(), &many("a", 0..3));
}

#[test]
fn a_server_that_is_away_at_the_start_is_waited_for() {
    let mut server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    server.stop();
    let store = open(&place.config(), 3).expect("a store");
    let (health, (lifeline, vigil)) = (Health::default(), CriticalTask::new());
    let me = InstanceId::random();
    let metrics = Metrics::new().expect("metrics");
    let keeper = Keeper::start(
        kept(store.clone(), me, &metrics, &health),
        &place.config(),
        &lifeline,
    )
    .expect("a keeper");
    eventually("it says why", || {
        health
            .ready()
            .is_err_and(|why| why.contains("refused"))
            .then_some(())
    });
    assert!(!keeper.lease().is_held());
    let early = store.insert(me, &sinks(), &many("a", 0..1));
    assert!(
        matches!(early, Err(StoreError::Unavailable(_))),
        "{early:?}"
    );
    server.start();
    eventually("it is ready", || health.ready().ok());
    eventually("it has its lease", || {
        keeper.lease().is_held().then_some(())
    });
    insert(&*store, me, &many("a", 0..1));
    vigil.stopping();
    assert!(keeper.stop(true));
}

#[test]
fn a_server_killed_in_between_comes_back_with_what_was_committed() {
    let mut server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..10));
    server.kill();
    let error = store
        .insert(owner, &sinks(), &many("b", 0..10))
        .expect_err("it is dead");
    assert!(
        matches!(error, StoreError::Unavailable(_) | StoreError::Ambiguous(_)),
        "{error:?}"
    );
    assert!(store.backlog().is_err());
    server.start();
    let again = eventually("the store recovers by itself", || {
        store.insert(owner, &sinks(), &many("a", 0..10)).ok()
    });
    assert!(
        again
            .iter()
            .all(|inserted| matches!(inserted, Inserted::Duplicate(_))),
        "{again:?}"
    );
    assert_eq!(
        insert(&*store, owner, &many("b", 0..10))
            .iter()
            .filter_map(accepted)
            .count(),
        10
    );
    assert_eq!(claim_all(&*store, owner).len(), 20);
}

#[test]
fn a_lost_answer_is_ambiguous_and_its_rows_are_found() {
    let place = Postgres::at(servers::postgres());
    let (_runtime, proxy, there) = proxied(&place);
    let store = open(&there.config(), 1).expect("a store");
    store.prepare().expect("prepared");
    let owner = alive(&*store);
    insert(&*store, owner, &many("warm", 0..1));
    proxy.cut_back_after(1);
    let error = store
        .insert(owner, &sinks(), &many("a", 0..5))
        .expect_err("the answer was cut off");
    assert!(matches!(error, StoreError::Ambiguous(_)), "{error:?}");
    let rows = eventually("its own rows are found", || {
        store
            .claim(owner, &sink(), super::ROOM, &|_| false)
            .ok()
            .filter(|rows| rows.len() == 6)
    });
    assert_eq!(rows.len(), 6);
    let again = insert(&*store, owner, &many("a", 0..5));
    assert!(
        again
            .iter()
            .all(|inserted| matches!(inserted, Inserted::Duplicate(_))),
        "{again:?}"
    );
}

#[test]
fn a_terminated_connection_is_replaced() {
    let place = Postgres::at(servers::postgres());
    // Its own name, so that no other test's connections are meant.
    let there = Postgres {
        url: format!("{}?application_name=terminated", place.url),
        schema: place.schema.clone(),
    };
    let store = open(&there.config(), 1).expect("a store");
    store.prepare().expect("prepared");
    let owner = alive(&*store);
    for round in 0..3 {
        insert(&*store, owner, &many(&format!("{round} "), 0..3));
        place.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'terminated'");
        eventually("it works again", || store.backlog().ok());
    }
    assert_eq!(backlog(&*store).depth, 9);
}

#[test]
fn a_silent_network_costs_the_connect_timeout_and_no_more() {
    let place = Postgres::at(servers::postgres());
    let (_runtime, proxy, there) = proxied(&place);
    proxy.set(Line::Silent);
    let mut config = there.config();
    config.connect_timeout = Duration::from_secs(1);
    let store = open(&config, 1).expect("a store");
    assert!(matches!(store.prepare(), Err(StoreError::Unavailable(_))));
    proxy.set(Line::Open);
    eventually("it is prepared", || store.prepare().ok());
    insert(&*store, InstanceId::random(), &many("a", 0..1));
}

#[test]
fn a_frozen_server_ends_the_lease_and_a_thawed_one_brings_it_back() {
    let server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    let mut config = place.config();
    config.lease = Duration::from_secs(1);
    let store = open(&config, 2).expect("a store");
    let (health, (lifeline, vigil)) = (Health::default(), CriticalTask::new());
    let metrics = Metrics::new().expect("metrics");
    let keeper = Keeper::start(
        kept(store, InstanceId::random(), &metrics, &health),
        &config,
        &lifeline,
    )
    .expect("a keeper");
    let lease = keeper.lease();
    eventually("the lease", || lease.is_held().then_some(()));
    server.pause();
    eventually(
        "the lease ends, though the statement that renews it hangs",
        || (!lease.is_held()).then_some(()),
    );
    server.resume();
    eventually("the lease is back", || lease.is_held().then_some(()));
    vigil.stopping();
    assert!(keeper.stop(false));
}

#[test]
fn a_url_without_a_server_names_neither_user_nor_password() {
    let place = Postgres {
        url: "postgres://someone:hunter2@127.0.0.1:9/nothing".into(),
        schema: "x".into(),
    };
    let error = open(&place.config(), 1)
        .expect("a store")
        .prepare()
        .expect_err("nobody listens on port 9")
        .to_string();
    assert!(
        error.contains("127.0.0.1") && !error.contains("hunter2") && !error.contains("someone"),
        "{error}"
    );
}

#[test]
fn a_lease_is_on_the_clock_of_the_database() {
    let place = Postgres::fresh();
    let store = place.store();
    let (dead, me) = (alive(&*store), alive(&*store));
    insert(&*store, dead, &many("a", 0..3));
    place.execute("UPDATE instance SET alive_until = now() - interval '1 millisecond'");
    store.renew_lease(me, LONG).expect("a lease");
    assert_eq!(claim_all(&*store, me).len(), 3);
}

#[test]
fn a_known_event_fails_the_plain_statement_once_and_is_looked_out_for_from_then_on() {
    let place = Postgres::fresh();
    let store = place.store();
    let owner = alive(&*store);
    // A number is taken for each row of each attempt, whatever becomes of it.
    let taken = || place.count("generate_series(1, (SELECT last_value FROM event_seq))");
    let known = |events: &[_]| {
        insert(&*store, owner, events)
            .iter()
            .filter(|one| matches!(one, Inserted::Duplicate(_)))
            .count()
    };
    insert(&*store, owner, &many("a", 0..10));
    assert_eq!(taken(), 10);
    assert_eq!(known(&many("a", 5..15)), 5);
    assert_eq!(
        taken(),
        30,
        "twice ten: it failed, and was stored by the other form"
    );
    assert_eq!(known(&many("a", 10..20)), 5);
    assert_eq!(known(&many("b", 0..10)), 0);
    assert_eq!(taken(), 50, "once each");
    assert_eq!(backlog(&*store).depth, 30);
}

fn kept(
    store: Arc<dyn Store>,
    instance: InstanceId,
    metrics: &Arc<Metrics>,
    health: &Health,
) -> Kept {
    let (component, outbox) = (health.component("store"), health.component("outbox"));
    Kept {
        pauses: PauseWatch::new(
            store.clone(),
            PauseBoard::new(metrics.clone(), health.aside("paused")),
        ),
        store,
        instance,
        known: Reached::beside(None, ""),
        longest_window: LONG,
        metrics: metrics.clone(),
        health: component,
        outbox,
        sinks: sinks(),
    }
}
