//! Actors: mailboxes, batches, cache, and what to turn.

use std::sync::Arc;

use maud::{Markup, html};

use super::super::form::Form;
use super::super::frame::Visitor;
use super::super::routes::{Screen, Shown};
use crate::operate::{Observed, Operator, PartOf, TopView, advise};

/// Shows the figures of this instance, and charts of the last 15 minutes.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    _: &Form,
) -> Screen {
    let now = Arc::new(operator.top());
    let before = visitor.page.keep(&now);
    let before = before.as_deref();
    let shown = html! {
        link rel="stylesheet" href="/page/static/uPlot-1.6.32.min.css";
        script src="/page/static/uPlot-1.6.32.iife.min.js" defer {}
        script src="/page/static/charts.js" defer {}
        div #figures hx-get="/page/actors" hx-trigger="every 3s" hx-select="#figures" hx-target="#figures" hx-swap="outerMorph" {
            (advice(before, &now))
            (mailboxes(&now))
            (means(before, &now))
        }
        h2 { "Charts" }
        p.quiet { "The last 15 minutes, since the start of the service at most. They are kept in its memory, and gone after a restart." }
        div #charts data-figures="/page/actors/figures" {}
        noscript { p { "The charts need JavaScript; the tables do not." } }
    };
    Ok(Shown::Page("Actors".to_owned(), shown))
}

/// Returns the kept figures for the charts, as columns.
pub(in crate::admin::page) fn figures(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    _: &Form,
) -> Screen {
    let now = Arc::new(operator.top());
    visitor.page.keep(&now);
    Ok(Shown::Json(visitor.page.samples().charts()))
}

/// Returns the rate since the look before, or a dash.
pub(super) fn rate(
    before: Option<&TopView>,
    now: &TopView,
    of: impl Fn(&TopView) -> u64,
) -> String {
    before.map_or_else(
        || "–".to_owned(),
        |before| {
            let seconds = now.uptime_ms.saturating_sub(before.uptime_ms) as f64 / 1000.0;
            let count = of(now).saturating_sub(of(before)) as f64;
            format!("{:.1}", count / seconds)
        },
    )
}

/// Returns what to turn, by the tuning guide.
pub(super) fn advice(since: Option<&TopView>, now: &TopView) -> Markup {
    let advice = since.map(|before| advise(before, now)).unwrap_or_default();
    html! {
        h2 { "What to turn" }
        @if advice.is_empty() {
            p { @if since.is_none() { "It is known after two looks: the page looks again in 3 seconds." } @else { "Nothing: no bound is near." } }
        } @else {
            ul.advice {
                @for advice in &advice {
                    li {
                        @if let (Some(now), Some(to)) = (advice.now, advice.to) {
                            strong { code { (advice.turn) } " from " (now) " to " (to) }
                            ": " (advice.because) " At the top of config.toml: " code { (line(&advice.turn, to)) }
                        } @else { strong { (advice.turn) } ": " (advice.because) }
                    }
                }
            }
        }
    }
}

/// Returns the line of the configuration that sets an option.
fn line(option: &str, to: u64) -> String {
    format!("{option} = {to}")
}

fn mailboxes(now: &TopView) -> Markup {
    html! {
        h2 { "Mailboxes" }
        div.wide tabindex="0" role="region" aria-label="Mailboxes" {
            table {
                thead { tr {
                    th scope="col" { "Actor" } th.number scope="col" { "Waiting" } th.number scope="col" { "Highest" }
                    th.number scope="col" { "Capacity" } th scope="col" { "Option" } th scope="col" { "Fill" }
                } }
                tbody {
                    @for mailbox in &now.mailboxes {
                        tr {
                            td { (mailbox.actor) } td.number { (mailbox.depth) } td.number { (mailbox.high) } td.number { (mailbox.capacity) }
                            td { code { (option_of(&mailbox.actor)) } }
                            td { meter min="0" max=(mailbox.capacity.max(1)) value=(mailbox.high) aria-label={ "Highest of " (mailbox.actor) } {} }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the option that bounds the mailbox of an actor.
fn option_of(actor: &str) -> &'static str {
    match actor.split('-').next() {
        Some("verifier") => "verifier.mailbox_capacity",
        Some("dedup") => "dedup.mailbox_capacity",
        Some("publisher") => "publisher.mailbox_capacity",
        _ => "",
    }
}

fn means(before: Option<&TopView>, now: &TopView) -> Markup {
    let of = |part: PartOf| format!("{} of {}", part.part, part.whole);
    let mean = |observed: Observed| observed.sum.checked_div(observed.count);
    let ms = |observed: Observed| {
        mean(observed).map_or_else(
            || "–".to_owned(),
            |us| format!("{:.1} ms", us as f64 / 1000.0),
        )
    };
    let hits = now.cache_hits + now.cache_misses;
    html! {
        h2 { "Batches, cache, room" }
        dl.facts {
            dt { "Commits a second" } dd { (rate(before, now, |view| view.commits.count)) }
            dt { "Events in a commit, mean since the start" } dd { (mean(now.batches).map_or_else(|| "–".to_owned(), |n| n.to_string())) " of " (now.options.batch_events) " (" code { "dedup.batch_events" } ")" }
            dt { "Time of a commit, mean since the start" } dd { (ms(now.commits)) ", " (now.options.writers) " writers (" code { "dedup.writers" } ")" }
            dt { "Time of a confirm, mean since the start" } dd { (ms(now.confirms)) }
            dt { "Cache" } dd { (now.cache_entries) " keys of " (now.options.cache_entries) " (" code { "dedup.cache_entries" } "), "
                @if let Some(share) = (now.cache_hits * 100).checked_div(hits) { (share) " % hits" } @else { "not asked yet" } }
            dt { "Requests in flight" } dd { (of(now.in_flight_requests)) " (" code { "limits.in_flight_requests" } ")" }
            dt { "Bytes in flight" } dd { (of(now.in_flight_bytes)) " (" code { "limits.in_flight_bytes" } ")" }
            dt { "Connections" } dd { (of(now.connections)) }
            dt { "Spool" } dd { (super::super::frame::bytes(now.spool_bytes)) @if now.options.spool_bytes > 0 { " of " (super::super::frame::bytes(now.options.spool_bytes)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(uptime_ms: u64, hits: u64) -> TopView {
        TopView {
            uptime_ms,
            cache_hits: hits,
            ..TopView::default()
        }
    }

    #[test]
    fn a_rate_is_of_a_second_and_without_a_look_before_there_is_none() {
        let (before, now) = (look(2000, 5), look(4500, 25));
        assert_eq!(rate(Some(&before), &now, |view| view.cache_hits), "8.0");
        assert_eq!(rate(None, &now, |view| view.cache_hits), "–");
    }

    #[test]
    fn advice_is_a_line_that_can_be_copied_into_the_configuration() {
        let config = crate::config::Config::from_toml(&line("dedup.writers", 4));
        assert_eq!(config.expect("a configuration").dedup.writers, 4);
    }
}
