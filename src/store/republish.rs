//! Republishing: jobs that put stored events into the outbox again, under the same message ids.
//!
//! A job is a row. Each step is a transaction that looks at some events, writes their rows, and moves the
//! job on, so that a job survives the death of any instance, and no step is made twice.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::Seq;
use super::catalog::{EventQuery, EventSummary};
use crate::domain::delivery::{SourceName, UnixMillis};
use crate::domain::sink::SinkName;

/// Largest number of events in a step.
pub const STEP: usize = 500;

/// Largest number of steps in a second, unless the pace needs more.
const STEPS_A_SECOND: u32 = 4;

/// Shortest pause between two steps, whatever a step has found. The database has other work.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Time that is longer than any pause. A step that is due later was planned before the clock was set
/// back.
pub(super) const LONG_PAUSE: Duration = Duration::from_secs(2);

/// Id of a job. Rises with the time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(Uuid);

impl JobId {
    /// Returns an id for a new job.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Parses a UUID.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns the id in a column. Other bytes than those of an id are none.
    pub(super) fn stored(bytes: Option<&[u8]>) -> Option<Self> {
        bytes.and_then(|bytes| Uuid::from_slice(bytes).ok().map(Self))
    }
}

impl Default for JobId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Events are left to look at.
    Running,
    /// All events that fit are in the outbox, or have left it.
    Done,
    /// An operator has ended it.
    Cancelled,
}

impl JobState {
    /// Returns the word that stands in the table.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the state with this word. A word of a later release is an end.
    pub(super) fn stored(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "cancelled" => Self::Cancelled,
            _ => Self::Done,
        }
    }
}

/// A job that is to begin now. It ends at the newest event of this moment.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id. A job with the same id is not begun again.
    pub id: JobId,
    /// Name of the token, or user and process at the socket.
    pub caller: String,
    /// Choice of events, as text that the caller understands.
    pub choice: String,
    /// Events in a second.
    pub pace: u32,
    /// Number of events that the dry run has found.
    pub expected: Option<u64>,
}

/// A job as it stands.
#[derive(Clone, Debug)]
pub struct Job {
    /// The job as it was begun.
    pub new: NewJob,
    /// Its state.
    pub state: JobState,
    /// Time at which it was begun.
    pub created_at: UnixMillis,
    /// Time of its last step.
    pub changed_at: UnixMillis,
    /// Number of events that fitted so far.
    pub events: u64,
    /// Number of rows that it has put into the outbox. An event that waits for a sink already, or is
    /// parked there, gets none.
    pub copies: u64,
    /// Number of the last event that it has looked at.
    pub reached: Seq,
}

/// Choice of events for a job.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Question that the events fit, without a place.
    pub query: EventQuery,
    /// Numbers of the events, in order, in place of the question.
    pub numbers: Option<Vec<Seq>>,
    /// The only sink that gets them. None: each sink that wants an event by the configuration.
    pub to: Option<SinkName>,
}

impl Choice {
    /// Returns `true` if the event is chosen, as far as its state does not decide.
    pub fn has(&self, event: &EventSummary) -> bool {
        let query = &self.query;
        let fits =
            |wanted: Option<&str>, found: Option<&str>| wanted.is_none_or(|_| wanted == found);
        match &self.numbers {
            Some(numbers) => numbers.contains(&event.seq),
            None => {
                let source = query.source.as_ref().map(SourceName::as_str);
                fits(source, Some(&event.source))
                    && fits(query.event_type.as_deref(), event.event_type.as_deref())
                    && query.from.is_none_or(|from| event.received_at >= from)
                    && query.until.is_none_or(|until| event.received_at < until)
            }
        }
    }
}

/// Next events of a choice, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct NextEvents {
    /// The events.
    pub events: Vec<EventSummary>,
    /// Number up to which all events were looked at. None at the end.
    pub next: Option<Seq>,
}

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// The next step is due after this time.
    DueIn(Duration),
    /// The job has ended, or is not there.
    Ended,
}

/// Returns the number of events in one step of a job with this pace.
pub(super) fn step_size(pace: u32) -> usize {
    let events = (pace / STEPS_A_SECOND).max(1);
    usize::try_from(events).unwrap_or(STEP).min(STEP)
}

/// Returns the pause after a step with `events`, at this pace, that was begun `late`. The pause is
/// shorter after a late step.
pub(super) fn pause(events: usize, pace: u32, late: Duration) -> Duration {
    let events = u64::try_from(events).unwrap_or(u64::MAX);
    let time = Duration::from_millis(events.saturating_mul(1000) / u64::from(pace.max(1)));
    time.saturating_sub(late).max(SHORTEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_keeps_its_pace_in_small_steps() {
        for (pace, size, time) in [(1, 1, 1000), (100, 25, 250), (10_000, 500, 50)] {
            assert_eq!(step_size(pace), size, "{pace}");
            let time = Duration::from_millis(time);
            assert_eq!(pause(size, pace, Duration::ZERO), time, "{pace}");
        }
    }

    #[test]
    fn a_job_leaves_the_database_to_others_between_steps_also_if_it_is_late() {
        let late = Duration::from_millis(40);
        assert_eq!(pause(25, 100, late), Duration::from_millis(210));
        for (events, late) in [(0, Duration::ZERO), (0, LONG_PAUSE), (500, LONG_PAUSE)] {
            assert_eq!(pause(events, 10_000, late), SHORTEST_PAUSE, "{events}");
        }
    }
}
