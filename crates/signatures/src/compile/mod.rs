//! Turns the words of a scheme and the keys of a source into something that verifies. All mistakes are reported, each with its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;

use crate::Answer;
use crate::Secret;
use crate::SourceSpec;
use crate::check::event::{BatchRule, EventRule, Varies};
use crate::check::handshake::{AnswerBody, AnswerTemplate, Handshake, JsonTemplate, quoted};
use crate::check::jwt::JwtRule;
use crate::check::message::{Bind, By, Each, Equal, Hashes, PickHash, Proof, Ts, token_digest};
use crate::check::signature_list::{Place, SigRule};
use crate::check::timestamp::Freshness;
use crate::compile::coverage::facts;
use crate::crypto::mac::{HashName, MacKey};
use crate::crypto::pasted;
use crate::crypto::public_key::PublicKey;
use crate::crypto::secret_key;
use crate::docs::describe;
use crate::keys::fetch::{PinnedUrl, Shelf};
use crate::keys::learned::Learned;
use crate::language::json_pointers::PathSet;
use crate::language::presets;
use crate::language::read::Fault;
use crate::language::spec::{
    BatchSpec, HandshakeSpec, Kind, PinnedUrlSpec, RespondSpec, SchemeSpec, SigSpec, UrlPorts,
    inherit,
};
use crate::language::template::{Cx, Grammar, Params, Template, Token, with_params};
use crate::request::Request;
use crate::request::encrypted::Sealed;
use crate::request::view::{Needs, PublicUrl, View};
use crate::{Answers, Check, Document, Scheme};
use crate::{IdClass, UnixMillis};

pub(crate) mod coverage;

/// Most secrets, and most public keys, of a source.
const MAX_KEYS: usize = 8;
/// Largest body after decompression, where the source sets no limit: as large as any limit can be.
const MAX_GUNZIP: usize = 1 << 30;

/// A mistake in a source's scheme or keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {text}")]
pub struct SchemeError {
    /// Where in the source: `provider`, `secrets[0]`, `scheme.sig`.
    pub key: String,
    /// What is wrong, and what to do.
    pub text: String,
}

/// The scheme of a source as written: its provider's preset, its own table, or both.
pub fn spec_of(source: &SourceSpec) -> Result<SchemeSpec, SchemeError> {
    match read_spec(source) {
        (Some(spec), errors) if errors.is_empty() => Ok(spec),
        (_, errors) => Err(errors.into_iter().next().unwrap_or_else(|| SchemeError {
            key: "scheme".into(),
            text: "cannot be read".into(),
        })),
    }
}

/// The same with all of its mistakes; and, where there are some, what the rest says.
fn read_spec(source: &SourceSpec) -> (Option<SchemeSpec>, Vec<SchemeError>) {
    let table = match written(source) {
        Ok(table) => table,
        Err(error) => return (None, vec![error]),
    };
    let (spec, faults) = SchemeSpec::read(table);
    let error = |fault: Fault| SchemeError {
        key: format!("scheme{}", fault.key()),
        text: fault.text,
    };
    (spec, faults.into_iter().map(error).collect())
}

fn written(source: &SourceSpec) -> Result<toml::Table, SchemeError> {
    let error = |key: &str, text: String| SchemeError {
        key: key.into(),
        text,
    };
    match (&source.provider, &source.scheme) {
        (None, None) => Err(error(
            "provider",
            "missing; `hookweir providers` lists them, and \"none\" accepts anything".into(),
        )),
        (Some(name), None) => presets::table(name).map_err(|text| error("provider", text)),
        (Some(name), Some(own)) => {
            refuse_guard(own)?;
            if own
                .get("like")
                .is_some_and(|like| like.as_str() != Some(name))
            {
                return Err(error(
                    "scheme.like",
                    format!("the provider is \"{name}\" already; leave one of the two out"),
                ));
            }
            let mut own = own.clone();
            own.remove("like");
            Ok(inherit(
                &presets::table(name).map_err(|text| error("provider", text))?,
                &own,
            ))
        }
        (None, Some(own)) => {
            refuse_guard(own)?;
            presets::with_like(own.clone()).map_err(|text| error("scheme.like", text))
        }
    }
}

