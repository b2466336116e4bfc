//! Old words of the language, which stand for the new ones until the next release.

use crate::language::read::Fault;

/// Old and new words, by the table they stand in.
const RENAMED: &[(&str, &[(&str, &str)])] = &[
    ("", &[("sig", "signature"), ("ts", "timestamp")]),
    (
        "signature",
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
        "timestamp",
        &[
            ("tolerance", "tolerance_secs"),
            ("future", "refuse_future"),
            ("number", "must_be_number"),
        ],
    ),
    (
        "key",
        &[
            ("strip", "strip_prefix"),
            ("begins", "expected_prefix"),
            ("derive", "derive_hash"),
            ("append", "append_text"),
        ],
    ),
    ("bind", &[("of", "equals")]),
    (
        "jwt",
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
    ("jwt.key_api", &[("at", "key_pointer")]),
    (
        "jwt.x5c",
        &[
            ("root", "root_pem"),
            ("leaf", "leaf_oid"),
            ("intermediate", "intermediate_oid"),
        ],
    ),
    (
        "event",
        &[("missing", "missing_id"), ("stable", "stable_id")],
    ),
    ("event.batch", &[("at", "array")]),
    ("respond", RESPOND),
    (
        "handshake",
        &[
            ("otherwise", "otherwise_status"),
            ("switch", "switch_param"),
            ("learn", "secret_from"),
        ],
    ),
    ("handshake.respond", RESPOND),
];

const RESPOND: &[(&str, &str)] = &[
    ("type", "content_type"),
    ("reject", "reject_status"),
    ("overload", "overload_status"),
];

/// Old and new tokens of templates, as far as they are told from others.
const TEMPLATE: &[(&str, &str)] = &[
    ("{ts}", "{timestamp}"),
    ("{ts|", "{timestamp|"),
    ("{join:ts+", "{join:timestamp+"),
    ("+ts+", "+timestamp+"),
    ("+ts}", "+timestamp}"),
    ("+ts|", "+timestamp|"),
];

/// Old and new tokens of samples.
const SAMPLE: &[(&str, &str)] = &[
    ("{ts}", "{timestamp_secs}"),
    ("{ms}", "{timestamp_ms}"),
    ("{time}", "{timestamp_rfc3339}"),
];

/// An old word that a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OldWord {
    /// Keys on the way to it, as written.
    written: String,
    /// The same in new words.
    new: String,
}

/// Old words that a table held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OldWords(Vec<OldWord>);

impl OldWords {
    /// Puts the new words in place of the old ones. A table that holds both words of a pair has a
    /// mistake.
    pub(crate) fn replace(table: &mut toml::Table) -> (Self, Vec<Fault>) {
        let (mut words, mut faults) = (Self::default(), Vec::new());
        words.replace_in(table, "", "", &mut faults);
        (words, faults)
    }

    fn replace_in(
        &mut self,
        table: &mut toml::Table,
        written: &str,
        new: &str,
        faults: &mut Vec<Fault>,
    ) {
        let pairs = RENAMED.iter().find(|(place, _)| *place == new);
        let pairs = pairs.map_or(&[][..], |(_, pairs)| pairs);
        for (old_word, new_word) in pairs {
            let Some(value) = table.remove(*old_word) else {
                continue;
            };
            let written = below(written, old_word);
            if table.contains_key(*new_word) {
                let text = format!("the old word for {new_word}, which is given too; remove it");
                faults.push(Fault::new(&written, text));
                continue;
            }
            table.insert((*new_word).into(), value);
            let new = below(new, new_word);
            self.0.push(OldWord { written, new });
        }
        for (key, value) in table.iter_mut() {
            if new.is_empty() && ["facts", "params"].contains(&key.as_str()) {
                continue;
            }
            let old = pairs.iter().find(|(_, new_word)| new_word == key);
            let was_old = old.filter(|_| self.0.iter().any(|word| word.new == below(new, key)));
            let written = below(written, was_old.map_or(key, |(old_word, _)| old_word));
            let new = below(new, key);
            self.replace_in_value(value, &written, &new, faults);
        }
    }

