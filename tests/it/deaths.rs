//! Death at every named point on the way of a delivery, and the death of single actors. Needs the feature `failpoints`, which
//! `tests/run` switches on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use hookweir::faults::points::POINTS;
use sha2::Sha256;

use hookweir_testkit::load::client;

const SECRET: &str = "a secret of these tests only";
const CONFIG: &str = r#"
server.listen = "127.0.0.1:0"
server.admin_listen = "127.0.0.1:0"
[[source]]
name = "gh"
provider = "github"
secrets = ["plain:a secret of these tests only"]
"#;

/// The real program, killed when dropped.
struct Service {
    process: Child,
    ingest: String,
}

impl Service {
    fn start(folder: &Path, failpoints: &str) -> Self {
        std::fs::write(folder.join("hookweir.toml"), CONFIG).expect("written");
        let mut process = Command::new(env!("CARGO_BIN_EXE_hookweir"))
            .args(["serve", "--config", "hookweir.toml"])
            .current_dir(folder)
            .env("FAILPOINTS", failpoints)
            .env("HOOKWEIR__LOG__FORMAT", "json")
            .env("HOOKWEIR__LAKEHOUSE__IN_SERVE", "off")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stderr.take().expect("stderr")).lines();
        let ingest = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            Some(line.get("listen")?.as_str()?.to_owned())
        });
        thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            ingest: ingest.expect("it says where it listens"),
        }
    }

    /// Sends delivery `n`; returns true if the answer is 2xx.
    async fn deliver(&self, client: &reqwest::Client, n: usize) -> bool {
        let body = format!("{{\"n\":{n}}}");
        let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())
            .expect("any length")
            .chain_update(&body)
            .finalize();
        let request = client
            .post(format!("http://{}/ingest/gh", self.ingest))
            .header(
                "x-hub-signature-256",
                format!("sha256={}", hex::encode(mac.into_bytes())),
            )
            .header("x-github-delivery", format!("id-{n}"))
            .header("x-github-event", "push")
            .body(body);
        request
            .send()
            .await
            .is_ok_and(|response| response.status().is_success())
    }

    /// The exit code (none if a signal ended it), or nothing if it goes on living.
    fn ended_within(&mut self, limit: Duration) -> Option<Option<i32>> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("it can be asked") {
                return Some(status.code());
            }
            if since.elapsed() > limit {
                return None;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the number of lines of each event id in the file sink.
fn sink(folder: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let files = std::fs::read_dir(folder.join("data/events"))
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path());
    for file in files.filter(|path| path.extension().is_some_and(|ext| ext == "jsonl")) {
        for line in std::fs::read_to_string(file).expect("text").lines() {
            // The last line may be torn where the process died.
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
                continue;
            };
            *found
                .entry(
                    line["headers"]["cloudEvents:id"]
                        .as_str()
                        .expect("an id")
                        .to_owned(),
                )
                .or_insert(0) += 1;
        }
    }
    found
}

/// Delivers until the process dies, starts it again, and delivers everything again as a provider would: nothing that was answered 2xx may
/// be missing, and only what was under way may be there twice.
async fn dies_and_loses_nothing(point: &'static str, hit: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client();
    let what = format!("{point}, hit {hit}");

    let mut service = Service::start(folder.path(), &format!("{point}={}*off->return", hit - 1));
    let (mut answered, mut sent, since) = (BTreeSet::new(), 0, Instant::now());
    // Deliveries that come before the store is ready are answered 503 and get no further than a writer, so there is no telling how many
    // it takes.
    let status = loop {
        if let Some(status) = service.ended_within(Duration::ZERO) {
            break status;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "{what}: the process was to abort; {sent} sent, answered {answered:?}"
        );
        if service.deliver(&client, sent).await {
            answered.insert(format!("id-{sent}"));
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status, None, "{what}: the process was to abort");
    drop(service);

    let service = Service::start(folder.path(), "");
    let since = Instant::now();
    let mut waiting: BTreeSet<usize> = (0..sent).collect();
    while !waiting.is_empty() {
        for n in waiting.clone() {
            if service.deliver(&client, n).await {
                waiting.remove(&n);
                answered.insert(format!("id-{n}"));
            }
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "{what}: never accepted: {waiting:?}"
        );
    }
    while !answered
        .iter()
        .all(|id| sink(folder.path()).contains_key(id))
    {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "{what}: answered 2xx and lost: {:?}",
            {
                let found = sink(folder.path());
                answered
                    .iter()
                    .filter(|id| !found.contains_key(*id))
                    .collect::<Vec<_>>()
            }
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let copies: usize = sink(folder.path()).values().map(|count| count - 1).sum();
    assert!(copies <= sent, "{what}: {copies} copies after one death");
    let before_publishing = POINTS
        .iter()
        .position(|name| *name == "publish_task_after")
        .expect("a point");
    let position = POINTS
        .iter()
        .position(|name| *name == point)
        .expect("a point");
    // At a later hit, an event before it may have been published, and not been settled yet.
    assert!(
        hit > 1 || position >= before_publishing || copies == 0,
        "{what}: {copies} copies, though nothing was published when it died"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_at_any_point_loses_nothing() {
    for points in POINTS.chunks(5) {
        let runs = points
            .iter()
            .flat_map(|point| [1, 3].map(|hit| tokio::spawn(dies_and_loses_nothing(point, hit))));
        for run in runs.collect::<Vec<_>>() {
            run.await.expect("no loss");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_ends_when_an_actor_or_a_writer_dies() {
    let client = client();
    for point in [
        "verifier_received",
        "dedup_offered",
        "writer_before_commit",
        "publisher_pending",
        "confirm_writer_before",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut service = Service::start(folder.path(), &format!("{point}=panic"));
        // Until the store is ready, a delivery is answered 503 and gets no further than a writer.
        while service.ended_within(Duration::ZERO).is_none() && !service.deliver(&client, 1).await {
        }
        // The promise is five seconds; the rest is for a busy machine.
        assert_eq!(
            service.ended_within(Duration::from_secs(60)),
            Some(Some(70)),
            "after a panic at {point}"
        );
    }
}
