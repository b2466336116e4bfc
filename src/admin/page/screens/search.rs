//! Search in bodies: events with a text in them, and how much was searched.

use maud::{Markup, html};

use super::super::form::{Form, address};
use super::super::frame::{Visitor, bytes, empty, time};
use super::super::routes::{Screen, Shown};
use super::events::{choice, rows};
use crate::operate::{Operator, SearchQuestion, SearchView};

/// Events in a page of the answer.
const PAGE: usize = 50;

/// Fields of the question.
const FIELDS: [&str; 5] = ["contains", "source", "type", "from", "to"];

/// Shows the events with a text in their bodies. Without a text, nothing is searched.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let sources = operator.sources();
    let names: Vec<&str> = sources.sources.iter().map(|of| &*of.source).collect();
    let found = form.text("contains").map(|contains| {
        let question = SearchQuestion {
            contains,
            source: form.text("source"),
            event_type: form.text("type"),
            from: form.time("from"),
            to: form.time("to"),
            before: form.text("before"),
            limit: Some(PAGE),
        };
        operator.search(&question, &visitor.caller.name)
    });
    let found = found.transpose()?;
    let shown = html! {
        (fields(form, &names))
        @match &found {
            Some(found) => (answer(found, form)),
            None => {
                p { "Finds events by a text in their bodies, with the same case: the newest 10,000 events of the filter, or 64 MiB, at a time. Give a source or a time to search further back." }
                p.quiet { "It is recorded that you search, without the text." }
            }
        }
    };
    Ok(Shown::Page("Search in bodies".to_owned(), shown))
}

fn fields(form: &Form, sources: &[&str]) -> Markup {
    let value = |name: &str| form.get(name).unwrap_or_default().to_owned();
    html! {
        form.filters action="/page/search" {
            label { "Text in the body " input name="contains" required maxlength="1000" value=(value("contains")); }
            label { "Source " (choice("source", form, sources)) }
            label { "Type " input name="type" value=(value("type")); }
            label { "From (UTC) " input name="from" placeholder="2026-11-28T09:30" value=(value("from")); }
            label { "To (UTC) " input name="to" placeholder="2026-11-29" value=(value("to")); }
            button.primary { "Search" }
            a href="/page/events" { "Events" }
        }
    }
}

fn answer(found: &SearchView, form: &Form) -> Markup {
    let given = FIELDS.iter();
    let given = given.filter_map(|name| Some((*name, form.get(name)?)));
    let next = found.next.as_deref().map(|next| {
        let more: Vec<(&str, &str)> = given.chain([("before", next)]).collect();
        address("/page/search", &more)
    });
    html! {
        p.notice role="status" {
            "Searched " (grouped(found.searched)) " events, " (bytes(found.searched_bytes))
            @if let Some(oldest) = &found.oldest { ", back to " (time(oldest)) " UTC" }
            @if found.next.is_some() { "; older ones are not." } @else { ": all that the filter has." }
        }
        @if found.events.is_empty() {
            @if found.next.is_some() { p { "None of them has the text." } }
            @else { (empty("No event of the filter has the text.", "hookweir events --json", "The body of one event as it came: hookweir show ID --body. The ids:")) }
        } @else { (rows(&found.events)) }
        @if let Some(next) = &next {
            nav.pages aria-label="Pages" { a rel="next" href=(next) { "Search older ones" } }
        }
    }
}

/// Returns a number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_how_much_was_searched_and_keeps_the_question_for_older_ones() {
        let found = SearchView {
            searched: 10_000,
            searched_bytes: 12 << 20,
            oldest: Some("2026-11-28T09:30:00Z".into()),
            next: Some("17".into()),
            ..SearchView::default()
        };
        let form = Form::read(b"contains=a%26b&source=stripe&before=99");
        let shown = answer(&found, &form).into_string();
        assert!(
            shown.contains("Searched 10,000 events, 12.0 MiB"),
            "{shown}"
        );
        assert!(shown.contains("older ones are not."), "{shown}");
        let next = "/page/search?contains=a%26b&amp;source=stripe&amp;before=17";
        assert!(shown.contains(next), "{shown}");
        let all = answer(&SearchView::default(), &form).into_string();
        assert!(all.contains("Searched 0 events, 0 B: all that"), "{all}");
        let numbers = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
    }
}
