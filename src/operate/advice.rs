//! Advice: the tuning guide (`docs/operations/tuning.md`) as a function of two looks at an instance.
//! Pure.

use serde::{Deserialize, Serialize};

use super::top::{Observed, PartOf, SourceCounts, TopView};

/// Something to turn, or to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// The option to turn, or the command to begin with.
    pub turn: String,
    /// Value of the option now. None for a command.
    pub now: Option<u64>,
    /// Value to try. None for a command.
    pub to: Option<u64>,
    /// The figures that say so, and the cost.
    pub because: String,
}

/// Difference between two looks.
struct Change<'a> {
    before: &'a TopView,
    after: &'a TopView,
}

/// A rule: advice, if the figures ask for it.
type Rule = fn(&Change<'_>) -> Option<Advice>;

/// All rules, the most urgent first.
const RULES: &[Rule] = &[
    failing_store,
    sink_down,
    filling_spool,
    requests,
    bytes,
    verifier_mailbox,
    dedup_mailbox,
    deadline_in_queue,
    writers,
    batch_events,
    connections,
    queue_events,
    longer_yield,
    shorter_yield,
    channels,
    cache_entries,
    unrouted,
    parked,
];

/// Returns the advice for what happened between two looks at an instance, the most urgent first.
pub fn advise(before: &TopView, after: &TopView) -> Vec<Advice> {
    let change = Change { before, after };
    RULES.iter().filter_map(|rule| rule(&change)).collect()
}

impl Change<'_> {
    /// Returns the deliveries that were shed for a reason.
    fn shed(&self, reason: &str) -> u64 {
        let count = |view: &TopView| {
            let mut reasons = view.shed.iter();
            let found = reasons.find(|of| of.reason == reason);
            found.map_or(0, |of| of.count)
        };
        count(self.after).saturating_sub(count(self.before))
    }

    fn all_shed(&self) -> u64 {
        self.of_sources(|source| source.shed)
    }

    fn of_sources(&self, count: fn(&SourceCounts) -> u64) -> u64 {
        let sum = |view: &TopView| view.sources.iter().map(count).sum::<u64>();
        sum(self.after).saturating_sub(sum(self.before))
    }

    fn count(&self, count: fn(&TopView) -> u64) -> u64 {
        count(self.after).saturating_sub(count(self.before))
    }

    /// Returns the mean of what was observed. None if nothing was.
    fn mean(&self, observed: fn(&TopView) -> Observed) -> Option<u64> {
        let (before, after) = (observed(self.before), observed(self.after));
        let count = after.count.saturating_sub(before.count);
        after.sum.saturating_sub(before.sum).checked_div(count)
    }

    /// Returns `true` if the processors were idle for more than a quarter of the time. A system that
    /// does not tell counts as busy.
    fn is_idle(&self) -> bool {
        let (Some(before), Some(after)) = (self.before.processors, self.after.processors) else {
            return false;
        };
        let idle = after.part.saturating_sub(before.part);
        let all = after.whole.saturating_sub(before.whole);
        all > 0 && idle * 4 > all
    }

    fn waiting(&self) -> (u64, u64) {
        let sum = |view: &TopView| view.sinks.iter().map(|sink| sink.waiting).sum();
        (sum(self.before), sum(self.after))
    }
}

fn turn(option: &str, now: u64, to: u64, because: String) -> Advice {
    Advice {
        turn: option.to_owned(),
        now: Some(now),
        to: Some(to),
        because,
    }
}

fn look_at(command: &str, because: String) -> Advice {
    Advice {
        turn: command.to_owned(),
        now: None,
        to: None,
        because,
    }
}

fn failing_store(change: &Change<'_>) -> Option<Advice> {
    let failures = change.count(|view| view.commit_failures);
    (failures > 0).then(|| {
        look_at(
            "hookweir check",
            format!("{failures} commits have failed: it says what the database lacks"),
        )
    })
}

fn sink_down(change: &Change<'_>) -> Option<Advice> {
    let mut sinks = change.after.sinks.iter();
    let down = sinks.find(|sink| sink.up == Some(false))?;
    Some(look_at(
        "hookweir sinks",
        format!(
            "sink {} accepts no events, {} wait for it on disk: /readyz has the reason; the backlog drains by itself",
            down.sink, down.waiting
        ),
    ))
}

