//! Parked events (dead letters) of a sink: put back, or deleted with a reason.

use maud::{Markup, html};

use super::super::form::Form;
use super::super::frame::{Visitor, bytes, empty, event_link, filter, time};
use super::super::routes::{Screen, Shown};
use super::decide::{Decided, Listed, done, sink, sinks};
use crate::operate::{ApiProblem, Decision, Operator, ParkedQuestion, ParkedView};

/// Entries in a page of the list.
const PAGE: usize = 50;

/// Returns the list of a sink.
fn decided(sink: &str) -> Decided<'_> {
    Decided {
        place: "/page/parked",
        sink: Some(sink),
        field: "number",
        act: "retry",
        asks: "Put the chosen events back?",
        does: "Put the chosen ones back",
        note: "Events that are put back wait for the sink again.",
    }
}

/// Lists the events that are parked for a sink.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let backlogs = operator.top().sinks;
    let sink = sink(form, &backlogs, |of| of.parked);
    let list = operator.parked(&ParkedQuestion {
        sink: Some(sink.to_owned()),
        after: form.text("after"),
        limit: Some(PAGE),
    })?;
    let none = empty(
        &format!("No event is parked for sink {sink}."),
        "hookweir sinks",
        "An event is parked if a sink refuses it for good. What waits for each sink:",
    );
    let listed = Listed {
        count: list.parked.len(),
        table: &table(&list.parked),
        none: &none,
        next: list.next.as_deref(),
    };
    let shown = html! {
        (done(form))
        (sinks("/page/parked", sink, &backlogs, |of| of.parked))
        (decided(sink).list(visitor, form, &listed))
    };
    Ok(Shown::Page("Parked".to_owned(), shown))
}

fn table(parked: &[ParkedView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Parked events" {
            table {
                thead { tr {
                    th scope="col" { "Choose" } th scope="col" { "Parked (UTC)" } th scope="col" { "Reason" } th scope="col" { "Source" }
                    th scope="col" { "Type" } th scope="col" { "Provider's id" } th.number scope="col" { "Size" }
                } }
                tbody {
                    @for event in parked {
                        tr {
                            td { input type="checkbox" name="number" value=(event.number) aria-label={ "Choose " (event.event_id) }; }
                            td { (time(&event.at)) } td { (event.reason) } td { (filter("source", &event.source)) }
                            td { @if let Some(kind) = &event.event_type { (filter("type", kind)) } }
                            td { (event_link(&event.message_id, &event.event_id)) }
                            td.number { (bytes(event.bytes)) }
                        }
                    }
                }
            }
        }
    }
}

/// Asks for the reason of a deletion.
pub(in crate::admin::page) fn ask(_: &Operator, _: &Visitor, _: &str, form: &Form) -> Screen {
    let numbers = decision(form)?.numbers;
    let chosen: Vec<String> = numbers.iter().map(i64::to_string).collect();
    let sink = form.get("sink").unwrap_or("default");
    let asked = decided(sink).deletion(&chosen, form.get("reason"))?;
    let shown = html! {
        p { "Parked for sink " (sink) ", by number: " (chosen.join(", ")) "." }
        p.quiet { "The sink never gets a deleted event. A redelivery of it is still a duplicate." }
        (asked)
    };
    Ok(Shown::Page("Delete parked events".to_owned(), shown))
}

fn decision(form: &Form) -> Result<Decision, ApiProblem> {
    Ok(Decision {
        sink: form.text("sink"),
        numbers: form.numbers("number")?,
        reason: form.text("reason"),
        ..Decision::default()
    })
}

fn back(form: &Form, done: &str) -> Screen {
    let sink = form.get("sink").unwrap_or("default");
    Ok(Shown::GoTo(decided(sink).done(done)))
}

/// Puts the chosen events back.
pub(in crate::admin::page) fn retry(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let changed = operator.retry_parked(&decision(form)?, &visitor.caller.name)?;
    back(form, &format!("{} put back", changed.count))
}

/// Deletes the chosen events.
pub(in crate::admin::page) fn discard(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let changed = operator.discard_parked(&decision(form)?, &visitor.caller.name)?;
    back(form, &format!("{} deleted", changed.count))
}
