//! PostgreSQL alone: batches of key, event with its body, and outbox row, each batch one statement and one flushed commit. Tables of its
//! own, with the unique key and primary keys and no more; nothing of the product's code.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary};
use sha2::{Digest, Sha256};

use super::Options;
use crate::requests::Requests;
use crate::servers::Postgres;

const TABLES: &str = "
    DROP SCHEMA IF EXISTS ceiling CASCADE;
    CREATE SCHEMA ceiling;
    CREATE TABLE ceiling.key (key bytea PRIMARY KEY, seq bigint NOT NULL);
    CREATE TABLE ceiling.event (seq bigint PRIMARY KEY, key bytea NOT NULL, body bytea NOT NULL);
    ALTER TABLE ceiling.event ALTER COLUMN body SET STORAGE EXTERNAL;
    CREATE TABLE ceiling.outbox (seq bigint PRIMARY KEY, key bytea NOT NULL);";

const INSERT: &str = "
    WITH k AS (INSERT INTO ceiling.key (key, seq) SELECT * FROM unnest($1, $2) ON CONFLICT DO NOTHING),
         e AS (INSERT INTO ceiling.event (seq, key, body) SELECT * FROM unnest($2, $1, $3))
    INSERT INTO ceiling.outbox (seq, key) SELECT * FROM unnest($2, $1)";

/// The largest batch in bytes, as in the service.
const BATCH_BYTES: usize = 8 << 20;

/// Events a second.
pub(super) fn measure(
    postgres: &Postgres,
    connections: usize,
    batch: usize,
    options: Options<'_>,
) -> Result<f64, Box<dyn Error>> {
    postgres.run(&[TABLES, "CHECKPOINT"])?;
    let (next, stored) = (AtomicU64::new(0), AtomicU64::new(0));
    let requests = Requests::new(options.body);
    let batch = batch.min(BATCH_BYTES / requests.size()).max(1);
    let urls = (0..connections)
        .map(|_| postgres.connect())
        .collect::<Result<Vec<_>, _>>()?;
    let began = Instant::now();
    thread::scope(|scope| {
        let writers: Vec<_> = urls
            .into_iter()
            .map(|mut connection| {
                let (next, stored, requests) = (&next, &stored, &requests);
                scope.spawn(move || -> QueryResult<()> {
                    connection.batch_execute("SET jit = off; SET synchronous_commit = on")?;
                    while began.elapsed() < options.time {
                        let first = next.fetch_add(batch as u64, Ordering::Relaxed);
                        insert(&mut connection, requests, first..first + batch as u64)?;
                        stored.fetch_add(batch as u64, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("a writer ends"))
    })?;
    let rate = stored.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    postgres.run(&["DROP SCHEMA ceiling CASCADE"])?;
    Ok(rate)
}

fn insert(
    connection: &mut PgConnection,
    requests: &Requests,
    numbers: std::ops::Range<u64>,
) -> QueryResult<()> {
    let mut rows: Vec<(Vec<u8>, i64, Vec<u8>)> = numbers
        .map(|n| {
            (
                Sha256::digest(n.to_be_bytes()).to_vec(),
                n.cast_signed(),
                requests.body(n),
            )
        })
        .collect();
    rows.sort();
    let keys: Vec<&[u8]> = rows.iter().map(|row| &row.0[..]).collect();
    let seqs: Vec<i64> = rows.iter().map(|row| row.1).collect();
    let bodies: Vec<&[u8]> = rows.iter().map(|row| &row.2[..]).collect();
    let inserted = sql_query(INSERT)
        .bind::<Array<Binary>, _>(&keys)
        .bind::<Array<BigInt>, _>(&seqs)
        .bind::<Array<Binary>, _>(&bodies)
        .execute(connection)?;
    if inserted == rows.len() {
        Ok(())
    } else {
        Err(diesel::result::Error::NotFound)
    }
}
