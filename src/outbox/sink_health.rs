//! Health of a sink, for the relay, the publisher and `/readyz`. While a sink is away the service
//! is degraded and stays ready: it still accepts deliveries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::sink::SinkName;
use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};

/// Time without a refusal after which the sink counts as ready: longer than most retry delays.
const READY_AFTER: Duration = Duration::from_secs(10);

/// State of the connection to a sink. Clones share it.
#[derive(Clone, Debug)]
pub struct SinkHealth {
    up: Arc<AtomicBool>,
    component: Component,
    metrics: Arc<Metrics>,
    sink: SinkName,
    refusing: Arc<AtomicBool>,
    refusal: Arc<Mutex<Option<Refusal>>>,
    /// Line about messages that were routed to nowhere, from the first one on.
    unrouted: Arc<OnceLock<Component>>,
    /// Line about a part of the messages that is not confirmed, from the first time on.
    shortage: Arc<OnceLock<Component>>,
}

/// The newest refusal of a message by a sink that is connected.
#[derive(Debug)]
struct Refusal {
    at: Instant,
    /// The sink has confirmed another message since.
    confirmed_since: bool,
}

impl SinkHealth {
    /// Returns the health of a sink that is not connected yet. The component says "starting" until
    /// the first attempt to connect ends.
    pub(crate) fn new(component: Component, metrics: Arc<Metrics>, sink: &SinkName) -> Self {
        metrics.set_sink_up(sink, false);
        Self {
            up: Arc::new(AtomicBool::new(false)),
            component,
            metrics,
            sink: sink.clone(),
            refusing: Arc::default(),
            refusal: Arc::default(),
            unrouted: Arc::default(),
            shortage: Arc::default(),
        }
    }

    /// Returns `true` if the sink is connected and not blocked.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Reports a connection that takes messages.
    pub(crate) fn up(&self) {
        self.refusing.store(false, Ordering::Release);
        self.set(true, State::Ready);
    }

    /// Reports a connected sink that refused a message for now: a right is missing, or a queue is
    /// full.
    pub(crate) fn refused(&self, why: &str) {
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

    /// Reports a confirmed message.
    pub(crate) fn confirmed(&self) {
        if !self.refusing.load(Ordering::Acquire) {
            return;
        }
        if let Some(refusal) = &mut *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) {
            refusal.confirmed_since = true;
        }
    }

    /// Ends the degraded state if the last refusal is old. Call it regularly while connected.
    pub(crate) fn forget_old_refusal(&self) {
        if !self.refusing.load(Ordering::Acquire) {
            return;
        }
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let over = refusal
            .as_ref()
            .is_none_or(|refusal| refusal.confirmed_since && refusal.at.elapsed() >= READY_AFTER);
        drop(refusal);
        if over {
            self.up();
        }
    }

    /// Reports a lost or blocked connection.
    pub(crate) fn down(&self, why: &str) {
        self.set(
            false,
            State::Degraded(format!("events wait in the outbox: {why}").into()),
        );
    }

    /// Reports the number of messages in `place` that were routed to nowhere.
    pub(crate) fn unrouted(&self, count: u64, place: &str) {
        self.metrics.set_sink_unrouted(&self.sink, count);
        if count == 0 {
            if let Some(line) = self.unrouted.get() {
                line.set(State::Ready);
            }
            return;
        }
        let line = self
            .unrouted
            .get_or_init(|| self.component.beside("unrouted"));
        line.update(State::Degraded(
            format!(
                "sink {}: {count} messages had no queue bound for their routing key and wait in {place}: bind a queue, then `hookweir unrouted retry --all`",
                self.sink
            )
            .into(),
        ));
    }

    /// Reports the reason for which a part of the messages is not confirmed. None ends it.
    pub(crate) fn shortage(&self, why: Option<&str>) {
        let Some(why) = why else {
            if let Some(line) = self.shortage.get() {
                line.set(State::Ready);
            }
            return;
        };
        let line = self
            .shortage
            .get_or_init(|| self.component.beside("replicas"));
        line.update(State::Degraded(
            format!("sink {}: events wait in the outbox: {why}", self.sink).into(),
        ));
    }

    /// Reports the delay before the next attempt to connect.
    pub(crate) fn retries_after(&self, delay: Duration) {
        self.metrics.set_sink_backoff(&self.sink, delay);
    }

    fn set(&self, up: bool, state: State) {
        self.up.store(up, Ordering::Release);
        self.metrics.set_sink_up(&self.sink, up);
        self.component.set(state);
    }
}
