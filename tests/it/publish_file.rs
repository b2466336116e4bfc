//! The publisher with the file sink, and with targets that misbehave.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hookweir::config::model::Publisher;
use hookweir::publish::{
    Channel, Connection, ConnectionState, Message, PublishError, PublishResult, Sink,
};
use tokio::sync::{Semaphore, watch};

use crate::publish_rig::{Rig, event, file, wait};

/// Returns the number of lines of each event id in the folder.
fn lines(folder: &Path) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            for line in std::fs::read_to_string(path).expect("text").lines() {
                let line: serde_json::Value =
                    serde_json::from_str(line).expect("a whole line of JSON");
                *count
                    .entry(
                        line["headers"]["cloudEvents:id"]
                            .as_str()
                            .expect("an id")
                            .to_owned(),
                    )
                    .or_default() += 1;
            }
        }
    }
    count
}

fn once(count: usize) -> BTreeMap<String, usize> {
    (0..count).map(|n| (format!("{n}"), 1)).collect()
}

#[test]
fn rows_left_over_and_hints_are_each_written_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::start(&Publisher {
        mailbox_capacity: 8,
        ..file(folder.path())
    });
    // Some fit the budget for hints, the others are found by the relay while more come in.
    for n in 0..10_000 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    rig.drained();
    assert_eq!(lines(folder.path()), once(10_000));
    assert_eq!(rig.published("confirmed"), 10_000);
    assert!(rig.metrics.relayed.get() > 0, "not all hints fit");
    assert_eq!(rig.stop(Duration::from_secs(5)), 0);
}

#[test]
fn a_burst_is_accepted_first_and_published_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::start(&Publisher {
        yield_longest: Duration::from_secs(3600),
        ..file(folder.path())
    });
    rig.up();
    let burst = rig.ingest.reserve(51, 0).expect("room");
    for n in 0..1000 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    wait("the publisher to stand aside", || {
        rig.metrics.publisher_yielding.get() == 1
    });
    assert_eq!((rig.published("confirmed"), rig.outbox.len()), (0, 1000));

    drop(burst);
    rig.drained();
    assert_eq!(lines(folder.path()), once(1000));
    assert_eq!(rig.metrics.publisher_yielding.get(), 0);
}

#[test]
fn a_body_larger_than_the_whole_budget_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::start(&Publisher {
        queue_bytes: 1000,
        ..file(folder.path())
    });
    for n in 0..100 {
        rig.accept(event(
            "s",
            &n.to_string(),
            &vec![b'x'; if n % 10 == 0 { 5000 } else { 10 }],
        ));
    }
    rig.drained();
    assert_eq!(lines(folder.path()), once(100));
}

#[test]
fn what_the_store_does_not_take_in_is_not_published_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::start(&file(folder.path()));
    for n in 0..500 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    rig.outbox.away.store(true, Ordering::SeqCst);
    for n in 500..1000 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    wait("all to be written", || rig.published("confirmed") == 1000);
    assert!(
        rig.outbox.len() > 0 && !rig.in_flight.is_empty(),
        "the holds stay"
    );
    rig.outbox.away.store(false, Ordering::SeqCst);
    rig.drained();
    assert_eq!(lines(folder.path()), once(1000));
}

#[test]
fn a_folder_that_cannot_be_used_is_reported_and_used_when_it_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    std::fs::write(&path, "in the way").expect("a file");
    let rig = Rig::start(&file(&path));
    rig.accept(event("s", "0", b"{}"));
    wait("the reason", || rig.why_not().contains("Not a directory"));
    assert!(
        rig.why_not().contains(&path.display().to_string()),
        "{}",
        rig.why_not()
    );
    std::fs::remove_file(&path).expect("out of the way");
    rig.drained();
    assert_eq!(lines(&path), once(1));
}

#[test]
fn without_the_lease_nothing_is_published_and_the_hints_are_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    std::fs::write(&path, "in the way").expect("a file");
    let rig = Rig::start(&file(&path));
    for n in 0..1000 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    rig.lease.store(false, Ordering::SeqCst);
    std::fs::remove_file(&path).expect("out of the way");
    rig.up();
    wait("the hints to be given up", || rig.in_flight.is_empty());
    assert_eq!((rig.outbox.len(), lines(&path).len()), (1000, 0));
    rig.lease.store(true, Ordering::SeqCst);
    rig.drained();
    assert_eq!(lines(&path), once(1000));
}

