//! Signatures at their places in a request: the candidates found there.

use std::borrow::Cow;

use crate::crypto::mac::Encoding;
use crate::json_pointers::{JsonPointer, PathSet};
use crate::language::context::{Cx, Params, Wrong};
use crate::language::place::Place;
use crate::language::spec::SigSpec;
use crate::language::syntax::ParamText;
use crate::request::view::{Needs, with_plus};
use crate::{Reason, Refusal};

/// Most candidates and most entries of a list that are looked at; a request with more is refused.
const MAX_CANDIDATES: usize = 16;
const MAX_ENTRIES: usize = 64;
/// Longest text of a candidate: RSA with 16,384 bits in hexadecimal.
const MAX_TEXT: usize = 4096;

/// Spelling of signatures at one place.
#[derive(Debug, Clone)]
pub(crate) struct SigRule {
    pub(crate) place: Place,
    pub(crate) shown: Box<str>,
    pub(crate) prefix: Box<[u8]>,
    pub(crate) split: Option<Box<[u8]>>,
    pub(crate) kv: Option<u8>,
    pub(crate) take: Vec<Box<[u8]>>,
    /// None for the secret itself.
    pub(crate) encoding: Option<Encoding>,
    /// Place of the signature in the JSON that the text is base64 of.
    pub(crate) inside: Option<JsonPointer>,
    /// The one secret that signs here.
    pub(crate) secret: Option<usize>,
}

/// Candidate for the signature.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) bytes: Vec<u8>,
    pub(crate) label: Option<Box<[u8]>>,
    pub(crate) secret: Option<usize>,
}

impl SigRule {
    pub(crate) fn compile(
        spec: &SigSpec,
        raw: bool,
        params: &Params,
        paths: &mut PathSet,
        needs: &mut Needs,
    ) -> Result<Self, Wrong> {
        let literal = |text: &ParamText| {
            text.fill(params)
                .map(|text| Box::<[u8]>::from(text.into_bytes()))
        };
        let prefix = literal(&spec.prefix)?;
        let take = spec
            .labels
            .iter()
            .map(literal)
            .collect::<Result<Vec<_>, _>>()?;
        let kv = match spec.label_separator.as_deref().map(str::as_bytes) {
            None => None,
            Some([one]) => Some(*one),
            Some(_) => return Err("label_separator is not one character".into()),
        };
        let split = spec
            .separators
            .as_deref()
            .map(|text| text.as_bytes().into());
        if kv.is_some() && take.is_empty() {
            return Err("labels is missing; name the labels that hold signatures".into());
        }
        if split.is_none() && kv.is_none() && !take.is_empty() {
            return Err(
                "labels needs separators or label_separator, since a single signature has no label"
                    .into(),
            );
        }
        let place = Place::compile(&spec.from, params, paths, needs)?;
        if matches!(place, Place::Sig(_)) {
            return Err(
                "from is a part of the signature itself; give its place in the request".into(),
            );
        }
        Ok(Self {
            place,
            shown: spec.from.shown(params).into(),
            prefix,
            split,
            kv,
            take,
            encoding: (!raw).then_some(spec.encoding),
            inside: spec.base64_json_pointer.clone(),
            secret: spec.secret_index,
        })
    }

    /// Label and value of each entry; a bare signature is one entry without a label, and entries
    /// without `label_separator` are labelled by position.
    fn entries<'t>(
        &'t self,
        text: &'t [u8],
    ) -> impl Iterator<Item = (Cow<'t, [u8]>, &'t [u8])> + 't {
        let separators = self.split.as_deref().unwrap_or_default();
        let entries = text
            .split(|b| separators.contains(b))
            .map(<[u8]>::trim_ascii)
            .filter(|entry| !entry.is_empty());
        entries
            .enumerate()
            .filter_map(|(position, entry)| match self.kv {
                Some(kv) => {
                    let at = entry.iter().position(|b| *b == kv)?;
                    Some((
                        Cow::Borrowed(entry[..at].trim_ascii()),
                        entry[at + 1..].trim_ascii(),
                    ))
                }
                None => Some((Cow::Owned(position.to_string().into_bytes()), entry)),
            })
    }

    /// The signature's text, taken out of what it is wrapped in.
    fn unwrapped<'t>(&self, text: &'t [u8]) -> Option<Cow<'t, [u8]>> {
        let Some(pointer) = &self.inside else {
            return Some(Cow::Borrowed(text));
        };
        let json: serde_json::Value =
            serde_json::from_slice(&Encoding::Base64.decode(text)?).ok()?;
        Some(Cow::Owned(
            pointer.get(&json)?.as_str()?.as_bytes().to_vec(),
        ))
    }

    fn is_list(&self) -> bool {
        self.split.is_some() || self.kv.is_some()
    }
}

/// Signatures and time found at the places of signatures.
#[derive(Debug, Default)]
pub(crate) struct Found<'v> {
    pub(crate) candidates: Vec<Candidate>,
    /// The entry of the list that is the time, as sent.
    pub(crate) ts: Option<Cow<'v, [u8]>>,
}

