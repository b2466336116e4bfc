//! Rows that a job reads, the same on both databases.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::Seq;
use super::republish::{Job, JobId, JobState, LONG_PAUSE, NewJob, Stepped, pause};
use crate::domain::delivery::UnixMillis;
use crate::domain::sink::SinkName;

/// The highest number of the next events, and their count.
pub(super) const LOOKED_UP: &str = "
    SELECT max(seq) AS highest, count(*) AS count
    FROM (SELECT seq FROM event WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) AS looked";

/// Cancels a job that runs.
pub(super) const CANCEL: &str = "
    UPDATE republish_job SET state = 'cancelled' WHERE id = $1 AND state = 'running'";

#[derive(QueryableByName)]
pub(super) struct LookedUpRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) highest: Option<i64>,
    #[diesel(sql_type = BigInt)]
    pub(super) count: i64,
}

/// A job, for an operator.
#[derive(QueryableByName)]
pub(super) struct JobRow {
    #[diesel(sql_type = Binary)]
    id: Vec<u8>,
    #[diesel(sql_type = Text)]
    caller: String,
    #[diesel(sql_type = Text)]
    choice: String,
    #[diesel(sql_type = BigInt)]
    pace: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    expected: Option<i64>,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    created: i64,
    #[diesel(sql_type = BigInt)]
    changed: i64,
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = BigInt)]
    copies: i64,
    #[diesel(sql_type = BigInt)]
    reached: i64,
}

impl JobRow {
    /// Returns the job. None if its id is none.
    pub(super) fn into_job(self) -> Option<Job> {
        Some(Job {
            new: NewJob {
                id: JobId::stored(Some(&self.id))?,
                caller: self.caller,
                choice: self.choice,
                pace: u32::try_from(self.pace).unwrap_or(u32::MAX),
                expected: self.expected.map(i64::unsigned_abs),
            },
            state: JobState::stored(&self.state),
            created_at: UnixMillis(self.created),
            changed_at: UnixMillis(self.changed),
            events: self.events.unsigned_abs(),
            copies: self.copies.unsigned_abs(),
            reached: Seq(self.reached),
        })
    }
}

/// Place of a job that runs.
#[derive(QueryableByName)]
pub(super) struct StepRow {
    #[diesel(sql_type = BigInt)]
    pub(super) pace: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) after_seq: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) until_seq: i64,
    /// Time until the next step is due, in milliseconds.
    #[diesel(sql_type = BigInt)]
    pub(super) due_in: i64,
}

impl StepRow {
    /// Returns the events in a second.
    pub(super) fn pace(&self) -> u32 {
        u32::try_from(self.pace).unwrap_or(u32::MAX)
    }

    /// Returns the time until the step is due. None if the clock was set back: the step is due then.
    pub(super) fn wait(&self) -> Option<Duration> {
        let wait = Duration::from_millis(u64::try_from(self.due_in).unwrap_or(0));
        (!wait.is_zero() && wait <= LONG_PAUSE).then_some(wait)
    }

    /// Returns the pause after this step, which has found so many events.
    pub(super) fn pause(&self, events: usize) -> Duration {
        let late = u64::try_from(self.due_in.saturating_neg()).unwrap_or(0);
        pause(events, self.pace(), Duration::from_millis(late))
    }

    /// Returns the result of the step.
    pub(super) fn stepped(state: JobState, pause: Duration) -> Stepped {
        match state {
            JobState::Running => Stepped::DueIn(pause),
            JobState::Done | JobState::Cancelled => Stepped::Ended,
        }
    }
}

/// A row for the outbox: number, sink and order key.
pub(super) type Copied = (i64, SinkName, Option<i64>);

