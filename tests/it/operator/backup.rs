//! A backup, and its way back, by the commands of an operator: on both stores, and from one to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Event, Provider, now};
use hookweir_testkit::servers::postgres;
use hookweir_testkit::sink::files_so_far;

use super::{SINKS, hookweir, ids, json, send};

/// A store that nobody else uses.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// Configuration of a new store.
    pub(super) fn config(self) -> String {
        match self {
            Self::Sqlite => "[store]\nurl = \"sqlite://data/hookweir.db\"\n".to_owned(),
            Self::Postgres => format!(
                "[store]\nurl = \"{}\"\nschema = \"test_{}\"\n",
                postgres(),
                uuid::Uuid::now_v7().simple()
            ),
        }
    }
}

/// Events, some of each provider.
pub(super) fn events(count: usize) -> Vec<Event> {
    let mut rng = fastrand::Rng::new();
    let provider = |n: usize| Provider::ALL[n % Provider::ALL.len()];
    (0..count).map(|n| provider(n).event(&mut rng)).collect()
}

/// Sends an event until it is taken. Returns its message id, and true if it was new.
pub(super) async fn deliver(app: &App, event: &Event) -> (String, bool) {
    let (client, since) = (client(), Instant::now());
    loop {
        let headers = event.signed(event.provider.secret(), now());
        let source = event.provider.name();
        match post(&client, app.listen, source, headers, event.body.clone()).await {
            Answer::Taken { id, new } => return (id, new),
            other => assert!(
                since.elapsed() < Duration::from_secs(90),
                "{} is not taken: {other:?}\n{}",
                event.id,
                app.log()
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Message ids in the file sink, with the number of copies of each.
pub(super) fn copies(folder: &Path) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for message in files_so_far(folder) {
        *copies.entry(message.id).or_default() += 1;
    }
    copies
}

/// Backs up while events come, loses the store, restores into a new one, and has everything sent again.
async fn backup_and_restore(from: Kind, to: Kind) {
    let mut before = App::start(&format!("{}{}", from.config(), five_sources())).await;
    let sent = events(300);
    let file = before.folder().join("backup.db");
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let (first, rest) = sent.split_at(100);
    for event in first {
        taken.insert(event.id.clone(), deliver(&before, event).await.0);
    }
    // Under load: the others come while the command runs.
    let (folder, program) = (before.folder().to_owned(), hookweir_testkit::program());
    let path = file.clone();
    let command = tokio::task::spawn_blocking(move || {
        let run = std::process::Command::new(program)
            .args(["backup", "--config", "config.toml"])
            .arg(path)
            .current_dir(folder)
            .output();
        run.expect("the program runs")
    });
    for event in rest {
        taken.insert(event.id.clone(), deliver(&before, event).await.0);
    }
    let said = command.await.expect("it has ended");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(
        text.contains("dedup keys") && text.contains("checked"),
        "{text}"
    );
    let mode = std::fs::metadata(&file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let refused = hookweir(&before, &["backup", "backup.db"]).bad(69);
    assert!(refused.contains("not overwritten"), "{refused}");
    before.drained().await;
    // The disk of the store is lost.
    before.kill();
    let queue_before = copies(&before.events());

    let mut after = App::launch(&format!("{}{}", to.config(), five_sources())).await;
    after.stop_for_restore(&file).await;
    let (mut known, mut new) = (0, 0);
    for event in &sent {
        let (message, is_new) = deliver(&after, event).await;
        if is_new {
            new += 1
        } else {
            known += 1
        }
        if event.provider.signs_ids() {
            assert_eq!(Some(&message), taken.get(&event.id), "another message id");
        }
    }
    assert!(
        known >= 100,
        "{known} of 100 events before the backup are known"
    );
    assert_eq!(known + new, 300);
    after.drained().await;

    // Accepted = queue: each event is in one of the two, and the second has none that the backup knew as published.
    let queue_after = copies(&after.events());
    let all: BTreeSet<&String> = queue_before.keys().chain(queue_after.keys()).collect();
    let lost: Vec<&String> = taken.values().filter(|id| !all.contains(id)).collect();
    assert_eq!(lost, Vec::<&String>::new(), "lost");
    assert!(
        queue_before
            .values()
            .chain(queue_after.values())
            .all(|copies| *copies == 1),
        "twice"
    );
    assert!(
        queue_after.len() <= new + 20,
        "{} came again of {new} new ones",
        queue_after.len()
    );
}

/// Steps of a restore test after the start.
trait ForRestore {
    async fn stop_for_restore(&mut self, file: &Path);
}

impl ForRestore for App {
    /// Restores into the store of a service that was only started to have a folder: it is stopped, and its store
    /// is made new by hand before.
    async fn stop_for_restore(&mut self, file: &Path) {
        self.ready().await;
        let running = hookweir(self, &["restore", &file.to_string_lossy()]).bad(69);
        assert!(
            running.contains("serves") || running.contains("another process"),
            "{running}"
        );
        self.stop().await;
        let restored = hookweir(self, &["restore", &file.to_string_lossy()]).good();
        assert!(restored.contains("events"), "{restored}");
        let again = hookweir(self, &["restore", &file.to_string_lossy()]).bad(69);
        assert!(again.contains("not empty"), "{again}");
        self.start_again().await;
        self.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_backup_under_load_and_a_restore_a_redelivery_of_everything_loses_and_doubles_nothing()
 {
    backup_and_restore(Kind::Sqlite, Kind::Sqlite).await;
}

/// Tests that need a server.
mod with_servers {
    use super::{Kind, backup_and_restore};

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_backup_of_postgresql_and_a_restore_a_redelivery_of_everything_loses_nothing() {
        backup_and_restore(Kind::Postgres, Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backup_of_postgresql_is_restored_into_a_file_and_that_of_a_file_into_postgresql() {
        backup_and_restore(Kind::Postgres, Kind::Sqlite).await;
        backup_and_restore(Kind::Sqlite, Kind::Postgres).await;
    }
}

/// Changes a database file by hand.
pub(super) fn sql(path: &Path, statements: &str) {
    let mut database = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
    let busy = "PRAGMA busy_timeout = 5000";
    database.batch_execute(busy).expect("set");
    database.batch_execute(statements).expect("done");
}

/// The path of the store's file.
fn store_file(app: &App) -> PathBuf {
    app.folder().join("data/hookweir.db")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_is_parked_is_there_again_and_readers_by_number_go_on() {
    let config = format!("{SINKS}{}", five_sources());
    let mut app = App::start(&config).await;
    for n in 0..3 {
        send(&app, Provider::Stripe, &format!("evt_{n}"));
    }
    let page = json(&app, &["events"]);
    assert_eq!(ids(&page), ["evt_2", "evt_1", "evt_0"]);
    hookweir(
        &app,
        &["pause", "source", "github", "--reason", "migration"],
    )
    .good();
    // The broker that is never there has refused the first one for good.
    sql(
        &store_file(&app),
        "INSERT INTO parked (seq, sink, reason, at) VALUES (1, 'dead', 'too large', 1);
         DELETE FROM outbox WHERE seq = 1 AND sink = 'dead'",
    );
    let said = hookweir(&app, &["backup", "one.db"]).good();
    for part in [
        "3 dedup keys",
        "3 events",
        "2 waiting for a sink",
        "1 parked",
        "1 pauses",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    app.stop().await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", store_file(&app).display()));
    }
    hookweir(&app, &["restore", "one.db"]).good();
    app.start_again().await;
    app.ready().await;
    let waits = json(&app, &["events", "--sink", "dead", "--state", "waiting"]);
    assert_eq!(ids(&waits), ["evt_2", "evt_1"]);
    let parked = hookweir(&app, &["parked", "list"]).good();
    assert!(
        parked.contains("evt_0") && parked.contains("too large"),
        "{parked}"
    );
    let health = app.health().await;
    assert!(health.contains("source github was paused"), "{health}");
    send(&app, Provider::Stripe, "evt_new");
    let numbers: Vec<i64> = json(&app, &["events"])
        .iter()
        .map(|event| {
            let position = event["position"].as_str().expect("a position");
            let number = position.split('-').next().expect("a number");
            number.parse().expect("a number")
        })
        .collect();
    assert!(numbers[0] > 1_000_000_000, "{numbers:?}");
    assert_eq!(numbers[1], 3, "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_backup_is_damaged_or_of_a_later_release_is_refused_with_words() {
    let mut app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_1");
    hookweir(&app, &["backup", "good.db"]).good();
    app.stop().await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", store_file(&app).display()));
    }
    let path = |name: &str| app.folder().join(name);
    std::fs::write(path("text.db"), "no database, though of some length, indeed of more than one hundred bytes, which a header of SQLite has").expect("written");
    let mut damaged = std::fs::read(path("good.db")).expect("readable");
    let middle = damaged.len() / 2;
    damaged[4096..middle].fill(0x5a);
    std::fs::write(path("damaged.db"), damaged).expect("written");
    std::fs::copy(path("good.db"), path("newer.db")).expect("copied");
    sql(
        &path("newer.db"),
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000099')",
    );
    for (file, words) in [
        ("missing.db", "is no file"),
        ("text.db", "damaged, or no SQLite database"),
        ("damaged.db", "damaged, or no SQLite database"),
        ("newer.db", "use the newer release"),
    ] {
        let error = hookweir(&app, &["restore", file]).bad(69);
        assert!(error.contains(words), "{file}: {error}");
    }
    // One of an earlier release is brought up to date, beside itself.
    let older = std::fs::read(path("good.db")).expect("readable");
    sql(
        &path("good.db"),
        "DROP TABLE pause; DELETE FROM __diesel_schema_migrations WHERE version LIKE '%000012'",
    );
    let as_it_was = std::fs::read(path("good.db")).expect("readable");
    assert_ne!(older, as_it_was);
    hookweir(&app, &["restore", "good.db"]).good();
    assert_eq!(as_it_was, std::fs::read(path("good.db")).expect("readable"));
    let left = std::fs::read_dir(app.folder()).expect("readable");
    let left = left.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        let name = name.to_string_lossy();
        name.contains("migrated") || name.contains("partial")
    });
    assert_eq!(left.count(), 0);
    app.start_again().await;
    app.ready().await;
    assert_eq!(ids(&json(&app, &["events"])), ["evt_1"]);
}
