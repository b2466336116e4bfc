//! Overview: ready or not, rates, what waits where, and what to turn.

use std::sync::Arc;

use maud::{Markup, html};

use super::super::form::{Form, address, named};
use super::super::frame::{Visitor, state};
use super::super::routes::{Screen, Shown};
use super::actors::{advice, rate};
use crate::operate::{Operator, SinkBacklog, StatusView, TopView};

/// Shows the state of this instance.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    _: &Form,
) -> Screen {
    let (status, now) = (operator.status(), Arc::new(operator.top()));
    let before = visitor.page.keep(&now);
    let before = before.as_deref();
    let shown = html! {
        div #figures hx-get="/page" hx-trigger="every 3s" hx-select="#figures" hx-target="#figures" hx-swap="outerMorph" {
            (components(&status))
            (outcomes(before, &now))
            (sinks(&now.sinks))
            (advice(before, &now))
        }
        (first_steps(&now))
    };
    Ok(Shown::Page("Overview".to_owned(), shown))
}

fn components(status: &StatusView) -> Markup {
    let word = if status.ready { "ready" } else { "not ready" };
    html! {
        p.big { (state(word)) " "
            span.quiet { "version " (status.version) ", instance " code { (status.instance) } } }
        @let others: Vec<_> = status.components.iter().filter(|of| of.state != "ready").collect();
        @if !others.is_empty() {
            dl.facts {
                @for component in others {
                    dt { (component.name) " " (state(&component.state)) }
                    dd { (component.reason.as_deref().unwrap_or_default()) }
                }
            }
        }
    }
}

fn outcomes(before: Option<&TopView>, now: &TopView) -> Markup {
    html! {
        h2 { "Deliveries" }
        div.wide tabindex="0" role="region" aria-label="Deliveries by source" {
            table {
                thead { tr {
                    th scope="col" { "Source" } th.number scope="col" { "Accepted/s" } th.number scope="col" { "Accepted" }
                    th.number scope="col" { "Redeliveries" } th.number scope="col" { "Refused" } th.number scope="col" { "503, no room" }
                    th.number scope="col" { "503, failed" }
                } }
                tbody {
                    @for source in &now.sources {
                        @let accepted = |view: &TopView| view.sources.iter().find(|of| of.source == source.source).map_or(0, |of| of.accepted);
                        tr {
                            td { a href=(named("/page/sources/", &source.source)) { (source.source) } }
                            td.number { (rate(before, now, accepted)) }
                            td.number { (source.accepted) } td.number { (source.duplicate) }
                            td.number { a href=(address("/page/live", &[("source", &source.source), ("outcome", "rejected")])) { (source.rejected) } }
                            td.number { (source.shed) } td.number { (source.failed) }
                        }
                    }
                }
            }
        }
        @if now.shed.iter().any(|of| of.count > 0) {
            p { "503 for lack of room, by reason: "
                @for of in now.shed.iter().filter(|of| of.count > 0) { (of.reason) " " (of.count) "; " } }
        }
    }
}

fn sinks(sinks: &[SinkBacklog]) -> Markup {
    html! {
        h2 { "Sinks" }
        div.wide tabindex="0" role="region" aria-label="Sinks" {
            table {
                thead { tr {
                    th scope="col" { "Sink" } th scope="col" { "State" } th.number scope="col" { "Waiting" }
                    th.number scope="col" { "Oldest" } th.number scope="col" { "Parked" } th.number scope="col" { "Unrouted" }
                    th.number scope="col" { "Confirmed" }
                } }
                tbody {
                    @for sink in sinks {
                        @let word = match sink.up { Some(true) => "ready", Some(false) => "not ready", None => "not configured" };
                        tr {
                            td { (sink.sink) } td { (state(word)) }
                            td.number { a href=(address("/page/events", &[("state", "waiting"), ("sink", &sink.sink)])) { (sink.waiting) } }
                            td.number { (sink.oldest_seconds) " s" }
                            td.number { a href=(address("/page/parked", &[("sink", &sink.sink)])) { (sink.parked) } }
                            td.number { a href=(address("/page/unrouted", &[("sink", &sink.sink)])) { (sink.unrouted) } }
                            td.number { (sink.confirmed) }
                        }
                    }
                }
            }
        }
    }
}

fn first_steps(now: &TopView) -> Markup {
    let nothing = now.sources.iter().all(|of| of.accepted == 0);
    html! {
        @if nothing {
            (super::super::frame::empty("No delivery was accepted since the start.", "hookweir send", "Send a signed test event, and see it arrive."))
        }
    }
}