/// Reads every place. `ts_label` is the list entry that holds the time.
pub(crate) fn read<'v>(
    rules: &'v [SigRule],
    ts_label: Option<&str>,
    cx: Cx<'v>,
) -> Result<Found<'v>, Refusal> {
    let mut reading = Reading {
        found: Found::default(),
        ts_label,
        is_present: false,
        entries: 0,
    };
    for rule in rules {
        reading.rule(rule, cx)?;
    }
    if !reading.is_present {
        return Err(missing(rules, cx));
    }
    if reading.found.candidates.is_empty() {
        return Err(malformed(format!(
            "{} holds no signature of the expected form",
            shown(rules)
        )));
    }
    Ok(reading.found)
}

/// Refusal of a request without a signature: why none of its HTTP Message Signatures counts, or the
/// places that are empty.
fn missing(rules: &[SigRule], cx: Cx<'_>) -> Refusal {
    let mut unfit = rules.iter().filter_map(|rule| match &rule.place {
        Place::HttpSignature(signature, _) => signature.base(cx).err(),
        _ => None,
    });
    unfit.next().unwrap_or_else(|| {
        Refusal::new(
            Reason::SignatureMissing,
            format!("{} is missing or empty", shown(rules)),
        )
    })
}

fn shown(rules: &[SigRule]) -> String {
    let places: Vec<_> = rules.iter().map(|rule| &*rule.shown).collect();
    places.join(" or ")
}

/// Reading of the places of signatures, so far.
struct Reading<'v, 't> {
    found: Found<'v>,
    ts_label: Option<&'t str>,
    /// A place holds something.
    is_present: bool,
    /// Number of entries of lists.
    entries: usize,
}

impl<'v> Reading<'v, '_> {
    fn rule(&mut self, rule: &'v SigRule, cx: Cx<'v>) -> Result<(), Refusal> {
        let before = self.found.candidates.len();
        // The secret itself in a URL has two readings; either proves that its sender knows it.
        let as_pasted = match (&rule.place, rule.encoding) {
            (Place::Query(name), None) => with_plus(&cx.view.request.target, name).map(Cow::Owned),
            _ => None,
        };
        let readings = 1 + usize::from(as_pasted.is_some());
        for value in rule.place.values(cx).into_iter().chain(as_pasted) {
            if value.is_empty() {
                continue;
            }
            self.is_present = true;
            // A scheme that puts one signature there has one, however often a proxy or a forger
            // repeats the header.
            if !rule.is_list() && self.found.candidates.len() >= before + readings {
                break;
            }
            let Some(text) = value
                .strip_prefix(&*rule.prefix)
                .and_then(|text| rule.unwrapped(text))
            else {
                continue;
            };
            if rule.is_list() {
                self.list(rule, &text)?;
            } else {
                push(&mut self.found, rule, None, &text)?;
            }
        }
        Ok(())
    }

    fn list(&mut self, rule: &SigRule, text: &[u8]) -> Result<(), Refusal> {
        for (label, entry) in rule.entries(text) {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(malformed(format!(
                    "{} has more than {MAX_ENTRIES} entries",
                    rule.shown
                )));
            }
            if self.ts_label.is_some_and(|ts| ts.as_bytes() == &*label) {
                let known = self.found.ts.as_deref();
                if known.is_some_and(|known| known != entry) {
                    return Err(malformed(format!("{} has two different times", rule.shown)));
                }
                self.found.ts = Some(Cow::Owned(entry.to_vec()));
            } else if (rule.take.is_empty() && rule.kv.is_none())
                || rule.take.iter().any(|take| **take == *label)
            {
                push(&mut self.found, rule, Some(&label), entry)?;
            }
        }
        Ok(())
    }
}

fn push(
    found: &mut Found<'_>,
    rule: &SigRule,
    label: Option<&[u8]>,
    text: &[u8],
) -> Result<(), Refusal> {
    let bytes = match rule.encoding {
        _ if text.is_empty() || text.len() > MAX_TEXT => None,
        Some(encoding) => encoding.decode(text),
        None => Some(text.to_vec()),
    };
    if let Some(bytes) = bytes {
        let known = |candidate: &Candidate| {
            candidate.bytes == bytes
                && candidate.label.as_deref() == label
                && candidate.secret == rule.secret
        };
        if found.candidates.iter().any(known) {
            return Ok(());
        }
        if found.candidates.len() == MAX_CANDIDATES {
            return Err(malformed(format!(
                "{} holds more than {MAX_CANDIDATES} signatures",
                rule.shown
            )));
        }
        found.candidates.push(Candidate {
            bytes,
            label: label.map(Into::into),
            secret: rule.secret,
        });
    }
    Ok(())
}

fn malformed(detail: String) -> Refusal {
    Refusal::new(Reason::SignatureMalformed, detail)
}
