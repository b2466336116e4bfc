//! Iceberg's own REST catalog, and a table in an S3-compatible store.

mod with_rest {
    mod with_readers {
        use std::collections::HashMap;
        use std::io::{Read as _, Write as _};
        use std::net::TcpStream;
        use std::time::{Duration, Instant};

        use hookweir_lakehouse::catalog::rest::RestPlace;
        use hookweir_lakehouse::erase::{Selection, erase};
        use hookweir_lakehouse::event::{Millis, RowId};
        use hookweir_lakehouse::lake::{BucketPlace, CatalogPlace, Lake, LakePlace};
        use hookweir_lakehouse::status::status;
        use hookweir_lakehouse::table::ids;
        use hookweir_lakehouse::upkeep::{Unnamed, UpkeepLimits, compact, expire, remove_unnamed};
        use hookweir_lakehouse::writer::Writer;
        use hookweir_testkit::proxy::{Line, Proxy};
        use hookweir_testkit::servers::{Server, address};
        use tempfile::TempDir;

        use crate::support::{NOON, added_at_once, assert_rows_are, event, events, ids_of};

        const LOGIN: &str = "login.credential=id:secret\nlogin.token=fixed\n";
        const NOW: Millis = Millis(NOON);
        const LIMITS: UpkeepLimits = UpkeepLimits {
            small_bytes: 1 << 20,
            small_files: 2,
            keep_versions: Duration::ZERO,
            keep_count: 1,
            keep_days: 0,
            unnamed_age: Duration::ZERO,
            min_free: 0,
        };

        /// A store and a catalog of a test's own. The keys of the store are known to the catalog only.
        struct Remote {
            store: Server,
            catalog: Server,
            place: LakePlace,
            _folder: TempDir,
        }

        impl Remote {
            fn new(properties: &[(&str, &str)], login: &str) -> Self {
                let store = Server::s3();
                let endpoint = store.url.clone();
                Self::through(store, &endpoint, properties, login)
            }

            /// The client reaches the store at `endpoint`.
            fn through(
                store: Server,
                endpoint: &str,
                properties: &[(&str, &str)],
                login: &str,
            ) -> Self {
                // Before anything speaks TLS, as the program does.
                drop(hookweir_testkit::load::client());
                make_bucket(&store);
                let vended = format!(
                    "vended.s3.endpoint={endpoint}\nvended.s3.path-style-access=true\nvended.s3.region=us-east-1\n\
                     vended.s3.access-key-id=vended\nvended.s3.secret-access-key=vended\n"
                );
                let catalog = Server::rest(&store.url, &format!("{login}{vended}"));
                let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
                let folder = tempfile::tempdir().expect("a folder");
                let place = LakePlace {
                    folder: folder.path().join("lake"),
                    bucket: Some(BucketPlace {
                        url: "s3://lake/hooks".to_owned(),
                        properties: HashMap::new(),
                    }),
                    catalog: CatalogPlace::Rest(RestPlace {
                        url: catalog.url.clone(),
                        properties: properties.iter().map(text).collect(),
                    }),
                };
                Self {
                    store,
                    catalog,
                    place,
                    _folder: folder,
                }
            }

            /// Returns a catalog with a login by credential.
            fn with_login() -> Self {
                Self::new(&[("credential", "id:secret")], LOGIN)
            }

            async fn open(&self) -> Lake {
                Lake::open(&self.place).await.expect("opened")
            }

            async fn writer(&self) -> Writer {
                let mut writer = Writer::new(self.open().await, 1_000_000);
                writer.refresh().await.expect("read");
                writer
            }

            async fn ids(&self) -> Vec<RowId> {
                let table = self.open().await.load().await.expect("loaded");
                let mut found = Vec::new();
                ids::read(&table, Millis(i64::MIN), &Default::default(), |id| {
                    found.push(id)
                })
                .await
                .expect("read");
                found.sort();
                found
            }

            /// Asks the catalog for these faults, each at one commit.
            fn fail(&self, faults: &[&str]) {
                let path = self.catalog.files().join("faults");
                std::fs::write(path, faults.join("\n")).expect("written");
            }