    fn replace_in_value(
        &mut self,
        value: &mut toml::Value,
        written: &str,
        new: &str,
        faults: &mut Vec<Fault>,
    ) {
        match value {
            toml::Value::Table(inner) => self.replace_in(inner, written, new, faults),
            toml::Value::Array(items) => {
                for item in items {
                    self.replace_in_value(item, written, new, faults);
                }
            }
            toml::Value::String(text) => {
                for (old, word) in self.replace_in_text(text, last(new)) {
                    self.0.push(OldWord {
                        written: format!("{written}: {old}"),
                        new: word,
                    });
                }
            }
            _ => {}
        }
    }

    /// Replaces old tokens of a template, or an old place.
    fn replace_in_text(&self, text: &mut String, key: &str) -> Vec<(String, String)> {
        if key == "from" {
            let label = match text.as_str() {
                "sig" => Some(""),
                text => text.strip_prefix("sig:"),
            };
            let Some(label) = label else {
                return Vec::new();
            };
            let colon = if label.is_empty() { "" } else { ":" };
            let new = format!("signature{colon}{label}");
            let old = std::mem::replace(text, new.clone());
            return vec![(old, new)];
        }
        let tokens = if key == "sample" { SAMPLE } else { TEMPLATE };
        let mut replaced = Vec::new();
        for (old, new) in tokens {
            let in_join = old.contains("+ts");
            if text.contains(old) && (!in_join || text.contains("{join:")) {
                *text = text.replace(old, new);
                replaced.push(((*old).to_owned(), (*new).to_owned()));
            }
        }
        replaced
    }

    /// Returns the key of a mistake as the table has it: `scheme.ts.tolerance` for
    /// `scheme.timestamp.tolerance_secs`.
    pub(crate) fn as_written(&self, key: &str) -> String {
        let Some(key) = key.strip_prefix("scheme.") else {
            return key.to_owned();
        };
        let (mut new, mut written) = (String::new(), vec!["scheme".to_owned()]);
        for step in key.split('.') {
            let (word, index) = step.split_at(step.find('[').unwrap_or(step.len()));
            new = below(&new, word);
            let old = self.0.iter().find(|old| old.new == new);
            let word = old.map_or(word, |old| last(&old.written));
            written.push(format!("{word}{index}"));
        }
        written.join(".")
    }

    /// Returns a warning for each old word.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let mut told: Vec<&OldWord> = Vec::new();
        for word in &self.0 {
            if !told.contains(&word) {
                told.push(word);
            }
        }
        told.into_iter().map(|OldWord { written, new }| {
            format!(
                "scheme.{written} is an old word: write {} in its place; the next release refuses the old one",
                new.rsplit('.').next().unwrap_or(new)
            )
        })
    }
}

fn below(path: &str, word: &str) -> String {
    if path.is_empty() {
        word.to_owned()
    } else {
        format!("{path}.{word}")
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
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
        let told: Vec<_> = words.warnings().collect();
        assert_eq!(told.len(), 8, "{told:#?}");
        let ts = "scheme.ts.tolerance is an old word: write tolerance_secs in its place; the next release refuses the old one";
        assert!(told.iter().any(|told| told == ts), "{told:#?}");
        for (new, written) in [
            ("scheme.signature[1].label_separator", "scheme.sig[1].kv"),
            ("scheme.signature[1].from", "scheme.sig[1].from"),
            ("scheme.timestamp.unit", "scheme.ts.unit"),
            ("secrets[0]", "secrets[0]"),
        ] {
            assert_eq!(words.as_written(new), written);
        }
    }

    #[test]
    fn an_old_word_beside_the_new_one_is_a_mistake() {
        let mut both = table("ts = { tolerance = 1, tolerance_secs = 2 }");
        let (_, faults) = OldWords::replace(&mut both);
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["ts.tolerance: the old word for tolerance_secs, which is given too; remove it"]
        );
    }

    #[test]
    fn no_word_is_old_and_new_at_once() {
        for (place, pairs) in RENAMED {
            for (old, _) in *pairs {
                assert!(pairs.iter().all(|(_, new)| new != old), "{place}: {old}");
            }
        }
    }
}
