//! Handshakes: a provider tests whether an endpoint is alive, or belongs to its customer. They are
//! answered, and nothing is stored.

use http::Method;

use crate::Secret;
use crate::check::equal::Equal;
use crate::crypto::mac::MacKey;
use crate::json_pointers::PathSet;
use crate::keys::pinned_url::PinnedUrl;
use crate::keys::ring::{KeyRing, Unproven};
use crate::language::context::Cx;
use crate::language::place::Place;
use crate::language::template::Template;
use crate::request::public_url::PublicUrl;
use crate::request::view::View;
use crate::{Answer, Reason, Refusal};

/// Maximum size of a handshake's document, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// One kind of handshake of a provider.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) method: Option<Method>,
    /// Places that hold something.
    pub(crate) there: Vec<Place>,
    pub(crate) equals: Option<Box<str>>,
    pub(crate) checks: Vec<Equal>,
    pub(crate) otherwise: Option<u16>,
    /// Place of the secret that the provider hands over.
    pub(crate) learn: Option<Place>,
    pub(crate) answer: AnswerTemplate,
    /// A URL to be visited before the answer.
    pub(crate) visit: Option<PinnedUrl>,
    pub(crate) paths: PathSet,
}

/// Result of a handshake.
pub(crate) enum Shake {
    Answer(Answer),
    /// The provider has handed over this secret.
    Learn(Secret, Answer),
}

/// An answer with templates in it.
#[derive(Debug)]
pub(crate) struct AnswerTemplate {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) headers: Vec<(String, Template)>,
    pub(crate) body: AnswerBody,
}

/// A body with templates in it.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Text(Template),
    Json(JsonTemplate),
}

/// JSON with templates for its strings.
#[derive(Debug)]
pub(crate) enum JsonTemplate {
    Literal(String),
    Text(Template),
    List(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
}

impl Handshake {
    /// Returns the answer, if this request is such a handshake.
    pub(crate) fn answer(
        &self,
        view: &View<'_>,
        document: &[u8],
        url: Option<&PublicUrl>,
        key: Option<&MacKey>,
        keys: &KeyRing,
    ) -> Result<Option<Shake>, Unproven> {
        let other_method = |method: &Method| *method != view.request.method;
        if self.method.as_ref().is_some_and(other_method) || document.len() > MAX_BODY {
            return Ok(None);
        }
        let nothing = crate::json_pointers::Slots::default();
        let early = Cx {
            view,
            slots: &nothing,
            ts: &[],
            url,
            spelling: 0,
            key,
        };
        let mut outside_json = self
            .there
            .iter()
            .filter(|place| !matches!(place, Place::Json(_)));
        if !outside_json.all(|place| self.is_there(place, early)) {
            return Ok(None);
        }
        // A body that does not parse, or is ambiguous, is no handshake.
        let Ok(slots) = self.paths.walk(document) else {
            return Ok(None);
        };
        let cx = Cx {
            slots: &slots,
            ..early
        };
        if !self.there.iter().all(|place| self.is_there(place, cx)) {
            return Ok(None);
        }
        self.shake(cx, keys).map(Some)
    }

    /// Returns the answer to a request that is recognised as this handshake.
    fn shake(&self, cx: Cx<'_>, keys: &KeyRing) -> Result<Shake, Unproven> {
        for check in &self.checks {
            if !check.holds(cx)? {
                return self.failed(check).map_err(Unproven::from);
            }
        }
        if let Some(visit) = &self.visit {
            visit.visited(cx, keys)?;
        }
        let answer = self.answer.fill(cx)?;
        let secret = self.learn.as_ref().and_then(|place| place.value(cx));
        Ok(match secret {
            Some(secret) => Shake::Learn(Secret::new(&*secret), answer),
            None => Shake::Answer(answer),
        })
    }

    /// Returns the provider's answer to a check that fails, or a refusal.
    fn failed(&self, check: &Equal) -> Result<Shake, Refusal> {
        match self.otherwise {
            Some(status) => Ok(Shake::Answer(Answer {
                status,
                content_type: None,
                headers: Vec::new(),
                body: Vec::new(),
            })),
            None => Err(Refusal::new(
                Reason::PreconditionFailed,
                format!(
                    "handshake: {} does not have the expected value",
                    check.shown
                ),
            )),
        }
    }

    fn is_there(&self, place: &Place, cx: Cx<'_>) -> bool {
        place.values(cx).iter().any(|value| {
            self.equals
                .as_ref()
                .is_none_or(|equals| equals.as_bytes() == &**value)
        })
    }
}

impl AnswerTemplate {
    /// Everything in it that is filled in.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let mut body = Vec::new();
        match &self.body {
            AnswerBody::Text(text) => body.push(text),
            AnswerBody::Json(json) => json.collect(&mut body),
        }
        self.headers.iter().map(|(_, value)| value).chain(body)
    }

    /// Returns the answer to a request, which may echo what anybody sent.
    pub(crate) fn fill(&self, cx: Cx<'_>) -> Result<Answer, Refusal> {
        let mut answer = self.bare(cx)?;
        if answer.content_type.is_some() {
            let nosniff = ("x-content-type-options".to_owned(), "nosniff".to_owned());
            answer.headers.push(nosniff);
        }
        Ok(answer)
    }

    /// Returns the answer as the template has it.
    pub(crate) fn bare(&self, cx: Cx<'_>) -> Result<Answer, Refusal> {
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        for (name, value) in &self.headers {
            let value = String::from_utf8(value.fill(cx)?)
                .ok()
                .filter(|value| !value.chars().any(char::is_control));
            let malformed = || {
                Refusal::new(
                    Reason::BodyMalformed,
                    "handshake: the value to echo does not fit into a header",
                )
            };
            headers.push((name.clone(), value.ok_or_else(malformed)?));
        }
        let body = match &self.body {
            AnswerBody::Text(text) => text.fill(cx)?,
            AnswerBody::Json(json) => {
                let mut text = String::new();
                json.write(cx, &mut text)?;
                text.into_bytes()
            }
        };
        let content_type = if body.is_empty() {
            None
        } else {
            self.content_type.clone().map(Into::into)
        };
        Ok(Answer {
            status: self.status,
            content_type,
            headers,
            body,
        })
    }
}

impl JsonTemplate {
    fn collect<'t>(&'t self, templates: &mut Vec<&'t Template>) {
        match self {
            Self::Literal(_) => {}
            Self::Text(template) => templates.push(template),
            Self::List(items) => items.iter().for_each(|item| item.collect(templates)),
            Self::Object(members) => members
                .iter()
                .for_each(|(_, value)| value.collect(templates)),
        }
    }

    fn write(&self, cx: Cx<'_>, text: &mut String) -> Result<(), Refusal> {
        match self {
            Self::Literal(literal) => text.push_str(literal),
            Self::Text(template) => {
                text.push_str(&quoted(&String::from_utf8_lossy(&template.fill(cx)?)))
            }
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    text.push(if index == 0 { '[' } else { ',' });
                    item.write(cx, text)?;
                }
                text.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Self::Object(members) => {
                for (index, (name, value)) in members.iter().enumerate() {
                    text.push(if index == 0 { '{' } else { ',' });
                    text.push_str(&quoted(name));
                    text.push(':');
                    value.write(cx, text)?;
                }
                text.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
        Ok(())
    }
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
