//! Whether the queue takes events, for `/readyz`, for the relay, and in the log once per change.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntGauge;

/// Shared by all who ask; clones see the same.
#[derive(Clone, Debug)]
pub struct Health {
    why_not: Arc<Mutex<Option<String>>>,
    gauge: IntGauge,
}

impl Health {
    /// Not up yet.
    pub fn new(gauge: IntGauge) -> Self {
        gauge.set(0);
        Self { why_not: Arc::new(Mutex::new(Some("not connected yet".to_owned()))), gauge }
    }

    /// The queue takes events.
    pub fn is_up(&self) -> bool {
        self.why_not().is_none()
    }

    /// Why the queue takes no events, where it does not.
    pub fn why_not(&self) -> Option<String> {
        self.why_not.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn up(&self) {
        if self.set(None) {
            tracing::info!("the queue takes events");
        }
    }

    pub(super) fn down(&self, why: &str) {
        if self.set(Some(why.to_owned())) {
            tracing::warn!("the queue takes no events, they wait in the outbox: {why}");
        }
    }

    /// Whether that is news.
    fn set(&self, why_not: Option<String>) -> bool {
        self.gauge.set(why_not.is_none().into());
        let before = std::mem::replace(&mut *self.why_not.lock().unwrap_or_else(PoisonError::into_inner), why_not.clone());
        before != why_not
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_not_and_counts() {
        let gauge = IntGauge::new("up", "up").expect("a gauge");
        let health = Health::new(gauge.clone());
        assert!(!health.is_up() && health.why_not().is_some());
        health.up();
        assert_eq!((health.why_not(), gauge.get()), (None, 1));
        assert!(!health.set(None), "no news");
        health.down("the broker went for lunch");
        assert_eq!((health.why_not().as_deref(), gauge.get()), (Some("the broker went for lunch"), 0));
    }
}
