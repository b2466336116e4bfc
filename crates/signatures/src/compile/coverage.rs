//! Coverage of a signature, its consequences, and the warnings about it.

use std::time::Duration;

use http::HeaderName;

use super::compiler::Compiler;
use super::problems::{Reported, all};
use crate::IdClass;
use crate::language::canonical::Canonical;
use crate::language::context::Params;
use crate::language::key_path::KeyPath;
use crate::language::spec::{
    BindSpec, EventSpec, Evidence, IdKind, JwtSpec, Kind, Missing, SchemeSpec,
};
use crate::language::syntax::{
    DocumentRef, Expected, FieldRef, Filter, MessageText, Node, RequiredClaim, TemplateText, Token,
    TokenPlace,
};
use crate::scheme::Facts;
use crate::scheme::SchemeWarning;
use crate::scheme::SourceKey;

/// Coverage of a signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covered {
    pub(crate) body: bool,
    /// Of the body, at least something.
    pub(crate) part: bool,
    /// Of the body, a checksum.
    pub(crate) checksum: bool,
    pub(crate) id: bool,
    event_type: bool,
    pub(crate) signs: bool,
    /// A time or a nonce, with what else tells events apart: the very same signed message again is
    /// a replay.
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

/// Returns the coverage of a scheme's signature, which follows from its words alone.
pub(crate) fn covered(spec: &SchemeSpec, params: &Params) -> Covered {
    let signed = Signed::of(spec, params);
    let signs = !matches!(spec.kind, Kind::None | Kind::Basic | Kind::Token);
    let checksum = spec.kind != Kind::Jwt && signed.message.is_some_and(has_only_a_checksum);
    let body = signs && !checksum && signed.body();
    let event = &spec.event;
    let batch = event.batch.as_ref();
    let mut ids = event
        .id
        .iter()
        .chain(batch.into_iter().flat_map(|batch| &batch.id));
    let covers = |text: &TemplateText| signed.covers(text, body);
    let replays = signs
        // Several elements, each signed for itself, have no signed message in common.
        && spec.each.is_none()
        && (signed.has_nonce() || (signed.has_time() && (body || signed.in_claims)));
    Covered {
        body,
        part: signed.part(),
        checksum,
        id: signs && ids.all(covers),
        event_type: signs
            && covers(&event.event_type)
            && batch.is_none_or(|batch| covers(&batch.event_type)),
        signs,
        replays,
    }
}

/// Parts of a request that a scheme signs.
struct Signed<'s> {
    spec: &'s SchemeSpec,
    message: Option<&'s MessageText>,
    tokens: Vec<&'s Token>,
    /// Canonical requests among the tokens.
    canonical: Vec<Canonical>,
    /// The document is the claims of the token.
    in_claims: bool,
}

impl<'s> Signed<'s> {
    fn of(spec: &'s SchemeSpec, params: &Params) -> Self {
        let message = match (spec.kind, &spec.jwt) {
            (Kind::None | Kind::Basic, _) => None,
            (Kind::Jwt, jwt) => jwt.as_ref().and_then(|jwt| jwt.detached.as_ref()),
            _ => spec.message.as_ref(),
        };
        let tokens = message
            .map(|message| message.template().tokens())
            .unwrap_or_default();
        let canonical = tokens.iter().filter_map(|token| match token {
            Token::Canonical(name) => Canonical::compile(*name, params).ok(),
            _ => None,
        });
        Self {
            canonical: canonical.collect(),
            message,
            tokens,
            in_claims: spec.kind == Kind::Jwt && spec.document == DocumentRef::Claims,
            spec,
        }
    }

    fn has(&self, token: &Token) -> bool {
        self.tokens.contains(&token)
    }

    /// Returns `true` if the whole body is signed, unless it is by a checksum.
    fn body(&self) -> bool {
        let form = |token: &&Token| matches!(token, Token::FormSorted | Token::FormSortedKv { .. });
        let in_jwt = |jwt: &JwtSpec| jwt.body_digest.is_some() || jwt.from == TokenPlace::Body;
        let bound = |bind: &BindSpec| match &bind.equals {
            Expected::Value(text) => text.tokens().contains(&&Token::Body),
            Expected::IfParam(_) => false,
        };
        self.has(&Token::Body)
            || self.tokens.iter().any(form)
            || self.canonical.iter().any(Canonical::covers_body)
            || self.spec.jwt.as_ref().is_some_and(in_jwt)
            || self.spec.bind.iter().any(bound)
    }

    /// Returns `true` if at least something of the body is signed.
    fn part(&self) -> bool {
        let in_body = |token: &&Token| {
            matches!(
                token,
                Token::Json(_) | Token::Form(_) | Token::JsonSortedKv(_)
            )
        };
        self.in_claims || self.tokens.iter().any(in_body)
    }

