//! Old words of the language, which stand for the new ones until the next release.

use std::fmt;

use crate::language::key_path::{KeyPath, PathStep};
use crate::language::read::Fault;

/// Old word and new word.
type Pair = (&'static str, &'static str);

/// Old and new words, by the keys of the table they stand in.
const RENAMED: &[(&[&str], &[Pair])] = &[
    (&[], &[("sig", "signature"), ("ts", "timestamp")]),
    (
        &["signature"],
        &[
            ("split", "separators"),
            ("join", "send_separator"),
            ("kv", "label_separator"),
            ("take", "labels"),
            ("inside", "base64_json_pointer"),
            ("secret", "secret_index"),
        ],
    ),
    (
        &["timestamp"],
        &[
            ("tolerance", "tolerance_secs"),
            ("future", "refuse_future"),
            ("number", "must_be_number"),
        ],
    ),
    (
        &["key"],
        &[
            ("strip", "strip_prefix"),
            ("begins", "expected_prefix"),
            ("derive", "derive_hash"),
            ("append", "append_text"),
        ],
    ),
    (&["bind"], &[("of", "equals")]),
    (
        &["jwt"],
        &[
            ("strip", "prefix"),
            ("algs", "algorithms"),
            ("leeway", "leeway_secs"),
            ("require", "required_claims"),
            ("max_age", "max_age_secs"),
            ("body", "body_digest"),
            ("url", "url_digest"),
            ("jwks", "jwks_url"),
            ("header", "send_header"),
        ],
    ),
    (&["jwt", "key_api"], &[("at", "key_pointer")]),
    (
        &["jwt", "x5c"],
        &[
            ("root", "root_pem"),
            ("leaf", "leaf_oid"),
            ("intermediate", "intermediate_oid"),
        ],
    ),
    (
        &["event"],
        &[("missing", "missing_id"), ("stable", "stable_id")],
    ),
    (&["event", "batch"], &[("at", "array")]),
    (&["respond"], RESPOND),
    (
        &["handshake"],
        &[
            ("otherwise", "otherwise_status"),
            ("switch", "switch_param"),
            ("learn", "secret_from"),
        ],
    ),
    (&["handshake", "respond"], RESPOND),
];

const RESPOND: &[Pair] = &[
    ("type", "content_type"),
    ("reject", "reject_status"),
    ("overload", "overload_status"),
];

/// Old and new tokens of templates, as far as they are told from others.
const TEMPLATE: &[Pair] = &[
    ("{ts}", "{timestamp}"),
    ("{ts|", "{timestamp|"),
    ("{join:ts+", "{join:timestamp+"),
];

/// Old and new tokens inside of `{join:…}`.
const IN_JOIN: &[Pair] = &[
    ("+ts+", "+timestamp+"),
    ("+ts}", "+timestamp}"),
    ("+ts|", "+timestamp|"),
];

/// Old and new tokens of samples.
const SAMPLE: &[Pair] = &[
    ("{ts}", "{timestamp_secs}"),
    ("{ms}", "{timestamp_ms}"),
    ("{time}", "{timestamp_rfc3339}"),
];

/// Old word that a scheme's table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldWord {
    /// A key.
    Key {
        /// Path as written.
        written: KeyPath,
        /// Path in new words.
        new: KeyPath,
    },
    /// A part of a text.
    Text {
        /// Path of the text, as written.
        at: KeyPath,
        /// Old part.
        old: String,
        /// New part.
        new: String,
    },
}

impl fmt::Display for OldWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { written, new } => {
                let new = new.last_key().unwrap_or_default();
                write!(f, "{written} is an old word; write {new} instead")
            }
            Self::Text { at, old, new } => {
                write!(f, "{at}: {old} is an old word; write {new} instead")
            }
        }
    }
}

/// Old words that a table held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OldWords(Vec<OldWord>);

/// Path of a table, as written and in new words.
#[derive(Debug, Clone, Default)]
struct Place {
    written: KeyPath,
    new: KeyPath,
}

impl OldWords {
    /// Puts the new words in place of the old ones. A table that holds both words of a pair has a
    /// mistake.
    pub(crate) fn replace(table: &mut toml::Table) -> (Self, Vec<Fault>) {
        let (mut words, mut faults) = (Self::default(), Vec::new());
        words.replace_in(table, &Place::default(), &mut faults);
        (words, faults)
    }

    fn replace_in(&mut self, table: &mut toml::Table, place: &Place, faults: &mut Vec<Fault>) {
        let pairs = RENAMED.iter().find(|(keys, _)| place.new.is(keys));
        let pairs = pairs.map_or(&[][..], |(_, pairs)| pairs);
        for (old_word, new_word) in pairs {
            let Some(value) = table.remove(*old_word) else {
                continue;
            };
            let written = place.written.key(old_word);
            if table.contains_key(*new_word) {
                let text = format!("old word for {new_word}, which is given too; remove this one");
                faults.push(Fault::new(written, text));
                continue;
            }
            table.insert((*new_word).into(), value);
            let new = place.new.key(new_word);
            self.0.push(OldWord::Key { written, new });
        }
        for (key, value) in table.iter_mut() {
            let outermost = place.new.steps().is_empty();
            if outermost && ["facts", "params"].contains(&key.as_str()) {
                continue;
            }
            let new = place.new.key(key);
            let written = match self.written(&new) {
                Some(word) => place.written.key(word),
                None => place.written.key(key),
            };
            self.replace_in_value(value, key, &Place { written, new }, faults);
        }
    }

