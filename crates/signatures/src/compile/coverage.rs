//! Coverage of a signature, its consequences, and the warnings about it.

use std::time::Duration;

use super::compiler::Compiler;
use crate::IdClass;
use crate::json_pointers::PathSet;
use crate::language::canonical::Canonical;
use crate::language::spec::{EventSpec, Evidence, IdKind, JwtSpec, Kind, Missing, SchemeSpec};
use crate::language::template::{Grammar, Template, Token};
use crate::scheme::{Check, Facts};

/// Coverage of a signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covered {
    pub(crate) body: bool,
    /// Of the body, at least something.
    part: bool,
    /// Of the body, a checksum.
    pub(crate) checksum: bool,
    pub(crate) id: bool,
    event_type: bool,
    signs: bool,
    /// A time or a nonce, with what else tells events apart: the very same signed message again is a replay.
    pub(crate) replays: bool,
}

impl Covered {
    /// Meaning of an id that is found.
    pub(crate) fn class(&self, event: &EventSpec) -> IdClass {
        match (event.id_kind, self.id) {
            (IdKind::Event, true) => IdClass::Signed,
            (IdKind::Event, false) => IdClass::Unsigned,
            (IdKind::Object | IdKind::Unknown, _) => IdClass::Object,
        }
    }
}

/// Returns `true` for the names that providers give to what is new in each request.
pub(crate) fn is_nonce(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("nonce")
        || name.contains("transmission-id")
        || name.rsplit('/').next() == Some("token")
}

/// Returns `true` for the names that providers give to the time of signing.
pub(crate) fn is_time(name: &str) -> bool {
    name.to_ascii_lowercase().contains("timestamp")
}

impl Compiler<'_> {
    pub(super) fn covers(&self, check: &Check) -> Covered {
        let tokens: Vec<&Token> = match check {
            Check::Proof(proof) => proof.message.tokens(),
            Check::Jwt(rule) => rule.detached.iter().flat_map(Template::tokens).collect(),
            _ => Vec::new(),
        };
        let canonical = tokens
            .iter()
            .any(|token| matches!(token, Token::Canonical(canonical) if canonical.covers_body()));
        let in_claims = matches!(check, Check::Jwt(_)) && self.spec.document == "jwt";
        let signs =
            !matches!(check, Check::Unverified | Check::Basic(_)) && self.spec.kind != Kind::Token;
        let form = tokens
            .iter()
            .any(|token| matches!(token, Token::FormSorted | Token::FormSortedKv { .. }));
        let jwt = self.spec.jwt.as_ref();
        let in_jwt = jwt.is_some_and(|jwt| jwt.body_digest.is_some() || jwt.from == "body");
        let checksum = matches!(check, Check::Proof(proof) if proof.message.has_only_a_checksum());
        let body = signs
            && !checksum
            && (tokens.contains(&&Token::Body)
                || form
                || canonical
                || in_jwt
                || self
                    .spec
                    .bind
                    .iter()
                    .any(|bind| bind.equals.contains("{body")));
        let event = &self.spec.event;
        let ids = event
            .id
            .iter()
            .chain(event.batch.iter().flat_map(|batch| &batch.id));
        let time = self
            .spec
            .timestamp
            .as_ref()
            .filter(|_| tokens.contains(&&Token::Ts))
            .map(|ts| ts.from.as_str());
        let mut paths = PathSet::default();
        let mut covers = |text: &String| {
            let template =
                Template::parse(text, Grammar::Plain, &self.params, &mut paths).unwrap_or_default();
            template.tokens().into_iter().all(|token| match token {
                Token::Json(_, pointer) => body || in_claims || tokens.iter().any(|t| matches!(t, Token::Json(_, p) if p == pointer)),
                Token::Form(_) => body || tokens.contains(&token),
                Token::Query(_) => tokens.contains(&&Token::Url) || tokens.contains(&token),
                Token::Header(name) => {
                    let listed = |t: &&Token| matches!(t, Token::Canonical(canonical) if canonical.covers_header(name));
                    tokens.contains(&token) || time == Some(&format!("header:{name}")) || tokens.iter().any(listed)
                }
                other => tokens.contains(&other),
            })
        };
        let mut ids = ids;
        let id = signs && ids.all(&mut covers);
        let event_type = signs
            && covers(&event.event_type)
            && event
                .batch
                .as_ref()
                .is_none_or(|batch| covers(&batch.event_type));
        let part = in_claims
            || tokens.iter().any(|token| {
                matches!(
                    token,
                    Token::Json(..) | Token::Form(_) | Token::JsonSortedKv(_)
                )
            });
        let named = |test: fn(&str) -> bool| {
            tokens.iter().any(|token| match token {
                Token::Header(name) => test(name.as_str()),
                Token::Query(name) | Token::Form(name) | Token::Json(_, name) => test(name),
                _ => false,
            })
        };
        let claims = |names: &[&str]| {
            jwt.is_some_and(|jwt| {
                jwt.required_claims
                    .iter()
                    .any(|claim| names.contains(&claim.as_str()))
            })
        };
        let nonce = named(is_nonce) || claims(&["jti"]);
        let in_canonical = tokens
            .iter()
            .any(|token| matches!(token, Token::Canonical(Canonical::Contentful)));
        let in_token = claims(&["iat", "exp"]) || jwt.is_some_and(|jwt| jwt.max_age_secs.is_some());
        let time = tokens.contains(&&Token::Ts) || named(is_time) || in_canonical || in_token;
        // Several elements, each signed for itself, have no signed message in common.
        let replays = signs && self.spec.each.is_none() && (nonce || (time && (body || in_claims)));
        Covered {
            body,
            part,
            checksum,
            id,
            event_type,
            signs,
            replays,
        }
    }

    pub(super) fn warn(&mut self, covered: &Covered) {
        let spec = self.spec;
        if spec.kind == Kind::None {
            self.warnings
                .push("nothing is verified: anybody who knows the URL can send events".into());
            return;
        }
        if covered.signs && !covered.body && covered.part {
            self.warnings.push(
                "only a part of the body is covered by the signature: trust nothing else in it"
                    .into(),
            );
        } else if covered.checksum {
            let text = "a checksum of the body is all that is signed: anybody who has a delivery can change it unnoticed";
            self.warnings.push(text.into());
        } else if covered.signs && !covered.body {
            self.warnings.push(
                "the body is not covered by the signature: authenticated, not integrity-protected"
                    .into(),
            );
        }
        if covered.signs && !covered.id && !(spec.event.id.is_empty() && spec.event.batch.is_none())
        {
            let text = "the id is not signed: another body under a known id, and equal bytes under another, are published with a mark";
            self.warnings.push(text.into());
        }
        if covered.signs && !covered.event_type && self.source.routes_by_type {
            self.warnings
                .push("the event's type is not signed: trust no routing by {type} with it".into());
        }
        if spec.facts.scheme == Evidence::Recalled && self.source.provider.is_some() {
            self.warnings.push(
                "unconfirmed: this preset was not read in the provider's own code or documentation"
                    .into(),
            );
        }
    }
}

