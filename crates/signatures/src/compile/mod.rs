//! Compiles a scheme and a source's keys into a [`Scheme`]. Reports every mistake, each with its
//! key.
//!
//! Nothing stands in for a part that does not compile. Each part is a `Result` whose error,
//! [`Reported`], is only made by reporting a mistake, and must not be dropped. A scheme is made of
//! parts that compiled.

#![deny(unused_must_use)]

use http::Method;

use crate::check::handshake::Handshake;
use crate::crypto::mac::token_digest;
use crate::keys::learning::Learning;
use crate::language::describe;
use crate::language::spec::Kind;
use crate::language::syntax::{DOCUMENT_WORDS, DocumentRef};
use crate::language::template::Template;
use crate::request::encrypted::Sealed;
use crate::scheme::{Check, Document, Scheme, SchemeWarning, SourceKey};
use crate::{Secret, SourceSpec};

use self::compiler::Compiler;
use self::coverage::{covered, facts};
use self::problems::{Reported, all};
use self::source::ReadSpec;

mod compiler;
pub(crate) mod coverage;
mod error;
mod event;
mod handshake;
mod jwt;
mod keys;
mod message;
mod pasted;
mod problems;
mod secret_key;
mod source;

pub use self::error::SchemeError;
use self::error::scheme;
pub use self::source::{params_of, spec_of};

/// Maximum size of a decompressed body, in bytes, if the source sets none.
const MAX_GUNZIP: usize = 1 << 30;

impl Scheme {
    /// Compiles the scheme and the keys of a source. A batch of more than `max_events` events is
    /// not split. Returns every mistake, each with its key.
    pub fn compile(source: &SourceSpec, max_events: usize) -> Result<Self, Vec<SchemeError>> {
        let ReadSpec {
            spec,
            mut errors,
            old_words,
        } = source::read_spec(source);
        let Some(spec) = spec else { return Err(errors) };
        match Compiler::new(source, &spec, max_events).compile() {
            Ok(mut scheme) if errors.is_empty() => {
                let old_words = old_words.distinct().map(SchemeWarning::OldWord);
                scheme.warnings.extend(old_words);
                Ok(scheme)
            }
            Ok(_) => Err(errors),
            Err(mut more) => {
                for error in &mut more {
                    if let SourceKey::Scheme(path) = &mut error.key {
                        *path = old_words.as_written(path);
                    }
                }
                // Of a scheme with a misspelt key, other complaints are about what is missing for
                // that.
                let misspelt = !errors.is_empty();
                errors.extend(
                    more.into_iter()
                        .filter(|error| !misspelt || !matches!(error.key, SourceKey::Scheme(_))),
                );
                Err(errors)
            }
        }
    }
}

impl Scheme {
    /// Compiles the scheme again with a learned secret, to replace this one. Fails if the source
    /// learns no secret, or if the secret does not fit the scheme.
    pub fn with_learned(&self, secret: &Secret) -> Result<Self, String> {
        let Some(learning) = &self.learning else {
            return Err("the source learns no secret".into());
        };
        let source = SourceSpec {
            secrets: vec![secret.clone()],
            learn_secret: false,
            ..learning.source.clone()
        };
        let texts = |errors: Vec<SchemeError>| {
            let texts: Vec<_> = errors.into_iter().map(|error| error.text).collect();
            texts.join("; ")
        };
        let scheme = Self::compile(&source, learning.max_events).map_err(texts)?;
        Ok(Self {
            learning: Some(Box::new(Learning {
                source: learning.source.clone(),
                max_events: learning.max_events,
                known: Some(token_digest(secret.expose())),
            })),
            ..scheme
        })
    }
}

