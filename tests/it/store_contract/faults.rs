//! Faults of the server, of rights and of sessions: none is taken for a row's, whatever the number of rows.

use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use hookweir::domain::delivery::InstanceId;
use hookweir::store::{Inserted, Store, StoreError, open};

use crate::store_contract::{
    LONG, Place, Postgres, accepted, batch, event, insert, insert_patiently, many, sinks,
};
use hookweir_testkit::servers::{self, Server};

/// One to seven are what a quiet hour has in an outage; more are taken apart in another way.
const SIZES: [usize; 5] = [1, 2, 4, 7, 30];

/// A place whose store logs in as a role of its own, without rights but those on its schema.
pub(super) struct WithRole {
    pub(super) place: Postgres,
    pub(super) role: String,
}

impl WithRole {
    pub(super) fn new(url: &str) -> Self {
        let place = Postgres::at(url.to_owned());
        let role = format!("role_{}", uuid::Uuid::now_v7().simple());
        place.execute(&format!(
            "CREATE ROLE {role} LOGIN; CREATE SCHEMA \"{}\" AUTHORIZATION {role}",
            place.schema
        ));
        Self { place, role }
    }

    pub(super) fn login(&self) -> Postgres {
        let url = self.place.url.replace(
            "postgres://postgres@",
            &format!("postgres://{}@", self.role),
        );
        Postgres {
            url,
            schema: self.place.schema.clone(),
        }
    }
}

impl Drop for WithRole {
    fn drop(&mut self) {
        if let Ok(mut connection) = PgConnection::establish(&self.place.url) {
            let _ = connection.batch_execute(&format!(
                "DROP OWNED BY {0} CASCADE; DROP ROLE {0}",
                self.role
            ));
        }
    }
}

/// While `fault` lasts no row is refused; after `mended` all are stored, by the same store.
fn is_no_rows_fault(name: &str, store: &dyn Store, fault: impl Fn(), mended: impl Fn()) {
    let owner = InstanceId::random();
    for size in SIZES {
        let events = many(&format!("{name} {size} "), 0..size);
        fault();
        for _ in 0..2 {
            match store.insert(owner, &sinks(), &events) {
                Err(StoreError::Unavailable(_) | StoreError::Ambiguous(_)) => {}
                other => panic!("{name}, {size} events: {other:?}"),
            }
        }
        mended();
        let stored = insert(store, owner, &events);
        let fine = |inserted: &Inserted| {
            matches!(inserted, Inserted::Accepted(_) | Inserted::Duplicate(_))
        };
        assert!(
            stored.iter().all(fine),
            "{name}, {size} events, mended: {stored:?}"
        );
    }
}

/// Rights, tables and the sequence.
#[test]
fn lost_rights_and_missing_things_refuse_no_event() {
    let with_role = WithRole::new(&servers::postgres());
    let (place, role) = (&with_role.place, &with_role.role);
    let login = with_role.login();
    let store = login.store();
    insert(&*store, InstanceId::random(), &many("warm", 0..3));
    let cases = [
        (
            "insert",
            "REVOKE INSERT ON event FROM {role}",
            "GRANT INSERT ON event TO {role}",
        ),
        (
            "insert into outbox",
            "REVOKE INSERT ON outbox FROM {role}",
            "GRANT INSERT ON outbox TO {role}",
        ),
        (
            "sequence usage",
            "REVOKE ALL ON SEQUENCE event_seq FROM {role}",
            "GRANT ALL ON SEQUENCE event_seq TO {role}",
        ),
        (
            "sequence",
            "ALTER SEQUENCE event_seq RENAME TO gone",
            "ALTER SEQUENCE gone RENAME TO event_seq",
        ),
        (
            "sequence at its end",
            "DO $$ BEGIN EXECUTE format('ALTER SEQUENCE event_seq MAXVALUE %s', nextval('event_seq')); END $$",
            "ALTER SEQUENCE event_seq NO MAXVALUE",
        ),
        (
            "table",
            "ALTER TABLE event RENAME TO gone",
            "ALTER TABLE gone RENAME TO event",
        ),
        (
            "column",
            "ALTER TABLE event RENAME body TO gone",
            "ALTER TABLE event RENAME gone TO body",
        ),
        (
            "schema",
            "ALTER SCHEMA \"{schema}\" RENAME TO \"{schema} gone\"",
            "ALTER SCHEMA \"{schema} gone\" RENAME TO \"{schema}\"",
        ),
        (
            "a check that nothing passes",
            "ALTER TABLE event ADD CONSTRAINT no CHECK (received_at < -1) NOT VALID",
            "ALTER TABLE event DROP CONSTRAINT no",
        ),
    ];
    for (name, fault, mended) in cases {
        let run = |sql: &str| {
            place.execute(
                &sql.replace("{role}", role)
                    .replace("{schema}", &place.schema),
            )
        };
        is_no_rows_fault(name, &*store, || run(fault), || run(mended));
    }
}

