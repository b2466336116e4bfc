//! Whether the queue takes events: for `/readyz`, for the relay, for the metrics. With the queue away the service is degraded and not
//! unready, because deliveries are taken all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::IntGauge;

use crate::telemetry::health::{Component, State};

/// Clones see the same.
#[derive(Clone, Debug)]
pub struct Health {
    up: Arc<AtomicBool>,
    component: Component,
    gauge: IntGauge,
}

impl Health {
    /// Not up yet; the component says "starting" until the first attempt to connect has an end.
    pub(super) fn new(component: Component, gauge: IntGauge) -> Self {
        gauge.set(0);
        Self { up: Arc::new(AtomicBool::new(false)), component, gauge }
    }

    /// The queue takes events.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    pub(super) fn up(&self) {
        self.set(true, State::Ready);
    }

    pub(super) fn down(&self, why: &str) {
        self.set(false, State::Degraded(format!("events wait in the outbox: {why}").into()));
    }

    fn set(&self, up: bool, state: State) {
        self.up.store(up, Ordering::Release);
        self.gauge.set(up.into());
        self.component.set(state);
    }
}
