//! Writer that the tests kill: brings the lines of an event folder into a lakehouse.
//!
//! `lake-test-writer LAKE EVENTS POSITION AGE_MS ROWS KNOWN_IDS`, with the catalog in `LAKE_CATALOG` or beside
//! the data. Prints a line for each batch. With `LAKE_UPKEEP_MS` it does upkeep in that interval, and keeps
//! nothing that it may drop. With `LAKE_KAFKA`, the brokers, it reads `LAKE_TOPIC` in a group of that name, and
//! EVENTS and POSITION mean nothing.
#![allow(clippy::print_stdout, reason = "the tests read it")]

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use hookweir_lakehouse::error::LakeError;
use hookweir_lakehouse::event::Millis;
use hookweir_lakehouse::faults;
use hookweir_lakehouse::feed::folder::FolderFeed;
#[cfg(feature = "kafka")]
use hookweir_lakehouse::feed::kafka::{KafkaFeed, KafkaOptions, Topics};
use hookweir_lakehouse::lake::{CatalogPlace, LakePlace};
use hookweir_lakehouse::protocol::batch::CommitLimits;
use hookweir_lakehouse::run::{BatchReport, Observer, RunLimits, UpkeepPace, run};
use hookweir_lakehouse::upkeep::{UpkeepLimits, Upkept};
use tokio::sync::watch;

/// Upkeep that drops all that nothing needs.
const HASTY: UpkeepLimits = UpkeepLimits {
    small_bytes: 32 << 20,
    small_files: 4,
    keep_versions: Duration::ZERO,
    keep_count: 2,
    keep_days: 0,
    unnamed_age: Duration::ZERO,
    min_free: 0,
};

struct Lines;

impl Observer for Lines {
    fn opened(&mut self) {
        say("opened");
    }

    fn committed(&mut self, batch: BatchReport) {
        say(&format!(
            "added {} copies {} races {}",
            batch.outcome.added,
            batch.outcome.copies + batch.folded,
            batch.outcome.races
        ));
    }

    fn waiting(&mut self, _oldest: Option<Millis>) {}

    fn away(&mut self, error: &LakeError) {
        say(&format!("away {error}"));
    }

    fn unreadable(&mut self, reason: &str) {
        say(&format!("unreadable {reason}"));
    }

    fn upkept(&mut self, outcome: Result<Upkept, LakeError>) {
        say(&format!("upkeep {outcome:?}"));
    }
}

/// Prints a line at once. The test that reads it may be gone.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _points = faults::prepare();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [lake, events, position, age, rows, known_ids] = &arguments[..] else {
        return Err("usage: LAKE EVENTS POSITION AGE_MS ROWS KNOWN_IDS".into());
    };
    let place = LakePlace {
        folder: lake.into(),
        bucket: None,
        catalog: std::env::var("LAKE_CATALOG").map_or(CatalogPlace::Beside, CatalogPlace::Postgres),
    };
    let limits = RunLimits {
        batch: CommitLimits {
            rows: rows.parse()?,
            bytes: 64 << 20,
            age: Duration::from_millis(age.parse()?),
        },
        known_ids: known_ids.parse()?,
        upkeep: match std::env::var("LAKE_UPKEEP_MS") {
            Ok(every) => Some(UpkeepPace {
                every: Duration::from_millis(every.parse()?),
                limits: HASTY,
            }),
            Err(_) => None,
        },
        min_free: 0,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (_stop, stopped) = watch::channel(false);
    #[cfg(feature = "kafka")]
    if let Ok(brokers) = std::env::var("LAKE_KAFKA") {
        let feed = kafka(brokers)?;
        runtime.block_on(run(&place, feed, limits, &mut Lines, stopped))?;
        return Ok(());
    }
    let feed = FolderFeed::open(
        &PathBuf::from(events),
        &PathBuf::from(position),
        Duration::from_millis(20),
    )?;
    runtime.block_on(run(&place, feed, limits, &mut Lines, stopped))?;
    Ok(())
}

#[cfg(feature = "kafka")]
fn kafka(brokers: String) -> Result<KafkaFeed, std::env::VarError> {
    let topic = std::env::var("LAKE_TOPIC")?;
    let session = ("session.timeout.ms".to_owned(), "6000".to_owned());
    Ok(KafkaFeed::new(KafkaOptions {
        properties: [("bootstrap.servers".to_owned(), brokers), session].into(),
        topics: vec![Topics::Named(topic.clone())],
        group: topic,
        read_ahead: 1 << 20,
        timeout: Duration::from_secs(20),
    }))
}
