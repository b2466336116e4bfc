//! Sources and sinks that an operator has paused.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::delivery::UnixMillis;

/// Kind of a thing that can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseKind {
    /// A source: its deliveries are answered 503.
    Source,
    /// A sink: its events wait in the outbox.
    Sink,
}

impl PauseKind {
    /// Returns the word that stands in the table and in texts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }

    /// Returns the kind of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Source, Self::Sink]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// A paused source or sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Its kind.
    pub kind: PauseKind,
    /// Its name.
    pub name: String,
    /// Caller who has paused it.
    pub caller: String,
    /// Reason that was given.
    pub reason: Option<String>,
    /// Time at which it was paused.
    pub at: UnixMillis,
}

/// Everything that is paused now. Readers take no lock.
#[derive(Debug, Default)]
pub struct Pauses(ArcSwap<Vec<Pause>>);

impl Pauses {
    /// Returns `true` if the source or sink is paused.
    pub fn has(&self, kind: PauseKind, name: &str) -> bool {
        let paused = self.0.load();
        paused
            .iter()
            .any(|pause| pause.kind == kind && pause.name == name)
    }

    /// Returns all pauses.
    pub fn all(&self) -> Arc<Vec<Pause>> {
        self.0.load_full()
    }

    /// Replaces all pauses. Returns those before.
    pub fn replace(&self, pauses: Vec<Pause>) -> Arc<Vec<Pause>> {
        self.0.swap(Arc::new(pauses))
    }
}
