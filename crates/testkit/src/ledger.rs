//! Ledger of the provider: deliveries that were sent, and their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::provider::{Event, Provider};

/// Everything that was sent.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Events and forgeries, in the order in which their last delivery was answered.
    pub entries: Vec<Entry>,
}

/// One event, or one forgery, with all attempts to deliver it. Of its body only the digest is kept: there may be a million.
#[derive(Debug)]
pub struct Entry {
    /// Provider that sends the event.
    pub provider: Provider,
    /// Id that the provider gives the event.
    pub id: String,
    /// SHA-256 of the body.
    pub body: [u8; 32],
    /// True if the provider never sent it.
    pub forged: bool,
    /// Another body under the unsigned id of an event before: a message of its own, with a mark.
    pub second: bool,
    /// SHA-256 of the other body that the provider signed under the same id, and sent after this one was taken.
    pub other: Option<[u8; 32]>,
    /// Every POST of the event.
    pub attempts: Vec<Attempt>,
}

/// One POST.
#[derive(Debug)]
pub struct Attempt {
    /// It carried another body under the same id.
    pub other_body: bool,
    /// Response of the service.
    pub answer: Answer,
    /// Time of the first byte.
    pub began: Instant,
    /// Time until the response was complete.
    pub took: Duration,
}

/// Answer to a delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// 200, with the message id and whether the event was new.
    Taken {
        /// Message id.
        id: String,
        /// True for `accepted`, false for `duplicate`.
        new: bool,
    },
    /// Any other status.
    Status(u16),
    /// No whole answer.
    Broken(String),
}

impl Answer {
    /// Nobody listened.
    pub fn refused() -> Self {
        Self::Broken("no connection".into())
    }

    /// Returns `true` for a 200.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. })
    }

    fn label(&self) -> String {
        match self {
            Self::Taken { new: true, .. } => "200 accepted".into(),
            Self::Taken { new: false, .. } => "200 duplicate".into(),
            Self::Status(code) => code.to_string(),
            Self::Broken(_) => "broken".into(),
        }
    }
}

impl Attempt {
    /// One that began at `began` and was answered just now.
    pub fn since(began: Instant, answer: Answer) -> Self {
        Self {
            other_body: false,
            answer,
            began,
            took: began.elapsed(),
        }
    }

    /// Returns the time of the answer.
    pub fn ended(&self) -> Instant {
        self.began + self.took
    }
}

/// Returns the digest by which a body is recognized.
pub fn digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

impl Entry {
    /// `event` with the attempts to deliver it.
    pub fn new(event: &Event, attempts: Vec<Attempt>) -> Self {
        Self {
            provider: event.provider,
            id: event.id.clone(),
            body: digest(&event.body),
            forged: false,
            second: false,
            other: None,
            attempts,
        }
    }

    /// Some POST of it was answered 2xx.
    pub fn is_taken(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.answer.is_taken())
    }

    /// The ids it was answered with.
    pub fn message_ids(&self) -> BTreeSet<&str> {
        self.attempts
            .iter()
            .filter_map(|attempt| match &attempt.answer {
                Answer::Taken { id, .. } => Some(id.as_str()),
                _ => None,
            })
            .collect()
    }
}

impl Ledger {
    /// Returns the entries of genuine events: all but forgeries.
    pub fn genuine(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.forged)
    }

    /// Returns the number of answers of each kind, to genuine or to forged deliveries.
    pub fn answers(&self, forged: bool) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for attempt in self
            .entries
            .iter()
            .filter(|entry| entry.forged == forged)
            .flat_map(|entry| &entry.attempts)
        {
            *counts.entry(attempt.answer.label()).or_default() += 1;
        }
        counts
    }

    /// Asserts the rules that hold under any fault. Each genuine event was taken in the end and had
    /// one message id. No genuine event was refused with 4xx, and no forgery got in.
    pub fn check(&self) {
        let sample = |entries: Vec<&Entry>, what: &str| {
            let first = entries.first().map(|entry| {
                format!(
                    "{} {}: {:?}",
                    entry.provider.name(),
                    entry.id,
                    entry.attempts
                )
            });
            assert!(
                entries.is_empty(),
                "{} {what}, the first: {}",
                entries.len(),
                first.unwrap_or_default()
            );
        };
        let refused = |entry: &&Entry| {
            entry
                .attempts
                .iter()
                .any(|a| matches!(a.answer, Answer::Status(code) if (400..500).contains(&code)))
        };
        sample(
            self.genuine().filter(refused).collect(),
            "genuine events were refused",
        );
        sample(
            self.genuine().filter(|entry| !entry.is_taken()).collect(),
            "genuine events were never taken",
        );
        sample(
            self.genuine()
                .filter(|entry| entry.message_ids().len() > 1)
                .collect(),
            "events were given several message ids",
        );
        sample(
            self.entries
                .iter()
                .filter(|entry| entry.forged && entry.is_taken())
                .collect(),
            "forgeries were taken",
        );
    }

    /// Asserts the rules that hold without faults, after those of [`check`](Self::check). Each
    /// genuine POST was answered 200, and one POST of each event was answered as new. Each forgery
    /// was answered 401.
    pub fn check_faultless(&self) {
        self.check();
        let genuine = self.answers(false);
        assert!(
            genuine.keys().all(|label| label.starts_with("200")),
            "genuine deliveries were answered {genuine:?}"
        );
        assert_eq!(
            genuine["200 accepted"],
            self.genuine().count(),
            "each event is new once: {genuine:?}"
        );
        let forged = self.answers(true);
        assert!(
            forged.keys().all(|label| label == "401"),
            "forgeries were answered {forged:?}"
        );
    }
}
