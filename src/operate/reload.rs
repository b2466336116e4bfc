//! Reload: the configuration is read again, and what can change while the service runs is taken over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::{ApiProblem, Archive, Operator};
use crate::config::{ConfigChange, ConfigError};
use crate::store::{AuditAction, AuditEntry};

/// Most mistakes that get a log line each.
const LOGGED: usize = 20;
/// Most bytes of options in an entry of the record.
const SUBJECT: usize = 1000;

/// Reads the configuration of the service again.
pub trait Reload: Send + Sync {
    /// Takes over what a reload can change, unless `dry_run`. With a mistake anywhere, changes nothing.
    fn reload(&self, dry_run: bool) -> Result<Reloaded, Vec<ConfigError>>;

    /// Returns the configuration in force as TOML, each option with its place. Holds no secret.
    fn in_force(&self) -> String;
}

/// Result of a configuration that was read again.
#[derive(Debug)]
pub struct Reloaded {
    /// Files that were read.
    pub files: Vec<String>,
    /// Differences from the configuration in force.
    pub changes: Vec<ConfigChange>,
    /// Warnings that were not there before.
    pub warnings: Vec<String>,
}

/// Order to read the configuration again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadOrder {
    /// True: only say what would change.
    pub dry_run: bool,
}

/// Answer to a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// Id of the instance.
    pub instance: String,
    /// True if nothing was taken over.
    pub dry_run: bool,
    /// Files that were read.
    pub files: Vec<String>,
    /// Changes that are in force for every delivery that begins from now on.
    pub changed: Vec<ChangeView>,
    /// Changes that are not in force before a restart.
    pub needs_restart: Vec<ChangeView>,
    /// Warnings that were not there before.
    pub warnings: Vec<String>,
}

/// A changed option, source or sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// Option, source or sink.
    pub option: String,
    /// Difference, in words. Holds no secret.
    pub change: String,
    /// File, line and column of the new value.
    pub place: Option<String>,
}

impl From<ConfigChange> for ChangeView {
    fn from(change: ConfigChange) -> Self {
        Self {
            option: change.option,
            change: change.what,
            place: change.place,
        }
    }
}

impl Operator {
    /// Reads the configuration again, on the order of `caller`.
    pub fn reload(&self, order: &ReloadOrder, caller: &str) -> Result<ReloadView, ApiProblem> {
        let reloaded = self.reloader.reload(order.dry_run).map_err(|mistakes| {
            if !order.dry_run {
                log_mistakes(&mistakes, caller);
            }
            refused(&mistakes)
        })?;
        let (live, restart): (Vec<_>, Vec<_>) =
            reloaded.changes.into_iter().partition(|change| change.live);
        let view = ReloadView {
            instance: self.instance.to_string(),
            dry_run: order.dry_run,
            files: reloaded.files,
            changed: live.into_iter().map(ChangeView::from).collect(),
            needs_restart: restart.into_iter().map(ChangeView::from).collect(),
            warnings: reloaded.warnings,
        };
        if !order.dry_run {
            self.note_reload(&view, caller);
        }
        Ok(view)
    }

    /// Logs a reload, and records it if it has changed anything.
    fn note_reload(&self, view: &ReloadView, caller: &str) {
        for warning in &view.warnings {
            tracing::warn!("{warning}");
        }
        let changed = options(&view.changed);
        if view.changed.is_empty() && view.needs_restart.is_empty() {
            tracing::info!(target: "hookweir::audit", caller, action = "reload", "reload by {caller}: nothing changed");
            return;
        }
        tracing::info!(
            target: "hookweir::audit", caller, action = "reload", subject = changed, count = view.changed.len(),
            "reload by {caller}: {} in force: {changed}", counted(view.changed.len(), "change")
        );
        if !view.needs_restart.is_empty() {
            let waiting = options(&view.needs_restart);
            tracing::warn!(
                target: "hookweir::audit", options = waiting,
                "{}, not in force before a restart: {waiting}", counted(view.needs_restart.len(), "change")
            );
        }
        if view.changed.is_empty() {
            return;
        }
        let entry = AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::Reload,
            subject: changed,
            count: view.changed.len() as u64,
            reason: None,
        };
        record_aside(self.archive.clone(), entry);
    }
}

/// Attempts to record a change, each within `admin.timeout_ms`.
const ATTEMPTS: usize = 5;
/// Most changes that wait to be recorded.
const WAITING: usize = 16;

/// Records a change of this instance on a thread of its own. It may be what mends the trouble of the store, so its answer does not wait for it.
pub(super) fn record_aside(archive: Arc<Archive>, entry: AuditEntry) {
    static ROOM: AtomicUsize = AtomicUsize::new(WAITING);
    let room = ROOM.fetch_update(Ordering::AcqRel, Ordering::Acquire, |room| {
        room.checked_sub(1)
    });
    let began = room.is_ok().then(|| {
        let thread = std::thread::Builder::new().name("audit".into());
        thread.spawn(move || {
            if let Some(error) = attempts(&archive, &entry) {
                tracing::warn!(
                    subject = entry.subject,
                    "cannot record a change of this instance in the table audit: {error}; it is in force, and the log has it"
                );
            }
            ROOM.fetch_add(1, Ordering::AcqRel);
        })
    });
    if let Some(Err(_)) = began {
        ROOM.fetch_add(1, Ordering::AcqRel);
    }
    if !matches!(began, Some(Ok(_))) {
        tracing::warn!(
            "a change of this instance is not recorded in the table audit, since others wait for the store; it is in force, and the log has it"
        );
    }
}

/// Records the entry. Returns the error of the last attempt.
fn attempts(archive: &Archive, entry: &AuditEntry) -> Option<String> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let recorded = archive.store().map_err(|problem| problem.to_string());
        match recorded.and_then(|store| store.record(entry).map_err(|error| error.to_string())) {
            Ok(()) => return None,
            Err(error) => last = Some(error),
        }
    }
    last
}

/// Returns the options that have changed, cut to [`SUBJECT`].
fn options(changes: &[ChangeView]) -> String {
    let names: Vec<&str> = changes.iter().map(|change| &*change.option).collect();
    let mut text = names.join(", ");
    if text.len() > SUBJECT {
        text.truncate(text.floor_char_boundary(SUBJECT));
        text.push_str(", \u{2026}");
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn log_mistakes(mistakes: &[ConfigError], caller: &str) {
    for mistake in mistakes.iter().take(LOGGED) {
        tracing::error!(target: "hookweir::audit", "configuration: {mistake}");
    }
    tracing::error!(
        target: "hookweir::audit", caller, action = "reload", count = mistakes.len(),
        "reload by {caller}: refused, {} in the configuration; the one in force goes on, and deliveries are accepted by it. \
         Mend the file, and reload again", counted(mistakes.len(), "mistake")
    );
}

/// Returns the error of a configuration with mistakes, one on each line.
fn refused(mistakes: &[ConfigError]) -> ApiProblem {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    ApiProblem::mistaken(
        lines.join("\n"),
        "nothing was changed, and deliveries go on: mend the file, and reload again",
    )
}
