//! Compiles the proof by JSON Web Token.

use super::compiler::Compiler;
use super::error::scheme;
use super::problems::{Reported, all, present};
use crate::check::claims::{Claim, DigestClaim};
use crate::check::jwt::JwtRule;
use crate::check::timestamp::Freshness;
use crate::check::token_keys::TokenKeys;
use crate::crypto::certificate::ChainRule;
use crate::crypto::jwk::JwkSet;
use crate::crypto::mac::MacKey;
use crate::json_pointers::{PathSet, Slot};
use crate::keys::key_api::{BodyPart, KeyApi, KeyUrl, SecretText};
use crate::language::place::Place;
use crate::language::spec::{JwtAlg, JwtDigestSpec, JwtSpec, KeyApiSpec};
use crate::language::syntax::{
    ClaimName, Expected, JsonPointer, KeyApiUrl, KeyApiValue, ParamText, TokenPlace,
};
use crate::language::template::Template;
use crate::scheme::SourceKey;

/// Secrets of a source, each ready for the algorithms of its scheme.
type SecretKeys = Vec<Vec<(JwtAlg, MacKey)>>;

impl Compiler<'_> {
    pub(super) fn jwt(&mut self) -> Result<JwtRule, Reported> {
        let Some(spec) = &self.spec.jwt else {
            return Err(self.error(
                scheme(["jwt"]),
                "missing; give the place of the token and its algorithms",
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
            .map(|claim| Ok((claim.name().into(), self.claim(claim.name(), &mut paths)?)))
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
            TokenPlace::Field(field) => self
                .place(&scheme(["jwt", "from"]), field, document)
                .map(Some),
        }
    }

    fn algorithms(&mut self, spec: &JwtSpec) -> Result<Vec<JwtAlg>, Reported> {
        if spec.algorithms.is_empty() {
            let text = "empty; list the algorithms that this provider signs with";
            return Err(self.error(scheme(["jwt", "algorithms"]), text));
        }
        Ok(spec.algorithms.clone())
    }

    fn detached(&mut self, spec: &JwtSpec) -> Result<Option<Template>, Reported> {
        let Some(text) = &spec.detached else {
            return Ok(None);
        };
        let key = scheme(["jwt", "detached"]);
        self.template(&key, text.template(), &mut PathSet::default())
            .map(Some)
    }

    fn token_time(
        &mut self,
        document: &mut PathSet,
    ) -> Result<Option<(Place, Freshness)>, Reported> {
        let Some(ts) = &self.spec.timestamp else {
            return Ok(None);
        };
        let place = self.place(&scheme(["timestamp", "from"]), &ts.from, document)?;
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
        self.ok(&scheme(["jwt"]), paths.add(&JsonPointer::member(name)))
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
        let key = scheme(["jwt", "claims"]);
        let Some(expected) = self.expected(&key, value, &mut PathSet::default())? else {
            return Ok(None);
        };
        let mut places = Vec::new();
        for pointer in name.pointers() {
            let added = paths
                .add(pointer)
                .and_then(|one| Ok((one, paths.add(&pointer.each())?)));
            places.push(self.ok(&key, added)?);
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
            api = self.key_api(spec)?;
        }
        let mut chain = None;
        if let Some(spec) = spec.x5c.as_ref().filter(|_| needed && !given) {
            given = true;
            let rule = ChainRule::new(&spec.root_pem, &spec.leaf_oid, &spec.intermediate_oid);
            chain = Some(self.ok(&scheme(["jwt", "x5c"]), rule)?);
        }
        if needed && !given {
            return Err(self.error(
                SourceKey::PublicKeys(None),
                "missing; this provider signs with a private key, so give its public key here, or its key set in jwks",
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
                self.ok(&SourceKey::PublicKeys(Some(index)), added)
            })
            .collect();
        all(added)?;
        Ok(set)
    }

    fn key_set(&mut self, text: &str) -> Result<KeySet, Reported> {
        if text.trim_start().starts_with('{') {
            return self
                .ok(&SourceKey::Jwks, JwkSet::parse(text))
                .map(KeySet::Given);
        }
        if is_fetchable(text) {
            return Ok(KeySet::At(text.into()));
        }
        Err(self.error(
            SourceKey::Jwks,
            "neither an https:// URL nor a key set; give the URL of a key set, or the key set itself",
        ))
    }

    /// Returns the API of a provider's keys. None if its secret was not read: no key is asked for
    /// without it.
    fn key_api(&mut self, spec: &KeyApiSpec) -> Result<Option<KeyApi>, Reported> {
        let key = scheme(["jwt", "key_api"]);
        let url = self.key_url(&key.below("url"), &spec.url);
        let body: Vec<_> = spec
            .body
            .iter()
            .map(|(name, value)| {
                let part = self.body_part(&key.below("body").below(name), value)?;
                Ok(part.map(|part| (name.as_str().into(), part)))
            })
            .collect();
        let (url, body) = (url?, present(body)?);
        if body.len() < spec.body.len() {
            return Ok(None);
        }
        let api = KeyApi {
            url,
            body,
            pointer: spec.key_pointer.clone(),
        };
        if !api.names_the_key() {
            return Err(self.error(key, "neither url nor body holds {kid}, so no key could be asked for; add {kid} to one of the two"));
        }
        if !is_fetchable(api.url.start()) {
            return Err(self.error(
                key.below("url"),
                "not an https:// URL; keys are fetched over https:// only",
            ));
        }
        Ok(Some(api))
    }

    fn key_url(&mut self, key: &SourceKey, url: &KeyApiUrl) -> Result<KeyUrl, Reported> {
        let mut fill = |text: &ParamText| {
            let filled = text.fill(&self.params);
            self.ok(key, filled).map(Into::into)
        };
        Ok(match url {
            KeyApiUrl::Fixed(url) => KeyUrl::Fixed(fill(url)?),
            KeyApiUrl::ById { before, after } => KeyUrl::ById {
                before: fill(before)?,
                after: fill(after)?,
            },
        })
    }

    /// Returns a value that is posted to the API. None for a secret that was not read.
    fn body_part(
        &mut self,
        key: &SourceKey,
        value: &KeyApiValue,
    ) -> Result<Option<BodyPart>, Reported> {
        Ok(Some(match value {
            KeyApiValue::Kid => BodyPart::Kid,
            KeyApiValue::Text(text) => {
                let filled = text.fill(&self.params);
                BodyPart::Text(self.ok(key, filled)?.into())
            }
            KeyApiValue::Secret => match &*self.source.secrets {
                [unread] if unread.is_unread() => return Ok(None),
                [secret] => {
                    let text = SecretText::new(secret);
                    BodyPart::Secret(self.ok(&SourceKey::Secrets(Some(0)), text)?)
                }
                _ => {
                    return Err(self.error(
                        SourceKey::Secrets(None),
                        "give exactly one, the secret of the provider's API for keys; with public_keys none is needed",
                    ));
                }
            },
        }))
    }
}

/// A key set as an operator gives it.
enum KeySet {
    Given(JwkSet),
    At(Box<str>),
}

/// Returns `true` if keys may be fetched from this URL. Plain HTTP is allowed for loopback only:
/// elsewhere an attacker on the path could substitute keys.
fn is_fetchable(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else {
        return false;
    };
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(url::Host::Ipv4(ip))) => ip.is_loopback(),
        ("http", Some(url::Host::Ipv6(ip))) => ip.is_loopback(),
        ("http", Some(url::Host::Domain(name))) => name == "localhost",
        _ => false,
    }
}
