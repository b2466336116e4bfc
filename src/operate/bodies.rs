//! Bodies of events. Each one that is handed out is recorded first, with its caller.

use std::fmt;

use bytes::Bytes;

use super::events::gone;
use super::{ApiProblem, Operator};
use crate::store::{AuditAction, AuditEntry};

/// A body that was opened.
pub struct OpenedBody {
    /// Id of the event's message.
    pub message_id: String,
    /// The bytes as received.
    pub bytes: Bytes,
    /// Headers that are kept with the event: name and value.
    pub headers: Vec<(String, String)>,
    /// Id of the message that came first, if this is another body under its id and the first is stored.
    pub conflict_of: Option<String>,
}

impl fmt::Debug for OpenedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "OpenedBody({}, {} bytes)",
            self.message_id,
            self.bytes.len()
        )
    }
}

impl Operator {
    /// Returns the body of the event with this message id or provider's id. If it cannot be recorded
    /// that `caller` opened it, the body stays closed.
    pub fn body(
        &self,
        name: &str,
        source: Option<&str>,
        caller: &str,
    ) -> Result<OpenedBody, ApiProblem> {
        let found = self.find(name, source)?;
        let store = self.archive.store()?;
        let Some((summary, stored)) = store.event(found.seq)? else {
            return Err(gone(name));
        };
        let message_id = summary.message_id.to_string();
        self.record(AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::OpenBody,
            subject: message_id.clone(),
            count: 1,
            reason: None,
        })?;
        Ok(OpenedBody {
            message_id,
            bytes: stored.event.body.clone(),
            headers: stored.event.headers.clone(),
            conflict_of: None,
        })
    }

    /// Records an action in the table `audit`, and in the log.
    pub(super) fn record(&self, entry: AuditEntry) -> Result<(), ApiProblem> {
        self.archive.store()?.record(&entry).map_err(|error| {
            ApiProblem::unavailable(
                format!("cannot record who has opened the body, so that it stays closed: {error}"),
                "look at /readyz for the state of the store, and ask again once it is ready",
            )
        })?;
        tracing::info!(
            target: "hookweir::audit",
            caller = entry.caller,
            action = entry.action.word(),
            subject = entry.subject,
            count = entry.count,
            "{}: {} ({} event) by {}",
            entry.action.word(),
            entry.subject,
            entry.count,
            entry.caller
        );
        Ok(())
    }
}
