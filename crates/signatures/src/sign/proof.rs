//! Proof of a draft: its signatures, times and tokens.

use serde_json::Value;

use crate::check::by::{By, bytes};
use crate::check::message::Proof;
use crate::check::timestamp::write as write_time;
use crate::crypto::mac::Encoding;
use crate::json_pointers::{JsonPointer, set};
use crate::keys::pinned_url::example as example_url;
use crate::language::context::Cx;
use crate::language::place::Place;
use crate::language::spec::SigSpec;
use crate::language::syntax::{Field, HashField};
use crate::language::template::Piece;
use crate::request::view::View;
use crate::scheme::Document;
use crate::secret::Secret;
use crate::sign::draft::{Draft, wrong};
use crate::sign::inputs::SignError;
use crate::sign::keys::SigningKey;
use crate::sign::sample::is_form_scheme;

impl Draft<'_> {
    pub(super) fn prove(&mut self, proof: &Proof) -> Result<(), SignError> {
        let ts = self.put_time()?;
        self.put_demands()?;
        for token in proof.message.tokens() {
            self.outside(token, &self.inputs.id)?;
        }
        let seconds = self.inputs.at.0.div_euclid(1000);
        let http_signature = proof.sigs.iter().find_map(|sig| match &sig.place {
            Place::HttpSignature(rule, _) => Some(rule),
            _ => None,
        });
        for (name, value) in http_signature
            .map(|rule| rule.headers(&self.body, seconds))
            .unwrap_or_default()
        {
            self.header(name, &value)?;
        }
        for bind in &self.spec.bind {
            if !(bind.unless_form && is_form_scheme(self.spec)) {
                let value = self.expected(&bind.equals)?.unwrap_or_default();
                self.put(&bind.from, &value, false)?;
            }
        }
        let secret = self.inputs.secret;
        let signs = |sig: &&SigSpec| sig.secret_index.is_none_or(|only| only == secret);
        let rule = self.spec.signature.iter().find(signs).ok_or_else(|| {
            SignError::Body(format!(
                "the scheme has no signature by the secret at position {secret}"
            ))
        })?;
        if let Some(each) = &self.spec.each {
            return self.prove_each(proof, rule, &ts, each);
        }
        let document = self.body.clone();
        let signature = self.signature(proof, rule, &ts, &document)?;
        match http_signature {
            Some(http_signature) => {
                let (name, value) = http_signature.header(&signature, seconds);
                self.header(name, &value)
            }
            None => self.put(&rule.from, &signature, false),
        }
    }

    /// Puts the time of signing at its place, and returns its text.
    pub(super) fn put_time(&mut self) -> Result<String, SignError> {
        let Some(ts) = &self.spec.timestamp else {
            return Ok(String::new());
        };
        let text = write_time(self.inputs.at, ts.unit);
        self.put(&ts.from, &text, ts.must_be_number)?;
        Ok(text)
    }

    /// Puts the values that the scheme demands besides a signature at their places.
    fn put_demands(&mut self) -> Result<(), SignError> {
        for (field, value) in &self.spec.require {
            if let Some(value) = self.expected(value)? {
                self.put(field, &value, false)?;
            }
        }
        if let Some(by) = &self.spec.hash_by
            && let HashField::Field(field) = &by.from
        {
            let name = by.names.keys().next_back().map_or("", String::as_str);
            self.put(field, name, false)?;
        }
        if let Some(url) = &self.spec.cert_url {
            self.put(&url.from, &example_url(url, &self.params()), false)?;
        }
        Ok(())
    }

    /// Signs each element of an array for itself.
    fn prove_each(
        &mut self,
        proof: &Proof,
        rule: &SigSpec,
        ts: &str,
        each: &JsonPointer,
    ) -> Result<(), SignError> {
        let mut json = self.json()?;
        let items = each
            .get_mut(&mut json)
            .and_then(Value::as_array_mut)
            .ok_or_else(|| SignError::Body(format!("the body has no array at {each}")))?;
        for item in items {
            let text = item.to_string();
            let signature = self.signature(proof, rule, ts, text.as_bytes())?;
            if let Field::Json(pointer) = &rule.from.0 {
                let pointer = pointer.fill(&self.params()).map_err(wrong)?;
                set(item, &pointer, signature.into());
            }
        }
        self.body = json.to_string().into_bytes();
        Ok(())
    }

    /// The text at the place of the signature, for a document (or an element of it).
    fn signature(
        &self,
        proof: &Proof,
        rule: &SigSpec,
        ts: &str,
        document: &[u8],
    ) -> Result<String, SignError> {
        let request = self.request();
        let body = |error: crate::Refusal| SignError::Body(error.detail.into_owned());
        let view = View::new(&request, &self.body, self.scheme.needs).map_err(body)?;
        let inner = self.scheme.document.of(&view);
        let document = if matches!(self.scheme.document, Document::Form(_)) {
            &inner
        } else {
            document
        };
        let slots = proof.paths.walk(document).map_err(|_| {
            SignError::Body("the body is not the JSON that the scheme signs".into())
        })?;
        let cx = Cx {
            view: &view,
            slots: &slots,
            ts: ts.as_bytes(),
            url: self.scheme.url.as_ref(),
            spelling: 0,
            key: None,
        };
        let pieces = proof.message.pieces(cx).map_err(body)?;
        let text = self.encoded(proof, rule, &pieces)?;
        Ok(self.grammar(rule, &text, ts))
    }

    /// Returns the signature of the message in the encoding of its place.
    fn encoded(
        &self,
        proof: &Proof,
        rule: &SigSpec,
        pieces: &[Piece<'_>],
    ) -> Result<String, SignError> {
        let position = self.inputs.secret;
        Ok(match &proof.by {
            By::Token { .. } => self.secret_text(),
            By::Mac { keys, .. } => {
                let key = keys.get(position).and_then(|key| key.last());
                let (_, key) = key.ok_or_else(|| {
                    SignError::Body(format!("the source has no secret at position {position}"))
                })?;
                rule.encoding.encode(key.of(bytes(pieces, &[])).as_bytes())
            }
            By::Hash { secrets, hash } => {
                let secret = secrets.get(position).map(crate::Secret::expose);
                let hash = hash.of(bytes(pieces, secret.unwrap_or_default()));
                rule.encoding.encode(hash.as_bytes())
            }
            By::Key { .. } | By::Certificate { .. } => {
                let message: Vec<u8> = bytes(pieces, &[]).flatten().copied().collect();
                let by = self.spec.hash_by.as_ref();
                let named = by.and_then(|by| by.names.values().next_back());
                let hash = named.unwrap_or(&self.spec.hash);
                let key = SigningKey::of_kind(self.spec.kind, *hash);
                let signature = key.sign(self.inputs.private_key.as_deref(), &message)?;
                rule.encoding.encode(&signature)
            }
        })
    }

    /// The signature among the other entries of its list.
    fn grammar(&self, rule: &SigSpec, signature: &str, ts: &str) -> String {
        let params = self.params();
        let prefix = rule.prefix.shown(&params);
        let split = rule
            .separators
            .as_deref()
            .and_then(|split| split.get(..1))
            .unwrap_or(",");
        let split = rule.send_separator.as_deref().unwrap_or(split);
        let in_list = self
            .spec
            .timestamp
            .as_ref()
            .and_then(|ts| match &ts.from.0 {
                Field::Entry(label) => Some(label.shown(&params)),
                _ => None,
            });
        let label = match &self.spec.hash_by {
            Some(by) if by.from == HashField::Label => by.names.keys().next_back().cloned(),
            _ => rule.labels.first().map(|label| label.shown(&params)),
        };
        match (&rule.label_separator, in_list, &rule.separators) {
            (Some(kv), Some(ts_label), _) => format!(
                "{prefix}{ts_label}{kv}{ts}{split}{}{kv}{signature}",
                label.unwrap_or_default()
            ),
            (Some(kv), None, _) => format!("{prefix}{}{kv}{signature}", label.unwrap_or_default()),
            (None, Some(_), Some(_)) => format!("{prefix}{ts}{split}{signature}"),
            _ => match &rule.base64_json_pointer {
                Some(pointer) => {
                    let mut json = Value::Null;
                    set(&mut json, pointer, signature.into());
                    let text = Encoding::Base64.encode(json.to_string().as_bytes());
                    format!("{prefix}{text}")
                }
                None => format!("{prefix}{signature}"),
            },
        }
    }

    fn secret_text(&self) -> String {
        let secret = self.source.secrets.get(self.inputs.secret);
        String::from_utf8_lossy(secret.map(Secret::expose).unwrap_or_default()).into_owned()
    }
}
