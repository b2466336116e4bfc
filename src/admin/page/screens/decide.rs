//! Lists of entries that are decided on: the chosen ones go on their way, or are deleted with a reason. Both need the right `operate`.

use maud::{Markup, html};

use super::super::form::{Form, address};
use super::super::frame::{Visitor, no_more};
use crate::operate::{ApiProblem, SinkBacklog};

/// Addresses and words of such a list.
pub(super) struct Decided<'d> {
    /// Address of the list.
    pub(super) place: &'static str,
    /// Sink of the entries.
    pub(super) sink: Option<&'d str>,
    /// Field with a chosen entry.
    pub(super) field: &'static str,
    /// Last part of the address that sends them on.
    pub(super) act: &'static str,
    /// Question before they are sent on.
    pub(super) asks: &'static str,
    /// Words on the button that sends them on.
    pub(super) does: &'static str,
    /// Words below the buttons.
    pub(super) note: &'static str,
}

/// A page of the list.
pub(super) struct Listed<'l> {
    pub(super) count: usize,
    pub(super) table: &'l Markup,
    /// Text in place of an empty list.
    pub(super) none: &'l Markup,
    /// Place of the next page.
    pub(super) next: Option<&'l str>,
}

impl Decided<'_> {
    fn address(&self, more: &[(&str, &str)]) -> String {
        let sink = self.sink.map(|sink| ("sink", sink));
        let all: Vec<(&str, &str)> = sink.into_iter().chain(more.iter().copied()).collect();
        address(self.place, &all)
    }

    /// Returns the address of the list after a decision, which says what was done.
    pub(super) fn done(&self, done: &str) -> String {
        self.address(&[("done", done)])
    }

    /// Returns a page of the list, with what was done before and the buttons.
    pub(super) fn list(&self, visitor: &Visitor, form: &Form, listed: &Listed) -> Markup {
        html! {
            @if listed.count == 0 && form.get("after").is_some() {
                (no_more(&self.address(&[])))
            } @else if listed.count == 0 {
                (listed.none)
            } @else {
                form method="post" action=(format!("{}/{}", self.place, self.act)) {
                    @if let Some(sink) = self.sink { input type="hidden" name="sink" value=(sink); }
                    (listed.table)
                    @if visitor.operates() { (self.buttons(listed.count)) }
                }
            }
            @if let Some(next) = listed.next {
                nav.pages aria-label="Pages" { a rel="next" href=(self.address(&[("after", next)])) { "More" } }
            }
        }
    }

    fn buttons(&self, count: usize) -> Markup {
        html! {
            p.choices { label { input type="checkbox" data-all=(self.field); " All " (count) " of this page" } }
            label { "Reason, for the record " input name="reason"; } " "
            button.primary data-confirm=(self.asks) { (self.does) } " "
            button formmethod="get" formaction=(format!("{}/discard", self.place)) { "Delete the chosen ones…" }
            p.quiet { (self.note) " A deletion is asked for on a screen of its own." }
        }
    }

    /// Returns the form of a deletion: the chosen entries, a reason of its own, and one button.
    pub(super) fn deletion(
        &self,
        chosen: &[String],
        reason: Option<&str>,
    ) -> Result<Markup, ApiProblem> {
        if chosen.is_empty() {
            return Err(ApiProblem::bad_question(
                "nothing is chosen, so nothing would be deleted",
                "go back, and choose at least one in the list",
            ));
        }
        let does = format!("Delete {} for good", chosen.len());
        Ok(html! {
            form method="post" action=(format!("{}/discard", self.place)) {
                @if let Some(sink) = self.sink { input type="hidden" name="sink" value=(sink); }
                @for value in chosen { input type="hidden" name=(self.field) value=(value); }
                p { label { "Reason of the deletion, for the record " input name="reason" required value=[reason]; } }
                button.primary data-confirm={ (does) "?" } { (does) } " "
                a href=(self.address(&[])) { "Delete nothing" }
            }
        })
    }
}

/// Returns links to the lists of all sinks, with the number of entries in each.
pub(super) fn sinks(
    place: &str,
    now: &str,
    all: &[SinkBacklog],
    count: fn(&SinkBacklog) -> u64,
) -> Markup {
    html! {
        p.choices { "Sink: "
            @for of in all {
                a href=(address(place, &[("sink", &of.sink)])) aria-current=[(of.sink == now).then_some("true")] { (of.sink) " (" (count(of)) ")" } " "
            }
        }
    }
}

/// Returns the sink that is asked for, or the first one with entries, or the first one.
pub(super) fn sink<'s>(
    form: &'s Form,
    all: &'s [SinkBacklog],
    count: fn(&SinkBacklog) -> u64,
) -> &'s str {
    let most = all.iter().find(|of| count(of) > 0).or(all.first());
    let most = most.map(|of| &*of.sink);
    form.get("sink").or(most).unwrap_or("default")
}

/// Returns the result of a change, out of the address that it led to.
pub(super) fn done(form: &Form) -> Markup {
    html! { @if let Some(done) = form.get("done") { p.notice role="status" { (done) } } }
}
