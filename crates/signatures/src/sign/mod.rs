//! Signs requests as a provider would, by the same compiled scheme that verifies them: for `hookweir send`, and for our tests.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p521::ecdsa::signature::Signer as _;
use p521::pkcs8::DecodePrivateKey as _;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaSigningAlgorithm,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
};
use serde_json::Value;

use crate::keys::pinned_url::example as example_url;
use crate::language::canonical::Canonical;
pub(crate) mod sample;

pub use sample::sample_body;

use crate::Secret;
use crate::SourceSpec;
use crate::UnixMillis;
use crate::check::jwt::{JwtRule, claim_pointers};
use crate::check::message::{By, Proof};
use crate::check::signature_list::Place;
use crate::check::timestamp::write as write_time;
use crate::crypto::mac::{Encoding, HashName};
use crate::language::json_pointers::{PathSet, Slots};
use crate::language::spec::{JwtAlg, Kind, SchemeSpec, SigSpec};
use crate::language::template::{Cx, Grammar, Params, Piece, Template, Token, Wrong};
use crate::request::Request;
use crate::request::view::{View, query};
use crate::scheme::{Check, Document, Scheme};
use crate::sign::sample::{escaped, is_form_scheme, set};
use crate::{SchemeError, spec_of};

/// What a sender decides.
#[derive(Debug, Clone)]
pub struct SignInputs {
    /// The body, as it goes out, but for a signature or time that belongs into it.
    pub body: Bytes,
    /// The event's id, for schemes that have it outside of the body.
    pub id: String,
    /// The event's type, for schemes that have it outside of the body.
    pub event_type: String,
    /// When it is signed.
    pub at: UnixMillis,
    /// Position of the secret that signs.
    pub secret: usize,
    /// PKCS#8 of the key that signs, for schemes with a public key.
    pub private_key: Option<Vec<u8>>,
}

/// A request that is ready to be sent.
#[derive(Debug, Clone)]
pub struct SignedRequest {
    /// Its method.
    pub method: Method,
    /// The query to append to the source's URL, without `?`; empty for most.
    pub query: String,
    /// Its headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The source's scheme does not compile.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Scheme(Vec<SchemeError>),
    /// The provider's private key would be needed.
    #[error("this provider signs with a private key, and none is given")]
    PrivateKey,
    /// The body does not take what belongs into it.
    #[error("{0}")]
    Body(String),
}

/// Signs a request for `source`, whose secrets are at hand.
pub fn sign(source: &SourceSpec, inputs: &SignInputs) -> Result<SignedRequest, SignError> {
    sign_as(source, inputs, None)
}