fn filling_spool(change: &Change<'_>) -> Option<Advice> {
    let (used, max) = (change.after.spool_bytes, change.after.options.spool_bytes);
    (max > 0 && used > max / 2).then(|| {
        turn(
            "spool.max_bytes",
            max,
            max.saturating_mul(2),
            format!("the spool holds {used} bytes, and new deliveries get 503 once it is full; the cost is disk. Repair the database first"),
        )
    })
}

fn requests(change: &Change<'_>) -> Option<Advice> {
    let shed = change.shed("requests");
    let bound = change.after.in_flight_requests.whole;
    (shed > 0).then(|| {
        turn(
            "limits.in_flight_requests",
            bound,
            bound.saturating_mul(2),
            format!("{shed} deliveries got 503: {bound} were in flight; the cost is memory, and longer waits at overload"),
        )
    })
}

fn bytes(change: &Change<'_>) -> Option<Advice> {
    let shed = change.shed("bytes") + change.shed("source_bytes");
    let bound = change.after.in_flight_bytes.whole;
    (shed > 0).then(|| {
        turn(
            "limits.in_flight_bytes",
            bound,
            bound.saturating_mul(2),
            format!("{shed} deliveries got 503 for the bytes in flight; the cost is memory"),
        )
    })
}

/// Returns the advice about a mailbox whose messages were refused. More than the requests in flight
/// cannot wait in it.
fn mailbox(change: &Change<'_>, reason: &str, option: &str, now: u64) -> Option<Advice> {
    let shed = change.shed(reason);
    let most = change.after.in_flight_requests.whole;
    if shed == 0 {
        return None;
    }
    if now >= most {
        let because = format!(
            "{shed} deliveries got 503 ({reason}), and {option} is as large as limits.in_flight_requests: more processors help, no option does"
        );
        return Some(look_at("docs/operations/tuning.md", because));
    }
    let because = format!(
        "{shed} deliveries got 503 ({reason}); the cost is longer waits, and it gains nothing if no processor is idle"
    );
    Some(turn(option, now, now.saturating_mul(2).min(most), because))
}

fn verifier_mailbox(change: &Change<'_>) -> Option<Advice> {
    let now = change.after.options.verifier_mailbox;
    mailbox(change, "verifier_mailbox", "verifier.mailbox_capacity", now)
}

fn dedup_mailbox(change: &Change<'_>) -> Option<Advice> {
    let now = change.after.options.dedup_mailbox;
    mailbox(change, "dedup_mailbox", "dedup.mailbox_capacity", now)
}

fn deadline_in_queue(change: &Change<'_>) -> Option<Advice> {
    let shed = change.shed("deadline_in_queue");
    let mean = change.mean(|view| view.commits).unwrap_or(0) / 1000;
    // With idle processors more writers help.
    (shed > 0 && writers(change).is_none()).then(|| {
        look_at(
            "docs/operations/tuning.md",
            format!("{shed} deliveries waited for the database until their deadline, a commit takes {mean} ms: it is too slow, no option helps"),
        )
    })
}

/// Time from which a commit is long, in microseconds.
const LONG_COMMIT: u64 = 50_000;

fn writers(change: &Change<'_>) -> Option<Advice> {
    let mean = change.mean(|view| view.commits)?;
    let now = change.after.options.writers;
    // SQLite has one writer.
    (mean >= LONG_COMMIT && change.is_idle() && now > 1).then(|| {
        turn(
            "dedup.writers",
            now,
            now.saturating_mul(2),
            format!("a commit takes {} ms while processors are idle, as with a database far away; the cost is smaller batches", mean / 1000),
        )
    })
}

fn batch_events(change: &Change<'_>) -> Option<Advice> {
    let (events, commit) = (
        change.mean(|view| view.batches)?,
        change.mean(|view| view.commits)?,
    );
    let now = change.after.options.batch_events;
    (events * 10 >= now * 9 && commit < LONG_COMMIT).then(|| {
        turn(
            "dedup.batch_events",
            now,
            now.saturating_mul(2).min(5000),
            format!("a commit has {events} events, as many as it may; the cost is longer commits"),
        )
    })
}

