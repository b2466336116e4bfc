//! Upgrade and rollback: this program on the schema of a later release; and, by `tests/upgrade`, the program of the
//! release before beside this one and after it.

use std::path::PathBuf;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection, sql_query};
use fastrand::Rng;
use hookweir_testkit::app::{App, Launch, patient_sources};
use hookweir_testkit::ledger::{Answer, Ledger};
use hookweir_testkit::load::{Load, client, post};
use hookweir_testkit::oracle::Account;
use hookweir_testkit::program;
use hookweir_testkit::provider::{Event, Provider, now};
use hookweir_testkit::sink::{files, files_hold};

/// Headers that each release has set.
const MARKS: [&str; 2] = ["x-hookweir-conflict-of", "x-hookweir-same-bytes-as"];

/// Deliveries of one step.
const STEP: usize = 1000;

/// Path of the program of the release before.
fn old_program() -> PathBuf {
    let path = std::env::var_os("HOOKWEIR_TEST_OLD_PROGRAM");
    PathBuf::from(path.expect("tests/upgrade names the program of the release before"))
}

/// Starts the program of the release before.
async fn start_old(config: &str) -> App {
    let launch = Launch {
        program: Some(old_program()),
        ..Launch::default()
    };
    let app = App::launch_as(config, launch).await;
    app.ready().await;
    app
}

/// Mixed load of other events than in the steps before.
fn load(step: u64, instances: &[&App]) -> Load {
    let targets: Vec<_> = instances.iter().map(|app| app.listen).collect();
    Load {
        everywhere: targets.len() > 1,
        seed: step,
        ..Load::on(&targets)
    }
}

/// Events that one program gets first and the other one later.
fn sent_twice(seed: u64) -> Vec<Event> {
    let mut rng = Rng::with_seed(seed);
    let providers = Provider::ALL.into_iter().cycle().take(50);
    providers.map(|provider| provider.event(&mut rng)).collect()
}

/// Sends each event to `app`. Returns their message ids, and whether they were new.
async fn send(app: &App, events: &[Event]) -> Vec<(String, bool)> {
    let (client, mut answers) = (client(), Vec::new());
    for event in events {
        let provider = event.provider;
        let headers = event.signed(provider.secret(), now());
        let body = event.body.clone();
        match post(&client, app.listen, provider.name(), headers, body).await {
            Answer::Taken { id, new } => answers.push((id, new)),
            other => panic!("{} of {}: {other:?}", event.id, provider.name()),
        }
    }
    answers
}

/// Checks that `second` knows what `first` has taken, by the same message ids.
async fn check_known(first: &App, second: &App, seed: u64) {
    let events = sent_twice(seed);
    let taken = send(first, &events).await;
    assert!(taken.iter().all(|(_, new)| *new), "{taken:?}");
    let again = send(second, &events).await;
    assert!(again.iter().all(|(_, new)| !*new), "{again:?}");
    let ids = |answers: Vec<(String, bool)>| answers.into_iter().map(|(id, _)| id);
    assert!(ids(taken).eq(ids(again)), "other message ids");
}

async fn stop(app: &mut App) {
    let status = app.stop().await;
    assert!(status.success(), "a stop in order: {status}\n{}", app.log());
}

/// Statements of a migration that a later release might bring: a column more in each table, and a table.
fn later_migration(tables: &[String], now: &str) -> String {
    let columns = tables.iter();
    let columns = columns.map(|table| format!("ALTER TABLE {table} ADD COLUMN later TEXT;\n"));
    let columns: String = columns.collect();
    format!(
        "{columns}CREATE TABLE of_a_later_release (id INTEGER);\n
         INSERT INTO __diesel_schema_migrations (version, run_on) VALUES ('20991231000001', {now});"
    )
}

/// Mark of a migration that takes something away.
const MARK: &str = "UPDATE __diesel_schema_migrations SET version = '20991231000001drop' WHERE version = '20991231000001'";

