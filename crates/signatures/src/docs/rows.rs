//! Rows of a provider's page.

use std::fmt::Write as _;

use crate::IdClass;
use crate::compile::coverage::{duplicates, shown};
use crate::docs::entry::Entry;
use crate::language::describe;
use crate::language::spec::{
    BatchSpec, EmptyBatch, Evidence, HandshakeSpec, IdentityEvidence, Missing, RespondSpec,
};
use crate::language::syntax::TemplateText;

impl Entry {
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let facts = &self.spec.facts;
        let mut rows = vec![("proof", describe::sentence(&self.spec, &self.spec.params))];
        rows.push(("body", self.coverage().into()));
        rows.extend(self.identity());
        rows.extend(
            self.spec
                .handshake
                .iter()
                .map(|handshake| ("handshake", shake(handshake))),
        );
        rows.push(("accepted, and a duplicate", self.accepted()));
        let respond = &self.spec.respond;
        rows.push((
            "refused",
            format!("{}, without detail", respond.reject_status.unwrap_or(401)),
        ));
        rows.push((
            "no room, or not durable yet",
            format!(
                "{} with `Retry-After`",
                respond.overload_status.unwrap_or(503)
            ),
        ));
        rows.push((
            "retries",
            self.retries().unwrap_or_else(|| "not known".into()),
        ));
        rows.extend(
            self.disables()
                .map(|rule| ("disables the webhook after", rule)),
        );
        rows.extend(self.limits());
        let identity = identity_evidence(facts.identity);
        rows.push((
            "how sure",
            format!(
                "proof: {}; duplicates: {identity}; the rest: {}",
                evidence(facts.scheme),
                evidence(facts.rest)
            ),
        ));
        rows.push(("source", facts.source.clone().unwrap_or_default()));
        rows
    }

    /// Time and size that the provider gives.
    fn limits(&self) -> [(&'static str, String); 2] {
        let facts = &self.spec.facts;
        let deadline = facts
            .answer_within_ms
            .map(|ms| format!("{} s", ms as f64 / 1000.0));
        let largest = facts.max_body_bytes.map(|bytes| format!("{bytes} bytes"));
        [
            (
                "wants its answer within",
                deadline.unwrap_or_else(|| "not known; `limits.deadline_ms` holds".into()),
            ),
            (
                "largest body",
                largest.unwrap_or_else(|| "not known; `limits.max_body_bytes` holds".into()),
            ),
        ]
    }

    fn coverage(&self) -> &'static str {
        if self.covered.body {
            "covered by the proof"
        } else if self.covered.checksum {
            "a checksum of it is covered: authenticated, not protected from changes by somebody who means to"
        } else if self.covered.part {
            "a part of it is covered by the proof; the rest is not protected from changes on the way"
        } else {
            "not covered: authenticated, not protected from changes on the way"
        }
    }

    /// Id, type and batches.
    pub(super) fn identity(&self) -> Vec<(&'static str, String)> {
        let event = &self.spec.event;
        let mut rows = Vec::new();
        let (ids, event_type) = match &event.batch {
            Some(batch) => (&batch.id, &batch.event_type),
            None => (&event.id, &event.event_type),
        };
        let shown = ids
            .iter()
            .map(|id| format!("`{id}`"))
            .collect::<Vec<_>>()
            .join(", else ");
        let missing = match event.missing_id {
            Missing::Body => {
                "a digest of its bytes and its type: this provider makes no two equal ones"
            }
            Missing::Unique => "none: every delivery is a new event",
            Missing::Refuse => "refused",
        };
        rows.push((
            "event id",
            match (
                ids.is_empty(),
                self.covered.signs,
                self.covered.id,
                event.stable_id,
            ) {
                (true, ..) => missing.into(),
                (_, true, true, true) => format!("{shown}: signed, the same on a redelivery"),
                (_, true, false, true) => format!("{shown}: not signed, the same on a redelivery"),
                (_, false, _, true) => format!("{shown}: the same on a redelivery"),
                (_, true, true, false) => format!("{shown}: signed, new on a redelivery"),
                (.., false) => format!("{shown}: not signed, new on a redelivery"),
            },
        ));
        if !ids.is_empty() && event.missing_id != Missing::Refuse {
            rows.push(("without one", missing.into()));
        }
        if !event_type.is_empty() {
            rows.push(("event type", format!("`{event_type}`")));
        }
        if let Some(batch) = &event.batch {
            rows.push(("several events", several(batch)));
        }
        rows.extend(self.duplicates());
        rows
    }

    /// Returns the definition of a duplicate, with its limits.
    pub(super) fn duplicates(&self) -> Vec<(&'static str, String)> {
        let event = &self.spec.event;
        let mut rows = vec![(
            "counts as a duplicate",
            duplicates(&self.spec, self.class(), self.covered.replays),
        )];
        if self.class() != IdClass::Object && !self.without_id() {
            rows.push(("an id is known for", shown(self.spec.facts.window())));
        }
        let of_elements = event.batch.iter().flat_map(|batch| {
            batch
                .varies
                .iter()
                .map(|pointer| format!("`{}/*{pointer}`", batch.array))
        });
        let varies: Vec<_> = event
            .varies
            .iter()
            .map(|pointer| format!("`{pointer}`"))
            .chain(of_elements)
            .collect();
        if !varies.is_empty() {
            rows.push(("bodies are compared without", varies.join(", ")));
        }
        if let Some(note) = &self.spec.facts.identity_note {
            rows.push(("tells a redelivery", note.clone()));
        }
        if self.without_id() && event.missing_id == Missing::Unique {
            let advice = "`event = { id = \"…\" }` in `[source.scheme]` if your events carry an id; `same_bytes = \"drop\"` with \
                          `same_bytes_span_secs` if equal bytes are never two events";
            rows.push(("to configure", advice.into()));
        }
        rows
    }

    pub(super) fn accepted(&self) -> String {
        let respond = &self.spec.respond;
        let prescribed = respond.status.is_some()
            || respond.body.is_some()
            || respond.json.is_some()
            || !respond.headers.is_empty();
        if prescribed {
            answer(respond)
        } else {
            "200 `{\"id\": …, \"status\": \"accepted\"}` or `\"duplicate\"`".into()
        }
    }

    /// Returns the provider's rule by which it disables a webhook.
    pub(super) fn disables(&self) -> Option<String> {
        let facts = &self.spec.facts;
        match (facts.disabled_after_failures, facts.disabled_after_hours) {
            (Some(failures), _) => Some(format!("{failures} failures in a row")),
            (None, Some(hours)) => Some(format!(
                "{} days of nothing but failures",
                hours.div_ceil(24)
            )),
            (None, None) => None,
        }
    }

    pub(super) fn retries(&self) -> Option<String> {
        let hours = self.spec.facts.retry_hours?;
        Some(match hours {
            0 => "never by itself".into(),
            1..48 => format!("{hours} h"),
            _ => format!("{} days", hours.div_ceil(24)),
        })
    }
}

