//! Sources: where providers send to, what came last, secrets, and pauses.

use maud::{Markup, html};

use super::super::form::{Form, address, named};
use super::super::frame::{Visitor, empty, time, time_or_none};
use super::super::routes::{Screen, Shown};
use crate::operate::{ApiProblem, Operator, PauseOrder, SourceRefusal, SourceView};

/// Lists the sources of this instance.
pub(in crate::admin::page) fn list(operator: &Operator, _: &Visitor, _: &str, _: &Form) -> Screen {
    let all = operator.sources();
    let shown = html! {
        p.quiet { "Times are known since the start of this instance, " (time(&all.started_at)) " UTC." }
        @if all.sources.is_empty() {
            (empty("No source is configured.", "hookweir providers", "Choose a provider, and add a [[source]] to the configuration."))
        } @else { (table(&all.sources)) }
    };
    Ok(Shown::Page("Sources".to_owned(), shown))
}

fn table(sources: &[SourceView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Sources" {
            table {
                thead { tr {
                    th scope="col" { "Source" } th scope="col" { "Provider" } th.number scope="col" { "Requests" }
                    th scope="col" { "Last accepted" } th scope="col" { "Last refused" } th scope="col" { "Needs you" }
                } }
                tbody {
                    @for source in sources {
                        tr {
                            td { a href=(named("/page/sources/", &source.source)) { (source.source) } }
                            td { (source.provider.as_deref().unwrap_or("a scheme of its own")) }
                            td.number { (source.received) }
                            td { (time_or_none(source.last_accepted.as_deref())) }
                            td { @if let Some(refused) = &source.last_refused { (time(&refused.at)) " " (refused.reason) } @else { span.quiet { "never" } } }
                            td { @if source.paused.is_some() { span.mark { "paused" } " " } @if source.warning.is_some() { span.mark { "secrets" } } }
                        }
                    }
                }
            }
        }
    }
}

/// Shows one source.
pub(in crate::admin::page) fn one(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    _: &Form,
) -> Screen {
    let all = operator.sources();
    let mut sources = all.sources.iter();
    let source = sources.find(|of| of.source == name).ok_or_else(|| {
        ApiProblem::not_found(
            format!("there is no source \"{}\"", name.escape_debug()),
            "the list of sources has those of the configuration in force",
        )
    })?;
    let shown = html! {
        @if let Some(warning) = &source.warning { p.failure role="alert" { (warning) } }
        (facts(source))
        (secrets(source))
        (pauses(visitor, source))
        h2 { "Try it" }
        p { "Send a signed test event to it. Type:" }
        pre { code { "hookweir send --source " (source.source) } }
    };
    Ok(Shown::Page(source.source.clone(), shown))
}

fn facts(source: &SourceView) -> Markup {
    let of = |page: &str, more: &[(&str, &str)]| {
        let own = [("source", &*source.source)];
        address(page, &[&own[..], more].concat())
    };
    html! {
        dl.facts {
            dt { "URL to enter at the provider" }
            dd { code.copy { (source.url) }
                @if !source.url_is_public { " " span.quiet { "on this machine; " code { "public_url" } " of the source sets the public one" } } }
            dt { "Provider" } dd { (source.provider.as_deref().unwrap_or("a scheme of its own")) }
            dt { "Longest time to an answer" } dd { (source.deadline_ms) " ms" }
            dt { "Requests since the start" } dd { (source.received) }
            dt { "Last accepted" } dd { (time_or_none(source.last_accepted.as_deref())) }
            dt { "Last redelivery" } dd { (time_or_none(source.last_duplicate.as_deref())) }
            dt { "Last refused" } dd { (refusal(source.last_refused.as_ref())) }
            dt { "Last answered 503" } dd { (refusal(source.last_unavailable.as_ref())) }
            dt { "Look at" } dd { a href=(of("/page/events", &[])) { "its events" } ", "
                a href=(of("/page/events", &[("state", "parked")])) { "parked ones" } ", "
                a href=(of("/page/quarantine", &[])) { "refused deliveries" } ", "
                a href=(of("/page/live", &[])) { "its deliveries live" } ", "
                a href=(of("/page/republish", &[])) { "publish again" } }
        }
    }
}

fn refusal(last: Option<&SourceRefusal>) -> Markup {
    html! {
        @if let Some(last) = last {
            (time(&last.at)) " " strong { (last.reason) }
            @if !last.detail.is_empty() { ": " (last.detail) }
        } @else { span.quiet { "never" } }
    }
}

fn secrets(source: &SourceView) -> Markup {
    html! {
        h2 { "Secrets" }
        @if source.secrets.is_empty() { p.quiet { "None is configured." } }
        @else {
            div.wide tabindex="0" role="region" aria-label="Secrets" {
                table {
                    thead { tr { th scope="col" { "Secret" } th scope="col" { "Last use" } th scope="col" { "Known since" } th scope="col" { "Advice" } } }
                    tbody {
                        @for secret in &source.secrets {
                            tr {
                                td { code { (secret.secret) } @if secret.retiring { " " span.mark { "retiring" } } }
                                td { (time_or_none(secret.last_verified.as_deref())) }
                                td { (time(&secret.known_since)) }
                                td { (secret.advice.as_deref().unwrap_or_default()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn pauses(visitor: &Visitor, source: &SourceView) -> Markup {
    html! {
        @if let Some(paused) = &source.paused {
            h2 { "Paused" }
            p { "Since " (time(&paused.at)) " by " (paused.by) @if let Some(reason) = &paused.reason { ": " (reason) }
                ". Its deliveries are answered 503, and providers send again." }
        }
        @if visitor.operates() {
            @if source.paused.is_some() {
                form method="post" action="/page/resume" {
                    input type="hidden" name="source" value=(source.source);
                    button { "End the pause" }
                }
            } @else {
                details {
                    summary { "Pause this source" }
                    form method="post" action="/page/pause" {
                        input type="hidden" name="source" value=(source.source);
                        p { "Its deliveries are answered 503 then, on all instances. Providers send again." }
                        label { "Reason " input name="reason" required; } " "
                        button { "Pause" }
                    }
                }
            }
        }
    }
}

fn order(form: &Form) -> PauseOrder {
    PauseOrder {
        kind: "source".to_owned(),
        name: form.text("source").unwrap_or_default(),
        reason: form.text("reason"),
    }
}

/// Pauses a source.
pub(in crate::admin::page) fn pause(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let paused = operator.pause(&order(form), &visitor.caller.name)?;
    Ok(Shown::GoTo(named("/page/sources/", &paused.name)))
}

/// Ends the pause of a source.
pub(in crate::admin::page) fn resume(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let resumed = operator.resume(&order(form), &visitor.caller.name)?;
    Ok(Shown::GoTo(named("/page/sources/", &resumed.name)))
}
