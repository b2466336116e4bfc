//! One contract for both databases of the catalog.

use hookweir_lakehouse::lake::{Lake, LakePlace, NAMESPACE, TABLE};
use hookweir_lakehouse::table::schema;
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction as _, Transaction};
use iceberg::{Catalog, ErrorKind, NamespaceIdent};

use super::support::{Fixture, events, ids_of};

async fn set(catalog: &dyn Catalog, table: &Table, key: &str) -> iceberg::Result<Table> {
    let transaction = Transaction::new(table);
    let action = transaction
        .update_table_properties()
        .set(key.to_owned(), "1".to_owned());
    action.apply(transaction)?.commit(catalog).await
}

/// The table is there for another connection, and a second creation changes nothing.
async fn a_table_is_created_once(place: &LakePlace) {
    let (first, second) = tokio::join!(Lake::open(place), Lake::open(place));
    let (first, second) = (first.expect("opened"), second.expect("opened"));
    let table = first.load().await.expect("loaded");
    assert_eq!(
        table.metadata().uuid(),
        second.load().await.expect("loaded").metadata().uuid()
    );
    let namespace = NamespaceIdent::new(NAMESPACE.to_owned());
    let again = schema::creation(TABLE, format!("file://{}/again", place.folder.display()));
    let error = first
        .catalog()
        .create_table(&namespace, again.expect("defined"))
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::TableAlreadyExists);
    let listed = second
        .catalog()
        .list_tables(&namespace)
        .await
        .expect("listed");
    assert_eq!(listed, [table.identifier().clone()]);
    assert!(
        second
            .catalog()
            .namespace_exists(&namespace)
            .await
            .expect("asked")
    );
    let other = NamespaceIdent::new("other".to_owned());
    assert!(second.catalog().get_namespace(&other).await.is_err());
}

/// Of many changes at once each takes place once, whoever loses is told, and leaves no file behind.
async fn changes_at_once_are_all_kept(place: &LakePlace) {
    let lake = Lake::open(place).await.expect("opened");
    let mut tasks = Vec::new();
    for n in 0..8 {
        let own = Lake::open(place).await.expect("opened");
        let table = lake.load().await.expect("loaded");
        tasks.push(tokio::spawn(async move {
            while let Err(error) = set(&**own.catalog(), &table, &format!("key-{n}")).await {
                assert_eq!(error.kind(), ErrorKind::CatalogCommitConflicts, "{error}");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let table = lake.load().await.expect("loaded");
    for n in 0..8 {
        assert!(
            table
                .metadata()
                .properties()
                .contains_key(&format!("key-{n}")),
            "key-{n}"
        );
    }
    let names = std::fs::read_dir(place.folder.join("events/metadata")).expect("a folder");
    let versions = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let versions = versions
        .filter(|name| name.ends_with(".metadata.json"))
        .count();
    assert_eq!(versions, 1 + 8, "one file for each version");
}

/// The hint names the current version.
async fn the_hint_follows(place: &LakePlace) {
    let lake = Lake::open(place).await.expect("opened");
    let table = set(
        &**lake.catalog(),
        &lake.load().await.expect("loaded"),
        "hint",
    )
    .await
    .expect("set");
    let location = table.metadata_location().expect("a location").to_owned();
    let hint = std::fs::read_to_string(place.folder.join("events/metadata/version-hint.text"))
        .expect("a hint");
    assert!(
        location.ends_with(&format!("/{hint}.metadata.json")),
        "{hint}: {location}"
    );
}

async fn a_dropped_table_is_absent(place: &LakePlace) {
    let lake = Lake::open(place).await.expect("opened");
    let ident = lake.load().await.expect("loaded").identifier().clone();
    lake.catalog().drop_table(&ident).await.expect("dropped");
    assert!(!lake.catalog().table_exists(&ident).await.expect("asked"));
    let error = lake.catalog().load_table(&ident).await.expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::TableNotFound);
    assert_eq!(
        lake.catalog()
            .drop_table(&ident)
            .await
            .expect_err("absent")
            .kind(),
        ErrorKind::TableNotFound
    );
}

async fn whole_contract(fixture: &Fixture) {
    a_table_is_created_once(&fixture.place).await;
    changes_at_once_are_all_kept(&fixture.place).await;
    the_hint_follows(&fixture.place).await;
    fixture
        .writer()
        .await
        .commit(&events(0..30))
        .await
        .expect("committed");
    fixture
        .writer()
        .await
        .commit(&events(20..40))
        .await
        .expect("committed");
    assert_eq!(fixture.ids().await, ids_of(&events(0..40)));
    a_dropped_table_is_absent(&fixture.place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_keeps_the_contract() {
    whole_contract(&Fixture::new()).await;
}

mod with_servers {
    mod postgresql {
        use diesel::connection::SimpleConnection as _;
        use diesel::{Connection as _, PgConnection};
        use hookweir_lakehouse::lake::CatalogPlace;

        use crate::support::{Fixture, events, ids_of};

        /// Returns the URL of a database of the test's own.
        fn database(name: &str) -> String {
            let url = hookweir_testkit::servers::postgres();
            let mut connection = PgConnection::establish(&url).expect("connected");
            let create =
                format!("DROP DATABASE IF EXISTS {name} WITH (FORCE); CREATE DATABASE {name}");
            for statement in create.split("; ") {
                connection.batch_execute(statement).expect("created");
            }
            let (before, _) = url.rsplit_once('/').expect("a database");
            format!("{before}/{name}")
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn postgresql_keeps_the_contract() {
            let url = database("lake_contract");
            super::super::whole_contract(&Fixture::with_catalog(CatalogPlace::Postgres(url))).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn a_writer_goes_on_after_its_connection_was_ended() {
            let url = database("lake_ended");
            let fixture = Fixture::with_catalog(CatalogPlace::Postgres(url.clone()));
            let mut writer = fixture.writer().await;
            writer.commit(&events(0..10)).await.expect("committed");
            let mut connection = PgConnection::establish(&url).expect("connected");
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            connection.batch_execute(end).expect("ended");
            while writer.commit(&events(0..20)).await.is_err() {}
            assert_eq!(fixture.ids().await, ids_of(&events(0..20)));
        }
    }
}
