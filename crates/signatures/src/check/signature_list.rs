//! Signatures at their places in a request: the candidates found there.

use std::borrow::Cow;

use crate::crypto::mac::Encoding;
use crate::json_pointers::PathSet;
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
    pub(crate) inside: Option<Box<str>>,
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
            Some(_) => return Err("label_separator: one character".into()),
        };
        let split = spec
            .separators
            .as_deref()
            .map(|text| text.as_bytes().into());
        if kv.is_some() && take.is_empty() {
            return Err("labels: missing; name the labels that are signatures".into());
        }
        if split.is_none() && kv.is_none() && !take.is_empty() {
            return Err("labels: needs separators or label_separator".into());
        }
        let place = Place::compile(&spec.from, params, paths, needs)?;
        if matches!(place, Place::Sig(_)) {
            return Err("from: the signature cannot be in itself".into());
        }
        Ok(Self {
            place,
            shown: spec.from.shown(params).into(),
            prefix,
            split,
            kv,
            take,
            encoding: (!raw).then_some(spec.encoding),
            inside: spec.base64_json_pointer.as_deref().map(Into::into),
            secret: spec.secret_index,
        })
    }

    /// Label and value of each entry; a bare signature is one entry without a label, and entries without `label_separator` are labelled by position.
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
            json.pointer(pointer)?.as_str()?.as_bytes().to_vec(),
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
    let mut found = Found::default();
    let mut present = false;
    let mut seen = 0;
    for rule in rules {
        let before = found.candidates.len();
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
            present = true;
            // A scheme that puts one signature there has one, however often a proxy or a forger repeats the header.
            if !rule.is_list() && found.candidates.len() >= before + readings {
                break;
            }
            let Some(text) = value
                .strip_prefix(&*rule.prefix)
                .and_then(|text| rule.unwrapped(text))
            else {
                continue;
            };
            let text = &*text;
            if !rule.is_list() {
                push(&mut found, rule, None, text)?;
                continue;
            }
            for (label, entry) in rule.entries(text) {
                seen += 1;
                if seen > MAX_ENTRIES {
                    return Err(malformed(format!(
                        "{} has more than {MAX_ENTRIES} entries",
                        rule.shown
                    )));
                }
                if ts_label.is_some_and(|ts| ts.as_bytes() == &*label) {
                    if found.ts.as_deref().is_some_and(|known| known != entry) {
                        return Err(malformed(format!("{} has two different times", rule.shown)));
                    }
                    found.ts = Some(Cow::Owned(entry.to_vec()));
                } else if (rule.take.is_empty() && rule.kv.is_none())
                    || rule.take.iter().any(|take| **take == *label)
                {
                    push(&mut found, rule, Some(&label), entry)?;
                }
            }
        }
    }
    let shown = || {
        rules
            .iter()
            .map(|rule| &*rule.shown)
            .collect::<Vec<_>>()
            .join(" or ")
    };
    if !present {
        for rule in rules {
            if let Place::HttpSignature(signature, _) = &rule.place {
                // Says why none of the request's signatures counts.
                signature.base(cx)?;
            }
        }
        return Err(Refusal::new(
            Reason::SignatureMissing,
            format!("{} is missing or empty", shown()),
        ));
    }
    if found.candidates.is_empty() {
        return Err(malformed(format!(
            "{} holds no signature of the expected form",
            shown()
        )));
    }
    Ok(found)
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