/// A word of a release before this one.
fn refuse_guard(own: &toml::Table) -> Result<(), SchemeError> {
    let is_there = own
        .get("event")
        .and_then(toml::Value::as_table)
        .is_some_and(|event| event.contains_key("guard"));
    let text = "no longer known: equal bytes under another id are published and marked; remove it, and set same_bytes = \"drop\" with \
                same_bytes_span_secs at the source if equal bytes are to be dropped";
    if is_there {
        Err(SchemeError {
            key: "scheme.event.guard".into(),
            text: text.into(),
        })
    } else {
        Ok(())
    }
}

impl Scheme {
    /// Compiles the scheme of a source with its keys. A batch of more than `max_events` elements is kept whole.
    pub fn compile(source: &SourceSpec, max_events: usize) -> Result<Self, Vec<SchemeError>> {
        let (spec, mut errors) = read_spec(source);
        let Some(spec) = spec else { return Err(errors) };
        match Compiler::new(source, &spec, max_events).compile() {
            Ok(scheme) if errors.is_empty() => Ok(scheme),
            Ok(_) => Err(errors),
            Err(more) => {
                // Of a scheme with a misspelt key, other complaints are about what is missing for that.
                let misspelt = !errors.is_empty();
                errors.extend(
                    more.into_iter()
                        .filter(|error| !misspelt || !error.key.starts_with("scheme")),
                );
                Err(errors)
            }
        }
    }
}

pub(crate) struct Compiler<'c> {
    pub(crate) source: &'c SourceSpec,
    pub(crate) spec: &'c SchemeSpec,
    pub(crate) params: Params,
    pub(crate) needs: Needs,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) errors: Vec<SchemeError>,
    pub(crate) warnings: Vec<String>,
    max_events: usize,
}

impl<'c> Compiler<'c> {
    fn new(source: &'c SourceSpec, spec: &'c SchemeSpec, max_events: usize) -> Self {
        let mut params = spec.params.clone();
        params.extend(source.params.clone());
        Self {
            source,
            spec,
            params,
            needs: Needs::default(),
            shelf: Arc::default(),
            errors: Vec::new(),
            warnings: Vec::new(),
            max_events,
        }
    }

    fn compile(mut self) -> Result<Scheme, Vec<SchemeError>> {
        let spec = self.spec;
        let url = self.url();
        let mut check = match spec.kind {
            Kind::None => self.nothing(),
            Kind::Basic => Check::Basic(
                self.secrets()
                    .iter()
                    .map(|secret| token_digest(secret))
                    .collect(),
            ),
            Kind::Jwt => JwtRule::compile(&mut self)
                .map_or(Check::Nothing, |rule| Check::Jwt(Box::new(rule))),
            _ => self
                .proof()
                .map_or(Check::Nothing, |proof| Check::Proof(Box::new(proof))),
        };
        let event = self.event();
        let covered = self.covers(&check);
        let event = EventRule {
            class: covered.class(&spec.event),
            replays: covered.replays,
            ..event
        };
        let (signed, unsigned): (Vec<_>, Vec<_>) = spec
            .handshake
            .iter()
            .enumerate()
            .partition(|(_, handshake)| handshake.signed);
        let mut handshakes = |list: Vec<(usize, &HandshakeSpec)>| -> Vec<Handshake> {
            list.into_iter()
                .filter_map(|(at, spec)| self.handshake(at, spec))
                .collect()
        };
        let (signed, unsigned) = (handshakes(signed), handshakes(unsigned));
        if let Check::Proof(proof) = &mut check {
            if event.paths.is_empty() {
                // Nothing says that the body is a JSON document, which begins and ends with a bracket.
                proof.time_beside_body = (false, false);
            }
            proof.signs_challenges = unsigned
                .iter()
                .any(|handshake| handshake.answer.templates().any(Template::signs));
        }
        let answers = self.answers();
        let document = self.document();
        let methods = self.methods();
        let answers_url = signed
            .iter()
            .chain(&unsigned)
            .flat_map(|handshake| handshake.answer.templates())
            .any(Template::needs_url);
        if self.errors.is_empty() && (check.needs_url(&event) || answers_url) && url.is_none() {
            self.error("public_url", "missing: this provider signs it, or asks for it; give the URL as entered at the provider");
        }
        let description = describe::sentence(spec, &self.params);
        self.warn(&covered);
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(Scheme {
            check,
            learned: self
                .source
                .learn_secret
                .then(|| Learned::new(self.source.clone(), self.max_events)),
            url,
            document,
            needs: self.needs,
            gunzip: spec
                .gunzip
                .then(|| self.source.max_body_bytes.unwrap_or(MAX_GUNZIP)),
            unpack_limit: self.source.max_body_bytes.unwrap_or(MAX_GUNZIP),
            methods,
            unsigned,
            signed,
            fetches: spec.fetches() && self.source.public_keys.is_empty()
                || spec
                    .handshake
                    .iter()
                    .any(|handshake| handshake.visit.is_some()),
            shelf: self.shelf,
            event,
            answers,
            facts: facts(spec, covered),
            description,
            warnings: self.warnings,
        })
    }