#[test]
fn a_stop_with_the_target_away_leaves_the_rows_to_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    std::fs::write(&path, "in the way").expect("a file");
    let rig = Rig::start(&file(&path));
    for n in 0..1000 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    let outbox = rig.outbox.clone();
    assert_eq!(
        rig.stop(Duration::from_secs(600)),
        1000,
        "it does not wait for what cannot be done"
    );
    assert_eq!(outbox.len(), 1000);
    std::fs::remove_file(&path).expect("out of the way");
    let rig = Rig::restart(outbox, &file(&path));
    rig.drained();
    assert_eq!(lines(&path), once(1000));
}

#[test]
fn a_stop_under_load_finishes_what_is_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::start(&file(folder.path()));
    for n in 0..2000 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    rig.up();
    let outbox = rig.outbox.clone();
    assert_eq!(rig.stop(Duration::from_secs(60)), 0);
    let written = lines(folder.path());
    assert_eq!(
        written.len() + outbox.len(),
        2000,
        "each row is written or still there"
    );
    assert!(written.values().all(|count| *count == 1));
}

type Says = Box<dyn Fn(&Message, usize) -> PublishResult + Send + Sync>;

/// A target that does to each message what its test says, by event id and attempt.
struct Odd {
    fate: Says,
    taken: Mutex<HashMap<String, usize>>,
    links: AtomicUsize,
    /// Messages that were handed over.
    begun: AtomicUsize,
    /// Messages wait for a permit each, if it is there.
    open: Option<Arc<Semaphore>>,
}

impl Odd {
    fn new(fate: impl Fn(&Message, usize) -> PublishResult + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            fate: Box::new(fate),
            taken: Mutex::default(),
            links: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            open: None,
        })
    }

    /// As `new`, but each message waits for a permit of `open`.
    fn behind(
        open: &Arc<Semaphore>,
        fate: impl Fn(&Message, usize) -> PublishResult + Send + Sync + 'static,
    ) -> Arc<Self> {
        let mut odd = Self::new(fate);
        if let Some(odd) = Arc::get_mut(&mut odd) {
            odd.open = Some(open.clone());
        }
        odd
    }

    fn taken(&self) -> HashMap<String, usize> {
        self.taken.lock().expect("no panic").clone()
    }
}

#[derive(Clone)]
struct Handle(Arc<Odd>, watch::Sender<ConnectionState>);

#[async_trait]
impl Sink for Handle {
    async fn connect(&self) -> Result<Box<dyn Connection>, PublishError> {
        self.0.links.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Self(
            self.0.clone(),
            watch::Sender::new(ConnectionState::Up),
        )))
    }

    async fn check(&self) -> Result<Vec<String>, PublishError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Connection for Handle {
    async fn channel(&self) -> Result<Box<dyn Channel>, PublishError> {
        Ok(Box::new(self.clone()))
    }

    fn state(&self) -> watch::Receiver<ConnectionState> {
        self.1.subscribe()
    }

    async fn close(&self) {}
}

#[async_trait]
impl Channel for Handle {
    async fn publish(&mut self, batch: &[Message]) -> Vec<PublishResult> {
        tokio::task::yield_now().await;
        self.0.begun.fetch_add(batch.len(), Ordering::SeqCst);
        if let Some(open) = &self.0.open {
            let count = u32::try_from(batch.len()).expect("few");
            open.acquire_many(count).await.expect("open").forget();
        }
        let fates: Vec<PublishResult> = batch
            .iter()
            .map(|message| (self.0.fate)(message, batch.len()))
            .collect();
        if let Some(PublishResult::Unknown(why)) = fates
            .iter()
            .find(|fate| matches!(fate, PublishResult::Unknown(_)))
        {
            self.1.send_replace(ConnectionState::Down(why.clone()));
        }
        let mut taken = self.0.taken.lock().expect("no panic");
        for (message, fate) in batch.iter().zip(&fates) {
            if *fate == PublishResult::Confirmed {
                *taken
                    .entry(message.event.event_id.as_str().to_owned())
                    .or_default() += 1;
            }
        }
        fates
    }

    fn is_open(&self) -> bool {
        true
    }
}

fn rig(odd: &Arc<Odd>) -> Rig {
    Rig::start_sink(
        Arc::new(Handle(odd.clone(), watch::Sender::new(ConnectionState::Up))),
        &config_of_odd(),
    )
}

fn config_of_odd() -> Publisher {
    Publisher {
        window: 16,
        ..file(Path::new("/nowhere"))
    }
}