#[derive(diesel::QueryableByName)]
struct Table {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_this_program_goes_on_after_a_later_one_has_added_to_the_schema() {
    let mut app = App::start(&patient_sources()).await;
    let events = sent_twice(1);
    send(&app, &events).await;
    stop(&mut app).await;
    let path = app.folder().join("data/hookweir.db");
    let connect = || SqliteConnection::establish(path.to_str().expect("text")).expect("the store");
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_\\_%' ESCAPE '\\'";
    let tables: Vec<Table> = sql_query(tables).load(&mut connect()).expect("tables");
    let tables: Vec<String> = tables.into_iter().map(|table| table.name).collect();
    assert!(tables.len() > 10, "{tables:?}");
    let later = later_migration(&tables, "CURRENT_TIMESTAMP");
    connect().batch_execute(&later).expect("migrated");
    app.start_again().await;
    app.ready().await;
    let again = send(&app, &events).await;
    assert!(again.iter().all(|(_, new)| !*new), "{again:?}");
    let ledger = load(2, &[&app]).send(STEP).await;
    ledger.check_faultless();
    files_hold(&app.events(), ledger.genuine().count() + events.len()).await;
    stop(&mut app).await;
    let mut messages = files(&app.events());
    messages.retain(|message| events.iter().all(|event| event.id != message.event_id));
    Account::of(&ledger, &messages).check_once();

    connect().batch_execute(MARK).expect("marked");
    app.start_again().await;
    let why = app.not_ready().await;
    assert!(why.contains("use the newer release"), "{why}");
}

#[ignore = "needs the program of the release before: tests/upgrade"]
#[tokio::test(flavor = "multi_thread")]
async fn on_one_sqlite_file_the_new_program_and_the_old_one_take_turns() {
    let mut app = start_old(&patient_sources()).await;
    let (mut ledger, mut known) = (Ledger::default(), Vec::new());
    let programs = [old_program(), program(), old_program(), program()];
    for (step, program) in programs.into_iter().enumerate() {
        if step > 0 {
            stop(&mut app).await;
            app.set_program(program);
            app.start_again().await;
            app.ready().await;
            // What the other one has taken is known.
            let again = send(&app, &sent_twice(100 + step as u64 - 1)).await;
            assert!(again.iter().all(|(_, new)| !*new), "{again:?}");
            assert_eq!(again, known, "other message ids");
        }
        let step = step as u64;
        let sent = load(step, &[&app]).send(STEP).await;
        sent.check_faultless();
        ledger.entries.extend(sent.entries);
        known = send(&app, &sent_twice(100 + step)).await;
        assert!(known.iter().all(|(_, new)| *new), "{known:?}");
        known.iter_mut().for_each(|(_, new)| *new = false);
    }
    files_hold(
        &app.events(),
        ledger.genuine().count() + 4 * sent_twice(0).len(),
    )
    .await;
    stop(&mut app).await;
    let twice: Vec<String> = (100..104)
        .flat_map(sent_twice)
        .map(|event| event.id)
        .collect();
    let mut messages = files(&app.events());
    messages.retain(|message| !twice.contains(&message.event_id));
    Account::of(&ledger, &messages).check_once();
}

mod with_servers {
    use super::*;
    use crate::e2e::with_servers::{Place, WITHOUT_SPOOL};
    use hookweir_testkit::servers::{amqp, postgres};

