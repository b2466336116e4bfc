//! Lakehouse: its writer and table, and the events that are no row.

use maud::{Markup, html};

use super::super::form::{Form, address};
use super::super::frame::{Visitor, bytes, empty, event_link, filter, state, time, time_or_none};
use super::super::routes::{Screen, Shown};
use crate::operate::{
    ApiProblem, LakeComparisonView, LakeCountsView, LakeHourView, LakeQuestion, LakeTableView,
    LakehouseView, Operator,
};

/// Hours that are compared, unless the visitor says another number.
const HOURS: u64 = 24;

/// Shows writer and table.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    _: &Visitor,
    _: &str,
    _: &Form,
) -> Screen {
    let view = operator.lakehouse()?;
    Ok(Shown::Page("Lakehouse".to_owned(), described(&view)))
}

fn described(view: &LakehouseView) -> Markup {
    html! {
        @match &view.table {
            None => (no_table(view)),
            Some(table) => {
                dl.facts {
                    (writer(view))
                    dt { "Folder" } dd { code { (view.folder) } }
                    @if let Some(waiting) = &view.waiting { dt { "Waiting in the sink" } dd { (waiting.count) " " (waiting.unit) } }
                    (facts(table))
                }
                @if table.has_deletes { p.notice { "Another engine deleted rows by delete files: rows are counted without them." } }
                h2 { "Is every event a row?" }
                p { "Compares the accepted events of the store with the rows of the table, by source and hour of receipt." }
                (question(HOURS))
            }
        }
    }
}

fn no_table(view: &LakehouseView) -> Markup {
    html! {
        @match &view.why_off {
            Some(why) => (empty(&format!("There is no table in {}: {why}.", view.folder), "hookweir lakehouse",
                "A writer in a process of its own reads the sink, and makes the table when it starts.")),
            None => {
                dl.facts { (writer(view)) }
                (empty(&format!("There is no table in {} yet: the writer makes it when it starts.", view.folder),
                    "hookweir lakehouse show", "The state of the table, as the owner of its files."))
            }
        }
    }
}

fn writer(view: &LakehouseView) -> Markup {
    html! {
        dt { "Writer" }
        dd {
            @match &view.why_off {
                Some(why) => (why),
                None => { (state(if view.up { "ready" } else { "degraded" })) " in this process" }
            }
        }
        @if view.writes {
            dt { "Lag" }
            dd { (view.lag_seconds) " s: the age of the oldest event that is no row yet" }
        }
    }
}

fn facts(table: &LakeTableView) -> Markup {
    html! {
        dt { "Rows" } dd { (table.rows) }
        @if let (Some(first), Some(last)) = (&table.first_day, &table.last_day) {
            dt { "Days of receipt" } dd { (first) " to " (last) }
        }
        dt { "Last commit (UTC)" } dd { (time_or_none(table.last_commit.as_deref())) }
        dt { "Newest event (UTC)" } dd { (time_or_none(table.newest_event.as_deref())) }
        dt { "Files" }
        dd { (table.files) ", " (bytes(table.bytes)) "; " (table.small_files) " below " code { "lakehouse.compact_below_bytes" } }
        dt { "Versions" } dd { (table.versions) ", " (bytes(table.metadata_bytes)) " of metadata" }
    }
}

fn question(hours: u64) -> Markup {
    html! {
        form.filters action="/page/lakehouse/compare" {
            label { "Last hours " input name="hours" inputmode="numeric" required value=(hours); }
            button.primary { "Compare" }
        }
    }
}

/// Compares store and table.
pub(in crate::admin::page) fn compare(
    operator: &Operator,
    _: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let hours = form.text("hours").unwrap_or_else(|| HOURS.to_string());
    let hours: u64 = hours.parse().map_err(|_| {
        ApiProblem::bad_question(
            format!("{hours} is no number of hours"),
            "give a number, such as 24",
        )
    })?;
    let view = operator.compare_lakehouse(&LakeQuestion { hours: Some(hours) })?;
    let shown = html! {
        (question(hours))
        (compared(&view))
        p { a href="/page/lakehouse" { "Lakehouse" } }
    };
    Ok(Shown::Page("Events and rows".to_owned(), shown))
}

