//! Versions and metadata files, whose number is bounded.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use hookweir_lakehouse::event::Millis;
use hookweir_lakehouse::lake::Lake;
use hookweir_lakehouse::upkeep::{UpkeepLimits, compact, expire, remove_unnamed, round};

use super::support::{Fixture, events, ids_of};
use super::upkeep::{LIMITS, NOW, commit_many, files};

/// Limits under which nothing is old yet, as in the first hour of a table.
const FIRST_HOUR: UpkeepLimits = UpkeepLimits {
    small_bytes: 0,
    keep_versions: Duration::from_secs(3600),
    keep_count: 20,
    ..LIMITS
};

/// Returns the number of rows in one version of the table.
async fn rows_of_version(lake: &Lake, version: i64) -> usize {
    let table = lake.load().await.expect("loaded");
    let scan = table.scan().snapshot_id(version).select(["message_id"]);
    let batches = scan.build().expect("a plan").to_arrow().await;
    let batches: Vec<_> = batches
        .expect("a stream")
        .try_collect()
        .await
        .expect("read");
    batches.iter().map(|batch| batch.num_rows()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_thinned_before_their_age_and_what_is_left_can_be_queried() {
    let (fixture, since) = (Fixture::new(), Instant::now());
    commit_many(&fixture, 40).await;
    let lake = fixture.open().await;
    let before = lake.load().await.expect("loaded");
    let before = before.metadata().current_snapshot_id().expect("a version");
    compact(&lake, &LIMITS, NOW).await.expect("compacted");
    let mut writer = fixture.writer().await;
    for n in 40..80 {
        let added = writer.commit(&events(n * 10..n * 10 + 10)).await;
        added.expect("committed");
    }
    let versions = async || {
        let table = lake.load().await.expect("loaded");
        let versions = table.metadata().snapshots();
        versions
            .map(|version| version.snapshot_id())
            .collect::<Vec<_>>()
    };
    assert_eq!(versions().await.len(), 81);
    let none = expire(&lake, &FIRST_HOUR, Millis::now()).await;
    assert_eq!(none.expect("all are young"), 0);
    let later = Millis(Millis::now().0 + 600_000);
    let dropped = expire(&lake, &FIRST_HOUR, later).await.expect("thinned");
    tokio::time::sleep(Duration::from_millis(200)).await;
    remove_unnamed(&lake, Duration::ZERO, NOW)
        .await
        .expect("removed");
    let left = versions().await;
    // A version a minute stays besides, where the commits took so long.
    let more = 2 * usize::try_from(since.elapsed().as_secs() / 60).expect("minutes");
    // The newest twenty, the one before the compaction, and the version that the removal made.
    let most = 81 - 21;
    assert!(
        (most - more.min(most)..=most).contains(&dropped),
        "{dropped}"
    );
    assert_eq!(left.len(), 22 + most - dropped);
    assert!(left.contains(&before), "its files are in no later version");
    for version in left {
        let rows = rows_of_version(&lake, version).await;
        let is_right = match version == before {
            true => rows == 400,
            false => rows >= 600 || more > 0,
        };
        assert!(is_right, "{rows} rows of {version}");
    }
    assert_eq!(fixture.ids().await, ids_of(&events(0..800)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_hours_versions_and_metadata_files_are_bounded_by_their_number() {
    let fixture = Fixture::new();
    commit_many(&fixture, 260).await;
    assert!(
        files(&fixture.lake(), ".metadata.json") <= 22,
        "twenty earlier ones are kept for readers, without any upkeep"
    );
    let lake = fixture.open().await;
    expire(&lake, &FIRST_HOUR, Millis::now())
        .await
        .expect("thinned");
    let left = lake
        .load()
        .await
        .expect("loaded")
        .metadata()
        .snapshots()
        .len();
    assert!(left <= 205, "{left} versions");
    assert_eq!(fixture.ids().await, ids_of(&events(0..2600)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_would_take_the_last_bytes_of_the_disk_is_refused_in_words() {
    let fixture = Fixture::new();
    commit_many(&fixture, 12).await;
    let lake = fixture.open().await;
    let limits = UpkeepLimits {
        min_free: u64::MAX / 2,
        ..LIMITS
    };
    let refused = compact(&lake, &limits, NOW).await.expect_err("no room");
    assert!(
        refused.to_string().contains("lakehouse.min_free_bytes"),
        "{refused}"
    );
    let others = round(&lake, &limits, Millis::now()).await;
    assert!(others.is_err(), "the round says so: {others:?}");
    assert_eq!(fixture.ids().await, ids_of(&events(0..120)));
}

/// A measurement of one hour of commits each 5 s, back to back. `LAKE_UPKEEP=1` runs the upkeep.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_an_hour_of_metadata() {
    let fixture = Fixture::new();
    let (lake, mut writer) = (fixture.open().await, fixture.writer().await);
    let limits = UpkeepLimits {
        small_bytes: 32 << 20,
        small_files: 60,
        unnamed_age: Duration::from_secs(3600),
        ..FIRST_HOUR
    };
    let with_upkeep = std::env::var("LAKE_UPKEEP").is_ok_and(|with| with == "1");
    for n in 0..720 {
        writer
            .commit(&events(n * 10..n * 10 + 10))
            .await
            .expect("committed");
        if with_upkeep && n % 12 == 11 {
            round(&lake, &limits, Millis::now()).await.expect("a round");
            writer.refresh().await.expect("read");
        }
    }
    let metadata = fixture.lake().join("events/metadata");
    let mut kinds = std::collections::BTreeMap::<&str, (usize, u64)>::new();
    for entry in std::fs::read_dir(metadata).expect("a folder").flatten() {
        let (name, size) = (entry.file_name(), entry.metadata().expect("a file").len());
        let name = name.to_string_lossy().into_owned();
        let kind = if name.ends_with(".json") {
            "metadata.json"
        } else if name.starts_with("snap-") {
            "lists of manifests"
        } else {
            "manifests"
        };
        let sum = kinds.entry(kind).or_default();
        *sum = (sum.0 + 1, sum.1 + size);
    }
    println!("upkeep {with_upkeep}: {kinds:?}");
}
