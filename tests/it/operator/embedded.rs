//! On SQLite and files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Command;

use diesel::prelude::*;
use diesel::sql_types::Text;
use hookweir::config::Config;
use hookweir::domain::sink::SinkName;
use hookweir::store::{self, Seq};
use hookweir_testkit::app::{App, five_sources, patient_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::program;
use hookweir_testkit::provider::{Provider, now};
use serde_json::Value;

use crate::signals::logs;

use super::{SINKS, at_the_address, hookweir, ids, json, output, raw, send, socket, traced};

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_evt_123_is_shown_by_one_command() {
    let app = App::start(&format!("{SINKS}{}", five_sources())).await;
    send(&app, Provider::Stripe, "evt_122");
    send(&app, Provider::Stripe, "evt_123");
    let found = traced(&app, "evt_123", "default", "confirmed").await;
    let (trace, default) = (&found["trace"], &found["sink"]);
    assert_eq!(trace["event"]["source"], "stripe");
    assert_eq!(trace["confirmed_at"].as_array().map(Vec::len), Some(1));
    let dead = trace["event"]["sinks"].as_array().expect("sinks");
    let dead = dead.iter().find(|sink| sink["sink"] == "dead");
    let dead = dead.expect("the dead sink");
    assert_eq!(dead["state"], "waiting", "{trace}");
    assert!(dead["next_attempt"].is_string(), "{trace}");
    assert_eq!(default["since"], trace["confirmed_at"][0], "{trace}");

    let printed = hookweir(&app, &["trace", "evt_123"]).good();
    for step in ["received", "stored", "sink default", "sink dead"] {
        assert!(printed.contains(step), "{step}: {printed}");
    }
    let message = trace["event"]["message_id"].as_str().expect("an id");
    let shown = hookweir(&app, &["show", message]).good();
    assert!(
        shown.contains("evt_123") && shown.contains("stripe"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_sink_refused_shows_the_reason_and_the_next_step() {
    let app = App::start(&format!("{SINKS}{}", five_sources())).await;
    send(&app, Provider::Stripe, "evt_1");
    send(&app, Provider::Stripe, "evt_2");
    let waits = traced(&app, "evt_1", "dead", "waiting").await;
    let number = waits["trace"]["number"].as_i64().expect("a number");
    let database = app.folder().join("data/hookweir.db");
    let url = format!("[store]\nurl = \"sqlite://{}\"\n", database.display());
    let config = Config::from_toml(&url).expect("valid");
    let store = store::open(&config.store, 1).expect("opened");
    let dead = SinkName::parse("dead").expect("a name");
    let parked = store.park(&dead, Seq(number), "larger than the broker takes");
    parked.expect("parked");

    let found = json(&app, &["events", "--state", "parked"]);
    assert_eq!(ids(&found), ["evt_1"]);
    assert_eq!(
        found[0]["sinks"][0]["reason"],
        "larger than the broker takes"
    );
    let still = json(&app, &["events", "--sink", "dead", "--state", "waiting"]);
    assert_eq!(ids(&still), ["evt_2"]);
    let printed = hookweir(&app, &["trace", "evt_1"]).good();
    let told = "parked: larger than the broker takes; `hookweir parked` puts it back";
    assert!(printed.contains(told), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_nobody_sent_is_said_to_be_unknown_with_the_next_step() {
    let app = App::start(&five_sources()).await;
    let error = hookweir(&app, &["trace", "evt_404"]).bad(1);
    assert!(error.contains("no event has the id \"evt_404\""), "{error}");
    assert!(error.contains("hookweir sources"), "{error}");
    let none = hookweir(&app, &["trace", "0190a5c0-0000-8000-8000-000000000000"]).bad(1);
    assert!(none.contains("no event has the id"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_two_sources_is_listed_with_both_and_found_with_its_source() {
    let app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_same");
    send(&app, Provider::StandardWebhooks, "evt_same");
    let error = hookweir(&app, &["show", "evt_same"]).bad(64);
    assert!(
        error.contains("several events have the id \"evt_same\""),
        "{error}"
    );
    assert!(error.contains("of source stripe"), "{error}");
    let found = json(&app, &["show", "evt_same", "--source", "standardwebhooks"]);
    assert_eq!(found[0]["source"], "standardwebhooks");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_events_are_listed_by_source_id_time_state_and_sink() {
    let app = App::start(&format!("{SINKS}{}", five_sources())).await;
    for id in ["evt_1", "evt_2"] {
        send(&app, Provider::Stripe, id);
    }
    send(&app, Provider::StandardWebhooks, "msg_1");
    let all = json(&app, &["events"]);
    assert_eq!(ids(&all), ["msg_1", "evt_2", "evt_1"], "the newest first");
    let list = |args: &[&str]| json(&app, &[&["events"][..], args].concat());
    assert_eq!(ids(&list(&["--limit", "1"])), ["msg_1"]);
    assert_eq!(ids(&list(&["--source", "stripe"])), ["evt_2", "evt_1"]);
    assert_eq!(ids(&list(&["--id", "evt_1"])), ["evt_1"]);
    let message = all[1]["message_id"].as_str().expect("an id");
    assert_eq!(ids(&list(&["--message", message])), ["evt_2"]);
    assert_eq!(ids(&list(&["--from", "1h"])).len(), 3);
    assert!(list(&["--to", "1h"]).is_empty(), "none is that old");
    assert_eq!(ids(&list(&["--sink", "dead"])).len(), 3, "they wait there");
    traced(&app, "msg_1", "default", "confirmed").await;
    assert!(list(&["--sink", "default", "--source", "standardwebhooks"]).is_empty());
    let confirmed = list(&["--sink", "default", "--state", "published", "--id", "msg_1"]);
    assert_eq!(ids(&confirmed), ["msg_1"]);
    assert!(list(&["--state", "parked"]).is_empty());

    let table = hookweir(&app, &["events"]).good();
    let head = table.lines().next().expect("a head");
    assert!(
        head.starts_with("RECEIVED") && head.contains("MESSAGE"),
        "{table}"
    );
    assert!(table.contains("waiting (dead"), "{table}");
    let error = hookweir(&app, &["events", "--from", "lately"]).bad(64);
    assert!(error.contains("how long ago"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_shows_its_url_its_last_event_and_why_the_last_one_was_refused() {
    let public = "public_url = \"https://hooks.example.com/ingest/github\"\n";
    let github = format!("{}{public}", Provider::Github.config());
    let app = App::start(&format!("{github}{}", Provider::Stripe.config())).await;
    let listed = json(&app, &["sources"]).remove(0);
    let of = |listed: &Value, name: &str| {
        let sources = listed["sources"].as_array().expect("sources");
        let found = sources.iter().find(|source| source["source"] == name);
        found.expect("the source").clone()
    };
    let before = of(&listed, "github");
    assert_eq!(before["url"], "https://hooks.example.com/ingest/github");
    assert_eq!(before["last_accepted"], Value::Null);
    let local = format!("http://{}/ingest/stripe", app.listen);
    assert_eq!(of(&listed, "stripe")["url"], *local);

    send(&app, Provider::Github, "d1");
    let args = ["send", "--source", "github", "--wrong-secret"];
    hookweir(&app, &args).good();
    let listed = json(&app, &["sources"]).remove(0);
    let after = of(&listed, "github");
    assert!(after["last_accepted"].is_string(), "{after}");
    assert_eq!(after["last_refused"]["reason"], "signature_mismatch");
    assert_eq!(of(&listed, "stripe")["last_refused"], Value::Null);

    let table = hookweir(&app, &["sources"]).good();
    let line = table.lines().find(|line| line.starts_with("github"));
    let line = line.expect("a line for it");
    assert!(line.contains("signature_mismatch"), "{table}");
    assert!(!table.contains(Provider::Github.secret()), "{table}");
    let error = hookweir(&app, &["sources", "githup"]).bad(64);
    assert!(error.contains("it has github, stripe"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_the_service_and_its_group_and_the_port_has_no_such_path() {
    let mut app = App::start(&five_sources()).await;
    let found = fs::metadata(socket(&app)).expect("it is there");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    let url = format!("http://{}/api/v1/sources", app.admin);
    let answer = client().get(url).send().await.expect("answered");
    assert_eq!(
        answer.status(),
        404,
        "every user of the machine reaches the port"
    );
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    assert!(!socket(&app).exists(), "an orderly stop removes it");
    let error = hookweir(&app, &["events"]).bad(69);
    assert!(error.contains("start the service"), "{error}");
}

/// Two tokens, with different rights.
const TOKENS: &str = "
[admin.tokens.ann]
secret = \"plain:canary-0123456789abcdef\"
may = [\"look\"]
[admin.tokens.bob]
secret = \"plain:canary-fedcba9876543210\"
may = [\"bodies\"]
";
const ANN: &str = "Authorization: Bearer canary-0123456789abcdef";
const BOB: &str = "Authorization: Bearer canary-fedcba9876543210";

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_address_answers_a_token_with_its_rights_and_nobody_else() {
    let mut app = App::start(&format!("{TOKENS}{}", five_sources())).await;
    send(&app, Provider::Stripe, "evt_1");
    let own = format!("Host: {}", app.admin);
    let ask = |headers: &[&str]| at_the_address(&app, "/api/v1/events", headers);
    let (status, body) = ask(&[&own, ANN]);
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("evt_1"), "{body}");
    let evil = "Host: evil.example";
    let page = "Origin: http://evil.example";
    for (headers, status, words) in [
        (&[own.as_str()][..], 401, "Authorization: Bearer"),
        (
            &[&own, "Authorization: Bearer canary-guessed"],
            401,
            "no token has this secret",
        ),
        (&[&own, BOB], 403, "token bob lacks the right \\\"look\\\""),
        (&[evil, ANN], 421, "admin.hosts"),
        (&[&own, ANN, page], 403, "a page of another site"),
    ] {
        let (found, body) = ask(headers);
        assert_eq!(found, status, "{headers:?}: {body}");
        assert!(body.contains(words), "{headers:?}: {body}");
    }
    let (status, _) = at_the_address(&app, "/metrics", &[evil]);
    assert_eq!(status, 200, "metrics need neither token nor name");
    assert!(app.stop().await.success());
    let log = app.log();
    assert!(log.contains("admin API answered 421 to 127.0.0.1"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_shown_as_it_was_received_and_it_is_recorded_who_opened_it() {
    let mut app = App::start(&format!("{TOKENS}{}", five_sources())).await;
    send(&app, Provider::Stripe, "evt_1");
    let message = json(&app, &["show", "evt_1"])[0]["message_id"].clone();
    let message = message.as_str().expect("an id");
    let (status, told) = raw(&app, "GET", "/api/v1/events/evt_404/body");
    assert_eq!(status, 404, "{told}");
    let own = format!("Host: {}", app.admin);
    let path = "/api/v1/events/evt_1/body";
    let (status, told) = at_the_address(&app, path, &[&own, ANN]);
    assert_eq!(status, 403, "{told}");
    assert!(told.contains("lacks the right \\\"bodies\\\""), "{told}");
    assert_eq!(
        audited(&app),
        [] as [(String, String); 0],
        "nobody has seen it"
    );

    let body = hookweir(&app, &["show", "evt_1", "--body"]).good();
    let sent: Value = serde_json::from_str(&body).expect("the provider's JSON");
    assert_eq!(sent["id"], "evt_1", "{body}");
    let (status, bytes) = at_the_address(&app, path, &[&own, BOB]);
    assert_eq!((status, bytes), (200, body.clone()));
    let callers = audited(&app);
    assert_eq!(callers.len(), 2, "{callers:?}");
    assert!(callers.iter().all(|(_, subject)| subject == message));
    assert!(callers[0].0.starts_with("user "), "{callers:?}");
    assert_eq!(callers[1].0, "token bob");
    assert!(app.stop().await.success());
    let log = app.log();
    assert!(log.contains(&format!("open body: {message}")), "{log}");
    assert!(!log.contains(&body), "{log}");
}

/// Callers and subjects of the record, in order.
fn audited(app: &App) -> Vec<(String, String)> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        caller: String,
        #[diesel(sql_type = Text)]
        subject: String,
    }
    let path = app.folder().join("data/hookweir.db");
    let mut database = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
    let rows = diesel::sql_query("SELECT caller, subject FROM audit ORDER BY at, id");
    let rows: Vec<Row> = rows.load(&mut database).expect("read");
    rows.into_iter()
        .map(|row| (row.caller, row.subject))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_shown_whole() {
    let app = App::start(&patient_sources()).await;
    // Some of GitHub's bodies are no text.
    let mut rng = fastrand::Rng::with_seed(22);
    for size in [1, 1_000_000, 1_000_001] {
        let event = Provider::Github.event_of(&mut rng, size);
        let headers = event.signed(Provider::Github.secret(), now());
        let answer = post(&client(), app.listen, "github", headers, event.body.clone()).await;
        assert!(
            matches!(answer, Answer::Taken { new: true, .. }),
            "{answer:?}"
        );
        let shown = output(&app, &["show", &event.id, "--body"]);
        assert!(
            shown.status.success(),
            "{}",
            String::from_utf8_lossy(&shown.stderr)
        );
        assert!(
            shown.stdout == event.body,
            "{} bytes of {}",
            shown.stdout.len(),
            event.body.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_next_start_has_its_socket_again() {
    let mut app = App::start(&five_sources()).await;
    app.kill();
    let error = hookweir(&app, &["sources"]).bad(69);
    assert!(error.contains("has ended"), "{error}");
    app.start_again().await;
    app.ready().await;
    hookweir(&app, &["sources"]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_cannot_be_opened_costs_no_delivery() {
    let nowhere = "[admin]\nsocket = \"/dev/null/admin.sock\"\n";
    let app = App::start(&format!("{nowhere}{}", five_sources())).await;
    logs(&app, "cannot open the admin API's socket").await;
    send(&app, Provider::Stripe, "evt_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_refused_with_what_to_ask() {
    let app = App::start(&five_sources()).await;
    for (method, path, status, words) in [
        ("GET", "/api/v1/events?colour=red", 400, "colour"),
        ("GET", "/api/v1/events?limit=501", 400, "1 to 500"),
        (
            "GET",
            "/api/v1/events?state=lost",
            400,
            "waiting, parked or published",
        ),
        ("GET", "/api/v1/nothing", 404, "/api/v1/sources"),
        ("POST", "/api/v1/events", 404, "GET /api/v1/events"),
        ("GET", "/api/v1/events/%00", 400, "a NUL character"),
    ] {
        let (found, body) = raw(&app, method, path);
        assert_eq!(found, status, "{path}: {body}");
        let problem: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(problem["status"], status);
        assert!(body.contains(words), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_with_signs_of_a_url_is_found_as_it_is() {
    let app = App::start(&five_sources()).await;
    let id = "a/b?c=d%2F+e&f";
    send(&app, Provider::StandardWebhooks, id);
    assert_eq!(json(&app, &["show", id])[0]["event_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_of_the_machine_is_not_let_in() {
    // Only root can become another user; others cannot try it.
    if rustix::process::geteuid().is_root() {
        let app = App::start(&five_sources()).await;
        // The folder lets everybody through, so that the socket's own permissions decide.
        for folder in [app.folder().to_owned(), app.folder().join("data")] {
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder, open).expect("opened");
        }
        let config = app.folder().join("config.toml");
        fs::set_permissions(config, fs::Permissions::from_mode(0o644)).expect("opened");
        let copy = app.folder().join("program");
        fs::copy(program(), &copy).expect("copied");
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .args(["sources", "--config", "config.toml"])
            .current_dir(app.folder())
            .output()
            .expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{error}");
        assert!(
            error.contains("as a member of the socket's group"),
            "{error}"
        );
    }
}
