//! Files of a table that upkeep must leave alone, and a disk without room.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hookweir_lakehouse::error::LakeError;
use hookweir_lakehouse::event::Millis;
use hookweir_lakehouse::feed::folder::FolderFeed;
use hookweir_lakehouse::lake::Lake;
use hookweir_lakehouse::protocol::batch::CommitLimits;
use hookweir_lakehouse::run::{BatchReport, Observer, RunLimits, UpkeepPace, run};
use hookweir_lakehouse::upkeep::{Unnamed, Upkept, remove_unnamed};
use tokio::sync::watch;

use super::support::{Fixture, events, ids_of};
use super::upkeep::{LIMITS, NOW, commit_many};

#[tokio::test(flavor = "multi_thread")]
async fn without_its_catalog_no_new_table_is_made_over_the_files_of_the_old_one() {
    let fixture = Fixture::new();
    commit_many(&fixture, 3).await;
    let (catalog, aside) = (
        fixture.lake().join("catalog.db"),
        fixture.folder.path().join("aside.db"),
    );
    fs::rename(&catalog, &aside).expect("moved");
    let refused = Lake::open(&fixture.place).await.expect_err("refused");
    assert!(
        matches!(&refused, LakeError::Table(why) if why.contains("does not know")),
        "{refused}"
    );
    fs::rename(&aside, &catalog).expect("moved back");
    assert_eq!(fixture.ids().await, ids_of(&events(0..30)));
}

/// Returns the only file below `folder` whose name ends with `end` and that is named last.
fn last_file(folder: &Path, end: &str) -> std::path::PathBuf {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let files = entries.map(|entry| entry.path());
    let files = files.filter(|path| path.to_string_lossy().ends_with(end));
    files.max().expect("a file")
}

#[tokio::test(flavor = "multi_thread")]
async fn where_another_table_has_its_files_none_is_deleted() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    commit_many(&fixture, 3).await;
    commit_many(&other, 3).await;
    let strange = last_file(&other.lake().join("events/metadata"), ".metadata.json");
    let here = fixture
        .lake()
        .join("events/metadata")
        .join(strange.file_name().expect("a name"));
    fs::copy(&strange, &here).expect("copied");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let refused = remove_unnamed(&fixture.open().await, Duration::ZERO, NOW).await;
    assert!(
        matches!(&refused, Err(why) if why.to_string().contains("another table")),
        "{refused:?}"
    );
    assert!(here.exists());
}

/// Of a table that is written, data files are old and metadata files are not.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_table_that_is_written_has_its_files_none_is_deleted() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    commit_many(&fixture, 3).await;
    commit_many(&other, 3).await;
    let events = fixture.lake().join("events");
    let strange = last_file(&other.lake().join("events/metadata"), ".metadata.json");
    let name = strange.file_name().expect("a name");
    fs::copy(&strange, events.join("metadata").join(name)).expect("copied");
    let data = events.join(format!("data/{}.parquet", uuid::Uuid::now_v7()));
    let file = File::create(&data).expect("created");
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
    file.set_modified(two_hours_ago).expect("dated");
    let refused = remove_unnamed(&fixture.open().await, Duration::from_secs(3600), NOW).await;
    assert!(
        matches!(&refused, Err(why) if why.to_string().contains("another table")),
        "{refused:?}"
    );
    assert!(data.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_engines_long_job_stays_and_one_of_a_dead_writer_goes() {
    let fixture = Fixture::new();
    commit_many(&fixture, 3).await;
    let day = fixture
        .lake()
        .join("events/data/received_at_day=2026-11-28");
    let spark = day.join(format!("00000-1-{}-00001.parquet", uuid::Uuid::new_v4()));
    let own = day.join(format!("{}.parquet", uuid::Uuid::now_v7()));
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
    for path in [&spark, &own] {
        let file = File::create(path).expect("created");
        file.set_modified(two_hours_ago).expect("dated");
    }
    let lake = fixture.open().await;
    let removed = remove_unnamed(&lake, Duration::from_secs(3600), NOW).await;
    assert_eq!(removed.expect("removed"), Unnamed::Deleted(1));
    assert!(spark.exists() && !own.exists());
}

/// Ends the loop after a round of upkeep.
struct UntilUpkept(watch::Sender<bool>);

impl Observer for UntilUpkept {
    fn opened(&mut self) {}
    fn committed(&mut self, batch: BatchReport) {
        panic!("the disk has no room: {batch:?}");
    }
    fn waiting(&mut self, _oldest: Option<Millis>) {}
    fn away(&mut self, error: &LakeError) {
        assert!(matches!(error, LakeError::NoRoom(_)), "{error}");
    }
    fn unreadable(&mut self, reason: &str) {
        panic!("{reason}");
    }
    fn upkept(&mut self, _outcome: Result<Upkept, LakeError>) {
        self.0.send_replace(true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_starts_on_a_disk_without_room_still_does_the_upkeep() {
    let fixture = Fixture::new();
    commit_many(&fixture, 30).await;
    let orphan = fixture
        .lake()
        .join(format!("events/data/{}.parquet", uuid::Uuid::now_v7()));
    fs::write(&orphan, "of a writer that died").expect("written");
    let limits = RunLimits {
        batch: CommitLimits {
            rows: 10,
            bytes: 1 << 20,
            age: Duration::from_millis(100),
        },
        known_ids: 10_000,
        upkeep: Some(UpkeepPace {
            every: Duration::from_millis(300),
            limits: LIMITS,
        }),
        min_free: u64::MAX / 2,
    };
    let sink = fixture.folder.path().join("sink");
    fs::create_dir(&sink).expect("a folder");
    let feed = FolderFeed::open(
        &sink,
        &fixture.lake().join("position"),
        Duration::from_millis(50),
    );
    let (stop, stopped) = watch::channel(false);
    let mut until = UntilUpkept(stop);
    let running = run(
        &fixture.place,
        feed.expect("a feed"),
        limits,
        &mut until,
        stopped,
    );
    let done = tokio::time::timeout(Duration::from_secs(60), running).await;
    done.expect("upkeep in time").expect("no wrong setting");
    assert!(!orphan.exists(), "what nothing names made room");
    assert_eq!(fixture.ids().await, ids_of(&events(0..300)));
}
