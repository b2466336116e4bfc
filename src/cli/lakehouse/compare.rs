//! `hookweir lakehouse compare`: accepted events of the store against rows of the table.

use super::Options;
use super::tools::{open, time};
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::domain::delivery::{SourceName, UnixMillis, wall_clock};
use crate::lakehouse::comparison::{Comparison, HOUR, RowCounts};
use crate::store::catalog::{EventQuery, EventSummary, PAGE};
use crate::store::{self, Store, StoreError};

/// Compares, and prints each hour of each source that differs. A difference is a failure.
pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let (since, until) = (options.since.0, options.until.0);
    if since > config.store.keep_events {
        return Err(Failure::Usage(format!(
            "--since {} s is longer than store.keep_events_days: published events are kept for {} days, and older \
             rows would all be extra",
            since.as_secs(),
            config.store.keep_events.as_secs() / 86_400
        )));
    }
    let now = wall_clock();
    let ago = |age: std::time::Duration| {
        UnixMillis(
            now.0
                .saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        )
    };
    let (from, until) = (ago(since), ago(until));
    let mut comparison = Comparison::default();
    let failed = |error: StoreError| Failure::Unreachable(format!("{}: {error}", config.store.url));
    let tools = open(config)?;
    let store = store::open(&config.store, 1).map_err(failed)?;
    let (sink, sinks) = (&config.lakehouse_sink().name, config.routes());
    let sinks = sinks.map_err(Failure::Internal)?;
    let wanted = |event: &EventSummary| {
        SourceName::parse(&event.source).is_ok_and(|source| {
            let wanting = sinks.wanting(&source, event.event_type.as_deref());
            sinks.names(wanting).any(|name| name == sink)
        })
    };
    let query = EventQuery {
        from: Some(from),
        until: Some(until),
        limit: PAGE,
        ..EventQuery::default()
    };
    let take = |event: &EventSummary| {
        if wanted(event) {
            comparison.event(event, sink);
        }
    };
    events(&*store, query, take).map_err(failed)?;
    tools
        .rows(from, until, |row| comparison.row(&row))
        .map_err(Failure::Unreachable)?;
    report(&mut comparison)
}

/// Hands the events of the store that fit `query` to `take`, page by page.
fn events(
    store: &dyn Store,
    mut query: EventQuery,
    mut take: impl FnMut(&EventSummary),
) -> Result<(), StoreError> {
    loop {
        let page = store.events(&query)?;
        page.events.iter().for_each(&mut take);
        if page.next.is_none() {
            return Ok(());
        }
        query.before = page.next;
    }
}

fn report(comparison: &mut Comparison) -> Result<(), Failure> {
    let differing = comparison.finish();
    let mut total = RowCounts::default();
    say::out("source  hour  accepted  rows  missing  extra  doubled  waiting");
    let line = |place: &str, counts: &RowCounts| {
        say::out(format_args!(
            "{place}  {}  {}  {}  {}  {}  {}",
            counts.accepted,
            counts.rows,
            counts.missing,
            counts.extra,
            counts.doubled,
            counts.waiting
        ));
    };
    for ((source, hour), counts) in comparison.by_place() {
        total.add(counts);
        if counts.differs() || counts.waiting > 0 {
            let hour: String = time(hour * HOUR).chars().take(13).collect();
            line(&format!("{source}  {hour}"), counts);
        }
    }
    line("all  -", &total);
    let kinds = [
        ("missing", &differing.missing),
        ("extra", &differing.extra),
        ("doubled", &differing.doubled),
    ];
    for (kind, ids) in kinds {
        ids.iter()
            .for_each(|id| say::out(format_args!("{kind}  {id}")));
    }
    if total.differs() {
        return Err(Failure::NotAsExpected);
    }
    Ok(())
}
