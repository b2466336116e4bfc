//! Rows as DuckDB and pyiceberg read them.

mod with_readers {
    use hookweir_lakehouse::event::Millis;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    use crate::support::{Fixture, NOON, assert_readers_see, counts, event, events};

    #[tokio::test(flavor = "multi_thread")]
    async fn every_row_is_read_back_with_equal_bytes() {
        let fixture = Fixture::new();
        let mut writer = fixture.writer().await;
        writer.commit(&events(0..700)).await.expect("committed");
        writer.commit(&events(500..2000)).await.expect("committed");
        assert_readers_see(&fixture.lake(), &events(0..2000));
    }

    /// Field note 1: bounds of files would be wrong, and rows would vanish from filtered queries.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_filter_by_a_long_event_id_finds_its_row_in_a_file_of_several_row_groups() {
        let fixture = Fixture::new();
        let long = |n: u64| format!("evt_{n:0>79}_{}", "z".repeat(40));
        let all: Vec<_> = (0..17_000)
            .map(|n| {
                let mut event = event(n);
                event.received_at = Millis(NOON + n as i64);
                event.source = "s".to_owned();
                event.body = "{}".into();
                // The first row group has long ids that sort behind the short ones of the second.
                event.event_id = if n < 16_384 { long(n) } else { format!("a{n}") };
                event
            })
            .collect();
        fixture
            .writer()
            .await
            .commit(&all)
            .await
            .expect("committed");
        let wanted: Vec<String> = [0, 1, 500, 16_000]
            .map(long)
            .into_iter()
            .chain(["a16999".to_owned()])
            .collect();
        for reader in ["duckdb", "pyiceberg"] {
            assert_eq!(
                counts(reader, &fixture.lake(), "event_id", &wanted),
                [1; 5],
                "{reader}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_id_is_found_by_a_filter_after_many_commits() {
        let fixture = Fixture::new();
        let mut writer = fixture.writer().await;
        for begin in (0..100).step_by(10) {
            writer
                .commit(&events(begin..begin + 10))
                .await
                .expect("committed");
        }
        let ids: Vec<String> = [0, 9, 10, 99]
            .map(|n| event(n).message_id.to_string())
            .to_vec();
        for reader in ["duckdb", "pyiceberg"] {
            assert_eq!(
                counts(reader, &fixture.lake(), "message_id", &ids),
                [1; 4],
                "{reader}"
            );
        }
    }

    /// Statistics of a body would put parts of it into footers and manifests.
    #[tokio::test(flavor = "multi_thread")]
    async fn no_statistics_hold_a_part_of_a_body_or_of_a_header() {
        let fixture = Fixture::new();
        fixture
            .writer()
            .await
            .commit(&events(0..50))
            .await
            .expect("committed");
        let table = fixture.open().await.load().await.expect("loaded");
        let schema = table.metadata().current_schema().clone();
        let id = |name: &str| schema.field_id_by_name(name).expect("a column");
        let silent = ["body", "body_bytes", "headers.key", "headers.value"].map(id);
        let snapshot = table
            .metadata()
            .current_snapshot()
            .expect("a snapshot")
            .clone();
        let list = table
            .manifest_list_reader(&snapshot)
            .load()
            .await
            .expect("a list");
        let manifest = list.entries()[0]
            .load_manifest(table.file_io())
            .await
            .expect("a manifest");
        let file = manifest.entries()[0].data_file();
        for bounds in [file.lower_bounds(), file.upper_bounds()] {
            assert!(
                silent.iter().all(|id| !bounds.contains_key(id)),
                "{bounds:?}"
            );
            assert!(
                bounds.contains_key(&id("received_at")) && bounds.contains_key(&id("event_id"))
            );
        }
        let path = hookweir_lakehouse::storage::local_path(file.file_path());
        let parquet =
            SerializedFileReader::new(std::fs::File::open(path).expect("open")).expect("parquet");
        let group = parquet.metadata().row_group(0);
        for column in group.columns() {
            let name = column.column_path().string();
            let has = column.statistics().is_some() || column.column_index_offset().is_some();
            let may = !name.starts_with("body") && !name.starts_with("headers");
            assert_eq!(column.statistics().is_some(), may, "{name}");
            assert!(may || !has, "{name} has a column index");
        }
    }
}
