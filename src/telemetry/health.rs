//! Health of each component, with a reason. `/readyz` shows it.

use std::borrow::Cow;
use std::mem::discriminant;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Health of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Works.
    Ready,
    /// Does not run in this process, by its configuration or until it is started.
    Off(Cow<'static, str>),
    /// Deliveries are accepted, with less than full function: the sink is down, say, and events
    /// wait in the outbox.
    Degraded(Cow<'static, str>),
    /// Deliveries are accepted by a stand-in, for a limited time. An operator has to act.
    Unfit(Cow<'static, str>),
    /// No delivery would be accepted.
    NotReady(Cow<'static, str>),
}

/// A component's name, and how it is.
pub type NamedState = (Cow<'static, str>, State);

/// The health of all components; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Vec<NamedState>>>);

/// One component's own line in [`Health`].
#[derive(Clone, Debug)]
pub struct Component {
    health: Health,
    index: usize,
    /// Stand-in for the time in which the component is not ready: a flag that says it works, and
    /// its description.
    stand_in: Option<(Arc<AtomicBool>, &'static str)>,
}

impl Health {
    fn components(&self) -> MutexGuard<'_, Vec<NamedState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a component. It is not ready until it is set so.
    pub fn component(&self, name: impl Into<Cow<'static, str>>) -> Component {
        let mut components = self.components();
        components.push((name.into(), State::NotReady("starting".into())));
        Component {
            health: self.clone(),
            index: components.len() - 1,
            stand_in: None,
        }
    }

    /// Adds a component that no delivery waits for. It is ready until it is set otherwise.
    pub fn aside(&self, name: &'static str) -> Component {
        let component = self.component(name);
        component.put(State::Ready, |_, _| false);
        component
    }

    /// Returns all components, in the order in which they were added.
    pub fn all(&self) -> Vec<NamedState> {
        self.components().clone()
    }

    /// Returns `Ok` if deliveries should be sent here, else the first reason against it.
    pub fn ready(&self) -> Result<(), String> {
        self.components()
            .iter()
            .try_for_each(|(name, state)| match state {
                State::NotReady(why) | State::Unfit(why) => Err(format!("{name}: {why}")),
                State::Ready | State::Off(_) | State::Degraded(_) => Ok(()),
            })
    }

    /// Returns `Ok` if new deliveries are accepted, else the first reason against it.
    pub fn accepting(&self) -> Result<(), String> {
        self.components()
            .iter()
            .try_for_each(|(name, state)| match state {
                State::NotReady(why) => Err(format!("{name}: {why}")),
                State::Ready | State::Off(_) | State::Degraded(_) | State::Unfit(_) => Ok(()),
            })
    }
}

impl Component {
    /// A further component of the same health, ready until it says otherwise.
    pub fn beside(&self, name: &'static str) -> Self {
        self.health.aside(name)
    }

    /// While `able` says so, something takes this component's place where it is not ready, so that
    /// it is only degraded.
    #[must_use]
    pub fn or_else(self, able: Arc<AtomicBool>, instead: &'static str) -> Self {
        Self {
            stand_in: Some((able, instead)),
            ..self
        }
    }

    /// Says how the component is. A change is logged, a repetition is not.
    pub fn set(&self, state: State) {
        let state = match (state, &self.stand_in) {
            (State::NotReady(why), Some((able, instead))) if able.load(Ordering::Relaxed) => {
                State::Degraded(format!("{why}; {instead}").into())
            }
            (state, _) => state,
        };
        self.put(state, |old, new| old != new);
    }

    /// Says that the component is not ready, and that waiting does not mend it: what stands in
    /// takes deliveries, and makes nothing ready.
    pub fn set_unfit(&self, why: &str) {
        let state = match &self.stand_in {
            Some((able, instead)) if able.load(Ordering::Relaxed) => {
                State::Unfit(format!("{why}; {instead}").into())
            }
            _ => State::NotReady(why.to_owned().into()),
        };
        self.put(state, |old, new| old != new);
    }

    /// The same for a component whose words change with every event: only another kind of state is
    /// logged.
    pub fn update(&self, state: State) {
        self.put(state, |old, new| discriminant(old) != discriminant(new));
    }

    fn put(&self, state: State, is_news: fn(&State, &State) -> bool) {
        let mut components = self.health.components();
        let Some((name, now)) = components.get_mut(self.index) else {
            return;
        };
        let old = std::mem::replace(now, state);
        if !is_news(&old, now) {
            return;
        }
        match now {
            State::Ready => tracing::info!(component = %name, "{name} is ready"),
            State::Off(why) => tracing::info!(component = %name, %why, "{name} is off"),
            State::Degraded(why) => tracing::warn!(component = %name, %why, "{name} is degraded"),
            State::NotReady(why) | State::Unfit(why) => {
                tracing::warn!(component = %name, %why, "{name} is not ready")
            }
        }
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

    #[test]
    fn what_stands_in_makes_nothing_ready_that_an_operator_has_to_mend() {
        let (health, able) = (Health::default(), Arc::new(AtomicBool::new(true)));
        let store = health
            .component("store")
            .or_else(able.clone(), "the spool takes deliveries");
        store.set_unfit("wrong password");
        assert_eq!(
            health.ready(),
            Err("store: wrong password; the spool takes deliveries".into())
        );
        assert_eq!(health.accepting(), Ok(()));
        able.store(false, Ordering::Relaxed);
        store.set_unfit("wrong password");
        assert_eq!(health.accepting(), Err("store: wrong password".into()));
    }

    #[test]
    fn what_stands_in_for_a_component_keeps_the_whole_ready() {
        let (health, able) = (Health::default(), Arc::new(AtomicBool::new(true)));
        let store = health
            .component("store")
            .or_else(able.clone(), "the spool takes deliveries");
        assert!(health.ready().is_err(), "it has not said how it is yet");
        store.set(State::NotReady("connection refused".into()));
        assert_eq!(
            health.all()[0].1,
            State::Degraded("connection refused; the spool takes deliveries".into())
        );
        able.store(false, Ordering::Relaxed);
        store.set(State::NotReady("connection refused".into()));
        assert_eq!(health.ready(), Err("store: connection refused".into()));
    }
}
