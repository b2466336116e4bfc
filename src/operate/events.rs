//! Events: lists, one by its name, and its way to the sinks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::views::{EventList, EventView, SinkState, SinkView, TraceView, shown};
use super::{ApiProblem, EventQuestion, Operator, question};
use crate::domain::delivery::{DedupKey, MessageId, SourceName, wall_clock};
use crate::store::catalog::{EventName, EventQuery, EventSummary, LOOK};
use crate::store::cursor::{EventPosition, Followed};
use crate::store::trace::{EventTrace, Traced};
use crate::store::{Catalog, Seq};

/// Events that are listed if a name fits several.
const LISTED: usize = 10;

/// Difference between the clocks of instances and of the database, at most.
const SKEW: Duration = Duration::from_secs(3600);

impl Operator {
    /// Returns a page of the events that fit the question: the newest first, or those after a position,
    /// the oldest first.
    pub fn events(&self, question: &EventQuestion) -> Result<EventList, ApiProblem> {
        let query = question.parse()?;
        if let Some(after) = question.position()? {
            return self.events_after(&query, after);
        }
        let page = self.archive.catalog()?.events(&query)?;
        Ok(EventList {
            events: page.events.iter().map(view).collect(),
            more: page.next.is_some(),
            next: page.next.map(|seq| seq.0.to_string()),
            after_deleted: false,
        })
    }

    /// Returns the events after a position.
    fn events_after(
        &self,
        query: &EventQuery,
        after: EventPosition,
    ) -> Result<EventList, ApiProblem> {
        match self.archive.store()?.events_after(query, after)? {
            Followed::By(followers) => {
                let has_moved = followers.next != after;
                let is_old = has_moved && self.is_older_than_kept(after)?;
                Ok(EventList {
                    events: followers.events.iter().map(view).collect(),
                    more: followers.more,
                    next: Some(followers.next.to_string()),
                    after_deleted: followers.after_deleted || is_old,
                })
            }
            Followed::AnotherHistory => Err(another_history(after)),
        }
    }

    /// Returns `true` if the event at this place is still stored, and was received so long ago that later
    /// ones may have been deleted: it waits, is parked, or was published again. No later one was confirmed
    /// before it was received.
    fn is_older_than_kept(&self, place: EventPosition) -> Result<bool, ApiProblem> {
        let found = by_number(self.archive.catalog()?, place.number())?;
        let kept = self.archive.config.keep_events.saturating_sub(SKEW);
        let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        let oldest = wall_clock().0.saturating_sub(kept);
        Ok(found.is_some_and(|event| event.received_at.0 < oldest))
    }

    /// Returns the event with this message id or provider's id.
    pub fn event(&self, name: &str, source: Option<&str>) -> Result<EventView, ApiProblem> {
        Ok(view(&self.find(name, source)?))
    }

    /// Returns the way of the event with this message id or provider's id.
    pub fn trace(&self, name: &str, source: Option<&str>) -> Result<TraceView, ApiProblem> {
        let event = self.find(name, source)?;
        let rows = self.archive.catalog()?.trace(Traced {
            seq: event.seq,
            received_at: event.received_at,
        })?;
        let jobs = self.chosen_by(&event);
        let mut view = view(&event);
        view.sinks = self.sinks_of(&event, &rows);
        Ok(TraceView {
            event: view,
            number: event.seq.0,
            confirmed_at: rows.confirmed_at.iter().copied().map(shown).collect(),
            jobs_unknown: jobs.is_none(),
            chosen_by: jobs.unwrap_or_default(),
        })
    }

    /// Returns the only event with this name. The key of an event leads to it at once. Events whose key
    /// has expired, or is made of more than the id, are searched for until half of the time to answer is
    /// over.
    pub(super) fn find(
        &self,
        name: &str,
        source: Option<&str>,
    ) -> Result<EventSummary, ApiProblem> {
        self.find_until(name, source, self.half_time())
    }

    /// Returns all events of a source with this name, and the numbers by which the store knows it. An event
    /// may be gone, and its number be known.
    pub(super) fn all_named(
        &self,
        name: &str,
        source: &SourceName,
    ) -> Result<(Vec<EventSummary>, Vec<Seq>), ApiProblem> {
        let catalog = self.archive.catalog()?;
        let mut numbers = self.numbers(catalog, name, Some(source))?;
        let mut events = Vec::new();
        for number in &numbers {
            events.extend(by_number(catalog, *number)?);
        }
        if numbers.is_empty() {
            events = search(catalog, name, Some(source), self.half_time())?;
            numbers = events.iter().map(|event| event.seq).collect();
        }
        let foreign = |event: &EventSummary| event.source != source.as_str();
        numbers.retain(|number| {
            !events
                .iter()
                .any(|event| event.seq == *number && foreign(event))
        });
        events.retain(|event| !foreign(event));
        Ok((events, numbers))
    }

