//! Compaction, expiry, retention and removal of files, beside writers.

use std::path::Path;
use std::time::Duration;

use hookweir_lakehouse::event::Millis;
use hookweir_lakehouse::upkeep::{
    Unnamed, UpkeepLimits, Upkept, compact, expire, remove_unnamed, retain, round,
};

use super::support::{Fixture, NOON, event, events, ids_of};

pub(crate) const LIMITS: UpkeepLimits = UpkeepLimits {
    small_bytes: 32 << 20,
    small_files: 10,
    keep_versions: Duration::ZERO,
    keep_count: 5,
    keep_days: 0,
    unnamed_age: Duration::ZERO,
    min_free: 0,
};

/// Now, as the tests have it: the day of the events.
pub(crate) const NOW: Millis = Millis(NOON);

/// Returns the number of files below `folder` whose name ends with `end`.
pub(crate) fn files(folder: &Path, end: &str) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path(), end)
            } else {
                usize::from(entry.path().to_string_lossy().ends_with(end))
            }
        })
        .sum()
}

/// Makes `count` commits of ten events each.
pub(crate) async fn commit_many(fixture: &Fixture, count: u64) {
    let mut writer = fixture.writer().await;
    for n in 0..count {
        writer
            .commit(&events(n * 10..n * 10 + 10))
            .await
            .expect("committed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_one_and_every_event_stays_one_row() {
    let fixture = Fixture::new();
    commit_many(&fixture, 20).await;
    let lake = fixture.open().await;
    assert_eq!(compact(&lake, &LIMITS, NOW).await.expect("compacted"), 20);
    assert_eq!(
        compact(&lake, &LIMITS, NOW).await.expect("nothing to do"),
        0
    );
    assert_eq!(fixture.ids().await, ids_of(&events(0..200)));
    // Writers that knew the files, and those that did not, go on.
    let outcome = fixture
        .writer()
        .await
        .commit(&events(0..210))
        .await
        .expect("committed");
    assert_eq!((outcome.added, outcome.copies), (10, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_goes_on_after_a_compaction_that_it_did_not_see() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    commit_many(&fixture, 12).await;
    writer.commit(&events(0..120)).await.expect("copies");
    compact(&fixture.open().await, &LIMITS, NOW)
        .await
        .expect("compacted");
    remove_unnamed(&fixture.open().await, Duration::ZERO, NOW)
        .await
        .expect("removed");
    let outcome = writer.commit(&events(100..130)).await;
    // The files that it knew are gone. Copies of their rows are looked up in the new ones.
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(_) => {
            writer.refresh().await.expect("read again");
            writer.commit(&events(100..130)).await.expect("committed")
        }
    };
    assert_eq!((outcome.added, outcome.copies), (10, 20));
    assert_eq!(fixture.ids().await, ids_of(&events(0..130)));
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_versions_and_their_files_are_gone_and_the_rows_are_not() {
    let fixture = Fixture::new();
    commit_many(&fixture, 30).await;
    let lake = fixture.open().await;
    compact(&lake, &LIMITS, NOW).await.expect("compacted");
    let limits = UpkeepLimits {
        keep_count: 1,
        ..LIMITS
    };
    let far = Millis(Millis::now().0 + 86_400_000);
    assert_eq!(expire(&lake, &limits, far).await.expect("expired"), 30);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = files(&fixture.lake(), "");
    let removed = remove_unnamed(&lake, Duration::ZERO, NOW).await;
    let Ok(Unnamed::Deleted(deleted)) = removed else {
        panic!("{removed:?}");
    };
    assert!(deleted > 80, "{deleted} of {before} files");
    assert_eq!(files(&fixture.lake(), ".parquet"), 1);
    assert!(
        files(&fixture.lake(), ".metadata.json") <= 22,
        "twenty earlier ones are kept for readers"
    );
    assert_eq!(fixture.ids().await, ids_of(&events(0..300)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_writer_that_died_are_removed_and_those_of_the_table_are_not() {
    let fixture = Fixture::new();
    commit_many(&fixture, 3).await;
    let day = fixture
        .lake()
        .join("events/data/received_at_day=2026-11-28");
    let orphan = day.join("0193-orphan.parquet");
    std::fs::write(&orphan, "a file of a writer that died").expect("written");
    let foreign = day.join("README");
    std::fs::write(&foreign, "somebody's").expect("written");
    let lake = fixture.open().await;
    assert_eq!(
        remove_unnamed(&lake, Duration::from_secs(3600), NOW)
            .await
            .expect("none is old"),
        Unnamed::Deleted(0)
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        remove_unnamed(&lake, Duration::ZERO, NOW)
            .await
            .expect("removed"),
        Unnamed::Deleted(1)
    );
    assert!(!orphan.exists() && foreign.exists());
    assert_eq!(fixture.ids().await, ids_of(&events(0..30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn days_past_the_retention_are_dropped_and_no_other_day() {
    let fixture = Fixture::new();
    let mut old = events(0..20);
    old.iter_mut()
        .for_each(|event| event.received_at = Millis(NOON - 10 * 86_400_000));
    let mut writer = fixture.writer().await;
    writer.commit(&old).await.expect("committed");
    writer.commit(&events(100..120)).await.expect("committed");
    let lake = fixture.open().await;
    assert_eq!(retain(&lake, 11, NOW).await.expect("none is old enough"), 0);
    assert_eq!(retain(&lake, 9, NOW).await.expect("dropped"), 1);
    assert_eq!(fixture.ids().await, ids_of(&events(100..120)));
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_beside_writers_neither_loses_nor_doubles_an_event() {
    let fixture = Fixture::new();
    let lake = fixture.open().await;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let upkeep = tokio::spawn(async move {
        let mut rounds = 0;
        while !*stopped.borrow_and_update() {
            let limits = UpkeepLimits {
                small_files: 4,
                ..LIMITS
            };
            // A failed round is repeated: a file may be gone that a version still named when it was read.
            if round(&lake, &limits, Millis::now()).await.is_ok() {
                rounds += 1;
            }
        }
        rounds
    });
    let mut writers = Vec::new();
    for _ in 0..2 {
        let mut writer = fixture.writer().await;
        writers.push(tokio::spawn(async move {
            for n in 0..40 {
                while writer.commit(&events(n * 10..n * 10 + 10)).await.is_err() {
                    while writer.refresh().await.is_err() {}
                }
            }
        }));
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    stop.send(true).expect("the upkeep listens");
    assert!(upkeep.await.expect("no panic") > 0);
    assert_eq!(fixture.ids().await, ids_of(&events(0..400)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_without_work_changes_nothing() {
    let fixture = Fixture::new();
    fixture
        .writer()
        .await
        .commit(&[event(1)])
        .await
        .expect("committed");
    let lake = fixture.open().await;
    let before = lake.load().await.expect("loaded");
    let limits = UpkeepLimits {
        unnamed_age: Duration::from_secs(3600),
        ..LIMITS
    };
    assert_eq!(
        round(&lake, &limits, NOW).await.expect("a round"),
        Upkept::default()
    );
    let after = lake.load().await.expect("loaded");
    assert_eq!(before.metadata_location(), after.metadata_location());
}

/// Makes `count` commits with a round of upkeep after each `every`. Returns the times of the commits.
async fn commits_with_upkeep(fixture: &Fixture, count: u64, every: u64) -> Vec<Duration> {
    let lake = fixture.open().await;
    let mut writer = fixture.writer().await;
    let limits = UpkeepLimits {
        small_files: every as usize,
        ..LIMITS
    };
    let mut times = Vec::new();
    for n in 0..count {
        let begun = std::time::Instant::now();
        writer
            .commit(&events(n * 2..n * 2 + 2))
            .await
            .expect("committed");
        times.push(begun.elapsed());
        if n % every == every - 1 {
            round(&lake, &limits, Millis(Millis::now().0 + 1000))
                .await
                .expect("a round");
            writer.refresh().await.expect("read");
        }
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_metadata_stay_few_over_many_commits() {
    let fixture = Fixture::new();
    commits_with_upkeep(&fixture, 200, 10).await;
    let table = fixture.open().await.load().await.expect("loaded");
    assert!(
        table.metadata().snapshots().len() <= 30,
        "{}",
        table.metadata().snapshots().len()
    );
    let metadata = table
        .metadata_location()
        .map(hookweir_lakehouse::storage::local_path);
    let size = std::fs::metadata(metadata.expect("a file"))
        .expect("a file")
        .len();
    assert!(size < 64 << 10, "metadata.json has {size} bytes");
    let left = files(&fixture.lake(), "");
    assert!(
        left < 200,
        "{left} files after 200 commits of which each wrote four"
    );
    assert_eq!(fixture.ids().await, ids_of(&events(0..400)));
}

/// A measurement: `tests/lakehouse measure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; prints the times of ten thousand commits"]
async fn measure_ten_thousand_commits() {
    let fixture = Fixture::new();
    let times = commits_with_upkeep(&fixture, 10_000, 60).await;
    for part in [&times[..100], &times[4950..5050], &times[9900..]] {
        let mut part = part.to_vec();
        part.sort();
        println!("p50 {:?} p99 {:?}", part[50], part[98]);
    }
    println!("{} files", files(&fixture.lake(), ""));
}
