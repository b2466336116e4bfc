//! The reference of providers: what every preset says, as pages for people. `docs/reference/providers` is made of it, and a test keeps it so.

use std::fmt::Write as _;

pub use super::copies::comes_out_twice;
use crate::IdClass;
use crate::compile::coverage::{duplicates, is_nonce, is_time, shown};
use crate::docs::copies;
use crate::docs::describe;
use crate::language::presets;
use crate::language::spec::{
    EmptyBatch, Evidence, HandshakeSpec, IdKind, IdentityEvidence, JwtAlg, Kind, Missing,
    RespondSpec, SchemeSpec,
};
use crate::params_of;

/// A page of the reference.
#[derive(Debug)]
pub struct Page {
    /// Its name in `docs/reference/providers`.
    pub file: String,
    /// Markdown.
    pub text: String,
}

/// A preset with its name.
struct Entry {
    name: &'static str,
    spec: SchemeSpec,
}

/// The whole reference: `README.md` with one table of all, and a page for each provider.
pub fn pages() -> Result<Vec<Page>, String> {
    let entries: Vec<Entry> = presets::names()
        .map(Entry::read)
        .collect::<Result<_, _>>()?;
    let mut pages = vec![Page {
        file: "README.md".into(),
        text: table(&entries),
    }];
    pages.push(copies::page(
        entries.iter().map(|entry| (entry.name, &entry.spec)),
    ));
    pages.extend(entries.iter().map(|entry| Page {
        file: format!("{}.md", entry.name),
        text: entry.page(),
    }));
    Ok(pages)
}

/// The page of one provider.
pub fn page(name: &str) -> Result<String, String> {
    match presets::canonical(name) {
        Some(name) => Entry::read(name).map(|entry| entry.page()),
        None => presets::table(name).map(|_| String::new()),
    }
}

fn table(entries: &[Entry]) -> String {
    let mut text = String::from(
        "# Providers\n\n\
         Made from the presets in `crates/signatures/presets`; `HOOKWEIR_UPDATE_DOCS=1 cargo test --workspace --lib reference` writes it anew. What the columns say:\n\n\
         - **proof**: how a delivery proves where it comes from. `none` proves nothing.\n\
         - **body**: whether a change of the body breaks the proof. Where it does not, a delivery is authentic but not protected.\n\
         - **event id**: *signed* breaks the proof when it is changed; *unsigned* does not;\n\
         \x20 *object*: the id is of an object, or its meaning is not known; *body*: there is no id, and equal bodies are one event; *none*: every\n\
         \x20 delivery is a new event. [message.md](../message.md) says what counts as a duplicate, and what a consumer sees.\n\
         - **several**: several events can come in one POST. *split*: each becomes an event of its own, unless `batch = \"whole\"`; *whole*: the\n\
         \x20 POST is one event, unless `batch = \"split\"`.\n\
         - **retries**: for how long, where it is known.\n\
         - **sure**: *own*: read in the provider's own code or documentation; *third-party*: read in independent code only; *recalled*: from\n\
         \x20 memory. The first word is the proof, the second everything else. A recalled proof is unconfirmed: a source with it warns at start.\n\n",
    );
    let _ = writeln!(text, "{} presets. {}\n", entries.len(), copies::LINK);
    text.push_str("| provider | `provider =` | proof | body | event id | several | handshake | retries | sure |\n|---|---|---|---|---|---|---|---|---|\n");
    for entry in entries {
        let spec = &entry.spec;
        let yes = |is: bool| if is { "yes" } else { "" };
        let _ = writeln!(
            text,
            "| [{}]({}.md) | `{}` | {} | {} | {} | {} | {} | {} | {} |",
            entry.title(),
            entry.name,
            entry.name,
            entry.proof(),
            if entry.covers_body() {
                "covered"
            } else {
                "not covered"
            },
            entry.id_in_a_word(),
            spec.event
                .batch
                .as_ref()
                .map_or("", |batch| if batch.split { "split" } else { "whole" }),
            yes(!spec.handshake.is_empty()),
            entry.retries().unwrap_or_default(),
            format_args!(
                "{}, {}",
                evidence(spec.facts.scheme),
                evidence(spec.facts.rest)
            ),
        );
    }
    text
}

