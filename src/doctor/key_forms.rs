//! Secrets that may have signed in place of the configured ones, and other forms of those.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use hookweir_signatures::{Reason, Secret, SourceSpec};

use super::cause::{Cause, KeyForm};
use super::trials::Trials;
use super::{Case, SOURCES};

/// Secrets of a source whose other forms are tried, at most.
const SECRETS: usize = 8;
/// Former secrets that are tried, at most.
const FORMER: usize = 16;
/// Longest secret whose forms are tried, in bytes.
const LONGEST: usize = 4096;

/// Returns the secret, or the form of one, that has signed.
pub(super) fn find(case: &Case<'_>, trials: &mut Trials<'_>, refused: Reason) -> Option<Cause> {
    if matches!(
        refused,
        Reason::SignatureMissing | Reason::SignatureMalformed | Reason::BodyMalformed
    ) {
        return None;
    }
    of_others(case, trials)
        .or_else(|| former(case, trials))
        .or_else(|| params(case, trials))
        .or_else(|| forms(case, trials))
}

/// Returns the scheme with one secret in place of all.
fn with(spec: &SourceSpec, secret: &[u8]) -> SourceSpec {
    SourceSpec {
        secrets: vec![Secret::new(secret)],
        learn_secret: false,
        ..spec.clone()
    }
}

/// Returns the same, with the bytes of the key as they are: neither decoded nor shortened.
fn with_key(spec: &SourceSpec, key: &[u8]) -> SourceSpec {
    let mut scheme = spec.scheme.clone().unwrap_or_default();
    let own = scheme.get("key").and_then(toml::Value::as_table);
    let mut rule = own.cloned().unwrap_or_default();
    rule.insert("decode".to_owned(), "utf8".into());
    rule.insert("strip_prefix".to_owned(), "".into());
    rule.insert("plain_without_prefix".to_owned(), false.into());
    rule.insert("min_bytes".to_owned(), 1.into());
    scheme.insert("key".to_owned(), rule.into());
    SourceSpec {
        scheme: Some(scheme),
        ..with(spec, key)
    }
}

fn of_others(case: &Case<'_>, trials: &mut Trials<'_>) -> Option<Cause> {
    let others = &case.others[..case.others.len().min(SOURCES)];
    let secrets = others.iter().flat_map(|other| {
        let secrets = other.spec.secrets.iter().enumerate().take(SECRETS);
        secrets.map(move |(at, secret)| (other, at, secret))
    });
    let mut count = 0;
    for (other, at, secret) in secrets.filter(|(_, _, secret)| !secret.is_unread()) {
        count += 1;
        let own = &case.source.spec;
        for spec in [with(own, secret.expose()), with_key(own, secret.expose())] {
            if trials.prove(&spec, case.request).is_given() {
                return Some(Cause::SecretOfOther {
                    source: other.name.clone(),
                    reference: other.reference(at),
                });
            }
        }
    }
    trials.checked(format!("{count} secrets of other sources by this scheme"));
    None
}

fn former(case: &Case<'_>, trials: &mut Trials<'_>) -> Option<Cause> {
    let former = case.source.former.iter().take(FORMER);
    let mut former = former.filter(|secret| !secret.is_unread());
    let own = &case.source.spec;
    let found = former.any(|secret| {
        trials
            .prove(&with(own, secret.expose()), case.request)
            .is_given()
    });
    trials.checked("secrets of this source before a reload");
    found.then_some(Cause::FormerSecret)
}

fn params(case: &Case<'_>, trials: &mut Trials<'_>) -> Option<Cause> {
    let own = &case.source.spec;
    if own.params.is_empty() {
        return None;
    }
    trials.checked("values of params");
    let mut params = own.params.iter().take(SECRETS);
    let found = params.find(|(_, value)| {
        let spec = with_key(own, value.as_bytes());
        trials.prove(&spec, case.request).is_given()
    });
    found.map(|(name, _)| Cause::Param(name.clone()))
}

/// A key, with the form of the secret that it is.
struct Form {
    form: KeyForm,
    key: Vec<u8>,
    /// The scheme decodes it as a secret.
    decoded: bool,
}

fn forms(case: &Case<'_>, trials: &mut Trials<'_>) -> Option<Cause> {
    let own = &case.source.spec;
    trials.checked("other white space around the secret, its plain text, base64 and hexadecimal digits, its prefix");
    for (at, secret) in own.secrets.iter().enumerate().take(SECRETS) {
        if secret.is_unread() || secret.expose().len() > LONGEST {
            continue;
        }
        for form in forms_of(secret.expose()) {
            let spec = match form.decoded {
                true => with(own, &form.key),
                false => with_key(own, &form.key),
            };
            if trials.prove(&spec, case.request).is_given() {
                return Some(Cause::Key {
                    reference: case.source.reference(at),
                    form: form.form,
                });
            }
        }
    }
    None
}

/// Returns other forms of a secret.
fn forms_of(secret: &[u8]) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut add = |form: KeyForm, key: Vec<u8>, decoded: bool| {
        let form = Form { form, key, decoded };
        forms.push(form);
    };
    let trimmed = secret.trim_ascii();
    let around = [("", "\n"), ("", "\r\n"), ("", " "), (" ", ""), ("", "")];
    for (before, after) in around {
        let key = [before.as_bytes(), trimmed, after.as_bytes()].concat();
        if key != secret {
            add(KeyForm::WhiteSpace, key.clone(), true);
            add(KeyForm::WhiteSpace, key, false);
        }
    }
    add(KeyForm::Text, secret.to_vec(), false);
    if let Some(inner) = unquoted(trimmed) {
        add(KeyForm::Quotes, inner.to_vec(), true);
    }
    for (form, key) in decoded(trimmed) {
        add(form, key, false);
    }
    add(KeyForm::ToBase64, STANDARD.encode(trimmed).into(), false);
    add(KeyForm::ToHex, hex::encode(trimmed).into(), false);
    add(KeyForm::ToHex, hex::encode_upper(trimmed).into(), false);
    if let Some(at) = trimmed.iter().position(|byte| *byte == b'_') {
        let rest = trimmed.split_at(at + 1).1;
        add(KeyForm::WithoutPrefix, rest.to_vec(), false);
        for (_, key) in decoded(rest) {
            add(KeyForm::WithoutPrefix, key, false);
        }
    }
    add(KeyForm::WithPrefix, [b"whsec_", trimmed].concat(), false);
    forms
}

fn unquoted(text: &[u8]) -> Option<&[u8]> {
    let quote = text
        .first()
        .filter(|byte| matches!(byte, b'"' | b'\'' | b'`'))?;
    text.strip_prefix(&[*quote])?.strip_suffix(&[*quote])
}

/// Returns the bytes that a text stands for.
fn decoded(text: &[u8]) -> Vec<(KeyForm, Vec<u8>)> {
    let base64 = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let base64 = base64.iter().find_map(|engine| engine.decode(text).ok());
    let hex = hex::decode(text).ok();
    let both = [(KeyForm::FromBase64, base64), (KeyForm::FromHex, hex)];
    both.into_iter()
        .filter_map(|(form, key)| Some((form, key.filter(|key| !key.is_empty())?)))
        .collect()
}
