//! Compiles the proof over a message, or by a token that is sent as it is.

use super::compiler::Compiler;
use super::error::scheme;
use super::problems::{Reported, all, present};
use crate::Secret;
use crate::check::by::By;
use crate::check::equal::Equal;
use crate::check::hashes::{Hashes, PickHash};
use crate::check::message::{Bind, Each, Proof, Ts};
use crate::check::signature_list::SigRule;
use crate::check::timestamp::Freshness;
use crate::crypto::mac::{HashName, MacKey, token_digest};
use crate::crypto::public_key::KeyKind;
use crate::json_pointers::PathSet;
use crate::language::place::Place;
use crate::language::spec::{Kind, TsSpec, UrlPorts};
use crate::language::syntax::{Expected, Field, FieldRef, HashField};
use crate::language::template::{Template, Token};
use crate::scheme::SourceKey;

impl Compiler<'_> {
    pub(super) fn proof(&mut self) -> Result<Proof, Reported> {
        let spec = self.spec;
        let mut paths = PathSet::default();
        let sigs = self.signatures(&mut paths);
        let ts = match &spec.timestamp {
            Some(ts) => self.time(ts, &mut paths).map(Some),
            None => Ok(None),
        };
        let message = self.message(&mut paths);
        let require: Vec<_> = spec
            .require
            .iter()
            .map(|(place, value)| self.equal(&scheme(["require"]), place, value, &mut paths))
            .collect();
        let bind: Vec<_> = spec
            .bind
            .iter()
            .map(|bind| {
                let equal = self.equal(&scheme(["bind"]), &bind.from, &bind.equals, &mut paths)?;
                Ok(equal.map(|equal| Bind {
                    equal,
                    unless_form: bind.unless_form,
                }))
            })
            .collect();
        let by = self.by(&mut paths);
        let each = self.each();
        let message = message?;
        Ok(Proof {
            by: by?,
            sigs: sigs?,
            ts: ts?,
            require: present(require)?,
            bind: present(bind)?,
            paths,
            each: each?,
            spellings: if spec.url_ports == UrlPorts::Both {
                2
            } else {
                1
            },
            signs_challenges: false,
            time_beside_body: message.time_beside_body(),
            message,
        })
    }

    fn signatures(&mut self, paths: &mut PathSet) -> Result<Vec<SigRule>, Reported> {
        let spec = self.spec;
        if spec.signature.is_empty() {
            return Err(self.error(scheme(["signature"]), "missing; give the place of the signature or token, such as { from = \"header:x-signature\" }"));
        }
        let raw = spec.kind == Kind::Token;
        let rules: Vec<_> = spec
            .signature
            .iter()
            .enumerate()
            .map(|(at, sig)| {
                let rule = SigRule::compile(sig, raw, &self.params, paths, &mut self.needs);
                self.ok(&scheme(["signature"]).at(at), rule)
            })
            .collect();
        all(rules)
    }

    fn time(&mut self, spec: &TsSpec, paths: &mut PathSet) -> Result<Ts, Reported> {
        let place = self.place(&scheme(["timestamp", "from"]), &spec.from, paths)?;
        let number = match place {
            Place::Json(slot) if spec.must_be_number => Some(slot),
            _ => None,
        };
        Ok(Ts {
            place,
            number,
            rule: Freshness::of(spec),
        })
    }

    fn message(&mut self, paths: &mut PathSet) -> Result<Template, Reported> {
        let raw = self.spec.kind == Kind::Token;
        let message = match &self.spec.message {
            Some(_) if raw => Err(self.error(
                scheme(["message"]),
                "a token signs no message; remove message, or choose another kind",
            )),
            None if raw => Ok(Template::EMPTY),
            None => Err(self.error(
                scheme(["message"]),
                "missing; give the signed text as a template, such as \"{body}\"",
            )),
            Some(text) => self.template(&scheme(["message"]), text.template(), paths),
        }?;
        self.message_is_whole(&message)?;
        Ok(message)
    }

    fn each(&mut self) -> Result<Option<Each>, Reported> {
        let Some(pointer) = &self.spec.each else {
            return Ok(None);
        };
        let mut paths = PathSet::default();
        let added = paths.add(&pointer.each());
        let element = self.ok(&scheme(["each"]), added)?;
        Ok(Some(Each { paths, element }))
    }

    fn by(&mut self, paths: &mut PathSet) -> Result<By, Reported> {
        match self.spec.kind {
            Kind::Hash => Ok(By::Hash {
                secrets: self.secrets()?.into_iter().map(Secret::new).collect(),
                hash: self.spec.hash,
            }),
            Kind::Token => Ok(By::Token {
                secrets: self
                    .secrets()?
                    .iter()
                    .map(|secret| token_digest(secret))
                    .collect(),
            }),
            Kind::Ed25519 => self.by_public_key(KeyKind::Ed25519, paths),
            Kind::EcdsaP256 => self.by_public_key(KeyKind::P256, paths),
            Kind::Rsa => self.by_public_key(KeyKind::Rsa, paths),
            _ => {
                let hashes = self.hashes(paths);
                let secrets = self.secrets();
                let Hashes { pick, all } = hashes?;
                let under_each = |secret: Vec<u8>| {
                    all.iter()
                        .filter_map(|hash| Some((*hash, MacKey::new(*hash, &secret)?)))
                        .collect()
                };
                Ok(By::Mac {
                    keys: secrets?.into_iter().map(under_each).collect(),
                    hash: pick,
                })
            }
        }
    }

    fn by_public_key(&mut self, kind: KeyKind, paths: &mut PathSet) -> Result<By, Reported> {
        let spec = self.spec;
        let hash = self.hashes(paths)?;
        let unfit = |name: &HashName| match kind {
            KeyKind::Rsa => *name == HashName::Md5,
            KeyKind::P256 => !matches!(name, HashName::Sha256 | HashName::Sha1),
            KeyKind::Ed25519 => false,
        };
        let fit = match hash.all.iter().find(|name| unfit(name)) {
            None => Ok(()),
            Some(name) => Err(self.error(
                scheme(["hash"]),
                format!(
                    "keys of this kind do not sign with {}; choose another hash",
                    name.name()
                ),
            )),
        };
        let url = spec
            .cert_url
            .as_ref()
            .filter(|_| self.source.public_keys.is_empty());
        let by = match url {
            Some(url) => {
                let at = self.pinned(&scheme(["cert_url"]), url, paths)?;
                By::Certificate { at, hash }
            }
            None => By::Key {
                keys: self.public_keys(kind)?,
                hash,
            },
        };
        fit.map(|()| by)
    }

    /// The hash of the scheme, or those that a request may name.
    fn hashes(&mut self, paths: &mut PathSet) -> Result<Hashes, Reported> {
        let Some(by) = &self.spec.hash_by else {
            return Ok(Hashes {
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
        let pick = match &by.from {
            HashField::Label => PickHash::Label(names),
            HashField::Field(field) => PickHash::At(
                self.place(&scheme(["hash_by", "from"]), field, paths)?,
                names,
            ),
        };
        Ok(Hashes { pick, all })
    }

    /// Fails if the message lacks the time by which a delivery is aged, or the secret of a plain
    /// hash.
    fn message_is_whole(&mut self, message: &Template) -> Result<(), Reported> {
        let tokens = message.tokens();
        let kind = self.spec.kind;
        let is_given = self.spec.message.is_some();
        let has_secret = tokens.contains(&&Token::Secret);
        let has_ts = tokens.contains(&&Token::Ts);
        let timestamp = self.spec.timestamp.as_ref();
        let is_beside =
            timestamp.is_some_and(|ts| matches!(ts.from.0, Field::Entry(_) | Field::Header(_)));
        // Those that name the headers they sign demand the time among them.
        let names_headers = tokens
            .iter()
            .any(|token| matches!(token, Token::Canonical(_)));
        let wants_ts = is_beside && !names_headers && kind != Kind::Token;
        let mistakes = [
            (
                kind == Kind::Hash && !has_secret && is_given,
                "message",
                "a plain hash proves nothing unless the message holds {secret}; add {secret}, or choose another kind",
            ),
            (
                kind != Kind::Hash && has_secret,
                "message",
                "{secret} is for kind = \"hash\" only; remove {secret} from the message",
            ),
            (
                wants_ts && !has_ts && is_given,
                "timestamp",
                "the message does not hold {timestamp}, so anybody could change the time; add {timestamp} to message",
            ),
            (
                has_ts && timestamp.is_none(),
                "message",
                "{timestamp} is used, but the scheme has no timestamp; give the place of the time in timestamp",
            ),
        ];
        let made = mistakes.into_iter().filter(|(is_made, ..)| *is_made);
        let reported: Vec<_> = made
            .map(|(_, key, text)| Err(self.error(scheme([key]), text)))
            .collect();
        all(reported).map(|_: Vec<()>| ())
    }

    /// Compiles a place and its expected value. None if the value is a parameter that the source
    /// does not give.
    pub(super) fn equal(
        &mut self,
        key: &SourceKey,
        field: &FieldRef,
        value: &Expected,
        paths: &mut PathSet,
    ) -> Result<Option<Equal>, Reported> {
        let value = self.expected(key, value, paths);
        if matches!(value, Ok(None)) {
            return Ok(None);
        }
        let place = self.place(key, field, paths)?;
        let shown = field.shown(&self.params).into();
        Ok(value?.map(|value| Equal {
            place,
            shown,
            value,
        }))
    }
}
