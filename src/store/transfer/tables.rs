//! Tables of a store, with the columns that go from one store to another. A test holds the list against
//! the schemas of both databases.

use std::fmt::Write;

/// Kind of a column, the same in both databases but for times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum CellKind {
    /// A whole number.
    Number,
    /// A time: milliseconds since 1970 in SQLite, a timestamp in PostgreSQL.
    Time,
    /// True or false: 1 or 0 on the way.
    Truth,
    /// Text.
    Words,
    /// Bytes.
    Octets,
}

/// A table that is carried.
#[derive(Debug)]
pub(in crate::store) struct CarriedTable {
    /// Its name.
    pub(in crate::store) name: &'static str,
    /// Columns that are carried.
    pub(in crate::store) columns: &'static [(&'static str, CellKind)],
    /// Word for its rows in a report.
    pub(in crate::store) rows: &'static str,
}

use CellKind::{Number, Octets, Time, Truth, Words};

/// Every table that is carried, in the order in which rows are stored.
pub(in crate::store) const CARRIED: &[CarriedTable] = &[
    CarriedTable {
        name: "dedup",
        rows: "dedup keys",
        columns: &[
            ("seq", Number),
            ("key", Octets),
            ("guard", Octets),
            ("digest", Octets),
            ("source", Words),
            ("expires_at", Time),
            ("message", Octets),
            ("replay", Octets),
        ],
    },
    CarriedTable {
        name: "event",
        rows: "events",
        columns: &[
            ("seq", Number),
            ("key", Octets),
            ("source", Words),
            ("event_id", Words),
            ("event_type", Words),
            ("content_type", Words),
            ("headers", Words),
            ("received_at", Number),
            ("body", Octets),
            ("conflict_of", Octets),
            ("same_bytes_as", Octets),
            ("verified_by", Words),
        ],
    },
    CarriedTable {
        name: "outbox",
        rows: "waiting for a sink",
        columns: &[
            ("seq", Number),
            ("sink", Words),
            ("key", Octets),
            ("owner", Octets),
            ("bytes", Number),
            ("attempts", Number),
            ("since", Time),
            ("due_at", Time),
            ("order_key", Number),
            ("republished", Octets),
        ],
    },
    CarriedTable {
        name: "published",
        rows: "confirms",
        columns: &[("seq", Number), ("at", Time), ("sink", Words)],
    },
    CarriedTable {
        name: "parked",
        rows: "parked",
        columns: &[
            ("seq", Number),
            ("sink", Words),
            ("reason", Words),
            ("at", Time),
            ("order_key", Number),
        ],
    },
    CarriedTable {
        name: "conflict",
        rows: "conflicts",
        columns: &[
            ("key", Octets),
            ("digest", Octets),
            ("source", Words),
            ("event_id", Words),
            ("content_type", Words),
            ("headers", Words),
            ("received_at", Number),
            ("at", Time),
            ("body", Octets),
        ],
    },
    CarriedTable {
        name: "learned_secret",
        rows: "learned secrets",
        columns: &[("source", Words), ("secret", Octets), ("at", Time)],
    },
    CarriedTable {
        name: "fetched_key",
        rows: "fetched keys",
        columns: &[
            ("source", Words),
            ("name", Words),
            ("place", Octets),
            ("answer", Octets),
            ("at", Time),
        ],
    },
    CarriedTable {
        name: "pause",
        rows: "pauses",
        columns: &[
            ("kind", Words),
            ("name", Words),
            ("caller", Words),
            ("reason", Words),
            ("at", Time),
        ],
    },
    CarriedTable {
        name: "republish_job",
        rows: "jobs",
        columns: &[
            ("id", Octets),
            ("caller", Words),
            ("choice", Words),
            ("pace", Number),
            ("expected", Number),
            ("state", Words),
            ("created_at", Time),
            ("changed_at", Time),
            ("due_at", Time),
            ("after_seq", Number),
            ("until_seq", Number),
            ("events", Number),
            ("copies", Number),
        ],
    },
    CarriedTable {
        name: "quarantine",
        rows: "refused deliveries",
        columns: &[
            ("at", Time),
            ("source", Words),
            ("received_at", Number),
            ("request_id", Words),
            ("reason", Words),
            ("detail", Words),
            ("method", Words),
            ("target", Words),
            ("peer", Words),
            ("cut", Truth),
            ("bytes", Number),
            ("size", Number),
            ("headers", Octets),
            ("body", Octets),
        ],
    },
    CarriedTable {
        name: "audit",
        rows: "audit entries",
        columns: &[
            ("id", Octets),
            ("at", Time),
            ("instance", Octets),
            ("caller", Words),
            ("action", Words),
            ("subject", Words),
            ("count", Number),
            ("reason", Words),
        ],
    },
];

