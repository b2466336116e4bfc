//! System: version, configuration, reload, and the record of who did what.

use maud::{Markup, html};

use super::super::form::{Form, address};
use super::super::frame::{Visitor, empty, no_more, state, time};
use super::super::routes::{Screen, Shown};
use crate::operate::{
    AuditQuestion, ChangeView, LogFilterOrder, LogFilterView, Operator, ReloadOrder, ReloadView,
};

/// Entries in a page of the record.
const PAGE: usize = 50;

/// Shows version, state of components and the configuration in force.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    _: &Form,
) -> Screen {
    let status = operator.status();
    let shown = html! {
        dl.facts {
            dt { "Version" } dd { (status.version) }
            dt { "Instance" } dd { code { (status.instance) } }
            dt { "Started" } dd { (time(&status.started_at)) " UTC" }
            @for component in &status.components {
                dt { (component.name) }
                dd { (state(&component.state)) @if let Some(reason) = &component.reason { ": " (reason) } }
            }
        }
        p { a href="/page/system/audit" { "Record of changes and opened bodies" } " · " a href="/page/system/instances" { "Instances" } " · " a href="/page/jobs" { "Jobs" } }
        @if visitor.operates() { (reload_form()) }
        (log_filter_form(visitor, &operator.log_filter()))
        h2 { "Configuration in force" }
        p.quiet { "With the place of each value. Secrets are shown as their references." }
        pre.body tabindex="0" aria-label="Configuration" { code { (operator.configuration().text) } }
    };
    Ok(Shown::Page("System".to_owned(), shown))
}

fn reload_form() -> Markup {
    html! {
        h2 { "Reload" }
        p { "Reads the configuration again. With a mistake anywhere, nothing is changed." }
        form method="post" action="/page/system/reload" {
            button.primary name="dry_run" value="true" { "Show what would change" }
        }
    }
}

/// Reads the configuration again: first to show what would change.
pub(in crate::admin::page) fn reload(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let order = ReloadOrder {
        dry_run: form.get("really").is_none(),
    };
    let view = operator.reload(&order, &visitor.caller.name)?;
    let title = if view.dry_run {
        "What a reload would change"
    } else {
        "Reloaded"
    };
    Ok(Shown::Page(title.to_owned(), reloaded(&view)))
}

fn reloaded(view: &ReloadView) -> Markup {
    let nothing = view.changed.is_empty() && view.needs_restart.is_empty();
    html! {
        p { "Read: " @for file in &view.files { code { (file) } " " } }
        @if nothing { p.notice role="status" { "Nothing is different from the configuration in force." } }
        (changes(if view.dry_run { "Would be in force at once" } else { "In force now" }, &view.changed))
        (changes("Not in force before a restart", &view.needs_restart))
        @for warning in &view.warnings { p.failure { (warning) } }
        @if view.dry_run && !view.changed.is_empty() {
            form method="post" action="/page/system/reload" {
                button.primary name="really" value="true" { "Reload: " (view.changed.len()) " changes" }
            }
        }
        p { a href="/page/system" { "System" } }
    }
}

fn log_filter_form(visitor: &Visitor, now: &LogFilterView) -> Markup {
    html! {
        h2 { "Log filter" }
        p { code { (now.filter) }
            @match &now.until {
                Some(until) => { " until " (time(until)) " UTC, then " code { (now.configured) } " again." }
                None => " by the configuration.",
            }
        }
        @if visitor.operates() {
            form method="post" action="/page/system/log-filter" {
                label { "Another one, for 10 minutes " input name="filter" required value="hookweir=debug,info"; } " "
                label { "Reason, for the record " input name="reason"; } " "
                button.primary { "Log by it for 10 minutes" }
            }
            @if now.until.is_some() {
                form method="post" action="/page/system/log-filter" { button { "End it now" } }
            }
        }
    }
}

/// Logs by another filter for 10 minutes, or by that of the configuration again.
pub(in crate::admin::page) fn log_filter(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let order = LogFilterOrder {
        filter: form.text("filter"),
        minutes: None,
        reason: form.text("reason"),
    };
    operator.set_log_filter(&order, &visitor.caller.name)?;
    Ok(Shown::GoTo("/page/system".to_owned()))
}

/// Shows the instances that share the store.
pub(in crate::admin::page) fn instances(
    operator: &Operator,
    _: &Visitor,
    _: &str,
    _: &Form,
) -> Screen {
    let list = operator.instances()?;
    let shown = html! {
        p { "Instances that share the store. If a lease ends, the others publish what waits there." }
        @if list.instances.is_empty() {
            (empty("No instance has a lease.", "hookweir top", "An instance has one from its first look at the store on. Its figures:"))
        } @else {
            div.wide tabindex="0" role="region" aria-label="Instances" {
                table {
                    thead { tr { th scope="col" { "Instance" } th scope="col" { "State" } th scope="col" { "Lease until (UTC)" } } }
                    tbody {
                        @for instance in &list.instances {
                            tr {
                                td { code { (instance.instance) } @if instance.here { " " span.mark { "this one" } } }
                                td { (state(if instance.alive { "alive" } else { "gone" })) }
                                td { (time(&instance.lease_until)) }
                            }
                        }
                    }
                }
            }
        }
        p.quiet { "Each instance has a page of its own, at its own " code { "server.admin_listen" } ": live, actors and the configuration are those of one instance." }
        p { a href="/page/system" { "System" } }
    };
    Ok(Shown::Page("Instances".to_owned(), shown))
}

fn changes(title: &str, changes: &[ChangeView]) -> Markup {
    html! {
        @if !changes.is_empty() {
            h2 { (title) }
            dl.facts {
                @for change in changes {
                    dt { code { (change.option) } }
                    dd { (change.change) @if let Some(place) = &change.place { " " span.quiet { (place) } } }
                }
            }
        }
    }
}

/// Shows who did what, the newest first.
pub(in crate::admin::page) fn audit(
    operator: &Operator,
    _: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let list = operator.audit(&AuditQuestion {
        before: form.text("before"),
        limit: Some(PAGE),
    })?;
    let shown = html! {
        @if list.entries.is_empty() && form.get("before").is_some() {
            (no_more("/page/system/audit"))
        } @else if list.entries.is_empty() {
            (empty("Nothing was changed or opened yet.", "hookweir events", "Changes and opened bodies stand here, a look does not."))
        } @else {
            div.wide tabindex="0" role="region" aria-label="Record" {
                table {
                    thead { tr {
                        th scope="col" { "Time (UTC)" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "On what" }
                        th.number scope="col" { "Count" } th scope="col" { "Reason" }
                    } }
                    tbody {
                        @for entry in &list.entries {
                            tr {
                                td { (time(&entry.at)) } td { (entry.caller) } td { (entry.action) } td.long { (entry.subject) }
                                td.number { (entry.count) } td { (entry.reason.as_deref().unwrap_or_default()) }
                            }
                        }
                    }
                }
            }
        }
        @if let Some(next) = &list.next {
            nav.pages aria-label="Pages" { a rel="next" href=(address("/page/system/audit", &[("before", next)])) { "Older" } }
        }
    };
    Ok(Shown::Page("Record".to_owned(), shown))
}
