//! A store that is moved to another one while events come, by the command of an operator.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Event, Provider, now};
use hookweir_testkit::servers::postgres;
use tokio::task::JoinHandle;

use super::backup::{Kind, copies, deliver, events};
use super::{hookweir, ids, json, send};

/// Events of a stream that were accepted.
#[derive(Default)]
pub(super) struct Stream {
    /// Each event, with its message id.
    pub(super) taken: Vec<(Event, String)>,
}

impl Stream {
    /// Sends events, each until it is taken.
    pub(super) async fn send(&mut self, app: &App, count: usize) {
        for event in events(count) {
            let (id, _) = deliver(app, &event).await;
            self.taken.push((event, id));
        }
    }
}

/// Sends events one after the other, each until it is taken, until `stop`.
fn stream(listen: std::net::SocketAddr, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Stream> {
    tokio::spawn(async move {
        let (client, mut rng) = (client(), fastrand::Rng::new());
        let mut stream = Stream::default();
        while !stop.load(Ordering::Relaxed) {
            let event = Provider::ALL[rng.usize(..5)].event(&mut rng);
            loop {
                let headers = event.signed(event.provider.secret(), now());
                let source = event.provider.name();
                let answer = post(&client, listen, source, headers, event.body.clone()).await;
                if let Answer::Taken { id, .. } = answer {
                    stream.taken.push((event, id));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        stream
    })
}

/// A store in PostgreSQL that is not there yet.
pub(super) struct Target {
    pub(super) schema: String,
}

/// Exit code of the command, and what it said.
type Ended = (Option<i32>, String);

impl Target {
    pub(super) fn new() -> Self {
        Self {
            schema: format!("test_{}", uuid::Uuid::now_v7().simple()),
        }
    }

    pub(super) fn config(&self) -> String {
        self.config_of(&postgres())
    }

    pub(super) fn config_of(&self, url: &str) -> String {
        format!("[store]\nurl = \"{url}\"\nschema = \"{}\"\n", self.schema)
    }

    /// Runs the command off the test's own thread, and kills it at a failpoint.
    pub(super) async fn move_here(&self, app: &App, failpoint: Option<&str>) -> Ended {
        let failpoints = failpoint.map(|point| format!("{point}=return"));
        self.begin(app, failpoints.unwrap_or_default())
            .await
            .expect("it has ended")
    }

    fn begin(&self, app: &App, failpoints: String) -> JoinHandle<Ended> {
        let mut command = Command::new(hookweir_testkit::program());
        command
            .args(["move", "--config", "config.toml", "--to", &postgres()])
            .args(["--schema", &self.schema])
            .current_dir(app.folder())
            .env("FAILPOINTS", failpoints)
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || {
            let output = command.output().expect("it runs");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            (output.status.code(), said)
        })
    }

    /// Runs the command until it stands at a failpoint.
    pub(super) async fn hold(&self, app: &App, failpoint: &str) -> Held {
        let pipe = app.folder().join(format!("{failpoint}.pipe"));
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo is there").success());
        let mut ended = self.begin(app, format!("{failpoint}=return({})", pipe.display()));
        let (at_the_point, is_there) = tokio::sync::oneshot::channel();
        // Opening waits for the reader. Not on the runtime, which would wait for it after a failure.
        std::thread::spawn(move || at_the_point.send(File::create(pipe).expect("opened")));
        let pipe = tokio::select! {
            pipe = is_there => pipe.expect("sent"),
            ended = &mut ended => panic!("it never came to {failpoint}: {ended:?}"),
        };
        Held { pipe, ended }
    }
}

/// A command that stands at a failpoint.
pub(super) struct Held {
    pipe: File,
    ended: JoinHandle<Ended>,
}

impl Held {
    /// Lets it go on to its end.
    pub(super) async fn let_go(self) -> Ended {
        drop(self.pipe);
        self.ended.await.expect("it has ended")
    }
}

/// Restarts the service with another store.
pub(super) async fn restart_with(app: &mut App, store: &str) {
    std::fs::write(
        app.folder().join("config.toml"),
        format!("{store}{}", five_sources()),
    )
    .expect("written");
    app.stop().await;
    app.start_again().await;
    app.ready().await;
}

/// Checks that each event is at the sink, and that a redelivery is a duplicate under the same message id.
/// Returns the number of copies beyond the first.
pub(super) async fn account(app: &App, stream: &Stream) -> usize {
    let since = std::time::Instant::now();
    let copies = loop {
        let copies = copies(&app.events());
        let missing = |(_, id): &&(Event, String)| !copies.contains_key(id);
        let missing = stream.taken.iter().filter(missing).count();
        if missing == 0 {
            break copies;
        }
        // What the spool holds goes to the new store, and from there to the sink.
        let patient = since.elapsed() < Duration::from_secs(120);
        assert!(patient, "{missing} are lost: {}", app.health().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    for (event, id) in &stream.taken {
        let (again, is_new) = deliver(app, event).await;
        assert_eq!((&again, is_new), (id, false), "{} is not known", event.id);
    }
    copies.values().map(|count| count - 1).sum()
}

/// Moves while events come, restarts, and accounts for everything.
async fn under_load(from: Kind) {
    let mut app = App::start(&format!("{}{}", from.config(), five_sources())).await;
    let before = events(200);
    let mut first = BTreeMap::new();
    for event in &before {
        first.insert(event.id.clone(), deliver(&app, event).await.0);
    }
    let (stop, target) = (Arc::new(AtomicBool::new(false)), Target::new());
    let running = stream(app.listen, stop.clone());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (code, said) = target.move_here(&app, None).await;
    assert_eq!(code, Some(0), "{said}\n{}", app.log());
    assert!(
        said.contains("dedup keys") && said.contains("restart every instance"),
        "{said}"
    );
    let since = std::time::Instant::now();
    loop {
        let health = app.not_ready().await;
        if health.contains("\"moved to") && health.contains("set store.url") {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{health}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The service serves from a closed store for a while.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = target.move_here(&app, None).await;
    assert_eq!(again.0, Some(0), "it has ended before: {}", again.1);
    hookweir(&app, &["move", "--cancel"]).bad(69);
    let backup = hookweir(&app, &["backup", "moved.db"]);
    assert!(
        backup.code == Some(0) && backup.err.contains("this store was moved to"),
        "{}",
        backup.err
    );

    restart_with(&mut app, &target.config()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut stream = running.await.expect("the stream");
    assert!(!stream.taken.is_empty());
    for event in before {
        let id = first.remove(&event.id).expect("it was sent");
        stream.taken.push((event, id));
    }
    let doubled = account(&app, &stream).await;
    assert_eq!(doubled, 0, "of {} events", stream.taken.len());
}

/// Kills the command at each of its steps, and the service in between, under load.
async fn killed(from: Kind) {
    // What a killed service has claimed waits for the end of its lease.
    let short = |store: String| format!("{store}lease_secs = 3\n");
    let mut app = App::start(&format!("{}{}", short(from.config()), five_sources())).await;
    for event in events(50) {
        deliver(&app, &event).await;
    }
    let (stop, target) = (Arc::new(AtomicBool::new(false)), Target::new());
    let running = stream(app.listen, stop.clone());
    for point in hookweir::faults::points::MOVE_POINTS {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (code, said) = target.move_here(&app, Some(point)).await;
        assert_eq!(code, None, "{point} is never reached: {said}");
        app.kill();
        app.start_again().await;
        if *point == "move_closed" {
            // Opened again, it goes on, and the next one begins anew.
            let said = hookweir(&app, &["move", "--cancel"]).good();
            assert!(said.contains("open again"), "{said}");
            app.ready().await;
        }
    }
    let (code, said) = target.move_here(&app, None).await;
    assert_eq!(code, Some(0), "{said}");
    restart_with(&mut app, &short(target.config())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let stream = running.await.expect("the stream");
    // Kills double what was in flight.
    account(&app, &stream).await;
}

/// Tests that need a server.
mod with_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_is_moved_to_postgresql_under_load_and_nothing_is_lost_doubled_or_forgotten() {
        under_load(Kind::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn postgresql_is_moved_to_another_schema_under_load_while_the_spool_takes_deliveries() {
        under_load(Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_move_that_is_killed_at_each_step_goes_on_and_loses_nothing() {
        killed(Kind::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_move_of_postgresql_that_is_killed_at_each_step_goes_on_and_loses_nothing() {
        killed(Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_instance_stays_away_from_a_store_that_is_not_whole_and_a_foreign_move_is_refused() {
        let app = App::start(&five_sources()).await;
        send(&app, Provider::Stripe, "evt_1");
        let target = Target::new();
        let (code, said) = target.move_here(&app, Some("move_claimed")).await;
        assert_eq!(code, None, "{said}");
        // Nobody has closed the source.
        send(&app, Provider::Stripe, "evt_2");
        assert_eq!(ids(&json(&app, &["events"])), ["evt_2", "evt_1"]);
        let early = App::launch(&format!("{}{}", target.config(), five_sources())).await;
        let health = early.not_ready().await;
        assert!(health.contains("has not ended"), "{health}");
        let refused = hookweir(&early, &["backup", "half.db"]).bad(69);
        assert!(refused.contains("has not ended"), "{refused}");
        let (code, said) = target.move_here(&early, None).await;
        assert_eq!(code, Some(64), "it is the same store: {said}");

        let other = App::start(&five_sources()).await;
        let (code, said) = target.move_here(&other, None).await;
        assert!(
            code == Some(69) && said.contains("has not ended"),
            "{code:?} {said}"
        );
        let (code, said) = target.move_here(&app, None).await;
        assert_eq!(code, Some(0), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_holds_something_is_not_moved_to_and_postgresql_not_to_a_file() {
        let app = App::start(&five_sources()).await;
        let target = Target::new();
        let mut full = App::start(&format!("{}{}", target.config(), five_sources())).await;
        let (code, said) = target.move_here(&app, None).await;
        assert!(
            code == Some(69) && said.contains("serves from"),
            "{code:?} {said}"
        );
        send(&full, Provider::Stripe, "evt_1");
        full.drained().await;
        full.stop().await;
        let (code, said) = target.move_here(&app, None).await;
        assert!(
            code == Some(69) && said.contains("not empty"),
            "{code:?} {said}"
        );
        send(&app, Provider::Stripe, "evt_2");
        let refused = hookweir(&full, &["move", "--to", "sqlite://other.db"]).bad(64);
        assert!(refused.contains("hookweir restore"), "{refused}");
    }
}
