//! Several sinks without any server: files, and a broker that is never there.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::load::Load;
use hookweir_testkit::oracle::Account;
use hookweir_testkit::program;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::sink::{files, files_hold};

/// Runs a command of the program in the service's folder. Returns its exit code, and what it printed.
pub(super) fn hookweir(app: &App, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program())
        .args(args)
        .args(["--config", "config.toml"])
        .args(["--set", &format!("server.admin_listen={}", app.admin)])
        .current_dir(app.folder())
        .output()
        .expect("the program runs");
    let printed = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}

/// Waits until so many events wait for the sink.
pub(super) async fn waits(app: &App, sink: &str, rows: usize) {
    let (label, since, mut last) = (format!("sink=\"{sink}\""), Instant::now(), 0);
    while since.elapsed() < Duration::from_secs(60) {
        let metrics = app.metrics().await;
        last = metrics.sum("hookweir_sink_outbox_rows", &[&label]);
        if last == rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{last} events wait for {sink}, not {rows}:\n{}", app.log());
}

/// State of a sink in `/readyz`.
pub(super) async fn shown(app: &App, sink: &str) -> serde_json::Value {
    let health: serde_json::Value = serde_json::from_str(&app.health().await).expect("JSON");
    health["sinks"][sink].clone()
}

/// Rows of the table `audit`: action, subject, number of events, reason and the beginning of the caller.
fn audit(app: &App) -> Vec<(String, String, i64, String, String)> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        action: String,
        #[diesel(sql_type = Text)]
        subject: String,
        #[diesel(sql_type = BigInt)]
        count: i64,
        #[diesel(sql_type = Text)]
        reason: String,
        #[diesel(sql_type = Text)]
        caller: String,
    }
    let file = app.folder().join("data/hookweir.db");
    let mut connection = SqliteConnection::establish(&file.to_string_lossy()).expect("the store");
    let rows = diesel::sql_query("SELECT action, subject, count, reason, substr(caller, 1, 5) AS caller FROM audit ORDER BY at")
        .load::<Row>(&mut connection)
        .expect("rows");
    rows.into_iter()
        .map(|row| (row.action, row.subject, row.count, row.reason, row.caller))
        .collect()
}

/// The only row of the table `audit`.
fn recorded(
    action: &str,
    subject: &str,
    count: usize,
    reason: &str,
) -> [(String, String, i64, String, String); 1] {
    let count = i64::try_from(count).expect("few");
    let [action, subject, reason] = [action, subject, reason].map(str::to_owned);
    [(action, subject, count, reason, "user ".to_owned())]
}

fn genuine(ledger: &Ledger, provider: Provider) -> usize {
    let of = ledger.genuine().filter(|entry| entry.provider == provider);
    of.count()
}

/// A broker that is never there, and a folder.
const DEAD: &str = "[publisher]\nurl = \"file://data/events\"\n[[sink]]\nname = \"dead\"\nurl = \"amqp://127.0.0.1:1\"\n";
/// The broker was taken out of the configuration, and a second folder was added.
const LATE: &str = "[publisher]\nurl = \"file://data/events\"\n[[sink]]\nname = \"late\"\nurl = \"file://data/late\"\n";

