//! Apache Spark beside the writer, with Apache Iceberg's own runtime.

mod with_readers {
    mod with_spark {
        use std::collections::BTreeMap;
        use std::path::Path;
        use std::process::Command;

        use hookweir_lakehouse::upkeep::round;
        use serde_json::Value;
        use sha2::{Digest as _, Sha256};

        use crate::support::{Fixture, assert_readers_see, event, events};
        use crate::upkeep::{LIMITS, NOW};

        /// Packages of Java that Spark looks into.
        const OPENED: [&str; 12] = [
            "java.lang",
            "java.lang.invoke",
            "java.io",
            "java.net",
            "java.nio",
            "java.util",
            "java.util.concurrent",
            "java.util.concurrent.atomic",
            "sun.nio.ch",
            "sun.nio.cs",
            "sun.security.action",
            "sun.util.calendar",
        ];

        /// Runs the statements on the lakehouse. Returns the rows of their results.
        fn spark(lake: &Path, statements: &[&str]) -> Vec<Value> {
            let jars = std::env::var("HOOKWEIR_TEST_SPARK").expect(
                "HOOKWEIR_TEST_SPARK is not set: HOOKWEIR_TEST_WITH_SPARK=1 tests/run with_spark",
            );
            let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/spark/Sql.java");
            let opened = OPENED.map(|name| format!("--add-opens=java.base/{name}=ALL-UNNAMED"));
            let output = Command::new("java")
                .args(["-Xmx1g", "-cp", &format!("{jars}/*")])
                .args(opened)
                .arg(program)
                .arg(lake)
                .args(statements)
                .output()
                .expect("java runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{statements:?}: {errors}");
            let lines = String::from_utf8(output.stdout).expect("text");
            lines
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect()
        }

        /// Each row's id, and the SHA-256 of its body.
        const DIGESTS: &str = "SELECT message_id, sha2(coalesce(cast(body AS binary), body_bytes), 256) AS digest \
             FROM hookweir.webhooks.events";

        /// Asserts that the rows of [`DIGESTS`] are those of events 0 to `count`, each once.
        fn assert_digests_are(rows: &[Value], count: u64) {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let seen: BTreeMap<String, String> = rows
                .iter()
                .map(|row| (text(&row["message_id"]), text(&row["digest"])))
                .collect();
            assert_eq!(seen.len(), rows.len(), "distinct ids and rows");
            let sent = (0..count).map(event).map(|event| {
                let digest: [u8; 32] = Sha256::digest(&event.body).into();
                let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                (event.message_id.to_string(), hex)
            });
            assert_eq!(seen, sent.collect());
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn spark_sees_each_event_once_with_its_bytes_and_finds_it_by_a_filter() {
            let fixture = Fixture::new();
            let mut writer = fixture.writer().await;
            for begin in (0..1000).step_by(250) {
                let added = writer.commit(&events(begin..begin + 250)).await;
                added.expect("committed");
            }
            let of_one_source = "SELECT count(*) AS rows, count(DISTINCT message_id) AS ids \
                 FROM hookweir.webhooks.events WHERE source = 'source-1' AND event_id >= 'evt_'";
            let mut rows = spark(&fixture.lake(), &[DIGESTS, of_one_source]);
            let counted = rows.pop().expect("a row");
            assert_eq!(
                (&counted["rows"], &counted["ids"]),
                (&333.into(), &333.into())
            );
            assert_digests_are(&rows, 1000);
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn a_compaction_by_spark_beside_the_writer_loses_and_doubles_no_event() {
            let fixture = Fixture::new();
            let mut writer = fixture.writer().await;
            for begin in (0..200).step_by(20) {
                let added = writer.commit(&events(begin..begin + 20)).await;
                added.expect("committed");
            }
            let rewrite = "CALL hookweir.system.rewrite_data_files(table => 'webhooks.events', \
                 options => map('min-input-files', '2'))";
            let done = spark(&fixture.lake(), &[rewrite]);
            assert_eq!(done[0]["rewritten_data_files_count"], 10, "{done:?}");
            // It has not seen the compaction. Half of the events are copies.
            let outcome = writer.commit(&events(180..220)).await.expect("committed");
            assert_eq!((outcome.added, outcome.copies), (20, 20));
            let lake = fixture.open().await;
            round(&lake, &LIMITS, NOW).await.expect("upkeep goes on");
            let outcome = writer.commit(&events(0..230)).await.expect("committed");
            assert_eq!((outcome.added, outcome.copies), (10, 220));
            assert_readers_see(&fixture.lake(), &events(0..230));
            assert_digests_are(&spark(&fixture.lake(), &[DIGESTS]), 230);
        }
    }
}