            /// Returns the place of the table for `readers.py`.
            fn for_readers(&self) -> String {
                format!("{} id:secret", self.catalog.url)
            }
        }

        fn make_bucket(store: &Server) {
            let mut stream = TcpStream::connect(address(&store.url)).expect("the store answers");
            let request = "PUT /lake HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("answered");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }

        /// Commits until it is answered with success, as the loop does.
        async fn commit(remote: &Remote, writer: &mut Writer, numbers: std::ops::Range<u64>) {
            let since = Instant::now();
            while let Err(error) = writer.commit(&events(numbers.clone())).await {
                assert!(since.elapsed() < Duration::from_secs(120), "{error}");
                *writer = remote.writer().await;
            }
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn rows_in_a_bucket_behind_a_rest_catalog_are_read_back_with_equal_bytes() {
            let remote = Remote::with_login();
            let mut writer = remote.writer().await;
            for begin in (0..1000).step_by(250) {
                let outcome = writer.commit(&events(begin..begin + 300)).await;
                assert_eq!(
                    outcome.expect("committed").copies,
                    if begin == 0 { 0 } else { 50 }
                );
            }
            assert_eq!(remote.ids().await, ids_of(&events(0..1050)));
            assert_rows_are("rest", &remote.for_readers(), &events(0..1050));
            let table = remote.open().await.load().await.expect("loaded");
            let row = ids::row(&table, event(7).message_id, event(7).received_at).await;
            assert!(row.expect("read").is_some());
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn answers_that_are_lost_late_or_refused_neither_lose_nor_double_an_event() {
            let remote = Remote::with_login();
            let mut writers = [remote.writer().await, remote.writer().await];
            remote.fail(&[
                "lost", "none", "late", "refused", "late", "none", "lost", "lost", "late",
                "refused",
            ]);
            for (turn, begin) in (0..200).step_by(20).enumerate() {
                // The other one has the same messages, as after a queue that was rebuilt.
                let (first, second) = (turn % 2, (turn + 1) % 2);
                commit(&remote, &mut writers[first], begin..begin + 20).await;
                commit(&remote, &mut writers[second], begin..begin + 20).await;
            }
            // A commit that is on its way still.
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(remote.ids().await, ids_of(&events(0..200)));
            let left = std::fs::read_to_string(remote.catalog.files().join("faults"));
            assert_eq!(left.expect("a file"), "", "each fault was met");
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn writers_with_the_same_messages_at_once_add_each_id_once() {
            let remote = Remote::with_login();
            let writers = vec![remote.writer().await, remote.writer().await];
            assert_eq!(added_at_once(writers, 100).await, 100);
            assert_eq!(remote.ids().await, ids_of(&events(0..100)));
        }

        /// The catalog says that a token is good for an hour, and takes it for four seconds.
        #[tokio::test(flavor = "multi_thread")]
        async fn a_token_that_is_revoked_and_one_that_expires_are_renewed() {
            for told in [3600, 4] {
                let login = format!(
                    "login.credential=id:secret\nlogin.seconds=4\nlogin.told_seconds={told}\n"
                );
                let remote = Remote::new(&[("credential", "id:secret")], &login);
                let mut writer = remote.writer().await;
                for begin in (0..30).step_by(10) {
                    writer
                        .commit(&events(begin..begin + 10))
                        .await
                        .expect("committed");
                    tokio::time::sleep(Duration::from_millis(4200)).await;
                }
                assert_eq!(remote.ids().await, ids_of(&events(0..30)), "{told} s");
            }
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn a_bearer_token_lets_in_and_a_wrong_one_is_said_without_its_text() {
            let remote = Remote::new(&[("token", "fixed")], LOGIN);
            remote
                .writer()
                .await
                .commit(&events(0..10))
                .await
                .expect("committed");
            for wrong in [("token", "hunter2"), ("credential", "id:hunter2")] {
                let mut place = remote.place.clone();
                if let CatalogPlace::Rest(rest) = &mut place.catalog {
                    rest.properties = [(wrong.0.to_owned(), wrong.1.to_owned())].into();
                }
                let error = Lake::open(&place).await.expect_err("refused").to_string();
                assert!(error.contains("status 401"), "{error}");
                assert!(!error.contains("hunter2"), "{error}");
                assert!(!format!("{place:?}").contains("hunter2"), "{place:?}");
            }
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn upkeep_and_erasure_of_a_bucket_leave_each_other_row_and_no_other_file() {
            let remote = Remote::with_login();
            let mut writer = remote.writer().await;
            for begin in (0..100).step_by(10) {
                writer
                    .commit(&events(begin..begin + 10))
                    .await
                    .expect("committed");
            }
            let lake = remote.open().await;
            assert_eq!(compact(&lake, &LIMITS, NOW).await.expect("compacted"), 10);
            let far = Millis(Millis::now().0 + 86_400_000);
            expire(&lake, &LIMITS, far).await.expect("expired");
            // Buckets tell the time in seconds.
            tokio::time::sleep(Duration::from_secs(4)).await;
            let removed = remove_unnamed(&lake, Duration::ZERO, NOW).await;
            assert!(
                matches!(removed, Ok(Unnamed::Deleted(files)) if files >= 10),
                "{removed:?}"
            );
            assert_eq!(remote.ids().await, ids_of(&events(0..100)));
            // A writer that did not see it.
            commit(&remote, &mut writer, 90..110).await;
            assert_eq!(remote.ids().await, ids_of(&events(0..110)));
            let selection = Selection {
                ids: [event(5).message_id].into(),
                ..Selection::default()
            };
            let erased = erase(&lake, &selection).await.expect("erased");
            assert_eq!((erased.rows, erased.kept), (1, 0));
            let mut left = ids_of(&events(0..110));
            left.retain(|id| *id != event(5).message_id);
            assert_eq!(remote.ids().await, left);
            let shown = status(&lake, 0).await.expect("shown");
            assert_eq!(
                (shown.rows, shown.location.as_str()),
                (109, "s3://lake/hooks/events")
            );
            assert!(shown.metadata_bytes > 0);
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn while_the_store_is_away_nothing_is_added_and_afterwards_each_event_once() {
            let store = Server::s3();
            let proxy = Proxy::to(address(&store.url)).await;
            let endpoint = format!("http://{}", proxy.address);
            let remote = Remote::through(store, &endpoint, &[("token", "fixed")], LOGIN);
            let mut writer = remote.writer().await;
            writer.commit(&events(0..10)).await.expect("committed");
            proxy.set(Line::Cut);
            let error = writer.commit(&events(10..20)).await.expect_err("no store");
            assert!(
                error.to_string().contains("s3://lake/hooks/events/"),
                "{error}"
            );
            proxy.set(Line::Slow(64));
            commit(&remote, &mut writer, 0..20).await;
            assert_eq!(remote.ids().await, ids_of(&events(0..20)));
            assert!(!remote.store.url.is_empty());
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn a_table_in_a_bucket_with_a_catalog_in_sqlite_keeps_the_same_promises() {
            let remote = Remote::with_login();
            let mut place = remote.place.clone();
            place.catalog = CatalogPlace::Beside;
            let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            place.bucket = Some(BucketPlace {
                url: "s3://lake/other".to_owned(),
                properties: [
                    property("s3.endpoint", &remote.store.url),
                    property("s3.path-style-access", "true"),
                    property("s3.access-key-id", "a"),
                    property("s3.secret-access-key", "b"),
                ]
                .into(),
            });
            let remote = Remote { place, ..remote };
            let mut first = remote.writer().await;
            let mut second = remote.writer().await;
            first.commit(&events(0..50)).await.expect("committed");
            let outcome = second.commit(&events(25..75)).await.expect("committed");
            assert_eq!((outcome.added, outcome.copies, outcome.races), (25, 25, 1));
            assert_eq!(remote.ids().await, ids_of(&events(0..75)));
        }
    }
}
