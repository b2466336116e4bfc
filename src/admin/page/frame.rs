//! Frame of each screen: head, navigation, and small parts that several screens show.

use std::sync::Arc;

use maud::{DOCTYPE, Markup, html};

use super::Page;
use super::form::{address, event_address};
use crate::admin::caller::Caller;
use crate::config::model::Right;
use crate::operate::ApiProblem;

/// A person behind a browser, who is logged in.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) caller: Caller,
    pub(super) page: Arc<Page>,
}

impl Visitor {
    pub(super) fn may(&self, right: Right) -> bool {
        self.caller.may.contains(&right)
    }

    /// Returns `true` if the visitor may change something.
    pub(super) fn operates(&self) -> bool {
        self.may(Right::Operate)
    }
}

/// Screens in the navigation.
const SCREENS: [(&str, &str); 12] = [
    ("/page", "Overview"),
    ("/page/live", "Live"),
    ("/page/events", "Events"),
    ("/page/sources", "Sources"),
    ("/page/quarantine", "Quarantine"),
    ("/page/parked", "Parked"),
    ("/page/unrouted", "Unrouted"),
    ("/page/conflicts", "Conflicts"),
    ("/page/republish", "Republish"),
    ("/page/lakehouse", "Lakehouse"),
    ("/page/actors", "Actors"),
    ("/page/system", "System"),
];

/// Options of htmx: no style of its own, and no error in the place of figures.
const HTMX: &str =
    r#"{"includeIndicatorCSS":false,"noSwap":[204,304,"4xx","5xx"],"history":false}"#;

fn head(title: &str, more: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX);
                title { (title) " · Hookweir" }
                link rel="icon" href="/page/static/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/page/static/page.css";
                script src="/page/static/htmx-4.0.1.min.js" defer {}
                script src="/page/static/page.js" defer {}
            }
            body { (more) }
        }
    }
}

/// Returns a screen in its frame.
pub(super) fn page(visitor: &Visitor, path: &str, title: &str, screen: &Markup) -> Markup {
    head(
        title,
        &html! {
            a.skip href="#main" { "Skip to the content" }
            (banner(visitor, path))
            main #main tabindex="-1" {
                h1 { (title) }
                (screen)
            }
        },
    )
}

fn banner(visitor: &Visitor, path: &str) -> Markup {
    let is_here = |screen: &str| match screen {
        "/page" => path == screen,
        _ => path == screen || path.starts_with(&format!("{screen}/")),
    };
    html! {
        header.banner {
            a.brand href="/page" { "Hookweir" }
            form.find action="/page/find" role="search" {
                label.hidden for="find" { "Find an event by its id" }
                input #find name="id" type="search" placeholder="Provider's id or message id" required accesskey="f";
                button { "Find" }
            }
            form.who method="post" action="/page/logout" {
                span { (visitor.caller.name) } " "
                button { "Log out" }
            }
            nav aria-label="Screens" {
                ul {
                    @for (screen, name) in SCREENS {
                        li { a href=(screen) aria-current=[is_here(screen).then_some("page")] { (name) } }
                    }
                }
            }
        }
    }
}

/// Returns a page for somebody who is not logged in.
pub(super) fn bare(title: &str, shown: &Markup) -> Markup {
    head(title, &html! { main.bare #main { (shown) } })
}

/// Returns an error for somebody who is not logged in, with a link to go on by.
pub(super) fn outside(address: &str, problem: &ApiProblem) -> Markup {
    let shown = html! {
        h1 { (problem.title) }
        (described(problem))
        p { a href=(address) { "Go on from here" } }
    };
    bare(&problem.title, &shown)
}

/// Returns an error in the frame.
pub(super) fn problem(visitor: &Visitor, path: &str, problem: &ApiProblem) -> Markup {
    page(visitor, path, &problem.title, &described(problem))
}

/// Returns an error in words: the failure, and the next step.
pub(super) fn described(problem: &ApiProblem) -> Markup {
    html! {
        div.failure role="alert" {
            p.lines { (problem.detail) }
            p { strong { "Next: " } (problem.next) }
        }
    }
}

/// Returns a time as people read it, in UTC.
pub(super) fn time(at: &str) -> Markup {
    let shown = at.trim_end_matches('Z').replace('T', " ");
    html! { time datetime=(at) { (shown) } }
}

/// Returns a time, or a dash.
pub(super) fn time_or_none(at: Option<&str>) -> Markup {
    match at {
        Some(at) => time(at),
        None => html! { span.quiet { "never" } },
    }
}

/// Returns a number of bytes as people read it.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(size, _)| count >= *size);
    unit.map_or_else(
        || format!("{count} B"),
        |(size, name)| format!("{:.1} {name}", count as f64 / *size as f64),
    )
}

/// Returns a link to an event.
pub(super) fn event_link(message_id: &str, shown: &str) -> Markup {
    html! { a.id href=(event_address(message_id)) { (shown) } }
}

/// Returns a name in a list, as a filter of the list of events.
pub(super) fn filter(field: &str, value: &str) -> Markup {
    let to = address("/page/events", &[(field, value)]);
    html! { a.filter href=(to) title={ "Events with this " (field) } { (value) } }
}

/// Returns a state as a word with a mark, so that nobody needs to tell colours apart.
pub(super) fn state(word: &str) -> Markup {
    let (class, mark) = match word {
        "published" | "confirmed" | "ready" | "done" | "accepted" | "alive" => ("good", "✓"),
        "waiting" | "degraded" | "running" | "duplicate" | "challenge" => ("slow", "…"),
        "parked" | "not ready" | "rejected" | "failed" | "shed" | "gone" => ("bad", "✕"),
        _ => ("quiet", "·"),
    };
    html! { span.state.(class) { span aria-hidden="true" { (mark) } " " (word) } }
}

/// Returns the word of an enum as JSON shows it.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns an empty list with the command that fills it.
pub(super) fn empty(why: &str, command: &str, does: &str) -> Markup {
    html! {
        div.empty {
            p { (why) }
            p { (does) " Type:" }
            pre { code { (command) } }
        }
    }
}

/// Returns the end of a list whose last page was full. `first` is the address of its first page.
pub(super) fn no_more(first: &str) -> Markup {
    html! { p.notice { "No more. " a href=(first) { "To the first page" } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_is_never_markup() {
        let evil = "<script>alert(1)</script>\"'";
        for shown in [
            filter("source", evil),
            event_link(evil, evil),
            state(evil),
            time(evil),
        ] {
            let shown = shown.into_string();
            assert!(!shown.contains("<script"), "{shown}");
            assert!(!shown.contains("\"'\""), "{shown}");
        }
    }

    #[test]
    fn bytes_are_shown_in_their_largest_unit() {
        let shown = [0, 1023, 1024, 1 << 20, 3 << 30].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "3.0 GiB"]);
    }
}
