//! Pauses in the store, shown to deliveries, publishers, metrics and `/readyz`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    readings: Arc<Readings>,
}

/// Readings of the store, numbered as they begin. One may end long after another that began later.
#[derive(Debug, Default)]
struct Readings {
    begun: AtomicU64,
    /// Number of the first reading that may still be shown. Its lock is the turn of what is shown.
    next: Mutex<u64>,
}

impl Readings {
    fn next(&self) -> MutexGuard<'_, u64> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PauseBoard {
    /// Returns a board on which nothing is paused.
    pub fn new(metrics: Arc<Metrics>, component: Component) -> Self {
        Self {
            pauses: Arc::default(),
            metrics,
            component,
            readings: Arc::default(),
        }
    }

    /// Shows the pauses that `read` finds in the store, unless a reading that began later was shown meanwhile.
    pub fn look<E>(&self, read: impl FnOnce() -> Result<Vec<Pause>, E>) -> Result<(), E> {
        let number = self.readings.begun.fetch_add(1, Ordering::AcqRel);
        let pauses = read()?;
        let mut next = self.readings.next();
        if number >= *next {
            *next = number + 1;
            self.show(pauses);
        }
        Ok(())
    }

    /// Shows one change that the store has taken: the pause of this source or sink, or its end. Use it if the store cannot be read.
    pub fn show_change(&self, kind: PauseKind, name: &str, pause: Option<Pause>) {
        let mut next = self.readings.next();
        *next = self.readings.begun.load(Ordering::Acquire);
        let mut pauses = Vec::clone(&self.pauses.all());
        pauses.retain(|pause| pause.kind != kind || pause.name != name);
        pauses.extend(pause);
        self.show(pauses);
    }

    fn show(&self, pauses: Vec<Pause>) {
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
#[derive(Clone)]
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
        match self.board.look(|| self.store.paused()) {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "cannot read which sources and sinks are paused; the pauses read before hold, next attempt in 5 s");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::UnixMillis;
    use crate::telemetry::Health;

    fn board() -> PauseBoard {
        let health = Health::default();
        PauseBoard::new(Metrics::new().expect("metrics"), health.aside("paused"))
    }

    fn pause() -> Pause {
        Pause {
            kind: PauseKind::Sink,
            name: "kafka".to_owned(),
            caller: "ann".to_owned(),
            reason: None,
            at: UnixMillis(1),
        }
    }

    #[test]
    fn a_sink_stays_paused_though_a_reading_from_before_ends_later() {
        let board = board();
        let is_paused = || board.pauses.has(PauseKind::Sink, "kafka");
        let old = board.look(|| {
            board.look(|| Ok::<_, ()>(vec![pause()]))?;
            Ok::<_, ()>(Vec::new())
        });
        assert!(old.is_ok() && is_paused());
        let old = board.look(|| {
            board.show_change(PauseKind::Sink, "kafka", None);
            Ok::<_, ()>(vec![pause()])
        });
        assert!(old.is_ok() && !is_paused());
        let old = board.look(|| {
            board.show_change(PauseKind::Sink, "kafka", Some(pause()));
            Ok::<_, ()>(Vec::new())
        });
        assert!(old.is_ok() && is_paused());
        board.look(|| Ok::<_, ()>(Vec::new())).expect("read");
        assert!(!is_paused(), "another instance has ended it");
    }
}
