//! An ordered sink: events of one key come out in the order in which they were sent, whatever dies. Here with files; with RabbitMQ and
//! Kafka beside their other tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hookweir_testkit::app::App;
use hookweir_testkit::load::client;
use hookweir_testkit::sink::{Message, files, files_hold, files_so_far};

use super::sinks::{hookweir, waits};

/// A source of anything, whose events are ordered by a value in the body. There is no spool: its events come later than those that are
/// stored after them.
pub(super) const BY_KEY: &str =
    "[spool]\npath = \"\"\n[[source]]\nname = \"shop\"\nprovider = \"none\"\n";

/// Body of the event with this number of a key.
pub(super) fn body(key: &str, n: usize) -> String {
    format!("{{\"data\": {{\"k\": \"{key}\"}}, \"n\": {n}}}")
}

/// Sends a body until it is answered 200, to one instance after the other.
pub(super) async fn send(client: &reqwest::Client, to: &[SocketAddr], source: &str, body: String) {
    let since = Instant::now();
    for attempt in 0.. {
        let at = to[attempt % to.len()];
        let request = client.post(format!("http://{at}/ingest/{source}"));
        match request.body(body.clone()).send().await {
            Ok(response) if response.status() == 200 => return,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "never taken: {body}"
        );
    }
}

/// Events of several keys under way: of each key the next one is sent after the one before was answered.
pub(super) struct Senders {
    taken: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Senders {
    /// Number of keys.
    pub(super) const KEYS: usize = 8;
    /// Events that an instance has in memory at most, 16 of each key: a kill may make copies of them.
    pub(super) const IN_MEMORY: usize = 16 * Self::KEYS;

    /// Starts to send `each` events of each key, in turn to the instances.
    pub(super) fn start(instances: &[SocketAddr], each: usize) -> Self {
        let taken = Arc::new(AtomicUsize::new(0));
        let sender = |key: usize| {
            let (taken, mut to) = (taken.clone(), instances.to_vec());
            async move {
                let client = client();
                for n in 0..each {
                    send(&client, &to, "shop", body(&format!("key{key}"), n)).await;
                    taken.fetch_add(1, Ordering::SeqCst);
                    to.rotate_left(1);
                }
            }
        };
        let tasks = (0..Self::KEYS).map(|key| tokio::spawn(sender(key)));
        Self {
            tasks: tasks.collect(),
            taken,
        }
    }

    /// Waits until so many more were answered.
    pub(super) async fn until_taken(&self, more: usize) {
        let (from, since) = (self.taken.load(Ordering::SeqCst), Instant::now());
        while self.taken.load(Ordering::SeqCst) < from + more {
            assert!(since.elapsed() < Duration::from_secs(60), "too slow");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until all were answered.
    pub(super) async fn finish(self) {
        for task in self.tasks {
            task.await.expect("a sender");
        }
    }
}

/// The numbers of each key, each at the place at which it comes first, and how many copies came beside them.
pub(super) fn first_places(messages: &[Message]) -> (BTreeMap<String, Vec<u64>>, usize) {
    let (mut known, mut numbers) = (BTreeSet::new(), BTreeMap::<String, Vec<u64>>::new());
    for message in messages {
        let body: serde_json::Value = serde_json::from_slice(&message.body).expect("JSON");
        let key = body["data"]["k"].as_str().expect("a key").to_owned();
        // By its bytes: what a sender sends again without having heard is an event of its own here.
        if known.insert(message.body.clone()) {
            let of_key = numbers.entry(key).or_default();
            of_key.push(body["n"].as_u64().expect("a number"));
        }
    }
    (numbers, messages.len() - known.len())
}

/// Reads until the sink has `each` events of each key. The gauge of the outbox is too old to wait for.
pub(super) async fn until_all(each: usize, mut read: impl AsyncFnMut() -> Vec<Message>) {
    let since = Instant::now();
    loop {
        let messages = read().await;
        let different: BTreeSet<&[u8]> = messages.iter().map(|message| &message.body[..]).collect();
        if different.len() >= Senders::KEYS * each {
            return;
        }
        assert!(
            since.elapsed() < Duration::from_secs(120),
            "{} are there",
            different.len()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Checks that each key has the numbers from 0 up to `each`, in order. Returns the number of copies.
pub(super) fn check_order(messages: &[Message], each: usize) -> usize {
    let (numbers, copies) = first_places(messages);
    assert_eq!(numbers.len(), Senders::KEYS);
    let all: Vec<u64> = (0..each as u64).collect();
    for (key, numbers) in numbers {
        assert_eq!(numbers, all, "{key}");
    }
    copies
}

#[tokio::test(flavor = "multi_thread")]
async fn in_files_events_of_a_key_stay_in_order_over_kills_and_without_a_fault_none_is_copied() {
    let config =
        format!("[publisher]\nordered = \"{{json:/data/k}}\"\nretry_max_ms = 2000\n{BY_KEY}");
    let mut app = App::start(&config).await;
    let calm = Senders::start(&[app.listen], 40);
    calm.finish().await;
    files_hold(&app.events(), Senders::KEYS * 40).await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    assert_eq!(check_order(&files(&app.events()), 40), 0, "no copies");

    let mut app = App::start(&config).await;
    let senders = Senders::start(&[app.listen], 150);
    for _ in 0..3 {
        senders.until_taken(200).await;
        app.kill();
        app.start_again().await;
    }
    senders.finish().await;
    until_all(150, async || files_so_far(&app.events())).await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    let copies = check_order(&files(&app.events()), 150);
    assert!(copies <= 3 * Senders::IN_MEMORY, "{copies} copies");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_refused_where_it_cannot_be_kept_and_shown_where_it_is() {
    let config = format!("[publisher]\nordered = \"source\"\n{BY_KEY}");
    let app = App::start(&config).await;
    let (code, printed) = hookweir(&app, &["config"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("ordered = \"source\""), "{printed}");
    waits(&app, "default", 0).await;
    for (wrong, said) in [
        (
            "server.respond_after=published",
            "senders cannot wait for an ordered sink",
        ),
        ("publisher.ordered={json:k}", "a JSON pointer such as"),
    ] {
        let (code, printed) = hookweir(&app, &["check", "--offline", "--set", wrong]);
        assert_eq!(code, Some(78), "{printed}");
        assert!(printed.contains(said), "{printed}");
    }
}
