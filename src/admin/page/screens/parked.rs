//! Parked events (dead letters) of a sink: put back, or deleted with a reason.

use maud::{Markup, html};

use super::super::form::{Form, address};
use super::super::frame::{Visitor, bytes, empty, event_link, filter, no_more, time};
use super::super::routes::{Screen, Shown};
use crate::operate::{ApiProblem, Decision, Operator, ParkedQuestion, ParkedView};

/// Entries in a page of the list.
const PAGE: usize = 50;

/// Lists the events that are parked for a sink.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let top = operator.top();
    let mut backlogs = top.sinks.iter();
    let most = backlogs
        .find(|sink| sink.parked > 0)
        .map(|sink| &*sink.sink);
    let first = top.sinks.first().map(|sink| &*sink.sink);
    let sink = form.get("sink").or(most).or(first).unwrap_or("default");
    let list = operator.parked(&ParkedQuestion {
        sink: Some(sink.to_owned()),
        after: form.text("after"),
        limit: Some(PAGE),
    })?;
    let shown = html! {
        (done(form))
        p.choices { "Sink: "
            @for of in &top.sinks {
                a href=(address("/page/parked", &[("sink", &of.sink)])) aria-current=[(of.sink == sink).then_some("true")] { (of.sink) " (" (of.parked) ")" } " "
            }
        }
        @if list.parked.is_empty() && form.get("after").is_some() {
            (no_more(&address("/page/parked", &[("sink", sink)])))
        } @else if list.parked.is_empty() {
            (empty(&format!("No event is parked for sink {sink}."), "hookweir sinks", "An event is parked if a sink refuses it for good. What waits for each sink:"))
        } @else {
            form method="post" action="/page/parked/retry" {
                input type="hidden" name="sink" value=(sink);
                (table(&list.parked))
                @if visitor.operates() { (buttons(list.parked.len())) }
            }
        }
        @if let Some(next) = &list.next {
            nav.pages aria-label="Pages" { a rel="next" href=(address("/page/parked", &[("sink", sink), ("after", next)])) { "More" } }
        }
    };
    Ok(Shown::Page("Parked".to_owned(), shown))
}

/// Returns the result of a change, out of the address that it led to.
pub(super) fn done(form: &Form) -> Markup {
    html! { @if let Some(done) = form.get("done") { p.notice role="status" { (done) } } }
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

fn buttons(count: usize) -> Markup {
    html! {
        p.choices { label { input type="checkbox" data-all="number"; " All " (count) " of this page" } }
        label { "Reason, for the record " input name="reason"; } " "
        button.primary data-confirm="Put the chosen events back?" { "Put the chosen ones back" } " "
        button formmethod="get" formaction="/page/parked/discard" { "Delete the chosen ones…" }
        p.quiet { "A deletion is asked for on a screen of its own." }
    }
}

/// Returns the form of a deletion: the chosen entries, a reason of its own, and one button.
pub(super) fn deletion(
    place: &str,
    (field, chosen): (&str, &[String]),
    sink: Option<&str>,
    reason: Option<&str>,
) -> Result<Markup, ApiProblem> {
    if chosen.is_empty() {
        return Err(ApiProblem::bad_question(
            "nothing is chosen, so nothing would be deleted",
            "go back, and choose at least one in the list",
        ));
    }
    let does = format!("Delete {} for good", chosen.len());
    Ok(html! {
        form method="post" action=(format!("{place}/discard")) {
            @if let Some(sink) = sink { input type="hidden" name="sink" value=(sink); }
            @for value in chosen { input type="hidden" name=(field) value=(value); }
            p { label { "Reason of the deletion, for the record " input name="reason" required value=[reason]; } }
            button.primary data-confirm={ (does) "?" } { (does) } " "
            a href=(place) { "Delete nothing" }
        }
    })
}

/// Asks for the reason of a deletion.
pub(in crate::admin::page) fn ask(_: &Operator, _: &Visitor, _: &str, form: &Form) -> Screen {
    let numbers = decision(form)?.numbers;
    let chosen: Vec<String> = numbers.iter().map(i64::to_string).collect();
    let (sink, reason) = (form.get("sink"), form.get("reason"));
    let asked = deletion("/page/parked", ("number", &chosen), sink, reason)?;
    let shown = html! {
        p { "Parked for sink " (sink.unwrap_or("default")) ", by number: " (chosen.join(", ")) "." }
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
    let to = address("/page/parked", &[("sink", sink), ("done", done)]);
    Ok(Shown::GoTo(to))
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
