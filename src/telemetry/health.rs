//! Health: each component says whether it can do its work, and why not. `/readyz` shows it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How well a component can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All is well.
    Ready,
    /// Deliveries are taken all the same (the queue is away, and events wait in the outbox).
    Degraded(Cow<'static, str>),
    /// No delivery would be accepted.
    NotReady(Cow<'static, str>),
}

/// The health of all components; clones share it.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Entry>>>);

struct Entry {
    name: &'static str,
    state: Source,
}

enum Source {
    /// What the component said last.
    Told(State),
    /// Asked each time.
    Asked(Box<dyn Fn() -> State + Send>),
}

impl Entry {
    fn state(&self) -> State {
        match &self.state {
            Source::Told(state) => state.clone(),
            Source::Asked(ask) => ask(),
        }
    }
}

/// One component's own line in [`Health`].
#[derive(Clone)]
pub struct Component {
    health: Health,
    index: usize,
}

impl Health {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: &'static str, state: Source) -> usize {
        let mut entries = self.entries();
        entries.push(Entry { name, state });
        entries.len() - 1
    }

    /// A further component that will say how it is; it is not ready until it says so.
    pub fn component(&self, name: &'static str) -> Component {
        let index = self.add(name, Source::Told(State::NotReady("starting".into())));
        Component { health: self.clone(), index }
    }

    /// A further component that is asked each time. `ask` must answer at once.
    pub fn watch(&self, name: &'static str, ask: impl Fn() -> State + Send + 'static) {
        self.add(name, Source::Asked(Box::new(ask)));
    }

    /// All components in the order in which they were added.
    pub fn all(&self) -> Vec<(&'static str, State)> {
        self.entries().iter().map(|entry| (entry.name, entry.state())).collect()
    }

    /// Whether deliveries can be accepted; if not, the first reason.
    pub fn ready(&self) -> Result<(), String> {
        self.all().into_iter().try_for_each(|(name, state)| match state {
            State::NotReady(why) => Err(format!("{name}: {why}")),
            State::Ready | State::Degraded(_) => Ok(()),
        })
    }
}

impl Component {
    /// Says how the component is. A change is logged, a repetition is not.
    pub fn set(&self, state: State) {
        let mut entries = self.health.entries();
        let Some(Entry { name, state: Source::Told(now) }) = entries.get_mut(self.index) else { return };
        if *now == state {
            return;
        }
        match &state {
            State::Ready => tracing::info!("{name} is ready"),
            State::Degraded(why) => tracing::warn!("{name} is degraded: {why}"),
            State::NotReady(why) => tracing::warn!("{name} is not ready: {why}"),
        }
        *now = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_no_component_says_otherwise() {
        let health = Health::default();
        let store = health.component("store");
        health.watch("publisher", || State::Degraded("connection refused".into()));
        assert_eq!(health.ready(), Err("store: starting".into()));
        store.set(State::Ready);
        assert_eq!(health.ready(), Ok(()), "events wait in the outbox");
        store.set(State::NotReady("disk full".into()));
        assert_eq!(health.ready(), Err("store: disk full".into()));
        assert_eq!(health.all().len(), 2);
    }
}
