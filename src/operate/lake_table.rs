//! Reading the table of the lakehouse for an operator, within bounds of time and events.

use std::time::{Duration, Instant};

use super::lakehouse::{
    LakeBacklogView, LakeComparisonView, LakeCountsView, LakeHourView, LakeTableView, LakehouseView,
};
use super::views::shown;
use super::{ApiProblem, Operator};
use crate::domain::delivery::{MessageId, SourceName, UnixMillis, wall_clock};
use crate::lakehouse::comparison::{Comparison, HOUR, RowCounts};
use crate::lakehouse::tools::{TableStatus, Unread, backlog, look, rows_within};
use crate::store::catalog::{EventQuery, EventSummary, PAGE};

/// Events and rows that one comparison holds in memory, at most.
const MOST: usize = 100_000;
/// Hours of sources that are listed, at most.
const HOURS: usize = 1000;
/// Age below which events may be on their way.
const ON_THEIR_WAY: i64 = 60_000;
/// Milliseconds of a day.
const DAY: i64 = 24 * HOUR;

impl Operator {
    /// Returns the view with the state of the table, and what waits in the sink.
    pub(super) fn with_table(&self, view: LakehouseView) -> Result<LakehouseView, ApiProblem> {
        let patience = self.archive.patience() / 2;
        let table = look(&self.configured, patience).map_err(|error| unread(&error))?;
        let Some(table) = table else {
            return Ok(view);
        };
        Ok(LakehouseView {
            table: Some(table_view(&table)),
            waiting: backlog(&self.configured).ok().map(backlog_view),
            ..view
        })
    }

    /// Compares the last `hours`, within half of the time to answer for each side.
    pub(super) fn compared(&self, hours: u64) -> Result<LakeComparisonView, ApiProblem> {
        let until = wall_clock().0.saturating_sub(ON_THEIR_WAY);
        let span = i64::try_from(hours)
            .unwrap_or(i64::MAX)
            .saturating_mul(HOUR);
        let (from, until) = (UnixMillis(until.saturating_sub(span)), UnixMillis(until));
        let patience = self.archive.patience() / 2;
        let mut comparison = Comparison::default();
        self.take_events(&mut comparison, (from, until), patience)?;
        let mut is_full = false;
        let read = rows_within(&self.configured, (from, until), patience, |row| {
            is_full |= comparison.held() >= MOST;
            if !is_full {
                comparison.row(&row);
            }
        });
        let read = read.map_err(|error| unread(&error))?;
        match read {
            Some(_) if is_full => Err(too_many()),
            None => Err(too_many()),
            Some(table) => Ok(comparison_view(comparison, table, (from, until))),
        }
    }

    /// Takes the events of the store that go to the sink of the lakehouse.
    fn take_events(
        &self,
        comparison: &mut Comparison,
        (from, until): (UnixMillis, UnixMillis),
        patience: Duration,
    ) -> Result<(), ApiProblem> {
        let (catalog, end) = (self.archive.catalog()?, Instant::now() + patience);
        let sink = &self.configured.lakehouse_sink().name;
        let goes_there = |event: &&EventSummary| {
            SourceName::parse(&event.source).is_ok_and(|source| {
                let wanting = self.sinks.wanting(&source, event.event_type.as_deref());
                self.sinks.names(wanting).any(|name| name == sink)
            })
        };
        let mut query = EventQuery {
            from: Some(from),
            until: Some(until),
            limit: PAGE,
            ..EventQuery::default()
        };
        loop {
            let page = catalog.events(&query)?;
            let events = page.events.iter().filter(goes_there);
            events.for_each(|event| comparison.event(event, sink));
            if page.next.is_none() {
                return Ok(());
            }
            if comparison.held() >= MOST || Instant::now() >= end {
                return Err(too_many());
            }
            query.before = page.next;
        }
    }
}

fn unread(error: &str) -> ApiProblem {
    ApiProblem::unavailable(
        format!("cannot read the table of the lakehouse: {error}"),
        "deliveries go on. Look at the line lakehouse of /readyz, and at `hookweir lakehouse show` as the owner of its files",
    )
}

fn too_many() -> ApiProblem {
    ApiProblem::unavailable(
        format!(
            "there are more than {MOST} events, or more than can be read in half of admin.timeout_ms: nothing was compared"
        ),
        "ask for fewer hours, or run `hookweir lakehouse compare`, which takes its time",
    )
}

fn table_view(table: &TableStatus) -> LakeTableView {
    let time = |at: Option<i64>| at.map(|at| shown(UnixMillis(at)));
    let day = |day: i32| {
        let time = shown(UnixMillis(i64::from(day).saturating_mul(DAY)));
        time.chars().take(10).collect::<String>()
    };
    LakeTableView {
        location: table.location.clone(),
        rows: table.rows,
        first_day: table.days.map(|(first, _)| day(first)),
        last_day: table.days.map(|(_, last)| day(last)),
        files: table.files as u64,
        small_files: table.small_files as u64,
        bytes: table.bytes,
        versions: table.versions as u64,
        metadata_bytes: table.metadata_bytes,
        last_commit: time(table.last_commit.map(|at| at.0)),
        newest_event: time(table.newest.map(|at| at.0)),
        has_deletes: table.has_deletes,
    }
}

fn backlog_view(unread: Unread) -> LakeBacklogView {
    let (count, unit) = match unread {
        Unread::Bytes(bytes) => (bytes, "bytes"),
        Unread::Messages(messages) => (u64::from(messages), "messages"),
        Unread::Records(records) => (records, "records"),
    };
    LakeBacklogView {
        count,
        unit: unit.to_owned(),
    }
}

fn comparison_view(
    mut comparison: Comparison,
    table: bool,
    (from, until): (UnixMillis, UnixMillis),
) -> LakeComparisonView {
    let mut view = LakeComparisonView {
        table,
        from: shown(from),
        until: shown(until),
        ..LakeComparisonView::default()
    };
    if !table {
        return view;
    }
    let ids = comparison.finish();
    let mut all = RowCounts::default();
    for ((source, hour), counts) in comparison.by_place() {
        all.add(counts);
        if (counts.differs() || counts.waiting > 0) && view.differing.len() < HOURS {
            view.differing.push(LakeHourView {
                source: source.clone(),
                hour: shown(UnixMillis(hour.saturating_mul(HOUR))),
                counts: counts_view(counts),
            });
        }
    }
    let listed = |ids: Vec<MessageId>| ids.iter().map(ToString::to_string).collect();
    LakeComparisonView {
        all: counts_view(&all),
        missing: listed(ids.missing),
        extra: listed(ids.extra),
        doubled: listed(ids.doubled),
        ..view
    }
}

fn counts_view(counts: &RowCounts) -> LakeCountsView {
    LakeCountsView {
        accepted: counts.accepted,
        rows: counts.rows,
        missing: counts.missing,
        extra: counts.extra,
        doubled: counts.doubled,
        waiting: counts.waiting,
    }
}
