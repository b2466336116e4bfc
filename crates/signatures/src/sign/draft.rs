//! A request in the making.

use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::SourceSpec;
use crate::json_pointers::{JsonPointer, PathSet, Slots, set};
use crate::language::canonical::Canonical;
use crate::language::context::{Cx, Params, Wrong};
use crate::language::spec::SchemeSpec;
use crate::language::syntax::{Expected, Field, FieldRef, ParamText, TemplateText};
use crate::language::template::{Template, Token};
use crate::request::Request;
use crate::request::view::{View, field, fields, query};
use crate::scheme::{Document, Scheme};
use crate::sign::inputs::{Sender, SignError, SignInputs};
use crate::sign::sample::{escaped, is_form_scheme};

/// A request in the making.
pub(super) struct Draft<'d> {
    pub(super) spec: &'d SchemeSpec,
    pub(super) scheme: &'d Scheme,
    pub(super) source: &'d SourceSpec,
    pub(super) inputs: &'d SignInputs,
    pub(super) method: Method,
    pub(super) query: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
}

impl<'d> Draft<'d> {
    pub(super) fn new(
        source: &'d SourceSpec,
        spec: &'d SchemeSpec,
        scheme: &'d Scheme,
        inputs: &'d SignInputs,
    ) -> Result<Self, SignError> {
        let method = scheme.methods.first().cloned().unwrap_or(Method::POST);
        let query = source
            .public_url
            .as_deref()
            .and_then(query)
            .unwrap_or_default()
            .to_owned();
        let mut draft = Self {
            spec,
            scheme,
            source,
            inputs,
            method,
            query,
            headers: Vec::new(),
            body: inputs.body.to_vec(),
        };
        let kind = if is_form_scheme(spec) {
            "application/x-www-form-urlencoded"
        } else {
            "application/json"
        };
        draft.header("content-type", kind)?;
        if let Document::Sealed(sealed) = &scheme.document
            && sealed.open(&draft.body) == draft.body
        {
            let mut vector = [0; 16];
            ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut vector)
                .map_err(|_| SignError::PrivateKey)?;
            draft.body = sealed
                .seal(&draft.body, inputs.secret, vector)
                .ok_or(SignError::PrivateKey)?;
        }
        Ok(draft)
    }

    /// The request of a sender that decides its headers.
    pub(super) fn of(&mut self, sender: &Sender) {
        if let Some(method) = &sender.method {
            self.method = method.clone();
        }
        for (name, value) in &sender.headers {
            self.headers.retain(|(known, _)| known != name);
            self.headers.push((name.clone(), value.clone()));
        }
    }

    /// Puts the event's id and type where the scheme looks for them outside of the body.
    pub(super) fn named(&mut self) -> Result<(), SignError> {
        let (event, inputs) = (&self.scheme.event, self.inputs);
        // The type first: a header that is a part of the id as well holds the type.
        for token in event.event_type.tokens() {
            self.outside(token, &inputs.event_type)?;
        }
        // A provider sends all of its headers. Query parameters of other ids are for other kinds of
        // deliveries.
        let ids = event.ids.iter().enumerate();
        let batch = event.batch.iter().flat_map(|batch| &batch.ids).enumerate();
        for (at, id) in ids.chain(batch) {
            for token in id.tokens() {
                if at == 0 || matches!(token, Token::Header(_)) {
                    self.outside(token, &inputs.id)?;
                }
            }
        }
        Ok(())
    }

    /// Gives a token that is no part of the body a value, unless it has one.
    pub(super) fn outside(&mut self, token: &Token, value: &str) -> Result<(), SignError> {
        match token {
            Token::Header(name) if !self.headers.iter().any(|(known, _)| known == name) => {
                self.header(name.as_str(), value)
            }
            Token::Query(name) => {
                if !self.has_parameter(name) {
                    self.parameter(name, value);
                }
                Ok(())
            }
            Token::Canonical(Canonical::Contentful) => {
                let mut names: Vec<String> = self
                    .headers
                    .iter()
                    .map(|(name, _)| name.as_str().to_owned())
                    .collect();
                names.extend([
                    "x-contentful-signed-headers".into(),
                    "x-contentful-timestamp".into(),
                ]);
                names.sort();
                names.dedup();
                self.header("x-contentful-signed-headers", &names.join(","))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn header(&mut self, name: &str, value: &str) -> Result<(), SignError> {
        let name: HeaderName = name
            .parse()
            .map_err(|_| SignError::Body(format!("\"{name}\" is not a header")))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| SignError::Body(format!("header {name} cannot hold this value")))?;
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        Ok(())
    }

    fn has_parameter(&self, name: &str) -> bool {
        let fields = fields(self.query.as_bytes());
        fields.is_ok_and(|fields| field(&fields, name).is_some())
    }

    fn parameter(&mut self, name: &str, value: &str) {
        let separator = if self.query.is_empty() { "" } else { "&" };
        self.query = format!(
            "{}{separator}{}={}",
            self.query,
            escaped(name),
            escaped(value)
        );
    }

    /// Puts a value where a scheme looks for it.
    pub(super) fn put(
        &mut self,
        field: &FieldRef,
        value: &str,
        number: bool,
    ) -> Result<(), SignError> {
        let params = self.params();
        let fill = |name: &ParamText| name.fill(&params).map_err(wrong);
        match &field.0 {
            Field::Header(name) => self.header(&fill(name)?, value),
            Field::Query(name) => {
                self.parameter(&fill(name)?, value);
                Ok(())
            }
            Field::Form(name) => {
                let separator: &[u8] = if self.body.is_empty() { b"" } else { b"&" };
                self.body.extend_from_slice(separator);
                let pair = format!("{}={}", fill(name)?, escaped(value));
                self.body.extend_from_slice(pair.as_bytes());
                Ok(())
            }
            Field::Json(pointer) => {
                let number = number.then(|| value.parse::<i64>().ok()).flatten();
                let value = number.map_or_else(|| value.into(), Value::from);
                let pointer = pointer.fill(&params).map_err(wrong)?;
                self.put_json(&pointer, &value)
            }
            Field::HttpSignature(..) | Field::Entry(_) => Ok(()),
        }
    }

    fn put_json(&mut self, pointer: &JsonPointer, value: &Value) -> Result<(), SignError> {
        let mut json = self.json()?;
        match &self.spec.each {
            None => set(&mut json, pointer, value.clone()),
            Some(each) => {
                let items = each.get_mut(&mut json).and_then(Value::as_array_mut);
                items
                    .into_iter()
                    .flatten()
                    .for_each(|item| set(item, pointer, value.clone()));
            }
        }
        self.body = json.to_string().into_bytes();
        Ok(())
    }

    /// Puts a document that is a part of a multipart body into one; until here the body is the
    /// document alone.
    pub(super) fn wrap(&mut self) -> Result<(), SignError> {
        let Document::Multipart(name) = &self.scheme.document else {
            return Ok(());
        };
        let boundary = "hookweir-boundary";
        let head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.body = [
            head.as_bytes(),
            &self.body,
            format!("\r\n--{boundary}--\r\n").as_bytes(),
        ]
        .concat();
        self.header(
            "content-type",
            &format!("multipart/form-data; boundary={boundary}"),
        )
    }

    pub(super) fn json(&self) -> Result<Value, SignError> {
        serde_json::from_slice(&self.body).map_err(|_| {
            SignError::Body(
                "the body is not JSON, and the scheme puts a value into the body".into(),
            )
        })
    }

    pub(super) fn request(&self) -> Request {
        let query = if self.query.is_empty() {
            String::new()
        } else {
            format!("?{}", self.query)
        };
        Request {
            method: self.method.clone(),
            target: format!("/{query}"),
            headers: self.headers.iter().cloned().collect(),
            body: self.body.clone().into(),
            received_at: self.inputs.at,
        }
    }

    pub(super) fn fill(&self, text: &TemplateText) -> Result<String, SignError> {
        let template = Template::compile(text, &self.params(), &mut PathSet::default());
        let template = template.map_err(wrong)?;
        let request = self.request();
        let body = |error: crate::Refusal| SignError::Body(error.detail.into_owned());
        let view = View::new(&request, &self.body, self.scheme.needs).map_err(body)?;
        let slots = Slots::default();
        let cx = Cx {
            view: &view,
            slots: &slots,
            ts: &[],
            url: self.scheme.url.as_ref(),
            spelling: 0,
            key: None,
        };
        Ok(String::from_utf8_lossy(&template.fill(cx).map_err(body)?).into_owned())
    }

    /// The source's parameters over those of its scheme.
    pub(super) fn params(&self) -> Params {
        let mut params = self.spec.params.clone();
        params.extend(self.source.params.clone());
        params
    }

    /// Returns the value that a place or claim must have; None if nothing is demanded.
    pub(super) fn expected(&self, value: &Expected) -> Result<Option<String>, SignError> {
        match value {
            Expected::Value(text) => self.fill(text).map(Some),
            Expected::IfParam(name) => Ok(self.params().remove(&**name)),
        }
    }
}

pub(super) fn wrong(wrong: Wrong) -> SignError {
    SignError::Body(wrong.to_string())
}
