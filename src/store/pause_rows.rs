//! Rows of the table `pause`, the same in both databases.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::domain::delivery::UnixMillis;
use crate::domain::pause::{Pause, PauseKind};

/// A row of the table.
#[derive(QueryableByName)]
pub(super) struct PauseRow {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    caller: String,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
    #[diesel(sql_type = BigInt)]
    at_ms: i64,
}

impl PauseRow {
    /// Returns the pause. None: a later release has paused something that this one does not know.
    pub(super) fn into_pause(self) -> Option<Pause> {
        Some(Pause {
            kind: PauseKind::parse(&self.kind)?,
            name: self.name,
            caller: self.caller,
            reason: self.reason,
            at: UnixMillis(self.at_ms),
        })
    }
}
