//! A preset as the reference describes it: its coverage, without keys.

use crate::IdClass;
use crate::compile::coverage::{is_nonce, is_time};
use crate::language::spec::{IdKind, Kind, SchemeSpec};

/// A preset with its name.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) spec: SchemeSpec,
}

impl Entry {
    pub(super) fn without_id(&self) -> bool {
        let event = &self.spec.event;
        event.id.is_empty() && event.batch.as_ref().is_none_or(|batch| batch.id.is_empty())
    }

    /// As `coverage` has it, without keys.
    pub(super) fn class(&self) -> IdClass {
        match (self.spec.event.id_kind, self.covers_id()) {
            (IdKind::Event, true) => IdClass::Signed,
            (IdKind::Event, false) => IdClass::Unsigned,
            _ => IdClass::Object,
        }
    }

    /// As `coverage` has it, without keys.
    pub(super) fn replays(&self) -> bool {
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
            || jwt.is_some_and(|jwt| jwt.required_claims.iter().any(|claim| claim == "jti"));
        let time = tokens().any(|token| {
            token == "timestamp"
                || token == "canonical:contentful"
                || token.split_once(':').is_some_and(|(_, name)| is_time(name))
        }) || jwt.is_some_and(|jwt| {
            jwt.max_age_secs.is_some()
                || jwt
                    .required_claims
                    .iter()
                    .any(|claim| claim == "iat" || claim == "exp")
        });
        self.signs()
            && spec.each.is_none()
            && (nonce || (time && (self.covers_body() || spec.document == "jwt")))
    }

    pub(super) fn signs(&self) -> bool {
        !matches!(self.spec.kind, Kind::Token | Kind::Basic | Kind::None)
    }

    /// As [`crate::Facts::body_covered`], without keys.
    pub(super) fn covers_body(&self) -> bool {
        let spec = &self.spec;
        let message = self.message();
        let jwt = spec
            .jwt
            .as_ref()
            .is_some_and(|jwt| jwt.body_digest.is_some() || jwt.from == "body");
        let bound = spec.bind.iter().any(|bind| bind.equals.contains("{body"));
        let body = message.replace("{body|crc32}", "").contains("{body");
        self.signs()
            && (body
                || message.contains("{form:sorted")
                || message.contains("{canonical:")
                || jwt
                || bound)
    }

    /// As [`crate::Facts::id_covered`], without keys.
    pub(super) fn covers_id(&self) -> bool {
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
                            .timestamp
                            .as_ref()
                            .is_some_and(|ts| ts.from == token && message.contains("{timestamp}"))
                })
    }

    /// Returns the template of the signed message.
    pub(super) fn message(&self) -> &str {
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

    /// Returns `true` if a word is anywhere in the scheme.
    pub(super) fn says(&self, word: &str) -> bool {
        format!("{:?}", self.spec).contains(word)
    }
}
