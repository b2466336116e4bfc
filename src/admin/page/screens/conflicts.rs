//! Conflicts: other bodies that came under known ids.

use maud::{Markup, html};

use super::super::body::{self, BodyPlace};
use super::super::form::{Form, address, event_address, named};
use super::super::frame::{Visitor, bytes, empty, event_link, filter, time};
use super::super::routes::{Screen, Shown};
use super::decide::{Decided, Listed, done};
use crate::config::model::Right;
use crate::operate::{ApiProblem, ConflictView, Decision, OpenedBody, Operator, ParkedQuestion};

/// Entries in a page of the list.
const PAGE: usize = 50;

/// The list. A conflict is of no sink.
const DECIDED: Decided = Decided {
    place: "/page/conflicts",
    sink: None,
    field: "id",
    act: "send-back",
    asks: "Publish the chosen bodies as messages of their own?",
    does: "Publish the chosen ones",
    note: "Each is published as a message of its own, marked with the first one.",
};

/// Lists other bodies, the newest first.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let list = operator.conflicts(&ParkedQuestion {
        sink: None,
        after: form.text("after"),
        limit: Some(PAGE),
    })?;
    let none = empty(
        "There is no conflict.",
        "hookweir conflicts --help",
        "A conflict may be sent back as a message of its own, or deleted.",
    );
    let listed = Listed {
        count: list.conflicts.len(),
        table: &table(visitor, &list.conflicts),
        none: &none,
        next: list.next.as_deref(),
    };
    let shown = html! {
        (done(form))
        p.quiet { "A provider has sent a known id with another body. The first one is an event; the others are kept here." }
        (DECIDED.list(visitor, form, &listed))
    };
    Ok(Shown::Page("Conflicts".to_owned(), shown))
}

fn table(visitor: &Visitor, conflicts: &[ConflictView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Conflicts" {
            table {
                thead { tr {
                    th scope="col" { "Choose" } th scope="col" { "Received (UTC)" } th scope="col" { "Source" }
                    th scope="col" { "Provider's id" } th scope="col" { "Body" } th.number scope="col" { "Size" }
                } }
                tbody {
                    @for conflict in conflicts {
                        tr {
                            td { input type="checkbox" name="id" value=(conflict.id) aria-label={ "Choose " (conflict.event_id) }; }
                            td { (time(&conflict.received_at)) } td { (filter("source", &conflict.source)) }
                            td { a.id href=(address("/page/find", &[("id", &conflict.event_id)])) { (conflict.event_id) } }
                            td { @if visitor.may(Right::Bodies) { a href={ (named("/page/conflicts/", &conflict.id)) "/body" } { "Open this body" } } }
                            td.number { (bytes(conflict.bytes)) }
                        }
                    }
                }
            }
        }
    }
}

/// Asks for the reason of a deletion.
pub(in crate::admin::page) fn ask(_: &Operator, _: &Visitor, _: &str, form: &Form) -> Screen {
    let chosen = form.all("id");
    let asked = DECIDED.deletion(&chosen, form.get("reason"))?;
    let shown = html! {
        p { "Other bodies that are deleted: " (chosen.len()) ". The events that came first stay." }
        (asked)
    };
    Ok(Shown::Page("Delete other bodies".to_owned(), shown))
}

/// Shows the body of a conflict, and beside it the first one under the same id, while it is stored. It is
/// recorded who opens them.
pub(in crate::admin::page) fn opened(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    form: &Form,
) -> Screen {
    let opened = operator.conflict_body(name, &visitor.caller.name)?;
    let first = first_body(operator, visitor, &opened)?;
    let place = BodyPlace {
        kept: form.get("first_at").map(|at| ("first_at", at)),
        ..BodyPlace::alone(&named("/page/conflicts/", name))
    };
    let shown = html! {
        p { a href="/page/conflicts" { "All conflicts" } }
        div.sides {
            section { h2 { "First body" }
                @match &first {
                    Some(first) => (beside(first, &place, form)?),
                    None => p.quiet { "No first body any more: the event that came first, or its key, was deleted." },
                }
            }
            section { h2 { "Other body, kept here" } (body::shown(&opened.bytes, &place, form)?) }
        }
    };
    Ok(Shown::Page("Body of a conflict".to_owned(), shown))
}

/// Returns the body of the event that came first. None: it is not stored any more.
fn first_body(
    operator: &Operator,
    visitor: &Visitor,
    other: &OpenedBody,
) -> Result<Option<OpenedBody>, ApiProblem> {
    let Some(first) = &other.conflict_of else {
        return Ok(None);
    };
    match operator.body(first, None, &visitor.caller.name) {
        Ok(body) => Ok(Some(body)),
        // Deleted since.
        Err(problem) if problem.status == 404 => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Returns the first body. Its links lead to the same pair.
fn beside(first: &OpenedBody, other: &BodyPlace, form: &Form) -> Result<Markup, ApiProblem> {
    let place = BodyPlace {
        screen: other.screen.clone(),
        file: format!("{}/download", event_address(&first.message_id)),
        at: "first_at",
        kept: form.get("at").map(|at| ("at", at)),
    };
    let body = body::shown(&first.bytes, &place, form)?;
    Ok(html! {
        p { "Of event " (event_link(&first.message_id, &first.message_id)) }
        (body)
    })
}

/// Hands the body out as a file.
pub(in crate::admin::page) fn download(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    _: &Form,
) -> Screen {
    let opened = operator.conflict_body(name, &visitor.caller.name)?;
    Ok(Shown::Download(opened))
}

fn decision(form: &Form) -> Decision {
    Decision {
        ids: form.all("id"),
        reason: form.text("reason"),
        ..Decision::default()
    }
}

/// Publishes the chosen bodies.
pub(in crate::admin::page) fn send_back(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let sent = operator.send_back_conflicts(&decision(form), &visitor.caller.name)?;
    let left = match sent.left {
        0 => String::new(),
        left => format!(", {left} left for lack of time: choose them again"),
    };
    let done = format!(
        "{} put into the outbox, {} put there by an order before{left}",
        sent.count, sent.before
    );
    Ok(Shown::GoTo(DECIDED.done(&done)))
}

/// Deletes the chosen bodies.
pub(in crate::admin::page) fn discard(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let changed = operator.discard_conflicts(&decision(form), &visitor.caller.name)?;
    let done = format!("{} deleted", changed.count);
    Ok(Shown::GoTo(DECIDED.done(&done)))
}