impl CarriedTable {
    /// Returns the names of the columns, quoted.
    pub(in crate::store) fn names(&self) -> String {
        let mut names = String::new();
        for (at, (name, _)) in self.columns.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            // Writing to a text does not fail.
            let _ = write!(names, "{comma}\"{name}\"");
        }
        names
    }

    /// Returns the statement that reads the rows that fit `filter`. `read` makes a column's value out of its
    /// quoted name. The name of each column begins with the letter of its kind.
    pub(in crate::store) fn select(
        &self,
        filter: &str,
        read: impl Fn(&str, CellKind) -> String,
    ) -> String {
        let mut columns = String::new();
        for (at, (name, kind)) in self.columns.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let value = read(&format!("\"{name}\""), *kind);
            let _ = write!(columns, "{comma}{value} AS \"{}{at}\"", kind.letter());
        }
        let order = match self.name {
            // Their numbers are given anew, in the same order.
            "quarantine" => "ORDER BY number",
            _ => "",
        };
        format!("SELECT {columns} FROM \"{}\" {filter} {order}", self.name)
    }

    /// Returns the clause for a row that is there. Two confirms of an event by a sink, or by two sinks under a
    /// release before, can have one time in SQLite, which counts in milliseconds. Any other row that is there is an
    /// error.
    pub(in crate::store) fn on_conflict(&self) -> &'static str {
        match self.name {
            "published" => "ON CONFLICT DO NOTHING",
            _ => "",
        }
    }

    /// Returns the statement that counts the rows.
    pub(in crate::store) fn count(&self) -> String {
        format!("SELECT count(*) AS n0 FROM \"{}\"", self.name)
    }
}

impl CellKind {
    /// Returns the letter by which a row is read.
    fn letter(self) -> char {
        match self {
            Number | Time | Truth => 'n',
            Words => 't',
            Octets => 'b',
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use diesel::prelude::*;
    use diesel::sql_query;
    use diesel::sql_types::Text;
    use diesel::sqlite::Sqlite;

    use super::*;
    use crate::store::migrations;

    /// Tables and columns that stay behind, each with the reason.
    const LEFT: &[(&str, &str)] = &[
        ("instance", "leases end with the instances that hold them"),
        ("sink_holder", "a lease"),
        ("relocation", "says where the store itself is"),
        ("quarantine.number", "given anew"),
        ("clock", "the next deletion writes it"),
        (
            "conflict_size",
            "triggers count the conflicts that are carried",
        ),
        ("dedup.id_class", "only the spool fills it"),
        ("dedup.drop_same_bytes", "only the spool fills it"),
        ("__diesel_schema_migrations", "each store has its own"),
        ("sqlite_sequence", "carried as the last number"),
    ];

    #[derive(QueryableByName)]
    struct Column {
        #[diesel(sql_type = Text)]
        name: String,
    }

    /// `tests/it/store_contract` has the columns of PostgreSQL the same as those of SQLite.
    #[test]
    fn every_table_and_column_is_carried_or_left_for_a_reason() {
        let mut database = SqliteConnection::establish(":memory:").expect("opened");
        migrations::run::<Sqlite>(&mut database, migrations::SQLITE).expect("migrated");
        let columns = "SELECT t.name || '.' || c.name AS name FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c
                       WHERE t.type = 'table'";
        let columns: Vec<Column> = sql_query(columns).load(&mut database).expect("read");
        let there: BTreeSet<String> = columns.into_iter().map(|column| column.name).collect();
        let carried = CARRIED.iter().flat_map(|table| {
            let columns = table.columns.iter();
            columns.map(|(column, _)| format!("{}.{column}", table.name))
        });
        let carried: BTreeSet<String> = carried.collect();
        let is_left = |column: &&String| {
            let table = column.split('.').next().unwrap_or_default();
            LEFT.iter()
                .any(|(left, _)| left == column || *left == table)
        };
        let forgotten: Vec<_> = there
            .difference(&carried)
            .filter(|column| !is_left(column))
            .collect();
        assert!(
            forgotten.is_empty(),
            "a backup would lose {forgotten:?}: put them into CARRIED, or into LEFT with the reason"
        );
        let gone: Vec<_> = carried.difference(&there).collect();
        assert!(gone.is_empty(), "{gone:?} are in no table");
    }
}