    pub(crate) fn error(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.errors.push(SchemeError {
            key: key.into(),
            text: text.into(),
        });
    }

    fn ok<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|text| self.error(key, text)).ok()
    }

    pub(crate) fn template(
        &mut self,
        key: &str,
        text: &str,
        grammar: Grammar,
        paths: &mut PathSet,
    ) -> Template {
        let parsed = Template::parse(text, grammar, &self.params, paths);
        let template = self.ok(key, parsed).unwrap_or_default();
        for token in template.tokens() {
            let canonical = matches!(token, Token::Canonical(_));
            self.needs.query |= canonical || matches!(token, Token::Query(_));
            self.needs.form |= canonical
                || matches!(
                    token,
                    Token::Form(_) | Token::FormSorted | Token::FormSortedKv { .. }
                );
        }
        template
    }

    /// A place in the request, which is then decoded as far as it is needed.
    pub(crate) fn place(&mut self, key: &str, text: &str, paths: &mut PathSet) -> Option<Place> {
        let parsed = with_params(text, &self.params)
            .and_then(|text| Place::parse(&text, &self.params, paths, &mut self.needs));
        self.ok(key, parsed)
    }

    /// A URL that requests name.
    fn pinned(
        &mut self,
        key: &str,
        spec: &PinnedUrlSpec,
        paths: &mut PathSet,
    ) -> Option<PinnedUrl> {
        let place = self.place(&format!("{key}.from"), &spec.from, paths)?;
        let compiled = PinnedUrl::compile(spec, place, &self.params, self.shelf.clone());
        self.ok(key, compiled)
    }

    /// The secrets as keys, all of them long enough.
    pub(crate) fn secrets(&mut self) -> Vec<Vec<u8>> {
        let hands_over = self
            .spec
            .handshake
            .iter()
            .any(|handshake| handshake.learn.is_some());
        match (self.source.secrets.is_empty(), self.source.learn_secret, hands_over) {
            (_, true, false) => self.error("learn_secret", "this provider hands no secret over: put it into secrets"),
            (false, true, true) => {
                self.error("learn_secret", "secrets are given, and a secret that is learned takes their place: one of the two")
            }
            (true, false, true) => {
                self.error("secrets", "missing: put the secret there, or set learn_secret = true to take it from the provider's handshake")
            }
            (true, false, false) => self.error("secrets", "missing: this provider needs at least one"),
            _ => {}
        }
        if self.source.secrets.len() > MAX_KEYS {
            self.error("secrets", format!("more than {MAX_KEYS}"));
        }
        let mut keys = Vec::new();
        for (index, secret) in self.source.secrets.iter().enumerate() {
            let odd = pasted::lint(&self.spec.key, self.source.provider.as_deref(), secret);
            self.warnings.extend(
                odd.into_iter()
                    .map(|text| format!("secrets[{index}] {text}")),
            );
            if secret.is_unread() {
                // Stands in its place, so that the rest is judged. No service starts with it.
                keys.push(vec![0; 32]);
                continue;
            }
            match secret_key::derive(&self.spec.key, self.spec.kind, secret.expose()) {
                Ok(key) => keys.push(key),
                Err(text) => self.error(format!("secrets[{index}]"), text),
            }
        }
        keys
    }

    fn public_keys(&mut self) -> Vec<PublicKey> {
        if self.source.public_keys.is_empty() {
            self.error("public_keys", "missing: this provider signs with a private key; give the public one as it shows it");
        }
        if self.source.public_keys.len() > MAX_KEYS {
            self.error("public_keys", format!("more than {MAX_KEYS}"));
        }
        let mut keys = Vec::new();
        for (index, pasted) in self
            .source
            .public_keys
            .iter()
            .enumerate()
            .filter(|(_, key)| !key.is_unread())
        {
            let stripped = secret_key::strip(&self.spec.key, pasted.expose());
            match PublicKey::parse(self.spec.kind, stripped) {
                Ok(key) => keys.push(key),
                Err(text) => self.error(format!("public_keys[{index}]"), text),
            }
        }
        keys
    }

    fn nothing(&mut self) -> Check {
        if !(self.source.secrets.is_empty()
            && self.source.public_keys.is_empty()
            && self.source.jwks.is_none())
        {
            self.error("provider", "\"none\" verifies nothing, but a key is given; name the provider, or remove the key");
        }
        Check::Nothing
    }

    fn url(&mut self) -> Option<PublicUrl> {
        let text = self.source.public_url.as_deref()?;
        self.ok(
            "public_url",
            PublicUrl::parse(text, self.spec.url_ports == UrlPorts::Both),
        )
    }

    fn proof(&mut self) -> Option<Proof> {
        let spec = self.spec;
        let mut paths = PathSet::default();
        let raw = spec.kind == Kind::Token;
        if spec.sig.is_empty() {
            self.error("scheme.sig", "missing: where the signature or token is, such as { from = \"header:x-signature\" }");
        }
        let sigs: Vec<_> = spec
            .sig
            .iter()
            .enumerate()
            .filter_map(|(at, sig)| self.sig(at, sig, raw, &mut paths))
            .collect();
        let ts = spec.ts.as_ref().and_then(|ts| {
            let place = self.place("scheme.ts.from", &ts.from, &mut paths)?;
            let number = match place {
                Place::Json(slot) if ts.number => Some(slot),
                _ => None,
            };
            Some(Ts {
                place,
                number,
                rule: Freshness {
                    unit: ts.unit,
                    tolerance: ts.tolerance,
                    future: ts.future,
                },
            })
        });
        let message = match &spec.message {
            Some(_) if raw => {
                self.error("scheme.message", "a token signs nothing");
                Template::default()
            }
            None if raw => Template::default(),
            None => {
                self.error(
                    "scheme.message",
                    "missing: what is signed, such as \"{body}\"",
                );
                Template::default()
            }
            Some(text) => self.template("scheme.message", text, Grammar::Message, &mut paths),
        };
        self.message_is_whole(&message);
        let require = spec
            .require
            .iter()
            .filter_map(|(place, value)| self.equal("scheme.require", place, value, &mut paths))
            .collect();
        let bind = spec.bind.iter().filter_map(|bind| {
            let equal = self.equal("scheme.bind", &bind.from, &bind.of, &mut paths)?;
            Some(Bind {
                equal,
                unless_form: bind.unless_form,
            })
        });
        let bind = bind.collect();
        let by = self.by(&mut paths)?;
        let each = match &spec.each {
            None => None,
            Some(pointer) => {
                let mut paths = PathSet::default();
                let added = paths.add(&format!("{pointer}/*"));
                self.ok("scheme.each", added)
                    .map(|element| Each { paths, element })
            }
        };
        let spellings = if spec.url_ports == UrlPorts::Both {
            2
        } else {
            1
        };
        let time_beside_body = message.time_beside_body();
        Some(Proof {
            by,
            sigs,
            ts,
            message,
            require,
            bind,
            paths,
            each,
            spellings,
            signs_challenges: false,
            time_beside_body,
        })
    }

    fn sig(&mut self, at: usize, sig: &SigSpec, raw: bool, paths: &mut PathSet) -> Option<SigRule> {
        let rule = SigRule::compile(sig, raw, &self.params, paths, &mut self.needs);
        self.ok(&format!("scheme.sig[{at}]"), rule)
    }

    fn by(&mut self, paths: &mut PathSet) -> Option<By> {
        let spec = self.spec;
        Some(match spec.kind {
            Kind::Hash => By::Hash {
                secrets: self.secrets().into_iter().map(Secret::new).collect(),
                hash: spec.hash,
            },
            Kind::Token => By::Token {
                secrets: self
                    .secrets()
                    .iter()
                    .map(|secret| token_digest(secret))
                    .collect(),
            },
            Kind::Ed25519 | Kind::EcdsaP256 | Kind::Rsa => {
                let hash = self.hashes(paths)?;
                let unfit = |name: &HashName| match spec.kind {
                    Kind::Rsa => *name == HashName::Md5,
                    Kind::EcdsaP256 => !matches!(name, HashName::Sha256 | HashName::Sha1),
                    _ => false,
                };
                if let Some(name) = hash.all.iter().find(|name| unfit(name)) {
                    self.error(
                        "scheme.hash",
                        format!(
                            "nothing is signed with {} by keys of this kind",
                            name.name()
                        ),
                    );
                }
                match spec
                    .cert_url
                    .as_ref()
                    .filter(|_| self.source.public_keys.is_empty())
                {
                    Some(url) => By::Certificate {
                        at: self
                            .pinned("scheme.cert_url", url, paths)?
                            .of_certificates(),
                        hash,
                    },
                    None => By::Key {
                        keys: self.public_keys(),
                        hash,
                    },
                }
            }
            _ => {
                let Hashes { pick, all } = self.hashes(paths)?;
                let under_each = |secret: Vec<u8>| {
                    all.iter()
                        .filter_map(|hash| Some((*hash, MacKey::new(*hash, &secret)?)))
                        .collect()
                };
                By::Mac {
                    keys: self.secrets().into_iter().map(under_each).collect(),
                    hash: pick,
                }
            }
        })
    }

    /// The hash of the scheme, or those that a request may name.
    fn hashes(&mut self, paths: &mut PathSet) -> Option<Hashes> {
        let Some(by) = &self.spec.hash_by else {
            return Some(Hashes {
                pick: PickHash::Fixed,
                all: vec![self.spec.hash],
            });
        };
        let names: Vec<_> = by
            .names
            .iter()
            .map(|(word, hash)| (word.as_str().into(), *hash))
            .collect();
        let mut all = Vec::new();
        for hash in by.names.values() {
            if !all.contains(hash) {
                all.push(*hash);
            }
        }
        let pick = match by.from.as_str() {
            "sig" => PickHash::Label(names),
            from => PickHash::At(self.place("scheme.hash_by.from", from, paths)?, names),
        };
        Some(Hashes { pick, all })
    }

    /// A message that does not hold the time that it is aged by, or the secret where that is all there is to it, cannot be right.
    fn message_is_whole(&mut self, message: &Template) {
        let tokens = message.tokens();
        let has_secret = tokens.contains(&&Token::Secret);
        let wants_ts = self
            .spec
            .ts
            .as_ref()
            .is_some_and(|ts| ts.from.starts_with("sig:") || ts.from.starts_with("header:"));
        let has_ts = tokens.contains(&&Token::Ts);
        // Those that name the headers they sign demand the time among them.
        let wants_ts = wants_ts
            && !tokens
                .iter()
                .any(|token| matches!(token, Token::Canonical(_)));
        if self.spec.kind == Kind::Hash && !has_secret && self.spec.message.is_some() {
            self.error(
                "scheme.message",
                "a plain hash proves nothing without {secret} in its message",
            );
        }
        if self.spec.kind != Kind::Hash && has_secret {
            self.error(
                "scheme.message",
                "{secret} belongs into the message of a plain hash only",
            );
        }
        if self.spec.kind != Kind::Token && wants_ts && !has_ts && self.spec.message.is_some() {
            self.error(
                "scheme.ts",
                "the message does not hold {ts}, so that anybody could change it",
            );
        }
        if has_ts && self.spec.ts.is_none() {
            self.error("scheme.message", "{ts} without a ts that says where it is");
        }
    }

    /// `{param:NAME?}` makes a demand a matter of the source: None where it gives no such parameter.
    pub(crate) fn optional_param(&self, value: &str) -> Option<String> {
        match value
            .strip_prefix("{param:")
            .and_then(|rest| rest.strip_suffix("?}"))
        {
            Some(name) => self
                .params
                .contains_key(name)
                .then(|| format!("{{param:{name}}}")),
            None => Some(value.to_owned()),
        }
    }

    /// A place and what it must equal.
    fn equal(&mut self, key: &str, place: &str, value: &str, paths: &mut PathSet) -> Option<Equal> {
        let value = self.optional_param(value)?;
        let parsed = Place::parse(place, &self.params, paths, &mut self.needs);
        let parsed = self.ok(key, parsed)?;
        Some(Equal {
            place: parsed,
            shown: Place::describe(place).into(),
            value: self.template(key, &value, Grammar::Plain, paths),
        })
    }

    fn event(&mut self) -> EventRule {
        let spec = &self.spec.event;
        let mut paths = PathSet::default();
        let ids = spec
            .id
            .iter()
            .map(|id| self.template("scheme.event.id", id, Grammar::Plain, &mut paths))
            .collect();
        let event_type = self.template(
            "scheme.event.type",
            &spec.event_type,
            Grammar::Plain,
            &mut paths,
        );
        let mut varies = self.varies("scheme.event.varies", &spec.varies, &mut paths);
        let outer = paths.clone();
        let batch = spec
            .batch
            .as_ref()
            .and_then(|batch| self.batch(batch, &mut paths));
        if let Some(batch) = &spec.batch {
            // Kept whole, a batch is compared without what its elements may change.
            for pointer in &batch.varies {
                let added = varies.inside.add(&format!("{}/*{pointer}", batch.at));
                self.ok("scheme.event.batch.varies", added);
            }
        }
        if self.source.split == Some(true) && batch.is_none() {
            self.error("batch", "\"split\": this scheme sends one event at a time");
        }
        EventRule {
            ids,
            event_type,
            missing: spec.missing,
            class: IdClass::Unsigned,
            replays: false,
            batch,
            paths,
            outer,
            varies,
        }
    }

    fn varies(&mut self, key: &str, pointers: &[String], paths: &mut PathSet) -> Varies {
        let mut varies = Varies::default();
        for pointer in pointers {
            let added = paths.add(pointer);
            varies.slots.extend(self.ok(key, added));
        }
        varies
    }

    fn batch(&mut self, spec: &BatchSpec, paths: &mut PathSet) -> Option<BatchRule> {
        let added = paths
            .add(&format!("{}/*", spec.at))
            .and_then(|element| Ok((element, paths.add_array(&spec.at)?)));
        let (element, array) = self.ok("scheme.event.batch.at", added)?;
        let mut inner = PathSet::default();
        let ids = spec
            .id
            .iter()
            .map(|id| self.template("scheme.event.batch.id", id, Grammar::Plain, &mut inner))
            .collect();
        let event_type = self.template(
            "scheme.event.batch.type",
            &spec.event_type,
            Grammar::Plain,
            &mut inner,
        );
        let varies = self.varies("scheme.event.batch.varies", &spec.varies, &mut inner);
        let split = self.source.split.unwrap_or(spec.split);
        Some(BatchRule {
            element,
            array,
            ids,
            event_type,
            empty: spec.empty,
            paths: inner,
            split,
            max: self.max_events,
            varies,
        })
    }

    /// A handshake, or None with a warning where the source lacks a parameter for it.
    fn handshake(&mut self, at: usize, spec: &HandshakeSpec) -> Option<Handshake> {
        let key = format!("scheme.handshake[{at}]");
        let before = self.errors.len();
        if let Some(name) = &spec.switch {
            match self.params.get(name).map(String::as_str) {
                Some("on") => {}
                Some("off") => return None,
                _ => {
                    self.error(format!("params.{name}"), "\"on\" or \"off\"");
                    return None;
                }
            }
        }
        let mut paths = PathSet::default();
        let when = &spec.when;
        let there = [
            ("query", &when.query),
            ("header", &when.header),
            ("form", &when.form),
            ("json", &when.json),
        ];
        let there: Vec<_> = there
            .into_iter()
            .filter_map(|(kind, name)| {
                let place = Place::parse(
                    &format!("{kind}:{}", name.as_ref()?),
                    &self.params,
                    &mut paths,
                    &mut self.needs,
                );
                self.ok(&key, place)
            })
            .collect();
        let method = when.method.as_deref().and_then(|method| {
            let parsed = Method::from_bytes(method.as_bytes())
                .map_err(|_| format!("\"{method}\" is no method"));
            self.ok(&key, parsed)
        });
        if there.is_empty() && method.is_none() {
            self.error(
                &key,
                "when: says nothing, so that every request would be this handshake",
            );
        }
        let checks = spec
            .check
            .iter()
            .filter_map(|(place, value)| self.equal(&key, place, value, &mut paths))
            .collect();
        let learn = spec.learn.as_ref().and_then(|place| {
            let place = Place::parse(place, &self.params, &mut paths, &mut self.needs);
            self.ok(&format!("{key}.learn"), place)
        });
        if learn.is_some() && spec.signed {
            self.error(
                format!("{key}.learn"),
                "a handshake that is signed is signed with a secret that is known already",
            );
        }
        let answer = self.answer_template(&key, &spec.respond, 200, &mut paths);
        if spec.visit.is_some() && !spec.signed {
            self.error(
                &key,
                "visit: needs signed = true, or anybody could have URLs visited",
            );
        }
        let visit = spec
            .visit
            .as_ref()
            .and_then(|visit| self.pinned(&key, visit, &mut paths));
        let missing: Vec<_> = self.errors[before..]
            .iter()
            .map(|error| error.text.clone())
            .filter(|text| text.contains("params."))
            .collect();
        if !missing.is_empty() && missing.len() == self.errors.len() - before {
            self.errors.truncate(before);
            self.warnings
                .push(format!("{key} is off: {}", missing.join(", ")));
            return None;
        }
        Some(Handshake {
            method,
            there,
            equals: when.equals.as_deref().map(Into::into),
            checks,
            otherwise: spec.otherwise,
            learn,
            answer,
            visit,
            paths,
        })
    }

    fn answer_template(
        &mut self,
        key: &str,
        spec: &RespondSpec,
        status: u16,
        paths: &mut PathSet,
    ) -> AnswerTemplate {
        let headers = spec
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    self.template(key, value, Grammar::Plain, paths),
                )
            })
            .collect();
        let (body, content_type) = match (&spec.json, &spec.body) {
            (Some(json), _) => (
                AnswerBody::Json(self.json(key, json, paths)),
                "application/json",
            ),
            (None, body) => (
                AnswerBody::Text(self.template(
                    key,
                    body.as_deref().unwrap_or_default(),
                    Grammar::Plain,
                    paths,
                )),
                "text/plain",
            ),
        };
        let content_type = Some(
            spec.content_type
                .clone()
                .unwrap_or_else(|| content_type.to_owned()),
        );
        AnswerTemplate {
            status: spec.status.unwrap_or(status),
            content_type,
            headers,
            body,
        }
    }

    fn json(&mut self, key: &str, value: &toml::Value, paths: &mut PathSet) -> JsonTemplate {
        match value {
            toml::Value::String(text) => {
                JsonTemplate::Text(self.template(key, text, Grammar::Plain, paths))
            }
            toml::Value::Array(items) => JsonTemplate::List(
                items
                    .iter()
                    .map(|item| self.json(key, item, paths))
                    .collect(),
            ),
            toml::Value::Table(members) => JsonTemplate::Object(
                members
                    .iter()
                    .map(|(name, item)| (name.clone(), self.json(key, item, paths)))
                    .collect(),
            ),
            toml::Value::Datetime(time) => JsonTemplate::Literal(quoted(&time.to_string())),
            other => JsonTemplate::Literal(other.to_string()),
        }
    }

    /// What every delivery is answered, where the provider prescribes it: the same for all, so it is made here.
    fn answers(&mut self) -> Answers {
        let spec = &self.spec.respond;
        let prescribed = spec.status.is_some()
            || spec.body.is_some()
            || spec.json.is_some()
            || !spec.headers.is_empty();
        let accepted = prescribed.then(|| {
            let template =
                self.answer_template("scheme.respond", spec, 200, &mut PathSet::default());
            constant(&template)
        });
        Answers {
            accepted: accepted.flatten(),
            rejected: spec.reject,
            overloaded: spec.overload,
        }
    }

    fn document(&mut self) -> Document {
        match self.spec.document.split_once(':') {
            None if self.spec.document == "body" => Document::Body,
            None if self.spec.document == "jwt" && self.spec.kind == Kind::Jwt => Document::Claims,
            Some(("form", name)) => {
                self.needs.form = true;
                Document::Form(name.into())
            }
            Some(("multipart", name)) => Document::Multipart(name.into()),
            Some(("encrypted", pointer)) => {
                if self.source.secrets.iter().any(Secret::is_unread) {
                    return Document::Body;
                }
                let keys: Vec<_> = self
                    .source
                    .secrets
                    .iter()
                    .map(|secret| secret.expose().trim_ascii().to_vec())
                    .collect();
                let sealed = Sealed::new(pointer, &keys);
                self.ok("scheme.document", sealed)
                    .map_or(Document::Body, Document::Sealed)
            }
            _ => {
                let words = "one of \"body\", \"form:NAME\", \"multipart:NAME\", \"encrypted:/pointer\", and \"jwt\" where kind is \"jwt\"";
                self.error("scheme.document", words);
                Document::Body
            }
        }
    }

    fn methods(&mut self) -> Vec<Method> {
        let mut methods = Vec::new();
        for name in &self.spec.methods {
            match Method::from_bytes(name.as_bytes()) {
                Ok(method) => methods.push(method),
                Err(_) => self.error("scheme.methods", format!("\"{name}\" is no method")),
            }
        }
        methods
    }
}

