//! Quarantine: refused deliveries with the cause of each, verified again or deleted.

use maud::{Markup, html};

use super::super::body::{self, BodyPlace};
use super::super::form::{Form, address, named};
use super::super::frame::{Visitor, bytes, empty, filter, no_more, time};
use super::super::routes::{Screen, Shown};
use super::decide::done;
use super::events::choice;
use crate::config::model::Right;
use crate::operate::{
    ApiProblem, DiagnosisView, Operator, RefusedChoice, RefusedQuestion, RefusedVerified,
    RefusedView,
};

/// Entries in a page of the list.
const PAGE: usize = 50;

/// Returns the choice of deliveries that the fields make.
fn chosen(form: &Form) -> Result<RefusedChoice, ApiProblem> {
    let numbers: Vec<i64> = form.numbers("number")?;
    let filters = ["source", "from", "to"];
    let by_numbers = !numbers.is_empty();
    let is_filtered = !by_numbers && filters.iter().any(|field| form.get(field).is_some());
    let field = |name: &str| form.time(name).filter(|_| is_filtered);
    Ok(RefusedChoice {
        source: form.text("source").filter(|_| is_filtered),
        from: field("from"),
        to: field("to"),
        all: !by_numbers && !is_filtered && form.get("all").is_some(),
        old: form.get("old").is_some(),
        after: form.number("after")?,
        reason: form.text("reason"),
        numbers,
    })
}

/// Lists refused deliveries, the newest first.
pub(in crate::admin::page) fn list(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let list = operator.refused(&RefusedQuestion {
        source: form.text("source"),
        from: form.time("from"),
        to: form.time("to"),
        after: form.text("after"),
        limit: Some(PAGE),
    })?;
    let sources = operator.sources();
    let names: Vec<&str> = sources.sources.iter().map(|of| &*of.source).collect();
    let given = given(form);
    let next = list.next.as_deref().map(|next| {
        let more: Vec<(&str, &str)> = given.iter().copied().chain([("after", next)]).collect();
        address("/page/quarantine", &more)
    });
    let shown = html! {
        (done(form))
        (filters(form, &names))
        @if list.refused.is_empty() && form.get("after").is_some() {
            (no_more(&address("/page/quarantine", &given)))
        } @else if list.refused.is_empty() {
            (empty("No refused delivery is kept here.", "hookweir sources", "The last refusal of each source is always known:"))
        } @else {
            p { a href=(all_of(&given)) { "Verify all of this filter again: dry run" } }
            form action="/page/quarantine/verify" {
                (table(&list.refused))
                (buttons(visitor, list.refused.len()))
            }
        }
        @if let Some(next) = &next { nav.pages aria-label="Pages" { a rel="next" href=(next) { "Older" } } }
    };
    Ok(Shown::Page("Quarantine".to_owned(), shown))
}

/// Returns the fields of the filter that are given.
fn given(form: &Form) -> Vec<(&str, &str)> {
    let fields = ["source", "from", "to"].into_iter();
    fields
        .filter_map(|name| Some((name, form.get(name)?)))
        .collect()
}

fn all_of(given: &[(&str, &str)]) -> String {
    match given {
        [] => address("/page/quarantine/verify", &[("all", "true")]),
        given => address("/page/quarantine/verify", given),
    }
}

fn filters(form: &Form, sources: &[&str]) -> Markup {
    let value = |name: &str| form.get(name).unwrap_or_default().to_owned();
    html! {
        form.filters action="/page/quarantine" {
            label { "Source " (choice("source", form, sources)) }
            label { "From (UTC) " input name="from" placeholder="2026-11-28T09:30" value=(value("from")); }
            label { "To (UTC) " input name="to" placeholder="2026-11-29" value=(value("to")); }
            button.primary { "Filter" }
            a href="/page/quarantine" { "Clear" }
        }
    }
}

