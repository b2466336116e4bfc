//! SQLite and a file alone: the same rows in batches, each synced by its commit; the same bodies as lines of JSON, synced in batches.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use sha2::{Digest, Sha256};

use super::Options;
use crate::requests::Requests;

/// Rows in one commit.
pub(super) const BATCH: u64 = 512;
/// Lines in one sync.
pub(super) const LINES: u64 = 256;
/// A file is closed at this size, as in the service.
const FILE_BYTES: u64 = 128 << 20;

const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA cache_size = -16384;
    CREATE TABLE known (seq INTEGER PRIMARY KEY NOT NULL, key BLOB NOT NULL);
    CREATE UNIQUE INDEX known_key ON known (key);
    CREATE TABLE event (seq INTEGER PRIMARY KEY NOT NULL, key BLOB NOT NULL, body BLOB NOT NULL);
    CREATE TABLE outbox (seq INTEGER PRIMARY KEY NOT NULL, key BLOB NOT NULL);";

diesel::table! { known (seq) { seq -> BigInt, key -> Binary, } }
diesel::table! { event (seq) { seq -> BigInt, key -> Binary, body -> Binary, } }
diesel::table! { outbox (seq) { seq -> BigInt, key -> Binary, } }

/// Events a second.
pub(super) fn store(options: Options<'_>) -> Result<f64, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut connection =
        SqliteConnection::establish(&folder.path().join("ceiling.db").to_string_lossy())?;
    connection.batch_execute(TABLES)?;
    let requests = Requests::new(options.body);
    let batch = BATCH.min(((8 << 20) / requests.size()).max(1) as u64);
    let (mut stored, began) = (0, Instant::now());
    while began.elapsed() < options.time {
        let mut rows: Vec<(Vec<u8>, u64)> = (stored..stored + batch)
            .map(|n| (Sha256::digest(n.to_be_bytes()).to_vec(), n))
            .collect();
        rows.sort();
        connection.immediate_transaction(|connection| {
            for (digest, n) in &rows {
                let (seq, digest) = (n.cast_signed(), &digest[..]);
                diesel::insert_into(known::table)
                    .values((known::seq.eq(seq), known::key.eq(digest)))
                    .on_conflict_do_nothing()
                    .execute(connection)?;
                diesel::insert_into(event::table)
                    .values((
                        event::seq.eq(seq),
                        event::key.eq(digest),
                        event::body.eq(requests.body(*n)),
                    ))
                    .execute(connection)?;
                diesel::insert_into(outbox::table)
                    .values((outbox::seq.eq(seq), outbox::key.eq(digest)))
                    .execute(connection)?;
            }
            QueryResult::Ok(())
        })?;
        stored += batch;
    }
    Ok(stored as f64 / began.elapsed().as_secs_f64())
}

/// Lines a second.
pub(super) fn file(options: Options<'_>) -> Result<f64, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let requests = Requests::new(options.body);
    let body = String::from_utf8(requests.body(0))?;
    let begin = |number: u64| File::create(folder.path().join(format!("{number}.jsonl")));
    let (mut file, mut written, mut files) = (begin(0)?, 0, 0);
    let (mut lines, mut count, began) = (Vec::new(), 0, Instant::now());
    while began.elapsed() < options.time {
        lines.clear();
        for _ in 0..LINES {
            serde_json::to_writer(&mut lines, &serde_json::json!({ "body": body }))?;
            lines.push(b'\n');
        }
        file.write_all(&lines)?;
        file.sync_data()?;
        (count, written) = (count + LINES, written + lines.len() as u64);
        if written >= FILE_BYTES {
            files += 1;
            (file, written) = (begin(files)?, 0);
        }
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}