/// Everything of a request that the sender decides besides body and time: the event's id and type are in these headers and nowhere else.
#[derive(Debug, Default)]
pub struct Sender {
    /// The method, where it is not the scheme's first.
    pub method: Option<Method>,
    /// The headers of the event.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// As [`sign`], for a sender that decides its headers.
pub fn sign_as(
    source: &SourceSpec,
    inputs: &SignInputs,
    sender: Option<&Sender>,
) -> Result<SignedRequest, SignError> {
    let spec = spec_of(source).map_err(|error| SignError::Scheme(vec![error]))?;
    let scheme = Scheme::compile(source, usize::MAX).map_err(SignError::Scheme)?;
    let mut draft = Draft::new(source, &spec, &scheme, inputs)?;
    match sender {
        Some(sender) => draft.of(sender),
        None => draft.named()?,
    }
    match &scheme.check {
        Check::Unverified => {}
        Check::Basic(_) => {
            let credentials = source
                .secrets
                .get(inputs.secret)
                .map(|secret| Encoding::Base64.encode(secret.expose()));
            draft.header(
                "authorization",
                &format!("Basic {}", credentials.unwrap_or_default()),
            )?;
        }
        Check::Proof(proof) => draft.prove(proof)?,
        Check::Jwt(rule) => draft.token(rule)?,
    }
    draft.wrap()?;
    Ok(SignedRequest {
        method: draft.method,
        query: draft.query,
        headers: draft.headers,
        body: draft.body.into(),
    })
}

/// A new private key (PKCS#8) for a scheme that signs with one, and its public half as the source takes it.
pub fn new_key(spec: &SchemeSpec) -> Result<(Vec<u8>, String), String> {
    use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    let random = ring::rand::SystemRandom::new();
    let failed = |_| "no key could be made".to_owned();
    let kind = match (spec.kind, &spec.jwt) {
        (Kind::Jwt, Some(jwt)) => jwt
            .algs
            .iter()
            .find_map(|alg| SigningKey::of_token(*alg).ok()),
        (Kind::Ed25519 | Kind::EcdsaP256 | Kind::Rsa, _) => {
            Some(SigningKey::of_kind(spec.kind, spec.hash))
        }
        _ => None,
    };
    match kind {
        Some(SigningKey::Ed25519) => {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random)
                .map_err(failed)?
                .as_ref()
                .to_vec();
            let public = Ed25519KeyPair::from_pkcs8(&pkcs8)
                .map(|key| hex::encode(key.public_key()))
                .map_err(|error| error.to_string())?;
            Ok((pkcs8, public))
        }
        Some(SigningKey::Ecdsa(_) | SigningKey::P256Sha1) => {
            let algorithm = match kind {
                Some(SigningKey::Ecdsa(algorithm)) => algorithm,
                // A key on P-256 is one, whatever it is to sign.
                _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
            };
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
                .map_err(failed)?
                .as_ref()
                .to_vec();
            let key = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random)
                .map_err(|error| error.to_string())?;
            // What a token is verified with is given as certificates and PEM have it.
            let prefix = if spec.kind == Kind::Jwt {
                "3059301306072a8648ce3d020106082a8648ce3d030107034200"
            } else {
                ""
            };
            Ok((pkcs8, format!("{prefix}{}", hex::encode(key.public_key()))))
        }
        Some(SigningKey::Rsa(_)) => Err(
            "keys of RSA come from elsewhere: openssl genpkey -algorithm RSA -outform DER"
                .to_owned(),
        ),
        Some(SigningKey::P521) => {
            Err("keys on P-521 come from elsewhere: openssl genpkey -algorithm EC".to_owned())
        }
        None => Err("this provider signs with a secret".to_owned()),
    }
}

/// What a private key signs with.
#[derive(Clone, Copy)]
enum SigningKey {
    Ed25519,
    Ecdsa(&'static EcdsaSigningAlgorithm),
    /// A hash that `ring` does not sign with.
    P256Sha1,
    P521,
    Rsa(HashName),
}

impl SigningKey {
    fn of_kind(kind: Kind, hash: HashName) -> Self {
        match kind {
            Kind::Ed25519 => Self::Ed25519,
            Kind::EcdsaP256 if hash == HashName::Sha1 => Self::P256Sha1,
            Kind::EcdsaP256 => Self::Ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            _ => Self::Rsa(hash),
        }
    }

