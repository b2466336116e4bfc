//! Publishing again: a filter, a dry run, and the start of a job.

use maud::{Markup, html};
use uuid::Uuid;

use super::super::form::{Form, address, named};
use super::super::frame::{Visitor, bytes, empty, time};
use super::super::routes::{Screen, Shown};
use super::events::choice;
use crate::operate::{ApiProblem, Operator, RepublishOrder, RepublishPlan, RepublishQuestion};

/// Events a second, unless the form says another number.
const PACE: u32 = 100;

/// Returns the choice of events that the fields make.
fn chosen(form: &Form) -> RepublishQuestion {
    let ids = form.all("id");
    let ids = ids.iter().flat_map(|ids| ids.split_whitespace());
    RepublishQuestion {
        ids: ids.map(str::to_owned).collect(),
        source: form.text("source"),
        event_type: form.text("type"),
        from: form.time("from"),
        to: form.time("to"),
        state: form.text("state"),
        sink: form.text("sink"),
        only_to: form.text("only_to"),
        after: form.text("after"),
    }
}

fn pace(form: &Form) -> Result<u32, ApiProblem> {
    Ok(form.number("pace")?.unwrap_or(PACE))
}

/// Shows the form, and with a choice its dry run.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let sources = operator.sources();
    let names: Vec<&str> = sources.sources.iter().map(|of| &*of.source).collect();
    let fields = ["id", "source", "type", "from", "to", "state", "sink"];
    let is_asked = fields.iter().any(|field| form.get(field).is_some());
    let pace = pace(form)?;
    let plan = match is_asked {
        true => Some(counted(form, operator.republish_plan(&chosen(form))?)?),
        false => None,
    };
    let shown = html! {
        p { a href="/page/jobs" { "Jobs that were begun" } }
        (fields_of(form, &names, pace))
        @match &plan {
            None => p.quiet { "Choose by ids, or by source, type, time and state. Nothing is published before you have seen the dry run." },
            Some(plan) => (dry_run(visitor, form, plan, pace)),
        }
    };
    Ok(Shown::Page("Republish".to_owned(), shown))
}

/// Adds the parts of the dry run that were counted before.
fn counted(form: &Form, part: RepublishPlan) -> Result<RepublishPlan, ApiProblem> {
    let number = |name| form.number(name).map(|number| number.unwrap_or(0));
    let (first, last) = (form.text("counted_first"), form.text("counted_last"));
    Ok(RepublishPlan {
        events: part.events.saturating_add(number("counted")?),
        bytes: part.bytes.saturating_add(number("counted_bytes")?),
        first: [first, part.first].into_iter().flatten().min(),
        last: [last, part.last].into_iter().flatten().max(),
        next: part.next,
    })
}

fn fields_of(form: &Form, sources: &[&str], pace: u32) -> Markup {
    let value = |name: &str| form.get(name).unwrap_or_default().to_owned();
    html! {
        form.filters action="/page/republish" {
            label { "Ids, with spaces between " input name="id" value=(form.all("id").join(" ")); }
            label { "Source " (choice("source", form, sources)) }
            label { "Type " input name="type" value=(value("type")); }
            label { "From (UTC) " input name="from" placeholder="2026-11-28" value=(value("from")); }
            label { "To (UTC) " input name="to" placeholder="2026-11-29" value=(value("to")); }
            label { "State " (choice("state", form, &["waiting", "parked", "published"])) }
            label { "Sink of the state " input name="sink" value=(value("sink")); }
            label { "Only to sink " input name="only_to" value=(value("only_to")); }
            label { "Events a second " input name="pace" inputmode="numeric" pattern="[0-9]+" value=(pace); }
            button.primary { "Dry run" }
        }
    }
}

