//! Pauses in the store, shown to deliveries, publishers, metrics and `/readyz`.

use std::sync::Arc;

use super::PauseStore;
use crate::domain::pause::{Pause, PauseKind, Pauses};
use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};

/// Board of pauses of this instance. Clones share it.
#[derive(Clone)]
pub struct PauseBoard {
    /// Pauses, as deliveries and publishers see them.
    pub pauses: Arc<Pauses>,
    metrics: Arc<Metrics>,
    component: Component,
}

impl PauseBoard {
    /// Returns a board on which nothing is paused.
    pub fn new(metrics: Arc<Metrics>, component: Component) -> Self {
        Self {
            pauses: Arc::default(),
            metrics,
            component,
        }
    }

    /// Shows what the store has.
    pub fn show(&self, pauses: Vec<Pause>) {
        let text = pauses.iter().map(sentence).collect::<Vec<_>>().join("; ");
        let before = self.pauses.replace(pauses);
        let now = self.pauses.all();
        for gone in before.iter().filter(|pause| !now.contains(pause)) {
            self.metrics.set_paused(gone, false);
        }
        now.iter()
            .for_each(|pause| self.metrics.set_paused(pause, true));
        self.component.set(match now.is_empty() {
            true => State::Ready,
            false => State::Degraded(text.into()),
        });
    }
}

/// Looks at the pauses in the store, again and again.
pub struct PauseWatch {
    store: Arc<dyn PauseStore>,
    board: PauseBoard,
    failing: bool,
}

impl PauseWatch {
    /// Returns a watch that shows the pauses of `store` on `board`.
    pub fn new(store: Arc<dyn PauseStore>, board: PauseBoard) -> Self {
        let failing = false;
        Self {
            store,
            board,
            failing,
        }
    }

    /// Shows the pauses. If they cannot be read, those before hold.
    pub fn look(&mut self) {
        match self.store.paused() {
            Ok(pauses) => {
                self.board.show(pauses);
                self.failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "cannot read which sources and sinks are paused; the pauses read before hold, next attempt within 5 s");
                }
            }
        }
    }
}

/// Returns the effect of a pause on deliveries, and its end.
fn sentence(pause: &Pause) -> String {
    let Pause {
        kind,
        name,
        caller,
        reason,
        ..
    } = pause;
    let effect = match kind {
        PauseKind::Source => "its deliveries are answered 503",
        PauseKind::Sink => "its events wait in the outbox",
    };
    let reason = reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let word = kind.word();
    format!(
        "the {word} {name} was paused by {caller}{reason}, {effect}: `hookweir resume {word} {name}` ends it"
    )
}