#[test]
fn a_read_only_server_refuses_no_event() {
    let server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    let store = place.store();
    let set = |value: &str| {
        place.execute(&format!(
            "ALTER SYSTEM SET default_transaction_read_only = {value}"
        ));
        place.execute("SELECT pg_reload_conf()");
        let is_read_only = || store.renew_lease(InstanceId::random(), LONG).is_err();
        super::eventually("the store's sessions have heard of it", || {
            (is_read_only() == (value == "on")).then_some(())
        });
    };
    is_no_rows_fault("read-only", &*store, || set("on"), || set("off"));
}

#[test]
fn statements_that_were_lost_are_prepared_anew() {
    let place = Postgres::at(servers::postgres());
    let store = place.store();
    let owner = InstanceId::random();
    place.execute(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN NEW; END $$;
         CREATE TRIGGER lose AFTER INSERT ON event FOR EACH STATEMENT EXECUTE FUNCTION lose()",
    );
    for size in SIZES {
        let events = many(&format!("{size} "), 0..size);
        assert_eq!(
            insert(&*store, owner, &events)
                .iter()
                .filter_map(accepted)
                .count(),
            size,
            "{size} events"
        );
        store
            .backlog()
            .expect("or an error that ends with its connection");
    }
}

#[test]
fn waiting_for_a_lock_refuses_no_event() {
    let place = Postgres::at(servers::postgres());
    let mut config = place.config();
    config.statement_timeout = Duration::from_millis(1000);
    let store = open(&config, 2).expect("a store");
    store.prepare().expect("prepared");
    let owner = InstanceId::random();
    let events = many("a", 0..3);
    // Another client has stored one of them, and does not end its transaction; the key alone is held, others get through.
    let mut other = place.connect();
    let key: String = events[1]
        .key
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    other
        .batch_execute(&format!(
            "BEGIN; INSERT INTO dedup (key, digest, source, seq, expires_at) VALUES ('\\x{key}', '', 's', 0, now() + interval '1 day')"
        ))
        .expect("another client");
    for batch in [&events[1..2], &events[..]] {
        let result = store.insert(owner, &sinks(), batch);
        assert!(
            matches!(
                result,
                Err(StoreError::Unavailable(_) | StoreError::Ambiguous(_))
            ),
            "{result:?}"
        );
    }
    other.batch_execute("ROLLBACK").expect("it ends");
    let (stored, _) = insert_patiently(&*store, owner, &events);
    assert!(
        stored
            .iter()
            .all(|inserted| matches!(inserted, Inserted::Accepted(_) | Inserted::Duplicate(_))),
        "{stored:?}"
    );
    // And a statement that takes too long.
    place.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    for size in [1, 3] {
        let result = store.insert(owner, &sinks(), &many(&format!("slow {size} "), 0..size));
        assert!(
            matches!(result, Err(StoreError::Unavailable(_))),
            "{result:?}"
        );
    }
}

/// A row that is to blame is refused alone, too: nothing behind it would get through else.
#[test]
fn a_lone_row_that_is_to_blame_is_refused() {
    let place = Postgres::at(servers::postgres());
    let store = place.store();
    place.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF NEW.event_id LIKE 'bad%' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER no BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION no()",
    );
    let bad = batch([event("bad", "x")]);
    let (inserted, _) = insert_patiently(&*store, InstanceId::random(), &bad);
    assert!(
        matches!(&inserted[..], [Inserted::Refused(why)] if why.contains("not this one")),
        "{inserted:?}"
    );
}

