//! PostgreSQL goes away under load, in each of the ways it does; the senders hardly notice.

use std::time::{Duration, Instant};

use diesel::{Connection as _, PgConnection, RunQueryDsl as _};
use hookweir::faults::points::SPOOL_POINTS;

use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::load::{Load, Running};
use hookweir_testkit::oracle::Account;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::proxy::{Line, Proxy};
use hookweir_testkit::servers::{Server, address};
use hookweir_testkit::sink::files;

use crate::signals::logs;

fn config(postgres: &str, options: &str) -> String {
    format!(
        "[store]\nurl = \"{postgres}\"\nlease_secs = 5\n{options}\n{}",
        patient_sources()
    )
}

fn steady(app: &App) -> Running {
    Load {
        connections: 16,
        rate: Some(200.0),
        ..Load::on(&[app.listen])
    }
    .start()
}

/// Starting and stopping servers blocks; the load goes on meanwhile.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// At least 99.9 % of the deliveries were answered 2xx.
fn check_answers(ledger: &Ledger) {
    let answers = ledger.answers(false);
    let (taken, others): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|(label, _)| label.starts_with("200"));
    let sum =
        |counts: Vec<(&String, &usize)>| counts.iter().map(|(_, count)| **count).sum::<usize>();
    let (taken, others) = (sum(taken), sum(others));
    assert!(
        others * 1000 <= taken,
        "{others} of {} deliveries were not answered 2xx: {answers:?}",
        taken + others
    );
}

