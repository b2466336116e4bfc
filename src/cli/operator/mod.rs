//! Commands of an operator, as clients of the admin API: `events`, `show`, `trace`, `sources`, `republish`, `jobs`, `conflicts`, `tail`, `top` and `page`.

mod client;
mod conflicts;
mod erase;
mod event_search;
mod events;
mod import;
mod in_lake;
mod jobs;
mod page;
mod pause;
mod quarantine;
pub(super) mod reload;
mod republish;
mod sources;
mod table;
mod tail;
mod times;
mod top;
mod trace;
mod unrouted;

use super::Failure;
use super::args::{Common, With};
use crate::config::Config;

/// Commands that ask the running service.
#[derive(Debug, clap::Subcommand)]
pub(super) enum OperatorCommand {
    /// List stored events, the newest first, by source, id, type, time, state or sink.
    ///
    /// Asks the running service by its admin API (admin.socket). Reads on until there are enough events, 10,000 at a time.
    Events(With<events::Options>),
    /// Show events as they are stored, by source or type, until stopped.
    ///
    /// Asks the running service by its admin API (admin.socket), once a second. Goes on when the service is back after a restart.
    Tail(With<tail::Options>),
    /// Show one event, or its body, by the provider's id or the message id.
    ///
    /// Asks the running service by its admin API (admin.socket). --body needs the right "bodies": root and the service's own user have it, others by admin.group_may.
    Show(With<trace::ShowOptions>),
    /// Show the way of one event: received, stored, and at each sink confirmed, waiting or parked, with the reason.
    ///
    /// Asks the running service by its admin API (admin.socket). Exits 1 if no event has the id.
    Trace(With<trace::Options>),
    /// List the sources of the running service: URL to enter at the provider, last delivery accepted and refused, with the reason.
    ///
    /// Asks the running service by its admin API (admin.socket).
    Sources(With<sources::Options>),
    /// Show rates, outcomes, mailboxes, cache, batches and backlogs of the running service, and what to turn, until stopped.
    ///
    /// Asks the running service by its admin API (admin.socket), every two seconds. The advice is that of docs/operations/tuning.md.
    Top(With<top::Options>),
    /// Print a link to the operator's page, which lets one browser in, once.
    ///
    /// Asks the running service by its admin API (admin.socket). The page has the rights that you have there. It is served at server.admin_listen; from another machine, forward that port: ssh -L 8421:127.0.0.1:8421 MACHINE.
    Page(With<page::Options>),
    /// Publish stored events again, by their ids, or by source, type, time and state. Without --start: say how many, and do nothing.
    ///
    /// Asks the running service by its admin API (admin.socket). The messages have their old ids and the header x-hookweir-republished. --start needs the right "operate".
    Republish(With<republish::Options>),
    /// Pause a source, which answers 503 then, or a sink, whose events wait then.
    ///
    /// Asks the running service by its admin API (admin.socket), with the right "operate". Holds for all instances of the store, and over restarts. /readyz, metrics, sources and sinks show it. No event is lost: providers send again, the outbox keeps.
    Pause(With<pause::Options>),
    /// End the pause of a source or a sink.
    ///
    /// Asks the running service by its admin API (admin.socket), with the right "operate".
    Resume(With<pause::Options>),
    /// Erase bodies and headers of events, by ids or by a value in their bodies. Without --start: say which, and do nothing.
    ///
    /// Asks the running service by its admin API (admin.socket), with the right "operate". Erases in the store, with conflicts and what waits, in
    /// the spool of the instance, in the quarantine, and in closed event files of this machine. A refused delivery proves no id: it is erased if its
    /// bytes have one of the ids. Keys stay: a redelivery is a duplicate, and is not stored again. Names what it does not reach.
    Erase(With<erase::Options>),
    /// Bring in events that were fetched by hand, after an outage for example: those that are known stay as they are.
    ///
    /// Asks the running service by its admin API (admin.socket), with the right "operate". Ids and types are found as in a delivery, nothing is
    /// verified. It can be repeated. Exits 1 if a line was refused; each is named by its number.
    Import(With<import::Options>),
    /// List, show, watch or cancel jobs that publish events again.
    ///
    /// Asks the running service by its admin API (admin.socket). cancel needs the right "operate".
    Jobs(With<jobs::Options>),
    /// List, retry or discard messages that RabbitMQ has taken although no queue was bound for them.
    ///
    /// Asks the running service by its admin API (admin.socket). A look leaves the messages in their queue. retry sends them to their exchange again, with their old ids; bind a queue before. retry and discard need the right "operate", discard a --reason.
    Unrouted(With<unrouted::Options>),
    /// List, show, send back or discard other bodies that came under a known id, after the event that was published.
    ///
    /// Asks the running service by its admin API (admin.socket). show needs the right "bodies"; send-back and discard need the right "operate", discard a --reason.
    Conflicts(With<conflicts::Options>),
    /// List, show, verify again or discard deliveries that were refused for their signature, time, form or size.
    ///
    /// Asks the running service by its admin API (admin.socket). verify stores those that are proven by the present configuration, judged at the time of their receipt, and may be repeated. verify and discard need the right "operate", discard a --reason; show --headers and --body need the right "bodies".
    Quarantine(With<quarantine::Options>),
}

impl OperatorCommand {
    /// Runs the command with the configuration that `load` returns.
    pub(super) fn run(
        self,
        load: impl FnOnce(Common) -> Result<Config, Failure>,
    ) -> Result<(), Failure> {
        match self {
            Self::Events(With { common, own }) => events::run(&load(common)?, &own),
            Self::Tail(With { common, own }) => tail::run(&load(common)?, &own),
            Self::Show(With { common, own }) => trace::show(&load(common)?, &own),
            Self::Trace(With { common, own }) => trace::trace(&load(common)?, &own),
            Self::Sources(With { common, own }) => sources::run(&load(common)?, &own),
            Self::Top(With { common, own }) => top::run(&load(common)?, &own),
            Self::Page(With { common, own }) => page::run(&load(common)?, &own),
            Self::Pause(With { common, own }) => pause::pause(&load(common)?, &own),
            Self::Resume(With { common, own }) => pause::resume(&load(common)?, &own),
            Self::Republish(With { common, own }) => republish::run(&load(common)?, &own),
            Self::Erase(With { common, own }) => erase::run(&load(common)?, &own),
            Self::Import(With { common, own }) => import::run(&load(common)?, &own),
            Self::Conflicts(With { common, own }) => conflicts::run(&load(common)?, &own),
            Self::Quarantine(With { common, own }) => quarantine::run(&load(common)?, &own),
            Self::Unrouted(With { common, own }) => unrouted::run(&load(common)?, &own),
            Self::Jobs(With { common, own }) => jobs::run(&load(common)?, &own),
        }
    }
}
