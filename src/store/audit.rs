//! Record of what operators did by the admin API and the command line: changes, and bodies that were opened.

use std::time::Duration;

use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use crate::domain::delivery::{InstanceId, UnixMillis};

/// Time for which entries are kept.
pub(super) const KEEP_AUDIT: Duration = Duration::from_secs(400 * 24 * 3600);

/// An action of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// An event's body was handed out.
    OpenBody,
    /// Events that wait for a sink were moved to another one.
    MoveWaiting,
    /// Events that wait for a sink were discarded for it.
    DiscardWaiting,
    /// A job was begun that publishes events again.
    Republish,
    /// A job was cancelled.
    CancelJob,
    /// Parked events were put back.
    RetryParked,
    /// Parked events were deleted.
    DiscardParked,
    /// Other bodies under known keys were deleted.
    DiscardConflicts,
    /// Other bodies under known keys were published as messages of their own.
    SendBackConflicts,
    /// Refused deliveries were deleted.
    DiscardRefused,
    /// Refused deliveries were verified again, and those that are proven now were stored as events.
    VerifyRefused,
    /// Messages that no queue was bound for were sent to their exchange again.
    RetryUnrouted,
    /// Messages that no queue was bound for were deleted.
    DiscardUnrouted,
    /// The configuration was read again, and changed.
    Reload,
    /// A source or a sink was paused.
    Pause,
    /// A pause was ended.
    Resume,
    /// Events that were fetched by hand were stored.
    Import,
    /// Events were erased, with their bodies and headers.
    Erase,
    /// Bodies of events were searched for a text.
    SearchBodies,
    /// An instance logs by another filter for some minutes, or by that of its configuration again.
    LogFilter,
}

impl AuditAction {
    /// Returns the word that stands in the table and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::OpenBody => "open body",
            Self::MoveWaiting => "move waiting",
            Self::DiscardWaiting => "discard waiting",
            Self::Republish => "republish",
            Self::CancelJob => "cancel job",
            Self::RetryParked => "retry parked",
            Self::DiscardParked => "discard parked",
            Self::DiscardConflicts => "discard conflicts",
            Self::SendBackConflicts => "send back conflicts",
            Self::DiscardRefused => "discard refused",
            Self::VerifyRefused => "verify refused",
            Self::RetryUnrouted => "retry unrouted",
            Self::DiscardUnrouted => "discard unrouted",
            Self::Reload => "reload",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Import => "import",
            Self::Erase => "erase",
            Self::SearchBodies => "search bodies",
            Self::LogFilter => "log filter",
        }
    }
}

/// An entry of the record. The store adds the time.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Instance that was asked. A command has an id of its own.
    pub instance: InstanceId,
    /// Name of the token, or user and process at the socket or of the command.
    pub caller: String,
    /// The action.
    pub action: AuditAction,
    /// Message id of the event, or the choice of events, such as the sinks of a move.
    pub subject: String,
    /// Number of events.
    pub count: u64,
    /// Reason that the caller gave.
    pub reason: Option<String>,
}

/// An entry of the record, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its id, the place to go on from.
    pub id: [u8; 16],
    /// Its time.
    pub at: UnixMillis,
    /// Caller, as [`AuditEntry::caller`].
    pub caller: String,
    /// Word for the action. A later release may have more of them.
    pub action: String,
    /// Subject, as [`AuditEntry::subject`].
    pub subject: String,
    /// Number of events.
    pub count: u64,
    /// Reason that the caller gave.
    pub reason: Option<String>,
}

/// An entry as a statement returns it.
#[derive(diesel::QueryableByName)]
pub(super) struct RecordedRow {
    #[diesel(sql_type = Binary)]
    id: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Text)]
    caller: String,
    #[diesel(sql_type = Text)]
    action: String,
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
}

impl RecordedRow {
    /// Returns the entry. None if its id is none of ours.
    pub(super) fn into_entry(self) -> Option<AuditRow> {
        Some(AuditRow {
            id: self.id.try_into().ok()?,
            at: UnixMillis(self.at),
            caller: self.caller,
            action: self.action,
            subject: self.subject,
            count: u64::try_from(self.count).unwrap_or(0),
            reason: self.reason,
        })
    }
}

impl AuditEntry {
    /// Returns the number of events as it is stored.
    pub(super) fn rows(&self) -> i64 {
        i64::try_from(self.count).unwrap_or(i64::MAX)
    }
}