    /// Returns the time at which half of the time to answer is over.
    pub(super) fn half_time(&self) -> Instant {
        Instant::now() + self.archive.patience() / 2
    }

    /// Does as [`Operator::find`] does, and searches until `end`.
    pub(super) fn find_until(
        &self,
        name: &str,
        source: Option<&str>,
        end: Instant,
    ) -> Result<EventSummary, ApiProblem> {
        let source = source.map(question::source).transpose()?;
        let catalog = self.archive.catalog()?;
        let numbers = self.numbers(catalog, name, source.as_ref())?;
        let mut found = Vec::new();
        for number in &numbers {
            found.extend(by_number(catalog, *number)?);
        }
        if found.is_empty() && numbers.is_empty() {
            found = search(catalog, name, source.as_ref(), end)?;
        }
        match found.len() {
            1 => found.pop().ok_or_else(|| gone(name)),
            0 => Err(gone(name)),
            _ => Err(several(name, &found)),
        }
    }

    /// Returns the numbers of events whose keys are made of this name.
    fn numbers(
        &self,
        catalog: &dyn Catalog,
        name: &str,
        source: Option<&SourceName>,
    ) -> Result<Vec<Seq>, ApiProblem> {
        if let Some(message) = MessageId::parse(name)
            && let Some(number) = catalog.number_of(EventName::Message(message))?
        {
            return Ok(vec![number]);
        }
        let sources = self.sources.load();
        let configured = sources.iter().map(|known| &known.name);
        let all = configured.filter(|_| source.is_none()).chain(source);
        let mut numbers = Vec::new();
        for source in all {
            let key = DedupKey::new(source, "id", &[name.as_bytes()]);
            numbers.extend(catalog.number_of(EventName::Key(key))?);
        }
        Ok(numbers)
    }

    /// Returns the event's state at each sink: those that have a row, and those that it went to by the
    /// configuration.
    fn sinks_of(&self, event: &EventSummary, rows: &EventTrace) -> Vec<SinkView> {
        let mut sinks = BTreeMap::new();
        if let Ok(source) = SourceName::parse(&event.source) {
            let wanting = self.sinks.wanting(&source, event.event_type.as_deref());
            let all = self.sinks.iter().enumerate();
            for (_, sink) in all.filter(|(position, _)| wanting.has(*position)) {
                sinks.insert(sink.as_str(), row(sink.as_str(), SinkState::Confirmed));
            }
        }
        for waits in &rows.waiting {
            let name = waits.sink.as_str();
            let view = SinkView {
                attempts: Some(waits.attempts),
                since: Some(shown(waits.since)),
                next_attempt: Some(shown(waits.due)),
                ..row(name, SinkState::Waiting)
            };
            sinks.insert(name, view);
        }
        for parked in &rows.parked {
            let name = parked.sink.as_str();
            let view = SinkView {
                since: Some(shown(parked.at)),
                reason: Some(parked.reason.clone()),
                ..row(name, SinkState::Parked)
            };
            sinks.insert(name, view);
        }
        let mut sinks: Vec<SinkView> = sinks.into_values().collect();
        confirmed(&mut sinks, rows);
        sinks
    }
}

/// Reads events from the newest on, until one with this name is found or the time is over.
fn search(
    catalog: &dyn Catalog,
    name: &str,
    source: Option<&SourceName>,
    end: Instant,
) -> Result<Vec<EventSummary>, ApiProblem> {
    let mut query = EventQuery {
        source: source.cloned(),
        limit: LISTED,
        ..EventQuery::default()
    };
    match MessageId::parse(name) {
        Some(message) => query.message = Some(message),
        None => query.event_id = Some(question::text(name)?),
    }
    let mut read = 0;
    loop {
        let page = catalog.events(&query)?;
        read += LOOK;
        query.before = page.next;
        match page.next {
            _ if !page.events.is_empty() => return Ok(page.events),
            None if query.message.take().is_some() => {
                // A provider's ids can be UUIDs, too.
                query.event_id = Some(name.to_owned());
            }
            None => return Err(unknown(name)),
            Some(_) if Instant::now() >= end => return Err(not_yet(name, read)),
            Some(_) => {}
        }
    }
}

/// Completes the sinks that have no row by the confirms that were found.
fn confirmed(sinks: &mut [SinkView], rows: &EventTrace) {
    let without_row = |sink: &&mut SinkView| sink.state == SinkState::Confirmed;
    let count = sinks.iter_mut().filter(without_row).count();
    for sink in sinks.iter_mut().filter(without_row) {
        if rows.confirmed_at.len() < count {
            sink.state = SinkState::Unknown;
        } else if let [only] = rows.confirmed_at[..] {
            sink.since = Some(shown(only));
        }
    }
}

