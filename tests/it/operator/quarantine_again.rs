//! Refused deliveries that are verified again late, or twice.

use std::fs;

use diesel::{Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection, sql_query};
use fastrand::Rng;
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};

use super::quarantine::kept;
use super::{hookweir, json};

const WRONG: &str = "not the secret that is meant";

/// Way to the rows of a service that does not run.
pub(super) enum Database {
    Sqlite,
    Postgres { url: String, schema: String },
}

impl Database {
    /// Moves the receipt of each refused delivery some days back.
    fn age(&self, app: &App, days: u32) {
        let by = days * 86_400_000;
        let set = format!("quarantine SET received_at = received_at - {by}");
        let aged = match self {
            Self::Sqlite => {
                let path = app.folder().join("data/hookweir.db");
                let database = SqliteConnection::establish(&path.to_string_lossy());
                let set = sql_query(format!("UPDATE {set}"));
                set.execute(&mut database.expect("opened"))
            }
            Self::Postgres { url, schema } => {
                let database = PgConnection::establish(url);
                let set = sql_query(format!("UPDATE {schema}.{set}"));
                set.execute(&mut database.expect("connected"))
            }
        };
        assert!(aged.expect("aged") > 0);
    }
}

fn write(app: &App, config: &str) {
    fs::write(app.folder().join("config.toml"), config).expect("written");
}

/// The story of an event that was refused, accepted as a redelivery a day later, and verified on the ninth day.
pub(super) async fn an_old_one_waits_for_a_word(store: &str, database: &Database) {
    let days = "[quarantine]\nkeep_days = 30\n";
    let right = format!("{store}{days}{}", five_sources());
    let mut app = App::start(&right.replace(Provider::Github.secret(), WRONG)).await;
    let event = Provider::Github.event(&mut Rng::with_seed(31));
    let headers = event.signed(Provider::Github.secret(), now());
    let answer = post(&client(), app.listen, "github", headers, event.body.clone()).await;
    assert_eq!(answer, Answer::Status(401));
    kept(&app, &[], 1).await;
    app.stop().await;
    database.age(&app, 9);
    write(&app, &right);
    app.start_again().await;
    app.ready().await;

    let plan = hookweir(&app, &["quarantine", "verify", "--dry-run"]).good();
    let old = "0 proven, 1 older than the dedup window";
    assert!(plan.contains(old), "{plan}");
    let done = hookweir(&app, &["quarantine", "verify"]);
    let old = "0 accepted, 0 known already, 1 older than the dedup window";
    assert!(done.out.contains(old), "{}", done.out);
    assert!(done.err.contains("--old"), "{}", done.err);
    assert!(json(&app, &["events"]).is_empty());
    kept(&app, &[], 1).await;
    let done = hookweir(&app, &["quarantine", "verify", "--old"]).good();
    assert!(done.contains("1 accepted"), "{done}");
    assert_eq!(json(&app, &["events"]).len(), 1);
    assert!(json(&app, &["quarantine"]).is_empty());
}

/// The story of equal bytes of a source whose events have no id.
pub(super) async fn the_second_of_two_alike_stays(store: &str) {
    let source = "[[source]]\nname = \"notes\"\nsecrets = [\"plain:the secret of the notes, long\"]\n[source.scheme]\n\
         kind = \"token\"\ntoken = \"header:x-token\"\nevent = { missing_id = \"body\" }\n";
    let right = format!("{store}{source}");
    let app = App::start(&right.replace("of the notes", "of the letters")).await;
    for _ in 0..2 {
        let headers = vec![("x-token", "the secret of the notes, long".to_owned())];
        let answer = post(&client(), app.listen, "notes", headers, "{}".into()).await;
        assert_eq!(answer, Answer::Status(401));
    }
    let before = kept(&app, &[], 2).await;
    write(&app, &right);
    hookweir(&app, &["reload"]).good();
    let done = hookweir(&app, &["quarantine", "verify"]);
    let alike = "1 accepted, 0 known already, 1 like a recent event";
    assert!(done.out.contains(alike), "{}{}", done.out, done.err);
    assert!(done.err.contains("--old"), "{}", done.err);
    assert_eq!(kept(&app, &[], 1).await, before[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_dedup_window_is_an_event_only_if_somebody_says_so() {
    an_old_one_waits_for_a_word("", &Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_alike_deliveries_without_an_id_the_second_stays() {
    the_second_of_two_alike_stays("").await;
}
