//! A text that does not compile leaves no scheme.

use std::collections::BTreeSet;

use super::*;

/// Keys with a plain text: another text is another demand, and none less. With a key of the
/// source's own, no certificate and no key set is used; a handshake that is switched off is not
/// compiled.
const PLAIN: &[&str] = &[
    "handshake.respond.content_type",
    "handshake.when.equals",
    "handshake.when.form",
    "handshake.when.query",
    "jwt.body_digest.claim",
    "jwt.jwks_url",
    "jwt.prefix",
    "jwt.required_claims",
    "jwt.send_header.tl_headers",
    "jwt.send_header.tl_version",
    "jwt.url_digest.claim",
    "jwt.x5c.intermediate_oid",
    "jwt.x5c.leaf_oid",
    "jwt.x5c.root_pem",
    "key.append_text",
    "key.expected_prefix",
    "key.strip_prefix",
    "respond.content_type",
    "signature.send_separator",
    "signature.separators",
];

/// Text that no template, place or place of a document is.
const BROKEN: &str = "{oops";

/// Calls `visit` for each text of a table, with the keys on the way to it and the text broken.
fn break_each(
    value: &toml::Value,
    path: &mut Vec<String>,
    visit: &mut dyn FnMut(&[String], toml::Value),
) {
    match value {
        toml::Value::String(_) => visit(path, BROKEN.into()),
        toml::Value::Array(items) => {
            for at in 0..items.len() {
                break_each(&items[at], path, &mut |path, broken| {
                    let mut items = items.clone();
                    items[at] = broken;
                    visit(path, items.into());
                });
            }
        }
        toml::Value::Table(table) => {
            for (key, inner) in table {
                path.push(key.clone());
                break_each(inner, path, &mut |path, broken| {
                    let mut table = table.clone();
                    table.insert(key.clone(), broken);
                    visit(path, table.into());
                });
                path.pop();
            }
        }
        _ => {}
    }
}

#[test]
fn a_scheme_with_one_broken_text_does_not_compile() {
    let mut refused = 0;
    let mut plain = BTreeSet::new();
    for provider in presets::names() {
        let (mut source, ..) = made_up(provider);
        source.provider = None;
        let mut table = presets::table(provider).expect("a preset");
        for words_about_the_provider in ["facts", "params", "sample"] {
            table.remove(words_about_the_provider);
        }
        if let Some(key) = table.get_mut("key").and_then(toml::Value::as_table_mut) {
            key.remove("other_keys");
        }
        break_each(&table.into(), &mut Vec::new(), &mut |path, broken| {
            source.scheme = broken.as_table().cloned();
            match Scheme::compile(&source, 1000) {
                Err(errors) if !errors.is_empty() => refused += 1,
                _ => _ = plain.insert(path.join(".")),
            }
        });
    }
    assert_eq!(plain, PLAIN.iter().map(|key| (*key).to_owned()).collect());
    assert!(refused > 2000, "{refused}");
}

/// Check at compile time that types have no default. With a default, the choice of implementations
/// is ambiguous and the test does not compile.
macro_rules! no_default {
    ($($part:ty),+ $(,)?) => {$({
        trait Chosen<Implementation> {
            fn chosen() {}
        }
        impl<T: ?Sized> Chosen<()> for T {}
        impl<T: Default> Chosen<u8> for T {}
        <$part as Chosen<_>>::chosen();
    })+};
}

#[test]
fn no_part_of_a_scheme_has_a_default_that_could_stand_in() {
    use crate::check::{by, claims, equal, event, handshake, jwt, message, token_keys};
    use crate::keys::{key_api::KeyApi, pinned_url::PinnedUrl};
    use crate::language::{place::Place, template::Template};
    no_default!(
        Scheme,
        Check,
        Document,
        by::By,
        claims::Claim,
        equal::Equal,
        event::EventRule,
        event::BatchRule,
        handshake::AnswerTemplate,
        handshake::Handshake,
        jwt::JwtRule,
        message::Bind,
        message::Each,
        message::Proof,
        message::Ts,
        token_keys::TokenKeys,
        KeyApi,
        PinnedUrl,
        Place,
        Template,
    );
}
