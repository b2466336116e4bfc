//! Events: a list with filters in its address, and the search for one.

use maud::{Markup, html};

use super::super::form::{Form, address, event_address};
use super::super::frame::{Visitor, bytes, empty, event_link, filter, state, time, word};
use super::super::routes::{Screen, Shown};
use crate::config::model::Right;
use crate::operate::{EventList, EventQuestion, EventView, Operator};

/// Events in a page of the list.
const PAGE: usize = 50;

/// Statuses of a search that the list answers: several events, or none with that name.
const LISTED: [u16; 2] = [404, 409];

/// Leads from a name to its event: the provider's id or the message id.
pub(in crate::admin::page) fn find(
    operator: &Operator,
    _: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let Some(id) = form.get("id") else {
        return Ok(Shown::GoTo("/page/events".to_owned()));
    };
    match operator.event(id, None) {
        Ok(event) => Ok(Shown::GoTo(event_address(&event.message_id))),
        Err(problem) if LISTED.contains(&problem.status) => {
            Ok(Shown::GoTo(address("/page/events", &[("event_id", id)])))
        }
        Err(problem) => Err(problem),
    }
}

/// Returns the question that the fields of a filter ask.
fn question(form: &Form) -> EventQuestion {
    EventQuestion {
        source: form.text("source"),
        event_id: form.text("event_id"),
        event_type: form.text("type"),
        from: form.time("from"),
        to: form.time("to"),
        state: form.text("state"),
        sink: form.text("sink"),
        before: form.text("before"),
        limit: Some(PAGE),
        ..EventQuestion::default()
    }
}

/// Shows the events that fit the filter.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let list = operator.events(&question(form))?;
    let sources = operator.sources();
    let names: Vec<&str> = sources.sources.iter().map(|of| &*of.source).collect();
    let shown = html! {
        (filters(form, &names))
        p.choices {
            @if visitor.may(Right::Bodies) { a href=(in_bodies(form)) { "Search in bodies" } " " }
            @if visitor.operates() { a href=(again(form)) { "Publish the events of this filter again" } }
        }
        (table(&list, form))
    };
    Ok(Shown::Page("Events".to_owned(), shown))
}

/// Returns the fields of the filter that republish understands, too.
fn again(form: &Form) -> String {
    if let Some(id) = form.get("event_id") {
        let source = form.get("source").map(|source| ("source", source));
        let chosen: Vec<(&str, &str)> = [("id", id)].into_iter().chain(source).collect();
        return address("/page/republish", &chosen);
    }
    let names = ["source", "type", "from", "to", "state", "sink"];
    let given = names
        .into_iter()
        .filter_map(|name| Some((name, form.get(name)?)));
    address("/page/republish", &given.collect::<Vec<_>>())
}

/// Returns the fields of the filter that the search in bodies understands, too.
fn in_bodies(form: &Form) -> String {
    let names = ["source", "type", "from", "to"].into_iter();
    let given = names.filter_map(|name| Some((name, form.get(name)?)));
    address("/page/search", &given.collect::<Vec<_>>())
}

/// Returns the form of the filter.
pub(super) fn filters(form: &Form, sources: &[&str]) -> Markup {
    let value = |name: &str| form.get(name).unwrap_or_default().to_owned();
    html! {
        form.filters action="/page/events" {
            label { "Source " (choice("source", form, sources)) }
            label { "Type " input name="type" value=(value("type")); }
            label { "Provider's id " input name="event_id" value=(value("event_id")); }
            label { "State " (choice("state", form, &["waiting", "parked", "published"])) }
            label { "Sink " input name="sink" value=(value("sink")); }
            label { "From (UTC) " input name="from" placeholder="2026-11-28T09:30" value=(value("from")); }
            label { "To (UTC) " input name="to" placeholder="2026-11-29" value=(value("to")); }
            button.primary { "Filter" }
            a href="/page/events" { "Clear" }
        }
    }
}

/// Returns a field with a choice of words, and none.
pub(super) fn choice(name: &str, form: &Form, words: &[&str]) -> Markup {
    let now = form.get(name).unwrap_or_default();
    html! {
        select name=(name) {
            option value="" { "any" }
            @for word in words { option value=(word) selected[*word == now] { (word) } }
            @if !now.is_empty() && !words.contains(&now) { option value=(now) selected { (now) } }
        }
    }
}

