//! Events, lakehouses, and what readers see in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hookweir_lakehouse::event::{Event, Millis, RowId};
use hookweir_lakehouse::lake::{CatalogPlace, Lake, LakePlace};
use hookweir_lakehouse::writer::Writer;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::python::read;

/// 2026-11-28T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_867_200_000;

/// Returns event number `n`: every tenth has a body that is not UTF-8, every seventh a mark, every fifth no
/// type. The last tenth of a thousand was received a day later.
pub(crate) fn event(n: u64) -> Event {
    let mut body = format!(
        "{{\"n\":{n},\"text\":\"é\\u0000 \0 {}\"}}",
        "x".repeat((n % 97) as usize)
    );
    if n.is_multiple_of(11) {
        body.clear();
    }
    let mut bytes = body.into_bytes();
    if n.is_multiple_of(10) {
        bytes.extend([0xff, 0, b'\n', 0xfe]);
    }
    let day = if n % 1000 >= 900 { 86_400_000 } else { 0 };
    Event {
        message_id: id(n),
        source: format!("source-{}", n % 3),
        event_id: format!("evt_{n}"),
        event_type: (!n.is_multiple_of(5)).then(|| "invoice.paid".to_owned()),
        content_type: (!n.is_multiple_of(4)).then(|| "application/json".to_owned()),
        received_at: Millis(NOON + day + n as i64),
        headers: (0..n % 3)
            .map(|h| (format!("x-h{h}"), format!("värde {n}")))
            .collect(),
        body: bytes.into(),
        conflict_of: n.is_multiple_of(7).then(|| id(n + 1_000_000)),
        same_bytes_as: (n % 7 == 1).then(|| id(n + 2_000_000)),
    }
}

pub(crate) fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<Event> {
    numbers.into_iter().map(event).collect()
}

pub(crate) fn id(n: u64) -> RowId {
    let digest: [u8; 32] = Sha256::digest(n.to_be_bytes()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    RowId::from_bytes(bytes)
}

/// A lakehouse in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) place: LakePlace,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with_catalog(CatalogPlace::Beside)
    }

    pub(crate) fn with_catalog(catalog: CatalogPlace) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = LakePlace {
            folder: folder.path().join("lake"),
            bucket: None,
            catalog,
        };
        Self { folder, place }
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.place.folder.clone()
    }

    /// Returns the location of a table in the folder.
    pub(crate) fn location(&self) -> String {
        format!("file://{}/events", self.lake().display())
    }

    pub(crate) async fn open(&self) -> Lake {
        Lake::open(&self.place).await.expect("opened")
    }

    /// Returns a writer that has read the ids of the table.
    pub(crate) async fn writer(&self) -> Writer {
        self.writer_with(1_000_000).await
    }

    pub(crate) async fn writer_with(&self, known_ids: usize) -> Writer {
        let mut writer = Writer::new(self.open().await, known_ids);
        writer.refresh().await.expect("read");
        writer
    }

    /// Returns the ids of the rows, as the crate itself reads them.
    pub(crate) async fn ids(&self) -> Vec<RowId> {
        let table = self.open().await.load().await.expect("loaded");
        let mut ids = Vec::new();
        hookweir_lakehouse::table::ids::read(&table, Millis(i64::MIN), &Default::default(), |id| {
            ids.push(id)
        })
        .await
        .expect("read");
        ids.sort();
        ids
    }
}

/// Returns the ids of `events`, sorted, each once.
pub(crate) fn ids_of(events: &[Event]) -> Vec<RowId> {
    let ids: std::collections::BTreeSet<_> = events.iter().map(|event| event.message_id).collect();
    ids.into_iter().collect()
}

/// Returns the number of rows that `reader` finds for each value of a column.
pub(crate) fn counts(reader: &str, lake: &Path, column: &str, values: &[String]) -> Vec<u64> {
    let lake = lake.to_string_lossy();
    let mut arguments = vec!["count", reader, &lake, column];
    arguments.extend(values.iter().map(String::as_str));
    read(&arguments)
        .iter()
        .map(|count| count.as_u64().expect("a number"))
        .collect()
}

/// Asserts that both readers see exactly `events`, each once, with equal bytes.
pub(crate) fn assert_readers_see(lake: &Path, events: &[Event]) {
    for reader in ["duckdb", "pyiceberg"] {
        assert_rows_are(reader, &lake.to_string_lossy(), events);
    }
}

/// Asserts that `reader` sees exactly `events` at `lake`, each once, with equal bytes.
pub(crate) fn assert_rows_are(reader: &str, lake: &str, events: &[Event]) {
    let rows = read(&["rows", reader, lake]);
    let count = rows.len();
    let mut seen: BTreeMap<String, Value> = rows
        .into_iter()
        .map(|row| (row["message_id"].as_str().expect("an id").to_owned(), row))
        .collect();
    assert_eq!(seen.len(), count, "{reader}: distinct ids and rows");
    for event in events {
        let row = seen.remove(&event.message_id.to_string());
        assert_eq!(
            row.as_ref(),
            Some(&expected(event)),
            "{reader}: event {}",
            event.event_id
        );
    }
    assert!(
        seen.is_empty(),
        "{reader} sees {} rows that nobody sent",
        seen.len()
    );
}

fn expected(event: &Event) -> Value {
    let digest: [u8; 32] = Sha256::digest(&event.body).into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let headers: BTreeMap<_, _> = event.headers.iter().cloned().collect();
    serde_json::json!({
        "message_id": event.message_id.to_string(),
        "source": event.source,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "content_type": event.content_type,
        "received_at": event.received_at.0,
        "committed": true,
        "headers": headers,
        "body": hex,
        "text": std::str::from_utf8(&event.body).is_ok(),
        "conflict_of": event.conflict_of.map(|id| id.to_string()),
        "same_bytes_as": event.same_bytes_as.map(|id| id.to_string()),
    })
}

/// Commits the first events, 20 at a time, by all writers at once. Returns the number of rows that they have added together.
pub(crate) async fn added_at_once(writers: Vec<Writer>, count: u64) -> usize {
    let tasks = writers.into_iter().map(|mut writer| {
        tokio::spawn(async move {
            let mut added = 0;
            for begin in (0..count).step_by(20) {
                loop {
                    match writer.commit(&events(begin..begin + 20)).await {
                        Ok(outcome) => break added += outcome.added,
                        // The catalog was busy for too long, or all attempts were lost: the feed waits.
                        Err(error) => println!("again after {error}"),
                    }
                }
            }
            added
        })
    });
    let mut added = 0;
    for task in tasks.collect::<Vec<_>>() {
        added += task.await.expect("no panic");
    }
    added
}
