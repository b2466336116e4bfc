//! Messages that RabbitMQ has taken although no queue was bound for them: they are looked at, sent to the
//! exchange again, or deleted. They are the broker's. Each question connects there, and holds them while it
//! is answered.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, TryLockError};

use serde::{Deserialize, Serialize};

use super::republish::{log, not_stored};
use super::{ApiProblem, Operator, question};
use crate::config::amqp_url::AmqpUrl;
use crate::config::model::{Publisher, PublisherUrl};
use crate::domain::sink::SinkName;
use crate::publish::PublishError;
use crate::publish::sinks::rabbitmq::{
    Decided, HELD_MESSAGES, HeldFate, HeldMessages, HoldBounds, RabbitmqConfig, RabbitmqSink,
    UnroutedMessage,
};
use crate::store::{AuditAction, AuditEntry};

/// Number of messages in a list, unless the question says another.
const USUAL_PAGE: usize = 20;

/// Bytes of bodies that are held at once. One message is always held.
pub const HELD_BYTES: usize = 8 * 1024 * 1024;

/// Sinks that keep unrouted messages, and the room for one question about them.
pub struct UnroutedQueues {
    sinks: Vec<Publisher>,
    /// Two that hold messages at once would hide them from each other.
    room: Mutex<()>,
}

impl UnroutedQueues {
    /// Returns the queues of these sinks.
    pub fn new(sinks: &[Publisher]) -> Self {
        Self {
            sinks: sinks.to_vec(),
            room: Mutex::new(()),
        }
    }

    /// Returns the broker of a sink.
    fn of(&self, sink: &SinkName) -> Result<RabbitmqSink, ApiProblem> {
        let mut sinks = self.sinks.iter();
        let found = sinks.find_map(|of| match &of.url {
            PublisherUrl::Amqp(url) if of.name == *sink => Some(broker(url, of)),
            _ => None,
        });
        found.unwrap_or_else(|| {
            Err(ApiProblem::bad_question(
                format!(
                    "sink {sink} is no RabbitMQ of this instance, and keeps no unrouted messages"
                ),
                "`hookweir sinks` lists the sinks; name one with an amqp:// URL by `sink`",
            ))
        })
    }

    /// Returns the room for a question.
    fn room(&self) -> Result<MutexGuard<'_, ()>, ApiProblem> {
        match self.room.try_lock() {
            Ok(room) => Ok(room),
            Err(TryLockError::Poisoned(room)) => Ok(room.into_inner()),
            Err(TryLockError::WouldBlock) => Err(ApiProblem::conflict(
                "another question holds the unrouted messages; nothing was changed",
                "ask again in a few seconds",
            )),
        }
    }
}

fn broker(url: &AmqpUrl, sink: &Publisher) -> Result<RabbitmqSink, ApiProblem> {
    let config = RabbitmqConfig::from_publisher(url, sink);
    RabbitmqSink::new(&config).map_err(|error| unreachable(&error))
}

/// Parameters of `GET /api/v1/unrouted`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnroutedQuestion {
    /// Name of the sink; by default the default sink.
    pub sink: Option<String>,
    /// Number of messages wanted, from the front of the queue, 24 at most.
    pub limit: Option<usize>,
}

impl UnroutedQuestion {
    /// Returns the parameters that are given, with their names.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| limit.to_string());
        let all = [("sink", &self.sink), ("limit", &limit)];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }
}

/// Messages that no queue was bound for, from the front of their queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnroutedList {
    /// Name of the sink.
    pub sink: String,
    /// Name of the queue in which they wait.
    pub queue: String,
    /// Number of messages in the queue.
    pub waiting: u64,
    /// The first of them: as many as are wanted, and fewer if their bodies have more than 8 MiB.
    pub messages: Vec<UnroutedView>,
}

/// A message that no queue was bound for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnroutedView {
    /// Its message id. Empty if something else than Hookweir has published it without one.
    pub message_id: String,
    /// Its routing key.
    pub routing_key: String,
    /// Name of its source.
    pub source: Option<String>,
    /// The provider's id.
    pub event_id: Option<String>,
    /// The provider's type.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Bytes of its body.
    pub bytes: u64,
}

