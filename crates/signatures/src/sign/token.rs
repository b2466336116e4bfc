//! JSON Web Token of a draft.

use serde_json::Value;

use crate::check::jwt::JwtRule;
use crate::check::timestamp::write as write_time;
use crate::crypto::mac::Encoding;
use crate::json_pointers::set;
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
        let seconds = self.inputs.at.0.div_euclid(1000);
        if let Some(ts) = &self.spec.timestamp {
            self.put(
                &ts.from,
                &write_time(self.inputs.at, ts.unit),
                ts.must_be_number,
            )?;
        }
        let in_body = match &spec.from {
            TokenPlace::Body => true,
            TokenPlace::Field(field) => field.is_json(),
        };
        let mut claims = if in_body {
            self.json()?
        } else {
            Value::Object(serde_json::Map::new())
        };
        for (name, value) in [("iat", seconds), ("nbf", seconds), ("exp", seconds + 300)] {
            set(&mut claims, &format!("/{name}"), value.into());
        }
        set(&mut claims, "/jti", self.inputs.id.as_str().into());
        for (name, value) in &spec.claims {
            if let (Some(value), Some(pointer)) = (self.expected(value)?, name.pointers().next()) {
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
                set(&mut claims, &format!("/{}", spec.claim), value.into());
            }
        }
        let key = rule
            .secrets
            .get(self.inputs.secret)
            .and_then(|keys| keys.first());
        let alg = match (key, spec.algorithms.first()) {
            (Some((alg, _)), _) | (None, Some(alg)) => *alg,
            (None, None) => return Err(SignError::PrivateKey),
        };
        let encode = |text: &[u8]| Encoding::Base64Url.encode(text);
        let mut header = serde_json::json!({ "alg": format!("{alg:?}"), "typ": "JWT" });
        for (name, value) in &spec.send_header {
            set(&mut header, &format!("/{name}"), value.as_str().into());
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
        let signed = if spec.detached.is_some() {
            format!("{header}.")
        } else {
            signed
        };
        let token = format!(
            "{}{signed}.{}",
            spec.prefix,
            Encoding::Base64Url.encode(&signature)
        );
        match &spec.from {
            TokenPlace::Body => {
                self.body = token.into_bytes();
                self.header("content-type", "application/jwt")
            }
            TokenPlace::Field(field) => {
                if in_body {
                    self.body = b"{}".to_vec();
                }
                self.put(field, &token, false)
            }
        }
    }
}
