//! One writer: what is in the table after copies, restarts, and another release.

use std::collections::HashMap;
use std::sync::Arc;

use hookweir_lakehouse::error::LakeError;
use hookweir_lakehouse::event::Millis;
use hookweir_lakehouse::lake::{Lake, NAMESPACE, TABLE};
use hookweir_lakehouse::table::{ids, schema};
use hookweir_lakehouse::writer::{Committed, Writer};
use iceberg::spec::Schema;
use iceberg::{Catalog, NamespaceIdent, TableCreation};

use super::support::{Fixture, NOON, event, events, ids_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_one_row_at_once_after_a_restart_and_from_another_writer() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    let first = writer.commit(&events(0..100)).await.expect("committed");
    assert_eq!(
        first,
        Committed {
            added: 100,
            copies: 0,
            races: 0
        }
    );
    let again = writer.commit(&events(50..150)).await.expect("committed");
    assert_eq!(
        again,
        Committed {
            added: 50,
            copies: 50,
            races: 0
        }
    );
    let restarted = fixture
        .writer()
        .await
        .commit(&events(0..160))
        .await
        .expect("committed");
    assert_eq!(
        restarted,
        Committed {
            added: 10,
            copies: 150,
            races: 0
        }
    );
    assert_eq!(fixture.ids().await, ids_of(&events(0..160)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_returns_after_its_window_is_one_row() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(&events(0..10)).await.expect("committed");
    let mut later = events(0..12);
    later
        .iter_mut()
        .for_each(|event| event.received_at = Millis(event.received_at.0 + 8 * 86_400_000));
    let outcome = writer.commit(&later).await.expect("committed");
    assert_eq!((outcome.added, outcome.copies), (2, 10));
    assert_eq!(fixture.ids().await, ids_of(&events(0..12)));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_found_with_a_memory_smaller_than_the_table() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer_with(150).await;
    for begin in (0..1000).step_by(100) {
        writer
            .commit(&events(begin..begin + 100))
            .await
            .expect("committed");
    }
    let outcome = writer.commit(&events(0..1000)).await.expect("committed");
    assert_eq!((outcome.added, outcome.copies), (0, 1000));
    let outcome = fixture
        .writer_with(150)
        .await
        .commit(&events(0..1001))
        .await
        .expect("committed");
    assert_eq!((outcome.added, outcome.copies), (1, 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_where_nothing_is_new() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(&events(0..10)).await.expect("committed");
    let before = fixture.open().await.load().await.expect("loaded");
    writer.commit(&events(0..10)).await.expect("copies");
    let after = fixture.open().await.load().await.expect("loaded");
    assert_eq!(before.metadata_location(), after.metadata_location());
}

/// Creates the table of an earlier release, which had no marks.
async fn create_table_of_an_earlier_release(fixture: &Fixture) {
    let lake = fixture.open().await;
    let catalog: Arc<dyn Catalog> = lake.catalog().clone();
    let today = lake.load().await.expect("loaded");
    catalog
        .drop_table(today.identifier())
        .await
        .expect("dropped");
    let creation = schema::creation(
        TABLE,
        format!("file://{}/{TABLE}", fixture.lake().display()),
    )
    .expect("defined");
    let fields = creation.schema.as_struct().fields().iter().cloned();
    let without_marks =
        fields.filter(|field| !["conflict_of", "same_bytes_as"].contains(&field.name.as_str()));
    let schema = Schema::builder()
        .with_fields(without_marks)
        .build()
        .expect("a schema");
    let creation = TableCreation { schema, ..creation };
    catalog
        .create_table(&NamespaceIdent::new(NAMESPACE.to_owned()), creation)
        .await
        .expect("created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_an_earlier_release_gets_the_new_columns_and_keeps_its_rows() {
    let fixture = Fixture::new();
    create_table_of_an_earlier_release(&fixture).await;
    let columns = async |lake: &Lake| {
        let table = lake.load().await.expect("loaded");
        let fields = table
            .metadata()
            .current_schema()
            .as_struct()
            .fields()
            .to_vec();
        fields
            .iter()
            .map(|field| field.name.clone())
            .collect::<Vec<_>>()
    };
    let mut writer = fixture.writer().await;
    writer.commit(&events(0..20)).await.expect("committed");
    let names = columns(&fixture.open().await).await;
    assert!(
        names.contains(&"conflict_of".to_owned()) && names.contains(&"same_bytes_as".to_owned())
    );
    let outcome = fixture
        .writer()
        .await
        .commit(&events(10..30))
        .await
        .expect("committed");
    assert_eq!((outcome.added, outcome.copies), (10, 10));
    assert_eq!(fixture.ids().await, ids_of(&events(0..30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_ours_is_refused_and_not_written_to() {
    let fixture = Fixture::new();
    let lake = fixture.open().await;
    let table = lake.load().await.expect("loaded");
    lake.catalog()
        .drop_table(table.identifier())
        .await
        .expect("dropped");
    let creation = schema::creation(
        TABLE,
        format!("file://{}/{TABLE}", fixture.lake().display()),
    )
    .expect("defined");
    let fields = creation
        .schema
        .as_struct()
        .fields()
        .iter()
        .filter(|field| field.name != "event_id")
        .cloned();
    let schema = Schema::builder()
        .with_fields(fields)
        .build()
        .expect("a schema");
    let creation = TableCreation {
        schema,
        properties: HashMap::new(),
        ..creation
    };
    let namespace = NamespaceIdent::new(NAMESPACE.to_owned());
    lake.catalog()
        .create_table(&namespace, creation)
        .await
        .expect("created");
    let error = Lake::open(&fixture.place)
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("no column event_id") && error.contains("nothing is written"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_while_the_folder_cannot_be_written_to_and_go_in_afterwards() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(&events(0..10)).await.expect("committed");
    let data = fixture.lake().join("events/data");
    let aside = fixture.lake().join("events/aside");
    std::fs::rename(&data, &aside).expect("moved");
    std::fs::write(&data, "in the way").expect("a file");
    let error = writer
        .commit(&events(10..20))
        .await
        .expect_err("no folder")
        .to_string();
    assert!(error.contains("cannot create"), "{error}");
    std::fs::remove_file(&data).expect("removed");
    std::fs::rename(&aside, &data).expect("moved back");
    let outcome = writer.commit(&events(10..20)).await.expect("committed");
    assert_eq!(outcome.added, 10);
    assert_eq!(fixture.ids().await, ids_of(&events(0..20)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_are_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    Writer::new(fixture.open().await, 100)
        .commit(&events(0..10))
        .await
        .expect("committed");
    let mut folders = vec![fixture.lake().join("events")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            assert_eq!(
                metadata.permissions().mode() & 0o077,
                0,
                "{:?}",
                entry.path()
            );
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    assert!(
        files >= 5,
        "data, manifest, list, two versions, hint: {files}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_more_rows_than_the_memory_holds_makes_no_new_event_a_suspect() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    // All of one day.
    for begin in [0, 300, 600] {
        let batch = events(begin..begin + 300);
        writer.commit(&batch).await.expect("committed");
    }
    let table = fixture.open().await.load().await.expect("loaded");
    let newest = event(899).received_at;
    let floor = |capacity| ids::floor(&table, capacity);
    assert_eq!(floor(1000).await.expect("read"), Millis(i64::MIN));
    assert_eq!(floor(899).await.expect("read"), Millis(NOON + 300));
    assert_eq!(floor(600).await.expect("read"), Millis(NOON + 300));
    assert_eq!(floor(599).await.expect("read"), Millis(NOON + 600));
    assert_eq!(floor(10).await.expect("read"), Millis(newest.0 + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_or_moved_lakehouse_is_refused_and_the_original_stays_as_it_is() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(&events(0..10)).await.expect("committed");
    let copy = fixture.folder.path().join("copy");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&fixture.lake(), &copy])
        .status();
    assert!(copied.expect("cp").success());
    let mut place = fixture.place.clone();
    place.folder = copy;
    let refused = |error: LakeError| {
        let said = error.to_string();
        assert!(matches!(error, LakeError::Table(_)), "{said}");
        assert!(said.contains("copied or moved"), "{said}");
    };
    refused(Lake::open(&place).await.expect_err("a copy"));
    refused(Lake::find(&place).await.expect_err("a copy"));
    assert_eq!(fixture.ids().await, ids_of(&events(0..10)));
    std::fs::rename(fixture.lake(), fixture.folder.path().join("away")).expect("moved");
    place.folder = fixture.folder.path().join("away");
    refused(Lake::open(&place).await.expect_err("moved"));
    std::fs::rename(&place.folder, fixture.lake()).expect("moved back");
    // The same folder by a link.
    let link = fixture.folder.path().join("link");
    std::os::unix::fs::symlink(fixture.lake(), &link).expect("linked");
    place.folder = link;
    Lake::open(&place).await.expect("the same folder");
}