/// Defines what a connection of this type reads for a job. `$load` returns an event with its body.
macro_rules! republish_reads {
    ($connection:ty, $load:path) => {
        /// Returns the next events of a choice with a number above `after`, up to `until`.
        fn read_next(
            connection: &mut $connection,
            choice: &republish::Choice,
            (after, until): (i64, i64),
            limit: usize,
        ) -> QueryResult<republish::NextEvents> {
            match &choice.numbers {
                Some(numbers) => read_numbers(connection, numbers, after, limit),
                None => read_oldest(connection, &choice.query, (after, until), limit),
            }
        }

        /// Returns the next events that fit the question, out of a bounded number. The events that do
        /// not fit are counted only if those that do are too few.
        pub(super) fn read_oldest(
            connection: &mut $connection,
            query: &EventQuery,
            (after, until): (i64, i64),
            limit: usize,
        ) -> QueryResult<republish::NextEvents> {
            let look = i64::try_from(LOOK).unwrap_or(i64::MAX);
            let (mut events, near) = (Vec::new(), after.saturating_add(look).min(until));
            let next = read_up_to(connection, query, (after, near), limit, &mut events)?;
            if next.is_some() {
                return Ok(republish::NextEvents { events, next });
            }
            let looked: LookedUpRow = sql_query(LOOKED_UP)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(until)
                .bind::<BigInt, _>(look)
                .get_result(connection)?;
            // Numbers may be far apart.
            let highest = looked.highest.unwrap_or(near);
            let next = read_up_to(connection, query, (near, highest), limit, &mut events)?;
            let next = next.or_else(|| (looked.count == look).then_some(Seq(highest)));
            Ok(republish::NextEvents { events, next })
        }

        /// Adds events with a number above `after`, up to `highest`, until there are `limit`. Returns the
        /// number of the last one then.
        fn read_up_to(
            connection: &mut $connection,
            query: &EventQuery,
            (mut after, highest): (i64, i64),
            limit: usize,
            events: &mut Vec<EventSummary>,
        ) -> QueryResult<Option<Seq>> {
            // Rows at sinks are read after the events: as many events as fit the rest are read in parts.
            let part = if query.asks_for_rows() { PAGE } else { limit };
            while after < highest {
                let range = (after.saturating_add(1), highest.saturating_add(1));
                let found = catalog::read_part(connection, OLDEST_EVENTS, query, range, part)?;
                let (full, last) = (found.len() == part, found.last().map(SummaryRow::seq));
                let fitting = with_rows(connection, found, query)?.into_iter();
                let room = limit.saturating_sub(events.len());
                events.extend(fitting.filter(|event| query.fits_rows(event)).take(room));
                if events.len() >= limit {
                    return Ok(events.last().map(|event| event.seq));
                }
                after = match last {
                    Some(last) if full => last,
                    _ => return Ok(None),
                };
            }
            Ok(None)
        }

        /// Returns the events with the next numbers, without those that are gone.
        fn read_numbers(
            connection: &mut $connection,
            numbers: &[Seq],
            after: i64,
            limit: usize,
        ) -> QueryResult<republish::NextEvents> {
            let all = EventQuery::default();
            let rest = numbers.partition_point(|number| number.0 <= after);
            let rest = numbers.get(rest..).unwrap_or_default();
            let mut events = Vec::new();
            for number in rest.iter().take(limit) {
                let range = (number.0, number.0.saturating_add(1));
                let found = catalog::read_part(connection, OLDEST_EVENTS, &all, range, 1)?;
                events.extend(with_rows(connection, found, &all)?);
            }
            let next = (rest.len() > limit).then(|| rest.get(limit - 1).copied());
            Ok(republish::NextEvents {
                events,
                next: next.flatten(),
            })
        }

        /// Returns the events with their rows at the sinks, without those whose message id is another.
        fn with_rows(
            connection: &mut $connection,
            found: Vec<SummaryRow>,
            query: &EventQuery,
        ) -> QueryResult<Vec<EventSummary>> {
            let (Some(first), Some(last)) = (found.first(), found.last()) else {
                return Ok(Vec::new());
            };
            let mut at = catalog::read_at_sinks(connection, (first.seq(), last.seq()))?;
            let is_meant = |row: &SummaryRow| query.message.is_none_or(|message| row.has(message));
            let meant = found.into_iter().filter(is_meant);
            meant.map(|row| row.with(&mut at)).collect()
        }

        /// Returns the rows for the outbox that these events need.
        fn copies(
            connection: &mut $connection,
            events: &[EventSummary],
            to: Option<&SinkName>,
            sinks: &Sinks,
        ) -> QueryResult<Vec<Copied>> {
            let mut copies = Vec::new();
            for event in events {
                let Ok(source) = SourceName::parse(&event.source) else {
                    continue;
                };
                let wanting = sinks.wanting(&source, event.event_type.as_deref());
                let body = match sinks.is_ordered() {
                    true => $load(connection, event.seq.0)?,
                    false => None,
                };
                let of_sinks: Vec<_> = match &body {
                    Some(row) => sinks
                        .order_keys(wanting, &source, &row.body, &row.message)
                        .collect(),
                    None => sinks.names(wanting).map(|sink| (sink, None)).collect(),
                };
                for (sink, key) in of_sinks {
                    let is_parked = event.parked.iter().any(|row| row.sink == *sink);
                    if to.is_none_or(|to| to == sink) && !is_parked {
                        let key = key.map(|OrderKey(key)| key);
                        copies.push((event.seq.0, sink.clone(), key));
                    }
                }
            }
            Ok(copies)
        }
    };
}
pub(super) use republish_reads;
