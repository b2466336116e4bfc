//! JSON Web Token of a draft.

use serde_json::Value;

use crate::check::jwt::JwtRule;
use crate::crypto::mac::Encoding;
use crate::json_pointers::{JsonPointer, set};
use crate::language::spec::JwtSpec;
use crate::language::syntax::TokenPlace;
use crate::sign::draft::Draft;
use crate::sign::inputs::SignError;
use crate::sign::keys::SigningKey;

impl Draft<'_> {
    /// A token that binds the request as it is.
    pub(super) fn token(&mut self, rule: &JwtRule) -> Result<(), SignError> {
        let Some(spec) = &self.spec.jwt else {
            return Ok(());
        };
        self.put_time()?;
        let claims = self.claims(rule, spec)?;
        let key = rule
            .secrets
            .get(self.inputs.secret)
            .and_then(|keys| keys.first());
        let alg = match (key, spec.algorithms.first()) {
            (Some((alg, _)), _) | (None, Some(alg)) => *alg,
            (None, None) => return Err(SignError::PrivateKey),
        };
        let encode = |text: &[u8]| Encoding::Base64Url.encode(text);
        let mut header = serde_json::json!({ "alg": alg.name(), "typ": "JWT" });
        for (name, value) in &spec.send_header {
            set(
                &mut header,
                &JsonPointer::member(name),
                value.as_str().into(),
            );
        }
        let header = encode(header.to_string().as_bytes());
        let payload = match &spec.detached {
            Some(detached) => {
                // What is signed may depend on what the token's header names.
                if let TokenPlace::Field(field) = &spec.from {
                    self.put(field, &format!("{header}.."), false)?;
                }
                self.fill(detached.template())?.into_bytes()
            }
            None => claims.to_string().into_bytes(),
        };
        let signed = format!("{header}.{}", encode(&payload));
        let signature = match key {
            Some((_, key)) => key.of([signed.as_bytes()]).as_bytes().to_vec(),
            None => {
                let pkcs8 = self.inputs.private_key.as_deref();
                SigningKey::of_token(alg)?.sign(pkcs8, signed.as_bytes())?
            }
        };
        let sent = match &spec.detached {
            Some(_) => format!("{header}."),
            None => signed,
        };
        let token = format!("{}{sent}.{}", spec.prefix, encode(&signature));
        self.put_token(&spec.from, token)
    }

    /// Returns the claims, some of which bind the request as it is.
    fn claims(&self, rule: &JwtRule, spec: &JwtSpec) -> Result<Value, SignError> {
        let mut claims = if is_in_body(&spec.from) {
            self.json()?
        } else {
            Value::Object(serde_json::Map::new())
        };
        let seconds = self.inputs.at.0.div_euclid(1000);
        for (name, value) in [("iat", seconds), ("nbf", seconds), ("exp", seconds + 300)] {
            set(&mut claims, &JsonPointer::member(name), value.into());
        }
        let id = self.inputs.id.as_str();
        set(&mut claims, &JsonPointer::member("jti"), id.into());
        for (name, value) in &spec.claims {
            if let (Some(value), Some(pointer)) = (self.expected(value)?, name.pointers().first()) {
                set(&mut claims, pointer, value.into());
            }
        }
        let url = self
            .scheme
            .url
            .as_ref()
            .map(|url| url.full(&self.request()))
            .unwrap_or_default();
        for (claim, spec, bytes) in [
            (&rule.body, &spec.body_digest, self.body.as_slice()),
            (&rule.url, &spec.url_digest, url.as_bytes()),
        ] {
            if let (Some(claim), Some(spec)) = (claim, spec)
                && let Some(value) = claim.value(bytes)
            {
                set(&mut claims, &JsonPointer::member(&spec.claim), value.into());
            }
        }
        Ok(claims)
    }

    fn put_token(&mut self, place: &TokenPlace, token: String) -> Result<(), SignError> {
        match place {
            TokenPlace::Body => {
                self.body = token.into_bytes();
                self.header("content-type", "application/jwt")
            }
            TokenPlace::Field(field) => {
                if field.is_json() {
                    self.body = b"{}".to_vec();
                }
                self.put(field, &token, false)
            }
        }
    }
}

/// Returns `true` if the body is the token, or holds it.
fn is_in_body(place: &TokenPlace) -> bool {
    match place {
        TokenPlace::Body => true,
        TokenPlace::Field(field) => field.is_json(),
    }
}
