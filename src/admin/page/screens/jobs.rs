//! Jobs that publish events again: a list, one with its progress, and its end.

use maud::{Markup, html};

use super::super::form::{Form, named};
use super::super::frame::{Visitor, empty, state, time, word};
use super::super::routes::{Screen, Shown};
use crate::operate::{JobView, Operator, RepublishQuestion};

/// Lists the jobs, the newest first.
pub(in crate::admin::page) fn list(operator: &Operator, _: &Visitor, _: &str, _: &Form) -> Screen {
    let jobs = operator.jobs()?.jobs;
    let shown = html! {
        p { a href="/page/republish" { "Publish events again" } }
        @if jobs.is_empty() {
            (empty("No job was begun yet.", "hookweir republish --source NAME --from 2h", "A job publishes stored events again. A dry run on the command line:"))
        } @else { (table(&jobs)) }
    };
    Ok(Shown::Page("Jobs".to_owned(), shown))
}

/// Returns a table of jobs.
pub(super) fn table(jobs: &[JobView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Jobs" {
            table {
                thead { tr {
                    th scope="col" { "Begun (UTC)" } th scope="col" { "Job" } th scope="col" { "State" } th scope="col" { "Events" }
                    th.number scope="col" { "Messages" } th scope="col" { "By" }
                } }
                tbody {
                    @for job in jobs {
                        tr {
                            td { (time(&job.created_at)) }
                            td { a href=(named("/page/jobs/", &job.id)) { (choice(&job.choice)) } }
                            td { (state(&word(&job.state))) }
                            td { (job.events) @if let Some(expected) = job.expected { " of " (expected) } }
                            td.number { (job.copies) } td { (job.caller) }
                        }
                    }
                }
            }
        }
    }
}

/// Returns a choice of events in words.
fn choice(asked: &RepublishQuestion) -> String {
    let fields = [
        ("source", &asked.source),
        ("type", &asked.event_type),
        ("from", &asked.from),
        ("to", &asked.to),
        ("state", &asked.state),
        ("sink", &asked.sink),
        ("only to", &asked.only_to),
    ];
    let given = fields.into_iter();
    let given = given.filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    let ids = match &asked.ids[..] {
        [] => None,
        [only] => Some(format!("event {only}")),
        many => Some(format!("{} events by id", many.len())),
    };
    ids.into_iter().chain(given).collect::<Vec<_>>().join(", ")
}

/// Shows one job. While it runs, the page looks again each second.
pub(in crate::admin::page) fn one(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    _: &Form,
) -> Screen {
    let job = operator.job(name)?;
    let place = named("/page/jobs/", &job.id);
    let runs = word(&job.state) == "running";
    let progress = html! {
        div #progress hx-get=[runs.then_some(&*place)] hx-trigger=[runs.then_some("every 1s")] hx-select="#progress" hx-target="#progress" hx-swap="outerHTML" {
            (figures(&job))
            @if runs && visitor.operates() {
                form method="post" action=(format!("{place}/cancel")) { button #cancel { "Cancel the job" } }
            }
        }
    };
    let shown = html! {
        p { a href="/page/jobs" { "All jobs" } }
        (progress)
        p.quiet { "The job goes on if you leave, and after a restart of the service. On the command line: " code { "hookweir jobs watch " (job.id) } }
    };
    Ok(Shown::Page(format!("Job: {}", choice(&job.choice)), shown))
}

fn figures(job: &JobView) -> Markup {
    html! {
        dl.facts {
            dt { "State" } dd { (state(&word(&job.state))) }
            dt { "Events" } dd { (job.events) @if let Some(expected) = job.expected { " of " (expected) " "
                progress max=(expected.max(1)) value=(job.events.min(expected)) aria-label="Progress" {} } }
            dt { "Messages put into the outbox" } dd { (job.copies) }
            dt { "Pace" } dd { (job.pace) " a second" }
            dt { "Begun" } dd { (time(&job.created_at)) " by " (job.caller) }
            dt { "Last step" } dd { (time(&job.changed_at)) }
            dt { "Job" } dd { code { (job.id) } }
        }
    }
}

/// Cancels a job.
pub(in crate::admin::page) fn cancel(
    operator: &Operator,
    visitor: &Visitor,
    name: &str,
    _: &Form,
) -> Screen {
    let job = operator.cancel_job(name, &visitor.caller.name)?;
    Ok(Shown::GoTo(named("/page/jobs/", &job.id)))
}