fn table(refused: &[RefusedView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Refused deliveries" {
            table {
                thead { tr {
                    th scope="col" { "Choose" } th scope="col" { "Received (UTC)" } th scope="col" { "Source" }
                    th scope="col" { "Reason" } th scope="col" { "From" } th.number scope="col" { "Size" } th scope="col" { "Cause" }
                } }
                tbody {
                    @for delivery in refused {
                        tr {
                            td { input type="checkbox" name="number" value=(delivery.number) aria-label={ "Choose number " (delivery.number) }; }
                            td { (time(&delivery.received_at)) } td { (filter("source", &delivery.source)) }
                            td.long { strong { (delivery.reason) } @if !delivery.detail.is_empty() { ": " (delivery.detail) } }
                            td { (delivery.peer.as_deref().unwrap_or("not known")) }
                            td.number { (bytes(delivery.bytes)) @if delivery.cut { " " span.mark { "cut" } } }
                            td { a href=(named("/page/quarantine/", &delivery.number.to_string())) { "Find the cause of " (delivery.number) } }
                        }
                    }
                }
            }
        }
    }
}

fn buttons(visitor: &Visitor, count: usize) -> Markup {
    html! {
        p.choices { label { input type="checkbox" data-all="number"; " All " (count) " of this page" } }
        button.primary { "Verify the chosen ones again: dry run" } " "
        @if visitor.operates() {
            label { "Reason, for the record " input name="reason"; } " "
            button formmethod="post" formaction="/page/quarantine/discard" data-confirm="Delete the chosen deliveries for good?" { "Delete the chosen ones for good" }
        }
    }
}

/// Shows one delivery with the cause of its refusal.
pub(in crate::admin::page) fn one(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    _: &Form,
) -> Screen {
    let found = operator.refused_delivery(name)?;
    let delivery = &found.delivery;
    let number = delivery.number.to_string();
    let place = named("/page/quarantine/", &number);
    let shown = html! {
        p { a href="/page/quarantine" { "Quarantine" } }
        (cause(&found.diagnosis))
        dl.facts {
            dt { "Source" } dd { a href=(named("/page/sources/", &delivery.source)) { (delivery.source) } }
            dt { "Received" } dd { (time(&delivery.received_at)) " UTC" }
            dt { "Refused as" } dd { strong { (delivery.reason) } @if !delivery.detail.is_empty() { ": " (delivery.detail) } }
            dt { "Request" } dd { code { (delivery.method) " " (delivery.path) } }
            dt { "From" } dd { (delivery.peer.as_deref().unwrap_or("not known")) }
            dt { "Request id" } dd { code { (delivery.request_id) } }
            dt { "Body" } dd { (bytes(delivery.bytes)) @if delivery.cut { " " span.mark { "a part is missing" } } }
        }
        p { a.button href=(address("/page/quarantine/verify", &[("number", &number)])) { "Verify it again: dry run" } " "
            @if visitor.may(Right::Bodies) { a.button href={ (place) "/body" } { "Open headers and body" } } }
    };
    Ok(Shown::Page(format!("Refused delivery {number}"), shown))
}

fn cause(found: &DiagnosisView) -> Markup {
    html! {
        div.notice {
            h2 { @if let Some(cause) = &found.cause { "Cause: " (cause) } @else { "No usual mistake fits" } }
            p.lines { (found.says) }
        }
        details {
            summary { "What was tried" }
            ul { @for check in &found.checks { li { (check) } } }
        }
    }
}

/// Shows headers and body of a refused delivery. It is recorded who opens them.
pub(in crate::admin::page) fn opened(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    form: &Form,
) -> Screen {
    let request = operator.refused_request(name, &visitor.caller.name)?;
    let opened = operator.refused_body(name, &visitor.caller.name)?;
    let place = named("/page/quarantine/", name);
    let body = body::shown(&opened.bytes, &BodyPlace::alone(&place), form)?;
    let shown = html! {
        p { a href=(place) { "Cause of the refusal" } }
        p.failure { "Nobody has proven who sent this." }
        h2 { "Headers" }
        p { code { (request.method) " " (request.target) } }
        dl.facts { @for header in &request.headers { dt { code { (header.name) } } dd { code { (header.value) } } } }
        h2 { "Body" }
        (body)
    };
    Ok(Shown::Page(
        format!("Body of refused delivery {name}"),
        shown,
    ))
}

/// Hands the body out as a file.
pub(in crate::admin::page) fn download(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    _: &Form,
) -> Screen {
    let opened = operator.refused_body(name, &visitor.caller.name)?;
    Ok(Shown::Download(opened))
}

