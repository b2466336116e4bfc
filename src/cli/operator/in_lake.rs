//! Row of an event in the lakehouse, for `hookweir trace`.

use serde::Serialize;

use crate::config::Config;
use crate::operate::EventView;

/// Row of an event in the lakehouse of this configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[cfg_attr(
    not(feature = "lakehouse"),
    expect(dead_code, reason = "the feature finds rows")
)]
pub(super) enum InLake {
    /// The event is a row.
    Row {
        /// Name of the table.
        table: &'static str,
        /// Time of its commit.
        committed_at: String,
        /// Version of the table that was read.
        snapshot: i64,
    },
    /// The table has no row of the event.
    NoRow {
        /// Name of the table.
        table: &'static str,
    },
    /// The table could not be read.
    Unknown {
        /// Reason.
        reason: String,
    },
}

impl InLake {
    /// Returns the time of the commit, and the rest in words.
    pub(super) fn words(&self) -> (Option<&String>, String) {
        match self {
            Self::Row {
                table,
                committed_at,
                snapshot,
            } => (
                Some(committed_at),
                format!("row of {table}, found in snapshot {snapshot}"),
            ),
            Self::NoRow { table } => (
                None,
                format!("no row of {table}; `hookweir lakehouse show` says what waits"),
            ),
            Self::Unknown { reason } => (None, format!("cannot tell: {reason}")),
        }
    }
}

/// Looks for the row of `event`. None if this configuration has no table.
#[cfg(feature = "lakehouse")]
pub(super) fn find(config: &Config, event: &EventView) -> Option<InLake> {
    use crate::domain::delivery::{MessageId, UnixMillis};
    use crate::lakehouse::tools::{self, Found};

    let unknown = |reason| Some(InLake::Unknown { reason });
    let Some(id) = MessageId::parse(&event.message_id) else {
        return unknown("the service has sent no message id".to_owned());
    };
    let Ok(at) = event.received_at.parse::<jiff::Timestamp>() else {
        return unknown("the service has sent no time of receipt".to_owned());
    };
    let at = UnixMillis(at.as_millisecond());
    match tools::find_row(config, id, at) {
        Ok(Found::NoTable) => None,
        Ok(Found::NoRow) => Some(InLake::NoRow {
            table: tools::TABLE,
        }),
        Ok(Found::Row {
            committed_at,
            snapshot,
        }) => {
            let at = jiff::Timestamp::from_millisecond(committed_at.0).unwrap_or_default();
            Some(InLake::Row {
                table: tools::TABLE,
                committed_at: format!("{at:.3}"),
                snapshot,
            })
        }
        Err(reason) => unknown(reason),
    }
}

/// Returns None: this build has no lakehouse.
#[cfg(not(feature = "lakehouse"))]
pub(super) fn find(_config: &Config, _event: &EventView) -> Option<InLake> {
    None
}
