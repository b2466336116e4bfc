//! Events that are erased by the command of an operator: bodies go, keys stay.

use std::path::Path;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Text};
use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query,
};
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Event, Provider, now};
use hookweir_testkit::servers::postgres;
use serde_json::json;

use super::backup::{Kind, deliver, sql};
use super::quarantine::kept;
use super::{hookweir, ids, json as listed, raw, told, traced};

/// Files of the sink are closed after each line.
const FILES: &str = "[publisher]\nurl = \"file://data/events\"\nfile_max_bytes = 1024\n[[sink]]\nname = \"dead\"\nurl = \"amqp://127.0.0.1:1\"\n";

/// Text of all files of the sink.
fn lines(app: &App) -> String {
    let files = std::fs::read_dir(app.events()).expect("readable");
    let mut text = String::new();
    for file in files {
        let path = file.expect("a file").path();
        text += &std::fs::read_to_string(path).unwrap_or_default();
    }
    text
}

/// An event of a customer, as Stripe sends it.
fn stripe(id: &str, customer: &str) -> Event {
    Event {
        provider: Provider::Stripe,
        id: id.to_owned(),
        kind: "ping",
        body: format!(
            "{{\"id\":\"{id}\",\"type\":\"ping\",\"data\":{{\"customer\":\"{customer}\"}},\"filler\":\"{}\"}}",
            "x".repeat(900)
        )
        .into(),
    }
}

/// Sends an event with a wrong secret.
async fn refused(app: &App, event: &Event) {
    let headers = event.signed("whsec_of_nobody", now());
    let sent = post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
    assert!(matches!(sent, Answer::Status(400 | 401)), "{sent:?}");
}

/// Sends events of a customer with a wrong secret, in parts at once.
async fn many_refused(app: &App, count: usize, customer: &str) {
    let client = client();
    let events = (0..count).map(|n| stripe(&format!("evt_{n}"), customer));
    for part in events.collect::<Vec<_>>().chunks(20) {
        let posts = part.iter().map(|event| {
            let headers = event.signed("whsec_of_nobody", now());
            post(&client, app.listen, "stripe", headers, event.body.clone())
        });
        for sent in futures_util::future::join_all(posts).await {
            assert!(matches!(sent, Answer::Status(400 | 401)), "{sent:?}");
        }
    }
}

