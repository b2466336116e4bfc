//! Several writers, and a catalog whose answers are lost or late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookweir_lakehouse::catalog::database::Database;
use hookweir_lakehouse::catalog::sql::SqlCatalog;
use hookweir_lakehouse::lake::Lake;
use hookweir_lakehouse::storage::local_files;
use hookweir_lakehouse::writer::Writer;
use iceberg::transaction::{ApplyTransactionAction as _, Transaction};
use iceberg::{Catalog, TableCommit};

use super::support::{Fixture, added_at_once, events, ids_of};
use faulty::{Fault, FaultyCatalog};

#[tokio::test(flavor = "multi_thread")]
async fn the_loser_of_a_race_reads_the_ids_of_the_winner() {
    let fixture = Fixture::new();
    let mut first = fixture.writer().await;
    let mut second = fixture.writer().await;
    first.commit(&events(0..50)).await.expect("committed");
    let outcome = second.commit(&events(25..75)).await.expect("committed");
    assert_eq!((outcome.added, outcome.copies, outcome.races), (25, 25, 1));
    assert_eq!(fixture.ids().await, ids_of(&events(0..75)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_writers_with_the_same_messages_at_once_add_each_id_once() {
    let fixture = Fixture::new();
    let mut writers = Vec::new();
    for _ in 0..4 {
        writers.push(fixture.writer().await);
    }
    assert_eq!(added_at_once(writers, 200).await, 200);
    assert_eq!(fixture.ids().await, ids_of(&events(0..200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_by_another_engine_costs_no_second_files() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(&events(0..10)).await.expect("committed");
    let lake = fixture.open().await;
    let table = lake.load().await.expect("loaded");
    let transaction = Transaction::new(&table);
    let action = transaction
        .update_table_properties()
        .set("owner".to_owned(), "data team".to_owned());
    let transaction = action.apply(transaction).expect("applied");
    transaction
        .commit(&**lake.catalog())
        .await
        .expect("committed");
    let outcome = writer.commit(&events(5..20)).await.expect("committed");
    assert_eq!((outcome.added, outcome.races), (10, 0));
    let table = lake.load().await.expect("loaded");
    assert_eq!(
        table
            .metadata()
            .properties()
            .get("owner")
            .map(String::as_str),
        Some("data team")
    );
    let files = std::fs::read_dir(
        fixture
            .lake()
            .join("events/data/received_at_day=2026-11-28"),
    );
    assert_eq!(files.expect("a day").count(), 2);
}

/// Returns a writer to the fixture's table through a catalog with `faults`.
async fn faulty_writer(fixture: &Fixture, faults: &[Fault]) -> (Writer, Arc<FaultyCatalog>) {
    fixture.open().await;
    let database = Database::sqlite(&fixture.lake().join("catalog.db"));
    let catalog = SqlCatalog::new(database, local_files()).expect("a catalog");
    let catalog = Arc::new(FaultyCatalog::new(catalog, faults));
    let lake = Lake::with_catalog(catalog.clone(), fixture.location())
        .await
        .expect("opened");
    let mut writer = Writer::new(lake, 1_000_000);
    writer.refresh().await.expect("read");
    (writer, catalog)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_counts_as_done_and_is_not_repeated() {
    let fixture = Fixture::new();
    let (mut writer, catalog) = faulty_writer(&fixture, &[Fault::AnswerLost]).await;
    let outcome = writer.commit(&events(0..10)).await.expect("committed");
    assert_eq!((outcome.added, outcome.races), (10, 0));
    assert_eq!(catalog.commits.load(Ordering::SeqCst), 1);
    writer.commit(&events(0..20)).await.expect("committed");
    assert_eq!(fixture.ids().await, ids_of(&events(0..20)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_refused_without_an_answer_is_repeated() {
    let fixture = Fixture::new();
    let (mut writer, catalog) = faulty_writer(&fixture, &[Fault::NotSent, Fault::NotSent]).await;
    assert_eq!(
        writer
            .commit(&events(0..10))
            .await
            .expect("committed")
            .added,
        10
    );
    assert_eq!(catalog.commits.load(Ordering::SeqCst), 3);
    assert_eq!(fixture.ids().await, ids_of(&events(0..10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_lands_after_its_repetition_adds_nothing() {
    let fixture = Fixture::new();
    let (mut writer, catalog) = faulty_writer(&fixture, &[Fault::Late, Fault::Late]).await;
    for begin in [0, 10, 20] {
        assert_eq!(
            writer
                .commit(&events(begin..begin + 10))
                .await
                .expect("committed")
                .added,
            10
        );
    }
    let mut other = fixture.writer().await;
    other.commit(&events(0..40)).await.expect("committed");
    catalog.all_landed().await;
    assert_eq!(fixture.ids().await, ids_of(&events(0..40)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_given_up_after_a_lost_answer_is_one_row_each_when_it_comes_again() {
    let fixture = Fixture::new();
    let (mut writer, catalog) =
        faulty_writer(&fixture, &[Fault::AnswerLostAndNothingReadable]).await;
    writer
        .commit(&events(0..10))
        .await
        .expect_err("nothing can be read");
    catalog.heal();
    let outcome = writer.commit(&events(0..12)).await.expect("committed");
    assert_eq!((outcome.added, outcome.copies), (2, 10));
    assert_eq!(fixture.ids().await, ids_of(&events(0..12)));
}

mod faulty {
    use std::collections::HashMap;
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use async_trait::async_trait;
    use hookweir_lakehouse::catalog::LakeCatalog;
    use iceberg::table::Table;
    use iceberg::{
        Error, ErrorKind, Namespace, NamespaceIdent, Result, TableCreation, TableIdent,
        TableRequirement, TableUpdate,
    };
    use tokio::task::JoinHandle;

    use super::*;

    /// Fault of one commit.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Fault {
        /// The commit takes place, and its answer is lost.
        AnswerLost,
        /// As above, and the catalog cannot be read afterwards.
        AnswerLostAndNothingReadable,
        /// The commit never arrives.
        NotSent,
        /// The commit arrives after a second.
        Late,
    }

    /// Catalog whose next commits meet faults.
    #[derive(Debug)]
    pub(crate) struct FaultyCatalog {
        inner: SqlCatalog,
        faults: Mutex<VecDeque<Fault>>,
        late: Mutex<Vec<JoinHandle<()>>>,
        unreadable: AtomicBool,
        pub(crate) commits: AtomicUsize,
    }

    impl FaultyCatalog {
        pub(crate) fn new(inner: SqlCatalog, faults: &[Fault]) -> Self {
            Self {
                inner,
                faults: Mutex::new(faults.iter().copied().collect()),
                late: Mutex::default(),
                unreadable: AtomicBool::new(false),
                commits: AtomicUsize::new(0),
            }
        }

        pub(crate) fn heal(&self) {
            self.unreadable.store(false, Ordering::SeqCst);
        }

        pub(crate) async fn all_landed(&self) {
            let late = std::mem::take(&mut *self.late.lock().expect("late"));
            for task in late {
                task.await.expect("it landed");
            }
        }
    }

    fn lost() -> Error {
        Error::new(ErrorKind::Unexpected, "500: commit state unknown")
    }

    #[async_trait]
    impl LakeCatalog for FaultyCatalog {
        async fn commit(
            &self,
            ident: &TableIdent,
            requirements: Vec<TableRequirement>,
            updates: Vec<TableUpdate>,
        ) -> Result<Table> {
            self.inner.commit(ident, requirements, updates).await
        }
    }

    #[async_trait]
    impl Catalog for FaultyCatalog {
        async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
            if self.unreadable.load(Ordering::SeqCst) {
                return Err(lost());
            }
            self.inner.load_table(ident).await
        }

        async fn update_table(&self, commit: TableCommit) -> Result<Table> {
            self.commits.fetch_add(1, Ordering::SeqCst);
            let fault = self.faults.lock().expect("faults").pop_front();
            match fault {
                None => self.inner.update_table(commit).await,
                Some(Fault::AnswerLost) => {
                    self.inner.update_table(commit).await?;
                    Err(lost())
                }
                Some(Fault::AnswerLostAndNothingReadable) => {
                    self.inner.update_table(commit).await?;
                    self.unreadable.store(true, Ordering::SeqCst);
                    Err(lost())
                }
                Some(Fault::NotSent) => Err(lost()),
                Some(Fault::Late) => {
                    let inner = self.inner.clone();
                    self.late
                        .lock()
                        .expect("late")
                        .push(tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_secs(1)).await;
                            // Refused, unless nothing was committed in between.
                            let _ = inner.update_table(commit).await;
                        }));
                    Err(lost())
                }
            }
        }

        async fn list_namespaces(
            &self,
            parent: Option<&NamespaceIdent>,
        ) -> Result<Vec<NamespaceIdent>> {
            self.inner.list_namespaces(parent).await
        }
        async fn create_namespace(
            &self,
            namespace: &NamespaceIdent,
            properties: HashMap<String, String>,
        ) -> Result<Namespace> {
            self.inner.create_namespace(namespace, properties).await
        }
        async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
            self.inner.get_namespace(namespace).await
        }
        async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
            self.inner.namespace_exists(namespace).await
        }
        async fn update_namespace(
            &self,
            _: &NamespaceIdent,
            _: HashMap<String, String>,
        ) -> Result<()> {
            Err(lost())
        }
        async fn drop_namespace(&self, _: &NamespaceIdent) -> Result<()> {
            Err(lost())
        }
        async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
            self.inner.list_tables(namespace).await
        }
        async fn create_table(
            &self,
            namespace: &NamespaceIdent,
            creation: TableCreation,
        ) -> Result<Table> {
            self.inner.create_table(namespace, creation).await
        }
        async fn drop_table(&self, _: &TableIdent) -> Result<()> {
            Err(lost())
        }
        async fn purge_table(&self, _: &TableIdent) -> Result<()> {
            Err(lost())
        }
        async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
            self.inner.table_exists(ident).await
        }
        async fn rename_table(&self, _: &TableIdent, _: &TableIdent) -> Result<()> {
            Err(lost())
        }
        async fn register_table(&self, _: &TableIdent, _: String) -> Result<Table> {
            Err(lost())
        }
    }
}