/// Shows the result that verifying again would have.
pub(in crate::admin::page) fn plan(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let choice = chosen(form)?;
    let found = operator.plan_refused(&choice)?;
    let shown = html! {
        (counts(&found))
        @if found.next.is_some() { p { "These are the first ones; the rest is looked at when it is verified." } }
        p { "A proven delivery is stored as an event with its own time of receipt, and published. The others stay." }
        @if !visitor.operates() { p.quiet { "To verify needs the right " code { "operate" } "." } }
        @else if found.proven > 0 || found.next.is_some() {
            (again(&choice, None, "Verify them again"))
        }
        @if found.old > 0 && visitor.operates() {
            p { "If the provider has sent an old one again since, it is doubled. Look for it among the events first." }
            (again(&RefusedChoice { old: true, ..choice.clone() }, None, "Verify the old ones, too"))
        }
        p { a href="/page/quarantine" { "Quarantine" } }
    };
    Ok(Shown::Page("Dry run: verify again".to_owned(), shown))
}

/// Verifies the chosen deliveries again.
pub(in crate::admin::page) fn verify(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let choice = chosen(form)?;
    let found = operator.verify_refused(&choice, &visitor.caller.name)?;
    let shown = html! {
        (counts(&found))
        @if let Some(next) = found.next {
            p { "Some are left for lack of time." }
            (again(&choice, Some(next), "Go on"))
        }
        p { a href="/page/events" { "Events" } " " a href="/page/quarantine" { "Quarantine" } }
    };
    Ok(Shown::Page("Verified again".to_owned(), shown))
}

/// Returns the form that verifies a choice, from a place on.
fn again(choice: &RefusedChoice, after: Option<i64>, button: &str) -> Markup {
    let texts = [
        ("source", &choice.source),
        ("from", &choice.from),
        ("to", &choice.to),
        ("reason", &choice.reason),
    ];
    html! {
        form method="post" action="/page/quarantine/verify" {
            @for number in &choice.numbers { input type="hidden" name="number" value=(number); }
            @for (name, value) in texts { @if let Some(value) = value { input type="hidden" name=(name) value=(value); } }
            @if choice.all { input type="hidden" name="all" value="true"; }
            @if choice.old { input type="hidden" name="old" value="true"; }
            @if let Some(after) = after { input type="hidden" name="after" value=(after); }
            button.primary { (button) }
        }
    }
}

fn counts(found: &RefusedVerified) -> Markup {
    let rows = [
        ("Looked at", found.looked),
        ("Proven now", found.proven),
        ("Stored as events", found.accepted),
        ("Stored before, and gone from here", found.known),
        (
            "Proven, without an id, like a recent event: stays",
            found.alike,
        ),
        ("Proven, and older than the dedup window: stays", found.old),
        (
            "Not stored for lack of room or of a key: try again",
            found.not_now,
        ),
        ("Still refused", found.refused),
        ("A part is missing", found.cut),
        ("Source is not configured any more", found.without_source),
        (
            "Handshake, or its key has to be fetched first",
            found.undecided,
        ),
    ];
    html! {
        dl.facts {
            @for (name, count) in rows.iter().filter(|(name, count)| *count > 0 || *name == "Looked at" || *name == "Proven now") {
                dt { (name) } dd { strong { (count) } }
            }
        }
    }
}

/// Deletes the chosen deliveries.
pub(in crate::admin::page) fn discard(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let changed = operator.discard_refused(&chosen(form)?, &visitor.caller.name)?;
    let done = format!("{} deleted", changed.count);
    Ok(Shown::GoTo(address("/page/quarantine", &[("done", &done)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_by_numbers_takes_no_filter_of_the_list_with_it() {
        let choice =
            chosen(&Form::read(b"number=3&number=5&source=stripe&all=true")).expect("numbers");
        assert_eq!(
            (choice.numbers, choice.source, choice.all),
            (vec![3, 5], None, false)
        );
        let filtered =
            chosen(&Form::read(b"source=stripe&from=2026-11-28&all=true")).expect("a filter");
        assert_eq!(filtered.source.as_deref(), Some("stripe"));
        assert_eq!(filtered.from.as_deref(), Some("2026-11-28T00:00:00Z"));
        assert!(!filtered.all);
        assert!(chosen(&Form::read(b"all=true")).expect("all").all);
    }
}
