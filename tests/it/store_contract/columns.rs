//! Columns of both databases: what a backup carries is listed once for both.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query,
};

use hookweir::config::model;

use crate::store_contract::{Place, Postgres, Sqlite};

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
}

/// In one database only.
const ONE_ONLY: [&str; 5] = [
    "dedup.id_class",
    "dedup.drop_same_bytes",
    "sink_holder.sink",
    "sink_holder.owner",
    "sqlite_sequence",
];

#[test]
fn both_databases_have_the_same_tables_and_columns() {
    let (file, server) = (Sqlite::fresh(), Postgres::fresh());
    drop((file.store(), server.store()));
    let model::StoreUrl::Sqlite(path) = file.config().url else {
        panic!("no file");
    };
    let path = path.display().to_string();
    let mut sqlite = SqliteConnection::establish(&path).expect("opened");
    let busy = "PRAGMA busy_timeout = 5000";
    sqlite.batch_execute(busy).expect("set");
    let columns = "SELECT t.name || '.' || c.name AS name FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c
                   WHERE t.type = 'table'";
    let in_file: Vec<Column> = sql_query(columns).load(&mut sqlite).expect("read");
    let mut postgres = PgConnection::establish(&server.url).expect("connected");
    let columns = "SELECT table_name || '.' || column_name AS name FROM information_schema.columns WHERE table_schema = $1";
    let in_server: Vec<Column> = sql_query(columns)
        .bind::<Text, _>(&server.schema)
        .load(&mut postgres)
        .expect("read");
    let names = |columns: Vec<Column>| -> BTreeSet<String> {
        let names = columns.into_iter().map(|column| column.name);
        let is_ours = |name: &String| !ONE_ONLY.iter().any(|only| name.starts_with(only));
        names.filter(is_ours).collect()
    };
    let (in_file, in_server) = (names(in_file), names(in_server));
    assert!(in_file.len() > 60, "{in_file:?}");
    assert_eq!(in_file, in_server);
}