/// Decision on messages that no queue was bound for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnroutedDecision {
    /// Name of the sink; by default the default sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// Message ids, out of the first 24 of the queue.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// In place of `ids`: this many messages, from the front of the queue, 24 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<usize>,
    /// Reason, for the record. A deletion needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl UnroutedDecision {
    /// Returns the number of messages to hold.
    fn held(&self) -> Result<usize, ApiProblem> {
        match self.first {
            None => few(self.ids.len(), "ids").map(|()| HELD_MESSAGES),
            Some(first) if self.ids.is_empty() => few(first, "first").map(|()| first),
            Some(_) => Err(ApiProblem::bad_question(
                "ids and first are given together",
                "give ids, or first",
            )),
        }
    }

    /// Returns the fate of each message.
    fn fates(&self, of: &[UnroutedMessage], chosen: HeldFate) -> Vec<HeldFate> {
        let ids: HashSet<&str> = self.ids.iter().map(String::as_str).collect();
        let fate = |message: &UnroutedMessage| match self.first.is_some()
            || ids.contains(message.message_id.as_str())
        {
            true => chosen,
            false => HeldFate::PutBack,
        };
        of.iter().map(fate).collect()
    }
}

/// Result of a decision on messages that no queue was bound for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnroutedChanged {
    /// Number of messages that were sent to the exchange, or deleted.
    pub count: u64,
    /// Number of messages in the queue now. A message that was sent, and that no queue is bound for, is there
    /// again.
    pub waiting: u64,
    /// Reason for which the broker did not take some of them. They are in the queue again.
    pub refused: Option<String>,
}

impl Operator {
    /// Returns the first messages of a sink that no queue was bound for. They stay where they are.
    pub fn unrouted(&self, asked: &UnroutedQuestion) -> Result<UnroutedList, ApiProblem> {
        let limit = asked.limit.unwrap_or(USUAL_PAGE);
        few(limit, "limit")?;
        let sink = sink(asked.sink.as_deref())?;
        let broker = self.unrouted.of(&sink)?;
        let room = self.unrouted.room()?;
        let listed = self.at_the_broker(async {
            let held = broker.hold_unrouted(&self.hold_bounds(limit)).await?;
            let list = UnroutedList {
                sink: sink.to_string(),
                queue: held.queue().to_owned(),
                waiting: held.waiting(),
                messages: held.messages().into_iter().map(view).collect(),
            };
            let all = vec![HeldFate::PutBack; list.messages.len()];
            held.decide(&all).await?;
            Ok(list)
        });
        drop(room);
        listed?.map_err(|error| unreachable(&error))
    }

    /// Sends messages to their exchange again, and records `caller`.
    pub fn retry_unrouted(
        &self,
        decision: &UnroutedDecision,
        caller: &str,
    ) -> Result<UnroutedChanged, ApiProblem> {
        self.decide_unrouted(
            decision,
            (AuditAction::RetryUnrouted, HeldFate::Send),
            caller,
        )
    }

    /// Deletes messages for good, and records `caller`.
    pub fn discard_unrouted(
        &self,
        decision: &UnroutedDecision,
        caller: &str,
    ) -> Result<UnroutedChanged, ApiProblem> {
        super::decisions::needs_reason(decision.reason.as_deref())?;
        let discard = (AuditAction::DiscardUnrouted, HeldFate::Discard);
        self.decide_unrouted(decision, discard, caller)
    }

