//! The page of providers whose redeliveries nothing tells from another event.

use std::fmt::Write as _;

use crate::docs::page::Page;
use crate::language::spec::{IdentityEvidence, Missing, SchemeSpec};

/// Name of the page in `docs/reference/providers`.
const FILE: &str = "COPIES.md";

/// Link from the table of all providers to the page.
pub(crate) const LINK: &str = "[Redeliveries that come out twice](COPIES.md) lists providers where nothing tells a redelivery from another event.";

/// Returns `true` if nothing tells a redelivery from another event, so that it is published again.
pub fn comes_out_twice(spec: &SchemeSpec) -> bool {
    let event = &spec.event;
    let without_id =
        event.id.is_empty() && event.batch.as_ref().is_none_or(|batch| batch.id.is_empty());
    event.missing_id == Missing::Unique && (without_id || !event.stable_id)
}

/// The page, of presets with their names.
pub(crate) fn page<'e>(presets: impl Iterator<Item = (&'static str, &'e SchemeSpec)>) -> Page {
    let mut text = String::from(
        "# Redeliveries that come out twice\n\n\
         Made from the presets in `crates/signatures/presets`, as the other pages are.\n\n\
         These providers send nothing that tells a redelivery from another event: no id, or a new one for each attempt, and a body that \
         another event may have as well. Every delivery is published. If its bytes are those of an earlier one, its message is marked \
         with `x-hookweir-same-bytes-as`, which names the first message. A consumer of such a source compares, or does what can be done \
         twice.\n\n\
         If the events of a source carry an id of their own, name it: `event = { id = \"{json:/id}\" }` in `[source.scheme]`.\n\n\
         Some other providers leave the id out of some deliveries. The page of a provider says so, and what happens then.\n\n\
         | provider | why | evidence |\n|---|---|---|\n",
    );
    for (name, spec) in presets.filter(|(_, spec)| comes_out_twice(spec)) {
        let facts = &spec.facts;
        let evidence = match facts.identity {
            IdentityEvidence::Documented => "documented",
            IdentityEvidence::Recorded => "recorded payloads",
            IdentityEvidence::Sdk => "source or SDK",
            IdentityEvidence::Recalled => "recalled",
        };
        let title = facts.name.as_deref().unwrap_or(name);
        let why = facts
            .identity_note
            .as_deref()
            .unwrap_or_default()
            .replace('|', "\\|");
        let _ = writeln!(text, "| [{title}]({name}.md) | {why} | {evidence} |");
    }
    Page {
        file: FILE.into(),
        text,
    }
}
