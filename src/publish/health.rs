//! Whether the queue takes events: for `/readyz`, for the relay, for the metrics. With the queue away the service is degraded and not
//! unready, because deliveries are taken all the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use crate::telemetry::health::{Component, State};

/// Clones see the same.
#[derive(Clone, Debug)]
pub struct Health {
    up: Arc<AtomicBool>,
    component: Component,
    gauge: IntGauge,
    refusing: Arc<AtomicBool>,
    refusal: Arc<Mutex<Option<Refusal>>>,
}

/// How long nothing may have been refused until the queue counts as willing again: longer than most delays between two attempts.
const WILLING_AFTER: Duration = Duration::from_secs(10);

/// The queue is there, and refused a message for now.
#[derive(Debug)]
struct Refusal {
    at: Instant,
    /// It has confirmed another since.
    confirmed_since: bool,
}

impl Health {
    /// Not up yet; the component says "starting" until the first attempt to connect has an end.
    pub(super) fn new(component: Component, gauge: IntGauge) -> Self {
        gauge.set(0);
        Self {
            up: Arc::new(AtomicBool::new(false)),
            component,
            gauge,
            refusing: Arc::default(),
            refusal: Arc::default(),
        }
    }

    /// The queue takes events.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    pub(super) fn up(&self) {
        self.refusing.store(false, Ordering::Release);
        self.set(true, State::Ready);
    }

    /// The queue takes events, and has refused some for now: a right is missing, a queue is full. They wait in the outbox.
    pub(super) fn refused(&self, why: &str) {
        let refusal = Refusal {
            at: Instant::now(),
            confirmed_since: false,
        };
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        self.refusing.store(true, Ordering::Release);
        self.component.update(State::Degraded(
            format!("events wait in the outbox: {why}").into(),
        ));
    }

    /// The queue has confirmed events.
    pub(super) fn confirmed(&self) {
        if !self.refusing.load(Ordering::Acquire) {
            return;
        }
        if let Some(refusal) = &mut *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) {
            refusal.confirmed_since = true;
        }
    }

    /// Ends the time after a refusal. Called now and then while there is a connection.
    pub(super) fn look(&self) {
        if !self.refusing.load(Ordering::Acquire) {
            return;
        }
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let over = refusal
            .as_ref()
            .is_none_or(|refusal| refusal.confirmed_since && refusal.at.elapsed() >= WILLING_AFTER);
        drop(refusal);
        if over {
            self.up();
        }
    }

    pub(super) fn down(&self, why: &str) {
        self.set(
            false,
            State::Degraded(format!("events wait in the outbox: {why}").into()),
        );
    }

    fn set(&self, up: bool, state: State) {
        self.up.store(up, Ordering::Release);
        self.gauge.set(up.into());
        self.component.set(state);
    }
}