impl Compiler<'_> {
    fn compile(mut self) -> Result<Scheme, Vec<SchemeError>> {
        let compiled = self.scheme();
        let scheme = self.problems.finish(compiled)?;
        Ok(Scheme {
            warnings: self.warnings,
            ..scheme
        })
    }

    /// Compiles the scheme without its warnings. Every part is compiled before the first failure is
    /// returned, so that all mistakes are reported.
    fn scheme(&mut self) -> Result<Scheme, Reported> {
        let url = self.url();
        let check = self.check();
        let event = self.event();
        let (signed, unsigned) = (self.handshakes(true), self.handshakes(false));
        let answers = self.answers();
        let document = self.document();
        let methods = self.methods();
        let replay = self.replay();
        let (mut check, mut event, url) = (check?, event?, url?);
        replay?;
        let (signed, unsigned) = (signed?, unsigned?);
        let covered = covered(self.spec, &self.params);
        (event.class, event.replays) = (covered.class(&self.spec.event), covered.replays);
        if let Check::Proof(proof) = &mut check {
            if event.paths.is_empty() {
                // Nothing says that the body is a JSON document, which begins and ends with a
                // bracket.
                proof.time_beside_body = (false, false);
            }
            proof.signs_challenges = unsigned
                .iter()
                .any(|handshake| handshake.answer.templates().any(Template::signs));
        }
        let answers_url = templates(&signed)
            .chain(templates(&unsigned))
            .any(Template::needs_url);
        if (check.needs_url(&event) || answers_url) && url.is_none() {
            return Err(self.error(SourceKey::PublicUrl, "missing; this provider signs or requests the URL, so give the URL exactly as entered at the provider"));
        }
        self.warn(&covered);
        let unpack_limit = self.source.max_body_bytes.unwrap_or(MAX_GUNZIP);
        Ok(Scheme {
            check,
            learning: self.learning(),
            url,
            document: document?,
            needs: self.needs,
            gunzip: self.spec.gunzip.then_some(unpack_limit),
            unpack_limit,
            methods: methods?,
            unsigned,
            signed,
            fetches: self.fetches(),
            event,
            answers: answers?,
            facts: facts(self.spec, covered),
            description: describe::sentence(self.spec, &self.params),
            warnings: Vec::new(),
        })
    }

    fn check(&mut self) -> Result<Check, Reported> {
        match self.spec.kind {
            Kind::None => self.unverified().map(|()| Check::Unverified),
            Kind::Basic => {
                let secrets = self.secrets()?;
                Ok(Check::Basic(
                    secrets.iter().map(|secret| token_digest(secret)).collect(),
                ))
            }
            Kind::Jwt => self.jwt().map(|rule| Check::Jwt(Box::new(rule))),
            _ => self.proof().map(|proof| Check::Proof(Box::new(proof))),
        }
    }

    fn learning(&self) -> Option<Box<Learning>> {
        self.source.learn_secret.then(|| {
            Box::new(Learning {
                source: self.source.clone(),
                max_events: self.max_events,
                known: None,
            })
        })
    }

    fn fetches(&self) -> bool {
        let visits = self
            .spec
            .handshake
            .iter()
            .any(|handshake| handshake.visit.is_some());
        visits || self.spec.fetches() && self.source.public_keys.is_empty()
    }

    fn document(&mut self) -> Result<Document, Reported> {
        match &self.spec.document {
            DocumentRef::Body => Ok(Document::Body),
            DocumentRef::Claims if self.spec.kind == Kind::Jwt => Ok(Document::Claims),
            DocumentRef::Claims => Err(self.error(scheme(["document"]), DOCUMENT_WORDS)),
            DocumentRef::Form(name) => {
                self.needs.form = true;
                Ok(Document::Form(name.clone()))
            }
            DocumentRef::Multipart(name) => Ok(Document::Multipart(name.clone())),
            DocumentRef::Encrypted(pointer) => {
                let read = |secret: &&Secret| !secret.is_unread();
                let keys: Vec<_> = self
                    .source
                    .secrets
                    .iter()
                    .filter(read)
                    .map(|secret| secret.expose().trim_ascii().to_vec())
                    .collect();
                self.ok(&scheme(["document"]), Sealed::new(pointer, &keys))
                    .map(Document::Sealed)
            }
        }
    }

    fn methods(&mut self) -> Result<Vec<Method>, Reported> {
        let methods: Vec<_> = self
            .spec
            .methods
            .iter()
            .map(|name| {
                let method = Method::from_bytes(name.as_bytes())
                    .map_err(|_| format!("\"{name}\" is not an HTTP method"));
                self.ok(&scheme(["methods"]), method)
            })
            .collect();
        all(methods)
    }
}

fn templates(handshakes: &[Handshake]) -> impl Iterator<Item = &Template> {
    handshakes
        .iter()
        .flat_map(|handshake| handshake.answer.templates())
}
