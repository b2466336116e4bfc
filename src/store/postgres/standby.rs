//! Standby servers of the primary, as `hookweir check` tells of them: whether a promotion can lose
//! events depends on the commits that wait for one.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

/// Standby servers that the primary knows.
#[derive(QueryableByName)]
pub(super) struct Standbys {
    /// `synchronous_standby_names`.
    #[diesel(sql_type = Text)]
    awaited: String,
    /// Connections that stream the write-ahead log.
    #[diesel(sql_type = BigInt)]
    connected: i64,
}

impl Standbys {
    /// Asks the primary.
    pub(super) fn of(connection: &mut PgConnection) -> QueryResult<Self> {
        sql_query(
            "SELECT current_setting('synchronous_standby_names') AS awaited,
                    (SELECT count(*) FROM pg_stat_replication) AS connected",
        )
        .get_result(connection)
    }

    /// Returns a sentence about them. None: there is no standby, and none is awaited.
    pub(super) fn describe(&self) -> Option<String> {
        match (self.awaited.trim(), self.connected) {
            ("", 0) => None,
            ("", count) => Some(format!(
                "{count} standby connection(s), and no commit waits for them: if one is promoted, events that were answered 2xx \
                 just before may be missing. Set synchronous_standby_names (docs/guide/scale.md)"
            )),
            (names, 0) => Some(format!(
                "each commit waits for a standby (synchronous_standby_names = {names}), and none is connected: deliveries go to \
                 the spool until one is"
            )),
            (names, count) => Some(format!(
                "each commit waits for a standby (synchronous_standby_names = {names}, {count} connected): a promoted one has \
                 every event that was answered 2xx"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_that_no_commit_waits_for_is_called_a_risk() {
        let said = |awaited: &str, connected| {
            let awaited = awaited.to_owned();
            Standbys { awaited, connected }.describe()
        };
        assert_eq!(said("", 0), None);
        assert!(said("", 2).is_some_and(|text| text.contains("may be missing")));
        assert!(said("s1", 0).is_some_and(|text| text.contains("none is connected")));
        assert!(said("s1", 1).is_some_and(|text| text.contains("has every event")));
    }
}
