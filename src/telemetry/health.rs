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
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Vec<(&'static str, State)>>>);

/// One component's own line in [`Health`].
#[derive(Clone, Debug)]
pub struct Component {
    health: Health,
    index: usize,
}

impl Health {
    fn components(&self) -> MutexGuard<'_, Vec<(&'static str, State)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A further component; it is not ready until it says so.
    pub fn component(&self, name: &'static str) -> Component {
        let mut components = self.components();
        components.push((name, State::NotReady("starting".into())));
        Component { health: self.clone(), index: components.len() - 1 }
    }

    /// All components in the order in which they were added.
    pub fn all(&self) -> Vec<(&'static str, State)> {
        self.components().clone()
    }

    /// Whether deliveries can be accepted; if not, the first reason.
    pub fn ready(&self) -> Result<(), String> {
        self.components().iter().try_for_each(|(name, state)| match state {
            State::NotReady(why) => Err(format!("{name}: {why}")),
            State::Ready | State::Degraded(_) => Ok(()),
        })
    }
}

impl Component {
    /// Says how the component is. A change is logged, a repetition is not.
    pub fn set(&self, state: State) {
        let mut components = self.health.components();
        let Some((name, now)) = components.get_mut(self.index) else { return };
        if *now == state {
            return;
        }
        match &state {
            State::Ready => tracing::info!(component = *name, "{name} is ready"),
            State::Degraded(why) => tracing::warn!(component = *name, %why, "{name} is degraded"),
            State::NotReady(why) => tracing::warn!(component = *name, %why, "{name} is not ready"),
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
        let (store, queue) = (health.component("store"), health.component("publisher"));
        assert_eq!(health.ready(), Err("store: starting".into()));
        store.set(State::Ready);
        queue.set(State::Degraded("connection refused".into()));
        assert_eq!(health.ready(), Ok(()), "events wait in the outbox");
        store.set(State::NotReady("disk full".into()));
        assert_eq!(health.ready(), Err("store: disk full".into()));
        assert_eq!(health.all().len(), 2);
    }
}