fn connections(change: &Change<'_>) -> Option<Advice> {
    let PartOf { part, whole } = change.after.connections;
    (part * 10 >= whole * 9 && whole > 0).then(|| {
        turn(
            "server.max_connections",
            whole,
            whole.saturating_mul(2),
            format!("{part} connections are open, and the idlest are closed; raise the limit on open files with it"),
        )
    })
}

fn queue_events(change: &Change<'_>) -> Option<Advice> {
    let dropped = change.count(|view| view.hints_dropped);
    let now = change.after.options.queue_events;
    // A sink that is down, or a pause for a burst, fills any queue.
    let is_held = change.after.yielding || sink_down(change).is_some();
    (dropped > 0 && !is_held).then(|| {
        turn(
            "publisher.queue_events",
            now,
            now.saturating_mul(2),
            format!("{dropped} events found the publisher full and are read back from the outbox, at half the rate; publisher.queue_bytes as well, the cost is memory"),
        )
    })
}

fn longer_yield(change: &Change<'_>) -> Option<Advice> {
    let (confirmed, shed) = (change.count(confirmed), change.all_shed());
    let now = change.after.options.yield_secs;
    (shed > 0 && confirmed > 0 && !change.after.yielding).then(|| {
        turn(
            "publisher.yield_secs",
            now,
            now.saturating_mul(2).max(10),
            format!("{confirmed} events were published while {shed} deliveries got 503: a longer pause answers more of a burst first; the cost is that events reach the queue later"),
        )
    })
}

fn shorter_yield(change: &Change<'_>) -> Option<Advice> {
    let both = change.before.yielding && change.after.yielding;
    let now = change.after.options.yield_secs;
    (both && change.all_shed() == 0).then(|| {
        turn(
            "publisher.yield_secs",
            now,
            now / 2,
            "publishing pauses for a burst, and no delivery got 503: events reach the queue sooner; the cost is 503 sooner".to_owned(),
        )
    })
}

fn confirmed(view: &TopView) -> u64 {
    view.sinks.iter().map(|sink| sink.confirmed).sum()
}

/// Time from which a confirm is long, in microseconds.
const LONG_CONFIRM: u64 = 100_000;

fn channels(change: &Change<'_>) -> Option<Advice> {
    let (before, after) = change.waiting();
    let mean = change.mean(|view| view.confirms)?;
    let now = change.after.options.channels;
    (after > before && mean >= LONG_CONFIRM && change.is_idle()).then(|| {
        turn(
            "publisher.channels",
            now,
            now.saturating_mul(2),
            format!("the outbox grows, and a confirm takes {} ms while processors are idle, as with a broker far away; the cost is more copies after a fault", mean / 1000),
        )
    })
}

fn cache_entries(change: &Change<'_>) -> Option<Advice> {
    let known = change.of_sources(|source| source.duplicate);
    let unanswered = known
        .saturating_sub(change.count(|view| view.cache_hits) + change.count(|view| view.joined));
    let now = change.after.options.cache_entries;
    // A cache that is not full lacks what came before the start.
    let is_full = change.after.cache_entries * 10 >= now * 9;
    (unanswered * 2 > known && is_full).then(|| {
        turn(
            "dedup.cache_entries",
            now,
            now.saturating_mul(2).max(1000),
            format!("{unanswered} of {known} redeliveries were not in the cache and cost a call of the database; the cost is 400 bytes for each entry"),
        )
    })
}

fn unrouted(change: &Change<'_>) -> Option<Advice> {
    let mut sinks = change.after.sinks.iter();
    let found = sinks.find(|sink| sink.unrouted > 0)?;
    Some(look_at(
        "docs/operations/runbook.md#messages-are-unrouted",
        format!(
            "{} messages of sink {} reached no queue: bind a queue for their routing keys, then put them back",
            found.unrouted, found.sink
        ),
    ))
}

fn parked(change: &Change<'_>) -> Option<Advice> {
    let mut sinks = change.after.sinks.iter();
    let found = sinks.find(|sink| sink.parked > 0)?;
    Some(look_at(
        "hookweir parked list",
        format!(
            "sink {} has refused {} events for good: they wait for a decision",
            found.sink, found.parked
        ),
    ))
}

#[cfg(test)]
mod tests;
