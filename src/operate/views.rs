//! Answers of the admin API. Times are RFC 3339 in UTC, with milliseconds.

use serde::{Deserialize, Serialize};

use super::{PausedView, RepublishQuestion};
use crate::domain::delivery::UnixMillis;
use crate::store::catalog::EventState;
use crate::store::republish::JobState;

/// A page of events, the newest first; after a position, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventList {
    /// The events.
    pub events: Vec<EventView>,
    /// Place to go on from, for the parameter `before`, or for `after` if the question had it. For
    /// `before`: none at the end. A page may be empty and have a next one: none of the events that were
    /// read fits.
    pub next: Option<String>,
    /// True if events behind `next` may be there already: the page is full, or none of those that were read
    /// fits. With `after`, false once all events were read.
    pub more: bool,
    /// True if events behind `after` may have been deleted before they were read: the event there was
    /// deleted (store.keep_events_days), or was received that long ago. Never for `after=0`.
    pub after_deleted: bool,
}

/// An event without its headers and body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Its place in the order of the store. Its messages have it in the header `x-hookweir-position`. An
    /// event with a lower number may appear later: `after` this place may miss it, `after` a `next` does not.
    pub position: String,
    /// Id of its message.
    pub message_id: String,
    /// Name of its source.
    pub source: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type, if there is one.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// `Content-Type` of the request.
    pub content_type: Option<String>,
    /// Time of receipt.
    pub received_at: String,
    /// Bytes of its body.
    pub bytes: u64,
    /// Reference of the secret that has verified it, as the configuration had it then. None: not recorded, by an
    /// earlier release or for a key that was fetched or learned.
    #[serde(default)]
    pub verified_by: Option<String>,
    /// State over all sinks.
    pub state: EventState,
    /// Message id of the first event with the same id and another body.
    pub conflict_of: Option<String>,
    /// Message id of the first event with the same bytes.
    pub same_bytes_as: Option<String>,
    /// Sinks that have a row of it. In a trace: all sinks that it went to, as far as the configuration
    /// tells.
    pub sinks: Vec<SinkView>,
}

/// State of an event at a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkState {
    /// The sink has not confirmed it.
    Waiting,
    /// The sink has refused it for good.
    Parked,
    /// The sink has no row of it any more: confirmed, or discarded by an operator.
    Confirmed,
    /// The sink has no row of it, and fewer confirms were found than there are such sinks. Either the
    /// confirm came later than 100,000 others, or the sink was configured later than the event.
    Unknown,
}

/// An event at one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkView {
    /// Name of the sink.
    pub sink: String,
    /// State there.
    pub state: SinkState,
    /// Number of attempts that were not confirmed.
    pub attempts: Option<u32>,
    /// Time since which it waits, is parked, or is confirmed. In a trace only.
    pub since: Option<String>,
    /// Time of the next attempt. In a trace only.
    pub next_attempt: Option<String>,
    /// Reason for which it is parked.
    pub reason: Option<String>,
}

/// An event on its way: received, stored, and each sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// The event, with all of its sinks.
    pub event: EventView,
    /// Number of its row in the store.
    pub number: i64,
    /// Times of confirms, the earliest first. The store keeps no sink with a confirm.
    pub confirmed_at: Vec<String>,
    /// Jobs that have passed it and whose choice has it, the newest first, out of the last 100 jobs. A job
    /// writes no copy for a sink at which the event waits or is parked. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen_by: Vec<TraceJob>,
    /// True if the jobs cannot be read.
    #[serde(default)]
    pub jobs_unknown: bool,
}

/// A job that publishes events again, and has chosen this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceJob {
    /// Its id, as in the header `x-hookweir-republished`.
    pub id: String,
    /// Caller that has begun it.
    pub caller: String,
    /// Time at which it was begun.
    pub created_at: String,
    /// The only sink that it publishes to.
    pub only_to: Option<String>,
    /// True if the choice asks for a state, too. The state that the event had then is not kept.
    pub by_state: bool,
}

/// Events that a choice has, of those that were looked at. Add the answers up until there is no `next`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepublishPlan {
    /// Number of events.
    pub events: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Time of receipt of the oldest one.
    pub first: Option<String>,
    /// Time of receipt of the newest one.
    pub last: Option<String>,
    /// Place to go on from, for `after`. None at the end.
    pub next: Option<String>,
}

/// Jobs, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobView>,
}

/// A job that publishes events again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id. Each message that it publishes has it in the header `x-hookweir-republished`.
    pub id: String,
    /// Its state.
    pub state: JobState,
    /// Caller that has begun it.
    pub caller: String,
    /// Choice of events.
    pub choice: RepublishQuestion,
    /// Events in a second.
    pub pace: u32,
    /// Number of events that the dry run has found.
    pub expected: Option<u64>,
    /// Number of events that fitted so far.
    pub events: u64,
    /// Number of messages that were put into the outbox. An event that waits for a sink already, or is
    /// parked there, is left to that.
    pub copies: u64,
    /// Time at which it was begun.
    pub created_at: String,
    /// Time of its last step.
    pub changed_at: String,
}