impl Entry {
    fn read(name: &'static str) -> Result<Self, String> {
        let spec = SchemeSpec::from_table(presets::table(name)?)
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name, spec })
    }

    fn title(&self) -> &str {
        self.spec.facts.name.as_deref().unwrap_or(self.name)
    }

    fn page(&self) -> String {
        let facts = &self.spec.facts;
        let mut text = format!("# {}\n\n", self.title());
        if facts.scheme == Evidence::Recalled {
            text.push_str(
                "> **Unconfirmed.** This scheme was recalled, not read in the provider's own code or documentation. Try it with a real delivery \
                 before you rely on it; a source that uses it warns at start.\n\n",
            );
        }
        if let Some(note) = &facts.note {
            let _ = writeln!(text, "{note}\n");
        }
        let _ = writeln!(
            text,
            "## At the provider\n\nThe endpoint is `https://YOUR-HOST/ingest/{}`.",
            self.name
        );
        if let Some(console) = &facts.console {
            let _ = writeln!(text, "Where: {console}.");
        }
        let _ = writeln!(
            text,
            "\n## In config.toml\n\n```toml\n{}```\n",
            self.source()
        );
        text.push_str("## What to expect\n\n| | |\n|---|---|\n");
        for (what, says) in self.rows() {
            let _ = writeln!(text, "| {what} | {} |", says.replace('|', "\\|"));
        }
        text
    }

    /// What the source looks like in `config.toml`.
    fn source(&self) -> String {
        let Self { name, spec } = self;
        let env = name
            .to_uppercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let mut text =
            format!("[[source]]\nname = \"{name}\"\npath = \"{name}\"\nprovider = \"{name}\"\n");
        let jwt = spec.jwt.as_ref();
        let shared = jwt.is_none_or(|jwt| {
            jwt.algs
                .iter()
                .any(|alg| matches!(alg, JwtAlg::HS256 | JwtAlg::HS384 | JwtAlg::HS512))
        });
        match spec.kind {
            Kind::None => {}
            Kind::Basic => _ = writeln!(text, "secrets = [\"env:{env}_SECRET\"]  # user:password"),
            Kind::Hmac | Kind::Hash | Kind::Token | Kind::Jwt if shared => {
                let keys = spec
                    .sig
                    .iter()
                    .filter_map(|sig| sig.secret)
                    .max()
                    .map_or(1, |last| last + 1);
                let keys: Vec<_> = match keys {
                    1 => vec![format!("\"env:{env}_SECRET\"")],
                    several => (1..=several)
                        .map(|number| format!("\"env:{env}_SECRET_{number}\""))
                        .collect(),
                };
                let _ = writeln!(text, "secrets = [{}]", keys.join(", "));
            }
            Kind::Rsa if spec.cert_url.is_some() => {
                text.push_str("# its certificates are fetched from the provider\n")
            }
            Kind::Jwt if jwt.is_some_and(|jwt| jwt.x5c.is_some()) => {
                text.push_str("# its certificates come along; Apple's root is known\n")
            }
            Kind::Jwt if jwt.is_some_and(|jwt| jwt.key_api.is_some()) => {
                if self.says("\"{secret}\"") {
                    let _ = writeln!(
                        text,
                        "secrets = [\"env:{env}_SECRET\"]  # of the provider's API, which gives the keys"
                    );
                } else {
                    text.push_str("# its keys are fetched from the provider\n");
                }
            }
            Kind::Jwt if jwt.is_some_and(|jwt| jwt.jwks.is_some()) => {
                text.push_str("# its keys are known: `jwks` can be left out\n")
            }
            Kind::Jwt => text.push_str("jwks = \"https://…\"  # or public_keys = [\"file:…\"]\n"),
            _ => _ = writeln!(text, "public_keys = [\"file:/etc/hookweir/{name}.pub\"]"),
        }
        if ["{url", "{base_url", "{path", "{canonical:"]
            .iter()
            .any(|word| self.says(word))
        {
            let _ = writeln!(
                text,
                "public_url = \"https://YOUR-HOST/ingest/{name}\"  # as entered at the provider, to the letter"
            );
        }
        let params: Vec<_> = params_of(spec)
            .into_iter()
            .map(|(name, value)| format!("{name} = \"{}\"", value.as_deref().unwrap_or("…")))
            .collect();
        if !params.is_empty() {
            let _ = writeln!(text, "params = {{ {} }}", params.join(", "));
        }
        text
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let facts = &self.spec.facts;
        let mut rows = vec![("proof", describe::sentence(&self.spec, &self.spec.params))];
        rows.push((
            "body",
            if self.covers_body() {
                "covered by the proof"
            } else if self.message().contains("{body|crc32}") {
                "a checksum of it is covered: authenticated, not protected from changes by somebody who means to"
            } else if self.spec.document == "jwt" || self.message().contains("{json:") || self.message().contains("{form:") {
                "a part of it is covered by the proof; the rest is not protected from changes on the way"
            } else {
                "not covered: authenticated, not protected from changes on the way"
            }
            .into(),
        ));
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
            format!("{}, without detail", respond.reject.unwrap_or(401)),
        ));
        rows.push((
            "no room, or not durable yet",
            format!("{} with `Retry-After`", respond.overload.unwrap_or(503)),
        ));
        rows.push((
            "retries",
            self.retries().unwrap_or_else(|| "not known".into()),
        ));
        let deadline = facts
            .answer_within_ms
            .map(|ms| format!("{} s", ms as f64 / 1000.0));
        rows.push((
            "wants its answer within",
            deadline.unwrap_or_else(|| "not known; `limits.deadline_ms` holds".into()),
        ));
        let largest = facts.max_body_bytes.map(|bytes| format!("{bytes} bytes"));
        rows.push((
            "largest body",
            largest.unwrap_or_else(|| "not known; `limits.max_body_bytes` holds".into()),
        ));
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

    /// Id, type and batches.
    fn identity(&self) -> Vec<(&'static str, String)> {
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
        let missing = match event.missing {
            Missing::Body => {
                "a digest of its bytes and its type: this provider makes no two equal ones"
            }
            Missing::Unique => "none: every delivery is a new event",
            Missing::Refuse => "refused",
        };
        rows.push((
            "event id",
            match (ids.is_empty(), self.signs(), self.covers_id(), event.stable) {
                (true, ..) => missing.into(),
                (_, true, true, true) => format!("{shown}: signed, the same on a redelivery"),
                (_, true, false, true) => format!("{shown}: not signed, the same on a redelivery"),
                (_, false, _, true) => format!("{shown}: the same on a redelivery"),
                (_, true, true, false) => format!("{shown}: signed, new on a redelivery"),
                (.., false) => format!("{shown}: not signed, new on a redelivery"),
            },
        ));
        if !ids.is_empty() && event.missing != Missing::Refuse {
            rows.push(("without one", missing.into()));
        }
        if !event_type.is_empty() {
            rows.push(("event type", format!("`{event_type}`")));
        }
        if let Some(batch) = &event.batch {
            let at = if batch.at.is_empty() {
                "the body".to_owned()
            } else {
                format!("`{}`", batch.at)
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
            rows.push((
                "several events",
                format!("the elements of {at}: {kept}; {empty}"),
            ));
        }
        rows.extend(self.duplicates());
        rows
    }

    /// What counts as a duplicate, and what else to know of that.
    fn duplicates(&self) -> Vec<(&'static str, String)> {
        let event = &self.spec.event;
        let mut rows = vec![(
            "counts as a duplicate",
            duplicates(&self.spec, self.class(), self.replays()),
        )];
        if self.class() != IdClass::Object && !self.without_id() {
            rows.push(("an id is known for", shown(self.spec.facts.window())));
        }
        let of_elements = event.batch.iter().flat_map(|batch| {
            batch
                .varies
                .iter()
                .map(|pointer| format!("`{}/*{pointer}`", batch.at))
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
        if self.without_id() && event.missing == Missing::Unique {
            let advice = "`event = { id = \"…\" }` in `[source.scheme]` if your events carry an id; `same_bytes = \"drop\"` with \
                          `same_bytes_span_secs` if equal bytes are never two events";
            rows.push(("to configure", advice.into()));
        }
        rows
    }

    fn without_id(&self) -> bool {
        let event = &self.spec.event;
        event.id.is_empty() && event.batch.as_ref().is_none_or(|batch| batch.id.is_empty())
    }

    /// As `coverage` has it, without keys.
    fn class(&self) -> IdClass {
        match (self.spec.event.id_kind, self.covers_id()) {
            (IdKind::Event, true) => IdClass::Signed,
            (IdKind::Event, false) => IdClass::Unsigned,
            _ => IdClass::Object,
        }
    }

    /// As `coverage` has it, without keys.
    fn replays(&self) -> bool {
        let spec = &self.spec;
        let message = self.message();
        let jwt = spec.jwt.as_ref();
        let tokens = || {
            message
                .split('{')
                .skip(1)
                .filter_map(|rest| rest.split(['}', '|']).next())
        };
        let nonce = tokens()
            .filter_map(|token| token.split_once(':'))
            .any(|(_, name)| is_nonce(name))
            || jwt.is_some_and(|jwt| jwt.require.iter().any(|claim| claim == "jti"));
        let time = tokens().any(|token| {
            token == "ts"
                || token == "canonical:contentful"
                || token.split_once(':').is_some_and(|(_, name)| is_time(name))
        }) || jwt.is_some_and(|jwt| {
            jwt.max_age.is_some()
                || jwt
                    .require
                    .iter()
                    .any(|claim| claim == "iat" || claim == "exp")
        });
        self.signs()
            && spec.each.is_none()
            && (nonce || (time && (self.covers_body() || spec.document == "jwt")))
    }

    fn accepted(&self) -> String {
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

    fn retries(&self) -> Option<String> {
        let hours = self.spec.facts.retry_hours?;
        Some(match hours {
            0 => "never by itself".into(),
            1..48 => format!("{hours} h"),
            _ => format!("{} days", hours.div_ceil(24)),
        })
    }

    fn proof(&self) -> String {
        let hash = self.spec.hash.name().to_uppercase();
        match self.spec.kind {
            Kind::Hmac if self.spec.hash_by.is_some() => "HMAC".into(),
            Kind::Hmac => format!("HMAC-{hash}"),
            Kind::Hash => hash,
            Kind::Token => "token".into(),
            Kind::Basic => "basic".into(),
            Kind::Jwt => "JWT".into(),
            Kind::Ed25519 => "Ed25519".into(),
            Kind::EcdsaP256 => "ECDSA P-256".into(),
            Kind::Rsa if self.spec.hash_by.is_some() => "RSA".into(),
            Kind::Rsa => format!("RSA-{hash}"),
            Kind::None => "none".into(),
        }
    }

    fn id_in_a_word(&self) -> &'static str {
        let event = &self.spec.event;
        match (self.without_id(), event.missing) {
            (true, Missing::Body) => "body",
            (true, _) => "none",
            _ if event.id_kind != IdKind::Event => "object",
            _ if self.covers_id() => "signed",
            _ => "unsigned",
        }
    }

    /// What is signed.
    fn message(&self) -> &str {
        let detached = self
            .spec
            .jwt
            .as_ref()
            .and_then(|jwt| jwt.detached.as_deref());
        self.spec
            .message
            .as_deref()
            .or(detached)
            .unwrap_or_default()
    }

    fn signs(&self) -> bool {
        !matches!(self.spec.kind, Kind::Token | Kind::Basic | Kind::None)
    }

    /// As [`crate::Facts::body_covered`], without keys.
    fn covers_body(&self) -> bool {
        let spec = &self.spec;
        let message = self.message();
        let jwt = spec
            .jwt
            .as_ref()
            .is_some_and(|jwt| jwt.body.is_some() || jwt.from == "body");
        let bound = spec.bind.iter().any(|bind| bind.of.contains("{body"));
        let body = message.replace("{body|crc32}", "").contains("{body");
        self.signs()
            && (body
                || message.contains("{form:sorted")
                || message.contains("{canonical:")
                || jwt
                || bound)
    }

    /// As [`crate::Facts::id_covered`], without keys.
    fn covers_id(&self) -> bool {
        let spec = &self.spec;
        let message = self.message();
        let in_claims = spec.document == "jwt";
        let ids = spec
            .event
            .id
            .iter()
            .chain(spec.event.batch.iter().flat_map(|batch| &batch.id));
        self.signs()
            && ids
                .flat_map(|id| id.split('{').skip(1))
                .filter_map(|rest| rest.split(['}', '|']).next())
                .all(|token| {
                    let in_body =
                        token.starts_with("json:") || token.starts_with("form:") || token == "body";
                    (in_body && (self.covers_body() || in_claims))
                        || (token.starts_with("query:") && message.contains("{url"))
                        || message.contains(&format!("{{{token}}}"))
                        || message.contains(&format!("{{{token}|"))
                        || spec
                            .ts
                            .as_ref()
                            .is_some_and(|ts| ts.from == token && message.contains("{ts}"))
                })
    }

    /// Whether a word is anywhere in the scheme.
    fn says(&self, word: &str) -> bool {
        format!("{:?}", self.spec).contains(word)
    }
}

fn identity_evidence(evidence: IdentityEvidence) -> &'static str {
    match evidence {
        IdentityEvidence::Documented => "documented",
        IdentityEvidence::Recorded => "recorded payloads",
        IdentityEvidence::Sdk => "SDK",
        IdentityEvidence::Recalled => "recalled",
    }
}

fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Own => "own",
        Evidence::ThirdParty => "third-party",
        Evidence::Recalled => "recalled",
    }
}