/// Files below a folder that have these bytes anywhere.
fn files_with(folder: &Path, bytes: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if let Ok(file) = std::fs::read(&path)
            && file
                .windows(bytes.len())
                .any(|part| part == bytes.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Rows {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// Tables of a schema of PostgreSQL that have these bytes in any column of any row.
fn tables_with(url: &str, schema: &str, bytes: &str) -> Vec<String> {
    let mut connection = PgConnection::establish(url).expect("PostgreSQL answers the test");
    let all = format!(
        "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = '{schema}'"
    );
    let tables: Vec<Table> = sql_query(all).load(&mut connection).expect("read");
    assert!(tables.len() > 10, "{} tables", tables.len());
    let hex: String = bytes.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut found = Vec::new();
    for Table { name } in tables {
        let count = format!(
            "SELECT count(*) AS rows FROM {schema}.{name} AS of_it WHERE strpos(of_it::text, '{bytes}') > 0 OR strpos(of_it::text, '{hex}') > 0"
        );
        let Rows { rows } = sql_query(count).get_result(&mut connection).expect("read");
        if rows > 0 {
            found.push(name);
        }
    }
    found
}

async fn erased(kind: Kind) {
    let config = kind.config();
    let mut app = App::start(&format!("{config}{FILES}{}", five_sources())).await;
    let first = stripe("evt_1", "cus_secret");
    deliver(&app, &first).await;
    deliver(&app, &stripe("evt_2", "cus_other")).await;
    deliver(&app, &stripe("evt_3", "cus_secret")).await;
    deliver(&app, &stripe("evt_4", "cus_other")).await;
    for id in ["evt_1", "evt_2", "evt_3", "evt_4"] {
        traced(&app, id, "default", "confirmed").await;
        traced(&app, id, "dead", "waiting").await;
    }
    // Two of them came with a wrong secret before, and one was cut on its way.
    refused(&app, &first).await;
    refused(&app, &stripe("evt_2", "cus_other")).await;
    refused(
        &app,
        &Event {
            body: first.body.slice(..500),
            ..first.clone()
        },
    )
    .await;
    kept(&app, &[], 3).await;
    let choice = [
        "erase",
        "--source",
        "stripe",
        "--subject",
        "/data/customer=cus_secret",
    ];
    let would = hookweir(&app, &choice).good();
    assert!(
        would.contains("2 events would be erased, and 2 refused deliveries")
            && would.contains("evt_1")
            && would.contains("evt_3"),
        "{would}"
    );
    hookweir(&app, &["show", "evt_1", "--body"]).good();
    kept(&app, &[], 3).await;
    hookweir(&app, &[&choice[..], &["--start"]].concat()).bad(64);

    let done = hookweir(
        &app,
        &[&choice[..], &["--start", "--reason", "the customer asked"]].concat(),
    );
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(
        done.out.contains("2 events erased from the store"),
        "{}",
        done.out
    );
    assert!(done.out.contains("2 lines taken out"), "{}", done.out);
    assert!(
        done.out.contains("2 refused deliveries erased"),
        "{}",
        done.out
    );
    kept(&app, &[], 1).await;
    assert!(
        done.err.contains("RabbitMQ of sink dead") && done.err.contains("lakehouse"),
        "{}",
        done.err
    );
    assert!(!lines(&app).contains("cus_secret") && lines(&app).contains("cus_other"));
    assert_eq!(ids(&listed(&app, &["events"])), ["evt_4", "evt_2"]);
    assert_eq!(hookweir(&app, &["show", "evt_1", "--body"]).code, Some(1));
    let waits = listed(&app, &["events", "--sink", "dead", "--state", "waiting"]);
    assert_eq!(ids(&waits), ["evt_4", "evt_2"]);

    // A redelivery is a duplicate, and is not stored again.
    let (_, is_new) = deliver(&app, &first).await;
    assert!(!is_new, "it is stored again");
    assert_eq!(ids(&listed(&app, &["events"])), ["evt_4", "evt_2"]);
    // An erasure by id, of an event whose line the service may still write beside.
    let by_id = [
        "erase", "evt_4", "--source", "stripe", "--start", "--reason", "asked",
    ];
    let done = hookweir(&app, &by_id);
    assert!(
        done.out.contains("1 events erased") && done.out.contains("0 refused deliveries erased"),
        "{}{}",
        done.out,
        done.err
    );
    let by_id = |id| {
        [
            "erase", id, "--source", "stripe", "--start", "--reason", "asked",
        ]
    };
    // Of evt_2 a refused delivery is kept.
    let done = hookweir(&app, &by_id("evt_2")).good();
    assert!(
        done.contains("1 events erased") && done.contains("1 refused deliveries erased"),
        "{done}"
    );
    kept(&app, &[], 0).await;
    let (_, recorded) = raw(&app, "GET", "/api/v1/audit?limit=50");
    assert!(
        recorded.contains("refused deliveries of source stripe"),
        "{recorded}"
    );
    let by_id = by_id("evt_4");
    let again = hookweir(&app, &by_id);
    assert!(
        again.out.contains("0 events erased") && again.err.contains("no stored event"),
        "{}{}",
        again.out,
        again.err
    );
    if kind == Kind::Postgres {
        let schema = config
            .split("schema = \"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let schema = schema.expect("a schema");
        assert_eq!(tables_with(&postgres(), schema, "cus_secret"), [""; 0]);
        assert_eq!(tables_with(&postgres(), schema, "evt_"), [""; 0]);
        return;
    }
    app.stop().await;
    // Free space may hold parts until then, as the runbook says.
    sql(&app.folder().join("data/hookweir.db"), "VACUUM");
    assert_eq!(files_with(app.folder(), "cus_secret"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_event_is_gone_from_store_and_closed_files_and_its_redelivery_a_duplicate() {
    erased(Kind::Sqlite).await;
}

/// Refused deliveries that wait in memory, because nothing can be stored, when somebody erases them.
async fn erased_on_their_way(kind: Kind) {
    let config = kind.config();
    let app = App::start(&format!("{config}{FILES}{}", five_sources())).await;
    let schema = config.split("schema = \"").nth(1).unwrap_or_default();
    let schema = schema.split('"').next().unwrap_or_default();
    let locked: Box<dyn FnOnce()> = match kind {
        Kind::Sqlite => {
            let path = app.folder().join("data/hookweir.db");
            let mut database =
                SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
            let lock = "PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE";
            database.batch_execute(lock).expect("locked");
            Box::new(move || database.batch_execute("COMMIT").expect("free"))
        }
        Kind::Postgres => {
            let mut database = PgConnection::establish(&postgres()).expect("connected");
            let lock = format!("BEGIN; LOCK TABLE {schema}.quarantine IN EXCLUSIVE MODE");
            database.batch_execute(&lock).expect("locked");
            Box::new(move || database.batch_execute("COMMIT").expect("free"))
        }
    };
    // More than the quarantine stores at once.
    many_refused(&app, 300, "cus_secret").await;
    refused(&app, &stripe("evt_other", "cus_other")).await;
    locked();
    let mut order = json!({
        "source": "stripe", "place": "quarantine", "pointer": "/data/customer", "value": "cus_secret",
        "start": true, "reason": "the customer asked",
    });
    let (mut gone, since) = (0, Instant::now());
    loop {
        let (status, answer) = told(&app, "/api/v1/erase", &order);
        // Nothing was erased yet.
        if status == 503 && since.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        assert_eq!(status, 200, "{answer}");
        gone += answer["erased"].as_u64().expect("a number");
        match answer.get("next") {
            Some(next) => order["before"] = next.clone(),
            None => break,
        }
    }
    assert_eq!(gone, 300);
    // What was refused last is stored: nothing before it is on its way any more.
    kept(&app, &[], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_deliveries_on_their_way_into_the_quarantine_do_not_outlive_an_erasure() {
    erased_on_their_way(Kind::Sqlite).await;
}

/// Tests that need a server.
mod with_servers {
    use hookweir_testkit::app::{App, five_sources};
    use hookweir_testkit::servers::Server;

    use super::super::backup::deliver;
    use super::super::{hookweir, ids, json, traced};
    use super::{FILES, Kind, erased, files_with, stripe, tables_with};

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgresql_an_erased_event_is_gone_and_its_redelivery_a_duplicate() {
        erased(Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgresql_refused_deliveries_on_their_way_do_not_outlive_an_erasure() {
        super::erased_on_their_way(Kind::Postgres).await;
    }

    fn sql(url: &str, statements: &str) {
        use diesel::Connection as _;
        use diesel::connection::SimpleConnection as _;
        let mut connection = diesel::PgConnection::establish(url).expect("PostgreSQL answers");
        connection.batch_execute(statements).expect(statements);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_event_that_is_erased_in_the_spool_is_in_no_file_and_its_redelivery_a_duplicate() {
        let mut database = tokio::task::block_in_place(Server::postgres);
        let config = format!(
            "[store]\nurl = \"{}\"\nlease_secs = 5\n{FILES}{}",
            database.url,
            five_sources()
        );
        let mut app = App::start(&config).await;
        deliver(&app, &stripe("evt_0", "cus_other")).await;
        // PostgreSQL refuses what comes while it is away: it stays in the spool.
        sql(
            &database.url,
            "ALTER TABLE hookweir.event ADD CONSTRAINT no CHECK (source <> 'stripe') NOT VALID",
        );
        tokio::task::block_in_place(|| database.stop());
        let first = stripe("evt_1", "cus_secret");
        for event in [
            &first,
            &stripe("evt_2", "cus_other"),
            &stripe("evt_3", "cus_secret"),
        ] {
            deliver(&app, event).await;
        }
        // Another body under an id of the spool, which has the other customer.
        let other = stripe("evt_2", "cus_secret");
        deliver(&app, &other).await;
        tokio::task::block_in_place(|| database.start());
        while app.metrics().await.get("hookweir_parked_total") < 3.0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let spool = app.folder().join("data");
        assert!(!files_with(&spool, "cus_secret").is_empty());
        let erase = |choice: &[&str]| {
            let order = [
                &["erase", "--source", "stripe"],
                choice,
                &["--start", "--reason", "asked"],
            ];
            hookweir(&app, &order.concat())
        };

        // While PostgreSQL refuses it, its key cannot be kept, and the command says so.
        let done = erase(&["evt_3"]);
        assert!(
            done.out.contains("1 events erased from the spool"),
            "{}{}",
            done.out,
            done.err
        );
        assert!(
            done.err.contains("refuses the key of evt_3"),
            "{}",
            done.err
        );
        sql(
            &database.url,
            "ALTER TABLE hookweir.event DROP CONSTRAINT no",
        );
        let done = erase(&["--subject", "/data/customer=cus_secret"]);
        assert!(
            done.out.contains("2 events erased from the spool"),
            "{}{}",
            done.out,
            done.err
        );
        assert_eq!(files_with(&spool, "cus_secret"), [""; 0]);
        assert_eq!(
            tables_with(&database.url, "hookweir", "cus_secret"),
            [""; 0]
        );

        // What was not erased goes its way, and the key of the erased one is known.
        hookweir(&app, &["parked", "retry", "--all"]).good();
        while json(&app, &["events"]).len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        traced(&app, "evt_2", "default", "confirmed").await;
        let (_, is_new) = deliver(&app, &first).await;
        assert!(!is_new, "it is stored again");
        assert_eq!(ids(&json(&app, &["events"])), ["evt_2", "evt_0"]);
        assert!(!super::lines(&app).contains("cus_secret"));
        app.stop().await;
    }
}
