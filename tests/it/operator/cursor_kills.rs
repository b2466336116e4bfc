//! Reading all events in one order while one of two instances is killed again and again, on PostgreSQL.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::load::Load;
use hookweir_testkit::servers::postgres;
use serde_json::Value;

use super::socket;

/// Times that the instance is killed.
const KILLS: usize = 8;

/// Asks an instance for the events after a position. None if it does not answer.
fn ask(socket: &Path, after: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let request = format!(
        "GET /api/v1/events?after={after}&limit=200&wait_ms=100 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    // An answer that was cut off by the kill is none.
    let answer = serde_json::from_str(body).ok();
    answer.filter(|_| head.starts_with("HTTP/1.1 200"))
}

/// Reads from these instances in turn until nothing more comes after the end was told. Returns the message ids in their order.
fn read_all(sockets: &[PathBuf], is_over: &AtomicBool) -> Vec<String> {
    let (mut after, mut seen, mut turn) = ("0".to_owned(), Vec::new(), 0);
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < Duration::from_secs(300), "no end comes");
        let was_over = is_over.load(Ordering::Acquire);
        turn += 1;
        let Some(answer) = ask(&sockets[turn % sockets.len()], &after) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let events = answer["events"].as_array().expect("events");
        let ids = events.iter().map(|event| event["message_id"].as_str());
        seen.extend(ids.map(|id| id.expect("an id").to_owned()));
        if events.is_empty() && was_over && answer["more"] == false {
            return seen;
        }
        if let Some(next) = answer["next"].as_str() {
            next.clone_into(&mut after);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_instance_is_killed_again_and_again_readers_see_all_events_once_and_in_one_order()
{
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let store = format!(
        "[store]\nurl = \"{}\"\nschema = \"{schema}\"\nlease_secs = 5\n",
        postgres()
    );
    let config = format!("{store}{}", five_sources());
    let (mut killed, other) = (App::start(&config).await, App::start(&config).await);
    let both = [socket(&killed), socket(&other)];
    let living = [socket(&other)];
    let is_over = std::sync::Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..6)
        .map(|reader| {
            let sockets = match reader % 2 {
                0 => both.to_vec(),
                _ => living.to_vec(),
            };
            let is_over = is_over.clone();
            std::thread::spawn(move || read_all(&sockets, &is_over))
        })
        .collect();
    let load = Load::on(&[killed.listen, other.listen]).start();
    for _ in 0..KILLS {
        load.until_taken(150).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..50))).await;
        killed.kill();
        load.until_taken(20).await;
        killed.start_again().await;
    }
    killed.ready().await;
    let ledger = load.finish().await;
    ledger.check();
    is_over.store(true, Ordering::Release);
    let seen: Vec<Vec<String>> = readers
        .into_iter()
        .map(|reader| reader.join().expect("it has read all"))
        .collect();
    for reader in &seen {
        let different: BTreeSet<&String> = reader.iter().collect();
        assert_eq!(different.len(), reader.len(), "an event came twice");
        assert!(*reader == seen[0], "another order, or other events");
    }
    let ids: BTreeSet<&str> = seen[0].iter().map(String::as_str).collect();
    let taken = ledger.entries.iter().flat_map(|entry| entry.message_ids());
    let unseen: Vec<&str> = taken.filter(|id| !ids.contains(id)).collect();
    assert!(
        unseen.is_empty(),
        "{} were not seen: {unseen:?}",
        unseen.len()
    );
    println!("{} events, {KILLS} kills", ids.len());
}
