//! Record of what operators did by the admin API and the command line: changes, and bodies that were opened.

use std::time::Duration;

use crate::domain::delivery::InstanceId;

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
    /// The configuration was read again, and changed.
    Reload,
    /// A source or a sink was paused.
    Pause,
    /// A pause was ended.
    Resume,
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
            Self::Reload => "reload",
            Self::Pause => "pause",
            Self::Resume => "resume",
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

impl AuditEntry {
    /// Returns the number of events as it is stored.
    pub(super) fn rows(&self) -> i64 {
        i64::try_from(self.count).unwrap_or(i64::MAX)
    }
}
