//! Compiles the proof by JSON Web Token.

use super::compiler::Compiler;
use super::problems::{Reported, all, present};
use crate::Secret;
use crate::check::claims::{Claim, DigestClaim};
use crate::check::jwt::JwtRule;
use crate::check::timestamp::Freshness;
use crate::check::token_keys::TokenKeys;
use crate::crypto::certificate::ChainRule;
use crate::crypto::jwk::JwkSet;
use crate::crypto::mac::MacKey;
use crate::json_pointers::{PathSet, Slot};
use crate::keys::key_api::KeyApi;
use crate::language::place::Place;
use crate::language::spec::{JwtAlg, JwtDigestSpec, JwtSpec, KeyApiSpec};
use crate::language::syntax::{ClaimName, Expected, TokenPlace, claim_pointer};
use crate::language::template::Template;

/// Secrets of a source, each ready for the algorithms of its scheme.
type SecretKeys = Vec<Vec<(JwtAlg, MacKey)>>;

impl Compiler<'_> {
    pub(super) fn jwt(&mut self) -> Result<JwtRule, Reported> {
        let Some(spec) = &self.spec.jwt else {
            return Err(self.error(
                "scheme.jwt",
                "missing: where the token is, and its algorithms",
            ));
        };
        let mut paths = PathSet::default();
        let mut document = PathSet::default();
        let place = self.token_place(spec, &mut document);
        let detached = self.detached(spec);
        let ts = self.token_time(&mut document);
        let algs = self.algorithms(spec);
        let keys = self.token_keys(spec);
        let times = ["exp", "nbf", "iat"].map(|name| self.claim(name, &mut paths));
        let body = self.digest_claim(spec.body_digest.as_ref(), &mut paths);
        let url = self.digest_claim(spec.url_digest.as_ref(), &mut paths);
        let require: Vec<_> = spec
            .required_claims
            .iter()
            .map(|name| Ok((name.as_str().into(), self.claim(name, &mut paths)?)))
            .collect();
        let claims: Vec<_> = spec
            .claims
            .iter()
            .map(|(name, value)| self.expected_claim(name, value, &mut paths))
            .collect();
        let (secrets, keys) = keys?;
        let [exp, nbf, iat] = times;
        Ok(JwtRule {
            place: place?,
            document,
            strip: spec.prefix.as_str().into(),
            detached: detached?,
            ts: ts?,
            algs: algs?,
            secrets,
            keys,
            leeway: i64::try_from(spec.leeway_secs).unwrap_or(i64::MAX),
            max_age: spec.max_age_secs.and_then(|age| i64::try_from(age).ok()),
            require: all(require)?,
            claims: present(claims)?,
            body: body?,
            url: url?,
            paths,
            times: [exp?, nbf?, iat?],
        })
    }

    /// Place of the token; None where the body is the token.
    fn token_place(
        &mut self,
        spec: &JwtSpec,
        document: &mut PathSet,
    ) -> Result<Option<Place>, Reported> {
        match &spec.from {
            TokenPlace::Body => Ok(None),
            TokenPlace::Field(field) => self.place("scheme.jwt.from", field, document).map(Some),
        }
    }

    fn algorithms(&mut self, spec: &JwtSpec) -> Result<Vec<JwtAlg>, Reported> {
        if spec.algorithms.is_empty() {
            let text = "empty: the algorithms that are accepted";
            return Err(self.error("scheme.jwt.algorithms", text));
        }
        Ok(spec.algorithms.clone())
    }

    fn detached(&mut self, spec: &JwtSpec) -> Result<Option<Template>, Reported> {
        let Some(text) = &spec.detached else {
            return Ok(None);
        };
        let key = "scheme.jwt.detached";
        self.template(key, text.template(), &mut PathSet::default())
            .map(Some)
    }

    fn token_time(
        &mut self,
        document: &mut PathSet,
    ) -> Result<Option<(Place, Freshness)>, Reported> {
        let Some(ts) = &self.spec.timestamp else {
            return Ok(None);
        };
        let place = self.place("scheme.timestamp.from", &ts.from, document)?;
        Ok(Some((place, Freshness::of(ts))))
    }

    /// Secrets and public keys: one of the two where the algorithms allow both.
    fn token_keys(&mut self, spec: &JwtSpec) -> Result<(SecretKeys, TokenKeys), Reported> {
        let symmetric = spec.algorithms.iter().any(|alg| alg.hash().is_some());
        let public = spec.algorithms.iter().any(|alg| alg.hash().is_none());
        let needs_secret = symmetric && (!public || !self.source.secrets.is_empty());
        let secrets = if needs_secret {
            self.secrets()
        } else {
            Ok(Vec::new())
        };
        let under_each = |secret: Vec<u8>| {
            spec.algorithms
                .iter()
                .filter_map(|alg| Some((*alg, MacKey::new(alg.hash()?, &secret)?)))
                .collect()
        };
        let keys = self.token_public_keys(spec, public && !needs_secret)?;
        Ok((secrets?.into_iter().map(under_each).collect(), keys))
    }

    fn claim(&mut self, name: &str, paths: &mut PathSet) -> Result<Slot, Reported> {
        self.ok("scheme.jwt", paths.add(&claim_pointer(name)))
    }

    fn digest_claim(
        &mut self,
        spec: Option<&JwtDigestSpec>,
        paths: &mut PathSet,
    ) -> Result<Option<DigestClaim>, Reported> {
        let Some(spec) = spec else { return Ok(None) };
        Ok(Some(DigestClaim {
            name: spec.claim.as_str().into(),
            slot: self.claim(&spec.claim, paths)?,
            hash: spec.hash,
            encoding: spec.encoding,
            absent_if_empty: spec.absent_if_empty,
        }))
    }

    fn expected_claim(
        &mut self,
        name: &ClaimName,
        value: &Expected,
        paths: &mut PathSet,
    ) -> Result<Option<Claim>, Reported> {
        let key = "scheme.jwt.claims";
        let Some(expected) = self.expected(key, value, &mut PathSet::default())? else {
            return Ok(None);
        };
        let mut places = Vec::new();
        for pointer in name.pointers() {
            let added = paths
                .add(pointer)
                .and_then(|one| Ok((one, paths.add(&format!("{pointer}/*"))?)));
            places.push(self.ok(key, added)?);
        }
        Ok(Some(Claim {
            name: name.to_string().into(),
            places,
            expected,
        }))
    }

    fn token_public_keys(&mut self, spec: &JwtSpec, needed: bool) -> Result<TokenKeys, Reported> {
        let pasted = self.pasted_set();
        let mut given = !self.source.public_keys.is_empty();
        let preset = spec.jwks_url.as_deref().filter(|_| needed && !given);
        let (mut url, mut set) = (None, None);
        if let Some(text) = self.source.jwks.as_deref().or(preset) {
            match self.key_set(text)? {
                KeySet::Given(parsed) => set = Some(parsed),
                KeySet::At(at) => url = Some(at),
            }
            given = true;
        }
        let mut api = None;
        if let Some(spec) = spec.key_api.as_ref().filter(|_| needed && !given) {
            given = true;
            api = Some(self.key_api(spec)?);
        }
        let mut chain = None;
        if let Some(spec) = spec.x5c.as_ref().filter(|_| needed && !given) {
            given = true;
            let rule = ChainRule::new(&spec.root_pem, &spec.leaf_oid, &spec.intermediate_oid);
            chain = Some(self.ok("scheme.jwt.x5c", rule)?);
        }
        if needed && !given {
            return Err(self.error(
                "public_keys",
                "missing: this provider signs with a private key; give the public one, or jwks",
            ));
        }
        let pasted = pasted?;
        Ok(TokenKeys {
            api,
            chain,
            url,
            set: set.unwrap_or(pasted),
        })
    }

    /// Returns the public keys that the source gives. One that was not read gives no key.
    fn pasted_set(&mut self) -> Result<JwkSet, Reported> {
        let source = self.source;
        let mut set = JwkSet::default();
        let read = source.public_keys.iter().enumerate();
        let added: Vec<_> = read
            .filter(|(_, pasted)| !pasted.is_unread())
            .map(|(index, pasted)| {
                let added = set.add_pasted(pasted.expose());
                self.ok(&format!("public_keys[{index}]"), added)
            })
            .collect();
        all(added)?;
        Ok(set)
    }

    fn key_set(&mut self, text: &str) -> Result<KeySet, Reported> {
        if text.trim_start().starts_with('{') {
            return self.ok("jwks", JwkSet::parse(text)).map(KeySet::Given);
        }
        if text.starts_with("https://") || is_local(text) {
            return Ok(KeySet::At(text.into()));
        }
        Err(self.error(
            "jwks",
            "the https:// URL of a key set, or the key set itself",
        ))
    }

    fn key_api(&mut self, spec: &KeyApiSpec) -> Result<KeyApi, Reported> {
        let secret = self.api_secret(spec);
        let known = secret.as_ref().ok().cloned().flatten();
        let compiled = KeyApi::compile(spec, known, &self.params);
        let api = self.ok("scheme.jwt.key_api", compiled)?;
        secret?;
        if !api.url().starts_with("https://") && !is_local(api.url()) {
            return Err(self.error("scheme.jwt.key_api.url", "starts with https://"));
        }
        Ok(api)
    }

    /// Returns the secret that the API is asked with; None if it is asked without one.
    fn api_secret(&mut self, spec: &KeyApiSpec) -> Result<Option<Secret>, Reported> {
        if !spec.asks_with_secret() {
            return Ok(None);
        }
        match &*self.source.secrets {
            [one] => Ok(Some(one.clone())),
            _ => Err(self.error(
                "secrets",
                "one: the secret of the provider's API, which gives the keys (or give public_keys)",
            )),
        }
    }
}

/// A key set as an operator gives it.
enum KeySet {
    Given(JwkSet),
    At(Box<str>),
}

/// Plain HTTP is allowed for loopback only: elsewhere an attacker on the path could substitute
/// keys.
fn is_local(url: &str) -> bool {
    let host = url::Url::parse(url)
        .ok()
        .filter(|url| url.scheme() == "http")
        .and_then(|url| url.host().map(|host| host.to_owned()));
    match host {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