fn dry_run(visitor: &Visitor, form: &Form, plan: &RepublishPlan, pace: u32) -> Markup {
    let (Some(first), Some(last)) = (&plan.first, &plan.last) else {
        return html! {
            @if let Some(next) = &plan.next { p { "None so far. " a href=(go_on(form, plan, next)) { "Count on" } } }
            @else { (empty("No event fits.", "hookweir events", "The list of events takes the same filter.")) }
        };
    };
    let seconds = plan.events.div_ceil(u64::from(pace.max(1)));
    let takes = match seconds {
        0..120 => format!("{seconds} s"),
        _ => format!("{} min", seconds.div_ceil(60)),
    };
    html! {
        h2 { "Dry run" }
        dl.facts {
            dt { "Events" } dd { strong { (plan.events) } @if plan.next.is_some() { " so far" } }
            dt { "Bytes" } dd { (bytes(plan.bytes)) }
            dt { "Received from" } dd { (time(first)) " UTC" }
            dt { "to" } dd { (time(last)) " UTC" }
            dt { "Takes" } dd { (takes) " at " (pace) " a second" }
        }
        @if let Some(next) = &plan.next { p { "There may be more. " a href=(go_on(form, plan, next)) { "Count on" } } }
        p { "Each message keeps its id, and has the header " code { "x-hookweir-republished" } "." }
        @if !visitor.operates() { p.quiet { "To begin needs the right " code { "operate" } "." } }
        @else if plan.next.is_none() { (start_form(form, plan)) }
        @else { p { "A job can begin once all events are counted." } }
    }
}

/// Returns the fields of a choice that are given.
fn given(form: &Form) -> Vec<(&'static str, String)> {
    let names = [
        "source", "type", "from", "to", "state", "sink", "only_to", "pace",
    ];
    let fields = names
        .into_iter()
        .filter_map(|name| Some((name, form.text(name)?)));
    let ids = form.all("id").into_iter().map(|id| ("id", id));
    fields.chain(ids).collect()
}

fn go_on(form: &Form, plan: &RepublishPlan, next: &str) -> String {
    let mut fields = given(form);
    fields.push(("after", next.to_owned()));
    fields.push(("counted", plan.events.to_string()));
    fields.push(("counted_bytes", plan.bytes.to_string()));
    fields.extend(plan.first.clone().map(|first| ("counted_first", first)));
    fields.extend(plan.last.clone().map(|last| ("counted_last", last)));
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    address("/page/republish", &fields)
}

/// Returns the form that begins the job. It has an id, so that a second click begins no second job.
fn start_form(form: &Form, plan: &RepublishPlan) -> Markup {
    // Numbers of the parts before stand in the address, where anybody may have written them.
    let in_parts = form.get("after").is_some() || form.get("counted").is_some();
    let does = match in_parts {
        true => "Publish all that fit again".to_owned(),
        false => format!("Publish {} events again", plan.events),
    };
    html! {
        form method="post" action="/page/republish" {
            @for (name, value) in given(form) { input type="hidden" name=(name) value=(value); }
            input type="hidden" name="job" value=(Uuid::now_v7());
            @if !in_parts { input type="hidden" name="expected" value=(plan.events); }
            label { "Reason, for the record " input name="reason"; } " "
            button.primary data-confirm={ (does) "?" } { (does) }
        }
    }
}

/// Begins the job.
pub(in crate::admin::page) fn start(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let order = RepublishOrder {
        choice: chosen(form),
        id: form.text("job"),
        pace: Some(pace(form)?),
        expected: form.number("expected")?,
        reason: form.text("reason"),
    };
    let job = operator.republish(&order, &visitor.caller.name)?;
    Ok(Shown::GoTo(named("/page/jobs/", &job.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_that_is_counted_in_parts_adds_up() {
        let part = |events, first: &str, next: Option<&str>| RepublishPlan {
            events,
            bytes: 10,
            first: Some(first.to_owned()),
            last: Some(first.to_owned()),
            next: next.map(str::to_owned),
        };
        let form = Form::read(b"source=stripe&pace=50");
        let plan = counted(&form, part(7, "2026-11-28T00:00:00.000Z", Some("99")));
        let plan = plan.expect("numbers");
        let next = go_on(&form, &plan, "99");
        let query = next.split_once('?').expect("a query").1;
        let form = Form::read(query.as_bytes());
        assert_eq!(chosen(&form).after.as_deref(), Some("99"));
        let all = counted(&form, part(3, "2026-11-29T00:00:00.000Z", None));
        let all = all.expect("numbers");
        assert_eq!((all.events, all.bytes), (10, 20));
        assert_eq!(all.first.as_deref(), Some("2026-11-28T00:00:00.000Z"));
        assert_eq!(all.last.as_deref(), Some("2026-11-29T00:00:00.000Z"));
        assert_eq!(pace(&form), Ok(50));
    }
}
