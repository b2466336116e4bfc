//! A service with its lakehouse, and what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hookweir_testkit::app::App;
use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::load::Load;
use hookweir_testkit::program;
use hookweir_testkit::sink::{Message, Queues, files};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::python::read;

/// Longest wait on a slow day.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the folder of the lakehouse, unless configured otherwise.
pub(crate) fn lake(app: &App) -> PathBuf {
    app.folder().join("data/lake")
}

/// Runs `hookweir` with these arguments in the folder of the service, and waits for its end.
pub(crate) fn hookweir(app: &App, arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .args(["--config", "config.toml"])
        .current_dir(app.folder())
        .output()
        .expect("it runs")
}

/// Runs `hookweir lakehouse` with these arguments, and waits for its end.
pub(crate) fn lakehouse(app: &App, arguments: &[&str]) -> Output {
    hookweir(app, &[&["lakehouse"], arguments].concat())
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn all(output: &Output) -> String {
    out(output) + &String::from_utf8_lossy(&output.stderr)
}

/// Returns what `hookweir trace` says of the lakehouse.
pub(crate) fn trace(app: &App, id: &str) -> Value {
    let traced = hookweir(app, &["trace", id, "--json"]);
    assert!(traced.status.success(), "{}", all(&traced));
    let traced: Value = serde_json::from_str(&out(&traced)).expect("JSON");
    assert_eq!(traced["event"]["message_id"], id, "{traced}");
    traced["lakehouse"].clone()
}

/// Returns a value that `hookweir lakehouse show` prints. None if there is no table yet.
pub(crate) fn shown(app: &App, name: &str) -> Option<String> {
    let shown = out(&lakehouse(app, &["show"]));
    let line = shown.lines().find_map(|line| line.strip_prefix(name));
    line.map(|line| line.trim().to_owned())
}

/// Waits until the table has this number of rows.
pub(crate) async fn until_rows(app: &App, expected: usize) {
    let since = Instant::now();
    loop {
        let rows = shown(app, "rows").and_then(|rows| rows.parse().ok());
        let rows: usize = rows.unwrap_or(0);
        if rows >= expected {
            return;
        }
        assert!(
            since.elapsed() < PATIENCE,
            "{rows} of {expected} rows:\n{}\n{}",
            all(&lakehouse(app, &["show"])),
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the table has a row for each different message of the file sink.
pub(crate) async fn until_all_rows(app: &App) {
    let ids: BTreeSet<_> = files(&app.events()).into_iter().map(|m| m.id).collect();
    until_rows(app, ids.len()).await;
}

/// Asserts that both readers see each message of the file sink once, with its bytes, and each accepted event
/// among them.
pub(crate) fn check(app: &App, ledger: &Ledger) {
    check_against(app, ledger, &files(&app.events()));
}

/// As [`check`], with the messages that another sink has.
pub(crate) fn check_against(app: &App, ledger: &Ledger, messages: &[Message]) {
    for reader in ["duckdb", "pyiceberg"] {
        check_reader(reader, &lake(app).to_string_lossy(), ledger, messages);
    }
}

/// As [`check_against`], with one reader, of the lakehouse at `place`.
pub(crate) fn check_reader(reader: &str, place: &str, ledger: &Ledger, messages: &[Message]) {
    let hex = |body: &[u8]| -> String {
        let digest: [u8; 32] = Sha256::digest(body).into();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let in_sink: BTreeMap<String, String> = messages
        .iter()
        .map(|message| (message.id.clone(), hex(&message.body)))
        .collect();
    let accepted = ledger.genuine().flat_map(|entry| entry.message_ids());
    accepted.for_each(|id| assert!(in_sink.contains_key(id), "{id} is not in the sink"));
    let rows = read(&["rows", reader, place]);
    assert_eq!(rows.len(), in_sink.len(), "{reader}: rows");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let in_table: BTreeMap<String, String> = rows
        .iter()
        .map(|row| (text(&row["message_id"]), text(&row["body"])))
        .collect();
    assert_eq!(in_table, in_sink, "{reader}: ids and bytes");
}

/// `hookweir lakehouse` beside the service. Dropped, it is killed.
pub(crate) struct Beside(pub(crate) Child);

impl Beside {
    pub(crate) fn start(app: &App) -> Self {
        Self::start_with(app, &[])
    }

    /// Starts it with more arguments.
    pub(crate) fn start_with(app: &App, arguments: &[&str]) -> Self {
        let child = Command::new(program())
            .args(["lakehouse", "--config", "config.toml"])
            .args(arguments)
            .current_dir(app.folder())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("it starts"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("bash")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{name} {pid}");
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // SIGKILL. It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the writer has its queue. The queue gets events from then on; the table is made before it.
pub(crate) async fn until_declared(app: &App) {
    let since = Instant::now();
    while shown(app, "waiting").is_none() {
        assert!(since.elapsed() < PATIENCE, "no queue:\n{}", app.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Sends events while processes of the lakehouse beside `app` come and go. Returns what was sent, the messages in the queue, and the last
/// process, once each of the messages is a row.
pub(crate) async fn rows_beside_restarts(
    app: &App,
    queues: &Queues,
    restarts: usize,
) -> (Ledger, Vec<Message>, Beside) {
    let mut beside = Beside::start(app);
    until_declared(app).await;
    let load = Load {
        connections: 8,
        rate: Some(100.0),
        ..Load::on(&[app.listen])
    }
    .start();
    for _ in 0..restarts {
        load.until_taken(100).await;
        beside = Beside::start(app);
    }
    let ledger = load.finish().await;
    ledger.check();
    app.drained().await;
    let expected = ledger.genuine().count();
    let mut messages = queues.consume(&queues.events, expected, PATIENCE).await;
    messages.extend(queues.rest(&queues.events).await);
    let ids: BTreeSet<_> = messages.iter().map(|message| &message.id).collect();
    until_rows(app, ids.len()).await;
    (ledger, messages, beside)
}
