//! Outcomes of this instance as they happen.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::watch;

use super::question::{LONGEST_WAIT, source};
use super::views::shown;
use super::{ApiProblem, Operator};
use crate::telemetry::LiveOutcome;

/// Outcomes in one answer, at most: a sample of the newest.
const MOST: usize = 50;

/// Parameters of `GET /api/v1/live`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveQuestion {
    /// Name of the source.
    pub source: Option<String>,
    /// `accepted`, `duplicate`, `challenge`, `rejected`, `shed` or `failed`.
    pub outcome: Option<String>,
    /// Place to go on from: `next` of the answer before.
    pub after: Option<String>,
    /// Time to wait for an outcome if there is none yet, in milliseconds.
    pub wait_ms: Option<u64>,
}

impl LiveQuestion {
    /// Returns the time to wait for the first outcome.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.unwrap_or(0)).min(LONGEST_WAIT)
    }
}

/// Outcomes of this instance, the oldest first. They are kept from the first look on, and for a minute after
/// the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveList {
    /// Id of the instance that answers.
    pub instance: String,
    /// The newest outcomes that fit, 50 at most.
    pub outcomes: Vec<LiveView>,
    /// Number of older ones that fit and are not shown, since there are too many.
    pub left_out: u64,
    /// Number of outcomes, of any source, that were not kept since `after`.
    pub lost: u64,
    /// True if `after` is a place of another instance, or of this one before a restart.
    pub restarted: bool,
    /// Place to go on from, for the parameter `after`.
    pub next: String,
}

/// Outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveView {
    /// Time of the answer.
    pub at: String,
    /// Name of the source.
    pub source: String,
    /// The provider's id, if it is known. An unproven delivery has none.
    pub event_id: Option<String>,
    /// The provider's type, if it is known.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Kind of the outcome.
    pub outcome: String,
    /// Reason, as metrics count it, or nothing.
    pub reason: String,
    /// Detail of a refusal, or nothing.
    pub detail: String,
    /// Microseconds from the head of the request to the outcome.
    pub took_us: u64,
}

impl Operator {
    /// Returns the outcomes after a place. If there is none, those that are kept.
    pub fn live(&self, asked: &LiveQuestion) -> Result<LiveList, ApiProblem> {
        let instance = self.instance.to_string();
        let source = asked.source.as_deref().map(source).transpose()?;
        let place = asked.after.as_deref().map(place).transpose()?;
        let (after, restarted) = match place {
            Some((of, number)) if of == instance => (Some(number), false),
            Some(_) => (None, true),
            None => (None, false),
        };
        let outcome = asked.outcome.as_deref().map(known).transpose()?;
        let fits = |live: &LiveOutcome| {
            source.as_ref().is_none_or(|source| *source == live.source)
                && outcome.is_none_or(|outcome| outcome == live.outcome)
        };
        let look = self.instruments.metrics.live.look(after, MOST, fits);
        Ok(LiveList {
            outcomes: look.outcomes.iter().map(view).collect(),
            left_out: look.left_out,
            lost: look.lost,
            restarted,
            next: format!("{instance}.{}", look.next),
            instance,
        })
    }

    /// Returns a receiver that changes with each outcome, while somebody looks.
    pub fn live_news(&self) -> watch::Receiver<u64> {
        self.instruments.metrics.live.news()
    }
}

/// Returns a kind of outcome. An unknown one fits nothing, and is a mistake.
fn known(outcome: &str) -> Result<&str, ApiProblem> {
    const OUTCOMES: [&str; 6] = [
        "accepted",
        "duplicate",
        "challenge",
        "rejected",
        "shed",
        "failed",
    ];
    if OUTCOMES.contains(&outcome) {
        return Ok(outcome);
    }
    Err(ApiProblem::bad_question(
        format!(
            "outcome: there is no outcome \"{}\"",
            outcome.escape_debug()
        ),
        format!("give one of {}", OUTCOMES.join(", ")),
    ))
}

/// Returns the instance and the number of a place.
fn place(text: &str) -> Result<(&str, u64), ApiProblem> {
    let parts = text.rsplit_once('.');
    let place = parts.and_then(|(instance, number)| Some((instance, number.parse().ok()?)));
    place.ok_or_else(|| {
        ApiProblem::bad_question(
            format!("after: \"{}\" is no place", text.escape_debug()),
            "give `next` of the answer before",
        )
    })
}

fn view(live: &LiveOutcome) -> LiveView {
    LiveView {
        at: shown(live.at),
        source: live.source.to_string(),
        event_id: live.event_id.as_deref().map(str::to_owned),
        event_type: live.event_type.as_deref().map(str::to_owned),
        outcome: live.outcome.to_owned(),
        reason: live.reason.to_owned(),
        detail: live.detail.clone().into_owned(),
        took_us: u64::try_from(live.took.as_micros()).unwrap_or(u64::MAX),
    }
}
