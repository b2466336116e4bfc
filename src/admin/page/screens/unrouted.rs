//! Messages that RabbitMQ has taken although no queue was bound for them: sent to their exchange again, or
//! deleted with a reason.

use maud::{Markup, html};

use super::super::form::Form;
use super::super::frame::{Visitor, bytes, described, empty, event_link, filter};
use super::super::routes::{Screen, Shown};
use super::decide::{Decided, Listed, done, sink, sinks};
use crate::operate::{
    ApiProblem, HELD_MESSAGES, Operator, UnroutedChanged, UnroutedDecision, UnroutedList,
    UnroutedQuestion, UnroutedView,
};

/// Status of a question about a sink that is no RabbitMQ.
const NO_BROKER: u16 = 400;

/// Returns the list of a sink.
fn decided(sink: &str) -> Decided<'_> {
    Decided {
        place: "/page/unrouted",
        sink: Some(sink),
        field: "id",
        act: "retry",
        asks: "Send the chosen messages to their exchange again?",
        does: "Send the chosen ones again",
        note: "Bind a queue to the exchange first: a message that no queue is bound for comes back here.",
    }
}

/// Lists the messages at the front of a sink's queue of unrouted messages. They stay there.
pub(in crate::admin::page) fn screen(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let backlogs = operator.top().sinks;
    let sink = sink(form, &backlogs, |of| of.unrouted);
    let asked = UnroutedQuestion {
        sink: Some(sink.to_owned()),
        limit: Some(HELD_MESSAGES),
    };
    let list = match operator.unrouted(&asked) {
        Ok(list) => messages(visitor, form, &list),
        Err(problem) if problem.status == NO_BROKER => none_kept(&problem),
        Err(problem) => return Err(problem),
    };
    let shown = html! {
        (done(form))
        p.quiet { "RabbitMQ has confirmed these messages although no queue was bound for them. They wait in a queue of their own, and a look leaves them there." }
        (sinks("/page/unrouted", sink, &backlogs, |of| of.unrouted))
        (list)
    };
    Ok(Shown::Page("Unrouted".to_owned(), shown))
}

fn none_kept(problem: &ApiProblem) -> Markup {
    html! {
        (described(problem))
        (empty("Only a sink with an amqp:// URL keeps unrouted messages.", "hookweir sinks", "The sinks, with the URL of each:"))
    }
}

fn messages(visitor: &Visitor, form: &Form, list: &UnroutedList) -> Markup {
    let none = empty(
        &format!("No message is in queue {}.", list.queue),
        &format!("hookweir unrouted list --sink {}", list.sink),
        "A message is unrouted if no queue is bound to the exchange for its routing key. The same list as text:",
    );
    let listed = Listed {
        count: list.messages.len(),
        table: &table(&list.messages),
        none: &none,
        next: None,
    };
    html! {
        @if !list.messages.is_empty() {
            p { "The first " (list.messages.len()) " of " (list.waiting) " in queue " code { (list.queue) } ". For all of them, type " code { "hookweir unrouted retry --all --sink " (list.sink) } "." }
        }
        (decided(&list.sink).list(visitor, form, &listed))
    }
}

fn table(messages: &[UnroutedView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Unrouted messages" {
            table {
                thead { tr {
                    th scope="col" { "Choose" } th scope="col" { "Routing key" } th scope="col" { "Source" }
                    th scope="col" { "Type" } th scope="col" { "Provider's id" } th.number scope="col" { "Size" }
                } }
                tbody { @for message in messages { (row(message)) } }
            }
        }
    }
}

fn row(message: &UnroutedView) -> Markup {
    let id = &*message.message_id;
    let name = message.event_id.as_deref().unwrap_or(id);
    html! {
        tr {
            td { @if id.is_empty() { span.quiet { "no message id" } }
                @else { input type="checkbox" name="id" value=(id) aria-label={ "Choose " (name) }; } }
            td { code { (message.routing_key) } }
            td { @if let Some(source) = &message.source { (filter("source", source)) } }
            td { @if let Some(kind) = &message.event_type { (filter("type", kind)) } }
            td { @if !id.is_empty() { (event_link(id, name)) } }
            td.number { (bytes(message.bytes)) }
        }
    }
}

