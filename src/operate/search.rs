//! Search for a text in the bodies of stored events: bounded in events, bytes and time, and the answer says
//! how much was searched.

use std::collections::HashSet;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::events::view;
use super::views::{EventView, shown};
use super::{ApiProblem, EventQuestion, Operator};
use crate::store::catalog::{EventQuery, EventSummary, LOOK, PAGE};
use crate::store::{AuditAction, AuditEntry, OperatorStore, Seq};

/// Events whose bodies are searched with one question, at most.
const MOST_EVENTS: u64 = LOOK as u64;

/// Bytes of bodies that are searched with one question. The last event may go beyond them.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of bodies that the store searches at once.
const AT_ONCE: u64 = 4 * 1024 * 1024;

/// Looks of the store for events that fit the rest of the question, at most.
const LOOKS: usize = 20;

/// Bytes of the text, at most.
const LONGEST: usize = 1000;

/// Events in an answer, unless the question says another number.
const USUAL_PAGE: usize = 20;

/// Parameters of `GET /api/v1/search`. Every one that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchQuestion {
    /// Text in the body: its bytes, with the same case.
    pub contains: String,
    /// Name of the source.
    pub source: Option<String>,
    /// The provider's type.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Earliest time of receipt, in RFC 3339.
    pub from: Option<String>,
    /// Time of receipt that is too late, in RFC 3339.
    pub to: Option<String>,
    /// Place to go on from: `next` of the answer before.
    pub before: Option<String>,
    /// Number of events wanted.
    pub limit: Option<usize>,
}

/// Events with a text in their bodies, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchView {
    /// The events.
    pub events: Vec<EventView>,
    /// Number of events whose bodies were searched.
    pub searched: u64,
    /// Bytes of those bodies.
    pub searched_bytes: u64,
    /// Time of receipt of the oldest of them. None: no event fits the rest of the question.
    pub oldest: Option<String>,
    /// Place to go on from: older events were not searched. None: all were.
    pub next: Option<String>,
}

impl SearchQuestion {
    /// Returns the parameters that are given.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| limit.to_string());
        let all = [
            ("contains", &Some(self.contains.clone())),
            ("source", &self.source),
            ("type", &self.event_type),
            ("from", &self.from),
            ("to", &self.to),
            ("before", &self.before),
            ("limit", &limit),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }

    fn parse(&self) -> Result<(EventQuery, usize), ApiProblem> {
        if self.contains.is_empty() || self.contains.len() > LONGEST {
            return Err(ApiProblem::bad_question(
                format!("contains has {} bytes", self.contains.len()),
                format!("give a text of 1 to {LONGEST} bytes"),
            ));
        }
        let asked = EventQuestion {
            source: self.source.clone(),
            event_type: self.event_type.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            before: self.before.clone(),
            limit: Some(self.limit.unwrap_or(USUAL_PAGE)),
            ..EventQuestion::default()
        };
        let query = asked.parse()?;
        let limit = query.limit;
        let query = EventQuery {
            limit: PAGE,
            ..query
        };
        Ok((query, limit))
    }

    /// Returns the choice of events for the record. The text is no part of it: it may be somebody's name.
    fn subject(&self) -> String {
        let parts = [
            ("source", &self.source),
            ("type", &self.event_type),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let given = parts
            .into_iter()
            .filter_map(|(name, value)| Some(format!(", {name} {}", value.as_deref()?)));
        let given: String = given.collect();
        format!("bodies of events{given}")
    }
}

impl Operator {
    /// Returns the events with a text in their bodies, as far as the bounds allow. If it cannot be recorded
    /// that `caller` searched, there is no answer.
    pub fn search(&self, asked: &SearchQuestion, caller: &str) -> Result<SearchView, ApiProblem> {
        let (query, limit) = asked.parse()?;
        let mut search = Search {
            store: self.archive.store()?,
            text: asked.contains.as_bytes(),
            limit,
            end: self.half_time(),
            found: SearchView::default(),
        };
        search.run(query)?;
        let found = search.found;
        self.record(AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::SearchBodies,
            subject: asked.subject(),
            count: found.searched,
            reason: None,
        })?;
        Ok(found)
    }
}

/// A search that is under way.
struct Search<'s> {
    store: &'s dyn OperatorStore,
    text: &'s [u8],
    limit: usize,
    end: Instant,
    found: SearchView,
}

impl Search<'_> {
    /// Searches page by page, until the end or a bound.
    fn run(&mut self, mut query: EventQuery) -> Result<(), ApiProblem> {
        for _ in 0..LOOKS {
            let page = self.store.events(&query)?;
            let mut rest = &page.events[..];
            while !rest.is_empty() {
                let (part, more) = rest.split_at(at_once(rest));
                if let Some(place) = self.part(part)? {
                    self.found.next = Some(place.0.to_string());
                    return Ok(());
                }
                rest = more;
            }
            query.before = page.next;
            self.found.next = page.next.map(|place| place.0.to_string());
            if page.next.is_none() || Instant::now() >= self.end {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Searches some events. Returns the place of the last one if a bound is reached.
    fn part(&mut self, events: &[EventSummary]) -> Result<Option<Seq>, ApiProblem> {
        let numbers: Vec<Seq> = events.iter().map(|event| event.seq).collect();
        let with_text = self.store.with_text(&numbers, self.text)?;
        let with_text: HashSet<i64> = with_text.into_iter().map(|seq| seq.0).collect();
        let found = &mut self.found;
        for event in events {
            found.searched += 1;
            found.searched_bytes += event.bytes;
            found.oldest = Some(shown(event.received_at));
            if with_text.contains(&event.seq.0) {
                found.events.push(view(event));
            }
            if found.events.len() >= self.limit || found.searched >= MOST_EVENTS {
                return Ok(Some(event.seq));
            }
        }
        let is_over = found.searched_bytes >= MOST_BYTES || Instant::now() >= self.end;
        Ok(events.last().map(|event| event.seq).filter(|_| is_over))
    }
}

/// Returns the number of events at the front whose bodies are searched at once: one at least.
fn at_once(events: &[EventSummary]) -> usize {
    let mut bytes = 0;
    let within = events.iter().take_while(|event| {
        bytes += event.bytes;
        bytes <= AT_ONCE
    });
    within.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_empty_or_too_long_is_refused_and_the_record_has_no_text() {
        let asked = |contains: &str| SearchQuestion {
            contains: contains.to_owned(),
            source: Some("stripe".into()),
            ..SearchQuestion::default()
        };
        for wrong in ["", &"x".repeat(LONGEST + 1)] {
            let problem = asked(wrong).parse().expect_err("refused");
            assert_eq!(problem.status, 400, "{problem}");
        }
        let asked = asked("Ada Lovelace");
        assert_eq!(asked.parse().expect("a question").1, USUAL_PAGE);
        assert_eq!(asked.subject(), "bodies of events, source stripe");
    }
}
