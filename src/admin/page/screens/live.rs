//! Live: outcomes of this instance as they happen.

use maud::{Markup, html};

use super::super::form::{Form, address};
use super::super::frame::{Visitor, filter, state, time};
use super::super::routes::{Screen, Shown};
use super::events::choice;
use crate::operate::{LiveList, LiveQuestion, LiveView, Operator};

/// Kinds of outcomes.
const OUTCOMES: [&str; 6] = [
    "accepted",
    "duplicate",
    "challenge",
    "rejected",
    "shed",
    "failed",
];

/// Returns the question that the fields of a filter ask.
pub(in crate::admin::page) fn question(form: &Form, after: Option<String>) -> LiveQuestion {
    LiveQuestion {
        source: form.text("source"),
        outcome: form.text("outcome"),
        after,
        wait_ms: None,
    }
}

/// Shows the outcomes that are kept. With JavaScript, the page adds new ones.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    _: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let list = operator.live(&question(form, None))?;
    let sources = operator.sources();
    let names: Vec<&str> = sources.sources.iter().map(|of| &*of.source).collect();
    let given = ["source", "outcome"];
    let given = given
        .into_iter()
        .filter_map(|name| Some((name, form.get(name)?)));
    let given: Vec<(&str, &str)> = given.chain([("after", &*list.next)]).collect();
    let shown = html! {
        form.filters action="/page/live" {
            label { "Source " (choice("source", form, &names)) }
            label { "Outcome " (choice("outcome", form, &OUTCOMES)) }
            button.primary { "Filter" }
            a href="/page/live" { "Clear" }
        }
        div #live data-stream=(address("/page/live/stream", &given)) {
            p.choices {
                span #connection role="status" { "not connected: reload for newer ones" } " "
                button type="button" data-pause hidden aria-pressed="false" { "Pause" } " "
                span #sampled role="status" {}
            }
            (table(&list))
        }
        (super::super::frame::empty("A delivery is shown as soon as it is answered, on this instance.", "hookweir send", "Nothing comes? Send a test event."))
    };
    Ok(Shown::Page("Live".to_owned(), shown))
}

fn table(list: &LiveList) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Outcomes" {
            table {
                thead { tr {
                    th scope="col" { "Time (UTC)" } th scope="col" { "Source" } th scope="col" { "Type" } th scope="col" { "Provider's id" } th scope="col" { "Outcome" }
                    th scope="col" { "Reason" } th.number scope="col" { "ms" }
                } }
                tbody #outcomes { (rows(list)) }
            }
        }
    }
}

/// Returns the rows of outcomes, the newest first.
pub(in crate::admin::page) fn rows(list: &LiveList) -> Markup {
    html! { @for outcome in list.outcomes.iter().rev() { (row(outcome)) } }
}

fn row(outcome: &LiveView) -> Markup {
    let ms = outcome.took_us as f64 / 1000.0;
    html! {
        tr {
            td { (time(&outcome.at)) }
            td { (filter("source", &outcome.source)) }
            td { @if let Some(kind) = &outcome.event_type { (filter("type", kind)) } }
            td { @if let Some(id) = &outcome.event_id { a.id href=(address("/page/find", &[("id", id)])) { (id) } } }
            td { (state(&outcome.outcome)) }
            td.long { (outcome.reason) @if !outcome.detail.is_empty() { ": " (outcome.detail) } }
            td.number { (format!("{ms:.1}")) }
        }
    }
}

/// Returns what the stream says of outcomes that are not shown. Empty if all are.
pub(in crate::admin::page) fn not_shown(list: &LiveList) -> String {
    let mut words = Vec::new();
    if list.restarted {
        words.push("the service was restarted: what came meanwhile is not known here".to_owned());
    }
    if list.lost > 0 {
        words.push(format!("{} lost while away", list.lost));
    }
    if list.left_out > 0 {
        words.push(format!(
            "too many to show: the newest {} are, {} are not",
            list.outcomes.len(),
            list.left_out
        ));
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> LiveList {
        LiveList {
            instance: "i".into(),
            outcomes: Vec::new(),
            left_out: 0,
            lost: 0,
            restarted: false,
            next: "i.0".into(),
        }
    }

    #[test]
    fn a_stream_says_what_it_does_not_show() {
        assert_eq!(not_shown(&list()), "");
        let sampled = LiveList {
            left_out: 940,
            lost: 7,
            ..list()
        };
        let said = not_shown(&sampled);
        assert!(said.contains("7 lost while away"), "{said}");
        assert!(said.contains("940 are not"), "{said}");
    }

    #[test]
    fn a_refusal_is_shown_with_its_reason_and_as_text() {
        let refused = LiveView {
            at: "2026-11-28T09:30:00.000Z".into(),
            source: "stripe".into(),
            event_id: None,
            event_type: None,
            outcome: "rejected".into(),
            reason: "signature_mismatch".into(),
            detail: "<b>no</b>".into(),
            took_us: 1250,
        };
        let shown = row(&refused).into_string();
        assert!(shown.contains("signature_mismatch: &lt;b&gt;no"), "{shown}");
        assert!(shown.contains("1.2") || shown.contains("1.3"), "{shown}");
    }
}