fn configure(folder: &Path, sinks: &str) {
    let config = format!("{sinks}{}", patient_sources());
    std::fs::write(folder.join("config.toml"), config).expect("the configuration is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_holds_up_no_other_and_what_waits_for_it_is_moved_after_it_was_taken_out() {
    let mut app = App::start(&format!("{DEAD}{}", patient_sources())).await;
    let ledger = Load::on(&[app.listen]).send(1000).await;
    ledger.check_faultless();
    let expected = ledger.genuine().count();
    files_hold(&app.events(), expected).await;
    waits(&app, "default", 0).await;
    waits(&app, "dead", expected).await;
    let (dead, default) = (shown(&app, "dead").await, shown(&app, "default").await);
    assert_eq!(
        (&dead["up"], &dead["outbox_rows"]),
        (&false.into(), &expected.into())
    );
    assert!(dead["backoff_seconds"].as_i64() >= Some(1), "{dead}");
    assert_eq!(
        (&default["up"], &default["confirmed"]),
        (&true.into(), &expected.into())
    );
    let (code, printed) = hookweir(&app, &["check"]);
    assert_eq!(code, Some(69), "{printed}");
    assert!(
        printed.contains(&format!(
            "sink dead      amqp://127.0.0.1:1: {expected} events wait, the oldest for "
        )),
        "{printed}"
    );
    let (code, listed) = hookweir(&app, &["sinks"]);
    assert_eq!(code, Some(0), "{listed}");
    let up = format!(
        "default  file://data/events: 0 events wait, 0 parked; up; {expected} published since the start"
    );
    for shown in [&printed, &listed] {
        let default = shown.replace("sink default   ", "default  ");
        assert!(default.contains(&up), "{shown}");
        let dead = shown.lines().find(|line| line.contains(" parked; DOWN: "));
        let dead = dead.expect("the sink that is down");
        assert!(dead.contains("amqp://127.0.0.1:1: "), "{dead}");
        assert!(dead.contains("; next attempt within "), "{dead}");
        assert!(dead.ends_with("; 0 published since the start"), "{dead}");
    }
    let (code, printed) = hookweir(&app, &["sinks", "move", "dead", "default"]);
    assert_eq!(
        code,
        Some(64),
        "a service may be publishing to it: {printed}"
    );
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    Account::of(&ledger, &files(&app.events())).check_once();

    let (code, printed) = hookweir(&app, &["sinks"]);
    assert_eq!(code, Some(0), "{printed}");
    let unknown = format!("no service answers at http://{}/readyz: ", app.admin);
    assert!(printed.contains(&unknown), "{printed}");

    app.start_again().await;
    configure(app.folder(), LATE);
    let args = ["sinks", "discard", "dead", "--reason", "too early"];
    let (code, printed) = hookweir(&app, &args);
    let refused = "the service on this machine still publishes to the sink dead";
    assert_eq!(code, Some(64), "{printed}");
    assert!(printed.contains(refused), "{printed}");
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    app.start_again().await;
    app.ready().await;
    waits(&app, "dead", expected).await;
    let said = format!("{expected} events wait for the sink dead, which is not configured");
    assert!(app.health().await.contains(&said), "{}", app.health().await);
    let (code, printed) = hookweir(&app, &["sinks"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("dead  NOT CONFIGURED"), "{printed}");
    let (code, printed) = hookweir(&app, &["sinks", "discard", "dead"]);
    assert_eq!(code, Some(64), "without a reason: {printed}");
    let args = [
        "sinks",
        "move",
        "dead",
        "late",
        "--reason",
        "the broker is gone",
    ];
    let (code, printed) = hookweir(&app, &args);
    assert_eq!(code, Some(0), "{printed}");
    let said = format!("{expected} events moved from dead to late (the broker is gone)");
    assert!(printed.contains(&said), "{printed}");
    let late = app.folder().join("data/late");
    files_hold(&late, expected).await;
    waits(&app, "dead", 0).await;
    waits(&app, "late", 0).await;
    app.until_healthy().await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    let reason = "the broker is gone";
    assert_eq!(
        audit(&app),
        recorded("move waiting", "dead to late", expected, reason),
        "what was refused is not there"
    );
    Account::of(&ledger, &files(&late)).check_once();
    Account::of(&ledger, &files(&app.events())).check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_to_the_sinks_that_want_them_and_those_that_none_wants_are_filtered() {
    let sources = patient_sources()
        .replace(
            "name = \"stripe\"\n",
            "name = \"stripe\"\nsinks = [\"stripes\"]\n",
        )
        .replace(
            "name = \"github\"\n",
            "name = \"github\"\nexcept_event_types = [\"*\"]\n",
        );
    let sinks = "[publisher]\nurl = \"file://data/events\"\n[[sink]]\nname = \"stripes\"\nurl = \"file://data/stripes\"\n\
                 event_types = [\"invoice.*\", \"p*\"]\n";
    let mut app = App::start(&format!("{sinks}{sources}")).await;
    let ledger = Load::on(&[app.listen]).send(1000).await;
    ledger.check_faultless();
    super::check_outcomes(&ledger, &[app.metrics().await]);
    let all = ledger.genuine().count();
    let of = |provider| genuine(&ledger, provider);
    let events = all - of(Provider::Stripe) - of(Provider::Github);
    files_hold(&app.events(), events).await;
    app.drained().await;
    let metrics = app.metrics().await;
    let filtered = |source: &str| {
        metrics.sum(
            "hookweir_filtered_total",
            &[&format!("source=\"{source}\"")],
        )
    };
    assert_eq!(filtered("github"), of(Provider::Github));
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    let events_there = files(&app.events());
    assert_eq!(events_there.len(), events);
    let elsewhere = |message: &hookweir_testkit::sink::Message| {
        ["stripe", "github"].contains(&&*message.source)
    };
    assert!(!events_there.iter().any(elsewhere));
    let stripes = files(&app.folder().join("data/stripes"));
    let of_stripe = stripes.iter().filter(|message| message.source == "stripe");
    assert_eq!(of_stripe.count() + filtered("stripe"), of(Provider::Stripe));
    assert!(filtered("stripe") > 0, "orders of stripe go nowhere");
    assert!(stripes.iter().all(|message| message.source != "github"));
    let orders = |message: &hookweir_testkit::sink::Message| {
        let mut properties = message.properties.iter();
        properties.any(|(name, value)| name == "cloudEvents:type" && value.contains("order"))
    };
    assert!(!stripes.iter().any(orders), "they are not among its types");
    assert!(events_there.iter().any(orders));
}

/// A third sink that never had anything, for what a discard leaves.
const GONE: &str = "[publisher]\nurl = \"file://data/events\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_sink_that_was_taken_out_is_discarded_with_a_reason_and_the_events_are_kept()
 {
    let mut app = App::start(&format!("{DEAD}{}", patient_sources())).await;
    let ledger = Load::on(&[app.listen]).send(300).await;
    ledger.check_faultless();
    let expected = ledger.genuine().count();
    waits(&app, "dead", expected).await;
    waits(&app, "default", 0).await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    configure(app.folder(), GONE);
    app.start_again().await;
    waits(&app, "dead", expected).await;
    let args = ["sinks", "discard", "dead", "--reason", "replaced by files"];
    let (code, printed) = hookweir(&app, &args);
    assert_eq!(code, Some(0), "{printed}");
    let said = format!("{expected} events discarded for dead (replaced by files)");
    assert!(printed.contains(&said), "{printed}");
    waits(&app, "dead", 0).await;
    app.until_healthy().await;
    let (code, printed) = hookweir(&app, &["sinks"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(!printed.contains("dead"), "{printed}");
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    assert_eq!(
        audit(&app),
        recorded("discard waiting", "dead", expected, "replaced by files")
    );
    Account::of(&ledger, &files(&app.events())).check_once();
}

/// Value of a property of a message in the file sink, without its quotes.
fn property<'m>(message: &'m hookweir_testkit::sink::Message, name: &str) -> Option<&'m str> {
    let value = message.properties.get(name)?;
    Some(value.trim_matches('"'))
}

#[tokio::test(flavor = "multi_thread")]
async fn routing_key_and_forwarded_headers_are_those_of_the_source_and_of_each_sink() {
    let sources = patient_sources().replace(
        "name = \"github\"\n",
        "name = \"github\"\nrouting_key = \"code.{type}\"\nforward_headers = [\"x-github-delivery\"]\n",
    );
    let sinks = "[publisher]\nurl = \"file://data/events\"\nrouting_key = \"all.{source}\"\n\
                 [[sink]]\nname = \"kinds\"\nurl = \"file://data/kinds\"\nrouting_key = \"kind.{type}\"\n\
                 forward_headers = [\"x-github-event\", \"x-shopify-topic\"]\n";
    let mut app = App::start(&format!("{sinks}{sources}")).await;
    let ledger = Load::on(&[app.listen]).send(300).await;
    ledger.check_faultless();
    let expected = ledger.genuine().count();
    let kinds = app.folder().join("data/kinds");
    files_hold(&app.events(), expected).await;
    files_hold(&kinds, expected).await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    let (events, kinds) = (files(&app.events()), files(&kinds));
    Account::of(&ledger, &events).check_once();
    Account::of(&ledger, &kinds).check_once();
    for (of, messages) in [("all", &events), ("kind", &kinds)] {
        for message in messages {
            let kind = property(message, "cloudEvents:type").expect("a type");
            let key = match (&*message.source, of) {
                ("github", _) => format!("code.{kind}"),
                (source, "all") => format!("all.{source}"),
                _ => format!("kind.{kind}"),
            };
            assert_eq!(property(message, "routing_key"), Some(&*key));
            let forwarded = ["x-github-delivery", "x-github-event", "x-shopify-topic"];
            let has = forwarded.map(|header| property(message, header).is_some());
            let expected = match (&*message.source, of) {
                ("github", "all") => [true, false, false],
                ("github", _) => [false, true, false],
                ("shopify", "kind") => [false, false, true],
                _ => [false; 3],
            };
            assert_eq!(has, expected, "{of}: {message:?}");
        }
    }
}
