//! Questions for events, as text: parameters of the API, and how they are understood.

use std::time::Duration;

use serde::Deserialize;

use super::ApiProblem;
use crate::domain::delivery::{MessageId, SourceName, UnixMillis};
use crate::domain::sink::SinkName;
use crate::store::Seq;
use crate::store::catalog::{EventQuery, EventState, PAGE};
use crate::store::cursor::EventPosition;

/// Number of events in a page, unless the question says another.
const USUAL_PAGE: usize = 20;

/// Longest time that a question waits for an event.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Parameters of `GET /api/v1/events`. Every one that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuestion {
    /// Name of the source.
    pub source: Option<String>,
    /// The provider's id.
    pub event_id: Option<String>,
    /// Id of the message.
    pub message_id: Option<String>,
    /// The provider's type.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Earliest time of receipt, in RFC 3339.
    pub from: Option<String>,
    /// Time of receipt that is too late, in RFC 3339.
    pub to: Option<String>,
    /// `waiting`, `parked` or `published`; with a sink, the state there.
    pub state: Option<String>,
    /// Name of a sink that has a row of the event.
    pub sink: Option<String>,
    /// Place to go on from: `next` of the page before.
    pub before: Option<String>,
    /// EventPosition: events after it, the oldest first. `next` of the answer before, or 0: without gaps.
    /// After `position` of an event, or the header `x-hookweir-position` of a message, an event with a lower
    /// number may appear: step back, and leave out message ids that you know.
    pub after: Option<String>,
    /// With `after`: time to wait for an event if there is none yet, in milliseconds.
    pub wait_ms: Option<u64>,
    /// Number of events wanted.
    pub limit: Option<usize>,
}

impl EventQuestion {
    /// Returns the parameters that are given, with their names.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| limit.to_string());
        let wait = self.wait_ms.map(|wait| wait.to_string());
        let all = [
            ("source", &self.source),
            ("event_id", &self.event_id),
            ("message_id", &self.message_id),
            ("type", &self.event_type),
            ("from", &self.from),
            ("to", &self.to),
            ("state", &self.state),
            ("sink", &self.sink),
            ("before", &self.before),
            ("after", &self.after),
            ("wait_ms", &wait),
            ("limit", &limit),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }

    /// Returns the position after which events are wanted.
    pub(super) fn position(&self) -> Result<Option<EventPosition>, ApiProblem> {
        let Some(after) = &self.after else {
            return match self.wait_ms {
                None => Ok(None),
                Some(_) => Err(ApiProblem::bad_question(
                    "wait_ms is given without after",
                    "give after=0, or a position",
                )),
            };
        };
        if self.before.is_some() {
            return Err(ApiProblem::bad_question(
                "after and before are given together",
                "give after for the oldest first, or before for the newest first",
            ));
        }
        let position = EventPosition::parse(after);
        position.map(Some).ok_or_else(|| {
            ApiProblem::bad_question(
                format!("after: \"{}\" is no position", after.escape_debug()),
                "give `next` of the answer before, `position` of an older event, or 0",
            )
        })
    }

    /// Returns the time to wait for the first event.
    pub fn wait(&self) -> Duration {
        let wait = Duration::from_millis(self.wait_ms.unwrap_or(0));
        wait.min(LONGEST_WAIT)
    }

    /// Returns the question as the store understands it.
    pub(super) fn parse(&self) -> Result<EventQuery, ApiProblem> {
        let limit = self.limit.unwrap_or(USUAL_PAGE);
        if !(1..=PAGE).contains(&limit) {
            let next = format!("ask for 1 to {PAGE} events, and go on with `before`");
            return Err(ApiProblem::bad_question(format!("limit is {limit}"), next));
        }
        Ok(EventQuery {
            source: self.source.as_deref().map(source).transpose()?,
            event_id: self.event_id.as_deref().map(text).transpose()?,
            event_type: self.event_type.as_deref().map(text).transpose()?,
            message: self.message_id.as_deref().map(message).transpose()?,
            from: self
                .from
                .as_deref()
                .map(|at| time("from", at))
                .transpose()?,
            until: self.to.as_deref().map(|at| time("to", at)).transpose()?,
            state: self.state.as_deref().map(state).transpose()?,
            sink: self.sink.as_deref().map(sink).transpose()?,
            before: self
                .before
                .as_deref()
                .map(|at| place("before", at))
                .transpose()?,
            limit,
        })
    }
}

/// Returns an id or a type. PostgreSQL refuses a text with a NUL.
pub(super) fn text(text: &str) -> Result<String, ApiProblem> {
    if text.contains('\0') {
        let next = "give the id or the type as `hookweir events` shows it";
        let detail = format!("\"{}\" has a NUL character", text.escape_debug());
        return Err(ApiProblem::bad_question(detail, next));
    }
    Ok(text.to_owned())
}