fn compared(view: &LakeComparisonView) -> Markup {
    let LakeCountsView { accepted, rows, .. } = view.all;
    html! {
        @if !view.table {
            (empty("There is no table: nothing was compared.", "hookweir lakehouse", "The writer makes it when it starts."))
        } @else {
            p.notice role="status" {
                (accepted) " events, " (rows) " rows, from " (time(&view.from)) " to " (time(&view.until)) " UTC. "
                @if view.differing.is_empty() { "Every event is a row, once." }
            }
            @if !view.differing.is_empty() { (hours(&view.differing, &view.all)) }
            (ids("Missing: taken by the sink, and no row", &view.missing))
            (ids("Extra: rows without an event", &view.extra))
            (ids("Doubled: more than one row", &view.doubled))
        }
    }
}

fn hours(differing: &[LakeHourView], all: &LakeCountsView) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Hours that differ" {
            table {
                thead { tr {
                    th scope="col" { "Source" } th scope="col" { "Hour (UTC)" }
                    @for name in ["Accepted", "Rows", "Missing", "Extra", "Doubled", "Waiting"] { th.number scope="col" { (name) } }
                } }
                tbody {
                    @for of in differing {
                        tr { td { (filter("source", &of.source)) } td { (hour(of)) } (numbers(&of.counts)) }
                    }
                    tr { th scope="row" { "All" } td {} (numbers(all)) }
                }
            }
        }
    }
}

/// Returns an hour, as a link to its events.
fn hour(of: &LakeHourView) -> Markup {
    let to = address(
        "/page/events",
        &[("source", &of.source), ("from", &of.hour)],
    );
    html! { a href=(to) { (time(&of.hour)) } }
}

fn numbers(counts: &LakeCountsView) -> Markup {
    let numbers = [
        counts.accepted,
        counts.rows,
        counts.missing,
        counts.extra,
        counts.doubled,
        counts.waiting,
    ];
    html! { @for number in numbers { td.number { (number) } } }
}

fn ids(title: &str, ids: &[String]) -> Markup {
    html! {
        @if !ids.is_empty() {
            h2 { (title) }
            ul { @for id in ids { li { (event_link(id, id)) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_writer_the_screen_teaches_the_command_and_compares_nothing() {
        let off = LakehouseView {
            why_off: Some("no writer runs in this process".into()),
            folder: "data/lake".into(),
            ..LakehouseView::default()
        };
        let shown = described(&off).into_string();
        assert!(shown.contains("no writer runs in this process"), "{shown}");
        assert!(shown.contains("<code>hookweir lakehouse</code>"), "{shown}");
        assert!(!shown.contains("<form"), "{shown}");
        let starting = LakehouseView {
            writes: true,
            why_off: None,
            ..off
        };
        let shown = described(&starting).into_string();
        assert!(
            shown.contains("yet") && shown.contains("degraded"),
            "{shown}"
        );
    }

    #[test]
    fn an_hour_with_missing_events_leads_to_them() {
        let counts = LakeCountsView {
            accepted: 3,
            rows: 2,
            missing: 1,
            ..LakeCountsView::default()
        };
        let view = LakeComparisonView {
            table: true,
            from: "2026-11-28T00:00:00Z".into(),
            until: "2026-11-29T00:00:00Z".into(),
            all: counts.clone(),
            differing: vec![LakeHourView {
                source: "a&b".into(),
                hour: "2026-11-28T09:00:00Z".into(),
                counts,
            }],
            missing: vec!["0a".into()],
            ..LakeComparisonView::default()
        };
        let shown = compared(&view).into_string();
        let to = "/page/events?source=a%26b&amp;from=2026-11-28T09%3A00%3A00Z";
        assert!(shown.contains(to), "{shown}");
        assert!(shown.contains("/page/events/0a"), "{shown}");
        assert!(!shown.contains("Every event is a row"), "{shown}");
        let same = LakeComparisonView {
            differing: Vec::new(),
            missing: Vec::new(),
            ..view
        };
        let shown = compared(&same).into_string();
        assert!(shown.contains("Every event is a row, once."), "{shown}");
    }
}