/// Facts about the provider and the scheme.
pub(crate) fn facts(spec: &SchemeSpec, covered: Covered) -> Facts {
    let facts = &spec.facts;
    let jwt = spec.jwt.as_ref();
    // A token that expires says itself how old it may be.
    let of_token = |jwt: &JwtSpec| {
        jwt.max_age_secs.or_else(|| {
            jwt.required_claims
                .iter()
                .any(|claim| claim == "exp")
                .then_some(0)
        })
    };
    let max_age = spec
        .timestamp
        .as_ref()
        .map(|ts| ts.tolerance_secs)
        .filter(|tolerance| *tolerance > 0)
        .or_else(|| jwt.and_then(of_token));
    let has_id = !spec.event.id.is_empty()
        || spec
            .event
            .batch
            .as_ref()
            .is_some_and(|batch| !batch.id.is_empty());
    let retry = facts
        .retry_hours
        .map(|hours| Duration::from_secs(hours * 3600));
    Facts {
        window: facts.window(),
        retry,
        deadline: facts
            .answer_within_ms
            .map(|ms| Duration::from_millis(ms) * 4 / 5),
        max_body_bytes: facts.max_body_bytes,
        body_covered: covered.body,
        id_covered: covered.id,
        max_age: max_age.map(Duration::from_secs),
        redelivery_known: has_id || spec.event.missing_id != Missing::Unique || covered.replays,
        retry_span: facts.retry_span(),
        duplicates: duplicates(spec, covered.class(&spec.event), covered.replays),
        confirmed: facts.scheme != Evidence::Recalled,
    }
}

/// A sentence or more on what counts as a duplicate; `replays` where a time or a nonce is signed.
pub(crate) fn duplicates(spec: &SchemeSpec, class: IdClass, replays: bool) -> String {
    let event = &spec.event;
    let has_id = !event.id.is_empty()
        || event
            .batch
            .as_ref()
            .is_some_and(|batch| !batch.id.is_empty());
    let span = shown(spec.facts.retry_span());
    let mut text = Vec::new();
    if has_id {
        text.push(match class {
            IdClass::Signed => "the same id; another body under it is kept aside as a conflict".to_owned(),
            IdClass::Object => format!(
                "the same id with the same body, for {span}; another body under the id is an event, marked `x-hookweir-conflict-of`"
            ),
            _ => {
                "the same id with the same body; another body under the id is an event, marked `x-hookweir-conflict-of`, and so are equal \
                  bytes under another id, marked `x-hookweir-same-bytes-as`"
                    .to_owned()
            }
        });
    }
    let without = if has_id { "without an id: " } else { "" };
    text.push(match event.missing_id {
        Missing::Body => format!("{without}the same bytes, for {span}"),
        Missing::Refuse => format!("{without}refused"),
        Missing::Unique if has_id => "without an id: nothing; equal bytes are an event, marked `x-hookweir-same-bytes-as`".to_owned(),
        Missing::Unique => "nothing: there is no id, and equal bytes are an event, marked `x-hookweir-same-bytes-as`".to_owned(),
    });
    if replays && (class != IdClass::Signed || event.missing_id == Missing::Unique) {
        text.push("the very same signed request is a duplicate in any case".to_owned());
    }
    text.join("; ")
}

/// A duration in its largest unit.
pub(crate) fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        secs if secs % 86_400 == 0 => format!("{} days", secs / 86_400),
        secs if secs >= 7200 => format!("{} h", secs.div_ceil(3600)),
        secs => format!("{} min", secs.div_ceil(60)),
    }
}