/// Returns the name of a source.
pub(super) fn source(name: &str) -> Result<SourceName, ApiProblem> {
    let next = "`hookweir sources` lists the sources";
    SourceName::parse(name).map_err(|why| ApiProblem::bad_question(format!("source: {why}"), next))
}

pub(super) fn sink(name: &str) -> Result<SinkName, ApiProblem> {
    let next = "`hookweir sinks` lists the sinks";
    SinkName::parse(name).map_err(|why| ApiProblem::bad_question(format!("sink: {why}"), next))
}

fn message(id: &str) -> Result<MessageId, ApiProblem> {
    MessageId::parse(id).ok_or_else(|| {
        ApiProblem::bad_question(
            format!("message_id: \"{}\" is no UUID", id.escape_debug()),
            "give the provider's id as event_id, or the message id as the queue shows it",
        )
    })
}

fn state(word: &str) -> Result<EventState, ApiProblem> {
    EventState::parse(word).ok_or_else(|| {
        ApiProblem::bad_question(
            format!("state: there is no state \"{}\"", word.escape_debug()),
            "give waiting, parked or published",
        )
    })
}

pub(super) fn place(name: &str, text: &str) -> Result<Seq, ApiProblem> {
    let number = text.parse().map(Seq);
    number.map_err(|_| {
        ApiProblem::bad_question(
            format!(
                "{name}: \"{}\" is no place in the list",
                text.escape_debug()
            ),
            "give `next` of the answer before, unchanged",
        )
    })
}

/// Returns the time of a parameter, if it is given.
pub(super) fn time_if(name: &str, text: Option<&str>) -> Result<Option<UnixMillis>, ApiProblem> {
    text.map(|text| time(name, text)).transpose()
}

fn time(name: &str, text: &str) -> Result<UnixMillis, ApiProblem> {
    let at = text.parse::<jiff::Timestamp>();
    let at = at.map_err(|_| {
        ApiProblem::bad_question(
            format!("{name}: \"{}\" is no time", text.escape_debug()),
            "give a time with its zone, such as 2026-11-28T09:30:00Z",
        )
    })?;
    Ok(UnixMillis(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_cannot_be_understood_is_named_with_what_to_give() {
        let wrong = |set: fn(&mut EventQuestion)| {
            let mut question = EventQuestion::default();
            set(&mut question);
            let problem = question.parse().expect_err("wrong");
            assert_eq!(problem.status, 400);
            problem.to_string()
        };
        let text = wrong(|question| question.state = Some("lost".into()));
        assert!(
            text.contains("\"lost\"") && text.contains("parked"),
            "{text}"
        );
        let text = wrong(|question| question.from = Some("yesterday".into()));
        assert!(text.starts_with("from: \"yesterday\""), "{text}");
        let text = wrong(|question| question.message_id = Some("evt_1".into()));
        assert!(text.contains("event_id"), "{text}");
        let text = wrong(|question| question.limit = Some(PAGE + 1));
        assert!(text.contains("1 to 500"), "{text}");
        let text = wrong(|question| question.before = Some("7.5".into()));
        assert!(text.contains("no place"), "{text}");
        let text = wrong(|question| question.source = Some("A b".into()));
        assert!(text.contains("hookweir sources"), "{text}");
    }

    #[test]
    fn a_position_that_is_none_or_stands_beside_another_place_is_refused() {
        let position = |after: Option<&str>, before: Option<&str>, wait_ms| {
            let question = EventQuestion {
                after: after.map(str::to_owned),
                before: before.map(str::to_owned),
                wait_ms,
                ..EventQuestion::default()
            };
            question.position().map_err(|problem| problem.to_string())
        };
        assert_eq!(position(None, Some("7"), None), Ok(None));
        assert_eq!(
            position(Some("0"), None, Some(1)),
            Ok(Some(EventPosition::START))
        );
        for (after, before, wait) in [
            (Some("seven"), None, None),
            (Some("0"), Some("7"), None),
            (None, None, Some(1)),
        ] {
            assert!(
                position(after, before, wait).is_err(),
                "{after:?} {before:?}"
            );
        }
    }

    #[test]
    fn the_parameters_that_a_client_sends_are_those_that_the_api_reads() {
        let question = EventQuestion {
            event_type: Some("order.paid".into()),
            to: Some("2026-11-28T09:30:00.5Z".into()),
            limit: Some(7),
            ..EventQuestion::default()
        };
        let names: Vec<_> = question.parameters();
        assert_eq!(names[0], ("type", "order.paid".to_owned()));
        let query = question.parse().expect("a question");
        assert_eq!(query.until, Some(UnixMillis(1_795_858_200_500)));
        assert_eq!(
            (query.limit, query.event_type.as_deref()),
            (7, Some("order.paid"))
        );
    }
}