/// Asks for the reason of a deletion.
pub(in crate::admin::page) fn ask(_: &Operator, _: &Visitor, _: &str, form: &Form) -> Screen {
    let (sink, chosen) = (form.get("sink").unwrap_or("default"), form.all("id"));
    let asked = decided(sink).deletion(&chosen, form.get("reason"))?;
    let shown = html! {
        p { "Unrouted messages of sink " (sink) ": " }
        ul { @for id in &chosen { li { code { (id) } } } }
        p.quiet { "No consumer gets a deleted message. Its event stays in the store for " code { "store.keep_events_days" } ", and can be published again." }
        (asked)
    };
    Ok(Shown::Page("Delete unrouted messages".to_owned(), shown))
}

fn decision(form: &Form) -> UnroutedDecision {
    UnroutedDecision {
        sink: form.text("sink"),
        ids: form.all("id"),
        first: None,
        reason: form.text("reason"),
    }
}

/// Leads to the list, which says what was done.
fn back(decision: &UnroutedDecision, changed: &UnroutedChanged, done: &str) -> Screen {
    let asked = decision.ids.len() as u64;
    let mut says = format!(
        "{} {done}. {} in the queue now.",
        changed.count, changed.waiting
    );
    if let Some(refused) = &changed.refused {
        says.push_str(&format!(
            " The broker did not take all: {refused}. They are in the queue again."
        ));
    } else if changed.count < asked {
        let missing = asked - changed.count;
        says.push_str(&format!(
            " {missing} of {asked} were not among the first {HELD_MESSAGES} any more: choose them again."
        ));
    }
    let sink = decision.sink.as_deref().unwrap_or("default");
    Ok(Shown::GoTo(decided(sink).done(&says)))
}

/// Sends the chosen messages to their exchange again.
pub(in crate::admin::page) fn retry(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let decision = decision(form);
    let changed = operator.retry_unrouted(&decision, &visitor.caller.name)?;
    back(&decision, &changed, "sent to the exchange")
}

/// Deletes the chosen messages.
pub(in crate::admin::page) fn discard(
    operator: &Operator,
    visitor: &Visitor,
    _: &str,
    form: &Form,
) -> Screen {
    let decision = decision(form);
    let changed = operator.discard_unrouted(&decision, &visitor.caller.name)?;
    back(&decision, &changed, "deleted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_an_id_cannot_be_chosen_and_text_of_strangers_is_no_markup() {
        let message = |id: &str| UnroutedView {
            message_id: id.to_owned(),
            routing_key: "<script>x</script>".to_owned(),
            source: None,
            event_id: None,
            event_type: None,
            bytes: 2048,
        };
        let strange = row(&message("")).into_string();
        assert!(!strange.contains("checkbox") && strange.contains("no message id"));
        assert!(!strange.contains("<script"), "{strange}");
        let named = row(&message("7")).into_string();
        assert!(named.contains("name=\"id\" value=\"7\""), "{named}");
    }

    #[test]
    fn messages_that_were_not_handed_out_or_not_taken_are_told() {
        let decision = UnroutedDecision {
            ids: vec!["1".into(), "2".into()],
            ..UnroutedDecision::default()
        };
        let says = |count, refused: Option<&str>| {
            let changed = UnroutedChanged {
                count,
                waiting: 2,
                refused: refused.map(str::to_owned),
            };
            match back(&decision, &changed, "sent to the exchange") {
                Ok(Shown::GoTo(place)) => place,
                _ => panic!("no place"),
            }
        };
        let gone = says(1, None);
        assert!(gone.contains("1+of+2+were+not+among"), "{gone}");
        let refused = says(1, Some("no room"));
        assert!(refused.contains("no+room"), "{refused}");
        assert!(!says(2, None).contains("again"));
    }
}