/// Parked events (dead letters) of a sink, in order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedList {
    /// The events.
    pub parked: Vec<ParkedView>,
    /// Place to go on from, for the parameter `after`. None at the end.
    pub next: Option<String>,
}

/// A parked event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedView {
    /// Its number.
    pub number: i64,
    /// Name of the sink that refused it.
    pub sink: String,
    /// Reason of the refusal.
    pub reason: String,
    /// Time at which it was parked.
    pub at: String,
    /// Id of its message, the same after it was put back.
    pub message_id: String,
    /// Name of its source.
    pub source: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type, if there is one.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Bytes of its body.
    pub bytes: u64,
}

/// Other bodies that came under known ids, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictList {
    /// The bodies.
    pub conflicts: Vec<ConflictView>,
    /// Place to go on from, for the parameter `after`. None at the end.
    pub next: Option<String>,
}

/// Another body that came under a known id. The first one was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictView {
    /// Its name.
    pub id: String,
    /// Name of its source.
    pub source: String,
    /// The provider's id.
    pub event_id: String,
    /// `Content-Type` of the request.
    pub content_type: Option<String>,
    /// Time of receipt.
    pub received_at: String,
    /// Bytes of the body.
    pub bytes: u64,
}

/// Result of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Number of entries that were changed. Those that are gone already are none.
    pub count: u64,
}

/// Result of an order to send conflicts back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentBack {
    /// Number of conflicts that were published. Those that are gone already are none.
    pub count: u64,
    /// Number of conflicts that an order before has published. They have left the list, and were not
    /// published again.
    pub before: u64,
    /// Number of the last `ids` that were not looked at, for lack of time. Send these again.
    pub left: usize,
}

/// All sources of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceList {
    /// Id of the instance that answers. Times of deliveries are its own.
    pub instance: String,
    /// Start of the instance. Earlier deliveries are not known to it.
    pub started_at: String,
    /// The sources, in the order of the configuration.
    pub sources: Vec<SourceView>,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Its name.
    pub source: String,
    /// Its provider. None if it has a scheme of its own.
    pub provider: Option<String>,
    /// URL to enter at the provider: `public_url`, or the URL on this machine.
    pub url: String,
    /// True if `url` is its `public_url`.
    pub url_is_public: bool,
    /// Longest time to an answer, in milliseconds.
    pub deadline_ms: u64,
    /// Number of requests.
    pub received: u64,
    /// Time of the last new event.
    pub last_accepted: Option<String>,
    /// Time of the last redelivery that was recognised.
    pub last_duplicate: Option<String>,
    /// Last delivery that was refused for good, with 4xx.
    pub last_refused: Option<SourceRefusal>,
    /// Last delivery that was answered 503.
    pub last_unavailable: Option<SourceRefusal>,
    /// Its configured secrets.
    pub secrets: Vec<SecretView>,
    /// Something that an operator should do about its secrets.
    pub warning: Option<String>,
    /// Figures and rules by which an operator is warned.
    #[serde(default)]
    pub figures: SourceFigures,
    /// Things that an operator should look at.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// Pause, while an operator has paused it.
    pub paused: Option<PausedView>,
}

/// Figures of a source at this instance, and the rules that they are held against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFigures {
    /// Longest gap between two accepted events within eight days, in seconds. None: fewer than 20 events.
    pub usual_gap_secs: Option<u64>,
    /// Deliveries that took more than half of the deadline.
    pub near_deadline: u64,
    /// Deliveries in a row that were not answered 2xx, without those that had no signature.
    pub failures_in_a_row: u64,
    /// Failures in a row after which the provider disables the webhook. None: not known.
    pub disabled_after_failures: Option<u32>,
    /// Signed time minus time of receipt of the last verified delivery, in seconds.
    pub clock_skew_secs: Option<i64>,
    /// Time for which a redelivery is recognised, in seconds.
    pub dedup_window_secs: u64,
    /// Time for which the provider sends an event again, in seconds. None: not known.
    pub retries_secs: Option<u64>,
}

/// A secret of a source. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Reference as it is written in the configuration.
    pub secret: String,
    /// True if it is being rotated out.
    pub retiring: bool,
    /// Time of the last delivery that it has verified.
    pub last_verified: Option<String>,
    /// Time from which on its uses are known: the start, or the reload that brought it.
    pub known_since: String,
    /// Advice for a rotation.
    pub advice: Option<String>,
}

/// A delivery that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRefusal {
    /// Time of the answer.
    pub at: String,
    /// Reason, as metrics count it.
    pub reason: String,
    /// Detail, or nothing.
    pub detail: String,
}

/// Returns a time as the API shows it.
pub(super) fn shown(at: UnixMillis) -> String {
    // A time out of range, after a clock that was far ahead, is shown as 1970.
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    format!("{at:.3}")
}