    /// Returns `true` if a change of any token of `text` breaks the signature.
    fn covers(&self, text: &TemplateText, body: bool) -> bool {
        text.tokens().into_iter().all(|token| {
            self.has(token)
                || match token {
                    Token::Json(_) => body || self.in_claims,
                    Token::Form(_) => body,
                    Token::Query(_) => self.has(&Token::Url),
                    Token::Header(name) => self.covers_header(name),
                    _ => false,
                }
        })
    }

    fn covers_header(&self, name: &HeaderName) -> bool {
        let time = self.spec.timestamp.as_ref();
        let is_time = time.is_some_and(|time| time.from.header_name() == Some(name.as_str()));
        (is_time && self.has(&Token::Timestamp))
            || self
                .canonical
                .iter()
                .any(|canonical| canonical.covers_header(name))
    }

    /// Returns `true` if the value at this place is a part of the message.
    fn has_place(&self, place: &FieldRef) -> bool {
        self.tokens.iter().any(|token| place.is_token(token))
    }

    fn requires(&self, claims: &[RequiredClaim]) -> bool {
        let jwt = self.spec.jwt.iter();
        let mut required = jwt.flat_map(|jwt| &jwt.required_claims);
        required.any(|claim| claims.contains(claim))
    }

    fn has_nonce(&self) -> bool {
        let mut nonces = self.spec.replay.nonces.iter();
        nonces.any(|place| self.has_place(place)) || self.requires(&[RequiredClaim::TokenId])
    }

    fn has_time(&self) -> bool {
        let jwt = self.spec.jwt.as_ref();
        let mut times = self.spec.replay.times.iter();
        self.has(&Token::Timestamp)
            || times.any(|place| self.has_place(place))
            || self.canonical.iter().any(Canonical::has_time)
            || self.requires(&[RequiredClaim::IssuedAt, RequiredClaim::Expiry])
            || jwt.is_some_and(|jwt| jwt.max_age_secs.is_some())
    }
}

/// Returns `true` if the body is there by its checksum only, which a forger can keep while changing
/// the body.
fn has_only_a_checksum(message: &MessageText) -> bool {
    let bodies = message
        .template()
        .nodes()
        .iter()
        .filter_map(|node| match node {
            Node::Token(Token::Body, filters) => Some(filters),
            _ => None,
        });
    let mut bodies = bodies.peekable();
    bodies.peek().is_some() && bodies.all(|filters| filters.first() == Some(&Filter::Crc32))
}

impl Compiler<'_> {
    /// Succeeds if each place of `replay` is a part of the signed message.
    pub(super) fn replay(&mut self) -> Result<(), Reported> {
        let spec = self.spec;
        let signed = Signed::of(spec, &self.params);
        let lists = [
            ("nonces", &spec.replay.nonces),
            ("times", &spec.replay.times),
        ];
        let places = lists.iter().flat_map(|(list, places)| {
            let numbered = places.iter().enumerate();
            numbered.map(move |(at, place)| (*list, at, place))
        });
        let unsigned: Vec<_> = places
            .filter(|(_, _, place)| !signed.has_place(place))
            .collect();
        let reported = unsigned.into_iter().map(|(list, at, place)| {
            let key = KeyPath::of("replay").key(list).index(at);
            let text = format!("{place} is not in the signed message; remove it here, or sign it");
            Err(self.error(SourceKey::Scheme(key), text))
        });
        all(reported.collect()).map(|_: Vec<()>| ())
    }

    pub(super) fn warn(&mut self, covered: &Covered) {
        let spec = self.spec;
        if spec.kind == Kind::None {
            self.warnings.push(SchemeWarning::Unverified);
            return;
        }
        let body = match covered {
            Covered { signs: false, .. } | Covered { body: true, .. } => None,
            Covered { part: true, .. } => Some(SchemeWarning::BodyPartlyCovered),
            Covered { checksum: true, .. } => Some(SchemeWarning::BodyByChecksum),
            _ => Some(SchemeWarning::BodyNotCovered),
        };
        self.warnings.extend(body);
        let has_id = !(spec.event.id.is_empty() && spec.event.batch.is_none());
        if covered.signs && !covered.id && has_id {
            self.warnings.push(SchemeWarning::IdNotCovered);
        }
        if covered.signs && !covered.event_type && self.source.routes_by_type {
            self.warnings.push(SchemeWarning::TypeNotCovered);
        }
        if spec.facts.scheme == Evidence::Recalled && self.source.provider.is_some() {
            self.warnings.push(SchemeWarning::Unconfirmed);
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
                .contains(&RequiredClaim::Expiry)
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
        disabled_after_failures: facts.disabled_after_failures,
        disabled_after: facts
            .disabled_after_hours
            .map(|hours| Duration::from_secs(hours * 3600)),
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
