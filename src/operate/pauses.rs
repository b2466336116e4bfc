//! Pauses of sources and sinks: for all instances, and over restarts.

use serde::{Deserialize, Serialize};

use super::views::shown;
use super::{ApiProblem, Operator};
use crate::domain::delivery::wall_clock;
use crate::domain::pause::{Pause, PauseKind};
use crate::store::{AuditAction, AuditEntry};

/// Order to pause or resume a source or a sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseOrder {
    /// `source` or `sink`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Reason, for the record and for `/readyz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer to an order to pause or resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseView {
    /// `source` or `sink`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// True if it is paused now.
    pub paused: bool,
    /// True if it was not before.
    pub changed: bool,
}

/// A pause, as a source shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedView {
    /// Time at which it was paused.
    pub at: String,
    /// Caller who has paused it.
    pub by: String,
    /// Reason that was given.
    pub reason: Option<String>,
}

impl Operator {
    /// Pauses a source or a sink.
    pub fn pause(&self, order: &PauseOrder, caller: &str) -> Result<PauseView, ApiProblem> {
        let kind = self.known(order)?;
        let pause = Pause {
            kind,
            name: order.name.clone(),
            caller: caller.to_owned(),
            reason: order.reason.clone(),
            at: wall_clock(),
        };
        let entry = self.pause_entry(AuditAction::Pause, order, caller);
        let changed = self.archive.store()?.pause(&pause, &entry)?;
        self.show_change(kind, &order.name, Some(pause));
        Ok(noted(order, changed, true, caller))
    }

    /// Ends a pause. The name may be one that is no longer configured.
    pub fn resume(&self, order: &PauseOrder, caller: &str) -> Result<PauseView, ApiProblem> {
        let kind = kind(order)?;
        let entry = self.pause_entry(AuditAction::Resume, order, caller);
        let changed = self.archive.store()?.resume(kind, &order.name, &entry)?;
        if !changed {
            self.known(order)?;
        }
        self.show_change(kind, &order.name, None);
        Ok(noted(order, changed, false, caller))
    }

    /// Returns the pause of a source.
    pub(super) fn paused_source(&self, name: &str) -> Option<PausedView> {
        let pauses = self.pauses.pauses.all();
        let mut pauses = pauses.iter();
        let pause = pauses.find(|pause| pause.kind == PauseKind::Source && pause.name == name)?;
        Some(PausedView {
            at: shown(pause.at),
            by: pause.caller.clone(),
            reason: pause.reason.clone(),
        })
    }

    /// Shows a change that the store has taken. Other instances see it within seconds.
    fn show_change(&self, kind: PauseKind, name: &str, pause: Option<Pause>) {
        let read = || -> Result<_, ApiProblem> { Ok(self.archive.store()?.paused()?) };
        if let Err(error) = self.pauses.look(read) {
            tracing::warn!(%error, "cannot read which sources and sinks are paused; the change of {} {name} is in force here, \
                 other changes are seen within seconds", kind.word());
            self.pauses.show_change(kind, name, pause);
        }
    }

    /// Returns the kind of a source or sink that is configured.
    fn known(&self, order: &PauseOrder) -> Result<PauseKind, ApiProblem> {
        let kind = kind(order)?;
        let names: Vec<String> = match kind {
            PauseKind::Source => {
                let sources = self.sources.load();
                sources
                    .iter()
                    .map(|source| source.name.to_string())
                    .collect()
            }
            PauseKind::Sink => self.sinks.iter().map(ToString::to_string).collect(),
        };
        if names.contains(&order.name) {
            return Ok(kind);
        }
        let (word, name) = (kind.word(), order.name.escape_debug());
        Err(ApiProblem::bad_question(
            format!("the service has no {word} \"{name}\""),
            format!("it has {}", names.join(", ")),
        ))
    }

    fn pause_entry(&self, action: AuditAction, order: &PauseOrder, caller: &str) -> AuditEntry {
        AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action,
            subject: format!("{} {}", order.kind, order.name),
            count: 1,
            reason: order.reason.clone(),
        }
    }
}

/// Logs a change, and returns the answer to its order.
fn noted(order: &PauseOrder, changed: bool, paused: bool, caller: &str) -> PauseView {
    let PauseOrder { kind, name, reason } = order;
    if changed {
        let action = if paused { "pause" } else { "resume" };
        tracing::info!(
            target: "hookweir::audit", caller, action, subject = name, reason = reason.as_deref(),
            "{action}: {kind} {name} by {caller}"
        );
    }
    PauseView {
        kind: kind.clone(),
        name: name.clone(),
        paused,
        changed,
    }
}

fn kind(order: &PauseOrder) -> Result<PauseKind, ApiProblem> {
    PauseKind::parse(&order.kind).ok_or_else(|| {
        ApiProblem::bad_question(
            format!("\"{}\" cannot be paused", order.kind.escape_debug()),
            "name a source or a sink",
        )
    })
}