    fn replace_in_value(
        &mut self,
        value: &mut toml::Value,
        key: &str,
        place: &Place,
        faults: &mut Vec<Fault>,
    ) {
        match value {
            toml::Value::Table(inner) => self.replace_in(inner, place, faults),
            toml::Value::Array(items) => {
                for item in items {
                    self.replace_in_value(item, key, place, faults);
                }
            }
            toml::Value::String(text) => {
                let replaced = replace_in_text(text, key);
                self.0
                    .extend(replaced.into_iter().map(|(old, new)| OldWord::Text {
                        at: place.written.clone(),
                        old,
                        new,
                    }));
            }
            _ => {}
        }
    }

    /// Returns the old word that stands for the last key of this path.
    fn written(&self, path: &KeyPath) -> Option<&str> {
        self.0.iter().find_map(|word| match word {
            OldWord::Key { written, new } if new == path => written.last_key(),
            _ => None,
        })
    }

    /// Returns the path of a mistake as the table has it: `ts.tolerance` for
    /// `timestamp.tolerance_secs`.
    pub(crate) fn as_written(&self, path: &KeyPath) -> KeyPath {
        let (mut new, mut written) = (KeyPath::default(), KeyPath::default());
        for step in path.steps() {
            written = match step {
                PathStep::Index(index) => written.index(*index),
                PathStep::Key(key) => {
                    new = new.key(key);
                    written.key(self.written(&new).unwrap_or(key))
                }
            };
        }
        written
    }

    /// Returns each old word once.
    pub(crate) fn distinct(self) -> impl Iterator<Item = OldWord> {
        let mut told: Vec<OldWord> = Vec::new();
        for word in self.0 {
            if !told.contains(&word) {
                told.push(word);
            }
        }
        told.into_iter()
    }
}

/// Replaces old tokens of a template, or an old place. Returns the old and new texts.
fn replace_in_text(text: &mut String, key: &str) -> Vec<(String, String)> {
    if key == "from" {
        let new = match text.split_once(':') {
            None if text == "sig" => "signature".to_owned(),
            Some(("sig", label)) => format!("signature:{label}"),
            _ => return Vec::new(),
        };
        let old = std::mem::replace(text, new.clone());
        return vec![(old, new)];
    }
    let mut tokens = if key == "sample" { SAMPLE } else { TEMPLATE }.to_vec();
    if key != "sample" && text.contains("{join:") {
        tokens.extend(IN_JOIN);
    }
    let mut replaced = Vec::new();
    for (old, new) in tokens {
        if text.contains(old) {
            *text = text.replace(old, new);
            replaced.push((old.to_owned(), new.to_owned()));
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        text.parse().expect("TOML")
    }

    #[test]
    fn each_old_word_becomes_the_new_one_and_is_told_once() {
        let mut old = table(
            r#"
            sig = [{ from = "header:x", kv = "=", take = ["v1"] }, { from = "header:y", kv = "=" }]
            ts = { from = "sig:t", tolerance = 300 }
            handshake = [{ when = { method = "GET" }, respond = { type = "text/plain" } }]
            event = { type = "{json:/type}", batch = { at = "/events" } }
            params = { ts = "a parameter" }
            "#,
        );
        let (words, faults) = OldWords::replace(&mut old);
        assert_eq!(faults, Vec::new());
        let new = table(
            r#"
            signature = [{ from = "header:x", label_separator = "=", labels = ["v1"] },
                         { from = "header:y", label_separator = "=" }]
            timestamp = { from = "signature:t", tolerance_secs = 300 }
            handshake = [{ when = { method = "GET" }, respond = { content_type = "text/plain" } }]
            event = { type = "{json:/type}", batch = { array = "/events" } }
            params = { ts = "a parameter" }
            "#,
        );
        assert_eq!(old, new);
        let told: Vec<_> = words.clone().distinct().collect();
        assert_eq!(told.len(), 8, "{told:#?}");
        let tolerance = OldWord::Key {
            written: KeyPath::of("ts").key("tolerance"),
            new: KeyPath::of("timestamp").key("tolerance_secs"),
        };
        assert!(told.contains(&tolerance), "{told:#?}");
        let signature = |key| KeyPath::of("signature").index(1).key(key);
        for (new, written) in [
            (signature("label_separator"), "sig[1].kv"),
            (signature("from"), "sig[1].from"),
            (KeyPath::of("timestamp").key("unit"), "ts.unit"),
        ] {
            assert_eq!(words.as_written(&new).to_string(), written);
        }
    }

    #[test]
    fn an_old_word_beside_the_new_one_is_a_mistake() {
        let mut both = table("ts = { tolerance = 1, tolerance_secs = 2 }");
        let (_, faults) = OldWords::replace(&mut both);
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["ts.tolerance: old word for tolerance_secs, which is given too; remove this one"]
        );
    }

    #[test]
    fn no_word_is_old_and_new_at_once() {
        for (place, pairs) in RENAMED {
            for (old, _) in *pairs {
                assert!(pairs.iter().all(|(_, new)| new != old), "{place:?}: {old}");
            }
        }
    }
}