fn row(sink: &str, state: SinkState) -> SinkView {
    SinkView {
        sink: sink.to_owned(),
        state,
        attempts: None,
        since: None,
        next_attempt: None,
        reason: None,
    }
}

pub(super) fn view(event: &EventSummary) -> EventView {
    let waiting = event.waiting.iter().map(|waits| SinkView {
        attempts: Some(waits.attempts),
        ..row(waits.sink.as_str(), SinkState::Waiting)
    });
    let parked = event.parked.iter().map(|parked| SinkView {
        reason: Some(parked.reason.clone()),
        ..row(parked.sink.as_str(), SinkState::Parked)
    });
    EventView {
        position: EventPosition::of(event.seq, event.message_id).to_string(),
        message_id: event.message_id.to_string(),
        source: event.source.clone(),
        event_id: event.event_id.clone(),
        event_type: event.event_type.clone(),
        content_type: event.content_type.clone(),
        received_at: shown(event.received_at),
        bytes: event.bytes,
        verified_by: event.verified_by.clone(),
        state: event.state(),
        conflict_of: event.marks.conflict_of.map(|id| id.to_string()),
        same_bytes_as: event.marks.same_bytes_as.map(|id| id.to_string()),
        sinks: waiting.chain(parked).collect(),
    }
}

/// Returns the event with this number. Its body is not read.
pub(super) fn by_number(
    catalog: &dyn Catalog,
    number: Seq,
) -> Result<Option<EventSummary>, ApiProblem> {
    let query = EventQuery {
        before: Some(Seq(number.0.saturating_add(1))),
        limit: 1,
        ..EventQuery::default()
    };
    let page = catalog.events(&query)?;
    Ok(page.events.into_iter().find(|event| event.seq == number))
}

pub(super) fn gone(name: &str) -> ApiProblem {
    ApiProblem::not_found(
        format!(
            "the event \"{}\" was accepted, and is not in the store any more",
            name.escape_debug()
        ),
        "published events are kept for store.keep_events_days; look for it behind the sink",
    )
}

fn another_history(after: EventPosition) -> ApiProblem {
    ApiProblem::conflict(
        format!(
            "after: the store has no such event as {after}: it was restored, or has lost events"
        ),
        "read again from after=0, or from an older position that you have, and leave out message ids that you know",
    )
}

fn unknown(name: &str) -> ApiProblem {
    ApiProblem::not_found(
        format!("no event has the id \"{}\"", name.escape_debug()),
        "`hookweir sources` shows deliveries that were refused; an event that was accepted long ago is deleted after store.keep_events_days",
    )
}

fn not_yet(name: &str, read: usize) -> ApiProblem {
    ApiProblem::not_found(
        format!(
            "no event of the newest {read} has the id \"{}\"",
            name.escape_debug()
        ),
        "`hookweir events --id ID` reads all events; --source, --from and --to make it shorter",
    )
}

fn several(name: &str, found: &[EventSummary]) -> ApiProblem {
    let listed = found.iter().take(LISTED);
    let listed: Vec<String> = listed
        .map(|event| format!("{} of source {}", event.message_id, event.source))
        .collect();
    ApiProblem::ambiguous(
        format!(
            "several events have the id \"{}\": {}",
            name.escape_debug(),
            listed.join(", ")
        ),
        "give one of these message ids, or the source",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::UnixMillis;

    fn sinks_after(times: &[i64]) -> [(SinkState, bool); 2] {
        let mut sinks = ["a", "b"].map(|name| row(name, SinkState::Confirmed));
        let rows = EventTrace {
            confirmed_at: times.iter().copied().map(UnixMillis).collect(),
            ..EventTrace::default()
        };
        confirmed(&mut sinks, &rows);
        sinks.map(|sink| (sink.state, sink.since.is_some()))
    }

    #[test]
    fn a_sink_without_a_row_is_called_confirmed_only_if_there_are_confirms_for_all() {
        assert_eq!(sinks_after(&[]), [(SinkState::Unknown, false); 2]);
        assert_eq!(sinks_after(&[7]), [(SinkState::Unknown, false); 2]);
        let both = sinks_after(&[7, 8]);
        assert_eq!(both, [(SinkState::Confirmed, false); 2]);
    }

    #[test]
    fn the_time_of_a_confirm_is_that_of_the_only_sink() {
        let mut sinks = [row("a", SinkState::Confirmed), row("b", SinkState::Waiting)];
        let rows = EventTrace {
            confirmed_at: vec![UnixMillis(7)],
            ..EventTrace::default()
        };
        confirmed(&mut sinks, &rows);
        let [a, b] = sinks;
        assert_eq!(a.since.as_deref(), Some("1970-01-01T00:00:00.007Z"));
        assert_eq!((b.state, b.since), (SinkState::Waiting, None));
    }
}