#[test]
fn a_full_disk_refuses_no_event_however_few_there_are() {
    let Some(server) = Server::postgres_on_small_disk(160) else {
        return;
    };
    let place = Postgres::at(server.url.clone());
    let store = place.store();
    let owner = InstanceId::random();
    insert(&*store, owner, &many("warm", 0..3));
    let ballast = server.files().join("ballast");
    for (round, size) in [1, 2, 5].into_iter().enumerate() {
        // All but a little: small rows find room, in pages that are there, large ones do not.
        let room = free_bytes(server.files()).saturating_sub(256 << 10);
        std::fs::write(&ballast, vec![1; usize::try_from(room).expect("it fits")])
            .expect("ballast");
        let events = batch((0..size).map(|n| event(&format!("{round} {n}"), vec![7; 3 << 20])));
        for _ in 0..2 {
            let result = store.insert(owner, &sinks(), &events);
            assert!(
                matches!(
                    result,
                    Err(StoreError::Unavailable(_) | StoreError::Ambiguous(_))
                ),
                "{size}: {result:?}"
            );
        }
        std::fs::remove_file(&ballast).expect("room again");
        let stored = insert(&*store, owner, &events);
        assert!(
            stored
                .iter()
                .all(|inserted| matches!(inserted, Inserted::Accepted(_) | Inserted::Duplicate(_))),
            "{stored:?}"
        );
        place.execute("VACUUM FULL event");
    }
}

fn free_bytes(folder: &std::path::Path) -> u64 {
    let output = std::process::Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(folder)
        .output()
        .expect("df runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .nth(1)
        .and_then(|line| line.trim().parse().ok())
        .expect("df says a number")
}

#[test]
fn a_standby_is_not_ready() {
    let mut server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    place.store();
    server.stop();
    std::fs::write(server.files().join("data/standby.signal"), "").expect("a demotion");
    server.start();
    // By default libpq looks for a server that takes writes; whatever an operator asks for, a standby is none.
    for attributes in ["", "?target_session_attrs=any"] {
        let there = Postgres {
            url: format!("{}{attributes}", place.url),
            schema: place.schema.clone(),
        };
        let error = open(&there.config(), 1)
            .expect("a store")
            .prepare()
            .expect_err("it takes no writes");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
}

#[test]
fn a_server_whose_durability_lies_elsewhere_is_known_by_what_it_says() {
    let server = Server::postgres();
    let place = Postgres::at(server.url.clone());
    let prepared = || open(&place.config(), 1).expect("a store").prepare();
    place.execute("ALTER SYSTEM SET fsync = off");
    place.execute("ALTER SYSTEM SET full_page_writes = off");
    place.execute("SELECT pg_reload_conf()");
    thread::sleep(Duration::from_millis(300));
    let refused = |why: &str| {
        let error = prepared().expect_err(why);
        assert!(
            matches!(&error, StoreError::Unfit(text) if text.contains("fsync")),
            "{why}: {error:?}"
        );
    };
    refused("an ordinary server");
    // Names that anybody can choose say nothing.
    place.execute(
        "CREATE FUNCTION public.aurora_version() RETURNS text LANGUAGE sql AS $$ SELECT '1' $$",
    );
    let configure = |lines: &str| {
        std::fs::write(server.files().join("data/neon.conf"), lines).expect("a file");
        place.execute("SELECT pg_reload_conf()");
        thread::sleep(Duration::from_millis(300));
    };
    let main = server.files().join("data/postgresql.conf");
    let lines = std::fs::read_to_string(&main).expect("its configuration");
    std::fs::write(&main, lines + "include_if_exists = 'neon.conf'\n").expect("a line more");
    let id = "0123456789abcdef0123456789abcdef";
    configure("neon.tenant_id = 'mine'\nneon.timeline_id = 'mine'\n");
    refused("names");
    configure(&format!("neon.tenant_id = '{id}'\nneon.timeline_id = ''\n"));
    refused("half of Neon");
    configure(&format!(
        "neon.tenant_id = '{id}'\nneon.timeline_id = '{id}'\n"
    ));
    prepared().expect("Neon");
    configure("neon.tenant_id = ''\nneon.timeline_id = ''\n");
    refused("not any more");
    place.execute(
        "SET allow_system_table_mods = on; CREATE FUNCTION pg_catalog.aurora_version() RETURNS text LANGUAGE sql AS $$ SELECT '1' $$",
    );
    prepared().expect("Aurora");
}