/// A handshake in a sentence.
fn shake(handshake: &HandshakeSpec) -> String {
    let when = &handshake.when;
    let mut parts = Vec::new();
    parts.extend(when.method.clone());
    for (kind, name) in [
        ("query parameter", &when.query),
        ("header", &when.header),
        ("form field", &when.form),
        ("JSON value", &when.json),
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
    let signed = match (handshake.signed, &handshake.learn) {
        (true, _) => ", verified first",
        (false, Some(_)) => ", hands over the secret (`learn_secret`)",
        (false, None) => "",
    };
    let switch = handshake
        .switch
        .as_ref()
        .map(|name| format!(", with `{name} = \"on\"`"))
        .unwrap_or_default();
    let checks = handshake
        .check
        .iter()
        .map(|(place, value)| format!(", `{place}` must be `{value}`"))
        .collect::<String>();
    let otherwise = handshake
        .otherwise
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

fn answer(respond: &RespondSpec) -> String {
    let mut text = respond.status.unwrap_or(200).to_string();
    match (&respond.json, respond.body.as_deref()) {
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the pages are files")]
mod tests {
    use std::path::Path;

    use super::*;

    /// `HOOKWEIR_UPDATE_DOCS=1 cargo test --workspace --lib reference` writes the pages; without it they must be what the presets say.
    #[test]
    fn the_pages_are_what_the_presets_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/providers");
        let pages = pages().expect("every preset is in the words");
        if std::env::var_os("HOOKWEIR_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).expect("a folder");
            for old in std::fs::read_dir(&folder).expect("readable") {
                std::fs::remove_file(old.expect("readable").path()).expect("writable");
            }
            for page in &pages {
                std::fs::write(folder.join(&page.file), &page.text).expect("writable");
            }
        }
        let files = std::fs::read_dir(&folder)
            .expect("docs/reference/providers")
            .count();
        assert_eq!(
            files,
            pages.len(),
            "docs/reference/providers has pages of other providers; HOOKWEIR_UPDATE_DOCS=1 cargo test --workspace --lib reference"
        );
        for page in pages {
            let written = std::fs::read_to_string(folder.join(&page.file)).unwrap_or_default();
            assert!(
                written == page.text,
                "docs/reference/providers/{} is out of date; HOOKWEIR_UPDATE_DOCS=1 cargo test --workspace --lib reference",
                page.file
            );
        }
    }

    #[test]
    fn there_are_at_least_160() {
        assert!(presets::names().count() >= 160);
    }

    #[test]
    fn a_page_of_one_provider() {
        assert!(page("stripe").expect("known").starts_with("# Stripe\n"));
        assert!(page("strpe").unwrap_err().contains("stripe"));
    }
}