    /// Sends a step of load to `instances`, and checks that the queue gets each of its events once.
    async fn step(number: u64, place: &Place, instances: &[&App]) {
        let ledger = load(number, instances).send(STEP).await;
        ledger.check_faultless();
        let queue = &place.queues.events;
        let expected = ledger.genuine().count();
        let patience = Duration::from_secs(120);
        let mut messages = place.queues.consume(queue, expected, patience).await;
        // A copy that comes late would be one more.
        tokio::time::sleep(Duration::from_secs(2)).await;
        messages.extend(place.queues.rest(queue).await);
        Account::of(&ledger, &messages).check_once();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgresql_this_program_goes_on_after_a_later_one_has_added_to_the_schema() {
        let place = Place::on(&postgres(), &amqp());
        let mut app = App::start(&place.patient_config()).await;
        step(1, &place, &[&app]).await;
        let mut database = PgConnection::establish(&postgres()).expect("connected");
        let schema = place.schema.as_str();
        let tables = format!(
            "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = '{schema}' AND tablename NOT LIKE '\\_\\_%'"
        );
        let tables: Vec<Table> = sql_query(tables).load(&mut database).expect("tables");
        let tables: Vec<String> = tables.into_iter().map(|table| table.name).collect();
        assert!(tables.len() > 10, "{tables:?}");
        // While it serves, and before it starts again.
        let later = later_migration(&tables, "now()");
        let later = format!("SET search_path = {schema}; {later}");
        database.batch_execute(&later).expect("migrated");
        step(2, &place, &[&app]).await;
        stop(&mut app).await;
        app.start_again().await;
        app.ready().await;
        step(3, &place, &[&app]).await;
        app.drained().await;
        stop(&mut app).await;

        database.batch_execute(MARK).expect("marked");
        app.start_again().await;
        let why = app.not_ready().await;
        assert!(why.contains("use the newer release"), "{why}");
        app.kill();
        place.remove().await;
    }

    #[ignore = "needs the program of the release before: tests/upgrade"]
    #[tokio::test(flavor = "multi_thread")]
    async fn beside_the_new_program_and_after_it_the_old_one_goes_on_on_the_new_schema() {
        let place = Place::on(&postgres(), &amqp());
        let config = format!("{WITHOUT_SPOOL}{}", place.patient_config());
        let mut old = start_old(&config).await;
        step(1, &place, &[&old]).await;

        // The new one brings the schema up while the old one serves under load.
        let running = load(2, &[&old]).start();
        let mut new = App::start(&config).await;
        running.until_taken(500).await;
        let ledger = running.finish().await;
        ledger.check_faultless();
        let expected = ledger.genuine().count();
        let queue = &place.queues.events;
        let patience = Duration::from_secs(120);
        let messages = place.queues.consume(queue, expected, patience).await;
        Account::of(&ledger, &messages).check_once();

        // Both at once get the same deliveries.
        step(3, &place, &[&old, &new]).await;
        check_known(&old, &new, 103).await;
        check_known(&new, &old, 104).await;
        let twice = place.queues.consume(queue, 100, patience).await;
        assert_eq!(twice.len(), 100);

        // Back: the new one is gone, and the old one is started on the new schema.
        stop(&mut new).await;
        step(5, &place, &[&old]).await;
        stop(&mut old).await;
        old.start_again().await;
        old.ready().await;
        step(6, &place, &[&old]).await;

        // And forward again; then without the old one.
        new.start_again().await;
        new.ready().await;
        step(7, &place, &[&new, &old]).await;
        stop(&mut old).await;
        step(8, &place, &[&new]).await;
        new.drained().await;
        stop(&mut new).await;
        place.remove().await;
    }

    #[ignore = "needs the program of the release before: tests/upgrade"]
    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_killed_program_leaves_in_the_outbox_the_other_one_publishes() {
        let place = Place::on(&postgres(), &amqp());
        let config = place.config();
        let mut old = start_old(&config).await;
        let mut new = App::start(&config).await;
        let running = load(1, &[&old, &new]).start();
        running.until_taken(500).await;
        old.kill();
        running.until_taken(500).await;
        old.start_again().await;
        old.ready().await;
        new.kill();
        running.until_taken(500).await;
        let ledger = running.finish().await;
        ledger.check();
        let queue = &place.queues.events;
        let expected = ledger.genuine().count();
        let patience = Duration::from_secs(120);
        let mut messages = place.queues.consume(queue, expected, patience).await;
        stop(&mut old).await;
        messages.extend(place.queues.rest(queue).await);
        // The release before may know fewer headers of ours, so that copies of both differ in these.
        for message in &mut messages {
            let ours = |name: &String| name.starts_with("x-hookweir-") && !MARKS.contains(&&**name);
            message.properties.retain(|name, _| !ours(name));
        }
        // Copies come after a kill, and nothing is lost.
        Account::of(&ledger, &messages).check();
        place.remove().await;
    }
}