#[test]
fn a_poisoned_message_is_parked_with_its_reason_and_its_neighbours_pass_once() {
    // A batch with the poison in it is given up as a whole, like a broker that closes the channel.
    let poison = |message: &Message| message.event.body.starts_with(b"poison");
    let odd = Odd::new(move |message, batch| match (poison(message), batch) {
        (true, _) => PublishResult::Refused("too \u{0} large".into()),
        _ => PublishResult::Confirmed,
    });
    let rig = rig(&odd);
    for n in 0..400 {
        rig.accept(event(
            "s",
            &n.to_string(),
            if n % 100 == 7 { b"poison" } else { b"{}" },
        ));
    }
    rig.drained();
    assert_eq!(odd.taken().len(), 396);
    assert!(odd.taken().values().all(|count| *count == 1));
    let parked = rig.outbox.parked.lock().expect("no panic");
    assert_eq!(parked.len(), 4);
    assert_eq!(
        parked["7"], "too   large",
        "no text that a store would refuse"
    );
    assert_eq!(rig.metrics.parked.get(), 4);
}

#[test]
fn a_source_whose_queue_is_full_does_not_hold_up_the_others() {
    let odd = Odd::new(|message, _| match message.event.source.as_str() {
        "full" => PublishResult::Nacked("full".into()),
        "lost" => PublishResult::Unroutable("no queue".to_owned()),
        _ => PublishResult::Confirmed,
    });
    let rig = rig(&odd);
    for n in 0..3000 {
        let source = ["full", "lost", "fine"][n % 3];
        rig.accept(event(source, &n.to_string(), b"{}"));
    }
    wait("all of the good source", || odd.taken().len() == 1000);
    wait("the others to be postponed", || {
        rig.outbox.attempts().values().all(|attempts| *attempts > 0)
    });
    assert_eq!(rig.outbox.len(), 2000, "none is given up");
    assert!(odd.taken().values().all(|count| *count == 1));
}

#[test]
fn a_link_that_is_lost_again_and_again_loses_nothing() {
    let calls = AtomicUsize::new(0);
    let odd = Odd::new(move |_, _| {
        if calls.fetch_add(1, Ordering::SeqCst) % 500 == 499 {
            PublishResult::Unknown("cut".into())
        } else {
            PublishResult::Confirmed
        }
    });
    let rig = rig(&odd);
    for n in 0..2000 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    rig.drained();
    assert_eq!(odd.taken().len(), 2000);
    assert!(odd.links.load(Ordering::SeqCst) > 1, "it connected again");
}

#[test]
fn a_sink_that_is_paused_while_a_batch_is_under_way_gets_each_event_once() {
    let open = Arc::new(Semaphore::new(0));
    let odd = Odd::behind(&open, |_, _| PublishResult::Confirmed);
    let rig = rig(&odd);
    for n in 0..100 {
        rig.accept(event("s", &n.to_string(), b"{}"));
    }
    wait("a batch under way", || odd.begun.load(Ordering::SeqCst) > 0);
    rig.paused.store(true, Ordering::SeqCst);
    // The lease is looked at twice meanwhile.
    std::thread::sleep(Duration::from_millis(1200));
    open.add_permits(1000);
    wait("the batch to end", || {
        odd.taken().len() == odd.begun.load(Ordering::SeqCst) && rig.in_flight.is_empty()
    });
    let before = odd.taken().len();
    assert!(before < 100, "what had not begun waits");
    rig.paused.store(false, Ordering::SeqCst);
    rig.drained();
    assert_eq!(odd.taken().len(), 100);
    assert!(odd.taken().values().all(|count| *count == 1), "no copies");
    assert_eq!(odd.begun.load(Ordering::SeqCst), 100, "each was sent once");
    assert_eq!(
        (rig.published("unknown"), rig.published("confirmed")),
        (0, 100)
    );
}

#[test]
fn the_file_sink_is_checked_by_writing_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let found = runtime
        .block_on(hookweir::publish::check(
            &file(&folder.path().join("new")),
            &[],
        ))
        .expect("writable");
    assert!(found[0].contains("can be written"), "{found:?}");
    std::fs::write(folder.path().join("file"), "").expect("a file");
    let error = runtime
        .block_on(hookweir::publish::check(
            &file(&folder.path().join("file")),
            &[],
        ))
        .expect_err("not a folder");
    assert!(error.to_string().contains("file: cannot"), "{error}");
}
