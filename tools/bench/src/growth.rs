//! The same load on a store that knows ever more keys, while expired keys and published events are deleted.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;

use super::generator::{Mix, Pace};
use super::pipeline::{self, Row, Sending, World};
use super::say;
use super::servers::Postgres;

/// Events leave the store as soon as they are published, so that deleting them is a part of the load.
const SETTINGS: [&str; 1] = ["store.keep_events_days=0"];
/// Keys that are made by one statement.
const CHUNK: u64 = 2_000_000;

/// Figures of one load on a store of some size.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Grown {
    /// Keys in the store when the load began.
    pub(crate) keys: u64,
    /// Table and indexes of the keys then, in bytes.
    pub(crate) bytes: u64,
    #[serde(flatten)]
    pub(crate) row: Row,
}

/// The load at each number of keys, and at the first one once more, so that a machine that has changed meanwhile is seen.
pub(crate) fn measure(
    world: &World,
    keys: &[u64],
    connections: usize,
    body: usize,
    time: Duration,
) -> Result<Vec<Grown>, Box<dyn Error>> {
    let Some((postgres, queue)) = &world.servers else {
        return Err("growth needs --backend servers".into());
    };
    say(format_args!(
        "growth: {connections} connections, {} s each, events are deleted once they are published",
        time.as_secs()
    ));
    let mut grown = Vec::new();
    let mut there = 0;
    drop(world.service(&SETTINGS)?);
    Row::heads();
    for (place, wanted) in keys.iter().chain(keys.first()).enumerate() {
        if *wanted < there {
            drop(world.service(&SETTINGS)?);
            there = 0;
        }
        if *wanted > there {
            fill(postgres, there, *wanted)?;
            there = *wanted;
        }
        queue.clear()?;
        let service = world.service_again(&SETTINGS)?;
        let known = postgres.number("SELECT count(*) AS value FROM hookweir.dedup")?;
        let bytes = postgres.number("SELECT pg_total_relation_size('hookweir.dedup') AS value")?;
        say(format_args!(
            "  {known} keys, {} MiB{}",
            bytes >> 20,
            if place == keys.len() {
                ", once more"
            } else {
                ""
            }
        ));
        let sending = Sending {
            pace: Pace::Closed(connections),
            mix: Mix::default(),
            body,
            time,
            drained: true,
            cold: false,
        };
        let row = pipeline::measure_on(world, &service, sending)?;
        grown.push(Grown {
            keys: known,
            bytes,
            row,
        });
    }
    Ok(grown)
}

/// Keys as a service would have left them: random, spread over a week's window, in an index that has grown and was not just built.
fn fill(postgres: &Postgres, from: u64, to: u64) -> Result<(), Box<dyn Error>> {
    postgres.run(&[
        "ALTER TABLE hookweir.dedup DROP CONSTRAINT dedup_pkey",
        "DROP INDEX hookweir.dedup_expires_at",
    ])?;
    let mut next = from;
    while next < to {
        let last = (next + CHUNK).min(to);
        postgres.run(&[&format!(
            "INSERT INTO hookweir.dedup (key, digest, source, seq, expires_at)
             SELECT sha256(int8send(n)), sha256(int8send(-n)), 'stripe', nextval('hookweir.event_seq'), now() + random() * interval '7 days'
             FROM generate_series({}::bigint, {last}) AS n",
            next + 1
        )])?;
        next = last;
        say(format_args!("  {next} of {to} keys"));
    }
    // Leaves of a tree that grew by random keys are about 70 % full.
    postgres.run(&[
        "SET maintenance_work_mem = '1GB';
         CREATE UNIQUE INDEX dedup_pkey ON hookweir.dedup (key) WITH (fillfactor = 70);
         ALTER TABLE hookweir.dedup ADD PRIMARY KEY USING INDEX dedup_pkey;
         CREATE INDEX dedup_expires_at ON hookweir.dedup (expires_at) WITH (fillfactor = 70)",
        "VACUUM (FREEZE, ANALYZE) hookweir.dedup",
        "CHECKPOINT",
    ])
}