pub(super) fn identity_evidence(evidence: IdentityEvidence) -> &'static str {
    match evidence {
        IdentityEvidence::Documented => "documented",
        IdentityEvidence::Recorded => "recorded payloads",
        IdentityEvidence::Sdk => "SDK",
        IdentityEvidence::Recalled => "recalled",
    }
}

pub(super) fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Own => "own",
        Evidence::ThirdParty => "third-party",
        Evidence::Recalled => "recalled",
    }
}

/// Batches in a sentence.
fn several(batch: &BatchSpec) -> String {
    let at = if batch.array.is_whole() {
        "the body".to_owned()
    } else {
        format!("`{}`", batch.array)
    };
    let empty = match batch.empty {
        EmptyBatch::Ok => "an empty one is a health check",
        EmptyBatch::Refuse => "an empty one is refused",
    };
    let kept = if batch.split {
        "each becomes an event of its own; with `batch = \"whole\"` the POST is one, and a retry that puts its events together anew is another"
    } else {
        "the POST is one event; `batch = \"split\"` makes each one of its own"
    };
    format!("the elements of {at}: {kept}; {empty}")
}

/// A handshake in a sentence.
pub(super) fn shake(handshake: &HandshakeSpec) -> String {
    let when = &handshake.when;
    let mut parts = Vec::new();
    parts.extend(when.method.clone());
    let pointer = when.json.as_ref().map(ToString::to_string);
    for (kind, name) in [
        ("query parameter", &when.query),
        ("header", &when.header),
        ("form field", &when.form),
        ("JSON value", &pointer),
    ] {
        if let Some(name) = name {
            let equals = when
                .equals
                .as_ref()
                .map(|value| format!(" = `{value}`"))
                .unwrap_or_default();
            parts.push(format!("with {kind} `{name}`{equals}"));
        }
    }
    let signed = match (handshake.signed, &handshake.secret_from) {
        (true, _) => ", verified first",
        (false, Some(_)) => ", hands over the secret (`learn_secret`)",
        (false, None) => "",
    };
    let switch = handshake
        .switch_param
        .as_ref()
        .map(|name| format!(", with `{name} = \"on\"`"))
        .unwrap_or_default();
    let checks = handshake
        .check
        .iter()
        .map(|(place, value)| format!(", `{place}` must be `{value}`"))
        .collect::<String>();
    let otherwise = handshake
        .otherwise_status
        .map(|status| format!(" (else {status})"))
        .unwrap_or_default();
    let visit = handshake
        .visit
        .as_ref()
        .map(|visit| format!(", after a visit to `{}`", visit.from))
        .unwrap_or_default();
    format!(
        "{}{signed}{checks}{otherwise}{switch}{visit}: answered {}",
        parts.join(" "),
        answer(&handshake.respond)
    )
}

pub(super) fn answer(respond: &RespondSpec) -> String {
    let mut text = respond.status.unwrap_or(200).to_string();
    match (
        &respond.json,
        respond.body.as_ref().map(TemplateText::as_str),
    ) {
        (Some(json), _) => {
            _ = write!(
                text,
                " `{}`",
                serde_json::to_string(json).unwrap_or_default()
            )
        }
        (None, Some("") | None) => text.push_str(", no body"),
        (None, Some(body)) => _ = write!(text, " `{body}`"),
    }
    for (name, value) in &respond.headers {
        let _ = write!(text, ", `{name}: {value}`");
    }
    text
}
