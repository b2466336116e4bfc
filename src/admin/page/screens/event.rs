//! One event: its way to the sinks, its headers and its body.

use maud::{Markup, html};

use super::super::body::{self, BodyPlace};
use super::super::curl;
use super::super::form::{Form, address, event_address};
use super::super::frame::{Visitor, bytes, event_link, filter, state, time, word};
use super::super::routes::{Screen, Shown};
use crate::config::model::Right;
use crate::operate::{EventView, OpenedBody, Operator, SinkView, TraceView};

/// Shows the way of an event. Its headers and its body are closed.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    form: &Form,
) -> Screen {
    let trace = operator.trace(name, form.get("source"))?;
    let shown = html! {
        (facts(&trace.event))
        (timeline(&trace))
        (actions(visitor, &trace.event))
    };
    Ok(Shown::Page(trace.event.event_id.clone(), shown))
}

/// Shows headers and body. It is recorded who opens them.
pub(in crate::admin::page) fn opened(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    form: &Form,
) -> Screen {
    let event = operator.event(name, form.get("source"))?;
    let opened = operator.body(&event.message_id, None, &visitor.caller.name)?;
    let place = event_address(&event.message_id);
    let body = body::shown(&opened.bytes, &BodyPlace::alone(&place), form)?;
    let sources = operator.sources().sources;
    let source = sources.iter().find(|of| of.source == event.source);
    let url = source.map_or("http://127.0.0.1/", |of| &of.url);
    let shown = html! {
        p { a href=(place) { "Way of the event" } }
        (headers(&opened))
        h2 { "Body" }
        p.quiet { (bytes(event.bytes)) @if let Some(kind) = &event.content_type { ", " (kind) }
            ". It is recorded that you have opened it." }
        (body)
        (curl::shown(&event, &opened, url))
    };
    Ok(Shown::Page(format!("Body of {}", event.event_id), shown))
}

/// Hands the whole body out as a file.
pub(in crate::admin::page) fn download(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    form: &Form,
) -> Screen {
    let opened = operator.body(name, form.get("source"), &visitor.caller.name)?;
    Ok(Shown::Download(opened))
}

fn headers(opened: &OpenedBody) -> Markup {
    html! {
        h2 { "Headers" }
        @if opened.headers.is_empty() {
            p.quiet { "None is kept: " code { "forward_headers" } " of the source names the headers that are." }
        } @else {
            dl.facts {
                @for (name, value) in &opened.headers { dt { code { (name) } } dd { code { (value) } } }
            }
        }
    }
}

fn facts(event: &EventView) -> Markup {
    html! {
        dl.facts {
            dt { "State" } dd { (state(&word(&event.state))) }
            dt { "Source" } dd { (filter("source", &event.source)) " "
                a.quiet href=(super::super::form::named("/page/sources/", &event.source)) { "look at the source" } }
            @if let Some(kind) = &event.event_type { dt { "Type" } dd { (filter("type", kind)) } }
            dt { "Provider's id" } dd { code { (event.event_id) } }
            dt { "Message id" } dd { code { (event.message_id) } }
            dt { "Received" } dd { (time(&event.received_at)) " UTC" }
            dt { "Body" } dd { (bytes(event.bytes)) @if let Some(kind) = &event.content_type { ", " (kind) } }
            @if let Some(first) = &event.conflict_of { dt { "Other body than" } dd { (event_link(first, first)) } }
            @if let Some(first) = &event.same_bytes_as { dt { "Same bytes as" } dd { (event_link(first, first)) } }
        }
    }
}

fn timeline(trace: &TraceView) -> Markup {
    let event = &trace.event;
    html! {
        h2 { "Way" }
        ol.timeline {
            li { (time(&event.received_at)) @if event.verified_by.is_some() { " received, verified and stored" } @else { " received and stored" } " as number " (trace.number) }
            @for sink in &event.sinks { li { (at_sink(sink)) } }
            @if event.sinks.is_empty() { li { "no sink wants it, by the configuration of now" } }
            @for at in &trace.confirmed_at { li { (time(at)) " confirmed by a sink" } }
            @for job in &trace.chosen_by {
                li { (time(&job.created_at)) " put into the outbox again by "
                    a href=(super::super::form::named("/page/jobs/", &job.id)) { "job of " (job.caller) }
                    @if let Some(sink) = &job.only_to { ", to " (sink) " only" } }
            }
            @if trace.jobs_unknown { li { "the jobs that published it again cannot be read now" } }
        }
    }
}

fn at_sink(sink: &SinkView) -> Markup {
    html! {
        @if let Some(since) = &sink.since { (time(since)) " " }
        "sink " (filter("sink", &sink.sink)) ": " (state(&word(&sink.state)))
        @if let Some(attempts) = sink.attempts { ", " (attempts) " attempts without a confirm" }
        @if let Some(next) = &sink.next_attempt { ", next attempt " (time(next)) }
        @if let Some(reason) = &sink.reason { ": " (reason) }
    }
}

fn actions(visitor: &Visitor, event: &EventView) -> Markup {
    let place = event_address(&event.message_id);
    let again = address("/page/republish", &[("id", &event.message_id)]);
    html! {
        h2 { "Headers and body" }
        @if visitor.may(Right::Bodies) {
            p { a.button href=(format!("{place}/body")) { "Open headers and body" } " "
                a.button href=(format!("{place}/body#curl")) { "Copy as curl" } " "
                a href=(format!("{place}/download")) download { "Download the body" } }
            p.quiet { "It is recorded who opens them." }
        } @else {
            p.quiet { "They need the right " code { "bodies" } ", which you do not have." }
        }
        @if visitor.operates() {
            h2 { "Publish it again" }
            p { a.button href=(again) { "Publish this event again" } " after a dry run, under its message id." }
        }
        h2 { "On the command line" }
        pre { code { "hookweir trace " (event.message_id) "\nhookweir show " (event.message_id) " --body > body" } }
        @if event.sinks.iter().any(|sink| sink.reason.is_some()) {
            p { a href=(address("/page/parked", &[("sink", event.sinks.iter().find(|sink| sink.reason.is_some()).map_or("default", |sink| &sink.sink))])) { "Parked events of this sink" } }
        }
    }
}
