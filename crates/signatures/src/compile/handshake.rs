//! Compiles handshakes, and the answers that a provider prescribes.

use http::Method;

use super::compiler::Compiler;
use super::error::scheme;
use super::problems::{Reported, all, present};
use crate::check::handshake::{AnswerBody, AnswerTemplate, Handshake, JsonTemplate, quoted};
use crate::json_pointers::{PathSet, Slots};
use crate::language::context::Cx;
use crate::language::place::Place;
use crate::language::spec::{HandshakeSpec, RespondSpec, WhenSpec};
use crate::language::syntax::JsonText;
use crate::language::template::Template;
use crate::request::view::{Needs, View};
use crate::request::{Headers, Request};
use crate::scheme::SchemeWarning;
use crate::scheme::SourceKey;
use crate::{Answer, Answers, UnixMillis};

impl Compiler<'_> {
    /// The handshakes of the scheme: those that are signed, or those that are not.
    pub(super) fn handshakes(&mut self, signed: bool) -> Result<Vec<Handshake>, Reported> {
        let wanted = self.spec.handshake.iter().enumerate();
        let all: Vec<_> = wanted
            .filter(|(_, spec)| spec.signed == signed)
            .map(|(at, spec)| self.handshake(at, spec))
            .collect();
        present(all)
    }

    /// A handshake, or None with a warning where the source lacks a parameter for it.
    fn handshake(
        &mut self,
        at: usize,
        spec: &HandshakeSpec,
    ) -> Result<Option<Handshake>, Reported> {
        let key = scheme(["handshake"]).at(at);
        if let Some(name) = &spec.switch_param {
            match self.params.get(name).map(String::as_str) {
                Some("on") => {}
                Some("off") => return Ok(None),
                _ => {
                    return Err(self.error(
                        SourceKey::Param(name.as_str().into()),
                        "write \"on\" or \"off\"",
                    ));
                }
            }
        }
        let mark = self.problems.mark();
        let reported = match self.handshake_rule(&key, spec) {
            Ok(rule) => return Ok(Some(rule)),
            Err(reported) => reported,
        };
        let missing = self.problems.take_missing_params(mark, reported)?;
        self.warnings.push(SchemeWarning::HandshakeOff {
            key,
            missing: missing.join(", "),
        });
        Ok(None)
    }

    fn handshake_rule(
        &mut self,
        key: &SourceKey,
        spec: &HandshakeSpec,
    ) -> Result<Handshake, Reported> {
        let mut paths = PathSet::default();
        let there = self.there(&key.below("when"), &spec.when, &mut paths);
        let method = self.handshake_method(&key.below("when").below("method"), &spec.when);
        let checks: Vec<_> = spec
            .check
            .iter()
            .map(|(place, value)| self.equal(&key.below("check"), place, value, &mut paths))
            .collect();
        let learn = match &spec.secret_from {
            None => Ok(None),
            Some(_) if spec.signed => Err(self.error(
                key.below("secret_from"),
                "a signed handshake cannot hand over the secret that signs it; remove secret_from or signed",
            )),
            Some(place) => self
                .place(&key.below("secret_from"), place, &mut paths)
                .map(Some),
        };
        let answer = self.answer_template(&key.below("respond"), &spec.respond, 200, &mut paths);
        let visit = match &spec.visit {
            None => Ok(None),
            Some(_) if !spec.signed => Err(self.error(
                key.below("visit"),
                "needs signed = true; otherwise anybody could make this service visit URLs",
            )),
            Some(visit) => self
                .pinned(&key.below("visit"), visit, &mut paths)
                .map(Some),
        };
        let (there, method) = (there?, method?);
        if there.is_empty() && method.is_none() {
            return Err(self.error(
                key.below("when"),
                "empty, so every request would be this handshake; give a method, or a place that must hold a value",
            ));
        }
        Ok(Handshake {
            method,
            there,
            equals: spec.when.equals.as_deref().map(Into::into),
            checks: present(checks)?,
            otherwise: spec.otherwise_status,
            learn: learn?,
            answer: answer?,
            visit: visit?,
            paths,
        })
    }

    /// The places of which each must hold something.
    fn there(
        &mut self,
        key: &SourceKey,
        when: &WhenSpec,
        paths: &mut PathSet,
    ) -> Result<Vec<Place>, Reported> {
        let places: Vec<_> = when
            .fields()
            .into_iter()
            .map(|field| self.place(key, &field, paths))
            .collect();
        all(places)
    }

    fn handshake_method(
        &mut self,
        key: &SourceKey,
        when: &WhenSpec,
    ) -> Result<Option<Method>, Reported> {
        let Some(method) = when.method.as_deref() else {
            return Ok(None);
        };
        let parsed = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("\"{method}\" is not an HTTP method"));
        self.ok(key, parsed).map(Some)
    }

    fn answer_template(
        &mut self,
        key: &SourceKey,
        spec: &RespondSpec,
        status: u16,
        paths: &mut PathSet,
    ) -> Result<AnswerTemplate, Reported> {
        let headers: Vec<_> = spec
            .headers
            .iter()
            .map(|(name, value)| {
                let value = self.template(key, value, paths)?;
                Ok((name.clone(), value))
            })
            .collect();
        let (body, content_type) = match (&spec.json, &spec.body) {
            (Some(json), _) => (
                self.json(key, json, paths).map(AnswerBody::Json),
                "application/json",
            ),
            (None, body) => {
                let text = match body {
                    Some(text) => self.template(key, text, paths),
                    None => Ok(Template::EMPTY),
                };
                (text.map(AnswerBody::Text), "text/plain")
            }
        };
        let content_type = spec
            .content_type
            .clone()
            .unwrap_or_else(|| content_type.to_owned());
        Ok(AnswerTemplate {
            status: spec.status.unwrap_or(status),
            content_type: Some(content_type),
            headers: all(headers)?,
            body: body?,
        })
    }

    fn json(
        &mut self,
        key: &SourceKey,
        value: &JsonText,
        paths: &mut PathSet,
    ) -> Result<JsonTemplate, Reported> {
        Ok(match value {
            JsonText::Text(text) => JsonTemplate::Text(self.template(key, text, paths)?),
            JsonText::List(items) => {
                let items: Vec<_> = items
                    .iter()
                    .map(|item| self.json(key, item, paths))
                    .collect();
                JsonTemplate::List(all(items)?)
            }
            JsonText::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, item)| Ok((name.clone(), self.json(key, item, paths)?)))
                    .collect();
                JsonTemplate::Object(all(members)?)
            }
            JsonText::Literal(toml::Value::Datetime(time)) => {
                JsonTemplate::Literal(quoted(&time.to_string()))
            }
            JsonText::Literal(other) => JsonTemplate::Literal(other.to_string()),
        })
    }

    /// The answer to every delivery, if the provider prescribes one: the same for all, so it is
    /// made here.
    pub(super) fn answers(&mut self) -> Result<Answers, Reported> {
        let spec = &self.spec.respond;
        let prescribed = spec.status.is_some()
            || spec.body.is_some()
            || spec.json.is_some()
            || !spec.headers.is_empty();
        let accepted = if prescribed {
            let template =
                self.answer_template(&scheme(["respond"]), spec, 200, &mut PathSet::default())?;
            constant(&template)
        } else {
            None
        };
        Ok(Answers {
            accepted,
            rejected: spec.reject_status,
            overloaded: spec.overload_status,
        })
    }
}

/// The answer of a template that takes nothing from a request.
fn constant(template: &AnswerTemplate) -> Option<Answer> {
    let request = Request {
        method: Method::POST,
        target: String::new(),
        headers: Headers::default(),
        body: bytes::Bytes::new(),
        received_at: UnixMillis(0),
    };
    let view = View::new(&request, &[], Needs::default()).ok()?;
    let slots = Slots::default();
    let cx = Cx {
        view: &view,
        slots: &slots,
        ts: &[],
        url: None,
        spelling: 0,
        key: None,
    };
    template.bare(cx).ok()
}
