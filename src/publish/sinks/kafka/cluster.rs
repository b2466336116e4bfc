//! State of a cluster in use, shared by its connection and its channels.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::{Notify, RwLock, watch};

use super::verdict::{explain, weight};
use crate::publish::sinks::ConnectionState;

/// State of a cluster in use.
pub(super) struct Cluster {
    /// Name of the cluster in errors.
    pub(super) name: String,
    /// State of the connection.
    pub(super) state: watch::Sender<ConnectionState>,
    /// Wakes the watcher: a client has met an error, or has had no report for long.
    pub(super) try_now: Notify,
    /// Held for reading by each batch under way.
    pub(super) under_way: RwLock<()>,
    /// Largest record batch of each topic, as far as known.
    pub(super) limits: Mutex<HashMap<String, usize>>,
    /// In-sync copies that each topic needs, as far as known.
    pub(super) needed_copies: Mutex<HashMap<String, usize>>,
    answers: AtomicU64,
    /// The most telling error since the cluster was reached last.
    error: Mutex<Option<(u8, String)>>,
}

impl Cluster {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            state: watch::Sender::new(ConnectionState::Up),
            try_now: Notify::new(),
            under_way: RwLock::new(()),
            limits: Mutex::default(),
            needed_copies: Mutex::default(),
            answers: AtomicU64::new(0),
            error: Mutex::default(),
        }
    }

    /// Keeps an error of a client. Errors do not change the state: one of a connection may concern one
    /// broker only. The watcher finds out.
    fn heard(&self, code: Code, reason: &str) {
        if code != Code::AllBrokersDown {
            let text = explain(code, reason, self.answers() == 0);
            let weight = weight(code);
            let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            if error.as_ref().is_none_or(|(known, _)| *known <= weight) {
                *error = Some((weight, text));
            }
        }
        self.try_now.notify_one();
    }

    /// Returns the most telling error, or else `otherwise`.
    pub(super) fn why(&self, otherwise: &str) -> String {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let why = error.as_ref().map_or(otherwise, |(_, text)| text);
        format!("{}: {why}", self.name)
    }

    /// Reports that the cluster answered.
    pub(super) fn reached(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.state.send_if_modified(|state| {
            let blocked = matches!(state, ConnectionState::Blocked(_));
            if blocked {
                *state = ConnectionState::Up;
            }
            blocked
        });
    }

    /// Reports that the cluster did not answer.
    pub(super) fn unreachable(&self, otherwise: &str) {
        let blocked = ConnectionState::Blocked(self.why(otherwise));
        self.state.send_if_modified(|state| {
            let new = !matches!(state, ConnectionState::Down(_)) && *state != blocked;
            if new {
                *state = blocked;
            }
            new
        });
    }

    /// Reports the end of the connection. Batches under way are given up.
    pub(super) fn close(&self) {
        self.state
            .send_replace(ConnectionState::Down(format!("{}: closed", self.name)));
    }

    /// Returns the number of answers to the watcher so far.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    pub(super) fn is_up(&self) -> bool {
        *self.state.borrow() == ConnectionState::Up
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), ConnectionState::Down(_))
    }

    /// Returns the largest record batch of a topic, if it is known.
    pub(super) fn limit(&self, topic: &str) -> Option<usize> {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.get(topic).copied()
    }

    /// Returns the smallest of the known limits.
    pub(super) fn smallest_limit(&self) -> Option<usize> {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.values().min().copied()
    }
}

/// Events of a client, for the cluster that it belongs to.
pub(super) struct Events(pub(super) std::sync::Arc<Cluster>);

impl ClientContext for Events {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        heard(&self.0, &error, reason);
    }
}

/// Writes a log line of the library. What an operator must know is said by the sink.
pub(super) fn log(facility: &str, text: &str) {
    tracing::debug!(target: "librdkafka", "{facility}: {text}");
}

/// Reports a client's error to its cluster.
pub(super) fn heard(cluster: &Cluster, error: &KafkaError, reason: &str) {
    cluster.heard(error.rdkafka_error_code().unwrap_or(Code::Unknown), reason);
}