    fn of_token(alg: JwtAlg) -> Result<Self, SignError> {
        match alg {
            JwtAlg::RS256 => Ok(Self::Rsa(HashName::Sha256)),
            JwtAlg::ES512 => Ok(Self::P521),
            JwtAlg::ES256 => Ok(Self::Ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            JwtAlg::EdDSA => Ok(Self::Ed25519),
            _ => Err(SignError::PrivateKey),
        }
    }
}

/// A request in the making.
struct Draft<'d> {
    spec: &'d SchemeSpec,
    scheme: &'d Scheme,
    source: &'d SourceSpec,
    inputs: &'d SignInputs,
    method: Method,
    query: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl<'d> Draft<'d> {
    fn new(
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
    fn of(&mut self, sender: &Sender) {
        if let Some(method) = &sender.method {
            self.method = method.clone();
        }
        for (name, value) in &sender.headers {
            self.headers.retain(|(known, _)| known != name);
            self.headers.push((name.clone(), value.clone()));
        }
    }

    /// Puts the event's id and type where the scheme looks for them outside of the body.
    fn named(&mut self) -> Result<(), SignError> {
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
    fn outside(&mut self, token: &Token, value: &str) -> Result<(), SignError> {
        match token {
            Token::Header(name) if !self.headers.iter().any(|(known, _)| known == name) => {
                self.header(name.as_str(), value)
            }
            Token::Query(name)
                if !self
                    .query
                    .split('&')
                    .any(|pair| pair.starts_with(&format!("{name}="))) =>
            {
                self.parameter(name, value);
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

    fn header(&mut self, name: &str, value: &str) -> Result<(), SignError> {
        let name: HeaderName = name
            .parse()
            .map_err(|_| SignError::Body(format!("\"{name}\" is no header")))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| SignError::Body(format!("header {name} cannot hold this value")))?;
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        Ok(())
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
    fn put(&mut self, place: &str, value: &str, number: bool) -> Result<(), SignError> {
        let place = self.param_text(place).unwrap_or_default();
        match place.split_once(':') {
            Some(("header", name)) => self.header(name, value),
            Some(("query", name)) => {
                self.parameter(name, value);
                Ok(())
            }
            Some(("form", name)) => {
                let separator: &[u8] = if self.body.is_empty() { b"" } else { b"&" };
                self.body.extend_from_slice(separator);
                self.body
                    .extend_from_slice(format!("{name}={}", escaped(value)).as_bytes());
                Ok(())
            }
            Some(("json", pointer)) => {
                let mut json = self.json()?;
                let number = number.then(|| value.parse::<i64>().ok()).flatten();
                let value = number.map_or_else(|| value.into(), Value::from);
                match &self.spec.each {
                    None => set(&mut json, pointer, value),
                    Some(each) => {
                        let items = json.pointer_mut(each).and_then(Value::as_array_mut);
                        items
                            .into_iter()
                            .flatten()
                            .for_each(|item| set(item, pointer, value.clone()));
                    }
                }
                self.body = json.to_string().into_bytes();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Puts a document that is a part of a multipart body into one; until here the body is the document alone.
    fn wrap(&mut self) -> Result<(), SignError> {
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

    fn json(&self) -> Result<Value, SignError> {
        serde_json::from_slice(&self.body).map_err(|_| {
            SignError::Body("the body is not JSON, and a part of the scheme belongs into it".into())
        })
    }

    fn prove(&mut self, proof: &Proof) -> Result<(), SignError> {
        let ts = self
            .spec
            .ts
            .as_ref()
            .map(|ts| write_time(self.inputs.at, ts.unit))
            .unwrap_or_default();
        if let Some(spec) = &self.spec.ts {
            self.put(&spec.from, &ts, spec.number)?;
        }
        for (place, value) in &self.spec.require {
            if let Some(value) = self.param_text(value) {
                self.put(place, &value, false)?;
            }
        }
        if let Some(by) = self.spec.hash_by.as_ref().filter(|by| by.from != "sig") {
            self.put(
                &by.from,
                by.names.keys().next_back().map_or("", String::as_str),
                false,
            )?;
        }
        if let Some(url) = &self.spec.cert_url {
            self.put(&url.from, &example_url(url, &self.params()), false)?;
        }
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
                let value = self.fill(&bind.of)?;
                self.put(&bind.from, &value, false)?;
            }
        }
        let Some(rule) = self
            .spec
            .sig
            .iter()
            .find(|sig| sig.secret.is_none_or(|only| only == self.inputs.secret))
        else {
            return Err(SignError::Body(format!(
                "no signature is made with secret {}",
                self.inputs.secret
            )));
        };
        if let Some(each) = &self.spec.each {
            let mut json = self.json()?;
            let items = json
                .pointer_mut(each)
                .and_then(Value::as_array_mut)
                .ok_or_else(|| SignError::Body(format!("nothing at {each}")))?;
            for item in items {
                let text = item.to_string();
                let signature = self.signature(proof, rule, &ts, text.as_bytes())?;
                set(
                    item,
                    rule.from.trim_start_matches("json:"),
                    signature.into(),
                );
            }
            self.body = json.to_string().into_bytes();
            return Ok(());
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

    /// A token that binds the request as it is.
    fn token(&mut self, rule: &JwtRule) -> Result<(), SignError> {
        let Some(spec) = &self.spec.jwt else {
            return Ok(());
        };
        let seconds = self.inputs.at.0.div_euclid(1000);
        if let Some(ts) = &self.spec.ts {
            self.put(&ts.from, &write_time(self.inputs.at, ts.unit), ts.number)?;
        }
        let in_body = spec.from == "body" || spec.from.starts_with("json:");
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
            if let Some(value) = self.param_text(value) {
                let value = self.fill(&value)?;
                if let Some(pointer) = claim_pointers(name).next() {
                    set(&mut claims, &pointer, value.into());
                }
            }
        }
        let url = self
            .scheme
            .url
            .as_ref()
            .map(|url| url.full(&self.request()))
            .unwrap_or_default();
        for (claim, spec, bytes) in [
            (&rule.body, &spec.body, self.body.as_slice()),
            (&rule.url, &spec.url, url.as_bytes()),
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
        let alg = match (key, spec.algs.first()) {
            (Some((alg, _)), _) | (None, Some(alg)) => *alg,
            (None, None) => return Err(SignError::PrivateKey),
        };
        let encode = |text: &[u8]| Encoding::Base64Url.encode(text);
        let mut header = serde_json::json!({ "alg": format!("{alg:?}"), "typ": "JWT" });
        for (name, value) in &spec.header {
            set(&mut header, &format!("/{name}"), value.as_str().into());
        }
        let header = encode(header.to_string().as_bytes());
        let payload = match &spec.detached {
            Some(detached) => {
                // What is signed may depend on what the token's header names.
                self.put(&spec.from, &format!("{header}.."), false)?;
                self.fill(detached)?.into_bytes()
            }
            None => claims.to_string().into_bytes(),
        };
        let signed = format!("{header}.{}", encode(&payload));
        let signature = match key {
            Some((_, key)) => key.of([signed.as_bytes()]).as_bytes().to_vec(),
            None => self.private_signature(signed.as_bytes(), SigningKey::of_token(alg)?)?,
        };
        let signed = if spec.detached.is_some() {
            format!("{header}.")
        } else {
            signed
        };
        let token = format!(
            "{}{signed}.{}",
            spec.strip,
            Encoding::Base64Url.encode(&signature)
        );
        if in_body && spec.from != "body" {
            self.body = b"{}".to_vec();
        }
        if spec.from == "body" {
            self.body = token.into_bytes();
            return self.header("content-type", "application/jwt");
        }
        self.put(&spec.from, &token, false)
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
        let text = match &proof.by {
            By::Token { .. } => self.secret_text(),
            By::Mac { keys, .. } => {
                let key = keys.get(self.inputs.secret).and_then(|key| key.last());
                let (_, key) = key.ok_or_else(|| {
                    SignError::Body(format!("there is no secret {}", self.inputs.secret))
                })?;
                rule.encoding.encode(key.of(bytes(&pieces, &[])).as_bytes())
            }
            By::Hash { secrets, hash } => {
                let secret = secrets
                    .get(self.inputs.secret)
                    .map(crate::Secret::expose)
                    .unwrap_or_default();
                rule.encoding
                    .encode(hash.of(bytes(&pieces, secret)).as_bytes())
            }
            By::Key { .. } | By::Certificate { .. } => {
                let message: Vec<u8> = bytes(&pieces, &[]).flatten().copied().collect();
                let hash = self
                    .spec
                    .hash_by
                    .as_ref()
                    .and_then(|by| by.names.values().next_back())
                    .unwrap_or(&self.spec.hash);
                rule.encoding.encode(
                    &self
                        .private_signature(&message, SigningKey::of_kind(self.spec.kind, *hash))?,
                )
            }
        };
        Ok(self.grammar(rule, &text, ts))
    }

    /// The signature among the other entries of its list.
    fn grammar(&self, rule: &SigSpec, signature: &str, ts: &str) -> String {
        let prefix = self.param_text(&rule.prefix).unwrap_or_default();
        let split = rule
            .split
            .as_deref()
            .and_then(|split| split.get(..1))
            .unwrap_or(",");
        let split = rule.join.as_deref().unwrap_or(split);
        let in_list = self
            .spec
            .ts
            .as_ref()
            .and_then(|ts| ts.from.strip_prefix("sig:"));
        let label = match &self.spec.hash_by {
            Some(by) if by.from == "sig" => by.names.keys().next_back().cloned(),
            _ => rule.take.first().and_then(|label| self.param_text(label)),
        };
        match (&rule.kv, in_list, &rule.split) {
            (Some(kv), Some(ts_label), _) => format!(
                "{prefix}{ts_label}{kv}{ts}{split}{}{kv}{signature}",
                label.unwrap_or_default()
            ),
            (Some(kv), None, _) => format!("{prefix}{}{kv}{signature}", label.unwrap_or_default()),
            (None, Some(_), Some(_)) => format!("{prefix}{ts}{split}{signature}"),
            (None, None, _) if rule.inside.is_some() => {
                let mut json = Value::Null;
                set(
                    &mut json,
                    rule.inside.as_deref().unwrap_or_default(),
                    signature.into(),
                );
                format!(
                    "{prefix}{}",
                    Encoding::Base64.encode(json.to_string().as_bytes())
                )
            }
            _ => format!("{prefix}{signature}"),
        }
    }

    fn secret_text(&self) -> String {
        let secret = self.source.secrets.get(self.inputs.secret);
        String::from_utf8_lossy(secret.map(Secret::expose).unwrap_or_default()).into_owned()
    }

    fn private_signature(&self, message: &[u8], kind: SigningKey) -> Result<Vec<u8>, SignError> {
        use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
        let pkcs8 = self
            .inputs
            .private_key
            .as_deref()
            .ok_or(SignError::PrivateKey)?;
        let random = ring::rand::SystemRandom::new();
        let unfit = |_| SignError::Body("the private key does not fit the scheme".into());
        match kind {
            SigningKey::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                .map(|key| key.sign(message).as_ref().to_vec())
                .map_err(unfit),
            SigningKey::Ecdsa(algorithm) => {
                let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random).map_err(unfit)?;
                key.sign(&random, message)
                    .map(|signature| signature.as_ref().to_vec())
                    .map_err(|_| SignError::PrivateKey)
            }
            SigningKey::P256Sha1 => {
                let key = p256::ecdsa::SigningKey::from_pkcs8_der(pkcs8);
                let key = key.map_err(|_| {
                    SignError::Body("the private key does not fit the scheme".into())
                })?;
                let signature = key.sign_prehash(HashName::Sha1.of([message]).as_bytes());
                let signature: p256::ecdsa::Signature =
                    signature.map_err(|_| SignError::PrivateKey)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            SigningKey::P521 => {
                let key = p521::ecdsa::SigningKey::from_pkcs8_der(pkcs8);
                let key = key.map_err(|_| {
                    SignError::Body("the private key does not fit the scheme".into())
                })?;
                let signature: p521::ecdsa::Signature = key.sign(message);
                Ok(signature.to_bytes().to_vec())
            }
            SigningKey::Rsa(hash) => {
                let padding = match hash {
                    HashName::Sha256 => &RSA_PKCS1_SHA256,
                    HashName::Sha384 => &RSA_PKCS1_SHA384,
                    HashName::Sha512 => &RSA_PKCS1_SHA512,
                    // Old signatures are still verified; new ones are not made.
                    _ => {
                        return Err(SignError::Body(format!(
                            "nothing is signed anew by RSA with {}",
                            hash.name()
                        )));
                    }
                };
                let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(unfit)?;
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message, &mut signature)
                    .map_err(|_| SignError::PrivateKey)?;
                Ok(signature)
            }
        }
    }

    fn request(&self) -> Request {
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

    fn fill(&self, template: &str) -> Result<String, SignError> {
        let text = |wrong: Wrong| SignError::Body(wrong.to_string());
        let template = Template::parse(
            template,
            Grammar::Plain,
            &self.params(),
            &mut PathSet::default(),
        );
        let template = template.map_err(text)?;
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
    fn params(&self) -> Params {
        let mut params = self.spec.params.clone();
        params.extend(self.source.params.clone());
        params
    }

    /// Text in which only `{param:NAME}` stands; None where the source has no such parameter.
    fn param_text(&self, text: &str) -> Option<String> {
        let Some((before, rest)) = text.split_once("{param:") else {
            return Some(text.to_owned());
        };
        let (name, after) = rest.split_once('}')?;
        let name = name.trim_end_matches('?');
        let value = self
            .source
            .params
            .get(name)
            .or_else(|| self.spec.params.get(name))?;
        Some(format!("{before}{value}{after}"))
    }
}

fn bytes<'p>(pieces: &'p [Piece<'_>], secret: &'p [u8]) -> impl Iterator<Item = &'p [u8]> {
    pieces.iter().map(move |piece| match piece {
        Piece::Bytes(bytes) => &**bytes,
        Piece::Secret => secret,
    })
}