    /// Carries out a decision. Its record comes first: without it, all messages go back.
    fn decide_unrouted(
        &self,
        decision: &UnroutedDecision,
        (action, fate): (AuditAction, HeldFate),
        caller: &str,
    ) -> Result<UnroutedChanged, ApiProblem> {
        let (limit, sink) = (decision.held()?, sink(decision.sink.as_deref())?);
        let broker = self.unrouted.of(&sink)?;
        let _room = self.unrouted.room()?;
        let decided = self.at_the_broker(async {
            let held = broker.hold_unrouted(&self.hold_bounds(limit)).await;
            let held = held.map_err(|error| unreachable(&error))?;
            let fates = decision.fates(&held.messages(), fate);
            let entry = self.unrouted_entry(&held, &sink, &fates, decision.reason.as_deref());
            let entry = AuditEntry {
                action,
                caller: caller.to_owned(),
                ..entry
            };
            if entry.count > 0 {
                // Nothing else runs on this thread.
                self.archive.store()?.record(&entry).map_err(not_stored)?;
                log(&entry);
            }
            held.decide(&fates).await.map_err(|error| perhaps(&error))
        })??;
        // Its publisher counts again within 10 s.
        let metrics = &self.instruments.metrics;
        metrics.set_sink_unrouted(&sink, decided.waiting);
        Ok(changed(decided))
    }

    /// Returns the entry of the record for a decision on held messages.
    fn unrouted_entry(
        &self,
        held: &HeldMessages,
        sink: &SinkName,
        fates: &[HeldFate],
        reason: Option<&str>,
    ) -> AuditEntry {
        let messages = held.messages();
        let chosen = messages.iter().zip(fates);
        let chosen = chosen.filter(|(_, fate)| **fate != HeldFate::PutBack);
        let ids: Vec<&str> = chosen.map(|(of, _)| of.message_id.as_str()).collect();
        AuditEntry {
            instance: self.instance,
            caller: String::new(),
            action: AuditAction::RetryUnrouted,
            subject: format!(
                "unrouted of sink {sink} in queue {}: {}",
                held.queue(),
                ids.join(", ")
            ),
            count: ids.len() as u64,
            reason: reason.map(str::to_owned),
        }
    }

    fn hold_bounds(&self, messages: usize) -> HoldBounds {
        HoldBounds {
            messages,
            bytes: HELD_BYTES,
            time: self.archive.patience().mul_f64(0.4),
        }
    }

    /// Returns the result of `work` at a broker, on a runtime of its own.
    fn at_the_broker<T>(&self, work: impl Future<Output = T>) -> Result<T, ApiProblem> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| {
            ApiProblem::unavailable(
                format!("cannot start a runtime: {error}; nothing was changed"),
                "ask again; if it stays so, look at the limits of the process",
            )
        })?;
        Ok(runtime.block_on(work))
    }
}

fn sink(name: Option<&str>) -> Result<SinkName, ApiProblem> {
    name.map_or_else(|| Ok(SinkName::default()), question::sink)
}

/// Checks the number of messages of a question.
fn few(count: usize, name: &str) -> Result<(), ApiProblem> {
    if (1..=HELD_MESSAGES).contains(&count) {
        return Ok(());
    }
    Err(ApiProblem::bad_question(
        format!("{name}: {count} messages are asked for"),
        format!("ask for 1 to {HELD_MESSAGES}, and for the rest afterwards"),
    ))
}

fn view(message: UnroutedMessage) -> UnroutedView {
    UnroutedView {
        message_id: message.message_id,
        routing_key: message.routing_key,
        source: message.source,
        event_id: message.event_id,
        event_type: message.event_type,
        bytes: message.bytes,
    }
}

fn changed(decided: Decided) -> UnroutedChanged {
    UnroutedChanged {
        count: decided.count,
        waiting: decided.waiting,
        refused: decided.refused,
    }
}

/// Returns the problem of a broker that did not hand out its messages.
fn unreachable(error: &PublishError) -> ApiProblem {
    ApiProblem::unavailable(
        format!("{error}; nothing was changed"),
        "look at /readyz for the state of the sink, and ask again",
    )
}

/// Returns the problem of a decision of which the broker did not confirm all.
fn perhaps(error: &PublishError) -> ApiProblem {
    ApiProblem::unavailable(
        format!(
            "{error}; the messages are in their queue again, and some of them may have been sent, too"
        ),
        "look at `hookweir unrouted list`, and ask again: a consumer knows a second copy by its message id",
    )
}