/// The answer of a template that takes nothing from a request.
fn constant(template: &AnswerTemplate) -> Option<Answer> {
    let request = Request {
        method: Method::POST,
        target: String::new(),
        headers: crate::request::Headers::default(),
        body: bytes::Bytes::new(),
        received_at: UnixMillis(0),
    };
    let view = View::new(&request, &[], Needs::default()).ok()?;
    let slots = crate::language::json_pointers::Slots::default();
    let cx = Cx {
        view: &view,
        slots: &slots,
        ts: &[],
        url: None,
        spelling: 0,
        key: None,
    };
    let mut answer = template.fill(cx).ok()?;
    answer
        .headers
        .retain(|(name, _)| name != "x-content-type-options");
    Some(answer)
}

/// The parameters that a preset takes, for the reference.
pub fn params_of(spec: &SchemeSpec) -> BTreeMap<String, Option<String>> {
    let mut params: BTreeMap<_, _> = spec
        .params
        .iter()
        .map(|(name, value)| (name.clone(), Some(value.clone())))
        .collect();
    let words = format!("{spec:?}");
    // In `{join:…}` it is one of several.
    for (at, _) in words
        .match_indices("param:")
        .filter(|(at, _)| words[..*at].ends_with(['{', '+', ':']))
    {
        let name: String = words[at + 6..]
            .chars()
            .take_while(|c| !"}?+|".contains(*c))
            .collect();
        params.entry(name).or_insert(None);
    }
    params
}