fn table(list: &EventList, form: &Form) -> Markup {
    let fields = ["source", "type", "event_id", "state", "sink", "from", "to"];
    let is_filtered = fields.iter().any(|field| form.get(field).is_some());
    html! {
        @if list.events.is_empty() && list.next.is_none() {
            @if form.get("before").is_some() {
                p.notice { "No more." }
            } @else if is_filtered {
                (empty("No event fits the filter.", "hookweir sources", "A delivery that was refused is no event: the sources show the last one, with its reason."))
            } @else {
                (empty("No event yet.", "hookweir send", "Send a signed test event."))
            }
        } @else {
            (rows(&list.events))
        }
        (pages(list, form))
    }
}

/// Returns a table of events.
pub(super) fn rows(events: &[EventView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Events" {
            table {
                thead { tr {
                    th scope="col" { "Received (UTC)" } th scope="col" { "Source" } th scope="col" { "Type" }
                    th scope="col" { "Provider's id" } th scope="col" { "State" } th.number scope="col" { "Size" }
                } }
                tbody {
                    @for event in events {
                        tr {
                            td { (time(&event.received_at)) }
                            td { (filter("source", &event.source)) }
                            td { @if let Some(kind) = &event.event_type { (filter("type", kind)) } }
                            td { (event_link(&event.message_id, &event.event_id))
                                @if event.conflict_of.is_some() { " " span.mark { "other body" } }
                                @if event.same_bytes_as.is_some() { " " span.mark { "same bytes" } } }
                            td { (state(&word(&event.state)))
                                @for sink in &event.sinks { " " (filter("sink", &sink.sink)) } }
                            td.number { (bytes(event.bytes)) }
                        }
                    }
                }
            }
        }
    }
}

fn pages(list: &EventList, form: &Form) -> Markup {
    let fields = ["source", "type", "event_id", "state", "sink", "from", "to"];
    let mut given: Vec<(&str, &str)> = fields
        .into_iter()
        .filter_map(|name| Some((name, form.get(name)?)))
        .collect();
    let newest = address("/page/events", &given);
    let next = list.next.as_deref().map(|before| {
        given.push(("before", before));
        address("/page/events", &given)
    });
    html! {
        nav.pages aria-label="Pages" {
            @if form.get("before").is_some() { a href=(newest) { "Newest" } }
            @if let Some(next) = next {
                @if list.events.is_empty() { span { "None of the 10,000 events that were read fits. " } }
                a href=(next) rel="next" { "Older" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::EventList;

    fn form(query: &str) -> Form {
        Form::read(query.as_bytes())
    }

    #[test]
    fn the_filter_is_in_the_address_of_the_next_page_and_no_field_is_lost() {
        let list = EventList {
            events: Vec::new(),
            next: Some("17".into()),
            more: true,
            after_deleted: false,
        };
        let asked = form("source=stripe&type=a%26b&state=parked&before=99");
        let shown = pages(&list, &asked).into_string();
        let next = "/page/events?source=stripe&amp;type=a%26b&amp;state=parked&amp;before=17";
        assert!(shown.contains(next), "{shown}");
        let filter = question(&form("source=stripe&type=&from=2026-11-28"));
        assert_eq!(filter.source.as_deref(), Some("stripe"));
        assert_eq!(filter.event_type, None);
        assert_eq!(filter.from.as_deref(), Some("2026-11-28T00:00:00Z"));
    }

    #[test]
    fn an_empty_list_teaches_the_command_to_type() {
        let none = EventList {
            events: Vec::new(),
            next: None,
            more: false,
            after_deleted: false,
        };
        let shown = table(&none, &form("")).into_string();
        assert!(shown.contains("<code>hookweir send</code>"), "{shown}");
        let shown = table(&none, &form("source=x&before=7")).into_string();
        assert!(shown.contains("No more."), "{shown}");
        let shown = table(&none, &form("source=x")).into_string();
        assert!(shown.contains("<code>hookweir sources</code>"), "{shown}");
    }
}
