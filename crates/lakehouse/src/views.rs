//! Views for consumers as SQL: one for each source, with the body as JSON where it is JSON.

use std::fmt::Write as _;

/// Engine that a view is written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// DuckDB, by the table's folder.
    DuckDb,
    /// Trino, with the table's catalog as `hookweir`.
    Trino,
    /// Spark, with the table's catalog as `hookweir`.
    Spark,
}

/// Columns of each view, before the body as JSON.
const COLUMNS: &str =
    "message_id, event_id, event_type, received_at, committed_at, content_type, headers";

/// Returns the statements that create a view for each of `sources`. `table` is the folder of the table.
pub fn views(engine: Engine, table: &str, sources: &[&str]) -> String {
    let mut sql = String::new();
    for source in sources {
        let (name, value) = (quoted(engine, source), text(source));
        // `writeln!` to a text never fails.
        let _ = match engine {
            Engine::DuckDb => writeln!(
                sql,
                "CREATE OR REPLACE VIEW {name} AS\n\
                 SELECT {COLUMNS},\n       \
                 CASE WHEN json_valid(body) THEN body::JSON END AS json, body, body_bytes, conflict_of, same_bytes_as\n\
                 FROM iceberg_scan({}) WHERE source = {value};\n",
                text(table)
            ),
            Engine::Trino => writeln!(
                sql,
                "CREATE OR REPLACE VIEW {name} AS\n\
                 SELECT {COLUMNS},\n       \
                 TRY(json_parse(body)) AS json, body, body_bytes, conflict_of, same_bytes_as\n\
                 FROM hookweir.webhooks.events WHERE source = {value};\n"
            ),
            // A view of the session: not every catalog stores views.
            Engine::Spark => writeln!(
                sql,
                "CREATE OR REPLACE TEMPORARY VIEW {name} AS\n\
                 SELECT {COLUMNS},\n       \
                 body, body_bytes, conflict_of, same_bytes_as\n\
                 FROM hookweir.webhooks.events WHERE source = {value};\n"
            ),
        };
    }
    sql
}

/// Returns an identifier in the quotes of the engine.
fn quoted(engine: Engine, name: &str) -> String {
    let quote = if engine == Engine::Spark { '`' } else { '"' };
    let doubled = name.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

/// Returns a text as a literal.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_and_folders_stay_inside_their_literal() {
        let sql = views(Engine::DuckDb, "/it's/events", &["a\"b'c"]);
        assert!(sql.contains("VIEW \"a\"\"b'c\" AS"), "{sql}");
        assert!(sql.contains("iceberg_scan('/it''s/events')"), "{sql}");
        assert!(sql.contains("WHERE source = 'a\"b''c';"), "{sql}");
        let sql = views(Engine::Spark, "", &["a`b"]);
        assert!(sql.contains("VIEW `a``b` AS"), "{sql}");
    }
}
