//! Conflicts: other bodies that came under known ids.

use maud::{Markup, html};

use super::super::body;
use super::super::form::{Form, address, event_address, named};
use super::super::frame::{Visitor, bytes, empty, filter, time};
use super::super::routes::{Screen, Shown};
use super::parked::done;
use crate::config::model::Right;
use crate::operate::{ConflictView, Decision, Operator, ParkedQuestion};

/// Entries in a page of the list.
const PAGE: usize = 50;

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
    let shown = html! {
        (done(form))
        p.quiet { "A provider has sent a known id with another body. The first one was published; the others are kept here." }
        @if list.conflicts.is_empty() {
            (empty("There is no conflict.", "hookweir conflicts --help", "A conflict may be sent back as a message of its own, or deleted."))
        } @else {
            form method="post" action="/page/conflicts/send-back" {
                (table(visitor, &list.conflicts))
                @if visitor.operates() { (buttons(list.conflicts.len())) }
            }
        }
        @if let Some(next) = &list.next {
            nav.pages aria-label="Pages" { a rel="next" href=(address("/page/conflicts", &[("after", next)])) { "Older" } }
        }
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
                            td { @if visitor.may(Right::Bodies) { a href=(body_address(conflict)) { "Open this body" } } }
                            td.number { (bytes(conflict.bytes)) }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the address of a body, beside the first one under the same id.
fn body_address(conflict: &ConflictView) -> String {
    let place = named("/page/conflicts/", &conflict.id);
    let first = [
        ("event_id", &*conflict.event_id),
        ("source", &*conflict.source),
    ];
    address(&format!("{place}/body"), &first)
}

fn buttons(count: usize) -> Markup {
    html! {
        p.choices { label { input type="checkbox" data-all="id"; " All " (count) " of this page" } }
        label { "Reason, for the record " input name="reason"; } " "
        button.primary data-confirm="Publish the chosen bodies as messages of their own?" { "Publish the chosen ones" } " "
        button formaction="/page/conflicts/discard" data-confirm="Delete the chosen bodies for good?" { "Delete the chosen ones for good" }
        p.quiet { "Each is published as a message of its own, marked with the first one. A deletion needs a reason." }
    }
}

/// Shows the body of a conflict, and beside it the first one under the same id if it is asked for and still
/// stored. It is recorded who opens them.
pub(in crate::admin::page) fn opened(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    form: &Form,
) -> Screen {
    let opened = operator.conflict_body(name, &visitor.caller.name)?;
    let place = named("/page/conflicts/", name);
    let first = form
        .get("event_id")
        .and_then(|id| operator.event(id, form.get("source")).ok());
    let first = match first {
        Some(first) => {
            let body = operator.body(&first.message_id, None, &visitor.caller.name)?;
            Some((event_address(&first.message_id), body))
        }
        None => None,
    };
    let part = |bytes: &[u8], place: &str| body::shown(bytes, place, form.get("form"), None);
    let shown = html! {
        p { a href="/page/conflicts" { "All conflicts" } }
        div.sides {
            @if let Some((place, first)) = &first {
                section { h2 { "First body" } (part(&first.bytes, place)) }
            }
            section {
                @if first.is_some() { h2 { "Other body, kept here" } }
                (body::shown(&opened.bytes, &place, form.get("form"), form.get("at")))
            }
        }
    };
    Ok(Shown::Page("Body of a conflict".to_owned(), shown))
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
        "{} published, {} published by an order before{left}",
        sent.count, sent.before
    );
    Ok(Shown::GoTo(address("/page/conflicts", &[("done", &done)])))
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
    Ok(Shown::GoTo(address("/page/conflicts", &[("done", &done)])))
}