async fn until(app: &App, what: &str, done: impl Fn(f64) -> bool) {
    let since = Instant::now();
    loop {
        let value = app.metrics().await.get(what);
        if done(value) {
            return;
        }
        assert!(
            since.elapsed() < Duration::from_secs(120),
            "{what} is {value} after two minutes:\n{}",
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the spool and then the outbox are empty, and stops.
async fn settle(app: &mut App, ledger: &Ledger, database: &Server, schema: &str) -> Account {
    until(app, "hookweir_spool_rows", |rows| rows == 0.0).await;
    // Asked of the database itself: the gauge may be some seconds old.
    let since = Instant::now();
    while blocking(|| outbox_rows(&database.url, schema)) > 0 {
        assert!(
            since.elapsed() < Duration::from_secs(120),
            "rows are still in the outbox after two minutes:\n{}",
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(app.stop().await.success(), "{}", app.log());
    Account::of(ledger, &files(&app.events()))
}

fn outbox_rows(url: &str, schema: &str) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Rows {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
    }
    let mut connection = PgConnection::establish(url).expect("PostgreSQL answers the test");
    let rows = diesel::sql_query(format!("SELECT count(*) AS count FROM {schema}.outbox"))
        .get_result::<Rows>(&mut connection);
    rows.expect("it has an outbox").count
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_killed_hardly_a_delivery_is_refused_and_none_is_lost_or_copied() {
    let mut database = blocking(Server::postgres);
    let mut app = App::start(&config(&database.url, "")).await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| database.stop());
    load.until_taken(1000).await;
    until(&app, "hookweir_spool_rows", |rows| rows > 100.0).await;
    blocking(|| database.start());
    load.until_taken(200).await;
    until(&app, "hookweir_spool_rows", |rows| rows == 0.0).await;
    blocking(|| database.kill());
    load.until_taken(500).await;
    blocking(|| database.start());
    load.until_taken(500).await;
    let ledger = load.finish().await;
    ledger.check();
    check_answers(&ledger);
    settle(&mut app, &ledger, &database, "hookweir")
        .await
        .check_once();
}

/// The processes stay, and so do the connections, but nothing answers.
fn hookweir(app: &App, arguments: &[&str]) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_hookweir");
    let output = std::process::Command::new(program)
        .args(arguments)
        .args(["--config", "config.toml"])
        .current_dir(app.folder())
        .output();
    let output = output.expect("the command runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}

/// PostgreSQL refuses rows that came while it was away: they are parked in the spool, `/readyz` says so, and a command brings them back.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_degrades_readiness_until_a_command_puts_it_back() {
    let mut database = blocking(Server::postgres);
    let mut app = App::start(&config(&database.url, "")).await;
    let sql = |url: &str, sql: &str| {
        use diesel::connection::SimpleConnection as _;
        let mut connection = PgConnection::establish(url).expect("PostgreSQL answers the test");
        connection.batch_execute(sql).expect(sql);
    };
    let count = 6;
    let send = |app: &App, seed| {
        Load {
            connections: 2,
            providers: vec![Provider::Stripe],
            seed,
            forged: 0,
            ..Load::on(&[app.listen])
        }
        .send(count)
    };
    // One that PostgreSQL takes first, so that it was there.
    let mut ledger = send(&app, 1).await;
    sql(
        &database.url,
        "ALTER TABLE hookweir.event ADD CONSTRAINT no CHECK (source <> 'stripe') NOT VALID",
    );
    blocking(|| database.stop());
    ledger.entries.extend(send(&app, 2).await.entries);
    blocking(|| database.start());
    until(&app, "hookweir_parked_total", |parked| {
        parked == count as f64
    })
    .await;
    until(&app, "hookweir_spool_rows", |rows| rows == 0.0).await;
    let health = app.health().await;
    assert!(
        health.contains("degraded")
            && health.contains("6 events")
            && health.contains("hookweir parked"),
        "{health}"
    );

    let (code, listed) = blocking(|| hookweir(&app, &["parked"]));
    assert!(
        code == Some(0) && listed.matches("spool:").count() == count && listed.contains("stripe"),
        "{listed}"
    );
    let id = listed.split_whitespace().next().expect("an id").to_owned();
    for (arguments, expected) in [
        (&["parked", "retry"][..], 64),
        (&["parked", "discard", "--reason", "x"][..], 64),
        (&["parked", "retry", "nonsense"][..], 64),
    ] {
        let (code, said) = blocking(|| hookweir(&app, arguments));
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
    }
    let (code, shown) = blocking(|| hookweir(&app, &["parked", "show", &id]));
    assert!(code == Some(0) && shown.contains("evt_"), "{shown}");
    sql(
        &database.url,
        "ALTER TABLE hookweir.event DROP CONSTRAINT no",
    );
    let (code, said) = blocking(|| hookweir(&app, &["parked", "retry", &id]));
    assert!(code == Some(0) && said.contains("1 put back"), "{said}");
    let (code, said) = blocking(|| hookweir(&app, &["parked", "retry", "--all"]));
    assert!(code == Some(0) && said.contains("5 put back"), "{said}");
    app.until_healthy().await;
    settle(&mut app, &ledger, &database, "hookweir")
        .await
        .check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_hardly_a_delivery_is_refused_and_none_is_lost_or_copied() {
    let database = blocking(Server::postgres);
    let mut app = App::start(&config(&database.url, "")).await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| database.pause());
    load.until_taken(1500).await;
    blocking(|| database.resume());
    load.until_taken(500).await;
    let ledger = load.finish().await;
    ledger.check();
    check_answers(&ledger);
    settle(&mut app, &ledger, &database, "hookweir")
        .await
        .check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_black_hole_hardly_a_delivery_is_refused_and_none_is_lost_or_copied() {
    let database = blocking(Server::postgres);
    let server = address(&database.url);
    let proxy = Proxy::to(server).await;
    let url = database
        .url
        .replace(&server.to_string(), &proxy.address.to_string());
    let mut app = App::start(&config(
        &url,
        "connect_timeout_ms = 1000\nstatement_timeout_ms = 2000",
    ))
    .await;
    let load = steady(&app);
    for line in [Line::Silent, Line::Cut] {
        load.until_taken(200).await;
        proxy.set(line);
        load.until_taken(1000).await;
        proxy.set(Line::Open);
        load.until_taken(500).await;
    }
    // The answers of some commits are lost on their way: those events are in both places.
    for _ in 0..10 {
        load.until_taken(20).await;
        proxy.cut_back_after(fastrand::i64(1..600));
    }
    load.until_taken(100).await;
    proxy.cut_back_after(i64::MAX);
    let ledger = load.finish().await;
    ledger.check();
    check_answers(&ledger);
    settle(&mut app, &ledger, &database, "hookweir")
        .await
        .check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_killed_in_mid_outage_and_started_without_postgres_accepts_and_loses_nothing() {
    let mut database = blocking(Server::postgres);
    let mut app = App::start(&config(&database.url, "")).await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| database.stop());
    for _ in 0..5 {
        load.until_taken(100).await;
        app.kill();
        app.start_again().await;
    }
    app.ready().await;
    let health = app.health().await;
    assert!(
        health.contains("degraded")
            && health.contains("events")
            && health.contains("on one local disk"),
        "{health}"
    );
    load.until_taken(200).await;
    // And once in order: what it has spooled stays there.
    assert!(app.stop().await.success());
    logs(&app, "events stay in the spool").await;
    app.start_again().await;
    load.until_taken(100).await;
    blocking(|| database.start());
    load.until_taken(200).await;
    let ledger = load.finish().await;
    ledger.check();
    settle(&mut app, &ledger, &database, "hookweir")
        .await
        .check();
}

#[tokio::test(flavor = "multi_thread")]
async fn full_it_is_a_503_as_without_a_spool_and_still_nothing_is_lost() {
    let mut database = blocking(Server::postgres);
    let config = config(&database.url, "[spool]\nmax_bytes = 1048576");
    // What cannot be spooled is to be refused soon.
    let mut app = App::start(&config.replace("deadline_ms = 15000\n", "")).await;
    blocking(|| database.stop());
    let load = Load {
        providers: vec![Provider::Stripe],
        rate: Some(100.0),
        ..Load::on(&[app.listen])
    }
    .start();
    let why = app.not_ready().await;
    assert!(
        why.contains("spool.max_bytes"),
        "it says what is full: {why}"
    );
    let taken = load.taken();
    assert!((100..=512).contains(&taken), "{taken} fit in 1 MiB");
    blocking(|| database.start());
    app.ready().await;
    load.until_taken(100).await;
    let ledger = load.finish().await;
    ledger.check();
    assert!(
        ledger.answers(false).contains_key("503"),
        "{:?}",
        ledger.answers(false)
    );
    settle(&mut app, &ledger, &database, "hookweir")
        .await
        .check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_any_point_on_the_way_out_of_the_spool_loses_nothing() {
    let mut database = blocking(Server::postgres);
    for point in SPOOL_POINTS {
        let config = config(&database.url, &format!("schema = \"{point}\""));
        let mut app =
            App::launch_with(&config, &[("FAILPOINTS", format!("{point}=1*off->return"))]).await;
        app.ready().await;
        let load = steady(&app);
        load.until_taken(100).await;
        blocking(|| database.stop());
        tokio::time::sleep(Duration::from_secs(3)).await;
        blocking(|| database.start());
        // While its lease runs it tries to drain, and may have died already.
        let status = app.ended(Duration::from_secs(60)).await;
        assert_eq!(status.code(), None, "{point}: it was to abort: {status}");
        app.clear_environment();
        app.start_again().await;
        load.until_taken(100).await;
        let ledger = load.finish().await;
        ledger.check();
        // What was being published when it died may be there twice.
        settle(&mut app, &ledger, &database, point).await.check();
    }
}
